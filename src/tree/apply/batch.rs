//! Additions and changes into a mirror that somebody may need at any moment: in batches, each complete and on the
//! disk before its first name changes.

use crate::monitor::{Monitor, Unit};
use crate::sys::dir::{Handle, sync_volume};
use crate::tree::apply::moves::{finish_all, move_all, name_all};
use crate::tree::apply::room::Room;
use crate::tree::apply::{
    adjust, finish_dir, link_all, make_dir, open_both, open_mirror, prepare, prepare_moved, put_all,
    tighten_dir,
};
use crate::tree::base::fault::{Error, Fault, at_root};
use crate::tree::base::relpath::RelPath;
use crate::tree::base::stats::Counts;
use crate::tree::base::view::View;
use crate::tree::changes::Changes;
use crate::tree::changes::change::{Change, DirChange, How};
use crate::tree::changes::spool::{Replay, Spool};
use crate::tree::entry::install::Pending;
use crate::tree::entry::workspace::{Workspace, abandon};
use crate::tree::pass::threads::{copiers, share_out};
use crate::tree::pass::{Options, Pass};
use std::sync::atomic::Ordering::Relaxed;
use std::sync::{Arc, Mutex};

/// A batch holds no more changes than this …
const BATCH_CHANGES: usize = 4096;
/// … and begins no further file beyond this many bytes.
const BATCH_BYTES: u64 = 1 << 30;
/// What one thread takes at a time.
const PORTION: usize = 128;

/// Carries out additions and changes; deletes nothing but what a new entry takes the place of, and that is set aside.
///
/// # Errors
/// `Stopped`, or what no other entry would survive either. Every file of the mirror is then its old or its new version.
pub fn apply_additions(
    changes: &Changes,
    source: &View,
    mirror: &View,
    options: &Options,
    monitor: &dyn Monitor,
) -> Result<Counts, Error> {
    let pass = Pass::new(source, mirror, options, monitor)?;
    let mut spool = changes.additions.lock().expect("no thread panics while spooling");
    if !changes.are_additions() {
        return Ok(pass.take_counts());
    }
    let room = Room { pass: &pass, changes: Some(changes) };
    let workspace = open_workspace(&room, changes)?;
    monitor.begin("copying", Some(changes.tally.to_copy_bytes), Unit::Bytes);
    let done = renames(&pass, &workspace, changes, &mut spool)
        .and_then(|()| all_batches(&room, &workspace, &mut spool))
        .and_then(|()| link_all(&room, &workspace, &changes.links))
        .and_then(|()| finish_all(&pass, &changes.moves))
        .and_then(|()| flush(mirror));
    changes.holds_files.fetch_or(pass.misses_something(), Relaxed);
    changes.holds_old_names.fetch_or(pass.has_lost_renames(), Relaxed);
    monitor.end();
    if let Err(error) = done {
        abandon(&pass);
        return Err(error);
    }
    Ok(pass.take_counts())
}

/// Opens the workspace. Where nothing is to be renamed, a mirror that is full to the last block makes room for it: before
/// that, deletions would go by names that are still to come.
fn open_workspace(room: &Room<'_>, changes: &Changes) -> Result<Workspace, Error> {
    match changes.tally.to_rename {
        0 => room.with(0, Error::is_no_room, || Workspace::open(room.pass))?,
        _ => Workspace::open(room.pass),
    }
}

/// Brings the mirror's file system to its disk.
pub(in crate::tree) fn flush(mirror: &View) -> Result<(), Error> {
    sync_volume(mirror.root()).map_err(at_root("flushing"))
}

fn renames(
    pass: &Pass<'_>,
    workspace: &Workspace,
    changes: &Changes,
    additions: &mut Spool,
) -> Result<(), Error> {
    if changes.tally.to_rename == 0 {
        return Ok(());
    }
    name_all(pass, workspace, additions)?;
    move_all(pass, workspace, &changes.moves)
}

type Replayed<'a> = std::iter::Peekable<Replay<'a>>;

