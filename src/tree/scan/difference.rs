//! In what two entries of one name differ, at the least cost at which it can be told.

use crate::sys::dir::{Handle, open_path, open_read, read_symlink};
use crate::sys::stat::{Kind, Stat, Timestamp};
use crate::tree::base::fault::{Fault, Sided};
use crate::tree::base::listing::Entry;
use crate::tree::base::overrides::{InDir, Want};
use crate::tree::changes::change::Aspects;
use crate::tree::content::compare as content;
use crate::tree::content::ends_as;
use crate::tree::entry::attrs::{compare, compare_stats};
use crate::tree::memory::catalog::HASH;
use crate::tree::pass::Pass;
use crate::tree::pass::comparisons::Common;
use std::cell::Cell;
use std::io;

/// One directory's two sides, open.
pub(in crate::tree) struct Sides<'a> {
    pub pass: &'a Pass<'a>,
    pub source: Handle,
    /// None if the mirror does not have it.
    pub mirror: Option<Handle>,
    /// Entries whose content shall not be the source's.
    pub wanted: Option<&'a InDir>,
    /// BLAKE3 of the content that was read last and found to be the same.
    pub hash: Cell<Option<[u8; 32]>>,
}

/// Two entries that are compared.
struct Compared<'a> {
    name: &'a [u8],
    on_mirror: &'a [u8],
    /// Whether the catalog proves that the source's has not changed.
    proven: bool,
    /// BLAKE3 of the mirror's content, if it is known.
    hash: Option<[u8; 32]>,
}

impl Sides<'_> {
    /// The content that an entry shall have instead of the source's.
    fn want(&self, name: &[u8]) -> Option<&Want> {
        self.wanted?.get(name)
    }
    /// In what two entries of one name and type, not directories, differ.
    pub fn aspects(&self, entry: &Entry, a: &Stat, b: &Stat) -> Result<Aspects, Fault> {
        let name = &*entry.name;
        self.differ(&Compared { name, on_mirror: name, proven: entry.proven, hash: None }, a, b)
    }
    /// In what a file and what the mirror has of it under another name differ. Of that the catalog knows the hash of its
    /// content, and with which ctime of the source's that was the source's (`proof`).
    pub fn renamed(
        &self,
        (name, a): (&[u8], &Stat),
        (on_mirror, b): (&[u8], &Stat),
        (proof, hash): (Option<Timestamp>, Option<[u8; HASH]>),
    ) -> Result<Aspects, Fault> {
        let proven = proof == Some(a.ctime);
        self.differ(&Compared { name, on_mirror, proven, hash }, a, b)
    }
    fn differ(&self, compared: &Compared<'_>, a: &Stat, b: &Stat) -> Result<Aspects, Fault> {
        let want = self.want(compared.name).filter(|_| a.kind == Kind::File);
        if want.is_some_and(|want| want.is_outdated(a.size)) {
            return Err(Fault::Changing);
        }
        let quick = self.quick_aspects(a, b, want);
        if quick.needs_making() {
            return Ok(quick);
        }
        let Some(mirror) = &self.mirror else { return Ok(quick) };
        let (source, mirror) = match a.kind {
            Kind::File => (
                or_path(self.pass.open_file(&self.source, compared.name), &self.source, compared.name)
                    .on_source("opening")?,
                or_path(open_read(&mirror.fd, compared.on_mirror), mirror, compared.on_mirror)
                    .on_mirror("opening")?,
            ),
            _ => (
                open_path(&self.source.fd, compared.name).on_source("opening")?,
                open_path(&mirror.fd, compared.on_mirror).on_mirror("opening")?,
            ),
        };
        // What is found now is to hold for the inode that was listed.
        let found = source.stat().on_source("examining")?;
        if (found.kind, found.ino, found.ctime) != (a.kind, a.ino, a.ctime) {
            return Err(Fault::Replaced);
        }
        if self.content_differs(compared, (&source, a), (&mirror, b), want)? {
            return Ok(quick | Aspects::CONTENT);
        }
        compare((&source, a), (&mirror, b), &self.pass.rules).on_source("reading attributes")
    }
    /// Whether the content differs, of two entries that are open and have the same size.
    fn content_differs(
        &self,
        compared: &Compared<'_>,
        (source, a): (&Handle, &Stat),
        (mirror, b): (&Handle, &Stat),
        want: Option<&Want>,
    ) -> Result<bool, Fault> {
        if a.kind == Kind::Symlink {
            let target = read_symlink(&source.fd, b"").on_source("reading link")?;
            return Ok(target != read_symlink(&mirror.fd, b"").on_mirror("reading link")?);
        }
        let copied = want.map_or(a.size, |want| want.source_bytes);
        if a.kind == Kind::File && copied > 0 && self.pass.suspects(compared.proven, a, b) {
            if source.path_only {
                return Err(Fault::Source("reading", io::ErrorKind::PermissionDenied.into()));
            }
            let read = || match (compared.hash, mirror.path_only) {
                (Some(hash), _) => {
                    let found = content::hash(self.pass, &source.fd, copied)?;
                    Ok((found == Some(hash)).then_some(Common { hash: found }))
                }
                (None, true) => Ok(None),
                (None, false) => content::common(self.pass, &source.fd, &mirror.fd, copied),
            };
            let Some(common) = self.pass.comparisons.of((a, b), read)? else { return Ok(true) };
            self.hash.set(common.hash.filter(|_| want.is_none()));
        }
        Ok(want.is_some_and(|want| mirror.path_only || !ends_as(&mirror.fd, want)))
    }
    /// What can be told without opening anything.
    fn quick_aspects(&self, a: &Stat, b: &Stat, want: Option<&Want>) -> Aspects {
        let stats = compare_stats(a, b, &self.pass.rules);
        let size = want.map_or(a.size, Want::length);
        // What is wanted whole is compared itself, whatever the times say.
        let by_time = want.is_none_or(|want| want.source_bytes > 0);
        let content = match a.kind {
            Kind::File => size != b.size || by_time && !self.pass.rules.is_kept_as(a.mtime, b.mtime),
            Kind::Block | Kind::Char => a.rdev != b.rdev,
            Kind::Symlink | Kind::Fifo | Kind::Socket | Kind::Dir => false,
        };
        stats | Aspects::CONTENT.when(content) | Aspects::SIZE.when(size != b.size)
    }
    /// In what the directory itself differs; the source's is as `stat` says.
    pub fn own_aspects(&self, stat: &Stat) -> Result<Aspects, Fault> {
        let Some(mirror) = &self.mirror else { return Ok(Aspects::ABSENT) };
        let mirror_stat = mirror.stat().on_mirror("examining")?;
        compare((&self.source, stat), (mirror, &mirror_stat), &self.pass.rules)
            .on_source("reading attributes")
    }
}

/// A file that was opened for reading; for its metadata alone where it may not be read.
fn or_path(opened: io::Result<Handle>, dir: &Handle, name: &[u8]) -> io::Result<Handle> {
    match opened {
        Err(error) if error.kind() == io::ErrorKind::PermissionDenied => open_path(&dir.fd, name),
        other => other,
    }
}
