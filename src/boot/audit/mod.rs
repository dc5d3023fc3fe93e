//! Does anything that the mirror boots from still need the primary? Everything that a boot reads, off the mirror only:
//! texts, programs of the EFI system partition, GRUB's cores, each initramfs with all its archives.
//!
//! Two questions: which identifiers of the primary are still there, and what is named that nobody has. Pure over `Files`
//! and `Facts`; what is found is found once. It believes nothing that the rewriting side says.

mod early;
mod entries;
mod needs;

#[cfg(test)]
mod tests;

use super::files::Tree;
use crate::identity::{IdentityMap, Kind};
use crate::layer::{grub_core, pe};
use crate::record::Finding;
use crate::retarget::{Found, Spellings, candidates};
use std::collections::{BTreeMap, BTreeSet};
use std::io;

/// The mirror's files by the absolute paths that its own booted system uses, links followed inside of it.
pub trait Files {
    /// The content of a regular file; none if there is none.
    ///
    /// # Errors
    /// The system's.
    fn read(&self, path: &str) -> io::Result<Option<Vec<u8>>>;

    /// The names in a directory; nothing if there is none.
    ///
    /// # Errors
    /// The system's.
    fn list(&self, dir: &str) -> io::Result<Vec<String>>;
}

impl Files for Tree {
    fn read(&self, path: &str) -> io::Result<Option<Vec<u8>>> {
        Tree::read(self, path)
    }

    fn list(&self, dir: &str) -> io::Result<Vec<String>> {
        Tree::list(self, dir)
    }
}

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
    /// GRUB's core images as they lie on the mirror's disk, each with the words for where.
    pub cores: Vec<(String, Vec<u8>)>,
}

/// Everything on the mirror that needs the primary, or what is nowhere; sorted, each once. Empty: it stands alone.
///
/// # Errors
/// Those of reading the mirror.
pub fn audit(files: &dyn Files, facts: &Facts) -> io::Result<Vec<Finding>> {
    let spellings = Spellings::of(&facts.map);
    let mut search = Search { files, facts, spellings, found: BTreeSet::new(), placed: BTreeMap::new() };
    search.table();
    search.cores();
    let texts = search.texts()?;
    let entries = entries::read(&texts);
    let mut early = early::Early::default();
    search.programs(&mut early)?;
    search.images(&entries, &mut early)?;
    search.needs(&texts, &entries, &early)?;
    Ok(search.found.into_iter().collect())
}

/// A text that was read.
struct Text {
    path: String,
    bytes: Vec<u8>,
}

/// An audit under way.
struct Search<'a> {
    files: &'a dyn Files,
    facts: &'a Facts,
    spellings: Spellings<'a>,
    found: BTreeSet<Finding>,
    /// Where the paths in boot loaders' files lie.
    placed: BTreeMap<String, Option<String>>,
}

impl Search<'_> {
    fn find(&mut self, file: &str, inside: Option<&str>, line: usize, what: impl Into<String>) {
        let (file, inside) = (file.to_owned(), inside.map(str::to_owned));
        self.found.insert(Finding { file, inside, line, what: what.into() });
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

    /// Every text that a boot reads, or what is made for the next boot.
    fn texts(&mut self) -> io::Result<Vec<Text>> {
        let files = self.files;
        let mut texts = Vec::new();
        for path in candidates(&|dir| files.list(dir).unwrap_or_default()) {
            let Some(bytes) = files.read(&path)? else { continue };
            self.stale(&path, None, self.spellings.remains(&path, &bytes));
            texts.push(Text { path, bytes });
        }
        Ok(texts)
    }

    /// Every EFI program. Of a unified kernel image, its command line and its initramfs.
    fn programs(&mut self, early: &mut early::Early) -> io::Result<()> {
        for path in self.program_paths()? {
            let Some(bytes) = self.files.read(&path)? else { continue };
            let Some(unified) = pe::parse(&bytes).filter(|program| program.is_unified_kernel()) else {
                self.stale(&path, None, self.spellings.find_bytes(&bytes));
                continue;
            };
            let line = unified.section(".cmdline").unwrap_or_default();
            self.stale(&path, Some(".cmdline"), self.spellings.find(line));
            early.command_line(&path, line);
            if let Some(image) = unified.section(".initrd") {
                self.image(&path, image, early);
            }
        }
        Ok(())
    }

    fn program_paths(&self) -> io::Result<Vec<String>> {
        let mut paths = Vec::new();
        for mount in ["/boot/efi", "/efi", "/boot"] {
            let names = self.files.list(mount)?;
            let Some(efi) = names.iter().find(|name| name.eq_ignore_ascii_case("efi")) else { continue };
            for vendor in self.files.list(&format!("{mount}/{efi}"))? {
                let dir = format!("{mount}/{efi}/{vendor}");
                let programs = self.files.list(&dir)?.into_iter();
                let programs = programs.filter(|name| name.to_lowercase().ends_with(".efi"));
                paths.extend(programs.map(|name| format!("{dir}/{name}")));
            }
        }
        Ok(paths)
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
        Kind::Node => "device",
        Kind::Disk => "disk",
    }
}
