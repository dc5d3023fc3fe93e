//! File systems of the primary that are mounted nowhere when a run begins: entered by the run itself, read-only, and what
//! waits for one that cannot be entered. Needs root.

#[path = "common/server.rs"]
mod server;

use serde_json::Value;
use server::{Fs, PLAIN, Said, Server, Shape, blkid, root_or_skip, tool};
use std::fs;
use std::path::Path;

const EXT4: &[&str] = &["mke2fs", "-q", "-t", "ext4", "-N", "2000"];

/// /boot and an archive beside the root.
const THREE: Shape = Shape {
    table: "label: gpt\nsize=24MiB\nsize=80MiB, type=L\nsize=16MiB, type=L\n",
    filesystems: &[
        Fs { number: 2, mount: "/", mkfs: EXT4 },
        Fs { number: 1, mount: "/boot", mkfs: EXT4 },
        Fs { number: 3, mount: "/srv/archive", mkfs: EXT4 },
    ],
    primary_mib: 128,
    mirror_mib: 128,
    ..PLAIN
};

const MODULE: &str = "usr/lib/modules/6.1/kernel/ext4.ko";
const KERNEL: &str = "boot/vmlinuz-6.1";

fn server() -> Server {
    let server = Server::new(THREE);
    let module = server.root().join(MODULE);
    fs::create_dir_all(module.parent().expect("a directory")).expect("a directory");
    fs::write(module, "of 6.1").expect("written");
    fs::write(server.root().join(KERNEL), "6.1").expect("written");
    fs::write(server.root().join("srv/archive/a"), "old").expect("written");
    server
}

fn run(server: &Server) -> (Said, Value) {
    let said = server.call(&["run", "--json"]);
    let told = serde_json::from_str(&said.stdout).unwrap_or_else(|error| panic!("{error}: {said:?}"));
    (said, told)
}

/// What lies at a path of the mirror's partition; nothing if there is nothing.
fn on_mirror(server: &Server, number: u32, path: &str) -> Option<String> {
    let at = server.dir.path().join("by-hand");
    fs::create_dir_all(&at).expect("a mount point");
    let at = at.to_str().expect("a plain name");
    tool("mount", &["-o", "ro", &server.mirror.part(number), at]);
    let text = fs::read_to_string(Path::new(at).join(path)).ok();
    tool("umount", &[at]);
    text
}

/// Writes to the archive, and unmounts it again.
fn write_to_archive(server: &Server, text: &str) {
    let at = server.dir.path().join("archive");
    fs::create_dir_all(&at).expect("a mount point");
    let path = at.to_str().expect("a plain name");
    tool("mount", &[&server.primary.part(3), path]);
    fs::write(at.join("a"), text).expect("written");
    tool("umount", &[path]);
}

/// Has a file system look as if it had not been unmounted: its journal holds something.
fn leave_a_log(node: &str, is_there: bool) {
    let feature = if is_there { "needs_recovery" } else { "^needs_recovery" };
    tool("debugfs", &["-w", "-R", &format!("feature {feature}"), node]);
}

#[test]
fn what_is_mounted_nowhere_is_entered_by_the_run_and_not_altered() {
    if !root_or_skip("what_is_mounted_nowhere_is_entered_by_the_run_and_not_altered") {
        return;
    }
    let mut server = server();
    server.init_done(&[]);
    for at in ["boot", "srv/archive"] {
        server.unmount(&server.root().join(at));
    }
    write_to_archive(&server, "new");
    let before = server.primary.hash();
    let (said, told) = run(&server);
    assert_eq!(said.code, 0, "{said:?}");
    assert_eq!(told["volumes"][2]["files_copied"], 1, "{told}");
    assert_eq!(server.primary.hash(), before, "the primary was written to: {said:?}");
    assert_eq!(on_mirror(&server, 3, "a").as_deref(), Some("new"));
    assert!(server.call(&["status"]).stdout.contains("READY"));
    let verified = server.call(&["verify"]);
    assert_eq!(verified.code, 0, "{verified:?}");
    assert_eq!(server.primary.hash(), before, "{verified:?}");

    // Somebody has it elsewhere at the moment.
    write_to_archive(&server, "newer");
    let at = server.mount_beside(&server.primary.part(3), "elsewhere");
    let (said, _) = run(&server);
    assert_eq!(said.code, 0, "{said:?}");
    server.unmount(&at);
    assert_eq!(on_mirror(&server, 3, "a").as_deref(), Some("newer"));
}

