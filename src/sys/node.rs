//! Block devices: which device a descriptor lies on, whether anybody uses one, and what lies on it.

use super::command;
use super::proc::{self, Mount};
use rustix::fs::{AtFlags, Mode, OFlags, StatxFlags, fstat, major, minor, open, statx};
use std::fs::File;
use std::io::{self, Read, Seek};
use std::os::fd::{AsFd, OwnedFd};
use std::path::{Path, PathBuf};
use std::process::Stdio;

/// A device number.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
pub struct DeviceNumber {
    /// The driver.
    pub major: u32,
    /// The device.
    pub minor: u32,
}

impl DeviceNumber {
    fn of(dev: u64) -> Self {
        DeviceNumber { major: major(dev), minor: minor(dev) }
    }
}

/// What `blkid --probe` reads from a device: never udev's database, never blkid's cache.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct Signature {
    /// TYPE: `ext4`, `crypto_LUKS`.
    pub kind: Option<String>,
    /// UUID.
    pub uuid: Option<String>,
    /// PTUUID.
    pub table_id: Option<String>,
}

/// The device that the file system of `file` lies on.
///
/// # Errors
/// The system's.
pub fn device_below(file: impl AsFd) -> io::Result<DeviceNumber> {
    Ok(DeviceNumber::of(fstat(file)?.st_dev))
}

/// The node of a device number, found through sysfs.
///
/// # Errors
/// `NotFound` if the number is no block device's (an overlay's, a tmpfs's).
pub fn node_of(number: DeviceNumber) -> io::Result<PathBuf> {
    let uevent = format!("/sys/dev/block/{}:{}/uevent", number.major, number.minor);
    let text = std::fs::read_to_string(uevent)?;
    let name = text.lines().find_map(|line| line.strip_prefix("DEVNAME="));
    name.map(|name| Path::new("/dev").join(name)).ok_or_else(|| io::ErrorKind::NotFound.into())
}

/// Opens a device for reading, and says which it is: the number cannot change while the descriptor is open.
///
/// # Errors
/// The system's.
pub fn open_node(node: &Path) -> io::Result<(OwnedFd, DeviceNumber)> {
    let fd = open(node, OFlags::RDONLY | OFlags::CLOEXEC, Mode::empty())?;
    let number = DeviceNumber::of(fstat(&fd)?.st_rdev);
    Ok((fd, number))
}

/// Whether something holds the device for itself: a mount in any namespace, swap, a mapping, an array.
///
/// # Errors
/// The system's.
pub fn is_held(node: &Path) -> io::Result<bool> {
    match open(node, OFlags::RDONLY | OFlags::EXCL | OFlags::CLOEXEC, Mode::empty()) {
        Ok(_) => Ok(false),
        Err(rustix::io::Errno::BUSY) => Ok(true),
        Err(error) => Err(error.into()),
    }
}

/// What lies on an open device.
///
/// # Errors
/// Those of running blkid, and of reading the device where it has failed; a device without any signature is no error.
pub fn probe(device: &OwnedFd) -> io::Result<Signature> {
    let output = command::prepared("blkid", &["-p", "-o", "export", "/proc/self/fd/0"])
        .stdin(Stdio::from(File::from(device.try_clone()?)))
        .output()?;
    match output.status.code() {
        Some(0) => Ok(parse_export(&String::from_utf8_lossy(&output.stdout))),
        // blkid(8): "nothing found", and also, without a word, what it cannot read.
        Some(2) => read_start(device).map(|()| Signature::default()),
        status => {
            read_start(device)?;
            let (said, status) = (String::from_utf8_lossy(&output.stderr), status.unwrap_or_default());
            Err(io::Error::other(format!("blkid ended with {status}: {}", said.trim())))
        }
    }
}

/// Where signatures lie on a device.
const START_BYTES: u64 = 1 << 20;

