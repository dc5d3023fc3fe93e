//! How much work is good for the others: additive increase, multiplicative decrease. Pure.
//!
//! Work is counted in threads at work on average: 4 is four of them all the time, 0.25 one of them a quarter of the
//! time. Fewer threads at once is the first thing to be given up: what waits at the disk is what others wait behind.

/// With as many as this nothing is held back.
pub const MOST: f64 = 8.0;
/// The least that is left to the work, however much others wait: it ends at last.
pub const LEAST: f64 = 0.1;
/// One look at others who wait leaves no more than this.
const FIRST: f64 = 1.0;
/// So much more after each look at others who do not.
const STEP: f64 = 0.05;

/// Judges what was seen.
#[derive(Debug)]
pub struct Governor {
    share: f64,
    work: f64,
}

impl Governor {
    /// For others who may be stalled for this share (0 to 1) of the time. It begins without holding anything back.
    pub fn new(share: f64) -> Self {
        Governor { share, work: MOST }
    }
    /// Others were stalled for this share of the time: how many threads may be at work on average.
    pub fn judge(&mut self, stalled: f64) -> f64 {
        self.work = match stalled > self.share {
            true => (self.work / 2.0).clamp(LEAST, FIRST),
            // What costs one disk much costs another nothing: from one thread on it goes up quickly.
            false => (self.work + STEP * self.work.max(1.0)).min(MOST),
        };
        self.work
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    /// Others who are stalled in proportion to our work, `each` for a thread: what the work comes to.
    fn settles(each: f64) -> Vec<f64> {
        let mut governor = Governor::new(0.1);
        let mut work = MOST;
        (0..400)
            .map(|_| {
                work = governor.judge((work * each).min(1.0));
                work
            })
            .collect()
    }

    #[test]
    fn nobody_who_does_not_wait_holds_anything_back() {
        assert!(settles(0.0).iter().all(|work| *work == MOST));
        assert!(settles(0.012).iter().all(|work| *work == MOST), "10% is allowed");
    }

    #[test]
    fn others_wait_no_more_than_their_share_once_it_has_settled() {
        for each in [0.05, 0.15, 0.5] {
            let settled = &settles(each)[200..];
            let mean = settled.iter().sum::<f64>() / settled.len() as f64;
            assert!(mean * each <= 0.1 + 1e-9, "{each}: {mean}");
            assert!(mean * each >= 0.05, "and what is allowed is used: {each}: {mean}");
        }
    }

    #[test]
    fn however_much_others_wait_something_is_left() {
        assert_eq!(settles(1000.0)[399], LEAST);
        assert_eq!(settles(1000.0).iter().take_while(|work| **work > LEAST).count(), 4, "and soon");
    }

    #[test]
    fn once_others_are_gone_everything_comes_back() {
        let mut governor = Governor::new(0.1);
        for _ in 0..100 {
            governor.judge(1.0);
        }
        let looks = (0..).take_while(|_| governor.judge(0.0) < MOST).count();
        assert!((20..120).contains(&looks), "{looks}");
    }
}
