//! How fast the engine may work: a limit on what it reads, and consideration for others who wait.
//!
//! Both are token buckets that all threads share. That of the limit holds bytes; that of consideration holds time at work:
//! a thread that comes here pays for the time since it was here last, and waits while more is owed than has come in. So
//! few threads at once and long rests between small pieces of work are one and the same, and nothing comes in bursts.

mod bucket;
mod gauge;
mod governor;

use crate::monitor::Monitor;
use crate::sys::signal::stop_requested;
use bucket::Bucket;
use gauge::Gauge;
use governor::{Governor, MOST};
use std::cell::Cell;
use std::sync::atomic::{AtomicBool, Ordering::Relaxed};
use std::sync::{Arc, Mutex, Weak};
use std::time::{Duration, Instant};

/// No wait is longer without asking whether to stop, or to go on.
const SLICE: Duration = Duration::from_millis(20);
/// No more than this is paid for at once, in seconds: a flush may take long, and its wait would be many times that.
const DEAREST: f64 = 0.25;
/// How much time at work may be saved up, in seconds.
const SAVED: f64 = 0.005;
/// How much of a second the limit lets through at once.
const BURST: f64 = 0.1;

thread_local! {
    /// When this thread went to work last.
    static SINCE: Cell<Option<Instant>> = const { Cell::new(None) };
}

/// What was waited, in seconds of wall time: while any thread was held back.
#[derive(Debug, Clone, Copy, Default, PartialEq)]
pub struct Waited {
    /// For the limit.
    pub limit: f64,
    /// For others.
    pub others: f64,
}

/// The pace of a whole run: all its threads, on all file systems.
#[derive(Debug)]
pub struct Pace {
    begun: Instant,
    limit: Option<Mutex<Bucket>>,
    /// Time at work; none if nobody is considered.
    work: Option<Mutex<Bucket>>,
    is_free: AtomicBool,
    stands_still: AtomicBool,
    for_limit: Meter,
    for_others: Meter,
}

impl Pace {
    /// Reads at most `limit` bytes of the source a second, if there is a limit, and works on as much as lets others be
    /// stalled for no more than `share` (0 to 1) of the time, if that is set. A kernel that does not tell whether they are
    /// is no reason not to work: it is noted.
    pub fn new(limit: Option<u64>, share: Option<f64>, monitor: &dyn Monitor) -> Arc<Pace> {
        let governed = share.and_then(|share| match Gauge::here() {
            Ok(gauge) => Some((gauge, share)),
            Err(error) => {
                monitor.note(&format!(
                    "others are not considered: the kernel does not tell who waits ({error})"
                ));
                None
            }
        });
        let pace = Arc::new(Pace {
            begun: Instant::now(),
            limit: limit.map(|rate| Mutex::new(Bucket::new(rate as f64, rate as f64 * BURST))),
            work: governed.is_some().then(|| Mutex::new(Bucket::new(MOST, SAVED))),
            is_free: AtomicBool::new(true),
            stands_still: AtomicBool::new(false),
            for_limit: Meter::default(),
            for_others: Meter::default(),
        });
        if let Some((gauge, share)) = governed {
            let pace = Arc::downgrade(&pace);
            std::thread::spawn(move || govern(&pace, gauge, share));
        }
        pace
    }
    /// What was waited so far.
    pub fn waited(&self) -> Waited {
        Waited { limit: self.for_limit.seconds(), others: self.for_others.seconds() }
    }
    /// Whether others are considered.
    pub(in crate::tree) fn is_considerate(&self) -> bool {
        self.work.is_some()
    }
    /// Whether others are being given way just now.
    pub(in crate::tree) fn gives_way(&self) -> bool {
        !self.is_free.load(Relaxed)
    }
    /// This thread has waited for something else than the disk, and begins to work.
    pub(in crate::tree) fn arrive(&self) {
        if self.work.is_some() {
            SINCE.set(Some(Instant::now()));
        }
    }
    /// Comes before a piece of work that reads `bytes` of the source: waits until that is due, or somebody wants the run to
    /// stop.
    pub(in crate::tree) fn step(&self, bytes: u64) {
        if let Some(limit) = &self.limit
            && bytes > 0
        {
            let wait = limit.lock().expect("no thread panics while counting").take(bytes as f64, self.now());
            self.for_limit.hold(wait, || false);
        }
        if let Some(work) = &self.work {
            self.give_way(work);
        }
    }
    fn give_way(&self, work: &Mutex<Bucket>) {
        if self.gives_way() {
            let spent = SINCE.take().map_or(0.0, |since| since.elapsed().as_secs_f64().min(DEAREST));
            let wait = work.lock().expect("no thread panics while counting").take(spent, self.now());
            self.for_others.hold(wait, || self.is_free.load(Relaxed));
        }
        if self.stands_still.load(Relaxed) {
            self.for_others.hold(f64::INFINITY, || !self.stands_still.load(Relaxed));
        }
        SINCE.set(Some(Instant::now()));
    }
    fn now(&self) -> f64 {
        self.begun.elapsed().as_secs_f64()
    }
    /// From now on so many threads may be at work on average.
    fn allow(&self, threads: f64) {
        if let Some(work) = &self.work {
            work.lock().expect("no thread panics while counting").set_rate(threads, self.now());
        }
        self.is_free.store(threads >= MOST, Relaxed);
    }
    fn stand_still(&self, still: bool) {
        self.stands_still.store(still, Relaxed);
    }
}

