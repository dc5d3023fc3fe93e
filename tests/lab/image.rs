//! The lab's disk images, one a layout. The system they hold is put together once; all are kept in `target/lab` under names
//! that hold a hash of all they were made from.

use std::fs::{self, File};
use std::path::{Path, PathBuf};
use std::process::Command;
use std::sync::OnceLock;

use anyhow::{Context, Result, ensure};
use rustix::fs::{FlockOperation, flock};

/// Everything that decides what the system holds, but for the packages' own versions.
const SYSTEM_INPUTS: [&str; 3] =
    [include_str!("image/system"), include_str!("image/agent"), include_str!("image/lab-agent.service")];

/// What else decides what is on a disk, but for the layout.
const DISK_INPUTS: [&str; 4] = [
    include_str!("image/build"),
    include_str!("image/put"),
    include_str!("image/install"),
    include_str!("image/probe"),
];

/// What a server's own disk looks like, and how it boots.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Layout {
    /// The procedure's own: BIOS, MBR, ext3 /boot, LUKS2 on a logical partition, LVM with root and swap.
    Procedure,
    /// UEFI, GPT, ESP, ext4 /boot, LUKS2, LVM with root (xfs), home and swap; `update.tar` is a newer kernel for it.
    Uefi,
    /// BIOS, GPT, ext4 root and swap on partitions: neither LUKS nor LVM.
    Plain,
}

impl Layout {
    /// The name of its script in tests/lab/image/layouts, and the script.
    fn script(self) -> (&'static str, &'static str) {
        match self {
            Self::Procedure => ("procedure", include_str!("image/layouts/procedure")),
            Self::Uefi => ("uefi", include_str!("image/layouts/uefi")),
            Self::Plain => ("plain", include_str!("image/layouts/plain")),
        }
    }

    /// Whether the initramfs asks for a passphrase.
    pub fn is_encrypted(self) -> bool {
        self != Self::Plain
    }

    /// The capacity of its disk, as its script has it.
    pub fn bytes(self) -> u64 {
        match self {
            Self::Procedure | Self::Uefi => 3 << 30,
            Self::Plain => 2 << 30,
        }
    }
}

/// A server, ready to be booted. Its files are never to be written, only to be the backing files of overlays.
pub struct Image {
    /// Its disk: qcow2.
    pub disk: PathBuf,
    /// The server's kernel.
    pub kernel: PathBuf,
    /// What a UEFI server's firmware remembers: qcow2.
    pub firmware: Option<PathBuf>,
    /// QEMU's options for the accelerator that works on this machine.
    pub accelerator: &'static [String],
}

/// The server of a layout, built if it is not there; a second process waits for the first.
///
/// # Errors
/// If the build fails; what it printed went to stdout.
pub fn server(layout: Layout) -> Result<Image> {
    let suite = suite(&fs::read_to_string("/etc/os-release").unwrap_or_default());
    let system = system(&suite)?;
    let kernel = system.join("kernel");
    let (name, script) = layout.script();
    let server =
        super::cache().join(name_of(&format!("disk-{name}"), &system_digest(&suite), &DISK_INPUTS, script));
    let _building = lock(&format!("lock-{name}"))?;
    if !server.exists() {
        forget_others(&format!("disk-{name}-"))?;
        let path = Path::new(env!("CARGO_MANIFEST_DIR")).join("tests/lab/image/layouts").join(name);
        run(script_of("build").arg(path).arg(&system).arg(&server))?;
    }
    let firmware = Some(server.join("firmware")).filter(|file| file.exists());
    Ok(Image { disk: server.join("disk"), firmware, accelerator: accelerator(&kernel), kernel })
}

/// The root directory of the system that all servers hold, on the host: without an initramfs. Never to be written.
///
/// # Errors
/// If it cannot be built.
pub fn root() -> Result<PathBuf> {
    let suite = suite(&fs::read_to_string("/etc/os-release").unwrap_or_default());
    Ok(system(&suite)?.join("root"))
}

/// A newer kernel and its initramfs for that server, to be unpacked at its root: `boot/vmlinuz-N-99-amd64` and so on. An
/// initramfs of these leaves /run/lab-kernel-update behind.
///
/// # Errors
/// If the image cannot be built.
pub fn kernel_update(layout: Layout) -> Result<PathBuf> {
    let update = server(layout)?.disk.with_file_name("update.tar");
    ensure!(update.exists(), "the layout {layout:?} has no update of its kernel");
    Ok(update)
}

/// The folder that `image/system` made, built if it is not there.
fn system(suite: &str) -> Result<PathBuf> {
    fs::create_dir_all(super::cache())?;
    let _building = lock("lock-system")?;
    let folder = super::cache().join(format!("system-{}", system_digest(suite)));
    if !folder.exists() {
        forget_others("system-")?;
        let part = folder.with_file_name("part-system");
        let _ = fs::remove_dir_all(&part);
        run(script_of("system").arg(suite).arg(&part))?;
        fs::rename(&part, &folder).context("keeping the lab's system")?;
    }
    Ok(folder)
}

fn system_digest(suite: &str) -> String {
    name_of(suite, "", &SYSTEM_INPUTS, "")
}

/// `label-HASH`, the hash over what something is made from.
fn name_of(label: &str, base: &str, inputs: &[&str], more: &str) -> String {
    let digest = blake3::hash(format!("{label}\0{base}\0{}\0{more}", inputs.join("\0")).as_bytes()).to_hex();
    format!("{label}-{}", &digest[..16])
}

/// Held until it is dropped, against other threads and processes.
fn lock(name: &str) -> Result<File> {
    let file = File::create(super::cache().join(name))?;
    flock(&file, FlockOperation::LockExclusive)?;
    Ok(file)
}

/// Removes what an older lab has left of one kind; other kinds are not its business.
fn forget_others(prefix: &str) -> Result<()> {
    for entry in fs::read_dir(super::cache())? {
        let entry = entry?;
        if entry.file_name().to_string_lossy().starts_with(prefix) {
            fs::remove_dir_all(entry.path())?;
        }
    }
    Ok(())
}

/// Probed once a process, not once an image: a cache may come from another machine.
fn accelerator(kernel: &Path) -> &'static [String] {
    static PROBED: OnceLock<Vec<String>> = OnceLock::new();
    PROBED.get_or_init(|| {
        let output = script_of("probe").arg(kernel).output().expect("there is a shell");
        String::from_utf8_lossy(&output.stdout).split_whitespace().map(String::from).collect()
    })
}

fn script_of(name: &str) -> Command {
    let mut command = Command::new("sh");
    command.arg(Path::new(env!("CARGO_MANIFEST_DIR")).join("tests/lab/image").join(name));
    command
}

fn run(command: &mut Command) -> Result<()> {
    let status = command.status()?;
    ensure!(status.success(), "building for the lab failed: {status}");
    Ok(())
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
