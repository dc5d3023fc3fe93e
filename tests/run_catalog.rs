//! The catalogs of `run`, on loop disks: one for each file system, believed as long as the mirror's mark vouches for
//! it, and held against both sides once a day. Needs root; says so where it is skipped.
//!
//! Whether a run uses its catalogs shows in what it does not see: see common/cataloged.rs.

#[path = "common/generate.rs"]
mod generate;
// It also reads the lists of a dry run.
#[allow(dead_code)]
#[path = "common/names.rs"]
mod names;
#[path = "common/rng.rs"]
mod rng;
#[path = "common/server.rs"]
mod server;

use generate::Generator;
use serde_json::Value;
use server::{Fs, PLAIN, Said, Server, Shape, root_or_skip, tool};
use std::fs::{self, Permissions};
use std::os::unix::fs::{MetadataExt, PermissionsExt};
use std::path::{Path, PathBuf};
use std::process::{Command, Stdio};
use std::time::Duration;

/// More than two ticks of any kernel's clock: what was changed before it is not doubtful after it.
const TICKS: Duration = Duration::from_millis(60);
/// What is changed on the mirror behind the program's back.
const PLANTED: &str = "home/alice/7";

/// A server whose mirror is equal, with catalogs in which nothing is doubtful.
fn settled(shape: Shape) -> Server {
    let server = Server::new(shape);
    server.init_done(&[]);
    settle(&server);
    server
}

/// Another run is at work.
const LOCKED: i32 = 6;

fn settle(server: &Server) {
    std::thread::sleep(TICKS);
    done(server, &[]);
}

fn run(server: &Server, more: &[&str]) -> Said {
    server.call(&[&["run"], more].concat())
}

/// A run that must do everything; its figures.
fn done(server: &Server, more: &[&str]) -> Value {
    let said = run(server, &[&["--json"], more].concat());
    assert_eq!(said.code, 0, "{said:?}");
    serde_json::from_str(&said.stdout).expect("one JSON object")
}

fn catalogs(server: &Server) -> Vec<PathBuf> {
    let found =
        tool("find", &[&server.root().join("var/lib/diskmirror/catalog").to_string_lossy(), "-type", "f"]);
    found.lines().filter(|path| !path.ends_with(".delta")).map(PathBuf::from).collect()
}

/// Mounts one of the mirror's file systems for `change`.
fn on_mirror<T>(server: &Server, number: u32, change: impl FnOnce(&Path) -> T) -> T {
    let at = server.dir.path().join("behind");
    fs::create_dir_all(&at).expect("a mount point");
    let text = at.to_str().expect("a plain name");
    tool("mount", &["-o", "noatime", &server.mirror.part(number), text]);
    let changed = change(&at);
    tool("umount", &[text]);
    changed
}

fn mode(path: &Path) -> u32 {
    path.symlink_metadata().expect("it is there").mode() & 0o7777
}

fn chmod(path: &Path, mode: u32) {
    fs::set_permissions(path, Permissions::from_mode(mode)).expect("chmod");
}

/// Changes a mode on the mirror's root file system behind the program's back; or takes that back.
fn plant(server: &Server) {
    on_mirror(server, server.shape.filesystems[0].number, |at| {
        chmod(&at.join(PLANTED), mode(&at.join(PLANTED)) ^ 0o111)
    });
}

fn is_planted(server: &Server) -> bool {
    let number = server.shape.filesystems[0].number;
    on_mirror(server, number, |at| mode(&at.join(PLANTED))) != mode(&server.root().join(PLANTED))
}

/// The next run must use its catalog.
fn assert_used(server: &Server, when: &str) {
    plant(server);
    let said = run(server, &[]);
    assert_eq!((said.code, said.stderr.as_str()), (0, ""), "{when}: {said:?}");
    assert!(is_planted(server), "{when}: the mirror was looked at: {said:?}");
    plant(server);
}

