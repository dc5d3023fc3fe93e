//! Hard links: names that share an inode on the source share one on the mirror, and no others do. Pure.
//!
//! Every name of an inode with several names, on either side, is kept while the trees are compared, in 24 bytes, its name,
//! and a few bytes for what it needs; when all are known, each inode of the source is given one inode of the mirror. Names
//! that the catalog proves are kept without a look at the mirror: it is asked for them only if another name of their inode
//! has changed.

use crate::sys::stat::{Kind, Timestamp};
use crate::tree::base::fault::Error;
use crate::tree::base::relpath::RelPath;
use crate::tree::base::slots::Slots;
use crate::tree::changes::change::{Aspects, Change, DirChange, How, kind_code, kind_of};
use std::collections::{HashMap, HashSet};
use std::sync::Arc;

/// A directory, and which one it was on the source when its names were read.
#[derive(Debug, Clone)]
pub(in crate::tree) struct DirAt {
    pub path: Arc<RelPath>,
    /// Where the mirror has it until it is renamed there; none if under the same path.
    pub mirror: Option<Arc<RelPath>>,
    pub ino: u64,
}

impl DirAt {
    /// Where the mirror has it.
    pub fn on_mirror(&self) -> &RelPath {
        self.mirror.as_ref().unwrap_or(&self.path)
    }
}

/// What a name of the mirror needs that is not what the source's is.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(in crate::tree) struct Needs {
    /// The source's type.
    pub kind: Kind,
    /// The source's ctime when it was looked at.
    pub ctime: Timestamp,
    /// The source's size in bytes.
    pub size: u64,
    /// The mirror's type.
    pub over: Option<Kind>,
    /// In what the mirror's differs.
    pub aspects: Aspects,
    /// Where the hash of its content belongs, counted from 1 within its directory's block; 0 is nowhere.
    pub slot: u64,
}

impl Needs {
    fn encode(&self, out: &mut Vec<u8>) {
        out.extend([kind_code(Some(self.kind)), kind_code(self.over)]);
        out.extend(self.aspects.0.to_le_bytes());
        out.extend(self.ctime.secs.to_le_bytes());
        out.extend(self.ctime.nanos.to_le_bytes());
        // Most are small: seven bits a byte, the low ones first.
        for mut number in [self.size, self.slot] {
            while number >= 0x80 {
                out.push(number as u8 | 0x80);
                number >>= 7;
            }
            out.push(number as u8);
        }
    }
    fn decode(bytes: &[u8]) -> Option<Needs> {
        let ([kind, over, low, high], rest) = bytes.split_first_chunk()?;
        let (secs, rest) = rest.split_first_chunk()?;
        let (nanos, rest) = rest.split_first_chunk()?;
        let ctime = Timestamp { secs: i64::from_le_bytes(*secs), nanos: u32::from_le_bytes(*nanos) };
        let mut rest = rest.iter();
        let mut number = || {
            let (mut number, mut shift) = (0, 0);
            loop {
                let byte = rest.next()?;
                number |= u64::from(byte & 0x7f) << shift;
                if byte & 0x80 == 0 {
                    return Some(number);
                }
                shift += 7;
            }
        };
        let (size, slot) = (number()?, number()?);
        let aspects = Aspects(u16::from_le_bytes([*low, *high]));
        Some(Needs { kind: kind_of(*kind)?, ctime, size, over: kind_of(*over), aspects, slot })
    }
}

/// The mirror's inode under a name.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(in crate::tree) enum MirrorInode {
    /// There is none of the source's type.
    Absent,
    /// Nobody has looked: the catalog says that it is what it should be.
    Unseen,
    /// This one.
    Is(u64),
}

/// One name, as it is kept.
#[derive(Debug, Clone, Copy)]
struct Seen {
    ino: u64,
    /// 0: absent; all ones: unseen.
    mirror_ino: u64,
    dir: u32,
    /// Where its name stands, in fours of bytes; and whether behind it stands what it needs.
    name: u32,
}

