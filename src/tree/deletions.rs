//! Deletions: the last thing done to a mirror.

use super::apply::{finish_dir, open_both, open_mirror};
use super::batch::flush;
use super::change::{Action, Change, DirChange};
use super::counts::Counts;
use super::fault::{Error, Sided};
use super::pass::{Options, Pass, at_root};
use super::relpath::RelPath;
use super::scan::Changes;
use super::subtree;
use super::view::View;
use super::workspace::sweep;
use crate::monitor::{Monitor, Unit};
use crate::sys::dir::Handle;
use crate::sys::stat::{Kind, stat_at};
use std::io::ErrorKind;

/// Deletes what the source does not have, and what additions have set aside. A name that has come back to the source
/// since the scan is spared.
///
/// # Errors
/// `Stopped`, or what no other entry would survive either.
pub fn apply_deletions(
    changes: &Changes,
    source: &View,
    mirror: &View,
    options: &Options,
    monitor: &dyn Monitor,
) -> Result<Counts, Error> {
    let pass = Pass::new(source, mirror, options, monitor)?;
    let mut spool = changes.deletions.lock().expect("no thread panics while spooling");
    monitor.begin("deleting", Some(changes.tally.to_delete), Unit::Entries);
    let done = spool.replay().map_err(at_root("listing")).and_then(|mut replay| {
        replay.try_for_each(|change| in_dir(&pass, &change.map_err(at_root("listing"))?))
    });
    monitor.end();
    done?;
    end(&pass, !changes.is_empty(), changes.are_additions())?;
    Ok(pass.take_counts())
}

/// Ends work on a mirror: everything on its disk, no workspace, and the root as the source's is. What is below the old
/// directories in the workspace counts as deleted, unless an earlier run's kill left them there.
pub(super) fn end(pass: &Pass<'_>, changed: bool, workspace_is_ours: bool) -> Result<(), Error> {
    if changed {
        flush(pass.mirror)?;
    }
    if let Some(deleted) = sweep(pass)? {
        pass.count(|counts| counts.deleted += if workspace_is_ours { deleted } else { 0 });
        finish_dir(pass, &RelPath::root(), 0)?;
        flush(pass.mirror)?;
    }
    Ok(())
}

/// Deletes in one directory, and gives it its time back.
fn in_dir(pass: &Pass<'_>, change: &DirChange) -> Result<(), Error> {
    if change.changes.iter().all(|one| one.action == Action::Vacate) {
        return vacate(pass, change);
    }
    let Some((source, mirror)) = open_both(pass, &change.path, change.ino)? else { return Ok(()) };
    for one in &change.changes {
        pass.go_on()?;
        delete(pass, &change.path, &source, &mirror, one)?;
        pass.monitor.advance(one.ino);
    }
    finish_dir(pass, &change.path, change.ino).map(drop)
}

/// Takes away old names of what was renamed. Their directory may be gone from the source.
fn vacate(pass: &Pass<'_>, change: &DirChange) -> Result<(), Error> {
    let Ok(mirror) = open_mirror(pass, &change.path) else { return Ok(()) };
    let source = pass.source_dir(&change.path).ok();
    for one in &change.changes {
        pass.go_on()?;
        let is_back = source.as_ref().is_some_and(|source| stat_at(&source.fd, &one.name).is_ok());
        if !is_back && stat_at(&mirror.fd, &one.name).is_ok() {
            let removed = subtree::remove(&mirror, &one.name).on_mirror("removing the old name");
            pass.enter(|| change.path.join(&one.name), removed)?;
        }
    }
    if change.ino == 0 { Ok(()) } else { finish_dir(pass, &change.path, change.ino).map(drop) }
}

/// Deletes one entry, unless the source has it again.
pub(super) fn delete(
    pass: &Pass<'_>,
    path: &RelPath,
    source: &Handle,
    mirror: &Handle,
    change: &Change,
) -> Result<(), Error> {
    let absent = stat_at(&source.fd, &change.name).is_err_and(|error| error.kind() == ErrorKind::NotFound);
    if !absent {
        pass.count(|counts| counts.deferred += 1);
        pass.unsettle(&path.join(&change.name));
        return Ok(());
    }
    if change.kind == Kind::Dir {
        let deleted = subtree::delete(pass, &path.join(&change.name), &pass.options.excludes)?;
        pass.count(|counts| counts.deleted += deleted);
        if stat_at(&mirror.fd, &change.name).is_ok() {
            // Something below could not be deleted, or is left out: what is there is looked at again.
            pass.unsettle(&path.join(&change.name));
        }
        return Ok(());
    }
    let removed = subtree::remove(mirror, &change.name).on_mirror("deleting");
    if pass.enter(|| path.join(&change.name), removed)?.is_some() {
        pass.count(|counts| counts.deleted += 1);
    }
    Ok(())
}
