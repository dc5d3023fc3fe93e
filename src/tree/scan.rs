//! Walks both trees, a few directories at a time, into a sink.

use super::change::{Action, Change, DirChange};
use super::compare::{self, compare_dir};
use super::counts::Counts;
use super::fault::Error;
use super::links::{Decided, LinkNames, Links, resolve};
use super::look::Room;
use super::moved::{Arrived, DirMove, Goes, Left};
use super::old_names::{Asked, Vacated};
use super::pass::{Options, Pass, at_root};
use super::relpath::RelPath;
use super::renames::{Found, Search};
use super::spool::{RECORD_CHANGES, Spool};
use super::tally::Tally;
use super::task::Task;
use super::view::View;
use super::workers::scanners;
use crate::monitor::{Monitor, Unit};
use std::sync::atomic::{AtomicBool, AtomicU64, AtomicUsize};
use std::sync::{Condvar, Mutex};

/// Takes the changes as they are found, from several threads; a directory always before what is below it.
pub(super) trait ChangeSink: Sync {
    /// One directory's changes.
    fn take(&self, change: DirChange) -> Result<(), Error>;
    /// Comes before the changes of a directory that are given in parts: what it needs itself.
    fn begin(&self, _itself: &DirChange) -> Result<(), Error> {
        Ok(())
    }
}

/// What a walk found beside what the sink was given.
#[derive(Default)]
pub(super) struct Walked {
    pub tally: Tally,
    pub links: LinkNames,
    pub arrived: Vec<Arrived>,
    pub left: Vec<Left>,
    /// Files of the mirror that go on under their names.
    pub stay: Vec<RelPath>,
}

