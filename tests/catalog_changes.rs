//! What a sync must see in spite of its catalog, although size and mtime say nothing of it: one test for each way in
//! which a file can be another than it was. The judges have the last word in each.

mod common;

use common::cataloged::{Cataloged, SMALL_INODES, TICKS};
use common::generate::{acl, set_mtime};
use common::loopfs::{Kind, tool};
use common::raw::{Mapping, PAGE};
use common::sync_command as sync;
use rustix::fs::{CWD, RenameFlags, XattrFlags};
use std::fs::{self, File, OpenOptions, Permissions};
use std::os::fd::AsFd;
use std::os::unix::fs::{FileExt, MetadataExt, PermissionsExt, lchown};
use std::path::Path;
use std::process::{Command, Stdio};
use std::sync::atomic::{AtomicBool, Ordering::SeqCst};
use std::time::Instant;

const WHEN: i64 = 1_700_000_000;

/// Files of one size and one mtime, and another content each, in some directories.
fn twins(pair: &Cataloged) {
    for directory in ["a", "b", "c/deep", "d"] {
        for n in 0..4 {
            let name = format!("{directory}/file-{n}");
            pair.write(&name, format!("content of {directory:6} {n}"));
            set_mtime(&pair.at(&name), WHEN, 5);
        }
    }
}

/// Both on one ext4 as root, else beside the build; as root also on XFS.
fn usual_kinds() -> Vec<(&'static str, Cataloged)> {
    let mut pairs = vec![("the usual", Cataloged::new())];
    if common::root_or_skip("the catalog of an XFS, and of an ext4 with small inodes") {
        pairs.push(("XFS", Cataloged::apart(Kind::Xfs, &[])));
    }
    pairs
}

/// And as root on an ext4 that keeps whole seconds.
fn every_kind() -> Vec<(&'static str, Cataloged)> {
    let mut pairs = usual_kinds();
    if common::is_root() {
        pairs.push(("small inodes", Cataloged::apart(Kind::Ext4, SMALL_INODES)));
    }
    pairs
}

/// Settled pairs of twins, with what `prepare` adds.
fn every_settled(prepare: impl Fn(&Cataloged)) -> Vec<(&'static str, Cataloged)> {
    let settled = |(kind, pair): (&'static str, Cataloged)| {
        twins(&pair);
        prepare(&pair);
        (kind, pair.settled())
    };
    usual_kinds().into_iter().map(settled).collect()
}

/// Does something to each pair, and requires that the next sync mirrors it; that it used its catalog shows that
/// nothing else than the change itself gave it away.
fn is_seen(what: &str, prepare: impl Fn(&Cataloged), change: impl Fn(&Cataloged)) {
    for (kind, pair) in every_settled(prepare) {
        let when = format!("{what}, {kind}");
        change(&pair);
        assert!(!pair.differences().is_empty(), "{when}: nothing was changed");
        pair.assert_used(&when);
        pair.assert_equal(&when);
        pair.sync().expect_no_change(&when);
    }
}

fn exchange(pair: &Cataloged, one: &str, other: &str) {
    rustix::fs::renameat_with(CWD, pair.at(one), CWD, pair.at(other), RenameFlags::EXCHANGE).unwrap();
}

/// Other bytes, the same size, the same mtime, the same inode.
fn overwrite(path: &Path, byte: u8) {
    let file = OpenOptions::new().write(true).open(path).unwrap();
    let meta = file.metadata().unwrap();
    file.write_all_at(&vec![byte; meta.len() as usize], 0).unwrap();
    set_mtime(path, meta.mtime(), meta.mtime_nsec());
}

fn chmod(path: &Path, mode: u32) {
    fs::set_permissions(path, Permissions::from_mode(mode)).unwrap();
}

fn set_xattr(path: &Path, name: &str, value: &[u8]) {
    rustix::fs::lsetxattr(path, name, value, XattrFlags::empty()).unwrap();
}

// -- content

#[test]
fn other_content_of_the_same_size_whose_mtime_was_put_back_is_seen() {
    is_seen(
        "touch -r",
        |_| (),
        |pair| {
            let file = pair.at("c/deep/file-1");
            let reference = pair.beside("reference");
            fs::write(&reference, "").unwrap();
            tool(Command::new("touch").arg("-r").arg(&file).arg(&reference));
            let length = fs::metadata(&file).unwrap().len() as usize;
            fs::write(&file, vec![b'x'; length]).unwrap();
            tool(Command::new("touch").arg("-r").arg(&reference).arg(&file));
        },
    );
}

