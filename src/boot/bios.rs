//! The loader that a BIOS starts: boot code in the disk's first sector and, for GRUB, its core image in the gap behind it
//! (MBR) or in the BIOS boot partition (GPT).
//!
//! It is copied where it stands alone: the core names nobody, and lies at the same sectors of both disks. Else
//! grub-install makes one for the mirror. Either way what lies there is compared at each run with what should.

use super::files::Tree;
use super::identify::Identities;
use crate::boot_block::{self, read_boot_block};
use crate::identity::{IdentityMap, Kind};
use crate::layer::boot_block::{BOOT_BLOCK_BYTES, BOOT_CODE, BootBlock, has_code, is_signed};
use crate::layer::grub_core;
use crate::layout::{Content, Layout, Survey, Table, TableKind};
use crate::refusal::Failure;
use crate::retarget;
use crate::sys::block::BlockDevice;
use crate::sys::stat::{Kind as FileKind, stat_fd};
use crate::sys::{command, dir};
use anyhow::{Context, Result};
use serde::{Deserialize, Serialize};
use std::io;
use std::path::Path;

/// The gap that is copied is no longer than what `init` keeps free in front of the first partition.
const MOST_GAP: u64 = 1 << 20;

/// U-Boot and what it brings along ends in front of this on every board that is known.
const MOST_U_BOOT: u64 = 16 << 20;

/// How the mirror gets its loader.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Bios {
    /// Not at all: the primary has no boot code, or none of use on the mirror.
    None,
    /// These stretches of the primary, each at the same offset of the mirror: core first, boot code last.
    Copy(Vec<Stretch>),
    /// `grub-install`, because of this.
    Install(String),
}

/// So many bytes from an offset on, the same on both disks.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Stretch {
    offset: u64,
    length: u64,
}

impl Stretch {
    fn read(self, device: &BlockDevice) -> io::Result<Vec<u8>> {
        device.read_span(self.offset, self.length as usize)
    }
}

const CODE: Stretch = Stretch { offset: BOOT_CODE.start as u64, length: BOOT_CODE.end as u64 };

/// A decision, and what the administrator should know of it.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Decision {
    /// How the mirror gets its loader.
    pub bios: Bios,
    /// What the primary's boot code is.
    pub code: Code,
}

/// What the boot code of a disk is.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Code {
    /// There is none.
    None,
    /// Of a loader that is not known: what else it needs on the disk, nobody here can tell.
    Unknown,
    /// GRUB's, and leads to its core image.
    Grub,
    /// There is none in the first sector, and U-Boot, which an ARM board's firmware starts, lies behind it or elsewhere.
    UBoot,
    /// GRUB's, and of no use on the mirror: its sectors have another size than those that a BIOS reads.
    NotForMirror,
}

/// Bytes in a sector as a BIOS reads it (INT 13h), and as GRUB for BIOS counts.
const BIOS_SECTOR: u32 = 512;

/// Decides how the mirror gets its loader; `is_u_boot` says that files of U-Boot's are there. Reads the primary's disk.
///
/// # Errors
/// Those of reading it.
pub fn decide(survey: &Survey, map: &IdentityMap, is_u_boot: bool) -> Result<Decision> {
    let disk = Path::new(&survey.primary.disk.path);
    let cannot_read = || format!("cannot read {}", disk.display());
    let block = read_boot_block(disk).with_context(cannot_read)?;
    let table = survey.primary.table().context("the primary has no partition table")?;
    if !is_signed(&block) || !has_code(&block) {
        return Ok(match is_u_boot {
            true => Decision { bios: in_front(survey, table), code: Code::UBoot },
            false => Decision { bios: Bios::None, code: Code::None },
        });
    }
    let Some(core) = core_place(&survey.primary, table, &block) else {
        // Boot code speaks in sectors.
        let alike = survey.primary.disk.logical_sector == survey.mirror.disk.logical_sector;
        let bios = if alike { Bios::Copy(vec![CODE]) } else { Bios::None };
        return Ok(Decision { bios, code: Code::Unknown });
    };
    if survey.mirror.disk.logical_sector != BIOS_SECTOR {
        return Ok(Decision { bios: Bios::None, code: Code::NotForMirror });
    }
    let bytes =
        BlockDevice::open_read(disk).and_then(|device| core.read(&device)).with_context(cannot_read)?;
    let bios = match why_not_copied(survey, table, core, &bytes, map) {
        None => Bios::Copy(vec![core, CODE]),
        Some(why) => Bios::Install(why),
    };
    Ok(Decision { bios, code: Code::Grub })
}

