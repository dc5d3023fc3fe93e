//! The judges judged: a faithful copy passes, and every kind of damage to it is named by the comparer.

mod common;

use common::comparer::{Snapshot, compare, differences, touched};
use common::generate::{Generator, acl, capability, remove, set_mtime};
use common::loopfs::{Kind, LoopFs, tool};
use rustix::fs::XattrFlags;
use std::fs::{self, File, OpenOptions, Permissions};
use std::io::{Seek, SeekFrom, Write};
use std::os::unix::fs::{PermissionsExt, lchown, symlink};
use std::path::Path;
use std::process::Command;

/// A copy made by the program that this one is measured against.
fn rsync(source: &Path, copy: &Path) {
    tool(Command::new("rsync").args(["-aHAXS", "--delete", "-@-1"]).arg(source.join("")).arg(copy.join("")));
}

/// A small tree that has one of everything.
fn one_of_everything(root: &Path) {
    fs::create_dir(root.join("dir")).unwrap();
    fs::write(root.join("dir/file"), "content").unwrap();
    fs::write(root.join("plain"), "plain").unwrap();
    fs::hard_link(root.join("dir/file"), root.join("link")).unwrap();
    symlink("target", root.join("symlink")).unwrap();
    let mut sparse = File::create(root.join("sparse")).unwrap();
    sparse.seek(SeekFrom::Start(1 << 20)).unwrap();
    sparse.write_all(b"end").unwrap();
    tool(Command::new("mkfifo").arg(root.join("fifo")));
    setxattr(&root.join("plain"), "user.name", b"value");
}

fn setxattr(path: &Path, name: &str, value: &[u8]) {
    rustix::fs::lsetxattr(path, name, value, XattrFlags::empty()).unwrap();
}

#[test]
fn a_faithful_copy_of_random_trees_has_no_differences() {
    let scratch = common::scratch();
    for seed in 0..20 {
        let (source, copy) = (scratch.path().join("source"), scratch.path().join("copy"));
        fs::create_dir_all(&source).unwrap();
        fs::create_dir_all(&copy).unwrap();
        let mut generator = Generator::new(&source, seed, common::is_root());
        generator.grow();
        rsync(&source, &copy);
        common::assert_equal(&source, &copy, &format!("seed {seed}"));
        generator.change();
        let before = Snapshot::of(&copy);
        rsync(&source, &copy);
        common::assert_equal(&source, &copy, &format!("seed {seed}, changed"));
        let changed = compare(&Snapshot::of(&source), &before);
        assert!(changed.is_empty() || !touched(&before, &Snapshot::of(&copy)).is_empty(), "seed {seed}");
        fs::remove_dir_all(&source).unwrap();
        fs::remove_dir_all(&copy).unwrap();
    }
}

/// One damage to the copy, and the word by which the comparer must name it.
type Damage = (&'static str, &'static str, fn(&Path));

const DAMAGES: [Damage; 15] = [
    ("plain", "content", |copy| {
        let modified = copy.join("plain").metadata().unwrap().modified().unwrap();
        let file = OpenOptions::new().write(true).open(copy.join("plain")).unwrap();
        (&file).write_all(b"PLAIN").unwrap();
        file.set_modified(modified).unwrap();
    }),
    ("plain", "size", |copy| {
        OpenOptions::new().append(true).open(copy.join("plain")).unwrap().write_all(b"more").unwrap();
    }),
    ("plain", "mtime", |copy| {
        let time = rustix::fs::stat(copy.join("plain")).unwrap();
        set_mtime(&copy.join("plain"), time.st_mtime, (time.st_mtime_nsec as i64 + 1) % 1_000_000_000);
    }),
    ("symlink", "mtime", |copy| set_mtime(&copy.join("symlink"), 1, 2)),
    (".", "mtime", |copy| set_mtime(copy, 1, 2)),
    ("plain", "mode", |copy| {
        fs::set_permissions(copy.join("plain"), Permissions::from_mode(0o4711)).unwrap();
    }),
    ("symlink", "target", |copy| {
        remove(&copy.join("symlink"));
        symlink("targeT", copy.join("symlink")).unwrap();
    }),
    ("fifo", "type", |copy| {
        remove(&copy.join("fifo"));
        fs::write(copy.join("fifo"), "").unwrap();
    }),
    ("dir/file", "links", |copy| {
        remove(&copy.join("link"));
        fs::copy(copy.join("dir/file"), copy.join("link")).unwrap();
    }),
    ("dir/file", "links", |copy| {
        remove(&copy.join("plain"));
        fs::hard_link(copy.join("dir/file"), copy.join("plain")).unwrap();
    }),
    ("plain", "xattr user.name", |copy| setxattr(&copy.join("plain"), "user.name", b"valuE")),
    ("plain", "xattr user.more", |copy| setxattr(&copy.join("plain"), "user.more", b"")),
    ("dir/file", "missing", |copy| remove(&copy.join("dir/file"))),
    ("dir/temporary", "extra", |copy| fs::write(copy.join("dir/temporary"), "").unwrap()),
    ("sparse", "hole", |copy| {
        let file = OpenOptions::new().write(true).open(copy.join("sparse")).unwrap();
        (&file).write_all(&vec![0; 1 << 20]).unwrap();
    }),
];

