//! What was renamed since the last sync is renamed on the mirror: nothing is copied, nothing is deleted, and the mirror
//! keeps its inodes. And what only looks like it is copied: see common/moved.rs for how the cases are written and judged.

mod common;
#[path = "common/disks.rs"]
mod disks;

use common::cataloged::{Cataloged, SMALL_INODES, TICKS};
use common::comparer::{Snapshot, compare, touched};
use common::generate::set_mtime;
use common::loopfs::{Kind, tool};
use common::moved::{Case, judge, mirrors, renames, script};
use common::raw::set_project;
use common::sync_command::{self as sync, FIGURES};
use std::fs::{self, File, Permissions};
use std::os::fd::AsFd;
use std::os::unix::fs::{MetadataExt, PermissionsExt};
use std::os::unix::process::CommandExt;
use std::path::Path;
use std::process::{Command, Stdio};

// -- what is renamed

#[rustfmt::skip]
const FILES: &[Case] = &[
    renames("another name", "file a b", "mv a z", 1),
    renames("another directory", "tree d e", "mv d/one e/uno; mv d/sub/three .", 2),
    renames("a chain", "file a b", "mv b c; mv a b", 2),
    renames("a longer chain", "file a b c d", "mv d e; mv c d; mv b c; mv a b", 4),
    renames("a chain through directories", "tree d e; file f", "mv e/one e/uno; mv d/one e/one; mv f d/one", 3),
    renames("two change places", "file a b", "swap a b", 2),
    renames("two in two directories change places", "tree d e", "swap d/one e/one", 2),
    renames("a cycle of three", "file a b c", "mv a t; mv b a; mv c b; mv t c", 3),
    renames("a cycle of five in three directories", "tree d e; file f",
        "mv f t; mv d/one f; mv e/one d/one; mv d/two e/one; mv e/two d/two; mv t e/two", 5),
    renames("a cycle and a chain at once", "file a b c d", "swap a b; mv d e; mv c d", 4),
    renames("into a new directory", "file a b", "mkdir n; mv a n/a", 1),
    renames("into a new directory below new ones", "file a b", "mkdir -p n/o/p; mv a n/o/p/q; mv b n/b", 2),
    renames("over another", "file a b", "mv a b", 1).replaces(),
    renames("over another, elsewhere", "tree d e", "mv d/one e/two", 1).replaces(),
    renames("rotation", "file log log.1 log.2 log.3",
        "rm log.3; mv log.2 log.3; mv log.1 log.2; mv log log.1; file log", 3).copies(1).replaces(),
    renames("out of a directory that goes", "tree d", "mv d/one .; mv d/sub/three d.3; rm -r d", 2).replaces(),
    renames("the name is taken by a new file", "file a", "mv a b; file a", 1).copies(1),
    renames("the name is taken by a directory", "file a", "mv a b; mkdir a; file a/a", 1).copies(1),
    renames("the name is taken by the directory it lies in", "file a", "mkdir t; mv a t/a; mv t a", 1),
    renames("there and back", "file a b", "mv a t; mv t a", 0),
    renames("two there and back", "file a b", "swap a b; swap a b", 0),
    renames("odd names", "file a b 'x y'", "mv a \"$(printf 'new\\nline\\377')\"; mv b \"$(printf %0255d 0)\"; mv x\\ y -- ' '", 3),
    renames("closed to everybody", "file a; chmod 0 a", "mv a b", 1),
    mirrors("empty ones", ": >a; : >b", "swap a b; : >c; mv a d"),
    mirrors("equal ones", "echo x >a; echo x >b; echo x >c; cp -p c d", "mv b e; mv a b; mv d a; mv c d"),
    renames("a large one with holes", "truncate -s 40M a; printf x | dd of=a bs=1 seek=9000000 conv=notrunc", "mv a b", 1),
    mirrors("what is no regular file", "ln -s x l; ln -s y m; mkfifo p q", "swap l m; mv p r; mkdir d; mv q d"),
    mirrors("a file and a link change places", "file a; ln -s a l", "swap a l"),
    mirrors("a fifo over a file", "file a; mkfifo p", "mv p a"),
];

