//! `diskmirror sync` from the outside, in small: it makes equal, keeps to what was asked, and refuses what it must.

use std::fs;
use std::os::unix::fs::{MetadataExt, PermissionsExt, symlink};
use std::path::Path;
use std::process::{Command, Output};

fn sync(source: &Path, mirror: &Path, more: &[&str]) -> Output {
    let program = env!("CARGO_BIN_EXE_diskmirror");
    Command::new(program).arg("sync").args([source, mirror]).args(more).output().expect("the program starts")
}

fn tree() -> (tempfile::TempDir, std::path::PathBuf, std::path::PathBuf) {
    let dir = tempfile::tempdir().expect("a temporary directory");
    let (source, mirror) = (dir.path().join("source"), dir.path().join("mirror"));
    fs::create_dir_all(source.join("a/b")).expect("make");
    fs::create_dir(&mirror).expect("make");
    fs::write(source.join("a/b/file"), "content").expect("write");
    fs::set_permissions(source.join("a/b/file"), fs::Permissions::from_mode(0o640)).expect("chmod");
    fs::hard_link(source.join("a/b/file"), source.join("linked")).expect("link");
    symlink("a/b", source.join("symlink")).expect("symlink");
    (dir, source, mirror)
}

#[test]
fn what_is_synced_is_equal_and_the_next_sync_finds_nothing() {
    let (_dir, source, mirror) = tree();
    assert!(sync(&source, &mirror, &[]).status.success());
    assert_eq!(fs::read(mirror.join("a/b/file")).expect("read"), b"content");
    let (file, linked) = (mirror.join("a/b/file"), mirror.join("linked"));
    let [file, linked] = [file, linked].map(|path| path.metadata().expect("there"));
    let original = source.join("linked").metadata().expect("there");
    assert_eq!(
        (file.ino(), file.mode(), file.mtime_nsec()),
        (linked.ino(), original.mode(), original.mtime_nsec())
    );
    assert_eq!(fs::read_link(mirror.join("symlink")).expect("a link"), Path::new("a/b"));
    assert!(!mirror.join(".diskmirror").exists());
    assert!(sync(&source, &mirror, &["--dry-run"]).stdout.is_empty());
}

#[test]
fn types_change_in_both_directions_and_what_is_gone_is_deleted() {
    let (_dir, source, mirror) = tree();
    sync(&source, &mirror, &[]);
    fs::remove_dir_all(source.join("a")).expect("remove");
    fs::write(source.join("a"), "now a file").expect("write");
    fs::remove_file(source.join("symlink")).expect("remove");
    fs::create_dir(source.join("symlink")).expect("make");
    fs::write(source.join("symlink/new"), "new").expect("write");
    fs::remove_file(source.join("linked")).expect("remove");
    assert!(sync(&source, &mirror, &[]).status.success());
    assert_eq!(fs::read(mirror.join("a")).expect("a file"), b"now a file");
    assert_eq!(fs::read(mirror.join("symlink/new")).expect("in a directory"), b"new");
    assert!(!mirror.join("linked").exists());
    assert!(sync(&source, &mirror, &["--dry-run"]).stdout.is_empty());
}

#[test]
fn a_dry_run_lists_the_changes_and_writes_nothing() {
    let (_dir, source, mirror) = tree();
    let listed = sync(&source, &mirror, &["--dry-run"]);
    assert!(String::from_utf8_lossy(&listed.stdout).contains("cd+++++++++ a/b/\n"));
    let counted = sync(&source, &mirror, &["--dry-run", "--json"]);
    let object: serde_json::Value =
        serde_json::from_slice(&counted.stdout).expect("one object and nothing else");
    assert_eq!((&object["files_copied"], &object["hardlinks"]), (&2.into(), &1.into()));
    assert_eq!(fs::read_dir(&mirror).expect("list").count(), 0);
}

