//! Kills and power cuts in the middle of a `sync`: every file on the copy is old or new, the next sync needs no help,
//! and nothing is left behind.
//!
//! Two versions of one tree take turns as the source: the copy holds one of them completely when the sync to the
//! other is cut off. `DISKMIRROR_KILLS` (50), `DISKMIRROR_SHUTDOWNS` (20) and `DISKMIRROR_CUTS` (15) say how often.

mod common;

use common::comparer::{Entry, Snapshot};
use common::loopfs::{Kind, LoopFs};
use common::names::shown;
use common::power::{self, PowerDisk};
use common::raw::Shutdown;
use common::rng::Rng;
use common::sync_command::{self as sync, sync};
use common::{assert_equal, generate};
use rustix::process::{Pid, Signal};
use std::fs;
use std::os::unix::process::CommandExt;
use std::path::{Path, PathBuf};
use std::process::{Child, ExitStatus, Stdio};
use std::time::{Duration, Instant};

const FILES: u64 = 400;

fn from_environment(name: &str, default: u64) -> u64 {
    std::env::var(name).ok().map_or(default, |text| text.parse().expect("a number"))
}

/// One version of the tree, and what it looks like.
struct Version {
    path: PathBuf,
    snapshot: Snapshot,
}

/// Two versions: most files differ in content, some are in one of them only, some are the same in both.
fn versions(on: &LoopFs, rng: &mut Rng) -> [Version; 2] {
    let paths = ["first", "second"].map(|name| on.dir(name));
    for n in 0..FILES {
        let name = format!("dir-{}/sub-{}/file-{n}", n % 7, n % 3);
        let same = rng.once_in(4);
        let length = *rng.pick(&[0, 100, 5_000, 60_000, 400_000]);
        let content = rng.bytes(length);
        for (version, path) in paths.iter().enumerate() {
            let only_in_other = !same && n % 5 == 4 && (n / 5) as usize % 2 == version;
            if !only_in_other {
                let content = if same || version == 0 { content.clone() } else { rng.bytes(length + 1) };
                write(&path.join(&name), &content, if same { 0 } else { version as i64 }, n as i64);
            }
        }
    }
    for path in &paths {
        fs::hard_link(path.join("dir-0/sub-0/file-0"), path.join("linked")).expect("a hard link");
    }
    paths.map(|path| Version { snapshot: Snapshot::of(&path), path })
}

fn write(path: &Path, content: &[u8], version: i64, n: i64) {
    fs::create_dir_all(path.parent().expect("it lies in a directory")).expect("directories");
    fs::write(path, content).expect("a file");
    generate::set_mtime(path, 1_700_000_000 + version, n + 1);
}

/// Every file of the copy is the old or the new one, byte for byte, and none that is in both is missing.
fn assert_old_or_new(old: &Snapshot, new: &Snapshot, copy: &Path, when: &str) {
    let found = Snapshot::of(copy);
    let mut wrong = Vec::new();
    for path in old.entries.keys().filter(|path| !old.entries[*path].is_dir()) {
        let allowed: Vec<&Entry> = [old, new].iter().filter_map(|tree| tree.entries.get(path)).collect();
        match found.entries.get(path) {
            Some(entry) if allowed.iter().any(|one| one.content == entry.content) => {}
            Some(entry) => wrong.push(format!("{} is torn: {} bytes", shown(path), entry.size)),
            None if allowed.len() == 2 => wrong.push(format!("{} is missing", shown(path))),
            None => {}
        }
    }
    for (path, entry) in new.entries.iter().filter(|(path, _)| !old.entries.contains_key(*path)) {
        if found.entries.get(path).is_some_and(|found| found.content != entry.content) {
            wrong.push(format!("{} is new, and torn", shown(path)));
        }
    }
    assert!(wrong.is_empty(), "{when}:\n  {}", wrong.join("\n  "));
}

/// The next sync needs no help, and leaves nothing behind that is not in the source.
fn assert_recovers(source: &Path, copy: &Path, when: &str) {
    sync(source, copy);
    assert_equal(source, copy, when);
    sync(source, copy).expect_no_change(when);
}

fn start(source: &Path, copy: &Path) -> Child {
    let mut command = sync::command(source, copy, &[]);
    let command = command.stdout(Stdio::null()).stderr(Stdio::null()).process_group(0);
    command.spawn().expect("the program can be run")
}

/// Kills it, and whatever it may have started.
fn kill(child: &mut Child) {
    let group = Pid::from_child(child);
    // Nobody to kill: it had ended, and was reaped when it was asked whether it had.
    let _ = rustix::process::kill_process_group(group, Signal::KILL);
    child.wait().expect("reaped");
}

/// A sync whose file system died must end by itself. The minute is for the machine's sake, and far from tight.
fn ends(child: &mut Child) -> ExitStatus {
    for _ in 0..600 {
        if let Some(status) = child.try_wait().expect("a child") {
            return status;
        }
        std::thread::sleep(Duration::from_millis(100));
    }
    kill(child);
    panic!("the sync goes on for ever on a file system that was shut down");
}

