//! How `status` tells its answer: to people, to programs, to Nagios, to Prometheus.

use crate::record::Verdict;
use crate::status::{Answer, Attached, Facts, limit};
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
    let head = format!("{}  {title}", facts.name);
    let mut out = format!("{head:<VERDICT_COLUMN$} {verdict}\n");
    let mut lines: Vec<(&str, &str)> =
        answer.lines.iter().map(|(name, text)| (*name, text.as_str())).collect();
    for (name, all) in [("why", &answer.reasons), ("note", &answer.remarks)] {
        let named = all.iter().enumerate().map(|(n, text)| (if n == 0 { name } else { "" }, text.as_str()));
        lines.extend(named);
    }
    lines.extend(answer.next.as_deref().map(|command| ("do", command)));
    for (name, text) in lines {
        let _ = writeln!(out, "  {name:<8} {text}");
    }
    out
}

/// The answer as one JSON object.
pub fn json(facts: &Facts, answer: &Answer) -> String {
    let good = answer.good.as_ref();
    let age = good.map(|run| facts.now - run.ended.unwrap_or(run.started));
    let boot = good.and_then(|run| run.boot.as_ref());
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
        "boot": boot,
        "boot_test": facts.boot_test,
        "running_since": facts.locked_since,
        "scheduled": facts.is_scheduled,
        "reversed": reversed,
    })
    .to_string()
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
    let age = answer.good.as_ref().map(|run| facts.now - run.ended.unwrap_or(run.started));
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
    format!("DISKMIRROR {name} - {}", text.replace('|', "/").replace(['\n', '\r'], " "))
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
    let boot = good.and_then(|run| run.boot.as_ref());
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
