//! The trees of a primary and its mirror as the commands that compare them see them: what is left out of each file
//! system, what the mirror shall hold instead of the primary's files, and both sides open.

pub mod damage;
pub mod excludes;
pub mod found;

use crate::boot::{self, Preparation, Tree};
use crate::config::{Config, Mirror};
use crate::layout::boots;
use crate::mirror::{Mounted, Source};
use crate::monitor::Monitor;
use crate::tree::{Pace, View};
use crate::units::{Considerate, Rate};
use anyhow::{Context, Result};
use std::os::fd::OwnedFd;
use std::path::Path;
use std::sync::Arc;

/// What was found in initramfs images, below the state directory.
const MEMORY_FILE: &str = "initramfs.json";

/// Whose trees they are.
pub struct Place<'a> {
    /// Where the primary is mounted.
    pub root: &'a Path,
    /// The configuration.
    pub config: &'a Config,
    /// The mirror.
    pub mirror: &'a Mirror,
    /// The state directory, below `root`.
    pub state_dir: &'a Path,
}

/// Enters a file system of the primary.
///
/// # Errors
/// The system's, and if something else was mounted in its place.
pub fn source_view(source: &Source) -> Result<View> {
    let cannot = || format!("cannot enter {}", source.path.display());
    let view = View::private(&source.path).with_context(cannot)?;
    let device = crate::sys::node::device_below(view.root()).with_context(cannot)?;
    anyhow::ensure!(device == source.device, "{}: something else was mounted in its place", cannot());
    Ok(view)
}

/// Enters a file system of the mirror.
///
/// # Errors
/// The system's.
pub fn mirror_view(mirror: &Mounted) -> Result<View> {
    let root = mirror.root.try_clone().context("cannot enter the mirror")?;
    View::of_fd(root).context("cannot enter the mirror")
}

/// How fast the primary may be read: what the configuration says of `mirror`, but for what was given (`limit`,
/// `considerate`) instead.
pub fn pace(
    mirror: &Mirror,
    limit: Option<Rate>,
    considerate: Option<Considerate>,
    monitor: &dyn Monitor,
) -> Arc<Pace> {
    let limit = limit.or(mirror.bwlimit).map(|rate| rate.0);
    Pace::new(limit, considerate.unwrap_or(mirror.considerate).share(), monitor)
}

/// What the mirror's boot files shall hold, given the primary's file systems (`sources`: each with its mount point, and its
/// root if it is there; one that no boot needs may be absent) and the mirror's `disk` as it is now; `keep` whether what is found in images may be kept for the next time.
///
/// # Errors
/// Why that cannot be decided.
pub fn preparation<'a>(
    place: &Place<'_>,
    sources: impl Iterator<Item = (&'a str, Option<&'a OwnedFd>)>,
    disk: &str,
    keep: bool,
) -> Result<Preparation> {
    let one = |(mount, root): (&str, Option<&OwnedFd>)| match root {
        Some(root) => Some(root.try_clone().map(|root| (mount.to_owned(), root)).map_err(Into::into)),
        None => boots(mount).then(|| Err(anyhow::anyhow!("{mount} is not mounted, and cannot be entered"))),
    };
    let identities = boot::identities(place.root, disk, &place.mirror.leave_out)?;
    let source = Tree::new(sources.filter_map(one).collect::<Result<_>>()?);
    let memory = place.state_dir.join(MEMORY_FILE);
    let (config, mirror) = (place.config, place.mirror);
    boot::prepare(&boot::Job { source: &source, config, mirror, memory: &memory, keep }, identities)
}

/// Patterns of what on the mirror is nobody's but its own; where that is not known (`None`), of all that may be.
pub fn own_patterns(preparation: Option<&Preparation>) -> Vec<String> {
    match preparation {
        Some(preparation) => preparation.own.iter().map(|path| globset::escape(path)).collect(),
        None => boot::undecided(),
    }
}
