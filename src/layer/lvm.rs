//! LVM: what its reports say, and the commands that make, activate and deactivate the mirror's group.

use super::json;
use crate::step::Invocation;
use crate::units::Bytes;
use anyhow::{Context, Result};
use serde_json::Value;

/// A row of `pvs`.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct PhysicalVolume {
    /// Its node as LVM names it.
    pub path: String,
    /// The group it belongs to.
    pub group: Option<String>,
    /// Its UUID.
    pub uuid: String,
    /// Where its first extent begins.
    pub data_offset: Bytes,
}

/// A row of `vgs`.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Group {
    /// Its name.
    pub name: String,
    /// Its UUID.
    pub uuid: String,
    /// Bytes in an extent.
    pub extent_size: Bytes,
    /// Extents in all.
    pub extents: u64,
    /// How many physical volumes it spans.
    pub physical_volumes: u64,
}

/// A logical volume: the rows of `lvs`, one a segment, put together.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Volume {
    /// Its name, without the brackets of a hidden one.
    pub name: String,
    /// The group it belongs to.
    pub group: String,
    /// Its UUID.
    pub uuid: String,
    /// Its size.
    pub size: Bytes,
    /// Its node: `/dev/www/root`; empty for a hidden volume.
    pub path: String,
    /// The types of its segments: `linear`, `thin-pool`, `raid1` …
    pub segments: Vec<String>,
    /// What it is a snapshot of.
    pub origin: Option<String>,
    /// Whether it is there to be read.
    pub active: bool,
    /// Whether LVM shows it only with `-a`: a part of another volume.
    pub hidden: bool,
}

impl Volume {
    /// What it is, if it cannot be mirrored: anything but plain extents in a row.
    pub fn peculiarity(&self) -> Option<String> {
        if let Some(origin) = &self.origin {
            return Some(format!("a snapshot of {origin}"));
        }
        let segment = self.segments.iter().find(|segment| *segment != "linear")?;
        Some(match segment.as_str() {
            "thin-pool" => "a thin pool".to_owned(),
            "thin" => "a thin volume".to_owned(),
            "snapshot" => "a snapshot".to_owned(),
            "cache" | "cache-pool" | "writecache" => "a cached volume".to_owned(),
            "striped" => "a striped volume".to_owned(),
            other => format!("an LVM volume of type {other}"),
        })
    }
}

/// The physical volumes.
///
/// # Errors
/// If the text is not LVM's JSON report, or a row lacks a field.
pub fn parse_pvs(text: &str) -> Result<Vec<PhysicalVolume>> {
    each(text, "pv", |row| {
        Ok(PhysicalVolume {
            path: json::required(row, "pv_name")?,
            group: json::text(row, "vg_name"),
            uuid: json::required(row, "pv_uuid")?,
            data_offset: Bytes(number(row, "pe_start")?),
        })
    })
}

/// The volume groups.
///
/// # Errors
/// As `parse_pvs`.
pub fn parse_vgs(text: &str) -> Result<Vec<Group>> {
    each(text, "vg", |row| {
        Ok(Group {
            name: json::required(row, "vg_name")?,
            uuid: json::required(row, "vg_uuid")?,
            extent_size: Bytes(number(row, "vg_extent_size")?),
            extents: number(row, "vg_extent_count")?,
            physical_volumes: number(row, "pv_count")?,
        })
    })
}

/// The logical volumes, hidden ones too, in LVM's order.
///
/// # Errors
/// As `parse_pvs`.
pub fn parse_lvs(text: &str) -> Result<Vec<Volume>> {
    let mut volumes: Vec<Volume> = Vec::new();
    for row in each(text, "lv", volume)? {
        match volumes.iter_mut().find(|volume| volume.uuid == row.uuid) {
            Some(volume) => volume.segments.extend(row.segments),
            None => volumes.push(row),
        }
    }
    Ok(volumes)
}

/// The mapper's name for a volume: hyphens doubled, `my--vg-root` (lvm(8)).
pub fn mapper_name(group: &str, volume: &str) -> String {
    format!("{}-{}", group.replace('-', "--"), volume.replace('-', "--"))
}

fn volume(row: &Value) -> Result<Volume> {
    let name = json::required(row, "lv_name")?;
    let inner = name.strip_prefix('[').and_then(|name| name.strip_suffix(']'));
    Ok(Volume {
        hidden: inner.is_some(),
        group: json::required(row, "vg_name")?,
        uuid: json::required(row, "lv_uuid")?,
        size: Bytes(number(row, "lv_size")?),
        path: json::text(row, "lv_path").unwrap_or_default(),
        segments: json::text(row, "segtype").into_iter().collect(),
        origin: json::text(row, "origin"),
        active: json::text(row, "lv_active").as_deref() == Some("active"),
        name: inner.unwrap_or(&name).to_owned(),
    })
}

fn number(row: &Value, key: &str) -> Result<u64> {
    json::number(row, key).with_context(|| format!("there is no number {key:?} in {row}"))
}

/// Every row of a report; LVM may print advice before it, and makes one part of it for each kind asked for.
fn each<T>(text: &str, kind: &str, read: impl Fn(&Value) -> Result<T>) -> Result<Vec<T>> {
    let said = || format!("cannot read what LVM said of its {kind}s");
    let report = text.find('{').map_or("", |start| &text[start..]);
    let parts = json::rows(report, "report").with_context(said)?;
    let rows = parts.iter().filter_map(|part| part.get(kind)?.as_array()).flatten();
    rows.map(|row| read(row).with_context(said)).collect()
}

