//! The status.
