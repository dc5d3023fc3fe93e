//! A mirror that stands alone, and each thing that can be wrong with it.

use super::*;
use crate::boot::Tree;
use crate::identity::Pair;
use crate::layer::compression::tests::compressed;
use crate::layer::{cpio, grub_core, pe};
use std::collections::BTreeMap;

const OLD: &str = "0aaaaaaa-1111-4111-8111-111111111111";
const NEW: &str = "0bbbbbbb-2222-4222-8222-222222222222";
const OLD_LUKS: &str = "0ccccccc-3333-4333-8333-333333333333";
const NEW_LUKS: &str = "0ddddddd-4444-4444-8444-444444444444";
const OTHER_DISK: &str = "0eeeeeee-5555-4555-8555-555555555555";
const NOBODY: &str = "0fffffff-6666-4666-8666-666666666666";

#[derive(Clone)]
struct System(BTreeMap<String, Vec<u8>>);

impl Files for System {
    fn read(&self, path: &str) -> io::Result<Option<Vec<u8>>> {
        Ok(self.0.get(path).cloned())
    }

    fn open(&self, path: &str) -> io::Result<Option<Box<dyn Content>>> {
        Ok(self.0.get(path).map(|bytes| Box::new(io::Cursor::new(bytes.clone())) as Box<dyn Content>))
    }

    fn list(&self, dir: &str) -> io::Result<Vec<String>> {
        let below = format!("{}/", dir.trim_end_matches('/'));
        let names = self.0.keys().filter_map(|path| path.strip_prefix(&below)?.split('/').next());
        Ok(names.map(str::to_owned).collect::<BTreeSet<_>>().into_iter().collect())
    }
}

impl System {
    fn with(&self, path: &str, content: impl AsRef<[u8]>) -> Self {
        let mut system = self.clone();
        system.0.insert(path.to_owned(), content.as_ref().to_vec());
        system
    }

    fn changed(&self, path: &str, from: &str, to: &str) -> Self {
        let text = String::from_utf8(self.0[path].clone()).expect("a text");
        assert!(text.contains(from), "{path} has no {from}");
        self.with(path, text.replacen(from, to, 1))
    }
}

fn archive(files: &[(&str, &str)]) -> Vec<u8> {
    cpio::write(files.iter().map(|(path, text)| (path.as_bytes(), cpio::REGULAR | 0o644, text.as_bytes())))
}

/// The primary's image with the mirror's crypttab behind it.
fn initramfs(crypttab: &str, extra: &[(&str, &str)]) -> Vec<u8> {
    let primarys = format!("sda5_crypt UUID={OLD_LUKS} none luks\n");
    let mut image =
        compressed("gzip", &archive(&[("scripts/functions", ""), ("cryptroot/crypttab", &primarys)]));
    image.resize(image.len().next_multiple_of(512) + 512, 0);
    image.extend(archive(&[&[("cryptroot/crypttab", crypttab)], extra].concat()));
    image
}

fn crypttab() -> String {
    format!("sdb5_crypt UUID={NEW_LUKS} none luks\n")
}

const INITRD: &str = "/boot/initrd.img-6.1";

/// BIOS, /boot on a plain partition, root on LVM on LUKS; another system on another disk.
fn system() -> System {
    let fstab = format!(
        "/dev/mapper/mirror-root / ext4 defaults 0 1\nUUID={NEW} /boot ext3 defaults 0 2\n\
         /dev/mirror/swap none swap sw 0 0\nLABEL=data /srv xfs defaults 0 0\nUUID={NOBODY} /old ext4 nofail 0 0\n\
         tmpfs /tmp tmpfs defaults 0 0\nPARTUUID=0badcafe-01 /extra ext4 defaults 0 0\n"
    );
    let grub = format!(
        "menuentry 'Debian' {{\n\tset root='hd0,msdos1'\n\tsearch --no-floppy --fs-uuid --set=root --hint-bios=hd0,msdos1 \
         {NEW}\n\tlinux /vmlinuz-6.1 root=/dev/mapper/mirror-root ro resume=none quiet\n\tinitrd /initrd.img-6.1\n}}\n\
         menuentry 'Another system' {{\n\tsearch --no-floppy --fs-uuid --set=root {OTHER_DISK}\n\
         \tlinux /boot/vmlinuz-other root=UUID={OTHER_DISK} ro\n}}\n"
    );
    System(BTreeMap::new())
        .with("/etc/fstab", fstab)
        .with("/etc/crypttab", crypttab())
        .with("/boot/grub/grub.cfg", grub)
        .with("/boot/vmlinuz-6.1", "a kernel")
        .with(INITRD, initramfs(&crypttab(), &[]))
}

