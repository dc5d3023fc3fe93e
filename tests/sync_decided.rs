//! Between the look and what is done because of it the source goes on: what was decided of one inode never becomes another's,
//! and where the look is no longer true the next sync finds it, though sizes and times say nothing.
//!
//! The look and the doing are two calls of the library, so what happens between them happens there for certain.

mod common;

use common::assert_equal;
use common::cataloged::TICKS;
use common::comparer::{Entry, Snapshot};
use common::generate::{remove, set_mtime};
use common::loopfs::{Kind, LoopFs};
use common::sync_command::{self as sync, Report};
use diskmirror::monitor::{Monitor, Silent, Unit};
use diskmirror::tree::{self, Counts, Options, Remembered, View};
use rustix::fs::{CWD, FileType, Mode, RenameFlags, XattrFlags};
use std::fs::{self, OpenOptions, Permissions};
use std::os::unix::fs::{FileExt, MetadataExt, PermissionsExt, lchown, symlink};
use std::path::{Path, PathBuf};
use std::sync::Mutex;
use std::sync::atomic::{AtomicBool, Ordering::Relaxed};

/// One time for everything: it tells nothing apart.
const WHEN: i64 = 1_600_000_000;

/// A source and its mirror, which are equal at first.
struct Split {
    source: PathBuf,
    copy: PathBuf,
    filesystem: Option<LoopFs>,
    scratch: tempfile::TempDir,
}

impl Split {
    fn new() -> Self {
        let scratch = common::scratch();
        let filesystem = common::is_root().then(|| LoopFs::new(Kind::Ext4, 128));
        let at = filesystem.as_ref().map_or(scratch.path(), LoopFs::path).to_owned();
        let (source, copy) = (at.join("source"), at.join("copy"));
        fs::create_dir(&source).unwrap();
        fs::create_dir(&copy).unwrap();
        let pair = Split { source, copy, filesystem, scratch };
        // A mirror with nothing on it is filled in one go, without a look before.
        pair.write("here/before", "the first");
        sync::sync(&pair.source, &pair.copy);
        pair
    }
    fn at(&self, name: &str) -> PathBuf {
        self.source.join(name)
    }
    /// A file of one size, whatever it holds.
    fn write(&self, name: &str, content: &str) {
        let path = self.at(name);
        fs::create_dir_all(path.parent().unwrap()).unwrap();
        fs::write(&path, format!("{content:100}")).unwrap();
        set_mtime(&path, WHEN, 7);
    }
    fn chmod(&self, name: &str, mode: u32) {
        fs::set_permissions(self.at(name), Permissions::from_mode(mode)).unwrap();
    }
    fn read(&self, name: &str) -> Option<String> {
        Some(fs::read_to_string(self.copy.join(name)).ok()?.trim_end().to_owned())
    }
    fn synced(self) -> Self {
        sync::sync(&self.source, &self.copy);
        self
    }

