//! What the mirror needs to boot alone: who names whom, what its boot files shall hold, its loaders, and the audit of
//! all that.
//!
//! `prepare` decides before anything is written, from the primary alone; `Preparation::install` does what the engine does
//! not, when the files are there.

pub mod audit;
mod audited;
pub mod bios;
mod chroot;
pub mod esp;
mod facts;
pub mod files;
mod generator;
pub mod identify;
pub mod initramfs;
mod rebuild;
mod undo;
pub mod way;

pub use files::Tree;
pub use identify::{Identities, identities};

use crate::config::{CONFIG_PATH, Config, Mirror};
use crate::identity::IdentityMap;
use crate::layout::{Content, Survey, boots};
use crate::mirror::kept;
use crate::record::Finding;
use crate::retarget::{self, Spellings};
use crate::sys::disk::Node;
use crate::tree::{RelPath, Want, Wanted};
use anyhow::{Context, Result};
use bios::{Bios, Code, Installed};
use esp::Esp;
use files::At;
use initramfs::Images;
use rebuild::{Rebuild, Rebuilt};
use serde::{Deserialize, Serialize};
use std::cell::RefCell;
use std::collections::{BTreeMap, BTreeSet};
use std::path::Path;
use way::{Way, holes, is_spare_image};

/// The map, below /.diskmirror of the mirror's root.
const IDENTITY_FILE: &str = "identity.json";
/// What was last done for the boot, likewise.
const STATE_FILE: &str = "boot.json";

/// What the mirror's boot files shall hold, and how it gets its loaders.
#[derive(Debug)]
pub struct Preparation {
    /// Both disks, and who is who.
    pub identities: Identities,
    /// What each file system of the mirror shall hold instead of the primary's, by mount point.
    pub wanted: BTreeMap<String, Wanted>,
    /// Files that the engine leaves alone on the mirror: paths of the system.
    pub own: Vec<String>,
    /// Why the mirror may not boot, a line each.
    pub problems: Vec<String>,
    bios: Bios,
    esp: Option<Esp>,
    rebuilds: Vec<Rebuild>,
    drivers: Vec<String>,
    /// What the mirror has in place of the primary's settings below /etc: paths of the system, and contents.
    settings: Vec<(String, Vec<u8>)>,
    /// Images of the primary that were not looked into, which is a problem already.
    too_large: BTreeSet<String>,
    /// What the primary's loaders name and it has not.
    absent: BTreeSet<String>,
    /// Files of which nothing is remarked.
    audit_ignore: Vec<String>,
}

/// What was last done for the boot, kept with the mirror.
#[derive(Debug, Clone, Default, PartialEq, Eq, Serialize, Deserialize)]
struct BootState {
    /// By grub-install.
    #[serde(default)]
    bios: Installed,
    /// Which program is kept to put old content back.
    #[serde(default)]
    program: String,
    /// By the audit.
    #[serde(default)]
    audited: String,
    /// What it remarked the last time.
    #[serde(default)]
    remarked: BTreeSet<String>,
    /// The initramfs images that were rebuilt, by path.
    #[serde(default)]
    rebuilt: BTreeMap<String, Rebuilt>,
}

/// What a preparation is made from.
pub struct Job<'a> {
    /// The primary's files.
    pub source: &'a Tree,
    /// The configuration.
    pub config: &'a Config,
    /// The mirror in it.
    pub mirror: &'a Mirror,
    /// Where what was found in initramfs images is kept.
    pub memory: &'a Path,
    /// Whether anything may be kept.
    pub keep: bool,
}

