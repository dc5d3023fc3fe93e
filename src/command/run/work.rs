//! One run's work on the file systems, in the order of the design: look at all, decide on all, then write.

use super::Job;
use super::boot::Boot;
use crate::command::trees::damage::DamageFile;
use crate::command::trees::found::enter;
use crate::command::trees::{self, excludes, mirror_view};
use crate::config::Volume;
use crate::mirror::mark::{self, Knowledge, Mark};
use crate::mirror::{Access, Checked, Mounted, Opened, Source};
use crate::record::{RunRecord, VerifyRecord, VolumeRecord};
use crate::refusal::{Failure, Refusal};
use crate::sys::dir::sync_volume;
use crate::sys::node::DeviceNumber;
use crate::sys::stat::Timestamp;
use crate::tree::{
    self, Changes, Counts, Options, RelPath, Remembered, Sample, Scope, TooManyDeletions, View, Wanted,
};
use anyhow::{Context, Result};
use std::collections::BTreeSet;
use std::os::fd::OwnedFd;
use std::sync::Arc;
use std::time::{Duration, Instant};

/// One file system on its way through a run.
pub struct Work<'a> {
    /// Which.
    pub volume: &'a Volume,
    /// Where it is copied from; or why it is left alone.
    pub source: Result<Source, Refusal>,
    /// Its source, as the engine sees it.
    view: Option<View>,
    /// What is left out of every file system.
    patterns: Arc<Vec<String>>,
    options: Options,
    knowledge: Knowledge,
    checked: Checked,
    /// What is to be done; none while streaming.
    pub changes: Option<Changes>,
    counts: Counts,
    time: Duration,
    /// What was to be mended on its mirror when the run began.
    to_mend: BTreeSet<RelPath>,
    /// When the source was looked at, in seconds since 1970.
    looked_at: i64,
}

