//! What follows from what a verification found: for its record, and for the runs to come.

use super::damage::DamageFile;
use crate::record::{DifferenceRecord, VerifiedVolume, VerifyRecord};
use crate::tree::{Held, Side, Verified};

/// Differences that are kept in a record.
const MAX_DIFFERENCES: usize = 10_000;

/// Enters what was found on the file system `mount` into the record, and into `damage`: what is to be mended on the mirror,
/// and what of the primary is `held`.
pub fn enter(mount: &str, held: &Held, found: Verified, record: &mut VerifyRecord, damage: &mut DamageFile) {
    found.sound.iter().for_each(|path| held.doubt(path));
    record.volumes.push(VerifiedVolume {
        mount: mount.to_owned(),
        entries: found.entries,
        files: found.files,
        bytes: found.bytes,
        changed_since: found.changed_since,
        mirror_damaged: found.count(Side::Mirror),
        primary_damaged: found.count(Side::Source),
        unknown: found.count(Side::Unknown),
    });
    for difference in &found.differences {
        let path = &difference.path;
        let digest = difference.damage.as_ref().map(|found| DamageFile::hold(held, mount, path, found));
        let side = match difference.side {
            Side::Mirror => "mirror",
            Side::Source => "primary",
            Side::Unknown => "unknown",
        };
        if difference.side == Side::Mirror {
            damage.to_repair(mount, path);
        }
        if record.differences.len() < MAX_DIFFERENCES {
            let (path, what) = (path.to_string(), difference.what.to_string());
            let (mount, side) = (mount.to_owned(), side.to_owned());
            record.differences.push(DifferenceRecord { mount, path, side, what, digest });
        }
    }
    damage.take_over(mount, held, record.started);
}
