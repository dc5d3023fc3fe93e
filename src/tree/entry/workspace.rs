//! The mirror's own directory for what is not yet, or no longer, part of the mirror: `/.diskmirror/tmp`.
//!
//! New files are made complete here under numbers, so that the length of their names does not matter, and old trees
//! are set aside here until the deletions. Whoever finds it at the start finds what a killed run left behind.

use crate::sys::dir::{self, read_names};
use crate::sys::stat::{Timestamp, stat_fd};
use crate::tree::base::excludes::Excludes;
use crate::tree::base::fault::{Error, at_root};
use crate::tree::base::listing::OWN;
use crate::tree::base::relpath::RelPath;
use crate::tree::base::view::View;
use crate::tree::entry::parent::Nest;
use crate::tree::entry::remove;
use crate::tree::entry::undo;
use crate::tree::pass::Pass;
use std::io;
use std::sync::atomic::{AtomicU64, Ordering::Relaxed};

const TMP: &[u8] = b"tmp";

/// The open workspace of a mirror.
#[derive(Debug)]
pub(in crate::tree) struct Workspace {
    /// The directory.
    pub nest: Nest,
    next: AtomicU64,
}

/// Where it is on the mirror.
pub(in crate::tree) fn path() -> RelPath {
    RelPath::root().join(OWN).join(TMP)
}

impl Workspace {
    /// Makes the workspace, empty. One that is there stays as old as it is: until this work comes to its end, it is not
    /// known of anything that was written since then.
    pub fn open(pass: &Pass<'_>) -> Result<Workspace, Error> {
        clear(pass)?;
        let made = make(pass).and_then(|()| pass.mirror_dir(&path()));
        let nest = Nest::new(made.map_err(at_root("making a workspace in"))?);
        Ok(Workspace { nest, next: AtomicU64::new(0) })
    }
    /// A name that is not taken.
    pub fn name(&self) -> Box<[u8]> {
        self.next.fetch_add(1, Relaxed).to_string().into_bytes().into()
    }
}

/// The name there of a file that is renamed: its inode on the source is `ino`.
pub(in crate::tree) fn moved_name(ino: u64) -> Box<[u8]> {
    format!("moved-{ino}").into_bytes().into()
}

fn make(pass: &Pass<'_>) -> io::Result<()> {
    let root = pass.mirror_dir(&RelPath::root())?;
    remove::make_writable(&root, pass)?;
    exists_already(dir::make_dir(&root.fd, OWN))?;
    let own = pass.mirror_dir(&RelPath::root().join(OWN))?;
    exists_already(dir::make_dir(&own.fd, TMP))
}

fn clear(pass: &Pass<'_>) -> Result<(), Error> {
    if pass.mirror_dir(&path()).is_ok() {
        // No pattern may keep anything here: names in the workspace mean nothing.
        remove::delete_below(pass, &path(), &Excludes::default())?;
    } else if let Ok(own) = pass.mirror_dir(&RelPath::root().join(OWN)) {
        // What is there is no directory, so nobody's work. If it does not go, making the workspace says so.
        let _ = dir::unlink(&own.fd, TMP);
    }
    Ok(())
}

/// Ends work that did not come to its end. What was doubtful of the mirror before is doubtful still: only where nothing
/// was does the workspace go.
pub(in crate::tree) fn abandon(pass: &Pass<'_>) {
    let doubtful = pass.options.compare_content || pass.options.suspect_since.is_some();
    // What ended the work is what is reported; whatever stays, the next one finds.
    let _ = if doubtful { clear(pass) } else { sweep(pass).map(drop) };
}

fn exists_already(made: io::Result<()>) -> io::Result<()> {
    match made {
        Err(error) if error.kind() == io::ErrorKind::AlreadyExists => Ok(()),
        other => other,
    }
}

/// Removes the workspace with all that is in it, and the mirror's own directory if nothing else is there.
/// Gives back how many entries were below what was set aside; `None` if there was no workspace.
pub(in crate::tree) fn sweep(pass: &Pass<'_>) -> Result<Option<u64>, Error> {
    let Ok(tmp) = pass.mirror_dir(&path()) else {
        // The power may have gone between the workspace and the directory around it.
        let own = pass.mirror_dir(&RelPath::root()).and_then(|root| dir::remove_dir(&root.fd, OWN));
        return Ok(own.ok().map(|()| 0));
    };
    let set_aside = read_names(&tmp.fd).0.len() as u64;
    let deleted = remove::delete(pass, &path(), &Excludes::default())?;
    undo::clear(pass.mirror);
    if let Ok(root) = pass.mirror_dir(&RelPath::root()) {
        // The root may be as the source's is already, which need not be writable. Its marks, if it has any, keep it.
        let _ = remove::make_writable(&root, pass).and_then(|()| dir::remove_dir(&root.fd, OWN));
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
    let Ok(found) = mirror.open_dir(&path()) else { return Leftover::None };
    match stat_fd(&found).ok().and_then(|stat| stat.btime) {
        // A file system that keeps whole seconds rounds a ctime down.
        Some(btime) => Leftover::Since(Timestamp { secs: btime.secs - 2, nanos: 0 }),
        None => Leftover::Unknown,
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::monitor::Silent;
    use crate::tree::{Options, RelPath, View};
    use std::fs;

    #[test]
    fn what_is_doubtful_stays_so_until_some_work_comes_to_its_end() {
        let dir = tempfile::tempdir_in(env!("CARGO_MANIFEST_DIR")).expect("a directory");
        let tmp = dir.path().join(".diskmirror/tmp");
        fs::create_dir_all(tmp.join("7/below")).expect("what a killed run left");
        fs::write(tmp.join("8"), "half a fi").expect("and more");
        let view = || View::of_fd(dir::open_root(dir.path()).expect("open")).expect("a view");
        let (source, mirror) = (view(), view());
        let began = leftover(&mirror);
        let Leftover::Since(since) = began else { panic!("ext4 and XFS tell when a file was made") };
        let options = Options { suspect_since: Some(since), ..Options::default() };
        let pass = Pass::new(&source, &mirror, &options, &Silent).expect("a pass");
        let workspace = Workspace::open(&pass).expect("a workspace");
        assert_eq!((fs::read_dir(&tmp).expect("it is there").count(), leftover(&mirror)), (0, began));
        fs::write(tmp.join(std::str::from_utf8(&workspace.name()).expect("a number")), "").expect("a file");
        abandon(&pass);
        assert_eq!((fs::read_dir(&tmp).expect("it is there").count(), leftover(&mirror)), (0, began));
        let options = Options { suspect_since: None, ..options.clone() };
        abandon(&Pass::new(&source, &mirror, &options, &Silent).expect("a pass"));
        assert_eq!(leftover(&mirror), Leftover::None);
        let own = || pass.mirror_dir(&RelPath::root().join(OWN));
        assert!(own().is_err(), "nothing is left behind");
        fs::create_dir(dir.path().join(".diskmirror")).expect("what a power cut left");
        assert_eq!(sweep(&pass).expect("swept"), Some(0));
        assert!(own().is_err() && sweep(&pass).expect("swept").is_none());
    }
}
