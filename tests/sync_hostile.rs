//! `sync` where the world does not hold still, or is against it: what cannot be read, what vanishes or changes in
//! mid-copy, who swaps directories for links, and trees that must be refused.

mod common;

use common::comparer::{Snapshot, touched};
use common::loopfs::{Kind, LoopFs, private_mounts, tool};
use common::sync_command::{self as sync, sync};
use common::unprivileged::{Unprivileged, give_away};
use common::{assert_equal, generate, rsync_judge};
use rustix::fs::{CWD, FileType, Mode, RenameFlags};
use std::fs::{self, File, OpenOptions, Permissions};
use std::os::unix::fs::{FileExt, PermissionsExt, symlink};
use std::path::{Path, PathBuf};
use std::process::{Command, Stdio};
use std::sync::atomic::{AtomicBool, Ordering::Relaxed};

// -- what cannot be read

#[test]
fn unreadable_files_keep_their_old_copy_and_unread_directories_lose_nothing() {
    let pair = Unprivileged::new();
    for name in ["locked", "closed/kept", "closed/lost", "open/lost", "open/changed"] {
        pair.write(name, "old");
    }
    pair.run().expect_done();
    for name in ["locked", "open/changed", "new"] {
        pair.write(name, "the new content");
    }
    fs::remove_file(pair.source.join("closed/lost")).unwrap();
    fs::remove_file(pair.source.join("open/lost")).unwrap();
    pair.chmod("locked", 0);
    pair.chmod("closed", 0);
    let report = pair.run();
    pair.chmod("closed", 0o755);
    assert_eq!(report.exit, 3, "{report:#?}");
    assert!(report.count("errors") >= 2, "{report:#?}");
    for name in ["locked", "closed"] {
        assert!(report.stderr.contains(name), "{name} is not named: {report:#?}");
    }
    // The copy of what was unreadable may have taken its mode over.
    for name in ["locked", "closed"] {
        fs::set_permissions(pair.copy.join(name), Permissions::from_mode(0o755)).unwrap();
    }
    let read = |name: &str| fs::read_to_string(pair.copy.join(name)).unwrap();
    assert_eq!((read("locked"), read("closed/kept")), ("old".into(), "old".into()));
    assert_eq!(read("closed/lost"), "old", "a deletion below an unread directory was not deferred");
    assert_eq!(read("open/lost"), "old", "it may be all that is left of what cannot be read");
    assert!(report.stderr.contains("1 entry is kept"), "{report:#?}");
    assert_eq!((read("new"), read("open/changed")), ("the new content".into(), "the new content".into()));

    pair.chmod("locked", 0o644);
    pair.run().expect_done();
    assert_equal(&pair.source, &pair.copy, "readable again");
}

#[test]
fn an_unreadable_directory_keeps_its_copy_as_it_is_and_a_new_one_stays_closed() {
    let pair = Unprivileged::new();
    pair.write("known/inner", "old");
    pair.chmod("known", 0o755);
    pair.run().expect_done();
    pair.write("known/inner", "the new content");
    pair.write("new/inner", "content");
    for name in ["known", "new"] {
        pair.chmod(name, 0o001);
    }
    let kept = Snapshot::of(&pair.copy).entries[b"known".as_slice()].clone();
    for round in ["first", "second"] {
        let report = pair.run();
        assert_eq!((report.exit, report.count("errors")), (3, 2), "{round}: {report:#?}");
        let names = ["directory known: ", "directory new: "];
        assert!(names.iter().all(|name| report.stderr.contains(name)), "{round}: {report:#?}");
        let copy = Snapshot::of(&pair.copy);
        let now = &copy.entries[b"known".as_slice()];
        assert_eq!((now.mode, now.mtime, now.ctime), (kept.mode, kept.mtime, kept.ctime), "{round}");
        assert_eq!(copy.entries[b"new".as_slice()].mode & 0o7777, 0o700, "{round}: open to others");
        assert!(!copy.entries.contains_key(b"new/inner".as_slice()));
    }
    assert_eq!(fs::read(pair.copy.join("known/inner")).unwrap(), b"old");
    for name in ["known", "new"] {
        pair.chmod(name, 0o750);
    }
    pair.run().expect_done();
    assert_equal(&pair.source, &pair.copy, "readable again");
}

