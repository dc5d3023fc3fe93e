//! Everything `run` refuses, each with a hash of both disks before and after. Needs root.

#[path = "common/disks.rs"]
mod disks;

use diskmirror::layout::FsKind;
use diskmirror::record::State;
use diskmirror::sys::lock::{Attempt, Holder};
use disks::{Disk, Pair, Said, must, populate};
use std::fs;
use std::os::unix::fs::{PermissionsExt, symlink};
use std::process::{Command, Stdio};
use std::time::Duration;

const EXT4: &[(&str, FsKind)] = &[("/", FsKind::Ext4)];
const BOTH: [(&str, FsKind); 2] = [("/", FsKind::Xfs), ("/boot", FsKind::Ext4)];

/// A pair that has been equal once.
fn settled(volumes: &[(&str, FsKind)]) -> Pair {
    let pair = Pair::new(volumes);
    populate(&pair.root(), 40);
    for (mount, _) in &volumes[1..] {
        populate(&pair.root().join(mount.trim_start_matches('/')), 20);
    }
    pair.run_done();
    pair
}

/// The run is refused, says so with these words and what is true now, and neither disk has changed.
fn refused(pair: &Pair, words: &[&str]) {
    let before = pair.hashes();
    let said = pair.run(&[]);
    assert_eq!(said.code, 4, "{said:?}");
    for word in words.iter().chain(&["error: ", "why: ", "state: nothing was"]) {
        assert!(said.stderr.contains(word), "{word:?} in {}", said.stderr);
    }
    assert_eq!(said.stdout, "");
    assert_eq!(pair.hashes(), before, "{}", said.stderr);
}

fn refused_with_record(pair: &Pair, words: &[&str]) {
    refused(pair, words);
    let record = &pair.history()[0];
    assert_eq!(record.state, State::Refused);
    assert!(record.message.as_ref().is_some_and(|message| message.contains(words[0])), "{record:?}");
}

#[test]
fn an_absent_mirror_is_refused() {
    let mut pair = settled(EXT4);
    let table_id = pair.mirror.table_id();
    pair.mirror.detach();
    refused_with_record(&pair, &["was not found", &table_id, "plug it in"]);
    pair.mirror = Disk::attach(pair.mirror.image.clone());
    pair.run_done();
}

#[test]
fn another_disk_in_its_place_is_refused() {
    let mut pair = settled(EXT4);
    let config = pair.config.clone();
    // Its table is the mirror's, but its serial number is not.
    pair.config.mirrors[0].disk.serial = Some("S5GX123".into());
    pair.write_config(&pair.config.to_toml());
    refused_with_record(
        &pair,
        &["another disk in its place", "has the mirror's table, but its serial number is not"],
    );
    // Its table is the mirror's, but its file system is not.
    pair.config = config;
    pair.config.mirrors[0].volumes[0].mirror_uuid = "11111111-2222-3333-4444-555555555555".into();
    pair.write_config(&pair.config.to_toml());
    refused_with_record(&pair, &["another disk in its place", "nothing on it has the UUID"]);
}

#[test]
fn a_mirror_with_a_twin_is_refused() {
    let pair = settled(EXT4);
    let copy = pair.dir.path().join("copy.img");
    fs::copy(&pair.mirror.image, &copy).expect("copied");
    let twin = Disk::attach(copy);
    refused_with_record(&pair, &["it has a twin", &twin.node, &pair.mirror.node]);
    drop(twin);
    pair.run_done();
}

#[test]
fn a_mirror_that_is_mounted_is_refused_in_whatever_namespace() {
    let pair = settled(EXT4);
    let node = pair.mirror.partition(1);
    pair.with_mirror("ro", |mirrors| {
        refused_with_record(&pair, &["in use", &format!("{node} is mounted on {}", mirrors[0].display())]);
    });
    let at = pair.dir.path().join("hidden");
    fs::create_dir_all(&at).expect("a directory");
    let script = format!("mount -o ro {node} {} && echo mounted && exec cat", at.display());
    let mut elsewhere = Command::new("unshare")
        .args(["-m", "sh", "-c", &script])
        .stdin(std::process::Stdio::piped())
        .stdout(std::process::Stdio::piped())
        .spawn()
        .expect("unshare");
    let mut first = [0];
    std::io::Read::read_exact(elsewhere.stdout.as_mut().expect("piped"), &mut first).expect("it is mounted");
    refused_with_record(&pair, &["in use", &format!("{node} is held by something not seen from here")]);
    drop(elsewhere.stdin.take());
    elsewhere.wait().expect("it ends");
    pair.run_done();
}

