//! The mirror's own directory for what is not yet, or no longer, part of the mirror: `/.diskmirror/tmp`.
//!
//! New files are made complete here under numbers, so that the length of their names does not matter, and old trees
//! are set aside here until the deletions. Whoever finds it at the start finds what a killed run left behind.

use super::excludes::Excludes;
use super::fault::Error;
use super::listing::OWN;
use super::nest::Nest;
use super::pass::{Pass, at_root};
use super::relpath::RelPath;
use super::subtree;
use super::view::View;
use crate::sys::dir::{self, read_names};
use crate::sys::stat::{Timestamp, stat_fd};
use std::io;
use std::sync::atomic::{AtomicU64, Ordering::Relaxed};

const TMP: &[u8] = b"tmp";

/// The open workspace of a mirror.
#[derive(Debug)]
pub(super) struct Workspace {
    /// The directory.
    pub nest: Nest,
    next: AtomicU64,
}

fn path() -> RelPath {
    RelPath::root().join(OWN).join(TMP)
}

impl Workspace {
    /// Makes the workspace, empty.
    pub fn open(pass: &Pass<'_>) -> Result<Workspace, Error> {
        sweep(pass)?;
        let made = make(pass).and_then(|()| pass.mirror_dir(&path()));
        let nest = Nest::new(made.map_err(at_root("making a workspace in"))?);
        Ok(Workspace { nest, next: AtomicU64::new(0) })
    }
    /// A name that is not taken.
    pub fn name(&self) -> Box<[u8]> {
        self.next.fetch_add(1, Relaxed).to_string().into_bytes().into()
    }
}

fn make(pass: &Pass<'_>) -> io::Result<()> {
    let root = pass.mirror_dir(&RelPath::root())?;
    subtree::make_writable(&root, pass)?;
    exists_already(dir::make_dir(&root.fd, OWN))?;
    let own = pass.mirror_dir(&RelPath::root().join(OWN))?;
    exists_already(dir::make_dir(&own.fd, TMP))
}

fn exists_already(made: io::Result<()>) -> io::Result<()> {
    match made {
        Err(error) if error.kind() == io::ErrorKind::AlreadyExists => Ok(()),
        other => other,
    }
}

/// Removes the workspace with all that is in it, and the mirror's own directory if nothing else is there.
/// Gives back how many entries were below what was set aside; `None` if there was no workspace.
pub(super) fn sweep(pass: &Pass<'_>) -> Result<Option<u64>, Error> {
    let Ok(tmp) = pass.mirror_dir(&path()) else { return Ok(None) };
    let set_aside = read_names(&tmp.fd).0.len() as u64;
    // No pattern may keep anything here: names in the workspace mean nothing.
    let deleted = subtree::delete(pass, &path(), &Excludes::default())?;
    if let Ok(root) = pass.mirror_dir(&RelPath::root()) {
        // The root may be as the source's is already, which need not be writable. Its marks, if it has any, keep it.
        let _ = subtree::make_writable(&root, pass).and_then(|()| dir::remove_dir(&root.fd, OWN));
    }
    Ok(Some(deleted.saturating_sub(set_aside + 1)))
}

/// What a run that was killed, or cut off with the power, left behind.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Leftover {
    /// Nothing: the last run ended.
    None,
    /// It began at this time: what was written since is to be compared by content.
    Since(Timestamp),
    /// It is not known when it began: everything is to be compared by content.
    Unknown,
}

/// Looks for what an earlier run left on a mirror. Writes nothing.
pub fn leftover(mirror: &View) -> Leftover {
    let Ok(found) = dir::open_dir(mirror.root(), path().as_bytes()) else { return Leftover::None };
    match stat_fd(&found).ok().and_then(|stat| stat.btime) {
        // A file system that keeps whole seconds rounds a ctime down.
        Some(btime) => Leftover::Since(Timestamp { secs: btime.secs - 2, nanos: 0 }),
        None => Leftover::Unknown,
    }
}
