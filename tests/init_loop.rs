//! `init` on loop disks, judged by the system's own tools and by rsync: every plain layout, other sizes, other
//! sectors, and a second time. Needs root; says so where it is skipped.

#[path = "common/server.rs"]
mod server;

use server::{Fs, PLAIN, Server, Shape, blkid, root_or_skip, tool};
use std::collections::BTreeSet;
use std::ffi::OsStr;
use std::fs;
use std::os::unix::ffi::OsStrExt;
use std::os::unix::fs::{MetadataExt, PermissionsExt};
use std::process::Command;

/// The procedure's own layout, without its encryption: MBR, ext3 /boot with blocks of 1 KiB, root and swap logical.
const MBR: Shape = Shape {
    table: "label: dos\n1: start=2048, size=24MiB, type=83, bootable\n2: size=90MiB, type=5\n\
            5: size=60MiB, type=83\n6: size=8MiB, type=82\n",
    filesystems: &[
        Fs { number: 5, mount: "/", mkfs: &["mke2fs", "-q", "-t", "ext4", "-N", "4000", "-I", "256"] },
        Fs {
            number: 1,
            mount: "/boot",
            mkfs: &["mke2fs", "-q", "-t", "ext3", "-b", "1024", "-I", "128", "-N", "3000", "-L", "boot"],
        },
    ],
    swaps: &[6],
    primary_mib: 116,
    mirror_mib: 116,
    ..PLAIN
};

const XFS: Shape = Shape {
    table: "label: gpt\nsize=1MiB, type=21686148-6449-6E6F-744E-656564454649\nsize=16MiB\nsize=310MiB, type=L\n",
    filesystems: &[
        Fs { number: 3, mount: "/", mkfs: &["mkfs.xfs", "-q", "-f", "-L", "system"] },
        Fs { number: 2, mount: "/boot", mkfs: &["mke2fs", "-q", "-t", "ext2"] },
    ],
    primary_mib: 330,
    mirror_mib: 400,
    ..PLAIN
};

/// A partition as sfdisk's dump has it: number, type and flags as text; start and size in bytes.
#[derive(Debug, PartialEq)]
struct Row {
    number: String,
    start: u64,
    size: u64,
    rest: Vec<String>,
    identifiers: BTreeSet<String>,
}

fn rows(dump: &str) -> Vec<Row> {
    let sector =
        dump.lines().find_map(|l| l.strip_prefix("sector-size: ")).map_or(512, |n| n.parse().expect("n"));
    let row = |line: &str| {
        let (node, fields) = line.split_once(" : ")?;
        let mut row = Row {
            number: node.rsplit_once('p')?.1.to_owned(),
            start: 0,
            size: 0,
            rest: Vec::new(),
            identifiers: BTreeSet::new(),
        };
        for field in without_name(fields).split(',') {
            let number = |text: &str| text.trim().parse::<u64>().expect("a number") * sector;
            match field.trim().split_once('=') {
                Some(("start", n)) => row.start = number(n),
                Some(("size", n)) => row.size = number(n),
                Some(("uuid", id)) => drop(row.identifiers.insert(id.to_owned())),
                _ => row.rest.push(field.trim().to_owned()),
            }
        }
        Some(row)
    };
    dump.lines().filter_map(row).collect()
}

/// Names identify too: those in use are made distinct. None of them here has quotes in it.
fn without_name(fields: &str) -> String {
    match fields.split_once(", name=\"") {
        Some((head, rest)) => head.to_owned() + rest.split_once('"').expect("a closing quote").1,
        None => fields.to_owned(),
    }
}

fn label_id(dump: &str) -> &str {
    dump.lines().find_map(|line| line.strip_prefix("label-id: ")).expect("a table has an identifier")
}

fn plan_of(server: &Server) -> serde_json::Value {
    serde_json::from_str(&server.plan(&["--json"]).stdout).expect("JSON")
}