fn all_batches(room: &Room<'_>, workspace: &Workspace, additions: &mut Spool) -> Result<(), Error> {
    let pass = room.pass;
    let mut replay = additions.replay().map_err(at_root("listing"))?.peekable();
    while replay.peek().is_some() {
        pass.go_on()?;
        let batch = next_batch(&mut replay, pass.burst(BATCH_BYTES))?;
        one_batch(room, workspace, &batch)?;
    }
    Ok(())
}

/// Takes changes until the batch is full. A directory with more changes is split over several batches.
fn next_batch(replay: &mut Replayed<'_>, most_bytes: u64) -> Result<Vec<DirChange>, Error> {
    let (mut batch, mut count, mut bytes) = (Vec::new(), 0, 0);
    while count < BATCH_CHANGES && bytes < most_bytes {
        let Some(change) = replay.next() else { break };
        let mut change = change.map_err(at_root("listing"))?;
        // In the order of the source's disk.
        change.changes.sort_by_key(|one| one.ino);
        count += change.changes.len().max(1);
        bytes += change.changes.iter().map(|one| one.size).sum::<u64>();
        batch.push(change);
    }
    Ok(batch)
}

/// A part of one directory's changes.
struct Portion<'a> {
    path: Arc<RelPath>,
    ino: u64,
    changes: &'a [Change],
}

fn one_batch(room: &Room<'_>, workspace: &Workspace, batch: &[DirChange]) -> Result<(), Error> {
    let pass = room.pass;
    let paths: Vec<Arc<RelPath>> = batch.iter().map(|change| Arc::new(change.path.clone())).collect();
    batch.iter().try_for_each(|change| tighten_dir(pass, change))?;
    for (change, path) in batch.iter().zip(&paths) {
        make_dirs(room, workspace, change, path)?;
    }
    let portions: Vec<Portion<'_>> = batch
        .iter()
        .zip(&paths)
        .flat_map(|(change, path)| {
            let portion = |changes| Portion { path: path.clone(), ino: change.ino, changes };
            change.changes.chunks(PORTION).map(portion)
        })
        .collect();
    for turn in turns(&portions, pass.burst(BATCH_BYTES)) {
        let Turn { pending, short } = in_parallel(pass, workspace, turn)?;
        place(pass, workspace, pending)?;
        // What is in its place by now has made room, or deletions do.
        for one in &short {
            with_room(room, workspace, one)?;
        }
    }
    for change in batch.iter().rev() {
        if finish_dir(pass, &change.path, change.ino)? && change.adjusts_itself() {
            pass.count(|counts| counts.metadata_changed += 1);
        }
    }
    Ok(())
}

/// Has what is complete on the disk, then in its place.
fn place(pass: &Pass<'_>, workspace: &Workspace, mut pending: Vec<Pending>) -> Result<(), Error> {
    pending.sort_by(|a, b| a.dir.cmp(&b.dir));
    if !pending.is_empty() {
        flush(pass.mirror)?;
    }
    while let Some(dir) = pending.last().map(|last| last.dir.clone()) {
        let group = pending.split_off(pending.partition_point(|one| one.dir < dir));
        if let Some(mirror) = pass.enter_dir(&dir, open_mirror(pass, &dir))? {
            put_all(pass, workspace, &mirror, group)?;
        }
    }
    Ok(())
}

/// Makes one entry for which there was no room, as soon as there is. If none can be made, the mirror keeps its old version.
fn with_room(room: &Room<'_>, workspace: &Workspace, short: &Short<'_>) -> Result<(), Error> {
    let (pass, Short { path, ino, change }) = (room.pass, short);
    let Some((source, mirror)) = open_both(pass, path, *ino)? else { return Ok(()) };
    let prepare = || prepare_change(pass, workspace, path, (&source, &mirror), change);
    let prepared = room.with(change.size, Fault::is_no_room, prepare)?;
    if prepared.is_err() && matches!(change.how, How::Rename { .. }) {
        pass.lost_rename();
    }
    let made = pass.enter(|| path.join(&change.name), prepared)?.flatten();
    place(pass, workspace, made.into_iter().collect())
}

