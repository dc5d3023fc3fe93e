//! What fstab mounts from elsewhere than the primary's disk, and what lies in memory: the mirror has none of it.

use super::content::below_root;
use super::machine::Machine;
use crate::layer::device_spec::DeviceSpec;
use crate::layer::fstab::{self, Medium};
use crate::layout::{Content, Layout, NotMirrored};
use crate::units::Bytes;
use std::path::Path;

/// What `fstab` names that lies neither on `primary` nor on `mirror`, and what is in memory at other places than those
/// that every boot makes anew.
pub fn elsewhere(
    machine: &Machine,
    root: &Path,
    fstab: &[fstab::Entry],
    [primary, mirror]: [&Layout; 2],
) -> Vec<NotMirrored> {
    let is_mirrors = |entry: &fstab::Entry| match &entry.device {
        DeviceSpec::Uuid(uuid) => mirror.filesystems().iter().any(|fs| fs.uuid.eq_ignore_ascii_case(uuid)),
        _ => false,
    };
    let own = targets(primary);
    let is_own = |target: &str| own.iter().any(|own| own == target);
    let mount = |target: &str| {
        machine.mounts.iter().rfind(|mount| below_root(root, &mount.target).as_deref() == Some(target))
    };
    let entries = fstab.iter().filter(|entry| !is_own(&entry.target) && !is_mirrors(entry));
    let named = entries.filter_map(|entry| entry.elsewhere(mount(&entry.target).and_then(|m| m.size)));
    let mut all: Vec<NotMirrored> = named.collect();
    for mount in &machine.mounts {
        let Some(target) = below_root(root, &mount.target) else { continue };
        let in_memory =
            Medium::of(&mount.fstype) == Medium::Memory && mount.used.is_some_and(|used| used > Bytes(0));
        if in_memory && all.iter().all(|other| other.what != target) {
            all.extend(fstab::in_memory(&target, mount.used));
        }
    }
    all
}

/// Where the primary's own parts are mounted, those that cannot be mirrored as well.
fn targets(primary: &Layout) -> Vec<String> {
    let of_content = |content: &Content| match content {
        Content::Filesystem(fs) => fs.mounted_at.iter().chain(&fs.fstab_target).cloned().collect(),
        Content::Unsupported(thing) => thing.targets.clone(),
        _ => Vec::new(),
    };
    primary.walk().into_iter().flat_map(|(_, content)| of_content(content)).collect()
}
