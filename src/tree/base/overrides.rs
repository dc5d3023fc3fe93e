//! What the mirror shall hold where that is not what the source holds: a finite set of files, decided before the scan.
//! The engine compares with it and makes it; why it is so, others know.

use crate::tree::base::relpath::RelPath;
use std::collections::HashMap;

/// The content of one file: the first `source_bytes` bytes of the source's, then `then`. Everything else about the file is
/// the source's.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Want {
    /// Bytes of the source's content. If any, it is all of it: a source of another size has changed since this was decided.
    pub(in crate::tree) source_bytes: u64,
    /// What follows.
    pub(in crate::tree) then: Vec<u8>,
}

impl Want {
    /// This content, whatever the source's is.
    pub fn bytes(bytes: Vec<u8>) -> Self {
        Want { source_bytes: 0, then: bytes }
    }
    /// The source's content, of this length, and this behind it.
    pub fn source_then(source_bytes: u64, then: Vec<u8>) -> Self {
        Want { source_bytes, then }
    }
    /// Bytes in all.
    pub fn length(&self) -> u64 {
        self.source_bytes + self.then.len() as u64
    }
    /// Whether a source of `size` bytes is not the one that this was decided for.
    pub(in crate::tree) fn is_outdated(&self, size: u64) -> bool {
        self.source_bytes != 0 && self.source_bytes != size
    }
}

/// The files of one tree that shall hold something else, by directory and name.
#[derive(Debug, Clone, Default)]
pub struct Wanted(HashMap<RelPath, InDir>);

/// Those of one directory.
pub(in crate::tree) type InDir = HashMap<Box<[u8]>, Want>;

impl Wanted {
    /// Enters one file by its path below the root of the tree.
    pub fn insert(&mut self, path: &RelPath, want: Want) {
        if let Some((dir, name)) = path.split() {
            self.0.entry(dir).or_default().insert(name.into(), want);
        }
    }
    /// Those of a directory.
    pub(in crate::tree) fn in_dir(&self, dir: &RelPath) -> Option<&InDir> {
        self.0.get(dir)
    }
    /// That of the entry `name` of a directory.
    pub(in crate::tree) fn of(&self, dir: &RelPath, name: &[u8]) -> Option<&Want> {
        self.in_dir(dir)?.get(name)
    }
}
