//! Swap files of the mirror: they hold memory, so of the primary's only place and size are kept, and each is made anew.

use crate::sys::dir::{Handle, link_nameless, nameless_file, open_dir, open_read, set_mtime, unlink};
use crate::sys::page_cache::{drop_range, write_out};
use crate::sys::stat::Kind;
use crate::sys::xattr::{self, Xattr};
use crate::sys::{command, extents, signal};
use anyhow::{Context, Result, ensure};
use std::ffi::CString;
use std::fs::File;
use std::io::{ErrorKind, Write};
use std::os::fd::{AsRawFd, OwnedFd};
use std::os::unix::fs::FileExt;
use std::path::Path;

/// So much is written at once.
const CHUNK: usize = 8 << 20;
/// What ends the first page of swap space (include/linux/swap.h).
const SIGNATURE: &[u8] = b"SWAPSPACE2";

/// Makes `path` below the mirror's `root` a swap file as large as `like`, the primary's, unless it is one.
///
/// It is written without holes, as swapon(8) wants it, gets its name only when it is whole, and takes the place of the file
/// that bore the name; the directory's times stay.
///
/// # Errors
/// The system's, and mkswap's; a signal to stop. The file that bore the name may be gone then, to make room.
pub fn make_swap_file(root: &OwnedFd, path: &str, like: &Handle) -> Result<()> {
    let (parent, name) = path.rsplit_once('/').unwrap_or(("", path));
    let fd = open_dir(root, parent.as_bytes()).context("its directory is not there")?;
    let (dir, name, size) = (Handle { fd, path_only: false }, name.as_bytes(), like.stat()?.size);
    let times = dir.stat()?.mtime;
    match open_read(&dir.fd, name) {
        Err(error) if error.kind() == ErrorKind::NotFound => {}
        old => {
            let old = old?;
            ensure!(old.stat()?.kind == Kind::File, "there is something else in its place");
            if is_whole(old, size)? {
                return Ok(());
            }
            unlink(&dir.fd, name)?;
        }
    }
    let mut file = nameless_file(Path::new(&dir.proc_path()))?;
    write_zeros(&mut file, size)?;
    let node = format!("/proc/{}/fd/{}", std::process::id(), file.as_raw_fd());
    command::run("mkswap", &[&node], b"")?;
    file.sync_all()?;
    let file = Handle { fd: file.into(), path_only: false };
    label(&file, like)?;
    link_nameless(&file, &dir.fd, name)?;
    Ok(set_mtime(&dir, times)?)
}

/// Whether `file` is a swap file of this size that nobody but root may read, and that has no holes.
fn is_whole(file: Handle, size: u64) -> Result<bool> {
    let stat = file.stat()?;
    if stat.size != size
        || stat.mode & 0o7777 != 0o600
        || extents::next_data(&file.fd, 0, size)? != Some((0, size))
    {
        return Ok(false);
    }
    let mut end = [0; SIGNATURE.len()];
    let at = rustix::param::page_size() - SIGNATURE.len();
    let read = File::from(file.fd).read_exact_at(&mut end, at as u64);
    Ok(read.is_ok() && end == SIGNATURE)
}

/// Fills the file, which is empty, and leaves nothing of that in the page cache.
fn write_zeros(file: &mut File, size: u64) -> Result<()> {
    let zeros = vec![0; CHUNK];
    let mut at = 0;
    while at < size {
        ensure!(!signal::stop_requested(), "stopped by a signal");
        let part = (size - at).min(CHUNK as u64);
        file.write_all(&zeros[..part as usize])?;
        write_out(&*file, &(at..at + part))?;
        drop_range(&*file, &(at..at + part))?;
        at += part;
    }
    Ok(())
}

/// Where a security module labels files, swap space has a label of its own.
fn label(file: &Handle, like: &Handle) -> Result<()> {
    let name = CString::from(c"security.selinux");
    match xattr::get(like, &name)? {
        Some(value) => Ok(xattr::set(file, &Xattr { name, value })?),
        None => Ok(()),
    }
}
