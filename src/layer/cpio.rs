//! cpio archives in the "newc" form, the only one that the kernel unpacks (Documentation/driver-api/early-userspace/
//! buffer-format.rst): a header of 110 characters, a name, a content, each padded to four bytes from the archive's start.
//!
//! Nothing here knows what an initramfs is. Every number of a header is believed only as far as there are bytes.

use std::collections::HashMap;
use std::ops::Range;
use thiserror::Error;

/// `c_magic` and thirteen numbers of eight hexadecimal digits.
const HEADER: usize = 110;

/// The name that ends an archive.
const TRAILER: &[u8] = b"TRAILER!!!";

/// The longest name that the kernel takes: `PATH_MAX`.
const LONGEST_NAME: usize = 4096;

/// The part of a mode that tells a file's type.
pub const TYPE: u32 = 0o170_000;
/// The type of a directory.
pub const DIRECTORY: u32 = 0o040_000;
/// The type of a regular file.
pub const REGULAR: u32 = 0o100_000;

/// One member of an archive.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Entry {
    /// Its name as it stands in the archive, without the NUL.
    pub path: Vec<u8>,
    /// Its type and permissions.
    pub mode: u32,
    /// Where its content lies in the bytes that were read. Hard links of one file share one content.
    pub content: Range<usize>,
}

/// Why bytes are no archive.
#[derive(Debug, Clone, PartialEq, Eq, Error)]
pub enum Damage {
    /// It ends in the middle of a member, or without its trailer.
    #[error("the cpio archive ends too early")]
    Truncated,
    /// What should be a header is none.
    #[error("there is no cpio header (newc) at byte {0} of the archive")]
    NoHeader(usize),
    /// A name is empty or longer than a path can be.
    #[error("a name in the cpio archive is {0} bytes long")]
    Name(usize),
}

/// What a header says that is needed here.
struct Header {
    mode: u32,
    links: u32,
    /// Inode, major and minor number: equal for the hard links of one file.
    file: (u32, u32, u32),
    content: usize,
    name: usize,
}

/// The members of the archive that begins at `start`, in their order, and where it ends: behind its trailer.
///
/// # Errors
/// If it is no archive, or ends before its trailer.
pub fn read(bytes: &[u8], start: usize) -> Result<(Vec<Entry>, usize), Damage> {
    let mut entries = Vec::new();
    let mut files = Vec::new();
    let mut at = start;
    loop {
        let header = header(bytes, at).ok_or_else(|| no_header(bytes, at, start))?;
        if header.name == 0 || header.name > LONGEST_NAME {
            return Err(Damage::Name(header.name));
        }
        let name = at + HEADER;
        let content = start + padded(name + header.name - start);
        let end = content.checked_add(header.content).filter(|end| *end <= bytes.len());
        let end = end.ok_or(Damage::Truncated)?;
        let path = &bytes[name..name + header.name];
        let path = path.split(|byte| *byte == 0).next().unwrap_or(path);
        at = start + padded(end - start);
        if path == TRAILER {
            share_hard_links(&mut entries, &files);
            return Ok((entries, end));
        }
        entries.push(Entry { path: path.to_vec(), mode: header.mode, content: content..end });
        files.push((header.links > 1).then_some(header.file));
    }
}

fn no_header(bytes: &[u8], at: usize, start: usize) -> Damage {
    if bytes.len() < at.saturating_add(HEADER) { Damage::Truncated } else { Damage::NoHeader(at - start) }
}

fn header(bytes: &[u8], at: usize) -> Option<Header> {
    let header = bytes.get(at..at.checked_add(HEADER)?)?;
    if !header.starts_with(b"070701") && !header.starts_with(b"070702") {
        return None;
    }
    let number = |n: usize| {
        let digits = &header[6 + 8 * n..14 + 8 * n];
        let digits = std::str::from_utf8(digits).ok().filter(|digits| !digits.starts_with('+'))?;
        u32::from_str_radix(digits, 16).ok()
    };
    Some(Header {
        file: (number(0)?, number(7)?, number(8)?),
        mode: number(1)?,
        links: number(4)?,
        content: number(6)? as usize,
        name: number(11)? as usize,
    })
}

/// Of several hard links only one carries the content; the kernel links the others to it.
fn share_hard_links(entries: &mut [Entry], files: &[Option<(u32, u32, u32)>]) {
    let contents: HashMap<_, _> = entries
        .iter()
        .zip(files)
        .filter(|(entry, file)| file.is_some() && !entry.content.is_empty())
        .map(|(entry, file)| (*file, entry.content.clone()))
        .collect();
    for (entry, file) in entries.iter_mut().zip(files).filter(|(_, file)| file.is_some()) {
        if let Some(content) = contents.get(file).filter(|_| entry.mode & TYPE == REGULAR) {
            entry.content = content.clone();
        }
    }
}