#[rustfmt::skip]
const DIRECTORIES: &[Case] = &[
    renames("another name", "tree d", "mv d e", 1),
    renames("an empty one", "mkdir d", "mv d e", 1),
    renames("below another", "tree d e", "mv d e/d", 1),
    renames("to the top", "tree d/e", "mv d/e .", 1),
    renames("into a new one", "tree d", "mkdir -p n/o; mv d n/o/p", 1),
    renames("two change places", "tree d e", "swap d e", 2),
    renames("two elsewhere change places", "tree p/d q/r/e", "swap p/d q/r/e", 2),
    renames("a chain", "tree a b", "mv b c; mv a b", 2),
    renames("a longer chain", "tree a b c", "mv c d; mv b c; mv a b", 3),
    renames("a chain across", "tree p/a b", "mv b p/b; mv p/a b", 2),
    renames("a cycle of three", "tree a b c", "mv a t; mv b a; mv c b; mv t c", 3),
    renames("a cycle of four at all depths", "tree a b/x c/y/z d/u/v/w",
        "mv a t; mv b/x a; mv c/y/z b/x; mv d/u/v/w c/y/z; mv t d/u/v/w", 4),
    renames("into its own former child", "tree a a/b", "mv a/b b; mv a b/a", 2),
    renames("child and parent take each other's places and names", "tree a a/b", "mv a/b t; mv a t/b; mv t a", 2),
    renames("three turned upside down", "tree a a/b a/b/c", "mv a/b/c c; mv a/b c/b; mv a c/b/a", 3),
    renames("into a new one that takes its name", "tree a", "mkdir t; mv a t/x; mv t a", 1),
    renames("into a new one of its own name", "tree a", "mkdir t; mv a t/a; mv t a", 1),
    mirrors("one with a file into a new one that takes its name", "mkdir a; file a/f", "mkdir t; mv a t/x; mv t a"),
    renames("below new ones of its own name", "tree a", "mkdir -p t/a; mv a t/a/a; mv t a", 1),
    renames("a level is taken away", "mkdir a; tree a/x", "mv a/x t; rmdir a; mv t a", 1).replaces(),
    renames("over an empty one", "tree d; mkdir e", "mv -T d e", 1).replaces(),
    renames("in place of one that is gone", "tree d e", "rm -r e; mv d e", 1).replaces(),
    renames("in place of a file", "tree d; file f", "rm f; mv d f", 1).replaces(),
    renames("a file in its place", "tree d; file f", "rm -r d; mv f d", 1).replaces(),
    mirrors("a file changes places with it", "tree d; file f", "swap d f"),
    mirrors("a file changes places with the one it lies in", "tree d", "mv d/one t; mv d e; mv t d"),
    mirrors("a link in its place", "tree d", "mv d e; ln -s e d"),
    renames("in place of a link to it", "tree d; ln -s d s", "rm s; mv d s", 1).replaces(),
    renames("rotation", "tree d d.1 d.2 d.3",
        "rm -r d.3; mv d.2 d.3; mv d.1 d.2; mv d d.1; mkdir d; file d/new", 3).copies(1).replaces(),
    renames("rotation by one more", "tree d d.1 d.2", "mv d.2 d.3; mv d.1 d.2; mv d d.1; mkdir d", 3),
    renames("all that is in it into a new one", "mkdir d; file d/1 d/2 d/3; tree d/4", "mkdir n; mv d/* n; rmdir d", 4).replaces(),
    renames("all that is in it up", "mkdir d; file d/1 d/2 d/3; tree d/4", "mv d/* .; rmdir d", 4).replaces(),
    renames("closed to everybody", "tree d; chmod 0 d", "mv d e", 1),
    renames("there and back", "tree d e", "mv d t; mv t d; swap d e; swap d e", 0),
    renames("many", "for i in $(seq 60); do mkdir -p d/$i; file d/$i/f; done",
        "mkdir e; for i in $(seq 60); do mv d/$i e/$((61 - i)); done", 60),
];

#[rustfmt::skip]
const NESTED: &[Case] = &[
    renames("and a file in it", "tree d", "mv d e; mv e/one e/uno", 2),
    renames("and a directory in it", "tree d", "mv d e; mv e/sub e/bus", 2),
    renames("and all above it", "tree p/d/g", "mv p q; mv q/d q/e; mv q/e/g q/e/h", 3),
    renames("and another takes its place in it", "tree d f", "mv d e; mv e/sub s; mv f e/sub", 3),
    renames("what was in it moves out before", "tree d", "mv d/sub s; mv d/one o; mv d e", 3),
    renames("what was in it moves out afterwards", "tree d", "mv d e; mv e/sub s; mv e/one o", 3),
    renames("something moves in", "tree d g; file f", "mv f d/f; mv g d/g; mv d e", 3),
    renames("something moves in and takes a place", "tree d; file f", "mv d e; mv e/one e/uno; mv f e/one", 3),
    renames("from one renamed into another", "tree d e", "mv d f; mv e g; mv f/one g/uno; mv f/sub g/bus", 4),
    renames("two change places, and files in them", "tree d e", "swap d e; mv d/one t; mv e/two d/one; mv t e/two", 4),
    renames("into one that changed places, in exchange for what was there", "tree d e g; tree d/x",
        "swap d g; mv g/x t; mv e d/x; mv t e", 4),
    renames("out of one that changed places, in exchange for another", "tree d e g d/x",
        "mv e t; mv d/x e; swap d g; mv t d/x", 4),
    renames("out of one that goes below its child, in place of a file", "mkdir -p a/back a/b c; file a/b/n c/f",
        "mv c/f q; mv a/b c/f; mv a/back t; mv a t/d; mv t a", 4),
    renames("into what takes its place", "tree d e", "mv d t; mv e d; mv t d/old", 2),
    mirrors("two change places, and what is in them back", "tree d e", "swap d e; swap d/sub e/sub; swap d/one e/one").copies(0).deletes(0),
    mirrors("a file stays where a directory was", "tree d", "mv d e; mkdir d; mv e/one d/one"),
    mirrors("a directory stays where another was", "tree d", "mv d e; mkdir d; mv e/sub d/sub"),
    renames("a file is written to", "tree d", "mv d e; echo more >>e/sub/three", 1).copies(1),
    renames("a file is written to, its mtime put back", "tree d", "mv d e; overwrite e/one e/sub/three", 1).copies(2),
    renames("it was written to before", "tree d", "overwrite d/one; echo more >>d/two; mv d e", 1).copies(2),
    renames("files are added", "tree d", "mv d e; file e/new e/sub/new; mkdir e/more; file e/more/new", 1).copies(3),
    renames("files are deleted", "tree d", "mv d e; rm e/one e/sub/three", 1).deletes(2),
    renames("a directory is deleted", "tree d", "mv d e; rm -r e/sub", 1).deletes(3),
    renames("types change in it", "tree d", "mv d e; rm -r e/sub e/one; file e/sub; mkdir e/one; file e/one/x", 1).copies(2).replaces(),
    renames("entries in it get other metadata", "tree d",
        "mv d e; chmod 640 e/one; chmod 711 e/sub; touch -d @5 e/sub/empty; mkfifo e/p", 1).copies(1),
    renames("all at once", "tree d d/deep",
        "mv d e; mv e/deep/sub e/bus; rm e/deep/two; file e/bus/new; overwrite e/two; mv e/one e/bus/uno; chmod 700 e", 3).copies(2).deletes(1),
    mirrors("the renamed one's old place is used again", "tree d", "mv d e; tree d"),
    mirrors("a copy beside it", "tree d", "mv d e; cp -a e d"),
];

