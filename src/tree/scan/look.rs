//! One directory of the source, held against what the catalog knows of it.
//!
//! The names come in the order of their inodes, and so do the catalog's rows: one pass tells which entries are proven to
//! be as they were when the mirror's were equal. Of those nothing is kept, and the mirror is not asked for them.

use crate::sys::dir::Names;
use crate::sys::stat::{Kind, Stat, Timestamp, stat_at};
use crate::tree::base::listing::{Entry, Listing, OWN};
use crate::tree::base::overrides::InDir;
use crate::tree::base::relpath::RelPath;
use crate::tree::memory::catalog::{Block, Catalog, DirKey, Draft, HASH, Row, RowAt, Tail};
use crate::tree::pass::Pass;
use std::cell::OnceCell;
use std::cmp::Ordering;
use std::hash::{DefaultHasher, Hash, Hasher};
use std::io;
use std::ops::Range;
use std::os::fd::OwnedFd;

/// Room that is used again for one directory after another: what the catalog's block says, and what is written of it.
#[derive(Debug, Default)]
pub(in crate::tree) struct Room {
    pub block: Vec<u8>,
    pub sheet: Sheet,
}

/// A directory's names, and what becomes of them.
#[derive(Debug, Default)]
pub(in crate::tree) struct Sheet {
    names: Names,
    /// In the order of the names.
    outcomes: Vec<Outcome>,
    /// Whether there are so many names that entries are looked at once more, a slice of them at a time.
    pub is_sliced: bool,
    /// Of each name that is looked at once more, in their order, the place of its hash, as `Entry::slot` has it.
    slots: Vec<u32>,
    /// The next block.
    pub draft: Draft,
    /// The same as bytes.
    pub bytes: Vec<u8>,
}

impl Sheet {
    /// How many names there are.
    pub fn count(&self) -> usize {
        self.outcomes.len()
    }
    /// Gives back the room of a large block.
    pub fn forget_block(&mut self) {
        (self.draft, self.bytes) = (Draft::default(), Vec::new());
    }
    /// The numbers of the names that are looked at once more, in the order of these.
    pub fn compared_by_name(&self) -> Vec<u32> {
        let is_compared = |outcome: &Outcome| matches!(outcome, Outcome::Later(_) | Outcome::Apart);
        let compared = self.outcomes.iter().zip(0..).filter(|(outcome, _)| is_compared(outcome));
        let mut numbers: Vec<u32> = compared.map(|(_, number)| number).collect();
        numbers.sort_unstable_by(|a, b| self.names.name(*a as usize).cmp(self.names.name(*b as usize)));
        numbers
    }
    /// Whether a name is among these.
    pub fn has(&self, by_name: &[u32], name: &[u8]) -> bool {
        by_name.binary_search_by(|number| self.names.name(*number as usize).cmp(name)).is_ok()
    }
}

#[derive(Debug, Clone, Copy)]
enum Outcome {
    /// It is not part of the tree, or nothing is known of it.
    LeftOut,
    /// The catalog proves it.
    Proven,
    /// It is entry number so-and-so of the look.
    Entry(u32),
    /// It is looked at once more.
    Later(Seen),
    /// It is looked at once more, and has no row.
    Apart,
}

/// An entry as it was seen at the first of several looks.
#[derive(Debug, Clone, Copy)]
struct Seen {
    /// Stands for its inode, type and time.
    state: u32,
    /// Whether the catalog proves it in that state.
    proven: bool,
}

impl Seen {
    fn state(stat: &Stat) -> u32 {
        let mut hasher = DefaultHasher::new();
        (stat.ino, stat.kind, stat.ctime, stat.btime).hash(&mut hasher);
        hasher.finish() as u32
    }
    fn is(self, stat: &Stat) -> bool {
        self.state == Seen::state(stat)
    }
}

/// A slice of a directory's entries, looked at once more.
#[derive(Debug, Default)]
pub(in crate::tree) struct Slice {
    /// Its names, and what was found under them, by name.
    pub names: Vec<Box<[u8]>>,
    pub listing: Listing,
    /// Names whose entry is not what the first look found: what is recorded of them proves nothing.
    pub changed: Vec<Box<[u8]>>,
}

