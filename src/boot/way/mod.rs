//! The way of a boot: from the configurations that loaders look for, through what they include, to the kernels, images and
//! command lines that they start.
//!
//! It knows nothing of identifiers, and does not share the list of files that are rewritten: what that list forgets is found
//! here. What no loader reads (a copy of an old configuration, an image that no entry names) is not on the way.

mod entries;
pub mod holes;

pub use entries::{Entry, Says};

use super::files::Files;
use crate::retarget::expand;
use std::collections::{BTreeMap, BTreeSet, VecDeque};
use std::io::{self, ErrorKind};

/// Where boot loaders' file systems are mounted: what they call `/`.
const BOOTS: [&str; 4] = ["/boot", "/boot/efi", "/efi", "/boot/firmware"];

/// What loaders look for by themselves, below each of these; `*` stands for any part of a name.
const CONFIGURATIONS: [&str; 23] = [
    "grub/grub.cfg",
    "grub2/grub.cfg",
    "grub/custom.cfg",
    "grub2/custom.cfg",
    "grub/grubenv",
    "grub2/grubenv",
    "grub/menu.lst",
    "grub/grub.conf",
    "EFI/*/grub.cfg",
    "EFI/*/grubenv",
    "loader/entries/*.conf",
    "extlinux/extlinux.conf",
    "extlinux.conf",
    "syslinux/syslinux.cfg",
    "syslinux.cfg",
    "refind_linux.conf",
    "limine.conf",
    "config.txt",
    "cmdline.txt",
    "*Env.txt",
    "env.txt",
    "boot.scr",
    "boot.ini",
];

/// Files that are followed: a system has some ten, and an entry for each kernel.
const MOST_FILES: usize = 1000;

/// Kernels, images and included files that are looked for.
pub const MOST_PLACES: usize = 2000;

/// What starts a system.
#[derive(Debug, Default)]
pub struct Way {
    /// What the loaders are told, in the order of their files.
    pub entries: Vec<Entry>,
    /// The files that say so.
    pub read: BTreeSet<String>,
    /// Files of these that could not be read, and why: they are larger than any configuration is, or there are too many.
    pub unread: Vec<(String, String)>,
    /// Where what they name lies, by the file that names it and the name.
    placed: BTreeMap<(String, String), Option<String>>,
}

impl Way {
    /// Follows it.
    ///
    /// # Errors
    /// The system's.
    pub fn follow(files: &dyn Files) -> io::Result<Way> {
        let (mut way, mut next) = (Way::default(), configurations(files)?);
        while let Some(path) = next.pop_front() {
            if way.read.contains(&path) {
                continue;
            }
            if way.read.len() == MOST_FILES {
                way.unread.push((path, format!("more than {MOST_FILES} configurations of loaders")));
                break;
            }
            let text = match files.read(&path) {
                Err(error) if error.kind() == ErrorKind::FileTooLarge => {
                    way.unread.push((path, error.to_string()));
                    continue;
                }
                text => text?,
            };
            let Some(text) = text else { continue };
            way.read.insert(path.clone());
            let entries = entries::read(&path, &String::from_utf8_lossy(&text));
            for entry in &entries {
                if let Says::Include(name) = &entry.says {
                    next.extend(way.place(files, entry, name)?);
                }
            }
            way.entries.extend(entries);
        }
        Ok(way)
    }

    /// Where what an entry names lies: a path counts from the root of the loader's file system, or from the entry's own
    /// directory. Looked up once; none if it is nowhere.
    ///
    /// # Errors
    /// The system's.
    pub fn place(&mut self, files: &dyn Files, entry: &Entry, name: &str) -> io::Result<Option<String>> {
        let key = (entry.file.clone(), name.to_owned());
        if let Some(place) = self.placed.get(&key) {
            return Ok(place.clone());
        }
        let mut found = None;
        for place in candidates(&entry.file, name) {
            if found.is_none() && files.open(&place)?.is_some() {
                found = Some(place);
            }
        }
        self.placed.insert(key, found.clone());
        Ok(found)
    }

    /// Whether as many places were looked up as there can be.
    pub fn is_full(&self) -> bool {
        self.placed.len() >= MOST_PLACES
    }

