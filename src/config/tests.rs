//! What is a configuration, and how a mistake in one is shown.

use super::*;

fn example() -> Config {
    let id = |serial: &str, table: &str| DiskId {
        model: Some("Samsung SSD 870".into()),
        serial: Some(serial.into()),
        wwn: Some("0x5002538f12345678".into()),
        table_id: table.into(),
        path: None,
    };
    let volume = |mount: &str, kind, a: &str, b: &str| Volume {
        mount: mount.into(),
        kind,
        primary_uuid: a.into(),
        mirror_uuid: b.into(),
    };
    let container = |uuid: &str, unlock| Container {
        luks_uuid: uuid.into(),
        mapper: "mirror_crypt".into(),
        unlock,
        discard: true,
    };
    Config {
        state_dir: "/var/lib/diskmirror".into(),
        runtime_dir: "/run/diskmirror".into(),
        log_file: "/var/log/diskmirror.log".into(),
        mirrors: vec![Mirror {
            name: "mirror".into(),
            reversed: false,
            primary: id("S1", "1234abcd"),
            disk: id("S\"2\\", "1234abce"),
            containers: vec![
                container("aa", Unlock::KeyFile("/etc/diskmirror/keys/aa.key".into())),
                container("bb", Unlock::Crypttab),
            ],
            volume_groups: vec!["mirror".into()],
            volumes: vec![volume("/", FsKind::Xfs, "a1", "b1"), volume("/boot", FsKind::Ext3, "a2", "b2")],
            excludes: vec!["/srv/\"odd\"/*".into()],
            audit_ignore: vec!["/etc/backup/*".into()],
            boot_test: Some(Often::Monthly),
            leave_out: vec!["PARTUUID=4f3a21bc-03".into(), "guests/web".into()],
            full_every: Every(6 * 60 * 60),
            blocks_from: Bytes((1 << 20) + 1),
            bwlimit: Some(Rate(50 << 20)),
            considerate: Considerate(None),
            verify_share: Share(2500),
        }],
    }
}

fn config_mirror() -> Mirror {
    example().mirrors.remove(0)
}

#[test]
fn what_is_written_is_read_back_the_same() {
    let config = example();
    assert_eq!(parse(&config.to_toml()), Ok(config));
    let turned = Config { mirrors: vec![config_mirror().turned()], ..example() };
    assert_eq!(parse(&turned.to_toml()), Ok(turned));
    let mut plain = example();
    plain.mirrors[0].containers.clear();
    plain.mirrors[0].volume_groups.clear();
    (plain.mirrors[0].bwlimit, plain.mirrors[0].considerate) = (None, Considerate::USUAL);
    plain.mirrors[0].disk =
        DiskId { table_id: "x".into(), path: Some("/dev/loop1".into()), ..DiskId::default() };
    assert_eq!(parse(&plain.to_toml()), Ok(plain));
}

/// The complaint about the example with `from` replaced by `to`, as it is shown.
fn complaint(from: &str, to: &str) -> String {
    let text = example().to_toml();
    assert!(text.contains(from), "{text}");
    let text = text.replacen(from, to, 1);
    pointed_at(&text, &parse(&text).expect_err("it is wrong")).join("\n")
}

#[test]
fn a_mistake_is_shown_with_a_caret_at_the_place() {
    let shown = complaint("kind = \"ext3\"", "kind = \"reiser\"");
    assert!(shown.contains("| kind = \"reiser\"\n"), "{shown}");
    assert!(shown.contains("|        ^^^^^^^^\n"), "{shown}");
    let shown = complaint("serial = \"S1\"", "serail = \"S1\"");
    assert!(shown.contains("| ^^^^^^\n") && shown.contains("unknown field `serail`"), "{shown}");
    let shown = complaint("name = \"mirror\"", "name = \"mirror");
    assert!(shown.contains("| name = \"mirror\n"), "{shown}");
    let shown = complaint("\"/run/diskmirror\"", "\"run/diskmirror\"");
    assert!(shown.contains("^^^^^^^^^^^^^^^^") && shown.contains("not an absolute path"), "{shown}");
}

#[test]
fn values_that_contradict_each_other_are_refused() {
    for (from, to, says) in [
        ("mirror_uuid = \"b1\"", "mirror_uuid = \"a1\"", "are the same"),
        ("mirror_uuid = \"b2\"", "mirror_uuid = \"b1\"", "same mirror_uuid"),
        ("mount = \"/\"", "mount = \"/srv\"", "must be the one with mount"),
        ("mount = \"/boot\"", "mount = \"/../boot\"", "not an absolute path"),
        ("name = \"mirror\"", "name = \"../x\"", "cannot be part of a path"),
        ("key_file = \"/etc/diskmirror/keys/aa.key\"", "", "missing field `key_file`"),
        ("full_every = \"6h\"", "full_every = \"daily\"", "no span of time"),
        ("blocks_from = \"1048577\"", "blocks_from = \"large\"", "not a size"),
        ("bwlimit = \"50M\"", "bwlimit = \"0\"", "a limit is above 0"),
        ("considerate = \"off\"", "considerate = \"100%\"", "no share of the time"),
        ("verify_share = \"2.5%\"", "verify_share = \"some\"", "no share"),
        ("audit_ignore = [\"/etc/backup/*\"]", "audit_ignore = [\"[\"]", "unclosed character class"),
        ("unlock = \"crypttab\"", "unlock = \"crypttab\"\nkey_file = \"/k\"", "no meaning"),
    ] {
        let shown = complaint(from, to);
        assert!(shown.contains(says), "{to}: {shown}");
    }
}

#[test]
fn a_mount_point_in_another_encoding_is_kept_in_a_file_that_is_utf_8() {
    let mut config = example();
    config.mirrors[0].volumes[1].mount = "/srv/caf\u{10ffe9} \"x\"\\".into();
    let text = config.to_toml();
    assert!(text.contains(r#"mount = "/srv/caf\U0010ffe9 \"x\"\\""#), "{text}");
    assert_eq!(parse(&text), Ok(config));
}
