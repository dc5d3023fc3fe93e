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
    if image[at] == b'0' && at.is_multiple_of(4) {
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

#[cfg(test)]
mod tests {
    use super::super::compression::tests::{TOOLS, compressed};
    use super::*;
    use proptest::prelude::*;

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
                [Compression::None, compression]
            );
            assert_eq!(early.file("cryptroot/crypttab"), Some(b"vda5_crypt UUID=old none luks\n".as_slice()));
            let suffix = early.suffix(&[crypttab("vda5_crypt UUID=new none luks\n")]);
            image.extend(suffix);
            let later = read(&image).expect(tool);
            assert_eq!((later.archives.len(), later.archives[2].offset % 512), (3, 0), "{tool}");
            let files = later.files();
            let crypttab = files[b"cryptroot/crypttab".as_slice()];
            assert_eq!(
                (crypttab.content, crypttab.mode),
                (b"vda5_crypt UUID=new none luks\n".as_slice(), 0o100_600)
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
            let entries = &behind.archives[0].entries;
            entries
                .iter()
                .map(|e| (String::from_utf8_lossy(&e.path).into_owned(), e.mode))
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
        assert_eq!(image.paths(), BTreeSet::from([b"a".as_slice(), b"b"]));
    }

    #[test]
    fn a_stream_that_would_fill_the_memory_is_refused() {
        // 1 GiB of zeros, and one: each block of 8 MiB in lz4's old form is the same 33 KiB.
        let block = compressed("lz4 -q -l", &vec![0; 8 << 20]);
        let image = [&block[..4], &block[4..].repeat(128), &[2, 0, 0, 0, 0x10, 0]].concat();
        assert!(
            read(&image)
                .expect_err("it is too large")
                .to_string()
                .contains("holds more than 1073741824 bytes")
        );
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
                read.files();
                read.drivers();
            }
        }
    }
}
