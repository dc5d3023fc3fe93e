//! How work tells what it does: to a terminal, a log, or a test.
//!
//! Work knows only the `Monitor` trait. It never prints, and nothing it tells decides anything.

use crate::escape;
use crate::units::{Bytes, duration, rate, thousands};
use indicatif::{ProgressBar, ProgressStyle};
use std::io::Write;
use std::sync::Mutex;
use std::sync::atomic::{AtomicU64, Ordering::Relaxed};
use std::time::{Duration, Instant};

/// What progress is counted in.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Unit {
    /// Bytes: shown with a rate and the time left.
    Bytes,
    /// Entries of a tree.
    Entries,
}

/// Receives what work has to say. Methods may be called from several threads.
pub trait Monitor: Sync {
    /// Something worth a line: a step begun, a figure.
    fn note(&self, text: &str);
    /// Something that is wrong, or may be.
    fn warn(&self, text: &str);
    /// What somebody has asked for: told by a quiet monitor too.
    fn answer(&self, text: &str) {
        self.note(text);
    }
    /// A stretch of work begins, of `total` units if that is known.
    fn begin(&self, what: &str, total: Option<u64>, unit: Unit);
    /// The stretch has come this many units further.
    fn advance(&self, units: u64);
    /// The stretch has ended.
    fn end(&self);
    /// One line that says how far the present stretch is: what `SIGUSR1` prints.
    fn progress_line(&self) -> Option<String> {
        None
    }
}

/// Says nothing: for tests, and for work inside other work.
pub struct Silent;

impl Monitor for Silent {
    fn note(&self, _: &str) {}
    fn warn(&self, _: &str) {}
    fn begin(&self, _: &str, _: Option<u64>, _: Unit) {}
    fn advance(&self, _: u64) {}
    fn end(&self) {}
}

/// The present stretch of work, as figures.
struct Stretch {
    what: String,
    total: Option<u64>,
    unit: Unit,
    since: Instant,
    done: AtomicU64,
    last_line: Mutex<Instant>,
}

impl Stretch {
    fn line(&self) -> String {
        let done = self.done.load(Relaxed);
        let elapsed = self.since.elapsed();
        let amount = |n: u64| match self.unit {
            Unit::Bytes => Bytes(n).to_string(),
            Unit::Entries => thousands(n),
        };
        let mut line = format!("{}: {}", self.what, amount(done));
        if let Some(total) = self.total.filter(|total| *total > 0) {
            line += &format!(" of {} ({}%)", amount(total), done.min(total) * 100 / total);
        }
        if self.unit == Unit::Bytes {
            line += &format!(", {}/s", rate(Bytes(done), elapsed));
        }
        if let Some(left) = self.total.and_then(|total| time_left(done, total, elapsed)) {
            line += &format!(", {} left", duration(left));
        }
        line
    }
}

fn time_left(done: u64, total: u64, elapsed: Duration) -> Option<Duration> {
    (done > 0 && total > done).then(|| elapsed.mul_f64((total - done) as f64 / done as f64))
}

/// Lines to a writer, and now and then one about progress: for a log, a pipe, cron and the journal.
pub struct Lines<W: Write + Send> {
    out: Mutex<W>,
    every: Duration,
    notes: bool,
    stretch: Mutex<Option<Stretch>>,
}

impl<W: Write + Send> Lines<W> {
    /// Writes notes, warnings, and a line about progress each `every`.
    pub fn new(out: W, every: Duration) -> Self {
        Lines { out: Mutex::new(out), every, notes: true, stretch: Mutex::new(None) }
    }
    /// Writes warnings only: what a timer's run says while nothing is wrong.
    pub fn quiet(out: W) -> Self {
        Lines { notes: false, ..Lines::new(out, Duration::MAX) }
    }
    fn put(&self, text: &str) {
        // A log that cannot be written must not stop the work it reports on.
        let _ = writeln!(
            self.out.lock().expect("a monitor does not panic while printing"),
            "{}",
            escape::lines(text)
        );
    }
    fn stretch(&self) -> std::sync::MutexGuard<'_, Option<Stretch>> {
        self.stretch.lock().expect("a monitor does not panic while counting")
    }
}

