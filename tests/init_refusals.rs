//! What `plan` and `init` refuse, on loop disks: each with every byte of both disks and every file of the primary
//! before and after. Needs root; says so where it is skipped.

#[path = "common/server.rs"]
mod server;

use server::{Disk, Fs, MIB, PLAIN, Said, Server, Shape, root_or_skip, skipped, tool};
use std::fs;
use std::io::{Read, Write};
use std::os::unix::fs::PermissionsExt;
use std::process::{Command, Stdio};

const ONE_LINUX: &str = "label: gpt\nsize=40MiB, type=L\n";

/// A mirror with one ext4 partition.
fn old_mirror() -> Server {
    let server = Server::new(PLAIN);
    server.mirror.partition(ONE_LINUX);
    tool("mke2fs", &["-q", "-t", "ext4", "-L", "old data", &server.mirror.part(1)]);
    server
}

#[test]
fn a_mirror_of_which_a_partition_is_mounted_is_refused() {
    if !root_or_skip("a_mirror_of_which_a_partition_is_mounted_is_refused") {
        return;
    }
    let mut server = old_mirror();
    let node = server.mirror.part(1);
    let at = server.mount_beside(&node, "old");
    let where_to = at.to_str().expect("a plain name").to_owned();
    let words = ["in use", &format!("{node} is mounted on {where_to}"), &format!("umount {where_to}")];
    server.plan_and_init_refuse(&words);
    server.unmount(&at);
    server.plan(&[]);
}

#[test]
fn a_mirror_that_is_mounted_whole_is_refused() {
    if !root_or_skip("a_mirror_that_is_mounted_whole_is_refused") {
        return;
    }
    let mut server = Server::new(PLAIN);
    let node = server.mirror.node.clone();
    tool("mke2fs", &["-q", "-F", "-t", "ext4", &node]);
    let at = server.mount_beside(&node, "old");
    server.plan_and_init_refuse(&["in use", &format!("{node} is mounted on {}", at.display())]);
}

#[test]
fn a_mirror_that_only_another_mount_namespace_has_mounted_is_refused() {
    if !root_or_skip("a_mirror_that_only_another_mount_namespace_has_mounted_is_refused") {
        return;
    }
    let server = old_mirror();
    let script = format!("mount -o ro,noload {} /mnt && echo mounted && read end", server.mirror.part(1));
    let mut container = Command::new("unshare")
        .args(["--mount", "--propagation", "private", "sh", "-c", &script])
        .stdin(Stdio::piped())
        .stdout(Stdio::piped())
        .spawn()
        .expect("unshare");
    let mut byte = [0];
    container.stdout.take().expect("piped").read_exact(&mut byte).expect("it is mounted");
    server.plan_and_init_refuse(&["in use", "another mount namespace?", "fuser -v"]);
    container.stdin.take().expect("piped").write_all(b"\n").expect("it waits");
    container.wait().expect("it ends");
    server.plan(&[]);
}

#[test]
fn a_mirror_that_is_swapped_to_is_refused() {
    if !root_or_skip("a_mirror_that_is_swapped_to_is_refused") {
        return;
    }
    let mut server = Server::new(PLAIN);
    server.mirror.partition(ONE_LINUX);
    let node = server.mirror.part(1);
    // Ten pages, the least that can be: on a busy machine the kernel swaps to all but the first.
    tool("mkswap", &["-q", &node, "40"]);
    server.mirror.swapped_to = MIB + (4 << 10)..MIB + (40 << 10);
    tool("swapon", &[&node]);
    let refused = std::panic::catch_unwind(std::panic::AssertUnwindSafe(|| {
        server.plan_and_init_refuse(&[
            "in use",
            &format!("{node} is in use as swap"),
            &format!("swapoff {node}"),
        ]);
    }));
    tool("swapoff", &[&node]);
    refused.unwrap_or_else(|panic| std::panic::resume_unwind(panic));
    server.plan(&[]);
}