// -- making

/// Makes a physical volume.
pub fn create_pv(device: &str) -> Invocation {
    Invocation::new("pvcreate", ["--quiet", "--yes", device])
}

/// Makes a group on these physical volumes. Its UUID is LVM's own: `vgcreate` takes none.
pub fn create_vg(vg: &str, extent_size: Bytes, pvs: &[&str]) -> Invocation {
    let size = format!("{}b", extent_size.0);
    Invocation::new("vgcreate", [&["--quiet", "--physicalextentsize", &size, vg], pvs].concat())
}

/// Makes a linear volume of `size`, a multiple of the extent; it may lie on several physical volumes. Old signatures in it are wiped.
pub fn create_lv(vg: &str, lv: &str, size: Bytes) -> Invocation {
    let size = format!("{}b", size.0);
    Invocation::new(
        "lvcreate",
        ["--quiet", "--yes", "--wipesignatures", "y", "--name", lv, "--size", &size, vg],
    )
}

/// Takes a group offline.
pub fn deactivate(vg: &str) -> Invocation {
    Invocation::new("vgchange", ["--quiet", "--activate", "n", vg])
}

/// Brings a group online.
pub fn activate(vg: &str) -> Invocation {
    Invocation::new("vgchange", ["--quiet", "--activate", "y", vg])
}

/// Whether LVM takes this as the name of a group (lvm(8), "Valid names").
pub fn is_name(name: &str) -> bool {
    !name.is_empty()
        && name.len() <= 127
        && !name.starts_with('-')
        && name != "."
        && name != ".."
        && name.chars().all(|c| c.is_ascii_alphanumeric() || "+_.-".contains(c))
}

/// The node of a volume.
pub fn lv_path(vg: &str, lv: &str) -> String {
    format!("/dev/{vg}/{lv}")
}

#[cfg(test)]
mod tests {
    use super::*;

    fn report(kind: &str, rows: &str) -> String {
        format!("  Advice: a line of it.\n  {{\"report\": [ {{ \"{kind}\": [ {rows} ] }} ] }}\n")
    }

    #[test]
    fn reports_are_read_past_advice() {
        // LVM 2.03.16.
        let pvs = parse_pvs(&report(
            "pv",
            r#"{"pv_name":"/dev/mapper/vda5_crypt", "vg_name":"www", "pv_uuid":"nZ12RY-BSN6", "pv_size":"20942159872",
                "pv_free":"2738880512", "pe_start":"1048576"},
               {"pv_name":"/dev/sdb", "vg_name":"", "pv_uuid":"abc", "pe_start":"1048576"}"#,
        ))
        .expect("it is LVM's");
        assert_eq!((pvs[0].group.as_deref(), pvs[0].data_offset), (Some("www"), Bytes::mib(1)));
        assert_eq!(pvs[1].group, None);
        let vgs = parse_vgs(&report(
            "vg",
            r#"{"vg_name":"www", "vg_uuid":"aS0w0Q", "vg_extent_size":"4194304", "vg_extent_count":"4993",
                "vg_free_count":"653", "pv_count":"1", "lv_count":"2"}"#,
        ))
        .expect("it is LVM's");
        assert_eq!((vgs[0].extent_size, vgs[0].extents, vgs[0].physical_volumes), (Bytes::mib(4), 4993, 1));
        assert_eq!(parse_pvs("").expect("LVM is not installed"), []);
        assert!(parse_vgs(&report("vg", r#"{"vg_name":"www"}"#)).is_err());
    }

    #[test]
    fn the_segments_of_a_volume_are_put_together_and_hidden_volumes_told_apart() {
        let row = |name: &str, segment: &str, origin: &str| {
            format!(
                r#"{{"lv_name":"{name}", "vg_name":"vg", "lv_uuid":"of {name}", "lv_size":"8388608", "lv_path":"",
                    "segtype":"{segment}", "origin":"{origin}", "lv_active":"active", "devices":"/dev/sda(0)"}}"#
            )
        };
        let rows = [
            row("grown", "linear", ""),
            row("grown", "linear", ""),
            row("[pool_tmeta]", "linear", ""),
            row("pool", "thin-pool", ""),
            row("before", "linear", "grown"),
            row("mixed", "linear", ""),
            row("mixed", "striped", ""),
        ];
        let volumes = parse_lvs(&report("lv", &rows.join(","))).expect("it is LVM's");
        let seen: Vec<_> = volumes.iter().map(|v| (v.name.as_str(), v.hidden, v.peculiarity())).collect();
        let expected = [
            ("grown", false, None),
            ("pool_tmeta", true, None),
            ("pool", false, Some("a thin pool".to_owned())),
            ("before", false, Some("a snapshot of grown".to_owned())),
            ("mixed", false, Some("a striped volume".to_owned())),
        ];
        assert_eq!(seen, expected);
        assert_eq!((volumes[0].size, volumes[0].active), (Bytes::mib(8), true));
    }

    #[test]
    fn mapper_names_double_hyphens() {
        assert_eq!(mapper_name("debian-vg", "swap_1"), "debian--vg-swap_1");
    }
}

#[cfg(test)]
mod making {
    use super::is_name;

    #[test]
    fn names_that_lvm_refuses_are_known_beforehand() {
        assert!(["mirror", "vg-0", "a+b_c.d"].into_iter().all(is_name));
        assert!(!["", "-a", "..", "a b", "a/b", "größe"].into_iter().any(is_name));
    }
}
