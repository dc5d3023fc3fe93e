//! What UEFI firmware starts on the mirror: \EFI\BOOT\BOOTX64.EFI, which it finds on any disk, and an entry of its own
//! behind the primary's.
//!
//! The files of the EFI system partition are mirrored as any others. What is different there: an unsigned image that names
//! the primary's file systems is rewritten, and the fallback loader and what it loads from its own directory come last,
//! because a rename on FAT does not survive a crash.

use super::files::{At, Tree};
use super::identify::Identities;
use crate::identity::{IdentityMap, Kind};
use crate::layer::partition_table::is_efi_system;
use crate::layer::{efi_entries, pe};
use crate::layout::{Content, Partition, Survey};
use crate::refusal::Failure;
use crate::retarget;
use crate::step::Invocation;
use crate::sys::replace::{Access, replace_at};
use crate::sys::{command, dir, read};
use crate::units::Bytes;
use anyhow::{Context, Result};
use std::io::{self, ErrorKind, Read, Write};
use std::path::Path;

/// The fallback loader's names by machine (UEFI 2.10, 3.5.1.1).
#[cfg(target_arch = "aarch64")]
const FALLBACK: &str = "BOOTAA64.EFI";
#[cfg(not(target_arch = "aarch64"))]
const FALLBACK: &str = "BOOTX64.EFI";

/// What can stand in its place, best first: a shim starts under Secure Boot and loads the next.
#[cfg(target_arch = "aarch64")]
const LOADERS: [&str; 3] = ["shimaa64.efi", "grubaa64.efi", "systemd-bootaa64.efi"];
#[cfg(not(target_arch = "aarch64"))]
const LOADERS: [&str; 3] = ["shimx64.efi", "grubx64.efi", "systemd-bootx64.efi"];

/// What a shim loads from the directory it lies in.
#[cfg(target_arch = "aarch64")]
const SECOND_STAGE: &str = "grubaa64.efi";
#[cfg(not(target_arch = "aarch64"))]
const SECOND_STAGE: &str = "grubx64.efi";

/// The EFI system partition of the mirror.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Esp {
    /// Images that name the primary, as the mirror shall have them.
    pub rewritten: Vec<(At, Vec<u8>)>,
    /// Why it may not boot, a line each.
    pub problems: Vec<String>,
    /// The partition's number.
    number: u32,
    /// The directory of the fallback loader: a path of the system.
    directory: String,
    /// What lies in it, by name; the fallback loader last.
    files: Vec<(String, Vec<u8>)>,
    /// What shall not lie in it.
    left_out: Vec<String>,
}

/// Decides what the mirror's EFI system partition shall hold; none if the primary has none that is mounted. `is_stale` says
/// of a loader's directory that its configuration leads to nothing of this disk.
///
/// # Errors
/// Those of reading it.
pub fn decide(
    source: &Tree,
    identities: &Identities,
    is_stale: &dyn Fn(&str) -> bool,
) -> Result<Option<Esp>> {
    let Some((number, mount)) = system_partition(&identities.survey) else { return Ok(None) };
    let look = || -> io::Result<Esp> {
        let mut images = images(source, &mount)?;
        // A system that was there before has left its own behind: any other comes first.
        images.sort_by_key(|image| is_stale(image.directory()));
        let directory = directory_of(source, &mount)?;
        let mut esp =
            Esp { number, directory, rewritten: vec![], problems: vec![], files: vec![], left_out: vec![] };
        for image in &images {
            esp.look_at(source, image, &identities.map);
        }
        esp.fall_back(source, &images, &identities.map)?;
        Ok(esp)
    };
    look().map(Some).with_context(|| format!("cannot read the EFI system partition at {mount}"))
}

/// The partitions of the primary that firmware takes for EFI system partitions.
pub fn system_partitions(survey: &Survey) -> impl Iterator<Item = &Partition> {
    let partitions = survey.primary.table().into_iter().flat_map(|table| &table.partitions);
    partitions.filter(|partition| is_efi_system(&partition.type_id))
}

/// The number of the primary's EFI system partition, and where it is mounted.
fn system_partition(survey: &Survey) -> Option<(u32, String)> {
    system_partitions(survey).find_map(|partition| match &partition.content {
        Content::Filesystem(fs) => Some((partition.number, fs.target()?.to_owned())),
        _ => None,
    })
}

