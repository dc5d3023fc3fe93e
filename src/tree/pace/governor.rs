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

/// Whoever waits for more than this share of the time by himself is given way to, whatever our part in it.
const OWN_MOST: f64 = 0.5;

/// Judges what was seen.
#[derive(Debug)]
pub struct Governor {
    share: f64,
    work: f64,
    /// What others wait by themselves: seen while next to nothing is done. None: the looks leave our part out anyhow.
    own: Option<f64>,
}

impl Governor {
    /// For others who may be stalled for this share (0 to 1) of the time, beside what they wait by themselves where the
    /// looks have `our_part` in them. It begins without holding anything back.
    pub fn new(share: f64, our_part: bool) -> Self {
        Governor { share, work: MOST, own: our_part.then_some(0.0) }
    }
    /// Others were stalled for this share of the time: how many threads may be at work on average.
    pub fn judge(&mut self, stalled: f64) -> f64 {
        if let Some(own) = &mut self.own {
            *own = match self.work <= LEAST {
                true => stalled.min(OWN_MOST),
                false => own.min(stalled),
            };
        }
        self.work = match stalled > self.share + self.own.unwrap_or(0.0) {
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
        beside(0.0, each)
    }

    /// Others who also wait for the share `own` by themselves.
    fn beside(own: f64, each: f64) -> Vec<f64> {
        let mut governor = Governor::new(0.1, true);
        let mut work = MOST;
        (0..400)
            .map(|_| {
                work = governor.judge((own + work * each).min(1.0));
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
    fn what_others_wait_by_themselves_is_not_our_part() {
        let settled = &beside(0.3, 0.15)[200..];
        let mean = settled.iter().sum::<f64>() / settled.len() as f64;
        assert!((0.05..0.15).contains(&(mean * 0.15)), "they wait no more than a tenth beside it: {mean}");
    }

    #[test]
    fn looks_that_leave_our_part_out_learn_nothing_of_it() {
        let mut governor = Governor::new(0.1, false);
        assert_eq!((0..100).map(|_| governor.judge(0.2)).last(), Some(LEAST));
    }

    #[test]
    fn however_much_others_wait_something_is_left() {
        assert_eq!(settles(1000.0)[399], LEAST);
        assert_eq!(beside(0.9, 0.01)[399], LEAST, "who waits most of the time by himself is left alone");
        assert_eq!(settles(1000.0).iter().take_while(|work| **work > LEAST).count(), 4, "and soon");
    }

    #[test]
    fn once_others_are_gone_everything_comes_back() {
        let mut governor = Governor::new(0.1, true);
        for _ in 0..100 {
            governor.judge(1.0);
        }
        let looks = (0..).take_while(|_| governor.judge(0.0) < MOST).count();
        assert!((20..120).contains(&looks), "{looks}");
    }
}
