//! Opens what lies between the mirror's disk and its file systems, and closes it again: loudly at the end of a run,
//! quietly when one fails, and at the start whatever an earlier, killed run has left.

use super::find::{Found, PREPARE, UNTOUCHED, devices, is_named_in, is_ours, is_volume_of, probed};
use crate::config::{Container, Mirror, Unlock, Volume, below};
use crate::layer::lsblk::BlockDevice;
use crate::refusal::{Failure, Refusal};
use crate::sys::{command, node};
use anyhow::{Context, Result};
use std::path::{Path, PathBuf};
use std::time::Duration;

/// udev and LVM look at devices as they appear: what is busy now is free a moment later.
const CLOSE_TRIES: u32 = 20;
const CLOSE_PAUSE: Duration = Duration::from_millis(250);
/// How often a device is looked at before it is said to be in use.
const IDLE_TRIES: u32 = 12;

/// The mirror, open: every file system has a node. Closed again when dropped; `close` says if that failed.
#[derive(Debug)]
pub struct Opened<'a> {
    mirror: &'a Mirror,
    /// Its disk's node.
    pub disk: String,
    nodes: Vec<PathBuf>,
    is_open: bool,
}

/// Closes what an earlier run has left open: it was killed, or its disk went away. A container opened by /etc/crypttab stays
/// as boot left it.
///
/// # Errors
/// A `Failure` if something stays open.
pub fn sweep(mirror: &Mirror) -> Result<()> {
    let all = devices()?;
    let is_left = |device: &&BlockDevice| is_ours(mirror, device) && closes(mirror, device);
    if all.iter().flat_map(BlockDevice::walk).any(|device| is_left(&device))
        || !orphans(&mirror.volume_groups, mappers(mirror), &mapped(), &all).is_empty()
    {
        close_all(mirror).map_err(|error| {
            Failure::new("cannot close what an earlier run left open", UNTOUCHED).because(&error)
        })?;
    }
    Ok(())
}

/// Whether we close this mapping at the end of a run.
fn closes(mirror: &Mirror, device: &BlockDevice) -> bool {
    let by_crypttab = |c: &Container| c.mapper == device.name && c.unlock == Unlock::Crypttab;
    !mirror.containers.iter().any(by_crypttab)
}

impl Found {
    /// Opens the containers, activates the volume groups, and finds every file system by its UUID on this disk.
    /// `root` is where the primary is mounted: key files lie below it.
    ///
    /// # Errors
    /// A `Failure` if a tool fails; a `Refusal` if a file system is not there, or has a twin.
    pub fn open<'a>(self, mirror: &'a Mirror, root: &Path, read_only: bool) -> Result<Opened<'a>> {
        let mut opened = Opened { mirror, disk: self.disk, nodes: Vec::new(), is_open: true };
        for (container, node) in mirror.containers.iter().zip(&self.containers) {
            open_container(container, node, root, read_only)?;
        }
        for group in &mirror.volume_groups {
            tool("vgchange", &["-ay", group])?;
        }
        command::settle();
        opened.nodes = locate(mirror, &opened.disk)?;
        Ok(opened)
    }
}

impl Opened<'_> {
    /// The file systems with their nodes, root first.
    pub fn volumes(&self) -> impl Iterator<Item = (&Volume, &Path)> {
        self.mirror.volumes.iter().zip(self.nodes.iter().map(PathBuf::as_path))
    }

    /// Deactivates and closes everything.
    ///
    /// # Errors
    /// A `Failure` that says what is still open.
    pub fn close(mut self) -> Result<()> {
        self.is_open = false;
        close_all(self.mirror).map_err(|error| {
            let state = "everything was written and unmounted, but the mirror is still open";
            Failure::new(format!("cannot close the mirror {}", self.disk), state).because(&error).into()
        })
    }
}

impl Drop for Opened<'_> {
    fn drop(&mut self) {
        if self.is_open {
            // Something has failed before, and is reported: the next run sweeps what stays open.
            let _ = close_all(self.mirror);
        }
    }
}

