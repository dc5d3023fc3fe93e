//! One directory's entries with their metadata, sorted by name.

use super::excludes::Excludes;
use super::merge::Keyed;
use super::relpath::RelPath;
use crate::sys::dir::read_names;
use crate::sys::stat::{Kind, Stat, stat_at};
use std::io;
use std::os::fd::OwnedFd;

/// The mirror's own directory at the root of its tree: neither copied, nor deleted, nor overwritten.
pub const OWN: &[u8] = b".diskmirror";

/// One entry.
#[derive(Debug)]
pub(super) struct Entry {
    /// Its name.
    pub name: Box<[u8]>,
    /// Its metadata; `None` if they could not be read: such an entry is left as it is, on both sides.
    pub stat: Option<Stat>,
}

impl Keyed for Entry {
    fn key(&self) -> &[u8] {
        &self.name
    }
}

/// A directory as it was read.
#[derive(Debug, Default)]
pub(super) struct Listing {
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
            match stat_at(dir, &named.name) {
                Ok(stat) if excludes.leaves_out(path, &named.name, stat.kind == Kind::Dir) => {
                    listing.left_out = true
                }
                Ok(stat) => listing.entries.push(Entry { name: named.name, stat: Some(stat) }),
                Err(error) if error.kind() == io::ErrorKind::NotFound => listing.vanished += 1,
                Err(error) => {
                    listing.unread.push((named.name.clone(), error));
                    listing.entries.push(Entry { name: named.name, stat: None });
                }
            }
        }
        listing.entries.sort_unstable_by(|a, b| a.name.cmp(&b.name));
        listing
    }
}
