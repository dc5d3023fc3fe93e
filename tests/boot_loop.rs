//! What the mirror boots from, on loop disks: loaders that GRUB's own tools put there, texts, an initramfs, and the audit
//! of it all. Nothing is booted. Needs root.

#[path = "common/server.rs"]
mod server;

use diskmirror::layer::grub_core;
use serde_json::Value;
use server::{Fs, PLAIN, Server, Shape, Stub, blkid, put, root_or_skip, tool};
use std::collections::BTreeSet;
use std::fs;
use std::path::Path;

/// GRUB's tools for BIOS disks.
const GRUB: &str = "/usr/lib/grub/i386-pc";

/// The gap in front of the first partition ends here.
const GAP_END: usize = 1 << 20;

const EXT4: &[&str] = &["mke2fs", "-q", "-t", "ext4"];

const MBR: Shape = Shape {
    table: "label: dos\n1: start=2048, size=24MiB, type=83, bootable\n2: size=40MiB, type=83\n",
    filesystems: &[Fs { number: 2, mount: "/", mkfs: EXT4 }, Fs { number: 1, mount: "/boot", mkfs: EXT4 }],
    primary_mib: 68,
    mirror_mib: 68,
    ..PLAIN
};

/// GPT with a BIOS boot partition; /boot in the root.
const GPT: Shape = Shape {
    table: "label: gpt\nsize=1MiB, type=21686148-6449-6E6F-744E-656564454649\nsize=44MiB, type=L\n",
    filesystems: &[Fs { number: 2, mount: "/", mkfs: EXT4 }],
    ..MBR
};

/// A server that is no Raspberry Pi.
fn server(shape: Shape) -> Server {
    let server = Server::new(shape);
    for file in ["config.txt", "cmdline.txt"] {
        fs::remove_file(server.root().join("boot").join(file)).expect("it is there");
    }
    server
}

fn with_grub(shape: Shape) -> Server {
    let server = server(shape);
    let directory = format!("--boot-directory={}", server.root().join("boot").display());
    let node = &server.primary.node;
    tool("grub-install", &["--target=i386-pc", &directory, "--fonts=", "--locales=", "--themes=", node]);
    let root = blkid(&server.primary.part(2), "UUID");
    let menu = format!("menuentry own {{\n\tlinux /vmlinuz root=UUID={root} ro\n}}\n");
    fs::write(server.root().join("boot/grub/grub.cfg"), menu).expect("written");
    server
}

/// Puts a core in place whose embedded configuration is this.
fn with_core(server: &Server, config: &str) {
    let directory = server.root().join("boot/grub/i386-pc");
    let embedded = server.dir.path().join("embedded.cfg");
    fs::write(&embedded, config).expect("written");
    let (embedded, core) = (path(&embedded), path(&directory.join("core.img")));
    let modules = ["biosdisk", "part_msdos", "ext2", "search_fs_uuid", "search_label"];
    let args = ["-O", "i386-pc", "-p", "(,msdos1)/grub", "-c", &embedded, "-o", &core];
    tool("grub-mkimage", &[&args[..], &modules].concat());
    tool(
        &format!("{GRUB}/grub-bios-setup"),
        &["--skip-fs-probe", "-d", &path(&directory), &server.primary.node],
    );
}

fn path(path: &Path) -> String {
    path.to_str().expect("a plain name").to_owned()
}

/// The core in a disk's gap, unpacked.
fn core(disk: &server::Disk) -> String {
    let core = grub_core::unpack(&disk.head(GAP_END)[512..]).expect("a core image of GRUB");
    String::from_utf8_lossy(&core.bytes).into_owned()
}

/// Sectors that were written to a disk, but to none of its file systems.
fn loader_writes(server: &Server) -> u64 {
    tool("sync", &[]);
    let name = server.mirror.node.trim_start_matches("/dev/");
    let written = |stat: String| -> u64 {
        let stat = fs::read_to_string(stat).expect("statistics");
        stat.split_whitespace().nth(6).expect("seven fields").parse().expect("a number")
    };
    let partitions = server.shape.filesystems.iter();
    let theirs: u64 =
        partitions.map(|fs| written(format!("/sys/block/{name}/{name}p{}/stat", fs.number))).sum();
    written(format!("/sys/block/{name}/stat")) - theirs
}

