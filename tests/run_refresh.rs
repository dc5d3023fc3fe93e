//! `run` on loop devices, judged by rsync. Needs root.

#[path = "common/disks.rs"]
mod disks;

use diskmirror::layout::FsKind;
use diskmirror::record::State;
use diskmirror::sys::lock::{self, Holder};
use disks::{Pair, Said, content, populate};
use rustix::fs::{Advice, fadvise};
use std::fs;
use std::os::unix::fs::MetadataExt;
use std::process::Command;
use std::time::{Duration, Instant};

const EXT4_ROOT: &[(&str, FsKind)] = &[("/", FsKind::Ext4)];

fn signal(pid: u32, name: &str) {
    disks::must("kill", &[name, &pid.to_string()]);
}

#[test]
fn a_run_makes_the_mirror_equal_and_the_next_one_only_what_changed() {
    for volumes in
        [[("/", FsKind::Ext4), ("/boot", FsKind::Ext3)], [("/", FsKind::Xfs), ("/boot", FsKind::Ext4)]]
    {
        let pair = Pair::new(&volumes);
        populate(&pair.root(), 300);
        populate(&pair.root().join("boot"), 20);
        let first = pair.run_done();
        assert_eq!(first.stderr, "", "quiet unless something is wrong");
        assert_eq!(first.stdout.lines().count(), 1, "{first:?}");
        assert_eq!(pair.differences(), "");

        fs::write(pair.root().join("d1/f1"), content(1, 1)).expect("written");
        fs::remove_file(pair.root().join("boot/d2/f2")).expect("it is there");
        let second = pair.run(&["--json"]);
        assert_eq!(second.code, 0, "{second:?}");
        let told: serde_json::Value = serde_json::from_str(&second.stdout).expect("one JSON object");
        assert_eq!((&told["state"], &told["exit"]), (&"done".into(), &0.into()));
        assert_eq!(told["volumes"][0]["mount"], "/");
        assert_eq!(told["volumes"][0]["files_copied"], 1, "{told}");
        assert_eq!(told["volumes"][1]["deleted"], 1, "{told}");
        assert_eq!(pair.differences(), "");
        assert!(pair.history().iter().all(|record| record.state == State::Done), "{:?}", pair.history());
        let log = fs::read_to_string(pair.root().join("var/log/diskmirror.log")).expect("a log");
        assert_eq!(log.lines().count(), 2, "{log}");
    }
}

#[test]
fn a_dry_run_lists_the_changes_and_writes_nothing() {
    let pair = Pair::new(EXT4_ROOT);
    populate(&pair.root(), 50);
    pair.run_done();
    fs::write(pair.root().join("d1/f1"), "changed").expect("written");
    fs::remove_file(pair.root().join("d2/f2")).expect("it is there");
    let before = pair.hashes();
    let said = pair.run(&["--dry-run"]);
    assert_eq!(said.code, 0, "{said:?}");
    assert!(said.stdout.contains(" d1/f1") && said.stdout.contains("*deleting   d2/f2"), "{said:?}");
    assert_eq!(pair.hashes(), before);
    assert_eq!(pair.history().len(), 1, "a dry run is no run");
}

#[test]
fn a_second_run_is_told_who_holds_the_lock_and_since_when() {
    let pair = Pair::new(EXT4_ROOT);
    populate(&pair.root(), 50);
    fs::create_dir_all(pair.root().join("run/diskmirror")).expect("a directory");
    let since = jiff::Timestamp::now().as_second() - 125;
    let holder = Holder { pid: 4711, since, what: "diskmirror run".into() };
    let path = pair.root().join("run/diskmirror/mirror.lock");
    let attempt = lock::acquire(&path, &holder).expect("writable");
    let lock::Attempt::Taken(held) = attempt else { panic!("nobody has it") };
    let said = pair.run(&[]);
    assert_eq!(said.code, 6, "{said:?}");
    assert!(said.stderr.contains("process 4711 has held the lock for 2m0"), "{said:?}");
    assert_eq!(pair.history()[0].state, State::Locked);
    drop(held);
    pair.run_done();
    assert_eq!(pair.differences(), "");
}

