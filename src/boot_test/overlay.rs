//! The throw-away image over the mirror's disk: all that the machine writes goes there.

use super::UNTOUCHED;
use crate::refusal::{Failure, Refusal};
use crate::sys::command;
use crate::units::{Bytes, GIB, MIB};
use anyhow::{Context, Result};
use std::path::{Path, PathBuf};

/// A boot writes some hundred megabytes; so much must be free where the image lies.
const NEEDED: Bytes = Bytes(GIB);
/// The test ends before the server's own file system is full.
const RESERVE: Bytes = Bytes(256 * MIB);

/// The image, removed when dropped.
#[derive(Debug)]
pub struct Overlay {
    /// Where it is.
    pub path: PathBuf,
}

impl Overlay {
    /// Makes one over `node` in `dir`, whose mode lets nobody else in.
    ///
    /// # Errors
    /// A `Refusal` if there is not enough room; a `Failure` if qemu-img fails.
    pub fn new(node: &str, dir: &Path) -> Result<Self> {
        let free = free(dir)?;
        if free < NEEDED {
            let what = format!("cannot test the boot: {} has {free} left", dir.display());
            return Err(Refusal::new(what, UNTOUCHED)
                .why(format!("what the virtual machine writes goes there: {NEEDED} are needed"))
                .remedy("make room there, and try again")
                .into());
        }
        let overlay = Overlay { path: dir.join("overlay.qcow2") };
        // A killed test may have left one.
        let _ = std::fs::remove_file(&overlay.path);
        let path = overlay.path.to_string_lossy();
        tool("qemu-img", &["create", "-q", "-f", "qcow2", "-b", node, "-F", "raw", &path], dir)?;
        Ok(overlay)
    }

    /// Whether so little room is left where it lies that the test must end.
    pub fn is_full(&self) -> bool {
        let dir = self.path.parent().unwrap_or(Path::new("/"));
        free(dir).is_ok_and(|free| free < RESERVE)
    }
}

impl Drop for Overlay {
    fn drop(&mut self) {
        // What stays is removed by the next test.
        let _ = std::fs::remove_file(&self.path);
    }
}

/// Writes `length` bytes of `file` into the image from `offset` on.
///
/// # Errors
/// A `Failure` if qemu-io fails.
pub fn write(image: &Path, file: &Path, offset: u64, length: u64) -> Result<()> {
    // Names without a path: qemu-io takes its commands apart at spaces.
    let dir = file.parent().unwrap_or(Path::new("/"));
    let name = file.file_name().unwrap_or_default().to_string_lossy();
    let command = format!("write -q -s {name} {offset} {length}");
    tool("qemu-io", &["-f", "qcow2", "-c", &command, &image.to_string_lossy()], dir)
}

fn free(dir: &Path) -> Result<Bytes> {
    let fs = rustix::fs::statvfs(dir).with_context(|| format!("cannot look at {}", dir.display()))?;
    Ok(Bytes(fs.f_bavail * fs.f_frsize))
}

/// qemu-io reports failed commands on its output only, and in its exit status since version 2.12.
fn tool(program: &str, args: &[&str], dir: &Path) -> Result<()> {
    let output = command::prepared(program, args).current_dir(dir).output();
    let output = output.with_context(|| format!("cannot run {program}"))?;
    let said =
        format!("{}{}", String::from_utf8_lossy(&output.stdout), String::from_utf8_lossy(&output.stderr));
    if output.status.success() && !said.contains("failed") {
        return Ok(());
    }
    let what = format!("{program} {} failed: {}", args.join(" "), output.status);
    Err(Failure::new(what, UNTOUCHED).why(said).into())
}
