//! File calls relative to directory descriptors. A name is one component and is never followed; a path is resolved
//! beneath its directory, without symbolic links and without crossing mounts.
//!
//! So whoever owns a directory below cannot lead a privileged caller anywhere else by swapping names.

use super::stat::{Stat, Timestamp, stat_fd};
use rustix::fs::{
    AtFlags, FileType, Gid, Mode, OFlags, RawDir, RenameFlags, ResolveFlags, Timespec, Timestamps, Uid,
    openat, openat2,
};
use rustix::io::Errno;
use std::io;
use std::os::fd::{AsFd, AsRawFd, BorrowedFd, OwnedFd};

/// Longest stretch of a path given to the kernel at once, below PATH_MAX (4096 with its NUL).
pub const PATH_CHUNK: usize = 4000;
/// A race with renames makes `RESOLVE_BENEATH` give up with EAGAIN: how often to try again.
const RESOLVE_TRIES: usize = 16;
/// One getdents64 call's room: few calls for large directories.
const LISTING_BYTES: usize = 128 * 1024;

/// An open entry. `path_only`: opened with `O_PATH`, because its content cannot or must not be opened.
#[derive(Debug)]
pub struct Handle {
    /// The descriptor.
    pub fd: OwnedFd,
    /// Whether only its metadata can be reached, and that by way of /proc/self/fd.
    pub path_only: bool,
}

impl Handle {
    /// The magic link that leads to the entry itself, with its closing NUL.
    pub fn proc_path(&self) -> String {
        format!("/proc/self/fd/{}", self.fd.as_raw_fd())
    }
    /// What is open.
    ///
    /// # Errors
    /// The system's.
    pub fn stat(&self) -> io::Result<Stat> {
        stat_fd(&self.fd)
    }
}

/// Whether /proc is there and this process's own: what is open with `O_PATH` is reached by it.
pub fn reaches_by_proc(fd: impl AsFd) -> bool {
    let path = format!("/proc/self/fd/{}", fd.as_fd().as_raw_fd());
    let by_proc =
        rustix::fs::statx(rustix::fs::CWD, path, AtFlags::empty(), rustix::fs::StatxFlags::BASIC_STATS);
    by_proc.is_ok_and(|found| {
        let of = stat_fd(&fd).map(|stat| (stat.ino, stat.volume.dev));
        of.is_ok_and(|of| of == (found.stx_ino, (found.stx_dev_major, found.stx_dev_minor)))
    })
}

/// Opens a directory by a path of the outside world, following symbolic links as a user expects.
///
/// # Errors
/// The system's.
pub fn open_root(path: &std::path::Path) -> io::Result<OwnedFd> {
    Ok(rustix::fs::open(path, OFlags::RDONLY | OFlags::DIRECTORY | OFlags::CLOEXEC, Mode::empty())?)
}

/// Opens the directory at `path` (components separated by `/`; empty means `root` itself) beneath `root`.
///
/// Any length of path works; at most two descriptors are held at a time.
///
/// # Errors
/// The system's; `ELOOP` or `EXDEV` where a component is a symbolic link or a mount point.
pub fn open_dir(root: impl AsFd, path: &[u8]) -> io::Result<OwnedFd> {
    let mut rest = if path.is_empty() { &b"."[..] } else { path };
    let mut held: Option<OwnedFd> = None;
    loop {
        let (head, tail) = chunk(rest);
        let flags = if tail.is_empty() { OFlags::RDONLY | OFlags::NOATIME } else { OFlags::PATH };
        let base: BorrowedFd<'_> = held.as_ref().map_or(root.as_fd(), AsFd::as_fd);
        let next = resolve(base, head, flags | OFlags::DIRECTORY)?;
        if tail.is_empty() {
            return Ok(next);
        }
        held = Some(next);
        rest = tail;
    }
}