impl<'a> Work<'a> {
    /// Enters every source that can be entered.
    ///
    /// # Errors
    /// Those of entering a source that is there.
    pub fn all(
        job: &'a Job,
        sources: Vec<Result<Source, Refusal>>,
        damage: &DamageFile,
    ) -> Result<Vec<Work<'a>>> {
        let swaps = std::fs::read_to_string("/proc/swaps").unwrap_or_default();
        let patterns = Arc::new(excludes::patterns(job.config, job.mirror, job.root, &swaps));
        let one = |(volume, source): (&'a Volume, Result<Source, Refusal>)| {
            let view = source.as_ref().ok().map(trees::source_view).transpose()?;
            let held = damage.held_on(&volume.mount, job.args.accept.as_deref());
            let excludes = excludes::on_volume(&patterns, &volume.mount)?;
            let options = Options {
                excludes,
                held,
                blocks_from: job.mirror.blocks_from.0,
                pace: Some(job.pace.clone()),
                ..Options::default()
            };
            let (knowledge, checked, time) = (Knowledge::Clean, Checked::Sound, Duration::ZERO);
            Ok(Work {
                volume,
                source,
                view,
                patterns: patterns.clone(),
                options,
                knowledge,
                checked,
                changes: None,
                counts: Counts::default(),
                time,
                to_mend: damage.to_be_repaired(&volume.mount),
                looked_at: job.now(),
            })
        };
        job.mirror.volumes.iter().zip(sources).map(one).collect()
    }

    /// Its source's root directory, if it has one.
    pub fn root(&self) -> Option<&OwnedFd> {
        self.view.as_ref().map(View::root)
    }

    /// Takes in what its mirror shall hold instead of the source's files, and which of the mirror's files (patterns) are
    /// nobody's but its own.
    ///
    /// # Errors
    /// Those of a pattern that is none.
    pub fn for_boot(&mut self, wanted: Wanted, own: &[String]) -> Result<(), Refusal> {
        let patterns: Vec<String> = self.patterns.iter().chain(own).cloned().collect();
        self.options.excludes = excludes::on_volume(&patterns, &self.volume.mount)?;
        self.options.wanted = wanted;
        Ok(())
    }

    /// The device its source lies on, if it has one.
    pub fn device(&self) -> Option<DeviceNumber> {
        self.source.as_ref().ok().map(|source| source.device)
    }

    /// Takes in what the marks and the check say about its mirror, and refuses a source that has lost everything.
    fn learn(&mut self, knowledge: Knowledge, checked: Checked, mark: &Mark, full: bool) {
        (self.knowledge, self.checked) = (knowledge, checked);
        self.options.compare_content = full || checked == Checked::Repaired;
        self.options.compare_whole = full;
        self.options.doubt_since = mark.looked_at.map(|secs| tree::unsure_from(Timestamp { secs, nanos: 0 }));
        self.options.suspect_since = match knowledge {
            Knowledge::SuspectSince(secs) => Some(Timestamp { secs, nanos: 0 }),
            Knowledge::Clean | Knowledge::NeverComplete => None,
        };
        if let (Ok(source), Some(view)) = (&self.source, &self.view)
            && knowledge != Knowledge::NeverComplete
            && source.is_empty(view.root())
        {
            self.source = Err(source.empty_refusal());
            self.view = None;
        }
    }

    /// Opens the catalog of the last run; without one, everything is compared.
    fn remember(&mut self, job: &Job, mounted: &Mounted) -> Result<()> {
        let Some(source) = &self.view else { return Ok(()) };
        let path = job.catalog(self.volume);
        let sound = self.knowledge == Knowledge::Clean && self.checked == Checked::Sound;
        let remembered = Remembered {
            path: &path,
            state: mounted.mark.catalog.as_deref().unwrap_or_default(),
            settled: sound && mounted.mark.catalog.is_some(),
            record: !job.args.dry_run,
            whole_every_secs: Some(job.mirror.full_every.0),
        };
        let mirror = mirror_view(mounted)?;
        let title = |what: &str| format!("{}: {what}", self.volume.mount);
        match tree::remember(&mut self.options, source, &mirror, &remembered) {
            Ok(note) => note.iter().for_each(|note| job.monitor.warn(&title(note))),
            Err(error) => {
                job.monitor.warn(&title(&format!("no catalog is used: {}: {error}", path.display())))
            }
        }
        Ok(())
    }

    fn begin_writing(&self) -> Result<()> {
        let writes = self.changes.as_ref().is_none_or(|changes| !changes.is_empty());
        if writes { tree::begin_writing(&self.options).context("cannot write the catalog") } else { Ok(()) }
    }

    /// Keeps what was found for the next run, and enters into its last mark what that goes by. What was left alone is as it
    /// was; where the audit found something, the mirror is not what it should be, and the next run looks at all of it.
    fn keep_memory(&self, job: &Job, mounted: &Mounted, ended: Mark, alone: bool) -> Mark {
        match &self.view {
            None => ended,
            Some(source) => {
                let catalog = if alone { self.commit(job, mounted, source) } else { None };
                Mark { catalog, looked_at: Some(self.looked_at), ..ended }
            }
        }
    }

    /// Writes the catalog, and says in which state the mirror is for it. One that cannot be written costs a full comparison.
    fn commit(&self, job: &Job, mounted: &Mounted, source: &View) -> Option<String> {
        self.options.catalog.as_ref()?;
        let as_it_was =
            tree::is_believed(&self.options) && self.changes.as_ref().is_some_and(Changes::is_empty);
        let before = mounted.mark.catalog.clone().filter(|_| as_it_was);
        let state = before.unwrap_or_else(|| uuid::Uuid::new_v4().to_string());
        match tree::commit_memory(&self.options, source, &state) {
            Ok(note) => {
                note.iter().for_each(|note| job.monitor.warn(&format!("{}: {note}", self.volume.mount)));
                Some(state)
            }
            Err(error) => {
                job.monitor.warn(&format!("{}: the catalog cannot be written: {error}", self.volume.mount));
                None
            }
        }
    }

    fn streams(&self) -> bool {
        self.knowledge == Knowledge::NeverComplete
    }

    /// Finds what differs. Writes nothing.
    fn scan(&mut self, job: &Job, mirror: &Mounted) -> Result<()> {
        let Some(source) = &self.view else { return Ok(()) };
        let begun = Instant::now();
        let mirror = mirror_view(mirror)?;
        let scanned = tree::scan(source, &mirror, &self.options, job.monitor);
        self.changes = Some(scanned.map_err(|error| not_compared(&self.volume.mount, error))?);
        self.time += begun.elapsed();
        Ok(())
    }

    fn add(&mut self, job: &Job, mirror: &Mounted) -> Result<()> {
        let Some(source) = &self.view else { return Ok(()) };
        let begun = Instant::now();
        let mirror = mirror_view(mirror)?;
        let counts = match &self.changes {
            None => tree::stream(source, &mirror, &self.options, job.monitor)?,
            Some(changes) => tree::apply_additions(changes, source, &mirror, &self.options, job.monitor)?,
        };
        self.counts += counts;
        self.time += begun.elapsed();
        Ok(())
    }

    fn delete(&mut self, job: &Job, mirror: &Mounted) -> Result<()> {
        let (Some(source), Some(changes)) = (&self.view, &self.changes) else { return Ok(()) };
        let begun = Instant::now();
        let mirror = mirror_view(mirror)?;
        self.counts += tree::apply_deletions(changes, source, &mirror, &self.options, job.monitor)?;
        self.time += begun.elapsed();
        Ok(())
    }

    /// Notes which damaged files of the primary are held by now: one that is gone, or has been accepted and copied, is not.
    pub fn keep_held(&self, damage: &mut DamageFile, is_applied: bool) {
        let Some(source) = &self.view else { return };
        let held = &self.options.held;
        for (path, hold) in held.holds() {
            let failed = self.counts.file_errors.iter().any(|error| error.path == path);
            let is_gone = || tree::is_absent(source, &path);
            if is_applied && (hold.accepted && !failed || is_gone()) {
                held.release(&path);
            }
        }
        damage.take_over(&self.volume.mount, held, self.looked_at);
    }

    /// Enters what was done into the record; what a verification had found damaged on the mirror is mended, if that `is_applied`.
    pub fn report(self, job: &Job, record: &mut RunRecord, damage: &mut DamageFile, is_applied: bool) {
        self.keep_held(damage, is_applied);
        let mount = &self.volume.mount;
        let failed: Vec<_> = self.counts.file_errors.iter().map(|error| &error.path).collect();
        let mends = is_applied && self.view.is_some();
        let repaired = if mends { damage.repaired(mount, &self.to_mend, &failed) } else { 0 };
        let damaged: Vec<_> = damage.held.iter().filter(|held| held.mount == *mount).collect();
        for held in &damaged {
            job.monitor.warn(&held.words());
            record.error(held.words());
        }
        let damaged = damaged.len() as u64;
        let mut counts = self.counts;
        if let Some(changes) = self.changes {
            counts += changes.into_counts();
        }
        for error in &counts.file_errors {
            record.error(format!("{}: {} {}: {}", self.volume.mount, error.doing, error.path, error.error));
        }
        if let Err(refusal) = &self.source {
            record.error(format!("{}: {}", self.volume.mount, refusal.what));
        }
        record.volumes.push(VolumeRecord {
            mount: self.volume.mount.clone(),
            entries_scanned: counts.entries_scanned,
            files_copied: counts.files_copied,
            bytes_copied: counts.bytes_copied,
            hardlinks: counts.hardlinks,
            metadata_changed: counts.metadata_changed,
            renamed: counts.renamed,
            deleted: counts.deleted,
            repaired,
            errors: counts.errors + damaged + u64::from(self.source.is_err()),
            seconds: self.time.as_secs_f64(),
        });
    }
}

