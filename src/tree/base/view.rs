//! How a tree is entered: a root descriptor and the volume it must stay on.

use crate::sys::dir::{open_dir, open_root};
use crate::sys::mount::clone_tree;
use crate::sys::stat::{Stat, VolumeId, stat_fd};
use crate::tree::base::anchors::Anchors;
use crate::tree::base::relpath::RelPath;
use std::io;
use std::os::fd::OwnedFd;
use std::path::Path;

/// One tree on one volume. Everything below is reached from its root descriptor.
#[derive(Debug)]
pub struct View {
    root: OwnedFd,
    volume: VolumeId,
    anchors: Anchors,
    /// Keeps a private clone of a mount alive.
    _clone: Option<OwnedFd>,
}

impl View {
    /// The tree at an open directory as it is mounted: what is mounted below is neither seen nor entered.
    ///
    /// # Errors
    /// The system's.
    pub fn of_fd(root: OwnedFd) -> io::Result<View> {
        View::of(root, None)
    }
    /// The tree at `path` through a private clone of its mount: files hidden under mount points are seen, and there
    /// is nothing to cross. Without the privilege, or where the kernel cannot, as `of_fd`.
    ///
    /// # Errors
    /// The system's.
    pub fn private(path: &Path) -> io::Result<View> {
        View::private_of(open_root(path)?)
    }
    /// The same for the directory that is open as `root`, whatever its path leads to by now.
    ///
    /// # Errors
    /// The system's.
    pub fn private_of(root: OwnedFd) -> io::Result<View> {
        match clone_tree(&root) {
            Ok(clone) => View::of(open_dir(&clone, b"")?, Some(clone)),
            Err(error) => match error.raw_os_error() {
                Some(libc::EPERM | libc::EINVAL | libc::ENOSYS) => View::of_fd(root),
                _ => Err(error),
            },
        }
    }
    fn of(root: OwnedFd, clone: Option<OwnedFd>) -> io::Result<View> {
        let volume = stat_fd(&root)?.volume;
        Ok(View { root, volume, anchors: Anchors::default(), _clone: clone })
    }
    /// The root, open for reading.
    pub fn root(&self) -> &OwnedFd {
        &self.root
    }
    /// Opens the directory at `path` in this tree: no symbolic link is followed on the way, and no mount crossed.
    ///
    /// # Errors
    /// The system's.
    pub(in crate::tree) fn open_dir(&self, path: &RelPath) -> io::Result<OwnedFd> {
        self.anchors.open(&self.root, path)
    }
    /// Comes when a directory of this tree was renamed: no way is known any more.
    pub(in crate::tree) fn forget_ways(&self) {
        self.anchors.clear();
    }
    /// Whether an entry belongs to this tree rather than to something mounted on it.
    pub fn holds(&self, entry: &Stat) -> bool {
        entry.volume == self.volume
    }
}
