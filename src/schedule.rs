//! Installs, removes and reads the schedule's files, and tells systemd of them.
//!
//! All or nothing is decided first: a file that is not ours, or no longer as it was installed, stops the whole.

use crate::layer::schedule::{
    CRON, Called, Caller, FILES, Origin, TEST_SERVICE, TEST_TIMER, TIMER, files, origin,
};
use crate::refusal::{Failure, Refusal};
use crate::step::quoted;
use crate::sys::replace::{Access, replace};
use crate::sys::{command, read};
use std::fs;
use std::io;
use std::path::{Path, PathBuf};

/// Where a systemd that runs as the init process shows itself: sd_booted(3).
const BOOTED: &str = "/run/systemd/system";
/// The timers, each with its file.
const TIMERS: [(&str, &str); 2] = [(TIMER, "diskmirror.timer"), (TEST_TIMER, "diskmirror-boot-test.timer")];

/// A file of the schedule as it stands.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Installed {
    /// Where it is.
    pub path: PathBuf,
    /// What is in it.
    pub text: String,
    /// Whose it is.
    pub origin: Origin,
}

/// The files of a schedule that exist below `root`.
///
/// # Errors
/// Those of reading one of them.
pub fn installed(root: &Path) -> io::Result<Vec<Installed>> {
    let mut found = Vec::new();
    for file in FILES {
        let path = root.join(file);
        let read = match read::system_file(&path) {
            // What systemctl mask makes of a unit: a link to a device.
            Err(error) if error.kind() == io::ErrorKind::InvalidInput => Ok(Vec::new()),
            read => read,
        };
        match read {
            Ok(bytes) => {
                let text = String::from_utf8_lossy(&bytes).into_owned();
                let origin = origin(&text);
                found.push(Installed { path, text, origin });
            }
            Err(error) if error.kind() == io::ErrorKind::NotFound => {}
            Err(error) => return Err(io::Error::new(error.kind(), format!("{}: {error}", path.display()))),
        }
    }
    Ok(found)
}

/// Writes the schedule's files below `root` and enables the timer. Done twice, it changes nothing.
///
/// # Errors
/// A `Refusal` if a file there is not ours, the other kind of schedule is installed, or nobody would call it; a
/// `Failure` when writing or systemd fails.
pub fn install(root: &Path, caller: Caller, called: Called) -> anyhow::Result<Vec<PathBuf>> {
    let present = installed(root)?;
    refuse_others(&present, "to install the schedule")?;
    refuse_second(root, &present, caller)?;
    refuse_uncalled(root, caller)?;
    let mut written = Vec::new();
    let wanted = files(caller, called);
    withdraw_tests(root, &present, &wanted)?;
    let timers = timers(wanted.iter().map(|(file, _)| root.join(file)), root);
    for (file, text) in wanted {
        let path = root.join(file);
        if !present.iter().any(|old| old.path == path && old.text == text) {
            write(&path, &text).map_err(|error| half_written(&path, &error, &written))?;
        }
        written.push(path);
    }
    if caller == Caller::Timer {
        enable(root, &timers)?;
    }
    Ok(written)
}

/// Disables the timer and removes the schedule's files below `root`: exactly those that were installed.
///
/// # Errors
/// A `Refusal` that names every file that somebody changed or wrote; a `Failure` when systemd or removing fails.
pub fn remove(root: &Path) -> anyhow::Result<Vec<PathBuf>> {
    let present = installed(root)?;
    refuse_others(&present, "to remove the schedule")?;
    disable(root, &timers(present.iter().map(|file| file.path.clone()), root))?;
    let mut removed = Vec::new();
    for file in present {
        fs::remove_file(&file.path).map_err(|error| {
            let state = format!("removed: {}", listed(&removed));
            Failure::new(format!("cannot remove {}", file.path.display()), state).why(error.to_string())
        })?;
        removed.push(file.path);
    }
    if is_running_system(root) && Path::new(BOOTED).exists() && !removed.is_empty() {
        systemctl(&["daemon-reload"], "the schedule's files are removed")?;
    }
    Ok(removed)
}

/// The names of the timers among these files.
fn timers(files: impl Iterator<Item = PathBuf>, root: &Path) -> Vec<&'static str> {
    let files: Vec<PathBuf> = files.collect();
    TIMERS.iter().filter(|(file, _)| files.contains(&root.join(file))).map(|(_, unit)| *unit).collect()
}

