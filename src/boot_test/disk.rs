//! The mirror's disk as the machine shall see it. It is only ever read.

use crate::layer::lsblk;
use crate::layer::partition_table::{self, is_efi_system};
use crate::mirror::Found;
use crate::sys::block::BlockDevice;
use crate::sys::command;
use anyhow::{Context, Result};
use std::path::{Path, PathBuf};

/// Where boot code ends and the disk's signature begins.
const BOOT_CODE: usize = 440;
/// sysfs counts in these, whatever the disk's own sectors are.
const SYSFS_SECTOR: u64 = 512;

/// How the disk is attached.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Bus {
    /// AHCI.
    Sata,
    /// NVMe.
    Nvme,
    /// A virtio block device.
    Virtio,
    /// SCSI, on a virtio controller.
    Scsi,
}

/// The disk.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Disk {
    /// Its node.
    pub node: String,
    /// How it is attached.
    pub bus: Bus,
    /// Its serial number, if it has one.
    pub serial: Option<String>,
    /// Bytes in a logical sector.
    pub sector: u32,
    /// Whether it has an EFI system partition.
    pub has_esp: bool,
    /// Whether its first sector holds a program.
    pub has_boot_code: bool,
    /// Its encrypted containers: the node, and where on the disk it begins, in bytes.
    pub containers: Vec<(PathBuf, u64)>,
}

impl Disk {
    /// The disk that was found.
    ///
    /// # Errors
    /// Those of reading it.
    pub fn of(found: &Found) -> Result<Disk> {
        let node = found.disk.as_str();
        let args = ["--json", "--bytes", "--nodeps", "--output-all", node];
        let said = command::run("lsblk", &args, b"")?;
        let device = lsblk::parse(&said.stdout)?.into_iter().next();
        let device = device.with_context(|| format!("lsblk knows no {node}"))?;
        let first = BlockDevice::open_read(Path::new(node))?.read_span(0, 512)?;
        let dump = command::ask("sfdisk", &["--dump", node], b"").context("cannot run sfdisk")?;
        let table = partition_table::parse(&dump.stdout, device.logical_sector).ok();
        let has_esp =
            table.is_some_and(|table| table.partitions.iter().any(|part| is_efi_system(&part.type_id)));
        let place = |node: &PathBuf| Ok((node.clone(), offset(node, &found.disk)?));
        Ok(Disk {
            node: node.to_owned(),
            bus: bus(device.transport.as_deref(), device.logical_sector),
            serial: device.serial,
            sector: device.logical_sector,
            has_esp,
            has_boot_code: first[..BOOT_CODE].iter().any(|byte| *byte != 0) && first[510..] == [0x55, 0xaa],
            containers: found.containers().iter().map(place).collect::<Result<_>>()?,
        })
    }
}

/// Where a partition begins, in bytes; the disk itself begins at its beginning.
fn offset(node: &Path, disk: &str) -> Result<u64> {
    if node == Path::new(disk) {
        return Ok(0);
    }
    let name = node.file_name().unwrap_or_default().to_string_lossy();
    let text = std::fs::read_to_string(format!("/sys/class/block/{name}/start"));
    let text = text.with_context(|| format!("cannot tell where {} begins", node.display()))?;
    Ok(text.trim().parse::<u64>().context("sysfs tells no number")? * SYSFS_SECTOR)
}

/// A bus like the disk's own. AHCI's disks have sectors of 512 bytes only. A controller that no rule knows becomes AHCI,
/// whose driver every initramfs has.
fn bus(transport: Option<&str>, sector: u32) -> Bus {
    match transport {
        Some("nvme") => Bus::Nvme,
        Some("virtio") => Bus::Virtio,
        Some("usb" | "sas" | "scsi" | "iscsi" | "fc" | "spi") => Bus::Scsi,
        _ if sector != 512 => Bus::Scsi,
        _ => Bus::Sata,
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_bus_is_like_the_disks_own() {
        let known = [("sata", Bus::Sata), ("nvme", Bus::Nvme), ("virtio", Bus::Virtio), ("usb", Bus::Scsi)];
        known.iter().for_each(|(name, expected)| assert_eq!(bus(Some(name), 512), *expected, "{name}"));
        assert_eq!((bus(None, 512), bus(Some("sata"), 4096)), (Bus::Sata, Bus::Scsi));
    }
}
