//! Files of the source that are known to be damaged, and what of them must not reach the mirror.

use crate::sys::stat::{Timestamp, stat_at};
use crate::tree::base::relpath::RelPath;
use crate::tree::base::view::View;
use std::collections::BTreeMap;
use std::sync::{Arc, Mutex, MutexGuard};

/// What is known of one such file.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Hold {
    /// Its inode.
    pub ino: u64,
    /// Its ctime when its content was last looked at.
    pub ctime: Timestamp,
    /// BLAKE3 of the content that must not reach the mirror.
    pub bad: [u8; 32],
    /// BLAKE3 of the content that the mirror has.
    pub good: [u8; 32],
    /// Whether it was found to be good again: then it is looked at before anything is withheld.
    pub is_doubtful: bool,
    /// Whether it may reach it all the same, this time.
    pub accepted: bool,
}

/// All of one tree, by path. Clones share what they know.
#[derive(Debug, Clone, Default)]
pub struct Held(Arc<Mutex<BTreeMap<RelPath, Hold>>>);

impl Held {
    /// These.
    pub fn new(holds: impl IntoIterator<Item = (RelPath, Hold)>) -> Self {
        Held(Arc::new(Mutex::new(holds.into_iter().collect())))
    }
    fn all(&self) -> MutexGuard<'_, BTreeMap<RelPath, Hold>> {
        self.0.lock().expect("no thread panics while noting")
    }
    /// Whether there are none.
    pub fn is_empty(&self) -> bool {
        self.all().is_empty()
    }
    /// What is held by now.
    pub fn holds(&self) -> Vec<(RelPath, Hold)> {
        self.all().iter().map(|(path, hold)| (path.clone(), *hold)).collect()
    }
    /// Notes that one was found to be good again.
    pub fn doubt(&self, path: &RelPath) {
        self.all().entry(path.clone()).and_modify(|hold| hold.is_doubtful = true);
    }
    /// Enters one, or what is newly known of it.
    pub fn put(&self, path: RelPath, hold: Hold) {
        self.all().insert(path, hold);
    }
    /// Lets one go.
    pub fn release(&self, path: &RelPath) {
        self.all().remove(path);
    }
    /// That of a path.
    pub fn get(&self, path: &RelPath) -> Option<Hold> {
        self.all().get(path).copied()
    }
    /// Whether the content of a path is to reach the mirror all the same.
    pub fn accepts(&self, path: &RelPath) -> bool {
        self.get(path).is_some_and(|hold| hold.accepted)
    }
    /// That of a path, or of another name of its inode.
    pub(in crate::tree) fn of(&self, path: &RelPath, ino: u64) -> Option<(RelPath, Hold)> {
        let all = self.all();
        let found = all.get_key_value(path).or_else(|| all.iter().find(|(_, hold)| hold.ino == ino));
        found.map(|(path, hold)| (path.clone(), *hold))
    }
}

/// Whether nothing is at `path` any more.
pub fn is_absent(source: &View, path: &RelPath) -> bool {
    let Some((dir, name)) = path.split() else { return false };
    let looked = source.open_dir(&dir).and_then(|dir| stat_at(&dir, name));
    looked.is_err_and(|error| matches!(error.raw_os_error(), Some(libc::ENOENT | libc::ENOTDIR)))
}
