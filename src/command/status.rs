//! `status`: would this spare save the server now? Nothing is opened, and nothing is written.

use crate::cli::StatusArgs;
use crate::command::trees::damage::{DamageFile, HeldFile};
use crate::command::{not_mirrored, output};
use crate::config::{Config, Mirror, UNFINISHED_INIT, Unlock, below};
use crate::exit_code::Exit;
use crate::history::{History, is_broken};
use crate::layer::schedule::INTERVAL_SECS;
use crate::mirror;
use crate::record::{BootTestRecord, RunRecord, VerifyRecord};
use crate::refusal::Refusal;
use crate::render::status as render;
use crate::schedule;
use crate::status::{Attached, Facts, Opens, Reversed, answer};
use crate::sys::dir::open_root;
use crate::sys::node::filesystem_uuid;
use anyhow::Result;
use std::path::Path;

/// How many runs are looked at: two weeks of them.
const RUNS: u32 = 1400;

/// Answers for the mirror of the primary mounted at `root`.
///
/// # Errors
/// If it cannot be found out; to Nagios that is an answer too.
pub fn status(root: &Path, config_file: Option<&Path>, args: &StatusArgs) -> Result<Exit> {
    let facts = match facts(root, config_file, args) {
        Err(error) if args.nagios => {
            let line = error.to_string().lines().next().unwrap_or_default().to_owned();
            output::line(&render::nagios_line(render::Nagios::Unknown, &line))?;
            return Ok(nagios_exit(render::Nagios::Unknown));
        }
        facts => facts?,
    };
    let answer = answer(&facts);
    if args.nagios {
        let (state, line) = render::nagios(&facts, &answer);
        output::line(&line)?;
        return Ok(nagios_exit(state));
    }
    match (args.json, args.prometheus) {
        (true, _) => output::line(&render::json(&facts, &answer))?,
        (_, true) => output::print(&render::prometheus(&facts, &answer))?,
        _ => output::print(&render::text(&facts, &answer))?,
    }
    Ok(if answer.is_ready() { Exit::Done } else { Exit::Failed })
}

/// Nagios has exit codes of its own: 0 to 3.
fn nagios_exit(state: render::Nagios) -> Exit {
    match state {
        render::Nagios::Ok => Exit::Done,
        render::Nagios::Warning => Exit::Failed,
        render::Nagios::Critical => Exit::Usage,
        render::Nagios::Unknown => Exit::Incomplete,
    }
}

/// All that is known.
fn facts(root: &Path, config_file: Option<&Path>, args: &StatusArgs) -> Result<Facts> {
    let config = Config::read(root, config_file)?;
    let mirror = config.mirror(args.name.as_deref())?;
    let (state_dir, runtime_dir) = (below(root, &config.state_dir), below(root, &config.runtime_dir));
    let reversed = reversed(root, mirror)?;
    let attached = if reversed.is_some() { Attached::Unknown } else { attached(mirror)? };
    let mut unknown = Vec::new();
    let told = |error: &anyhow::Error| format!("{error:#}");
    let Remembered { runs, boot_test, booted, verified } =
        Remembered::of(&state_dir, mirror).unwrap_or_else(|error| {
            let helps = if is_broken(&error) { ": the next run keeps it and begins a new one" } else { "" };
            unknown.push(format!("what the runs did is not known: {}{helps}", told(&error)));
            Remembered::default()
        });
    let damage = DamageFile::read(&state_dir, mirror).unwrap_or_else(|error| {
        unknown.push(format!("what of the primary is damaged is not known: {}", told(&error)));
        DamageFile::unknown(&state_dir, mirror)
    });
    let mut unclear = Vec::new();
    let not_mirrored = not_mirrored::now(root, &state_dir, mirror)
        .map_err(|error| unclear.push(format!("what is not in the mirror is not known: {}", told(&error))));
    Ok(Facts {
        name: mirror.name.clone(),
        title: mirror.disk.title(),
        now: jiff::Timestamp::now().as_second(),
        interval: INTERVAL_SECS,
        runs,
        boot_test,
        booted,
        verified,
        held: damage.held.iter().map(HeldFile::title).collect(),
        attached,
        locked_since: mirror::locked_by(&runtime_dir, mirror).map(|holder| holder.since),
        is_scheduled: !schedule::installed(root)?.is_empty(),
        opens: opens(mirror),
        init_unfinished: state_dir.join(UNFINISHED_INIT).exists(),
        unknown,
        not_mirrored: not_mirrored.ok(),
        unclear,
        reversed,
    })
}

/// The runs, and the latest boot test and verification of the disk that is the mirror now.
#[derive(Default)]
struct Remembered {
    runs: Vec<RunRecord>,
    boot_test: Option<BootTestRecord>,
    booted: Option<String>,
    verified: Option<VerifyRecord>,
}

impl Remembered {
    fn of(state_dir: &Path, mirror: &Mirror) -> Result<Self> {
        let Some(history) = History::open_existing(state_dir)? else { return Ok(Remembered::default()) };
        let tests = history.boot_tests(&mirror.name, RUNS)?;
        let boot_test = tests.into_iter().find(|test| test.table_id == mirror.disk.table_id);
        let of_run = boot_test.as_ref().and_then(|test| test.run);
        let boot = of_run.map(|run| history.boot_of(run)).transpose()?.flatten();
        Ok(Remembered {
            runs: history.last(&mirror.name, RUNS)?,
            booted: boot.and_then(|boot| boot.digest),
            boot_test,
            verified: history.latest_verification(&mirror.name, &mirror.disk.table_id)?,
        })
    }
}

fn opens(mirror: &Mirror) -> Opens {
    let by_hand = |container: &crate::config::Container| container.unlock == Unlock::Crypttab;
    match &mirror.containers[..] {
        [] => Opens::Plain,
        containers if containers.iter().any(by_hand) => Opens::ByHand,
        _ => Opens::KeyFile,
    }
}

/// Where the mirror's disk is, or what its search said.
fn attached(mirror: &Mirror) -> Result<Attached> {
    match mirror::whereabouts(mirror) {
        Ok(node) => Ok(Attached::As(node)),
        Err(error) => {
            let refusal: Refusal = error.downcast()?;
            let what = refusal.what.trim_start_matches("refusing to refresh ").to_owned();
            Ok(Attached::Not(std::iter::once(what).chain(refusal.why).collect()))
        }
    }
}

/// Which disk is which, if the system runs from the mirror; the mirror's own copy of the configuration has both sides
/// turned.
fn reversed(root: &Path, mirror: &Mirror) -> Result<Option<Reversed>> {
    let uuid = open_root(root).and_then(filesystem_uuid).ok().flatten();
    let own = |volume: &crate::config::Volume| match mirror.reversed {
        true => Some(&volume.primary_uuid) == uuid.as_ref(),
        false => Some(&volume.mirror_uuid) == uuid.as_ref(),
    };
    if !mirror.volumes.iter().any(own) {
        // A copy that lies where it does not belong is refused.
        mirror::check_role(root, mirror)?;
        return Ok(None);
    }
    let (this, old) = match mirror.reversed {
        true => (&mirror.primary, &mirror.disk),
        false => (&mirror.disk, &mirror.primary),
    };
    let old_disk = Mirror { disk: old.clone(), ..mirror.clone() };
    Ok(Some(Reversed {
        runs_from: this.title(),
        old_primary: old.title(),
        old_node: mirror::whereabouts(&old_disk).ok(),
    }))
}
