//! Regular files whose names are gone, and the decision whether a file that has come is one of them.

use crate::sys::stat::{Kind, Stat, Timestamp, stat_at};
use crate::tree::base::fault::{Error, Fault};
use crate::tree::base::relpath::RelPath;
use crate::tree::changes::change::{Action, Aspects, Change, DirChange};
use crate::tree::changes::links::{Bearer, DirAt, MirrorSide, OldName};
use crate::tree::changes::tally::Tally;
use crate::tree::pass::Pass;
use crate::tree::pass::threads::{copiers, share_out};
use crate::tree::scan::difference::Sides;
use crate::tree::scan::look::Former;
use crate::tree::scan::withhold::withholds;
use std::cell::Cell;
use std::collections::{HashMap, HashSet};
use std::sync::{Arc, Mutex};

/// So many are kept at most; the rest is copied under its new name.
const MOST: usize = 1 << 18;

/// Files whose names are gone, by inode once they are sorted.
#[derive(Debug, Default)]
pub(in crate::tree) struct OldFiles {
    files: Vec<(DirAt, Former)>,
}

/// The mirror's file that a file of the source was.
pub(in crate::tree) struct Old {
    bearer: Bearer,
    mirror_nlink: u64,
    hash: Option<[u8; 32]>,
}

impl OldFiles {
    /// Adds one.
    pub fn add(&mut self, dir: DirAt, entry: Former) {
        if self.files.len() < MOST {
            self.files.push((dir, entry));
        }
    }
    /// Comes when all are known: those stay whose directory `is_gone` or was looked at, and which do not go on under their
    /// names (`stays`), by inode; `equal_to` says which directory of the source theirs becomes.
    pub fn settle(
        &mut self,
        is_gone: impl Fn(&DirAt) -> bool,
        stays: impl Fn(&DirAt, &[u8]) -> bool,
        equal_to: impl Fn(&DirAt) -> u64,
    ) {
        // Those of one directory come together, and share its path: it is asked for once.
        let mut asked: Option<(DirAt, bool, u64)> = None;
        self.files.retain_mut(|(dir, entry)| {
            let known = asked.take().filter(|(last, ..)| Arc::ptr_eq(&last.path, &dir.path));
            let (last, gone, ino) = known.unwrap_or_else(|| (dir.clone(), is_gone(dir), equal_to(dir)));
            (dir.ino, asked) = (ino, Some((last, gone, ino)));
            gone && !stays(dir, &entry.name)
        });
        self.files.sort_by(|(a_dir, a), (b_dir, b)| {
            let place = || a_dir.on_mirror().cmp(b_dir.on_mirror()).then_with(|| a.name.cmp(&b.name));
            a.ino.cmp(&b.ino).then_with(place)
        });
    }
    pub fn is_empty(&self) -> bool {
        self.files.is_empty()
    }
    fn of(&self, ino: u64) -> &[(DirAt, Former)] {
        let start = self.files.partition_point(|(_, entry)| entry.ino < ino);
        let end = self.files.partition_point(|(_, entry)| entry.ino <= ino);
        &self.files[start..end]
    }
    /// What the mirror has of the source's file `name` in `dir`, whose inode is `ino`, under a name that is gone.
    /// Whatever keeps it from being found out: the file is copied.
    fn find(&self, pass: &Pass<'_>, dir: &RelPath, name: &[u8], ino: u64) -> Option<Old> {
        let same_inode = self.of(ino);
        if same_inode.is_empty() || pass.options.wanted.of(dir, name).is_some() {
            return None;
        }
        let source = pass.source_dir(dir).ok()?;
        let stat = stat_at(&source.fd, name).ok()?;
        let btime = stat.btime.filter(|_| stat.kind == Kind::File && stat.ino == ino)?;
        let all: Vec<_> = same_inode.iter().filter(|(_, entry)| entry.btime == btime).collect();
        let (old_dir, entry) = all.first()?;
        let mirror = pass.mirror_dir(old_dir.on_mirror()).ok()?;
        let found: Stat = stat_at(&mirror.fd, &entry.name).ok()?;
        if found.kind != Kind::File || !pass.mirror.holds(&found) {
            return None;
        }
        let path = dir.join(name);
        let is_held = !pass.options.held.is_empty() && withholds(pass, (&source, name), &path, &stat).ok()?;
        let sides = Sides { pass, source, mirror: Some(mirror), wanted: None, hash: Cell::default() };
        let aspects = match is_held {
            // What the mirror has of it is good, and keeps its metadata too.
            true => Aspects::NONE,
            false => match sides.renamed((name, &stat), (&entry.name, &found), entry) {
                // What cannot be read any more is not lost with its old name.
                Err(fault @ Fault::Source(..)) => pass.fault(path, fault).map(|()| Aspects::NONE).ok()?,
                other => other.ok()?,
            },
        };
        let bearer = Bearer {
            mirror_ino: found.ino,
            from: old_dir.on_mirror().join(&entry.name),
            aspects,
            ctime: stat.ctime,
            names: all
                .iter()
                .map(|(dir, entry)| OldName { dir: dir.clone(), name: entry.name.clone() })
                .collect(),
        };
        Some(Old { bearer, mirror_nlink: found.nlink.into(), hash: entry.hash })
    }
    /// Makes those files of one directory that are to be made, and are here, files to be renamed.
    pub fn rename_in(
        &self,
        pass: &Pass<'_>,
        change: &mut DirChange,
        tally: &mut Tally,
    ) -> Result<Vec<OldName>, Error> {
        let is_candidate = |one: &Change| {
            one.action == Action::Make && one.kind == Kind::File && !self.of(one.ino).is_empty()
        };
        let candidates: Vec<usize> =
            (0..change.changes.len()).filter(|at| is_candidate(&change.changes[*at])).collect();
        let found = Mutex::new(Vec::new());
        share_out(copiers(pass.options), &candidates, |at| {
            pass.go_on()?;
            let one = &change.changes[*at];
            if let Some(old) = self.find(pass, &change.path, &one.name, one.ino).filter(Old::is_whole) {
                found.lock().expect("no thread panics while collecting").push((*at, old));
            }
            Ok(())
        })?;
        let found = found.into_inner().expect("no thread panics while collecting");
        let names = found.into_iter().filter_map(|(at, old)| {
            let one = &mut change.changes[at];
            tally.is_renamed(one.size);
            pass.put_hash(one.slot, old.hash);
            (one.action, one.aspects, one.from) = (Action::Rename, old.bearer.aspects, Some(old.bearer.from));
            one.ctime = old.bearer.ctime;
            old.bearer.names.into_iter().next()
        });
        Ok(names.collect())
    }
}

