//! A lock that the kernel holds: gone with the process that took it, however that ended. The file's content only
//! says who; it decides nothing, and the file stays.

use super::read;
use rustix::fs::{FlockOperation, flock};
use serde::{Deserialize, Serialize};
use std::fs::{File, OpenOptions};
use std::io::{self, Seek, Write};
use std::os::unix::fs::{MetadataExt, OpenOptionsExt};
use std::path::Path;

/// Who holds a lock.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct Holder {
    /// The process.
    pub pid: u32,
    /// Since when, in seconds since 1970.
    pub since: i64,
    /// What it is doing: a command line.
    pub what: String,
}

/// A lock that is held until it is dropped.
#[derive(Debug)]
pub struct Lock {
    /// Closed on drop, which is what frees the lock.
    _file: File,
}

/// What came of an attempt to take a lock.
#[derive(Debug)]
pub enum Attempt {
    /// It is held now.
    Taken(Lock),
    /// Somebody else has it: who, if the holder has said so yet.
    Busy(Option<Holder>),
}

/// Takes the lock at `path` for `holder`, or says who has it.
///
/// The descriptor is closed in every tool that is started: none of them can keep the lock beyond us.
///
/// # Errors
/// The system's, of opening and writing the file.
pub fn acquire(path: &Path, holder: &Holder) -> io::Result<Attempt> {
    let mut file =
        OpenOptions::new().read(true).write(true).create(true).truncate(false).mode(0o600).open(path)?;
    match flock(&file, FlockOperation::NonBlockingLockExclusive) {
        Ok(()) => {
            // A full file system keeps nobody from holding it.
            let _ = file.set_len(0).and_then(|()| file.write_all(serde_json::to_string(holder)?.as_bytes()));
            Ok(Attempt::Taken(Lock { _file: file }))
        }
        Err(rustix::io::Errno::WOULDBLOCK) => {
            file.rewind()?;
            Ok(Attempt::Busy(serde_json::from_slice(&read::whole(&file, read::STATE_BYTES)?).ok()))
        }
        Err(error) => Err(error.into()),
    }
}

/// Who holds the lock at `path` now, as far as can be seen without trying to take it: a trial would be in the way of one
/// who takes it in that moment. proc(5), /proc/locks: `1: FLOCK  ADVISORY  WRITE 708 00:18:1131 0 EOF`.
pub fn held_by(path: &Path) -> Option<Holder> {
    let inode = std::fs::metadata(path).ok()?.ino().to_string();
    let holder: Holder = serde_json::from_slice(&read::file(path, read::STATE_BYTES).ok()?).ok()?;
    let locks = std::fs::read_to_string("/proc/locks").ok()?;
    let is_it = |line: &str| {
        let words: Vec<&str> = line.split_whitespace().collect();
        let of_inode = words.get(5).and_then(|place| place.rsplit(':').next());
        words.get(1) == Some(&"FLOCK")
            && words.get(4) == Some(&holder.pid.to_string().as_str())
            && of_inode == Some(&inode)
    };
    locks.lines().any(is_it).then_some(holder)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_second_taker_is_told_who_holds_it_and_a_third_finds_it_free() {
        let dir = tempfile::tempdir().expect("a temporary directory");
        let path = dir.path().join("a.lock");
        let holder = Holder { pid: std::process::id(), since: 1_700_000_000, what: "diskmirror run".into() };
        let attempt = |holder: &Holder| acquire(&path, holder).expect("the file can be made and read");
        let Attempt::Taken(held) = attempt(&holder) else { panic!("nobody has it") };
        assert_eq!(held_by(&path).as_ref(), Some(&holder));
        let other = Holder { pid: 8, ..holder.clone() };
        let Attempt::Busy(who) = attempt(&other) else { panic!("it is held") };
        assert_eq!(who, Some(holder));
        drop(held);
        assert_eq!(held_by(&path), None);
        assert!(matches!(attempt(&other), Attempt::Taken(_)));
    }
}
