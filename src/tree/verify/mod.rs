//! Compares two trees whole, contents too, and tells what of the difference is damage. Writes to neither.
//!
//! What the last run knew decides: an entry of the source whose inode and ctime are those of its row has not been changed
//! since the mirror's was equal. If the two differ all the same, one of them was changed without anybody having written to
//! it, and the hash that was taken of the copy says which. What has changed on the source since is no damage, and is only
//! counted.

mod amend;
mod dir;
mod file;
mod finding;
mod names;
mod share;

pub use finding::{Damage, Difference, Side, Verified, What};

use crate::monitor::{Monitor, Unit};
use crate::tree::base::fault::Error;
use crate::tree::base::relpath::RelPath;
use crate::tree::base::view::View;
use crate::tree::pass::{Options, Pass};
use crate::tree::scan::look::Room;
use crate::tree::scan::task::Task;
use crate::tree::scan::walk::each_dir;
use finding::Findings;
use names::Names;
use std::collections::BTreeSet;

/// A part of all files: those whose paths fall into one slot of so many. It takes `slots` of them to see every file.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Sample {
    /// How many parts there are; not 0.
    pub slots: u64,
    /// Which of them.
    pub slot: u64,
}

impl Sample {
    /// Everything.
    pub const ALL: Sample = Sample { slots: 1, slot: 0 };

    /// Whether the content of the entry at `path` belongs to it.
    fn takes(self, path: &RelPath) -> bool {
        let hash = || *blake3::hash(&path.to_bytes()).as_bytes();
        let number = || u64::from_le_bytes(*hash().first_chunk().expect("32 bytes are more than 8"));
        self.slots <= 1 || number() % self.slots == self.slot
    }
}

/// How much is looked at.
#[derive(Debug, Clone)]
pub enum Scope {
    /// Every entry's metadata, and the content of the sample's files; also what was found damaged on the mirror since the
    /// last run, and which the catalog therefore does not prove any more.
    Tree(Sample, BTreeSet<RelPath>),
    /// The content of the sample's files that the catalog proves, and nothing else: the mirror is asked for them only.
    Share(Sample),
}

/// Compares two trees. What is found damaged on the mirror is noted in the catalog, if `commit_doubts` is called.
///
/// # Errors
/// `Stopped`, and a root that cannot be opened; what concerns one entry is among what was found.
pub fn verify(
    source: &View,
    mirror: &View,
    options: &Options,
    scope: &Scope,
    monitor: &dyn Monitor,
) -> Result<Verified, Error> {
    let options = Options { compare_whole: true, ..options.clone() };
    let pass = Pass::new(source, mirror, &options, monitor)?;
    let none = BTreeSet::new();
    let (sample, known) = match scope {
        Scope::Tree(sample, known) => (*sample, known),
        Scope::Share(sample) => (*sample, &none),
    };
    let (findings, names) = (Findings::default(), Names::default());
    let verifying = Verifying { pass: &pass, sample, known, findings, names };
    monitor.begin("verifying", None, Unit::Entries);
    let walked = each_dir(&pass, vec![Task::root()], |task: &Task, room: &mut Room| match scope {
        Scope::Tree(..) => verifying.directory(task, room),
        Scope::Share(_) => verifying.share(task, room),
    });
    monitor.end();
    walked?;
    Ok(verifying.findings.into_verified())
}

/// A verification at work.
struct Verifying<'a> {
    pass: &'a Pass<'a>,
    sample: Sample,
    /// What was found damaged on the mirror, and has not been mended.
    known: &'a BTreeSet<RelPath>,
    findings: Findings,
    names: Names,
}
