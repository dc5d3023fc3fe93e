//! Where the mirror's partitions lie: in bytes, so that sector sizes may differ.
//!
//! One partition is *elastic*: it takes what a larger disk has more, and gives what a smaller one lacks; of a volume group
//! on several partitions the others give too, when it has nothing left. All others keep their size; those before it keep
//! their place (GRUB's images hold absolute sector numbers).

use super::elastic::Elastic;
use crate::layout::{Content, Disk, Partition, Table, TableKind};
use crate::units::{Bytes, MIB};

/// What a GPT needs at its end: the backup header and 16 KiB of entries, rounded to the alignment.
const GPT_TAIL: u64 = MIB;

/// Where a partition of the mirror lies.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Place {
    /// The partition's number, the same on both disks.
    pub number: u32,
    /// Where it begins.
    pub start: Bytes,
    /// How long it is.
    pub size: Bytes,
}

/// The places of all partitions, in the table's order.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Geometry {
    /// Each partition's place.
    pub places: Vec<Place>,
    /// The number of the partition that takes what a larger disk has more, if there is one.
    pub elastic: Option<u32>,
}

/// The disk lacks so many bytes even if each elastic partition had its least size.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct TooSmall {
    /// How many.
    pub missing: Bytes,
}

/// Lays out `table` (of a disk of `primary` size and sectors) on `mirror`; `elastic` are the partitions that give, in order.
///
/// # Errors
/// `TooSmall` where the partitions do not fit.
pub fn geometry(
    table: &Table,
    elastic: &[Elastic],
    primary: &Disk,
    mirror: &Disk,
) -> Result<Geometry, TooSmall> {
    let first = elastic.iter().find(|e| e.grows).map(|e| e.number);
    let (places, end) = relaid(table, primary, mirror, &[]);
    let spare = usable_end(table.kind, mirror) as i64 - end as i64;
    let difference = if spare < 0 {
        spare
    } else {
        // The free space behind the primary's last partition is meant: only what the disk has more is handed out.
        spare.min((mirror.size.0 as i64 - primary.size.0 as i64).max(0))
    };
    let change = difference.div_euclid(MIB as i64) * MIB as i64;
    let changes = match change {
        0 => return Ok(Geometry { places, elastic: first }),
        1.. => first.map(|number| (number, change)).into_iter().collect(),
        _ => given(table, elastic, change.unsigned_abs())?,
    };
    Ok(Geometry { places: relaid(table, primary, mirror, &changes).0, elastic: first })
}

/// What each elastic partition gives of `lacking` bytes, in whole mebibytes.
fn given(table: &Table, elastic: &[Elastic], mut lacking: u64) -> Result<Vec<(u32, i64)>, TooSmall> {
    let mut changes = Vec::new();
    for Elastic { number, least, .. } in elastic {
        let size = table.partitions.iter().find(|p| p.number == *number).map_or(Bytes(0), |p| p.size);
        let gives = size.saturating_sub(*least).round_down(MIB).0.min(lacking);
        changes.push((*number, -(gives as i64)));
        lacking -= gives;
    }
    if lacking > 0 {
        return Err(TooSmall { missing: Bytes(lacking) });
    }
    Ok(changes)
}

/// Every partition's place when those in `changes` grow or shrink by so many bytes, and the end of the last.
fn relaid(table: &Table, primary: &Disk, mirror: &Disk, changes: &[(u32, i64)]) -> (Vec<Place>, u64) {
    let verbatim = primary.logical_sector == mirror.logical_sector;
    let align = |bytes: u64| if verbatim { bytes } else { bytes.div_ceil(MIB) * MIB };
    let mut by_place: Vec<&Partition> = table.partitions.iter().collect();
    by_place.sort_by_key(|p| (p.start, std::cmp::Reverse(p.size)));
    let mut shift = 0i64;
    let mut floor = 0;
    let mut places = Vec::new();
    for partition in by_place {
        let old_end = (partition.start + partition.size).0;
        // Each logical partition has a sector of its own in front of it, where the next link of the chain lies.
        let link = if !verbatim && is_logical(table.kind, partition.number) { MIB } else { 0 };
        let start = align((partition.start.0 as i64 + shift) as u64).max(floor + link);
        let change = changes.iter().find(|(number, _)| *number == partition.number).map_or(0, |(_, by)| *by);
        let size = align(partition.size.0) as i64 + change;
        let end = (start as i64 + size).max(0) as u64;
        floor = start;
        if !matches!(partition.content, Content::Extended) {
            shift = end as i64 - old_end as i64;
            floor = end;
        }
        places.push(Place { number: partition.number, start: Bytes(start), size: Bytes(size.max(0) as u64) });
    }
    enclose_logical(table, &mut places);
    let end = places.iter().map(|p| (p.start + p.size).0).max().unwrap_or(0);
    places.sort_by_key(|p| p.number);
    (places, end)
}

fn is_logical(kind: TableKind, number: u32) -> bool {
    kind == TableKind::Dos && number > 4
}

/// Gives the extended partition the end that its logical ones now need, with the same free tail as before.
fn enclose_logical(table: &Table, places: &mut [Place]) {
    let Some(extended) = table.partitions.iter().find(|p| matches!(p.content, Content::Extended)) else {
        return;
    };
    let logical = |number| is_logical(table.kind, number);
    let old_end = table.partitions.iter().filter(|p| logical(p.number)).map(|p| (p.start + p.size).0).max();
    let new_end = places.iter().filter(|p| logical(p.number)).map(|p| (p.start + p.size).0).max();
    let (Some(old_end), Some(new_end)) = (old_end, new_end) else { return };
    let tail = (extended.start + extended.size).0.saturating_sub(old_end);
    if let Some(place) = places.iter_mut().find(|p| p.number == extended.number) {
        place.size = Bytes(new_end + tail - place.start.0);
    }
}

