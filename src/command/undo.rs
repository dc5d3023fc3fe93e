//! `undo`: makes files whole that were half written when a run was cut off. What a boot from the mirror begins with.

use crate::cli::UndoArgs;
use crate::exit_code::Exit;
use crate::monitor::Monitor;
use crate::refusal::Failure;
use crate::sys::dir::open_root;
use crate::sys::proc::{self, Mount};
use crate::sys::way::{self, Barred};
use crate::tree::{self, PutBack, View};
use anyhow::{Context, Result};
use std::io;
use std::path::{Path, PathBuf};

/// File systems on which files are written in their places.
const KINDS: [&str; 5] = ["ext2", "ext3", "ext4", "xfs", "btrfs"];

/// Puts old content back below the directories that are named; without any, on every file system that is mounted.
///
/// # Errors
/// A `Failure` for the first one where that could not be done; the others are done all the same.
pub fn undo(args: &UndoArgs, monitor: &dyn Monitor) -> Result<Exit> {
    let places = match args.directories.is_empty() {
        true => mounted().context("cannot read /proc/self/mountinfo")?,
        false => args.directories.clone(),
    };
    let (mut failed, mut missed) = (None, false);
    for place in &places {
        match put_back(place) {
            Ok(done) => {
                done.tell(monitor);
                missed |= !done.gone.is_empty() || !done.foreign.is_empty();
            }
            Err(error) => drop(failed.get_or_insert((place, error))),
        }
    }
    match failed {
        Some((place, error)) => Err(cannot(place, &error).into()),
        None if missed => Ok(Exit::Incomplete),
        None => Ok(Exit::Done),
    }
}

fn put_back(place: &Path) -> io::Result<PutBack> {
    let root = way::open_dir(place).map_err(|barred| match barred {
        Barred::Io(error) => error,
        link => io::Error::other(link),
    })?;
    tree::put_back(&View::of_fd(root)?)
}

fn cannot(place: &Path, error: &io::Error) -> Failure {
    let state = "what is needed to put it back is kept in its .diskmirror/undo";
    Failure::new(format!("cannot put old content back in {}", place.display()), state)
        .why(error.to_string())
        .remedy(format!("mend that, then: diskmirror undo {}", crate::step::quoted(&place.to_string_lossy())))
}

/// Where a whole file system is mounted that has something to be put back.
fn mounted() -> io::Result<Vec<PathBuf>> {
    let is_pending = |place: &PathBuf| {
        let view = open_root(place).and_then(View::of_fd);
        view.is_ok_and(|view| tree::is_pending(&view))
    };
    let counts = |mount: &Mount| mount.root == Path::new("/") && KINDS.contains(&mount.kind.as_str());
    let places = proc::mounts()?.into_iter().filter(counts).map(|mount| mount.at);
    Ok(places.filter(is_pending).collect())
}