/// Splits portions so that no turn exceeds a batch, however large one directory is.
fn turns<'a, 'b>(portions: &'a [Portion<'b>], most_bytes: u64) -> impl Iterator<Item = &'a [Portion<'b>]> {
    let mut rest = portions;
    std::iter::from_fn(move || {
        let (mut count, mut bytes, mut take) = (0, 0, 0);
        for portion in rest {
            if take > 0 && (count + portion.changes.len() > BATCH_CHANGES || bytes >= most_bytes) {
                break;
            }
            count += portion.changes.len();
            bytes += portion.changes.iter().map(|one| one.size).sum::<u64>();
            take += 1;
        }
        let (turn, left) = rest.split_at(take);
        rest = left;
        (!turn.is_empty()).then_some(turn)
    })
}

fn make_dirs(
    room: &Room<'_>,
    workspace: &Workspace,
    change: &DirChange,
    path: &Arc<RelPath>,
) -> Result<(), Error> {
    if !change.changes.iter().any(Change::makes_dir) {
        return Ok(());
    }
    let pass = room.pass;
    let Some(mirror) = pass.enter_dir(path, open_mirror(pass, path))? else { return Ok(()) };
    for one in change.changes.iter().filter(|one| one.makes_dir()) {
        let made = room.with(0, Fault::is_no_room, || make_dir(pass, workspace, path, &mirror, one))?;
        pass.enter_dir(&change.path.join(&one.name), made)?;
    }
    Ok(())
}

/// What came of a part of a batch.
#[derive(Default)]
struct Turn<'a> {
    /// Complete in the workspace.
    pending: Vec<Pending>,
    /// For which there was no room.
    short: Vec<Short<'a>>,
}

/// A change for which there was no room.
struct Short<'a> {
    path: Arc<RelPath>,
    ino: u64,
    change: &'a Change,
}

/// Makes and adjusts on several threads.
fn in_parallel<'a>(
    pass: &Pass<'_>,
    workspace: &Workspace,
    portions: &[Portion<'a>],
) -> Result<Turn<'a>, Error> {
    let turn = Mutex::new(Turn::default());
    share_out(copiers(pass.options), portions, |portion| {
        let Turn { pending, short } = one_portion(pass, workspace, portion)?;
        let mut turn = turn.lock().expect("no thread panics while collecting");
        turn.pending.extend(pending);
        turn.short.extend(short);
        Ok(())
    })?;
    Ok(turn.into_inner().expect("no thread panics while collecting"))
}

fn one_portion<'a>(pass: &Pass<'_>, workspace: &Workspace, portion: &Portion<'a>) -> Result<Turn<'a>, Error> {
    let (path, ino) = (&portion.path, portion.ino);
    let Some((source, mirror)) = open_both(pass, path, ino)? else { return Ok(Turn::default()) };
    let mut turn = Turn::default();
    for change in portion.changes.iter().filter(|change| !change.makes_dir()) {
        pass.go_on()?;
        match prepare_change(pass, workspace, path, (&source, &mirror), change) {
            Err(fault) if fault.is_no_room() => turn.short.push(Short { path: path.clone(), ino, change }),
            prepared => turn.pending.extend(pass.enter(|| path.join(&change.name), prepared)?.flatten()),
        }
        pass.monitor.advance(change.size);
    }
    Ok(turn)
}

/// Has one entry ready to be put in its place; none if nothing is left to do.
fn prepare_change(
    pass: &Pass<'_>,
    workspace: &Workspace,
    path: &Arc<RelPath>,
    (source, mirror): (&Handle, &Handle),
    change: &Change,
) -> Result<Option<Pending>, Fault> {
    match change.how {
        How::Make => prepare(pass, workspace, path, (source, mirror), change),
        How::Adjust => match adjust(pass, source, mirror, change) {
            // It is looked at again: made anew as it is by now.
            Err(Fault::Replaced) => prepare(pass, workspace, path, (source, mirror), change),
            adjusted => adjusted.map(|()| None),
        },
        How::Rename { .. } => {
            prepare_moved(pass, workspace, path, (source, mirror), change).inspect_err(|fault| {
                // One for which there is no room is tried again.
                if !matches!(fault, Fault::Vanished) && !fault.is_no_room() {
                    pass.lost_rename();
                }
            })
        }
    }
}
