//! Carries changes out on one directory: makes, adjusts, links, and at the end gives the directory itself what the
//! source's has.

pub(super) mod batch;
pub(super) mod deletions;
pub(super) mod moves;
pub(super) mod rehearsal;
pub(super) mod room;
pub(super) mod stream;

use crate::sys::dir::{self, Handle};
use crate::sys::stat::{Kind, Stat, stat_at};
use crate::tree::apply::room::Room;
use crate::tree::base::fault::{Error, Fault, Sided};
use crate::tree::base::relpath::RelPath;
use crate::tree::changes::change::{Aspects, Change, DirChange};
use crate::tree::changes::links::{LinkTo, Links};
use crate::tree::entry::install::{Pending, lock_in_place, put};
use crate::tree::entry::make::{Made, make, open_decided};
use crate::tree::entry::metadata::{Wanted, lock, tighten};
use crate::tree::entry::parent::Nest;
use crate::tree::entry::remove::make_writable;
use crate::tree::entry::update::{Old, Reason, Updated, update};
use crate::tree::entry::workspace::{Workspace, moved_name};
use crate::tree::pass::Pass;
use std::collections::BTreeMap;
use std::sync::Arc;

/// Opens both sides of a directory, the mirror's ready to be written; `None` if one cannot be opened, or the source's is
/// not the one that was listed.
pub(in crate::tree) fn open_both(
    pass: &Pass<'_>,
    path: &RelPath,
    ino: u64,
) -> Result<Option<(Handle, Handle)>, Error> {
    let opened = open_listed(pass, path, ino).and_then(|source| Ok((source, open_mirror(pass, path)?)));
    if opened.is_err() {
        pass.stray(ino);
    }
    pass.enter_dir(path, opened)
}

/// Opens a directory of the mirror, ready to be written.
pub(in crate::tree) fn open_mirror(pass: &Pass<'_>, path: &RelPath) -> Result<Handle, Fault> {
    let mirror = pass.mirror_dir(path).on_mirror("opening the mirror's directory")?;
    make_writable(&mirror, pass).on_mirror("unlocking")?;
    Ok(mirror)
}

/// Opens a directory of the source, if it is the one that was listed. An inode of 0 is any.
fn open_listed(pass: &Pass<'_>, path: &RelPath, ino: u64) -> Result<Handle, Fault> {
    let source = pass.source_dir(path).on_source("opening directory")?;
    let same = ino == 0 || source.stat().on_source("examining")?.ino == ino;
    if same { Ok(source) } else { Err(Fault::Vanished) }
}

/// Closes a directory of the mirror as the source's is closed by now, before anything below it is written.
pub(in crate::tree) fn tighten_dir(pass: &Pass<'_>, change: &DirChange) -> Result<(), Error> {
    let decisive = Aspects::MODE | Aspects::OWNER | Aspects::GROUP | Aspects::XATTRS;
    if !change.adjusts_itself() || !change.own.has(decisive) {
        return Ok(());
    }
    let Some((source, mirror)) = open_both(pass, &change.path, change.ino)? else { return Ok(()) };
    let tightened = source.stat().on_source("examining").and_then(|stat| {
        let others = change.own.has(Aspects::XATTRS);
        tighten(&mirror, &stat, others, &pass.rules).on_mirror("closing")
    });
    pass.enter(|| change.path.clone(), tightened).map(drop)
}

/// Makes a directory, empty and closed to others; what it shall hold and be comes later.
pub(in crate::tree) fn make_dir(
    pass: &Pass<'_>,
    workspace: &Workspace,
    path: &Arc<RelPath>,
    mirror: &Handle,
    change: &Change,
) -> Result<(), Fault> {
    // It may have been made already, to have something moved into it.
    let is_there = || pass.mirror_dir(&path.join(&change.name)).is_ok();
    if change.over.is_none() || change.over != Some(Kind::Dir) && is_there() {
        match dir::make_dir(&mirror.fd, &change.name) {
            Err(error) if error.kind() == std::io::ErrorKind::AlreadyExists => {}
            other => other.on_mirror("making directory")?,
        }
    } else {
        let temporary = workspace.name();
        dir::make_dir(&workspace.nest.dir.fd, &temporary).on_mirror("making directory")?;
        put(pass, workspace, mirror, &Pending::of(path, change, temporary))?;
    }
    pass.count(|counts| counts.directories_made += 1);
    Ok(())
}

