//! A subtree of the mirror that the source does not have: counted, or deleted. The directories that are still to come wait as
//! paths on a heap, so that no depth exhausts descriptors or the stack; of a large one only a part is in memory.

use super::change::{Action, Aspects, Change};
use super::excludes::Excludes;
use super::fault::{Error, Sided};
use super::listing::OWN;
use super::metadata::unlock;
use super::pass::Pass;
use super::place::lock_again;
use super::relpath::RelPath;
use super::tally::Tally;
use crate::sys::dir::{self, Handle, Names};
use crate::sys::flags::{self, LOCKS};
use crate::sys::stat::{Kind, Stat, Timestamp, stat_at};
use std::collections::HashSet;
use std::io;

/// So many entries of a directory are looked at before the next ones are read.
const AT_A_TIME: usize = 1 << 14;

/// What is in a subtree.
#[derive(Debug, Default)]
pub(super) struct Below {
    /// Entries to delete, without its root.
    pub entries: u64,
    /// Whether something in it is left out by a pattern: that has to stay, and the directories that lead to it.
    pub left_out: bool,
}

/// An entry of the mirror: the path that it will have when what was renamed is renamed, and the one that it has.
#[derive(Debug, Clone)]
pub(super) struct Place {
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
pub(super) fn survey(
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

/// Has `each` done for the entries of an open directory, so many at a time that the largest costs little memory. Gives back
/// whether something was left out by a pattern.
fn each_entry(
    pass: &Pass<'_>,
    dir: &Handle,
    path: &RelPath,
    excludes: &Excludes,
    mut each: impl FnMut(&[u8], Option<Stat>) -> Result<(), Error>,
) -> Result<bool, Error> {
    let (mut names, mut left_out, mut more) = (Names::default(), false, true);
    while more {
        // Whatever ends the reading early: what is left shows when the directory is to be removed.
        more = names.read_part(&dir.fd, AT_A_TIME).unwrap_or(false);
        names.sort();
        for (_, name) in names.iter().filter(|(_, name)| !(path.is_root() && *name == OWN)) {
            pass.go_on()?;
            match stat_at(&dir.fd, name) {
                Err(error) if error.kind() == io::ErrorKind::NotFound => {}
                Ok(stat) if excludes.leaves_out(path, name, stat.kind == Kind::Dir) => left_out = true,
                stat => each(name, stat.ok())?,
            }
        }
    }
    Ok(left_out)
}

/// The deletion of an entry of the mirror that belongs to `owner`, if that is known; none if nothing of it goes. Enters it
/// into the tally. `stays` says what of it does not count, because it is moved elsewhere before.
pub(super) fn deletion(
    pass: &Pass<'_>,
    place: Place,
    kind: Kind,
    owner: Option<u32>,
    tally: &mut Tally,
    stays: &dyn Fn(&RelPath) -> bool,
) -> Result<Option<Change>, Error> {
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
    let change = Change {
        action: Action::Delete,
        kind,
        over: None,
        aspects: Aspects::NONE,
        ino: entries,
        ctime: Timestamp::default(),
        leads: None,
        size: 0,
        slot: 0,
        name,
        from: None,
    };
    Ok((entries > 0).then_some(change))
}

/// Enters a directory and those above it, up to `root` and without it.
fn keep(root: &RelPath, dir: &RelPath, kept: &mut HashSet<RelPath>) {
    let mut dir = dir.clone();
    while dir != *root && kept.insert(dir.clone()) {
        let Some((parent, _)) = dir.split() else { return };
        dir = parent;
    }
}

/// Deletes the directory `root` of the mirror with all that is below, but for what `excludes` leave out and the
/// directories that lead to it. Gives back the number of entries deleted.
pub(super) fn delete(pass: &Pass<'_>, root: &RelPath, excludes: &Excludes) -> Result<u64, Error> {
    let below = delete_below(pass, root, excludes)?;
    Ok(below + u64::from(remove_emptied(pass, root, excludes)?))
}

/// The same, but the directory itself stays.
pub(super) fn delete_below(pass: &Pass<'_>, root: &RelPath, excludes: &Excludes) -> Result<u64, Error> {
    let mut steps = Vec::new();
    let mut deleted = empty(pass, root, excludes, &mut steps)?;
    while let Some((path, emptied)) = steps.pop() {
        pass.go_on()?;
        if emptied {
            deleted += u64::from(remove_emptied(pass, &path, excludes)?);
            continue;
        }
        steps.push((path.clone(), true));
        deleted += empty(pass, &path, excludes, &mut steps)?;
    }
    Ok(deleted)
}

/// Deletes what is not a directory, and leaves the directories as further steps.
fn empty(
    pass: &Pass<'_>,
    path: &RelPath,
    excludes: &Excludes,
    steps: &mut Vec<(RelPath, bool)>,
) -> Result<u64, Error> {
    let opened = pass.mirror_dir(path).on_mirror("opening the mirror's directory");
    let Some(handle) = pass.enter(|| path.clone(), opened)? else { return Ok(0) };
    let unlocked = make_writable(&handle, pass).on_mirror("unlocking");
    pass.enter(|| path.clone(), unlocked)?;
    let mut deleted = 0;
    each_entry(pass, &handle, path, excludes, |name, stat| {
        if stat.is_some_and(|stat| stat.kind == Kind::Dir) {
            steps.push((path.join(name), false));
            return Ok(());
        }
        let removed = remove(&handle, name).on_mirror("deleting");
        deleted += u64::from(pass.enter(|| path.join(name), removed)?.is_some());
        Ok(())
    })?;
    Ok(deleted)
}

/// Makes sure that entries of a directory of the mirror may be changed.
pub(super) fn make_writable(handle: &Handle, pass: &Pass<'_>) -> io::Result<()> {
    let stat = handle.stat()?;
    if stat.locked {
        unlock(handle)?;
    }
    if !pass.rules.privileged && stat.mode & 0o700 != 0o700 {
        dir::set_mode(handle, stat.mode | 0o700)?;
    }
    Ok(())
}

/// Deletes a name that is not a directory's, taking chattr +i or +a from the file first if that is in the way. Its
/// other names get them back.
pub(super) fn remove(parent: &Handle, name: &[u8]) -> io::Result<()> {
    match dir::unlink(&parent.fd, name) {
        Err(error) if error.raw_os_error() == Some(libc::EPERM) => {
            let file = dir::open_read(&parent.fd, name)?;
            let locks = flags::get(&file.fd)?.unwrap_or(0) & LOCKS;
            unlock(&file)?;
            dir::unlink(&parent.fd, name)?;
            lock_again(&file, locks)
        }
        other => other,
    }
}

fn remove_emptied(pass: &Pass<'_>, path: &RelPath, excludes: &Excludes) -> Result<bool, Error> {
    let Some((parent, name)) = path.split() else { return Ok(false) };
    let removed = pass.mirror_dir(&parent).and_then(|parent| dir::remove_dir(&parent.fd, name));
    match removed {
        Err(error) if !excludes.is_empty() && error.raw_os_error() == Some(libc::ENOTEMPTY) => Ok(false),
        other => Ok(pass.enter(|| path.clone(), other.on_mirror("deleting directory"))?.is_some()),
    }
}
