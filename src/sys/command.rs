//! Runs the system's own tools: an argv, never a shell; a clean environment; its output and its stderr kept.

use crate::units::Bytes;
use rustix::event::{PollFd, PollFlags, Timespec, poll};
use rustix::process::{Pid, PidfdFlags, pidfd_open};
use std::ffi::OsStr;
use std::io::{self, Read, Write};
use std::os::fd::{AsRawFd, BorrowedFd, RawFd};
use std::os::unix::fs::PermissionsExt;
use std::os::unix::process::{CommandExt, ExitStatusExt};
use std::path::Path;
use std::process::{Child, Command, ExitStatus, Stdio};
use std::sync::atomic::{AtomicBool, Ordering::Relaxed};
use std::time::{Duration, Instant};

/// Where tools are looked for, whatever the caller's environment says.
const PATH: &str = "/usr/local/sbin:/usr/local/bin:/usr/sbin:/usr/bin:/sbin:/bin";

/// What a tool said, and how it ended.
#[derive(Debug, Clone)]
pub struct Said {
    /// The exit status; 128 + N for a signal N.
    pub status: i32,
    /// Its stdout, with anything that is not UTF-8 replaced.
    pub stdout: String,
    /// Its stderr, likewise.
    pub stderr: String,
}

impl Said {
    /// Whether it ended with exit status 0.
    pub fn ok(&self) -> bool {
        self.status == 0
    }
}

/// A tool that did not do what it was to do.
#[derive(Debug, thiserror::Error)]
pub enum ToolError {
    /// It could not be started, or was ended because it took too long.
    #[error("cannot run {line}: {error}")]
    NotRun {
        /// What was to be run.
        line: String,
        /// Why it was not.
        error: io::Error,
    },
    /// It says that it failed.
    #[error("{line} ended with exit code {status}{}{said}", if said.is_empty() { "" } else { ": " })]
    Failed {
        /// What was run.
        line: String,
        /// With what it ended; 128 + N for a signal N.
        status: i32,
        /// The last that it said.
        said: String,
    },
}

/// How long a tool may take that does not take longer where the disk is larger.
const LIMIT: Duration = Duration::from_secs(600);
/// So many lines of what a tool said stand in an error.
const LAST_LINES: usize = 5;

/// Runs a tool that must succeed. An error says what was run, how it ended, and the last that it said.
///
/// # Errors
/// `ToolError`.
pub fn run<S: AsRef<OsStr>>(program: &str, args: &[S], input: &[u8]) -> Result<Said, ToolError> {
    match ask(program, args, input) {
        Ok(said) if said.ok() => Ok(said),
        Ok(Said { status, stdout, stderr }) => {
            let said = if stderr.trim().is_empty() { stdout } else { stderr };
            let lines: Vec<&str> = said.trim().lines().collect();
            let last = &lines[lines.len().saturating_sub(LAST_LINES)..];
            Err(ToolError::Failed { line: line(program, args), status, said: last.join("\n") })
        }
        Err(error) => Err(ToolError::NotRun { line: line(program, args), error }),
    }
}

fn line<S: AsRef<OsStr>>(program: &str, args: &[S]) -> String {
    args.iter().fold(program.to_owned(), |line, arg| format!("{line} {}", arg.as_ref().to_string_lossy()))
}

/// Asks a tool: its exit status is an answer, too. It may take ten minutes.
///
/// # Errors
/// Those of starting the program (`NotFound` if it is not installed) and of talking to it; `TimedOut` if it was ended.
pub fn ask<S: AsRef<OsStr>>(program: &str, args: &[S], input: &[u8]) -> io::Result<Said> {
    within(Some(LIMIT), program, args, input)
}

/// Asks a tool that works as long as the disk is large.
///
/// # Errors
/// Those of starting the program (`NotFound` if it is not installed) and of talking to it.
pub fn ask_at_length<S: AsRef<OsStr>>(program: &str, args: &[S], input: &[u8]) -> io::Result<Said> {
    within(None, program, args, input)
}

/// Waits until udev has seen all that has changed; a system without udev has nothing to wait for.
pub fn settle() {
    // Its failure is nobody's: what counts are later looks at the devices themselves.
    let _ = ask("udevadm", &["settle", "--timeout=30"], b"");
}

static TELLS: AtomicBool = AtomicBool::new(false);

/// From now on every call of a tool is told on stderr, with the seconds that it took.
pub fn tell_calls() {
    TELLS.store(true, Relaxed);
}

