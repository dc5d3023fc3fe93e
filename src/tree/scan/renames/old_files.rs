//! Regular files whose names are gone, and the decision whether a file that has come is one of them.

use crate::sys::stat::{Kind, Stat, Timestamp, stat_at};
use crate::tree::base::fault::{Error, Fault};
use crate::tree::base::relpath::RelPath;
use crate::tree::changes::change::{Aspects, Change, DirChange, How, Removal};
use crate::tree::changes::links::{Bearer, DirAt, MirrorSide, OldName};
use crate::tree::changes::recent::{put_bytes, take_bytes};
use crate::tree::changes::tally::Tally;
use crate::tree::memory::catalog::HASH;
use crate::tree::pass::Pass;
use crate::tree::pass::threads::{copiers, share_out};
use crate::tree::scan::difference::Sides;
use crate::tree::scan::look::Former;
use crate::tree::scan::withhold::withholds;
use std::cell::Cell;
use std::collections::HashMap;
use std::sync::{Arc, Mutex};

/// So many are kept at most; the rest is copied under its new name.
const MOST: usize = 1 << 18;

/// Files whose names are gone, by inode once they are settled. There may be very many.
#[derive(Debug, Default)]
pub(in crate::tree) struct OldFiles {
    dirs: Vec<DirAt>,
    files: Vec<OldFile>,
    names: Names,
}

#[derive(Debug, Clone, Copy)]
struct OldFile {
    ino: u64,
    btime: Timestamp,
    hash: Option<[u8; HASH]>,
    proof: Option<Timestamp>,
    /// Its number among the directories.
    dir: u32,
    name: NameAt,
}

/// Names, one behind the other, each behind its length.
#[derive(Debug, Default)]
struct Names(Vec<u8>);

/// Where one stands.
type NameAt = u32;

impl Names {
    fn add(&mut self, name: &[u8]) -> NameAt {
        let at = self.0.len() as NameAt;
        put_bytes(&mut self.0, name);
        at
    }
    fn get(&self, at: NameAt) -> &[u8] {
        take_bytes(&mut &self.0[at as usize..]).expect("a name was put there")
    }
}

/// The mirror's file that a file of the source was.
pub(in crate::tree) struct Old {
    bearer: Bearer,
    mirror_nlink: u64,
    hash: Option<[u8; HASH]>,
}

