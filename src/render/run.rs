//! How a run tells what it did: a line, a log entry, an object.

use crate::escape;
use crate::layer::schedule::INTERVAL_SECS;
use crate::record::{BootRecord, RunRecord, VolumeRecord};
use crate::units::{Bytes, duration, thousands};
use std::time::Duration;

/// `412,906 compared, 1,204 copied (3.10 GiB), 88 deleted, 0 errors, 1m42s`, and what of it was waited on purpose.
pub fn summary(record: &RunRecord) -> String {
    let total = record.total();
    let lasted = record.ended.map_or(0, |ended| (ended - record.started).max(0));
    let figures = figures(&VolumeRecord { seconds: total.seconds.max(lasted as f64), ..total });
    let waited = record.waited.words().map(|words| format!(" ({words})"));
    figures + &waited.unwrap_or_default() + &late(record).map(|late| format!(", {late}")).unwrap_or_default()
}

/// `4 times the interval`, of a run that took that long.
fn late(record: &RunRecord) -> Option<String> {
    record.late(INTERVAL_SECS).map(|intervals| format!("{intervals} times the interval"))
}

/// The same of one tree.
pub fn figures(figures: &VolumeRecord) -> String {
    let repaired = match figures.repaired {
        0 => String::new(),
        n => format!("{} repaired, ", thousands(n)),
    };
    format!(
        "{} compared, {} copied ({}), {} deleted, {repaired}{} errors, {}",
        thousands(figures.entries_scanned),
        thousands(figures.files_copied),
        Bytes(figures.bytes_copied),
        thousands(figures.deleted),
        thousands(figures.errors),
        duration(Duration::from_secs_f64(figures.seconds))
    )
}

/// The figures of one tree that is no volume of a mirror, as an object: what `sync --json` ends with.
pub fn figures_json(figures: &VolumeRecord) -> serde_json::Value {
    let mut object = serde_json::json!(figures);
    if let Some(fields) = object.as_object_mut() {
        fields.remove("mount");
        fields.remove("repaired");
    }
    object
}

/// The run as one JSON object: `{"volumes":[…],"state","exit","waited"}`, the message if there is one, and how many intervals
/// it took if these are too many.
pub fn json(record: &RunRecord) -> String {
    let mut object = serde_json::json!({
        "volumes": record.volumes,
        "state": record.state.name(),
        "exit": record.exit().code(),
        "waited": record.waited,
    });
    if let Some(intervals) = record.late(INTERVAL_SECS) {
        object["intervals"] = intervals.into();
    }
    if let Some(message) = &record.message {
        object["message"] = message.as_str().into();
    }
    if let Some(boot) = &record.boot {
        object["boot"] = serde_json::json!(boot);
    }
    if let Some(verified) = &record.verified {
        let mut total = serde_json::json!(verified);
        total.as_object_mut().and_then(|fields| fields.remove("mount"));
        object["verified"] = total;
    }
    if !record.errors.is_empty() {
        object["errors"] = record.errors.clone().into();
    }
    object.to_string()
}

/// Why the mirror may not boot alone, a line each.
pub fn boot_lines(record: &RunRecord) -> Vec<String> {
    let boot = record.boot.iter();
    let lines = |what, lines: &[String]| {
        lines.iter().map(|line| escape::line(&format!("{what}: {line}")).into_owned()).collect::<Vec<_>>()
    };
    let told = |boot: &BootRecord| {
        [lines("boot", &boot.problems), lines("audit", &boot.findings), lines("remark", &boot.remarks)]
            .concat()
    };
    boot.flat_map(told).collect()
}

/// The run's lines in the log, each with the time `now`.
pub fn log_lines(record: &RunRecord, now: &str) -> String {
    let head = match record.id {
        0 => String::new(),
        id => format!(" {id}"),
    };
    let mut lines =
        vec![format!("run{head} of {}: {}: {}", record.mirror, record.state.name(), summary(record))];
    lines.extend(record.message.iter().flat_map(|message| message.lines()).map(|line| format!("  {line}")));
    lines.extend(record.errors.iter().map(|error| format!("  {error}")));
    let kept = record.errors.len() as u64;
    let left_out = record.total().errors.saturating_sub(kept);
    if kept > 0 && left_out > 0 {
        lines.push(format!("  … and {} more errors", thousands(left_out)));
    }
    lines.extend(boot_lines(record).iter().map(|error| format!("  {error}")));
    lines.iter().map(|line| format!("{now} {}\n", escape::line(line))).collect()
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::record::{State, Waited};

    #[test]
    fn a_log_has_a_line_for_each_thing_whatever_it_is_called() {
        let boot = BootRecord {
            problems: vec!["/efi/\x1b[2J\nerror: x".into()],
            findings: vec!["a\rb".into()],
            remarks: Vec::new(),
            digest: None,
        };
        let record = RunRecord { boot: Some(boot), ..RunRecord::begun("mirror", 0) };
        let log = log_lines(&record, "NOW");
        assert!(log.lines().all(|line| line.starts_with("NOW ")), "{log}");
        assert!(!log.contains(|c: char| c.is_control() && c != '\n'), "{log}");
    }

    fn record() -> RunRecord {
        let volume = VolumeRecord {
            mount: "/".into(),
            entries_scanned: 412_906,
            files_copied: 1204,
            bytes_copied: 3_328_599_655,
            deleted: 88,
            seconds: 101.9,
            ..VolumeRecord::default()
        };
        RunRecord {
            ended: Some(1102),
            state: State::Done,
            volumes: vec![volume],
            ..RunRecord::begun("mirror", 1000)
        }
    }

    #[test]
    fn a_summary_is_one_line() {
        assert_eq!(
            summary(&record()),
            "412,906 compared, 1,204 copied (3.10 GiB), 88 deleted, 0 errors, 1m42s"
        );
    }

    #[test]
    fn a_run_that_waited_or_was_late_says_so_in_its_line() {
        let waited = Waited { limit: 0.0, others: 3000.0 };
        let record = RunRecord { ended: Some(4700), waited, ..record() };
        let line = summary(&record);
        assert!(
            line.ends_with(", 0 errors, 1h01m (waited 50m00s for others), 4 times the interval"),
            "{line}"
        );
        let value: serde_json::Value = serde_json::from_str(&json(&record)).expect("it is JSON");
        assert_eq!((&value["waited"]["others"], &value["intervals"]), (&3000.0.into(), &4.into()));
    }

    #[test]
    fn every_line_of_the_log_has_its_time() {
        let mut record = record();
        (record.id, record.state, record.message) = (7, State::Failed, Some("it\n  why: so".into()));
        let text = log_lines(&record, "2026-11-23T01:02:03+01:00");
        assert!(
            text.starts_with("2026-11-23T01:02:03+01:00 run 7 of mirror: failed: 412,906 compared"),
            "{text}"
        );
        assert!(
            text.lines().all(|line| line.starts_with("2026-11-23T01:02:03+01:00 "))
                && text.lines().count() == 3
        );
    }

    #[test]
    fn json_says_how_it_ended() {
        let value: serde_json::Value = serde_json::from_str(&json(&record())).expect("it is JSON");
        assert_eq!((&value["state"], &value["exit"]), (&"done".into(), &0.into()));
        assert_eq!(
            (&value["volumes"][0]["mount"], &value["volumes"][0]["deleted"]),
            (&"/".into(), &88.into())
        );
    }
}
