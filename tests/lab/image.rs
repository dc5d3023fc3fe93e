//! The server's disk image, built once and kept in `target/lab` under a name that holds a hash of all it was made from.

use std::fs::{self, File};
use std::path::{Path, PathBuf};
use std::process::Command;
use std::sync::OnceLock;

use anyhow::{Context, Result, ensure};
use rustix::fs::{FlockOperation, flock};

/// Everything that decides what the image holds, but for the packages' own versions.
const INPUTS: [&str; 5] = [
    include_str!("image/build"),
    include_str!("image/install"),
    include_str!("image/probe"),
    include_str!("image/agent"),
    include_str!("image/lab-agent.service"),
];

/// The server, ready to be booted.
pub struct Image {
    /// Its disk: qcow2, never to be written, only to be the backing file of an overlay.
    pub disk: PathBuf,
    /// The server's kernel.
    pub kernel: PathBuf,
    /// QEMU's options for the accelerator that works on this machine.
    pub accelerator: &'static [String],
}

/// The image of the server, built if it is not there; a second process waits for the first.
///
/// # Errors
/// If the build fails; what it printed went to stdout.
pub fn server() -> Result<Image> {
    let cache = super::cache();
    fs::create_dir_all(&cache)?;
    let lock = File::create(cache.join("lock"))?;
    flock(&lock, FlockOperation::LockExclusive)?;
    let suite = suite(&fs::read_to_string("/etc/os-release").unwrap_or_default());
    let digest = blake3::hash(format!("{suite}\0{}", INPUTS.join("\0")).as_bytes()).to_hex();
    let disk = cache.join(format!("server-{suite}-{}.qcow2", &digest[..16]));
    let kernel = disk.with_extension("kernel");
    if !disk.exists() {
        forget_older(&cache)?;
        build(&suite, &disk, &kernel)?;
    }
    Ok(Image { disk, accelerator: accelerator(&kernel), kernel })
}

/// Probed once a process, not once an image: a cache may come from another machine.
fn accelerator(kernel: &Path) -> &'static [String] {
    static PROBED: OnceLock<Vec<String>> = OnceLock::new();
    PROBED.get_or_init(|| {
        let output = script("probe").arg(kernel).output().expect("there is a shell");
        String::from_utf8_lossy(&output.stdout).split_whitespace().map(String::from).collect()
    })
}

fn script(name: &str) -> Command {
    let mut command = Command::new("sh");
    command.arg(Path::new(env!("CARGO_MANIFEST_DIR")).join("tests/lab/image").join(name));
    command
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

fn build(suite: &str, disk: &Path, kernel: &Path) -> Result<()> {
    let part = disk.with_extension("part");
    let status = script("build").arg(suite).arg(&part).arg(kernel).status()?;
    ensure!(status.success(), "building the server's image failed: {status}");
    fs::rename(&part, disk).context("keeping the server's image")
}

fn forget_older(cache: &Path) -> Result<()> {
    for entry in fs::read_dir(cache)? {
        let path = entry?.path();
        let name = path.file_name().unwrap_or_default().to_string_lossy();
        if name.starts_with("server-") {
            fs::remove_file(&path)?;
        }
    }
    Ok(())
}
