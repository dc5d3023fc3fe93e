//! `history`: the last runs and boot tests.

use crate::cli::HistoryArgs;
use crate::config::{Config, below};
use crate::exit_code::Exit;
use crate::history::History;
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
    let (runs, tests) = match History::open_existing(&below(root, &config.state_dir))? {
        Some(history) => (history.last(&mirror.name, RUNS)?, history.boot_tests(&mirror.name, RUNS)?),
        None => (Vec::new(), Vec::new()),
    };
    let entries = render::merged(runs, tests, RUNS as usize);
    if args.json {
        println!("{}", render::json(&entries));
    } else if entries.is_empty() {
        eprintln!("nothing has been done to {} yet", mirror.name);
    } else {
        print!("{}", render::text(&entries, &local));
    }
    Ok(Exit::Done)
}

/// Local time with its offset.
fn local(secs: i64) -> String {
    let time = jiff::Timestamp::from_second(secs).unwrap_or_default();
    time.to_zoned(jiff::tz::TimeZone::system()).strftime("%Y-%m-%d %H:%M:%S%:z").to_string()
}
