//! Hard links: names that share an inode on the source share one on the mirror, and no others do. Pure.
//!
//! Every name of an inode with several names, on either side, is kept while the trees are compared, in 24 bytes and its
//! name; when all are known, each inode of the source is given one inode of the mirror. Names that the catalog proves are
//! kept without a look at the mirror: it is asked for them only if another name of their inode has changed.

use super::change::{Action, Aspects, Change, DirChange};
use super::relpath::RelPath;
use crate::sys::stat::Kind;
use std::collections::{HashMap, HashSet};
use std::sync::Arc;

/// A directory, and which one it was on the source when its names were read.
#[derive(Debug, Clone)]
pub(super) struct DirAt {
    pub path: Arc<RelPath>,
    pub ino: u64,
}

/// What a name of the mirror needs that is not what the source's is.
#[derive(Debug, Clone, Copy)]
pub(super) struct Needs {
    /// The source's type.
    pub kind: Kind,
    /// The source's size in bytes.
    pub size: u64,
    /// The mirror's type.
    pub over: Option<Kind>,
    /// In what the mirror's differs.
    pub aspects: Aspects,
    /// Where the hash of its content belongs.
    pub slot: u64,
}

/// The mirror's inode under a name.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum MirrorInode {
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
    /// Where its name stands, in fours of bytes.
    name: u32,
}

const ABSENT: u64 = 0;
const UNSEEN: u64 = u64::MAX;

/// Names of inodes that have several.
#[derive(Debug, Default)]
pub(super) struct LinkNames {
    dirs: Vec<DirAt>,
    seen: Vec<Seen>,
    text: Vec<u8>,
    /// By the place of the name.
    needs: HashMap<u32, Needs>,
}