    /// Looks, has `meanwhile` happen, and does what was decided.
    fn look_then(&self, meanwhile: impl FnOnce()) -> Counts {
        self.with_options(&Options::default(), meanwhile)
    }
    fn with_options(&self, options: &Options, meanwhile: impl FnOnce()) -> Counts {
        let [source, copy] = [&self.source, &self.copy].map(|path| View::private(path).unwrap());
        let changes = tree::scan(&source, &copy, options, &Silent).unwrap();
        meanwhile();
        let mut counts = tree::apply_additions(&changes, &source, &copy, options, &Silent).unwrap();
        counts += tree::apply_deletions(&changes, &source, &copy, options, &Silent).unwrap();
        counts
    }
    /// The same with a catalog, which the program keeps from sync to sync.
    fn look_with_catalog_then(&self, meanwhile: impl FnOnce()) -> Counts {
        self.with_catalog(|options| self.with_options(options, meanwhile))
    }
    /// A sync with a catalog, by one thread; something happens when it has looked at the first directory, the root.
    fn look_at_root_then(&self, meanwhile: impl FnOnce() + Send) -> Counts {
        let once = Once(Mutex::new(Some(meanwhile)));
        self.with_catalog(|options| {
            let options = Options { threads: 1, ..options.clone() };
            let [source, copy] = [&self.source, &self.copy].map(|path| View::private(path).unwrap());
            let changes = tree::scan(&source, &copy, &options, &once).unwrap();
            let mut counts = tree::apply_additions(&changes, &source, &copy, &options, &Silent).unwrap();
            counts += tree::apply_deletions(&changes, &source, &copy, &options, &Silent).unwrap();
            counts
        })
    }
    fn with_catalog(&self, work: impl FnOnce(&Options) -> Counts) -> Counts {
        let [source, copy] = [&self.source, &self.copy].map(|path| View::private(path).unwrap());
        let catalog = self.scratch.path().join("catalog");
        let state = || {
            let root = fs::metadata(&self.copy).unwrap();
            format!("{}.{:09}", root.ctime(), root.ctime_nsec())
        };
        let before = state();
        let mut options = Options::default();
        let remembered = Remembered {
            path: &catalog,
            state: &before,
            settled: true,
            record: true,
            whole_every_secs: None,
        };
        let note = tree::remember(&mut options, &source, &copy, &remembered).unwrap();
        assert_eq!(note, None, "the catalog is not used");
        tree::begin_writing(&options).unwrap();
        let counts = work(&options);
        tree::commit_memory(&options, &source, &state()).unwrap();
        counts
    }
    fn sync_with_catalog(&self) -> Report {
        let catalog = self.scratch.path().join("catalog");
        sync::finish(&mut sync::with_catalog(&self.source, &self.copy, &catalog, &[])).expect_done()
    }
    fn catalog_is_made(self) -> Self {
        self.sync_with_catalog();
        std::thread::sleep(TICKS);
        self.sync_with_catalog();
        self
    }

    /// Nothing that was mixed is taken for equal: by size and time alone the next sync finds what is to be done.
    fn assert_mended(&self, when: &str) {
        sync::sync(&self.source, &self.copy);
        assert_equal(&self.source, &self.copy, when);
    }
    /// What the mirror has under a name is all of the old entry, or all of the new one.
    fn assert_unmixed(&self, name: &str, old: &Snapshot, when: &str) {
        let now = Snapshot::of(&self.copy).entries.get(name.as_bytes()).map(whole);
        let known =
            [old, &Snapshot::of(&self.source)].map(|tree| tree.entries.get(name.as_bytes()).map(whole));
        assert!(known.contains(&now), "{when}: {name} is {now:?}, and not one of {known:#?}");
    }
}

/// Does something when it is told for the first time how far the work is.
struct Once<F: FnOnce() + Send>(Mutex<Option<F>>);

impl<F: FnOnce() + Send> Monitor for Once<F> {
    fn note(&self, _: &str) {}
    fn warn(&self, _: &str) {}
    fn begin(&self, _: &str, _: Option<u64>, _: Unit) {}
    fn advance(&self, _: u64) {
        if let Some(first) = self.0.lock().unwrap().take() {
            first();
        }
    }
    fn end(&self) {}
}

/// Everything of an entry that a mixture would show in.
fn whole(entry: &Entry) -> impl PartialEq + std::fmt::Debug + use<> {
    (entry.mode, entry.owner, entry.mtime, entry.content, entry.target.clone(), entry.xattrs.clone())
}

/// Changes places with another entry of the same size and time.
fn exchange(a: &Path, b: &Path) {
    rustix::fs::renameat_with(CWD, a, CWD, b, RenameFlags::EXCHANGE).unwrap();
}

#[test]
fn metadata_that_was_decided_for_one_inode_is_never_given_to_the_content_of_another() {
    let pair = Split::new();
    for name in ["mode", "owner", "time", "attribute"] {
        pair.write(&format!("d/{name}"), "the one that was looked at");
        pair.write(&format!("other/{name}"), "the one that comes");
        pair.chmod(&format!("other/{name}"), 0o640);
    }
    let pair = pair.synced();
    let old = Snapshot::of(&pair.copy);
    pair.chmod("d/mode", 0o600);
    if common::is_root() {
        lchown(pair.at("d/owner"), Some(77), Some(77)).unwrap();
    }
    set_mtime(&pair.at("d/time"), WHEN + 5, 0);
    rustix::fs::lsetxattr(pair.at("d/attribute"), "user.new", b"x", XattrFlags::empty()).unwrap();
    for name in ["mode", "owner", "time", "attribute"] {
        set_mtime(&pair.at(&format!("other/{name}")), WHEN + if name == "time" { 5 } else { 0 }, 7);
    }
    let counts = pair.look_then(|| {
        for name in ["mode", "owner", "time", "attribute"] {
            fs::rename(pair.at(&format!("other/{name}")), pair.at(&format!("d/{name}"))).unwrap();
        }
    });
    assert_eq!(counts.errors, 0, "what goes on is no error");
    for name in ["d/mode", "d/owner", "d/time", "d/attribute"] {
        pair.assert_unmixed(name, &old, "another inode came under the name");
    }
    pair.assert_mended("another inode came under the name");
}

