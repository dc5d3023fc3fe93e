//! An initramfs that no archive behind it makes boot the mirror is made anew by the system's own generator, in a chroot that
//! shows the primary with the mirror's settings: with all drivers, and for no machine in particular. No program of the mirror
//! is ever started.
//!
//! Only when something that it depends on has changed. The new image takes the old one's place if it is what the mirror needs,
//! and not before; else the old one stays. Nothing else ever runs in a chroot.

use super::chroot::Chroot;
use super::files::{At, Tree};
use super::generator::{self, IMAGE, choose, modules_of, programs, version_of};
use super::initramfs::{Image, overrides, read_image, stamp, unfit};
use crate::identity::IdentityMap;
use crate::layer::initramfs::{Generator, Initramfs, MOST_BYTES, Override};
use crate::sys::replace::{Access, replace_at};
use crate::sys::stat::Stat;
use crate::sys::{dir, read};
use anyhow::{Context, Result, ensure};
use serde::{Deserialize, Serialize};
use std::collections::BTreeMap;
use std::fs::File;
use std::io::{self, ErrorKind, Read, Seek, Write};
use std::os::fd::{AsRawFd, OwnedFd};
use std::path::Path;

/// What a generator reads, files and directories with all below to this depth.
const SETTINGS: [(&str, u32); 6] = [
    ("/etc/initramfs-tools", 4),
    ("/etc/cryptsetup-initramfs", 1),
    ("/etc/dracut.conf", 0),
    ("/etc/dracut.conf.d", 1),
    ("/etc/crypttab", 0),
    ("/etc/fstab", 0),
];

/// The generator's own place on the mirror, below /.diskmirror: it needs room for all that is in an image, twice.
const SCRATCH: &str = "rebuild";

/// Seconds after which an image that could not be made is tried again: whatever was in the way, a full disk say, may be
/// gone, and trying costs what making it does.
const PATIENCE: i64 = 24 * 60 * 60;

/// An image that has to be made anew for the mirror.
#[derive(Debug)]
pub struct Rebuild {
    path: String,
    at: At,
    /// The primary's image.
    source: File,
    stat: Stat,
    suffix: Vec<u8>,
    why: Vec<String>,
    /// What it depends on, as far as that is the primary's.
    inputs: String,
}

/// What was last made of an image, kept with the mirror.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct Rebuilt {
    /// A digest of what it depends on.
    inputs: String,
    /// What lies on the mirror since.
    result: String,
    /// Why it could not be made.
    failure: Option<String>,
    /// When that was tried: seconds since 1970.
    tried: i64,
}

impl Rebuilt {
    /// Whether it need not be made again.
    fn holds(&self, inputs: &str, there: &str, now: i64) -> bool {
        let is_due = self.failure.is_some() && !(self.tried..self.tried + PATIENCE).contains(&now);
        self.inputs == inputs && self.result == there && !is_due
    }
}

impl Rebuild {
    /// The rebuilding of `image`, which is unfit; `wanted_for` stands for the identifiers and drivers.
    ///
    /// # Errors
    /// Those of opening it.
    pub fn new(source: &Tree, image: &Image, wanted_for: &str) -> Result<Self> {
        let Image { path, at, stat, suffix, unfit, .. } = image;
        let source = source.open_at(at)?.with_context(|| format!("{path} has gone"))?;
        let (inputs, stat) = (format!("{wanted_for} {}", stamp(stat)), *stat);
        let (path, at, suffix, why) = (path.clone(), at.clone(), suffix.clone(), unfit.clone());
        Ok(Rebuild { path, at, source, stat, suffix, why, inputs })
    }

    /// Its path.
    pub fn path(&self) -> &str {
        &self.path
    }

