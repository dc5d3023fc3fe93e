//! What the kernel tells of a block device without opening it: its disk, its partitions, its serial number, and
//! everything that uses any of them. Read from sysfs and /proc; a device is known by its number, not by its name.

use super::proc;
use std::collections::BTreeSet;
use std::fs;
use std::io;
use std::os::unix::fs::{FileTypeExt, MetadataExt};
use std::path::{Path, PathBuf};

/// A block device as sysfs shows it.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Node {
    /// Major and minor number.
    pub number: (u32, u32),
    /// Its directory: `/sys/devices/…/block/sda/sda1`.
    pub sysfs: PathBuf,
}

impl Node {
    /// The block device that `path` (or the link it is) names.
    ///
    /// # Errors
    /// `InvalidInput` if it names something else; else those of the system.
    pub fn find(path: &Path) -> io::Result<Self> {
        let meta = fs::metadata(path)?;
        if !meta.file_type().is_block_device() {
            return Err(io::Error::new(io::ErrorKind::InvalidInput, "not a block device"));
        }
        Self::numbered(split(meta.rdev()))
    }

    fn numbered(number: (u32, u32)) -> io::Result<Self> {
        let sysfs = fs::canonicalize(format!("/sys/dev/block/{}:{}", number.0, number.1))?;
        Ok(Node { number, sysfs })
    }

    fn in_directory(sysfs: PathBuf) -> Option<Self> {
        let number = parse_number(&fs::read_to_string(sysfs.join("dev")).ok()?)?;
        Some(Node { number, sysfs })
    }

    /// The kernel's name: `sda1`.
    pub fn name(&self) -> String {
        let name = self.sysfs.file_name().map(|n| n.to_string_lossy().into_owned());
        name.unwrap_or_default().replace('!', "/")
    }

    /// The kernel's node: `/dev/sda1`.
    pub fn path(&self) -> PathBuf {
        Path::new("/dev").join(self.name())
    }

    /// One attribute, trimmed; none if it is not there or empty.
    pub fn attribute(&self, name: &str) -> Option<String> {
        let text = fs::read_to_string(self.sysfs.join(name)).ok()?;
        Some(text.trim().to_owned()).filter(|text| !text.is_empty())
    }

    /// The loadable kernel modules that drive it, from the disk up to its controller: `sd_mod`, `ahci`. What is built into
    /// the kernel is not among them, and a loop device has none.
    pub fn drivers(&self) -> Vec<String> {
        let module = |device: &Path| {
            let module = fs::read_link(device.join("driver/module")).ok()?;
            let name = module.file_name()?.to_string_lossy().into_owned();
            Path::new("/sys/module").join(&name).join("initstate").exists().then_some(name)
        };
        let device = fs::canonicalize(self.sysfs.join("device")).unwrap_or_else(|_| self.sysfs.clone());
        device.ancestors().take_while(|path| path.starts_with("/sys/devices")).filter_map(module).collect()
    }

    /// The number of a partition; none for a whole disk.
    pub fn partition(&self) -> Option<u32> {
        self.attribute("partition")?.parse().ok()
    }

    /// The whole disk: itself, or the one that holds this partition.
    pub fn disk(&self) -> Node {
        match (self.partition(), self.sysfs.parent()) {
            (Some(_), Some(parent)) => Node::in_directory(parent.to_owned()).unwrap_or_else(|| self.clone()),
            _ => self.clone(),
        }
    }

    /// The partitions of a disk, by number.
    pub fn partitions(&self) -> Vec<Node> {
        let mut found: Vec<Node> = entries(&self.sysfs)
            .into_iter()
            .filter(|path| path.join("partition").exists())
            .filter_map(Node::in_directory)
            .collect();
        found.sort_by_key(Node::partition);
        found
    }

    /// The serial number of the disk, as `lsblk` prints it.
    pub fn serial(&self) -> Option<String> {
        let disk = self.disk();
        let udev = fs::read_to_string(format!("/run/udev/data/b{}:{}", disk.number.0, disk.number.1))
            .unwrap_or_default();
        ["ID_SCSI_SERIAL", "ID_SERIAL_SHORT", "ID_SERIAL"]
            .iter()
            .find_map(|key| udev_property(&udev, key))
            .or_else(|| disk.attribute("device/serial"))
            .or_else(|| disk.attribute("serial"))
    }

    /// What the administrator confirms the disk by: its serial number, or its path where it reports none.
    pub fn confirmation(&self) -> String {
        self.serial().unwrap_or_else(|| self.disk().path().display().to_string())
    }

    /// How messages name it: `Samsung SSD 870 (S5GX123, /dev/sdb2)`.
    pub fn title(&self) -> String {
        let path = self.path().display().to_string();
        match (self.disk().attribute("device/model"), self.serial()) {
            (Some(model), Some(serial)) => format!("{model} ({serial}, {path})"),
            (None, Some(serial)) => format!("{serial} ({path})"),
            (Some(model), None) => format!("{model} ({path})"),
            (None, None) => path,
        }
    }

