//! Puts old content back where a file was being written in its place when the power went, or the program was killed.

use super::format::{Head, RECORD, Record};
use super::{HEAD_ROOM, clear, place};
use crate::monitor::Monitor;
use crate::sys::dir::{self, Handle};
use crate::sys::extents::punch;
use crate::sys::stat::{Kind, Stat, stat_fd};
use crate::tree::blocks::Inode;
use crate::tree::content::{read_up_to, write_all_at};
use crate::tree::listing::OWN;
use crate::tree::relpath::RelPath;
use crate::tree::view::View;
use rustix::fs::{FlockOperation, flock, fsync, ftruncate};
use rustix::io::Errno;
use std::io;
use std::os::fd::OwnedFd;

/// The longest record that is taken for one.
const LONGEST: u64 = 1 << 20;

/// What was done.
#[derive(Debug, Default, PartialEq, Eq)]
pub struct PutBack {
    /// Files that are their old version again, or their new one where that was complete.
    pub files: Vec<RelPath>,
    /// Files that are not there any more, or others: nothing was written to them, and what was kept of them is gone.
    pub gone: Vec<RelPath>,
}

impl PutBack {
    /// Says what was done, a line a file.
    pub fn tell(&self, monitor: &dyn Monitor) {
        for path in &self.files {
            monitor.note(&format!("{path} was half written: it is whole again"));
        }
        for path in &self.gone {
            monitor.warn(&format!(
                "{path} was half written, and is gone, or another by now: nothing was put back"
            ));
        }
    }
}

/// Whether some file may be half written. Writes nothing.
pub fn is_pending(mirror: &View) -> bool {
    mirror.open_dir(&place()).is_ok_and(|dir| !dir::read_names(&dir).0.is_empty())
}

/// Puts everything back that is kept below the root of `mirror`.
///
/// # Errors
/// The system's; `PermissionDenied` if somebody else could have written what is kept. What is kept stays then.
pub fn put_back(mirror: &View) -> io::Result<PutBack> {
    let mut done = PutBack::default();
    let Ok(own) = dir::open_dir(mirror.root(), OWN) else { return Ok(done) };
    let dir = match mirror.open_dir(&place()) {
        Err(error) if error.kind() == io::ErrorKind::NotFound => return Ok(done),
        other => other?,
    };
    must_be_ours(&stat_fd(&own)?)?;
    must_be_ours(&stat_fd(&dir)?)?;
    let (names, cut_short) = dir::read_names(&dir);
    for named in names {
        put_back_one(mirror, &dir, &named.name, &mut done)?;
    }
    cut_short.map_or(Ok(()), Err)?;
    clear(mirror);
    Ok(done)
}

/// What others can write is no witness.
fn must_be_ours(stat: &Stat) -> io::Result<()> {
    let me = rustix::process::geteuid().as_raw();
    let ours = (stat.uid == 0 || stat.uid == me) && stat.mode & 0o022 == 0;
    let ours = ours && (stat.kind == Kind::Dir || stat.nlink == 1 && stat.kind == Kind::File);
    if ours {
        return Ok(());
    }
    let why = "what is kept in /.diskmirror/undo could have been written by others";
    Err(io::Error::new(io::ErrorKind::PermissionDenied, why))
}

/// Puts back what the undo file `name` keeps, and removes it.
///
/// # Errors
/// As `put_back`.
pub(in crate::tree) fn put_back_one(
    mirror: &View,
    dir: &OwnedFd,
    name: &[u8],
    done: &mut PutBack,
) -> io::Result<()> {
    let undo = dir::open_read(dir, name)?;
    must_be_ours(&undo.stat()?)?;
    flock(&undo.fd, FlockOperation::NonBlockingLockExclusive).map_err(|error| match error {
        Errno::WOULDBLOCK => {
            io::Error::new(io::ErrorKind::ResourceBusy, "a sync is writing the file just now")
        }
        other => other.into(),
    })?;
    let found = read_head(&undo.fd)?;
    // Without a head nothing was written to any file: it is on the disk before that. But one that was there may be damaged.
    if found.is_none() && undo.stat()?.size > HEAD_ROOM as u64 {
        let why = format!("/.diskmirror/undo/{} cannot be read", String::from_utf8_lossy(name));
        return Err(io::Error::new(io::ErrorKind::InvalidData, why));
    }
    if let Some((head, length)) = found {
        let path = RelPath::from_bytes(&head.path);
        match open_file(mirror, &path, &head)? {
            Some(file) => {
                apply(&undo.fd, length as u64, &head, &file)?;
                done.files.push(path);
            }
            None => done.gone.push(path),
        }
    }
    dir::unlink(dir, name)?;
    Ok(fsync(dir)?)
}

fn read_head(undo: &OwnedFd) -> io::Result<Option<(Head, usize)>> {
    let mut room = vec![0; HEAD_ROOM];
    let got = read_up_to(undo, &mut room, 0)?;
    Ok(Head::decode(&room[..got]))
}

/// The file that a head is about; none if it is not there, or another.
fn open_file(mirror: &View, path: &RelPath, head: &Head) -> io::Result<Option<Handle>> {
    let Some((parent, name)) = path.split() else { return Ok(None) };
    let opened = mirror.open_dir(&parent).and_then(|dir| dir::open_write(&dir, name));
    let file = match opened {
        Err(error) if is_elsewhere(&error) => return Ok(None),
        other => other?,
    };
    let stat = file.stat()?;
    let same = stat.kind == Kind::File && mirror.holds(&stat) && Some(head.inode) == Inode::of(&stat);
    Ok(same.then_some(file))
}

