//! What there will be when the mirror boots alone: what lies on it, and on the disks that are neither the primary nor
//! gone with it.

use super::audit::Facts;
use super::bios;
use super::identify::Identities;
use crate::identity::{IdentityMap, Kind};
use crate::layer::blkid;
use crate::layer::lsblk::BlockDevice;
use crate::layout::{Content, Layout};
use crate::mirror;
use crate::sys::command;
use anyhow::{Context, Result};
use std::collections::BTreeSet;
use std::path::{Path, PathBuf};

impl Facts {
    /// The facts of an open mirror.
    ///
    /// # Errors
    /// Those of asking for the machine's disks and of reading the mirror's.
    pub fn of(identities: &Identities) -> Result<Facts> {
        let survey = &identities.survey;
        let mut facts = Facts {
            map: identities.map.clone(),
            cores: bios::cores(&survey.mirror)?,
            paths: identities.map.of(Kind::Disk).map(|pair| pair.mirror.clone()).collect(),
            ..Facts::default()
        };
        facts.mirror(&survey.mirror);
        facts.primarys_names(&survey.primary, &identities.map);
        facts.physical_volumes = physical_volumes(&survey.mirror, &identities.map);
        let all = mirror::devices()?;
        let others = all
            .iter()
            .filter(|disk| disk.path != survey.primary.disk.path && disk.path != survey.mirror.disk.path)
            .flat_map(BlockDevice::walk);
        let mut nodes = BTreeSet::new();
        for device in others {
            facts.other(device)?;
            nodes.insert(Path::new("/dev").join(&device.kernel_name));
        }
        facts.paths.extend(links(Path::new("/dev"), &nodes));
        Ok(facts)
    }

    /// Serial number and WWN of the primary, and what its links below /dev/disk/by-id are called.
    fn primarys_names(&mut self, primary: &Layout, map: &IdentityMap) {
        let disk = [("serial number", &primary.disk.serial), ("WWN", &primary.disk.wwn)];
        let disk = disk.into_iter().filter_map(|(what, name)| Some((what, name.as_ref()?.clone())));
        let links = map.of(Kind::Disk).chain(map.of(Kind::Node));
        let links = links.filter_map(|pair| pair.primary.strip_prefix("/dev/disk/by-id/"));
        let links = links.map(|name| ("name by id", name.to_owned()));
        let names = disk.chain(links).filter(|(_, name)| name.len() >= SHORTEST_NAME);
        self.names.extend(names.map(|(what, name)| (what.to_owned(), name)));
    }

    fn mirror(&mut self, layout: &Layout) {
        if let Some(table) = layout.table() {
            self.table = table.pt_uuid();
            for partition in &table.partitions {
                self.part_uuids.insert(table.part_uuid(partition));
                self.part_labels.extend(partition.name.clone());
            }
        }
        for (_, content) in layout.walk() {
            match content {
                Content::Luks(luks) => {
                    self.containers.insert(luks.uuid.clone());
                    enter(&mut self.uuids, Some(&luks.uuid));
                    enter(&mut self.labels, luks.label.as_ref());
                }
                Content::Filesystem(fs) => {
                    enter(&mut self.uuids, Some(&fs.uuid));
                    enter(&mut self.labels, fs.label.as_ref());
                }
                Content::Swap(swap) => {
                    enter(&mut self.uuids, Some(&swap.uuid));
                    enter(&mut self.labels, swap.label.as_ref());
                }
                Content::Volumes(vg) => {
                    self.volumes
                        .extend(vg.volumes.iter().map(|volume| format!("{}/{}", vg.name, volume.name)));
                }
                _ => {}
            }
        }
    }

    /// What another disk has, as udev knows it; what udev does not know, blkid reads from the device.
    fn other(&mut self, device: &BlockDevice) -> Result<()> {
        let names = [&device.uuid, &device.label, &device.part_uuid, &device.part_label];
        if names.iter().all(|name| name.is_none()) {
            let said = command::ask("blkid", &["-p", "-o", "export", &device.path], b"")
                .context("cannot run blkid")?;
            let read = blkid::parse(&said.stdout);
            self.enter([&read.uuid, &read.label, &read.part_uuid, &read.part_label]);
        }
        self.enter(names);
        self.paths.insert(device.path.clone());
        Ok(())
    }

    fn enter(&mut self, [uuid, label, part_uuid, part_label]: [&Option<String>; 4]) {
        enter(&mut self.uuids, uuid.as_ref());
        enter(&mut self.labels, label.as_ref());
        enter(&mut self.part_uuids, part_uuid.as_ref());
        enter(&mut self.part_labels, part_label.as_ref());
    }
}

/// A shorter serial number may be a word.
const SHORTEST_NAME: usize = 6;

