//! An EFI system partition as two directories: the primary's, and the mirror's.

use super::*;
use crate::identity::Pair;
use crate::layer::pe::tests::image;
use crate::layout::{Disk, Filesystem, FsKind, FsParameters, Layout, Surroundings, Table, TableKind};
use crate::units::Bytes;
use std::collections::BTreeMap;
use std::fs;
use std::fs::File;
use std::os::fd::OwnedFd;
use std::os::unix::fs::MetadataExt;
use tempfile::TempDir;

const OLD: &str = "0aaaaaaa-1111-4111-8111-111111111111";
const NEW: &str = "0bbbbbbb-2222-4222-8222-222222222222";
const FALLBACK_PATH: &str =
    if cfg!(target_arch = "aarch64") { "BOOT/BOOTAA64.EFI" } else { "BOOT/BOOTX64.EFI" };
const SHIM: &str = LOADERS[0];
const SYSTEMD: &str = LOADERS[2];

fn shim() -> Vec<u8> {
    image(&[(".text", b"shim"), (".vendor_cert", b"Debian")], 64)
}

/// An unsigned image of GRUB with what is embedded in it.
fn grub(embedded: &str) -> Vec<u8> {
    image(&[(".text", b"code"), ("mods", embedded.as_bytes())], 0)
}

fn layout(path: &str, mount: Option<&str>) -> Layout {
    let disk = Disk {
        path: path.into(),
        model: None,
        serial: None,
        wwn: None,
        transport: None,
        size: Bytes(1 << 30),
        logical_sector: 512,
        physical_sector: 512,
        rotational: false,
        read_only: false,
        discard: false,
    };
    let fs = Filesystem {
        kind: FsKind::Vfat,
        path: disk.partition_path(1),
        uuid: "AAAA-0001".into(),
        label: None,
        size: Bytes(1 << 29),
        used: None,
        capacity: None,
        mounted_at: mount.iter().map(|mount| (*mount).to_owned()).collect(),
        fstab_target: None,
        parameters: FsParameters::Vfat { bits: 32 },
    };
    let partition = Partition {
        number: 1,
        path: disk.partition_path(1),
        start: Bytes(1 << 20),
        size: Bytes(1 << 29),
        type_id: "C12A7328-F81F-11D2-BA4B-00A0C93EC93B".into(),
        uuid: Some("0c0c0c0c-0000-4000-8000-000000000001".into()),
        name: None,
        attributes: None,
        bootable: false,
        content: Content::Filesystem(fs),
    };
    let table = Table { kind: TableKind::Gpt, id: "g".into(), partitions: vec![partition] };
    Layout { disk, content: Content::Table(table) }
}

fn identities(mount: Option<&str>) -> Identities {
    let pair = Pair { kind: Kind::Uuid, primary: OLD.into(), mirror: NEW.into() };
    let (primary, mirror) = (layout("/dev/sda", mount), layout("/dev/sdb", None));
    let survey = Survey { primary, mirror, around: Surroundings::default() };
    Identities { survey, map: IdentityMap { pairs: vec![pair] } }
}

struct Esps {
    dir: TempDir,
    source: Tree,
    mirror: Tree,
}

/// The primary's with these files below EFI, and an empty one.
fn esps(files: &[(&str, &[u8])]) -> Esps {
    let dir = tempfile::tempdir().expect("a temporary directory");
    let tree = |name: &str| {
        let open = |below: &str| {
            let at = dir.path().join(name).join(below);
            fs::create_dir_all(&at).expect("writable");
            OwnedFd::from(File::open(at).expect("there"))
        };
        open("root/boot/efi");
        Tree::new(vec![("/".into(), open("root")), ("/boot/efi".into(), open("esp"))])
    };
    let (source, mirror) = (tree("primary"), tree("mirror"));
    for (path, content) in files {
        let path = dir.path().join("primary/esp/EFI").join(path);
        fs::create_dir_all(path.parent().expect("a directory")).expect("writable");
        fs::write(path, content).expect("writable");
    }
    Esps { dir, source, mirror }
}

impl Esps {
    fn decided(&self) -> Esp {
        decide(&self.source, &identities(Some("/boot/efi")), &|directory| directory.ends_with("/EFI/aold"))
            .expect("readable")
            .expect("one that is mounted")
    }

