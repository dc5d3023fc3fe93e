//! Makes one entry, complete with its metadata, in a directory of the mirror where its name is not taken: in the
//! workspace, or in its own place where nothing can be lost.

use crate::sys::dir::{self, Handle};
use crate::sys::flags::{self, NO_COW};
use crate::sys::page_cache::write_out;
use crate::sys::stat::{Kind, Stat, stat_at};
use crate::tree::base::fault::{Fault, Sided};
use crate::tree::base::overrides::Want;
use crate::tree::base::relpath::RelPath;
use crate::tree::changes::change::Change;
use crate::tree::content::{self, Copied, compare};
use crate::tree::entry::metadata::{Applied, Wanted};
use crate::tree::entry::parent::{Born, Nest};
use crate::tree::memory::blocks::MapWriter;
use crate::tree::pass::Pass;
use rustix::fs::ftruncate;

/// How often a file that changes while it is copied is copied.
pub(in crate::tree) const TRIES: u32 = 3;

/// An entry that was made.
pub(in crate::tree) struct Made {
    /// chattr flags to set when nothing else is to be done to it.
    pub locks: u32,
    /// Bytes that were copied.
    pub bytes: u64,
    /// What is wrong with it although it is complete: it was still changing, or has attributes that the mirror cannot keep.
    pub flaw: Option<Fault>,
    /// BLAKE3 of a file's content, zeros for its holes; of a whole copy of the source's only, and of none that is nearly all holes.
    pub hash: Option<[u8; 32]>,
}

impl Made {
    /// A file with its metadata; `torn` is whether it was still changing at the last try.
    pub fn new(applied: Applied, bytes: u64, torn: bool, hash: Option<[u8; 32]>) -> Made {
        let locks = applied.locks;
        let flaw = if torn { Some(Fault::Changing) } else { applied.flaw() };
        Made { locks, bytes, flaw, hash: hash.filter(|_| !torn) }
    }
}

/// Makes the entry that `change` describes and that is in the source's directory `dir`, open as `source`, as `name` in `nest`, with
/// the content that is wanted instead of the source's, if any is. Nothing is left behind if it fails.
pub(in crate::tree) fn make(
    pass: &Pass<'_>,
    (dir, source): (&RelPath, &Handle),
    change: &Change,
    want: Option<&Want>,
    nest: &Nest,
    name: &[u8],
) -> Result<Made, Fault> {
    let (handle, stat) = open_present(pass, source, change, || dir.join(&change.name))?;
    let made = if stat.kind == Kind::File {
        let made = dir::create_file(&nest.dir.fd, name).on_mirror("making")?;
        fill(pass, &handle, stat, want, &made, nest)
    } else {
        let wanted = Wanted::read(&handle, stat, &pass.rules).on_source("reading attributes")?;
        make_other(&handle, &stat, nest, name)?;
        let locks = finish_other(pass, &wanted, nest, name).on_mirror("setting metadata of");
        locks.map(|applied| Made { locks: applied.locks, bytes: 0, flaw: applied.flaw(), hash: None })
    };
    // What failed is what is reported; a leftover in the workspace is swept at its end.
    made.inspect_err(|_| drop(dir::unlink(&nest.dir.fd, name)))
}

/// Opens the very inode that `change` was decided for, in the state that it had then: what was found to be equal is so
/// still.
pub(in crate::tree) fn open_decided(
    pass: &Pass<'_>,
    source: &Handle,
    change: &Change,
) -> Result<(Handle, Stat), Fault> {
    let (handle, stat) = open_kind(pass, source, &change.name, change.kind)?;
    if change.is_of(&stat) { Ok((handle, stat)) } else { Err(Fault::Replaced) }
}