/// Opens the directory at `path`, at most `PATH_CHUNK` bytes, beneath `base` only to go on from there.
///
/// # Errors
/// As `open_dir`.
pub fn open_way(base: impl AsFd, path: &[u8]) -> io::Result<OwnedFd> {
    resolve(base.as_fd(), path, OFlags::PATH | OFlags::DIRECTORY)
}

fn resolve(base: BorrowedFd<'_>, path: &[u8], flags: OFlags) -> io::Result<OwnedFd> {
    let how = ResolveFlags::BENEATH | ResolveFlags::NO_SYMLINKS | ResolveFlags::NO_XDEV;
    let mut flags = flags | OFlags::CLOEXEC | OFlags::NOFOLLOW;
    let mut tries = 0;
    loop {
        match openat2(base, path, flags, Mode::empty(), how) {
            Err(Errno::AGAIN) if tries < RESOLVE_TRIES => tries += 1,
            Err(Errno::PERM) if flags.contains(OFlags::NOATIME) => flags -= OFlags::NOATIME,
            other => return Ok(other?),
        }
    }
}

/// Whether whoever follows the link at `path` below `root` by path stays beneath it. A link to nothing does.
///
/// # Errors
/// `EXDEV` where it leads out; the system's.
pub fn link_stays_inside(root: impl AsFd, path: &[u8]) -> io::Result<()> {
    let how = ResolveFlags::BENEATH | ResolveFlags::NO_MAGICLINKS | ResolveFlags::NO_XDEV;
    match openat2(root, path, OFlags::PATH | OFlags::CLOEXEC, Mode::empty(), how) {
        Ok(_) | Err(Errno::NOENT) => Ok(()),
        Err(error) => Err(error.into()),
    }
}

/// Splits a path at the last slash that leaves the head short enough for the kernel.
fn chunk(path: &[u8]) -> (&[u8], &[u8]) {
    if path.len() <= PATH_CHUNK {
        return (path, b"");
    }
    match path[..PATH_CHUNK].iter().rposition(|byte| *byte == b'/') {
        Some(slash) => (&path[..slash], &path[slash + 1..]),
        None => (path, b""),
    }
}

/// Whether the directory `inner` is `outer` or lies below it, as the kernel sees it: by device and inode.
///
/// # Errors
/// The system's.
pub fn is_within(inner: impl AsFd, outer: impl AsFd) -> io::Result<bool> {
    let identity = |fd: BorrowedFd<'_>| stat_fd(fd).map(|stat| (stat.volume.dev, stat.ino));
    let wanted = identity(outer.as_fd())?;
    let flags = OFlags::PATH | OFlags::DIRECTORY | OFlags::CLOEXEC;
    let mut here = openat(inner, ".", flags, Mode::empty())?;
    let mut seen = (stat_fd(&here)?.volume, stat_fd(&here)?.ino);
    loop {
        if identity(here.as_fd())? == wanted {
            return Ok(true);
        }
        here = openat(&here, "..", flags, Mode::empty())?;
        let stat = stat_fd(&here)?;
        if (stat.volume, stat.ino) == seen {
            return Ok(false);
        }
        seen = (stat.volume, stat.ino);
    }
}

/// Opens the entry `name` of `dir` for its metadata only.
///
/// # Errors
/// The system's.
pub fn open_path(dir: impl AsFd, name: &[u8]) -> io::Result<Handle> {
    let flags = OFlags::PATH | OFlags::NOFOLLOW | OFlags::CLOEXEC;
    Ok(Handle { fd: openat(dir, name, flags, Mode::empty())?, path_only: true })
}