/// Makes an entry in the workspace, ready to be put in its place; none if it is complete there already.
pub(in crate::tree) fn prepare(
    pass: &Pass<'_>,
    workspace: &Workspace,
    path: &Arc<RelPath>,
    (source, mirror): (&Handle, &Handle),
    change: &Change,
) -> Result<Option<Pending>, Fault> {
    let temporary = workspace.name();
    let want = pass.options.wanted.of(path, &change.name);
    let is_due = |reason| reason == Reason::NoRoom || change.size >= pass.options.blocks_from;
    let blockwise = |reason| match (change.kind, change.over, want) {
        (Kind::File, Some(Kind::File), None) if is_due(reason) => {
            let old = Old { dir: mirror, name: &change.name, path: path.join(&change.name) };
            update(pass, source, change, &old, (&workspace.nest, &temporary), reason)
        }
        _ => Ok(None),
    };
    let updated = match blockwise(Reason::Known)? {
        Some(updated) => updated,
        None => match make(pass, (path, source), change, want, &workspace.nest, &temporary) {
            Err(fault) if fault.is_no_room() => blockwise(Reason::NoRoom)?.ok_or(fault)?,
            made => Updated::Aside(made?),
        },
    };
    match updated {
        Updated::Aside(Made { locks, bytes, flaw, hash }) => {
            Ok(Some(Pending { locks, bytes, flaw, hash, ..Pending::of(path, change, temporary) }))
        }
        Updated::InPlace(made) => in_place(pass, mirror, change, made).map(|()| None),
    }
}

/// Has the file that was given a name in the workspace ready to be put in its place; if it is not there, or has changed
/// once more, it is copied.
pub(in crate::tree) fn prepare_moved(
    pass: &Pass<'_>,
    workspace: &Workspace,
    path: &Arc<RelPath>,
    (source, mirror): (&Handle, &Handle),
    change: &Change,
) -> Result<Option<Pending>, Fault> {
    let temporary = moved_name(change.ino);
    let (nest, at) = (&workspace.nest.dir, path.join(&change.name));
    let copied = || {
        // What was known of its content before counts no more.
        pass.put_hash(change.slot, Some([0; 32]));
        prepare(pass, workspace, path, (source, mirror), change)
    };
    let moved = dir::open_read(&nest.fd, &temporary).and_then(|moved| Ok((moved.stat()?, moved))).ok();
    // The hash of its content is entered already.
    let pending = Pending { slot: 0, renamed: true, ..Pending::of(path, change, temporary) };
    let (from, stat) = match open_decided(pass, source, change) {
        Err(Fault::Replaced) => return copied(),
        // What cannot be read any more is not lost with its old name. Such a fault ends nothing.
        Err(fault @ Fault::Source(..)) if moved.is_some() => {
            let _ = pass.fault(at, fault);
            return Ok(Some(pending));
        }
        other => other?,
    };
    let is_held = pass.options.held.get(&at).is_some();
    let is_same = |is: &Stat| is_held || is.size == stat.size && pass.rules.is_kept_as(stat.mtime, is.mtime);
    let Some((_, moved)) = moved.filter(|(is, _)| is_same(is)) else { return copied() };
    let wanted = Wanted::read(&from, stat, &pass.rules).on_source("reading attributes")?;
    let applied = wanted.apply(&moved, &nest.fd, &pending.temporary, &pass.rules);
    let applied = applied.on_mirror("setting metadata of")?;
    Ok(Some(Pending { locks: applied.locks, flaw: applied.flaw(), ..pending }))
}

