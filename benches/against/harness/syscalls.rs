//! Counts the system calls of a run: with perf where the kernel lets it, which costs little; else with strace.

use super::child;
use anyhow::Context;
use std::ffi::OsString;
use std::fs;
use std::path::Path;

/// What counts.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Counter {
    /// `perf stat -e raw_syscalls:sys_enter`.
    Perf,
    /// `strace -f -c`.
    Strace,
}

impl Counter {
    /// One that works here; none if neither does.
    pub fn find(scratch: &Path) -> Option<Counter> {
        let works =
            |counter: &Counter| counter.count(&[OsString::from("true")], scratch).is_ok_and(|n| n > 0);
        [Counter::Perf, Counter::Strace].into_iter().find(works)
    }
    /// Its name.
    pub fn name(self) -> &'static str {
        match self {
            Counter::Perf => "perf",
            Counter::Strace => "strace",
        }
    }
    /// The calls of `argv` and of everything it starts.
    ///
    /// # Errors
    /// It could not be run or counted.
    pub fn count(self, argv: &[OsString], scratch: &Path) -> anyhow::Result<u64> {
        let said = scratch.join("system-calls");
        let before: Vec<&str> = match self {
            Counter::Perf => vec!["perf", "stat", "-e", "raw_syscalls:sys_enter", "-x,", "-o"],
            Counter::Strace => vec!["strace", "-f", "-c", "-o"],
        };
        let mut counted: Vec<OsString> = before.into_iter().map(OsString::from).collect();
        counted.extend([said.clone().into_os_string(), "--".into()]);
        counted.extend_from_slice(argv);
        child::run(&counted, &scratch.join("log"), || Ok(()))?;
        let text = fs::read_to_string(&said).with_context(|| format!("reading {}", said.display()))?;
        match self {
            Counter::Perf => from_perf(&text),
            Counter::Strace => from_strace(&text),
        }
        .with_context(|| format!("{} counted nothing: {text}", self.name()))
    }
}

/// `VALUE,UNIT,EVENT,…`: perf-stat(1), CSV format. The value is `<not supported>` where there is none.
fn from_perf(text: &str) -> Option<u64> {
    let line = text.lines().find(|line| line.contains("raw_syscalls:sys_enter"))?;
    line.split(',').next()?.parse().ok()
}

/// `% time, seconds, usecs/call, calls[, errors], syscall`, a line a call. The total is left out: older versions
/// leave out a column of it.
fn from_strace(text: &str) -> Option<u64> {
    let calls = |line: &str| {
        let fields: Vec<&str> = line.split_whitespace().collect();
        let is_call =
            fields.len() >= 5 && fields[0].parse::<f64>().is_ok() && fields.last() != Some(&"total");
        if is_call { fields[3].parse::<u64>().ok() } else { None }
    };
    Some(text.lines().filter_map(calls).sum()).filter(|sum| *sum > 0)
}

#[cfg(test)]
mod tests {
    use super::{Counter, from_perf, from_strace};
    use std::ffi::OsString;

    #[test]
    fn what_says_that_it_counts_does() {
        let scratch = tempfile::tempdir().expect("a directory");
        // Neither need be there, or be let.
        if let Some(counter) = Counter::find(scratch.path()) {
            let argv = ["sh", "-c", "true; (true)"].map(OsString::from);
            let calls = counter.count(&argv, scratch.path()).expect("it has just counted");
            assert!((10..2000).contains(&calls), "{}: {calls}", counter.name());
        }
    }

    #[test]
    fn perf_is_understood() {
        let text = "# started on Wed Nov 25 13:08:38 2026\n\n145,,raw_syscalls:sys_enter,1428364,100.00,,\n";
        assert_eq!(from_perf(text), Some(145));
        assert_eq!(from_perf("<not supported>,,raw_syscalls:sys_enter,0,100.00,,\n"), None);
    }

    #[test]
    fn strace_is_understood_with_and_without_errors() {
        let text = "\
% time     seconds  usecs/call     calls    errors syscall
------ ----------- ----------- --------- --------- ----------------
 61.83    0.001275         255         5           execve
 38.17    0.000787           8        94         3 openat
------ ----------- ----------- --------- --------- ----------------
100.00    0.002062          20        99         3 total
";
        assert_eq!(from_strace(text), Some(99));
        assert_eq!(from_strace("strace: exec: not found\n"), None);
    }
}
