//! What a look at the source found, on its way to becoming the next catalog: blocks written as directories are
//! compared, hashes as files are copied, everything else at the end.

use super::format::{Draft, HASH, HEAD, Head, IndexEntry, checksum, encode_index, seal, unsettle};
use super::page::{PAGE, Page};
use super::store::Store;
use crate::tree::base::slots::Slots;
use std::collections::{BTreeSet, HashMap, HashSet};
use std::fs::{File, OpenOptions};
use std::io;
use std::os::unix::fs::{FileExt, OpenOptionsExt};
use std::path::{Path, PathBuf};
use std::sync::atomic::{AtomicU64, Ordering::Relaxed};
use std::sync::{Mutex, OnceLock};

/// The next file, while it grows under a name of its own.
#[derive(Debug)]
pub struct Recorder {
    path: PathBuf,
    file: OnceLock<File>,
    making: Mutex<()>,
    end: AtomicU64,
    index: Mutex<Vec<IndexEntry>>,
    /// Inodes of directories whose blocks were recorded once more, to take something back: the last one counts.
    amended: Mutex<BTreeSet<u64>>,
    failed: Mutex<Option<io::Error>>,
}

impl Recorder {
    /// One that writes to `path` with `.new` behind it, when there is something to write.
    pub fn new(path: &Path) -> Self {
        let mut name = path.as_os_str().to_owned();
        name.push(".new");
        Recorder {
            path: name.into(),
            file: OnceLock::new(),
            making: Mutex::default(),
            end: AtomicU64::new(PAGE as u64),
            index: Mutex::default(),
            amended: Mutex::default(),
            failed: Mutex::default(),
        }
    }
    /// Adds a directory's block. A failure is kept for `finish`: the comparison goes on without a catalog.
    pub fn record(&self, draft: &Draft, head: Head, room: &mut Vec<u8>) -> Slots {
        let head = draft.finish(head, room);
        match self.append(room) {
            Ok(offset) => {
                let entry = IndexEntry { ino: head.key.ino, offset };
                self.index.lock().expect("no thread panics while recording").push(entry);
                Slots(offset + u64::from(head.length))
            }
            Err(error) => {
                self.fail(error);
                Slots::NONE
            }
        }
    }
    /// The same of a directory that was looked at already in this run: this is what counts.
    pub fn amend(&self, draft: &Draft, head: Head, room: &mut Vec<u8>) {
        self.amended.lock().expect("no thread panics while recording").insert(head.key.ino);
        self.record(draft, head, room);
    }
    /// Enters the hash of a file that was copied.
    pub fn put_hash(&self, slot: u64, hash: &[u8; HASH]) {
        if let (true, Some(file)) = (slot != 0, self.file.get())
            && let Err(error) = file.write_all_at(hash, slot)
        {
            self.fail(error);
        }
    }
    /// Whether any directory was recorded.
    pub fn is_empty(&self) -> bool {
        self.index.lock().expect("no thread panics while recording").is_empty()
    }
    /// Bytes of what was recorded.
    pub fn size(&self) -> u64 {
        self.end.load(Relaxed) - PAGE as u64
    }
    fn fail(&self, error: io::Error) {
        self.failed.lock().expect("no thread panics while failing").get_or_insert(error);
    }
    fn append(&self, bytes: &[u8]) -> io::Result<u64> {
        let file = self.file()?;
        let offset = self.end.fetch_add(bytes.len() as u64, Relaxed);
        file.write_all_at(bytes, offset)?;
        Ok(offset)
    }
    fn file(&self) -> io::Result<&File> {
        if self.file.get().is_none() {
            let _making = self.making.lock().expect("no thread panics while making a file");
            if self.file.get().is_none() {
                let _ = self.file.set(self.make()?);
            }
        }
        self.file.get().ok_or_else(|| io::ErrorKind::NotFound.into())
    }
    fn make(&self) -> io::Result<File> {
        // What a killed run left.
        self.clear()?;
        OpenOptions::new().read(true).write(true).create_new(true).mode(0o600).open(&self.path)
    }
    fn clear(&self) -> io::Result<()> {
        match std::fs::remove_file(&self.path) {
            Err(error) if error.kind() != io::ErrorKind::NotFound => Err(error),
            _ => Ok(()),
        }
    }

