//! The block devices of the machine as `lsblk --json --bytes` draws them: what is a disk, what lies on what, what
//! holds what. Sizes are bytes. Content is not read from here: lsblk takes it from udev's database, which is
//! empty in a container and late after a change.

use super::json;
use crate::units::Bytes;
use anyhow::{Context, Result};
use serde_json::Value;

/// A block device and whatever the kernel has built on top of it.
#[derive(Debug, Clone, PartialEq, Eq, Default)]
pub struct BlockDevice {
    /// Its name: `sda1`, or for device-mapper the mapper's name (`www-root`).
    pub name: String,
    /// The kernel's own name: `dm-0`.
    pub kernel_name: String,
    /// Its node: `/dev/sda1`, `/dev/mapper/www-root`.
    pub path: String,
    /// `disk`, `part`, `loop`, `crypt`, `lvm`, `raid1`, `mpath`, `rom` …
    pub kind: String,
    /// Its size.
    pub size: Bytes,
    /// Whether the kernel refuses writes to it.
    pub read_only: bool,
    /// Whether it has platters.
    pub rotational: bool,
    /// The model as the disk reports it.
    pub model: Option<String>,
    /// The serial number as the disk reports it.
    pub serial: Option<String>,
    /// The World Wide Name.
    pub wwn: Option<String>,
    /// How it is attached: `sata`, `nvme`, `usb`, `virtio` …
    pub transport: Option<String>,
    /// Bytes in a logical sector.
    pub logical_sector: u32,
    /// Bytes in a physical sector.
    pub physical_sector: u32,
    /// The device number: `8:1`.
    pub major_minor: String,
    /// The file system or other signature, as udev knows it.
    pub fstype: Option<String>,
    /// Its UUID, as udev knows it.
    pub uuid: Option<String>,
    /// Its label, as udev knows it.
    pub label: Option<String>,
    /// The kind of partition table: `dos`, `gpt`.
    pub pt_type: Option<String>,
    /// The table's identity.
    pub pt_uuid: Option<String>,
    /// The partition's GUID.
    pub part_uuid: Option<String>,
    /// The partition's name.
    pub part_label: Option<String>,
    /// Where it is mounted; `[SWAP]` for active swap.
    pub mountpoints: Vec<String>,
    /// Whether it takes discards.
    pub discard: bool,
    /// What lies on it: partitions, mappings, arrays.
    pub children: Vec<BlockDevice>,
}

impl BlockDevice {
    /// This device and everything on it, outermost first.
    pub fn walk(&self) -> Vec<&BlockDevice> {
        std::iter::once(self).chain(self.children.iter().flat_map(BlockDevice::walk)).collect()
    }

    /// Whether this is a whole disk: nothing the kernel has cut out of, or built on, another device.
    pub fn is_whole_disk(&self) -> bool {
        matches!(self.kind.as_str(), "disk" | "loop")
    }
}

/// The devices at the top of the tree, from `lsblk --json --bytes`.
///
/// # Errors
/// If the text is not lsblk's JSON, or a device lacks its name or size.
pub fn parse(text: &str) -> Result<Vec<BlockDevice>> {
    let rows = json::rows(text, "blockdevices").context("cannot read what lsblk said")?;
    rows.iter().map(|row| device(row).context("cannot read what lsblk said")).collect()
}

fn device(row: &Value) -> Result<BlockDevice> {
    let name = json::required(row, "name")?;
    let path = json::text(row, "path").unwrap_or_else(|| format!("/dev/{name}"));
    let children = row.get("children").and_then(Value::as_array);
    let logical_sector = json::number(row, "log-sec").unwrap_or(512) as u32;
    Ok(BlockDevice {
        kernel_name: json::text(row, "kname").unwrap_or_else(|| name.clone()),
        kind: json::text(row, "type").unwrap_or_default(),
        size: Bytes(json::number(row, "size").with_context(|| format!("{path} has no size"))?),
        read_only: json::truth(row, "ro"),
        rotational: json::truth(row, "rota"),
        model: json::text(row, "model"),
        serial: json::text(row, "serial"),
        wwn: json::text(row, "wwn"),
        transport: json::text(row, "tran"),
        physical_sector: json::number(row, "phy-sec").map_or(logical_sector, |bytes| bytes as u32),
        major_minor: json::text(row, "maj:min").unwrap_or_default(),
        fstype: json::text(row, "fstype"),
        uuid: json::text(row, "uuid"),
        label: json::text(row, "label"),
        pt_type: json::text(row, "pttype"),
        pt_uuid: json::text(row, "ptuuid"),
        part_uuid: json::text(row, "partuuid"),
        part_label: json::text(row, "partlabel"),
        mountpoints: mountpoints(row),
        discard: json::number(row, "disc-gran").is_some_and(|bytes| bytes > 0),
        children: children.into_iter().flatten().map(device).collect::<Result<_>>()?,
        logical_sector,
        name,
        path,
    })
}