fn facts() -> Facts {
    let pair =
        |kind, primary: &str, mirror: &str| Pair { kind, primary: primary.into(), mirror: mirror.into() };
    let set = |all: &[&str]| all.iter().map(|one| (*one).to_owned()).collect();
    Facts {
        map: IdentityMap {
            pairs: vec![
                pair(Kind::Table, "64c2e6a0", "5eedbeef"),
                pair(Kind::Partition, "64c2e6a0-01", "5eedbeef-01"),
                pair(Kind::Uuid, OLD, NEW),
                pair(Kind::Uuid, OLD_LUKS, NEW_LUKS),
                pair(Kind::Label, "boot", "boot-m"),
                pair(Kind::Mapper, "sda5_crypt", "sdb5_crypt"),
                pair(Kind::Group, "www", "mirror"),
                pair(Kind::Volume, "www/root", "mirror/root"),
                pair(Kind::Volume, "www/swap", "mirror/swap"),
            ],
        },
        uuids: set(&[NEW, NEW_LUKS, OTHER_DISK]),
        labels: set(&["boot-m", "data"]),
        part_uuids: set(&["5eedbeef-01", "0BADCAFE-01"]),
        volumes: set(&["mirror/root", "mirror/swap"]),
        containers: set(&[NEW_LUKS]),
        table: "5eedbeef".into(),
        ..Facts::default()
    }
}

fn found(system: &System, facts: &Facts) -> Vec<String> {
    audit(system, facts).expect("it is readable").iter().map(ToString::to_string).collect()
}

/// What is wrong with a system: exactly one thing.
fn one(system: &System) -> String {
    let found = found(system, &facts());
    assert_eq!(found.len(), 1, "{found:#?}");
    found.into_iter().next().expect("there is one")
}

#[test]
fn a_mirror_that_stands_alone_has_no_findings() {
    assert_eq!(found(&system(), &facts()), [""; 0]);
}

#[test]
fn a_stale_uuid_in_each_kind_of_text_is_found_once() {
    let texts = [
        ("/etc/default/grub", format!("GRUB_CMDLINE_LINUX=\"resume=UUID={OLD}\"\n")),
        ("/etc/default/grub.d/local.cfg", format!("GRUB_CMDLINE_LINUX=\"resume=UUID={OLD}\"\n")),
        ("/etc/kernel/cmdline", format!("root=UUID={OLD} ro\n")),
        ("/etc/initramfs-tools/conf.d/resume", format!("RESUME=UUID={OLD}\n")),
        ("/etc/dracut.conf.d/host.conf", format!("kernel_cmdline=\"rd.luks.uuid={OLD}\"\n")),
        ("/etc/lvm/devices/system.devices", format!("IDTYPE=crypt_uuid IDNAME={OLD} PVID=none\n")),
        ("/boot/grub/custom.cfg", format!("search --fs-uuid --set=root {OLD}\n")),
        ("/boot/grub/grubenv", format!("# GRUB Environment Block\nkernelopts=root=UUID={OLD} ro\n####")),
        ("/boot/loader/entries/debian.conf", format!("title x\noptions root=UUID={OLD} ro\n")),
        ("/boot/firmware/cmdline.txt", format!("console=tty1 root=UUID={OLD} rootwait\n")),
        ("/boot/extlinux/extlinux.conf", format!("LABEL x\n  APPEND root=UUID={OLD} ro\n")),
        (
            "/boot/efi/EFI/debian/grub.cfg",
            format!("search.fs_uuid {OLD} root hd0,gpt2\nset prefix=($root)'/grub'\n"),
        ),
        ("/boot/efi/loader/entries/debian.conf", format!("title x\noptions root=UUID={OLD} ro\n")),
    ];
    for (path, text) in texts {
        let finding = one(&system().with(path, text));
        assert!(finding.starts_with(&format!("{path}, line ")), "{finding}");
        assert!(finding.ends_with(&format!(": names the primary's UUID {OLD}")), "{finding}");
    }
}

