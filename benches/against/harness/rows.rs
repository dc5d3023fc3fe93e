//! The rows of the bench: to add one, add it to `ROWS`. Work of a new kind also needs an arm in `work`, a tool one in
//! `tools`, a tree one in `trees`.

use super::server::Server;
use super::tools::Tool;
use anyhow::bail;
use serde::{Deserialize, Serialize};

/// What is copied.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord)]
pub enum Tree {
    /// The system that the bench runs on.
    T1,
    /// A million small files.
    T2,
    /// Few large files, one of them sparse.
    T3,
    /// Three million entries without content.
    T4,
    /// A million names of half as many files.
    T5,
    /// No tree, but a block device.
    Device,
}

/// All of them, in the order in which they are measured.
const TREES: [Tree; 6] = [Tree::T1, Tree::T2, Tree::T3, Tree::T4, Tree::T5, Tree::Device];

/// What is done, and so what must be true before it is done.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Work {
    /// Into a new file system.
    FirstCopy,
    /// The same, while a server works on the source's file system: what counts is how long its requests take.
    Beside(Server),
    /// Both sides are equal.
    NoChange,
    /// So they are, and their contents are compared.
    Verify,
    /// One file in a thousand has been written to since the last copy; of large files, one block of the first.
    Changed,
    /// A device is overwritten.
    Fill,
}

/// What the page cache holds when the time begins.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Caches {
    /// What the same work left there.
    Warm,
    /// Nothing.
    Cold,
}

/// What is hoped for.
#[derive(Debug, Clone, Copy, PartialEq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum Goal {
    /// The time, divided by that of the tool it is compared with, is at most this.
    Ratio(f64),
    /// The largest process needs at most so much memory.
    PeakMib(u64),
    /// Nothing was set.
    Open,
}

/// One row.
#[derive(Debug)]
pub struct Row {
    /// Names it in BENCH_ROWS and in the results. Never reused for another meaning.
    pub key: &'static str,
    /// What is done, for people.
    pub title: &'static str,
    /// To what.
    pub tree: Tree,
    /// What is done.
    pub work: Work,
    /// From which state of the page cache.
    pub caches: Caches,
    /// The pair: what is measured, and against what.
    pub ours: Tool,
    /// The other half of the pair.
    pub against: Tool,
    /// More tools, for context.
    pub others: &'static [Tool],
    /// What is hoped for.
    pub goal: Goal,
}

use Caches::{Cold, Warm};
use Goal::{Open, PeakMib, Ratio};
use Work::{Beside, Changed, Fill, FirstCopy, NoChange, Verify};

/// `key, title, tree, work, caches, ours, against, others, goal`: a line of the table below.
#[rustfmt::skip]
#[allow(clippy::too_many_arguments)]
const fn row(
    key: &'static str, title: &'static str, tree: Tree, work: Work, caches: Caches,
    ours: Tool, against: Tool, others: &'static [Tool], goal: Goal,
) -> Row {
    Row { key, title, tree, work, caches, ours, against, others, goal }
}

/// In place of a part of a key: nothing is measured, and the page is written from what is kept.
const NO_ROW: &str = "none";

const COPIERS: &[Tool] = &[Tool::Cp, Tool::Tar, Tool::Rclone];
/// A first copy with a fixed limit, and none at all.
const BESIDE: &[Tool] = &[Tool::SyncLimited, Tool::Nobody];
const NONE: &[Tool] = &[];

