//! What was renamed: entries whose names are gone, and entries that have come under names which the catalog does not
//! know, joined by inode and time of birth.
//!
//! A directory that came is not looked at before it is known whether the mirror has it under another name: what is below
//! it is then as the catalog says, and the mirror is asked for it there. So the trees are walked in rounds: what came is
//! joined with what has gone so far; when nothing more is found, what is left of it is new.

pub(in crate::tree) mod candidates;
pub(in crate::tree) mod old_files;

use crate::sys::dir::read_names;
use crate::sys::stat::{Kind, Stat, Timestamp, stat_at};
use crate::tree::base::fault::Error;
use crate::tree::base::relpath::RelPath;
use crate::tree::changes::change::{Aspects, Change, DirChange, How};
use crate::tree::changes::dir_move::DirMove;
use crate::tree::changes::links::DirAt;
use crate::tree::changes::tally::Tally;
use crate::tree::memory::catalog::{DirKey, Tail};
use crate::tree::pass::Pass;
use crate::tree::scan::look::{self, Former, Goes};
use crate::tree::scan::renames::candidates::{Arrived, Fate, Left, LeftDir};
use crate::tree::scan::renames::old_files::{OldFiles, Vacated};
use crate::tree::scan::survey::{Place, deletion, survey};
use crate::tree::scan::task::{Known, Task};
use crate::tree::scan::walk::{ChangeSink, Walked};
use std::collections::{HashMap, HashSet, VecDeque};
use std::io;
use std::sync::Arc;

/// So many entries of a new directory are looked through for the one whose name it has taken.
const LOOKED_THROUGH: usize = 4096;

/// In place of the inode of a directory that the source does not have any more.
const NOT_LOOKED_AT: u64 = 0;

/// What stands at the old place of a directory as soon as that is renamed.
enum Filled {
    /// What has to.
    Free,
    /// This one, if it is renamed too.
    By(DirKey),
    /// Nothing, although something has to.
    Never,
}

/// The search for what was renamed, over the rounds of a scan.
pub(in crate::tree) struct Search<'a> {
    pass: &'a Pass<'a>,
    dirs: HashMap<DirKey, LeftDir>,
    /// By where the mirror has them.
    by_place: HashMap<RelPath, DirKey>,
    /// Those that are known by their places only.
    unknown: Vec<LeftDir>,
    /// Those of which it is to be seen whether they are gone, and what was in them.
    closed: Vec<DirKey>,
    files: OldFiles,
    arrived: Vec<Arrived>,
    /// Those of which it is decided that they are new.
    new: HashSet<DirKey>,
    moves: Vec<DirMove>,
    tally: Tally,
}

/// What was found.
pub(in crate::tree) struct Found {
    /// Directories to rename, those above before those below.
    pub moves: Vec<DirMove>,
    /// Files whose names are gone.
    pub files: OldFiles,
    gone: Vec<LeftDir>,
    /// Old paths of moved directories.
    moved: HashSet<RelPath>,
}

