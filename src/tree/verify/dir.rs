//! One directory of both trees.

use super::amend::amend;
use super::finding::{Difference, Side, What};
use super::{Verifying, file};
use crate::sys::dir::Handle;
use crate::sys::stat::{Kind, Stat, stat_at};
use crate::tree::base::fault::{Error, Fault, Sided, at_root};
use crate::tree::base::listing::{Entry, Listing};
use crate::tree::base::merge::{Pair, merge};
use crate::tree::base::overrides::InDir;
use crate::tree::base::relpath::RelPath;
use crate::tree::changes::change::Aspects;
use crate::tree::changes::tally::Tally;
use crate::tree::entry::attrs::compare;
use crate::tree::scan::look::{Former, Look, Looking, Memory, Room};
use crate::tree::scan::survey::{Place, survey};
use crate::tree::scan::task::{Known, Task};
use std::collections::BTreeSet;
use std::io;
use std::sync::atomic::Ordering::Relaxed;

/// How sure it is that an entry of the source is as it was when the mirror's was equal.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Standing {
    /// The catalog proves it.
    Proven,
    /// There is no catalog, and its times are older than the last run.
    Old,
    /// It may have been changed since.
    Changed,
}

/// A directory while it is compared.
pub(super) struct At<'a> {
    pub verifying: &'a Verifying<'a>,
    pub path: &'a RelPath,
    pub source: Handle,
    pub mirror: Handle,
    pub memory: &'a Memory<'a>,
    pub wanted: Option<&'a InDir>,
    /// Without a catalog: whether the directory's own time is older than the last run.
    is_old: bool,
    /// What the next run shall not believe to be equal.
    pub doubted: BTreeSet<Box<[u8]>>,
    /// Whether it shall look at the directory on both sides.
    doubts_itself: bool,
    below: Vec<Task>,
}

impl Verifying<'_> {
    /// Compares one directory. Gives back those below it.
    pub fn directory(&self, task: &Task, room: &mut Room) -> Result<Vec<Task>, Error> {
        self.pass.go_on()?;
        let Some((source, stat)) = self.source_dir(task)? else { return Ok(Vec::new()) };
        let Room { block, sheet } = room;
        let memory = Memory::of(self.pass, task.known == Known::Catalog, &stat, block);
        let wanted = self.pass.options.wanted.in_dir(&task.path);
        let look = Looking {
            pass: self.pass,
            dir: &source.fd,
            path: &task.path,
            wanted,
            moved: false,
            most: usize::MAX,
        };
        let look = look.look(&memory, sheet);
        let Some(mirror) = self.mirror_dir(&task.path)? else { return Ok(Vec::new()) };
        let is_old = task.known == Known::Catalog && self.is_old(&stat);
        let mut at = At { is_old, ..At::new(self, &task.path, (source, mirror), &memory) };
        at.entries(look)?;
        at.itself(&stat);
        let At { doubted, doubts_itself, below, .. } = at;
        if (doubts_itself || !doubted.is_empty())
            && let (Some(catalog), Some(block)) = (memory.catalog, &memory.block)
        {
            amend(catalog, block, &task.path, &doubted, sheet);
        }
        Ok(below)
    }
    /// A directory of the source, if it is still the one that was meant.
    pub fn source_dir(&self, task: &Task) -> Result<Option<(Handle, Stat)>, Error> {
        let opened = self.pass.source_dir(&task.path).and_then(|source| Ok((source.stat()?, source)));
        match opened.on_source("opening directory") {
            Ok((stat, source)) if task.ino.is_none_or(|ino| ino == stat.ino) => Ok(Some((source, stat))),
            Err(Fault::Source(doing, error)) if task.path.is_root() => Err(at_root(doing)(error)),
            Err(Fault::Source(doing, error)) => {
                self.unreadable(&task.path, Side::Source, doing, error);
                Ok(None)
            }
            Ok(_) | Err(_) => {
                self.findings.changed();
                Ok(None)
            }
        }
    }
    /// Its counterpart, which was there when its name was read.
    pub fn mirror_dir(&self, path: &RelPath) -> Result<Option<Handle>, Error> {
        match self.pass.mirror_dir(path) {
            Ok(mirror) => Ok(Some(mirror)),
            Err(error) if path.is_root() => Err(at_root("opening directory")(error)),
            Err(error) => {
                self.unreadable(path, Side::Mirror, "opening directory", error);
                self.pass.forget(path);
                Ok(None)
            }
        }
    }
    pub fn unreadable(&self, path: &RelPath, side: Side, doing: &'static str, error: io::Error) {
        let what = What::Unreadable(doing, error);
        self.findings.add(Difference { path: path.clone(), side, what, damage: None });
    }
    /// Whether there is no catalog, and what `stat` describes was last changed before the last run looked.
    fn is_old(&self, stat: &Stat) -> bool {
        let options = &self.pass.options;
        let is_believed = options.catalog.as_ref().is_some_and(|catalog| catalog.is_believed());
        !is_believed && options.doubt_since.is_some_and(|since| stat.ctime < since && stat.mtime < since)
    }
}

