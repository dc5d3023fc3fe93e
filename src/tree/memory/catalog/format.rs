//! The catalog's bytes: a page that says what the file is, a block for each directory, an index. Pure.
//!
//! All numbers are little-endian. A block is a head, a row for each entry, the names, and a tail for each regular file:
//! what is asked for seldom. Its checksums are the first 8 bytes of BLAKE3.

use crate::sys::stat::{Kind, Timestamp};
use std::collections::BTreeSet;

/// Bytes of a block's head.
pub const HEAD: usize = 88;
/// Bytes of a row.
pub const ROW: usize = 24;
/// Bytes of a hash.
pub const HASH: usize = 32;
/// Bytes of a file's tail: the hash, and when the file was made.
pub const TAIL: usize = HASH + 12;
/// A name is no longer (NAME_MAX).
const LONGEST_NAME: usize = 255;

/// The mirror's directory may hold what the rows do not tell: it must be listed.
const UNSETTLED: u32 = 1;
/// The entry is compared whatever its row says.
const UNPROVEN: u8 = 0x80;

/// A directory, whatever its path: its inode, and when it was made, where the file system tells.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
pub struct DirKey {
    pub ino: u64,
    pub btime: Timestamp,
}

/// One entry of a directory as it was when the mirror's was equal.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Row<'a> {
    pub ino: u64,
    /// Its ctime; of a directory the time it was made, because its ctime is its own block's affair.
    pub stamp: Timestamp,
    pub kind: Kind,
    /// Whether the row proves nothing: the mirror's is to hold something else than the source's, or was not brought to its
    /// end.
    pub unproven: bool,
    pub name: &'a [u8],
}

/// What is kept of a regular file besides its row.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
pub struct Tail {
    /// BLAKE3 of its content, as it was copied; zeros if that is not known.
    pub hash: [u8; HASH],
    /// When it was made, where the file system tells.
    pub btime: Timestamp,
}

impl Tail {
    fn encode(&self, out: &mut Vec<u8>) {
        out.extend(self.hash);
        out.extend(self.btime.secs.to_le_bytes());
        out.extend(self.btime.nanos.to_le_bytes());
    }
    /// The one of file `number` among `all` of a block.
    pub fn of(all: &[u8], number: u32) -> Option<Tail> {
        let bytes: &[u8; TAIL] = all.get(number as usize * TAIL..)?.first_chunk()?;
        Some(Tail { hash: *bytes.first_chunk()?, btime: time_at(bytes, HASH) })
    }
    /// The hash, if it is known.
    pub fn known_hash(&self) -> Option<[u8; HASH]> {
        (self.hash != [0; HASH]).then_some(self.hash)
    }
}

/// What stands at the beginning of a block.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Head {
    pub key: DirKey,
    /// The directory's own ctime.
    pub ctime: Timestamp,
    /// The moment before the source was flushed for this look: what was changed shortly before, or later, may have
    /// changed once more in the same tick.
    pub looked_at: Timestamp,
    /// Stands for the directory's path: only to find the block again in the run that writes it.
    pub path_hash: u64,
    /// Whether the mirror's directory must be listed, because something in it was not brought to its end.
    pub unsettled: bool,
    /// Entries.
    pub rows: u32,
    /// Entries that are regular files.
    pub files: u32,
    /// Bytes of head, rows and names.
    pub length: u32,
}

impl Head {
    /// Bytes of the whole block.
    pub fn whole(&self) -> usize {
        self.length as usize + self.files as usize * TAIL
    }
    /// Reads a head. What it says is to be believed only after `check`.
    pub fn decode(bytes: &[u8]) -> Option<Head> {
        let bytes: &[u8; HEAD] = bytes.first_chunk()?;
        let head = Head {
            length: u32_at(bytes, 16),
            rows: u32_at(bytes, 20),
            key: DirKey { ino: u64_at(bytes, 24), btime: time_at(bytes, 32) },
            unsettled: u32_at(bytes, 44) & UNSETTLED != 0,
            ctime: time_at(bytes, 48),
            files: u32_at(bytes, 60),
            looked_at: time_at(bytes, 64),
            path_hash: u64_at(bytes, 80),
        };
        let possible = HEAD + head.rows as usize * ROW <= head.length as usize && head.files <= head.rows;
        possible.then_some(head)
    }
    fn encode(&self, out: &mut [u8]) {
        out[16..20].copy_from_slice(&self.length.to_le_bytes());
        out[20..24].copy_from_slice(&self.rows.to_le_bytes());
        out[24..32].copy_from_slice(&self.key.ino.to_le_bytes());
        put_time(out, 32, self.key.btime);
        out[44..48].copy_from_slice(&if self.unsettled { UNSETTLED } else { 0 }.to_le_bytes());
        put_time(out, 48, self.ctime);
        out[60..64].copy_from_slice(&self.files.to_le_bytes());
        put_time(out, 64, self.looked_at);
        out[80..88].copy_from_slice(&self.path_hash.to_le_bytes());
    }
}

