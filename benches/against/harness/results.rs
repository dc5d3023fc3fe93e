//! What was measured, as it is kept: JSON, merged row by row, so that a bench may be made in several calls.

use super::machine::Machine;
use super::rows::{Goal, ROWS, Row};
use super::settings::Settings;
use super::statistics::{median, ratios};
use super::tools::Tool;
use anyhow::Context;
use serde::{Deserialize, Serialize};
use std::fs;
use std::path::Path;

/// All rows that have been measured.
#[derive(Debug, Clone, Default, Serialize, Deserialize)]
pub struct Results {
    /// In the order of the table of rows.
    pub rows: Vec<RowResult>,
}

/// One row.
#[derive(Debug, Clone, Serialize, Deserialize)]
pub struct RowResult {
    /// The row's key.
    pub key: String,
    /// What was done.
    pub title: String,
    /// The tree's name.
    pub tree: String,
    /// Of the full tree.
    pub scale: f64,
    /// Entries of the tree; 0 for a device.
    pub entries: u64,
    /// Bytes in use on the source's file system.
    pub bytes: u64,
    /// What is hoped for.
    pub goal: Goal,
    /// diskmirror.
    pub ours: Contender,
    /// What it is compared with.
    pub against: Contender,
    /// More, for context.
    pub others: Vec<Contender>,
    /// What counted system calls; none: nothing did.
    pub counted_with: Option<String>,
    /// Why there are no figures.
    pub unavailable: Option<String>,
    /// A copy that was not equal to its source, or a tool that failed: the figures are worth nothing.
    pub wrong: Option<String>,
    /// Where and when.
    pub machine: Machine,
}

/// One tool's part in a row.
#[derive(Debug, Clone, Default, Serialize, Deserialize)]
pub struct Contender {
    /// Its name.
    pub name: String,
    /// One for each round.
    pub samples: Vec<Sample>,
    /// Of the whole run.
    pub system_calls: Option<u64>,
    /// Whether its copy was equal to the source; none: there was none to look at.
    pub equal: Option<bool>,
    /// Why there are no figures.
    pub missing: Option<String>,
}

/// One run.
#[derive(Debug, Clone, Serialize, Deserialize)]
pub struct Sample {
    /// To the end of the flush.
    pub seconds: f64,
    /// User and system.
    pub cpu_seconds: f64,
    /// Of the largest process.
    pub peak_kib: u64,
    /// From file systems, as far as it was not in the page cache.
    pub read_kib: u64,
    /// To file systems.
    pub written_kib: u64,
    /// Processor seconds of others meanwhile.
    pub others_cpu_seconds: f64,
    /// Whether that was too much.
    pub disturbed: bool,
    /// Within how many milliseconds 99 of 100 requests of the server beside it were done, if there was one.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub server_p99_ms: Option<f64>,
}

impl Results {
    /// Those kept in `path`; none if there is no such file.
    pub fn read(path: &Path) -> anyhow::Result<Results> {
        match fs::read_to_string(path) {
            Ok(text) => serde_json::from_str(&text).with_context(|| format!("{} is damaged", path.display())),
            Err(error) if error.kind() == std::io::ErrorKind::NotFound => Ok(Results::default()),
            Err(error) => Err(error).with_context(|| format!("reading {}", path.display())),
        }
    }
    /// Keeps them.
    pub fn write(&self, path: &Path) -> anyhow::Result<()> {
        if let Some(directory) = path.parent() {
            fs::create_dir_all(directory).with_context(|| format!("creating {}", directory.display()))?;
        }
        let text = serde_json::to_string_pretty(self)? + "\n";
        fs::write(path, text).with_context(|| format!("writing {}", path.display()))
    }
    /// Puts a row in the place of an earlier measurement of it at the same scale. One that could not be measured takes
    /// nobody's place.
    pub fn merge(&mut self, row: RowResult) {
        let is_same = |kept: &RowResult| kept.key == row.key && kept.scale == row.scale;
        if row.unavailable.is_some() && self.rows.iter().any(is_same) {
            return;
        }
        self.rows.retain(|kept| !is_same(kept));
        self.rows.push(row);
        let place = |key: &str| ROWS.iter().position(|row| row.key == key);
        self.rows.sort_by_key(|row| place(&row.key));
    }
}

impl RowResult {
    /// Nothing measured yet.
    pub fn new(row: &Row, (entries, bytes): (u64, u64), settings: &Settings, machine: &Machine) -> Self {
        RowResult {
            key: row.key.to_owned(),
            title: row.title.to_owned(),
            tree: row.tree.name().to_owned(),
            scale: settings.scale,
            entries,
            bytes,
            goal: row.goal,
            ours: Contender::of(row.ours),
            against: Contender::of(row.against),
            others: Vec::new(),
            counted_with: None,
            unavailable: None,
            wrong: None,
            machine: machine.clone(),
        }
    }
    /// The part of one of the others.
    pub fn other(&mut self, tool: Tool) -> &mut Contender {
        let place = self.others.iter().position(|other| other.name == tool.name()).unwrap_or_else(|| {
            self.others.push(Contender::of(tool));
            self.others.len() - 1
        });
        &mut self.others[place]
    }
    /// Whether a server worked beside it.
    pub fn is_beside_a_server(&self) -> bool {
        self.against.samples.iter().any(|sample| sample.server_p99_ms.is_some())
    }
    /// Round by round.
    pub fn ratios(&self) -> Vec<f64> {
        ratios(&self.ours.seconds(), &self.against.seconds())
    }
    /// The median of the rounds' ratios.
    pub fn ratio(&self) -> Option<f64> {
        median(&self.ratios())
    }
    /// Whether the goal was met; none if there is none, or nothing was measured.
    pub fn is_met(&self) -> Option<bool> {
        match self.goal {
            Goal::Ratio(most) => self.ratio().map(|ratio| ratio <= most),
            Goal::PeakMib(most) => self.ours.peak_mib().map(|peak| peak <= most as f64),
            Goal::Open => None,
        }
    }
    /// Whether others were busy in a round that counts.
    pub fn is_disturbed(&self) -> bool {
        [&self.ours, &self.against].into_iter().flat_map(|side| &side.samples).any(|sample| sample.disturbed)
    }
}

