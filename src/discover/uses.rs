//! Who uses a device now, a line each as a refusal says it behind the device's name: `is mounted on /srv`,
//! `is held by md0 (raid1)`. The list is complete as far as the kernel tells: it is what a refusal stands on.

use super::machine::Machine;
use crate::layer::blkid::Signature;
use crate::layer::lsblk::BlockDevice;

/// The uses of `device` and of everything on it.
pub fn uses(machine: &Machine, device: &BlockDevice, signature: &Signature) -> Vec<String> {
    let mut lines = own(machine, device);
    lines.extend(by_others(machine, device, signature));
    for child in &device.children {
        below(machine, child, &mut lines);
    }
    lines.dedup();
    lines
}

/// The uses of `device` itself: mounts and swap.
pub fn own(machine: &Machine, device: &BlockDevice) -> Vec<String> {
    let mut lines: Vec<String> =
        machine.mounts_of(device).map(|mount| format!("is mounted on {}", mount.target)).collect();
    if machine.is_swap(device) {
        lines.push("is in use as swap".to_owned());
    }
    lines
}

/// A partition is no use of its disk, but what it is used for is; anything else that lies on a device holds it.
fn below(machine: &Machine, device: &BlockDevice, lines: &mut Vec<String>) {
    let (name, kind) = (&device.name, &device.kind);
    let own = own(machine, device);
    if kind != "part" {
        lines.push(format!("is held by {name} ({kind})"));
        lines.extend(own.iter().map(|line| format!("is held by {name}, which {line}")));
    } else {
        lines.extend(own.iter().map(|line| format!("has the partition {name}, which {line}")));
    }
    for child in &device.children {
        below(machine, child, lines);
    }
}

/// What the kernel does not show as a holder: pools of ZFS, and btrfs over several devices.
fn by_others(machine: &Machine, device: &BlockDevice, signature: &Signature) -> Vec<String> {
    match signature.kind.as_deref() {
        Some("zfs_member") => {
            let pool = signature.label.as_deref().unwrap_or("without a name");
            vec![format!("is a member of the ZFS pool {pool}")]
        }
        Some("btrfs") => {
            let is_it = |uuid: &Option<String>| uuid.is_some() && *uuid == signature.uuid;
            let mounts = machine.mounts.iter().filter(|mount| mount.fstype == "btrfs" && is_it(&mount.uuid));
            let others = mounts.filter(|mount| machine.mounts_of(device).all(|own| own != *mount));
            others.map(|mount| format!("is part of what is mounted on {}", mount.target)).collect()
        }
        _ => Vec::new(),
    }
}

/// What content that cannot be mirrored is, in the field's words, from blkid's name for it.
pub fn described(signature: &Signature) -> String {
    let kind = signature.kind.as_deref().unwrap_or_default();
    match kind {
        "" => "nothing that blkid knows".to_owned(),
        "LVM2_member" => "an LVM physical volume".to_owned(),
        "crypto_LUKS" => "an encrypted container".to_owned(),
        "linux_raid_member" => "a member of an md array".to_owned(),
        "zfs_member" => "a member of a ZFS pool".to_owned(),
        "bcache" => "a bcache device".to_owned(),
        "mpath_member" => "a path of a multipath device".to_owned(),
        "drbd" => "a DRBD device".to_owned(),
        "ceph_bluestore" => "a Ceph OSD".to_owned(),
        "BitLocker" => "a BitLocker volume".to_owned(),
        "LVM1_member" => "a physical volume of LVM1".to_owned(),
        "swsuspend" => "the memory image of a suspended system".to_owned(),
        "jbd" => "the external journal of an ext file system".to_owned(),
        "swap" => "swap space".to_owned(),
        raid if raid.ends_with("_raid_member") => "a member of a firmware RAID".to_owned(),
        // In front of what is said aloud with a vowel.
        other if other.starts_with(['e', 'i', 'n', 'f', 'x']) => format!("an {other} file system"),
        other => format!("a {other} file system"),
    }
}
