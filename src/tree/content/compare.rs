//! Reads files on both sides without displacing what the server has in its page cache: what was not there before does not
//! stay there, and of the mirror nothing does.

use super::{next_data, read_up_to};
use crate::sys::page_cache::{drop_range, holds_any, read_ahead, write_out};
use crate::tree::base::fault::{Fault, Sided};
use crate::tree::memory::blocks::{BLOCK, Hashing};
use crate::tree::pass::Pass;
use crate::tree::pass::comparisons::Common;
use std::cell::RefCell;
use std::io;
use std::ops::Range;
use std::os::fd::OwnedFd;

/// Room for one read.
const ROOM: usize = 256 * 1024;
/// What is looked at, read ahead and dropped as one.
const WINDOW: u64 = 4 << 20;
/// Of a file with more holes than this there is no hash.
const HASHED_HOLES: u64 = 256 << 20;

static ZEROS: [u8; 64 * 1024] = [0; 64 * 1024];

thread_local! {
    static ONE: RefCell<Vec<u8>> = RefCell::new(vec![0; ROOM]);
    static OTHER: RefCell<Vec<u8>> = RefCell::new(vec![0; ROOM]);
}

/// How the page cache is treated.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(in crate::tree) enum Guest {
    /// What was in it before stays.
    Leaves,
    /// Nothing of the file is needed there.
    Clears,
}

/// One file on its way through the cache.
struct Passage<'a> {
    file: &'a OwnedFd,
    size: u64,
    guest: Guest,
    /// The length of a window.
    window: u64,
    now: Option<(Range<u64>, bool)>,
    next: Option<(Range<u64>, bool)>,
}

impl<'a> Passage<'a> {
    fn new(pass: &Pass<'_>, file: &'a OwnedFd, size: u64, guest: Guest) -> Self {
        Passage { file, size, guest, window: pass.burst(WINDOW), now: None, next: None }
    }
    /// Comes before the byte at `at` is read; that goes forwards only.
    fn before(&mut self, at: u64) {
        if self.now.as_ref().is_some_and(|(range, _)| range.contains(&at)) {
            return;
        }
        self.leave();
        let start = at / self.window * self.window;
        self.now = match self.next.take().filter(|(range, _)| range.start == start) {
            Some(known) => Some(known),
            None => self.ahead(start),
        };
        self.next = self.ahead(start + self.window);
    }
    fn ahead(&self, start: u64) -> Option<(Range<u64>, bool)> {
        let range = start..(start + self.window).min(self.size);
        if range.is_empty() {
            return None;
        }
        let stays = self.guest == Guest::Leaves && holds_any(self.file, &range).unwrap_or(true);
        let _ = read_ahead(self.file, &range);
        Some((range, stays))
    }
    fn leave(&mut self) {
        if let Some((range, false)) = self.now.take() {
            let _ = drop_range(self.file, &range);
        }
    }
}

impl Drop for Passage<'_> {
    fn drop(&mut self) {
        self.leave();
        self.now = self.next.take();
        self.leave();
    }
}

/// Whether the first `size` bytes of two files are the same, and how many of them were read on each side. What is a hole
/// on both is not read.
pub(in crate::tree) fn compare(
    pass: &Pass<'_>,
    source: &OwnedFd,
    mirror: &OwnedFd,
    size: u64,
) -> Result<(bool, u64), Fault> {
    let mut read = 0;
    let same = in_step(pass, source, mirror, size, &mut |_, bytes| read += bytes.len() as u64)?;
    Ok((same, read))
}

/// Whether two files of `size` bytes have the same content; a mirror that cannot be read is different.
pub(in crate::tree) fn common(
    pass: &Pass<'_>,
    source: &OwnedFd,
    mirror: &OwnedFd,
    size: u64,
) -> Result<Option<Common>, Fault> {
    let mut hashing = ContentHash::new(size);
    match in_step(pass, source, mirror, size, &mut |at, bytes| hashing.data(at, bytes)) {
        Ok(true) => Ok(Some(Common { hash: hashing.finish() })),
        Ok(false) | Err(Fault::Mirror(..)) => Ok(None),
        Err(fault) => Err(fault),
    }
}

/// BLAKE3 of content that comes in stretches, with holes between them.
enum ContentHash {
    /// Of no more than a block.
    Small(Box<blake3::Hasher>),
    Large(Box<Hashing>, u64),
}

impl ContentHash {
    fn new(size: u64) -> Self {
        match size <= BLOCK {
            true => ContentHash::Small(Box::new(blake3::Hasher::new())),
            false => ContentHash::Large(Box::new(Hashing::new(size, None)), size),
        }
    }
    fn data(&mut self, at: u64, bytes: &[u8]) {
        match self {
            // A file of this size is read in one piece.
            ContentHash::Small(hasher) => drop(hasher.update(bytes)),
            ContentHash::Large(hashing, _) => {
                hashing.hole(at);
                hashing.data(bytes);
            }
        }
    }
    fn finish(self) -> Option<[u8; 32]> {
        match self {
            ContentHash::Small(hasher) => Some(*hasher.finalize().as_bytes()),
            ContentHash::Large(mut hashing, size) => {
                hashing.hole(size);
                hashing.finish().0
            }
        }
    }
}

