//! Figures for people: three of them, and a unit.

use super::results::{Contender, RowResult};
use super::rows::Goal;

/// Stands where there is no figure.
pub const NONE: &str = "–";

/// Seconds: `0.38 s`, `24.8 s`, `131 s`.
pub fn seconds(value: Option<f64>) -> String {
    value.map_or_else(|| NONE.to_owned(), |value| format!("{} s", three(value)))
}

/// Mebibytes.
pub fn mib(value: Option<f64>) -> String {
    value.map_or_else(|| NONE.to_owned(), |value| format!("{} MiB", three(value)))
}

/// A plain number.
pub fn plain(value: Option<f64>) -> String {
    value.map_or_else(|| NONE.to_owned(), three)
}

/// A ratio: `0.624`, `1.07`.
pub fn ratio(value: Option<f64>) -> String {
    let text = |value: f64| if value < 1.0 { format!("{value:.3}") } else { format!("{value:.2}") };
    value.map_or_else(|| NONE.to_owned(), text)
}

/// What is hoped for.
pub fn goal(goal: Goal) -> String {
    match goal {
        Goal::Ratio(most) => {
            let exact = format!("{most:.3}");
            format!("≤ {}", exact.strip_suffix('0').unwrap_or(&exact))
        }
        Goal::PeakMib(most) => format!("≤ {most} MiB"),
        Goal::Open => NONE.to_owned(),
    }
}

/// Whether it was met; a row whose copies were wrong meets nothing.
pub fn met(row: &RowResult) -> &'static str {
    match row.is_met() {
        _ if row.wrong.is_some() => "WRONG",
        Some(true) => "yes",
        Some(false) => "no",
        None => NONE,
    }
}

/// `ours / theirs` of one kind of figure.
pub fn both(row: &RowResult, figure: &dyn Fn(&Contender) -> Option<f64>) -> String {
    match (figure(&row.ours), figure(&row.against)) {
        (None, None) => NONE.to_owned(),
        (ours, against) => format!("{} / {}", plain(ours), plain(against)),
    }
}

fn three(value: f64) -> String {
    match value {
        v if v < 10.0 => format!("{v:.2}"),
        v if v < 100.0 => format!("{v:.1}"),
        v => format!("{v:.0}"),
    }
}

#[cfg(test)]
mod tests {
    use super::{goal, ratio, seconds};
    use crate::harness::rows::Goal;

    #[test]
    fn figures_have_three_digits() {
        assert_eq!(seconds(Some(0.384)), "0.38 s");
        assert_eq!(seconds(Some(130.7)), "131 s");
        assert_eq!((ratio(Some(0.0583)), ratio(None)), ("0.058".to_owned(), "–".to_owned()));
        assert_eq!(
            (goal(Goal::Ratio(0.6)), goal(Goal::Ratio(1.0 / 6.0))),
            ("≤ 0.60".to_owned(), "≤ 0.167".to_owned())
        );
    }
}
