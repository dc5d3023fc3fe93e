//! What a verification leaves behind.

use crate::exit_code::Exit;
use serde::{Deserialize, Serialize};

/// One file system, in figures.
#[derive(Debug, Clone, Default, PartialEq, Eq, Serialize, Deserialize)]
pub struct VerifiedVolume {
    /// Where the primary mounts it.
    pub mount: String,
    /// Entries that were compared.
    pub entries: u64,
    /// Files whose content was read on both sides.
    pub files: u64,
    /// Bytes of content that were read on each side.
    pub bytes: u64,
    /// Entries that differ because the primary's has changed since the last run.
    pub changed_since: u64,
    /// Entries of the mirror that are not what was written to it.
    pub mirror_damaged: u64,
    /// Files of the primary whose content changed although nobody wrote to them; what cannot be read included.
    pub primary_damaged: u64,
    /// Entries that differ, and nothing tells which side is right.
    pub unknown: u64,
}

impl VerifiedVolume {
    /// How many entries are not what they should be.
    pub const fn differences(&self) -> u64 {
        self.mirror_damaged + self.primary_damaged + self.unknown
    }
}

/// One entry that is not what it should be.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct DifferenceRecord {
    /// The file system.
    pub mount: String,
    /// The entry, below its root; control characters and what is not UTF-8 as octal escapes.
    pub path: String,
    /// `mirror`, `primary` or `unknown`: which side is not what it should be.
    pub side: String,
    /// In what.
    pub what: String,
    /// What lets a damaged file of the primary through to the mirror: `run --accept DIGEST`.
    #[serde(skip_serializing_if = "Option::is_none", default)]
    pub digest: Option<String>,
}

/// One verification.
#[derive(Debug, Clone, Default, PartialEq, Serialize, Deserialize)]
pub struct VerifyRecord {
    /// Its number; 0 until the history has given it one.
    #[serde(default)]
    pub id: i64,
    /// The mirror's name.
    pub mirror: String,
    /// The table id of the disk that was looked at.
    pub table_id: String,
    /// The run that had written the mirror last.
    pub run: Option<i64>,
    /// When it began, in seconds since 1970.
    pub started: i64,
    /// How long it took.
    pub seconds: f64,
    /// The share of the files whose content was read, as `5%`; none is all of them.
    pub sample: Option<String>,
    /// The file systems.
    pub volumes: Vec<VerifiedVolume>,
    /// The first differences.
    pub differences: Vec<DifferenceRecord>,
}

impl VerifyRecord {
    /// The sums over all file systems.
    pub fn total(&self) -> VerifiedVolume {
        let mut total = VerifiedVolume::default();
        for volume in &self.volumes {
            total.entries += volume.entries;
            total.files += volume.files;
            total.bytes += volume.bytes;
            total.changed_since += volume.changed_since;
            total.mirror_damaged += volume.mirror_damaged;
            total.primary_damaged += volume.primary_damaged;
            total.unknown += volume.unknown;
        }
        total
    }

    /// What the shell is told.
    pub fn exit(&self) -> Exit {
        if self.total().differences() == 0 { Exit::Done } else { Exit::Differences }
    }
}
