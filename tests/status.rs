//! `status` and `history` after what really happened, on loop devices. Needs root.

#[path = "common/server.rs"]
mod server;

use diskmirror::history::History;
use diskmirror::record::{BootRecord, BootTestRecord, RunRecord, State, Verdict};
use serde_json::Value;
use server::{PLAIN, Said, Server, root_or_skip};

fn prepared() -> Server {
    let server = Server::new(PLAIN);
    server.init_done(&[]);
    server
}

fn history(server: &Server) -> History {
    History::open(&server.root().join("var/lib/diskmirror")).expect("there is one")
}

fn status(server: &Server) -> (Said, Value) {
    let said = server.call(&["status", "--json"]);
    let value = serde_json::from_str(&said.stdout).unwrap_or_else(|error| panic!("{error}: {said:?}"));
    (said, value)
}

/// Enters what the last run is to have known of booting.
fn with_boot(server: &Server, boot: Option<BootRecord>) {
    let latest = history(server).latest("mirror").expect("it can be read").expect("there was a run");
    history(server).finish(&RunRecord { boot, ..latest }).expect("it can be written");
}

#[test]
fn a_spare_is_ready_only_if_its_last_run_knows_that_it_boots() {
    if !root_or_skip("a_spare_is_ready_only_if_its_last_run_knows_that_it_boots") {
        return;
    }
    let server = prepared();
    with_boot(&server, Some(BootRecord::default()));
    let disks = || (server.primary.hash(), server.mirror.hash());
    let before = disks();
    let said = server.call(&["status"]);
    assert_eq!(said.code, 0, "{said:?}");
    assert!(said.stdout.lines().next().is_some_and(|line| line.ends_with(" READY")), "{said:?}");
    assert!(said.stdout.contains(&server.mirror.node), "{said:?}");
    assert!(said.stdout.contains("not proven yet: diskmirror boot-test"), "{said:?}");
    assert_eq!(disks(), before, "status has written to a disk");
    assert_eq!(server.call(&["status", "--nagios"]).code, 1, "there is no schedule");

    let fstab = std::fs::read_to_string(server.root().join("etc/fstab")).expect("it is there");
    let fstab = fstab + "\nLABEL=films /srv/films ext4 defaults 0 2\n";
    std::fs::write(server.root().join("etc/fstab"), fstab).expect("written");
    let (said, value) = status(&server);
    assert_eq!(said.code, 0, "a disk that was added is no fault: {said:?}");
    let named: Vec<&str> = value["not_mirrored"]
        .as_array()
        .into_iter()
        .flatten()
        .filter_map(|one| one["what"].as_str())
        .collect();
    assert_eq!(named, ["/srv/films"], "{value}");
    assert!(server.call(&["status"]).stdout.contains("\n  without  /srv/films\n"));

    for (boot, why) in [
        (None, "no run has prepared it"),
        (Some(BootRecord { problems: vec!["no loader".into()], ..BootRecord::default() }), "no loader"),
        (
            Some(BootRecord { findings: vec!["etc/fstab names it".into()], ..BootRecord::default() }),
            "etc/fstab",
        ),
    ] {
        with_boot(&server, boot);
        let (said, value) = status(&server);
        assert_eq!((said.code, &value["ready"]), (1, &false.into()), "{said:?}");
        assert!(value["reasons"].to_string().contains(why), "{value}");
        assert_eq!(server.call(&["status", "--nagios"]).code, 2);
    }
}