/// The end of what partitions may use.
fn usable_end(kind: TableKind, disk: &Disk) -> u64 {
    match kind {
        TableKind::Gpt => disk.size.0.saturating_sub(GPT_TAIL),
        TableKind::Dos => disk.size.0.min((u32::MAX as u64) * disk.logical_sector as u64),
    }
}

/// How small a disk may be before its last partition has to give way: the end of the last partition and the table's
/// own tail.
pub fn needed(table: &Table) -> Bytes {
    let end = table.partitions.iter().map(|p| (p.start + p.size).0).max().unwrap_or(0);
    Bytes(end + if table.kind == TableKind::Gpt { GPT_TAIL } else { 0 })
}

#[cfg(test)]
mod tests {
    use super::*;

    fn disk(size: Bytes, sector: u32) -> Disk {
        Disk {
            path: "/dev/sdb".into(),
            model: None,
            serial: None,
            wwn: None,
            transport: None,
            size,
            logical_sector: sector,
            physical_sector: sector,
            rotational: false,
            read_only: false,
            discard: false,
        }
    }

    fn partition(number: u32, start: Bytes, size: Bytes, content: Content) -> Partition {
        Partition {
            number,
            path: format!("/dev/sda{number}"),
            start,
            size,
            type_id: "83".into(),
            uuid: None,
            name: None,
            attributes: None,
            bootable: false,
            content,
        }
    }

    fn procedure() -> Table {
        let partitions = vec![
            partition(1, Bytes::mib(1), Bytes::mib(254), Content::Empty),
            partition(2, Bytes(256 * MIB - 1024), Bytes::mib(3839) + Bytes(1024), Content::Extended),
            partition(5, Bytes::mib(256), Bytes::mib(3839), Content::Empty),
        ];
        Table { kind: TableKind::Dos, id: "0x01020304".into(), partitions }
    }

    fn laid(table: &Table, primary: Disk, mirror: Disk) -> Result<Geometry, TooSmall> {
        let last = table.partitions.last().expect("it has partitions").number;
        geometry(table, &[Elastic { number: last, least: Bytes::mib(1), grows: true }], &primary, &mirror)
    }

    fn sizes(geometry: &Geometry) -> Vec<(u32, u64, u64)> {
        geometry.places.iter().map(|p| (p.number, p.start.0 / MIB, p.size.0 / MIB)).collect()
    }

    #[test]
    fn an_equal_disk_is_partitioned_exactly_the_same() {
        let table = procedure();
        let same = laid(&table, disk(Bytes::gib(4), 512), disk(Bytes::gib(4), 512)).expect("it fits");
        let old: Vec<_> = table.partitions.iter().map(|p| (p.number, p.start, p.size)).collect();
        assert_eq!(same.places.iter().map(|p| (p.number, p.start, p.size)).collect::<Vec<_>>(), old);
    }

    #[test]
    fn on_a_larger_disk_the_last_partition_grows_and_its_extended_one_with_it() {
        let larger = laid(&procedure(), disk(Bytes::gib(4), 512), disk(Bytes::gib(6), 512)).expect("it fits");
        assert_eq!(sizes(&larger), [(1, 1, 254), (2, 255, 3839 + 2048), (5, 256, 3839 + 2048)]);
        let end = |n: usize| (larger.places[n].start + larger.places[n].size).0;
        assert_eq!(end(1), end(2), "the extended partition ends with its logical one");
    }

    #[test]
    fn on_a_smaller_disk_the_last_partition_gives_what_is_missing() {
        let smaller =
            laid(&procedure(), disk(Bytes::gib(4), 512), disk(Bytes::gib(3), 512)).expect("it fits");
        let last = smaller.places[2];
        assert_eq!((last.start, last.start + last.size), (Bytes::mib(256), Bytes::gib(3)));
        let tiny = laid(&procedure(), disk(Bytes::gib(4), 512), disk(Bytes::mib(128), 512));
        assert_eq!(tiny.expect_err("it does not fit").missing, Bytes::mib(4095 - 128 - 3839 + 1));
    }

    #[test]
    fn free_space_behind_the_last_partition_gives_way_before_any_partition_does() {
        let mut table = procedure();
        table.kind = TableKind::Gpt;
        table.partitions.truncate(1);
        let smaller = laid(&table, disk(Bytes::gib(4), 512), disk(Bytes::gib(1), 512)).expect("it fits");
        assert_eq!(sizes(&smaller), [(1, 1, 254)]);
    }

    #[test]
    fn another_sector_size_moves_partitions_to_whole_mebibytes() {
        let mut table = procedure();
        table.partitions[0].start = Bytes(63 * 512);
        let native = laid(&table, disk(Bytes::gib(4), 512), disk(Bytes::gib(5), 4096)).expect("it fits");
        for place in native.places.iter().filter(|p| p.number != 2) {
            assert_eq!((place.start.0 % MIB, place.size.0 % MIB), (0, 0), "{place:?}");
        }
        let (first, logical) = (native.places[0], native.places[2]);
        let extended = native.places[1];
        assert!(first.start + first.size <= extended.start, "partitions do not overlap: {native:?}");
        assert!(extended.start < logical.start, "the chain's first link lies before the logical partition");
    }

    #[test]
    fn an_mbr_partition_ends_at_two_to_the_thirty_second_sectors() {
        let huge =
            laid(&procedure(), disk(Bytes::gib(4), 512), disk(Bytes::gib(4096), 512)).expect("it fits");
        let last = huge.places[2];
        assert!((last.start + last.size).0 <= u32::MAX as u64 * 512);
        assert!((last.start + last.size).0 > (u32::MAX as u64 * 512) - 2 * MIB);
    }
}