/// Takes away the boot tests' files where they are no longer wanted.
fn withdraw_tests(
    root: &Path,
    present: &[Installed],
    wanted: &[(&'static str, String)],
) -> anyhow::Result<()> {
    let is_wanted = |path: &Path| wanted.iter().any(|(file, _)| root.join(file) == path);
    let tests = [TEST_SERVICE, TEST_TIMER].map(|file| root.join(file));
    let old: Vec<PathBuf> = present.iter().map(|file| file.path.clone()).collect();
    let old: Vec<PathBuf> = old.into_iter().filter(|path| tests.contains(path) && !is_wanted(path)).collect();
    disable(root, &timers(old.iter().cloned(), root))?;
    for path in old {
        fs::remove_file(&path).map_err(|error| {
            Failure::new(format!("cannot remove {}", path.display()), "nothing else was changed")
                .why(error.to_string())
        })?;
    }
    Ok(())
}

fn refuse_others(present: &[Installed], what: &str) -> Result<(), Refusal> {
    let others: Vec<_> = present.iter().filter(|file| file.origin != Origin::Ours).collect();
    if others.is_empty() {
        return Ok(());
    }
    let refusal = Refusal::new(
        format!(
            "refusing {what}: {} not as it was installed",
            if others.len() == 1 { "a file is" } else { "files are" }
        ),
        "nothing was changed",
    );
    let refusal = others.iter().fold(refusal, |refusal, file| {
        let path = file.path.display();
        match file.origin {
            Origin::Changed => refusal.why(format!("{path} was changed after it was installed")),
            _ => refusal.why(format!("{path} was not written by diskmirror")),
        }
    });
    let paths: Vec<_> = others.iter().map(|file| quoted(&file.path.to_string_lossy())).collect();
    Err(refusal.remedy(format!("look at them, then: rm {}", paths.join(" "))))
}

fn refuse_second(root: &Path, present: &[Installed], caller: Caller) -> Result<(), Refusal> {
    let (other, name) = match caller {
        Caller::Timer => (CRON, "cron line"),
        Caller::Cron => (TIMER, "systemd timer"),
    };
    if present.iter().all(|file| file.path != root.join(other)) {
        return Ok(());
    }
    Err(Refusal::new(
        format!("refusing to install a second schedule beside the {name}"),
        "nothing was changed",
    )
    .why(format!("{} is installed", root.join(other).display()))
    .remedy("diskmirror schedule remove"))
}

fn refuse_uncalled(root: &Path, caller: Caller) -> Result<(), Refusal> {
    let refusal = |because: &str| {
        Refusal::new(format!("refusing to install the schedule: {because}"), "nothing was changed")
    };
    match caller {
        Caller::Timer if is_running_system(root) && !Path::new(BOOTED).exists() => {
            Err(refusal("systemd does not run here")
                .why(format!("{BOOTED} does not exist"))
                .remedy("diskmirror schedule install --cron"))
        }
        Caller::Cron if !root.join("etc/cron.d").is_dir() => Err(refusal("cron is not installed")
            .why(format!("{} does not exist", root.join("etc/cron.d").display()))
            .remedy("apt-get install cron   # cronie on RHEL and Fedora")),
        _ => Ok(()),
    }
}

fn is_running_system(root: &Path) -> bool {
    fs::canonicalize(root).is_ok_and(|root| root == Path::new("/"))
}

fn write(path: &Path, text: &str) -> io::Result<()> {
    let directory = path.parent().expect("every file of the schedule lies in a directory");
    fs::create_dir_all(directory)?;
    // Beside it stands a dot file for a moment: cron and logrotate read none of these.
    replace(path, Access::mode(0o644), text.as_bytes())
}

fn half_written(path: &Path, error: &io::Error, written: &[PathBuf]) -> Failure {
    Failure::new(format!("cannot write {}", path.display()), format!("written: {}", listed(written)))
        .why(error.to_string())
        .remedy("diskmirror schedule remove   # or repeat this: it goes on where it was")
}

fn listed(paths: &[PathBuf]) -> String {
    if paths.is_empty() {
        return "nothing".to_owned();
    }
    paths.iter().map(|path| path.display().to_string()).collect::<Vec<_>>().join(", ")
}

fn enable(root: &Path, timers: &[&str]) -> Result<(), Failure> {
    let state = "the schedule's files are written, the timer is not enabled";
    let root_option = format!("--root={}", root.display());
    let how: &[&str] = if is_running_system(root) { &["enable", "--now"] } else { &[&root_option, "enable"] };
    if is_running_system(root) {
        systemctl(&["daemon-reload"], state)?;
    }
    systemctl(&[how, timers].concat(), state)
}

fn disable(root: &Path, timers: &[&str]) -> Result<(), Failure> {
    if timers.is_empty() {
        return Ok(());
    }
    let state = "the schedule's files are still there";
    let root_option = format!("--root={}", root.display());
    let how: &[&str] = match (is_running_system(root), Path::new(BOOTED).exists()) {
        (true, true) => &["disable", "--now"],
        (true, false) => &["disable"],
        (false, _) => &[&root_option, "disable"],
    };
    systemctl(&[how, timers].concat(), state)
}

fn systemctl(args: &[&str], state: &str) -> Result<(), Failure> {
    let failure = || {
        let line = format!("systemctl {}", args.join(" "));
        Failure::new(format!("`{line}` failed"), state).remedy(format!("{line}   # then repeat this"))
    };
    command::run("systemctl", args, b"").map(drop).map_err(|error| failure().why(error.to_string()))
}
