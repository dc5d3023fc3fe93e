//! What the mirror needs to boot alone: who names whom, what its boot files shall hold, its loaders, and the audit of
//! all that.

pub mod files;
