//! Does anything that the mirror boots from still need the primary? Everything that a boot reads, off the mirror only:
//! texts, programs of the EFI system partition, GRUB's cores, each initramfs with all its archives.
//!
//! Two questions: which identifiers of the primary are still there, and what is named that nobody has. Pure over `Files`
//! and `Facts`; what is found is found once. It believes nothing that the rewriting side says.
//!
//! Nor does it believe that whoever wrote these files meant well: all that it reads has a limit, and what is beyond one is a
//! finding of its own.

mod early;
mod live;
mod lvm;
mod needs;
mod programs;
mod readers;
mod texts;
mod units;

#[cfg(test)]
mod tests;

pub use super::files::{Content, Files};
pub(in crate::boot) use readers::{AREAS, FILES, is_of_boot};

use super::way::{Way, is_elsewhere};
use crate::identity::{IdentityMap, Kind};
use crate::layer::grub_core;
use crate::record::Finding;
use crate::retarget::{Found, Spellings};
use globset::{Glob, GlobSetBuilder};
use std::collections::BTreeSet;
use std::io::{self, ErrorKind};

/// Findings that are told one by one.
const MOST_FINDINGS: usize = 500;

/// What there is when the mirror boots alone: its own identifiers, and those of disks that are not the primary.
#[derive(Debug, Clone, Default)]
pub struct Facts {
    /// Which identifier stands for which.
    pub map: IdentityMap,
    /// UUIDs of file systems, swap spaces and containers.
    pub uuids: BTreeSet<String>,
    /// Labels of these.
    pub labels: BTreeSet<String>,
    /// PARTUUIDs.
    pub part_uuids: BTreeSet<String>,
    /// Names of GPT partitions.
    pub part_labels: BTreeSet<String>,
    /// Logical volumes: `group/volume`.
    pub volumes: BTreeSet<String>,
    /// Further paths below /dev that will be there: links by id, nodes of other disks.
    pub paths: BTreeSet<String>,
    /// UUIDs of the mirror's encrypted containers.
    pub containers: BTreeSet<String>,
    /// The mirror's table: an MBR's signature or a GPT's GUID, as `Kind::Table` has it.
    pub table: String,
    /// Images that the primary has as large: that they are not looked into was said of them there.
    pub too_large: BTreeSet<String>,
    /// What loaders' files name and the primary has not either: kernels and images, as they are written there.
    pub absent: BTreeSet<String>,
    /// What else the primary's devices are called, which is no identifier in a file that a boot reads: serial numbers, names
    /// below /dev/disk/by-id. Each with the words for what it is.
    pub names: BTreeSet<(String, String)>,
    /// Under which names LVM can find each of the mirror's physical volumes.
    pub physical_volumes: Vec<BTreeSet<String>>,
    /// GRUB's core images as they lie on the mirror's disk, each with the words for where.
    pub cores: Vec<(String, Vec<u8>)>,
}

/// Everything on the mirror that needs the primary, or what is nowhere, and remarks about what might; sorted, each once. No
/// finding that is no remark: it stands alone.
///
/// # Errors
/// Those of reading the mirror.
pub fn audit(files: &dyn Files, facts: &Facts) -> io::Result<Vec<Finding>> {
    let spellings = Spellings::of(&facts.map);
    let mut search = Search { files, facts, spellings, found: BTreeSet::new(), unpacked: 0, images: 0 };
    let mut way = Way::follow(files)?;
    search.table();
    search.cores();
    search.texts(&way)?;
    let mut early = early::Early::default();
    search.programs(&mut early)?;
    search.images(&mut way, &mut early)?;
    search.needs(&mut way, &early)?;
    search.units()?;
    search.lvm()?;
    Ok(search.found.into_iter().collect())
}

/// What was found without remarks about files that fit one of these patterns.
///
/// # Errors
/// A pattern that is none.
pub fn without_ignored(found: Vec<Finding>, patterns: &[String]) -> anyhow::Result<Vec<Finding>> {
    let mut ignored = GlobSetBuilder::new();
    for pattern in patterns {
        ignored.add(Glob::new(pattern)?);
    }
    let ignored = ignored.build()?;
    Ok(found.into_iter().filter(|found| !(found.is_remark && ignored.is_match(&found.file))).collect())
}

