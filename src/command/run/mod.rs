//! `run`: one refresh of the mirror; what the timer calls.
//!
//! Whatever happens, a record is written, and the exit code comes from it.

mod boot;
mod late;
mod log;
mod work;

use crate::cli::RunArgs;
use crate::command::trees::damage::DamageFile;
use crate::command::trees::{self, mirror_view};
use crate::config::{Config, Mirror, Volume, below};
use crate::exit_code::Exit;
use crate::history::History;
use crate::mirror::{self, Access, Checked, Mounted, Opened};
use crate::monitor::Monitor;
use crate::record::{RunRecord, State, Waited};
use crate::refusal::{Failure, Refusal, stated};
use crate::render;
use crate::sys::lock::{Holder, Lock};
use crate::sys::node::DeviceNumber;
use crate::sys::{mount, signal};
use crate::tree::{self, Pace};
use anyhow::{Context, Result};
use boot::Boot;
use std::fs::DirBuilder;
use std::io::{self, Write};
use std::os::unix::fs::DirBuilderExt;
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
/// A `Refusal` if there is no configuration to work from, and whatever keeps a record from being written; everything
/// else is in the record that the exit code comes from.
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
    let outcome = match job.lock()? {
        Ok(held) => recorded(&job, &mut record, held),
        Err(holder) => locked_out(&job, &mut record, holder),
    };
    outcome?;
    tell(&job, &record)?;
    Ok(record.exit())
}

/// The run under its lock, between its first record and its last.
fn recorded(job: &Job, record: &mut RunRecord, held: Lock) -> Result<()> {
    if job.args.dry_run {
        let outcome = refresh(job, record);
        conclude(job, record, outcome);
        drop(held);
        return Ok(());
    }
    let history = History::open(&job.state_dir)?;
    let killed = history.close_killed(&record.mirror, job.now())?;
    if killed > 0 {
        job.monitor.note(&format!("{killed} earlier run ended without a word: killed, or the power was cut"));
    }
    history.begin(record)?;
    log::make(&job.log_file);
    place_for_catalogs(job).context("cannot make a place for catalogs")?;
    let outcome = late::told(job.monitor, late::AFTER, &|| job.waited(), || refresh(job, record));
    conclude(job, record, outcome);
    history.finish(record)?;
    drop(held);
    Ok(())
}