/// Opens the regular file or directory `name` of `dir` for reading, leaving its access time alone where allowed.
/// Something else in its place neither blocks nor acquires a terminal.
///
/// # Errors
/// The system's; `ELOOP` for a symbolic link.
pub fn open_read(dir: impl AsFd, name: &[u8]) -> io::Result<Handle> {
    let flags = OFlags::RDONLY | OFlags::NOFOLLOW | OFlags::NONBLOCK | OFlags::NOCTTY | OFlags::CLOEXEC;
    let opened = match openat(&dir, name, flags | OFlags::NOATIME, Mode::empty()) {
        Err(Errno::PERM) => openat(&dir, name, flags, Mode::empty()),
        other => other,
    };
    Ok(Handle { fd: opened?, path_only: false })
}

/// Opens the regular file `name` of `dir` to be read and written. Something else in its place does not block.
///
/// # Errors
/// The system's; `ELOOP` for a symbolic link.
pub fn open_write(dir: impl AsFd, name: &[u8]) -> io::Result<Handle> {
    let flags = OFlags::RDWR | OFlags::NOFOLLOW | OFlags::NONBLOCK | OFlags::NOCTTY | OFlags::CLOEXEC;
    Ok(Handle { fd: openat(dir, name, flags, Mode::empty())?, path_only: false })
}

/// Makes the new file `name` in `dir`, open for writing; nobody else may read it yet.
///
/// # Errors
/// The system's; `EEXIST` if the name is taken.
pub fn create_file(dir: impl AsFd, name: &[u8]) -> io::Result<Handle> {
    let flags = OFlags::RDWR | OFlags::CREATE | OFlags::EXCL | OFlags::NOFOLLOW | OFlags::CLOEXEC;
    let fd = openat(dir, name, flags, Mode::RUSR | Mode::WUSR)?;
    Ok(Handle { fd, path_only: false })
}

/// A file without a name in the directory at `path`: it vanishes with its descriptor.
///
/// # Errors
/// The system's; `EOPNOTSUPP` where the file system cannot.
pub fn nameless_file(path: &std::path::Path) -> io::Result<std::fs::File> {
    let flags = OFlags::TMPFILE | OFlags::RDWR | OFlags::CLOEXEC;
    Ok(rustix::fs::open(path, flags, Mode::RUSR | Mode::WUSR)?.into())
}

/// A name in a directory, with the inode number that orders the look at its metadata.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Named {
    /// One component, any bytes but NUL and slash.
    pub name: Box<[u8]>,
    /// Inode number, as the directory tells it (that of the covered directory at a mount point).
    pub ino: u64,
}

/// The names in an open directory, in the directory's own order, without `.` and `..`; and the error that ended
/// the reading early, if one did.
pub fn read_names(dir: impl AsFd) -> (Vec<Named>, Option<io::Error>) {
    let mut names = Names::default();
    let error = names.read(dir);
    (names.iter().map(|(ino, name)| Named { name: name.into(), ino }).collect(), error)
}

/// The names in an open directory, in the directory's own order, if there are no more than `most`.
///
/// # Errors
/// The system's; `FileTooLarge` if there are more.
pub fn read_names_up_to(dir: impl AsFd, most: usize) -> io::Result<Vec<Named>> {
    let (mut names, mut room) = (Vec::new(), Vec::with_capacity(LISTING_BYTES));
    let mut entries = RawDir::new(dir, room.spare_capacity_mut());
    while let Some(entry) = entries.next() {
        let entry = entry?;
        let name = entry.file_name().to_bytes();
        if names.len() == most {
            return Err(too_many_names("the directory", most));
        }
        if name != b"." && name != b".." {
            names.push(Named { name: name.into(), ino: entry.ino() });
        }
    }
    Ok(names)
}

/// What is said of a directory that is not read because of all that is in it.
pub fn too_many_names(dir: &str, most: usize) -> io::Error {
    io::Error::new(io::ErrorKind::FileTooLarge, format!("{dir} holds more than {most} entries"))
}

/// The names of one directory after another, in room that is used again.
#[derive(Debug, Default)]
pub struct Names {
    room: Vec<u8>,
    text: Vec<u8>,
    /// Inode, and where the name stands.
    entries: Vec<(u64, u32, u32)>,
}

