//! What is on a disk, from the table down to the file systems, with every identity: what `discover` finds and
//! `plan` works from. Plain data; knows no tool's text.

mod leave_out;
mod not_mirrored;
mod walk;

pub use leave_out::LeftPart;
pub use not_mirrored::NotMirrored;

use crate::units::Bytes;
use serde::{Deserialize, Serialize};

/// The two disks and what of the machine around them a plan must not collide with.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
pub struct Survey {
    /// The disk the server runs from.
    pub primary: Layout,
    /// The disk that is, or will be, the spare.
    pub mirror: Layout,
    /// What else is named on this machine.
    pub around: Surroundings,
}

/// What else is named on this machine.
#[derive(Debug, Clone, Default, PartialEq, Serialize, Deserialize)]
pub struct Surroundings {
    /// Every volume group, on whatever disk.
    pub volume_groups: Vec<String>,
    /// Every active device-mapper name.
    pub mappers: Vec<String>,
    /// Every file-system and partition label.
    pub labels: Vec<String>,
    /// The primary's /etc/fstab.
    pub fstab: String,
    /// The primary's /etc/crypttab; empty if there is none.
    pub crypttab: String,
    /// What the server has that lies neither on the primary nor on the mirror.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    pub elsewhere: Vec<NotMirrored>,
    /// The running kernel's command line.
    pub cmdline: String,
    /// Physical memory: what a key slot's cost is held against.
    pub memory: Bytes,
}

/// One disk, whole.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
pub struct Layout {
    /// The device itself.
    pub disk: Disk,
    /// What it holds: usually a table.
    pub content: Content,
}

/// A disk as the kernel and its firmware describe it.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
pub struct Disk {
    /// The kernel's node: `/dev/sda`, `/dev/nvme0n1`, `/dev/mmcblk0`, `/dev/loop7`.
    pub path: String,
    /// The model as the disk reports it.
    pub model: Option<String>,
    /// The serial number as the disk reports it.
    pub serial: Option<String>,
    /// The World Wide Name (SCSI, ATA: `0x5002538…`; NVMe: `eui.…`, `nvme.…`).
    pub wwn: Option<String>,
    /// How it is attached: `sata`, `nvme`, `usb`, `virtio`, `mmc`; none for loop devices.
    pub transport: Option<String>,
    /// Its capacity.
    pub size: Bytes,
    /// Bytes in a logical sector: 512 or 4096.
    pub logical_sector: u32,
    /// Bytes in a physical sector.
    pub physical_sector: u32,
    /// Whether it has platters.
    pub rotational: bool,
    /// Whether the kernel refuses writes to it.
    pub read_only: bool,
    /// Whether it takes discards.
    pub discard: bool,
}

impl Disk {
    /// What the administrator confirms it by: its serial number, or its path where it reports none.
    pub fn confirmation(&self) -> &str {
        self.serial.as_deref().unwrap_or(&self.path)
    }

    /// `Samsung SSD 870 (S5GX123, /dev/sdb)`: how messages name it.
    pub fn title(&self) -> String {
        match (&self.model, &self.serial) {
            (Some(model), Some(serial)) => format!("{model} ({serial}, {})", self.path),
            (None, Some(serial)) => format!("{serial} ({})", self.path),
            (Some(model), None) => format!("{model} ({})", self.path),
            (None, None) => self.path.clone(),
        }
    }

    /// The node of partition `number`: `/dev/sda1`, `/dev/nvme0n1p1` (a `p` where the name ends in a digit).
    pub fn partition_path(&self, number: u32) -> String {
        let p = if self.path.ends_with(|c: char| c.is_ascii_digit()) { "p" } else { "" };
        format!("{}{p}{number}", self.path)
    }
}