impl<'a> At<'a> {
    /// A directory that is open on both sides.
    pub fn new(
        verifying: &'a Verifying<'a>,
        path: &'a RelPath,
        (source, mirror): (Handle, Handle),
        memory: &'a Memory<'a>,
    ) -> Self {
        let wanted = verifying.pass.options.wanted.in_dir(path);
        let (is_old, doubted) = (false, BTreeSet::new());
        let (doubts_itself, below) = (false, Vec::new());
        At { verifying, path, source, mirror, memory, wanted, is_old, doubted, doubts_itself, below }
    }
    fn entries(&mut self, look: Look) -> Result<(), Error> {
        let Look { mut entries, gone, unread, vanished, cut_short, .. } = look;
        entries.sort_unstable_by(|a, b| a.name.cmp(&b.name));
        let findings = &self.verifying.findings;
        findings.entries.fetch_add(entries.len() as u64, Relaxed);
        findings.changed_since.fetch_add(vanished, Relaxed);
        self.verifying.pass.monitor.advance(entries.len() as u64);
        let listing = Listing::read(&self.mirror.fd, self.path, &self.verifying.pass.options.excludes);
        let whole = cut_short.is_none() && listing.cut_short.is_none();
        self.say_unread(Side::Source, unread, cut_short);
        self.say_unread(Side::Mirror, listing.unread, listing.cut_short);
        let mut pairs: Vec<Pair<'_, Entry>> = merge(&entries, &listing.entries).collect();
        // In the order of the source's disk.
        pairs.sort_by_key(|pair| match pair {
            Pair::New(entry) | Pair::Both(entry, _) => entry.stat.map_or(0, |stat| stat.ino),
            Pair::Gone(_) => 0,
        });
        for pair in pairs {
            self.verifying.pass.go_on()?;
            match pair {
                Pair::New(source) if whole => self.missing(source),
                Pair::Gone(mirror) if whole => self.extra(mirror, &gone)?,
                Pair::New(_) | Pair::Gone(_) => {}
                Pair::Both(source, mirror) => self.both(source, mirror)?,
            }
        }
        Ok(())
    }
    fn say_unread(&mut self, side: Side, unread: Vec<(Box<[u8]>, io::Error)>, cut_short: Option<io::Error>) {
        for (name, error) in unread {
            self.verifying.unreadable(&self.path.join(&name), side, "examining", error);
        }
        match cut_short {
            // It was removed after it had been opened.
            Some(error) if matches!(side, Side::Source) && error.kind() == io::ErrorKind::NotFound => {
                self.verifying.findings.changed_since.fetch_add(1, Relaxed);
            }
            Some(error) => self.verifying.unreadable(self.path, side, "reading directory", error),
            None => {}
        }
    }
    pub fn standing(&self, entry: &Entry, stat: &Stat) -> Standing {
        if entry.proven || self.is_known(&entry.name) && self.memory.knows(&entry.name, stat) {
            Standing::Proven
        } else if self.is_old && self.verifying.is_old(stat) {
            Standing::Old
        } else {
            Standing::Changed
        }
    }
    /// Whether it was found damaged before: then the catalog proves it no more, and it is damaged still if it differs.
    fn is_known(&self, name: &[u8]) -> bool {
        let known = self.verifying.known;
        !known.is_empty() && known.contains(&self.path.join(name))
    }
    /// Enters a difference. The next run looks at it, unless nothing tells which side it would have to mend.
    pub fn differs(&mut self, difference: Difference) {
        if difference.side != Side::Unknown
            && let Some((_, name)) = difference.path.split()
        {
            self.doubted.insert(name.into());
        }
        self.verifying.findings.add(difference);
    }
    fn mirror_differs(&mut self, name: &[u8], what: What) {
        self.differs(Difference { path: self.path.join(name), side: Side::Mirror, what, damage: None });
    }
    pub fn missing(&mut self, source: &Entry) {
        let Some(stat) = source.stat.as_ref().filter(|stat| self.verifying.pass.source.holds(stat)) else {
            return;
        };
        match self.standing(source, stat) {
            Standing::Changed => self.verifying.findings.changed(),
            Standing::Proven | Standing::Old => self.mirror_differs(&source.name, What::Missing),
        }
    }
    fn extra(&mut self, mirror: &Entry, gone: &[Former]) -> Result<(), Error> {
        let pass = self.verifying.pass;
        let Some(stat) = mirror.stat.filter(|stat| pass.mirror.holds(stat)) else { return Ok(()) };
        if stat.kind == Kind::Dir {
            let below =
                survey(pass, Place::same(self.path.join(&mirror.name)), &mut Tally::default(), &|_| false)?;
            // A directory for what is the mirror's own stays.
            if below.left_out && below.entries == 0 {
                return Ok(());
            }
        }
        let is_unknown =
            self.memory.audits && gone.binary_search_by(|former| former.name.cmp(&mirror.name)).is_err();
        if (is_unknown || self.is_old || self.is_known(&mirror.name)) && self.is_absent(&mirror.name) {
            self.mirror_differs(&mirror.name, What::Extra);
        } else {
            self.verifying.findings.changed();
        }
        Ok(())
    }
    fn is_absent(&self, name: &[u8]) -> bool {
        stat_at(&self.source.fd, name).is_err_and(|error| error.kind() == io::ErrorKind::NotFound)
    }
    fn both(&mut self, source: &Entry, mirror: &Entry) -> Result<(), Error> {
        let (Some(a), Some(b)) = (source.stat, mirror.stat) else { return Ok(()) };
        let pass = self.verifying.pass;
        if !pass.source.holds(&a) || !pass.mirror.holds(&b) {
            return Ok(());
        }
        if a.kind != b.kind {
            match self.standing(source, &a) {
                Standing::Changed => self.verifying.findings.changed(),
                Standing::Proven | Standing::Old => self.mirror_differs(&source.name, What::Type),
            }
            return Ok(());
        }
        if a.kind == Kind::Dir {
            let is_known = source.proven || self.is_old && self.verifying.is_old(&a);
            let known = if is_known { Known::Catalog } else { Known::Mirror };
            let (path, mirror, ino) = (self.path.join(&source.name), None, Some(a.ino));
            self.below.push(Task { path, mirror, ino, known });
            return Ok(());
        }
        let sample = self.verifying.sample;
        // Of an inode with several names any may come first: it goes by its number.
        let is_due = match a.nlink {
            1 => sample.takes(&self.path.join(&source.name)),
            _ => a.ino % sample.slots == sample.slot,
        };
        file::compare(self, (source, &a), &b, is_due)
    }
    /// The directory itself. Its time is changed by whatever else keeps something of its own in it.
    fn itself(&mut self, stat: &Stat) {
        if !self.memory.own_proven && !self.is_old {
            return;
        }
        let rules = &self.verifying.pass.rules;
        let compared = self
            .mirror
            .stat()
            .and_then(|mirror_stat| compare((&self.source, stat), (&self.mirror, &mirror_stat), rules));
        let what = match compared {
            Ok(aspects) => match Aspects(aspects.0 & !Aspects::MTIME.0) {
                Aspects::NONE => return,
                aspects => What::Metadata(aspects),
            },
            Err(error) => What::Unreadable("reading attributes", error),
        };
        if !self.source.stat().is_ok_and(|now| now.ctime == stat.ctime) {
            return self.verifying.findings.changed();
        }
        self.doubts_itself = true;
        let (path, side) = (self.path.clone(), Side::Mirror);
        self.verifying.findings.add(Difference { path, side, what, damage: None });
    }
    /// The hash that the last run took of a file's content.
    pub fn recorded(&self, name: &[u8]) -> Option<[u8; 32]> {
        self.memory.hash_of(name)
    }
}
