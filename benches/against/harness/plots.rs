//! The pictures of the page: ratios, first copies, memory.

use super::bars::{Bar, Chart, GOAL, Group};
use super::figures;
use super::results::{Contender, RowResult};
use super::rows::Goal;
use anyhow::Context;
use plotters::style::RGBColor;
use std::fs;
use std::path::Path;

const OURS: RGBColor = RGBColor(0x1f, 0x6f, 0xb4);
const THEIRS: RGBColor = RGBColor(0xa8, 0xb1, 0xba);
/// Of cp, tar and rclone.
const OTHERS: [RGBColor; 3] =
    [RGBColor(0xd8, 0xc9, 0xa3), RGBColor(0xc3, 0xd3, 0xb6), RGBColor(0xd3, 0xbf, 0xd4)];

/// A picture's file name, and what it shows, for those who do not see it.
pub type Picture = (&'static str, &'static str);

/// Draws into `directory` what there are figures for.
pub fn draw(rows: &[&RowResult], directory: &Path) -> anyhow::Result<Vec<Picture>> {
    let charts = [
        (("ratios.svg", "Times as ratios to what diskmirror is compared with"), ratios(rows)),
        (("first-copies.svg", "Seconds of the first copy, by tool"), first_copies(rows)),
        (("memory.svg", "Peak memory of a run that changes nothing"), memory(rows)),
    ];
    let mut drawn = Vec::new();
    for (picture, chart) in charts {
        if !chart.groups.is_empty() {
            fs::create_dir_all(directory).with_context(|| format!("creating {}", directory.display()))?;
            chart.draw(&directory.join(picture.0))?;
            drawn.push(picture);
        }
    }
    Ok(drawn)
}

fn ratios(rows: &[&RowResult]) -> Chart {
    let group = |row: &&RowResult| {
        let value = row.ratio()?;
        let bars = vec![Bar { value, text: figures::ratio(Some(value)), color: OURS }];
        let goal = if let Goal::Ratio(most) = row.goal { Some(most) } else { None };
        Some(Group { label: row.title.clone(), bars, goal })
    };
    let timed = rows.iter().filter(|row| !matches!(row.goal, Goal::PeakMib(_)) && row.entries > 0);
    Chart {
        title: "diskmirror against rsync".to_owned(),
        subtitle: "time of diskmirror, divided by that of rsync: shorter is better".to_owned(),
        legend: vec![("diskmirror".to_owned(), OURS), ("goal: at most".to_owned(), GOAL)],
        groups: timed.filter_map(group).collect(),
        line: Some((1.0, "rsync".to_owned())),
    }
}

fn first_copies(rows: &[&RowResult]) -> Chart {
    let rows: Vec<&&RowResult> = rows.iter().filter(|row| row.key.starts_with("first-copy")).collect();
    let mut legend = vec![("diskmirror".to_owned(), OURS), ("rsync".to_owned(), THEIRS)];
    for other in rows.iter().flat_map(|row| &row.others).filter(|other| other.missing.is_none()) {
        if legend.iter().all(|(name, _)| *name != other.name) {
            legend.push((other.name.clone(), OTHERS[(legend.len() - 2) % OTHERS.len()]));
        }
    }
    let group = |row: &&&RowResult| {
        let sides = [&row.ours, &row.against].into_iter().chain(&row.others);
        let bars: Vec<Bar> = sides.filter_map(|side| timed(side, &legend)).collect();
        let label = row.title.strip_prefix("first copy, ").unwrap_or(&row.title).to_owned();
        (!bars.is_empty()).then_some(Group { label, bars, goal: None })
    };
    let groups = rows.iter().filter_map(group).collect();
    let subtitle = "seconds, from an empty page cache, the flush included: shorter is better".to_owned();
    Chart { title: "First copy into an empty file system".to_owned(), subtitle, legend, groups, line: None }
}

fn timed(side: &Contender, legend: &[(String, RGBColor)]) -> Option<Bar> {
    let value = side.median_seconds()?;
    let (_, color) = legend.iter().find(|(name, _)| *name == side.name)?;
    Some(Bar { value, text: figures::seconds(Some(value)), color: *color })
}

fn memory(rows: &[&RowResult]) -> Chart {
    let group = |row: &&RowResult| {
        let Goal::PeakMib(most) = row.goal else { return None };
        let bar = |side: &Contender, color| {
            side.peak_mib().map(|value| Bar { value, text: figures::mib(Some(value)), color })
        };
        let bars = vec![bar(&row.ours, OURS)?, bar(&row.against, THEIRS)?];
        let label = row.title.strip_prefix("memory, no change, ").unwrap_or(&row.title).to_owned();
        Some(Group { label, bars, goal: Some(most as f64) })
    };
    Chart {
        title: "Memory of a run that changes nothing".to_owned(),
        subtitle: "peak of the largest process: shorter is better".to_owned(),
        legend: vec![
            ("diskmirror".to_owned(), OURS),
            ("rsync".to_owned(), THEIRS),
            ("goal: at most".to_owned(), GOAL),
        ],
        groups: rows.iter().filter_map(group).collect(),
        line: None,
    }
}