#[test]
fn a_stale_name_in_what_the_mirror_has_already_is_found_with_its_line() {
    let changes = [
        ("/etc/fstab", NEW, OLD, "/etc/fstab, line 2: names the primary's UUID"),
        ("/etc/fstab", "mirror-root", "www-root", "/etc/fstab, line 1: names the primary's logical volume"),
        ("/etc/fstab", "LABEL=data", "LABEL=boot", "/etc/fstab, line 4: names the primary's label boot"),
        ("/etc/crypttab", NEW_LUKS, OLD_LUKS, "/etc/crypttab, line 1: names the primary's UUID"),
        ("/boot/grub/grub.cfg", NEW, OLD, "/boot/grub/grub.cfg, line 3: names the primary's UUID"),
        (
            "/boot/grub/grub.cfg",
            "mirror-root",
            "www-root",
            "/boot/grub/grub.cfg, line 4: names the primary's",
        ),
        (
            "/etc/fstab",
            "PARTUUID=0badcafe",
            "PARTUUID=64c2e6a0",
            "/etc/fstab, line 7: names the primary's partition",
        ),
    ];
    for (path, from, to, begins) in changes {
        let finding = one(&system().changed(path, from, to));
        assert!(finding.starts_with(begins), "{finding}");
    }
}

#[test]
fn a_stale_crypttab_in_an_initramfs_is_found_but_not_one_that_is_overridden() {
    let stale = crypttab().replace(NEW_LUKS, OLD_LUKS);
    let finding = one(&system().with(INITRD, initramfs(&stale, &[])));
    let expected = format!("{INITRD} (cryptroot/crypttab), line 1: names the primary's UUID {OLD_LUKS}");
    assert_eq!(finding, expected);
    let resume = format!("RESUME=UUID={OLD}\n");
    let finding = one(&system().with(INITRD, initramfs(&crypttab(), &[("conf/conf.d/resume", &resume)])));
    assert_eq!(finding, format!("{INITRD} (conf/conf.d/resume), line 1: names the primary's UUID {OLD}"));
    let program = format!("\0ELF {OLD}\0");
    let finding = one(&system().with(INITRD, initramfs(&crypttab(), &[("usr/bin/x", &program)])));
    assert_eq!(finding, format!("{INITRD} (usr/bin/x): names the primary's UUID {OLD}"));
}

#[test]
fn an_identifier_in_the_name_of_a_file_in_an_initramfs_is_found() {
    let name = format!("etc/wait/{OLD}.sh");
    let finding = one(&system().with(INITRD, initramfs(&crypttab(), &[(&name, "")])));
    assert_eq!(finding, format!("{INITRD} (the name {name}): names the primary's UUID {OLD}"));
}

#[test]
fn an_initramfs_that_cannot_be_read_is_found_and_all_are_read_where_none_is_named() {
    let finding = one(&system().with(INITRD, "junk"));
    assert!(finding.starts_with(&format!("{INITRD}: the initramfs cannot be read at byte 0")), "{finding}");
    let mut unnamed = system();
    unnamed.0.remove("/boot/grub/grub.cfg");
    let image = initramfs(&crypttab().replace(NEW_LUKS, OLD_LUKS), &[]);
    assert!(
        one(&unnamed.with("/boot/initramfs-5.img", image)).starts_with("/boot/initramfs-5.img (cryptroot")
    );
}

#[test]
fn programs_of_the_esp_are_searched_and_unified_kernels_opened() {
    let config = format!("search.fs_uuid {OLD} root\n");
    let grub = pe::tests::image(&[("mods", config.as_bytes())], 0);
    let finding = one(&system().with("/boot/efi/EFI/debian/grubx64.efi", grub));
    assert_eq!(finding, format!("/boot/efi/EFI/debian/grubx64.efi: names the primary's UUID {OLD}"));
    let unified = |line: &str, image: &[u8]| {
        let sections = [(".cmdline", line.as_bytes()), (".initrd", image), (".linux", b"".as_slice())];
        system().with("/efi/EFI/Linux/x.efi", pe::tests::image(&sections, 8))
    };
    let good = initramfs(&crypttab(), &[]);
    let finding = one(&unified(&format!("root=UUID={OLD} ro\0"), &good));
    assert_eq!(finding, format!("/efi/EFI/Linux/x.efi (.cmdline), line 1: names the primary's UUID {OLD}"));
    let stale = initramfs(&crypttab().replace(NEW_LUKS, OLD_LUKS), &[]);
    assert!(one(&unified("ro", &stale)).starts_with("/efi/EFI/Linux/x.efi (cryptroot/crypttab)"));
    assert!(one(&unified(&format!("root=UUID={NOBODY}"), &good)).ends_with(": nobody has it"));
}