#[test]
fn data_that_cannot_be_entered_holds_back_itself_and_nothing_that_boots() {
    if !root_or_skip("data_that_cannot_be_entered_holds_back_itself_and_nothing_that_boots") {
        return;
    }
    let mut server = server();
    server.init_done(&[]);
    server.unmount(&server.root().join("srv/archive"));
    leave_a_log(&server.primary.part(3), true);
    fs::write(server.root().join(KERNEL), "6.1, rebuilt").expect("written");
    let (said, told) = run(&server);
    assert_eq!((said.code, &told["state"]), (3, &"incomplete".into()), "{said:?}");
    assert!(said.stderr.contains("was not unmounted cleanly: mount it once"), "{said:?}");
    assert_eq!(told["boot"]["problems"], Value::Array(Vec::new()), "{told}");
    assert_eq!(on_mirror(&server, 1, "vmlinuz-6.1").as_deref(), Some("6.1, rebuilt"));
    assert_eq!(on_mirror(&server, 3, "a").as_deref(), Some("old"));
    leave_a_log(&server.primary.part(3), false);
    let (said, _) = run(&server);
    assert_eq!(said.code, 0, "{said:?}");
}

/// A kernel update while /boot is out of reach: the mirror's kernel keeps what it needs.
#[test]
fn while_boot_cannot_be_entered_the_mirrors_kernel_keeps_its_modules() {
    if !root_or_skip("while_boot_cannot_be_entered_the_mirrors_kernel_keeps_its_modules") {
        return;
    }
    let mut server = server();
    server.init_done(&[]);
    let root = server.root();
    let (old, new) = (root.join("usr/lib/modules/6.1"), root.join("usr/lib/modules/6.12"));
    fs::rename(&old, &new).expect("renamed");
    fs::write(root.join("etc/motd"), "new").expect("written");
    fs::write(root.join("boot/vmlinuz-6.12"), "6.12").expect("written");
    fs::remove_file(root.join(KERNEL)).expect("it is there");
    server.unmount(&root.join("boot"));
    leave_a_log(&server.primary.part(1), true);
    let (said, told) = run(&server);
    assert_eq!(said.code, 3, "{said:?}");
    let problems = told["boot"]["problems"].to_string();
    assert!(problems.contains("may not fit the rest any more: /boot is not mounted"), "{problems}");
    assert_eq!(on_mirror(&server, 1, "vmlinuz-6.1").as_deref(), Some("6.1"));
    assert_eq!(on_mirror(&server, 2, MODULE).as_deref(), Some("of 6.1"));
    assert_eq!(on_mirror(&server, 2, "etc/motd").as_deref(), Some("new"), "the rest is refreshed");

    leave_a_log(&server.primary.part(1), false);
    let (said, _) = run(&server);
    assert_eq!(said.code, 0, "{said:?}");
    assert_eq!(on_mirror(&server, 1, "vmlinuz-6.12").as_deref(), Some("6.12"));
    assert_eq!(on_mirror(&server, 2, MODULE), None);
    assert_eq!(on_mirror(&server, 2, &MODULE.replace("6.1", "6.12")).as_deref(), Some("of 6.1"));
}

/// What was moved to another file system is not what lies on the old one.
#[test]
fn another_file_system_in_its_place_is_not_passed_over() {
    if !root_or_skip("another_file_system_in_its_place_is_not_passed_over") {
        return;
    }
    let mut server = server();
    server.init_done(&[]);
    let at = server.root().join("srv/archive");
    server.unmount(&at);
    tool("mount", &["-t", "tmpfs", "tmpfs", at.to_str().expect("a plain name")]);
    let (said, told) = run(&server);
    tool("umount", &[at.to_str().expect("a plain name")]);
    assert_eq!((said.code, &told["state"]), (3, &"incomplete".into()), "{said:?}");
    assert!(said.stderr.contains("refusing to mirror") && said.stderr.contains("srv/archive"), "{said:?}");
    assert_eq!(blkid(&server.primary.part(3), "TYPE"), "ext4");
}
