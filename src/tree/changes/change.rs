//! A change: what one entry of the mirror needs to become the source's. And its form on the spool.

use crate::sys::stat::{Kind, Stat, Timestamp};
use crate::tree::base::relpath::RelPath;
use crate::tree::changes::recent::{RecentPaths, put_bytes, take, take_bytes};
use std::ops::BitOr;

/// In what an entry differs.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
pub struct Aspects(pub u16);

impl Aspects {
    /// In nothing.
    pub const NONE: Aspects = Aspects(0);
    /// Content, target of a link, device number, or type: the entry must be made anew.
    pub const CONTENT: Aspects = Aspects(1);
    /// Size.
    pub const SIZE: Aspects = Aspects(2);
    /// Modification time.
    pub const MTIME: Aspects = Aspects(4);
    /// Permissions.
    pub const MODE: Aspects = Aspects(8);
    /// Owner.
    pub const OWNER: Aspects = Aspects(16);
    /// Group.
    pub const GROUP: Aspects = Aspects(32);
    /// Extended attributes, access control lists among them.
    pub const XATTRS: Aspects = Aspects(64);
    /// chattr flags or project.
    pub const FLAGS: Aspects = Aspects(128);
    /// It is not there at all.
    pub const ABSENT: Aspects = Aspects(256);

    /// What stands for each, in the order of their numbers.
    pub fn names(self) -> Vec<&'static str> {
        const NAMES: [&str; 9] =
            ["content", "size", "time", "mode", "owner", "group", "attributes", "flags", "absence"];
        let named = NAMES.iter().enumerate().filter(|(number, _)| self.0 & (1 << number) != 0);
        named.map(|(_, name)| *name).collect()
    }
    /// Whether it differs in nothing.
    pub fn is_empty(self) -> bool {
        self.0 == 0
    }
    /// Whether it differs in any of `other`.
    pub fn has(self, other: Aspects) -> bool {
        self.0 & other.0 != 0
    }
    /// These if `differ`.
    pub fn when(self, differ: bool) -> Aspects {
        if differ { self } else { Aspects::NONE }
    }
    /// Whether a new entry must be made, rather than the old one's metadata changed.
    pub fn needs_making(self) -> bool {
        self.has(Aspects(Aspects::CONTENT.0 | Aspects::ABSENT.0))
    }
}

impl BitOr for Aspects {
    type Output = Aspects;
    fn bitor(self, other: Aspects) -> Aspects {
        Aspects(self.0 | other.0)
    }
}

/// One entry that the mirror shall have as the source has it.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Change {
    /// Its name in the directory.
    pub name: Box<[u8]>,
    /// What is to be done.
    pub how: How,
    /// The type it has on the source.
    pub kind: Kind,
    /// What stands in its place on the mirror.
    pub over: Option<Kind>,
    /// In what it differs.
    pub aspects: Aspects,
    /// The source's inode.
    pub ino: u64,
    /// The source's ctime when it was looked at: what was decided holds for this inode in this state only.
    pub ctime: Timestamp,
    /// Which inode with several names this is the first name of, by its number among the names; none if it has no others.
    pub leads: Option<u32>,
    /// Size in bytes when it was listed.
    pub size: u64,
    /// Where in the next catalog the hash of its content belongs; 0 is nowhere.
    pub slot: u64,
}

/// How the mirror comes to have an entry.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum How {
    /// It is made, in place of what is there.
    Make,
    /// Its metadata are changed in place.
    Adjust,
    /// It is given the file that the mirror has under another name.
    Rename {
        /// Where the mirror has that file.
        from: RelPath,
    },
}

/// One name that the mirror shall not have any more.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Removal {
    /// What the source does not have is deleted, with all that is below.
    Delete {
        /// Its name in the directory.
        name: Box<[u8]>,
        /// The type it has on the mirror.
        kind: Kind,
        /// It, and the entries below.
        entries: u64,
    },
    /// The old name of what was renamed is taken away.
    OldName {
        /// It, in the directory.
        name: Box<[u8]>,
    },
}

