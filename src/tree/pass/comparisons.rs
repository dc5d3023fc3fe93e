//! What was found when contents were compared, for all names of an inode.

use crate::sys::stat::{Stat, Timestamp};
use crate::tree::base::fault::Fault;
use std::collections::HashMap;
use std::sync::{Arc, Mutex};

/// What two files have in common that are the same.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(in crate::tree) struct Common {
    /// BLAKE3 of their content; none if they are nearly all holes.
    pub hash: Option<[u8; 32]>,
}

/// What was found of inodes with several names: their content is read once, and not once a name.
#[derive(Debug, Default)]
pub(in crate::tree) struct Comparisons(Mutex<HashMap<Inodes, Arc<Found>>>);

/// An inode of the source and one of the mirror, each as it was: inode and ctime.
type Inodes = [(u64, Timestamp); 2];
/// What they have in common, once somebody has looked.
type Found = Mutex<Option<Option<Common>>>;

/// So many are kept: beyond that some are read again.
const COMPARISONS: usize = 1 << 16;

impl Comparisons {
    /// What `read` finds of a pair of inodes, or found of it before.
    pub fn of(
        &self,
        (a, b): (&Stat, &Stat),
        read: impl FnOnce() -> Result<Option<Common>, Fault>,
    ) -> Result<Option<Common>, Fault> {
        if a.nlink == 1 || b.nlink == 1 {
            return read();
        }
        let found = self.entry([(a.ino, a.ctime), (b.ino, b.ctime)]);
        // Whoever comes meanwhile for another name waits.
        let mut found = found.lock().expect("no thread panics while comparing");
        match *found {
            Some(common) => Ok(common),
            None => Ok(*found.insert(read()?)),
        }
    }
    fn entry(&self, inodes: Inodes) -> Arc<Found> {
        let mut all = self.0.lock().expect("no thread panics while comparing");
        if all.len() >= COMPARISONS {
            all.clear();
        }
        all.entry(inodes).or_default().clone()
    }
}
