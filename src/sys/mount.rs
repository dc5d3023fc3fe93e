//! Mounts.

use rustix::mount::{OpenTreeFlags, open_tree};
use std::io;
use std::os::fd::OwnedFd;
use std::path::Path;

/// A private copy of the mount that shows `path`, from there downwards, without what is mounted on top of it.
///
/// It belongs to no namespace and vanishes with its last descriptor. The descriptor is open with `O_PATH`.
///
/// # Errors
/// The system's; `EPERM` without `CAP_SYS_ADMIN`.
pub fn clone_tree(path: &Path) -> io::Result<OwnedFd> {
    let flags = OpenTreeFlags::OPEN_TREE_CLONE | OpenTreeFlags::OPEN_TREE_CLOEXEC;
    Ok(open_tree(rustix::fs::CWD, path, flags)?)
}
