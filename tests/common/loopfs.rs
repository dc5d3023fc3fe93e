//! File systems of the tests' own: an image, mkfs, a loop mount that goes away with the guard.
//!
//! Everything is mounted in a mount namespace of the test's thread: whatever happens to the test, the kernel
//! unmounts it, and the loop devices (auto-clear) go with the mounts.

use super::raw::{self, Shutdown};
use std::cell::Cell;
use std::fs::{File, Permissions};
use std::os::fd::AsFd;
use std::os::unix::fs::PermissionsExt;
use std::path::{Path, PathBuf};
use std::process::{Command, Stdio};
use std::time::Duration;

/// What to make.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Kind {
    /// ext4.
    Ext4,
    /// XFS. mkfs wants 300 MB at least.
    Xfs,
}

impl Kind {
    /// Its name for `mount -t`.
    pub fn name(self) -> &'static str {
        match self {
            Kind::Ext4 => "ext4",
            Kind::Xfs => "xfs",
        }
    }
}

/// A mounted file system. Threads started before it was made do not see it.
#[derive(Debug)]
pub struct LoopFs {
    kind: Kind,
    image: PathBuf,
    point: PathBuf,
    mounted: bool,
    _scratch: tempfile::TempDir,
}

impl LoopFs {
    /// Makes and mounts a file system of `mib` mebibytes (the image is sparse).
    pub fn new(kind: Kind, mib: u64) -> Self {
        Self::with_options(kind, mib, &[])
    }

    /// The same with more arguments for mkfs.
    pub fn with_options(kind: Kind, mib: u64, options: &[&str]) -> Self {
        private_mounts();
        let scratch = image_directory(mib);
        let image = scratch.path().join("image");
        let point = scratch.path().join("mounted");
        let file = File::create(&image).expect("an image file");
        file.set_len(mib << 20).expect("a sparse image");
        std::fs::create_dir(&point).expect("a mount point");
        let mut made = LoopFs { kind, image, point, mounted: false, _scratch: scratch };
        made.make(options);
        made
    }

    fn make(&mut self, options: &[&str]) {
        // Small images would get blocks of 1 KiB, and attributes no room.
        let usual: &[&str] =
            if self.kind == Kind::Ext4 { &["-F", "-b", "4096", "-I", "256"] } else { &["-f"] };
        let mkfs = format!("mkfs.{}", self.kind.name());
        tool(Command::new(mkfs).arg("-q").args(usual).args(options).arg(&self.image));
        self.mount();
        let _ = std::fs::remove_dir(self.point.join("lost+found"));
    }

    /// Makes it anew: empty, and another, whatever it is called.
    pub fn make_anew(&mut self, options: &[&str]) {
        self.unmount();
        self.make(options);
    }

    /// Its image: to be looked at or written while it is not mounted.
    pub fn image(&self) -> &Path {
        &self.image
    }

    /// Keeps a copy of the image as it is now.
    pub fn save(&mut self) -> PathBuf {
        let saved = self.image.with_extension("saved");
        self.unmount();
        copy_sparse(&self.image, &saved);
        self.mount();
        saved
    }

    /// Puts the saved image back: everything since then is undone.
    pub fn restore(&mut self, saved: &Path) {
        self.unmount();
        copy_sparse(saved, &self.image);
        self.mount();
    }

    /// Where it is mounted.
    pub fn path(&self) -> &Path {
        &self.point
    }

    /// A new directory on it.
    pub fn dir(&self, name: &str) -> PathBuf {
        let path = self.point.join(name);
        std::fs::create_dir(&path).expect("a new directory");
        path
    }

    /// Mounts it again after `unmount`; the journal is replayed if it was shut down.
    pub fn mount(&mut self) {
        tool(Command::new("mount").args(["-o", "loop"]).arg(&self.image).arg(&self.point));
        self.mounted = true;
    }

    /// Unmounts it.
    pub fn unmount(&mut self) {
        assert!(unmount(&self.point), "{} cannot be unmounted", self.point.display());
        self.mounted = false;
    }

    /// Pulls the plug: see [`Shutdown`].
    pub fn shut_down(&self, how: Shutdown) -> std::io::Result<()> {
        raw::shutdown(File::open(&self.point)?.as_fd(), how)
    }
}

impl Drop for LoopFs {
    fn drop(&mut self) {
        if self.mounted && !unmount(&self.point) {
            eprintln!("{} stays mounted until this test's namespace ends", self.point.display());
        }
    }
}

fn copy_sparse(from: &Path, to: &Path) {
    tool(Command::new("cp").arg("--sparse=always").arg(from).arg(to));
}

/// Mounts are made in a namespace of the calling thread, from which nothing spreads.
pub fn private_mounts() {
    thread_local!(static PRIVATE: Cell<bool> = const { Cell::new(false) });
    if !PRIVATE.replace(true) {
        raw::unshare_mounts().expect("root may have a mount namespace");
        tool(Command::new("mount").args(["--make-rprivate", "/"]));
    }
}

/// Runs a tool that must succeed.
///
/// # Panics
/// With what the tool said, if it fails.
pub fn tool(command: &mut Command) {
    let output = command.stdin(Stdio::null()).output();
    let output = output.unwrap_or_else(|error| panic!("{command:?}: {error}"));
    let said = String::from_utf8_lossy(&output.stderr);
    assert!(output.status.success(), "{command:?}: {}: {said}", output.status);
}

/// A killed process may hold the mount for a moment after it was reaped.
fn unmount(point: &Path) -> bool {
    (0..50).any(|_| {
        let done = Command::new("umount").arg("-R").arg(point).stderr(Stdio::null()).status();
        let done = done.is_ok_and(|status| status.success());
        if !done {
            std::thread::sleep(Duration::from_millis(20));
        }
        done
    })
}

/// In memory if there is room for four such images, else in the directory for temporary files: flushes are frequent
/// here, and of no interest to the disk. Other users may enter: some tests act as one.
fn image_directory(mib: u64) -> tempfile::TempDir {
    let shm = PathBuf::from("/dev/shm");
    let room = rustix::fs::statvfs(&shm).map_or(0, |fs| fs.f_bavail * fs.f_frsize);
    let parent = if room > 4 * (mib << 20) { shm } else { std::env::temp_dir() };
    let made = tempfile::tempdir_in(parent).expect("a directory for an image");
    std::fs::set_permissions(made.path(), Permissions::from_mode(0o755)).expect("its own directory");
    made
}
