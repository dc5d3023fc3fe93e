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