/// Makes a block: rows first, then `finish`.
#[derive(Debug, Default)]
pub struct Draft {
    rows: Vec<u8>,
    names: Vec<u8>,
    tails: Vec<u8>,
    count: u32,
}

impl Draft {
    /// Empties it, and keeps the room.
    pub fn clear(&mut self) {
        self.rows.clear();
        self.names.clear();
        self.tails.clear();
        self.count = 0;
    }
    /// Adds a row, in the order of inodes, then names, and the tail of a regular file; its hash is known of one that has not
    /// changed since it was copied. Gives back the place of a file's hash within the block's tails.
    pub fn push(&mut self, row: &Row<'_>, tail: &Tail) -> Option<u64> {
        debug_assert!(row.name.len() <= LONGEST_NAME);
        self.rows.extend(row.ino.to_le_bytes());
        self.rows.extend(row.stamp.secs.to_le_bytes());
        self.rows.extend(row.stamp.nanos.to_le_bytes());
        self.rows.push(kind_code(row.kind) | if row.unproven { UNPROVEN } else { 0 });
        self.rows.push(row.name.len() as u8);
        self.rows.extend([0; 2]);
        self.names.extend(row.name);
        self.count += 1;
        if row.kind != Kind::File {
            return None;
        }
        let place = self.tails.len() as u64;
        tail.encode(&mut self.tails);
        Some(place)
    }
    /// The whole block, but for its checksums: `seal` gives it those. The counts in `head` are set here.
    pub fn finish(&self, mut head: Head, out: &mut Vec<u8>) -> Head {
        head.rows = self.count;
        head.files = (self.tails.len() / TAIL) as u32;
        head.length = (HEAD + self.rows.len() + self.names.len()) as u32;
        out.clear();
        out.resize(HEAD, 0);
        head.encode(out);
        out.extend(&self.rows);
        out.extend(&self.names);
        out.extend(&self.tails);
        head
    }
}

