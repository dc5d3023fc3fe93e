//! A mirror that has too little room for old and new side by side, though enough for each by itself: it ends equal, and is
//! never worse than it was on the way. And what one mirror cannot keep of a file: its times, its attributes.

mod common;

use common::assert_equal;
use common::comparer::Snapshot;
use common::loopfs::{Kind, LoopFs};
use common::rng::Rng;
use common::sync_command::{self as sync, Report};
use rustix::fs::XattrFlags;
use std::fs;
use std::path::{Path, PathBuf};
use std::process::Command;

const MIB: usize = 1 << 20;

/// A source and a mirror, each on a file system of its own.
struct Pair {
    source: PathBuf,
    copy: PathBuf,
    catalog: PathBuf,
    rng: Rng,
    _filesystems: [LoopFs; 2],
    _scratch: tempfile::TempDir,
}

impl Pair {
    /// Two of one kind and size.
    fn alike(mib: u64, options: &[&str]) -> Self {
        Self::of([0, 1].map(|_| LoopFs::with_options(Kind::Ext4, mib, options)))
    }
    fn of(filesystems: [LoopFs; 2]) -> Self {
        let [source, copy] = [0, 1].map(|side| filesystems[side].dir(["source", "copy"][side]));
        let scratch = common::scratch();
        let catalog = scratch.path().join("catalog");
        Pair { source, copy, catalog, rng: Rng::new(9), _filesystems: filesystems, _scratch: scratch }
    }
    fn at(&self, name: &str) -> PathBuf {
        self.source.join(name)
    }
    fn write(&mut self, name: &str, bytes: usize) {
        let path = self.at(name);
        fs::create_dir_all(path.parent().unwrap()).unwrap();
        fs::write(path, self.rng.bytes(bytes)).unwrap();
    }
    /// Under its name when it is complete, as packages do it.
    fn rewrite(&mut self, name: &str, bytes: usize) {
        self.write("new", bytes);
        fs::rename(self.at("new"), self.at(name)).unwrap();
    }
    fn remove(&self, name: &str) {
        fs::remove_file(self.at(name)).unwrap();
    }
    fn sync(&self) -> Report {
        sync::finish(&mut sync::with_catalog(&self.source, &self.copy, &self.catalog, &[]))
    }
    fn assert_equal(&self, when: &str) {
        assert_equal(&self.source, &self.copy, when);
    }
}

/// What is changed by `then` is mirrored at once, with a catalog and without, though both versions do not fit.
fn fits_by_itself(mib: u64, options: &[&str], before: impl Fn(&mut Pair), then: impl Fn(&mut Pair)) {
    if !common::root_or_skip("mirrors with too little room") {
        return;
    }
    for with_catalog in [true, false] {
        let mut pair = Pair::alike(mib, options);
        before(&mut pair);
        pair.sync().expect_done();
        then(&mut pair);
        let report = if with_catalog { pair.sync() } else { sync::run(&pair.source, &pair.copy, &[]) };
        let when = format!("catalog: {with_catalog}; {report:#?}");
        assert_eq!((report.exit, report.count("errors")), (0, 0), "{when}");
        pair.assert_equal(&when);
    }
}

#[test]
fn a_boot_file_system_on_which_every_image_is_rewritten_is_mirrored() {
    let images = ["initrd.img-1", "initrd.img-2", "initrd.img-3", "initrd.img-4"];
    fits_by_itself(
        112,
        &[],
        |pair| images.iter().for_each(|name| pair.write(name, 17 * MIB)),
        |pair| images.iter().for_each(|name| pair.rewrite(name, 17 * MIB)),
    );
}

#[test]
fn kernels_that_go_make_room_for_those_that_come() {
    fits_by_itself(
        112,
        &[],
        |pair| {
            for n in 1..=3 {
                pair.write(&format!("vmlinuz-{n}"), 2 * MIB);
                pair.write(&format!("initrd.img-{n}"), 22 * MIB);
            }
        },
        |pair| {
            for n in 1..=2 {
                pair.remove(&format!("vmlinuz-{n}"));
                pair.remove(&format!("initrd.img-{n}"));
                pair.write(&format!("vmlinuz-{}", n + 3), 2 * MIB);
                pair.write(&format!("initrd.img-{}", n + 3), 22 * MIB);
            }
        },
    );
}

#[test]
fn a_dump_under_a_new_name_takes_the_room_of_the_old_one() {
    fits_by_itself(
        112,
        &[],
        |pair| pair.write("dumps/monday", 60 * MIB),
        |pair| {
            pair.remove("dumps/monday");
            pair.write("dumps/tuesday", 60 * MIB);
        },
    );
}

#[test]
fn as_many_new_files_as_there_are_inodes_take_those_of_the_old_ones() {
    fits_by_itself(
        32,
        &["-N", "128"],
        |pair| (0..90).for_each(|n| pair.write(&format!("old/{n}"), 10)),
        |pair| {
            fs::remove_dir_all(pair.at("old")).unwrap();
            (0..90).for_each(|n| pair.write(&format!("new/{n}"), 10));
        },
    );
}

