use super::*;
use crate::units::Bytes;

const NOW: i64 = 1_000_000;

fn run(id: i64, state: State, secs_ago: i64) -> RunRecord {
    RunRecord {
        id,
        state,
        ended: Some(NOW - secs_ago),
        boot: Some(BootRecord::default()),
        ..RunRecord::begun("mirror", NOW - secs_ago - 60)
    }
}

fn facts(runs: Vec<RunRecord>) -> Facts {
    Facts {
        name: "mirror".into(),
        title: "Samsung SSD 870 (S5GX123)".into(),
        now: NOW,
        interval: 900,
        runs,
        attached: Attached::As("/dev/sdb".into()),
        is_scheduled: true,
        opens: Opens::KeyFile,
        ..Facts::default()
    }
}

fn reasons(facts: &Facts) -> String {
    answer(facts).reasons.join("\n")
}

fn boot_test(verdict: Verdict) -> BootTestRecord {
    BootTestRecord {
        id: 1,
        mirror: "mirror".into(),
        table_id: "x".into(),
        run: Some(7),
        started: NOW - 3 * 86_400,
        seconds: 60.0,
        verdict,
        sign: "(initramfs)".into(),
        accelerator: "kvm".into(),
        firmware: "bios".into(),
        console: Vec::new(),
    }
}

#[test]
fn a_young_complete_run_that_prepared_the_boot_is_ready() {
    let answer = answer(&facts(vec![run(8, State::Done, 420)]));
    assert!(answer.is_ready(), "{answer:?}");
    assert_eq!(answer.remarks, [""; 0]);
    let text =
        |wanted: &str| answer.lines.iter().find(|(name, _)| *name == wanted).map(|(_, text)| text.as_str());
    assert_eq!(text("data"), Some("7 min old (limit 30 min), run 8, complete"));
    assert_eq!(text("boots"), Some("prepared, not proven yet: diskmirror boot-test"));
    assert_eq!(text("opens"), Some("key file used 7 min ago"));
    assert_eq!(text("alone"), Some("0 references to the primary"));
    assert_eq!(text("deferred"), Some("nothing"));
}

#[test]
fn what_is_too_old_or_was_never_complete_is_not_ready() {
    assert!(answer(&facts(vec![run(8, State::Done, 1800)])).is_ready());
    assert!(reasons(&facts(vec![run(8, State::Done, 1801)])).contains("the limit is 30 min"));
    let never = answer(&facts(Vec::new()));
    assert!(!never.is_ready() && never.next.as_deref() == Some("diskmirror run"), "{never:?}");
}

#[test]
fn a_run_that_ends_in_the_future_says_nothing_of_the_age() {
    let ahead = answer(&facts(vec![run(8, State::Done, -400 * 86_400)]));
    assert!(
        ahead.reasons.iter().any(|reason| reason.contains("the age of the data is unknown")),
        "{ahead:?}"
    );
    assert!(ahead.lines[0].1.starts_with("of unknown age (limit 30 min), run 8"), "{ahead:?}");
    assert!(answer(&facts(vec![run(8, State::Done, -2)])).is_ready(), "a clock is kept right by seconds");
    let mended = facts(vec![run(9, State::Done, 10), run(8, State::Done, -400 * 86_400)]);
    assert!(answer(&mended).is_ready(), "the number counts, not the time");
}

#[test]
fn what_cannot_be_found_out_is_not_ready_and_the_rest_is_told() {
    let unknown = vec!["what the runs did is not known: no space".to_owned()];
    let answer = answer(&Facts { unknown: unknown.clone(), ..facts(vec![run(8, State::Done, 420)]) });
    assert_eq!(answer.reasons, unknown);
    assert!(answer.lines.len() > 3, "{answer:?}");
}

#[test]
fn what_went_wrong_after_the_last_complete_run_counts_until_the_next_one() {
    for state in [State::Failed, State::Killed, State::NotAlone, State::Incomplete] {
        let broken = vec![run(9, state, 100), run(8, State::Done, 420)];
        assert!(reasons(&facts(broken.clone())).contains("run 9"), "{state:?}");
        let mended = [vec![run(10, State::Done, 10)], broken].concat();
        assert!(answer(&facts(mended)).is_ready(), "{state:?}");
    }
}

#[test]
fn a_run_that_was_turned_away_is_a_remark() {
    let refused = RunRecord { message: Some("refusing\n  why: x".into()), ..run(9, State::Refused, 100) };
    let answer = answer(&facts(vec![run(10, State::Locked, 50), refused, run(8, State::Done, 420)]));
    assert!(answer.is_ready(), "{answer:?}");
    assert_eq!(answer.remarks, ["run 9 was refused: refusing"]);
}

#[test]
fn a_refused_run_does_not_hide_the_failed_one_before_it() {
    let runs = vec![run(10, State::Refused, 50), run(9, State::Failed, 100), run(8, State::Done, 420)];
    assert!(reasons(&facts(runs)).contains("run 9 failed"));
}

#[test]
fn a_run_that_says_it_is_at_work_is_believed_only_while_it_holds_the_lock() {
    let mut at_work = facts(vec![run(9, State::Running, 0), run(8, State::Done, 420)]);
    assert!(reasons(&at_work).contains("ended without a word"));
    at_work.locked_since = Some(NOW - 40);
    let answer = answer(&at_work);
    assert!(answer.is_ready() && answer.lines[0].1.ends_with("; another at work for 40 s"), "{answer:?}");
}

