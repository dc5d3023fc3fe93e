//! What LVM has made of a physical volume: the group, if the whole of it lies on this disk, and its volumes.

use super::content::{Place, Reader};
use super::machine::is_named;
use super::probe;
use super::uses;
use crate::layer::blkid::Signature;
use crate::layer::lsblk::BlockDevice;
use crate::layer::lvm::{self, Group, Volume};
use crate::layout::{Content, LogicalVolume, PhysicalVolume, Unsupported, VolumeGroup};
use anyhow::Result;

impl Reader<'_> {
    /// The group on `device`, or why there is none that can be mirrored. Of a group on several physical volumes each is
    /// told alone first: `gather` puts them together.
    pub(super) fn volumes(&self, device: &BlockDevice, signature: &Signature) -> Result<Content> {
        let no = |what: String| Ok(self.unsupported(device, signature, what));
        let Some(row) = self.physical_volume(device, signature) else {
            if self.machine.physical_volumes.is_empty() {
                return Err(probe::missing("pvs").into());
            }
            return no("an LVM physical volume that LVM does not use".to_owned());
        };
        let Some(name) = &row.group else {
            return no("an LVM physical volume in no volume group".to_owned());
        };
        let groups: Vec<_> = self.groups_named(name).collect();
        let [group] = groups.as_slice() else {
            return no(format!("an LVM physical volume; {} volume groups are named {name}", groups.len()));
        };
        let pv = PhysicalVolume {
            path: device.path.clone(),
            uuid: row.uuid.clone(),
            group: name.clone(),
            data_offset: row.data_offset,
        };
        if group.physical_volumes == 1 {
            return self.group(&pv, group);
        }
        let all: Vec<_> =
            self.machine.physical_volumes.iter().filter(|pv| pv.group.as_ref() == Some(name)).collect();
        if all.iter().all(|other| self.is_on_the_disk_of(device, other)) {
            return Ok(Content::PhysicalVolume(pv));
        }
        let nodes: Vec<&str> = all.iter().map(|pv| pv.path.as_str()).collect();
        no(format!("a part of the volume group {name}, which spans {}", nodes.join(" and ")))
    }

    /// Puts each group that lies on several physical volumes of one disk where the last of them is: there, and not
    /// before, it can be made.
    pub(super) fn gather(&self, content: &mut Content) -> Result<()> {
        let mut members = Vec::new();
        collect(content, &mut members);
        let mut seen: Vec<String> = Vec::new();
        for member in members.into_iter().rev() {
            let Content::PhysicalVolume(pv) = &*member else { continue };
            if seen.contains(&pv.group) {
                continue;
            }
            seen.push(pv.group.clone());
            let group = self.groups_named(&pv.group).next();
            if let Some(group) = group {
                *member = self.group(&pv.clone(), group)?;
            }
        }
        Ok(())
    }

    fn groups_named(&self, name: &str) -> impl Iterator<Item = &Group> {
        self.machine.groups.iter().filter(move |group| group.name == name)
    }

    /// LVM's row for `device`: by its node; by UUID only where LVM names it as nothing else that is there.
    fn physical_volume(&self, device: &BlockDevice, signature: &Signature) -> Option<&lvm::PhysicalVolume> {
        let rows = &self.machine.physical_volumes;
        let is_elsewhere =
            |pv: &lvm::PhysicalVolume| self.machine.walk().any(|other| is_named(other, &pv.path));
        let by_uuid =
            |pv: &&lvm::PhysicalVolume| Some(&pv.uuid) == signature.uuid.as_ref() && !is_elsewhere(pv);
        rows.iter().find(|pv| is_named(device, &pv.path)).or_else(|| rows.iter().find(by_uuid))
    }

    /// Whether all of `pv` lies on the one disk that `device` lies on; a missing one, which LVM calls `[unknown]`, does not.
    fn is_on_the_disk_of(&self, device: &BlockDevice, pv: &lvm::PhysicalVolume) -> bool {
        let Some(other) = self.machine.walk().find(|other| is_named(other, &pv.path)) else { return false };
        let paths =
            |device| self.machine.disks_below(device).iter().map(|disk| &disk.path).collect::<Vec<_>>();
        let disks = paths(device);
        disks.len() == 1 && paths(other) == disks
    }

    fn group(&self, pv: &PhysicalVolume, group: &Group) -> Result<Content> {
        let volumes = self.machine.volumes.iter().filter(|v| v.group == group.name && !v.hidden);
        let mut volumes: Vec<LogicalVolume> =
            volumes.map(|volume| self.volume(&group.uuid, volume)).collect::<Result<_>>()?;
        volumes.sort_by(|a, b| a.name.cmp(&b.name));
        Ok(Content::Volumes(VolumeGroup {
            pv_path: pv.path.clone(),
            pv_uuid: pv.uuid.clone(),
            name: group.name.clone(),
            uuid: group.uuid.clone(),
            extent_size: group.extent_size,
            extents: group.extents,
            data_offset: pv.data_offset,
            volumes,
        }))
    }

    fn volume(&self, group_uuid: &str, volume: &Volume) -> Result<LogicalVolume> {
        let mapper = lvm::mapper_name(&volume.group, &volume.name);
        let device = self.machine.walk().find(|device| device.kind == "lvm" && device.name == mapper);
        let unsupported =
            |what: String| Unsupported { path: volume.path.clone(), what, ..Unsupported::default() };
        let by_id = format!("{group_uuid}{}", volume.uuid).replace('-', "");
        let links = vec![volume.path.clone(), format!("/dev/disk/by-id/dm-uuid-LVM-{by_id}")];
        let place = device.map(|device| Place { links, ..Place::bare(device) });
        let content = match (volume.peculiarity(), place) {
            (Some(what), None) => Content::Unsupported(unsupported(what)),
            (None, None) => Content::Unsupported(unsupported("a volume that is not active".to_owned())),
            (Some(what), Some(place)) => {
                // A snapshot has its origin's identifiers.
                let signature = match volume.origin {
                    None => self.signature(place.device).unwrap_or_default(),
                    Some(_) => Signature::default(),
                };
                Content::Unsupported(Unsupported {
                    in_use: uses::uses(self.machine, place.device, &signature),
                    targets: self.targets(&place, &signature),
                    uuid: signature.uuid,
                    label: signature.label,
                    ..unsupported(what)
                })
            }
            (None, Some(place)) => self.content(&place, &self.signature(place.device)?)?,
        };
        Ok(LogicalVolume {
            name: volume.name.clone(),
            uuid: volume.uuid.clone(),
            path: volume.path.clone(),
            size: volume.size,
            content,
        })
    }
}

/// Every physical volume without its group, in the order of the table.
fn collect<'a>(content: &'a mut Content, members: &mut Vec<&'a mut Content>) {
    match content {
        Content::PhysicalVolume(_) => members.push(content),
        Content::Table(table) => table.partitions.iter_mut().for_each(|p| collect(&mut p.content, members)),
        Content::Luks(luks) => collect(&mut luks.content, members),
        Content::Volumes(vg) => vg.volumes.iter_mut().for_each(|lv| collect(&mut lv.content, members)),
        _ => {}
    }
}
