//! The primary's own state directory, log and root in trouble: the mirror is refreshed all the same, and it is told. Needs
//! root.

#[path = "common/disks.rs"]
mod disks;

use diskmirror::layout::FsKind;
use diskmirror::record::State;
use disks::{Pair, Said, content, must, populate};
use rustix::fs::{CWD, Mode, mkfifoat};
use std::fs;
use std::os::unix::fs::{MetadataExt, symlink};
use std::path::{Path, PathBuf};
use std::process::Command;

const EXT4: &[(&str, FsKind)] = &[("/", FsKind::Ext4)];

fn settled() -> Pair {
    let pair = Pair::new(EXT4);
    populate(&pair.root(), 40);
    pair.run_done();
    pair
}

fn state_dir(pair: &Pair) -> PathBuf {
    pair.root().join("var/lib/diskmirror")
}

fn history(pair: &Pair) -> PathBuf {
    state_dir(pair).join("history.sqlite")
}

fn change(pair: &Pair, version: usize) {
    fs::write(pair.root().join("d1/f1"), content(1, version)).expect("written");
}

fn is_refreshed(pair: &Pair, version: usize) -> bool {
    pair.with_mirror("ro", |mirrors| {
        fs::read(mirrors[0].join("d1/f1")).expect("there") == content(1, version)
    })
}

/// The run refreshes the mirror to `version`, and says with exit code 3 and these words what was in its way.
fn refreshes(pair: &Pair, version: usize, words: &[&str]) -> Said {
    let said = pair.run(&[]);
    assert_eq!(said.code, 3, "{said:?}");
    for word in words {
        assert!(said.stderr.contains(word), "{word:?} in {}", said.stderr);
    }
    assert!(is_refreshed(pair, version), "{said:?}");
    said
}

fn diskmirror(pair: &Pair, command: &str) -> Said {
    let mut program = Command::new(env!("CARGO_BIN_EXE_diskmirror"));
    program.arg("--root").arg(pair.root()).arg("--config").arg(pair.config_path());
    Said::of(program.arg(command).output().expect("it starts"))
}

fn fill(dir: &Path) {
    let mut file = fs::File::create(dir.join("big")).expect("made");
    for chunk in [1 << 16, 1 << 10, 1] {
        while std::io::Write::write(&mut file, &vec![b'x'; chunk]).is_ok_and(|written| written > 0) {}
    }
}

#[test]
fn a_history_that_is_none_is_kept_aside_and_the_mirror_is_refreshed() {
    let pair = settled();
    let garbage: Vec<u8> = (0..8192_u32).map(|n| (n.wrapping_mul(7919) >> 3) as u8).collect();
    let pages = {
        let mut bytes = fs::read(history(&pair)).expect("a history");
        let length = bytes.len();
        bytes[100..]
            .iter_mut()
            .enumerate()
            .filter(|(n, _)| n % (length / 60) == 0)
            .for_each(|(_, b)| *b ^= 0x5a);
        bytes
    };
    let makes: [&dyn Fn(&Path); 4] = [
        &|path| fs::write(path, &garbage).expect("written"),
        &|path| fs::write(path, &pages).expect("written"),
        &|path| fs::create_dir(path).expect("made"),
        &|path| mkfifoat(CWD, path, Mode::RUSR | Mode::WUSR).expect("made"),
    ];
    for (n, make) in (1..).zip(makes) {
        for part in ["", "-wal", "-shm"] {
            let _ = fs::remove_file(format!("{}{part}", history(&pair).display()));
        }
        make(&history(&pair));
        let (told, listed) = (diskmirror(&pair, "status"), diskmirror(&pair, "history"));
        assert!(
            told.code == 1 && told.stdout.contains("NOT READY") && told.stdout.contains("is not known"),
            "{told:?}"
        );
        assert!(listed.code == 1 && listed.stderr.contains("cannot be read"), "{listed:?}");
        change(&pair, n);
        refreshes(&pair, n, &["the run history was damaged", "history.sqlite.broken-"]);
        let record = &pair.history()[0];
        assert!(record.errors[0].contains("history.sqlite.broken-"), "{record:?}");
        assert_eq!(record.state, State::Incomplete);
        assert!(record.id > i64::try_from(n).expect("small"), "numbers go on: {}", record.id);
        let names = fs::read_dir(state_dir(&pair))
            .expect("readable")
            .filter_map(|entry| entry.expect("readable").file_name().into_string().ok());
        let main =
            |name: &String| name.contains(".broken-") && !name.ends_with("-wal") && !name.ends_with("-shm");
        assert_eq!(names.filter(main).count(), n, "every one is kept");
    }
    pair.run_done();
}