fn run(server: &Server) -> (i32, Value) {
    let said = server.call(&["run", "--json"]);
    (said.code, serde_json::from_str(&said.stdout).unwrap_or_else(|error| panic!("{error}: {said:?}")))
}

/// A run after which nothing is wrong.
fn run_done(server: &Server) -> Value {
    let (code, told) = run(server);
    assert_eq!(code, 0, "{told}");
    told
}

/// What a run says of the boot, as one text; it must have ended incomplete.
fn problems(server: &Server) -> String {
    let (code, told) = run(server);
    assert_eq!((code, &told["state"]), (3, &"incomplete".into()), "{told}");
    let problems = told["boot"]["problems"].as_array().unwrap_or_else(|| panic!("no problems in {told}"));
    problems.iter().filter_map(Value::as_str).collect::<Vec<_>>().join("\n")
}

/// The boot code and all that is in front of the first partition are the primary's; signature and table are not.
fn loader_is_copied(server: &Server) {
    let (primary, mirror) = (server.primary.head(GAP_END), server.mirror.head(GAP_END));
    assert_eq!(primary[..440], mirror[..440], "the boot code");
    assert_ne!(primary[440..512], mirror[440..512], "the disk signature");
    assert!(primary[512..] == mirror[512..], "the gap");
}

/// Does something with a file system of the mirror.
fn on_mirror<T>(server: &Server, number: u32, work: impl FnOnce(&Path) -> T) -> T {
    let at = server.dir.path().join("by-hand");
    fs::create_dir_all(&at).expect("a mount point");
    tool("mount", &[&server.mirror.part(number), &path(&at)]);
    let done = work(&at);
    tool("umount", &[&path(&at)]);
    done
}

#[test]
fn grub_behind_an_mbr_is_copied_and_mended_and_else_left_alone() {
    if !root_or_skip("grub_behind_an_mbr_is_copied_and_mended_and_else_left_alone") {
        return;
    }
    let server = with_grub(MBR);
    server.init_done(&[]);
    loader_is_copied(&server);
    let before = loader_writes(&server);
    run_done(&server);
    assert_eq!(loader_writes(&server), before, "a run that changes nothing writes nothing there");
    for (offset, what) in [(100, "boot code"), (512 + 2000, "core")] {
        put(&server.mirror.node, offset, &[0xAA; 64]);
        let before = loader_writes(&server);
        run_done(&server);
        loader_is_copied(&server);
        assert!(loader_writes(&server) > before, "{what}: writes are seen");
    }
}

#[test]
fn a_core_that_names_the_primary_is_made_anew_for_the_mirror_once() {
    if !root_or_skip("a_core_that_names_the_primary_is_made_anew_for_the_mirror_once") {
        return;
    }
    let server = with_grub(MBR);
    let old = blkid(&server.primary.part(1), "UUID");
    with_core(&server, &format!("search.fs_uuid {old} root\nset prefix=($root)/grub\n"));
    assert!(core(&server.primary).contains(&old), "the test's own core names nobody");
    server.init_done(&[]);
    assert!(!core(&server.mirror).contains(&old), "the mirror's core names the primary");
    let modules = on_mirror(&server, 1, |boot| boot.join("grub/i386-pc/normal.mod").exists());
    assert!(modules, "grub-install's modules are on the mirror");

    let before = loader_writes(&server);
    let second = run_done(&server);
    assert_eq!(loader_writes(&server), before, "grub-install ran again");
    assert_eq!(second["volumes"][1]["files_copied"], 0, "{second}");
    assert_eq!(second["volumes"][1]["deleted"], 0, "{second}");

    put(&server.mirror.node, 100, &[0xAA; 64]);
    let failing = Stub::failing("grub-install", "*");
    let told = problems(&server);
    assert!(
        told.contains("the disk is on fire") && told.contains(&old),
        "what failed, and why it was tried: {told}"
    );
    drop(failing);
    run_done(&server);
    assert_ne!(server.mirror.head(164)[100..], [0xAA; 64]);
    on_mirror(&server, 1, |boot| fs::remove_file(boot.join("grub/i386-pc/normal.mod")).expect("it is there"));
    run_done(&server);
    assert!(on_mirror(&server, 1, |boot| boot.join("grub/i386-pc/normal.mod").exists()), "a lost module");
}

