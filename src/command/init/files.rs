//! The files that `init` writes on the primary: the configuration, and lines in fstab and crypttab where asked for.

use super::Place;
use crate::cli::MirrorOptions;
use crate::command::not_mirrored;
use crate::config::{self, Config, Container, DiskId, Mirror, Unlock, Volume};
use crate::layer::lines::Lines;
use crate::layout::{Disk, Survey};
use crate::plan::{MIRROR_NAME, NewContainer, NewVolume, Plan};
use crate::refusal::Refusal;
use crate::step::{Action, FileText, Step};
use crate::units::Considerate;
use anyhow::{Context, Result};
use std::os::unix::fs::MetadataExt;
use std::path::{Path, PathBuf};

/// The configuration that is there, if there is one; one that cannot be read is not overwritten.
///
/// # Errors
/// The refusal of `Config::read`.
pub fn existing(place: &Place) -> Result<Option<Config>, Refusal> {
    if !place.config.exists() {
        return Ok(None);
    }
    let read = Config::read(&place.root, Some(&place.config));
    read.map(Some).map_err(|refusal| match refusal.remedy.is_empty() {
        true => refusal.remedy("mend it, or move it away: init then writes a new one"),
        false => refusal,
    })
}

/// The plan with the steps that write files on the primary.
///
/// # Errors
/// If fstab or crypttab cannot be read.
pub fn with_files(place: &Place, mut plan: Plan, survey: &Survey, options: &MirrorOptions) -> Result<Plan> {
    if options.unlock == crate::cli::Unlock::Crypttab {
        let lines = plan.containers.iter().map(crypttab_line).collect::<Vec<_>>();
        add_lines(place, &mut plan, "etc/crypttab", &survey.around.crypttab, &lines)?;
    }
    if options.fstab {
        let lines = plan.volumes.iter().map(fstab_line).collect::<Vec<_>>();
        add_lines(place, &mut plan, "etc/fstab", &survey.around.fstab, &lines)?;
    }
    let old = existing(place)?;
    if let Some(old) = &old {
        let title = old.mirrors.first().map(|m| m.disk.title()).unwrap_or_default();
        plan.notes.push(format!(
            "{} names {title} as the mirror; it will name the new one, and keep what is excluded",
            place.config.display()
        ));
    }
    let seen = FileText::Text(not_mirrored::to_text(&plan.not_mirrored));
    let path = state_dir(place, old.as_ref()).join(not_mirrored::FILE);
    let action = Action::Write { path, mode: 0o600, text: seen };
    plan.steps.push(Step { title: "note what is not in this mirror".into(), action, checks: vec![] });
    let config = configuration(place, &plan, survey, old);
    let text = FileText::Text(config.to_toml());
    let action = Action::Write { path: place.config.clone(), mode: 0o600, text };
    plan.steps.push(Step { title: "write the configuration".into(), action, checks: vec![] });
    Ok(plan)
}

/// Plans to add lines to a file, and shows them. A mark comments each, so that a repeated `init` replaces it and
/// nothing else.
fn add_lines(place: &Place, plan: &mut Plan, file: &str, text: &str, new: &[(String, String)]) -> Result<()> {
    if new.is_empty() {
        return Ok(());
    }
    let path = place.root.join(file);
    let mode = match std::fs::metadata(&path) {
        Ok(meta) => meta.mode() & 0o7777,
        Err(error) if error.kind() == std::io::ErrorKind::NotFound => 0o644,
        Err(error) => return Err(error).with_context(|| format!("cannot look at {}", path.display())),
    };
    let mut lines = Lines::parse(text);
    for (mark, line) in new {
        plan.notes.push(format!("/{file} gets: {line}"));
        lines.set(mark, line);
    }
    let action = Action::Write { path, mode, text: FileText::Text(lines.to_string()) };
    plan.steps.push(Step { title: format!("add {} lines to /{file}", new.len()), action, checks: vec![] });
    Ok(())
}

