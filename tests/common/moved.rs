//! What is moved as an administrator moves it: by a shell; and whether the mirror followed it by renaming.
//!
//! A [`Case`] is two short scripts, run in a directory of their own: what there is, and what is done to it. All regular
//! files of a case have one size and one mtime when it begins, so that neither tells which is which.

use super::cataloged::Cataloged;
use super::comparer::{Entry, Snapshot, compare};
use super::names::shown;
use super::sync_command::Report;
use std::collections::HashMap;
use std::fs;
use std::path::Path;
use std::process::{Command, Stdio};

/// `file NAME …` makes files of one size, each with a content of its own; `tree NAME …` directories with something below.
const WORDS: &str = r#"
    set -eu; umask 022; LC_ALL=C; export LC_ALL
    file() { for f; do n=$((n + 1)); printf '%-200s' "$where $f $n" >"$f"; done; }
    tree() { for d; do
        mkdir -p "$d/sub/empty"; file "$d/one" "$d/two" "$d/sub/three"; ln -s one "$d/link"
    done; }
    # Changes places.
    swap() { mv -T "$1" swapped; mv -T "$2" "$1"; mv -T swapped "$2"; }
    # Other bytes, the same size, and the mtime put back.
    overwrite() { for f; do
        t=$(stat -c @%.9Y "$f"); n=$((n + 1)); printf '%-200s' "over $f $n" >"$f"; touch -d "$t" "$f"
    done; }
"#;
const ALIKE: &str = "find . -type f -exec touch -d @1700000000 {} + 2>/dev/null || true";

/// What is moved, and what a sync then counts. Where a count is `None`, the mirror's content alone is judged.
#[derive(Debug, Clone, Copy)]
pub struct Case {
    pub what: &'static str,
    pub before: &'static str,
    pub then: &'static str,
    pub renamed: Option<u64>,
    pub copied: Option<u64>,
    pub deleted: Option<u64>,
    pub links: Option<u64>,
}

/// Everything that was moved is renamed: nothing is copied, deleted or linked.
pub const fn renames(what: &'static str, before: &'static str, then: &'static str, renamed: u64) -> Case {
    let none = Some(0);
    Case { what, before, then, renamed: Some(renamed), copied: none, deleted: none, links: none }
}

/// The mirror is equal afterwards, however it gets there.
pub const fn mirrors(what: &'static str, before: &'static str, then: &'static str) -> Case {
    Case { what, before, then, renamed: None, copied: None, deleted: None, links: None }
}

impl Case {
    /// The same, and so many files are copied.
    pub const fn copies(self, copied: u64) -> Case {
        Case { copied: Some(copied), ..self }
    }
    /// The same, and so many entries are deleted.
    pub const fn deletes(self, deleted: u64) -> Case {
        Case { deleted: Some(deleted), ..self }
    }
    /// The same, and so many names are given to what has one already.
    pub const fn links(self, links: u64) -> Case {
        Case { links: Some(links), ..self }
    }
    /// What is replaced by what was moved may count as deleted or not.
    pub const fn replaces(self) -> Case {
        Case { deleted: None, ..self }
    }
    /// No more than this is said of how often something was renamed.
    pub const fn however(self) -> Case {
        Case { renamed: None, links: None, ..self }
    }

    fn check(&self, pair: &Cataloged, directory: &str) -> Result<(), String> {
        let trees = || [pair.at(directory), pair.copied(directory)].map(|tree| Snapshot::of(&tree));
        let before = trees();
        script(&pair.at(directory), self.then, 100);
        let report = pair.run(&[]);
        let after = trees();
        let mut wrong = self.miscounted(&report);
        wrong.extend(compare(&after[0], &after[1]).iter().map(ToString::to_string));
        if self.renamed.is_some() {
            wrong.extend(made_anew(&before, &after));
        }
        let again = pair.run(&[]);
        if again.exit != 0 || super::sync_command::CHANGES.iter().any(|field| again.count(field) != 0) {
            wrong.push(format!("the next sync was not without work: {again:?}"));
        }
        if wrong.is_empty() {
            return Ok(());
        }
        let Case { what, before, then, .. } = self;
        Err(format!(
            "{what}:  {before}  |  {then}\n      {}\n      {}",
            wrong.join("\n      "),
            told(&report)
        ))
    }