impl Contender {
    fn of(tool: Tool) -> Self {
        Contender { name: tool.name().to_owned(), ..Contender::default() }
    }
    /// Round by round.
    pub fn seconds(&self) -> Vec<f64> {
        self.samples.iter().map(|sample| sample.seconds).collect()
    }
    /// The median of the server's latency.
    pub fn server_p99_ms(&self) -> Option<f64> {
        median(&self.samples.iter().filter_map(|sample| sample.server_p99_ms).collect::<Vec<_>>())
    }
    /// The median time.
    pub fn median_seconds(&self) -> Option<f64> {
        median(&self.seconds())
    }
    /// The median of the processor time.
    pub fn median_cpu_seconds(&self) -> Option<f64> {
        median(&self.samples.iter().map(|sample| sample.cpu_seconds).collect::<Vec<_>>())
    }
    /// The most memory of any round.
    pub fn peak_mib(&self) -> Option<f64> {
        self.samples.iter().map(|sample| sample.peak_kib).max().map(|kib| kib as f64 / 1024.0)
    }
    /// The median of what was written.
    pub fn written_mib(&self) -> Option<f64> {
        median(&self.samples.iter().map(|sample| sample.written_kib as f64 / 1024.0).collect::<Vec<_>>())
    }
    /// System calls for each of so many entries.
    pub fn calls_an_entry(&self, entries: u64) -> Option<f64> {
        self.system_calls.filter(|_| entries > 0).map(|calls| calls as f64 / entries as f64)
    }
}

#[cfg(test)]
mod tests {
    use super::{Contender, Machine, Results, RowResult, Sample};
    use crate::harness::rows::{Goal, ROWS};

    fn side(seconds: &[f64], peak_kib: u64) -> Contender {
        let sample = |seconds: &f64| Sample {
            seconds: *seconds,
            cpu_seconds: *seconds,
            peak_kib,
            read_kib: 0,
            written_kib: 2048,
            others_cpu_seconds: 0.0,
            disturbed: false,
            server_p99_ms: None,
        };
        Contender { samples: seconds.iter().map(sample).collect(), ..Contender::default() }
    }

    fn row(place: usize, goal: Goal) -> RowResult {
        RowResult {
            key: ROWS[place].key.to_owned(),
            title: ROWS[place].title.to_owned(),
            tree: String::new(),
            scale: 1.0,
            entries: 10,
            bytes: 0,
            goal,
            ours: side(&[1.0, 3.0, 2.0], 60 << 10),
            against: side(&[10.0, 10.0, 10.0], 1 << 10),
            others: Vec::new(),
            counted_with: None,
            unavailable: None,
            wrong: None,
            machine: Machine::default(),
        }
    }

    #[test]
    fn a_goal_is_met_by_the_median_of_the_rounds_or_by_the_peak() {
        assert_eq!(row(0, Goal::Ratio(0.2)).is_met(), Some(true));
        assert_eq!(row(0, Goal::Ratio(0.19)).is_met(), Some(false));
        assert_eq!(row(0, Goal::PeakMib(60)).is_met(), Some(true));
        assert_eq!(row(0, Goal::PeakMib(59)).is_met(), Some(false));
        assert_eq!(row(0, Goal::Open).is_met(), None);
        assert_eq!(row(0, Goal::Open).ours.written_mib(), Some(2.0));
    }

    #[test]
    fn a_row_takes_the_place_of_its_earlier_measurement_and_of_no_other() {
        let mut results = Results::default();
        results.merge(row(1, Goal::Open));
        results.merge(row(0, Goal::Open));
        results.merge(RowResult { scale: 0.1, ..row(1, Goal::Open) });
        results.merge(RowResult { ours: side(&[5.0], 1), ..row(1, Goal::Open) });
        results.merge(RowResult { unavailable: Some("no catalog".to_owned()), ..row(1, Goal::Open) });
        let kept: Vec<(&str, usize)> =
            results.rows.iter().map(|row| (row.key.as_str(), row.ours.samples.len())).collect();
        assert_eq!(kept, [(ROWS[0].key, 3), (ROWS[1].key, 3), (ROWS[1].key, 1)]);
    }

    #[test]
    fn what_is_kept_is_read_again() {
        let directory = tempfile::tempdir().expect("a directory");
        let path = directory.path().join("new/results.json");
        assert!(Results::read(&path).expect("none is no error").rows.is_empty());
        let results = Results { rows: vec![row(0, Goal::Ratio(0.6))] };
        results.write(&path).expect("written");
        assert_eq!(Results::read(&path).expect("read").rows[0].ratios(), [0.1, 0.3, 0.2]);
        std::fs::write(&path, "{").expect("damaged");
        assert!(Results::read(&path).is_err(), "figures are not thrown away silently");
    }
}