/// Set in the place of a name that has needs.
const HAS_NEEDS: u32 = 1 << 31;

const ABSENT: u64 = 0;
const UNSEEN: u64 = u64::MAX;

/// Names of inodes that have several.
#[derive(Debug, Default)]
pub(in crate::tree) struct LinkNames {
    /// Each with the place in the next catalog to which those of its files' hashes are relative.
    dirs: Vec<(DirAt, Slots)>,
    seen: Vec<Seen>,
    /// Names, each behind its length and before its needs.
    text: Vec<u8>,
}

impl LinkNames {
    /// Adds one. `needs` is none if the mirror's is what it should be.
    pub fn add(&mut self, dir: &DirAt, name: &[u8], ino: u64, on_mirror: MirrorInode, needs: Option<Needs>) {
        if self.dirs.last().is_none_or(|(last, _)| !Arc::ptr_eq(&last.path, &dir.path)) {
            self.dirs.push((dir.clone(), Slots::NONE));
        }
        let mirror_ino = match on_mirror {
            MirrorInode::Absent => ABSENT,
            MirrorInode::Unseen => UNSEEN,
            MirrorInode::Is(ino) => ino,
        };
        let name = self.keep_name(name, needs);
        self.seen.push(Seen { ino, mirror_ino, dir: self.dirs.len() as u32 - 1, name });
    }
    fn keep_name(&mut self, name: &[u8], needs: Option<Needs>) -> u32 {
        let place = (self.text.len() / 4) as u32;
        self.text.push(name.len() as u8);
        self.text.extend(name);
        needs.inspect(|needs| needs.encode(&mut self.text));
        self.text.resize(self.text.len().next_multiple_of(4), 0);
        place | if needs.is_some() { HAS_NEEDS } else { 0 }
    }
    /// Whether there are none.
    pub fn is_empty(&self) -> bool {
        self.seen.is_empty()
    }
    /// Says where the hashes of one directory's files belong, now that its block has a place.
    pub fn set_slots(&mut self, slots: Slots) {
        self.dirs.iter_mut().for_each(|(_, of_dir)| *of_dir = slots);
    }
    /// Adds what was found in other directories.
    pub fn append(&mut self, other: LinkNames) {
        if self.seen.is_empty() {
            *self = other;
            return;
        }
        let (dirs, text) = (self.dirs.len() as u32, (self.text.len() / 4) as u32);
        self.dirs.extend(other.dirs);
        self.text.extend(other.text);
        let moved = |seen: Seen| Seen { dir: seen.dir + dirs, name: seen.name + text, ..seen };
        self.seen.extend(other.seen.into_iter().map(moved));
    }
    fn at(&self, seen: &Seen) -> &DirAt {
        &self.dirs[seen.dir as usize].0
    }
    fn dir(&self, seen: &Seen) -> &Arc<RelPath> {
        &self.at(seen).path
    }
    fn name(&self, seen: &Seen) -> &[u8] {
        self.kept(seen).0
    }
    /// A name, and what stands behind it.
    fn kept(&self, seen: &Seen) -> (&[u8], &[u8]) {
        let at = (seen.name & !HAS_NEEDS) as usize * 4;
        self.text[at + 1..].split_at(usize::from(self.text[at]))
    }
    fn needs(&self, seen: &Seen) -> Option<Needs> {
        if seen.name & HAS_NEEDS == 0 {
            return None;
        }
        let needs = Needs::decode(self.kept(seen).1)?;
        let (_, slots) = &self.dirs[seen.dir as usize];
        Some(Needs { slot: slots.of(needs.slot.checked_sub(1)), ..needs })
    }
    fn aspects(&self, seen: &Seen) -> Aspects {
        self.needs(seen).map_or(Aspects::NONE, |needs| needs.aspects)
    }
    /// What is to be done with `names.seen[number]`, one of a `group`, whose inode differs in `aspects` as far as any of
    /// its names tells.
    fn change(&self, number: usize, group: &[Seen], how: How, aspects: Aspects) -> DirChange {
        let seen = &self.seen[number];
        let needs = || group.iter().filter_map(|seen| self.needs(seen));
        // A name that was proven, and is not there after all: what it is shows when it is opened.
        let over = (seen.mirror_ino != ABSENT).then_some(Kind::File);
        let unknown = Needs {
            kind: needs().next().map_or(Kind::File, |needs| needs.kind),
            ctime: Timestamp::default(),
            size: needs().map(|needs| needs.size).max().unwrap_or_default(),
            over,
            aspects,
            slot: 0,
        };
        let Needs { kind, size, over, slot, .. } = self.needs(seen).unwrap_or(unknown);
        let change = Change {
            name: self.name(seen).into(),
            how,
            kind,
            over,
            aspects,
            ino: seen.ino,
            // The latest look is the one that may still be true.
            ctime: needs().map(|needs| needs.ctime).max().unwrap_or_default(),
            leads: Some(number as u32),
            size,
            slot,
        };
        let path = (**self.dir(seen)).clone();
        DirChange { changes: vec![change], ..DirChange::new(path, self.at(seen).ino) }
    }
    fn sort(&mut self) {
        let mut seen = std::mem::take(&mut self.seen);
        seen.sort_unstable_by(|a, b| {
            let by_path = || self.dir(a).cmp(self.dir(b)).then_with(|| self.name(a).cmp(self.name(b)));
            a.ino.cmp(&b.ino).then_with(by_path)
        });
        self.seen = seen;
    }
}

