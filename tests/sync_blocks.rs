//! Large files that change a little: only blocks that differ are written, into a copy that shares the rest (XFS) or in
//! their own place (ext4), and whatever happens each file is its old or its new version.

mod common;

use common::killed;
use common::loopfs::{Kind, LoopFs};
use common::raw::{Mapping, Shutdown};
use common::rng::Rng;
use common::sync_command::{self as sync, Report};
use rustix::fs::{FallocateFlags, fallocate};
use std::fs::{self, File, OpenOptions};
use std::os::fd::AsFd;
use std::os::unix::fs::{FileExt, MetadataExt};
use std::path::{Path, PathBuf};
use std::process::{Command, Stdio};
use std::time::{Duration, Instant};

const MIB: u64 = 1 << 20;
/// Above the size from which blocks are kept (64 MiB).
const SIZE: u64 = 72 * MIB;
/// As much of it is data, in its first part; the rest is a hole.
const DATA: u64 = 12 * MIB;
/// More than two ticks of any kernel's clock.
const TICKS: Duration = Duration::from_millis(60);
const NO_REFLINK: &[&str] = &["-m", "reflink=0"];

/// A source, its copy on a file system of its own, and a catalog.
struct Pair {
    sources: LoopFs,
    mirrors: LoopFs,
    scratch: tempfile::TempDir,
}

impl Pair {
    fn new(kind: Kind, options: &[&str]) -> Pair {
        let (sources, mirrors) = (LoopFs::new(kind, 400), LoopFs::with_options(kind, 400, options));
        let pair = Pair { sources, mirrors, scratch: common::scratch() };
        pair.sources.dir("source");
        pair.mirrors.dir("copy");
        pair
    }
    /// With one file, of which the next sync knows the blocks.
    fn known(kind: Kind, options: &[&str]) -> Pair {
        let pair = Pair::new(kind, options);
        pair.make("big", 1);
        pair.sync();
        pair.settle();
        pair
    }
    fn at(&self, name: &str) -> PathBuf {
        self.sources.path().join("source").join(name)
    }
    fn copied(&self, name: &str) -> PathBuf {
        self.mirrors.path().join("copy").join(name)
    }
    fn maps(&self) -> Vec<PathBuf> {
        let entries = fs::read_dir(self.scratch.path().join("catalog.blocks"));
        entries.into_iter().flatten().map(|entry| entry.expect("read").path()).collect()
    }
    fn make(&self, name: &str, seed: u64) {
        let file = File::create(self.at(name)).expect("a file");
        file.write_all_at(&Rng::new(seed).bytes(DATA as usize), 0).expect("data");
        file.write_all_at(b"end", SIZE - 3).expect("data");
    }
    fn write(&self, name: &str, at: u64, bytes: &[u8]) {
        write(&self.at(name), at, bytes);
    }
    fn command(&self) -> Command {
        let catalog = self.scratch.path().join("catalog");
        sync::with_catalog(&self.at(""), &self.copied(""), &catalog, &[])
    }
    fn sync(&self) -> Report {
        sync::finish(&mut self.command()).expect_done()
    }
    /// Lets a tick pass and has the program look again: nothing is doubtful then.
    fn settle(&self) {
        std::thread::sleep(TICKS);
        self.sync();
        std::thread::sleep(TICKS);
    }
    fn assert_equal(&self, when: &str) {
        assert!(same(&self.at("big"), &self.copied("big")), "{when}: the copy is another");
        common::assert_equal(&self.at(""), &self.copied(""), when);
    }
    fn undo(&self) -> i32 {
        let mut command = Command::new(sync::program());
        let status = command.arg("undo").arg(self.copied("")).stderr(Stdio::null()).status();
        status.expect("the program can be run").code().unwrap_or(-1)
    }
    fn is_pending(&self) -> bool {
        fs::read_dir(self.copied(".diskmirror/undo")).is_ok_and(|mut entries| entries.next().is_some())
    }
}

fn write(path: &Path, at: u64, bytes: &[u8]) {
    let file = OpenOptions::new().write(true).open(path).expect("open");
    file.write_all_at(bytes, at).expect("written");
}

