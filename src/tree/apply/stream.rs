//! A mirror that has never been complete: nothing can be lost, so scan and application are one, nothing waits for the
//! disk, and memory does not grow with the tree. Entries are made under their own names: a kill or a power cut leaves
//! some that are not complete, and what is there from an earlier try is compared by content. The workspace says that it
//! was not the last; only what replaces something passes through it.

use crate::monitor::{Monitor, Unit};
use crate::sys::dir::Handle;
use crate::sys::stat::Kind;
use crate::tree::apply::batch::flush;
use crate::tree::apply::deletions::{end, remove_one};
use crate::tree::apply::room::Room;
use crate::tree::apply::{
    adjust, finish_open_dir, link_all, make_dir, make_in_place, open_both, prepare, put_all, tighten_dir,
};
use crate::tree::base::fault::{Error, Fault};
use crate::tree::base::relpath::RelPath;
use crate::tree::base::stats::Counts;
use crate::tree::base::view::View;
use crate::tree::changes::change::{Change, DirChange, How};
use crate::tree::changes::links::{Decided, resolve};
use crate::tree::entry::parent::Nest;
use crate::tree::entry::workspace::Workspace;
use crate::tree::pass::threads::{copiers, share_out};
use crate::tree::pass::{Options, Pass};
use crate::tree::scan::compare::root_aspects;
use crate::tree::scan::renames::old_files::{Asked, OldFiles};
use crate::tree::scan::task::Task;
use crate::tree::scan::walk::{ChangeSink, Walked, walk};
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering::Relaxed};

/// One thread does a directory alone up to so many changes …
const ALONE_ENTRIES: usize = 256;
/// … and so many bytes.
const ALONE_BYTES: u64 = 16 << 20;

/// Makes the mirror equal in one go.
///
/// # Errors
/// `Stopped`, or what no other entry would survive either. Called again, it goes on.
pub fn stream(
    source: &View,
    mirror: &View,
    options: &Options,
    monitor: &dyn Monitor,
) -> Result<Counts, Error> {
    let options = Options { compare_content: true, threads: copiers(options), ..options.clone() };
    // What was never complete has no old names.
    let mut pass = Pass::new(source, mirror, &options, monitor)?;
    pass.finds_renames = false;
    let root_differs = AtomicBool::new(!root_aspects(&pass)?.is_empty());
    let workspace = Workspace::open(&pass)?;
    monitor.begin("copying", None, Unit::Entries);
    let applier = Applier { pass: &pass, workspace: &workspace, root_differs };
    let streamed = applier.all();
    monitor.end();
    streamed?;
    end(&pass, true, true)?;
    Ok(pass.take_counts())
}

/// Applies each directory's changes as they are found.
struct Applier<'a> {
    pass: &'a Pass<'a>,
    workspace: &'a Workspace,
    /// Whether the root itself differed before the workspace was made in it, and is not yet mended.
    root_differs: AtomicBool,
}

impl ChangeSink for Applier<'_> {
    fn begin(&self, itself: &DirChange) -> Result<(), Error> {
        tighten_dir(self.pass, itself)
    }
    fn take(&self, mut change: DirChange) -> Result<(), Error> {
        let root_differs = change.path.is_root() && self.root_differs.swap(false, Relaxed);
        if change.is_empty() && !root_differs {
            return Ok(());
        }
        tighten_dir(self.pass, &change)?;
        let Some((source, mirror)) = open_both(self.pass, &change.path, change.ino)? else { return Ok(()) };
        let adjusts_itself = root_differs || (!change.path.is_root() && change.adjusts_itself());
        // In the order of the source's disk.
        change.changes.sort_by_key(|one| one.ino);
        let sides = Sides { path: Arc::new(change.path), source, nest: Nest::new(mirror) };
        for one in &change.removals {
            self.pass.go_on()?;
            remove_one(self.pass, &sides.path, (Some(&sides.source), &sides.nest.dir), one)?;
        }
        self.entries(&sides, &change.changes)?;
        let finished = finish_open_dir(self.pass, &sides.source, &sides.nest.dir);
        if self.pass.enter(|| (*sides.path).clone(), finished)?.is_some() && adjusts_itself {
            self.pass.count(|counts| counts.metadata_changed += 1);
        }
        Ok(())
    }
}

/// Both sides of a directory.
struct Sides {
    path: Arc<RelPath>,
    source: Handle,
    nest: Nest,
}

impl Applier<'_> {
    fn all(&self) -> Result<(), Error> {
        let mut walked = Walked::default();
        walk(self.pass, self, vec![Task::root()], &mut walked)?;
        let asked = Asked { pass: self.pass, files: &OldFiles::default() };
        let links = resolve(walked.links, &asked, &mut |decided| match decided {
            Decided::Leader(leader) => self.take(leader),
            // What was never complete has no old names.
            Decided::Vacated(_) => Ok(()),
        })?;
        link_all(&Room { pass: self.pass, changes: None }, self.workspace, &links)?;
        flush(self.pass.mirror)
    }
    /// A directory with more to copy than one thread should take alone is shared out.
    fn entries(&self, sides: &Sides, changes: &[Change]) -> Result<(), Error> {
        let bytes: u64 = changes.iter().map(|one| one.size).sum();
        let alone = changes.len() <= ALONE_ENTRIES && bytes <= ALONE_BYTES;
        let threads = if alone { 1 } else { copiers(self.pass.options) };
        share_out(threads, changes, |change| {
            self.pass.go_on()?;
            self.one(sides, change)
        })
    }
    fn one(&self, sides: &Sides, change: &Change) -> Result<(), Error> {
        let Sides { path, source, nest } = sides;
        let pass = self.pass;
        let at = || path.join(&change.name);
        match change.how {
            How::Adjust => match adjust(pass, source, &nest.dir, change) {
                // It is looked at again: made anew as it is by now.
                Err(Fault::Replaced) => self.replace(sides, change),
                adjusted => pass.enter(at, adjusted).map(drop),
            },
            How::Make if change.kind == Kind::Dir => {
                pass.enter_dir(&at(), make_dir(pass, self.workspace, path, &nest.dir, change)).map(drop)
            }
            How::Make if change.over.is_none() => {
                pass.enter(at, make_in_place(pass, path, source, nest, change)).map(drop)
            }
            How::Make | How::Rename { .. } => self.replace(sides, change),
        }
    }
    /// Makes what takes the place of something else.
    fn replace(&self, sides: &Sides, change: &Change) -> Result<(), Error> {
        let (Sides { path, source, nest }, pass) = (sides, self.pass);
        let prepared = prepare(pass, self.workspace, path, (source, &nest.dir), change);
        match pass.enter(|| path.join(&change.name), prepared)? {
            Some(Some(pending)) => put_all(pass, self.workspace, &nest.dir, vec![pending]),
            Some(None) | None => Ok(()),
        }
    }
}
