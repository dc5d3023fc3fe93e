//! What the commands print: a reader that has seen enough is no failure, and nobody panics because a disk is full.

use crate::exit_code::Exit;
use crate::monitor::Monitor;
use std::io::{self, Write};

/// Prints a line on stdout.
///
/// # Errors
/// The system's, but for a pipe that nobody reads from any more.
pub fn line(text: &str) -> io::Result<()> {
    print(&format!("{text}\n"))
}

/// Prints a text as it is.
///
/// # Errors
/// As `line`.
pub fn print(text: &str) -> io::Result<()> {
    let mut out = io::stdout().lock();
    unless_closed(out.write_all(text.as_bytes()).and_then(|()| out.flush()))
}

/// What a list on stdout ended with: a closed pipe is no failure.
///
/// # Errors
/// As `line`.
pub fn unless_closed(written: io::Result<()>) -> io::Result<()> {
    match written {
        Err(error) if error.kind() == io::ErrorKind::BrokenPipe => Ok(()),
        other => other,
    }
}

/// Says on stderr what stopped the program. Where that cannot be written either, the exit code says it.
pub fn error(text: &dyn std::fmt::Display) {
    note(&format!("error: {text}"));
}

/// Says something on stderr.
pub fn note(text: &str) {
    let _ = writeln!(io::stderr().lock(), "{text}");
}

/// Says that what was done is not in the history; the exit code is that of what was done, and if that was well, of a part
/// that is missing.
pub fn not_kept(monitor: &dyn Monitor, error: &anyhow::Error, exit: Exit) -> Exit {
    monitor.warn(&format!("the record of this is not in the history: {error:#}"));
    if exit == Exit::Done { Exit::Incomplete } else { exit }
}