/// Reads the first `size` bytes of two files side by side, and gives what is the same to `take`, with its place. Ends at the
/// first difference; what is a hole on both is not read.
fn in_step(
    pass: &Pass<'_>,
    source: &OwnedFd,
    mirror: &OwnedFd,
    size: u64,
    take: &mut dyn FnMut(u64, &[u8]),
) -> Result<bool, Fault> {
    let mut theirs = Passage::new(pass, mirror, size, Guest::Clears);
    let mut ours = Passage::new(pass, source, size, Guest::Leaves);
    let mut at = 0;
    ONE.with_borrow_mut(|one| {
        OTHER.with_borrow_mut(|other| {
            while let Some(range) = data_of_either(source, mirror, at, size)? {
                at = range.start;
                while at < range.end {
                    pass.pace((range.end - at).min(ROOM as u64));
                    if pass.stopped() {
                        return Err(Fault::Stopped);
                    }
                    theirs.before(at);
                    ours.before(at);
                    let want = ROOM.min((range.end - at) as usize);
                    let got = read_up_to(source, &mut one[..want], at).on_source("reading")?;
                    let there = read_up_to(mirror, &mut other[..want], at).on_mirror("reading")?;
                    if got < want || one[..got] != other[..there] {
                        return Ok(false);
                    }
                    take(at, &one[..got]);
                    at += got as u64;
                }
            }
            Ok(true)
        })
    })
}

/// The next stretch at or behind `at` that is data on at least one side.
fn data_of_either(
    source: &OwnedFd,
    mirror: &OwnedFd,
    at: u64,
    size: u64,
) -> Result<Option<Range<u64>>, Fault> {
    if size <= ROOM as u64 {
        return Ok((at < size).then_some(at..size));
    }
    let one = next_data(source, at, size).on_source("reading")?;
    let other = next_data(mirror, at, size).on_mirror("reading")?;
    Ok(match (one, other) {
        (Some((a, a_end)), Some((b, b_end))) if a == b => Some(a..a_end.min(b_end)),
        (Some((a, a_end)), Some((b, b_end))) => {
            if a < b {
                Some(a..a_end.min(b))
            } else {
                Some(b..b_end.min(a))
            }
        }
        (Some((a, end)), None) | (None, Some((a, end))) => Some(a..end),
        (None, None) => None,
    })
}

/// BLAKE3 of the first `size` bytes of a file, zeros for its holes; none if these are so many that none is ever made.
///
/// # Errors
/// The system's, or `Interrupted` if somebody asked to stop.
pub(in crate::tree) fn hash_as(
    pass: &Pass<'_>,
    file: &OwnedFd,
    size: u64,
    guest: Guest,
) -> io::Result<Option<[u8; 32]>> {
    let mut passage = Passage::new(pass, file, size, guest);
    let mut hasher = blake3::Hasher::new();
    let (mut at, mut holes) = (0, 0);
    ONE.with_borrow_mut(|room| {
        while at < size {
            let (start, end) = next_data(file, at, size)?.unwrap_or((size, size));
            holes += start - at;
            if holes > HASHED_HOLES {
                return Ok(None);
            }
            while at < start {
                let zeros = ZEROS.len().min((start - at) as usize);
                hasher.update(&ZEROS[..zeros]);
                at += zeros as u64;
            }
            while at < end {
                // A limit is one of what is read of the source.
                pass.pace(if guest == Guest::Leaves { (end - at).min(ROOM as u64) } else { 0 });
                if pass.stopped() {
                    return Err(io::ErrorKind::Interrupted.into());
                }
                passage.before(at);
                let want = ROOM.min((end - at) as usize);
                let got = read_up_to(file, &mut room[..want], at)?;
                hasher.update(&room[..got]);
                at += got as u64;
                if got < want {
                    return Ok(Some(*hasher.finalize().as_bytes()));
                }
            }
        }
        Ok(Some(*hasher.finalize().as_bytes()))
    })
}

/// The same of a file of the source, read from its disk: whatever of it is in the page cache, and is not in use, is dropped
/// before.
pub(in crate::tree) fn hash_of_disk(
    pass: &Pass<'_>,
    file: &OwnedFd,
    size: u64,
) -> Result<Option<[u8; 32]>, Fault> {
    write_out(file, &(0..0)).and_then(|()| drop_range(file, &(0..size.max(1)))).on_source("reading")?;
    hash(pass, file, size)
}

/// The same of a file of the source.
pub(in crate::tree) fn hash(pass: &Pass<'_>, file: &OwnedFd, size: u64) -> Result<Option<[u8; 32]>, Fault> {
    match hash_as(pass, file, size, Guest::Leaves) {
        Err(error) if error.kind() == io::ErrorKind::Interrupted => Err(Fault::Stopped),
        read => read.on_source("reading"),
    }
}
