//! What a scan found, in figures, and whether so much may be deleted. Pure.
//!
//! 2,000 of 6,000 entries would go, all of them in `home/a`: refused, and `home/a` is named with a code. With that code, or
//! with the directory itself let through, the same list passes, and so does one that is a little longer.

use crate::sys::stat::{Kind, Stat};
use crate::tree::base::relpath::RelPath;
use crate::tree::changes::change::{Change, How};
use crate::tree::changes::losses::{Losing, Losses, MINOR_ENTRIES};

/// So few entries may go with the last one of their file system: a directory that was tried out, a user's own few files.
const NEARLY_EMPTY: u64 = 10;
/// A list of deletions is questioned only beyond this many entries …
const QUESTIONED_ENTRIES: u64 = 1000;
/// … and beyond this part of all entries, in percent.
const QUESTIONED_PERCENT: u64 = 25;
/// A directory that was let through with a code may lose so much more than was shown, in percent …
const MORE_PERCENT: u64 = 10;
/// … and all together so many entries more, wherever they are: a server lives while somebody reads.
const MORE_ENTRIES: u64 = 2 * MINOR_ENTRIES;
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
    /// Directories of the source that could not be read whole: nothing below them is deleted.
    pub unread: Vec<RelPath>,
    losses: Losses,
}

impl Tally {
    /// Enters what is to be done with one entry.
    pub(in crate::tree) fn enter(&mut self, change: &Change) {
        match change.how {
            How::Make => {
                self.to_copy += 1;
                self.to_copy_bytes += change.size;
            }
            How::Adjust => self.to_adjust += 1,
            How::Rename { .. } => self.to_rename += 1,
        }
    }
    /// Enters that a file of the mirror makes room: `stat` is what it is now.
    pub(in crate::tree) fn frees(&mut self, stat: &Stat) {
        if stat.kind == Kind::File && stat.nlink == 1 {
            self.to_free_bytes += stat.size;
        }
    }
    /// Enters that a file is renamed that was entered as to be made.
    pub(in crate::tree) fn is_renamed(&mut self, size: u64) {
        self.to_copy -= 1;
        self.to_copy_bytes -= size;
        self.to_rename += 1;
    }
    /// Enters a deletion: its path, and whose it is, if that is known. The order does not count, so that threads may enter
    /// them.
    pub(in crate::tree) fn delete(&mut self, path: &RelPath, owner: Option<u32>) {
        self.to_delete += 1;
        self.losses.enter(path, owner);
    }
    /// Takes back a deletion that was entered.
    pub(in crate::tree) fn spare(&mut self, path: &RelPath) {
        self.to_delete -= 1;
        self.losses.take_back(path);
    }
    /// Enters a directory that could not be read whole.
    pub(in crate::tree) fn unread(&mut self, path: RelPath) {
        if self.unread.len() < NAMED_UNREAD {
            self.unread.push(path);
        }
    }
    /// Adds what another thread found.
    pub(in crate::tree) fn merge(&mut self, other: Tally) {
        self.entries_scanned += other.entries_scanned;
        self.mirror_entries += other.mirror_entries;
        self.to_copy += other.to_copy;
        self.to_copy_bytes += other.to_copy_bytes;
        self.to_replace += other.to_replace;
        self.to_free_bytes += other.to_free_bytes;
        self.to_adjust += other.to_adjust;
        self.to_rename += other.to_rename;
        self.to_delete += other.to_delete;
        self.losses.merge(other.losses);
        other.unread.into_iter().for_each(|path| self.unread(path));
    }
}

/// What somebody has looked at and lets through, of one file system of one mirror.
#[derive(Debug, Clone, Default)]
pub struct Accepted {
    /// Which file system: the mirror's name, and the UUID of its file system.
    pub scope: String,
    /// The codes that refusals named.
    pub codes: Vec<String>,
    /// Directories: whatever goes below them is not counted.
    pub dirs: Vec<RelPath>,
}

impl Accepted {
    fn has_dir(&self, dir: &RelPath) -> bool {
        self.dirs.contains(dir)
    }
    /// Of each code the number of entries it lets go in `dir`, if it is of that directory.
    fn limits<'a>(&'a self, dir: &'a RelPath) -> impl Iterator<Item = u64> + 'a {
        let limit = |code: &String| code.rsplit_once('n')?.1.parse::<u64>().ok();
        self.codes.iter().filter_map(move |code| limit(code).filter(|&limit| *code == self.code(dir, limit)))
    }
    /// What stands for the loss of up to `limit` entries in one directory of this file system: twelve hexadecimal digits,
    /// and the limit.
    fn code(&self, dir: &RelPath, limit: u64) -> String {
        let mut hasher = blake3::Hasher::new();
        for part in [self.scope.as_bytes(), b"\0", &limit.to_le_bytes(), &dir.to_bytes()] {
            hasher.update(part);
        }
        format!("{}n{limit}", &hasher.finalize().to_hex()[..12])
    }
}

