//! An initramfs image as the kernel reads it (init/initramfs.c): archives one behind the other, each as it is or
//! compressed, with zeros in between; a later file takes an earlier one's place.
//!
//! That is what makes an image changeable without unpacking it: `Initramfs::suffix` is an archive of a few files to put
//! behind it. An image that the kernel would stop reading somewhere is an error: what is put behind it would not count.
//!
//! Whoever wrote an image may have meant to fill our memory: it is read as a stream, member by member, with limits for all
//! that is unpacked, for what is kept of it, and for how much there is of anything.

use crate::units::Bytes;
use std::collections::{BTreeMap, BTreeSet, HashMap};
use std::io::{self, BufRead, BufReader, ErrorKind, Read, Seek, SeekFrom};
use thiserror::Error;

use super::compression::{Compression, Unpacking};
use super::cpio::{self, DIRECTORY, Entry, REGULAR, TYPE};

/// The most that an image may have as it lies on the disk, and that its archives may hold together, unpacked. Debian's
/// largest have 100 MiB and hold 300.
pub const MOST_BYTES: u64 = 512 << 20;

/// The largest file of settings that is kept: LVM's own lvm.conf has 110 KiB.
pub const SETTINGS_BYTES: u64 = 256 << 10;

/// What is kept of all its members together: names, and settings.
const MOST_KEPT: u64 = 64 << 20;

/// What a member costs besides its name and content.
const ENTRY_BYTES: u64 = 200;

/// Members of one image: those with every driver and all firmware have below 20,000.
const MOST_ENTRIES: usize = 200_000;

/// Archives in one image: an early one for each processor's microcode, the image, one behind it.
const MOST_ARCHIVES: usize = 1000;

/// Where a suffix begins is divisible by this: four would do for the kernel; it is what GNU cpio pads to.
const SUFFIX_ALIGNMENT: u64 = 512;

/// Zeros in front of a suffix: the kernel's lz4 takes the next four bytes for the length of a block, and stops at zero.
const SUFFIX_ZEROS: u64 = 4;

/// Why an image cannot be read.
#[derive(Debug, Error)]
#[error("the initramfs cannot be read at byte {offset}: {why}")]
pub struct Unreadable {
    /// Where in the image the archive begins that cannot be read.
    pub offset: u64,
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
    Damage(cpio::Damage),
    /// A limit was met.
    #[error("not looked into: {0}")]
    TooLarge(String),
    /// It cannot be read.
    #[error(transparent)]
    Read(io::Error),
}

impl From<io::Error> for Why {
    fn from(error: io::Error) -> Self {
        match error.downcast::<Unpacking>() {
            Ok(limit @ Unpacking::TooLarge(_)) => Why::TooLarge(limit.to_string()),
            Ok(unpacking) => Why::Unpacking(unpacking),
            Err(error) if error.kind() == ErrorKind::UnexpectedEof => Why::Damage(cpio::Damage::Truncated),
            Err(error) => Why::Read(error),
        }
    }
}

impl From<cpio::Damage> for Why {
    fn from(damage: cpio::Damage) -> Self {
        match damage {
            cpio::Damage::Read(error) => error.into(),
            damage => Why::Damage(damage),
        }
    }
}

impl Unreadable {
    /// Whether it was not read because there is too much of it.
    pub fn is_too_large(&self) -> bool {
        matches!(self.why, Why::TooLarge(_))
    }
}

/// Who looks at the members of an image as they come by.
pub trait Look {
    /// Whether the file at `path`, without a slash in front, is one of settings: it is kept, if it is no larger than they are.
    fn is_setting(&self, path: &[u8]) -> bool;

    /// What is seen in a content that is not kept, by numbers of the looker's own.
    ///
    /// # Errors
    /// Those of reading it.
    fn marks(&self, content: &mut dyn Read) -> io::Result<BTreeSet<usize>>;
}

/// One archive of an image.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Archive {
    /// Where in the image it begins.
    pub offset: u64,
    /// How it is compressed, if it is.
    pub compression: Option<Compression>,
}

/// A file as it stands when the whole image is unpacked.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct File {
    /// Its type and permissions.
    pub mode: u32,
    /// How long it is.
    pub size: u64,
    /// What is in it, if that was kept; of a symbolic link, where it points.
    pub content: Option<Vec<u8>>,
    /// What was seen in it, if it was not.
    pub marks: BTreeSet<usize>,
}