#[test]
fn grubs_core_and_the_partition_table_are_looked_at() {
    let place = || "GRUB's core in the gap".to_owned();
    let with = |core| Facts { cores: vec![(place(), core)], ..facts() };
    assert_eq!(found(&system(), &with(grub_core::tests::core_searching(NEW))), [""; 0]);
    let stale = found(&system(), &with(grub_core::tests::core_searching(OLD)));
    assert_eq!(stale, [format!("GRUB's core in the gap: names the primary's UUID {OLD}")]);
    assert_eq!(found(&system(), &with(vec![0; 4096])).len(), 1);
    let cloned = found(&system(), &Facts { table: "64C2E6A0".into(), ..facts() });
    assert_eq!(cloned, ["the partition table: is the primary's partition table 64C2E6A0"]);
}

#[test]
fn what_is_needed_and_nobody_has_is_found() {
    let nobody = format!("UUID={NOBODY}");
    let boot = format!("UUID={NEW} /boot");
    let changes = [
        ("/etc/fstab", boot.as_str(), format!("{nobody} /boot"), "/etc/fstab, line 2: UUID="),
        ("/etc/fstab", "LABEL=data", "LABEL=none".into(), "/etc/fstab, line 4: LABEL=none for /srv: nobody"),
        (
            "/etc/fstab",
            "/dev/mirror/swap",
            "/dev/mirror/none".into(),
            "/etc/fstab, line 3: /dev/mirror/none for none",
        ),
        ("/etc/fstab", "0badcafe", "0badcaff".into(), "/etc/fstab, line 7: PARTUUID=0badcaff-01"),
        ("/etc/crypttab", NEW_LUKS, NOBODY.into(), "/etc/crypttab, line 1: UUID="),
        (
            "/boot/grub/grub.cfg",
            "mirror-root",
            "mirror-none".into(),
            "/boot/grub/grub.cfg, line 4: root=/dev/mapper/",
        ),
        (
            "/boot/grub/grub.cfg",
            "resume=none",
            format!("resume={nobody}"),
            "/boot/grub/grub.cfg, line 4: resume=",
        ),
        (
            "/boot/grub/grub.cfg",
            "/vmlinuz-6.1",
            "/vmlinuz-6.2".into(),
            "/boot/grub/grub.cfg, line 4: /vmlinuz-6.2 does",
        ),
        ("/boot/grub/grub.cfg", NEW, NOBODY.into(), "/boot/grub/grub.cfg, line 3: UUID="),
    ];
    for (path, from, to, begins) in changes {
        let finding = one(&system().changed(path, from, &to));
        assert!(finding.starts_with(begins), "{finding}");
    }
    let mut without = system();
    without.0.remove(INITRD);
    assert!(one(&without).ends_with("line 5: /initrd.img-6.1 does not exist"));
}

