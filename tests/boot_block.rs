//! Copying boot blocks between real block devices. Needs root and loop devices; says so where there are none.

mod loop_disk;

use diskmirror::boot_block::copy_boot_code;
use diskmirror::units::MIB;
use loop_disk::{LoopDisk, Mounted, assert_refused, diskmirror, stderr};
use std::process::Output;

const SIZE: u64 = 16 * MIB;

/// Two disks of different content: boot blocks that differ in every byte but the boot signature.
fn two_disks(sector: u32) -> Option<(LoopDisk, LoopDisk)> {
    let disks = (LoopDisk::new(SIZE, sector)?, LoopDisk::new(SIZE, sector)?);
    for (disk, base) in [(&disks.0, 1u8), (&disks.1, 101)] {
        let mut block: Vec<u8> = (0..512u32).map(|at| base.wrapping_add((at % 97) as u8)).collect();
        // No record of a partition, so that the kernel makes none up: type 0.
        block[446..510].fill(0);
        block[446..450].fill(base);
        block[510..].copy_from_slice(&[0x55, 0xAA]);
        disk.put(0, &block);
        disk.put(512, &vec![base; MIB as usize]);
    }
    Some(disks)
}

fn copy(options: &[&str], from: &LoopDisk, to: &LoopDisk, rest: &[&str]) -> Output {
    diskmirror(&[&["boot-block", "copy"], options, &[from.arg(), to.arg()], rest].concat())
}

#[track_caller]
fn assert_refused_and_untouched(from: &LoopDisk, to: &LoopDisk, rest: &[&str], words: &[&str]) {
    let before = (from.digest(), to.digest());
    let (options, rest) = rest.split_at(usize::from(rest.first() == Some(&"--keep-table")));
    assert_refused(&copy(options, from, to, rest), words);
    assert_eq!((from.digest(), to.digest()), before, "a refusal writes nothing");
}

#[test]
fn keeping_the_table_changes_bytes_0_to_439_and_no_other() {
    for sector in [512, 4096] {
        let Some((from, to)) = two_disks(sector) else { return };
        let (source, before) = (from.bytes(), to.bytes());
        let output = copy(&["--keep-table"], &from, &to, &[]);
        assert_eq!(output.status.code(), Some(0), "{}", stderr(&output));
        let after = to.bytes();
        for at in 0..before.len() {
            let wanted = if at < 440 { source[at] } else { before[at] };
            assert_eq!(after[at], wanted, "byte {at}, sectors of {sector}");
        }
        assert!(from.bytes() == source, "the disk that is read is not written to");
    }
}

#[test]
fn the_whole_boot_block_is_512_bytes_and_makes_twins_which_is_said() {
    for sector in [512, 4096] {
        let Some((from, to)) = two_disks(sector) else { return };
        let (source, before) = (from.bytes(), to.bytes());
        let output = copy(&[], &from, &to, &["--erase", to.arg()]);
        assert_eq!(output.status.code(), Some(0), "{}", stderr(&output));
        assert!(
            stderr(&output).contains("every PARTUUID of one is a twin of the other's"),
            "{}",
            stderr(&output)
        );
        let after = to.bytes();
        assert!(after[..512] == source[..512] && after[512..] == before[512..], "sectors of {sector}");
    }
}

#[test]
fn a_blank_disk_takes_a_boot_block_without_being_confirmed() {
    let Some((from, _)) = two_disks(512) else { return };
    let Some(blank) = LoopDisk::new(SIZE, 512) else { return };
    assert_eq!(copy(&[], &from, &blank, &[]).status.code(), Some(0));
    assert!(blank.bytes()[..512] == from.bytes()[..512]);
}

#[test]
fn the_gap_is_copied_to_the_byte_and_nothing_behind_it() {
    for (sector, gap) in [(512, 2047 * 512), (4096, MIB - 512), (4096, 1000), (512, 0)] {
        let Some((from, to)) = two_disks(sector) else { return };
        let (source, before) = (from.bytes(), to.bytes());
        copy_boot_code(&from.path, &to.path, gap).expect("it is copied");
        let after = to.bytes();
        let end = 512 + gap as usize;
        assert!(after[..440] == source[..440], "boot code");
        assert!(after[440..512] == before[440..512], "signature and table");
        assert!(after[512..end] == source[512..end], "the gap of {gap} bytes");
        assert!(after[end..] == before[end..], "what lies behind the gap of {gap} bytes");
    }
}

