//! One file system on its way through a run: what is known of it, what is done with it, and what is to be reported.

mod steps;
mod swap_files;

pub use steps::{apply, check, latest_run, mount, refuse_without_sources, scan, unmount, verify_share};

use super::Job;
use super::boot::in_one_line;
use super::trouble::ends_the_run;
use crate::command::trees::damage::DamageFile;
use crate::command::trees::{self, excludes, mirror_view};
use crate::config::Volume;
use crate::layout::boots;
use crate::mirror::mark::{self, Knowledge, LastRun, Mark};
use crate::mirror::{Checked, Mounted, Source};
use crate::record::{RunRecord, VolumeRecord};
use crate::refusal::{Failure, Refusal};
use crate::sys::node::DeviceNumber;
use crate::sys::proc;
use crate::sys::stat::Timestamp;
use crate::tree::{self, Changes, Counts, Options, RelPath, Remembered, View, Wanted};
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
    /// The active swap files on it, below its root.
    swap_files: Vec<String>,
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
    /// Its mirror, while it is mounted.
    pub mirror: Option<Mounted>,
    /// What ended the work on it; nothing more is done with it then, and the others go on.
    pub failed: Option<anyhow::Error>,
    /// What went wrong beside it: a line each for the record.
    troubles: Vec<String>,
}

