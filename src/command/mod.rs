//! The commands. Each one's top function is its table of contents. They do not know each other, but `init` calls `run`.

pub mod run;
pub mod sync;
