//! What is known about each layer of a disk, one file a layer: the tool's text to data, data to an invocation,
//! file text to file text. Pure.

pub mod json;
pub mod lsblk;
