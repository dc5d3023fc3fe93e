//! `sync --catalog` on many random sequences of changes, syncs, kills and damage to the catalog: at the end of each both
//! judges see nothing, and a last sync finds nothing to do.
//!
//! `DISKMIRROR_SEQUENCES` sets their number (500), `DISKMIRROR_SEED` the first one's seed (0): a failure names the
//! seed that repeats it, as far as kills come at the same moment. Beside the generator's changes, of which each
//! shows in a size or an mtime, there are those that do not: overwriting in the same tick, twins changing places.

mod common;

use common::cataloged::{flip, truncate};
use common::comparer::differences;
use common::generate::{Generator, entries, remove, set_mtime};
use common::loopfs::{Kind, LoopFs};
use common::rng::Rng;
use common::sync_command::{self as sync, Report};
use rustix::fs::{CWD, RenameFlags};
use rustix::process::{Pid, Signal};
use std::fs::{self, OpenOptions};
use std::os::unix::fs::{FileExt, MetadataExt};
use std::os::unix::process::CommandExt;
use std::path::{Path, PathBuf};
use std::process::Stdio;
use std::sync::atomic::{AtomicBool, AtomicU64, Ordering::Relaxed};
use std::time::Duration;

/// Far from the seeds of `sync_properties`.
const SEEDS: u64 = 1 << 41;

/// Syncs that left something added to a catalog, instead of written with the rest.
static ADDED: AtomicU64 = AtomicU64::new(0);

fn from_environment(name: &str, default: u64) -> u64 {
    let text = std::env::var(name).ok();
    text.map_or(default, |text| text.parse().unwrap_or_else(|_| panic!("{name}={text} is not a number")))
}

#[test]
fn every_sequence_of_changes_syncs_kills_and_damage_ends_with_an_equal_mirror() {
    let (sequences, first) =
        (from_environment("DISKMIRROR_SEQUENCES", 500), from_environment("DISKMIRROR_SEED", 0));
    if !common::is_root() {
        common::skipped("random sequences on XFS, and on an ext4 with small inodes", "need root");
    }
    let next = AtomicU64::new(first);
    let workers = std::thread::available_parallelism().map_or(2, usize::from);
    std::thread::scope(|scope| {
        for _ in 0..workers {
            scope.spawn(|| work(&next, first + sequences));
        }
    });
    assert!(sequences < 50 || ADDED.load(Relaxed) > sequences / 5, "hardly anything was added to a catalog");
}

/// One worker. As root it has file systems of its own, the last one with ticks of a second; else it works beside the build.
fn work(next: &AtomicU64, end: u64) {
    let small: &[&str] = &["-I", "128"];
    let made = |(kind, options): (Kind, &[&str])| LoopFs::with_options(kind, 512, options);
    let kinds = [(Kind::Ext4, &[][..]), (Kind::Xfs, &[]), (Kind::Ext4, small)];
    let filesystems = common::is_root().then(|| kinds.map(made));
    let foreign = Foreign::new();
    loop {
        let seed = next.fetch_add(1, Relaxed);
        if seed >= end {
            return;
        }
        let scratch = common::scratch();
        let at = filesystems.as_ref().map_or(scratch.path(), |all| all[seed as usize % 3].path());
        let mut sequence = Sequence::new(at, &scratch.path().join("catalog"), seed, &foreign);
        let told = std::panic::catch_unwind(std::panic::AssertUnwindSafe(|| sequence.run()));
        if let Err(panic) = told {
            eprintln!("DISKMIRROR_SEED={seed} DISKMIRROR_SEQUENCES=1:\n    {}", sequence.done.join("\n    "));
            std::panic::resume_unwind(panic);
        }
        sequence.clear();
    }
}

/// A catalog of two other trees.
struct Foreign {
    catalog: PathBuf,
    _scratch: tempfile::TempDir,
}

impl Foreign {
    fn new() -> Self {
        let scratch = common::scratch();
        let [source, copy] = ["source", "copy"].map(|name| scratch.path().join(name));
        fs::create_dir(&copy).unwrap();
        fs::create_dir_all(source.join("dir")).unwrap();
        fs::write(source.join("dir/file"), "x").unwrap();
        let catalog = scratch.path().join("catalog");
        sync::finish(&mut sync::with_catalog(&source, &copy, &catalog, &[])).expect_done();
        Foreign { catalog, _scratch: scratch }
    }
}

