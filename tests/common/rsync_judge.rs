//! The outside judge: rsync, asked what it would still do, must have nothing to say.

use std::ffi::{OsStr, OsString};
use std::path::Path;
use std::process::Command;

/// What rsync would change on `copy` to make it `source`, as its itemised list; empty if they are equal.
///
/// # Panics
/// If rsync cannot be run, or fails.
pub fn changes(source: &Path, copy: &Path, excludes: &[&str]) -> String {
    let output = Command::new("rsync")
        .args(["-aHAXxn", "-@-1", "--checksum", "--delete", "--itemize-changes"])
        .args(excludes.iter().map(|glob| format!("--exclude={glob}")))
        .args([with_slash(source), with_slash(copy)])
        .env("LC_ALL", "C.UTF-8")
        .output()
        .expect("rsync is installed: the judge of these tests");
    let said = String::from_utf8_lossy(&output.stderr);
    assert!(output.status.success(), "rsync as a judge failed ({}): {said}", output.status);
    String::from_utf8_lossy(&output.stdout).into_owned()
}

fn with_slash(path: &Path) -> OsString {
    let mut text = OsString::from(path.as_os_str());
    text.push(OsStr::new("/"));
    text
}
