//! Who else waits, and for what share of the time.
//!
//! The machine's pressure counts our own threads: while they are at work it says nothing of others. So there are two ways.
//! In a control group of its own (a systemd service, a session) the groups beside it on each level are looked at: all that
//! others wait, while we work, and nothing of ours. Elsewhere all threads stand still for a moment, and what is counted then
//! is others': that tells how much others use the disk and the processor, not what our work does to them.

use super::Pace;
use crate::sys::pressure::{Neighbours, Stalls, longest, of_machine, others_of_us_sleep};
use std::collections::HashMap;
use std::path::PathBuf;
use std::sync::Weak;
use std::thread::sleep;
use std::time::{Duration, Instant};

/// Between two looks at the groups beside ours.
const LOOK: Duration = Duration::from_millis(250);
/// Before the first moment of standing still; twice as long before each further one …
const FIRST: Duration = Duration::from_millis(100);
/// … up to this between two …
const BETWEEN: Duration = Duration::from_millis(1000);
/// … until what was on its way has come to its end …
const SETTLE: Duration = Duration::from_millis(15);
/// … and how long others are looked at then.
const STILL: Duration = Duration::from_millis(50);

/// How others are looked at.
#[derive(Debug)]
pub(super) enum Gauge {
    /// The groups beside ours, as they were at the last look.
    Beside(Neighbours, HashMap<PathBuf, Stalls>, Instant),
    /// The whole machine while we stand still: after this time.
    Still(Duration),
}

impl Gauge {
    /// What this machine has.
    pub fn here() -> std::io::Result<Gauge> {
        if let Some(neighbours) = Neighbours::of_this_process() {
            let stalls = neighbours.stalls();
            return Ok(Gauge::Beside(neighbours, stalls, Instant::now()));
        }
        of_machine().map(|_| Gauge::Still(FIRST))
    }
    /// Whether what is seen has our own part in it: what others wait because of us.
    pub fn sees_our_part(&self) -> bool {
        matches!(self, Gauge::Beside(..))
    }
    /// Waits until it is time, and gives back for what share of it others were stalled; none where that cannot be told.
    pub fn look(&mut self, pace: &Weak<Pace>) -> Option<f64> {
        match self {
            Gauge::Beside(neighbours, last, at) => {
                sleep(LOOK);
                let (stalls, now) = (neighbours.stalls(), Instant::now());
                let share = share(longest(last, &stalls), now - *at);
                (*last, *at) = (stalls, now);
                Some(share)
            }
            Gauge::Still(between) => {
                sleep(*between);
                *between = (*between * 2).min(BETWEEN);
                pace.upgrade()?.stand_still(true);
                let seen = while_still();
                pace.upgrade()?.stand_still(false);
                seen
            }
        }
    }
}

/// A look counts only if none of our threads was at work, as one that flushes is.
fn while_still() -> Option<f64> {
    sleep(SETTLE);
    let still = others_of_us_sleep();
    let (before, begun) = (of_machine().ok()?, Instant::now());
    sleep(STILL);
    let after = of_machine().ok()?;
    (still && others_of_us_sleep()).then(|| share(after.since(&before), begun.elapsed()))
}

fn share(stalled_micros: u64, time: Duration) -> f64 {
    stalled_micros as f64 / (time.as_micros() as f64).max(1.0)
}