#[test]
fn another_file_under_the_name_with_the_same_size_and_mtime_is_seen() {
    is_seen("renamed over", |_| (), |pair| fs::rename(pair.at("a/file-0"), pair.at("b/file-0")).unwrap());
    is_seen(
        "removed and made again",
        |_| (),
        |pair| {
            // On ext4 it gets the inode that has just become free.
            let length = fs::metadata(pair.at("a/file-0")).unwrap().len() as usize;
            fs::remove_file(pair.at("a/file-0")).unwrap();
            fs::write(pair.at("a/file-0"), vec![b'y'; length]).unwrap();
            set_mtime(&pair.at("a/file-0"), WHEN, 5);
        },
    );
}

#[test]
fn two_files_that_changed_places_are_seen() {
    is_seen("in one directory", |_| (), |pair| exchange(pair, "a/file-0", "a/file-3"));
    is_seen("in two directories", |_| (), |pair| exchange(pair, "a/file-0", "c/deep/file-0"));
    is_seen(
        "three in a round",
        |_| (),
        |pair| {
            exchange(pair, "a/file-0", "b/file-0");
            exchange(pair, "b/file-0", "d/file-0");
        },
    );
}

#[test]
fn two_directories_that_changed_places_with_all_that_is_in_them_are_seen() {
    let stamped = |pair: &Cataloged| {
        let there =
            ["a", "b", "c/deep", "c", ""].map(|name| pair.at(name)).into_iter().filter(|path| path.exists());
        there.for_each(|path| set_mtime(&path, WHEN, 9));
    };
    is_seen("side by side", stamped, |pair| {
        exchange(pair, "a", "b");
        stamped(pair);
    });
    is_seen("at different depths", stamped, |pair| {
        exchange(pair, "a", "c/deep");
        stamped(pair);
    });
    is_seen("one took the other's place", stamped, |pair| {
        fs::remove_dir_all(pair.at("b")).unwrap();
        fs::rename(pair.at("a"), pair.at("b")).unwrap();
        stamped(pair);
    });
    is_seen("one in the other", stamped, |pair| {
        fs::rename(pair.at("a"), pair.at("b/a")).unwrap();
        fs::rename(pair.at("d"), pair.at("a")).unwrap();
    });
}

// -- metadata alone

#[test]
fn a_mode_an_owner_and_a_time_alone_are_seen() {
    is_seen("chmod of a file", |_| (), |pair| chmod(&pair.at("a/file-0"), 0o640));
    is_seen("chmod of a directory", |_| (), |pair| chmod(&pair.at("c/deep"), 0o711));
    is_seen("a time", |_| (), |pair| set_mtime(&pair.at("a/file-0"), WHEN + 1, 5));
    is_seen("a directory's time", |_| (), |pair| set_mtime(&pair.at("c"), WHEN + 1, 5));
    is_seen("the root's time", |_| (), |pair| set_mtime(&pair.source, WHEN + 1, 5));
    if common::root_or_skip("owners") {
        is_seen("an owner", |_| (), |pair| lchown(pair.at("d/file-2"), Some(1000), Some(1000)).unwrap());
    }
}

#[test]
fn an_attribute_alone_is_seen() {
    let old = |pair: &Cataloged| {
        set_xattr(&pair.at("a/file-0"), "user.name", b"old");
        set_xattr(&pair.at("c/deep"), "user.name", b"old");
    };
    is_seen("of a file", old, |pair| set_xattr(&pair.at("a/file-0"), "user.name", b"new"));
    is_seen("of a directory", old, |pair| set_xattr(&pair.at("c/deep"), "user.name", b"new"));
    let removed = |pair: &Cataloged| rustix::fs::lremovexattr(pair.at("a/file-0"), "user.name").unwrap();
    is_seen("removed", old, removed);
}

#[test]
fn an_access_control_list_alone_is_seen() {
    let old = |pair: &Cataloged| set_xattr(&pair.at("a/file-0"), "system.posix_acl_access", &acl(1005, 4));
    is_seen("another one", old, |pair| {
        tool(Command::new("setfacl").args(["-m", "u:1005:rw"]).arg(pair.at("a/file-0")));
    });
    is_seen("a default one", old, |pair| {
        tool(Command::new("setfacl").args(["-d", "-m", "u:1005:rx"]).arg(pair.at("c/deep")));
    });
    is_seen("none any more", old, |pair| tool(Command::new("setfacl").arg("-b").arg(pair.at("a/file-0"))));
}