    /// Whether the kernel refuses writes to it.
    pub fn read_only(&self) -> bool {
        self.attribute("ro").as_deref() == Some("1")
    }

    /// Whether the disk takes discards.
    pub fn takes_discard(&self) -> bool {
        self.disk().attribute("queue/discard_max_bytes").is_some_and(|max| max != "0")
    }

    /// Everything that uses it, its partitions, or what is built on them: a line each, as a refusal says it.
    ///
    /// # Errors
    /// Those of reading /proc: who uses a disk must not be guessed.
    pub fn users(&self) -> io::Result<Vec<String>> {
        let usage = Usage::read()?;
        let mut lines = Vec::new();
        let mut seen = BTreeSet::new();
        let disk = self.disk();
        // A partition is in use too if somebody uses the whole disk around it.
        for node in self.partitions().iter().chain([self, &disk]) {
            usage.of(node, &mut seen, &mut lines);
        }
        Ok(lines)
    }
}

/// What is mounted and swapped to.
struct Usage {
    mounts: Vec<((u32, u32), PathBuf)>,
    swaps: Vec<(u32, u32)>,
    /// Loop devices with the number of the device they lie on: the kernel counts these as no holders.
    loops: Vec<((u32, u32), Node)>,
}

impl Usage {
    fn read() -> io::Result<Self> {
        let mounts = proc::mounts()?
            .into_iter()
            .flat_map(|mount| {
                // btrfs shows a number of its own; its source names the device.
                let source = device_number(&mount.source).filter(|number| *number != mount.device);
                [Some(mount.device), source].into_iter().flatten().map(move |n| (n, mount.at.clone()))
            })
            .collect();
        let swaps = proc::swaps().iter().filter_map(|swap| device_number(&swap.path)).collect();
        Ok(Usage { mounts, swaps, loops: loops_on_devices() })
    }

    fn of(&self, node: &Node, seen: &mut BTreeSet<(u32, u32)>, lines: &mut Vec<String>) {
        if !seen.insert(node.number) {
            return;
        }
        let path = node.path();
        let path = path.display();
        for (_, at) in self.mounts.iter().filter(|(number, _)| *number == node.number) {
            lines.push(format!("{path} is mounted on {}", at.display()));
        }
        if self.swaps.contains(&node.number) {
            lines.push(format!("{path} is in use as swap"));
        }
        for holder in entries(&node.sysfs.join("holders")) {
            let Some(holder) = fs::canonicalize(holder).ok().and_then(Node::in_directory) else { continue };
            let name = holder.attribute("dm/name").map(|n| format!(" ({n})")).unwrap_or_default();
            lines.push(format!("{path} is held by {}{name}", holder.name()));
            self.of(&holder, seen, lines);
        }
        for (_, upper) in self.loops.iter().filter(|(number, _)| *number == node.number) {
            lines.push(format!("{path} is held by {}", upper.name()));
            self.of(upper, seen, lines);
        }
    }
}

/// The loop devices over other block devices instead of files.
fn loops_on_devices() -> Vec<((u32, u32), Node)> {
    let upper = |path: &PathBuf| Node::in_directory(fs::canonicalize(path).ok()?);
    let below = |node: &Node| device_number(Path::new(&node.attribute("loop/backing_file")?));
    let nodes = entries(Path::new("/sys/block"));
    nodes.iter().filter_map(upper).filter_map(|node| Some((below(&node)?, node))).collect()
}

fn entries(directory: &Path) -> Vec<PathBuf> {
    let mut paths: Vec<PathBuf> =
        fs::read_dir(directory).into_iter().flatten().flatten().map(|entry| entry.path()).collect();
    paths.sort();
    paths
}

fn device_number(path: &Path) -> Option<(u32, u32)> {
    let meta = fs::metadata(path).ok()?;
    meta.file_type().is_block_device().then(|| split(meta.rdev()))
}

fn split(rdev: u64) -> (u32, u32) {
    (libc::major(rdev), libc::minor(rdev))
}

fn parse_number(text: &str) -> Option<(u32, u32)> {
    let (major, minor) = text.trim().split_once(':')?;
    Some((major.parse().ok()?, minor.parse().ok()?))
}

/// A property in udev's database file (`E:ID_SERIAL_SHORT=S5GX123`).
fn udev_property(data: &str, key: &str) -> Option<String> {
    data.lines()
        .filter_map(|line| line.strip_prefix("E:")?.strip_prefix(key)?.strip_prefix('='))
        .map(|value| value.trim().to_owned())
        .find(|value| !value.is_empty())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn udevs_short_serial_is_not_taken_for_its_long_one() {
        let data = "N:sda\nE:ID_SERIAL=Samsung_SSD_870_S5GX123\nE:ID_SERIAL_SHORT=S5GX123\n";
        assert_eq!(udev_property(data, "ID_SERIAL_SHORT").as_deref(), Some("S5GX123"));
        assert_eq!(udev_property(data, "ID_SERIAL").as_deref(), Some("Samsung_SSD_870_S5GX123"));
        assert_eq!(udev_property(data, "ID_SCSI_SERIAL"), None);
    }
}
