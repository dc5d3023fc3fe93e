//! Which partitions of the mirror may differ in size from the primary's, and how small each can be.
//!
//! A volume group on several partitions of the disk gives from the last of them first: of 19 GiB and 29 GiB whose volumes
//! need 12 GiB, the second can do with one extent, and the first with what 12 GiB lack then.

use super::fit;
use crate::layout::{Content, Partition, Table, VolumeGroup};
use crate::units::{Bytes, MIB};

/// A partition whose size may differ.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Elastic {
    /// Its number.
    pub number: u32,
    /// The least it can do with.
    pub least: Bytes,
    /// Whether it may take what a larger disk has more.
    pub grows: bool,
}

/// A physical volume in a partition, maybe in an encrypted container.
struct Physical<'a> {
    /// The bytes of the partition that lie before its first extent.
    before: Bytes,
    group: &'a str,
    volumes: Option<&'a VolumeGroup>,
}

/// The partitions that take the difference between the disks, in the order in which they give: what is left out, which costs
/// nothing; then those of the volume group that lies last on the disk, else the last of all that is no swap. The first of
/// these also takes what a larger disk has more.
pub fn elastic(table: &Table) -> Vec<Elastic> {
    let core = table.partitions.iter().find(|p| p.content == Content::BiosBoot).map_or(Bytes(0), |p| p.start);
    // GRUB's boot code holds the place of its core image.
    let left_out =
        table.partitions.iter().filter(|p| matches!(p.content, Content::LeftOut(_)) && p.start > core);
    let left_out =
        left_out.map(|p| Elastic { number: p.number, least: fit::least(&p.content, p.size), grows: false });
    left_out.chain(with_content(table)).collect()
}

fn with_content(table: &Table) -> Vec<Elastic> {
    let mut by_place: Vec<&Partition> =
        table.partitions.iter().filter(|p| !matches!(p.content, Content::Extended)).collect();
    by_place.sort_by_key(|p| std::cmp::Reverse(p.start));
    let is_fixed = |p: &&&Partition| {
        matches!(
            p.content,
            Content::Swap(_) | Content::RandomSwap(_) | Content::BiosBoot | Content::LeftOut(_)
        )
    };
    match by_place.iter().find_map(|p| physical(&p.content)) {
        Some(last) => members(&by_place, last.group),
        None => by_place
            .iter()
            .find(|p| !is_fixed(p))
            .map(|p| Elastic { number: p.number, least: fit::least(&p.content, p.size), grows: true })
            .into_iter()
            .collect(),
    }
}

/// The partitions of one group: those further up keep their size as long as those behind them have something to give.
fn members(by_place: &[&Partition], group: &str) -> Vec<Elastic> {
    let found = by_place.iter().filter_map(|p| Some((*p, physical(&p.content)?)));
    let found: Vec<_> = found.filter(|(_, physical)| physical.group == group).collect();
    let Some(vg) = found.iter().find_map(|(_, physical)| physical.volumes) else { return Vec::new() };
    let room = |p: &Partition, physical: &Physical| fit::extents(vg, p.size.saturating_sub(physical.before));
    let mut needed = fit::least_extents(vg);
    let mut before: u64 = found.iter().map(|(p, physical)| room(p, physical)).sum();
    let mut all = Vec::new();
    for (partition, physical) in &found {
        let own = room(partition, physical);
        before -= own;
        let least = needed.saturating_sub(before).max(1).min(own);
        needed = needed.saturating_sub(least);
        let bytes = physical.before + Bytes(least * vg.extent_size.0);
        all.push(Elastic {
            number: partition.number,
            least: bytes.round_up(MIB).min(partition.size),
            grows: true,
        });
    }
    all
}

fn physical(content: &Content) -> Option<Physical<'_>> {
    match content {
        Content::Volumes(vg) => Some(Physical { before: vg.data_offset, group: &vg.name, volumes: Some(vg) }),
        Content::PhysicalVolume(pv) => {
            Some(Physical { before: pv.data_offset, group: &pv.group, volumes: None })
        }
        Content::Luks(luks) => {
            physical(&luks.content).map(|inner| Physical { before: inner.before + luks.data_offset, ..inner })
        }
        _ => None,
    }
}
