//! Runs the system's own tools: an argv, never a shell; a clean environment; its output and its stderr kept.

use std::ffi::OsStr;
use std::io::{self, Write};
use std::os::unix::fs::PermissionsExt;
use std::path::Path;
use std::process::{Command, Output, Stdio};

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
    child.wait_with_output().map(said)
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

/// Whether `run` would find `program`.
pub fn is_installed(program: &str) -> bool {
    let is_program = |path: &Path| {
        path.metadata().is_ok_and(|meta| meta.is_file() && meta.permissions().mode() & 0o111 != 0)
    };
    PATH.split(':').any(|dir| is_program(&Path::new(dir).join(program)))
}

fn said(output: Output) -> Said {
    use std::os::unix::process::ExitStatusExt;
    let status = output.status.code().unwrap_or_else(|| 128 + output.status.signal().unwrap_or(0));
    Said {
        status,
        stdout: String::from_utf8_lossy(&output.stdout).into_owned(),
        stderr: String::from_utf8_lossy(&output.stderr).into_owned(),
    }
}

#[cfg(test)]
mod tests {
    use super::{is_installed, run};

    #[test]
    fn a_tool_is_given_its_input_and_an_environment_it_can_be_parsed_in() {
        let said = run("sh", &["-c", "cat; echo $LC_ALL$HOME >&2; exit 3"], b"in").expect("sh is everywhere");
        assert_eq!((said.status, said.stdout.as_str(), said.stderr.as_str()), (3, "in", "C.UTF-8\n"));
    }

    #[test]
    fn a_tool_that_is_not_installed_is_told_from_one_that_fails() {
        let error = run::<&str>("no-such-tool-anywhere", &[], b"").expect_err("it does not exist");
        assert_eq!(error.kind(), std::io::ErrorKind::NotFound);
        assert!(is_installed("sh") && !is_installed("no-such-tool-anywhere"));
    }
}
