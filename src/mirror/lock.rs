//! The lock of a mirror: whoever writes to it, or needs it to stay as it is, holds it.

use crate::config::Mirror;
use crate::refusal::Refusal;
use crate::sys::lock::{self, Attempt, Holder};
use crate::units::duration;
use anyhow::{Context, Result};
use std::fs::DirBuilder;
use std::os::unix::fs::DirBuilderExt;
use std::path::{Path, PathBuf};
use std::time::Duration;

/// Takes the lock of `mirror` for `holder`, or says who has it.
///
/// # Errors
/// Those of making the directory and the file.
pub fn lock(runtime_dir: &Path, mirror: &Mirror, holder: &Holder) -> Result<Attempt> {
    let path = path(runtime_dir, mirror);
    let take = || {
        DirBuilder::new().recursive(true).mode(0o700).create(runtime_dir)?;
        lock::acquire(&path, holder)
    };
    take().with_context(|| format!("cannot take the lock {}", path.display()))
}

/// Who holds the lock of `mirror` now, found out without touching it.
pub fn locked_by(runtime_dir: &Path, mirror: &Mirror) -> Option<Holder> {
    lock::held_by(&path(runtime_dir, mirror))
}

fn path(runtime_dir: &Path, mirror: &Mirror) -> PathBuf {
    runtime_dir.join(format!("{}.lock", mirror.name))
}

/// The message of one who has found the lock taken; `now` in seconds since 1970.
pub fn busy(holder: Option<Holder>, now: i64) -> Refusal {
    let refusal = Refusal::new("another run is at work", "this run did nothing");
    match holder {
        None => refusal.why("it has not said who it is yet").remedy("try again in a moment"),
        Some(Holder { pid, since, what }) => {
            let age = duration(Duration::from_secs((now - since).max(0).unsigned_abs()));
            refusal
                .why(format!("process {pid} has held the lock for {age}: {what}"))
                .remedy(format!("wait for it, or stop it cleanly: kill {pid}"))
        }
    }
}
