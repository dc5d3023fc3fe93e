//! The judge of every copy: rsync, asked what it would still change, must say nothing.

use super::child;
use anyhow::{Context, bail};
use std::ffi::OsString;
use std::path::Path;

/// Lists at most a few of the entries in which `copy` differs from `source`; none if it is equal, times to the
/// nanosecond. What diskmirror keeps in the copy for itself is not looked at.
///
/// # Errors
/// rsync could not be run or failed.
pub fn differences(source: &Path, copy: &Path) -> anyhow::Result<Option<String>> {
    let mut argv: Vec<OsString> =
        ["rsync", "-aHAXxni", "-@-1", "--delete", "--exclude=/.diskmirror"].map(OsString::from).to_vec();
    argv.extend([inside(source), inside(copy)]);
    let said =
        child::prepared(&argv).output().with_context(|| format!("starting {}", child::shown(&argv)))?;
    if !said.status.success() {
        bail!("{}: {}", child::shown(&argv), String::from_utf8_lossy(&said.stderr).trim());
    }
    let listed = String::from_utf8_lossy(&said.stdout);
    let first: Vec<&str> = listed.lines().take(3).collect();
    let rest = listed.lines().count().saturating_sub(first.len());
    let more = if rest > 0 { format!(" and {rest} more") } else { String::new() };
    Ok((!first.is_empty()).then(|| format!("{}{more}", first.join(", "))))
}

/// A directory's content, as rsync is told: with a slash at the end.
pub fn inside(directory: &Path) -> OsString {
    let mut path = directory.as_os_str().to_owned();
    path.push("/");
    path
}
