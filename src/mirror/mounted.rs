//! The mirror's file systems, mounted side by side in the run's own namespace; each proven by descriptor to be the
//! mirror's before anything is written to it.

use super::check::{needs_replay, xfs_failure};
use super::find::{PREPARE, UNTOUCHED};
use super::mark::{self, Mark};
use super::open::{Opened, must_be_idle};
use crate::config::{Mirror, Volume};
use crate::layout::FsKind;
use crate::refusal::{Failure, Refusal};
use crate::sys::{mount, node};
use anyhow::{Context, Result};
use rustix::fs::{Mode, OFlags, openat};
use std::fs::DirBuilder;
use std::os::fd::{AsFd, OwnedFd};
use std::os::unix::fs::DirBuilderExt;
use std::path::{Path, PathBuf};
use std::time::Duration;

const UNMOUNT_TRIES: u32 = 40;
const UNMOUNT_PAUSE: Duration = Duration::from_millis(100);

/// How a file system of the mirror is mounted.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Access {
    /// To look at it: not even its log is replayed.
    ReadOnly,
    /// To refresh it.
    ReadWrite,
}

/// One file system of the mirror, mounted and proven.
#[derive(Debug)]
pub struct Mounted {
    /// Its root directory, open for reading.
    pub root: OwnedFd,
    /// Its mark.
    pub mark: Mark,
    /// Where it is mounted. Unmounted when dropped, after `root` is gone.
    at: MountPoint,
}

/// A place where something is mounted, until it is dropped.
#[derive(Debug)]
pub(super) struct MountPoint {
    path: PathBuf,
    pub(super) is_mounted: bool,
}

impl Drop for MountPoint {
    fn drop(&mut self) {
        if self.is_mounted {
            // Something has failed before, and is reported; the namespace's end unmounts it in any case.
            let _ = mount::detach(&self.path);
        }
        let _ = std::fs::remove_dir(&self.path);
    }
}

impl MountPoint {
    /// An empty directory, not mounted on yet.
    pub(super) fn make(path: PathBuf) -> Result<Self> {
        let made = DirBuilder::new().recursive(true).mode(0o700).create(&path);
        made.with_context(|| format!("cannot make the mount point {}", path.display()))?;
        Ok(MountPoint { path, is_mounted: false })
    }
}

/// Where the file system number `number` of a mirror is mounted.
pub fn mount_point(runtime_dir: &Path, mirror: &str, number: usize) -> PathBuf {
    runtime_dir.join(mirror).join(number.to_string())
}

impl Opened<'_> {
    /// Mounts every file system below `runtime_dir`/NAME and proves each; `sources` are the device numbers of the
    /// primary's file systems.
    ///
    /// # Errors
    /// A `Refusal` if one is not the mirror's; a `Failure` if one cannot be mounted.
    pub fn mount(
        &self,
        mirror: &Mirror,
        runtime_dir: &Path,
        access: Access,
        sources: &[node::DeviceNumber],
    ) -> Result<Vec<Mounted>> {
        let one = |number| self.mount_volume(number, mirror, runtime_dir, access, sources);
        (0..mirror.volumes.len()).map(one).collect()
    }

    /// Mounts the file system of this `number` alone.
    ///
    /// # Errors
    /// As `mount`.
    pub fn mount_volume(
        &self,
        number: usize,
        mirror: &Mirror,
        runtime_dir: &Path,
        access: Access,
        sources: &[node::DeviceNumber],
    ) -> Result<Mounted> {
        let (volume, node) = self.volume(number)?;
        let at = mount_point(runtime_dir, &mirror.name, number);
        let (root, at) = mount_and_prove(volume, node, at, access, sources)?;
        let mark = ours(mirror, volume, node, mark::read(&root)?)?;
        Ok(Mounted { root, mark, at })
    }

    /// Looks at the mark of the file system of this `number` before anything is written, not even a log: one that is not
    /// ours stays as it is. Where a log must be replayed before the mark can be read, that is left to the check, and the
    /// mark is looked at after it.
    ///
    /// # Errors
    /// A `Refusal` if the mark is missing or another's; a `Failure` if the file system cannot be mounted.
    pub fn look_at_mark(
        &self,
        number: usize,
        mirror: &Mirror,
        runtime_dir: &Path,
        sources: &[node::DeviceNumber],
    ) -> Result<()> {
        let (volume, node) = self.volume(number)?;
        let at = mount_point(runtime_dir, &mirror.name, number);
        let (root, at) = mount_and_prove(volume, node, at, Access::ReadOnly, sources)?;
        let found = mark::read(&root).unwrap_or_default();
        drop((root, at));
        if found.is_some() || !needs_replay(node, volume.kind)? {
            ours(mirror, volume, node, found)?;
        }
        Ok(())
    }

    fn volume(&self, number: usize) -> Result<(&Volume, &Path)> {
        self.volumes().nth(number).context("the mirror has no such file system")
    }
}

impl Mounted {
    /// Unmounts it.
    ///
    /// # Errors
    /// A `Failure` if it stays busy.
    pub fn unmount(self) -> Result<()> {
        let Mounted { root, mut at, .. } = self;
        drop(root);
        for _ in 0..UNMOUNT_TRIES {
            if mount::unmount_at(&at.path).is_ok() {
                at.is_mounted = false;
                return Ok(());
            }
            std::thread::sleep(UNMOUNT_PAUSE);
        }
        let what = format!("cannot unmount {}", at.path.display());
        mount::unmount_at(&at.path).map_err(|error| {
            let state = "all was written; the kernel unmounts it when this program has ended";
            Failure::new(what, state).why(error.to_string()).into()
        })
    }
}

