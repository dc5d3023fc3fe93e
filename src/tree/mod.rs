//! The engine: makes one directory tree equal to another. Knows directory descriptors; knows no disks, no
//! configuration, no mirror.
