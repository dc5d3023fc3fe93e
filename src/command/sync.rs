//! `sync`: the engine alone, on any two directories.

use crate::cli::SyncArgs;
use crate::exit_code::Exit;
use crate::monitor::Monitor;
use crate::record::VolumeRecord;
use crate::refusal::{Failure, Refusal};
use crate::render;
use crate::sys::dir::{is_within, open_root, read_names};
use crate::tree::{self, Counts, Error, Excludes, Leftover, Options, View};
use anyhow::Context;
use std::io::{self, Write};
use std::path::Path;
use std::time::{Duration, Instant};

/// Makes the content of DST that of SRC.
///
/// # Errors
/// A `Refusal` before anything is written; a `Failure` that says what is true of DST then.
pub fn run(args: &SyncArgs, monitor: &dyn Monitor) -> anyhow::Result<Exit> {
    let begun = Instant::now();
    let (source, mirror) = enter(&args.source, &args.destination)?;
    let options = options(args, &mirror)?;
    let counts = if args.dry_run {
        dry_run(args, &source, &mirror, &options, monitor).context("comparing; nothing was written")?
    } else {
        make_equal(&source, &mirror, &options, monitor).map_err(|error| failure(args, &error))?
    };
    if args.json || !args.dry_run {
        tell(&counts, begun.elapsed(), args.json)?;
    }
    Ok(if counts.errors > 0 { Exit::Incomplete } else { Exit::Done })
}

/// Opens both trees, after proving that neither is in the other. What was proved is what is entered.
fn enter(source: &Path, mirror: &Path) -> anyhow::Result<(View, View)> {
    let [source_fd, mirror_fd] =
        [source, mirror].map(|path| open_root(path).map_err(|error| cannot_enter(path, mirror, &error)));
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

fn cannot_enter(path: &Path, mirror: &Path, error: &io::Error) -> Refusal {
    let what = format!("refusing to sync: {} cannot be opened as a directory", path.display());
    Refusal::new(what, nothing_written(mirror))
        .why(error.to_string())
        .remedy("name two directories that exist: diskmirror sync SRC DST")
}

fn nested(source: &Path, mirror: &Path) -> Refusal {
    let what = format!("refusing to sync {} to {}", source.display(), mirror.display());
    Refusal::new(what, nothing_written(mirror))
        .why("they are the same directory, or one lies in the other")
        .remedy("name two directories of which neither contains the other")
}

fn options(args: &SyncArgs, mirror: &View) -> anyhow::Result<Options> {
    let excludes = Excludes::new(&args.exclude).map_err(|error| {
        Refusal::new("refusing to sync: an --exclude is no pattern", nothing_written(&args.destination))
            .why(error.to_string())
            .remedy("mend it; a bracket that stands for itself is written [[]")
    })?;
    let options = Options { excludes, ..Options::default() };
    Ok(match tree::leftover(mirror) {
        Leftover::None => options,
        Leftover::Since(began) => Options { suspect_since: Some(began), ..options },
        Leftover::Unknown => Options { compare_content: true, ..options },
    })
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
        changes.itemise(&mut out)?;
        out.flush()?;
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
        return tree::stream(source, mirror, options, monitor);
    }
    let changes = tree::scan(source, mirror, options, monitor)?;
    let mut counts = tree::apply_additions(&changes, source, mirror, options, monitor)?;
    counts += tree::apply_deletions(&changes, source, mirror, options, monitor)?;
    counts += changes.into_counts();
    Ok(counts)
}

fn failure(args: &SyncArgs, error: &Error) -> Failure {
    let state = "every file there is its old or its new version; nothing was deleted that is not to be";
    Failure::new(format!("sync to {} did not finish", args.destination.display()), state)
        .why(error.to_string())
        .remedy("run it again: it goes on where it ended")
}

fn tell(counts: &Counts, elapsed: Duration, json: bool) -> io::Result<()> {
    let figures = figures(counts, elapsed);
    let said =
        if json { render::run::figures_json(&figures).to_string() } else { render::run::figures(&figures) };
    writeln!(io::stdout().lock(), "{said}")
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
        deleted: counts.deleted,
        errors: counts.errors,
        seconds: elapsed.as_secs_f64(),
    }
}