/// Every row. Those of one tree are measured in this order: first copies first, because they leave the copies that
/// the others need.
#[rustfmt::skip]
pub const ROWS: &[Row] = &[
    row("first-copy-t1-cold", "first copy, T1 cold", Tree::T1, FirstCopy, Cold, Tool::Sync, Tool::Rsync, COPIERS, Ratio(0.60)),
    row("no-change-t1-warm-catalog", "no change, T1 warm, with catalog", Tree::T1, NoChange, Warm, Tool::SyncCatalog, Tool::Rsync, NONE, Ratio(0.11)),
    row("no-change-t1-warm", "no change, T1 warm, without catalog", Tree::T1, NoChange, Warm, Tool::Sync, Tool::Rsync, NONE, Ratio(0.22)),
    row("no-change-t1-cold-catalog", "no change, T1 cold, with catalog", Tree::T1, NoChange, Cold, Tool::SyncCatalog, Tool::Rsync, NONE, Open),
    row("no-change-t1-cold", "no change, T1 cold, without catalog", Tree::T1, NoChange, Cold, Tool::Sync, Tool::Rsync, NONE, Open),
    row("verify-t1-cold", "both sides read and compared, T1 cold (verify, the mirror's disk open already)", Tree::T1, Verify, Cold, Tool::Verify, Tool::RsyncChecksum, NONE, Ratio(0.70)),
    row("memory-verify-t1", "memory, both sides read and compared, T1", Tree::T1, Verify, Cold, Tool::Verify, Tool::RsyncChecksum, NONE, PeakMib(64)),

    row("first-copy-t2-cold", "first copy, T2 cold", Tree::T2, FirstCopy, Cold, Tool::Sync, Tool::Rsync, COPIERS, Ratio(0.60)),
    row("no-change-t2-warm-catalog", "no change, T2 warm, with catalog", Tree::T2, NoChange, Warm, Tool::SyncCatalog, Tool::Rsync, NONE, Ratio(0.06)),
    row("no-change-t2-warm", "no change, T2 warm, without catalog", Tree::T2, NoChange, Warm, Tool::Sync, Tool::Rsync, NONE, Ratio(0.15)),
    row("no-change-t2-cold-catalog", "no change, T2 cold, with catalog", Tree::T2, NoChange, Cold, Tool::SyncCatalog, Tool::Rsync, NONE, Ratio(0.14)),
    row("no-change-t2-cold", "no change, T2 cold, without catalog", Tree::T2, NoChange, Cold, Tool::Sync, Tool::Rsync, NONE, Ratio(0.33)),
    row("changed-t2-warm-catalog", "0.1 % of T2 changed, warm, with catalog", Tree::T2, Changed, Warm, Tool::SyncCatalog, Tool::Rsync, NONE, Ratio(0.08)),
    row("memory-t2-catalog", "memory, no change, 1 M entries, with catalog", Tree::T2, NoChange, Warm, Tool::SyncCatalog, Tool::Rsync, NONE, PeakMib(64)),
    row("memory-t2", "memory, no change, 1 M entries, without catalog", Tree::T2, NoChange, Warm, Tool::Sync, Tool::Rsync, NONE, PeakMib(64)),

    row("first-copy-t3-cold", "first copy, T3 cold (rsync with -S)", Tree::T3, FirstCopy, Cold, Tool::Sync, Tool::RsyncSparse, COPIERS, Ratio(0.40)),

    row("changed-t3-warm-catalog", "4 KiB changed in a 4 GiB file, T3 warm, with catalog (rsync with -S)", Tree::T3, Changed, Warm, Tool::SyncCatalog, Tool::RsyncSparse, NONE, Ratio(0.35)),
    row("server-reads-t3", "a server reads, T3 cold", Tree::T3, Beside(Server::Reads), Cold, Tool::SyncConsiderate, Tool::RsyncIdle, BESIDE, Open),
    row("server-fsyncs-t3", "a server writes and flushes, T3 cold", Tree::T3, Beside(Server::Fsyncs), Cold, Tool::SyncConsiderate, Tool::RsyncIdle, BESIDE, Open),

    row("memory-t4-catalog", "memory, no change, 3 M entries, with catalog", Tree::T4, NoChange, Warm, Tool::SyncCatalog, Tool::Rsync, NONE, PeakMib(96)),
    row("memory-t4", "memory, no change, 3 M entries, without catalog", Tree::T4, NoChange, Warm, Tool::Sync, Tool::Rsync, NONE, PeakMib(96)),
    row("memory-t5-catalog", "memory, no change, 1 M hard-linked names, with catalog", Tree::T5, NoChange, Warm, Tool::SyncCatalog, Tool::Rsync, NONE, PeakMib(64)),
    row("memory-t5", "memory, no change, 1 M hard-linked names, without catalog", Tree::T5, NoChange, Warm, Tool::Sync, Tool::Rsync, NONE, PeakMib(64)),

    row("fill-random-dd", "random fill of a device, against dd if=/dev/urandom", Tree::Device, Fill, Cold, Tool::FillRandom, Tool::DdRandom, NONE, Ratio(1.0 / 6.0)),
    row("fill-random-zeros", "random fill of a device, against writing zeros", Tree::Device, Fill, Cold, Tool::FillRandom, Tool::FillZero, &[Tool::DdZero], Ratio(1.25)),
];

