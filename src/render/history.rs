//! How `history` lists what was done: a line each, or a JSON list.

use super::run;
use crate::escape;
use crate::record::{BootTestRecord, RunRecord};
use crate::units::duration;
use std::fmt::Write;
use std::time::Duration;

/// A run or a boot test.
#[derive(Debug, Clone, PartialEq)]
pub enum Entry {
    /// A run.
    Run(RunRecord),
    /// A boot test.
    BootTest(BootTestRecord),
}

/// Both lists, each the latest first, as one, no more than `count`. Runs are in the order of their numbers, whatever the clock
/// said, and a boot test comes after the run that it booted.
pub fn merged(runs: Vec<RunRecord>, tests: Vec<BootTestRecord>, count: usize) -> Vec<Entry> {
    let mut tests = tests.into_iter().peekable();
    let mut all = Vec::new();
    for run in runs {
        let is_later = |test: &BootTestRecord| match test.run {
            Some(number) => run.id <= number,
            None => run.started <= test.started,
        };
        while let Some(test) = tests.next_if(is_later) {
            all.push(Entry::BootTest(test));
        }
        all.push(Entry::Run(run));
    }
    all.extend(tests.map(Entry::BootTest));
    all.truncate(count);
    all
}

/// A line each; `local` writes a time.
pub fn text(entries: &[Entry], local: &dyn Fn(i64) -> String) -> String {
    let mut out = String::new();
    for entry in entries {
        let (started, name, state, said) = match entry {
            Entry::Run(record) => {
                (record.started, format!("run {}", record.id), record.state.name(), of_run(record))
            }
            Entry::BootTest(record) => {
                (record.started, "boot-test".into(), record.verdict.name(), of_test(record))
            }
        };
        let _ = writeln!(out, "{name:<10} {}  {state:<10} {}", local(started), escape::line(&said));
    }
    out
}

/// Figures where something was compared, else why not.
fn of_run(record: &RunRecord) -> String {
    match &record.message {
        Some(message) => message.lines().next().unwrap_or_default().to_owned(),
        None if record.ended.is_none() => String::new(),
        None => run::summary(record),
    }
}

fn of_test(record: &BootTestRecord) -> String {
    let took = duration(Duration::from_secs_f64(record.seconds.max(0.0)));
    format!(
        "\"{}\" after {took} ({}, {})",
        record.sign,
        record.firmware.to_uppercase(),
        record.accelerator.to_uppercase()
    )
}

/// A JSON list; `kind` is `run` or `boot_test`.
pub fn json(entries: &[Entry]) -> String {
    let object = |entry: &Entry| {
        let (kind, exit, mut object) = match entry {
            Entry::Run(record) => ("run", record.exit(), serde_json::json!(record)),
            Entry::BootTest(record) => ("boot_test", record.verdict.exit(), serde_json::json!(record)),
        };
        object["kind"] = kind.into();
        object["exit"] = exit.code().into();
        object
    };
    serde_json::Value::from_iter(entries.iter().map(object)).to_string()
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::record::{State, Verdict, VolumeRecord};
    use crate::render::boot_test::tests::record as boot_test;

    fn entries() -> Vec<Entry> {
        let volume = VolumeRecord { entries_scanned: 1204, files_copied: 3, ..VolumeRecord::default() };
        let done = RunRecord {
            id: 7,
            ended: Some(502),
            state: State::Done,
            volumes: vec![volume],
            ..RunRecord::begun("mirror", 500)
        };
        let failed = RunRecord {
            id: 8,
            ended: Some(2001),
            state: State::Failed,
            message: Some("cannot mount it\n  why: so".into()),
            ..RunRecord::begun("mirror", 2000)
        };
        let test = BootTestRecord { run: Some(7), ..boot_test(Verdict::Booted, "server login:") };
        merged(vec![failed, done], vec![test], 20)
    }

    #[test]
    fn runs_and_boot_tests_are_listed_by_time_a_line_each() {
        let text = text(&entries(), &|secs| format!("at {secs}"));
        assert_eq!(
            text,
            "run 8      at 2000  failed     cannot mount it\n\
             boot-test  at 1000  booted     \"server login:\" after 57s (UEFI, KVM)\n\
             run 7      at 500  done       1,204 compared, 3 copied (0 B), 0 deleted, 0 errors, 2.0s\n"
        );
    }

    #[test]
    fn a_clock_that_was_set_back_changes_no_order() {
        let runs = [9, 8, 7].map(|id| RunRecord { id, ..RunRecord::begun("mirror", 10_000 - 1000 * id) });
        let test = BootTestRecord { run: Some(8), ..boot_test(Verdict::Booted, "login:") };
        let names = merged(runs.to_vec(), vec![test], 20);
        let numbers = names.iter().map(|entry| match entry {
            Entry::Run(run) => run.id,
            Entry::BootTest(_) => 0,
        });
        assert_eq!(numbers.collect::<Vec<_>>(), [9, 0, 8, 7]);
    }

    #[test]
    fn json_tells_the_kinds_apart_and_the_oldest_fall_off() {
        let list: serde_json::Value = serde_json::from_str(&json(&entries())).expect("it is JSON");
        let kinds: Vec<_> = list.as_array().expect("a list").iter().map(|entry| &entry["kind"]).collect();
        assert_eq!(kinds, ["run", "boot_test", "run"]);
        assert_eq!((&list[0]["exit"], &list[1]["exit"]), (&1.into(), &0.into()));
        let runs = (0..30).map(|n| RunRecord::begun("mirror", n)).collect();
        assert_eq!(merged(runs, Vec::new(), 20).len(), 20);
    }
}
