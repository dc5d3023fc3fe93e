//! What a device holds, from the table down to the file systems. What cannot be mirrored, or not be read, comes out
//! as `Unsupported`, with everything that uses it: nothing is passed over. blkid's reading of the bytes decides, never
//! lsblk's FSTYPE.

use super::machine::{Machine, is_named, kind_of};
use super::probe::{Probe, Question};
use super::uses;
use crate::layer::blkid::{self, Signature};
use crate::layer::device_spec::DeviceSpec;
use crate::layer::lsblk::BlockDevice;
use crate::layer::{crypttab, filesystem, fstab, luks, partition_table};
use crate::layout::{
    Content, Filesystem, FsKind, FsParameters, Layout, Partition, Table, TableKind, Unsupported,
};
use crate::refusal::Refusal;
use anyhow::{Context, Result};
use std::collections::BTreeSet;
use std::path::Path;

/// Whose disk is read: that decides how mounts are told.
#[derive(Debug, Clone, Copy)]
pub enum Role<'a> {
    /// The server's: its mounts count below `root`, and are told relative to it.
    Primary {
        /// The mounted root.
        root: &'a Path,
        /// Its fstab.
        fstab: &'a [fstab::Entry],
        /// Its crypttab.
        crypttab: &'a [crypttab::Entry],
    },
    /// The spare: every mount counts, as it stands.
    Mirror,
}

/// Reads what is on a disk.
pub struct Reader<'a> {
    /// The machine it is in.
    pub machine: &'a Machine,
    /// Who is asked.
    pub ask: &'a dyn Probe,
    /// Whose disk it is.
    pub role: Role<'a>,
}

/// A device together with the names its place on the disk gives it.
pub(super) struct Place<'a> {
    pub(super) device: &'a BlockDevice,
    /// The partition's GUID, or the MBR's signature and number.
    pub(super) part_uuid: Option<String>,
    /// The partition's name.
    pub(super) part_label: Option<String>,
    /// Other nodes: `/dev/www/root`.
    pub(super) links: Vec<String>,
}

impl<'a> Place<'a> {
    pub(super) fn bare(device: &'a BlockDevice) -> Self {
        Place { device, part_uuid: None, part_label: None, links: Vec::new() }
    }

    fn partition(device: &'a BlockDevice, table: &Table, partition: &Partition) -> Self {
        Place {
            part_uuid: Some(table.part_uuid(partition)),
            part_label: partition.name.clone(),
            ..Place::bare(device)
        }
    }

    /// Whether a file's way to name a device means this one.
    fn is(&self, spec: &DeviceSpec, signature: &Signature) -> bool {
        let same = |ours: &Option<String>, theirs: &str| {
            ours.as_deref().is_some_and(|ours| ours.eq_ignore_ascii_case(theirs))
        };
        match spec {
            DeviceSpec::Uuid(uuid) => same(&signature.uuid, uuid),
            DeviceSpec::Label(label) => signature.label.as_deref() == Some(label),
            DeviceSpec::PartUuid(uuid) => same(&self.part_uuid, uuid),
            DeviceSpec::PartLabel(label) => self.part_label.as_deref() == Some(label),
            DeviceSpec::Path(path) => is_named(self.device, path) || self.links.contains(path),
            DeviceSpec::Other(_) => false,
        }
    }
}