#[test]
fn what_does_not_fit_is_named_and_everything_else_is_mirrored() {
    if !common::root_or_skip("a mirror that is smaller than its source") {
        return;
    }
    let mut pair = Pair::of([LoopFs::new(Kind::Ext4, 128), LoopFs::new(Kind::Ext4, 64)]);
    pair.write("kept/small", 1000);
    pair.write("too-large", 10);
    pair.sync().expect_done();
    let old = fs::read(pair.copy.join("too-large")).unwrap();
    pair.write("too-large", 90 * MIB);
    (0..20).for_each(|n| pair.write(&format!("others/{n}"), 5000));
    let report = pair.sync();
    assert_eq!(report.exit, 3, "{report:#?}");
    assert!(report.stderr.contains("too-large"), "{report:#?}");
    assert_eq!(fs::read(pair.copy.join("too-large")).unwrap(), old, "the old version is torn, or gone");
    for n in 0..20 {
        let name = format!("others/{n}");
        assert_eq!(fs::read(pair.copy.join(&name)).unwrap(), fs::read(pair.at(&name)).unwrap(), "{name}");
    }
}

// -- attributes

fn set(path: &Path, name: &str, size: usize) {
    rustix::fs::lsetxattr(path, name, &vec![b'v'; size], XattrFlags::empty()).unwrap();
}

#[test]
fn attributes_that_change_places_in_size_are_mirrored_though_they_fit_in_one_order_only() {
    if !common::root_or_skip("attributes that fill a block") {
        return;
    }
    let mut pair = Pair::alike(64, &[]);
    pair.write("home/file", 10);
    set(&pair.at("home/file"), "user.a", 100);
    set(&pair.at("home/file"), "user.b", 3700);
    pair.sync().expect_done();
    set(&pair.at("home/file"), "user.b", 100);
    set(&pair.at("home/file"), "user.a", 3700);
    pair.sync().expect_done();
    pair.assert_equal("sizes changed places");
}

#[test]
fn an_attribute_that_the_mirror_cannot_hold_is_named_and_everything_else_is_mirrored() {
    if !common::root_or_skip("attributes that another file system cannot hold") {
        return;
    }
    let mut pair = Pair::of([LoopFs::new(Kind::Xfs, 320), LoopFs::new(Kind::Ext4, 64)]);
    pair.write("d/file", 10);
    (0..10).for_each(|n| pair.write(&format!("others/{n}"), 500));
    pair.sync().expect_done();
    set(&pair.at("d/file"), "user.large", 9000);
    set(&pair.at("d/file"), "user.small", 9);
    pair.write("d/file", 20);
    (0..10).for_each(|n| pair.write(&format!("others/{n}"), 700));
    for when in ["the first sync", "the second one"] {
        let report = pair.sync();
        assert_eq!(report.exit, 3, "{when}: {report:#?}");
        let names = ["d/file", "user.large"];
        assert!(names.iter().all(|name| report.stderr.contains(name)), "{when}: {report:#?}");
        let [source, copy] = [&pair.source, &pair.copy].map(|tree| Snapshot::of(tree).entries);
        for (path, entry) in &source {
            assert_eq!(copy[path].content, entry.content, "{when}");
        }
        let attributes: Vec<_> = copy[b"d/file".as_slice()].xattrs.keys().collect();
        assert_eq!(attributes, [b"user.small"], "{when}");
    }
}

#[test]
fn a_file_whose_attributes_cannot_be_listed_has_its_content_mirrored_and_is_named() {
    if !common::root_or_skip("more names of attributes than the kernel lists") {
        return;
    }
    let mut pair = Pair::of([0, 1].map(|_| LoopFs::new(Kind::Xfs, 320)));
    pair.write("file", 10);
    pair.write("other", 10);
    pair.sync().expect_done();
    for n in 0..300 {
        set(&pair.at("file"), &format!("user.{n:0>240}"), 1);
    }
    pair.write("file", 3000);
    pair.write("other", 3000);
    let report = pair.sync();
    assert_eq!(report.exit, 3, "{report:#?}");
    assert!(report.stderr.contains("file") && report.stderr.contains("attributes"), "{report:#?}");
    for name in ["file", "other"] {
        assert_eq!(fs::read(pair.copy.join(name)).unwrap(), fs::read(pair.at(name)).unwrap(), "{name}");
    }
}

// -- times

#[test]
fn times_that_the_mirror_cannot_keep_are_no_difference() {
    if !common::root_or_skip("a mirror that keeps whole seconds") {
        return;
    }
    let whole_seconds = LoopFs::with_options(Kind::Ext4, 64, &["-I", "128"]);
    let mut pair = Pair::of([LoopFs::new(Kind::Ext4, 64), whole_seconds]);
    for (name, time) in [("now", "@1700000000.5"), ("early", "@-86400.5"), ("late", "@4294967400")] {
        pair.write(name, 10);
        common::loopfs::tool(Command::new("touch").args(["-d", time]).arg(pair.at(name)));
    }
    let run = || sync::run(&pair.source, &pair.copy, &[]);
    run().expect_done();
    run().expect_done().expect_no_change("what differs by what the mirror cannot keep");
    // A time that it can keep is still one.
    common::loopfs::tool(Command::new("touch").args(["-d", "@1700000001.5"]).arg(pair.at("now")));
    assert_eq!(run().expect_done().count("files_copied"), 1, "another second is another time");
}