impl Names {
    /// Reads an open directory, in its own order, without `.` and `..`; gives back the error that ended it early.
    pub fn read(&mut self, dir: impl AsFd) -> Option<io::Error> {
        self.read_part(dir, usize::MAX).err()
    }
    /// Reads on, until there are `enough` names or a few more; gives back whether there may be further ones.
    ///
    /// # Errors
    /// The system's; what was read before is there.
    pub fn read_part(&mut self, dir: impl AsFd, enough: usize) -> io::Result<bool> {
        self.text.clear();
        self.entries.clear();
        self.room.reserve(LISTING_BYTES);
        let mut entries = RawDir::new(dir, self.room.spare_capacity_mut());
        // What was fetched already would be lost with the room.
        while self.entries.len() < enough || !entries.is_buffer_empty() {
            let Some(entry) = entries.next() else { return Ok(false) };
            let entry = entry?;
            match entry.file_name().to_bytes() {
                b"." | b".." => {}
                name => {
                    self.entries.push((entry.ino(), self.text.len() as u32, name.len() as u32));
                    self.text.extend(name);
                }
            }
        }
        Ok(true)
    }
    /// Sorts them by inode, then by name: the order of the disk.
    pub fn sort(&mut self) {
        let name = |at: &(u64, u32, u32)| &self.text[at.1 as usize..][..at.2 as usize];
        self.entries.sort_unstable_by(|a, b| a.0.cmp(&b.0).then_with(|| name(a).cmp(name(b))));
    }
    /// Inodes and names.
    pub fn iter(&self) -> impl ExactSizeIterator<Item = (u64, &[u8])> {
        self.entries.iter().map(|(ino, at, length)| (*ino, &self.text[*at as usize..][..*length as usize]))
    }
    /// One of them.
    pub fn name(&self, number: usize) -> &[u8] {
        let (_, at, length) = self.entries[number];
        &self.text[at as usize..][..length as usize]
    }
}

/// Makes the directory `name` in `dir`; only its owner may enter it yet.
///
/// # Errors
/// The system's.
pub fn make_dir(dir: impl AsFd, name: &[u8]) -> io::Result<()> {
    Ok(rustix::fs::mkdirat(dir, name, Mode::RWXU)?)
}

/// Makes a symbolic link to `target`.
///
/// # Errors
/// The system's.
pub fn make_symlink(dir: impl AsFd, name: &[u8], target: &[u8]) -> io::Result<()> {
    Ok(rustix::fs::symlinkat(target, dir, name)?)
}

/// Makes a fifo, socket or device node like `like`; only its owner may open it yet.
///
/// # Errors
/// The system's; `EPERM` for a device without the privilege.
pub fn make_node(dir: impl AsFd, name: &[u8], like: &Stat) -> io::Result<()> {
    use super::stat::Kind;
    let kind = match like.kind {
        Kind::Fifo => FileType::Fifo,
        Kind::Socket => FileType::Socket,
        Kind::Block => FileType::BlockDevice,
        Kind::Char => FileType::CharacterDevice,
        Kind::File | Kind::Dir | Kind::Symlink => return Err(io::ErrorKind::InvalidInput.into()),
    };
    let device = rustix::fs::makedev(like.rdev.0, like.rdev.1);
    Ok(rustix::fs::mknodat(dir, name, kind, Mode::RUSR | Mode::WUSR, device)?)
}

/// Where the symbolic link `name` of `dir` leads; an empty name is the link that is open as `dir`.
///
/// # Errors
/// The system's.
pub fn read_symlink(dir: impl AsFd, name: &[u8]) -> io::Result<Vec<u8>> {
    Ok(rustix::fs::readlinkat(dir, name, Vec::with_capacity(128))?.into_bytes())
}

