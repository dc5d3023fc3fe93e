//! The configuration: what `init` writes, the administrator may edit, and every later command works from.
//!
//! Paths in it are the primary's own (`/var/lib/diskmirror`); they are looked up below `--root`. A file that
//! somebody else than its owner may write is not believed: it says what root copies where.

mod file;
mod write;

use crate::layout::FsKind;
use crate::refusal::Refusal;
use crate::units::{Bytes, Considerate, Every, Often, Rate, Share};
use file::{Complaint, pointed_at, read_trusted};
use serde::Deserialize;
use std::collections::BTreeSet;
use std::path::{Path, PathBuf};

/// What is never copied, whatever the configuration adds. Patterns as of `sync --exclude`.
pub const DEFAULT_EXCLUDES: [&str; 6] = [
    "/tmp/*",
    "/var/tmp/*",
    "/var/lib/diskmirror/*",
    "/etc/diskmirror/keys/*",
    "/var/lib/systemd/random-seed",
    "/.diskmirror",
];

/// Where the configuration lies, relative to the primary's root.
pub const CONFIG_PATH: &str = "etc/diskmirror.toml";

/// What tells of an `init` that was begun: a file in the state directory.
pub const UNFINISHED_INIT: &str = "unfinished-init.json";

const NOTHING_WRITTEN: &str = "nothing was read from the primary or written to the mirror";

/// The checked configuration. Its paths are those of the primary, not yet below `--root`.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Config {
    /// Run history and catalogs.
    pub state_dir: PathBuf,
    /// Lock and mount points.
    pub runtime_dir: PathBuf,
    /// The log, beside the journal.
    pub log_file: PathBuf,
    /// The mirrors: exactly one for now.
    pub mirrors: Vec<Mirror>,
}

/// A mirror, its disk and what lies on it.
#[derive(Debug, Clone, PartialEq, Eq, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Mirror {
    /// Its name: of its lock, its mount points, its marks.
    pub name: String,
    /// Whether this is the copy that lies on the mirror: there `primary` is the disk that was the mirror, and `disk` the
    /// old primary. Nothing is ever refreshed by it.
    #[serde(default)]
    pub reversed: bool,
    /// The disk the server runs from.
    pub primary: DiskId,
    /// The disk that is the mirror.
    pub disk: DiskId,
    /// The encrypted containers on the mirror, outermost first.
    #[serde(default, rename = "container")]
    pub containers: Vec<Container>,
    /// The volume groups on the mirror.
    #[serde(default)]
    pub volume_groups: Vec<String>,
    /// The file systems, root first.
    #[serde(rename = "volume")]
    pub volumes: Vec<Volume>,
    /// What is left out besides the defaults.
    #[serde(default, rename = "exclude")]
    pub excludes: Vec<String>,
    /// Files of which the audit remarks nothing, as patterns.
    #[serde(default, deserialize_with = "globs")]
    pub audit_ignore: Vec<String>,
    /// What names the parts of the primary's disk that the mirror does not have.
    #[serde(default)]
    pub leave_out: Vec<String>,
    /// How often a run looks at both sides whole, whatever its catalog says.
    #[serde(default = "daily", deserialize_with = "every")]
    pub full_every: Every,
    /// Files of so many bytes and more are brought up to date block by block.
    #[serde(default = "large", deserialize_with = "size")]
    pub blocks_from: Bytes,
    /// How many bytes of content a run reads a second at most.
    #[serde(default, deserialize_with = "rate")]
    pub bwlimit: Option<Rate>,
    /// For what share of the time others may be stalled while a run is at work.
    #[serde(default = "usual", deserialize_with = "considerate")]
    pub considerate: Considerate,
    /// Which share of the files whose content is known each run reads on both sides.
    #[serde(default = "nothing", deserialize_with = "share")]
    pub verify_share: Share,
    /// How often the schedule makes a boot test, if it shall.
    #[serde(default, deserialize_with = "often")]
    pub boot_test: Option<Often>,
}

/// From what size on, if nobody says otherwise: below, a whole copy is quick.
pub fn large() -> Bytes {
    Bytes::mib(64)
}

fn size<'de, D: serde::Deserializer<'de>>(from: D) -> Result<Bytes, D::Error> {
    String::deserialize(from)?.parse().map_err(serde::de::Error::custom)
}

