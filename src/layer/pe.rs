//! EFI executables (Microsoft's PE format): whether one is signed, its sections, whose it is.
//!
//! A unified kernel image carries its command line in a section, and a signature covers everything: such files are
//! never rewritten. GRUB's unsigned images may be, where a text takes another's place byte for byte.

use std::ops::Range;
use thiserror::Error;

/// Where the PE header's offset stands in the old header.
const PE_OFFSET: usize = 0x3c;

/// The signature and the COFF header behind it.
const COFF: usize = 24;

/// One section header.
const SECTION: usize = 40;

/// The certificate table's index among the data directories, and the size of each.
const CERTIFICATES: usize = 4;
const DIRECTORY: usize = 8;

/// Sections that are looked at: Windows' own loader takes no more.
const MOST_SECTIONS: usize = 96;

/// Bytes of a section's name in the string table that are looked at.
const LONGEST_NAME: usize = 256;

/// Bytes at a file's beginning in which its headers lie.
pub const HEADER_BYTES: u64 = 64 << 10;

/// Whose program it is.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Program {
    /// GRUB 2.
    Grub,
    /// systemd-boot.
    SystemdBoot,
    /// shim, which a signed GRUB is loaded by.
    Shim,
    /// A unified kernel image: kernel, initramfs and command line in one file.
    UnifiedKernel,
    /// A Linux kernel.
    Kernel,
    /// Something else.
    Unknown,
}

/// An EFI executable.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Image<'a> {
    bytes: &'a [u8],
    sections: Vec<(String, Range<u64>)>,
    signed: bool,
}

/// Why a text in an image is not replaced.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Error)]
pub enum Unchangeable {
    /// A signature covers it.
    #[error("it is signed")]
    Signed,
    /// Everything behind the text would move.
    #[error("the new text has another length")]
    Length,
}

/// The executable in `bytes`, or that begins with them; none if they are none.
pub fn parse(bytes: &[u8]) -> Option<Image<'_>> {
    let header = le32(bytes, PE_OFFSET).filter(|_| bytes.starts_with(b"MZ"))? as usize;
    let header = bytes.get(header..).filter(|header| header.starts_with(b"PE\0\0"))?;
    let count = Some(usize::from(le16(header, 6)?)).filter(|count| *count <= MOST_SECTIONS)?;
    let optional_bytes = usize::from(le16(header, 20)?);
    let optional = header.get(COFF..COFF + optional_bytes)?;
    let strings = strings(bytes, header);
    let table = header.get(COFF + optional_bytes..)?.chunks_exact(SECTION);
    let sections: Vec<_> =
        table.take(count).map(|section| (name(section, strings), place(section))).collect();
    (sections.len() == count).then(|| Image { bytes, sections, signed: signed(optional) })
}

/// Whether the certificate table holds anything. It stands at another place in 32-bit images.
fn signed(optional: &[u8]) -> bool {
    let directories = match le16(optional, 0) {
        Some(0x10b) => 96,
        Some(0x20b) => 112,
        _ => return false,
    };
    let count = le32(optional, directories - 4).unwrap_or_default() as usize;
    let size = le32(optional, directories + CERTIFICATES * DIRECTORY + 4).unwrap_or_default();
    count > CERTIFICATES && size != 0
}

/// A section's name; one of more than eight bytes stands in the string table: `/37`.
fn name(section: &[u8], strings: &[u8]) -> String {
    let until_nul = |bytes: &[u8]| {
        let name = bytes[..bytes.len().min(LONGEST_NAME)].split(|byte| *byte == 0).next().unwrap_or_default();
        String::from_utf8_lossy(name).into_owned()
    };
    let short = until_nul(&section[..8]);
    let long = short.strip_prefix('/').and_then(|place| strings.get(place.parse::<usize>().ok()?..));
    long.map_or(short.clone(), until_nul)
}