    fn miscounted(&self, report: &Report) -> Vec<String> {
        if report.exit != 0 || !report.stderr.is_empty() {
            return vec![format!("exit {}: {}", report.exit, report.stderr)];
        }
        let counts = [
            ("renamed", self.renamed),
            ("files_copied", self.copied),
            ("bytes_copied", self.copied.filter(|copied| *copied == 0)),
            ("deleted", self.deleted),
            ("hardlinks", self.links),
        ];
        let of = |(name, wanted): (&str, Option<u64>)| {
            let found = report.count(name);
            wanted
                .filter(|wanted| *wanted != found)
                .map(|wanted| format!("{name} is {found}, and not {wanted}"))
        };
        counts.into_iter().filter_map(of).collect()
    }
}

fn told(report: &Report) -> String {
    format!("{} {}", report.json, report.stderr)
}

/// Prepares all cases, lets a sync settle, and judges each: what fails is told of all of them.
pub fn judge(pair: Cataloged, kind: &str, cases: &[Case]) {
    let directory = |number: usize| format!("case-{number}");
    for (number, case) in cases.iter().enumerate() {
        fs::create_dir(pair.at(&directory(number))).unwrap();
        script(&pair.at(&directory(number)), &format!("{}\n{ALIKE}", case.before), 0);
    }
    let pair = pair.settled();
    let all = cases.iter().enumerate();
    let wrong: Vec<_> =
        all.filter_map(|(number, case)| case.check(&pair, &directory(number)).err()).collect();
    assert!(wrong.is_empty(), "{kind}: {} of {}\n  {}", wrong.len(), cases.len(), wrong.join("\n  "));
    pair.assert_equal(kind);
    pair.settle();
    pair.assert_used(kind);
}

/// Runs a script in `directory`; what its `file`s hold is told apart by `numbers`.
///
/// # Panics
/// With what it said, if it fails.
pub fn script(directory: &Path, text: &str, numbers: u64) {
    let shell = Command::new("sh")
        .args(["-c", &format!("{WORDS}\n{text}")])
        .env("n", numbers.to_string())
        .env("where", directory.file_name().unwrap_or_default())
        .current_dir(directory)
        .stdin(Stdio::null())
        .output()
        .expect("a shell");
    assert!(shell.status.success(), "{text}: {}", String::from_utf8_lossy(&shell.stderr));
}

/// Which regular files and directories of the source, unchanged but for their names, another inode of the mirror stands
/// for than before: they were made anew, and not renamed. A slash ends a directory's path. Each pair is a source and its mirror.
pub fn made_anew(before: &[Snapshot; 2], after: &[Snapshot; 2]) -> Vec<String> {
    let known = |entry: &Entry| {
        let same = entry.is_file().then_some((entry.content, entry.mtime));
        (entry.is_dir() || entry.is_file()).then_some((entry.inode.0, entry.born, same))
    };
    let pairs = |trees: &[Snapshot; 2]| {
        let [source, mirror] = trees;
        let both = |(path, entry): (&Vec<u8>, &Entry)| {
            Some((path.clone(), known(entry)?, mirror.entries.get(path)?.inode.0))
        };
        source.entries.iter().filter_map(both).collect::<Vec<_>>()
    };
    let was: HashMap<_, _> = pairs(before).into_iter().map(|(_, id, inode)| (id, inode)).collect();
    let is_dir = |path: &Vec<u8>| after[0].entries.get(path).is_some_and(Entry::is_dir);
    let anew = |(path, id, inode): (Vec<u8>, _, u64)| {
        let was = was.get(&id).filter(|was| **was != inode)?;
        let slash = if is_dir(&path) { "/" } else { "" };
        Some(format!("{}{slash}: inode {was} of the mirror became {inode}: it was made anew", shown(&path)))
    };
    pairs(after).into_iter().filter_map(anew).collect()
}