#[test]
fn a_mirror_that_another_device_is_built_on_is_refused() {
    if !root_or_skip("a_mirror_that_another_device_is_built_on_is_refused") {
        return;
    }
    let server = old_mirror();
    let node = server.mirror.part(1);
    let upper = tool("losetup", &["-f", "--show", &node]);
    let refused = std::panic::catch_unwind(std::panic::AssertUnwindSafe(|| {
        let name = upper.trim_start_matches("/dev/");
        server.plan_and_init_refuse(&["in use", &format!("{node} is held by {name}")]);
    }));
    tool("losetup", &["-d", &upper]);
    refused.unwrap_or_else(|panic| std::panic::resume_unwind(panic));
    server.plan(&[]);
    for (what, present) in [
        ("md", fs::exists("/proc/mdstat").unwrap_or(false)),
        ("device-mapper", fs::exists("/dev/mapper/control").unwrap_or(false)),
    ] {
        if !present {
            skipped("a mirror held by an array or a container", &format!("this kernel has no {what}"));
        }
    }
}

#[test]
fn the_primary_is_no_mirror_by_whatever_name() {
    if !root_or_skip("the_primary_is_no_mirror_by_whatever_name") {
        return;
    }
    let server = Server::new(PLAIN);
    let primary = server.primary.node.clone();
    let link = server.dir.path().join("by-id");
    std::os::unix::fs::symlink(&primary, &link).expect("a link");
    for name in [&*primary, link.to_str().expect("a plain name")] {
        let erase = ["init", "--mirror", name, "--erase", &primary, "--yes"];
        server.refuses(&erase, &["it is the primary", &format!("the server runs from {primary}")]);
        server.refuses(&["plan", "--mirror", name], &["it is the primary"]);
    }
}

#[test]
fn swapped_roles_are_refused() {
    if !root_or_skip("swapped_roles_are_refused") {
        return;
    }
    let server = Server::new(PLAIN);
    let (primary, mirror) = (&server.primary.node, &server.mirror.node);
    // The blank disk as the primary, and the server's own as the mirror; and either as both.
    let swapped = ["--mirror", primary, "--primary", mirror];
    for head in [&["plan"][..], &["init", "--erase", primary, "--yes"]] {
        server.refuses(&[head, &swapped].concat(), &["in use", &format!("{primary}p2 is mounted on")]);
    }
    server.refuses(&["plan", "--mirror", mirror, "--primary", mirror], &["it is the primary"]);
    // A third disk as the mirror: the primary must be where the root lies.
    let third = Disk::new(server.dir.path().join("third.img"), 64, 512);
    let named = ["plan", "--mirror", &third.node, "--primary", mirror];
    let words = [
        format!("{mirror} has no partition table"),
        format!("no file system on {mirror} is mounted as the root"),
    ];
    server.refuses(&named, &[&words[0], &words[1]]);
}

#[test]
fn a_read_only_mirror_is_refused() {
    if !root_or_skip("a_read_only_mirror_is_refused") {
        return;
    }
    let server = Server::new(PLAIN);
    let node = &server.mirror.node;
    tool("blockdev", &["--setro", node]);
    server.plan_and_init_refuse(&["it is read-only", &format!("blockdev --setrw {node}")]);
    tool("blockdev", &["--setrw", node]);
    server.plan(&[]);
}

#[test]
fn a_mirror_that_is_too_small_is_told_by_how_much_and_what_would_fit() {
    if !root_or_skip("a_mirror_that_is_too_small_is_told_by_how_much_and_what_would_fit") {
        return;
    }
    let server = Server::new(Shape { mirror_mib: 27, ..PLAIN });
    let node = server.mirror.node.clone();
    // 1.5 MiB of partition would be left; the files and their overhead take more.
    server.plan_and_init_refuse(&["too small by ", "with 15 % to spare, needs ", "use a disk of "]);
    let said = server.call(&["plan", "--mirror", &node]);
    let error = said.error();
    let least = error.split("use a disk of ").nth(1).and_then(|rest| rest.split(" MiB").next());
    let least: f64 = least.and_then(|text| text.parse().ok()).unwrap_or_else(|| panic!("{error}"));
    // What it says would fit does, and one MiB less does not.
    for (mib, code) in [(least.ceil() as u64, 0), (least.floor() as u64 - 1, 4)] {
        let other = Disk::new(server.dir.path().join(format!("{mib}.img")), mib, 512);
        let said = server.call(&["plan", "--mirror", &other.node]);
        assert_eq!(said.code, code, "{mib} MiB: {said:?}");
    }
}