#[test]
fn a_core_that_searches_by_label_is_not_copied() {
    if !root_or_skip("a_core_that_searches_by_label_is_not_copied") {
        return;
    }
    let server = with_grub(MBR);
    with_core(&server, "search.fs_label boot root\nset prefix=($root)/grub\n");
    assert!(core(&server.primary).contains("search.fs_label boot"));
    server.init_done(&[]);
    assert!(!core(&server.mirror).contains("search.fs_label boot"));
}

#[test]
fn grub_in_a_bios_boot_partition_is_copied() {
    if !root_or_skip("grub_in_a_bios_boot_partition_is_copied") {
        return;
    }
    let server = with_grub(GPT);
    server.init_done(&[]);
    let partition = |disk: &server::Disk| disk.head(2 << 20)[1 << 20..].to_vec();
    let is_copied = || {
        assert_eq!(server.primary.head(440), server.mirror.head(440), "the boot code");
        assert!(partition(&server.primary) == partition(&server.mirror), "the BIOS boot partition");
    };
    assert!(partition(&server.primary).iter().any(|byte| *byte != 0), "GRUB's core lies there");
    is_copied();
    let before = loader_writes(&server);
    run_done(&server);
    assert_eq!(loader_writes(&server), before);
    put(&server.mirror.node, (1 << 20) + 3000, &[0xAA; 64]);
    run_done(&server);
    is_copied();
}

#[test]
fn a_server_without_a_loader_that_is_known_says_so() {
    if !root_or_skip("a_server_without_a_loader_that_is_known_says_so") {
        return;
    }
    let server = server(PLAIN);
    let said = server.init(&[]);
    assert_eq!(said.code, 3, "{said:?}");
    assert!(problems(&server).contains("of no loader that is known; it was copied as it is"));
    assert_eq!(server.primary.head(440), server.mirror.head(440));
    put(&server.primary.node, 0, &[0; 440]);
    assert!(problems(&server).contains("no boot loader was found on the primary"));
    let said = server.call(&["run"]);
    assert!(said.code == 3 && said.stderr.contains("boot: no boot loader was found"), "{said:?}");
}

#[test]
fn while_boot_cannot_be_entered_the_mirror_keeps_the_boot_files_that_it_has() {
    if !root_or_skip("while_boot_cannot_be_entered_the_mirror_keeps_the_boot_files_that_it_has") {
        return;
    }
    let mut server = Server::new(PLAIN);
    server.init_done(&[]);
    let files = |server: &Server| {
        let fstab = on_mirror(server, 2, |root| fs::read_to_string(root.join("etc/fstab")).expect("a text"));
        let line = on_mirror(server, 1, |boot| fs::read_to_string(boot.join("cmdline.txt")).expect("a text"));
        (fstab, line)
    };
    let before = files(&server);
    fs::write(server.root().join("home/alice/new"), "new").expect("written");
    let changed = fs::read_to_string(server.root().join("etc/fstab")).expect("a text") + "\n# changed\n";
    fs::write(server.root().join("etc/fstab"), changed).expect("written");
    let boot = path(&server.root().join("boot"));
    tool("mount", &["-t", "tmpfs", "tmpfs", &boot]);
    let told = problems(&server);
    assert!(told.contains("may not fit the rest any more: /boot is not mounted"), "{told}");
    assert_eq!(files(&server), before);
    assert!(on_mirror(&server, 2, |root| root.join("home/alice/new").exists()), "the rest is refreshed");

    tool("umount", &[&boot]);
    run_done(&server);
    let (fstab, uuid) = (files(&server).0, blkid(&server.mirror.part(2), "UUID"));
    assert!(fstab.contains("# changed") && fstab.contains(&uuid), "{fstab}");
    server.unmount(&server.root().join("boot"));
}

fn audit(server: &Server) -> (i32, BTreeSet<String>) {
    let said = server.call(&["audit", "--json"]);
    let told: Value = serde_json::from_str(&said.stdout).unwrap_or_else(|error| panic!("{error}: {said:?}"));
    let findings = told["findings"].as_array().expect("a list").iter();
    (said.code, findings.filter_map(|finding| finding["file"].as_str()).map(str::to_owned).collect())
}

fn stands_alone(server: &Server) {
    let said = server.call(&["audit"]);
    assert_eq!(said.code, 0, "{said:?}");
    assert!(said.stdout.contains(" stands alone: 0 references to the primary"), "{said:?}");
}