/// The tables differ in identifiers, and in those sizes only that the plan names in words.
fn tables_agree(server: &Server, plan: &serde_json::Value) {
    let (old, new) = (server.primary.dump(), server.mirror.dump());
    assert_ne!(label_id(&old), label_id(&new));
    let (old, new) = (rows(&old), rows(&new));
    assert_eq!(old.len(), new.len());
    let notes: Vec<&str> =
        plan["notes"].as_array().expect("a list").iter().filter_map(|n| n.as_str()).collect();
    for (old, new) in old.iter().zip(&new) {
        assert_eq!((&old.number, &old.rest), (&new.number, &new.rest));
        assert!(old.identifiers.is_disjoint(&new.identifiers), "{old:?} {new:?}");
        let node = format!("{}p{}", server.mirror.node, new.number);
        let extended = new.rest.iter().any(|field| field == "type=5");
        // What lies behind a partition that grows moves.
        let same = server.shape.mirror_sector == 512 && server.shape.mirror_mib == server.shape.primary_mib;
        if same || new.number == "1" {
            assert_eq!(old.start, new.start, "{node}");
        }
        if old.size != new.size && !extended {
            let words = if new.size > old.size { "grows from" } else { "shrinks from" };
            assert!(notes.iter().any(|n| n.starts_with(&node) && n.contains(words)), "{node}: {notes:?}");
        }
    }
}

/// What `dumpe2fs -h` says of how an ext file system was made.
fn made(node: &str, keys: &[&str]) -> Vec<String> {
    let text = tool("dumpe2fs", &["-h", node]);
    let of_key = |key: &&str| text.lines().find(|line| line.starts_with(*key)).unwrap_or_default().to_owned();
    // What is mounted says so among its features.
    keys.iter()
        .map(of_key)
        .map(|line| line.replace(" needs_recovery", "").replace(" orphan_present", ""))
        .collect()
}

fn filesystems_agree(server: &Server) {
    let (mut uuids, mut labels) = (BTreeSet::new(), BTreeSet::new());
    for fs in server.shape.filesystems {
        let (old, new) = (server.primary.part(fs.number), server.mirror.part(fs.number));
        assert_eq!(blkid(&old, "TYPE"), blkid(&new, "TYPE"));
        [&old, &new]
            .into_iter()
            .for_each(|node| assert!(uuids.insert(blkid(node, "UUID")), "{node}: a twin"));
        let (label, new_label) = (blkid(&old, "LABEL"), blkid(&new, "LABEL"));
        assert_eq!(label.is_empty(), new_label.is_empty(), "{new}: {new_label:?}");
        assert!(
            label.is_empty() || (labels.insert(label) && labels.insert(new_label)),
            "{new}: a twin's label"
        );
        if blkid(&new, "TYPE").starts_with("ext") {
            let same_sectors = server.shape.mirror_sector == 512;
            let same_size = server.shape.mirror_mib == server.shape.primary_mib;
            let mut keys = vec!["Inode size", "Filesystem features"];
            if same_sectors {
                keys.push("Block size");
            }
            if same_sectors && same_size {
                keys.push("Inode count");
            }
            assert_eq!(made(&old, &keys), made(&new, &keys), "{new}");
            tool("e2fsck", &["-fn", &new]);
        } else {
            tool("xfs_repair", &["-n", &new]);
        }
    }
    for number in server.shape.swaps {
        let (old, new) = (server.primary.part(*number), server.mirror.part(*number));
        assert_eq!(blkid(&new, "TYPE"), "swap");
        assert_ne!(blkid(&old, "UUID"), blkid(&new, "UUID"));
    }
}

/// Boot code is the primary's; signature and table are the mirror's own.
fn boot_block_is_mixed(server: &Server) {
    let (old, new) = (server.primary.head(512), server.mirror.head(512));
    if server.shape.mirror_sector == 512 {
        assert_eq!(old[..440], new[..440]);
    } else {
        assert_ne!(old[..440], new[..440], "sector numbers of another size");
    }
    assert_eq!(new[510..], [0x55, 0xaa]);
    if server.shape.table.contains("dos") {
        assert_ne!(old[440..444], new[440..444], "the disk signature is its own");
    }
}

