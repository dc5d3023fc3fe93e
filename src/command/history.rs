//! `history`: the last runs and boot tests.

use crate::cli::HistoryArgs;
use crate::command::output;
use crate::config::{Config, below};
use crate::exit_code::Exit;
use crate::history::{History, is_broken};
use crate::refusal::Failure;
use crate::render::history as render;
use anyhow::Result;
use std::path::Path;

/// How many runs are listed.
const RUNS: u32 = 20;

/// Lists the last runs of the mirror of the primary mounted at `root`, and the boot tests among them.
///
/// # Errors
/// A `Refusal` if there is no configuration; else those of reading the history.
pub fn history(root: &Path, config_file: Option<&Path>, args: &HistoryArgs) -> Result<Exit> {
    let config = Config::read(root, config_file)?;
    let mirror = config.mirror(args.name.as_deref())?;
    let state_dir = below(root, &config.state_dir);
    let (mut runs, mut tests, mut unread) = (Vec::new(), Vec::new(), None);
    match History::open_existing(&state_dir) {
        Ok(Some(history)) => {
            runs = history.last(&mirror.name, RUNS).unwrap_or_else(|error| set_aside(&mut unread, error));
            tests = history.boot_tests(&mirror.name, RUNS).unwrap_or_else(|e| set_aside(&mut unread, e));
        }
        Ok(None) => {}
        Err(error) => set_aside(&mut unread, error),
    }
    let entries = render::merged(runs, tests, RUNS as usize);
    if args.json {
        output::line(&render::json(&entries))?;
    } else if !entries.is_empty() {
        output::print(&render::text(&entries, &local))?;
    } else if unread.is_none() {
        output::note(&format!("nothing has been done to {} yet", mirror.name));
    }
    unread.map_or(Ok(Exit::Done), |error| Err(unreadable(&config, &error).into()))
}

/// Keeps the first error for the end, and gives nothing in its place.
fn set_aside<T: Default>(first: &mut Option<anyhow::Error>, error: anyhow::Error) -> T {
    first.get_or_insert(error);
    T::default()
}

fn unreadable(config: &Config, error: &anyhow::Error) -> Failure {
    let state = "what could be read is above; nothing was written";
    let failure = Failure::new("the run history cannot be read", state).because(error);
    let log = format!("what the runs did is in {}, too", config.log_file.display());
    match is_broken(error) {
        true => failure.remedy(format!("{log}; the next run keeps the damaged history and begins a new one")),
        false => failure.remedy(format!("{log}; see whether {} can be read", config.state_dir.display())),
    }
}

/// Local time with its offset.
fn local(secs: i64) -> String {
    let time = jiff::Timestamp::from_second(secs).unwrap_or_default();
    time.to_zoned(jiff::tz::TimeZone::system()).strftime("%Y-%m-%d %H:%M:%S%:z").to_string()
}