impl Row {
    /// Rows that are about memory need no more than one round: it does not depend on what else runs.
    pub fn rounds(&self, asked: u32) -> u32 {
        if matches!(self.goal, PeakMib(_)) { 1 } else { asked }
    }
}

impl Tree {
    /// What it is called in variables, titles and results.
    pub fn name(self) -> &'static str {
        match self {
            Tree::T1 => "T1",
            Tree::T2 => "T2",
            Tree::T3 => "T3",
            Tree::T4 => "T4",
            Tree::T5 => "T5",
            Tree::Device => "device",
        }
    }
    /// The one of this name.
    pub fn named(name: &str) -> anyhow::Result<Tree> {
        match TREES.iter().find(|tree| tree.name().eq_ignore_ascii_case(name)) {
            Some(tree) => Ok(*tree),
            None => bail!("there is no tree {name:?}: {}", TREES.map(Tree::name).join(", ")),
        }
    }
}

/// The rows whose key has one of `parts` in it, of `trees`; an empty list leaves the choice open, and `none` is no row.
///
/// # Errors
/// A part that is in no key.
pub fn chosen(parts: &[String], trees: &[Tree]) -> anyhow::Result<Vec<&'static Row>> {
    let is_known = |part: &&String| *part == NO_ROW || ROWS.iter().any(|row| row.key.contains(part.as_str()));
    if let Some(part) = parts.iter().find(|part| !is_known(part)) {
        let keys: Vec<&str> = ROWS.iter().map(|row| row.key).collect();
        bail!("BENCH_ROWS: no row has {part:?} in its key: {}", keys.join(" "));
    }
    let named = |row: &Row| parts.is_empty() || parts.iter().any(|part| row.key.contains(part.as_str()));
    let planted = |row: &Row| trees.is_empty() || trees.contains(&row.tree);
    Ok(ROWS.iter().filter(|row| named(row) && planted(row)).collect())
}

/// The trees that rows need, each once.
pub fn trees_of(rows: &[&Row]) -> Vec<Tree> {
    TREES.into_iter().filter(|tree| rows.iter().any(|row| row.tree == *tree)).collect()
}

#[cfg(test)]
mod tests {
    use super::{ROWS, Tree, chosen, trees_of};
    use std::collections::BTreeSet;

    #[test]
    fn a_key_names_one_row() {
        let keys: BTreeSet<&str> = ROWS.iter().map(|row| row.key).collect();
        assert_eq!(keys.len(), ROWS.len());
    }

    #[test]
    fn rows_are_chosen_by_a_part_of_their_key_and_by_tree() {
        let chosen = |part: &str, trees: &[Tree]| chosen(&[part.to_owned()], trees);
        let first = chosen("first-copy", &[Tree::T3, Tree::T1]).expect("there are such rows");
        assert_eq!(trees_of(&first), [Tree::T1, Tree::T3]);
        assert!(chosen("none", &[]).expect("this is no mistake").is_empty());
        assert!(chosen("first-copies", &[]).is_err());
    }
}
