//! Does the steps of a plan, one after another, and makes sure after each that it was done.
//!
//! Decides nothing. The first step that fails ends it, and the failure says what is now true of the disk.

use crate::boot_block;
use crate::discover::probe::missing;
use crate::fill::{Job, fill};
use crate::layer::encoding;
use crate::monitor::Monitor;
use crate::refusal::Failure;
use crate::step::{Action, FileText, Input, Invocation, Step};
use crate::sys::replace::{Access, replace};
use crate::sys::secret::Passphrase;
use crate::sys::{command, signal};
use std::fs::{self, File, OpenOptions};
use std::io::{self, ErrorKind, Write};
use std::os::unix::fs::{DirBuilderExt, MetadataExt, OpenOptionsExt};
use std::path::Path;
use std::time::Duration;
use zeroize::Zeroizing;

mod check;

/// What steps need besides themselves.
pub struct Context<'a> {
    /// The disk they prepare, as messages name it.
    pub disk: &'a str,
    /// The primary's passphrase, if a step reads it.
    pub passphrase: Option<&'a Passphrase>,
    /// Where an interrupted fill keeps how far it came.
    pub checkpoints: &'a Path,
    /// Told what is being done.
    pub monitor: &'a dyn Monitor,
}

/// Does `steps` in order.
///
/// # Errors
/// The first step that failed: what it was, what the tool said, and how far the mirror is.
pub fn apply(steps: &[Step], context: &Context<'_>) -> Result<(), Failure> {
    for (n, step) in steps.iter().enumerate() {
        let head = format!("step {} of {}: {}", n + 1, steps.len(), step.title);
        let failed = |why: String, reached| failure(&head, &why, &state(steps, n, reached, context.disk));
        if signal::stop_requested() {
            return Err(failed("interrupted".into(), Reached::Nothing));
        }
        context.monitor.note(&format!("[{}/{}] {}", n + 1, steps.len(), step.title));
        act(&step.action, context).map_err(|why| failed(why, Reached::Part))?;
        command::settle();
        for check in &step.checks {
            check::check(check).map_err(|why| failed(why, Reached::Whole))?;
        }
    }
    Ok(())
}

/// How much of the step that failed was done.
#[derive(Clone, Copy, PartialEq)]
enum Reached {
    Nothing,
    Part,
    Whole,
}

/// What is true of both disks when step `n` failed.
fn state(steps: &[Step], n: usize, reached: Reached, disk: &str) -> String {
    let done = n + usize::from(reached == Reached::Whole);
    let written = steps[..done].iter().filter_map(|step| match &step.action {
        Action::Write { path, .. } => Some(path.display().to_string()),
        _ => None,
    });
    let written: Vec<String> = written.collect();
    let primary = match written.as_slice() {
        [] => "the primary's own files are unchanged".to_owned(),
        [one] => format!("on the primary {one} was written"),
        some => format!("on the primary {} were written", some.join(" and ")),
    };
    match (done, reached) {
        (0, Reached::Nothing) => format!("nothing was written to {disk}; {primary}"),
        (0, _) => format!("{disk} is as it was but for what this step may have begun; {primary}"),
        _ => format!(
            "{done} of the steps are done: {disk} no longer holds what it held and is no mirror yet; {primary}"
        ),
    }
}

fn failure(head: &str, why: &str, state: &str) -> Failure {
    Failure::new(head, state)
        .why(why)
        .remedy("mend what is named above, then repeat the same diskmirror init")
}

fn act(action: &Action, context: &Context<'_>) -> Result<(), String> {
    match action {
        Action::Run(invocation) => run(invocation, context.passphrase),
        Action::Write { path, mode, text } => {
            write(path, *mode, text).map_err(|e| format!("{}: {e}", path.display()))
        }
        Action::BootBlock { from, to, gap } => {
            boot_block::copy_boot_code(Path::new(from), Path::new(to), *gap).map_err(|e| e.to_string())
        }
        Action::Fill { device, with, bytes } => {
            let (device, checkpoints, stop) =
                (Path::new(device), Some(context.checkpoints), &signal::stop_requested);
            let job = Job { device, with: *with, bytes: *bytes, checkpoints, stop };
            let filled = fill(&job, context.monitor).map_err(|e| e.to_string())?;
            if filled.stopped() {
                Err("interrupted; a repeated init goes on where this fill stopped".into())
            } else {
                Ok(())
            }
        }
    }
}

/// Runs a tool; the passphrase goes to its stdin and nowhere else.
fn run(invocation: &Invocation, passphrase: Option<&Passphrase>) -> Result<(), String> {
    let input = match &invocation.input {
        Input::Nothing => &[][..],
        Input::Text(text) => text.as_bytes(),
        Input::Passphrase => passphrase.ok_or("the passphrase is not known")?.bytes(),
    };
    let said = match patiently(invocation, input) {
        Err(error) if error.kind() == ErrorKind::NotFound => {
            let missing = missing(&invocation.program);
            return Err([missing.why, missing.remedy].concat().join("\n"));
        }
        other => other.map_err(|e| format!("{}: {e}", invocation.program))?,
    };
    if said.ok() {
        return Ok(());
    }
    let text = if said.stderr.trim().is_empty() { said.stdout } else { said.stderr };
    Err(format!("{} exited with {}\n{}", invocation.program, said.status, text.trim()))
}

