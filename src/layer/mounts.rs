//! What is mounted where, as `findmnt --json --bytes` says, nested or as a list.

use super::octal::unescaped;
use super::{encoding, json};
use crate::units::Bytes;
use anyhow::{Context, Result};
use serde_json::Value;

/// A mounted file system, or a part of one.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Mount {
    /// Where.
    pub target: String,
    /// What, as the kernel names it: `/dev/sda1`, `/dev/vda2[/@]`, `tmpfs`.
    pub source: String,
    /// The kernel's name of its file system.
    pub fstype: String,
    /// The UUID of its file system, if udev knows it.
    pub uuid: Option<String>,
    /// The directory of the file system that is mounted: `/`, or another for a bind mount or a subvolume.
    pub fs_root: String,
    /// What statfs gives as its size: without the file system's own overhead.
    pub size: Option<Bytes>,
    /// What is used of it.
    pub used: Option<Bytes>,
    /// The device number, as files in it carry it: `8:1`.
    pub major_minor: String,
}

impl Mount {
    /// The node in its source, without the directory in brackets that findmnt adds.
    pub fn node(&self) -> &str {
        self.source.split('[').next().unwrap_or_default()
    }
}

/// Every mount, in the order they were made.
///
/// # Errors
/// If the text is not findmnt's JSON, or a row has no target.
pub fn parse(text: &str) -> Result<Vec<Mount>> {
    let rows = json::rows(text, "filesystems").context("cannot read what findmnt said")?;
    let mut mounts = Vec::new();
    for row in &rows {
        collect(row, &mut mounts).context("cannot read what findmnt said")?;
    }
    Ok(mounts)
}

/// Gives back the bytes of the places that are not UTF-8, of which findmnt's JSON tells only that they are there, from the
/// text of /proc/self/mountinfo (proc(5)).
pub fn restore(mounts: &mut [Mount], mountinfo: &str) {
    for mount in mounts.iter_mut().filter(|mount| has_lost_bytes(mount)) {
        let mut found = mountinfo.lines().filter_map(|line| {
            let mut fields = line.split(' ');
            let (number, target) = (fields.nth(2)?, unescaped(fields.nth(1)?));
            (number == mount.major_minor && as_told(&target) == mount.target).then_some(target)
        });
        if let Some(target) = found.next_back() {
            mount.target = target;
        }
    }
}

/// Whether the place of a mount has bytes that are not UTF-8.
pub fn has_lost_bytes(mount: &Mount) -> bool {
    mount.target.contains(char::REPLACEMENT_CHARACTER)
}

/// What a tool's text is read as.
fn as_told(target: &str) -> String {
    String::from_utf8_lossy(&encoding::bytes(target)).into_owned()
}

fn collect(row: &Value, mounts: &mut Vec<Mount>) -> Result<()> {
    mounts.push(Mount {
        target: json::required(row, "target")?,
        source: json::text(row, "source").unwrap_or_default(),
        fstype: json::text(row, "fstype").unwrap_or_default(),
        uuid: json::text(row, "uuid"),
        fs_root: json::text(row, "fsroot").unwrap_or_else(|| "/".to_owned()),
        size: json::number(row, "size").map(Bytes),
        used: json::number(row, "used").map(Bytes),
        major_minor: json::text(row, "maj:min").unwrap_or_default(),
    });
    let children = row.get("children").and_then(Value::as_array);
    children.into_iter().flatten().try_for_each(|child| collect(child, mounts))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_place_in_another_encoding_has_its_bytes_again() {
        let row =
            |target: &str| format!(r#"{{"target": "{target}", "source": "/dev/sda3", "maj:min": "8:3"}}"#);
        let told = format!(r#"{{"filesystems": [{}, {}]}}"#, row("/srv/caf\u{fffd} x"), row("/srv"));
        let mut mounts = parse(&told).expect("it is whole");
        let mountinfo = b"194 173 8:4 / /srv/caf\xe8\\040x rw - ext4 /dev/sda4 rw\n\
                          195 173 8:3 / /srv/caf\xe9\\040x rw - ext4 /dev/sda3 rw\n";
        restore(&mut mounts, &encoding::text(mountinfo));
        assert_eq!(encoding::bytes(&mounts[0].target), b"/srv/caf\xe9 x");
        assert_eq!(mounts[1].target, "/srv");
    }

    #[test]
    fn lists_and_trees_are_read_alike() {
        let root = r#""target": "/", "source": "/dev/mapper/www-root", "fstype": "ext4", "fsroot": "/",
                      "size": 1038090240, "used": "524288", "maj:min": "253:1""#;
        let boot = r#"{"target": "/boot", "source": "/dev/vda1[/sub]", "fstype": "ext3", "size": null}"#;
        let list = format!(r#"{{"filesystems": [{{{root}}}, {boot}]}}"#);
        let tree = format!(r#"{{"filesystems": [{{{root}, "children": [{boot}]}}]}}"#);
        let mounts = parse(&list).expect("it is whole");
        assert_eq!(mounts, parse(&tree).expect("it is whole"));
        assert_eq!((mounts[0].size, mounts[0].used), (Some(Bytes(1_038_090_240)), Some(Bytes(524_288))));
        assert_eq!((mounts[1].node(), mounts[1].fs_root.as_str(), mounts[1].size), ("/dev/vda1", "/", None));
    }
}
