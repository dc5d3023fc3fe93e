//! A run that takes many intervals says so while it is at work, once: the mirror is getting old meanwhile.

use crate::layer::schedule::INTERVAL_SECS;
use crate::monitor::Monitor;
use crate::record::{LATE_AFTER, Waited};
use crate::units::duration;
use std::sync::mpsc::{self, RecvTimeoutError};
use std::time::Duration;

/// After so long a run is late.
pub const AFTER: Duration = Duration::from_secs((LATE_AFTER * INTERVAL_SECS).unsigned_abs());

/// Does `work`, and warns if it has not ended `after` a time, with what it has `waited` by then.
pub fn told<T>(
    monitor: &dyn Monitor,
    after: Duration,
    waited: &(dyn Fn() -> Waited + Sync),
    work: impl FnOnce() -> T,
) -> T {
    std::thread::scope(|scope| {
        let (ended, has_ended) = mpsc::channel::<()>();
        scope.spawn(move || {
            if has_ended.recv_timeout(after) == Err(RecvTimeoutError::Timeout) {
                monitor.warn(&warning(after, waited(), monitor.progress_line()));
            }
        });
        let done = work();
        drop(ended);
        done
    })
}

/// What there is to say of a run that has taken so long.
fn warning(took: Duration, waited: Waited, progress: Option<String>) -> String {
    let longest = waited.limit.max(waited.others);
    let remedy = match longest > took.as_secs_f64() / 2.0 {
        true if waited.others > waited.limit => "allow more (`considerate`), or run when others rest",
        true => "raise `bwlimit`",
        false => {
            "a first copy takes its time; otherwise look for a slow disk, or leave out what need not be mirrored"
        }
    };
    let mut line = format!("this run has taken {}, {LATE_AFTER} times the interval", duration(took));
    line += &progress.map(|progress| format!(" ({progress})")).unwrap_or_default();
    line += &waited.words().map(|words| format!("; it {words}")).unwrap_or_default();
    format!("{line}; the mirror is as old as the last run: {remedy}")
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::monitor::Unit;
    use std::sync::Mutex;

    #[derive(Default)]
    struct Heard(Mutex<Vec<String>>);

    impl Monitor for Heard {
        fn note(&self, _: &str) {}
        fn warn(&self, text: &str) {
            self.0.lock().expect("not poisoned").push(text.to_owned());
        }
        fn begin(&self, _: &str, _: Option<u64>, _: Unit) {}
        fn advance(&self, _: u64) {}
        fn end(&self) {}
        fn progress_line(&self) -> Option<String> {
            Some("copying: 3 of 4".into())
        }
    }

    #[test]
    fn work_that_takes_too_long_is_told_of_once_and_done() {
        let heard = Heard::default();
        let said = || heard.0.lock().expect("not poisoned").len();
        let done = told(&heard, Duration::from_millis(5), &Waited::default, || {
            while said() == 0 {
                std::thread::yield_now();
            }
            std::thread::sleep(Duration::from_millis(20));
            7
        });
        assert_eq!((done, said()), (7, 1));
    }

    #[test]
    fn work_that_ends_in_time_is_not_waited_for() {
        let heard = Heard::default();
        assert_eq!(told(&heard, AFTER, &Waited::default, || 7), 7);
        assert!(heard.0.lock().expect("not poisoned").is_empty());
    }

    #[test]
    fn the_warning_says_what_the_run_waits_for_and_what_to_do() {
        let hour = Duration::from_secs(3600);
        let text = warning(hour, Waited { limit: 0.0, others: 3000.0 }, Some("copying: 3 of 4".into()));
        assert_eq!(
            text,
            "this run has taken 1h00m, 4 times the interval (copying: 3 of 4); it waited 50m00s for others; the mirror is \
             as old as the last run: allow more (`considerate`), or run when others rest"
        );
        assert!(warning(hour, Waited { limit: 3500.0, others: 9.0 }, None).ends_with("raise `bwlimit`"));
        assert!(warning(hour, Waited::default(), None).contains("a first copy takes its time"));
    }
}
