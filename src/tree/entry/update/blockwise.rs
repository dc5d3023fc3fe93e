//! The source's content, block by block, and what of it differs written over the old.

use super::Basis;
use crate::sys::extents::{next_data, zero};
use crate::tree::base::fault::{Fault, Sided};
use crate::tree::content::page_cache::{Manners, WINDOW};
use crate::tree::content::{Copied, read_up_to, write_all_at};
use crate::tree::entry::undo::{Undo, make_zeros};
use crate::tree::memory::blocks::{BLOCK, Hashing, MapWriter};
use crate::tree::pass::Pass;
use rustix::fs::ftruncate;
use std::io;
use std::ops::Range;
use std::os::fd::OwnedFd;

/// What is read at once, in blocks.
const AT_ONCE: u64 = 4;
/// What is gathered before the old content of all these places is kept with one flush.
const STEP: u64 = 4 << 20;
/// Only so many stretches of zeros are made holes: the others are zeros all the same.
const BLANKS: usize = 1 << 16;

/// Something to be written.
enum Write {
    Bytes(u64, Vec<u8>),
    Zeros(Range<u64>),
}

impl Write {
    fn place(&self) -> Range<u64> {
        match self {
            Write::Bytes(at, bytes) => *at..at + bytes.len() as u64,
            Write::Zeros(range) => range.clone(),
        }
    }
}

/// One pass over both files.
pub struct Blockwise<'a> {
    pass: &'a Pass<'a>,
    source: &'a OwnedFd,
    target: &'a OwnedFd,
    size: u64,
    hashing: Hashing,
    manners: Manners<'a>,
    at: u64,
    bytes: u64,
    waiting: Vec<Write>,
    waiting_bytes: u64,
    blanks: Vec<Range<u64>>,
}

