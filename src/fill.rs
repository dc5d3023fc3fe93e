//! Overwrites a device before it is encrypted, as fast as it writes, and says early how long that will take.
//!
//! What is said to be filled is on the medium. Stopping is not a failure: the next fill of the same device goes on
//! where this one was. Knows no plan and asks nobody: whoever calls it has made sure that the device may be erased.

mod checkpoint;
mod key_stream;
mod writers;

use crate::monitor::{Monitor, Unit};
use crate::refusal::Failure;
use crate::step::Filling;
use crate::sys::block::BlockDevice;
use crate::sys::disk::Node;
use crate::sys::signal;
use crate::units::{Bytes, GIB, MIB, duration, rate};
use checkpoint::Checkpoint;
use key_stream::KeyStream;
use std::path::Path;
use std::time::{Duration, Instant};
use writers::{Content, WriteError, fill_stretch};

/// How much is written before the rest's time is told.
pub const SAMPLE_BYTES: u64 = 100 * MIB;
/// How often it is made sure, and written down, how far the fill has come.
const CHECKPOINT_EVERY: Duration = Duration::from_secs(20);
/// How much is discarded by one call, which cannot be interrupted.
const DISCARD_BYTES: u64 = GIB;

/// What to fill, with what, and when to stop.
pub struct Job<'a> {
    /// The node.
    pub device: &'a Path,
    /// What to write.
    pub with: Filling,
    /// How much, from the device's beginning.
    pub bytes: u64,
    /// The directory that keeps how far it came; none: it begins anew each time.
    pub checkpoints: Option<&'a Path>,
    /// Asked after each piece: whether to stop at this point (as `signal::stop_requested`).
    pub stop: &'a dyn Fn() -> bool,
}

/// How a fill ended.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Filled {
    /// Where it began: not 0 if it went on where an earlier one was stopped.
    pub from: u64,
    /// How far it came, in bytes from the device's beginning.
    pub reached: u64,
    /// How far it should have come.
    pub total: u64,
    /// The time it took.
    pub elapsed: Duration,
}

impl Filled {
    /// Whether it was stopped before its end.
    pub fn stopped(&self) -> bool {
        self.reached < self.total
    }
}

/// Fills the device.
///
/// # Errors
/// A device that cannot be opened for us alone or is too small; a write that failed, with its offset. The state
/// says how much is filled, and a repeated fill begins there.
pub fn fill(job: &Job, monitor: &dyn Monitor) -> Result<Filled, Failure> {
    let title = job.device.display();
    let untouched = |error: std::io::Error| {
        Failure::new(format!("cannot fill {title}"), format!("nothing was written to {title}"))
            .why(error.to_string())
    };
    let node = Node::find(job.device).map_err(untouched)?;
    let device = BlockDevice::open_exclusive_write(job.device).map_err(untouched)?;
    if job.bytes > device.size() {
        let size = device.size();
        return Err(untouched(std::io::Error::other(format!("{} bytes do not fit into {size}", job.bytes))));
    }
    let since = Instant::now();
    let from_checkpoint = |dir| Checkpoint::of(dir, &node, &device, job.with, job.bytes);
    let mut work =
        Work { job, monitor, device: &device, checkpoint: job.checkpoints.map(from_checkpoint), from: 0 };
    let ended = match job.with {
        Filling::Discard => work.discard(),
        Filling::Zero => work.overwrite(&Content::Zeros),
        Filling::Random => work.overwrite(&Content::Stream(KeyStream::new().map_err(untouched)?)),
    };
    let reached = ended.map_err(|(reached, error)| failure(job, reached, &error))?;
    Ok(Filled { from: work.from, reached, total: job.bytes, elapsed: since.elapsed() })
}

fn failure(job: &Job, reached: u64, error: &WriteError) -> Failure {
    let title = job.device.display();
    let (at, total) = (Bytes(error.offset), Bytes(job.bytes));
    Failure::new(
        format!("filling {title}: writing failed at byte {} ({at} of {total})", error.offset),
        format!("the first {} of {title} are filled, the rest is not", Bytes(reached)),
    )
    .why(error.error.to_string())
    .remedy("look at the disk's health (`smartctl -a`, the kernel's log) before trying again")
}

/// A fill at work.
struct Work<'a> {
    job: &'a Job<'a>,
    monitor: &'a dyn Monitor,
    device: &'a BlockDevice,
    checkpoint: Option<Checkpoint>,
    from: u64,
}

type Ended = Result<u64, (u64, WriteError)>;

