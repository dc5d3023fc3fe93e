//! Where a file has data and where holes; and stretches of a file shared, emptied and taken back.

use rustix::fs::{FallocateFlags, SeekFrom, fallocate, ioctl_ficlone, seek};
use rustix::io::Errno;
use std::io;
use std::ops::Range;
use std::os::fd::OwnedFd;

/// The next stretch of data of `file` at or behind `at`, below `size`; all of the rest where the file system knows no holes.
///
/// # Errors
/// The system's.
pub fn next_data(file: &OwnedFd, at: u64, size: u64) -> io::Result<Option<(u64, u64)>> {
    if at >= size {
        return Ok(None);
    }
    let start = match seek(file, SeekFrom::Data(at)) {
        Ok(start) if start < size => start,
        Ok(_) | Err(Errno::NXIO) => return Ok(None),
        Err(Errno::INVAL | Errno::OPNOTSUPP) => return Ok(Some((at, size))),
        Err(error) => return Err(error.into()),
    };
    match seek(file, SeekFrom::Hole(start)) {
        Ok(end) => Ok(Some((start, end.min(size)))),
        Err(Errno::NXIO) => Ok(None),
        Err(error) => Err(error.into()),
    }
}

/// Makes `file`, which is empty, share all of what `like` holds, until one of them is written.
///
/// # Errors
/// The system's; among others `EOPNOTSUPP` where the file system cannot.
pub fn share_content(file: &OwnedFd, like: &OwnedFd) -> io::Result<()> {
    Ok(ioctl_ficlone(file, like)?)
}

/// Makes a stretch of a file read as zeros and gives its room back; its size stays.
///
/// # Errors
/// The system's; `EOPNOTSUPP` where the file system cannot.
pub fn punch(file: &OwnedFd, range: &Range<u64>) -> io::Result<()> {
    let how = FallocateFlags::PUNCH_HOLE | FallocateFlags::KEEP_SIZE;
    Ok(fallocate(file, how, range.start, range.end - range.start)?)
}

/// Makes a stretch of a file read as zeros and keeps its room; its size stays.
///
/// # Errors
/// The system's; `EOPNOTSUPP` where the file system cannot.
pub fn zero(file: &OwnedFd, range: &Range<u64>) -> io::Result<()> {
    let how = FallocateFlags::ZERO_RANGE | FallocateFlags::KEEP_SIZE;
    Ok(fallocate(file, how, range.start, range.end - range.start)?)
}