#[test]
fn metadata_that_was_decided_before_the_content_changed_does_not_hide_that_it_did() {
    let pair = Split::new();
    pair.write("d/file", "the old content");
    let pair = pair.synced();
    let old = Snapshot::of(&pair.copy);
    pair.chmod("d/file", 0o600);
    pair.look_then(|| {
        let file = OpenOptions::new().write(true).open(pair.at("d/file")).unwrap();
        file.write_all_at(b"the new content", 0).unwrap();
        set_mtime(&pair.at("d/file"), WHEN, 7);
    });
    pair.assert_unmixed("d/file", &old, "written to after the look");
    pair.assert_mended("written to after the look");
}

#[test]
fn a_renamed_file_that_is_written_to_or_replaced_after_the_look_is_copied() {
    let pair = Split::new();
    for name in ["was-written", "was-replaced"] {
        pair.write(&format!("d/{name}"), "the old content");
    }
    let pair = pair.catalog_is_made();
    for (from, to) in [("was-written", "written"), ("was-replaced", "replaced")] {
        fs::rename(pair.at(&format!("d/{from}")), pair.at(&format!("d/{to}"))).unwrap();
    }
    pair.look_with_catalog_then(|| {
        let file = OpenOptions::new().write(true).open(pair.at("d/written")).unwrap();
        file.write_all_at(b"the new content", 0).unwrap();
        set_mtime(&pair.at("d/written"), WHEN, 7);
        pair.write("d/new", "the new content");
        fs::rename(pair.at("d/new"), pair.at("d/replaced")).unwrap();
    });
    for name in ["d/written", "d/replaced"] {
        assert_eq!(pair.read(name).as_deref(), Some("the new content"), "{name}");
    }
    pair.assert_mended("renamed, then changed");
}

#[test]
fn further_names_never_lead_to_the_file_that_took_the_first_name() {
    let pair = Split::new();
    pair.write("a/first", "of the inode with four names");
    fs::create_dir(pair.at("z")).unwrap();
    for n in 0..3 {
        fs::hard_link(pair.at("a/first"), pair.at(&format!("z/{n}"))).unwrap();
    }
    pair.look_then(|| {
        pair.write("a/new", "of another inode");
        fs::rename(pair.at("a/new"), pair.at("a/first")).unwrap();
    });
    for n in 0..3 {
        let found = pair.read(&format!("z/{n}"));
        assert!(found.as_deref().is_none_or(|found| found == "of the inode with four names"), "{found:?}");
    }
    pair.assert_mended("the first name is another's");
}

#[test]
fn a_further_name_that_is_anothers_by_now_is_not_linked() {
    let pair = Split::new();
    pair.write("a/first", "of the inode with two names");
    pair.write("z/second", "what stood there");
    let pair = pair.synced();
    // Sizes and times tell what is there at last from what was there at first, and not from what was there meanwhile.
    set_mtime(&pair.at("a/first"), WHEN + 60, 7);
    remove(&pair.at("z/second"));
    fs::hard_link(pair.at("a/first"), pair.at("z/second")).unwrap();
    pair.look_then(|| {
        remove(&pair.at("z/second"));
        pair.write("z/second", "of another inode");
        set_mtime(&pair.at("z/second"), WHEN + 60, 7);
    });
    let found = pair.read("z/second");
    assert_ne!(found.as_deref(), Some("of the inode with two names"), "linked to what it is no name of");
    pair.assert_mended("the further name is another's");
}

