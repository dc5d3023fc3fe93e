//! Files of the source that are known to be damaged: their content changed although nobody wrote to them. The mirror has
//! what they held, and keeps it, in whatever way they come up for copying, until somebody has written to them or has said
//! that the damage is meant.

use super::change::Aspects;
use super::content::compare::{hash, hash_of_disk};
use super::difference::Sides;
use super::fault::{Fault, Sided};
use super::listing::Entry;
use super::look::Memory;
use super::pass::Pass;
use super::relpath::RelPath;
use super::view::View;
use crate::sys::dir::{Handle, open_read};
use crate::sys::stat::{Kind, Stat, Timestamp, stat_at};
use std::collections::BTreeMap;
use std::sync::{Arc, Mutex, MutexGuard};

/// What is known of one such file.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Hold {
    /// Its inode.
    pub ino: u64,
    /// Its ctime when its content was last looked at.
    pub ctime: Timestamp,
    /// BLAKE3 of the content that must not reach the mirror.
    pub bad: [u8; 32],
    /// BLAKE3 of the content that the mirror has.
    pub good: [u8; 32],
    /// Whether it was found to be good again: then it is looked at before anything is withheld.
    pub is_doubtful: bool,
    /// Whether it may reach it all the same, this time.
    pub accepted: bool,
}

/// All of one tree, by path. Clones share what they know.
#[derive(Debug, Clone, Default)]
pub struct Held(Arc<Mutex<BTreeMap<RelPath, Hold>>>);

impl Held {
    /// These.
    pub fn new(holds: impl IntoIterator<Item = (RelPath, Hold)>) -> Self {
        Held(Arc::new(Mutex::new(holds.into_iter().collect())))
    }
    fn all(&self) -> MutexGuard<'_, BTreeMap<RelPath, Hold>> {
        self.0.lock().expect("no thread panics while noting")
    }
    /// Whether there are none.
    pub fn is_empty(&self) -> bool {
        self.all().is_empty()
    }
    /// What is held by now.
    pub fn holds(&self) -> Vec<(RelPath, Hold)> {
        self.all().iter().map(|(path, hold)| (path.clone(), *hold)).collect()
    }
    /// Notes that one was found to be good again.
    pub fn doubt(&self, path: &RelPath) {
        self.all().entry(path.clone()).and_modify(|hold| hold.is_doubtful = true);
    }
    /// Enters one, or what is newly known of it.
    pub fn put(&self, path: RelPath, hold: Hold) {
        self.all().insert(path, hold);
    }
    /// Lets one go.
    pub fn release(&self, path: &RelPath) {
        self.all().remove(path);
    }
    /// That of a path.
    pub fn get(&self, path: &RelPath) -> Option<Hold> {
        self.all().get(path).copied()
    }
    /// Whether the content of a path is to reach the mirror all the same.
    pub fn accepts(&self, path: &RelPath) -> bool {
        self.get(path).is_some_and(|hold| hold.accepted)
    }
    /// That of a path, or of another name of its inode.
    fn of(&self, path: &RelPath, ino: u64) -> Option<(RelPath, Hold)> {
        let all = self.all();
        let found = all.get_key_value(path).or_else(|| all.iter().find(|(_, hold)| hold.ino == ino));
        found.map(|(path, hold)| (path.clone(), *hold))
    }
}

/// Whether nothing is at `path` any more.
pub fn is_absent(source: &View, path: &RelPath) -> bool {
    let Some((dir, name)) = path.split() else { return false };
    let looked = source.open_dir(&dir).and_then(|dir| stat_at(&dir, name));
    looked.is_err_and(|error| matches!(error.raw_os_error(), Some(libc::ENOENT | libc::ENOTDIR)))
}

/// Whether a file of the source must not be copied over the mirror's: it is known to be damaged, or, where it differs in
/// `aspects` although it is proven, found to be so.
pub(super) fn held_back(
    sides: &Sides<'_>,
    memory: &Memory<'_>,
    (source, stat): (&Entry, &Stat),
    path: impl Fn() -> RelPath,
    aspects: Option<Aspects>,
) -> Result<bool, Fault> {
    let (name, pass) = (&*source.name, sides.pass);
    if stat.kind != Kind::File || sides.wanted.is_some_and(|wanted| wanted.contains_key(name)) {
        return Ok(false);
    }
    let file = (&sides.source, name);
    match aspects {
        None if pass.options.held.is_empty() => Ok(false),
        None => withholds(pass, file, &path(), stat),
        Some(aspects) if !source.proven || !aspects.has(Aspects::CONTENT) => Ok(false),
        Some(_) => match memory.hash_of(name) {
            Some(recorded) => is_damaged(pass, file, &path(), stat, recorded),
            None => Ok(false),
        },
    }
}

/// Whether the file `name` of the source's directory `dir`, which is `path`, is one that must not be copied. One that has
/// been written to is let go; one that was renamed is known by its new name from now on.
pub(super) fn withholds(
    pass: &Pass<'_>,
    (dir, name): (&Handle, &[u8]),
    path: &RelPath,
    stat: &Stat,
) -> Result<bool, Fault> {
    let held = &pass.options.held;
    let Some((at, hold)) = held.of(path, stat.ino).filter(|(_, hold)| !hold.accepted) else {
        return Ok(false);
    };
    let unchanged = (hold.ino, hold.ctime) == (stat.ino, stat.ctime);
    let is_bad = match unchanged && !hold.is_doubtful {
        true => true,
        false => {
            let file = open_read(&dir.fd, name).on_source("opening")?;
            let found = hash(pass, &file.fd, stat.size)?;
            found == Some(hold.bad) || unchanged && found != Some(hold.good)
        }
    };
    if !is_bad {
        held.release(&at);
        return Ok(false);
    }
    let renamed = at != *path && is_absent(pass.source, &at);
    if renamed {
        held.release(&at);
    }
    let at = if renamed { path.clone() } else { at };
    held.put(at, Hold { ino: stat.ino, ctime: stat.ctime, is_doubtful: false, ..hold });
    Ok(true)
}

/// Whether a file of the source that nobody has written to is not what was copied, whose hash is `recorded`: then it is held
/// from now on.
fn is_damaged(
    pass: &Pass<'_>,
    (dir, name): (&Handle, &[u8]),
    path: &RelPath,
    stat: &Stat,
    recorded: [u8; 32],
) -> Result<bool, Fault> {
    let held = &pass.options.held;
    if held.accepts(path) {
        return Ok(false);
    }
    let file = open_read(&dir.fd, name).on_source("opening")?;
    let found = hash_of_disk(pass, &file.fd, stat.size)?;
    let after = file.stat().on_source("examining")?;
    if (after.ino, after.ctime, after.size) != (stat.ino, stat.ctime, stat.size) {
        return Err(Fault::Changing);
    }
    let Some(bad) = found.filter(|found| *found != recorded) else { return Ok(false) };
    let hold =
        Hold { ino: stat.ino, ctime: stat.ctime, bad, good: recorded, is_doubtful: false, accepted: false };
    held.put(path.clone(), hold);
    Ok(true)
}
