//! Run records in SQLite: committed before the mirror is touched, finished whatever happens, never lost by a kill.

mod boot_tests;
mod broken;
mod verifications;

pub use broken::{is_broken, set_aside};

use crate::record::{BootRecord, RunRecord, State, Waited};
use crate::sys::private;
use anyhow::{Context, Result};
use rusqlite::config::DbConfig;
use rusqlite::{Connection, OpenFlags, OptionalExtension, Row, params};
use std::path::Path;
use std::time::Duration;

/// The history's file below the state directory.
pub const FILE_NAME: &str = "history.sqlite";

const SCHEMA: &str = "
    CREATE TABLE IF NOT EXISTS run (
        id      INTEGER PRIMARY KEY AUTOINCREMENT,
        mirror  TEXT NOT NULL,
        started INTEGER NOT NULL,
        ended   INTEGER,
        state   TEXT NOT NULL,
        exit    INTEGER,
        volumes TEXT NOT NULL,
        errors  TEXT NOT NULL,
        message TEXT,
        boot    TEXT,
        waited  TEXT
    ) STRICT;";

/// What an older version's history lacks: its number, and how it becomes the next.
const UPGRADES: [(i32, &str); 2] =
    [(1, "ALTER TABLE run ADD COLUMN boot TEXT"), (3, "ALTER TABLE run ADD COLUMN waited TEXT")];

/// How long somebody is waited for who has the history locked.
const PATIENCE: Duration = Duration::from_secs(5);

/// The version of the form. Tables that an older version lacks are made as they are.
const VERSION: i32 = 4;

/// The run history.
#[derive(Debug)]
pub struct History {
    database: Connection,
}

impl History {
    /// Opens the history in `state_dir`, making both if they are not there.
    ///
    /// The write-ahead log stays when the history is closed: if it came and went, every run would change the time
    /// of a directory that the run itself has just mirrored.
    ///
    /// # Errors
    /// The system's and SQLite's.
    pub fn open(state_dir: &Path) -> Result<Self> {
        let path = state_dir.join(FILE_NAME);
        let open = || -> Result<Connection> {
            broken::must_be_files(&path)?;
            private::make_dir(state_dir)?;
            private::make_file(&path)?;
            let database = Connection::open(&path)?;
            database.busy_timeout(PATIENCE)?;
            database.set_db_config(DbConfig::SQLITE_DBCONFIG_NO_CKPT_ON_CLOSE, true)?;
            database.pragma_update(None, "journal_mode", "WAL")?;
            database.pragma_update(None, "synchronous", "FULL")?;
            upgrade(&database)?;
            Ok(database)
        };
        let database = open().with_context(|| format!("cannot open the run history {}", path.display()))?;
        Ok(History { database })
    }

    /// Opens the history in `state_dir` if there is one, for those who only look; where nothing can be written, as it is.
    ///
    /// # Errors
    /// As `open`.
    pub fn open_existing(state_dir: &Path) -> Result<Option<Self>> {
        let path = state_dir.join(FILE_NAME);
        match path.symlink_metadata() {
            Err(error) if error.kind() == std::io::ErrorKind::NotFound => return Ok(None),
            found => found.with_context(|| format!("cannot look for the run history {}", path.display()))?,
        };
        match Self::open(state_dir) {
            Err(error) if !is_broken(&error) => Self::open_as_it_is(&path).map(Some).map_err(|_| error),
            opened => opened.map(Some),
        }
    }

    /// Opens a history on a file system that cannot be written, without its write-ahead log: a run's end has folded that in.
    fn open_as_it_is(path: &Path) -> rusqlite::Result<Self> {
        let name: String = path.to_string_lossy().bytes().map(|byte| format!("%{byte:02x}")).collect();
        let flags = OpenFlags::SQLITE_OPEN_READ_ONLY | OpenFlags::SQLITE_OPEN_URI;
        let database = Connection::open_with_flags(format!("file:{name}?immutable=1"), flags)?;
        database.pragma_query_value(None, "user_version", |row| row.get::<_, i32>(0))?;
        Ok(History { database })
    }

