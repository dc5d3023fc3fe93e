//! What `statx` says of an entry, reduced to what a mirror is made of.

use rustix::fs::{AtFlags, StatxAttributes, StatxFlags, statx};
use std::io;
use std::os::fd::AsFd;

/// A point in time as file systems keep it.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash, Default)]
pub struct Timestamp {
    /// Seconds since 1970, negative before.
    pub secs: i64,
    /// Nanoseconds, below one thousand million.
    pub nanos: u32,
}

/// The type of an entry.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
pub enum Kind {
    /// A regular file.
    File,
    /// A directory.
    Dir,
    /// A symbolic link.
    Symlink,
    /// A named pipe.
    Fifo,
    /// A socket.
    Socket,
    /// A block device.
    Block,
    /// A character device.
    Char,
}

impl Kind {
    /// From the type bits of a mode; `None` for what Linux does not know.
    pub const fn of_mode(mode: u32) -> Option<Kind> {
        Some(match mode & libc::S_IFMT {
            libc::S_IFREG => Kind::File,
            libc::S_IFDIR => Kind::Dir,
            libc::S_IFLNK => Kind::Symlink,
            libc::S_IFIFO => Kind::Fifo,
            libc::S_IFSOCK => Kind::Socket,
            libc::S_IFBLK => Kind::Block,
            libc::S_IFCHR => Kind::Char,
            _ => return None,
        })
    }
    /// Whether it is a block or character device.
    pub const fn is_device(self) -> bool {
        matches!(self, Kind::Block | Kind::Char)
    }
}

/// Where an entry lives: only within one volume may a tree be walked.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
pub struct VolumeId {
    /// `st_dev`, major and minor.
    pub dev: (u32, u32),
    /// The mount's id; 0 where the kernel does not tell.
    pub mount: u64,
}

/// The metadata of one entry.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Stat {
    /// Its type.
    pub kind: Kind,
    /// Inode number.
    pub ino: u64,
    /// The volume it is on.
    pub volume: VolumeId,
    /// Permissions with setuid, setgid and sticky; no type bits.
    pub mode: u32,
    /// Owner.
    pub uid: u32,
    /// Group.
    pub gid: u32,
    /// Number of names.
    pub nlink: u32,
    /// Size in bytes.
    pub size: u64,
    /// Last change of the content.
    pub mtime: Timestamp,
    /// Last change of anything.
    pub ctime: Timestamp,
    /// When it was made, where the file system tells.
    pub btime: Option<Timestamp>,
    /// Device number (major, minor) of a device node.
    pub rdev: (u32, u32),
    /// Whether chattr +i or +a forbids changes to it.
    pub locked: bool,
    /// Whether the file system encrypts it with a key of its own (fscrypt).
    pub encrypted: bool,
}

/// The entry `name` of `dir`, a symbolic link not followed.
///
/// # Errors
/// The system's.
pub fn stat_at(dir: impl AsFd, name: &[u8]) -> io::Result<Stat> {
    stat_with(dir, name, AtFlags::SYMLINK_NOFOLLOW | AtFlags::NO_AUTOMOUNT)
}

/// What is open as `fd`.
///
/// # Errors
/// The system's.
pub fn stat_fd(fd: impl AsFd) -> io::Result<Stat> {
    stat_with(fd, b"", AtFlags::EMPTY_PATH)
}

fn stat_with(dir: impl AsFd, name: &[u8], flags: AtFlags) -> io::Result<Stat> {
    let mask = StatxFlags::BASIC_STATS | StatxFlags::MNT_ID | StatxFlags::BTIME;
    let s = statx(dir, name, flags, mask)?;
    let mode = u32::from(s.stx_mode);
    let kind = Kind::of_mode(mode).ok_or(io::ErrorKind::Unsupported)?;
    let has_btime = s.stx_mask & StatxFlags::BTIME.bits() != 0;
    Ok(Stat {
        kind,
        ino: s.stx_ino,
        volume: VolumeId { dev: (s.stx_dev_major, s.stx_dev_minor), mount: s.stx_mnt_id },
        mode: mode & 0o7777,
        uid: s.stx_uid,
        gid: s.stx_gid,
        nlink: s.stx_nlink,
        size: s.stx_size,
        mtime: Timestamp { secs: s.stx_mtime.tv_sec, nanos: s.stx_mtime.tv_nsec },
        ctime: Timestamp { secs: s.stx_ctime.tv_sec, nanos: s.stx_ctime.tv_nsec },
        btime: has_btime.then_some(Timestamp { secs: s.stx_btime.tv_sec, nanos: s.stx_btime.tv_nsec }),
        rdev: (s.stx_rdev_major, s.stx_rdev_minor),
        locked: s.stx_attributes.intersects(StatxAttributes::IMMUTABLE | StatxAttributes::APPEND),
        encrypted: s.stx_attributes.contains(StatxAttributes::ENCRYPTED),
    })
}
