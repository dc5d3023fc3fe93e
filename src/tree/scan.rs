//! Walks both trees, a few directories at a time, into a sink.

use super::change::{Action, DirChange};
use super::compare::{Found, Known, Task, compare_dir, tally};
use super::counts::Counts;
use super::fault::Error;
use super::links::{LinkNames, Links, Resolved, resolve};
use super::look::Room;
use super::pass::{Options, Pass, at_root};
use super::relpath::RelPath;
use super::spool::Spool;
use super::tally::Tally;
use super::view::View;
use super::workers::scanners;
use crate::monitor::{Monitor, Unit};
use crate::sys::stat::stat_at;
use std::sync::{Condvar, Mutex};

/// Takes the changes as they are found, from several threads; a directory always before what is below it.
pub(super) trait ChangeSink: Sync {
    /// One directory's changes.
    fn take(&self, change: DirChange) -> Result<(), Error>;
}

/// What a walk found beside what the sink was given.
#[derive(Default)]
pub(super) struct Walked {
    pub tally: Tally,
    pub links: LinkNames,
}

/// All that is to be done, as a value: nothing has been written yet.
#[derive(Debug)]
pub struct Changes {
    pub(super) additions: Mutex<Spool>,
    pub(super) deletions: Mutex<Spool>,
    pub(super) links: Links,
    pub(super) tally: Tally,
    pub(super) counts: Counts,
}

impl Changes {
    /// What is to be done, in figures.
    pub fn tally(&self) -> &Tally {
        &self.tally
    }
    /// What the scan counted: entries, errors, vanished, deferred.
    pub fn counts(&self) -> &Counts {
        &self.counts
    }
    /// What stands for exactly this list of deletions.
    pub fn deletion_digest(&self) -> String {
        self.tally.deletion_digest()
    }
    /// The same, taken out.
    pub fn into_counts(self) -> Counts {
        self.counts
    }
    /// Whether there is anything to make, link or adjust.
    pub(super) fn are_additions(&self) -> bool {
        self.tally.to_copy + self.tally.to_adjust > 0 || !self.links.is_empty()
    }
    /// Whether the trees are equal already.
    pub fn is_empty(&self) -> bool {
        !self.are_additions() && self.tally.to_delete == 0
    }
}

struct ToSpools {
    additions: Mutex<Spool>,
    deletions: Mutex<Spool>,
}

impl ChangeSink for ToSpools {
    fn take(&self, mut change: DirChange) -> Result<(), Error> {
        let (gone, changes) = change.changes.into_iter().partition(|change| change.action == Action::Delete);
        change.changes = changes;
        let deletions =
            DirChange { path: change.path.clone(), ino: change.ino, own: Default::default(), changes: gone };
        for (spool, change) in [(&self.additions, change), (&self.deletions, deletions)] {
            if !change.is_empty() {
                spool
                    .lock()
                    .expect("no thread panics while spooling")
                    .push(&change)
                    .map_err(at_root("listing"))?;
            }
        }
        Ok(())
    }
}

/// Compares two trees. Writes nothing.
///
/// # Errors
/// `Stopped`, and what concerns the tree as a whole; what concerns one entry is counted.
pub fn scan(
    source: &View,
    mirror: &View,
    options: &Options,
    monitor: &dyn Monitor,
) -> Result<Changes, Error> {
    let pass = Pass::new(source, mirror, options, monitor)?;
    let sink = ToSpools { additions: Mutex::default(), deletions: Mutex::default() };
    monitor.begin("comparing", None, Unit::Entries);
    let walked = walk(&pass, &sink);
    monitor.end();
    let Walked { tally: mut figures, links } = walked?;
    let resolved = resolve_links(&pass, links);
    for leader in resolved.leaders {
        leader.changes.iter().for_each(|change| tally(&mut figures, change.action, change.size));
        sink.take(leader)?;
    }
    let ToSpools { additions, deletions } = sink;
    Ok(Changes { additions, deletions, links: resolved.links, tally: figures, counts: pass.take_counts() })
}