/// Opens what the source has under the name of `change` by now, to be made anew: everything that the mirror gets is what
/// the open descriptor says. Another inode than the one that was listed, or one that has changed, is looked at again by the
/// next run; a name that others are linked to must still be the same inode's.
pub(in crate::tree) fn open_present(
    pass: &Pass<'_>,
    source: &Handle,
    change: &Change,
    path: impl FnOnce() -> RelPath,
) -> Result<(Handle, Stat), Fault> {
    let mut kind = change.kind;
    for _ in 0..TRIES {
        match open_kind(pass, source, &change.name, kind) {
            Ok((_, stat)) if change.leads.is_some() && stat.ino != change.ino => return Err(Fault::Replaced),
            Ok(opened) => {
                if !change.is_of(&opened.1) {
                    pass.unsettle(&path());
                }
                return Ok(opened);
            }
            Err(Fault::Replaced) => {}
            Err(fault) => return Err(fault),
        }
        kind = stat_at(&source.fd, &change.name).on_source("examining")?.kind;
        if kind == Kind::Dir {
            break;
        }
    }
    Err(Fault::Replaced)
}

/// Opens the entry `name` as one of this kind.
fn open_kind(pass: &Pass<'_>, source: &Handle, name: &[u8], kind: Kind) -> Result<(Handle, Stat), Fault> {
    let opened = match kind {
        Kind::File => pass.open_file(source, name),
        _ => dir::open_path(&source.fd, name),
    };
    let handle = match opened {
        // A link, a socket or a device without a driver stands where a file was.
        Err(error) if matches!(error.raw_os_error(), Some(libc::ELOOP | libc::ENXIO | libc::ENODEV)) => {
            return Err(Fault::Replaced);
        }
        other => other.on_source("opening")?,
    };
    let stat = handle.stat().on_source("examining")?;
    if !pass.source.holds(&stat) {
        return Err(Fault::Vanished);
    }
    if stat.kind == kind { Ok((handle, stat)) } else { Err(Fault::Replaced) }
}

fn make_other(handle: &Handle, stat: &Stat, nest: &Nest, name: &[u8]) -> Result<(), Fault> {
    if stat.kind == Kind::Symlink {
        let target = dir::read_symlink(&handle.fd, b"").on_source("reading link")?;
        return dir::make_symlink(&nest.dir.fd, name, &target).on_mirror("making link");
    }
    let doing = if stat.kind.is_device() { "making device" } else { "making" };
    dir::make_node(&nest.dir.fd, name, stat).on_mirror(doing)
}

fn finish_other(pass: &Pass<'_>, wanted: &Wanted, nest: &Nest, name: &[u8]) -> std::io::Result<Applied> {
    let parent = &nest.dir.fd;
    match nest.known() {
        Some(born) if born.bare && wanted.attrs.xattrs.is_empty() && wanted.stat.kind == Kind::Symlink => {
            wanted.give_link(parent, name, born, &pass.rules).map(|()| Applied::default())
        }
        _ => wanted.apply(&dir::open_path(parent, name)?, parent, name, &pass.rules),
    }
}

fn fill(
    pass: &Pass<'_>,
    source: &Handle,
    mut stat: Stat,
    want: Option<&Want>,
    made: &Handle,
    nest: &Nest,
) -> Result<Made, Fault> {
    let born = nest.born(made, &pass.rules).on_mirror("examining")?;
    let mut tries = 0;
    loop {
        if want.is_some_and(|want| want.is_outdated(stat.size)) {
            return Err(Fault::Changing);
        }
        let wanted = Wanted::read(source, stat, &pass.rules).on_source("reading attributes")?;
        set_no_cow(&wanted, made, born).on_mirror("setting flags of")?;
        let blocks = pass.blocks(stat.size).filter(|_| want.is_none());
        let map = blocks.and_then(|blocks| blocks.writer(&stat));
        let Copied { bytes, hash, map } = copy(pass, source, &stat, want, made, map)?;
        let after = source.stat().on_source("examining")?;
        tries += 1;
        let torn = is_torn(pass, source, (&stat, &after), hash)?;
        if !torn || tries == TRIES {
            let applied = wanted.give(made, born, &pass.rules).on_mirror("setting metadata of")?;
            keep_map(pass, &stat, made, map).on_mirror("examining")?;
            return Ok(Made::new(applied, bytes, torn, hash));
        }
        ftruncate(&made.fd, 0).map_err(std::io::Error::from).on_mirror("writing")?;
        stat = after;
    }
}

