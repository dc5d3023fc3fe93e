//! How `status` tells its answer: to people, to programs, to Nagios, to Prometheus.

use crate::escape;
use crate::record::Verdict;
use crate::status::{Answer, Attached, Facts, age, limit};
use serde_json::json;
use std::fmt::Write;

/// Where the verdict begins in the first line.
const VERDICT_COLUMN: usize = 67;

/// The answer for people.
pub fn text(facts: &Facts, answer: &Answer) -> String {
    let verdict = if answer.is_ready() { "READY" } else { "NOT READY" };
    let title = match &facts.attached {
        Attached::As(node) if !facts.title.contains(node.as_str()) => format!("{} ({node})", facts.title),
        _ => facts.title.clone(),
    };
    let head = escape::line(&format!("{}  {title}", facts.name)).into_owned();
    let mut out = format!("{head:<VERDICT_COLUMN$} {verdict}\n");
    let mut lines: Vec<(&str, &str)> =
        answer.lines.iter().map(|(name, text)| (*name, text.as_str())).collect();
    for (name, all) in [("why", &answer.reasons), ("note", &answer.remarks)] {
        let named = all.iter().enumerate().map(|(n, text)| (if n == 0 { name } else { "" }, text.as_str()));
        lines.extend(named);
    }
    lines.extend(answer.next.as_deref().map(|command| ("do", command)));
    for (name, text) in lines {
        let _ = writeln!(out, "  {name:<8} {}", escape::line(text));
    }
    out
}

/// The answer as one JSON object.
pub fn json(facts: &Facts, answer: &Answer) -> String {
    let good = answer.good.as_ref();
    let age = good.and_then(|run| age(facts, run));
    let (node, absent) = match &facts.attached {
        Attached::As(node) => (Some(node), Vec::new()),
        Attached::Not(why) => (None, why.clone()),
        Attached::Unknown => (None, Vec::new()),
    };
    let reversed = facts.reversed.as_ref().map(|reversed| {
        json!({
            "runs_from": reversed.runs_from,
            "old_primary": reversed.old_primary,
            "old_primary_node": reversed.old_node,
        })
    });
    json!({
        "mirror": facts.name,
        "disk": facts.title,
        "node": node,
        "absent": absent,
        "ready": answer.is_ready(),
        "reasons": answer.reasons,
        "remarks": answer.remarks,
        "last_complete_run": good.map(|run| run.id),
        "data_age_seconds": age,
        "limit_seconds": limit(facts),
        "boot": answer.boot,
        "boot_test": facts.boot_test,
        "boot_test_is_of_now": is_of_now(facts, answer),
        "running_since": facts.locked_since,
        "scheduled": facts.is_scheduled,
        "reversed": reversed,
        "not_mirrored": facts.not_mirrored,
    })
    .to_string()
}

/// Whether what boots is what the last boot test has booted; null if that is not known.
fn is_of_now(facts: &Facts, answer: &Answer) -> Option<bool> {
    let now = answer.boot.as_ref().and_then(|boot| boot.digest.as_ref());
    Some(facts.booted.as_ref()? == now?)
}

/// The state of a Nagios plugin, whose number is its exit code.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Nagios {
    /// 0
    Ok,
    /// 1: ready, but something is not in order.
    Warning,
    /// 2: not ready.
    Critical,
    /// 3: it could not be found out.
    Unknown,
}

/// One line for Nagios, with performance data (Monitoring Plugins guidelines), and the state it is.
pub fn nagios(facts: &Facts, answer: &Answer) -> (Nagios, String) {
    let state = match (answer.is_ready(), answer.remarks.is_empty()) {
        (false, _) => Nagios::Critical,
        (true, false) => Nagios::Warning,
        (true, true) => Nagios::Ok,
    };
    let what = match state {
        Nagios::Critical => format!("NOT READY: {}", answer.reasons.join("; ")),
        Nagios::Warning => format!("READY, but {}", answer.remarks.join("; ")),
        Nagios::Ok | Nagios::Unknown => {
            let texts = answer.lines.iter().filter(|(name, _)| ["data", "boots"].contains(name));
            let texts: Vec<_> = texts.map(|(name, text)| format!("{name} {text}")).collect();
            format!("READY: {}", texts.join("; "))
        }
    };
    let age = answer.good.as_ref().and_then(|run| age(facts, run));
    let figures = age.map_or(String::new(), |age| format!(" | age={age}s;;{}", limit(facts)));
    (state, nagios_line(state, &format!("{}: {what}", facts.name)) + &figures)
}

