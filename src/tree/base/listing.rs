//! One directory's entries with their metadata, sorted by name.

use crate::sys::dir::read_names;
use crate::sys::stat::{Kind, Stat, stat_at};
use crate::tree::base::excludes::Excludes;
use crate::tree::base::merge::Keyed;
use crate::tree::base::relpath::RelPath;
use std::io;
use std::os::fd::OwnedFd;

/// The mirror's own directory at the root of its tree: neither copied, nor deleted, nor overwritten.
pub const OWN: &[u8] = b".diskmirror";

/// One entry.
#[derive(Debug)]
pub(in crate::tree) struct Entry {
    /// Its name.
    pub name: Box<[u8]>,
    /// Its metadata; `None` if they could not be read: such an entry is left as it is, on both sides.
    pub stat: Option<Stat>,
    /// Whether the catalog proves that it is as it was when the mirror's was equal.
    pub proven: bool,
    /// Where in its directory's block the hash of its content belongs, counted from 1; 0 if it has none.
    pub slot: u64,
}

impl Entry {
    /// One of which the catalog says nothing.
    pub fn new(name: &[u8], stat: Option<Stat>) -> Self {
        Entry { name: name.into(), stat, proven: false, slot: 0 }
    }
}

impl Keyed for Entry {
    fn key(&self) -> &[u8] {
        &self.name
    }
}

/// A directory as it was read.
#[derive(Debug, Default)]
pub(in crate::tree) struct Listing {
    /// Sorted by name, without what is left out.
    pub entries: Vec<Entry>,
    /// Names that vanished before their metadata was read.
    pub vanished: u64,
    /// Entries whose metadata could not be read, and why.
    pub unread: Vec<(Box<[u8]>, io::Error)>,
    /// Why the names could not be read to their end.
    pub cut_short: Option<io::Error>,
    /// Whether something was left out by a pattern.
    pub left_out: bool,
}

impl Listing {
    /// Reads the directory `path`, open as `dir`. Metadata is read in the order of the inodes, which is that of the disk.
    pub fn read(dir: &OwnedFd, path: &RelPath, excludes: &Excludes) -> Listing {
        let (mut names, cut_short) = read_names(dir);
        names.sort_unstable_by_key(|named| named.ino);
        let mut listing = Listing { cut_short, ..Listing::default() };
        listing.entries.reserve(names.len());
        for named in names {
            if path.is_root() && *named.name == *OWN {
                continue;
            }
            listing
                .add(dir, &named.name, |stat| excludes.leaves_out(path, &named.name, stat.kind == Kind::Dir));
        }
        listing.entries.sort_unstable_by(|a, b| a.name.cmp(&b.name));
        listing
    }
    /// Those of `names`, sorted, that the directory has.
    pub fn of_names<'a>(dir: &OwnedFd, names: impl Iterator<Item = &'a [u8]>) -> Listing {
        let mut listing = Listing::default();
        for name in names {
            listing.add(dir, name, |_| false);
        }
        listing
    }
    /// Looks at one name, and adds what is there.
    pub fn add(&mut self, dir: &OwnedFd, name: &[u8], leaves_out: impl Fn(&Stat) -> bool) {
        match stat_at(dir, name) {
            Ok(stat) if leaves_out(&stat) => self.left_out = true,
            Ok(stat) => self.entries.push(Entry::new(name, Some(stat))),
            Err(error) if error.kind() == io::ErrorKind::NotFound => self.vanished += 1,
            Err(error) => {
                self.unread.push((name.into(), error));
                self.entries.push(Entry::new(name, None));
            }
        }
    }
}