#[test]
fn read_only_directories_are_changed_and_replaced_and_stay_read_only() {
    let pair = Unprivileged::new();
    for name in [
        "stays/changed",
        "stays/sub/deleted",
        "becomes-file/sub/inner",
        "becomes-link/inner",
        "goes/sub/inner",
    ] {
        pair.write(name, "old");
    }
    let closed =
        ["stays/sub", "stays", "becomes-file/sub", "becomes-file", "becomes-link", "goes/sub", "goes", ""];
    let all = |mode| closed.iter().for_each(|name| pair.chmod(name, mode));
    all(0o500);
    pair.run().expect_done();
    all(0o700);
    pair.write("stays/changed", "the new content");
    fs::remove_file(pair.source.join("stays/sub/deleted")).unwrap();
    for name in ["becomes-file", "becomes-link", "goes"] {
        fs::remove_dir_all(pair.source.join(name)).unwrap();
    }
    pair.write("becomes-file", "a file");
    symlink("stays", pair.source.join("becomes-link")).unwrap();
    give_away(&pair.source.join("becomes-link"));
    ["stays/sub", "stays", ""].iter().for_each(|name| pair.chmod(name, 0o500));
    let report = pair.run().expect_done();
    assert_eq!((report.count("files_copied"), report.count("deleted")), (3, 7), "{report:#?}");
    assert_equal(&pair.source, &pair.copy, "read-only directories");
    pair.run().expect_done().expect_no_change("read-only directories");
}

#[test]
fn what_is_mounted_is_left_alone_without_the_privilege_to_look_below_it() {
    if !common::root_or_skip("mounts that an unprivileged user meets") {
        return;
    }
    let pair = Unprivileged::new();
    pair.write("new/of-the-source", "x");
    pair.write("known/of-the-source", "x");
    for directory in [pair.source.join("new"), pair.source.join("known"), pair.copy.join("known")] {
        fs::create_dir_all(&directory).unwrap();
        give_away(&directory);
        tool(Command::new("mount").args(["-t", "tmpfs", "none"]).arg(&directory));
        fs::write(directory.join("on-top"), directory.as_os_str().as_encoded_bytes()).unwrap();
    }
    for when in ["first", "second"] {
        pair.run().expect_done();
        assert!(!pair.copy.join("new/on-top").exists(), "{when} sync: another file system was entered");
        let on_top = fs::read(pair.copy.join("known/on-top")).unwrap();
        assert_eq!(on_top, pair.copy.join("known").as_os_str().as_encoded_bytes(), "{when} sync");
    }
    for directory in [pair.source.join("new"), pair.source.join("known"), pair.copy.join("known")] {
        tool(Command::new("umount").arg(directory));
    }
}

#[test]
fn an_unprivileged_user_gets_everything_but_owners_and_device_nodes() {
    let pair = Unprivileged::new();
    pair.write("own", "content");
    pair.write("dir/inner", "content");
    symlink("own", pair.source.join("link")).unwrap();
    give_away(&pair.source.join("link"));
    if common::is_root() {
        fs::write(pair.source.join("roots"), "readable").unwrap();
    }
    pair.run().expect_done();
    assert_eq!(fs::read(pair.copy.join("dir/inner")).unwrap(), b"content");
    pair.run().expect_done().expect_no_change("owners that cannot be set are not seen as changes");
    if !common::root_or_skip("a device node that an unprivileged user meets") {
        return;
    }
    let null = rustix::fs::makedev(1, 3);
    let node = pair.source.join("node");
    rustix::fs::mknodat(CWD, &node, FileType::CharacterDevice, Mode::from_raw_mode(0o644), null).unwrap();
    let report = pair.run();
    assert_eq!((report.exit, report.count("errors")), (3, 1), "{report:#?}");
    assert!(report.stderr.contains("node"), "{report:#?}");
}

// -- what does not hold still

/// A source and a copy whose owner may be root.
struct Pair {
    source: PathBuf,
    copy: PathBuf,
    at: PathBuf,
    _filesystem: Option<LoopFs>,
    _scratch: tempfile::TempDir,
}

impl Pair {
    fn new() -> Self {
        let scratch = common::scratch();
        let filesystem = common::is_root().then(|| LoopFs::new(Kind::Ext4, 512));
        let at = filesystem.as_ref().map_or(scratch.path(), LoopFs::path).to_owned();
        let (source, copy) = (at.join("source"), at.join("copy"));
        fs::create_dir(&source).unwrap();
        fs::create_dir(&copy).unwrap();
        Pair { source, copy, at, _filesystem: filesystem, _scratch: scratch }
    }
}