/// The next run must compare both sides, without an alarm: nothing was believed that proved false.
fn assert_compared(server: &Server, when: &str) {
    plant(server);
    let said = run(server, &[]);
    assert_eq!(said.code, 0, "{when}: {said:?}");
    assert!(
        said.stderr.lines().all(|line| line.contains("catalog") || line.starts_with("note: ")),
        "{when}: {said:?}"
    );
    assert!(!is_planted(server), "{when}: the catalog was believed: {said:?}");
    assert_eq!(server.differences(), "", "{when}");
}

/// The mirror's file named so is given other content of the same size, and its mtime back.
fn falsify(server: &Server, name: &str) {
    on_mirror(server, server.shape.filesystems[0].number, |at| {
        let file = at.join(name);
        let meta = file.metadata().expect("it is there");
        fs::write(&file, vec![b'?'; meta.len() as usize]).expect("written");
        let time = format!("@{}.{:09}", meta.mtime(), meta.mtime_nsec());
        tool("touch", &["-d", &time, file.to_str().expect("a plain name")]);
    });
}

/// The last record's words: of `history --json`, whatever they stand in.
fn last_record(server: &Server) -> String {
    let said = server.call(&["history", "--json"]);
    assert_eq!(said.code, 0, "{said:?}");
    let records: Value = serde_json::from_str(&said.stdout).expect("JSON");
    let records = records.as_array().or_else(|| records["runs"].as_array()).expect("a list");
    let last = records.iter().max_by_key(|record| record["id"].as_i64()).expect("a run");
    last.to_string()
}

/// A difference that the catalog had hidden was found: it is named on stderr and in the record, and shows in the exit code.
fn is_alarm(server: &Server, said: &Said, name: &str) {
    assert_eq!(said.code, 3, "{said:?}");
    assert!(said.stderr.contains(name), "{said:?}");
    let record = last_record(server);
    assert!(record.contains(name), "{record}");
}

/// A line of the configuration's only [[mirror]]. There may be one for that key already.
fn configure(server: &Server, key: &str, value: &str) {
    let text = fs::read_to_string(server.config()).expect("a configuration");
    let is_other = |line: &&str| !line.starts_with(&format!("{key} = "));
    let mut lines: Vec<String> = text.lines().filter(is_other).map(str::to_owned).collect();
    let at = lines.iter().position(|line| line == "[[mirror]]").expect("a mirror");
    lines.insert(at + 1, format!("{key} = {value}"));
    fs::write(server.config(), lines.join("\n") + "\n").expect("written");
}

#[test]
fn each_file_system_has_a_catalog_and_a_run_without_changes_uses_them() {
    if !root_or_skip("each_file_system_has_a_catalog_and_a_run_without_changes_uses_them") {
        return;
    }
    let server = settled(PLAIN);
    assert_eq!(catalogs(&server).len(), 2, "{:?}", catalogs(&server));
    for file in catalogs(&server) {
        assert_eq!(mode(&file) & 0o077, 0, "{}: it names every file", file.display());
    }
    let of_another = catalogs(&server)[0].with_file_name("of-a-mirror-that-was");
    fs::write(&of_another, "a catalog").expect("written");
    assert_used(&server, "nothing has changed");
    assert!(!of_another.exists(), "what belongs to no mirror goes");
    fs::write(server.root().join("home/alice/3"), "changed").expect("written");
    fs::rename(server.root().join("home/bob"), server.root().join("home/robert")).expect("renamed");
    fs::write(server.root().join("boot/notes"), "new").expect("written");
    assert_used(&server, "something has changed");
    assert_eq!(server.differences(), "");
    let figures = done(&server, &[]);
    for volume in figures["volumes"].as_array().expect("a list") {
        assert!(volume["entries_scanned"].as_u64().is_some_and(|entries| entries > 0), "{figures}");
        assert_eq!(
            (&volume["files_copied"], &volume["metadata_changed"]),
            (&0.into(), &0.into()),
            "{figures}"
        );
    }
}

