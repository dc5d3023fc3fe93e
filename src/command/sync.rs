//! `sync`: the engine alone, on any two directories.
