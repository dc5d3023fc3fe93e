//! The comparison core's second half: one directory of both trees, entry by entry.

mod left;
mod slices;

use crate::sys::encryption::is_locked;
use crate::sys::stat::{Kind, Stat};
use crate::tree::base::fault::{Error, Fault, Sided, at_root};
use crate::tree::base::listing::{Entry, Listing};
use crate::tree::base::merge::{Pair, merge};
use crate::tree::base::relpath::RelPath;
use crate::tree::base::slots::Slots;
use crate::tree::changes::change::{Aspects, Change, DirChange, How, Removal};
use crate::tree::changes::links::{DirAt, LinkNames, MirrorInode, Needs};
use crate::tree::changes::tally::Tally;
use crate::tree::entry::attrs::compare;
use crate::tree::memory::catalog::{Catalog, Head, path_hash};
use crate::tree::pass::Pass;
use crate::tree::scan::difference::Sides;
use crate::tree::scan::look::{Former, Goes, Look, Looking, Memory, Room, Sheet, draft, key};
use crate::tree::scan::renames::candidates::{Arrived, Left};
use crate::tree::scan::survey::{Place, survey};
use crate::tree::scan::task::{Known, Task};
use crate::tree::scan::walk::ChangeSink;
use crate::tree::scan::withhold::held_back;
use std::cell::Cell;
use std::collections::BTreeSet;
use std::io;
use std::sync::Arc;

/// What the comparison of one directory found.
#[derive(Default)]
pub(in crate::tree) struct Found {
    pub tally: Tally,
    pub links: LinkNames,
    pub below: Vec<Task>,
    pub changes: Vec<Change>,
    pub removals: Vec<Removal>,
    /// Directories that are looked at when it is known whether they were renamed.
    pub arrived: Vec<Arrived>,
    /// Entries whose names are gone, if there are any.
    pub left: Option<Left>,
    /// Files of the mirror that go on under their names, in a directory that the catalog does not know.
    pub stay: Vec<RelPath>,
    deferred: u64,
}

/// Compares one directory. A directory of the source that cannot be opened yields nothing: the mirror's is left as it is.
/// Of one with very many names, all changes but the last go to `sink` as they are found.
pub(in crate::tree) fn compare_dir(
    pass: &Pass<'_>,
    task: &Task,
    room: &mut Room,
    sink: &dyn ChangeSink,
) -> Result<Option<(DirChange, Found)>, Error> {
    let opened = pass.source_dir(&task.path).and_then(|source| Ok((source.stat()?, source)));
    let opened = opened.on_source("opening directory").and_then(|(stat, source)| {
        // Another may be in its place by now, and this one again for the next run.
        if task.ino.is_some_and(|ino| ino != stat.ino) {
            return Err(Fault::Vanished);
        }
        // Without its key its names are not its names, and none of its files opens: the mirror keeps what it has.
        if stat.encrypted && is_locked(&source.fd).on_source("asking for the key of")? {
            return Err(Fault::Source("reading", io::Error::from_raw_os_error(libc::ENOKEY)));
        }
        Ok((stat, source))
    });
    if opened.is_err() && task.path.is_root() {
        return Err(root_error(opened));
    }
    if let (Err(_), Some(catalog), Some(ino)) = (&opened, &pass.options.catalog, task.ino) {
        catalog.stray(ino);
    }
    let Some((stat, source)) = pass.enter(|| task.path.clone(), opened)? else {
        return Ok(Some(unread(&task.path)));
    };
    let memory = Memory::of(pass, task.known == Known::Catalog, &stat, &mut room.block);
    let wanted = pass.options.wanted.in_dir(&task.path);
    let moved = task.mirror.is_some();
    let looking =
        Looking { pass, dir: &source.fd, path: &task.path, wanted, moved, most: slices::most_names() };
    let look = looking.look(&memory, &mut room.sheet);
    let mut comparing = Comparing::new(pass, task, &stat);
    if memory.holds(&look)
        && let (Some(catalog), Some(block)) = (memory.catalog, &memory.block)
    {
        catalog.keep(block);
        if memory.believes {
            comparing.pass_by(&memory, &look);
            return Ok(Some(comparing.close(Aspects::NONE)));
        }
    }
    let mirror = match task.known {
        Known::Nothing => None,
        Known::Mirror | Known::Catalog => {
            let opened = pass.mirror_dir(task.on_mirror()).on_mirror("opening the mirror's directory");
            let Some(handle) = pass.enter(|| task.path.clone(), opened)? else { return Ok(None) };
            Some(handle)
        }
    };
    let sides = Sides { pass, source, mirror, wanted, hash: Cell::default() };
    let sheet = &mut room.sheet;
    if sheet.is_sliced {
        return comparing.in_slices(&memory, look, &sides, (&stat, moved), sheet, sink).map(Some);
    }
    comparing.whole_dir(&memory, look, &sides, &stat, sheet).map(Some)
}

