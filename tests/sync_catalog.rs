//! `sync --catalog`: when the catalog is used, when it is not, what it costs and what it saves. What must be seen in
//! spite of it is in catalog_changes.rs.

mod common;

use common::assert_equal;
use common::cataloged::{Cataloged, TICKS, assert_note, flip, truncate};
use common::comparer::{Snapshot, touched};
use common::generate::{self, set_mtime};
use common::killed;
use common::loopfs::{Kind, LoopFs, tool};
use common::sync_command::{self as sync, FIGURES};
use rustix::process::{Pid, Signal};
use std::fs::{self, File, Permissions};
use std::os::unix::fs::{FileExt, MetadataExt, PermissionsExt, lchown};
use std::os::unix::process::CommandExt;
use std::path::Path;
use std::process::{Command, Stdio};
use std::time::Instant;

/// A settled pair with some files in some directories.
fn settled() -> Cataloged {
    let pair = Cataloged::new();
    fill(&pair);
    pair.settled()
}

fn fill(pair: &Cataloged) {
    for n in 0..24 {
        pair.write(&format!("dir-{}/sub/file-{n}", n % 4), format!("{n}").repeat(50 + n));
    }
    // What changes is added to a catalog, instead of being written with the rest, only if it is small beside it.
    for n in 0..300 {
        pair.write(&format!("many-{}/file-with-a-name-of-some-length-{n}", n % 10), format!("{n}"));
    }
    pair.write("moving/inside/file", "it moves with its directory");
    fs::hard_link(pair.at("dir-1/sub/file-1"), pair.at("dir-2/linked")).unwrap();
    fs::hard_link(pair.at("moving/inside/file"), pair.at("dir-3/linked")).unwrap();
}

/// A small change of each kind: a file, a new one, a directory that is renamed, now and then one that goes.
fn change(pair: &Cataloged, round: usize) {
    edit(pair, round);
    let [one, other] = ["moving", "moved"].map(|name| pair.at(name));
    if one.exists() { fs::rename(one, other).unwrap() } else { fs::rename(other, one).unwrap() }
}

/// The same without the rename, which only a catalog tells from a deletion and something new.
fn edit(pair: &Cataloged, round: usize) {
    pair.write(&format!("dir-{}/sub/file-{}", round % 4, round % 24), format!("round {round}"));
    pair.write(&format!("new-{}/file", round % 3), format!("round {round}"));
    if round % 3 == 2 {
        fs::remove_dir_all(pair.at("new-2")).unwrap();
    }
}

fn stamp(path: &Path) -> (u64, i64, i64, i64, i64) {
    let meta = path.symlink_metadata().unwrap();
    (meta.size(), meta.mtime(), meta.mtime_nsec(), meta.ctime(), meta.ctime_nsec())
}

// -- used

#[test]
fn a_catalog_is_made_by_the_first_sync_and_used_by_the_next_ones() {
    let mut pairs = vec![Cataloged::new()];
    if common::root_or_skip("a catalog of file systems of their own") {
        pairs.push(Cataloged::apart(Kind::Ext4, &[]));
        pairs.push(Cataloged::apart(Kind::Xfs, &[]));
    }
    for pair in pairs {
        fill(&pair);
        assert_note(&pair.sync(), false, "the first use");
        assert!(pair.catalog.is_file());
        pair.assert_equal("the first sync");
        let pair = pair.settled();
        for round in 0..6 {
            change(&pair, round);
            pair.assert_used(&format!("round {round}"));
            pair.assert_equal(&format!("round {round}"));
        }
        pair.sync().expect_no_change("at the end");
    }
}

#[test]
fn a_catalog_is_used_after_both_file_systems_were_mounted_anew() {
    if !common::root_or_skip("file systems that are mounted anew") {
        return;
    }
    for kind in [Kind::Ext4, Kind::Xfs] {
        let mut pair = Cataloged::apart(kind, &[]);
        fill(&pair);
        let mut pair = {
            pair.sync();
            pair.settle();
            pair.sources.as_mut().unwrap().unmount();
            pair.mirrors.as_mut().unwrap().unmount();
            pair
        };
        // The other one first: each lies on another loop device than before.
        pair.mirrors.as_mut().unwrap().mount();
        pair.sources.as_mut().unwrap().mount();
        pair.assert_used(kind.name());
    }
}

#[test]
fn without_the_option_both_sides_are_compared_and_no_catalog_is_made() {
    let pair = settled();
    pair.plant();
    sync::sync(&pair.source, &pair.copy);
    assert!(!pair.is_planted(), "the copy was not looked at");
    let before = [stamp(&pair.catalog), stamp(&pair.copy)];
    sync::sync(&pair.source, &pair.copy).expect_no_change("without the option");
    assert_eq!([stamp(&pair.catalog), stamp(&pair.copy)], before);
    // What was mirrored without it, and what changes afterwards, is mirrored with it.
    change(&pair, 0);
    sync::sync(&pair.source, &pair.copy);
    change(&pair, 1);
    pair.sync_and_judge("a sync without a catalog in between");
}