/// An archive of one file, as GNU cpio writes it, compressed.
fn initramfs(server: &Server, file: &str, text: &str, to: &Path) {
    let dir = server.dir.path().join("initramfs");
    let at = dir.join(file);
    fs::create_dir_all(at.parent().expect("a directory")).expect("a directory");
    fs::write(at, text).expect("written");
    let script = "cd \"$1\" && find . | cpio --quiet -o -H newc | gzip > \"$2\"";
    tool("sh", &["-c", script, "sh", &path(&dir), &path(to)]);
}

/// Each kind of file that names disks, and a text of its form that names this UUID.
fn plants(uuid: &str) -> Vec<(&'static str, String)> {
    let line = format!("root=UUID={uuid} ro quiet");
    let environment = format!("# GRUB Environment Block\nkernelopts={line}\n");
    let environment = format!("{environment}{}", "#".repeat(1024 - environment.len()));
    vec![
        ("/etc/fstab", format!("UUID={uuid} / ext4 defaults 0 1\n")),
        ("/etc/crypttab", format!("data UUID={uuid} none luks\n")),
        ("/etc/default/grub", format!("GRUB_CMDLINE_LINUX=\"{line}\"\n")),
        ("/etc/kernel/cmdline", format!("{line}\n")),
        ("/etc/initramfs-tools/conf.d/resume", format!("RESUME=UUID={uuid}\n")),
        ("/etc/dracut.conf.d/x.conf", format!("kernel_cmdline=\"{line}\"\n")),
        (
            "/etc/lvm/devices/system.devices",
            format!(
                "VERSION=1.1.1\nIDTYPE=crypt_uuid IDNAME=CRYPT-LUKS2-{}-x DEVNAME=/dev/mapper/x PVID=none\n",
                uuid.replace('-', "")
            ),
        ),
        ("/usr/lib/systemd/system/srv.mount", format!("[Mount]\nWhat=/dev/disk/by-uuid/{uuid}\n")),
        ("/etc/udev/rules.d/9.rules", format!("ENV{{ID_FS_UUID}}==\"{uuid}\", RUN+=\"/bin/true\"\n")),
        ("/etc/cloud/cloud.cfg.d/x.cfg", format!("mounts:\n - [ /dev/disk/by-uuid/{uuid}, /srv ]\n")),
        ("/etc/lvm/lvm.conf", format!("devices {{\n\tfilter = [ \"a|/dev/disk/by-uuid/{uuid}|\" ]\n}}\n")),
        ("/boot/armbianEnv.txt", format!("rootdev=UUID={uuid}\n")),
        ("/boot/extlinux/extlinux.conf", format!("label x\n\tkernel /vmlinuz\n\tappend {line}\n")),
        ("/boot/cmdline.txt", format!("{line}\n")),
        ("/boot/grub/grub.cfg", format!("menuentry x {{\n\tlinux /vmlinuz {line}\n}}\n")),
        ("/boot/grub/custom.cfg", format!("search --no-floppy --fs-uuid --set=root {uuid}\n")),
        ("/boot/grub/grubenv", environment),
        ("/boot/loader/entries/x.conf", format!("title x\nlinux /vmlinuz\noptions {line}\n")),
        ("/boot/initrd.img-6.1", format!("RESUME=UUID={uuid}\n")),
    ]
}

#[test]
fn the_audit_reports_each_planted_reference_and_the_next_run_mends_it() {
    if !root_or_skip("the_audit_reports_each_planted_reference_and_the_next_run_mends_it") {
        return;
    }
    let server = Server::new(PLAIN);
    let old = blkid(&server.primary.part(2), "UUID");
    // Some of these the primary has itself, and names itself in them.
    for (file, text) in plants(&old) {
        if matches!(
            file,
            "/etc/default/grub" | "/boot/grub/grub.cfg" | "/boot/grub/grubenv" | "/etc/kernel/cmdline"
        ) {
            let at = server.root().join(&file[1..]);
            fs::create_dir_all(at.parent().expect("a directory")).expect("a directory");
            fs::write(at, text).expect("written");
        }
    }
    server.init_done(&[]);
    stands_alone(&server);
    let mut planted = BTreeSet::new();
    for (file, text) in plants(&old) {
        let (number, below) = file.strip_prefix("/boot/").map_or((2, &file[1..]), |below| (1, below));
        on_mirror(&server, number, |root| {
            let at = root.join(below);
            fs::create_dir_all(at.parent().expect("a directory")).expect("a directory");
            match file.contains("initrd") {
                true => initramfs(&server, "conf/conf.d/resume", &text, &at),
                false => fs::write(at, text).expect("written"),
            }
        });
        planted.insert(file.to_owned());
        assert_eq!(audit(&server), (5, planted.clone()), "after {file}");
    }
    run_done(&server);
    stands_alone(&server);
    let grub = on_mirror(&server, 1, |boot| fs::read_to_string(boot.join("grub/grub.cfg")).expect("a text"));
    assert!(grub.contains(&blkid(&server.mirror.part(2), "UUID")), "{grub}");
    let gone =
        on_mirror(&server, 1, |boot| !boot.join("loader").exists() && !boot.join("initrd.img-6.1").exists());
    assert!(gone, "what the primary has not is not on the mirror");
    assert_eq!(server.differences().lines().filter(|line| !line.contains("grub")).count(), 0);
}

