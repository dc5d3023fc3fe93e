//! What a boot of the mirror depends on, in one digest: whether anything of it has changed since a test.
//!
//! Tables, boot code and images that lie before the file systems are read; of boot files name, size, time and mode count, for
//! reading all of /boot in each run would cost more than the run. What the system itself writes at each boot does not count.

use crate::sys::block::BlockDevice;
use crate::sys::dir::{open_dir, open_path, open_read, read_names_up_to, read_symlink};
use crate::sys::disk::Node;
use crate::sys::read;
use crate::sys::stat::Kind;
use anyhow::{Context, Result};
use std::fs::File;
use std::io::{self, ErrorKind};
use std::os::fd::OwnedFd;
use std::path::Path;

/// The start of the disk, if its first partition does not begin before: boot code, the table, GRUB's core behind an MBR.
const START_BYTES: u64 = 1 << 20;
/// Names in one directory.
const MOST_NAMES: usize = 50_000;
/// What is read whole of the root: what is mounted, and opened, at a boot.
const SETTINGS: [&str; 2] = ["etc/fstab", "etc/crypttab"];
/// More than any of them has.
const MOST_SETTINGS: u64 = 4 << 20;

/// The digest of what `disk` boots from; `volumes` are its file systems, each with the primary's mount point and its root.
///
/// # Errors
/// The system's.
pub fn state<'a>(disk: &Path, volumes: impl Iterator<Item = (&'a str, &'a OwnedFd)>) -> Result<String> {
    let mut hasher = blake3::Hasher::new();
    hasher.update(&start(disk).with_context(|| format!("cannot read {}", disk.display()))?);
    for (mount, root) in volumes {
        let dirs: &[&str] = match mount {
            "/" => &["boot", "efi"],
            _ if mount == "/boot" || mount == "/efi" || mount.starts_with("/boot/") => &[""],
            _ => continue,
        };
        hasher.update(mount.as_bytes());
        let all = dirs.iter().try_for_each(|dir| enter(root, dir, &mut hasher));
        all.with_context(|| format!("cannot look at the boot files in {mount}"))?;
        if mount == "/" {
            SETTINGS.iter().try_for_each(|path| setting(root, path, &mut hasher))?;
        }
    }
    Ok(hasher.finalize().to_hex()[..32].to_owned())
}

fn start(disk: &Path) -> io::Result<Vec<u8>> {
    let device = BlockDevice::open_read(disk)?;
    let partitions = Node::find(disk)?.partitions();
    // In units of 512 bytes, whatever the disk's are (block/partitions/core.c).
    let first = partitions.iter().filter_map(|node| node.attribute("start")?.parse::<u64>().ok()).min();
    let end = first.map_or(START_BYTES, |sectors| sectors * 512).min(START_BYTES).min(device.size());
    device.read_span(0, end as usize)
}

/// Enters every entry below `dir`, in the order of its names; a directory that is not there has none.
fn enter(root: &OwnedFd, dir: &str, hasher: &mut blake3::Hasher) -> io::Result<()> {
    let opened = match open_dir(root, dir.as_bytes()) {
        // Not there, a link, or another file system's, which is looked at by itself.
        Err(error) if matches!(error.kind(), ErrorKind::NotFound | ErrorKind::CrossesDevices) => {
            return Ok(());
        }
        Err(error) if error.raw_os_error() == Some(libc::ELOOP) => return Ok(()),
        opened => opened?,
    };
    let mut names = read_names_up_to(&opened, MOST_NAMES)?;
    names.sort_by(|a, b| a.name.cmp(&b.name));
    for named in names {
        let name = String::from_utf8_lossy(&named.name).into_owned();
        let path = if dir.is_empty() { name.clone() } else { format!("{dir}/{name}") };
        if is_of_each_boot(&path) {
            continue;
        }
        let stat = open_path(&opened, &named.name)?.stat()?;
        hasher.update(format!("\0{path}\0{:o}", stat.mode).as_bytes());
        match stat.kind {
            Kind::Dir => enter(root, &path, hasher)?,
            Kind::Symlink => drop(hasher.update(&read_symlink(&opened, &named.name)?)),
            _ => drop(hasher.update(format!("\0{} {:?}", stat.size, stat.mtime).as_bytes())),
        }
    }
    Ok(())
}

/// What boots and runs write anew: GRUB's environment, systemd-boot's seed, this program's own directory.
fn is_of_each_boot(path: &str) -> bool {
    path == ".diskmirror" || path.ends_with("/grubenv") || path.ends_with("loader/random-seed")
}

fn setting(root: &OwnedFd, path: &str, hasher: &mut blake3::Hasher) -> Result<()> {
    let (dir, name) = path.rsplit_once('/').unwrap_or(("", path));
    let opened = open_dir(root, dir.as_bytes()).and_then(|dir| open_read(dir, name.as_bytes()));
    match opened {
        Err(error) if error.kind() == ErrorKind::NotFound => Ok(()),
        opened => {
            let file = File::from(opened.with_context(|| format!("cannot open {path}"))?.fd);
            let bytes = read::whole(&file, MOST_SETTINGS).with_context(|| format!("cannot read {path}"))?;
            hasher.update(&bytes);
            Ok(())
        }
    }
}
