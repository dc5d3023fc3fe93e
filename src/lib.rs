//! The rooms of diskmirror; `doc/design.md` draws the house, `tests/layering.rs` holds its walls.

pub mod cli;
pub mod command;
pub mod config;
pub mod exit_code;
pub mod history;
pub mod layer;
pub mod layout;
pub mod mirror;
pub mod monitor;
pub mod record;
pub mod refusal;
pub mod render;
pub mod step;
pub mod sys;
pub mod tree;
pub mod units;
