//! `run` and large files that change a little; killed in the middle of one, and the mirror is whole all the same: after the
//! next run, after `diskmirror undo`, and after a boot. Needs root.

#[path = "common/disks.rs"]
mod disks;
#[path = "common/killed.rs"]
mod killed;

use diskmirror::layout::FsKind;
use diskmirror::units::{Bytes, Share};
use disks::{Pair, Said};
use rustix::fs::{CWD, Mode, mkfifoat};
use std::fs::{self, OpenOptions};
use std::os::unix::fs::{DirBuilderExt, FileExt, PermissionsExt};
use std::path::Path;
use std::process::Command;
use std::time::Duration;

const SIZE: usize = 32 << 20;
const TICKS: Duration = Duration::from_millis(60);

/// A primary with one large file, mirrored until nothing about it is doubtful.
fn known() -> Pair {
    let mut pair = Pair::new(&[("/", FsKind::Ext4)]);
    pair.config.mirrors[0].blocks_from = Bytes::mib(1);
    pair.write_config(&pair.config.to_toml());
    let content: Vec<u8> = (0..SIZE as u32).map(|n| (n.wrapping_mul(2_654_435_761) >> 23) as u8).collect();
    fs::write(pair.root().join("big"), content).expect("written");
    pair.run_done();
    settle(&pair);
    pair
}

fn settle(pair: &Pair) {
    std::thread::sleep(TICKS);
    pair.run_done();
    std::thread::sleep(TICKS);
}

fn write(pair: &Pair, at: u64, bytes: &[u8]) {
    let file = OpenOptions::new().write(true).open(pair.root().join("big")).expect("open");
    file.write_all_at(bytes, at).expect("written");
}

fn undo_files(mirror: &Path) -> usize {
    fs::read_dir(mirror.join(".diskmirror/undo")).map_or(0, Iterator::count)
}

/// A run that is killed while it writes the file in its place, before the second part of what stood there is kept. Gives back
/// the old version.
fn half_written(pair: &Pair) -> Vec<u8> {
    let old = fs::read(pair.root().join("big")).expect("read");
    let new: Vec<u8> = old.iter().map(|byte| byte.wrapping_add(1)).collect();
    write(pair, 0, &new);
    killed::at_call(&pair.command(&[]), "fdatasync", 2);
    assert_eq!(
        pair.with_mirror("rw", |mirrors| undo_files(&mirrors[0])),
        1,
        "it was not in the middle of the file"
    );
    old
}

#[test]
fn a_run_writes_only_the_blocks_that_changed() {
    let pair = known();
    write(&pair, 5 << 20, b"changed");
    pair.run_done();
    let record = pair.history().remove(0);
    let written = record.total().bytes_copied;
    assert!((1..=64 * 1024).contains(&written), "{written} bytes were written");
    assert_eq!(pair.differences(), "");
    // A full run reads both sides, and writes no more.
    std::thread::sleep(TICKS);
    write(&pair, 6 << 20, b"changed too");
    assert_eq!(pair.run(&["--full"]).code, 0);
    assert!(pair.history()[0].total().bytes_copied <= 64 * 1024);
    assert_eq!(pair.differences(), "");
}

#[test]
fn the_next_run_puts_old_content_back_before_it_looks_and_a_dry_run_only_says_so() {
    let pair = known();
    half_written(&pair);
    assert_eq!(pair.run(&["--dry-run"]).code, 0);
    pair.with_mirror("rw", |mirrors| assert_eq!(undo_files(&mirrors[0]), 1));
    pair.run_done();
    assert_eq!(pair.differences(), "");
    pair.with_mirror("rw", |mirrors| assert!(!mirrors[0].join(".diskmirror/undo").exists()));
}

#[test]
fn undo_finds_what_is_mounted_and_gives_the_old_version_back() {
    let pair = known();
    let old = half_written(&pair);
    pair.with_mirror("rw", |mirrors| {
        let status = Command::new(env!("CARGO_BIN_EXE_diskmirror")).arg("undo").status();
        assert!(status.expect("it starts").success());
        assert!(fs::read(mirrors[0].join("big")).expect("read") == old, "it is not the old version");
        assert!(!mirrors[0].join(".diskmirror/undo").exists());
    });
    pair.run_done();
    assert_eq!(pair.differences(), "");
}