impl LinkNames {
    /// Adds one. `needs` is none if the mirror's is what it should be.
    pub fn add(&mut self, dir: &DirAt, name: &[u8], ino: u64, on_mirror: MirrorInode, needs: Option<Needs>) {
        if self.dirs.last().is_none_or(|last| !Arc::ptr_eq(&last.path, &dir.path)) {
            self.dirs.push(dir.clone());
        }
        let mirror_ino = match on_mirror {
            MirrorInode::Absent => ABSENT,
            MirrorInode::Unseen => UNSEEN,
            MirrorInode::Is(ino) => ino,
        };
        let place = self.keep_name(name);
        self.seen.push(Seen { ino, mirror_ino, dir: self.dirs.len() as u32 - 1, name: place });
        if let Some(needs) = needs {
            self.needs.insert(place, needs);
        }
    }
    fn keep_name(&mut self, name: &[u8]) -> u32 {
        let place = (self.text.len() / 4) as u32;
        self.text.push(name.len() as u8);
        self.text.extend(name);
        self.text.resize(self.text.len().next_multiple_of(4), 0);
        place
    }
    /// Says where the hashes of one directory's files belong, now that its block has a place.
    pub fn set_slots(&mut self, slot_of: impl Fn(u64) -> u64) {
        self.needs.values_mut().for_each(|needs| needs.slot = slot_of(needs.slot));
    }
    /// Adds what was found in other directories.
    pub fn append(&mut self, other: LinkNames) {
        if other.seen.is_empty() {
            return;
        }
        let (dirs, text) = (self.dirs.len() as u32, (self.text.len() / 4) as u32);
        self.dirs.extend(other.dirs);
        self.text.extend(other.text);
        let moved = |seen: Seen| Seen { dir: seen.dir + dirs, name: seen.name + text, ..seen };
        self.seen.extend(other.seen.into_iter().map(moved));
        self.needs.extend(other.needs.into_iter().map(|(place, needs)| (place + text, needs)));
    }
    fn at(&self, seen: &Seen) -> &DirAt {
        &self.dirs[seen.dir as usize]
    }
    fn dir(&self, seen: &Seen) -> &Arc<RelPath> {
        &self.at(seen).path
    }
    fn name(&self, seen: &Seen) -> &[u8] {
        let at = seen.name as usize * 4;
        &self.text[at + 1..][..usize::from(self.text[at])]
    }
    fn aspects(&self, seen: &Seen) -> Aspects {
        self.needs.get(&seen.name).map_or(Aspects::NONE, |needs| needs.aspects)
    }
    fn change(&self, seen: &Seen, action: Action) -> DirChange {
        // A name that was proven, and is not there after all: what it is shows when it is opened.
        let unknown = Needs { kind: Kind::File, size: 0, over: None, aspects: Aspects::ABSENT, slot: 0 };
        let Needs { kind, size, over, aspects, slot } =
            self.needs.get(&seen.name).copied().unwrap_or(unknown);
        let name = self.name(seen).into();
        let change = Change { action, kind, over, aspects, ino: seen.ino, size, slot, name };
        DirChange {
            path: (**self.dir(seen)).clone(),
            ino: self.at(seen).ino,
            own: Aspects::NONE,
            changes: vec![change],
        }
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
pub(super) struct LinkTo {
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
}

/// Names to give, once the inodes that bear them are in place.
#[derive(Debug, Default)]
pub(super) struct Links {
    names: LinkNames,
    /// Leader and further name, as places in `names.seen`.
    pairs: Vec<(u32, u32)>,
}

impl Links {
    /// How many.
    pub fn len(&self) -> usize {
        self.pairs.len()
    }
    /// Whether there are none.
    pub fn is_empty(&self) -> bool {
        self.pairs.is_empty()
    }
    /// One after another.
    pub fn iter(&self) -> impl Iterator<Item = LinkTo> {
        self.pairs.iter().map(|(leader, name)| {
            let (leader, seen) = (&self.names.seen[*leader as usize], &self.names.seen[*name as usize]);
            let over = match self.names.needs.get(&seen.name) {
                Some(needs) => needs.over,
                None => (seen.mirror_ino != ABSENT).then_some(Kind::File),
            };
            LinkTo {
                leader_dir: self.names.dir(leader).clone(),
                leader: self.names.name(leader).into(),
                dir: self.names.at(seen).clone(),
                name: self.names.name(seen).into(),
                over,
            }
        })
    }
}

/// What the recorded names need.
#[derive(Debug, Default)]
pub(super) struct Resolved {
    /// Entries to make or adjust first.
    pub leaders: Vec<DirChange>,
    /// Names to give after that.
    pub links: Links,
}

/// Decides which inode of the mirror each inode of the source gets. `look` tells the mirror's inode of a name that
/// nobody has looked at.
pub(super) fn resolve(mut names: LinkNames, look: impl Fn(&RelPath, &[u8]) -> Option<u64>) -> Resolved {
    names.sort();
    fill_in(&mut names, look);
    let mut resolving =
        Resolving { names: &names, taken: HashSet::new(), leaders: Vec::new(), pairs: Vec::new() };
    let mut start = 0;
    for group in names.seen.chunk_by(|a, b| a.ino == b.ino) {
        if !is_proven(group) {
            resolving.group(start, group);
        }
        start += group.len();
    }
    let Resolving { leaders, pairs, .. } = resolving;
    // What was only kept to be compared is not needed any more.
    let names = if pairs.is_empty() { LinkNames::default() } else { names };
    Resolved { leaders, links: Links { names, pairs } }
}

/// Whether nothing about an inode has changed: every change of its names would have changed its ctime.
fn is_proven(group: &[Seen]) -> bool {
    group.iter().all(|seen| seen.mirror_ino == UNSEEN)
}

/// Looks at names that were proven, where others of their inode were not.
fn fill_in(names: &mut LinkNames, look: impl Fn(&RelPath, &[u8]) -> Option<u64>) {
    let mut seen = std::mem::take(&mut names.seen);
    for group in seen.chunk_by_mut(|a, b| a.ino == b.ino) {
        if is_proven(group) {
            continue;
        }
        for one in group.iter_mut().filter(|one| one.mirror_ino == UNSEEN) {
            one.mirror_ino = look(names.dir(one), names.name(one)).unwrap_or(ABSENT);
        }
    }
    names.seen = seen;
}

struct Resolving<'a> {
    names: &'a LinkNames,
    taken: HashSet<u64>,
    leaders: Vec<DirChange>,
    pairs: Vec<(u32, u32)>,
}

impl Resolving<'_> {
    /// One inode's names, of which the first is `names.seen[start]`.
    fn group(&mut self, start: usize, group: &[Seen]) {
        let (leader, inode) = match self.most_shared(group) {
            Some(at) => (at, Some(group[at].mirror_ino)),
            None => (0, None),
        };
        self.taken.extend(inode);
        let aspects = self.names.aspects(&group[leader]);
        match inode {
            None => self.leaders.push(self.names.change(&group[leader], Action::Make)),
            Some(_) if !aspects.is_empty() => {
                self.leaders.push(self.names.change(&group[leader], Action::Adjust))
            }
            Some(_) => {}
        }
        for (at, seen) in group.iter().enumerate() {
            let shares = inode == Some(seen.mirror_ino);
            if !shares && at != leader {
                self.pairs.push(((start + leader) as u32, (start + at) as u32));
            }
        }
    }
    /// The name whose mirror inode can stay and already bears most names of the group: the fewest links to make.
    fn most_shared(&self, group: &[Seen]) -> Option<usize> {
        let mut bearers: HashMap<u64, (usize, usize)> = HashMap::new();
        for (at, seen) in group.iter().enumerate().filter(|(_, seen)| self.is_usable(seen)) {
            bearers.entry(seen.mirror_ino).or_insert((0, at)).0 += 1;
        }
        let best = bearers.into_iter().max_by_key(|(ino, (names, _))| (*names, std::cmp::Reverse(*ino)));
        best.map(|(_, (_, at))| at)
    }
    fn is_usable(&self, seen: &Seen) -> bool {
        let has_one = seen.mirror_ino != ABSENT && !self.taken.contains(&seen.mirror_ino);
        has_one && !self.names.aspects(seen).needs_making()
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use MirrorInode::{Absent, Is, Unseen};

    type Given<'a> = (&'a str, u64, MirrorInode, Aspects);

