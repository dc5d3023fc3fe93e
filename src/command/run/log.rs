//! The log beside the journal: one line a run, more only if something was wrong.

use crate::record::RunRecord;
use crate::render;
use std::fs::OpenOptions;
use std::io::Write;
use std::os::unix::fs::OpenOptionsExt;
use std::path::Path;

/// Appends what a run did to `path`. The history is what counts: a log that cannot be written stops nothing.
pub fn append(path: &Path, record: &RunRecord) {
    if let Some(dir) = path.parent() {
        let _ = std::fs::create_dir_all(dir);
    }
    let opened = OpenOptions::new().append(true).create(true).mode(0o640).open(path);
    if let Ok(mut file) = opened {
        let _ = file.write_all(render::run::log_lines(record, &now()).as_bytes());
    }
}

/// Local time with its offset.
fn now() -> String {
    jiff::Zoned::now().strftime("%Y-%m-%dT%H:%M:%S%:z").to_string()
}