#[test]
fn a_signal_ends_a_run_cleanly_with_a_record() {
    for name in ["-TERM", "-INT"] {
        let pair = Pair::new(EXT4_ROOT);
        populate(&pair.root(), 3000);
        let child = pair.start(&[]);
        let at_work = || pair.history().first().is_some_and(|record| record.state == State::Running);
        while !at_work() {}
        signal(child.id(), name);
        let said = Said::of(child.wait_with_output().expect("it ends"));
        assert_eq!(said.code, 1, "{said:?}");
        assert!(said.stderr.contains("stopped by a signal") && said.stderr.contains("state:"), "{said:?}");
        assert_eq!(pair.history()[0].state, State::Stopped);
        pair.run_done();
        assert_eq!(pair.differences(), "");
    }
}

#[test]
fn after_a_broken_run_content_is_compared_where_size_and_time_agree() {
    let pair = Pair::new(EXT4_ROOT);
    populate(&pair.root(), 50);
    pair.run_done();
    zero_a_file(&pair);
    pair.run_done();
    assert!(pair.differences().contains("d1/f1"), "size and time are believed while the mark is clean");
    pair.with_mirror("rw", |mirrors| {
        let path = mirrors[0].join(".diskmirror/mark.json");
        let mark = fs::read_to_string(&path).expect("a mark").replace("clean\"", "dirty\"");
        fs::write(path, backdated(&mark)).expect("written");
    });
    pair.run_done();
    assert_eq!(pair.differences(), "");
}

/// As after a power cut: zeros of the right size and time in place of a file of the mirror.
fn zero_a_file(pair: &Pair) {
    pair.with_mirror("rw", |mirrors| {
        let file = mirrors[0].join("d1/f1");
        let meta = fs::metadata(&file).expect("it is there");
        fs::write(&file, vec![0; meta.len() as usize]).expect("written");
        let times = format!("@{}.{:09}", meta.mtime(), meta.mtime_nsec());
        disks::must("touch", &["-d", &times, &file.to_string_lossy()]);
    });
}

/// The mark, last clean an hour ago.
fn backdated(mark: &str) -> String {
    let mut value: serde_json::Value = serde_json::from_str(mark).expect("a mark is JSON");
    let clean_at = value["clean_at"].as_i64().expect("it was clean once");
    value["clean_at"] = (clean_at - 3600).into();
    value.to_string()
}

#[test]
fn a_repaired_file_system_is_compared_by_content_and_the_run_goes_on() {
    let pair = Pair::new(EXT4_ROOT);
    populate(&pair.root(), 50);
    pair.run_done();
    zero_a_file(&pair);
    let node = pair.mirror.partition(1);
    // A wrong count of free blocks and a superblock that is not clean: fsck -p repairs that, and exits 1.
    disks::must("debugfs", &["-w", "-R", "ssv free_blocks_count 17", &node]);
    disks::must("debugfs", &["-w", "-R", "ssv state 0", &node]);
    pair.run_done();
    assert_eq!(pair.differences(), "");
    let check = Command::new("e2fsck").args(["-fn", &node]).output().expect("e2fsck");
    assert!(check.status.success(), "{check:?}");
}

#[test]
fn a_limited_run_takes_its_time_and_the_record_says_what_it_waited() {
    let pair = Pair::new(EXT4_ROOT);
    populate(&pair.root(), 10);
    pair.run_done();
    fs::write(pair.root().join("big"), vec![7; 3 << 20]).expect("written");
    let begun = Instant::now();
    let said = pair.run(&["--json", "--bwlimit", "2M"]);
    // 3 MiB at 2 MiB a second, less the tenth of a second that may be saved up.
    assert!(begun.elapsed() >= Duration::from_millis(1390), "{:?}", begun.elapsed());
    let told: serde_json::Value = serde_json::from_str(&said.stdout).expect("one JSON object");
    let waited = told["waited"]["limit"].as_f64().expect("a number");
    assert!(waited > 1.0 && told["waited"]["others"] == 0.0, "{told}");
    assert_eq!(pair.history()[0].waited.limit, waited);
    assert_eq!(pair.differences(), "");
    let log = fs::read_to_string(pair.root().join("var/log/diskmirror.log")).expect("a log");
    assert!(log.lines().last().expect("a line").contains(" for the limit)"), "{log}");
    let wrong = pair.run(&["--bwlimit", "0"]);
    assert!(wrong.code == 2 && wrong.stderr.contains("a limit is above 0"), "{wrong:?}");
}