#[test]
fn the_figures_are_those_of_a_sync_without_a_catalog() {
    let pair = settled();
    let other = pair.source.with_file_name("other-copy");
    tool(Command::new("cp").arg("-a").arg(&pair.copy).arg(&other));
    sync::sync(&pair.source, &other);
    for round in 0..6 {
        edit(&pair, round);
        fs::hard_link(pair.at("dir-0/sub/file-0"), pair.at(&format!("link-{round}"))).unwrap();
        fs::set_permissions(pair.at("dir-3/sub"), Permissions::from_mode(0o700 + round as u32)).unwrap();
        let with = pair.assert_used("the figures");
        let without = sync::sync(&pair.source, &other);
        for field in FIGURES {
            assert_eq!(
                with.count(field),
                without.count(field),
                "round {round}, {field}: {with:#?} {without:#?}"
            );
        }
    }
}

#[test]
fn a_dry_run_uses_the_catalog_lists_the_same_and_writes_nothing() {
    let pair = settled();
    let bytes = || [&pair.catalog, &pair.delta()].map(|file| fs::read(file).ok());
    let listed = |arguments: &[&str]| {
        let mut command = Command::new(sync::program());
        command.args(["sync", "--dry-run"]).args(arguments).arg("--").arg(&pair.source).arg(&pair.copy);
        let output = command.output().unwrap();
        assert!(output.status.success(), "{output:?}");
        let mut lines: Vec<String> =
            String::from_utf8(output.stdout).unwrap().lines().map(str::to_owned).collect();
        lines.sort();
        lines
    };
    edit(&pair, 3);
    let before = (bytes(), Snapshot::of(&pair.copy));
    let with = listed(&["--catalog", pair.catalog.to_str().unwrap()]);
    assert_eq!(with, listed(&[]), "another list");
    assert!(!with.is_empty());
    let figures = pair.run(&["--dry-run"]).expect_done();
    assert_eq!(bytes(), before.0, "the catalog was written");
    assert!(touched(&before.1, &Snapshot::of(&pair.copy)).is_empty(), "the copy was written");
    pair.plant();
    assert_eq!(listed(&["--catalog", pair.catalog.to_str().unwrap()]), with, "the copy was looked at");
    pair.plant();
    let done = pair.assert_used("after the dry run");
    for field in FIGURES {
        assert_eq!(figures.count(field), done.count(field), "{field}: {figures:#?} {done:#?}");
    }
    pair.assert_equal("after the dry run");
    fs::remove_file(&pair.catalog).unwrap();
    let _ = fs::remove_file(pair.delta());
    pair.run(&["--dry-run"]).expect_done();
    assert_eq!(bytes(), [None, None], "a dry run made a catalog");
}

#[test]
fn an_unchanged_tree_costs_one_look_at_each_entry_of_the_source_and_none_at_the_mirror() {
    if Command::new("strace").arg("--version").output().is_err() {
        common::skipped("the number of system calls of a sync", "strace is not installed");
        return;
    }
    const DIRECTORIES: u64 = 50;
    const FILES: u64 = 5000;
    let pair = Cataloged::new();
    for n in 0..FILES {
        pair.write(&format!("dir-{}/file-{n}", n % DIRECTORIES), format!("{n}"));
    }
    let pair = pair.settled();
    let counted = pair.beside("calls");
    let sync = pair.command(&[]);
    let mut traced = Command::new("strace");
    traced.args(["-f", "-qq", "-c", "-o"]).arg(&counted).arg(sync.get_program()).args(sync.get_args());
    let report = sync::finish(traced.stdin(Stdio::null())).expect_done().expect_no_change("traced");
    let entries = report.count("entries_scanned");
    assert!(entries >= FILES + DIRECTORIES, "{report:#?}");
    let table = fs::read_to_string(&counted).unwrap();
    let calls = |wanted: &dyn Fn(&str) -> bool| -> u64 {
        let row = |line: &str| {
            let fields: Vec<&str> = line.split_whitespace().collect();
            let calls = fields.get(3)?.parse::<u64>().ok()?;
            Some((fields.last()?.to_string(), calls))
        };
        let rows = table.lines().filter_map(row).filter(|(name, _)| name != "total" && wanted(name));
        rows.map(|(_, calls)| calls).sum()
    };
    let all = calls(&|_| true);
    assert!(all > entries && all * 10 < entries * 22, "{all} calls for {entries} entries:\n{table}");
    let looks = calls(&|name| name.contains("stat"));
    assert!(looks < entries + 10 * DIRECTORIES, "{looks} looks at {entries} entries:\n{table}");
    let listings = calls(&|name| name.starts_with("getdents"));
    assert!(listings < 2 * DIRECTORIES + 40, "{listings} calls to list {DIRECTORIES} directories:\n{table}");
    let opened = calls(&|name| name.starts_with("open"));
    // Not those of files: the loader alone opens many, by what is in its environment.
    assert!(opened < 2 * DIRECTORIES + 400, "{opened} opened:\n{table}");
    let attributes = calls(&|name| name.contains("xattr") || name == "readlinkat" || name == "ioctl");
    assert!(attributes < 100, "attributes were looked at:\n{table}");
}