/// Where U-Boot begins at the earliest (sector 16 on Allwinner's chips, 64 on Rockchip's, 2 on NXP's), and on a GPT behind its
/// entries.
const U_BOOT: [u64; 2] = [2 * 512, 40 * 512];

/// What lies in front of the first partition is copied as far as the mirror has the same room there.
fn in_front(survey: &Survey, table: &Table) -> Bios {
    let first = |layout: &Layout| {
        layout.table().and_then(|table| table.partitions.iter().map(|partition| partition.start.0).min())
    };
    let offset = match table.kind {
        TableKind::Dos => U_BOOT[0],
        TableKind::Gpt => U_BOOT[1],
    };
    let end = first(&survey.primary).min(first(&survey.mirror)).unwrap_or_default().min(MOST_U_BOOT);
    match end.checked_sub(offset) {
        None | Some(0) => Bios::None,
        Some(length) => Bios::Copy(vec![Stretch { offset, length }]),
    }
}

/// GRUB's core image as it lies on a disk, with the words for where; nothing where the boot code is not GRUB's.
///
/// # Errors
/// Those of reading the disk.
pub fn cores(layout: &Layout) -> Result<Vec<(String, Vec<u8>)>> {
    let disk = Path::new(&layout.disk.path);
    let read = || -> io::Result<Option<Vec<u8>>> {
        let block = read_boot_block(disk)?;
        let table = layout.table().filter(|_| is_signed(&block));
        let Some(core) = table.and_then(|table| core_place(layout, table, &block)) else { return Ok(None) };
        core.read(&BlockDevice::open_read(disk)?).map(Some)
    };
    let core = read().with_context(|| format!("cannot read {}", disk.display()))?;
    Ok(core.into_iter().map(|bytes| (format!("GRUB's core image on {}", disk.display()), bytes)).collect())
}

/// Where GRUB's core image lies on a disk; none if the boot code is not GRUB's, or leads nowhere.
fn core_place(layout: &Layout, table: &Table, block: &BootBlock) -> Option<Stretch> {
    if layout.disk.logical_sector != BIOS_SECTOR {
        return None;
    }
    let offset = grub_core::core_sector(block)?.checked_mul(u64::from(BIOS_SECTOR))?;
    match table.kind {
        TableKind::Dos => {
            let first = table.partitions.iter().map(|partition| partition.start.0).min()?;
            let length = first.min(MOST_GAP).checked_sub(offset)?;
            Some(Stretch { offset, length })
        }
        TableKind::Gpt => {
            let holds = |p: &&crate::layout::Partition| p.start.0 == offset && p.content == Content::BiosBoot;
            let partition = table.partitions.iter().find(holds)?;
            Some(Stretch { offset, length: partition.size.0.min(grub_core::MOST_BYTES) })
        }
    }
}

fn why_not_copied(
    survey: &Survey,
    table: &Table,
    core: Stretch,
    bytes: &[u8],
    map: &IdentityMap,
) -> Option<String> {
    if !has_room(&survey.mirror, table.kind, core) {
        return Some("the mirror's partitions lie elsewhere".into());
    }
    match grub_core::unpack(bytes) {
        Err(error) => Some(format!("GRUB's core image cannot be read: {error}")),
        Ok(unpacked) => names_somebody(&unpacked, map),
    }
}

/// Commands of a core's embedded configuration that look for a disk: by UUID, by label, by a file.
const SEARCHES: [&str; 5] =
    ["search ", "search.fs_uuid ", "search.fs_label ", "search.file ", "cryptomount "];

