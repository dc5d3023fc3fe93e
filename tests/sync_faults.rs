//! A layer that fails: `strace` makes one call of a sync fail, of each kind of call that a sync makes, with each error that a
//! disk, a full file system or a right that is missing gives. Every file of the mirror is its old or its new version then, the
//! exit code says it if something was left undone, and the next sync makes both sides equal.
//!
//! `DISKMIRROR_INJECTIONS` (160) says how many calls are made to fail, `DISKMIRROR_SEED` (0) which. strace counts the calls of
//! each thread by itself: the first one of a kind is the first one of every thread.

mod common;

use common::cataloged::TICKS;
use common::comparer::{Entry, Snapshot, compare};
use common::loopfs::{Kind, LoopFs};
use common::names::shown;
use common::rng::Rng;
use common::sync_command::{self as sync, Report};
use rustix::fs::{CWD, FileType, Mode, XattrFlags};
use std::collections::BTreeMap;
use std::fs::{self, File, OpenOptions, Permissions};
use std::os::unix::fs::{FileExt, PermissionsExt, lchown, symlink};
use std::path::{Path, PathBuf};
use std::process::Command;
use std::sync::atomic::{AtomicU64, Ordering::Relaxed};

/// Far from the seeds of the other tests.
const SEEDS: u64 = 1 << 44;

/// What a disk, a file system, or the lack of a right answers.
const ERRORS: [&str; 6] = ["EIO", "ENOSPC", "EROFS", "EDQUOT", "EACCES", "EUCLEAN"];
/// Calls that find and read.
const READING: &[&str] = &[
    "openat",
    "openat2",
    "statx",
    "getdents64",
    "read",
    "pread64",
    "readlinkat",
    "flistxattr",
    "listxattr",
    "llistxattr",
    "fgetxattr",
    "getxattr",
    "lgetxattr",
    "lseek",
    "fstatfs",
    "ioctl",
];
/// Calls that change something, or bring it to the disk.
const WRITING: &[&str] = &[
    "write",
    "pwrite64",
    "ftruncate",
    "fallocate",
    "renameat2",
    "renameat",
    "rename",
    "linkat",
    "unlinkat",
    "unlink",
    "mkdirat",
    "symlinkat",
    "mknodat",
    "fchmod",
    "fchmodat",
    "fchown",
    "fchownat",
    "setxattr",
    "fsetxattr",
    "lsetxattr",
    "removexattr",
    "fremovexattr",
    "lremovexattr",
    "utimensat",
    "syncfs",
    "fsync",
    "fdatasync",
    "sync_file_range",
    "copy_file_range",
    "flock",
];

/// From this size on files are brought up to date block by block.
const LARGE: u64 = 64 << 20;

/// What was made to fail in all tries, by call.
static FAILED: AtomicU64 = AtomicU64::new(0);
static TOLD: AtomicU64 = AtomicU64::new(0);

fn from_environment(name: &str, default: u64) -> u64 {
    let text = std::env::var(name).ok();
    text.map_or(default, |text| text.parse().unwrap_or_else(|_| panic!("{name}={text} is not a number")))
}

#[test]
fn whatever_call_fails_every_file_is_old_or_new_and_what_was_left_undone_is_told() {
    if !common::root_or_skip("calls that fail, on file systems of their own") {
        return;
    }
    if Command::new("strace").arg("-V").output().is_err() {
        return common::skipped("calls that fail", "strace is not installed");
    }
    let injections = from_environment("DISKMIRROR_INJECTIONS", 160);
    let first = from_environment("DISKMIRROR_SEED", 0);
    let next = AtomicU64::new(0);
    std::thread::scope(|scope| {
        for kind in [Kind::Ext4, Kind::Xfs] {
            let next = &next;
            scope.spawn(move || {
                let mut layer = Layer::new(kind, first);
                while FAILED.load(Relaxed) < injections {
                    let number = next.fetch_add(1, Relaxed);
                    assert!(number < 4 * injections + 400, "calls do not fail as they are told");
                    layer.fail(number);
                }
                common::assert_equal(&layer.source, &layer.copy, "at the end");
            });
        }
    });
    println!("{} calls were made to fail, {} syncs told of it", FAILED.load(Relaxed), TOLD.load(Relaxed));
}

/// Which call fails, how, and the how manyth.
#[derive(Debug, Clone)]
struct Injection {
    call: String,
    error: &'static str,
    number: u64,
}

/// A source and its mirror, each on a file system of its own, under a sync of which one call fails.
struct Layer {
    kind: Kind,
    source: PathBuf,
    copy: PathBuf,
    catalog: PathBuf,
    scratch: tempfile::TempDir,
    /// How often a sync makes each call.
    calls: BTreeMap<String, u64>,
    rng: Rng,
    round: u64,
    _filesystems: [LoopFs; 2],
}