/// Does `disturb` over and over while `work` runs.
fn while_disturbed(mut disturb: impl FnMut(u64) + Send, work: impl FnOnce()) {
    let done = AtomicBool::new(false);
    std::thread::scope(|scope| {
        scope.spawn(|| {
            let mut round = 0;
            while !done.load(Relaxed) {
                disturb(round);
                round += 1;
            }
        });
        // The disturber must end even if the work panics, or the panic is never told.
        let outcome = std::panic::catch_unwind(std::panic::AssertUnwindSafe(work));
        done.store(true, Relaxed);
        if let Err(panic) = outcome {
            std::panic::resume_unwind(panic);
        }
    });
}

#[test]
fn files_and_directories_that_vanish_are_no_errors() {
    let pair = Pair::new();
    for n in 0..200 {
        fs::write(pair.source.join(format!("still-{n}")), "x").unwrap();
    }
    let (source, outside) = (pair.source.clone(), pair.at.clone());
    let vanish = move |round: u64| {
        let name = format!("gone-{}", round % 40);
        let (made, shown) = (outside.join(&name), source.join(&name));
        if round.is_multiple_of(2) {
            fs::create_dir(&made).unwrap();
            fs::write(made.join("inner"), "x").unwrap();
        } else {
            fs::write(&made, "complete from the start").unwrap();
        }
        fs::rename(&made, &shown).unwrap();
        generate::remove(&shown);
    };
    while_disturbed(vanish, || {
        for round in 0..30 {
            let report = sync::run(&pair.source, &pair.copy, &[]);
            assert_eq!((report.exit, report.count("errors")), (0, 0), "round {round}: {report:#?}");
        }
    });
    sync(&pair.source, &pair.copy);
    assert_equal(&pair.source, &pair.copy, "when all is quiet");
}

/// A directory that is removed when it has been opened, and not been read: strace holds the reading up.
#[test]
fn a_directory_that_is_removed_while_it_is_read_is_no_error() {
    let pair = Pair::new();
    let gone = pair.source.join("gone-while-read");
    fs::create_dir(&gone).unwrap();
    fs::write(gone.join("inner"), "x").unwrap();
    sync(&pair.source, &pair.copy);
    let plain = sync::command(&pair.source, &pair.copy, &[]);
    let mut held_up = Command::new("strace");
    held_up.args(["-f", "-qq", "-o", "/dev/null", "-e", "inject=getdents64:delay_enter=500000"]);
    held_up.arg(plain.get_program()).args(plain.get_args());
    let report = std::thread::scope(|scope| {
        let sync = scope.spawn(|| sync::finish(&mut held_up));
        while !sync.is_finished() && !is_open_somewhere(&gone) {}
        assert!(!sync.is_finished(), "it was never seen open");
        fs::remove_dir_all(&gone).unwrap();
        sync.join().unwrap()
    });
    assert_eq!((report.exit, report.count("errors")), (0, 0), "{report:#?}");
    assert!(
        pair.copy.join("gone-while-read/inner").exists(),
        "nothing is deleted of what was not read to its end"
    );
    sync(&pair.source, &pair.copy);
    assert_equal(&pair.source, &pair.copy, "when all is quiet");
}

/// Whether any process has a directory of this name open: through a private copy of a mount its path is another one.
fn is_open_somewhere(dir: &Path) -> bool {
    let links =
        |process: fs::DirEntry| fs::read_dir(process.path().join("fd")).into_iter().flatten().flatten();
    let mut open = fs::read_dir("/proc").unwrap().flatten().flat_map(links);
    open.any(|link| fs::read_link(link.path()).is_ok_and(|at| at.file_name() == dir.file_name()))
}

#[test]
fn a_file_that_never_holds_still_is_reported_and_the_rest_is_copied() {
    let pair = Pair::new();
    fs::write(pair.source.join("quiet"), "x").unwrap();
    let file = File::create(pair.source.join("busy")).unwrap();
    file.write_all_at(&vec![1; 96 << 20], 0).unwrap();
    let change = |round: u64| {
        file.write_all_at(&round.to_le_bytes(), round % (96 << 20)).unwrap();
    };
    while_disturbed(change, || {
        let report = sync::run(&pair.source, &pair.copy, &[]);
        assert_eq!(report.exit, 3, "{report:#?}");
        assert!(report.stderr.contains("busy"), "the file is not named: {report:#?}");
        assert_eq!(fs::read(pair.copy.join("quiet")).unwrap(), b"x");
    });
    sync(&pair.source, &pair.copy);
    assert_equal(&pair.source, &pair.copy, "when all is quiet");
}

