//! One test for each thing that `sync` promises to mirror: it fails when that piece is taken out.
//!
//! As root, trees lie on file systems of the test's own; without, beside the build, and what only root can do says
//! that it is skipped. Each test states its own piece first, then has both judges look at the whole.

mod common;

use common::assert_equal;
use common::comparer::{Snapshot, touched};
use common::generate::{acl, capability, set_mtime};
use common::loopfs::{Kind, LoopFs, tool};
use common::sync_command::{self as sync, sync};
use rustix::fs::{AtFlags, CWD, FileType, Mode, XattrFlags};
use std::fs::{self, File, OpenOptions, Permissions};
use std::os::fd::AsFd;
use std::os::unix::fs::{FileExt, MetadataExt, PermissionsExt, lchown, symlink};
use std::path::{Path, PathBuf};
use std::process::Command;

/// A source and a copy, and what keeps them alive.
struct Pair {
    source: PathBuf,
    copy: PathBuf,
    _filesystem: Option<LoopFs>,
    _scratch: tempfile::TempDir,
}

impl Pair {
    /// On ext4 as root, else beside the build.
    fn new() -> Self {
        Self::on(common::is_root().then(|| LoopFs::new(Kind::Ext4, 256)))
    }
    fn on(filesystem: Option<LoopFs>) -> Self {
        let scratch = common::scratch();
        let at = filesystem.as_ref().map_or(scratch.path(), LoopFs::path);
        let (source, copy) = (at.join("source"), at.join("copy"));
        fs::create_dir(&source).unwrap();
        fs::create_dir(&copy).unwrap();
        Pair { source, copy, _filesystem: filesystem, _scratch: scratch }
    }
    fn sync(&self) -> sync::Report {
        sync(&self.source, &self.copy)
    }
    fn assert_equal(&self, when: &str) {
        assert_equal(&self.source, &self.copy, when);
    }
    /// Sync, judges, and a second sync that finds nothing.
    fn sync_and_judge(&self, when: &str) {
        self.sync();
        self.assert_equal(when);
        self.sync().expect_no_change(when);
    }
    fn at(&self, name: &str) -> PathBuf {
        self.source.join(name)
    }
    fn copied(&self, name: &str) -> PathBuf {
        self.copy.join(name)
    }
}

fn chmod(path: &Path, mode: u32) {
    fs::set_permissions(path, Permissions::from_mode(mode)).unwrap();
}

fn mode(path: &Path) -> u32 {
    path.symlink_metadata().unwrap().mode() & 0o7777
}

fn inode(path: &Path) -> u64 {
    path.symlink_metadata().unwrap().ino()
}

fn set_xattr(path: &Path, name: &str, value: &[u8]) {
    rustix::fs::lsetxattr(path, name, value, XattrFlags::empty()).unwrap();
}

fn xattr(path: &Path, name: &str) -> Option<Vec<u8>> {
    let mut value = vec![0; 70_000];
    let length = rustix::fs::lgetxattr(path, name, &mut value[..]).ok()?;
    value.truncate(length);
    Some(value)
}

fn mknod(path: &Path, kind: FileType, device: u64) {
    rustix::fs::mknodat(CWD, path, kind, Mode::from_raw_mode(0o644), device).unwrap();
}

// -- nothing to do

#[test]
fn a_sync_that_changes_nothing_writes_nothing() {
    let pair = Pair::new();
    for what in ["two empty trees", "a tree and its copy"] {
        let before = Snapshot::of(&pair.copy);
        set_mtime(&pair.source, 1_234_567_890, 0);
        set_mtime(&pair.copy, 1_234_567_890, 0);
        let before_sync = Snapshot::of(&pair.copy);
        pair.sync().expect_no_change(what);
        assert_eq!(touched(&before_sync, &Snapshot::of(&pair.copy)), Vec::<Vec<u8>>::new(), "{what}");
        assert_ne!(before, before_sync, "the judge sees a time that was set");
        fs::create_dir_all(pair.at("dir/below")).unwrap();
        fs::write(pair.at("dir/below/file"), "x").unwrap();
        pair.sync();
    }
}