/// Whether two files are the same, byte for byte.
fn same(a: &Path, b: &Path) -> bool {
    Command::new("cmp").arg("-s").args([a, b]).status().expect("cmp is there").success()
}

/// Writes behind the program's back into the copy, and leaves no trace in size and time.
fn plant(path: &Path, at: u64) {
    let before = fs::metadata(path).expect("there").modified().expect("a time");
    let file = OpenOptions::new().write(true).open(path).expect("open");
    file.write_all_at(b"planted", at).expect("written");
    file.set_modified(before).expect("set");
    file.sync_all().expect("flushed");
}

fn allocated(path: &Path) -> u64 {
    fs::metadata(path).expect("there").blocks() * 512
}

const WAYS: [(Kind, &[&str], bool); 3] =
    [(Kind::Ext4, &[], true), (Kind::Xfs, NO_REFLINK, true), (Kind::Xfs, &[], false)];

#[test]
fn only_blocks_that_changed_are_written_and_the_mirror_is_not_read() {
    if !common::root_or_skip("file systems of their own") {
        return;
    }
    for (kind, options, in_place) in WAYS {
        let pair = Pair::known(kind, options);
        let ino = fs::metadata(pair.copied("big")).expect("there").ino();
        plant(&pair.copied("big"), 5 * MIB);
        pair.write("big", MIB + 70, b"changed");
        let report = pair.sync();
        let written = report.count("bytes_copied");
        assert!((1..=64 * 1024).contains(&written), "{kind:?} {options:?}: {written} bytes were written");
        assert_eq!(report.count("files_copied"), 1);
        let stayed = fs::metadata(pair.copied("big")).expect("there").ino() == ino;
        assert_eq!(stayed, in_place, "{kind:?} {options:?}");
        let copy = fs::read(pair.copied("big")).expect("read");
        assert_eq!(&copy[5 * MIB as usize..][..7], b"planted", "a block that did not change was looked at");
        assert_eq!(&copy[MIB as usize + 70..][..7], b"changed");
        pair.write("big", 5 * MIB + 1, b"x");
        pair.settle();
        pair.sync();
        pair.assert_equal("once more");
        assert!(!pair.copied(".diskmirror").exists(), "nothing is left behind");
    }
}

#[test]
fn a_map_that_is_damaged_foreign_or_of_another_state_is_not_used() {
    if !common::root_or_skip("file systems of their own") {
        return;
    }
    let pair = Pair::known(Kind::Ext4, &[]);
    let [map] = &pair.maps()[..] else { panic!("one map") };
    let kept = fs::read(map).expect("read");
    // The state before an update: what it says of the block is true no longer.
    pair.write("big", MIB, b"second");
    assert!(pair.sync().count("bytes_copied") < MIB);
    pair.settle();
    let now = fs::read(map).expect("read");
    let spoil = |what: &str, bytes: &[u8]| {
        fs::write(map, bytes).expect("written");
        pair.write("big", 2 * MIB, what.as_bytes());
        let written = pair.sync().count("bytes_copied");
        assert!(written > DATA / 2, "{what}: {written} bytes were written");
        pair.assert_equal(what);
        pair.settle();
    };
    spoil("the map of an earlier state", &kept);
    let mut head = now.clone();
    head[30] ^= 1;
    spoil("another head", &head);
    spoil("no map at all", b"");
    // A page that is damaged is not believed; the others are.
    let mut page = fs::read(map).expect("read");
    page[4096 + 500] ^= 1;
    spoil("a damaged page", &page);
}

#[test]
fn maps_go_with_their_files_and_with_a_catalog_that_is_not_believed() {
    if !common::root_or_skip("file systems of their own") {
        return;
    }
    let pair = Pair::known(Kind::Ext4, &[]);
    pair.make("other", 2);
    pair.sync();
    pair.settle();
    assert_eq!(pair.maps().len(), 2);
    fs::rename(pair.at("other"), pair.at("renamed")).expect("renamed");
    pair.sync();
    assert_eq!(pair.maps().len(), 2);
    fs::remove_file(pair.at("renamed")).expect("removed");
    pair.sync();
    assert_eq!(pair.maps().len(), 1);
    File::create(pair.at("big")).expect("emptied");
    pair.sync();
    assert_eq!(pair.maps().len(), 0, "a small file has none");
    pair.make("big", 3);
    pair.sync();
    pair.settle();
    assert_eq!(pair.maps().len(), 1);
    fs::write(pair.copied("strange"), "somebody else wrote here").expect("written");
    pair.sync();
    assert_eq!(pair.maps().len(), 0, "the mirror was changed by others");
    pair.write("big", 0, b"whole");
    assert!(pair.sync().count("bytes_copied") >= DATA);
    pair.assert_equal("copied whole");
}