// -- who is against it

#[test]
fn a_directory_that_is_swapped_for_a_link_leads_nowhere() {
    let pair = Pair::new();
    let outside = pair.at.join("outside");
    for directory in ["source/dir/sub", "source/trap", "copy", "outside/sub"] {
        fs::create_dir_all(pair.at.join(directory)).unwrap();
    }
    fs::write(outside.join("secret"), "not of this tree").unwrap();
    fs::write(outside.join("sub/secret"), "not of this tree").unwrap();
    for n in 0..100 {
        fs::write(pair.source.join(format!("dir/sub/{n}")), n.to_string()).unwrap();
    }
    sync(&pair.source, &pair.copy);
    symlink(&outside, pair.source.join("trap/link")).unwrap();
    let before = Snapshot::of(&outside);
    let disturb = |_| swap(&pair.source.join("dir"), &pair.source.join("trap/link"));
    while_disturbed(disturb, || {
        for round in 0..40 {
            fs::write(pair.source.join("trap/new"), round.to_string()).unwrap();
            let report = sync::run(&pair.source, &pair.copy, &[]);
            assert!([0, 3].contains(&report.exit), "{report:#?}");
            let copied = Snapshot::of(&pair.copy);
            let stolen = copied.entries.keys().find(|path| path.ends_with(b"secret"));
            assert_eq!(stolen, None, "round {round}: read through a link");
        }
    });
    assert_eq!(touched(&before, &Snapshot::of(&outside)), Vec::<Vec<u8>>::new());
    if pair.source.join("dir").is_symlink() {
        swap(&pair.source.join("dir"), &pair.source.join("trap/link"));
    }
    // The same on the copy: nothing may be written or deleted through the link.
    symlink(&outside, pair.at.join("trap-on-copy")).unwrap();
    let disturb = |_| swap(&pair.copy.join("dir"), &pair.at.join("trap-on-copy"));
    while_disturbed(disturb, || {
        for round in 0..40 {
            fs::write(pair.source.join(format!("dir/sub/{round}")), "changed").unwrap();
            let report = sync::run(&pair.source, &pair.copy, &[]);
            assert!([0, 1, 3].contains(&report.exit), "{report:#?}");
        }
    });
    assert_eq!(touched(&before, &Snapshot::of(&outside)), Vec::<Vec<u8>>::new(), "written through a link");
}

/// What stands on the copy is replaced at times: then there is nothing to swap for a moment.
fn swap(a: &Path, b: &Path) {
    let _ = rustix::fs::renameat_with(CWD, a, CWD, b, RenameFlags::EXCHANGE);
}

#[test]
fn a_link_that_stands_on_the_copy_is_replaced_and_not_followed() {
    let pair = Pair::new();
    let outside = pair.at.join("outside");
    fs::create_dir_all(pair.source.join("dir")).unwrap();
    fs::create_dir(&outside).unwrap();
    fs::write(pair.source.join("dir/file"), "x").unwrap();
    fs::write(pair.source.join("file"), "x").unwrap();
    fs::write(outside.join("file"), "precious").unwrap();
    symlink(&outside, pair.copy.join("dir")).unwrap();
    symlink(outside.join("file"), pair.copy.join("file")).unwrap();
    let before = Snapshot::of(&outside);
    sync(&pair.source, &pair.copy);
    assert_equal(&pair.source, &pair.copy, "links replaced");
    assert_eq!(touched(&before, &Snapshot::of(&outside)), Vec::<Vec<u8>>::new());
}

// -- excludes

