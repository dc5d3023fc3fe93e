//! GRUB 2 on a BIOS disk: the boot code in the first sector, and the core image that it loads.
//!
//! The core lies in the gap behind an MBR or in a GPT's BIOS boot partition, and is LZMA-compressed: what it embeds (the
//! place of its modules, a file system's UUID) is found only in what is unpacked. Sources of the offsets: GRUB's
//! include/grub/offsets.h, include/grub/i386/pc/boot.h, and what grub-bios-setup and grub-mkimage write there.

use lzma_rust2::LzmaReader;
use std::io::Read;
use thiserror::Error;

/// BIOS counts in these, whatever the disk has.
const SECTOR: usize = 512;

/// Boot code ends where the disk signature begins.
const BOOT_CODE: usize = 440;

/// `GRUB_BOOT_MACHINE_KERNEL_SECTOR`: where boot.img says what it loads.
const KERNEL_SECTOR: usize = 0x5c;

/// The first entry of diskboot.img's block list; further ones lie in front of it.
const FIRST_BLOCK: usize = SECTOR - BLOCK;

/// An entry: first sector (u64), how many (u16), and the segment where they are loaded (u16).
const BLOCK: usize = 12;

/// In the decompressor, behind diskboot.img: `GRUB_DECOMPRESSOR_I386_PC_COMPRESSED_SIZE` and `…_UNCOMPRESSED_SIZE`,
/// `GRUB_KERNEL_I386_PC_REED_SOLOMON_REDUNDANCY`.
const COMPRESSED_SIZE: usize = SECTOR + 0x08;
const UNCOMPRESSED_SIZE: usize = SECTOR + 0x0c;
const REDUNDANCY: usize = SECTOR + 0x10;

/// How grub-mkimage compresses: literal context and position bits, position bits, dictionary.
const LZMA: (u32, u32, u32, u32) = (3, 0, 2, 1 << 16);

/// More than any core: it must fit below 640 KiB compressed, and unpacks to a few times that.
const LARGEST: usize = 4 << 20;

/// What is unpacked in vain, all in all, before a core image is given up: a true one begins at one of the first places, and
/// at any other its stream breaks off soon.
const MOST_TRIED: usize = 32 << 20;

/// Bytes of a disk from the core's first sector on that can belong to it.
pub const MOST_BYTES: u64 = 4 << 20;

/// Sectors that lie one behind the other on the disk, numbered from its start.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Blocks {
    /// The first, of 512 bytes.
    pub start: u64,
    /// How many.
    pub sectors: u16,
}

/// A core image, unpacked.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Core {
    /// GRUB's kernel, then its modules with the prefix and the configuration that are built in.
    pub bytes: Vec<u8>,
}

/// Why sectors are no core image that can be read.
#[derive(Debug, Clone, PartialEq, Eq, Error)]
pub enum NoCore {
    /// There are fewer sectors than its block list counts.
    #[error("GRUB's core image ends too early")]
    Truncated,
    /// Its sizes or its block list are none that GRUB writes.
    #[error("this is no core image of GRUB 2 for BIOS")]
    Foreign,
    /// Nothing in it unpacks to what it says.
    #[error("GRUB's core image does not unpack: it is damaged, or of a version that is not known")]
    Damaged,
}

/// Whether the boot code in a disk's first sector is GRUB 2's.
pub fn is_boot_code(first_sector: &[u8]) -> bool {
    let code = &first_sector[..first_sector.len().min(BOOT_CODE)];
    code.windows(5).any(|word| word == b"GRUB ") && first_sector.len() >= SECTOR
}

/// The sector that GRUB's boot code loads: the first of its core image. None if this is not GRUB's.
pub fn core_sector(first_sector: &[u8]) -> Option<u64> {
    le64(first_sector, KERNEL_SECTOR).filter(|_| is_boot_code(first_sector))
}

/// Where the core image goes on behind its first sector.
///
/// # Errors
/// If the sector is not the first of a core image.
pub fn block_list(core: &[u8]) -> Result<Vec<Blocks>, NoCore> {
    let mut list = Vec::new();
    for at in (0..=FIRST_BLOCK).rev().step_by(BLOCK) {
        let start = le64(core, at).ok_or(NoCore::Truncated)?;
        let sectors = le16(core, at + 8).ok_or(NoCore::Truncated)?;
        if sectors == 0 {
            return if list.is_empty() { Err(NoCore::Foreign) } else { Ok(list) };
        }
        list.push(Blocks { start, sectors });
    }
    Err(NoCore::Foreign)
}

