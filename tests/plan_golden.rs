//! What would be done to real machines: each `tests/layouts/NN-name/layout.json` is planned, and the plan must be the
//! one in `plan.txt` beside it. `DISKMIRROR_BLESS=1` writes them anew, to be read before they are committed.

use diskmirror::identity::FreshIds;
use diskmirror::layout::{
    Content, Filesystem, FsKind, FsParameters, Partition, RandomSwap, Survey, Unsupported,
};
use diskmirror::plan::{FillChoice, Options, Plan, Unlock, plan};
use diskmirror::refusal::Refusal;
use diskmirror::render;
use diskmirror::units::Bytes;
use std::fs;
use std::path::{Path, PathBuf};
use uuid::Uuid;

fn layouts() -> Vec<PathBuf> {
    let dir = Path::new(env!("CARGO_MANIFEST_DIR")).join("tests/layouts");
    let mut found: Vec<_> =
        fs::read_dir(dir).expect("the layouts are there").map(|e| e.expect("readable").path()).collect();
    found.sort();
    found
}

/// `layout.json`, and `layout.vdc.json` where another disk of the same server is a case of its own.
fn surveys(dir: &Path) -> Vec<PathBuf> {
    let files = fs::read_dir(dir).expect("readable").map(|e| e.expect("readable").path());
    let is_survey = |p: &PathBuf| {
        let name = p.file_name().expect("a file").to_string_lossy().into_owned();
        name.starts_with("layout") && name.ends_with(".json")
    };
    files.filter(is_survey).collect()
}

fn survey(layout: &str) -> Survey {
    let dir = layouts()
        .into_iter()
        .find(|dir| dir.file_name().is_some_and(|n| n.to_string_lossy().starts_with(layout)));
    let text = fs::read(dir.expect("the layout exists").join("layout.json")).expect("it is there");
    serde_json::from_slice(&text).expect("it is a survey")
}

fn options() -> Options {
    Options {
        fill: FillChoice::Default,
        unlock: Unlock::Keyfile,
        fstab: false,
        vg: None,
        plaintext: false,
        leave_out: vec![],
        left_out_before: vec![],
        unfinished_groups: vec![],
        key_dir: "/etc/diskmirror/keys".into(),
        keyslot: None,
    }
}

fn planned(survey: &Survey, options: &Options) -> Result<Plan, Refusal> {
    let mut ids = FreshIds::new((1..=64u128).map(|n| Uuid::from_u128(n << 96 | 0x4000_8000_0000_0000_0000)));
    plan(survey, options, &mut ids)
}

fn told(survey: &Survey) -> String {
    match planned(survey, &options()) {
        Err(refusal) => format!("error: {refusal}\n"),
        Ok(plan) => {
            let mut out = Vec::new();
            render::plan::plan(&plan, survey.mirror.disk.rotational, &mut out)
                .expect("memory takes any text");
            String::from_utf8(out).expect("a plan is text")
        }
    }
}

#[test]
fn every_real_layout_gets_the_plan_that_was_reviewed() {
    let bless = std::env::var_os("DISKMIRROR_BLESS").is_some();
    let mut wrong = Vec::new();
    for file in layouts().iter().flat_map(|dir| surveys(dir)) {
        let text =
            told(&serde_json::from_slice(&fs::read(&file).expect("it exists")).expect("it is a survey"));
        let name = file.file_name().expect("a file").to_string_lossy();
        let expected = file.with_file_name(name.replace("layout", "plan").replace(".json", ".txt"));
        if bless {
            fs::write(expected, &text).expect("it can be written");
        } else if fs::read_to_string(&expected).unwrap_or_default() != text {
            wrong.push(format!("{}:\n{text}", expected.display()));
        }
    }
    assert!(wrong.is_empty(), "{}", wrong.join("\n"));
}

#[test]
fn a_plan_is_named_by_the_disks_and_the_options_and_not_by_the_hour() {
    let survey = survey("01");
    let digest =
        |survey: &Survey, options: &Options| planned(survey, options).expect("it can be mirrored").digest;
    let first = digest(&survey, &options());
    let mut later = survey.clone();
    later.primary = serde_json::from_str(
        &serde_json::to_string(&later.primary)
            .expect("it is data")
            .replace("\"inodes_used\":", "\"inodes_used\":9"),
    )
    .expect("it is still a layout");
    assert_eq!(digest(&later, &options()), first, "files come and go");
    let mut other = survey.clone();
    other.mirror.disk.size = other.mirror.disk.size + Bytes::gib(1);
    assert_ne!(digest(&other, &options()), first);
    assert_ne!(digest(&survey, &Options { fstab: true, ..options() }), first);
}

