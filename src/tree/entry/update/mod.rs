//! A large file of the mirror, brought up to date by writing only the blocks that have changed: into a copy that shares its
//! content, where the file system can do that, and that takes its place like any other; else in its own place, after what
//! stands there was kept (undo).
//!
//! What has changed is told by the hashes of the mirror's blocks, if they are known: then only the source is read. Where the
//! mirror itself is in doubt, or has no room for a second copy, both are read.

mod blockwise;

use crate::sys::dir::{self, Handle};
use crate::sys::extents::{punch, share_content};
use crate::sys::page_cache::{drop_range, write_out};
use crate::sys::stat::{Kind, Stat};
use crate::tree::base::fault::{Fault, Sided};
use crate::tree::base::relpath::RelPath;
use crate::tree::changes::change::Change;
use crate::tree::content::Copied;
use crate::tree::entry::make::{Made, TRIES, is_torn, keep_map, open_present};
use crate::tree::entry::metadata::{Wanted, tighten};
use crate::tree::entry::parent::Nest;
use crate::tree::entry::undo::{PutBack, Undo, put_back_one};
use crate::tree::memory::blocks::{MapReader, MapWriter};
use crate::tree::pass::Pass;
use blockwise::Blockwise;
use rustix::fs::{fsync, ftruncate};
use std::io;
use std::ops::Range;

/// The mirror's file that is brought up to date, by whatever name it has.
pub(in crate::tree) struct Old<'a> {
    /// Its directory.
    pub dir: &'a Handle,
    /// Its name there.
    pub name: &'a [u8],
    /// Where that is below the root.
    pub path: RelPath,
}

/// What tells which blocks have changed.
enum Basis {
    /// The hashes of the mirror's.
    Map(MapReader),
    /// The mirror's themselves.
    Mirror,
}

/// A file that was brought up to date.
pub(in crate::tree) enum Updated {
    /// In the nest, under the name that was given.
    Aside(Made),
    /// In its own place.
    InPlace(Made),
}

/// Whether an update of a file should be tried.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(in crate::tree) enum Reason {
    /// It is if the mirror's blocks are known.
    Known,
    /// There is no room for a second copy.
    NoRoom,
}

/// Brings `old` up to date with the entry of `source` that `change` describes; in `nest` as `name`, if that can share its
/// content. None if that cannot be done, or does not save anything: then nothing was done.
pub(in crate::tree) fn update(
    pass: &Pass<'_>,
    source: &Handle,
    change: &Change,
    old: &Old<'_>,
    (nest, name): (&Nest, &[u8]),
    reason: Reason,
) -> Result<Option<Updated>, Fault> {
    if reason == Reason::Known && pass.blocks(change.size).is_none() {
        return Ok(None);
    }
    let (source, stat) = open_present(pass, source, change, || old.path.clone())?;
    if stat.kind != Kind::File {
        return Ok(None);
    }
    // Whatever is in its way is said by the copy that is made instead.
    let Ok(file) = dir::open_read(&old.dir.fd, old.name) else { return Ok(None) };
    let old_stat = file.stat().on_mirror("examining")?;
    if old_stat.kind != Kind::File || !pass.mirror.holds(&old_stat) {
        return Ok(None);
    }
    // Time and size say that it is equal, and it is not: whatever is in its place, it is not what was written there.
    let is_odd = (stat.size, stat.mtime) == (old_stat.size, old_stat.mtime);
    if is_odd && reason == Reason::Known {
        return Ok(None);
    }
    let Some(basis) = basis(pass, &stat, &old_stat, reason, is_odd) else { return Ok(None) };
    let update = Update { pass, source, stat, old_stat, basis };
    if let Some(made) = share(&file, nest, name).on_mirror("making")? {
        // What failed is what is reported.
        let done = update.aside(&made, nest).inspect_err(|_| drop(dir::unlink(&nest.dir.fd, name)));
        return done.map(|made| Some(Updated::Aside(made)));
    }
    Ok(update.in_place(old)?.map(Updated::InPlace))
}

fn basis(pass: &Pass<'_>, source: &Stat, old: &Stat, reason: Reason, is_odd: bool) -> Option<Basis> {
    let map = pass.blocks(source.size).and_then(|blocks| blocks.reader(source, old));
    let in_doubt = is_odd || pass.options.compare_content || pass.options.compare_whole;
    match (map, reason) {
        (Some(map), _) if !in_doubt => Some(Basis::Map(map)),
        (None, Reason::Known) => None,
        _ => Some(Basis::Mirror),
    }
}

/// Makes a file that shares the old one's content; none where the file system cannot.
fn share(old: &Handle, nest: &Nest, name: &[u8]) -> io::Result<Option<Handle>> {
    let made = dir::create_file(&nest.dir.fd, name)?;
    if share_content(&made.fd, &old.fd).is_ok() {
        return Ok(Some(made));
    }
    dir::unlink(&nest.dir.fd, name)?;
    Ok(None)
}

/// A file's content, brought up to date.
struct Content {
    /// The source's metadata of that moment.
    wanted: Wanted,
    /// Bytes that were written.
    bytes: u64,
    torn: bool,
    hash: Option<[u8; 32]>,
    map: Option<MapWriter>,
    /// Stretches of zeros that shall be holes.
    blanks: Vec<Range<u64>>,
}

