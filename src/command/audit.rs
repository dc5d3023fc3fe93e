//! `audit`: does anything on the mirror still need the primary?

use crate::boot::audit::{self, Facts};
use crate::boot::way::Way;
use crate::boot::{self, Tree};
use crate::cli::AuditArgs;
use crate::command::output;
use crate::config::{Config, Mirror, Volume, below};
use crate::exit_code::Exit;
use crate::layout::boots;
use crate::mirror::{self, Access, Opened, device_of_source};
use crate::record::Finding;
use crate::refusal::stated;
use crate::render;
use crate::sys::lock::{Attempt, Holder};
use crate::sys::mount;
use crate::tree::View;
use anyhow::{Context, Result};
use std::collections::BTreeSet;
use std::path::Path;

/// What is true however an audit ends.
const UNTOUCHED: &str = "nothing was written to the mirror";

/// Audits the mirror of the primary mounted at `root`; writes nothing.
///
/// # Errors
/// A `Refusal` if the mirror cannot be looked at; a `Failure` if it cannot be read.
pub fn audit(root: &Path, config_file: Option<&Path>, args: &AuditArgs) -> Result<Exit> {
    let config = Config::read(root, config_file)?;
    let mirror = config.mirror(args.name.as_deref())?;
    mirror::check_role(root, mirror)?;
    let runtime_dir = below(root, &config.runtime_dir);
    let now = jiff::Timestamp::now().as_second();
    let holder = Holder { pid: std::process::id(), since: now, what: "diskmirror audit".into() };
    let _held = match mirror::lock(&runtime_dir, mirror, &holder)? {
        Attempt::Taken(held) => held,
        Attempt::Busy(holder) => {
            output::error(&mirror::busy(holder, now));
            return Ok(Exit::Locked);
        }
    };
    let findings = look(root, mirror, &runtime_dir)
        .map_err(|error| stated(error, "the mirror cannot be audited", UNTOUCHED))?;
    let is_alone = findings.iter().all(|finding| finding.is_remark);
    let forgotten = match is_alone {
        true => Ok(()),
        false => compare_all_next(&config.catalogs(root, mirror)),
    };
    match args.json {
        true => output::line(&render::audit::json(&findings))?,
        false => output::print(&render::audit::text(&mirror.disk.title(), &findings))?,
    }
    forgotten?;
    Ok(if is_alone { Exit::Done } else { Exit::Differences })
}

/// Takes away what the last run knew: the mirror is not as that run left it, so the next one looks at all of it.
fn compare_all_next(catalogs: &Path) -> Result<()> {
    match std::fs::remove_dir_all(catalogs) {
        Err(error) if error.kind() != std::io::ErrorKind::NotFound => {
            Err(error).with_context(|| format!("cannot remove {}", catalogs.display()))
        }
        _ => Ok(()),
    }
}

/// What the primary's boot loaders name and it has not; nothing is said to be absent where a part of what boots is not mounted.
fn absent(root: &Path, mirror: &Mirror) -> Result<BTreeSet<String>> {
    let is_mounted = |volume: &&Volume| device_of_source(root, volume).is_some();
    if mirror.volumes.iter().any(|volume| boots(&volume.mount) && !is_mounted(&volume)) {
        return Ok(BTreeSet::new());
    }
    let mounted = mirror.volumes.iter().filter(is_mounted);
    let open = |volume: &Volume| {
        let view = View::private(&mirror::mounted_below(root, &volume.mount))?;
        Ok((volume.mount.clone(), view.root().try_clone()?))
    };
    let source = Tree::new(mounted.map(open).collect::<Result<_>>()?);
    Ok(Way::follow(&source)?.absent(&source)?)
}

/// Opens the mirror for reading, searches it, closes it.
fn look(root: &Path, mirror: &Mirror, runtime_dir: &Path) -> Result<Vec<Finding>> {
    mount::enter_private_namespace().context("cannot have a mount namespace of its own: is this root?")?;
    mirror::sweep(mirror)?;
    let opened = mirror::find(mirror)?.open(mirror, root, true)?;
    let findings = searched(root, mirror, runtime_dir, &opened)?;
    opened.close()?;
    Ok(findings)
}

fn searched(root: &Path, mirror: &Mirror, runtime_dir: &Path, opened: &Opened<'_>) -> Result<Vec<Finding>> {
    let devices: Vec<_> = mirror.volumes.iter().filter_map(|volume| device_of_source(root, volume)).collect();
    let identities = boot::identities(root, &opened.disk, &mirror.leave_out)?;
    let mounted = opened.mount(mirror, runtime_dir, Access::ReadOnly, &devices)?;
    let tree = Tree::of_mirror(mirror, &mounted)?;
    let facts = Facts { absent: absent(root, mirror)?, ..Facts::of(&identities)? };
    let found = audit::audit(&tree, &facts).context("cannot read the mirror's boot files")?;
    let findings = audit::without_ignored(found, &mirror.audit_ignore)?;
    drop(tree);
    mounted.into_iter().rev().try_for_each(mirror::Mounted::unmount)?;
    Ok(findings)
}