// -- unusable: a full comparison, said in one line, and used again afterwards

#[test]
fn a_missing_catalog_is_begun_and_nothing_is_said() {
    let pair = settled();
    change(&pair, 0);
    fs::remove_file(&pair.catalog).unwrap();
    pair.assert_begun("removed");
    // What adds to a catalog that is gone is none.
    change(&pair, 1);
    pair.sync();
    fs::remove_file(&pair.catalog).unwrap();
    pair.assert_begun("removed once more");
}

#[test]
fn what_adds_to_another_catalog_than_this_one_is_left_alone() {
    let pair = settled();
    pair.write("dir-0/sub/file-0", "changed");
    pair.settle();
    assert!(pair.delta().exists(), "a small change is not added to a catalog, but has it written anew");
    let kept = pair.beside("kept");
    fs::copy(pair.delta(), &kept).unwrap();
    fs::remove_file(&pair.catalog).unwrap();
    pair.assert_begun("a catalog of its own");
    pair.settle();
    // As if the program had been killed when it had put the new one in place, and what added to the old was still there.
    fs::copy(kept, pair.delta()).unwrap();
    pair.assert_used("with what added to another");
}

#[test]
fn an_empty_or_foreign_file_is_no_catalog() {
    let pair = settled();
    let text = "#!/bin/sh\necho no catalog\n".repeat(1000);
    for (what, content) in [("empty", vec![]), ("text", text.into_bytes()), ("zeros", vec![0; 100_000])] {
        change(&pair, 0);
        fs::write(&pair.catalog, content).unwrap();
        pair.assert_unusable(&[], what);
    }
}

#[test]
fn a_catalog_cut_off_at_any_length_costs_a_comparison_and_no_more() {
    let pair = settled();
    for round in 0..60 {
        change(&pair, round);
        let file = if round % 3 == 2 && pair.delta().exists() { pair.delta() } else { pair.catalog.clone() };
        let length = fs::metadata(&file).unwrap().len() as usize;
        let cut = match round {
            0..6 => round,
            6..12 => length - 1 - (round - 6),
            _ => length * (round - 12) / 48,
        };
        truncate(&file, cut);
        let when = format!("{} cut from {length} to {cut} bytes", file.display());
        pair.plant();
        let report = pair.sync();
        assert!(!pair.is_planted(), "{when}: it was believed: {report:#?}");
        assert_note(&report, true, &when);
        assert!(pair.differences().is_empty(), "{when}: {:?}", pair.differences());
        pair.sync().expect_no_change(&when);
    }
    pair.settle();
    pair.assert_used("after the last");
}

#[test]
fn a_flipped_byte_anywhere_in_a_catalog_leads_to_no_wrong_copy() {
    let pair = settled();
    let mut said = 0;
    for round in 0..240 {
        change(&pair, round);
        let file = if round % 4 == 3 && pair.delta().exists() { pair.delta() } else { pair.catalog.clone() };
        let length = fs::metadata(&file).unwrap().len() as usize;
        // Beyond the first pages every place in turn: half of the rounds.
        let at = if round % 2 == 0 { (round * 7) % length.min(600) } else { length * round / 240 };
        // Its first three lines say what it is, and the third proves the others.
        let bytes = fs::read(&file).unwrap();
        let is_in_head = bytes[..at].iter().filter(|byte| **byte == b'\n').count() < 3;
        flip(&file, at);
        let when = format!("byte {at} of {length} in {}", file.display());
        let report = pair.run(&[]);
        assert_eq!((report.exit, report.count("errors")), (0, 0), "{when}: {report:#?}");
        let lines = report.stderr.lines().count();
        assert!(lines <= 1 && (lines == 1 || !is_in_head), "{when}: {report:#?}");
        said += lines;
        assert!(pair.differences().is_empty(), "{when}: {:?}", pair.differences());
        pair.sync().expect_no_change(&when);
    }
    assert!(said > 60, "only {said} of 240 were noticed");
    pair.settle();
    pair.assert_used("after the last");
}

#[test]
fn a_flipped_byte_in_what_is_known_of_a_directory_has_that_directory_compared() {
    let pair = settled();
    // In the block of the directory of what is planted, and in that of the one above it.
    for name in ["planted", "below"] {
        for offset in [0, name.len() - 1] {
            let bytes = fs::read(&pair.catalog).unwrap();
            let at = bytes.windows(name.len()).position(|window| window == name.as_bytes());
            flip(&pair.catalog, at.expect("names stand in the catalog") + offset);
            pair.plant();
            let report = pair.sync();
            assert!(!pair.is_planted(), "a damaged block was believed: {report:#?}");
            assert_note(&report, true, "a damaged block");
            assert!(report.stderr.contains("damaged"), "{report:#?}");
            pair.assert_equal("a damaged block");
            pair.settle();
            pair.assert_used("after a damaged block");
            // Whole in one file again.
            fs::remove_file(&pair.catalog).unwrap();
            let _ = fs::remove_file(pair.delta());
            pair.sync();
            pair.settle();
        }
    }
}