#[test]
fn a_file_with_several_names_on_the_mirror_is_not_written_in_its_place() {
    if !common::root_or_skip("file systems of their own") {
        return;
    }
    let pair = Pair::new(Kind::Ext4, &[]);
    pair.make("big", 1);
    fs::hard_link(pair.at("big"), pair.at("twin")).expect("linked");
    pair.sync();
    pair.settle();
    fs::remove_file(pair.at("twin")).expect("removed");
    pair.make("twin", 1);
    pair.write("big", 7, b"of one only");
    pair.sync();
    pair.assert_equal("two files by now");
}

#[test]
fn random_changes_are_mirrored_to_the_byte() {
    if !common::root_or_skip("file systems of their own") {
        return;
    }
    for (number, (kind, options, _)) in WAYS.into_iter().enumerate() {
        let (pair, mut rng) = (Pair::known(kind, options), Rng::new(7 + number as u64));
        for round in 0..14 {
            let mut done = Vec::new();
            for _ in 0..rng.range(1, 5) {
                done.push(change(&pair.at("big"), &mut rng));
            }
            std::thread::sleep(TICKS);
            let report = pair.sync();
            let when = format!("{kind:?} {options:?}, round {round}, {done:?}, {:?}", report.json);
            assert!(same(&pair.at("big"), &pair.copied("big")), "{when}");
            let (is, should) = (allocated(&pair.copied("big")), allocated(&pair.at("big")));
            assert!(is <= should + 4 * MIB, "{when}: {is} bytes allocated for {should}");
        }
        pair.assert_equal("at the end");
    }
}

/// One change of a kind that files undergo.
fn change(path: &Path, rng: &mut Rng) -> String {
    let file = OpenOptions::new().read(true).write(true).open(path).expect("open");
    let size = file.metadata().expect("there").len();
    let (at, length) = (rng.below(size), *rng.pick(&[1, 4096, 10_000, 65_536, 3_000_000]));
    let length = length.min(size - at);
    let what = rng.below(6);
    match what {
        0 | 1 => file.write_all_at(&rng.bytes(length as usize), at).expect("written"),
        2 => file.write_all_at(&rng.bytes(200_000), size + rng.below(2) * 300_000).expect("grown"),
        3 => file.set_len(size - size / 16).expect("cut"),
        4 => {
            let how = FallocateFlags::PUNCH_HOLE | FallocateFlags::KEEP_SIZE;
            fallocate(&file, how, at, length.max(1)).expect("punched");
        }
        _ => {
            let mut mapping = Mapping::new(file.as_fd()).expect("mapped");
            mapping.store(rng.below(4096) as usize, rng.below(256) as u8);
        }
    }
    format!("{what} at {at}, {length} of {size}")
}

/// Changes a third of the data, grows or cuts the file, and gives back where the old version is kept.
fn next_version(pair: &Pair, rng: &mut Rng, round: usize) -> PathBuf {
    let (path, kept) = (pair.at("big"), pair.scratch.path().join("old"));
    let copied = Command::new("cp").arg("--sparse=always").args([&path, &kept]).status();
    assert!(copied.expect("cp is there").success());
    let file = OpenOptions::new().write(true).open(&path).expect("open");
    for _ in 0..40 {
        file.write_all_at(&rng.bytes(100_000), rng.below(DATA)).expect("written");
    }
    let how = FallocateFlags::PUNCH_HOLE | FallocateFlags::KEEP_SIZE;
    fallocate(&file, how, rng.below(DATA), 2 * MIB).expect("punched");
    let size = if round.is_multiple_of(2) { SIZE + MIB } else { SIZE - 2 * MIB };
    file.set_len(size).expect("another size");
    std::thread::sleep(TICKS);
    kept
}

