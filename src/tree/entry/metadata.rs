//! Gives an entry of the mirror the source's owner, attributes, mode, flags and times, in the order in which none
//! undoes another: chown clears setuid and file capabilities, a lock (chattr +i, +a) forbids everything after it.

use crate::sys::dir::{self, Handle};
use crate::sys::flags::{self, LOCKS};
use crate::sys::stat::{Kind, Stat};
use crate::tree::base::fault::Fault;
use crate::tree::entry::attrs::{Attrs, XattrsSet};
use crate::tree::entry::parent::Born;
use crate::tree::pass::Rules;
use std::io;
use std::os::fd::OwnedFd;

/// What the mirror's entry shall have.
pub(in crate::tree) struct Wanted {
    /// Owner, mode, times.
    pub stat: Stat,
    /// Extended attributes, flags, project.
    pub attrs: Attrs,
}

/// What is left when an entry has its metadata.
#[derive(Debug, Default)]
pub(in crate::tree) struct Applied {
    /// chattr flags, which can only be set when nothing else is to be done.
    pub locks: u32,
    /// What the mirror could not keep, and why: the entry has all the rest.
    pub refused: Option<io::Error>,
}

impl Applied {
    /// What of it is to be told.
    pub fn flaw(self) -> Option<Fault> {
        self.refused.map(|error| Fault::Mirror("setting attributes of", error))
    }
}

impl Wanted {
    /// What the source's entry has that is open as `handle`.
    pub fn read(handle: &Handle, stat: Stat, rules: &Rules) -> io::Result<Wanted> {
        Ok(Wanted { stat, attrs: Attrs::read(handle, rules)? })
    }
    /// Sets everything but the locks, which are given back: they can only be set when nothing else is to be done.
    /// `handle` is the entry `name` of `parent`.
    pub fn apply(
        &self,
        handle: &Handle,
        parent: &OwnedFd,
        name: &[u8],
        rules: &Rules,
    ) -> io::Result<Applied> {
        let before = handle.stat()?;
        if before.locked {
            unlock(handle)?;
        }
        let mut touched = self.set_owner(handle, (before.uid, before.gid), rules)?;
        touched |= self.let_me_write(handle, &before, rules)?;
        let XattrsSet { differed, refused } = self.attrs.set_xattrs(handle, rules)?;
        touched |= differed;
        if touched || before.mode != self.stat.mode {
            self.set_mode(handle, rules)?;
        }
        let locks = self.attrs.set_flags(handle, rules)?;
        if before.mtime != self.stat.mtime {
            self.set_mtime(handle, parent, name)?;
        }
        Ok(Applied { locks, refused })
    }
    /// The same for a file that was just made and has, beside its content, what every file is `born` with there.
    pub fn give(&self, file: &Handle, born: &Born, rules: &Rules) -> io::Result<Applied> {
        self.set_owner(file, born.owner, rules)?;
        let refused = match born.bare {
            true => self.attrs.add_xattrs(file)?,
            false => self.attrs.set_xattrs(file, rules)?.refused,
        };
        self.set_mode(file, rules)?;
        let locks =
            if self.attrs.is_flagged_as(&born.attrs) { 0 } else { self.attrs.set_flags(file, rules)? };
        dir::set_mtime(file, self.stat.mtime)?;
        Ok(Applied { locks, refused })
    }
    /// The same for a symbolic link without attributes, the entry `name` of `parent`: it need not be opened.
    pub fn give_link(&self, parent: &OwnedFd, name: &[u8], born: &Born, rules: &Rules) -> io::Result<()> {
        let owner = (self.stat.uid, self.stat.gid);
        if rules.sets_owners() && born.owner != owner {
            dir::set_owner_at(parent, name, owner.0, owner.1)?;
        }
        dir::set_mtime_at(parent, name, self.stat.mtime)
    }
    /// Gives back whether it was another.
    fn set_owner(&self, handle: &Handle, before: (u32, u32), rules: &Rules) -> io::Result<bool> {
        let owner = (self.stat.uid, self.stat.gid);
        let differs = rules.sets_owners() && before != owner;
        if differs {
            dir::set_owner(handle, owner.0, owner.1)?;
        }
        Ok(differs)
    }
    fn set_mode(&self, handle: &Handle, rules: &Rules) -> io::Result<()> {
        if self.stat.kind == Kind::Symlink || !rules.owners {
            return Ok(());
        }
        dir::set_mode(handle, self.stat.mode)
    }
    /// Without privilege, attributes can only be set on what its owner may write. Gives back whether it was not.
    fn let_me_write(&self, handle: &Handle, before: &Stat, rules: &Rules) -> io::Result<bool> {
        let moded = matches!(self.stat.kind, Kind::File | Kind::Dir);
        let closed = moded && !rules.privileged && before.mode & 0o200 == 0;
        if closed {
            dir::set_mode(handle, before.mode | 0o200)?;
        }
        Ok(closed)
    }
    fn set_mtime(&self, handle: &Handle, parent: &OwnedFd, name: &[u8]) -> io::Result<()> {
        if handle.path_only {
            dir::set_mtime_at(parent, name, self.stat.mtime)
        } else {
            dir::set_mtime(handle, self.stat.mtime)
        }
    }
}

/// Closes an entry of the mirror to everybody to whom the source's, which `source` describes, is closed, and where they
/// differ in owner or attributes (`others`: an access control list is one) to everybody but its owner: comes before new
/// content is written where others may look on. What it shall have at last, it gets when that is done.
pub(in crate::tree) fn tighten(
    handle: &Handle,
    source: &Stat,
    others: bool,
    rules: &Rules,
) -> io::Result<()> {
    let is = handle.stat()?;
    if !rules.owners {
        return Ok(());
    }
    let is_foreign = rules.sets_owners() && (is.uid, is.gid) != (source.uid, source.gid);
    let closed = is.mode & source.mode & if is_foreign || others { 0o700 } else { 0o7777 };
    if is.mode != closed {
        dir::set_mode(handle, closed)?;
    }
    if is_foreign {
        dir::set_owner(handle, source.uid, source.gid)?;
    }
    Ok(())
}

/// Takes chattr +i and +a from an open file or directory.
pub(in crate::tree) fn unlock(handle: &Handle) -> io::Result<()> {
    if let Some(current) = flags::get(&handle.fd)?
        && current & LOCKS != 0
    {
        flags::set(&handle.fd, current & !LOCKS)?;
    }
    Ok(())
}

/// Sets chattr +i and +a as given.
pub(in crate::tree) fn lock(handle: &Handle, locks: u32) -> io::Result<()> {
    let current = flags::get(&handle.fd)?.unwrap_or(0);
    if locks & !current != 0 {
        flags::set(&handle.fd, current | locks)?;
    }
    Ok(())
}

/// Gives a file its locks back, if it has other names than the one that was taken from it.
pub(in crate::tree) fn lock_again(file: &Handle, locks: u32) -> io::Result<()> {
    if file.stat()?.nlink > 0 { lock(file, locks) } else { Ok(()) }
}
