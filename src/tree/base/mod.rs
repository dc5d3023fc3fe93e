//! What all rooms of the engine speak of: paths, the two sides, what is left out or wanted, faults and figures.

pub(super) mod anchors;
pub(super) mod excludes;
pub(super) mod fault;
pub(super) mod listing;
pub(super) mod merge;
pub(super) mod overrides;
pub(super) mod quarantine;
pub(super) mod relpath;
pub(super) mod slots;
pub(super) mod stats;
pub(super) mod view;