#[test]
fn a_flag_alone_is_seen() {
    if !common::root_or_skip("flags") {
        return;
    }
    let chattr = |flag: &str, path: &Path| tool(Command::new("chattr").arg(flag).arg(path));
    for flag in ["d", "i", "a"] {
        is_seen(&format!("chattr +{flag}"), |_| (), |pair| chattr(&format!("+{flag}"), &pair.at("a/file-0")));
        is_seen(
            &format!("chattr -{flag}"),
            |pair| chattr(&format!("+{flag}"), &pair.at("a/file-0")),
            |pair| chattr(&format!("-{flag}"), &pair.at("a/file-0")),
        );
    }
}

// -- hard links

#[test]
fn the_names_of_unchanged_inodes_are_followed() {
    let linked = |pair: &Cataloged| {
        fs::hard_link(pair.at("a/file-0"), pair.at("b/other-name")).unwrap();
        fs::hard_link(pair.at("d/file-1"), pair.at("d/other-name")).unwrap();
        fs::hard_link(pair.at("d/file-1"), pair.at("c/deep/third-name")).unwrap();
    };
    let link = |pair: &Cataloged, one: &str, more: &str| fs::hard_link(pair.at(one), pair.at(more)).unwrap();
    let rename = |pair: &Cataloged, one: &str, other: &str| fs::rename(pair.at(one), pair.at(other)).unwrap();
    let remove = |pair: &Cataloged, name: &str| fs::remove_file(pair.at(name)).unwrap();

    is_seen("a second name", linked, |pair| link(pair, "a/file-1", "c/second-name"));
    is_seen("a third name", linked, |pair| link(pair, "a/file-0", "c/deep/third-name-of-another"));
    is_seen("a name in a new directory", linked, |pair| {
        fs::create_dir(pair.at("new")).unwrap();
        link(pair, "a/file-0", "new/third-name");
        link(pair, "d/file-1", "new/fourth-name");
    });
    is_seen("a name removed", linked, |pair| remove(pair, "b/other-name"));
    is_seen("two of three names removed", linked, |pair| {
        remove(pair, "d/file-1");
        remove(pair, "c/deep/third-name");
    });
    is_seen("a name renamed", linked, |pair| rename(pair, "b/other-name", "b/renamed"));
    is_seen("a name moved to where another was", linked, |pair| {
        rename(pair, "b/other-name", "c/deep/third-name")
    });
    is_seen("a name of its own again", linked, |pair| {
        let content = fs::read(pair.at("b/other-name")).unwrap();
        remove(pair, "b/other-name");
        fs::write(pair.at("b/other-name"), content).unwrap();
        set_mtime(&pair.at("b/other-name"), WHEN, 5);
    });
    is_seen("names of two inodes exchanged", linked, |pair| exchange(pair, "b/other-name", "d/other-name"));
    is_seen("content through one name", linked, |pair| overwrite(&pair.at("c/deep/third-name"), b'z'));
    is_seen("a mode through one name", linked, |pair| chmod(&pair.at("b/other-name"), 0o600));
}

#[test]
fn a_renamed_directory_keeps_the_links_between_its_files_and_others() {
    let linked = |pair: &Cataloged| {
        for n in 0..4 {
            fs::hard_link(pair.at(&format!("a/file-{n}")), pair.at(&format!("b/link-{n}"))).unwrap();
            fs::hard_link(pair.at(&format!("c/deep/file-{n}")), pair.at(&format!("d/link-{n}"))).unwrap();
        }
    };
    let rename = |pair: &Cataloged, one: &str, other: &str| fs::rename(pair.at(one), pair.at(other)).unwrap();
    is_seen("one", linked, |pair| rename(pair, "a", "renamed"));
    is_seen("moved down", linked, |pair| rename(pair, "a", "c/deep/a"));
    is_seen("with one below it", linked, |pair| rename(pair, "c", "renamed"));
    is_seen("both", linked, |pair| {
        rename(pair, "a", "a-renamed");
        rename(pair, "b", "b-renamed");
    });
    is_seen("exchanged", linked, |pair| exchange(pair, "a", "b"));
    is_seen("renamed, and a name in it removed", linked, |pair| {
        rename(pair, "a", "renamed");
        fs::remove_file(pair.at("renamed/file-0")).unwrap();
        fs::remove_file(pair.at("b/link-1")).unwrap();
    });
    is_seen("renamed, and the other one gone", linked, |pair| {
        rename(pair, "a", "renamed");
        fs::remove_dir_all(pair.at("b")).unwrap();
    });
}