    fn problem(&self, error: &anyhow::Error, installed: Option<Generator>) -> String {
        let remedy = match installed {
            Some(Generator::InitramfsTools) => {
                "on the primary: echo MODULES=most >/etc/initramfs-tools/conf.d/diskmirror && update-initramfs -u -k all"
            }
            Some(Generator::Dracut) => {
                "on the primary: echo 'hostonly=\"no\"' >/etc/dracut.conf.d/diskmirror.conf && dracut --force --regenerate-all"
            }
            _ => "on the primary: make it anew with all drivers, and for no machine in particular",
        };
        let why = self.why.join(", ");
        format!("{}: {why}; it could not be rebuilt for the mirror: {error:#}; {remedy}", self.path)
    }
}

/// What images are rebuilt with.
pub struct Job<'a> {
    /// The refreshed mirror, mounted writable.
    pub mirror: &'a Tree,
    /// The running system, whose programs make the image.
    pub primary: &'a Tree,
    /// What the mirror has in place of the primary's settings: paths of the system, and contents.
    pub settings: &'a [(String, Vec<u8>)],
    /// Where the system is shown that the generator sees.
    pub place: &'a Path,
    /// Which identifier stands for which.
    pub map: &'a IdentityMap,
    /// Kernel modules that the mirror's disk is driven by.
    pub drivers: &'a [String],
}

