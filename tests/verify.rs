//! `verify` on loop disks: bits are flipped below the file systems, on either side, and each must be found, told apart, and
//! have the right consequence. Needs root; says so where it is skipped.

// It picks for others.
#[allow(dead_code)]
#[path = "common/rng.rs"]
mod rng;
#[path = "common/server.rs"]
mod server;

use rng::Rng;
use rustix::fs::{Advice, fadvise};
use serde_json::Value;
use server::{Disk, PLAIN, Said, Server, Shape, put, root_or_skip, tool};
use std::collections::BTreeSet;
use std::fs::{self, File};
use std::os::fd::AsFd;
use std::os::unix::fs::{FileExt, MetadataExt, PermissionsExt};
use std::path::Path;
use std::sync::atomic::{AtomicBool, Ordering};
use std::time::Duration;

/// More than two ticks of any kernel's clock: what was changed before it is not doubtful after it.
const TICKS: Duration = Duration::from_millis(60);
/// The root file system's partition.
const ROOT: u32 = 2;

const ROOMY: Shape = Shape { primary_mib: 96, mirror_mib: 96, ..PLAIN };

/// A server with `files` files of random content in /srv, whose mirror is equal and whose catalog proves all of it.
fn settled(shape: Shape, files: usize) -> Server {
    let server = Server::new(shape);
    let (srv, mut rng) = (server.root().join("srv"), Rng::new(7));
    fs::create_dir(&srv).expect("a directory");
    for n in 0..files {
        let most = if n % 10 == 0 { 900_000 } else { 20_000 };
        let length = 1 + rng.below(most) as usize;
        fs::write(srv.join(format!("{n}")), rng.bytes(length)).expect("written");
    }
    std::thread::sleep(TICKS);
    server.init_done(&[]);
    done(&server, &[]);
    server
}

fn done(server: &Server, more: &[&str]) -> Value {
    let said = server.call(&[&["run", "--json"], more].concat());
    assert_eq!(said.code, 0, "{said:?}");
    serde_json::from_str(&said.stdout).expect("one JSON object")
}

/// A verification with this exit code; what it found.
fn verified(server: &Server, more: &[&str], code: i32) -> Value {
    let said = server.call(&[&["verify", "--json"], more].concat());
    assert_eq!(said.code, code, "{said:?}");
    serde_json::from_str(&said.stdout).expect("one JSON object")
}

/// The paths of one side's differences.
fn found(verified: &Value, side: &str) -> BTreeSet<String> {
    let all = verified["differences"].as_array().expect("a list");
    let of_side = all.iter().filter(|one| one["side"] == side);
    of_side.map(|one| one["path"].as_str().expect("a path").to_owned()).collect()
}

fn sum(verified: &Value, field: &str) -> u64 {
    let volumes = verified["volumes"].as_array().expect("a list");
    volumes.iter().map(|volume| volume[field].as_u64().expect("a number")).sum()
}

/// Where the byte at `offset` of a file lies on its disk, whose file system on partition `number` holds it.
fn place(disk: &Disk, number: u32, file: &Path, offset: u64) -> u64 {
    File::open(file).and_then(|file| file.sync_all()).expect("on its disk");
    let told = tool("filefrag", &["-v", "-b512", file.to_str().expect("plain")]);
    let start: u64 = tool("partx", &["-g", "-o", "START", "--nr", &number.to_string(), &disk.node])
        .parse()
        .expect("a number of sectors");
    for line in told.lines() {
        let numbers: Vec<u64> = line
            .split(|c: char| !c.is_ascii_digit())
            .filter(|word| !word.is_empty())
            .filter_map(|word| word.parse().ok())
            .collect();
        let is_extent = line.trim_start().starts_with(|c: char| c.is_ascii_digit()) && line.contains("..");
        if is_extent && numbers.len() > 4 && (numbers[1] * 512..(numbers[2] + 1) * 512).contains(&offset) {
            return (start + numbers[3]) * 512 + offset - numbers[1] * 512;
        }
    }
    panic!("{} has no byte {offset}:\n{told}", file.display());
}

/// Flips one bit of a disk, below its file systems.
fn flip(disk: &Disk, at: u64, bit: u64) {
    let mut byte = [0];
    let node = File::open(&disk.node).expect("the disk");
    node.read_exact_at(&mut byte, at).expect("a byte");
    put(&disk.node, at, &[byte[0] ^ 1 << bit]);
    fadvise(&node, 0, None, Advice::DontNeed).expect("dropped");
}