/// What a core image names: an identifier of the primary, whatever it searches for, or a disk by its place among the
/// firmware's.
fn names_somebody(core: &grub_core::Core, map: &IdentityMap) -> Option<String> {
    if let Some(found) = retarget::find_bytes(&core.bytes, map).into_iter().next() {
        return Some(format!("GRUB's core image names {}", found.primary));
    }
    let searches = |line: &&str| SEARCHES.iter().any(|search| line.trim_start().starts_with(search));
    if let Some(line) = core.texts().find(searches) {
        return Some(format!("GRUB's core image looks for its files by itself: {}", line.trim()));
    }
    let core = &core.bytes;
    let by_number = [b"(hd".as_slice(), b"(ahci", b"(ata", b"(md/", b"(mduuid", b"(lvm", b"(crypto"];
    let is_there = |what: &&&[u8]| core.windows(what.len()).any(|window| window == **what);
    let named = by_number.iter().find(is_there)?;
    Some(format!("GRUB's core image names a disk as {}…", String::from_utf8_lossy(named)))
}

/// Whether the mirror has the same room for the core that the primary has.
fn has_room(mirror: &Layout, kind: TableKind, core: Stretch) -> bool {
    let Some(table) = mirror.table().filter(|table| table.kind == kind) else { return false };
    let end = core.offset + core.length;
    match kind {
        TableKind::Dos => table.partitions.iter().all(|partition| partition.start.0 >= end),
        TableKind::Gpt => table.partitions.iter().any(|partition| {
            partition.content == Content::BiosBoot
                && partition.start.0 == core.offset
                && partition.size.0 >= core.length
        }),
    }
}

/// What grub-install was last run for, and what it left: kept with the mirror.
#[derive(Debug, Clone, Default, PartialEq, Eq, Serialize, Deserialize)]
pub struct Installed {
    /// A digest of what it depended on.
    inputs: String,
    /// A digest of the boot code and core that lie on the mirror since.
    result: String,
}

/// Where GRUB's modules for BIOS lie: on Debian and its kin, on Fedora and its kin. What grub-install put there fits the
/// core that it made, and no other.
const MODULES: [&str; 2] = ["/boot/grub/i386-pc", "/boot/grub2/i386-pc"];
/// Its translations, which grub-install makes anew as well.
const TRANSLATIONS: [&str; 2] = ["/boot/grub/locale", "/boot/grub2/locale"];

/// The directories that the engine leaves alone where grub-install makes the mirror's loader: paths of the system.
pub fn own() -> impl Iterator<Item = String> {
    MODULES.into_iter().chain(TRANSLATIONS).map(str::to_owned)
}

/// Puts the loader on the mirror's disk where it is not there yet; says what is there now. `boot_directory` is the mirror's
/// /boot.
///
/// # Errors
/// A `Failure` of reading, writing or of grub-install.
pub fn install(
    bios: &Bios,
    identities: &Identities,
    mirror: &Tree,
    boot_directory: &Path,
    before: &Installed,
) -> Result<Installed> {
    let survey = &identities.survey;
    let (from, to) = (Path::new(&survey.primary.disk.path), Path::new(&survey.mirror.disk.path));
    match bios {
        Bios::None => Ok(Installed::default()),
        Bios::Copy(stretches) => {
            for stretch in stretches {
                boot_block::bring(from, to, stretch.offset, stretch.length)?;
            }
            Ok(Installed::default())
        }
        Bios::Install(why) => {
            let inputs = inputs(survey, &identities.map)?;
            let now = Installed { result: result(&survey.mirror, mirror)?, inputs };
            if now == *before {
                return Ok(now);
            }
            stays_inside(mirror, boot_directory).map_err(|error| leads_outside(to, &error))?;
            grub_install(to, boot_directory, why)?;
            Ok(Installed { result: result(&survey.mirror, mirror)?, ..now })
        }
    }
}