#[rustfmt::skip]
const CHANGED: &[Case] = &[
    mirrors("written to", "file a", "mv a b; echo more >>b"),
    mirrors("written to, its mtime put back", "file a", "mv a b; overwrite b"),
    mirrors("written to before, its mtime put back", "file a", "overwrite a; mv a b"),
    mirrors("cut off, its mtime put back", "file a", "mv a b; truncate -s 0 b; touch -d @1700000000 b"),
    mirrors("two change places and one is written to", "file a b", "swap a b; overwrite a"),
    mirrors("a cycle in which all are written to", "file a b c", "swap a b; swap b c; overwrite a b c"),
    mirrors("over another, and written to", "file a b", "mv a b; overwrite b"),
    mirrors("touched", "file a; tree d", "mv a b; touch b; mv d e; touch e e/one e/sub e/sub/three"),
    renames("another mode", "file a; tree d", "mv a b; chmod 604 b; mv d e; chmod 2750 e", 2),
    renames("another xattr", "file a; tree d; setfattr -n user.x -v 1 a; setfattr -n user.x -v 1 d",
        "mv a b; setfattr -n user.x -v 2 b; setfattr -n user.y -v z b; mv d e; setfattr -x user.x e; setfattr -n user.z -v 1 e", 2),
    renames("a directory's mtime", "tree d", "mv d e; touch -d @1234567890.987654321 e e/sub", 1),
    mirrors("made again by a tool that writes anew", "file a b", "cp -p a t; mv t a; rm b; mv a b"),
    mirrors("in another's place with its size and mtime", "file a b; cp a c", "mv a t; mv b a; rm t c"),
    mirrors("a copy under the name, the old one gone", "file a; tree d", "cp -a a t; rm a; mv t a; cp -a d t; rm -r d; mv t d"),
];

#[rustfmt::skip]
const LINKED: &[Case] = &[
    renames("one name of two", "file a; ln a b", "mv a c", 1),
    renames("all names", "file a; ln a b", "mv a c; mv b d", 2),
    renames("into other directories", "tree p q; file a; ln a p/b", "mv a q/a; mv p/b c", 2),
    renames("names of two files change places", "file a x; ln a b; ln x y", "swap a x", 2),
    renames("all names of two files change places", "file a x; ln a b; ln x y", "swap a x; swap b y", 4),
    renames("two names of one file change places", "file a; ln a b", "swap a b", 0),
    renames("a chain", "file a b; ln a c; ln b d", "mv b e; mv a b", 2),
    renames("a name goes", "file a; ln a b; ln a c", "rm a", 0).deletes(1),
    renames("a name goes and another is renamed", "file a; ln a b; ln a c", "rm a; mv b d", 1).deletes(1),
    renames("renamed, and a new name", "file a", "mv a b; ln b c", 1).links(1),
    renames("one of two renamed, and a new name", "file a; ln a b", "mv a c; ln c d", 1).links(1),
    renames("a directory with a name in it", "tree d; ln d/one x", "mv d e", 1),
    renames("a directory with all names in it", "tree d; ln d/one d/sub/uno", "mv d e", 1),
    renames("a directory and a name in it", "tree d; ln d/one d/sub/uno; ln d/one x", "mv d e; mv e/sub/uno y", 2),
    renames("two directories that share a file change places", "tree d e; ln d/one e/uno", "swap d e", 2),
    renames("names gather in a new directory", "file a; ln a b; ln a c", "mkdir n; mv a b c n", 3),
    renames("over another's name", "file a x; ln a b; ln x y", "mv a x", 1).replaces(),
    renames("a name is given up for a copy", "file a; ln a b", "mv a c; cp -p c t; mv t c", 0).copies(1).deletes(1),
    renames("the old name is a new file's", "file a; ln a b", "mv a c; file a", 1).copies(1),
    renames("the old name is another's", "file a x; ln a b", "mv a c; mv x a", 2),
    mirrors("written to", "file a; ln a b", "mv a c; overwrite c"),
    mirrors("written to, all names renamed", "file a; ln a b; tree d; ln a d/c", "mv a e; mv b d/b; overwrite e; mv d f"),
    mirrors("split and joined", "file a x; ln a b; ln x y", "rm b; ln x b; mv a z; ln z w"),
    mirrors("links and fifos with several names", "ln -s t l; ln l m; mkfifo p; ln p q", "mv l n; mv q r; mkdir d; mv m p d"),
];

