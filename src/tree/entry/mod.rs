//! One entry of the mirror: made, installed, brought up to date, given its metadata, removed.

pub(super) mod attrs;
pub(super) mod install;
pub(super) mod make;
pub(super) mod metadata;
pub(super) mod parent;
pub(super) mod remove;
pub(super) mod undo;
pub(super) mod update;
pub(super) mod workspace;