/// os-prober's entry for a disk that was taken out, a kernel that was removed by hand: as dead on the primary.
#[test]
fn an_entry_that_starts_nothing_on_the_primary_either_is_no_finding() {
    let gone =
        system().changed("/boot/grub/grub.cfg", &format!("root {OTHER_DISK}"), &format!("root {NOBODY}"));
    let gone = gone.changed("/boot/grub/grub.cfg", &format!("UUID={OTHER_DISK}"), &format!("UUID={NOBODY}"));
    assert_eq!(found(&gone, &facts()), [""; 0]);

    let stale = "menuentry 'old' {\n\tlinux /vmlinuz-5.10 root=/dev/mapper/mirror-none\n\tinitrd /initrd.img-5.10\n}\n";
    let grub = String::from_utf8_lossy(&system().0["/boot/grub/grub.cfg"]).into_owned();
    let stale = system().with("/boot/grub/grub.cfg", format!("{grub}{stale}"));
    assert_eq!(found(&stale, &facts()).len(), 3, "the primary may have them");
    let absent = ["/vmlinuz-5.10", "/initrd.img-5.10"].map(str::to_owned).into();
    assert_eq!(found(&stale, &Facts { absent, ..facts() }), [""; 0]);

    // The directory of a system that was there before, on the EFI system partition.
    let old = system().with("/boot/efi/EFI/centos/grub.cfg", format!("search.fs_uuid {NOBODY} root\n"));
    assert_eq!(found(&old, &facts()), [""; 0]);
    let own = system().with("/boot/efi/EFI/BOOT/grub.cfg", format!("search.fs_uuid {NOBODY} root\n"));
    assert!(one(&own).contains("is searched for: nobody has it"));
}

#[test]
fn a_menu_of_dead_entries_starts_nothing() {
    let mut system = system();
    system.0.remove("/boot/grub/grub.cfg");
    let entry = "title x\nlinux /vmlinuz-5.10\noptions root=/dev/mapper/mirror-root\n";
    let system = system.with("/boot/loader/entries/a.conf", entry);
    let absent = ["/vmlinuz-5.10".to_owned()].into();
    let found = found(&system, &Facts { absent, ..facts() });
    assert_eq!(found, ["/boot/loader/entries/a.conf, line 2: no kernel that a boot loader names is there"]);
}

/// By directories and not by the list of what is rewritten: also what no list has.
#[test]
fn what_names_the_primary_is_found_wherever_a_boot_reads_and_remarked_where_nobody_is_known_to() {
    let line = format!("What=/dev/disk/by-uuid/{OLD}\n");
    for path in [
        "/etc/systemd/system/srv.mount",
        "/etc/systemd/system/x.service.d/local.conf",
        "/usr/lib/systemd/system/srv.mount",
        "/etc/initramfs-tools/scripts/local-top/mine",
        "/etc/udev/rules.d/99-mine.rules",
        "/etc/grub.d/06_mine",
        "/etc/cloud/ds-identify.cfg",
        "/boot/grub/mine.cfg",
        "/boot/armbianEnv.txt",
        "/boot/efi/EFI/debian/mine.cfg",
        "/efi/EFI/debian/grub.cfg",
    ] {
        let found = audit(&system().with(path, &line), &facts()).expect("it is readable");
        assert!(found.len() == 1 && !found[0].is_remark && found[0].file == path, "{path}: {found:?}");
    }
    for path in ["/etc/backup.conf", "/boot/notes", "/etc/exports"] {
        let found = audit(&system().with(path, &line), &facts()).expect("it is readable");
        assert!(found.len() == 1 && found[0].is_remark && found[0].line == 1, "{path}: {found:?}");
    }
    for path in
        ["/etc/fstab.bak", "/etc/lvm/backup/www", "/boot/grub/grub.cfg~", "/boot/grub/i386-pc/load.cfg"]
    {
        assert_eq!(found(&system().with(path, &line), &facts()), [""; 0], "{path}");
    }
}

#[test]
fn names_that_are_no_identifier_by_themselves_are_remarked_where_they_are_no_word() {
    let mut facts = facts();
    facts.names.insert(("serial number".into(), "S5GXNX0T".into()));
    let remarks = |text: &str| {
        let found = audit(&system().with("/etc/mine.conf", text), &facts).expect("it is readable");
        assert!(found.iter().all(|found| found.is_remark), "{found:?}");
        found.len()
    };
    assert_eq!(remarks("a -d S5GXNX0T\nvolume sda5_crypt\n"), 2);
    assert_eq!(remarks("# S5GXNX0T\nboot www S5GXNX0Tx sda5_crypt.bak\n"), 0, "comments, words, other names");
}