impl<'a> Work<'a> {
    /// Enters every source that can be entered.
    ///
    /// # Errors
    /// Those of a pattern that is none.
    pub fn all(
        job: &'a Job,
        sources: Vec<Result<Source, Refusal>>,
        damage: &DamageFile,
    ) -> Result<Vec<Work<'a>>> {
        let swaps = proc::swaps();
        let patterns = Arc::new(excludes::patterns(job.config, job.mirror, job.root, &swaps));
        let swap_files = excludes::swap_files(&swaps, job.root);
        let one = |(volume, source): (&'a Volume, Result<Source, Refusal>)| {
            let (source, view) = entered(source);
            let held = damage.held_on(&volume.mount, &job.args.accept);
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
                swap_files: swap_files::on_volume(&swap_files, volume, &job.mirror.volumes),
                options,
                knowledge,
                checked,
                changes: None,
                counts: Counts::default(),
                time,
                to_mend: damage.to_be_repaired(&volume.mount),
                looked_at: job.now(),
                mirror: None,
                failed: None,
                troubles: Vec::new(),
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

    /// Takes in what the marks say about its mirror.
    fn learn(&mut self, knowledge: Knowledge, mark: &Mark, full: bool) {
        self.knowledge = knowledge;
        self.options.compare_content = full || self.checked == Checked::Repaired;
        self.options.compare_whole = full;
        self.options.doubt_since = mark.looked_at.map(|secs| tree::unsure_from(Timestamp { secs, nanos: 0 }));
        self.options.suspect_since = match knowledge {
            Knowledge::SuspectSince(secs) => Some(Timestamp { secs, nanos: 0 }),
            Knowledge::Clean | Knowledge::NeverComplete => None,
        };
    }

    /// Leaves it out of this run.
    pub fn refuse(&mut self, refusal: impl FnOnce(&Source) -> Refusal) {
        if let Ok(source) = &self.source {
            self.source = Err(refusal(source));
            (self.view, self.changes) = (None, None);
        }
    }

    /// Takes in how a step of the work on it ended: what is its own trouble keeps nobody else from going on.
    ///
    /// # Errors
    /// What ends the whole run.
    pub fn survive<T>(&mut self, outcome: Result<T>) -> Result<Option<T>> {
        match outcome {
            Ok(done) => Ok(Some(done)),
            Err(error) if ends_the_run(&error) => Err(error),
            Err(error) => {
                self.failed.get_or_insert(error);
                Ok(None)
            }
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

    /// Says on its mirror, and in its catalog, that it is about to be written. A catalog that cannot be written is not kept:
    /// the mark names none then, and the next run compares everything.
    fn begin(&mut self, job: &Job, mounted: &mut Mounted, run: u64) -> Result<()> {
        mounted.mark = mounted.mark.begun(run, job.now());
        mark::write(&mounted.root, &mounted.mark)?;
        let writes = self.changes.as_ref().is_none_or(|changes| !changes.is_empty());
        if writes && let Err(error) = tree::begin_writing(&self.options) {
            self.troubles.push(format!("{}: no catalog is kept: {error}", self.volume.mount));
            (self.options.catalog, self.options.blocks) = (None, None);
        }
        Ok(())
    }

    /// Marks its mirror clean. What was left alone is as complete as it was.
    fn end(&mut self, job: &Job, mounted: &Mounted, run: u64, last: &LastRun, alone: bool) -> Result<()> {
        if self.source.is_err() && self.streams() {
            return Ok(());
        }
        let ended = Mark { last_run: Some(last.clone()), ..mounted.mark.ended(run, job.now()) };
        mark::write(&mounted.root, &self.keep_memory(job, mounted, ended, alone))
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

    /// Whether its mirror has never been complete.
    pub fn streams(&self) -> bool {
        self.knowledge == Knowledge::NeverComplete
    }

    /// Finds what differs. Writes nothing.
    fn scan(&mut self, job: &Job, mirror: &Mounted) -> Result<()> {
        let Some(source) = &self.view else { return Ok(()) };
        let begun = Instant::now();
        let mirror = mirror_view(mirror)?;
        let scanned = tree::scan(source, &mirror, &self.options, job.monitor);
        let changes = scanned.map_err(|error| not_compared(&self.volume.mount, error))?;
        if let Ok(Some(lack)) = tree::shortage(&changes, &mirror) {
            job.monitor.warn(&format!("{}: {lack}", self.volume.mount));
        }
        self.changes = Some(changes);
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
        let no_room = counts.no_room;
        self.counts += counts;
        self.time += begun.elapsed();
        // Elsewhere what fits is better than nothing; a kernel without its modules starts no machine.
        if no_room > 0 && boots(&self.volume.mount) {
            let full = std::io::Error::from_raw_os_error(libc::ENOSPC);
            return Err(full).with_context(|| format!("{no_room} entries find no room"));
        }
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

    /// Entries that could not be brought to its mirror, and whatever else is wrong with it.
    fn errors(&self) -> u64 {
        let scanned = self.changes.as_ref().map_or(0, |changes| changes.counts().errors);
        let apart = [self.source.is_err(), self.failed.is_some()];
        self.counts.errors + scanned + apart.map(u64::from).iter().sum::<u64>() + self.troubles.len() as u64
    }

    /// Enters what was done into the record; what a verification had found damaged on the mirror is mended, if that `is_applied`.
    pub fn report(self, job: &Job, record: &mut RunRecord, damage: &mut DamageFile, is_applied: bool) {
        let is_applied = is_applied && self.failed.is_none();
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
        let failed =
            self.failed.as_ref().map(|error| format!("{}: {}", self.volume.mount, in_one_line(error)));
        failed.into_iter().chain(self.troubles).for_each(|line| job.trouble(record, &line));
        let apart = damaged + u64::from(self.source.is_err()) + u64::from(self.failed.is_some());
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
            errors: counts.errors + apart,
            seconds: self.time.as_secs_f64(),
        });
    }
}

/// A source that can be entered, and the view of it; else why it is left alone.
fn entered(source: Result<Source, Refusal>) -> (Result<Source, Refusal>, Option<View>) {
    let source = match source {
        Ok(source) => source,
        refused => return (refused, None),
    };
    match trees::source_view(&source) {
        Ok(view) => (Ok(source), Some(view)),
        Err(error) => (Err(source.not_entered(&error)), None),
    }
}

/// The failure of a comparison whose list found no room; any other error as it is.
fn not_compared(mount: &str, error: tree::Error) -> anyhow::Error {
    let Some(place) = error.no_room_for_list() else { return error.into() };
    Failure::new(format!("the mirror of {mount} could not be compared"), "nothing was written to the mirror")
        .why(error.to_string())
        .remedy(format!("make room in {}", place.display()))
        .into()
}
