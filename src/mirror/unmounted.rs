//! A file system of the primary that is mounted nowhere at the moment: found by its UUID on the primary's own disk, and
//! entered by a mount that nobody else sees and that writes nothing, not even a log that is to be replayed.

use super::check::needs_replay;
use super::find::{devices, probed};
use super::mounted::{Access, MountPoint, mount_point, options};
use super::source::Source;
use crate::config::{Mirror, Volume};
use crate::layer::lsblk::BlockDevice;
use crate::layout::FsKind;
use crate::sys::dir::open_root;
use crate::sys::mount;
use crate::sys::node::{DeviceNumber, device_below, open_node, whole_mounts_of};
use anyhow::{Context, Result, bail, ensure};
use std::path::{Path, PathBuf};

/// Enters it, below `runtime_dir`.
///
/// # Errors
/// If it is not on the disk that carries `root`, if there are two of it, if it was not unmounted cleanly; the system's.
pub(super) fn enter(root: &Path, mirror: &Mirror, number: usize, runtime_dir: &Path) -> Result<Source> {
    let (node, kind) = find(root, &mirror.volumes[number])?;
    let (_, device) = open_node(&node)?;
    // Somebody may have mounted it elsewhere; it is right wherever it is.
    if let Some(path) = whole_mounts_of(device)?.into_iter().next() {
        let there = open_root(&path).and_then(device_below);
        ensure!(there.is_ok_and(|there| there == device), "something else was mounted on {}", path.display());
        return Ok(Source { path, device, _own: None });
    }
    ensure!(
        !needs_replay(&node, kind)?,
        "{} was not unmounted cleanly: mount it once, so that its log is replayed",
        node.display()
    );
    let path = mount_point(runtime_dir, &mirror.name, number).with_extension("source");
    let mut own = MountPoint::make(path.clone())?;
    mount::mount_device(&node, kind.name(), options(kind, Access::ReadOnly), &path)
        .with_context(|| format!("cannot mount {}", node.display()))?;
    own.is_mounted = true;
    ensure!(device_below(open_root(&path)?)? == device, "{} has changed", node.display());
    Ok(Source { path, device, _own: Some(own) })
}

/// The node of a file system on the disk that carries `root`, and its kind.
fn find(root: &Path, volume: &Volume) -> Result<(PathBuf, FsKind)> {
    let of_root = device_below(open_root(root)?)?;
    let all = devices()?;
    let carries = |disk: &&BlockDevice| disk.walk().iter().any(|device| is(device, of_root));
    let disk = all.iter().find(carries).context("the disk that carries the root is not known")?;
    let mut found = Vec::new();
    for device in disk.walk() {
        if !device.children.is_empty()
            || device.uuid.as_ref().is_some_and(|uuid| *uuid != volume.primary_uuid)
        {
            continue;
        }
        // A partition that holds nothing, or others, cannot be read as a file system.
        let Ok((node, signature)) = probed(&device.path) else { continue };
        if signature.uuid.as_deref() == Some(&volume.primary_uuid) {
            found.push((node, signature.kind.unwrap_or_default()));
        }
    }
    found.dedup();
    match &found[..] {
        [(node, kind)] => {
            let kind = FsKind::named(kind).with_context(|| format!("{} holds {kind}", node.display()))?;
            Ok((node.clone(), kind))
        }
        [] => bail!("{} has no file system with the UUID {}", disk.path, volume.primary_uuid),
        _ => bail!("{} has two file systems with the UUID {}", disk.path, volume.primary_uuid),
    }
}

fn is(device: &BlockDevice, number: DeviceNumber) -> bool {
    device.major_minor == format!("{}:{}", number.major, number.minor)
}