    /// What is below EFI on the mirror: path and content.
    fn on_mirror(&self) -> BTreeMap<String, Vec<u8>> {
        let efi = self.dir.path().join("mirror/esp/EFI");
        let mut found = BTreeMap::new();
        for vendor in fs::read_dir(&efi).into_iter().flatten().flatten() {
            for file in fs::read_dir(vendor.path()).expect("a directory").flatten() {
                let path = file.path();
                let name = path.strip_prefix(&efi).expect("below").to_string_lossy().into_owned();
                found.insert(name, fs::read(path).expect("readable"));
            }
        }
        found
    }

    fn installed(&self) -> BTreeMap<String, Vec<u8>> {
        self.decided().install(&self.mirror).expect("writable");
        self.on_mirror()
    }
}

#[test]
fn a_fallback_loader_that_the_primary_has_is_the_mirrors_too() {
    let (own, vendors) = (grub("its own"), grub("the vendor's"));
    let esps =
        esps(&[(FALLBACK_PATH, &own), ("debian/shimx64.efi", &shim()), ("debian/grubx64.efi", &vendors)]);
    assert_eq!(esps.installed(), BTreeMap::from([(FALLBACK_PATH.to_owned(), own)]));
    assert_eq!(esps.decided().problems, [""; 0]);
}

#[test]
fn a_fallback_loader_keeps_the_spelling_that_it_has() {
    let spelled = FALLBACK_PATH.to_lowercase();
    let esps = esps(&[(&spelled, &grub("x"))]);
    assert_eq!(esps.installed().into_keys().collect::<Vec<_>>(), std::slice::from_ref(&spelled));
    assert_eq!(esps.decided().own(), [format!("/boot/efi/EFI/{spelled}")]);
}

#[test]
fn without_a_fallback_loader_shim_comes_with_what_it_loads_and_itself_last() {
    let vendor = |name: &str| format!("debian/{name}");
    let config =
        format!("search.fs_uuid {OLD} root\nset prefix=($root)'/grub'\nconfigfile $prefix/grub.cfg\n");
    let esps = esps(&[
        (&vendor(SHIM), &shim()),
        (&vendor(SECOND_STAGE), &grub("")),
        ("debian/grub.cfg", config.as_bytes()),
    ]);
    let esp = esps.decided();
    let names: Vec<&str> = esp.files.iter().map(|(name, _)| name.as_str()).collect();
    assert_eq!(names, [SECOND_STAGE, "grub.cfg", FALLBACK], "what is loaded is there before the loader");
    let installed = esps.installed();
    assert_eq!(installed[FALLBACK_PATH], shim());
    assert_eq!(installed[&format!("BOOT/{SECOND_STAGE}")], grub(""));
    assert_eq!(String::from_utf8_lossy(&installed["BOOT/grub.cfg"]), config.replace(OLD, NEW));
    let own: Vec<String> = names.iter().map(|name| format!("/boot/efi/EFI/BOOT/{name}")).collect();
    assert_eq!(esp.own(), own, "what the primary has not must not be deleted by the engine");
}

#[test]
fn a_shim_without_its_second_stage_is_a_problem() {
    let problems = esps(&[(FALLBACK_PATH, &shim())]).decided().problems;
    assert!(problems.len() == 1 && problems[0].contains(SECOND_STAGE), "{problems:?}");
}

#[test]
fn without_shim_grub_is_started_and_without_grub_systemd_boot() {
    let systemd = image(&[(".sdmagic", b"#### LoaderInfo: systemd-boot 252 ####")], 0);
    let systemd_path = format!("systemd/{SYSTEMD}");
    let grub_path = format!("debian/{SECOND_STAGE}");
    let both = esps(&[(&systemd_path, &systemd), (&grub_path, &grub("x"))]);
    assert_eq!(both.installed()[FALLBACK_PATH], grub("x"));
    assert_eq!(esps(&[(&systemd_path, &systemd)]).installed()[FALLBACK_PATH], systemd);
}

#[test]
fn what_is_no_program_is_nobodys_loader() {
    let path = format!("debian/{SECOND_STAGE}");
    let damaged = esps(&[(FALLBACK_PATH, b""), (&path, &grub("x"))]);
    assert_eq!(damaged.installed()[FALLBACK_PATH], grub("x"), "an empty file, as a crash leaves it on FAT");
    let none = esps(&[(FALLBACK_PATH, b"")]).decided();
    assert!(!none.has_loader() && none.own().is_empty(), "{none:?}");
}