/// Makes the catalogs' directory, and takes away what is there of file systems that this mirror does not have.
fn place_for_catalogs(job: &Job) -> io::Result<()> {
    let place = job.config.catalogs(job.root, job.mirror);
    DirBuilder::new().recursive(true).mode(0o700).create(&place)?;
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
fn refresh(job: &Job, record: &mut RunRecord) -> Result<()> {
    mount::enter_private_namespace().context("cannot have a mount namespace of its own: is this root?")?;
    if let Err(reversed) = mirror::check_role(job.root, job.mirror) {
        // Mounted somewhere else, it serves nobody.
        if job.root == Path::new("/") && !job.args.dry_run {
            mirror::note_service(job.root, job.mirror, job.now())?;
        }
        return Err(reversed.into());
    }
    let sources = job.mirror.volumes.iter().map(|volume| mirror::open_source(job.root, volume)).collect();
    let mut damage = DamageFile::read(&job.state_dir, job.mirror)?;
    let works = Work::all(job, sources, &damage)?;
    work::refuse_without_sources(&works)?;
    mirror::sweep(job.mirror)?;
    let opened = mirror::find(job.mirror)?.open(job.mirror, job.root, job.args.dry_run)?;
    refresh_opened(job, record, works, &opened, &mut damage)?;
    opened.close()
}

/// Check, mount, scan, decide, apply.
fn refresh_opened(
    job: &Job,
    record: &mut RunRecord,
    mut works: Vec<Work<'_>>,
    opened: &Opened<'_>,
    damage: &mut DamageFile,
) -> Result<()> {
    let devices: Vec<_> = works.iter().filter_map(Work::device).collect();
    mirror::look_at_marks(job.mirror, opened, &job.runtime_dir, &devices)?;
    let checked = check(job, opened)?;
    go_on()?;
    let mut boot = Boot::prepare(job, &mut works, opened)?;
    let looked_at = mount_whole(job, opened, &devices)?;
    work::scan(job, &mut works, &looked_at, &checked)?;
    if job.args.dry_run {
        itemise(&mut works)?;
    }
    work::decide(job, &works)?;
    verify_share(job, &works, &looked_at, record, damage)?;
    looked_at.into_iter().rev().try_for_each(mirror::Mounted::unmount)?;
    // What must not reach the mirror is written down before anything else does.
    works.iter().for_each(|work| work.keep_held(damage, false));
    keep(job, damage)?;
    let applied = match job.args.dry_run {
        true => Ok(()),
        false => work::apply(job, &mut works, &mut boot, opened, record.id.unsigned_abs()),
    };
    record.boot = Some(boot.record);
    works.into_iter().for_each(|work| {
        if let Err(refusal) = &work.source {
            job.monitor.warn(&refusal.to_string());
        }
        work.report(job, record, damage, applied.is_ok() && !job.args.dry_run);
    });
    applied.and(keep(job, damage))
}

/// Reads the share of all files that is due, if the configuration names one, and enters what was found.
fn verify_share(
    job: &Job,
    works: &[Work<'_>],
    mounted: &[Mounted],
    record: &mut RunRecord,
    damage: &mut DamageFile,
) -> Result<()> {
    if job.args.dry_run {
        return Ok(());
    }
    let Some(sample) = damage.next_share("run", job.mirror.verify_share) else { return Ok(()) };
    let mut verified = work::verify_share(job, works, mounted, sample, damage)?;
    verified.run = Some(record.id);
    for difference in &verified.differences {
        let line = render::verify::line(difference);
        job.monitor.warn(&line);
        record.error(line);
    }
    record.verified = Some(verified.total());
    History::open(&job.state_dir)?.add_verification(&mut verified)
}

/// Writes down what is damaged; a dry run leaves that as it is.
fn keep(job: &Job, damage: &mut DamageFile) -> Result<()> {
    if job.args.dry_run { Ok(()) } else { damage.write() }
}

/// Mounts the mirror to be looked at. Where a run was cut off in the middle of a file, its old content is put back first.
fn mount_whole(job: &Job, opened: &Opened<'_>, devices: &[DeviceNumber]) -> Result<Vec<Mounted>> {
    let mount = |access| opened.mount(job.mirror, &job.runtime_dir, access, devices);
    let unmount = |mounted: Vec<Mounted>| mounted.into_iter().rev().try_for_each(mirror::Mounted::unmount);
    let looked_at = mount(Access::ReadOnly)?;
    let mut pending = false;
    for one in &looked_at {
        pending |= tree::is_pending(&mirror_view(one)?);
    }
    if !pending {
        return Ok(looked_at);
    }
    if job.args.dry_run {
        job.monitor
            .note("some files on the mirror are half written; a run puts their old content back first");
        return Ok(looked_at);
    }
    unmount(looked_at)?;
    let writable = mount(Access::ReadWrite)?;
    for one in &writable {
        let put_back = tree::put_back(&mirror_view(one)?).map_err(cannot_put_back)?;
        put_back.tell(job.monitor);
    }
    unmount(writable)?;
    mount(Access::ReadOnly)
}

fn cannot_put_back(error: io::Error) -> Failure {
    let state =
        "what is needed to put it back is kept on the mirror, in .diskmirror/undo; nothing else was written";
    Failure::new("a file that an earlier run left half written cannot be put back", state)
        .why(error.to_string())
        .remedy("mend that, then run again")
}

/// Checks every file system; a dry run leaves them as they are.
fn check(job: &Job, opened: &Opened<'_>) -> Result<Vec<Checked>> {
    let scratch = job.runtime_dir.join(&job.mirror.name).join("check");
    DirBuilder::new().recursive(true).mode(0o700).create(&scratch)?;
    let one = |(volume, node): (&Volume, &Path)| match job.args.dry_run {
        true => Ok(Checked::Sound),
        false => mirror::check(node, volume.kind, &scratch),
    };
    let checked = opened.volumes().map(one).collect();
    // Whatever is in its way is said by what fails next.
    let _ = std::fs::remove_dir(&scratch);
    checked
}

fn itemise(works: &mut [Work<'_>]) -> Result<()> {
    let mut out = io::BufWriter::new(io::stdout().lock());
    for work in works {
        let Some(changes) = &mut work.changes else { continue };
        writeln!(out, "{}:", work.volume.mount)?;
        changes.itemise(&mut out)?;
    }
    Ok(out.flush()?)
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
    let boot = record.boot.clone().unwrap_or_default();
    let incomplete = record.total().errors > 0 || !boot.problems.is_empty();
    record.state = match &outcome {
        Ok(()) if !boot.findings.is_empty() => State::NotAlone,
        Ok(()) if record.verified.as_ref().is_some_and(|total| total.differences() > 0) => State::Differs,
        Ok(()) if incomplete => State::Incomplete,
        Ok(()) => State::Done,
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
fn locked_out(job: &Job, record: &mut RunRecord, holder: Option<Holder>) -> Result<()> {
    let refusal = mirror::busy(holder, job.now());
    record.state = State::Locked;
    record.ended = Some(job.now());
    record.message = Some(refusal.to_string());
    if !job.args.dry_run {
        let history = History::open(&job.state_dir)?;
        history.begin(record)?;
        history.finish(record)?;
    }
    Ok(())
}

/// Says how it ended: errors on stderr, one line or one object on stdout, a line in the log.
fn tell(job: &Job, record: &RunRecord) -> Result<()> {
    if let Some(message) = &record.message {
        eprintln!("error: {message}");
    }
    for line in render::run::boot_lines(record) {
        job.monitor.warn(&line);
    }
    if !job.args.dry_run {
        log::append(&job.log_file, record);
    }
    if job.args.json {
        println!("{}", render::run::json(record));
    } else if record.message.is_none() && !job.args.dry_run {
        println!("{}", render::run::summary(record));
    }
    Ok(())
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
    fn lock(&self) -> Result<Result<Lock, Option<Holder>>> {
        let holder = Holder { pid: std::process::id(), since: self.now(), what: self.command_line() };
        mirror::lock(&self.runtime_dir, self.mirror, &holder)
    }
}