#[test]
fn a_failed_run_a_failed_boot_test_and_an_absent_disk_are_not_ready() {
    if !root_or_skip("a_failed_run_a_failed_boot_test_and_an_absent_disk_are_not_ready") {
        return;
    }
    let server = prepared();
    with_boot(&server, Some(BootRecord::default()));
    let good = history(&server).latest("mirror").expect("it can be read").expect("there was a run");
    let mut test = BootTestRecord {
        id: 0,
        mirror: "mirror".into(),
        table_id: "of another disk".into(),
        run: Some(good.id),
        started: good.started,
        seconds: 40.0,
        verdict: Verdict::Emergency,
        sign: "(initramfs)".into(),
        accelerator: "tcg".into(),
        firmware: "bios".into(),
        console: Vec::new(),
    };
    history(&server).add_boot_test(&mut test).expect("it can be written");
    assert_eq!(status(&server).0.code, 0, "the test was of another disk");
    let (_, value) = status(&server);
    test.table_id = server::blkid(&server.mirror.node, "PTUUID");
    history(&server).add_boot_test(&mut test).expect("it can be written");
    assert_eq!((&value["boot_test"], status(&server).0.code), (&Value::Null, 1));
    test.verdict = Verdict::Booted;
    history(&server).add_boot_test(&mut test).expect("it can be written");
    assert_eq!(status(&server).0.code, 0);

    let mut failed = RunRecord::begun("mirror", good.started + 1);
    history(&server).begin(&mut failed).expect("it can be written");
    assert!(
        status(&server).1["reasons"].to_string().contains("ended without a word"),
        "nobody holds the lock"
    );
    (failed.state, failed.ended, failed.message) =
        (State::Failed, Some(good.started + 2), Some("EIO".into()));
    history(&server).finish(&failed).expect("it can be written");
    let (said, value) = status(&server);
    assert_eq!(said.code, 1);
    assert_eq!(value["reasons"], serde_json::json!([format!("run {} failed: EIO", failed.id)]));
    listed(&server, &["boot-test", "booted", "failed", "EIO", "done"]);
    let mended = server.call(&["run"]);
    assert_eq!(mended.code, 0, "{mended:?}");
    with_boot(&server, Some(BootRecord::default()));
    assert_eq!(status(&server).0.code, 0);

    server::put(&server.mirror.image.to_string_lossy(), 0, &[0; 34 * 512]);
    server::tool("blockdev", &["--flushbufs", &server.mirror.node]);
    let (said, value) = status(&server);
    assert_eq!(said.code, 1);
    assert!(value["reasons"].to_string().contains("the mirror was not found"), "{value}");
}

#[test]
fn a_boot_test_counts_until_something_that_boots_has_changed() {
    if !root_or_skip("a_boot_test_counts_until_something_that_boots_has_changed") {
        return;
    }
    let server = Server::new(PLAIN);
    std::fs::create_dir_all(server.root().join("boot/grub")).expect("a directory");
    server.init_done(&[]);
    let tested = history(&server).latest("mirror").expect("it can be read").expect("there was a run");
    let mut test = BootTestRecord {
        id: 0,
        mirror: "mirror".into(),
        table_id: server::blkid(&server.mirror.node, "PTUUID"),
        run: Some(tested.id),
        started: tested.started,
        seconds: 40.0,
        verdict: Verdict::Booted,
        sign: "login:".into(),
        accelerator: "tcg".into(),
        firmware: "bios".into(),
        console: Vec::new(),
    };
    history(&server).add_boot_test(&mut test).expect("it can be written");
    let after_run = |changed: &str| {
        std::fs::write(server.root().join(changed), "new").expect("written");
        assert_eq!(server.call(&["run"]).code, 0);
        status(&server).1["boot_test_is_of_now"].clone()
    };
    assert_eq!(status(&server).1["boot_test_is_of_now"], true);
    assert_eq!(after_run("home/alice/1"), true, "nothing of it boots");
    assert_eq!(after_run("boot/grub/x"), false);
    let latest = history(&server).latest("mirror").expect("it can be read").expect("there was a run");
    test.run = Some(latest.id);
    history(&server).add_boot_test(&mut test).expect("it can be written");
    assert_eq!(after_run("boot/grub/grubenv"), true, "each boot writes it");
    assert!(server.call(&["status"]).stdout.contains(", nothing changed since\n"));
    assert_eq!(after_run("boot/vmlinuz"), false);
    assert!(server.call(&["status"]).stdout.contains(", changed since\n"));
}

fn listed(server: &Server, words: &[&str]) {
    let said = server.call(&["history"]);
    assert_eq!(said.code, 0, "{said:?}");
    words.iter().for_each(|word| assert!(said.stdout.contains(word), "no {word} in {said:?}"));
    let list: Value = serde_json::from_str(&server.call(&["history", "--json"]).stdout).expect("JSON");
    assert_eq!(list.as_array().map(Vec::len), Some(said.stdout.lines().count()));
}

#[test]
fn a_system_without_a_configuration_is_unknown_to_nagios_and_refused_otherwise() {
    if !root_or_skip("a_system_without_a_configuration_is_unknown_to_nagios_and_refused_otherwise") {
        return;
    }
    let server = Server::new(PLAIN);
    let said = server.call(&["status", "--nagios"]);
    assert_eq!(said.code, 3, "{said:?}");
    assert!(said.stdout.starts_with("DISKMIRROR UNKNOWN - "), "{said:?}");
    assert_eq!(server.call(&["status"]).code, 4);
    assert_eq!(server.call(&["boot-test"]).code, 4);
}