#[test]
fn a_unit_that_a_boot_pulls_in_needs_its_device() {
    let unit = |what: &str, options: &str| {
        let system = system().with("/etc/systemd/system/local-fs.target.requires/srv.mount", "");
        let text = format!("[Mount]\nWhat={what}\nWhere=/srv\nOptions={options}\n");
        found(&system.with("/etc/systemd/system/srv.mount", text), &facts())
    };
    assert_eq!(unit(&format!("/dev/disk/by-uuid/{NEW}"), "noatime"), [""; 0]);
    let nobody = format!("/dev/disk/by-uuid/{NOBODY}");
    assert_eq!(unit(&nobody, "noatime,nofail"), [""; 0]);
    let found = unit(&nobody, "noatime");
    assert!(found.len() == 1 && found[0].ends_with("nobody has it"), "{found:?}");
}

#[test]
fn a_swap_unit_that_is_called_after_the_primary_is_found_unless_it_is_masked() {
    let name = format!("/etc/systemd/system/dev-disk-by\\x2duuid-{}.swap", OLD.replace('-', "\\x2d"));
    assert!(
        one(&system().with(&name, "[Swap]\nWhat=/swapfile\n"))
            .contains("(its name): names the primary's UUID")
    );
    assert_eq!(found(&system().with(&name, ""), &facts()), [""; 0]);
}

#[test]
fn a_filter_that_hides_the_mirrors_physical_volume_is_found() {
    let conf = |text: &str| system().with("/etc/lvm/lvm.conf", text);
    let volume = ["/dev/mapper/sdb5_crypt".to_owned(), "/dev/disk/by-partuuid/5eedbeef-05".to_owned()];
    let facts = Facts { physical_volumes: vec![volume.into()], ..facts() };
    let hides = "devices {\n\tfilter = [ \"a|^/dev/disk/by-id/ata-x-part5$|\",\n\t\"r|.*|\" ]\n}\n";
    let told = found(&conf(hides), &facts);
    assert_eq!(
        told,
        ["/etc/lvm/lvm.conf, line 2: filter hides the mirror's physical volume /dev/mapper/sdb5_crypt"]
    );
    assert_eq!(found(&conf(&hides.replace("ata-x-part5$", ".*")), &facts).len(), 1);
    assert_eq!(found(&conf(&hides.replace("by-id/ata-x-part5$", "")), &facts), [""; 0]);
    let list = found(&conf("activation {\n\tvolume_list = [ \"www\" ]\n}\n"), &facts);
    assert_eq!(list, ["/etc/lvm/lvm.conf, line 2: volume_list has not the mirror's volume group mirror"]);
}

#[test]
fn a_volume_of_another_disk_has_all_its_names() {
    let mut facts = facts();
    facts.paths.extend(["/dev/mapper/data--1-vol".to_owned()]);
    let fstab = |device: &str| system().with("/etc/fstab", format!("{device} /srv ext4 defaults 0 2\n"));
    for device in
        ["/dev/data-1/vol", "/dev/mapper/data--1-vol", "/dev/disk/by-id/dm-name-data--1-vol", "/dev/root"]
    {
        assert_eq!(found(&fstab(device), &facts), [""; 0], "{device}");
    }
    for device in ["/dev/data-1/other", "/dev/data/1-vol", "/dev/rootvg/vol"] {
        assert_eq!(found(&fstab(device), &facts).len(), 1, "{device}");
    }
}

#[test]
fn a_container_that_the_initramfs_cannot_open_is_found() {
    let image = |text: &str| system().with(INITRD, initramfs(text, &[]));
    let finding = one(&image(&crypttab().replace(NEW_LUKS, NOBODY)));
    assert_eq!(
        finding,
        format!("{INITRD} (cryptroot/crypttab), line 1: UUID={NOBODY} for sdb5_crypt: nobody has it")
    );
    let finding = one(&image(&crypttab().replace("none", "/cryptroot/keyfiles/sdb5_crypt.key")));
    assert!(finding.contains("key file /cryptroot/keyfiles/sdb5_crypt.key"), "{finding}");
    let keyctl =
        crypttab().replace("none luks", "shared luks,keyscript=/lib/cryptsetup/scripts/decrypt_keyctl");
    assert_eq!(found(&image(&keyctl), &facts()), [""; 0]);
}