#[test]
fn what_is_excluded_is_neither_copied_nor_deleted() {
    let pair = Pair::new();
    for name in ["tmp", "var/tmp/deep", "src", "src/tmp"] {
        fs::create_dir_all(pair.source.join(name)).unwrap();
        fs::create_dir_all(pair.copy.join(name)).unwrap();
    }
    for name in ["tmp/a", "var/tmp/deep/b", "src/x.o", "src/tmp/stays", "src/x.c"] {
        fs::write(pair.source.join(name), "of the source").unwrap();
    }
    for name in ["tmp/mine", "var/tmp/deep/mine", "src/mine.o", "src/extra"] {
        fs::write(pair.copy.join(name), "of the copy").unwrap();
    }
    let excludes = ["/tmp/*", "/var/tmp/**", "*.o"];
    let arguments: Vec<&str> = excludes.iter().flat_map(|glob| ["--exclude", glob]).collect();
    sync::run(&pair.source, &pair.copy, &arguments).expect_done();
    for name in ["tmp/a", "var/tmp/deep/b", "src/x.o", "src/extra"] {
        assert!(!pair.copy.join(name).exists(), "{name} should not be there");
    }
    for name in ["tmp/mine", "var/tmp/deep/mine", "src/mine.o", "src/tmp/stays", "src/x.c"] {
        assert!(pair.copy.join(name).exists(), "{name} should be there");
    }
    let listed = rsync_judge::changes(&pair.source, &pair.copy, &excludes);
    assert_eq!(listed, "", "rsync with the same excludes");
    let again = sync::run(&pair.source, &pair.copy, &arguments).expect_done();
    again.expect_no_change("second sync with excludes");
}

#[test]
fn a_directory_that_goes_but_for_what_is_excluded_settles() {
    let pair = Pair::new();
    fs::create_dir_all(pair.copy.join("gone/sub/deep")).unwrap();
    fs::create_dir_all(pair.copy.join("gone/kept")).unwrap();
    for name in ["gone/x.c", "gone/sub/deep/y.c", "gone/kept/x.o", "1.o"] {
        fs::write(pair.copy.join(name), "of the copy").unwrap();
    }
    let arguments = ["--exclude", "*.o"];
    let announced = sync::run(&pair.source, &pair.copy, &["--dry-run", "--exclude", "*.o"]).expect_done();
    let done = sync::run(&pair.source, &pair.copy, &arguments).expect_done();
    assert_eq!((announced.count("deleted"), done.count("deleted")), (4, 4));
    assert!(pair.copy.join("gone/kept/x.o").exists() && !pair.copy.join("gone/sub").exists());
    let again = sync::run(&pair.source, &pair.copy, &arguments).expect_done();
    again.expect_no_change("what is left leads to what is excluded");
}

#[test]
fn no_pattern_keeps_anything_in_the_workspace() {
    let pair = Pair::new();
    fs::create_dir_all(pair.copy.join("name/below")).unwrap();
    fs::write(pair.source.join("name"), "now a file").unwrap();
    sync::run(&pair.source, &pair.copy, &["--exclude", "[0-9]*", "--exclude", "tmp"]).expect_done();
    assert_equal(&pair.source, &pair.copy, "patterns that match what the workspace calls things");
}

// -- signals

/// Whether a process has installed a handler for SIGUSR1 (proc(5): SigCgt, a mask in hexadecimal).
fn catches_usr1(pid: u32) -> bool {
    let status = fs::read_to_string(format!("/proc/{pid}/status")).unwrap();
    let mask = status.lines().find_map(|line| line.strip_prefix("SigCgt:")).unwrap();
    u64::from_str_radix(mask.trim(), 16).unwrap() & (1 << (10 - 1)) != 0
}

#[test]
fn usr1_is_answered_with_how_far_the_sync_is() {
    let pair = Pair::new();
    for n in 0..500 {
        fs::write(pair.source.join(n.to_string()), "x").unwrap();
    }
    let mut command = sync::command(&pair.source, &pair.copy, &[]);
    let mut child = command.stdout(Stdio::piped()).stderr(Stdio::piped()).spawn().unwrap();
    while !catches_usr1(child.id()) {
        assert_eq!(child.try_wait().unwrap(), None, "it ended before it could be asked");
    }
    let pid = rustix::process::Pid::from_child(&child);
    rustix::process::kill_process(pid, rustix::process::Signal::USR1).unwrap();
    let output = child.wait_with_output().unwrap();
    let said = String::from_utf8_lossy(&output.stderr);
    assert!(output.status.success() && said.starts_with("copying: "), "{said}");
    assert_equal(&pair.source, &pair.copy, "after the question");
}

// -- refusals

