//! The first 512 bytes of a PC disk: what of them is code and what says whose disk it is. Pure.
//!
//! The layout is that of the "modern standard MBR": UEFI specification 2.10 table 5-1 (boot code 0–439, unique
//! disk signature 440–443, unknown 444–445, four partition records 446–509, 0x55 0xAA).

use std::ops::Range;

/// Bytes in a boot block, whatever the disk's sector size.
pub const BOOT_BLOCK_BYTES: usize = 512;
/// The boot loader's first stage.
pub const BOOT_CODE: Range<usize> = 0..440;
/// What the kernel and the boot loader know the disk by; copied, every PARTUUID has a twin.
pub const DISK_SIGNATURE: Range<usize> = 440..444;
/// The four partition records.
pub const TABLE: Range<usize> = 446..510;
/// Where the boot signature stands.
pub const SIGNATURE: Range<usize> = 510..512;
/// What firmware looks for at 510 before it runs the code.
pub const BOOT_SIGNATURE: [u8; 2] = [0x55, 0xAA];
/// The partition type of the one record that stands in front of a GPT (UEFI 2.10, 5.2.3 "Protective MBR").
const PROTECTIVE: u8 = 0xEE;

/// A boot block.
pub type BootBlock = [u8; BOOT_BLOCK_BYTES];

/// The boot code of one block with everything else (signatures and table: bytes 440–511) of the other.
pub fn merge(boot_code_from: &BootBlock, keep: &BootBlock) -> BootBlock {
    let mut merged = *keep;
    merged[BOOT_CODE].copy_from_slice(&boot_code_from[BOOT_CODE]);
    merged
}

/// Whether firmware would take it for a boot block.
pub fn is_signed(block: &BootBlock) -> bool {
    block[SIGNATURE] == BOOT_SIGNATURE
}

/// Whether the table in it only stands in front of a GPT.
pub fn is_protective(block: &BootBlock) -> bool {
    is_signed(block) && block[TABLE].chunks_exact(16).any(|record| record[4] == PROTECTIVE)
}

/// Whether there is any boot code at all.
pub fn has_code(block: &BootBlock) -> bool {
    block[BOOT_CODE].iter().any(|byte| *byte != 0)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn merging_takes_the_code_from_one_block_and_every_other_byte_from_the_other() {
        let merged = merge(&[1; 512], &[2; 512]);
        for (at, byte) in merged.iter().enumerate() {
            assert_eq!(*byte, if at < 440 { 1 } else { 2 }, "byte {at}");
        }
    }

    #[test]
    fn a_gpts_stand_in_is_told_from_a_table() {
        let mut block = [0; 512];
        assert!(!is_signed(&block) && !has_code(&block));
        block[SIGNATURE].copy_from_slice(&BOOT_SIGNATURE);
        block[450] = 0x83;
        assert!(is_signed(&block) && !is_protective(&block));
        block[450] = 0xEE;
        assert!(is_protective(&block));
    }
}
