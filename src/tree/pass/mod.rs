//! One pass over a source and a mirror: the two views, what was asked for, and what is counted.

pub(super) mod comparisons;
mod options;
pub(super) mod remember;
mod rules;
pub(super) mod threads;

pub use options::Options;
pub(super) use rules::Rules;

use crate::monitor::Monitor;
use crate::sys::page_cache::start_writing;
use crate::sys::signal::{progress_requested, stop_requested};
use crate::sys::stat::{Kind, Stat};
use crate::sys::{dir, flags, volume};
use crate::tree::base::fault::{Error, Fault, at_root};
use crate::tree::base::overrides::Want;
use crate::tree::base::relpath::RelPath;
use crate::tree::base::stats::Counts;
use crate::tree::base::view::View;
use crate::tree::memory::blocks::Blocks;
use crate::tree::pass::comparisons::Comparisons;
use std::collections::HashSet;
use std::io;
use std::os::fd::OwnedFd;
use std::sync::Mutex;
use std::sync::atomic::{AtomicBool, AtomicU64, Ordering::Relaxed};
use std::time::{Duration, Instant};

/// What is said of a file whose lease is not given back.
const LEASED: &str = "another process has a lease on it and does not give it back";
/// So long a lease that another process has on one file is waited for …
const LEASE_WAIT: Duration = Duration::from_secs(5);
/// … and so long in all: whoever does not give his back holds nobody up.
const LEASE_WAIT_IN_ALL: Duration = Duration::from_secs(30);
const LEASE_LOOK: Duration = Duration::from_millis(20);
/// What is written at once is divided by this where others are considered.
const CONSIDERATE_PART: u64 = 8;

/// What every part of the work needs.
pub(in crate::tree) struct Pass<'a> {
    pub source: &'a View,
    pub mirror: &'a View,
    pub options: &'a Options,
    pub rules: Rules,
    pub monitor: &'a dyn Monitor,
    /// Whether what was renamed is looked for: the catalog knows the old names.
    pub finds_renames: bool,
    /// What was read of files with several names.
    pub comparisons: Comparisons,
    counts: Mutex<Counts>,
    /// How long leases were waited for, by all threads together.
    waited_ms: AtomicU64,
    /// Whether something of the source cannot be read whose old name the mirror may have anywhere.
    misses: AtomicBool,
    /// Whether something could not be given its new name.
    lost_renames: AtomicBool,
    /// First names of inodes with several, by their numbers, that were made or changed as they had to be.
    in_place: Mutex<HashSet<u32>>,
}

