//! Walks the primary's and the mirror's layout side by side and pairs what identifies each piece.
//!
//! Pure: the links below /dev are read elsewhere and handed in. A link that says no more than an identifier does
//! (by-uuid, by-label, dm-name-…) is no pair of its own: it is one of the identifier's spellings.

use super::disk_name::best_disk_name;
use super::map::{IdentityMap, Kind, Pair};
use crate::layout::{
    Content, Filesystem, FsKind, Layout, LogicalVolume, Luks, Partition, Table, VolumeGroup, boots,
};

/// A link below /dev, such as `/dev/disk/by-id/ata-…-part1`, and the node it leads to.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Link {
    /// The link's own path.
    pub link: String,
    /// Where it leads: `/dev/sda1`, `/dev/dm-0`.
    pub node: String,
}

/// How the mirror's shape differs from the primary's, in words.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
#[error("{0}")]
pub struct Mismatch(pub String);

impl IdentityMap {
    /// Pairs every identifier of the primary with the mirror's. The mirror must be open.
    ///
    /// What lies on the primary only (the container of a mirror that is not encrypted, a volume or a file system of data that
    /// is newer than the mirror, or whose mirror cannot be read) has an empty mirror's side.
    ///
    /// # Errors
    /// A `Mismatch` if the mirror lacks a partition, or holds something else in one that a boot needs.
    pub fn between(primary: &Layout, mirror: &Layout, links: &[Link]) -> Result<IdentityMap, Mismatch> {
        let mut walk = Walk { links, pairs: Vec::new() };
        let (Content::Table(old), Content::Table(new)) = (&primary.content, &mirror.content) else {
            return Err(Mismatch("both disks must have a partition table".into()));
        };
        walk.disk(&primary.disk.path, &mirror.disk.path);
        walk.table(old, new, &mirror.disk.path)?;
        let mut pairs = walk.pairs;
        pairs.retain(|pair| pair.primary != pair.mirror && !pair.primary.is_empty());
        pairs.sort();
        pairs.dedup();
        Ok(IdentityMap { pairs })
    }
}

/// The links that only spell an identifier another pair has.
const SPELLINGS: [&str; 9] = [
    "/dev/disk/by-uuid/",
    "/dev/disk/by-label/",
    "/dev/disk/by-partuuid/",
    "/dev/disk/by-partlabel/",
    "/dev/disk/by-id/dm-name-",
    "/dev/disk/by-id/dm-uuid-",
    "/dev/disk/by-id/lvm-pv-uuid-",
    "/dev/mapper/",
    "/dev/dm-",
];

struct Walk<'a> {
    links: &'a [Link],
    pairs: Vec<Pair>,
}

