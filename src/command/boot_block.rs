//! `boot-block copy`: both methods of the old procedure. The whole sector makes the disks twins and replaces a
//! table, so it needs a confirmation; the boot code alone touches nothing that names a disk.

use super::confirm::Intent;
use crate::boot_block::{Extent, copy, read_boot_block};
use crate::cli::{BootBlockAction, BootBlockArgs};
use crate::command::output;
use crate::exit_code::Exit;
use crate::layer::boot_block::{BootBlock, has_code, is_protective, is_signed};
use crate::monitor::Monitor;
use crate::refusal::Refusal;
use crate::step::quoted;
use crate::sys::block::BlockDevice;
use crate::sys::command;
use crate::sys::disk::Node;
use std::path::Path;

/// Copies the first sector of a disk, or its boot code, to another disk.
///
/// # Errors
/// A `Refusal` before, a `Failure` after the first byte was written.
pub fn boot_block(args: &BootBlockArgs, monitor: &dyn Monitor) -> anyhow::Result<Exit> {
    let BootBlockAction::Copy { keep_table, from, to, erase } = &args.action;
    let intent = intent(*keep_table, from, to);
    let (source, target) = two_disks(&intent, from)?;
    refuse_other_sectors(&intent, &target, from, to)?;
    let code = readable_block(&intent, &source, from)?;
    if *keep_table {
        intent.refuse_read_only(&target)?;
        copy(from, to, Extent::CodeOnly, 0)?;
        tell_code(monitor, from, to)?;
    } else {
        refuse_stand_in(&intent, &source, &code, from, to)?;
        intent.refuse_unless_free(&target)?;
        if !is_blank(&target)? {
            intent.confirm(&target.title(), &target.confirmation(), erase.as_deref())?;
        }
        copy(from, to, Extent::Whole, 0)?;
        tell_whole(monitor, &target, from, to);
    }
    Ok(Exit::Done)
}

fn intent<'a>(keep_table: bool, from: &Path, to: &'a Path) -> Intent<'a> {
    let option = if keep_table { " --keep-table" } else { "" };
    let (from, shown) = (quoted(&from.to_string_lossy()), quoted(&to.to_string_lossy()));
    Intent {
        device: to,
        verb: if keep_table { "to replace the boot code of" } else { "to replace the boot block of" },
        command: format!("diskmirror boot-block copy{option} {from} {shown}"),
    }
}

fn two_disks(intent: &Intent, from: &Path) -> Result<(Node, Node), Refusal> {
    let target = intent.node()?;
    let source = Node::find(from).map_err(|e| {
        intent.refusal(&target.title(), &format!("{} cannot be read", from.display())).why(e.to_string())
    })?;
    if source.number == target.number {
        return Err(intent.refusal(&target.title(), "both are the same disk"));
    }
    for node in [&source, &target] {
        if node.partition().is_some() {
            let (path, disk) = (node.path(), node.disk().path());
            return Err(intent
                .refusal(&target.title(), &format!("{} is a partition", path.display()))
                .remedy(format!("name the whole disk, {}", disk.display())));
        }
    }
    Ok((source, target))
}

fn refuse_other_sectors(intent: &Intent, target: &Node, from: &Path, to: &Path) -> Result<(), Refusal> {
    let sector = |path: &Path| {
        let opened =
            BlockDevice::open_read(path).map_err(|e| intent.cannot_open(&path.display().to_string(), &e))?;
        Ok::<_, Refusal>(opened.logical_sector())
    };
    let (ours, theirs) = (sector(from)?, sector(to)?);
    if ours == theirs {
        return Ok(());
    }
    Err(intent
        .refusal(&target.title(), "its sectors have another size")
        .why(format!("{} has logical sectors of {ours} bytes, {} of {theirs}", from.display(), to.display()))
        .why("boot code and partition tables count in sectors: copied, they would point elsewhere")
        .remedy(format!("grub-install {}", quoted(&to.to_string_lossy()))))
}

fn readable_block(intent: &Intent, source: &Node, from: &Path) -> Result<BootBlock, Refusal> {
    let block = read_boot_block(from).map_err(|e| intent.cannot_open(&source.title(), &e))?;
    let title = intent.device.display().to_string();
    if !is_signed(&block) {
        return Err(intent
            .refusal(&title, &format!("{} has no boot block", from.display()))
            .why("bytes 510 and 511 are not 0x55 0xAA"));
    }
    if !has_code(&block) {
        return Err(intent
            .refusal(&title, &format!("{} has no boot code", from.display()))
            .why("bytes 0-439 are all zero: it boots by UEFI, or not at all"));
    }
    Ok(block)
}

fn refuse_stand_in(
    intent: &Intent,
    source: &Node,
    code: &BootBlock,
    from: &Path,
    to: &Path,
) -> Result<(), Refusal> {
    if !is_protective(code) {
        return Ok(());
    }
    let (from, to) = (quoted(&from.to_string_lossy()), quoted(&to.to_string_lossy()));
    Err(intent
        .refusal(&intent.device.display().to_string(), "the table in it would be none")
        .why(format!("{} has a GPT: its first sector holds only a stand-in for that table", source.title()))
        .remedy(format!("diskmirror boot-block copy --keep-table {from} {to}")))
}

/// Whether neither the kernel nor blkid sees anything on the disk. Without blkid it counts as used.
fn is_blank(target: &Node) -> anyhow::Result<bool> {
    let path = target.path();
    let signed = is_signed(&read_boot_block(&path)?);
    // blkid(8): exit status 2 when nothing was found by low-level probing.
    let probed = command::ask("blkid", &["-p".as_ref(), path.as_os_str()], b"").map(|said| said.status);
    Ok(!signed && target.partitions().is_empty() && matches!(probed, Ok(2)))
}

fn tell_code(monitor: &dyn Monitor, from: &Path, to: &Path) -> anyhow::Result<()> {
    let (to_path, from_path) = (to.display(), from.display());
    output::line(&format!("{to_path}: boot code (bytes 0-439) copied from {from_path} and read back"))?;
    if !is_signed(&read_boot_block(to)?) {
        monitor.warn(&format!(
            "{} has no boot signature (bytes 510-511): firmware will not boot it",
            to.display()
        ));
    }
    monitor.note(
        "GRUB 2 also needs its core image, behind the table or in a BIOS-boot partition: `diskmirror init`",
    );
    monitor.note("copies or installs it, `grub-install` does by hand");
    Ok(())
}

fn tell_whole(monitor: &dyn Monitor, target: &Node, from: &Path, to: &Path) {
    let (to_path, from_path) = (to.display(), from.display());
    // It is copied, whether anybody hears of it or not.
    let _ = output::line(&format!("{to_path}: boot block (512 bytes) copied from {from_path} and read back"));
    monitor.warn(&format!(
        "{} and {} now have the same disk signature, so every PARTUUID of one is a twin of the other's; give it \
         its own before both are attached at the next boot: sfdisk --disk-id {} 0x$(openssl rand -hex 4)",
        from.display(),
        to.display(),
        quoted(&to.to_string_lossy())
    ));
    if let Err(error) = BlockDevice::open_read(to).and_then(|device| device.reread_table()) {
        let path = target.path();
        monitor.note(&format!(
            "the kernel has not read the new table ({error}): partx --update {}",
            path.display()
        ));
    }
}