/// Puts things among the undo files that no run of this program left there.
fn plant(undo: &Path) {
    fs::DirBuilder::new().mode(0o700).create(undo).expect("made");
    mkfifoat(CWD, undo.join("fifo"), Mode::RUSR).expect("made");
    fs::create_dir(undo.join("directory")).expect("made");
    std::os::unix::fs::symlink("/etc/passwd", undo.join("link")).expect("made");
    fs::write(undo.join("large"), vec![0xA5; 100_000]).expect("written");
    fs::write(undo.join("of all"), "x").expect("written");
    fs::set_permissions(undo.join("of all"), fs::Permissions::from_mode(0o666)).expect("set");
}

#[test]
fn what_is_no_undo_file_is_moved_away_and_stops_no_run() {
    let pair = Pair::new(&[("/", FsKind::Ext4)]);
    fs::write(pair.root().join("a"), "one").expect("written");
    pair.run_done();
    pair.with_mirror("rw", |mirrors| plant(&mirrors[0].join(".diskmirror/undo")));
    fs::write(pair.root().join("a"), "another").expect("written");
    let said = pair.run_done();
    assert_eq!(said.stderr.matches("not to be trusted").count(), 5, "{said:?}");
    assert_eq!(pair.differences(), "");
    pair.with_mirror("rw", |mirrors| {
        let own = mirrors[0].join(".diskmirror");
        assert_eq!(fs::read_dir(own.join("foreign")).expect("there").count(), 5, "all of it is kept");
        assert_eq!(fs::read(own.join("foreign/1-large")).expect("kept"), vec![0xA5; 100_000]);
        plant(&own.join("undo"));
        fs::set_permissions(own.join("undo"), fs::Permissions::from_mode(0o777)).expect("set");
    });
    let said = pair.run_done();
    assert_eq!(said.stderr.matches("not to be trusted").count(), 1, "the directory as a whole: {said:?}");
    pair.with_mirror("rw", |mirrors| {
        let own = mirrors[0].join(".diskmirror");
        std::os::unix::fs::symlink(mirrors[0].join("etc"), own.join("undo")).expect("made");
        fs::write(own.join("tmp"), "no directory").expect("written");
    });
    let said = pair.run_done();
    assert_eq!(said.stderr.matches("not to be trusted").count(), 1, "{said:?}");
    assert_eq!(pair.run_done().stderr.matches("not to be trusted").count(), 0, "it is said once");
}

#[test]
fn the_mirror_of_a_systemd_system_carries_what_puts_old_content_back_when_it_is_booted() {
    let pair = Pair::new(&[("/", FsKind::Ext4)]);
    fs::create_dir_all(pair.root().join("etc/systemd/system")).expect("made");
    pair.run_done();
    pair.run_done();
    let unit = "etc/systemd/system/diskmirror-undo.service";
    let wanted = "etc/systemd/system/sysinit.target.wants/diskmirror-undo.service";
    pair.with_mirror("rw", |mirrors| {
        let mirror = &mirrors[0];
        let program = mirror.join(".diskmirror/diskmirror");
        let mode = fs::metadata(&program).expect("there").permissions().mode() & 0o7777;
        assert_eq!(mode, 0o700);
        assert!(
            fs::read(&program).expect("read") == fs::read(env!("CARGO_BIN_EXE_diskmirror")).expect("read")
        );
        let text = fs::read_to_string(mirror.join(wanted)).expect("the link leads to the unit");
        assert!(text.contains("ExecStart=/.diskmirror/diskmirror undo"), "{text}");
        assert_eq!(
            fs::read_link(mirror.join(wanted)).expect("a link"),
            Path::new("../diskmirror-undo.service")
        );
        let verified =
            Command::new("systemd-analyze").arg("verify").arg("--man=no").arg(mirror.join(unit)).output();
        if let Ok(verified) = verified {
            let said = String::from_utf8_lossy(&verified.stderr).into_owned();
            let wrong: Vec<&str> = said.lines().filter(|line| !line.contains("is not executable")).collect();
            assert!(wrong.is_empty(), "{said}");
        }
    });
    assert!(!pair.root().join(unit).exists(), "the primary has none");
    let full = pair.run(&["--full"]);
    assert_eq!(full.code, 0, "{full:?}");
    assert_eq!(pair.history()[0].total().metadata_changed, 0, "the directories' times are the primary's");
    pair.with_mirror("rw", |mirrors| assert!(mirrors[0].join(unit).exists()));
    let said = verify(&pair);
    assert_eq!(said.code, 0, "what is the mirror's own is no difference: {said:?}");
}

