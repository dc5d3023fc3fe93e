//! LVM: physical volumes, and a group with its volumes as soon as the last of its physical volumes is there.

use super::super::fit;
use super::super::words::what;
use super::{Builder, MIRROR_NAME, too_small};
use crate::layer::lvm;
use crate::layout::VolumeGroup;
use crate::refusal::Refusal;
use crate::step::Check;
use crate::units::Bytes;

/// A physical volume of the mirror that waits for its group.
pub(super) struct Waiting {
    /// The primary's group.
    group: String,
    node: String,
    /// What it has for extents.
    room: Bytes,
}

impl Builder<'_> {
    /// Makes `node`, `size` long, a physical volume for the twin of the primary's `group`.
    pub(super) fn physical_volume(&mut self, group: &str, data_offset: Bytes, node: &str, size: Bytes) {
        self.run(format!("make {node} a physical volume"), lvm::create_pv(node), vec![]);
        let room = size.saturating_sub(data_offset);
        self.waiting.push(Waiting { group: group.to_owned(), node: node.to_owned(), room });
    }

    /// Makes the twin of `like` on the physical volumes that wait for it, the last of which is the one it stands with.
    pub(super) fn volumes(&mut self, like: &VolumeGroup) -> Result<(), Refusal> {
        let (physical, others) =
            std::mem::take(&mut self.waiting).into_iter().partition(|pv| pv.group == like.name);
        self.waiting = others;
        let physical: Vec<Waiting> = physical;
        let table = self.survey.primary.table().expect("a primary without a table is refused before");
        let extents = physical.iter().map(|pv| fit::extents(like, pv.room)).sum();
        let sizes = fit::fit(like, extents).map_err(|missing| too_small(self.survey, table, missing))?;
        let vg = self.free_vg();
        self.volume_group(&vg, like, physical.iter().map(|pv| pv.node.as_str()).collect());
        for (lv, new_size) in like.volumes.iter().zip(sizes) {
            let path = lvm::lv_path(&vg, &lv.name);
            self.piece(&lv.path, &path, what(&lv.content), lv.size, new_size);
            let check = Check::Volume { vg: vg.clone(), lv: lv.name.clone(), size: new_size.0 };
            let create = lvm::create_lv(&vg, &lv.name, new_size);
            self.run(format!("make the volume {vg}/{} ({new_size})", lv.name), create, vec![check]);
            self.content(&lv.content, &path, new_size)?;
        }
        Ok(())
    }

    fn volume_group(&mut self, vg: &str, like: &VolumeGroup, nodes: Vec<&str>) {
        let Some((last, others)) = nodes.split_last() else { return };
        let check = Check::Group {
            vg: vg.to_owned(),
            pv: (*last).to_owned(),
            other_pvs: others.iter().map(|node| (*node).to_owned()).collect(),
        };
        let create = lvm::create_vg(vg, like.extent_size, &nodes);
        self.run(format!("make the volume group {vg}"), create, vec![check]);
        self.close(format!("deactivate the volume group {vg}"), lvm::deactivate(vg));
        self.plan.volume_groups.push(vg.to_owned());
    }

    fn free_vg(&mut self) -> String {
        let base = self.options.vg.clone().unwrap_or(MIRROR_NAME.to_owned());
        let name = std::iter::once(base.clone())
            .chain((2..).map(|n| format!("{base}{n}")))
            .find(|name| !self.vg_names.contains(name))
            .expect("there are more numbers than volume groups");
        self.vg_names.push(name.clone());
        name
    }
}