#[test]
fn a_catalog_of_another_version_is_not_used_older_or_newer() {
    let pair = settled();
    for digit in [b'0', b'7'] {
        change(&pair, 0);
        pair.settle();
        let mut bytes = fs::read(&pair.catalog).unwrap();
        let key = b"\"format\":";
        let at = bytes.windows(key.len()).position(|window| window == key).expect("a file says its version");
        assert_ne!(bytes[at + key.len()], digit);
        bytes[at + key.len()] = digit;
        // The head's second line is followed by what proves it: 16 digits of its BLAKE3, its first 8 bytes turned round.
        let lines: Vec<usize> = (0..bytes.len()).filter(|at| bytes[*at] == b'\n').take(2).collect();
        let hash = blake3::hash(&bytes[lines[0] + 1..lines[1]]);
        let sum = u64::from_le_bytes(hash.as_bytes()[..8].try_into().unwrap());
        bytes[lines[1] + 1..lines[1] + 17].copy_from_slice(format!("{sum:016x}").as_bytes());
        fs::write(&pair.catalog, bytes).unwrap();
        pair.assert_unusable(&[], &format!("version {}", char::from(digit)));
    }
}

#[test]
fn a_catalog_of_another_source_is_not_used() {
    let pair = settled();
    let other = pair.source.with_file_name("other-source");
    tool(Command::new("cp").arg("-a").arg(&pair.source).arg(&other));
    fs::write(other.join("dir-0/sub/file-0"), "of the other source").unwrap();
    let report = sync::finish(&mut sync::with_catalog(&other, &pair.copy, &pair.catalog, &[])).expect_done();
    assert_note(&report, true, "another source");
    assert_equal(&other, &pair.copy, "another source");
    pair.assert_unusable(&[], "the first source again");
    // Another directory under the same path is another source as well.
    fs::rename(&pair.source, pair.source.with_file_name("away")).unwrap();
    fs::rename(&other, &pair.source).unwrap();
    pair.assert_unusable(&[], "under the same path");
}

#[test]
fn a_catalog_of_another_mirror_is_not_used() {
    let pair = settled();
    let other = pair.copy.with_file_name("other-copy");
    tool(Command::new("cp").arg("-a").arg(&pair.copy).arg(&other));
    let spoil =
        |at: &Path| fs::set_permissions(at.join("dir-0/sub/file-0"), Permissions::from_mode(0o600)).unwrap();
    spoil(&other);
    let report =
        sync::finish(&mut sync::with_catalog(&pair.source, &other, &pair.catalog, &[])).expect_done();
    assert_note(&report, true, "another mirror");
    assert_equal(&pair.source, &other, "another mirror");
    pair.assert_unusable(&[], "the first mirror again");
    // Another directory under the same path is another mirror as well.
    spoil(&other);
    fs::rename(&pair.copy, pair.copy.with_file_name("away")).unwrap();
    fs::rename(&other, &pair.copy).unwrap();
    pair.assert_unusable(&[], "under the same path");
}

#[test]
fn a_mirror_whose_own_directory_was_changed_is_compared() {
    let pair = settled();
    fs::write(pair.copied("foreign"), "x").unwrap();
    pair.assert_unusable(&[], "a foreign file");
    fs::remove_dir_all(pair.copied("dir-1")).unwrap();
    pair.assert_unusable(&[], "a directory removed");
    fs::set_permissions(&pair.copy, Permissions::from_mode(0o711)).unwrap();
    pair.assert_unusable(&[], "its mode");
}

#[test]
fn other_excludes_make_a_catalog_unusable_and_what_is_no_longer_left_out_is_mirrored() {
    let pair = settled();
    let exclude: &[&str] = &["--exclude", "*.log"];
    pair.write("dir-0/sub/a.log", "left out");
    pair.assert_unusable(exclude, "something is left out");
    assert!(!pair.copied("dir-0/sub/a.log").exists());
    // Nothing of the source has changed since.
    pair.assert_unusable(&[], "nothing is left out");
    assert_eq!(fs::read(pair.copied("dir-0/sub/a.log")).unwrap(), b"left out");
    // Now the copy keeps what the source loses.
    pair.assert_unusable(exclude, "left out again");
    fs::remove_file(pair.at("dir-0/sub/a.log")).unwrap();
    pair.run(exclude).expect_done();
    assert!(pair.copied("dir-0/sub/a.log").exists());
    pair.assert_unusable(&[], "nothing is left out any more");
    assert!(!pair.copied("dir-0/sub/a.log").exists());
    for more in [&["--exclude", "*.lo?"][..], &["--exclude", "*.log", "--exclude", "/none"]] {
        pair.assert_unusable(more, "other words");
    }
}

