//! The table on stdout.

use super::figures::{both, goal, met, plain, ratio, seconds};
use super::results::{Contender, RowResult};

const HEAD: [&str; 10] = [
    "work",
    "compared with",
    "diskmirror",
    "ratio",
    "goal",
    "met",
    "by round",
    "CPU s *",
    "peak MiB *",
    "calls an entry *",
];

/// All rows, then what must be known about them.
pub fn render(rows: &[RowResult]) -> String {
    let mut cells = vec![HEAD.map(str::to_owned).to_vec()];
    cells.extend(rows.iter().map(|row| line(row).to_vec()));
    format!("\n{}* diskmirror / what it is compared with\n{}", aligned(&cells), notes(rows))
}

fn line(row: &RowResult) -> [String; 10] {
    let against = row.against.median_seconds();
    let rounds: Vec<String> = row.ratios().into_iter().map(|value| ratio(Some(value))).collect();
    [
        row.title.clone(),
        format!("{} {}", row.against.name, seconds(against)),
        seconds(row.ours.median_seconds()),
        ratio(row.ratio()),
        goal(row.goal),
        met(row).to_owned(),
        rounds.join(" "),
        both(row, &Contender::median_cpu_seconds),
        both(row, &Contender::peak_mib),
        both(row, &|side| side.calls_an_entry(row.entries)),
    ]
}

/// What is behind the figures, a line each.
fn notes(rows: &[RowResult]) -> String {
    let mut notes = Vec::new();
    for row in rows {
        let title = &row.title;
        notes.extend(row.unavailable.iter().map(|why| format!("{title}: not available: {why}")));
        notes.extend(row.wrong.iter().map(|what| format!("{title}: WRONG: {what}")));
        if row.is_disturbed() {
            notes.push(format!("{title}: others were busy meanwhile: CPU time counts, wall time does not"));
        }
        if row.entries > 0 && row.counted_with.is_none() && row.unavailable.is_none() {
            notes.push(format!(
                "{title}: system calls were not counted: not wanted, or neither perf nor strace works"
            ));
        }
        notes.extend(row.others.iter().map(|other| format!("{title}: {}", also(other))));
    }
    notes.into_iter().map(|note| note + "\n").collect()
}

fn also(other: &Contender) -> String {
    let exact = if other.equal == Some(false) { ", but rsync would still change the copy" } else { "" };
    match &other.missing {
        Some(why) => format!("{}: {why}", other.name),
        None => format!(
            "{} {}, CPU {} s{exact}",
            other.name,
            seconds(other.median_seconds()),
            plain(other.median_cpu_seconds())
        ),
    }
}

/// Columns as wide as their widest cell.
fn aligned(rows: &[Vec<String>]) -> String {
    let wide = |column: usize| rows.iter().map(|row| row[column].chars().count()).max().unwrap_or(0);
    let widths: Vec<usize> = (0..rows[0].len()).map(wide).collect();
    let line = |row: &Vec<String>| {
        let cells = row.iter().zip(&widths).map(|(cell, width)| format!("{cell:<width$}"));
        cells.collect::<Vec<_>>().join("  ").trim_end().to_owned() + "\n"
    };
    rows.iter().map(line).collect()
}

#[cfg(test)]
mod tests {
    use super::aligned;

    #[test]
    fn columns_stand_below_each_other() {
        let rows = [["work", "s"], ["≤ longer", "1"]].map(|row| row.map(str::to_owned).to_vec());
        assert_eq!(aligned(&rows), "work      s\n≤ longer  1\n");
    }
}