/// A name that is to be given to the inode that bears another name.
#[derive(Debug, Clone)]
pub(in crate::tree) struct LinkTo {
    /// The inode's number: that of its first name.
    pub number: u32,
    /// Which inode of the source that was.
    pub ino: u64,
    /// The directory of the name that the inode has.
    pub leader_dir: Arc<RelPath>,
    /// That name.
    pub leader: Box<[u8]>,
    /// The directory of the further name.
    pub dir: DirAt,
    /// The further name.
    pub name: Box<[u8]>,
    /// What stands there now.
    pub over: Option<Kind>,
    /// Whether another name of the inode goes for it.
    pub renamed: bool,
}

/// Names to give, once the inodes that bear them are in place.
#[derive(Debug, Default)]
pub(in crate::tree) struct Links {
    names: LinkNames,
    pairs: Vec<Pairing>,
    /// First names whose inodes have to be made or changed before anything is linked to them.
    awaited: HashSet<u32>,
}

/// Leader and further name, as places in `LinkNames::seen`.
#[derive(Debug, Clone, Copy)]
struct Pairing {
    leader: u32,
    name: u32,
    renamed: bool,
}

impl Links {
    /// How many names are given instead of another, and how many beside others.
    pub fn counts(&self) -> (u64, u64) {
        let renamed = self.pairs.iter().filter(|pair| pair.renamed).count();
        (renamed as u64, (self.pairs.len() - renamed) as u64)
    }
    /// Whether there are none.
    pub fn is_empty(&self) -> bool {
        self.pairs.is_empty()
    }
    /// Whether the inode of a first name has to be made or changed before.
    pub fn awaits(&self, number: u32) -> bool {
        self.awaited.contains(&number)
    }
    /// One after another.
    pub fn iter(&self) -> impl Iterator<Item = LinkTo> {
        self.pairs.iter().map(|pair| {
            let (leader, seen) =
                (&self.names.seen[pair.leader as usize], &self.names.seen[pair.name as usize]);
            let over = match self.names.needs(seen) {
                Some(needs) => needs.over,
                None => (seen.mirror_ino != ABSENT).then_some(Kind::File),
            };
            LinkTo {
                number: pair.leader,
                ino: leader.ino,
                leader_dir: self.names.dir(leader).clone(),
                leader: self.names.name(leader).into(),
                dir: self.names.at(seen).clone(),
                name: self.names.name(seen).into(),
                over,
                renamed: pair.renamed,
            }
        })
    }
}