impl File {
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

/// What was read of an image.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Initramfs {
    /// Its archives, in their order.
    pub archives: Vec<Archive>,
    files: BTreeMap<Vec<u8>, File>,
    image_bytes: u64,
    unpacked_bytes: u64,
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

/// Reads an image from its beginning: all its archives, and what `look` sees in them.
///
/// # Errors
/// If the kernel would stop reading it before its end, if it is compressed in a way not known here, or if a limit is met.
pub fn read<S: BufRead + Seek>(image: &mut S, look: &dyn Look) -> Result<Initramfs, Unreadable> {
    let mut reading =
        Reading { look, archives: Vec::new(), files: BTreeMap::new(), entries: 0, kept: 0, unpacked: 0 };
    let mut at = 0;
    let image_bytes = reading.all(image, &mut at).map_err(|why| Unreadable { offset: at, why })?;
    let Reading { archives, files, unpacked, .. } = reading;
    Ok(Initramfs { archives, files, image_bytes, unpacked_bytes: unpacked })
}

/// An image on the way.
struct Reading<'a> {
    look: &'a dyn Look,
    archives: Vec<Archive>,
    files: BTreeMap<Vec<u8>, File>,
    entries: usize,
    kept: u64,
    unpacked: u64,
}

impl Reading<'_> {
    /// Every archive; `at` is where the last one begins. Gives the image's length.
    fn all<S: BufRead + Seek>(&mut self, image: &mut S, at: &mut u64) -> Result<u64, Why> {
        let length = image.seek(SeekFrom::End(0))?;
        image.rewind()?;
        if length > MOST_BYTES {
            return Err(Why::TooLarge(format!("it is larger than {}", Bytes(MOST_BYTES))));
        }
        while let Some(first) = behind_zeros(image)? {
            *at = image.stream_position()?;
            if self.archives.len() == MOST_ARCHIVES {
                return Err(Why::TooLarge(format!("it has more than {MOST_ARCHIVES} archives")));
            }
            let compression = self.archive(image, first, *at)?;
            self.archives.push(Archive { offset: *at, compression });
        }
        Ok(length)
    }

    /// The archive that begins here, at offset `at`, with the byte `first`.
    fn archive<S: BufRead + Seek>(
        &mut self,
        image: &mut S,
        first: u8,
        at: u64,
    ) -> Result<Option<Compression>, Why> {
        if first == b'0' && at.is_multiple_of(4) {
            self.members(image)?;
            return Ok(None);
        }
        let mut magic = [0; 2];
        let is_whole = image.read_exact(&mut magic);
        image.seek(SeekFrom::Start(at))?;
        let compression = is_whole.ok().and_then(|()| Compression::of(&magic)).ok_or(Why::NoArchive)?;
        let unpacked = compression.unpack(image, MOST_BYTES - self.unpacked)?;
        let mut stream = BufReader::with_capacity(STREAM_BUFFER, unpacked);
        // As in the image itself, archives with zeros in between.
        while behind_zeros(&mut stream)?.is_some() {
            self.members(&mut stream)?;
        }
        self.unpacked += stream.into_inner().finish()?;
        Ok(Some(compression))
    }

    /// The members of one cpio archive.
    fn members(&mut self, source: &mut impl BufRead) -> Result<(), Why> {
        let mut archive = cpio::Archive::begin(source);
        let mut linked: HashMap<(u32, u32, u32), Vec<Vec<u8>>> = HashMap::new();
        while let Some(entry) = archive.next_entry()? {
            self.entries += 1;
            if self.entries > MOST_ENTRIES {
                return Err(Why::TooLarge(format!("it has more than {MOST_ENTRIES} members")));
            }
            self.keep(entry.path.len() as u64 + ENTRY_BYTES)?;
            let path = plain(&entry.path).to_vec();
            let file = self.file(&entry, &path, &mut archive)?;
            if let Some(number) = entry.file.filter(|_| file.is_regular()) {
                linked.entry(number).or_default().push(path.clone());
            }
            if !path.is_empty() {
                self.files.insert(path, file);
            }
        }
        linked.into_values().try_for_each(|paths| self.share(&paths))
    }

    /// What there is of one member: its content, or what is seen in it.
    fn file(&mut self, entry: &Entry, path: &[u8], content: &mut impl Read) -> Result<File, Why> {
        let Entry { mode, size, .. } = *entry;
        if size <= SETTINGS_BYTES && (is_known(path) || self.look.is_setting(path)) {
            self.keep(size)?;
            let mut kept = Vec::with_capacity(size as usize);
            content.read_to_end(&mut kept)?;
            return Ok(File { mode, size, content: Some(kept), marks: BTreeSet::new() });
        }
        Ok(File { mode, size, content: None, marks: self.look.marks(content)? })
    }

    /// Of several hard links only one carries the content.
    fn share(&mut self, paths: &[Vec<u8>]) -> Result<(), Why> {
        let carrier = paths.iter().rev().filter_map(|path| self.files.get(path)).find(|file| file.size > 0);
        let Some(carrier) = carrier.cloned() else { return Ok(()) };
        for path in paths {
            self.keep(carrier.content.as_ref().map_or(0, |content| content.len() as u64))?;
            if let Some(file) = self.files.get_mut(path).filter(|file| file.is_regular()) {
                let mode = file.mode;
                *file = File { mode, ..carrier.clone() };
            }
        }
        Ok(())
    }

    fn keep(&mut self, bytes: u64) -> Result<(), Why> {
        self.kept += bytes;
        if self.kept > MOST_KEPT {
            let most = Bytes(MOST_KEPT);
            return Err(Why::TooLarge(format!("its names and settings are larger than {most}")));
        }
        Ok(())
    }
}