/// An archive of `members` (path, mode, content) with its trailer, in this order; all belong to root and to 1970.
pub fn write<'a>(members: impl IntoIterator<Item = (&'a [u8], u32, &'a [u8])>) -> Vec<u8> {
    let mut archive = Vec::new();
    for (inode, (path, mode, content)) in (1..).zip(members) {
        append(&mut archive, inode, path, mode, content);
    }
    append(&mut archive, 0, TRAILER, 0, b"");
    archive
}

fn append(archive: &mut Vec<u8>, inode: u32, path: &[u8], mode: u32, content: &[u8]) {
    let size = u32::try_from(content.len()).expect("what a boot reads of a file system is below 4 GiB");
    let name = u32::try_from(path.len() + 1).expect("a path is at most 4096 bytes");
    let links = if mode & TYPE == DIRECTORY { 2 } else { 1 };
    archive.extend(b"070701");
    for number in [inode, mode, 0, 0, links, 0, size, 0, 0, 0, 0, name, 0] {
        archive.extend(format!("{number:08X}").bytes());
    }
    archive.extend(path);
    archive.push(0);
    archive.resize(padded(archive.len()), 0);
    archive.extend(content);
    archive.resize(padded(archive.len()), 0);
}

fn padded(length: usize) -> usize {
    length.next_multiple_of(4)
}

#[cfg(test)]
mod tests {
    use super::*;

    fn sample() -> Vec<u8> {
        let members: [(&[u8], u32, &[u8]); 3] = [
            (b"etc", 0o040_755, b""),
            (b"etc/crypttab", 0o100_600, b"vda5_crypt"),
            (b"b\xff", 0o100_644, b""),
        ];
        write(members)
    }

    #[test]
    fn what_is_written_is_read_back() {
        let archive = sample();
        let (entries, end) = read(&archive, 0).expect("it was just written");
        let read: Vec<_> = entries
            .iter()
            .map(|entry| (entry.path.as_slice(), entry.mode, &archive[entry.content.clone()]))
            .collect();
        assert_eq!(write(read), archive);
        assert_eq!((entries.len(), end), (3, archive.len()));
        assert_eq!(&archive[entries[1].content.clone()], b"vda5_crypt");
    }

    #[test]
    fn padding_counts_from_the_archives_own_start() {
        let archive = sample();
        let shifted = [b"abc", archive.as_slice()].concat();
        let (entries, end) = read(&shifted, 3).expect("it is the same archive");
        assert_eq!((&shifted[entries[1].content.clone()], end), (b"vda5_crypt".as_slice(), shifted.len()));
    }

    #[test]
    fn an_archive_that_ends_anywhere_too_early_is_named_so() {
        let archive = sample();
        for length in 0..archive.len() - 3 {
            assert_eq!(read(&archive[..length], 0), Err(Damage::Truncated), "{length}");
        }
    }

    #[test]
    fn what_is_no_header_and_what_is_no_name_is_named() {
        let archive = sample();
        let other = String::from_utf8_lossy(&archive).replace("070701", "070707");
        assert_eq!(read(other.as_bytes(), 0), Err(Damage::NoHeader(0)));
        let mut nameless = archive.clone();
        nameless[94..102].copy_from_slice(b"00000000");
        assert_eq!(read(&nameless, 0), Err(Damage::Name(0)));
        nameless[94..102].copy_from_slice(b"FFFFFFFF");
        assert_eq!(read(&nameless, 0), Err(Damage::Name(0xffff_ffff)));
        nameless[94..102].copy_from_slice(b"+0000004");
        assert_eq!(read(&nameless, 0), Err(Damage::NoHeader(0)));
    }

    #[test]
    fn hard_links_share_the_content_that_one_of_them_carries() {
        let members: [(&[u8], u32, &[u8]); 3] =
            [(b"a", 0o100_755, b""), (b"b", 0o100_755, b"program"), (b"c", 0o100_755, b"")];
        let mut archive = write(members);
        let headers = archive.windows(6).enumerate().filter(|(_, at)| at == b"070701").map(|(at, _)| at);
        for header in headers.take(2).collect::<Vec<_>>() {
            archive[header + 6..header + 14].copy_from_slice(b"0000000A");
            archive[header + 38..header + 46].copy_from_slice(b"00000002");
        }
        let (entries, _) = read(&archive, 0).expect("it is an archive");
        let content = |n: usize| &archive[entries[n].content.clone()];
        assert_eq!(
            (content(0), content(1), content(2)),
            (b"program".as_slice(), b"program".as_slice(), &b""[..])
        );
    }
}
