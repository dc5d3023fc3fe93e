//! Which identifier of the mirror stands for which of the primary: what the files on the mirror must say instead.
//!
//! Every layer contributes its own. Identifiers are kept in the spelling of the tool that reports them; the spellings
//! that files use (dashless, escaped, as a path) are derived from these where files are read.

use serde::{Deserialize, Serialize};

/// What an identifier identifies, and so in which context of a file it is one.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum Kind {
    /// The partition table: an MBR's signature (`64c2e6a0`) or a GPT's GUID, in small letters without `0x`.
    Table,
    /// A partition: a GPT's GUID in small letters, or `64c2e6a0-05`.
    Partition,
    /// The name of a GPT's partition.
    PartitionName,
    /// A file system, swap space or an encrypted container: what `UUID=` names.
    Uuid,
    /// The label of one of these: what `LABEL=` names.
    Label,
    /// The name an encrypted container has below /dev/mapper at boot.
    Mapper,
    /// A volume group's name.
    Group,
    /// A volume group's UUID.
    GroupUuid,
    /// A physical volume's UUID.
    PhysicalUuid,
    /// A logical volume: `group/volume`.
    Volume,
    /// A logical volume's UUID.
    VolumeUuid,
    /// A node, or a link below /dev/disk, of a partition or what it holds; the mirror's side is `UUID=…` or
    /// `PARTUUID=…`.
    Node,
    /// A partition's node as a kernel without an initramfs is told its root: it knows `PARTUUID=…`, and neither a file
    /// system's UUID nor its label (the kernel's Documentation/admin-guide/kernel-parameters.txt, "root=").
    Root,
    /// A node, or a link below /dev/disk, of the whole disk; the mirror's side is such a path too.
    Disk,
}

/// One identifier of the primary and the mirror's in its place.
#[derive(Debug, Clone, PartialEq, Eq, PartialOrd, Ord, Serialize, Deserialize)]
pub struct Pair {
    /// What it identifies.
    pub kind: Kind,
    /// The primary's.
    pub primary: String,
    /// The mirror's; empty where the mirror has nothing in its place.
    pub mirror: String,
}

/// Every pair of one primary and its mirror, sorted, without duplicates. Kept with the mirror as
/// `/.diskmirror/identity.json` of its root.
#[derive(Debug, Clone, Default, PartialEq, Eq, Serialize, Deserialize)]
pub struct IdentityMap {
    /// The pairs.
    pub pairs: Vec<Pair>,
}

impl IdentityMap {
    /// The pairs of one kind.
    pub fn of(&self, kind: Kind) -> impl Iterator<Item = &Pair> {
        self.pairs.iter().filter(move |pair| pair.kind == kind)
    }
    /// Whether an identifier is one of these two disks'.
    pub fn has(&self, identifier: &str) -> bool {
        let is = |one: &str| identifier.eq_ignore_ascii_case(one);
        self.pairs.iter().any(|pair| is(&pair.primary) || is(&pair.mirror))
    }
    /// The mirror's identifier in place of the primary's `identifier`; empty if it has none.
    pub fn get(&self, kind: Kind, identifier: &str) -> Option<&str> {
        self.of(kind).find(|pair| pair.primary == identifier).map(|pair| pair.mirror.as_str())
    }
}