#[rustfmt::skip]
const GUARDED: &[Case] = &[
    renames("another owner", "file a; tree d", "mv a b; chown 1000:1001 b; mv d e; chown 7:8 e", 2),
    renames("into a directory that hands on its group and a list", "file a; tree d; mkdir s; chgrp 1000 s; chmod 2775 s; setfacl -d -m u:1001:rwx s",
        "mv a s; mv d s", 2),
    renames("into a new one that hands them on", "file a; tree d", "mkdir s; chgrp 1000 s; chmod 2775 s; setfacl -d -m u:1001:rwx s; mv a s; mv d s", 2),
    renames("new files in one that hands them on", "tree d; chgrp 1000 d; chmod 2775 d; setfacl -d -m u:1001:rwx d", "mv d e; file e/new; mkdir e/dir", 1).copies(1),
    renames("lists", "file a; setfacl -m u:1001:r a; tree d; setfacl -m u:1001:rx d", "mv a b; setfacl -m u:1002:rw b; mv d e; setfacl -b e", 2),
    renames("capabilities", "file a; setfattr -n security.capability -v 0x0100000200040000000000000000000000000000 a; setfattr -n trusted.x -v y a", "mv a b", 1),
    renames("immutable since", "file a; tree d", "mv a b; chattr +i b; mv d e; chattr +i e", 2),
    renames("immutable until then", "file a; tree d; chattr +i a d", "chattr -i a d; mv a b; mv d e", 2),
    renames("immutable before and after", "file a; tree d; chattr +i a d", "chattr -i a d; mv a b; mv d e; chattr +i b e", 2),
    renames("append-only before and after", "file a; tree d; chattr +a a d", "chattr -a a d; mv a b; mv d e; chattr +a b e", 2),
    renames("immutable entries in it", "tree d; chattr +i d/one d/sub", "mv d e", 1),
    renames("out of and into immutable and append-only ones", "tree p q; chattr +i p; chattr +a q",
        "chattr -i p; chattr -a q; mv p/one q/uno; mv p/sub q/bus; chattr +i p; chattr +a q", 2),
    renames("immutable ones change places", "file a b; tree d e; chattr +i a b d e", "chattr -i a b d e; swap a b; swap d e; chattr +i a b d e", 4),
    renames("over an immutable one", "file a b; chattr +i b", "chattr -i b; mv a b; chattr +i b", 1).replaces(),
    renames("an immutable name of two", "file a; ln a b; chattr +i a", "chattr -i a; mv a c; chattr +i c", 1),
    renames("immutable, below a new one of its name", "tree a; chattr +i a", "chattr -i a; mkdir t; mv a t/a; mv t a; chattr +i a a/a", 1),
    mirrors("immutable and written to", "file a; chattr +i a", "chattr -i a; mv a b; overwrite b; chattr +i b"),
    mirrors("devices", "mknod a c 1 3; mknod b b 7 9; tree d; mknod d/n c 1 5", "swap a b; mv d e"),
];

fn everywhere(what: &str, cases: &[Case]) {
    judge(Cataloged::new(), what, cases);
    if common::root_or_skip(&format!("{what}, on XFS")) {
        judge(Cataloged::apart(Kind::Xfs, &[]), &format!("{what}, XFS"), cases);
    }
}

#[test]
fn files_that_were_renamed_are_renamed() {
    everywhere("files", FILES);
}

#[test]
fn directories_that_were_renamed_are_renamed_as_a_whole() {
    everywhere("directories", DIRECTORIES);
}

#[test]
fn what_changed_in_a_directory_that_was_renamed_is_changed_in_it() {
    everywhere("directories with changes", NESTED);
}

#[test]
fn what_was_renamed_and_changed_has_the_change() {
    everywhere("changed files", CHANGED);
}

#[test]
fn names_of_hard_linked_files_that_were_renamed_are_renamed() {
    everywhere("hard links", LINKED);
}

#[test]
fn owners_lists_and_flags_neither_hinder_a_rename_nor_get_lost_in_one() {
    if common::root_or_skip("renames of what only root may make") {
        everywhere("guarded", GUARDED);
    }
}

/// A file system that does not tell when an entry was made tells no file that was renamed from one that got its inode.
#[test]
fn without_birth_times_the_mirror_follows_however_it_can() {
    if !common::root_or_skip("renames on an ext4 with small inodes") {
        return;
    }
    let pair = Cataloged::apart(Kind::Ext4, SMALL_INODES);
    script(&pair.source, "tree d e f; file a b c", 0);
    let pair = pair.settled();
    script(
        &pair.source,
        "mv d g; swap e f; swap a b; rm c; file h; touch -r b h; mv f/one f/sub; rm g/two",
        100,
    );
    pair.sync_and_judge("small inodes");
}

#[test]
fn what_was_renamed_right_after_it_was_made_is_right() {
    let pair = Cataloged::new();
    for round in 0..6 {
        script(&pair.source, "rm -rf d e; tree d; file a b", 100 * round);
        pair.sync();
        script(
            &pair.source,
            "mv d e; overwrite e/one; swap a b; overwrite a; mv e/sub d; file d/new",
            100 * round + 50,
        );
        pair.sync();
        assert!(pair.differences().is_empty(), "round {round}: {:?}", pair.differences());
    }
    pair.sync_and_judge("at the end");
}

