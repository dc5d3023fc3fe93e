//! Loop devices with direct I/O, and ext4 on them. However the bench ends, the kernel takes them away: an image loses
//! its name as soon as it is attached, a device detaches itself from it when it is closed for the last time, and
//! mounts go with the mount namespace.

use super::child;
use anyhow::{Context, bail};
use std::ffi::OsString;
use std::fs::{self, File};
use std::os::unix::fs::FileTypeExt;
use std::path::{Path, PathBuf};

/// A block device over a sparse image that nobody else sees.
#[derive(Debug)]
pub struct LoopDevice {
    path: PathBuf,
    /// As long as this is open the device stays, mounted or not.
    _open: File,
    /// Whether it passes the page cache of the image's file system by.
    pub direct: bool,
}

impl LoopDevice {
    /// Of `bytes`, with its image in the directory `dir`.
    pub fn new(dir: &Path, bytes: u64) -> anyhow::Result<Self> {
        let image = tempfile::NamedTempFile::new_in(dir).context("an image file")?;
        image.as_file().set_len(bytes).context("a sparse image")?;
        let attach = |direct: &str| {
            said(&["losetup", "--find", "--show", direct].map(OsString::from), image.path().as_os_str())
        };
        let path = attach("--direct-io=on").or_else(|_| attach("--direct-io=off"))?;
        let path = PathBuf::from(path.trim());
        let open = File::open(&path).with_context(|| format!("opening {}", path.display()))?;
        if !open.metadata()?.file_type().is_block_device() {
            bail!("{} is no block device", path.display());
        }
        // It is in use, by us: it is detached when that ends, and not now.
        said(&["losetup", "-d"].map(OsString::from), path.as_os_str())?;
        let direct = fs::read_to_string(sys_file(&path)).is_ok_and(|dio| dio.trim() == "1");
        Ok(LoopDevice { path, _open: open, direct })
    }
    /// Its node.
    pub fn path(&self) -> &Path {
        &self.path
    }
    /// Waits until everything written to it is on the medium.
    pub fn flush(&self) -> anyhow::Result<()> {
        self._open.sync_all().with_context(|| format!("flushing {}", self.path.display()))
    }
}

fn sys_file(device: &Path) -> PathBuf {
    let name = device.file_name().unwrap_or_default();
    Path::new("/sys/block").join(name).join("loop/dio")
}

/// An ext4 file system, mounted.
#[derive(Debug)]
pub struct Volume {
    device: LoopDevice,
    point: PathBuf,
    inodes: u64,
    mounted: bool,
}

impl Volume {
    /// Makes and mounts it at `scratch/name`, with room for `bytes` and `inodes`.
    pub fn new(scratch: &Path, name: &str, bytes: u64, inodes: u64) -> anyhow::Result<Self> {
        let point = scratch.join(name);
        fs::create_dir(&point).with_context(|| format!("creating {}", point.display()))?;
        let device = LoopDevice::new(scratch, bytes)?;
        let mut volume = Volume { device, point, inodes, mounted: false };
        volume.renew()?;
        Ok(volume)
    }
    /// Where it is mounted.
    pub fn path(&self) -> &Path {
        &self.point
    }
    /// Whether its device passes the host's page cache by.
    pub fn is_direct(&self) -> bool {
        self.device.direct
    }
    /// Replaces it by an empty one.
    pub fn renew(&mut self) -> anyhow::Result<()> {
        self.unmount()?;
        // Nothing is left for the kernel to do later, while something is measured. `-I 256 -b 4096`: as on a real
        // disk, however small the image is.
        let mkfs = [
            "mkfs.ext4",
            "-q",
            "-F",
            "-b",
            "4096",
            "-I",
            "256",
            "-E",
            "lazy_itable_init=0,lazy_journal_init=0",
        ];
        let mut argv = mkfs.map(OsString::from).to_vec();
        argv.extend(["-N".into(), self.inodes.to_string().into()]);
        said(&argv, self.device.path().as_os_str())?;
        // No access times: else whoever reads a tree first would pay for setting them.
        let mut mount = ["mount", "-t", "ext4", "-o", "noatime"].map(OsString::from).to_vec();
        mount.push(self.device.path().into());
        said(&mount, self.point.as_os_str())?;
        self.mounted = true;
        fs::remove_dir(self.point.join("lost+found")).context("removing lost+found")
    }
    /// Waits until everything written to it is on the medium.
    pub fn flush(&self) -> anyhow::Result<()> {
        let root = File::open(&self.point).with_context(|| format!("opening {}", self.point.display()))?;
        rustix::fs::syncfs(&root).with_context(|| format!("flushing {}", self.point.display()))
    }
    /// Bytes in use.
    pub fn used_bytes(&self) -> anyhow::Result<u64> {
        let all = rustix::fs::statvfs(&self.point);
        let all = all.with_context(|| format!("looking at {}", self.point.display()))?;
        Ok((all.f_blocks - all.f_bfree) * all.f_frsize)
    }
    fn unmount(&mut self) -> anyhow::Result<()> {
        if std::mem::take(&mut self.mounted) {
            said(&["umount".into()], self.point.as_os_str())?;
        }
        Ok(())
    }
}

/// What is still mounted when this fails goes with the namespace.
impl Drop for Volume {
    fn drop(&mut self) {
        if let Err(error) = self.unmount() {
            eprintln!("note: {} stays mounted until the bench ends: {error:#}", self.point.display());
        }
        let _ = fs::remove_dir(&self.point);
    }
}

/// Runs a tool on `last`; its stdout.
fn said(argv: &[OsString], last: &std::ffi::OsStr) -> anyhow::Result<String> {
    let mut argv = argv.to_vec();
    argv.push(last.to_owned());
    let said =
        child::prepared(&argv).output().with_context(|| format!("starting {}", child::shown(&argv)))?;
    if !said.status.success() {
        bail!("{}: {}", child::shown(&argv), String::from_utf8_lossy(&said.stderr).trim());
    }
    Ok(String::from_utf8_lossy(&said.stdout).into_owned())
}