/// Has a file of the primary read from its disk the next time.
fn forget(file: &Path) {
    let file = File::open(file).expect("it is there");
    file.sync_all().expect("on its disk");
    fadvise(&file, 0, None, Advice::DontNeed).expect("dropped");
}

/// Mounts the mirror's root file system, not to be written, for a look.
fn on_mirror<T>(server: &Server, how: &str, look: impl FnOnce(&Path) -> T) -> T {
    let at = server.dir.path().join("behind");
    fs::create_dir_all(&at).expect("a mount point");
    let text = at.to_str().expect("a plain name");
    tool("mount", &["-o", how, &server.mirror.part(ROOT), text]);
    let looked = look(&at);
    tool("umount", &[text]);
    looked
}

/// Flips one bit of a file of the primary's disk; called again it flips it back.
fn flip_primary(server: &Server, name: &str, offset: u64) {
    let file = server.root().join(name);
    flip(&server.primary, place(&server.primary, ROOT, &file, offset), offset % 8);
    forget(&file);
}

/// The same of the mirror's.
fn flip_mirror(server: &Server, name: &str, offset: u64) {
    let at = on_mirror(server, "ro", |mirror| place(&server.mirror, ROOT, &mirror.join(name), offset));
    flip(&server.mirror, at, offset % 8);
}

fn length(server: &Server, name: &str) -> u64 {
    server.root().join(name).metadata().expect("it is there").len()
}

#[test]
fn every_flipped_bit_is_found_and_told_apart_and_the_mirrors_are_mended() {
    if !root_or_skip("every_flipped_bit_is_found_and_told_apart_and_the_mirrors_are_mended") {
        return;
    }
    const FILES: usize = 120;
    let (server, mut rng) = (settled(ROOMY, FILES), Rng::new(1));
    for round in 0..4 {
        let mut numbers: Vec<usize> = (0..FILES).collect();
        (0..FILES).for_each(|at| numbers.swap(at, rng.below(FILES as u64) as usize));
        let (ours, theirs) = (&numbers[..25], &numbers[25..50]);
        let mut flips = |numbers: &[usize]| -> Vec<(String, u64)> {
            let one = |n: &usize| {
                let name = format!("srv/{n}");
                let offset = rng.below(length(&server, &name));
                (name, offset)
            };
            numbers.iter().map(one).collect()
        };
        let (ours, theirs) = (flips(ours), flips(theirs));
        ours.iter().for_each(|(name, at)| flip_primary(&server, name, *at));
        theirs.iter().for_each(|(name, at)| flip_mirror(&server, name, *at));
        let names = |flips: &[(String, u64)]| flips.iter().map(|(name, _)| name.clone()).collect();
        let before = server.mirror.hash();
        let all = verified(&server, &[], 5);
        assert_eq!(server.mirror.hash(), before, "the mirror was written to");
        assert_eq!(found(&all, "primary"), names(&ours), "round {round}");
        assert_eq!(found(&all, "mirror"), names(&theirs), "round {round}");
        assert_eq!(sum(&all, "unknown"), 0, "round {round}: {all}");
        // The primary is well again, as after a bad cable: that is found out, and nothing is held any more.
        ours.iter().for_each(|(name, at)| flip_primary(&server, name, *at));
        assert_eq!(found(&verified(&server, &[], 5), "mirror"), names(&theirs), "round {round}");
        let run = done(&server, &[]);
        assert_eq!(run["volumes"][0]["repaired"], theirs.len(), "round {round}: {run}");
        assert_eq!(server.differences(), "", "round {round}");
        let clean = verified(&server, &[], 0);
        assert_eq!(sum(&clean, "changed_since"), 0, "round {round}: {clean}");
        assert!(sum(&clean, "files") > FILES as u64, "{clean}");
    }
}

/// What the mirror has of a file.
fn mirrored(server: &Server, name: &str) -> Vec<u8> {
    on_mirror(server, "ro", |mirror| fs::read(mirror.join(name)).expect("it is there"))
}