/// The file system's own options that keep a look at it from writing.
pub(super) fn options(kind: FsKind, access: Access) -> &'static [&'static str] {
    match (access, kind) {
        (Access::ReadWrite, _) => &[],
        (Access::ReadOnly, FsKind::Ext3 | FsKind::Ext4) => &["ro", "noload"],
        (Access::ReadOnly, FsKind::Xfs) => &["ro", "norecovery"],
        (Access::ReadOnly, FsKind::Ext2 | FsKind::Vfat) => &["ro"],
    }
}

/// The mark that was found, if it is this mirror's and the mirror has not been the server since.
fn ours(mirror: &Mirror, volume: &Volume, node: &Path, found: Option<Mark>) -> Result<Mark, Refusal> {
    match found {
        Some(mark) if !mark::is_ours(&mark, mirror, &volume.mirror_uuid) => {
            Err(not_ours(volume, node, Some(&mark)))
        }
        Some(Mark { serving_since: Some(since), .. }) => Err(has_served(mirror, since)),
        Some(mark) => Ok(mark),
        None => Err(not_ours(volume, node, None)),
    }
}

fn has_served(mirror: &Mirror, since: i64) -> Refusal {
    let when = jiff::Timestamp::from_second(since).map_or_else(
        |_| "some time".to_owned(),
        |time| time.to_zoned(jiff::tz::TimeZone::system()).to_string(),
    );
    let what = format!("refusing to refresh {}: it has run as the server itself", mirror.disk.title());
    Refusal::new(what, UNTOUCHED)
        .why(format!("since {when} it was used in place of this primary: what it holds may be newer"))
        .remedy("to go on with what the mirror holds: boot from it, and there: diskmirror init --mirror DISK")
        .remedy("to go on with what this primary holds, and lose the rest: diskmirror init --mirror DISK")
}

fn not_ours(volume: &Volume, node: &Path, found: Option<&Mark>) -> Refusal {
    let what = format!("refusing to write to {}: its file system is not ours", node.display());
    let why = match found {
        None => "it has no mark of a mirror (/.diskmirror/mark.json)".to_owned(),
        Some(mark) => format!("its mark is that of the mirror {:?}, UUID {}", mark.mirror, mark.mirror_uuid),
    };
    Refusal::new(what, UNTOUCHED)
        .why(why)
        .why(format!("it has the UUID {} of the mirror's {}", volume.mirror_uuid, volume.mount))
        .remedy(PREPARE)
}

/// Mounts a file system, and proves by its descriptor that it lies on `node`, has the mirror's UUID, and is none of
/// the primary's.
fn mount_and_prove(
    volume: &Volume,
    node: &Path,
    at: PathBuf,
    access: Access,
    sources: &[node::DeviceNumber],
) -> Result<(OwnedFd, MountPoint)> {
    must_be_idle(node)?;
    let mut at = MountPoint::make(at)?;
    let name = volume.kind.name();
    let mounted = mount::mount_device(node, name, options(volume.kind, access), &at.path);
    let mount_fd = mounted.map_err(|error| cannot_mount(volume.kind, node, &error))?;
    at.is_mounted = true;
    let flags = OFlags::RDONLY | OFlags::DIRECTORY | OFlags::CLOEXEC;
    let root =
        openat(&mount_fd, ".", flags, Mode::empty()).context("cannot open the mirror's root directory")?;
    let refuse = |why: String| {
        let what = format!("refusing to write to {}: what is mounted is not the mirror's", node.display());
        Err(Refusal::new(what, UNTOUCHED)
            .why(why)
            .remedy("look at what lies there: lsblk -o PATH,UUID,MOUNTPOINTS"))
    };
    let on = node::device_below(root.as_fd())?;
    let (_, expected) = node::open_node(node)?;
    if on != expected {
        refuse(format!("it lies on device {on:?}, not {expected:?}"))?;
    }
    if sources.contains(&on) {
        refuse("it is a file system of the primary".into())?;
    }
    let uuid = node::filesystem_uuid(root.as_fd())?;
    if uuid.as_deref() != Some(&volume.mirror_uuid) {
        let wanted = &volume.mirror_uuid;
        refuse(match uuid {
            Some(uuid) => format!("its UUID is {uuid}, not {wanted}"),
            None => format!("it has no UUID, and the mirror's is {wanted}"),
        })?;
    }
    Ok((root, at))
}

fn cannot_mount(kind: FsKind, node: &Path, error: &std::io::Error) -> Failure {
    match kind {
        FsKind::Xfs => xfs_failure(node, &error.to_string()),
        _ => Failure::new(format!("cannot mount {}", node.display()), UNTOUCHED).why(error.to_string()),
    }
}

/// Gives every file system of a mirror that has just been made its first mark.
///
/// # Errors
/// The system's, and all that `Opened::mount` refuses but for the marks.
pub fn write_initial_marks(mirror: &Mirror, opened: &Opened<'_>, runtime_dir: &Path) -> Result<()> {
    for (number, (volume, node)) in opened.volumes().enumerate() {
        let at = mount_point(runtime_dir, &mirror.name, number);
        let (root, at) = mount_and_prove(volume, node, at, Access::ReadWrite, &[])?;
        let mark = Mark::initial(&mirror.name, &volume.mirror_uuid);
        mark::write(&root, &mark)?;
        Mounted { root, mark, at }.unmount()?;
    }
    Ok(())
}
