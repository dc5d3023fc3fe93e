//! Writers who go on while `sync --catalog` runs, again and again: when they stand still, one more sync makes both sides
//! equal, in the eyes of both judges.
//!
//! `DISKMIRROR_ROUNDS` (200) says how often they stand still, `DISKMIRROR_SEED` (0) what they do: when they do it is the
//! machine's to say, so a seed makes a failure likely again and not certain.

mod common;

use common::comparer::{Entry, Snapshot, compare};
use common::generate::{entries, remove};
use common::loopfs::{Kind, LoopFs};
use common::rng::Rng;
use common::sync_command::{self as sync, Report};
use common::writer::Writer;
use std::fs;
use std::path::{Path, PathBuf};
use std::sync::atomic::{AtomicBool, AtomicU64, Ordering::Relaxed};
use std::time::Duration;

/// Far from the seeds of the other tests.
const SEEDS: u64 = 1 << 43;
/// Rounds of one tree.
const TREE_ROUNDS: u64 = 10;
/// Who writes at the same time.
const WRITERS: u64 = 2;
/// A tree of more entries is thinned out before the next round.
const MOST: usize = 600;
/// A write of two pages may be held up between them by a busy machine: so long at most.
const WRITING_SECS: &str = "1";

/// Changes that were made, or tried, in all rounds.
static CHANGES: AtomicU64 = AtomicU64::new(0);
/// Syncs during which somebody wrote.
static LIVE: AtomicU64 = AtomicU64::new(0);

fn from_environment(name: &str, default: u64) -> u64 {
    let text = std::env::var(name).ok();
    text.map_or(default, |text| text.parse().unwrap_or_else(|_| panic!("{name}={text} is not a number")))
}

#[test]
fn whatever_goes_on_during_syncs_the_one_after_it_leaves_both_sides_equal() {
    let rounds = from_environment("DISKMIRROR_ROUNDS", 200);
    let first = from_environment("DISKMIRROR_SEED", 0);
    if !common::is_root() {
        common::skipped("changes during syncs on ext4 and XFS, and of owners", "need root");
    }
    let trees = rounds.div_ceil(TREE_ROUNDS);
    let next = AtomicU64::new(first);
    let workers = std::thread::available_parallelism().map_or(2, usize::from);
    std::thread::scope(|scope| {
        for _ in 0..workers {
            scope.spawn(|| work(&next, first + trees));
        }
    });
    let (changes, live) = (CHANGES.load(Relaxed), LIVE.load(Relaxed));
    println!("{} rounds, {live} syncs while {changes} changes were made", trees * TREE_ROUNDS);
    assert!(changes >= 20 * rounds, "only {changes} changes were made in {rounds} rounds");
}

/// One worker: tree after tree, on an ext4 and an XFS pair of its own.
fn work(next: &AtomicU64, end: u64) {
    let pair = |kind| [0, 1].map(|_| LoopFs::new(kind, 320));
    let filesystems = common::is_root().then(|| [Kind::Ext4, Kind::Xfs].map(pair));
    loop {
        let seed = next.fetch_add(1, Relaxed);
        if seed >= end {
            return;
        }
        let scratch = common::scratch();
        let on = filesystems.as_ref().map(|all| &all[seed as usize % 2]);
        let at = |side: usize| on.map_or(scratch.path(), |pair| pair[side].path());
        let trees = [at(0).join(format!("source-{seed}")), at(1).join(format!("copy-{seed}"))];
        trees.iter().for_each(|tree| fs::create_dir(tree).expect("a new directory"));
        let mut tree = Tree::new(trees.clone(), &scratch.path().join("catalog"), seed);
        let told = std::panic::catch_unwind(std::panic::AssertUnwindSafe(|| tree.run()));
        if let Err(panic) = told {
            eprintln!("DISKMIRROR_SEED={seed} DISKMIRROR_ROUNDS={TREE_ROUNDS}");
            std::panic::resume_unwind(panic);
        }
        trees.iter().for_each(|tree| fs::remove_dir_all(tree).expect("removed"));
    }
}

struct Tree {
    source: PathBuf,
    copy: PathBuf,
    catalog: PathBuf,
    rng: Rng,
}

impl Tree {
    fn new([source, copy]: [PathBuf; 2], catalog: &Path, seed: u64) -> Self {
        for n in 0..24 {
            let directory = source.join(["a", "b", "c"][n % 3]).join(["a", "b"][n % 2]);
            fs::create_dir_all(&directory).expect("directories");
            fs::write(directory.join(format!("f{n}")), vec![n as u8; 40 * n]).expect("a file");
        }
        Tree { source, copy, catalog: catalog.to_owned(), rng: Rng::new(seed + SEEDS) }
    }

    fn run(&mut self) {
        self.sync().expect_done();
        for round in 0..TREE_ROUNDS {
            self.thin_out();
            let live = self.live();
            let report = self.sync();
            let when = format!("round {round}; {report:#?}; while they wrote: {live:#?}");
            assert_eq!((report.exit, report.count("errors")), (0, 0), "{when}");
            let [source, copy] = [&self.source, &self.copy].map(|tree| Snapshot::of(tree));
            let told: Vec<String> = compare(&source, &copy)
                .iter()
                .map(|one| {
                    let both = [&source, &copy].map(|tree| tree.entries.get(&one.path).map(brief));
                    format!("{one} ({both:?})")
                })
                .collect();
            assert!(told.is_empty(), "{when}\n  {}", told.join("\n  "));
            common::assert_equal(&self.source, &self.copy, &when);
        }
    }

    /// Writers at work, and syncs meanwhile.
    fn live(&mut self) -> Vec<Report> {
        let done = AtomicBool::new(false);
        let seeds = [0; WRITERS as usize].map(|_| self.rng.next());
        let (source, done) = (&self.source, &done);
        std::thread::scope(|scope| {
            for seed in seeds {
                scope.spawn(move || {
                    let mut writer = Writer::new(source, seed);
                    while !done.load(Relaxed) {
                        writer.step();
                        CHANGES.fetch_add(1, Relaxed);
                    }
                });
            }
            // The writers must end even if this panics, or it is never told.
            let outcome = std::panic::catch_unwind(std::panic::AssertUnwindSafe(|| {
                let syncs = 2 + seeds[0] % 2;
                (0..syncs)
                    .map(|n| {
                        std::thread::sleep(Duration::from_millis((seeds[0] >> (8 * n)) % 40));
                        let report = self.sync();
                        LIVE.fetch_add(1, Relaxed);
                        assert!([0, 3].contains(&report.exit), "{report:#?}");
                        report
                    })
                    .collect()
            }));
            done.store(true, Relaxed);
            outcome.unwrap_or_else(|panic| std::panic::resume_unwind(panic))
        })
    }

    fn sync(&self) -> Report {
        let mut command = sync::with_catalog(&self.source, &self.copy, &self.catalog, &[]);
        sync::finish(command.env("DISKMIRROR_WRITING_SECS", WRITING_SECS))
    }

    /// Copies of trees double; from time to time most of them go.
    fn thin_out(&mut self) {
        while entries(&self.source).len() > MOST {
            let mut all = entries(&self.source);
            all.retain(|path| path.symlink_metadata().is_ok_and(|meta| meta.is_dir()));
            let path = self.rng.pick(&all).clone();
            remove(&path);
        }
    }
}

/// What helps to find out how two entries came to differ.
fn brief(entry: &Entry) -> String {
    let Entry { mode, inode, ctime, mtime, .. } = entry;
    format!("mode {mode:o}, inode and names {inode:?}, ctime {ctime:?}, mtime {mtime:?}")
}
