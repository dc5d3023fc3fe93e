//! The page for people. What stands between the two markers is written anew; all else is written by hand, and stays.

use super::figures::{self, both, goal, met, ratio, seconds};
use super::plots;
use super::results::{Contender, Results, RowResult};
use super::rows::Goal;
use anyhow::{Context, bail};
use diskmirror::units::thousands;
use std::fmt::Write;
use std::fs;
use std::path::Path;

const BEGIN: &str = "<!-- What follows is written by `make bench`, up to the next such line. -->";
const END: &str = "<!-- What follows is written by hand. -->";

/// Puts the results into the page, and the pictures into the directory of the same name.
pub fn write(page: &Path, results: &Results) -> anyhow::Result<()> {
    let before = fs::read_to_string(page).with_context(|| format!("reading {}", page.display()))?;
    let rows: Vec<&RowResult> = results.rows.iter().filter(|row| is_largest(row, results)).collect();
    let timed: Vec<&RowResult> = rows.iter().copied().filter(|row| !row.is_beside_a_server()).collect();
    let pictures = plots::draw(&timed, &page.with_extension(""))?;
    let directory = page.file_stem().unwrap_or_default().to_string_lossy().into_owned();
    let after = replaced(&before, &measured(&rows, &pictures, &directory))
        .with_context(|| format!("{} has lost its markers:\n{BEGIN}\n{END}", page.display()))?;
    fs::write(page, after).with_context(|| format!("writing {}", page.display()))
}

/// Whether a row was not measured on a larger tree too: what smaller ones say, they say of themselves.
fn is_largest(row: &RowResult, results: &Results) -> bool {
    !results.rows.iter().any(|other| other.key == row.key && other.scale > row.scale)
}

fn replaced(page: &str, text: &str) -> anyhow::Result<String> {
    let (Some(begin), Some(end)) = (page.find(BEGIN), page.find(END)) else { bail!("no markers") };
    if begin > end {
        bail!("the markers are in the wrong order");
    }
    Ok(format!("{}{BEGIN}\n\n{}\n\n{}", &page[..begin], text.trim(), &page[end..]))
}

/// All figures, as Markdown.
fn measured(rows: &[&RowResult], pictures: &[plots::Picture], directory: &str) -> String {
    let rows: Vec<&RowResult> = rows.iter().copied().filter(|row| row.unavailable.is_none()).collect();
    if rows.is_empty() {
        return "Nothing has been measured yet.".to_owned();
    }
    let mut text = machines(&rows);
    for (file, shows) in pictures {
        let _ = writeln!(text, "![{shows}]({directory}/{file})\n");
    }
    let (beside, alone): (Vec<&RowResult>, Vec<&RowResult>) =
        rows.iter().partition(|row| row.is_beside_a_server());
    let (memory, timed): (Vec<&RowResult>, Vec<&RowResult>) =
        alone.iter().partition(|row: &&&RowResult| matches!(row.goal, Goal::PeakMib(_)));
    let text = text + &times(&timed) + &memories(&memory) + &servers(&beside);
    text + &costs(&timed) + &others(&timed) + &trees(&rows)
}

fn machines(rows: &[&RowResult]) -> String {
    let mut lines: Vec<String> = rows.iter().map(|row| row.machine.line()).collect();
    lines.sort();
    lines.dedup();
    let smaller = rows.iter().map(|row| row.scale).filter(|scale| *scale < 1.0);
    let mut scales: Vec<String> = smaller.map(|scale| format!("BENCH_SCALE={scale}")).collect();
    scales.dedup();
    let scaled = match scales.is_empty() {
        true => String::new(),
        false => format!(" Trees and devices were smaller than said above: {}.", scales.join(", ")),
    };
    format!("Measured on {}.{scaled}\n\n", lines.join(";\nand on "))
}

fn table(title: &str, head: &[&str], lines: Vec<Vec<String>>) -> String {
    if lines.is_empty() {
        return String::new();
    }
    let line = |cells: &[String]| {
        let cells: Vec<String> = cells.iter().map(|cell| cell.replace('|', "\\|")).collect();
        format!("| {} |\n", cells.join(" | "))
    };
    let head: Vec<String> = head.iter().map(|&cell| cell.to_owned()).collect();
    let rule = format!("|{}\n", "---|".repeat(head.len()));
    let body: String = lines.iter().map(|cells| line(cells)).collect();
    format!("### {title}\n\n{}{rule}{body}\n", line(&head))
}

