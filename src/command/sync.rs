//! `sync`: the engine alone, on any two directories.

use crate::cli::SyncArgs;
use crate::command::output;
use crate::command::remedy::remedy;
use crate::exit_code::Exit;
use crate::monitor::Monitor;
use crate::record::VolumeRecord;
use crate::refusal::{Failure, Refusal};
use crate::render;
use crate::sys::dir::{is_within, read_names};
use crate::sys::stat::stat_fd;
use crate::sys::way::{self, Barred};
use crate::tree::{self, Counts, Error, Excludes, Leftover, Options, Pace, RelPath, Remembered, View};
use crate::units::Considerate;
use anyhow::Context;
use std::io::{self, Write};
use std::path::{Path, PathBuf};
use std::sync::Arc;
use std::time::{Duration, Instant};

const NOTHING_WRITTEN: &str = "nothing was written";

/// Makes the content of DST that of SRC.
///
/// # Errors
/// A `Refusal` before anything is written; a `Failure` that says what is true of DST then.
pub fn run(args: &SyncArgs, monitor: &dyn Monitor) -> anyhow::Result<Exit> {
    let begun = Instant::now();
    let (source, mirror) = enter(&args.source, &args.destination)?;
    undo(args, &mirror, monitor)?;
    let mut options = options(args, &mirror, monitor)?;
    let catalog = args.catalog.as_deref().map(|path| beside(path, &source, &mirror)).transpose()?;
    if let Some(path) = &catalog {
        remember(path, args, &mut options, &source, &mirror, monitor)?;
    }
    let counts = if args.dry_run {
        dry_run(args, &source, &mirror, &options, monitor).context("comparing; nothing was written")?
    } else {
        let counts = make_equal(&source, &mirror, &options, monitor).map_err(|error| failure(args, error))?;
        keep_memory(&options, &source, &mirror, monitor);
        counts
    };
    if args.json || !args.dry_run {
        tell(&counts, begun.elapsed(), args.json)?;
    }
    Ok(if counts.errors > 0 { Exit::Incomplete } else { Exit::Done })
}

/// Opens both trees, after proving that neither is in the other. What was proved is what is entered.
fn enter(source: &Path, mirror: &Path) -> anyhow::Result<(View, View)> {
    let [source_fd, mirror_fd] = [source, mirror]
        .map(|path| way::open_dir(path).map_err(|barred| cannot_enter(path, mirror, &barred)));
    let (source_fd, mirror_fd) = (source_fd?, mirror_fd?);
    if is_within(&source_fd, &mirror_fd)? || is_within(&mirror_fd, &source_fd)? {
        return Err(nested(source, mirror).into());
    }
    let view = |fd, path: &Path| View::private_of(fd).with_context(|| format!("opening {}", path.display()));
    Ok((view(source_fd, source)?, view(mirror_fd, mirror)?))
}

fn nothing_written(mirror: &Path) -> String {
    format!("nothing was written to {}", mirror.display())
}

fn cannot_enter(path: &Path, mirror: &Path, barred: &Barred) -> Refusal {
    if let Barred::Link { .. } = barred {
        let what = format!("refusing to sync: {} leads through a link of another user", path.display());
        return Refusal::new(what, nothing_written(mirror))
            .why(barred.to_string())
            .remedy(format!("name the directory that is meant itself: realpath {}", path.display()));
    }
    let what = format!("refusing to sync: {} cannot be opened as a directory", path.display());
    Refusal::new(what, nothing_written(mirror))
        .why(barred.to_string())
        .remedy("name two directories that exist: diskmirror sync SRC DST")
}

fn nested(source: &Path, mirror: &Path) -> Refusal {
    let what = format!("refusing to sync {} to {}", source.display(), mirror.display());
    Refusal::new(what, nothing_written(mirror))
        .why("they are the same directory, or one lies in the other")
        .remedy("name two directories of which neither contains the other")
}