fn crypttab_line(container: &NewContainer) -> (String, String) {
    let NewContainer { luks_uuid, mapper, discard, .. } = container;
    let discard = if *discard { ",discard" } else { "" };
    let line = format!("{mapper} UUID={luks_uuid} none luks,noauto,nofail{discard}");
    (format!("diskmirror: the mirror's {mapper}"), line)
}

fn fstab_line(volume: &NewVolume) -> (String, String) {
    let NewVolume { mount, kind, mirror_uuid, .. } = volume;
    let target = format!("/mirror{}", mount.trim_end_matches('/')).replace(' ', r"\040");
    let options = "noauto,nofail,ro,x-mount.mkdir";
    let line = format!("UUID={mirror_uuid} {target} {} {options} 0 0", kind.name());
    (format!("diskmirror: the mirror's {mount}"), line)
}

fn configuration(place: &Place, plan: &Plan, survey: &Survey, old: Option<Config>) -> Config {
    let primary_id = survey.primary.table().map(|table| table.id.clone()).unwrap_or_default();
    let excludes = old.iter().flat_map(|c| &c.mirrors).flat_map(|m| m.excludes.clone()).collect();
    let before = old.as_ref().and_then(|config| config.mirrors.first());
    let audit_ignore = before.map(|mirror| mirror.audit_ignore.clone()).unwrap_or_default();
    let verify_share = before.map_or_else(config::nothing, |mirror| mirror.verify_share);
    let full_every = before.map_or_else(config::daily, |mirror| mirror.full_every);
    let blocks_from = before.map_or_else(config::large, |mirror| mirror.blocks_from);
    let considerate = before.map_or(Considerate::USUAL, |mirror| mirror.considerate);
    let mirror = Mirror {
        name: MIRROR_NAME.into(),
        reversed: false,
        primary: disk_id(&survey.primary.disk, &primary_id),
        disk: disk_id(&survey.mirror.disk, &plan.table_id),
        containers: plan.containers.iter().map(|c| container(place, c)).collect(),
        volume_groups: plan.volume_groups.clone(),
        volumes: plan.volumes.iter().map(volume).collect(),
        excludes,
        audit_ignore,
        leave_out: plan.left_out.clone(),
        full_every,
        blocks_from,
        bwlimit: before.and_then(|mirror| mirror.bwlimit),
        considerate,
        verify_share,
        boot_test: before.and_then(|mirror| mirror.boot_test),
    };
    match old {
        Some(old) => Config { mirrors: vec![mirror], ..old },
        None => Config {
            state_dir: "/var/lib/diskmirror".into(),
            runtime_dir: "/run/diskmirror".into(),
            log_file: "/var/log/diskmirror.log".into(),
            mirrors: vec![mirror],
        },
    }
}

/// blkid's spelling of a table's identifier: no `0x`, small letters.
fn disk_id(disk: &Disk, table_id: &str) -> DiskId {
    let table_id = table_id.trim_start_matches("0x").to_lowercase();
    let anonymous = disk.serial.is_none() && disk.wwn.is_none();
    let path = anonymous.then(|| disk.path.clone());
    DiskId { model: disk.model.clone(), serial: disk.serial.clone(), wwn: disk.wwn.clone(), table_id, path }
}

fn container(place: &Place, new: &NewContainer) -> Container {
    let unlock = match &new.key_file {
        Some(path) => Unlock::KeyFile(from_root(&place.root, Path::new(path))),
        None => Unlock::Crypttab,
    };
    Container { luks_uuid: new.luks_uuid.clone(), mapper: new.mapper.clone(), unlock, discard: new.discard }
}

/// A path as the primary itself sees it.
fn from_root(root: &Path, path: &Path) -> PathBuf {
    Path::new("/").join(path.strip_prefix(root).unwrap_or(path))
}

fn volume(new: &NewVolume) -> Volume {
    let NewVolume { mount, kind, primary_uuid, mirror_uuid, .. } = new.clone();
    Volume { mount, kind, primary_uuid, mirror_uuid }
}

/// Where the program's own files lie, below the root.
pub fn state_dir(place: &Place, config: Option<&Config>) -> PathBuf {
    config::below(&place.root, config.map_or(Path::new("/var/lib/diskmirror"), |config| &config.state_dir))
}
