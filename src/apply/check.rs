//! Whether a step was done, as the system's own tools see it.

use crate::discover::{Probe, Question, Tools};
use crate::layer::{blkid, luks, lvm, partition_table};
use crate::layout::Partition;
use crate::step::Check;
use std::collections::BTreeSet;
use std::path::Path;
use std::thread::sleep;
use std::time::Duration;

/// How often a check is repeated, and after what time: nodes appear a little after the tool that makes them returns.
const TRIES: u32 = 20;
const PAUSE: Duration = Duration::from_millis(250);

/// Makes sure of one fact.
///
/// # Errors
/// What is true instead.
pub fn check(check: &Check) -> Result<(), String> {
    let mut last = Ok(());
    for attempt in 0..TRIES {
        if attempt > 0 {
            sleep(PAUSE);
        }
        last = look(check);
        if last.is_ok() {
            return Ok(());
        }
    }
    last
}

fn look(check: &Check) -> Result<(), String> {
    let tools = Tools { root: "/".into() };
    let ask = |question: Question| tools.ask(&question).map_err(|error| format!("{error:#}"));
    match check {
        Check::Table { disk, partitions } => {
            let table =
                partition_table::parse(&ask(Question::SfdiskDump(disk.clone()))?, 512).map_err(text)?;
            let found: Vec<_> = table.partitions.iter().map(|p| (p.number, p.start.0, p.size.0)).collect();
            same("the partitions (number, start, size in bytes)", &found, partitions)?;
            // The kernel need not show an extended partition: partx cannot announce one on sectors of 4096 bytes.
            let shown = |p: &&Partition| !partition_table::is_extended(&p.type_id);
            match table.partitions.iter().filter(shown).find(|p| !Path::new(&p.path).exists()) {
                Some(p) => Err(format!("the kernel shows no {}", p.path)),
                None => Ok(()),
            }
        }
        Check::Signature { device, kind, uuid } => {
            let found = blkid::parse(&ask(Question::Blkid(device.clone()))?);
            let wanted = (Some(kind.clone()), Some(uuid.clone()));
            same(&format!("what blkid finds on {device}"), &(found.kind, found.uuid), &wanted)
        }
        Check::Open { mapper, device } => {
            let status = luks::parse_status(&ask(Question::CryptStatus(mapper.clone()))?);
            same(&format!("the device below {mapper}"), &status.device, &Some(device.clone()))
        }
        Check::Group { vg, pv, other_pvs } => {
            let volumes = lvm::parse_pvs(&ask(Question::Pvs)?).map_err(text)?;
            let found: BTreeSet<_> =
                volumes.into_iter().filter(|p| p.group.as_ref() == Some(vg)).map(|p| p.path).collect();
            let wanted = other_pvs.iter().chain([pv]).cloned().collect();
            same(&format!("the physical volumes of {vg}"), &found, &wanted)
        }
        Check::Volume { vg, lv, size } => {
            let volumes = lvm::parse_lvs(&ask(Question::Lvs)?).map_err(text)?;
            let found = volumes.iter().find(|v| v.group == *vg && v.name == *lv).map(|v| v.size.0);
            same(&format!("the size of {vg}/{lv} in bytes"), &found, &Some(*size))
        }
    }
}

fn text(error: anyhow::Error) -> String {
    format!("{error:#}")
}

fn same<T: PartialEq + std::fmt::Debug>(what: &str, found: &T, wanted: &T) -> Result<(), String> {
    if found == wanted {
        return Ok(());
    }
    Err(format!("{what}: found {found:?}, wanted {wanted:?}"))
}
