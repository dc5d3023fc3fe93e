//! What a run leaves behind, whatever happened to it: what history and status read, and what gives the exit code.

mod boot_test;
mod finding;
mod verify;
mod waited;

pub use boot_test::{BootTestRecord, Verdict};
pub use finding::Finding;
pub use verify::{DifferenceRecord, VerifiedVolume, VerifyRecord};
pub use waited::Waited;

use crate::escape;
use crate::exit_code::Exit;
use serde::{Deserialize, Serialize};

/// Errors kept in a record; the rest is only counted.
pub const MAX_ERRORS: usize = 100;

/// A run that takes so many times the interval says so.
pub const LATE_AFTER: i64 = 4;

/// How a run ended, or that it has not.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum State {
    /// It has begun.
    Running,
    /// Everything was done.
    Done,
    /// Finished, but some files or a file system were not copied.
    Incomplete,
    /// Finished, but the audit found what on the mirror still needs the primary.
    NotAlone,
    /// Finished, but a share that was verified is not what it should be, on the mirror or on the primary.
    Differs,
    /// It could not be finished.
    Failed,
    /// It was not begun: nothing was written.
    Refused,
    /// A signal ended it, cleanly.
    Stopped,
    /// Another run holds the lock.
    Locked,
    /// It ended without a word: a kill or a power cut. Found out by the next run.
    Killed,
}

impl State {
    /// The name in the history and in JSON.
    pub const fn name(self) -> &'static str {
        match self {
            State::Running => "running",
            State::Done => "done",
            State::Incomplete => "incomplete",
            State::NotAlone => "not_alone",
            State::Differs => "differs",
            State::Failed => "failed",
            State::Refused => "refused",
            State::Stopped => "stopped",
            State::Locked => "locked",
            State::Killed => "killed",
        }
    }

    /// What the shell is told.
    pub const fn exit(self) -> Exit {
        match self {
            State::Done => Exit::Done,
            State::Incomplete => Exit::Incomplete,
            State::NotAlone | State::Differs => Exit::Differences,
            State::Refused => Exit::Refused,
            State::Locked => Exit::Locked,
            State::Running | State::Failed | State::Stopped | State::Killed => Exit::Failed,
        }
    }
}

/// What was done to one file system: `sync`'s figures.
#[derive(Debug, Clone, Default, PartialEq, Serialize, Deserialize)]
pub struct VolumeRecord {
    /// Where the primary mounts it.
    pub mount: String,
    /// Entries that were compared.
    pub entries_scanned: u64,
    /// Files whose content was copied.
    pub files_copied: u64,
    /// Bytes of content that were copied.
    pub bytes_copied: u64,
    /// Hard links that were made.
    pub hardlinks: u64,
    /// Entries of which only metadata changed.
    pub metadata_changed: u64,
    /// Entries that were moved instead of copied.
    pub renamed: u64,
    /// Entries that were deleted.
    pub deleted: u64,
    /// Entries that a verification had found damaged, and that are mended.
    #[serde(default)]
    pub repaired: u64,
    /// Entries that could not be copied.
    pub errors: u64,
    /// How long the work on it took.
    pub seconds: f64,
}

/// What a run knows about whether the mirror boots alone.
#[derive(Debug, Clone, Default, PartialEq, Eq, Serialize, Deserialize)]
pub struct BootRecord {
    /// Why it may not boot, a line each; empty if everything that a boot needs is prepared.
    pub problems: Vec<String>,
    /// What on it still names the primary, or names what nobody has, a line each.
    pub findings: Vec<String>,
    /// What names the primary where no boot is known to read it, a line each; each is remarked once.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    pub remarks: Vec<String>,
    /// The state of all that it boots from, as the run left it; none if that is not known.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub digest: Option<String>,
}

/// One run.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
pub struct RunRecord {
    /// Its number: grows by one with each run; 0 until the history has given it one.
    pub id: i64,
    /// The mirror's name.
    pub mirror: String,
    /// When it began, in seconds since 1970.
    pub started: i64,
    /// When it ended, likewise.
    pub ended: Option<i64>,
    /// How it ended.
    pub state: State,
    /// The file systems that were worked on.
    pub volumes: Vec<VolumeRecord>,
    /// The first errors, a line each.
    pub errors: Vec<String>,
    /// What stopped it, or what was left out: the message as it was shown.
    pub message: Option<String>,
    /// What was found when a share was verified; it is in the history as a verification of its own.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub verified: Option<VerifiedVolume>,
    /// Whether the mirror boots alone; none where the run did not come that far.
    pub boot: Option<BootRecord>,
    /// What it waited on purpose.
    pub waited: Waited,
}

