//! The mirror's files name the mirror: real texts with real identifiers, and a mirror that exists on paper.

#[path = "retarget/fake.rs"]
mod fake;

use diskmirror::identity::{IdentityMap, Kind, Pair};
use diskmirror::layout::{Content, Filesystem, Layout, RandomSwap, Unsupported};
use diskmirror::retarget::{Spellings, find, find_bytes, rewrite, rewrite_in_initramfs};
use fake::{OWN, fresh, map_of};
use proptest::prelude::*;
use std::fs;

const LUKS: &str = "db04f0f0-29fb-4438-b481-f8d556a77b4a";
const MIRROR_LUKS: &str = "eb04f0f0-29fb-4438-b481-f8d556a77b4a";
const BOOT: &str = "10255212-fffb-4e7b-9a67-72bbd69c5caa";
const MIRROR_BOOT: &str = "20255212-fffb-4e7b-9a67-72bbd69c5caa";

fn own() -> IdentityMap {
    map_of(&fake::layout(OWN))
}

fn rewritten(path: &str, text: &str, map: &IdentityMap) -> String {
    let new = rewrite(path, text.as_bytes(), map).unwrap_or_else(|| panic!("{path} is not changed: {text}"));
    assert_eq!(rewrite(path, &new, map), None, "twice is once");
    let left = Spellings::of(map).remains(path, &new);
    let new = String::from_utf8(new).expect("it was text");
    assert_eq!(left, [], "{new}");
    new
}

/// A word of a kernel's command line, or several.
fn cmdline(text: &str, map: &IdentityMap) -> String {
    rewritten("/etc/kernel/cmdline", text, map)
}

#[test]
fn every_layouts_mirror_is_paired_and_its_files_name_nothing_of_the_primary() {
    let mut changed = 0;
    for dir in fake::layouts() {
        let primary = fake::primary(&dir);
        let map = map_of(&primary);
        let json = serde_json::to_value(&primary.content).expect("it is data");
        let mut ids = Vec::new();
        identifiers(&json, &mut ids);
        for id in &ids {
            assert!(map.pairs.iter().any(|pair| pair.primary.eq_ignore_ascii_case(id)), "{dir:?}: {id}");
        }
        for file in ["etc/fstab", "etc/crypttab", "cmdline"] {
            let Ok(text) = fs::read(dir.join(file)) else { continue };
            let path = if file == "cmdline" { "/etc/kernel/cmdline".into() } else { format!("/{file}") };
            let new = rewrite(&path, &text, &map);
            assert_eq!(new.is_none(), find(&text, &map).is_empty(), "{dir:?}: {path}");
            let Some(new) = new else { continue };
            assert_eq!(find(&new, &map), [], "{dir:?}: {}", String::from_utf8_lossy(&new));
            changed += 1;
        }
    }
    assert!(changed > 20, "only {changed} files named the primary");
}

/// Every value of the keys that identify something.
fn identifiers(json: &serde_json::Value, found: &mut Vec<String>) {
    match json {
        serde_json::Value::Object(object) => {
            for (key, value) in object {
                match value.as_str() {
                    Some(id) if matches!(key.as_str(), "uuid" | "pv_uuid" | "label" | "mapper") => {
                        found.push(id.into());
                    }
                    _ => identifiers(value, found),
                }
            }
        }
        serde_json::Value::Array(list) => list.iter().for_each(|value| identifiers(value, found)),
        _ => {}
    }
}

#[test]
fn a_node_becomes_a_tag_and_a_disk_the_name_that_lasts() {
    let map = own();
    let tag = format!("UUID={MIRROR_BOOT}");
    for name in
        ["/dev/vda1", "/dev/disk/by-id/virtio-PRIMARY01-part1", "/dev/disk/by-path/pci-0000:00:04.0-part1"]
    {
        assert_eq!(map.get(Kind::Node, name), Some(tag.as_str()), "{name}");
    }
    assert_eq!(map.get(Kind::Node, "/dev/vda2"), Some("PARTUUID=6b096b62-02"));
    assert_eq!(map.get(Kind::Node, "/dev/vda5"), Some(format!("UUID={MIRROR_LUKS}").as_str()));
    assert_eq!(map.get(Kind::Disk, "/dev/vda"), Some("/dev/disk/by-id/virtio-MIRROR01"));
    assert_eq!(map.get(Kind::Partition, "5b096b62-05"), Some("6b096b62-05"));
    assert_eq!(map.get(Kind::Mapper, "vda5_crypt"), Some("mirror5_crypt"));
    assert_eq!(map.get(Kind::Volume, "www/root"), Some("mirror/root"));
    let root = map.get(Kind::Uuid, "885e923f-a050-4aa2-a45e-e9b0098b8d3f").expect("root is paired");
    assert_eq!(map.get(Kind::Node, "/dev/disk/by-diskseq/99"), Some(format!("UUID={root}").as_str()));
    for spelling in ["/dev/www/root", "/dev/dm-1", "/dev/disk/by-id/dm-name-www-root"] {
        assert_eq!(map.get(Kind::Node, spelling), None, "{spelling} is a spelling of www/root");
    }
}

