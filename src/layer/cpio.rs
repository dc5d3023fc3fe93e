//! cpio archives in the "newc" form, the only one that the kernel unpacks (Documentation/driver-api/early-userspace/
//! buffer-format.rst): a header of 110 characters, a name, a content, each padded to four bytes from the archive's start.
//!
//! Nothing here knows what an initramfs is. An archive is read member by member, and none of it is kept: every number of a
//! header is believed only as far as there are bytes.

use std::io::{self, BufRead, ErrorKind, Read};
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
    /// How long its content is.
    pub size: u64,
    /// What is the same for the hard links of one file: inode, major and minor number. Of several only one carries the
    /// content; the kernel links the others to it. None for a file of one name.
    pub file: Option<(u32, u32, u32)>,
}

/// Why bytes are no archive.
#[derive(Debug, Error)]
pub enum Damage {
    /// It ends in the middle of a member, or without its trailer.
    #[error("the cpio archive ends too early")]
    Truncated,
    /// What should be a header is none.
    #[error("there is no cpio header (newc) at byte {0} of the archive")]
    NoHeader(u64),
    /// A name is empty or longer than a path can be.
    #[error("a name in the cpio archive is {0} bytes long")]
    Name(u32),
    /// It cannot be read.
    #[error(transparent)]
    Read(io::Error),
}

impl From<io::Error> for Damage {
    fn from(error: io::Error) -> Self {
        if error.kind() == ErrorKind::UnexpectedEof { Damage::Truncated } else { Damage::Read(error) }
    }
}

/// What a header says that is needed here.
struct Header {
    mode: u32,
    links: u32,
    file: (u32, u32, u32),
    content: u32,
    name: u32,
}

/// An archive that is being read, from its start on; as `Read` it gives the content of the member that came last.
pub struct Archive<'s, S> {
    source: &'s mut S,
    /// Bytes since the archive's start.
    at: u64,
    /// What has not been read of the last member's content.
    left: u64,
}

impl<'s, S: BufRead> Archive<'s, S> {
    /// The archive that begins where `source` stands.
    pub fn begin(source: &'s mut S) -> Self {
        Archive { source, at: 0, left: 0 }
    }

    /// The next member; none at the trailer, behind which the source stands then.
    ///
    /// # Errors
    /// If it is no archive, or ends before its trailer; those of the source.
    pub fn next_entry(&mut self) -> Result<Option<Entry>, Damage> {
        self.skip(self.left)?;
        self.left = 0;
        self.pad()?;
        let start = self.at;
        let mut bytes = [0; HEADER];
        self.fill(&mut bytes)?;
        let header = header(&bytes).ok_or(Damage::NoHeader(start))?;
        if header.name == 0 || header.name as usize > LONGEST_NAME {
            return Err(Damage::Name(header.name));
        }
        let mut path = vec![0; header.name as usize];
        self.fill(&mut path)?;
        self.pad()?;
        path.truncate(path.iter().position(|byte| *byte == 0).unwrap_or(path.len()));
        let size = u64::from(header.content);
        if path == TRAILER {
            self.skip(size)?;
            return Ok(None);
        }
        self.left = size;
        Ok(Some(Entry { path, mode: header.mode, size, file: (header.links > 1).then_some(header.file) }))
    }

    fn fill(&mut self, buf: &mut [u8]) -> io::Result<()> {
        self.source.read_exact(buf)?;
        self.at += buf.len() as u64;
        Ok(())
    }

    fn pad(&mut self) -> io::Result<()> {
        self.skip(self.at.next_multiple_of(4) - self.at)
    }

    fn skip(&mut self, bytes: u64) -> io::Result<()> {
        let skipped = io::copy(&mut self.source.by_ref().take(bytes), &mut io::sink())?;
        self.at += skipped;
        if skipped == bytes { Ok(()) } else { Err(ErrorKind::UnexpectedEof.into()) }
    }
}