#[test]
fn a_mirror_of_which_an_older_image_was_put_back_is_compared() {
    if !common::root_or_skip("a mirror whose file system is restored") {
        return;
    }
    for kind in [Kind::Ext4, Kind::Xfs] {
        let pair = Cataloged::apart(kind, &[]);
        fill(&pair);
        let mut pair = pair.settled();
        let saved = pair.mirrors.as_mut().unwrap().save();
        // Nothing in the mirror's own directory changes.
        pair.write("dir-0/sub/file-0", "newer");
        pair.write("dir-2/sub/added", "newer");
        fs::remove_file(pair.at("dir-3/sub/file-3")).unwrap();
        pair.settle();
        pair.mirrors.as_mut().unwrap().restore(&saved);
        pair.assert_unusable(&[], kind.name());
        // The catalog too is older than the mirror, after all: it was kept elsewhere.
        fs::copy(&pair.catalog, pair.beside("kept")).unwrap();
        pair.write("dir-0/sub/file-0", "newest");
        pair.settle();
        fs::copy(pair.beside("kept"), &pair.catalog).unwrap();
        let _ = fs::remove_file(pair.delta());
        pair.assert_unusable(&[], &format!("{}, an older catalog", kind.name()));
    }
}

#[test]
fn a_mirror_that_was_made_anew_is_compared_even_under_its_old_name() {
    if !common::root_or_skip("a mirror that is made anew") {
        return;
    }
    const UUID: &str = "5a1e5a1e-0000-4000-8000-000000000001";
    for (kind, name) in
        [(Kind::Ext4, ["-U", UUID]), (Kind::Xfs, ["-m", "uuid=5a1e5a1e-0000-4000-8000-000000000001"])]
    {
        let mut pair = Cataloged::apart(kind, &[]);
        fill(&pair);
        for round in 0..2 {
            let mirrors = pair.mirrors.as_mut().unwrap();
            mirrors.make_anew(&name);
            // Not empty: it is compared, and what is missing must be missed.
            mirrors.dir("copy");
            fs::create_dir_all(pair.copied("dir-0/sub")).unwrap();
            fs::write(pair.copied("dir-0/sub/foreign"), "x").unwrap();
            assert_note(&pair.sync(), round > 0, kind.name());
            pair.assert_equal(kind.name());
            pair.settle();
            pair.assert_used(kind.name());
        }
    }
}

#[test]
fn a_sync_that_was_killed_leaves_no_catalog_that_is_believed() {
    let pair = Cataloged::new();
    let versions = ["one", "two"].map(|name| pair.source.with_file_name(name));
    for (version, path) in versions.iter().enumerate() {
        for n in 0..600 {
            let at = path.join(format!("dir-{}/sub-{}", n % 7, n % 3));
            fs::create_dir_all(&at).unwrap();
            fs::write(at.join(format!("file-{n}")), vec![version as u8; n * 40]).unwrap();
        }
    }
    // Each version is moved under the one name, so that half of the directories' inodes change, and those known change place.
    let turn = |round: usize| {
        let _ = fs::rename(pair.at("tree"), &versions[(round + 1) % 2]);
        fs::rename(&versions[round % 2], pair.at("tree")).unwrap();
    };
    let since = Instant::now();
    turn(1);
    pair.sync();
    let span = since.elapsed();
    let (mut killed, mut said) = (0, 0);
    for round in 0..40 {
        turn(round);
        let mut command = pair.command(&[]);
        let mut child = command.stdout(Stdio::null()).stderr(Stdio::null()).process_group(0).spawn().unwrap();
        std::thread::sleep(span.mul_f64((round % 20) as f64 / 20.0));
        killed += usize::from(child.try_wait().unwrap().is_none());
        let _ = rustix::process::kill_process_group(Pid::from_child(&child), Signal::KILL);
        child.wait().unwrap();
        if round % 3 == 1 {
            // Back to what the copy was before the kill, by now in other inodes' neighbourhood.
            turn(round + 1);
            turn(round + 2);
        }
        let when = format!("kill {round}");
        let report = pair.sync();
        assert!(report.stderr.lines().count() <= 1, "{when}: {report:#?}");
        said += report.stderr.lines().count();
        assert!(pair.differences().is_empty(), "{when}: {:?}", pair.differences());
        pair.sync().expect_no_change(&when);
    }
    assert!(killed >= 10 && said > 0, "{killed} kills before the end, {said} were told of");
    pair.assert_equal("at the end");
    pair.settle();
    pair.assert_used("at the end");
}

