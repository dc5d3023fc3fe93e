//! A subtree of the mirror that the source does not have: counted. The directories that are still to come wait as paths on a
//! heap, so that no depth exhausts descriptors or the stack; of a large one only a part is in memory.

use crate::sys::stat::Kind;
use crate::tree::base::fault::{Error, Sided};
use crate::tree::base::relpath::RelPath;
use crate::tree::changes::change::Removal;
use crate::tree::changes::tally::Tally;
use crate::tree::entry::remove::each_entry;
use crate::tree::pass::Pass;
use std::collections::HashSet;

/// What is in a subtree.
#[derive(Debug, Default)]
pub(in crate::tree) struct Below {
    /// Entries to delete, without its root.
    pub entries: u64,
    /// Whether something in it is left out by a pattern: that has to stay, and the directories that lead to it.
    pub left_out: bool,
}

/// An entry of the mirror: the path that it will have when what was renamed is renamed, and the one that it has.
#[derive(Debug, Clone)]
pub(in crate::tree) struct Place {
    pub path: RelPath,
    pub mirror: RelPath,
}

impl Place {
    /// One that stays where it is.
    pub fn same(path: RelPath) -> Place {
        Place { mirror: path.clone(), path }
    }
}

/// Counts what is below a directory of the mirror, and enters it as to be deleted, but for what `stays`.
pub(in crate::tree) fn survey(
    pass: &Pass<'_>,
    root: Place,
    tally: &mut Tally,
    stays: &dyn Fn(&RelPath) -> bool,
) -> Result<Below, Error> {
    let mut below = Below::default();
    let mut kept = HashSet::new();
    let top = root.path.clone();
    let mut dirs = vec![root];
    while let Some(Place { path, mirror }) = dirs.pop() {
        pass.go_on()?;
        let opened = pass.mirror_dir(&mirror).on_mirror("opening the mirror's directory");
        let Some(handle) = pass.enter(|| path.clone(), opened)? else { continue };
        let left_out = each_entry(pass, &handle, &path, &pass.options.excludes, |name, stat| {
            let child = path.join(name);
            tally.mirror_entries += 1;
            if stays(&child) {
                return Ok(());
            }
            tally.delete(&child, stat.map(|stat| stat.uid));
            stat.iter().for_each(|stat| tally.frees(stat));
            below.entries += 1;
            if stat.is_some_and(|stat| stat.kind == Kind::Dir && pass.mirror.holds(&stat)) {
                dirs.push(Place { path: child, mirror: mirror.join(name) });
            }
            Ok(())
        })?;
        if left_out {
            below.left_out = true;
            keep(&top, &path, &mut kept);
        }
    }
    for path in &kept {
        tally.spare(path);
        below.entries -= 1;
    }
    Ok(below)
}

/// The deletion of an entry of the mirror that belongs to `owner`, if that is known; none if nothing of it goes. Enters it
/// into the tally. `stays` says what of it does not count, because it is moved elsewhere before.
pub(in crate::tree) fn deletion(
    pass: &Pass<'_>,
    place: Place,
    kind: Kind,
    owner: Option<u32>,
    tally: &mut Tally,
    stays: &dyn Fn(&RelPath) -> bool,
) -> Result<Option<Removal>, Error> {
    let Some((_, name)) = place.path.split() else { return Ok(None) };
    let (name, path) = (name.into(), place.path.clone());
    let (mut entries, mut goes) = (0, true);
    if kind == Kind::Dir {
        let below = survey(pass, place, tally, stays)?;
        (entries, goes) = (below.entries, !below.left_out);
    }
    if goes {
        entries += 1;
        tally.delete(&path, owner);
    }
    Ok((entries > 0).then_some(Removal::Delete { name, kind, entries }))
}

/// Enters a directory and those above it, up to `root` and without it.
fn keep(root: &RelPath, dir: &RelPath, kept: &mut HashSet<RelPath>) {
    let mut dir = dir.clone();
    while dir != *root && kept.insert(dir.clone()) {
        let Some((parent, _)) = dir.split() else { return };
        dir = parent;
    }
}
