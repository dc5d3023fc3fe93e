//! A mirror that has never been complete: nothing can be lost, so scan and application are one, nothing waits for the
//! disk, and memory does not grow with the tree. A file still gets its name only when it is complete, so that a kill
//! leaves none torn; after a power cut what is there from an earlier try is compared by content.

use super::apply::{adjust, finish_open_dir, link_all, make_dir, open_both, prepare, put_all};
use super::batch::flush;
use super::change::{Action, Change, DirChange};
use super::compare::root_aspects;
use super::counts::Counts;
use super::deletions::{delete, end};
use super::fault::Error;
use super::pass::{Options, Pass};
use super::scan::{ChangeSink, Walked, resolve_links, walk};
use super::view::View;
use super::workspace::Workspace;
use crate::monitor::{Monitor, Unit};
use crate::sys::dir::Handle;
use crate::sys::stat::Kind;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering::Relaxed};

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
    let options = Options { compare_content: true, ..options.clone() };
    let pass = Pass::new(source, mirror, &options, monitor)?;
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
    fn take(&self, change: DirChange) -> Result<(), Error> {
        let root_differs = change.path.is_root() && self.root_differs.swap(false, Relaxed);
        if change.is_empty() && !root_differs {
            return Ok(());
        }
        let Some((source, mirror)) = open_both(self.pass, &change.path)? else { return Ok(()) };
        let adjusts_itself = root_differs || (!change.path.is_root() && change.adjusts_itself());
        let path = Arc::new(change.path);
        for one in &change.changes {
            self.pass.go_on()?;
            self.one(&path, &source, &mirror, one)?;
        }
        let finished = finish_open_dir(self.pass, &source, &mirror);
        if self.pass.enter(|| (*path).clone(), finished)?.is_some() && adjusts_itself {
            self.pass.count(|counts| counts.metadata_changed += 1);
        }
        Ok(())
    }
}

impl Applier<'_> {
    fn all(&self) -> Result<(), Error> {
        let Walked { links, .. } = walk(self.pass, self)?;
        let resolved = resolve_links(self.pass, links);
        resolved.leaders.into_iter().try_for_each(|leader| self.take(leader))?;
        link_all(self.pass, self.workspace, &resolved.links)?;
        flush(self.pass.mirror)
    }
    fn one(
        &self,
        path: &Arc<super::relpath::RelPath>,
        source: &Handle,
        mirror: &Handle,
        change: &Change,
    ) -> Result<(), Error> {
        let pass = self.pass;
        let at = || path.join(&change.name);
        match change.action {
            Action::Delete => delete(pass, path, source, mirror, change),
            Action::Adjust => pass.enter(at, adjust(pass, source, mirror, change)).map(drop),
            Action::Make if change.kind == Kind::Dir => {
                pass.enter_made(at(), make_dir(pass, self.workspace, path, mirror, change)).map(drop)
            }
            Action::Make => match pass.enter(at, prepare(pass, self.workspace, path, source, change))? {
                Some(pending) => put_all(pass, self.workspace, mirror, &[pending]),
                None => Ok(()),
            },
        }
    }
}
