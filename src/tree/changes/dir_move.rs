//! A directory that is renamed on the mirror.

use crate::tree::base::relpath::RelPath;
use crate::tree::changes::links::DirAt;

/// A directory to be renamed on the mirror.
#[derive(Debug, Clone)]
pub(in crate::tree) struct DirMove {
    /// Where the mirror has it; none for a new one, which takes the place of what is moved into it afterwards.
    pub from: Option<RelPath>,
    /// The directory that loses it.
    pub old_parent: DirAt,
    /// The directory that gets it.
    pub parent: DirAt,
    /// Its new name.
    pub name: Box<[u8]>,
    /// Which directory of the source it is.
    pub ino: u64,
}

impl DirMove {
    /// Its new path.
    pub fn to(&self) -> RelPath {
        self.parent.path.join(&self.name)
    }
    /// Where the mirror has what stands in its place.
    pub fn place(&self) -> RelPath {
        self.parent.on_mirror().join(&self.name)
    }
}
