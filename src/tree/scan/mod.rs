//! Compares two trees, in rounds where directories may have been renamed, and gives all that is to be done as a value.

pub(super) mod compare;
pub(super) mod difference;
pub(super) mod look;
pub(super) mod renames;
pub(super) mod survey;
pub(super) mod task;
pub(super) mod walk;
pub(super) mod withhold;

use crate::monitor::{Monitor, Unit};
use crate::tree::base::fault::{Error, at_root};
use crate::tree::base::view::View;
use crate::tree::changes::Changes;
use crate::tree::changes::change::DirChange;
use crate::tree::changes::links::{Decided, LinkNames, resolve};
use crate::tree::changes::spool::{RECORD_CHANGES, Spool};
use crate::tree::changes::tally::Tally;
use crate::tree::pass::{Options, Pass};
use crate::tree::scan::renames::old_files::{Asked, Vacated, Vacating};
use crate::tree::scan::renames::{Found, Search};
use crate::tree::scan::task::Task;
use crate::tree::scan::walk::{ChangeSink, Walked, walk};
use std::sync::Mutex;
use std::sync::atomic::{AtomicBool, AtomicU64, AtomicUsize};

struct ToSpools {
    additions: Mutex<Spool>,
    deletions: Mutex<Spool>,
}

impl ChangeSink for ToSpools {
    fn take(&self, mut change: DirChange) -> Result<(), Error> {
        let removals = std::mem::take(&mut change.removals);
        let removed = DirChange { removals, ..DirChange::new(change.path.clone(), change.ino) };
        for (spool, change) in [(&self.additions, change), (&self.deletions, removed)] {
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
    let spool = || Mutex::new(Spool::new(options.beside()));
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
        let mut old_names = Vacating::default();
        let mut additions = renamed_files(pass, additions, &found, &mut tally, &mut old_names)?;
        let links = resolve(links, &Asked { pass, files: &found.files }, &mut |decided| {
            match decided {
                Decided::Vacated(old) => old_names.add(old),
                Decided::Leader(leader) => {
                    leader.changes.iter().for_each(|change| tally.enter(change));
                    additions.push(&leader).map_err(at_root("listing"))?;
                }
            }
            Ok(())
        })?;
        let deletions = without_old_names(pass, deletions, &found, &mut tally, &old_names.all())?;
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
    old_names: &mut Vacating,
) -> Result<Spool, Error> {
    let mut additions = additions.into_inner().expect("no thread panics while spooling");
    if found.files.is_empty() {
        return Ok(additions);
    }
    let mut rewritten = Spool::new(pass.options.beside());
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
    old_names: &Vacated,
) -> Result<Spool, Error> {
    let mut deletions = deletions.into_inner().expect("no thread panics while spooling");
    if !old_names.is_empty() {
        let mut rewritten = Spool::new(pass.options.beside());
        let mut push = |change: &DirChange| rewritten.push(change).map_err(at_root("listing"));
        old_names.changes(RECORD_CHANGES).try_for_each(|change| push(&change))?;
        for change in deletions.replay().map_err(at_root("listing"))? {
            pass.go_on()?;
            let mut change = change.map_err(at_root("listing"))?;
            let DirChange { path, removals, .. } = &mut change;
            removals.retain(|one| {
                let is_old = old_names.has(path, one.name());
                if is_old {
                    tally.spare(&path.join(one.name()));
                }
                !is_old
            });
            if !change.is_empty() {
                push(&change)?;
            }
        }
        deletions = rewritten;
    }
    found.deletions(pass, old_names, tally, &mut |change| {
        deletions.push(change).map_err(at_root("listing"))
    })?;
    Ok(deletions)
}
