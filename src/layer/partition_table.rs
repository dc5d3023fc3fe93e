//! Partition tables: what sfdisk says, and the script that makes the mirror's.

use crate::step::{Input, Invocation};
use crate::units::{Bytes, Sectors};
use std::fmt::Write;

// -- making

/// A partition to be made.
#[derive(Debug, Clone, PartialEq)]
pub struct NewPartition {
    /// Its number.
    pub number: u32,
    /// Where it begins.
    pub start: Bytes,
    /// How long it is.
    pub size: Bytes,
    /// sfdisk's type: `83` or a GUID.
    pub type_id: String,
    /// Its new GUID (GPT).
    pub uuid: Option<String>,
    /// Its name (GPT).
    pub name: Option<String>,
    /// Its attribute bits (GPT), as sfdisk writes them.
    pub attributes: Option<String>,
    /// The boot flag (MBR).
    pub bootable: bool,
}

/// Writes a new table: `label` is sfdisk's `dos` or `gpt`, `id` the new signature or GUID.
///
/// Of sfdisk's dump format (sfdisk(8), "Input formats") `device`, `first-lba` and `last-lba` are left out: a
/// `last-lba` fed back keeps a table from growing and fails on a smaller disk.
pub fn write(disk: &str, label: &str, id: &str, sector_size: u32, partitions: &[NewPartition]) -> Invocation {
    let mut script = format!("label: {label}\nlabel-id: {id}\nunit: sectors\nsector-size: {sector_size}\n\n");
    for p in partitions {
        let (start, size) = (Sectors::of(p.start, sector_size).0, Sectors::of(p.size, sector_size).0);
        let _ = write!(script, "{}: start={start}, size={size}, type={}", p.number, p.type_id);
        for (key, value) in [("uuid", &p.uuid), ("attrs", &p.attributes)] {
            if let Some(value) = value {
                let _ = write!(script, ", {key}=\"{value}\"");
            }
        }
        if let Some(name) = p.name.as_ref().filter(|name| in_script(name)) {
            let _ = write!(script, ", name=\"{name}\"");
        }
        script += if p.bootable { ", bootable\n" } else { "\n" };
    }
    Invocation::new("sfdisk", ["--quiet", "--wipe", "always", "--wipe-partitions", "always", disk])
        .reading(Input::Text(script))
}

/// The names that no version of sfdisk takes in a script (2.38 knows no escapes), set one by one.
pub fn name_partitions(disk: &str, partitions: &[NewPartition]) -> Vec<Invocation> {
    let odd =
        partitions.iter().filter_map(|p| p.name.as_ref().filter(|n| !in_script(n)).map(|n| (p.number, n)));
    odd.map(|(number, name)| {
        Invocation::new("sfdisk", ["--quiet", "--part-label", disk, &number.to_string(), name])
    })
    .collect()
}

fn in_script(name: &str) -> bool {
    !name.chars().any(|c| c == '"' || c == '\\' || c.is_control())
}

#[cfg(test)]
mod making {
    use super::*;

    #[test]
    fn a_script_speaks_in_the_mirrors_sectors_and_leaves_the_old_bounds_out() {
        let root = NewPartition {
            number: 1,
            start: Bytes::mib(1),
            size: Bytes::mib(10),
            type_id: "83".into(),
            uuid: None,
            name: None,
            attributes: None,
            bootable: true,
        };
        let Input::Text(script) = write("/dev/sdb", "dos", "0x0000cafe", 4096, &[root]).input else {
            panic!("sfdisk reads a script")
        };
        assert_eq!(
            script,
            "label: dos\nlabel-id: 0x0000cafe\nunit: sectors\nsector-size: 4096\n\n\
             1: start=256, size=2560, type=83, bootable\n"
        );
    }

    #[test]
    fn a_name_that_no_script_can_hold_is_set_on_its_own() {
        let mut esp = NewPartition {
            number: 1,
            start: Bytes::mib(1),
            size: Bytes::mib(10),
            type_id: "C12A7328-F81F-11D2-BA4B-00A0C93EC93B".into(),
            uuid: Some("1B4E28BA-2FA1-4D3B-A3F5-EF19B5A7633B".into()),
            name: Some("EFI \"System\"".into()),
            attributes: Some("RequiredPartition".into()),
            bootable: false,
        };
        let script = write("/dev/sdb", "gpt", "X", 512, std::slice::from_ref(&esp)).to_string();
        assert!(script.contains("attrs=\"RequiredPartition\"\n") && !script.contains("name="), "{script}");
        assert_eq!(
            name_partitions("/dev/sdb", std::slice::from_ref(&esp))[0].to_string(),
            "sfdisk --quiet --part-label /dev/sdb 1 'EFI \"System\"'"
        );
        esp.name = Some("ESP".into());
        assert!(name_partitions("/dev/sdb", &[esp]).is_empty());
    }
}
