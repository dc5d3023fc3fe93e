//! Runs one tool to its end, and says what it cost: wall time, processor time, memory. The only `unsafe` of the bench.

use anyhow::{Context, bail};
use diskmirror::sys::signal;
use rustix::process::{Pid, Signal, kill_process_group};
use std::ffi::OsString;
use std::fs::File;
use std::io;
use std::os::unix::process::{CommandExt, ExitStatusExt};
use std::path::Path;
use std::process::{Child, Command, ExitStatus, Stdio};
use std::sync::mpsc::{self, RecvTimeoutError};
use std::time::{Duration, Instant};

/// How long a signal may wait while a tool runs.
const LOOK_EVERY: Duration = Duration::from_millis(200);

/// What a run cost.
#[derive(Debug, Clone, Copy, Default)]
pub struct Cost {
    /// From the start of the process to the end of the flush.
    pub seconds: f64,
    /// User and system time of the process and of all that it started and waited for.
    pub cpu_seconds: f64,
    /// The largest resident set of any one of these processes, in KiB.
    pub peak_kib: u64,
    /// What all of them had read from and written to file systems, in KiB; what they found in the page cache is not
    /// read.
    pub read_kib: u64,
    /// Likewise.
    pub written_kib: u64,
}

/// Runs `argv`, then `flush`, and takes the time of both. What it says on stderr goes to the file `log`.
///
/// # Errors
/// Those of starting it; one that ends with its last words if it fails.
pub fn run(
    argv: &[OsString],
    log: &Path,
    flush: impl FnOnce() -> anyhow::Result<()>,
) -> anyhow::Result<Cost> {
    let stderr = File::create(log).with_context(|| format!("creating {}", log.display()))?;
    let begun = Instant::now();
    let child = prepared(argv).stdout(Stdio::null()).stderr(stderr).process_group(0).spawn();
    let child = child.with_context(|| format!("starting {}", shown(argv)))?;
    let (status, cost) = wait_or_stop(child).with_context(|| format!("waiting for {}", shown(argv)))?;
    if !status.success() {
        bail!("{}: {status}: {}", shown(argv), last_words(log));
    }
    flush()?;
    Ok(Cost { seconds: begun.elapsed().as_secs_f64(), ..cost })
}

/// A command whose output does not depend on where it is run.
pub fn prepared(argv: &[OsString]) -> Command {
    let mut command = Command::new(&argv[0]);
    command.args(&argv[1..]).env("LC_ALL", "C.UTF-8").stdin(Stdio::null());
    command
}

/// A command line as it would be typed.
pub fn shown(argv: &[OsString]) -> String {
    let words = argv.iter().map(|word| diskmirror::step::quoted(&word.to_string_lossy()));
    words.collect::<Vec<_>>().join(" ")
}

/// Waits for it. Asked to stop meanwhile, it ends the child and all that this has started, and still waits.
fn wait_or_stop(child: Child) -> io::Result<(ExitStatus, Cost)> {
    let group = i32::try_from(child.id()).ok().and_then(Pid::from_raw);
    std::thread::scope(|scope| {
        let (ended, has_ended) = mpsc::channel::<()>();
        scope.spawn(move || {
            while has_ended.recv_timeout(LOOK_EVERY) == Err(RecvTimeoutError::Timeout) {
                if signal::stop_requested() {
                    let _ = group.map(|group| kill_process_group(group, Signal::TERM));
                }
            }
        });
        let waited = wait(child);
        drop(ended);
        waited
    })
}

/// Waits for it as wait(2) does, and is told what it used. `std` waits, but does not tell.
fn wait(child: Child) -> io::Result<(ExitStatus, Cost)> {
    let pid = libc::pid_t::try_from(child.id()).map_err(io::Error::other)?;
    let mut status = 0;
    // SAFETY: a structure of integers, for which zeros are values.
    let mut usage: libc::rusage = unsafe { std::mem::zeroed() };
    // SAFETY: both are ours and live through the call; the process is our child, and nobody else waits for it.
    while unsafe { libc::wait4(pid, &raw mut status, 0, &raw mut usage) } < 0 {
        let error = io::Error::last_os_error();
        if error.kind() != io::ErrorKind::Interrupted {
            return Err(error);
        }
    }
    let cpu_seconds = seconds(usage.ru_utime) + seconds(usage.ru_stime);
    let count = |value: libc::c_long| u64::try_from(value).unwrap_or(0);
    // Blocks are of 512 bytes here, whatever the file system's are: getrusage(2).
    let (read_kib, written_kib) = (count(usage.ru_inblock) / 2, count(usage.ru_oublock) / 2);
    let cost = Cost { seconds: 0.0, cpu_seconds, peak_kib: count(usage.ru_maxrss), read_kib, written_kib };
    Ok((ExitStatus::from_raw(status), cost))
}

fn seconds(time: libc::timeval) -> f64 {
    time.tv_sec as f64 + time.tv_usec as f64 / 1e6
}

/// The end of what it wrote to its stderr.
fn last_words(log: &Path) -> String {
    let text = std::fs::read(log).unwrap_or_default();
    let text = String::from_utf8_lossy(&text);
    let lines: Vec<&str> = text.lines().collect();
    lines[lines.len().saturating_sub(4)..].join(" / ")
}

#[cfg(test)]
mod tests {
    use super::run;
    use std::ffi::OsString;

    fn sh(script: &str) -> Vec<OsString> {
        ["sh", "-c", script].map(OsString::from).to_vec()
    }

    #[test]
    fn what_a_child_of_the_child_used_is_counted() {
        let log = tempfile::NamedTempFile::new().expect("a file");
        let work = "i=0; while [ $i -lt 100000 ]; do i=$((i+1)); done";
        let cost = run(&sh(&format!("sh -c '{work}'; true")), log.path(), || Ok(())).expect("it succeeds");
        assert!(cost.cpu_seconds > 0.0 && cost.seconds > 0.0 && cost.peak_kib > 0, "{cost:?}");
    }

    #[test]
    fn a_tool_that_fails_is_quoted() {
        let log = tempfile::NamedTempFile::new().expect("a file");
        let error = run(&sh("echo no space left >&2; exit 3"), log.path(), || Ok(())).expect_err("it fails");
        let text = format!("{error:#}");
        assert!(text.contains("no space left") && text.contains("exit status: 3"), "{text}");
    }
}
