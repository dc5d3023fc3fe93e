//! Filling real block devices. Needs root and loop devices; says so where there are none.

mod loop_disk;

use diskmirror::fill::{Filled, Job, SAMPLE_BYTES, fill};
use diskmirror::monitor::{Monitor, Silent, Unit};
use diskmirror::step::Filling;
use diskmirror::units::{Bytes, MIB};
use loop_disk::{LoopDisk, Mounted, assert_refused, diskmirror, stderr};
use std::fs;
use std::path::Path;
use std::sync::Mutex;
use std::sync::atomic::{AtomicU32, Ordering::Relaxed};

/// Keeps what it is told.
#[derive(Default)]
struct Notes(Mutex<Vec<String>>);

impl Monitor for Notes {
    fn note(&self, text: &str) {
        self.0.lock().expect("not poisoned").push(text.to_owned());
    }
    fn warn(&self, text: &str) {
        self.note(text);
    }
    fn begin(&self, _: &str, _: Option<u64>, _: Unit) {}
    fn advance(&self, _: u64) {}
    fn end(&self) {}
}

fn job<'a>(
    disk: &'a LoopDisk,
    with: Filling,
    bytes: u64,
    state: &'a Path,
    stop: &'a dyn Fn() -> bool,
) -> Job<'a> {
    Job { device: &disk.path, with, bytes, checkpoints: Some(state), stop }
}

fn never() -> bool {
    false
}

/// Runs `job`s on a disk until the first was stopped after `pieces` pieces; returns how it ended.
fn stopped_fill(disk: &LoopDisk, with: Filling, state: &Path, pieces: u32) -> Filled {
    let asked = AtomicU32::new(0);
    let stop = || asked.fetch_add(1, Relaxed) >= pieces;
    let filled = fill(&job(disk, with, disk_size(disk), state, &stop), &Silent).expect("it is only stopped");
    assert!(filled.stopped() && filled.reached > 0, "{filled:?}");
    filled
}

fn disk_size(disk: &LoopDisk) -> u64 {
    disk.bytes().len() as u64
}

/// The 4 KiB blocks that hold nothing but zeros.
fn zero_blocks(bytes: &[u8]) -> usize {
    bytes.chunks(4096).filter(|block| block.iter().all(|byte| *byte == 0)).count()
}

#[test]
fn random_filling_leaves_no_block_as_it_was_and_none_like_another() {
    let Some(disk) = LoopDisk::new(5 * MIB + 4096, 512) else { return };
    let state = tempfile::tempdir().expect("a directory");
    let notes = Notes::default();
    let size = disk_size(&disk);
    let filled = fill(&job(&disk, Filling::Random, size, state.path(), &never), &notes).expect("it fills");
    assert_eq!((filled.from, filled.reached), (0, size));
    let bytes = disk.bytes();
    let mut blocks: Vec<_> = bytes.chunks(512).collect();
    blocks.sort_unstable();
    blocks.dedup();
    assert_eq!((zero_blocks(&bytes), blocks.len() as u64), (0, size / 512));
    let notes = notes.0.into_inner().expect("not poisoned");
    assert!(
        notes[0].starts_with("measured ") && notes[0].contains(" on the first 5.00 MiB: about "),
        "{notes:?}"
    );
    assert_eq!(fs::read_dir(state.path()).expect("it exists").count(), 0, "no checkpoint stays behind");
}

#[test]
fn zeros_and_discards_leave_zeros() {
    for with in [Filling::Zero, Filling::Discard] {
        let Some(disk) = LoopDisk::new(3 * MIB, 4096) else { return };
        disk.put(0, &vec![7; 3 * MIB as usize]);
        let state = tempfile::tempdir().expect("a directory");
        fill(&job(&disk, with, 3 * MIB, state.path(), &never), &Silent).expect("it fills");
        assert_eq!(zero_blocks(&disk.bytes()), 3 * 256, "{with:?}");
    }
}

