//! `run` killed at any moment, and the mirror's file system cut off under it: every file is old or new by content,
//! and the next run succeeds without help. `DISKMIRROR_KILLS` (50) and `DISKMIRROR_SHUTDOWNS` (20, half of them on
//! each kind of file system) say how often. Needs root.

#[path = "common/disks.rs"]
mod disks;

use diskmirror::layout::FsKind;
use diskmirror::record::State;
use disks::{Pair, Said, content};
use std::fs;
use std::path::{Path, PathBuf};
use std::process::{Child, Command};
use std::time::{Duration, Instant};

const FILES: usize = 400;

fn from_environment(name: &str, usual: usize) -> usize {
    std::env::var(name).map_or(usual, |text| text.parse().expect("a number"))
}

/// Numbers that look random and are the same each time.
struct Dice(u64);

impl Dice {
    fn below(&mut self, limit: u64) -> u64 {
        self.0 = self.0.wrapping_mul(6_364_136_223_846_793_005).wrapping_add(1_442_695_040_888_963_407);
        (self.0 >> 33) % limit.max(1)
    }
}

/// The primary's files: each is version 0, 1, 2 … or absent.
struct Files {
    root: PathBuf,
    versions: Vec<Option<usize>>,
    dice: Dice,
}

impl Files {
    fn new(root: PathBuf) -> Files {
        let mut files = Files { root, versions: vec![None; FILES], dice: Dice(42) };
        (0..FILES).for_each(|n| files.put(n, Some(0)));
        files
    }

    fn path(root: &Path, n: usize) -> PathBuf {
        root.join(format!("d{}", n % 7)).join(format!("f{n}"))
    }

    fn put(&mut self, n: usize, version: Option<usize>) {
        let path = Files::path(&self.root, n);
        match version {
            Some(version) => {
                fs::create_dir_all(path.parent().expect("a directory")).expect("made");
                fs::write(path, content(n, version)).expect("written");
            }
            None => drop(fs::remove_file(path)),
        }
        self.versions[n] = version;
    }

    /// Changes a third of them, and gives back what they were.
    fn change(&mut self, round: usize) -> Vec<Option<usize>> {
        let before = self.versions.clone();
        for n in 0..FILES {
            match self.dice.below(9) {
                0 | 1 => self.put(n, Some(round)),
                2 => self.put(n, None),
                _ => {}
            }
        }
        before
    }

    /// Every file on the mirror is what it was, or what it is to be.
    fn assert_old_or_new(&self, before: &[Option<usize>], mirror: &Path, when: &str) {
        for (n, old) in before.iter().enumerate() {
            let found = fs::read(Files::path(mirror, n)).ok();
            let is = |version: Option<usize>| found == version.map(|version| content(n, version));
            let size = found.as_ref().map(Vec::len);
            assert!(is(*old) || is(self.versions[n]), "{when}: file {n} is neither ({size:?} bytes)");
        }
    }
}

#[test]
fn a_run_killed_at_any_moment_leaves_every_file_old_or_new_and_the_next_one_succeeds() {
    let kills = from_environment("DISKMIRROR_KILLS", 50);
    let pair = Pair::new(&[("/", FsKind::Ext4)]);
    let mut files = Files::new(pair.root());
    pair.run_done();
    let begun = Instant::now();
    files.change(1);
    pair.run_done();
    let longest = begun.elapsed().as_micros() as u64;
    let mut cut_short = 0;
    for round in 2..kills + 2 {
        let before = files.change(round);
        let moment = Duration::from_micros(files.dice.below(longest));
        let mut child = pair.start(&[]);
        std::thread::sleep(moment);
        child.kill().expect("it is ours");
        let ended = child.wait().expect("it ends");
        cut_short += usize::from(!ended.success());
        let when = format!("killed after {moment:?}");
        pair.with_mirror("rw", |mirrors| files.assert_old_or_new(&before, &mirrors[0], &when));
        pair.run_done();
        assert_eq!(pair.differences(), "", "{when}");
    }
    println!("{kills} kills, {cut_short} of them met a run");
    assert!(cut_short > kills / 2, "only {cut_short} of {kills} kills met a run");
    assert!(pair.history().iter().any(|record| record.state == State::Killed));
}

/// Where the run has its mirror mounted for writing, seen from here.
fn writable_mirror(child: &mut Child, pair: &Pair) -> Option<PathBuf> {
    let at = diskmirror::mirror::mount_point(&pair.root().join("run/diskmirror"), "mirror", 0);
    let process = PathBuf::from(format!("/proc/{}", child.id()));
    while child.try_wait().expect("it is ours").is_none() {
        let mounts = fs::read_to_string(process.join("mountinfo")).unwrap_or_default();
        let here = mounts.lines().find(|line| line.split(' ').nth(4) == at.to_str());
        if here.is_some_and(|line| line.split(' ').nth(5).is_some_and(|options| options.starts_with("rw"))) {
            return Some(process.join("root").join(at.strip_prefix("/").expect("absolute")));
        }
    }
    None
}

fn shut_down_under(kind: FsKind) {
    let wanted = from_environment("DISKMIRROR_SHUTDOWNS", 20) / 2;
    let pair = Pair::new(&[("/", kind)]);
    let mut files = Files::new(pair.root());
    pair.run_done();
    let mut shut_down = 0;
    for round in 1.. {
        let before = files.change(round);
        let mut child = pair.start(&[]);
        let mirror = writable_mirror(&mut child, &pair);
        std::thread::sleep(Duration::from_micros(files.dice.below(60_000)));
        // Without the flush of the log, and with it.
        let how = ["shutdown", "shutdown -f"][round % 2];
        let cut_off = mirror.is_some_and(|mirror| {
            let cut =
                Command::new("xfs_io").args(["-r", "-x", "-c", how]).arg(mirror).output().expect("xfs_io");
            cut.status.success() && cut.stderr.is_empty()
        });
        let said = Said::of(child.wait_with_output().expect("it ends"));
        let when = format!("{how} in round {round}: {said:?}");
        assert!(matches!(said.code, 0 | 1), "{when}");
        pair.with_mirror("rw", |mirrors| files.assert_old_or_new(&before, &mirrors[0], &when));
        pair.run_done();
        assert_eq!(pair.differences(), "", "{when}");
        shut_down += usize::from(cut_off && said.code == 1);
        if shut_down == wanted {
            println!("{kind:?}: {round} shutdowns, {shut_down} of them met a run");
            return;
        }
        assert!(round < 10 * wanted, "only {shut_down} of {round} shutdowns met a run");
    }
}

#[test]
fn an_ext4_cut_off_in_mid_run_is_whole_after_the_next_run() {
    shut_down_under(FsKind::Ext4);
}

#[test]
fn an_xfs_cut_off_in_mid_run_is_whole_after_the_next_run() {
    shut_down_under(FsKind::Xfs);
}
