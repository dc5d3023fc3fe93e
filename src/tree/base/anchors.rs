//! Directories on the way to others, kept open: whoever works through a deep tree does not go through all of it from the
//! root for each directory.
//!
//! Only where a path is longer than what the kernel takes at once. What is kept leads to a directory and not to a path:
//! when a directory is renamed, all are to be given up (`View::forget_ways`); one that was removed leads nowhere, and is
//! found out by that.

use crate::sys::dir::{PATH_CHUNK, open_dir, open_way};
use crate::tree::base::relpath::RelPath;
use std::collections::HashMap;
use std::io;
use std::os::fd::{AsFd, BorrowedFd, OwnedFd};
use std::sync::{Arc, Mutex};

/// So many are kept at most.
const MOST: usize = 64;

/// The directories of one tree that are kept open.
#[derive(Debug, Default)]
pub(in crate::tree) struct Anchors(Mutex<Kept>);

#[derive(Debug, Default)]
struct Kept {
    /// Each with the count at its last use.
    ways: HashMap<RelPath, (Arc<OwnedFd>, u64)>,
    uses: u64,
}

impl Kept {
    fn get(&mut self, path: &RelPath) -> Option<Arc<OwnedFd>> {
        let (way, used) = self.ways.get_mut(path)?;
        self.uses += 1;
        *used = self.uses;
        Some(way.clone())
    }
    fn put(&mut self, path: RelPath, way: Arc<OwnedFd>) {
        self.uses += 1;
        self.ways.insert(path, (way, self.uses));
        if self.ways.len() > MOST {
            let oldest = self.ways.iter().min_by_key(|(_, (_, used))| *used);
            if let Some(oldest) = oldest.map(|(path, _)| path.clone()) {
                self.ways.remove(&oldest);
            }
        }
    }
}

impl Anchors {
    fn kept(&self) -> std::sync::MutexGuard<'_, Kept> {
        self.0.lock().expect("no thread panics while keeping")
    }
    /// Gives all of them up.
    pub fn clear(&self) {
        self.kept().ways.clear();
    }
    /// Opens the directory `path` beneath `root`.
    pub fn open(&self, root: &OwnedFd, path: &RelPath) -> io::Result<OwnedFd> {
        let Some((parent, name)) = path.split().filter(|_| path.len() > PATH_CHUNK) else {
            return open_dir(root, &path.to_bytes());
        };
        match self.way(root, &parent).and_then(|way| open_dir(&*way, name)) {
            // One on the way may have been removed, and made anew since.
            Err(error) if error.kind() == io::ErrorKind::NotFound => {
                self.clear();
                open_dir(&*self.way(root, &parent)?, name)
            }
            other => other,
        }
    }
    /// The directory `path`, to go on from, by way of the nearest one above it that is kept.
    fn way(&self, root: &OwnedFd, path: &RelPath) -> io::Result<Arc<OwnedFd>> {
        let (mut open, mut from) = (Vec::new(), None);
        for dir in path.ancestors() {
            from = self.kept().get(&dir);
            if from.is_some() {
                break;
            }
            open.push(dir);
        }
        while !open.is_empty() {
            let base: BorrowedFd<'_> = from.as_ref().map_or(root.as_fd(), |from| from.as_fd());
            let (names, dir) = stretch(&mut open);
            let next = Arc::new(open_way(base, &names)?);
            self.kept().put(dir, next.clone());
            from = Some(next);
        }
        from.map_or_else(|| Ok(Arc::new(open_way(root, b".")?)), Ok)
    }
}

/// Takes as many directories from the end of `open`, where the uppermost is, as the kernel takes at once: their names as
/// one path, and the last of them.
fn stretch(open: &mut Vec<RelPath>) -> (Vec<u8>, RelPath) {
    let (mut names, mut dir) = (Vec::new(), RelPath::root());
    while let Some(next) = open.last() {
        let Some((_, name)) = next.split() else { break };
        if !names.is_empty() && names.len() + 1 + name.len() > PATH_CHUNK {
            break;
        }
        names.extend((!names.is_empty()).then_some(b'/'));
        names.extend(name);
        dir = next.clone();
        open.pop();
    }
    (names, dir)
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::sys::dir::{make_dir, open_root, remove_dir, rename};
    use crate::sys::stat::stat_fd;

    const NAME: &[u8] = &[b'n'; 250];

    /// A chain of directories with long names in a new directory: that, and the path of each.
    fn chain(levels: usize) -> (tempfile::TempDir, OwnedFd, Vec<RelPath>) {
        let dir = tempfile::tempdir().expect("a temporary directory");
        let root = open_root(dir.path()).expect("open");
        let (mut paths, mut at) = (vec![RelPath::root()], open_dir(&root, b"").expect("open"));
        for _ in 0..levels {
            make_dir(&at, NAME).expect("made");
            at = open_dir(&at, NAME).expect("opened");
            paths.push(paths[paths.len() - 1].join(NAME));
        }
        (dir, root, paths)
    }

    fn ino(opened: io::Result<OwnedFd>) -> u64 {
        stat_fd(opened.expect("opened")).expect("examined").ino
    }

    #[test]
    fn every_directory_of_a_deep_tree_is_reached_in_any_order_with_few_descriptors() {
        let (_dir, root, paths) = chain(300);
        let (anchors, whole): (Anchors, Vec<u64>) =
            (Anchors::default(), paths.iter().map(|path| ino(open_dir(&root, &path.to_bytes()))).collect());
        for at in (0..=300).chain((0..=300).rev()).chain([299, 1, 300, 150]) {
            assert_eq!(ino(anchors.open(&root, &paths[at])), whole[at], "{at}");
            assert!(anchors.kept().ways.len() <= MOST);
        }
    }

    #[test]
    fn a_directory_that_was_removed_and_made_anew_is_found_again() {
        let (_dir, root, paths) = chain(40);
        let anchors = Anchors::default();
        let parent = anchors.open(&root, &paths[39]).expect("opened");
        let old = ino(anchors.open(&root, &paths[40]));
        let below = paths[40].join(b"x");
        assert!(anchors.open(&root, &below).is_err(), "now its directory is kept");
        remove_dir(&parent, NAME).expect("removed");
        assert!(anchors.open(&root, &below).is_err());
        // Another inode, because the old one's is not free yet.
        make_dir(&parent, b"other").expect("made");
        make_dir(&parent, NAME).expect("made");
        make_dir(open_dir(&parent, NAME).expect("opened"), b"x").expect("made");
        assert_ne!(ino(anchors.open(&root, &below)), old);
    }

    #[test]
    fn when_a_directory_was_renamed_what_was_kept_leads_nowhere_else() {
        let (_dir, root, paths) = chain(40);
        let anchors = Anchors::default();
        anchors.open(&root, &paths[40]).expect("opened");
        rename(&root, NAME, &root, b"renamed").expect("renamed");
        anchors.clear();
        let error = anchors.open(&root, &paths[40]).expect_err("nothing is there");
        assert_eq!(error.kind(), io::ErrorKind::NotFound);
    }
}
