//! A file is replaced durably: the new one is written beside the old one, flushed, renamed over it, and its directory is flushed.
//! Whatever happens, the name is the old file or the new one, whole.
//!
//! `etc/fstab` → `etc/.fstab.new` is written and flushed → `etc/fstab`.

use crate::sys::dir::{self, Handle};
use rustix::fs::fsync;
use std::fs::File;
use std::io::{self, ErrorKind, Write};
use std::os::fd::OwnedFd;
use std::path::Path;

/// Whose the new file is, and who may do what with it.
#[derive(Debug, Clone, Copy)]
pub struct Access {
    /// Its permissions; where a file system keeps none (FAT), they are the mount's.
    pub mode: u32,
    /// Its user and group, if not the caller's.
    pub owner: Option<(u32, u32)>,
}

impl Access {
    /// For the caller alone.
    pub const PRIVATE: Access = Access::mode(0o600);

    /// With these permissions.
    pub const fn mode(mode: u32) -> Access {
        Access { mode, owner: None }
    }
}

/// Replaces the file `name` of an open directory by what `write` writes.
///
/// # Errors
/// The system's, and those of `write`. The old file is there as before, unless the last flush of the directory failed.
pub fn replace_at(
    dir: &OwnedFd,
    name: &[u8],
    access: Access,
    write: impl FnOnce(&mut File) -> io::Result<()>,
) -> io::Result<()> {
    let new = [b".", name, b".new"].concat();
    remove(dir, &new)?;
    let made = dir::create_file(dir, &new)?;
    let written = fill(made, access, write).and_then(|()| dir::rename(dir, &new, dir, name));
    if let Err(error) = written {
        // What failed is what is told.
        let _ = remove(dir, &new);
        return Err(error);
    }
    Ok(fsync(dir)?)
}

/// Replaces the file at `path`, whose directory must be there, by these bytes.
///
/// # Errors
/// As `replace_at`.
pub fn replace(path: &Path, access: Access, bytes: &[u8]) -> io::Result<()> {
    let (Some(parent), Some(name)) = (path.parent(), path.file_name()) else {
        return Err(io::Error::new(ErrorKind::InvalidInput, "it is no file's path"));
    };
    let parent = if parent.as_os_str().is_empty() { Path::new(".") } else { parent };
    let dir = OwnedFd::from(File::open(parent)?);
    replace_at(&dir, name.as_encoded_bytes(), access, |file| file.write_all(bytes))
}

fn fill(made: Handle, access: Access, write: impl FnOnce(&mut File) -> io::Result<()>) -> io::Result<()> {
    // Whose it is comes first: chown(2) takes bits from the mode.
    if let Some((uid, gid)) = access.owner {
        dir::set_owner(&made, uid, gid)?;
    }
    match dir::set_mode(&made, access.mode) {
        Err(error) if error.kind() != ErrorKind::PermissionDenied => return Err(error),
        _ => {}
    }
    let mut file = File::from(made.fd);
    write(&mut file)?;
    file.sync_all()
}

/// Removes what an earlier replacement left that was cut off.
fn remove(dir: &OwnedFd, name: &[u8]) -> io::Result<()> {
    match dir::unlink(dir, name) {
        Err(error) if error.kind() != ErrorKind::NotFound => Err(error),
        _ => Ok(()),
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use std::os::unix::fs::PermissionsExt;

    #[test]
    fn a_file_is_the_old_or_the_new_one_and_nothing_else_is_left() {
        let dir = tempfile::tempdir().expect("a directory");
        let path = dir.path().join("file");
        replace(&path, Access::mode(0o644), b"old").expect("written");
        let at = OwnedFd::from(File::open(dir.path()).expect("there"));
        std::fs::write(dir.path().join(".file.new"), "cut off").expect("written");
        let failed = replace_at(&at, b"file", Access::PRIVATE, |file| {
            file.write_all(b"ne")?;
            Err(ErrorKind::StorageFull.into())
        });
        assert_eq!(failed.expect_err("no room").kind(), ErrorKind::StorageFull);
        assert_eq!(std::fs::read(&path).expect("there"), b"old");
        assert_eq!(path.metadata().expect("there").permissions().mode() & 0o7777, 0o644);
        replace(&path, Access::PRIVATE, b"new").expect("written");
        assert_eq!(std::fs::read(&path).expect("there"), b"new");
        assert_eq!(path.metadata().expect("there").permissions().mode() & 0o7777, 0o600);
        assert_eq!(std::fs::read_dir(dir.path()).expect("there").count(), 1);
    }
}