/// Decides what the mirror's boot files shall hold. Writes nothing but what was found in the images.
///
/// # Errors
/// Those of reading the primary.
pub fn prepare(job: &Job<'_>, identities: Identities) -> Result<Preparation> {
    let (mut wanted, mut problems, mut own) = (Wants::new(job), Vec::new(), Vec::new());
    wanted.texts(&identities.map).context("cannot read the primary's boot files")?;
    let disk = Path::new(&identities.survey.mirror.disk.path);
    let drivers = Node::find(disk).map(|node| node.drivers()).unwrap_or_default();
    let images = Images { source: job.source, map: &identities.map, drivers: &drivers, memory: job.memory };
    let mut way = Way::follow(job.source).context("cannot read the primary's boot loader's files")?;
    let started = Started::of(&mut way, job.source, &identities.map)?;
    let (mut rebuilds, mut too_large) = (Vec::new(), BTreeSet::new());
    for image in images.look(job.keep).context("cannot read the primary's initramfs images")? {
        let is_started = started.has(&image);
        match (image.unfit.is_empty(), is_started) {
            (true, _) => wanted.insert(&image.at, image.want()),
            // No entry starts it: it is a file like any other.
            (false, false) => {}
            (false, true) => {
                own.push(image.path.clone());
                rebuilds.push(Rebuild::new(job.source, &image, &images.wanted_for())?);
            }
        }
        if is_started {
            too_large.extend(image.too_large.then_some(image.path));
            problems.extend(image.problems);
        }
    }
    let loaders = Loaders::of(job.source, &identities, &mut way)?;
    for (at, want) in loaders.esp.iter().flat_map(|esp| &esp.rewritten) {
        wanted.insert(at, Some(Want::bytes(want.clone())));
    }
    own.extend(loaders.esp.iter().flat_map(Esp::own));
    if let Bios::Install(_) = &loaders.bios {
        own.extend(bios::own());
    }
    problems.extend(loaders.problems);
    own.extend(undo::own());
    let absent = way.absent(job.source)?;
    let (wanted, settings, bios, esp) = (wanted.volumes, wanted.settings, loaders.bios, loaders.esp);
    let audit_ignore = job.mirror.audit_ignore.clone();
    Ok(Preparation {
        identities,
        wanted,
        own,
        problems,
        bios,
        esp,
        rebuilds,
        drivers,
        settings,
        too_large,
        absent,
        audit_ignore,
    })
}

/// Why a mirror of this primary would not boot, as far as that can be told before there is one, a line each.
///
/// # Errors
/// Those of reading the primary.
pub fn forecast(source: &Tree, survey: Survey) -> Result<Vec<String>> {
    // What is mounted nowhere is entered by each run, and here nothing is.
    let is_out_of_sight = |content: &Content| match content {
        Content::Filesystem(fs) => fs.mounted_at.is_empty() && fs.target().is_some_and(boots),
        _ => false,
    };
    if survey.primary.walk().iter().any(|(_, content)| is_out_of_sight(content)) {
        return Ok(holes::missing_parts(&survey, source)?);
    }
    let identities = Identities { survey, map: IdentityMap::default() };
    let mut way = Way::follow(source)?;
    Ok(Loaders::of(source, &identities, &mut way)?.problems)
}

/// What starts the mirror, and why it may not.
struct Loaders {
    bios: Bios,
    esp: Option<Esp>,
    problems: Vec<String>,
}

impl Loaders {
    fn of(source: &Tree, identities: &Identities, way: &mut Way) -> Result<Loaders> {
        let survey = &identities.survey;
        let mut problems = holes::missing_parts(survey, source)?;
        let is_ours = |uuid: &str| is_in(&identities.map, survey, uuid);
        let esp = esp::decide(source, identities, &|directory| way.is_stale(directory, &is_ours))?;
        let mut bios = bios::decide(survey, &identities.map, holes::is_u_boot(way))?;
        problems.extend(esp.iter().flat_map(|esp| esp.problems.clone()));
        let has_program = esp.as_ref().is_some_and(Esp::has_loader);
        let starts = matches!(bios.code, Code::Grub | Code::UBoot) || has_program;
        let is_raspberry = holes::is_raspberry(source)?;
        if !starts && !is_raspberry {
            problems.push(no_loader(survey, esp.as_ref(), &bios));
        }
        if starts && !is_raspberry && problems.is_empty() {
            let is_grub = bios.code == Code::Grub && !has_program;
            problems.extend(holes::nothing_to_start(way, source, is_grub, &is_ours)?);
        }
        // grub-install would make a /boot on the mirror that is not the server's.
        let boot_is_elsewhere = holes::parts_elsewhere(survey).iter().any(|(_, target)| target == "/boot");
        if boot_is_elsewhere && matches!(bios.bios, Bios::Install(_)) {
            bios.bios = Bios::None;
        }
        Ok(Loaders { bios: bios.bios, esp, problems })
    }
}

