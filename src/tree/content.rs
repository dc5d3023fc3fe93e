//! A file's content: copied with its holes, or compared.

use super::fault::{Fault, Sided};
use super::pass::Pass;
use super::wanted::Want;
use rustix::fs::{SeekFrom, ftruncate, seek};
use rustix::io::{Errno, pread, pwrite};
use std::cell::RefCell;
use std::io;
use std::os::fd::OwnedFd;

/// Room for one read: large enough for the disk, small enough for the cache.
const ROOM: usize = 256 * 1024;
/// Files below this size are read whole: looking for holes costs more than it saves.
const HOLES_FROM: u64 = 4097;

thread_local! {
    static READ: RefCell<Vec<u8>> = RefCell::new(vec![0; ROOM]);
    static OTHER: RefCell<Vec<u8>> = RefCell::new(vec![0; ROOM]);
}

/// Copies the first `size` bytes of `source` into `mirror`, an empty file; what is a hole there stays one here.
/// Gives back the bytes that were written. Shorter than `size` only if the source shrank meanwhile.
pub(super) fn copy(pass: &Pass<'_>, source: &OwnedFd, mirror: &OwnedFd, size: u64) -> Result<u64, Fault> {
    let (mut at, mut written) = (0, 0);
    while at < size {
        let Some((start, end)) = next_data(source, at, size).on_source("reading")? else { break };
        let length = copy_range(pass, source, mirror, start, end)?;
        written += length;
        at = start + length;
        if at < end {
            ftruncate(mirror, at).map_err(io::Error::from).on_mirror("writing")?;
            return Ok(written);
        }
    }
    if at < size {
        ftruncate(mirror, size).map_err(io::Error::from).on_mirror("writing")?;
    }
    Ok(written)
}

/// Writes what `want` says into `mirror`, an empty file, from `source`. Gives back the bytes that were written.
pub(super) fn copy_wanted(
    pass: &Pass<'_>,
    source: &OwnedFd,
    mirror: &OwnedFd,
    want: &Want,
) -> Result<u64, Fault> {
    let written = copy(pass, source, mirror, want.source_bytes)?;
    write_all_at(mirror, &want.then, want.source_bytes).on_mirror("writing")?;
    Ok(written + want.then.len() as u64)
}

/// Whether `mirror` ends with what `want` says behind the source's part. One that cannot be read does not.
pub(super) fn ends_as(mirror: &OwnedFd, want: &Want) -> bool {
    let mut end = vec![0; want.then.len()];
    reads(mirror, &mut end, want.source_bytes).is_ok_and(|()| end == want.then)
}

/// The bytes that `copy` would write: `size` without the holes.
pub(super) fn data_bytes(source: &OwnedFd, size: u64) -> io::Result<u64> {
    let (mut at, mut bytes) = (0, 0);
    while at < size
        && let Some((start, end)) = next_data(source, at, size)?
    {
        bytes += end - start;
        at = end;
    }
    Ok(bytes)
}

/// The next stretch of data at or behind `at`, below `size`.
fn next_data(source: &OwnedFd, at: u64, size: u64) -> io::Result<Option<(u64, u64)>> {
    if size < HOLES_FROM {
        return Ok(Some((at, size)));
    }
    let start = match seek(source, SeekFrom::Data(at)) {
        Ok(start) if start < size => start,
        Ok(_) | Err(Errno::NXIO) => return Ok(None),
        Err(Errno::INVAL | Errno::OPNOTSUPP) => return Ok(Some((at, size))),
        Err(error) => return Err(error.into()),
    };
    match seek(source, SeekFrom::Hole(start)) {
        Ok(end) => Ok(Some((start, end.min(size)))),
        Err(Errno::NXIO) => Ok(None),
        Err(error) => Err(error.into()),
    }
}

fn copy_range(
    pass: &Pass<'_>,
    source: &OwnedFd,
    mirror: &OwnedFd,
    start: u64,
    end: u64,
) -> Result<u64, Fault> {
    READ.with_borrow_mut(|room| {
        let mut at = start;
        while at < end {
            if pass.stopped() {
                return Err(Fault::Stopped);
            }
            let want = room.len().min((end - at) as usize);
            let got = read_at(source, &mut room[..want], at).on_source("reading")?;
            if got == 0 {
                break;
            }
            write_all_at(mirror, &room[..got], at).on_mirror("writing")?;
            at += got as u64;
        }
        Ok(at - start)
    })
}

fn read_at(file: &OwnedFd, room: &mut [u8], at: u64) -> io::Result<usize> {
    loop {
        match pread(file, &mut *room, at) {
            Err(Errno::INTR) => {}
            other => return Ok(other?),
        }
    }
}

fn write_all_at(file: &OwnedFd, mut bytes: &[u8], mut at: u64) -> io::Result<()> {
    while !bytes.is_empty() {
        match pwrite(file, bytes, at) {
            Ok(0) => return Err(io::ErrorKind::WriteZero.into()),
            Ok(length) => {
                bytes = &bytes[length..];
                at += length as u64;
            }
            Err(Errno::INTR) => {}
            Err(error) => return Err(error.into()),
        }
    }
    Ok(())
}

/// Whether two files of `size` bytes have the same content. A mirror that cannot be read is different.
pub(super) fn equal(pass: &Pass<'_>, source: &OwnedFd, mirror: &OwnedFd, size: u64) -> Result<bool, Fault> {
    READ.with_borrow_mut(|room| {
        OTHER.with_borrow_mut(|other| {
            let mut at = 0;
            while at < size {
                if pass.stopped() {
                    return Err(Fault::Stopped);
                }
                let got = read_at(source, room, at).on_source("reading")?;
                if got == 0
                    || !reads(mirror, &mut other[..got], at).is_ok_and(|()| other[..got] == room[..got])
                {
                    return Ok(false);
                }
                at += got as u64;
            }
            Ok(true)
        })
    })
}

fn reads(file: &OwnedFd, mut room: &mut [u8], mut at: u64) -> io::Result<()> {
    while !room.is_empty() {
        match read_at(file, room, at)? {
            0 => return Err(io::ErrorKind::UnexpectedEof.into()),
            got => {
                room = &mut room[got..];
                at += got as u64;
            }
        }
    }
    Ok(())
}
