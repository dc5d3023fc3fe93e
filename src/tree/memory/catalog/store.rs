//! A catalog's file as it was written: its page, its index in memory, its blocks as they are asked for.

use super::format::{
    DirKey, HEAD, Head, INDEX_ENTRY, IndexEntry, Row, RowAt, TAIL, checksum, decode_index, is_sound, rows,
    tails_are_sound,
};
use super::page::{PAGE, Page, STATE_AT, Unreadable, WRITING};
use std::fs::{File, OpenOptions};
use std::io;
use std::os::unix::fs::{FileExt, OpenOptionsExt};
use std::path::{Path, PathBuf};
use std::sync::atomic::{AtomicBool, AtomicU64, Ordering::Relaxed};

/// What is read at once: most blocks are smaller.
const FIRST_READ: usize = 4096;

/// One file, open.
#[derive(Debug)]
pub struct Store {
    file: File,
    path: PathBuf,
    pub page: Page,
    /// Whether the mirror was being written when the program ended.
    pub was_writing: bool,
    /// Sorted by inode.
    index: Vec<IndexEntry>,
    /// A bit for each entry of the index: whether its block was found to be as the source's directory is.
    kept: Vec<AtomicU64>,
    damaged: AtomicBool,
}

/// A block's rows, read and found sound.
#[derive(Debug)]
pub struct Block<'a> {
    pub head: Head,
    bytes: &'a [u8],
    /// Where it lies.
    pub place: Place,
}

/// Where a block lies, to be asked for its tails, or kept.
#[derive(Debug, Clone, Copy)]
pub struct Place {
    /// Whether it is in the file that adds to the other.
    pub in_delta: bool,
    entry: usize,
    offset: u64,
}

impl<'a> Block<'a> {
    /// The rows, each with its number among the files.
    pub fn rows(&self) -> impl Iterator<Item = (Row<'a>, Option<u32>)> + use<'a> {
        rows(self.head, self.bytes)
    }
    /// Where the rows stand, by their names.
    pub fn by_name(&self) -> Vec<RowAt> {
        RowAt::all(self.head, self.bytes)
    }
    /// The name of a row.
    pub fn name_at(&self, at: &RowAt) -> &'a [u8] {
        at.name(self.bytes)
    }
    /// A row, with its number among the files.
    pub fn row_at(&self, at: &RowAt) -> Option<(Row<'a>, Option<u32>)> {
        at.row(self.bytes)
    }
}

/// What a store says of a directory.
pub enum Lookup {
    /// Nothing.
    None,
    /// That nothing is to be believed of it, whatever an older file says.
    Forgotten,
    /// This entry of the index.
    At(usize),
}

