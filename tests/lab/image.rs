//! The server's disk image, built once and kept in `target/lab` under a name that holds a hash of all it was made from.

use std::fs::{self, File};
use std::path::{Path, PathBuf};
use std::process::Command;

use anyhow::{Context, Result, ensure};
use rustix::fs::{FlockOperation, flock};

use super::accelerator::Accelerator;

/// Everything that decides what the image holds, but for the packages' own versions.
const INPUTS: [&str; 4] = [
    include_str!("image/build"),
    include_str!("image/install"),
    include_str!("image/agent"),
    include_str!("image/lab-agent.service"),
];

/// The image of the server: qcow2, never to be written, only to be the backing file of an overlay. Built if it is not there;
/// a second process waits for the first.
///
/// # Errors
/// If the build fails; what it printed went to stdout.
pub fn server() -> Result<PathBuf> {
    let cache = super::cache();
    fs::create_dir_all(&cache)?;
    let lock = File::create(cache.join("lock"))?;
    flock(&lock, FlockOperation::LockExclusive)?;
    let suite = suite(&fs::read_to_string("/etc/os-release").unwrap_or_default());
    let digest = blake3::hash(format!("{suite}\0{}", INPUTS.join("\0")).as_bytes()).to_hex();
    let image = cache.join(format!("server-{suite}-{}.qcow2", &digest[..16]));
    if !image.exists() {
        forget_older(&cache)?;
        build(&suite, &image)?;
    }
    Ok(image)
}

/// The host's own release when it is a Debian: a program built on the host then finds its libraries in the server.
fn suite(os_release: &str) -> String {
    let field = |name: &str| {
        let line = os_release.lines().find_map(|line| line.strip_prefix(name)?.strip_prefix('='));
        line.map(|value| value.trim_matches('"').to_owned())
    };
    field("VERSION_CODENAME")
        .filter(|_| field("ID").as_deref() == Some("debian"))
        .unwrap_or_else(|| "trixie".to_owned())
}

fn build(suite: &str, image: &Path) -> Result<()> {
    let script = concat!(env!("CARGO_MANIFEST_DIR"), "/tests/lab/image/build");
    let part = image.with_extension("part");
    let status = Command::new("sh")
        .arg(script)
        .arg(suite)
        .arg(Accelerator::best().arguments().join(" "))
        .arg(&part)
        .status()?;
    ensure!(status.success(), "building the server's image failed: {status}");
    fs::rename(&part, image).context("keeping the server's image")
}

fn forget_older(cache: &Path) -> Result<()> {
    for entry in fs::read_dir(cache)? {
        let path = entry?.path();
        let name = path.file_name().unwrap_or_default().to_string_lossy();
        if name.starts_with("server-") && name.ends_with(".qcow2") {
            fs::remove_file(&path)?;
        }
    }
    Ok(())
}