/// Runs a tool; partx again for a while, as whoever looks at a partition at that moment makes it fail.
fn patiently(invocation: &Invocation, input: &[u8]) -> io::Result<command::Said> {
    let tries = if invocation.program == "partx" { BUSY_TRIES } else { 1 };
    let mut said = command::ask_at_length(&invocation.program, &invocation.args, input)?;
    for _ in 1..tries {
        if said.ok() {
            break;
        }
        std::thread::sleep(BUSY_PAUSE);
        said = command::ask_at_length(&invocation.program, &invocation.args, input)?;
    }
    Ok(said)
}

/// How often partx is repeated, and after what time.
const BUSY_TRIES: u32 = 12;
const BUSY_PAUSE: Duration = Duration::from_millis(250);

/// Writes a file whole: a text atomically in place of the old one, a key only where no file is.
fn write(path: &Path, mode: u32, text: &FileText) -> io::Result<()> {
    let parent = path.parent().ok_or_else(|| io::Error::other("it has no parent directory"))?;
    fs::DirBuilder::new().recursive(true).mode(0o700).create(parent)?;
    match text {
        FileText::RandomKey { bytes } => {
            let mut key = Zeroizing::new(vec![0; *bytes]);
            getrandom::fill(&mut key).map_err(io::Error::other)?;
            let mut file = OpenOptions::new().write(true).create_new(true).mode(mode).open(path)?;
            file.write_all(&key)?;
            file.sync_all()?;
            File::open(parent)?.sync_all()
        }
        FileText::Text(text) => {
            let owner = fs::symlink_metadata(path).ok().map(|old| (old.uid(), old.gid()));
            replace(path, Access { mode, owner }, &encoding::bytes(text))
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use std::os::unix::fs::PermissionsExt;

    #[test]
    fn a_text_that_replaces_another_has_its_owner_and_its_mode_whatever_the_umask() {
        let dir = tempfile::tempdir().expect("a temporary directory");
        let path = dir.path().join("fstab");
        fs::write(&path, "old").expect("written");
        if rustix::process::geteuid().is_root() {
            std::os::unix::fs::chown(&path, Some(4242), Some(4343)).expect("root may");
        }
        let before = path.metadata().expect("it is there");
        // Wider than any usual umask lets through.
        write(&path, 0o666, &FileText::Text("new".into())).expect("it can be written");
        let after = path.metadata().expect("it is there");
        assert_eq!((after.uid(), after.gid(), after.mode() & 0o7777), (before.uid(), before.gid(), 0o666));
        assert_eq!(fs::read_to_string(&path).expect("readable"), "new");
    }

    #[test]
    fn a_text_replaces_the_old_one_and_a_key_replaces_nothing() {
        let dir = tempfile::tempdir().expect("a temporary directory");
        let path = dir.path().join("etc/diskmirror.toml");
        for text in ["one", "two"] {
            write(&path, 0o600, &FileText::Text(text.into())).expect("it can be written");
            assert_eq!(fs::read_to_string(&path).expect("it is there"), text);
        }
        let key = dir.path().join("keys/u.key");
        write(&key, 0o400, &FileText::RandomKey { bytes: 64 }).expect("nothing is there");
        let old = fs::read(&key).expect("it is there");
        let mode = fs::metadata(&key).expect("it is there").permissions().mode();
        assert_eq!((old.len(), mode & 0o7777), (64, 0o400));
        let error = write(&key, 0o400, &FileText::RandomKey { bytes: 64 }).expect_err("a key is there");
        assert_eq!(error.kind(), ErrorKind::AlreadyExists);
        assert_eq!(fs::read(&key).expect("it is there"), old);
    }

    #[test]
    fn the_first_step_that_fails_ends_it_and_says_how_far_it_came() {
        let step = |title: &str, program: &str, args: &[&str]| Step {
            title: title.into(),
            action: Action::Run(Invocation::new(program, args.iter().copied())),
            checks: vec![],
        };
        let steps = [
            step("fine", "true", &[]),
            step("broken", "sh", &["-c", "echo the disk is dying >&2; exit 5"]),
            step("never done", "false", &[]),
        ];
        let context = Context {
            disk: "/dev/sdb",
            passphrase: None,
            checkpoints: Path::new("/nonexistent"),
            monitor: &crate::monitor::Silent,
        };
        let failure = apply(&steps, &context).expect_err("the second step fails");
        assert_eq!(failure.what, "step 2 of 3: broken");
        assert_eq!(failure.why, ["sh exited with 5", "the disk is dying"]);
        assert!(failure.state.starts_with("1 of the steps are done"), "{}", failure.state);
    }
}