#[test]
fn a_mirror_is_erased_only_by_its_own_serial() {
    if !root_or_skip("a_mirror_is_erased_only_by_its_own_serial") {
        return;
    }
    let server = old_mirror();
    let node = server.mirror.node.clone();
    let init = ["init", "--mirror", &node];
    let root = server.root();
    let remedy = format!("diskmirror init --mirror {node} --root {} --erase {node}", root.display());
    server.refuses(&init, &["not confirmed", &remedy]);
    let wrong = [&init[..], &["--erase", "S5GX123", "--yes"]].concat();
    server.refuses(&wrong, &["not the disk that was confirmed", "\"S5GX123\"", &format!("{node:?}")]);
    let part = server.mirror.part(1);
    server.refuses(&[&init[..], &["--erase", &part]].concat(), &["not the disk that was confirmed"]);
    // What would be lost is shown before.
    let said = server.call(&init);
    assert!(said.stderr.contains("ext4 \"old data\""), "{said:?}");
    assert!(said.stderr.contains("a partition table (1 partitions)"), "{said:?}");
    // A bare signature, and a blank disk, are confirmed likewise.
    let blank = Server::new(PLAIN);
    blank.refuses(&["init", "--mirror", &blank.mirror.node], &["not confirmed"]);
}

#[test]
fn yes_without_erase_is_a_mistake_of_usage() {
    if !root_or_skip("yes_without_erase_is_a_mistake_of_usage") {
        return;
    }
    let server = Server::new(PLAIN);
    let before = server.snapshot();
    let said = server.call(&["init", "--mirror", &server.mirror.node, "--yes"]);
    assert_eq!(said.code, 2, "{said:?}");
    assert!(said.stderr.contains("--erase"), "{said:?}");
    server.is_as_it_was(&before, &said);
}

#[test]
fn a_plan_whose_disks_have_changed_since_is_not_applied() {
    if !root_or_skip("a_plan_whose_disks_have_changed_since_is_not_applied") {
        return;
    }
    let server = Server::new(PLAIN);
    let node = server.mirror.node.clone();
    let digest = server.digest();
    assert_eq!(server.digest(), digest, "looking changes nothing");
    fs::write(server.root().join("home/alice/new"), "a file more is no change").expect("written");
    assert_eq!(server.digest(), digest);
    let erase = ["init", "--mirror", &node, "--erase", &node, "--yes", "--no-schedule", "--plan", &digest];
    let refuses = |what: &str| {
        assert_ne!(server.digest(), digest, "{what}");
        server.refuses(&erase, &["changed since the plan was made", "diskmirror plan --mirror"]);
    };
    server.mirror.partition(ONE_LINUX);
    refuses("the mirror was partitioned");
    tool("wipefs", &["-qaf", &node]);
    tool("partx", &["-d", &node]);
    assert_eq!(server.digest(), digest, "it is blank again");
    tool("mke2fs", &["-q", "-F", &node]);
    refuses("the mirror got a file system");
    tool("wipefs", &["-qaf", &node]);
    tool("e2label", &[&server.primary.part(1), "other"]);
    refuses("the primary's label was changed");
    // Other options are another plan.
    tool("e2label", &[&server.primary.part(1), "boot"]);
    server.refuses(&[&erase[..], &["--fstab"]].concat(), &["changed since the plan was made"]);
    let said = server.call(&erase);
    assert_eq!(said.code, 0, "{said:?}");
}