/// The largest program that is read whole: GRUB with all its modules has 10 MiB. What is larger is a kernel.
const MOST_PROGRAM_BYTES: u64 = 32 << 20;

/// An EFI executable: its path, and what it is.
struct Image {
    path: String,
    bytes: Vec<u8>,
    /// Whether these are all its bytes.
    is_whole: bool,
}

impl Image {
    fn name(&self) -> &str {
        self.path.rsplit('/').next().unwrap_or(&self.path)
    }

    fn directory(&self) -> &str {
        self.path.rsplit_once('/').map_or("", |(dir, _)| dir)
    }

    fn is_in(&self, directory: &str) -> bool {
        self.directory() == directory
    }
}

/// Programs below \EFI of one system.
const MOST_PROGRAMS: usize = 200;

/// Every executable below \EFI. Of one that is too large to be a loader, no more than its header.
fn images(source: &Tree, mount: &str) -> io::Result<Vec<Image>> {
    let mut found = Vec::new();
    let efi = child(source, mount, "EFI")?;
    for vendor in source.list(&efi)? {
        let dir = format!("{efi}/{vendor}");
        for name in source.list(&dir)?.into_iter().filter(|name| name.to_lowercase().ends_with(".efi")) {
            let path = format!("{dir}/{name}");
            let Some(file) = source.open(&path)? else { continue };
            if found.len() == MOST_PROGRAMS {
                return Err(dir::too_many_names(&efi, MOST_PROGRAMS));
            }
            let (mut bytes, is_whole) = (Vec::new(), file.metadata()?.len() <= MOST_PROGRAM_BYTES);
            let most = if is_whole { MOST_PROGRAM_BYTES } else { pe::HEADER_BYTES };
            file.take(most).read_to_end(&mut bytes)?;
            found.push(Image { path, bytes, is_whole });
        }
    }
    Ok(found)
}

/// The path of `name` in `dir`, as it is spelled there: FAT knows no case.
fn child(source: &Tree, dir: &str, name: &str) -> io::Result<String> {
    let spelled = source.list(dir)?.into_iter().find(|there| there.eq_ignore_ascii_case(name));
    Ok(format!("{}/{}", dir.trim_end_matches('/'), spelled.as_deref().unwrap_or(name)))
}

fn directory_of(source: &Tree, mount: &str) -> io::Result<String> {
    child(source, &child(source, mount, "EFI")?, "BOOT")
}

impl Esp {
    /// Rewrites an image that names the primary, or says why that cannot be.
    fn look_at(&mut self, source: &Tree, image: &Image, map: &IdentityMap) {
        let Image { path, bytes, is_whole } = image;
        if pe::parse(bytes).is_some_and(|image| image.is_unified_kernel()) {
            return self.problems.push(format!(
                "{path} is a unified kernel image: its command line is sealed in it and cannot be made to name the mirror. Boot a \
                 kernel and an initramfs by GRUB or by systemd-boot entries instead"
            ));
        }
        if !is_whole {
            let most = Bytes(MOST_PROGRAM_BYTES);
            return self.problems.push(format!("{path} was not looked into: larger than {most}"));
        }
        match rewritten(bytes, map) {
            Ok(None) => {}
            Ok(Some(new)) => self.rewritten.push((source.place(path), new)),
            Err(why) => self.problems.push(format!("{path} {why}")),
        }
    }

    /// The fallback loader, and what it needs beside it.
    fn fall_back(&mut self, source: &Tree, images: &[Image], map: &IdentityMap) -> io::Result<()> {
        // A crash leaves empty files on FAT: what is no program is nobody's loader.
        let programs = || images.iter().filter(|image| image.is_whole && pe::parse(&image.bytes).is_some());
        let existing =
            programs().find(|i| i.is_in(&self.directory) && i.name().eq_ignore_ascii_case(FALLBACK));
        let by_name = |name: &&str| programs().find(|image| image.name().eq_ignore_ascii_case(name));
        let Some(loader) = existing.or_else(|| LOADERS.iter().find_map(by_name)) else { return Ok(()) };
        self.left_out =
            source.list(&self.directory)?.into_iter().filter(|name| is_fallback_writer(name)).collect();
        if pe::parse(&loader.bytes).is_some_and(|image| image.program() == pe::Program::Shim) {
            self.second_stage(source, images, map)?;
        }
        let name = existing.map_or(FALLBACK, Image::name).to_owned();
        self.files.push((name, self.content(loader, map)));
        Ok(())
    }