    /// Commits a record that says a run has begun, and gives it its number.
    ///
    /// # Errors
    /// SQLite's.
    pub fn begin(&self, record: &mut RunRecord) -> Result<()> {
        self.database
            .execute(
                "INSERT INTO run (mirror, started, state, volumes, errors) VALUES (?1, ?2, ?3, '[]', '[]')",
                params![record.mirror, record.started, record.state.name()],
            )
            .context("cannot write the run history")?;
        record.id = self.database.last_insert_rowid();
        Ok(())
    }

    /// Gives a run that has begun another number: the mirror knows of later ones than this history.
    ///
    /// # Errors
    /// SQLite's; the record keeps its number then.
    pub fn renumber(&self, record: &mut RunRecord, id: i64) -> Result<()> {
        self.database
            .execute("UPDATE run SET id = ?2 WHERE id = ?1", params![record.id, id])
            .context("cannot write the run history")?;
        record.id = id;
        Ok(())
    }

    /// Commits how the run ended, and folds the write-ahead log into the history.
    ///
    /// # Errors
    /// SQLite's.
    pub fn finish(&self, record: &RunRecord) -> Result<()> {
        let (volumes, errors) =
            (serde_json::to_string(&record.volumes)?, serde_json::to_string(&record.errors)?);
        let boot = record.boot.as_ref().map(serde_json::to_string).transpose()?;
        let written = self
            .database
            .execute(
                "UPDATE run SET ended = ?2, state = ?3, exit = ?4, volumes = ?5, errors = ?6, message = ?7,
                 boot = ?8, waited = ?9 WHERE id = ?1",
                params![
                    record.id,
                    record.ended,
                    record.state.name(),
                    record.exit().code(),
                    volumes,
                    errors,
                    record.message,
                    boot,
                    serde_json::to_string(&record.waited)?
                ],
            )
            .context("cannot write the run history")?;
        anyhow::ensure!(written == 1, "the run history has lost run {}", record.id);
        // A reader may be in the way of this; the record is committed either way.
        let _ = self.database.query_row("PRAGMA wal_checkpoint(TRUNCATE)", [], |_| Ok(()));
        Ok(())
    }

    /// Marks every run of `mirror` that is still `running` as killed: for the holder of its lock, who knows that
    /// none is. Returns how many there were.
    ///
    /// # Errors
    /// SQLite's.
    pub fn close_killed(&self, mirror: &str, now: i64) -> Result<usize> {
        let message = "it ended without a word: killed, or the power was cut";
        self.database
            .execute(
                "UPDATE run SET state = ?3, ended = ?2, exit = ?4, message = ?5 WHERE mirror = ?1 AND state = ?6",
                params![
                    mirror,
                    now,
                    State::Killed.name(),
                    State::Killed.exit().code(),
                    message,
                    State::Running.name()
                ],
            )
            .context("cannot write the run history")
    }

    /// The last `count` runs of `mirror`, the latest first.
    ///
    /// # Errors
    /// SQLite's.
    pub fn last(&self, mirror: &str, count: u32) -> Result<Vec<RunRecord>> {
        let mut query = self.database.prepare(
            "SELECT id, mirror, started, ended, state, volumes, errors, message, boot, waited FROM run
             WHERE mirror = ?1 ORDER BY id DESC LIMIT ?2",
        )?;
        let rows = query.query_map(params![mirror, count], read)?;
        rows.collect::<Result<_, _>>().context("cannot read the run history")
    }

    /// The latest run of `mirror` that may have written to it, if there was one.
    ///
    /// # Errors
    /// SQLite's.
    pub fn latest_that_wrote(&self, mirror: &str) -> Result<Option<RunRecord>> {
        let wrote = |state| !matches!(state, State::Locked | State::Refused | State::Running);
        Ok(self.last(mirror, 100)?.into_iter().find(|run| wrote(run.state)))
    }

