//! Files of our own in /.diskmirror on a mirror file system: replaced whole and flushed, so that a power cut leaves the
//! old or the new one. The engine neither copies nor deletes them.

use crate::sys::read;
use crate::sys::replace::{Access, replace_at};
use anyhow::{Context, Result};
use rustix::fs::{Mode, OFlags, ResolveFlags, fsync, mkdirat, openat, openat2};
use rustix::io::Errno;
use std::fs::File;
use std::io::{ErrorKind, Write};
use std::os::fd::{AsFd, OwnedFd};

const DIRECTORY: &str = ".diskmirror";

/// The text kept under `name` below `root`, the mirror file system's root directory; none if there is none, or it is no
/// text.
///
/// # Errors
/// The system's.
pub fn read(root: impl AsFd, name: &str) -> Result<Option<String>> {
    let path = format!("{DIRECTORY}/{name}");
    let flags = OFlags::RDONLY | OFlags::CLOEXEC | OFlags::NOFOLLOW | OFlags::NONBLOCK;
    let resolve = ResolveFlags::BENEATH | ResolveFlags::NO_SYMLINKS | ResolveFlags::NO_XDEV;
    let file = match openat2(&root, path.as_str(), flags, Mode::empty(), resolve) {
        Ok(fd) => File::from(fd),
        Err(Errno::NOENT | Errno::NOTDIR | Errno::LOOP) => return Ok(None),
        Err(error) => return Err(error).with_context(|| format!("cannot open the mirror's {path}")),
    };
    match read::whole(&file, read::STATE_BYTES) {
        Ok(bytes) => Ok(String::from_utf8(bytes).ok()),
        // The largest is the list of identifiers, some kilobytes; whatever is longer is none of ours, and so is a fifo.
        Err(error) if matches!(error.kind(), ErrorKind::FileTooLarge | ErrorKind::InvalidInput) => Ok(None),
        Err(error) => Err(error).with_context(|| format!("cannot read the mirror's {path}")),
    }
}

/// Keeps `text` under `name` below `root`: whole or not at all, and on the disk when this returns.
///
/// # Errors
/// The system's.
pub fn write(root: impl AsFd, name: &str, text: &str) -> Result<()> {
    let write = || -> std::io::Result<()> {
        let dir = directory(&root)?;
        replace_at(&dir, name.as_bytes(), Access::PRIVATE, |file| file.write_all(text.as_bytes()))
    };
    write().with_context(|| format!("cannot write the mirror's {DIRECTORY}/{name}"))
}

/// The directory, made if it is not there.
fn directory(root: &impl AsFd) -> std::io::Result<OwnedFd> {
    match mkdirat(root, DIRECTORY, Mode::from_raw_mode(0o700)) {
        Ok(()) => fsync(openat(root, ".", OFlags::RDONLY | OFlags::CLOEXEC, Mode::empty())?)?,
        Err(Errno::EXIST) => {}
        Err(error) => return Err(error.into()),
    }
    let flags = OFlags::RDONLY | OFlags::DIRECTORY | OFlags::NOFOLLOW | OFlags::CLOEXEC;
    Ok(openat(root, DIRECTORY, flags, Mode::empty())?)
}