#[test]
fn a_history_that_somebody_has_locked_is_not_waited_for_without_end() {
    let pair = settled();
    let locks = rusqlite::Connection::open(history(&pair)).expect("open");
    locks.execute_batch("BEGIN EXCLUSIVE").expect("locked");
    change(&pair, 1);
    let since = std::time::Instant::now();
    let said = refreshes(
        &pair,
        1,
        &["the run history cannot be had", "locked", "fuser", " of mirror: incomplete: "],
    );
    assert!(since.elapsed().as_secs() < 60, "{said:?}");
    locks.execute_batch("ROLLBACK").expect("unlocked");
    drop(locks);
    assert_eq!(pair.history().len(), 1, "nothing was set aside");
    let run = marked(&pair)["run"].as_u64().expect("a number");
    pair.run_done();
    assert!(pair.history()[0].id.unsigned_abs() > run, "numbers go on");
}

fn marked(pair: &Pair) -> serde_json::Value {
    let text =
        pair.with_mirror("ro", |mirrors| fs::read(mirrors[0].join(".diskmirror/mark.json")).expect("a mark"));
    serde_json::from_slice(&text).expect("it is JSON")
}

#[test]
fn a_state_directory_that_is_full_or_read_only_keeps_no_run_from_its_work() {
    let pair = settled();
    must("mount", &["-o", "remount,size=600k", &state_dir(&pair).to_string_lossy()]);
    fill(&state_dir(&pair));
    change(&pair, 1);
    refreshes(&pair, 1, &["warning: "]);
    let mark = marked(&pair);
    assert_eq!((&mark["state"], &mark["last_run"]["state"]), (&"clean".into(), &"incomplete".into()));
    fs::remove_file(state_dir(&pair).join("big")).expect("it is there");
    pair.run_done();
    assert_eq!(marked(&pair)["last_run"]["state"], "done");

    must("mount", &["-o", "remount,ro", &state_dir(&pair).to_string_lossy()]);
    change(&pair, 2);
    refreshes(&pair, 2, &["the run history cannot be had", "findmnt", " of mirror: incomplete: "]);
    let status = diskmirror(&pair, "status");
    assert!(status.stdout.contains("complete") && !status.stdout.contains("is not known"), "{status:?}");
    let lines = marked(&pair)["last_run"]["lines"].to_string();
    assert!(lines.contains("the run history cannot be had"), "{lines}");
    must("mount", &["-o", "remount,rw", &state_dir(&pair).to_string_lossy()]);
    pair.run_done();
    assert_eq!(pair.differences(), "");
}

#[test]
fn a_state_directory_that_cannot_be_made_keeps_no_run_from_its_work() {
    let mut pair = settled();
    pair.unmount_primary("/var/lib/diskmirror");
    fs::remove_dir(state_dir(&pair)).expect("empty");
    fs::write(state_dir(&pair), "a file in its place").expect("written");
    change(&pair, 1);
    refreshes(&pair, 1, &["the run history cannot be had", "no catalog can be kept"]);
}

#[test]
fn the_last_refresh_of_a_primary_whose_root_became_read_only_is_made() {
    let mut pair = settled();
    for dir in ["/var/lib/diskmirror", "/var/log"] {
        pair.unmount_primary(dir);
    }
    change(&pair, 1);
    must("mount", &["-o", "remount,ro", &pair.root().to_string_lossy()]);
    let said = refreshes(&pair, 1, &["the run history cannot be had", "the log"]);
    assert!(!said.stderr.contains("left as they are"), "the boot is prepared: {said:?}");
    must("mount", &["-o", "remount,rw", &pair.root().to_string_lossy()]);
}

