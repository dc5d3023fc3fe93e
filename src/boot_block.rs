//! Copies boot blocks and boot code from disk to disk, and reads back what was written.
//!
//! Nothing but the bytes named is changed. Knows no plan and asks nobody: its callers have refused and confirmed.

use crate::layer::boot_block::{BOOT_BLOCK_BYTES, BootBlock, merge};
use crate::refusal::Failure;
use crate::sys::block::BlockDevice;
use std::io;
use std::path::Path;

/// What of a boot block is copied.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Extent {
    /// All 512 bytes, with the disk signature and the partition table.
    Whole,
    /// The boot code, bytes 0–439.
    CodeOnly,
}

/// The first 512 bytes of a disk, as the medium holds them.
///
/// # Errors
/// Those of opening and reading it.
pub fn read_boot_block(disk: &Path) -> io::Result<BootBlock> {
    first_sector(&BlockDevice::open_read(disk)?)
}

fn first_sector(device: &BlockDevice) -> io::Result<BootBlock> {
    let bytes = device.read_span(0, BOOT_BLOCK_BYTES)?;
    Ok(bytes.try_into().expect("read_span returns as many bytes as it was asked for"))
}

/// Copies the boot block of `from` to `to`, and the `gap` bytes behind it.
///
/// The gap comes first: boot code must never point to a core image that is not there yet. For `Whole` nobody else
/// may use `to`; boot code and gap belong to no partition and may be replaced under a disk in use.
///
/// # Errors
/// Those of both disks; `state` says what is true of `to`.
pub fn copy(from: &Path, to: &Path, extent: Extent, gap: u64) -> Result<(), Failure> {
    let untouched = format!("nothing was written to {}", to.display());
    let failed = |error: io::Error, state: &str| {
        Failure::new(format!("copying the boot block of {} to {}", from.display(), to.display()), state)
            .why(error.to_string())
    };
    let (wanted, gap, target) = prepare(from, to, extent, gap).map_err(|error| failed(error, &untouched))?;
    let behind = BOOT_BLOCK_BYTES as u64;
    let half =
        format!("the sectors behind the boot block of {} may be new, the boot block is old", to.display());
    write_and_compare(&target, behind, &gap).map_err(|error| failed(error, &half))?;
    let unsure = format!("the boot block of {} is either its old or the new one", to.display());
    write_and_compare(&target, 0, &wanted).map_err(|error| failed(error, &unsure))
}

/// Copies bytes 0–439 of `from`, and the `gap` bytes from offset 512 on (0 on GPT disks, where the table is), to
/// `to`: what a plan's `BootBlock` step means.
///
/// # Errors
/// Those of `copy`.
pub fn copy_boot_code(from: &Path, to: &Path, gap: u64) -> Result<(), Failure> {
    copy(from, to, Extent::CodeOnly, gap)
}

/// Makes `length` bytes of `to` at `offset` those of `from`, unless they are; says whether anything was written. The bytes
/// must belong to no partition that is in use.
///
/// # Errors
/// A `Failure`; `state` says what is true of `to`.
pub fn bring(from: &Path, to: &Path, offset: u64, length: u64) -> Result<bool, Failure> {
    let bring = || -> io::Result<bool> {
        let wanted = BlockDevice::open_read(from)?.read_span(offset, length as usize)?;
        if BlockDevice::open_read(to)?.read_span(offset, length as usize)? == wanted {
            return Ok(false);
        }
        write_and_compare(&BlockDevice::open_shared_write(to)?, offset, &wanted)?;
        Ok(true)
    };
    bring().map_err(|error| {
        let what = format!("copying the boot loader of {} to {}", from.display(), to.display());
        Failure::new(what, format!("the boot loader of {} is either its old or the new one", to.display()))
            .why(error.to_string())
    })
}

fn prepare(
    from: &Path,
    to: &Path,
    extent: Extent,
    gap: u64,
) -> io::Result<(BootBlock, Vec<u8>, BlockDevice)> {
    let source = BlockDevice::open_read(from)?;
    let target = match extent {
        Extent::Whole => BlockDevice::open_exclusive_write(to)?,
        Extent::CodeOnly => BlockDevice::open_shared_write(to)?,
    };
    if source.logical_sector() != target.logical_sector() {
        // boot.img and the table speak in sectors.
        return Err(io::Error::other("their logical sectors differ in size"));
    }
    let code = first_sector(&source)?;
    let wanted = match extent {
        Extent::Whole => code,
        Extent::CodeOnly => merge(&code, &first_sector(&target)?),
    };
    let end = (BOOT_BLOCK_BYTES as u64).saturating_add(gap);
    if end > source.size() || end > target.size() {
        return Err(io::Error::other(format!("a disk has no {end} bytes")));
    }
    let gap = source.read_span(BOOT_BLOCK_BYTES as u64, gap as usize)?;
    Ok((wanted, gap, target))
}

fn write_and_compare(target: &BlockDevice, offset: u64, bytes: &[u8]) -> io::Result<()> {
    if bytes.is_empty() {
        return Ok(());
    }
    target.patch(offset, bytes)?;
    target.flush()?;
    if target.read_span(offset, bytes.len())? != bytes {
        return Err(io::Error::other("the disk does not give back what was written to it"));
    }
    Ok(())
}