impl Job<'_> {
    /// Makes the mirror's image, unless it lies there: what is there now, and why it is not what it should be.
    pub fn bring(&self, rebuild: &Rebuild, before: Option<&Rebuilt>) -> (Option<Rebuilt>, Option<String>) {
        match self.brought(rebuild, before) {
            Ok(now) => (Some(now.clone()), now.failure),
            Err(error) => (None, Some(rebuild.problem(&error, None))),
        }
    }

    fn brought(&self, rebuild: &Rebuild, before: Option<&Rebuilt>) -> Result<Rebuilt> {
        let inputs = self.inputs(rebuild)?;
        let now = jiff::Timestamp::now().as_second();
        let there = self.there(rebuild)?;
        if let Some(before) = before.filter(|before| before.holds(&inputs, &there, now)) {
            return Ok(before.clone());
        }
        let made = self.make(rebuild);
        if made.is_err() && there.is_empty() {
            // It may boot all the same, and there is nothing better.
            let is_same = rebuild.source.metadata()?.len() == rebuild.stat.size;
            let suffix = if is_same { &rebuild.suffix[..] } else { b"" };
            self.put(rebuild, &rebuild.source, suffix).context("nothing could be put in its place")?;
        }
        let failure = made.err().map(|error| rebuild.problem(&error, self.installed(Generator::Unknown)));
        Ok(Rebuilt { inputs, result: self.there(rebuild)?, failure, tried: now })
    }

    /// A digest of all that the new image depends on.
    fn inputs(&self, rebuild: &Rebuild) -> io::Result<String> {
        let mut digest = blake3::Hasher::new();
        digest.update(rebuild.inputs.as_bytes());
        for (path, depth) in SETTINGS {
            self.enter(&mut digest, path, depth)?;
        }
        if let Some(version) = version_of(&rebuild.path)
            && let Some(stat) = self.mirror.stat(&modules_of(version))?
        {
            digest.update(stamp(&stat).as_bytes());
        }
        Ok(digest.finalize().to_hex().to_string())
    }

    /// A file's content, or that of all files in a directory.
    fn enter(&self, digest: &mut blake3::Hasher, path: &str, depth: u32) -> io::Result<()> {
        if let Some(bytes) = self.mirror.read(path)? {
            digest.update(path.as_bytes()).update(&(bytes.len() as u64).to_le_bytes()).update(&bytes);
        } else if depth > 0 {
            for name in self.mirror.list(path)? {
                self.enter(digest, &format!("{path}/{name}"), depth - 1)?;
            }
        }
        Ok(())
    }

    /// What lies on the mirror in its place: size, and the time as FAT keeps it; nothing if nothing does.
    fn there(&self, rebuild: &Rebuild) -> io::Result<String> {
        let stat = self.mirror.stat_at(&rebuild.at)?;
        Ok(stat.map(|stat| format!("{} {}", stat.size, stat.mtime.secs & !1)).unwrap_or_default())
    }

    /// The generator of the system; the one that made the image if it is there.
    fn installed(&self, made_by: Generator) -> Option<Generator> {
        let is_there = |path| self.primary.stat(path).is_ok_and(|stat| stat.is_some());
        choose(made_by, |generator| programs(generator).iter().any(|path| is_there(path)))
    }

    fn make(&self, rebuild: &Rebuild) -> Result<()> {
        let source = read_image(&rebuild.source, self.map)?;
        let generator = self
            .installed(source.generator())
            .context("neither initramfs-tools nor dracut is installed, and no other generator is known")?;
        let version = version_of(&rebuild.path).context("its name tells no kernel's version")?;
        let modules = modules_of(version);
        ensure!(self.primary.stat(&modules)?.is_some(), "there is no {modules}");
        let settings = settings(&source, self.map);
        let new = self.generate(generator, version, &settings)?;
        let image = read_image(&new, self.map)?;
        let unfit = unfit(&image, self.map, self.drivers);
        ensure!(unfit.is_empty(), "the new image is no better: {}", unfit.join(", "));
        let suffix = suffix(&image, self.map, settings);
        self.put(rebuild, &new, &suffix)
    }

    /// Runs the generator, and gives what it made.
    fn generate(&self, made_by: Generator, version: &str, settings: &[Override]) -> Result<File> {
        let scratch = self.scratch().context("cannot make room for the generator on the mirror")?;
        let mut chroot = Chroot::make(self.primary, self.settings, self.place)?;
        let said = generator::generate(&mut chroot, &scratch, made_by, version, settings);
        chroot.close()?;
        let at = At { volume: 0, path: format!(".diskmirror/{SCRATCH}/{IMAGE}") };
        let made = said.and_then(|()| self.mirror.open_at(&at)?.context("it has made no image"));
        drop(scratch);
        self.forget_scratch().context("cannot remove what the generator has left on the mirror")?;
        made
    }

    fn own(&self) -> io::Result<OwnedFd> {
        dir::open_dir(self.mirror.root(0), b".diskmirror")
    }

    /// An empty directory on the mirror that is nobody else's.
    fn scratch(&self) -> io::Result<OwnedFd> {
        self.forget_scratch()?;
        let own = self.own()?;
        dir::make_dir(&own, SCRATCH.as_bytes())?;
        dir::open_dir(&own, SCRATCH.as_bytes())
    }

    fn forget_scratch(&self) -> io::Result<()> {
        let own = self.own()?;
        match std::fs::remove_dir_all(format!("/proc/self/fd/{}/{SCRATCH}", own.as_raw_fd())) {
            Err(error) if error.kind() != ErrorKind::NotFound => Err(error),
            _ => Ok(()),
        }
    }

    /// Puts an image with these bytes behind it in its place: whole, flushed, or not at all.
    fn put(&self, rebuild: &Rebuild, mut image: &File, suffix: &[u8]) -> Result<()> {
        let (directory, name) = rebuild.at.split();
        let directory = dir::open_dir(self.mirror.root(rebuild.at.volume), directory.as_bytes())?;
        let written =
            replace_at(&directory, name.as_bytes(), Access::mode(rebuild.stat.mode & 0o7777), |file| {
                image.rewind()?;
                let copied = io::copy(&mut image.take(MOST_BYTES + 1), file)?;
                if copied > MOST_BYTES {
                    return Err(read::too_large(MOST_BYTES));
                }
                file.write_all(suffix)
            });
        written.context("cannot write the new image")
    }
}

/// What an image says about how the root is found, as the mirror has it: a generator that looks at the running system from
/// within a chroot may not find that out.
fn settings(source: &Initramfs, map: &IdentityMap) -> Vec<Override> {
    let is_setting = |path: &str| {
        matches!(path, "cryptroot/crypttab" | "etc/crypttab") || path.starts_with("etc/cmdline.d/")
    };
    overrides(source, map).into_iter().filter(|file| is_setting(&file.path)).collect()
}

