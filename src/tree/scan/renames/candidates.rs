//! What has come, what has gone, and what of it is the same: the terms of the search for renames. Pure.

use crate::sys::stat::Kind;
use crate::tree::base::relpath::RelPath;
use crate::tree::changes::links::DirAt;
use crate::tree::memory::catalog::DirKey;
use crate::tree::scan::look::Former;
use crate::tree::scan::survey::Place;

/// A directory of the source that the catalog does not know under its name.
#[derive(Debug)]
pub(in crate::tree) struct Arrived {
    pub parent: DirAt,
    pub name: Box<[u8]>,
    pub key: DirKey,
    /// What the mirror has under that name.
    pub over: Option<Kind>,
}

impl Arrived {
    /// Its path.
    pub fn path(&self) -> RelPath {
        self.parent.path.join(&self.name)
    }
    /// Where the mirror has what has its name.
    pub fn place(&self) -> RelPath {
        self.parent.on_mirror().join(&self.name)
    }
}

/// An entry that the catalog knows, and whose name is gone.
#[derive(Debug)]
pub(in crate::tree) struct Left {
    pub dir: DirAt,
    pub entry: Former,
    pub goes: Goes,
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

/// What is known of where a directory has gone.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(in crate::tree) enum Fate {
    /// Nothing yet.
    Open,
    /// It is renamed.
    Moved,
    /// It stays, and is made equal to the one that has come under its name, whose inode is this.
    Taken(u64),
}

/// A directory of the mirror whose name is gone.
#[derive(Debug)]
pub(in crate::tree) struct LeftDir {
    pub dir: DirAt,
    pub name: Box<[u8]>,
    pub goes: Goes,
    pub fate: Fate,
    /// Whether what was in it is known.
    pub opened: bool,
}

impl LeftDir {
    /// Where it is, and where it will be.
    pub fn place(&self) -> Place {
        Place { path: self.dir.path.join(&self.name), mirror: self.dir.on_mirror().join(&self.name) }
    }
}
