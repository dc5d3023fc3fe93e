//! The boot tests in the history.

use super::{History, json};
use crate::record::BootTestRecord;
use anyhow::{Context, Result};
use rusqlite::{Row, params};

/// The table of boot tests; it is new in version 3.
pub(super) const SCHEMA: &str = "
    CREATE TABLE IF NOT EXISTS boot_test (
        id          INTEGER PRIMARY KEY AUTOINCREMENT,
        mirror      TEXT NOT NULL,
        table_id    TEXT NOT NULL,
        run         INTEGER,
        started     INTEGER NOT NULL,
        seconds     REAL NOT NULL,
        verdict     TEXT NOT NULL,
        sign        TEXT NOT NULL,
        accelerator TEXT NOT NULL,
        firmware    TEXT NOT NULL,
        console     TEXT NOT NULL
    ) STRICT;";

impl History {
    /// Commits a boot test, and gives it its number.
    ///
    /// # Errors
    /// SQLite's.
    pub fn add_boot_test(&self, record: &mut BootTestRecord) -> Result<()> {
        self.database
            .execute(
                "INSERT INTO boot_test
                 (mirror, table_id, run, started, seconds, verdict, sign, accelerator, firmware, console)
                 VALUES (?1, ?2, ?3, ?4, ?5, ?6, ?7, ?8, ?9, ?10)",
                params![
                    record.mirror,
                    record.table_id,
                    record.run,
                    record.started,
                    record.seconds,
                    record.verdict.name(),
                    record.sign,
                    record.accelerator,
                    record.firmware,
                    serde_json::to_string(&record.console)?,
                ],
            )
            .context("cannot write the run history")?;
        record.id = self.database.last_insert_rowid();
        Ok(())
    }

    /// The last `count` boot tests of `mirror`, the latest first.
    ///
    /// # Errors
    /// SQLite's.
    pub fn boot_tests(&self, mirror: &str, count: u32) -> Result<Vec<BootTestRecord>> {
        let mut query = self.database.prepare(
            "SELECT id, mirror, table_id, run, started, seconds, verdict, sign, accelerator, firmware, console
             FROM boot_test WHERE mirror = ?1 ORDER BY id DESC LIMIT ?2",
        )?;
        let rows = query.query_map(params![mirror, count], read)?;
        rows.collect::<Result<_, _>>().context("cannot read the run history")
    }
}

fn read(row: &Row<'_>) -> rusqlite::Result<BootTestRecord> {
    Ok(BootTestRecord {
        id: row.get(0)?,
        mirror: row.get(1)?,
        table_id: row.get(2)?,
        run: row.get(3)?,
        started: row.get(4)?,
        seconds: row.get(5)?,
        verdict: json(&format!("{:?}", row.get::<_, String>(6)?))?,
        sign: row.get(7)?,
        accelerator: row.get(8)?,
        firmware: row.get(9)?,
        console: json(&row.get::<_, String>(10)?)?,
    })
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::record::Verdict;

    #[test]
    fn a_boot_test_is_read_back_as_it_was_and_the_latest_comes_first() {
        let dir = tempfile::tempdir().expect("a temporary directory");
        let history = History::open(dir.path()).expect("the history can be made");
        let mut first = BootTestRecord {
            id: 0,
            mirror: "mirror".into(),
            table_id: "1234".into(),
            run: Some(7),
            started: 1000,
            seconds: 42.5,
            verdict: Verdict::NoPrompt,
            sign: "nobody asked".into(),
            accelerator: "tcg".into(),
            firmware: "uefi".into(),
            console: vec!["a \"line\"".into()],
        };
        history.add_boot_test(&mut first).expect("it can be written");
        let mut second = BootTestRecord { verdict: Verdict::Booted, run: None, ..first.clone() };
        history.add_boot_test(&mut second).expect("it can be written");
        assert_eq!(history.boot_tests("mirror", 5).expect("it can be read"), [second, first]);
        assert_eq!(history.boot_tests("other", 5).expect("it can be read"), []);
    }
}
