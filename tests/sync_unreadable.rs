//! What is there and cannot be read, for a while or for good: the mirror keeps what it has of it, under whatever name it has
//! it, and says so.

mod common;

use common::assert_equal;
use common::cataloged::TICKS;
use common::comparer::{Snapshot, touched};
use common::loopfs::{Kind, LoopFs};
use common::raw;
use common::sync_command as sync;
use common::unprivileged::{Unprivileged, give_away};
use std::fs::{self, File, OpenOptions};
use std::os::fd::AsFd;
use std::path::Path;
use std::process::Command;
use std::sync::atomic::{AtomicBool, Ordering::Relaxed};
use std::time::Duration;

/// A tree of a user's, in which something is renamed and then closed to him: what the mirror has of it stays.
fn keeps(
    when: &str,
    old: &str,
    is_cataloged: bool,
    rename: impl Fn(&Unprivileged),
    (closed, mode): (&str, u32),
) {
    let pair = Unprivileged::new();
    let beside = pair.source.with_file_name("beside");
    fs::create_dir(&beside).unwrap();
    give_away(&beside);
    let catalog = beside.join("catalog").into_os_string().into_string().unwrap();
    let arguments: &[&str] = if is_cataloged { &["--catalog", &catalog] } else { &[] };
    for name in [old, "d/other", "elsewhere/other"] {
        pair.write(name, "all that is left");
    }
    pair.run_with(arguments).expect_done();
    std::thread::sleep(TICKS);
    pair.run_with(arguments).expect_done();
    rename(&pair);
    pair.chmod(closed, 0);
    for round in ["first", "second"] {
        let report = pair.run_with(arguments);
        assert_eq!(report.exit, 3, "{when}, {round} sync: {report:#?}");
        let holders = holders(&pair.copy, "all that is left");
        assert!(holders >= 3, "{when}, {round} sync: what was renamed is not on the mirror: {report:#?}");
    }
    pair.chmod(closed, mode);
    pair.run_with(arguments).expect_done();
    assert_equal(&pair.source, &pair.copy, &format!("{when}, readable again"));
}

/// How many files below `tree` hold this, for whoever may read them all.
fn holders(tree: &Path, content: &str) -> usize {
    let hash = *blake3::hash(content.as_bytes()).as_bytes();
    let found = Snapshot::of(tree);
    let is_own = |path: &[u8]| path.starts_with(b".diskmirror");
    found.entries.iter().filter(|(path, entry)| !is_own(path) && entry.content == Some(Ok(hash))).count()
}

#[test]
fn the_old_name_of_a_file_that_was_renamed_and_cannot_be_read_stays() {
    if !common::root_or_skip("files that their user cannot read, and the judge can") {
        return;
    }
    for is_cataloged in [false, true] {
        let when = format!("a file, catalog: {is_cataloged}");
        let rename = |pair: &Unprivileged| {
            fs::rename(pair.source.join("d/file"), pair.source.join("elsewhere/renamed")).unwrap();
        };
        keeps(&when, "d/file", is_cataloged, rename, ("elsewhere/renamed", 0o644));
    }
}

#[test]
fn what_is_in_a_directory_that_was_renamed_and_cannot_be_read_stays() {
    if !common::root_or_skip("directories that their user cannot read, and the judge can") {
        return;
    }
    for is_cataloged in [false, true] {
        let when = format!("a directory, catalog: {is_cataloged}");
        let rename = |pair: &Unprivileged| {
            fs::rename(pair.source.join("old"), pair.source.join("new")).unwrap();
        };
        keeps(&when, "old/file", is_cataloged, rename, ("new", 0o755));
    }
}

#[test]
fn a_file_that_cannot_be_read_in_a_directory_that_was_renamed_stays() {
    if !common::root_or_skip("files that their user cannot read, and the judge can") {
        return;
    }
    for is_cataloged in [false, true] {
        let when = format!("a file of a renamed directory, catalog: {is_cataloged}");
        let rename = |pair: &Unprivileged| {
            fs::rename(pair.source.join("old"), pair.source.join("new")).unwrap();
        };
        keeps(&when, "old/file", is_cataloged, rename, ("new/file", 0o644));
    }
}

