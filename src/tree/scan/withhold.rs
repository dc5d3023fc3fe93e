//! Files of the source that are known to be damaged: their content changed although nobody wrote to them. The mirror has
//! what they held, and keeps it, in whatever way they come up for copying, until somebody has written to them or has said
//! that the damage is meant.

use crate::sys::dir::{Handle, open_read};
use crate::sys::stat::{Kind, Stat};
use crate::tree::base::fault::{Fault, Sided};
use crate::tree::base::listing::Entry;
use crate::tree::base::quarantine::{Hold, is_absent};
use crate::tree::base::relpath::RelPath;
use crate::tree::changes::change::Aspects;
use crate::tree::content::compare::{hash, hash_of_disk};
use crate::tree::pass::Pass;
use crate::tree::scan::difference::Sides;
use crate::tree::scan::look::Memory;

/// Whether a file of the source must not be copied over the mirror's: it is known to be damaged, or, where it differs in
/// `aspects` although it is proven, found to be so.
pub(in crate::tree) fn held_back(
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
pub(in crate::tree) fn withholds(
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