    /// What a shim in the fallback directory loads: GRUB, and where that looks for its configuration.
    fn second_stage(&mut self, source: &Tree, images: &[Image], map: &IdentityMap) -> io::Result<()> {
        let is_it = |image: &&Image| image.is_whole && image.name().eq_ignore_ascii_case(SECOND_STAGE);
        if images.iter().any(|image| is_it(&image) && image.is_in(&self.directory)) {
            return Ok(());
        }
        let Some(grub) = images.iter().find(is_it) else {
            self.problems.push(format!("the shim has no {SECOND_STAGE} to load"));
            return Ok(());
        };
        self.files.push((SECOND_STAGE.to_owned(), self.content(grub, map)));
        let path = format!("{}/grub.cfg", grub.directory());
        if let Some(text) = source.read(&path)? {
            let text = retarget::rewrite(&path, &text, map).unwrap_or(text);
            self.files.push(("grub.cfg".to_owned(), text));
        }
        Ok(())
    }

    fn content(&self, image: &Image, map: &IdentityMap) -> Vec<u8> {
        rewritten(&image.bytes, map).ok().flatten().unwrap_or_else(|| image.bytes.clone())
    }

    /// Whether there is anything that firmware would start.
    pub fn has_loader(&self) -> bool {
        !self.files.is_empty()
    }

    /// The directory of the fallback loader: a path of the system.
    pub fn directory(&self) -> &str {
        &self.directory
    }

    /// The files that the engine leaves alone: paths of the system.
    pub fn own(&self) -> Vec<String> {
        let files = self.files.iter().map(|(name, _)| name);
        files.chain(&self.left_out).map(|name| format!("{}/{name}", self.directory)).collect()
    }

    /// Writes the fallback loader and what it needs, where that is not there yet; takes away what must not lie beside it.
    ///
    /// # Errors
    /// The system's, with what is true of the loader.
    pub fn install(&self, mirror: &Tree) -> Result<()> {
        let place = |name: &str| mirror.place(&format!("{}/{name}", self.directory));
        let failed = |name: &str, error: io::Error| {
            let what = format!("cannot change the mirror's {}/{name}", self.directory);
            let state = "the mirror's files are refreshed; its boot loader may be the one it had";
            Failure::new(what, state).why(error.to_string())
        };
        for (name, bytes) in &self.files {
            bring(mirror, &place(name), bytes).map_err(|error| failed(name, error))?;
        }
        for name in &self.left_out {
            take_away(mirror, &place(name)).map_err(|error| failed(name, error))?;
        }
        Ok(())
    }

    /// Sees to the firmware's entry for the mirror. What firmware forgets, the fallback loader makes up for: so nothing is
    /// done where its variables cannot be written.
    ///
    /// # Errors
    /// A `Failure` with what efibootmgr said.
    pub fn enter(&self, survey: &Survey) -> Result<()> {
        let mirror =
            survey.mirror.table().and_then(|table| table.partitions.iter().find(|p| p.number == self.number));
        let Some(guid) = mirror.and_then(|partition| partition.uuid.as_deref()) else { return Ok(()) };
        if !self.has_loader() || !variables_are_writable() || !command::is_installed("efibootmgr") {
            return Ok(());
        }
        let mut todo = entries()?.todo(guid);
        if todo == efi_entries::Todo::Create {
            let loader = format!(r"\EFI\BOOT\{FALLBACK}");
            efibootmgr(&efi_entries::create(&survey.mirror.disk.path, self.number, &loader))?;
            todo = entries()?.todo(guid);
        }
        match todo {
            efi_entries::Todo::Reorder(order) => efibootmgr(&efi_entries::reorder(&order)).map(drop),
            _ => Ok(()),
        }
    }
}