/// The string table, behind the symbols of 18 bytes each; empty if there is none.
fn strings<'a>(bytes: &'a [u8], header: &[u8]) -> &'a [u8] {
    let symbols = le32(header, 12).unwrap_or_default() as usize;
    let behind = (le32(header, 16).unwrap_or_default() as usize).saturating_mul(18).saturating_add(symbols);
    bytes.get(behind..).filter(|_| symbols != 0).unwrap_or_default()
}

/// Where a section's content lies in the file, without its padding.
fn place(section: &[u8]) -> Range<u64> {
    let number = |at| u64::from(le32(section, at).unwrap_or_default());
    let (virtual_bytes, raw_bytes, start) = (number(8), number(16), number(20));
    let length = if virtual_bytes == 0 { raw_bytes } else { raw_bytes.min(virtual_bytes) };
    start..start + length
}

/// What a section holds; empty if it lies outside of what there is.
fn content<'a>(bytes: &'a [u8], place: &Range<u64>) -> &'a [u8] {
    bytes.get(place.start as usize..place.end as usize).unwrap_or_default()
}

impl<'a> Image<'a> {
    /// Whether it carries a signature, valid or not.
    pub fn is_signed(&self) -> bool {
        self.signed
    }

    /// The names of its sections, in their order.
    pub fn section_names(&self) -> impl Iterator<Item = &str> {
        self.sections.iter().map(|(name, _)| name.as_str())
    }

    /// What a section holds, e.g. `.cmdline`.
    pub fn section(&self, name: &str) -> Option<&'a [u8]> {
        self.section_place(name).map(|place| content(self.bytes, &place))
    }

    /// Where in the file a section's content lies.
    pub fn section_place(&self, name: &str) -> Option<Range<u64>> {
        self.sections.iter().find(|(other, _)| other == name).map(|(_, place)| place.clone())
    }

    /// Whether it is a unified kernel image: <https://uapi-group.org/specifications/specs/unified_kernel_image/>.
    pub fn is_unified_kernel(&self) -> bool {
        self.section(".linux").is_some()
    }

    /// Whose it is, by what is in it: names of files tell nothing on an ESP.
    pub fn program(&self) -> Program {
        if self.is_unified_kernel() {
            Program::UnifiedKernel
        } else if self.section("mods").is_some() {
            Program::Grub
        } else if holds(self.bytes, b"#### LoaderInfo: systemd-boot ") {
            Program::SystemdBoot
        } else if self.section(".vendor_cert").is_some() {
            Program::Shim
        } else if self.bytes.get(0x202..0x206) == Some(b"HdrS") || self.bytes.get(0x38..0x3c) == Some(b"ARMd")
        {
            Program::Kernel
        } else {
            Program::Unknown
        }
    }

    /// The image with every `from` replaced by `to`, and how many there were.
    ///
    /// # Errors
    /// If it is signed, or if the texts differ in length.
    pub fn replaced(&self, from: &[u8], to: &[u8]) -> Result<(Vec<u8>, usize), Unchangeable> {
        if self.signed {
            return Err(Unchangeable::Signed);
        }
        if from.len() != to.len() || from.is_empty() {
            return Err(Unchangeable::Length);
        }
        let (mut changed, mut count, mut at) = (self.bytes.to_vec(), 0, 0);
        while let Some(place) = changed[at..].windows(from.len()).position(|text| text == from) {
            at += place + from.len();
            changed[at - from.len()..at].copy_from_slice(to);
            count += 1;
        }
        Ok((changed, count))
    }
}

fn holds(bytes: &[u8], text: &[u8]) -> bool {
    bytes.windows(text.len()).any(|window| window == text)
}

fn le16(bytes: &[u8], at: usize) -> Option<u16> {
    bytes.get(at..)?.first_chunk().map(|bytes| u16::from_le_bytes(*bytes))
}