impl Change {
    /// Whether `found` is what this was decided for: that very inode, unchanged since.
    pub(in crate::tree) fn is_of(&self, found: &Stat) -> bool {
        (found.kind, found.ino, found.ctime) == (self.kind, self.ino, self.ctime)
    }
    /// Whether it is a directory that is made.
    pub(in crate::tree) fn makes_dir(&self) -> bool {
        self.how == How::Make && self.kind == Kind::Dir
    }
    fn encode(&self, paths: &mut RecentPaths, out: &mut Vec<u8>) {
        put_bytes(out, &self.name);
        match &self.how {
            How::Make => out.push(MAKE),
            How::Adjust => out.push(ADJUST),
            How::Rename { from } => {
                out.push(RENAME);
                let (dir, name) = from.split().unwrap_or((RelPath::root(), b""));
                paths.encode(&dir, out);
                put_bytes(out, name);
            }
        }
        out.extend([kind_code(Some(self.kind)), kind_code(self.over)]);
        out.extend(self.aspects.0.to_le_bytes());
        out.extend(self.ino.to_le_bytes());
        out.extend(self.ctime.secs.to_le_bytes());
        out.extend(self.ctime.nanos.to_le_bytes());
        out.push(u8::from(self.leads.is_some()));
        out.extend(self.leads.unwrap_or_default().to_le_bytes());
        out.extend(self.size.to_le_bytes());
        out.extend(self.slot.to_le_bytes());
    }
    fn decode(from: &mut &[u8], paths: &mut RecentPaths) -> Option<Change> {
        let name = take_bytes(from)?.into();
        let how = match take(from)? {
            [MAKE] => How::Make,
            [ADJUST] => How::Adjust,
            [RENAME] => How::Rename { from: paths.decode(from)?.join(take_bytes(from)?) },
            [_] => return None,
        };
        let [kind, over] = take(from)?;
        Some(Change {
            name,
            how,
            kind: kind_of(kind)?,
            over: kind_of(over),
            aspects: Aspects(u16::from_le_bytes(take(from)?)),
            ino: u64::from_le_bytes(take(from)?),
            ctime: Timestamp {
                secs: i64::from_le_bytes(take(from)?),
                nanos: u32::from_le_bytes(take(from)?),
            },
            leads: decode_leads(from)?,
            size: u64::from_le_bytes(take(from)?),
            slot: u64::from_le_bytes(take(from)?),
        })
    }
}

impl Removal {
    /// The name in the directory.
    pub fn name(&self) -> &[u8] {
        match self {
            Removal::Delete { name, .. } | Removal::OldName { name } => name,
        }
    }
    /// How many entries go with it.
    pub(in crate::tree) fn entries(&self) -> u64 {
        match self {
            Removal::Delete { entries, .. } => *entries,
            Removal::OldName { .. } => 1,
        }
    }
    fn encode(&self, out: &mut Vec<u8>) {
        put_bytes(out, self.name());
        match self {
            Removal::Delete { kind, entries, .. } => {
                out.extend([DELETE, kind_code(Some(*kind))]);
                out.extend(entries.to_le_bytes());
            }
            Removal::OldName { .. } => out.push(OLD_NAME),
        }
    }
    fn decode(from: &mut &[u8]) -> Option<Removal> {
        let name = take_bytes(from)?.into();
        match take(from)? {
            [DELETE] => {
                let [kind] = take(from)?;
                Some(Removal::Delete { name, kind: kind_of(kind)?, entries: u64::from_le_bytes(take(from)?) })
            }
            [OLD_NAME] => Some(Removal::OldName { name }),
            [_] => None,
        }
    }
}

/// What stands on the spool for each kind of work.
const MAKE: u8 = 0;
const ADJUST: u8 = 1;
const RENAME: u8 = 2;
const DELETE: u8 = 3;
const OLD_NAME: u8 = 4;

/// All changes in one directory.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct DirChange {
    /// The directory.
    pub path: RelPath,
    /// Which one that was on the source: by the time it is worked on, another may be in its place.
    pub ino: u64,
    /// In what the directory's own metadata differ.
    pub own: Aspects,
    /// What the mirror shall have in it.
    pub changes: Vec<Change>,
    /// What the mirror shall not have in it any more.
    pub removals: Vec<Removal>,
}

impl DirChange {
    /// Nothing to do yet in a directory.
    pub fn new(path: RelPath, ino: u64) -> Self {
        DirChange { path, ino, own: Aspects::NONE, changes: Vec::new(), removals: Vec::new() }
    }
    /// Whether there is nothing to do.
    pub fn is_empty(&self) -> bool {
        self.own.is_empty() && self.changes.is_empty() && self.removals.is_empty()
    }
    /// Whether the directory is there on both sides, and its own metadata are to be changed.
    pub(in crate::tree) fn adjusts_itself(&self) -> bool {
        !self.own.is_empty() && !self.own.needs_making()
    }
    /// Appends its form. Lengths and numbers are little-endian, each name stands behind its length.
    pub(in crate::tree) fn encode(&self, part: &Part<'_>, paths: &mut RecentPaths, out: &mut Vec<u8>) {
        paths.encode(&self.path, out);
        out.extend(self.ino.to_le_bytes());
        out.extend(part.own.0.to_le_bytes());
        out.extend((part.changes.len() as u32).to_le_bytes());
        part.changes.iter().for_each(|change| change.encode(paths, out));
        out.extend((part.removals.len() as u32).to_le_bytes());
        part.removals.iter().for_each(|removal| removal.encode(out));
    }
    /// Reads what `encode` wrote; `None` if it is damaged.
    pub(in crate::tree) fn decode(mut from: &[u8], paths: &mut RecentPaths) -> Option<DirChange> {
        let from = &mut from;
        let path = paths.decode(from)?;
        let ino = u64::from_le_bytes(take(from)?);
        let own = Aspects(u16::from_le_bytes(take(from)?));
        let count = u32::from_le_bytes(take(from)?);
        let changes = (0..count).map(|_| Change::decode(from, paths)).collect::<Option<_>>()?;
        let count = u32::from_le_bytes(take(from)?);
        let removals = (0..count).map(|_| Removal::decode(from)).collect::<Option<_>>()?;
        Some(DirChange { path, ino, own, changes, removals })
    }
    /// In parts of so many entries at most. What the directory needs itself comes with the last one, when all else is done.
    pub(in crate::tree) fn parts(&self, most: usize) -> impl Iterator<Item = Part<'_>> {
        let (mut changes, mut removals, mut done) = (&self.changes[..], &self.removals[..], false);
        std::iter::from_fn(move || {
            if std::mem::replace(&mut done, changes.len() + removals.len() <= most) {
                return None;
            }
            let mut part = Part { own: if done { self.own } else { Aspects::NONE }, changes, removals };
            (part.changes, changes) = changes.split_at(changes.len().min(most));
            (part.removals, removals) = removals.split_at(removals.len().min(most - part.changes.len()));
            Some(part)
        })
    }
}

