//! What is remembered from one run to the next: a catalog of metadata, and the hashes of large files' blocks.

pub(super) mod blocks;
pub(super) mod catalog;
