//! Files that this program did not write are read up to a limit, and only if they are regular files: neither a sparse file
//! of terabytes nor a fifo in a file's place costs more than being named.

use crate::units::Bytes;
use rustix::fs::{Mode, OFlags};
use std::fs::File;
use std::io::{self, ErrorKind, Read};
use std::path::Path;

/// The most that a text may have: GRUB's largest configurations and debconf's answers are below 4 MiB.
pub const TEXT_BYTES: u64 = 16 << 20;

/// The most that a small file of settings or of state may have.
pub const STATE_BYTES: u64 = 1 << 20;

/// The content of an open regular file of at most `most` bytes.
///
/// # Errors
/// The system's; `FileTooLarge` for a larger one, `InvalidInput` for what is no regular file.
pub fn whole(mut file: &File, most: u64) -> io::Result<Vec<u8>> {
    let meta = file.metadata()?;
    if !meta.is_file() {
        return Err(io::Error::new(ErrorKind::InvalidInput, "it is no regular file"));
    }
    if meta.len() > most {
        return Err(too_large(most));
    }
    let mut bytes = Vec::with_capacity(meta.len() as usize);
    // It may grow while it is read; those of /proc have no size.
    file.by_ref().take(most + 1).read_to_end(&mut bytes)?;
    if bytes.len() as u64 > most { Err(too_large(most)) } else { Ok(bytes) }
}

/// The content of the file at `path`, which must not be a symbolic link, as `whole` reads it.
///
/// # Errors
/// As `whole`; `ELOOP` for a link.
pub fn file(path: &Path, most: u64) -> io::Result<Vec<u8>> {
    whole(&open(path, OFlags::NOFOLLOW)?, most)
}

/// The content of the file at `path`, links followed: for files that belong to the running system's administrator.
///
/// # Errors
/// As `whole`.
pub fn system_file(path: &Path) -> io::Result<Vec<u8>> {
    whole(&open(path, OFlags::empty())?, TEXT_BYTES)
}

/// What is read of a file that has more than it may.
pub fn too_large(most: u64) -> io::Error {
    io::Error::new(ErrorKind::FileTooLarge, format!("larger than {}", Bytes(most)))
}

fn open(path: &Path, more: OFlags) -> io::Result<File> {
    let flags = OFlags::RDONLY | OFlags::NONBLOCK | OFlags::NOCTTY | OFlags::CLOEXEC | more;
    Ok(rustix::fs::open(path, flags, Mode::empty())?.into())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_file_is_read_up_to_its_limit_and_nothing_but_a_file() {
        let dir = tempfile::tempdir().expect("a temporary directory");
        let path = dir.path().join("file");
        std::fs::write(&path, "0123456789").expect("writable");
        assert_eq!(file(&path, 10).expect("it fits"), b"0123456789");
        let error = file(&path, 9).expect_err("it is larger");
        assert_eq!((error.kind(), error.to_string().as_str()), (ErrorKind::FileTooLarge, "larger than 9 B"));
        // As large as a disk, and without a block of its own.
        File::create(&path).and_then(|file| file.set_len(6 << 40)).expect("a sparse file");
        assert_eq!(file(&path, TEXT_BYTES).expect_err("it is larger").to_string(), "larger than 16.0 MiB");
        assert_eq!(file(dir.path(), 10).expect_err("a directory").kind(), ErrorKind::InvalidInput);
        let fifo = dir.path().join("fifo");
        rustix::fs::mknodat(rustix::fs::CWD, &fifo, rustix::fs::FileType::Fifo, Mode::RUSR, 0)
            .expect("a fifo");
        assert_eq!(file(&fifo, 10).expect_err("nobody writes into it").kind(), ErrorKind::InvalidInput);
    }

    #[test]
    fn a_link_is_followed_only_where_the_administrator_may_have_made_it() {
        let dir = tempfile::tempdir().expect("a temporary directory");
        let (path, link) = (dir.path().join("fstab"), dir.path().join("link"));
        std::fs::write(&path, "text").expect("writable");
        std::os::unix::fs::symlink(&path, &link).expect("a link");
        assert_eq!(file(&link, 10).expect_err("a link").raw_os_error(), Some(libc::ELOOP));
        assert_eq!(system_file(&link).expect("readable"), b"text");
        assert!(system_file(Path::new("/proc/self/mountinfo")).is_ok_and(|text| !text.is_empty()));
    }
}