#[test]
fn more_files_than_a_batch_holds_are_renamed_each_time() {
    let pair = Cataloged::new();
    for n in 0..5000 {
        pair.write(&format!("from/{}/{n}", n % 7), n.to_string());
    }
    let pair = pair.settled();
    fs::create_dir(pair.at("to")).unwrap();
    for is_back in [false, true] {
        for n in 0..5000 {
            let (here, there) =
                (pair.at(&format!("from/{}/{n}", n % 7)), pair.at(&format!("to/{}", 4999 - n)));
            let (old, new) = if is_back { (there, here) } else { (here, there) };
            fs::rename(old, new).unwrap();
        }
        let report = pair.sync();
        let counts = ["renamed", "files_copied", "deleted", "hardlinks"].map(|name| report.count(name));
        assert_eq!(counts, [5000, 0, 0, 0], "back: {is_back}: {report:#?}");
    }
    pair.assert_equal("5,000 files there and back");
}

// -- what only looks renamed

/// Makes `new` with the inode of `old`, which goes.
fn with_inode_of(old: &Path, new: &Path, make: impl Fn(&Path)) {
    let inode = old.metadata().unwrap().ino();
    tool(Command::new("rm").arg("-r").arg(old));
    let beside = |n: usize| new.with_file_name(format!("other-{n}"));
    let found = (0..2000).find(|n| {
        make(&beside(*n));
        beside(*n).metadata().unwrap().ino() == inode
    });
    let found = found.expect("the file system uses the inode again");
    fs::rename(beside(found), new).unwrap();
    (0..found).for_each(|n| tool(Command::new("rm").arg("-r").arg(beside(n))));
}

#[test]
fn an_inode_that_is_used_again_is_no_renamed_entry() {
    let mut pairs = vec![Cataloged::new()];
    if common::root_or_skip("inodes that are used again on XFS") {
        pairs.push(Cataloged::apart(Kind::Xfs, &[]));
    }
    for pair in pairs {
        script(&pair.source, "tree d e; file a b keep; ln b c; mkdir empty", 0);
        tool(Command::new("find").arg(&pair.source).args([
            "-type",
            "f",
            "-exec",
            "touch",
            "-d",
            "@1700000000",
            "{}",
            "+",
        ]));
        let pair = pair.settled();
        let same = |content: &'static str| {
            move |path: &Path| {
                fs::write(path, format!("{content:200}")).unwrap();
                set_mtime(path, 1_700_000_000, 0);
            }
        };
        with_inode_of(&pair.at("a"), &pair.at("z"), same("not a"));
        with_inode_of(&pair.at("d/one"), &pair.at("d/uno"), same("not one"));
        with_inode_of(&pair.at("empty"), &pair.at("full"), |path| fs::create_dir(path).unwrap());
        pair.write("full/file", "x");
        let report = pair.sync();
        let counts = ["renamed", "files_copied", "deleted"].map(|name| report.count(name));
        assert_eq!(counts, [0, 3, 3], "{report:#?}");
        // A directory that had something, and a name that leaves another one.
        fs::remove_file(pair.at("c")).unwrap();
        with_inode_of(&pair.at("e"), &pair.at("f"), |path| fs::create_dir(path).unwrap());
        with_inode_of(&pair.at("b"), &pair.at("y"), same("not b"));
        let report = pair.sync();
        assert_eq!(report.count("renamed"), 0, "{report:#?}");
        pair.sync_and_judge("inodes used again");
    }
}

#[test]
fn a_stale_or_foreign_catalog_renames_nothing_wrongly() {
    let other = Cataloged::new();
    script(&other.source, "tree d e f g; file a b c", 50);
    let other = other.settled();
    let pair = Cataloged::new();
    script(&pair.source, "tree d e f g; file a b c", 0);
    let pair = pair.settled();
    let aside = pair.beside("aside");
    fs::copy(&pair.catalog, &aside).unwrap();
    for round in 0..2 {
        for then in [
            "swap d e; swap a b; swap d/sub g/sub",
            "swap d/one e/one; swap a c",
            "swap f g; swap g/sub e/sub",
        ] {
            script(&pair.source, then, 100);
            pair.sync();
            let catalog = if round == 0 { &aside } else { &other.catalog };
            fs::copy(catalog, &pair.catalog).unwrap();
            let _ = fs::remove_file(pair.delta());
            script(&pair.source, "swap e f; swap b c", 200);
            pair.sync();
            assert!(pair.differences().is_empty(), "{then}: {:?}", pair.differences());
        }
    }
    pair.sync_and_judge("with its own catalog again");
}

/// What somebody who should not have done to the mirror, where it has what is renamed next or where it is to go.
#[rustfmt::skip]
const TAMPERED: &[&str] = &[
    "rm -r d",
    "rm -r d; file d",
    "rm -r d; ln -s ../../outside d",
    "rm -r d; ln -s e d",
    "rm a",
    "rm a; file a",
    "rm a; ln -s ../../outside/a a",
    "rm a; tree a",
    "rm a; mkfifo a",
    "tree n",
    "file n",
    "ln -s ../../outside n",
    "tree z",
    "file z",
    "ln -s ../../outside/a z",
    "rm -r d; rm a; ln -s ../../outside d; ln -s d/a a",
    "rm -r e; rm -r d; file e",
    "rm -r e; ln -s d e",
    "mv d n; mv a z",
];

