//! One file system in trouble: it is named and keeps its dirty mark, and the others are refreshed. Needs root.

#[path = "common/disks.rs"]
mod disks;

use diskmirror::layout::FsKind;
use diskmirror::record::State;
use disks::{Pair, content, must, populate};
use std::fs;
use std::io::{Read as _, Write as _};
use std::path::Path;

const THREE: [(&str, FsKind); 3] = [("/", FsKind::Ext4), ("/boot", FsKind::Ext4), ("/srv", FsKind::Ext4)];

fn settled() -> Pair {
    let pair = Pair::new(&THREE);
    for dir in ["", "boot", "srv"] {
        populate(&pair.root().join(dir), 30);
    }
    pair.run_done();
    pair
}

fn change(pair: &Pair, version: usize) {
    for dir in ["", "boot", "srv"] {
        fs::write(pair.root().join(dir).join("d1/f1"), content(1, version)).expect("written");
        fs::remove_file(pair.root().join(dir).join(format!("d2/f{}", 2 + 13 * (version - 1))))
            .expect("there");
    }
}

/// Which version each mirror has, and whether its mark is clean.
fn versions(pair: &Pair, versions: &[usize]) -> Vec<(Option<usize>, String)> {
    pair.with_mirror("ro", |mirrors| {
        let of = |mirror: &std::path::PathBuf| {
            let found = fs::read(mirror.join("d1/f1")).expect("there");
            let text = fs::read(mirror.join(".diskmirror/mark.json")).expect("a mark");
            let mark: serde_json::Value = serde_json::from_slice(&text).expect("it is JSON");
            let version = versions.iter().copied().find(|version| found == content(1, *version));
            (version, mark["state"].as_str().unwrap_or_default().to_owned())
        };
        mirrors.iter().map(of).collect()
    })
}

/// Leaves room for little more than a mark on a mirror's file system: what lies there is the mirror's own.
fn fill(mirror: &Path) {
    let mut file = fs::File::create(mirror.join(".diskmirror/ballast")).expect("made");
    for chunk in [1 << 20, 1 << 12, 1] {
        while std::io::Write::write(&mut file, &vec![b'x'; chunk]).is_ok_and(|written| written > 0) {}
    }
    let length = file.metadata().expect("it is there").len();
    file.set_len(length - (256 << 10)).expect("shorter");
}

fn empty(mirror: &Path) {
    fs::remove_file(mirror.join(".diskmirror/ballast")).expect("it is there");
}

#[test]
fn a_mirror_of_data_that_is_full_keeps_nobody_else_from_being_refreshed() {
    let pair = settled();
    pair.with_mirror("rw", |mirrors| fill(&mirrors[2]));
    change(&pair, 1);
    fs::write(pair.root().join("srv/large"), vec![7; 3 << 20]).expect("written");
    let said = pair.run(&[]);
    assert_eq!(said.code, 3, "{said:?}");
    for words in ["/srv: it has too little room", "writing large: No space"] {
        assert!(said.stderr.contains(words), "{words:?} in {}", said.stderr);
    }
    // What fits is there, on all of them.
    let found = versions(&pair, &[0, 1]);
    assert!(found.iter().all(|one| *one == (Some(1), "clean".to_owned())), "{found:?}");
    pair.with_mirror("ro", |mirrors| assert!(!mirrors[2].join("large").exists(), "nor a part of it"));
    let record = &pair.history()[0];
    assert_eq!(record.state, State::Incomplete);
    assert!(record.errors.iter().any(|line| line.starts_with("/srv: ")), "{record:?}");
    assert!(record.volumes[2].errors > 0 && record.volumes[0].errors == 0, "{record:?}");

    pair.with_mirror("rw", |mirrors| empty(&mirrors[2]));
    pair.run_done();
    assert_eq!(pair.differences(), "");
}

#[test]
fn a_mirror_of_data_that_cannot_be_mounted_keeps_nobody_else_from_being_refreshed() {
    let pair = settled();
    let node = pair.mirror.partition(3);
    let mut superblock = vec![0; 4096];
    fs::File::open(&node).and_then(|mut file| file.read_exact(&mut superblock)).expect("readable");
    // No kernel knows this feature.
    must("debugfs", &["-w", "-R", "feature FEATURE_I27", &node]);
    change(&pair, 1);
    let said = pair.run(&[]);
    assert_eq!(said.code, 1, "{said:?}");
    assert!(said.stderr.contains("the mirror of /srv could not be refreshed"), "{said:?}");
    assert!(said.stderr.contains("cannot mount"), "{said:?}");
    fs::File::options()
        .write(true)
        .open(&node)
        .and_then(|mut file| file.write_all(&superblock))
        .expect("put back");
    must("sync", &[]);
    assert!(!said.stderr.contains("warning: boot"), "no boot needs it: {said:?}");
    let found = versions(&pair, &[0, 1]);
    assert_eq!(found[..2], [(Some(1), "clean".to_owned()), (Some(1), "clean".to_owned())]);
    pair.run_done();
    assert_eq!(pair.differences(), "");
}