fn is_elsewhere(error: &io::Error) -> bool {
    let gone = [libc::ENOENT, libc::ENOTDIR, libc::ELOOP, libc::EXDEV, libc::EISDIR, libc::ENXIO];
    error.raw_os_error().is_some_and(|number| gone.contains(&number))
}

/// Writes what is kept into the file; or, if the new version holds, completes that.
fn apply(undo: &OwnedFd, records: u64, head: &Head, file: &Handle) -> io::Result<()> {
    let done = find_done(undo, records)?;
    if let Some((size, mtime)) = done {
        ftruncate(&file.fd, size)?;
        each_record(undo, records, |record, _| match record {
            Record::Data { at, length } => open_holes(&file.fd, at, (at + length).min(size)),
            Record::Hole { .. } | Record::Done { .. } => Ok(()),
        })?;
        dir::set_mtime(file, mtime)?;
        return Ok(fsync(&file.fd)?);
    }
    each_record(undo, records, |record, kept| match record {
        Record::Data { at, .. } => write_all_at(&file.fd, kept, at),
        Record::Hole { at, length } => make_zeros(&file.fd, at, length),
        Record::Done { .. } => Ok(()),
    })?;
    ftruncate(&file.fd, head.size)?;
    if rustix::process::geteuid().is_root() {
        dir::set_owner(file, head.owner.0, head.owner.1)?;
    }
    dir::set_mode(file, head.mode)?;
    dir::set_mtime(file, head.mtime)?;
    Ok(fsync(&file.fd)?)
}

/// The smallest block of any file system.
const HOLE: usize = 4096;

/// Makes holes of the blocks in a place of the new version that are zeros: something was kept of it, so it may have been about
/// to become one.
fn open_holes(file: &OwnedFd, at: u64, end: u64) -> io::Result<()> {
    let mut block = [0; HOLE];
    for at in (at.next_multiple_of(HOLE as u64)..end).step_by(HOLE) {
        let is_hole = read_up_to(file, &mut block, at)? == HOLE && block.iter().all(|byte| *byte == 0);
        if !is_hole {
            continue;
        }
        match punch(file, &(at..at + HOLE as u64)) {
            // They are zeros as it is.
            Err(error) if error.raw_os_error() == Some(libc::EOPNOTSUPP) => return Ok(()),
            other => other?,
        }
    }
    Ok(())
}

fn find_done(undo: &OwnedFd, records: u64) -> io::Result<Option<(u64, crate::sys::stat::Timestamp)>> {
    let mut done = None;
    each_record(undo, records, |record, _| {
        if let Record::Done { size, mtime } = record {
            done = Some((size, mtime));
        }
        Ok(())
    })?;
    Ok(done)
}

/// Calls `with` for each sound record from `at` on. The first one that is not sound ends it: what it is about was not written yet.
fn each_record(
    undo: &OwnedFd,
    mut at: u64,
    mut with: impl FnMut(Record, &[u8]) -> io::Result<()>,
) -> io::Result<()> {
    let (mut head, mut kept) = ([0; RECORD], Vec::new());
    while read_up_to(undo, &mut head, at)? == RECORD {
        let Some(record) = Record::decode(&head).filter(|record| record.kept() <= LONGEST) else { break };
        kept.resize(record.kept() as usize, 0);
        let whole = read_up_to(undo, &mut kept, at + RECORD as u64)? == kept.len();
        if !whole || record.encode(&kept) != head {
            break;
        }
        with(record, &kept)?;
        at += RECORD as u64 + record.kept();
    }
    Ok(())
}

/// A hole where the file system can make one, else zeros.
pub(in crate::tree) fn make_zeros(file: &OwnedFd, at: u64, length: u64) -> io::Result<()> {
    match punch(file, &(at..at + length)) {
        Err(error) if error.raw_os_error() == Some(libc::EOPNOTSUPP) => {
            let zeros = [0; 4096];
            let mut done = 0;
            while done < length {
                let some = (length - done).min(zeros.len() as u64);
                write_all_at(file, &zeros[..some as usize], at + done)?;
                done += some;
            }
            Ok(())
        }
        other => other,
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::sys::extents::next_data;
    use crate::tree::undo::Undo;
    use std::fs::File;
    use std::os::unix::fs::FileExt;

    /// Cut off when all is written, and before the zeros that had been data have become holes.
    #[test]
    fn what_was_about_to_become_a_hole_becomes_one() {
        const BYTES: u64 = 256 << 10;
        let dir = tempfile::tempdir().expect("a directory");
        std::fs::create_dir(dir.path().join(".diskmirror")).expect("made");
        let path = dir.path().join("big");
        std::fs::write(&path, vec![7; BYTES as usize]).expect("written");
        let view = View::of_fd(File::open(dir.path()).expect("it is there").into()).expect("a view");
        let handle = Handle { fd: File::open(&path).expect("it is there").into(), path_only: false };
        let stat = handle.stat().expect("its metadata");
        let Some(mut undo) = Undo::begin(&view, &RelPath::from_bytes("big"), &stat).expect("begun") else {
            return;
        };
        undo.keep(&handle.fd, std::iter::once(64 << 10..128 << 10)).expect("kept");
        let file = File::options().write(true).open(&path).expect("writable");
        file.write_all_at(&[0; 24 << 10], 96 << 10).expect("written");
        undo.done(BYTES, stat.mtime).expect("noted");
        drop(undo);
        put_back(&view).expect("put back");
        let data = |at| next_data(&handle.fd, at, BYTES).expect("it can be told");
        assert_eq!(data(0), Some((0, 96 << 10)));
        assert_eq!(data(96 << 10), Some((120 << 10, BYTES)));
    }
}