/// A directory of the source of which nothing is known: nothing below it is deleted.
fn unread(path: &RelPath) -> (DirChange, Found) {
    let mut found = Found::default();
    found.tally.unread(path.clone());
    (DirChange::new(path.clone(), 0), found)
}

/// In what the mirror's root directory itself differs: to be asked before a workspace is made in it, which gives it a
/// new time (and, within one tick of the clock, perhaps the source's).
pub(in crate::tree) fn root_aspects(pass: &Pass<'_>) -> Result<Aspects, Error> {
    let root = RelPath::root();
    let compared = pass.source_dir(&root).and_then(|source| {
        let mirror = pass.mirror_dir(&root)?;
        compare((&source, &source.stat()?), (&mirror, &mirror.stat()?), &pass.rules)
    });
    compared.map_err(at_root("examining"))
}

fn root_error<T>(opened: Result<T, Fault>) -> Error {
    let error = match opened {
        Err(Fault::Source(_, error) | Fault::Mirror(_, error)) => error,
        _ => io::ErrorKind::NotFound.into(),
    };
    Error::Io { doing: "opening directory", path: RelPath::root(), error }
}

/// One directory while it is compared.
struct Comparing<'a> {
    pass: &'a Pass<'a>,
    dir: DirAt,
    /// Whether what was renamed is looked for, and the catalog does not know this directory.
    unknown: bool,
    /// Whether the names of both sides are all known: else nothing may be deleted.
    whole: bool,
    /// Whether the next run may believe what is recorded of it.
    settled: bool,
    /// Hashes of files that were read and found to be the same, each with its place in the block.
    hashes: Vec<(u64, [u8; 32])>,
    /// Names that the catalog knows and the source does not have any more, where what it hid is an alarm.
    audited: Option<BTreeSet<Box<[u8]>>>,
    /// Entries that the catalog knows and whose names are gone, by name.
    left: Vec<Former>,
    /// Directories of the mirror whose names the catalog does not know.
    left_unknown: Vec<Former>,
    found: Found,
}