const WITH_VFAT: Shape = Shape {
    table: "label: gpt\nsize=40MiB, name=\"firmware\"\nname=\"root\"\n",
    filesystems: &[
        Fs { number: 2, mount: "/", mkfs: &["mke2fs", "-q", "-t", "ext4", "-L", "root", "-N", "5000"] },
        Fs { number: 1, mount: "/boot", mkfs: &["mkfs.vfat", "-F", "32"] },
    ],
    primary_mib: 110,
    mirror_mib: 110,
    ..PLAIN
};

#[test]
fn a_vfat_has_no_catalog_and_is_compared_each_time() {
    if !root_or_skip("a_vfat_has_no_catalog_and_is_compared_each_time") {
        return;
    }
    tool("sh", &["-c", "modprobe -q vfat || true"]);
    if !fs::read_to_string("/proc/filesystems").expect("proc is mounted").contains("\tvfat\n") {
        server::skipped("a_vfat_has_no_catalog_and_is_compared_each_time", "this kernel has no vfat");
        return;
    }
    let server = settled(WITH_VFAT);
    assert_eq!(catalogs(&server).len(), 1, "{:?}", catalogs(&server));
    on_mirror(&server, 1, |at| fs::remove_file(at.join("vmlinuz")).expect("removed"));
    assert_used(&server, "the other file system");
    assert!(on_mirror(&server, 1, |at| at.join("vmlinuz").exists()), "the vfat was not looked at");
}

#[test]
fn a_file_system_of_the_mirror_of_which_an_older_image_was_put_back_is_compared() {
    if !root_or_skip("a_file_system_of_the_mirror_of_which_an_older_image_was_put_back_is_compared") {
        return;
    }
    let server = settled(PLAIN);
    for number in [2, 1] {
        let saved = server.dir.path().join(format!("saved-{number}"));
        let (node, saved) = (server.mirror.part(number), saved.to_str().expect("a plain name").to_owned());
        tool("cp", &[&node, &saved]);
        fs::write(server.root().join("home/alice/4"), "newer").expect("written");
        fs::write(server.root().join("boot/vmlinuz"), "newer").expect("written");
        settle(&server);
        assert_eq!(server.differences(), "");
        tool("dd", &[&format!("if={saved}"), &format!("of={node}"), "bs=1M", "conv=fsync", "status=none"]);
        done(&server, &[]);
        assert_eq!(server.differences(), "", "partition {number} was put back");
        settle(&server);
        assert_used(&server, "afterwards");
    }
}

#[test]
fn a_catalog_that_is_damaged_older_or_gone_costs_a_comparison() {
    if !root_or_skip("a_catalog_that_is_damaged_older_or_gone_costs_a_comparison") {
        return;
    }
    let server = settled(PLAIN);
    let directory = server.root().join("var/lib/diskmirror/catalog");
    let text = |path: &Path| path.to_str().expect("a plain name").to_owned();
    let kept = server.dir.path().join("kept");
    tool("cp", &["-a", &text(&directory), &text(&kept)]);

    for file in catalogs(&server) {
        fs::write(file, "no catalog").expect("written");
    }
    assert_compared(&server, "damaged");
    settle(&server);
    assert_used(&server, "after the damage");

    fs::write(server.root().join("home/alice/5"), "newer").expect("written");
    settle(&server);
    fs::remove_dir_all(&directory).expect("removed");
    tool("cp", &["-a", &text(&kept), &text(&directory)]);
    assert_compared(&server, "older");
    settle(&server);
    assert_used(&server, "after the older one");

    fs::remove_dir_all(&directory).expect("removed");
    assert_compared(&server, "gone");
    settle(&server);
    assert_used(&server, "after it was gone");
}