/// What a disk, a partition or a volume holds.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum Content {
    /// No signature that any tool knows.
    Empty,
    /// A partition table.
    Table(Table),
    /// An encrypted container.
    Luks(Box<Luks>),
    /// An LVM physical volume, and its group: the whole of it lies here, or the rest lies further up on this disk.
    Volumes(VolumeGroup),
    /// An LVM physical volume of a group that stands with another one, further down on this disk.
    PhysicalVolume(PhysicalVolume),
    /// A file system that can be mirrored.
    Filesystem(Filesystem),
    /// Swap space.
    Swap(Swap),
    /// Swap space with a new key at each boot: nothing on it lasts.
    RandomSwap(Box<RandomSwap>),
    /// GRUB's core image on a GPT disk.
    BiosBoot,
    /// The container of the logical partitions of an MBR disk.
    Extended,
    /// Something that cannot be mirrored yet, named.
    Unsupported(Unsupported),
    /// Something that the mirror shall not have.
    LeftOut(Box<Content>),
}

/// A partition table.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
pub struct Table {
    /// MBR or GPT.
    pub kind: TableKind,
    /// The disk signature (`0x1234abcd`) or the disk's GUID, as sfdisk writes it.
    pub id: String,
    /// The partitions by number.
    pub partitions: Vec<Partition>,
}

impl Table {
    /// Its identifier as blkid's PTUUID has it: small letters, no `0x`.
    pub fn pt_uuid(&self) -> String {
        self.id.trim_start_matches("0x").to_lowercase()
    }

    /// What `PARTUUID=` names: a GPT's GUID, or an MBR's signature and the number in two hexadecimal digits (the kernel's
    /// block/partitions/msdos.c).
    pub fn part_uuid(&self, partition: &Partition) -> String {
        match (self.kind, &partition.uuid) {
            (TableKind::Gpt, Some(uuid)) => uuid.to_lowercase(),
            _ => format!("{}-{:02x}", self.pt_uuid(), partition.number),
        }
    }
}

/// The two kinds of partition table.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum TableKind {
    /// The PC's: four entries and a chain of logical partitions; ends at 2^32 sectors.
    Dos,
    /// The GUID Partition Table.
    Gpt,
}

/// A partition.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
pub struct Partition {
    /// Its number: 5 and up are logical on an MBR disk.
    pub number: u32,
    /// Its node.
    pub path: String,
    /// Where it begins on the disk.
    pub start: Bytes,
    /// How long it is.
    pub size: Bytes,
    /// The type, as sfdisk writes it: `83` or a GUID.
    pub type_id: String,
    /// Its GUID (GPT), or none (MBR: the PARTUUID follows from the disk signature).
    pub uuid: Option<String>,
    /// Its name (GPT).
    pub name: Option<String>,
    /// Its attribute bits (GPT), as sfdisk writes them.
    pub attributes: Option<String>,
    /// The boot flag (MBR).
    pub bootable: bool,
    /// What it holds.
    pub content: Content,
}

/// An encrypted container.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
pub struct Luks {
    /// The node it lies on.
    pub path: String,
    /// 1 or 2.
    pub version: u8,
    /// Its UUID.
    pub uuid: String,
    /// Its label (LUKS2).
    pub label: Option<String>,
    /// Cipher, mode and IV: `aes-xts-plain64`.
    pub cipher: String,
    /// The volume key's length in bits: 512 for AES-256 in XTS mode.
    pub key_bits: u32,
    /// The hash of the anti-forensic splitter and the digest: `sha256`.
    pub hash: String,
    /// Bytes in an encryption sector.
    pub sector_size: u32,
    /// Where the data begins.
    pub data_offset: Bytes,
    /// The key slots in use, by number.
    pub keyslots: Vec<Keyslot>,
    /// The mapper name it is open under now.
    pub mapper: Option<String>,
    /// Whether discards pass through it now.
    pub discard: bool,
    /// What it holds; `Empty` if it is closed.
    pub content: Content,
}

/// A key slot that is in use.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
pub struct Keyslot {
    /// Its number.
    pub number: u32,
    /// How a passphrase becomes its key.
    pub pbkdf: Pbkdf,
}