#[test]
fn a_mirror_of_another_shape_is_named() {
    let primary = fake::layout(OWN);
    let told =
        |mirror: &Layout| IdentityMap::between(&primary, mirror, &[]).expect_err("they differ").to_string();
    fn partition(layout: &mut Layout, at: usize) -> &mut Content {
        let Content::Table(table) = &mut layout.content else { panic!("it has a table") };
        &mut table.partitions[at].content
    }
    let mut closed = fake::mirror(&primary);
    let Content::Luks(luks) = partition(&mut closed, 2) else { panic!("it is encrypted") };
    (luks.mapper, luks.content) = (None, Content::Empty);
    assert!(told(&closed).ends_with("is closed"), "{}", told(&closed));
    let mut short = fake::mirror(&primary);
    let Content::Table(table) = &mut short.content else { panic!("it has a table") };
    table.partitions.pop();
    assert_eq!(told(&short), "/dev/sdx has no partition 5 as /dev/vda5 is one");
    let mut empty = fake::mirror(&primary);
    *partition(&mut empty, 0) = Content::Empty;
    assert_eq!(told(&empty), "/dev/vda1 holds a file system (ext3), the mirror's /dev/sdx1 nothing");
}

#[test]
fn debians_fstab_names_the_mirrors_devices_and_keeps_everything_else() {
    let text = fs::read_to_string("tests/layouts/01-mbr-luks2-lvm-debian12/etc/fstab").expect("it is there");
    let more = "# diskmirror: the mirror's /boot\nUUID=20255212 /mirror/boot ext3 noauto 0 0\n\
                /dev/vda1 /b ext3 noatime,x-systemd.requires=/dev/vda5 0 2\n\
                /dev/vda7 /old xfs defaults 0 2\n/dev/www/new /new xfs\n\
                UUID=feedbeef-0000-4000-8000-000000000000\t/data  ext4 defaults 0 2 # mine\n\
                nas:/export /nas nfs soft 0 0\ntmpfs /tmp tmpfs size=1g 0 0\n";
    let expected = text.replace("www-", "mirror-").replace(BOOT, MIRROR_BOOT)
        + &format!(
            "UUID={MIRROR_BOOT} /b ext3 noatime,x-systemd.requires=/dev/disk/by-uuid/{MIRROR_LUKS} 0 2\n\
             /dev/vda7 /old xfs defaults,nofail 0 2\n/dev/www/new /new xfs defaults,nofail\n"
        )
        + more.split_inclusive('\n').skip(5).collect::<String>().as_str();
    assert_eq!(rewritten("/etc/fstab", &format!("{text}{more}"), &own()), expected);
}

