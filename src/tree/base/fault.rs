//! What can go wrong with one entry, and what ends the whole work.

use crate::tree::base::relpath::RelPath;
use std::io;

/// What ended the work early. The mirror holds the old or the new version of every file.
#[derive(Debug, thiserror::Error)]
pub enum Error {
    /// Somebody asked (TERM, INT) to end.
    #[error("stopped")]
    Stopped,
    /// Links, fifos and nodes cannot be reached: their metadata are set by way of /proc/self/fd.
    #[error(
        "/proc is not mounted, or is that of other processes: links and nodes are reached by it (mount -t proc proc /proc)"
    )]
    NeedsProc,
    /// Something that no other entry would survive either: the mirror cannot be written.
    #[error("{doing} {path}: {error}")]
    Io {
        /// What was being done, as `writing`.
        doing: &'static str,
        /// To what.
        path: RelPath,
        /// What the system said.
        error: io::Error,
    },
}

impl Error {
    /// Whether the mirror has no room for what every other entry needs.
    pub(in crate::tree) fn is_no_room(&self) -> bool {
        matches!(self, Error::Io { error, .. } if is_no_room(error))
    }
}

fn is_no_room(error: &io::Error) -> bool {
    matches!(error.raw_os_error(), Some(libc::ENOSPC | libc::EDQUOT))
}

/// One entry that could not be brought to the mirror.
#[derive(Debug)]
pub struct FileError {
    /// Which.
    pub path: RelPath,
    /// What was being done.
    pub doing: &'static str,
    /// What the system said.
    pub error: io::Error,
}

/// What stopped the work on one entry.
#[derive(Debug)]
pub(in crate::tree) enum Fault {
    /// It is not there any more: normal on a living system.
    Vanished,
    /// Another inode has its name, or it has changed since it was looked at: normal too. The next run looks at it again.
    Replaced,
    /// It was still being written at the third try; the mirror has what the last try read; or, where something
    /// else is wanted that was decided for what it was before, what the mirror had.
    Changing,
    /// The catalog said that it had not changed, and the mirror's is another all the same.
    Hidden,
    /// The work shall end.
    Stopped,
    /// The source could not be read: the mirror keeps its old copy.
    Source(&'static str, io::Error),
    /// The mirror could not be written.
    Mirror(&'static str, io::Error),
}

impl Fault {
    /// Whether the next entry would fail in the same way: the mirror's disk or file system is gone. These are all the errors
    /// that end the work on a tree; what a user can cause with his own files is none of them. A mirror without room takes
    /// what still fits.
    pub fn is_fatal(&self) -> bool {
        let Fault::Mirror(_, error) = self else { return false };
        matches!(error.raw_os_error(), Some(libc::EROFS | libc::EIO | libc::ESHUTDOWN))
    }
    /// Whether the source's entry is there and cannot be read: what the mirror has of it, under whatever name, may be all
    /// that is left. One that others keep busy is not lost.
    pub fn is_unreadable(&self) -> bool {
        let Fault::Source(_, error) = self else { return false };
        error.kind() != io::ErrorKind::WouldBlock && error.raw_os_error() != Some(libc::ENOKEY)
    }
    /// Whether the mirror has no room for what was to be written.
    pub fn is_no_room(&self) -> bool {
        matches!(self, Fault::Mirror(_, error) if is_no_room(error))
    }
}

/// Says on which side an error of the system happened, and in doing what.
pub(in crate::tree) trait Sided<T> {
    /// On the source: what is gone, or has become something else, has vanished.
    fn on_source(self, doing: &'static str) -> Result<T, Fault>;
    /// On the mirror.
    fn on_mirror(self, doing: &'static str) -> Result<T, Fault>;
}

impl<T> Sided<T> for io::Result<T> {
    fn on_source(self, doing: &'static str) -> Result<T, Fault> {
        self.map_err(|error| match error.raw_os_error() {
            Some(libc::ENOENT | libc::ESTALE | libc::ELOOP | libc::ENOTDIR | libc::ENXIO) => Fault::Vanished,
            _ => Fault::Source(doing, error),
        })
    }
    fn on_mirror(self, doing: &'static str) -> Result<T, Fault> {
        self.map_err(|error| Fault::Mirror(doing, error))
    }
}

/// Says that an error concerns the whole tree.
pub(in crate::tree) fn at_root(doing: &'static str) -> impl Fn(io::Error) -> Error {
    move |error| Error::Io { doing, path: RelPath::root(), error }
}