impl<S: BufRead> Read for Archive<'_, S> {
    fn read(&mut self, buf: &mut [u8]) -> io::Result<usize> {
        let most = buf.len().min(usize::try_from(self.left).unwrap_or(usize::MAX));
        let read = self.source.read(&mut buf[..most])?;
        if read == 0 && most > 0 {
            return Err(ErrorKind::UnexpectedEof.into());
        }
        self.at += read as u64;
        self.left -= read as u64;
        Ok(read)
    }
}

fn header(header: &[u8; HEADER]) -> Option<Header> {
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
        content: number(6)?,
        name: number(11)?,
    })
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
    use std::io::Cursor;

    fn sample() -> Vec<u8> {
        let members: [(&[u8], u32, &[u8]); 3] = [
            (b"etc", 0o040_755, b""),
            (b"etc/crypttab", 0o100_600, b"vda5_crypt"),
            (b"b\xff", 0o100_644, b""),
        ];
        write(members)
    }

    /// A member and its content.
    type Member = (Entry, Vec<u8>);

    /// All members, and where the archive ends.
    fn read(bytes: &[u8]) -> Result<(Vec<Member>, u64), Damage> {
        let (mut source, mut all) = (Cursor::new(bytes), Vec::new());
        let mut archive = Archive::begin(&mut source);
        while let Some(entry) = archive.next_entry()? {
            let mut content = Vec::new();
            archive.read_to_end(&mut content)?;
            all.push((entry, content));
        }
        Ok((all, source.position()))
    }

    #[test]
    fn what_is_written_is_read_back() {
        let archive = sample();
        let behind = [archive.as_slice(), b"what follows"].concat();
        let (entries, end) = read(&behind).expect("it was just written");
        let read = entries.iter().map(|(entry, content)| (&*entry.path, entry.mode, &**content));
        assert_eq!(write(read), archive);
        assert_eq!((entries.len(), end), (3, archive.len() as u64));
        assert_eq!(entries[1].1, b"vda5_crypt");
    }

    #[test]
    fn contents_that_nobody_reads_are_passed_over() {
        let archive = sample();
        let mut source = Cursor::new(&archive);
        let mut archive = Archive::begin(&mut source);
        let mut names = Vec::new();
        while let Some(entry) = archive.next_entry().expect("it is an archive") {
            names.push((entry.path, entry.size));
        }
        assert_eq!(names, [(b"etc".to_vec(), 0), (b"etc/crypttab".to_vec(), 10), (b"b\xff".to_vec(), 0)]);
    }

    #[test]
    fn an_archive_that_ends_anywhere_too_early_is_named_so() {
        let archive = sample();
        for length in 0..archive.len() - 3 {
            assert!(matches!(read(&archive[..length]), Err(Damage::Truncated)), "{length}");
        }
    }

    #[test]
    fn what_is_no_header_and_what_is_no_name_is_named() {
        let archive = sample();
        let other = String::from_utf8_lossy(&archive).replace("070701", "070707");
        assert!(matches!(read(other.as_bytes()), Err(Damage::NoHeader(0))));
        let mut nameless = archive.clone();
        nameless[94..102].copy_from_slice(b"00000000");
        assert!(matches!(read(&nameless), Err(Damage::Name(0))));
        nameless[94..102].copy_from_slice(b"FFFFFFFF");
        assert!(matches!(read(&nameless), Err(Damage::Name(0xffff_ffff))));
        nameless[94..102].copy_from_slice(b"+0000004");
        assert!(matches!(read(&nameless), Err(Damage::NoHeader(0))));
    }

    #[test]
    fn hard_links_are_told_apart_from_files_of_one_name() {
        let mut archive =
            write([(b"a".as_slice(), 0o100_755, b"".as_slice()), (b"b", 0o100_755, b"program")]);
        archive[6..14].copy_from_slice(b"0000000A");
        archive[38..46].copy_from_slice(b"00000002");
        let (entries, _) = read(&archive).expect("it is an archive");
        let files: Vec<_> = entries.iter().map(|(entry, _)| entry.file).collect();
        assert_eq!(files, [Some((10, 0, 0)), None]);
    }
}