/// A digest of what grub-install depends on: the loader that the primary has, which changes with the package, and the
/// mirror's identifiers.
fn inputs(survey: &Survey, map: &IdentityMap) -> Result<String> {
    let mut digest = blake3::Hasher::new();
    digest.update(loader_digest(&survey.primary)?.as_bytes());
    // The names that the kernel gives to disks move.
    for pair in map.pairs.iter().filter(|pair| !matches!(pair.kind, Kind::Node | Kind::Root | Kind::Disk)) {
        digest.update(pair.mirror.as_bytes()).update(b"\n");
    }
    Ok(digest.finalize().to_hex().to_string())
}

/// A digest of what grub-install left: the loader, and which modules, by name and size.
fn result(layout: &Layout, mirror: &Tree) -> Result<String> {
    let mut digest = blake3::Hasher::new();
    digest.update(loader_digest(layout)?.as_bytes());
    for dir in MODULES {
        for name in mirror.list(dir)? {
            let size = mirror.stat(&format!("{dir}/{name}"))?.map_or(0, |stat| stat.size);
            digest.update(format!("{dir}/{name} {size}\n").as_bytes());
        }
    }
    Ok(digest.finalize().to_hex().to_string())
}

/// A digest of a disk's boot code and of all in front of its first partition, or of what GRUB uses of its BIOS boot
/// partition.
///
/// # Errors
/// Those of reading it.
pub fn loader_digest(layout: &Layout) -> Result<String> {
    let disk = Path::new(&layout.disk.path);
    let device = BlockDevice::open_read(disk).with_context(|| format!("cannot open {}", disk.display()))?;
    let mut digest = blake3::Hasher::new();
    let table = layout.table().context("the disk has no partition table")?;
    let core = table.partitions.iter().find(|partition| partition.content == Content::BiosBoot);
    let gap =
        table.partitions.iter().map(|partition| partition.start.0).min().unwrap_or_default().min(MOST_GAP);
    let core = match (table.kind, core) {
        (TableKind::Gpt, Some(partition)) => {
            Stretch { offset: partition.start.0, length: partition.size.0.min(grub_core::MOST_BYTES) }
        }
        (TableKind::Gpt, None) => Stretch { offset: 0, length: 0 },
        (TableKind::Dos, _) => {
            let offset = BOOT_BLOCK_BYTES as u64;
            Stretch { offset, length: gap.saturating_sub(offset) }
        }
    };
    for stretch in [CODE, core] {
        digest.update(&stretch.read(&device)?);
    }
    Ok(digest.finalize().to_hex().to_string())
}

/// Directories of GRUB's, below /boot, that grub-install writes to by path.
const DIRECTORIES: [&str; 2] = ["grub", "grub2"];

/// How deep links are looked for below them.
const DEPTH: u32 = 4;

/// Sees that grub-install, which goes by path and follows links, can reach nothing but the mirror's own file system from
/// `boot_directory`: that this is the mirror's /boot, that GRUB's directories are, and that no link in them leads out.
fn stays_inside(mirror: &Tree, boot_directory: &Path) -> io::Result<()> {
    let at = mirror.place("/boot");
    let root = mirror.root(at.volume);
    let boot = dir::open_dir(root, at.path.as_bytes())?;
    let given = dir::open_root(boot_directory)?;
    let identity = |fd| stat_fd(fd).map(|stat| (stat.volume, stat.ino));
    if identity(&boot)? != identity(&given)? {
        return Err(io::Error::other(format!("{} is not the mirror's /boot", boot_directory.display())));
    }
    for name in DIRECTORIES {
        let path = format!("/boot/{name}");
        match mirror.stat_at(&mirror.place(&path))? {
            Some(stat) if stat.kind != FileKind::Dir => return Err(is_link(&path)),
            Some(_) => {
                let links = mirror.below(&path, DEPTH)?.into_iter();
                for (path, at, _) in links.filter(|(_, _, stat)| stat.kind == FileKind::Symlink) {
                    dir::link_stays_inside(mirror.root(at.volume), at.path.as_bytes()).map_err(|error| {
                        io::Error::new(error.kind(), format!("{path} leads elsewhere: {error}"))
                    })?;
                }
            }
            None => {}
        }
    }
    Ok(())
}