#[test]
fn the_key_slot_that_the_passphrase_opened_sets_the_cost() {
    let mut survey = survey("01");
    let text = serde_json::to_string(&survey.primary).expect("it is data");
    let diskmirror::layout::Content::Table(table) = &mut survey.primary.content else { panic!("{text}") };
    let luks = table.partitions.iter_mut().find_map(|p| match &mut p.content {
        diskmirror::layout::Content::Luks(luks) => Some(luks),
        _ => None,
    });
    let slots = &mut luks.expect("the layout has a container").keyslots;
    let pbkdf = diskmirror::layout::Pbkdf::Argon2 {
        variant: "argon2id".into(),
        time: 7,
        memory_kib: 65_536,
        lanes: 2,
    };
    slots.push(diskmirror::layout::Keyslot { number: 6, pbkdf });
    let text = |keyslot| {
        let plan = planned(&survey, &Options { keyslot, ..options() }).expect("it can be mirrored");
        serde_json::to_string(&plan.steps).expect("it is data")
    };
    assert!(!text(None).contains("argon2id") || text(None) != text(Some(6)));
    assert_eq!(
        text(Some(6)).matches("--pbkdf-memory\",\"65536").count(),
        2,
        "passphrase and key file cost the same"
    );
}

#[test]
fn nothing_of_the_primary_is_ever_named_as_something_to_write_to() {
    for layout in ["01", "02", "04", "05"] {
        let survey = survey(layout);
        let plan = planned(&survey, &options()).expect("it can be mirrored");
        let primary: Vec<String> =
            survey.primary.walk().into_iter().map(|(path, _)| path.to_owned()).collect();
        for step in plan.steps.iter().chain(&plan.closing) {
            if let diskmirror::step::Action::Run(invocation) = &step.action {
                let touched = invocation.args.iter().find(|arg| primary.contains(arg));
                assert_eq!(touched, None, "{layout}: {invocation}");
            }
        }
    }
}

fn refused(survey: &Survey, options: &Options) -> String {
    planned(survey, options).expect_err("it must be refused").to_string()
}

#[test]
fn a_mirror_that_is_the_primary_read_only_or_too_small_is_refused() {
    let survey = survey("01");
    let mut same = survey.clone();
    same.mirror.disk.path = same.primary.disk.path.clone();
    assert!(refused(&same, &options()).contains("it is the primary"));

    let mut locked = survey.clone();
    locked.mirror.disk.read_only = true;
    assert!(refused(&locked, &options()).contains("it is read-only"));

    let mut small = survey.clone();
    small.mirror.disk.size = Bytes::mib(64);
    let text = refused(&small, &options());
    assert!(
        text.contains("too small by ")
            && text.contains("use a disk of ")
            && text.contains("nothing was written")
    );
}

#[test]
fn an_encrypted_primary_gets_an_unencrypted_mirror_only_on_request() {
    let survey = survey("01");
    let steps = |options: &Options| {
        serde_json::to_string(&planned(&survey, options).expect("it can be mirrored").steps)
            .expect("it is data")
    };
    assert!(steps(&options()).contains("luksFormat"));
    let plain = Options { plaintext: true, ..options() };
    assert!(!steps(&plain).contains("cryptsetup"));
    let notes = planned(&survey, &plain).expect("it can be mirrored").notes.join("\n");
    assert!(notes.contains("will NOT be encrypted"), "{notes}");
}

#[test]
fn a_group_name_that_is_taken_is_refused_and_the_default_gives_way() {
    let mut survey = survey("01");
    survey.around.volume_groups.push("mirror".into());
    let plan = planned(&survey, &options()).expect("it can be mirrored");
    assert_eq!(plan.volume_groups, ["mirror2"]);
    let text = refused(&survey, &Options { vg: Some("mirror".into()), ..options() });
    assert!(text.contains("the volume group mirror exists already"), "{text}");
    let text = refused(&survey, &Options { vg: Some("-x".into()), ..options() });
    assert!(text.contains("no name for a volume group"), "{text}");
    let left = Options { unfinished_groups: vec!["mirror".into()], ..options() };
    assert_eq!(planned(&survey, &left).expect("it can be mirrored").volume_groups, ["mirror"]);
}