#[test]
fn a_mirror_that_somebody_tampered_with_gets_right_and_leads_nowhere_else() {
    let pair = Cataloged::new();
    let outside = pair.copy.with_file_name("outside");
    fs::create_dir(&outside).unwrap();
    script(&outside, "tree d; file a one; mkdir sub", 500);
    let name = |number: usize| format!("case-{number}");
    for number in 0..TAMPERED.len() {
        fs::create_dir(pair.at(&name(number))).unwrap();
        script(&pair.at(&name(number)), "tree d e; file a", 10 * number as u64);
    }
    let pair = pair.settled();
    let before = Snapshot::of(&outside);
    for (number, tampered) in TAMPERED.iter().enumerate() {
        script(&pair.copied(&name(number)), tampered, 1000);
        script(
            &pair.at(&name(number)),
            "mv d n; mv a z; echo more >>n/one; file n/new; mkdir d; mv e d/e",
            2000,
        );
        let first = pair.run(&[]);
        assert!(matches!(first.exit, 0 | 3), "{tampered}: {first:#?}");
        let second = pair.run(&[]);
        let found = pair.differences();
        assert!(found.is_empty(), "{tampered}: {found:?}\n{first:#?}\n{second:#?}");
        assert_eq!(second.exit, 0, "{tampered}: {second:#?}");
    }
    let found = touched(&before, &Snapshot::of(&outside));
    assert!(found.is_empty(), "through a link: {found:?}");
    pair.sync_and_judge("at the end");
}

// -- what is left out

/// In a directory of its own: a pattern, anchored there if it begins with a slash; what there is on the source, and what
/// of its own the mirror gets; what is renamed; and which entries are left out.
struct LeftOut {
    pattern: &'static str,
    before: &'static str,
    mirror: &'static str,
    then: &'static str,
    is_left_out: fn(&str) -> bool,
}

fn is_hidden(path: &str) -> bool {
    path.starts_with("hidden")
}
fn is_temporary(path: &str) -> bool {
    path.ends_with(".tmp")
}

#[rustfmt::skip]
const LEFT_OUT: &[LeftOut] = &[
    LeftOut { pattern: "/hidden", before: "mkdir hidden; tree hidden/d; file hidden/f", mirror: "tree hidden",
        then: "mv hidden/d d; mv hidden/f f", is_left_out: is_hidden },
    LeftOut { pattern: "/hidden", before: "mkdir hidden; tree d; file f", mirror: "tree hidden",
        then: "mv d f hidden", is_left_out: is_hidden },
    LeftOut { pattern: "/hidden", before: "tree d; file f", mirror: ":", then: "mv d hidden", is_left_out: is_hidden },
    LeftOut { pattern: "/hidden", before: "tree hidden d", mirror: "mkdir hidden; file hidden/one",
        then: "swap hidden d", is_left_out: is_hidden },
    LeftOut { pattern: "/hidden", before: "tree hidden; file a; ln a b; ln a hidden/a", mirror: "tree hidden",
        then: "mv a c; mv hidden/a d; mv b hidden", is_left_out: is_hidden },
    LeftOut { pattern: "*.tmp", before: "tree d; file d/x.tmp d/sub/y.tmp", mirror: ":",
        then: "mv d e; mv e/sub/y.tmp e/y", is_left_out: is_temporary },
    LeftOut { pattern: "*.tmp", before: "file a b.tmp; tree d e.tmp", mirror: "file b.tmp; tree e.tmp",
        then: "mv a a.tmp; mv b.tmp b; mv d d.tmp; mv e.tmp e", is_left_out: |path| path.contains(".tmp") },
    LeftOut { pattern: "/d/keep", before: "tree d; file d/keep", mirror: "file d/keep",
        then: "mv d e", is_left_out: |path| path == "d/keep" },
    LeftOut { pattern: "/d/sub/keep", before: "tree d; tree d/sub/keep", mirror: "tree d/sub/keep",
        then: "mv d e", is_left_out: |path| path.starts_with("d/sub/keep") },
    LeftOut { pattern: "/d/sub/keep", before: "tree d; file d/sub/keep", mirror: "file d/sub/keep",
        then: "mv d/sub s; file d/new", is_left_out: |path| path == "d/sub/keep" },
    LeftOut { pattern: "/e/one", before: "tree d", mirror: ":", then: "mv d e", is_left_out: |path| path == "e/one" },
    LeftOut { pattern: "/e/sub/three", before: "tree d", mirror: ":",
        then: "mv d e", is_left_out: |path| path == "e/sub/three" },
    LeftOut { pattern: "/e/sub", before: "tree d; file f", mirror: "mkdir e; tree e/sub",
        then: "mv d e; mv f e/f", is_left_out: |path| path.starts_with("e/sub") },
    LeftOut { pattern: "/e/keep", before: "tree d e; file e/keep", mirror: "file e/keep",
        then: "rm -r e; mv d e", is_left_out: |path| path == "e/keep" },
    LeftOut { pattern: "/e/keep", before: "tree d e; file e/keep", mirror: "file e/keep",
        then: "swap d e", is_left_out: |path| path == "e/keep" },
    LeftOut { pattern: "cache/", before: "tree d cache; file f", mirror: "mkdir cache; file cache/own",
        then: "mv cache kept; mv d cache; mv f d", is_left_out: |path| path.starts_with("cache") },
];

