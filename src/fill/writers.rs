//! Writes a stretch of a device: each of a few threads makes a piece and writes it, so that while one waits for
//! the disk another computes. Pieces are handed out in order; what is reported as reached has no gap before it.

use super::key_stream::KeyStream;
use crate::sys::block::{AlignedBuffer, BlockDevice};
use crossbeam_channel::{RecvTimeoutError, Sender, bounded};
use std::collections::BTreeMap;
use std::io;
use std::sync::atomic::{AtomicBool, AtomicU64, Ordering::Relaxed};
use std::time::Duration;

/// Bytes in a piece: large enough that the disk sees long writes, small enough to stay in a processor's cache.
pub const PIECE: u64 = 1 << 20;
/// How many threads make and write pieces: the disk has always one while another is made, and the next one is ready when
/// it asks. More than that only take turns.
const WRITERS: usize = 3;
/// How often whoever watches is called although no piece was finished.
const TICK: Duration = Duration::from_secs(1);

/// What is written.
pub enum Content {
    /// Zeros.
    Zeros,
    /// A key stream, its piece numbers being the pieces' places on the device.
    Stream(KeyStream),
}

impl Content {
    /// Makes the piece that begins at `offset`.
    pub fn piece(&self, offset: u64, out: &mut [u8]) {
        match self {
            Content::Zeros => out.fill(0),
            Content::Stream(stream) => stream.piece(offset, out),
        }
    }
}

/// A write that failed.
#[derive(Debug)]
pub struct WriteError {
    /// The first byte that was not written.
    pub offset: u64,
    /// What the system said.
    pub error: io::Error,
}

/// Fills `from..to`, whole sectors both, and returns how far it came without a gap, and what stopped it.
///
/// `watch` is told after each piece how far that is and how many bytes are new; it ends the work by `false`.
pub fn fill_stretch(
    device: &BlockDevice,
    content: &Content,
    (from, to): (u64, u64),
    watch: &mut dyn FnMut(u64, u64) -> bool,
) -> (u64, Option<WriteError>) {
    let next = AtomicU64::new(from);
    let stop = AtomicBool::new(false);
    std::thread::scope(|scope| {
        let (done, finished) = bounded(2 * WRITERS);
        for _ in 0..WRITERS {
            let done = done.clone();
            let (next, stop) = (&next, &stop);
            scope.spawn(move || write_pieces(device, content, to, next, stop, &done));
        }
        drop(done);
        let mut prefix = Prefix { reached: from, ahead: BTreeMap::new() };
        let mut failed: Option<WriteError> = None;
        loop {
            let fresh = match finished.recv_timeout(TICK) {
                Ok(Ok(piece)) => prefix.add(piece),
                Ok(Err(error)) => {
                    stop.store(true, Relaxed);
                    failed = failed.into_iter().chain([error]).min_by_key(|error| error.offset);
                    0
                }
                Err(RecvTimeoutError::Timeout) => 0,
                Err(RecvTimeoutError::Disconnected) => return (prefix.reached, failed),
            };
            if !watch(prefix.reached, fresh) {
                stop.store(true, Relaxed);
            }
        }
    })
}

type Finished = Result<(u64, u64), WriteError>;

fn write_pieces(
    device: &BlockDevice,
    content: &Content,
    to: u64,
    next: &AtomicU64,
    stop: &AtomicBool,
    done: &Sender<Finished>,
) {
    let mut buffer = AlignedBuffer::new(PIECE as usize);
    while !stop.load(Relaxed) {
        let offset = next.fetch_add(PIECE, Relaxed);
        if offset >= to {
            return;
        }
        let piece = &mut buffer[..PIECE.min(to - offset) as usize];
        content.piece(offset, piece);
        let written = device
            .write_direct(piece, offset)
            .map(|()| (offset, piece.len() as u64))
            .map_err(|(written, error)| WriteError { offset: offset + written, error });
        if done.send(written).is_err() {
            return;
        }
    }
}

/// Pieces finish out of order; only those with nothing missing before them count as reached.
struct Prefix {
    reached: u64,
    ahead: BTreeMap<u64, u64>,
}

impl Prefix {
    /// Adds a finished piece (offset, length) and returns by how much the prefix grew.
    fn add(&mut self, (offset, length): (u64, u64)) -> u64 {
        let before = self.reached;
        self.ahead.insert(offset, length);
        while let Some(length) = self.ahead.remove(&self.reached) {
            self.reached += length;
        }
        self.reached - before
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_piece_with_a_gap_before_it_does_not_count_as_reached() {
        let mut prefix = Prefix { reached: 10, ahead: BTreeMap::new() };
        assert_eq!(prefix.add((15, 5)), 0);
        assert_eq!(prefix.add((20, 1)), 0);
        assert_eq!(prefix.add((10, 5)), 11);
        assert_eq!(prefix.reached, 21);
    }
}
