//! What of a server its mirror does not have: information for who relies on it, and no fault.

use crate::units::Bytes;
use serde::{Deserialize, Serialize};

/// Something of the server that is not in the mirror.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
pub struct NotMirrored {
    /// What: `/srv`, `/dev/sda3`, `/dev/guests/web`.
    pub what: String,
    /// How large it is, if that is known.
    pub size: Option<Bytes>,
    /// Why, as a sentence goes on behind `what`: `lies on another disk (UUID=…)`.
    pub why: String,
    /// Whether it lies on the primary's disk.
    pub on_primary: bool,
}