#[test]
fn an_initramfs_gets_what_names_the_mirror_behind_it_and_is_then_left_alone() {
    if !root_or_skip("an_initramfs_gets_what_names_the_mirror_behind_it_and_is_then_left_alone") {
        return;
    }
    let server = Server::new(PLAIN);
    let (old, file) = (blkid(&server.primary.part(2), "UUID"), "initrd.img-6.1");
    let source = server.root().join("boot").join(file);
    initramfs(&server, "conf/conf.d/resume", &format!("RESUME=UUID={old}\n"), &source);
    server.init_done(&[]);
    let new = blkid(&server.mirror.part(2), "UUID");
    let source = fs::read(source).expect("readable");
    let copy = || on_mirror(&server, 1, |boot| fs::read(boot.join(file)).expect("readable"));
    let suffix = copy().strip_prefix(&source[..]).expect("the primary's image comes first").to_vec();
    let at = suffix.windows(6).position(|magic| magic == b"070701").expect("an archive behind it");
    assert!((source.len() + at).is_multiple_of(4), "where the kernel looks for one");
    let archive = server.dir.path().join("suffix.cpio");
    fs::write(&archive, &suffix[at..]).expect("written");
    let script = "cpio --quiet -i --to-stdout conf/conf.d/resume < \"$1\"";
    assert_eq!(tool("sh", &["-c", script, "sh", &path(&archive)]), format!("RESUME=UUID={new}"));

    let before = copy();
    let second = run_done(&server);
    let copied: u64 =
        second["volumes"].as_array().expect("a list").iter().filter_map(|v| v["files_copied"].as_u64()).sum();
    assert_eq!(copied, 0, "{second}");
    assert_eq!(copy(), before);
}

/// What an initramfs of a machine alone is like: dracut's hook for a device, in a file's name.
fn host_only(server: &Server, uuid: &str, to: &Path) {
    let escaped = format!("\\x2fdev\\x2fdisk\\x2fby-uuid\\x2f{uuid}");
    initramfs(server, &format!("usr/lib/dracut/hooks/initqueue/finished/devexists-{escaped}.sh"), "", to);
}

#[test]
fn images_that_no_entry_starts_and_dead_entries_alarm_nobody() {
    if !root_or_skip("images_that_no_entry_starts_and_dead_entries_alarm_nobody") {
        return;
    }
    let server = Server::new(PLAIN);
    let (boot, old) = (server.root().join("boot"), blkid(&server.primary.part(2), "UUID"));
    let fs = blkid(&server.primary.part(1), "UUID");
    fs::create_dir_all(boot.join("grub")).expect("a directory");
    let dead = "11111111-2222-4333-8444-555555555555";
    let menu = format!(
        "menuentry own {{\n\tsearch --fs-uuid --set=root {fs}\n\tlinux /vmlinuz root=UUID={old}\n\tinitrd /initramfs-6.1.img\n}}\n\
         menuentry usb {{\n\tsearch --fs-uuid --set=root {dead}\n\tlinux /vmlinuz-usb root=UUID={dead}\n}}\n\
         menuentry gone {{\n\tlinux /vmlinuz-5.10 root=UUID={dead}\n}}\n"
    );
    fs::write(boot.join("grub/grub.cfg"), menu).expect("written");
    initramfs(&server, "etc/hostname", "srv\n", &boot.join("initramfs-6.1.img"));
    for spare in ["initramfs-6.1kdump.img", "initramfs-6.1.img.bak", "initrd.img-5.9"] {
        host_only(&server, &old, &boot.join(spare));
    }
    server.init_done(&[]);
    let told = run_done(&server);
    assert_eq!(told["boot"]["problems"], Value::Array(Vec::new()), "{told}");
    stands_alone(&server);
}