#[test]
fn a_mirror_that_may_not_boot_or_still_names_the_primary_is_not_ready() {
    let with = |boot| facts(vec![RunRecord { boot, ..run(8, State::Done, 420) }]);
    assert!(reasons(&with(None)).contains("no run has prepared it"));
    let problems = BootRecord { problems: vec!["no boot loader".into()], ..BootRecord::default() };
    assert_eq!(reasons(&with(Some(problems))), "it may not boot: no boot loader");
    let findings = BootRecord { findings: vec!["/etc/fstab: a451".into()], ..BootRecord::default() };
    let answer = answer(&with(Some(findings)));
    assert_eq!(answer.reasons, ["not alone: /etc/fstab: a451"]);
    assert!(answer.lines.contains(&("alone", "1 reference to the primary".into())), "{answer:?}");
}

#[test]
fn the_latest_boot_test_decides() {
    let tested =
        |verdict| Facts { boot_test: Some(boot_test(verdict)), ..facts(vec![run(8, State::Done, 420)]) };
    let proven = answer(&tested(Verdict::Booted));
    assert!(proven.is_ready());
    assert!(proven.lines.contains(&("boots", "proven 3 days ago (boot-test of run 7)".into())), "{proven:?}");
    for verdict in [Verdict::Emergency, Verdict::NoLoader, Verdict::NoPrompt, Verdict::Timeout] {
        assert!(reasons(&tested(verdict)).starts_with("boot-test 3 days ago: "), "{verdict:?}");
    }
}

#[test]
fn a_disk_that_is_not_there_saves_nobody() {
    let absent = Attached::Not(vec!["the mirror was not found".into(), "no disk has table x".into()]);
    let gone = Facts { attached: absent, ..facts(vec![run(8, State::Done, 420)]) };
    assert_eq!(answer(&gone).reasons, ["the mirror was not found", "no disk has table x"]);
    let half_made = Facts { init_unfinished: true, ..facts(vec![run(8, State::Done, 420)]) };
    assert!(reasons(&half_made).contains("not finished"));
}

#[test]
fn a_system_that_runs_from_the_mirror_is_told_which_disk_is_which() {
    let reversed = |old_node: Option<&str>| Facts {
        reversed: Some(Reversed {
            runs_from: "S5GX123".into(),
            old_primary: "S1AB".into(),
            old_node: old_node.map(Into::into),
        }),
        ..facts(vec![run(8, State::Done, 420)])
    };
    let there = answer(&reversed(Some("/dev/sda")));
    assert!(there.lines[1].1.starts_with("S1AB, the old primary: is attached as /dev/sda"), "{there:?}");
    let gone = answer(&reversed(None));
    assert!(gone.lines[1].1.ends_with("is not attached"), "{gone:?}");
    assert_eq!(gone.next.as_deref(), Some("diskmirror init --mirror DISK"));
    assert!(!gone.is_ready());
}

#[test]
fn what_is_not_in_the_mirror_is_a_line_and_no_reason() {
    let one = |n: u64| NotMirrored {
        what: format!("/srv/{n}"),
        size: (n > 1).then_some(Bytes::gib(n)),
        why: "lies on another disk (/dev/sdc1)".into(),
        on_primary: false,
    };
    let with = |count: u64| Facts {
        not_mirrored: Some((1..=count).map(one).collect()),
        ..facts(vec![run(8, State::Done, 420)])
    };
    let line = |facts: &Facts| {
        let answer = answer(facts);
        assert!(answer.is_ready() && answer.remarks.is_empty(), "{answer:?}");
        answer.lines.into_iter().find(|(name, _)| *name == "without").map(|(_, text)| text)
    };
    assert_eq!(line(&with(0)), None);
    assert_eq!(line(&with(2)).as_deref(), Some("/srv/1, /srv/2 (2.00 GiB)"));
    assert!(line(&with(7)).is_some_and(|text| text.ends_with("/srv/5 (5.00 GiB) and 2 more")));
    let unclear = Facts { unclear: vec!["what is not".into()], not_mirrored: None, ..with(0) };
    assert_eq!(answer(&unclear).remarks, ["what is not"]);
}

#[test]
fn a_boot_test_is_of_what_was_booted() {
    let line = |then: Option<&str>, now: Option<&str>| {
        let mut latest = run(8, State::Done, 420);
        latest.boot = Some(BootRecord { digest: now.map(str::to_owned), ..BootRecord::default() });
        let booted = then.map(str::to_owned);
        let answer =
            answer(&Facts { boot_test: Some(boot_test(Verdict::Booted)), booted, ..facts(vec![latest]) });
        assert!(answer.is_ready() && answer.remarks.is_empty(), "{answer:?}");
        answer.lines.into_iter().find(|(name, _)| *name == "boots").expect("it is there").1
    };
    let proven = "proven 3 days ago (boot-test of run 7)";
    assert_eq!(line(Some("a"), Some("a")), format!("{proven}, nothing changed since"));
    assert_eq!(line(Some("a"), Some("b")), format!("{proven}, changed since"));
    assert_eq!(line(None, Some("b")), proven, "an older version has kept no state");
    assert_eq!(line(Some("a"), None), proven);
}
