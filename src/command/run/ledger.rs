//! Where the record of a run is kept: in the history; while that cannot be had, on stderr, in the journal and on the mirror's
//! mark. Nothing about it keeps the mirror from being refreshed: what cannot be kept is told, in the record and by its exit
//! code.

use super::{Job, log};
use crate::history::{History, is_broken, set_aside};
use crate::record::{RunRecord, VerifyRecord};
use crate::render;
use crate::sys::command;
use anyhow::{Context, Result};
use std::io::{self, Write};
use std::path::Path;

/// Where journald listens, if it is there (systemd-journald.service(8)).
const JOURNAL: &str = "/run/systemd/journal/socket";
/// A mark that names a later run than this was never written by one.
const LATEST_RUN: u64 = 1 << 40;

/// The record's place.
pub struct Ledger<'a> {
    job: &'a Job<'a>,
    /// None while it cannot be had, and for a dry run.
    history: Option<History>,
}

impl<'a> Ledger<'a> {
    /// For a run that leaves no record.
    pub fn none(job: &'a Job<'a>) -> Self {
        Ledger { job, history: None }
    }

    /// Commits that a run has begun, and that those before it have ended.
    pub fn begin(job: &'a Job<'a>, record: &mut RunRecord) -> Self {
        let begun = mending(job, record, |history, record| {
            let killed = history.close_killed(&record.mirror, job.now())?;
            history.begin(record)?;
            Ok((history, killed))
        });
        let (history, killed) = match begun {
            Ok((history, killed)) => (Some(history), killed),
            Err(error) => {
                let line = format!("the run history cannot be had: {error:#} ({})", remedy(job, &error));
                job.trouble(record, &line);
                (None, 0)
            }
        };
        if killed > 0 {
            job.monitor
                .note(&format!("{killed} earlier run ended without a word: killed, or the power was cut"));
        }
        Ledger { job, history }
    }

    /// Commits a run that did nothing, as whole as it is.
    pub fn enter(job: &'a Job<'a>, record: &mut RunRecord) {
        Ledger::none(job).finish(record);
    }

    /// Sees to it that the run's number is greater than that of the `latest` that wrote to the mirror: the history may have
    /// been begun anew.
    pub fn number(&self, record: &mut RunRecord, latest: u64) {
        let Some(latest) = i64::try_from(latest.min(LATEST_RUN)).ok().filter(|latest| *latest >= record.id)
        else {
            return;
        };
        match &self.history {
            None => record.id = latest + 1,
            Some(history) => {
                if let Err(error) = history.renumber(record, latest + 1) {
                    self.job.trouble(record, &format!("{error:#}"));
                }
            }
        }
    }

    /// Commits what a share was found to be.
    pub fn add_verification(&self, record: &mut RunRecord, verified: &mut VerifyRecord) {
        if let Some(Err(error)) = self.history.as_ref().map(|history| history.add_verification(verified)) {
            self.job.trouble(record, &format!("the verification is not in the history: {error:#}"));
        }
    }

    /// Commits how the run ended; where that cannot be done, tells it all.
    pub fn finish(self, record: &mut RunRecord) {
        let job = self.job;
        let finished = match &self.history {
            Some(history) => history.finish(record),
            None => Err(anyhow::anyhow!("there was none")),
        };
        let Err(error) = finished else { return };
        let entered = match self.history.is_none() || is_broken(&error) {
            true => mending(job, record, entered_whole),
            false => Err(error),
        };
        if let Err(error) = entered {
            job.trouble(record, &format!("the record of this run is not in the history: {error:#}"));
            tell(job, record);
        }
    }
}

/// Enters a run that has ended into a history that does not know that it began.
fn entered_whole(history: History, record: &mut RunRecord) -> Result<()> {
    let number = record.id;
    history.begin(record)?;
    if number > record.id {
        history.renumber(record, number)?;
    }
    history.finish(record)
}

/// Does `work` with the history. One that is damaged is set aside, and `work` is done with a new one.
fn mending<T>(
    job: &Job,
    record: &mut RunRecord,
    work: impl Fn(History, &mut RunRecord) -> Result<T>,
) -> Result<T> {
    let error = match History::open(&job.state_dir).and_then(|history| work(history, record)) {
        Err(error) if is_broken(&error) => error,
        done => return done,
    };
    let aside = set_aside(&job.state_dir, job.now())
        .with_context(|| format!("it is damaged ({error:#}), and cannot be set aside"))?;
    let line = format!(
        "the run history was damaged ({error:#}): it is kept as {}, and a new one has been begun; the runs before this one \
         are in the log",
        aside.display()
    );
    job.trouble(record, &line);
    work(History::open(&job.state_dir)?, record)
}

/// What helps against what the history cannot be had for.
fn remedy(job: &Job, error: &anyhow::Error) -> String {
    let code = error.downcast_ref::<rusqlite::Error>().and_then(rusqlite::Error::sqlite_error_code);
    let dir = job.state_dir.display();
    match code {
        Some(rusqlite::ErrorCode::DatabaseBusy | rusqlite::ErrorCode::DatabaseLocked) => {
            format!("find who has it locked: fuser -v {dir}/history.sqlite")
        }
        Some(rusqlite::ErrorCode::DiskFull) => format!("make room: df {dir}; df -i {dir}"),
        _ => format!("see whether {dir} can be written: findmnt -T {dir}; dmesg"),
    }
}

/// Says on stderr, and in the journal if stderr does not go there, what the history cannot take.
fn tell(job: &Job, record: &RunRecord) {
    let lines = render::run::log_lines(record, &log::now());
    // A closed stderr is no failure.
    let _ = io::stderr().write_all(lines.as_bytes());
    let is_heard = std::env::var_os("JOURNAL_STREAM").is_some();
    if job.root == Path::new("/") && !is_heard && Path::new(JOURNAL).exists() {
        let _ = command::ask("logger", &["-t", "diskmirror", "-p", "daemon.err"], lines.as_bytes());
    }
}