    /// Completes the file: seals what was recorded, takes over what is `carried` from older files, and gives `page` its
    /// place in it. What it was called before is then `target`, on the disk.
    ///
    /// # Errors
    /// The first failure of recording, or the system's.
    pub fn finish(
        &self,
        page: Page,
        verdicts: &Verdicts,
        carried: &[Carried<'_>],
        target: &Path,
    ) -> io::Result<()> {
        let written = self.write_all(page, verdicts, carried);
        if let Err(error) = written.and_then(|()| self.put_in_place(target)) {
            let _ = self.clear();
            return Err(error);
        }
        Ok(())
    }
    fn write_all(&self, mut page: Page, verdicts: &Verdicts, carried: &[Carried<'_>]) -> io::Result<()> {
        if let Some(error) = self.failed.lock().expect("no thread panics while failing").take() {
            return Err(error);
        }
        let mut entries = self.sealed(verdicts)?;
        for one in carried {
            self.take_over(one, &mut entries)?;
        }
        let bytes = encode_index(&entries);
        let offset = self.append(&bytes)?;
        page.index = (offset, entries.len() as u64, checksum(&bytes));
        let file = self.file()?;
        file.set_len(offset + bytes.len() as u64)?;
        file.write_all_at(&page.encode()?, 0)?;
        file.sync_all()
    }
    /// The blocks of this run, sealed; sorted by inode, with those that are not to be believed as nowhere.
    fn sealed(&self, verdicts: &Verdicts) -> io::Result<Vec<IndexEntry>> {
        let mut index = std::mem::take(&mut *self.index.lock().expect("no thread panics while recording"));
        let mut room = Vec::new();
        for entry in &mut index {
            let head = self.read_whole(entry.offset, &mut room)?;
            if let Some(names) = verdicts.unsettled.get(&head.path_hash) {
                unsettle(&mut room, &head, names);
            }
            seal(&mut room, head.length as usize);
            self.file()?.write_all_at(&room[..head.length as usize], entry.offset)?;
            if verdicts.forgotten.contains(&head.path_hash) {
                entry.offset = 0;
            }
        }
        let nowhere = |ino: &u64| IndexEntry { ino: *ino, offset: 0 };
        index.extend(verdicts.astray.iter().map(nowhere));
        // One that was found at two places was renamed meanwhile: which of the mirror's two it is equal to, nothing tells.
        let amended = self.amended.lock().expect("no thread panics while recording");
        index.sort_by_key(|entry| entry.ino);
        index.dedup_by(|later, kept| {
            let is_same = later.ino == kept.ino;
            if is_same {
                kept.offset = if amended.contains(&later.ino) { later.offset } else { 0 };
            }
            is_same
        });
        let unknown = |ino: &&u64| index.binary_search_by_key(*ino, |entry| entry.ino).is_err();
        let forgotten: BTreeSet<u64> = verdicts.forgotten_inodes.iter().filter(unknown).copied().collect();
        index.extend(forgotten.iter().map(nowhere));
        index.sort_unstable();
        Ok(index)
    }
    fn read_whole(&self, offset: u64, room: &mut Vec<u8>) -> io::Result<Head> {
        let damaged = || io::Error::other("what was recorded cannot be read back");
        room.resize(HEAD, 0);
        self.file()?.read_exact_at(room, offset)?;
        let head = Head::decode(room).ok_or_else(damaged)?;
        room.resize(head.whole(), 0);
        self.file()?.read_exact_at(room, offset)?;
        Ok(head)
    }
    fn take_over(&self, carried: &Carried<'_>, index: &mut Vec<IndexEntry>) -> io::Result<()> {
        let (mut room, mut taken) = (Vec::new(), Vec::new());
        let amended = self.amended.lock().expect("no thread panics while recording");
        for (entry, is_kept) in carried.store.entries(carried.only_kept) {
            if let Ok(at) = index.binary_search_by_key(&entry.ino, |known| known.ino) {
                // Found as it was at one place, and recorded at another.
                let is_elsewhere = is_kept && !amended.contains(&entry.ino);
                index[at].offset = if is_elsewhere { 0 } else { index[at].offset };
                continue;
            }
            let offset = match entry.offset {
                0 => 0,
                at if carried.store.whole(at, &mut room)? => self.append(&room)?,
                _ => 0,
            };
            taken.push(IndexEntry { ino: entry.ino, offset });
        }
        index.extend(taken);
        index.sort_unstable();
        Ok(())
    }
    fn put_in_place(&self, target: &Path) -> io::Result<()> {
        std::fs::rename(&self.path, target)?;
        let dir = target.parent().filter(|dir| !dir.as_os_str().is_empty()).unwrap_or(Path::new("."));
        File::open(dir)?.sync_all()
    }
}

/// What is taken over from an older file: all of it, or what was found to be still so. What this run recorded itself
/// goes before.
pub struct Carried<'a> {
    pub store: &'a Store,
    pub only_kept: bool,
}

/// What the run learned about directories after they had been recorded, by the hashes of their paths.
#[derive(Debug, Default)]
pub struct Verdicts {
    /// Something in them was not brought to its end: which names.
    pub unsettled: HashMap<u64, BTreeSet<Box<[u8]>>>,
    /// Nothing of them is to be believed.
    pub forgotten: HashSet<u64>,
    /// The same by inode, for directories that this run did not record.
    pub forgotten_inodes: Vec<u64>,
    /// Inodes of directories that were found at two places, or may have been: what was recorded of them does not count.
    pub astray: BTreeSet<u64>,
}

impl Verdicts {
    /// Whether nothing that an older file says is to be forgotten.
    pub fn forget_nothing(&self) -> bool {
        self.forgotten_inodes.is_empty() && self.astray.is_empty()
    }
}
