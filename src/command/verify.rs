//! `verify`: is the mirror what was written to it, and the primary what was read from it?

use crate::cli::VerifyArgs;
use crate::command::output::{self, not_kept};
use crate::command::trees::damage::DamageFile;
use crate::command::trees::found::enter;
use crate::command::trees::{self, Place, excludes, mirror_view, source_view};
use crate::config::{Config, Volume, below};
use crate::exit_code::Exit;
use crate::history::History;
use crate::mirror::mark::{self, Knowledge};
use crate::mirror::{self, Access, Mounted, Opened, Source};
use crate::monitor::Monitor;
use crate::record::VerifyRecord;
use crate::refusal::{Refusal, stated};
use crate::render;
use crate::sys::lock::{Attempt, Holder};
use crate::sys::stat::Timestamp;
use crate::sys::{mount, proc};
use crate::tree::{self, Options, Remembered, Sample, Scope, View};
use anyhow::{Context, Result};
use std::path::{Path, PathBuf};
use std::time::Instant;

/// What is true however a verification ends.
const UNTOUCHED: &str = "nothing was written to the mirror";

/// Who is verified, and how much.
struct Job<'a> {
    place: Place<'a>,
    runtime_dir: PathBuf,
    sample: Sample,
    monitor: &'a dyn Monitor,
}

/// One file system on both sides.
struct Pair<'a> {
    volume: &'a Volume,
    device: crate::sys::node::DeviceNumber,
    source: View,
    options: Options,
}

/// Compares the mirror with the primary mounted at `root`; writes to neither.
///
/// # Errors
/// A `Refusal` if they cannot be looked at; a `Failure` if that could not be brought to its end. What was found is on
/// stdout and in the exit code.
pub fn verify(
    root: &Path,
    config_file: Option<&Path>,
    args: &VerifyArgs,
    monitor: &dyn Monitor,
) -> Result<Exit> {
    let config = Config::read(root, config_file)?;
    let mirror = config.mirror(args.name.as_deref())?;
    mirror::check_role(root, mirror)?;
    let (state_dir, runtime_dir) = (below(root, &config.state_dir), below(root, &config.runtime_dir));
    let started = jiff::Timestamp::now().as_second();
    let holder = Holder { pid: std::process::id(), since: started, what: "diskmirror verify".into() };
    let _held = match mirror::lock(&runtime_dir, mirror, &holder)? {
        Attempt::Taken(held) => held,
        Attempt::Busy(holder) => {
            output::error(&mirror::busy(holder, started));
            return Ok(Exit::Locked);
        }
    };
    let mut damage = DamageFile::read(&state_dir, mirror)?;
    let sample = args.sample.and_then(|share| damage.next_share("verify", share));
    let place = Place { root, config: &config, mirror, state_dir: &state_dir };
    let job = Job { place, runtime_dir, sample: sample.unwrap_or(Sample::ALL), monitor };
    let mut record = VerifyRecord {
        mirror: mirror.name.clone(),
        table_id: mirror.disk.table_id.clone(),
        started,
        sample: args.sample.map(|share| share.to_string()),
        ..VerifyRecord::default()
    };
    let begun = Instant::now();
    look(&job, &mut record, &mut damage)
        .map_err(|error| stated(error, "the mirror cannot be verified", UNTOUCHED))?;
    record.seconds = begun.elapsed().as_secs_f64();
    let kept = keep(&state_dir, &mut record);
    match args.json {
        true => output::line(&render::verify::json(&record))?,
        false => output::print(&render::verify::text(&record))?,
    }
    Ok(kept.map_or_else(|error| not_kept(monitor, &error, record.exit()), |()| record.exit()))
}

/// Enters what was found into the history, with the run that the mirror is of.
fn keep(state_dir: &Path, record: &mut VerifyRecord) -> Result<()> {
    let history = History::open(state_dir)?;
    record.run = history.latest_that_wrote(&record.mirror)?.map(|run| run.id);
    history.add_verification(record)
}

/// Opens both sides, compares them, closes the mirror.
fn look(job: &Job, record: &mut VerifyRecord, damage: &mut DamageFile) -> Result<()> {
    mount::enter_private_namespace().context("cannot have a mount namespace of its own: is this root?")?;
    let mirror = job.place.mirror;
    let open = |number| mirror::open_source(job.place.root, mirror, number, &job.runtime_dir);
    let sources: Vec<Result<Source, Refusal>> = (0..mirror.volumes.len()).map(open).collect();
    mirror::sweep(mirror)?;
    let opened = mirror::find(mirror)?.open(mirror, job.place.root, true)?;
    let mut pairs = pairs(job, sources, damage)?;
    let devices: Vec<_> = pairs.iter().flatten().map(|pair| pair.device).collect();
    (0..mirror.volumes.len())
        .try_for_each(|number| opened.look_at_mark(number, mirror, &job.runtime_dir, &devices))?;
    prepare(job, &mut pairs, &opened)?;
    let mounted = opened.mount(mirror, &job.runtime_dir, Access::ReadOnly, &devices)?;
    let compared = compare(job, &mut pairs, &mounted, record, damage);
    mounted.into_iter().rev().try_for_each(Mounted::unmount)?;
    opened.close()?;
    compared?;
    damage.write()?;
    for pair in pairs.iter().flatten() {
        tree::commit_doubts(&pair.options, &pair.source)
            .context("what the next run has to mend cannot be noted: diskmirror run --full mends it")?;
    }
    Ok(())
}