#[test]
fn other_excludes_have_both_sides_compared() {
    if !root_or_skip("other_excludes_have_both_sides_compared") {
        return;
    }
    let server = settled(PLAIN);
    fs::create_dir(server.root().join("srv")).expect("a directory");
    fs::write(server.root().join("srv/cache"), "left out, then not").expect("written");
    configure(&server, "exclude", "[\"/srv/cache\"]");
    plant(&server);
    done(&server, &[]);
    assert!(!is_planted(&server), "the catalog was believed");
    assert!(!on_mirror(&server, 2, |at| at.join("srv/cache").exists()));
    settle(&server);
    assert_used(&server, "left out");
    configure(&server, "exclude", "[]");
    assert_compared(&server, "not left out any more");
    settle(&server);
    assert_used(&server, "not left out");
}

#[test]
fn a_killed_run_leaves_nothing_that_the_next_one_believes_wrongly() {
    if !root_or_skip("a_killed_run_leaves_nothing_that_the_next_one_believes_wrongly") {
        return;
    }
    let server = settled(PLAIN);
    let mut killed = 0;
    for round in 0..12 {
        for n in 0..60 {
            let name = format!("home/alice/{}", (round + n) % 60);
            if n % 3 == 0 {
                fs::write(server.root().join(name), format!("{round} {n}\n").repeat(n * 40))
                    .expect("written");
            }
        }
        let moved = ["home/alice/moved", "home/bob/moved"].map(|name| server.root().join(name));
        fs::create_dir_all(moved[round % 2].join("below")).expect("a directory");
        fs::write(moved[round % 2].join("below/file"), format!("{round}")).expect("written");
        let _ = fs::remove_dir_all(&moved[(round + 1) % 2]);
        let mut child =
            server.command(&["run"]).stdout(Stdio::null()).stderr(Stdio::null()).spawn().expect("it starts");
        std::thread::sleep(Duration::from_millis(40 * (round as u64 + 1)));
        killed += usize::from(child.try_wait().expect("a child").is_none());
        let _ = child.kill();
        child.wait().expect("reaped");
        // A tool that the run had started may hold the disk for a moment.
        let held = || (1..=2).any(|number| !is_free(&server.mirror.part(number)));
        (0..500).take_while(|_| held()).for_each(|_| std::thread::sleep(Duration::from_millis(20)));
        // One that was just being started has its lock.
        let unlocked = (0..500).find_map(|_| {
            let said = run(&server, &["--json"]);
            std::thread::sleep(Duration::from_millis(20 * u64::from(said.code == LOCKED)));
            (said.code != LOCKED).then_some(said)
        });
        assert!(unlocked.as_ref().is_some_and(|said| said.code == 0), "{unlocked:?}");
        assert_eq!(server.differences(), "", "kill {round}");
    }
    assert!(killed >= 3, "only {killed} of 12 kills met a run");
    settle(&server);
    assert_used(&server, "at the end");
}

fn is_free(node: &str) -> bool {
    let flags = rustix::fs::OFlags::RDONLY | rustix::fs::OFlags::EXCL;
    rustix::fs::open(node, flags, rustix::fs::Mode::empty()).is_ok()
}

#[test]
fn a_full_run_finds_what_the_catalog_hid_mends_it_and_raises_an_alarm() {
    if !root_or_skip("a_full_run_finds_what_the_catalog_hid_mends_it_and_raises_an_alarm") {
        return;
    }
    let server = settled(PLAIN);
    plant(&server);
    falsify(&server, "home/alice/9");
    on_mirror(&server, 2, |at| fs::remove_file(at.join("home/alice/11")).expect("removed"));
    done(&server, &[]);
    assert!(is_planted(&server), "the catalog was not used");
    assert!(server.differences().contains("home/alice/9"), "{}", server.differences());
    let said = run(&server, &["--full"]);
    for name in [PLANTED, "home/alice/9", "home/alice/11"] {
        is_alarm(&server, &said, name);
    }
    assert_eq!(server.differences(), "", "what was found was not mended");
    let said = run(&server, &["--full"]);
    assert_eq!((said.code, said.stderr.as_str()), (0, ""), "it is mended: {said:?}");
    assert_used(&server, "afterwards");
}