/// Runs `program` with `args`, `input` on its stdin, and waits, for `limit` at most.
///
/// The environment is reduced to PATH and the C locale, so that what the tools print can be parsed. The child
/// ignores none of our signals: a TERM to the whole group ends it too.
fn within<S: AsRef<OsStr>>(
    limit: Option<Duration>,
    program: &str,
    args: &[S],
    input: &[u8],
) -> io::Result<Said> {
    let begun = Instant::now();
    let said = talk(limit, program, args, input);
    if TELLS.load(Relaxed) {
        let ended = match &said {
            Ok(said) => format!("exit code {}", said.status),
            Err(error) => error.to_string(),
        };
        let args: Vec<_> = args.iter().map(AsRef::as_ref).collect();
        // A closed stderr is no failure.
        let _ =
            writeln!(io::stderr(), "{:8.3} s  {program} {args:?}: {ended}", begun.elapsed().as_secs_f64());
    }
    said
}

fn talk<S: AsRef<OsStr>>(
    limit: Option<Duration>,
    program: &str,
    args: &[S],
    input: &[u8],
) -> io::Result<Said> {
    let mut child = prepared(program, args)
        .stdin(if input.is_empty() { Stdio::null() } else { Stdio::piped() })
        .stdout(Stdio::piped())
        .stderr(Stdio::piped())
        .spawn()?;
    if let Some(mut stdin) = child.stdin.take() {
        // A tool that has seen enough may close its end; its exit status tells whether that was an error.
        if let Err(error) = stdin.write_all(input)
            && error.kind() != io::ErrorKind::BrokenPipe
        {
            return Err(error);
        }
    }
    let (stdout, stderr) = (child.stdout.take(), child.stderr.take());
    let ((stdout, stderr), status) = std::thread::scope(|scope| {
        let (stdout, stderr) = (scope.spawn(|| kept(stdout)), scope.spawn(|| kept(stderr)));
        let status = ended(&mut child, limit);
        let [stdout, stderr] =
            [stdout, stderr].map(|kept| kept.join().unwrap_or_else(|_| Err(io::ErrorKind::Other.into())));
        ((stdout, stderr), status)
    });
    let status = status?;
    let status = status.code().unwrap_or_else(|| 128 + status.signal().unwrap_or(0));
    Ok(Said { status, stdout: stdout?, stderr: stderr? })
}

/// Waits for the end of a child, and brings it about when the time is over.
fn ended(child: &mut Child, limit: Option<Duration>) -> io::Result<ExitStatus> {
    if let Some(limit) = limit
        && !ends_within(child, limit)?
    {
        child.kill()?;
        child.wait()?;
        let why = format!("it did not end within {} seconds, and was killed", limit.as_secs());
        return Err(io::Error::new(io::ErrorKind::TimedOut, why));
    }
    child.wait()
}

fn ends_within(child: &Child, limit: Duration) -> io::Result<bool> {
    let pid = Pid::from_child(child);
    // A kernel before 5.3 has no such descriptors, and nothing is ended there.
    let Ok(process) = pidfd_open(pid, PidfdFlags::empty()) else { return Ok(true) };
    let end = Instant::now() + limit;
    loop {
        let rest =
            Timespec::try_from(end.saturating_duration_since(Instant::now())).map_err(io::Error::other)?;
        match poll(&mut [PollFd::new(&process, PollFlags::IN)], Some(&rest)) {
            Err(rustix::io::Errno::INTR) => {}
            polled => return Ok(polled? > 0),
        }
    }
}

/// What a tool says is kept up to here: one that has been given a disk of somebody else's may say more than fits in memory.
const MOST_SAID: u64 = 16 << 20;

/// What a stream says, with anything that is not UTF-8 replaced; read to its end, however long that is.
fn kept(stream: Option<impl Read>) -> io::Result<String> {
    let Some(mut stream) = stream else { return Ok(String::new()) };
    let mut bytes = Vec::new();
    stream.by_ref().take(MOST_SAID).read_to_end(&mut bytes)?;
    let left_out = io::copy(&mut stream, &mut io::sink())?;
    let mut said = String::from_utf8_lossy(&bytes).into_owned();
    if left_out > 0 {
        said += &format!("\n(cut off here: {} more were said)", Bytes(left_out));
    }
    Ok(said)
}

/// A command with the clean environment, for callers that need more than `ask` gives.
pub fn prepared<S: AsRef<OsStr>>(program: &str, args: &[S]) -> Command {
    let mut command = Command::new(program);
    command.args(args).env_clear();
    command.env("PATH", PATH);
    command
        .env("LC_ALL", "C.UTF-8")
        .env("LVM_SUPPRESS_FD_WARNINGS", "1")
        .env("DEBIAN_FRONTEND", "noninteractive");
    command
}

