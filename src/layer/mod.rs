//! What is known about each layer of a disk, one file a layer: the tool's text to data, data to an invocation,
//! file text to file text. Pure.

pub mod filesystem;
pub mod luks;
pub mod lvm;
pub mod partition_table;
pub mod swap;
