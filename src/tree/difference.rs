//! In what two entries of one name differ, at the least cost at which it can be told.

use super::attrs::{compare, compare_stats};
use super::change::Aspects;
use super::content;
use super::fault::{Fault, Sided};
use super::listing::Entry;
use super::look::Former;
use super::pass::Pass;
use super::wanted::{InDir, Want};
use crate::sys::dir::{Handle, open_path, open_read, read_symlink};
use crate::sys::stat::{Kind, Stat};
use std::cell::Cell;
use std::io;

/// One directory's two sides, open.
pub(super) struct Sides<'a> {
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
    /// In what a file and what the mirror has of it under another name differ, which the catalog knows as `former`.
    pub fn renamed(
        &self,
        (name, a): (&[u8], &Stat),
        (on_mirror, b): (&[u8], &Stat),
        former: &Former,
    ) -> Result<Aspects, Fault> {
        let (proven, hash) = (former.proof == Some(a.ctime), former.hash);
        self.differ(&Compared { name, on_mirror, proven, hash }, a, b)
    }
    fn differ(&self, compared: &Compared<'_>, a: &Stat, b: &Stat) -> Result<Aspects, Fault> {
        let &Compared { name, on_mirror, proven, hash } = compared;
        let want = self.want(name).filter(|_| a.kind == Kind::File);
        if want.is_some_and(|want| want.is_outdated(a.size)) {
            return Err(Fault::Changing);
        }
        let quick = self.quick_aspects(compared, a, b, want)?;
        if quick.needs_making() {
            return Ok(quick);
        }
        let Some(mirror) = &self.mirror else { return Ok(quick) };
        let (source, mirror) = if a.kind == Kind::File {
            (
                readable(&self.source, name).on_source("opening")?,
                readable(mirror, on_mirror).on_mirror("opening")?,
            )
        } else {
            (
                open_path(&self.source.fd, name).on_source("opening")?,
                open_path(&mirror.fd, on_mirror).on_mirror("opening")?,
            )
        };
        let copied = want.map_or(a.size, |want| want.source_bytes);
        if a.kind == Kind::File && copied > 0 && self.pass.suspects(proven, a, b) {
            if source.path_only {
                return Err(Fault::Source("reading", io::ErrorKind::PermissionDenied.into()));
            }
            let common = match (hash, mirror.path_only) {
                (Some(hash), _) => content::has_hash(self.pass, &source.fd, copied, &hash)?.then_some(hash),
                (None, true) => None,
                (None, false) => content::common(self.pass, &source.fd, &mirror.fd, copied)?,
            };
            if common.is_none() {
                return Ok(quick | Aspects::CONTENT);
            }
            self.hash.set(common.filter(|_| want.is_none()));
        }
        if want.is_some_and(|want| mirror.path_only || !content::ends_as(&mirror.fd, want)) {
            return Ok(quick | Aspects::CONTENT);
        }
        compare((&source, a), (&mirror, b), &self.pass.rules).on_source("reading attributes")
    }
    /// What can be told without opening anything.
    fn quick_aspects(
        &self,
        compared: &Compared<'_>,
        a: &Stat,
        b: &Stat,
        want: Option<&Want>,
    ) -> Result<Aspects, Fault> {
        let stats = compare_stats(a, b, &self.pass.rules);
        let size = want.map_or(a.size, Want::length);
        // What is wanted whole is compared itself, whatever the times say.
        let by_time = want.is_none_or(|want| want.source_bytes > 0);
        let content = match a.kind {
            Kind::File => size != b.size || by_time && a.mtime != b.mtime,
            Kind::Block | Kind::Char => a.rdev != b.rdev,
            Kind::Symlink => match &self.mirror {
                Some(mirror) => {
                    read_symlink(&self.source.fd, compared.name).on_source("reading link")?
                        != read_symlink(&mirror.fd, compared.on_mirror).on_mirror("reading link")?
                }
                None => true,
            },
            Kind::Fifo | Kind::Socket | Kind::Dir => false,
        };
        Ok(stats | Aspects::CONTENT.when(content) | Aspects::SIZE.when(size != b.size))
    }
    /// In what the directory itself differs; the source's is as `stat` says.
    pub fn own_aspects(&self, stat: &Stat) -> Result<Aspects, Fault> {
        let Some(mirror) = &self.mirror else { return Ok(Aspects::ABSENT) };
        let mirror_stat = mirror.stat().on_mirror("examining")?;
        compare((&self.source, stat), (mirror, &mirror_stat), &self.pass.rules)
            .on_source("reading attributes")
    }
}

/// Opens a file for reading; for its metadata alone where it may not be read.
fn readable(dir: &Handle, name: &[u8]) -> io::Result<Handle> {
    match open_read(&dir.fd, name) {
        Err(error) if error.kind() == io::ErrorKind::PermissionDenied => open_path(&dir.fd, name),
        other => other,
    }
}