impl Walk<'_> {
    fn pair(&mut self, kind: Kind, primary: &str, mirror: &str) {
        self.pairs.push(Pair { kind, primary: primary.to_owned(), mirror: mirror.to_owned() });
    }

    /// A label on one side alone is no pair.
    fn label(&mut self, kind: Kind, primary: Option<&String>, mirror: Option<&String>) {
        if let (Some(primary), Some(mirror)) = (primary, mirror) {
            self.pair(kind, primary, mirror);
        }
    }

    fn disk(&mut self, primary: &str, mirror: &str) {
        let best = best_disk_name(self.links, mirror);
        self.named(Kind::Disk, primary, &best);
    }

    /// `node` and every link to it that is more than a spelling of an identifier.
    fn named(&mut self, kind: Kind, node: &str, mirror: &str) {
        let leads = |path: &str| {
            self.links.iter().find(|l| l.link == path).map_or(path.to_owned(), |l| l.node.clone())
        };
        let end = leads(node);
        let links = self.links.iter().filter(|l| leads(&l.node) == end).map(|l| l.link.clone());
        let names: Vec<_> = links.chain([node.to_owned(), end.clone()]).collect();
        let names = names.into_iter().filter(|name| !SPELLINGS.iter().any(|s| name.starts_with(s)));
        for name in names.collect::<Vec<_>>() {
            self.pair(kind, &name, mirror);
        }
    }

    fn table(&mut self, old: &Table, new: &Table, mirror: &str) -> Result<(), Mismatch> {
        if old.kind != new.kind {
            return Err(Mismatch(format!("{mirror} has another kind of partition table than the primary")));
        }
        self.pair(Kind::Table, &old.pt_uuid(), &new.pt_uuid());
        for partition in &old.partitions {
            if let Content::LeftOut(content) = &partition.content {
                self.lost_partition(old, partition, content);
                continue;
            }
            let Some(twin) = new.partitions.iter().find(|p| p.number == partition.number) else {
                let text =
                    format!("{mirror} has no partition {} as {} is one", partition.number, partition.path);
                return Err(Mismatch(text));
            };
            let (from, to) = (old.part_uuid(partition), new.part_uuid(twin));
            self.pair(Kind::Partition, &from, &to);
            self.label(Kind::PartitionName, partition.name.as_ref(), twin.name.as_ref());
            if let Some(fs) = lost(&partition.content, &twin.content) {
                self.named(Kind::Node, &partition.path, "");
                self.lost_filesystem(fs);
                continue;
            }
            let name = device(&twin.content, &format!("PARTUUID={to}"));
            self.named(Kind::Node, &partition.path, &name);
            if let Content::Filesystem(_) = twin.content {
                self.pair(Kind::Root, &partition.path, &format!("PARTUUID={to}"));
            }
            self.content((&partition.path, &partition.content), (&twin.path, &twin.content), &name)?;
        }
        Ok(())
    }

    /// `name`: what `UUID=` or `PARTUUID=` calls what the mirror holds here.
    fn content(
        &mut self,
        (at, old): (&str, &Content),
        (there, new): (&str, &Content),
        name: &str,
    ) -> Result<(), Mismatch> {
        match (old, new) {
            (Content::Luks(old), Content::Luks(new)) => self.luks(old, new),
            (Content::Luks(old), _) => self.opened(old, there, new, name),
            (Content::Volumes(old), Content::Volumes(new)) => self.group(old, new),
            (Content::PhysicalVolume(old), Content::PhysicalVolume(new)) => {
                self.pair(Kind::PhysicalUuid, &old.uuid, &new.uuid);
                Ok(())
            }
            (Content::Filesystem(old), Content::Filesystem(new)) if alike(old.kind, new.kind) => {
                self.pair(Kind::Uuid, &old.uuid, &new.uuid);
                self.label(Kind::Label, old.label.as_ref(), new.label.as_ref());
                Ok(())
            }
            (Content::Swap(old), Content::Swap(new)) => {
                self.pair(Kind::Uuid, &old.uuid, &new.uuid);
                self.label(Kind::Label, old.label.as_ref(), new.label.as_ref());
                Ok(())
            }
            (Content::RandomSwap(old), Content::Filesystem(new)) => {
                self.pair(Kind::Uuid, old.label.as_ref().map_or("", |old| &old.uuid), &new.uuid);
                let label = old.label.as_ref().and_then(|old| old.label.as_ref());
                self.label(Kind::Label, label, new.label.as_ref());
                Ok(())
            }
            (Content::RandomSwap(old), _) if old.label.is_none() => Ok(()),
            (Content::Empty | Content::BiosBoot | Content::Extended, _) => Ok(()),
            _ => Err(Mismatch(format!("{at} holds {}, the mirror's {there} {}", what(old), what(new)))),
        }
    }

    fn luks(&mut self, old: &Luks, new: &Luks) -> Result<(), Mismatch> {
        self.pair(Kind::Uuid, &old.uuid, &new.uuid);
        self.label(Kind::Label, old.label.as_ref(), new.label.as_ref());
        let Some(mapper) = &old.mapper else { return Ok(()) };
        let Some(open) = &new.mapper else {
            return Err(Mismatch(format!("the mirror's container {} is closed", new.path)));
        };
        // dracut and Anaconda name a container by its UUID: so they will name the mirror's.
        let by_uuid = *mapper == format!("luks-{}", old.uuid);
        let at_boot = if by_uuid { format!("luks-{}", new.uuid) } else { open.clone() };
        self.pair(Kind::Mapper, mapper, &at_boot);
        let (from, to) = (format!("/dev/mapper/{mapper}"), format!("/dev/mapper/{open}"));
        let name = device(&new.content, &format!("/dev/mapper/{at_boot}"));
        self.named(Kind::Node, &from, &name);
        self.content((&from, &old.content), (&to, &new.content), &name)
    }

    /// The primary's container where the mirror has none: what it holds is compared with what lies there plainly.
    fn opened(&mut self, old: &Luks, there: &str, new: &Content, name: &str) -> Result<(), Mismatch> {
        self.pair(Kind::Uuid, &old.uuid, "");
        self.label(Kind::Label, old.label.as_ref(), Some(&String::new()));
        let Some(mapper) = &old.mapper else {
            return Err(Mismatch(format!("{} is encrypted, the mirror's {there} is not", old.path)));
        };
        self.pair(Kind::Mapper, mapper, "");
        let open = format!("/dev/mapper/{mapper}");
        self.pair(Kind::Node, &open, name);
        self.named(Kind::Node, &open, name);
        self.content((&open, &old.content), (there, new), name)
    }

    fn group(&mut self, old: &VolumeGroup, new: &VolumeGroup) -> Result<(), Mismatch> {
        self.pair(Kind::Group, &old.name, &new.name);
        self.pair(Kind::GroupUuid, &old.uuid, &new.uuid);
        self.pair(Kind::PhysicalUuid, &old.pv_uuid, &new.pv_uuid);
        for volume in &old.volumes {
            let full = format!("{}/{}", old.name, volume.name);
            let Some(twin) = new.volumes.iter().find(|lv| lv.name == volume.name) else {
                self.lost_volume(&full, volume);
                continue;
            };
            self.pair(Kind::Volume, &full, &format!("{}/{}", new.name, twin.name));
            self.pair(Kind::VolumeUuid, &volume.uuid, &twin.uuid);
            if let Some(fs) = lost(&volume.content, &twin.content) {
                self.lost_filesystem(fs);
                continue;
            }
            let name = device(&twin.content, &twin.path);
            self.volume_links(&old.name, volume, &name);
            self.content((&volume.path, &volume.content), (&twin.path, &twin.content), &name)?;
        }
        Ok(())
    }

    /// The node and /dev/GROUP/VOLUME are spellings of `group/volume`.
    fn volume_links(&mut self, group: &str, volume: &LogicalVolume, name: &str) {
        let before = self.pairs.len();
        self.named(Kind::Node, &volume.path, name);
        let own = format!("/dev/{group}/");
        let links = self.pairs.split_off(before);
        self.pairs.extend(links.into_iter().filter(|p| !p.primary.starts_with(&own)));
    }

    fn lost_filesystem(&mut self, fs: &Filesystem) {
        self.pair(Kind::Uuid, &fs.uuid, "");
        self.label(Kind::Label, fs.label.as_ref(), Some(&String::new()));
    }

    fn lost_volume(&mut self, full: &str, volume: &LogicalVolume) {
        self.pair(Kind::Volume, full, "");
        self.pair(Kind::VolumeUuid, &volume.uuid, "");
        self.lost(&volume.content);
    }

    /// A partition whose content the mirror shall not have: its own has nothing that could be mounted.
    fn lost_partition(&mut self, table: &Table, partition: &Partition, content: &Content) {
        let nothing = Some(&String::new());
        self.pair(Kind::Partition, &table.part_uuid(partition), "");
        self.label(Kind::PartitionName, partition.name.as_ref(), nothing);
        self.named(Kind::Node, &partition.path, "");
        self.lost(content);
    }

    fn lost(&mut self, content: &Content) {
        let (uuid, label) = match content {
            Content::Filesystem(fs) => (Some(&fs.uuid), fs.label.as_ref()),
            Content::Swap(swap) => (Some(&swap.uuid), swap.label.as_ref()),
            Content::Luks(luks) => (Some(&luks.uuid), luks.label.as_ref()),
            Content::Unsupported(thing) => (thing.uuid.as_ref(), thing.label.as_ref()),
            _ => (None, None),
        };
        self.label(Kind::Uuid, uuid, Some(&String::new()));
        self.label(Kind::Label, label, Some(&String::new()));
        match content {
            Content::Luks(luks) => {
                luks.mapper.iter().for_each(|name| self.pair(Kind::Node, &format!("/dev/mapper/{name}"), ""));
                self.lost(&luks.content);
            }
            Content::Volumes(vg) => {
                self.pair(Kind::Group, &vg.name, "");
                self.pair(Kind::GroupUuid, &vg.uuid, "");
                self.pair(Kind::PhysicalUuid, &vg.pv_uuid, "");
                vg.volumes.iter().for_each(|lv| self.lost_volume(&format!("{}/{}", vg.name, lv.name), lv));
            }
            Content::PhysicalVolume(pv) => self.pair(Kind::PhysicalUuid, &pv.uuid, ""),
            _ => {}
        }
    }
}