#[test]
fn what_lies_behind_links_is_rewritten_where_it_lies() {
    if !root_or_skip("what_lies_behind_links_is_rewritten_where_it_lies") {
        return;
    }
    let server = Server::new(PLAIN);
    let (root, old) = (server.root(), blkid(&server.primary.part(2), "UUID"));
    fs::create_dir_all(root.join("etc/site")).expect("a directory");
    fs::rename(root.join("etc/fstab"), root.join("etc/site/fstab")).expect("renamed");
    std::os::unix::fs::symlink("site/fstab", root.join("etc/fstab")).expect("a link");
    fs::create_dir_all(root.join("boot/loader.0/entries")).expect("a directory");
    std::os::unix::fs::symlink("loader.0", root.join("boot/loader")).expect("a link");
    let entry = format!("title x\nlinux /vmlinuz\noptions root=UUID={old} rw\n");
    fs::write(root.join("boot/loader.0/entries/ostree-1.conf"), entry).expect("written");
    server.init_done(&[]);
    let new = blkid(&server.mirror.part(2), "UUID");
    let read = |number, path: &str| {
        on_mirror(&server, number, |at| fs::read_to_string(at.join(path)).expect("a text"))
    };
    assert!(read(2, "etc/site/fstab").contains(&new));
    assert!(read(1, "loader.0/entries/ostree-1.conf").contains(&format!("root=UUID={new} rw")));
    let is_link = |number, path: &str| on_mirror(&server, number, |at| at.join(path).is_symlink());
    assert!(is_link(2, "etc/fstab") && is_link(1, "loader"), "links stay links");
    stands_alone(&server);
}

/// Swap by a unit of systemd's, whose name is the device.
#[test]
fn swap_of_a_unit_is_the_mirrors_own_in_fstab() {
    if !root_or_skip("swap_of_a_unit_is_the_mirrors_own_in_fstab") {
        return;
    }
    // The mirror of systemd's system carries this program, as the compiler made it for tests, and for a moment twice.
    let table = "label: gpt\nsize=24MiB\nsize=240MiB, type=L\ntype=S\n";
    let server = Server::new(Shape { table, swaps: &[3], primary_mib: 280, mirror_mib: 280, ..PLAIN });
    let (units, old) = (server.root().join("etc/systemd/system"), blkid(&server.primary.part(3), "UUID"));
    fs::create_dir_all(units.join("swap.target.wants")).expect("a directory");
    let name = format!("dev-disk-by\\x2duuid-{}.swap", old.replace('-', "\\x2d"));
    fs::write(units.join(&name), format!("[Swap]\nWhat=/dev/disk/by-uuid/{old}\n")).expect("written");
    std::os::unix::fs::symlink(format!("../{name}"), units.join("swap.target.wants").join(&name))
        .expect("a link");
    let fstab = fs::read_to_string(server.root().join("etc/fstab")).expect("a text");
    let without: String =
        fstab.lines().filter(|line| !line.contains(" swap ")).map(|line| format!("{line}\n")).collect();
    fs::write(server.root().join("etc/fstab"), without).expect("written");
    server.init_done(&[]);
    let new = blkid(&server.mirror.part(3), "UUID");
    let unit =
        on_mirror(&server, 2, |root| fs::read(root.join("etc/systemd/system").join(&name)).expect("a file"));
    assert!(unit.is_empty(), "it is masked");
    let fstab = on_mirror(&server, 2, |root| fs::read_to_string(root.join("etc/fstab")).expect("a text"));
    assert!(fstab.contains(&format!("/dev/disk/by-uuid/{new} none swap sw,nofail 0 0")), "{fstab}");
    stands_alone(&server);
    run_done(&server);
}

