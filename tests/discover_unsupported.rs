//! What cannot be mirrored, or not be read, is named with everything that uses it, and never skipped. Each case is a
//! real server's recorded output in which one answer is another.

use diskmirror::discover::{Probe, Question, Recorded, discover};
use diskmirror::layout::{Content, RandomSwap, Survey, Unsupported};
use diskmirror::refusal::Refusal;
use std::path::Path;

/// A recorded server, some of whose answers are changed.
struct Changed {
    recorded: Recorded,
    mirror: &'static str,
    primary: Option<&'static str>,
    answers: Vec<(Question, String)>,
    missing: Vec<Question>,
}

impl Changed {
    fn server(name: &str, mirror: &'static str) -> Self {
        let dir = Path::new(env!("CARGO_MANIFEST_DIR")).join("tests/layouts").join(name);
        Changed {
            recorded: Recorded { dir },
            mirror,
            primary: None,
            answers: Vec::new(),
            missing: Vec::new(),
        }
    }

    /// MBR, LUKS2, LVM on /dev/vda; /dev/vdb is blank.
    fn encrypted() -> Self {
        Self::server("01-mbr-luks2-lvm-debian12", "/dev/vdb")
    }

    fn with(mut self, question: Question, answer: &str) -> Self {
        self.answers.push((question, answer.to_owned()));
        self
    }

    /// With `from` in the answer replaced by `to`; it must be there.
    fn edited(self, question: Question, from: &str, to: &str) -> Self {
        let before = self.ask(&question).expect("it was recorded");
        assert!(before.contains(from), "{from:?} is not in\n{before}");
        self.with(question, &before.replace(from, to))
    }

    /// With something built on the blank /dev/vdb.
    fn holding(self, child: &str) -> Self {
        let disk = r#""serial": "MIRROR01","#;
        self.edited(Question::Lsblk, disk, &format!("{disk} \"children\": [{child}],"))
    }

    fn survey(&self) -> anyhow::Result<Survey> {
        discover(Path::new("/"), self.primary.map(Path::new), Path::new(self.mirror), self)
    }

    fn on_mirror(&self) -> Unsupported {
        match self.survey().expect("it can be looked at").mirror.content {
            Content::Unsupported(thing) => thing,
            other => panic!("not named: {other:?}"),
        }
    }

    fn refused(&self) -> Refusal {
        self.survey().expect_err("it cannot go on").downcast().expect("it is a plain no")
    }
}

impl Probe for Changed {
    fn ask(&self, question: &Question) -> anyhow::Result<String> {
        if self.missing.contains(question) {
            return Err(Refusal::new("a tool is missing", "nothing was written")
                .why("it is not installed")
                .into());
        }
        match self.answers.iter().rfind(|(changed, _)| changed == question) {
            Some((_, answer)) => Ok(answer.clone()),
            None => self.recorded.ask(question),
        }
    }
}

fn blkid(kind: &str) -> String {
    format!("DEVNAME=/dev/vdb\nUUID=1\nLABEL=tank\nTYPE={kind}\n")
}

const VDB: &str = "/dev/vdb";

fn on_vdb(kind: &str) -> Changed {
    Changed::encrypted().with(Question::Blkid(VDB.into()), &blkid(kind))
}

#[test]
fn foreign_signatures_are_named_in_plain_words() {
    let cases = [
        ("btrfs", "a btrfs file system"),
        ("ntfs", "an ntfs file system"),
        ("f2fs", "an f2fs file system"),
        ("zfs_member", "a member of a ZFS pool"),
        ("bcache", "a bcache device"),
        ("linux_raid_member", "a member of an md array"),
        ("isw_raid_member", "a member of a firmware RAID"),
        ("swsuspend", "the memory image of a suspended system"),
        ("BitLocker", "a BitLocker volume"),
    ];
    for (kind, what) in cases {
        assert_eq!(on_vdb(kind).on_mirror().what, what);
    }
    let ambivalent = Changed::encrypted().with(Question::Blkid(VDB.into()), "AMBIVALENT=1\n").on_mirror();
    assert_eq!(ambivalent.what, "signatures that contradict each other (wipefs /dev/vdb lists them)");
    let sun = Changed::encrypted().with(Question::Blkid(VDB.into()), "PTTYPE=sun\n").on_mirror();
    assert_eq!(sun.what, "a sun partition table");
}