impl<'a> Pass<'a> {
    pub fn new(
        source: &'a View,
        mirror: &'a View,
        options: &'a Options,
        monitor: &'a dyn Monitor,
    ) -> Result<Self, Error> {
        if !dir::reaches_by_proc(mirror.root()) {
            return Err(Error::NeedsProc);
        }
        let rules = Self::rules(source, mirror, options.privileged).map_err(at_root("examining"))?;
        // Whoever worked on them before may have renamed directories.
        [source, mirror].iter().for_each(|view| view.forget_ways());
        let finds_renames = options.catalog.as_ref().is_some_and(|catalog| catalog.is_believed());
        Ok(Pass {
            source,
            mirror,
            options,
            rules,
            monitor,
            finds_renames,
            comparisons: Comparisons::default(),
            counts: Mutex::default(),
            waited_ms: AtomicU64::new(0),
            misses: AtomicBool::new(false),
            lost_renames: AtomicBool::new(false),
            in_place: Mutex::default(),
        })
    }
    /// What is carried over between two trees.
    pub fn rules(source: &View, mirror: &View, privileged: bool) -> io::Result<Rules> {
        let settable = |view: &View| flags::settable(view.root());
        let owners = flags::keeps_owners(source.root())? && flags::keeps_owners(mirror.root())?;
        let whole_seconds = volume::keeps_whole_seconds(mirror.root())?;
        Ok(Rules::new(privileged, settable(source)?, settable(mirror)?, owners, whole_seconds))
    }
    /// Opens a directory of the source.
    pub fn source_dir(&self, path: &RelPath) -> io::Result<dir::Handle> {
        open(self.source, path)
    }
    /// Opens a directory of the mirror.
    pub fn mirror_dir(&self, path: &RelPath) -> io::Result<dir::Handle> {
        open(self.mirror, path)
    }
    /// Opens the regular file `name` of a source's directory. A lease that somebody has on it (fcntl(2), F_SETLEASE: Samba's
    /// oplocks, NFS' delegations) is broken by the attempt, and waited for.
    pub fn open_file(&self, source: &dir::Handle, name: &[u8]) -> io::Result<dir::Handle> {
        let begun = Instant::now();
        loop {
            match dir::open_read(&source.fd, name) {
                Err(error) if error.kind() == io::ErrorKind::WouldBlock => {
                    let waited = Duration::from_millis(self.waited_ms.load(Relaxed));
                    if begun.elapsed() > LEASE_WAIT || waited > LEASE_WAIT_IN_ALL || self.stopped() {
                        return Err(io::Error::new(io::ErrorKind::WouldBlock, LEASED));
                    }
                }
                other => return other,
            }
            std::thread::sleep(LEASE_LOOK);
            self.waited_ms.fetch_add(LEASE_LOOK.as_millis() as u64, Relaxed);
        }
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
    /// Comes between two pieces of work: waits where the pace asks for it, and ends the work if somebody asked for that.
    pub fn go_on(&self) -> Result<(), Error> {
        self.pace(0);
        if self.stopped() { Err(Error::Stopped) } else { Ok(()) }
    }
    /// Comes before `bytes` of the source's content are read: waits where the pace asks for it.
    pub fn pace(&self, bytes: u64) {
        if let Some(pace) = &self.options.pace {
            pace.step(bytes);
        }
    }
    /// This thread had nothing to do before: its pace begins here.
    pub fn arrive(&self) {
        if let Some(pace) = &self.options.pace {
            pace.arrive();
        }
    }
    /// How much may be written at once: with consideration for others less than `full`.
    pub fn burst(&self, full: u64) -> u64 {
        let considerate = self.options.pace.as_ref().is_some_and(|pace| pace.is_considerate());
        if considerate { full / CONSIDERATE_PART } else { full }
    }
    /// Comes when a small file is written: while others are given way to, the disk begins to write it, so that nothing
    /// piles up that a flush would write at once.
    pub fn wrote(&self, mirror: &OwnedFd) {
        if self.options.pace.as_ref().is_some_and(|pace| pace.gives_way()) {
            // Advice: whatever goes wrong is told by the flush.
            let _ = start_writing(mirror, &(0..0));
        }
    }
    /// Whether two files may differ although size and time are the same. What has changed since the catalog was written is
    /// looked at: a time can be set.
    pub fn suspects(&self, proven: bool, source: &Stat, mirror: &Stat) -> bool {
        let options = self.options;
        let believed = options.catalog.as_ref().is_some_and(|catalog| catalog.is_believed());
        let doubted = || believed || options.doubt_since.is_some_and(|since| source.ctime >= since);
        options.compare_content
            || options.suspect_since.is_some_and(|since| mirror.ctime >= since)
            // What the mirror cannot keep of a time tells nothing.
            || source.mtime != mirror.mtime
            || !proven && doubted()
    }
    /// Bytes of content that an entry shall have.
    pub fn size(&self, dir: &RelPath, name: &[u8], stat: &Stat) -> u64 {
        match stat.kind {
            Kind::File => self.options.wanted.of(dir, name).map_or(stat.size, Want::length),
            _ => 0,
        }
    }
    /// Adds to what was counted.
    pub fn count(&self, add: impl FnOnce(&mut Counts)) {
        add(&mut self.counts.lock().expect("no thread panics while counting"));
    }
    /// Enters a fault; only one that ends the whole work comes back.
    pub fn fault(&self, path: RelPath, fault: Fault) -> Result<(), Error> {
        if fault.is_unreadable() {
            self.misses.store(true, Relaxed);
        }
        self.fault_at_home(path, fault)
    }
    /// The same, of an entry that the mirror has under this very name: whatever is wrong, no other name is its.
    pub fn fault_at_home(&self, path: RelPath, fault: Fault) -> Result<(), Error> {
        self.unsettle(&path);
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
    /// As `enter`, for a directory that was to be made, or opened to be worked on: if it was not, nothing that the catalog
    /// says of it is to be believed.
    pub fn enter_dir<T>(&self, path: &RelPath, result: Result<T, Fault>) -> Result<Option<T>, Error> {
        if result.is_err() {
            self.forget(path);
        }
        self.enter(|| path.clone(), result)
    }
    /// Notes that an entry, or something in it, was not brought to its end: the next run looks at both sides of it.
    pub fn unsettle(&self, path: &RelPath) {
        if let Some(catalog) = &self.options.catalog {
            catalog.unsettle(path.clone());
        }
    }
    /// Enters the hash of a file that was copied whole into the next catalog.
    pub fn put_hash(&self, slot: u64, hash: Option<[u8; 32]>) {
        if let (Some(catalog), Some(hash)) = (&self.options.catalog, hash) {
            catalog.put_hash(slot, &hash);
        }
    }
    /// What is known of the blocks of files of this size, if anything is kept.
    pub fn blocks(&self, size: u64) -> Option<&Blocks> {
        self.options.blocks.as_deref().filter(|blocks| blocks.concern(size))
    }
    /// Notes that the mirror's copy of `source` is not what was written to it, whatever is known of its blocks.
    pub fn doubt_blocks(&self, source: &Stat) {
        if let Some(blocks) = &self.options.blocks {
            blocks.forget(source);
        }
    }
    /// Whether something of the source cannot be read that the mirror may have under a name that is to be deleted.
    pub fn misses_something(&self) -> bool {
        self.misses.load(Relaxed)
    }
    /// Notes that a renamed file could not have its new name: its old one must stay.
    pub fn lost_rename(&self) {
        self.lost_renames.store(true, Relaxed);
    }
    /// Whether there was one.
    pub fn has_lost_renames(&self) -> bool {
        self.lost_renames.load(Relaxed)
    }
    /// Notes that an inode with several names has its first one on the mirror.
    pub fn is_in_place(&self, leads: Option<u32>) {
        if let Some(number) = leads {
            self.in_place.lock().expect("no thread panics while noting").insert(number);
        }
    }
    /// Whether it has.
    pub fn has_in_place(&self, number: u32) -> bool {
        self.in_place.lock().expect("no thread panics while noting").contains(&number)
    }
    /// Notes, by the source's inode, that what is known of a directory is not to be believed, wherever that is by now: it was
    /// not brought to its end, and its path may be another's. An inode of 0 is none that was listed.
    pub fn stray(&self, ino: u64) {
        if let (true, Some(catalog)) = (ino != 0, &self.options.catalog) {
            catalog.stray(ino);
        }
    }
    /// Notes that nothing is known of a directory of the mirror.
    pub fn forget(&self, dir: &RelPath) {
        if let Some(catalog) = &self.options.catalog {
            catalog.forget(dir.clone());
        }
    }
    /// What was counted since the last call.
    pub fn take_counts(&self) -> Counts {
        let counts = std::mem::take(&mut *self.counts.lock().expect("no thread panics while counting"));
        counts.say_rest(self.monitor);
        counts
    }
}

fn open(view: &View, path: &RelPath) -> io::Result<dir::Handle> {
    Ok(dir::Handle { fd: view.open_dir(path)?, path_only: false })
}
