//! One directory of the source, held against what the catalog knows of it.
//!
//! The names come in the order of their inodes, and so do the catalog's rows: one pass tells which entries are proven to
//! be as they were when the mirror's were equal. Of those nothing is kept, and the mirror is not asked for them.

use super::catalog::{Block, Catalog, DirKey, Draft, HASH, Row, Tail};
use super::listing::{Entry, OWN};
use super::pass::Pass;
use super::relpath::RelPath;
use super::wanted::InDir;
use crate::sys::dir::Names;
use crate::sys::stat::{Kind, Stat, Timestamp, stat_at};
use std::cmp::Ordering;
use std::io;
use std::os::fd::OwnedFd;

/// Room that is used again for one directory after another: what the catalog's block says, and what is written of it.
#[derive(Debug, Default)]
pub(super) struct Room {
    pub block: Vec<u8>,
    pub sheet: Sheet,
}

/// A directory's names, and what becomes of them.
#[derive(Debug, Default)]
pub(super) struct Sheet {
    names: Names,
    /// In the order of the names.
    outcomes: Vec<Outcome>,
    /// The next block.
    pub draft: Draft,
    /// The same as bytes.
    pub bytes: Vec<u8>,
}

#[derive(Debug, Clone, Copy)]
enum Outcome {
    /// It is not part of the tree, or nothing is known of it.
    LeftOut,
    /// The catalog proves it.
    Proven,
    /// It is entry number so-and-so of the look.
    Entry(u32),
}

/// What was found in a directory of the source.
#[derive(Debug, Default)]
pub(super) struct Look {
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

/// An entry that the catalog knows by a name that it does not have any more.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(super) struct Former {
    pub name: Box<[u8]>,
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
    pub fn unknown_dir(name: &[u8]) -> Former {
        let btime = Timestamp::default();
        Former { name: name.into(), ino: 0, kind: Kind::Dir, btime, hash: None, proof: None }
    }
    /// What a row and its file's tail say; `settled` is whether nothing can have been changed in the tick of the row's time.
    pub fn new(row: &Row<'_>, tail: Option<Tail>, settled: bool) -> Former {
        let btime = if row.kind == Kind::Dir { row.stamp } else { tail.unwrap_or_default().btime };
        let hash = tail.filter(|_| !row.unproven).and_then(|tail| tail.known_hash());
        let proof = Some(row.stamp).filter(|_| settled && !row.unproven && row.kind != Kind::Dir);
        Former { name: row.name.into(), ino: row.ino, kind: row.kind, btime, hash, proof }
    }
}

/// What the catalog knows of a directory.
pub(super) struct Memory<'a> {
    pub catalog: Option<&'a Catalog>,
    pub block: Option<Block<'a>>,
    /// Whether what is proven needs no look at the mirror.
    pub believes: bool,
    /// Whether what is proven must be found to be so: else it is an alarm.
    pub audits: bool,
    /// Whether the directory's own metadata are proven.
    pub own_proven: bool,
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
        Memory { catalog, block, believes: settled && !audits, audits, own_proven }
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
    /// The hash that was taken of a file's content when it was copied, if one was.
    pub fn hash_of(&self, name: &[u8]) -> Option<[u8; HASH]> {
        let (block, catalog) = (self.block.as_ref()?, self.catalog?);
        let (_, number) = block.rows().find(|(row, _)| row.name == name)?;
        Tail::of(&catalog.tails(block)?, number?)?.known_hash()
    }
    /// Whether a name is that of the inode that it was when the mirror's was equal.
    pub fn has(&self, name: &[u8], ino: u64) -> bool {
        self.block
            .as_ref()
            .is_some_and(|block| block.rows().any(|(row, _)| row.name == name && row.ino == ino))
    }
    /// Whether an entry is the inode that it was, and has not changed, whatever its row proves of the mirror's.
    pub fn knows(&self, name: &[u8], stat: &Stat) -> bool {
        let row = self.block.as_ref().and_then(|block| block.rows().find(|(row, _)| row.name == name));
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
pub(super) fn key(stat: &Stat) -> DirKey {
    DirKey { ino: stat.ino, btime: stat.btime.unwrap_or_default() }
}

/// A directory of the source that is looked at.
pub(super) struct Looking<'a> {
    pub pass: &'a Pass<'a>,
    pub dir: &'a OwnedFd,
    pub path: &'a RelPath,
    pub wanted: Option<&'a InDir>,
    /// Whether it has another path than when it was last looked at: of what is left out there, that says nothing.
    pub moved: bool,
}

impl Looking<'_> {
    /// Reads the directory and holds it against what is known.
    pub fn look(&self, memory: &Memory<'_>, sheet: &mut Sheet) -> Look {
        let mut look = Look { cut_short: sheet.names.read(self.dir), ..Look::default() };
        sheet.names.sort();
        sheet.outcomes.clear();
        let (mut rows, mut gone) = (memory.block.as_ref().map(|block| block.rows().peekable()), Vec::new());
        for (ino, name) in sheet.names.iter() {
            let row = rows.as_mut().and_then(|rows| row_of(rows, ino, name, &mut gone));
            sheet.outcomes.push(self.one(memory, (ino, name), row, &mut look, &mut gone));
        }
        gone.extend(rows.into_iter().flatten());
        look.gone = self.former(memory, gone);
        look
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
/// entry learns where the hash of its content will belong.
pub(super) fn draft(sheet: &mut Sheet, memory: &Memory<'_>, entries: &mut [Entry], wanted: Option<&InDir>) {
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
        match *outcome {
            Outcome::LeftOut => {}
            Outcome::Proven => {
                if let Some((row, tail)) = known(ino, name) {
                    sheet.draft.push(&row, &tail);
                }
            }
            Outcome::Entry(number) => {
                let entry = &mut entries[number as usize];
                let Some(stat) = &entry.stat else { continue };
                // Whatever the row proves of the mirror's: the content is what it was when its hash was taken.
                let is_same = |row: &Row<'_>| row.ino == stat.ino && row.stamp == stamp(stat);
                let same = known(ino, name).filter(|(row, _)| is_same(row));
                let hash = same.map(|(_, tail)| tail.hash).unwrap_or_default();
                let tail = Tail { hash, btime: stat.btime.unwrap_or_default() };
                let is_wanted = wanted.is_some_and(|wanted| wanted.contains_key(name));
                let row =
                    Row { ino: stat.ino, stamp: stamp(stat), kind: stat.kind, unproven: is_wanted, name };
                entry.slot = sheet.draft.push(&row, &tail).map_or(0, |place| place + 1);
            }
        }
    }
}