impl Reader<'_> {
    /// What `disk` holds.
    ///
    /// # Errors
    /// Those of the probe where not even the signature can be read; a refusal for want of a tool or of rights.
    pub fn whole_disk(&self, disk: &BlockDevice) -> Result<Content> {
        let signature = self.signature(disk)?;
        let is_table = signature.table.as_deref().is_some_and(|name| TableKind::named(name).is_some());
        let is_cut = disk.children.iter().any(|child| child.kind == "part");
        if is_table && uses::own(self.machine, disk).is_empty() && (signature.kind.is_none() || is_cut) {
            self.unless_unreadable(disk, &signature, self.table(disk, &signature))
        } else {
            self.content(&Place::bare(disk), &signature)
        }
    }

    pub(super) fn signature(&self, device: &BlockDevice) -> Result<Signature> {
        Ok(blkid::parse(&self.ask.ask(&Question::Blkid(device.path.clone()))?))
    }

    fn table(&self, disk: &BlockDevice, signature: &Signature) -> Result<Content> {
        let dump = self.ask.ask(&Question::SfdiskDump(disk.path.clone()))?;
        let mut table = partition_table::parse(&dump, disk.logical_sector)?;
        let listed = |child: &BlockDevice| table.partitions.iter().any(|p| p.path == child.path);
        if let Some(child) = disk.children.iter().find(|child| child.kind != "part" || !listed(child)) {
            let what = match child.kind.as_str() {
                "part" => {
                    format!("a partition table that the kernel knows another version of ({})", child.path)
                }
                _ => format!("a part of {} ({})", kind_of(child), child.path),
            };
            return Ok(self.unsupported(disk, signature, what));
        }
        let contents: Vec<Content> =
            table.partitions.iter().map(|p| self.partition(disk, &table, p)).collect::<Result<_>>()?;
        for (partition, content) in table.partitions.iter_mut().zip(contents) {
            partition.content = content;
        }
        table.partitions.sort_by_key(|partition| partition.number);
        let mut content = Content::Table(table);
        self.gather(&mut content)?;
        Ok(content)
    }

    fn partition(&self, disk: &BlockDevice, table: &Table, partition: &Partition) -> Result<Content> {
        let is_extended = table.kind == TableKind::Dos && partition_table::is_extended(&partition.type_id);
        let Some(device) = disk.children.iter().find(|child| child.path == partition.path) else {
            if is_extended {
                // On sectors of 4096 bytes its node comes and goes with who announced it; nobody opens it.
                return Ok(Content::Extended);
            }
            let what = format!("a partition that the kernel does not know (partprobe {})", disk.path);
            return Ok(Content::Unsupported(Unsupported {
                path: partition.path.clone(),
                what,
                no_node: true,
                ..Unsupported::default()
            }));
        };
        let signature = self.signature(device)?;
        let is_free = uses::uses(self.machine, device, &signature).is_empty();
        match table.kind {
            TableKind::Gpt
                if is_free && partition.type_id.eq_ignore_ascii_case(partition_table::BIOS_BOOT) =>
            {
                Ok(Content::BiosBoot)
            }
            TableKind::Dos if is_free && is_extended => Ok(Content::Extended),
            _ => {
                let place = Place::partition(device, table, partition);
                let mut content = self.content(&place, &signature)?;
                if let Content::Unsupported(thing) = &mut content {
                    thing.targets = self.targets(&place, &signature);
                }
                Ok(content)
            }
        }
    }

    pub(super) fn content(&self, place: &Place, signature: &Signature) -> Result<Content> {
        let device = place.device;
        if self.is_swap_with_a_random_key(device)
            && let Some(swap) = self.random_swap(place, signature).transpose()
        {
            return self.unless_unreadable(device, signature, swap);
        }
        if let Some(what) = self.misfit(device, signature) {
            return Ok(self.unsupported(device, signature, what));
        }
        let read = match signature.kind.as_deref() {
            None => Ok(Content::Empty),
            Some("crypto_LUKS") => self.container(device, signature),
            Some("LVM2_member") => self.volumes(device, signature),
            Some("swap") => self.swap(device, signature),
            Some(name) => match FsKind::named(name) {
                Some(kind) => self.file_system(place, signature, kind).map(Content::Filesystem),
                None => Ok(self.unsupported(device, signature, uses::described(signature))),
            },
        };
        self.unless_unreadable(device, signature, read)
    }

    /// Why what is on `device` cannot be taken for what its signature says, if so.
    fn misfit(&self, device: &BlockDevice, signature: &Signature) -> Option<String> {
        let kind = signature.kind.as_deref();
        let expected = match kind {
            Some("crypto_LUKS") => "crypt",
            Some("LVM2_member") => "lvm",
            _ => "",
        };
        if let Some(child) = device.children.iter().find(|child| child.kind != expected) {
            let kind = uses::described(signature);
            return Some(match child.kind.as_str() {
                "part" => format!("{kind}, but the kernel knows partitions there"),
                _ if signature.kind.is_some() => format!("{kind} ({})", child.path),
                _ => format!("a part of {} ({})", kind_of(child), child.path),
            });
        }
        let is_filesystem = kind.is_some_and(|kind| FsKind::named(kind).is_some());
        let is_mounted = self.machine.mounts_of(device).next().is_some();
        let is_swap = self.machine.is_swap(device);
        if signature.ambivalent {
            Some(format!("signatures that contradict each other (wipefs {} lists them)", device.path))
        } else if kind.is_none() && signature.table.is_some() {
            Some(format!("a {} partition table", signature.table.as_deref().unwrap_or_default()))
        } else if (is_mounted && !is_filesystem && is_ours(kind)) || (is_swap && kind != Some("swap")) {
            Some(format!("{}, though it is in use as something else", uses::described(signature)))
        } else {
            None
        }
    }

    fn container(&self, device: &BlockDevice, signature: &Signature) -> Result<Content> {
        let dump = self.ask.ask(&Question::LuksDump(device.path.clone()))?;
        if let Some(what) = luks::peculiarity(&dump) {
            return Ok(self.unsupported(device, signature, what.to_owned()));
        }
        let mut container = luks::parse(&device.path, &dump)?;
        if let Some(open) = device.children.first() {
            let status = luks::parse_status(&self.ask.ask(&Question::CryptStatus(open.name.clone()))?);
            container.discard = status.discard;
            container.mapper = Some(open.name.clone());
            container.content = self.content(&Place::bare(open), &self.signature(open)?)?;
        }
        Ok(Content::Luks(Box::new(container)))
    }

    pub(super) fn file_system(
        &self,
        place: &Place,
        signature: &Signature,
        kind: FsKind,
    ) -> Result<Filesystem> {
        let device = place.device;
        let statfs = self.machine.mounts_of(device).next();
        Ok(Filesystem {
            kind,
            path: device.path.clone(),
            uuid: signature.uuid.clone().context("it has no UUID")?,
            label: signature.label.clone(),
            size: device.size,
            used: statfs.and_then(|mount| mount.used),
            capacity: statfs.and_then(|mount| mount.size),
            mounted_at: self.mounted_at(device),
            fstab_target: self.fstab_target(place, signature),
            parameters: self.parameters(device, signature, kind)?,
        })
    }

    fn parameters(&self, device: &BlockDevice, signature: &Signature, kind: FsKind) -> Result<FsParameters> {
        let node = device.path.clone();
        match kind {
            FsKind::Ext2 | FsKind::Ext3 | FsKind::Ext4 => {
                filesystem::parse_ext(&self.ask.ask(&Question::Dumpe2fs(node))?)
            }
            FsKind::Xfs => filesystem::parse_xfs(&self.ask.ask(&Question::XfsInfo(node))?),
            FsKind::Vfat => filesystem::parse_fat(signature.version.as_deref().unwrap_or_default()),
        }
    }

    /// Where a file system is mounted. On the primary only as a whole (a bind mount of a part of it is no place for
    /// it) and below the root; the shortest path first.
    fn mounted_at(&self, device: &BlockDevice) -> Vec<String> {
        let mounts = self.machine.mounts_of(device);
        let mut points: Vec<String> = match self.role {
            Role::Mirror => mounts.map(|mount| mount.target.clone()).collect(),
            Role::Primary { root, .. } => {
                let whole = mounts.filter(|mount| mount.fs_root == "/");
                whole.filter_map(|mount| below_root(root, &mount.target)).collect()
            }
        };
        points.sort_by_key(|point| (point.trim_end_matches('/').matches('/').count(), point.clone()));
        points.dedup();
        points
    }

    fn fstab_target(&self, place: &Place, signature: &Signature) -> Option<String> {
        self.fstab_targets(place, signature).next()
    }

    fn fstab_targets(&self, place: &Place, signature: &Signature) -> impl Iterator<Item = String> {
        let fstab = if let Role::Primary { fstab, .. } = self.role { fstab } else { &[] };
        let entries = fstab.iter().filter(|entry| entry.target.starts_with('/'));
        entries.filter(|entry| place.is(&entry.device, signature)).map(|entry| entry.target.clone())
    }

    /// Where what cannot be mirrored, or anything on it, belongs in the primary's tree.
    pub(super) fn targets(&self, place: &Place, signature: &Signature) -> Vec<String> {
        let Role::Primary { root, .. } = self.role else { return Vec::new() };
        let devices = place.device.walk();
        let mounts = devices.iter().flat_map(|device| self.machine.mounts_of(device));
        let mounted = mounts.filter_map(|mount| below_root(root, &mount.target));
        mounted.chain(self.fstab_targets(place, signature)).collect::<BTreeSet<_>>().into_iter().collect()
    }

    /// What cannot be read is not skipped: it is named. Only the primary's want of a tool ends discovery: what the
    /// mirror holds will be erased, and need not be understood.
    fn unless_unreadable(
        &self,
        device: &BlockDevice,
        signature: &Signature,
        read: Result<Content>,
    ) -> Result<Content> {
        let error = match read {
            Err(error) if error.is::<Refusal>() && matches!(self.role, Role::Primary { .. }) => {
                return Err(error);
            }
            Err(error) => error,
            read => return read,
        };
        let said =
            error.downcast_ref().map_or_else(|| format!("{error:#}"), |no: &Refusal| no.why.join("; "));
        let what = match signature.kind {
            Some(_) => uses::described(signature),
            None => "a partition table".to_owned(),
        };
        Ok(self.unsupported(device, signature, format!("{what} that cannot be read: {said}")))
    }

    pub(super) fn unsupported(&self, device: &BlockDevice, signature: &Signature, what: String) -> Content {
        let in_use = uses::uses(self.machine, device, signature);
        Content::Unsupported(Unsupported {
            path: device.path.clone(),
            what,
            in_use,
            uuid: signature.uuid.clone(),
            label: signature.label.clone(),
            targets: self.targets(&Place::bare(device), signature),
            no_node: false,
        })
    }
}

/// Whether a signature is of a kind that is read further here, and that nobody can mount.
fn is_ours(kind: Option<&str>) -> bool {
    matches!(kind, None | Some("crypto_LUKS" | "LVM2_member" | "swap"))
}

/// `target` as seen from `root`: `/mnt/x/boot` below `/mnt/x` is `/boot`.
pub(super) fn below_root(root: &Path, target: &str) -> Option<String> {
    let rest = Path::new(target).strip_prefix(root).ok()?;
    Some(format!("/{}", rest.to_str()?))
}

/// Every label on a disk: of partitions, containers, file systems and swap.
pub fn labels(layout: &Layout) -> Vec<String> {
    let names = layout.table().into_iter().flat_map(|table| &table.partitions).filter_map(|p| p.name.clone());
    let labels = layout.walk().into_iter().filter_map(|(_, content)| match content {
        Content::Luks(container) => container.label.clone(),
        Content::Filesystem(filesystem) => filesystem.label.clone(),
        Content::Swap(swap) => swap.label.clone(),
        _ => None,
    });
    names.chain(labels).collect()
}
