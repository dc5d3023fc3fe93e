//! What a verification finds.

use crate::sys::stat::Timestamp;
use crate::tree::base::relpath::RelPath;
use crate::tree::changes::change::Aspects;
use std::fmt;
use std::io;
use std::sync::Mutex;
use std::sync::atomic::{AtomicU64, Ordering::Relaxed};

/// How many differences are kept by name; all are counted.
const KEPT: usize = 10_000;

/// Which side is not what it should be.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Side {
    /// The source: its content changed, and its times did not.
    Source,
    /// The mirror: it is not what was written to it.
    Mirror,
    /// One of them: nothing tells which.
    Unknown,
}

/// In what.
#[derive(Debug)]
pub enum What {
    /// Its content.
    Content,
    /// Metadata.
    Metadata(Aspects),
    /// It is not there.
    Missing,
    /// It should not be there.
    Extra,
    /// It is of another type.
    Type,
    /// It is not the same inode as its other names.
    Link,
    /// It could not be read: in doing what, and what the system said.
    Unreadable(&'static str, io::Error),
}

impl fmt::Display for What {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            What::Content => f.write_str("other content"),
            What::Metadata(aspects) => write!(f, "other {}", aspects.names().join(", ")),
            What::Missing => f.write_str("missing"),
            What::Extra => f.write_str("nobody should have made it"),
            What::Type => f.write_str("of another type"),
            What::Link => f.write_str("not the same file as under its other names"),
            What::Unreadable(doing, error) => write!(f, "{doing}: {error}"),
        }
    }
}

/// A file of the source whose content changed although its times did not.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Damage {
    /// Its inode.
    pub ino: u64,
    /// Its ctime.
    pub ctime: Timestamp,
    /// BLAKE3 of what it holds.
    pub bad: [u8; 32],
    /// BLAKE3 of what it held when it was copied.
    pub good: [u8; 32],
}

/// One entry that is not what it should be.
#[derive(Debug)]
pub struct Difference {
    /// Which.
    pub path: RelPath,
    /// On which side.
    pub side: Side,
    /// In what.
    pub what: What,
    /// What is known of a damaged file of the source.
    pub damage: Option<Damage>,
}

/// What was found.
#[derive(Debug, Default)]
pub struct Verified {
    /// Entries that were compared.
    pub entries: u64,
    /// Files whose content was read on both sides.
    pub files: u64,
    /// Bytes of content that were read on each side; holes are not.
    pub bytes: u64,
    /// Entries of the source that have changed since the last run, and differ.
    pub changed_since: u64,
    /// Differences: of the source, of the mirror, of one of them.
    pub counts: [u64; 3],
    /// The first of them.
    pub differences: Vec<Difference>,
    /// Paths whose content was found to be the same on both sides, of those that somebody wanted to know of.
    pub sound: Vec<RelPath>,
}

impl Verified {
    /// How many differences there are of `side`.
    pub fn count(&self, side: Side) -> u64 {
        self.counts[side as usize]
    }
}

/// The same while it is found, by several threads.
#[derive(Default)]
pub(super) struct Findings {
    pub entries: AtomicU64,
    pub files: AtomicU64,
    pub bytes: AtomicU64,
    pub changed_since: AtomicU64,
    counts: [AtomicU64; 3],
    differences: Mutex<Vec<Difference>>,
    sound: Mutex<Vec<RelPath>>,
}

impl Findings {
    pub fn changed(&self) {
        self.changed_since.fetch_add(1, Relaxed);
    }
    pub fn sound(&self, path: RelPath) {
        self.sound.lock().expect("no thread panics while noting").push(path);
    }
    pub fn add(&self, difference: Difference) {
        self.counts[difference.side as usize].fetch_add(1, Relaxed);
        let mut all = self.differences.lock().expect("no thread panics while noting");
        if all.len() < KEPT {
            all.push(difference);
        }
    }
    pub fn into_verified(self) -> Verified {
        let mut differences = self.differences.into_inner().expect("no thread panics while noting");
        differences.sort_by(|a, b| a.path.cmp(&b.path));
        Verified {
            entries: self.entries.into_inner(),
            files: self.files.into_inner(),
            bytes: self.bytes.into_inner(),
            changed_since: self.changed_since.into_inner(),
            counts: self.counts.map(AtomicU64::into_inner),
            differences,
            sound: self.sound.into_inner().expect("no thread panics while noting"),
        }
    }
}
