//! A list of changes that may outgrow memory: beyond 4 MiB it goes to a file without a name, beside the catalog if there
//! is one, for there is the state that a run may write; else, or where no room is left there, in the temporary directory.

use crate::sys::dir::nameless_file;
use crate::tree::base::fault::Error;
use crate::tree::changes::change::DirChange;
use crate::tree::changes::recent::RecentPaths;
use std::fs::File;
use std::io::{self, Read, Seek, SeekFrom, Write};
use std::path::{Path, PathBuf};

/// What is held in memory before it is written out.
const HELD_BYTES: usize = 4 << 20;
/// A directory with more changes takes several records, so that none costs much memory.
pub(in crate::tree) const RECORD_CHANGES: usize = 4096;

/// The last refresh of a server whose disk has become read-only finds nothing to write to but these.
const LAST_RESORTS: [&str; 3] = ["/run", "/dev/shm", "/var/tmp"];

/// Changes in the order in which they were pushed.
#[derive(Debug, Default)]
pub(in crate::tree) struct Spool {
    held: Vec<u8>,
    records: usize,
    /// Where files may be, the best place last.
    places: Vec<PathBuf>,
    /// Where they are if none of these can be written, the best last.
    last_resorts: Vec<PathBuf>,
    /// One after another: what the first had no room for is in the next.
    files: Vec<File>,
    paths: RecentPaths,
}

impl Spool {
    /// An empty list; its files go to the directory `beside`, if one is named and has room.
    pub fn new(beside: Option<&Path>) -> Self {
        let here = |dir: &Path| if dir.as_os_str().is_empty() { ".".into() } else { dir.to_owned() };
        let places = [std::env::temp_dir()].into_iter().chain(beside.map(here)).collect();
        Spool { last_resorts: LAST_RESORTS.map(PathBuf::from).to_vec(), ..Spool::within(places) }
    }
    fn within(places: Vec<PathBuf>) -> Self {
        Spool { places, ..Spool::default() }
    }
    /// Adds the changes of one directory.
    pub fn push(&mut self, change: &DirChange) -> io::Result<()> {
        for part in change.parts(RECORD_CHANGES) {
            self.record(|paths, out| change.encode(&part, paths, out))?;
        }
        Ok(())
    }
    fn record(&mut self, encode: impl FnOnce(&mut RecentPaths, &mut Vec<u8>)) -> io::Result<()> {
        self.records += 1;
        let start = self.held.len();
        self.held.extend([0; 4]);
        encode(&mut self.paths, &mut self.held);
        let length = (self.held.len() - start - 4) as u32;
        self.held[start..start + 4].copy_from_slice(&length.to_le_bytes());
        if self.held.len() >= HELD_BYTES { self.write_out() } else { Ok(()) }
    }
    /// How many there are.
    pub fn len(&self) -> usize {
        self.records
    }
    fn write_out(&mut self) -> io::Result<()> {
        if let Some(file) = self.files.last_mut() {
            match append(file, &self.held) {
                Err(error) if is_no_room(&error) => {}
                other => return other.map(|()| self.held.clear()),
            }
        }
        let mut failed = NoRoom { place: std::env::temp_dir(), error: io::ErrorKind::StorageFull.into() };
        while let Some(place) = self.places.pop() {
            match nameless_file(&place).and_then(|mut file| append(&mut file, &self.held).map(|()| file)) {
                Ok(file) => {
                    self.files.push(file);
                    self.held.clear();
                    return Ok(());
                }
                Err(error) => {
                    // A list that outgrows a disk is not for memory.
                    if !is_no_room(&error) && self.places.is_empty() {
                        self.places.append(&mut self.last_resorts);
                    }
                    failed = NoRoom { place, error };
                }
            }
        }
        Err(io::Error::other(failed))
    }
    /// Reads all from the start, one at a time.
    pub fn replay(&mut self) -> io::Result<Replay<'_>> {
        let mut from: Box<dyn Read + Send + '_> = Box::new(io::empty());
        for file in &mut self.files {
            file.seek(SeekFrom::Start(0))?;
            from = Box::new(from.chain(io::BufReader::with_capacity(1 << 20, file)));
        }
        Ok(Replay { from: Box::new(from.chain(&self.held[..])), paths: RecentPaths::default() })
    }
}

/// Writes all of it at the end of the file, or nothing.
fn append(file: &mut File, bytes: &[u8]) -> io::Result<()> {
    let end = file.seek(SeekFrom::End(0))?;
    file.write_all(bytes).or_else(|error| file.set_len(end).and(Err(error)))
}

fn is_no_room(error: &io::Error) -> bool {
    matches!(error.raw_os_error(), Some(libc::ENOSPC | libc::EDQUOT))
}

/// The list can be kept nowhere.
#[derive(Debug, thiserror::Error)]
#[error("the list of changes found no room in {}: {error}", place.display())]
struct NoRoom {
    place: PathBuf,
    error: io::Error,
}

