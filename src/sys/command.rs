//! Runs the system's own tools: an argv, never a shell; a clean environment; its output and its stderr kept.

use crate::units::Bytes;
use std::ffi::OsStr;
use std::io::{self, Read, Write};
use std::os::fd::{AsRawFd, BorrowedFd, RawFd};
use std::os::unix::fs::PermissionsExt;
use std::os::unix::process::{CommandExt, ExitStatusExt};
use std::path::Path;
use std::process::{Command, Stdio};

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

/// Runs `program` with `args`, `input` on its stdin, and waits.
///
/// The environment is reduced to PATH and the C locale, so that what the tools print can be parsed. The child
/// ignores none of our signals: a TERM to the whole group ends it too.
///
/// # Errors
/// Those of starting the program (`NotFound` if it is not installed) and of talking to it.
pub fn run<S: AsRef<OsStr>>(program: &str, args: &[S], input: &[u8]) -> io::Result<Said> {
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
    let (stdout, stderr) = std::thread::scope(|scope| {
        let stderr = scope.spawn(|| kept(stderr));
        (kept(stdout), stderr.join().unwrap_or_else(|_| Err(io::ErrorKind::Other.into())))
    });
    let status = child.wait()?;
    let status = status.code().unwrap_or_else(|| 128 + status.signal().unwrap_or(0));
    Ok(Said { status, stdout: stdout?, stderr: stderr? })
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

/// A command with the clean environment, for callers that need more than `run` gives.
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

/// Whether `run` would find `program`.
pub fn is_installed(program: &str) -> bool {
    let is_program = |path: &Path| {
        path.metadata().is_ok_and(|meta| meta.is_file() && meta.permissions().mode() & 0o111 != 0)
    };
    PATH.split(':').any(|dir| is_program(&Path::new(dir).join(program)))
}

#[cfg(test)]
mod tests {
    use super::{inheriting, is_installed, prepared, run};
    use std::os::fd::AsFd;

    #[test]
    fn a_descriptor_is_given_to_one_command_and_to_no_other() {
        let file = std::fs::File::open("/dev/null").expect("it is there");
        let (mut command, numbers) =
            inheriting(prepared("sh", &["-c", "ls /proc/self/fd/$0"]), &[file.as_fd()]);
        let number = numbers[0].to_string();
        assert!(command.arg(&number).output().expect("it runs").status.success());
        assert!(!run("sh", &["-c", "ls /proc/self/fd/$0", &number], b"").expect("it runs").ok());
    }

    #[test]
    fn a_tool_is_given_its_input_and_an_environment_it_can_be_parsed_in() {
        let said = run("sh", &["-c", "cat; echo $LC_ALL$HOME >&2; exit 3"], b"in").expect("sh is everywhere");
        assert_eq!((said.status, said.stdout.as_str(), said.stderr.as_str()), (3, "in", "C.UTF-8\n"));
    }

    #[test]
    fn a_tool_that_speaks_without_end_does_not_fill_the_memory() {
        let said =
            run("sh", &["-c", "head -c 40000000 /dev/zero >&2; echo out"], b"").expect("sh is everywhere");
        assert!(said.ok() && said.stdout == "out\n");
        assert!(said.stderr.len() < 17 << 20 && said.stderr.ends_with("more were said)"));
    }

    #[test]
    fn a_tool_that_is_not_installed_is_told_from_one_that_fails() {
        let error = run::<&str>("no-such-tool-anywhere", &[], b"").expect_err("it does not exist");
        assert_eq!(error.kind(), std::io::ErrorKind::NotFound);
        assert!(is_installed("sh") && !is_installed("no-such-tool-anywhere"));
    }
}
