//! The engine: makes one directory tree equal to another. Knows directory descriptors; knows no disks, no
//! configuration, no mirror.
//!
//! `scan` compares and writes nothing; `decide` looks at the whole list, `rehearse` counts it; `apply_additions` and `apply_deletions` carry
//! it out. `stream` is all three at once, for a mirror that has never been complete. Everything is reached from the root
//! descriptors of two `View`s, by calls that follow no symbolic link and cross no mount.

mod apply;
mod base;
mod changes;
mod content;
mod entry;
mod memory;
mod pace;
mod pass;
mod scan;
mod verify;

pub use apply::batch::apply_additions;
pub use apply::deletions::apply_deletions;
pub use apply::rehearsal::rehearse;
pub use apply::room::shortage;
pub use apply::stream::stream;
pub use base::excludes::Excludes;
pub use base::fault::{Error, FileError};
pub use base::listing::OWN;
pub use base::overrides::{Want, Wanted};
pub use base::quarantine::{Held, Hold, is_absent};
pub use base::relpath::RelPath;
pub use base::stats::Counts;
pub use base::view::View;
pub use changes::Changes;
pub use changes::losses::Losing;
pub use changes::tally::{Accepted, Tally, TooManyDeletions, decide, decide_emptied};
pub use entry::undo::{PutBack, is_pending, put_back};
pub use entry::workspace::{Leftover, leftover};
pub use memory::catalog::unsure_from;
pub use pace::{Pace, Waited};
pub use pass::Options;
pub use pass::remember::{Remembered, begin_writing, commit_doubts, commit_memory, is_believed, remember};
pub use scan::scan;
pub use verify::{Damage, Difference, Sample, Scope, Side, Verified, What, verify};
