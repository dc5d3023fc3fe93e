//! Deletions: the last thing done to a mirror.

use crate::monitor::{Monitor, Unit};
use crate::sys::dir::Handle;
use crate::sys::stat::{Kind, stat_at};
use crate::tree::apply::batch::flush;
use crate::tree::apply::{finish_dir, open_both, open_mirror};
use crate::tree::base::fault::{Error, Fault, Sided, at_root};
use crate::tree::base::relpath::RelPath;
use crate::tree::base::stats::Counts;
use crate::tree::base::view::View;
use crate::tree::changes::Changes;
use crate::tree::changes::change::{DirChange, Removal};
use crate::tree::entry::remove;
use crate::tree::entry::workspace::sweep;
use crate::tree::pass::{Options, Pass};
use std::io::ErrorKind;
use std::sync::atomic::Ordering::Relaxed;

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
    let deleting = Deleting::new(&pass, changes);
    let done = spool.replay().map_err(at_root("listing")).and_then(|replay| {
        let mut rest = replay.skip(changes.deleted.load(Relaxed));
        rest.try_for_each(|change| deleting.in_dir(&change.map_err(at_root("listing"))?))
    });
    monitor.end();
    done?;
    deleting.tell()?;
    end(&pass, !changes.is_empty(), changes.are_additions())?;
    Ok(pass.take_counts())
}

/// Deletions at work, and what of them must wait.
pub(in crate::tree) struct Deleting<'a> {
    pass: &'a Pass<'a>,
    changes: &'a Changes,
}

impl<'a> Deleting<'a> {
    pub fn new(pass: &'a Pass<'a>, changes: &'a Changes) -> Self {
        Deleting { pass, changes }
    }
    /// Deletes in one directory, and gives it its time back.
    pub fn in_dir(&self, change: &DirChange) -> Result<(), Error> {
        if change.removals.iter().all(|one| matches!(one, Removal::OldName { .. })) {
            return self.old_names(change);
        }
        let Some((source, mirror)) = open_both(self.pass, &change.path, change.ino)? else { return Ok(()) };
        for one in &change.removals {
            self.pass.go_on()?;
            match self.holds(one) {
                true => self.hold(change, one),
                false => remove_one(self.pass, &change.path, (Some(&source), &mirror), one)?,
            }
            self.pass.monitor.advance(one.entries());
        }
        finish_dir(self.pass, &change.path, change.ino).map(drop)
    }
    /// Whether a removal waits. A plain file, and a directory that may have some: while something of the source cannot be
    /// read that may be one of them. Nothing tells which: without a catalog a renamed file is a new one. An old name: while
    /// something could not be renamed.
    fn holds(&self, removal: &Removal) -> bool {
        match removal {
            Removal::Delete { kind: Kind::File | Kind::Dir, .. } => {
                self.pass.misses_something() || self.changes.holds_files.load(Relaxed)
            }
            Removal::Delete { .. } => false,
            Removal::OldName { .. } => {
                self.pass.has_lost_renames() || self.changes.holds_old_names.load(Relaxed)
            }
        }
    }
    fn hold(&self, dir: &DirChange, removal: &Removal) {
        let entries = removal.entries();
        self.changes.held.fetch_add(entries, Relaxed);
        self.pass.count(|counts| counts.deferred += entries);
        self.pass.unsettle(&dir.path.join(removal.name()));
    }
    /// Says what was held back: the mirror is not what the source is.
    fn tell(&self) -> Result<(), Error> {
        let held = match self.changes.held.load(Relaxed) {
            0 => return Ok(()),
            1 => "1 entry is kept".to_owned(),
            held => format!("{held} entries are kept"),
        };
        let why = format!(
            "{held}: something else cannot be read or renamed, and one of them may be all that is left of it"
        );
        self.pass.fault_at_home(RelPath::root(), Fault::Mirror("deleting from", std::io::Error::other(why)))
    }
    /// Takes away old names of what was renamed. Their directory may be gone from the source.
    fn old_names(&self, change: &DirChange) -> Result<(), Error> {
        let pass = self.pass;
        if change.removals.iter().any(|one| self.holds(one)) {
            change.removals.iter().for_each(|one| self.hold(change, one));
            return Ok(());
        }
        let (source, mirror) = (pass.source_dir(&change.path).ok(), open_mirror(pass, &change.path));
        if source.is_none() || mirror.is_err() {
            // It may be in use under another path, and is not finished here: what was recorded of it does not count.
            pass.stray(change.ino);
        }
        let Ok(mirror) = mirror else { return Ok(()) };
        for one in &change.removals {
            pass.go_on()?;
            remove_one(pass, &change.path, (source.as_ref(), &mirror), one)?;
        }
        if source.is_none() { Ok(()) } else { finish_dir(pass, &change.path, change.ino).map(drop) }
    }
}

/// Ends work on a mirror: everything on its disk, no workspace, and the root as the source's is. What is below the old
/// directories in the workspace counts as deleted, unless an earlier run's kill left them there.
pub(in crate::tree) fn end(pass: &Pass<'_>, changed: bool, workspace_is_ours: bool) -> Result<(), Error> {
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

/// Takes one name away, unless the source has it again.
pub(in crate::tree) fn remove_one(
    pass: &Pass<'_>,
    dir: &RelPath,
    (source, mirror): (Option<&Handle>, &Handle),
    removal: &Removal,
) -> Result<(), Error> {
    match removal {
        Removal::Delete { name, kind, .. } => delete(pass, &dir.join(name), source, mirror, (name, *kind)),
        Removal::OldName { name } => {
            let is_back = source.is_some_and(|source| stat_at(&source.fd, name).is_ok());
            if !is_back && stat_at(&mirror.fd, name).is_ok() {
                let removed = remove::remove(mirror, name).on_mirror("removing the old name");
                pass.enter(|| dir.join(name), removed)?;
            }
            Ok(())
        }
    }
}

/// Deletes one entry with all that is below, unless the source has it again: it must be known to be absent there.
fn delete(
    pass: &Pass<'_>,
    path: &RelPath,
    source: Option<&Handle>,
    mirror: &Handle,
    (name, kind): (&[u8], Kind),
) -> Result<(), Error> {
    let is_absent =
        |source: &Handle| stat_at(&source.fd, name).is_err_and(|error| error.kind() == ErrorKind::NotFound);
    if !source.is_some_and(is_absent) {
        pass.count(|counts| counts.deferred += 1);
        pass.unsettle(path);
        return Ok(());
    }
    if kind == Kind::Dir {
        let deleted = remove::delete(pass, path, &pass.options.excludes)?;
        pass.count(|counts| counts.deleted += deleted);
        if stat_at(&mirror.fd, name).is_ok() {
            // Something below could not be deleted, or is left out: what is there is looked at again.
            pass.unsettle(path);
        }
        return Ok(());
    }
    let removed = remove::remove(mirror, name).on_mirror("deleting");
    if pass.enter(|| path.clone(), removed)?.is_some() {
        pass.count(|counts| counts.deleted += 1);
    }
    Ok(())
}
