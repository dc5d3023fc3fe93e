//! A source, a copy, and the catalog between them.
//!
//! Whether a sync uses its catalog shows in what it does not see: who writes into the copy behind its back breaks the
//! contract, and a sync that believes its catalog does not look. So the tests plant such a change and see whether it
//! is still there afterwards.

use super::comparer::differences;
use super::loopfs::{Kind, LoopFs};
use super::sync_command::{self as sync, Report};
use std::fs::{self, Permissions};
use std::os::unix::fs::{MetadataExt, PermissionsExt};
use std::path::{Path, PathBuf};
use std::process::Command;
use std::time::Duration;

/// What is changed on the copy behind the program's back.
const PLANTED: &str = "probed/below/planted";
/// 128 bytes have no room for nanoseconds: the clock of such an ext4 ticks once in a second.
pub const SMALL_INODES: &[&str] = &["-I", "128"];
/// More than two ticks of any kernel's clock (CONFIG_HZ=100): what was changed before it is not doubtful after it.
pub const TICKS: Duration = Duration::from_millis(60);
/// The same with ticks of a second.
const LONG_TICKS: Duration = Duration::from_millis(3100);

/// Two trees and a catalog.
pub struct Cataloged {
    pub source: PathBuf,
    pub copy: PathBuf,
    pub catalog: PathBuf,
    /// The file system of both, or of the source.
    pub sources: Option<LoopFs>,
    /// The copy's own.
    pub mirrors: Option<LoopFs>,
    scratch: tempfile::TempDir,
    ticks: Duration,
}

impl Cataloged {
    /// Both on one ext4 as root, else beside the build.
    pub fn new() -> Self {
        Self::of(super::is_root().then(|| LoopFs::new(Kind::Ext4, 256)), None)
    }
    /// Each on a file system of its own, in a directory of it.
    pub fn apart(kind: Kind, options_of_source: &[&str]) -> Self {
        let mib = if kind == Kind::Xfs { 320 } else { 128 };
        let source = LoopFs::with_options(kind, mib, options_of_source);
        let ticks = if options_of_source == SMALL_INODES { LONG_TICKS } else { TICKS };
        Cataloged { ticks, ..Self::of(Some(source), Some(LoopFs::new(kind, mib))) }
    }
    fn of(sources: Option<LoopFs>, mirrors: Option<LoopFs>) -> Self {
        let scratch = super::scratch();
        let at = |filesystem: Option<&LoopFs>| filesystem.map_or(scratch.path(), LoopFs::path).to_owned();
        let source = at(sources.as_ref()).join("source");
        let copy = at(mirrors.as_ref().or(sources.as_ref())).join("copy");
        fs::create_dir(&source).unwrap();
        fs::create_dir(&copy).unwrap();
        let catalog = scratch.path().join("catalog");
        let pair = Cataloged { source, copy, catalog, sources, mirrors, scratch, ticks: TICKS };
        pair.write(PLANTED, "changed on the copy only");
        pair
    }
    /// What was given, synced until nothing about it is doubtful.
    pub fn settled(self) -> Self {
        self.sync();
        self.settle();
        self.assert_used("before the test's own work");
        self
    }
    /// Lets a tick pass, and has the program look again.
    pub fn settle(&self) {
        std::thread::sleep(self.ticks);
        self.sync();
    }

    /// A path of the source.
    pub fn at(&self, name: &str) -> PathBuf {
        self.source.join(name)
    }
    /// The same on the copy.
    pub fn copied(&self, name: &str) -> PathBuf {
        self.copy.join(name)
    }
    /// Where `FILE.delta` lies.
    pub fn delta(&self) -> PathBuf {
        self.catalog.with_extension("delta")
    }
    /// A place for more, beside the catalog.
    pub fn beside(&self, name: &str) -> PathBuf {
        self.scratch.path().join(name)
    }
    /// Writes a file of the source, and the directories above it.
    pub fn write(&self, name: &str, content: impl AsRef<[u8]>) {
        let path = self.at(name);
        fs::create_dir_all(path.parent().expect("it lies in a directory")).unwrap();
        fs::write(path, content).unwrap();
    }