impl Layer {
    fn new(kind: Kind, seed: u64) -> Self {
        let filesystems = [0, 1].map(|_| LoopFs::new(kind, 400));
        let [source, copy] = [0, 1].map(|side| filesystems[side].dir(["source", "copy"][side]));
        let scratch = common::scratch();
        let catalog = scratch.path().join("catalog");
        let rng = Rng::new(SEEDS + seed * 2 + kind as u64);
        let calls = BTreeMap::new();
        let mut layer =
            Layer { kind, source, copy, catalog, scratch, calls, rng, round: 0, _filesystems: filesystems };
        layer.prepare();
        layer.sync().expect_done();
        std::thread::sleep(TICKS);
        layer.sync().expect_done();
        layer.change();
        layer.count_calls();
        layer
    }

    fn at(&self, name: impl AsRef<Path>) -> PathBuf {
        self.source.join(name)
    }

    fn prepare(&mut self) {
        for directory in ["files", "moved-tree-0/below", "links", "odd"] {
            fs::create_dir_all(self.at(directory)).expect("directories");
        }
        for name in
            ["files/moved-0", "moved-tree-0/below/inner", "links/leader", "odd/attributes", "odd/mode"]
        {
            fs::write(self.at(name), self.rng.bytes(900)).expect("a file");
        }
        let large = File::create(self.at("large")).expect("a file");
        large.set_len(LARGE + 5).expect("sparse");
        large.write_all_at(&self.rng.bytes(300_000), 1 << 20).expect("written");
    }

    /// One of everything that a sync has to do.
    fn change(&mut self) {
        let (was, now) = (self.round, self.round + 1);
        self.round = now;
        for n in 0..4 {
            let length = self.rng.range(1, 20_000) as usize;
            fs::write(self.at(format!("files/changed-{n}")), self.rng.bytes(length)).expect("a file");
        }
        fs::write(self.at(format!("files/new-{now}")), self.rng.bytes(5000)).expect("a file");
        let _ = fs::remove_file(self.at(format!("files/new-{was}")));
        fs::rename(self.at(format!("files/moved-{was}")), self.at(format!("files/moved-{now}")))
            .expect("renamed");
        fs::rename(self.at(format!("moved-tree-{was}")), self.at(format!("moved-tree-{now}")))
            .expect("renamed");
        fs::hard_link(self.at("links/leader"), self.at(format!("links/name-{now}"))).expect("linked");
        let _ = fs::remove_file(self.at(format!("links/name-{was}")));
        fs::write(self.at("links/leader"), self.rng.bytes(700)).expect("a file");
        self.change_large();
        self.change_odd(was, now);
        let tree = self.at(format!("tree-{now}/below"));
        fs::create_dir_all(&tree).expect("directories");
        fs::write(tree.join("inner"), self.rng.bytes(3000)).expect("a file");
        let _ = fs::remove_dir_all(self.at(format!("tree-{was}")));
        // Longer than the clock's tick: what is renamed next is known by then.
        std::thread::sleep(TICKS);
    }
    fn change_large(&mut self) {
        let large = OpenOptions::new().write(true).open(self.at("large")).expect("there");
        let at = (1 << 20) + self.rng.below(200_000);
        large.write_all_at(&self.rng.bytes(40_000), at).expect("written");
        large.set_len(LARGE + self.rng.below(5000)).expect("another size");
    }
    fn change_odd(&mut self, was: u64, now: u64) {
        let attributes = self.at("odd/attributes");
        let set = |name: String, value: &[u8]| {
            rustix::fs::lsetxattr(&attributes, name, value, XattrFlags::empty()).expect("an attribute");
        };
        set(format!("user.of-{now}"), b"value");
        set("user.all".into(), now.to_string().as_bytes());
        let _ = rustix::fs::lremovexattr(&attributes, format!("user.of-{was}"));
        fs::set_permissions(self.at("odd/mode"), Permissions::from_mode(0o600 + (now % 0o100) as u32))
            .expect("a mode");
        lchown(self.at("odd/mode"), Some(now as u32), Some(7)).expect("an owner");
        for (name, of) in [("link", now), ("fifo", now)] {
            let _ = fs::remove_file(self.at(format!("odd/{name}-{was}")));
            let path = self.at(format!("odd/{name}-{of}"));
            match name {
                "link" => symlink(format!("target-{of}"), path).expect("a link"),
                _ => rustix::fs::mknodat(CWD, path, FileType::Fifo, Mode::from_raw_mode(0o600), 0)
                    .expect("a fifo"),
            }
        }
        let link = self.at("odd/link");
        let _ = fs::remove_file(&link);
        symlink(format!("leads-to-{now}"), link).expect("a link");
    }

