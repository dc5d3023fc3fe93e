//! The engine: makes one directory tree equal to another. Knows directory descriptors; knows no disks, no
//! configuration, no mirror.
//!
//! `scan` compares and writes nothing; `decide` looks at the whole list, `rehearse` counts it; `apply_additions` and `apply_deletions` carry
//! it out. `stream` is all three at once, for a mirror that has never been complete. Everything is reached from the root
//! descriptors of two `View`s, by calls that follow no symbolic link and cross no mount.

mod anchors;
mod apply;
mod attrs;
mod batch;
mod blocks;
mod catalog;
mod change;
mod compare;
mod content;
mod counts;
mod deletions;
mod difference;
mod excludes;
mod fault;
mod held;
mod itemise;
mod links;
mod listing;
mod look;
mod losses;
mod make;
mod manners;
mod merge;
mod metadata;
mod moved;
mod moves;
mod nest;
mod old_names;
mod pace;
mod pass;
mod place;
mod recent;
mod rehearsal;
mod relpath;
mod remember;
mod renames;
mod room;
mod scan;
mod spool;
mod stream;
mod subtree;
mod tally;
mod task;
mod undo;
mod update;
mod verify;
mod view;
mod wanted;
mod workers;
mod workspace;

pub use batch::apply_additions;
pub use catalog::unsure_from;
pub use counts::Counts;
pub use deletions::apply_deletions;
pub use excludes::Excludes;
pub use fault::{Error, FileError};
pub use held::{Held, Hold, is_absent};
pub use listing::OWN;
pub use losses::Losing;
pub use pace::{Pace, Waited};
pub use pass::Options;
pub use rehearsal::rehearse;
pub use relpath::RelPath;
pub use remember::{Remembered, begin_writing, commit_doubts, commit_memory, is_believed, remember};
pub use room::shortage;
pub use scan::{Changes, scan};
pub use stream::stream;
pub use tally::{Accepted, Tally, TooManyDeletions, decide, decide_emptied};
pub use undo::{PutBack, is_pending, put_back};
pub use verify::{Damage, Difference, Sample, Scope, Side, Verified, What, verify};
pub use view::View;
pub use wanted::{Want, Wanted};
pub use workspace::{Leftover, leftover};
