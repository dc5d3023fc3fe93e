//! What has come, what has gone, and what of it is the same: the terms of the search for renames. Pure.

use crate::sys::stat::Kind;
use crate::tree::base::relpath::RelPath;
use crate::tree::changes::links::DirAt;
use crate::tree::memory::catalog::DirKey;
use crate::tree::scan::look::{Former, Goes};
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

/// What the catalog knows in a directory, and whose names are gone.
#[derive(Debug)]
pub(in crate::tree) struct Left {
    pub dir: DirAt,
    pub entries: Vec<Former>,
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
