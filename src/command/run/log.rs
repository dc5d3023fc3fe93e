//! The log beside the journal: one line a run, more only if something was wrong.

use crate::record::RunRecord;
use crate::render;
use rustix::fs::OFlags;
use std::fs::{File, OpenOptions};
use std::io::{self, Write};
use std::os::unix::fs::OpenOptionsExt;
use std::path::Path;

/// Makes the log, if there is none, before the run looks at the primary: a file that appears afterwards changes a
/// directory that has been copied.
pub fn make(path: &Path) {
    drop(opened(path));
}

/// Appends what a run did to `path`. The history is what counts: a log that cannot be written stops nothing.
///
/// # Errors
/// The system's, and if there is something else than a regular file.
pub fn append(path: &Path, record: &RunRecord) -> io::Result<()> {
    opened(path)?.write_all(render::run::log_lines(record, &now()).as_bytes())
}

/// No link is followed, and nobody is waited for who would read from a pipe.
fn opened(path: &Path) -> io::Result<File> {
    if let Some(dir) = path.parent() {
        std::fs::create_dir_all(dir)?;
    }
    let flags = (OFlags::NOFOLLOW | OFlags::NONBLOCK | OFlags::NOCTTY).bits() as i32;
    let file = OpenOptions::new().append(true).create(true).mode(0o640).custom_flags(flags).open(path)?;
    match file.metadata()?.is_file() {
        true => Ok(file),
        false => Err(io::Error::new(io::ErrorKind::InvalidInput, "it is no regular file")),
    }
}

/// Local time with its offset.
pub fn now() -> String {
    jiff::Zoned::now().strftime("%Y-%m-%dT%H:%M:%S%:z").to_string()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_link_a_pipe_or_a_directory_in_the_place_of_the_log_is_neither_followed_nor_waited_for() {
        let dir = tempfile::tempdir().expect("a temporary directory");
        let (log, precious) = (dir.path().join("log"), dir.path().join("precious"));
        std::fs::write(&precious, "precious\n").expect("written");
        let makes: [&dyn Fn(); 3] = [
            &|| std::os::unix::fs::symlink(&precious, &log).expect("made"),
            &|| {
                let mode = rustix::fs::Mode::RUSR | rustix::fs::Mode::WUSR;
                rustix::fs::mkfifoat(rustix::fs::CWD, &log, mode).expect("made");
            },
            &|| std::fs::create_dir(&log).expect("made"),
        ];
        for make in makes {
            make();
            append(&log, &RunRecord::begun("mirror", 0)).expect_err("it is no log");
            assert_eq!(std::fs::read_to_string(&precious).expect("readable"), "precious\n");
            let _ = std::fs::remove_file(&log).or_else(|_| std::fs::remove_dir(&log));
        }
        append(&log, &RunRecord::begun("mirror", 0)).expect("a log is made");
        append(&log, &RunRecord::begun("mirror", 0)).expect("and appended to");
        assert_eq!(std::fs::read_to_string(&log).expect("readable").lines().count(), 2);
    }
}