    /// The sync, not started yet.
    pub fn command(&self, arguments: &[&str]) -> Command {
        sync::with_catalog(&self.source, &self.copy, &self.catalog, arguments)
    }
    /// Runs it to its end.
    pub fn run(&self, arguments: &[&str]) -> Report {
        sync::finish(&mut self.command(arguments))
    }
    /// Runs it, and requires that everything was copied.
    pub fn sync(&self) -> Report {
        self.run(&[]).expect_done()
    }
    /// Both judges.
    pub fn assert_equal(&self, when: &str) {
        super::assert_equal(&self.source, &self.copy, when);
    }
    /// A sync after which both judges see nothing, and a second one that finds nothing to do.
    pub fn sync_and_judge(&self, when: &str) -> Report {
        let report = self.sync();
        self.assert_equal(when);
        self.sync().expect_no_change(when);
        self.assert_equal(&format!("{when}, then nothing"));
        report
    }

    /// Changes an entry of the copy behind the program's back.
    pub fn plant(&self) {
        let planted = self.copied(PLANTED);
        let mode = mode(&planted) ^ 0o111;
        fs::set_permissions(planted, Permissions::from_mode(mode)).unwrap();
    }
    /// Whether that is still there.
    pub fn is_planted(&self) -> bool {
        mode(&self.copied(PLANTED)) != mode(&self.at(PLANTED))
    }
    /// Requires of the next sync that it uses its catalog, and says nothing.
    pub fn assert_used(&self, when: &str) -> Report {
        self.plant();
        let report = self.sync();
        assert!(self.is_planted(), "{when}: the copy's directories were looked at: {report:#?}");
        assert_eq!(report.stderr, "", "{when}: {:#?}", report.json);
        self.plant();
        report
    }
    /// Requires of the next sync, run with these arguments, that it compares both sides wholly, and says so in a line;
    /// and of the one after the next that it uses its catalog again.
    pub fn assert_unusable(&self, arguments: &[&str], when: &str) {
        self.compares_all(arguments, when, true);
    }
    /// The same of a catalog about which nothing is to be said.
    pub fn assert_begun(&self, when: &str) {
        self.compares_all(&[], when, false);
    }
    fn compares_all(&self, arguments: &[&str], when: &str, is_said: bool) {
        self.plant();
        let report = self.run(arguments).expect_done();
        assert!(!self.is_planted(), "{when}: the catalog was believed: {report:#?}");
        assert_note(&report, is_said, when);
        if arguments.is_empty() {
            self.assert_equal(when);
        }
        std::thread::sleep(self.ticks);
        let report = self.run(arguments).expect_done().expect_no_change(when);
        assert_eq!(report.stderr, "", "{when}: said twice");
        self.plant();
        let report = self.run(arguments).expect_done();
        assert!(self.is_planted(), "{when}: not used again: {report:#?}");
        self.plant();
    }
    /// What the comparer sees, as text.
    pub fn differences(&self) -> Vec<String> {
        differences(&self.source, &self.copy).iter().map(ToString::to_string).collect()
    }
}

/// Requires one line about the catalog on stderr, or nothing.
pub fn assert_note(report: &Report, is_said: bool, when: &str) {
    let lines: Vec<&str> = report.stderr.lines().collect();
    assert_eq!(lines.len(), usize::from(is_said), "{when}: {report:#?}");
    for line in lines {
        assert!(line.starts_with("note: ") || line.contains("catalog"), "{when}: {line}");
    }
}

/// Turns over a bit of a byte.
pub fn flip(file: &Path, at: usize) {
    let mut bytes = fs::read(file).unwrap();
    bytes[at] ^= 1 << (at % 7);
    fs::write(file, bytes).unwrap();
}

/// Cuts a file off.
pub fn truncate(file: &Path, length: usize) {
    let opened = fs::OpenOptions::new().write(true).open(file).unwrap();
    opened.set_len(length as u64).unwrap();
}

fn mode(path: &Path) -> u32 {
    path.symlink_metadata().unwrap().mode() & 0o7777
}