/// How much of a stream is unpacked at once.
const STREAM_BUFFER: usize = 128 << 10;

/// Passes over zeros; the byte that follows them, which is not taken. None at the end.
fn behind_zeros(source: &mut impl BufRead) -> io::Result<Option<u8>> {
    loop {
        let here = source.fill_buf()?;
        let (length, other) = (here.len(), here.iter().position(|byte| *byte != 0));
        match other {
            Some(zeros) => {
                let first = here[zeros];
                source.consume(zeros);
                return Ok(Some(first));
            }
            None if length == 0 => return Ok(None),
            None => source.consume(length),
        }
    }
}

/// Files that tell what an image is, whoever looks at it.
fn is_known(path: &[u8]) -> bool {
    path.ends_with(b"/modules.builtin") || path.ends_with(b"/initrd-release")
}

impl Initramfs {
    /// Everything as it stands when the image is unpacked, by path without a slash in front.
    pub fn files(&self) -> impl Iterator<Item = (&[u8], &File)> {
        self.files.iter().map(|(path, file)| (path.as_slice(), file))
    }

    /// The content of one regular file that was kept.
    pub fn file(&self, path: &str) -> Option<&[u8]> {
        self.files.get(path.as_bytes()).filter(|file| file.is_regular())?.content.as_deref()
    }

    /// Every path in it: what a file is called may itself be an identifier.
    pub fn paths(&self) -> impl Iterator<Item = &[u8]> {
        self.files.keys().map(Vec::as_slice)
    }

    /// How much its compressed archives held.
    pub fn unpacked_bytes(&self) -> u64 {
        self.unpacked_bytes
    }