/// The file systems that can be compared, in the mirror's order; what cannot is said, and the root must.
fn pairs<'a>(
    job: &Job<'a>,
    sources: Vec<Result<Source, Refusal>>,
    damage: &DamageFile,
) -> Result<Vec<Option<Pair<'a>>>> {
    let mirror = job.place.mirror;
    let pace = trees::pace(mirror, None, None, job.monitor);
    let mut pairs = Vec::new();
    for (volume, source) in mirror.volumes.iter().zip(sources) {
        let source = match source {
            Err(refusal) if volume.mount == "/" => return Err(refusal.into()),
            Err(refusal) => {
                job.monitor.warn(&refusal.to_string());
                pairs.push(None);
                continue;
            }
            Ok(source) => source,
        };
        let held = damage.held_on(&volume.mount, &[]);
        let options = Options { held, pace: Some(pace.clone()), ..Options::default() };
        let view = source_view(&source)?;
        pairs.push(Some(Pair { volume, device: source.device, source: view, options }));
    }
    Ok(pairs)
}

/// Tells each what is left out, and what its mirror shall hold instead of the primary's files.
fn prepare(job: &Job, pairs: &mut [Option<Pair<'_>>], opened: &Opened<'_>) -> Result<()> {
    let Place { root, config, mirror, .. } = job.place;
    let swaps = proc::swaps();
    let volumes = mirror.volumes.iter().zip(&*pairs);
    let sources =
        volumes.map(|(volume, pair)| (volume.mount.as_str(), pair.as_ref().map(|pair| pair.source.root())));
    let preparation = trees::preparation(&job.place, sources, &opened.disk, false);
    if let Err(error) = &preparation {
        job.monitor.warn(&format!("the mirror's boot files are not compared: {error:#}"));
    }
    let preparation = preparation.ok();
    let mut patterns = excludes::patterns(config, mirror, root, &swaps);
    patterns.extend(trees::own_patterns(preparation.as_ref()));
    let mut wanted = preparation.map(|preparation| preparation.wanted).unwrap_or_default();
    for pair in pairs.iter_mut().flatten() {
        pair.options.excludes = excludes::on_volume(&patterns, &pair.volume.mount)?;
        pair.options.wanted = wanted.remove(&pair.volume.mount).unwrap_or_default();
    }
    Ok(())
}

fn compare(
    job: &Job,
    pairs: &mut [Option<Pair<'_>>],
    mounted: &[Mounted],
    record: &mut VerifyRecord,
    damage: &mut DamageFile,
) -> Result<()> {
    let marks: Vec<_> = mounted.iter().map(|mounted| mounted.mark.clone()).collect();
    let knowledge = mark::knowledge(&marks, true, record.started);
    for ((pair, mounted), knowledge) in pairs.iter_mut().zip(mounted).zip(knowledge) {
        let Some(pair) = pair else { continue };
        if knowledge == Knowledge::NeverComplete {
            let mount = &pair.volume.mount;
            return Err(Refusal::new(format!("cannot verify the mirror of {mount}"), UNTOUCHED)
                .why("it has never been complete")
                .remedy("diskmirror run")
                .into());
        }
        let mirror = mirror_view(mounted)?;
        if tree::is_pending(&mirror) {
            return Err(half_written(&pair.volume.mount).into());
        }
        remember(job, pair, mounted, &mirror, knowledge);
        let scope = Scope::Tree(job.sample, damage.to_be_repaired(&pair.volume.mount));
        let found = tree::verify(&pair.source, &mirror, &pair.options, &scope, job.monitor)?;
        enter(&pair.volume.mount, &pair.options.held, found, record, damage);
    }
    Ok(())
}

fn half_written(mount: &str) -> Refusal {
    Refusal::new(format!("cannot verify the mirror of {mount}"), UNTOUCHED)
        .why(
            "a run was cut off while it wrote a file in its place: the old content has not been put back yet",
        )
        .remedy("diskmirror run, which begins with that")
}

/// Opens the catalog of the last run; without one, only what is older than that run is judged.
fn remember(job: &Job, pair: &mut Pair<'_>, mounted: &Mounted, mirror: &View, knowledge: Knowledge) {
    let path = job.place.config.catalogs(job.place.root, job.place.mirror).join(&pair.volume.mirror_uuid);
    let is_clean = knowledge == Knowledge::Clean;
    let looked_at = mounted.mark.looked_at.filter(|_| is_clean);
    pair.options.doubt_since = looked_at.map(|secs| tree::unsure_from(Timestamp { secs, nanos: 0 }));
    let remembered = Remembered {
        path: &path,
        state: mounted.mark.catalog.as_deref().unwrap_or_default(),
        settled: is_clean && mounted.mark.catalog.is_some(),
        record: true,
        whole_every_secs: None,
    };
    let title = |what: &str| format!("{}: {what}", pair.volume.mount);
    if !is_clean {
        job.monitor.warn(&title("the last run did not come to its end: nothing can be told of what differs"));
    }
    match tree::remember(&mut pair.options, &pair.source, mirror, &remembered) {
        Ok(note) => note.iter().for_each(|note| job.monitor.note(&title(note))),
        Err(error) => job.monitor.warn(&title(&format!("no catalog is used: {}: {error}", path.display()))),
    }
}