fn is_link(path: &str) -> io::Error {
    io::Error::other(format!("{path} is no directory"))
}

fn leads_outside(disk: &Path, error: &io::Error) -> Failure {
    let state = "the mirror's files are refreshed; its boot loader is the one it had, and grub-install was not started";
    Failure::new(format!("cannot install GRUB on {}", disk.display()), state)
        .why(format!("what grub-install would write to is not all on the mirror: {error}"))
        .remedy("see that /boot and /boot/grub are directories on this server, not links, then: diskmirror run --full")
}

/// Debian and its kin, Fedora and its kin.
const GRUB_INSTALL: [&str; 2] = ["grub-install", "grub2-install"];

fn grub_install(disk: &Path, boot_directory: &Path, because: &str) -> Result<()> {
    let state = "the mirror's files are refreshed; its boot loader is the one it had";
    let failure = || {
        let what = format!("cannot install GRUB on {}", disk.display());
        Failure::new(what, state).why(format!("the primary's loader cannot be copied: {because}"))
    };
    let Some(program) = GRUB_INSTALL.into_iter().find(|program| command::is_installed(program)) else {
        return Err(failure()
            .why("grub-install is not installed: apt-get install grub2-common grub-pc-bin, or dnf install grub2-pc")
            .into());
    };
    let directory = format!("--boot-directory={}", boot_directory.display());
    // Fonts and themes are files like any others: the mirror has the primary's.
    let args = ["--target=i386-pc", &directory, "--fonts=", "--themes=", &disk.to_string_lossy()];
    command::run(program, &args, b"").map(drop).map_err(|error| failure().why(error.to_string()).into())
}

#[cfg(test)]
mod tests {
    use super::*;
    use std::fs::{self, File};
    use std::os::unix::fs::symlink;

    /// What `stays_inside` says of a mirror whose /boot was prepared so; none if all is well.
    fn said(prepare: impl Fn(&Path)) -> Option<String> {
        let dir = tempfile::tempdir().expect("a temporary directory");
        let root = dir.path().join("mirror");
        fs::create_dir_all(root.join("boot/grub/i386-pc")).expect("made");
        fs::create_dir_all(dir.path().join("running/grub/i386-pc")).expect("made");
        prepare(&root);
        let mirror = Tree::new(vec![("/".into(), File::open(&root).expect("it is there").into())]);
        stays_inside(&mirror, &root.join("boot")).err().map(|error| error.to_string())
    }

    #[test]
    fn grub_install_is_not_started_where_a_link_leads_to_the_running_system() {
        assert_eq!(said(|_| ()), None);
        let within = |root: &Path| symlink("../../etc/x", root.join("boot/grub/grubenv")).expect("made");
        assert_eq!(said(within), None, "a link that stays on the mirror does no harm");
        let replaced = |root: &Path, what: &str, target: &str| {
            fs::remove_dir_all(root.join(what)).expect("it is there");
            symlink(target, root.join(what)).expect("made");
        };
        assert!(said(|root| replaced(root, "boot", "../running")).is_some());
        let grub = said(|root| replaced(root, "boot/grub", "../../running/grub"));
        assert_eq!(grub.as_deref(), Some("/boot/grub is no directory"));
        for target in ["../../../running/grub/i386-pc", "/boot/grub/i386-pc"] {
            let modules = said(|root| replaced(root, "boot/grub/i386-pc", target)).unwrap_or_default();
            assert!(modules.starts_with("/boot/grub/i386-pc leads elsewhere"), "{modules}");
        }
        let file =
            |root: &Path| symlink("/etc/passwd", root.join("boot/grub/i386-pc/core.img")).expect("made");
        assert!(said(file).unwrap_or_default().starts_with("/boot/grub/i386-pc/core.img leads elsewhere"));
    }
}