#[test]
fn a_directory_whose_time_alone_differs_is_one_change_announced_and_made() {
    let pair = Pair::new();
    fs::create_dir(pair.at("dir")).unwrap();
    fs::write(pair.at("dir/file"), "x").unwrap();
    pair.sync();
    set_mtime(&pair.at("dir"), 1_234_567_890, 0);
    let announced = sync::run(&pair.source, &pair.copy, &["--dry-run"]);
    let done = pair.sync();
    for report in [announced, done] {
        assert_eq!((report.count("metadata_changed"), report.count("files_copied")), (1, 0), "{report:#?}");
    }
    pair.assert_equal("a directory's time");
}

// -- times, modes, owners

#[test]
fn times_are_mirrored_to_the_nanosecond_on_every_type_and_before_1970() {
    let pair = Pair::new();
    fs::write(pair.at("file"), "x").unwrap();
    fs::create_dir(pair.at("dir")).unwrap();
    fs::write(pair.at("dir/inner"), "made after its directory").unwrap();
    symlink("x", pair.at("link")).unwrap();
    mknod(&pair.at("fifo"), FileType::Fifo, 0);
    for (n, name) in ["file", "link", "fifo", "dir", ""].iter().enumerate() {
        set_mtime(&pair.at(name), 1_234_567_890 + n as i64, 987_654_321);
    }
    pair.sync();
    for (n, name) in ["file", "link", "fifo", "dir", ""].iter().enumerate() {
        let found = pair.copied(name).symlink_metadata().unwrap();
        assert_eq!((found.mtime(), found.mtime_nsec()), (1_234_567_890 + n as i64, 987_654_321), "{name:?}");
    }
    set_mtime(&pair.at("file"), -77, 5);
    set_mtime(&pair.at("dir"), 1_234_567_893, 987_654_322);
    pair.sync_and_judge("one nanosecond later, and long ago");
    let old = pair.copied("file").metadata().unwrap();
    assert_eq!((old.mtime(), old.mtime_nsec()), (-77, 5));
}

#[test]
fn setuid_setgid_and_sticky_bits_are_mirrored_with_the_owner_they_go_with() {
    let pair = Pair::new();
    for (name, bits) in [("setuid", 0o4755), ("setgid", 0o2755), ("both", 0o6711), ("sticky", 0o1644)] {
        fs::write(pair.at(name), "program").unwrap();
        if common::is_root() {
            lchown(pair.at(name), Some(1000), Some(1001)).unwrap();
        }
        chmod(&pair.at(name), bits);
    }
    fs::create_dir(pair.at("tmp")).unwrap();
    chmod(&pair.at("tmp"), 0o3777);
    pair.sync();
    let modes = ["setuid", "setgid", "both", "sticky", "tmp"].map(|name| mode(&pair.copied(name)));
    assert_eq!(modes, [0o4755, 0o2755, 0o6711, 0o1644, 0o3777]);
    fs::write(pair.at("both"), "an updated program").unwrap();
    chmod(&pair.at("both"), 0o6711);
    if common::is_root() {
        lchown(pair.at("setuid"), Some(7), None).unwrap();
        chmod(&pair.at("setuid"), 0o4755);
    }
    pair.sync_and_judge("content and owner changed");
    assert_eq!((mode(&pair.copied("both")), mode(&pair.copied("setuid"))), (0o6711, 0o4755));
}

#[test]
fn owners_and_groups_of_every_type_are_mirrored() {
    if !common::root_or_skip("owners and groups") {
        return;
    }
    let pair = Pair::new();
    fs::write(pair.at("file"), "x").unwrap();
    fs::create_dir(pair.at("dir")).unwrap();
    symlink("file", pair.at("link")).unwrap();
    mknod(&pair.at("fifo"), FileType::Fifo, 0);
    for round in 0..2 {
        for (n, name) in ["file", "dir", "link", "fifo", ""].iter().enumerate() {
            lchown(pair.at(name), Some(4_000_000_000 + round + n as u32), Some(1000 + round)).unwrap();
        }
        pair.sync();
        for (n, name) in ["file", "dir", "link", "fifo", ""].iter().enumerate() {
            let found = pair.copied(name).symlink_metadata().unwrap();
            assert_eq!(
                (found.uid(), found.gid()),
                (4_000_000_000 + round + n as u32, 1000 + round),
                "{name:?}"
            );
        }
        pair.sync_and_judge("owners");
    }
}

// -- extended attributes