    fn resolved(given: &[Given<'_>]) -> Resolved {
        resolved_with(given, |_, _| panic!("nothing unseen is to be looked at"))
    }

    fn resolved_with(given: &[Given<'_>], look: impl Fn(&RelPath, &[u8]) -> Option<u64>) -> Resolved {
        let (root, mut names) = (DirAt { path: Arc::new(RelPath::root()), ino: 2 }, LinkNames::default());
        for (name, ino, on_mirror, aspects) in given {
            let over = (*on_mirror != Absent).then_some(Kind::File);
            let needs = Needs { kind: Kind::File, size: 0, over, aspects: *aspects, slot: 0 };
            names.add(&root, name.as_bytes(), *ino, *on_mirror, (!aspects.is_empty()).then_some(needs));
        }
        resolve(names, look)
    }

    fn links(resolved: &Resolved) -> Vec<(String, String)> {
        let text = |bytes: &[u8]| String::from_utf8_lossy(bytes).into_owned();
        resolved.links.iter().map(|link| (text(&link.leader), text(&link.name))).collect()
    }

    fn leaders(resolved: &Resolved) -> Vec<(Action, String)> {
        let one = |change: &DirChange| {
            let change = &change.changes[0];
            (change.action, String::from_utf8_lossy(&change.name).into_owned())
        };
        resolved.leaders.iter().map(one).collect()
    }

    fn pair(a: &str, b: &str) -> (String, String) {
        (a.to_owned(), b.to_owned())
    }

    const NEW: Aspects = Aspects::ABSENT;
    const SAME: Aspects = Aspects::NONE;

    #[test]
    fn an_unchanged_group_needs_nothing() {
        let resolved = resolved(&[("a", 1, Is(10), SAME), ("b", 1, Is(10), SAME)]);
        assert!(resolved.leaders.is_empty() && resolved.links.is_empty());
    }

    #[test]
    fn a_new_group_is_made_once_and_linked() {
        let resolved = resolved(&[("b", 1, Absent, NEW), ("a", 1, Absent, NEW)]);
        assert_eq!(leaders(&resolved), [(Action::Make, "a".to_owned())]);
        assert_eq!(links(&resolved), [pair("a", "b")]);
        assert_eq!(resolved.links.iter().next().and_then(|link| link.over), None);
    }

    #[test]
    fn one_inode_of_the_mirror_serves_only_one_of_the_source() {
        let resolved = resolved(&[("a", 1, Is(10), SAME), ("b", 2, Is(10), SAME)]);
        assert_eq!(leaders(&resolved), [(Action::Make, "b".to_owned())]);
    }

    #[test]
    fn metadata_of_a_group_is_changed_once() {
        let resolved = resolved(&[("a", 1, Is(10), Aspects::MODE), ("b", 1, Is(10), Aspects::MODE)]);
        assert_eq!(leaders(&resolved), [(Action::Adjust, "a".to_owned())]);
        assert!(resolved.links.is_empty());
    }

    #[test]
    fn a_group_keeps_the_inode_that_bears_most_of_its_names() {
        let given = [("a", 1, Is(10), SAME), ("b", 1, Is(11), SAME), ("c", 1, Is(11), SAME)];
        assert_eq!(links(&resolved(&given)), [pair("b", "a")]);
    }

    #[test]
    fn names_that_are_all_proven_need_no_look_at_the_mirror() {
        let resolved = resolved(&[("a", 1, Unseen, SAME), ("b", 1, Unseen, SAME)]);
        assert!(resolved.leaders.is_empty() && resolved.links.is_empty());
    }

    #[test]
    fn a_new_name_of_a_proven_inode_is_given_to_the_inode_that_the_mirror_has() {
        let resolved = resolved_with(&[("a", 1, Unseen, SAME), ("b", 1, Absent, NEW)], |_, _| Some(10));
        assert_eq!((leaders(&resolved), links(&resolved)), (Vec::new(), vec![pair("a", "b")]));
        let resolved = resolved_with(&[("a", 1, Unseen, SAME), ("b", 1, Absent, NEW)], |_, _| None);
        assert_eq!(leaders(&resolved), [(Action::Make, "a".to_owned())], "it is not there after all");
    }

    #[test]
    fn names_of_several_directories_stay_apart_when_they_are_put_together() {
        let (mut all, look) = (LinkNames::default(), |_: &RelPath, _: &[u8]| None);
        for dir in ["x", "y"] {
            let dir = DirAt { path: Arc::new(RelPath::from_bytes(dir)), ino: 3 };
            let mut names = LinkNames::default();
            let needs = Needs { kind: Kind::File, size: 0, over: None, aspects: NEW, slot: 0 };
            names.add(&dir, b"name", 1, Absent, Some(needs));
            all.append(names);
        }
        let links: Vec<_> =
            resolve(all, look).links.iter().map(|link| (link.leader_dir, link.dir.path)).collect();
        assert_eq!(links.len(), 1);
        assert_eq!((links[0].0.as_bytes(), links[0].1.as_bytes()), (&b"x"[..], &b"y"[..]));
    }
}
