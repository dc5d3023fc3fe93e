//! The system, wrapped thinly: commands, block devices, mounts, locks, signals, file calls. No policy lives here,
//! and `unsafe` lives nowhere else.

pub mod allocator;
pub mod block;
pub mod clock;
pub mod command;
pub mod dir;
pub mod disk;
pub mod encryption;
pub mod extents;
pub mod flags;
pub mod lock;
pub mod mount;
pub mod node;
pub mod page_cache;
pub mod pressure;
pub mod private;
pub mod proc;
pub mod read;
pub mod replace;
pub mod secret;
pub mod signal;
pub mod stat;
pub mod volume;
pub mod way;
pub mod xattr;