#[test]
fn shims_entry_writer_is_left_out_and_taken_away() {
    let esps = esps(&[(FALLBACK_PATH, &grub("x")), ("BOOT/fbx64.efi", &image(&[], 0))]);
    let writer = esps.dir.path().join("mirror/esp/EFI/BOOT/fbx64.efi");
    fs::create_dir_all(writer.parent().expect("a directory")).expect("writable");
    fs::write(&writer, "of an earlier copy").expect("writable");
    assert!(esps.decided().own().contains(&"/boot/efi/EFI/BOOT/fbx64.efi".to_owned()));
    assert_eq!(esps.installed().into_keys().collect::<Vec<_>>(), [FALLBACK_PATH]);
}

#[test]
fn a_unified_kernel_image_is_a_problem_with_what_to_do() {
    let unified = image(&[(".cmdline", b"root=UUID=x"), (".linux", b"MZ")], 64);
    let esps = esps(&[(FALLBACK_PATH, &grub("x")), ("Linux/debian-6.1.efi", &unified)]);
    let problems = esps.decided().problems;
    assert!(
        matches!(&problems[..], [one] if one.starts_with("/boot/efi/EFI/Linux/debian-6.1.efi is a unified kernel image")
            && one.contains("GRUB")),
        "{problems:?}"
    );
}

#[test]
fn an_unsigned_image_names_the_mirror_in_every_spelling() {
    let embedded = |uuid: &str| {
        format!(
            "search.fs_uuid {uuid} root\ncryptomount -u {}\nset prefix=($root)/grub\n",
            uuid.replace('-', "")
        )
    };
    let path = format!("debian/{SECOND_STAGE}");
    let esps = esps(&[(&path, &grub(&embedded(OLD)))]);
    let esp = esps.decided();
    let wanted = grub(&embedded(NEW));
    let at = At { volume: 1, path: format!("EFI/{path}") };
    assert_eq!(esp.rewritten, [(at, wanted.clone())], "as the engine shall make it");
    assert_eq!(esps.installed()[FALLBACK_PATH], wanted, "and the copy that firmware starts");
    assert_eq!(esp.problems, [""; 0]);
}

#[test]
fn a_signed_image_that_names_the_primary_is_a_problem() {
    let signed = image(&[("mods", OLD.as_bytes())], 64);
    let esp = esps(&[(FALLBACK_PATH, &signed)]).decided();
    assert!(matches!(&esp.problems[..], [one] if one.contains("it is signed")), "{:?}", esp.problems);
    assert_eq!(esp.rewritten, []);
}

#[test]
fn what_is_there_already_is_not_written_again() {
    let esps = esps(&[(FALLBACK_PATH, &grub("x"))]);
    esps.installed();
    let path = esps.dir.path().join("mirror/esp/EFI").join(FALLBACK_PATH);
    let inode = || fs::metadata(&path).expect("there").ino();
    let (before, holder) = (inode(), File::open(&path).expect("there"));
    esps.installed();
    assert_eq!(inode(), before, "an equal file is left alone");
    fs::write(&path, "damaged").expect("writable");
    assert_eq!(esps.installed()[FALLBACK_PATH], grub("x"));
    assert_ne!(inode(), before, "a new file took its place whole");
    drop(holder);
}

#[test]
fn a_system_partition_that_is_not_mounted_is_not_looked_into() {
    let esps = esps(&[(FALLBACK_PATH, &grub("x"))]);
    assert_eq!(decide(&esps.source, &identities(None), &|_| false).expect("no error"), None);
}

/// A system that was there before has left its directory behind, and its name comes first.
#[test]
fn a_loader_whose_configuration_leads_nowhere_is_the_last_choice() {
    let (stale, own) = (grub("the old system's"), grub("its own"));
    let vendor = |dir: &str| format!("{dir}/{SECOND_STAGE}");
    let (a, b) = (vendor("aold"), vendor("rocky"));
    let esps = esps(&[(&a, &stale), (&b, &own)]);
    assert_eq!(esps.installed()[FALLBACK_PATH], own);
    let alone = self::esps(&[(&a, &stale)]);
    assert_eq!(alone.installed()[FALLBACK_PATH], stale, "better than none");
}
