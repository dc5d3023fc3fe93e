//! A file's content: copied with its holes, and hashed on the way; or compared.

pub(in crate::tree) mod compare;
pub(in crate::tree) mod page_cache;

use crate::sys::extents;
use crate::tree::base::fault::{Fault, Sided};
use crate::tree::base::overrides::Want;
use crate::tree::content::page_cache::{Manners, WINDOW};
use crate::tree::memory::blocks::{Hashing, MapWriter};
use crate::tree::pass::Pass;
use rustix::fs::ftruncate;
use rustix::io::{Errno, pread, pwrite};
use std::cell::RefCell;
use std::io;
use std::os::fd::OwnedFd;

/// Room for one read: large enough for the disk, small enough for the cache.
const ROOM: usize = 256 * 1024;
/// Files below this size are written whole: looking for holes costs more than it saves.
const HOLES_FROM: u64 = 4097;
/// The smallest hole a file can have, on any file system.
const BLOCK: usize = 512;

static ZEROS: [u8; 64 * 1024] = [0; 64 * 1024];

thread_local! {
    static READ: RefCell<Vec<u8>> = RefCell::new(vec![0; ROOM]);
}

/// What was copied.
pub(in crate::tree) struct Copied {
    /// Bytes that were written: holes are not.
    pub bytes: u64,
    /// BLAKE3 of the content, the zeros of its holes included; none if these are too many.
    pub hash: Option<[u8; 32]>,
    /// The hashes of its blocks, if they were wanted.
    pub map: Option<MapWriter>,
}

/// Copies the first `size` bytes of `source` into `mirror`, an empty file; what is a hole there stays one here. Shorter
/// than `size` only if the source shrank meanwhile. The hashes of its blocks go to `map`, if there is one.
pub(in crate::tree) fn copy(
    pass: &Pass<'_>,
    source: &OwnedFd,
    mirror: &OwnedFd,
    size: u64,
    map: Option<MapWriter>,
) -> Result<Copied, Fault> {
    if size <= ROOM as u64 {
        pass.pace(size);
        let copied = READ.with_borrow_mut(|room| copy_at_once(source, mirror, &mut room[..size as usize]));
        pass.wrote(mirror);
        return copied;
    }
    let manners = Manners::new(source, mirror, size, pass.burst(WINDOW));
    let hashing = Hashing::new(size, map);
    Stretches { pass, source, mirror, hashing, manners, at: 0, bytes: 0 }.copy(size)
}

/// Copies a file that fits into `room`, which has its size. Holes are looked for only if some block is zero.
fn copy_at_once(source: &OwnedFd, mirror: &OwnedFd, room: &mut [u8]) -> Result<Copied, Fault> {
    let size = room.len() as u64;
    let got = read_up_to(source, room, 0).on_source("reading")?;
    let content = &room[..got];
    let hash = Some(*blake3::hash(content).as_bytes());
    if size < HOLES_FROM || !has_zero_block(content) {
        write_all_at(mirror, content, 0).on_mirror("writing")?;
        return Ok(Copied { bytes: got as u64, hash, map: None });
    }
    let (mut at, mut bytes) = (0, 0);
    while let Some((start, end)) = next_data(source, at, got as u64).on_source("reading")? {
        if end - start < got as u64 && bytes == 0 {
            set_length(mirror, got as u64)?;
        }
        write_all_at(mirror, &content[start as usize..end as usize], start).on_mirror("writing")?;
        (at, bytes) = (end, bytes + end - start);
    }
    if bytes == 0 {
        set_length(mirror, got as u64)?;
    }
    Ok(Copied { bytes, hash, map: None })
}

fn has_zero_block(content: &[u8]) -> bool {
    content.chunks(BLOCK).any(|block| *block == ZEROS[..block.len()])
}

/// A large file's copy at work: its stretches of data one after another.
struct Stretches<'a> {
    pass: &'a Pass<'a>,
    source: &'a OwnedFd,
    mirror: &'a OwnedFd,
    hashing: Hashing,
    manners: Manners<'a>,
    /// How far it came.
    at: u64,
    bytes: u64,
}

impl Stretches<'_> {
    fn copy(mut self, size: u64) -> Result<Copied, Fault> {
        let mut complete = true;
        while complete
            && self.at < size
            && let Some((start, end)) = next_data(self.source, self.at, size).on_source("reading")?
        {
            if self.bytes == 0 && (start, end) != (0, size) {
                set_length(self.mirror, size)?;
            }
            self.hole(start);
            complete = self.data(end)?;
        }
        if complete && self.at < size {
            self.hole(size);
            set_length(self.mirror, size)?;
        }
        self.manners.end();
        let (hash, map) = self.hashing.finish();
        Ok(Copied { bytes: self.bytes, hash, map })
    }
    /// Goes on to `end` over zeros that nobody reads or writes.
    fn hole(&mut self, end: u64) {
        self.hashing.hole(end);
        self.at = end;
    }
    /// Copies up to `end`. Gives back whether the source went that far.
    fn data(&mut self, end: u64) -> Result<bool, Fault> {
        READ.with_borrow_mut(|room| {
            while self.at < end {
                self.pass.pace((end - self.at).min(room.len() as u64));
                if self.pass.stopped() {
                    return Err(Fault::Stopped);
                }
                self.manners.before(self.at, end);
                let want = room.len().min((end - self.at) as usize);
                let got = read_at(self.source, &mut room[..want], self.at).on_source("reading")?;
                if got == 0 {
                    return set_length(self.mirror, self.at).map(|()| false);
                }
                write_all_at(self.mirror, &room[..got], self.at).on_mirror("writing")?;
                self.hashing.data(&room[..got]);
                self.at += got as u64;
                self.bytes += got as u64;
            }
            Ok(true)
        })
    }
}