#[test]
fn a_list_of_damage_that_cannot_be_read_is_told_left_as_it_is_and_keeps_no_run_from_its_work() {
    let pair = settled();
    let list = state_dir(&pair).join("damage/mirror.json");
    fs::create_dir_all(list.parent().expect("it has one")).expect("made");
    fs::write(&list, "{\"form").expect("written");
    change(&pair, 1);
    refreshes(&pair, 1, &["what of the primary is damaged is not known", "mirror.json is damaged"]);
    assert_eq!(fs::read(&list).expect("readable"), b"{\"form");
    assert!(diskmirror(&pair, "status").stdout.contains("what of the primary is damaged is not known"));
    fs::remove_file(&list).expect("it is there");
    mkfifoat(CWD, &list, Mode::RUSR | Mode::WUSR).expect("made");
    change(&pair, 2);
    refreshes(&pair, 2, &["what of the primary is damaged is not known"]);
}

#[test]
fn a_log_that_is_a_link_or_a_pipe_is_neither_followed_nor_waited_for() {
    let pair = settled();
    let (log, precious) = (pair.root().join("var/log/diskmirror.log"), pair.root().join("var/log/precious"));
    fs::write(&precious, "precious\n").expect("written");
    fs::remove_file(&log).expect("it is there");
    symlink(&precious, &log).expect("made");
    for n in 1..=2 {
        change(&pair, n);
        let said = pair.run(&[]);
        assert!(said.code == 0 && said.stderr.contains("warning: the log "), "{said:?}");
        assert_eq!(fs::read(&precious).expect("readable"), b"precious\n");
        fs::remove_file(&log).expect("it is there");
        mkfifoat(CWD, &log, Mode::RUSR | Mode::WUSR).expect("made");
    }
}

#[test]
fn what_is_kept_is_roots_alone_whatever_the_umask() {
    let mut pair = Pair::new(EXT4);
    populate(&pair.root(), 20);
    pair.unmount_primary("/var/lib/diskmirror");
    fs::remove_dir(state_dir(&pair)).expect("empty");
    let program = pair.command(&[]);
    let words: Vec<_> = std::iter::once(program.get_program()).chain(program.get_args()).collect();
    let mut shell = Command::new("sh");
    shell.args(["-c", "umask 000; exec \"$@\"", "sh"]).args(words);
    let said = Said::of(shell.output().expect("it starts"));
    assert_eq!(said.code, 0, "{said:?}");
    let mode = |path: &Path| path.metadata().expect("it is there").mode() & 0o7777;
    assert_eq!(mode(&state_dir(&pair)), 0o700);
    let entries =
        fs::read_dir(state_dir(&pair)).expect("readable").map(|entry| entry.expect("readable").path());
    for path in entries {
        assert_eq!(mode(&path) & 0o077, 0, "{}", path.display());
    }
}

#[test]
fn nobody_panics_when_nobody_listens() {
    let pair = settled();
    let program = format!(
        "{} --root {} --config {}",
        env!("CARGO_BIN_EXE_diskmirror"),
        pair.root().display(),
        pair.config_path().display()
    );
    for command in
        ["run", "run --json", "run --dry-run", "status", "history", "history --json", "schedule show"]
    {
        for how in ["| true", ">&-", "2>&-", ">/dev/full", "2>/dev/full"] {
            let line = format!("set -o pipefail; {program} {command} {how}");
            let said = Said::of(Command::new("bash").args(["-c", &line]).output().expect("bash"));
            assert!(!said.stderr.contains("panicked"), "{line}: {said:?}");
            assert!(said.code == 0 || command == "status" || how == ">/dev/full", "{line}: {said:?}");
            assert!([0, 1].contains(&said.code), "{line}: {said:?}");
        }
    }
    assert!(pair.history().iter().all(|record| record.state == State::Done));
}
