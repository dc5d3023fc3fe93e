//! What is known of the mirror's large files: a hash of each block, so that of a file which changes a little only the source
//! is read, and only what differs is written.
//!
//! A map is kept by the source's inode, and names the very inode of the mirror, size and time whose content it describes; so
//! neither path nor name matters. It is used only while the catalog beside it is believed, which is to say that nobody but
//! the engine wrote to the mirror; and whatever that did since is in a newer map, or there is none. With a catalog that is
//! not believed go all maps of it.

mod block;
mod hashing;
mod map;

pub use block::BLOCK;
pub use hashing::Hashing;
pub use map::{Inode, MapReader, MapWriter};

use crate::sys::stat::Stat;
use map::Head;
use std::collections::HashSet;
use std::ffi::OsString;
use std::fs::{DirBuilder, File, OpenOptions};
use std::io;
use std::os::unix::fs::{DirBuilderExt, OpenOptionsExt};
use std::path::{Path, PathBuf};
use std::sync::Mutex;

/// The end of the name under which a map is written.
const NEW: &str = ".new";

/// The maps beside a catalog, while two trees are compared.
#[derive(Debug)]
pub struct Blocks {
    dir: PathBuf,
    /// Files of so many bytes and more have one.
    from: u64,
    /// Whether what is there is believed.
    believed: bool,
    /// Names of the maps that were there, and of which the files are …
    known: HashSet<String>,
    /// … those of them whose files the source still has …
    seen: Mutex<HashSet<String>>,
    /// … those that say nothing any more …
    stale: Mutex<HashSet<String>>,
    /// … and those that were written.
    ready: Mutex<HashSet<String>>,
}

/// Where the maps of the catalog `path` are.
fn beside(path: &Path) -> PathBuf {
    let mut name: OsString = path.as_os_str().to_owned();
    name.push(".blocks");
    name.into()
}

fn name_of(inode: Inode) -> String {
    format!("{:x}-{:x}-{:x}", inode.ino, inode.btime.secs, inode.btime.nanos)
}

impl Blocks {
    /// Those of the catalog `path`. Of what was left half written nothing stays.
    ///
    /// # Errors
    /// The system's.
    pub fn open(path: &Path, from: u64, believed: bool) -> io::Result<Blocks> {
        let dir = beside(path);
        let mut known = HashSet::new();
        match std::fs::read_dir(&dir) {
            Ok(entries) => {
                for entry in entries {
                    let name = entry?.file_name().to_string_lossy().into_owned();
                    if name.ends_with(NEW) {
                        std::fs::remove_file(dir.join(&name))?;
                    } else {
                        known.insert(name);
                    }
                }
            }
            Err(error) if error.kind() == io::ErrorKind::NotFound => {}
            Err(error) => return Err(error),
        }
        let sets = Mutex::default;
        Ok(Blocks {
            dir,
            from: from.max(2 * BLOCK),
            believed,
            known,
            seen: sets(),
            stale: sets(),
            ready: sets(),
        })
    }
    /// Whether files of this size have a map.
    pub fn concern(&self, size: u64) -> bool {
        size >= self.from
    }
    /// Notes that the source has this file.
    pub fn saw(&self, source: &Stat) {
        if let Some(name) = self.known_of(source) {
            self.seen.lock().expect("no thread panics while noting").insert(name);
        }
    }
    /// Notes that what is known of a file is true no longer.
    pub fn forget(&self, source: &Stat) {
        if let Some(name) = self.known_of(source) {
            self.stale.lock().expect("no thread panics while noting").insert(name);
        }
    }
    fn known_of(&self, source: &Stat) -> Option<String> {
        if self.known.is_empty() {
            return None;
        }
        Inode::of(source).map(name_of).filter(|name| self.known.contains(name))
    }
    /// The map of the mirror's file, if there is one, of what it is now.
    pub fn reader(&self, source: &Stat, mirror: &Stat) -> Option<MapReader> {
        let name = self.known_of(source).filter(|_| self.believed)?;
        let flags = libc::O_NOFOLLOW | libc::O_NONBLOCK;
        let file = OpenOptions::new().read(true).custom_flags(flags).open(self.dir.join(name)).ok()?;
        let (head, map) = MapReader::open(file)?;
        (head == head_of(source, mirror)?).then_some(map)
    }
    /// A map to be written of the copy of `source`; none where none can be.
    pub fn writer(&self, source: &Stat) -> Option<MapWriter> {
        let path = self.dir.join(name_of(Inode::of(source)?) + NEW);
        let made = DirBuilder::new().recursive(true).mode(0o700).create(&self.dir);
        // What an earlier try wrote may still be read.
        let _ = std::fs::remove_file(&path);
        let open = || OpenOptions::new().read(true).write(true).create_new(true).mode(0o600).open(&path);
        made.and_then(|()| open()).ok().map(MapWriter::new)
    }
    /// Has the map of the copy `mirror` on the disk, for `commit`; one that cannot be written is none.
    pub fn keep(&self, source: &Stat, mirror: &Stat, map: MapWriter) {
        let kept = head_of(source, mirror).and_then(|head| {
            map.seal(&head).ok()?;
            Some(name_of(head.source))
        });
        match kept {
            Some(name) => drop(self.ready.lock().expect("no thread panics while noting").insert(name)),
            None => self.forget(source),
        }
    }
    /// Puts what was written in its place and takes away what is true no longer. Comes when the mirror is flushed, and before
    /// the catalog that makes it believed: until then the one that is there is not.
    ///
    /// # Errors
    /// The system's: the catalog must then not be committed.
    pub fn commit(&self) -> io::Result<()> {
        let [seen, stale, ready] = [&self.seen, &self.stale, &self.ready]
            .map(|set| std::mem::take(&mut *set.lock().expect("no thread panics while noting")));
        let is_true = |name: &&String| self.believed && seen.contains(*name) && !stale.contains(*name);
        let untrue: Vec<&String> =
            self.known.iter().filter(|name| !is_true(name) && !ready.contains(*name)).collect();
        self.remove(untrue.iter().copied())?;
        for name in &ready {
            std::fs::rename(self.dir.join(name.clone() + NEW), self.dir.join(name))?;
        }
        if !untrue.is_empty() || !ready.is_empty() {
            File::open(&self.dir)?.sync_all()?;
        }
        Ok(())
    }
    /// Takes away what is true no longer; nothing else changes, and the catalog that is there goes on being believed.
    ///
    /// # Errors
    /// The system's.
    pub fn commit_doubts(&self) -> io::Result<()> {
        let stale = std::mem::take(&mut *self.stale.lock().expect("no thread panics while noting"));
        if stale.is_empty() {
            return Ok(());
        }
        self.remove(stale.iter())?;
        File::open(&self.dir)?.sync_all()
    }
    fn remove<'a>(&self, names: impl Iterator<Item = &'a String>) -> io::Result<()> {
        for name in names {
            match std::fs::remove_file(self.dir.join(name)) {
                Err(error) if error.kind() != io::ErrorKind::NotFound => return Err(error),
                _ => {}
            }
        }
        Ok(())
    }
}

/// What the head of the map of `mirror`, as a copy of `source`, says; none where inodes cannot be told apart.
fn head_of(source: &Stat, mirror: &Stat) -> Option<Head> {
    let (source, inode) = (Inode::of(source)?, Inode::of(mirror)?);
    Some(Head { source, mirror: inode, size: mirror.size, mtime: mirror.mtime })
}