struct Update<'a> {
    pass: &'a Pass<'a>,
    source: Handle,
    stat: Stat,
    old_stat: Stat,
    basis: Basis,
}

impl Update<'_> {
    /// Into `made`, which shares the old content.
    fn aside(mut self, made: &Handle, nest: &Nest) -> Result<Made, Fault> {
        let rules = &self.pass.rules;
        let done = self.content(made, None)?;
        // It has content already: what is born with the first of all files is asked of an empty one.
        let applied = match nest.known() {
            Some(born) => done.wanted.give(made, born, rules),
            None => done.wanted.apply(made, &made.fd, b"", rules),
        };
        let applied = applied.on_mirror("setting metadata of")?;
        keep_map(self.pass, &self.stat, made, done.map).on_mirror("examining")?;
        Ok(Made::new(applied, done.bytes, done.torn, done.hash))
    }
    /// Into the old file itself. None if others have it too, or it cannot be written.
    fn in_place(mut self, old: &Old<'_>) -> Result<Option<Made>, Fault> {
        if self.old_stat.nlink != 1 || self.old_stat.locked {
            return Ok(None);
        }
        let Ok(file) = dir::open_write(&old.dir.fd, old.name) else { return Ok(None) };
        if file.stat().on_mirror("examining")?.ino != self.old_stat.ino {
            return Ok(None);
        }
        let undo = Undo::begin(self.pass.mirror, &old.path, &self.old_stat);
        let Some(mut undo) = undo.on_mirror("keeping the old content of")? else { return Ok(None) };
        let made = match self.write_in_place(old, &file, &mut undo) {
            Ok(made) => made,
            Err(fault) => {
                let (dir, name) = undo.into_place();
                put_back_one(self.pass.mirror, &dir, &name, &mut PutBack::default())
                    .on_mirror("putting back the old content of")?;
                return Err(fault);
            }
        };
        undo.remove().on_mirror("keeping the new content of")?;
        let _ = drop_range(&file.fd, &(0..self.stat.size.max(1)));
        let (made, map) = made;
        keep_map(self.pass, &self.stat, &file, map).on_mirror("examining")?;
        Ok(Some(made))
    }
    /// Everything, up to the moment when the new version is on the disk.
    fn write_in_place(
        &mut self,
        old: &Old<'_>,
        file: &Handle,
        undo: &mut Undo,
    ) -> Result<(Made, Option<MapWriter>), Fault> {
        // Its attributes may differ: what nobody has compared is taken to.
        tighten(file, &self.stat, true, &self.pass.rules).on_mirror("closing")?;
        let done = self.content(file, Some(undo))?;
        let flush = || fsync(&file.fd).map_err(io::Error::from);
        let applied = done.wanted.apply(file, &old.dir.fd, old.name, &self.pass.rules);
        let applied = applied.on_mirror("setting metadata of")?;
        flush().on_mirror("flushing")?;
        let (size, mtime) = (self.stat.size, done.wanted.stat.mtime);
        if size < file.stat().on_mirror("examining")?.size || !done.blanks.is_empty() {
            // What gives room back comes when nothing has to be put back any more: that might find none.
            undo.done(size, mtime).on_mirror("keeping the new content of")?;
            give_back(file, size, &done.blanks).on_mirror("writing")?;
            dir::set_mtime(file, mtime).on_mirror("setting metadata of")?;
            flush().on_mirror("flushing")?;
        }
        Ok((Made::new(applied, done.bytes, done.torn, done.hash), done.map))
    }
    /// Makes the content of `target`, which is the old one, the source's. One that changes meanwhile is gone over again, as one
    /// that is copied is.
    fn content(&mut self, target: &Handle, mut undo: Option<&mut Undo>) -> Result<Content, Fault> {
        let (mut tries, mut bytes) = (0, 0);
        loop {
            let wanted = Wanted::read(&self.source, self.stat, &self.pass.rules);
            let wanted = wanted.on_source("reading attributes")?;
            write_out(&self.source.fd, &(0..0)).on_source("reading")?;
            let map = self.pass.blocks(self.stat.size).and_then(|blocks| blocks.writer(&self.stat));
            let work = Blockwise::new(self.pass, (&self.source.fd, &target.fd), self.stat.size, map);
            let (copied, blanks) = work.run(&mut self.basis, undo.as_deref_mut())?;
            let Copied { bytes: written, hash, map } = copied;
            bytes += written;
            tries += 1;
            let after = self.source.stat().on_source("examining")?;
            let torn = is_torn(self.pass, &self.source, (&self.stat, &after), hash)?;
            if !torn || tries == TRIES {
                return Ok(Content { wanted, bytes, torn, hash, map, blanks });
            }
            self.basis = map.and_then(|map| map.reread().ok()).map_or(Basis::Mirror, Basis::Map);
            self.stat = after;
        }
    }
}

fn give_back(file: &Handle, size: u64, blanks: &[Range<u64>]) -> io::Result<()> {
    ftruncate(&file.fd, size)?;
    for blank in blanks {
        match punch(&file.fd, blank) {
            // They are zeros as it is.
            Err(error) if error.raw_os_error() == Some(libc::EOPNOTSUPP) => break,
            other => other?,
        }
    }
    Ok(())
}