#[test]
fn a_sync_that_found_no_room_on_the_mirror_leaves_a_catalog_that_hides_nothing() {
    if !common::root_or_skip("a mirror that is full") {
        return;
    }
    let mut pair = Cataloged::apart(Kind::Ext4, &[]);
    pair.mirrors = Some(LoopFs::new(Kind::Ext4, 16));
    pair.copy = pair.mirrors.as_ref().unwrap().dir("copy");
    fill(&pair);
    let pair = pair.settled();
    for round in 0..3 {
        change(&pair, round);
        for n in 0..8 {
            pair.write(&format!("dir-{}/large-{n}", n % 4), vec![n as u8 + 1; 3 << 20]);
        }
        let report = pair.run(&[]);
        assert_eq!(report.exit, 3, "round {round}: {report:#?}");
        if round == 1 {
            assert_eq!(pair.run(&[]).exit, 3, "again");
        }
        (0..8).for_each(|n| fs::remove_file(pair.at(&format!("dir-{}/large-{n}", n % 4))).unwrap());
        pair.sync_and_judge(&format!("round {round}"));
    }
}

// -- where a catalog cannot be

#[test]
fn a_catalog_in_one_of_the_trees_or_in_a_place_that_is_none_is_refused() {
    let pair = settled();
    let places =
        [pair.at("catalog"), pair.copied("dir-0/catalog"), pair.beside("none/catalog"), pair.source.clone()];
    change(&pair, 0);
    let before = Snapshot::of(&pair.copy);
    for place in places {
        let report = sync::finish(&mut sync::with_catalog(&pair.source, &pair.copy, &place, &[]));
        assert_eq!(report.exit, 4, "{}: {report:#?}", place.display());
        assert!(report.stderr.contains("state: nothing was written"), "{report:#?}");
        assert!(touched(&before, &Snapshot::of(&pair.copy)).is_empty(), "{}", place.display());
    }
}

#[test]
fn what_is_no_regular_file_is_neither_read_as_a_catalog_nor_replaced_by_one() {
    let pair = settled();
    let (fifo, device) = (pair.beside("fifo"), pair.beside("device"));
    tool(Command::new("mkfifo").arg(&fifo));
    let mut places = vec![fifo];
    if common::root_or_skip("a device in place of a catalog") {
        tool(Command::new("mknod").arg(&device).args(["c", "1", "3"]));
        places.push(device);
    }
    for place in places {
        let kind = place.symlink_metadata().unwrap().file_type();
        let report = sync::finish(&mut sync::with_catalog(&pair.source, &pair.copy, &place, &[]));
        assert_eq!(place.symlink_metadata().unwrap().file_type(), kind, "it was replaced: {report:#?}");
        assert!(matches!(report.exit, 0 | 4) && !report.stderr.is_empty(), "{report:#?}");
    }
}

#[test]
fn a_catalog_that_finds_no_room_costs_comparisons_and_no_more() {
    let what = "a catalog on a file system that is full";
    if !common::root_or_skip(what) {
        return;
    }
    let mut pair = Cataloged::new();
    fill(&pair);
    let full = pair.beside("full");
    fs::create_dir(&full).unwrap();
    tool(Command::new("mount").args(["-t", "tmpfs", "-o", "size=64k", "none"]).arg(&full));
    pair.catalog = full.join("catalog");
    let ballast = full.join("ballast");
    for (round, room) in [0, 1, 16].into_iter().enumerate() {
        change(&pair, round);
        // With no room at all; with some, but not enough; with enough.
        let _ = fs::remove_file(&ballast);
        let _ = fs::write(&ballast, vec![1; (16 - room) * 4096]);
        let report = pair.sync();
        assert_eq!(report.stderr.lines().count(), usize::from(room < 16), "{room} pages: {report:#?}");
        pair.assert_equal(&format!("room for {room} pages"));
    }
    pair.settle();
    pair.assert_used("with room");
    // No room for what changes.
    let _ = fs::write(&ballast, vec![1; 64 * 4096]);
    change(&pair, 4);
    pair.sync();
    pair.assert_equal("no room for what changes");
    fs::remove_file(&ballast).unwrap();
    change(&pair, 5);
    pair.sync_and_judge("room again");
    tool(Command::new("umount").arg(&full));
}

// -- a clock that was set back

/// A file's inode, ctime and mtime as debugfs takes them.
struct Times {
    ino: u64,
    ctime: (i64, i64),
}

impl Times {
    fn of(path: &Path) -> Self {
        let meta = path.metadata().unwrap();
        Times { ino: meta.ino(), ctime: (meta.ctime(), meta.ctime_nsec()) }
    }
    /// Gives it its old ctime back, on a file system that is not mounted.
    fn put_back(&self, image: &Path) {
        let set = |field: &str, value: String| {
            let request = format!("set_inode_field <{}> {field} {value}", self.ino);
            tool(Command::new("debugfs").args(["-w", "-R", &request]).arg(image));
        };
        set("ctime", format!("@{}", self.ctime.0));
        // The two lowest bits extend the seconds beyond 2038.
        set("ctime_extra", (self.ctime.1 << 2 | self.ctime.0 >> 32).to_string());
    }
}

