//! An initramfs image as the kernel reads it (init/initramfs.c): archives one behind the other, each as it is or
//! compressed, with zeros in between; a later file takes an earlier one's place.
//!
//! That is what makes an image changeable without unpacking it: `Initramfs::suffix` is an archive of a few files to put
//! behind it. An image that the kernel would stop reading somewhere is an error: what is put behind it would not count.

use std::borrow::Cow;
use std::collections::{BTreeMap, BTreeSet};
use thiserror::Error;

use super::compression::{Compression, Unpacking};
use super::cpio::{self, DIRECTORY, Entry, REGULAR, TYPE};

/// What all archives of one image may hold together, unpacked. Debian's largest are below 300 MiB.
const MOST_BYTES: usize = 1 << 30;

/// Where a suffix begins is divisible by this: four would do for the kernel; it is what GNU cpio pads to.
const SUFFIX_ALIGNMENT: u64 = 512;

/// Zeros in front of a suffix: the kernel's lz4 takes the next four bytes for the length of a block, and stops at zero.
const SUFFIX_ZEROS: u64 = 4;

/// Why an image cannot be read.
#[derive(Debug, Error)]
#[error("the initramfs cannot be read at byte {offset}: {why}")]
pub struct Unreadable {
    /// Where in the image the archive begins that cannot be read.
    pub offset: usize,
    /// What is wrong with it.
    pub why: Why,
}

/// What is wrong with an archive.
#[derive(Debug, Error)]
pub enum Why {
    /// Neither cpio nor a compression that the kernel knows, or cpio at an offset that is not divisible by four.
    #[error("there is neither a cpio archive nor one in a known compression")]
    NoArchive,
    /// It cannot be unpacked.
    #[error(transparent)]
    Unpacking(#[from] Unpacking),
    /// It is no whole cpio archive.
    #[error(transparent)]
    Damage(#[from] cpio::Damage),
}

/// One archive of an image.
#[derive(Debug)]
pub struct Archive<'a> {
    /// Where in the image it begins.
    pub offset: usize,
    /// How it is compressed.
    pub compression: Compression,
    /// Its members; their content lies in what `content` gives.
    pub entries: Vec<Entry>,
    bytes: Cow<'a, [u8]>,
}

impl Archive<'_> {
    /// The content of one of its entries.
    pub fn content(&self, entry: &Entry) -> &[u8] {
        &self.bytes[entry.content.clone()]
    }
}

/// A file as it stands when the whole image is unpacked.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct File<'a> {
    /// Its type and permissions.
    pub mode: u32,
    /// What is in it; of a symbolic link, where it points.
    pub content: &'a [u8],
}

impl File<'_> {
    /// Whether it is a regular file.
    pub fn is_regular(&self) -> bool {
        self.mode & TYPE == REGULAR
    }
}

/// What made an image.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Generator {
    /// Debian's initramfs-tools.
    InitramfsTools,
    /// dracut.
    Dracut,
    /// Something else.
    Unknown,
}

/// An image, unpacked.
#[derive(Debug)]
pub struct Initramfs<'a> {
    /// Its archives, in their order.
    pub archives: Vec<Archive<'a>>,
    image_bytes: u64,
}

/// A file that a suffix puts in an earlier one's place.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Override {
    /// Its path, without a slash in front: `cryptroot/crypttab`.
    pub path: String,
    /// Its permissions.
    pub permissions: u32,
    /// What is in it.
    pub content: Vec<u8>,
}

/// Reads an image: all its archives.
///
/// # Errors
/// If the kernel would stop reading it before its end, if it is compressed in a way not known here, or holds more than
/// 1 GiB.
pub fn read(image: &[u8]) -> Result<Initramfs<'_>, Unreadable> {
    let (mut archives, mut room, mut at) = (Vec::new(), MOST_BYTES, 0);
    while let Some(zeros) = image[at..].iter().position(|byte| *byte != 0) {
        at += zeros;
        let unreadable = |why| Unreadable { offset: at, why };
        let (archive, end) = archive(image, at, room).map_err(unreadable)?;
        if let Cow::Owned(unpacked) = &archive.bytes {
            room -= unpacked.len();
        }
        archives.push(archive);
        at = end;
    }
    Ok(Initramfs { archives, image_bytes: image.len() as u64 })
}

/// The archive at `at`, and where it ends.
fn archive(image: &[u8], at: usize, room: usize) -> Result<(Archive<'_>, usize), Why> {
    if image[at] == b'0' && at % 4 == 0 {
        let (entries, end) = cpio::read(image, at)?;
        let bytes = Cow::Borrowed(image);
        return Ok((Archive { offset: at, compression: Compression::None, entries, bytes }, end));
    }
    let compression = Compression::of(&image[at..]).ok_or(Why::NoArchive)?;
    let (unpacked, taken) = compression.unpack(&image[at..], room)?;
    let entries = inside(&unpacked)?;
    Ok((Archive { offset: at, compression, entries, bytes: Cow::Owned(unpacked) }, at + taken))
}

