//! Which disk is the mirror: the one whose hardware, table and containers all agree with the configuration, that
//! nobody uses, and of which there are no twins.

use super::open::is_held_for_good;
use crate::config::{DiskId, Mirror};
use crate::layer::lsblk::{self, BlockDevice};
use crate::refusal::Refusal;
use crate::sys::command;
use crate::sys::node::{Signature, probe_node};
use anyhow::{Context, Result};
use std::path::{Path, PathBuf};

/// What every refusal here can promise.
pub(super) const UNTOUCHED: &str = "nothing was written to the mirror";

/// What is to be done where the disk is not, or no longer, the mirror.
pub(super) const PREPARE: &str = "if this is to be the mirror from now on: diskmirror init --mirror DISK";

/// The mirror's disk, found and idle.
#[derive(Debug)]
pub struct Found {
    /// Its node.
    pub disk: String,
    /// Its containers' nodes, in the configuration's order.
    pub(super) containers: Vec<PathBuf>,
}

impl Found {
    /// The containers' nodes, in the configuration's order.
    pub fn containers(&self) -> &[PathBuf] {
        &self.containers
    }
}

/// A disk's hardware against the configuration's.
#[derive(Debug, PartialEq, Eq)]
enum Hardware {
    /// All that the configuration names agrees.
    Agrees,
    /// What does not.
    Differs(String),
    /// The configuration names none.
    Unnamed,
}

/// Every block device of the machine.
///
/// # Errors
/// Those of running lsblk and of reading what it says.
pub fn devices() -> Result<Vec<BlockDevice>> {
    lsblk::parse(&command::run("lsblk", &["--json", "--bytes", "--output-all"], b"")?.stdout)
}

/// Finds the mirror's disk.
///
/// # Errors
/// A `Refusal` if it is absent, another disk is in its place, it has a twin, or it is in use.
pub fn find(mirror: &Mirror) -> Result<Found> {
    let all = devices()?;
    let disk = the_disk(mirror, &all)?;
    let refuse = |what: &str| {
        Refusal::new(
            format!("refusing to write to {} ({}): {what}", mirror.disk.title(), disk.path),
            UNTOUCHED,
        )
    };
    if disk.read_only {
        let lift = format!("blockdev --setrw {}, or move the write-protect switch", disk.path);
        return Err(refuse("it is read-only").why("the kernel refuses writes to it").remedy(lift).into());
    }
    let uses = uses(mirror, disk)?;
    if !uses.is_empty() {
        let refusal = uses.into_iter().fold(refuse("in use"), Refusal::why);
        return Err(refusal.remedy("unmount it, and close what holds it; then run again").into());
    }
    let leaves = partitions(disk)?;
    let containers = mirror.containers.iter().map(|container| {
        let here = |s: &Signature| {
            s.kind.as_deref() == Some("crypto_LUKS") && s.uuid.as_deref() == Some(&container.luks_uuid)
        };
        let found: Vec<_> = leaves.iter().filter(|(_, signature)| here(signature)).collect();
        match found[..] {
            [(node, _)] => Ok(node.clone()),
            [] => Err(refuse("another disk in its place")
                .why(format!(
                    "its table is the mirror's, but no partition holds LUKS {}",
                    container.luks_uuid
                ))
                .remedy(PREPARE)),
            _ => Err(refuse("two containers have one UUID")
                .why(container.luks_uuid.clone())
                .remedy("lsblk -o PATH,UUID   # then erase the copy: wipefs --all PARTITION")),
        }
    });
    let containers = containers.collect::<Result<_, _>>()?;
    Ok(Found { disk: disk.path.clone(), containers })
}

/// Where a disk is attached now: its node. Nothing of it is opened but the disk itself, for reading its table.
///
/// # Errors
/// A `Refusal` if it is absent, another disk is in its place, or it has a twin.
pub fn whereabouts(mirror: &Mirror) -> Result<String> {
    Ok(the_disk(mirror, &devices()?)?.path.clone())
}