#[test]
fn without_root_the_disks_are_not_looked_at() {
    if !root_or_skip("without_root_the_disks_are_not_looked_at") {
        return;
    }
    let server = Server::new(PLAIN);
    let program = server.dir.path().join("diskmirror");
    fs::copy(env!("CARGO_BIN_EXE_diskmirror"), &program).expect("there is room");
    fs::set_permissions(&program, fs::Permissions::from_mode(0o755)).expect("its own file");
    let before = server.snapshot();
    for head in [&["plan"][..], &["init", "--erase", &server.mirror.node, "--yes"]] {
        let output = Command::new("setpriv")
            .args(["--reuid=nobody", "--regid=nogroup", "--clear-groups"])
            .arg(&program)
            .arg("--root")
            .arg(server.root())
            .args(head)
            .args(["--mirror", &server.mirror.node])
            .output()
            .expect("setpriv");
        let said = Said::of(output);
        said.is_refusal(&["not root", "as root"]);
        server.is_as_it_was(&before, &said);
    }
}

/// Takes a tool away, for this thread and what it starts.
struct Hidden {
    at: &'static str,
    _upper: tempfile::TempDir,
}

impl Hidden {
    fn new(program: &str) -> Hidden {
        let at = if server::which(program).starts_with("/usr/bin") { "/usr/bin" } else { "/usr/sbin" };
        let upper = tempfile::tempdir_in("/dev/shm").expect("memory");
        let (changes, work) = (upper.path().join("changes"), upper.path().join("work"));
        [&changes, &work].into_iter().for_each(|dir| fs::create_dir(dir).expect("a directory"));
        let options = format!("lowerdir={at},upperdir={},workdir={}", changes.display(), work.display());
        tool("mount", &["-t", "overlay", "overlay", "-o", &options, at]);
        fs::remove_file(format!("{at}/{program}")).expect("it was there");
        Hidden { at, _upper: upper }
    }
}

impl Drop for Hidden {
    fn drop(&mut self) {
        tool("umount", &["-l", self.at]);
    }
}

#[test]
fn a_missing_tool_is_named_with_its_package_before_anything_is_written() {
    if !root_or_skip("a_missing_tool_is_named_with_its_package_before_anything_is_written") {
        return;
    }
    let server = Server::new(Shape {
        table: "label: gpt\nsize=24MiB\nsize=30MiB, type=L\ntype=S\n",
        swaps: &[3],
        ..PLAIN
    });
    server.mirror.partition(ONE_LINUX);
    for (program, package) in [
        ("sfdisk", "fdisk"),
        ("lsblk", "util-linux"),
        ("dumpe2fs", "e2fsprogs"),
        ("wipefs", "util-linux"),
        ("partx", "util-linux"),
        ("mke2fs", "e2fsprogs"),
        ("mkswap", "util-linux"),
        ("fsck.ext4", "e2fsprogs"),
    ] {
        let hidden = Hidden::new(program);
        let words = [format!("{program} is not installed"), format!("apt-get install {package}")];
        server.plan_and_init_refuse(&["a tool is missing", &words[0], &words[1]]);
        drop(hidden);
    }
    server.plan(&[]);
}

#[test]
fn a_primary_that_cannot_be_mirrored_is_named() {
    if !root_or_skip("a_primary_that_cannot_be_mirrored_is_named") {
        return;
    }
    if !fs::read_to_string("/proc/filesystems").expect("proc").contains("btrfs") {
        return skipped("a_primary_that_cannot_be_mirrored_is_named", "this kernel has no btrfs");
    }
    let shape = Shape {
        table: "label: gpt\nsize=24MiB\ntype=L\n",
        filesystems: &[
            Fs { number: 2, mount: "/", mkfs: &["mkfs.btrfs", "-q", "-M"] },
            Fs { number: 1, mount: "/boot", mkfs: &["mke2fs", "-q"] },
        ],
        primary_mib: 160,
        mirror_mib: 160,
        ..PLAIN
    };
    let server = Server::new(shape);
    let words = format!("{} is a btrfs file system, which cannot be mirrored yet", server.primary.part(2));
    server.plan_and_init_refuse(&["it holds what cannot be mirrored", &words]);
}

