//! What a scan found, in figures, and whether so much may be deleted. Pure.

use super::change::Action;
use super::relpath::RelPath;
use crate::sys::stat::{Kind, Stat};

/// A list of deletions is questioned only beyond this many entries …
const QUESTIONED_ENTRIES: u64 = 1000;
/// … and beyond this part of all entries, in percent.
const QUESTIONED_PERCENT: u64 = 25;
/// How many of the directories that lose most are named.
const NAMED: usize = 10;
/// How many unread directories are named.
const NAMED_UNREAD: usize = 100;

/// What is to be done, in figures.
#[derive(Debug, Default, Clone)]
pub struct Tally {
    /// Entries of the source.
    pub entries_scanned: u64,
    /// Entries of the mirror, without its own.
    pub mirror_entries: u64,
    /// Entries to make or replace.
    pub to_copy: u64,
    /// Their content, in bytes.
    pub to_copy_bytes: u64,
    /// Of them, entries that take the place of another.
    pub to_replace: u64,
    /// Content of what is to be replaced or deleted, in bytes: as far as it was looked at.
    pub to_free_bytes: u64,
    /// Entries whose metadata alone is to be changed.
    pub to_adjust: u64,
    /// Files and directories to rename; what is below a directory goes with it.
    pub to_rename: u64,
    /// Entries to delete, those below deleted directories included.
    pub to_delete: u64,
    /// The directories that lose most entries, the greatest loss first: ten at most.
    pub losing_most: Vec<(RelPath, u64)>,
    /// Directories of the source that could not be read whole: nothing below them is deleted.
    pub unread: Vec<RelPath>,
    digest: [u64; 4],
}

impl Tally {
    /// Enters what is to be done with one entry, other than deleting it.
    pub(super) fn enter(&mut self, action: Action, size: u64) {
        match action {
            Action::Make => {
                self.to_copy += 1;
                self.to_copy_bytes += size;
            }
            Action::Adjust => self.to_adjust += 1,
            Action::Rename => self.to_rename += 1,
            Action::Delete | Action::Vacate => {}
        }
    }
    /// Enters that a file of the mirror makes room: `stat` is what it is now.
    pub(super) fn frees(&mut self, stat: &Stat) {
        if stat.kind == Kind::File && stat.nlink == 1 {
            self.to_free_bytes += stat.size;
        }
    }
    /// Enters that a file is renamed that was entered as to be made.
    pub(super) fn is_renamed(&mut self, size: u64) {
        self.to_copy -= 1;
        self.to_copy_bytes -= size;
        self.to_rename += 1;
    }
    /// Enters a deletion's path. The order does not count, so that threads may enter them.
    pub(super) fn delete(&mut self, path: &RelPath) {
        self.to_delete += 1;
        for (lane, part) in self.digest.iter_mut().zip(lanes(path)) {
            *lane = lane.wrapping_add(part);
        }
    }
    /// Takes back a deletion that was entered.
    pub(super) fn spare(&mut self, path: &RelPath) {
        self.to_delete -= 1;
        for (lane, part) in self.digest.iter_mut().zip(lanes(path)) {
            *lane = lane.wrapping_sub(part);
        }
    }
    /// Enters what one directory loses.
    pub(super) fn loses(&mut self, path: RelPath, entries: u64) {
        self.losing_most.push((path, entries));
        if self.losing_most.len() > 4 * NAMED {
            self.keep_greatest();
        }
    }
    fn keep_greatest(&mut self) {
        self.losing_most.sort_by(|a, b| b.1.cmp(&a.1).then_with(|| a.0.cmp(&b.0)));
        self.losing_most.truncate(NAMED);
    }
    /// Enters a directory that could not be read whole.
    pub(super) fn unread(&mut self, path: RelPath) {
        if self.unread.len() < NAMED_UNREAD {
            self.unread.push(path);
        }
    }
    /// Adds what another thread found.
    pub(super) fn merge(&mut self, other: Tally) {
        self.entries_scanned += other.entries_scanned;
        self.mirror_entries += other.mirror_entries;
        self.to_copy += other.to_copy;
        self.to_copy_bytes += other.to_copy_bytes;
        self.to_replace += other.to_replace;
        self.to_free_bytes += other.to_free_bytes;
        self.to_adjust += other.to_adjust;
        self.to_rename += other.to_rename;
        self.to_delete += other.to_delete;
        for (lane, more) in self.digest.iter_mut().zip(other.digest) {
            *lane = lane.wrapping_add(more);
        }
        self.losing_most.extend(other.losing_most);
        self.keep_greatest();
        other.unread.into_iter().for_each(|path| self.unread(path));
    }
    /// Twelve hexadecimal digits that stand for exactly this list of deletions, whatever its order.
    pub fn deletion_digest(&self) -> String {
        let mut hasher = blake3::Hasher::new();
        hasher.update(&self.to_delete.to_le_bytes());
        for lane in self.digest {
            hasher.update(&lane.to_le_bytes());
        }
        hasher.finalize().to_hex()[..12].to_owned()
    }
}

