//! Walks both trees, a few directories at a time, into a sink.

use crate::tree::base::fault::Error;
use crate::tree::base::relpath::RelPath;
use crate::tree::changes::change::DirChange;
use crate::tree::changes::links::LinkNames;
use crate::tree::changes::tally::Tally;
use crate::tree::pass::Pass;
use crate::tree::pass::threads::scanners;
use crate::tree::scan::compare::{self, compare_dir};
use crate::tree::scan::look::Room;
use crate::tree::scan::renames::candidates::{Arrived, Left};
use crate::tree::scan::task::Task;
use std::sync::{Condvar, Mutex};

/// Takes the changes as they are found, from several threads; a directory always before what is below it.
pub(in crate::tree) trait ChangeSink: Sync {
    /// One directory's changes.
    fn take(&self, change: DirChange) -> Result<(), Error>;
    /// Comes before the changes of a directory that are given in parts: what it needs itself.
    fn begin(&self, _itself: &DirChange) -> Result<(), Error> {
        Ok(())
    }
}

/// What a walk found beside what the sink was given.
#[derive(Default)]
pub(in crate::tree) struct Walked {
    pub tally: Tally,
    pub links: LinkNames,
    pub arrived: Vec<Arrived>,
    pub left: Vec<Left>,
    /// Files of the mirror that go on under their names.
    pub stay: Vec<RelPath>,
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
pub(in crate::tree) fn walk(
    pass: &Pass<'_>,
    sink: &dyn ChangeSink,
    tasks: Vec<Task>,
    walked: &mut Walked,
) -> Result<(), Error> {
    let walked = Mutex::new(walked);
    each_dir(pass, tasks, |task, room| one(pass, sink, task, room, &walked))
}

/// Has `work` done for each directory, on several threads; it gives back the directories below.
pub(in crate::tree) fn each_dir(
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
    let compare::Found { tally, links, below, arrived, left, stay, .. } = found;
    sink.take(change)?;
    // One table for all threads: what each had kept would be there twice when they are put together.
    let mut walked = walked.lock().expect("no thread panics while walking");
    walked.tally.merge(tally);
    walked.links.append(links);
    walked.arrived.extend(arrived);
    walked.left.extend(left);
    walked.stay.extend(stay);
    drop(walked);
    pass.pace(0);
    Ok(below)
}
