//! One pass over a source and a mirror: the two views, what was asked for, and what is counted.

use super::attrs::Rules;
use super::counts::Counts;
use super::excludes::Excludes;
use super::fault::{Error, Fault};
use super::relpath::RelPath;
use super::view::View;
use super::wanted::Wanted;
use crate::monitor::Monitor;
use crate::sys::signal::{progress_requested, stop_requested};
use crate::sys::stat::{Stat, Timestamp};
use crate::sys::{dir, flags};
use std::io;
use std::os::fd::OwnedFd;
use std::sync::Mutex;

/// How two trees are compared and made equal.
#[derive(Debug, Clone)]
pub struct Options {
    /// What is left out on both sides.
    pub excludes: Excludes,
    /// What the mirror shall hold instead of the source's content.
    pub wanted: Wanted,
    /// After a run that did not end: every mirror inode whose own ctime is not older is compared by content.
    pub suspect_since: Option<Timestamp>,
    /// Compare the content of every file, whatever its size and time say.
    pub compare_content: bool,
    /// Whether owners, trusted and security attributes and device nodes can be set.
    pub privileged: bool,
    /// Threads to work with; 0 is one for each processor, eight at most.
    pub threads: usize,
}

impl Default for Options {
    fn default() -> Self {
        Options {
            excludes: Excludes::default(),
            wanted: Wanted::default(),
            suspect_since: None,
            compare_content: false,
            privileged: rustix::process::geteuid().is_root(),
            threads: 0,
        }
    }
}

impl Options {
    pub(super) fn thread_count(&self) -> usize {
        match self.threads {
            0 => std::thread::available_parallelism().map_or(1, |n| n.get().min(8)),
            n => n,
        }
    }
    /// Whether a file of the mirror may hold something else than its size and time say.
    pub(super) fn suspects(&self, mirror: &Stat) -> bool {
        self.compare_content || self.suspect_since.is_some_and(|since| mirror.ctime >= since)
    }
}

/// What every part of the work needs.
pub(super) struct Pass<'a> {
    pub source: &'a View,
    pub mirror: &'a View,
    pub options: &'a Options,
    pub rules: Rules,
    pub monitor: &'a dyn Monitor,
    counts: Mutex<Counts>,
}

impl<'a> Pass<'a> {
    pub fn new(
        source: &'a View,
        mirror: &'a View,
        options: &'a Options,
        monitor: &'a dyn Monitor,
    ) -> Result<Self, Error> {
        let settable = |view: &View| flags::settable(view.root()).map_err(at_root("examining"));
        let keeps_owners = |view: &View| flags::keeps_owners(view.root()).map_err(at_root("examining"));
        let owners = keeps_owners(source)? && keeps_owners(mirror)?;
        let rules = Rules::new(options.privileged, settable(source)?, settable(mirror)?, owners);
        Ok(Pass { source, mirror, options, rules, monitor, counts: Mutex::default() })
    }
    /// Opens a directory of the source.
    pub fn source_dir(&self, path: &RelPath) -> io::Result<dir::Handle> {
        open(self.source, path)
    }
    /// Opens a directory of the mirror.
    pub fn mirror_dir(&self, path: &RelPath) -> io::Result<dir::Handle> {
        open(self.mirror, path)
    }
    /// Whether to end at this point. Whoever asked how far the work is has an answer by then.
    pub fn stopped(&self) -> bool {
        if progress_requested()
            && let Some(line) = self.monitor.progress_line()
        {
            self.monitor.answer(&line);
        }
        stop_requested()
    }
    /// Ends the work if somebody asked for it.
    pub fn go_on(&self) -> Result<(), Error> {
        if self.stopped() { Err(Error::Stopped) } else { Ok(()) }
    }
    /// Adds to what was counted.
    pub fn count(&self, add: impl FnOnce(&mut Counts)) {
        add(&mut self.counts.lock().expect("no thread panics while counting"));
    }
    /// Enters a fault; only one that ends the whole work comes back.
    pub fn fault(&self, path: RelPath, fault: Fault) -> Result<(), Error> {
        self.counts.lock().expect("no thread panics while counting").enter(path, fault, self.monitor)
    }
    /// Enters the fault of a result, if it is one.
    pub fn enter<T>(
        &self,
        path: impl FnOnce() -> RelPath,
        result: Result<T, Fault>,
    ) -> Result<Option<T>, Error> {
        match result {
            Ok(value) => Ok(Some(value)),
            Err(fault) => self.fault(path(), fault).map(|()| None),
        }
    }
    /// What was counted since the last call.
    pub fn take_counts(&self) -> Counts {
        std::mem::take(&mut *self.counts.lock().expect("no thread panics while counting"))
    }
}

fn open(view: &View, path: &RelPath) -> io::Result<dir::Handle> {
    let fd: OwnedFd = dir::open_dir(view.root(), path.as_bytes())?;
    Ok(dir::Handle { fd, path_only: false })
}

/// Says that an error concerns the whole tree.
pub(super) fn at_root(doing: &'static str) -> impl Fn(io::Error) -> Error {
    move |error| Error::Io { doing, path: RelPath::root(), error }
}