fn is_held(server: &Server, said: &Said, name: &str, good: &[u8], when: &str) {
    assert_eq!(said.code, 3, "{when}: {said:?}");
    for word in [name, "PRIMARY", "--accept"] {
        assert!(said.stderr.contains(word), "{when}: {word}: {said:?}");
    }
    assert!(mirrored(server, name) == good, "{when}: the good copy is gone");
}

#[test]
fn a_damaged_file_of_the_primary_reaches_the_mirror_in_no_way_until_it_is_accepted() {
    if !root_or_skip("a_damaged_file_of_the_primary_reaches_the_mirror_in_no_way_until_it_is_accepted") {
        return;
    }
    let server = settled(PLAIN, 20);
    let names = ["srv/3", "srv/4", "srv/5", "srv/6"];
    let good: Vec<Vec<u8>> =
        names.iter().map(|name| fs::read(server.root().join(name)).expect("read")).collect();
    names.iter().for_each(|name| flip_primary(&server, name, 0));
    let all = verified(&server, &[], 5);
    assert_eq!(found(&all, "primary"), names.map(str::to_owned).into(), "{all}");
    let state = server.root().join("var/lib/diskmirror/damage/mirror.json");
    assert_eq!(state.metadata().expect("it is kept").mode() & 0o777, 0o600);
    let held = |said: &Said, when: &str| is_held(&server, said, names[0], &good[0], when);
    held(&server.call(&["run"]), "an ordinary run");
    held(&server.call(&["run", "--full"]), "everything is compared");
    let status = server.call(&["status"]);
    assert!(status.stdout.contains("srv/3"), "{status:?}");

    // Its metadata are touched: it is not proven any more.
    let file = server.root().join(names[0]);
    fs::set_permissions(&file, fs::Permissions::from_mode(0o640)).expect("chmod");
    forget(&file);
    held(&server.call(&["run"]), "its mode was changed");
    let time = file.metadata().expect("it is there").modified().expect("a time") + Duration::from_secs(1);
    File::options().write(true).open(&file).and_then(|file| file.set_modified(time)).expect("touched");
    forget(&file);
    held(&server.call(&["run"]), "its time was changed");

    // No catalog, and then a damaged one, which has contents compared.
    let catalogs = server.root().join("var/lib/diskmirror/catalog/mirror");
    fs::remove_dir_all(&catalogs).expect("removed");
    held(&server.call(&["run"]), "without a catalog");
    for file in fs::read_dir(&catalogs).expect("a directory") {
        fs::write(file.expect("an entry").path(), "no catalog").expect("written");
    }
    held(&server.call(&["run"]), "with a damaged catalog");
    names[1..].iter().zip(&good[1..]).for_each(|(name, good)| {
        assert!(mirrored(&server, name) == *good, "{name}: the good copy is gone");
    });

    // One is accepted, one is written anew, one is deleted, one is restored from the mirror.
    let one = all["differences"].as_array().expect("a list").iter().find(|one| one["path"] == names[0]);
    let digest = one.expect("it is named")["digest"].as_str().expect("a digest").to_owned();
    fs::write(server.root().join(names[1]), "written anew").expect("written");
    fs::remove_file(server.root().join(names[2])).expect("removed");
    fs::write(server.root().join(names[3]), &good[3]).expect("written");
    let said = server.call(&["run", "--accept", &digest]);
    assert_eq!(said.code, 0, "{said:?}");
    assert_eq!(server.differences(), "");
    assert_eq!(done(&server, &[])["volumes"][0]["errors"], 0);
    std::thread::sleep(TICKS);
    done(&server, &[]);
    assert_eq!(sum(&verified(&server, &[], 0), "primary_damaged"), 0);
}

#[test]
fn a_damaged_file_that_is_renamed_keeps_its_good_copy_under_the_new_name() {
    if !root_or_skip("a_damaged_file_that_is_renamed_keeps_its_good_copy_under_the_new_name") {
        return;
    }
    let server = settled(PLAIN, 12);
    let good = fs::read(server.root().join("srv/7")).expect("read");
    flip_primary(&server, "srv/7", 5);
    verified(&server, &[], 5);
    let rename = |from: &str, to: &str| {
        let [from, to] = [from, to].map(|name| server.root().join(name));
        fs::rename(from, to).expect("renamed");
    };
    rename("srv/7", "srv/seven");
    is_held(&server, &server.call(&["run"]), "srv/seven", &good, "it was renamed");
    is_held(&server, &server.call(&["run"]), "srv/seven", &good, "the next run");
    // With its directory, and touched as well.
    rename("srv", "service");
    let file = File::options().write(true).open(server.root().join("service/seven")).expect("opened");
    file.set_modified(std::time::SystemTime::now()).expect("touched");
    is_held(&server, &server.call(&["run"]), "service/seven", &good, "its directory was renamed");
    fs::write(server.root().join("service/seven"), &good).expect("written");
    done(&server, &[]);
    assert_eq!(server.differences(), "");
}