/// The one disk that agrees.
fn the_disk<'a>(mirror: &Mirror, all: &'a [BlockDevice]) -> Result<&'a BlockDevice, Refusal> {
    let (mut agree, mut near, mut unread) = (Vec::new(), Vec::new(), Vec::new());
    for disk in all.iter().filter(|disk| disk.is_whole_disk() && disk.size.0 > 0) {
        let hardware = hardware(&mirror.disk, disk);
        let table_as_listed = disk.pt_uuid.as_deref();
        if matches!(hardware, Hardware::Differs(_))
            && table_as_listed.is_some_and(|id| id != mirror.disk.table_id)
        {
            continue;
        }
        let signature = match probe_node(Path::new(&disk.path)) {
            Ok(signature) => signature,
            Err(error) if hardware == Hardware::Agrees => {
                unread.push(format!("{} is that device, and cannot be read: {error}", disk.path));
                continue;
            }
            // Any other that cannot be read is not the one: a card reader without a card, a dead path.
            Err(_) => continue,
        };
        let same_table = signature.table_id.as_deref() == Some(&mirror.disk.table_id);
        match (hardware, same_table) {
            (Hardware::Agrees | Hardware::Unnamed, true) => agree.push(disk),
            (Hardware::Differs(how), true) => {
                near.push(format!("{} has the mirror's table, but {how}", disk.path))
            }
            (Hardware::Agrees, false) => {
                let table = signature.table_id.map_or("no table".to_owned(), |id| format!("table {id}"));
                near.push(format!(
                    "{} is that device, but has {table}, not {}",
                    disk.path, mirror.disk.table_id
                ));
            }
            (Hardware::Differs(_) | Hardware::Unnamed, false) => {}
        }
    }
    let title = mirror.disk.title();
    let refuse = |what: &str| Refusal::new(format!("refusing to refresh {title}: {what}"), UNTOUCHED);
    match (&agree[..], near.is_empty()) {
        ([disk], true) => Ok(disk),
        ([], _) if !unread.is_empty() => Err(unread
            .into_iter()
            .fold(refuse("it cannot be read"), Refusal::why)
            .remedy("look at the disk and its cable: dmesg, smartctl -a DISK")
            .remedy("if it is broken, put a new one in, and: diskmirror init --mirror DISK")),
        ([], true) => Err(Refusal::new(format!("the mirror was not found: {title}"), UNTOUCHED)
            .why(format!("no disk of this machine has {}", identities(&mirror.disk)))
            .remedy("plug it in, and run again")),
        ([], false) => {
            Err(near.into_iter().fold(refuse("another disk in its place"), Refusal::why).remedy(PREPARE))
        }
        _ => Err(agree
            .iter()
            .map(|disk| format!("{} agrees with the configuration", disk.path))
            .chain(near)
            .fold(refuse("it has a twin"), Refusal::why)
            .remedy("unplug the copy, and run again")),
    }
}

fn identities(id: &DiskId) -> String {
    let named = [("serial number", &id.serial), ("WWN", &id.wwn)];
    let named =
        named.iter().filter_map(|(what, value)| value.as_ref().map(|value| format!("{what} {value}")));
    named.chain([format!("table {}", id.table_id)]).collect::<Vec<_>>().join(", ")
}

fn hardware(id: &DiskId, disk: &BlockDevice) -> Hardware {
    let named = [("serial number", &id.serial, &disk.serial), ("WWN", &id.wwn, &disk.wwn)];
    let named: Vec<_> = named.into_iter().filter(|(_, expected, _)| expected.is_some()).collect();
    let differing = named.iter().find(|(_, expected, found)| expected != found);
    match differing {
        Some((what, expected, found)) => Hardware::Differs(format!(
            "its {what} is {}, not {}",
            found.as_deref().unwrap_or("not reported"),
            expected.as_deref().unwrap_or_default()
        )),
        None if named.is_empty() => Hardware::Unnamed,
        None => Hardware::Agrees,
    }
}

