//! The primary's file systems: mounted, whole, the ones the configuration means, and not empty.

use super::find::UNTOUCHED;
use super::mark::{self, Mark};
use super::mounted::MountPoint;
use super::unmounted;
use crate::config::{Mirror, Volume, below};
use crate::layer::encoding;
use crate::refusal::Refusal;
use crate::sys::dir::{open_root, read_names};
use crate::sys::node::{DeviceNumber, Shown, device_below, filesystem_uuid, shown_at};
use std::ffi::OsStr;
use std::os::fd::AsFd;
use std::os::unix::ffi::OsStrExt;
use std::path::{Path, PathBuf};

/// A file system of the primary that may be copied from.
#[derive(Debug)]
pub struct Source {
    /// Where it is mounted here.
    pub path: PathBuf,
    /// The device it lies on.
    pub device: DeviceNumber,
    /// The mount that shows it, if it is this program's own; it ends with this.
    pub(super) _own: Option<MountPoint>,
}

/// Why a file system of the primary is not found where it belongs.
enum Absent {
    /// Nothing is mounted there.
    Unmounted(Refusal),
    /// Something is, or nobody can tell.
    InDoubt(Refusal),
}

/// Checks that the system does not run from the mirror itself: after a failover the roles are reversed. The mirror's own
/// copy of the configuration says so, and has both sides turned.
///
/// # Errors
/// A `Refusal` if it does, or if the configuration is the mirror's copy and the system is another.
pub fn check_role(root: &Path, mirror: &Mirror) -> Result<(), Refusal> {
    // A root whose UUID cannot be told is refused as a source.
    let uuid = open_root(root).and_then(filesystem_uuid).ok().flatten();
    let of = |side: fn(&Volume) -> &String| {
        mirror.volumes.iter().find(|volume| Some(side(volume)) == uuid.as_ref())
    };
    if !mirror.reversed {
        let Some(volume) = of(|volume| &volume.mirror_uuid) else { return Ok(()) };
        return Err(reversed()
            .why(format!("the system runs from the mirror: {} is its {}", root.display(), volume.mount))
            .why("the configuration names it as what is to be overwritten"));
    }
    if of(|volume| &volume.primary_uuid).is_some() {
        let (this, old) = (mirror.primary.title(), mirror.disk.title());
        return Err(reversed()
            .why(format!("this system runs from {this}, which was the mirror of {old}"))
            .why("it has no mirror of its own yet"));
    }
    let what = "refusing to refresh: the configuration is the copy that belongs to the mirror";
    Err(Refusal::new(what, UNTOUCHED)
        .why(format!("it says that the system runs from {}, and it does not", mirror.primary.title()))
        .remedy("put this system's own configuration back, or have it written anew: diskmirror init --mirror DISK"))
}

fn reversed() -> Refusal {
    Refusal::new("refusing to refresh: the roles are reversed", UNTOUCHED)
        .remedy("put a new disk in, and make it the mirror of this one: diskmirror init --mirror DISK")
}

/// Where the system runs from the mirror, notes that on it, once: the old primary, should it come back, must not
/// overwrite what is newer here.
///
/// # Errors
/// Those of writing the mark.
pub fn note_service(root: &Path, mirror: &Mirror, now: i64) -> anyhow::Result<()> {
    let dir = open_root(root)?;
    let uuid = filesystem_uuid(&dir)?.unwrap_or_default();
    match mark::read(&dir)? {
        Some(found) if mark::is_ours(&found, mirror, &uuid) && found.serving_since.is_none() => {
            mark::write(&dir, &Mark { serving_since: Some(now), ..found })
        }
        _ => Ok(()),
    }
}

/// What a refusal of one file system can promise: the others may be refreshed all the same.
fn untouched(path: &Path) -> String {
    format!("nothing was written to the mirror of {}", path.display())
}