/// A part of one directory's changes.
pub(in crate::tree) struct Part<'a> {
    own: Aspects,
    changes: &'a [Change],
    removals: &'a [Removal],
}

fn decode_leads(from: &mut &[u8]) -> Option<Option<u32>> {
    let [is_some] = take(from)?;
    let number = u32::from_le_bytes(take(from)?);
    Some((is_some != 0).then_some(number))
}

const KINDS: [Kind; 7] =
    [Kind::File, Kind::Dir, Kind::Symlink, Kind::Fifo, Kind::Socket, Kind::Block, Kind::Char];

/// A type, or none, in a byte.
pub(in crate::tree) fn kind_code(kind: Option<Kind>) -> u8 {
    KINDS.iter().position(|known| Some(*known) == kind).map_or(u8::MAX, |at| at as u8)
}

/// Which one that stands for.
pub(in crate::tree) fn kind_of(code: u8) -> Option<Kind> {
    KINDS.get(usize::from(code)).copied()
}

#[cfg(test)]
mod tests {
    use super::*;

    fn sample(path: &str, names: &[&[u8]]) -> DirChange {
        let change = |name: &&[u8]| Change {
            name: (*name).into(),
            how: match name.len() {
                1 => How::Make,
                255 => How::Adjust,
                _ => How::Rename { from: RelPath::from_bytes("old/name") },
            },
            kind: Kind::Symlink,
            over: Some(Kind::Dir),
            aspects: Aspects::CONTENT | Aspects::MTIME,
            ino: 1 << 40,
            ctime: Timestamp { secs: -7, nanos: 999_999_999 },
            leads: (name.len() > 1).then_some(8),
            size: 7,
            slot: 9,
        };
        let removals = vec![
            Removal::Delete { name: b"gone".as_slice().into(), kind: Kind::Dir, entries: 1 << 33 },
            Removal::OldName { name: b"name".as_slice().into() },
        ];
        let changes = names.iter().map(change).collect();
        DirChange { own: Aspects::MODE, changes, removals, ..DirChange::new(RelPath::from_bytes(path), 3) }
    }

    fn encoded(change: &DirChange) -> Vec<u8> {
        let mut bytes = Vec::new();
        let part = change.parts(10).next().expect("one part");
        change.encode(&part, &mut RecentPaths::default(), &mut bytes);
        bytes
    }

    #[test]
    fn what_is_encoded_is_decoded() {
        let change = sample("a/b", &[b"x", &[0xff; 255], b"new\nline"]);
        assert_eq!(DirChange::decode(&encoded(&change), &mut RecentPaths::default()), Some(change));
    }

    #[test]
    fn a_record_that_is_cut_short_is_not_decoded() {
        let bytes = encoded(&sample("a", &[b"x", b"moved"]));
        for length in 0..bytes.len() {
            let decoded = DirChange::decode(&bytes[..length], &mut RecentPaths::default());
            assert_eq!(decoded, None, "{length}");
        }
    }

    #[test]
    fn parts_are_no_larger_than_asked_for_and_nothing_is_in_two_of_them() {
        let change = sample("a", &[b"1", b"2", b"3", b"4"]);
        for most in 1..8 {
            let parts: Vec<Part<'_>> = change.parts(most).collect();
            assert!(parts.iter().all(|part| part.changes.len() + part.removals.len() <= most), "{most}");
            assert!(parts.iter().flat_map(|part| part.changes).eq(&change.changes), "{most}");
            assert!(parts.iter().flat_map(|part| part.removals).eq(&change.removals), "{most}");
            let (last, others) = parts.split_last().expect("at least one");
            assert!(last.own == change.own && others.iter().all(|part| part.own.is_empty()), "{most}");
        }
        assert_eq!(DirChange::new(RelPath::root(), 1).parts(1).count(), 1, "itself");
    }
}
