//! The attributes of chattr(1) and project ids: `FS_IOC_GETFLAGS`, `FS_IOC_FSGETXATTR` and their setters (linux/fs.h).

use rustix::fs::IFlags;
use std::io;
use std::os::fd::{AsFd, AsRawFd};

/// chattr +i and +a: both forbid what a mirror must do to a file, so they come last and go first.
pub const LOCKS: u32 = IFlags::IMMUTABLE.bits() | IFlags::APPEND.bits();
/// chattr +C of btrfs, which only takes on an empty file.
pub const NO_COW: u32 = IFlags::NOCOW.bits();
/// chattr +j, which needs `CAP_SYS_RESOURCE`.
pub const JOURNAL: u32 = IFlags::JOURNALING.bits();

const COMMON: u32 = LOCKS | IFlags::NODUMP.bits() | IFlags::NOATIME.bits();
/// What ext4 lets a user set (EXT4_FL_USER_MODIFIABLE) and that means something for a copy: S D T j s u t.
const EXT: u32 = COMMON
    | IFlags::SYNC.bits()
    | IFlags::DIRSYNC.bits()
    | IFlags::TOPDIR.bits()
    | JOURNAL
    | IFlags::SECURE_REMOVAL.bits()
    | IFlags::UNRM.bits()
    | IFlags::NOTAIL.bits();
const XFS: u32 = COMMON | IFlags::SYNC.bits();
const BTRFS: u32 = COMMON | IFlags::SYNC.bits() | IFlags::DIRSYNC.bits() | NO_COW | IFlags::COMPRESSED.bits();

/// The flags that a file system keeps and lets be set; those of a file system not known here are the four that
/// the kernel's own layer defines for all (i, a, d, A).
///
/// # Errors
/// The system's.
pub fn settable(fd: impl AsFd) -> io::Result<u32> {
    Ok(match rustix::fs::fstatfs(fd)?.f_type {
        libc::EXT4_SUPER_MAGIC => EXT,
        libc::XFS_SUPER_MAGIC => XFS,
        libc::BTRFS_SUPER_MAGIC => BTRFS,
        _ => COMMON,
    })
}

/// Whether a file system keeps owners and modes: a FAT shows what it was mounted with, and takes no other.
///
/// # Errors
/// The system's.
pub fn keeps_owners(fd: impl AsFd) -> io::Result<bool> {
    Ok(rustix::fs::fstatfs(fd)?.f_type != libc::MSDOS_SUPER_MAGIC)
}

/// The flags of an open file or directory; `None` where the file system has none.
///
/// # Errors
/// The system's.
pub fn get(fd: impl AsFd) -> io::Result<Option<u32>> {
    supported(rustix::fs::ioctl_getflags(fd).map(|flags| flags.bits()).map_err(io::Error::from))
}

/// Sets the flags of an open file or directory.
///
/// # Errors
/// The system's.
pub fn set(fd: impl AsFd, flags: u32) -> io::Result<()> {
    Ok(rustix::fs::ioctl_setflags(fd, IFlags::from_bits_retain(flags))?)
}

/// `struct fsxattr` of linux/fs.h.
#[repr(C)]
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
struct Fsxattr {
    xflags: u32,
    extsize: u32,
    nextents: u32,
    projid: u32,
    cowextsize: u32,
    pad: [u8; 8],
}

/// `_IOR('X', 31, struct fsxattr)`.
const FSGETXATTR: libc::Ioctl = 0x801c_581f_u32 as libc::Ioctl;
/// `_IOW('X', 32, struct fsxattr)`.
const FSSETXATTR: libc::Ioctl = 0x401c_5820_u32 as libc::Ioctl;
/// `FS_XFLAG_PROJINHERIT`.
const INHERIT: u32 = 0x200;

/// The project a file counts for, for quotas.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
pub struct Project {
    /// Its id; 0 is none.
    pub id: u32,
    /// Of a directory: whether new files in it count for the same.
    pub inherit: bool,
}

/// The project of an open file or directory; `None` where the file system has no such thing.
///
/// # Errors
/// The system's.
pub fn project(fd: impl AsFd) -> io::Result<Option<Project>> {
    let of = |raw: Fsxattr| Project { id: raw.projid, inherit: raw.xflags & INHERIT != 0 };
    supported(fsgetxattr(fd)).map(|raw| raw.map(of))
}

/// Sets the project of an open file or directory, leaving everything else alone.
///
/// # Errors
/// The system's; `EOPNOTSUPP` where the file system keeps no project ids.
pub fn set_project(fd: impl AsFd, project: Project) -> io::Result<()> {
    let mut raw = fsgetxattr(&fd)?;
    raw.projid = project.id;
    raw.xflags = if project.inherit { raw.xflags | INHERIT } else { raw.xflags & !INHERIT };
    // SAFETY: the ioctl reads one fsxattr structure, laid out as the kernel's, that outlives the call.
    let result = unsafe { libc::ioctl(fd.as_fd().as_raw_fd(), FSSETXATTR, &raw) };
    if result == 0 { Ok(()) } else { Err(io::Error::last_os_error()) }
}

fn fsgetxattr(fd: impl AsFd) -> io::Result<Fsxattr> {
    let mut raw = Fsxattr { xflags: 0, extsize: 0, nextents: 0, projid: 0, cowextsize: 0, pad: [0; 8] };
    // SAFETY: the ioctl fills one fsxattr structure, laid out as the kernel's, that outlives the call.
    let result = unsafe { libc::ioctl(fd.as_fd().as_raw_fd(), FSGETXATTR, &mut raw) };
    if result == 0 { Ok(raw) } else { Err(io::Error::last_os_error()) }
}

fn supported<T>(result: io::Result<T>) -> io::Result<Option<T>> {
    match result {
        Ok(value) => Ok(Some(value)),
        Err(error) => match error.raw_os_error() {
            Some(libc::ENOTTY | libc::EOPNOTSUPP | libc::ENOSYS | libc::EINVAL) => Ok(None),
            _ => Err(error),
        },
    }
}
