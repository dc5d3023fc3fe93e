//! What of the server is not in the mirror, as `init` saw it and as fstab says now.

use crate::config::Mirror;
use crate::discover::{Probe, Question, Tools};
use crate::layer::device_spec::DeviceSpec;
use crate::layer::fstab::{self, Entry};
use crate::layout::NotMirrored;
use anyhow::{Context, Result};
use serde::{Deserialize, Serialize};
use std::io::ErrorKind;
use std::path::Path;

/// Where `init` writes what it saw, below the state directory.
pub const FILE: &str = "not-mirrored.json";

/// The file.
#[derive(Serialize, Deserialize)]
struct Seen {
    format: u32,
    not_mirrored: Vec<NotMirrored>,
}

/// The file's text.
pub fn to_text(all: &[NotMirrored]) -> String {
    let seen = Seen { format: 1, not_mirrored: all.to_vec() };
    serde_json::to_string(&seen).expect("plain data becomes JSON") + "\n"
}

/// What of the primary's disk `init` saw that is not in the mirror, and what fstab mounts now from elsewhere.
///
/// # Errors
/// If the file or fstab cannot be read.
pub fn now(root: &Path, state_dir: &Path, mirror: &Mirror) -> Result<Vec<NotMirrored>> {
    let seen = seen(&state_dir.join(FILE))?;
    let size = |what: &str| seen.iter().find(|one| one.what == what).and_then(|one| one.size);
    let fstab = Tools { root: root.to_owned() }.ask(&Question::Fstab)?;
    let entries = fstab::entries(&fstab);
    let others = entries.iter().filter(|entry| !is_known(entry, mirror));
    let elsewhere: Vec<NotMirrored> =
        others.filter_map(|entry| entry.elsewhere(size(&entry.target))).collect();
    let of_primary = seen.into_iter().filter(|one| one.on_primary);
    Ok(of_primary.chain(elsewhere).collect())
}

/// Whether an entry is for a file system that is mirrored, or for the mirror's own.
fn is_known(entry: &Entry, mirror: &Mirror) -> bool {
    mirror.volumes.iter().any(|volume| {
        let is_mirrors = |uuid: &String| uuid.eq_ignore_ascii_case(&volume.mirror_uuid);
        volume.mount == entry.target || matches!(&entry.device, DeviceSpec::Uuid(uuid) if is_mirrors(uuid))
    })
}

fn seen(path: &Path) -> Result<Vec<NotMirrored>> {
    let cannot = || format!("cannot read {}", path.display());
    let text = match std::fs::read_to_string(path) {
        // A mirror that an earlier version made.
        Err(error) if error.kind() == ErrorKind::NotFound => return Ok(Vec::new()),
        read => read.with_context(cannot)?,
    };
    let seen: Seen = serde_json::from_str(&text).with_context(cannot)?;
    anyhow::ensure!(seen.format == 1, "{}: it has another format ({})", cannot(), seen.format);
    Ok(seen.not_mirrored)
}
