//! A map's file: a page that says of what it is, then the blocks' hashes in pages that are sealed one by one.
//!
//! A page that is not sound says nothing of its blocks, as one of zeros does not: what is not known is written. So no damage
//! costs more than time. Of a file's holes the mirror itself is asked.

use super::block::{BLOCK, BlockHash, HOLE};
use crate::sys::stat::{Stat, Timestamp};
use std::fs::File;
use std::io;
use std::os::unix::fs::FileExt;

/// Bytes of a page.
const PAGE: usize = 4096;
/// Hashes in a page, behind its checksum and unused bytes.
const IN_PAGE: u64 = 127;
const HASH: usize = 32;
const MAGIC: &[u8; 16] = b"diskmirror map\n\0";
/// The version of the form.
const FORMAT: u32 = 1;
/// Bytes of the first page that say something; their checksum is behind them.
const HEAD: usize = 88;

/// One inode, whatever its path.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
pub struct Inode {
    pub ino: u64,
    /// When it was made.
    pub btime: Timestamp,
}

impl Inode {
    /// That which `stat` describes; none where the file system does not tell when it was made.
    pub fn of(stat: &Stat) -> Option<Inode> {
        stat.btime.map(|btime| Inode { ino: stat.ino, btime })
    }
}

/// Of what a map is.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Head {
    /// The source's file.
    pub source: Inode,
    /// The mirror's, whose blocks these are …
    pub mirror: Inode,
    /// … as long as it has this size in bytes …
    pub size: u64,
    /// … and this time.
    pub mtime: Timestamp,
}

impl Head {
    fn encode(&self) -> [u8; PAGE] {
        let mut page = [0; PAGE];
        page[..16].copy_from_slice(MAGIC);
        page[16..20].copy_from_slice(&FORMAT.to_le_bytes());
        page[20..24].copy_from_slice(&(BLOCK as u32).to_le_bytes());
        for (at, inode) in [(24, self.source), (44, self.mirror)] {
            page[at..at + 8].copy_from_slice(&inode.ino.to_le_bytes());
            put_time(&mut page[at + 8..], inode.btime);
        }
        page[64..72].copy_from_slice(&self.size.to_le_bytes());
        put_time(&mut page[72..], self.mtime);
        let sum = checksum(&page[..HEAD]);
        page[HEAD..HEAD + 8].copy_from_slice(&sum);
        page
    }
    /// What `encode` wrote; none if it is anything else.
    fn decode(page: &[u8; PAGE]) -> Option<Head> {
        let own = page[..16] == *MAGIC && page[16..20] == FORMAT.to_le_bytes();
        let sound = own && page[HEAD..HEAD + 8] == checksum(&page[..HEAD]);
        if !sound || page[20..24] != (BLOCK as u32).to_le_bytes() {
            return None;
        }
        let inode = |at: usize| Inode { ino: u64_at(page, at), btime: time_at(page, at + 8) };
        Some(Head { source: inode(24), mirror: inode(44), size: u64_at(page, 64), mtime: time_at(page, 72) })
    }
}

fn put_time(out: &mut [u8], time: Timestamp) {
    out[..8].copy_from_slice(&time.secs.to_le_bytes());
    out[8..12].copy_from_slice(&time.nanos.to_le_bytes());
}

fn u64_at(page: &[u8], at: usize) -> u64 {
    page[at..].first_chunk().map_or(0, |bytes| u64::from_le_bytes(*bytes))
}

fn time_at(page: &[u8], at: usize) -> Timestamp {
    let nanos = page[at + 8..].first_chunk().map_or(0, |bytes| u32::from_le_bytes(*bytes));
    Timestamp { secs: u64_at(page, at) as i64, nanos }
}

/// The first 8 bytes of BLAKE3.
fn checksum(bytes: &[u8]) -> [u8; 8] {
    blake3::hash(bytes).as_bytes().first_chunk().copied().unwrap_or_default()
}

fn page_checksum(page: &[u8; PAGE], number: u64) -> [u8; 8] {
    let mut hasher = blake3::Hasher::new();
    hasher.update(&number.to_le_bytes()).update(&page[8..]);
    hasher.finalize().as_bytes().first_chunk().copied().unwrap_or_default()
}

/// A map that is being written.
#[derive(Debug)]
pub struct MapWriter {
    file: File,
    page: Box<[u8; PAGE]>,
    /// Which page that is, and how many hashes are in it.
    number: u64,
    filled: u64,
    has_any: bool,
    failed: Option<io::Error>,
}

