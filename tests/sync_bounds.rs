//! Trees that cost much if anything is done once too often: what a user makes in a second must take neither the server's
//! memory nor a run's whole interval. Nothing is timed: system calls and the peak of memory are counted.

mod common;

use common::loopfs::{Kind, LoopFs, tool};
use common::sync_command::{self as sync, Report};
use common::{assert_equal, root_or_skip, skipped};
use rustix::fs::{CWD, Mode, OFlags, openat};
use std::fs;
use std::io;
use std::os::fd::OwnedFd;
use std::path::{Path, PathBuf};
use std::process::Command;

/// What a sync may take, whatever the tree.
const MOST_MEMORY: u64 = 64 << 20;
/// Bytes of a name: nearly as many as there may be.
const NAME_BYTES: usize = 250;

/// Source and copy on a file system with room for many inodes, and a directory beside them.
struct Pair {
    source: PathBuf,
    copy: PathBuf,
    beside: tempfile::TempDir,
    _filesystem: LoopFs,
}

impl Pair {
    fn new() -> Self {
        let filesystem = LoopFs::with_options(Kind::Ext4, 1000, &["-N", "230000"]);
        let (source, copy) = (filesystem.dir("source"), filesystem.dir("copy"));
        fs::write(source.join("seed"), "so that the copy is not empty").unwrap();
        let pair = Pair { source, copy, beside: common::scratch(), _filesystem: filesystem };
        pair.measured("the seed");
        pair
    }
    fn catalog(&self) -> PathBuf {
        self.beside.path().join("catalog")
    }
    /// Syncs with a catalog under strace, within the memory that a sync may take: the report, and the system calls.
    fn measured(&self, what: &str) -> (Report, u64) {
        // Older than the clock's tick: else nothing is proven next time.
        std::thread::sleep(std::time::Duration::from_millis(50));
        let calls = self.beside.path().join("calls");
        let sync = sync::with_catalog(&self.source, &self.copy, &self.catalog(), &[]);
        let mut traced = Command::new("strace");
        traced.args(["-f", "-qq", "-c", "-o"]).arg(&calls).arg(sync.get_program()).args(sync.get_args());
        let (report, peak) = sync::finish_with_peak(&mut traced);
        let report = report.expect_done();
        assert!(peak <= MOST_MEMORY, "{what}: {peak} bytes of memory");
        (report, total_calls(&fs::read_to_string(calls).unwrap()))
    }
}

fn total_calls(table: &str) -> u64 {
    let total = table.lines().find(|line| line.trim_end().ends_with("total")).expect("strace's last line");
    total.split_whitespace().nth(3).and_then(|calls| calls.parse().ok()).expect("a number of calls")
}

fn can_measure(what: &str) -> bool {
    if Command::new("strace").arg("--version").output().is_err() {
        skipped(what, "strace is not installed");
        return false;
    }
    root_or_skip(what)
}

fn open_dir(path: &Path) -> OwnedFd {
    openat(CWD, path, OFlags::RDONLY | OFlags::DIRECTORY, Mode::empty()).expect("a directory")
}

/// Makes a chain of directories with long names below each other, with a file in the last and in each hundredth.
fn make_chain(top: &Path, levels: usize) {
    let (name, mut at) = ("d".repeat(NAME_BYTES), open_dir(top));
    for level in 1..=levels {
        rustix::fs::mkdirat(&at, &name, Mode::RWXU).expect("made");
        at = openat(&at, &name, OFlags::RDONLY | OFlags::DIRECTORY, Mode::empty()).expect("opened");
        if level % 100 == 0 || level == levels {
            openat(&at, "file", OFlags::CREATE | OFlags::WRONLY, Mode::RUSR).expect("made");
        }
    }
}

/// How many levels a chain has, and how many of them have a file.
fn chain(top: &Path) -> (usize, usize) {
    let (name, mut at, mut levels, mut files) = ("d".repeat(NAME_BYTES), open_dir(top), 0, 0);
    while let Ok(next) = openat(&at, &name, OFlags::RDONLY | OFlags::DIRECTORY, Mode::empty()) {
        (at, levels) = (next, levels + 1);
        files += usize::from(openat(&at, "file", OFlags::RDONLY, Mode::empty()).is_ok());
    }
    (levels, files)
}

