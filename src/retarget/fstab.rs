//! /etc/fstab for the mirror: its own devices, and no waiting for what only the primary had.

use super::rows::{self, Row};
use super::text::{Devices, Spellings};
use crate::identity::{IdentityMap, Kind};

/// The mirror's fstab.
pub(super) fn rewrite(text: &str, spellings: &Spellings) -> String {
    rows::rewritten(text, |fields| row(fields, spellings))
}

fn row(fields: &[&str], spellings: &Spellings) -> Row {
    let &[device, _, ..] = fields else { return Row::Keep };
    let mut new: Vec<String> = fields.iter().map(|field| (*field).to_owned()).collect();
    new[0] = spellings.field(device, Devices::Tags);
    if let Some(options) = new.get_mut(3) {
        *options = spellings.field(options, Devices::Paths);
    }
    let died = spellings.names_lost(device) || (new[0] == device && is_on_disk(device, spellings.map));
    if died && !gives_way(fields) {
        let absent = ["none", "none", "auto", "defaults"].into_iter().skip(new.len());
        new.extend(absent.map(str::to_owned).collect::<Vec<_>>());
        new[3] += ",nofail";
    }
    Row::Fields(new)
}

/// Whether the boot goes on without the device of an entry of fstab or crypttab; both have options fourth.
pub(super) fn gives_way(fields: &[&str]) -> bool {
    fields.get(3).is_some_and(|options| options.split(',').any(|o| matches!(o, "nofail" | "noauto")))
}

/// Whether `device` is named as a part of the primary's disk or groups, whatever the map knows of it.
fn is_on_disk(device: &str, map: &IdentityMap) -> bool {
    let part = |rest: &str| {
        let number = rest.strip_prefix("-part").or(rest.strip_prefix('p')).unwrap_or(rest);
        !number.is_empty() && number.bytes().all(|b| b.is_ascii_digit())
    };
    let of_disk = |name: &str| device.strip_prefix(name).is_some_and(part);
    let of_group = |name: &str| {
        let mapped = format!("/dev/mapper/{}-", name.replace('-', "--"));
        let volume = device.strip_prefix(&mapped);
        device.starts_with(&format!("/dev/{name}/")) || volume.is_some_and(|lv| !lv.starts_with('-'))
    };
    map.of(Kind::Disk).any(|pair| of_disk(&pair.primary))
        || map.of(Kind::Group).any(|pair| of_group(&pair.primary))
        || map.of(Kind::Table).any(|pair| device.starts_with(&format!("PARTUUID={}-", pair.primary)))
}
