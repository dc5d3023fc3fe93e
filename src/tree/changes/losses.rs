//! What each directory of a mirror would lose, as far as has to be known to ask somebody: in which directories, how many
//! entries, whose. Pure.
//!
//! `home/a/t/1` … `home/a/t/2000` and `var/spool/7` go → `home/a/t` loses 2,000 (of user 1000), the rest is minor.

use crate::tree::base::relpath::RelPath;
use std::collections::{BTreeMap, BTreeSet};

/// So many directories are told apart; beyond that the deepest count as the directories that they are in.
const TOLD_APART: usize = 4096;
/// So deep they are told apart at most: users make chains of thousands.
const DEEPEST: usize = 16;
/// So many owners are told apart in one directory.
const OWNERS: usize = 8;
/// How many directories are named.
const NAMED: usize = 10;
/// A directory that loses less than this part of all is not named beside greater ones, in percent …
const MINOR_PERCENT: u64 = 2;
/// … and so many entries at most are in none of those that are named.
pub(in crate::tree) const MINOR_ENTRIES: u64 = 50;

/// What would be deleted, by the directory it is in.
#[derive(Debug, Default, Clone)]
pub(in crate::tree) struct Losses {
    dirs: BTreeMap<RelPath, Loss>,
    /// How many levels above `DEEPEST` directories are told apart.
    levels_cut: usize,
}

#[derive(Debug, Default, Clone)]
struct Loss {
    entries: u64,
    /// How many of them belong to whom.
    owners: BTreeMap<u32, u64>,
}

/// A directory that would lose entries, with all that is below it.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Losing {
    /// Which.
    pub path: RelPath,
    /// How many.
    pub entries: u64,
    /// Whose most of them are: the user's number, and how many are his.
    pub owner: Option<(u32, u64)>,
}

impl Loss {
    fn add(&mut self, other: &Loss) {
        self.entries += other.entries;
        other.owners.iter().for_each(|(owner, entries)| self.enter(*owner, *entries));
    }
    fn enter(&mut self, owner: u32, entries: u64) {
        if self.owners.len() < OWNERS || self.owners.contains_key(&owner) {
            *self.owners.entry(owner).or_default() += entries;
        }
    }
    fn most(&self) -> Option<(u32, u64)> {
        let (owner, entries) = self.owners.iter().max_by_key(|(_, entries)| **entries)?;
        (entries * 2 > self.entries).then_some((*owner, *entries))
    }
}

impl Losses {
    /// Enters that the entry at `path` goes, which belongs to `owner`. The order does not count, so that threads may enter.
    pub fn enter(&mut self, path: &RelPath, owner: Option<u32>) {
        let dir = self.told(path);
        let loss = self.dirs.entry(dir).or_default();
        loss.entries += 1;
        if let Some(owner) = owner {
            loss.enter(owner, 1);
        }
        self.keep_few();
    }
    /// Takes back what was entered.
    pub fn take_back(&mut self, path: &RelPath) {
        let dir = self.told(path);
        if let Some(loss) = self.dirs.get_mut(&dir) {
            loss.entries -= 1;
            if loss.entries == 0 {
                self.dirs.remove(&dir);
            }
        }
    }
    /// Adds what another thread found.
    pub fn merge(&mut self, other: Losses) {
        if other.levels_cut > self.levels_cut {
            self.cut_to(other.levels_cut);
        }
        for (dir, loss) in other.dirs {
            self.dirs.entry(self.cut(&dir)).or_default().add(&loss);
        }
        self.keep_few();
    }
    /// Entries in the directories for which `is_let_through`, asked for each directory and those above it.
    pub fn let_through(&self, mut is_let_through: impl FnMut(&RelPath) -> bool) -> u64 {
        let passes = |(dir, _): &(&RelPath, &Loss)| above(dir).any(|dir| is_let_through(&dir));
        self.dirs.iter().filter(passes).map(|(_, loss)| loss.entries).sum()
    }
    /// Each directory that loses something, or one above it does, to which `what` gives something.
    pub fn dirs_above<T>(&self, what: impl Fn(&RelPath) -> Option<T>) -> Vec<(RelPath, T)> {
        let all: BTreeSet<RelPath> = self.dirs.keys().flat_map(above).collect();
        all.into_iter().filter_map(|dir| what(&dir).map(|given| (dir, given))).collect()
    }
    /// The directories that account for all but a minor part, the greatest loss first: the deepest that do, ten at most, and
    /// none in another. What is lost in directories for which `is_let_through` is left out.
    pub fn named(&self, is_let_through: &dyn Fn(&RelPath) -> bool) -> Vec<Losing> {
        let sums = self.sums(is_let_through);
        let Some(total) = sums.get(&RelPath::root()).map(|loss| loss.entries) else { return Vec::new() };
        let entries = |dir: &RelPath| sums.get(dir).map_or(0, |loss| loss.entries);
        let (mut open, mut named, mut minor) = (vec![RelPath::root()], Vec::new(), 0);
        while let Some(dir) = open.pop() {
            let is_great = |path: &&RelPath| entries(path) * 100 > total * MINOR_PERCENT;
            let below: Vec<RelPath> = children(&sums, &dir).filter(is_great).cloned().collect();
            let rest = entries(&dir) - below.iter().map(&entries).sum::<u64>();
            let is_split = !below.is_empty()
                && minor + rest <= MINOR_ENTRIES
                && open.len() + named.len() + below.len() <= NAMED;
            match is_split {
                true => {
                    minor += rest;
                    open.extend(below);
                }
                false => named.push(dir),
            }
        }
        named.sort_by(|a, b| entries(b).cmp(&entries(a)).then_with(|| a.cmp(b)));
        let one = |path: RelPath| Losing {
            entries: entries(&path),
            owner: sums.get(&path).and_then(Loss::most),
            path,
        };
        named.into_iter().map(one).collect()
    }
    /// What each directory loses with all that is below it.
    fn sums(&self, is_let_through: &dyn Fn(&RelPath) -> bool) -> BTreeMap<RelPath, Loss> {
        let mut sums: BTreeMap<RelPath, Loss> = BTreeMap::new();
        let counts = |dir: &RelPath| !above(dir).any(|dir| is_let_through(&dir));
        for (dir, loss) in self.dirs.iter().filter(|(dir, _)| counts(dir)) {
            above(dir).for_each(|dir| sums.entry(dir).or_default().add(loss));
        }
        sums
    }
    /// The directory that counts as the one of the entry at `path`.
    fn told(&self, path: &RelPath) -> RelPath {
        path.split().map_or_else(RelPath::root, |(dir, _)| self.cut(&dir))
    }
    fn cut(&self, dir: &RelPath) -> RelPath {
        let depth = (DEEPEST - self.levels_cut) as u32;
        if dir.depth() > depth { dir.at_depth(depth) } else { dir.clone() }
    }
    fn keep_few(&mut self) {
        while self.dirs.len() > TOLD_APART {
            self.cut_to(self.levels_cut + 1);
        }
    }
    fn cut_to(&mut self, levels: usize) {
        self.levels_cut = levels;
        for (dir, loss) in std::mem::take(&mut self.dirs) {
            self.dirs.entry(self.cut(&dir)).or_default().add(&loss);
        }
    }
}