/// So much would be deleted that somebody should look first.
#[derive(Debug, Clone, thiserror::Error)]
#[error("{to_delete} of {mirror_entries} entries would be deleted")]
pub struct TooManyDeletions {
    /// Entries that would be deleted, without those that are let through already.
    pub to_delete: u64,
    /// Entries of the mirror.
    pub mirror_entries: u64,
    /// Whether the source has no entries any more.
    pub source_empty: bool,
    /// The directories that lose most, the greatest loss first.
    pub losing: Vec<Losing>,
    /// What lets a list through that is like this one, a code for each of these directories.
    pub codes: Vec<String>,
}

/// Looks at the whole list: all of it may be carried out, or nothing.
///
/// Refused are more than 25 % of the mirror's entries if they are more than 1,000, and an empty source of a mirror
/// that has more than a few. What goes below a directory that was `accepted` is not counted. With codes that were accepted
/// each directory may lose a tenth more than was shown, and all others together a hundred entries.
///
/// # Errors
/// What is too much.
pub fn decide(tally: &Tally, accepted: &Accepted) -> Result<(), TooManyDeletions> {
    judge(tally, tally.entries_scanned == 0, accepted)
}

/// The same for a source that is known to hold nothing but what mkfs makes.
///
/// # Errors
/// As `decide`.
pub fn decide_emptied(tally: &Tally, accepted: &Accepted) -> Result<(), TooManyDeletions> {
    judge(tally, true, accepted)
}

fn judge(tally: &Tally, is_empty: bool, accepted: &Accepted) -> Result<(), TooManyDeletions> {
    let let_through = tally.losses.let_through(|dir| accepted.has_dir(dir));
    let to_delete = tally.to_delete.saturating_sub(let_through);
    let mirror_entries = tally.mirror_entries.saturating_sub(let_through);
    let source_empty = is_empty && to_delete > NEARLY_EMPTY;
    let many = to_delete > QUESTIONED_ENTRIES
        && u128::from(to_delete) * 100 > u128::from(mirror_entries) * u128::from(QUESTIONED_PERCENT);
    if !(source_empty || many) || is_as_shown(tally, accepted, to_delete) {
        return Ok(());
    }
    let losing = tally.losses.named(&|dir| accepted.has_dir(dir));
    let limit = |losing: &Losing| losing.entries + (losing.entries * MORE_PERCENT).div_ceil(100);
    let codes = losing.iter().map(|losing| accepted.code(&losing.path, limit(losing))).collect();
    Err(TooManyDeletions { to_delete, mirror_entries, source_empty, losing, codes })
}

/// Whether what goes is what a refusal has shown, or nearly: little of it is beyond what the codes let through.
fn is_as_shown(tally: &Tally, accepted: &Accepted, to_delete: u64) -> bool {
    let losses = &tally.losses;
    let shown = losses.dirs_above(|dir| accepted.limits(dir).max());
    let is_in_another = |dir: &RelPath| shown.iter().any(|(other, _)| other != dir && dir.is_in(other));
    let below = |shown: &RelPath| losses.let_through(|dir| dir == shown && !accepted.has_dir(dir));
    let tops = shown.iter().filter(|(dir, _)| !is_in_another(dir));
    let covered: u64 = tops.map(|(dir, limit)| below(dir).min(*limit)).sum();
    covered > 0 && to_delete.saturating_sub(covered) <= MORE_ENTRIES
}

#[cfg(test)]
mod tests {
    use super::*;

    fn deleting(to_delete: u64, mirror_entries: u64) -> Tally {
        deleting_in("", to_delete, mirror_entries)
    }

    fn deleting_in(dir: &str, to_delete: u64, mirror_entries: u64) -> Tally {
        let mut tally = Tally { entries_scanned: 1, mirror_entries, ..Tally::default() };
        delete_in(&mut tally, dir, to_delete);
        tally
    }

    fn delete_in(tally: &mut Tally, dir: &str, entries: u64) {
        let dir = RelPath::from_bytes(dir);
        (0..entries).for_each(|n| tally.delete(&dir.join(format!("f{n}").as_bytes()), Some(1000)));
    }

    fn nothing() -> Accepted {
        Accepted { scope: "mirror uuid".into(), ..Accepted::default() }
    }

    /// What lets through what is refused.
    fn shown(tally: &Tally) -> Accepted {
        Accepted { codes: decide(tally, &nothing()).expect_err("too much").codes, ..nothing() }
    }

    #[test]
    fn more_than_a_quarter_and_more_than_a_thousand_is_questioned() {
        assert!(decide(&deleting(1001, 4004), &nothing()).is_ok(), "exactly a quarter");
        assert!(decide(&deleting(1001, 4003), &nothing()).is_err());
        assert!(decide(&deleting(1000, 1000), &nothing()).is_ok(), "exactly a thousand");
    }