#[test]
fn after_the_clock_was_set_back_what_its_times_do_not_prove_is_compared_by_content() {
    let what = "a clock that was set back";
    if !common::root_or_skip(what) {
        return;
    }
    if Command::new("faketime").arg("--version").output().is_err() {
        common::skipped(what, "faketime is not installed");
        return;
    }
    let mut pair = Cataloged::apart(Kind::Ext4, &[]);
    fill(&pair);
    pair.write("dir-0/kept", "the old content");
    set_mtime(&pair.at("dir-0/kept"), 1_700_000_000, 7);
    let at = |shift: &str, pair: &Cataloged| {
        let sync = pair.command(&[]);
        let mut command = Command::new("faketime");
        command.args(["--exclude-monotonic", "-f", shift]).arg(sync.get_program()).args(sync.get_args());
        sync::finish(command.stdin(Stdio::null())).expect_done()
    };
    at("+1h", &pair);
    pair.plant();
    let report = at("+1h", &pair);
    assert!(
        pair.is_planted() && report.stderr.is_empty(),
        "a clock that goes wrong evenly is none: {report:#?}"
    );
    pair.plant();
    for (shift, content) in [("+30m", "one new content"), ("+0", "two new content")] {
        let times = Times::of(&pair.at("dir-0/kept"));
        let file = File::options().write(true).open(pair.at("dir-0/kept")).unwrap();
        file.write_all_at(content.as_bytes(), 0).unwrap();
        drop(file);
        set_mtime(&pair.at("dir-0/kept"), 1_700_000_000, 7);
        let sources = pair.sources.as_mut().unwrap();
        sources.unmount();
        times.put_back(sources.image());
        sources.mount();
        assert_eq!(Times::of(&pair.at("dir-0/kept")).ctime, times.ctime, "the old ctime was not put back");
        assert_ne!(fs::read(pair.copied("dir-0/kept")).unwrap(), content.as_bytes());
        let report = at(shift, &pair);
        assert_eq!(fs::read(pair.copied("dir-0/kept")).unwrap(), content.as_bytes(), "{shift}: {report:#?}");
        assert_note(&report, true, shift);
        pair.assert_equal(shift);
    }
    pair.settle();
    pair.assert_used("with a clock that is right");
}

// -- what was not brought to its end is looked at again

#[test]
fn what_the_mirror_cannot_hold_is_told_again_by_every_sync() {
    if !common::root_or_skip("a file that the mirror cannot hold") {
        return;
    }
    let mut pair = Cataloged::apart(Kind::Xfs, &[]);
    // A file of an ext4 ends at 16 TiB, one of an XFS does not.
    pair.mirrors = Some(LoopFs::new(Kind::Ext4, 128));
    pair.copy = pair.mirrors.as_ref().unwrap().dir("copy");
    fill(&pair);
    File::create(pair.at("dir-0/sub/huge")).unwrap().set_len(20 << 40).unwrap();
    for round in ["first", "second", "third"] {
        let report = pair.run(&[]);
        assert_eq!((report.exit, report.count("errors")), (3, 1), "{round}: {report:#?}");
        assert!(report.stderr.contains("huge"), "{round}: {report:#?}");
        std::thread::sleep(TICKS);
    }
    fs::remove_file(pair.at("dir-0/sub/huge")).unwrap();
    pair.sync_and_judge("it is gone");
}

/// The user `nobody` of most systems: any user that is not root will do.
const NOBODY: u32 = 65_534;

