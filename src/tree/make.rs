//! Makes one entry, complete with its metadata, under a temporary name in the workspace.

use super::change::Change;
use super::content;
use super::fault::{Fault, Sided};
use super::metadata::Wanted;
use super::pass::Pass;
use super::wanted::Want;
use crate::sys::dir::{self, Handle};
use crate::sys::flags::{self, NO_COW};
use crate::sys::stat::{Kind, Stat};
use rustix::fs::ftruncate;

/// How often a file that changes while it is copied is copied.
const TRIES: u32 = 3;

/// An entry that was made.
pub(super) struct Made {
    /// chattr flags to set when nothing else is to be done to it.
    pub locks: u32,
    /// Bytes that were copied.
    pub bytes: u64,
    /// Whether the file was still changing at the last try.
    pub torn: bool,
}

/// Makes the entry that `change` describes and that is in the source's directory `source`, as `name` in `place`, with
/// the content that is wanted instead of the source's, if any is. Nothing is left behind if it fails.
pub(super) fn make(
    pass: &Pass<'_>,
    source: &Handle,
    change: &Change,
    want: Option<&Want>,
    place: &Handle,
    name: &[u8],
) -> Result<Made, Fault> {
    let (handle, stat) = open_source(pass, source, change)?;
    if stat.kind == Kind::File {
        let made = dir::create_file(&place.fd, name).on_mirror("making")?;
        return fill(pass, &handle, stat, want, &made, place, name)
            .map_err(|fault| discard(place, name, fault));
    }
    make_other(&handle, &stat, place, name)?;
    let finished =
        Wanted::read(&handle, stat, &pass.rules).on_source("reading attributes").and_then(|wanted| {
            let made = dir::open_path(&place.fd, name).on_mirror("opening")?;
            wanted.apply(&made, &place.fd, name, &pass.rules).on_mirror("setting metadata of")
        });
    match finished {
        Ok(locks) => Ok(Made { locks, bytes: 0, torn: false }),
        Err(fault) => Err(discard(place, name, fault)),
    }
}

/// Opens the entry and makes sure that it is what was listed, or a file that took its place.
pub(super) fn open_source(
    pass: &Pass<'_>,
    source: &Handle,
    change: &Change,
) -> Result<(Handle, Stat), Fault> {
    let handle = match change.kind {
        Kind::File => dir::open_read(&source.fd, &change.name),
        _ => dir::open_path(&source.fd, &change.name),
    };
    let handle = handle.on_source("opening")?;
    let stat = handle.stat().on_source("examining")?;
    let same = stat.ino == change.ino || stat.nlink == 1;
    if stat.kind != change.kind || !same || !pass.source.holds(&stat) {
        return Err(Fault::Vanished);
    }
    Ok((handle, stat))
}

fn make_other(handle: &Handle, stat: &Stat, place: &Handle, name: &[u8]) -> Result<(), Fault> {
    if stat.kind == Kind::Symlink {
        let target = dir::read_symlink(&handle.fd, b"").on_source("reading link")?;
        return dir::make_symlink(&place.fd, name, &target).on_mirror("making link");
    }
    let doing = if stat.kind.is_device() { "making device" } else { "making" };
    dir::make_node(&place.fd, name, stat).on_mirror(doing)
}

fn fill(
    pass: &Pass<'_>,
    source: &Handle,
    mut stat: Stat,
    want: Option<&Want>,
    made: &Handle,
    place: &Handle,
    name: &[u8],
) -> Result<Made, Fault> {
    let mut tries = 0;
    loop {
        if want.is_some_and(|want| want.is_outdated(stat.size)) {
            return Err(Fault::Changing);
        }
        let wanted = Wanted::read(source, stat, &pass.rules).on_source("reading attributes")?;
        set_no_cow(&wanted, made).on_mirror("setting flags of")?;
        let bytes = match want {
            Some(want) => content::copy_wanted(pass, &source.fd, &made.fd, want)?,
            None => content::copy(pass, &source.fd, &made.fd, stat.size)?,
        };
        let after = source.stat().on_source("examining")?;
        tries += 1;
        let changed = (after.size, after.mtime, after.ctime) != (stat.size, stat.mtime, stat.ctime);
        if !changed || tries == TRIES {
            let locks = wanted.apply(made, &place.fd, name, &pass.rules).on_mirror("setting metadata of")?;
            return Ok(Made { locks, bytes, torn: changed });
        }
        ftruncate(&made.fd, 0).map_err(std::io::Error::from).on_mirror("writing")?;
        stat = after;
    }
}

/// btrfs' +C takes on empty files only.
fn set_no_cow(wanted: &Wanted, made: &Handle) -> std::io::Result<()> {
    if wanted.attrs.flags.is_some_and(|flags| flags & NO_COW != 0)
        && let Some(current) = flags::get(&made.fd)?
    {
        flags::set(&made.fd, current | NO_COW)?;
    }
    Ok(())
}

fn discard(place: &Handle, name: &[u8], fault: Fault) -> Fault {
    // What failed is what is reported; a leftover in the workspace is swept at its end.
    let _ = dir::unlink(&place.fd, name);
    fault
}
