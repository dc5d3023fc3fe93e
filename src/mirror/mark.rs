//! The mark on each of the mirror's file systems, `/.diskmirror/mark.json`: whose it is, which run wrote it last,
//! whether that run came to its end, and whether the mirror has run as the server since.

use super::kept;
use crate::config::Mirror;
use anyhow::Result;
use serde::{Deserialize, Serialize};
use std::os::fd::AsFd;

/// The version of the mark's form.
pub const FORMAT: u32 = 1;

const NAME: &str = "mark.json";
/// The coarsest tick of a ctime (1 s with 128-byte ext inodes), twice.
const TICKS_SECS: i64 = 2;

/// Whether the run that wrote a mark came to its end.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum MarkState {
    /// No run ever did: there is nothing to lose.
    NeverComplete,
    /// It has begun to write.
    Dirty,
    /// Everything it wrote is on the disk.
    Clean,
}

/// The mark.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct Mark {
    /// The version of its form.
    pub format: u32,
    /// The mirror's name.
    pub mirror: String,
    /// The UUID of the file system it lies on: a mark that was copied elsewhere is none.
    pub mirror_uuid: String,
    /// The run that wrote it.
    pub run: u64,
    /// Whether that run came to its end.
    pub state: MarkState,
    /// When the mark was last clean, in seconds since 1970.
    pub clean_at: Option<i64>,
    /// When the first run after that began to write, likewise.
    pub dirty_since: Option<i64>,
    /// When the mirror was first seen to run as the server itself, likewise: what it holds may be newer than the primary.
    #[serde(default)]
    pub serving_since: Option<i64>,
    /// The state of the mirror that a catalog has to be of to be believed; none if it has none.
    #[serde(default)]
    pub catalog: Option<String>,
    /// When the run that wrote it began to look at the primary, in seconds since 1970.
    #[serde(default)]
    pub looked_at: Option<i64>,
    /// What the last run was that came to its end on this file system.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub last_run: Option<LastRun>,
}

/// How the run ended that wrote a clean mark: for whoever has the mirror alone, and when the history cannot be had.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct LastRun {
    /// When it began, in seconds since 1970.
    pub started: i64,
    /// How it ended, by the name that the history has for it.
    pub state: String,
    /// What it could not do, on all file systems.
    pub errors: u64,
    /// The first of its errors, a line each.
    pub lines: Vec<String>,
}

/// What is known of the mirror's content before a run.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Knowledge {
    /// It has never been complete.
    NeverComplete,
    /// Size and time of a file can be believed.
    Clean,
    /// A file whose ctime on the mirror is not before this (seconds since 1970) may hold anything.
    SuspectSince(i64),
}

impl Mark {
    /// The mark of a file system that no run has filled yet.
    pub fn initial(mirror: &str, mirror_uuid: &str) -> Self {
        Mark {
            format: FORMAT,
            mirror: mirror.to_owned(),
            mirror_uuid: mirror_uuid.to_owned(),
            run: 0,
            state: MarkState::NeverComplete,
            clean_at: None,
            dirty_since: None,
            serving_since: None,
            catalog: None,
            looked_at: None,
            last_run: None,
        }
    }

    /// As `run` leaves it before its first write at `now`.
    pub fn begun(&self, run: u64, now: i64) -> Self {
        let state = match self.state {
            MarkState::NeverComplete => MarkState::NeverComplete,
            MarkState::Dirty | MarkState::Clean => MarkState::Dirty,
        };
        let dirty_since = Some(self.dirty_since.map_or(now, |since| since.min(now)));
        Mark { run, state, dirty_since, ..self.clone() }
    }

    /// As `run` leaves it after its last flush at `now`.
    pub fn ended(&self, run: u64, now: i64) -> Self {
        Mark { run, state: MarkState::Clean, clean_at: Some(now), dirty_since: None, ..self.clone() }
    }

    fn suspect_since(&self, now: i64) -> i64 {
        let earliest = [self.clean_at, self.dirty_since].into_iter().flatten().min();
        // A clock that has been set back tells nothing about which inodes are old.
        earliest.filter(|&time| time <= now).map_or(i64::MIN, |time| time.saturating_sub(TICKS_SECS))
    }
}

/// What each file system's content is worth: clean only if every mark is clean and of the same run, and if these are
/// `all` marks of the mirror.
pub fn knowledge(marks: &[Mark], all: bool, now: i64) -> Vec<Knowledge> {
    let settled: Vec<&Mark> = marks.iter().filter(|mark| mark.state != MarkState::NeverComplete).collect();
    let is_equal = |mark: &&Mark| mark.state == MarkState::Clean && mark.run == settled[0].run;
    let agree = all && settled.iter().all(is_equal);
    let since = settled.iter().map(|mark| mark.suspect_since(now)).min().unwrap_or(i64::MIN);
    let one = |mark: &Mark| match mark.state {
        MarkState::NeverComplete => Knowledge::NeverComplete,
        _ if agree => Knowledge::Clean,
        _ => Knowledge::SuspectSince(since),
    };
    marks.iter().map(one).collect()
}

