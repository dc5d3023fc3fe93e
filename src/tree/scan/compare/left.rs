//! What is gone from a directory: deleted, or left until it is known whether it was renamed.

use super::{Comparing, key};
use crate::sys::stat::{Kind, Stat};
use crate::tree::base::fault::Error;
use crate::tree::base::listing::Entry;
use crate::tree::changes::change::Aspects;
use crate::tree::scan::look::{Former, Goes};
use crate::tree::scan::renames::candidates::Arrived;
use crate::tree::scan::survey::deletion;
use crate::tree::scan::task::Known;

impl Comparing<'_> {
    /// Goes on in a directory of another name, or made anew; or puts that off, if it may have been renamed.
    pub(super) fn unknown_dir(&mut self, source: &Entry, stat: &Stat, over: Option<Kind>, known: Known) {
        if self.pass.finds_renames {
            let (parent, name) = (self.dir.clone(), source.name.clone());
            self.found.arrived.push(Arrived { parent, name, key: key(stat), over });
            return;
        }
        self.below(&source.name, stat.ino, known);
        if known == Known::Nothing {
            self.change(source, stat, 0, over, Aspects::ABSENT);
        }
    }
    /// Keeps what may be found again under another name.
    pub(super) fn left(&mut self, gone: Vec<Former>) {
        if self.pass.finds_renames && self.whole {
            self.left = gone;
            self.left.retain(|former| matches!(former.kind, Kind::File | Kind::Dir));
        }
    }
    /// Leaves the decision about a directory of the mirror until it is known whether it was renamed, if it may have been.
    pub(super) fn is_left(&mut self, name: &[u8]) -> bool {
        let may_be_known = self.pass.finds_renames && self.audited.is_none();
        if let Some(left) = self.left_as(name, Kind::Dir) {
            left.goes = Goes::Deleted;
            return true;
        }
        if may_be_known {
            // What it is, the directory above may have known under another name.
            self.left_unknown.push(Former::unknown_dir(name, Goes::Deleted));
        }
        may_be_known
    }
    /// What was of this type under this name, if it is kept.
    pub(super) fn left_as(&mut self, name: &[u8], kind: Kind) -> Option<&mut Former> {
        let left = &mut self.left;
        let at = left.binary_search_by(|former| (*former.name).cmp(name)).ok()?;
        Some(&mut left[at]).filter(|former| former.kind == kind)
    }
    /// The mirror's file goes on under its name, although the source has another inode there now: as good as the one that
    /// left, so that one is not looked for here.
    pub(super) fn stays(&mut self, name: &[u8]) {
        if let Some(left) = self.left_as(name, Kind::File) {
            left.goes = Goes::Nowhere;
        } else if self.unknown {
            // What the catalog knows of it, it knows of another directory.
            let place = self.dir.on_mirror().join(name);
            self.found.stay.push(place);
        }
    }
    /// Enters what the mirror alone has: it is deleted.
    pub(super) fn gone(&mut self, mirror: &Entry) -> Result<(), Error> {
        let Some(stat) = mirror.stat.as_ref().filter(|stat| self.pass.mirror.holds(stat)) else {
            return Ok(());
        };
        if !self.whole {
            self.found.deferred += 1;
            return Ok(());
        }
        if stat.kind == Kind::Dir && self.is_left(&mirror.name) {
            return Ok(());
        }
        let place = self.place(&mirror.name);
        let tally = &mut self.found.tally;
        let Some(removal) = deletion(self.pass, place, stat.kind, Some(stat.uid), tally, &|_| false)? else {
            return Ok(());
        };
        self.found.tally.frees(stat);
        let unknown = self.audited.as_ref().is_some_and(|gone| !gone.contains(&mirror.name));
        self.alarm_if(unknown, &mirror.name)?;
        self.found.removals.push(removal);
        Ok(())
    }
}