/// Whether a file system's UUID is one of these disks'.
fn is_in(map: &IdentityMap, survey: &Survey, uuid: &str) -> bool {
    let holds =
        |content: &Content| matches!(content, Content::Filesystem(fs) if uuid.eq_ignore_ascii_case(&fs.uuid));
    map.has(uuid) || survey.primary.walk().iter().any(|(_, content)| holds(content))
}

/// Which initramfs images a loader starts.
struct Started(BTreeSet<(usize, String)>);

impl Started {
    fn of(way: &mut Way, source: &Tree, map: &IdentityMap) -> Result<Self> {
        let mut places = BTreeSet::new();
        for path in way.images(source, &|uuid| map.has(uuid))? {
            places.extend(source.resolve(&path)?.map(|at| (at.volume, at.path)));
        }
        Ok(Started(places))
    }

    /// Where no loader's file names any, all but copies.
    fn has(&self, image: &initramfs::Image) -> bool {
        match self.0.is_empty() {
            true => !is_spare_image(&image.path),
            false => self.0.contains(&(image.at.volume, image.at.path.clone())),
        }
    }
}

/// That nothing which starts the mirror is known, in the words of what there is.
fn no_loader(survey: &Survey, esp: Option<&Esp>, bios: &bios::Decision) -> String {
    let code = match (bios.code, &bios.bios) {
        (Code::NotForMirror, _) => {
            "a BIOS starts from sectors of 512 bytes only, and the mirror's have 4096: it would boot under UEFI, which the \
             primary is not prepared for"
        }
        (Code::None, _) => {
            "no boot loader was found on the primary: what would start the mirror is not known"
        }
        (_, Bios::Copy(_)) => {
            "the primary's boot code is of no loader that is known; it was copied as it is: diskmirror boot-test shows \
             whether it starts the mirror"
        }
        _ => {
            "the primary's boot code is of no loader that is known, and was not copied: the disks' sectors differ in size"
        }
    };
    match (esp, esp::system_partitions(survey).next()) {
        (Some(esp), _) => format!("{code}; in {} is no program that UEFI firmware starts", esp.directory()),
        (None, Some(partition)) => {
            format!("{code}; the EFI system partition {} is not mounted, and not looked into", partition.path)
        }
        (None, None) => code.to_owned(),
    }
}

/// What a kernel that is held back needs beside /boot: its modules and their firmware, and what its next initramfs would be
/// made with.
const OF_KERNELS: [&str; 8] = [
    "/lib/modules/*",
    "/usr/lib/modules/*",
    "/lib/firmware/*",
    "/usr/lib/firmware/*",
    "/etc/initramfs-tools/*",
    "/usr/share/initramfs-tools/*",
    "/etc/dracut.conf.d/*",
    "/usr/lib/dracut/*",
];

/// What of the mirror's files is left as it is while nobody knows what they should hold, as patterns: all that a
/// preparation decides on, and what of the system belongs to it. A new kernel must not come without its initramfs, nor the
/// old one or its modules go while the mirror's loader names it.
pub fn undecided() -> Vec<String> {
    let whole = ["/boot/*", "/boot/efi/*", "/boot/firmware/*", "/efi/*"];
    let config = format!("/{CONFIG_PATH}");
    let fixed = whole.into_iter().chain(OF_KERNELS).map(str::to_owned);
    fixed.chain(retarget::places()).chain([config]).chain(undo::own()).collect()
}

/// The wanted files, by file system.
struct Wants<'a> {
    job: &'a Job<'a>,
    volumes: BTreeMap<String, Wanted>,
    settings: Vec<(String, Vec<u8>)>,
}

