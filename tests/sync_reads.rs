//! What a sync reads of files that have changed in nothing but their metadata: content that has many names once, holes never,
//! and what an odd clock has stamped not at every sync.

mod common;

use common::cataloged::Cataloged;
use common::loopfs::{Kind, tool};
use common::sync_command::{self as sync, Report};
use std::fs::{self, File, Permissions};
use std::os::unix::fs::{MetadataExt, PermissionsExt};
use std::path::Path;
use std::process::Command;

const MB: u64 = 1_000_000;

/// A sync, and how many bytes it read, on both sides and of everything else.
fn read_by_sync(pair: &Cataloged) -> (Report, u64) {
    let trace = pair.beside("trace");
    let plain = pair.command(&[]);
    let mut command = Command::new("strace");
    command.args(["-f", "-qq", "-e", "trace=read,pread64", "-o"]).arg(&trace);
    command.arg(plain.get_program()).args(plain.get_args());
    let report = sync::finish(&mut command).expect_done();
    let text = fs::read_to_string(&trace).expect("strace has written");
    let read = text.lines().filter_map(|line| line.rsplit_once(" = ")?.1.trim().parse::<u64>().ok()).sum();
    (report, read)
}

fn has_strace() -> bool {
    let has = Command::new("strace").arg("-V").output().is_ok();
    if !has {
        common::skipped("how much a sync reads", "strace is not installed");
    }
    has
}

fn chmod(path: &Path, mode: u32) {
    fs::set_permissions(path, Permissions::from_mode(mode)).unwrap();
}

#[test]
fn content_with_many_names_is_read_once_on_each_side() {
    if !has_strace() {
        return;
    }
    let pair = Cataloged::new();
    pair.write("names/0", vec![7; 4 * MB as usize]);
    for n in 1..40 {
        fs::hard_link(pair.at("names/0"), pair.at(&format!("names/{n}"))).unwrap();
    }
    let pair = pair.settled();
    chmod(&pair.at("names/0"), 0o600);
    let (_, read) = read_by_sync(&pair);
    assert!(read < 10 * MB, "after a chmod {read} bytes were read of a file of 4 MB with 40 names");
    pair.assert_equal("a chmod");
    pair.settle();
    fs::hard_link(pair.at("names/0"), pair.at("names/another")).unwrap();
    let (_, read) = read_by_sync(&pair);
    assert!(read < 10 * MB, "for one more name {read} bytes were read of a file of 4 MB");
    pair.assert_equal("one more name");
}

#[test]
fn holes_are_not_read_to_find_that_they_are_holes() {
    if !has_strace() {
        return;
    }
    let pair = Cataloged::new();
    pair.write("lastlog", "x");
    File::options().write(true).open(pair.at("lastlog")).unwrap().set_len(2 << 30).unwrap();
    let pair = pair.settled();
    chmod(&pair.at("lastlog"), 0o600);
    let (_, read) = read_by_sync(&pair);
    assert!(read < 10 * MB, "{read} bytes were read of 2 GiB of holes");
    assert_eq!(fs::metadata(pair.copied("lastlog")).unwrap().mode() & 0o777, 0o600);
}

/// The clock was years ahead once, and somebody changed a file then.
#[test]
fn a_file_that_was_changed_in_the_future_is_not_read_by_every_sync() {
    if !common::root_or_skip("files with a ctime that is still to come") || !has_strace() {
        return;
    }
    let mut pair = Cataloged::apart(Kind::Ext4, &[]);
    pair.write("file", vec![7; 4 * MB as usize]);
    let sources = pair.sources.as_mut().unwrap();
    sources.unmount();
    tool(
        Command::new("debugfs")
            .args(["-w", "-R", "set_inode_field /source/file ctime 20400101"])
            .arg(sources.image()),
    );
    sources.mount();
    let secs = fs::metadata(pair.at("file")).unwrap().ctime();
    assert!(secs > 2_000_000_000, "its ctime is {secs}");
    pair.sync();
    pair.settle();
    let (report, read) = read_by_sync(&pair);
    report.expect_no_change("nothing was changed");
    assert!(read < 2 * MB, "{read} bytes were read although nothing was changed");
    fs::write(pair.at("file"), vec![8; 4 * MB as usize]).unwrap();
    pair.sync();
    pair.assert_equal("changed at a time that is behind its last one");
}
