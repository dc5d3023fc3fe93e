//! Every reason not to make a mirror that can be seen beforehand, all of them in one answer.

use super::leave_out::is_needed;
use super::{FillChoice, Options, Unlock};
use crate::layer::lvm;
use crate::layout::{Content, Layout, Survey};
use crate::refusal::Refusal;
use crate::step::{Filling, quoted};

/// Refuses what cannot or must not be done.
///
/// # Errors
/// The `Refusal`.
pub fn unfit(survey: &Survey, options: &Options) -> Result<(), Refusal> {
    same_disk(survey)?;
    in_use(&survey.mirror, options)?;
    unmirrorable(survey)?;
    unkeepable(survey, options)?;
    ill_named(survey, options)
}

/// Begins a refusal to prepare the mirror.
pub fn refusal(survey: &Survey, because: &str) -> Refusal {
    let disk = &survey.mirror.disk;
    Refusal::new(
        format!("refusing to prepare {}: {because}", disk.title()),
        format!("nothing was written to {}", disk.path),
    )
}

fn same_disk(survey: &Survey) -> Result<(), Refusal> {
    let (primary, mirror) = (&survey.primary.disk, &survey.mirror.disk);
    if primary.path == mirror.path {
        return Err(refusal(survey, "it is the primary")
            .why(format!("the server runs from {}", primary.path))
            .remedy("name the other disk: lsblk -d -o PATH,SIZE,MODEL,SERIAL"));
    }
    if mirror.read_only {
        return Err(refusal(survey, "it is read-only")
            .why(format!("the kernel refuses writes to {}", mirror.path))
            .remedy(format!("blockdev --setrw {}, or move the write-protect switch", mirror.path)));
    }
    Ok(())
}

fn in_use(mirror: &Layout, options: &Options) -> Result<(), Refusal> {
    let uses = mirror.in_use(&options.unfinished_groups);
    if uses.is_empty() {
        return Ok(());
    }
    let refusal = Refusal {
        why: uses,
        ..Refusal::new(
            format!("refusing to prepare {}: in use", mirror.disk.title()),
            format!("nothing was written to {}", mirror.disk.path),
        )
    };
    let release = release(mirror);
    Err(if release.is_empty() { refusal } else { refusal.remedy(release.join(" && ")) })
}

/// The commands that would take the disk out of use, innermost first.
fn release(layout: &Layout) -> Vec<String> {
    let mut commands = Vec::new();
    for (path, content) in layout.walk().into_iter().rev() {
        match content {
            Content::Filesystem(fs) => {
                commands.extend(fs.mounted_at.iter().rev().map(|m| format!("umount {}", quoted(m))))
            }
            Content::Swap(swap) if swap.active => commands.push(format!("swapoff {path}")),
            Content::Luks(luks) => {
                commands.extend(luks.mapper.iter().map(|m| format!("cryptsetup close {m}")))
            }
            Content::PhysicalVolume(_) => commands.push(format!("pvremove {path}")),
            Content::Volumes(vg) => {
                commands.push(format!("vgchange -an {0} && vgremove {0} && pvremove {path}", vg.name));
            }
            _ => {}
        }
    }
    commands
}

fn unmirrorable(survey: &Survey) -> Result<(), Refusal> {
    let primary = &survey.primary;
    let mut why = Vec::new();
    let mut spare = Vec::new();
    for (path, content) in primary.walk() {
        match content {
            Content::Unsupported(thing) => {
                why.push(format!("{path} is {}, which cannot be mirrored yet", thing.what));
                if !thing.targets.iter().any(|target| is_needed(target)) && path != primary.disk.path {
                    spare.push(format!("--leave-out {}", quoted(path)));
                }
            }
            Content::Luks(luks) if luks.mapper.is_none() => {
                spare.push(format!("--leave-out {}", quoted(path)));
                why.push(format!(
                    "{path} is an encrypted container that is not open: what it holds cannot be seen"
                ));
            }
            _ => {}
        }
    }
    match &primary.content {
        Content::Table(table) => {
            let nested = table.partitions.iter().filter(|p| matches!(p.content, Content::Table(_)));
            why.extend(nested.map(|p| format!("{} holds a partition table of its own", p.path)));
        }
        _ => why.push(format!("{} has no partition table", primary.disk.path)),
    }
    if !primary.filesystems().iter().any(|fs| fs.target() == Some("/")) {
        why.push(format!("no file system on {} is mounted as the root", primary.disk.path));
    }
    if why.is_empty() {
        return Ok(());
    }
    let mut refusal = Refusal::new(
        format!("refusing to mirror {}: it holds what cannot be mirrored", primary.disk.title()),
        format!("nothing was written to {}", survey.mirror.disk.path),
    );
    refusal.why = why;
    if !spare.is_empty() {
        refusal = refusal.remedy(format!("if its mirror can do without, add {}", spare.join(" ")));
    }
    Err(refusal.remedy("see \"What cannot be mirrored yet\" in the README"))
}

fn unkeepable(survey: &Survey, options: &Options) -> Result<(), Refusal> {
    let encrypted = !options.plaintext && !survey.primary.containers().is_empty();
    if encrypted && options.unlock == Unlock::Keyfile && !root_is_encrypted(&survey.primary.content, false) {
        return Err(refusal(survey, "its key file would lie on an unencrypted file system")
            .why(format!("{} would be read by whoever takes the primary away", options.key_dir))
            .remedy("add --unlock crypttab: you open the mirror yourself, with the passphrase"));
    }
    if options.fill == FillChoice::With(Filling::Discard) && !survey.mirror.disk.discard {
        return Err(refusal(survey, "it takes no discards")
            .why("--fill discard needs a disk that does")
            .remedy("use --fill random, zero or none"));
    }
    let odd = survey.primary.containers().into_iter().find(|luks| luks.keyslots.is_empty());
    match odd.filter(|_| encrypted) {
        Some(luks) => Err(refusal(survey, "the primary's container has no key slot with a known cost")
            .why(format!("cryptsetup luksDump {} names none", luks.path))
            .remedy(format!("cryptsetup luksAddKey {}", luks.path))),
        None => Ok(()),
    }
}

fn root_is_encrypted(content: &Content, inside: bool) -> bool {
    match content {
        Content::Table(table) => table.partitions.iter().any(|p| root_is_encrypted(&p.content, inside)),
        Content::Luks(luks) => root_is_encrypted(&luks.content, true),
        Content::Volumes(vg) => vg.volumes.iter().any(|lv| root_is_encrypted(&lv.content, inside)),
        Content::Filesystem(fs) => inside && fs.target() == Some("/"),
        _ => false,
    }
}

fn ill_named(survey: &Survey, options: &Options) -> Result<(), Refusal> {
    let Some(vg) = &options.vg else { return Ok(()) };
    if !lvm::is_name(vg) {
        return Err(refusal(survey, &format!("{vg:?} is no name for a volume group"))
            .why("LVM takes letters, digits and + _ . -, and no hyphen in front")
            .remedy("name another: --vg mirror"));
    }
    if survey.around.volume_groups.contains(vg) {
        return Err(refusal(survey, &format!("the volume group {vg} exists already"))
            .why("two groups of one name keep a machine from booting (vgrename(8))")
            .remedy("name another, or leave --vg out"));
    }
    Ok(())
}