/// What was found in a directory of the source.
#[derive(Debug, Default)]
pub(in crate::tree) struct Look {
    /// Entries to be compared with the mirror's: those that are not proven, or all. In the order of inodes.
    pub entries: Vec<Entry>,
    /// Entries of the catalog that the source does not have any more under their name, by name.
    pub gone: Vec<Former>,
    /// Proven directories, whose mirror is not looked at here.
    pub proven_dirs: Vec<(u64, Box<[u8]>)>,
    /// Proven names of inodes that have several.
    pub proven_links: Vec<(u64, Box<[u8]>)>,
    /// Proven entries whose mirror is not looked at.
    pub passed: u64,
    /// Names that vanished before their metadata was read.
    pub vanished: u64,
    /// Entries whose metadata could not be read, and why.
    pub unread: Vec<(Box<[u8]>, io::Error)>,
    /// Why the names could not be read to their end.
    pub cut_short: Option<io::Error>,
    /// Whether an entry is not proven.
    pub has_unproven: bool,
}

impl Look {
    /// Lets the entry go that was looked at last, if it is one to be compared: it is looked at once more.
    fn put_off(&mut self, outcome: Outcome) -> Outcome {
        self.unread.clear();
        match (self.entries.pop(), outcome) {
            (None, outcome) => outcome,
            (Some(Entry { stat: Some(stat), proven, .. }), Outcome::Entry(_)) => {
                Outcome::Later(Seen { state: Seen::state(&stat), proven })
            }
            (Some(_), _) => Outcome::Apart,
        }
    }
}

/// What becomes of an entry of the mirror that is found nowhere else.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(in crate::tree) enum Goes {
    /// Nothing: it is not there, or something above it decides.
    Not,
    /// It is deleted.
    Deleted,
    /// It is set aside for what has come in its place, and deleted at the end.
    Aside,
    /// It goes on under its name, as what the source has there now.
    Nowhere,
}

/// An entry that the catalog knows by a name that it does not have any more.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(in crate::tree) struct Former {
    pub name: Box<[u8]>,
    /// As far as the comparison of its directory tells.
    pub goes: Goes,
    pub ino: u64,
    pub kind: Kind,
    /// When it was made, where that is known: of directories and regular files.
    pub btime: Timestamp,
    /// BLAKE3 of a regular file's content, if the mirror has it.
    pub hash: Option<[u8; HASH]>,
    /// The ctime of an inode that is as it was, if that can be told by it.
    pub proof: Option<Timestamp>,
}

impl Former {
    /// A directory of the mirror of which nothing else is known.
    pub fn unknown_dir(name: &[u8], goes: Goes) -> Former {
        let btime = Timestamp::default();
        Former { name: name.into(), goes, ino: 0, kind: Kind::Dir, btime, hash: None, proof: None }
    }
    /// What a row and its file's tail say; `settled` is whether nothing can have been changed in the tick of the row's time.
    pub fn new(row: &Row<'_>, tail: Option<Tail>, settled: bool) -> Former {
        let btime = if row.kind == Kind::Dir { row.stamp } else { tail.unwrap_or_default().btime };
        let hash = tail.filter(|_| !row.unproven).and_then(|tail| tail.known_hash());
        let proof = Some(row.stamp).filter(|_| settled && !row.unproven && row.kind != Kind::Dir);
        let (name, goes) = (row.name.into(), Goes::Not);
        Former { name, goes, ino: row.ino, kind: row.kind, btime, hash, proof }
    }
}

/// What the catalog knows of a directory.
pub(in crate::tree) struct Memory<'a> {
    pub catalog: Option<&'a Catalog>,
    pub block: Option<Block<'a>>,
    /// Whether what is proven needs no look at the mirror.
    pub believes: bool,
    /// Whether what is proven must be found to be so: else it is an alarm.
    pub audits: bool,
    /// Whether the directory's own metadata are proven.
    pub own_proven: bool,
    /// The block's rows by name, once one was asked for by its name; and its tails.
    by_name: OnceCell<Vec<RowAt>>,
    tails: OnceCell<Vec<u8>>,
}