/// Finds what differs on every file system that is not streamed, and learns what each mirror's content is worth.
///
/// # Errors
/// A `Refusal` if nothing can be mirrored; what ends the scan.
pub fn scan(job: &Job, works: &mut [Work<'_>], mounted: &[Mounted], checked: &[Checked]) -> Result<()> {
    let marks: Vec<Mark> = mounted.iter().map(|mounted| mounted.mark.clone()).collect();
    let known = mark::knowledge(&marks, job.now());
    for (((work, knowledge), checked), mark) in works.iter_mut().zip(known).zip(checked).zip(&marks) {
        work.learn(knowledge, *checked, mark, job.args.full);
    }
    refuse_without_sources(works)?;
    for (work, mounted) in works.iter_mut().zip(mounted) {
        work.remember(job, mounted)?;
        if job.args.dry_run || !work.streams() {
            work.scan(job, mounted)?;
        }
    }
    Ok(())
}

/// Reads a share of what the catalogs prove, on both sides. What is found damaged on the mirror, the next run mends.
///
/// # Errors
/// What ends the reading.
pub fn verify_share(
    job: &Job,
    works: &[Work<'_>],
    mounted: &[Mounted],
    sample: Sample,
    damage: &mut DamageFile,
) -> Result<VerifyRecord> {
    let begun = Instant::now();
    let mut record = VerifyRecord {
        mirror: job.mirror.name.clone(),
        table_id: job.mirror.disk.table_id.clone(),
        started: job.now(),
        sample: Some(job.mirror.verify_share.to_string()),
        ..VerifyRecord::default()
    };
    for (work, mounted) in works.iter().zip(mounted) {
        let Some(source) = work.view.as_ref().filter(|_| tree::is_believed(&work.options)) else { continue };
        let mirror = mirror_view(mounted)?;
        let found = tree::verify(source, &mirror, &work.options, &Scope::Share(sample), job.monitor)?;
        enter(&work.volume.mount, &work.options.held, found, &mut record, damage);
    }
    record.seconds = begun.elapsed().as_secs_f64();
    Ok(record)
}

/// Refuses a run whose root is refused, or that has nothing left to do.
///
/// # Errors
/// The root's own `Refusal`, with all others as its reasons.
pub fn refuse_without_sources(works: &[Work<'_>]) -> Result<(), Refusal> {
    let refused: Vec<&Refusal> = works.iter().filter_map(|work| work.source.as_ref().err()).collect();
    let root_is_refused = works.first().is_some_and(|work| work.source.is_err());
    let Some((first, others)) = refused.split_first().filter(|_| root_is_refused) else { return Ok(()) };
    let with_others = others.iter().fold((*first).clone(), |all, other| all.why(other.what.clone()));
    Err(with_others)
}

/// Looks at every list of deletions: all may be carried out, or nothing is written at all.
///
/// # Errors
/// A `Refusal` that names the directories that lose most, and what lets this list through.
pub fn decide(job: &Job, works: &[Work<'_>]) -> Result<(), Refusal> {
    for work in works {
        let Some(changes) = &work.changes else { continue };
        tree::decide(changes.tally(), job.args.accept.as_deref())
            .map_err(|many| too_many(job, work, &many))?;
    }
    Ok(())
}

fn too_many(job: &Job, work: &Work<'_>, many: &TooManyDeletions) -> Refusal {
    let what = format!("refusing to refresh the mirror of {}: {many}", work.volume.mount);
    let refusal = Refusal::new(what, "nothing was written to the mirror");
    let lines = many.losing_most.iter().map(|(path, entries)| {
        format!(
            "{} would lose {entries}",
            std::path::Path::new(&work.volume.mount).join(path.to_string()).display()
        )
    });
    lines.fold(refusal, Refusal::why).remedy(format!(
        "if this is meant: {} --accept {}",
        job.command_line(),
        many.digest
    ))
}

/// Writes: marks dirty, additions everywhere, flush, loaders, flush, deletions everywhere, images rebuilt, flush, marks
/// clean.
///
/// # Errors
/// A `Failure` that says what is true of the mirror now.
pub fn apply(
    job: &Job,
    works: &mut [Work<'_>],
    boot: &mut Boot,
    opened: &Opened<'_>,
    run: u64,
) -> Result<()> {
    let devices: Vec<DeviceNumber> = works.iter().filter_map(Work::device).collect();
    let mut mounted = opened.mount(job.mirror, &job.runtime_dir, Access::ReadWrite, &devices)?;
    write_all(job, works, boot, &mut mounted, run).map_err(|error| unfinished(works, error))?;
    mounted.into_iter().rev().try_for_each(Mounted::unmount)
}

fn write_all(
    job: &Job,
    works: &mut [Work<'_>],
    boot: &mut Boot,
    mounted: &mut [Mounted],
    run: u64,
) -> Result<()> {
    for one in mounted.iter_mut() {
        one.mark = one.mark.begun(run, job.now());
        mark::write(&one.root, &one.mark)?;
    }
    for (work, one) in works.iter_mut().zip(&*mounted) {
        work.begin_writing()?;
        work.add(job, one)?;
    }
    flush(mounted)?;
    boot.install(job, mounted);
    flush(mounted)?;
    for (work, one) in works.iter_mut().zip(&*mounted) {
        work.delete(job, one)?;
    }
    boot.rebuild(job, mounted);
    boot.audit(job, mounted);
    flush(mounted)?;
    for (work, one) in works.iter().zip(mounted) {
        // What was left alone is as complete as it was.
        if work.source.is_ok() || !work.streams() {
            let ended = one.mark.ended(run, job.now());
            mark::write(&one.root, &work.keep_memory(job, one, ended, boot.record.findings.is_empty()))?;
        }
    }
    Ok(())
}

fn flush(mounted: &[Mounted]) -> Result<()> {
    mounted.iter().try_for_each(|one| sync_volume(&one.root)).context("cannot flush the mirror")
}

/// The failure of a comparison whose list found no room; any other error as it is.
fn not_compared(mount: &str, error: tree::Error) -> anyhow::Error {
    let Some(place) = error.no_room_for_list() else { return error.into() };
    Failure::new(format!("the mirror of {mount} could not be compared"), "nothing was written to the mirror")
        .why(error.to_string())
        .remedy(format!("make room in {}", place.display()))
        .into()
}

fn unfinished(works: &[Work<'_>], error: anyhow::Error) -> anyhow::Error {
    if matches!(error.downcast_ref(), Some(tree::Error::Stopped)) {
        return error;
    }
    let state = match works.iter().any(Work::streams) {
        true => "the mirror has never been complete; the next run goes on with it",
        false => "every file on the mirror is its old or its new version; the next run looks at the content",
    };
    Failure::new("the mirror could not be refreshed", state).because(&error).into()
}
