//! A history that is none any more: told from one that only cannot be had now, and set aside, never deleted.

use super::FILE_NAME;
use anyhow::Result;
use rusqlite::ErrorCode;
use std::io;
use std::path::{Path, PathBuf};

/// What a database is made of: its file, and what lies beside it.
const PARTS: [&str; 3] = ["", "-wal", "-shm"];

/// Something else stands in the place of one of the history's files.
#[derive(Debug, thiserror::Error)]
#[error("{} is no regular file", .0.display())]
struct NoFile(PathBuf);

/// Makes sure that nothing is opened that is no regular file: a pipe would be waited for.
pub(super) fn must_be_files(path: &Path) -> Result<()> {
    for part in PARTS.map(|part| with(path, part)) {
        match part.metadata() {
            Ok(found) if !found.is_file() => return Err(NoFile(part).into()),
            Err(error) if error.kind() != io::ErrorKind::NotFound => return Err(error.into()),
            _ => {}
        }
    }
    Ok(())
}

/// Whether an error of the history says that it is damaged: it will be no better the next time. One that is locked, or on a
/// disk that is full, cannot be read or cannot be written, is not.
pub fn is_broken(error: &anyhow::Error) -> bool {
    use rusqlite::Error;
    if error.is::<NoFile>() {
        return true;
    }
    match error.downcast_ref::<Error>() {
        Some(Error::SqliteFailure(failure, _)) => matches!(
            failure.code,
            ErrorCode::DatabaseCorrupt
                | ErrorCode::NotADatabase
                | ErrorCode::Unknown
                | ErrorCode::TypeMismatch
                | ErrorCode::ConstraintViolation
                | ErrorCode::InternalMalfunction
                | ErrorCode::NotFound
                | ErrorCode::SchemaChanged
        ),
        // What it holds is not what was ever written to it, or not in the form that it had.
        Some(_) => true,
        None => false,
    }
}

/// Renames the history in `state_dir` to `history.sqlite.broken-TIME`, with what belongs to it; `now` in seconds since 1970.
/// Gives back what it is called.
///
/// # Errors
/// The system's.
pub fn set_aside(state_dir: &Path, now: i64) -> io::Result<PathBuf> {
    let path = state_dir.join(FILE_NAME);
    let time = jiff::Timestamp::from_second(now).unwrap_or_default().strftime("%Y%m%dT%H%M%SZ").to_string();
    let is_taken = |aside: &PathBuf| PARTS.iter().any(|part| with(aside, part).symlink_metadata().is_ok());
    let names = (0..).map(|n| if n == 0 { time.clone() } else { format!("{time}-{n}") });
    let mut asides = names.map(|name| with(&path, &format!(".broken-{name}")));
    let aside = asides.find(|aside| !is_taken(aside)).ok_or(io::ErrorKind::AlreadyExists)?;
    for part in PARTS {
        match std::fs::rename(with(&path, part), with(&aside, part)) {
            Err(error) if error.kind() != io::ErrorKind::NotFound => return Err(error),
            _ => {}
        }
    }
    Ok(aside)
}

fn with(path: &Path, part: &str) -> PathBuf {
    let mut name = path.as_os_str().to_owned();
    name.push(part);
    name.into()
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::history::History;
    use crate::record::RunRecord;
    use std::fs;

    fn begun(dir: &Path) -> Result<()> {
        let history = History::open(dir)?;
        history.close_killed("mirror", 2000)?;
        history.begin(&mut RunRecord::begun("mirror", 1000))
    }

    #[test]
    fn what_is_no_history_is_told_set_aside_and_kept() {
        let garbage: Vec<u8> = (0..8192_u32).map(|n| ((n * 7919) >> 3) as u8).collect();
        type Make<'a> = &'a dyn Fn(&Path);
        let makes: [(&str, Make<'_>); 4] = [
            ("garbage", &|path| fs::write(path, &garbage).expect("written")),
            ("cut off", &|path| fs::write(path, b"SQLite format 3\0 and no more").expect("written")),
            ("a directory", &|path| fs::create_dir(path).expect("made")),
            ("a pipe", &|path| {
                let mode = rustix::fs::Mode::RUSR | rustix::fs::Mode::WUSR;
                rustix::fs::mkfifoat(rustix::fs::CWD, path, mode).expect("made");
            }),
        ];
        for (what, make) in makes {
            let dir = tempfile::tempdir().expect("a temporary directory");
            make(&dir.path().join(FILE_NAME));
            let error = begun(dir.path()).expect_err("it is none");
            assert!(is_broken(&error), "{what}: {error:#}");
            let aside = set_aside(dir.path(), 1_700_000_000).expect("it can be renamed");
            assert_eq!(aside, dir.path().join("history.sqlite.broken-20231114T221320Z"));
            begun(dir.path()).expect("a new one is begun");
            assert!(aside.symlink_metadata().is_ok(), "{what} is kept");
            assert_ne!(set_aside(dir.path(), 1_700_000_000).expect("again, in the same second"), aside);
        }
    }

    #[test]
    fn a_table_that_is_not_ours_is_broken_and_a_lock_is_not() {
        let dir = tempfile::tempdir().expect("a temporary directory");
        let other = rusqlite::Connection::open(dir.path().join(FILE_NAME)).expect("made");
        other.execute_batch("CREATE TABLE run (x) STRICT").expect_err("a column needs a type");
        other.execute_batch("CREATE TABLE run (x INTEGER); PRAGMA user_version = 4").expect("made");
        drop(other);
        assert!(is_broken(&begun(dir.path()).expect_err("no such column")));
        set_aside(dir.path(), 0).expect("renamed");
        begun(dir.path()).expect("a new one");
        let locks = rusqlite::Connection::open(dir.path().join(FILE_NAME)).expect("open");
        locks.execute_batch("BEGIN EXCLUSIVE").expect("locked");
        let since = std::time::Instant::now();
        assert!(!is_broken(&begun(dir.path()).expect_err("it is locked")));
        assert!(since.elapsed().as_secs() < 30, "it is not waited for without end");
    }
}