/// What a step of a sequence can be.
#[derive(Debug, Clone, Copy)]
enum Step {
    Change,
    Overwrite,
    Exchange,
    RenameDirectory,
    Sync,
    Storm,
    Kill,
    FlipByte,
    Truncate,
    DeleteCatalog,
    DeleteDelta,
    Keep,
    PutBack,
    Foreign,
    Wait,
}

/// Each as often as it stands here.
const STEPS: [Step; 24] = [
    Step::Change,
    Step::Change,
    Step::Change,
    Step::Overwrite,
    Step::Overwrite,
    Step::Overwrite,
    Step::Exchange,
    Step::Exchange,
    Step::RenameDirectory,
    Step::RenameDirectory,
    Step::Sync,
    Step::Sync,
    Step::Sync,
    Step::Storm,
    Step::Kill,
    Step::Kill,
    Step::FlipByte,
    Step::Truncate,
    Step::DeleteCatalog,
    Step::DeleteDelta,
    Step::Keep,
    Step::PutBack,
    Step::Foreign,
    Step::Wait,
];

struct Sequence<'a> {
    source: PathBuf,
    copy: PathBuf,
    catalog: PathBuf,
    foreign: &'a Foreign,
    generator: Generator,
    rng: Rng,
    stamps: i64,
    done: Vec<String>,
}

impl<'a> Sequence<'a> {
    fn new(at: &Path, catalog: &Path, seed: u64, foreign: &'a Foreign) -> Self {
        let [source, copy] = ["source", "copy"].map(|name| at.join(format!("{name}-{seed}")));
        fs::create_dir(&source).expect("a new directory");
        fs::create_dir(&copy).expect("a new directory");
        let mut generator = Generator::new(&source, seed + SEEDS, common::is_root());
        generator.grow();
        if seed.is_multiple_of(2) {
            add_ballast(&source);
        }
        let rng = Rng::new(seed + 2 * SEEDS);
        let catalog = catalog.to_owned();
        Sequence { source, copy, catalog, foreign, generator, rng, stamps: 0, done: Vec::new() }
    }

    fn run(&mut self) {
        self.make_twins();
        self.sync("the first one");
        if self.source.join("ballast").exists() {
            // What was just made is doubtful, and written once more with the next catalog.
            std::thread::sleep(Duration::from_millis(30));
            self.sync("the second one");
        }
        for _ in 0..self.rng.range(4, 14) {
            let step = *self.rng.pick(&STEPS);
            let told = self.step(step);
            self.done.push(format!("{step:?} {told}"));
        }
        self.sync("the last one");
        common::assert_equal(&self.source, &self.copy, "after the last sync");
        self.sync("and nothing to do").expect_no_change("after the last sync");
        let found = differences(&self.source, &self.copy);
        assert!(found.is_empty(), "a sync without changes changed {found:?}");
        let beside = entries(self.catalog.parent().expect("a directory"));
        let known = [vec![self.catalog.clone(), self.delta()], self.kept().to_vec()].concat();
        let strays: Vec<_> = beside.iter().filter(|path| path.is_file() && !known.contains(path)).collect();
        assert!(strays.is_empty(), "left behind: {strays:?}");
    }

    fn clear(&self) {
        fs::remove_dir_all(&self.source).expect("removed");
        fs::remove_dir_all(&self.copy).expect("removed");
    }

    fn step(&mut self, step: Step) -> String {
        match step {
            Step::Change => self.generator.change().join(", "),
            Step::Overwrite => self.overwrite(),
            Step::Exchange => self.exchange(),
            Step::RenameDirectory => self.rename_directory(),
            Step::Sync => {
                let said = self.sync("in between").stderr;
                format!("{said:?}{}", if self.delta().exists() { ", added" } else { "" })
            }
            Step::Storm => self.storm(),
            Step::Kill => self.kill(),
            Step::FlipByte => self.damage(|file, length, rng| {
                let at = rng.below(length) as usize;
                flip(file, at);
                at
            }),
            Step::Truncate => self.damage(|file, length, rng| {
                let at = rng.below(length) as usize;
                truncate(file, at);
                at
            }),
            Step::DeleteCatalog => self.delete_catalog(),
            Step::DeleteDelta => format!("{:?}", fs::remove_file(self.delta()).is_ok()),
            Step::Keep => self.keep(),
            Step::PutBack => self.put_back(),
            Step::Foreign => {
                fs::copy(&self.foreign.catalog, &self.catalog).expect("copied");
                String::new()
            }
            Step::Wait => {
                std::thread::sleep(Duration::from_millis(30));
                String::new()
            }
        }
    }