    fn command(&self) -> Command {
        sync::with_catalog(&self.source, &self.copy, &self.catalog, &[])
    }
    fn sync(&self) -> Report {
        sync::finish(&mut self.command())
    }
    /// The sync under strace, which says on `trace` what it sees.
    fn traced(&self, arguments: &[String]) -> (Report, String) {
        let trace = self.scratch.path().join("trace");
        let plain = self.command();
        let mut command = Command::new("strace");
        command.args(["-f", "-qq", "--seccomp-bpf", "-o"]).arg(&trace).args(arguments);
        command.arg(plain.get_program()).args(plain.get_args());
        let report = sync::finish(&mut command);
        (report, fs::read_to_string(&trace).expect("strace has written"))
    }

    /// Which calls a sync makes of those that can be made to fail, and how often.
    fn count_calls(&mut self) {
        let all: Vec<&str> = READING.iter().chain(WRITING).copied().collect();
        let (report, trace) = self.traced(&["-e".into(), format!("trace={}", all.join(","))]);
        report.expect_done();
        for line in trace.lines() {
            let call = line.split_whitespace().nth(1).and_then(|call| call.split('(').next());
            if let Some(call) = call.filter(|call| all.contains(call)) {
                *self.calls.entry(call.to_owned()).or_default() += 1;
            }
        }
        assert!(self.calls.len() > 20, "a sync makes these calls only: {:?}", self.calls);
    }

    /// Of all calls and errors one after another.
    fn choose(&mut self, number: u64) -> Injection {
        let (call, count) = self.calls.iter().nth(number as usize % self.calls.len()).expect("one of them");
        let (call, count) = (call.clone(), *count);
        let turn = number / self.calls.len() as u64;
        let error = ERRORS[(turn + self.rng.below(3)) as usize % ERRORS.len()];
        // What starts the program opens and reads before it does.
        let number = match self.rng.below(4) {
            0 => 1,
            1 => 2,
            2 => 5,
            _ => self.rng.range(1, count + 1),
        };
        Injection { call, error, number }
    }

    fn fail(&mut self, number: u64) {
        let injection = self.choose(number);
        let Injection { call, error, number } = &injection;
        self.change();
        let (old, new) = (Snapshot::of(&self.copy), Snapshot::of(&self.source));
        let inject = format!("inject={call}:error={error}:when={number}");
        let (report, trace) = self.traced(&["-e".into(), format!("trace={call}"), "-e".into(), inject]);
        let when = format!("{}, {injection:?}:\n{report:#?}", self.kind.name());
        FAILED.fetch_add(u64::from(trace.contains("(INJECTED)")), Relaxed);
        TOLD.fetch_add(u64::from(report.exit != 0), Relaxed);
        let found = Snapshot::of(&self.copy);
        assert_old_or_new(&old, &new, &found, &when);
        assert!(report.exit != 101 && !report.stderr.contains("panicked"), "{when}");
        if report.exit == 0 {
            let left = compare(&new, &found);
            assert!(left.is_empty(), "{when}\nexit code 0, and this was left undone: {left:#?}");
        }
        let again = self.sync().expect_done();
        let differences = compare(&new, &Snapshot::of(&self.copy));
        assert!(differences.is_empty(), "{when}\nthen {again:#?}\n{differences:#?}");
    }
}

/// Every name of both the old and the new tree is there, and what it holds is what one of them holds; nothing else holds
/// anything that neither has.
fn assert_old_or_new(old: &Snapshot, new: &Snapshot, found: &Snapshot, when: &str) {
    let holds = |entry: &Entry| (entry.is_dir(), entry.content, entry.target.clone());
    let own = |path: &[u8]| path.starts_with(b".diskmirror");
    let mut wrong = Vec::new();
    for (path, entry) in found.entries.iter().filter(|(path, _)| !own(path)) {
        let known = [old, new].map(|tree| tree.entries.get(path).map(holds));
        if !known.contains(&Some(holds(entry))) {
            wrong.push(format!("{} is neither the old nor the new one", shown(path)));
        }
    }
    for path in old.entries.keys().filter(|path| !own(path) && new.entries.contains_key(*path)) {
        if !found.entries.contains_key(path) {
            wrong.push(format!("{} is missing", shown(path)));
        }
    }
    assert!(wrong.is_empty(), "{when}\n  {}", wrong.join("\n  "));
}