fn configuration_is_sound(server: &Server) {
    let text = fs::read_to_string(server.config()).expect("it was written");
    let mode = fs::metadata(server.config()).expect("it is there").permissions().mode();
    assert_eq!(mode & 0o7777, 0o600);
    let config: toml::Table = text.parse().expect("it is TOML");
    let mirror = &config["mirror"][0];
    assert_eq!(mirror["disk"]["path"].as_str(), Some(&*server.mirror.node), "a disk without a serial number");
    assert_eq!(mirror["disk"]["table_id"].as_str(), Some(&*blkid(&server.mirror.node, "PTUUID")));
    let mut uuids: Vec<String> =
        server.shape.filesystems.iter().map(|fs| blkid(&server.mirror.part(fs.number), "UUID")).collect();
    let volumes = mirror["volume"].as_array().expect("a list");
    let mut named: Vec<String> =
        volumes.iter().filter_map(|v| v["mirror_uuid"].as_str()).map(str::to_owned).collect();
    uuids.sort();
    named.sort();
    assert_eq!(named, uuids, "{text}");
    assert!(!server.root().join("var/lib/diskmirror/unfinished-init.json").exists());
}

fn is_a_mirror(server: &Server, plan: &serde_json::Value) {
    tables_agree(server, plan);
    filesystems_agree(server);
    boot_block_is_mixed(server);
    configuration_is_sound(server);
    assert_eq!(server.differences(), "");
    assert!(server.mirror.is_free(), "nothing of it is left open");
}

fn prepared(shape: Shape) -> Server {
    let server = Server::new(shape);
    let plan = plan_of(&server);
    server.init_done(&[]);
    is_a_mirror(&server, &plan);
    server
}

#[test]
fn a_plain_gpt_server_is_mirrored_and_prepared_again_without_loss_of_settings() {
    if !root_or_skip("a_plain_gpt_server_is_mirrored_and_prepared_again_without_loss_of_settings") {
        return;
    }
    let server = Server::new(PLAIN);
    let fstab = server.root().join("etc/fstab");
    let before = fs::read_to_string(&fstab).expect("it is there");
    fs::set_permissions(&fstab, fs::Permissions::from_mode(0o640)).expect("chmod");
    let plan = plan_of(&server);
    server.init_done(&["--fstab"]);
    is_a_mirror(&server, &plan);
    let edited = fs::read_to_string(&fstab).expect("it is there");
    let lines_of = |text: &str| {
        let added = text.strip_prefix(&before).unwrap_or_else(|| panic!("{text}")).to_owned();
        let lines: Vec<String> =
            added.lines().filter(|l| l.starts_with("UUID=")).map(str::to_owned).collect();
        let others = added.lines().filter(|l| !l.starts_with("UUID=") && !l.is_empty());
        others.for_each(|line| assert!(line.starts_with("# diskmirror: "), "{line:?}"));
        lines
    };
    let added = lines_of(&edited);
    assert_eq!(added.len(), 2, "{edited}");
    for (fs, line) in server.shape.filesystems.iter().zip(&added) {
        let uuid = blkid(&server.mirror.part(fs.number), "UUID");
        assert!(
            line.starts_with(&format!("UUID={uuid} /mirror")) && line.contains("noauto,nofail"),
            "{line}"
        );
    }
    assert_eq!(fs::metadata(&fstab).expect("it is there").permissions().mode() & 0o777, 0o640);
    // findmnt must see no mistake in what was added.
    tool("findmnt", &["--verify", "--tab-file", fstab.to_str().expect("plain")]);

    let config = fs::read_to_string(server.config()).expect("it is there");
    let line = config.lines().find(|line| line.contains("exclude") && line.contains('=')).map(str::to_owned);
    let line = line.unwrap_or_else(|| panic!("no excludes in\n{config}"));
    fs::write(server.config(), config.replace(&line, "exclude = [\"/home/bob/cache/**\"]")).expect("written");
    let said = server.init_done(&["--fstab"]);
    assert!(said.stderr.contains("keep what is excluded"), "{said:?}");
    let again = fs::read_to_string(server.config()).expect("it is there");
    assert!(again.contains("/home/bob/cache/**"), "{again}");
    let edited_again = fs::read_to_string(&fstab).expect("it is there");
    assert_eq!(lines_of(&edited_again).len(), 2, "the old lines are replaced: {edited_again}");
    assert_ne!(lines_of(&edited_again), added);
    is_a_mirror(&server, &plan);
    // And a later run finds it.
    fs::write(server.root().join("home/alice/later"), "x").expect("written");
    let run = server.call(&["run"]);
    assert_eq!(run.code, 0, "{run:?}");
    assert_eq!(server.differences(), "");
}