#[test]
fn user_attributes_are_added_changed_and_removed() {
    let pair = Pair::new();
    fs::write(pair.at("file"), "x").unwrap();
    fs::create_dir(pair.at("dir")).unwrap();
    for name in ["file", "dir"] {
        set_xattr(&pair.at(name), "user.kept", b"old");
        set_xattr(&pair.at(name), "user.removed", b"");
        set_xattr(&pair.at(name), "user.large", &[7; 2000]);
    }
    pair.sync_and_judge("added");
    assert_eq!(xattr(&pair.copied("file"), "user.large"), Some(vec![7; 2000]));
    for name in ["file", "dir"] {
        set_xattr(&pair.at(name), "user.kept", b"new\0binary\xff");
        rustix::fs::lremovexattr(pair.at(name), "user.removed").unwrap();
    }
    set_xattr(&pair.copied("file"), "user.stray", b"only on the copy");
    pair.sync_and_judge("changed and removed");
    assert_eq!(xattr(&pair.copied("dir"), "user.kept"), Some(b"new\0binary\xff".to_vec()));
    assert_eq!(xattr(&pair.copied("dir"), "user.removed"), None);
    assert_eq!(xattr(&pair.copied("file"), "user.stray"), None);
}

#[test]
fn trusted_and_security_attributes_are_mirrored_on_links_too() {
    if !common::root_or_skip("trusted and security attributes") {
        return;
    }
    let pair = Pair::new();
    fs::write(pair.at("file"), "x").unwrap();
    symlink("x", pair.at("link")).unwrap();
    for name in ["file", "link"] {
        set_xattr(&pair.at(name), "trusted.overlay.test", b"y");
        set_xattr(&pair.at(name), "security.test", b"label");
    }
    pair.sync();
    for name in ["file", "link"] {
        assert_eq!(xattr(&pair.copied(name), "trusted.overlay.test"), Some(b"y".to_vec()), "{name}");
        assert_eq!(xattr(&pair.copied(name), "security.test"), Some(b"label".to_vec()), "{name}");
    }
    pair.sync_and_judge("trusted and security");
}

#[test]
fn file_capabilities_survive_a_change_of_content_and_owner() {
    if !common::root_or_skip("file capabilities") {
        return;
    }
    let pair = Pair::new();
    for (round, content) in ["ping", "a newer ping"].iter().enumerate() {
        fs::write(pair.at("ping"), content).unwrap();
        lchown(pair.at("ping"), Some(round as u32), Some(1)).unwrap();
        set_xattr(&pair.at("ping"), "security.capability", &capability(13));
        pair.sync();
        assert_eq!(xattr(&pair.copied("ping"), "security.capability"), Some(capability(13)), "round {round}");
        pair.sync_and_judge("capabilities");
    }
}

#[test]
fn access_control_lists_are_mirrored_and_default_ones_do_not_leak_into_what_is_created() {
    let pair = Pair::new();
    fs::create_dir(pair.at("dir")).unwrap();
    set_xattr(&pair.at("dir"), "system.posix_acl_default", &acl(1005, 7));
    pair.sync_and_judge("a default ACL");
    assert_eq!(xattr(&pair.copied("dir"), "system.posix_acl_default"), Some(acl(1005, 7)));
    // These get the default ACL on the copy, unless the program takes it off; on the source they have none.
    fs::create_dir(pair.at("dir/sub")).unwrap();
    fs::write(pair.at("dir/file"), "x").unwrap();
    fs::write(pair.at("dir/acl"), "x").unwrap();
    for name in ["dir/sub", "dir/file"] {
        rustix::fs::lremovexattr(pair.at(name), "system.posix_acl_access").unwrap();
    }
    rustix::fs::lremovexattr(pair.at("dir/sub"), "system.posix_acl_default").unwrap();
    chmod(&pair.at("dir/file"), 0o640);
    set_xattr(&pair.at("dir/acl"), "system.posix_acl_access", &acl(1006, 4));
    pair.sync();
    assert_eq!(xattr(&pair.copied("dir/acl"), "system.posix_acl_access"), Some(acl(1006, 4)));
    assert_eq!(xattr(&pair.copied("dir/file"), "system.posix_acl_access"), None);
    assert_eq!(xattr(&pair.copied("dir/sub"), "system.posix_acl_default"), None);
    assert_eq!(mode(&pair.copied("dir/file")), 0o640);
    pair.sync_and_judge("new entries below a default ACL");
    rustix::fs::lremovexattr(pair.at("dir/acl"), "system.posix_acl_access").unwrap();
    rustix::fs::lremovexattr(pair.at("dir"), "system.posix_acl_default").unwrap();
    pair.sync_and_judge("ACLs removed");
    assert_eq!(xattr(&pair.copied("dir/acl"), "system.posix_acl_access"), None);
}