#[test]
fn a_boot_that_is_full_leaves_the_root_all_that_its_kernels_need() {
    let pair = settled();
    pair.with_mirror("rw", |mirrors| fill(&mirrors[1]));
    change(&pair, 1);
    fs::write(pair.root().join("boot/kernel"), vec![7; 3 << 20]).expect("written");
    let said = pair.run(&[]);
    assert_eq!(said.code, 1, "{said:?}");
    assert!(said.stderr.contains("what boots belongs together, and /boot failed"), "{said:?}");
    let found = versions(&pair, &[0, 1]);
    assert_eq!((&*found[0].1, &*found[1].1, &*found[2].1), ("dirty", "dirty", "clean"));
    pair.with_mirror("ro", |mirrors| {
        assert!(mirrors[0].join("d2/f2").exists(), "nothing is deleted from the root");
        assert!(!mirrors[2].join("d2/f2").exists(), "the data is refreshed");
    });
    pair.with_mirror("rw", |mirrors| empty(&mirrors[1]));
    pair.run_done();
    assert_eq!(pair.differences(), "");
}

#[test]
fn a_root_that_fails_leaves_boot_as_it_was() {
    let pair = settled();
    pair.with_mirror("rw", |mirrors| fill(&mirrors[0]));
    change(&pair, 1);
    fs::write(pair.root().join("large"), vec![7; 3 << 20]).expect("written");
    let said = pair.run(&[]);
    assert_eq!(said.code, 1, "{said:?}");
    let found = versions(&pair, &[0, 1]);
    assert_eq!(found[1].0, Some(0), "a new kernel would not find its modules");
    assert_eq!(found[2], (Some(1), "clean".to_owned()));
    pair.with_mirror("rw", |mirrors| empty(&mirrors[0]));
    pair.run_done();
    assert_eq!(pair.differences(), "");
}

/// Takes away all that is in a directory of the primary.
fn clear(dir: &Path) {
    for entry in fs::read_dir(dir).expect("readable") {
        let path = entry.expect("readable").path();
        if !path.ends_with("lost+found") {
            must("rm", &["-rf", &path.to_string_lossy()]);
        }
    }
}

/// ext4 has its lost+found, XFS has nothing at all: a server without ordinary users has such a /home.
#[test]
fn a_file_system_that_is_empty_on_both_sides_or_had_a_few_files_is_in_order() {
    for kind in [FsKind::Ext4, FsKind::Xfs] {
        let pair = Pair::new(&[("/", FsKind::Ext4), ("/home", kind)]);
        populate(&pair.root(), 30);
        for _ in 0..3 {
            pair.run_done();
        }
        for name in ["tried", "out"] {
            fs::write(pair.root().join("home").join(name), name).expect("written");
        }
        pair.run_done();
        clear(&pair.root().join("home"));
        pair.run_done();
        assert_eq!(pair.differences(), "", "{kind:?}");
    }
}

#[test]
fn a_file_system_that_has_lost_all_its_files_is_left_alone_until_somebody_has_looked() {
    let pair = settled();
    clear(&pair.root().join("srv"));
    fs::write(pair.root().join("d1/f1"), content(1, 1)).expect("written");
    let said = pair.run(&[]);
    assert_eq!(said.code, 3, "{said:?}");
    let accepting =
        said.stderr.lines().find_map(|line| line.trim().strip_prefix("if it was emptied on purpose: "));
    let code = accepting.expect("what lets it through").rsplit(' ').next().expect("a code").to_owned();
    assert!(said.stderr.contains("srv: it is empty"), "{said:?}");
    pair.with_mirror("ro", |mirrors| {
        assert_eq!(
            fs::read(mirrors[0].join("d1/f1")).expect("there"),
            content(1, 1),
            "the others are refreshed"
        );
        assert_eq!(fs::read(mirrors[2].join("d1/f1")).expect("kept"), content(1, 0));
    });
    let said = pair.run(&["--accept", &code]);
    assert_eq!(said.code, 0, "{said:?}");
    pair.run_done();
    assert_eq!(pair.differences(), "");
}