#[test]
fn metadata_of_an_inode_with_several_names_is_not_given_to_what_took_one_of_them() {
    let pair = Split::new();
    pair.write("a/first", "of the inode with two names");
    fs::hard_link(pair.at("a/first"), pair.at("a/second")).unwrap();
    let pair = pair.synced();
    let old = Snapshot::of(&pair.copy);
    pair.chmod("a/first", 0o600);
    pair.look_then(|| {
        remove(&pair.at("a/first"));
        pair.write("a/first", "of another inode");
        pair.chmod("a/first", 0o640);
    });
    for name in ["a/first", "a/second"] {
        pair.assert_unmixed(name, &old, "one of two names is another's");
    }
    pair.assert_mended("one of two names is another's");
}

#[test]
fn a_link_gets_no_metadata_that_was_another_links() {
    let pair = Split::new();
    for (name, target) in [("link", "old-target"), ("other", "new-target")] {
        symlink(target, pair.at(name)).unwrap();
        set_mtime(&pair.at(name), WHEN, 7);
    }
    let pair = pair.synced();
    let old = Snapshot::of(&pair.copy);
    set_mtime(&pair.at("link"), WHEN + 9, 0);
    set_mtime(&pair.at("other"), WHEN + 9, 0);
    pair.look_then(|| exchange(&pair.at("link"), &pair.at("other")));
    pair.assert_unmixed("link", &old, "links changed places");
    pair.assert_mended("links changed places");
}

#[test]
fn files_of_a_directory_that_another_one_took_the_place_of_stay_what_they_were() {
    let pair = Split::new();
    for directory in ["one", "two"] {
        for name in ["a", "b"] {
            pair.write(&format!("{directory}/{name}"), &format!("{name} of {directory}"));
        }
    }
    for name in ["a", "b"] {
        set_mtime(&pair.at(&format!("two/{name}")), WHEN + 60, 7);
    }
    let pair = pair.synced();
    let old = Snapshot::of(&pair.copy);
    for name in ["one/a", "two/a"] {
        pair.chmod(name, 0o600);
    }
    pair.write("one/new", "new in one");
    pair.look_then(|| exchange(&pair.at("one"), &pair.at("two")));
    for name in ["one/a", "two/a", "one/b", "two/b"] {
        pair.assert_unmixed(name, &old, "directories changed places");
    }
    assert!(!pair.copy.join("one/new").exists(), "a file of the other directory");
    pair.assert_mended("directories changed places");
}

