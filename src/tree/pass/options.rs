//! What is asked of a pass.

use crate::sys::stat::Timestamp;
use crate::tree::base::excludes::Excludes;
use crate::tree::base::overrides::Wanted;
use crate::tree::base::quarantine::Held;
use crate::tree::memory::blocks::Blocks;
use crate::tree::memory::catalog::Catalog;
use crate::tree::pace::Pace;
use std::path::Path;
use std::sync::Arc;

/// From what size on files are brought up to date block by block, if nobody says otherwise: below, a whole copy is quick.
const BLOCKS_FROM: u64 = 64 << 20;

/// How two trees are compared and made equal.
#[derive(Debug, Clone)]
pub struct Options {
    /// What is left out on both sides.
    pub excludes: Excludes,
    /// What the mirror shall hold instead of the source's content.
    pub wanted: Wanted,
    /// After a run that did not end: every mirror inode whose own ctime is not older is compared by content.
    pub suspect_since: Option<Timestamp>,
    /// Every source entry whose ctime is not older is compared by content where all else is equal.
    pub doubt_since: Option<Timestamp>,
    /// Compare the content of every file, whatever its size and time say.
    pub compare_content: bool,
    /// Look at both sides of everything, whatever the catalog says: what it hid is an alarm.
    pub compare_whole: bool,
    /// What is known of the source as of the last run, and what this one finds.
    pub catalog: Option<Arc<Catalog>>,
    /// Files of so many bytes and more are brought up to date block by block.
    pub blocks_from: u64,
    /// What is known of the blocks of the mirror's files.
    pub blocks: Option<Arc<Blocks>>,
    /// Files of the source that are damaged: the mirror keeps what it has of them.
    pub held: Held,
    /// Whether owners, trusted and security attributes and device nodes can be set.
    pub privileged: bool,
    /// How fast to work; none is as fast as it goes.
    pub pace: Option<Arc<Pace>>,
    /// Threads to work with; 0 is as many as are good for the work.
    pub threads: usize,
}

impl Default for Options {
    fn default() -> Self {
        Options {
            excludes: Excludes::default(),
            wanted: Wanted::default(),
            suspect_since: None,
            doubt_since: None,
            compare_content: false,
            compare_whole: false,
            catalog: None,
            blocks_from: BLOCKS_FROM,
            blocks: None,
            held: Held::default(),
            privileged: rustix::process::geteuid().is_root(),
            pace: None,
            threads: 0,
        }
    }
}

impl Options {
    /// Where what outgrows memory is written first: beside the catalog, if there is one.
    pub(in crate::tree) fn beside(&self) -> Option<&Path> {
        self.catalog.as_ref().and_then(|catalog| catalog.path().parent())
    }
}