/// Comes first where there are holes: a file that grows is given room ahead (on XFS), which lies in the holes then.
fn set_length(mirror: &OwnedFd, size: u64) -> Result<(), Fault> {
    ftruncate(mirror, size).map_err(io::Error::from).on_mirror("writing")
}

/// Writes what `want` says into `mirror`, an empty file, from `source`. Gives back the bytes that were written.
pub(in crate::tree) fn copy_wanted(
    pass: &Pass<'_>,
    source: &OwnedFd,
    mirror: &OwnedFd,
    want: &Want,
) -> Result<u64, Fault> {
    let copied = copy(pass, source, mirror, want.source_bytes, None)?;
    write_all_at(mirror, &want.then, want.source_bytes).on_mirror("writing")?;
    Ok(copied.bytes + want.then.len() as u64)
}

/// Whether `mirror` ends with what `want` says behind the source's part. One that cannot be read does not.
pub(in crate::tree) fn ends_as(mirror: &OwnedFd, want: &Want) -> bool {
    let mut end = vec![0; want.then.len()];
    read_up_to(mirror, &mut end, want.source_bytes).is_ok_and(|got| end[..got] == want.then)
}

/// The bytes that `copy` would write: `size` without the holes.
pub(in crate::tree) fn data_bytes(source: &OwnedFd, size: u64) -> io::Result<u64> {
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
pub(in crate::tree) fn next_data(source: &OwnedFd, at: u64, size: u64) -> io::Result<Option<(u64, u64)>> {
    if at < size && size < HOLES_FROM {
        return Ok(Some((at, size)));
    }
    extents::next_data(source, at, size)
}

fn read_at(file: &OwnedFd, room: &mut [u8], at: u64) -> io::Result<usize> {
    loop {
        match pread(file, &mut *room, at) {
            Err(Errno::INTR) => {}
            other => return Ok(other?),
        }
    }
}

/// Fills `room`, or as much of it as the file has.
pub(in crate::tree) fn read_up_to(file: &OwnedFd, room: &mut [u8], at: u64) -> io::Result<usize> {
    let mut filled = 0;
    while filled < room.len() {
        match read_at(file, &mut room[filled..], at + filled as u64)? {
            0 => break,
            got => filled += got,
        }
    }
    Ok(filled)
}

pub(in crate::tree) fn write_all_at(file: &OwnedFd, mut bytes: &[u8], mut at: u64) -> io::Result<()> {
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

#[cfg(test)]
mod tests {
    use super::*;
    use crate::monitor::Silent;
    use crate::sys::dir::open_root;
    use crate::tree::{Options, View};
    use std::fs::{self, File};
    use std::os::unix::fs::{FileExt, MetadataExt};

    /// Copies a file of `size` bytes that has data at the given places, and gives back what the copy allocates.
    fn copied(size: u64, places: &[(u64, &[u8])]) -> u64 {
        let dir = tempfile::tempdir_in(env!("CARGO_MANIFEST_DIR")).expect("a directory on a disk");
        let [from, to] = ["from", "to"].map(|name| dir.path().join(name));
        let source = File::create_new(&from).expect("a file");
        source.set_len(size).expect("holes");
        places.iter().for_each(|(at, bytes)| source.write_all_at(bytes, *at).expect("data"));
        let view = || View::of_fd(open_root(dir.path()).expect("open")).expect("a view");
        let (a, b, options) = (view(), view(), Options::default());
        let pass = Pass::new(&a, &b, &options, &Silent).expect("a pass");
        let source = OwnedFd::from(File::open(&from).expect("open"));
        let mirror = OwnedFd::from(File::create_new(&to).expect("a file"));
        let Ok(copied) = copy(&pass, &source, &mirror, size, None) else {
            panic!("{size} bytes cannot be copied")
        };
        let content = fs::read(&from).expect("read");
        assert!(fs::read(&to).expect("read") == content, "{size} bytes are not the same");
        let data = data_bytes(&source, size).expect("looked at");
        let hash = (size - data <= 256 << 20).then(|| *blake3::hash(&content).as_bytes());
        assert_eq!((copied.hash, copied.bytes), (hash, data), "{size} bytes");
        File::from(mirror).sync_all().expect("flushed");
        fs::metadata(&to).expect("there").blocks() * 512
    }

    #[test]
    fn the_hash_of_a_copy_is_that_of_its_content() {
        let noise: Vec<u8> =
            (0..20u32 << 20).map(|n| (n.wrapping_mul(2_654_435_761) >> 24) as u8 | 1).collect();
        for size in [0, 1, 4096, 4097, ROOM, ROOM + 1, 9 << 20, 20 << 20] {
            copied(size as u64, &[(0, &noise[..size])]);
        }
    }

    #[test]
    fn holes_are_hashed_as_zeros_and_stay_holes() {
        let block = [7; 4096];
        assert!(copied(200 << 10, &[(64 << 10, &block)]) <= 64 << 10);
        assert!(copied(200 << 10, &[(196 << 10, &block)]) <= 64 << 10);
        let ends: &[(u64, &[u8])] = &[(1 << 20, &block), (30 << 20, &block), (40 << 20, b"end")];
        assert!(copied((40 << 20) + 3, ends) <= 192 << 10);
        assert!(copied(50 << 20, &[]) <= 64 << 10);
        assert!(copied(300 << 20, &[(200 << 20, &block)]) <= 64 << 10, "too many holes to be hashed");
    }
}