#[test]
fn verify_keeps_to_the_limit_of_the_configuration() {
    let mut pair = Pair::new(EXT4_ROOT);
    fs::write(pair.root().join("big"), vec![7; 3 << 20]).expect("written");
    pair.run_done();
    pair.config.mirrors[0].bwlimit = Some(diskmirror::units::Rate(2 << 20));
    pair.write_config(&pair.config.to_toml());
    let mut command = Command::new(env!("CARGO_BIN_EXE_diskmirror"));
    command.arg("--root").arg(pair.root()).arg("--config").arg(pair.config_path()).arg("verify");
    let begun = Instant::now();
    let said = Said::of(command.output().expect("it starts"));
    assert_eq!(said.code, 0, "{said:?}");
    // As above: what is read of the mirror does not count.
    assert!(begun.elapsed() >= Duration::from_millis(1390), "{:?}", begun.elapsed());
}

#[test]
fn a_run_that_waits_for_its_limit_stops_when_it_is_told_to() {
    let pair = Pair::new(EXT4_ROOT);
    populate(&pair.root(), 10);
    pair.run_done();
    fs::write(pair.root().join("big"), vec![7; 1 << 20]).expect("written");
    // The first 256 KiB of it are due after four minutes.
    let child = pair.start(&["--bwlimit", "1K"]);
    let began = |pair: &Pair| pair.history().first().is_some_and(|record| record.id == 2);
    while !began(&pair) {
        std::thread::sleep(Duration::from_millis(20));
    }
    std::thread::sleep(Duration::from_millis(1500));
    signal(child.id(), "-TERM");
    let said = Said::of(child.wait_with_output().expect("it ends"));
    assert!(said.code == 1 && said.stderr.contains("stopped by a signal"), "{said:?}");
    let record = &pair.history()[0];
    assert_eq!(record.state, State::Stopped);
    assert!(record.waited.limit > 0.0, "it was waiting: {record:?}");
    let lasted = record.ended.expect("it ended") - record.started;
    assert!(lasted < 120, "it did not wait to the end: {lasted} s");
    pair.run_done();
    assert_eq!(pair.differences(), "");
}

#[test]
fn a_considerate_run_comes_to_its_end_whatever_others_do() {
    let pair = Pair::new(EXT4_ROOT);
    populate(&pair.root(), 300);
    let said = pair.run(&["--considerate", "1%"]);
    assert_eq!(said.code, 0, "{said:?}");
    assert_eq!(pair.differences(), "");
}

/// As far as the server's own files go: the mirror is unmounted after each run.
#[test]
fn a_full_run_leaves_nothing_in_the_page_cache_that_was_not_there() {
    let pair = Pair::new(&[("/", FsKind::Ext4)]);
    let file = pair.root().join("large");
    fs::write(&file, vec![7; 24 << 20]).expect("written");
    pair.run_done();
    let open = fs::File::open(&file).expect("there");
    open.sync_all().expect("flushed");
    fadvise(&open, 0, None, Advice::DontNeed).expect("advised");
    let said = pair.run(&["--full"]);
    assert_eq!(said.code, 0, "{said:?}");
    let pages = disks::must("fincore", &["--noheadings", "--output", "PAGES", &file.to_string_lossy()]);
    let pages: usize = pages.trim().parse().expect("a number");
    assert!(pages < 600, "{pages} of 6144 pages stay");
}