impl Error {
    /// Where the list of changes found no room, if that is what ended the work: nothing was written by then.
    pub fn no_room_for_list(&self) -> Option<&Path> {
        let Error::Io { error, .. } = self else { return None };
        let no_room: &NoRoom = error.get_ref()?.downcast_ref()?;
        Some(&no_room.place)
    }
}

/// The changes of a spool, one after another.
pub(in crate::tree) struct Replay<'a> {
    from: Box<dyn Read + Send + 'a>,
    paths: RecentPaths,
}

impl Iterator for Replay<'_> {
    type Item = io::Result<DirChange>;

    fn next(&mut self) -> Option<io::Result<DirChange>> {
        let mut length = [0; 4];
        match self.from.read_exact(&mut length) {
            Ok(()) => Some(self.record(u32::from_le_bytes(length) as usize)),
            Err(error) if error.kind() == io::ErrorKind::UnexpectedEof => None,
            Err(error) => Some(Err(error)),
        }
    }
}

impl Replay<'_> {
    fn record(&mut self, length: usize) -> io::Result<DirChange> {
        let mut bytes = vec![0; length];
        self.from.read_exact(&mut bytes)?;
        DirChange::decode(&bytes, &mut self.paths)
            .ok_or_else(|| io::Error::other("the list of changes is damaged"))
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::sys::stat::Kind;
    use crate::tree::base::relpath::RelPath;
    use crate::tree::changes::change::{Aspects, Change, How};

    fn numbered(n: u32) -> DirChange {
        let path = RelPath::from_bytes(format!("{n:0>4000}"));
        DirChange { own: Aspects::MODE, ..DirChange::new(path, 0) }
    }

    fn spool() -> Spool {
        Spool::within(vec![std::env::temp_dir()])
    }

    #[test]
    fn a_list_larger_than_memory_is_read_back_in_order_and_more_than_once() {
        let mut spool = spool();
        for n in 0..5000 {
            spool.push(&numbered(n)).expect("push");
        }
        assert_eq!((spool.files.len(), spool.held.is_empty()), (1, false), "it has outgrown memory");
        for _ in 0..2 {
            let read: Vec<_> = spool.replay().expect("replay").map(|change| change.expect("whole")).collect();
            assert_eq!(read.len(), 5000);
            assert!(read.iter().zip(0..).all(|(change, n)| *change == numbered(n)));
        }
    }

    #[test]
    fn chains_of_thousands_of_directories_take_a_line_for_each_however_threads_alternate() {
        let mut spool = spool();
        let mut dirs: Vec<RelPath> = (0..8u8).map(|n| RelPath::root().join(&[b'a' + n])).collect();
        let mut pushed = Vec::new();
        for level in 0..300 {
            for dir in &mut dirs {
                *dir = dir.join(&[b'd'; 250]);
                let change = DirChange { path: dir.clone(), ino: level, ..numbered(0) };
                spool.push(&change).expect("push");
                pushed.push(change);
            }
        }
        assert!(spool.files.is_empty() && spool.held.len() < 2400 * 300, "{} bytes", spool.held.len());
        let read: Vec<_> = spool.replay().expect("replay").map(|change| change.expect("whole")).collect();
        assert!(read == pushed);
    }

    #[test]
    fn a_directory_with_many_changes_is_read_back_in_parts() {
        let change = |n: u64| Change {
            name: n.to_string().into_bytes().into(),
            how: How::Rename { from: RelPath::from_bytes(format!("old/{n}")) },
            kind: Kind::File,
            over: None,
            aspects: Aspects::NONE,
            ino: n,
            ctime: Default::default(),
            leads: None,
            size: n,
            slot: 0,
        };
        let changes: Vec<Change> = (0..10_000).map(change).collect();
        let (path, own) = (RelPath::from_bytes("dir"), Aspects::MTIME);
        let mut spool = spool();
        let updated = DirChange { own, changes: changes.clone(), ..DirChange::new(path.clone(), 7) };
        spool.push(&updated).expect("push");
        let read: Vec<_> = spool.replay().expect("replay").map(|part| part.expect("whole")).collect();
        assert!(read.iter().all(|part| part.changes.len() <= RECORD_CHANGES && part.path == path));
        let owns: Vec<Aspects> = read.iter().map(|part| part.own).collect();
        assert_eq!(owns, [Aspects::NONE, Aspects::NONE, own], "its own metadata come last");
        assert!(read.into_iter().flat_map(|part| part.changes).eq(changes));
    }

    #[test]
    fn a_place_that_cannot_be_written_is_passed_over_and_the_last_one_is_named() {
        let nowhere = PathBuf::from("/nonexistent");
        let fill = |mut spool: Spool| (0..5000).try_for_each(|n| spool.push(&numbered(n)));
        fill(Spool::within(vec![std::env::temp_dir(), nowhere.clone()])).expect("the second place");
        let error = fill(Spool::within(vec![nowhere])).expect_err("there is no place");
        assert!(error.to_string().contains("found no room in /nonexistent: "), "{error}");
    }
}
