//! Random renames between syncs with one catalog: after each the mirror is equal, what was only renamed was not copied,
//! and a sync that is cut off has every path old or new.
//!
//! `DISKMIRROR_SEQUENCES` (40), `DISKMIRROR_KILLS` (20) and `DISKMIRROR_SHUTDOWNS` (10) say how much is done,
//! `DISKMIRROR_SEED` the first sequence's seed (0): a failure names the seed that repeats it.

mod common;

use common::cataloged::TICKS;
use common::comparer::{Entry, Snapshot, differences};
use common::generate::{Generator, entries, set_mtime};
use common::loopfs::{Kind, LoopFs};
use common::moved::made_anew;
use common::mover::{Mover, Names, What};
use common::names::shown;
use common::raw::Shutdown;
use common::rng::Rng;
use common::sync_command::{self as sync, Report};
use rustix::process::{Pid, Signal};
use std::collections::{BTreeMap, BTreeSet};
use std::fs::{self, OpenOptions};
use std::os::unix::fs::{FileExt, MetadataExt};
use std::os::unix::process::CommandExt;
use std::path::{Path, PathBuf};
use std::process::{Child, Command, Stdio};
use std::sync::atomic::{AtomicU64, Ordering::Relaxed};
use std::time::{Duration, Instant};

/// Far from the seeds of the other tests.
const SEEDS: u64 = 1 << 42;

/// What all sequences together renamed.
static RENAMED: AtomicU64 = AtomicU64::new(0);

fn from_environment(name: &str, default: u64) -> u64 {
    let text = std::env::var(name).ok();
    text.map_or(default, |text| text.parse().unwrap_or_else(|_| panic!("{name}={text} is not a number")))
}

/// What the comparer sees.
fn told(source: &Path, copy: &Path) -> String {
    let lines: Vec<_> = differences(source, copy).iter().map(ToString::to_string).collect();
    lines.join("\n    ")
}

#[test]
fn every_sequence_of_renames_and_changes_is_followed_by_the_mirror() {
    let (sequences, first) =
        (from_environment("DISKMIRROR_SEQUENCES", 40), from_environment("DISKMIRROR_SEED", 0));
    if !common::is_root() {
        common::skipped("random renames on ext4 and XFS", "need root");
    }
    let next = AtomicU64::new(first);
    let workers = std::thread::available_parallelism().map_or(2, usize::from);
    std::thread::scope(|scope| {
        for _ in 0..workers {
            scope.spawn(|| work(&next, first + sequences));
        }
    });
    let renamed = RENAMED.load(Relaxed);
    assert!(renamed >= 5 * sequences, "{renamed} entries were renamed in {sequences} sequences");
}

/// One worker: on an ext4 and an XFS of its own, and now and then beside the build.
fn work(next: &AtomicU64, end: u64) {
    let made = |kind: Kind| LoopFs::new(kind, 512);
    let filesystems = common::is_root().then(|| [Kind::Ext4, Kind::Xfs].map(made));
    loop {
        let seed = next.fetch_add(1, Relaxed);
        if seed >= end {
            return;
        }
        let scratch = common::scratch();
        let on = filesystems.as_ref().filter(|_| seed % 8 < 7).map(|all| &all[seed as usize % 2]);
        let at = on.map_or(scratch.path(), LoopFs::path);
        let trees = ["source", "copy"].map(|name| at.join(format!("{name}-{seed}")));
        trees.iter().for_each(|tree| fs::create_dir(tree).expect("a new directory"));
        let mut sequence = Sequence::new(trees.clone(), &scratch.path().join("catalog"), seed);
        let told = std::panic::catch_unwind(std::panic::AssertUnwindSafe(|| sequence.run()));
        if let Err(panic) = told {
            eprintln!("DISKMIRROR_SEED={seed} DISKMIRROR_SEQUENCES=1:\n    {}", sequence.done.join("\n    "));
            std::panic::resume_unwind(panic);
        }
        trees.iter().for_each(|tree| fs::remove_dir_all(tree).expect("removed"));
    }
}

struct Sequence {
    source: PathBuf,
    copy: PathBuf,
    catalog: PathBuf,
    generator: Generator,
    mover: Mover,
    rng: Rng,
    seed: u64,
    done: Vec<String>,
}

impl Sequence {
    fn new([source, copy]: [PathBuf; 2], catalog: &Path, seed: u64) -> Self {
        let mut generator = Generator::new(&source, seed + SEEDS, common::is_root());
        (0..2).for_each(|_| generator.grow());
        let names = if seed.is_multiple_of(3) { Names::Odd } else { Names::Few };
        let mover = Mover::new(&source, seed + 2 * SEEDS, names);
        let catalog = catalog.to_owned();
        let rng = Rng::new(seed + 3 * SEEDS);
        Sequence { source, copy, catalog, generator, mover, rng, seed, done: Vec::new() }
    }