impl<'a> Memory<'a> {
    /// That of the directory which `stat` describes; nothing unless it `is_known` that the mirror's is its counterpart.
    pub fn of(pass: &'a Pass<'_>, is_known: bool, stat: &Stat, room: &'a mut Vec<u8>) -> Memory<'a> {
        let catalog = pass.options.catalog.as_deref();
        let block = catalog.filter(|_| is_known).and_then(|catalog| catalog.block(key(stat), room));
        let settled = block.as_ref().is_some_and(|block| !block.head.unsettled);
        let own_proven = block.as_ref().zip(catalog).is_some_and(|(block, catalog)| {
            block.head.ctime == stat.ctime && catalog.is_settled(Kind::Dir, stat.ctime, block.head.looked_at)
        });
        let audits = settled && pass.options.compare_whole;
        let (by_name, tails) = (OnceCell::new(), OnceCell::new());
        Memory { catalog, block, believes: settled && !audits, audits, own_proven, by_name, tails }
    }
    /// Whether the directory is exactly what was known of it.
    pub fn holds(&self, look: &Look) -> bool {
        (self.believes || self.audits)
            && self.own_proven
            && !look.has_unproven
            && look.gone.is_empty()
            && look.cut_short.is_none()
    }
    /// Entries that the mirror has, if that need not be asked.
    pub fn mirror_entries(&self) -> Option<u64> {
        self.block.as_ref().filter(|_| self.believes).map(|block| u64::from(block.head.rows))
    }
    /// The row of a name. All are put in the order of their names when one is asked for: whoever asks may ask for many.
    fn row_of(&self, name: &[u8]) -> Option<Numbered<'a>> {
        let block = self.block.as_ref()?;
        let by_name = self.by_name.get_or_init(|| block.by_name());
        let at = by_name.binary_search_by(|at| block.name_at(at).cmp(name)).ok()?;
        block.row_at(&by_name[at])
    }
    /// The hash that was taken of a file's content when it was copied, if one was.
    pub fn hash_of(&self, name: &[u8]) -> Option<[u8; HASH]> {
        let (block, catalog) = (self.block.as_ref()?, self.catalog?);
        let (_, number) = self.row_of(name)?;
        let tails = self.tails.get_or_init(|| catalog.tails(block).unwrap_or_default());
        Tail::of(tails, number?)?.known_hash()
    }
    /// Whether a name is that of the inode that it was when the mirror's was equal.
    pub fn has(&self, name: &[u8], ino: u64) -> bool {
        self.row_of(name).is_some_and(|(row, _)| row.ino == ino)
    }
    /// Whether an entry is the inode that it was, and has not changed, whatever its row proves of the mirror's.
    pub fn knows(&self, name: &[u8], stat: &Stat) -> bool {
        let row = self.row_of(name);
        row.is_some_and(|(row, _)| row.ino == stat.ino && self.proves(&Row { unproven: false, ..row }, stat))
    }
    /// Whether an entry is what it was when the mirror's was equal. A directory is if it is the same directory: what is
    /// in it, and what it is itself, its own block knows.
    pub fn proves(&self, row: &Row<'_>, stat: &Stat) -> bool {
        let (Some(block), Some(catalog)) = (&self.block, self.catalog) else { return false };
        let same = row.kind == stat.kind && row.stamp == stamp(stat) && !row.unproven;
        same && (stat.kind == Kind::Dir || catalog.is_settled(stat.kind, stat.ctime, block.head.looked_at))
    }
}

/// What stands for a directory, whatever its path.
pub(in crate::tree) fn key(stat: &Stat) -> DirKey {
    DirKey { ino: stat.ino, btime: stat.btime.unwrap_or_default() }
}

/// A directory of the source that is looked at.
pub(in crate::tree) struct Looking<'a> {
    pub pass: &'a Pass<'a>,
    pub dir: &'a OwnedFd,
    pub path: &'a RelPath,
    pub wanted: Option<&'a InDir>,
    /// Whether it has another path than when it was last looked at: of what is left out there, that says nothing.
    pub moved: bool,
    /// Of a directory with more names no entry is kept: they are looked at once more, `again`.
    pub most: usize,
}