#[test]
fn a_file_system_that_is_not_ours_is_refused() {
    for volumes in [EXT4, &BOTH[..1]] {
        let pair = settled(volumes);
        let mark_of = |pair: &Pair, change: &dyn Fn(&std::path::Path)| {
            pair.with_mirror("rw", |mirrors| change(&mirrors[0].join(".diskmirror/mark.json")));
        };
        mark_of(&pair, &|mark| {
            let text = fs::read_to_string(mark).expect("a mark");
            fs::write(mark, text.replace("\"mirror\":\"mirror\"", "\"mirror\":\"other\"")).expect("written");
        });
        refused_with_record(
            &pair,
            &["its file system is not ours", "its mark is that of the mirror \"other\""],
        );
        mark_of(&pair, &|mark| fs::remove_file(mark).expect("it was there"));
        refused_with_record(&pair, &["its file system is not ours", "it has no mark"]);
        mark_of(&pair, &|mark| symlink("/etc/hostname", mark).expect("written"));
        refused_with_record(&pair, &["its file system is not ours", "it has no mark"]);
    }
}

#[test]
fn a_configuration_that_cannot_be_believed_is_refused() {
    let pair = settled(EXT4);
    let text = pair.config.to_toml();
    pair.write_config(&text.replace("table_id = ", "table-id = "));
    refused(&pair, &["is malformed", "| table-id = ", "| ^^^^^^^^", "unknown field"]);
    pair.write_config(&text);
    for mode in [0o602, 0o620, 0o666] {
        fs::set_permissions(pair.config_path(), fs::Permissions::from_mode(mode)).expect("chmod");
        refused(&pair, &["cannot be trusted", "others may write it", "chmod go-w"]);
    }
    fs::set_permissions(pair.config_path(), fs::Permissions::from_mode(0o600)).expect("chmod");
    std::os::unix::fs::chown(pair.config_path(), Some(65534), None).expect("chown");
    refused(&pair, &["cannot be trusted", "belongs to user 65534"]);
    fs::remove_file(pair.config_path()).expect("it is there");
    refused(&pair, &["cannot read the configuration", "No such file", "diskmirror init"]);
    fs::create_dir(pair.config_path()).expect("made");
    refused(&pair, &["cannot read the configuration", "directory"]);
}

#[test]
fn a_root_that_is_not_mounted_or_not_the_one_that_is_meant_is_refused() {
    let mut pair = settled(EXT4);
    let config = pair.config.clone();
    pair.config.mirrors[0].volumes[0].primary_uuid = "11111111-2222-3333-4444-555555555555".into();
    pair.write_config(&pair.config.to_toml());
    refused_with_record(&pair, &["is not mounted: another file system is in its place", "11111111-2222"]);
    pair.write_config(&config.to_toml());
    // Only a part of it is mounted where the root is looked for.
    let part = pair.dir.path().join("part");
    fs::create_dir_all(&part).expect("a directory");
    must("mount", &["--bind", &pair.root().join("d1").to_string_lossy(), &part.to_string_lossy()]);
    let said = pair.command_with_root(&part).output().expect("it starts");
    must("umount", &[&part.to_string_lossy()]);
    let stderr = String::from_utf8_lossy(&said.stderr);
    assert_eq!(said.status.code(), Some(4), "{stderr}");
    assert!(stderr.contains("is not mounted") && stderr.contains("state: nothing was"), "{stderr}");
    for left in ["run", "var"] {
        let _ = fs::remove_dir_all(pair.root().join("d1").join(left));
    }
    pair.config = config;
    pair.run_done();
}

#[test]
fn an_empty_source_is_refused() {
    let pair = settled(EXT4);
    // What else is mounted below the root is no content of the root's.
    for entry in fs::read_dir(pair.root()).expect("readable") {
        let path = entry.expect("readable").path();
        if !["run", "var", "lost+found"].iter().any(|kept| path.ends_with(kept)) {
            must("rm", &["-rf", &path.to_string_lossy()]);
        }
    }
    for mounted in ["run", "var/lib/diskmirror", "var/log"] {
        let at = pair.root().join(mounted);
        let aside = pair.dir.path().join("aside").join(mounted);
        fs::create_dir_all(&aside).expect("a directory");
        must("mount", &["--move", &at.to_string_lossy(), &aside.to_string_lossy()]);
    }
    must(
        "rm",
        &["-rf", &pair.root().join("run").to_string_lossy(), &pair.root().join("var").to_string_lossy()],
    );
    // The run's own directories lie elsewhere now: nothing of them is on the primary.
    let mut config = pair.config.clone();
    config.state_dir = "/../aside/var/lib/diskmirror".into();
    config.runtime_dir = "/../aside/run/diskmirror".into();
    config.log_file = "/../aside/var/log/diskmirror.log".into();
    pair.write_config(&config.to_toml());
    refused(&pair, &["it is empty", "everything on its mirror would be deleted"]);
    for mounted in ["run", "var/lib/diskmirror", "var/log"] {
        must("umount", &[&pair.dir.path().join("aside").join(mounted).to_string_lossy()]);
    }
}