    // -- what changes the source, and shows neither in a size nor in an mtime

    /// Two files of one size and one mtime.
    fn make_twins(&mut self) {
        for name in ["twin-1", "twin-2"] {
            let path = self.source.join(name);
            if path.symlink_metadata().is_ok() {
                remove(&path);
            }
            fs::write(&path, self.rng.bytes(100)).expect("written");
            set_mtime(&path, 1_234_567_890, 0);
        }
    }

    /// Regular files that have a byte.
    fn files(&self) -> Vec<PathBuf> {
        let mut files = entries(&self.source);
        files.retain(|path| path.symlink_metadata().is_ok_and(|meta| meta.is_file() && meta.len() > 0));
        files
    }

    /// All directories; none if one that is moved below another might get too long a path.
    fn directories(&self) -> Vec<PathBuf> {
        let mut found = entries(&self.source);
        if found.iter().any(|path| path.as_os_str().len() > 1900) {
            return Vec::new();
        }
        found.retain(|path| path.symlink_metadata().is_ok_and(|meta| meta.is_dir()));
        found
    }

    fn overwrite(&mut self) -> String {
        let files = self.files();
        let Some(first) = files.first() else { return String::new() };
        for _ in 0..self.rng.range(1, 4) {
            overwrite(self.rng.pick(&files).as_path(), self.rng.next() as u8);
        }
        // Once more the same one, at once.
        overwrite(first, self.rng.next() as u8);
        format!("{:?} and others", first.file_name())
    }

    /// Entries of any kind: only those that are alike make no other difference than which is which.
    fn exchange(&mut self) -> String {
        let twins = ["twin-1", "twin-2"].map(|name| self.source.join(name));
        let is_there = twins.iter().all(|path| path.symlink_metadata().is_ok());
        if !is_there {
            return String::new();
        }
        rustix::fs::renameat_with(CWD, &twins[0], CWD, &twins[1], RenameFlags::EXCHANGE).expect("exchanged");
        "the twins".into()
    }

    fn rename_directory(&mut self) -> String {
        let directories = self.directories();
        if directories.is_empty() {
            return String::new();
        }
        let (one, other) = (self.rng.pick(&directories).clone(), self.rng.pick(&directories).clone());
        self.stamps += 1;
        if !one.starts_with(&other) && !other.starts_with(&one) && self.rng.once_in(2) {
            rustix::fs::renameat_with(CWD, &one, CWD, &other, RenameFlags::EXCHANGE).expect("exchanged");
            return format!("{one:?} and {other:?}");
        }
        let parent = if other.starts_with(&one) { self.source.clone() } else { other };
        let to = parent.join(format!("moved-{}", self.stamps));
        fs::rename(&one, &to).expect("renamed");
        format!("{one:?} to {to:?}")
    }

    // -- syncs

    fn command(&self) -> std::process::Command {
        sync::with_catalog(&self.source, &self.copy, &self.catalog, &[])
    }

    fn sync(&self, which: &str) -> Report {
        let report = sync::finish(&mut self.command()).expect_done();
        let lines: Vec<&str> = report.stderr.lines().collect();
        let is_note = |line: &&str| line.starts_with("note: ") || line.contains("catalog");
        assert!(lines.len() <= 1 && lines.iter().all(is_note), "{which}: {report:#?}");
        let found = differences(&self.source, &self.copy);
        assert!(found.is_empty(), "{which}: {found:#?}\n{report:#?}");
        ADDED.fetch_add(u64::from(self.delta().exists()), Relaxed);
        report
    }

