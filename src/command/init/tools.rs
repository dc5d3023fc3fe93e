//! Whether everything is installed that a plan, and the runs after it, will call: looked at before the first byte is
//! written, not when the step comes.

use crate::discover::probe::missing_all;
use crate::layout::FsKind;
use crate::plan::Plan;
use crate::refusal::Refusal;
use crate::step::Action;
use crate::sys::command::is_installed;
use std::collections::BTreeSet;

/// Refuses a plan of which a tool is missing.
///
/// # Errors
/// The refusal: every tool, and the packages that have them.
pub fn refuse_without(plan: &Plan) -> Result<(), Refusal> {
    let needed = of_steps(plan).chain(of_runs(plan));
    let missing: BTreeSet<&str> = needed.filter(|program| !is_installed(program)).collect();
    if missing.is_empty() {
        return Ok(());
    }
    Err(missing_all(&missing.into_iter().collect::<Vec<_>>()))
}

fn of_steps(plan: &Plan) -> impl Iterator<Item = &str> {
    plan.steps.iter().chain(&plan.closing).filter_map(|step| match &step.action {
        Action::Run(invocation) => Some(invocation.program.as_str()),
        Action::Write { .. } | Action::BootBlock { .. } | Action::Fill { .. } => None,
    })
}

/// The checkers of the mirror's file systems; an XFS is checked by being mounted.
fn of_runs(plan: &Plan) -> impl Iterator<Item = &str> {
    plan.volumes
        .iter()
        .flat_map(|volume| match volume.kind {
            FsKind::Ext2 => &["fsck", "fsck.ext2"][..],
            FsKind::Ext3 => &["fsck", "fsck.ext3"],
            FsKind::Ext4 => &["fsck", "fsck.ext4"],
            FsKind::Vfat => &["fsck", "fsck.vfat"],
            FsKind::Xfs => &[],
        })
        .copied()
}
