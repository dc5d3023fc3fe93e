//! Who is who: the identifiers of the primary and of the open mirror, discovered afresh.

use crate::discover::{Tools, discover};
use crate::identity::{IdentityMap, Link};
use crate::layout::{Layout, Survey};
use anyhow::{Context, Result};
use std::fs;
use std::path::{Path, PathBuf};

/// Both disks as they are now, and which identifier of the mirror stands for which of the primary.
#[derive(Debug)]
pub struct Identities {
    /// Both disks.
    pub survey: Survey,
    /// The pairs.
    pub map: IdentityMap,
}

/// Looks at the primary mounted at `root` and at the mirror's `disk`, which must be open; the mirror has none of what
/// `left_out` names.
///
/// # Errors
/// Those of discovery; a mirror that is not shaped like the primary.
pub fn identities(root: &Path, disk: &str, left_out: &[String]) -> Result<Identities> {
    let mut survey = discover(root, None, Path::new(disk), &Tools { root: root.to_owned() })?;
    survey.primary.leave_out_partitions(left_out);
    let links = links(&[&survey.primary, &survey.mirror]);
    let map = IdentityMap::between(&survey.primary, &survey.mirror, &links)
        .with_context(|| format!("{} and {disk} are not of one shape", survey.primary.disk.path))?;
    Ok(Identities { survey, map })
}

/// Every link below /dev/disk to a node of these disks.
fn links(layouts: &[&Layout]) -> Vec<Link> {
    let nodes: Vec<(PathBuf, &str)> = layouts
        .iter()
        .flat_map(|layout| layout.walk())
        .filter_map(|(path, _)| Some((fs::canonicalize(path).ok()?, path)))
        .collect();
    let leads = |link: PathBuf| {
        let to = fs::canonicalize(&link).ok()?;
        let (_, node) = nodes.iter().find(|(node, _)| *node == to)?;
        Some(Link { link: link.to_str()?.to_owned(), node: (*node).to_owned() })
    };
    let entries = |dir: &Path| fs::read_dir(dir).into_iter().flatten().flatten().map(|entry| entry.path());
    let kinds = entries(Path::new("/dev/disk"));
    kinds.flat_map(|kind| entries(&kind).collect::<Vec<_>>()).filter_map(leads).collect()
}
