//! `run`: one refresh of the mirror; what the timer calls.
//!
//! Whatever happens, a record is written, and the exit code comes from it.

mod boot;
mod deletions;
mod late;
mod ledger;
mod log;
mod trouble;
mod work;

use crate::cli::RunArgs;
use crate::command::output;
use crate::command::trees::damage::DamageFile;
use crate::command::trees::{self, mirror_view};
use crate::config::{Config, Mirror, Volume, below};
use crate::exit_code::Exit;
use crate::mirror::{self, Access, Mounted, Opened};
use crate::monitor::Monitor;
use crate::record::{RunRecord, State, Waited};
use crate::refusal::{Failure, Refusal, stated};
use crate::render;
use crate::sys::lock::{Attempt, Holder, Lock};
use crate::sys::{mount, private, signal};
use crate::tree::{self, Pace};
use anyhow::{Context, Result};
use boot::Boot;
use ledger::Ledger;
use std::io::{self, Write};
use std::path::{Path, PathBuf};
use std::sync::Arc;
use work::Work;

/// What a run is made with. Paths are below `root`.
pub struct Job<'a> {
    config: &'a Config,
    mirror: &'a Mirror,
    args: &'a RunArgs,
    root: &'a Path,
    config_file: Option<&'a Path>,
    state_dir: PathBuf,
    runtime_dir: PathBuf,
    log_file: PathBuf,
    monitor: &'a dyn Monitor,
    pace: Arc<Pace>,
}

/// Refreshes a mirror of the primary mounted at `root` once.
///
/// # Errors
/// A `Refusal` if there is no configuration to work from, and what keeps the lock from being taken; everything else is in the
/// record that the exit code comes from.
pub fn run(root: &Path, config_file: Option<&Path>, args: &RunArgs, monitor: &dyn Monitor) -> Result<Exit> {
    let config = Config::read(root, config_file)?;
    let mirror = config.mirror(args.name.as_deref())?;
    let job = Job {
        config: &config,
        mirror,
        args,
        root,
        config_file,
        state_dir: below(root, &config.state_dir),
        runtime_dir: below(root, &config.runtime_dir),
        log_file: below(root, &config.log_file),
        monitor,
        pace: trees::pace(mirror, args.bwlimit, args.considerate, monitor),
    };
    let mut record = RunRecord::begun(&mirror.name, job.now());
    match job.lock()? {
        Attempt::Taken(held) => recorded(&job, &mut record, held),
        Attempt::Busy(holder) => locked_out(&job, &mut record, holder),
    }
    tell(&job, &mut record);
    Ok(record.exit())
}

/// The run under its lock, between its first record and its last.
fn recorded(job: &Job, record: &mut RunRecord, held: Lock) {
    if job.args.dry_run {
        let outcome = refresh(job, record, &Ledger::none(job));
        conclude(job, record, outcome);
        drop(held);
        return;
    }
    let ledger = Ledger::begin(job, record);
    log::make(&job.log_file);
    if let Err(error) = place_for_catalogs(job) {
        job.trouble(record, &format!("no catalog can be kept: {error}"));
    }
    let outcome = late::told(job.monitor, late::AFTER, &|| job.waited(), || refresh(job, record, &ledger));
    conclude(job, record, outcome);
    ledger.finish(record);
    drop(held);
}

/// Makes the catalogs' directory, and takes away what is there of file systems that this mirror does not have.
fn place_for_catalogs(job: &Job) -> io::Result<()> {
    let place = job.config.catalogs(job.root, job.mirror);
    private::make_dir(&place)?;
    for entry in std::fs::read_dir(&place)? {
        let entry = entry?;
        let name = entry.file_name();
        let is_ours = |volume: &Volume| name.to_string_lossy().starts_with(&volume.mirror_uuid);
        if job.mirror.volumes.iter().any(is_ours) {
            continue;
        }
        match entry.file_type()? {
            kind if kind.is_file() => std::fs::remove_file(entry.path())?,
            // The maps of blocks that belong to one.
            kind if kind.is_dir() && name.to_string_lossy().ends_with(".blocks") => {
                std::fs::remove_dir_all(entry.path())?;
            }
            _ => {}
        }
    }
    Ok(())
}

/// The run itself: find, open, and whatever happens in between, close.
fn refresh(job: &Job, record: &mut RunRecord, ledger: &Ledger<'_>) -> Result<()> {
    mount::enter_private_namespace().context("cannot have a mount namespace of its own: is this root?")?;
    if let Err(reversed) = mirror::check_role(job.root, job.mirror) {
        note_service(job);
        return Err(reversed.into());
    }
    let open = |number| mirror::open_source(job.root, job.mirror, number, &job.runtime_dir);
    let sources = (0..job.mirror.volumes.len()).map(open).collect();
    let mut damage = known_damage(job, record);
    let works = Work::all(job, sources, &damage)?;
    work::refuse_without_sources(&works)?;
    mirror::sweep(job.mirror)?;
    let opened = mirror::find(job.mirror)?.open(job.mirror, job.root, job.args.dry_run)?;
    refresh_opened(job, record, ledger, works, &opened, &mut damage)?;
    opened.close()
}

