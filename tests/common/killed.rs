//! A program that is killed at a certain call of its own: strace sends the signal, so that nothing is left to chance.

use std::os::unix::process::ExitStatusExt;
use std::process::{Command, Stdio};

const SIGKILL: i32 = 9;

/// Runs `command` until one of its threads makes `call` for the `time`th time (from 1): that call is not made. Gives back
/// whether it came to that.
pub fn at_call(command: &Command, call: &str, time: u32) -> bool {
    let mut traced = Command::new("strace");
    // With --seccomp-bpf no signal would be sent.
    traced.args(["-f", "-qq", "-o", "/dev/null", "-e"]).arg(format!("trace={call}"));
    traced.arg("-e").arg(format!("inject={call}:signal=KILL:when={time}"));
    traced.arg(command.get_program()).args(command.get_args());
    let status = traced.stdout(Stdio::null()).stderr(Stdio::null()).status().expect("strace is installed");
    assert!(status.success() || status.signal() == Some(SIGKILL), "{call} {time}: {status}");
    !status.success()
}