    fn run(&mut self) {
        self.sync("the first one");
        for round in 0..self.rng.range(4, 9) {
            if self.rng.once_in(3) {
                self.only_renames(&format!("round {round}, only renames"));
            } else {
                self.renames_and_changes();
                let report = self.sync(&format!("round {round}"));
                RENAMED.fetch_add(report.count("renamed"), Relaxed);
            }
        }
        // rsync takes the second name that an XFS lists of an ACL for a difference from an ext4.
        if self.source.metadata().expect("it is there").dev() == self.copy.metadata().expect("so is it").dev()
        {
            common::assert_equal(&self.source, &self.copy, "at the end");
        }
        self.sync("and nothing to do").expect_no_change("at the end");
    }

    /// Nothing is copied, and no regular file is made anew. A directory is where something else has come to its old place at once:
    /// what is in it is renamed one by one then.
    fn only_renames(&mut self, when: &str) {
        std::thread::sleep(TICKS);
        self.sync("settled");
        let trees = [self.source.clone(), self.copy.clone()];
        let look = || [Snapshot::of(&trees[0]), Snapshot::of(&trees[1])];
        let before = look();
        for _ in 0..self.rng.range(1, 7) {
            let told = self.mover.step(What::Pure);
            self.done.push(told);
        }
        let report = self.sync(when);
        RENAMED.fetch_add(report.count("renamed"), Relaxed);
        let mut anew = made_anew(&before, &look());
        anew.retain(|line| !line.contains("/: inode "));
        assert!(anew.is_empty(), "{when}: {anew:#?}\n{report:#?}");
        assert_eq!(report.count("bytes_copied"), 0, "{when}: {report:#?}");
    }

    fn renames_and_changes(&mut self) {
        for _ in 0..self.rng.range(1, 9) {
            let told = match self.rng.below(5) {
                0 => self.generator.change().join(", "),
                1 => self.overwrite(),
                _ => self.mover.step(What::Any),
            };
            self.done.push(told);
        }
    }

    /// Other bytes in the same size, and the mtime put back.
    fn overwrite(&mut self) -> String {
        let mut files = entries(&self.source);
        files.retain(|path| path.symlink_metadata().is_ok_and(|meta| meta.is_file() && meta.len() > 0));
        if files.is_empty() {
            return "Overwrite nothing".into();
        }
        let path = self.rng.pick(&files).clone();
        let Ok(file) = OpenOptions::new().write(true).open(&path) else { return String::new() };
        let meta = file.metadata().expect("it is open");
        let bytes = self.rng.bytes((meta.len() as usize).min(3000));
        file.write_all_at(&bytes, 0).expect("written");
        set_mtime(&path, meta.mtime(), meta.mtime_nsec());
        format!("Overwrite {path:?}")
    }

    /// A directory of the mirror that was touched and not given its time back shows in its time alone, and only where the
    /// source's has not changed.
    fn give_directories_one_time(&self) {
        for path in entries(&self.source) {
            if path.symlink_metadata().is_ok_and(|meta| meta.is_dir()) {
                set_mtime(&path, 1_500_000_000, 0);
            }
        }
    }

    fn sync(&mut self, which: &str) -> Report {
        if self.seed.is_multiple_of(2) {
            self.give_directories_one_time();
        }
        let mut command = sync::with_catalog(&self.source, &self.copy, &self.catalog, &[]);
        let report = sync::finish(&mut command).expect_done();
        self.done.push(format!("-- {which}"));
        assert_eq!(report.stderr, "", "{which}: {report:#?}");
        let found = told(&self.source, &self.copy);
        assert!(found.is_empty(), "{which}:\n    {found}\n{report:#?}");
        report
    }
}

// -- cut off in the middle

/// A source on which renames go on for ever, and its mirror on a file system that can be shut down.
struct Ongoing {
    source: PathBuf,
    copy: PathBuf,
    catalog: PathBuf,
    mover: Mover,
    rng: Rng,
    span: Duration,
    written: u64,
    mirror: LoopFs,
    _source: LoopFs,
    _scratch: tempfile::TempDir,
}