/// How a passphrase becomes a key, and what that costs.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum Pbkdf {
    /// PBKDF2: the one GRUB can open.
    Pbkdf2 {
        /// `sha256`, `sha512` …
        hash: String,
        /// Rounds.
        iterations: u32,
    },
    /// Argon2i or Argon2id.
    Argon2 {
        /// `argon2i` or `argon2id`.
        variant: String,
        /// Passes.
        time: u32,
        /// Memory in KiB.
        memory_kib: u32,
        /// Lanes.
        lanes: u32,
    },
}

/// An LVM volume group. It stands with the last of its physical volumes, where all of it can be made.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
pub struct VolumeGroup {
    /// The node of the physical volume it stands with.
    pub pv_path: String,
    /// That physical volume's UUID.
    pub pv_uuid: String,
    /// The group's name.
    pub name: String,
    /// The group's UUID.
    pub uuid: String,
    /// Bytes in an extent.
    pub extent_size: Bytes,
    /// Extents in the group.
    pub extents: u64,
    /// Where the first extent begins on that physical volume.
    pub data_offset: Bytes,
    /// The volumes by name.
    pub volumes: Vec<LogicalVolume>,
}

/// An LVM physical volume whose group stands elsewhere.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
pub struct PhysicalVolume {
    /// Its node.
    pub path: String,
    /// Its UUID.
    pub uuid: String,
    /// The group's name.
    pub group: String,
    /// Where its first extent begins.
    pub data_offset: Bytes,
}

/// A linear logical volume.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
pub struct LogicalVolume {
    /// Its name within the group.
    pub name: String,
    /// Its UUID.
    pub uuid: String,
    /// Its node: `/dev/www/root`.
    pub path: String,
    /// Its size.
    pub size: Bytes,
    /// What it holds.
    pub content: Content,
}

/// The kinds of file system that can be mirrored.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum FsKind {
    /// ext2
    Ext2,
    /// ext3
    Ext3,
    /// ext4
    Ext4,
    /// XFS
    Xfs,
    /// FAT, as on an EFI system partition
    Vfat,
}

impl FsKind {
    /// The kernel's name for it.
    pub const fn name(self) -> &'static str {
        match self {
            FsKind::Ext2 => "ext2",
            FsKind::Ext3 => "ext3",
            FsKind::Ext4 => "ext4",
            FsKind::Xfs => "xfs",
            FsKind::Vfat => "vfat",
        }
    }

    /// The kind of this name.
    pub fn named(name: &str) -> Option<Self> {
        [FsKind::Ext2, FsKind::Ext3, FsKind::Ext4, FsKind::Xfs, FsKind::Vfat]
            .into_iter()
            .find(|k| k.name() == name)
    }

    /// Bytes in a label: ext2fs `s_volume_name`, XFS `sb_fname`, FAT's volume label.
    pub const fn label_bytes(self) -> usize {
        match self {
            FsKind::Ext2 | FsKind::Ext3 | FsKind::Ext4 => 16,
            FsKind::Xfs => 12,
            FsKind::Vfat => 11,
        }
    }
}

/// A file system.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
pub struct Filesystem {
    /// Its kind.
    pub kind: FsKind,
    /// The node it lies on.
    pub path: String,
    /// Its UUID, as blkid writes it (`ABCD-1234` for FAT).
    pub uuid: String,
    /// Its label.
    pub label: Option<String>,
    /// The size of what it lies on.
    pub size: Bytes,
    /// What its files occupy; known only while it is mounted.
    pub used: Option<Bytes>,
    /// Its size less its own overhead, as statfs says; known only while it is mounted.
    pub capacity: Option<Bytes>,
    /// Where it is mounted now, relative to the primary's root (`/`, `/boot`), outermost first.
    pub mounted_at: Vec<String>,
    /// Where fstab mounts it.
    pub fstab_target: Option<String>,
    /// How it was made.
    pub parameters: FsParameters,
}