#[test]
fn a_pool_of_zfs_counts_as_in_use() {
    let survey = on_vdb("zfs_member").survey().expect("it can be looked at");
    assert_eq!(survey.mirror.in_use(&[]), ["/dev/vdb is a member of the ZFS pool tank"]);
}

#[test]
fn holders_are_listed_down_to_what_is_mounted_on_them() {
    let array = r#"{"name": "md0", "type": "raid1", "size": 1, "maj:min": "9:0", "children": [
        {"name": "old-srv", "path": "/dev/mapper/old-srv", "type": "lvm", "size": 1, "maj:min": "254:1"}]}"#;
    let member = on_vdb("linux_raid_member").holding(array).on_mirror();
    assert_eq!(member.what, "a member of an md array (/dev/md0)");
    // 254:1 is mounted on /boot on this server.
    let expected = [
        "is held by md0 (raid1)",
        "is held by old-srv (lvm)",
        "is held by old-srv, which is mounted on /boot",
    ];
    assert_eq!(member.in_use, expected);
}

#[test]
fn a_path_of_a_multipath_device_is_no_blank_disk() {
    let mapping =
        r#"{"name": "mpatha", "path": "/dev/mapper/mpatha", "type": "mpath", "size": 1, "maj:min": "253:9"}"#;
    let path = Changed::encrypted().holding(mapping).on_mirror();
    assert_eq!(path.what, "a part of a multipath device (/dev/mapper/mpatha)");
    assert_eq!(path.in_use, ["is held by mpatha (mpath)"]);
    let table = "PTUUID=1\nPTTYPE=dos\n";
    let dump = "label: dos\nlabel-id: 0x1\ndevice: /dev/vdb\nunit: sectors\n\n";
    let path = Changed::encrypted().holding(mapping).with(Question::Blkid(VDB.into()), table);
    let path = path.with(Question::SfdiskDump(VDB.into()), dump).on_mirror();
    assert_eq!(path.in_use, ["is held by mpatha (mpath)"]);
}

#[test]
fn a_partition_that_only_the_kernel_knows_is_still_in_use() {
    let old = r#"{"name": "vdb3", "type": "part", "size": 1, "maj:min": "254:1"}"#;
    let wiped = Changed::encrypted().holding(old);
    let uses = ["has the partition vdb3, which is mounted on /boot"];
    assert_eq!(wiped.on_mirror().in_use, uses);
    let dump = "label: dos\nlabel-id: 0x1\ndevice: /dev/vdb\nunit: sectors\n\n";
    let rewritten = wiped.with(Question::Blkid(VDB.into()), "PTTYPE=dos\n");
    let rewritten = rewritten.with(Question::SfdiskDump(VDB.into()), dump).on_mirror();
    assert_eq!(rewritten.in_use, uses);
    assert_eq!(rewritten.what, "a partition table that the kernel knows another version of (/dev/vdb3)");
}

