//! The mirror: find it, open it, check it, mount it, prove it, mark it, close it. Knows disks and file systems; knows
//! nothing of what is copied.
//!
//! Nothing is written before the disk's hardware, its table, its containers, the UUIDs of its file systems and their
//! marks have all agreed with the configuration.

mod check;
mod find;
pub mod kept;
mod lock;
pub mod mark;
mod mounted;
mod open;
mod source;
mod swap_file;
mod unmounted;

pub use check::{Checked, check};
pub use find::{Found, devices, find, whereabouts};
pub use lock::{busy, lock, locked_by};
pub use mounted::{Access, Mounted, mount_point, write_initial_marks};
pub use open::{Opened, remove_orphans, sweep};
pub use source::{Source, check_role, device_of_source, mounted_below, note_service, open_source};
pub use swap_file::make_swap_file;
