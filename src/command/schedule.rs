//! `schedule`: install, remove or show what calls the runs.

use crate::cli::{ScheduleAction, ScheduleArgs};
use crate::command::output;
use crate::config::{CONFIG_PATH, Config, Unlock};
use crate::exit_code::Exit;
use crate::layer::schedule::{Called, Caller, Origin};
use crate::schedule;
use crate::units::Often;
use anyhow::Context;
use std::path::{Path, PathBuf};

/// Installs, removes or shows the schedule of the system below `root`; `config` is the file the runs shall read if
/// it is not the usual one.
///
/// # Errors
/// A `Refusal` or a `Failure`, as `schedule::install` and `schedule::remove` say.
pub fn schedule(root: &Path, config: Option<&Path>, args: &ScheduleArgs) -> anyhow::Result<Exit> {
    match args.action {
        ScheduleAction::Install { cron } => install(root, config, cron)?,
        ScheduleAction::Remove => remove(root)?,
        ScheduleAction::Show => show(root)?,
    }
    Ok(Exit::Done)
}

/// Installs the timer, or the line for cron, that calls the runs of the primary below `root`.
///
/// # Errors
/// As `schedule::install`.
pub fn install(root: &Path, config: Option<&Path>, cron: bool) -> anyhow::Result<()> {
    let program = text(std::env::current_exe().context("cannot find out where this program lies")?)?;
    let config = config.map(std::path::absolute).transpose()?.map(text).transpose()?;
    let caller = if cron { Caller::Cron } else { Caller::Timer };
    let boot_test = boot_test(root, config.as_deref().map(Path::new))?;
    let called = Called { program: &program, config: config.as_deref(), boot_test };
    for path in schedule::install(root, caller, called)? {
        output::line(&path.display().to_string())?;
    }
    Ok(())
}

/// How often the configuration wants boot tests, if there is a configuration yet.
fn boot_test(root: &Path, config: Option<&Path>) -> anyhow::Result<Option<Often>> {
    let file = config.map_or_else(|| root.join(CONFIG_PATH), Path::to_owned);
    if !file.exists() {
        return Ok(None);
    }
    let config = Config::read(root, config)?;
    let mirror = config.mirror(None)?;
    let by_hand = mirror.containers.iter().any(|container| container.unlock == Unlock::Crypttab);
    if by_hand && mirror.boot_test.is_some() {
        output::note("no boot tests are scheduled: without a key file nobody could open the mirror for them");
    }
    Ok(mirror.boot_test.filter(|_| !by_hand))
}

fn remove(root: &Path) -> anyhow::Result<()> {
    let removed = schedule::remove(root)?;
    if removed.is_empty() {
        output::note("no schedule is installed");
    }
    Ok(removed.iter().try_for_each(|path| output::line(&format!("removed {}", path.display())))?)
}

fn show(root: &Path) -> anyhow::Result<()> {
    let files = schedule::installed(root)?;
    if files.is_empty() {
        output::note("no schedule is installed");
    }
    for file in files {
        let remark = match file.origin {
            Origin::Ours => "",
            Origin::Changed => " (changed after it was installed)",
            Origin::Foreign => " (not written by diskmirror)",
        };
        output::line(&format!("==> {}{remark}\n{}", file.path.display(), file.text))?;
    }
    Ok(())
}

/// A path for a file that only takes text in lines.
fn text(path: PathBuf) -> anyhow::Result<String> {
    let text = path.to_str().filter(|text| !text.contains(['\n', '\r']));
    text.map(str::to_owned).with_context(|| format!("{path:?} cannot be written into a schedule"))
}
