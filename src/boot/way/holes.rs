//! Where the way of a boot has a hole: parts of it that are on no disk that is mirrored, or mounted nowhere, and loaders that
//! find nothing to start. The primary may start all the same, from another disk; its mirror would not.

use super::super::files::{Files, Tree};
use super::Way;
use crate::layer::device_spec::DeviceSpec;
use crate::layer::fstab;
use crate::layout::{Content, FsKind, Survey, boots};
use std::io;

/// Partition types of an MBR that hold a FAT file system.
const FAT_TYPES: [&str; 4] = ["4", "6", "b", "c"];

/// Parts of the way that are missing from the disk that is mirrored, a line each.
///
/// # Errors
/// Those of reading the primary.
pub fn missing_parts(survey: &Survey, source: &Tree) -> io::Result<Vec<String>> {
    let elsewhere = parts_elsewhere(survey).into_iter().map(|(device, target)| {
        format!(
            "{target} is {device}, which is no part of {}: what starts this server lies on another disk, and the mirror has \
             nothing of it",
            survey.primary.disk.path
        )
    });
    let firmware = unmounted_firmware(survey, source)?;
    Ok(elsewhere.chain(firmware).collect())
}

/// What fstab mounts for the boot and the primary's disk does not have: device and mount point.
pub fn parts_elsewhere(survey: &Survey) -> Vec<(String, String)> {
    let walk = survey.primary.walk();
    let here: Vec<&str> = walk
        .iter()
        .filter_map(|(_, content)| match content {
            Content::Filesystem(fs) => Some(fs.mounted_at.iter().map(String::as_str).chain(fs.target())),
            _ => None,
        })
        .flatten()
        .collect();
    let entries = fstab::entries(&survey.around.fstab).into_iter();
    let needed = entries.filter(|entry| boots(&entry.target) && !here.contains(&entry.target.as_str()));
    let devices = needed.filter(|entry| match &entry.device {
        DeviceSpec::Other(_) => false,
        // A directory that is bound there.
        DeviceSpec::Path(path) => path.starts_with("/dev/"),
        _ => true,
    });
    devices.map(|entry| (entry.device.to_string(), entry.target)).collect()
}

/// The Raspberry Pi's firmware starts from the first FAT partition; NOOBS and PINN have a boot manager there that nobody
/// mounts.
fn unmounted_firmware(survey: &Survey, source: &Tree) -> io::Result<Option<String>> {
    if !is_raspberry(source)? {
        return Ok(None);
    }
    let partitions = survey.primary.table().into_iter().flat_map(|table| &table.partitions);
    let is_fat = |type_id: &str| {
        FAT_TYPES.contains(&type_id.trim_start_matches("0x").trim_start_matches('0')) || type_id == "e"
    };
    let first = partitions.into_iter().find(|partition| is_fat(&partition.type_id));
    let unmounted = first.filter(|partition| match &partition.content {
        Content::Filesystem(fs) => fs.target().is_none() && fs.kind == FsKind::Vfat,
        _ => false,
    });
    Ok(unmounted.map(|partition| {
        format!(
            "the Raspberry Pi's firmware starts from {}, the first FAT partition, which is mounted nowhere: the mirror's is empty",
            partition.path
        )
    }))
}

/// A Raspberry Pi's firmware reads config.txt, and needs no loader.
///
/// # Errors
/// The system's.
pub fn is_raspberry(source: &Tree) -> io::Result<bool> {
    let there = |path| source.stat(path).map(|stat| stat.is_some());
    Ok(there("/boot/firmware/config.txt")? || there("/boot/config.txt")? && there("/boot/cmdline.txt")?)
}

/// Whether files are there that only U-Boot reads.
pub fn is_u_boot(way: &Way) -> bool {
    let of_u_boot = |path: &String| {
        path.ends_with("Env.txt") || path.ends_with("/boot.scr") || path.ends_with("/boot.ini")
    };
    way.read.iter().any(of_u_boot)
}

/// What a loader that was found does not find, a line each: its configuration, a kernel. `is_grub` says that GRUB's boot code
/// starts from this disk.
///
/// # Errors
/// The system's.
pub fn nothing_to_start(
    way: &mut Way,
    files: &dyn Files,
    is_grub: bool,
    is_ours: &dyn Fn(&str) -> bool,
) -> io::Result<Option<String>> {
    let has_menu = way.read.iter().any(|path| path.contains("/grub") && !path.ends_with("/grubenv"));
    if is_grub && !has_menu {
        return Ok(Some(
            "GRUB starts from this disk and finds no configuration: there is neither /boot/grub/grub.cfg nor \
             /boot/grub2/grub.cfg"
                .to_owned(),
        ));
    }
    let is_empty = way.names_kernel() && !way.has_kernel(files, is_ours)?;
    Ok(is_empty.then(|| "no kernel that the boot loader names is there".to_owned()))
}