#[test]
fn selinux_labels_are_mirrored() {
    if !common::root_or_skip("SELinux labels") {
        return;
    }
    let pair = Pair::new();
    fs::write(pair.at("file"), "x").unwrap();
    let label = b"system_u:object_r:etc_t:s0\0";
    if let Err(error) = rustix::fs::lsetxattr(pair.at("file"), "security.selinux", label, XattrFlags::empty())
    {
        common::skipped("SELinux labels", &format!("this kernel does not let root set one: {error}"));
        return;
    }
    pair.sync();
    assert_eq!(xattr(&pair.copied("file"), "security.selinux"), Some(label.to_vec()));
    pair.sync_and_judge("labels");
}

// -- content, flags, project ids

#[test]
fn holes_stay_holes() {
    let pair = Pair::new();
    let file = File::create(pair.at("lastlog")).unwrap();
    file.write_all_at(b"beginning", 0).unwrap();
    file.write_all_at(b"end", 200 << 20).unwrap();
    File::create(pair.at("only-a-hole")).unwrap().set_len(300 << 20).unwrap();
    pair.sync();
    for name in ["lastlog", "only-a-hole"] {
        let allocated = pair.copied(name).metadata().unwrap().blocks() * 512;
        assert!(allocated < 1 << 20, "{name}: {allocated} bytes are allocated");
    }
    pair.sync_and_judge("holes");
    file.write_all_at(b"middle", 100 << 20).unwrap();
    pair.sync_and_judge("a write into the hole");
}

#[test]
fn immutable_and_append_only_files_and_directories_are_updated_and_stay_so() {
    if !common::root_or_skip("the flags i and a") {
        return;
    }
    let pair = Pair::new();
    let chattr = |flags: &str, path: &Path| tool(Command::new("chattr").arg(flags).arg(path));
    fs::create_dir(pair.at("frozen")).unwrap();
    for name in ["file", "log", "frozen/inner"] {
        fs::write(pair.at(name), "old").unwrap();
    }
    let flagged = [("+i", "file"), ("+a", "log"), ("+i", "frozen"), ("+i", "frozen/inner")];
    flagged.iter().rev().for_each(|(flag, name)| chattr(flag, &pair.at(name)));
    pair.sync_and_judge("flags set");
    flagged.iter().for_each(|(flag, name)| chattr(&flag.replace('+', "-"), &pair.at(name)));
    for name in ["file", "log", "frozen/inner", "frozen/new"] {
        fs::write(pair.at(name), "a new version").unwrap();
    }
    flagged.iter().rev().for_each(|(flag, name)| chattr(flag, &pair.at(name)));
    pair.sync_and_judge("content changed below flags");
    assert_eq!(fs::read(pair.copied("frozen/inner")).unwrap(), b"a new version");
    assert!(OpenOptions::new().write(true).open(pair.copied("file")).is_err(), "the copy is not immutable");
    flagged.iter().for_each(|(flag, name)| chattr(&flag.replace('+', "-"), &pair.at(name)));
    fs::remove_file(pair.at("frozen/inner")).unwrap();
    fs::remove_file(pair.at("log")).unwrap();
    pair.sync_and_judge("flagged entries deleted, flags cleared");
}

#[test]
fn project_ids_are_mirrored() {
    if !common::root_or_skip("project ids") {
        return;
    }
    // XFS has them always; ext4 only with a kernel that has quotas.
    let pair = Pair::on(Some(LoopFs::new(Kind::Xfs, 320)));
    fs::write(pair.at("file"), "x").unwrap();
    fs::create_dir(pair.at("dir")).unwrap();
    for (id, inherited) in [(42, false), (77, true), (77, false), (0, true), (0, false)] {
        set_project(&pair.at("file"), (id, false));
        set_project(&pair.at("dir"), (id, inherited));
        pair.sync_and_judge("project ids");
        for (name, inherited) in [("file", false), ("dir", inherited)] {
            let file = File::open(pair.copied(name)).unwrap();
            assert_eq!(common::raw::project(file.as_fd()), Some((id, inherited)), "{name}");
        }
    }
}

