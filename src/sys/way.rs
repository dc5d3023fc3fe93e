//! The way to a directory that was named by its path: no link of another user leads root elsewhere.

use rustix::fs::{FileType, Mode, OFlags, fstat, open, openat, readlinkat};
use rustix::process::geteuid;
use std::collections::VecDeque;
use std::ffi::{OsStr, OsString};
use std::io;
use std::os::fd::OwnedFd;
use std::os::unix::ffi::{OsStrExt, OsStringExt};
use std::path::{Component, Path, PathBuf};

/// So many links are followed: path_resolution(7).
const LINKS: usize = 40;

/// Why a directory is not entered.
#[derive(Debug, thiserror::Error)]
pub enum Barred {
    /// The system's.
    #[error(transparent)]
    Io(#[from] io::Error),
    /// On the way is a link of somebody who is neither root nor whoever asks.
    #[error("{} is a symbolic link of user {owner}, who may lead it anywhere at any time", .at.display())]
    Link {
        /// Where it is, as far as the way has come.
        at: PathBuf,
        /// Whose it is.
        owner: u32,
    },
}

/// Opens the directory at `path`. Links of root and of ours are followed one by one, each as it was looked at.
///
/// # Errors
/// The system's, and a link of somebody else.
pub fn open_dir(path: &Path) -> Result<OwnedFd, Barred> {
    let way = OFlags::PATH | OFlags::CLOEXEC;
    let start = if path.is_absolute() { "/" } else { "." };
    let mut dir = open(start, way | OFlags::DIRECTORY, Mode::empty()).map_err(io::Error::from)?;
    let (mut at, mut rest, mut links) = (PathBuf::from(start), names(path), 0);
    while let Some(name) = rest.pop_front() {
        let next = openat(&dir, &*name, way | OFlags::NOFOLLOW, Mode::empty()).map_err(io::Error::from)?;
        let found = fstat(&next).map_err(io::Error::from)?;
        if FileType::from_raw_mode(found.st_mode) != FileType::Symlink {
            dir = next;
            at.push(name);
            continue;
        }
        if found.st_uid != 0 && found.st_uid != geteuid().as_raw() {
            return Err(Barred::Link { at: at.join(name), owner: found.st_uid });
        }
        links += 1;
        if links > LINKS {
            return Err(io::Error::from_raw_os_error(libc::ELOOP).into());
        }
        let target = readlinkat(&next, "", Vec::new()).map_err(io::Error::from)?;
        let target = PathBuf::from(OsString::from_vec(target.into_bytes()));
        if target.is_absolute() {
            dir = open("/", way | OFlags::DIRECTORY, Mode::empty()).map_err(io::Error::from)?;
            at = "/".into();
        }
        names(&target).into_iter().rev().for_each(|name| rest.push_front(name));
    }
    let flags = OFlags::RDONLY | OFlags::DIRECTORY | OFlags::CLOEXEC;
    Ok(openat(&dir, OsStr::from_bytes(b"."), flags, Mode::empty()).map_err(io::Error::from)?)
}

fn names(path: &Path) -> VecDeque<OsString> {
    let name = |component: Component<'_>| match component {
        Component::Normal(name) => Some(name.to_owned()),
        Component::ParentDir => Some("..".into()),
        Component::RootDir | Component::CurDir | Component::Prefix(_) => None,
    };
    path.components().filter_map(name).collect()
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::sys::stat::stat_fd;
    use std::os::unix::fs::{lchown, symlink};

    #[test]
    fn the_way_is_the_kernels_while_all_links_are_ours_and_ends_at_anothers() {
        let dir = tempfile::tempdir().expect("a temporary directory");
        let at = |name: &str| dir.path().join(name);
        std::fs::create_dir_all(at("a/b/c")).expect("made");
        std::fs::write(at("a/file"), "").expect("made");
        symlink("a/b", at("relative")).expect("made");
        symlink(at("relative/../b/c"), at("absolute")).expect("made");
        symlink("round", at("round")).expect("made");
        for way in ["a/b/c", "relative/c", "absolute", "absolute/..", "./relative//c/."] {
            let opened = open_dir(&at(way)).expect(way);
            let kernels = crate::sys::dir::open_root(&at(way)).expect(way);
            let ino = |fd: &OwnedFd| stat_fd(fd).expect("examined").ino;
            assert_eq!(ino(&opened), ino(&kernels), "{way}");
        }
        for way in ["round", "none", "a/file", "a/file/x"] {
            assert!(matches!(open_dir(&at(way)), Err(Barred::Io(_))), "{way}");
        }
        if geteuid().is_root() {
            lchown(at("relative"), Some(4242), Some(4242)).expect("root may");
            for way in ["relative", "relative/c", "absolute"] {
                let barred = open_dir(&at(way)).expect_err(way);
                assert!(matches!(barred, Barred::Link { owner: 4242, .. }), "{way}: {barred}");
            }
        }
    }
}