/// Gives the inode at `old` in `old_dir` the further name `new` in `new_dir`.
///
/// # Errors
/// The system's.
pub fn link(old_dir: impl AsFd, old: &[u8], new_dir: impl AsFd, new: &[u8]) -> io::Result<()> {
    Ok(rustix::fs::linkat(old_dir, old, new_dir, new, AtFlags::empty())?)
}

/// Gives a file without a name the name `new` in `new_dir`; by its magic link, for that needs no capability.
///
/// # Errors
/// The system's: `EEXIST` if the name is taken.
pub fn link_nameless(file: &Handle, new_dir: impl AsFd, new: &[u8]) -> io::Result<()> {
    let how = AtFlags::SYMLINK_FOLLOW;
    Ok(rustix::fs::linkat(rustix::fs::CWD, file.proc_path(), new_dir, new, how)?)
}

/// Renames, replacing what bears the new name.
///
/// # Errors
/// The system's.
pub fn rename(old_dir: impl AsFd, old: &[u8], new_dir: impl AsFd, new: &[u8]) -> io::Result<()> {
    Ok(rustix::fs::renameat(old_dir, old, new_dir, new)?)
}

/// Renames within one file system, unless the new name is taken.
///
/// # Errors
/// The system's: `EEXIST` if it is.
pub fn rename_new(old_dir: impl AsFd, old: &[u8], new_dir: impl AsFd, new: &[u8]) -> io::Result<()> {
    Ok(rustix::fs::renameat_with(old_dir, old, new_dir, new, RenameFlags::NOREPLACE)?)
}

/// Swaps two names in one step, whatever they name.
///
/// # Errors
/// The system's; `EINVAL` where the file system cannot.
pub fn exchange(old_dir: impl AsFd, old: &[u8], new_dir: impl AsFd, new: &[u8]) -> io::Result<()> {
    Ok(rustix::fs::renameat_with(old_dir, old, new_dir, new, RenameFlags::EXCHANGE)?)
}

/// Removes a name that is not a directory's.
///
/// # Errors
/// The system's.
pub fn unlink(dir: impl AsFd, name: &[u8]) -> io::Result<()> {
    Ok(rustix::fs::unlinkat(dir, name, AtFlags::empty())?)
}

/// Removes an empty directory.
///
/// # Errors
/// The system's.
pub fn remove_dir(dir: impl AsFd, name: &[u8]) -> io::Result<()> {
    Ok(rustix::fs::unlinkat(dir, name, AtFlags::REMOVEDIR)?)
}

/// Sets the owner and group of what is open.
///
/// # Errors
/// The system's.
pub fn set_owner(handle: &Handle, uid: u32, gid: u32) -> io::Result<()> {
    let (uid, gid) = (Uid::from_raw(uid), Gid::from_raw(gid));
    Ok(rustix::fs::chownat(&handle.fd, "", Some(uid), Some(gid), AtFlags::EMPTY_PATH)?)
}

/// Sets the owner and group of the entry `name` of `dir`, not following it.
///
/// # Errors
/// The system's.
pub fn set_owner_at(dir: impl AsFd, name: &[u8], uid: u32, gid: u32) -> io::Result<()> {
    let (uid, gid) = (Uid::from_raw(uid), Gid::from_raw(gid));
    Ok(rustix::fs::chownat(dir, name, Some(uid), Some(gid), AtFlags::SYMLINK_NOFOLLOW)?)
}

/// Sets the permissions of what is open; not for symbolic links.
///
/// # Errors
/// The system's.
pub fn set_mode(handle: &Handle, mode: u32) -> io::Result<()> {
    let mode = Mode::from_raw_mode(mode);
    if handle.path_only {
        return Ok(rustix::fs::chmod(handle.proc_path(), mode)?);
    }
    Ok(rustix::fs::fchmod(&handle.fd, mode)?)
}

/// Sets the modification time of the entry `name` of `dir`, not following it; its access time stays.
///
/// # Errors
/// The system's.
pub fn set_mtime_at(dir: impl AsFd, name: &[u8], mtime: Timestamp) -> io::Result<()> {
    Ok(rustix::fs::utimensat(dir, name, &only_mtime(mtime), AtFlags::SYMLINK_NOFOLLOW)?)
}