fn le32(bytes: &[u8], at: usize) -> Option<u32> {
    bytes.get(at..)?.first_chunk().map(|bytes| u32::from_le_bytes(*bytes))
}

#[cfg(test)]
pub(crate) mod tests {
    use super::*;
    use proptest::prelude::*;

    const OLD: &str = "2d1c9c2a-5b1e-4f0e-9f2b-0a3c5d7e9f11";
    const NEW: &str = "77777777-5b1e-4f0e-9f2b-0a3c5d7e9f11";

    /// An x86-64 image of these sections; each is padded to 512 bytes in the file. At most one name is a long one.
    pub(crate) fn image(sections: &[(&str, &[u8])], signature_bytes: u32) -> Vec<u8> {
        let mut bytes = vec![0; 0x80];
        bytes[..2].copy_from_slice(b"MZ");
        bytes[PE_OFFSET] = 0x80;
        bytes.extend(b"PE\0\0\x64\x86");
        bytes.extend((sections.len() as u16).to_le_bytes());
        bytes.extend([0; 12]);
        bytes.extend(240_u16.to_le_bytes());
        bytes.extend([0; 2]);
        let mut optional = vec![0; 240];
        optional[..2].copy_from_slice(&0x20b_u16.to_le_bytes());
        optional[108] = 16;
        optional[112 + 36..112 + 40].copy_from_slice(&signature_bytes.to_le_bytes());
        bytes.extend(optional);
        let (mut start, mut strings) = (4096, Vec::new());
        for (name, content) in sections {
            let mut header = [0; SECTION];
            if name.len() <= 8 {
                header[..name.len()].copy_from_slice(name.as_bytes());
            } else {
                header[..2].copy_from_slice(b"/4");
                strings = [&[0; 4], name.as_bytes(), &[0]].concat();
            }
            let raw = content.len().next_multiple_of(512);
            for (at, number) in [(8, content.len()), (16, raw), (20, start)] {
                header[at..at + 4].copy_from_slice(&(number as u32).to_le_bytes());
            }
            bytes.extend(header);
            start += raw;
        }
        bytes.resize(4096, 0);
        for (_, content) in sections {
            bytes.extend(*content);
            bytes.resize(bytes.len().next_multiple_of(512), 0);
        }
        if !strings.is_empty() {
            let end = bytes.len() as u32;
            bytes[0x8c..0x90].copy_from_slice(&end.to_le_bytes());
            bytes.extend(strings);
        }
        bytes
    }

    #[test]
    fn a_program_is_known_by_what_is_in_it() {
        let program = |sections: &[(&str, &[u8])]| parse(&image(sections, 0)).expect("an image").program();
        assert_eq!(program(&[(".text", b""), ("mods", b"GRUB's")]), Program::Grub);
        let info = b"\0#### LoaderInfo: systemd-boot 252.39-1~deb12u1 ####\0";
        assert_eq!(program(&[(".text", b""), (".sdmagic", info)]), Program::SystemdBoot);
        assert_eq!(program(&[(".vendor_cert", b"")]), Program::Shim);
        // MokManager, which is shim's too, but loads nothing.
        assert_eq!(
            program(&[(".sbat", b"sbat,1,SBAT Version,sbat,1,x\nshim,4,UEFI shim,shim,1,x\n")]),
            Program::Unknown
        );
        let stub = b"#### LoaderInfo: systemd-stub 252 ####";
        assert_eq!(program(&[(".sdmagic", stub), (".linux", b"kernel")]), Program::UnifiedKernel);
        let mut kernel = image(&[(".setup", b""), (".text", b"")], 0);
        assert_eq!(parse(&kernel).expect("an image").program(), Program::Unknown);
        kernel[0x202..0x206].copy_from_slice(b"HdrS");
        assert_eq!(parse(&kernel).expect("an image").program(), Program::Kernel);
    }

