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

/// FS_IOC_ADD_ENCRYPTION_KEY = _IOWR('f', 23, struct fscrypt_add_key_arg), 80 bytes.
const ADD_ENCRYPTION_KEY: libc::Ioctl = 0xc050_6617_u32 as libc::Ioctl;
/// FS_IOC_REMOVE_ENCRYPTION_KEY = _IOWR('f', 24, struct fscrypt_remove_key_arg), 64 bytes.
const REMOVE_ENCRYPTION_KEY: libc::Ioctl = 0xc040_6618_u32 as libc::Ioctl;
/// FS_IOC_SET_ENCRYPTION_POLICY = _IOR('f', 19, struct fscrypt_policy_v1), 12 bytes; of version 2 it takes 24.
const SET_ENCRYPTION_POLICY: libc::Ioctl = 0x800c_6613_u32 as libc::Ioctl;
/// FSCRYPT_KEY_SPEC_TYPE_IDENTIFIER.
const BY_IDENTIFIER: u32 = 2;

/// What the kernel calls a key by (struct fscrypt_key_specifier).
#[repr(C)]
#[derive(Debug, Clone, Copy)]
pub struct EncryptionKey {
    by: u32,
    reserved: u32,
    identifier: [u8; 16],
    pad: [u8; 16],
}

/// struct fscrypt_add_key_arg of linux/fscrypt.h, with a raw key behind it.
#[repr(C)]
struct AddKey {
    key: EncryptionKey,
    raw_size: u32,
    key_id: u32,
    reserved: [u32; 8],
    raw: [u8; 64],
}

/// struct fscrypt_remove_key_arg.
#[repr(C)]
struct RemoveKey {
    key: EncryptionKey,
    status: u32,
    reserved: [u32; 5],
}

/// struct fscrypt_policy_v2.
#[repr(C)]
struct Policy {
    version: u8,
    contents_mode: u8,
    names_mode: u8,
    flags: u8,
    reserved: [u8; 4],
    identifier: [u8; 16],
}

/// Gives a key to the file system that `fd` lies on.
pub fn add_encryption_key(fd: BorrowedFd<'_>, raw: [u8; 64]) -> io::Result<EncryptionKey> {
    let key = EncryptionKey { by: BY_IDENTIFIER, reserved: 0, identifier: [0; 16], pad: [0; 16] };
    let mut add = AddKey { key, raw_size: 64, key_id: 0, reserved: [0; 8], raw };
    // SAFETY: the request transfers one struct with `raw_size` bytes behind it, which lives through the call.
    checked(unsafe { libc::ioctl(fd.as_raw_fd(), ADD_ENCRYPTION_KEY, &raw mut add) })?;
    Ok(add.key)
}

/// Has an empty directory encrypted, with all that will be in it.
pub fn encrypt_directory(fd: BorrowedFd<'_>, key: EncryptionKey) -> io::Result<()> {
    // FSCRYPT_MODE_AES_256_XTS and _CTS, names padded to 32 bytes.
    let (contents_mode, names_mode, flags) = (1, 4, 3);
    let identifier = key.identifier;
    let policy = Policy { version: 2, contents_mode, names_mode, flags, reserved: [0; 4], identifier };
    // SAFETY: the request reads one struct of its version's size, which lives through the call.
    checked(unsafe { libc::ioctl(fd.as_raw_fd(), SET_ENCRYPTION_POLICY, &raw const policy) })
}

/// Takes the key away: what is encrypted with it is locked, if nobody has it open.
pub fn remove_encryption_key(fd: BorrowedFd<'_>, key: EncryptionKey) -> io::Result<()> {
    let mut remove = RemoveKey { key, status: 0, reserved: [0; 5] };
    // SAFETY: the request transfers one struct, which lives through the call.
    checked(unsafe { libc::ioctl(fd.as_raw_fd(), REMOVE_ENCRYPTION_KEY, &raw mut remove) })
}

/// F_SETSIG of fcntl(2).
const SETSIG: libc::c_int = 10;

/// Takes a write lease. Who asks for it back sends a signal that is ignored by default.
pub fn lease(fd: BorrowedFd<'_>) -> io::Result<()> {
    // SAFETY: both commands take a number.
    unsafe {
        checked(libc::fcntl(fd.as_raw_fd(), SETSIG, libc::SIGURG))?;
        checked(libc::fcntl(fd.as_raw_fd(), libc::F_SETLEASE, libc::F_WRLCK))
    }
}

/// Whether somebody waits for the lease.
pub fn is_asked_back(fd: BorrowedFd<'_>) -> io::Result<bool> {
    // SAFETY: the command takes nothing.
    let is = unsafe { libc::fcntl(fd.as_raw_fd(), libc::F_GETLEASE) };
    if is < 0 { Err(io::Error::last_os_error()) } else { Ok(is != libc::F_WRLCK) }
}

/// Gives the lease back.
pub fn give_back(fd: BorrowedFd<'_>) -> io::Result<()> {
    // SAFETY: the command takes a number.
    checked(unsafe { libc::fcntl(fd.as_raw_fd(), libc::F_SETLEASE, libc::F_UNLCK) })
}
