//! The page cache, as far as a copier must mind it: what of a file is in it, what may leave it, what shall be written.

use super::block::ALIGNMENT as PAGE;
use rustix::fs::{Advice, fadvise};
use std::io;
use std::num::NonZeroU64;
use std::ops::Range;
use std::os::fd::{AsFd, AsRawFd, OwnedFd};
use std::ptr;

/// Whether any page of a stretch of a file, which begins on a page and is not empty, is in the cache. Reads nothing, so
/// that asking changes nothing. To those who may not write the file the kernel says yes of all of it.
///
/// # Errors
/// The system's; a file that cannot be mapped.
pub fn holds_any(file: &OwnedFd, range: &Range<u64>) -> io::Result<bool> {
    let length = (range.end - range.start) as usize;
    let mut pages = vec![0u8; length.div_ceil(PAGE)];
    // SAFETY: a new mapping at a place of the kernel's choice; it is never read from or written to.
    let at = unsafe {
        let offset = range.start as libc::off_t;
        libc::mmap(ptr::null_mut(), length, libc::PROT_READ, libc::MAP_SHARED, file.as_raw_fd(), offset)
    };
    if at == libc::MAP_FAILED {
        return Err(io::Error::last_os_error());
    }
    // SAFETY: `at` is the mapping made above, and `pages` has a byte for each page of it, as mincore(2) asks. The size
    // of a page is at least PAGE, so there are never more pages than bytes.
    let asked = unsafe { libc::mincore(at, length, pages.as_mut_ptr()) };
    let error = io::Error::last_os_error();
    // SAFETY: the mapping made above, with its length; nothing points into it.
    unsafe { libc::munmap(at, length) };
    if asked == 0 { Ok(pages.iter().any(|page| page & 1 == 1)) } else { Err(error) }
}

/// Lets a stretch of a file leave the cache; what is dirty stays.
///
/// # Errors
/// The system's.
pub fn drop_range(file: impl AsFd, range: &Range<u64>) -> io::Result<()> {
    advise(file, range, Advice::DontNeed)
}

/// Has a stretch of a file read into the cache, and does not wait for it.
///
/// # Errors
/// The system's.
pub fn read_ahead(file: impl AsFd, range: &Range<u64>) -> io::Result<()> {
    advise(file, range, Advice::WillNeed)
}

fn advise(file: impl AsFd, range: &Range<u64>, advice: Advice) -> io::Result<()> {
    Ok(fadvise(file, range.start, NonZeroU64::new(range.end - range.start), advice)?)
}

/// Begins to write what is dirty in a stretch of a file, and does not wait for it.
///
/// # Errors
/// The system's.
pub fn start_writing(file: impl AsFd, range: &Range<u64>) -> io::Result<()> {
    sync_file_range(file, range, libc::SYNC_FILE_RANGE_WRITE)
}

/// Writes what is dirty in a stretch of a file to its disk, and waits for it. An end of 0 is that of the file. Neither
/// metadata nor the disk's own cache is flushed; but each page is clean then, and the next store through a mapping is seen.
///
/// # Errors
/// The system's.
pub fn write_out(file: impl AsFd, range: &Range<u64>) -> io::Result<()> {
    use libc::{SYNC_FILE_RANGE_WAIT_AFTER, SYNC_FILE_RANGE_WAIT_BEFORE, SYNC_FILE_RANGE_WRITE};
    let how = SYNC_FILE_RANGE_WAIT_BEFORE | SYNC_FILE_RANGE_WRITE | SYNC_FILE_RANGE_WAIT_AFTER;
    sync_file_range(file, range, how)
}

fn sync_file_range(file: impl AsFd, range: &Range<u64>, how: libc::c_uint) -> io::Result<()> {
    let (offset, length) = (range.start as i64, range.end.saturating_sub(range.start) as i64);
    // SAFETY: numbers and an open descriptor are all that the call takes.
    match unsafe { libc::sync_file_range(file.as_fd().as_raw_fd(), offset, length, how) } {
        0 => Ok(()),
        _ => Err(io::Error::last_os_error()),
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use std::os::unix::fs::FileExt;

    #[test]
    fn a_page_that_was_written_is_there_until_it_is_written_out_and_dropped() {
        let file = tempfile::tempfile_in(env!("CARGO_MANIFEST_DIR")).expect("a file on a disk");
        let range = 0..1 << 20;
        file.set_len(range.end).expect("a hole");
        file.write_all_at(&[1; 4096], 512 * 1024).expect("a page");
        let fd = OwnedFd::from(file);
        assert!(holds_any(&fd, &range).expect("asked"));
        assert!(!holds_any(&fd, &(0..512 * 1024)).expect("asked"), "the page is in the second half");
        // Somebody else's sync may write it out in between.
        let stays = || {
            rustix::io::pwrite(&fd, &[1; 4096], 512 * 1024).expect("a page");
            drop_range(&fd, &range).expect("advised");
            holds_any(&fd, &range).expect("asked")
        };
        assert!((0..20).any(|_| stays()), "what is dirty stays");
        write_out(&fd, &(0..0)).expect("written");
        drop_range(&fd, &range).expect("advised");
        assert!(!holds_any(&fd, &range).expect("asked"));
    }
}