impl Work<'_> {
    /// Sample, estimate, rest, tail; the checkpoint stays behind only if the end was not reached.
    fn overwrite(&mut self, content: &Content) -> Ended {
        let total = self.job.bytes;
        let whole_sectors = total - total % u64::from(self.device.logical_sector());
        self.resume();
        self.monitor.begin(&self.title(content), Some(total - self.from), Unit::Bytes);
        let mut reached = self.sample(content, whole_sectors)?;
        if reached < whole_sectors && !(self.job.stop)() {
            reached = self.stretch(content, reached, whole_sectors)?;
        }
        if reached == whole_sectors {
            reached = self.tail(content, whole_sectors, total)?;
        }
        self.device.flush().map_err(|error| (self.from, WriteError { offset: self.from, error }))?;
        self.monitor.end();
        self.settle(reached);
        Ok(reached)
    }

    fn title(&self, content: &Content) -> String {
        match content {
            Content::Zeros => format!("filling {} (zeros)", self.job.device.display()),
            Content::Stream(stream) => format!("filling {} ({})", self.job.device.display(), stream.name()),
        }
    }

    fn resume(&mut self) {
        self.from = self.checkpoint.as_ref().map_or(0, |checkpoint| checkpoint.reached(self.device));
        if self.from > 0 {
            let (from, total) = (Bytes(self.from), Bytes(self.job.bytes));
            self.monitor.note(&format!("resuming at {from} of {total}"));
        }
    }

    /// Writes the first stretch, flushes it, and tells what that says about the whole.
    fn sample(&self, content: &Content, end: u64) -> Ended {
        let since = Instant::now();
        let to = end.min(self.from + SAMPLE_BYTES);
        let reached = self.stretch(content, self.from, to)?;
        self.device.flush().map_err(|error| (self.from, WriteError { offset: self.from, error }))?;
        let written = Bytes(reached - self.from);
        if reached == to && written.0 > 0 {
            let speed = rate(written, since.elapsed());
            let all = Duration::from_secs_f64((self.job.bytes - self.from) as f64 / speed.0.max(1) as f64);
            let first = if self.from == 0 { "the first" } else { "another" };
            self.monitor.note(&format!("measured {speed}/s on {first} {written}: about {}", duration(all)));
        }
        Ok(reached)
    }

    fn stretch(&self, content: &Content, from: u64, to: u64) -> Ended {
        let mut saved = Instant::now();
        let mut watch = |reached: u64, fresh: u64| {
            self.monitor.advance(fresh);
            self.tell_if_asked();
            if saved.elapsed() >= CHECKPOINT_EVERY {
                self.save(reached);
                saved = Instant::now();
            }
            !(self.job.stop)()
        };
        match fill_stretch(self.device, content, (from, to), &mut watch) {
            (reached, None) => Ok(reached),
            (reached, Some(error)) => {
                self.monitor.end();
                self.save(reached);
                Err((reached, error))
            }
        }
    }

    /// The bytes behind the last whole sector: the rest of that sector stays as it is.
    fn tail(&self, content: &Content, from: u64, to: u64) -> Ended {
        let mut tail = vec![0; (to - from) as usize];
        if !tail.is_empty() {
            content.piece(from, &mut tail);
            self.device.patch(from, &tail).map_err(|error| (from, WriteError { offset: from, error }))?;
            self.monitor.advance(tail.len() as u64);
        }
        Ok(to)
    }

    fn discard(&mut self) -> Ended {
        let total = self.job.bytes - self.job.bytes % u64::from(self.device.logical_sector());
        self.monitor.begin(&format!("discarding {}", self.job.device.display()), Some(total), Unit::Bytes);
        let mut reached = 0;
        while reached < total && !(self.job.stop)() {
            let length = DISCARD_BYTES.min(total - reached);
            let failed = |error| (reached, WriteError { offset: reached, error });
            self.device.discard(reached, length).map_err(failed)?;
            reached += length;
            self.monitor.advance(length);
            self.tell_if_asked();
        }
        self.monitor.end();
        Ok(if reached == total { self.job.bytes } else { reached })
    }

    fn tell_if_asked(&self) {
        if signal::progress_requested()
            && let Some(line) = self.monitor.progress_line()
        {
            self.monitor.answer(&line);
        }
    }

    /// Keeps how far the fill came, or forgets it at the end.
    fn settle(&self, reached: u64) {
        if reached < self.job.bytes {
            self.save(reached);
        } else if let Some(Err(error)) = self.checkpoint.as_ref().map(Checkpoint::remove) {
            self.monitor.warn(&format!("cannot remove the note of how far the fill came: {error}"));
        }
    }

    fn save(&self, reached: u64) {
        if reached == 0 {
            return;
        }
        if let Some(Err(error)) = self.checkpoint.as_ref().map(|c| c.save(self.device, reached)) {
            self.monitor.warn(&format!("cannot keep how far the fill came, so it could not resume: {error}"));
        }
    }
}