#[test]
fn what_is_left_out_is_neither_copied_nor_deleted() {
    let (_dir, source, mirror) = tree();
    fs::create_dir(mirror.join("a")).expect("make");
    fs::write(mirror.join("a/kept"), "kept").expect("write");
    assert!(sync(&source, &mirror, &["--exclude", "/a/*"]).status.success());
    assert_eq!(fs::read(mirror.join("a/kept")).expect("kept"), b"kept");
    assert!(!mirror.join("a/b").exists());
}

#[test]
fn the_mirrors_own_directory_is_left_alone_on_both_sides() {
    let (_dir, source, mirror) = tree();
    for side in [&source, &mirror] {
        fs::create_dir(side.join(".diskmirror")).expect("make");
        fs::write(side.join(".diskmirror/mark"), side.to_str().expect("text")).expect("write");
    }
    assert!(sync(&source, &mirror, &[]).status.success());
    let mark = fs::read_to_string(mirror.join(".diskmirror/mark")).expect("still there");
    assert_eq!(Path::new(&mark), mirror);
}

#[test]
fn a_killed_run_is_swept_and_what_it_wrote_is_compared_by_content() {
    let (_dir, source, mirror) = tree();
    sync(&source, &mirror, &[]);
    fs::create_dir_all(mirror.join(".diskmirror/tmp/7/below")).expect("make");
    fs::write(mirror.join(".diskmirror/tmp/8"), "half a fi").expect("write");
    let original = source.join("linked").metadata().expect("there");
    let lost = fs::File::create(mirror.join("linked")).expect("open");
    lost.set_len(original.len()).expect("zeros of the right size");
    lost.set_modified(original.modified().expect("a time")).expect("and of the right time");
    let said = sync(&source, &mirror, &[]);
    assert!(said.status.success());
    assert!(
        String::from_utf8_lossy(&said.stdout).contains(" 0 deleted,"),
        "what was swept was no part of it"
    );
    assert_eq!(fs::read(mirror.join("linked")).expect("read"), b"content");
    assert!(!mirror.join(".diskmirror").exists());
}

#[test]
fn trees_that_contain_each_other_are_refused() {
    let (_dir, source, mirror) = tree();
    let below = source.join("a/b");
    for (from, to) in [(&source, &source), (&source, &below), (&below, &source)] {
        let refused = sync(from, to, &[]);
        assert_eq!(refused.status.code(), Some(4));
        assert!(String::from_utf8_lossy(&refused.stderr).contains("state: nothing was written to"));
    }
    assert_eq!(sync(&source.join("absent"), &mirror, &[]).status.code(), Some(4));
    assert_eq!(fs::read_dir(&mirror).expect("list").count(), 0);
}

#[test]
fn a_link_of_another_user_on_the_way_to_either_side_is_refused_and_nothing_is_written() {
    if !rustix::process::geteuid().is_root() {
        println!("skipped: only root can give a link away");
        return;
    }
    let (dir, source, mirror) = tree();
    let (led, given) = (dir.path().join("led"), dir.path().join("given"));
    for (link, target) in [(&led, "."), (&given, "mirror")] {
        symlink(target, link).expect("symlink");
        let done = sync(&source, &given, &["--dry-run"]).status.code();
        assert!(link != &given || done == Some(0), "root's own link leads on");
        std::os::unix::fs::lchown(link, Some(4242), Some(4242)).expect("root may");
    }
    for (from, to) in [
        (source.clone(), given.clone()),
        (source.clone(), led.join("mirror")),
        (given.clone(), mirror.clone()),
        (led.join("source"), mirror.clone()),
    ] {
        let said = sync(&from, &to, &[]);
        let stderr = String::from_utf8_lossy(&said.stderr);
        assert_eq!(said.status.code(), Some(4), "{stderr}");
        for words in ["a symbolic link of user 4242", "state: nothing was written", "do: "] {
            assert!(stderr.contains(words), "{words:?} in {stderr}");
        }
        assert_eq!(fs::read_dir(&mirror).expect("readable").count(), 0);
    }
}
