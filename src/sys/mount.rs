//! Mounts: private copies of trees, a namespace of our own, and block devices mounted by descriptor.

use rustix::fs::{CWD, Mode, OFlags, ResolveFlags, openat2};
use rustix::mount::{
    FsMountFlags, FsOpenFlags, MountAttrFlags, MountPropagationFlags, MoveMountFlags, OpenTreeFlags,
    UnmountFlags, fsconfig_create, fsconfig_set_flag, fsconfig_set_string, fsmount, fsopen, mount_change,
    move_mount, open_tree, unmount,
};
use rustix::thread::{UnshareFlags, unshare_unsafe};
use std::io;
use std::os::fd::{AsFd, AsRawFd, BorrowedFd, OwnedFd};
use std::path::{Path, PathBuf};

/// A private copy of the mount that shows the directory open as `dir`, from there downwards, without what is mounted
/// on top of it. Reading through it sets no access times.
///
/// It belongs to no namespace and vanishes with its last descriptor. The descriptor is open with `O_PATH`.
///
/// # Errors
/// The system's; `EPERM` without `CAP_SYS_ADMIN`.
pub fn clone_tree(dir: impl AsFd) -> io::Result<OwnedFd> {
    let flags =
        OpenTreeFlags::OPEN_TREE_CLONE | OpenTreeFlags::OPEN_TREE_CLOEXEC | OpenTreeFlags::AT_EMPTY_PATH;
    let clone = open_tree(dir, "", flags)?;
    // From now on reading through this mount sets no access time: what is only read stays as it is, to the byte.
    match change(clone.as_fd(), libc::MOUNT_ATTR_NOATIME, libc::MOUNT_ATTR__ATIME) {
        // Kernels before 5.12: a read may set an access time there, as anybody's does.
        Err(error) if error.raw_os_error() == Some(libc::ENOSYS) => {}
        other => other?,
    }
    Ok(clone)
}

/// As `clone_tree`, but programs in it may be started, and what is in it can be changed only if `writable`.
///
/// # Errors
/// The system's; `ENOSYS` on kernels before 5.12.
pub fn clone_executable(dir: impl AsFd, writable: bool) -> io::Result<OwnedFd> {
    let clone = clone_tree(dir)?;
    let set = if writable { 0 } else { libc::MOUNT_ATTR_RDONLY };
    change(clone.as_fd(), set, libc::MOUNT_ATTR_NOEXEC)?;
    Ok(clone)
}

/// An empty file system in memory, mounted nowhere yet.
///
/// # Errors
/// The system's.
pub fn in_memory() -> io::Result<OwnedFd> {
    let context = fsopen("tmpfs", FsOpenFlags::FSOPEN_CLOEXEC)?;
    fsconfig_set_string(&context, "mode", "0755")?;
    fsconfig_create(&context)?;
    let attributes = MountAttrFlags::MOUNT_ATTR_NOSUID | MountAttrFlags::MOUNT_ATTR_NODEV;
    Ok(fsmount(&context, FsMountFlags::FSMOUNT_CLOEXEC, attributes)?)
}

/// Opens (with `O_PATH`) what is at `path` for somebody whose root directory is `root`: no link leads out of it.
///
/// # Errors
/// The system's.
pub fn open_inside(root: impl AsFd, path: &str) -> io::Result<OwnedFd> {
    Ok(openat2(root, path, OFlags::PATH | OFlags::CLOEXEC, Mode::empty(), ResolveFlags::IN_ROOT)?)
}

/// Shows the mount `mount` on top of what is open as `target`, and says which path that is.
///
/// # Errors
/// The system's.
pub fn show(mount: impl AsFd, target: impl AsFd) -> io::Result<PathBuf> {
    let path = std::fs::read_link(format!("/proc/self/fd/{}", target.as_fd().as_raw_fd()))?;
    let flags = MoveMountFlags::MOVE_MOUNT_F_EMPTY_PATH | MoveMountFlags::MOVE_MOUNT_T_EMPTY_PATH;
    move_mount(mount, "", target, "", flags)?;
    Ok(path)
}