/// Puts back what an earlier sync that was cut off left half written.
fn undo(args: &SyncArgs, mirror: &View, monitor: &dyn Monitor) -> anyhow::Result<()> {
    if args.dry_run {
        if tree::is_pending(mirror) {
            monitor.note("some files are half written; a sync puts their old content back first");
        }
        return Ok(());
    }
    let put_back = tree::put_back(mirror).map_err(|error| {
        let state = "what is needed to put it back is kept in its .diskmirror/undo; nothing else was written";
        let what = format!("cannot put old content back in {}", args.destination.display());
        Failure::new(what, state).why(error.to_string()).remedy("mend that, then run it again")
    })?;
    put_back.tell(monitor);
    Ok(())
}

fn options(args: &SyncArgs, mirror: &View, monitor: &dyn Monitor) -> anyhow::Result<Options> {
    let excludes = Excludes::new(&args.exclude).map_err(|error| {
        Refusal::new("refusing to sync: an --exclude is no pattern", nothing_written(&args.destination))
            .why(error.to_string())
            .remedy("mend it; a bracket that stands for itself is written [[]")
    })?;
    let options = Options { excludes, pace: pace(args, monitor), ..Options::default() };
    Ok(match tree::leftover(mirror) {
        Leftover::None => options,
        Leftover::Since(began) => Options { suspect_since: Some(began), ..options },
        Leftover::Unknown => Options { compare_content: true, ..options },
    })
}

/// How fast to work, if somebody asked for less than as fast as it goes.
fn pace(args: &SyncArgs, monitor: &dyn Monitor) -> Option<Arc<Pace>> {
    let (limit, share) = (args.bwlimit.map(|rate| rate.0), args.considerate.and_then(Considerate::share));
    (limit.is_some() || share.is_some()).then(|| Pace::new(limit, share, monitor))
}

/// Lists the changes, or counts them where figures are asked for.
fn dry_run(
    args: &SyncArgs,
    source: &View,
    mirror: &View,
    options: &Options,
    monitor: &dyn Monitor,
) -> anyhow::Result<Counts> {
    // One thread: the list is in the order of the tree.
    let options = Options { threads: 1, ..options.clone() };
    let mut changes = tree::scan(source, mirror, &options, monitor)?;
    let mut counts = Counts::default();
    if args.json {
        counts = tree::rehearse(&changes, source, mirror, &options, monitor)?;
    } else {
        let mut out = io::BufWriter::new(io::stdout().lock());
        let listed = changes.itemise(&mut out).and_then(|()| out.flush());
        output::unless_closed(listed)?;
    }
    counts += changes.into_counts();
    Ok(counts)
}

/// A mirror without any entry but what mkfs makes gets everything in one stream; any other is compared first.
fn make_equal(
    source: &View,
    mirror: &View,
    options: &Options,
    monitor: &dyn Monitor,
) -> Result<Counts, Error> {
    let empty = |view: &View| read_names(view.root()).0.iter().all(|entry| *entry.name == *b"lost+found");
    if empty(mirror) && !empty(source) {
        tree::begin_writing(options).map_err(cannot_remember)?;
        return tree::stream(source, mirror, options, monitor);
    }
    let changes = tree::scan(source, mirror, options, monitor)?;
    if !changes.is_empty() {
        tree::begin_writing(options).map_err(cannot_remember)?;
        if let Ok(Some(lack)) = tree::shortage(&changes, mirror) {
            monitor.note(&lack);
        }
    }
    let mut counts = tree::apply_additions(&changes, source, mirror, options, monitor)?;
    counts += tree::apply_deletions(&changes, source, mirror, options, monitor)?;
    counts += changes.into_counts();
    Ok(counts)
}

fn cannot_remember(error: io::Error) -> Error {
    Error::Io { doing: "writing the catalog of", path: RelPath::root(), error }
}