/// What is put behind a new image: its own files that name the primary, rewritten, and the old one's settings.
fn suffix(image: &Initramfs, map: &IdentityMap, settings: Vec<Override>) -> Vec<u8> {
    let all = overrides(image, map).into_iter().chain(settings);
    let last: BTreeMap<String, Override> = all.map(|file| (file.path.clone(), file)).collect();
    let all: Vec<Override> = last.into_values().collect();
    if all.is_empty() { Vec::new() } else { image.suffix(&all) }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::identity::{Kind, Pair};
    use crate::layer::{cpio, initramfs};
    use crate::retarget::Spellings;
    use std::io::Cursor;

    #[test]
    fn an_image_is_made_again_when_anything_has_changed_and_a_failure_is_tried_again_a_day_later() {
        let good = Rebuilt { inputs: "in".into(), result: "12 34".into(), failure: None, tried: 1000 };
        assert!(good.holds("in", "12 34", 1000) && good.holds("in", "12 34", 1000 + 2 * PATIENCE));
        assert!(!good.holds("other", "12 34", 1000) && !good.holds("in", "", 1000));
        let bad = Rebuilt { failure: Some("why".into()), ..good };
        assert!(bad.holds("in", "12 34", 1000 + PATIENCE - 1));
        assert!(!bad.holds("in", "12 34", 1000 + PATIENCE));
        assert!(!bad.holds("in", "12 34", 999), "the clock was wrong then, or is now");
    }

    const PRIMARY: &str = "aaaaaaaa-1111-4111-8111-111111111111";
    const MIRROR: &str = "bbbbbbbb-2222-4222-8222-222222222222";

    fn map() -> IdentityMap {
        let pair = Pair { kind: Kind::Uuid, primary: PRIMARY.into(), mirror: MIRROR.into() };
        IdentityMap { pairs: vec![pair] }
    }

    fn image(files: &[(&str, &str)]) -> Vec<u8> {
        cpio::write(
            files.iter().map(|(path, text)| (path.as_bytes(), cpio::REGULAR | 0o644, text.as_bytes())),
        )
    }

    fn read(bytes: &[u8]) -> Initramfs {
        initramfs::read(&mut Cursor::new(bytes), &Spellings::of(&map())).expect("an image")
    }

    #[test]
    fn the_containers_that_the_primarys_image_opens_are_opened_by_the_new_one_too() {
        let crypttab = format!("root_crypt UUID={PRIMARY} none luks\n");
        let bytes = image(&[("cryptroot/crypttab", &crypttab), ("conf/conf.d/resume", PRIMARY)]);
        let source = read(&bytes);
        let settings = settings(&source, &map());
        assert_eq!(settings.len(), 1, "{settings:?}");

        let fstab = format!("UUID={PRIMARY} / ext4 defaults 0 1\n");
        let mut new = image(&[("cryptroot/crypttab", ""), ("etc/fstab", &fstab)]);
        let behind = suffix(&read(&new), &map(), settings);
        new.extend(behind);
        let new = read(&new);
        let text = |path| String::from_utf8_lossy(new.file(path).expect("it is there")).into_owned();
        assert_eq!(text("cryptroot/crypttab"), format!("root_crypt UUID={MIRROR} none luks\n"));
        assert_eq!(text("etc/fstab"), format!("UUID={MIRROR} / ext4 defaults 0 1\n"));
    }

    #[test]
    fn an_image_without_the_driver_or_with_a_name_of_the_primary_is_unfit() {
        let name = format!("usr/lib/dracut/hooks/initqueue/finished/devexists-{PRIMARY}.sh");
        let bytes = image(&[(&name, ""), ("lib/modules/6.1/kernel/drivers/block/virtio_blk.ko", "")]);
        let image = read(&bytes);
        let drivers = |names: &[&str]| names.iter().map(|name| (*name).to_owned()).collect::<Vec<_>>();
        let unfit = unfit(&image, &map(), &drivers(&["virtio_blk", "nvme"]));
        assert_eq!(unfit.len(), 2, "{unfit:?}");
        assert!(unfit[0].contains(PRIMARY) && unfit[1].contains("nvme"), "{unfit:?}");
    }
}