#[test]
fn a_length_that_is_no_whole_sector_is_filled_to_its_last_byte_and_not_one_further() {
    for sector in [512, 4096] {
        let Some(disk) = LoopDisk::new(4 * MIB, sector) else { return };
        disk.put(0, &vec![7; 4 * MIB as usize]);
        let state = tempfile::tempdir().expect("a directory");
        let length = 2 * MIB + 4096 + 100;
        let filled =
            fill(&job(&disk, Filling::Zero, length, state.path(), &never), &Silent).expect("it fills");
        assert!(!filled.stopped());
        let bytes = disk.bytes();
        let (filled, rest) = bytes.split_at(length as usize);
        assert!(filled.iter().all(|byte| *byte == 0) && rest.iter().all(|byte| *byte == 7), "{sector}");
    }
}

#[test]
fn a_stopped_fill_goes_on_where_it_was_and_keeps_what_it_wrote() {
    let Some(disk) = LoopDisk::new(SAMPLE_BYTES + 20 * MIB, 512) else { return };
    let state = tempfile::tempdir().expect("a directory");
    let first = stopped_fill(&disk, Filling::Random, state.path(), 105);
    let before = disk.bytes();
    assert!(zero_blocks(&before) > 0, "it was stopped before the end");
    let notes = Notes::default();
    let size = before.len() as u64;
    let second = fill(&job(&disk, Filling::Random, size, state.path(), &never), &notes).expect("it fills");
    assert_eq!((second.from, second.reached), (first.reached, size));
    assert!(notes.0.into_inner().expect("not poisoned")[0].starts_with("resuming at 1"), "behind the sample");
    let after = disk.bytes();
    assert!(before[..first.reached as usize] == after[..first.reached as usize], "what was filled is kept");
    assert_eq!(zero_blocks(&after), 0);
}

#[test]
fn a_fill_begins_anew_where_what_it_wrote_was_overwritten_since() {
    for offset_from_the_end_of_the_filled in [None, Some(4096)] {
        let Some(disk) = LoopDisk::new(20 * MIB, 512) else { return };
        let state = tempfile::tempdir().expect("a directory");
        let first = stopped_fill(&disk, Filling::Random, state.path(), 5);
        disk.put(offset_from_the_end_of_the_filled.map_or(512, |n| first.reached - n), b"somebody's data");
        let second = fill(&job(&disk, Filling::Random, 20 * MIB, state.path(), &never), &Silent);
        assert_eq!(second.expect("it fills").from, 0, "{offset_from_the_end_of_the_filled:?}");
    }
}

#[test]
fn zeros_are_not_taken_for_the_beginning_of_a_random_fill() {
    let Some(disk) = LoopDisk::new(20 * MIB, 512) else { return };
    let state = tempfile::tempdir().expect("a directory");
    stopped_fill(&disk, Filling::Zero, state.path(), 5);
    let random = fill(&job(&disk, Filling::Random, 20 * MIB, state.path(), &never), &Silent);
    assert_eq!(random.expect("it fills").from, 0);
}

#[test]
fn a_write_that_fails_is_told_with_its_offset_and_what_is_filled() {
    let Some(disk) = LoopDisk::failing(8 * MIB, 3 * MIB) else { return };
    let state = tempfile::tempdir().expect("a directory");
    let filled = fill(&job(&disk, Filling::Random, 8 * MIB, state.path(), &never), &Silent);
    let failure = filled.expect_err("there is no room for more than 3 MiB");
    let offset = failure.what.split("writing failed at byte ").nth(1).and_then(|rest| rest.split(' ').next());
    let offset: u64 = offset.and_then(|digits| digits.parse().ok()).expect("the offset is told");
    assert!((MIB..=3 * MIB).contains(&offset), "{failure}");
    assert!(failure.why[0].contains("No space left on device"), "{failure}");
    let (filled, path) = (Bytes(offset / MIB * MIB), disk.arg());
    assert_eq!(failure.state, format!("the first {filled} of {path} are filled, the rest is not"));
    assert_eq!(zero_blocks(&disk.bytes()[..filled.0 as usize]), 0, "and they are");
}

