//! The verifications in the history.

use super::{History, json};
use crate::record::{MAX_ERRORS, VerifyRecord};
use anyhow::{Context, Result};
use rusqlite::{OptionalExtension, Row, params};

/// The table of verifications; it is new in version 4.
pub(super) const SCHEMA: &str = "
    CREATE TABLE IF NOT EXISTS verification (
        id          INTEGER PRIMARY KEY AUTOINCREMENT,
        mirror      TEXT NOT NULL,
        table_id    TEXT NOT NULL,
        run         INTEGER,
        started     INTEGER NOT NULL,
        seconds     REAL NOT NULL,
        sample      TEXT,
        volumes     TEXT NOT NULL,
        differences TEXT NOT NULL
    ) STRICT;";

impl History {
    /// Commits a verification, with the first of its differences, and gives it its number.
    ///
    /// # Errors
    /// SQLite's.
    pub fn add_verification(&self, record: &mut VerifyRecord) -> Result<()> {
        let first = &record.differences[..record.differences.len().min(MAX_ERRORS)];
        self.database
            .execute(
                "INSERT INTO verification
                 (mirror, table_id, run, started, seconds, sample, volumes, differences)
                 VALUES (?1, ?2, ?3, ?4, ?5, ?6, ?7, ?8)",
                params![
                    record.mirror,
                    record.table_id,
                    record.run,
                    record.started,
                    record.seconds,
                    record.sample,
                    serde_json::to_string(&record.volumes)?,
                    serde_json::to_string(first)?,
                ],
            )
            .context("cannot write the run history")?;
        record.id = self.database.last_insert_rowid();
        Ok(())
    }

    /// The latest verification of `mirror`'s disk with this table, if there was one.
    ///
    /// # Errors
    /// SQLite's.
    pub fn latest_verification(&self, mirror: &str, table_id: &str) -> Result<Option<VerifyRecord>> {
        let sql = "SELECT id, mirror, table_id, run, started, seconds, sample, volumes, differences
                   FROM verification WHERE mirror = ?1 AND table_id = ?2 ORDER BY id DESC LIMIT 1";
        let found = self.database.query_row(sql, [mirror, table_id], read).optional();
        found.context("cannot read the run history")
    }
}

fn read(row: &Row<'_>) -> rusqlite::Result<VerifyRecord> {
    Ok(VerifyRecord {
        id: row.get(0)?,
        mirror: row.get(1)?,
        table_id: row.get(2)?,
        run: row.get(3)?,
        started: row.get(4)?,
        seconds: row.get(5)?,
        sample: row.get(6)?,
        volumes: json(&row.get::<_, String>(7)?)?,
        differences: json(&row.get::<_, String>(8)?)?,
    })
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::record::VerifiedVolume;

    #[test]
    fn the_latest_verification_of_this_disk_is_read_back() {
        let dir = tempfile::tempdir().expect("a temporary directory");
        let history = History::open(dir.path()).expect("the history can be made");
        let volume = VerifiedVolume { mount: "/".into(), mirror_damaged: 2, ..VerifiedVolume::default() };
        let mut record = VerifyRecord {
            mirror: "mirror".into(),
            table_id: "1234".into(),
            started: 1000,
            sample: Some("5%".into()),
            volumes: vec![volume],
            ..VerifyRecord::default()
        };
        history.add_verification(&mut record).expect("it can be written");
        let read = |table: &str| history.latest_verification("mirror", table).expect("it can be read");
        assert_eq!(read("1234"), Some(record));
        assert_eq!(read("another"), None);
    }
}
