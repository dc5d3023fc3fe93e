//! The few calls that neither std nor rustix wraps: the only `unsafe` of the tests.

use std::io;
use std::os::fd::{AsRawFd, BorrowedFd};
use std::process::Child;

/// How a file system is shut down under its users (`xfs_fs.h`, XFS_FSOP_GOING_FLAGS_*; ext4 took them over).
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Shutdown {
    /// Freeze first: everything reaches the disk.
    Default = 0,
    /// Write the log out, and nothing else.
    LogFlush = 1,
    /// Nothing more reaches the disk: a power cut.
    NoLogFlush = 2,
}

/// EXT4_IOC_SHUTDOWN = XFS_IOC_GOINGDOWN = _IOR('X', 125, __u32).
const GOINGDOWN: libc::Ioctl = 0x8004_587d_u32 as libc::Ioctl;
/// FS_IOC_FSGETXATTR = _IOR('X', 31, struct fsxattr), 28 bytes.
const FSGETXATTR: libc::Ioctl = 0x801c_581f_u32 as libc::Ioctl;
/// FS_IOC_FSSETXATTR = _IOW('X', 32, struct fsxattr).
const FSSETXATTR: libc::Ioctl = 0x401c_5820_u32 as libc::Ioctl;

/// FS_XFLAG_PROJINHERIT.
const PROJINHERIT: u32 = 0x200;

/// struct fsxattr of linux/fs.h.
#[repr(C)]
#[derive(Default)]
struct FsXattr {
    xflags: u32,
    extsize: u32,
    nextents: u32,
    projid: u32,
    cowextsize: u32,
    pad: [u8; 8],
}

fn checked(result: libc::c_int) -> io::Result<()> {
    if result == 0 { Ok(()) } else { Err(io::Error::last_os_error()) }
}

/// Shuts down the ext4 or XFS that `fd` lies on.
pub fn shutdown(fd: BorrowedFd<'_>, how: Shutdown) -> io::Result<()> {
    let flags = how as u32;
    // SAFETY: the request reads one u32 behind the pointer, which lives through the call.
    checked(unsafe { libc::ioctl(fd.as_raw_fd(), GOINGDOWN, &raw const flags) })
}

/// The project id of a file or directory, and whether what is made in it inherits that; `None` where the file system
/// has none.
pub fn project(fd: BorrowedFd<'_>) -> Option<(u32, bool)> {
    let mut attributes = FsXattr::default();
    // SAFETY: the request writes one struct fsxattr behind the pointer, which lives through the call.
    checked(unsafe { libc::ioctl(fd.as_raw_fd(), FSGETXATTR, &raw mut attributes) }).ok()?;
    Some((attributes.projid, attributes.xflags & PROJINHERIT != 0))
}

/// Sets the project id of a file or directory, and of a directory whether what is made in it inherits that.
pub fn set_project(fd: BorrowedFd<'_>, (id, inherited): (u32, bool)) -> io::Result<()> {
    let mut attributes = FsXattr::default();
    // SAFETY: both requests transfer one struct fsxattr behind the pointer, which lives through the calls.
    unsafe {
        checked(libc::ioctl(fd.as_raw_fd(), FSGETXATTR, &raw mut attributes))?;
        attributes.projid = id;
        attributes.xflags = attributes.xflags & !PROJINHERIT | if inherited { PROJINHERIT } else { 0 };
        checked(libc::ioctl(fd.as_raw_fd(), FSSETXATTR, &raw const attributes))
    }
}

/// Gives the calling thread, and what it starts from now on, a mount namespace of its own.
pub fn unshare_mounts() -> io::Result<()> {
    // SAFETY: CLONE_NEWNS changes what the calling thread sees of mounts; it frees and shares no memory.
    checked(unsafe { libc::unshare(libc::CLONE_NEWNS) })
}

/// How many pages of a file are in the page cache.
pub fn cached_pages(file: BorrowedFd<'_>, bytes: usize) -> usize {
    let mut pages = vec![0u8; bytes.div_ceil(4096)];
    // SAFETY: a mapping that nobody reads; `pages` has a byte for each of its pages; it is unmapped with its own length.
    unsafe {
        let null = std::ptr::null_mut();
        let at = libc::mmap(null, bytes, libc::PROT_READ, libc::MAP_SHARED, file.as_raw_fd(), 0);
        assert_ne!(at, libc::MAP_FAILED, "{}", io::Error::last_os_error());
        checked(libc::mincore(at, bytes, pages.as_mut_ptr())).expect("asked");
        checked(libc::munmap(at, bytes)).expect("unmapped");
    }
    pages.iter().filter(|page| *page & 1 == 1).count()
}

/// The first page of a file, mapped shared and writable until it is dropped.
pub struct Mapping(*mut u8);

/// Bytes that are mapped, and that a mapped file must have.
pub const PAGE: usize = 4096;

// SAFETY: the mapping belongs to the process, not to a thread.
unsafe impl Send for Mapping {}

impl Mapping {
    /// Of an open file of at least a page.
    pub fn new(fd: BorrowedFd<'_>) -> io::Result<Self> {
        let (access, how) = (libc::PROT_READ | libc::PROT_WRITE, libc::MAP_SHARED);
        // SAFETY: the kernel chooses an address where nothing is.
        let at = unsafe { libc::mmap(std::ptr::null_mut(), PAGE, access, how, fd.as_raw_fd(), 0) };
        if at == libc::MAP_FAILED { Err(io::Error::last_os_error()) } else { Ok(Mapping(at.cast())) }
    }
    /// Stores a byte: no system call tells the kernel of it.
    pub fn store(&mut self, at: usize, byte: u8) {
        assert!(at < PAGE);
        // SAFETY: the address lies within the mapping; volatile, because somebody else looks at the file.
        unsafe { self.0.add(at).write_volatile(byte) }
    }
}

impl Drop for Mapping {
    fn drop(&mut self) {
        // SAFETY: nothing refers to what was mapped any more.
        unsafe { libc::munmap(self.0.cast(), PAGE) };
    }
}

/// Waits for a process: its exit code (-1 if a signal ended it), and the peak of the memory of it and of the processes that
/// it waited for, in bytes.
pub fn wait_with_peak(child: Child) -> (i32, u64) {
    let mut status = 0;
    // SAFETY: all zeros is a value of the struct; both places are there while the call lasts.
    let (waited, usage) = unsafe {
        let mut usage: libc::rusage = std::mem::zeroed();
        (libc::wait4(child.id().cast_signed(), &raw mut status, 0, &raw mut usage), usage)
    };
    assert_eq!(waited, child.id().cast_signed(), "{}", io::Error::last_os_error());
    let exit = if libc::WIFEXITED(status) { libc::WEXITSTATUS(status) } else { -1 };
    (exit, usage.ru_maxrss.cast_unsigned() * 1024)
}
