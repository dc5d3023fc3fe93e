//! Puts old content back where a file was being written in its place when the power went, or the program was killed.

use super::format::{Head, RECORD, Record};
use super::{HEAD_ROOM, UNDO, clear, place};
use crate::monitor::Monitor;
use crate::sys::dir::{self, Handle};
use crate::sys::extents::punch;
use crate::sys::stat::{Kind, Stat, stat_at, stat_fd};
use crate::tree::base::listing::OWN;
use crate::tree::base::relpath::RelPath;
use crate::tree::base::view::View;
use crate::tree::content::{read_up_to, write_all_at};
use crate::tree::memory::blocks::Inode;
use rustix::fs::{FlockOperation, flock, fsync, ftruncate};
use rustix::io::Errno;
use std::io;
use std::os::fd::OwnedFd;

/// Where in the mirror's own directory things lie that this program did not write.
const FOREIGN: &[u8] = b"foreign";

/// The longest record that is taken for one.
const LONGEST: u64 = 1 << 20;

/// What was done.
#[derive(Debug, Default, PartialEq, Eq)]
pub struct PutBack {
    /// Files that are their old version again, or their new one where that was complete.
    pub files: Vec<RelPath>,
    /// Files that are not there any more, or others: nothing was written to them, and what was kept of them is gone.
    pub gone: Vec<RelPath>,
    /// What lay among the undo files and is none that this program wrote, or not whole: where it was moved to.
    pub foreign: Vec<RelPath>,
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
        for path in &self.foreign {
            monitor.warn(&format!(
                "what lay among the undo files is not to be trusted: it was moved to {path}, and nothing was put back by it; \
                 a file that is half written for want of it differs from its source, and is copied again"
            ));
        }
    }
}

/// Whether some file may be half written, or that cannot be told. Writes nothing.
pub fn is_pending(mirror: &View) -> bool {
    match mirror.open_dir(&place()) {
        Ok(dir) => !dir::read_names(&dir).0.is_empty(),
        Err(error) => error.kind() != io::ErrorKind::NotFound,
    }
}

/// Puts everything back that is kept below the root of `mirror`. What others could have written there is moved away, so that
/// it can be looked at and stands in nobody's way.
///
/// # Errors
/// The system's. What is kept stays then.
pub fn put_back(mirror: &View) -> io::Result<PutBack> {
    let mut done = PutBack::default();
    let Ok(own) = dir::open_dir(mirror.root(), OWN) else { return Ok(done) };
    let dir = match mirror.open_dir(&place()) {
        Err(error) if error.kind() == io::ErrorKind::NotFound => return Ok(done),
        Err(error) if is_elsewhere(&error) => None,
        other => Some(other?),
    };
    let trusted = match &dir {
        Some(dir) => is_ours(&stat_fd(&own)?) && is_ours(&stat_fd(dir)?),
        None => false,
    };
    let Some(dir) = dir.filter(|_| trusted) else {
        done.foreign.push(set_aside(&own, &own, UNDO)?);
        return Ok(done);
    };
    let (names, cut_short) = dir::read_names(&dir);
    for named in names {
        if !put_back_one(mirror, &dir, &named.name, &mut done)? {
            done.foreign.push(set_aside(&own, &dir, &named.name)?);
        }
    }
    cut_short.map_or(Ok(()), Err)?;
    clear(mirror);
    Ok(done)
}

/// What others can write is no witness.
fn is_ours(stat: &Stat) -> bool {
    let me = rustix::process::geteuid().as_raw();
    (stat.uid == 0 || stat.uid == me) && stat.mode & 0o022 == 0
}

/// Moves `name` out of `dir`, into a directory of the mirror's own that nothing is read from. Gives back where it is.
fn set_aside(own: &OwnedFd, dir: &OwnedFd, name: &[u8]) -> io::Result<RelPath> {
    match dir::make_dir(own, FOREIGN) {
        Err(error) if error.kind() != io::ErrorKind::AlreadyExists => return Err(error),
        _ => {}
    }
    let foreign = dir::open_dir(own, FOREIGN)?;
    let mut number = 0;
    let new = loop {
        number += 1;
        let new = [format!("{number}-").as_bytes(), &name[..name.len().min(100)]].concat();
        match dir::rename_new(dir, name, &foreign, &new) {
            Err(error) if error.kind() == io::ErrorKind::AlreadyExists => {}
            other => break other.map(|()| new)?,
        }
    };
    fsync(&foreign)?;
    fsync(dir)?;
    Ok(RelPath::root().join(OWN).join(FOREIGN).join(&new))
}

/// Puts back what the undo file `name` keeps, and removes it. False if it is none that can be trusted: it stays.
///
/// # Errors
/// The system's; `ResourceBusy` while somebody writes the file that it is about.
pub(in crate::tree) fn put_back_one(
    mirror: &View,
    dir: &OwnedFd,
    name: &[u8],
    done: &mut PutBack,
) -> io::Result<bool> {
    let stat = stat_at(dir, name)?;
    if !is_ours(&stat) || stat.kind != Kind::File || stat.nlink != 1 {
        return Ok(false);
    }
    let undo = dir::open_read(dir, name)?;
    flock(&undo.fd, FlockOperation::NonBlockingLockExclusive).map_err(|error| match error {
        Errno::WOULDBLOCK => {
            io::Error::new(io::ErrorKind::ResourceBusy, "a sync is writing the file just now")
        }
        other => other.into(),
    })?;
    match read_head(&undo.fd)? {
        Some((head, length)) => {
            let path = RelPath::from_bytes(&head.path);
            match open_file(mirror, &path, &head)? {
                Some(file) => {
                    apply(&undo.fd, length as u64, &head, &file)?;
                    done.files.push(path);
                }
                None => done.gone.push(path),
            }
        }
        // Without a head nothing was written to any file: it is on the disk before that. But one that was there may be damaged.
        None if stat.size > HEAD_ROOM as u64 => return Ok(false),
        None => {}
    }
    dir::unlink(dir, name)?;
    fsync(dir)?;
    Ok(true)
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
    use crate::tree::entry::undo::Undo;
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