/// Unpacks a core image: its first sector, then those of its block list, in that order. What lies behind is not looked at.
///
/// The compressed part ends where the image does, before the redundancy that grub-bios-setup appends; without
/// redundancy that is somewhere in the last sector.
///
/// # Errors
/// If this is no core image, is cut, or does not unpack.
pub fn unpack(core: &[u8]) -> Result<Core, NoCore> {
    let sectors: usize = block_list(core)?.iter().map(|blocks| usize::from(blocks.sectors)).sum();
    let core = core.get(..SECTOR * (1 + sectors)).ok_or(NoCore::Truncated)?;
    let number = |at| le32(core, at).map(|number| number as usize).ok_or(NoCore::Foreign);
    let (packed, unpacked) = (number(COMPRESSED_SIZE)?, number(UNCOMPRESSED_SIZE)?);
    let end = core.len().checked_sub(number(REDUNDANCY)?).ok_or(NoCore::Foreign)?;
    let last_start = end.checked_sub(packed).filter(|start| *start > REDUNDANCY).ok_or(NoCore::Foreign)?;
    if packed == 0 || unpacked == 0 || unpacked > LARGEST {
        return Err(NoCore::Foreign);
    }
    let places =
        (last_start.saturating_sub(SECTOR)..=last_start).rev().map(|start| &core[start..start + packed]);
    first_whole(places, unpacked, &mut 0).map(|bytes| Core { bytes }).ok_or(NoCore::Damaged)
}

/// What the first of these places holds that is a stream of so many bytes. Counts what was unpacked, up to a limit.
fn first_whole<'a>(
    places: impl Iterator<Item = &'a [u8]>,
    unpacked: usize,
    tried: &mut usize,
) -> Option<Vec<u8>> {
    for packed in places {
        let whole = lzma(packed, unpacked, tried);
        if whole.is_some() || *tried > MOST_TRIED {
            return whole;
        }
    }
    None
}

/// These bytes unpacked, if they are all that a stream of exactly `size` unpacked bytes takes. Counts what was unpacked.
fn lzma(packed: &[u8], size: usize, tried: &mut usize) -> Option<Vec<u8>> {
    // A range coder's first byte is always zero.
    if packed[0] != 0 {
        return None;
    }
    let (lc, lp, pb, dictionary) = LZMA;
    let mut reader = LzmaReader::new(packed, size as u64, lc, lp, pb, dictionary, None).ok()?;
    let mut unpacked = Vec::new();
    let is_sound = reader.by_ref().take(size as u64).read_to_end(&mut unpacked).is_ok();
    *tried += unpacked.len();
    let (behind, unused) = reader.into_parts();
    (is_sound && unpacked.len() == size && behind.is_empty() && unused.is_empty()).then_some(unpacked)
}

impl Core {
    /// Everything printable of at least six characters: among it the prefix, and each line of the embedded configuration.
    pub fn texts(&self) -> impl Iterator<Item = &str> {
        let runs = self.bytes.split(|byte| !(b' '..=b'~').contains(byte));
        runs.filter(|run| run.len() >= 6).filter_map(|run| std::str::from_utf8(run).ok())
    }
}

fn le16(bytes: &[u8], at: usize) -> Option<u16> {
    bytes.get(at..)?.first_chunk().map(|bytes| u16::from_le_bytes(*bytes))
}

fn le32(bytes: &[u8], at: usize) -> Option<u32> {
    bytes.get(at..)?.first_chunk().map(|bytes| u32::from_le_bytes(*bytes))
}

fn le64(bytes: &[u8], at: usize) -> Option<u64> {
    bytes.get(at..)?.first_chunk().map(|bytes| u64::from_le_bytes(*bytes))
}

#[cfg(test)]
pub(crate) mod tests {
    use super::*;
    use std::process::Command;

    const UUID: &str = "2d1c9c2a-5b1e-4f0e-9f2b-0a3c5d7e9f11";

    /// What grub-mkimage makes, padded to whole sectors, as grub-bios-setup --no-rs-codes writes it.
    fn core() -> Vec<u8> {
        core_searching(UUID)
    }

    /// The same for another file system.
    pub(crate) fn core_searching(uuid: &str) -> Vec<u8> {
        let directory = tempfile::tempdir().expect("a directory");
        let (config, image) = (directory.path().join("embedded.cfg"), directory.path().join("core.img"));
        std::fs::write(&config, format!("search.fs_uuid {uuid} root\n")).expect("it is written");
        let output = Command::new("grub-mkimage")
            .args(["-O", "i386-pc", "-p", "(,msdos1)/boot/grub", "-c"])
            .arg(&config)
            .arg("-o")
            .arg(&image)
            .args(["biosdisk", "part_msdos", "ext2", "search_fs_uuid"])
            .output()
            .expect("grub-common and grub-pc-bin are installed");
        assert!(output.status.success(), "{}", String::from_utf8_lossy(&output.stderr));
        let mut core = std::fs::read(&image).expect("it was made");
        core.resize(core.len().next_multiple_of(SECTOR), 0);
        core
    }

