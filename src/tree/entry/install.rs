//! Puts complete entries where they belong, in one step each: at every moment the name is the old entry or the new one.

use crate::sys::dir::{self, Handle};
use crate::sys::flags::{self, LOCKS, Project};
use crate::sys::stat::Kind;
use crate::tree::base::fault::{Fault, Sided};
use crate::tree::base::relpath::RelPath;
use crate::tree::changes::change::Change;
use crate::tree::entry::metadata::{lock, lock_again, unlock};
use crate::tree::entry::workspace::Workspace;
use crate::tree::pass::Pass;
use std::io;
use std::sync::Arc;

/// An entry that is complete in the workspace.
pub(in crate::tree) struct Pending {
    /// The directory it belongs to.
    pub dir: Arc<RelPath>,
    /// Its final name.
    pub name: Box<[u8]>,
    /// Its name in the workspace.
    pub temporary: Box<[u8]>,
    /// Its type.
    pub kind: Kind,
    /// What stands in its place.
    pub over: Option<Kind>,
    /// chattr flags to set at the end.
    pub locks: u32,
    /// Its size: bytes that count as copied when it is in place.
    pub bytes: u64,
    /// What is wrong with it although it is complete.
    pub flaw: Option<Fault>,
    /// BLAKE3 of a file's content, as it was made.
    pub hash: Option<[u8; 32]>,
    /// Where in the next catalog that belongs.
    pub slot: u64,
    /// Which inode with several names this is the first name of.
    pub leads: Option<u32>,
    /// Whether the mirror had it under another name.
    pub renamed: bool,
}

impl Pending {
    /// What `change` asks for in the directory `dir`, as it is when nothing was copied.
    pub fn of(dir: &Arc<RelPath>, change: &Change, temporary: Box<[u8]>) -> Pending {
        let Change { kind, over, slot, leads, .. } = *change;
        let (dir, name) = (dir.clone(), change.name.clone());
        let (locks, bytes, flaw, hash, renamed) = (0, 0, None, None, false);
        Pending { dir, name, temporary, kind, over, locks, bytes, flaw, hash, slot, leads, renamed }
    }
    /// Whether a directory changes its place when this comes into its own.
    fn replaces_or_is_tree(&self) -> bool {
        self.over == Some(Kind::Dir) || (self.over.is_some() && self.kind == Kind::Dir)
    }
}

/// Moves `pending` into `target`, its directory. An old directory in its place ends up in the workspace.
pub(in crate::tree) fn put(
    pass: &Pass<'_>,
    workspace: &Workspace,
    target: &Handle,
    pending: &Pending,
) -> Result<(), Fault> {
    let moved = move_over(workspace, target, pending).or_else(|error| {
        let locked = clear_the_way(target, pending, &error)?;
        move_over(workspace, target, pending)?;
        locked.map_or(Ok(()), |(file, locks)| lock_again(&file, locks))
    });
    if pending.replaces_or_is_tree() {
        pass.mirror.forget_ways();
    }
    if let Err(error) = moved {
        // What failed is what is reported; the workspace is swept at its end.
        let _ = dir::unlink(&workspace.nest.dir.fd, &pending.temporary);
        return Err(Fault::Mirror("replacing", error));
    }
    lock_in_place(pass, target, &pending.name, pending.locks)
}

/// Sets the locks of an entry to which nothing else is to be done.
pub(in crate::tree) fn lock_in_place(
    pass: &Pass<'_>,
    target: &Handle,
    name: &[u8],
    locks: u32,
) -> Result<(), Fault> {
    if locks == 0 || !pass.rules.privileged {
        return Ok(());
    }
    let handle = dir::open_read(&target.fd, name).on_mirror("opening")?;
    lock(&handle, locks).on_mirror("setting flags of")
}

fn move_over(workspace: &Workspace, target: &Handle, pending: &Pending) -> io::Result<()> {
    let (from, to) = (&pending.temporary, &pending.name);
    if !pending.replaces_or_is_tree() {
        return dir::rename(&workspace.nest.dir.fd, from, &target.fd, to);
    }
    match dir::exchange(&workspace.nest.dir.fd, from, &target.fd, to) {
        Err(error) if error.raw_os_error() == Some(libc::EINVAL) => {
            dir::rename(&target.fd, to, &workspace.nest.dir.fd, &workspace.name())?;
            dir::rename(&workspace.nest.dir.fd, from, &target.fd, to)
        }
        // What stood there was renamed.
        Err(error) if error.raw_os_error() == Some(libc::ENOENT) => {
            dir::rename(&workspace.nest.dir.fd, from, &target.fd, to)
        }
        other => other,
    }
}

/// Takes away what forbids a rename: a lock on the old entry, or a directory that insists on another project. Gives back
/// what was locked, and how.
fn clear_the_way(target: &Handle, pending: &Pending, error: &io::Error) -> io::Result<Option<(Handle, u32)>> {
    match error.raw_os_error() {
        Some(libc::EPERM | libc::EACCES) if matches!(pending.over, Some(Kind::File | Kind::Dir)) => {
            let old = dir::open_read(&target.fd, &pending.name)?;
            let locks = flags::get(&old.fd)?.unwrap_or(0) & LOCKS;
            unlock(&old)?;
            // Without privilege, only a directory that its owner may write can be moved elsewhere.
            if pending.over == Some(Kind::Dir) {
                dir::set_mode(&old, old.stat()?.mode | 0o700)?;
                return Ok(None);
            }
            Ok(Some((old, locks)))
        }
        Some(libc::EXDEV) => {
            let project = flags::project(&target.fd)?.unwrap_or_default();
            flags::set_project(&target.fd, Project { inherit: false, ..project })?;
            Ok(None)
        }
        _ => Err(io::Error::from_raw_os_error(error.raw_os_error().unwrap_or(libc::EIO))),
    }
}
