//! The log beside the journal: one line a run, more only if something was wrong.

use crate::record::RunRecord;
use crate::render;
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
pub fn append(path: &Path, record: &RunRecord) {
    if let Ok(mut file) = opened(path) {
        let _ = file.write_all(render::run::log_lines(record, &now()).as_bytes());
    }
}

fn opened(path: &Path) -> io::Result<File> {
    if let Some(dir) = path.parent() {
        std::fs::create_dir_all(dir)?;
    }
    OpenOptions::new().append(true).create(true).mode(0o640).open(path)
}

/// Local time with its offset.
fn now() -> String {
    jiff::Zoned::now().strftime("%Y-%m-%dT%H:%M:%S%:z").to_string()
}