/// Completes and counts an entry that stands under its own name.
fn in_place(pass: &Pass<'_>, dir: &Handle, change: &Change, made: Made) -> Result<(), Fault> {
    lock_in_place(pass, dir, &change.name, made.locks)?;
    copied(pass, made.bytes);
    pass.put_hash(change.slot, made.hash);
    pass.is_in_place(change.leads);
    made.flaw.map_or(Ok(()), Err)
}

/// Makes an entry under its own name, where the mirror has nothing yet that could be lost, and counts it.
pub(in crate::tree) fn make_in_place(
    pass: &Pass<'_>,
    path: &Arc<RelPath>,
    source: &Handle,
    nest: &Nest,
    change: &Change,
) -> Result<(), Fault> {
    let want = pass.options.wanted.of(path, &change.name);
    let made = make(pass, (path, source), change, want, nest, &change.name)?;
    in_place(pass, &nest.dir, change, made)
}

/// Puts prepared entries of one directory in their places, and counts them.
pub(in crate::tree) fn put_all(
    pass: &Pass<'_>,
    workspace: &Workspace,
    mirror: &Handle,
    pending: Vec<Pending>,
) -> Result<(), Error> {
    for one in pending {
        let done = put(pass, workspace, mirror, &one).inspect_err(|_| {
            if one.renamed {
                pass.lost_rename();
            }
        });
        if pass.enter(|| one.dir.join(&one.name), done)?.is_some() {
            pass.is_in_place(one.leads);
            if one.renamed {
                pass.count(|counts| counts.renamed += 1);
            } else {
                copied(pass, one.bytes);
                pass.put_hash(one.slot, one.hash);
            }
            if let Some(flaw) = one.flaw {
                pass.fault(one.dir.join(&one.name), flaw)?;
            }
        }
    }
    Ok(())
}

fn copied(pass: &Pass<'_>, bytes: u64) {
    pass.count(|counts| {
        counts.files_copied += 1;
        counts.bytes_copied += bytes;
    });
}

/// Changes the metadata of an entry that is otherwise equal: if it is not so any more, nothing is done (`Replaced`).
pub(in crate::tree) fn adjust(
    pass: &Pass<'_>,
    source: &Handle,
    mirror: &Handle,
    change: &Change,
) -> Result<(), Fault> {
    let (from, stat) = open_decided(pass, source, change)?;
    let wanted = Wanted::read(&from, stat, &pass.rules).on_source("reading attributes")?;
    let to = match change.kind {
        Kind::File => dir::open_read(&mirror.fd, &change.name),
        _ => dir::open_path(&mirror.fd, &change.name),
    };
    let to = to.on_mirror("opening")?;
    let found = to.stat().on_mirror("examining")?;
    if found.kind != change.kind {
        return Err(Fault::Vanished);
    }
    let applied =
        wanted.apply(&to, &mirror.fd, &change.name, &pass.rules).on_mirror("setting metadata of")?;
    lock_if(&to, applied.locks).on_mirror("setting flags of")?;
    pass.count(|counts| counts.metadata_changed += 1);
    pass.is_in_place(change.leads);
    applied.flaw().map_or(Ok(()), Err)
}

fn lock_if(handle: &Handle, locks: u32) -> std::io::Result<()> {
    if locks == 0 { Ok(()) } else { lock(handle, locks) }
}

/// Gives a directory of the mirror the metadata of the source's. Comes after everything that changes its entries.
/// Gives back whether it could.
pub(in crate::tree) fn finish_dir(pass: &Pass<'_>, path: &RelPath, ino: u64) -> Result<bool, Error> {
    let finished = open_listed(pass, path, ino).and_then(|source| {
        let mirror = pass.mirror_dir(path).on_mirror("opening the mirror's directory")?;
        finish_open_dir(pass, &source, &mirror)
    });
    if finished.is_err() {
        // By its path it may not be found again: it may have been renamed.
        pass.stray(ino);
    }
    Ok(pass.enter(|| path.clone(), finished)?.is_some())
}