/// The entries of `tree` that are left out.
fn left_out(tree: &Path, case: &LeftOut) -> Snapshot {
    let mut found = Snapshot::of(tree);
    found.entries.retain(|path, _| (case.is_left_out)(&String::from_utf8_lossy(path)));
    found
}

fn check_left_out(case: &LeftOut, source: &Path, mirror: &Path, kept: &Snapshot) -> Vec<String> {
    let now = left_out(mirror, case);
    let moved = compare(kept, &now).into_iter().map(|difference| format!("left out: {difference}"));
    let skip = |path: &[u8]| (case.is_left_out)(&String::from_utf8_lossy(path));
    let seen = compare(&Snapshot::without(source, &skip), &Snapshot::without(mirror, &skip));
    // A directory that has what is left out cannot go.
    let leads = |path: &[u8]| now.entries.keys().any(|kept| kept.starts_with(&[path, b"/"].concat()));
    let seen = seen.into_iter().filter(|difference| difference.what != "extra" || !leads(&difference.path));
    moved.chain(seen.map(|difference| difference.to_string())).collect()
}

#[test]
fn what_is_left_out_at_its_old_or_its_new_place_is_left_as_it_is() {
    let pair = Cataloged::new();
    let name = |number: usize| format!("case-{number}");
    let mut arguments = Vec::new();
    for (number, case) in LEFT_OUT.iter().enumerate() {
        fs::create_dir(pair.at(&name(number))).unwrap();
        script(&pair.at(&name(number)), case.before, 10 * number as u64);
        let anchor = if case.pattern.starts_with('/') { format!("/{}", name(number)) } else { String::new() };
        arguments.push(format!("--exclude={anchor}{}", case.pattern));
    }
    let arguments: Vec<&str> = arguments.iter().map(String::as_str).collect();
    pair.run(&arguments).expect_done();
    let mut kept = Vec::new();
    for (number, case) in LEFT_OUT.iter().enumerate() {
        script(&pair.copied(&name(number)), case.mirror, 1000 + 10 * number as u64);
        kept.push(left_out(&pair.copied(&name(number)), case));
    }
    // What is left out is in no catalog, but the mirror's directories have other times now: they get their own again.
    fs::remove_file(&pair.catalog).unwrap();
    pair.run(&arguments).expect_done();
    std::thread::sleep(TICKS);
    pair.run(&arguments).expect_done();
    let mut wrong = Vec::new();
    for (number, case) in LEFT_OUT.iter().enumerate() {
        let [source, mirror] = [pair.at(&name(number)), pair.copied(&name(number))];
        script(&source, case.then, 2000);
        for round in ["first", "second"] {
            let report = pair.run(&arguments);
            let found = check_left_out(case, &source, &mirror, &kept[number]);
            if report.exit != 0 || !found.is_empty() {
                let LeftOut { pattern, before, mirror, then, .. } = case;
                wrong.push(format!(
                    "{round}, {pattern}: {before} | {mirror} | {then}\n    {}\n    {report:?}",
                    found.join("\n    ")
                ));
            }
        }
    }
    assert!(wrong.is_empty(), "{}", wrong.join("\n  "));
}

#[test]
fn a_directory_that_has_something_left_out_is_renamed_all_the_same() {
    let pair = Cataloged::new();
    script(&pair.source, "tree d; file d/x.tmp", 0);
    let run = || pair.run(&["--exclude", "*.tmp"]).expect_done();
    run();
    std::thread::sleep(TICKS);
    run();
    script(&pair.source, "mv d e; mv e/sub e/bus", 0);
    let report = run();
    assert_eq!((report.count("renamed"), report.count("files_copied")), (2, 0), "{report:#?}");
    assert!(!pair.copied("e/x.tmp").exists() && pair.copied("e/bus/three").exists());
}

// -- who runs it, and what is told

/// The user `nobody` of most systems: any user that is not root will do.
const NOBODY: u32 = 65_534;

#[test]
fn who_is_not_root_renames_too_and_gets_over_closed_directories() {
    if !common::root_or_skip("renames by somebody who is not root") {
        return;
    }
    let pair = Cataloged::apart(Kind::Ext4, &[]);
    let at = pair.mirrors.as_ref().unwrap().path();
    let (program, state) = (at.join("program"), at.join("state"));
    // Copied by another process: a program that is open for writing here cannot be run.
    tool(Command::new("cp").arg(sync::program()).arg(&program));
    fs::set_permissions(&program, Permissions::from_mode(0o755)).unwrap();
    fs::create_dir(&state).unwrap();
    let change = |text: &str, numbers: u64| {
        script(&pair.source, text, numbers);
        for tree in [&pair.source, &pair.copy, &state] {
            tool(Command::new("find").arg(tree).args([
                "-user",
                "0",
                "-exec",
                "chown",
                "-h",
                "65534:65534",
                "{}",
                "+",
            ]));
        }
    };
    let run = |when: &str| {
        let mut command = Command::new(&program);
        command.args(["sync", "--json", "--catalog"]).arg(state.join("catalog")).arg("--");
        command
            .arg(&pair.source)
            .arg(&pair.copy)
            .uid(NOBODY)
            .gid(NOBODY)
            .current_dir("/")
            .stdin(Stdio::null());
        let report = sync::finish(&mut command).expect_done();
        assert!(pair.differences().is_empty(), "{when}: {:?}\n{report:#?}", pair.differences());
        report
    };
    change("tree d e closed from into; file a b; chmod 400 a; chmod 555 closed from into", 0);
    run("first");
    std::thread::sleep(TICKS);
    run("settled");
    change("mv d f; swap e f; mv a z; ln b c; mv b f/b", 100);
    let report = run("open ones");
    let counts = ["renamed", "files_copied", "deleted", "hardlinks"].map(|name| report.count(name));
    assert_eq!(counts, [4, 0, 0, 1], "{report:#?}");
    change("mv closed e/closed; mv from/one into/uno; mv from/sub into/bus; mv z into/z; chmod 500 f", 200);
    run("closed ones");
    change("mv into/bus from/sub; mv e/closed/sub s; mv f e/f; mv e/closed closed", 300);
    run("and back");
    run("nothing").expect_no_change("nothing");
}