/// All that can happen to a chain, each with the system calls that it took.
fn fate_of_chain(levels: usize) -> Vec<(&'static str, u64)> {
    let pair = Pair::new();
    let [top, renamed] = ["top", "renamed"].map(|name| pair.source.join(name));
    let mut calls = Vec::new();
    let mut sync = |what| calls.push((what, pair.measured(what).1));
    fs::create_dir(&top).unwrap();
    make_chain(&top, levels);
    sync("copied");
    assert_eq!(chain(&pair.copy.join("top")), (levels, levels / 100));
    sync("unchanged");
    fs::remove_file(pair.catalog()).unwrap();
    sync("compared without a catalog");
    fs::rename(&top, &renamed).unwrap();
    sync("renamed");
    assert_eq!(chain(&pair.copy.join("renamed")), (levels, levels / 100));
    tool(Command::new("rm").arg("-rf").arg(&renamed));
    sync("deleted");
    assert_eq!(pair.copy.join("renamed").symlink_metadata().unwrap_err().kind(), io::ErrorKind::NotFound);
    calls
}

/// Requires that what is four times as large takes four times as many calls, and not sixteen times.
fn assert_linear(small: u64, large: u64, what: &str) {
    assert!(
        large < 5 * small + 1000,
        "{what}: {small} calls became {large} where there is four times as much"
    );
}

#[test]
fn a_chain_of_directories_costs_what_its_directories_do() {
    if !can_measure("what a deep tree costs") {
        return;
    }
    for ((what, small), (_, large)) in fate_of_chain(100).into_iter().zip(fate_of_chain(400)) {
        assert_linear(small, large, what);
    }
}

/// So many directories, each renamed to the next one's name, and a new first one.
fn rotated(directories: usize) -> u64 {
    let pair = Pair::new();
    let at = |n: usize| pair.source.join(format!("snapshot.{n}"));
    for n in 0..directories {
        fs::create_dir(at(n)).unwrap();
        fs::write(at(n).join("file"), n.to_string()).unwrap();
    }
    pair.measured("made");
    (0..directories).rev().for_each(|n| fs::rename(at(n), at(n + 1)).unwrap());
    fs::create_dir(at(0)).unwrap();
    fs::write(at(0).join("new"), "new").unwrap();
    let (report, calls) = pair.measured("rotated");
    assert_eq!(report.count("renamed"), directories as u64, "{report:#?}");
    assert_equal(&pair.source, &pair.copy, "rotated");
    calls
}

#[test]
fn a_rotation_of_directories_costs_what_its_directories_do() {
    if can_measure("what a rotation costs") {
        assert_linear(rotated(100), rotated(400), "rotated");
    }
}

#[test]
fn very_many_new_names_in_one_directory_cost_little_memory() {
    if !can_measure("what many renamed files cost") {
        return;
    }
    const NAMES: u64 = 100_000;
    let pair = Pair::new();
    let top = open_dir(&pair.source);
    for n in 0..NAMES {
        let flags = OFlags::CREATE | OFlags::WRONLY;
        openat(&top, format!("old{n:0>7}"), flags, Mode::RUSR).expect("a file is made");
    }
    let sync = || {
        std::thread::sleep(std::time::Duration::from_millis(50));
        let mut sync = sync::with_catalog(&pair.source, &pair.copy, &pair.catalog(), &[]);
        let (report, peak) = sync::finish_with_peak(&mut sync);
        (report.expect_done(), peak)
    };
    let (_, made) = sync();
    for n in 0..NAMES {
        rustix::fs::renameat(&top, format!("old{n:0>7}"), &top, format!("new{n:0>7}")).expect("renamed");
    }
    let (report, renamed) = sync();
    assert_eq!(report.count("renamed"), NAMES, "{report:#?}");
    println!("{made} bytes of memory while they are made, {renamed} while they are renamed");
    assert!(made.max(renamed) <= MOST_MEMORY);
}

#[test]
fn a_list_of_changes_that_finds_no_room_is_said_so_and_one_beside_the_catalog_needs_no_other() {
    if !root_or_skip("a full temporary directory") {
        return;
    }
    let pair = Pair::new();
    let name = "n".repeat(240);
    for n in 0..70_000 {
        fs::File::create(pair.source.join(format!("{name}{n}"))).unwrap();
    }
    let small = pair.beside.path().join("small");
    fs::create_dir(&small).unwrap();
    tool(Command::new("mount").args(["-t", "tmpfs", "-o", "size=1m", "tmpfs"]).arg(&small));
    let report = sync::finish(sync::command(&pair.source, &pair.copy, &[]).env("TMPDIR", &small));
    assert_eq!(report.exit, 1, "{}", report.stderr);
    let no_room = format!("the list of changes found no room in {}", small.display());
    for part in
        [&no_room, "  state: nothing was written to ", &format!("  do:    make room in {}", small.display())]
    {
        assert!(report.stderr.contains(part), "{part}: {}", report.stderr);
    }
    assert_eq!(fs::read_dir(&pair.copy).unwrap().count(), 1, "nothing was written");
    let mut beside = sync::with_catalog(&pair.source, &pair.copy, &pair.catalog(), &[]);
    sync::finish(beside.env("TMPDIR", &small)).expect_done();
    tool(Command::new("umount").arg(&small));
}