#[test]
fn a_crypttab_opens_the_mirrors_container_by_passphrase() {
    let map = own();
    let cases = [
        ("vda5_crypt UUID={P} none luks,discard", "mirror5_crypt UUID={M} none luks,discard"),
        (
            "vda5_crypt\t/dev/vda5  /etc/keys/a.key  luks,keyscript=/bin/x,_netdev",
            "mirror5_crypt\tUUID={M}  none  luks,_netdev",
        ),
        (
            "vda5_crypt PARTUUID=5b096b62-05 - tpm2-device=auto,header=/h,keyfile-size=4,key-slot=1,fido2-device=auto",
            "mirror5_crypt PARTUUID=6b096b62-05 - luks",
        ),
        (
            "vda5_crypt /dev/disk/by-uuid/{P} root luks,keyscript=decrypt_keyctl,initramfs",
            "mirror5_crypt /dev/disk/by-uuid/{M} none luks,keyscript=decrypt_keyctl,initramfs",
        ),
        (
            "swap /dev/vda2 /dev/urandom swap,cipher=aes",
            "swap PARTUUID=6b096b62-02 /dev/urandom swap,cipher=aes",
        ),
        (
            "# diskmirror: the mirror's mirror5_crypt\nmirror5_crypt UUID={M} none luks,noauto\nvda5_crypt UUID={P}",
            "mirror5_crypt UUID={M}",
        ),
        (
            "vda5_crypt UUID={P} none luks\nmirror5_crypt UUID={M} /k noauto",
            "mirror5_crypt UUID={M} none luks",
        ),
    ];
    let other = "data UUID=feedbeef-0000-4000-8000-000000000000 /etc/keys/data.key luks\n";
    for (old, new) in cases {
        let (old, new) = (old.replace("{P}", LUKS), new.replace("{M}", MIRROR_LUKS));
        let old = old.replace("{M}", MIRROR_LUKS);
        assert_eq!(rewritten("/etc/crypttab", &format!("{old}\n{other}"), &map), format!("{new}\n{other}"));
        let inside = rewrite_in_initramfs("cryptroot/crypttab", format!("{old}\n").as_bytes(), &map);
        assert_eq!(inside, Some(format!("{new}\n").into_bytes()));
    }
}

#[test]
fn debians_grub_cfg_changes_in_its_identifiers_only() {
    let text = fs::read_to_string("tests/retarget/debian12-grub.cfg").expect("it is there");
    let new = rewritten("/boot/grub/grub.cfg", &text, &own());
    let mut expected =
        text.replace(" resume_offset=34816", "").replace("/dev/mapper/www-", "/dev/mapper/mirror-");
    for id in [
        BOOT,
        "885e923f-a050-4aa2-a45e-e9b0098b8d3f",
        &LUKS.replace('-', ""),
        "aS0w0Q-Vg4y-97GJ-7qBf-RBBo-cw8L-go8R6J",
        "Ol2gTO-L5eG-eHgW-f3Pz-3Lzy-LePS-cnnr0N",
    ] {
        assert!(text.contains(id));
        expected = expected.replace(id, &fresh(id));
    }
    assert_eq!(new, expected);
}

#[test]
fn fedoras_entry_names_the_container_by_the_mirrors_uuid() {
    let mut primary = fake::layout(OWN);
    let Content::Table(table) = &mut primary.content else { panic!("it has a table") };
    let Content::Luks(luks) = &mut table.partitions[2].content else { panic!("it is encrypted") };
    luks.mapper = Some(format!("luks-{LUKS}"));
    let map = map_of(&primary);
    assert_eq!(map.of(Kind::Mapper).next().expect("it is paired").mirror, format!("luks-{MIRROR_LUKS}"));
    let text = fs::read_to_string("tests/retarget/fedora-bls.conf").expect("it is there");
    let expected = text.replace(LUKS, MIRROR_LUKS).replace("www", "mirror").replace("0cdf8d0d", "1cdf8d0d");
    assert_eq!(rewritten("/boot/loader/entries/a-6.8.5.conf", &text, &map), expected);
}

