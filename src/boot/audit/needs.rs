//! What the boot needs and nobody has. What names the primary is not reported here again: that was found already.

use super::Search;
use super::early::Early;
use super::live::Dead;
use crate::boot::way::{Entry, MOST_PLACES, Says, Way};
use crate::layer::device_spec::DeviceSpec;
use crate::layer::{crypttab, fstab};
use std::collections::BTreeSet;
use std::io;

/// Nodes that no disk stands behind, or that a kernel makes by itself.
const OF_NO_DISK: [&str; 7] =
    ["/dev/zram", "/dev/ram", "/dev/nfs", "/dev/loop", "/dev/fuse", "/dev/sr", "/dev/cdrom"];

impl Search<'_> {
    pub(super) fn needs(&mut self, way: &mut Way, early: &Early) -> io::Result<()> {
        let dead = self.dead(way)?;
        let is_live = |entry: &&Entry| !dead.contains(&(entry.file.clone(), entry.block));
        let entries: Vec<Entry> = way.entries.iter().filter(is_live).cloned().collect();
        let words = entries.iter().flat_map(|entry| match &entry.says {
            Says::Words(words) => words.as_slice(),
            _ => &[],
        });
        let early_names = early.mappers(words);
        let mut names = early_names.clone();
        names.extend(self.mappers()?);
        let containers = self.setting("/etc/crypttab")?;
        self.containers(&containers);
        self.mounts(&self.setting("/etc/fstab")?, &names);
        self.early_containers(early);
        for entry in &entries {
            self.entry(entry, &early_names);
        }
        for (file, words) in &early.lines {
            self.command_line(file, Some(".cmdline"), 0, words, &early_names);
        }
        self.started(way, &entries)?;
        self.nothing_to_start(way, &dead);
        Ok(())
    }

    /// A text, whatever its encoding; nothing where there is none, or where it is too large, which was said already.
    fn setting(&self, path: &str) -> io::Result<String> {
        match self.files.read(path) {
            Err(error) if error.kind() == io::ErrorKind::FileTooLarge => Ok(String::new()),
            text => Ok(String::from_utf8_lossy(&text?.unwrap_or_default()).into_owned()),
        }
    }

    /// The names that crypttab gives to containers.
    pub(super) fn mappers(&self) -> io::Result<BTreeSet<String>> {
        let entries = crypttab::entries(&self.setting("/etc/crypttab")?);
        Ok(entries.into_iter().map(|entry| entry.name).collect())
    }

    fn mounts(&mut self, text: &str, names: &BTreeSet<String>) {
        for (line, entry) in numbered(text, fstab::entries) {
            if !gives_way(&entry.options) && self.is_missing(&entry.device, names) {
                let what = format!("{} for {}: nobody has it", entry.device, entry.target);
                self.find("/etc/fstab", None, line, what);
            }
        }
    }

    fn containers(&mut self, text: &str) {
        for (line, entry) in numbered(text, crypttab::entries) {
            if !gives_way(&entry.options) && self.is_missing(&entry.device, &BTreeSet::new()) {
                let what = format!("{} for {}: nobody has it", entry.device, entry.name);
                self.find("/etc/crypttab", None, line, what);
            }
        }
    }

    fn early_containers(&mut self, early: &Early) {
        for (file, inside, text) in &early.crypttabs {
            for (line, entry) in numbered(text, crypttab::entries) {
                if self.is_missing(&entry.device, &BTreeSet::new()) {
                    let what = format!("{} for {}: nobody has it", entry.device, entry.name);
                    self.find(file, Some(inside), line, what);
                }
                if let Some(key) = self.unwanted_key(&entry) {
                    let what =
                        format!("{} is to be opened with the key file {key}, not a passphrase", entry.name);
                    self.find(file, Some(inside), line, what);
                }
            }
        }
    }

    /// The key file that an entry wants for a container of the mirror. With a script it is a name, no file.
    fn unwanted_key<'e>(&self, entry: &'e crypttab::Entry) -> Option<&'e String> {
        let of_mirror = matches!(&entry.device, DeviceSpec::Uuid(uuid) if has(&self.facts.containers, uuid));
        let scripted = entry.options.iter().any(|option| option.starts_with("keyscript="));
        entry.key.as_ref().filter(|_| of_mirror && !scripted)
    }

    fn entry(&mut self, entry: &Entry, names: &BTreeSet<String>) {
        match &entry.says {
            Says::Words(words) => self.command_line(&entry.file, None, entry.line, words, names),
            Says::Search(uuid) if self.is_missing(&DeviceSpec::Uuid(uuid.clone()), names) => {
                let what = format!("UUID={uuid} is searched for: nobody has it");
                self.find(&entry.file, None, entry.line, what);
            }
            _ => {}
        }
    }

    fn command_line(
        &mut self,
        file: &str,
        inside: Option<&str>,
        line: usize,
        words: &[String],
        names: &BTreeSet<String>,
    ) {
        for word in words {
            let named = word.split_once('=').filter(|(name, _)| matches!(*name, "root" | "resume"));
            let Some((_, value)) = named.filter(|(_, value)| !value.starts_with('$') && *value != "none")
            else {
                continue;
            };
            if self.is_missing(&DeviceSpec::parse(value), names) {
                self.find(file, inside, line, format!("{word}: nobody has it"));
            }
        }
    }

    /// Kernels and images that are not there.
    fn started(&mut self, way: &mut Way, entries: &[Entry]) -> io::Result<()> {
        for entry in entries {
            let (Says::Kernel(path) | Says::Image(path)) = &entry.says else { continue };
            if way.is_full() {
                let why = format!("more than {MOST_PLACES} kernels and images are named");
                self.not_looked_into(&entry.file, None, &why);
                break;
            }
            let is_elsewhere = super::is_elsewhere(entry, &|uuid| self.is_ours(uuid));
            if !is_elsewhere && way.place(self.files, entry, path)?.is_none() {
                self.find(&entry.file, None, entry.line, format!("{path} does not exist"));
            }
        }
        Ok(())
    }

    /// Where every entry of the menus is dead, there is nothing to start.
    fn nothing_to_start(&mut self, way: &Way, dead: &Dead) {
        let mut kernels = way.entries.iter().filter(|entry| matches!(entry.says, Says::Kernel(_)));
        let Some(first) = kernels.next() else { return };
        let is_dead = |entry: &Entry| dead.contains(&(entry.file.clone(), entry.block));
        if is_dead(first) && kernels.all(is_dead) {
            self.find(&first.file, None, first.line, "no kernel that a boot loader names is there");
        }
    }

    /// Whether a device is there for nobody; `names` are those that containers get below /dev/mapper.
    pub(super) fn is_missing(&self, device: &DeviceSpec, names: &BTreeSet<String>) -> bool {
        let facts = self.facts;
        let there = match device {
            DeviceSpec::Uuid(uuid) => has(&facts.uuids, uuid),
            DeviceSpec::PartUuid(uuid) => has(&facts.part_uuids, uuid.split('/').next().unwrap_or(uuid)),
            DeviceSpec::Label(label) => facts.labels.contains(label),
            DeviceSpec::PartLabel(label) => facts.part_labels.contains(label),
            DeviceSpec::Path(path) => self.has_path(path, names),
            DeviceSpec::Other(_) => true,
        };
        !there && self.spellings.find(device.to_string().as_bytes()).is_empty()
    }

    fn has_path(&self, path: &str, names: &BTreeSet<String>) -> bool {
        let mapper = path.strip_prefix("/dev/mapper/").or(path.strip_prefix("/dev/disk/by-id/dm-name-"));
        let is_mapped = |name: &str| {
            names.contains(name)
                || self.facts.volumes.iter().any(|volume| mapper_name(volume) == name)
                || self.facts.paths.contains(&format!("/dev/mapper/{name}"))
        };
        let volume = path.strip_prefix("/dev/").filter(|volume| volume.matches('/').count() == 1);
        let volume = volume.is_some_and(|volume| is_mapped(&mapper_name(volume)));
        !path.starts_with("/dev/")
            || mapper.is_some_and(is_mapped)
            || volume
            || self.facts.paths.contains(path)
            // Old initramfs call whatever is the root so.
            || path == "/dev/root"
            || OF_NO_DISK.iter().any(|node| path.starts_with(node))
    }
}

/// The entries of a table with their lines, from 1.
fn numbered<E>(text: &str, entries: fn(&str) -> Vec<E>) -> impl Iterator<Item = (usize, E)> {
    text.lines()
        .enumerate()
        .flat_map(move |(n, line)| entries(line).into_iter().map(move |entry| (n + 1, entry)))
}

/// Whether the boot goes on without it.
fn gives_way(options: &[String]) -> bool {
    options.iter().any(|option| matches!(option.as_str(), "nofail" | "noauto"))
}

fn has(set: &BTreeSet<String>, one: &str) -> bool {
    set.iter().any(|other| other.eq_ignore_ascii_case(one))
}

/// The name that LVM gives `group/volume` below /dev/mapper: a hyphen inside of either is doubled.
fn mapper_name(volume: &str) -> String {
    volume.replace('-', "--").replacen('/', "-", 1)
}
