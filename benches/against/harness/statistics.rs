//! Medians and ratios.

/// The middle value; the mean of the two middle ones. None of none.
pub fn median(values: &[f64]) -> Option<f64> {
    let mut sorted = values.to_vec();
    sorted.sort_by(f64::total_cmp);
    let middle = sorted.len() / 2;
    match sorted.len() {
        0 => None,
        n if n % 2 == 1 => Some(sorted[middle]),
        _ => Some(f64::midpoint(sorted[middle - 1], sorted[middle])),
    }
}

/// Round by round, one side divided by the other.
pub fn ratios(ours: &[f64], against: &[f64]) -> Vec<f64> {
    ours.iter().zip(against).map(|(ours, against)| ours / against).collect()
}

#[cfg(test)]
mod tests {
    use super::{median, ratios};

    #[test]
    fn the_median_is_the_middle_whatever_the_order() {
        assert_eq!(median(&[3.0, 1.0, 2.0]), Some(2.0));
        assert_eq!(median(&[4.0, 1.0, 2.0, 3.0]), Some(2.5));
        assert_eq!(median(&[]), None);
    }

    #[test]
    fn a_ratio_is_of_one_round() {
        assert_eq!(ratios(&[1.0, 3.0], &[2.0, 4.0]), [0.5, 0.75]);
    }
}