#[test]
fn a_gap_that_reaches_beyond_a_disk_is_not_begun() {
    let Some((from, to)) = two_disks(512) else { return };
    let before = to.digest();
    let failure = copy_boot_code(&from.path, &to.path, SIZE).expect_err("the disks end before");
    assert!(failure.state.starts_with("nothing was written"), "{failure}");
    assert_eq!(to.digest(), before);
}

#[test]
fn a_table_is_not_replaced_without_the_right_confirmation() {
    let Some((from, to)) = two_disks(512) else { return };
    to.partition("label: dos\nsize=4M\n");
    assert_refused_and_untouched(&from, &to, &[], &["not confirmed", "--erase "]);
    assert_refused_and_untouched(&from, &to, &["--erase", "S5GX123"], &["not the disk that was confirmed"]);
    assert_refused_and_untouched(&from, &to, &["--erase", from.arg()], &["not the disk that was confirmed"]);
}

#[test]
fn a_file_system_without_a_table_needs_a_confirmation_too() {
    let Some((from, _)) = two_disks(512) else { return };
    let Some(to) = LoopDisk::new(SIZE, 512) else { return };
    drop(Mounted::ext4(&to.path));
    assert_refused_and_untouched(&from, &to, &[], &["not confirmed"]);
}

#[test]
fn the_table_of_a_disk_in_use_is_not_replaced_but_its_boot_code_may_be() {
    let Some((from, to)) = two_disks(512) else { return };
    to.partition("label: dos\nsize=12M\n");
    let mounted = Mounted::ext4(&to.part(1));
    let used = format!("{}p1 is mounted on {}", to.arg(), mounted.at().display());
    assert_refused_and_untouched(&from, &to, &["--erase", to.arg()], &["in use", &used]);
    let before = to.bytes();
    let output = copy(&["--keep-table"], &from, &to, &[]);
    assert_eq!(output.status.code(), Some(0), "{}", stderr(&output));
    let after = to.bytes();
    assert!(after[..440] == from.bytes()[..440] && after[440..MIB as usize] == before[440..MIB as usize]);
}

#[test]
fn what_cannot_be_a_boot_disk_is_not_copied_from() {
    let Some((from, to)) = two_disks(512) else { return };
    from.put(510, &[0, 0]);
    assert_refused_and_untouched(&from, &to, &["--keep-table"], &["no boot block", "0x55 0xAA"]);
    from.put(510, &[0x55, 0xAA]);
    from.put(0, &[0; 440]);
    assert_refused_and_untouched(&from, &to, &["--keep-table"], &["no boot code"]);
    from.put(0, &[1; 440]);
    from.put(450, &[0xEE]);
    assert_refused_and_untouched(&from, &to, &["--erase", to.arg()], &["GPT", "copy --keep-table"]);
}

#[test]
fn a_disk_is_not_copied_to_itself_nor_to_sectors_of_another_size_nor_to_a_partition() {
    let Some((from, to)) = two_disks(512) else { return };
    assert_refused_and_untouched(&from, &from, &["--keep-table"], &["both are the same disk"]);
    let Some(large) = LoopDisk::new(SIZE, 4096) else { return };
    let words = ["logical sectors of 512 bytes", "of 4096"];
    assert_refused_and_untouched(&from, &large, &["--keep-table"], &words);
    assert_refused_and_untouched(&from, &large, &[], &words);
    to.partition("label: dos\nsize=4M\n");
    let part = to.part(1);
    let before = to.digest();
    let output = diskmirror(&["boot-block", "copy", from.arg(), part.to_str().expect("ASCII")]);
    assert_refused(&output, &["is a partition", to.arg()]);
    assert_eq!(to.digest(), before);
}

#[test]
fn a_read_only_disk_is_refused_by_either_method() {
    let Some((from, to)) = two_disks(512) else { return };
    to.set_read_only(true);
    assert_refused_and_untouched(&from, &to, &["--keep-table"], &["read-only", "blockdev --setrw"]);
    assert_refused_and_untouched(&from, &to, &["--erase", to.arg()], &["read-only"]);
    to.set_read_only(false);
}
