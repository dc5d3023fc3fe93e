//! The rooms of diskmirror; `doc/design.md` draws the house, `tests/layering.rs` holds its walls.

pub mod apply;
pub mod boot;
pub mod boot_block;
pub mod boot_test;
pub mod cli;
pub mod command;
pub mod config;
pub mod discover;
pub mod exit_code;
pub mod fill;
pub mod history;
pub mod identity;
pub mod layer;
pub mod layout;
pub mod mirror;
pub mod monitor;
pub mod plan;
pub mod record;
pub mod refusal;
pub mod render;
pub mod retarget;
pub mod schedule;
pub mod step;
pub mod sys;
pub mod tree;
pub mod units;
