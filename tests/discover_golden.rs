//! What discovery makes of the storage tools' real output: `tests/layouts/NN-name/` holds what they said of a server
//! (the `versions` file tells where), and `layout.json` what must come out, or `refusal.txt` how it is refused.
//!
//! `DISKMIRROR_BLESS=1 cargo test --test discover_golden` rewrites the expectations; read the difference.

use diskmirror::discover::{Recorded, discover};
use diskmirror::layout::Survey;
use diskmirror::refusal::Refusal;
use std::fs;
use std::path::{Path, PathBuf};

/// A server's tool output, and which of its disks is which (the `disks` file; a second `mirror=` line is a case of
/// its own, whose expectation carries that disk's name).
struct Case {
    dir: PathBuf,
    primary: String,
    mirror: String,
    root: String,
    /// What distinguishes the expectation's file name: nothing, or `.vdc`.
    suffix: String,
}

impl Case {
    fn all_of(dir: PathBuf) -> Vec<Self> {
        let disks = fs::read_to_string(dir.join("disks")).expect("every layout says which disk is which");
        let lines = |key: &str| {
            let values = disks.lines().filter_map(|line| line.strip_prefix(key)?.strip_prefix('='));
            values.map(str::to_owned).collect::<Vec<_>>()
        };
        let one = |key: &str| match lines(key).as_slice() {
            [value] => value.clone(),
            _ => panic!("{}/disks must say {key}= once", dir.display()),
        };
        let mirrors = lines("mirror").into_iter().enumerate().map(|(i, mirror)| Case {
            suffix: if i == 0 { String::new() } else { mirror.replace("/dev/", ".") },
            primary: one("primary"),
            root: one("root"),
            dir: dir.clone(),
            mirror,
        });
        mirrors.collect()
    }

    fn discover(&self, primary: Option<&str>) -> anyhow::Result<Survey> {
        let ask = Recorded { dir: self.dir.clone() };
        discover(Path::new(&self.root), primary.map(Path::new), Path::new(&self.mirror), &ask)
    }
}

fn cases() -> Vec<Case> {
    let layouts = Path::new(env!("CARGO_MANIFEST_DIR")).join("tests/layouts");
    let entries = fs::read_dir(layouts).expect("the layouts are in the repository");
    let mut dirs: Vec<PathBuf> = entries.map(|entry| entry.expect("it can be read").path()).collect();
    dirs.sort();
    assert!(!dirs.is_empty(), "there is no layout to look at");
    dirs.into_iter().filter(|dir| dir.is_dir()).flat_map(Case::all_of).collect()
}

/// The file an outcome belongs into, and its text.
fn outcome(case: &Case) -> (String, String) {
    let suffix = &case.suffix;
    match case.discover(None) {
        Ok(survey) => (
            format!("layout{suffix}.json"),
            serde_json::to_string_pretty(&survey).expect("plain data") + "\n",
        ),
        Err(error) => {
            let refusal = error.downcast_ref::<Refusal>();
            let refusal = refusal.unwrap_or_else(|| panic!("{}: {error:#}", case.dir.display()));
            (format!("refusal{suffix}.txt"), format!("error: {refusal}\n"))
        }
    }
}

#[test]
fn every_recorded_server_is_discovered_as_it_was_reviewed() {
    let bless = std::env::var_os("DISKMIRROR_BLESS").is_some();
    let mut wrong = Vec::new();
    for case in cases() {
        let (file, text) = outcome(&case);
        let path = case.dir.join(file);
        if bless {
            fs::write(&path, text).expect("the layout can be written");
        } else if fs::read_to_string(&path).ok().as_deref() != Some(&text) {
            wrong.push(format!("{} should be\n{text}", path.display()));
        }
    }
    assert!(wrong.is_empty(), "{}", wrong.join("\n"));
}

#[test]
fn the_primary_is_found_by_what_is_mounted_on_its_root() {
    for case in cases() {
        if let Ok(found) = case.discover(None) {
            assert_eq!(found.primary.disk.path, case.primary, "{}", case.dir.display());
            let named = case.discover(Some(&case.primary)).expect("it was found without its name, too");
            assert_eq!(found, named, "{}", case.dir.display());
        }
    }
}

#[test]
fn the_primary_is_refused_as_its_own_mirror() {
    for case in cases().into_iter().filter(|case| case.dir.join("layout.json").exists()) {
        let refusal =
            Case { mirror: case.primary.clone(), ..case }.discover(None).expect_err("it is one disk");
        let refusal = refusal.downcast::<Refusal>().expect("it is a plain no");
        assert!(refusal.what.ends_with("as the mirror: it is the primary"), "{refusal}");
    }
}

#[test]
fn a_partition_is_refused_as_the_mirror_and_its_disk_is_named() {
    for case in cases().into_iter().filter(|case| case.dir.join("layout.json").exists()) {
        let survey = case.discover(None).expect("it was before");
        let partition = survey.primary.disk.partition_path(1);
        let refusal = Case { mirror: partition, ..case }.discover(None).expect_err("it is no disk");
        let refusal = refusal.downcast::<Refusal>().expect("it is a plain no");
        let disk = format!("on the disk {}", survey.primary.disk.path);
        assert!(refusal.why.iter().any(|why| why.ends_with(&disk)), "{refusal}");
    }
}

#[test]
fn a_disk_that_is_not_there_is_refused() {
    let case = cases().remove(0);
    let refusal = Case { mirror: "/dev/sdzz".into(), ..case }.discover(None).expect_err("there is none");
    assert!(refusal.to_string().contains("there is no such disk"), "{refusal}");
}
