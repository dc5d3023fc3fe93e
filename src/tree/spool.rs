//! A list of changes that may outgrow memory: beyond 16 MiB it goes to a file without a name.

use super::change::DirChange;
use std::fs::File;
use std::io::{self, Read, Seek, SeekFrom, Write};

/// What is held in memory before it is written out.
const HELD_BYTES: usize = 16 << 20;

/// Changes in the order in which they were pushed.
#[derive(Debug, Default)]
pub(super) struct Spool {
    held: Vec<u8>,
    file: Option<File>,
}

impl Spool {
    /// Adds one.
    pub fn push(&mut self, change: &DirChange) -> io::Result<()> {
        let start = self.held.len();
        self.held.extend([0; 4]);
        change.encode(&mut self.held);
        let length = (self.held.len() - start - 4) as u32;
        self.held[start..start + 4].copy_from_slice(&length.to_le_bytes());
        if self.held.len() >= HELD_BYTES {
            self.write_out()?;
        }
        Ok(())
    }
    fn write_out(&mut self) -> io::Result<()> {
        let file = match &mut self.file {
            Some(file) => file,
            none => none.insert(somewhere()?),
        };
        file.write_all(&self.held)?;
        self.held.clear();
        Ok(())
    }
    /// Reads all from the start, one at a time.
    pub fn replay(&mut self) -> io::Result<Replay<'_>> {
        if self.file.is_some() {
            self.write_out()?;
        }
        let from: Box<dyn Read + Send + '_> = match &mut self.file {
            Some(file) => {
                file.seek(SeekFrom::Start(0))?;
                Box::new(io::BufReader::with_capacity(1 << 20, file))
            }
            None => Box::new(&self.held[..]),
        };
        Ok(Replay { from })
    }
}

/// A file without a name where one can be made: with a root that has become read-only, that is in memory.
fn somewhere() -> io::Result<File> {
    let dirs = [std::env::temp_dir(), "/var/tmp".into(), "/dev/shm".into(), "/run".into()];
    let mut made = dirs.iter().map(|dir| crate::sys::dir::nameless_file(dir));
    let first = made.next().unwrap_or_else(|| Err(io::ErrorKind::NotFound.into()));
    first.or_else(|error| made.find_map(Result::ok).ok_or(error))
}

/// The changes of a spool, one after another.
pub(super) struct Replay<'a> {
    from: Box<dyn Read + Send + 'a>,
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
        DirChange::decode(&bytes).ok_or_else(|| io::Error::other("the list of changes is damaged"))
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::tree::change::Aspects;
    use crate::tree::relpath::RelPath;

    fn numbered(n: u32) -> DirChange {
        let path = RelPath::from_bytes(format!("{n:0>4000}"));
        DirChange { path, ino: 0, own: Aspects::MODE, changes: Vec::new() }
    }

    #[test]
    fn a_list_larger_than_memory_is_read_back_in_order_and_more_than_once() {
        let mut spool = Spool::default();
        for n in 0..5000 {
            spool.push(&numbered(n)).expect("push");
        }
        assert!(spool.file.is_some(), "it has outgrown memory");
        for _ in 0..2 {
            let read: Vec<_> = spool.replay().expect("replay").map(|change| change.expect("whole")).collect();
            assert_eq!(read.len(), 5000);
            assert!(read.iter().zip(0..).all(|(change, n)| *change == numbered(n)));
        }
    }
}