#[test]
fn an_mbr_with_logical_partitions_and_old_file_systems_is_mirrored_alike() {
    if !root_or_skip("an_mbr_with_logical_partitions_and_old_file_systems_is_mirrored_alike") {
        return;
    }
    prepared(MBR);
}

#[test]
fn a_larger_mbr_mirror_grows_its_last_file_system() {
    if !root_or_skip("a_larger_mbr_mirror_grows_its_last_file_system") {
        return;
    }
    prepared(Shape { mirror_mib: 180, ..MBR });
}

#[test]
fn an_xfs_root_is_mirrored_on_a_larger_disk() {
    if !root_or_skip("an_xfs_root_is_mirrored_on_a_larger_disk") {
        return;
    }
    prepared(XFS);
}

#[test]
fn a_smaller_mirror_shrinks_what_is_not_used() {
    if !root_or_skip("a_smaller_mirror_shrinks_what_is_not_used") {
        return;
    }
    prepared(Shape { mirror_mib: 52, ..PLAIN });
}

#[test]
fn a_mirror_with_sectors_of_4096_bytes_is_prepared() {
    if !root_or_skip("a_mirror_with_sectors_of_4096_bytes_is_prepared") {
        return;
    }
    prepared(Shape { mirror_sector: 4096, mirror_mib: 80, ..PLAIN });
    prepared(Shape { mirror_sector: 4096, mirror_mib: 140, ..MBR });
}

#[test]
fn a_disk_full_of_old_things_is_prepared() {
    if !root_or_skip("a_disk_full_of_old_things_is_prepared") {
        return;
    }
    let server = Server::new(PLAIN);
    // Another table with more partitions, a swap and an XFS-less mix of leftovers, one of them beyond the new ones.
    server.mirror.partition(
        "label: dos\nsize=10MiB\nsize=10MiB\nsize=10MiB, type=82\nsize=20MiB, type=5\nsize=8MiB\nsize=8MiB\n",
    );
    tool("mke2fs", &["-q", "-F", "-t", "ext2", &server.mirror.part(1)]);
    tool("mkswap", &["-q", &server.mirror.part(3)]);
    tool("mke2fs", &["-q", "-F", "-t", "ext4", "-L", "boot", &server.mirror.part(6)]);
    let plan = plan_of(&server);
    assert!(plan["erased"].as_array().expect("a list").len() >= 4, "{plan}");
    server.init_done(&[]);
    is_a_mirror(&server, &plan);
    assert!(
        !std::path::Path::new(&server.mirror.part(5)).exists(),
        "the kernel has forgotten the old partitions"
    );
}

#[test]
fn a_fill_is_noted_where_there_is_nothing_to_encrypt() {
    if !root_or_skip("a_fill_is_noted_where_there_is_nothing_to_encrypt") {
        return;
    }
    let server = Server::new(PLAIN);
    for how in ["random", "zero"] {
        let said = server.plan(&["--fill", how]);
        assert!(said.stdout.contains("nothing is filled: only what will be encrypted is"), "{said:?}");
    }
    assert!(!server.plan(&[]).stdout.contains("filled"));
}

