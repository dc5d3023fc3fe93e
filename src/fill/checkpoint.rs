//! How far a fill has come, kept in a file so that the next one goes on there.
//!
//! The file says less than the disk proves: a fill is resumed only where the device still has the size, place and
//! serial number it had, and its first and its last filled piece still hold what was written. So neither another
//! disk nor one that was used in between keeps a part that was not overwritten.

use crate::step::Filling;
use crate::sys::block::BlockDevice;
use crate::sys::disk::Node;
use crate::sys::private;
use crate::sys::read::{STATE_BYTES, file};
use serde::{Deserialize, Serialize};
use std::fs;
use std::io;
use std::path::{Path, PathBuf};

/// Bytes of the first and of the last filled piece that are compared.
const PROBE_BYTES: u64 = 64 * 1024;

/// Where the progress of one fill of one device is kept.
pub struct Checkpoint {
    file: PathBuf,
    identity: String,
}

/// The file's content.
#[derive(Debug, PartialEq, Eq, Serialize, Deserialize)]
struct Progress {
    device: String,
    identity: String,
    reached: u64,
    first: String,
    last: String,
}

impl Checkpoint {
    /// The checkpoint, below `directory`, of filling `bytes` of `device` `with` that.
    pub fn of(directory: &Path, node: &Node, device: &BlockDevice, with: Filling, bytes: u64) -> Self {
        let start = node.attribute("start").unwrap_or_default();
        let size = device.size();
        let identity = format!("{} start {start} size {size} {with:?} {bytes}", node.confirmation());
        let digest = blake3::hash(identity.as_bytes()).to_hex();
        Checkpoint { file: directory.join(format!("fill-{}.json", &digest[..16])), identity }
    }

    /// How far an earlier fill came; 0 if there was none, or if the device does not prove it.
    pub fn reached(&self, device: &BlockDevice) -> u64 {
        let earlier = file(&self.file, STATE_BYTES)
            .ok()
            .and_then(|text| serde_json::from_slice::<Progress>(&text).ok());
        let Some(earlier) = earlier.filter(|p| p.reached > 0 && p.reached <= device.size()) else { return 0 };
        match self.progress(device, earlier.reached) {
            Ok(now) if now == earlier => now.reached,
            _ => 0,
        }
    }

    /// Flushes the device, then says durably that everything before `reached` is filled.
    ///
    /// # Errors
    /// Those of the device and of writing the file.
    pub fn save(&self, device: &BlockDevice, reached: u64) -> io::Result<()> {
        device.flush()?;
        let text = serde_json::to_vec(&self.progress(device, reached)?)?;
        private::replace(&self.file, &text)
    }

    /// Forgets the fill: it is complete.
    ///
    /// # Errors
    /// Those of removing the file, but that there is none.
    pub fn remove(&self) -> io::Result<()> {
        match fs::remove_file(&self.file) {
            Err(error) if error.kind() == io::ErrorKind::NotFound => Ok(()),
            other => other,
        }
    }

    fn progress(&self, device: &BlockDevice, reached: u64) -> io::Result<Progress> {
        let length = PROBE_BYTES.min(reached);
        let hash =
            |at| device.read_span(at, length as usize).map(|bytes| blake3::hash(&bytes).to_hex().to_string());
        Ok(Progress {
            device: device.path().display().to_string(),
            identity: self.identity.clone(),
            reached,
            first: hash(0)?,
            last: hash(reached - length)?,
        })
    }
}