/// The look finds it at both places, and the mirror has it at both afterwards: the catalog knows one directory by two names.
#[test]
fn a_directory_that_was_renamed_during_the_look_stays_nowhere_where_the_source_does_not_have_it() {
    type Named = (&'static str, fn(&Split));
    let changes: [Named; 2] = [
        ("removed", |pair| remove(&pair.at("x/moving"))),
        ("renamed", |pair| fs::rename(pair.at("x/moving"), pair.at("y/moved")).unwrap()),
    ];
    for (when, change) in changes {
        for is_known in [false, true] {
            let pair = Split::new();
            pair.write("x/other", "x");
            pair.write("y/other", "y");
            if is_known {
                pair.write("moving/below/file", "content");
            }
            let pair = pair.catalog_is_made();
            pair.write("moving/below/file", "new content");
            pair.look_at_root_then(|| fs::rename(pair.at("moving"), pair.at("x/moving")).unwrap());
            change(&pair);
            pair.sync_with_catalog();
            assert_equal(&pair.source, &pair.copy, &format!("{when}, known before: {is_known}"));
        }
    }
}

/// When it is found that it was renamed, it is not known yet where the directory is that it was in: that has its time already,
/// and must have it again when it has lost what was in it.
#[test]
fn a_directory_that_was_turned_inside_out_has_its_time_although_it_had_it_before() {
    let pair = Split::new();
    pair.write("outer/middle/inner/file", "x");
    let pair = pair.catalog_is_made();
    pair.write("outer/middle/new", "x");
    pair.look_with_catalog_then(|| fs::rename(pair.at("outer/middle/inner"), pair.at("inner")).unwrap());
    fs::rename(pair.at("outer"), pair.at("inner/outer")).unwrap();
    std::thread::sleep(TICKS);
    pair.sync_with_catalog();
    assert_equal(&pair.source, &pair.copy, "turned inside out");
}

/// What the permissions of a directory of the mirror are whenever something was copied.
struct Watch {
    path: PathBuf,
    is_copying: AtomicBool,
    modes: Mutex<Vec<u32>>,
}

impl Monitor for Watch {
    fn note(&self, _: &str) {}
    fn warn(&self, _: &str) {}
    fn begin(&self, what: &str, _: Option<u64>, _: Unit) {
        self.is_copying.store(what == "copying", Relaxed);
    }
    fn advance(&self, _: u64) {
        if self.is_copying.load(Relaxed) {
            self.modes.lock().unwrap().push(fs::metadata(&self.path).unwrap().mode() & 0o777);
        }
    }
    fn end(&self) {}
}

#[test]
fn a_directory_that_was_closed_is_closed_on_the_mirror_before_anything_new_comes_into_it() {
    let pair = Split::new();
    pair.write("private/old", "was for everybody");
    pair.chmod("private", 0o755);
    let pair = pair.synced();
    pair.chmod("private", 0o700);
    pair.write("private/new", "for nobody else");
    let watch = Watch {
        path: pair.copy.join("private"),
        is_copying: AtomicBool::new(false),
        modes: Mutex::default(),
    };
    let [source, copy] = [&pair.source, &pair.copy].map(|path| View::private(path).unwrap());
    let changes = tree::scan(&source, &copy, &Options::default(), &watch).unwrap();
    tree::apply_additions(&changes, &source, &copy, &Options::default(), &watch).unwrap();
    let modes = watch.modes.into_inner().unwrap();
    assert!(!modes.is_empty() && modes.iter().all(|mode| mode & 0o077 == 0), "{modes:?}");
    assert_eq!(pair.read("private/new").as_deref(), Some("for nobody else"));
}

const TYPES: [&str; 5] = ["file", "fifo", "dir", "link", "socket"];

fn make(path: &Path, kind: &str) {
    let node = |kind| rustix::fs::mknodat(CWD, path, kind, Mode::from_raw_mode(0o600), 0).unwrap();
    match kind {
        "file" => fs::write(path, "a file").unwrap(),
        "fifo" => node(FileType::Fifo),
        "dir" => fs::create_dir(path).unwrap(),
        "link" => symlink("leads nowhere", path).unwrap(),
        _ => node(FileType::Socket),
    }
}

/// New entries, and known ones whose metadata have changed; each becomes every other type between look and doing.
#[test]
fn what_becomes_another_type_after_the_look_is_no_error_and_is_right_after_the_next_sync() {
    let pair = Split::new();
    let all = || TYPES.iter().flat_map(|from| TYPES.iter().map(move |to| (*from, *to)));
    for (from, to) in all() {
        make(&pair.at(&format!("known-{from}-{to}")), from);
    }
    let pair = pair.synced();
    for (from, to) in all() {
        make(&pair.at(&format!("new-{from}-{to}")), from);
        set_mtime(&pair.at(&format!("known-{from}-{to}")), WHEN, 9);
    }
    let counts = pair.look_then(|| {
        for (from, to) in all().filter(|(from, to)| from != to) {
            for name in ["new", "known"] {
                let path = pair.at(&format!("{name}-{from}-{to}"));
                remove(&path);
                make(&path, to);
            }
        }
    });
    assert_eq!(counts.errors, 0, "what goes on is no error");
    pair.assert_mended("other types");
}

#[test]
fn a_name_that_comes_back_before_deletions_is_spared() {
    let pair = Split::new();
    pair.write("d/gone", "what was there");
    fs::create_dir(pair.at("tree")).unwrap();
    let pair = pair.synced();
    remove(&pair.at("d/gone"));
    remove(&pair.at("tree"));
    pair.look_then(|| {
        pair.write("d/gone", "what is there again");
        set_mtime(&pair.at("d/gone"), WHEN + 60, 7);
        fs::create_dir(pair.at("tree")).unwrap();
    });
    assert!(pair.copy.join("d/gone").exists() && pair.copy.join("tree").exists(), "deleted all the same");
    pair.assert_mended("back again");
    drop(pair.filesystem);
}
