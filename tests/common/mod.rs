//! What the integration tests share: the judges, the trees they judge, and the file systems the trees lie on.
//!
//! Nothing here uses the crate's own code: a judge that shares code with what it judges shares its faults.

// Every test target compiles this module and uses a part of it.
#![allow(dead_code)]

pub mod cataloged;
pub mod comparer;
pub mod generate;
pub mod killed;
pub mod loopfs;
pub mod moved;
pub mod mover;
pub mod names;
pub mod power;
pub mod raw;
pub mod rng;
pub mod rsync_judge;
pub mod sync_command;
pub mod unprivileged;
pub mod writer;

use std::io::Write;
use std::path::Path;

/// Whether the test runs as root.
pub fn is_root() -> bool {
    rustix::process::geteuid().is_root()
}

/// Says that a test (or a part of one) was left out, and why: on stdout, and in the file named by
/// `DISKMIRROR_SKIPS` from which `make test` prints its summary.
pub fn skipped(what: &str, why: &str) {
    let line = format!("skipped: {what}: {why}");
    println!("{line}");
    if let Some(path) = std::env::var_os("DISKMIRROR_SKIPS") {
        let opened = std::fs::OpenOptions::new().create(true).append(true).open(path);
        let mut file = opened.expect("the file named by DISKMIRROR_SKIPS can be written");
        writeln!(file, "{line}").expect("the file named by DISKMIRROR_SKIPS can be written");
    }
}

/// True as root; else says that `what` is skipped.
pub fn root_or_skip(what: &str) -> bool {
    if !is_root() {
        skipped(what, "needs root (loop devices, mounts, foreign owners)");
    }
    is_root()
}

/// A directory for scratch files that goes away with the test, on the disk the build lies on: /tmp may be a
/// tmpfs, which knows neither all attributes nor flags.
pub fn scratch() -> tempfile::TempDir {
    tempfile::Builder::new()
        .prefix("scratch-")
        .tempdir_in(env!("CARGO_TARGET_TMPDIR"))
        .expect("a scratch directory below the build directory")
}

/// Requires `copy` to be equal to `source` in the eyes of both judges.
///
/// # Panics
/// With every difference, if there is one.
pub fn assert_equal(source: &Path, copy: &Path, when: &str) {
    let differences = comparer::differences(source, copy);
    let lines: Vec<String> = differences.iter().map(ToString::to_string).collect();
    assert!(lines.is_empty(), "{when}: the comparer sees\n  {}", lines.join("\n  "));
    let listed = rsync_judge::changes(source, copy, &[]);
    assert!(listed.is_empty(), "{when}: rsync would change\n{listed}");
}