// -- the clock's tick

/// The number of rounds in which the second change got the ctime of the first, with a sync in between; after each
/// round the copy must be equal.
fn in_one_tick(pair: &Cataloged, rounds: usize, change: impl Fn(&Cataloged, usize), watched: &str) -> usize {
    let ctime = || {
        let meta = pair.at(watched).symlink_metadata().unwrap();
        (meta.ctime(), meta.ctime_nsec())
    };
    let mut same = 0;
    for round in 0..rounds {
        change(pair, 2 * round);
        pair.sync();
        // What was copied in a tick must be looked at until the tick is over, and not only once.
        if round % 2 == 1 {
            pair.sync();
        }
        let before = ctime();
        change(pair, 2 * round + 1);
        same += usize::from(ctime() == before);
        pair.sync();
        assert!(pair.differences().is_empty(), "{watched}, round {round}: {:?}", pair.differences());
    }
    same
}

#[test]
fn a_file_overwritten_in_the_tick_in_which_it_was_copied_is_seen() {
    let watched = "a/file-0";
    let change = |pair: &Cataloged, n: usize| overwrite(&pair.at(watched), b'A' + n as u8 % 50);
    for (kind, pair) in every_kind() {
        twins(&pair);
        let rounds = if kind.contains("small") { 10 } else { 100 };
        let same = in_one_tick(&pair, rounds, change, watched);
        if kind.contains("small") {
            assert!(same >= 5, "only {same} of {rounds} second changes came in the same second");
        } else if same == 0 {
            let why = "this kernel gives what was looked at a time of its own when it changes again";
            common::skipped(&format!("two changes in one tick, {kind}"), why);
        }
    }
}

/// One thing to do in a tick, the other way round the next time, and the entry whose ctime tells of it.
type InATick = (&'static str, fn(&Cataloged, usize), &'static str);

#[test]
fn whatever_happens_in_a_second_that_was_already_looked_at_is_seen() {
    if !common::root_or_skip("an ext4 with small inodes") {
        return;
    }
    let changes: [InATick; 8] = [
        (
            "names made and removed",
            |pair, n| {
                if n % 2 == 0 {
                    fs::write(pair.at("a/new"), "x").unwrap()
                } else {
                    fs::remove_file(pair.at("a/new")).unwrap()
                }
            },
            "a",
        ),
        ("names made", |pair, n| fs::write(pair.at(&format!("b/new-{n}")), "x").unwrap(), "b"),
        ("directories made", |pair, n| fs::create_dir(pair.at(&format!("b/dir-{n}"))).unwrap(), "b"),
        ("files exchanged", |pair, _| exchange(pair, "a/file-1", "a/file-2"), "a/file-1"),
        ("directories exchanged", |pair, _| exchange(pair, "c/deep", "d"), "d"),
        ("modes", |pair, n| chmod(&pair.at("a/file-3"), 0o600 + n as u32 % 8), "a/file-3"),
        ("attributes", |pair, n| set_xattr(&pair.at("a/file-3"), "user.n", &[n as u8]), "a/file-3"),
        ("a directory's attributes", |pair, n| set_xattr(&pair.at("c"), "user.n", &[n as u8]), "c"),
    ];
    let pair = Cataloged::apart(Kind::Ext4, SMALL_INODES);
    twins(&pair);
    for (what, change, watched) in changes {
        let same = in_one_tick(&pair, 6, change, watched);
        assert!(same >= 3, "{what}: only {same} of 6 second changes came in the same second");
    }
    pair.sync_and_judge("at the end");
}

// -- stores through a mapping

/// A file of one page, mapped.
fn mapped(pair: &Cataloged) -> Mapping {
    pair.write("mapped/file", vec![0; PAGE]);
    let file = OpenOptions::new().read(true).write(true).open(pair.at("mapped/file")).unwrap();
    Mapping::new(file.as_fd()).unwrap()
}

