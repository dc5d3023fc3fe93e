//! The machine as a whole: its block devices, what is mounted, swapped to and grouped, and which disk is meant by a
//! path or carries a root file system.

use super::probe::{Probe, Question};
use crate::layer::lsblk::{self, BlockDevice};
use crate::layer::lvm::{self, Group, PhysicalVolume, Volume};
use crate::layer::mounts::{self, Mount};
use crate::layer::swap;
use crate::refusal::Refusal;
use anyhow::Result;
use std::path::Path;

/// What the machine-wide questions were answered with.
#[derive(Debug)]
pub struct Machine {
    /// The block devices at the top of the tree.
    pub devices: Vec<BlockDevice>,
    /// Every mount, in order.
    pub mounts: Vec<Mount>,
    /// Every node or file that is swapped to.
    pub swaps: Vec<String>,
    /// LVM's physical volumes.
    pub physical_volumes: Vec<PhysicalVolume>,
    /// LVM's groups.
    pub groups: Vec<Group>,
    /// LVM's volumes.
    pub volumes: Vec<Volume>,
}

impl Machine {
    /// Asks.
    ///
    /// # Errors
    /// Those of the probe and of reading its answers.
    pub fn observe(ask: &dyn Probe) -> Result<Self> {
        let mut mounts = mounts::parse(&ask.ask(&Question::Findmnt)?)?;
        if mounts.iter().any(mounts::has_lost_bytes) {
            mounts::restore(&mut mounts, &ask.ask(&Question::Mountinfo)?);
        }
        Ok(Machine {
            devices: lsblk::parse(&ask.ask(&Question::Lsblk)?)?,
            mounts,
            swaps: swap::parse(&ask.ask(&Question::Swaps)?),
            physical_volumes: lvm::parse_pvs(&ask.ask(&Question::Pvs)?)?,
            groups: lvm::parse_vgs(&ask.ask(&Question::Vgs)?)?,
            volumes: lvm::parse_lvs(&ask.ask(&Question::Lvs)?)?,
        })
    }

    /// Every device, on whatever other.
    pub fn walk(&self) -> impl Iterator<Item = &BlockDevice> {
        self.devices.iter().flat_map(BlockDevice::walk)
    }

    /// The mounts of what is on `device` itself.
    pub fn mounts_of<'a>(&'a self, device: &'a BlockDevice) -> impl Iterator<Item = &'a Mount> {
        self.mounts.iter().filter(|mount| {
            (mount.major_minor == device.major_minor && !device.major_minor.is_empty())
                || is_named(device, mount.node())
        })
    }

    /// Whether the kernel swaps to `device`.
    pub fn is_swap(&self, device: &BlockDevice) -> bool {
        self.swaps.iter().any(|node| is_named(device, node))
    }

    /// The whole disk that `path` names.
    ///
    /// # Errors
    /// A refusal if there is no such device, or if it is not a whole disk.
    pub fn disk_named(&self, path: &Path, role: &str) -> Result<&BlockDevice> {
        let real = std::fs::canonicalize(path).ok();
        let named = |device: &&BlockDevice| {
            [Some(path), real.as_deref()]
                .into_iter()
                .flatten()
                .filter_map(Path::to_str)
                .any(|p| is_named(device, p))
        };
        let shown = path.display();
        let no = |what: String| Refusal::new(what, format!("nothing was written to {shown}"));
        let Some(device) = self.walk().find(named) else {
            return Err(no(format!("refusing to use {shown} as the {role}: there is no such disk"))
                .why(format!("lsblk knows no block device {shown}"))
                .remedy("lsblk -d -o PATH,SIZE,MODEL,SERIAL   # lists the disks")
                .into());
        };
        if self.devices.iter().any(|top| std::ptr::eq(top, device)) && device.is_whole_disk() {
            return Ok(device);
        }
        let below = self.disks_below(device).iter().map(|disk| disk.path.clone()).collect::<Vec<_>>();
        let refusal = no(format!("refusing to use {shown} as the {role}: it is not a whole disk"));
        Err(match below.as_slice() {
            [disk] if disk != &device.path => refusal
                .why(format!("{shown} is {} on the disk {disk}", kind_of(device)))
                .remedy(format!("name the disk itself, if that is what you mean: {disk}")),
            _ => refusal.why(format!("{shown} is {}", kind_of(device))),
        }
        .into())
    }

    /// The one disk that carries the file system mounted on `root`.
    ///
    /// # Errors
    /// A refusal if none does, or more than one.
    pub fn disk_of_root(&self, root: &Path) -> Result<&BlockDevice> {
        let shown = root.display();
        let no = |why: String| {
            Refusal::new("refusing to go on: the primary cannot be found", "nothing was written")
                .why(why)
                .remedy("name the disk the server runs from: --primary DISK")
        };
        // The last mount on a directory is the one that is seen.
        let Some(mount) = self.mounts.iter().rfind(|mount| Path::new(&mount.target) == root) else {
            return Err(no(format!("no file system is mounted on {shown}")).into());
        };
        let Some(device) = self.walk().find(|device| self.mounts_of(device).any(|m| m == mount)) else {
            let (source, fstype) = (&mount.source, &mount.fstype);
            return Err(
                no(format!("{shown} is {source} ({fstype}), which lies on no disk of this machine")).into()
            );
        };
        match self.disks_below(device).as_slice() {
            [disk] if disk.is_whole_disk() => Ok(disk),
            [] | [_] => {
                Err(no(format!("{shown} lies on {}, which is {}", device.path, kind_of(device))).into())
            }
            several => Err(spanning(root, device, several).into()),
        }
    }

    /// The devices at the top that `device` is, or is built on.
    pub(super) fn disks_below(&self, device: &BlockDevice) -> Vec<&BlockDevice> {
        let is_it = |other: &&BlockDevice| other.kernel_name == device.kernel_name;
        self.devices.iter().filter(|top| top.walk().iter().any(is_it)).collect()
    }
}

fn spanning(root: &Path, device: &BlockDevice, disks: &[&BlockDevice]) -> Refusal {
    let disks: Vec<&str> = disks.iter().map(|disk| disk.path.as_str()).collect();
    let (node, kind) = (&device.path, kind_of(device));
    Refusal::new("refusing to go on: the server runs from more than one disk", "nothing was written")
        .why(format!("{} lies on {node}, {kind} on {}", root.display(), disks.join(" and ")))
        .why("a mirror of several disks together cannot be made yet")
        .remedy("see \"What cannot be mirrored yet\" in the README")
}

/// Whether `node` is a name of `device`.
pub fn is_named(device: &BlockDevice, node: &str) -> bool {
    node == device.path || node.strip_prefix("/dev/").is_some_and(|name| name == device.kernel_name)
}

/// What a device is, in words: `a partition`, `an LVM volume`.
pub fn kind_of(device: &BlockDevice) -> String {
    match device.kind.as_str() {
        "part" => "a partition".to_owned(),
        "lvm" => "an LVM volume".to_owned(),
        "crypt" => "an open encrypted container".to_owned(),
        "mpath" => "a multipath device".to_owned(),
        "rom" => "an optical drive".to_owned(),
        raid if raid.starts_with("raid") => format!("an md array ({raid})"),
        other => format!("a device of type {other}"),
    }
}
