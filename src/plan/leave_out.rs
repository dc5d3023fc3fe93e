//! Leaving parts out that are asked to be left out, unless the mirror would not boot without them.

use super::Options;
use super::refuse::refusal;
use super::words::what;
use crate::layer::partition_table::is_efi_system;
use crate::layout::{Content, LeftPart, NotMirrored, Survey};
use crate::refusal::Refusal;

/// The survey without what is left out, and what that is.
///
/// # Errors
/// A `Refusal` for a name that names nothing, and for what the boot needs.
pub fn leave_out(survey: &Survey, options: &Options) -> Result<(Survey, Vec<LeftPart>), Refusal> {
    let mut survey = survey.clone();
    let (parts, unknown) = survey.primary.leave_out(&options.leave_out);
    if let Some(name) = unknown.iter().find(|name| !options.left_out_before.contains(name)) {
        let disk = survey.primary.disk.path.clone();
        return Err(refusal(&survey, &format!("{name} is no part of {disk}"))
            .why("--leave-out takes a partition's or a volume's node, where it is mounted, group or group/volume")
            .remedy(format!("name it as this does: lsblk -o PATH,SIZE,FSTYPE,MOUNTPOINT {disk}")));
    }
    let needed: Vec<String> = parts.iter().filter_map(|part| needs(part, &survey)).collect();
    if needed.is_empty() {
        return Ok((survey, parts));
    }
    let refused = refusal(&survey, "it would not boot without what is to be left out");
    Err(Refusal { why: needed, ..refused }
        .remedy("leave that --leave-out away, or take it out of leave_out in the configuration"))
}

/// Why the boot needs a part, if it does.
fn needs(part: &LeftPart, survey: &Survey) -> Option<String> {
    let path = &part.path;
    let is_esp = part.type_id.as_deref().is_some_and(is_efi_system);
    let why = match &part.content {
        Content::BiosBoot => Some("it holds GRUB's core image".to_owned()),
        Content::Extended => Some("the logical partitions lie in it".to_owned()),
        _ if is_esp => Some("it is the EFI system partition".to_owned()),
        content => targets(content)
            .into_iter()
            .find(|target| is_needed(target))
            .map(|target| format!("it holds {target}")),
    };
    why.or_else(|| split(&part.content, survey)).map(|why| format!("{path}: {why}"))
}

/// Why a physical volume cannot be left out: the rest of its group would be mirrored.
fn split(content: &Content, survey: &Survey) -> Option<String> {
    match content {
        Content::Luks(luks) => split(&luks.content, survey),
        other => {
            let group = other.group()?;
            let is_kept = survey.primary.walk().iter().any(|(_, kept)| kept.group() == Some(group));
            is_kept.then(|| {
                format!(
                    "the volume group {group} lies on it, and elsewhere (--leave-out {group} is all of it)"
                )
            })
        }
    }
}

/// Where what a part holds is mounted.
fn targets(content: &Content) -> Vec<String> {
    match content {
        Content::Filesystem(fs) => fs.mounted_at.iter().chain(&fs.fstab_target).cloned().collect(),
        Content::Unsupported(thing) => thing.targets.clone(),
        Content::Luks(luks) => targets(&luks.content),
        Content::Volumes(vg) => vg.volumes.iter().flat_map(|lv| targets(&lv.content)).collect(),
        _ => Vec::new(),
    }
}

/// Whether a system comes up only with what is mounted there.
pub fn is_needed(target: &str) -> bool {
    matches!(target, "/" | "/boot" | "/efi" | "/etc" | "/usr" | "/var") || target.starts_with("/boot/")
}

/// That the parts are not in the mirror.
pub fn as_not_mirrored(parts: &[LeftPart]) -> impl Iterator<Item = NotMirrored> {
    parts.iter().map(|part| NotMirrored {
        what: part.path.clone(),
        size: Some(part.size),
        why: format!("is left out, as you said ({})", what(&part.content)),
        on_primary: true,
    })
}
