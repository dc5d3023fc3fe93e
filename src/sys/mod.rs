//! The system, wrapped thinly: commands, block devices, mounts, locks, signals, file calls. No policy lives here,
//! and `unsafe` lives nowhere else.

pub mod block;
pub mod command;
pub mod disk;
pub mod secret;
pub mod signal;
