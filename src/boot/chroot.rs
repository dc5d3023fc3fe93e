//! The primary as the mirror will be, as a system that programs can be started in: the primary's own file systems shown below
//! one directory in the run's own mount namespace, none of them writable, with the kernel's own beside them, and with the
//! mirror's settings in place of those that name the primary.
//!
//! Not the mirror's file systems: they hold the same, but somebody may have had the disk in his hands, and what is started
//! here is root. Nothing of it is seen outside, and all of it is unmounted before the mirror is. What of the running primary
//! a program could ask for as if it were its own (swap space, the kernel's command line) is hidden.

use super::files::Tree;
use crate::sys::command::{self, Said};
use crate::sys::stat::stat_fd;
use crate::sys::{dir, mount};
use anyhow::{Context, Result};
use std::fs::{DirBuilder, File, Permissions};
use std::io::{self, Write};
use std::os::fd::OwnedFd;
use std::os::unix::fs::{DirBuilderExt, PermissionsExt};
use std::path::{Path, PathBuf};
use std::time::Duration;

const UNMOUNT_TRIES: u32 = 40;
const UNMOUNT_PAUSE: Duration = Duration::from_millis(100);

/// Seconds that a program may take, and then gets to end: an image takes a minute or two on a slow machine.
const TIME_LIMIT: [&str; 2] = ["--kill-after=20", "1800"];

/// A system, ready to start programs in. Whatever is still mounted when it is dropped is taken out of sight.
#[derive(Debug)]
pub struct Chroot {
    /// Its root directory; what it shows is unmounted only after this is closed.
    root: Option<OwnedFd>,
    place: PathBuf,
    /// What is mounted, in this order.
    shown: Vec<PathBuf>,
}

impl Drop for Chroot {
    fn drop(&mut self) {
        self.root = None;
        for path in self.shown.drain(..).rev() {
            // Something has failed before, and is reported; the namespace's end unmounts it in any case.
            let _ = mount::detach(&path);
        }
        let _ = std::fs::remove_dir(&self.place);
    }
}

impl Chroot {
    /// Shows the system `primary` below `place`, a directory that is made for it, with each of `settings` (a path of the system,
    /// and a content) in place of the file there.
    ///
    /// # Errors
    /// The system's; nothing stays mounted then.
    pub fn make(primary: &Tree, settings: &[(String, Vec<u8>)], place: &Path) -> Result<Self> {
        let mut chroot = Chroot { root: None, place: place.to_owned(), shown: Vec::new() };
        chroot.fill(primary, settings).context("cannot show the primary as the mirror will be")?;
        Ok(chroot)
    }

    fn fill(&mut self, primary: &Tree, settings: &[(String, Vec<u8>)]) -> io::Result<()> {
        DirBuilder::new().recursive(true).mode(0o700).create(&self.place)?;
        let mut volumes: Vec<_> = primary.volumes().collect();
        volumes.sort_by_key(|(at, _)| at.len());
        for (at, root) in volumes {
            let copy = mount::clone_executable(root, false)?;
            match &self.root {
                Some(_) => self.show(copy, at)?,
                None => {
                    self.shown.push(mount::show(&copy, dir::open_root(&self.place)?)?);
                    self.root = Some(copy);
                }
            }
        }
        for at in ["/dev", "/proc", "/sys"] {
            self.show(mount::clone_tree(dir::open_root(Path::new(at))?)?, at)?;
        }
        for at in ["/run", "/tmp"] {
            self.show(mount::in_memory()?, at)?;
        }
        for path in ["/proc/swaps", "/proc/cmdline"] {
            self.replace(path, b"")?;
        }
        settings.iter().try_for_each(|(path, content)| self.replace(path, content))
    }

    /// Shows a mount at a path of the system.
    ///
    /// # Errors
    /// The system's.
    pub fn show(&mut self, mount: OwnedFd, path: &str) -> io::Result<()> {
        let at = self.open(path)?;
        self.shown.push(mount::show(mount, at)?);
        Ok(())
    }

    /// Shows a file with this content in place of the one at `path`, which stays as it is.
    ///
    /// # Errors
    /// The system's; `NotFound` if there is none.
    pub fn replace(&mut self, path: &str, content: &[u8]) -> io::Result<()> {
        let name = path.rsplit('/').next().unwrap_or(path);
        let file = self.write("/tmp", &format!("{}-{name}", self.shown.len()), content)?;
        // A hook that may not be executed is none.
        let mode = stat_fd(self.open(path)?)?.mode & 0o777;
        file.set_permissions(Permissions::from_mode(mode))?;
        self.show(mount::clone_executable(file, false)?, path)
    }

    /// Makes a new file in a directory of the system.
    ///
    /// # Errors
    /// The system's.
    pub fn write(&self, directory: &str, name: &str, content: &[u8]) -> io::Result<File> {
        let mut file = File::from(dir::create_file(self.open(directory)?, name.as_bytes())?.fd);
        file.write_all(content)?;
        Ok(file)
    }

    /// Whether something is at a path of the system.
    pub fn has(&self, path: &str) -> bool {
        self.open(path).is_ok()
    }

    fn open(&self, path: &str) -> io::Result<OwnedFd> {
        let root = self.root.as_ref().ok_or(io::ErrorKind::NotFound)?;
        mount::open_inside(root, path)
    }

    /// Starts a program in it, in a clean environment, with a limit of time, and waits.
    ///
    /// # Errors
    /// Those of starting it; its own failure is in what it said.
    pub fn run(&self, program: &[&str]) -> Result<Said> {
        let place = self.place.to_str().context("the runtime directory's name is no text")?;
        let args = [&TIME_LIMIT[..], &["chroot", place], program].concat();
        command::ask_at_length("timeout", &args, b"").context("cannot run chroot by timeout")
    }

    /// Unmounts it all.
    ///
    /// # Errors
    /// If something in it stays busy.
    pub fn close(mut self) -> Result<()> {
        self.root = None;
        while let Some(path) = self.shown.last() {
            unmount(path).with_context(|| format!("cannot unmount {}", path.display()))?;
            self.shown.pop();
        }
        Ok(())
    }
}

fn unmount(path: &Path) -> io::Result<()> {
    for _ in 0..UNMOUNT_TRIES {
        match mount::unmount_at(path) {
            Err(error) if error.raw_os_error() == Some(libc::EBUSY) => std::thread::sleep(UNMOUNT_PAUSE),
            other => return other,
        }
    }
    mount::unmount_at(path)
}