#[test]
fn a_disk_that_is_mounted_though_its_signature_is_gone_is_in_use() {
    let wiped = Changed::encrypted().edited(Question::Findmnt, r#""/dev/vda1""#, r#""/dev/vdb""#);
    assert_eq!(wiped.on_mirror().in_use, ["is mounted on /boot"]);
    let swap = "Filename Type Size Used Priority\n/dev/vdb partition 1 0 -2\n";
    let wiped = Changed::encrypted().with(Question::Swaps, swap);
    assert_eq!(wiped.on_mirror().in_use, ["is in use as swap"]);
}

#[test]
fn what_cannot_be_read_is_named_on_both_disks() {
    let damaged =
        on_vdb("ext4").with(Question::Dumpe2fs(VDB.into()), "dumpe2fs: Bad magic number").on_mirror();
    assert!(damaged.what.starts_with("an ext4 file system that cannot be read: "), "{}", damaged.what);
    let boot = Question::Dumpe2fs("/dev/vda1".into());
    let survey = Changed::encrypted().with(boot, "").survey().expect("it is named");
    let in_use = survey.primary.in_use(&[]);
    assert!(in_use.contains(&"/dev/vda1 is mounted on /boot".to_owned()), "{in_use:?}");
    let boot = &survey.primary.table().expect("it has one").partitions[0].content;
    assert!(matches!(boot, Content::Unsupported(_)), "{boot:?}");
}

#[test]
fn a_tool_that_only_the_mirrors_old_content_needs_may_be_missing() {
    let mut server = on_vdb("xfs");
    server.missing.push(Question::XfsInfo(VDB.into()));
    assert_eq!(server.on_mirror().what, "an xfs file system that cannot be read: it is not installed");
    let mut server = Changed::encrypted();
    server.missing.push(Question::LuksDump("/dev/vda5".into()));
    assert_eq!(server.refused().what, "a tool is missing");
}

#[test]
fn lvm_that_is_not_installed_is_asked_for_where_a_volume_needs_it() {
    let bare =
        |server: Changed| server.with(Question::Pvs, "").with(Question::Vgs, "").with(Question::Lvs, "");
    let refusal = bare(Changed::encrypted()).refused();
    assert_eq!(refusal.remedy, ["apt-get install lvm2"]);
    let orphan = on_vdb("LVM2_member").on_mirror();
    assert_eq!(orphan.what, "an LVM physical volume that LVM does not use");
}

#[test]
fn a_group_over_two_physical_volumes_names_both() {
    let mut server = Changed::server("09-vg-over-two-disks-debian12", "/dev/vdc");
    server.primary = Some("/dev/vda");
    let survey = server.survey().expect("the primary is named");
    let things = survey.primary.walk().into_iter().filter_map(|(_, content)| match content {
        Content::Unsupported(thing) => Some(thing.what.as_str()),
        _ => None,
    });
    let things: Vec<_> = things.collect();
    assert_eq!(things, ["a part of the volume group www, which spans /dev/vda2 and /dev/vdb"]);
}

/// Of a group of which a part is missing, or lies elsewhere, nothing is made: its volumes would not be whole.
#[test]
fn a_group_on_one_disk_but_for_a_part_is_named() {
    let server = || Changed::server("13-vg-over-two-partitions-of-one-disk", "/dev/sdz");
    assert!(
        server()
            .survey()
            .expect("it can be looked at")
            .primary
            .walk()
            .iter()
            .all(|(_, content)| { !matches!(content, Content::Unsupported(_)) })
    );
    for elsewhere in ["[unknown]", "/dev/sdz"] {
        let survey = server().edited(Question::Pvs, r#""/dev/sda3""#, &format!("{elsewhere:?}")).survey();
        let survey = survey.expect("it can be looked at");
        let table = survey.primary.table().expect("it has one");
        let Content::Unsupported(thing) = &table.partitions[1].content else { panic!("{table:?}") };
        assert_eq!(
            thing.what,
            format!("a part of the volume group rhel, which spans /dev/sda2 and {elsewhere}")
        );
    }
}

#[test]
fn a_member_of_an_array_says_what_the_array_carries() {
    let mut server = Changed::server("08-md-raid1-debian12", "/dev/sda");
    server.primary = Some("/dev/sdc");
    let in_use = server.survey().expect("the primary is named").mirror.in_use(&[]);
    let expected = [
        "/dev/sda1 is held by md0 (raid1)",
        "/dev/sda1 is held by md0, which is mounted on /",
        "/dev/sda2 is held by md1 (raid1)",
        "/dev/sda2 is held by md1, which is in use as swap",
    ];
    assert_eq!(in_use, expected);
}

#[test]
fn volumes_that_are_not_plain_or_not_active_are_named() {
    let swap_volume = |server: Changed| {
        let survey = server.survey().expect("the group is plain");
        let volumes = survey.primary.walk().into_iter().find_map(|(_, content)| match content {
            Content::Volumes(group) => Some(group.volumes.clone()),
            _ => None,
        });
        match volumes.expect("it has a group").pop().expect("it has volumes").content {
            Content::Unsupported(thing) => (thing.what, thing.in_use),
            other => panic!("not named: {other:?}"),
        }
    };
    let row = r#""lv_path":"/dev/www/swap", "segtype":"linear""#;
    let snapshot = format!(r#"{row}, "origin":"root""#);
    let (what, in_use) = swap_volume(Changed::encrypted().edited(Question::Lvs, row, &snapshot));
    assert_eq!((what.as_str(), in_use), ("a snapshot of root", vec!["is in use as swap".to_owned()]));
    let thin = row.replace("linear", "thin");
    assert_eq!(swap_volume(Changed::encrypted().edited(Question::Lvs, row, &thin)).0, "a thin volume");
    let renamed = Changed::encrypted().edited(Question::Lsblk, "\"www-swap\"", "\"other\"");
    assert_eq!(swap_volume(renamed).0, "a volume that is not active");
}

#[test]
fn a_root_that_lies_on_no_disk_is_refused() {
    let root = |source: &str| {
        let mounts = format!(
            r#"{{"filesystems": [{{"target": "/", "source": "{source}", "fstype": "overlay", "maj:min": "0:30"}}]}}"#
        );
        Changed::encrypted().with(Question::Findmnt, &mounts).refused().why
    };
    assert_eq!(root("overlay"), ["/ is overlay (overlay), which lies on no disk of this machine"]);
    let none = Changed::encrypted().with(Question::Findmnt, r#"{"filesystems": []}"#).refused();
    assert_eq!(none.why, ["no file system is mounted on /"]);
}

/// A new key at every boot, by crypttab: nothing on it lasts, so the mirror has an empty place there and makes its own.
#[test]
fn swap_with_a_random_key_is_known_as_such() {
    let content = |name: &str, server: &str, node: &str, crypttab: &str| {
        let child = r#""children": [{"name": "cswap", "kname": "dm-9", "path": "/dev/mapper/cswap", "type": "crypt", "size": 1}],"#;
        let name = format!("\"name\": \"{name}\",");
        let server = Changed::server(server, "/dev/vdb")
            .edited(Question::Lsblk, &name, &format!("{name} {child}"))
            .with(Question::Blkid(node.into()), "")
            .with(Question::Swaps, "Filename Type Size Used Priority\n/dev/dm-9 partition 1000 0 -2\n")
            .with(Question::Crypttab, crypttab);
        let survey = server.survey().expect("it can be looked at");
        let found = survey
            .primary
            .walk()
            .into_iter()
            .find(|(path, _)| *path == node || *path == "/dev/www/swap")
            .map(|(_, content)| content.clone());
        found.expect("it is there")
    };
    let partition = |crypttab: &str| content("vda3", "03-gpt-biosboot-plain-debian12", "/dev/vda3", crypttab);
    let volume =
        |crypttab: &str| content("www-swap", "01-mbr-luks2-lvm-debian12", "/dev/mapper/www-swap", crypttab);
    let random = "cswap /dev/vda3 /dev/urandom cipher=aes-xts-plain64,size=256,swap,discard\n";
    let bare = |path: &str| Content::RandomSwap(Box::new(RandomSwap { path: path.into(), label: None }));
    assert_eq!(partition(random), bare("/dev/vda3"));
    assert_eq!(
        volume(&random.replace("/dev/vda3", "/dev/www/swap").replace("urandom", "random")),
        bare("/dev/mapper/www-swap")
    );
    for lasting in
        ["", &random.replace("/dev/urandom", "/etc/swap.key"), &random.replace("swap,discard", "discard")]
    {
        assert!(matches!(partition(lasting), Content::Unsupported(_)), "{lasting}");
    }
}

/// The place is known by the label of a file system of 1 MiB, and the swap begins behind it (crypttab(5), `offset=`).
#[test]
fn swap_with_a_random_key_may_lie_behind_a_small_file_system_that_names_it() {
    let child = r#""children": [{"name": "cswap", "kname": "dm-9", "path": "/dev/mapper/cswap", "type": "crypt", "size": 1}],"#;
    let name = "\"name\": \"vda3\",";
    let server = Changed::server("03-gpt-biosboot-plain-debian12", "/dev/vdb");
    let superblock = server.ask(&Question::Dumpe2fs("/dev/vda2".into())).expect("it was recorded");
    let server = server
        .edited(Question::Lsblk, name, &format!("{name} {child}"))
        .with(Question::Blkid("/dev/vda3".into()), "UUID=7777\nLABEL=cryptswap\nTYPE=ext2\n")
        .with(Question::Dumpe2fs("/dev/vda3".into()), &superblock)
        .with(Question::Swaps, "Filename Type Size Used Priority\n/dev/dm-9 partition 1000 0 -2\n");
    let line = "cswap LABEL=cryptswap /dev/urandom swap,offset=2048,cipher=aes-xts-plain64\n";
    let content = |server: Changed| {
        let survey = server.survey().expect("it can be looked at");
        let table = survey.primary.table().expect("it has one").clone();
        table.partitions.into_iter().find(|p| p.path == "/dev/vda3").expect("it is there").content
    };
    let Content::RandomSwap(swap) = content(server.with(Question::Crypttab, line)) else {
        panic!("not known")
    };
    assert_eq!(swap.label.and_then(|fs| fs.label).as_deref(), Some("cryptswap"));
}