/// A directory and all above it, the root last.
fn above(dir: &RelPath) -> impl Iterator<Item = RelPath> {
    std::iter::successors(Some(dir.clone()), |dir| Some(dir.split()?.0))
}

fn children<'a>(sums: &'a BTreeMap<RelPath, Loss>, dir: &'a RelPath) -> impl Iterator<Item = &'a RelPath> {
    sums.keys().filter(move |path| path.split().is_some_and(|(parent, _)| parent == *dir))
}

#[cfg(test)]
mod tests {
    use super::*;

    fn lost(losses: &mut Losses, dir: &str, entries: u64, owner: u32) {
        (0..entries).for_each(|n| losses.enter(&RelPath::from_bytes(format!("{dir}/{n}")), Some(owner)));
    }

    fn named(losses: &Losses) -> Vec<(String, u64)> {
        losses.named(&|_| false).iter().map(|one| (one.path.to_string(), one.entries)).collect()
    }

    #[test]
    fn the_deepest_directories_that_account_for_nearly_all_are_named_greatest_first() {
        let mut losses = Losses::default();
        lost(&mut losses, "home/alice/t", 2000, 1000);
        losses.enter(&RelPath::from_bytes("home/alice/t"), Some(1000));
        lost(&mut losses, "srv/big", 3000, 33);
        lost(&mut losses, "var/spool", 7, 0);
        assert_eq!(named(&losses), [("srv/big".into(), 3000), ("home/alice/t".into(), 2000)]);
        assert_eq!(losses.named(&|_| false)[1].owner, Some((1000, 2000)));
    }

    #[test]
    fn what_is_spread_evenly_is_named_by_the_directory_that_all_of_it_is_in() {
        let mut losses = Losses::default();
        (0..500).for_each(|n| lost(&mut losses, &format!("home/alice/m/{n}"), 4, n));
        assert_eq!(named(&losses), [("home/alice/m".into(), 2000)]);
        assert_eq!(losses.named(&|_| false)[0].owner, None, "nobody owns most of them");
    }

    #[test]
    fn whatever_is_named_is_few_and_leaves_little_out() {
        let mut losses = Losses::default();
        (0..30).for_each(|n| lost(&mut losses, &format!("d{n}"), 100 + n, 0));
        lost(&mut losses, "e/f", 3000, 0);
        let list = losses.named(&|_| false);
        assert!(list.len() <= NAMED, "{list:?}");
        let all: u64 = list.iter().map(|one| one.entries).sum();
        assert!(all + MINOR_ENTRIES >= 30 * 100 + 435 + 3000, "{list:?}");
    }

    #[test]
    fn more_directories_than_are_told_apart_count_as_those_they_are_in_whatever_the_order() {
        let path = |n: u64| RelPath::from_bytes(format!("a/{}/{n}/x", n % 7));
        let (mut one, mut other, mut rest) = (Losses::default(), Losses::default(), Losses::default());
        (0..9000).for_each(|n| one.enter(&path(n), None));
        (0..9000).rev().for_each(|n| if n % 2 == 0 { &mut other } else { &mut rest }.enter(&path(n), None));
        other.merge(rest);
        assert!(one.dirs.len() <= TOLD_APART && other.dirs.len() <= TOLD_APART);
        assert_eq!(named(&one), named(&other));
        assert_eq!(one.let_through(|dir| *dir == RelPath::from_bytes("a")), 9000);
    }

    #[test]
    fn what_is_let_through_is_named_no_more_and_what_is_taken_back_never_was() {
        let mut losses = Losses::default();
        lost(&mut losses, "home/alice", 2000, 1000);
        lost(&mut losses, "home/bob", 1500, 1001);
        losses.enter(&RelPath::from_bytes("kept/x"), None);
        losses.take_back(&RelPath::from_bytes("kept/x"));
        let alices = |dir: &RelPath| *dir == RelPath::from_bytes("home/alice");
        assert_eq!(losses.let_through(alices), 2000);
        let left = losses.named(&alices);
        assert_eq!((left.len(), left[0].path.to_string(), left[0].entries), (1, "home/bob".into(), 1500));
        assert!(!losses.dirs.contains_key(&RelPath::from_bytes("kept")));
    }
}