#[test]
fn u_boot_in_front_of_the_first_partition_is_copied() {
    if !root_or_skip("u_boot_in_front_of_the_first_partition_is_copied") {
        return;
    }
    let table = "label: dos\n1: start=8192, size=24MiB, type=83\n2: size=40MiB, type=83\n";
    let server = server(Shape { table, primary_mib: 80, mirror_mib: 80, ..MBR });
    let old = blkid(&server.primary.part(2), "UUID");
    fs::write(server.root().join("boot/armbianEnv.txt"), format!("rootdev=UUID={old}\n")).expect("written");
    put(&server.primary.node, 0, &[0; 440]);
    put(&server.primary.node, 64 * 512, &[0xAB; 100_000]);
    server.init_done(&[]);
    let copied = || server.mirror.head(64 * 512 + 100_000)[64 * 512..] == [0xAB; 100_000];
    assert!(copied());
    assert_ne!(server.primary.head(512)[440..444], server.mirror.head(512)[440..444], "the table is its own");
    put(&server.mirror.node, 64 * 512 + 5000, &[0; 64]);
    run_done(&server);
    assert!(copied(), "and mended");
    stands_alone(&server);
}

/// A root whose /boot is on a stick: that the mirror will not boot is said before anything is erased.
#[test]
fn a_boot_on_another_disk_is_told_before_anything_is_erased() {
    if !root_or_skip("a_boot_on_another_disk_is_told_before_anything_is_erased") {
        return;
    }
    const ROOT_ONLY: Shape = Shape {
        table: "label: dos\n1: start=2048, type=83\n",
        filesystems: &[Fs { number: 1, mount: "/", mkfs: EXT4 }],
        ..MBR
    };
    let server = Server::new(ROOT_ONLY);
    let fstab = server.root().join("etc/fstab");
    let text = fs::read_to_string(&fstab).expect("a text");
    let stick = server::Disk::new(server.dir.path().join("stick.img"), 16, 512);
    fs::write(&fstab, format!("{text}\n{} /boot ext4 defaults 0 2\n", stick.node)).expect("written");
    for file in ["config.txt", "cmdline.txt"] {
        fs::remove_file(server.root().join("boot").join(file)).expect("it is there");
    }
    let plan = server.plan(&[]);
    let words = format!("/boot is {}, which is no part of", stick.node);
    assert!(plan.stdout.contains("the mirror may not boot") && plan.stdout.contains(&words), "{plan:?}");
    assert_eq!(server.init(&[]).code, 3);
    assert!(problems(&server).contains(&words));
    assert_eq!(server.call(&["status"]).code, 1, "NOT READY");
}

/// What a monitor is told of the disk: each run that looks says it once, and the audit as long as nobody silences it.
#[test]
fn what_no_boot_is_known_to_read_is_remarked_once() {
    if !root_or_skip("what_no_boot_is_known_to_read_is_remarked_once") {
        return;
    }
    let server = Server::new(PLAIN);
    let old = blkid(&server.primary.part(2), "UUID");
    fs::write(server.root().join("etc/monitor.conf"), format!("disk UUID={old}\n")).expect("written");
    server.init_done(&[]);
    let remark = format!("/etc/monitor.conf, line 1: names the primary's UUID {old}");
    let status = server.call(&["status"]);
    assert!(status.code == 0 && status.stdout.contains(&remark), "{status:?}");
    // Something that boots has changed, so the next run looks again.
    fs::write(server.root().join("boot/config.txt"), "arm_64bit=0\n").expect("written");
    assert_eq!(run_done(&server)["boot"]["remarks"], Value::Null);
    assert!(server.call(&["audit"]).stdout.contains(&remark));
    stands_alone(&server);
    let config = fs::read_to_string(server.config()).expect("a text");
    let silent = config.replace("audit_ignore = []", "audit_ignore = [\"/etc/monitor*\"]");
    fs::write(server.config(), silent).expect("written");
    assert!(!server.call(&["audit"]).stdout.contains("remark"));
}

/// A run enters it by itself; a plan cannot tell what lies there, and foretells nothing.
#[test]
fn a_boot_that_is_mounted_nowhere_is_not_foretold_to_be_missing() {
    if !root_or_skip("a_boot_that_is_mounted_nowhere_is_not_foretold_to_be_missing") {
        return;
    }
    let mut server = with_grub(MBR);
    assert!(!server.plan(&[]).stdout.contains("may not boot"));
    server.unmount(&server.root().join("boot"));
    assert!(!server.plan(&[]).stdout.contains("may not boot"));
    server.init_done(&[]);
}