/// The primary's file system, where the mirror holds none of its kind and no boot needs it.
fn lost<'a>(old: &'a Content, new: &Content) -> Option<&'a Filesystem> {
    let Content::Filesystem(fs) = old else { return None };
    let is_there = matches!(new, Content::Filesystem(new) if alike(fs.kind, new.kind));
    (!is_there && !fs.target().is_some_and(boots)).then_some(fs)
}

/// `UUID=…` of what a piece holds, or `otherwise`.
fn device(content: &Content, otherwise: &str) -> String {
    match content {
        Content::Filesystem(fs) => format!("UUID={}", fs.uuid),
        Content::Swap(swap) => format!("UUID={}", swap.uuid),
        Content::Luks(luks) => format!("UUID={}", luks.uuid),
        _ => otherwise.to_owned(),
    }
}

/// ext4's driver mounts its older kin.
fn alike(old: FsKind, new: FsKind) -> bool {
    let ext = |kind| matches!(kind, FsKind::Ext2 | FsKind::Ext3 | FsKind::Ext4);
    old == new || (ext(old) && ext(new))
}

fn what(content: &Content) -> String {
    match content {
        Content::Empty => "nothing".into(),
        Content::Table(_) => "a partition table".into(),
        Content::Luks(_) => "an encrypted container".into(),
        Content::Volumes(vg) => format!("the volume group {}", vg.name),
        Content::PhysicalVolume(pv) => format!("a part of the volume group {}", pv.group),
        Content::Filesystem(fs) => format!("a file system ({})", fs.kind.name()),
        Content::Swap(_) => "swap space".into(),
        Content::RandomSwap(_) => "swap space with a random key".into(),
        Content::BiosBoot => "GRUB's core image".into(),
        Content::Extended => "logical partitions".into(),
        Content::Unsupported(thing) => thing.what.clone(),
        Content::LeftOut(_) => "what is left out".into(),
    }
}