#[test]
fn a_key_file_is_never_planned_where_it_would_lie_unencrypted() {
    let mut survey = survey("01");
    // The root moves to the unencrypted /boot partition; the container holds what was /boot.
    let text = serde_json::to_string(&survey.primary).expect("it is data");
    let swapped = text.replace("\"fstab_target\":\"/\"", "\"fstab_target\":\"@\"");
    let swapped =
        swapped.replace("\"fstab_target\":\"/boot\"", "\"fstab_target\":\"/\"").replace("\"@\"", "\"/boot\"");
    survey.primary = serde_json::from_str(&swapped).expect("it is still a layout");
    let text = refused(&survey, &options());
    assert!(text.contains("unencrypted file system") && text.contains("--unlock crypttab"), "{text}");
    let plan =
        planned(&survey, &Options { unlock: Unlock::Crypttab, ..options() }).expect("it can be mirrored");
    assert!(plan.containers.iter().all(|c| c.key_file.is_none()));
}

/// A root that was grown by a second partition: both give way, the last one first, and the sums are right to the mebibyte.
#[test]
fn a_group_on_two_partitions_of_one_disk_fits_a_smaller_mirror() {
    let mut survey = survey("13");
    let groups = |survey: &Survey| {
        let plan = planned(survey, &options()).expect("it fits");
        let pieces = plan.pieces.iter().filter(|p| p.what.starts_with("LVM")).map(|p| p.new_size.0 >> 20);
        (pieces.collect::<Vec<_>>(), plan)
    };
    let (whole, _) = groups(&survey);
    assert_eq!(whole, [20_000, 30_000]);
    survey.mirror.disk.size = Bytes::gib(32);
    assert_eq!(groups(&survey).0, [20_000, 32 * 1024 - 1025 - 20_000], "the last one gives first");
    survey.mirror.disk.size = Bytes::gib(16);
    let (both, plan) = groups(&survey);
    assert_eq!(both[1], 5, "an extent and what lies before it are left");
    let volumes: u64 = plan.pieces.iter().filter(|p| p.depth == 1).map(|p| p.new_size.0 >> 22).sum();
    assert_eq!(volumes, (both[0] - 1) / 4 + 1, "the volumes fill what both have");

    let (mut too_small, mut enough) = (Bytes::gib(4), Bytes::gib(16));
    while enough > too_small + Bytes::mib(1) {
        survey.mirror.disk.size = Bytes((too_small.0 + enough.0) / 2).round_down(Bytes::mib(1).0);
        let half = survey.mirror.disk.size;
        if planned(&survey, &options()).is_ok() { enough = half } else { too_small = half }
    }
    survey.mirror.disk.size = enough - Bytes::mib(600);
    assert!(refused(&survey, &options()).contains("too small by 600 MiB"), "{enough} are enough");
}

fn leaving_out(parts: &[&str]) -> Options {
    Options { leave_out: parts.iter().map(|part| (*part).to_owned()).collect(), ..options() }
}

/// A guest's thin volume in a server's group, and another system's partition.
fn with_what_cannot_be_mirrored() -> Survey {
    let unsupported = |path: &str, what: &str, targets: &[&str]| {
        Content::Unsupported(Unsupported {
            path: path.into(),
            what: what.into(),
            targets: targets.iter().map(|target| (*target).to_owned()).collect(),
            ..Unsupported::default()
        })
    };
    let mut survey = survey("14");
    let Content::Table(table) = &mut survey.primary.content else { panic!("it has a table") };
    let Content::Volumes(vg) = &mut table.partitions[1].content else { panic!("it has volumes") };
    vg.volumes[2].content = unsupported("/dev/vg0/vm-web", "a thin volume", &[]);
    let last = table.partitions[1].clone();
    table.partitions.push(Partition {
        number: 3,
        path: "/dev/sda3".into(),
        start: last.start + last.size,
        size: Bytes::gib(20),
        uuid: Some("0B6E4C1B-3F8A-4F59-9F0E-000000000003".into()),
        content: unsupported("/dev/sda3", "an ntfs file system", &["/mnt/windows"]),
        ..last
    });
    survey.primary.disk.size = Bytes::gib(180);
    survey.mirror.disk.size = Bytes::gib(180);
    survey
}

