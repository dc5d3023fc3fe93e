//! Trees that are the same on every machine: what entry number N is follows from its number alone.

use super::rng::Rng;
use anyhow::Context;
use rustix::fs::{AtFlags, Timespec, Timestamps, XattrFlags};
use std::fs::{self, File, OpenOptions};
use std::io::Write;
use std::os::unix::fs::{FileExt, OpenOptionsExt};
use std::path::{Path, PathBuf};

/// The largest of the small files.
const SMALL_BYTES: u64 = 8192;
/// Modification times begin here (2024-01-01) and are a second and some nanoseconds apart.
const EPOCH: i64 = 1_704_067_200;
/// Directories below a directory.
const FAN_OUT: u64 = 12;
const BLOCK: u64 = 4096;
const MIB: u64 = 1 << 20;

/// Many entries in many directories.
#[derive(Debug, Clone)]
pub struct Many {
    /// All entries, the root and directories among them.
    pub entries: u64,
    /// Directories, the root among them.
    pub dirs: u64,
    /// Whether files have content.
    pub content: bool,
    /// One file in so many is another name of an earlier one.
    pub link_once_in: u64,
    /// One in so many is a symbolic link, and one in so many has an extended attribute; 0 is none.
    pub special_once_in: u64,
}

/// What an entry is.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Kind {
    File,
    FileWithXattr,
    Symlink,
    /// Another name of this file.
    Name(u64),
}

impl Many {
    /// Below the directory `root`, which exists.
    ///
    /// # Errors
    /// The system's.
    pub fn plant(&self, root: &Path) -> anyhow::Result<()> {
        for dir in 1..self.dirs {
            let path = root.join(self.dir(dir));
            fs::create_dir(&path).with_context(|| format!("creating {}", path.display()))?;
        }
        let mut content = vec![0; SMALL_BYTES as usize];
        for file in 0..self.files() {
            let path = root.join(self.path(file));
            self.make(file, root, &path, &mut content)
                .with_context(|| format!("creating {}", path.display()))?;
        }
        // Making entries has set the times of directories; children before parents is not needed, for that sets none.
        (0..self.dirs).try_for_each(|dir| set_mtime(&root.join(self.dir(dir)), dir))
    }
    /// Writes other content to one file in a thousand: those that `round` chooses. How many these were.
    ///
    /// # Errors
    /// The system's.
    pub fn change(&self, root: &Path, round: u64) -> anyhow::Result<u64> {
        let mut content = vec![0; SMALL_BYTES as usize];
        let mut changed = 0;
        for place in (0..self.files()).step_by(1000) {
            let file = self.regular((place + round * 17) % self.files());
            let path = root.join(self.path(file));
            let bytes = self.bytes(file, round + 1, &mut content);
            fs::write(&path, bytes).with_context(|| format!("changing {}", path.display()))?;
            changed += 1;
        }
        Ok(changed)
    }
    fn files(&self) -> u64 {
        self.entries.saturating_sub(self.dirs).max(1)
    }
    fn make(&self, file: u64, root: &Path, path: &Path, content: &mut [u8]) -> anyhow::Result<()> {
        let kind = self.kind(file);
        match kind {
            Kind::Name(other) => return Ok(fs::hard_link(root.join(self.path(other)), path)?),
            Kind::Symlink => std::os::unix::fs::symlink(format!("../target-of-{file}"), path)?,
            Kind::File | Kind::FileWithXattr => {
                let mode = [0o644, 0o600, 0o755, 0o640][(file % 4) as usize];
                let mut made = OpenOptions::new().write(true).create_new(true).mode(mode).open(path)?;
                made.write_all(self.bytes(file, 0, content))?;
            }
        }
        if kind == Kind::FileWithXattr {
            let value = format!("of file {file}");
            rustix::fs::setxattr(path, "user.diskmirror.bench", value.as_bytes(), XattrFlags::empty())?;
        }
        set_mtime(path, file)
    }
    /// What a file holds after it was changed so many times.
    fn bytes<'a>(&self, file: u64, version: u64, content: &'a mut [u8]) -> &'a [u8] {
        if !self.content {
            return &[];
        }
        let mut rng = Rng::new(file ^ (version << 40));
        let length = rng.below(SMALL_BYTES + 1) as usize;
        rng.fill(&mut content[..length]);
        &content[..length]
    }
    fn kind(&self, file: u64) -> Kind {
        if file == 0 {
            return Kind::File;
        }
        let mut rng = Rng::new(file | 1 << 62);
        if rng.below(self.link_once_in) == 0 {
            return Kind::Name(self.regular(rng.below(file)));
        }
        match self.special_once_in {
            0 => Kind::File,
            once_in => match rng.below(once_in) {
                0 => Kind::Symlink,
                1 => Kind::FileWithXattr,
                _ => Kind::File,
            },
        }
    }
    /// The last file with content at or before this one; the first of all is one.
    fn regular(&self, file: u64) -> u64 {
        let is_regular = |file: &u64| matches!(self.kind(*file), Kind::File | Kind::FileWithXattr);
        (0..=file).rev().find(is_regular).unwrap_or(0)
    }
    /// Files are spread evenly, one directory after another.
    fn path(&self, file: u64) -> PathBuf {
        let dir = (u128::from(file) * u128::from(self.dirs) / u128::from(self.files())) as u64;
        self.dir(dir).join(format!("file-{file:07}"))
    }
    /// Directory 0 is the root; the parent of each has a smaller number.
    fn dir(&self, dir: u64) -> PathBuf {
        if dir == 0 { PathBuf::new() } else { self.dir((dir - 1) / FAN_OUT).join(format!("dir-{dir:05}")) }
    }
}

