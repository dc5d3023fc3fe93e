//! What filling a device costs, before it has been measured. Pure.

use crate::units::{Bytes, MIB};
use std::time::Duration;

/// What a rotating disk is assumed to write, averaged from its outer to its inner tracks: a 7200 rpm disk of the
/// 2010s begins at 180–250 MB/s and ends at half of that.
pub const ROTATING_BYTES_PER_SEC: u64 = 150 * MIB;
/// What an SSD is assumed to write for hours: one on SATA, after its fast cache is used up.
pub const SSD_BYTES_PER_SEC: u64 = 400 * MIB;

/// How long writing `bytes` to a disk takes, for a plan; the fill itself measures a sample and says it better.
pub fn estimate(rotational: bool, bytes: Bytes) -> Duration {
    let rate = if rotational { ROTATING_BYTES_PER_SEC } else { SSD_BYTES_PER_SEC };
    Duration::from_secs_f64(bytes.0 as f64 / rate as f64)
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::units::duration;

    #[test]
    fn a_terabyte_takes_a_rotating_disk_the_better_part_of_two_hours() {
        assert_eq!(duration(estimate(true, Bytes::gib(931))), "1h45m");
        assert!(estimate(false, Bytes::gib(931)) < estimate(true, Bytes::gib(931)));
    }
}
