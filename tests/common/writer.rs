//! Who does not hold still: seeded random changes of one tree, by as many threads as there are writers. What another of them
//! has taken away meanwhile is no error.

use super::rng::Rng;
use rustix::fs::{AtFlags, CWD, Mode, OFlags, RenameFlags, XattrFlags};
use std::fs::{self, OpenOptions, Permissions};
use std::io;
use std::os::fd::AsRawFd;
use std::os::unix::fs::{FileExt, OpenOptionsExt, PermissionsExt, lchown, symlink};
use std::path::{Path, PathBuf};
use std::process::{Command, Stdio};
use std::time::Duration;

/// A directory that holds so many entries gets no more.
const CROWDED: usize = 9;
/// Nothing is done deeper than this.
const DEEPEST: u64 = 5;
/// A breath is taken once in so many changes.
const BREATH: u64 = 12;

/// One of them.
pub struct Writer {
    root: PathBuf,
    rng: Rng,
    made: u64,
}

type Act = fn(&mut Writer) -> io::Result<()>;

/// What comes more than once is done more often.
const ACTS: [Act; 26] = [
    Writer::create,
    Writer::create,
    Writer::create,
    Writer::create_directory,
    Writer::create_directory,
    Writer::overwrite,
    Writer::overwrite,
    Writer::overwrite,
    Writer::replace,
    Writer::replace,
    Writer::truncate,
    Writer::chmod,
    Writer::chown,
    Writer::set_times,
    Writer::set_attribute,
    Writer::link_symbolically,
    Writer::link,
    Writer::link,
    Writer::link_unnamed,
    Writer::remove,
    Writer::remove,
    Writer::rename,
    Writer::rename,
    Writer::rename_over,
    Writer::exchange,
    Writer::copy,
];

impl Writer {
    /// In the tree below `root`.
    pub fn new(root: &Path, seed: u64) -> Self {
        Writer { root: root.to_owned(), rng: Rng::new(seed), made: 0 }
    }

    /// Changes something, if it is there still.
    pub fn step(&mut self) {
        let act = *self.rng.pick(&ACTS);
        // Another writer was there before, or there is nothing of the kind.
        let _ = act(self);
        if self.rng.once_in(BREATH) {
            std::thread::sleep(Duration::from_micros(self.rng.below(8000)));
        }
    }

    fn directory(&mut self) -> PathBuf {
        let mut here = self.root.clone();
        for _ in 0..self.rng.below(DEEPEST + 1) {
            let mut below = names(&here);
            below.retain(|path| is_dir(path));
            if below.is_empty() {
                break;
            }
            here = self.rng.pick(&below).clone();
        }
        here
    }
    fn entry(&mut self) -> io::Result<PathBuf> {
        let all = names(&self.directory());
        if all.is_empty() { Err(io::ErrorKind::NotFound.into()) } else { Ok(self.rng.pick(&all).clone()) }
    }
    fn file(&mut self) -> io::Result<PathBuf> {
        let path = self.entry()?;
        let is_file = path.symlink_metadata()?.is_file();
        if is_file { Ok(path) } else { Err(io::ErrorKind::InvalidInput.into()) }
    }
    /// A name that may be taken: a few names come again and again.
    fn name(&mut self) -> io::Result<PathBuf> {
        let directory = self.directory();
        if names(&directory).len() >= CROWDED {
            return Err(io::ErrorKind::QuotaExceeded.into());
        }
        self.made += 1;
        let name = match self.rng.once_in(3) {
            true => format!("{}-{}", self.rng.below(1 << 30), self.made),
            false => (*self.rng.pick(&["a", "b", "c", "d", "e", "f", "g", "h"])).to_owned(),
        };
        Ok(directory.join(name))
    }
    fn content(&mut self, most: u64) -> Vec<u8> {
        let length = self.rng.below(most) as usize;
        self.rng.bytes(length)
    }