/// An audit under way.
struct Search<'a> {
    files: &'a dyn Files,
    facts: &'a Facts,
    spellings: Spellings<'a>,
    found: BTreeSet<Finding>,
    /// Bytes that were unpacked so far.
    unpacked: u64,
    /// Images that were read so far.
    images: usize,
}

impl Search<'_> {
    fn find(&mut self, file: &str, inside: Option<&str>, line: usize, what: impl Into<String>) {
        let (file, inside) = (file.to_owned(), inside.map(str::to_owned));
        self.enter(Finding { file, inside, line, what: what.into(), is_remark: false });
    }

    /// What nobody is known to read at a boot.
    fn remark(&mut self, file: &str, line: usize, what: String) {
        self.enter(Finding { file: file.to_owned(), inside: None, line, what, is_remark: true });
    }

    fn enter(&mut self, finding: Finding) {
        let alike = self.found.iter().filter(|other| other.is_remark == finding.is_remark).count();
        if alike < MOST_FINDINGS {
            self.found.insert(finding);
        } else if alike == MOST_FINDINGS {
            let what = format!("more than {MOST_FINDINGS} things were found; the others are not listed");
            self.found.insert(Finding { file: "the mirror".into(), inside: None, line: 0, what, ..finding });
        }
    }

    /// Whether a file system's UUID is one of these two disks'.
    fn is_ours(&self, uuid: &str) -> bool {
        self.facts.map.has(uuid)
    }

    /// What was read; a limit that was met is a finding, and there is nothing then.
    fn within_limits<T>(&mut self, path: &str, read: io::Result<Option<T>>) -> io::Result<Option<T>> {
        match read {
            Err(error) if error.kind() == ErrorKind::FileTooLarge => {
                self.not_looked_into(path, None, &error.to_string());
                Ok(None)
            }
            read => read,
        }
    }

    fn not_looked_into(&mut self, path: &str, inside: Option<&str>, why: &str) {
        self.find(path, inside, 0, format!("not looked into: {why}"));
    }

    fn list(&mut self, dir: &str) -> io::Result<Vec<String>> {
        let names = self.files.list(dir).map(Some);
        Ok(self.within_limits(dir, names)?.unwrap_or_default())
    }

    /// The primary's identifiers, as they were found in a file.
    fn stale(&mut self, file: &str, inside: Option<&str>, hits: Vec<Found>) {
        for Found { kind, primary, line } in hits {
            self.find(file, inside, line, format!("names the primary's {} {primary}", words(kind)));
        }
    }

    fn table(&mut self) {
        if self.facts.map.of(Kind::Table).any(|pair| pair.primary.eq_ignore_ascii_case(&self.facts.table)) {
            let what = format!("is the primary's {} {}", words(Kind::Table), self.facts.table);
            self.find("the partition table", None, 0, what);
        }
    }

    fn cores(&mut self) {
        for (place, sectors) in &self.facts.cores {
            match grub_core::unpack(sectors) {
                Ok(core) => self.stale(place, None, self.spellings.find_bytes(&core.bytes)),
                Err(error) => self.find(place, None, 0, format!("{error}")),
            }
        }
    }
}

fn words(kind: Kind) -> &'static str {
    match kind {
        Kind::Table => "partition table",
        Kind::Partition => "partition",
        Kind::PartitionName => "partition name",
        Kind::Uuid => "UUID",
        Kind::Label => "label",
        Kind::Mapper => "mapper name",
        Kind::Group => "volume group",
        Kind::GroupUuid => "volume group's UUID",
        Kind::PhysicalUuid => "physical volume's UUID",
        Kind::Volume => "logical volume",
        Kind::VolumeUuid => "logical volume's UUID",
        Kind::Node | Kind::Root => "device",
        Kind::Disk => "disk",
    }
}
