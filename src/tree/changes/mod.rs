//! What is to be done: changes as values, on their way from who finds them to who makes them.

pub(super) mod change;
pub(super) mod dir_move;
pub(super) mod itemise;
pub(super) mod links;
pub(super) mod losses;
pub(super) mod recent;
pub(super) mod spool;
pub(super) mod tally;

use crate::tree::base::stats::Counts;
use crate::tree::changes::dir_move::DirMove;
use crate::tree::changes::links::Links;
use crate::tree::changes::spool::Spool;
use crate::tree::changes::tally::Tally;
use std::sync::Mutex;
use std::sync::atomic::{AtomicBool, AtomicU64, AtomicUsize};

/// All that is to be done, as a value: nothing has been written yet.
#[derive(Debug)]
pub struct Changes {
    pub(in crate::tree) additions: Mutex<Spool>,
    pub(in crate::tree) deletions: Mutex<Spool>,
    pub(in crate::tree) moves: Vec<DirMove>,
    pub(in crate::tree) links: Links,
    pub(in crate::tree) tally: Tally,
    pub(in crate::tree) counts: Counts,
    /// How many of the deletions were carried out already, because room was short.
    pub(in crate::tree) deleted: AtomicUsize,
    /// How many records the list of deletions has.
    pub(in crate::tree) deletion_records: usize,
    /// How many entries were not deleted because they may be all that is left of something.
    pub(in crate::tree) held: AtomicU64,
    /// Whether plain files must not be deleted: something of the source cannot be read that may be one of them.
    pub(in crate::tree) holds_files: AtomicBool,
    /// Whether old names must not be taken away: something could not be renamed.
    pub(in crate::tree) holds_old_names: AtomicBool,
}

impl Changes {
    /// What is to be done, in figures.
    pub fn tally(&self) -> &Tally {
        &self.tally
    }
    /// What the scan counted: entries, errors, vanished, deferred.
    pub fn counts(&self) -> &Counts {
        &self.counts
    }
    /// The same, taken out.
    pub fn into_counts(self) -> Counts {
        self.counts
    }
    /// Whether there is anything to make, link or adjust.
    pub(in crate::tree) fn are_additions(&self) -> bool {
        self.tally.to_copy + self.tally.to_adjust + self.tally.to_rename > 0 || !self.links.is_empty()
    }
    /// Whether the trees are equal already.
    pub fn is_empty(&self) -> bool {
        !self.are_additions() && self.tally.to_delete == 0
    }
}