    /// The same with Reed-Solomon's redundancy up to `sectors`, as grub-bios-setup writes it by default.
    fn with_redundancy(core: &[u8], sectors: u16) -> Vec<u8> {
        let packed = le32(core, COMPRESSED_SIZE).unwrap() as usize;
        let decompressor =
            std::fs::read("/usr/lib/grub/i386-pc/lzma_decompress.img").expect("grub-pc-bin's").len();
        let length = SECTOR + decompressor + packed;
        let mut long = core[..length].to_vec();
        long.resize(SECTOR * (1 + usize::from(sectors)), 0xa5);
        let redundancy = (long.len() - length) as u32;
        long[REDUNDANCY..REDUNDANCY + 4].copy_from_slice(&redundancy.to_le_bytes());
        long[FIRST_BLOCK + 8..FIRST_BLOCK + 10].copy_from_slice(&sectors.to_le_bytes());
        long
    }

    #[test]
    fn what_a_core_embeds_is_found_once_it_is_unpacked() {
        let plain = core();
        assert!(!plain.windows(UUID.len()).any(|text| text == UUID.as_bytes()));
        for core in [plain.clone(), [plain.as_slice(), &[7; 5000]].concat(), with_redundancy(&plain, 62)] {
            let unpacked = unpack(&core).expect("it is GRUB's");
            assert_eq!(unpacked.bytes.len(), le32(&core, UNCOMPRESSED_SIZE).unwrap() as usize);
            let texts: Vec<_> = unpacked.texts().collect();
            assert!(texts.contains(&format!("search.fs_uuid {UUID} root").as_str()), "{texts:?}");
            assert!(texts.contains(&"(,msdos1)/boot/grub"), "{texts:?}");
        }
    }

    #[test]
    fn the_block_list_tells_where_the_core_goes_on() {
        let mut core = core();
        let sectors = (core.len() / SECTOR - 1) as u16;
        assert_eq!(block_list(&core), Ok(vec![Blocks { start: 2, sectors }]));
        let second = [40_u64.to_le_bytes().as_slice(), &9_u16.to_le_bytes(), &[0, 9]].concat();
        core[FIRST_BLOCK - BLOCK..FIRST_BLOCK].copy_from_slice(&second);
        let both = vec![Blocks { start: 2, sectors }, Blocks { start: 40, sectors: 9 }];
        assert_eq!(block_list(&core), Ok(both));
        assert_eq!(unpack(&core), Err(NoCore::Truncated));
    }

    #[test]
    fn boot_code_is_grubs_or_not_and_names_the_cores_first_sector() {
        let mut boot = std::fs::read("/usr/lib/grub/i386-pc/boot.img").expect("grub-pc-bin is installed");
        assert_eq!((is_boot_code(&boot), core_sector(&boot)), (true, Some(1)));
        boot[KERNEL_SECTOR..KERNEL_SECTOR + 8].copy_from_slice(&34_u64.to_le_bytes());
        assert_eq!(core_sector(&boot), Some(34));
        assert_eq!((is_boot_code(&boot[..400]), core_sector(&[0; 512])), (false, None));
    }

    #[test]
    fn a_core_that_unpacks_at_every_place_to_nothing_of_use_is_given_up_soon() {
        // Zeros are a stream of zeros, wherever it begins.
        let (zeros, mut once, mut all) = (vec![0; 20_000], 0, 0);
        assert_eq!(lzma(&zeros, LARGEST, &mut once), None);
        assert!(
            once * (SECTOR + 1) > 4 * MOST_TRIED,
            "{once} bytes at each place are not as costly as they were meant to be"
        );
        assert_eq!(first_whole((0..=SECTOR).map(|_| &zeros[..]), LARGEST, &mut all), None);
        assert!(all > MOST_TRIED && all <= MOST_TRIED + once, "{all}");
    }

    #[test]
    fn what_is_no_core_or_a_damaged_one_is_told() {
        let core = core();
        assert_eq!(unpack(&[0; 4096]), Err(NoCore::Foreign));
        assert_eq!(unpack(&[0xff; 32 << 10]), Err(NoCore::Foreign));
        for length in [0, 100, SECTOR, 4096, core.len() - 1] {
            assert_eq!(unpack(&core[..length]), Err(NoCore::Truncated), "{length}");
        }
        let mut changed = core.clone();
        changed[core.len() / 2] ^= 0x10;
        assert_eq!(unpack(&changed), Err(NoCore::Damaged));
        for (at, value) in [(COMPRESSED_SIZE, 0_u32), (UNCOMPRESSED_SIZE, u32::MAX), (REDUNDANCY, u32::MAX)] {
            let mut changed = core.clone();
            changed[at..at + 4].copy_from_slice(&value.to_le_bytes());
            assert_eq!(unpack(&changed), Err(NoCore::Foreign), "{at}");
        }
    }
}