/// Whether what was read of a file is no state that it was in, because others wrote meanwhile: `before` and `after` reading. A
/// file that has only grown (a log) is what it was, with more behind it: its beginning still has the `hash` that was read.
pub(in crate::tree) fn is_torn(
    pass: &Pass<'_>,
    source: &Handle,
    (before, after): (&Stat, &Stat),
    hash: Option<[u8; 32]>,
) -> Result<bool, Fault> {
    if (after.size, after.mtime, after.ctime) == (before.size, before.mtime, before.ctime) {
        return Ok(false);
    }
    let has_grown = after.size > before.size && hash.is_some();
    Ok(!has_grown || compare::hash(pass, &source.fd, before.size)? != hash)
}

/// Copies the content, with every store that was made through a mapping up to now: a further one changes the source's
/// ctime only if its page is clean by then.
fn copy(
    pass: &Pass<'_>,
    source: &Handle,
    stat: &Stat,
    want: Option<&Want>,
    made: &Handle,
    map: Option<MapWriter>,
) -> Result<Copied, Fault> {
    write_out(&source.fd, &(0..0)).on_source("reading")?;
    match want {
        Some(want) => {
            let bytes = content::copy_wanted(pass, &source.fd, &made.fd, want)?;
            Ok(Copied { bytes, hash: None, map: None })
        }
        None => content::copy(pass, &source.fd, &made.fd, stat.size, map),
    }
}

/// Keeps what was found of the blocks of a copy that is complete, metadata and all. Whatever was known of it before is not true
/// any more.
pub(in crate::tree) fn keep_map(
    pass: &Pass<'_>,
    source: &Stat,
    made: &Handle,
    map: Option<MapWriter>,
) -> std::io::Result<()> {
    if let Some(blocks) = &pass.options.blocks {
        match map {
            Some(map) => blocks.keep(source, &made.stat()?, map),
            None => blocks.forget(source),
        }
    }
    Ok(())
}

/// btrfs' +C takes on empty files only.
fn set_no_cow(wanted: &Wanted, made: &Handle, born: &Born) -> std::io::Result<()> {
    let no_cow = |flags: Option<u32>| flags.is_some_and(|flags| flags & NO_COW != 0);
    if no_cow(wanted.attrs.flags)
        && !no_cow(born.attrs.flags)
        && let Some(current) = flags::get(&made.fd)?
    {
        flags::set(&made.fd, current | NO_COW)?;
    }
    Ok(())
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::monitor::Silent;
    use crate::tree::{Options, View};
    use std::fs::{self, OpenOptions};
    use std::io::Write;

    #[test]
    fn a_log_that_has_only_grown_is_what_it_was_and_one_that_was_written_over_is_not() {
        let dir = tempfile::tempdir_in(env!("CARGO_MANIFEST_DIR")).expect("a directory on a disk");
        let path = dir.path().join("log");
        let view = || View::of_fd(dir::open_root(dir.path()).expect("open")).expect("a view");
        let (a, b, options) = (view(), view(), Options::default());
        let pass = Pass::new(&a, &b, &options, &Silent).expect("a pass");
        let append = |text: &[u8]| {
            let mut file = OpenOptions::new().append(true).open(&path).expect("open");
            file.write_all(text).expect("written");
        };
        fs::write(&path, vec![7; 300_000]).expect("written");
        let hash = Some(*blake3::hash(&[7; 300_000]).as_bytes());
        let source = dir::open_read(a.root(), b"log").expect("open");
        let before = source.stat().expect("examined");
        assert!(!is_torn(&pass, &source, (&before, &before), hash).is_ok_and(|torn| torn));
        append(b"a line");
        let grown = source.stat().expect("examined");
        assert!(is_torn(&pass, &source, (&before, &grown), hash).is_ok_and(|torn| !torn));
        assert!(is_torn(&pass, &source, (&before, &grown), None).is_ok_and(|torn| torn), "nothing proves it");
        fs::write(&path, vec![8; 300_000]).expect("written over");
        append(b"another line");
        let other = source.stat().expect("examined");
        assert!(is_torn(&pass, &source, (&before, &other), hash).is_ok_and(|torn| torn));
    }
}