    /// The images that are started, by their places; `is_ours` says of a file system's UUID whether it is this disk's.
    ///
    /// # Errors
    /// The system's.
    pub fn images(
        &mut self,
        files: &dyn Files,
        is_ours: &dyn Fn(&str) -> bool,
    ) -> io::Result<BTreeSet<String>> {
        let named = |entry: &Entry| match &entry.says {
            Says::Image(name) if !is_elsewhere(entry, is_ours) => Some((entry.clone(), name.clone())),
            _ => None,
        };
        let mut places = BTreeSet::new();
        for (entry, name) in self.entries.iter().filter_map(named).take(MOST_PLACES).collect::<Vec<_>>() {
            places.extend(self.place(files, &entry, &name)?);
        }
        Ok(places)
    }

    /// Whether any kernel that the loaders name is there.
    ///
    /// # Errors
    /// The system's.
    pub fn has_kernel(&mut self, files: &dyn Files, is_ours: &dyn Fn(&str) -> bool) -> io::Result<bool> {
        let named = |entry: &Entry| match &entry.says {
            Says::Kernel(name) if !is_elsewhere(entry, is_ours) => Some((entry.clone(), name.clone())),
            _ => None,
        };
        for (entry, name) in self.entries.iter().filter_map(named).take(MOST_PLACES).collect::<Vec<_>>() {
            if self.place(files, &entry, &name)?.is_some() {
                return Ok(true);
            }
        }
        Ok(false)
    }

    /// Whether the configuration in a loader's directory looks for file systems, and for none of this disk.
    pub fn is_stale(&self, directory: &str, is_ours: &dyn Fn(&str) -> bool) -> bool {
        let own = self.entries.iter().filter(|entry| entry.file == format!("{directory}/grub.cfg"));
        let mut searched = own.filter_map(|entry| match &entry.says {
            Says::Search(uuid) => Some(is_ours(uuid)),
            _ => None,
        });
        searched.next().is_some_and(|first| !first && !searched.any(|ours| ours))
    }

    /// The kernels and images that are named and are not there, as they are written.
    ///
    /// # Errors
    /// The system's.
    pub fn absent(&mut self, files: &dyn Files) -> io::Result<BTreeSet<String>> {
        let mut absent = BTreeSet::new();
        for entry in self.entries.clone() {
            let (Says::Kernel(name) | Says::Image(name)) = &entry.says else { continue };
            if self.is_full() {
                break;
            }
            if self.place(files, &entry, name)?.is_none() {
                absent.insert(name.clone());
            }
        }
        Ok(absent)
    }

    /// Whether the loaders name any kernel.
    pub fn names_kernel(&self) -> bool {
        self.entries.iter().any(|entry| matches!(entry.says, Says::Kernel(_)))
    }
}

/// Whether an entry starts another system, on another disk.
pub fn is_elsewhere(entry: &Entry, is_ours: &dyn Fn(&str) -> bool) -> bool {
    entry.searched.as_deref().is_some_and(|uuid| !is_ours(uuid))
}

/// Whether an image's name says that no entry starts it: a copy that was kept or half written, a crash kernel's.
pub fn is_spare_image(path: &str) -> bool {
    let name = path.rsplit('/').next().unwrap_or(path);
    let ends = [".bak", ".old", ".orig", ".new", ".tmp", ".dpkg-bak", ".old-dkms", "~", "kdump.img", "kdump"];
    ends.iter().any(|end| name.ends_with(end))
}

/// Every configuration that is there, each once.
fn configurations(files: &dyn Files) -> io::Result<VecDeque<String>> {
    let mut failed = None;
    let mut list = |dir: &str| {
        files.list(dir).unwrap_or_else(|error| {
            // Too many names for a boot's directory are said where all that lies there is looked into.
            failed = Some(error).filter(|error| error.kind() != ErrorKind::FileTooLarge);
            Vec::new()
        })
    };
    let mut found: BTreeSet<String> = BTreeSet::new();
    for boot in BOOTS {
        for place in CONFIGURATIONS {
            found.extend(expand(&format!("{boot}/{place}"), &mut list));
        }
    }
    found.extend(expand("/etc/lilo.conf", &mut list));
    failed.map_or(Ok(found.into_iter().collect()), Err)
}

/// Where a name of a loader's file can lie.
fn candidates(file: &str, name: &str) -> Vec<String> {
    let dir = file.rsplit_once('/').map_or("", |(dir, _)| dir);
    let beside = format!("{dir}/{name}");
    match name.strip_prefix('/') {
        Some(name) => {
            let below = BOOTS.iter().map(|boot| format!("{boot}/{name}"));
            below.chain([format!("/{name}")]).collect()
        }
        None => {
            let below = BOOTS.iter().map(|boot| format!("{boot}/{name}"));
            [beside].into_iter().chain(below).collect()
        }
    }
}