    #[test]
    fn what_was_looked_at_is_let_through_although_the_server_lives() {
        let mut tally = deleting_in("home/alice/t", 2000, 3000);
        let accepted = shown(&tally);
        assert!(decide(&tally, &accepted).is_ok());
        delete_in(&mut tally, "var/spool", 60);
        assert!(decide(&tally, &accepted).is_ok(), "some entries elsewhere");
        delete_in(&mut tally, "home/alice/t", 190);
        assert!(decide(&tally, &accepted).is_ok(), "nearly a tenth more");
        assert!(decide(&deleting_in("home/alice/t", 1800, 3000), &accepted).is_ok(), "some have come back");
    }

    #[test]
    fn twice_as_much_or_another_directory_is_questioned_again() {
        let accepted = shown(&deleting_in("home/alice/t", 2000, 6000));
        assert!(decide(&deleting_in("home/alice/t", 4000, 6000), &accepted).is_err(), "twice as much");
        assert!(decide(&deleting_in("home/bob/t", 2000, 6000), &accepted).is_err(), "another's");
        let mut both = deleting_in("home/alice/t", 2000, 6000);
        delete_in(&mut both, "srv/data", 400);
        assert!(decide(&both, &accepted).is_err(), "another directory as well");
    }

    #[test]
    fn a_code_is_of_its_own_file_system_and_cannot_be_raised() {
        let tally = deleting_in("t", 2000, 3000);
        let accepted = shown(&tally);
        let elsewhere = Accepted { scope: "mirror other".into(), ..accepted.clone() };
        assert!(decide(&tally, &elsewhere).is_err());
        let raised = accepted.codes[0].replace("n2200", "n9900");
        assert_ne!(raised, accepted.codes[0]);
        assert!(
            decide(&tally, &Accepted { codes: vec![raised, "n".into(), "x9".into()], ..nothing() }).is_err()
        );
    }

    #[test]
    fn whatever_goes_below_a_directory_that_is_let_through_is_not_counted() {
        let mut tally = deleting_in("home/alice/m/deep", 2000, 5000);
        delete_in(&mut tally, "etc", 700);
        let alices = Accepted { dirs: vec![RelPath::from_bytes("home/alice")], ..nothing() };
        assert!(decide(&tally, &alices).is_ok());
        delete_in(&mut tally, "srv", 400);
        let refused = decide(&tally, &alices).expect_err("the rest is too much by itself");
        assert_eq!((refused.to_delete, refused.mirror_entries), (1100, 3000));
        assert!(refused.losing.iter().all(|losing| losing.path != RelPath::from_bytes("home/alice/m/deep")));
        let both = Accepted { codes: refused.codes, ..alices };
        assert!(decide(&tally, &both).is_ok());
    }

    #[test]
    fn an_empty_source_of_a_mirror_that_is_not_is_questioned() {
        for (scanned, decide) in [(0, decide as fn(&_, &_) -> _), (1, decide_emptied)] {
            let mut tally = Tally { entries_scanned: scanned, mirror_entries: 12, ..Tally::default() };
            assert!(decide(&tally, &nothing()).is_ok(), "both have the same");
            delete_in(&mut tally, "home", 10);
            assert!(decide(&tally, &nothing()).is_ok(), "the mirror is nearly empty as well");
            delete_in(&mut tally, "other", 1);
            let refused = decide(&tally, &nothing()).expect_err("empty");
            assert!(refused.source_empty);
            assert!(
                decide(&tally, &Accepted { codes: refused.codes, ..nothing() }).is_ok(),
                "somebody has looked"
            );
        }
        let mut one_is_left = Tally { entries_scanned: 1, mirror_entries: 12, ..Tally::default() };
        delete_in(&mut one_is_left, "home", 11);
        assert!(decide(&one_is_left, &nothing()).is_ok());
        assert!(decide(&Tally::default(), &nothing()).is_ok(), "both are empty");
    }

    #[test]
    fn what_would_go_is_told_with_whose_it_is() {
        let refused = decide(&deleting_in("home/alice", 1500, 2000), &nothing()).expect_err("too much");
        let losing =
            Losing { path: RelPath::from_bytes("home/alice"), entries: 1500, owner: Some((1000, 1500)) };
        assert_eq!(refused.losing, [losing]);
    }

    #[test]
    fn what_is_spared_is_not_counted() {
        let (mut tally, mut other) = (deleting(2, 9), deleting(2, 9));
        tally.delete(&RelPath::from_bytes("kept"), None);
        tally.spare(&RelPath::from_bytes("kept"));
        other.merge(tally);
        assert_eq!((other.to_delete, other.losses.let_through(|_| true)), (4, 4));
    }
}