#[test]
fn every_damage_to_a_copy_is_named() {
    let scratch = common::scratch();
    let source = scratch.path().join("source");
    fs::create_dir(&source).unwrap();
    one_of_everything(&source);
    for (path, word, damage) in DAMAGES {
        expect_named(&source, &scratch.path().join("copy"), path, word, damage);
    }
}

#[test]
fn every_damage_that_only_root_can_do_is_named() {
    if !common::root_or_skip("damage to owners, devices, flags, project ids and trusted attributes") {
        return;
    }
    let damages: [Damage; 6] = [
        ("plain", "owner", |copy| lchown(copy.join("plain"), Some(7), None).unwrap()),
        ("symlink", "owner", |copy| lchown(copy.join("symlink"), None, Some(7)).unwrap()),
        ("plain", "xattr trusted.t", |copy| setxattr(&copy.join("plain"), "trusted.t", b"1")),
        ("plain", "xattr security.capability", |copy| {
            setxattr(&copy.join("plain"), "security.capability", &capability(3));
        }),
        ("dir", "xattr system.posix_acl_default", |copy| {
            setxattr(&copy.join("dir"), "system.posix_acl_default", &acl(1000, 5));
        }),
        ("node", "device", |copy| {
            remove(&copy.join("node"));
            tool(Command::new("mknod").arg(copy.join("node")).args(["c", "1", "5"]));
        }),
    ];
    let filesystem = LoopFs::new(Kind::Xfs, 320);
    let source = filesystem.dir("source");
    one_of_everything(&source);
    tool(Command::new("mknod").arg(source.join("node")).args(["c", "1", "3"]));
    for (path, word, damage) in damages {
        expect_named(&source, &filesystem.path().join("copy"), path, word, damage);
    }
    for (flag, word) in [("+i", "flags"), ("+a", "flags")] {
        expect_named(&source, &filesystem.path().join("copy"), "plain", word, |_| ());
        let file = filesystem.path().join("copy/plain");
        tool(Command::new("chattr").arg(flag).arg(&file));
        named(&source, &filesystem.path().join("copy"), "plain", word);
        tool(Command::new("chattr").arg("-ia").arg(&file));
    }
    tool(Command::new("chattr").args(["-p", "77"]).arg(filesystem.path().join("copy/plain")));
    named(&source, &filesystem.path().join("copy"), "plain", "project");
}

fn expect_named(source: &Path, copy: &Path, path: &str, word: &str, damage: fn(&Path)) {
    let _ = fs::remove_dir_all(copy);
    fs::create_dir(copy).unwrap();
    rsync(source, copy);
    assert_eq!(differences(source, copy), [], "before damaging {word} of {path}");
    damage(copy);
    if word != "flags" {
        named(source, copy, path, word);
    }
}

fn named(source: &Path, copy: &Path, path: &str, word: &str) {
    let found = differences(source, copy);
    let hit = found.iter().any(|one| one.path == path.as_bytes() && one.what.starts_with(word));
    assert!(hit, "damage to {word} of {path} is not named in {found:?}");
}

#[test]
fn nothing_is_touched_by_looking_and_every_write_is_seen() {
    let scratch = common::scratch();
    one_of_everything(scratch.path());
    let before = Snapshot::of(scratch.path());
    assert_eq!(touched(&before, &Snapshot::of(scratch.path())), Vec::<Vec<u8>>::new());
    fs::set_permissions(scratch.path().join("plain"), Permissions::from_mode(0o600)).unwrap();
    assert_eq!(touched(&before, &Snapshot::of(scratch.path())), [b"plain".to_vec()]);
}