    /// What the run with this number knew of booting, if it knew anything.
    ///
    /// # Errors
    /// SQLite's.
    pub fn boot_of(&self, id: i64) -> Result<Option<BootRecord>> {
        let sql = "SELECT boot FROM run WHERE id = ?1 AND boot IS NOT NULL";
        let read = |row: &Row<'_>| json(&row.get::<_, String>(0)?);
        self.database.query_row(sql, [id], read).optional().context("cannot read the run history")
    }

    /// The latest run of `mirror`, if there was one.
    ///
    /// # Errors
    /// SQLite's.
    pub fn latest(&self, mirror: &str) -> Result<Option<RunRecord>> {
        let sql = "SELECT id, mirror, started, ended, state, volumes, errors, message, boot, waited FROM run
                   WHERE mirror = ?1 ORDER BY id DESC LIMIT 1";
        self.database.query_row(sql, [mirror], read).optional().context("cannot read the run history")
    }
}

/// Makes the tables, or brings an older version's to this one's form.
fn upgrade(database: &Connection) -> Result<()> {
    let found: i32 = database.pragma_query_value(None, "user_version", |row| row.get(0))?;
    let steps = UPGRADES.iter().filter(|(from, _)| found > 0 && *from >= found);
    steps.into_iter().try_for_each(|(_, step)| database.execute_batch(step))?;
    database.execute_batch(SCHEMA)?;
    database.execute_batch(boot_tests::SCHEMA)?;
    database.execute_batch(verifications::SCHEMA)?;
    if found != VERSION {
        database.pragma_update(None, "user_version", VERSION)?;
    }
    Ok(())
}

fn read(row: &Row<'_>) -> rusqlite::Result<RunRecord> {
    Ok(RunRecord {
        id: row.get(0)?,
        mirror: row.get(1)?,
        started: row.get(2)?,
        ended: row.get(3)?,
        state: json(&format!("{:?}", row.get::<_, String>(4)?))?,
        volumes: json(&row.get::<_, String>(5)?)?,
        errors: json(&row.get::<_, String>(6)?)?,
        message: row.get(7)?,
        verified: None,
        boot: row.get::<_, Option<String>>(8)?.map(|text| json(&text)).transpose()?,
        waited: row.get::<_, Option<String>>(9)?.map_or(Ok(Waited::default()), |text| json(&text))?,
    })
}

