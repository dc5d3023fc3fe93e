//! Gives an entry of the mirror the source's owner, attributes, mode, flags and times, in the order in which none
//! undoes another: chown clears setuid and file capabilities, a lock (chattr +i, +a) forbids everything after it.

use super::attrs::{Attrs, Rules};
use crate::sys::dir::{self, Handle};
use crate::sys::flags::{self, LOCKS};
use crate::sys::stat::{Kind, Stat};
use std::io;
use std::os::fd::OwnedFd;

/// What the mirror's entry shall have.
pub(super) struct Wanted {
    /// Owner, mode, times.
    pub stat: Stat,
    /// Extended attributes, flags, project.
    pub attrs: Attrs,
}

impl Wanted {
    /// What the source's entry has that is open as `handle`.
    pub fn read(handle: &Handle, stat: Stat, rules: &Rules) -> io::Result<Wanted> {
        Ok(Wanted { stat, attrs: Attrs::read(handle, rules)? })
    }
    /// Sets everything but the locks, which are given back: they can only be set when nothing else is to be done.
    /// `handle` is the entry `name` of `parent`.
    pub fn apply(&self, handle: &Handle, parent: &OwnedFd, name: &[u8], rules: &Rules) -> io::Result<u32> {
        let before = handle.stat()?;
        if before.locked {
            unlock(handle)?;
        }
        if rules.privileged && rules.owners && (before.uid, before.gid) != (self.stat.uid, self.stat.gid) {
            dir::set_owner(handle, self.stat.uid, self.stat.gid)?;
        }
        self.let_me_write(handle, &before, rules)?;
        self.attrs.set_xattrs(handle, rules)?;
        if self.stat.kind != Kind::Symlink && rules.owners && handle.stat()?.mode != self.stat.mode {
            dir::set_mode(handle, self.stat.mode)?;
        }
        let locks = self.attrs.set_flags(handle, rules)?;
        if handle.stat()?.mtime != self.stat.mtime {
            self.set_mtime(handle, parent, name)?;
        }
        Ok(locks)
    }
    /// Without privilege, attributes can only be set on what its owner may write.
    fn let_me_write(&self, handle: &Handle, before: &Stat, rules: &Rules) -> io::Result<()> {
        let moded = matches!(self.stat.kind, Kind::File | Kind::Dir);
        if moded && !rules.privileged && before.mode & 0o200 == 0 {
            dir::set_mode(handle, before.mode | 0o200)?;
        }
        Ok(())
    }
    fn set_mtime(&self, handle: &Handle, parent: &OwnedFd, name: &[u8]) -> io::Result<()> {
        if handle.path_only {
            dir::set_mtime_at(parent, name, self.stat.mtime)
        } else {
            dir::set_mtime(handle, self.stat.mtime)
        }
    }
}

/// Takes chattr +i and +a from an open file or directory.
pub(super) fn unlock(handle: &Handle) -> io::Result<()> {
    if let Some(current) = flags::get(&handle.fd)?
        && current & LOCKS != 0
    {
        flags::set(&handle.fd, current & !LOCKS)?;
    }
    Ok(())
}

/// Sets chattr +i and +a as given.
pub(super) fn lock(handle: &Handle, locks: u32) -> io::Result<()> {
    let current = flags::get(&handle.fd)?.unwrap_or(0);
    if locks & !current != 0 {
        flags::set(&handle.fd, current | locks)?;
    }
    Ok(())
}