#[test]
fn without_a_proc_file_system_a_sync_refuses_and_writes_nothing() {
    if !common::root_or_skip("a system without /proc") {
        return;
    }
    let filesystem = LoopFs::new(Kind::Ext4, 64);
    let (source, copy) = (filesystem.dir("source"), filesystem.dir("copy"));
    std::os::unix::fs::symlink("usr/bin", source.join("bin")).unwrap();
    fs::write(copy.join("precious"), "x").unwrap();
    let before = Snapshot::of(&copy);
    let mut command = Command::new("unshare");
    command.args(["-m", "sh", "-c", "umount -l /proc && exec \"$@\"", "sh"]);
    command.arg(sync::program()).args(["sync", "--json"]).arg(&source).arg(&copy);
    let report = sync::finish(&mut command);
    assert_eq!(report.exit, 1, "{report:#?}");
    assert!(report.stderr.contains("/proc") && report.stderr.contains("do:"), "{report:#?}");
    assert_eq!(touched(&before, &Snapshot::of(&copy)), Vec::<Vec<u8>>::new(), "{report:#?}");
}

/// Until its key is there again, such a directory lists names that nobody has given, and opens nothing.
#[test]
fn a_locked_encrypted_directory_keeps_what_the_mirror_has_of_it() {
    if !common::root_or_skip("directories that fscrypt encrypts") {
        return;
    }
    let sources = LoopFs::with_options(Kind::Ext4, 64, &["-O", "encrypt"]);
    let (mirror, source) = (LoopFs::new(Kind::Ext4, 64), sources.dir("source"));
    let copy = mirror.dir("copy");
    fs::create_dir_all(source.join("home/user")).unwrap();
    let key = match raw::add_encryption_key(File::open(&source).unwrap().as_fd(), [7; 64]) {
        Ok(key) => key,
        Err(error) => {
            return common::skipped("locked encrypted directories", &format!("this kernel: {error}"));
        }
    };
    raw::encrypt_directory(File::open(source.join("home/user")).unwrap().as_fd(), key).unwrap();
    for n in 0..5 {
        fs::write(source.join(format!("home/user/secret-{n}")), format!("secret {n}")).unwrap();
        fs::write(source.join(format!("plain-{n}")), "x").unwrap();
    }
    sync::sync(&source, &copy);
    let kept = Snapshot::of(&copy.join("home"));
    rustix::fs::syncfs(File::open(&source).unwrap()).unwrap();
    raw::remove_encryption_key(File::open(&source).unwrap().as_fd(), key).unwrap();
    assert!(fs::read(source.join("home/user/secret-0")).is_err(), "it is not locked");
    fs::remove_file(source.join("plain-0")).unwrap();
    fs::write(source.join("plain-1"), "changed").unwrap();
    for round in ["first", "second"] {
        let report = sync::run(&source, &copy, &[]);
        assert!([0, 3].contains(&report.exit), "{round}: {report:#?}");
        let gone = touched(&kept, &Snapshot::of(&copy.join("home")));
        assert_eq!(gone, Vec::<Vec<u8>>::new(), "{round} sync: {report:#?}");
        assert_eq!(fs::read(copy.join("plain-1")).unwrap(), b"changed", "{round}");
        assert!(!copy.join("plain-0").exists(), "{round} sync: what is plainly gone stays: {report:#?}");
    }
}

/// Samba and the NFS server hold such leases, and give them back when somebody else opens the file.
#[test]
fn a_file_with_a_write_lease_that_is_given_back_is_copied() {
    let scratch = common::scratch();
    let (source, copy) = (scratch.path().join("source"), scratch.path().join("copy"));
    [&source, &copy].into_iter().for_each(|tree| fs::create_dir(tree).unwrap());
    fs::write(source.join("leased"), "content").unwrap();
    let holder = OpenOptions::new().read(true).write(true).open(source.join("leased")).unwrap();
    raw::lease(holder.as_fd()).expect("its owner may have a lease");
    let (done, was_asked) = (AtomicBool::new(false), AtomicBool::new(false));
    std::thread::scope(|scope| {
        scope.spawn(|| {
            while !done.load(Relaxed) {
                if raw::is_asked_back(holder.as_fd()).unwrap() {
                    was_asked.store(true, Relaxed);
                    // Whoever holds it has something to write first.
                    std::thread::sleep(Duration::from_millis(150));
                    raw::give_back(holder.as_fd()).unwrap();
                    break;
                }
                std::thread::sleep(Duration::from_millis(2));
            }
        });
        let report = sync::run(&source, &copy, &[]);
        done.store(true, Relaxed);
        assert_eq!((report.exit, report.count("errors")), (0, 0), "{report:#?}");
    });
    assert!(was_asked.load(Relaxed), "nobody asked for the lease");
    assert_equal(&source, &copy, "given back");
}