impl MapWriter {
    /// Writes to `file`, which is empty.
    pub fn new(file: File) -> Self {
        MapWriter { file, page: Box::new([0; PAGE]), number: 0, filled: 0, has_any: false, failed: None }
    }
    /// Adds the next block's hash. A failure is kept for `seal`.
    pub fn push(&mut self, hash: &BlockHash) {
        let at = HASH + self.filled as usize * HASH;
        self.page[at..at + HASH].copy_from_slice(hash);
        self.has_any |= *hash != HOLE;
        self.skip(1);
    }
    /// Adds blocks that are holes.
    pub fn skip(&mut self, mut blocks: u64) {
        while blocks > 0 {
            let some = blocks.min(IN_PAGE - self.filled);
            self.filled += some;
            blocks -= some;
            if self.filled == IN_PAGE {
                self.end_page();
            }
        }
    }
    fn end_page(&mut self) {
        if self.has_any {
            let sum = page_checksum(&self.page, self.number);
            self.page[..8].copy_from_slice(&sum);
            if let Err(error) = self.file.write_all_at(&self.page[..], (self.number + 1) * PAGE as u64) {
                self.failed.get_or_insert(error);
            }
            self.page.fill(0);
        }
        (self.number, self.filled, self.has_any) = (self.number + 1, 0, false);
    }
    /// Completes it, and has it on the disk.
    ///
    /// # Errors
    /// The first failure, or the system's.
    pub fn seal(mut self, head: &Head) -> io::Result<()> {
        self.end_page();
        if let Some(error) = self.failed {
            return Err(error);
        }
        self.file.write_all_at(&head.encode(), 0)?;
        self.file.sync_all()
    }
    /// Reads what was written up to now.
    ///
    /// # Errors
    /// The first failure.
    pub fn reread(mut self) -> io::Result<MapReader> {
        self.end_page();
        self.failed.map_or(Ok(MapReader { file: self.file, page: self.page, number: None }), Err)
    }
}

/// A map that is read, a page at a time.
#[derive(Debug)]
pub struct MapReader {
    file: File,
    page: Box<[u8; PAGE]>,
    number: Option<u64>,
}

impl MapReader {
    /// The map in `file`, if it is one, and of what it is.
    pub fn open(file: File) -> Option<(Head, MapReader)> {
        let mut page = [0; PAGE];
        file.read_exact_at(&mut page, 0).ok()?;
        Some((Head::decode(&page)?, MapReader { file, page: Box::new(page), number: None }))
    }
    /// The hash of a block; `HOLE` where that is not known.
    pub fn hash(&mut self, block: u64) -> BlockHash {
        let (number, at) = (block / IN_PAGE, HASH + (block % IN_PAGE) as usize * HASH);
        if self.number != Some(number) {
            let read = self.file.read_exact_at(&mut self.page[..], (number + 1) * PAGE as u64);
            if read.is_err() || self.page[..8] != page_checksum(&self.page, number) {
                self.page.fill(0);
            }
            self.number = Some(number);
        }
        self.page[at..].first_chunk().copied().unwrap_or(HOLE)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn head() -> Head {
        let inode = |ino| Inode { ino, btime: Timestamp { secs: -3, nanos: 999_999_999 } };
        Head {
            source: inode(7),
            mirror: inode(u64::MAX),
            size: 1 << 50,
            mtime: Timestamp { secs: 9, nanos: 1 },
        }
    }

    fn hash(n: u64) -> BlockHash {
        *blake3::hash(&n.to_le_bytes()).as_bytes()
    }

    /// A map of 1000 blocks, of which those from 200 to 700 are holes.
    fn written() -> File {
        let file = tempfile::tempfile().expect("a file");
        let mut writer = MapWriter::new(file.try_clone().expect("once more"));
        (0..200).for_each(|n| writer.push(&hash(n)));
        writer.skip(500);
        (700..1000).for_each(|n| writer.push(&hash(n)));
        writer.seal(&head()).expect("sealed");
        file
    }

    #[test]
    fn what_is_written_is_read_back() {
        let (read, mut map) = MapReader::open(written()).expect("it is a map");
        assert_eq!(read, head());
        for n in [0, 126, 127, 199, 700, 888, 999] {
            assert_eq!(map.hash(n), hash(n), "block {n}");
        }
        for n in [200, 450, 699, 1000, 1 << 40] {
            assert_eq!(map.hash(n), HOLE, "block {n}");
        }
    }

    #[test]
    fn nothing_is_known_of_blocks_whose_page_is_damaged() {
        let file = written();
        file.write_all_at(b"x", 2 * PAGE as u64 + 100).expect("written");
        let (_, mut map) = MapReader::open(file).expect("the head is sound");
        assert_eq!([map.hash(0), map.hash(130), map.hash(999)], [hash(0), HOLE, hash(999)]);
    }

    #[test]
    fn a_page_in_another_ones_place_is_not_believed() {
        let file = written();
        let mut page = [0; PAGE];
        file.read_exact_at(&mut page, PAGE as u64).expect("read");
        file.write_all_at(&page, 7 * PAGE as u64).expect("written");
        let (_, mut map) = MapReader::open(file).expect("the head is sound");
        assert_eq!(map.hash(6 * IN_PAGE + 3), HOLE);
    }

    #[test]
    fn a_head_with_a_flipped_bit_or_of_another_form_is_none() {
        for at in 0..HEAD + 8 {
            let file = written();
            let mut byte = [0];
            file.read_exact_at(&mut byte, at as u64).expect("read");
            file.write_all_at(&[byte[0] ^ 1], at as u64).expect("written");
            assert!(MapReader::open(file).is_none(), "byte {at}");
        }
    }
}