#[test]
fn a_boot_that_cannot_be_entered_is_left_alone_while_the_root_is_refreshed() {
    let mut pair = settled(&BOTH);
    let boot_before = pair.with_mirror("ro", |mirrors| must("ls", &["-R", &mirrors[1].to_string_lossy()]));
    pair.unmount_primary("/boot");
    // It was not unmounted cleanly: a look at it would not see what is in its journal.
    must("debugfs", &["-w", "-R", "feature needs_recovery", &pair.primary.partition(2)]);
    fs::write(pair.root().join("d1/new"), "new").expect("written");
    let said = pair.run(&[]);
    assert_eq!(said.code, 3, "{said:?}");
    assert!(
        said.stderr.contains("/boot: it is not mounted") && said.stderr.contains("mount it once"),
        "{said:?}"
    );
    let record = &pair.history()[0];
    assert_eq!((record.state, record.volumes[1].errors), (State::Incomplete, 1));
    pair.with_mirror("ro", |mirrors| {
        assert_eq!(must("ls", &["-R", &mirrors[1].to_string_lossy()]), boot_before);
        assert_eq!(fs::read(mirrors[0].join("d1/new")).expect("it was copied"), b"new");
    });
}

#[test]
fn too_many_deletions_are_refused_as_a_whole_and_one_list_can_be_let_through() {
    let pair = Pair::new(EXT4);
    populate(&pair.root(), 3000);
    pair.run_done();
    for n in 0..6 {
        fs::remove_dir_all(pair.root().join(format!("d{n}"))).expect("it is there");
    }
    refused_with_record(&pair, &["entries would be deleted", "would lose", "--accept "]);
    let said = pair.run(&[]);
    let digest =
        said.stderr.split("--accept ").nth(1).expect("a digest").split_whitespace().next().expect("a word");
    assert_eq!(pair.run(&["--accept", "0123456789ab"]).code, 4, "another list's digest");
    let accepted = pair.run(&["--accept", digest]);
    assert_eq!(accepted.code, 0, "{accepted:?}");
    assert_eq!(pair.differences(), "");
}

/// The code of the command that lets through what was refused.
fn code_of(said: &disks::Said) -> String {
    let after = said.stderr.split("--accept ").nth(1).expect("a code");
    after.split_whitespace().next().expect("a word").to_owned()
}

/// `files` files of a user's in a directory.
fn crowd(dir: &std::path::Path, files: usize) {
    fs::create_dir_all(dir).expect("a directory");
    std::os::unix::fs::chown(dir, Some(4242), Some(4242)).expect("root may");
    for n in 0..files {
        let path = dir.join(format!("u{n}"));
        fs::write(&path, "x").expect("written");
        std::os::unix::fs::chown(&path, Some(4242), Some(4242)).expect("root may");
    }
}

#[test]
fn what_was_accepted_passes_although_the_server_goes_on_living_and_twice_as_much_does_not() {
    let pair = Pair::new(EXT4);
    populate(&pair.root(), 300);
    crowd(&pair.root().join("home/alice/t"), 3500);
    crowd(&pair.root().join("spool"), 20);
    crowd(&pair.root().join("other"), 500);
    pair.run_done();
    let remove = |dir: &str, range: std::ops::Range<usize>| {
        range
            .for_each(|n| fs::remove_file(pair.root().join(dir).join(format!("u{n}"))).expect("it is there"));
    };
    remove("home/alice/t", 0..1700);
    refused_with_record(
        &pair,
        &["home/alice/t would lose 1,700 entries, all of them of user 4242", "--accept "],
    );
    let code = code_of(&pair.run(&[]));

    remove("home/alice/t", 1700..3500);
    let before = pair.hashes();
    assert_eq!(pair.run(&["--accept", &code]).code, 4, "twice as much");
    (1700..3500)
        .for_each(|n| fs::write(pair.root().join(format!("home/alice/t/u{n}")), "x").expect("written"));
    remove("other", 0..500);
    assert_eq!(pair.run(&["--accept", &code]).code, 4, "another directory");
    assert_eq!(pair.hashes()[1], before[1], "nothing was written to the mirror");
    crowd(&pair.root().join("other"), 500);

    remove("spool", 0..7);
    fs::write(pair.root().join("spool/new"), "new").expect("written");
    let accepted = pair.run(&["--accept", &code]);
    assert_eq!(accepted.code, 0, "{accepted:?}");
    assert_eq!(pair.differences(), "");
}

