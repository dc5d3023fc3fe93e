//! What LVM has made of a physical volume: the group, if the whole of it lies there, and its volumes.

use super::content::{Place, Reader};
use super::machine::is_named;
use super::probe;
use super::uses;
use crate::layer::blkid::Signature;
use crate::layer::lsblk::BlockDevice;
use crate::layer::lvm::{self, PhysicalVolume, Volume};
use crate::layout::{Content, LogicalVolume, Unsupported, VolumeGroup};
use anyhow::Result;

impl Reader<'_> {
    /// The group on `device`, or why there is none that can be mirrored.
    pub(super) fn volumes(&self, device: &BlockDevice, signature: &Signature) -> Result<Content> {
        let no = |what: String| Ok(self.unsupported(device, signature, what));
        let Some(pv) = self.physical_volume(device, signature) else {
            if self.machine.physical_volumes.is_empty() {
                return Err(probe::missing("pvs").into());
            }
            return no("an LVM physical volume that LVM does not use".to_owned());
        };
        let Some(name) = &pv.group else {
            return no("an LVM physical volume in no volume group".to_owned());
        };
        let groups: Vec<_> = self.machine.groups.iter().filter(|group| group.name == *name).collect();
        let [group] = groups.as_slice() else {
            return no(format!("an LVM physical volume; {} volume groups are named {name}", groups.len()));
        };
        if group.physical_volumes != 1 {
            let all = self.machine.physical_volumes.iter().filter(|pv| pv.group.as_ref() == Some(name));
            let nodes: Vec<&str> = all.map(|pv| pv.path.as_str()).collect();
            return no(format!("a part of the volume group {name}, which spans {}", nodes.join(" and ")));
        }
        let volumes = self.machine.volumes.iter().filter(|volume| volume.group == *name && !volume.hidden);
        let mut volumes: Vec<LogicalVolume> =
            volumes.map(|volume| self.volume(device, &group.uuid, volume)).collect::<Result<_>>()?;
        volumes.sort_by(|a, b| a.name.cmp(&b.name));
        Ok(Content::Volumes(VolumeGroup {
            pv_path: device.path.clone(),
            pv_uuid: pv.uuid.clone(),
            name: name.clone(),
            uuid: group.uuid.clone(),
            extent_size: group.extent_size,
            extents: group.extents,
            data_offset: pv.data_offset,
            volumes,
        }))
    }

    /// LVM's row for `device`: by its node; by UUID only where LVM names it as nothing else that is there.
    fn physical_volume(&self, device: &BlockDevice, signature: &Signature) -> Option<&PhysicalVolume> {
        let rows = &self.machine.physical_volumes;
        let is_elsewhere = |pv: &PhysicalVolume| self.machine.walk().any(|other| is_named(other, &pv.path));
        let by_uuid = |pv: &&PhysicalVolume| Some(&pv.uuid) == signature.uuid.as_ref() && !is_elsewhere(pv);
        rows.iter().find(|pv| is_named(device, &pv.path)).or_else(|| rows.iter().find(by_uuid))
    }

    fn volume(&self, pv: &BlockDevice, group_uuid: &str, volume: &Volume) -> Result<LogicalVolume> {
        let mapper = lvm::mapper_name(&volume.group, &volume.name);
        let device = pv.walk().into_iter().find(|device| device.kind == "lvm" && device.name == mapper);
        let unsupported = |what: String, in_use: Vec<String>| {
            Content::Unsupported(Unsupported { path: volume.path.clone(), what, in_use, no_node: false })
        };
        let content = match (volume.peculiarity(), device) {
            (Some(what), None) => unsupported(what, Vec::new()),
            (Some(what), Some(device)) => {
                unsupported(what, uses::uses(self.machine, device, &Signature::default()))
            }
            (None, None) => unsupported("a volume that is not active".to_owned(), Vec::new()),
            (None, Some(device)) => {
                let by_id = format!("{group_uuid}{}", volume.uuid).replace('-', "");
                let links = vec![volume.path.clone(), format!("/dev/disk/by-id/dm-uuid-LVM-{by_id}")];
                self.content(&Place { links, ..Place::bare(device) }, &self.signature(device)?)?
            }
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
