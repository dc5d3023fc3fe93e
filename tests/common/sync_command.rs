//! Runs `diskmirror sync` as a user would, and reads what it reports.

use super::raw::wait_with_peak;
use serde_json::Value;
use std::ffi::OsString;
use std::fs::File;
use std::io::{Read, Seek, SeekFrom};
use std::path::Path;
use std::process::{Command, Stdio};

/// How a sync ended.
#[derive(Debug)]
pub struct Report {
    /// The exit code; -1 if a signal ended it.
    pub exit: i32,
    /// The JSON object on stdout; null if there was none.
    pub json: Value,
    /// Everything on stderr.
    pub stderr: String,
}

impl Report {
    /// A count of the JSON object.
    ///
    /// # Panics
    /// If it is missing: the fields are a contract.
    pub fn count(&self, field: &str) -> u64 {
        let found = self.json.get(field).and_then(Value::as_u64);
        found.unwrap_or_else(|| panic!("the report has no count {field:?}: {self:?}"))
    }
    /// Requires exit code 0 and no errors counted.
    pub fn expect_done(self) -> Self {
        assert_eq!(self.exit, 0, "sync failed: {self:#?}");
        assert_eq!(self.count("errors"), 0, "sync counted errors: {self:#?}");
        self
    }
    /// Requires that nothing was changed.
    pub fn expect_no_change(self, when: &str) -> Self {
        for field in CHANGES {
            assert_eq!(self.count(field), 0, "{when}: {field} is not 0: {:#?}", self.json);
        }
        self
    }
}

/// The counts that tell of a change.
pub const CHANGES: [&str; 5] = ["files_copied", "metadata_changed", "deleted", "hardlinks", "renamed"];

/// All counts: those of a dry run are those of the sync that follows.
pub const FIGURES: [&str; 8] = [
    "entries_scanned",
    "files_copied",
    "bytes_copied",
    "metadata_changed",
    "deleted",
    "hardlinks",
    "renamed",
    "errors",
];

/// The program under judgement: `DISKMIRROR_BIN` names another than the one just built.
pub fn program() -> OsString {
    std::env::var_os("DISKMIRROR_BIN").unwrap_or_else(|| env!("CARGO_BIN_EXE_diskmirror").into())
}

/// `diskmirror sync --json SOURCE COPY`, with more arguments, ready to be started.
pub fn command(source: &Path, copy: &Path, arguments: &[&str]) -> Command {
    let mut command = Command::new(program());
    command.args(["sync", "--json"]).args(arguments).arg("--").arg(source).arg(copy).stdin(Stdio::null());
    command
}

/// The same with a catalog.
pub fn with_catalog(source: &Path, copy: &Path, catalog: &Path, arguments: &[&str]) -> Command {
    let mut command = Command::new(program());
    command
        .args(["sync", "--json", "--catalog"])
        .arg(catalog)
        .args(arguments)
        .arg("--")
        .arg(source)
        .arg(copy);
    command.stdin(Stdio::null());
    command
}

/// Runs it to its end.
pub fn run(source: &Path, copy: &Path, arguments: &[&str]) -> Report {
    finish(&mut command(source, copy, arguments))
}

/// Runs it, and requires that everything was copied.
pub fn sync(source: &Path, copy: &Path) -> Report {
    run(source, copy, &[]).expect_done()
}

/// Runs a prepared command to its end.
pub fn finish(command: &mut Command) -> Report {
    let output = command.output().expect("the program under judgement can be run");
    report(output.status.code().unwrap_or(-1), &output.stdout, &output.stderr)
}

fn report(exit: i32, stdout: &[u8], stderr: &[u8]) -> Report {
    let json = stdout.split(|byte| *byte == b'\n').rev().find(|line| line.starts_with(b"{"));
    Report {
        exit,
        json: json.and_then(|line| serde_json::from_slice(line).ok()).unwrap_or(Value::Null),
        stderr: String::from_utf8_lossy(stderr).into_owned(),
    }
}

/// The same, and the peak of its memory, in bytes: its own, or that of the largest of its children.
pub fn finish_with_peak(command: &mut Command) -> (Report, u64) {
    let [out, err] = ["out", "err"].map(|_| tempfile::tempfile().expect("a file for what it says"));
    command.stdin(Stdio::null()).stdout(out.try_clone().unwrap()).stderr(err.try_clone().unwrap());
    let child = command.spawn().expect("the program under judgement can be run");
    let (exit, peak) = wait_with_peak(child);
    let said = |mut file: File| {
        let mut text = Vec::new();
        file.seek(SeekFrom::Start(0)).and_then(|_| file.read_to_end(&mut text)).expect("what it said");
        text
    };
    (report(exit, &said(out), &said(err)), peak)
}
