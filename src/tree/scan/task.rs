//! A directory that is still to be compared.

use crate::tree::base::relpath::RelPath;

/// A directory to compare.
#[derive(Debug, Clone)]
pub(in crate::tree) struct Task {
    /// Its path.
    pub path: RelPath,
    /// Where the mirror has it until it is renamed there; none if under the same path.
    pub mirror: Option<RelPath>,
    /// Which directory of the source it was when its name was read; none for the root.
    pub ino: Option<u64>,
    /// What is known of the mirror's.
    pub known: Known,
}

impl Task {
    /// The whole tree.
    pub fn root() -> Task {
        Task { path: RelPath::root(), mirror: None, ino: None, known: Known::Catalog }
    }
    /// Where the mirror has it.
    pub fn on_mirror(&self) -> &RelPath {
        self.mirror.as_ref().unwrap_or(&self.path)
    }
}

/// What is known of the mirror's side of a directory.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(in crate::tree) enum Known {
    /// The mirror does not have it.
    Nothing,
    /// It has to be asked.
    Mirror,
    /// It is what the catalog says, if that says anything.
    Catalog,
}