impl Looking<'_> {
    /// Reads the directory and holds it against what is known.
    pub fn look(&self, memory: &Memory<'_>, sheet: &mut Sheet) -> Look {
        let mut look = Look { cut_short: sheet.names.read(self.dir), ..Look::default() };
        sheet.names.sort();
        sheet.outcomes.clear();
        sheet.slots.clear();
        sheet.is_sliced = sheet.names.iter().len() > self.most;
        let (mut rows, mut gone) = (memory.block.as_ref().map(|block| block.rows().peekable()), Vec::new());
        for (ino, name) in sheet.names.iter() {
            let row = rows.as_mut().and_then(|rows| row_of(rows, ino, name, &mut gone));
            let outcome = self.one(memory, (ino, name), row, &mut look, &mut gone);
            sheet.outcomes.push(if sheet.is_sliced { look.put_off(outcome) } else { outcome });
        }
        gone.extend(rows.into_iter().flatten());
        look.gone = self.former(memory, gone);
        look
    }
    /// Looks once more at those of the names in `range` that were put off; `next` counts them.
    pub fn again(&self, sheet: &Sheet, range: Range<usize>, next: &mut usize) -> Slice {
        let mut slice = Slice::default();
        for number in range {
            let name = sheet.names.name(number);
            let (seen, slot) = match sheet.outcomes[number] {
                Outcome::Later(seen) => {
                    *next += 1;
                    (Some(seen), sheet.slots.get(*next - 1).copied().unwrap_or(0))
                }
                Outcome::Apart => (None, 0),
                Outcome::LeftOut | Outcome::Proven | Outcome::Entry(_) => continue,
            };
            slice.names.push(name.into());
            self.one_again(name, seen, slot, &mut slice);
        }
        slice.names.sort_unstable();
        slice.listing.entries.sort_unstable_by(|a, b| a.name.cmp(&b.name));
        slice
    }
    fn one_again(&self, name: &[u8], seen: Option<Seen>, slot: u32, slice: &mut Slice) {
        let before = slice.listing.entries.len();
        let excludes = &self.pass.options.excludes;
        let has_changed = |stat: &Stat| seen.is_some_and(|seen| !seen.is(stat));
        slice.listing.add(self.dir, name, |stat| {
            has_changed(stat) && excludes.leaves_out(self.path, name, stat.kind == Kind::Dir)
        });
        match slice.listing.entries.get_mut(before) {
            Some(entry) if entry.stat.as_ref().is_some_and(|stat| !has_changed(stat)) => {
                entry.proven = seen.is_some_and(|seen| seen.proven);
                entry.slot = u64::from(slot);
            }
            _ => slice.changed.push(name.into()),
        }
    }
    /// What is gone, but for what is left out.
    fn former(&self, memory: &Memory<'_>, mut gone: Vec<Numbered<'_>>) -> Vec<Former> {
        if self.moved {
            let excludes = &self.pass.options.excludes;
            gone.retain(|(row, _)| !excludes.leaves_out(self.path, row.name, row.kind == Kind::Dir));
        }
        let tails = match (&memory.block, memory.catalog) {
            (Some(block), Some(catalog)) if gone.iter().any(|(_, number)| number.is_some()) => {
                catalog.tails(block).unwrap_or_default()
            }
            _ => Vec::new(),
        };
        let settled = |row: &Row<'_>| {
            let known = memory.block.as_ref().zip(memory.catalog);
            known
                .is_some_and(|(block, catalog)| catalog.is_settled(row.kind, row.stamp, block.head.looked_at))
        };
        let one = |(row, number): &Numbered<'_>| {
            Former::new(row, number.and_then(|number| Tail::of(&tails, number)), settled(row))
        };
        let mut former: Vec<Former> = gone.iter().map(one).collect();
        former.sort_unstable_by(|a, b| a.name.cmp(&b.name));
        former
    }
    fn one<'m>(
        &self,
        memory: &Memory<'_>,
        (ino, name): (u64, &[u8]),
        numbered: Option<Numbered<'m>>,
        look: &mut Look,
        gone: &mut Vec<Numbered<'m>>,
    ) -> Outcome {
        if self.path.is_root() && name == OWN {
            return Outcome::LeftOut;
        }
        let stat = match stat_at(self.dir, name) {
            Ok(stat) => stat,
            Err(error) => return unread(name, numbered, error, look, gone),
        };
        let row = numbered.map(|(row, _)| row);
        if let Some(blocks) = self.pass.blocks(stat.size) {
            blocks.saw(&stat);
        }
        let is_wanted = self.wanted.is_some_and(|wanted| wanted.contains_key(name));
        let held = self.pass.source.holds(&stat);
        let proven = held && !is_wanted && row.is_some_and(|row| memory.proves(&row, &stat));
        let excludes = &self.pass.options.excludes;
        let leaves_out = || excludes.leaves_out(self.path, name, stat.kind == Kind::Dir);
        if (row.is_none() || self.moved) && leaves_out() {
            look.has_unproven |= row.is_some();
            return Outcome::LeftOut;
        }
        if proven && memory.believes {
            return pass_by(look, name, &stat);
        }
        look.has_unproven |= !proven;
        look.entries.push(Entry { proven, ..Entry::new(name, Some(stat)) });
        // What the directory says of a mount point's inode is not what it is.
        if held && stat.ino == ino { Outcome::Entry(look.entries.len() as u32 - 1) } else { Outcome::LeftOut }
    }
}

/// A row, with its number among the files.
type Numbered<'a> = (Row<'a>, Option<u32>);