#[test]
fn stores_through_a_mapping_are_seen_also_into_a_page_that_was_dirty_already() {
    for (kind, pair) in every_kind() {
        let mut page = mapped(&pair);
        let stored = |at: usize| {
            let mut byte = [0];
            File::open(pair.copied("mapped/file")).unwrap().read_exact_at(&mut byte, at as u64).unwrap();
            byte[0]
        };
        for round in 0..20 {
            // The page is dirty when the sync begins.
            page.store(round, 1);
            pair.sync();
            assert_eq!(stored(round), 1, "{kind}, round {round}");
            // And it may be still.
            page.store(round, 2);
            page.store(100 + round, 3);
            if round % 3 == 0 {
                std::thread::sleep(std::time::Duration::from_millis(60));
            }
            pair.sync();
            assert_eq!(
                (stored(round), stored(100 + round)),
                (2, 3),
                "{kind}, round {round}: stores after a sync"
            );
        }
        pair.assert_equal(kind);
    }
}

#[test]
fn stores_that_go_on_during_syncs_are_seen_when_they_have_ended() {
    for (kind, pair) in every_kind() {
        let mut page = mapped(&pair);
        for round in 0..10 {
            let stop = AtomicBool::new(false);
            std::thread::scope(|scope| {
                let storing = scope.spawn(|| {
                    for n in 0.. {
                        page.store(n % PAGE, (n % 251) as u8);
                        if stop.load(SeqCst) {
                            return;
                        }
                    }
                });
                for _ in 0..3 {
                    // Exit 3: it may have changed three times while it was copied.
                    let report = pair.run(&[]);
                    assert!(matches!(report.exit, 0 | 3), "{kind}: {report:#?}");
                }
                stop.store(true, SeqCst);
                storing.join().unwrap();
            });
            pair.sync();
            assert!(pair.differences().is_empty(), "{kind}, round {round}: {:?}", pair.differences());
        }
    }
}

// -- what changes places while it is looked at

/// A sync that takes its time before each directory and file it opens, if strace is there: there are more moments to meet
/// it at.
fn slow(pair: &Cataloged) -> Command {
    let sync = pair.command(&[]);
    if Command::new("strace").arg("--version").output().is_err() {
        common::skipped(
            "exchanges in the middle of a slow sync (a fast one is met instead)",
            "strace is not installed",
        );
        return sync;
    }
    let mut slow = Command::new("strace");
    slow.args(["-f", "-qq", "-o"]).arg(pair.beside("calls"));
    slow.args(["-e", "trace=openat2", "-e", "inject=openat2:delay_enter=500"]);
    slow.arg(sync.get_program()).args(sync.get_args()).stdin(Stdio::null());
    slow
}

/// Exchanges entries once in the middle of a sync, and back when it has ended: nothing but what the mirror got in between
/// may give that away. `prepare` is called each time.
fn exchanged_for_a_sync(pairs: &[(&str, &str)], prepare: impl Fn(&Cataloged)) {
    let pair = Cataloged::new();
    twins(&pair);
    prepare(&pair);
    let pair = pair.settled();
    let since = Instant::now();
    sync::finish(&mut slow(&pair)).expect_done();
    let span = since.elapsed();
    for round in 0..60 {
        prepare(&pair);
        let mut slow = slow(&pair);
        let mut child = slow.stdout(Stdio::null()).stderr(Stdio::null()).spawn().unwrap();
        // What is copied makes it longer than one that finds nothing to do.
        std::thread::sleep(span.mul_f64(f64::from(round) / 40.0));
        pairs.iter().for_each(|(one, other)| exchange(&pair, one, other));
        let code = child.wait().unwrap().code();
        assert!(matches!(code, Some(0 | 3)), "{code:?}");
        pairs.iter().rev().for_each(|(one, other)| exchange(&pair, one, other));
        pair.sync();
        assert!(pair.differences().is_empty(), "round {round}: {:#?}", pair.differences());
    }
    pair.sync_and_judge("at the end");
}

/// Makes a directory of twins anew, so that no catalog knows it.
fn anew(pair: &Cataloged, name: &str) {
    let _ = fs::remove_dir_all(pair.at(name));
    for n in 0..4 {
        let file = format!("{name}/file-{n}");
        pair.write(&file, format!("content of {name:6} {n}"));
        set_mtime(&pair.at(&file), WHEN, 5);
    }
}