#[test]
fn what_the_mirror_would_not_take_is_made_as_soon_as_it_does_though_the_source_has_not_changed() {
    if !common::root_or_skip("a mirror that refuses changes to somebody who is not root") {
        return;
    }
    let pair = Cataloged::apart(Kind::Ext4, &[]);
    fill(&pair);
    fs::write(pair.at("dir-0/sub/going"), "x").unwrap();
    pair.write("dir-1/tree/inner/file", "x");
    let at = pair.mirrors.as_ref().unwrap().path();
    let (program, state) = (at.join("program"), at.join("state"));
    // Copied by another process: a program that is open for writing here cannot be run.
    tool(Command::new("cp").arg(sync::program()).arg(&program));
    fs::set_permissions(&program, Permissions::from_mode(0o755)).unwrap();
    fs::create_dir(&state).unwrap();
    for tree in [&pair.source, &pair.copy, &state] {
        generate::entries(tree)
            .iter()
            .chain([tree])
            .for_each(|path| lchown(path, Some(NOBODY), Some(NOBODY)).unwrap());
    }
    let run = || {
        let mut command = Command::new(&program);
        command.args(["sync", "--json", "--catalog"]).arg(state.join("catalog"));
        // Where something is left out, a directory that cannot be emptied may be one that leads to it.
        command.args(["--exclude", "*.left-out", "--"]);
        command
            .arg(&pair.source)
            .arg(&pair.copy)
            .uid(NOBODY)
            .gid(NOBODY)
            .current_dir("/")
            .stdin(Stdio::null());
        sync::finish(&mut command)
    };
    run().expect_done();
    std::thread::sleep(TICKS);
    run().expect_done().expect_no_change("unchanged");
    // Below a directory of root's nothing can be made, changed or deleted.
    let closed = pair.copied("dir-0/sub");
    lchown(&closed, Some(0), Some(0)).unwrap();
    // Nor below a tree that goes as a whole.
    let inner = pair.copied("dir-1/tree/inner");
    lchown(&inner, Some(0), Some(0)).unwrap();
    fs::remove_dir_all(pair.at("dir-1/tree")).unwrap();
    pair.write("dir-0/sub/new", "new");
    pair.write("dir-0/sub/new-dir/inner/file", "new");
    for name in ["new", "new-dir", "new-dir/inner", "new-dir/inner/file"] {
        lchown(pair.at("dir-0/sub").join(name), Some(NOBODY), Some(NOBODY)).unwrap();
    }
    fs::remove_file(pair.at("dir-0/sub/going")).unwrap();
    // A change that neither size nor mtime tells of, once the catalog has seen it.
    let hidden = pair.at("dir-0/sub/file-4");
    let meta = hidden.metadata().unwrap();
    File::options().write(true).open(&hidden).unwrap().write_all_at(b"hidden", 0).unwrap();
    set_mtime(&hidden, meta.mtime(), meta.mtime_nsec());
    std::thread::sleep(TICKS);
    for round in ["first", "second", "third"] {
        let report = run();
        assert_eq!(report.exit, 3, "{round}: {report:#?}");
        assert!(pair.copied("dir-0/sub/going").exists() && inner.join("file").exists());
        std::thread::sleep(TICKS);
    }
    lchown(&closed, Some(NOBODY), Some(NOBODY)).unwrap();
    lchown(&inner, Some(NOBODY), Some(NOBODY)).unwrap();
    let report = run().expect_done();
    pair.assert_equal(&format!("{report:#?}"));
    run().expect_done().expect_no_change("afterwards");
}

#[test]
fn what_changed_and_vanished_during_a_sync_is_right_after_the_next() {
    let pair = Cataloged::new();
    fill(&pair);
    fs::write(pair.at("large"), vec![1; 4 << 20]).unwrap();
    let pair = pair.settled();
    let stop = std::sync::atomic::AtomicBool::new(false);
    let seed = std::sync::atomic::AtomicU8::new(0);
    for round in 0..12 {
        stop.store(false, std::sync::atomic::Ordering::SeqCst);
        std::thread::scope(|scope| {
            scope.spawn(|| {
                let mut n = 0;
                while !stop.load(std::sync::atomic::Ordering::SeqCst) {
                    n += 1;
                    let byte = seed.fetch_add(1, std::sync::atomic::Ordering::SeqCst);
                    pair.write(&format!("dir-{}/sub/file-{}", n % 4, n % 24), [byte; 60]);
                    pair.write(&format!("dir-{}/sub/passing", n % 3), [byte; 60]);
                    let _ =
                        fs::rename(pair.at(&format!("dir-{}/sub/passing", n % 3)), pair.at("dir-1/passed"));
                    let large = File::options().write(true).open(pair.at("large")).unwrap();
                    large.write_all_at(&[byte; 600], u64::from(byte) * 16_000).unwrap();
                }
            });
            for _ in 0..3 {
                // Exit 3: it may have changed three times while it was copied.
                let report = pair.run(&[]);
                assert!(matches!(report.exit, 0 | 3), "{report:#?}");
            }
            stop.store(true, std::sync::atomic::Ordering::SeqCst);
        });
        pair.sync();
        assert!(pair.differences().is_empty(), "round {round}: {:?}", pair.differences());
    }
    pair.sync_and_judge("at the end");
}

/// Calls that bring the catalog to the disk, and what it tells of.
const COMMITTING: [&str; 9] =
    ["pwrite64", "fdatasync", "syncfs", "fsync", "ftruncate", "rename", "renameat", "renameat2", "unlinkat"];

/// Written whole, and added to.
#[test]
fn a_sync_that_is_killed_at_any_call_of_its_commit_leaves_nothing_that_the_next_one_does_not_see() {
    let whole = Cataloged::new();
    whole.write("moving/inside/file", "it moves with its directory");
    let (mut round, mut kills) = (0, 0);
    for pair in [whole.settled(), settled()] {
        for call in COMMITTING {
            for time in 1..=12 {
                round += 1;
                change(&pair, round);
                if !killed::at_call(&pair.command(&[]), call, time) {
                    break;
                }
                kills += 1;
                edit(&pair, round + 1);
                pair.sync_and_judge(&format!("killed at {call}, time {time}"));
            }
        }
    }
    println!("{kills} kills");
    assert!(kills >= 50, "only {kills} kills");
}