fn unread<'m>(
    name: &[u8],
    row: Option<Numbered<'m>>,
    error: io::Error,
    look: &mut Look,
    gone: &mut Vec<Numbered<'m>>,
) -> Outcome {
    if error.kind() == io::ErrorKind::NotFound {
        look.vanished += 1;
        // The mirror may have what the catalog knew.
        gone.extend(row);
    } else {
        look.unread.push((name.into(), error));
        look.entries.push(Entry::new(name, None));
        look.has_unproven = true;
    }
    Outcome::LeftOut
}

fn pass_by(look: &mut Look, name: &[u8], stat: &Stat) -> Outcome {
    look.passed += 1;
    if stat.kind == Kind::Dir {
        look.proven_dirs.push((stat.ino, name.into()));
    } else if stat.nlink > 1 {
        look.proven_links.push((stat.ino, name.into()));
    }
    Outcome::Proven
}

/// The row of a name, if there is one; rows that are passed on the way have no name any more.
fn row_of<'a>(
    rows: &mut std::iter::Peekable<impl Iterator<Item = Numbered<'a>>>,
    ino: u64,
    name: &[u8],
    gone: &mut Vec<Numbered<'a>>,
) -> Option<Numbered<'a>> {
    while let Some((row, _)) = rows.peek() {
        match row.ino.cmp(&ino).then_with(|| row.name.cmp(name)) {
            Ordering::Less => gone.extend(rows.next()),
            Ordering::Equal => return rows.next(),
            Ordering::Greater => return None,
        }
    }
    None
}

/// What tells one state of an entry from another, together with its inode: its ctime; of a directory, when it was made.
fn stamp(stat: &Stat) -> Timestamp {
    match stat.kind {
        Kind::Dir => stat.btime.unwrap_or_default(),
        _ => stat.ctime,
    }
}

/// Makes the rows of a directory's next block: those that are proven as they were, the others as they are now. Each
/// entry learns where the hash of its content will belong. Gives back whether all that has to have a row has one: an entry
/// that was put off may have vanished from `dir`.
pub(in crate::tree) fn draft(
    sheet: &mut Sheet,
    memory: &Memory<'_>,
    entries: &mut [Entry],
    wanted: Option<&InDir>,
    dir: &OwnedFd,
) -> bool {
    let mut is_whole = true;
    sheet.draft.clear();
    let tails = memory.block.as_ref().zip(memory.catalog).and_then(|(block, catalog)| catalog.tails(block));
    // Both are in the order of inodes, then names; a name that no row has must not use up the rows behind it.
    let mut rows = memory.block.as_ref().map(|block| block.rows().peekable());
    let mut known = |ino: u64, name: &[u8]| {
        let rows = rows.as_mut()?;
        while rows.next_if(|(row, _)| (row.ino, row.name) < (ino, name)).is_some() {}
        let (row, number) = rows.next_if(|(row, _)| (row.ino, row.name) == (ino, name))?;
        let tail = tails.as_ref().zip(number).and_then(|(tails, number)| Tail::of(tails, number));
        Some((row, tail.unwrap_or_default()))
    };
    for ((ino, name), outcome) in sheet.names.iter().zip(&sheet.outcomes) {
        let is_wanted = || wanted.is_some_and(|wanted| wanted.contains_key(name));
        let (stat, unproven) = match *outcome {
            Outcome::LeftOut | Outcome::Apart => continue,
            Outcome::Proven => {
                if let Some((row, tail)) = known(ino, name) {
                    sheet.draft.push(&row, &tail);
                }
                continue;
            }
            Outcome::Entry(number) => {
                let Some(stat) = entries[number as usize].stat else { continue };
                (stat, is_wanted())
            }
            Outcome::Later(seen) => {
                let Ok(stat) = stat_at(dir, name) else {
                    is_whole = false;
                    sheet.slots.push(0);
                    continue;
                };
                (stat, is_wanted() || !seen.is(&stat))
            }
        };
        // Whatever the row proves of the mirror's: the content is what it was when its hash was taken.
        let is_same = |row: &Row<'_>| row.ino == stat.ino && row.stamp == stamp(&stat);
        let same = known(ino, name).filter(|(row, _)| is_same(row));
        let hash = same.map(|(_, tail)| tail.hash).unwrap_or_default();
        let tail = Tail { hash, btime: stat.btime.unwrap_or_default() };
        // Rows are in the order of what the directory says.
        let row = Row { ino, stamp: stamp(&stat), kind: stat.kind, unproven, name };
        let slot = sheet.draft.push(&row, &tail).map_or(0, |place| place + 1);
        match *outcome {
            Outcome::Entry(number) => entries[number as usize].slot = slot,
            _ => sheet.slots.push(slot as u32),
        }
    }
    is_whole
}
