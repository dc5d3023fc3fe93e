//! The commands. Each one's top function is its table of contents. They do not know each other, but `init` calls `run` and `schedule`;
//! `confirm`, `not_mirrored`, `output`, `remedy` and `trees` are what several of them need.

pub mod audit;
pub mod boot_block;
pub mod boot_test;
pub mod confirm;
pub mod demo;
pub mod fill;
pub mod history;
pub mod init;
pub mod not_mirrored;
pub mod output;
pub mod remedy;
pub mod run;
pub mod schedule;
pub mod status;
pub mod sync;
pub mod trees;
pub mod undo;
pub mod verify;

use crate::monitor::{Bars, Lines, Monitor};
use std::io::IsTerminal;
use std::time::Duration;

/// Bars for a stderr that is a terminal; elsewhere only what is wrong: so that a timer's run is quiet.
pub fn quiet_monitor_for_stderr() -> Box<dyn Monitor> {
    if std::io::stderr().is_terminal() {
        Box::new(Bars::new())
    } else {
        Box::new(Lines::quiet(std::io::stderr()))
    }
}

/// Bars for a stderr that is a terminal; else lines, one about progress each minute.
pub fn monitor_for_stderr() -> Box<dyn Monitor> {
    if std::io::stderr().is_terminal() {
        Box::new(Bars::new())
    } else {
        Box::new(Lines::new(std::io::stderr(), Duration::from_secs(60)))
    }
}