/// Looks at others as long as there is work.
fn govern(pace: &Weak<Pace>, mut gauge: Gauge, share: f64) {
    let mut governor = Governor::new(share, gauge.sees_our_part());
    loop {
        let stalled = gauge.look(pace);
        let Some(pace) = pace.upgrade() else { return };
        if let Some(stalled) = stalled {
            pace.allow(governor.judge(stalled));
        }
    }
}

/// Counts the time in which any thread waits.
#[derive(Debug, Default)]
struct Meter {
    state: Mutex<Waiting>,
}

#[derive(Debug, Default)]
struct Waiting {
    threads: usize,
    since: Option<Instant>,
    before: Duration,
}

impl Meter {
    /// Waits for so many seconds, or until `is_over`, or somebody wants the run to stop.
    fn hold(&self, seconds: f64, is_over: impl Fn() -> bool) {
        if seconds <= 0.0 {
            return;
        }
        let begun = Instant::now();
        self.change(|waiting| waiting.threads += 1);
        loop {
            let left = seconds - begun.elapsed().as_secs_f64();
            if left <= 0.0 || is_over() || stop_requested() {
                break;
            }
            std::thread::sleep(SLICE.min(Duration::try_from_secs_f64(left).unwrap_or(SLICE)));
        }
        self.change(|waiting| waiting.threads -= 1);
    }
    fn change(&self, change: impl FnOnce(&mut Waiting)) {
        let mut waiting = self.state.lock().expect("no thread panics while counting");
        change(&mut waiting);
        match (waiting.threads, waiting.since) {
            (0, Some(since)) => {
                waiting.before += since.elapsed();
                waiting.since = None;
            }
            (1.., None) => waiting.since = Some(Instant::now()),
            _ => {}
        }
    }
    fn seconds(&self) -> f64 {
        let waiting = self.state.lock().expect("no thread panics while counting");
        (waiting.before + waiting.since.map_or(Duration::ZERO, |since| since.elapsed())).as_secs_f64()
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::monitor::Silent;

    #[test]
    fn all_threads_together_read_no_more_than_the_limit() {
        let pace = Pace::new(Some(1 << 20), None, &Silent);
        let begun = Instant::now();
        std::thread::scope(|scope| {
            (0..4).for_each(|_| drop(scope.spawn(|| (0..4).for_each(|_| pace.step(32 << 10)))));
        });
        // 512 KiB less the burst of a tenth of a second.
        let least = 0.4 - 0.001;
        assert!(begun.elapsed().as_secs_f64() >= least, "{:?}", begun.elapsed());
        assert!(pace.waited().limit >= least - 0.1 && pace.waited().others == 0.0, "{:?}", pace.waited());
    }

    #[test]
    fn what_reads_nothing_is_not_held_back_by_a_limit() {
        let pace = Pace::new(Some(1), None, &Silent);
        (0..1000).for_each(|_| pace.step(0));
        assert_eq!(pace.waited(), Waited::default());
    }

    /// With a bucket, and nobody who looks at others.
    fn governed() -> Pace {
        let pace = Arc::try_unwrap(Pace::new(None, None, &Silent)).expect("nobody else has it");
        Pace { work: Some(Mutex::new(Bucket::new(MOST, SAVED))), ..pace }
    }

    #[test]
    fn a_thread_that_gives_way_rests_in_proportion_to_its_work() {
        let pace = governed();
        pace.allow(0.1);
        pace.arrive();
        std::thread::sleep(Duration::from_millis(25));
        let begun = Instant::now();
        pace.step(0);
        // 25 ms at a tenth of a thread, less the 5 ms that were saved up.
        assert!(begun.elapsed() >= Duration::from_millis(199), "{:?}", begun.elapsed());
        assert!(pace.waited().others >= 0.19);
    }

    #[test]
    fn who_waits_goes_on_as_soon_as_nobody_is_in_the_way() {
        let pace = governed();
        pace.stand_still(true);
        std::thread::scope(|scope| {
            let waits = scope.spawn(|| pace.step(0));
            while pace.waited().others < 0.03 {
                std::thread::yield_now();
            }
            assert!(!waits.is_finished());
            pace.stand_still(false);
        });
        pace.allow(MOST);
        let before = pace.waited();
        (0..1000).for_each(|_| pace.step(0));
        assert_eq!(pace.waited(), before);
    }
}