impl<'a> Search<'a> {
    pub fn new(pass: &'a Pass<'a>) -> Self {
        Search {
            pass,
            dirs: HashMap::new(),
            by_place: HashMap::new(),
            unknown: Vec::new(),
            closed: Vec::new(),
            files: OldFiles::default(),
            arrived: Vec::new(),
            new: HashSet::new(),
            moves: Vec::new(),
            tally: Tally::default(),
        }
    }
    /// Takes in what a round found, and gives the directories of the next one; none if there are none left.
    pub fn next(&mut self, walked: &mut Walked, sink: &dyn ChangeSink) -> Result<Vec<Task>, Error> {
        std::mem::take(&mut walked.left).into_iter().for_each(|left| self.take_in(left));
        self.arrived.append(&mut walked.arrived);
        let tasks = loop {
            let tasks = self.join(false)?;
            if !tasks.is_empty() || self.arrived.is_empty() {
                break tasks;
            }
            if self.open_gone() {
                continue;
            }
            let tasks = self.join(true)?;
            break if tasks.is_empty() { self.all_new(sink)? } else { tasks };
        };
        walked.tally.merge(std::mem::take(&mut self.tally));
        Ok(tasks)
    }
    /// Ends the search; files that `stay` are found nowhere else. What was in directories that are gone is asked for only if something has come that might be it.
    pub fn end(mut self, has_new: bool, stay: &HashSet<RelPath>) -> Found {
        while has_new && !self.pass.stopped() && self.open_gone() {}
        self.recognise();
        let mut files = std::mem::take(&mut self.files);
        files.settle(
            |dir| self.is_gone(dir),
            |dir, name| !stay.is_empty() && stay.contains(&dir.on_mirror().join(name)),
            |dir| self.made_equal_to(dir),
        );
        let mut moves = std::mem::take(&mut self.moves);
        moves.iter_mut().for_each(|one| one.old_parent = self.old_parent(one));
        let Search { dirs, unknown, .. } = self;
        let (moved, open): (Vec<LeftDir>, Vec<LeftDir>) = dirs
            .into_values()
            .chain(unknown)
            .filter(|left| !matches!(left.fate, Fate::Taken(_)))
            .partition(|left| left.fate == Fate::Moved);
        let moved = moved.into_iter().map(|left| left.place().path).collect();
        let mut gone: Vec<LeftDir> = open.into_iter().filter(|left| left.goes != Goes::Not).collect();
        gone.sort_by(|a, b| a.dir.path.cmp(&b.dir.path).then_with(|| a.name.cmp(&b.name)));
        Found { moves, files, gone, moved }
    }
    /// The directory that loses a moved one, which may have turned up only after it was known what was moved.
    fn old_parent(&self, moved: &DirMove) -> DirAt {
        let key = moved.from.as_ref().and_then(|from| self.by_place.get(from));
        let known = key.and_then(|key| self.dirs.get(key)).map_or(&moved.old_parent, |left| &left.dir);
        DirAt { ino: self.made_equal_to(known), ..known.clone() }
    }
    /// Finds out what directories are that were known by their places only.
    fn recognise(&mut self) {
        for left in std::mem::take(&mut self.unknown) {
            match self.by_place.get(&left.place().mirror).and_then(|key| self.dirs.get_mut(key)) {
                Some(known) => (known.dir, known.goes) = (left.dir, left.goes),
                None => self.unknown.push(left),
            }
        }
    }
    /// Whether what was in a directory is gone: if that has turned up, what is gone of it was found there.
    fn is_gone(&self, dir: &DirAt) -> bool {
        let mut dir = dir;
        while dir.ino == NOT_LOOKED_AT {
            match self.by_place.get(dir.on_mirror()).and_then(|key| self.dirs.get(key)) {
                Some(left) if left.fate != Fate::Moved => dir = &left.dir,
                _ => return false,
            }
        }
        true
    }
    /// Which directory of the source a directory of the mirror becomes that lost something: not known yet when it was opened.
    fn made_equal_to(&self, dir: &DirAt) -> u64 {
        match self.by_place.get(dir.on_mirror()).and_then(|key| self.dirs.get(key)) {
            Some(LeftDir { fate: Fate::Taken(ino), .. }) if dir.ino == NOT_LOOKED_AT => *ino,
            _ => dir.ino,
        }
    }
    fn take_in(&mut self, left: Left) {
        for entry in left.entries {
            match entry.kind {
                Kind::Dir => self.take_in_dir(left.dir.clone(), entry),
                _ => self.files.add(&left.dir, &entry),
            }
        }
    }
    fn take_in_dir(&mut self, dir: DirAt, entry: Former) {
        let key = DirKey { ino: entry.ino, btime: entry.btime };
        let left = LeftDir { dir, name: entry.name, goes: entry.goes, fate: Fate::Open, opened: false };
        if key.ino == 0 {
            return self.unknown.push(left);
        }
        let place = left.place().mirror;
        // Moved while it was looked at, it was found at two places, and the mirror may have it at both. It can be renamed from
        // one; what is at the other goes as what it is.
        if self.dirs.get(&key).is_some_and(|known| known.place().mirror != place) {
            return self.unknown.push(left);
        }
        self.by_place.insert(place, key);
        match self.dirs.get_mut(&key) {
            // Known from the directory above, which has turned up since.
            Some(known) if left.dir.ino != NOT_LOOKED_AT => (known.dir, known.goes) = (left.dir, left.goes),
            Some(_) => return,
            None => drop(self.dirs.insert(key, left)),
        }
        self.closed.push(key);
    }
    /// Joins what has come with what has gone. When `all_is_known`, what is found nowhere is new.
    fn join(&mut self, all_is_known: bool) -> Result<Vec<Task>, Error> {
        let found = self.found_again(all_is_known)?;
        let (found, others) =
            std::mem::take(&mut self.arrived).into_iter().partition(|arrived| found.contains(&arrived.key));
        self.arrived = others;
        let found: Vec<Arrived> = found;
        found.iter().map(|arrived| self.claim(arrived)).collect()
    }
    /// Which directories can be renamed as a whole: those whose old names are free, or are taken by others of these. Where
    /// something else has come there, no moment may be without either.
    fn found_again(&self, all_is_known: bool) -> Result<HashSet<DirKey>, Error> {
        let mut found = HashSet::new();
        for arrived in &self.arrived {
            self.pass.go_on()?;
            if self.is_found(arrived)? {
                found.insert(arrived.key);
            }
        }
        let come: HashSet<DirKey> = self.arrived.iter().map(|arrived| arrived.key).collect();
        // By what has to be found with it, lest it leave a gap; whatever leaves one takes along what relied on it.
        let (mut relies, mut gaps) = (HashMap::<DirKey, Vec<DirKey>>::new(), Vec::new());
        for key in &found {
            self.pass.go_on()?;
            match self.filled_by(key, &come, all_is_known) {
                Filled::Free => {}
                Filled::By(other) if found.contains(&other) => relies.entry(other).or_default().push(*key),
                Filled::By(_) | Filled::Never => gaps.push(*key),
            }
        }
        while let Some(key) = gaps.pop() {
            found.remove(&key);
            gaps.extend(relies.remove(&key).into_iter().flatten());
        }
        Ok(found)
    }
    fn is_found(&self, arrived: &Arrived) -> Result<bool, Error> {
        let known = |left: &&LeftDir| left.fate == Fate::Open && arrived.key.btime != Default::default();
        let Some(left) = self.dirs.get(&arrived.key).filter(known) else { return Ok(false) };
        if self.new.contains(&arrived.key) {
            return Ok(false);
        }
        let from = left.place().mirror;
        let is_there = self.pass.mirror_dir(&from).and_then(|dir| dir.stat());
        let is_there = is_there.is_ok_and(|stat| self.pass.mirror.holds(&stat));
        Ok(is_there && !self.holds_left_out(&from, &arrived.path())? && self.can_make_way(arrived)?)
    }
    /// What sees to it that nothing is missing at the old place of a directory, if the source has something there.
    fn filled_by(&self, key: &DirKey, come: &HashSet<DirKey>, all_is_known: bool) -> Filled {
        let Some(left) = self.dirs.get(key) else { return Filled::Free };
        let Ok(stat) = self.at_old_place(left) else { return Filled::Free };
        if stat.kind != Kind::Dir {
            return Filled::Never;
        }
        let other = look::key(&stat);
        // One whose new place is not known yet may come here.
        let comes = self.dirs.get(&other).is_some_and(|other_left| {
            other_left.fate == Fate::Moved || other_left.fate == Fate::Open && !come.contains(&other)
        });
        let is_new = || all_is_known && self.is_disjoint(left, *key);
        if left.goes == Goes::Aside || comes || is_new() { Filled::Free } else { Filled::By(other) }
    }
    fn at_old_place(&self, left: &LeftDir) -> io::Result<Stat> {
        stat_at(&self.pass.source_dir(&left.dir.path)?.fd, &left.name)
    }
    /// Whether the source's directory at the old place of another has none of that one's names.
    fn is_disjoint(&self, left: &LeftDir, key: DirKey) -> bool {
        let (Some(catalog), mut room) = (&self.pass.options.catalog, Vec::new()) else { return false };
        let Some(block) = catalog.block(key, &mut room) else { return false };
        let Ok(dir) = self.pass.source_dir(&left.place().path) else { return false };
        let (names, cut_short) = read_names(&dir.fd);
        let names: HashSet<Box<[u8]>> = names.into_iter().map(|named| named.name).collect();
        cut_short.is_none() && !block.rows().any(|(row, _)| names.contains(row.name))
    }
    fn claim(&mut self, arrived: &Arrived) -> Result<Task, Error> {
        self.make_way(arrived)?;
        self.make_new_one(arrived.key);
        let (parent, name, ino) = (arrived.parent.clone(), arrived.name.clone(), arrived.key.ino);
        let mut from = RelPath::root();
        if let Some(left) = self.dirs.get_mut(&arrived.key) {
            left.fate = Fate::Moved;
            from = left.place().mirror;
            let old_parent = left.dir.clone();
            self.moves.push(DirMove { from: Some(from.clone()), old_parent, parent, name, ino });
        }
        self.tally.to_rename += 1;
        Ok(Task { path: arrived.path(), mirror: Some(from), ino: Some(ino), known: Known::Catalog })
    }
    /// Has a new directory made at the old place of one before that leaves, if the source has another there.
    fn make_new_one(&mut self, key: DirKey) {
        let Some(left) = self.dirs.get(&key).filter(|left| left.goes != Goes::Aside) else { return };
        let Ok(stat) = self.at_old_place(left) else { return };
        let other = look::key(&stat);
        if !self.dirs.contains_key(&other) {
            self.new.insert(other);
            let (parent, name) = (left.dir.clone(), left.name.clone());
            let (from, old_parent, ino) = (None, parent.clone(), stat.ino);
            self.moves.push(DirMove { from, old_parent, parent, name, ino });
        }
    }
    /// Whether a directory of the mirror holds what is left out where it is, or where it would be: that stays, and does not
    /// come to be, so the directory is not renamed as a whole.
    fn holds_left_out(&self, from: &RelPath, to: &RelPath) -> Result<bool, Error> {
        for path in [from, to] {
            if self.pass.options.excludes.may_leave_out_below(path) {
                let place = Place { path: path.clone(), mirror: from.clone() };
                if survey(self.pass, place, &mut Tally::default(), &|_| false)?.left_out {
                    return Ok(true);
                }
            }
        }
        Ok(false)
    }
    /// Whether what the mirror has in the place of a directory may be set aside. What is left out has to stay.
    fn can_make_way(&self, arrived: &Arrived) -> Result<bool, Error> {
        let place = Place { path: arrived.path(), mirror: arrived.place() };
        let may_hold =
            arrived.over == Some(Kind::Dir) && self.pass.options.excludes.may_leave_out_below(&place.path);
        Ok(!may_hold || !survey(self.pass, place, &mut Tally::default(), &|_| false)?.left_out)
    }
    /// Notes that it is set aside, and what is lost by that.
    fn make_way(&mut self, arrived: &Arrived) -> Result<(), Error> {
        if arrived.over != Some(Kind::Dir) {
            return Ok(());
        }
        let place = Place { path: arrived.path(), mirror: arrived.place() };
        match self.by_place.get(&place.mirror).and_then(|key| self.dirs.get_mut(key)) {
            Some(left) => left.goes = Goes::Aside,
            None => {
                survey(self.pass, place, &mut self.tally, &|_| false)?;
            }
        }
        Ok(())
    }
    /// Adds what was in directories that are gone. Gives back whether there was any.
    fn open_gone(&mut self) -> bool {
        let mut keys = std::mem::take(&mut self.closed);
        // What is moved stays so: who is not gone by now is not gone later.
        let closed = |left: &LeftDir| !left.opened && left.fate != Fate::Moved && self.is_gone(&left.dir);
        keys.retain(|key| self.dirs.get(key).is_some_and(closed));
        let found: Vec<Left> = keys.iter().filter_map(|key| self.open(*key)).collect();
        let any = found.iter().any(|left| !left.entries.is_empty());
        found.into_iter().for_each(|left| self.take_in(left));
        any
    }
    /// What was in one.
    fn open(&mut self, key: DirKey) -> Option<Left> {
        let left = self.dirs.get_mut(&key)?;
        left.opened = true;
        let Place { path, mirror } = left.place();
        let dir = DirAt { path: Arc::new(path), mirror: Some(Arc::new(mirror)), ino: NOT_LOOKED_AT };
        let (catalog, mut room) = (self.pass.options.catalog.as_ref()?, Vec::new());
        let block = catalog.block(key, &mut room)?;
        let tails = catalog.tails(&block).unwrap_or_default();
        let rows = block.rows().filter(|(row, _)| matches!(row.kind, Kind::File | Kind::Dir));
        let former = rows.map(|(row, number)| {
            let settled = catalog.is_settled(row.kind, row.stamp, block.head.looked_at);
            Former::new(&row, number.and_then(|number| Tail::of(&tails, number)), settled)
        });
        Some(Left { dir, entries: former.collect() })
    }
    /// What has come and was found nowhere is new, or made equal to what has its name.
    fn all_new(&mut self, sink: &dyn ChangeSink) -> Result<Vec<Task>, Error> {
        let mut arrived = std::mem::take(&mut self.arrived);
        arrived.sort_by(|a, b| a.parent.path.cmp(&b.parent.path).then_with(|| a.name.cmp(&b.name)));
        let mut tasks = Vec::new();
        for siblings in arrived.chunk_by(|a, b| a.parent.path == b.parent.path) {
            let mut changes = Vec::new();
            for one in siblings {
                self.pass.go_on()?;
                let (known, change) = self.new_or_taken(one);
                tasks.push(Task {
                    path: one.path(),
                    mirror: one.parent.mirror.as_ref().map(|dir| dir.join(&one.name)),
                    ino: Some(one.key.ino),
                    known,
                });
                changes.extend(change);
            }
            if !changes.is_empty() {
                let DirAt { path, ino, .. } = &siblings[0].parent;
                sink.take(DirChange { changes, ..DirChange::new((**path).clone(), *ino) })?;
            }
        }
        Ok(tasks)
    }
    fn new_or_taken(&mut self, arrived: &Arrived) -> (Known, Option<Change>) {
        let key = self.by_place.get(&arrived.place()).copied();
        let is_open = |left: &&LeftDir| left.fate == Fate::Open;
        let open = key.filter(|key| self.dirs.get(key).filter(is_open).is_some());
        let leaves = match (open, key) {
            (Some(key), _) => self.steps_aside(arrived, key),
            (None, Some(key)) => self.dirs.get(&key).is_some_and(|left| left.fate == Fate::Moved),
            (None, None) => false,
        };
        if arrived.over == Some(Kind::Dir) && !leaves {
            if let Some(left) = open.and_then(|key| self.dirs.get_mut(&key)) {
                left.fate = Fate::Taken(arrived.key.ino);
            }
            return (Known::Mirror, None);
        }
        let change = Change {
            name: arrived.name.clone(),
            how: How::Make,
            kind: Kind::Dir,
            over: arrived.over.filter(|_| !leaves),
            aspects: Aspects::ABSENT,
            ino: arrived.key.ino,
            ctime: Timestamp::default(),
            leads: None,
            size: 0,
            slot: 0,
        };
        self.tally.enter(&change);
        (Known::Nothing, Some(change))
    }
}