#[test]
fn every_spelling_on_a_command_line_or_in_a_unit_is_known() {
    let map = own();
    let (old, new) = (LUKS.replace('-', ""), MIRROR_LUKS.replace('-', ""));
    let escaped = |id: &str| id.replace('-', r"\x2d");
    let cases = [
        // A kernel without an initramfs knows no file system's UUID.
        (
            "root=/dev/vda1 resume=/dev/vda1 boot=/dev/vda",
            "root=PARTUUID=6b096b62-01 resume=UUID={boot} boot=/dev/disk/by-id/virtio-MIRROR01".to_owned(),
        ),
        ("rd.luks.name={luks}=vda5_crypt", format!("rd.luks.name={MIRROR_LUKS}=mirror5_crypt")),
        (
            "cryptdevice=/dev/vda5:vda5_crypt:allow-discards",
            format!("cryptdevice=UUID={MIRROR_LUKS}:mirror5_crypt:allow-discards"),
        ),
        (
            "cryptopts=target=vda5_crypt,source=UUID={luks},lvm=www-root",
            format!("cryptopts=target=mirror5_crypt,source=UUID={MIRROR_LUKS},lvm=mirror-root"),
        ),
        (
            r"dev-mapper-www\x2droot.device dev-www-swap.swap",
            r"dev-mapper-mirror\x2droot.device dev-mirror-swap.swap".into(),
        ),
        (r"dev-vda1.device", format!(r"dev-disk-by\x2duuid-{}.device", escaped(MIRROR_BOOT))),
        ("systemd-cryptsetup@vda5_crypt.service", "systemd-cryptsetup@mirror5_crypt.service".into()),
        (
            r"devexists-\x2fdev\x2fmapper\x2fwww-root.sh",
            r"devexists-\x2fdev\x2fmapper\x2fmirror-root.sh".into(),
        ),
        ("root=UUID={BOOT}", format!("root=UUID={}", MIRROR_BOOT.to_uppercase())),
        ("set root='(lvm/www-root)/boot'", "set root='(lvm/mirror-root)/boot'".into()),
        (
            "/dev/disk/by-id/dm-uuid-LVM-aS0w0QVg4y97GJ7qBfRBBocw8Lgo8R6JOl2gTOL5eGeHgWf3Pz3LzyLePScnnr0N",
            "/dev/disk/by-id/dm-uuid-LVM-bS0w0QVg4y97GJ7qBfRBBocw8Lgo8R6JPl2gTOL5eGeHgWf3Pz3LzyLePScnnr0N"
                .into(),
        ),
        (
            "/dev/disk/by-id/lvm-pv-uuid-nZ12RY-BSN6-5Nct-ENvZ-M9U0-cu79-2U1QrJ",
            "/dev/disk/by-id/lvm-pv-uuid-oZ12RY-BSN6-5Nct-ENvZ-M9U0-cu79-2U1QrJ".into(),
        ),
        ("PARTUUID=5b096b62-05 PARTUUID=5b096b62-051", "PARTUUID=6b096b62-05 PARTUUID=5b096b62-051".into()),
        ("/dev/vda10 /dev/vdab /dev/vda1", "/dev/vda10 /dev/vdab UUID={boot}".into()),
    ];
    let filled = |text: &str| {
        text.replace("{luks}", LUKS).replace("{boot}", MIRROR_BOOT).replace("{BOOT}", &BOOT.to_uppercase())
    };
    for (from, to) in cases {
        assert_eq!(cmdline(&filled(from), &map), filled(&to));
    }
    let links = format!("dm-uuid-CRYPT-LUKS2-{old}-vda5_crypt {}", escaped(&format!("by-uuid-{LUKS}")));
    let own =
        format!("dm-uuid-CRYPT-LUKS2-{new}-mirror5_crypt {}", escaped(&format!("by-uuid-{MIRROR_LUKS}")));
    assert_eq!(cmdline(&links, &map), own);
}

