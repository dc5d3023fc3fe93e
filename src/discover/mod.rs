//! Looks at the machine and says what is on the primary and on the mirror: asks the system's tools, hands their text
//! to the layers, and puts together one `Survey`. Changes nothing; decides nothing but whether it can tell.

mod content;
mod elsewhere;
mod machine;
pub mod probe;
mod swap;
mod uses;
mod volumes;

pub use probe::{Probe, Question, Recorded, Tools};

use crate::layer::lsblk::BlockDevice;
use crate::layer::{crypttab, fstab};
use crate::layout::{Disk, Layout, Surroundings, Survey};
use crate::refusal::Refusal;
use crate::units::Bytes;
use anyhow::Result;
use content::Reader;
use machine::Machine;
use std::collections::BTreeSet;
use std::path::Path;

/// What is on the disk that carries `root` (or on `primary`, if named), and on `mirror`.
///
/// # Errors
/// A `Refusal` if a disk cannot be found or is not a disk, if both are one, if a needed tool or root's rights are
/// missing; another error if a tool failed or said what cannot be read.
pub fn discover(root: &Path, primary: Option<&Path>, mirror: &Path, ask: &dyn Probe) -> Result<Survey> {
    let root = std::fs::canonicalize(root).unwrap_or_else(|_| root.to_owned());
    let machine = Machine::observe(ask)?;
    let mirror = machine.disk_named(mirror, "mirror")?;
    let primary = match primary {
        Some(path) => machine.disk_named(path, "primary")?,
        None => machine.disk_of_root(&root)?,
    };
    if std::ptr::eq(primary, mirror) {
        return Err(one_disk(mirror).into());
    }
    let texts = [ask.ask(&Question::Fstab)?, ask.ask(&Question::Crypttab)?];
    let fstab = fstab::entries(&texts[0]);
    let crypttab = crypttab::entries(&texts[1]);
    let role = content::Role::Primary { root: &root, fstab: &fstab, crypttab: &crypttab };
    let on_primary = Reader { machine: &machine, ask, role };
    let on_mirror = Reader { machine: &machine, ask, role: content::Role::Mirror };
    let primary = Layout { disk: disk(primary), content: on_primary.whole_disk(primary)? };
    let mirror = Layout { disk: disk(mirror), content: on_mirror.whole_disk(mirror)? };
    let elsewhere = elsewhere::elsewhere(&machine, &root, &fstab, [&primary, &mirror]);
    let around = Surroundings { elsewhere, ..surroundings(&machine, [&primary, &mirror], texts, ask)? };
    Ok(Survey { primary, mirror, around })
}

fn one_disk(disk: &BlockDevice) -> Refusal {
    let path = &disk.path;
    Refusal::new(
        format!("refusing to use {path} as the mirror: it is the primary"),
        format!("nothing was written to {path}"),
    )
    .why(format!("the server runs from {path}"))
    .remedy("name another disk: --mirror DISK")
}

fn disk(device: &BlockDevice) -> Disk {
    Disk {
        path: device.path.clone(),
        model: device.model.clone(),
        serial: device.serial.clone(),
        wwn: device.wwn.clone(),
        transport: device.transport.clone(),
        size: device.size,
        logical_sector: device.logical_sector,
        physical_sector: device.physical_sector,
        rotational: device.rotational,
        read_only: device.read_only,
        discard: device.discard,
    }
}

/// What else is named on the machine; fstab and crypttab were read already.
fn surroundings(
    machine: &Machine,
    layouts: [&Layout; 2],
    [fstab, crypttab]: [String; 2],
    ask: &dyn Probe,
) -> Result<Surroundings> {
    let mappers = machine.walk().filter_map(|device| device.path.strip_prefix("/dev/mapper/"));
    let udev_labels = machine.walk().filter_map(|device| device.label.clone());
    let labels = udev_labels.chain(layouts.into_iter().flat_map(content::labels));
    Ok(Surroundings {
        volume_groups: sorted(machine.groups.iter().map(|group| group.name.clone())),
        mappers: sorted(mappers.map(str::to_owned)),
        labels: sorted(labels),
        fstab,
        crypttab,
        elsewhere: Vec::new(),
        cmdline: ask.ask(&Question::Cmdline)?.trim().to_owned(),
        memory: memory(&ask.ask(&Question::Memory)?),
    })
}

fn sorted(names: impl Iterator<Item = String>) -> Vec<String> {
    names.collect::<BTreeSet<_>>().into_iter().collect()
}

/// MemTotal of /proc/meminfo (proc(5): in KiB); zero where it is not told.
fn memory(meminfo: &str) -> Bytes {
    let line = meminfo.lines().find_map(|line| line.strip_prefix("MemTotal:"));
    let kib = line.and_then(|line| line.split_whitespace().next()?.parse::<u64>().ok());
    Bytes(kib.unwrap_or(0) * 1024)
}
