//! The clocks: that of the day, which an administrator sets, and that of the machine's life, which nobody does.

use super::stat::Timestamp;
use std::io;
use std::time::{SystemTime, UNIX_EPOCH};

/// A moment on both clocks.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Moment {
    /// The time of day, as file systems keep it.
    pub real: Timestamp,
    /// Since the machine was started, sleep included (`CLOCK_BOOTTIME`), in nanoseconds.
    pub since_boot: u64,
    /// Which start of the machine that was (`/proc/sys/kernel/random/boot_id`).
    pub boot_id: String,
}

impl Moment {
    /// Now.
    ///
    /// # Errors
    /// Those of reading the machine's boot id.
    pub fn now() -> io::Result<Moment> {
        let boot = rustix::time::clock_gettime(rustix::time::ClockId::Boottime);
        let boot_id = std::fs::read_to_string("/proc/sys/kernel/random/boot_id")?.trim().to_owned();
        let since_boot = boot.tv_sec as u64 * 1_000_000_000 + boot.tv_nsec as u64;
        Ok(Moment { real: real_time(), since_boot, boot_id })
    }
    /// By how many nanoseconds the time of day was set back between this moment and a later one; less than nothing if
    /// it was set forward. Over a restart of the machine only a time of day before this one tells, and says nothing of
    /// how far it was set back.
    pub fn set_back_until(&self, later: &Moment) -> i128 {
        let passed_by_day = nanos(later.real) - nanos(self.real);
        if self.boot_id != later.boot_id {
            return (-passed_by_day).max(0);
        }
        i128::from(later.since_boot) - i128::from(self.since_boot) - passed_by_day
    }
}

fn nanos(time: Timestamp) -> i128 {
    i128::from(time.secs) * 1_000_000_000 + i128::from(time.nanos)
}

fn real_time() -> Timestamp {
    let now = SystemTime::now();
    match now.duration_since(UNIX_EPOCH) {
        Ok(since) => Timestamp { secs: since.as_secs() as i64, nanos: since.subsec_nanos() },
        Err(before) => Timestamp { secs: -(before.duration().as_secs() as i64) - 1, nanos: 0 },
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn moment(secs: i64, boot_secs: u64, boot_id: &str) -> Moment {
        let since_boot = boot_secs * 1_000_000_000;
        Moment { real: Timestamp { secs, nanos: 0 }, since_boot, boot_id: boot_id.into() }
    }

    #[test]
    fn a_clock_that_was_set_back_has_lost_time_against_the_machines_own() {
        let then = moment(1000, 50, "a");
        assert_eq!(then.set_back_until(&moment(1100, 150, "a")), 0);
        assert_eq!(then.set_back_until(&moment(1100, 160, "a")), 10_000_000_000, "set back and passed again");
        assert!(then.set_back_until(&moment(2000, 150, "a")) < 0, "set forward");
        assert_eq!(then.set_back_until(&moment(990, 5, "b")), 10_000_000_000, "another start");
        assert_eq!(then.set_back_until(&moment(1001, 5, "b")), 0, "nothing can be told");
    }

    #[test]
    fn two_moments_of_one_start_differ_by_the_same_on_both_clocks() {
        let then = Moment::now().expect("proc is mounted");
        let later = Moment::now().expect("proc is mounted");
        assert!(then.set_back_until(&later).abs() < 1_000_000_000);
    }
}