/// Marks a whole block: its directory is not settled, and the rows of `names` prove nothing. What a directory's row says
/// stays: whether it is there, the mirror is asked; what is in it, its own block knows.
pub fn unsettle(block: &mut [u8], head: &Head, names: &BTreeSet<Box<[u8]>>) {
    block[44..48].copy_from_slice(&UNSETTLED.to_le_bytes());
    let is_concerned = |(row, _): &(Row<'_>, _)| row.kind != Kind::Dir && names.contains(row.name);
    let found = rows(*head, block).enumerate().filter(|(_, row)| is_concerned(row));
    let concerned: Vec<usize> = found.map(|(number, _)| number).collect();
    for number in concerned {
        block[HEAD + number * ROW + 20] |= UNPROVEN;
    }
}

/// Gives a whole block its checksums.
pub fn seal(block: &mut [u8], length: usize) {
    let tails = checksum(&block[length..]);
    block[8..16].copy_from_slice(&tails.to_le_bytes());
    let head = checksum(&block[8..length]);
    block[..8].copy_from_slice(&head.to_le_bytes());
}

/// Whether head, rows and names are as they were sealed. `bytes` ends with the names.
pub fn is_sound(bytes: &[u8]) -> bool {
    bytes.len() >= HEAD && u64_at(bytes, 0) == checksum(&bytes[8..])
}

/// Whether a whole block's tails are as they were sealed, if its head is.
pub fn tails_are_sound(block: &[u8], length: usize) -> bool {
    u64_at(block, 8) == checksum(&block[length..])
}

/// The first 8 bytes of BLAKE3.
pub fn checksum(bytes: &[u8]) -> u64 {
    u64_at(blake3::hash(bytes).as_bytes(), 0)
}

/// The rows of a sound block, in order, each with its number among the files.
pub fn rows(head: Head, bytes: &[u8]) -> impl Iterator<Item = (Row<'_>, Option<u32>)> {
    let (rows, mut names) = bytes[HEAD..head.length as usize].split_at(head.rows as usize * ROW);
    let mut file = 0;
    rows.chunks_exact(ROW).map_while(move |row| {
        let (name, rest) = names.split_at_checked(usize::from(row[21]))?;
        names = rest;
        let row = decode_row(row, name)?;
        let number = (row.kind == Kind::File).then_some(file);
        file += u32::from(row.kind == Kind::File);
        Some((row, number))
    })
}

/// Where a row of a sound block stands, to find it by its name.
#[derive(Debug, Clone, Copy)]
pub struct RowAt {
    row: u32,
    /// Where its name begins.
    name: u32,
    /// Its number among the files, if it is one.
    file: u32,
}

impl RowAt {
    /// All of a block, sorted by name.
    pub fn all(head: Head, bytes: &[u8]) -> Vec<RowAt> {
        let (mut name, mut file) = ((HEAD + head.rows as usize * ROW) as u32, 0);
        let all = rows(head, bytes).zip(0..).map(|((found, number), row)| {
            let at = RowAt { row, name, file };
            (name, file) = (name + found.name.len() as u32, file + u32::from(number.is_some()));
            at
        });
        let mut all: Vec<RowAt> = all.collect();
        all.sort_unstable_by(|a, b| a.name(bytes).cmp(b.name(bytes)));
        all
    }
    /// Its name.
    pub fn name<'a>(&self, bytes: &'a [u8]) -> &'a [u8] {
        let length = bytes[HEAD + self.row as usize * ROW + 21];
        &bytes[self.name as usize..][..usize::from(length)]
    }
    /// The row, with its number among the files.
    pub fn row<'a>(&self, bytes: &'a [u8]) -> Option<(Row<'a>, Option<u32>)> {
        let row = decode_row(&bytes[HEAD + self.row as usize * ROW..][..ROW], self.name(bytes))?;
        Some((row, (row.kind == Kind::File).then_some(self.file)))
    }
}

fn decode_row<'a>(row: &[u8], name: &'a [u8]) -> Option<Row<'a>> {
    let (kind, unproven) = (kind_of(row[20] & !UNPROVEN)?, row[20] & UNPROVEN != 0);
    Some(Row { ino: u64_at(row, 0), stamp: time_at(row, 8), kind, unproven, name })
}

/// One entry of the index: a directory's inode, and where its block lies; nowhere if none is to be believed.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord)]
pub struct IndexEntry {
    pub ino: u64,
    pub offset: u64,
}

/// Bytes of an index entry.
pub const INDEX_ENTRY: usize = 16;

/// The index as it is written.
pub fn encode_index(index: &[IndexEntry]) -> Vec<u8> {
    index.iter().flat_map(|entry| [entry.ino.to_le_bytes(), entry.offset.to_le_bytes()]).flatten().collect()
}

/// The index as it is read.
pub fn decode_index(bytes: &[u8]) -> Vec<IndexEntry> {
    let entry = |at: &[u8]| IndexEntry { ino: u64_at(at, 0), offset: u64_at(at, 8) };
    bytes.chunks_exact(INDEX_ENTRY).map(entry).collect()
}

const KINDS: [Kind; 7] =
    [Kind::File, Kind::Dir, Kind::Symlink, Kind::Fifo, Kind::Socket, Kind::Block, Kind::Char];

fn kind_code(kind: Kind) -> u8 {
    KINDS.iter().position(|known| *known == kind).unwrap_or(0) as u8
}

fn kind_of(code: u8) -> Option<Kind> {
    KINDS.get(usize::from(code)).copied()
}

fn u32_at(bytes: &[u8], at: usize) -> u32 {
    u32::from_le_bytes([bytes[at], bytes[at + 1], bytes[at + 2], bytes[at + 3]])
}

fn u64_at(bytes: &[u8], at: usize) -> u64 {
    u64::from(u32_at(bytes, at)) | u64::from(u32_at(bytes, at + 4)) << 32
}