fn set_project(path: &Path, project: (u32, bool)) {
    common::raw::set_project(File::open(path).unwrap().as_fd(), project).unwrap();
}

/// A change to one piece of one entry's metadata, for the copy: the source's is what is wanted.
type Piece = (&'static str, &'static [&'static str], fn(&Path));

/// Each changes nothing else. A file's mtime is no such piece: another one means other content.
const PIECES: &[Piece] = &[
    ("mtime", &["dir", "link", "fifo", ""], |path| set_mtime(path, 1_234_567_890, 1)),
    ("mode", &["file", "dir", "fifo", ""], |path| chmod(path, 0o611)),
    ("sticky bit", &["dir"], |path| chmod(path, 0o1755)),
    ("a user attribute's value", &["file", "dir"], |path| set_xattr(path, "user.first", b"other")),
    ("a user attribute", &["file", "dir", ""], |path| set_xattr(path, "user.second", b"")),
];

/// The same, for root alone.
const ROOTS_PIECES: &[Piece] = &[
    ("owner", &["file", "dir", "link", "fifo", ""], |path| lchown(path, Some(7), None).unwrap()),
    ("group", &["file", "dir", "link", "fifo", ""], |path| lchown(path, None, Some(7)).unwrap()),
    ("a trusted attribute", &["link", "fifo"], |path| set_xattr(path, "trusted.test", b"x")),
    ("a security attribute", &["link", "file"], |path| set_xattr(path, "security.test", b"x")),
    ("a capability", &["program"], |path| set_xattr(path, "security.capability", &capability(10))),
    ("an ACL", &["file", "dir"], |path| set_xattr(path, "system.posix_acl_access", &acl(1005, 7))),
    ("a default ACL", &["dir"], |path| set_xattr(path, "system.posix_acl_default", &acl(1005, 7))),
    ("flag d", &["file", "dir"], |path| tool(Command::new("chattr").arg("+d").arg(path))),
    ("flag A", &["file", "dir"], |path| tool(Command::new("chattr").arg("+A").arg(path))),
    ("flag i", &["file", "dir"], |path| tool(Command::new("chattr").arg("+i").arg(path))),
    ("flag a", &["file", "dir"], |path| tool(Command::new("chattr").arg("+a").arg(path))),
    ("mode below flag i", &["file", "dir"], |path| {
        chmod(path, 0o611);
        tool(Command::new("chattr").arg("+i").arg(path));
    }),
    ("project", &["file", "dir"], |path| set_project(path, (9, false))),
    ("an inherited project", &["dir"], |path| set_project(path, (0, true))),
];

#[test]
fn each_piece_of_metadata_that_alone_differs_is_found_and_mended_in_place() {
    let root =
        common::root_or_skip("owners, flags, projects, attributes that only root can set, one at a time");
    // The one file system that has all of them on any kernel.
    let pair = Pair::on(root.then(|| LoopFs::new(Kind::Xfs, 320)));
    for name in ["file", "program"] {
        fs::write(pair.at(name), "content").unwrap();
    }
    fs::create_dir(pair.at("dir")).unwrap();
    symlink("target", pair.at("link")).unwrap();
    mknod(&pair.at("fifo"), FileType::Fifo, 0);
    for name in ["file", "dir"] {
        set_xattr(&pair.at(name), "user.first", b"value");
    }
    if root {
        set_xattr(&pair.at("program"), "security.capability", &capability(13));
    }
    pair.sync_and_judge("at first");
    for (piece, names, change) in PIECES.iter().chain(if root { ROOTS_PIECES } else { &[] }) {
        names.iter().for_each(|name| change(&pair.copied(name)));
        let inodes = names.iter().map(|name| inode(&pair.copied(name))).collect::<Vec<_>>();
        let announced = sync::run(&pair.source, &pair.copy, &["--dry-run"]);
        let done = pair.sync();
        for report in [announced, done] {
            let figures = ["metadata_changed", "files_copied"].map(|field| report.count(field));
            assert_eq!(figures, [names.len() as u64, 0], "{piece}: {report:#?}");
        }
        let now = names.iter().map(|name| inode(&pair.copied(name))).collect::<Vec<_>>();
        assert_eq!(now, inodes, "{piece}: made anew");
        pair.sync_and_judge(piece);
    }
}

#[test]
fn a_link_that_leads_elsewhere_is_made_anew_whatever_its_time() {
    let pair = Pair::new();
    for (side, target) in [(&pair.source, "right"), (&pair.copy, "wrong")] {
        symlink(target, side.join("link")).unwrap();
        set_mtime(&side.join("link"), 1_234_567_890, 0);
        set_mtime(side, 1_234_567_890, 0);
    }
    assert_eq!(pair.sync().count("files_copied"), 1);
    assert_eq!(fs::read_link(pair.copied("link")).unwrap(), Path::new("right"));
    pair.sync_and_judge("another target");
}

#[test]
fn content_of_the_same_size_is_told_by_its_time() {
    let pair = Pair::new();
    fs::write(pair.at("file"), "before").unwrap();
    set_mtime(&pair.at("file"), 1_234_567_890, 0);
    pair.sync();
    fs::write(pair.at("file"), "behind").unwrap();
    set_mtime(&pair.at("file"), 1_234_567_890, 1);
    assert_eq!(pair.sync().count("files_copied"), 1);
    pair.sync_and_judge("the same size");
}

// -- names, depth, width

#[test]
fn names_that_are_not_utf8_or_have_255_bytes_are_mirrored() {
    use std::os::unix::ffi::OsStrExt;
    let pair = Pair::new();
    let longest = [b'n'; 255];
    let names: [&[u8]; 6] = [b"\xff\xfe\x80", b"new\nline", b"-n", b" ", b"a\\b\"'", &longest];
    for name in names {
        let name = std::ffi::OsStr::from_bytes(name);
        fs::create_dir(pair.source.join(name)).unwrap();
        fs::write(pair.source.join(name).join(name), "old").unwrap();
    }
    pair.sync_and_judge("created");
    for name in names {
        let name = std::ffi::OsStr::from_bytes(name);
        fs::write(pair.source.join(name).join(name), "newer").unwrap();
    }
    pair.sync_and_judge("replaced");
    for name in names {
        let name = std::ffi::OsStr::from_bytes(name);
        assert_eq!(fs::read(pair.copy.join(name).join(name)).unwrap(), b"newer", "{name:?}");
    }
    fs::remove_dir_all(pair.source.join(std::ffi::OsStr::from_bytes(&longest))).unwrap();
    pair.sync_and_judge("deleted");
}

/// Makes `levels` directories, each in the one before, and a file in the last.
fn dig(root: &Path, name: &str, levels: usize, content: &[u8]) {
    let flags = rustix::fs::OFlags::DIRECTORY | rustix::fs::OFlags::PATH;
    let mut here = rustix::fs::open(root, flags, Mode::empty()).unwrap();
    for _ in 0..levels {
        let _ = rustix::fs::mkdirat(&here, name, Mode::from_raw_mode(0o755));
        here = rustix::fs::openat(&here, name, flags, Mode::empty()).unwrap();
    }
    let flags = rustix::fs::OFlags::CREATE | rustix::fs::OFlags::WRONLY | rustix::fs::OFlags::TRUNC;
    let file = rustix::fs::openat(&here, "treasure", flags, Mode::from_raw_mode(0o644)).unwrap();
    rustix::io::write(&file, content).unwrap();
}

#[test]
fn paths_deeper_than_path_max_are_mirrored_changed_and_deleted() {
    let pair = Pair::new();
    let (long, short) = ("d".repeat(200), "abc");
    // 6,000 bytes in 30 levels; 6,000 bytes in more levels than a process may open files.
    for (name, levels) in [(long.as_str(), 30), (short, 1500)] {
        for content in [b"old".as_slice(), b"new content"] {
            dig(&pair.source, name, levels, content);
            pair.sync();
            // rsync is no judge here: it cannot go that deep.
            assert_eq!(common::comparer::differences(&pair.source, &pair.copy), [], "{levels} levels");
        }
        tool(Command::new("rm").arg("-rf").arg(pair.at(name)));
        pair.sync_and_judge("deleted");
    }
}

#[test]
fn a_directory_with_100_000_entries_is_mirrored() {
    let filesystem = common::is_root().then(|| LoopFs::with_options(Kind::Ext4, 512, &["-N", "260000"]));
    let pair = Pair::on(filesystem);
    fs::create_dir(pair.at("wide")).unwrap();
    for n in 0..100_000 {
        File::create(pair.at(&format!("wide/entry-{n:06}"))).unwrap();
    }
    pair.sync();
    assert_eq!(fs::read_dir(pair.copied("wide")).unwrap().count(), 100_000);
    fs::remove_file(pair.at("wide/entry-050000")).unwrap();
    fs::write(pair.at("wide/entry-050001"), "no longer empty").unwrap();
    let report = pair.sync();
    assert_eq!((report.count("deleted"), report.count("files_copied")), (1, 1));
    pair.assert_equal("100,000 entries");
}

// -- mounts

#[test]
fn what_a_mount_hides_is_mirrored_and_what_is_mounted_is_not() {
    if !common::root_or_skip("files hidden under mount points") {
        return;
    }
    let pair = Pair::new();
    for name in ["mnt", "bound", "elsewhere"] {
        fs::create_dir(pair.at(name)).unwrap();
    }
    fs::write(pair.at("mnt/hidden"), "below the mount").unwrap();
    fs::write(pair.at("elsewhere/shared"), "x").unwrap();
    tool(Command::new("mount").args(["-t", "tmpfs", "none"]).arg(pair.at("mnt")));
    tool(Command::new("mount").arg("--bind").arg(pair.at("elsewhere")).arg(pair.at("bound")));
    fs::write(pair.at("mnt/on-top"), "of another file system").unwrap();
    pair.sync();
    let report = pair.sync();
    tool(Command::new("umount").arg(pair.at("mnt")));
    tool(Command::new("umount").arg(pair.at("bound")));
    assert_eq!(fs::read(pair.copied("mnt/hidden")).unwrap(), b"below the mount");
    assert!(!pair.copied("mnt/on-top").exists(), "another file system was entered");
    assert!(!pair.copied("bound/shared").exists(), "a bind mount was entered");
    report.expect_no_change("second sync below the mounts");
    pair.assert_equal("after unmounting");
}

#[test]
fn what_is_mounted_on_the_copy_is_neither_deleted_nor_written() {
    if !common::root_or_skip("a mount below the copy") {
        return;
    }
    let pair = Pair::new();
    fs::create_dir(pair.at("mnt")).unwrap();
    fs::create_dir(pair.copied("mnt")).unwrap();
    tool(Command::new("mount").args(["-t", "tmpfs", "none"]).arg(pair.copied("mnt")));
    fs::write(pair.copied("mnt/precious"), "of another file system").unwrap();
    fs::write(pair.at("mnt/new"), "x").unwrap();
    sync::run(&pair.source, &pair.copy, &[]);
    let on_top: Vec<_> =
        fs::read_dir(pair.copied("mnt")).unwrap().map(|entry| entry.unwrap().file_name()).collect();
    tool(Command::new("umount").arg(pair.copied("mnt")));
    assert_eq!(on_top, ["precious"]);
}

// -- types and links

/// The types a name can have; device nodes last, for root only.
const TYPES: [&str; 8] = ["file", "empty-dir", "full-dir", "link", "fifo", "socket", "char", "block"];

fn make(path: &Path, kind: &str) {
    match kind {
        "file" => fs::write(path, "a file").unwrap(),
        "empty-dir" => fs::create_dir(path).unwrap(),
        "full-dir" => {
            fs::create_dir_all(path.join("sub/subsub")).unwrap();
            fs::write(path.join("sub/file"), "below").unwrap();
        }
        "link" => symlink("/etc", path).unwrap(),
        "fifo" => mknod(path, FileType::Fifo, 0),
        "socket" => mknod(path, FileType::Socket, 0),
        "char" => mknod(path, FileType::CharacterDevice, rustix::fs::makedev(1, 3)),
        _ => mknod(path, FileType::BlockDevice, rustix::fs::makedev(259, 70_000)),
    }
}

fn types() -> &'static [&'static str] {
    if !common::is_root() {
        common::skipped("device nodes", "need root");
    }
    &TYPES[..if common::is_root() { 8 } else { 6 }]
}

#[test]
fn every_type_is_mirrored() {
    let pair = Pair::new();
    for kind in types() {
        make(&pair.at(kind), kind);
    }
    pair.sync();
    for kind in types() {
        let [source, copy] = [pair.at(kind), pair.copied(kind)].map(|path| path.symlink_metadata().unwrap());
        assert_eq!((copy.file_type(), copy.rdev()), (source.file_type(), source.rdev()), "{kind}");
    }
    pair.sync_and_judge("every type");
}

#[test]
fn every_type_can_become_every_other() {
    let pair = Pair::new();
    for before in types() {
        for after in types() {
            let name = format!("{before}-to-{after}");
            make(&pair.copied(&name), before);
            make(&pair.at(&name), after);
        }
    }
    pair.sync_and_judge("every type became every other");
    assert!(Path::new("/etc/passwd").exists(), "a link was followed");
}

#[test]
fn device_numbers_are_mirrored() {
    if !common::root_or_skip("device numbers") {
        return;
    }
    let pair = Pair::new();
    mknod(&pair.at("null"), FileType::CharacterDevice, rustix::fs::makedev(1, 3));
    mknod(&pair.copied("null"), FileType::CharacterDevice, rustix::fs::makedev(1, 5));
    pair.sync_and_judge("another number");
    assert_eq!(pair.copied("null").metadata().unwrap().rdev(), rustix::fs::makedev(1, 3));
}

#[test]
fn hard_links_are_mirrored_across_directories_and_types() {
    let pair = Pair::new();
    fs::create_dir_all(pair.at("a/deep")).unwrap();
    fs::create_dir(pair.at("z")).unwrap();
    fs::write(pair.at("a/deep/one"), "shared").unwrap();
    mknod(&pair.at("a/fifo"), FileType::Fifo, 0);
    symlink("target", pair.at("a/link")).unwrap();
    for (from, to) in
        [("a/deep/one", "z/two"), ("a/deep/one", "three"), ("a/fifo", "z/fifo"), ("a/link", "z/link")]
    {
        rustix::fs::linkat(CWD, pair.at(from), CWD, pair.at(to), AtFlags::empty()).unwrap();
    }
    pair.sync();
    let inodes = ["a/deep/one", "z/two", "three"].map(|name| inode(&pair.copied(name)));
    assert!(inodes.iter().all(|inode| *inode == inodes[0]), "{inodes:?}");
    pair.sync_and_judge("linked");
    fs::hard_link(pair.at("z/two"), pair.at("z/four")).unwrap();
    pair.sync_and_judge("one more name");
    fs::write(pair.at("three"), "rewritten in place").unwrap();
    pair.sync_and_judge("content changed through one name");
    assert_eq!(fs::read(pair.copied("z/four")).unwrap(), b"rewritten in place");
}

#[test]
fn wrongly_linked_names_are_split_and_regrouped() {
    let pair = Pair::new();
    for (n, name) in ["a", "b", "c", "d"].iter().enumerate() {
        fs::write(pair.at(name), name).unwrap();
        set_mtime(&pair.at(name), 1_500_000_000 + n as i64, 0);
    }
    fs::hard_link(pair.at("a"), pair.at("a2")).unwrap();
    fs::hard_link(pair.at("b"), pair.at("b2")).unwrap();
    pair.sync();
    // On the copy: a with b2, c with d, and a2 alone.
    for (from, to) in [("a", "b2"), ("c", "d")] {
        fs::remove_file(pair.copied(to)).unwrap();
        fs::hard_link(pair.copied(from), pair.copied(to)).unwrap();
    }
    fs::copy(pair.copied("a2"), pair.copied("a3")).unwrap();
    fs::rename(pair.copied("a3"), pair.copied("a2")).unwrap();
    pair.sync_and_judge("wrong links on the copy");
    // Twins: equal in everything but the inode.
    for name in ["c", "d"] {
        fs::write(pair.at(name), "same").unwrap();
        set_mtime(&pair.at(name), 1000, 0);
    }
    pair.sync();
    fs::remove_file(pair.copied("d")).unwrap();
    fs::hard_link(pair.copied("c"), pair.copied("d")).unwrap();
    pair.sync_and_judge("twins that are linked on the copy only");
    fs::remove_file(pair.at("d")).unwrap();
    fs::hard_link(pair.at("c"), pair.at("d")).unwrap();
    pair.sync_and_judge("twins that become one");
}
