//! What an `init` that was killed left open, so that it can be repeated: written down before the first step, removed
//! after the last.

use crate::config::UNFINISHED_INIT as FILE;
use crate::layer::{luks, lvm};
use crate::mirror;
use crate::monitor::Monitor;
use crate::plan::Plan;
use crate::refusal::{Failure, Refusal};
use crate::step::Invocation;
use crate::sys::read::{STATE_BYTES, file};
use crate::sys::{command, private};
use anyhow::{Context, Result};
use serde::{Deserialize, Serialize};
use std::fs;
use std::io::ErrorKind;
use std::path::{Path, PathBuf};

/// What is open, or may be, while an `init` is at work.
#[derive(Debug, Default, Serialize, Deserialize)]
pub struct Unfinished {
    /// Mapper names and the LUKS UUIDs behind them.
    containers: Vec<(String, String)>,
    /// Volume groups that it makes.
    pub volume_groups: Vec<String>,
    /// Key files that it writes.
    key_files: Vec<PathBuf>,
}

/// Writes down what `plan` will open.
///
/// # Errors
/// If that cannot be written: then nothing may be opened.
pub fn begin(state_dir: &Path, plan: &Plan) -> Result<()> {
    let unfinished = Unfinished {
        containers: plan.containers.iter().map(|c| (c.mapper.clone(), c.luks_uuid.clone())).collect(),
        volume_groups: plan.volume_groups.clone(),
        key_files: plan.containers.iter().filter_map(|c| c.key_file.clone()).map(PathBuf::from).collect(),
    };
    let path = state_dir.join(FILE);
    let written = serde_json::to_vec(&unfinished)
        .map_err(std::io::Error::from)
        .and_then(|text| private::replace(&path, &text));
    Ok(written.map_err(|error| {
        Failure::new(
            format!("cannot write down in {} what will be open", path.display()),
            format!("nothing was written to {}", plan.disk),
        )
        .why(error.to_string())
        .remedy("see that the directory can be written, then repeat the same diskmirror init")
    })?)
}

/// Says that nothing is left open.
///
/// # Errors
/// If the file cannot be removed.
pub fn end(state_dir: &Path) -> Result<()> {
    let path = state_dir.join(FILE);
    match fs::remove_file(&path) {
        Err(error) if error.kind() != ErrorKind::NotFound => {
            Err(error).with_context(|| format!("cannot remove {}", path.display()))
        }
        _ => Ok(()),
    }
}

/// What an earlier `init` left unfinished.
///
/// # Errors
/// If the file is there and cannot be read.
pub fn read(state_dir: &Path) -> Result<Unfinished> {
    let path = state_dir.join(FILE);
    match file(&path, STATE_BYTES) {
        Err(error) if error.kind() == ErrorKind::NotFound => Ok(Unfinished::default()),
        read => {
            let text = read.map_err(|error| {
                Refusal::new(
                    "refusing to go on: what an earlier init left open is not known",
                    "nothing was written",
                )
                .why(format!("{}: {error}", path.display()))
                .remedy("mend that, or look yourself what is open (lsblk) and remove the file")
            })?;
            // Cut off while it was written: then nothing had been opened yet.
            Ok(serde_json::from_slice(&text).unwrap_or_default())
        }
    }
}

/// Takes offline what an earlier `init` left open, and removes its key files: they open nothing that was finished.
///
/// # Errors
/// If the record of it cannot be read.
pub fn sweep(state_dir: &Path, monitor: &dyn Monitor) -> Result<()> {
    let left = read(state_dir)?;
    if left.containers.is_empty() && left.volume_groups.is_empty() {
        return Ok(());
    }
    monitor.note("an earlier init was interrupted: taking what it left open offline");
    let open = || left.containers.iter().rev().filter(|(mapper, uuid)| is_open(mapper, uuid));
    if let Err(error) = mirror::remove_orphans(&left.volume_groups, open().map(|(mapper, _)| mapper.as_str()))
    {
        monitor.warn(&format!("{error:#}"));
    }
    left.volume_groups.iter().for_each(|vg| run(&lvm::deactivate(vg), monitor));
    open().for_each(|(mapper, _)| run(&luks::close(mapper), monitor));
    for key in &left.key_files {
        match fs::remove_file(key) {
            Err(error) if error.kind() != ErrorKind::NotFound => {
                monitor.warn(&format!("cannot remove {}: {error}", key.display()));
            }
            _ => {}
        }
    }
    Ok(())
}

/// Whether the mapping of this name is that very container: the kernel names it `CRYPT-LUKS2-<uuid>-<name>`.
fn is_open(mapper: &str, uuid: &str) -> bool {
    let node = fs::canonicalize(Path::new("/dev/mapper").join(mapper)).unwrap_or_default();
    let name = node.file_name().unwrap_or_default();
    let id = fs::read_to_string(Path::new("/sys/class/block").join(name).join("dm/uuid")).unwrap_or_default();
    id.contains(&uuid.replace('-', ""))
}

/// What stays open is named again, as in use, when the disks are looked at.
fn run(invocation: &Invocation, monitor: &dyn Monitor) {
    match command::ask(&invocation.program, &invocation.args, b"") {
        Ok(said) if !said.ok() => monitor.warn(&format!("{invocation}: {}", said.stderr.trim())),
        Err(error) if error.kind() != ErrorKind::NotFound => monitor.warn(&format!("{invocation}: {error}")),
        _ => {}
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_record_that_was_cut_off_means_that_nothing_was_opened() {
        let dir = tempfile::tempdir().expect("a temporary directory");
        fs::write(dir.path().join(FILE), b"{\"containers\":[[\"mi").expect("it can be written");
        assert!(read(dir.path()).expect("it is readable").containers.is_empty());
        end(dir.path()).expect("it is there");
        end(dir.path()).expect("it need not be there");
    }
}
