//! What is put behind each initramfs so that it opens the mirror: the files in it that name the primary, rewritten.
//!
//! Reading an image costs more than all else that a run does for the boot; what was found is kept and believed as long as
//! the image's inode, size and times and the identifiers are the same.

use super::files::{At, Tree};
use crate::identity::IdentityMap;
use crate::layer::initramfs::{self, Initramfs, Override};
use crate::retarget;
use crate::sys::stat::{Kind as FileKind, Stat};
use crate::sys::{private, read};
use crate::tree::Want;
use serde::{Deserialize, Serialize};
use std::collections::BTreeMap;
use std::fs::File;
use std::io::{self, BufReader};
use std::path::Path;

/// Where images lie, in the system's own words, and how deep below.
const PLACES: [(&str, u32); 3] = [("/boot", 2), ("/efi", 2), ("/boot/efi", 2)];
/// What their names begin with.
const NAMES: [&str; 2] = ["initrd", "initramfs"];

/// How much of an image is read at once.
pub(super) const BUFFER: usize = 128 << 10;

/// What was found in one image.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
struct Known {
    /// Inode, size, mtime and ctime of the image: any change of it changes one of these.
    stamp: String,
    /// What is put behind it; nothing if it names nobody.
    suffix: Vec<u8>,
    /// Why the mirror may not boot with it, and nothing can be done.
    problems: Vec<String>,
    /// Why nothing that is put behind it makes it boot the mirror.
    unfit: Vec<String>,
    /// Whether it was not looked into, because there is too much of it.
    #[serde(default)]
    too_large: bool,
}

/// What was found in all images, by path, and for which identifiers and drivers.
#[derive(Debug, Clone, Default, PartialEq, Eq, Serialize, Deserialize)]
struct Memory {
    wanted_for: String,
    known: BTreeMap<String, Known>,
}

/// The images of a system and what the mirror needs of them.
pub struct Images<'a> {
    /// The primary's files.
    pub source: &'a Tree,
    /// Which identifier stands for which.
    pub map: &'a IdentityMap,
    /// Kernel modules that the mirror's disk is driven by.
    pub drivers: &'a [String],
    /// Where what was found is kept; nowhere in a dry run.
    pub memory: &'a Path,
}

/// What one image shall be on the mirror.
#[derive(Debug)]
pub struct Image {
    /// Its path.
    pub path: String,
    /// Where it lies.
    pub at: At,
    /// What the primary's is now.
    pub stat: Stat,
    /// What is put behind it; nothing if it names nobody.
    pub suffix: Vec<u8>,
    /// Why nothing that is put behind it makes it boot the mirror: it has to be rebuilt.
    pub unfit: Vec<String>,
    /// Why the mirror may not boot with it, a line each.
    pub problems: Vec<String>,
    /// Whether it was not looked into, because there is too much of it.
    pub too_large: bool,
}

impl Image {
    /// What the mirror shall hold; none where that is what the primary holds.
    pub fn want(&self) -> Option<Want> {
        (!self.suffix.is_empty()).then(|| Want::source_then(self.stat.size, self.suffix.clone()))
    }
}