impl Old {
    /// Whether it can become the source's without being made anew, and belongs to nothing else.
    fn is_whole(&self) -> bool {
        !self.bearer.aspects.needs_making() && self.mirror_nlink <= self.bearer.names.len() as u64
    }
}

/// What the decision about hard links asks the mirror.
pub(in crate::tree) struct Asked<'a> {
    pub pass: &'a Pass<'a>,
    pub files: &'a OldFiles,
}

impl MirrorSide for Asked<'_> {
    fn inode(&self, dir: &DirAt, name: &[u8]) -> Option<u64> {
        let dir = self.pass.mirror_dir(dir.on_mirror()).ok()?;
        Some(stat_at(&dir.fd, name).ok()?.ino)
    }
    fn bearer(&self, ino: u64, dir: &DirAt, name: &[u8]) -> Option<Bearer> {
        Some(self.files.find(self.pass, &dir.path, name, ino)?.bearer)
    }
    fn go_on(&self) -> Result<(), Error> {
        self.pass.go_on()
    }
}

/// Names that go for others, by directory.
#[derive(Debug, Default)]
pub(in crate::tree) struct Vacated {
    by_dir: HashMap<RelPath, InDir>,
}

#[derive(Debug)]
struct InDir {
    /// Which directory of the source it is; 0 if that does not have it any more.
    ino: u64,
    names: HashSet<Box<[u8]>>,
}

impl Vacated {
    /// Adds one.
    pub fn add(&mut self, OldName { dir, name }: OldName) {
        let ino = dir.ino;
        let in_dir = self.by_dir.entry((*dir.path).clone());
        in_dir.or_insert(InDir { ino, names: HashSet::new() }).names.insert(name);
    }
    /// Whether there are none.
    pub fn is_empty(&self) -> bool {
        self.by_dir.is_empty()
    }
    /// Whether this path is one.
    pub fn contains(&self, path: &RelPath) -> bool {
        path.split().is_some_and(|(dir, name)| self.has(&dir, name))
    }
    /// Whether the name of this directory is one.
    pub fn has(&self, dir: &RelPath, name: &[u8]) -> bool {
        self.by_dir.get(dir).is_some_and(|in_dir| in_dir.names.contains(name))
    }
    /// What takes them away, in the order of the directories; so many names at a time.
    pub fn changes(&self, most: usize) -> impl Iterator<Item = DirChange> {
        let mut dirs: Vec<(&RelPath, &InDir)> = self.by_dir.iter().collect();
        dirs.sort_unstable_by_key(|(path, _)| *path);
        dirs.into_iter().flat_map(move |(path, InDir { ino, names })| {
            let mut names = names.iter();
            let part = move || {
                let changes: Vec<Change> = names.by_ref().take(most).map(|name| vacate(name)).collect();
                let (path, ino, own) = (path.clone(), *ino, Aspects::NONE);
                (!changes.is_empty()).then_some(DirChange { path, ino, own, changes })
            };
            std::iter::from_fn(part)
        })
    }
}

fn vacate(name: &[u8]) -> Change {
    Change {
        action: Action::Vacate,
        kind: Kind::File,
        over: None,
        aspects: Aspects::NONE,
        ino: 1,
        ctime: Timestamp::default(),
        leads: None,
        size: 0,
        slot: 0,
        name: name.into(),
        from: None,
    }
}