fn open_container(container: &Container, node: &Path, root: &Path, read_only: bool) -> Result<()> {
    let mapper = Path::new("/dev/mapper").join(&container.mapper);
    match &container.unlock {
        Unlock::KeyFile(key_file) => {
            let key_file = below(root, key_file);
            let (key_file, node) = (key_file.to_string_lossy(), node.to_string_lossy());
            let mut args = vec!["open", "--type", "luks", "--key-file", &key_file];
            args.extend(container.discard.then_some("--allow-discards"));
            args.extend(read_only.then_some("--readonly"));
            args.extend([&*node, &container.mapper]);
            tool("cryptsetup", &args)
        }
        Unlock::Crypttab if mapper.exists() => Ok(()),
        // Nobody is there to be asked: whatever opens it by crypttab would wait at the console, and hold the lock.
        Unlock::Crypttab => {
            let what = format!("refusing to refresh the mirror: {} is closed", container.mapper);
            Err(Refusal::new(what, UNTOUCHED)
                .why("it was prepared with --unlock crypttab: runs need it open, and do not open it")
                .remedy(format!("cryptdisks_start {}", container.mapper))
                .into())
        }
    }
}

/// The node of each file system: the one on `disk` with its UUID and kind. Nothing else may have that UUID.
fn locate(mirror: &Mirror, disk: &str) -> Result<Vec<PathBuf>> {
    let all = devices()?;
    let here = all.iter().find(|device| device.path == disk).context("the mirror's disk has vanished")?;
    let on_disk: Vec<&str> = here.walk().iter().map(|device| device.path.as_str()).collect();
    let leaves = here.walk().into_iter().filter(|device| device.children.is_empty());
    let signatures = leaves.map(|device| probed(&device.path)).collect::<Result<Vec<_>>>()?;
    let elsewhere: Vec<&BlockDevice> = all
        .iter()
        .flat_map(BlockDevice::walk)
        .filter(|device| !on_disk.contains(&device.path.as_str()))
        .collect();
    let refuse = |what: String| {
        Refusal::new(format!("refusing to write to {} ({disk}): {what}", mirror.disk.title()), UNTOUCHED)
    };
    let one = |volume: &Volume| {
        let uuid = Some(volume.mirror_uuid.as_str());
        if let Some(twin) = elsewhere.iter().find(|device| device.uuid.as_deref() == uuid) {
            let why = format!("{} also has the UUID {}", twin.path, volume.mirror_uuid);
            return Err(refuse("its file system has a twin".into()).why(why).remedy("unplug the copy"));
        }
        let found: Vec<_> =
            signatures.iter().filter(|(_, signature)| signature.uuid.as_deref() == uuid).collect();
        match found[..] {
            [(node, signature)] if signature.kind.as_deref() == Some(volume.kind.name()) => Ok(node.clone()),
            [(node, signature)] => Err(refuse("its file system is not ours".into())
                .why(format!(
                    "{} is {}, not {}",
                    node.display(),
                    signature.kind.as_deref().unwrap_or("nothing known"),
                    volume.kind.name()
                ))
                .remedy(PREPARE)),
            [] => Err(refuse("another disk in its place".into())
                .why(format!(
                    "nothing on it has the UUID {} of the mirror's {}",
                    volume.mirror_uuid, volume.mount
                ))
                .remedy(PREPARE)),
            _ => Err(refuse("two file systems have one UUID".into())
                .why(volume.mirror_uuid.clone())
                .remedy("lsblk -o PATH,UUID   # then erase the copy: wipefs --all PARTITION")),
        }
    };
    Ok(mirror.volumes.iter().map(one).collect::<Result<_, _>>()?)
}

/// Deactivates the groups, then closes the containers, innermost first; with patience. What has lost its disk goes before all.
fn close_all(mirror: &Mirror) -> Result<()> {
    if mirror.containers.is_empty() && mirror.volume_groups.is_empty() {
        return Ok(());
    }
    command::settle();
    let all = devices()?;
    remove(&orphans(&mirror.volume_groups, mappers(mirror), &mapped(), &all))?;
    let is_active =
        |group: &str| all.iter().flat_map(BlockDevice::walk).any(|device| is_volume_of(group, device));
    for group in mirror.volume_groups.iter().rev().filter(|group| is_active(group)) {
        patiently(|| tool("vgchange", &["-an", group]))?;
    }
    for container in mirror.containers.iter().rev().filter(|container| container.unlock != Unlock::Crypttab) {
        if Path::new("/dev/mapper").join(&container.mapper).exists() {
            patiently(|| tool("cryptsetup", &["close", &container.mapper]))?;
        }
    }
    Ok(())
}

/// Takes away those of these groups' volumes and of these containers (innermost first) that have lost their disk: neither LVM nor
/// cryptsetup can do anything with them any more, and their names are needed.
///
/// # Errors
/// A `Failure` if one is still in use.
pub fn remove_orphans<'a>(groups: &[String], containers: impl Iterator<Item = &'a str>) -> Result<()> {
    remove(&orphans(groups, containers, &mapped(), &devices()?))
}