    fn create(&mut self) -> io::Result<()> {
        let (path, content) = (self.name()?, self.content(9000));
        let file = OpenOptions::new().write(true).create_new(true).open(path)?;
        file.write_all_at(&content, 0)
    }
    fn create_directory(&mut self) -> io::Result<()> {
        fs::create_dir(self.name()?)
    }
    fn overwrite(&mut self) -> io::Result<()> {
        let (path, content) = (self.file()?, self.content(3000));
        let at = self.rng.below(5000);
        let file = OpenOptions::new().write(true).custom_flags(libc::O_NOFOLLOW).open(path)?;
        file.write_all_at(&content, at)
    }
    /// As an editor does: a new file takes the name.
    fn replace(&mut self) -> io::Result<()> {
        let (path, content) = (self.file()?, self.content(9000));
        self.made += 1;
        let new = path.with_file_name(format!(".new-{}-{}", self.rng.below(1 << 30), self.made));
        fs::write(&new, content)?;
        fs::rename(&new, path)
    }
    fn truncate(&mut self) -> io::Result<()> {
        let (path, length) = (self.file()?, self.rng.below(8000));
        OpenOptions::new().write(true).open(path)?.set_len(length)
    }
    fn chmod(&mut self) -> io::Result<()> {
        let path = self.entry()?;
        if path.symlink_metadata()?.is_symlink() {
            return Ok(());
        }
        let mode = *self.rng.pick(&[0o600, 0o644, 0o755, 0o750]);
        fs::set_permissions(path, Permissions::from_mode(mode))
    }
    fn chown(&mut self) -> io::Result<()> {
        let (user, group) = (self.rng.below(1000) as u32, self.rng.below(10) as u32);
        lchown(self.entry()?, Some(user), Some(group))
    }
    fn set_times(&mut self) -> io::Result<()> {
        let time = rustix::fs::Timespec {
            tv_sec: self.rng.below(2_000_000_000) as i64,
            tv_nsec: self.rng.below(1_000_000_000) as i64,
        };
        let times = rustix::fs::Timestamps { last_access: time, last_modification: time };
        Ok(rustix::fs::utimensat(CWD, self.entry()?, &times, AtFlags::SYMLINK_NOFOLLOW)?)
    }
    fn set_attribute(&mut self) -> io::Result<()> {
        let (path, value) = (self.entry()?, self.content(60));
        Ok(rustix::fs::lsetxattr(path, "user.written", &value, XattrFlags::empty())?)
    }
    fn link_symbolically(&mut self) -> io::Result<()> {
        symlink(format!("target-{}", self.rng.below(50)), self.name()?)
    }
    fn link(&mut self) -> io::Result<()> {
        fs::hard_link(self.file()?, self.name()?)
    }
    /// A file that has its first name when it is complete.
    fn link_unnamed(&mut self) -> io::Result<()> {
        let (path, content) = (self.name()?, self.content(9000));
        let parent = path.parent().expect("it lies in a directory").to_owned();
        let mode = Mode::from_raw_mode(0o640);
        let file = rustix::fs::open(parent, OFlags::TMPFILE | OFlags::RDWR | OFlags::CLOEXEC, mode)?;
        let file = fs::File::from(file);
        file.write_all_at(&content, 0)?;
        let unnamed = format!("/proc/self/fd/{}", file.as_raw_fd());
        Ok(rustix::fs::linkat(CWD, unnamed, CWD, path, AtFlags::SYMLINK_FOLLOW)?)
    }
    fn remove(&mut self) -> io::Result<()> {
        let path = self.entry()?;
        if is_dir(&path) { fs::remove_dir(path) } else { fs::remove_file(path) }
    }
    fn rename(&mut self) -> io::Result<()> {
        let (from, to) = (self.entry()?, self.name()?);
        Ok(rustix::fs::renameat_with(CWD, from, CWD, to, RenameFlags::NOREPLACE)?)
    }
    fn rename_over(&mut self) -> io::Result<()> {
        fs::rename(self.entry()?, self.entry()?)
    }
    fn exchange(&mut self) -> io::Result<()> {
        Ok(rustix::fs::renameat_with(CWD, self.entry()?, CWD, self.entry()?, RenameFlags::EXCHANGE)?)
    }
    fn copy(&mut self) -> io::Result<()> {
        // It starts a process: not too often.
        if !self.rng.once_in(8) {
            return Ok(());
        }
        let (from, to) = (self.entry()?, self.name()?);
        Command::new("cp").arg("-aT").arg(from).arg(to).stderr(Stdio::null()).status().map(drop)
    }
}

fn is_dir(path: &Path) -> bool {
    path.symlink_metadata().is_ok_and(|meta| meta.is_dir())
}

fn names(directory: &Path) -> Vec<PathBuf> {
    let Ok(listing) = fs::read_dir(directory) else { return Vec::new() };
    let mut found: Vec<PathBuf> = listing.filter_map(|entry| Some(entry.ok()?.path())).collect();
    found.sort();
    found
}