fn globs<'de, D: serde::Deserializer<'de>>(from: D) -> Result<Vec<String>, D::Error> {
    let patterns = Vec::<String>::deserialize(from)?;
    match patterns.iter().find_map(|pattern| globset::Glob::new(pattern).err()) {
        Some(error) => Err(serde::de::Error::custom(error)),
        None => Ok(patterns),
    }
}

fn usual() -> Considerate {
    Considerate::USUAL
}

/// Which share, if nobody says otherwise.
pub fn nothing() -> Share {
    Share(0)
}

fn share<'de, D: serde::Deserializer<'de>>(from: D) -> Result<Share, D::Error> {
    String::deserialize(from)?.parse().map_err(serde::de::Error::custom)
}

/// How often, if nobody says otherwise.
pub fn daily() -> Every {
    Every(24 * 60 * 60)
}

fn every<'de, D: serde::Deserializer<'de>>(from: D) -> Result<Every, D::Error> {
    String::deserialize(from)?.parse().map_err(serde::de::Error::custom)
}

fn rate<'de, D: serde::Deserializer<'de>>(from: D) -> Result<Option<Rate>, D::Error> {
    String::deserialize(from)?.parse().map(Some).map_err(serde::de::Error::custom)
}

fn often<'de, D: serde::Deserializer<'de>>(from: D) -> Result<Option<Often>, D::Error> {
    String::deserialize(from)?.parse().map(Some).map_err(serde::de::Error::custom)
}

fn considerate<'de, D: serde::Deserializer<'de>>(from: D) -> Result<Considerate, D::Error> {
    String::deserialize(from)?.parse().map_err(serde::de::Error::custom)
}

/// What a disk is recognised by. All that is named must agree.
#[derive(Debug, Clone, Default, PartialEq, Eq, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct DiskId {
    /// The model: for messages only.
    pub model: Option<String>,
    /// The serial number.
    pub serial: Option<String>,
    /// The World Wide Name.
    pub wwn: Option<String>,
    /// The partition table's identity, as blkid's PTUUID has it.
    pub table_id: String,
    /// Where it was when it was prepared: written for disks with neither serial number nor WWN, informative.
    pub path: Option<String>,
}

impl DiskId {
    /// `Samsung SSD 870 (S5GX123)`: how messages name a disk that may be absent.
    pub fn title(&self) -> String {
        let id = self.serial.as_deref().or(self.wwn.as_deref());
        match (&self.model, id) {
            (Some(model), Some(id)) => format!("{model} ({id})"),
            (None, Some(id)) => id.to_owned(),
            (Some(model), None) => format!("{model} (table {})", self.table_id),
            (None, None) => match &self.path {
                Some(path) => format!("the disk with table {}, last seen as {path}", self.table_id),
                None => format!("the disk with table {}", self.table_id),
            },
        }
    }
}

/// An encrypted container on the mirror and how it is opened.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Container {
    /// Its LUKS UUID.
    pub luks_uuid: String,
    /// The name it is opened under.
    pub mapper: String,
    /// How it is opened.
    pub unlock: Unlock,
    /// Whether discards pass through.
    pub discard: bool,
}

/// How a container is opened unattended.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Unlock {
    /// With this key file, on the encrypted primary only.
    KeyFile(PathBuf),
    /// As the container's line in the primary's /etc/crypttab says.
    Crypttab,
}

/// A file system and its counterpart.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Volume {
    /// Where the primary mounts it: `/`, `/boot`.
    pub mount: String,
    /// Its kind.
    pub kind: FsKind,
    /// The UUID of the primary's file system.
    pub primary_uuid: String,
    /// The UUID of the mirror's file system.
    pub mirror_uuid: String,
}