/// Cuts syncs off at moments spread over one's whole length, until `times` were: by `cut`, which is told how far it is,
/// and which says whether old content is still to be put back.
fn survives(
    pair: &mut Pair,
    times: usize,
    put_back: bool,
    mut cut: impl FnMut(&mut Pair, &mut std::process::Child),
) {
    let mut rng = Rng::new(99);
    next_version(pair, &mut rng, 0);
    let since = Instant::now();
    pair.sync();
    let (mut span, mut cuts, mut pending, mut rounds) = (since.elapsed(), 0, 0, 0);
    while cuts < times {
        rounds += 1;
        assert!(rounds < 6 * times + 20, "only {cuts} cuts came before the end");
        pair.settle();
        let old = next_version(pair, &mut rng, rounds);
        let mut child = pair.command().stdout(Stdio::null()).stderr(Stdio::null()).spawn().expect("started");
        std::thread::sleep(span.mul_f64(rng.below(1000) as f64 / 1000.0));
        let early = child.try_wait().expect("a child").is_none();
        span = span.mul_f64(if early { 1.1 } else { 0.8 });
        cuts += usize::from(early);
        cut(pair, &mut child);
        child.wait().expect("reaped");
        let was_pending = pair.is_pending();
        pending += usize::from(was_pending);
        let when = format!("round {rounds}, put back: {was_pending}");
        if rounds.is_multiple_of(3) {
            pair.sync();
        } else {
            assert_eq!(pair.undo(), 0, "{when}");
            let copy = pair.copied("big");
            assert!(same(&copy, &old) || same(&copy, &pair.at("big")), "{when}: neither old nor new");
            if was_pending && same(&copy, &old) {
                let [is, was] = [&copy, &old].map(|path| fs::metadata(path).expect("there").len());
                assert_eq!(is, was, "{when}");
            }
            pair.sync();
        }
        // As it is on the disk: an XFS that shares content takes room ahead for what is written, and says of a hole there that it
        // holds data as long as its pages are cached.
        pair.mirrors.unmount();
        pair.mirrors.mount();
        pair.assert_equal(&when);
        assert!(!pair.copied(".diskmirror").exists(), "{when}: something is left behind");
    }
    // Which moments are met is chance; that there is something to put back is not (`half_written`).
    assert!(put_back || pending == 0, "{pending} of {cuts} cuts left something to put back");
    println!("{cuts} cuts before the end, {} after it, {pending} to be put back", rounds - cuts);
}

fn kills() -> usize {
    std::env::var("DISKMIRROR_KILLS").map_or(15, |text| text.parse().expect("a number")) / 3
}

#[test]
fn a_kill_leaves_the_old_or_the_new_version() {
    if !common::root_or_skip("kills on a file system of their own") {
        return;
    }
    for (kind, options, in_place) in WAYS {
        let mut pair = Pair::known(kind, options);
        survives(&mut pair, kills(), in_place, |_, child| drop(child.kill()));
        if in_place {
            let pair = half_written(kind, options);
            assert_eq!(pair.undo(), 0);
            assert!(
                same(&pair.copied("big"), &pair.scratch.path().join("old")),
                "{kind:?}: not the old version"
            );
        }
    }
}

#[test]
fn a_power_cut_leaves_the_old_or_the_new_version() {
    if !common::root_or_skip("hard shutdowns of a file system") {
        return;
    }
    for (kind, options, in_place) in WAYS {
        let mut pair = Pair::known(kind, options);
        let mut number = 0;
        survives(&mut pair, kills(), in_place, |pair, child| {
            number += 1;
            let how = if number % 3 == 0 { Shutdown::LogFlush } else { Shutdown::NoLogFlush };
            pair.mirrors.shut_down(how).expect("the file system can be shut down");
            child.wait().expect("it ends by itself");
            pair.mirrors.unmount();
            pair.mirrors.mount();
        });
    }
}