fn times(rows: &[&RowResult]) -> String {
    let line = |row: &&RowResult| {
        let name =
            if row.against.name == "rsync" { String::new() } else { format!(" ({})", row.against.name) };
        let busy = if row.is_disturbed() { " †" } else { "" };
        vec![
            row.title.clone() + busy,
            seconds(row.against.median_seconds()) + &name,
            seconds(row.ours.median_seconds()),
            ratio(row.ratio()),
            goal(row.goal),
            met(row).to_owned(),
        ]
    };
    let lines = rows.iter().map(line).collect();
    let table = table("Time", &["work", "rsync", "diskmirror", "ratio", "goal", "met"], lines);
    let busy = rows.iter().any(|row| row.is_disturbed());
    let note =
        "† Others used the machine's processors in a round of this row, however often it was repeated.\n\n";
    table + if busy { note } else { "" }
}

fn memories(rows: &[&RowResult]) -> String {
    let line = |row: &&RowResult| {
        let peak = |side: &Contender| figures::mib(side.peak_mib());
        let title = row.title.strip_prefix("memory, ").unwrap_or(&row.title).to_owned();
        vec![title, peak(&row.against), peak(&row.ours), goal(row.goal), met(row).to_owned()]
    };
    let lines = rows.iter().map(line).collect();
    table("Memory", &["work", "rsync", "diskmirror", "goal", "met"], lines)
}

/// What a server on the source's disk notices of a first copy.
fn servers(rows: &[&RowResult]) -> String {
    let line = |row: &RowResult, side: &Contender| {
        let latency = figures::plain(side.server_p99_ms());
        vec![row.title.clone(), side.name.clone(), latency, seconds(side.median_seconds())]
    };
    let lines = rows.iter().flat_map(|row| {
        let sides = row.others.iter().rev().chain([&row.against, &row.ours]);
        sides.filter(|side| !side.samples.is_empty()).map(move |side| line(row, side))
    });
    let head = ["work", "who copies meanwhile", "the server's p99, ms", "the copy took"];
    table("A server beside it", &head, lines.collect())
}

fn costs(rows: &[&RowResult]) -> String {
    let line = |row: &&RowResult| {
        let rounds: Vec<String> = row.ratios().into_iter().map(|value| ratio(Some(value))).collect();
        vec![
            row.title.clone(),
            rounds.join(" "),
            both(row, &Contender::median_cpu_seconds),
            both(row, &Contender::peak_mib),
            both(row, &Contender::written_mib),
            both(row, &|side| side.calls_an_entry(row.entries)),
        ]
    };
    let head = [
        "work",
        "ratio, round by round",
        "CPU seconds",
        "peak memory, MiB",
        "written, MiB",
        "system calls an entry",
    ];
    table("Cost (diskmirror / the other)", &head, rows.iter().map(line).collect())
}

fn others(rows: &[&RowResult]) -> String {
    let line = |row: &RowResult, other: &Contender| {
        let equal = match other.equal {
            Some(true) => "yes",
            Some(false) => "no",
            None => figures::NONE,
        };
        // An error's own words may hold what a table cannot.
        let time =
            if other.missing.is_some() { "not measured".to_owned() } else { seconds(other.median_seconds()) };
        vec![row.title.clone(), other.name.clone(), time, equal.to_owned()]
    };
    let lines = rows.iter().flat_map(|row| row.others.iter().map(move |other| line(row, other)));
    table("Other tools", &["work", "tool", "time", "copy equal to the source"], lines.collect())
}

fn trees(rows: &[&RowResult]) -> String {
    let mut lines: Vec<Vec<String>> = Vec::new();
    for row in rows.iter().filter(|row| row.entries > 0) {
        if lines.iter().all(|line| line[0] != row.tree) {
            let gib = row.bytes as f64 / f64::from(1 << 30);
            lines.push(vec![row.tree.clone(), thousands(row.entries), format!("{gib:.2} GiB")]);
        }
    }
    table("Trees", &["tree", "entries", "in use"], lines)
}

#[cfg(test)]
mod tests {
    use super::{BEGIN, END, replaced};

    #[test]
    fn what_is_written_by_hand_stays() {
        let page = format!("# Title\n\nbefore\n\n{BEGIN}\nold\n{END}\n\nafter\n");
        let once = replaced(&page, "new").expect("there are markers");
        assert_eq!(once, format!("# Title\n\nbefore\n\n{BEGIN}\n\nnew\n\n{END}\n\nafter\n"));
        assert_eq!(replaced(&once, "new").expect("still there"), once);
        assert!(replaced("no markers", "new").is_err());
    }
}