#[test]
fn labels_change_where_they_are_labels() {
    let map = map_of(&fake::layout("04-mbr-luks1-lvm-labels-debian12"));
    let cases = [
        ("root=LABEL=rootfs", "root=LABEL=rootfs-m"),
        ("search --no-floppy --set=root --label boot", "search --no-floppy --set=root --label boot-m"),
        ("search --set root -l boot --hint hd0,msdos1", "search --set root -l boot-m --hint hd0,msdos1"),
        ("search.fs_label boot root hd0", "search.fs_label boot-m root hd0"),
        (r#"LABEL="boot" /dev/disk/by-label/swap0"#, r#"LABEL="boot-m" /dev/disk/by-label/swap0-m"#),
        (r"dev-disk-by\x2dlabel-boot.device", r"dev-disk-by\x2dlabel-boot\x2dm.device"),
        ("/dev/mapper/vg--0-swap--0 /dev/vg-0/root", "/dev/mapper/mirror-swap--0 /dev/mirror/root"),
    ];
    for (old, new) in cases {
        assert_eq!(cmdline(old, &map), new);
    }
    for same in
        ["search --label root", "BOOT_LABEL=boot PARTLABEL=boot LABEL=boots", "boot rootfs swap0 vg-0"]
    {
        assert_eq!(rewrite("/etc/kernel/cmdline", same.as_bytes(), &map), None, "{same}");
    }
    let map = map_of(&fake::layout("05-gpt-4kn-luks2-lvm-debian12"));
    assert_eq!(cmdline("root=PARTLABEL=boot", &map), "root=PARTLABEL=boot-m");
    assert_eq!(cmdline("UUID=E4C3-59E0 0E4C3-59E0", &map), format!("UUID={} 0E4C3-59E0", fresh("E4C3-59E0")));
}

#[test]
fn a_label_with_blanks_is_known_in_every_escape() {
    let map = map_of(&fake::layout("02-gpt-esp-luks2-lvm-xfs-nvme-debian12"));
    let fstab = r"PARTLABEL=EFI\040System\040Partition /boot/efi vfat umask=0077 0 1";
    assert_eq!(rewritten("/etc/fstab", fstab, &map), fstab.replace("Partition", "Partition-m"));
    for (old, new) in [
        (
            r"/dev/disk/by-partlabel/EFI\x20System\x20Partition",
            r"/dev/disk/by-partlabel/EFI\x20System\x20Partition-m",
        ),
        (r#"PARTLABEL="EFI System Partition""#, r#"PARTLABEL="EFI System Partition-m""#),
        (
            "/dev/nvme0n1p2 /dev/nvme0n1p22 /dev/nvme0n1",
            "UUID=bc3bbbb4-0e85-487a-8acd-7a29b39cf939 /dev/nvme0n1p22 /dev/disk/by-id/virtio-MIRROR01",
        ),
        ("rd.lvm.lv=debian-vg/swap_1 rd.lvm.vg=debian-vg", "rd.lvm.lv=mirror/swap_1 rd.lvm.vg=mirror"),
        (r"dev-mapper-debian\x2d\x2dvg\x2droot.device", r"dev-mapper-mirror\x2droot.device"),
    ] {
        assert_eq!(cmdline(old, &map), new);
    }
}

#[test]
fn a_mirror_without_encryption_has_no_container_to_open() {
    let primary = fake::layout(OWN);
    let mirror = fake::plaintext(&primary);
    let map = IdentityMap::between(&primary, &mirror, &[]).expect("they are of one shape");
    assert_eq!(map.get(Kind::Mapper, "vda5_crypt"), Some(""));
    assert_eq!(rewritten("/etc/crypttab", &format!("vda5_crypt UUID={LUKS} none luks\n"), &map), "");
    let text = format!("\"rd.luks.uuid=luks-{LUKS} root=/dev/www/root cryptdevice=UUID={LUKS}:x quiet\"");
    assert_eq!(cmdline(&text, &map), "\" root=/dev/mirror/root quiet\"");
    let grub = format!("cryptomount -u {}\nset root='cryptouuid/{0}'\nsearch x\n", LUKS.replace('-', ""));
    assert_eq!(rewritten("/boot/grub/grub.cfg", &grub, &map), "search x\n");

    let primary = fake::layout("11-gpt-luks2-no-lvm-debian13");
    let mirror = fake::plaintext(&primary);
    let map = IdentityMap::between(&primary, &mirror, &[]).expect("they are of one shape");
    let root = fresh("c7346b76-b159-479a-a08a-382241521337");
    assert_eq!(cmdline("root=/dev/mapper/cryptroot", &map), format!("root=UUID={root}"));
}

#[test]
fn a_volume_newer_than_the_mirror_is_not_waited_for() {
    let primary = fake::layout(OWN);
    let mut mirror = fake::mirror(&primary);
    let Content::Table(table) = &mut mirror.content else { panic!("it has a table") };
    let Content::Luks(luks) = &mut table.partitions[2].content else { panic!("it is encrypted") };
    let Content::Volumes(vg) = &mut luks.content else { panic!("it has volumes") };
    vg.volumes.retain(|lv| lv.name == "root");
    let map = IdentityMap::between(&primary, &mirror, &[]).expect("the rest is of one shape");
    let text = "UUID=0cdf8d0d-254d-48da-82ce-05c08ee54303 none swap sw 0 0\n/dev/www/swap none swap noauto\n";
    let expected = text.replace(" sw ", " sw,nofail ");
    assert_eq!(rewritten("/etc/fstab", text, &map), expected);
    let crypttab = "s /dev/www/swap /dev/urandom swap\nt /dev/www/swap\n";
    let expected = "s /dev/www/swap /dev/urandom swap,nofail\nt /dev/www/swap none nofail\n";
    assert_eq!(rewritten("/etc/crypttab", crypttab, &map), expected);
    let left = find(b"root=/dev/www/swap", &map);
    assert_eq!(left.len(), 1, "elsewhere it is an identifier of the primary");
}

#[test]
fn every_physical_volume_of_a_group_on_several_partitions_is_renamed() {
    let map = map_of(&fake::layout("13-vg-over-two-partitions-of-one-disk"));
    let devices = "IDTYPE=devname IDNAME=/dev/sda2 DEVNAME=/dev/sda2 PVID=AdpcL5itBjKhMuL3UmgNMRnygLWeMdQo PART=2\n\
                   IDTYPE=devname IDNAME=/dev/sda3 DEVNAME=/dev/sda3 PVID=GUKC0vENEyuq1mV0qfMuJG7wXDtPehHB PART=3\n";
    let new = rewritten("/etc/lvm/devices/system.devices", devices, &map);
    assert_eq!(new.matches("PVID=").count(), 2, "{new}");
}

/// A partition of another system, and one that is a container with a guest's group: neither is in the mirror.
#[test]
fn what_is_left_out_is_not_waited_for() {
    let mut primary = fake::layout(OWN);
    let Content::Table(table) = &mut primary.content else { panic!("it has a table") };
    let mut other = table.partitions[0].clone();
    (other.number, other.path) = (3, "/dev/vda3".into());
    let what = Unsupported { uuid: Some("6A5C0B1D5C0AEF01".into()), ..Unsupported::default() };
    other.content = Content::Unsupported(what);
    table.partitions.push(other);
    let Content::Luks(luks) = table.partitions[2].content.clone() else { panic!("it is encrypted") };
    let id = format!("{}-03", table.pt_uuid());
    primary.leave_out_partitions(&[format!("PARTUUID={id}")]);
    let map = map_of(&primary);
    let text = "UUID=6A5C0B1D5C0AEF01 /mnt/windows ntfs3 defaults 0 0\n/dev/vda3 /mnt/x auto\n";
    let expected = "UUID=6A5C0B1D5C0AEF01 /mnt/windows ntfs3 defaults,nofail 0 0\n/dev/vda3 /mnt/x auto defaults,nofail\n";
    assert_eq!(rewritten("/etc/fstab", text, &map), expected);

    primary.leave_out_partitions(&["/dev/vda5".into()]);
    let map = map_of(&primary);
    let mapper = luks.mapper.expect("it is open");
    let text = format!("{mapper} UUID={} none luks\n", luks.uuid);
    assert_eq!(rewritten("/etc/crypttab", &text, &map), text.replace("luks\n", "luks,nofail\n"));
    let text = "/dev/www/root /srv/guest ext4 defaults 0 2\n";
    assert_eq!(rewritten("/etc/fstab", text, &map), text.replace("defaults", "defaults,nofail"));
    assert_eq!(cmdline("root=UUID=1 rd.lvm.vg=www quiet", &map), "root=UUID=1 quiet");
}

#[test]
fn swap_with_a_random_key_is_found_by_the_mirrors_label_and_begins_behind_it() {
    let mut primary = fake::layout(OWN);
    let Content::Table(table) = &mut primary.content else { panic!("it has a table") };
    let Content::Filesystem(boot) = table.partitions[0].content.clone() else { panic!("it is /boot") };
    let mut swap = table.partitions[0].clone();
    (swap.number, swap.path) = (3, "/dev/vda3".into());
    let label = Filesystem { label: Some("cryptswap".into()), uuid: "7".into(), ..boot };
    let label = Some(label);
    swap.content = Content::RandomSwap(Box::new(RandomSwap { path: "/dev/vda3".into(), label }));
    table.partitions.push(swap);
    let map = map_of(&primary);
    let text = "swap LABEL=cryptswap /dev/urandom swap,offset=2048,cipher=aes-xts-plain64\n";
    assert_eq!(rewritten("/etc/crypttab", text, &map), text.replace("cryptswap", "cryptswap-m"));
}

#[test]
fn grubs_environment_keeps_its_size() {
    let head = "# GRUB Environment Block\nsaved_entry=gnulinux-simple-10255212-fffb-4e7b-9a67-72bbd69c5caa\n\
                kernelopts=root=/dev/mapper/www-root ro \n";
    let text = format!("{head:#<1024}");
    let new = rewritten("/boot/grub2/grubenv", &text, &own());
    let expected = head.replace("10255212", "20255212").replace("www", "mirror");
    assert_eq!(new, format!("{expected:#<1024}"));
}

#[test]
fn only_debconfs_answer_about_grubs_disks_changes() {
    let text = fs::read_to_string("tests/retarget/config.dat").expect("it is there");
    let old = "Value: /dev/disk/by-id/virtio-PRIMARY01, /dev/vda\n";
    let new = "Value: /dev/disk/by-id/virtio-MIRROR01, /dev/disk/by-id/virtio-MIRROR01\n";
    assert_eq!(rewritten("/var/cache/debconf/config.dat", &text, &own()), text.replace(old, new));
}

#[test]
fn an_initramfs_setting_is_rewritten_and_a_program_is_not() {
    let map = own();
    let resume = rewrite_in_initramfs("conf/conf.d/resume", b"RESUME=/dev/mapper/www-swap\n", &map);
    assert_eq!(resume.as_deref(), Some(&b"RESUME=/dev/mapper/mirror-swap\n"[..]));
    let filter = rewrite_in_initramfs("etc/lvm/lvm.conf", b"filter = [ \"a|/dev/vda1|\" ]", &map);
    let expected = format!("filter = [ \"a|/dev/disk/by-uuid/{MIRROR_BOOT}|\" ]");
    assert_eq!(filter, Some(expected.into_bytes()));
    for (path, text) in
        [("usr/bin/sh", &b"/dev/vda1"[..]), ("etc/binary", b"/dev/vda1\0"), ("etc/passwd", b"root:x:0:0\n")]
    {
        assert_eq!(rewrite_in_initramfs(path, text, &map), None, "{path}");
    }
}

#[test]
fn a_uuid_in_a_path_that_leads_to_no_device_stays() {
    let map = own();
    let unit =
        |what: &str| format!("[Mount]\nWhat={what}\nWhere=/media/{BOOT}\nOptions=x-y=/srv/{BOOT}.img\n");
    let path = "/etc/systemd/system/media.mount";
    let new = rewritten(path, &unit(&format!("/dev/disk/by-uuid/{BOOT}")), &map);
    assert_eq!(new, unit(&format!("/dev/disk/by-uuid/{MIRROR_BOOT}")));
    let dependency = format!("[Unit]\nRequires=media-{}.mount\n", BOOT.replace('-', r"\x2d"));
    assert_eq!(rewrite("/etc/systemd/system/a.service", dependency.as_bytes(), &map), None);
    let fstab = format!("/media/{BOOT}/a.img /a ext4 loop,nofail 0 0\n");
    assert_eq!((rewrite("/etc/fstab", fstab.as_bytes(), &map), find(fstab.as_bytes(), &map)), (None, vec![]));
}

#[test]
fn cloud_inits_seed_is_looked_for_by_the_mirrors_label() {
    let pair = Pair { kind: Kind::Label, primary: "system-boot".into(), mirror: "system-boot-m".into() };
    let map = IdentityMap { pairs: vec![pair] };
    let path = "/etc/cloud/cloud.cfg.d/99-fake-cloud.cfg";
    for quote in ["", "\"", "'"] {
        let text = |label: &str| format!("datasource:\n  NoCloud:\n    fs_label: {quote}{label}{quote}\n");
        assert_eq!(rewritten(path, &text("system-boot"), &map), text("system-boot-m"));
    }
}

/// Comments in ISO 8859-1 of ten years ago, which every other program reads over.
#[test]
fn bytes_that_are_no_utf_8_stay_as_they_are_and_the_rest_is_rewritten_as_ever() {
    let map = own();
    let text = |device: &str, more: &str| {
        let fstab = format!("# DatentrXger fYr /srv\n{device} /boot ext3 defaults{more} 0 2\n");
        fstab
            .bytes()
            .map(|byte| match byte {
                b'X' => 0xe4,
                b'Y' => 0xfc,
                other => other,
            })
            .collect::<Vec<u8>>()
    };
    let new = rewrite("/etc/fstab", &text("/dev/vda1", ""), &map).expect("it names the primary");
    assert_eq!(new, text(&format!("UUID={MIRROR_BOOT}"), ""));
    // A field of it is understood too: what the mirror has no counterpart of is not waited for.
    let lost = rewrite("/etc/fstab", &text("/dev/vda9", ""), &map).expect("it names the primary");
    assert_eq!(lost, text("/dev/vda9", ",nofail"));
    assert!(Spellings::of(&map).remains("/etc/fstab", &lost).is_empty());
    let early = rewrite_in_initramfs("etc/fstab", &text("/dev/vda1", ""), &map);
    assert_eq!(early, Some(text(&format!("UUID={MIRROR_BOOT}"), "")));
}

#[test]
fn what_is_left_of_the_primary_is_found_with_its_line_but_not_in_comments() {
    let map = own();
    let text = format!("# was /dev/vda1\n\nroot=UUID={BOOT}\nlvm=www\n");
    let found: Vec<_> =
        find(text.as_bytes(), &map).into_iter().map(|f| (f.kind, f.primary, f.line)).collect();
    assert_eq!(found, [(Kind::Uuid, BOOT.to_owned(), 3), (Kind::Group, "www".to_owned(), 4)]);
}

#[test]
fn a_binary_is_searched_for_what_is_too_long_for_chance() {
    let map = own();
    let found = |text: &str| find_bytes(format!("\0x{text}z\x01").as_bytes(), &map).len();
    assert_eq!(found(LUKS), 1);
    assert_eq!(found(&LUKS.to_uppercase()), 1);
    assert_eq!(found(&LUKS.replace('-', "")), 1);
    assert_eq!(found("Ol2gTO-L5eG-eHgW-f3Pz-3Lzy-LePS-cnnr0N"), 1);
    assert_eq!(find_bytes(b"(lvm/www-root)\0/dev/mapper/www-root\0", &map).len(), 2);
    assert_eq!(find_bytes(b"www root lvm=www LABEL=boot /dev/vda1\0", &map), []);
}

/// A map whose every name is a word of some language.
fn wordy() -> IdentityMap {
    let mut primary = fake::layout(OWN);
    let Content::Table(table) = &mut primary.content else { panic!("it has a table") };
    table.partitions[0].name = Some("ubuntu".into());
    let Content::Filesystem(boot) = &mut table.partitions[0].content else { panic!("it is /boot") };
    boot.label = Some("boot".into());
    let Content::Luks(luks) = &mut table.partitions[2].content else { panic!("it is encrypted") };
    luks.mapper = Some("crypt".into());
    let Content::Volumes(vg) = &mut luks.content else { panic!("it has volumes") };
    vg.name = "root".into();
    vg.volumes[0].name = "data".into();
    vg.volumes[0].path = "/dev/root/data".into();
    vg.volumes[1].path = "/dev/root/swap".into();
    map_of(&primary)
}

const PATHS: [&str; 5] = [
    "/etc/kernel/cmdline",
    "/boot/grub/grub.cfg",
    "/etc/default/grub",
    "/boot/loader/entries/x.conf",
    "/etc/lilo.conf",
];

proptest! {
    #[test]
    fn a_text_without_a_device_is_unchanged(
        words in prop::collection::vec("(root|data|boot|ubuntu|crypt|swap|set|menuentry|/boot|--class|quiet|hd0,msdos1|ß)", 0..30),
        glue in prop::collection::vec("( |  |\t|\n|=|'|\"|-|\\.|,|/|\\{|\\(|: |\r\n)", 30),
        path in prop::sample::select(&PATHS[..]),
    ) {
        let text: String = words.iter().zip(&glue).map(|(word, glue)| format!("{word}{glue}")).collect();
        let map = wordy();
        prop_assert_eq!(rewrite(path, text.as_bytes(), &map), None);
        prop_assert_eq!(find(text.as_bytes(), &map), []);
    }

    #[test]
    fn wherever_a_device_stands_it_becomes_the_mirrors_once(
        tokens in prop::collection::vec(prop::sample::select(&[
            "/dev/vda1", "UUID=10255212-fffb-4e7b-9a67-72bbd69c5caa", "LABEL=boot", "PARTLABEL=ubuntu", "/dev/vda",
            "/dev/root/data", "/dev/mapper/root-data", "/dev/mapper/crypt", "rd.lvm.lv=root/data", "rd.lvm.vg=root",
            "PARTUUID=5b096b62-05", "db04f0f029fb4438b481f8d556a77b4a", "/dev/disk/by-path/pci-0000:00:04.0",
            "dev-mapper-root\\x2dswap.device", "/dev/disk/by-label/boot", "lvm/root-swap", "resume_offset=12",
        ][..]), 1..12),
        glue in prop::collection::vec("( |\n|\t|\"|'|,| root |\nset x=| data=)", 12),
        path in prop::sample::select(&PATHS[..]),
    ) {
        let text: String = glue.iter().zip(&tokens).map(|(glue, token)| format!("{glue}{token}")).collect();
        let map = wordy();
        let new = rewrite(path, text.as_bytes(), &map);
        let new = new.unwrap_or_else(|| text.clone().into_bytes());
        prop_assert_eq!(rewrite(path, &new, &map), None);
        prop_assert_eq!(find(&new, &map), []);
    }
}