fn remove(mappings: &[String]) -> Result<()> {
    mappings.iter().try_for_each(|mapping| patiently(|| tool("dmsetup", &["remove", mapping])))
}

/// What has lost its disk, by name: volumes before the containers that they lie in. lsblk does not list it any more; below
/// /dev/mapper it has its name still.
fn orphans<'a>(
    groups: &[String],
    containers: impl Iterator<Item = &'a str>,
    mapped: &[String],
    all: &[BlockDevice],
) -> Vec<String> {
    let is_listed = |name: &str| all.iter().flat_map(BlockDevice::walk).any(|device| device.name == name);
    let is_volume = |name: &&str| groups.iter().any(|group| is_named_in(group, name));
    let volumes = mapped.iter().map(String::as_str).filter(is_volume);
    let containers = containers.filter(|name| mapped.iter().any(|one| one == name));
    let ours = volumes.map(str::to_owned).chain(containers.map(str::to_owned));
    ours.filter(|name| !is_listed(name)).collect()
}

/// Its containers' mappings, innermost first.
fn mappers(mirror: &Mirror) -> impl Iterator<Item = &str> {
    mirror.containers.iter().rev().map(|container| container.mapper.as_str())
}

/// The names below /dev/mapper; none where there is no device-mapper.
fn mapped() -> Vec<String> {
    let entries = std::fs::read_dir("/dev/mapper").into_iter().flatten().flatten();
    entries.filter_map(|entry| entry.file_name().into_string().ok()).collect()
}

fn patiently(mut attempt: impl FnMut() -> Result<()>) -> Result<()> {
    for _ in 1..CLOSE_TRIES {
        if attempt().is_ok() {
            return Ok(());
        }
        command::settle();
        std::thread::sleep(CLOSE_PAUSE);
    }
    attempt()
}

/// Runs a tool that must succeed, before anything is written.
fn tool<S: AsRef<std::ffi::OsStr>>(program: &str, args: &[S]) -> Result<()> {
    match command::run(program, args, b"") {
        Ok(_) => Ok(()),
        Err(error) => Err(Failure::new(format!("{program} failed"), UNTOUCHED).why(error.to_string()).into()),
    }
}

/// Refuses a node that something holds.
///
/// # Errors
/// A `Refusal` if so.
pub(super) fn must_be_idle(node: &Path) -> Result<()> {
    if is_held_for_good(node)? {
        let what = format!("refusing to mount {}: in use", node.display());
        return Err(Refusal::new(what, UNTOUCHED)
            .why("something holds it: a mount in another namespace?")
            .remedy(format!("grep -l {0} /proc/*/mounts; fuser -v {0}", node.display()))
            .into());
    }
    Ok(())
}

/// Whether something holds a node, and goes on doing so: a tool that a killed run had started keeps that run's mounts
/// until it has ended, and udev looks at a device for a moment.
pub(super) fn is_held_for_good(node: &Path) -> Result<bool> {
    for _ in 1..IDLE_TRIES {
        if !node::is_held(node).with_context(|| format!("cannot open {}", node.display()))? {
            return Ok(false);
        }
        std::thread::sleep(CLOSE_PAUSE);
    }
    node::is_held(node).with_context(|| format!("cannot open {}", node.display()))
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::layer::lsblk;

    #[test]
    fn what_has_lost_its_disk_is_what_lsblk_does_not_list() {
        let names = ["control", "mirror5_crypt", "spare--vg-root", "spare--vg-swap", "spare-vg", "www-root"];
        let mapped: Vec<String> = names.map(str::to_owned).to_vec();
        let orphans = |listed: &str| {
            let all = lsblk::parse(listed).expect("it is lsblk's JSON");
            orphans(&["spare-vg".to_owned()], ["mirror5_crypt", "other_crypt"].into_iter(), &mapped, &all)
        };
        let pulled = r#"{"blockdevices": [{"name": "vda", "size": 1}]}"#;
        assert_eq!(orphans(pulled), ["spare--vg-root", "spare--vg-swap", "mirror5_crypt"]);
        let there = r#"{"blockdevices": [{"name": "vdb", "size": 1, "children": [
            {"name": "mirror5_crypt", "size": 1, "children": [
                {"name": "spare--vg-root", "size": 1}, {"name": "spare--vg-swap", "size": 1}]}]}]}"#;
        assert!(orphans(there).is_empty());
    }
}