fn verify(pair: &Pair) -> Said {
    let mut command = Command::new(env!("CARGO_BIN_EXE_diskmirror"));
    command.arg("--root").arg(pair.root()).arg("--config").arg(pair.config_path()).arg("verify");
    Said::of(command.output().expect("it starts"))
}

/// Has the mirror's disk give back something else than was written, at `at`.
fn rot(pair: &Pair, at: u64) {
    pair.with_mirror("rw", |mirrors| {
        let file = OpenOptions::new().write(true).open(mirrors[0].join("big")).expect("open");
        let written = file.metadata().and_then(|found| found.modified()).expect("there");
        file.write_all_at(b"rotten", at).expect("written");
        file.set_modified(written).expect("set");
    });
}

#[test]
fn what_is_known_of_blocks_is_not_believed_of_a_file_that_a_verification_found_damaged() {
    let pair = known();
    let damaged = |at| {
        rot(&pair, at);
        let said = verify(&pair);
        assert_eq!(said.code, 5, "{said:?}");
        assert!(said.stdout.contains("big"), "{said:?}");
    };
    damaged(20 << 20);
    pair.run_done();
    assert_eq!(pair.differences(), "", "the run mends it although nothing changed");
    settle(&pair);
    damaged(20 << 20);
    write(&pair, 5 << 20, b"changed");
    pair.run_done();
    assert_eq!(pair.differences(), "", "the run mends it although only another block changed");
    settle(&pair);
    write(&pair, 6 << 20, b"changed");
    pair.run_done();
    assert!(pair.history()[0].total().bytes_copied <= 64 * 1024, "its blocks are known again");
    let said = verify(&pair);
    assert_eq!(said.code, 0, "{said:?}");
}

#[test]
fn a_run_that_verifies_a_share_takes_back_what_is_known_of_blocks_too() {
    let mut pair = known();
    rot(&pair, 20 << 20);
    pair.config.mirrors[0].verify_share = Share(100_000);
    pair.write_config(&pair.config.to_toml());
    let said = pair.run(&[]);
    assert_eq!(said.code, 5, "{said:?}");
    write(&pair, 5 << 20, b"changed");
    pair.run_done();
    assert_eq!(pair.differences(), "");
}

#[test]
fn a_mirror_with_something_to_put_back_is_not_verified() {
    let pair = known();
    half_written(&pair);
    let said = verify(&pair);
    assert_eq!(said.code, 4, "{said:?}");
    assert!(
        said.stderr.contains("has not been put back") && said.stderr.contains("diskmirror run"),
        "{said:?}"
    );
    pair.with_mirror("rw", |mirrors| assert_eq!(undo_files(&mirrors[0]), 1));
    pair.run_done();
    let said = verify(&pair);
    assert_eq!(said.code, 0, "{said:?}");
}

#[test]
fn what_differs_although_size_and_time_do_not_is_copied_whole() {
    let pair = known();
    rot(&pair, 20 << 20);
    // Its status changes, so its content is compared.
    fs::set_permissions(pair.root().join("big"), fs::Permissions::from_mode(0o640)).expect("chmod");
    pair.run_done();
    assert_eq!(pair.differences(), "");
    assert!(pair.history()[0].total().bytes_copied >= SIZE as u64);
}