/// Reads a device's start, as the kernel gives it.
///
/// # Errors
/// The system's: `EIO` for a disk that is dying.
pub fn read_start(device: &OwnedFd) -> io::Result<()> {
    let mut file = File::from(device.try_clone()?);
    file.rewind()?;
    io::copy(&mut file.take(START_BYTES), &mut io::sink()).map(drop)
}

/// What lies on the device of this node.
///
/// # Errors
/// As `probe`.
pub fn probe_node(node: &Path) -> io::Result<Signature> {
    probe(&open_node(node)?.0)
}

/// The UUID of the file system that `file` lies in, read from the device itself.
///
/// # Errors
/// The system's, and if the file system lies on no single block device.
pub fn filesystem_uuid(file: impl AsFd) -> io::Result<Option<String>> {
    let number = device_below(file)?;
    let (device, opened) = open_node(&node_of(number)?)?;
    if opened != number {
        return Err(io::Error::other("the device node does not lead to the device of the file system"));
    }
    Ok(probe(&device)?.uuid)
}

/// What a directory is the root of.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Shown {
    /// A whole file system, which is mounted there.
    Whole,
    /// A subtree of one, bound there.
    Part,
    /// Nothing: it is an ordinary directory, and nothing is mounted there.
    Nothing,
}

/// Whether `file` is the root of a mount, and of which.
///
/// # Errors
/// The system's; `Unsupported` on kernels that do not say (before 5.8).
pub fn shown_at(file: impl AsFd) -> io::Result<Shown> {
    let stat = statx(&file, "", AtFlags::EMPTY_PATH, StatxFlags::BASIC_STATS | StatxFlags::MNT_ID)?;
    let root = rustix::fs::StatxAttributes::MOUNT_ROOT;
    if !stat.stx_attributes_mask.contains(root) {
        return Err(io::ErrorKind::Unsupported.into());
    }
    if !stat.stx_attributes.contains(root) {
        return Ok(Shown::Nothing);
    }
    let is_whole = proc::mounts()?.iter().any(|mount| mount.id == stat.stx_mnt_id && is_whole(mount));
    Ok(if is_whole { Shown::Whole } else { Shown::Part })
}

/// Whether a mount shows all of its file system.
fn is_whole(mount: &Mount) -> bool {
    mount.root == Path::new("/")
}

/// Where the file system on this device is mounted whole.
///
/// # Errors
/// The system's.
pub fn whole_mounts_of(device: DeviceNumber) -> io::Result<Vec<PathBuf>> {
    let is_here = |mount: &Mount| mount.device == (device.major, device.minor) && is_whole(mount);
    Ok(proc::mounts()?.into_iter().filter(is_here).map(|mount| mount.at).collect())
}

fn parse_export(text: &str) -> Signature {
    let value = |key: &str| {
        let line = text.lines().find_map(|line| line.strip_prefix(key)?.strip_prefix('='));
        line.map(str::to_owned)
    };
    Signature { kind: value("TYPE"), uuid: value("UUID"), table_id: value("PTUUID") }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn blkids_export_format_is_read() {
        let text = "DEVNAME=/proc/self/fd/0\nUUID=a377e9b1\nUUID_SUB=ff\nTYPE=ext4\nPART_ENTRY_UUID=fbf5\n";
        let signature =
            Signature { kind: Some("ext4".into()), uuid: Some("a377e9b1".into()), table_id: None };
        assert_eq!(parse_export(text), signature);
        let table = parse_export("DEVNAME=/dev/sda\nPTUUID=1234abcd\nPTTYPE=dos\n");
        assert_eq!((table.table_id.as_deref(), table.uuid), (Some("1234abcd"), None));
    }

    #[test]
    fn a_directory_within_a_mount_is_not_its_root() {
        let dir = tempfile::tempdir().expect("a temporary directory");
        let dir = File::open(dir.path()).expect("it is there");
        assert_eq!(shown_at(&dir).expect("the kernel says"), Shown::Nothing);
        let proc = File::open("/proc").expect("proc is mounted");
        assert_eq!(shown_at(proc).expect("the kernel says"), Shown::Whole);
    }
}