fn lanes(path: &RelPath) -> [u64; 4] {
    let hash = path.digest();
    let (lanes, _) = hash.as_chunks::<8>();
    std::array::from_fn(|lane| u64::from_le_bytes(lanes[lane]))
}

/// So much would be deleted that somebody should look first.
#[derive(Debug, Clone, thiserror::Error)]
#[error("{to_delete} of {mirror_entries} entries would be deleted")]
pub struct TooManyDeletions {
    /// Entries that would be deleted.
    pub to_delete: u64,
    /// Entries of the mirror.
    pub mirror_entries: u64,
    /// Whether the source has no entries at all: it is probably not mounted.
    pub source_empty: bool,
    /// The directories that lose most, the greatest loss first.
    pub losing_most: Vec<(RelPath, u64)>,
    /// What lets exactly this list through.
    pub digest: String,
}

/// Looks at the whole list: all of it may be carried out, or nothing.
///
/// Refused are more than 25 % of the mirror's entries if they are more than 1,000, and an empty source of a mirror
/// that is not. `accept` is the digest of the one list that somebody has looked at.
///
/// # Errors
/// What is too much.
pub fn decide(tally: &Tally, accept: Option<&str>) -> Result<(), TooManyDeletions> {
    let source_empty = tally.entries_scanned == 0 && tally.mirror_entries > 0;
    let percent = u128::from(tally.to_delete) * 100;
    let many = tally.to_delete > QUESTIONED_ENTRIES
        && percent > u128::from(tally.mirror_entries) * u128::from(QUESTIONED_PERCENT);
    let digest = tally.deletion_digest();
    if !(source_empty || many) || accept == Some(&digest) {
        return Ok(());
    }
    Err(TooManyDeletions {
        to_delete: tally.to_delete,
        mirror_entries: tally.mirror_entries,
        source_empty,
        losing_most: tally.losing_most.clone(),
        digest,
    })
}

#[cfg(test)]
mod tests {
    use super::*;

    fn deleting(to_delete: u64, mirror_entries: u64) -> Tally {
        let mut tally = Tally { entries_scanned: 1, mirror_entries, ..Tally::default() };
        (0..to_delete).for_each(|n| tally.delete(&RelPath::from_bytes(format!("f{n}"))));
        tally
    }

    #[test]
    fn more_than_a_quarter_and_more_than_a_thousand_is_questioned() {
        assert!(decide(&deleting(1001, 4004), None).is_ok(), "exactly a quarter");
        assert!(decide(&deleting(1001, 4003), None).is_err());
        assert!(decide(&deleting(1000, 1000), None).is_ok(), "exactly a thousand");
    }

    #[test]
    fn only_the_list_that_was_looked_at_is_let_through() {
        let tally = deleting(2000, 2000);
        let refused = decide(&tally, None).expect_err("all would go");
        assert!(decide(&tally, Some(&refused.digest)).is_ok());
        assert!(decide(&deleting(2001, 2001), Some(&refused.digest)).is_err());
    }

    #[test]
    fn an_empty_source_is_questioned_however_small_the_mirror() {
        let tally = Tally { mirror_entries: 1, ..Tally::default() };
        assert!(decide(&tally, None).expect_err("empty").source_empty);
        assert!(decide(&Tally::default(), None).is_ok(), "both are empty");
    }

    #[test]
    fn the_digest_does_not_depend_on_the_order_or_the_threads() {
        let (mut one, mut other, mut rest) = (Tally::default(), Tally::default(), Tally::default());
        ["a", "b", "c"].iter().for_each(|path| one.delete(&RelPath::from_bytes(*path)));
        ["c"].iter().for_each(|path| other.delete(&RelPath::from_bytes(*path)));
        ["b", "a"].iter().for_each(|path| rest.delete(&RelPath::from_bytes(*path)));
        other.merge(rest);
        assert_eq!(one.deletion_digest(), other.deletion_digest());
    }

    #[test]
    fn what_is_spared_leaves_no_trace_in_the_digest() {
        let (mut tally, without) = (deleting(2, 9), deleting(2, 9));
        tally.delete(&RelPath::from_bytes("kept"));
        assert_ne!(tally.deletion_digest(), without.deletion_digest());
        tally.spare(&RelPath::from_bytes("kept"));
        assert_eq!(tally.deletion_digest(), without.deletion_digest());
    }

    #[test]
    fn the_ten_greatest_losses_are_named_greatest_first() {
        let mut tally = Tally::default();
        (1..100).for_each(|n| tally.loses(RelPath::from_bytes(format!("d{n}")), n));
        tally.merge(Tally::default());
        let losses: Vec<u64> = tally.losing_most.iter().map(|(_, entries)| *entries).collect();
        assert_eq!(losses, (90..100).rev().collect::<Vec<_>>());
    }
}