/// Chooses the moments at which a sync is cut off, and learns from each how long a sync takes just now: about a third
/// of them come too late, so that no part of a sync is spared however the machine's load changes.
struct Moments {
    rng: Rng,
    span: Duration,
    wanted: u64,
    cut_off: u64,
    late: u64,
}

impl Moments {
    /// For `wanted` cuts that come before the end.
    fn new(rng: Rng, trees: &[Version; 2], copy: &Path, wanted: u64) -> Self {
        sync(&trees[0].path, copy);
        let since = Instant::now();
        sync(&trees[1].path, copy);
        Moments { rng, span: since.elapsed(), wanted, cut_off: 0, late: 0 }
    }
    /// The number of the next cut; none when there were enough.
    fn next(&self) -> Option<usize> {
        assert!(self.late < 20 + 5 * self.wanted, "only {} cuts came before the end", self.cut_off);
        (self.cut_off < self.wanted).then_some((self.cut_off + self.late) as usize)
    }
    /// Waits for the moment, and notes whether the sync was still at work then.
    fn wait(&mut self, child: &mut Child) {
        std::thread::sleep(self.span.mul_f64(self.rng.below(1000) as f64 / 1000.0));
        if child.try_wait().expect("a child").is_none() {
            self.cut_off += 1;
            self.span = self.span.mul_f64(1.1);
        } else {
            self.late += 1;
            self.span = self.span.mul_f64(0.8);
        }
    }
    fn tell(&self, kind: Kind, what: &str) {
        println!("{}: {} {what} before the end, {} after it", kind.name(), self.cut_off, self.late);
    }
}

fn survives_kills(kind: Kind, times: u64) {
    if !common::root_or_skip("kills on a file system of their own") {
        return;
    }
    let mut rng = Rng::new(kind as u64);
    let (sources, mirror) = (LoopFs::new(kind, 512), LoopFs::new(kind, 512));
    let trees = versions(&sources, &mut rng);
    let copy = mirror.dir("copy");
    let mut moments = Moments::new(rng, &trees, &copy, times);
    while let Some(round) = moments.next() {
        let (new, old) = (&trees[round % 2], &trees[(round + 1) % 2]);
        let mut child = start(&new.path, &copy);
        moments.wait(&mut child);
        kill(&mut child);
        let when = format!("{}, kill {round}", kind.name());
        assert_old_or_new(&old.snapshot, &new.snapshot, &copy, &when);
        assert_recovers(&new.path, &copy, &when);
    }
    moments.tell(kind, "kills");
}

#[test]
fn a_killed_sync_on_ext4_leaves_every_file_old_or_new() {
    survives_kills(Kind::Ext4, from_environment("DISKMIRROR_KILLS", 50) / 2);
}

#[test]
fn a_killed_sync_on_xfs_leaves_every_file_old_or_new() {
    survives_kills(Kind::Xfs, from_environment("DISKMIRROR_KILLS", 50) / 2);
}

#[test]
fn a_killed_first_copy_is_finished_by_the_next_sync() {
    if !common::root_or_skip("kills on a file system of their own") {
        return;
    }
    let mut rng = Rng::new(77);
    let (sources, mirror) = (LoopFs::new(Kind::Ext4, 512), LoopFs::new(Kind::Ext4, 512));
    let tree = &versions(&sources, &mut rng)[0];
    for round in 0..5 {
        let copy = mirror.dir(&format!("copy-{round}"));
        let mut child = start(&tree.path, &copy);
        std::thread::sleep(Duration::from_millis(20 * round));
        kill(&mut child);
        // A copy that was never complete has nothing to lose: its files may be torn, but not for ever.
        let when = format!("first copy, kill {round}");
        assert_recovers(&tree.path, &copy, &when);
        fs::remove_dir_all(&copy).expect("removed");
    }
}

fn survives_shutdowns(kind: Kind, times: u64) {
    if !common::root_or_skip("hard shutdowns of a file system") {
        return;
    }
    let mut rng = Rng::new(100 + kind as u64);
    let (sources, mut mirror) = (LoopFs::new(kind, 512), LoopFs::new(kind, 512));
    let trees = versions(&sources, &mut rng);
    let copy = mirror.dir("copy");
    let mut moments = Moments::new(rng, &trees, &copy, times);
    while let Some(round) = moments.next() {
        let (new, old) = (&trees[round % 2], &trees[(round + 1) % 2]);
        // Without a log flush twice as often: that is the power cut.
        let how = [Shutdown::NoLogFlush, Shutdown::LogFlush, Shutdown::NoLogFlush, Shutdown::Default];
        let how = how[round % 4];
        let mut child = start(&new.path, &copy);
        moments.wait(&mut child);
        mirror.shut_down(how).expect("the file system can be shut down");
        let status = ends(&mut child);
        mirror.unmount();
        mirror.mount();
        let when = format!("{}, shutdown {round} ({how:?}), the sync ended with {status}", kind.name());
        assert_old_or_new(&old.snapshot, &new.snapshot, &copy, &when);
        assert_recovers(&new.path, &copy, &when);
    }
    moments.tell(kind, "shutdowns");
}