/// Notes on the mirror that it serves, if this system runs from it. Mounted somewhere else, it serves nobody.
fn note_service(job: &Job) {
    if job.root == Path::new("/")
        && !job.args.dry_run
        && let Err(error) = mirror::note_service(job.root, job.mirror, job.now())
    {
        job.monitor.warn(&format!("it cannot be noted on this disk that it serves: {error:#}"));
    }
}

/// What is known to be damaged. If that cannot be read, the run goes by size and time as it does for everybody, says so, and
/// leaves the file to whoever mends it.
fn known_damage(job: &Job, record: &mut RunRecord) -> DamageFile {
    DamageFile::read(&job.state_dir, job.mirror).unwrap_or_else(|error| {
        job.trouble(record, &format!("what of the primary is damaged is not known: {error:#}"));
        DamageFile::unknown(&job.state_dir, job.mirror)
    })
}

/// Check, mount, scan, decide, apply.
fn refresh_opened(
    job: &Job,
    record: &mut RunRecord,
    ledger: &Ledger<'_>,
    mut works: Vec<Work<'_>>,
    opened: &Opened<'_>,
    damage: &mut DamageFile,
) -> Result<()> {
    work::check(job, &mut works, opened)?;
    go_on()?;
    let mut boot = Boot::prepare(job, &mut works, opened)?;
    mount_whole(job, &mut works, opened)?;
    if !job.args.dry_run {
        ledger.number(record, work::latest_run(&works));
    }
    work::scan(job, &mut works)?;
    if job.args.dry_run {
        itemise(&mut works)?;
    }
    deletions::decide(job, &works)?;
    verify_share(job, &mut works, record, ledger, damage)?;
    // What must not reach the mirror is written down before anything else does.
    works.iter().for_each(|work| work.keep_held(damage, false));
    keep(job, record, damage);
    work::unmount(&mut works)?;
    let applied = match job.args.dry_run {
        true => Ok(()),
        false => work::apply(job, &mut works, &mut boot, opened, record),
    };
    // Whatever a stop has left mounted.
    let unmounted = work::unmount(&mut works);
    record.boot = Some(boot.record);
    report(job, record, works, damage, applied.and(unmounted))
}

/// Enters into the record what was done to each file system, and what became of all.
fn report(
    job: &Job,
    record: &mut RunRecord,
    works: Vec<Work<'_>>,
    damage: &mut DamageFile,
    applied: Result<()>,
) -> Result<()> {
    let failure = trouble::failure(&works);
    for work in works {
        if let Err(refusal) = &work.source {
            job.monitor.warn(&refusal.to_string());
        }
        work.report(job, record, damage, applied.is_ok() && !job.args.dry_run);
    }
    keep(job, record, damage);
    applied?;
    failure.map_or(Ok(()), |failure| Err(failure.into()))
}

