//! Names of inodes that have several: the content is read once, and all names must lead to one inode of the mirror.

use crate::tree::base::relpath::RelPath;
use std::collections::HashMap;
use std::sync::Mutex;

/// What is known of an inode of the source.
struct Inode {
    mirror_ino: u64,
    verdict: Verdict,
}

enum Verdict {
    /// Somebody is reading it; these names have come since.
    Pending(Vec<RelPath>),
    Sound,
    Damaged,
}

/// What a name is to be done with.
#[derive(Debug, PartialEq, Eq)]
pub(super) enum Turn {
    /// It is the first: its content is to be read, and `close` called.
    First,
    /// The content is another name's affair.
    Other,
    /// That was found to be damaged.
    Damaged,
    /// It leads to another inode of the mirror than the first.
    Astray,
}

/// All inodes with several names, so far.
#[derive(Default)]
pub(super) struct Names(Mutex<HashMap<u64, Inode>>);

impl Names {
    /// Enters the name `path` of the inode `ino`, which is `mirror_ino` on the mirror.
    pub fn open(&self, ino: u64, mirror_ino: u64, path: &RelPath) -> Turn {
        let mut all = self.0.lock().expect("no thread panics while noting");
        let Some(inode) = all.get_mut(&ino) else {
            all.insert(ino, Inode { mirror_ino, verdict: Verdict::Pending(Vec::new()) });
            return Turn::First;
        };
        if inode.mirror_ino != mirror_ino {
            return Turn::Astray;
        }
        match &mut inode.verdict {
            Verdict::Pending(names) => {
                names.push(path.clone());
                Turn::Other
            }
            Verdict::Sound => Turn::Other,
            Verdict::Damaged => Turn::Damaged,
        }
    }
    /// Says how the first name's content was found. Gives back the names that have come since, if it is damaged.
    pub fn close(&self, ino: u64, damaged: bool) -> Vec<RelPath> {
        let mut all = self.0.lock().expect("no thread panics while noting");
        let Some(inode) = all.get_mut(&ino) else { return Vec::new() };
        let verdict = if damaged { Verdict::Damaged } else { Verdict::Sound };
        match std::mem::replace(&mut inode.verdict, verdict) {
            Verdict::Pending(names) if damaged => names,
            _ => Vec::new(),
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_content_is_read_once_and_every_name_of_a_damaged_inode_is_told() {
        let (names, path) = (Names::default(), |name: &str| RelPath::from_bytes(name));
        assert_eq!(names.open(1, 10, &path("a")), Turn::First);
        assert_eq!(names.open(1, 10, &path("b")), Turn::Other);
        assert_eq!(names.open(1, 11, &path("c")), Turn::Astray);
        assert_eq!(names.close(1, true), [path("b")]);
        assert_eq!(names.open(1, 10, &path("d")), Turn::Damaged);
        assert_eq!(names.open(2, 12, &path("e")), Turn::First);
        assert_eq!(names.close(2, false), []);
        assert_eq!(names.open(2, 12, &path("f")), Turn::Other);
    }
}