fn time_at(bytes: &[u8], at: usize) -> Timestamp {
    Timestamp { secs: u64_at(bytes, at) as i64, nanos: u32_at(bytes, at + 8) }
}

fn put_time(out: &mut [u8], at: usize, time: Timestamp) {
    out[at..at + 8].copy_from_slice(&time.secs.to_le_bytes());
    out[at + 8..at + 12].copy_from_slice(&time.nanos.to_le_bytes());
}

#[cfg(test)]
mod tests {
    use super::*;

    const EPOCH: Timestamp = Timestamp { secs: 0, nanos: 0 };
    const MADE: Tail = Tail { hash: [7; HASH], btime: Timestamp { secs: -1, nanos: 5 } };

    fn row(ino: u64, kind: Kind, name: &[u8]) -> Row<'_> {
        Row { ino, stamp: Timestamp { secs: -5, nanos: 999 }, kind, unproven: ino % 2 == 1, name }
    }

    fn sealed() -> (Head, Vec<u8>, Vec<Row<'static>>) {
        let rows = vec![
            row(3, Kind::File, b"a"),
            row(4, Kind::Dir, &[0xff; 255]),
            row(u64::MAX - 1, Kind::File, b"c\n"),
        ];
        let (mut draft, mut block) = (Draft::default(), Vec::new());
        let places: Vec<_> = rows.iter().map(|row| draft.push(row, &MADE)).collect();
        assert_eq!(places, [Some(0), None, Some(TAIL as u64)]);
        let key = DirKey { ino: 2, btime: Timestamp { secs: 1, nanos: 2 } };
        let unfinished = Head {
            key,
            ctime: Timestamp { secs: 3, nanos: 4 },
            looked_at: EPOCH,
            path_hash: 5,
            unsettled: false,
            rows: 0,
            files: 0,
            length: 0,
        };
        let head = draft.finish(unfinished, &mut block);
        seal(&mut block, head.length as usize);
        (head, block, rows)
    }

    #[test]
    fn what_is_written_is_read_back() {
        let (head, block, written) = sealed();
        assert_eq!((Head::decode(&block), head.whole()), (Some(head), block.len()));
        assert!(is_sound(&block[..head.length as usize]) && tails_are_sound(&block, head.length as usize));
        let read: Vec<_> = rows(head, &block).collect();
        assert_eq!(read.iter().map(|(row, _)| *row).collect::<Vec<_>>(), written);
        assert_eq!(read.iter().map(|(_, file)| *file).collect::<Vec<_>>(), [Some(0), None, Some(1)]);
        let tails = &block[head.length as usize..];
        assert_eq!([0, 1, 2].map(|number| Tail::of(tails, number)), [Some(MADE), Some(MADE), None]);
    }

    #[test]
    fn no_flipped_bit_and_no_lost_byte_is_taken_for_sound() {
        let (head, block, _) = sealed();
        let length = head.length as usize;
        for at in 0..block.len() {
            let mut damaged = block.clone();
            damaged[at] ^= 1;
            let sound = is_sound(&damaged[..length]) && tails_are_sound(&damaged, length);
            assert!(!sound, "byte {at}");
        }
        assert!((0..length).all(|length| !is_sound(&block[..length])));
    }

    #[test]
    fn what_was_not_brought_to_its_end_is_marked_in_its_row_and_in_its_directory() {
        let (head, mut block, written) = sealed();
        let names = [b"c\n".as_slice(), &[0xff; 255], b"none"].map(Box::from).into_iter().collect();
        unsettle(&mut block, &head, &names);
        seal(&mut block, head.length as usize);
        assert!(is_sound(&block[..head.length as usize]));
        assert!(Head::decode(&block).is_some_and(|head| head.unsettled));
        let changed: Vec<bool> = rows(head, &block).zip(written).map(|((is, _), was)| is != was).collect();
        assert_eq!(changed, [false, false, true], "a directory's row stays");
    }

    #[test]
    fn an_index_is_read_back() {
        let index = [IndexEntry { ino: 1, offset: 4096 }, IndexEntry { ino: u64::MAX, offset: 0 }];
        assert_eq!(decode_index(&encode_index(&index)), index);
    }
}