/// Reads the share of all files that is due, if the configuration names one, and enters what was found.
fn verify_share(
    job: &Job,
    works: &mut [Work<'_>],
    record: &mut RunRecord,
    ledger: &Ledger<'_>,
    damage: &mut DamageFile,
) -> Result<()> {
    if job.args.dry_run {
        return Ok(());
    }
    let Some(sample) = damage.next_share("run", job.mirror.verify_share) else { return Ok(()) };
    let mut verified = work::verify_share(job, works, sample, damage)?;
    verified.run = Some(record.id);
    for difference in &verified.differences {
        let line = render::verify::line(difference);
        job.monitor.warn(&line);
        record.error(line);
    }
    record.verified = Some(verified.total());
    ledger.add_verification(record, &mut verified);
    Ok(())
}

/// Writes down what is damaged; a dry run leaves that as it is. What cannot be written down is held in this run all the same.
fn keep(job: &Job, record: &mut RunRecord, damage: &mut DamageFile) {
    if !job.args.dry_run
        && let Err(error) = damage.write()
    {
        job.trouble(record, &format!("what is damaged cannot be kept for the next run: {error:#}"));
    }
}

/// Mounts the mirror to be looked at. Where a run was cut off in the middle of a file, its old content is put back first.
fn mount_whole(job: &Job, works: &mut [Work<'_>], opened: &Opened<'_>) -> Result<()> {
    work::mount(job, works, opened, Access::ReadOnly)?;
    let is_pending = |mirror: &Mounted| mirror_view(mirror).is_ok_and(|view| tree::is_pending(&view));
    if !works.iter().filter_map(|work| work.mirror.as_ref()).any(is_pending) {
        return Ok(());
    }
    if job.args.dry_run {
        job.monitor
            .note("some files on the mirror are half written; a run puts their old content back first");
        return Ok(());
    }
    work::unmount(works)?;
    work::mount(job, works, opened, Access::ReadWrite)?;
    for work in works.iter_mut() {
        let Some(mirror) = &work.mirror else { continue };
        let put_back =
            mirror_view(mirror).and_then(|view| Ok(tree::put_back(&view).map_err(cannot_put_back)?));
        if let Some(put_back) = work.survive(put_back)? {
            put_back.tell(job.monitor);
        }
    }
    work::unmount(works)?;
    work::mount(job, works, opened, Access::ReadOnly)
}

fn cannot_put_back(error: io::Error) -> Failure {
    let state =
        "what is needed to put it back is kept on the mirror, in .diskmirror/undo; nothing else was written";
    Failure::new("a file that an earlier run left half written cannot be put back", state)
        .why(error.to_string())
        .remedy("look at the mirror's disk (dmesg, smartctl -a), then run again: it begins with putting that back")
}

fn itemise(works: &mut [Work<'_>]) -> Result<()> {
    let mut out = io::BufWriter::new(io::stdout().lock());
    let list = works.iter_mut().try_for_each(|work| {
        let Some(changes) = &mut work.changes else { return Ok(()) };
        writeln!(out, "{}:", work.volume.mount)?;
        changes.itemise(&mut out)
    });
    Ok(output::unless_closed(list.and_then(|()| out.flush()))?)
}

fn go_on() -> Result<()> {
    if signal::stop_requested() { Err(tree::Error::Stopped.into()) } else { Ok(()) }
}

/// What is true wherever an error carries no state of its own: those of writing all do.
const NOTHING_COPIED: &str = "nothing was copied to the mirror or deleted from it";

/// Enters the outcome into the record: the gravest counts.
fn conclude(job: &Job, record: &mut RunRecord, outcome: Result<()>) {
    record.ended = Some(job.now());
    record.waited = job.waited();
    record.state = match &outcome {
        Ok(()) => record.finished(record.total().errors),
        Err(_) if signal::stop_requested() => State::Stopped,
        Err(error) if error.is::<Refusal>() => State::Refused,
        Err(_) => State::Failed,
    };
    record.message = match (record.state, outcome) {
        (State::Stopped, Err(_)) => Some(stopped().to_string()),
        (_, Err(error)) => Some(stated(error, "the run failed", NOTHING_COPIED).to_string()),
        (_, Ok(())) => None,
    };
}

fn stopped() -> Failure {
    let state = "every file on the mirror is its old or its new version; it is unmounted and closed";
    Failure::new("stopped by a signal", state).remedy("run again: it goes on where it ended")
}

/// Says who holds the lock, and leaves a record that says so too.
fn locked_out(job: &Job, record: &mut RunRecord, holder: Option<Holder>) {
    let refusal = mirror::busy(holder, job.now());
    record.state = State::Locked;
    record.ended = Some(job.now());
    record.message = Some(refusal.to_string());
    if !job.args.dry_run {
        Ledger::enter(job, record);
    }
}

/// Says how it ended: errors on stderr, one line or one object on stdout, a line in the log. Where nobody listens any more,
/// what was done is done.
fn tell(job: &Job, record: &mut RunRecord) {
    if let Some(message) = &record.message {
        output::error(message);
    }
    for line in render::run::boot_lines(record) {
        job.monitor.warn(&line);
    }
    if !job.args.dry_run
        && let Err(error) = log::append(&job.log_file, record)
    {
        job.monitor.warn(&format!("the log {} cannot be written: {error}", job.log_file.display()));
    }
    let said = if job.args.json {
        output::line(&render::run::json(record))
    } else if record.message.is_none() && !job.args.dry_run {
        output::line(&render::run::summary(record))
    } else {
        Ok(())
    };
    if let Err(error) = said {
        job.monitor.warn(&format!("what this run did cannot be printed: {error}"));
    }
}

impl<'a> Job<'a> {
    /// Seconds since 1970.
    fn now(&self) -> i64 {
        jiff::Timestamp::now().as_second()
    }

    /// What was waited on purpose so far.
    fn waited(&self) -> Waited {
        let tree::Waited { limit, others } = self.pace.waited();
        Waited { limit, others }
    }

    /// Says what went wrong beside the file systems, and enters it into the record.
    fn trouble(&self, record: &mut RunRecord, line: &str) {
        self.monitor.warn(line);
        record.trouble(line);
    }

    /// The catalog of a file system.
    fn catalog(&self, volume: &Volume) -> PathBuf {
        self.config.catalogs(self.root, self.mirror).join(&volume.mirror_uuid)
    }

    /// The command as it was given, without what changes from run to run.
    fn command_line(&self) -> String {
        let mut line = "diskmirror run".to_owned();
        if self.root != Path::new("/") {
            line += &format!(" --root {}", crate::step::quoted(&self.root.to_string_lossy()));
        }
        if let Some(file) = self.config_file {
            line += &format!(" --config {}", crate::step::quoted(&file.to_string_lossy()));
        }
        line
    }

    /// Takes the mirror's lock.
    fn lock(&self) -> Result<Attempt> {
        let holder = Holder { pid: std::process::id(), since: self.now(), what: self.command_line() };
        mirror::lock(&self.runtime_dir, self.mirror, &holder)
    }
}