#[test]
fn what_was_proved_not_to_lie_in_the_source_is_what_is_entered() {
    let pair = Pair::new();
    let inner = pair.source.join("inner");
    fs::create_dir(&inner).unwrap();
    for n in 0..20 {
        fs::write(pair.source.join(n.to_string()), "x").unwrap();
    }
    let (alias, other) = (pair.at.join("alias"), pair.at.join("other"));
    symlink(&pair.copy, &alias).unwrap();
    symlink(&inner, &other).unwrap();
    let before = Snapshot::of(&pair.source);
    while_disturbed(
        |_| swap(&alias, &other),
        || {
            for _ in 0..200 {
                let report = sync::run(&pair.source, &alias, &[]);
                assert!([0, 4].contains(&report.exit), "{report:#?}");
                let touched = touched(&before, &Snapshot::of(&pair.source));
                assert_eq!(touched, Vec::<Vec<u8>>::new(), "the source was copied into itself");
            }
        },
    );
}

#[test]
fn trees_that_contain_each_other_are_refused_however_they_are_named() {
    let pair = Pair::new();
    fs::create_dir_all(pair.source.join("inner/most")).unwrap();
    fs::write(pair.source.join("file"), "x").unwrap();
    fs::write(pair.source.join("inner/file"), "x").unwrap();
    symlink(&pair.source, pair.at.join("alias")).unwrap();
    let (source, at) = (&pair.source, &pair.at);
    let mut refused = vec![
        (source.clone(), source.clone()),
        (source.clone(), source.join("inner")),
        (source.clone(), source.join("inner/most")),
        (source.join("inner"), source.clone()),
        (at.join("alias"), source.join("inner")),
        (source.clone(), at.join("alias")),
        (source.clone(), source.join("inner/../inner/most/..")),
        (source.join("inner"), at.join("copy/../source")),
    ];
    if common::root_or_skip("trees that contain each other by a bind mount") {
        private_mounts();
        fs::create_dir(at.join("bound")).unwrap();
        tool(Command::new("mount").arg("--bind").arg(source).arg(at.join("bound")));
        refused.push((source.clone(), at.join("bound")));
        refused.push((source.clone(), at.join("bound/inner")));
        refused.push((at.join("bound/inner"), source.clone()));
    }
    let before = Snapshot::of(at);
    for (from, to) in refused {
        let report = sync::run(&from, &to, &[]);
        assert_eq!(report.exit, 4, "{} to {}: {report:#?}", from.display(), to.display());
        assert!(report.stderr.contains("state: nothing was written"), "{report:#?}");
        let touched = touched(&before, &Snapshot::of(at));
        assert_eq!(touched, Vec::<Vec<u8>>::new(), "{} to {}", from.display(), to.display());
    }
}

#[test]
fn a_source_that_is_missing_or_no_directory_deletes_nothing() {
    let pair = Pair::new();
    fs::write(pair.copy.join("precious"), "x").unwrap();
    fs::write(pair.at.join("a-file"), "x").unwrap();
    let before = Snapshot::of(&pair.copy);
    for source in ["no-such", "a-file"] {
        let report = sync::run(&pair.at.join(source), &pair.copy, &[]);
        assert!([1, 4].contains(&report.exit), "{report:#?}");
        assert!(report.stderr.contains("state:") && report.stderr.contains(source), "{report:#?}");
    }
    assert_eq!(touched(&before, &Snapshot::of(&pair.copy)), Vec::<Vec<u8>>::new());
}

#[test]
fn a_full_copy_fails_and_leaves_every_file_old_or_new() {
    if !common::root_or_skip("a copy that runs full") {
        return;
    }
    let small = LoopFs::new(Kind::Ext4, 96);
    let scratch = common::scratch();
    let (source, copy) = (scratch.path(), small.dir("copy"));
    let fill = |byte: u8| {
        for n in 0..6 {
            fs::write(source.join(format!("file-{n}")), vec![byte; 4 << 20]).unwrap();
        }
    };
    fill(b'o');
    sync(source, &copy);
    fill(b'n');
    fs::write(source.join("too-large"), vec![b'n'; 120 << 20]).unwrap();
    let report = sync::run(source, &copy, &[]);
    assert!([1, 3].contains(&report.exit), "{report:#?}");
    for n in 0..6 {
        let content = fs::read(copy.join(format!("file-{n}"))).unwrap();
        let whole = content.len() == 4 << 20 && content.iter().all(|byte| *byte == content[0]);
        assert!(whole, "file-{n} is torn");
    }
    fs::remove_file(source.join("too-large")).unwrap();
    OpenOptions::new().write(true).open(source.join("file-0")).unwrap().set_len(10).unwrap();
    sync(source, &copy);
    assert_equal(source, &copy, "with room again");
}