/// What a compressed stream holds: as in the image itself, archives with zeros in between.
fn inside(unpacked: &[u8]) -> Result<Vec<Entry>, Why> {
    let (mut all, mut at) = (Vec::new(), 0);
    while let Some(zeros) = unpacked[at..].iter().position(|byte| *byte != 0) {
        let (entries, end) = cpio::read(unpacked, at + zeros)?;
        all.extend(entries);
        at = end;
    }
    Ok(all)
}

impl Initramfs<'_> {
    /// Everything as it stands when the image is unpacked, by path without a slash in front.
    pub fn files(&self) -> BTreeMap<&[u8], File<'_>> {
        let mut files = BTreeMap::new();
        for archive in &self.archives {
            for entry in &archive.entries {
                let path = plain(&entry.path);
                if !path.is_empty() {
                    files.insert(path, File { mode: entry.mode, content: archive.content(entry) });
                }
            }
        }
        files
    }

    /// The content of one regular file.
    pub fn file(&self, path: &str) -> Option<&[u8]> {
        let archives = self.archives.iter().rev();
        let mut found =
            archives.flat_map(|archive| archive.entries.iter().rev().map(move |entry| (archive, entry)));
        let (archive, entry) = found.find(|(_, entry)| plain(&entry.path) == path.as_bytes())?;
        (entry.mode & TYPE == REGULAR).then(|| archive.content(entry))
    }

    /// Every path in it, once: what a file is called may itself be an identifier.
    pub fn paths(&self) -> BTreeSet<&[u8]> {
        let entries = self.archives.iter().flat_map(|archive| &archive.entries);
        entries.map(|entry| plain(&entry.path)).filter(|path| !path.is_empty()).collect()
    }

    /// What made it.
    pub fn generator(&self) -> Generator {
        let paths = self.paths();
        let below = |directory: &[u8]| paths.iter().any(|path| path.starts_with(directory));
        let released =
            |path| self.file(path).is_some_and(|text| text.windows(6).any(|word| word == b"dracut"));
        if paths.contains(b"conf/initramfs.conf".as_slice())
            || paths.contains(b"scripts/functions".as_slice())
        {
            Generator::InitramfsTools
        } else if below(b"usr/lib/dracut")
            || below(b"lib/dracut")
            || released("etc/initrd-release")
            || released("usr/lib/initrd-release")
        {
            Generator::Dracut
        } else {
            Generator::Unknown
        }
    }

    /// The kernel modules in it, and those that its kernel has built in, by name with underscores: `virtio_blk`.
    pub fn drivers(&self) -> BTreeSet<String> {
        let files = self.files();
        let built_in = files.iter().filter(|(path, _)| path.ends_with(b"/modules.builtin"));
        let built_in = built_in.flat_map(|(_, file)| file.content.split(|byte| *byte == b'\n'));
        files.keys().copied().chain(built_in).filter_map(module).collect()
    }

    /// Whether a driver is there when the root is looked for: `nvme`, `ahci`, `virtio_blk`.
    pub fn has_driver(&self, name: &str) -> bool {
        self.drivers().contains(&name.replace('-', "_"))
    }

    /// What must be put behind the image so that these files stand in it: zeros, and an archive. It brings those of
    /// their directories that the image lacks, with mode 0755.
    pub fn suffix(&self, overrides: &[Override]) -> Vec<u8> {
        let present = self.paths();
        let mut directories = BTreeSet::new();
        for file in overrides {
            let ends = file.path.match_indices('/').map(|(end, _)| &file.path[..end]);
            directories.extend(ends.filter(|directory| !present.contains(directory.as_bytes())));
        }
        let directories = directories.iter().map(|path| (path.as_bytes(), DIRECTORY | 0o755, b"".as_slice()));
        let files = overrides
            .iter()
            .map(|file| (file.path.as_bytes(), REGULAR | file.permissions, file.content.as_slice()));
        let start = (self.image_bytes + SUFFIX_ZEROS).next_multiple_of(SUFFIX_ALIGNMENT);
        let mut suffix = vec![0; (start - self.image_bytes) as usize];
        suffix.extend(cpio::write(directories.chain(files)));
        suffix
    }
}

/// A path without what means nothing in front of it: `./etc`, `/etc` and `etc` are one.
fn plain(mut path: &[u8]) -> &[u8] {
    loop {
        path = match path {
            [b'/', rest @ ..] | [b'.', b'/', rest @ ..] => rest,
            [b'.'] => b"",
            [rest @ .., b'/'] => rest,
            _ => return path,
        }
    }
}

/// The module that a path names: `…/virtio-blk.ko.xz` is `virtio_blk`.
fn module(path: &[u8]) -> Option<String> {
    let name = std::str::from_utf8(path).ok()?.rsplit('/').next()?;
    let name = [".xz", ".zst", ".gz"].iter().find_map(|end| name.strip_suffix(end)).unwrap_or(name);
    Some(name.strip_suffix(".ko")?.replace('-', "_"))
}