/// The directories still to be compared: the last found first, so that few wait at a time.
struct Queue {
    state: Mutex<QueueState>,
    more: Condvar,
}

struct QueueState {
    waiting: Vec<Task>,
    at_work: usize,
    asleep: usize,
    ended: Option<Error>,
}

impl Queue {
    fn state(&self) -> std::sync::MutexGuard<'_, QueueState> {
        self.state.lock().expect("no thread panics while queueing")
    }
    fn next(&self) -> Option<Task> {
        let mut state = self.state();
        loop {
            if state.ended.is_some() {
                return None;
            }
            if let Some(task) = state.waiting.pop() {
                state.at_work += 1;
                return Some(task);
            }
            if state.at_work == 0 {
                return None;
            }
            state.asleep += 1;
            state = self.more.wait(state).expect("no thread panics while queueing");
            state.asleep -= 1;
        }
    }
    fn done(&self, outcome: Result<Vec<Task>, Error>) {
        let mut state = self.state();
        state.at_work -= 1;
        match outcome {
            Ok(below) => state.waiting.extend(below.into_iter().rev()),
            Err(error) => state.ended = state.ended.take().or(Some(error)),
        }
        // Waking nobody costs a system call too.
        let wakes =
            state.asleep > 0 && (!state.waiting.is_empty() || state.at_work == 0 || state.ended.is_some());
        drop(state);
        if wakes {
            self.more.notify_all();
        }
    }
}

/// Decides about names of inodes that have several, looking at the mirror where nobody has.
pub(super) fn resolve_links(pass: &Pass<'_>, names: LinkNames) -> Resolved {
    resolve(names, |dir, name| {
        let dir = pass.mirror_dir(dir).ok()?;
        Some(stat_at(&dir.fd, name).ok()?.ino)
    })
}

/// Compares all directories.
pub(super) fn walk(pass: &Pass<'_>, sink: &dyn ChangeSink) -> Result<Walked, Error> {
    let walked = Mutex::new(Walked::default());
    each_dir(pass, |task, room| one(pass, sink, task, room, &walked))?;
    Ok(walked.into_inner().expect("no thread panics while walking"))
}

/// Has `work` done for each directory, the root first, on several threads; it gives back the directories below.
pub(super) fn each_dir(
    pass: &Pass<'_>,
    work: impl Fn(&Task, &mut Room) -> Result<Vec<Task>, Error> + Sync,
) -> Result<(), Error> {
    let root = Task { path: RelPath::root(), ino: None, known: Known::Catalog };
    let state = QueueState { waiting: vec![root], at_work: 0, asleep: 0, ended: None };
    let queue = Queue { state: Mutex::new(state), more: Condvar::new() };
    let worker = || {
        let mut room = Room::default();
        while let Some(task) = queue.next() {
            queue.done(work(&task, &mut room));
        }
    };
    std::thread::scope(|scope| {
        for _ in 0..scanners(pass.options) {
            scope.spawn(worker);
        }
    });
    queue.state().ended.take().map_or(Ok(()), Err)
}

fn one(
    pass: &Pass<'_>,
    sink: &dyn ChangeSink,
    task: &Task,
    room: &mut Room,
    walked: &Mutex<Walked>,
) -> Result<Vec<Task>, Error> {
    pass.arrive();
    pass.go_on()?;
    let Some((change, found)) = compare_dir(pass, task, room)? else { return Ok(Vec::new()) };
    let Found { tally, links, below, .. } = found;
    sink.take(change)?;
    // One table for all threads: what each had kept would be there twice when they are put together.
    let mut walked = walked.lock().expect("no thread panics while walking");
    walked.tally.merge(tally);
    walked.links.append(links);
    drop(walked);
    pass.pace(0);
    Ok(below)
}