#[test]
fn one_refusal_names_all_file_systems_and_its_command_lets_all_through() {
    let pair = Pair::new(&[("/", FsKind::Ext4), ("/srv", FsKind::Ext4)]);
    populate(&pair.root(), 100);
    populate(&pair.root().join("srv"), 100);
    crowd(&pair.root().join("home/alice"), 1500);
    crowd(&pair.root().join("srv/data"), 1500);
    pair.run_done();
    for dir in ["home/alice", "srv/data"] {
        fs::remove_dir_all(pair.root().join(dir)).expect("it is there");
    }
    let losses = ["/home/alice would lose 1,500", "/srv/data would lose 1,500"];
    refused_with_record(&pair, &["the mirror of /,/srv", losses[0], losses[1]]);
    let code = code_of(&pair.run(&[]));
    let parts: Vec<&str> = code.split('_').collect();
    assert_eq!(pair.run(&["--accept", parts[0]]).code, 4, "only one of them");
    let accepted = pair.run(&["--accept", parts[1], "--accept", parts[0]]);
    assert_eq!(accepted.code, 0, "{accepted:?}");
    assert_eq!(pair.differences(), "");
}

#[test]
fn a_user_who_moves_a_quarter_of_the_entries_to_and_fro_cannot_hold_the_mirror_for_ever() {
    let pair = Pair::new(EXT4);
    populate(&pair.root(), 300);
    crowd(&pair.root().join("home/alice/m"), 2500);
    pair.run_done();
    (0..1500).for_each(|n| fs::remove_file(pair.root().join(format!("home/alice/m/u{n}"))).expect("there"));
    let said = pair.run(&[]);
    assert!(said.code == 4 && said.stderr.contains("--accept /home/alice/m"), "{said:?}");
    let code = code_of(&said);
    (1500..2400)
        .for_each(|n| fs::remove_file(pair.root().join(format!("home/alice/m/u{n}"))).expect("there"));
    assert_eq!(pair.run(&["--accept", &code]).code, 4, "he defeats the code");
    assert_eq!(pair.run(&["--accept", "/home/bob"]).code, 4, "another's directory");
    let accepted = pair.run(&["--accept", "/home/alice"]);
    assert_eq!(accepted.code, 0, "{accepted:?}");
    assert_eq!(pair.differences(), "");
}

#[test]
fn a_system_that_runs_from_the_mirror_is_refused() {
    let pair = settled(EXT4);
    let booted = pair.dir.path().join("booted");
    fs::create_dir_all(&booted).expect("a directory");
    must("mount", &[&pair.mirror.partition(1), &booted.to_string_lossy()]);
    for dir in ["run", "var/lib/diskmirror", "var/log"] {
        must("mount", &["-t", "tmpfs", "tmpfs", &booted.join(dir).to_string_lossy()]);
    }
    let before = pair.hashes();
    let said = pair.command_with_root(&booted).output().expect("it starts");
    let after = pair.hashes();
    must("umount", &["-R", &booted.to_string_lossy()]);
    let stderr = String::from_utf8_lossy(&said.stderr);
    assert_eq!(said.status.code(), Some(4), "{stderr}");
    assert!(stderr.contains("the roles are reversed"), "{stderr}");
    assert_eq!(after, before);
}

/// What the schedule does, so that a run that is at work at that hour costs no test.
#[test]
fn a_boot_test_waits_for_a_run_only_if_it_is_told_to() {
    let pair = Pair::new(&[("/", FsKind::Ext4)]);
    let mirror = &pair.config.mirrors[0];
    let holder = Holder { pid: std::process::id(), since: 0, what: "a run".into() };
    let attempt = diskmirror::mirror::lock(&pair.root().join("run/diskmirror"), mirror, &holder);
    let Ok(Attempt::Taken(held)) = attempt else { panic!("nobody has it") };
    let boot_test = |args: &[&str]| {
        let mut command = Command::new(env!("CARGO_BIN_EXE_diskmirror"));
        command.arg("--root").arg(pair.root()).arg("--config").arg(pair.config_path());
        command.args(["boot-test", "--time-limit", "1"]).args(args).stdin(Stdio::null());
        command.stdout(Stdio::piped()).stderr(Stdio::piped()).spawn().expect("it starts")
    };
    let said = Said::of(boot_test(&[]).wait_with_output().expect("it ends"));
    assert_eq!(said.code, 6, "{said:?}");
    let mut waits = boot_test(&["--wait"]);
    std::thread::sleep(Duration::from_secs(3));
    assert!(waits.try_wait().expect("ours").is_none(), "it did not wait");
    drop(held);
    let said = Said::of(waits.wait_with_output().expect("it ends"));
    assert_ne!(said.code, 6, "{said:?}");
}