/// An image with the mirror's identifiers in place of the primary's: none if it names nobody; why not, if it cannot be
/// rewritten.
fn rewritten(bytes: &[u8], map: &IdentityMap) -> Result<Option<Vec<u8>>, String> {
    if retarget::find_bytes(bytes, map).is_empty() {
        return Ok(None);
    }
    let mut new = bytes.to_vec();
    let kinds = [Kind::Uuid, Kind::GroupUuid, Kind::VolumeUuid];
    let pairs = kinds.into_iter().flat_map(|kind| map.of(kind));
    for pair in pairs.filter(|pair| pair.primary.len() == pair.mirror.len()) {
        let (from, to) = (&pair.primary, &pair.mirror);
        // cryptomount is given a container's UUID without dashes.
        for (from, to) in [(from.clone(), to.clone()), (from.replace('-', ""), to.replace('-', ""))] {
            let image = pe::parse(&new).ok_or("names the primary, and is no program of UEFI")?;
            let replaced = image.replaced(from.as_bytes(), to.as_bytes());
            (new, _) = replaced.map_err(|error| format!("names the primary, and {error}"))?;
        }
    }
    match retarget::find_bytes(&new, map).into_iter().next() {
        Some(found) => Err(format!("names the primary's {}, which cannot be replaced in it", found.primary)),
        None => Ok(Some(new)),
    }
}

/// Shim's fallback program makes entries in the firmware for what it finds, and resets the machine: on a spare it would
/// put itself first, and with a TPM it can go round for ever.
fn is_fallback_writer(name: &str) -> bool {
    let name = name.to_lowercase();
    name.starts_with("fb") && name.ends_with(".efi")
}

/// Makes the file at `at` hold `bytes`, unless it does: a new file, flushed, in place of the old.
fn bring(mirror: &Tree, at: &At, bytes: &[u8]) -> io::Result<()> {
    // Whatever is of another size need not be read, however large it is.
    let there = mirror.open_at(at)?.map(|file| read::whole(&file, bytes.len() as u64));
    if there.is_some_and(|there| there.is_ok_and(|there| there == bytes)) {
        return Ok(());
    }
    let (dir, name) = at.path.rsplit_once('/').unwrap_or(("", &at.path));
    let parent = make_directory(mirror, at.volume, dir)?;
    replace_at(&parent, name.as_bytes(), Access::PRIVATE, |file| file.write_all(bytes))
}

/// Takes the file at `at` away, if it is there.
fn take_away(mirror: &Tree, at: &At) -> io::Result<()> {
    if mirror.stat_at(at)?.is_none() {
        return Ok(());
    }
    let (dir, name) = at.path.rsplit_once('/').unwrap_or(("", &at.path));
    dir::unlink(&dir::open_dir(mirror.root(at.volume), dir.as_bytes())?, name.as_bytes())
}

/// Opens a directory of a file system of the mirror, made with all above it if it is not there.
fn make_directory(mirror: &Tree, volume: usize, path: &str) -> io::Result<std::os::fd::OwnedFd> {
    let mut at = dir::open_dir(mirror.root(volume), b"")?;
    for name in path.split('/').filter(|name| !name.is_empty()) {
        match dir::make_dir(&at, name.as_bytes()) {
            Err(error) if error.kind() != ErrorKind::AlreadyExists => return Err(error),
            _ => at = dir::open_dir(&at, name.as_bytes())?,
        }
    }
    Ok(at)
}

/// Whether this machine was started by UEFI, and its variables can be set.
fn variables_are_writable() -> bool {
    let variables = Path::new("/sys/firmware/efi/efivars");
    rustix::fs::statvfs(variables)
        .is_ok_and(|stat| !stat.f_flag.contains(rustix::fs::StatVfsMountFlags::RDONLY))
        && std::fs::read_dir(variables).is_ok_and(|mut entries| entries.next().is_some())
}

fn entries() -> Result<efi_entries::Entries> {
    let said = efibootmgr(&Invocation::new("efibootmgr", ["--verbose"]))?;
    Ok(efi_entries::parse(&said))
}

fn efibootmgr(invocation: &Invocation) -> Result<String> {
    let said = command::run(&invocation.program, &invocation.args, b"").map_err(|error| {
        let state = "the mirror's files and loaders are refreshed; the firmware's entries are what they were";
        let what = "cannot see to the firmware's entry for the mirror";
        Failure::new(what, state).why(error.to_string())
    })?;
    Ok(said.stdout)
}

#[cfg(test)]
mod tests;