impl<W: Write + Send> Monitor for Lines<W> {
    fn note(&self, text: &str) {
        if self.notes {
            self.put(text);
        }
    }
    fn warn(&self, text: &str) {
        self.put(&format!("warning: {text}"));
    }
    fn answer(&self, text: &str) {
        self.put(text);
    }
    fn begin(&self, what: &str, total: Option<u64>, unit: Unit) {
        let since = Instant::now();
        let (done, last_line) = (AtomicU64::new(0), Mutex::new(since));
        *self.stretch() = Some(Stretch { what: what.to_owned(), total, unit, since, done, last_line });
    }
    fn advance(&self, units: u64) {
        let guard = self.stretch();
        let Some(stretch) = guard.as_ref() else { return };
        stretch.done.fetch_add(units, Relaxed);
        let mut last = stretch.last_line.lock().expect("a monitor does not panic while counting");
        if self.notes && last.elapsed() >= self.every {
            *last = Instant::now();
            self.put(&stretch.line());
        }
    }
    fn end(&self) {
        *self.stretch() = None;
    }
    fn progress_line(&self) -> Option<String> {
        self.stretch().as_ref().map(Stretch::line)
    }
}

/// A bar on a terminal, drawn on stderr; notes scroll above it.
pub struct Bars {
    bar: Mutex<Option<ProgressBar>>,
}

impl Bars {
    /// For a stderr that is a terminal.
    pub fn new() -> Self {
        Bars { bar: Mutex::new(None) }
    }
    fn bar(&self) -> std::sync::MutexGuard<'_, Option<ProgressBar>> {
        self.bar.lock().expect("a monitor does not panic while drawing")
    }
    fn put(&self, text: &str) {
        // A terminal that is gone must not stop the work it reports on.
        let write = || drop(writeln!(std::io::stderr(), "{}", escape::lines(text)));
        match self.bar().as_ref() {
            Some(bar) => bar.suspend(write),
            None => write(),
        }
    }
}

impl Default for Bars {
    fn default() -> Self {
        Bars::new()
    }
}

impl Monitor for Bars {
    fn note(&self, text: &str) {
        self.put(text);
    }
    fn warn(&self, text: &str) {
        self.put(&format!("warning: {text}"));
    }
    fn begin(&self, what: &str, total: Option<u64>, unit: Unit) {
        let template = match (unit, total) {
            (Unit::Bytes, Some(_)) => {
                "{msg} [{bar:30}] {binary_bytes}/{binary_total_bytes} {binary_bytes_per_sec}, {eta} left"
            }
            (Unit::Bytes, None) => "{msg} {spinner} {binary_bytes} {binary_bytes_per_sec}",
            (Unit::Entries, Some(_)) => "{msg} [{bar:30}] {human_pos}/{human_len}, {eta} left",
            (Unit::Entries, None) => "{msg} {spinner} {human_pos}",
        };
        let style = ProgressStyle::with_template(template).expect("the template is one of the four above");
        let bar = total.map_or_else(ProgressBar::new_spinner, ProgressBar::new);
        bar.set_style(style.progress_chars("=> "));
        bar.set_message(what.to_owned());
        *self.bar() = Some(bar);
    }
    fn advance(&self, units: u64) {
        if let Some(bar) = self.bar().as_ref() {
            bar.inc(units);
        }
    }
    fn end(&self) {
        if let Some(bar) = self.bar().take() {
            bar.finish_and_clear();
        }
    }
    fn progress_line(&self) -> Option<String> {
        self.bar().as_ref().map(|bar| match bar.length() {
            Some(total) => {
                format!("{}: {} of {total}, {} left", bar.message(), bar.position(), duration(bar.eta()))
            }
            None => format!("{}: {}", bar.message(), bar.position()),
        })
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn lines_tell_how_far_the_work_is() {
        let lines = Lines::new(Vec::new(), Duration::MAX);
        lines.begin("filling /dev/sdb5", Some(400), Unit::Entries);
        lines.advance(100);
        let line = lines.progress_line().expect("a stretch has begun");
        assert!(line.starts_with("filling /dev/sdb5: 100 of 400 (25%), "), "{line}");
        lines.end();
        assert_eq!(lines.progress_line(), None);
    }

    #[test]
    fn a_quiet_monitor_still_says_what_is_wrong_and_answers() {
        let lines = Lines::quiet(Vec::new());
        lines.note("all is well");
        lines.warn("the disk is dying");
        lines.answer("copying: 3 of 4");
        let said = lines.out.into_inner().expect("not poisoned");
        assert_eq!(said, b"warning: the disk is dying\ncopying: 3 of 4\n");
    }
}