#[test]
fn a_mirror_without_room_for_a_second_copy_is_brought_up_to_date_in_place() {
    if !common::root_or_skip("a file system of its own") {
        return;
    }
    let (sources, mirror) = (LoopFs::new(Kind::Ext4, 300), LoopFs::new(Kind::Ext4, 120));
    let (source, copy) = (sources.dir("source"), mirror.dir("copy"));
    let mut rng = Rng::new(3);
    fs::write(source.join("big"), rng.bytes(70 * MIB as usize)).expect("written");
    sync::sync(&source, &copy);
    write(&source.join("big"), 33 * MIB, &rng.bytes(5000));
    let report = sync::sync(&source, &copy);
    assert!(report.count("bytes_copied") <= 2 * 65_536, "{report:?}");
    common::assert_equal(&source, &copy, "in place");
    // What is truly too much is an error, and the old version stays.
    let old = fs::read(copy.join("big")).expect("read");
    fs::write(source.join("big"), rng.bytes(70 * MIB as usize)).expect("written");
    let report = sync::run(&source, &copy, &[]);
    assert_eq!(report.exit, 3, "{report:?}");
    assert!(report.stderr.contains("No space left"), "{report:?}");
    assert!(fs::read(copy.join("big")).expect("read") == old, "the old version is gone");
}

#[test]
fn what_is_kept_is_put_back_only_where_it_belongs_and_only_if_nobody_else_wrote_it() {
    if !common::root_or_skip("foreign owners") {
        return;
    }
    let pair = half_written(Kind::Ext4, &[]);
    let [undo, foreign] = [".diskmirror/undo", ".diskmirror/foreign"].map(|name| pair.copied(name));
    std::os::unix::fs::chown(&undo, Some(1234), None).expect("given away");
    assert_eq!(pair.undo(), 3, "somebody else could have written it");
    assert!(!pair.is_pending() && !same(&pair.copied("big"), &pair.scratch.path().join("old")));
    assert_eq!(fs::read_dir(&foreign).expect("there").count(), 1, "it is kept, out of the way");
    pair.sync();
    assert!(
        same(&pair.copied("big"), &pair.at("big")),
        "what is half written for want of it is copied again"
    );
    // Another file in its place is left alone, and that is said.
    let pair = half_written(Kind::Ext4, &[]);
    fs::rename(pair.copied("big"), pair.copied("moved")).expect("moved");
    fs::write(pair.copied("big"), "another").expect("written");
    assert_eq!(pair.undo(), 3);
    assert_eq!(fs::read(pair.copied("big")).expect("read"), b"another");
    assert!(!pair.is_pending());
    pair.sync();
    pair.assert_equal("the next sync");
}

#[test]
fn a_dry_run_says_that_something_is_to_be_put_back_and_leaves_it() {
    if !common::root_or_skip("kills on a file system of their own") {
        return;
    }
    let pair = half_written(Kind::Ext4, &[]);
    let report = sync::run(&pair.at(""), &pair.copied(""), &["--dry-run"]);
    assert!(report.stderr.contains("half written"), "{report:?}");
    assert!(pair.is_pending());
    assert_eq!(pair.undo(), 0);
    assert!(same(&pair.copied("big"), &pair.scratch.path().join("old")));
    let time = |path: &Path| fs::metadata(path).expect("there").modified().expect("a time");
    assert_eq!(
        time(&pair.copied("big")),
        time(&pair.scratch.path().join("reference")),
        "its time is the old one"
    );
}

/// A pair whose sync was killed in the middle of its file: before the second part of what stood in it is kept.
fn half_written(kind: Kind, options: &[&str]) -> Pair {
    let pair = Pair::known(kind, options);
    let reference = File::create(pair.scratch.path().join("reference")).expect("a file");
    let time = fs::metadata(pair.copied("big")).expect("there").modified().expect("a time");
    reference.set_modified(time).expect("set");
    let old = next_version(&pair, &mut Rng::new(5), 0);
    pair.write("big", 0, &Rng::new(6).bytes(DATA as usize));
    std::thread::sleep(TICKS);
    // The first one is the catalog's, the second comes before the first part is written.
    assert!(killed::at_call(&pair.command(), "fdatasync", 3));
    assert!(pair.is_pending() && !same(&pair.copied("big"), &old), "it is half written");
    pair
}
