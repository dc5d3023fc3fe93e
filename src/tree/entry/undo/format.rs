//! An undo file: whose old content it keeps, and the content, piece by piece. All numbers are little-endian.

use crate::sys::stat::{Stat, Timestamp};
use crate::tree::memory::blocks::Inode;

const MAGIC: &[u8; 16] = b"diskmirror undo\n";
/// The version of the form.
const FORMAT: u32 = 1;
/// Bytes before the path.
const HEAD: usize = 84;
/// Bytes before what a record keeps.
pub const RECORD: usize = 32;
/// The longest path that is taken for one.
const LONGEST_PATH: usize = 1 << 20;

/// Whose content it is, and what the file was before.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Head {
    /// Which file of the mirror.
    pub inode: Inode,
    /// Its permissions and owner.
    pub mode: u32,
    pub owner: (u32, u32),
    /// Its time.
    pub mtime: Timestamp,
    /// Its size in bytes.
    pub size: u64,
    /// Where it is, below the root of the tree.
    pub path: Vec<u8>,
}

impl Head {
    /// That of the file which `stat` describes; none where inodes cannot be told apart.
    pub fn of(stat: &Stat, path: &[u8]) -> Option<Head> {
        Some(Head {
            inode: Inode::of(stat)?,
            mode: stat.mode,
            owner: (stat.uid, stat.gid),
            mtime: stat.mtime,
            size: stat.size,
            path: path.to_vec(),
        })
    }
    /// Its form: a checksum ends it.
    pub fn encode(&self) -> Vec<u8> {
        let mut out = MAGIC.to_vec();
        out.extend(FORMAT.to_le_bytes());
        out.extend((self.path.len() as u32).to_le_bytes());
        out.extend(self.inode.ino.to_le_bytes());
        put_time(&mut out, self.inode.btime);
        [self.mode, self.owner.0, self.owner.1].iter().for_each(|number| out.extend(number.to_le_bytes()));
        put_time(&mut out, self.mtime);
        out.extend(self.size.to_le_bytes());
        out.extend([0; 8]);
        out.extend(&self.path);
        out.extend(checksum(&[&out]));
        out
    }
    /// What `encode` wrote, at the beginning of `bytes`, and how long that is.
    pub fn decode(bytes: &[u8]) -> Option<(Head, usize)> {
        let head = bytes.first_chunk::<HEAD>()?;
        let length = u32_at(head, 20) as usize;
        if head[..16] != *MAGIC || u32_at(head, 16) != FORMAT || length > LONGEST_PATH {
            return None;
        }
        let sum = bytes.get(HEAD + length..HEAD + length + 8)?;
        if sum != checksum(&[&bytes[..HEAD + length]]) {
            return None;
        }
        let head = Head {
            inode: Inode { ino: u64_at(head, 24), btime: time_at(head, 32) },
            mode: u32_at(head, 44),
            owner: (u32_at(head, 48), u32_at(head, 52)),
            mtime: time_at(head, 56),
            size: u64_at(head, 68),
            path: bytes[HEAD..HEAD + length].to_vec(),
        };
        Some((head, HEAD + length + 8))
    }
}

/// What one record says.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Record {
    /// This many bytes stood at this place; they follow.
    Data { at: u64, length: u64 },
    /// A hole was there.
    Hole { at: u64, length: u64 },
    /// All is written, and the new version holds: what is missing is this size and this time.
    Done { size: u64, mtime: Timestamp },
}

impl Record {
    /// Its form, without the bytes that it keeps; their checksum is in it.
    pub fn encode(&self, kept: &[u8]) -> [u8; RECORD] {
        let (kind, a, b, c) = match *self {
            Record::Data { at, length } => (1u32, at, length, 0),
            Record::Hole { at, length } => (2, at, length, 0),
            Record::Done { size, mtime } => (3, size, mtime.secs as u64, mtime.nanos),
        };
        let mut out = [0; RECORD];
        out[..4].copy_from_slice(&kind.to_le_bytes());
        out[4..8].copy_from_slice(&c.to_le_bytes());
        out[8..16].copy_from_slice(&a.to_le_bytes());
        out[16..24].copy_from_slice(&b.to_le_bytes());
        let sum = checksum(&[&out[..24], kept]);
        out[24..].copy_from_slice(&sum);
        out
    }
    /// What `encode` wrote, before its checksum was looked at: that needs the bytes.
    pub fn decode(bytes: &[u8; RECORD]) -> Option<Record> {
        let (a, b) = (u64_at(bytes, 8), u64_at(bytes, 16));
        Some(match u32_at(bytes, 0) {
            1 => Record::Data { at: a, length: b },
            2 => Record::Hole { at: a, length: b },
            3 => Record::Done { size: a, mtime: Timestamp { secs: b as i64, nanos: u32_at(bytes, 4) } },
            _ => return None,
        })
    }
    /// Bytes that follow.
    pub fn kept(&self) -> u64 {
        if let Record::Data { length, .. } = self { *length } else { 0 }
    }
}

/// The first 8 bytes of BLAKE3 of several parts.
fn checksum(parts: &[&[u8]]) -> [u8; 8] {
    let mut hasher = blake3::Hasher::new();
    for part in parts {
        hasher.update(part);
    }
    hasher.finalize().as_bytes().first_chunk().copied().unwrap_or_default()
}

fn put_time(out: &mut Vec<u8>, time: Timestamp) {
    out.extend(time.secs.to_le_bytes());
    out.extend(time.nanos.to_le_bytes());
}

fn u32_at(bytes: &[u8], at: usize) -> u32 {
    bytes[at..].first_chunk().map_or(0, |bytes| u32::from_le_bytes(*bytes))
}

fn u64_at(bytes: &[u8], at: usize) -> u64 {
    bytes[at..].first_chunk().map_or(0, |bytes| u64::from_le_bytes(*bytes))
}

fn time_at(bytes: &[u8], at: usize) -> Timestamp {
    Timestamp { secs: u64_at(bytes, at) as i64, nanos: u32_at(bytes, at + 8) }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn head() -> Head {
        let mtime = Timestamp { secs: -9, nanos: 5 };
        let inode = Inode { ino: 1 << 40, btime: Timestamp { secs: 7, nanos: 999 } };
        Head {
            inode,
            mode: 0o640,
            owner: (1000, 5),
            mtime,
            size: 1 << 33,
            path: b"var/lib/\xff\n.img".to_vec(),
        }
    }

    #[test]
    fn a_head_is_read_back_and_none_that_is_cut_short_or_damaged() {
        let bytes = head().encode();
        assert_eq!(Head::decode(&[&bytes[..], b"more"].concat()), Some((head(), bytes.len())));
        for at in 0..bytes.len() {
            let mut damaged = bytes.clone();
            damaged[at] ^= 1;
            assert_eq!((Head::decode(&bytes[..at]), Head::decode(&damaged)), (None, None), "byte {at}");
        }
    }

    #[test]
    fn a_record_is_read_back_and_its_checksum_covers_what_it_keeps() {
        let mtime = Timestamp { secs: -1, nanos: 999_999_999 };
        let all = [
            Record::Data { at: 1 << 40, length: 3 },
            Record::Hole { at: 0, length: 1 << 41 },
            Record::Done { size: 12, mtime },
        ];
        for record in all {
            assert_eq!(Record::decode(&record.encode(b"abc")), Some(record));
            assert_ne!(record.encode(b"abc"), record.encode(b"abd"));
        }
    }
}