impl<'a> Wants<'a> {
    fn new(job: &'a Job<'a>) -> Self {
        Wants { job, volumes: BTreeMap::new(), settings: Vec::new() }
    }

    fn insert(&mut self, at: &At, want: Option<Want>) {
        if let Some(want) = want {
            let volume = self.volumes.entry(self.job.source.mount_point(at.volume).to_owned()).or_default();
            volume.insert(&RelPath::from_bytes(at.path.as_bytes()), want);
        }
    }

    /// A text of the primary, and where it lies: links are followed, as those do who read it. Links in a circle lead nowhere.
    fn read(&self, path: &str) -> std::io::Result<Option<(At, Vec<u8>)>> {
        let source = self.job.source;
        let at = match source.resolve(path) {
            Err(error) if error.raw_os_error() == Some(libc::ELOOP) => None,
            at => at?,
        };
        let Some(at) = at else { return Ok(None) };
        Ok(source.read_at(&at)?.map(|text| (at, text)))
    }

    /// The mirror shall hold `new` at this path of the system, which lies there.
    fn hold(&mut self, path: String, at: &At, new: Vec<u8>) {
        self.insert(at, Some(Want::bytes(new.clone())));
        if path.starts_with("/etc/") {
            self.settings.push((path, new));
        }
    }

    /// Swap space that a masked unit stood for, in the mirror's fstab.
    fn swap_in_fstab(&mut self, spellings: &Spellings<'_>, lines: &str) -> std::io::Result<()> {
        const FSTAB: &str = "/etc/fstab";
        let Some((at, text)) = self.read(FSTAB)?.filter(|_| !lines.is_empty()) else { return Ok(()) };
        self.settings.retain(|(path, _)| path != FSTAB);
        let mut new = spellings.rewrite_file(FSTAB, &text).unwrap_or(text);
        if !new.ends_with(b"\n") && !new.is_empty() {
            new.push(b'\n');
        }
        new.extend_from_slice(lines.as_bytes());
        self.hold(FSTAB.to_owned(), &at, new);
        Ok(())
    }

    /// The texts that name disks; this program's own configuration, turned.
    fn texts(&mut self, map: &IdentityMap) -> std::io::Result<()> {
        let source = self.job.source;
        let unread = RefCell::new(None);
        let list = |dir: &str| {
            source.list(dir).unwrap_or_else(|error| {
                *unread.borrow_mut() = Some(error);
                Vec::new()
            })
        };
        let paths = retarget::candidates(&list);
        if let Some(error) = unread.take() {
            return Err(error);
        }
        let spellings = Spellings::of(map);
        let mut swaps = String::new();
        for path in paths {
            let Some((at, text)) = self.read(&path)? else { continue };
            swaps.extend(spellings.swap_line(&path, &text));
            if let Some(new) = spellings.rewrite_file(&path, &text) {
                self.hold(path, &at, new);
            }
        }
        self.swap_in_fstab(&spellings, &swaps)?;
        let at = source.place(&format!("/{CONFIG_PATH}"));
        if source.stat_at(&at)?.is_some() {
            let turned = Config { mirrors: vec![self.job.mirror.turned()], ..self.job.config.clone() };
            self.insert(&at, Some(Want::bytes(turned.to_toml().into_bytes())));
        }
        Ok(())
    }
}

impl Preparation {
    /// Rebuilds the images that have to be, where anything that they depend on has changed, with the programs of `primary`, the
    /// running system. `place` is where it is shown while a generator runs in it. Says why the mirror may not boot with one,
    /// a line each.
    pub fn rebuild(&self, primary: &Tree, mirror: &Tree, place: &Path) -> Vec<String> {
        let before = state(mirror);
        let (mut now, mut problems) = (BootState { rebuilt: BTreeMap::new(), ..before.clone() }, Vec::new());
        let (map, drivers, settings) = (&self.identities.map, &*self.drivers, &*self.settings);
        let job = rebuild::Job { mirror, primary, settings, place, map, drivers };
        for rebuild in &self.rebuilds {
            let (rebuilt, problem) = job.bring(rebuild, before.rebuilt.get(rebuild.path()));
            now.rebuilt.extend(rebuilt.map(|rebuilt| (rebuild.path().to_owned(), rebuilt)));
            problems.extend(problem);
        }
        if now != before
            && let Err(error) = keep_state(mirror, &now)
        {
            problems.push(format!("{error:#}"));
        }
        problems
    }

