//! A subtree of the mirror that the source does not have: counted, or deleted. Works from the root of the view with
//! paths on a heap, so that no depth exhausts descriptors or the stack.

use super::excludes::Excludes;
use super::fault::{Error, Sided};
use super::listing::Listing;
use super::metadata::unlock;
use super::pass::Pass;
use super::relpath::RelPath;
use super::tally::Tally;
use crate::sys::dir::{self, Handle};
use crate::sys::stat::Kind;
use std::collections::BTreeSet;
use std::io;

/// What is in a subtree.
#[derive(Debug, Default)]
pub(super) struct Below {
    /// Entries to delete, without its root.
    pub entries: u64,
    /// Whether something in it is left out by a pattern: that has to stay, and the directories that lead to it.
    pub left_out: bool,
}

/// Counts what is below a directory of the mirror, and enters it as to be deleted.
pub(super) fn survey(pass: &Pass<'_>, root: &RelPath, tally: &mut Tally) -> Result<Below, Error> {
    let mut below = Below::default();
    let mut kept = BTreeSet::new();
    let mut dirs = vec![root.clone()];
    while let Some(path) = dirs.pop() {
        pass.go_on()?;
        let opened = pass.mirror_dir(&path).on_mirror("opening the mirror's directory");
        let Some(handle) = pass.enter(|| path.clone(), opened)? else { continue };
        let listing = Listing::read(&handle.fd, &path, &pass.options.excludes);
        if listing.left_out {
            below.left_out = true;
            keep(root, &path, &mut kept);
        }
        for entry in &listing.entries {
            let child = path.join(&entry.name);
            tally.delete(&child);
            tally.mirror_entries += 1;
            below.entries += 1;
            if entry.stat.is_some_and(|stat| stat.kind == Kind::Dir && pass.mirror.holds(&stat)) {
                dirs.push(child);
            }
        }
    }
    for path in &kept {
        tally.spare(path);
        below.entries -= 1;
    }
    Ok(below)
}

/// Enters a directory and those above it, up to `root` and without it.
fn keep(root: &RelPath, dir: &RelPath, kept: &mut BTreeSet<RelPath>) {
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
    for entry in Listing::read(&handle.fd, path, excludes).entries {
        match entry.stat {
            Some(stat) if stat.kind == Kind::Dir => steps.push((path.join(&entry.name), false)),
            _ => {
                let removed = remove(&handle, &entry.name).on_mirror("deleting");
                deleted += u64::from(pass.enter(|| path.join(&entry.name), removed)?.is_some());
            }
        }
    }
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

/// Deletes a name that is not a directory's, taking chattr +i or +a from the file first if that is in the way.
pub(super) fn remove(parent: &Handle, name: &[u8]) -> io::Result<()> {
    match dir::unlink(&parent.fd, name) {
        Err(error) if error.raw_os_error() == Some(libc::EPERM) => {
            unlock(&dir::open_read(&parent.fd, name)?)?;
            dir::unlink(&parent.fd, name)
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