/// All that is to be done, as a value: nothing has been written yet.
#[derive(Debug)]
pub struct Changes {
    pub(super) additions: Mutex<Spool>,
    pub(super) deletions: Mutex<Spool>,
    pub(super) moves: Vec<DirMove>,
    pub(super) links: Links,
    pub(super) tally: Tally,
    pub(super) counts: Counts,
    /// How many of the deletions were carried out already, because room was short.
    pub(super) deleted: AtomicUsize,
    /// How many records the list of deletions has.
    pub(super) deletion_records: usize,
    /// How many entries were not deleted because they may be all that is left of something.
    pub(super) held: AtomicU64,
    /// Whether plain files must not be deleted: something of the source cannot be read that may be one of them.
    pub(super) holds_files: AtomicBool,
    /// Whether old names must not be taken away: something could not be renamed.
    pub(super) holds_old_names: AtomicBool,
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
    /// The same, taken out.
    pub fn into_counts(self) -> Counts {
        self.counts
    }
    /// Whether there is anything to make, link or adjust.
    pub(super) fn are_additions(&self) -> bool {
        self.tally.to_copy + self.tally.to_adjust + self.tally.to_rename > 0 || !self.links.is_empty()
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
    let spool = || Mutex::new(Spool::new(options));
    let sink = ToSpools { additions: spool(), deletions: spool() };
    monitor.begin("comparing", None, Unit::Entries);
    let found = in_rounds(&pass, &sink);
    monitor.end();
    let (Walked { tally: figures, links, .. }, found) = found?;
    let listed = Listed { tally: figures, additions: sink.additions, deletions: sink.deletions };
    listed.with_renames(&pass, links, found)
}

/// Compares all directories: those that may have been renamed when it is known from where.
fn in_rounds(pass: &Pass<'_>, sink: &ToSpools) -> Result<(Walked, Found), Error> {
    let mut search = Search::new(pass);
    let mut walked = Walked::default();
    let mut tasks = vec![Task::root()];
    while !tasks.is_empty() {
        walk(pass, sink, tasks, &mut walked)?;
        tasks = search.next(&mut walked, sink)?;
    }
    let has_new = walked.tally.to_copy > 0 || !walked.links.is_empty();
    let stay = std::mem::take(&mut walked.stay).into_iter().collect();
    Ok((walked, search.end(has_new, &stay)))
}

/// What the walk found, before anything of it is known to be renamed.
struct Listed {
    tally: Tally,
    additions: Mutex<Spool>,
    deletions: Mutex<Spool>,
}

impl Listed {
    fn with_renames(self, pass: &Pass<'_>, links: LinkNames, found: Found) -> Result<Changes, Error> {
        let Listed { mut tally, additions, deletions } = self;
        let mut old_names = Vacated::default();
        let mut additions = renamed_files(pass, additions, &found, &mut tally, &mut old_names)?;
        let links = resolve(links, &Asked { pass, files: &found.files }, &mut |decided| {
            match decided {
                Decided::Vacated(old) => old_names.add(old),
                Decided::Leader(leader) => {
                    leader.changes.iter().for_each(|change| tally.enter(change.action, change.size));
                    additions.push(&leader).map_err(at_root("listing"))?;
                }
            }
            Ok(())
        })?;
        let deletions = without_old_names(pass, deletions, &found, &mut tally, old_names)?;
        let deletion_records = deletions.len();
        let (additions, deletions) = (Mutex::new(additions), Mutex::new(deletions));
        Ok(Changes {
            additions,
            deletions,
            moves: found.moves,
            links,
            tally,
            counts: pass.take_counts(),
            deleted: AtomicUsize::new(0),
            deletion_records,
            held: AtomicU64::new(0),
            holds_files: AtomicBool::new(pass.misses_something()),
            holds_old_names: AtomicBool::new(false),
        })
    }
}

/// The additions, with those files to be renamed that are only known under another name.
fn renamed_files(
    pass: &Pass<'_>,
    additions: Mutex<Spool>,
    found: &Found,
    tally: &mut Tally,
    old_names: &mut Vacated,
) -> Result<Spool, Error> {
    let mut additions = additions.into_inner().expect("no thread panics while spooling");
    if found.files.is_empty() {
        return Ok(additions);
    }
    let mut rewritten = Spool::new(pass.options);
    for change in additions.replay().map_err(at_root("listing"))? {
        pass.go_on()?;
        let mut change = change.map_err(at_root("listing"))?;
        found.files.rename_in(pass, &mut change, tally)?.into_iter().for_each(|old| old_names.add(old));
        rewritten.push(&change).map_err(at_root("listing"))?;
    }
    Ok(rewritten)
}

/// The deletions, with the names of what was renamed first: these do not count.
fn without_old_names(
    pass: &Pass<'_>,
    deletions: Mutex<Spool>,
    found: &Found,
    tally: &mut Tally,
    old_names: Vacated,
) -> Result<Spool, Error> {
    let mut deletions = deletions.into_inner().expect("no thread panics while spooling");
    if !old_names.is_empty() {
        let mut rewritten = Spool::new(pass.options);
        let mut push = |change: &DirChange| rewritten.push(change).map_err(at_root("listing"));
        old_names.changes(RECORD_CHANGES).try_for_each(|change| push(&change))?;
        for change in deletions.replay().map_err(at_root("listing"))? {
            pass.go_on()?;
            let mut change = change.map_err(at_root("listing"))?;
            let path = change.path.clone();
            let (old, left) = std::mem::take(&mut change.changes)
                .into_iter()
                .partition(|one| old_names.has(&path, &one.name));
            let old: Vec<Change> = old;
            old.iter().for_each(|one| tally.spare(&path.join(&one.name)));
            change.changes = left;
            if !change.is_empty() {
                push(&change)?;
            }
        }
        deletions = rewritten;
    }
    found.deletions(pass, &old_names, tally, &mut |change| {
        deletions.push(change).map_err(at_root("listing"))
    })?;
    Ok(deletions)
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

/// Compares directories, and all below them that need not wait.
pub(super) fn walk(
    pass: &Pass<'_>,
    sink: &dyn ChangeSink,
    tasks: Vec<Task>,
    walked: &mut Walked,
) -> Result<(), Error> {
    let walked = Mutex::new(walked);
    each_dir(pass, tasks, |task, room| one(pass, sink, task, room, &walked))
}

/// Has `work` done for each directory, on several threads; it gives back the directories below.
pub(super) fn each_dir(
    pass: &Pass<'_>,
    mut tasks: Vec<Task>,
    work: impl Fn(&Task, &mut Room) -> Result<Vec<Task>, Error> + Sync,
) -> Result<(), Error> {
    // As long as there is one at a time, others would have nothing to do: a chain may bring thousands of rounds.
    let mut room = Room::default();
    while let [task] = &tasks[..] {
        tasks = work(task, &mut room)?;
    }
    if tasks.is_empty() {
        return Ok(());
    }
    let state = QueueState { waiting: tasks, at_work: 0, asleep: 0, ended: None };
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
    walked: &Mutex<&mut Walked>,
) -> Result<Vec<Task>, Error> {
    pass.arrive();
    pass.go_on()?;
    let Some((change, found)) = compare_dir(pass, task, room, sink)? else { return Ok(Vec::new()) };
    let compare::Found { tally, links, below, arrived, left, left_unknown, stay, .. } = found;
    sink.take(change)?;
    // One table for all threads: what each had kept would be there twice when they are put together.
    let mut walked = walked.lock().expect("no thread panics while walking");
    walked.tally.merge(tally);
    walked.links.append(links);
    walked.arrived.extend(arrived);
    let left = left.into_iter().chain(left_unknown).filter(|left| left.goes != Goes::Nowhere);
    walked.left.extend(left);
    walked.stay.extend(stay);
    drop(walked);
    pass.pace(0);
    Ok(below)
}