impl Store {
    /// Opens `path`; none if there is no such file.
    ///
    /// # Errors
    /// The system's; `Unreadable` if it is no catalog that can be used.
    pub fn open(path: &Path) -> io::Result<Option<Result<Store, Unreadable>>> {
        // Something else in its place neither blocks nor leads away.
        let flags = libc::O_NOFOLLOW | libc::O_NONBLOCK;
        let file = match OpenOptions::new().read(true).custom_flags(flags).open(path) {
            Err(error) if error.kind() == io::ErrorKind::NotFound => return Ok(None),
            other => other?,
        };
        Ok(Some(Self::read(file, path.to_owned())?))
    }
    fn read(file: File, path: PathBuf) -> io::Result<Result<Store, Unreadable>> {
        let mut page = vec![0; PAGE];
        if !fills(&file, &mut page, 0)? {
            return Ok(Err(Unreadable::Damaged));
        }
        let (page, was_writing) = match Page::decode(&page) {
            Ok(read) => read,
            Err(unreadable) => return Ok(Err(unreadable)),
        };
        let (offset, count, sum) = page.index;
        let size = file.metadata()?.len();
        let length =
            count.checked_mul(INDEX_ENTRY as u64).filter(|length| offset.checked_add(*length) == Some(size));
        let Some(length) = length else { return Ok(Err(Unreadable::Damaged)) };
        let mut bytes = vec![0; length as usize];
        if !fills(&file, &mut bytes, offset)? || checksum(&bytes) != sum {
            return Ok(Err(Unreadable::Damaged));
        }
        let index = decode_index(&bytes);
        let kept = (0..index.len().div_ceil(64)).map(|_| AtomicU64::new(0)).collect();
        Ok(Ok(Store { file, path, page, was_writing, index, kept, damaged: AtomicBool::new(false) }))
    }
    /// Looks a directory up.
    pub fn find(&self, ino: u64) -> Lookup {
        match self.index.binary_search_by_key(&ino, |entry| entry.ino) {
            Ok(at) if self.index[at].offset == 0 => Lookup::Forgotten,
            Ok(at) => Lookup::At(at),
            Err(_) => Lookup::None,
        }
    }
    /// Reads the rows of a directory into `room`; none if they are another's, or damaged.
    pub fn block<'a>(
        &self,
        entry: usize,
        key: DirKey,
        in_delta: bool,
        room: &'a mut Vec<u8>,
    ) -> Option<Block<'a>> {
        let offset = self.index[entry].offset;
        let Some(head) = self.read_head(offset, room) else {
            self.damaged.store(true, Relaxed);
            return None;
        };
        (head.key == key).then_some(Block { head, bytes: room, place: Place { in_delta, entry, offset } })
    }
    fn read_head(&self, offset: u64, room: &mut Vec<u8>) -> Option<Head> {
        room.resize(FIRST_READ, 0);
        let got = self.file.read_at(room, offset).ok()?;
        let head = Head::decode(&room[..got])?;
        let length = head.length as usize;
        // What a damaged head says of its length must not cost memory.
        let end = offset.checked_add(length as u64)?;
        if end > self.page.index.0 {
            return None;
        }
        room.resize(length, 0);
        if length > got {
            self.file.read_exact_at(&mut room[got..], offset + got as u64).ok()?;
        }
        is_sound(room).then_some(head)
    }
    /// The tails of a block's files; none if they are damaged.
    pub fn tails(&self, head: &Head, place: Place) -> Option<Vec<u8>> {
        let mut block = vec![0; head.whole()];
        self.file.read_exact_at(&mut block, place.offset).ok()?;
        let length = head.length as usize;
        if !tails_are_sound(&block, length) {
            self.damaged.store(true, Relaxed);
            return None;
        }
        Some(block.split_off(length)).filter(|tails| tails.len() == head.files as usize * TAIL)
    }
    /// Notes that a block is as the source's directory is.
    pub fn keep(&self, place: Place) {
        self.kept[place.entry / 64].fetch_or(1 << (place.entry % 64), Relaxed);
    }
    fn is_kept(&self, entry: usize) -> bool {
        self.kept[entry / 64].load(Relaxed) & (1 << (entry % 64)) != 0
    }
    /// The entries of the index in the order of the file, those that were kept or all; and whether each was.
    pub fn entries(&self, only_kept: bool) -> Vec<(IndexEntry, bool)> {
        let all = self.index.iter().enumerate().map(|(at, entry)| (*entry, self.is_kept(at)));
        let mut entries: Vec<_> = all.filter(|(_, is_kept)| !only_kept || *is_kept).collect();
        entries.sort_unstable_by_key(|(entry, _)| entry.offset);
        entries
    }
    /// A whole block as it lies there; none if it is damaged.
    pub fn whole(&self, offset: u64, room: &mut Vec<u8>) -> io::Result<bool> {
        room.resize(HEAD, 0);
        self.file.read_exact_at(room, offset)?;
        let Some(head) = Head::decode(room).filter(|head| head.whole() as u64 <= self.page.index.0) else {
            return Ok(false);
        };
        room.resize(head.whole(), 0);
        self.file.read_exact_at(room, offset)?;
        Ok(is_sound(&room[..head.length as usize]))
    }
    /// Bytes of all blocks.
    pub fn size(&self) -> u64 {
        self.page.index.0.saturating_sub(PAGE as u64)
    }
    /// Whether something in it was found damaged.
    pub fn is_damaged(&self) -> bool {
        self.damaged.load(Relaxed)
    }
    /// Says on the disk that the mirror is being written: until the next file takes this one's place, nothing of it is
    /// believed.
    ///
    /// # Errors
    /// The system's.
    pub fn mark_writing(&self) -> io::Result<()> {
        let file = OpenOptions::new().write(true).custom_flags(libc::O_NOFOLLOW).open(&self.path)?;
        file.write_all_at(&[WRITING], STATE_AT)?;
        file.sync_data()
    }
}

/// Reads exactly so much; false if there is less.
fn fills(file: &File, room: &mut [u8], at: u64) -> io::Result<bool> {
    match file.read_exact_at(room, at) {
        Err(error) if error.kind() == io::ErrorKind::UnexpectedEof => Ok(false),
        other => other.map(|()| true),
    }
}