fn set_mtime(path: &Path, number: u64) -> anyhow::Result<()> {
    let nanoseconds = (number * 1_234_567 % 1_000_000_000) as i64;
    let time = Timespec { tv_sec: EPOCH + (number % 50_000_000) as i64, tv_nsec: nanoseconds };
    let times = Timestamps { last_access: time, last_modification: time };
    rustix::fs::utimensat(rustix::fs::CWD, path, &times, AtFlags::SYMLINK_NOFOLLOW)
        .with_context(|| format!("setting the times of {}", path.display()))
}

/// One large file of `length` bytes, of which `data` hold something; the rest are holes, spread evenly.
///
/// # Errors
/// The system's.
pub fn large_file(path: &Path, length: u64, data: u64) -> anyhow::Result<()> {
    let file = File::create_new(path).with_context(|| format!("creating {}", path.display()))?;
    file.set_len(length)?;
    let mut rng = Rng::new(length ^ data);
    let pieces = data.div_ceil(MIB).max(1);
    let stride = (length / pieces).max(1);
    let mut piece = vec![0; MIB as usize];
    for n in 0..pieces {
        let here = MIB.min(data - n * MIB) as usize;
        rng.fill(&mut piece[..here]);
        // Holes end where blocks do.
        let at = if length == data { n * MIB } else { n * stride / BLOCK * BLOCK };
        file.write_all_at(&piece[..here], at).with_context(|| format!("writing {}", path.display()))?;
    }
    drop(file);
    set_mtime(path, 1)
}

/// Writes other content to one block of 4 KiB of a file of `length` bytes; to which, `round` says.
///
/// # Errors
/// The system's.
pub fn change_large_file(path: &Path, length: u64, round: u64) -> anyhow::Result<()> {
    let mut rng = Rng::new(round);
    let at = rng.below(length / BLOCK) * BLOCK;
    let mut block = vec![0; BLOCK as usize];
    rng.fill(&mut block);
    let file = OpenOptions::new().write(true).open(path);
    file.and_then(|file| file.write_all_at(&block, at))
        .with_context(|| format!("changing {}", path.display()))
}

#[cfg(test)]
mod tests {
    use super::{Many, change_large_file, large_file};
    use crate::harness::check;
    use std::os::unix::fs::MetadataExt;

    fn few() -> Many {
        Many { entries: 600, dirs: 20, content: true, link_once_in: 20, special_once_in: 20 }
    }

    #[test]
    fn the_same_tree_is_planted_twice_and_changes_alike() {
        let (a, b) = (tempfile::tempdir().expect("a directory"), tempfile::tempdir().expect("a directory"));
        for root in [a.path(), b.path()] {
            few().plant(root).expect("planted");
            let changed = few().change(root, 3).expect("changed");
            assert_eq!(changed, 1);
        }
        let all = std::process::Command::new("find").arg(a.path()).output().expect("find");
        assert_eq!(String::from_utf8_lossy(&all.stdout).lines().count(), 600);
        // But for the time of the change.
        let differing = check::differences(a.path(), b.path()).expect("rsync can be run").unwrap_or_default();
        assert!(!differing.contains(", "), "{differing}");
    }

    #[test]
    fn a_sparse_file_takes_the_room_of_its_data() {
        let dir = tempfile::tempdir_in(env!("CARGO_TARGET_TMPDIR")).expect("a directory");
        let path = dir.path().join("sparse");
        large_file(&path, 32 << 20, 4 << 20).expect("written");
        let meta = path.metadata().expect("there");
        assert_eq!(meta.len(), 32 << 20);
        assert!((4 << 20..8 << 20).contains(&(meta.blocks() * 512)), "{}", meta.blocks());
        let before = std::fs::read(&path).expect("read");
        change_large_file(&path, 32 << 20, 1).expect("changed");
        let after = std::fs::read(&path).expect("read");
        let changed = before.chunks(4096).zip(after.chunks(4096)).filter(|(before, after)| before != after);
        assert_eq!((after.len(), changed.count()), (32 << 20, 1));
    }
}