impl Images<'_> {
    /// Looks at every image that has changed since the last time; `keep` says whether what was found is kept for the next.
    ///
    /// # Errors
    /// The system's.
    pub fn look(&self, keep: bool) -> io::Result<Vec<Image>> {
        let before = self.remembered();
        let mut now = Memory { wanted_for: self.wanted_for(), known: BTreeMap::new() };
        let mut images = Vec::new();
        for (path, at, stat) in images_of(self.source)? {
            let stamp = stamp(&stat);
            let known = match before.known.get(&path).filter(|known| known.stamp == stamp) {
                Some(known) => known.clone(),
                None => self.examine(&path, &at, stamp)?,
            };
            let Known { suffix, problems, unfit, too_large, .. } = known.clone();
            images.push(Image { path: path.clone(), at, stat, suffix, unfit, problems, too_large });
            now.known.insert(path, known);
        }
        if keep && now != before {
            // What cannot be kept (the primary's disk is full or read-only) is found again the next time.
            let _ = private::replace(self.memory, &serde_json::to_vec(&now)?);
        }
        Ok(images)
    }

    /// A digest of the identifiers and the drivers.
    pub fn wanted_for(&self) -> String {
        let text = serde_json::to_string(&(self.map, self.drivers)).unwrap_or_default();
        blake3::hash(text.as_bytes()).to_hex().to_string()
    }

    /// What is kept; nothing where it was found for other identifiers, or cannot be read.
    fn remembered(&self) -> Memory {
        let text = read::file(self.memory, read::TEXT_BYTES).unwrap_or_default();
        let memory: Memory = serde_json::from_slice(&text).unwrap_or_default();
        if memory.wanted_for == self.wanted_for() { memory } else { Memory::default() }
    }

    fn examine(&self, path: &str, at: &At, stamp: String) -> io::Result<Known> {
        let nothing = Known { stamp, suffix: vec![], problems: vec![], unfit: vec![], too_large: false };
        // An upgrade may have taken it away meanwhile.
        let Some(file) = self.source.open_at(at)? else { return Ok(nothing) };
        match read_image(&file, self.map) {
            Ok(image) => {
                let overrides = overrides(&image, self.map);
                let suffix = if overrides.is_empty() { Vec::new() } else { image.suffix(&overrides) };
                Ok(Known { suffix, unfit: unfit(&image, self.map, self.drivers), ..nothing })
            }
            // What made it is not known either.
            Err(error) => {
                let (too_large, problems) = (error.is_too_large(), vec![format!("{path}: {error}")]);
                Ok(Known { problems, too_large, ..nothing })
            }
        }
    }
}

/// Reads an image, and sees where it names the primary.
pub(super) fn read_image(file: &File, map: &IdentityMap) -> Result<Initramfs, initramfs::Unreadable> {
    initramfs::read(&mut BufReader::with_capacity(BUFFER, file), &retarget::Spellings::of(map))
}

/// What no file behind the image can mend, a line each.
pub(super) fn unfit(image: &Initramfs, map: &IdentityMap, drivers: &[String]) -> Vec<String> {
    // As the audit looks at them.
    let spellings = retarget::Spellings::of(map);
    let names = image.paths().filter(|name| !spellings.find_bytes(name).is_empty());
    let names = names.map(String::from_utf8_lossy);
    let names = names.map(|name| format!("it names the primary in a file's name ({name})"));
    let missing = drivers.iter().filter(|driver| !image.has_driver(driver));
    let missing = missing.map(|driver| format!("it lacks the driver {driver} that the mirror's disk needs"));
    names.chain(missing).collect()
}

/// The rewritten files, in place of those that name the primary.
pub(super) fn overrides(image: &Initramfs, map: &IdentityMap) -> Vec<Override> {
    let spellings = retarget::Spellings::of(map);
    let rewritten = |(path, file): (&[u8], &initramfs::File)| {
        let path = std::str::from_utf8(path).ok().filter(|_| file.is_regular())?;
        let content = spellings.rewrite_in_initramfs(path, file.content.as_ref()?)?;
        Some(Override { path: path.to_owned(), permissions: file.mode & 0o7777, content })
    };
    image.files().filter_map(rewritten).collect()
}

/// Every image: regular files by name, links passed over, for what they lead to is found itself.
fn images_of(tree: &Tree) -> io::Result<Vec<(String, At, Stat)>> {
    let mut found = BTreeMap::new();
    for (place, depth) in PLACES {
        let images = tree.below(place, depth)?.into_iter().filter(|(path, _, stat)| is_image(path, stat));
        found.extend(images.map(|(path, at, stat)| (path, (at, stat))));
    }
    Ok(found.into_iter().map(|(path, (at, stat))| (path, at, stat)).collect())
}

fn is_image(path: &str, stat: &Stat) -> bool {
    let name = path.rsplit('/').next().unwrap_or(path);
    stat.kind == FileKind::File && NAMES.iter().any(|start| name.starts_with(start))
}

/// What changes with every change of a file: its inode, size and times.
pub(super) fn stamp(stat: &Stat) -> String {
    let Stat { ino, size, mtime, ctime, .. } = stat;
    format!("{ino} {size} {}.{} {}.{}", mtime.secs, mtime.nanos, ctime.secs, ctime.nanos)
}