impl Ongoing {
    fn new(kind: Kind, seed: u64) -> Self {
        let (sources, mirror, scratch) = (LoopFs::new(kind, 512), LoopFs::new(kind, 512), common::scratch());
        let (source, copy) = (sources.dir("source"), mirror.dir("copy"));
        let mut rng = Rng::new(seed + SEEDS);
        for n in 0..300 {
            let pick = |rng: &mut Rng| *rng.pick(&["a", "b", "c", "d"]);
            let directory = source.join(pick(&mut rng)).join(pick(&mut rng)).join(pick(&mut rng));
            fs::create_dir_all(&directory).expect("directories");
            fs::write(directory.join(format!("f{}", n % 7)), rng.bytes(50 + n)).expect("a file");
        }
        let mover = Mover::new(&source, seed, Names::Few);
        let catalog = scratch.path().join("catalog");
        let span = Duration::from_millis(40);
        Ongoing {
            source,
            copy,
            catalog,
            mover,
            rng,
            span,
            written: 0,
            mirror,
            _source: sources,
            _scratch: scratch,
        }
    }

    fn command(&self) -> Command {
        sync::with_catalog(&self.source, &self.copy, &self.catalog, &[])
    }

    /// Equal, and settled: whatever is renamed next is known.
    fn settle(&self, when: &str) {
        sync::finish(&mut self.command()).expect_done();
        let found = told(&self.source, &self.copy);
        assert!(found.is_empty(), "{when}\n    {found}");
        std::thread::sleep(TICKS);
        sync::finish(&mut self.command()).expect_done().expect_no_change(when);
    }

    fn change(&mut self) -> Vec<String> {
        let mut done = Vec::new();
        for _ in 0..self.rng.range(3, 12) {
            done.push(self.mover.step(What::Any));
            if self.rng.once_in(3) {
                done.push(self.write());
            }
        }
        done
    }

    /// Writes a file anew, or a new one.
    fn write(&mut self) -> String {
        let mut files = entries(&self.source);
        files.retain(|path| path.symlink_metadata().is_ok_and(|meta| meta.is_file()));
        self.written += 1;
        let known = self.rng.pick(&files).clone();
        let path =
            if self.rng.once_in(2) { known } else { known.with_file_name(format!("w{}", self.written)) };
        let length = self.rng.range(100, 200_000) as usize;
        fs::write(&path, self.rng.bytes(length)).expect("written");
        format!("Write {path:?}")
    }

    /// Starts a sync and waits for a moment of it; whether it was still at work then.
    fn interrupt(&mut self) -> (Child, bool) {
        let mut command = self.command();
        let command = command.stdout(Stdio::null()).stderr(Stdio::null()).process_group(0);
        let mut child = command.spawn().expect("the program can be run");
        std::thread::sleep(self.span.mul_f64(self.rng.below(1000) as f64 / 1000.0));
        let is_early = child.try_wait().expect("a child").is_none();
        self.span = self.span.mul_f64(if is_early { 1.1 } else { 0.8 });
        (child, is_early)
    }
}

fn kill(child: &mut Child) {
    // Nobody to kill: it had ended, and was reaped when it was asked whether it had.
    let _ = rustix::process::kill_process_group(Pid::from_child(child), Signal::KILL);
    child.wait().expect("reaped");
}

fn survives(kind: Kind, times: u64, what: &str, cut: impl Fn(&mut Ongoing, &mut Child, u64)) {
    let mut ongoing = Ongoing::new(kind, from_environment("DISKMIRROR_SEED", 0) + kind as u64);
    ongoing.settle("at the beginning");
    let (mut early, mut round) = (0, 0);
    while early < times {
        round += 1;
        assert!(round < 20 + 5 * times, "only {early} {what} came before the end");
        let old = [&ongoing.source, &ongoing.copy].map(|tree| Snapshot::of(tree));
        let done = ongoing.change();
        let new = Snapshot::of(&ongoing.source);
        let (mut child, is_early) = ongoing.interrupt();
        early += u64::from(is_early);
        cut(&mut ongoing, &mut child, round);
        let when = format!("{}, {what} {round}:\n    {}\n", kind.name(), done.join("\n    "));
        assert_old_or_new(&old, &new, &Snapshot::of(&ongoing.copy), &when);
        ongoing.settle(&when);
    }
    println!("{}: {early} {what} before the end, {} after it", kind.name(), round - early);
    common::assert_equal(&ongoing.source, &ongoing.copy, what);
}