impl<'de> Deserialize<'de> for Container {
    fn deserialize<D: serde::Deserializer<'de>>(from: D) -> Result<Self, D::Error> {
        #[derive(Deserialize)]
        #[serde(deny_unknown_fields)]
        struct Raw {
            luks_uuid: String,
            mapper: String,
            unlock: How,
            key_file: Option<PathBuf>,
            #[serde(default)]
            discard: bool,
        }
        #[derive(Deserialize)]
        #[serde(rename_all = "lowercase")]
        enum How {
            Keyfile,
            Crypttab,
        }
        let raw = Raw::deserialize(from)?;
        let unlock = match (raw.unlock, raw.key_file) {
            (How::Keyfile, Some(path)) => Unlock::KeyFile(path),
            (How::Crypttab, None) => Unlock::Crypttab,
            (How::Keyfile, None) => return Err(serde::de::Error::missing_field("key_file")),
            (How::Crypttab, Some(_)) => {
                return Err(serde::de::Error::custom("key_file has no meaning with unlock = \"crypttab\""));
            }
        };
        Ok(Container { luks_uuid: raw.luks_uuid, mapper: raw.mapper, unlock, discard: raw.discard })
    }
}

impl<'de> Deserialize<'de> for Volume {
    fn deserialize<D: serde::Deserializer<'de>>(from: D) -> Result<Self, D::Error> {
        #[derive(Deserialize)]
        #[serde(deny_unknown_fields)]
        struct Raw {
            mount: String,
            kind: FsKind,
            primary_uuid: String,
            mirror_uuid: String,
        }
        let Raw { mount, kind, primary_uuid, mirror_uuid } = Raw::deserialize(from)?;
        if !mount.starts_with('/') || mount.split('/').any(|part| part == "..") {
            return Err(serde::de::Error::custom(format!("mount = {mount:?} is not an absolute path")));
        }
        if primary_uuid == mirror_uuid {
            return Err(serde::de::Error::custom("primary_uuid and mirror_uuid are the same"));
        }
        Ok(Volume { mount, kind, primary_uuid, mirror_uuid })
    }
}

#[derive(Deserialize)]
#[serde(deny_unknown_fields)]
struct RawConfig {
    #[serde(default = "default_state_dir")]
    state_dir: toml::Spanned<PathBuf>,
    #[serde(default = "default_runtime_dir")]
    runtime_dir: toml::Spanned<PathBuf>,
    #[serde(default = "default_log_file")]
    log_file: toml::Spanned<PathBuf>,
    #[serde(rename = "mirror")]
    mirrors: toml::Spanned<Vec<toml::Spanned<Mirror>>>,
}

fn default_state_dir() -> toml::Spanned<PathBuf> {
    toml::Spanned::new(0..0, PathBuf::from("/var/lib/diskmirror"))
}

fn default_runtime_dir() -> toml::Spanned<PathBuf> {
    toml::Spanned::new(0..0, PathBuf::from("/run/diskmirror"))
}

fn default_log_file() -> toml::Spanned<PathBuf> {
    toml::Spanned::new(0..0, PathBuf::from("/var/log/diskmirror.log"))
}

impl Config {
    /// The configuration of the primary whose root is at `root`: `config`, or the usual file below `root`.
    ///
    /// # Errors
    /// A refusal if the file cannot be read, may be written by others, or is not a configuration; the last with
    /// a caret at the place.
    pub fn read(root: &Path, config: Option<&Path>) -> Result<Config, Refusal> {
        let path = config.map_or_else(|| root.join(CONFIG_PATH), Path::to_owned);
        let text = read_trusted(&path)?;
        parse(&text).map_err(|complaint| {
            let refusal =
                Refusal::new(format!("the configuration {} is malformed", path.display()), NOTHING_WRITTEN);
            let refusal = pointed_at(&text, &complaint).into_iter().fold(refusal, Refusal::why);
            refusal.remedy("mend that line, or have the file written anew: diskmirror init --mirror DISK")
        })
    }

    /// Where the catalogs of a mirror's file systems lie.
    pub fn catalogs(&self, root: &Path, mirror: &Mirror) -> PathBuf {
        below(root, &self.state_dir).join("catalog").join(&mirror.name)
    }

    /// The mirror of this name, or the only one.
    ///
    /// # Errors
    /// A refusal that lists the names there are.
    pub fn mirror(&self, name: Option<&str>) -> Result<&Mirror, Refusal> {
        let wanted = self.mirrors.iter().find(|mirror| name.is_none_or(|name| mirror.name == name));
        wanted.ok_or_else(|| {
            let known: Vec<&str> = self.mirrors.iter().map(|mirror| mirror.name.as_str()).collect();
            Refusal::new(format!("there is no mirror named {:?}", name.unwrap_or_default()), NOTHING_WRITTEN)
                .why(format!("the configuration knows {}", known.join(", ")))
                .remedy("name one of these, or none")
        })
    }
}