#[test]
fn a_full_run_that_finds_the_primary_damaged_keeps_the_mirrors_copy() {
    if !root_or_skip("a_full_run_that_finds_the_primary_damaged_keeps_the_mirrors_copy") {
        return;
    }
    let server = settled(PLAIN, 12);
    let good = fs::read(server.root().join("srv/7")).expect("read");
    flip_primary(&server, "srv/7", 5);
    is_held(&server, &server.call(&["run", "--full"]), "srv/7", &good, "found by the run");
    is_held(&server, &server.call(&["run"]), "srv/7", &good, "the next run");
    // The mirror's, found by a run, is mended there and then.
    flip_primary(&server, "srv/7", 5);
    verified(&server, &[], 0);
    done(&server, &[]);
    flip_mirror(&server, "srv/8", 3);
    let said = server.call(&["run", "--full"]);
    assert!(said.code == 3 && said.stderr.contains("srv/8"), "{said:?}");
    assert_eq!(server.differences(), "");
}

#[test]
fn what_has_changed_since_is_counted_and_what_somebody_did_to_the_mirror_is_named() {
    if !root_or_skip("what_has_changed_since_is_counted_and_what_somebody_did_to_the_mirror_is_named") {
        return;
    }
    let server = settled(PLAIN, 12);
    let root = server.root();
    fs::write(root.join("srv/1"), "changed").expect("written");
    fs::write(root.join("srv/new"), "new").expect("written");
    fs::remove_file(root.join("srv/2")).expect("removed");
    fs::rename(root.join("home/bob"), root.join("home/robert")).expect("renamed");
    let all = verified(&server, &[], 0);
    assert!(sum(&all, "changed_since") >= 4, "{all}");
    on_mirror(&server, "rw", |mirror| {
        fs::set_permissions(mirror.join("srv/5"), fs::Permissions::from_mode(0o777)).expect("chmod");
        fs::set_permissions(mirror.join("home/alice"), fs::Permissions::from_mode(0o700)).expect("chmod");
        fs::remove_file(mirror.join("srv/6")).expect("removed");
        fs::write(mirror.join("srv/extra"), "extra").expect("written");
        fs::remove_file(mirror.join("srv/7")).expect("removed");
        fs::create_dir(mirror.join("srv/7")).expect("made");
        // What shall hold something else than the primary's file is held against that.
        let fstab = fs::read_to_string(mirror.join("etc/fstab")).expect("read");
        let times = mirror.join("etc/fstab").metadata().expect("there").modified().expect("a time");
        fs::write(mirror.join("etc/fstab"), fstab.replace("keep me", "KEEP ME")).expect("written");
        let file = File::options().write(true).open(mirror.join("etc/fstab")).expect("there");
        file.set_modified(times).expect("touched");
    });
    let all = verified(&server, &[], 5);
    let names = ["srv/5", "home/alice", "srv/6", "srv/extra", "srv/7", "etc/fstab"].map(str::to_owned);
    assert_eq!(found(&all, "mirror"), names.into(), "{all}");
    assert_eq!(all["differences"].as_array().map(Vec::len), Some(6), "{all}");
    let said = server.call(&["verify"]);
    assert_eq!(said.code, 5, "{said:?}");
    assert!(said.stdout.contains("/srv/5: mirror damaged: other mode\n"), "{said:?}");
    assert!(said.stdout.contains("diskmirror run\n"), "{said:?}");
    let run = done(&server, &[]);
    assert_eq!(run["volumes"][0]["repaired"], 6, "{run}");
    assert_eq!(server.differences(), "");
    std::thread::sleep(TICKS);
    done(&server, &[]);
    assert_eq!(sum(&verified(&server, &[], 0), "changed_since"), 0);
}

