//! A subtree of the mirror is deleted. The directories that are still to come wait as paths on a heap, so that no depth exhausts
//! descriptors or the stack; of a large one only a part is in memory.

use crate::sys::dir::{self, Handle, Names};
use crate::sys::flags::{self, LOCKS};
use crate::sys::stat::{Kind, Stat, stat_at};
use crate::tree::base::excludes::Excludes;
use crate::tree::base::fault::{Error, Sided};
use crate::tree::base::listing::OWN;
use crate::tree::base::relpath::RelPath;
use crate::tree::entry::metadata::{lock_again, unlock};
use crate::tree::pass::Pass;
use std::io;

/// So many entries of a directory are looked at before the next ones are read.
const AT_A_TIME: usize = 1 << 14;

/// Has `each` done for the entries of an open directory, so many at a time that the largest costs little memory. Gives back
/// whether something was left out by a pattern.
pub(in crate::tree) fn each_entry(
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

/// Deletes the directory `root` of the mirror with all that is below, but for what `excludes` leave out and the
/// directories that lead to it. Gives back the number of entries deleted.
pub(in crate::tree) fn delete(pass: &Pass<'_>, root: &RelPath, excludes: &Excludes) -> Result<u64, Error> {
    let below = delete_below(pass, root, excludes)?;
    Ok(below + u64::from(remove_emptied(pass, root, excludes)?))
}

/// The same, but the directory itself stays.
pub(in crate::tree) fn delete_below(
    pass: &Pass<'_>,
    root: &RelPath,
    excludes: &Excludes,
) -> Result<u64, Error> {
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
pub(in crate::tree) fn make_writable(handle: &Handle, pass: &Pass<'_>) -> io::Result<()> {
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
pub(in crate::tree) fn remove(parent: &Handle, name: &[u8]) -> io::Result<()> {
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
