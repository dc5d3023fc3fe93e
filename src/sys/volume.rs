//! Which file system a descriptor lies on, and what its inode numbers are worth.

use std::io;
use std::os::fd::{AsFd, AsRawFd};

/// `struct fsuuid2` of linux/fs.h.
#[repr(C)]
struct FsUuid {
    length: u8,
    bytes: [u8; 16],
}

/// `_IOR(0x15, 0, struct fsuuid2)`, from Linux 6.9 on.
const GETFSUUID: libc::Ioctl = 0x8011_1500_u32 as libc::Ioctl;

// linux/magic.h, and the file systems' own headers.
const F2FS: i64 = 0xF2F5_2010;
const BCACHEFS: i64 = 0xCA45_1A4E;
const ZFS: i64 = 0x2FC1_2FC1;

/// What tells this file system from every other: its UUID; on older kernels what statfs(2) makes of it (which of an XFS
/// is the device's number).
///
/// # Errors
/// The system's.
pub fn identity(fd: impl AsFd) -> io::Result<String> {
    let mut uuid = FsUuid { length: 0, bytes: [0; 16] };
    // SAFETY: the ioctl fills one fsuuid2 structure, laid out as the kernel's, that outlives the call.
    let asked = unsafe { libc::ioctl(fd.as_fd().as_raw_fd(), GETFSUUID, &mut uuid) };
    if asked == 0 && usize::from(uuid.length) == uuid.bytes.len() {
        return Ok(uuid.bytes.iter().map(|byte| format!("{byte:02x}")).collect());
    }
    let statfs = rustix::fs::fstatfs(fd)?;
    Ok(format!("{:x} {:?}", statfs.f_type, statfs.f_fsid))
}

/// Whether an inode number means the same file tomorrow: not on FAT, over networks, in layers or in memory.
///
/// # Errors
/// The system's.
pub fn has_lasting_inodes(fd: impl AsFd) -> io::Result<bool> {
    let kind = rustix::fs::fstatfs(fd)?.f_type;
    let lasting =
        [libc::EXT4_SUPER_MAGIC, libc::XFS_SUPER_MAGIC, libc::BTRFS_SUPER_MAGIC, F2FS, BCACHEFS, ZFS];
    Ok(lasting.contains(&kind))
}

/// Blocks that are never all taken by one attribute.
const SOME_BLOCKS: u64 = 64;

/// Whether a file system has room for something small.
///
/// # Errors
/// The system's.
pub fn has_room(fd: impl AsFd) -> io::Result<bool> {
    let statfs = rustix::fs::fstatvfs(fd)?;
    Ok(statfs.f_bfree >= SOME_BLOCKS && (statfs.f_files == 0 || statfs.f_ffree > 0))
}

/// Whether times are kept as whole seconds: ext with inodes of 128 bytes, which do not tell when they were made either.
///
/// # Errors
/// The system's.
pub fn keeps_whole_seconds(fd: impl AsFd) -> io::Result<bool> {
    let kind = rustix::fs::fstatfs(&fd)?.f_type;
    Ok(kind == libc::EXT4_SUPER_MAGIC && super::stat::stat_fd(fd)?.btime.is_none())
}

/// What is free on a file system.
#[derive(Debug, Clone, Copy)]
pub struct Space {
    /// Bytes, those included that are kept for root.
    pub bytes: u64,
    /// Inodes; none where they are made as they are needed.
    pub inodes: Option<u64>,
}

/// What is free on the file system of `fd`.
///
/// # Errors
/// The system's.
pub fn space(fd: impl AsFd) -> io::Result<Space> {
    let statfs = rustix::fs::fstatvfs(fd)?;
    let inodes = (statfs.f_files > 0).then_some(statfs.f_ffree);
    Ok(Space { bytes: statfs.f_bfree.saturating_mul(statfs.f_frsize), inodes })
}