/// `MOUNTPOINTS` (util-linux 2.37 and later: a list, `[null]` if empty) or the one `MOUNTPOINT` before it.
fn mountpoints(row: &Value) -> Vec<String> {
    match row.get("mountpoints") {
        Some(Value::Array(points)) => points.iter().filter_map(Value::as_str).map(json::unescaped).collect(),
        Some(Value::String(points)) => points.lines().map(json::unescaped).collect(),
        _ => json::text(row, "mountpoint").into_iter().collect(),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    /// In the form of util-linux 2.38: typed values, MOUNTPOINTS.
    const TYPED: &str = r#"{"blockdevices": [
      {"name":"vda", "kname":"vda", "path":"/dev/vda", "type":"disk", "size":274877906944, "ro":false,
       "rota":true, "model":null, "serial":"root disk\\x20 ", "wwn":null, "tran":"virtio", "log-sec":512,
       "phy-sec":4096, "pkname":null, "maj:min":"254:0", "fstype":null, "pttype":"dos", "mountpoints":[null],
       "disc-gran":4096, "start":null, "children": [
         {"name":"vda1", "kname":"vda1", "path":"/dev/vda1", "type":"part", "size":1048576, "ro":false,
          "rota":true, "log-sec":512, "phy-sec":512, "maj:min":"254:1", "mountpoints":["/", "/a\\x20b"],
          "disc-gran":0}]}]}"#;

    /// In the form of util-linux before 2.33: strings throughout, no PATH, one MOUNTPOINT.
    const STRINGS: &str = r#"{"blockdevices": [
      {"name": "sda", "type": "disk", "size": "500107862016", "ro": "1", "rota": "0", "log-sec": "4096",
       "mountpoint": null, "children": [
         {"name": "sda1", "type": "part", "size": "500000000000", "ro": "0", "mountpoint": "[SWAP]"}]}]}"#;

    #[test]
    fn typed_output_is_read() {
        let disks = parse(TYPED).expect("it is whole");
        let disk = &disks[0];
        assert_eq!((disk.size, disk.rotational, disk.discard), (Bytes::gib(256), true, true));
        assert_eq!((disk.logical_sector, disk.physical_sector), (512, 4096));
        assert_eq!((disk.serial.as_deref(), disk.model.as_deref()), (Some("root disk"), None));
        assert_eq!((disk.transport.as_deref(), disk.pt_type.as_deref()), (Some("virtio"), Some("dos")));
        assert!(disk.mountpoints.is_empty() && disk.is_whole_disk());
        let part = &disk.children[0];
        assert_eq!(part.mountpoints, ["/", "/a b"]);
        assert!(!part.discard && !part.is_whole_disk());
        assert_eq!(disk.walk().len(), 2);
    }

    #[test]
    fn output_of_older_versions_is_read() {
        let disks = parse(STRINGS).expect("it is whole");
        let disk = &disks[0];
        assert_eq!((disk.size, disk.read_only, disk.rotational), (Bytes(500_107_862_016), true, false));
        assert_eq!((disk.logical_sector, disk.physical_sector), (4096, 4096));
        assert_eq!((disk.path.as_str(), disk.kernel_name.as_str()), ("/dev/sda", "sda"));
        assert_eq!(disk.children[0].mountpoints, ["[SWAP]"]);
    }

    #[test]
    fn a_device_without_a_size_is_an_error() {
        assert!(parse(r#"{"blockdevices": [{"name": "sda"}]}"#).is_err());
    }
}