impl Filesystem {
    /// Where its files belong in the primary's tree, if anything says so.
    pub fn target(&self) -> Option<&str> {
        self.fstab_target.as_deref().or(self.mounted_at.first().map(String::as_str))
    }
}

/// Whether a file system that is mounted there holds a part of what boots: a kernel and its modules have to be of one version,
/// so these are refreshed together or not at all.
pub fn boots(mount: &str) -> bool {
    matches!(mount, "/" | "/usr" | "/boot" | "/efi") || mount.starts_with("/boot/")
}

/// How a file system was made.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum FsParameters {
    /// ext2, ext3, ext4: from `dumpe2fs -h`.
    Ext {
        /// Bytes in a block.
        block_size: u32,
        /// Bytes in an inode.
        inode_size: u32,
        /// Inodes in all.
        inodes: u64,
        /// Inodes in use.
        inodes_used: u64,
        /// Blocks in all.
        blocks: u64,
        /// Blocks kept for root.
        reserved_blocks: u64,
        /// The features, as dumpe2fs names them.
        features: Vec<String>,
    },
    /// XFS: `xfs_info`'s own words, section by section: `("meta-data", "crc", "1")`.
    Xfs {
        /// Section, key, value.
        settings: Vec<(String, String, String)>,
    },
    /// FAT.
    Vfat {
        /// 12, 16 or 32.
        bits: u8,
    },
}

/// Swap space.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
pub struct Swap {
    /// The node it lies on.
    pub path: String,
    /// Its UUID.
    pub uuid: String,
    /// Its label.
    pub label: Option<String>,
    /// Whether the kernel swaps to it now.
    pub active: bool,
}

/// Swap space with a new key at each boot (crypttab(5)).
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
pub struct RandomSwap {
    /// The node it lies on.
    pub path: String,
    /// The small file system in front of it, if there is one: crypttab knows the place by its label, and leaves it alone
    /// with `offset=`.
    pub label: Option<Filesystem>,
}

/// Something that cannot be mirrored yet.
#[derive(Debug, Clone, Default, PartialEq, Serialize, Deserialize)]
pub struct Unsupported {
    /// The node it lies on.
    pub path: String,
    /// What it is, in the field's words: `a btrfs file system`, `a member of an md array (/dev/md0)`.
    pub what: String,
    /// What uses it now, a line each, as a refusal says it: `is held by md0 (raid1)`, `is mounted on /srv`.
    pub in_use: Vec<String>,
    /// The UUID in its signature, if it has one.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub uuid: Option<String>,
    /// The label in its signature, if it has one.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub label: Option<String>,
    /// Where it, or what lies on it, is mounted in the primary's tree, now or by fstab.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    pub targets: Vec<String>,
    /// Whether the kernel shows no node for it: it cannot be opened, nor be in use.
    #[serde(default, skip_serializing_if = "std::ops::Not::not")]
    pub no_node: bool,
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn partition_nodes_follow_the_kernels_rule() {
        let mut disk = Disk {
            path: "/dev/sda".into(),
            model: None,
            serial: None,
            wwn: None,
            transport: None,
            size: Bytes::gib(1),
            logical_sector: 512,
            physical_sector: 512,
            rotational: false,
            read_only: false,
            discard: false,
        };
        assert_eq!(disk.partition_path(5), "/dev/sda5");
        for path in ["/dev/nvme0n1", "/dev/mmcblk0", "/dev/loop7"] {
            disk.path = path.into();
            assert_eq!(disk.partition_path(1), format!("{path}p1"));
        }
        assert_eq!(disk.confirmation(), "/dev/loop7");
    }

    #[test]
    fn a_kernel_and_its_modules_belong_together_and_data_to_nobody() {
        assert!(["/", "/usr", "/boot", "/boot/efi", "/efi"].iter().all(|mount| boots(mount)));
        assert!(!["/srv", "/home", "/bootleg", "/usr/local"].iter().any(|mount| boots(mount)));
    }
}