    #[test]
    fn a_unified_kernels_sections_are_read() {
        let bytes = image(&[(".osrel", b"ID=debian"), (".cmdline", b"root=UUID=1"), (".linux", b"MZ")], 1);
        let unified = parse(&bytes).expect("an image");
        assert_eq!(unified.section_names().collect::<Vec<_>>(), [".osrel", ".cmdline", ".linux"]);
        assert_eq!(unified.section(".cmdline"), Some(b"root=UUID=1".as_slice()));
        assert_eq!((unified.section(".initrd"), unified.is_unified_kernel()), (None, true));
    }

    #[test]
    fn a_text_is_replaced_everywhere_but_never_in_a_signed_image_nor_by_a_longer_one() {
        let config = format!("search.fs_uuid {OLD} root\nsearch.fs_uuid {OLD} boot\n");
        let bytes = image(&[("mods", config.as_bytes())], 0);
        let grub = parse(&bytes).expect("an image");
        let (changed, count) = grub.replaced(OLD.as_bytes(), NEW.as_bytes()).expect("it is not signed");
        let changed = parse(&changed).expect("an image");
        assert_eq!((changed.section("mods"), count), (Some(config.replace(OLD, NEW).as_bytes()), 2));
        assert_eq!(grub.replaced(NEW.as_bytes(), OLD.as_bytes()), Ok((bytes.clone(), 0)));
        assert_eq!(grub.replaced(OLD.as_bytes(), b"x"), Err(Unchangeable::Length));
        let signed = image(&[("mods", config.as_bytes())], 8);
        let signed = parse(&signed).expect("an image");
        assert_eq!(signed.replaced(OLD.as_bytes(), NEW.as_bytes()), Err(Unchangeable::Signed));
        assert!(signed.is_signed() && !grub.is_signed());
    }

    #[test]
    fn what_is_no_executable_is_none() {
        let bytes = image(&[("mods", b"x")], 0);
        assert!(parse(&bytes[..0x180]).is_none() && parse(b"MZ").is_none() && parse(b"").is_none());
        assert!(parse(&[b"XX", &bytes[2..]].concat()).is_none());
    }

    #[test]
    fn a_header_with_sections_and_names_without_end_costs_nothing() {
        let mut bytes = image(&[("mods", b"x"), (".vendor_cert", b"x")], 0);
        bytes[0x86..0x88].copy_from_slice(&(MOST_SECTIONS as u16 + 1).to_le_bytes());
        bytes.resize(1 << 20, b'/');
        assert!(parse(&bytes).is_none());
        let mut bytes = image(&[("mods", b"x"), (".vendor_cert", b"x")], 0);
        let end = bytes.len();
        bytes[end - 1] = b'x';
        bytes.resize(1 << 20, b'x');
        let names: Vec<usize> = parse(&bytes).expect("an image").section_names().map(str::len).collect();
        assert_eq!(names, [4, LONGEST_NAME]);
    }

    #[test]
    fn where_a_section_lies_is_told_by_the_header_alone() {
        let bytes = image(&[(".cmdline", b"root=UUID=1"), (".linux", b"MZ")], 0);
        let header = parse(&bytes[..0x1000]).expect("a header");
        let place = header.section_place(".cmdline").expect("it has one");
        assert_eq!(&bytes[place.start as usize..place.end as usize], b"root=UUID=1");
        assert!(header.is_unified_kernel() && header.section(".cmdline") == Some(b"".as_slice()));
    }

    proptest! {
        #[test]
        fn headers_changed_anywhere_are_never_a_panic(
            changes in prop::collection::vec((0..0x1c0_usize, any::<u8>()), 1..8), length in 0..5000_usize,
        ) {
            let mut bytes = image(&[("mods", b"x"), (".vendor_cert", b"x")], 4);
            changes.into_iter().for_each(|(at, byte)| bytes[at] = byte);
            bytes.truncate(length);
            if let Some(image) = parse(&bytes) {
                image.program();
            }
        }
    }
}