/// The same, for a directory that is open on both sides.
pub(in crate::tree) fn finish_open_dir(
    pass: &Pass<'_>,
    source: &Handle,
    mirror: &Handle,
) -> Result<(), Fault> {
    let stat = source.stat().on_source("examining")?;
    let wanted = Wanted::read(source, stat, &pass.rules).on_source("reading attributes")?;
    let applied = wanted.apply(mirror, &mirror.fd, b".", &pass.rules).on_mirror("setting metadata of")?;
    lock_if(mirror, applied.locks).on_mirror("setting flags of")?;
    applied.flaw().map_or(Ok(()), Err)
}

/// Gives names to inodes that are in place, and finishes the directories that gained them.
pub(in crate::tree) fn link_all(room: &Room<'_>, workspace: &Workspace, links: &Links) -> Result<(), Error> {
    let (pass, mut touched) = (room.pass, BTreeMap::new());
    for one in links.iter() {
        pass.go_on()?;
        let link = || is_still(pass, links, &one).and_then(|()| link_one(pass, workspace, &one));
        let linked = room.with(0, Fault::is_no_room, link)?;
        if linked.is_err() {
            pass.stray(one.dir.ino);
        }
        if pass.enter(|| one.dir.path.join(&one.name), linked)?.is_some() {
            pass.count(|counts| if one.renamed { counts.renamed += 1 } else { counts.hardlinks += 1 });
        }
        touched.insert(one.dir.path, one.dir.ino);
    }
    touched.iter().rev().try_for_each(|(path, ino)| finish_dir(pass, path, *ino).map(drop))
}

/// Whether the inode that bears the first name is the one that was meant, and the further name is still one of its names.
fn is_still(pass: &Pass<'_>, links: &Links, link: &LinkTo) -> Result<(), Fault> {
    if links.awaits(link.number) && !pass.has_in_place(link.number) {
        return Err(Fault::Replaced);
    }
    let dir = open_listed(pass, &link.dir.path, link.dir.ino)?;
    let found = stat_at(&dir.fd, &link.name).on_source("examining")?;
    if found.ino == link.ino { Ok(()) } else { Err(Fault::Replaced) }
}

fn link_one(pass: &Pass<'_>, workspace: &Workspace, link: &LinkTo) -> Result<(), Fault> {
    let leader_dir = pass.mirror_dir(&link.leader_dir).on_mirror("opening the mirror's directory")?;
    let target = open_mirror(pass, &link.dir.path)?;
    let temporary = workspace.name();
    let locks = link_unlocked(pass, &leader_dir, &link.leader, workspace, &temporary)?;
    let (dir, name, over) = (link.dir.path.clone(), link.name.clone(), link.over);
    // Not a directory: its exact type does not matter here.
    let kind = Kind::File;
    put(
        pass,
        workspace,
        &target,
        &Pending {
            dir,
            name,
            temporary,
            kind,
            over,
            locks,
            bytes: 0,
            flaw: None,
            hash: None,
            slot: 0,
            leads: None,
            renamed: false,
        },
    )
}

/// Links the leader into the workspace. A lock (chattr +i, +a) forbids that: it is taken off, and given back to be set.
pub(in crate::tree) fn link_unlocked(
    pass: &Pass<'_>,
    leader_dir: &Handle,
    leader: &[u8],
    workspace: &Workspace,
    temporary: &[u8],
) -> Result<u32, Fault> {
    use crate::sys::flags::{self, LOCKS};
    match dir::link(&leader_dir.fd, leader, &workspace.nest.dir.fd, temporary) {
        Err(error) if error.raw_os_error() == Some(libc::EPERM) && pass.rules.privileged => {
            let handle = dir::open_read(&leader_dir.fd, leader).on_mirror("opening")?;
            let locks = flags::get(&handle.fd).on_mirror("reading flags of")?.unwrap_or(0) & LOCKS;
            crate::tree::entry::metadata::unlock(&handle).on_mirror("unlocking")?;
            dir::link(&leader_dir.fd, leader, &workspace.nest.dir.fd, temporary).on_mirror("linking")?;
            Ok(locks)
        }
        other => other.on_mirror("linking").map(|()| 0),
    }
}
