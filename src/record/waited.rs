//! What a run waited on purpose.

use crate::units::duration;
use serde::{Deserialize, Serialize};
use std::time::Duration;

/// Seconds in which a run was held back.
#[derive(Debug, Clone, Copy, Default, PartialEq, Serialize, Deserialize)]
pub struct Waited {
    /// By the limit on what it reads.
    pub limit: f64,
    /// By consideration for others.
    pub others: f64,
}

impl Waited {
    /// `waited 3m10s for others, 12s for the limit`; nothing below a second of each.
    pub fn words(&self) -> Option<String> {
        let parts = [(self.others, "others"), (self.limit, "the limit")];
        let long = parts.into_iter().filter(|(seconds, _)| *seconds > 1.0);
        let words =
            long.map(|(seconds, what)| format!("{} for {what}", duration(Duration::from_secs_f64(seconds))));
        let words: Vec<String> = words.collect();
        (!words.is_empty()).then(|| format!("waited {}", words.join(", ")))
    }
}

#[cfg(test)]
mod tests {
    use super::Waited;

    #[test]
    fn what_is_not_worth_a_word_is_not_told() {
        assert_eq!(Waited { limit: 0.9, others: 1.0 }.words(), None);
        let words = |limit, others| Waited { limit, others }.words().expect("it is worth a word");
        assert_eq!(words(12.0, 190.2), "waited 3m10s for others, 12s for the limit");
        assert_eq!(words(0.5, 2.0), "waited 2.0s for others");
    }
}