/// Sets the modification time of what is open for reading; its access time stays.
///
/// # Errors
/// The system's.
pub fn set_mtime(handle: &Handle, mtime: Timestamp) -> io::Result<()> {
    Ok(rustix::fs::futimens(&handle.fd, &only_mtime(mtime))?)
}

fn only_mtime(mtime: Timestamp) -> Timestamps {
    Timestamps {
        last_access: Timespec { tv_sec: 0, tv_nsec: rustix::fs::UTIME_OMIT },
        last_modification: Timespec { tv_sec: mtime.secs, tv_nsec: mtime.nanos.into() },
    }
}

/// Writes everything that the file system of `fd` holds in memory to its disk.
///
/// # Errors
/// The system's: what was written since the last call may not have reached the disk.
pub fn sync_volume(fd: impl AsFd) -> io::Result<()> {
    Ok(rustix::fs::syncfs(fd)?)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_path_longer_than_the_kernel_takes_is_split_between_names() {
        let long = [&b"n".repeat(200)[..]; 40].join(&b'/');
        let (head, tail) = chunk(&long);
        assert!(head.len() <= PATH_CHUNK && !tail.is_empty());
        assert_eq!([head, tail].join(&b'/'), long);
        assert_eq!(chunk(b"a/b"), (&b"a/b"[..], &b""[..]));
    }

    #[test]
    fn a_link_that_leads_out_is_told_from_one_that_stays() {
        let dir = tempfile::tempdir().expect("a temporary directory");
        std::fs::create_dir_all(dir.path().join("root/boot/grub")).expect("make");
        let root = open_root(&dir.path().join("root")).expect("open");
        let links = [
            ("../efi", true),
            ("grubenv", true),
            ("/etc", false),
            ("../../../root", false),
            ("../../../../new", false),
            ("/proc/self/exe", false),
        ];
        for (number, (target, stays)) in links.into_iter().enumerate() {
            let path = format!("boot/grub/{number}");
            std::os::unix::fs::symlink(target, dir.path().join("root").join(&path)).expect("link");
            assert_eq!(link_stays_inside(&root, path.as_bytes()).is_ok(), stays, "{target}");
        }
    }

    #[test]
    fn a_symbolic_link_on_the_way_is_never_followed() {
        let dir = tempfile::tempdir().expect("a temporary directory");
        std::fs::create_dir_all(dir.path().join("real/below")).expect("make");
        std::os::unix::fs::symlink("real", dir.path().join("link")).expect("link");
        let root = open_root(dir.path()).expect("open");
        assert!(open_dir(&root, b"real/below").is_ok());
        assert_eq!(open_dir(&root, b"link/below").expect_err("a link").raw_os_error(), Some(libc::ELOOP));
        assert!(open_dir(&root, b"real/..").is_ok(), "still beneath");
        assert!(open_dir(&root, b"../x").is_err());
    }
    #[test]
    fn a_large_directory_is_read_in_parts_that_miss_nothing() {
        let dir = tempfile::tempdir().expect("a temporary directory");
        (0..10_000)
            .for_each(|n| drop(std::fs::File::create(dir.path().join(format!("{n:0>100}"))).expect("made")));
        let (open, mut names) = (open_root(dir.path()).expect("open"), Names::default());
        let (mut found, mut parts) = (std::collections::BTreeSet::new(), 0);
        loop {
            let more = names.read_part(&open, 1000).expect("read");
            assert!(names.iter().len() < 4000, "a part is about as large as was asked for");
            found.extend(names.iter().map(|(_, name)| name.to_vec()));
            parts += 1;
            if !more {
                break;
            }
        }
        assert_eq!((found.len(), parts > 3), (10_000, true));
    }
}
