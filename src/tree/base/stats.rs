//! What was done, in figures, and every entry that could not be done.

use crate::monitor::Monitor;
use crate::tree::base::fault::{Error, Fault, FileError};
use crate::tree::base::relpath::RelPath;
use crate::units::thousands;
use std::ops::AddAssign;

/// How many errors are kept by name; all are counted.
const KEPT_ERRORS: usize = 1000;
/// How many are told to the monitor, a line each; of the others, their number.
const SAID_ERRORS: u64 = 100;

/// What is said of an entry of the mirror that was changed by somebody else, or by a failing disk.
const HIDDEN: &str = "the mirror's had changed, although nobody should have written to it";

/// What a scan saw and an application did.
#[derive(Debug, Default)]
pub struct Counts {
    /// Entries of the source that were compared.
    pub entries_scanned: u64,
    /// Files, symbolic links and nodes made or replaced.
    pub files_copied: u64,
    /// Bytes read from the source and written.
    pub bytes_copied: u64,
    /// Further names given to an inode.
    pub hardlinks: u64,
    /// Directories made.
    pub directories_made: u64,
    /// Entries whose metadata was changed in place.
    pub metadata_changed: u64,
    /// Entries that were renamed instead of copied.
    pub renamed: u64,
    /// Entries deleted.
    pub deleted: u64,
    /// Deletions put off: their directory could not be read whole, or the name has come back.
    pub deferred: u64,
    /// Entries that vanished between being listed and being opened.
    pub vanished: u64,
    /// Entries that could not be brought to the mirror.
    pub errors: u64,
    /// Of them, those for which it had no room.
    pub no_room: u64,
    /// The first of them.
    pub file_errors: Vec<FileError>,
}

impl Counts {
    /// Enters a fault; only one that ends the whole work comes back.
    pub(in crate::tree) fn enter(
        &mut self,
        path: RelPath,
        fault: Fault,
        monitor: &dyn Monitor,
    ) -> Result<(), Error> {
        let (fatal, no_room) = (fault.is_fatal(), fault.is_no_room());
        let (doing, error) = match fault {
            Fault::Vanished | Fault::Replaced => {
                self.vanished += 1;
                return Ok(());
            }
            Fault::Stopped => return Err(Error::Stopped),
            Fault::Changing => ("copying", std::io::Error::other("it kept changing while it was copied")),
            Fault::Hidden => ("comparing", std::io::Error::other(HIDDEN)),
            Fault::Source(doing, error) | Fault::Mirror(doing, error) => (doing, error),
        };
        if fatal {
            return Err(Error::Io { doing, path, error });
        }
        self.errors += 1;
        self.no_room += u64::from(no_room);
        if self.errors <= SAID_ERRORS {
            monitor.warn(&format!("{doing} {path}: {error}"));
        }
        if self.file_errors.len() < KEPT_ERRORS {
            self.file_errors.push(FileError { path, doing, error });
        }
        Ok(())
    }
    /// Comes when all are entered: says how many were not told.
    pub(in crate::tree) fn say_rest(&self, monitor: &dyn Monitor) {
        if self.errors > SAID_ERRORS {
            monitor.warn(&format!("… and {} more", thousands(self.errors - SAID_ERRORS)));
        }
    }
}

impl AddAssign for Counts {
    fn add_assign(&mut self, other: Counts) {
        self.entries_scanned += other.entries_scanned;
        self.files_copied += other.files_copied;
        self.bytes_copied += other.bytes_copied;
        self.hardlinks += other.hardlinks;
        self.directories_made += other.directories_made;
        self.metadata_changed += other.metadata_changed;
        self.renamed += other.renamed;
        self.deleted += other.deleted;
        self.deferred += other.deferred;
        self.vanished += other.vanished;
        self.errors += other.errors;
        self.no_room += other.no_room;
        let room = KEPT_ERRORS.saturating_sub(self.file_errors.len());
        self.file_errors.extend(other.file_errors.into_iter().take(room));
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::monitor::Unit;
    use std::sync::Mutex;

    #[derive(Default)]
    struct Said(Mutex<Vec<String>>);

    impl Monitor for Said {
        fn note(&self, _: &str) {}
        fn warn(&self, text: &str) {
            self.0.lock().expect("not poisoned").push(text.into());
        }
        fn begin(&self, _: &str, _: Option<u64>, _: Unit) {}
        fn advance(&self, _: u64) {}
        fn end(&self) {}
    }

    #[test]
    fn the_first_errors_have_a_line_each_and_the_others_one_together() {
        let (mut counts, said) = (Counts::default(), Said::default());
        for n in 0..12_445 {
            let fault = Fault::Source("reading", std::io::ErrorKind::PermissionDenied.into());
            counts.enter(RelPath::from_bytes(format!("f{n}")), fault, &said).expect("one entry's fault");
        }
        counts.say_rest(&said);
        let lines = said.0.into_inner().expect("not poisoned");
        assert_eq!((lines.len(), counts.errors), (101, 12_445));
        assert_eq!((&*lines[99], &*lines[100]), ("reading f99: permission denied", "… and 12,345 more"));
    }
}