#[test]
fn projects_that_keep_renames_from_crossing_do_not_keep_the_mirror_from_following() {
    if !common::root_or_skip("projects") {
        return;
    }
    let pair = Cataloged::apart(Kind::Xfs, &[]);
    let project = |name: &str, id: u32, inherited: bool| {
        set_project(File::open(pair.at(name)).unwrap().as_fd(), (id, inherited)).unwrap();
    };
    script(&pair.source, "tree d e; file a b; mkdir p q", 0);
    project("p", 7, true);
    project("b", 9, false);
    pair.sync();
    std::thread::sleep(TICKS);
    pair.sync();
    // The kernel moves nothing into a directory that hands on another project than the entry's own.
    project("a", 7, false);
    project("d", 7, true);
    project("q", 9, true);
    let rename = |from: &str, to: &str| fs::rename(pair.at(from), pair.at(to)).unwrap();
    rename("a", "p/a");
    rename("d", "p/d");
    rename("b", "q/b");
    pair.sync_and_judge("into projects");
    for name in ["p/a", "q/b"] {
        project(name, 11, false);
    }
    script(&pair.source, "mkdir n", 0);
    project("n", 11, true);
    rename("p/a", "n/a");
    rename("q/b", "n/b");
    rename("p/d", "d");
    project("p", 0, false);
    rename("e", "p/e");
    pair.sync_and_judge("and out of them");
}

#[test]
fn a_dry_run_lists_and_counts_what_would_be_renamed_and_does_nothing() {
    let pair = Cataloged::new();
    script(&pair.source, "tree d e closed; file a b c; ln a l", 0);
    let pair = pair.settled();
    script(
        &pair.source,
        "mv d new-directory; mv b new-file; mv a new-link; file new-directory/added; overwrite c; rm e/two",
        100,
    );
    let (before, catalog) = (Snapshot::of(&pair.copy), fs::read(&pair.catalog).unwrap());
    let dry = pair.run(&["--dry-run"]);
    assert_eq!(dry.exit, 0, "{dry:?}");
    let mut listing = Command::new(sync::program());
    listing.args(["sync", "--dry-run", "--catalog"]).arg(&pair.catalog).arg(&pair.source).arg(&pair.copy);
    let listing = listing.output().unwrap();
    let lines = String::from_utf8(listing.stdout).unwrap();
    for name in ["new-directory", "new-file", "new-link", "new-directory/added", "e/two"] {
        assert!(lines.contains(name), "{name} is not in\n{lines}");
    }
    assert!(!lines.contains("new-directory/one"), "what is in a renamed directory is not listed:\n{lines}");
    assert!(touched(&before, &Snapshot::of(&pair.copy)).is_empty(), "something was written");
    assert_eq!(fs::read(&pair.catalog).unwrap(), catalog, "the catalog was written");
    let report = pair.sync();
    assert_eq!(report.count("renamed"), 3, "{report:#?}");
    for field in FIGURES {
        assert_eq!(dry.count(field), report.count(field), "{field}: {dry:#?} {report:#?}");
    }
    pair.assert_equal("after the dry run");
}

#[test]
fn moving_thousands_of_entries_is_no_deletion_and_is_not_refused() {
    if !common::root_or_skip("a run that moves thousands of entries") {
        return;
    }
    let pair = disks::Pair::new(&[("/", diskmirror::layout::FsKind::Ext4)]);
    disks::populate(&pair.root(), 40);
    let at = |name: &str| pair.root().join(name);
    fs::create_dir(at("spool")).unwrap();
    for n in 0..5000 {
        fs::write(at("spool").join(n.to_string()), n.to_string()).unwrap();
    }
    pair.run_done();
    std::thread::sleep(TICKS);
    pair.run_done();
    let run = |when: &str, renamed: u64| {
        pair.run_done();
        let volume = pair.history()[0].volumes[0].clone();
        let counts = (volume.renamed, volume.files_copied, volume.errors);
        assert_eq!(counts, (renamed, 0, 0), "{when}: {volume:?}");
        assert!(volume.deleted <= 1, "{when}: {volume:?}");
    };
    fs::rename(at("spool"), at("archive")).unwrap();
    run("a directory of 5,000", 1);
    fs::create_dir(at("sorted")).unwrap();
    for n in 0..5000 {
        fs::rename(at("archive").join(n.to_string()), at("sorted").join(format!("file-{n}"))).unwrap();
    }
    fs::remove_dir(at("archive")).unwrap();
    run("5,000 files", 5000);
    assert_eq!(pair.differences(), "");
}
