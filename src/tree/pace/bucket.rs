//! A token bucket: so much a second, and no more at once than fits in. Pure: the time is passed in.

/// Tokens that come in steadily. What is taken beyond what is there is owed, and whoever took it waits.
#[derive(Debug, Clone)]
pub struct Bucket {
    rate: f64,
    burst: f64,
    level: f64,
    /// When the level was that, in seconds.
    at: f64,
}

impl Bucket {
    /// Full, with `rate` tokens coming in each second, and room for `burst`.
    pub fn new(rate: f64, burst: f64) -> Self {
        Bucket { rate, burst, level: burst, at: 0.0 }
    }
    /// Takes `tokens` at the time `now` (seconds, never going back), and says for how many seconds to wait for it.
    pub fn take(&mut self, tokens: f64, now: f64) -> f64 {
        self.fill(now);
        self.level -= tokens;
        (-self.level / self.rate).max(0.0)
    }
    /// From `now` on, `rate` tokens come in each second.
    pub fn set_rate(&mut self, rate: f64, now: f64) {
        self.fill(now);
        self.rate = rate;
    }
    fn fill(&mut self, now: f64) {
        self.level = ((now - self.at).max(0.0) * self.rate + self.level).min(self.burst);
        self.at = self.at.max(now);
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_was_taken_takes_its_time_whoever_took_it() {
        let mut bucket = Bucket::new(100.0, 10.0);
        assert_eq!(bucket.take(10.0, 0.0), 0.0, "it is full at first");
        assert_eq!(bucket.take(50.0, 0.0), 0.5);
        assert_eq!(bucket.take(50.0, 0.0), 1.0, "the next one waits behind the first");
        assert_eq!(bucket.take(0.0, 0.75), 0.25);
    }

    #[test]
    fn a_long_rest_saves_up_no_more_than_a_burst() {
        let mut bucket = Bucket::new(100.0, 10.0);
        bucket.take(10.0, 0.0);
        assert_eq!(bucket.take(60.0, 1000.0), 0.5);
    }

    #[test]
    fn over_a_long_time_no_more_than_the_rate_passes() {
        let (mut bucket, mut now, mut taken) = (Bucket::new(1000.0, 50.0), 0.0, 0.0);
        for n in 0..1000 {
            let tokens = f64::from(n % 97);
            now += bucket.take(tokens, now);
            taken += tokens;
        }
        assert!(taken <= now * 1000.0 + 50.0 + 1e-6, "{taken} in {now} s");
        assert!(taken >= now * 1000.0, "and no less");
    }

    #[test]
    fn a_new_rate_counts_from_the_moment_on_which_it_was_set() {
        let mut bucket = Bucket::new(100.0, 0.0);
        assert_eq!(bucket.take(100.0, 0.0), 1.0);
        bucket.set_rate(50.0, 0.5);
        assert_eq!(bucket.take(0.0, 0.5), 1.0);
    }
}