/// The command, which will have these descriptors open under the numbers that are given back. They must stay open until it
/// is started; nothing else that is started inherits them.
pub fn inheriting(mut command: Command, descriptors: &[BorrowedFd<'_>]) -> (Command, Vec<RawFd>) {
    let numbers: Vec<RawFd> = descriptors.iter().map(AsRawFd::as_raw_fd).collect();
    let kept = numbers.clone();
    let keep = move || {
        for number in &kept {
            // SAFETY: used for one fcntl in the child, which says itself whether the descriptor is open.
            let descriptor = unsafe { BorrowedFd::borrow_raw(*number) };
            rustix::io::fcntl_setfd(descriptor, rustix::io::FdFlags::empty())?;
        }
        Ok(())
    };
    // SAFETY: between fork and exec only fcntl(2) is called, which is safe there (signal-safety(7)); nothing is allocated.
    unsafe { command.pre_exec(keep) };
    (command, numbers)
}

/// Whether `program` would be found.
pub fn is_installed(program: &str) -> bool {
    let is_program = |path: &Path| {
        path.metadata().is_ok_and(|meta| meta.is_file() && meta.permissions().mode() & 0o111 != 0)
    };
    PATH.split(':').any(|dir| is_program(&Path::new(dir).join(program)))
}

#[cfg(test)]
mod tests {
    use super::{ask, inheriting, is_installed, prepared, run, within};
    use std::os::fd::AsFd;
    use std::time::{Duration, Instant};

    #[test]
    fn a_descriptor_is_given_to_one_command_and_to_no_other() {
        let file = std::fs::File::open("/dev/null").expect("it is there");
        let (mut command, numbers) =
            inheriting(prepared("sh", &["-c", "ls /proc/self/fd/$0"]), &[file.as_fd()]);
        let number = numbers[0].to_string();
        assert!(command.arg(&number).output().expect("it runs").status.success());
        assert!(!ask("sh", &["-c", "ls /proc/self/fd/$0", &number], b"").expect("it runs").ok());
    }

    #[test]
    fn a_tool_is_given_its_input_and_an_environment_it_can_be_parsed_in() {
        let said = ask("sh", &["-c", "cat; echo $LC_ALL$HOME >&2; exit 3"], b"in").expect("sh is everywhere");
        assert_eq!((said.status, said.stdout.as_str(), said.stderr.as_str()), (3, "in", "C.UTF-8\n"));
    }

    #[test]
    fn a_tool_that_fails_is_told_with_its_last_words() {
        let error = run("sh", &["-c", "seq 9 >&2; exit 3"], b"").expect_err("it fails");
        assert_eq!(error.to_string(), "sh -c seq 9 >&2; exit 3 ended with exit code 3: 5\n6\n7\n8\n9");
        let error = run("sh", &["-c", "echo out; kill -9 $$"], b"").expect_err("it is killed");
        assert_eq!(error.to_string(), "sh -c echo out; kill -9 $$ ended with exit code 137: out");
        let error = run("false", &[] as &[&str], b"").expect_err("it fails");
        assert_eq!(error.to_string(), "false ended with exit code 1");
    }

    #[test]
    fn a_tool_that_does_not_end_is_ended() {
        let begun = Instant::now();
        let error =
            within(Some(Duration::from_secs(1)), "sleep", &["600"], b"").expect_err("it takes too long");
        assert_eq!(error.kind(), std::io::ErrorKind::TimedOut);
        assert!(begun.elapsed() < Duration::from_secs(300), "it was not waited for");
    }

    #[test]
    fn a_tool_that_speaks_without_end_does_not_fill_the_memory() {
        let said =
            ask("sh", &["-c", "head -c 40000000 /dev/zero >&2; echo out"], b"").expect("sh is everywhere");
        assert!(said.ok() && said.stdout == "out\n");
        assert!(said.stderr.len() < 17 << 20 && said.stderr.ends_with("more were said)"));
    }

    #[test]
    fn a_tool_that_is_not_installed_is_told_from_one_that_fails() {
        let error = ask::<&str>("no-such-tool-anywhere", &[], b"").expect_err("it does not exist");
        assert_eq!(error.kind(), std::io::ErrorKind::NotFound);
        assert!(is_installed("sh") && !is_installed("no-such-tool-anywhere"));
    }
}