/// Under which names LVM can find each of the mirror's physical volumes when the mirror boots alone.
fn physical_volumes(mirror: &Layout, map: &IdentityMap) -> Vec<BTreeSet<String>> {
    let by_partition = |path: &str| {
        let partitions =
            mirror.table().into_iter().flat_map(|table| table.partitions.iter().map(move |p| (table, p)));
        let (table, partition) = partitions.into_iter().find(|(_, partition)| partition.path == path)?;
        Some(format!("/dev/disk/by-partuuid/{}", table.part_uuid(partition)))
    };
    let by_mapper = |path: &str| {
        let open = path.strip_prefix("/dev/mapper/")?;
        let at_boot = map.of(Kind::Mapper).find(|pair| pair.mirror == open).map_or(open, |pair| &pair.mirror);
        Some(format!("/dev/mapper/{at_boot}"))
    };
    let is_one = |content: &Content| matches!(content, Content::Volumes(_) | Content::PhysicalVolume(_));
    let volumes = mirror.walk().into_iter().filter(|(_, content)| is_one(content));
    let names = |path: &str| {
        [Some(path.to_owned()), by_partition(path), by_mapper(path)].into_iter().flatten().collect()
    };
    volumes.map(|(path, _)| names(path)).collect()
}

/// What else these nodes are called below `dev`: udev's links by id, path and name, those of arrays and volume groups.
fn links(dev: &Path, nodes: &BTreeSet<PathBuf>) -> Vec<String> {
    let dirs = |of: &Path| {
        let entries = std::fs::read_dir(of).into_iter().flatten().flatten();
        entries.filter(|entry| entry.file_type().is_ok_and(|kind| kind.is_dir())).map(|entry| entry.path())
    };
    let is_open_to_all = |dir: &Path| OPEN_TO_ALL.iter().any(|name| dir.ends_with(name));
    let above: Vec<PathBuf> = dirs(dev).filter(|dir| !is_open_to_all(dir)).collect();
    let below =
        above.iter().filter(|dir| dir.ends_with("disk")).flat_map(|disk| dirs(disk)).collect::<Vec<_>>();
    let entries =
        above.iter().chain(&below).flat_map(|dir| std::fs::read_dir(dir).into_iter().flatten().flatten());
    let links = entries
        .filter(|entry| entry.file_type().is_ok_and(|kind| kind.is_symlink()))
        .map(|entry| entry.path());
    let theirs = links.filter(|link| link.canonicalize().is_ok_and(|node| nodes.contains(&node)));
    theirs.filter_map(|link| link.into_os_string().into_string().ok()).collect()
}

/// Directories below /dev where everybody may write: no names of disks.
const OPEN_TO_ALL: [&str; 2] = ["shm", "mqueue"];

fn enter(set: &mut BTreeSet<String>, value: Option<&String>) {
    set.extend(value.cloned());
}

#[cfg(test)]
mod tests {
    use super::*;
    use std::os::unix::fs::symlink;

    #[test]
    fn another_disk_s_partition_has_its_name() {
        let films = Some("films".to_owned());
        let device = BlockDevice { path: "/dev/sdb1".into(), part_label: films, ..BlockDevice::default() };
        let mut facts = Facts::default();
        facts.other(&device).expect("nothing has to be read");
        assert!(facts.part_labels.contains("films") && facts.paths.contains("/dev/sdb1"));
    }

    #[test]
    fn a_node_is_known_by_every_link_of_udev_s_that_leads_to_it() {
        let dir = tempfile::tempdir().expect("a directory");
        let dev = dir.path().canonicalize().expect("it is there");
        for name in ["disk/by-id", "disk/by-partlabel", "vg", "shm"] {
            std::fs::create_dir_all(dev.join(name)).expect("made");
        }
        for node in ["sdb1", "sda1"] {
            std::fs::write(dev.join(node), "").expect("made");
        }
        for (link, to) in [
            ("disk/by-id/ata-WD-part1", "../../sdb1"),
            ("disk/by-partlabel/films", "../../sdb1"),
            ("disk/by-id/ata-system-part1", "../../sda1"),
            ("disk/by-id/dangling", "../../sdc"),
            ("vg/films", "../sdb1"),
            ("shm/planted", "../sdb1"),
        ] {
            symlink(to, dev.join(link)).expect("made");
        }
        let found = links(&dev, &BTreeSet::from([dev.join("sdb1")]));
        let mut found: Vec<&str> = found.iter().filter_map(|link| link.strip_prefix(dev.to_str()?)).collect();
        found.sort_unstable();
        assert_eq!(found, ["/disk/by-id/ata-WD-part1", "/disk/by-partlabel/films", "/vg/films"]);
    }
}
