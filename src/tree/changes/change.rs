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

/// What is to be done.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Action {
    /// Make it, in place of what is there.
    Make,
    /// Change its metadata in place.
    Adjust,
    /// Delete it with all that is below.
    Delete,
    /// Give it the file that the mirror has under another name.
    Rename,
    /// Take away the old name of what was renamed.
    Vacate,
}

/// One entry's change.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Change {
    /// What is to be done.
    pub action: Action,
    /// The type it has on the source; of a deletion, on the mirror.
    pub kind: Kind,
    /// What stands in its place on the mirror.
    pub over: Option<Kind>,
    /// In what it differs.
    pub aspects: Aspects,
    /// The source's inode; of a deletion, the entries below and itself.
    pub ino: u64,
    /// The source's ctime when it was looked at: what was decided holds for this inode in this state only.
    pub ctime: Timestamp,
    /// Which inode with several names this is the first name of, by its number among the names; none if it has no others.
    pub leads: Option<u32>,
    /// Size in bytes when it was listed.
    pub size: u64,
    /// Where in the next catalog the hash of its content belongs; 0 is nowhere.
    pub slot: u64,
    /// Its name in the directory.
    pub name: Box<[u8]>,
    /// Where the mirror has the file that is renamed.
    pub from: Option<RelPath>,
}

impl Change {
    /// Whether `found` is what this was decided for: that very inode, unchanged since.
    pub(in crate::tree) fn is_of(&self, found: &Stat) -> bool {
        (found.kind, found.ino, found.ctime) == (self.kind, self.ino, self.ctime)
    }
}

/// All changes in one directory.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct DirChange {
    /// The directory.
    pub path: RelPath,
    /// Which one that was on the source: by the time it is worked on, another may be in its place.
    pub ino: u64,
    /// In what the directory's own metadata differ.
    pub own: Aspects,
    /// Its entries' changes.
    pub changes: Vec<Change>,
}

impl DirChange {
    /// Whether there is nothing to do.
    pub fn is_empty(&self) -> bool {
        self.own.is_empty() && self.changes.is_empty()
    }
    /// Whether the directory is there on both sides, and its own metadata are to be changed.
    pub(in crate::tree) fn adjusts_itself(&self) -> bool {
        !self.own.is_empty() && !self.own.needs_making()
    }
    /// Appends the form of a part: these of its changes, and what it needs itself. Lengths and numbers are little-endian, each
    /// name stands behind its length.
    pub(in crate::tree) fn encode(
        &self,
        own: Aspects,
        changes: &[Change],
        paths: &mut RecentPaths,
        out: &mut Vec<u8>,
    ) {
        paths.encode(&self.path, out);
        out.extend(self.ino.to_le_bytes());
        out.extend(own.0.to_le_bytes());
        out.extend((changes.len() as u32).to_le_bytes());
        for change in changes {
            out.push(change.action as u8);
            out.push(kind_code(Some(change.kind)));
            out.push(kind_code(change.over));
            out.extend(change.aspects.0.to_le_bytes());
            out.extend(change.ino.to_le_bytes());
            out.extend(change.ctime.secs.to_le_bytes());
            out.extend(change.ctime.nanos.to_le_bytes());
            out.push(u8::from(change.leads.is_some()));
            out.extend(change.leads.unwrap_or_default().to_le_bytes());
            out.extend(change.size.to_le_bytes());
            out.extend(change.slot.to_le_bytes());
            put_bytes(out, &change.name);
            out.push(u8::from(change.from.is_some()));
            if let Some((dir, name)) = change.from.as_ref().and_then(RelPath::split) {
                paths.encode(&dir, out);
                put_bytes(out, name);
            }
        }
    }
    /// Reads what `encode` wrote; `None` if it is damaged.
    pub(in crate::tree) fn decode(mut from: &[u8], paths: &mut RecentPaths) -> Option<DirChange> {
        let from = &mut from;
        let path = paths.decode(from)?;
        let ino = u64::from_le_bytes(take(from)?);
        let own = Aspects(u16::from_le_bytes(take(from)?));
        let count = u32::from_le_bytes(take(from)?);
        let changes = (0..count).map(|_| decode_change(from, paths)).collect::<Option<_>>()?;
        Some(DirChange { path, ino, own, changes })
    }
}

fn decode_change(from: &mut &[u8], paths: &mut RecentPaths) -> Option<Change> {
    let [action, kind, over] = take(from)?;
    Some(Change {
        action: *ACTIONS.get(usize::from(action))?,
        kind: kind_of(kind)?,
        over: kind_of(over),
        aspects: Aspects(u16::from_le_bytes(take(from)?)),
        ino: u64::from_le_bytes(take(from)?),
        ctime: Timestamp { secs: i64::from_le_bytes(take(from)?), nanos: u32::from_le_bytes(take(from)?) },
        leads: decode_leads(from)?,
        size: u64::from_le_bytes(take(from)?),
        slot: u64::from_le_bytes(take(from)?),
        name: take_bytes(from)?.into(),
        from: decode_from(from, paths)?,
    })
}

fn decode_leads(from: &mut &[u8]) -> Option<Option<u32>> {
    let [is_some] = take(from)?;
    let number = u32::from_le_bytes(take(from)?);
    Some((is_some != 0).then_some(number))
}

fn decode_from(from: &mut &[u8], paths: &mut RecentPaths) -> Option<Option<RelPath>> {
    match take(from)? {
        [0] => Some(None),
        [_] => Some(Some(paths.decode(from)?.join(take_bytes(from)?))),
    }
}

const ACTIONS: [Action; 5] = [Action::Make, Action::Adjust, Action::Delete, Action::Rename, Action::Vacate];

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

    pub fn sample(path: &str, names: &[&[u8]]) -> DirChange {
        let change = |name: &&[u8]| Change {
            action: Action::Make,
            kind: Kind::Symlink,
            over: Some(Kind::Dir),
            aspects: Aspects::CONTENT | Aspects::MTIME,
            ino: 1 << 40,
            ctime: Timestamp { secs: -7, nanos: 999_999_999 },
            leads: (name.len() > 1).then_some(8),
            size: 7,
            slot: 9,
            name: (*name).into(),
            from: (name.len() > 1).then(|| RelPath::from_bytes("old/name")),
        };
        DirChange {
            path: RelPath::from_bytes(path),
            ino: 3,
            own: Aspects::MODE,
            changes: names.iter().map(change).collect(),
        }
    }

    #[test]
    fn what_is_encoded_is_decoded() {
        let change = sample("a/b", &[b"x", &[0xff; 255], b"new\nline"]);
        let mut bytes = Vec::new();
        change.encode(change.own, &change.changes, &mut RecentPaths::default(), &mut bytes);
        assert_eq!(DirChange::decode(&bytes, &mut RecentPaths::default()), Some(change));
    }

    #[test]
    fn a_record_that_is_cut_short_is_not_decoded() {
        let mut bytes = Vec::new();
        let change = sample("a", &[b"x", b"moved"]);
        change.encode(change.own, &change.changes, &mut RecentPaths::default(), &mut bytes);
        for length in 0..bytes.len() {
            let decoded = DirChange::decode(&bytes[..length], &mut RecentPaths::default());
            assert_eq!(decoded, None, "{length}");
        }
    }
}
