//! A file of the mirror that is written in its own place: what stood there is kept first, on the disk, so that whatever
//! happens it is its old version again, or its new one.
//!
//! `/.diskmirror/undo` holds one file for each that is being written. A record in it is on the disk before the place it
//! is about is written. It is locked as long as somebody writes. When the undo file is removed, the new version holds. Only
//! the mirror's own directory is trusted, and only the very inode that is named is written.

mod format;
mod put_back;

pub use put_back::{PutBack, is_pending, put_back};
pub(in crate::tree) use put_back::{make_zeros, put_back_one};

use crate::sys::dir::{self, Handle};
use crate::sys::extents::next_data;
use crate::sys::stat::{Stat, Timestamp};
use crate::tree::base::listing::OWN;
use crate::tree::base::relpath::RelPath;
use crate::tree::base::view::View;
use crate::tree::content::{read_up_to, write_all_at};
use crate::tree::memory::blocks::BLOCK;
use format::{Head, Record};
use rustix::fs::{FlockOperation, fdatasync, flock, fsync};
use std::io;
use std::ops::Range;
use std::os::fd::OwnedFd;

const UNDO: &[u8] = b"undo";
/// The longest head: a file whose path is longer is not written in its place.
const HEAD_ROOM: usize = 32 * 1024;

/// The directory of undo files, below the root of the tree.
pub(in crate::tree) fn place() -> RelPath {
    RelPath::root().join(OWN).join(UNDO)
}

/// What stood in a file that is being written in its place.
pub(in crate::tree) struct Undo {
    dir: OwnedFd,
    name: Vec<u8>,
    file: OwnedFd,
    /// Where the next record goes.
    end: u64,
    /// The file's size before.
    size: u64,
    /// Which of its blocks are kept already, a bit each.
    kept: Vec<u64>,
}

impl Undo {
    /// Begins one for the file `path` of the mirror, which is as `stat` says. It is on the disk when this returns. None where
    /// the file system cannot tell one inode from another that had its number before.
    ///
    /// # Errors
    /// The system's.
    pub fn begin(mirror: &View, path: &RelPath, stat: &Stat) -> io::Result<Option<Undo>> {
        let head = Head::of(stat, &path.to_bytes()).map(|head| head.encode());
        let Some(head) = head.filter(|head| head.len() <= HEAD_ROOM) else { return Ok(None) };
        let dir = make_dir(mirror)?;
        let name = stat.ino.to_string().into_bytes();
        let Handle { fd: file, .. } = dir::create_file(&dir, &name)?;
        let kept = vec![0; (stat.size.div_ceil(BLOCK)).div_ceil(64) as usize];
        let undo = Undo { dir, name, file, end: head.len() as u64, size: stat.size, kept };
        flock(&undo.file, FlockOperation::NonBlockingLockExclusive)?;
        let written = write_all_at(&undo.file, &head, 0).and_then(|()| Ok(fsync(&undo.file)?));
        match written.and_then(|()| Ok(fsync(&undo.dir)?)) {
            Ok(()) => Ok(Some(undo)),
            // Nothing was written to the file that it is about.
            Err(error) => undo.remove().and(Err(error)),
        }
    }
    /// Keeps what stands in some places of `file`, and has it on the disk: then they may be written.
    ///
    /// # Errors
    /// The system's.
    pub fn keep(&mut self, file: &OwnedFd, places: impl Iterator<Item = Range<u64>>) -> io::Result<()> {
        let (mut room, mut any) = (vec![0; BLOCK as usize], false);
        for place in places {
            for block in place.start / BLOCK..place.end.min(self.size).div_ceil(BLOCK) {
                let (word, bit) = ((block / 64) as usize, 1 << (block % 64));
                if self.kept[word] & bit == 0 {
                    self.keep_block(file, block, &mut room)?;
                    self.kept[word] |= bit;
                    any = true;
                }
            }
        }
        if any { Ok(fdatasync(&self.file)?) } else { Ok(()) }
    }
    fn keep_block(&mut self, file: &OwnedFd, block: u64, room: &mut [u8]) -> io::Result<()> {
        let (at, end) = (block * BLOCK, ((block + 1) * BLOCK).min(self.size));
        if next_data(file, at, end)?.is_none() {
            return self.write(Record::Hole { at, length: end - at }, b"");
        }
        let room = &mut room[..(end - at) as usize];
        if read_up_to(file, room, at)? < room.len() {
            return Err(io::ErrorKind::UnexpectedEof.into());
        }
        self.write(Record::Data { at, length: end - at }, room)
    }
    fn write(&mut self, record: Record, kept: &[u8]) -> io::Result<()> {
        let bytes = [&record.encode(kept)[..], kept].concat();
        write_all_at(&self.file, &bytes, self.end)?;
        self.end += bytes.len() as u64;
        Ok(())
    }
    /// Says on the disk that the new version holds, once all of it is on the disk but for its `size`, which is smaller, and its
    /// `mtime`.
    ///
    /// # Errors
    /// The system's.
    pub fn done(&mut self, size: u64, mtime: Timestamp) -> io::Result<()> {
        self.write(Record::Done { size, mtime }, b"")?;
        Ok(fdatasync(&self.file)?)
    }
    /// Forgets the old version: the new one is on the disk.
    ///
    /// # Errors
    /// The system's.
    pub fn remove(self) -> io::Result<()> {
        dir::unlink(&self.dir, &self.name)?;
        Ok(fsync(&self.dir)?)
    }
    /// The directory it lies in, and its name there.
    pub fn into_place(self) -> (OwnedFd, Vec<u8>) {
        (self.dir, self.name)
    }
}

/// The directory of undo files, made if it is not there.
fn make_dir(mirror: &View) -> io::Result<OwnedFd> {
    let own = dir::open_dir(mirror.root(), OWN)?;
    match dir::make_dir(&own, UNDO) {
        Ok(()) => {
            fsync(&own)?;
            fsync(mirror.root())?;
        }
        Err(error) if error.kind() == io::ErrorKind::AlreadyExists => {}
        Err(error) => return Err(error),
    }
    dir::open_dir(&own, UNDO)
}

/// Removes the directory if nothing is in it.
pub(in crate::tree) fn clear(mirror: &View) {
    if let Ok(own) = dir::open_dir(mirror.root(), OWN)
        // What is in it is needed, or another is about to be.
        && dir::remove_dir(&own, UNDO).is_ok()
    {
        let _ = fsync(&own);
    }
}
