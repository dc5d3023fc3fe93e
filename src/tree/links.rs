//! Hard links: names that share an inode on the source share one on the mirror, and no others do. Pure.
//!
//! Every name of an inode with several names, on either side, is recorded while the trees are compared; when all
//! are known, each inode of the source is given one inode of the mirror. Memory is spent on such names only.

use super::change::{Action, Aspects, Change, DirChange};
use super::relpath::RelPath;
use crate::sys::stat::Kind;
use std::collections::{HashMap, HashSet};
use std::sync::Arc;

/// One name of an inode that has several.
#[derive(Debug, Clone)]
pub(super) struct LinkName {
    /// The directory it is in.
    pub dir: Arc<RelPath>,
    /// The name.
    pub name: Box<[u8]>,
    /// The source's type.
    pub kind: Kind,
    /// The source's inode.
    pub ino: u64,
    /// The source's size in bytes.
    pub size: u64,
    /// The mirror's inode under that name, whatever it is.
    pub mirror_ino: Option<u64>,
    /// The mirror's type.
    pub over: Option<Kind>,
    /// In what the mirror's differs.
    pub aspects: Aspects,
}

impl LinkName {
    fn usable(&self, taken: &HashSet<u64>) -> bool {
        !self.aspects.needs_making() && self.mirror_ino.is_some_and(|ino| !taken.contains(&ino))
    }
    fn change(&self, action: Action) -> DirChange {
        let change = Change {
            action,
            kind: self.kind,
            over: self.over,
            aspects: self.aspects,
            ino: self.ino,
            size: self.size,
            name: self.name.clone(),
        };
        DirChange { path: (*self.dir).clone(), own: Aspects::NONE, changes: vec![change] }
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
    pub dir: Arc<RelPath>,
    /// The further name.
    pub name: Box<[u8]>,
    /// What stands there now.
    pub over: Option<Kind>,
}

/// What the recorded names need.
#[derive(Debug, Default)]
pub(super) struct Resolved {
    /// Entries to make or adjust first.
    pub leaders: Vec<DirChange>,
    /// Names to give after that.
    pub links: Vec<LinkTo>,
}

/// Decides which inode of the mirror each inode of the source gets.
pub(super) fn resolve(mut names: Vec<LinkName>) -> Resolved {
    names.sort_by(|a, b| a.ino.cmp(&b.ino).then_with(|| a.dir.cmp(&b.dir)).then_with(|| a.name.cmp(&b.name)));
    let mut taken = HashSet::new();
    let mut resolved = Resolved::default();
    for group in names.chunk_by(|a, b| a.ino == b.ino) {
        resolve_group(group, &mut taken, &mut resolved);
    }
    resolved
}

fn resolve_group(group: &[LinkName], taken: &mut HashSet<u64>, resolved: &mut Resolved) {
    let leader = most_shared(group, taken);
    let (leader, inode) = match leader {
        Some(leader) => (leader, leader.mirror_ino),
        None => (&group[0], None),
    };
    taken.extend(inode);
    match inode {
        None => resolved.leaders.push(leader.change(Action::Make)),
        Some(_) if !leader.aspects.is_empty() => resolved.leaders.push(leader.change(Action::Adjust)),
        Some(_) => {}
    }
    for name in group {
        let shares = inode.is_some() && name.mirror_ino == inode;
        if !shares && !std::ptr::eq(name, leader) {
            resolved.links.push(LinkTo {
                leader_dir: leader.dir.clone(),
                leader: leader.name.clone(),
                dir: name.dir.clone(),
                name: name.name.clone(),
                over: name.over,
            });
        }
    }
}

/// The name whose mirror inode can stay and already bears most names of the group: the fewest links to make.
fn most_shared<'a>(group: &'a [LinkName], taken: &HashSet<u64>) -> Option<&'a LinkName> {
    let mut bearers: HashMap<u64, (usize, &LinkName)> = HashMap::new();
    for name in group.iter().filter(|name| name.usable(taken)) {
        bearers.entry(name.mirror_ino?).or_insert((0, name)).0 += 1;
    }
    let best = bearers.into_iter().max_by_key(|(ino, (names, _))| (*names, std::cmp::Reverse(*ino)));
    best.map(|(_, (_, name))| name)
}

#[cfg(test)]
mod tests {
    use super::*;

    fn name(name: &str, ino: u64, mirror_ino: Option<u64>, aspects: Aspects) -> LinkName {
        LinkName {
            dir: Arc::new(RelPath::root()),
            name: name.as_bytes().into(),
            kind: Kind::File,
            ino,
            size: 1,
            mirror_ino,
            over: mirror_ino.map(|_| Kind::File),
            aspects,
        }
    }

    /// The names under which something is made or adjusted, and the links as (leader, name).
    fn outcome(names: Vec<LinkName>) -> (Vec<String>, Vec<(String, String)>) {
        let text = |bytes: &[u8]| String::from_utf8(bytes.to_vec()).expect("text");
        let resolved = resolve(names);
        let made = resolved.leaders.iter().map(|leader| {
            let change = &leader.changes[0];
            format!("{:?} {}", change.action, text(&change.name))
        });
        let links = resolved.links.iter().map(|link| (text(&link.leader), text(&link.name)));
        (made.collect(), links.collect())
    }

    #[test]
    fn names_that_are_linked_on_both_sides_need_nothing() {
        let names = vec![name("a", 1, Some(7), Aspects::NONE), name("b", 1, Some(7), Aspects::NONE)];
        assert_eq!(outcome(names), (vec![], vec![]));
    }

    #[test]
    fn a_new_group_is_made_once_and_linked() {
        let names = vec![name("a", 1, None, Aspects::ABSENT), name("b", 1, None, Aspects::ABSENT)];
        assert_eq!(outcome(names), (vec!["Make a".into()], vec![("a".into(), "b".into())]));
    }

    #[test]
    fn a_group_is_linked_to_the_name_that_is_there_already() {
        let names = vec![name("a", 1, None, Aspects::ABSENT), name("b", 1, Some(7), Aspects::NONE)];
        assert_eq!(outcome(names), (vec![], vec![("b".into(), "a".into())]));
    }

    #[test]
    fn a_mirror_inode_that_two_files_share_wrongly_is_split() {
        let names = vec![name("a", 1, Some(7), Aspects::NONE), name("b", 2, Some(7), Aspects::NONE)];
        assert_eq!(outcome(names), (vec!["Make b".into()], vec![]));
    }

    #[test]
    fn metadata_of_a_shared_inode_is_adjusted_once() {
        let names = vec![name("a", 1, Some(7), Aspects::MODE), name("b", 1, Some(7), Aspects::MODE)];
        assert_eq!(outcome(names), (vec!["Adjust a".into()], vec![]));
    }
}