impl<'a> Blockwise<'a> {
    /// From `source`, of `size` bytes, to `target`, which holds the old content. The hashes of its blocks go to `map`.
    pub fn new(
        pass: &'a Pass<'a>,
        (source, target): (&'a OwnedFd, &'a OwnedFd),
        size: u64,
        map: Option<MapWriter>,
    ) -> Self {
        Blockwise {
            pass,
            source,
            target,
            size,
            hashing: Hashing::new(size, map),
            manners: Manners::new(source, target, size, pass.burst(WINDOW)),
            at: 0,
            bytes: 0,
            waiting: Vec::new(),
            waiting_bytes: 0,
            blanks: Vec::new(),
        }
    }
    /// Does it. Old content is kept in `undo` before it is written over; without one, nobody needs it. Gives back what was
    /// written, and the stretches that should be holes and are zeros with room.
    pub fn run(
        mut self,
        basis: &mut Basis,
        mut undo: Option<&mut Undo>,
    ) -> Result<(Copied, Vec<Range<u64>>), Fault> {
        let mut complete = true;
        while complete && self.at < self.size {
            let data = next_data(self.source, self.at, self.size).on_source("reading")?;
            let (start, end) = data.unwrap_or((self.size, self.size));
            let start = if start == self.size { start } else { start / BLOCK * BLOCK };
            if start > self.at {
                self.blank(self.at..start, &mut undo)?;
                self.hashing.hole(start);
                self.at = start;
            }
            if start < end {
                complete = self.data(end.next_multiple_of(BLOCK).min(self.size), basis, &mut undo)?;
            }
        }
        self.write(&mut undo)?;
        self.set_size(undo.is_some()).on_mirror("writing")?;
        self.manners.end();
        let (hash, map) = self.hashing.finish();
        Ok((Copied { bytes: self.bytes, hash, map }, self.blanks))
    }
    /// A file in its own place grows now, and shrinks only when nothing has to be put back any more.
    fn set_size(&self, in_place: bool) -> io::Result<()> {
        let now = crate::sys::stat::stat_fd(self.target)?.size;
        let wrong = if in_place { now < self.size } else { now != self.size };
        if wrong { Ok(ftruncate(self.target, self.size)?) } else { Ok(()) }
    }
    /// Goes on over data up to `end`. Gives back whether the source went that far.
    fn data(&mut self, end: u64, basis: &mut Basis, undo: &mut Option<&mut Undo>) -> Result<bool, Fault> {
        let (mut room, mut other) = (vec![0; (AT_ONCE * BLOCK) as usize], vec![0; BLOCK as usize]);
        while self.at < end {
            self.pass.pace((end - self.at).min(room.len() as u64));
            if self.pass.stopped() {
                return Err(Fault::Stopped);
            }
            self.manners.before(self.at, end);
            let want = (room.len() as u64).min(end - self.at) as usize;
            let got = read_up_to(self.source, &mut room[..want], self.at).on_source("reading")?;
            if got < want {
                return Ok(false);
            }
            for block in room[..got].chunks(BLOCK as usize) {
                let hash = self.hashing.data(block).unwrap_or_default();
                let differs = match basis {
                    Basis::Map(map) => map.hash(self.at / BLOCK) != hash,
                    Basis::Mirror => {
                        let other = &mut other[..block.len()];
                        // What cannot be read is different.
                        !read_up_to(self.target, other, self.at).is_ok_and(|read| other[..read] == *block)
                    }
                };
                if differs && !self.is_hole_already(block)? {
                    self.block(block, undo)?;
                }
                self.at += block.len() as u64;
            }
        }
        Ok(true)
    }
    /// Whether a block, at the present place, is zeros, and the target has a hole there: room that was given ahead is not data.
    fn is_hole_already(&self, block: &[u8]) -> Result<bool, Fault> {
        let end = self.at + block.len() as u64;
        let zeros = block.iter().all(|byte| *byte == 0);
        Ok(zeros && next_data(self.target, self.at, end).on_mirror("reading")?.is_none())
    }
    /// Has a block written at the present place: but for holes of the source.
    fn block(&mut self, block: &[u8], undo: &mut Option<&mut Undo>) -> Result<(), Fault> {
        let (start, end) = (self.at, self.at + block.len() as u64);
        let mut at = start;
        while at < end {
            let data = next_data(self.source, at, end).on_source("reading")?;
            let hole_end = data.map_or(end, |(start, _)| start);
            let zeros = &block[(at - start) as usize..(hole_end - start) as usize];
            // What is a hole by now may have held something when it was read, and was hashed.
            let is_hole = zeros.iter().all(|byte| *byte == 0);
            let next = if !is_hole { end } else { data.map_or(end, |(_, end)| end) };
            let from = if is_hole { hole_end } else { at };
            if from > at {
                self.blank(at..from, undo)?;
            }
            if next > from {
                let bytes = block[(from - start) as usize..(next - start) as usize].to_vec();
                self.bytes += bytes.len() as u64;
                self.enter(Write::Bytes(from, bytes), undo)?;
            }
            at = next;
        }
        Ok(())
    }
    /// Has the target's data within a hole of the source become zeros.
    fn blank(&mut self, hole: Range<u64>, undo: &mut Option<&mut Undo>) -> Result<(), Fault> {
        let mut at = hole.start;
        while let Some((start, end)) = next_data(self.target, at, hole.end).on_mirror("reading")? {
            self.pass.pace(0);
            if self.pass.stopped() {
                return Err(Fault::Stopped);
            }
            let end = end.min(start + STEP);
            self.enter(Write::Zeros(start..end), undo)?;
            at = end;
        }
        Ok(())
    }
    fn enter(&mut self, write: Write, undo: &mut Option<&mut Undo>) -> Result<(), Fault> {
        let place = write.place();
        self.waiting.push(write);
        self.waiting_bytes += place.end - place.start;
        if self.waiting_bytes < STEP && undo.is_some() { Ok(()) } else { self.write(undo) }
    }
    /// Writes what has come together, after the old content was kept.
    fn write(&mut self, undo: &mut Option<&mut Undo>) -> Result<(), Fault> {
        if let Some(undo) = undo {
            let places = self.waiting.iter().map(Write::place);
            undo.keep(self.target, places).on_mirror("keeping the old content of")?;
        }
        for write in std::mem::take(&mut self.waiting) {
            match write {
                Write::Bytes(at, bytes) => write_all_at(self.target, &bytes, at),
                Write::Zeros(range) if undo.is_some() => self.keep_room(range),
                Write::Zeros(range) => make_zeros(self.target, range.start, range.end - range.start),
            }
            .on_mirror("writing")?;
        }
        self.waiting_bytes = 0;
        Ok(())
    }
    /// Zeros that keep their room, so that what was there can be put back: a hole comes of them later.
    fn keep_room(&mut self, range: Range<u64>) -> io::Result<()> {
        match zero(self.target, &range) {
            Err(error) if error.raw_os_error() == Some(libc::EOPNOTSUPP) => {
                let zeros = vec![0; (range.end - range.start) as usize];
                write_all_at(self.target, &zeros, range.start)?;
            }
            other => other?,
        }
        let has_room = self.blanks.len() < BLANKS;
        match self.blanks.last_mut() {
            Some(last) if last.end == range.start => last.end = range.end,
            _ if has_room => self.blanks.push(range),
            _ => {}
        }
        Ok(())
    }
}
