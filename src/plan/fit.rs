//! Whether what is used still fits, and how volumes share what a smaller disk lacks.

use crate::layout::{Content, FsKind, LogicalVolume, VolumeGroup};
use crate::units::{Bytes, MIB};

/// Free space that a file system keeps beyond what is used now, in percent of that.
const HEADROOM_PERCENT: u64 = 15;
/// mkfs.xfs makes nothing smaller (xfsprogs 5.19 and later).
const LEAST_XFS: Bytes = Bytes::mib(300);

/// The least room that `content`, now `size` long, can do with. What is not known (an unmounted file system, swap,
/// an empty volume) keeps its size.
pub fn least(content: &Content, size: Bytes) -> Bytes {
    match content {
        Content::Filesystem(fs) => {
            let (Some(used), Some(capacity)) = (fs.used, fs.capacity) else { return size };
            let overhead = size.saturating_sub(capacity);
            let floor = if fs.kind == FsKind::Xfs { LEAST_XFS } else { Bytes::mib(1) };
            let needed = Bytes(used.0 + used.0 * HEADROOM_PERCENT / 100) + overhead;
            needed.max(floor).round_up(MIB).min(size)
        }
        Content::Luks(luks) => luks.data_offset + least(&luks.content, size.saturating_sub(luks.data_offset)),
        Content::Volumes(vg) => {
            let volumes = Bytes(least_extents(vg) * vg.extent_size.0);
            (vg.data_offset + volumes).round_up(MIB).min(size)
        }
        Content::LeftOut(_) => Bytes::mib(1).min(size),
        _ => size,
    }
}

/// How many of the group's extents `room` has.
pub fn extents(vg: &VolumeGroup, room: Bytes) -> u64 {
    room.0 / vg.extent_size.0
}

/// How many extents the group's volumes can do with.
pub fn least_extents(vg: &VolumeGroup) -> u64 {
    vg.volumes.iter().map(|lv| least_of(lv, vg.extent_size.0)).sum()
}

/// The sizes of the group's volumes where it has `available` extents: the same where they fit, else each gives of what
/// it does not use, in proportion.
///
/// # Errors
/// How many bytes are missing even then.
pub fn fit(vg: &VolumeGroup, available: u64) -> Result<Vec<Bytes>, Bytes> {
    let extent = vg.extent_size.0;
    let extents = |bytes: Bytes| bytes.0.div_ceil(extent);
    let wanted: Vec<u64> = vg.volumes.iter().map(|lv| extents(lv.size)).collect();
    let lacking = wanted.iter().sum::<u64>().saturating_sub(available);
    let slack: Vec<u64> =
        vg.volumes.iter().zip(&wanted).map(|(lv, n)| n - least_of(lv, extent).min(*n)).collect();
    let total_slack: u64 = slack.iter().sum();
    if lacking > total_slack {
        return Err(Bytes((lacking - total_slack) * extent));
    }
    let mut left = lacking;
    let mut sizes = Vec::new();
    for (n, own) in wanted.iter().zip(&slack) {
        let share = (lacking as u128 * *own as u128).div_ceil(total_slack.max(1) as u128) as u64;
        let give = share.min(left).min(*own);
        left -= give;
        sizes.push(Bytes((n - give) * extent));
    }
    Ok(sizes)
}

fn least_of(lv: &LogicalVolume, extent: u64) -> u64 {
    least(&lv.content, lv.size).0.div_ceil(extent)
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::layout::{Filesystem, FsParameters, Swap};

    fn filesystem(size: Bytes, used: Option<Bytes>) -> Content {
        Content::Filesystem(Filesystem {
            kind: FsKind::Ext4,
            path: "/dev/www/root".into(),
            uuid: "u".into(),
            label: None,
            size,
            used,
            capacity: used.map(|_| size),
            mounted_at: vec!["/".into()],
            fstab_target: None,
            parameters: FsParameters::Vfat { bits: 32 },
        })
    }

    fn group(volumes: Vec<(Bytes, Content)>) -> VolumeGroup {
        let volumes = volumes
            .into_iter()
            .enumerate()
            .map(|(n, (size, content))| LogicalVolume {
                name: format!("lv{n}"),
                uuid: String::new(),
                path: format!("/dev/www/lv{n}"),
                size,
                content,
            })
            .collect();
        VolumeGroup {
            pv_path: "/dev/sda5".into(),
            pv_uuid: String::new(),
            name: "www".into(),
            uuid: String::new(),
            extent_size: Bytes::mib(4),
            extents: 1000,
            data_offset: Bytes::mib(1),
            volumes,
        }
    }

    fn swap() -> Content {
        Content::Swap(Swap { path: String::new(), uuid: String::new(), label: None, active: true })
    }

    fn fit_on(vg: &VolumeGroup, pv_size: Bytes) -> Result<Vec<Bytes>, Bytes> {
        fit(vg, extents(vg, pv_size - vg.data_offset))
    }

    #[test]
    fn volumes_that_fit_keep_their_size() {
        let vg = group(vec![(Bytes::mib(400), swap()), (Bytes::mib(800), filesystem(Bytes::mib(800), None))]);
        assert_eq!(fit_on(&vg, Bytes::mib(1201)), Ok(vec![Bytes::mib(400), Bytes::mib(800)]));
        assert_eq!(fit_on(&vg, Bytes::mib(1200)), Err(Bytes::mib(4)), "nothing is known to be free");
    }

    #[test]
    fn volumes_give_of_what_they_do_not_use_and_swap_gives_nothing() {
        let vg = group(vec![
            (Bytes::mib(400), swap()),
            (Bytes::mib(800), filesystem(Bytes::mib(800), Some(Bytes::mib(100)))),
            (Bytes::mib(400), filesystem(Bytes::mib(400), Some(Bytes::mib(200)))),
        ]);
        let sizes = fit_on(&vg, Bytes::mib(1201)).expect("1600 less 400 fits");
        assert_eq!(sizes[0], Bytes::mib(400));
        assert_eq!(sizes.iter().copied().sum::<Bytes>(), Bytes::mib(1200));
        assert!(sizes[1] >= Bytes::mib(116) && sizes[2] >= Bytes::mib(232), "{sizes:?}");
        // 400 swap + 116 + 232 are the least; one extent below that does not do.
        assert_eq!(fit_on(&vg, Bytes::mib(749)).map(|s| s.len()), Ok(3));
        assert_eq!(fit_on(&vg, Bytes::mib(745)), Err(Bytes::mib(4)));
    }
}