/// Sets and clears attributes (`MOUNT_ATTR_*` of mount_setattr(2)) of one mount.
fn change(mount: BorrowedFd<'_>, set: u64, clear: u64) -> io::Result<()> {
    let attributes = libc::mount_attr { attr_set: set, attr_clr: clear, propagation: 0, userns_fd: 0 };
    // SAFETY: the descriptor is open, the path is an empty C string, and the structure lives through the call, which
    // is told its true size.
    let done = unsafe {
        libc::syscall(
            libc::SYS_mount_setattr,
            mount.as_raw_fd(),
            c"".as_ptr(),
            libc::AT_EMPTY_PATH,
            &raw const attributes,
            size_of::<libc::mount_attr>(),
        )
    };
    if done == 0 { Ok(()) } else { Err(io::Error::last_os_error()) }
}

/// Gives the calling thread, and what it starts from now on, a mount namespace of its own from which nothing is
/// seen outside. Whatever is mounted in it is unmounted by the kernel when its last process ends. What is unmounted
/// outside is unmounted in it too (where the system's mounts are shared, as under systemd): otherwise a disk that
/// the administrator has unmounted and pulls out would still be mounted here, with data to be written.
///
/// # Errors
/// The system's; `EPERM` without `CAP_SYS_ADMIN`.
pub fn enter_private_namespace() -> io::Result<()> {
    // SAFETY: only a mount namespace is unshared; no descriptor table is.
    unsafe { unshare_unsafe(UnshareFlags::NEWNS)? };
    Ok(mount_change("/", MountPropagationFlags::DOWNSTREAM | MountPropagationFlags::REC)?)
}

/// Mounts the block device `device` as a file system of kind `fstype` on `at`, `nosuid,nodev,noexec,noatime`, with
/// the file system's own `options` besides, and returns the new mount's root (open with `O_PATH`). The
/// descriptor is of this very mount, whatever happens to the path.
///
/// # Errors
/// The system's, with what the kernel's file system said about it where it says anything.
pub fn mount_device(device: &Path, fstype: &str, options: &[&str], at: &Path) -> io::Result<OwnedFd> {
    let context = fsopen(fstype, FsOpenFlags::FSOPEN_CLOEXEC)?;
    let configured = fsconfig_set_string(&context, "source", device)
        .and_then(|()| options.iter().try_for_each(|option| fsconfig_set_flag(&context, *option)))
        .and_then(|()| fsconfig_create(&context));
    configured.map_err(|errno| with_kernel_message(context.as_fd(), errno.into()))?;
    let mut attributes = MountAttrFlags::MOUNT_ATTR_NOSUID
        | MountAttrFlags::MOUNT_ATTR_NODEV
        | MountAttrFlags::MOUNT_ATTR_NOEXEC
        | MountAttrFlags::MOUNT_ATTR_NOATIME;
    if options.contains(&"ro") {
        attributes |= MountAttrFlags::MOUNT_ATTR_RDONLY;
    }
    let mount = fsmount(&context, FsMountFlags::FSMOUNT_CLOEXEC, attributes)?;
    move_mount(&mount, "", CWD, at, MoveMountFlags::MOVE_MOUNT_F_EMPTY_PATH)?;
    Ok(mount)
}

/// Takes the mount at `at` away.
///
/// # Errors
/// The system's; `EBUSY` while a descriptor in it is open.
pub fn unmount_at(at: &Path) -> io::Result<()> {
    Ok(unmount(at, UnmountFlags::NOFOLLOW)?)
}

/// Takes the mount at `at` out of sight at once; the kernel ends it when its last user has gone.
///
/// # Errors
/// The system's.
pub fn detach(at: &Path) -> io::Result<()> {
    Ok(unmount(at, UnmountFlags::DETACH | UnmountFlags::NOFOLLOW)?)
}

/// The error, with the messages a file-system context keeps for whoever configures it (`e text`, one a read).
fn with_kernel_message(context: BorrowedFd<'_>, error: io::Error) -> io::Error {
    let mut said = Vec::new();
    let mut buffer = [0u8; 1024];
    while let Ok(len) = rustix::io::read(context, &mut buffer) {
        if len == 0 {
            break;
        }
        let line = String::from_utf8_lossy(&buffer[..len]);
        said.push(line.trim_start_matches(['e', 'w', 'i']).trim().to_owned());
    }
    if said.is_empty() {
        return error;
    }
    io::Error::new(error.kind(), format!("{error}: {}", said.join("; ")))
}
