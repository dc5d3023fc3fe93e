//! The harness: builds trees, measures rows, writes what came of it. `rows` is the place where a row is added.

pub mod bars;
pub mod check;
pub mod child;
pub mod disturbance;
pub mod figures;
pub mod from_machine;
pub mod generate;
pub mod machine;
pub mod measure;
pub mod page;
pub mod plots;
pub mod results;
// The tests' own.
#[allow(dead_code)]
#[path = "../../../tests/common/rng.rs"]
pub mod rng;
pub mod rows;
pub mod server;
pub mod settings;
pub mod statistics;
pub mod syscalls;
pub mod table;
pub mod tools;
pub mod trees;
pub mod verify;
pub mod volume;
pub mod work;

use anyhow::{Context, bail};
use diskmirror::sys::mount::enter_private_namespace;
use results::{Results, RowResult};
use rows::Row;
use settings::Settings;
use work::Place;

/// Measures the rows that are asked for, prints them as a table, and merges them into the results and the page.
/// True if no tool failed, and every copy that was checked was equal to its source.
pub fn run(settings: &Settings) -> anyhow::Result<bool> {
    let mut results = Results::read(&settings.json)?;
    let rows = rows::chosen(&settings.rows, &settings.trees)?;
    let measured = if rows.is_empty() { Vec::new() } else { measure_all(&rows, settings, &mut results)? };
    if !measured.is_empty() {
        print!("{}", table::render(&measured));
        println!("\nkept in {}", settings.json.display());
    }
    if let Some(page) = &settings.page {
        page::write(page, &results)?;
        println!("written: {}", page.display());
    }
    Ok(measured.iter().all(|row| row.wrong.is_none()))
}

/// Tree by tree, so that no more than one lies on the disk; each row is kept as soon as it is measured.
fn measure_all(
    rows: &[&'static Row],
    settings: &Settings,
    results: &mut Results,
) -> anyhow::Result<Vec<RowResult>> {
    prepare(settings)?;
    let machine = machine::describe(settings);
    println!("{}", machine.line());
    let mut measured = Vec::new();
    for tree in rows::trees_of(rows) {
        let scratch = scratch(settings)?;
        let mut place = Place::build(tree, settings, scratch.path())?;
        for row in rows.iter().filter(|row| row.tree == tree) {
            let result = measure::row(row, &mut place, settings, &machine)?;
            results.merge(result.clone());
            results.write(&settings.json)?;
            measured.push(result);
        }
    }
    Ok(measured)
}

/// What must be true before anything is built. All mounts live in a namespace of this thread's own, and go with it.
fn prepare(settings: &Settings) -> anyhow::Result<()> {
    if !rustix::process::geteuid().is_root() {
        bail!("needs root: loop devices, mounts, dropping caches");
    }
    let missing = tools::missing_basics();
    if !missing.is_empty() {
        bail!("these programs are missing: {} (scripts/install-packages bench)", missing.join(", "));
    }
    if !settings.program.is_file() {
        bail!("{} is no program: cargo build --release", settings.program.display());
    }
    enter_private_namespace().context("a mount namespace of its own")
}

/// Mount points and catalogs; images are made here too, and lose their names as soon as they are attached.
fn scratch(settings: &Settings) -> anyhow::Result<tempfile::TempDir> {
    tempfile::Builder::new()
        .prefix("diskmirror-bench.")
        .tempdir_in(&settings.dir)
        .with_context(|| format!("a directory in {}", settings.dir.display()))
}
