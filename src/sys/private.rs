//! Directories and files that are root's alone, whatever the umask says: what the program keeps between two runs.

use crate::sys::replace::{self, Access};
use std::fs::{DirBuilder, OpenOptions, Permissions};
use std::io;
use std::os::unix::fs::{DirBuilderExt, OpenOptionsExt, PermissionsExt};
use std::path::Path;

/// Makes a directory, and those above it. One that is there stays as it is: it may be somebody else's as well.
///
/// # Errors
/// The system's.
pub fn make_dir(path: &Path) -> io::Result<()> {
    DirBuilder::new().recursive(true).mode(0o700).create(path)
}

/// Makes an empty file, if there is none, and takes what others may do with it from one that is there.
///
/// # Errors
/// The system's.
pub fn make_file(path: &Path) -> io::Result<()> {
    match OpenOptions::new().write(true).create_new(true).mode(0o600).open(path) {
        Err(error) if error.kind() != io::ErrorKind::AlreadyExists => Err(error),
        Err(_) if path.metadata()?.permissions().mode() & 0o077 == 0 => Ok(()),
        Err(_) => std::fs::set_permissions(path, Permissions::from_mode(0o600)),
        Ok(_) => Ok(()),
    }
}

/// Replaces a file in a private directory, which is made if it is not there.
///
/// # Errors
/// As `sys::replace::replace`.
pub fn replace(path: &Path, bytes: &[u8]) -> io::Result<()> {
    make_dir(path.parent().unwrap_or(Path::new(".")))?;
    replace::replace(path, Access::PRIVATE, bytes)
}

#[cfg(test)]
mod tests {
    use super::*;

    fn mode(path: &Path) -> u32 {
        path.metadata().expect("it is there").permissions().mode() & 0o7777
    }

    #[test]
    fn what_is_kept_is_ours_alone_also_a_file_that_was_others_before() {
        let dir = tempfile::tempdir().expect("a temporary directory");
        let (state, file) = (dir.path().join("state"), dir.path().join("state/file"));
        make_dir(&state).expect("made");
        replace(&file, b"one").expect("written");
        assert_eq!((mode(&state), mode(&file)), (0o700, 0o600));
        std::fs::set_permissions(&file, Permissions::from_mode(0o664)).expect("opened to others");
        make_file(&file).expect("it is there");
        assert_eq!((mode(&file), std::fs::read(&file).expect("readable")), (0o600, b"one".to_vec()));
    }
}
