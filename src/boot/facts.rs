//! What there will be when the mirror boots alone: what lies on it, and on the disks that are neither the primary nor
//! gone with it.

use super::audit::Facts;
use super::bios;
use super::identify::Identities;
use crate::identity::Kind;
use crate::layer::lsblk::BlockDevice;
use crate::layout::{Content, Layout};
use crate::mirror;
use anyhow::Result;
use std::collections::BTreeSet;

impl Facts {
    /// The facts of an open mirror.
    ///
    /// # Errors
    /// Those of asking for the machine's disks and of reading the mirror's.
    pub fn of(identities: &Identities) -> Result<Facts> {
        let survey = &identities.survey;
        let mut facts = Facts {
            map: identities.map.clone(),
            cores: bios::cores(&survey.mirror)?,
            paths: identities.map.of(Kind::Disk).map(|pair| pair.mirror.clone()).collect(),
            ..Facts::default()
        };
        facts.mirror(&survey.mirror);
        let all = mirror::devices()?;
        let others = all
            .iter()
            .filter(|disk| disk.path != survey.primary.disk.path && disk.path != survey.mirror.disk.path);
        others.flat_map(BlockDevice::walk).for_each(|device| facts.other(device));
        Ok(facts)
    }

    fn mirror(&mut self, layout: &Layout) {
        if let Some(table) = layout.table() {
            self.table = table.pt_uuid();
            for partition in &table.partitions {
                self.part_uuids.insert(table.part_uuid(partition));
                self.part_labels.extend(partition.name.clone());
            }
        }
        for (_, content) in layout.walk() {
            match content {
                Content::Luks(luks) => {
                    self.containers.insert(luks.uuid.clone());
                    enter(&mut self.uuids, Some(&luks.uuid));
                    enter(&mut self.labels, luks.label.as_ref());
                }
                Content::Filesystem(fs) => {
                    enter(&mut self.uuids, Some(&fs.uuid));
                    enter(&mut self.labels, fs.label.as_ref());
                }
                Content::Swap(swap) => {
                    enter(&mut self.uuids, Some(&swap.uuid));
                    enter(&mut self.labels, swap.label.as_ref());
                }
                Content::Volumes(vg) => {
                    self.volumes
                        .extend(vg.volumes.iter().map(|volume| format!("{}/{}", vg.name, volume.name)));
                }
                _ => {}
            }
        }
    }

    fn other(&mut self, device: &BlockDevice) {
        enter(&mut self.uuids, device.uuid.as_ref());
        enter(&mut self.labels, device.label.as_ref());
        enter(&mut self.part_uuids, device.part_uuid.as_ref());
        self.paths.insert(device.path.clone());
    }
}

fn enter(set: &mut BTreeSet<String>, value: Option<&String>) {
    set.extend(value.cloned());
}