#[test]
fn what_cannot_be_mirrored_can_be_left_out_as_the_refusal_says() {
    let survey = with_what_cannot_be_mirrored();
    let text = refused(&survey, &options());
    assert!(text.contains("add --leave-out /dev/vg0/vm-web --leave-out /dev/sda3\n"), "{text}");
    for parts in [
        ["/dev/vg0/vm-web", "/dev/sda3"],
        ["vg0/vm-web", "/mnt/windows"],
        ["/dev/mapper/vg0-vm--web", "PARTUUID=0b6e4c1b-3f8a-4f59-9f0e-000000000003"],
    ] {
        let plan = planned(&survey, &leaving_out(&parts)).expect("it can do without");
        let mut names = plan.left_out.clone();
        names.sort();
        assert_eq!(names, ["PARTUUID=0b6e4c1b-3f8a-4f59-9f0e-000000000003", "vg0/vm-web"]);
        let said: Vec<_> = plan.not_mirrored.iter().filter(|one| one.why.contains("as you said")).collect();
        assert_eq!(said.len(), 2, "{:?}", plan.not_mirrored);
        let steps = serde_json::to_string(&plan.steps).expect("it is data");
        assert!(!steps.contains("vm-web") && !steps.contains("/dev/sdz3"), "{steps}");
        assert!(plan.pieces.iter().any(|p| p.to == "/dev/sdz3" && p.what == "left out"), "its place is kept");
    }
    let mut small = survey.clone();
    small.mirror.disk.size = Bytes::gib(162);
    let plan = planned(&small, &leaving_out(&["/dev/sda3", "vg0/vm-web"])).expect("it fits");
    let size = |node: &str| plan.pieces.iter().find(|p| p.to == node).map(|p| p.new_size == p.size);
    assert_eq!(
        (size("/dev/sdz2"), size("/dev/sdz3")),
        (Some(true), Some(false)),
        "what is empty gives first"
    );
}

#[test]
fn what_the_boot_needs_is_not_left_out() {
    let survey = with_what_cannot_be_mirrored();
    for (part, why) in [
        ("/", "/dev/vg0/root: it holds /"),
        ("vg0", "/dev/sda2: it holds /"),
        ("/dev/sda1", "/dev/sda1: it holds GRUB's core image"),
        ("/dev/sda9", "/dev/sda9 is no part of /dev/sda"),
    ] {
        let text = refused(&survey, &leaving_out(&["/dev/sda3", "vg0/vm-web", part]));
        assert!(
            text.contains(why) && text.contains("nothing was written") && text.contains("do: "),
            "{text}"
        );
    }
    let gone = Options {
        left_out_before: vec!["vg0/old".into()],
        ..leaving_out(&["/dev/sda3", "vg0/vm-web", "vg0/old"])
    };
    assert!(planned(&survey, &gone).is_ok(), "what is gone by now is nothing to complain of");

    let mut root = survey.clone();
    let Content::Table(table) = &mut root.primary.content else { panic!("it has a table") };
    let Content::Unsupported(thing) = &mut table.partitions[2].content else {
        panic!("it is another system's")
    };
    thing.targets = vec!["/usr".into()];
    let text = refused(&root, &options());
    assert!(text.contains("add --leave-out /dev/vg0/vm-web\n"), "{text}");

    let two = self::survey("13");
    let text = refused(&two, &leaving_out(&["/dev/sda2"]));
    assert!(text.contains("the volume group rhel lies on it, and elsewhere"), "{text}");
}

#[test]
fn the_label_of_swap_with_a_random_key_is_made_as_small_as_it_was() {
    let mut survey = survey("13");
    let Content::Table(table) = &mut survey.primary.content else { panic!("it has a table") };
    let Content::Filesystem(boot) = table.partitions[0].content.clone() else { panic!("it is /boot") };
    let ext = FsParameters::Ext {
        block_size: 1024,
        inode_size: 128,
        inodes: 128,
        inodes_used: 11,
        blocks: 1024,
        reserved_blocks: 51,
        features: vec!["ext_attr".into(), "filetype".into()],
    };
    let label = Filesystem {
        kind: FsKind::Ext2,
        path: "/dev/sda4".into(),
        label: Some("cryptswap".into()),
        mounted_at: vec![],
        fstab_target: None,
        parameters: ext,
        ..boot
    };
    let last = table.partitions[2].clone();
    table.partitions.push(Partition {
        number: 4,
        path: "/dev/sda4".into(),
        start: last.start + last.size,
        size: Bytes::gib(1),
        content: Content::RandomSwap(Box::new(RandomSwap { path: "/dev/sda4".into(), label: Some(label) })),
        ..last
    });
    let plan = planned(&survey, &options()).expect("it can be mirrored");
    let made = plan.steps.iter().find(|step| step.title.contains("for its label")).expect("it is made");
    let diskmirror::step::Action::Run(made) = &made.action else { panic!("it is a tool's") };
    assert!(
        made.to_string().contains(" -L cryptswap") && made.to_string().ends_with(" /dev/sdz4 1024"),
        "{made}"
    );
    assert_eq!(plan.not_mirrored, [], "nothing on it lasts");
}