impl RunRecord {
    /// A run of `mirror` that begins now.
    pub fn begun(mirror: &str, started: i64) -> Self {
        RunRecord {
            id: 0,
            mirror: mirror.to_owned(),
            started,
            ended: None,
            state: State::Running,
            volumes: Vec::new(),
            errors: Vec::new(),
            message: None,
            verified: None,
            boot: None,
            waited: Waited::default(),
        }
    }

    /// The exit code that follows from how it ended.
    pub const fn exit(&self) -> Exit {
        self.state.exit()
    }

    /// How a run ended that came to its end, with so many `errors` on all file systems.
    pub fn finished(&self, errors: u64) -> State {
        let boot = self.boot.clone().unwrap_or_default();
        let differs = self.verified.as_ref().is_some_and(|total| total.differences() > 0);
        match errors > 0 || !boot.problems.is_empty() || !self.errors.is_empty() {
            _ if !boot.findings.is_empty() => State::NotAlone,
            _ if differs => State::Differs,
            true => State::Incomplete,
            false => State::Done,
        }
    }

    /// Keeps an error, unless there are too many already.
    pub fn error(&mut self, line: impl Into<String>) {
        if self.errors.len() < MAX_ERRORS {
            self.errors.push(escape::line(&line.into()).into_owned());
        }
    }

    /// Keeps, before all other errors, what went wrong beside the file systems (with the history, a catalog, what is
    /// kept): with that no run is complete.
    pub fn trouble(&mut self, line: impl Into<String>) {
        self.errors.insert(0, line.into());
        self.errors.truncate(MAX_ERRORS);
        if self.state == State::Done {
            self.state = State::Incomplete;
        }
    }

    /// How many times the interval (seconds) it took, if that is so many that it cannot keep up: `LATE_AFTER` or more.
    pub fn late(&self, interval: i64) -> Option<i64> {
        let intervals = (self.ended? - self.started) / interval;
        (intervals >= LATE_AFTER).then_some(intervals)
    }

    /// The sums over all file systems.
    pub fn total(&self) -> VolumeRecord {
        let mut total = VolumeRecord::default();
        for volume in &self.volumes {
            total.entries_scanned += volume.entries_scanned;
            total.files_copied += volume.files_copied;
            total.bytes_copied += volume.bytes_copied;
            total.hardlinks += volume.hardlinks;
            total.metadata_changed += volume.metadata_changed;
            total.renamed += volume.renamed;
            total.deleted += volume.deleted;
            total.repaired += volume.repaired;
            total.errors += volume.errors;
            total.seconds += volume.seconds;
        }
        total
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn only_a_run_that_did_everything_ends_with_zero() {
        for state in [
            State::Running,
            State::Incomplete,
            State::NotAlone,
            State::Differs,
            State::Failed,
            State::Refused,
            State::Stopped,
            State::Locked,
            State::Killed,
        ] {
            assert_ne!(state.exit(), Exit::Done, "{state:?}");
        }
        assert_eq!(State::Done.exit(), Exit::Done);
    }

    #[test]
    fn a_run_is_late_from_four_intervals_on() {
        let of = |ended| RunRecord { ended, ..RunRecord::begun("mirror", 1000) }.late(900);
        assert_eq!(
            [None, Some(1000), Some(4599), Some(4600), Some(10_000)].map(of),
            [None, None, None, Some(4), Some(10)]
        );
    }

    #[test]
    fn with_trouble_beside_the_file_systems_no_run_is_complete_and_none_is_better_than_it_was() {
        let mut record = RunRecord { state: State::Done, ..RunRecord::begun("mirror", 0) };
        (0..1000).for_each(|n| record.error(format!("error {n}")));
        record.trouble("no history");
        assert_eq!((record.exit(), record.errors[0].as_str()), (Exit::Incomplete, "no history"));
        assert_eq!(record.errors.len(), MAX_ERRORS);
        record.state = State::Failed;
        record.trouble("no catalog");
        assert_eq!(record.exit(), Exit::Failed);
    }

    #[test]
    fn a_dying_disk_does_not_fill_the_history() {
        let mut record = RunRecord::begun("mirror", 0);
        (0..1000).for_each(|n| record.error(format!("error {n}")));
        assert_eq!(record.errors.len(), MAX_ERRORS);
    }
}
