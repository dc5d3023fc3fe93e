//! `sync` on many random trees and many random changes to them, before both judges.
//!
//! `DISKMIRROR_CASES` sets the number of trees (200), `DISKMIRROR_SEED` the first one's seed (0): a failure names
//! the seed that repeats it. Each tree goes through five sets of changes; every third copy starts as a tree of its own.

mod common;

use common::comparer::{Snapshot, compare, groups, touched};
use common::generate::Generator;
use common::loopfs::{Kind, LoopFs};
use common::names::{read_back, shown};
use common::sync_command::{self as sync, FIGURES};
use std::collections::BTreeSet;
use std::fs;
use std::path::Path;
use std::sync::atomic::{AtomicU64, Ordering};

const CHANGE_SETS: usize = 5;
/// Far from the seeds of sources.
const SEEDS_OF_COPIES: u64 = 1 << 40;

fn from_environment(name: &str, default: u64) -> u64 {
    let text = std::env::var(name).ok();
    text.map_or(default, |text| text.parse().unwrap_or_else(|_| panic!("{name}={text} is not a number")))
}

#[test]
fn every_random_change_to_every_random_tree_is_mirrored() {
    let (cases, first) = (from_environment("DISKMIRROR_CASES", 200), from_environment("DISKMIRROR_SEED", 0));
    if !common::is_root() {
        common::skipped("random trees: owners, devices, trusted and security attributes", "need root");
    }
    let next = AtomicU64::new(first);
    let workers = std::thread::available_parallelism().map_or(2, usize::from);
    std::thread::scope(|scope| {
        for _ in 0..workers {
            scope.spawn(|| work(&next, first + cases));
        }
    });
}

/// One worker: a file system of its own as root (every second one XFS), else a directory beside the build.
fn work(next: &AtomicU64, end: u64) {
    let filesystems = common::is_root().then(|| [Kind::Ext4, Kind::Xfs].map(|kind| LoopFs::new(kind, 512)));
    loop {
        let seed = next.fetch_add(1, Ordering::Relaxed);
        if seed >= end {
            return;
        }
        match &filesystems {
            Some(both) => one_tree(both[seed as usize % 2].path(), seed),
            None => one_tree(common::scratch().path(), seed),
        }
    }
}

fn one_tree(at: &Path, seed: u64) {
    let (source, copy) = (at.join(format!("source-{seed}")), at.join(format!("copy-{seed}")));
    fs::create_dir(&source).expect("a new directory");
    fs::create_dir(&copy).expect("a new directory");
    let mut generator = Generator::new(&source, seed, common::is_root());
    generator.grow();
    if seed % 3 == 2 {
        Generator::new(&copy, seed + SEEDS_OF_COPIES, common::is_root()).grow();
    }
    judge(&source, &copy, &format!("DISKMIRROR_SEED={seed}, first copy"));
    for round in 1..=CHANGE_SETS {
        let changes = generator.change();
        let when = format!("DISKMIRROR_SEED={seed}, change set {round}:\n    {}\n ", changes.join("\n    "));
        judge(&source, &copy, &when);
    }
    fs::remove_dir_all(&source).expect("removed");
    fs::remove_dir_all(&copy).expect("removed");
}

/// Dry run, sync, both judges, and a sync that finds nothing to do.
fn judge(source: &Path, copy: &Path, when: &str) {
    let (source_before, copy_before) = (Snapshot::of(source), Snapshot::of(copy));
    let listed = assert_lists_the_changes(source, copy, &source_before, &copy_before, when);
    let announced = sync::run(source, copy, &["--dry-run"]);
    assert_eq!(announced.exit, 0, "{when}: dry run: {announced:#?}");
    assert_untouched(&copy_before, copy, &format!("{when}: the dry run wrote"));

    let done = sync::run(source, copy, &[]);
    assert_eq!((done.exit, done.count("errors")), (0, 0), "{when}: {done:#?}");
    for field in FIGURES {
        let told = format!("{when}: {field} announced, then done: {announced:#?} {done:#?} {listed:#?}");
        assert_eq!(announced.count(field), done.count(field), "{told}");
    }
    common::assert_equal(source, copy, when);
    assert_untouched(&source_before, source, &format!("{when}: the sync wrote to the source"));

    let copy_after = Snapshot::of(copy);
    sync::run(source, copy, &[]).expect_done().expect_no_change(&format!("{when}: second sync"));
    assert_untouched(&copy_after, copy, &format!("{when}: the second sync wrote"));
}

fn assert_untouched(before: &Snapshot, root: &Path, what: &str) {
    let touched = touched(before, &Snapshot::of(root));
    let paths: Vec<String> = touched.iter().map(|path| shown(path)).collect();
    assert!(paths.is_empty(), "{what} {}", paths.join(", "));
}

/// The dry run's lines name what the comparer names, and nothing else. One name of an inode may
/// stand for its others, and a directory that goes for all that is below it.
fn assert_lists_the_changes(
    source: &Path,
    copy: &Path,
    wanted: &Snapshot,
    got: &Snapshot,
    when: &str,
) -> Vec<String> {
    let listed = listed(source, copy, when);
    let mut differences = compare(wanted, got);
    // Where a file is allocated the file system may change by itself; no sync looks at it again.
    differences.retain(|difference| !difference.what.starts_with("hole"));
    let expected: BTreeSet<&Vec<u8>> = differences.iter().map(|difference| &difference.path).collect();
    let groups: Vec<_> = groups(wanted).into_iter().chain(groups(got)).collect();
    let has_name_in = |path: &Vec<u8>, set: &dyn Fn(&Vec<u8>) -> bool| {
        set(path) || groups.iter().any(|group| group.contains(path) && group.iter().any(set))
    };
    let too_many = listed.iter().filter(|path| !has_name_in(path, &|path| expected.contains(path)));
    let below_listed = |path: &[u8]| {
        let slashes = path.iter().enumerate().filter(|(_, byte)| **byte == b'/');
        slashes.map(|(at, _)| &path[..at]).any(|parent| listed.contains(parent))
    };
    let missing = differences.iter().filter(|difference| {
        !has_name_in(&difference.path, &|path| listed.contains(path)) && !below_listed(&difference.path)
    });
    let wrong: Vec<String> = too_many
        .map(|path| format!("listed, but equal: {}", shown(path)))
        .chain(missing.map(|difference| format!("not listed: {difference}")))
        .collect();
    assert!(wrong.is_empty(), "{when}: the dry run's list is wrong:\n  {}", wrong.join("\n  "));
    listed.iter().map(|path| shown(path)).collect()
}

fn listed(source: &Path, copy: &Path, when: &str) -> BTreeSet<Vec<u8>> {
    let mut command = std::process::Command::new(sync::program());
    let output =
        command.args(["sync", "--dry-run", "--"]).arg(source).arg(copy).output().expect("it can be run");
    assert!(
        output.status.success(),
        "{when}: the dry run failed: {}",
        String::from_utf8_lossy(&output.stderr)
    );
    let text = String::from_utf8(output.stdout).expect("the list is text");
    let path = |line: &str| {
        // Eleven columns say what changes; the path follows, of a directory with a slash, of a link with its leader.
        let text = line.get(12..).unwrap_or_else(|| panic!("{when}: not a line of the list: {line}"));
        let text = if line.starts_with('h') { text.split(" => ").next().unwrap_or(text) } else { text };
        let text = if text == "./" { "." } else { text.strip_suffix('/').unwrap_or(text) };
        read_back(text).unwrap_or_else(|| panic!("{when}: cannot be read back: {text}"))
    };
    text.lines().map(path).collect()
}