/// Another system's partition, which fstab mounts: it stays out, now and in later runs, and the mirror does not wait for it.
#[test]
fn a_server_with_what_cannot_be_mirrored_gets_its_mirror_without_it() {
    if !root_or_skip("a_server_with_what_cannot_be_mirrored_gets_its_mirror_without_it") {
        return;
    }
    let shape = Shape {
        table: "label: gpt\nsize=24MiB, name=\"boot\"\nsize=32MiB, type=L\nsize=5MiB, type=L\n",
        ..PLAIN
    };
    let server = Server::new(shape);
    let other = server.primary.part(3);
    tool("mkfs.minix", &[&other]);
    let part = format!("PARTUUID={}", blkid(&other, "PART_ENTRY_UUID"));
    let fstab = server.root().join("etc/fstab");
    let text = fs::read_to_string(&fstab).expect("it is there")
        + &format!("\n{part} /mnt/other minix defaults 0 0\n");
    fs::write(&fstab, text).expect("written");
    server.plan_and_init_refuse(&["is a minix file system", &format!("add --leave-out {other}")]);
    let planned = server.plan(&["--leave-out", "/mnt/other"]).stdout;
    assert!(planned.contains("--leave-out /mnt/other --erase"), "{planned}");
    server.init_done(&["--leave-out", "/mnt/other"]);
    let config = fs::read_to_string(server.config()).expect("it is there");
    assert!(config.contains(&format!("leave_out = [\"{part}\"]")), "{config}");
    assert_eq!(server.call(&["run"]).code, 0, "each run knows of it");
    assert_eq!(server.call(&["audit"]).code, 0);
    assert!(server.call(&["status"]).stdout.contains(&format!("without  {other} (5.00 MiB)")));
    let copy = server.dir.path().join("mirror");
    fs::create_dir_all(&copy).expect("a mount point");
    let copy = copy.to_str().expect("a plain name");
    tool("mount", &["-o", "ro", &server.mirror.part(2), copy]);
    let text = fs::read_to_string(format!("{copy}/etc/fstab")).expect("it was copied");
    tool("umount", &[copy]);
    assert!(text.contains("/mnt/other minix defaults,nofail 0 0"), "{text}");
    server.init_done(&[]);
}

/// As Ubuntu has it: swap in a file of the root. It is memory, so the mirror's is made anew, once, and has nothing of it.
#[test]
fn an_active_swap_file_is_made_anew_and_then_kept() {
    if !root_or_skip("an_active_swap_file_is_made_anew_and_then_kept") {
        return;
    }
    let server = Server::new(PLAIN);
    let file = server.root().join("var/swap.img");
    let path = file.to_str().expect("a plain name").to_owned();
    let swap_of = |kib: u64| {
        // Few pages only: on a busy machine the kernel swaps to all but the first.
        fs::write(&file, vec![0; (kib << 10) as usize]).expect("written");
        fs::set_permissions(&file, fs::Permissions::from_mode(0o600)).expect("chmod");
        tool("mkswap", &["-q", &path]);
        tool("swapon", &[&path]);
    };
    swap_of(40);
    let tried = std::panic::catch_unwind(std::panic::AssertUnwindSafe(|| {
        server.init_done(&[]);
        let (first, inode) = swap_file_of(&server);
        assert_ne!(first, fs::read(&file).expect("readable")[..4096], "it has a UUID of its own");
        let run = server.call(&["run", "--full"]);
        assert!(run.code == 0 && run.stderr.is_empty(), "nothing is new to a whole comparison: {run:?}");
        assert_eq!(swap_file_of(&server), (first, inode), "it is not made a second time");
    }));
    tool("swapoff", &[&path]);
    tried.unwrap_or_else(|panic| std::panic::resume_unwind(panic));
    swap_of(80);
    let run = server.call(&["run"]);
    tool("swapoff", &[&path]);
    assert_eq!(run.code, 0, "{run:?}");
    assert_eq!(swap_file_of(&server).0.len(), 4096);
    fs::remove_file(&file).expect("it is there");
    server.call(&["run"]);
    let listed = on_mirror(&server, |root| fs::read_dir(root.join("var")).expect("readable").count());
    assert_eq!(listed, 2, "lib and log");
}