/// What comes of the decision beside the names to give: each is handed on as it is found.
#[derive(Debug)]
pub(in crate::tree) enum Decided {
    /// An entry to make or adjust, before names are given.
    Leader(DirChange),
    /// An old name that goes for another.
    Vacated(OldName),
}

/// A name that an inode bore, in a directory as it is called when what was renamed is renamed.
#[derive(Debug, Clone)]
pub(in crate::tree) struct OldName {
    pub dir: DirAt,
    pub name: Box<[u8]>,
}

/// An inode of the mirror that bore names which are gone.
#[derive(Debug, Clone)]
pub(in crate::tree) struct Bearer {
    pub mirror_ino: u64,
    /// One of its names, as the mirror has it.
    pub from: RelPath,
    /// In what it differs from the source's.
    pub aspects: Aspects,
    /// The source's ctime when that was found.
    pub ctime: Timestamp,
    /// All of them.
    pub names: Vec<OldName>,
}

/// What the decision has to ask for.
pub(in crate::tree) trait MirrorSide {
    /// The mirror's inode of a name that nobody has looked at.
    fn inode(&self, dir: &DirAt, name: &[u8]) -> Option<u64>;
    /// The inode that the mirror has for names that are gone of the source's inode `ino`, which has this name now.
    fn bearer(&self, ino: u64, dir: &DirAt, name: &[u8]) -> Option<Bearer>;
    /// Comes before each inode: ends the work if somebody asked for that.
    fn go_on(&self) -> Result<(), Error>;
}

/// Decides which inode of the mirror each inode of the source gets. Gives back the names to give; all else goes to `take`.
pub(in crate::tree) fn resolve(
    mut names: LinkNames,
    side: &dyn MirrorSide,
    take: &mut dyn FnMut(Decided) -> Result<(), Error>,
) -> Result<Links, Error> {
    names.sort();
    fill_in(&mut names, side)?;
    let (taken, pairs, awaited) = (HashSet::new(), Vec::new(), HashSet::new());
    let mut resolving = Resolving { names: &names, side, taken, pairs, take, awaited };
    let mut start = 0;
    for group in names.seen.chunk_by(|a, b| a.ino == b.ino) {
        if !is_proven(group) {
            side.go_on()?;
            resolving.group(start, group)?;
        }
        start += group.len();
    }
    let Resolving { pairs, awaited, .. } = resolving;
    // What was only kept to be compared is not needed any more.
    let names = if pairs.is_empty() { LinkNames::default() } else { names };
    Ok(Links { names, pairs, awaited })
}

/// Whether nothing about an inode has changed: every change of its names would have changed its ctime.
fn is_proven(group: &[Seen]) -> bool {
    group.iter().all(|seen| seen.mirror_ino == UNSEEN)
}

/// Looks at names that were proven, where others of their inode were not.
fn fill_in(names: &mut LinkNames, side: &dyn MirrorSide) -> Result<(), Error> {
    let mut seen = std::mem::take(&mut names.seen);
    for group in seen.chunk_by_mut(|a, b| a.ino == b.ino) {
        if is_proven(group) {
            continue;
        }
        side.go_on()?;
        for one in group.iter_mut().filter(|one| one.mirror_ino == UNSEEN) {
            one.mirror_ino = side.inode(names.at(one), names.name(one)).unwrap_or(ABSENT);
        }
    }
    names.seen = seen;
    Ok(())
}

struct Resolving<'a> {
    names: &'a LinkNames,
    side: &'a dyn MirrorSide,
    taken: HashSet<u64>,
    pairs: Vec<Pairing>,
    take: &'a mut dyn FnMut(Decided) -> Result<(), Error>,
    awaited: HashSet<u32>,
}

/// An inode of the mirror that can stay for a group of names.
struct Stays {
    /// One of its names, by its place in the group.
    at: usize,
    mirror_ino: u64,
    /// In what it differs, as far as any of its names tells.
    aspects: Aspects,
}