    /// A sync while files are overwritten, over and over.
    fn storm(&mut self) -> String {
        let files = self.files();
        let mut child =
            self.command().stdout(Stdio::null()).stderr(Stdio::null()).spawn().expect("it starts");
        let over = AtomicBool::new(false);
        std::thread::scope(|scope| {
            scope.spawn(|| {
                let mut rng = self.rng.clone();
                while !files.is_empty() && !over.load(Relaxed) {
                    overwrite(rng.pick(&files).as_path(), rng.next() as u8);
                }
            });
            let code = child.wait().expect("it ends").code();
            over.store(true, Relaxed);
            // 3: a file may have changed three times while it was copied.
            assert!(matches!(code, Some(0 | 3)), "a sync in a storm ended with {code:?}");
        });
        format!("over {} files", files.len())
    }

    fn kill(&mut self) -> String {
        let after = Duration::from_micros(self.rng.below(25_000));
        let mut command = self.command();
        let command = command.stdout(Stdio::null()).stderr(Stdio::null()).process_group(0);
        let mut child = command.spawn().expect("it starts");
        std::thread::sleep(after);
        let had_ended = child.try_wait().expect("a child").is_some();
        if !had_ended {
            rustix::process::kill_process_group(Pid::from_child(&child), Signal::KILL).expect("it is ours");
            child.wait().expect("reaped");
        }
        format!("after {after:?}{}", if had_ended { ", too late" } else { "" })
    }

    // -- what is done to the catalog

    fn delta(&self) -> PathBuf {
        self.catalog.with_extension("delta")
    }

    /// One of its two files.
    fn some_file(&mut self) -> PathBuf {
        let file = if self.rng.once_in(2) { self.delta() } else { self.catalog.clone() };
        if file.exists() { file } else { self.catalog.clone() }
    }

    fn damage(&mut self, how: impl FnOnce(&Path, u64, &mut Rng) -> usize) -> String {
        let file = self.some_file();
        let length = fs::metadata(&file).map_or(0, |meta| meta.len());
        if length == 0 {
            return "nothing".into();
        }
        let at = how(&file, length, &mut self.rng);
        format!("{:?} at {at} of {length}", file.file_name())
    }

    /// Who takes the catalog away takes all knowledge: as for rsync, a file counts as unchanged then whose size and
    /// mtime are. So every file gets an mtime of its own first, and a sync follows, before the next change that shows
    /// in neither.
    fn delete_catalog(&mut self) -> String {
        let mut files = entries(&self.source);
        files.retain(|path| path.symlink_metadata().is_ok_and(|meta| meta.is_file()));
        for file in files {
            self.stamps += 1;
            set_mtime(&file, 900_000_000 + self.stamps, 0);
        }
        let deleted = fs::remove_file(&self.catalog).is_ok();
        let report = self.sync("without a catalog");
        self.make_twins();
        format!("{deleted} {:?}", report.stderr)
    }

    fn kept(&self) -> [PathBuf; 2] {
        [self.catalog.with_extension("kept"), self.catalog.with_extension("kept-delta")]
    }

    fn keep(&mut self) -> String {
        for (from, to) in [self.catalog.clone(), self.delta()].iter().zip(self.kept()) {
            let _ = fs::remove_file(&to);
            let _ = fs::copy(from, to);
        }
        String::new()
    }

    /// An older copy of both files, or of one of them, comes back.
    fn put_back(&mut self) -> String {
        let kept = self.kept();
        if !kept[0].exists() {
            return "nothing".into();
        }
        let both = self.rng.once_in(2);
        fs::copy(&kept[0], &self.catalog).expect("copied");
        if both {
            let _ = fs::remove_file(self.delta());
            let _ = fs::copy(&kept[1], self.delta());
        }
        if both { "both".into() } else { "the catalog alone".into() }
    }
}

/// A directory that makes a catalog so large that small changes are added to it, instead of being written with the rest.
fn add_ballast(source: &Path) {
    let directory = source.join("ballast");
    fs::create_dir(&directory).expect("a new directory");
    for n in 0..200 {
        let file = directory.join(format!("{n:0>240}"));
        fs::write(&file, "").expect("written");
        set_mtime(&file, 800_000_000 + n, 0);
    }
}

/// Other bytes in the same size, and the mtime put back.
fn overwrite(path: &Path, byte: u8) {
    let Ok(file) = OpenOptions::new().write(true).open(path) else { return };
    let meta = file.metadata().expect("it is open");
    let length = (meta.len() as usize).min(5000);
    let at = (meta.len() - length as u64) / 2;
    file.write_all_at(&vec![byte; length], at).expect("written");
    set_mtime(path, meta.mtime(), meta.mtime_nsec());
}