/// Every path of both the old and the new tree is there, and is what it was in one of them; and whatever else there is,
/// is whole. `old` is the source and its mirror before the renames.
fn assert_old_or_new(old: &[Snapshot; 2], new: &Snapshot, found: &Snapshot, when: &str) {
    let whole: BTreeSet<_> = old[0].entries.values().chain(new.entries.values()).map(look).collect();
    let absent = may_be_absent(&old[0], new);
    let mut wrong = Vec::new();
    for (path, before) in &old[0].entries {
        let Some(after) = new.entries.get(path) else { continue };
        match found.entries.get(path) {
            Some(entry) if [look(before), look(after)].contains(&look(entry)) => {}
            Some(_) if absent.iter().any(|above| is_at_or_below(path, above)) => {}
            Some(entry) if whole.contains(&look(entry)) => {
                wrong.push(format!("{} is neither the old nor the new one, but whole", shown(path)));
            }
            Some(_) => wrong.push(format!("{} is torn", shown(path))),
            None if absent.iter().any(|above| is_at_or_below(path, above)) => {}
            None => wrong.push(format!("{} is missing", shown(path))),
        }
    }
    let is_own = |path: &[u8]| is_at_or_below(path, b".diskmirror");
    for (path, entry) in found.entries.iter().filter(|(path, _)| !is_own(path)) {
        if !whole.contains(&look(entry)) {
            wrong.push(format!("{} is not whole", shown(path)));
        }
    }
    assert!(wrong.is_empty(), "{when}  {}", wrong.join("\n  "));
}

/// What an entry is, whatever its times and metadata.
fn look(entry: &Entry) -> (bool, Option<[u8; 32]>, Vec<u8>) {
    (entry.is_dir(), entry.content.map(|content| content.expect("it can be read")), entry.target.clone())
}

fn is_at_or_below(path: &[u8], above: &[u8]) -> bool {
    path.strip_prefix(above).is_some_and(|rest| rest.is_empty() || rest[0] == b'/')
}

/// The names in a cycle of three or more of which one is a directory's: two entries can be exchanged at once, three cannot,
/// nor one with what it lies in.
fn may_be_absent(old: &Snapshot, new: &Snapshot) -> BTreeSet<Vec<u8>> {
    let id = |entry: &Entry| (entry.inode.0, entry.born);
    let now: BTreeMap<_, _> = new.entries.iter().map(|(path, entry)| (id(entry), path)).collect();
    let next = |path: &Vec<u8>| {
        let there = now.get(&id(old.entries.get(path)?))?;
        (*there != path).then(|| (*there).clone())
    };
    let mut found = BTreeSet::new();
    // A directory that takes the place of one it lies in is taken out first.
    found.extend(
        old.entries
            .keys()
            .filter(|path| next(path).is_some_and(|there| is_at_or_below(path, &there)))
            .cloned(),
    );
    for path in old.entries.keys() {
        let mut cycle = vec![path.clone()];
        while let Some(there) = cycle.last().and_then(next).filter(|there| !cycle.contains(there)) {
            cycle.push(there);
        }
        let is_closed = cycle.last().and_then(next).as_ref() == Some(path);
        if is_closed && cycle.len() > 2 && cycle.iter().any(|path| old.entries[path].is_dir()) {
            found.extend(cycle);
        }
    }
    found
}

#[test]
fn a_sync_that_is_killed_while_it_renames_leaves_every_path_old_or_new() {
    if !common::root_or_skip("kills on file systems of their own") {
        return;
    }
    for kind in [Kind::Ext4, Kind::Xfs] {
        let times = from_environment("DISKMIRROR_KILLS", 20) / 2;
        survives(kind, times, "kills", |_, child, _| kill(child));
    }
}

#[test]
fn a_power_cut_while_a_sync_renames_leaves_every_path_old_or_new() {
    if !common::root_or_skip("hard shutdowns of a file system") {
        return;
    }
    for kind in [Kind::Ext4, Kind::Xfs] {
        let times = from_environment("DISKMIRROR_SHUTDOWNS", 10) / 2;
        survives(kind, times, "power cuts", |ongoing, child, round| {
            // Without a log flush twice as often: that is the power cut.
            let how = [Shutdown::NoLogFlush, Shutdown::LogFlush, Shutdown::NoLogFlush, Shutdown::Default];
            ongoing.mirror.shut_down(how[round as usize % 4]).expect("the file system can be shut down");
            ends(child);
            ongoing.mirror.unmount();
            ongoing.mirror.mount();
        });
    }
}

/// A sync whose file system died must end by itself. The minute is for the machine's sake, and far from tight.
fn ends(child: &mut Child) {
    let since = Instant::now();
    while child.try_wait().expect("a child").is_none() {
        assert!(since.elapsed() < Duration::from_secs(60), "it goes on for ever on a dead file system");
        std::thread::sleep(Duration::from_millis(20));
    }
}