#[test]
fn names_of_one_file_are_all_mended() {
    if !root_or_skip("names_of_one_file_are_all_mended") {
        return;
    }
    let server = settled(PLAIN, 2);
    for name in ["srv/a", "home/bob/b", "etc/c"] {
        fs::hard_link(server.root().join("srv/1"), server.root().join(name)).expect("a link");
    }
    done(&server, &[]);
    // A new name has no hash of its own until its content has been compared.
    fs::set_permissions(server.root().join("srv/1"), fs::Permissions::from_mode(0o640)).expect("chmod");
    std::thread::sleep(TICKS);
    done(&server, &[]);
    flip_mirror(&server, "etc/c", 0);
    assert_eq!(sum(&verified(&server, &[], 5), "mirror_damaged"), 1);
    done(&server, &[]);
    assert_eq!(server.differences(), "");
    on_mirror(&server, "rw", |mirror| {
        fs::copy(mirror.join("srv/a"), mirror.join("srv/copy")).expect("copied");
        let times = mirror.join("srv/a").metadata().expect("there").modified().expect("a time");
        let file = File::options().write(true).open(mirror.join("srv/copy")).expect("there");
        file.set_modified(times).expect("touched");
        fs::rename(mirror.join("srv/copy"), mirror.join("srv/a")).expect("renamed");
    });
    let all = verified(&server, &[], 5);
    assert!(sum(&all, "mirror_damaged") >= 1, "{all}");
    done(&server, &[]);
    assert_eq!(server.differences(), "");
    verified(&server, &[], 0);
}

#[test]
fn files_that_cannot_be_read_are_named_with_their_side() {
    if !root_or_skip("files_that_cannot_be_read_are_named_with_their_side") {
        return;
    }
    let server = Server::new(PLAIN);
    fs::create_dir(server.root().join("srv")).expect("a directory");
    // Many extents: the block that lists them can be damaged.
    let scattered = |name: &str| {
        let file = File::create(server.root().join("srv").join(name)).expect("made");
        (0..40).for_each(|n| file.write_all_at(&[n + 1; 4096], u64::from(n) * 16_384).expect("written"));
        file.sync_all().expect("on its disk");
    };
    ["ours", "theirs", "sound"].into_iter().for_each(scattered);
    std::thread::sleep(TICKS);
    server.init_done(&[]);
    done(&server, &[]);
    let spoil = |disk: &Disk, name: &str| {
        let told = tool("debugfs", &["-R", &format!("stat /srv/{name}"), &disk.part(ROOT)]);
        let at = told.split("(ETB0):").nth(1).expect("a block of extents");
        let block: u64 =
            at.split(|c: char| !c.is_ascii_digit()).next().and_then(|n| n.parse().ok()).expect("a number");
        let size: u64 = tool("blkid", &["-p", "-o", "value", "-s", "FSBLOCKSIZE", &disk.part(ROOT)])
            .parse()
            .unwrap_or(1024);
        put(&disk.part(ROOT), block * size, &[0xff; 64]);
    };
    spoil(&server.mirror, "theirs");
    spoil(&server.primary, "ours");
    fs::write("/proc/sys/vm/drop_caches", "3").expect("dropped");
    let all = verified(&server, &[], 5);
    assert_eq!(found(&all, "primary"), ["srv/ours".to_owned()].into(), "{all}");
    assert_eq!(found(&all, "mirror"), ["srv/theirs".to_owned()].into(), "{all}");
    assert!(sum(&all, "files") > 60, "the rest was not read: {all}");
}

#[test]
fn shares_rotate_until_every_file_was_read() {
    if !root_or_skip("shares_rotate_until_every_file_was_read") {
        return;
    }
    let server = settled(ROOMY, 60);
    let (whole, mut read) = (sum(&verified(&server, &["--full"], 0), "files"), Vec::new());
    (0..60).for_each(|n| flip_mirror(&server, &format!("srv/{n}"), 0));
    let mut all = BTreeSet::new();
    for _ in 0..4 {
        let part = server.call(&["verify", "--json", "--sample", "25%"]);
        let part: Value = serde_json::from_str(&part.stdout).expect("one JSON object");
        assert_eq!(part["sample"], "25%");
        let names = found(&part, "mirror");
        assert!(names.iter().all(|name| all.insert(name.clone())), "read twice: {names:?}");
        read.push(sum(&part, "files"));
    }
    assert_eq!(all.len(), 60);
    assert_eq!(read.iter().sum::<u64>(), whole, "{read:?}");
    assert!(read.iter().all(|read| *read > whole / 12), "{read:?}");
    assert_eq!(server.call(&["verify", "--sample", "0.00001%"]).code, 2);
}