impl<'a> Comparing<'a> {
    fn new(pass: &'a Pass<'a>, task: &Task, stat: &Stat) -> Self {
        let dir = DirAt {
            path: Arc::new(task.path.clone()),
            mirror: task.mirror.clone().map(Arc::new),
            ino: stat.ino,
        };
        let unknown = pass.finds_renames && task.known == Known::Mirror;
        Comparing {
            pass,
            dir,
            unknown,
            whole: true,
            settled: true,
            hashes: Vec::new(),
            audited: None,
            left: Vec::new(),
            left_unknown: Vec::new(),
            found: Found::default(),
        }
    }
    /// Both sides, entry by entry; then the directory itself; and what the next run shall know of it.
    fn whole_dir(
        mut self,
        memory: &Memory<'_>,
        mut look: Look,
        sides: &Sides<'_>,
        stat: &Stat,
        sheet: &mut Sheet,
    ) -> Result<(DirChange, Found), Error> {
        let recorded = memory.catalog.filter(|_| !memory.holds(&look));
        if recorded.is_some() {
            draft(sheet, memory, &mut look.entries, sides.wanted, &sides.source.fd);
        }
        if memory.audits {
            self.audited = Some(look.gone.iter().map(|former| former.name.clone()).collect());
        }
        self.pass_by(memory, &look);
        self.entries(memory, look, sides)?;
        let own = self.own(memory, sides, stat)?;
        if let Some(catalog) = recorded {
            let slots = catalog.record(&sheet.draft, self.head(catalog, stat), &mut sheet.bytes);
            self.give_slots(slots);
            self.found.links.set_slots(slots);
        }
        Ok(self.close(own))
    }
    /// The head of the next block, but for its counts.
    fn head(&self, catalog: &Catalog, stat: &Stat) -> Head {
        Head {
            key: key(stat),
            ctime: stat.ctime,
            looked_at: catalog.looked_at(),
            path_hash: path_hash(&self.dir.path),
            unsettled: !self.settled,
            rows: 0,
            files: 0,
            length: 0,
        }
    }
    fn at(&self, name: &[u8]) -> RelPath {
        self.dir.path.join(name)
    }
    fn below(&mut self, name: &[u8], ino: u64, known: Known) {
        let task = Task {
            path: self.at(name),
            mirror: self.dir.mirror.as_ref().map(|dir| dir.join(name)),
            ino: Some(ino),
            known,
        };
        self.found.below.push(task);
    }
    /// Counts what is proven, and goes on below it.
    fn pass_by(&mut self, memory: &Memory<'_>, look: &Look) {
        self.found.tally.entries_scanned += look.passed;
        self.found.tally.mirror_entries += memory.mirror_entries().unwrap_or(0);
        for (ino, name) in &look.proven_dirs {
            self.below(name, *ino, Known::Catalog);
        }
        for (ino, name) in &look.proven_links {
            self.found.links.add(&self.dir, name, *ino, MirrorInode::Unseen, None);
        }
    }
    fn entries(&mut self, memory: &Memory<'_>, look: Look, sides: &Sides<'_>) -> Result<(), Error> {
        let Look { mut entries, gone, unread, vanished, cut_short, .. } = look;
        entries.sort_unstable_by(|a, b| a.name.cmp(&b.name));
        self.found.tally.entries_scanned += entries.len() as u64;
        self.enter(
            Listing { entries: Vec::new(), vanished, unread, cut_short, left_out: false },
            Fault::Source,
        )?;
        let mirror = self.mirror_entries(memory, &entries, &gone, sides)?;
        self.left(gone);
        self.pairs(memory, sides, (&entries, &mirror))
    }
    /// Entries of both sides, sorted by name.
    fn pairs(
        &mut self,
        memory: &Memory<'_>,
        sides: &Sides<'_>,
        (entries, mirror): (&[Entry], &[Entry]),
    ) -> Result<(), Error> {
        for pair in merge(entries, mirror) {
            self.pass.go_on()?;
            match pair {
                Pair::New(new) => self.only_on_source(new)?,
                Pair::Gone(gone) => self.gone(gone)?,
                Pair::Both(a, b) => self.both(memory, sides, a, b)?,
            }
        }
        Ok(())
    }
    /// The mirror's entries: all, or those that the catalog does not prove.
    fn mirror_entries(
        &mut self,
        memory: &Memory<'_>,
        entries: &[Entry],
        gone: &[Former],
        sides: &Sides<'_>,
    ) -> Result<Vec<Entry>, Error> {
        let Some(mirror) = &sides.mirror else { return Ok(Vec::new()) };
        if memory.believes {
            let names: BTreeSet<&[u8]> = entries
                .iter()
                .map(|entry| &*entry.name)
                .chain(gone.iter().map(|former| &*former.name))
                .collect();
            let listing = Listing::of_names(&mirror.fd, names.into_iter());
            return self.enter(Listing { vanished: 0, ..listing }, Fault::Mirror);
        }
        let listing = Listing::read(&mirror.fd, &self.dir.path, &self.pass.options.excludes);
        self.found.tally.mirror_entries += listing.entries.len() as u64;
        self.enter(listing, Fault::Mirror)
    }
    /// Counts what a listing could not read, and gives its entries.
    fn enter(
        &mut self,
        listing: Listing,
        side: fn(&'static str, io::Error) -> Fault,
    ) -> Result<Vec<Entry>, Error> {
        for (name, error) in listing.unread {
            self.fault(&name, side("examining", error))?;
        }
        self.pass.count(|counts| counts.vanished += listing.vanished);
        if let Some(error) = listing.cut_short {
            self.whole = false;
            self.pass.forget(&self.dir.path);
            self.found.tally.unread((*self.dir.path).clone());
            let fault = match side("reading directory", error) {
                // It was removed after it had been opened.
                Fault::Source(_, error) if error.kind() == io::ErrorKind::NotFound => Fault::Vanished,
                fault => fault,
            };
            self.pass.fault((*self.dir.path).clone(), fault)?;
        }
        Ok(listing.entries)
    }
    fn fault(&mut self, name: &[u8], fault: Fault) -> Result<(), Error> {
        self.settled = false;
        self.pass.fault(self.at(name), fault)
    }
    /// Says that the mirror is not what the catalog says, if that was to be found out.
    fn alarm_if(&mut self, hidden: bool, name: &[u8]) -> Result<(), Error> {
        if hidden && self.audited.is_some() { self.fault(name, Fault::Hidden) } else { Ok(()) }
    }
    /// Whether the mirror keeps the content that it has, because the source's is damaged.
    fn keeps(
        &mut self,
        memory: &Memory<'_>,
        sides: &Sides<'_>,
        (source, stat): (&Entry, &Stat),
        aspects: Option<Aspects>,
    ) -> Result<bool, Error> {
        let name = &*source.name;
        match held_back(sides, memory, (source, stat), || self.at(name), aspects) {
            Ok(false) => return Ok(false),
            Ok(true) => self.pass.unsettle(&self.at(name)),
            Err(fault) => self.fault(name, fault)?,
        }
        self.settled = false;
        Ok(true)
    }
    fn is_accepted(&self, name: &[u8]) -> bool {
        let held = &self.pass.options.held;
        !held.is_empty() && held.accepts(&self.at(name))
    }
    fn both(
        &mut self,
        memory: &Memory<'_>,
        sides: &Sides<'_>,
        source: &Entry,
        mirror: &Entry,
    ) -> Result<(), Error> {
        let (Some(a), Some(b)) = (&source.stat, &mirror.stat) else { return Ok(()) };
        if a.kind != b.kind {
            self.alarm_if(source.proven, &source.name)?;
            return self.other_type(source, mirror, b);
        }
        if a.kind == Kind::Dir {
            if self.pass.source.holds(a) && self.pass.mirror.holds(b) {
                match source.proven {
                    true => self.below(&source.name, a.ino, Known::Catalog),
                    false => self.unknown_dir(source, a, Some(Kind::Dir), Known::Mirror),
                }
            }
            return Ok(());
        }
        if self.keeps(memory, sides, (source, a), None)? {
            return Ok(());
        }
        let aspects = match sides.aspects(source, a, b) {
            Ok(aspects) => aspects | Aspects::CONTENT.when(self.is_accepted(&source.name)),
            Err(fault) if memory.has(&source.name, a.ino) => {
                self.settled = false;
                return self.pass.fault_at_home(self.at(&source.name), fault);
            }
            Err(fault) => return self.fault(&source.name, fault),
        };
        self.hashes.extend(sides.hash.take().map(|hash| (source.slot, hash)));
        if self.keeps(memory, sides, (source, a), Some(aspects))? {
            return Ok(());
        }
        self.alarm_if(source.proven && !aspects.is_empty(), &source.name)?;
        if !aspects.needs_making() {
            self.stays(&source.name);
        }
        let size = self.pass.size(&self.dir.path, &source.name, a);
        if a.nlink > 1 || b.nlink > 1 {
            let (kind, ctime, over, slot) = (a.kind, a.ctime, Some(b.kind), source.slot);
            let needs = Needs { kind, ctime, size, over, aspects, slot };
            let needs = (!aspects.is_empty()).then_some(needs);
            self.found.links.add(&self.dir, &source.name, a.ino, MirrorInode::Is(b.ino), needs);
            return Ok(());
        }
        if aspects.needs_making() {
            self.found.tally.to_replace += 1;
            self.found.tally.frees(b);
        }
        if !aspects.is_empty() {
            self.change(source, a, size, Some(b.kind), aspects);
        }
        Ok(())
    }
    fn only_on_source(&mut self, source: &Entry) -> Result<(), Error> {
        self.alarm_if(source.proven, &source.name)?;
        self.new_entry(source, None, Aspects::ABSENT);
        Ok(())
    }
    fn other_type(&mut self, source: &Entry, mirror: &Entry, b: &Stat) -> Result<(), Error> {
        if b.kind == Kind::Dir {
            let mut lost = Tally::default();
            let below = survey(self.pass, self.place(&mirror.name), &mut lost, &|_| false)?;
            if below.left_out {
                let kept = io::Error::other("something that is left out stands in its place");
                return self.fault(&mirror.name, Fault::Mirror("replacing directory", kept));
            }
            match self.left_as(&mirror.name, Kind::Dir) {
                Some(left) => left.goes = Goes::Aside,
                None => self.found.tally.merge(lost),
            }
        }
        self.new_entry(source, Some(b.kind), Aspects::CONTENT);
        Ok(())
    }
    /// An entry that must be made, in place of `over`.
    fn new_entry(&mut self, source: &Entry, over: Option<Kind>, aspects: Aspects) {
        let Some(stat) = &source.stat else { return };
        let size = self.pass.size(&self.dir.path, &source.name, stat);
        if stat.kind == Kind::Dir {
            // A mount point of the source is an empty directory of the mirror.
            match self.pass.source.holds(stat) {
                true => return self.unknown_dir(source, stat, over, Known::Nothing),
                false => return self.change(source, stat, size, over, aspects),
            }
        } else if stat.nlink > 1 {
            let (kind, ctime, slot) = (stat.kind, stat.ctime, source.slot);
            let needs = Needs { kind, ctime, size, over, aspects, slot };
            return self.found.links.add(&self.dir, &source.name, stat.ino, MirrorInode::Absent, Some(needs));
        }
        self.change(source, stat, size, over, aspects);
    }
    fn change(&mut self, source: &Entry, stat: &Stat, size: u64, over: Option<Kind>, aspects: Aspects) {
        let change = Change {
            name: source.name.clone(),
            how: if aspects.needs_making() { How::Make } else { How::Adjust },
            kind: stat.kind,
            over,
            aspects,
            ino: stat.ino,
            ctime: stat.ctime,
            leads: None,
            size,
            slot: source.slot,
        };
        self.found.tally.enter(&change);
        self.found.changes.push(change);
    }
    fn place(&self, name: &[u8]) -> Place {
        Place { path: self.at(name), mirror: self.dir.on_mirror().join(name) }
    }
    /// In what the directory itself differs.
    fn own(&mut self, memory: &Memory<'_>, sides: &Sides<'_>, stat: &Stat) -> Result<Aspects, Error> {
        if sides.mirror.is_none() {
            return Ok(Aspects::ABSENT);
        }
        if memory.own_proven && memory.believes {
            return Ok(Aspects::NONE);
        }
        let aspects = match sides.own_aspects(stat) {
            Ok(aspects) => aspects,
            Err(fault) => {
                self.settled = false;
                self.pass.fault((*self.dir.path).clone(), fault)?;
                return Ok(Aspects::NONE);
            }
        };
        // Its time is changed by whatever else keeps something of its own in it.
        if memory.audits && memory.own_proven && aspects.0 & !Aspects::MTIME.0 != 0 {
            self.pass.fault((*self.dir.path).clone(), Fault::Hidden)?;
        }
        Ok(aspects)
    }
    /// Says where the hashes of this directory's files belong.
    fn give_slots(&mut self, slots: Slots) {
        let slot_of = |place: u64| slots.of(place.checked_sub(1));
        self.found.changes.iter_mut().for_each(|change| change.slot = slot_of(change.slot));
        self.hashes.drain(..).for_each(|(place, hash)| self.pass.put_hash(slot_of(place), Some(hash)));
    }
    /// The changes that were found since the last part, and what the directory itself needs.
    fn part(&mut self, own: Aspects) -> DirChange {
        let changes = std::mem::take(&mut self.found.changes);
        let removals = std::mem::take(&mut self.found.removals);
        DirChange { path: (*self.dir.path).clone(), ino: self.dir.ino, own, changes, removals }
    }
    fn close(mut self, own: Aspects) -> (DirChange, Found) {
        let found = &mut self.found;
        found.tally.to_adjust += u64::from(!own.is_empty() && !own.needs_making());
        self.pass.count(|counts| {
            counts.deferred += found.deferred;
            counts.entries_scanned += found.tally.entries_scanned;
        });
        self.pass.monitor.advance(found.tally.entries_scanned);
        let change = self.part(own);
        let mut entries = self.left;
        entries.append(&mut self.left_unknown);
        entries.retain(|former| former.goes != Goes::Nowhere);
        self.found.left = (!entries.is_empty()).then_some(Left { dir: self.dir, entries });
        (change, self.found)
    }
}
