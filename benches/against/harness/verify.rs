//! What `diskmirror verify` does between opening the mirror's disk and closing it, on two directories: a process of the bench
//! itself, so that it needs no configured disk.

use anyhow::{Context, bail};
use diskmirror::command::sync::root_state;
use diskmirror::monitor::Silent;
use diskmirror::tree::{self, Options, Remembered, Sample, Scope, View};
use std::collections::BTreeSet;
use std::path::Path;

/// The bench's argument that asks for it; source, copy and catalog follow.
pub const WORD: &str = "verify";

/// Reads `source` and its `copy` whole, by the `catalog` of the sync that made it.
///
/// # Errors
/// What cannot be read; a catalog that is not believed; a copy that is not what it should be.
pub fn verify(source: &Path, copy: &Path, catalog: &Path) -> anyhow::Result<()> {
    let view = |path: &Path| View::private(path).with_context(|| path.display().to_string());
    let (source, copy) = (view(source)?, view(copy)?);
    let mut options = Options::default();
    let state = root_state(&copy)?;
    let remembered =
        Remembered { path: catalog, state: &state, settled: true, record: false, whole_every_secs: None };
    tree::remember(&mut options, &source, &copy, &remembered)?;
    if !tree::is_believed(&options) {
        bail!("{} is not believed", catalog.display());
    }
    let scope = Scope::Tree(Sample::ALL, BTreeSet::new());
    let found = tree::verify(&source, &copy, &options, &scope, &Silent)?;
    if found.changed_since > 0 || found.counts != [0; 3] {
        bail!("{} changed, damaged: {:?}", found.changed_since, found.differences.first());
    }
    Ok(())
}