/// The first page of the mirror's swap file, which is as it should be, and its inode.
fn swap_file_of(server: &Server) -> (Vec<u8>, u64) {
    let size = fs::metadata(server.root().join("var/swap.img")).expect("it is there").len();
    on_mirror(server, |root| {
        let path = root.join("var/swap.img");
        let meta = fs::metadata(&path).expect("it is on the mirror");
        assert_eq!((meta.len(), meta.permissions().mode() & 0o7777, meta.uid()), (size, 0o600, 0));
        assert!(meta.blocks() * 512 >= size, "it has no holes");
        assert_eq!(blkid(path.to_str().expect("a plain name"), "TYPE"), "swap");
        let text = fs::read(&path).expect("readable");
        assert!(text[4096..].iter().all(|byte| *byte == 0), "nothing of the primary's memory is in it");
        (text[..4096].to_vec(), meta.ino())
    })
}

fn on_mirror<T>(server: &Server, look: impl FnOnce(&std::path::Path) -> T) -> T {
    let at = server.dir.path().join("looked-at");
    fs::create_dir_all(&at).expect("a mount point");
    tool("mount", &["-o", "ro", &server.mirror.part(2), at.to_str().expect("a plain name")]);
    let found = look(&at);
    tool("umount", &[at.to_str().expect("a plain name")]);
    found
}

/// A directory that was named in ISO 8859-1, and a file system that fstab mounts there.
#[test]
fn a_mount_point_in_another_encoding_is_mirrored() {
    if !root_or_skip("a_mount_point_in_another_encoding_is_mirrored") {
        return;
    }
    let shape =
        Shape { table: "label: gpt\nsize=24MiB, name=\"boot\"\nsize=30MiB, type=L\ntype=L\n", ..PLAIN };
    let server = Server::new(shape);
    let node = server.primary.part(3);
    tool("mke2fs", &["-q", "-t", "ext4", "-E", "lazy_itable_init=0", &node]);
    let at = server.root().join(OsStr::from_bytes(b"srv/caf\xe9"));
    fs::create_dir_all(&at).expect("a mount point");
    assert!(Command::new("mount").arg(&node).arg(&at).status().expect("it starts").success());
    fs::write(at.join("menu"), "coffee").expect("written");
    let fstab = server.root().join("etc/fstab");
    let line = [format!("\nUUID={} ", blkid(&node, "UUID")).as_bytes(), b"/srv/caf\xe9 ext4 defaults 0 2\n"]
        .concat();
    fs::write(&fstab, [fs::read(&fstab).expect("it is there"), line].concat()).expect("written");
    let done = std::panic::catch_unwind(std::panic::AssertUnwindSafe(|| {
        server.init_done(&[]);
        let text = fs::read_to_string(server.config()).expect("it is UTF-8");
        assert!(text.contains(r#"mount = "/srv/caf\U0010ffe9""#), "{text}");
        assert_eq!(server.call(&["run"]).code, 0);
    }));
    assert!(Command::new("umount").arg(&at).status().expect("it starts").success());
    done.unwrap_or_else(|panic| std::panic::resume_unwind(panic));
    let copy = server.dir.path().join("copy");
    fs::create_dir_all(&copy).expect("a mount point");
    let copy = copy.to_str().expect("a plain name");
    tool("mount", &["-o", "ro", &server.mirror.part(3), copy]);
    let menu = fs::read_to_string(format!("{copy}/menu"));
    tool("umount", &[copy]);
    assert_eq!(menu.expect("it was copied"), "coffee");
}
