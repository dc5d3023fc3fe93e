//! What can be set, by variables of the environment; doc/testing.md lists them.

use super::rows::Tree;
use anyhow::{Context, bail};
use std::path::{Path, PathBuf};
use std::str::FromStr;

/// How often cp, tar and rclone are measured: they are context, and slow.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Others {
    /// Not at all.
    Never,
    /// In the first round of a row.
    Once,
    /// In every round.
    Always,
}

/// Everything that can be set, checked.
#[derive(Debug, Clone)]
pub struct Settings {
    /// The program that is measured.
    pub program: PathBuf,
    /// Where images are made.
    pub dir: PathBuf,
    /// 1 is the trees as they are described; 0.1 a tenth of their entries and sizes.
    pub scale: f64,
    /// Parts of the keys of the rows to measure; none: all.
    pub rows: Vec<String>,
    /// Trees whose rows are measured; none: all.
    pub trees: Vec<Tree>,
    /// Rounds a row.
    pub rounds: u32,
    /// How often a disturbed round is measured again.
    pub repeats: u32,
    /// From what share of the machine's time on, used by others, a round counts as disturbed.
    pub disturbed_share: f64,
    /// Whether system calls are counted, in one more run.
    pub syscalls: bool,
    /// How often others than the pair are measured.
    pub others: Others,
    /// Where results are kept.
    pub json: PathBuf,
    /// The page that is written from them.
    pub page: Option<PathBuf>,
}

/// Reads one variable.
pub type Variables<'a> = &'a dyn Fn(&str) -> Option<String>;

impl Settings {
    /// From variables; `built` is the program that was built with the harness.
    pub fn read(variables: Variables<'_>, built: &Path) -> anyhow::Result<Self> {
        let words = |name: &str| words(&variables(name).unwrap_or_default());
        let path = |name: &str, or: &str| PathBuf::from(variables(name).unwrap_or_else(|| or.to_owned()));
        let percent: f64 = number(variables, "BENCH_DISTURBED", 10.0)?;
        let scale = number(variables, "BENCH_SCALE", 1.0)?;
        // What smaller trees say is not for the page.
        let page = if scale < 1.0 { "no" } else { "doc/performance.md" };
        let settings = Settings {
            program: variables("DISKMIRROR_BIN").map_or_else(|| built.to_owned(), PathBuf::from),
            dir: path("BENCH_DIR", "/var/tmp"),
            scale,
            rows: words("BENCH_ROWS"),
            trees: words("BENCH_TREES").iter().map(|name| Tree::named(name)).collect::<Result<_, _>>()?,
            rounds: number(variables, "BENCH_ROUNDS", 3)?,
            repeats: number(variables, "BENCH_REPEATS", 3)?,
            disturbed_share: percent / 100.0,
            syscalls: yes_or_no(variables, "BENCH_SYSCALLS", true)?,
            others: others(&variables("BENCH_OTHERS").unwrap_or_else(|| "once".to_owned()))?,
            json: path("BENCH_JSON", "target/bench/results.json"),
            page: Some(path("BENCH_PAGE", page)).filter(|page| page != Path::new("no")),
        };
        settings.checked()
    }
    fn checked(self) -> anyhow::Result<Self> {
        if !(self.scale > 0.0 && self.scale <= 1.0) {
            bail!("BENCH_SCALE is {}: it must be above 0, and 1 at most", self.scale);
        }
        if self.rounds == 0 {
            bail!("BENCH_ROUNDS is 0: there must be one round at least");
        }
        Ok(self)
    }
    /// A number that the scale makes smaller, but not less than 1.
    pub fn scaled(&self, full: u64) -> u64 {
        ((full as f64 * self.scale).round() as u64).max(1)
    }
}

fn words(text: &str) -> Vec<String> {
    text.split([' ', ',']).filter(|word| !word.is_empty()).map(str::to_owned).collect()
}

fn number<T: FromStr>(variables: Variables<'_>, name: &str, or: T) -> anyhow::Result<T>
where
    T::Err: std::error::Error + Send + Sync + 'static,
{
    match variables(name) {
        Some(text) => text.parse().with_context(|| format!("{name} is {text:?}, which is no such number")),
        None => Ok(or),
    }
}

fn yes_or_no(variables: Variables<'_>, name: &str, or: bool) -> anyhow::Result<bool> {
    match variables(name).as_deref() {
        None => Ok(or),
        Some("yes") => Ok(true),
        Some("no") => Ok(false),
        Some(other) => bail!("{name} is {other:?}: yes or no"),
    }
}

fn others(text: &str) -> anyhow::Result<Others> {
    Ok(match text {
        "no" => Others::Never,
        "once" => Others::Once,
        "always" => Others::Always,
        other => bail!("BENCH_OTHERS is {other:?}: no, once or always"),
    })
}

#[cfg(test)]
mod tests {
    use super::{Others, Settings, Tree};
    use std::path::Path;

    fn read(set: &[(&str, &str)]) -> anyhow::Result<Settings> {
        let get = |name: &str| set.iter().find(|(n, _)| *n == name).map(|(_, value)| (*value).to_owned());
        Settings::read(&get, Path::new("built"))
    }

    #[test]
    fn what_is_not_set_is_the_whole_bench() {
        let settings = read(&[]).expect("nothing is wrong");
        assert!(settings.rows.is_empty() && settings.trees.is_empty());
        assert_eq!((settings.rounds, settings.scale), (3, 1.0));
        assert_eq!((settings.program.as_path(), settings.page.is_some()), (Path::new("built"), true));
    }

    #[test]
    fn trees_rows_and_sizes_can_be_chosen() {
        let set = [("BENCH_TREES", "T2, T3"), ("BENCH_ROWS", "cold"), ("BENCH_SCALE", "0.1")];
        let settings = read(&set).expect("nothing is wrong");
        assert_eq!(settings.trees, [Tree::T2, Tree::T3]);
        assert_eq!((settings.scaled(1000), settings.scaled(1)), (100, 1));
        assert_eq!((settings.page, settings.others), (None, Others::Once));
    }

    #[test]
    fn a_value_that_means_nothing_is_refused() {
        for wrong in [
            ("BENCH_SCALE", "2"),
            ("BENCH_SCALE", "x"),
            ("BENCH_ROUNDS", "0"),
            ("BENCH_TREES", "T9"),
            ("BENCH_SYSCALLS", "1"),
        ] {
            assert!(read(&[wrong]).is_err(), "{wrong:?}");
        }
    }
}