#[test]
fn a_full_run_without_hidden_differences_is_an_ordinary_one() {
    if !root_or_skip("a_full_run_without_hidden_differences_is_an_ordinary_one") {
        return;
    }
    let server = settled(PLAIN);
    fs::write(server.root().join("home/alice/6"), "changed").expect("written");
    fs::rename(server.root().join("home/bob"), server.root().join("home/robert")).expect("renamed");
    chmod(&server.root().join("home/alice/8"), 0o600);
    fs::hard_link(server.root().join("home/alice/10"), server.root().join("home/alice/link"))
        .expect("a link");
    fs::remove_file(server.root().join("home/alice/12")).expect("removed");
    let said = run(&server, &["--full"]);
    assert_eq!((said.code, said.stderr.as_str()), (0, ""), "{said:?}");
    assert_eq!(server.differences(), "");
    assert_used(&server, "afterwards");
}

#[test]
fn after_random_changes_and_runs_a_full_run_finds_nothing_that_was_hidden() {
    if !root_or_skip("after_random_changes_and_runs_a_full_run_finds_nothing_that_was_hidden") {
        return;
    }
    let server = settled(Shape { primary_mib: 128, mirror_mib: 128, ..PLAIN });
    for seed in 0..8 {
        let at = server.root().join(format!("home/random-{seed}"));
        fs::create_dir(&at).expect("a directory");
        let mut generator = Generator::new(&at, 7_000_000 + seed, true);
        generator.grow();
        let mut changes = Vec::new();
        for _ in 0..2 {
            done(&server, &[]);
            changes.push(generator.change());
        }
        done(&server, &[]);
        changes.push(generator.change());
        let said = run(&server, &["--full"]);
        let when = format!("seed {seed}: {changes:#?}");
        assert_eq!((said.code, said.stderr.as_str()), (0, ""), "{when}: {said:?}");
        assert_eq!(server.differences(), "", "{when}");
    }
}

#[test]
fn both_sides_are_compared_as_often_as_the_configuration_says() {
    if !root_or_skip("both_sides_are_compared_as_often_as_the_configuration_says") {
        return;
    }
    let server = settled(PLAIN);
    configure(&server, "full_every", "\"0\"");
    for round in ["first", "second"] {
        plant(&server);
        let said = run(&server, &[]);
        assert!(!is_planted(&server), "{round}: {said:?}");
        is_alarm(&server, &said, PLANTED);
        settle(&server);
    }
    configure(&server, "full_every", "\"1w\"");
    assert_used(&server, "once in a week");
    configure(&server, "full_every", "\"daily\"");
    let said = run(&server, &[]);
    assert_eq!(said.code, 4, "{said:?}");
    assert!(said.stderr.contains("full_every"), "{said:?}");
}

#[test]
fn a_day_after_the_last_comparison_both_sides_are_compared() {
    let test = "a_day_after_the_last_comparison_both_sides_are_compared";
    if !root_or_skip(test) {
        return;
    }
    if Command::new("faketime").arg("--version").output().is_err() {
        server::skipped(test, "faketime is not installed");
        return;
    }
    let server = settled(PLAIN);
    let run_at = |shift: &str| {
        let run = server.command(&["run"]);
        let mut command = Command::new("faketime");
        command.args(["-f", shift]).arg(run.get_program()).args(run.get_args()).stdin(Stdio::null());
        Said::of(command.output().expect("it starts"))
    };
    plant(&server);
    let said = run_at("+23h");
    assert_eq!(said.code, 0, "{said:?}");
    assert!(is_planted(&server), "within the day: {said:?}");
    let said = run_at("+25h");
    assert!(!is_planted(&server), "a day later: {said:?}");
    is_alarm(&server, &said, PLANTED);
    assert_eq!(run_at("+26h").code, 0);
    plant(&server);
    let said = run_at("+48h");
    assert!(is_planted(&server), "the next day has not passed: {said:?}");
    plant(&server);
    // The clock is what it was: who relied on the other one compares.
    assert_compared(&server, "the clock was set back");
    assert_eq!(server.differences(), "");
}