fn json<T: serde::de::DeserializeOwned>(text: &str) -> rusqlite::Result<T> {
    serde_json::from_str(text).map_err(|error| {
        rusqlite::Error::FromSqlConversionFailure(0, rusqlite::types::Type::Text, Box::new(error))
    })
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::record::{BootRecord, VerifyRecord, VolumeRecord};

    #[test]
    fn a_record_is_read_back_as_it_was_finished() {
        let dir = tempfile::tempdir().expect("a temporary directory");
        let history = History::open(dir.path()).expect("the history can be made");
        let mut record = RunRecord::begun("mirror", 1000);
        history.begin(&mut record).expect("it can be written");
        assert_eq!(history.latest("mirror").expect("it can be read").as_ref(), Some(&record));
        record.state = State::Incomplete;
        record.ended = Some(1100);
        record.volumes.push(VolumeRecord { mount: "/".into(), deleted: 3, ..VolumeRecord::default() });
        record.error("cannot read etc/x: EIO");
        record.message = Some("1 file was not copied".into());
        record.waited = Waited { limit: 1.5, others: 300.25 };
        record.boot = Some(BootRecord {
            problems: vec!["no loader".into()],
            digest: Some("1f".into()),
            ..BootRecord::default()
        });
        history.finish(&record).expect("it can be written");
        assert_eq!(history.boot_of(record.id).expect("it can be read"), record.boot);
        assert_eq!(history.boot_of(record.id + 1).expect("it can be read"), None);
        assert_eq!(history.last("mirror", 5).expect("it can be read"), [record]);
        assert_eq!(history.latest("other").expect("it can be read"), None);
    }

    #[test]
    fn an_older_versions_history_is_read_on() {
        let dir = tempfile::tempdir().expect("a temporary directory");
        let old = Connection::open(dir.path().join(FILE_NAME)).expect("it can be made");
        old.execute_batch(
            "CREATE TABLE run (id INTEGER PRIMARY KEY AUTOINCREMENT, mirror TEXT NOT NULL, started INTEGER NOT NULL,
                 ended INTEGER, state TEXT NOT NULL, exit INTEGER, volumes TEXT NOT NULL, errors TEXT NOT NULL,
                 message TEXT) STRICT;
             INSERT INTO run VALUES (7, 'mirror', 1000, 1100, 'done', 0, '[]', '[]', NULL);
             PRAGMA user_version = 1;",
        )
        .expect("it can be written");
        drop(old);
        for _ in 0..2 {
            let history = History::open(dir.path()).expect("it is brought to this version's form");
            let latest = history.latest("mirror").expect("it can be read").expect("the run is there");
            assert_eq!((latest.id, latest.state, latest.boot), (7, State::Done, None));
            assert_eq!(latest.waited, Waited::default());
            takes_a_verification(&history);
        }
    }

    fn takes_a_verification(history: &History) {
        let mut record = VerifyRecord { mirror: "mirror".into(), started: 2000, ..VerifyRecord::default() };
        history.add_verification(&mut record).expect("it can be written");
        assert_eq!(history.latest_verification("mirror", "").expect("it can be read"), Some(record));
    }

    #[test]
    fn the_history_of_the_version_before_this_takes_what_was_waited_and_what_was_verified() {
        let dir = tempfile::tempdir().expect("a temporary directory");
        let history = History::open(dir.path()).expect("it can be made");
        history.begin(&mut RunRecord::begun("mirror", 1000)).expect("it can be written");
        let back = "ALTER TABLE run DROP COLUMN waited; DROP TABLE verification; PRAGMA user_version = 3;";
        history.database.execute_batch(back).expect("as version 3 had it");
        drop(history);
        let history = History::open(dir.path()).expect("it is brought to this version's form");
        let mut record = history.latest("mirror").expect("it can be read").expect("the run is there");
        record.waited = Waited { limit: 2.0, others: 0.0 };
        history.finish(&record).expect("it can be written");
        assert_eq!(history.latest("mirror").expect("it can be read"), Some(record));
        takes_a_verification(&history);
    }

    #[test]
    fn a_run_that_never_ended_is_found_and_numbers_are_never_used_twice() {
        let dir = tempfile::tempdir().expect("a temporary directory");
        let mut first = RunRecord::begun("mirror", 1000);
        History::open(dir.path()).and_then(|history| history.begin(&mut first)).expect("it can be written");
        let history = History::open(dir.path()).expect("the history is there");
        assert_eq!(history.close_killed("other", 2000).expect("it can be written"), 0);
        assert_eq!(history.close_killed("mirror", 2000).expect("it can be written"), 1);
        let mut second = RunRecord::begun("mirror", 2000);
        history.begin(&mut second).expect("it can be written");
        assert_eq!(second.id, first.id + 1);
        let killed = &history.last("mirror", 2).expect("it can be read")[1];
        assert_eq!((killed.state, killed.ended), (State::Killed, Some(2000)));
    }

    #[test]
    fn closing_the_history_leaves_its_directory_as_it_was() {
        let dir = tempfile::tempdir().expect("a temporary directory");
        let names = || {
            let entries = std::fs::read_dir(dir.path()).expect("it is there");
            let mut names: Vec<_> = entries.map(|entry| entry.expect("it can be read").file_name()).collect();
            names.sort();
            names
        };
        let history = History::open(dir.path()).expect("the history can be made");
        let mut record = RunRecord::begun("mirror", 1000);
        history.begin(&mut record).expect("it can be written");
        let during = names();
        history.finish(&record).expect("it can be written");
        drop(history);
        assert_eq!(names(), during);
    }
}