impl Resolving<'_> {
    /// One inode's names, of which the first is `names.seen[start]`.
    fn group(&mut self, start: usize, group: &[Seen]) -> Result<(), Error> {
        let stays = self.most_shared(group);
        let bearer = self.bearer(group, stays.as_ref().map(|stays| stays.mirror_ino));
        let mut gone = bearer.iter().flat_map(|bearer| bearer.names.clone());
        let (leader, inode) = match (&stays, &bearer) {
            (Some(stays), _) => (stays.at, Some(stays.mirror_ino)),
            (None, Some(bearer)) if self.can_bear(bearer) => (0, Some(bearer.mirror_ino)),
            (None, _) => (0, None),
        };
        self.taken.extend(inode);
        let change = |how, aspects| self.names.change(start + leader, group, how, aspects);
        let mut vacated = None;
        let change = match (&stays, inode, &bearer) {
            (None, Some(_), Some(bearer)) => {
                vacated = gone.next();
                let from = bearer.from.clone();
                let mut renamed = change(How::Rename { from }, bearer.aspects);
                renamed.changes.iter_mut().for_each(|change| change.ctime = bearer.ctime);
                Some(renamed)
            }
            (_, None, _) => {
                let aspects = self.names.aspects(&group[leader]);
                Some(change(How::Make, if aspects.is_empty() { Aspects::ABSENT } else { aspects }))
            }
            (Some(stays), ..) if !stays.aspects.is_empty() => Some(change(How::Adjust, stays.aspects)),
            _ => None,
        };
        if let Some(change) = change {
            self.awaited.insert((start + leader) as u32);
            (self.take)(Decided::Leader(change))?;
        }
        vacated.map_or(Ok(()), |old| (self.take)(Decided::Vacated(old)))?;
        for (at, seen) in group.iter().enumerate() {
            let shares = inode == Some(seen.mirror_ino);
            if !shares && at != leader {
                let old = gone.next().filter(|_| inode.is_some());
                let pair = Pairing {
                    leader: (start + leader) as u32,
                    name: (start + at) as u32,
                    renamed: old.is_some(),
                };
                self.pairs.push(pair);
                old.map_or(Ok(()), |old| (self.take)(Decided::Vacated(old)))?;
            }
        }
        Ok(())
    }
    /// The inode of names that are gone, if a name of the group does not bear the one that `stays`.
    fn bearer(&self, group: &[Seen], stays: Option<u64>) -> Option<Bearer> {
        let other = group.iter().find(|seen| stays != Some(seen.mirror_ino))?;
        self.side.bearer(other.ino, self.names.at(other), self.names.name(other))
    }
    fn can_bear(&self, bearer: &Bearer) -> bool {
        !self.taken.contains(&bearer.mirror_ino) && !bearer.aspects.needs_making()
    }
    /// The name whose mirror inode can stay and already bears most names of the group: the fewest links to make.
    ///
    /// The names were looked at one after another, while others may have written: what one name tells of an inode holds
    /// for all of them, and a difference that one look found is not outweighed by another that found none.
    fn most_shared(&self, group: &[Seen]) -> Option<Stays> {
        let mut bearers: HashMap<u64, (usize, Stays)> = HashMap::new();
        let has_one = |seen: &Seen| seen.mirror_ino != ABSENT && !self.taken.contains(&seen.mirror_ino);
        for (at, seen) in group.iter().enumerate().filter(|(_, seen)| has_one(seen)) {
            let mirror_ino = seen.mirror_ino;
            let none = || (0, Stays { at, mirror_ino, aspects: Aspects::NONE });
            let (names, stays) = bearers.entry(mirror_ino).or_insert_with(none);
            *names += 1;
            stays.aspects = stays.aspects | self.names.aspects(seen);
        }
        let usable = bearers.into_values().filter(|(_, stays)| !stays.aspects.needs_making());
        let best = usable.max_by_key(|(names, stays)| (*names, std::cmp::Reverse(stays.mirror_ino)));
        best.map(|(_, stays)| stays)
    }
}

#[cfg(test)]
mod tests;