#[test]
fn a_power_cut_on_ext4_leaves_every_file_old_or_new() {
    survives_shutdowns(Kind::Ext4, from_environment("DISKMIRROR_SHUTDOWNS", 20) / 2);
}

#[test]
fn a_power_cut_on_xfs_leaves_every_file_old_or_new() {
    survives_shutdowns(Kind::Xfs, from_environment("DISKMIRROR_SHUTDOWNS", 20) / 2);
}

/// What `sync` said was done must be there after a power cut: it flushes before it ends.
#[test]
fn a_sync_that_has_ended_survives_a_power_cut() {
    if !common::root_or_skip("hard shutdowns of a file system") {
        return;
    }
    for kind in [Kind::Ext4, Kind::Xfs] {
        let (sources, mut mirror) = (LoopFs::new(kind, 512), LoopFs::new(kind, 512));
        let trees = versions(&sources, &mut Rng::new(5));
        let copy = mirror.dir("copy");
        for tree in &trees {
            sync(&tree.path, &copy);
            mirror.shut_down(Shutdown::NoLogFlush).expect("the file system can be shut down");
            mirror.unmount();
            mirror.mount();
            assert_equal(&tree.path, &copy, &format!("{}, a power cut after the end", kind.name()));
        }
    }
}

/// The catalog lies on another disk and has all that was written to it; the copy's disk loses of what no flush had
/// secured what it likes. What the catalog says of the copy must be true all the same.
fn survives_reordered_writes(kind: Kind, cuts: u64) {
    if !common::root_or_skip("power cuts") {
        return;
    }
    if let Some(why) = power::missing() {
        common::skipped("power cuts with reordered writes", why);
        return;
    }
    let mut rng = Rng::new(200 + kind as u64);
    let (sources, mut mirror) = (LoopFs::new(kind, 320), LoopFs::new(kind, 320));
    let [old, new] = versions(&sources, &mut rng);
    let copy = mirror.dir("copy");
    let scratch = common::scratch();
    let kept = scratch.path().join("catalog of the old");
    sync::finish(&mut sync::with_catalog(&old.path, &copy, &kept, &[])).expect_done();
    let saved = mirror.save();
    // Two of one UUID are never mounted together.
    mirror.unmount();
    let (mut outcomes, mut unsecured) = (0, 0);
    // How long a sync takes, and how much it writes.
    let (mut span, mut all) = (Duration::from_secs(1), 40 << 20);
    while outcomes < cuts {
        let catalog = scratch.path().join("catalog");
        fs::copy(&kept, &catalog).expect("a catalog");
        let disk = PowerDisk::new(&saved, &mirror.image().with_file_name("power"));
        let mut command = sync::with_catalog(&new.path, &disk.mounted().join("copy"), &catalog, &[]);
        let command = command.stdout(Stdio::null()).stderr(Stdio::null()).process_group(0);
        // At any time; or, three times as often, in the middle of what is written at once at the end.
        let part = rng.below(1100);
        let (time, bytes) = if rng.once_in(4) {
            (span * part as u32 / 1000, u64::MAX)
        } else {
            (span * 9, all * part / 1000)
        };
        let begun = Instant::now();
        let mut child = command.spawn().expect("the program can be run");
        let mut done = None;
        while done.is_none() && begun.elapsed() < time && disk.written() < bytes {
            std::thread::sleep(Duration::from_millis(1));
            done = child.try_wait().expect("a child");
        }
        let _ = rustix::process::kill_process_group(Pid::from_child(&child), Signal::KILL);
        let written = disk.written();
        child.wait().expect("reaped");
        if done.is_some() {
            (span, all) = (begun.elapsed(), written);
        }
        let cut = disk.cut(written);
        unsecured += cut.unsecured();
        for _ in 0..3 {
            cut.outcome(mirror.image(), &mut rng);
            mirror.mount();
            let when = format!("{}, cut {outcomes}, the sync {done:?}", kind.name());
            assert_old_or_new(&old.snapshot, &new.snapshot, &copy, &when);
            if done.is_some() {
                assert_equal(&new.path, &copy, &when);
            }
            let known = scratch.path().join("catalog after the cut");
            fs::copy(&catalog, &known).expect("a catalog");
            sync::finish(&mut sync::with_catalog(&new.path, &copy, &known, &[])).expect_done();
            assert_equal(&new.path, &copy, &when);
            mirror.unmount();
            outcomes += 1;
        }
    }
    println!("{}: {outcomes} outcomes, {unsecured} writes that might have been lost", kind.name());
    assert!(unsecured > 0, "every write was secured: nothing was tried");
}

#[test]
fn a_power_cut_that_loses_and_reorders_writes_on_ext4_is_mended_by_the_next_sync() {
    survives_reordered_writes(Kind::Ext4, from_environment("DISKMIRROR_CUTS", 15));
}

#[test]
fn a_power_cut_that_loses_and_reorders_writes_on_xfs_is_mended_by_the_next_sync() {
    survives_reordered_writes(Kind::Xfs, from_environment("DISKMIRROR_CUTS", 15));
}