/// Every use of the disk that is not what an earlier, killed run of ours has left.
fn uses(mirror: &Mirror, disk: &BlockDevice) -> Result<Vec<String>> {
    let mut uses = Vec::new();
    for device in disk.walk() {
        let path = &device.path;
        for at in &device.mountpoints {
            uses.push(match at.as_str() {
                "[SWAP]" => format!("{path} is in use as swap"),
                at => format!("{path} is mounted on {at}"),
            });
        }
        let foreign = device.children.iter().filter(|child| child.kind != "part" && !is_ours(mirror, child));
        let before = uses.len();
        uses.extend(foreign.map(|child| format!("{path} is held by {} ({})", child.name, child.kind)));
        let idle = device.children.is_empty() && device.mountpoints.is_empty() && uses.len() == before;
        if idle && is_held_for_good(Path::new(path))? {
            uses.push(format!(
                "{path} is held by something not seen from here: a mount in another namespace?"
            ));
        }
    }
    Ok(uses)
}

/// Whether a mapping is one that runs open: a container's, or a volume of the mirror's groups.
pub(super) fn is_ours(mirror: &Mirror, device: &BlockDevice) -> bool {
    let is_container = || mirror.containers.iter().any(|container| container.mapper == device.name);
    (device.kind == "crypt" && is_container())
        || mirror.volume_groups.iter().any(|group| is_volume_of(group, device))
}

/// Whether a mapping is a volume of a group.
pub(super) fn is_volume_of(group: &str, device: &BlockDevice) -> bool {
    device.kind == "lvm" && is_named_in(group, &device.name)
}

/// Whether a mapping's name is that of a group's volume: dm names double the dashes of the group's and the volume's own names.
pub(super) fn is_named_in(group: &str, mapping: &str) -> bool {
    let rest = mapping.strip_prefix(&group.replace('-', "--")).and_then(|rest| rest.strip_prefix('-'));
    rest.is_some_and(|volume| !volume.starts_with('-'))
}

/// The partitions (the disk itself if it has none) and what blkid reads from them.
fn partitions(disk: &BlockDevice) -> Result<Vec<(PathBuf, Signature)>> {
    let parts: Vec<&BlockDevice> = disk.children.iter().filter(|child| child.kind == "part").collect();
    let nodes = if parts.is_empty() { vec![disk] } else { parts };
    nodes.into_iter().map(|part| probed(&part.path)).collect()
}

/// What blkid reads from a node.
pub(super) fn probed(path: &str) -> Result<(PathBuf, Signature)> {
    let node = PathBuf::from(path);
    let signature = probe_node(&node).with_context(|| format!("cannot read {path}"))?;
    Ok((node, signature))
}

#[cfg(test)]
mod tests {
    use super::*;

    fn disk(serial: Option<&str>, wwn: Option<&str>) -> BlockDevice {
        BlockDevice { serial: serial.map(Into::into), wwn: wwn.map(Into::into), ..BlockDevice::default() }
    }

    #[test]
    fn all_that_is_named_must_agree_and_what_is_not_named_does_not_count() {
        let id = |serial: Option<&str>, wwn: Option<&str>| DiskId {
            serial: serial.map(Into::into),
            wwn: wwn.map(Into::into),
            ..DiskId::default()
        };
        let both = id(Some("S1"), Some("0x5"));
        assert_eq!(hardware(&both, &disk(Some("S1"), Some("0x5"))), Hardware::Agrees);
        assert_eq!(hardware(&id(Some("S1"), None), &disk(Some("S1"), Some("0x6"))), Hardware::Agrees);
        assert_eq!(hardware(&id(None, None), &disk(Some("S1"), None)), Hardware::Unnamed);
        for other in [disk(Some("S1"), Some("0x6")), disk(Some("S2"), Some("0x5")), disk(Some("S1"), None)] {
            assert!(matches!(hardware(&both, &other), Hardware::Differs(_)), "{other:?}");
        }
    }
}