/// `path` of the primary, below its root as it is mounted here.
pub fn below(root: &Path, path: &Path) -> PathBuf {
    root.join(path.strip_prefix("/").unwrap_or(path))
}

fn parse(text: &str) -> Result<Config, Complaint> {
    let raw: RawConfig = toml::from_str(text).map_err(|error| Complaint {
        message: error.message().to_owned(),
        at: error.span().unwrap_or(0..0),
    })?;
    let path = |spanned: toml::Spanned<PathBuf>| {
        let at = spanned.span();
        let path = spanned.into_inner();
        let message = format!("{path:?} is not an absolute path");
        if path.is_absolute() { Ok(path) } else { Err(Complaint { message, at }) }
    };
    let at = raw.mirrors.span();
    let mirrors = raw.mirrors.into_inner();
    if mirrors.len() != 1 {
        let message = format!("{} mirrors are configured; exactly one is accepted for now", mirrors.len());
        return Err(Complaint { message, at: mirrors.last().map_or(at, toml::Spanned::span) });
    }
    Ok(Config {
        state_dir: path(raw.state_dir)?,
        runtime_dir: path(raw.runtime_dir)?,
        log_file: path(raw.log_file)?,
        mirrors: mirrors
            .into_iter()
            .map(|spanned| {
                let at = spanned.span();
                let mirror = spanned.into_inner();
                mirror.check().map_err(|message| Complaint { message, at })?;
                Ok(mirror)
            })
            .collect::<Result<_, _>>()?,
    })
}

impl Mirror {
    /// Every pattern that is left out: the defaults, then the administrator's.
    pub fn all_excludes(&self) -> Vec<String> {
        DEFAULT_EXCLUDES.iter().map(|&glob| glob.to_owned()).chain(self.excludes.iter().cloned()).collect()
    }

    /// The copy for the mirror itself: what was the mirror is the disk its system runs from. How the old primary is opened
    /// is not in it.
    pub fn turned(&self) -> Mirror {
        let turned = |volume: &Volume| Volume {
            primary_uuid: volume.mirror_uuid.clone(),
            mirror_uuid: volume.primary_uuid.clone(),
            ..volume.clone()
        };
        Mirror {
            name: self.name.clone(),
            reversed: true,
            primary: self.disk.clone(),
            disk: self.primary.clone(),
            containers: Vec::new(),
            volume_groups: Vec::new(),
            volumes: self.volumes.iter().map(turned).collect(),
            excludes: self.excludes.clone(),
            audit_ignore: self.audit_ignore.clone(),
            leave_out: Vec::new(),
            full_every: self.full_every,
            blocks_from: self.blocks_from,
            bwlimit: self.bwlimit,
            considerate: self.considerate,
            verify_share: self.verify_share,
            boot_test: self.boot_test,
        }
    }

    /// What types cannot say.
    fn check(&self) -> Result<(), String> {
        let usable = |c: char| c.is_ascii_alphanumeric() || "-_.".contains(c);
        if self.name.is_empty() || self.name.starts_with('.') || !self.name.chars().all(usable) {
            return Err(format!("the name {:?} cannot be part of a path", self.name));
        }
        if self.volumes.first().is_none_or(|volume| volume.mount != "/") {
            return Err(format!("the first volume of {:?} must be the one with mount = \"/\"", self.name));
        }
        let distinct = |what: &str, values: Vec<&str>| {
            let set: BTreeSet<&str> = values.iter().copied().collect();
            if set.len() == values.len() { Ok(()) } else { Err(format!("two volumes have the same {what}")) }
        };
        distinct("mount", self.volumes.iter().map(|v| v.mount.as_str()).collect())?;
        distinct("primary_uuid", self.volumes.iter().map(|v| v.primary_uuid.as_str()).collect())?;
        distinct("mirror_uuid", self.volumes.iter().map(|v| v.mirror_uuid.as_str()).collect())
    }
}

#[cfg(test)]
mod tests;