#[test]
fn runs_that_verify_a_share_each_find_all_damage_in_turn() {
    if !root_or_skip("runs_that_verify_a_share_each_find_all_damage_in_turn") {
        return;
    }
    let server = settled(PLAIN, 16);
    let text = fs::read_to_string(server.config()).expect("a configuration");
    assert!(text.contains("verify_share = \"0%\""), "{text}");
    fs::write(server.config(), text.replace("verify_share = \"0%\"", "verify_share = \"25%\""))
        .expect("written");
    std::thread::sleep(TICKS);
    assert_eq!(done(&server, &[])["verified"]["mirror_damaged"], 0);
    let (good, names) =
        (fs::read(server.root().join("srv/15")).expect("read"), |n: usize| format!("srv/{n}"));
    (0..8).for_each(|n| flip_mirror(&server, &names(n), 0));
    flip_primary(&server, "srv/15", 0);
    let (mut theirs, mut ours) = (0, 0);
    for _ in 0..4 {
        let said = server.call(&["run", "--json"]);
        let run: Value = serde_json::from_str(&said.stdout).expect("one JSON object");
        let found = &run["verified"];
        let counted = |field: &str| found[field].as_u64().expect("a number");
        let (mirror, primary) = (counted("mirror_damaged"), counted("primary_damaged"));
        (theirs, ours) = (theirs + mirror, ours + primary);
        let code = if mirror + primary > 0 {
            5
        } else if ours > 0 {
            3
        } else {
            0
        };
        assert_eq!(said.code, code, "{said:?}");
    }
    assert_eq!((theirs, ours), (8, 1));
    assert!(mirrored(&server, "srv/15") == good, "the good copy is gone");
    flip_primary(&server, "srv/15", 0);
    verified(&server, &[], if server.differences().is_empty() { 0 } else { 5 });
    server.call(&["run"]);
    assert_eq!(server.differences(), "");
}

#[test]
fn under_a_live_load_there_is_no_false_alarm() {
    if !root_or_skip("under_a_live_load_there_is_no_false_alarm") {
        return;
    }
    let server = settled(PLAIN, 40);
    let at = server.root().join("srv");
    let ended = AtomicBool::new(false);
    let load = || {
        let mut rng = Rng::new(3);
        while !ended.load(Ordering::Relaxed) {
            let name = |rng: &mut Rng| at.join(format!("{}", rng.below(60)));
            let (one, other) = (name(&mut rng), name(&mut rng));
            // Files come and go below it: what is not there any more is no fault.
            let _ = match rng.below(6) {
                0 => fs::write(&one, rng.bytes(3000)),
                1 => File::options()
                    .append(true)
                    .open(&one)
                    .and_then(|file| file.write_all_at(&rng.bytes(500), 10)),
                2 => fs::rename(&one, &other),
                3 => fs::remove_file(&one),
                4 => store_through_a_mapping(&one, rng.next()),
                _ => fs::set_permissions(&one, fs::Permissions::from_mode(0o600 + rng.below(64) as u32)),
            };
            std::thread::sleep(Duration::from_micros(rng.below(400)));
        }
    };
    std::thread::scope(|scope| {
        scope.spawn(load);
        for round in 0..50 {
            let said = server.call(&["verify", "--json"]);
            if said.code != 0 || round == 49 {
                ended.store(true, Ordering::Relaxed);
            }
            assert_eq!(said.code, 0, "round {round}: {said:?}");
            if round % 10 == 5 {
                let run = server.call(&["run"]);
                assert!(run.code == 0 || run.code == 3, "{run:?}");
            }
        }
    });
}

/// Stores a byte through a mapping, of which no system call tells the kernel.
fn store_through_a_mapping(file: &Path, number: u64) -> std::io::Result<()> {
    let file = File::options().read(true).write(true).open(file)?;
    if file.metadata()?.len() > 0 {
        server::raw::Mapping::new(file.as_fd())?.store(0, number as u8);
    }
    Ok(())
}