    /// What made it.
    pub fn generator(&self) -> Generator {
        let has = |path: &[u8]| self.files.contains_key(path);
        let below = |directory: &[u8]| self.paths().any(|path| path.starts_with(directory));
        let released =
            |path| self.file(path).is_some_and(|text| text.windows(6).any(|word| word == b"dracut"));
        if has(b"conf/initramfs.conf") || has(b"scripts/functions") {
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
        let built_in = self.files.iter().filter(|(path, _)| path.ends_with(b"/modules.builtin"));
        let built_in = built_in.filter_map(|(_, file)| file.content.as_deref());
        let built_in = built_in.flat_map(|text| text.split(|byte| *byte == b'\n'));
        self.paths().chain(built_in).filter_map(module).collect()
    }

    /// Whether a driver is there when the root is looked for: `nvme`, `ahci`, `virtio_blk`.
    pub fn has_driver(&self, name: &str) -> bool {
        self.drivers().contains(&name.replace('-', "_"))
    }

    /// What must be put behind the image so that these files stand in it: zeros, and an archive. It brings those of
    /// their directories that the image lacks, with mode 0755.
    pub fn suffix(&self, overrides: &[Override]) -> Vec<u8> {
        let mut directories = BTreeSet::new();
        for file in overrides {
            let ends = file.path.match_indices('/').map(|(end, _)| &file.path[..end]);
            directories.extend(ends.filter(|directory| !self.files.contains_key(directory.as_bytes())));
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

#[cfg(test)]
mod tests {
    use super::super::compression::tests::{TOOLS, compressed};
    use super::*;
    use proptest::prelude::*;
    use std::io::Cursor;

    /// Keeps what it can, and sees where a content holds an `x`.
    struct All;

    impl Look for All {
        fn is_setting(&self, _: &[u8]) -> bool {
            true
        }

        fn marks(&self, content: &mut dyn Read) -> io::Result<BTreeSet<usize>> {
            let (mut found, mut buf) = (false, vec![0; 64 << 10]);
            loop {
                match content.read(&mut buf)? {
                    0 => return Ok(found.then_some(1).into_iter().collect()),
                    read => found |= buf[..read].contains(&b'x'),
                }
            }
        }
    }

    fn read(image: &[u8]) -> Result<Initramfs, Unreadable> {
        super::read(&mut Cursor::new(image), &All)
    }

    const MICROCODE: &str = "kernel/x86/microcode/GenuineIntel.bin";

    fn cpio(files: &[(&str, &str)]) -> Vec<u8> {
        cpio::write(files.iter().map(|(path, text)| (path.as_bytes(), REGULAR | 0o644, text.as_bytes())))
    }

    fn crypttab(text: &str) -> Override {
        Override { path: "cryptroot/crypttab".into(), permissions: 0o600, content: text.into() }
    }

    /// An early archive in front, then `tool`'s.
    fn image(tool: &str) -> Vec<u8> {
        let mut image = cpio(&[(MICROCODE, "microcode")]);
        image.resize(image.len().next_multiple_of(512), 0);
        let files = [
            ("conf/initramfs.conf", "MODULES=dep\n"),
            ("cryptroot/crypttab", "vda5_crypt UUID=old none luks\n"),
            ("usr/lib/modules/6.1.0/kernel/drivers/block/virtio_blk.ko", "ELF"),
            ("usr/lib/modules/6.1.0/modules.builtin", "kernel/drivers/ata/ahci.ko\n"),
        ];
        image.extend(compressed(tool, &cpio(&files)));
        image
    }

    #[test]
    fn every_compression_is_read_behind_an_early_archive_and_a_suffix_overrides_it() {
        for (compression, tool) in TOOLS {
            let mut image = image(tool);
            let early = read(&image).expect(tool);
            assert_eq!(
                early.archives.iter().map(|archive| archive.compression).collect::<Vec<_>>(),
                [None, Some(compression)]
            );
            assert_eq!(early.file("cryptroot/crypttab"), Some(b"vda5_crypt UUID=old none luks\n".as_slice()));
            let suffix = early.suffix(&[crypttab("vda5_crypt UUID=new none luks\n")]);
            image.extend(suffix);
            let later = read(&image).expect(tool);
            assert_eq!((later.archives.len(), later.archives[2].offset % 512), (3, 0), "{tool}");
            let crypttab = &later.files[b"cryptroot/crypttab".as_slice()];
            assert_eq!(
                (crypttab.content.as_deref(), crypttab.mode),
                (Some(b"vda5_crypt UUID=new none luks\n".as_slice()), 0o100_600)
            );
            assert_eq!(later.file(MICROCODE), Some(b"microcode".as_slice()));
        }
    }

    #[test]
    fn a_suffix_begins_behind_four_zeros_at_the_next_sector_whatever_the_images_length() {
        for length in [0, 1, 507, 508, 509, 512, 1000] {
            let image = vec![0; length];
            let suffix = read(&image).expect("zeros hold nothing").suffix(&[crypttab("x")]);
            let zeros = suffix.iter().position(|byte| *byte != 0).expect("there is an archive");
            assert_eq!(((length + zeros) % 512, zeros >= 4, zeros < 516), (0, true, true), "{length}");
        }
    }

    #[test]
    fn a_suffix_brings_only_the_directories_that_are_missing() {
        let names = |image: &[u8]| {
            let suffix = read(image).expect("an image").suffix(&[crypttab("x")]);
            let behind = read(&suffix).expect("a suffix is an image");
            behind
                .files()
                .map(|(path, file)| (String::from_utf8_lossy(path).into_owned(), file.mode))
                .collect::<Vec<_>>()
        };
        let file = ("cryptroot/crypttab".to_owned(), 0o100_600);
        assert_eq!(names(b""), [("cryptroot".to_owned(), 0o040_755), file.clone()]);
        let present = cpio::write([(b"./cryptroot".as_slice(), 0o040_700, b"".as_slice())]);
        assert_eq!(names(&present), [file]);
    }

    #[test]
    fn who_made_an_image_is_told_by_what_is_in_it() {
        let generator = |files: &[(&str, &str)]| read(&cpio(files)).expect("an image").generator();
        assert_eq!(generator(&[("scripts/functions", "")]), Generator::InitramfsTools);
        assert_eq!(generator(&[("./conf/initramfs.conf", "")]), Generator::InitramfsTools);
        assert_eq!(generator(&[("usr/lib/dracut/hooks/emergency/x", "")]), Generator::Dracut);
        let release = "NAME=\"Fedora Linux\"\nVERSION=\"41 dracut-103-3.fc41\"\n";
        assert_eq!(generator(&[("usr/lib/initrd-release", release)]), Generator::Dracut);
        assert_eq!(generator(&[("etc/initrd-release", "ID=arch\n")]), Generator::Unknown);
    }

    #[test]
    fn drivers_are_modules_of_any_compression_or_built_in() {
        let image = cpio(&[
            ("lib/modules/6.1/kernel/drivers/nvme/host/nvme.ko.xz", ""),
            ("lib/modules/6.1/kernel/drivers/usb/storage/usb-storage.ko.zst", ""),
            ("lib/modules/6.1/kernel/drivers/scsi/sd_mod.ko", ""),
            ("lib/modules/6.1/modules.builtin", "kernel/drivers/ata/ahci.ko\nkernel/lib/x.ko\n"),
            ("lib/modules/6.1/modules.dep", "kernel/drivers/block/virtio_blk.ko:\n"),
        ]);
        let image = read(&image).expect("an image");
        for driver in ["nvme", "usb_storage", "usb-storage", "sd_mod", "ahci"] {
            assert!(image.has_driver(driver), "{driver}");
        }
        assert!(!image.has_driver("virtio_blk") && !image.has_driver("sd"));
    }

    #[test]
    fn what_the_kernel_would_not_read_is_named_with_its_place() {
        let archive = cpio(&[("a", "b")]);
        let unreadable = |image: &[u8]| read(image).expect_err("it is not readable").to_string();
        let behind = |junk: &[u8]| unreadable(&[archive.as_slice(), junk].concat());
        let begins = format!("the initramfs cannot be read at byte {}: ", archive.len());
        assert!(behind(b"junk").starts_with(&begins));
        assert!(behind(b"\x89LZO\0").contains("lzo"));
        assert!(behind(&archive[..archive.len() - 4]).ends_with("ends too early"));
        // An archive that is not at an offset divisible by four.
        let shifted = [[0; 2].as_slice(), &archive].concat();
        assert!(unreadable(&shifted).ends_with("known compression"));
        assert!(unreadable(&compressed("gzip", b"no archive")).contains("cpio"));
    }

    #[test]
    fn several_archives_in_one_stream_are_one_archive_of_the_image() {
        let both = [cpio(&[("a", "1")]), vec![0; 512], cpio(&[("a", "2"), ("b", "3")])].concat();
        let image = compressed("gzip", &both);
        let image = read(&image).expect("an image");
        assert_eq!((image.archives.len(), image.file("a")), (1, Some(b"2".as_slice())));
        assert_eq!(image.paths().collect::<Vec<_>>(), [b"a".as_slice(), b"b"]);
    }

    #[test]
    fn an_image_that_would_fill_the_memory_is_not_looked_into() {
        // 512 MiB of zeros, and one: each block of 8 MiB in lz4's old form is the same 33 KiB.
        let block = compressed("lz4 -q -l", &vec![0; 8 << 20]);
        let zeros = [&block[..4], &block[4..].repeat(64), &[2, 0, 0, 0, 0x10, 0]].concat();
        // The same in one member, which is neither kept nor looked at as a whole.
        let mut header = cpio::write([(b"x".as_slice(), REGULAR, b"".as_slice())]);
        header[54..62].copy_from_slice(b"20000000");
        header.resize(8 << 20, 0);
        let member = [&compressed("lz4 -q -l", &header)[..], &block[4..].repeat(64)].concat();
        for image in [zeros, member] {
            let error = read(&image).expect_err("it is too large");
            assert!(error.is_too_large(), "{error}");
            let said =
                "the initramfs cannot be read at byte 0: not looked into: it unpacks to more than 512 MiB";
            assert_eq!(error.to_string(), said);
        }
        let mut sparse = io::BufReader::new(tempfile::tempfile().expect("a file"));
        sparse.get_ref().set_len(6 << 30).expect("a sparse file");
        let error = super::read(&mut sparse, &All).expect_err("it is too large");
        assert!(error.is_too_large() && error.to_string().ends_with("it is larger than 512 MiB"), "{error}");
    }

    #[test]
    fn members_without_end_are_not_looked_into() {
        let one = &cpio(&[("a", "")])[..112];
        let error = read(&one.repeat(MOST_ENTRIES + 1)).expect_err("there are too many");
        assert!(error.to_string().ends_with("not looked into: it has more than 200000 members"), "{error}");
        // Names and hard links that would be kept, each of little.
        let long = "n".repeat(4000);
        let named = cpio(&(0..20_000).map(|_| (long.as_str(), "")).collect::<Vec<_>>());
        assert!(read(&named).expect_err("they are too long").is_too_large());
        let text = "t".repeat(SETTINGS_BYTES as usize);
        let mut linked = cpio(&[("a", &text)]);
        linked.truncate(112 + text.len());
        linked[38..46].copy_from_slice(b"00000002");
        let mut name = cpio(&[("b", "")])[..112].to_vec();
        name[38..46].copy_from_slice(b"00000002");
        let names = (0..1000_u32).flat_map(|n| {
            let mut name = name.clone();
            name[94..102].copy_from_slice(b"00000006");
            name.truncate(110);
            name.extend(format!("{n:05}\0").bytes());
            name
        });
        let image = [linked, names.collect(), cpio(&[])].concat();
        assert!(read(&image).expect_err("one content for each is too much").is_too_large());
        let many = cpio(&[("a", "")]).repeat(MOST_ARCHIVES + 1);
        assert!(read(&many).expect_err("there are too many").to_string().ends_with("1000 archives"));
    }

    #[test]
    fn hard_links_share_the_content_that_one_of_them_carries() {
        let mut archive = cpio(&[("a", ""), ("b", "program"), ("c", "")]);
        let headers = archive.windows(6).enumerate().filter(|(_, at)| at == b"070701").map(|(at, _)| at);
        for header in headers.take(2).collect::<Vec<_>>() {
            archive[header + 6..header + 14].copy_from_slice(b"0000000A");
            archive[header + 38..header + 46].copy_from_slice(b"00000002");
        }
        let image = read(&archive).expect("an image");
        let content = |path| image.file(path).expect("it is there");
        assert_eq!((content("a"), content("b"), content("c")), (&b"program"[..], &b"program"[..], &b""[..]));
    }

    #[test]
    fn what_is_larger_than_settings_are_is_looked_at_and_not_kept() {
        let large = "x".repeat(SETTINGS_BYTES as usize + 1);
        let image = read(&cpio(&[("firmware", &large), ("etc/x", "x")])).expect("an image");
        let seen: Vec<_> =
            image.files().map(|(_, file)| (file.content.is_some(), file.marks.len())).collect();
        assert_eq!(seen, [(true, 0), (false, 1)]);
        let image = read(&cpio(&[("firmware", &large), ("firmware", "x")])).expect("an image");
        assert_eq!(image.file("firmware"), Some(b"x".as_slice()), "a later one takes its place");
    }

    proptest! {
        #![proptest_config(ProptestConfig::with_cases(200))]

        #[test]
        fn an_image_changed_anywhere_is_read_or_named_and_never_a_panic(
            tool in 0..TOOLS.len(),
            changes in prop::collection::vec((any::<prop::sample::Index>(), any::<u8>()), 1..6),
            cut in any::<prop::sample::Index>(),
        ) {
            static IMAGES: std::sync::LazyLock<Vec<Vec<u8>>> =
                std::sync::LazyLock::new(|| TOOLS.iter().map(|(_, tool)| image(tool)).collect());
            let mut image = IMAGES[tool].clone();
            for (place, byte) in changes {
                let place = place.index(image.len());
                image[place] = byte;
            }
            image.truncate(image.len().saturating_sub(cut.index(image.len() * 4).saturating_sub(image.len() * 3)));
            if let Ok(read) = read(&image) {
                read.drivers();
            }
        }
    }
}
