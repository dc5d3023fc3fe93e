//! Room on a mirror that has too little for old and new side by side. What is complete has taken its place by then; now what
//! is to be deleted goes, in steps and under the same rules as at the end, until there is room for what comes next.
//!
//! Two dumps of 70 MiB, each under its own name, on a mirror of 160 MiB: `dump-monday` goes, then `dump-tuesday` is copied.

use crate::sys::dir::sync_volume;
use crate::sys::volume::{Space, space};
use crate::tree::apply::deletions::Deleting;
use crate::tree::base::fault::{Error, at_root};
use crate::tree::base::view::View;
use crate::tree::changes::Changes;
use crate::tree::pass::Pass;
use std::sync::atomic::Ordering::Relaxed;

/// Deletions are carried out in so many steps at most: each reads their list once.
const STEPS: usize = 16;
/// What an entry takes beside its content, in bytes: a block of its directory, one of its attributes.
const BESIDE: u64 = 8192;

/// Makes room on one mirror while its additions are carried out.
pub(in crate::tree) struct Room<'a> {
    pub pass: &'a Pass<'a>,
    /// What is to be done; none where deletions are not a list of their own.
    pub changes: Option<&'a Changes>,
}

impl Room<'_> {
    /// Does `work`, which needs room for `bytes` of content, again and again while it finds none and some can be made.
    pub fn with<T, E>(
        &self,
        bytes: u64,
        is_no_room: impl Fn(&E) -> bool,
        mut work: impl FnMut() -> Result<T, E>,
    ) -> Result<Result<T, E>, Error> {
        loop {
            let done = work();
            let is_short = done.as_ref().is_err_and(&is_no_room);
            if !is_short || !self.make(bytes)? {
                return Ok(done);
            }
        }
    }
    /// Deletes until there is room for a file of `bytes`, or nothing is left to delete. Gives back whether anything was.
    fn make(&self, bytes: u64) -> Result<bool, Error> {
        let Some(changes) = self.changes else { return Ok(false) };
        let mut spool = changes.deletions.lock().expect("no thread panics while spooling");
        let (done, total) = (changes.deleted.load(Relaxed), changes.deletion_records);
        let deleting = Deleting::new(self.pass, changes);
        let mut step = 0;
        for change in spool.replay().map_err(at_root("listing"))?.skip(done) {
            deleting.in_dir(&change.map_err(at_root("listing"))?)?;
            changes.deleted.fetch_add(1, Relaxed);
            step += 1;
            if step >= total.div_ceil(STEPS) && self.fits(bytes)? {
                break;
            }
        }
        if step > 0 {
            // What was freed may only be used when it is known on the disk that it is free.
            sync_volume(self.pass.mirror.root()).map_err(at_root("flushing"))?;
        }
        Ok(step > 0)
    }
    fn fits(&self, bytes: u64) -> Result<bool, Error> {
        let Space { bytes: free, inodes } = space(self.pass.mirror.root()).map_err(at_root("examining"))?;
        Ok(free > bytes.saturating_add(BESIDE) && inodes.is_none_or(|free| free > 1))
    }
}

/// Whether a mirror has room for what is to be made on it; what an administrator should know, if it has not. Bytes and
/// inodes are those of the changes; what is deleted and replaced makes room while they are carried out.
///
/// # Errors
/// The system's.
pub fn shortage(changes: &Changes, mirror: &View) -> std::io::Result<Option<String>> {
    let tally = &changes.tally;
    let Space { bytes, inodes } = space(mirror.root())?;
    let lacks = |needed: u64, free: u64| needed.saturating_sub(free);
    let needed_bytes = tally.to_copy_bytes + tally.to_copy * BESIDE / 4;
    let short = [
        (lacks(needed_bytes, bytes), lacks(needed_bytes, bytes.saturating_add(tally.to_free_bytes)), "bytes"),
        match inodes {
            Some(free) => {
                let more = free.saturating_add(tally.to_delete + tally.to_replace);
                (lacks(tally.to_copy, free), lacks(tally.to_copy, more), "inodes")
            }
            None => (0, 0, "inodes"),
        },
    ];
    let never: Vec<String> =
        short.iter().filter(|(_, never, _)| *never > 0).map(|(_, n, what)| format!("{n} {what}")).collect();
    let now: Vec<String> =
        short.iter().filter(|(now, ..)| *now > 0).map(|(n, _, what)| format!("{n} {what}")).collect();
    Ok(match (never.is_empty(), now.is_empty()) {
        (_, true) => None,
        (true, false) => Some(format!(
            "room for old and new side by side lacks {}: what is to be deleted goes before some of it is copied",
            now.join(" and ")
        )),
        (false, _) => Some(format!(
            "it has too little room, by about {}: what fits is copied, the rest is named and stays as it was",
            never.join(" and ")
        )),
    })
}
