//! What of an entry is carried over between two file systems.

use crate::sys::dir::Handle;
use crate::sys::flags::{JOURNAL, LOCKS};
use crate::sys::stat::Timestamp;
use crate::sys::xattr;
use std::ffi::{CStr, CString};
use std::io;

/// What is carried over, given who runs and what both file systems can hold.
#[derive(Debug, Clone, Copy)]
pub(in crate::tree) struct Rules {
    /// Whether owners, trusted and security attributes, locks and device nodes can be set.
    pub privileged: bool,
    /// The chattr flags that both file systems keep and that may be set.
    pub flags: u32,
    /// Whether both file systems keep owners and modes.
    pub owners: bool,
    /// Whether the mirror's file system keeps whole seconds.
    pub whole_seconds: bool,
}

impl Rules {
    /// The rules between two file systems that keep `source` and `mirror` flags, and `owners` if both do.
    pub fn new(privileged: bool, source: u32, mirror: u32, owners: bool, whole_seconds: bool) -> Self {
        let denied = if privileged { 0 } else { LOCKS | JOURNAL };
        Rules { privileged, flags: source & mirror & !denied, owners, whole_seconds }
    }
    /// Whether the mirror's time is what its file system makes of the source's.
    pub fn is_kept_as(&self, source: Timestamp, mirror: Timestamp) -> bool {
        let kept = Timestamp { nanos: if self.whole_seconds { 0 } else { source.nanos }, ..source };
        let is_late = source.secs > LATEST[0] && LATEST.contains(&mirror.secs) && mirror.secs < source.secs;
        let is_early = source.secs < EARLIEST && mirror.secs == EARLIEST;
        mirror == kept || is_late || is_early
    }
    /// Whether an entry's owner is carried over.
    pub fn sets_owners(&self) -> bool {
        self.privileged && self.owners
    }
    /// Whether an attribute is carried over. Of the kernel's own (`system.`) only the access control lists are.
    pub fn carries(&self, name: &CStr) -> bool {
        let name = name.to_bytes();
        if name.starts_with(b"system.") {
            return name.starts_with(b"system.posix_acl_");
        }
        name.starts_with(b"user.") || self.privileged
    }
    /// The names of the attributes that are carried over; none where they take more room than the kernel tells of.
    pub fn names(&self, handle: &Handle) -> io::Result<Option<Vec<CString>>> {
        match xattr::list(handle) {
            Err(error) if matches!(error.raw_os_error(), Some(libc::E2BIG | libc::ERANGE)) => Ok(None),
            Err(error) => Err(error),
            Ok(mut names) => {
                names.retain(|name| self.carries(name));
                Ok(Some(names))
            }
        }
    }
}

/// The latest second that a file system keeps: with 32 bits (ext with 128-byte inodes, XFS without bigtime), ext4
/// (EXT4_EXTRA_TIMESTAMP_MAX), XFS (XFS_BIGTIME_TIME_MAX). What is later becomes that.
const LATEST: [i64; 3] = [0x7fff_ffff, 0x3_7fff_ffff, 16_299_260_424];
/// The earliest, of each.
const EARLIEST: i64 = -0x8000_0000;