/// Reads the mark below `root`, the mirror file system's root directory; none if there is none, or it is no mark.
///
/// # Errors
/// The system's.
pub fn read(root: impl AsFd) -> Result<Option<Mark>> {
    Ok(kept::read(root, NAME)?.and_then(|text| serde_json::from_str(&text).ok()))
}

/// Writes `mark` below `root`: whole or not at all, and on the disk when this returns.
///
/// # Errors
/// The system's.
pub fn write(root: impl AsFd, mark: &Mark) -> Result<()> {
    kept::write(root, NAME, &serde_json::to_string(mark)?)
}

/// Whether a mark is this mirror's, for the file system with this UUID.
pub fn is_ours(mark: &Mark, mirror: &Mirror, mirror_uuid: &str) -> bool {
    mark.format == FORMAT && mark.mirror == mirror.name && mark.mirror_uuid == mirror_uuid
}

#[cfg(test)]
mod tests {
    use super::*;
    use std::fs::File;

    fn clean(run: u64, at: i64) -> Mark {
        Mark::initial("mirror", "u").begun(run, at - 10).ended(run, at)
    }

    #[test]
    fn a_mirror_is_clean_only_if_all_its_marks_agree() {
        let both = |a: Mark, b: Mark| knowledge(&[a, b], true, 2000);
        assert_eq!(both(clean(3, 1000), clean(3, 1001)), [Knowledge::Clean; 2]);
        let suspect = [Knowledge::SuspectSince(998); 2];
        assert_eq!(
            knowledge(&[clean(3, 1000), clean(3, 1001)], false, 2000),
            suspect,
            "one is not to be seen"
        );
        assert_eq!(both(clean(4, 1100), clean(3, 1000)), suspect, "another run");
        assert_eq!(both(clean(3, 1100), clean(2, 1000).begun(3, 1050)), suspect, "cut off between two marks");
        assert_eq!(
            both(Mark::initial("mirror", "u"), clean(3, 1000)),
            [Knowledge::NeverComplete, Knowledge::Clean],
            "a file system that is still to be filled does not make the other one dirty"
        );
    }

    #[test]
    fn suspicion_reaches_back_to_the_last_clean_mark_over_several_broken_runs() {
        let broken = clean(1, 1000).begun(2, 1500).begun(3, 1800);
        assert_eq!(knowledge(&[broken], true, 2000), [Knowledge::SuspectSince(998)]);
        let set_back = clean(1, 1000).begun(2, 500);
        assert_eq!(knowledge(&[set_back], true, 2000), [Knowledge::SuspectSince(498)]);
        assert_eq!(
            knowledge(&[clean(1, 9000).begun(2, 9500)], true, 2000),
            [Knowledge::SuspectSince(i64::MIN)],
            "the clock was set back: everything is suspect"
        );
        assert_eq!(
            knowledge(&[Mark { clean_at: Some(i64::MIN), ..clean(1, 1000) }.begun(2, 1500)], true, 2000),
            [Knowledge::SuspectSince(i64::MIN)],
            "whoever wrote that: everything is suspect"
        );
    }

    #[test]
    fn what_was_never_complete_stays_so_until_a_run_ends() {
        let begun = Mark::initial("mirror", "u").begun(1, 1000);
        assert_eq!(knowledge(std::slice::from_ref(&begun), true, 2000), [Knowledge::NeverComplete]);
        assert_eq!(knowledge(&[begun.ended(1, 1100)], true, 2000), [Knowledge::Clean]);
    }

    #[test]
    fn a_mark_is_read_back_and_anything_else_is_none() {
        let dir = tempfile::tempdir().expect("a temporary directory");
        let root = File::open(dir.path()).expect("it is there");
        assert_eq!(read(&root).expect("readable"), None);
        let mark = clean(7, 1000);
        write(&root, &mark).expect("writable");
        write(&root, &mark).expect("writable again");
        assert_eq!(read(&root).expect("readable"), Some(mark));
        let path = dir.path().join(".diskmirror").join(NAME);
        std::fs::write(&path, "{}").expect("writable");
        assert_eq!(read(&root).expect("readable"), None);
        std::fs::remove_file(&path).expect("it is there");
        std::os::unix::fs::symlink("/etc/hostname", &path).expect("writable");
        assert_eq!(read(&root).expect("readable"), None, "a link is not followed");
        std::fs::remove_file(&path).expect("it is there");
        let padded = serde_json::to_string(&clean(7, 1000)).expect("JSON") + &" ".repeat(2 << 20);
        std::fs::write(&path, padded).expect("writable");
        assert_eq!(read(&root).expect("readable"), None, "no mark is that long");
        std::fs::remove_file(&path).expect("it is there");
        rustix::fs::mknodat(rustix::fs::CWD, &path, rustix::fs::FileType::Fifo, rustix::fs::Mode::RUSR, 0)
            .expect("a fifo");
        assert_eq!(read(&root).expect("readable"), None, "nobody is waited for");
    }
}
