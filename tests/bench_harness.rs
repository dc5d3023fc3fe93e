//! The harness of `make bench`: its unit tests, and one whole bench of trees so small that it says nothing.

#[path = "../benches/against/harness/mod.rs"]
mod harness;

use harness::results::Results;
use harness::settings::Settings;
use std::path::Path;

fn settings(directory: &Path, set: &[(&str, &str)]) -> Settings {
    let (json, page) = (directory.join("results.json"), directory.join("page.md"));
    let variables = |name: &str| match name {
        "BENCH_DIR" => Some(directory.display().to_string()),
        "BENCH_JSON" => Some(json.display().to_string()),
        "BENCH_PAGE" => Some(page.display().to_string()),
        // Others may be busy while tests run: that is told, and nothing is repeated for it.
        "BENCH_REPEATS" => Some("0".to_owned()),
        _ => set.iter().find(|(set, _)| *set == name).map(|(_, value)| (*value).to_owned()),
    };
    Settings::read(&variables, Path::new(env!("CARGO_BIN_EXE_diskmirror")))
        .expect("nothing is wrong with them")
}

fn scratch() -> tempfile::TempDir {
    tempfile::tempdir_in(env!("CARGO_TARGET_TMPDIR")).expect("a directory below the build directory")
}

/// A line for people and for the summary of `make test`, as the other tests have it.
fn skipped(what: &str, why: &str) {
    use std::io::Write;
    let line = format!("skipped: {what}: {why}");
    println!("{line}");
    if let Some(path) = std::env::var_os("DISKMIRROR_SKIPS") {
        let file = std::fs::OpenOptions::new().create(true).append(true).open(path);
        writeln!(file.expect("the list of skips"), "{line}").expect("the list of skips can be written");
    }
}

#[test]
fn a_small_bench_measures_checks_and_keeps_its_rows() {
    if !rustix::process::geteuid().is_root() {
        return skipped("a small bench", "needs root (loop devices, mounts)");
    }
    let directory = scratch();
    // The page of the repository is what a bench writes into.
    std::fs::copy("doc/performance.md", directory.path().join("page.md")).expect("there is a page");
    let rows = ("BENCH_ROWS", "first-copy-t2-cold no-change-t2-warm");
    let set = [rows, ("BENCH_SCALE", "0.001"), ("BENCH_ROUNDS", "2"), ("BENCH_SYSCALLS", "no")];
    let settings = settings(directory.path(), &set);
    assert!(harness::run(&settings).expect("it can be measured"), "copies are equal");

    let results = Results::read(&settings.json).expect("results");
    let row = results.rows.iter().find(|row| row.key == "no-change-t2-warm").expect("it was measured");
    assert_eq!((row.entries, row.ours.samples.len(), row.against.samples.len()), (1041, 2, 2));
    assert_eq!((row.ours.equal, row.against.equal, &row.wrong), (Some(true), Some(true), &None));
    assert!(row.ours.samples.iter().all(|sample| sample.seconds > 0.0 && sample.peak_kib > 0));
    assert!(results.rows.iter().any(|row| row.key == "first-copy-t2-cold"));
    let left = std::fs::read_dir(directory.path()).expect("the directory").count();
    assert_eq!(left, 3, "nothing is left but results, page and pictures");
    let page = std::fs::read_to_string(directory.path().join("page.md")).expect("the page");
    assert!(page.contains("BENCH_SCALE=0.001"), "it says on what it was measured: {page}");
}

#[test]
fn what_the_bench_verifies_is_read_and_compared() {
    let directory = scratch();
    let at = |name: &str| directory.path().join(name);
    for name in ["source", "copy"] {
        std::fs::create_dir(at(name)).expect("a directory");
    }
    std::fs::create_dir(at("source/d")).expect("a directory");
    std::fs::write(at("source/d/file"), "content").expect("written");
    for _ in 0..2 {
        std::thread::sleep(std::time::Duration::from_millis(60));
        let sync = std::process::Command::new(env!("CARGO_BIN_EXE_diskmirror"))
            .args(["sync", "--catalog"])
            .args([at("catalog"), at("source"), at("copy")])
            .output()
            .expect("it starts");
        assert!(sync.status.success(), "{sync:?}");
    }
    let verify = || harness::verify::verify(&at("source"), &at("copy"), &at("catalog"));
    verify().expect("both sides are equal");
    let copy = std::fs::OpenOptions::new().write(true).open(at("copy/d/file")).expect("open");
    let written = copy.metadata().and_then(|found| found.modified()).expect("there");
    std::io::Write::write_all(&mut &copy, b"CONTENT").expect("written");
    copy.set_modified(written).expect("set");
    let error = verify().expect_err("the copy is damaged");
    assert!(error.to_string().contains("Mirror"), "{error:#}");
}