#[test]
fn a_configuration_that_cannot_be_read_is_not_overwritten() {
    if !root_or_skip("a_configuration_that_cannot_be_read_is_not_overwritten") {
        return;
    }
    let server = Server::new(PLAIN);
    let write = |text: &str, mode| {
        fs::write(server.config(), text).expect("written");
        fs::set_permissions(server.config(), fs::Permissions::from_mode(mode)).expect("chmod");
    };
    write("[[mirror]\nname = \"mine\"\n", 0o600);
    server.plan_and_init_refuse(&["diskmirror.toml", "^"]);
    write("# the start of one\n", 0o666);
    server.plan_and_init_refuse(&["diskmirror.toml"]);
}

#[test]
fn no_volume_group_is_given_a_name_that_lvm_refuses() {
    if !root_or_skip("no_volume_group_is_given_a_name_that_lvm_refuses") {
        return;
    }
    let server = Server::new(PLAIN);
    for name in ["two words", "-mirror", "..", "mirror/root", "", "mirrör"] {
        let vg = format!("--vg={name}");
        server.refuses(
            &["plan", "--mirror", &server.mirror.node, &vg],
            &["is no name for a volume group", &format!("{name:?}"), "--vg mirror"],
        );
    }
}

#[test]
fn a_plan_writes_nothing() {
    if !root_or_skip("a_plan_writes_nothing") {
        return;
    }
    let server = old_mirror();
    let before = server.snapshot();
    let said = server.plan(&["--fstab", "--fill", "random"]);
    assert!(said.stdout.contains("Nothing has been changed."), "{said:?}");
    assert!(said.stdout.contains(" --fstab --erase "), "{said:?}");
    assert!(said.stdout.contains("nothing is filled"), "{said:?}");
    server.is_as_it_was(&before, &server.plan(&["--json"]));
}

#[test]
fn what_a_tired_administrator_types_for_the_mirror_is_answered() {
    if !root_or_skip("what_a_tired_administrator_types_for_the_mirror_is_answered") {
        return;
    }
    let server = old_mirror();
    let (disk, part) = (server.mirror.node.clone(), server.mirror.part(1));
    let file = server.dir.path().join("file");
    fs::write(&file, vec![0; 4096]).expect("written");
    let file = file.to_str().expect("a plain name").to_owned();
    let whole = format!("{part} is a partition on the disk {disk}");
    for (name, words) in [
        (
            &*part,
            ["not a whole disk", &whole, &format!("name the disk itself, if that is what you mean: {disk}")],
        ),
        ("/dev/nope", ["no such disk", "/dev/nope", "lsblk -d"]),
        (&file, ["no such disk", &file, "lsblk -d"]),
        ("/dev", ["no such disk", "/dev", "lsblk -d"]),
    ] {
        server.refuses(&["plan", "--mirror", name], &words);
        server.refuses(&["init", "--mirror", name, "--erase", name, "--yes"], &words);
    }
    let link = server.dir.path().join("by-id-mirror");
    std::os::unix::fs::symlink(&disk, &link).expect("a link");
    let link = link.to_str().expect("a plain name");
    let said = server.call(&["plan", "--mirror", link]);
    assert!(said.code == 0 && said.stdout.starts_with(&format!("{disk} becomes the mirror of ")), "{said:?}");
}

#[test]
fn a_root_that_is_not_there_is_refused() {
    if !root_or_skip("a_root_that_is_not_there_is_refused") {
        return;
    }
    let server = Server::new(PLAIN);
    let before = server.snapshot();
    for (root, words) in
        [("/no/such/root", "/no/such/root"), (server.dir.path().to_str().expect("plain"), "--primary DISK")]
    {
        let output = Command::new(env!("CARGO_BIN_EXE_diskmirror"))
            .args(["--root", root, "plan", "--mirror", &server.mirror.node])
            .output()
            .expect("it starts");
        let said = Said::of(output);
        said.is_refusal(&[words]);
        server.is_as_it_was(&before, &said);
    }
}