#[test]
fn known_directories_that_change_places_for_the_time_of_a_sync_are_right_after_the_next() {
    exchanged_for_a_sync(&[("a", "b")], |_| ());
    // Something in them is to be copied, and may be the other's by then.
    exchanged_for_a_sync(&[("a", "b")], |pair| {
        let byte = fs::read(pair.at("a/file-0")).unwrap()[0];
        overwrite(&pair.at("a/file-0"), byte.wrapping_add(1));
        overwrite(&pair.at("b/file-0"), byte.wrapping_add(128));
        overwrite(&pair.at("b/file-1"), byte.wrapping_add(1));
    });
}

#[test]
fn a_new_directory_in_the_place_of_another_for_the_time_of_a_sync_is_right_after_the_next() {
    exchanged_for_a_sync(&[("a", "fresh")], |pair| anew(pair, "fresh"));
    exchanged_for_a_sync(&[("c/deep", "e/fresh"), ("c", "e")], |pair| {
        fs::create_dir_all(pair.at("e")).unwrap();
        anew(pair, "e/fresh");
    });
}

#[test]
fn files_that_change_places_for_the_time_of_a_sync_are_right_after_the_next() {
    exchanged_for_a_sync(&[("a/file-0", "b/file-0"), ("a/file-1", "a/file-2")], |_| ());
    exchanged_for_a_sync(&[("a/file-0", "fresh/file-0"), ("c/deep/file-3", "fresh/file-3")], |pair| {
        anew(pair, "fresh")
    });
}

// -- a source that was put back

#[test]
fn a_source_of_which_an_older_image_was_put_back_is_followed() {
    if !common::root_or_skip("a source whose file system is restored") {
        return;
    }
    for (kind, options) in [(Kind::Ext4, &[][..]), (Kind::Xfs, &[]), (Kind::Ext4, SMALL_INODES)] {
        let pair = Cataloged::apart(kind, options);
        twins(&pair);
        let mut pair = pair.settled();
        let saved = pair.sources.as_mut().unwrap().save();
        for round in 0..3 {
            let changed = |pair: &Cataloged| {
                overwrite(&pair.at("a/file-0"), b'a' + round);
                exchange(pair, "a/file-1", "b/file-1");
                exchange(pair, "c/deep", "d");
                fs::remove_file(pair.at("a/file-2")).unwrap();
                pair.write("b/new", [round; 22]);
                fs::hard_link(pair.at("a/file-3"), pair.at("b/linked")).unwrap();
                chmod(&pair.at("b/file-0"), 0o600);
            };
            changed(&pair);
            pair.sync_and_judge("changed");
            if round > 0 {
                pair.settle();
            }
            pair.sources.as_mut().unwrap().restore(&saved);
            pair.sync_and_judge(&format!("{}, put back, round {round}", kind.name()));
        }
        // Put back, and gone another way from there: inodes come back with other files in them.
        pair.sources.as_mut().unwrap().restore(&saved);
        fs::remove_dir_all(pair.at("a")).unwrap();
        twins(&pair);
        pair.write("d/file-0", "another way");
        pair.sync_and_judge(&format!("{}, gone another way", kind.name()));
    }
}

/// The directory's own inode says nothing of that: it is one above that was renamed. strace holds the sync up before what it has
/// copied takes its place.
#[test]
fn a_directory_whose_way_is_renamed_before_an_old_name_in_it_goes_is_right_after_the_next_sync() {
    let pair = Cataloged::new();
    pair.write("above/dir/moves", "a file that is renamed");
    pair.write("above/dir/stays", "another");
    let dir = pair.at("above/dir");
    set_mtime(&dir, WHEN, 5);
    let pair = pair.settled();
    fs::rename(pair.at("above/dir/moves"), pair.at("moved")).unwrap();
    // Nothing of the directory itself is to be done: only the name goes.
    set_mtime(&dir, WHEN, 5);
    std::thread::sleep(TICKS);
    let plain = pair.command(&[]);
    let mut held_up = Command::new("strace");
    held_up.args(["-f", "-qq", "-o", "/dev/null", "-e", "inject=syncfs:delay_enter=400000"]);
    held_up.arg(plain.get_program()).args(plain.get_args());
    let report = std::thread::scope(|scope| {
        let sync = scope.spawn(|| sync::finish(&mut held_up));
        while !sync.is_finished() && !pair.copied(".diskmirror/tmp").exists() {}
        fs::rename(pair.at("above"), pair.at("elsewhere")).unwrap();
        sync.join().unwrap()
    });
    assert!(!pair.copied("above/dir/moves").exists(), "it was not looked at before: {report:#?}");
    pair.sync();
    pair.assert_equal("after the next sync");
}