impl Search<'_> {
    /// Sets what the mirror has in the place of a new directory aside, if that is to be moved into the new one.
    fn steps_aside(&mut self, arrived: &Arrived, key: DirKey) -> bool {
        let Ok(true) = self.is_below(arrived, key) else { return false };
        if let Some(left) = self.dirs.get_mut(&key) {
            left.goes = Goes::Aside;
        }
        let (parent, name, ino) = (arrived.parent.clone(), arrived.name.clone(), arrived.key.ino);
        self.moves.push(DirMove { from: None, old_parent: parent.clone(), parent, name, ino });
        true
    }
    /// Whether the source has this directory near the top of a new one.
    fn is_below(&self, arrived: &Arrived, key: DirKey) -> io::Result<bool> {
        let (mut dirs, mut seen) = (VecDeque::from([arrived.path()]), 0);
        while let Some(path) = dirs.pop_front() {
            let dir = self.pass.source_dir(&path)?;
            for named in read_names(&dir.fd).0 {
                seen += 1;
                let Ok(stat) = stat_at(&dir.fd, &named.name) else { continue };
                if stat.kind != Kind::Dir || !self.pass.source.holds(&stat) {
                    continue;
                }
                if look::key(&stat) == key {
                    return Ok(true);
                }
                dirs.push_back(path.join(&named.name));
            }
            if seen > LOOKED_THROUGH {
                break;
            }
        }
        Ok(false)
    }
}

impl Found {
    /// Gives to `push` what is lost of directories that are gone, but for what is found again: `vacated` are the old names
    /// of files.
    pub fn deletions(
        &self,
        pass: &Pass<'_>,
        vacated: &Vacated,
        tally: &mut Tally,
        push: &mut dyn FnMut(&DirChange) -> Result<(), Error>,
    ) -> Result<(), Error> {
        let stays = |path: &RelPath| vacated.contains(path) || self.moved.contains(path);
        for siblings in self.gone.chunk_by(|a, b| a.dir.path == b.dir.path) {
            let mut removals = Vec::new();
            for left in siblings {
                if left.goes == Goes::Aside {
                    survey(pass, left.place(), tally, &stays)?;
                    continue;
                }
                removals.extend(deletion(pass, left.place(), Kind::Dir, None, tally, &stays)?);
            }
            let DirAt { path, ino, .. } = &siblings[0].dir;
            if !removals.is_empty() {
                push(&DirChange { removals, ..DirChange::new((**path).clone(), *ino) })?;
            }
        }
        Ok(())
    }
}
