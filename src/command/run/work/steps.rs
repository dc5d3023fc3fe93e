//! The steps of a run over all its file systems, in the order of the design: look at all, decide on all, then write. What
//! fails on one of them is its own trouble (`survive`), and the others go on.

use super::Work;
use crate::command::run::Job;
use crate::command::run::boot::Boot;
use crate::command::run::deletions;
use crate::command::run::trouble::{keep_together, may_boot};
use crate::command::trees::damage::DamageFile;
use crate::command::trees::found::enter;
use crate::command::trees::mirror_view;
use crate::mirror::mark::{self, LastRun, Mark};
use crate::mirror::{self, Access, Mounted, Opened};
use crate::record::{RunRecord, State, VerifyRecord};
use crate::refusal::Refusal;
use crate::sys::dir::sync_volume;
use crate::sys::node::DeviceNumber;
use crate::sys::private;
use crate::tree::{self, Sample, Scope};
use anyhow::{Context, Result};
use std::time::Instant;

/// Errors that a mark names.
const MARKED_ERRORS: usize = 5;

/// Does a step for each file system whose mirror is mounted and whose work has not failed.
fn each<'a>(
    works: &mut [Work<'a>],
    mut step: impl FnMut(&mut Work<'a>, &mut Mounted) -> Result<()>,
) -> Result<()> {
    works.iter_mut().try_for_each(|work| with_mirror(work, &mut step))
}

fn with_mirror<'a>(
    work: &mut Work<'a>,
    step: impl FnOnce(&mut Work<'a>, &mut Mounted) -> Result<()>,
) -> Result<()> {
    let Some(mut mirror) = work.mirror.take() else { return Ok(()) };
    let outcome = if work.failed.is_none() { step(work, &mut mirror) } else { Ok(()) };
    work.mirror = Some(mirror);
    work.survive(outcome).map(drop)
}

/// Looks at the marks and checks each mirror, before anything is written to any of them.
///
/// # Errors
/// What ends the whole run.
pub fn check(job: &Job, works: &mut [Work<'_>], opened: &Opened<'_>) -> Result<()> {
    let devices = devices(works);
    for (number, work) in works.iter_mut().enumerate() {
        let looked_at = opened.look_at_mark(number, job.mirror, &job.runtime_dir, &devices);
        work.survive(looked_at)?;
    }
    if job.args.dry_run {
        return Ok(());
    }
    let scratch = job.runtime_dir.join(&job.mirror.name).join("check");
    private::make_dir(&scratch)?;
    for (work, (volume, node)) in
        works.iter_mut().zip(opened.volumes()).filter(|(work, _)| work.failed.is_none())
    {
        if let Some(checked) = work.survive(mirror::check(node, volume.kind, &scratch))? {
            work.checked = checked;
        }
    }
    // Whatever is in its way is said by what fails next.
    let _ = std::fs::remove_dir(&scratch);
    Ok(())
}

/// Mounts each mirror whose work has not failed.
///
/// # Errors
/// What ends the whole run.
pub fn mount(job: &Job, works: &mut [Work<'_>], opened: &Opened<'_>, access: Access) -> Result<()> {
    let devices = devices(works);
    for (number, work) in works.iter_mut().enumerate().filter(|(_, work)| work.failed.is_none()) {
        let mounted = opened.mount_volume(number, job.mirror, &job.runtime_dir, access, &devices);
        work.mirror = work.survive(mounted)?;
    }
    Ok(())
}

/// Unmounts all that is mounted.
///
/// # Errors
/// What ends the whole run; what stays busy is the trouble of its file system.
pub fn unmount(works: &mut [Work<'_>]) -> Result<()> {
    for work in works.iter_mut().rev() {
        if let Some(mirror) = work.mirror.take() {
            work.survive(mirror.unmount())?;
        }
    }
    Ok(())
}

fn devices(works: &[Work<'_>]) -> Vec<DeviceNumber> {
    works.iter().filter_map(Work::device).collect()
}

/// The number of the latest run that wrote to the mirror, as far as its marks tell.
pub fn latest_run(works: &[Work<'_>]) -> u64 {
    works.iter().filter_map(|work| work.mirror.as_ref()).map(|mirror| mirror.mark.run).max().unwrap_or(0)
}

/// Finds what differs on every file system that is not streamed, and learns what each mirror's content is worth. Of a mirror
/// that cannot be looked at nothing is known: the others are then not believed to be clean.
///
/// # Errors
/// A `Refusal` if nothing can be mirrored; what ends the whole run.
pub fn scan(job: &Job, works: &mut [Work<'_>]) -> Result<()> {
    let found: Vec<usize> = (0..works.len()).filter(|&number| works[number].mirror.is_some()).collect();
    let marks: Vec<Mark> = works.iter().filter_map(|work| Some(work.mirror.as_ref()?.mark.clone())).collect();
    let known = mark::knowledge(&marks, marks.len() == works.len(), job.now());
    for ((number, mark), knowledge) in found.into_iter().zip(&marks).zip(known) {
        works[number].learn(knowledge, mark, job.args.full);
    }
    refuse_without_sources(works)?;
    each(works, |work, mounted| {
        work.remember(job, mounted)?;
        if job.args.dry_run || !work.streams() { work.scan(job, mounted) } else { Ok(()) }
    })?;
    works.iter_mut().filter(|work| !work.streams()).for_each(|work| deletions::leave_out_emptied(job, work));
    Ok(refuse_without_sources(works)?)
}

/// Reads a share of what the catalogs prove, on both sides. What is found damaged on the mirror, the next run mends.
///
/// # Errors
/// What ends the reading.
pub fn verify_share(
    job: &Job,
    works: &mut [Work<'_>],
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
    each(works, |work, mounted| {
        let Some(source) = work.view.as_ref().filter(|_| tree::is_believed(&work.options)) else {
            return Ok(());
        };
        let mirror = mirror_view(mounted)?;
        let found = tree::verify(source, &mirror, &work.options, &Scope::Share(sample), job.monitor)?;
        enter(&work.volume.mount, &work.options.held, found, &mut record, damage);
        Ok(())
    })?;
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

/// Writes: marks dirty, additions everywhere, flush, loaders, flush, deletions everywhere, swap files, images rebuilt, flush, marks
/// clean. A file system whose work fails keeps its dirty mark, and the others are refreshed.
///
/// # Errors
/// What ends the whole run.
pub fn apply(
    job: &Job,
    works: &mut [Work<'_>],
    boot: &mut Boot,
    opened: &Opened<'_>,
    record: &RunRecord,
) -> Result<()> {
    keep_together(works);
    mount(job, works, opened, Access::ReadWrite)?;
    keep_together(works);
    let run = record.id.unsigned_abs();
    each(works, |work, mounted| work.begin(job, mounted, run))?;
    for number in 0..works.len() {
        keep_together(works);
        with_mirror(&mut works[number], |work, mounted| work.add(job, mounted))?;
    }
    flush(works)?;
    if may_boot(works) {
        boot.install(job, works);
        flush(works)?;
    }
    keep_together(works);
    each(works, |work, mounted| work.delete(job, mounted))?;
    // What was deleted may have been in their way.
    each(works, |work, mounted| work.make_swap_files(job, mounted))?;
    keep_together(works);
    if may_boot(works) {
        boot.rebuild(job, works);
        boot.audit(works);
        boot.note_state(job, works, &opened.disk);
    } else {
        boot.left_alone();
    }
    flush(works)?;
    let (last, alone) = (last_run(works, boot, record), boot.record.findings.is_empty());
    each(works, |work, mounted| work.end(job, mounted, run, &last, alone))?;
    unmount(works)
}

fn flush(works: &mut [Work<'_>]) -> Result<()> {
    each(works, |_, mounted| sync_volume(&mounted.root).context("cannot flush the mirror"))
}

/// What this run will have been, as far as its marks can say it.
fn last_run(works: &[Work<'_>], boot: &Boot, record: &RunRecord) -> LastRun {
    let failed = works.iter().any(|work| work.failed.is_some());
    let mut so_far = RunRecord { boot: Some(boot.record.clone()), ..record.clone() };
    works.iter().flat_map(|work| &work.troubles).for_each(|line| so_far.trouble(line));
    let errors = works.iter().map(Work::errors).sum::<u64>() + record.errors.len() as u64;
    let state = if failed { State::Failed } else { so_far.finished(errors) };
    LastRun {
        started: record.started,
        state: state.name().into(),
        errors,
        lines: so_far.errors.into_iter().take(MARKED_ERRORS).collect(),
    }
}