/// The catalog's path, after proving that it is in neither tree.
fn beside(path: &Path, source: &View, mirror: &View) -> anyhow::Result<PathBuf> {
    let dir = path.parent().filter(|dir| !dir.as_os_str().is_empty()).unwrap_or(Path::new("."));
    let refuse = |why: String| {
        Refusal::new(format!("refusing to sync: {} cannot be the catalog", path.display()), NOTHING_WRITTEN)
            .why(why)
            .remedy("name a file in a directory that exists, outside of SRC and DST")
    };
    let opened = way::open_dir(dir).map_err(|barred| refuse(format!("{}: {barred}", dir.display())))?;
    for view in [source, mirror] {
        if is_within(&opened, view.root())? {
            return Err(refuse("it would lie in one of the two trees".into()).into());
        }
    }
    if path.symlink_metadata().is_ok_and(|found| !found.is_file()) {
        return Err(refuse("what is there is no regular file".into()).into());
    }
    Ok(path.to_owned())
}

/// Opens the catalog; one that cannot be read costs a full comparison.
fn remember(
    path: &Path,
    args: &SyncArgs,
    options: &mut Options,
    source: &View,
    mirror: &View,
    monitor: &dyn Monitor,
) -> anyhow::Result<()> {
    let state = root_state(mirror)?;
    let remembered =
        Remembered { path, state: &state, settled: true, record: !args.dry_run, whole_every_secs: None };
    match tree::remember(options, source, mirror, &remembered) {
        Ok(note) => note.iter().for_each(|note| monitor.note(note)),
        Err(error) => monitor.note(&format!("no catalog is used: {}: {error}", path.display())),
    }
    Ok(())
}

/// Keeps what was found for the next sync; a catalog that cannot be written costs a full comparison then.
fn keep_memory(options: &Options, source: &View, mirror: &View, monitor: &dyn Monitor) {
    let kept = root_state(mirror).and_then(|state| tree::commit_memory(options, source, &state));
    match kept {
        Ok(note) => note.iter().for_each(|note| monitor.note(note)),
        Err(error) => monitor.note(&format!("the catalog cannot be written: {error}")),
    }
}

/// What every sync that writes, and whoever else changes DST at its root, changes: the root's own ctime.
///
/// # Errors
/// The system's.
pub fn root_state(mirror: &View) -> io::Result<String> {
    let ctime = stat_fd(mirror.root())?.ctime;
    Ok(format!("{}.{:09}", ctime.secs, ctime.nanos))
}

fn failure(args: &SyncArgs, error: Error) -> Failure {
    if let Some(place) = error.no_room_for_list() {
        return Failure::new(
            format!("sync to {} did not begin", args.destination.display()),
            nothing_written(&args.destination),
        )
        .why(error.to_string())
        .remedy(format!("make room in {}, or name another place: TMPDIR=DIR", place.display()));
    }
    let needs_proc = matches!(error, Error::NeedsProc);
    let error = anyhow::Error::from(error);
    let state = "every file there is its old or its new version; nothing was deleted that is not to be";
    Failure::new(format!("sync to {} did not finish", args.destination.display()), state)
        .why(format!("{error:#}"))
        .remedy(match remedy(&args.destination.display().to_string(), &error) {
            Some(helps) => format!("{helps}; then run it again: it goes on where it ended"),
            None if needs_proc => "mount -t proc proc /proc, then run it again".into(),
            None => "run it again: it goes on where it ended".into(),
        })
}

fn tell(counts: &Counts, elapsed: Duration, json: bool) -> io::Result<()> {
    let figures = figures(counts, elapsed);
    let said =
        if json { render::run::figures_json(&figures).to_string() } else { render::run::figures(&figures) };
    output::line(&said)
}

fn figures(counts: &Counts, elapsed: Duration) -> VolumeRecord {
    VolumeRecord {
        mount: String::new(),
        entries_scanned: counts.entries_scanned,
        files_copied: counts.files_copied,
        bytes_copied: counts.bytes_copied,
        hardlinks: counts.hardlinks,
        metadata_changed: counts.metadata_changed,
        renamed: counts.renamed,
        repaired: 0,
        deleted: counts.deleted,
        errors: counts.errors,
        seconds: elapsed.as_secs_f64(),
    }
}