/// Opens a file system of the primary, the `number`th of `mirror`, below `root`. One that is mounted nowhere (`noauto`, an
/// automount that nobody has asked for) is entered by a mount of its own, below `runtime_dir`: this must be a mount
/// namespace of the program's own.
///
/// # Errors
/// A `Refusal` if it is not the one that is meant, if only a part of it is mounted there, or if it cannot be entered.
pub fn open_source(
    root: &Path,
    mirror: &Mirror,
    number: usize,
    runtime_dir: &Path,
) -> Result<Source, Refusal> {
    let volume = &mirror.volumes[number];
    match mounted_source(root, volume) {
        Ok(source) => Ok(source),
        Err(Absent::InDoubt(refusal)) => Err(refusal),
        Err(Absent::Unmounted(refusal)) => unmounted::enter(root, mirror, number, runtime_dir)
            .map_err(|error| refusal.why(format!("it cannot be read without that either: {error:#}"))),
    }
}

/// The device of a file system of the primary, if it is mounted where it belongs.
pub fn device_of_source(root: &Path, volume: &Volume) -> Option<DeviceNumber> {
    mounted_source(root, volume).ok().map(|source| source.device)
}

/// Where the primary's file system for `mount` is mounted here: its name may be of any encoding.
pub fn mounted_below(root: &Path, mount: &str) -> PathBuf {
    below(root, Path::new(OsStr::from_bytes(&encoding::bytes(mount))))
}

fn mounted_source(root: &Path, volume: &Volume) -> Result<Source, Absent> {
    let path = mounted_below(root, &volume.mount);
    let refuse = |what: &str, why: String| {
        Refusal::new(format!("refusing to mirror {}: {what}", path.display()), untouched(&path))
            .why(why)
            .remedy(format!("mount {}", path.display()))
    };
    let doubt = |error: std::io::Error| Absent::InDoubt(refuse("cannot tell what it is", error.to_string()));
    let not_mounted = |why: String| refuse("it is not mounted", why);
    let dir = open_root(&path).map_err(|error| match error.kind() {
        std::io::ErrorKind::NotFound => Absent::Unmounted(not_mounted(error.to_string())),
        _ => Absent::InDoubt(not_mounted(error.to_string())),
    })?;
    match shown_at(&dir).map_err(doubt)? {
        Shown::Whole => {}
        Shown::Part => {
            return Err(Absent::InDoubt(not_mounted("only a part of one is mounted there".into())));
        }
        Shown::Nothing => {
            return Err(Absent::Unmounted(not_mounted("no file system is mounted there".into())));
        }
    }
    let uuid = filesystem_uuid(&dir).map_err(doubt)?;
    if uuid.as_deref() != Some(&volume.primary_uuid) {
        let found = uuid.unwrap_or_else(|| "none".into());
        let why = format!("the UUID of what is mounted there is {found}, not {}", volume.primary_uuid);
        return Err(Absent::InDoubt(refuse("it is not mounted: another file system is in its place", why)));
    }
    let device = device_below(&dir).map_err(doubt)?;
    Ok(Source { path, device, _own: None })
}

impl Source {
    /// Whether it holds nothing but what mkfs and this program make. It is read through `root`, a private view of
    /// it that sets no access times.
    pub fn is_empty(&self, root: impl AsFd) -> bool {
        let (names, error) = read_names(root);
        error.is_none() && names.iter().all(|named| matches!(&*named.name, b"lost+found" | b".diskmirror"))
    }

    /// The refusal to mirror what cannot be entered.
    pub fn not_entered(&self, error: &anyhow::Error) -> Refusal {
        Refusal::new(
            format!("refusing to mirror {}: it cannot be entered", self.path.display()),
            untouched(&self.path),
        )
        .why(format!("{error:#}"))
        .remedy(format!("see what is mounted there: findmnt -T {}; dmesg", self.path.display()))
    }

    /// The refusal to make the mirror as empty as this source is; `accepting` is the command that does it.
    pub fn empty_refusal(&self, accepting: &str) -> Refusal {
        Refusal::new(
            format!("refusing to mirror {}: it is empty", self.path.display()),
            untouched(&self.path),
        )
        .why("nothing is in it, and everything on its mirror would be deleted")
        .remedy("look whether it is the right file system, and whether it is mounted whole")
        .remedy(format!("if it was emptied on purpose: {accepting}"))
    }
}