#[test]
fn a_root_that_only_the_initramfs_opens_needs_its_name_there() {
    let plain = |line: &str| system().changed("/boot/grub/grub.cfg", "root=/dev/mapper/mirror-root", line);
    assert_eq!(found(&plain("root=/dev/mapper/sdb5_crypt"), &facts()), [""; 0]);
    let renamed = plain("root=/dev/mapper/sdb5_crypt")
        .with(INITRD, initramfs(&crypttab().replace("sdb5_crypt", "other"), &[]));
    assert!(one(&renamed).ends_with("root=/dev/mapper/sdb5_crypt: nobody has it"));
    let dracut = format!("rd.luks.name={NEW_LUKS}=opened root=/dev/mapper/opened");
    assert_eq!(found(&plain(&dracut), &facts()), [""; 0]);
    let dracut = format!("rd.luks.uuid=luks-{NEW_LUKS} root=/dev/mapper/luks-{NEW_LUKS}");
    assert_eq!(found(&plain(&dracut), &facts()), [""; 0]);
}

/// A mirror's files on a real file system, with sparse ones of any size among them.
fn on_disk(files: &[(&str, u64)]) -> (tempfile::TempDir, Tree) {
    let dir = tempfile::tempdir().expect("a temporary directory");
    for (path, bytes) in &system().0 {
        let to = dir.path().join(path.trim_start_matches('/'));
        std::fs::create_dir_all(to.parent().expect("it has one")).expect("made");
        std::fs::write(to, bytes).expect("written");
    }
    for (path, size) in files {
        let to = dir.path().join(path.trim_start_matches('/'));
        std::fs::create_dir_all(to.parent().expect("it has one")).expect("made");
        std::fs::File::create(to).and_then(|file| file.set_len(*size)).expect("a sparse file");
    }
    let root = std::fs::File::open(dir.path()).expect("it is there").into();
    (dir, Tree::new(vec![("/".into(), root)]))
}

#[test]
fn what_is_larger_than_anything_a_boot_reads_is_named_and_costs_nothing() {
    let (_dir, tree) = on_disk(&[
        ("/boot/grub/custom.cfg", 6 << 30),
        ("/boot/efi/EFI/BOOT/BOOTX64.EFI", 1 << 40),
        (INITRD, 2 << 40),
    ]);
    let found: Vec<String> =
        audit(&tree, &facts()).expect("it is readable").iter().map(ToString::to_string).collect();
    let expected = [
        "/boot/efi/EFI/BOOT/BOOTX64.EFI: not looked into: larger than 512 MiB, or all are larger than 8.00 GiB".to_owned(),
        "/boot/grub/custom.cfg: not looked into: larger than 16.0 MiB".to_owned(),
        format!("{INITRD}: the initramfs cannot be read at byte 0: not looked into: it is larger than 512 MiB"),
    ];
    assert_eq!(found, expected);
    let known = Facts { too_large: BTreeSet::from([INITRD.to_owned()]), ..facts() };
    let found = audit(&tree, &known).expect("it is readable");
    assert_eq!(found.len(), 2, "the primary has the same, and that is said of it there: {found:?}");
}

#[test]
fn a_mirror_with_things_without_end_is_looked_into_up_to_a_limit() {
    let grub: String = (0..3000).map(|n| format!("linux /vmlinuz-{n} root=UUID={NOBODY}{n}\n")).collect();
    let found = found(&system().with("/boot/grub/custom.cfg", grub), &facts());
    assert!(found.len() <= 502, "{}", found.len());
    assert!(found.iter().any(|line| line.starts_with("the mirror: more than 500 things")), "{found:?}");
    let (_dir, tree) = on_disk(&[]);
    let entries = _dir.path().join("boot/loader/entries");
    std::fs::create_dir_all(&entries).expect("made");
    for n in 0..50_001 {
        std::fs::File::create(entries.join(n.to_string())).expect("made");
    }
    let found = audit(&tree, &facts()).expect("it is readable");
    let said: Vec<String> = found.iter().map(ToString::to_string).collect();
    assert_eq!(said, ["/boot: not looked into: the directory holds more than 50000 entries"]);
}

#[test]
fn a_finding_is_a_line_whatever_a_file_is_called() {
    let (path, text) =
        ("/boot/loader/entries/\x1b[2J\nerror: b\u{202e}.conf", format!("options root=UUID={OLD}\n"));
    let finding = one(&system().with(path, text));
    let shown =
        "/boot/loader/entries/\\033[2J\\012error: b\\342\\200\\256.conf, line 1: names the primary's UUID";
    assert!(finding.starts_with(shown), "{finding}");
}