/// `DISKMIRROR OK - text`, without what ends a plugin's text.
pub fn nagios_line(state: Nagios, text: &str) -> String {
    let name = match state {
        Nagios::Ok => "OK",
        Nagios::Warning => "WARNING",
        Nagios::Critical => "CRITICAL",
        Nagios::Unknown => "UNKNOWN",
    };
    format!("DISKMIRROR {name} - {}", escape::line(&text.replace('|', "/").replace(['\n', '\r'], " ")))
}

/// Metrics in Prometheus' text format.
pub fn prometheus(facts: &Facts, answer: &Answer) -> String {
    let mut out = String::new();
    let label = facts.name.replace('\\', "\\\\").replace('"', "\\\"");
    let mut metric = |name: &str, help: &str, value: Option<i64>| {
        if let Some(value) = value {
            let name = format!("diskmirror_{name}");
            let _ = write!(
                out,
                "# HELP {name} {help}\n# TYPE {name} gauge\n{name}{{mirror=\"{label}\"}} {value}\n"
            );
        }
    };
    let good = answer.good.as_ref();
    let boot = answer.boot.as_ref();
    let test = facts.boot_test.as_ref();
    let attached = match &facts.attached {
        Attached::As(_) => Some(1),
        Attached::Not(_) => Some(0),
        Attached::Unknown => None,
    };
    metric("ready", "Whether the spare would save the server now.", Some(answer.is_ready().into()));
    metric("attached", "Whether the mirror's disk is attached.", attached);
    metric("reversed", "Whether the system runs from the mirror.", Some(facts.reversed.is_some().into()));
    metric(
        "last_complete_run_timestamp_seconds",
        "When the last complete run ended.",
        good.map(|run| run.ended.unwrap_or(run.started)),
    );
    metric("data_age_limit_seconds", "How old the data may be.", Some(limit(facts)));
    let count = |lines: &Vec<String>| i64::try_from(lines.len()).unwrap_or(i64::MAX);
    metric("boot_problems", "Why the mirror may not boot.", boot.map(|boot| count(&boot.problems)));
    metric(
        "primary_references",
        "What on the mirror names the primary.",
        boot.map(|boot| count(&boot.findings)),
    );
    metric("boot_test_timestamp_seconds", "When the last boot test began.", test.map(|test| test.started));
    metric(
        "boot_test_success",
        "Whether the mirror came up in the last boot test.",
        test.map(|test| (test.verdict == Verdict::Booted).into()),
    );
    out
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::record::{BootRecord, RunRecord, State};
    use crate::render::boot_test::tests::record as boot_test;
    use crate::status::{Opens, Reversed, answer};

    fn facts() -> Facts {
        let good = RunRecord {
            id: 8812,
            state: State::Done,
            ended: Some(99_580),
            boot: Some(BootRecord::default()),
            ..RunRecord::begun("mirror", 99_500)
        };
        Facts {
            name: "mirror".into(),
            title: "Samsung SSD 870 EVO 1TB (S5GX123)".into(),
            now: 100_000,
            interval: 900,
            runs: vec![good],
            boot_test: Some(boot_test(Verdict::Booted, "server login:")),
            attached: Attached::As("/dev/sdb".into()),
            is_scheduled: true,
            opens: Opens::KeyFile,
            ..Facts::default()
        }
    }

    #[test]
    fn a_ready_mirror_is_six_lines() {
        assert_eq!(
            text(&facts(), &answer(&facts())),
            "mirror  Samsung SSD 870 EVO 1TB (S5GX123) (/dev/sdb)                READY
  data     7 min old (limit 30 min), run 8812, complete
  boots    proven 27 h ago (boot-test of run 8812)
  opens    key file used 7 min ago
  alone    0 references to the primary
  deferred nothing
"
        );
    }

    #[test]
    fn one_that_is_not_says_why_and_what_to_do() {
        let mut old = facts();
        old.runs[0].ended = Some(90_000);
        old.runs[0].boot =
            Some(BootRecord { problems: vec!["no boot loader is known".into()], ..BootRecord::default() });
        (old.boot_test, old.is_scheduled) = (None, false);
        assert_eq!(
            text(&old, &answer(&old)),
            "mirror  Samsung SSD 870 EVO 1TB (S5GX123) (/dev/sdb)                NOT READY
  data     2 h old (limit 30 min), run 8812, complete
  boots    not as it should, see below
  opens    key file used 2 h ago
  alone    0 references to the primary
  deferred nothing
  why      the data is 2 h old, and the limit is 30 min
           it may not boot: no boot loader is known
  note     no schedule is installed: diskmirror schedule install
  do       diskmirror run
"
        );
    }

    #[test]
    fn reversed_roles_are_explained() {
        let reversed = Reversed {
            runs_from: "Samsung (S5GX123)".into(),
            old_primary: "WD Red (W1)".into(),
            old_node: Some("/dev/sda".into()),
        };
        let turned = Facts { reversed: Some(reversed), attached: Attached::Unknown, ..facts() };
        assert_eq!(
            text(&turned, &answer(&turned)),
            "mirror  Samsung SSD 870 EVO 1TB (S5GX123)                           NOT READY
  runs on  Samsung (S5GX123), which was the mirror
  before   WD Red (W1), the old primary: is attached as /dev/sda, and holds what it held when it was left
  why      this system runs from what was the mirror: there is no spare now
  do       diskmirror init --mirror DISK
"
        );
    }

    #[test]
    fn nagios_gets_one_line_and_a_state() {
        let (state, line) = nagios(&facts(), &answer(&facts()));
        assert_eq!(state, Nagios::Ok);
        assert_eq!(
            line,
            "DISKMIRROR OK - mirror: READY: data 7 min old (limit 30 min), run 8812, complete; \
             boots proven 27 h ago (boot-test of run 8812) | age=420s;;1800"
        );
        let unscheduled = Facts { is_scheduled: false, ..facts() };
        assert_eq!(nagios(&unscheduled, &answer(&unscheduled)).0, Nagios::Warning);
        let broken = Facts { attached: Attached::Not(vec!["gone | for\ngood".into()]), ..facts() };
        let (state, line) = nagios(&broken, &answer(&broken));
        assert_eq!(state, Nagios::Critical);
        assert!(
            line.starts_with("DISKMIRROR CRITICAL - mirror: NOT READY: gone / for good | age="),
            "{line}"
        );
    }

    #[test]
    fn metrics_are_in_prometheus_format() {
        let text = prometheus(&Facts { name: "a\"b".into(), ..facts() }, &answer(&facts()));
        assert!(
            text.contains("# TYPE diskmirror_ready gauge\ndiskmirror_ready{mirror=\"a\\\"b\"} 1\n"),
            "{text}"
        );
        assert!(text.contains("diskmirror_last_complete_run_timestamp_seconds{mirror=\"a\\\"b\"} 99580\n"));
        assert!(text.contains("diskmirror_boot_test_success{mirror=\"a\\\"b\"} 1\n"));
        let never = Facts { runs: Vec::new(), boot_test: None, ..facts() };
        let text = prometheus(&never, &answer(&never));
        assert!(
            text.contains("diskmirror_ready{mirror=\"mirror\"} 0\n") && !text.contains("boot_test"),
            "{text}"
        );
    }

    #[test]
    fn json_has_the_exact_figures() {
        let value: serde_json::Value =
            serde_json::from_str(&json(&facts(), &answer(&facts()))).expect("it is JSON");
        assert_eq!((&value["ready"], &value["data_age_seconds"]), (&true.into(), &420.into()));
        assert_eq!((&value["boot_test"]["verdict"], &value["node"]), (&"booted".into(), &"/dev/sdb".into()));
    }
}