    /// Does what the engine does not: loaders, the firmware's entry, the map. `mirror` is the refreshed mirror, mounted
    /// writable; `boot_directory` is its /boot, for tools that want a path. What fails keeps nothing else from being done;
    /// all that failed is returned.
    pub fn install(
        &self,
        mirror: &Tree,
        boot_directory: &Path,
        firmware_is_ours: bool,
    ) -> Vec<anyhow::Error> {
        let (before, mut failed) = (state(mirror), Vec::new());
        let installed = bios::install(&self.bios, &self.identities, mirror, boot_directory, &before.bios);
        let bios = installed.map_err(|error| failed.push(error)).unwrap_or_else(|()| before.bios.clone());
        failed.extend(self.firmware(mirror, firmware_is_ours).err());
        let program = undo::install(mirror, &before.program).map_err(|error| failed.push(error));
        let program = program.unwrap_or_default();
        let now = BootState { bios, program, ..before.clone() };
        failed.extend(self.keep(mirror, &before, &now).err());
        failed
    }

    fn firmware(&self, mirror: &Tree, is_ours: bool) -> Result<()> {
        let Some(esp) = &self.esp else { return Ok(()) };
        esp.install(mirror)?;
        if is_ours { esp.enter(&self.identities.survey) } else { Ok(()) }
    }

    fn keep(&self, mirror: &Tree, before: &BootState, now: &BootState) -> Result<()> {
        let map = serde_json::to_string_pretty(&self.identities.map)?;
        if kept::read(mirror.root(0), IDENTITY_FILE)?.as_deref() != Some(&map) {
            kept::write(mirror.root(0), IDENTITY_FILE, &map)?;
        }
        if now != before { keep_state(mirror, now) } else { Ok(()) }
    }

    /// What on the refreshed mirror still needs the primary, or is missing, and remarks that no run has made before. Looked for
    /// only if anything that a boot uses has changed since nothing was found.
    ///
    /// # Errors
    /// Those of reading the mirror.
    pub fn audit(&self, mirror: &Tree) -> Result<Vec<Finding>> {
        let before = state(mirror);
        let map = serde_json::to_string(&self.identities.map)?;
        let audited = audited::digest(mirror, &self.identities.survey.mirror, &map)?;
        if before.audited == audited {
            return Ok(Vec::new());
        }
        let (too_large, absent) = (self.too_large.clone(), self.absent.clone());
        let facts = audit::Facts { too_large, absent, ..audit::Facts::of(&self.identities)? };
        let found = audit::without_ignored(audit::audit(mirror, &facts)?, &self.audit_ignore)?;
        let (mut remarks, mut findings): (Vec<_>, Vec<_>) =
            found.into_iter().partition(|found| found.is_remark);
        let audited = if findings.is_empty() { audited } else { String::new() };
        let remarked: BTreeSet<String> = remarks.iter().map(ToString::to_string).collect();
        remarks.retain(|remark| !before.remarked.contains(&remark.to_string()));
        if audited != before.audited || remarked != before.remarked {
            keep_state(mirror, &BootState { audited, remarked, ..before })?;
        }
        findings.extend(remarks);
        Ok(findings)
    }
}

/// What was last done for the boot; nothing where that cannot be read.
fn state(mirror: &Tree) -> BootState {
    let text = kept::read(mirror.root(0), STATE_FILE).ok().flatten().unwrap_or_default();
    serde_json::from_str(&text).unwrap_or_default()
}

/// Keeps what was done for the boot.
fn keep_state(mirror: &Tree, state: &BootState) -> Result<()> {
    kept::write(mirror.root(0), STATE_FILE, &serde_json::to_string(state)?)
}
