//! Taking parts out of a layout that its mirror shall not have: partitions keep their place and lose their content, volumes go.
//!
//! A part is named as a plan prints it: by its node, by where it is mounted, or as `group` or `group/volume`. What is kept of
//! it names it after a boot as well, when nodes may have moved: `PARTUUID=…` or `group/volume`.

use super::{Content, Layout, LogicalVolume, Table};
use crate::units::Bytes;

/// A part that was taken out.
#[derive(Debug, Clone, PartialEq)]
pub struct LeftPart {
    /// What names it for good: `PARTUUID=…`, `group/volume`.
    pub name: String,
    /// Its node.
    pub path: String,
    /// Its size.
    pub size: Bytes,
    /// The partition's type; none for a volume.
    pub type_id: Option<String>,
    /// What it holds.
    pub content: Content,
}

impl Layout {
    /// Takes out all that `names` name, and says what that was; and which of the names name nothing.
    pub fn leave_out(&mut self, names: &[String]) -> (Vec<LeftPart>, Vec<String>) {
        let mut parts = Vec::new();
        let unknown = names.iter().filter(|name| !self.leave_out_one(name, &mut parts)).cloned().collect();
        (parts, unknown)
    }

    /// Takes out the partitions that `names` name. A volume that only the primary has is known by the mirror's lack of it.
    pub fn leave_out_partitions(&mut self, names: &[String]) {
        if let Content::Table(table) = &mut self.content {
            names.iter().for_each(|name| partitions(table, name, &mut Vec::new()));
        }
    }

    fn leave_out_one(&mut self, name: &str, parts: &mut Vec<LeftPart>) -> bool {
        let before = parts.len();
        if let Content::Table(table) = &mut self.content {
            partitions(table, name, parts);
            if parts.len() == before {
                table
                    .partitions
                    .iter_mut()
                    .for_each(|partition| volumes(&mut partition.content, name, parts));
            }
        }
        parts.len() > before || self.is_left_out(name, parts)
    }

    /// Whether `name` names a part that an earlier name has taken out.
    fn is_left_out(&self, name: &str, parts: &[LeftPart]) -> bool {
        parts.iter().any(|part| {
            part.name.eq_ignore_ascii_case(name) || part.path == name || is_of(&part.content, name)
        })
    }
}

fn partitions(table: &mut Table, name: &str, parts: &mut Vec<LeftPart>) {
    let part_uuids: Vec<String> = table.partitions.iter().map(|p| table.part_uuid(p)).collect();
    for (partition, part_uuid) in table.partitions.iter_mut().zip(part_uuids) {
        let stable = format!("PARTUUID={part_uuid}");
        let is_meant =
            partition.path == name || stable.eq_ignore_ascii_case(name) || is_of(&partition.content, name);
        if !is_meant || matches!(partition.content, Content::LeftOut(_)) {
            continue;
        }
        let content = std::mem::replace(&mut partition.content, Content::Empty);
        partition.content = Content::LeftOut(Box::new(content.clone()));
        parts.push(LeftPart {
            name: stable,
            path: partition.path.clone(),
            size: partition.size,
            type_id: Some(partition.type_id.clone()),
            content,
        });
    }
}

fn volumes(content: &mut Content, name: &str, parts: &mut Vec<LeftPart>) {
    match content {
        Content::Luks(luks) => volumes(&mut luks.content, name, parts),
        Content::Volumes(vg) => {
            let group = vg.name.clone();
            let mapper = |lv: &LogicalVolume| {
                let escaped = |name: &str| name.replace('-', "--");
                format!("/dev/mapper/{}-{}", escaped(&group), escaped(&lv.name))
            };
            let is_meant = |lv: &LogicalVolume| {
                lv.path == name
                    || format!("{group}/{}", lv.name) == name
                    || mapper(lv) == name
                    || is_of(&lv.content, name)
            };
            let (left, kept) =
                std::mem::take(&mut vg.volumes).into_iter().partition::<Vec<_>, _>(|lv| is_meant(lv));
            vg.volumes = kept;
            parts.extend(left.into_iter().map(|lv| LeftPart {
                name: format!("{group}/{}", lv.name),
                path: lv.path,
                size: lv.size,
                type_id: None,
                content: lv.content,
            }));
            vg.volumes.iter_mut().for_each(|lv| volumes(&mut lv.content, name, parts));
        }
        _ => {}
    }
}

/// Whether `name` is the mount point, the mapping or the volume group of what fills a part.
fn is_of(content: &Content, name: &str) -> bool {
    match content {
        Content::Filesystem(fs) => fs.mounted_at.iter().chain(&fs.fstab_target).any(|target| target == name),
        Content::Unsupported(thing) => thing.targets.iter().any(|target| target == name),
        Content::Luks(luks) => {
            let is_open = luks.mapper.as_ref().is_some_and(|mapper| format!("/dev/mapper/{mapper}") == name);
            is_open || is_of(&luks.content, name)
        }
        Content::LeftOut(content) => is_of(content, name),
        other => other.group() == Some(name),
    }
}