impl OldFiles {
    /// Adds one of this directory.
    pub fn add(&mut self, dir: &DirAt, former: &Former) {
        if self.files.len() == MOST {
            return;
        }
        if self.dirs.last().is_none_or(|last| !Arc::ptr_eq(&last.path, &dir.path)) {
            self.dirs.push(dir.clone());
        }
        let Former { ino, btime, hash, proof, .. } = *former;
        let (dir, name) = (self.dirs.len() as u32 - 1, self.names.add(&former.name));
        self.files.push(OldFile { ino, btime, hash, proof, dir, name });
    }
    /// Comes when all are known: those stay whose directory `is_gone` or was looked at, and which do not go on under their
    /// names (`stays`), by inode; `equal_to` says which directory of the source theirs becomes.
    pub fn settle(
        &mut self,
        is_gone: impl Fn(&DirAt) -> bool,
        stays: impl Fn(&DirAt, &[u8]) -> bool,
        equal_to: impl Fn(&DirAt) -> u64,
    ) {
        let OldFiles { dirs, files, names } = self;
        let gone: Vec<bool> = dirs.iter().map(is_gone).collect();
        dirs.iter_mut().for_each(|dir| dir.ino = equal_to(dir));
        let place = |file: &OldFile| (&dirs[file.dir as usize], names.get(file.name));
        files.retain(|file| {
            let (dir, name) = place(file);
            gone[file.dir as usize] && !stays(dir, name)
        });
        files.sort_unstable_by(|a, b| {
            let ((a_dir, a_name), (b_dir, b_name)) = (place(a), place(b));
            let by_place = || a_dir.on_mirror().cmp(b_dir.on_mirror()).then_with(|| a_name.cmp(b_name));
            a.ino.cmp(&b.ino).then_with(by_place)
        });
    }
    pub fn is_empty(&self) -> bool {
        self.files.is_empty()
    }
    fn of(&self, ino: u64) -> &[OldFile] {
        let start = self.files.partition_point(|file| file.ino < ino);
        let end = self.files.partition_point(|file| file.ino <= ino);
        &self.files[start..end]
    }
    fn name_of(&self, file: &OldFile) -> OldName {
        OldName { dir: self.dirs[file.dir as usize].clone(), name: self.names.get(file.name).into() }
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
        let all: Vec<&OldFile> = same_inode.iter().filter(|file| file.btime == btime).collect();
        let file = all.first()?;
        let names: Vec<OldName> = all.iter().map(|file| self.name_of(file)).collect();
        let OldName { dir: old_dir, name: old_name } = names.first()?;
        let mirror = pass.mirror_dir(old_dir.on_mirror()).ok()?;
        let found: Stat = stat_at(&mirror.fd, old_name).ok()?;
        if found.kind != Kind::File || !pass.mirror.holds(&found) {
            return None;
        }
        let path = dir.join(name);
        let is_held = !pass.options.held.is_empty() && withholds(pass, (&source, name), &path, &stat).ok()?;
        let sides = Sides { pass, source, mirror: Some(mirror), wanted: None, hash: Cell::default() };
        let aspects = match is_held {
            // What the mirror has of it is good, and keeps its metadata too.
            true => Aspects::NONE,
            false => match sides.renamed((name, &stat), (old_name, &found), (file.proof, file.hash)) {
                // What cannot be read any more is not lost with its old name.
                Err(fault @ Fault::Source(..)) => pass.fault(path, fault).map(|()| Aspects::NONE).ok()?,
                other => other.ok()?,
            },
        };
        let bearer = Bearer {
            mirror_ino: found.ino,
            from: old_dir.on_mirror().join(old_name),
            aspects,
            ctime: stat.ctime,
            names,
        };
        Some(Old { bearer, mirror_nlink: found.nlink.into(), hash: file.hash })
    }
    /// Makes those files of one directory that are to be made, and are here, files to be renamed.
    pub fn rename_in(
        &self,
        pass: &Pass<'_>,
        change: &mut DirChange,
        tally: &mut Tally,
    ) -> Result<Vec<OldName>, Error> {
        let is_candidate =
            |one: &Change| one.how == How::Make && one.kind == Kind::File && !self.of(one.ino).is_empty();
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
            let Bearer { from, aspects, ctime, names, .. } = old.bearer;
            (one.how, one.aspects, one.ctime) = (How::Rename { from }, aspects, ctime);
            names.into_iter().next()
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

/// Names that go for others, as they are found.
#[derive(Debug, Default)]
pub(in crate::tree) struct Vacating {
    by_dir: HashMap<RelPath, InDir>,
}

/// All of them.
#[derive(Debug)]
pub(in crate::tree) struct Vacated {
    by_dir: HashMap<RelPath, InDir>,
}

#[derive(Debug)]
struct InDir {
    /// Which directory of the source it is; 0 if that does not have it any more.
    ino: u64,
    text: Names,
    /// In the order of the names once all are there.
    names: Vec<NameAt>,
}

impl Vacating {
    /// Adds one.
    pub fn add(&mut self, OldName { dir, name }: OldName) {
        let none = || InDir { ino: dir.ino, text: Names::default(), names: Vec::new() };
        let in_dir = self.by_dir.entry((*dir.path).clone()).or_insert_with(none);
        let at = in_dir.text.add(&name);
        in_dir.names.push(at);
    }
    /// Comes when all are known.
    pub fn all(mut self) -> Vacated {
        for InDir { text, names, .. } in self.by_dir.values_mut() {
            names.sort_unstable_by_key(|at| text.get(*at));
            names.dedup_by_key(|at| text.get(*at));
        }
        Vacated { by_dir: self.by_dir }
    }
}

impl Vacated {
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
        let is_there =
            |in_dir: &InDir| in_dir.names.binary_search_by(|at| in_dir.text.get(*at).cmp(name)).is_ok();
        self.by_dir.get(dir).is_some_and(is_there)
    }
    /// What takes them away, in the order of the directories; so many names at a time.
    pub fn changes(&self, most: usize) -> impl Iterator<Item = DirChange> {
        let mut dirs: Vec<(&RelPath, &InDir)> = self.by_dir.iter().collect();
        dirs.sort_unstable_by_key(|(path, _)| *path);
        dirs.into_iter().flat_map(move |(path, InDir { ino, text, names })| {
            names.chunks(most).map(|part| {
                let old_name = |at: &NameAt| Removal::OldName { name: text.get(*at).into() };
                let removals = part.iter().map(old_name).collect();
                DirChange { removals, ..DirChange::new(path.clone(), *ino) }
            })
        })
    }
}
