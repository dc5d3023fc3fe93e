//! Does anything that the mirror boots from still need the primary? Everything that a boot reads, off the mirror only:
//! texts, programs of the EFI system partition, GRUB's cores, each initramfs with all its archives.
//!
//! Two questions: which identifiers of the primary are still there, and what is named that nobody has. Pure over `Files`
//! and `Facts`; what is found is found once. It believes nothing that the rewriting side says.
//!
//! Nor does it believe that whoever wrote these files meant well: all that it reads has a limit, and what is beyond one is a
//! finding of its own.

mod early;
mod entries;
mod needs;
mod programs;

#[cfg(test)]
mod tests;

use super::files::Tree;
use super::initramfs::BUFFER;
use crate::identity::{IdentityMap, Kind};
use crate::layer::grub_core;
use crate::record::Finding;
use crate::retarget::{Found, Spellings, candidates};
use crate::units::Bytes;
use std::cell::RefCell;
use std::collections::{BTreeMap, BTreeSet};
use std::io::{self, BufRead, BufReader, Cursor, ErrorKind, Seek};

/// The mirror's files by the absolute paths that its own booted system uses, links followed inside of it.
pub trait Files {
    /// The content of a text; none if there is no such regular file.
    ///
    /// # Errors
    /// The system's; `FileTooLarge` for what is no text any more.
    fn read(&self, path: &str) -> io::Result<Option<Vec<u8>>>;

    /// A regular file, to be read piece by piece; none if there is none.
    ///
    /// # Errors
    /// The system's.
    fn open(&self, path: &str) -> io::Result<Option<Box<dyn Content>>> {
        Ok(self.read(path)?.map(|bytes| Box::new(Cursor::new(bytes)) as Box<dyn Content>))
    }

    /// The names in a directory; nothing if there is none.
    ///
    /// # Errors
    /// The system's; `FileTooLarge` for too many.
    fn list(&self, dir: &str) -> io::Result<Vec<String>>;
}

/// An open file.
pub trait Content: BufRead + Seek {}

impl<T: BufRead + Seek> Content for T {}

impl Files for Tree {
    fn read(&self, path: &str) -> io::Result<Option<Vec<u8>>> {
        Tree::read(self, path)
    }

    fn open(&self, path: &str) -> io::Result<Option<Box<dyn Content>>> {
        let file = Tree::open(self, path)?;
        Ok(file.map(|file| Box::new(BufReader::with_capacity(BUFFER, file)) as Box<dyn Content>))
    }

    fn list(&self, dir: &str) -> io::Result<Vec<String>> {
        Tree::list(self, dir)
    }
}

/// What all texts together may have.
const MOST_TEXT: usize = 64 << 20;

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
    /// GRUB's core images as they lie on the mirror's disk, each with the words for where.
    pub cores: Vec<(String, Vec<u8>)>,
}

/// Everything on the mirror that needs the primary, or what is nowhere; sorted, each once. Empty: it stands alone.
///
/// # Errors
/// Those of reading the mirror.
pub fn audit(files: &dyn Files, facts: &Facts) -> io::Result<Vec<Finding>> {
    let spellings = Spellings::of(&facts.map);
    let (found, placed) = (BTreeSet::new(), BTreeMap::new());
    let mut search = Search { files, facts, spellings, found, placed, unpacked: 0, images: 0 };
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
    /// Bytes that were unpacked so far.
    unpacked: u64,
    /// Images that were read so far.
    images: usize,
}

impl Search<'_> {
    fn find(&mut self, file: &str, inside: Option<&str>, line: usize, what: impl Into<String>) {
        if self.found.len() < MOST_FINDINGS {
            let (file, inside) = (file.to_owned(), inside.map(str::to_owned));
            self.found.insert(Finding { file, inside, line, what: what.into() });
        } else if self.found.len() == MOST_FINDINGS {
            let what = format!("more than {MOST_FINDINGS} things were found; the others are not listed");
            self.found.insert(Finding { file: "the mirror".into(), inside: None, line: 0, what });
        }
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

    /// Every text that a boot reads, or what is made for the next boot.
    fn texts(&mut self) -> io::Result<Vec<Text>> {
        let files = self.files;
        let unread = RefCell::new(BTreeMap::new());
        let list = |dir: &str| {
            files.list(dir).unwrap_or_else(|error| {
                unread.borrow_mut().insert(dir.to_owned(), error);
                Vec::new()
            })
        };
        let paths = candidates(&list);
        for (dir, error) in unread.into_inner() {
            self.within_limits::<()>(&dir, Err(error))?;
        }
        let (mut texts, mut room) = (Vec::new(), MOST_TEXT);
        for path in paths {
            let text = files.read(&path);
            let Some(bytes) = self.within_limits(&path, text)? else { continue };
            if bytes.len() > room {
                self.not_looked_into(
                    &path,
                    None,
                    &format!("all texts together are larger than {}", Bytes(MOST_TEXT as u64)),
                );
                continue;
            }
            room -= bytes.len();
            self.stale(&path, None, self.spellings.remains(&path, &bytes));
            texts.push(Text { path, bytes });
        }
        Ok(texts)
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