#[test]
fn a_device_that_is_too_small_or_in_use_is_not_touched() {
    let Some(disk) = LoopDisk::new(16 * MIB, 512) else { return };
    let state = tempfile::tempdir().expect("a directory");
    let before = disk.digest();
    let failure = fill(&job(&disk, Filling::Random, 16 * MIB + 1, state.path(), &never), &Silent);
    assert!(failure.expect_err("it is too large").state.starts_with("nothing was written"));
    assert_eq!(disk.digest(), before);
    let mounted = Mounted::ext4(&disk.path);
    let failure = fill(&job(&disk, Filling::Random, MIB, state.path(), &never), &Silent);
    assert!(failure.expect_err("it is mounted").state.starts_with("nothing was written"));
    drop(mounted);
}

#[test]
fn the_command_refuses_what_is_mounted_and_names_every_mount() {
    let Some(disk) = LoopDisk::new(64 * MIB, 512) else { return };
    disk.partition("label: dos\nsize=20M\nsize=20M\nsize=20M\n");
    let (first, third) = (Mounted::ext4(&disk.part(1)), Mounted::ext4(&disk.part(3)));
    let output = diskmirror(&["fill", disk.arg(), "--erase", disk.arg()]);
    let (path, one, three) = (disk.arg(), first.at().display(), third.at().display());
    assert_refused(
        &output,
        &[&format!("{path}p1 is mounted on {one}"), &format!("{path}p3 is mounted on {three}")],
    );
    // The partition between them is free.
    let part = disk.part(2);
    let part = part.to_str().expect("ASCII");
    assert_refused(&diskmirror(&["fill", part]), &["not confirmed", &format!("--erase {path}")]);
}

#[test]
fn the_command_refuses_without_writing() {
    let Some(disk) = LoopDisk::new(4 * MIB, 512) else { return };
    disk.put(0, b"precious");
    let before = disk.digest();
    assert_refused(&diskmirror(&["fill", disk.arg()]), &["not confirmed", "do:    diskmirror fill "]);
    assert_refused(&diskmirror(&["fill", disk.arg(), "--erase", "S5GX123"]), &["not the disk", "S5GX123"]);
    let other = format!("{}0", disk.arg());
    assert_refused(&diskmirror(&["fill", disk.arg(), "--erase", &other]), &["not the disk"]);
    let none = ["fill", disk.arg(), "--with", "none", "--erase", disk.arg()];
    assert_refused(&diskmirror(&none), &["nothing is to be written"]);
    assert_refused(&diskmirror(&["fill", "/dev/null", "--erase", "/dev/null"]), &["not a block device"]);
    assert_refused(&diskmirror(&["fill", "/etc/passwd", "--erase", "/etc/passwd"]), &["not a block device"]);
    disk.set_read_only(true);
    assert_refused(
        &diskmirror(&["fill", disk.arg(), "--erase", disk.arg()]),
        &["read-only", "blockdev --setrw"],
    );
    disk.set_read_only(false);
    assert_eq!(disk.digest(), before);
}

#[test]
fn the_command_fills_the_disk_that_was_confirmed() {
    let Some(disk) = LoopDisk::new(4 * MIB, 512) else { return };
    let root = tempfile::tempdir().expect("a directory");
    let root = root.path().to_str().expect("ASCII");
    let output = diskmirror(&["--root", root, "fill", disk.arg(), "--erase", disk.arg()]);
    assert_eq!(output.status.code(), Some(0), "{}", stderr(&output));
    assert!(String::from_utf8_lossy(&output.stdout).contains("is filled: 4.00 MiB in "), "{output:?}");
    assert_eq!(zero_blocks(&disk.bytes()), 0);
}
