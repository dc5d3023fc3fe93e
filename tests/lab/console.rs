//! The serial console: everything the machine prints is kept, and a test waits for a text in it.

use std::io::{Read, Write};
use std::os::unix::net::UnixStream;
use std::path::Path;
use std::sync::{Arc, Condvar, Mutex, PoisonError};
use std::time::{Duration, Instant};

use anyhow::{Context, Result, bail};

/// What a machine never comes back from: waiting longer, or trying again, is of no use.
#[derive(Debug, thiserror::Error)]
#[error("{0}")]
pub struct DeadEnd(pub String);

/// What has been printed, and whether more can come.
#[derive(Default)]
struct Printed {
    bytes: Vec<u8>,
    closed: bool,
}

/// One end of the machine's first serial port. A thread drains it, so that the machine never waits for its reader.
pub struct Console {
    writer: UnixStream,
    printed: Arc<(Mutex<Printed>, Condvar)>,
    /// What `reach` has passed over already.
    seen: usize,
}

impl Console {
    /// Connects; best while the machine is still paused, so that nothing is missed.
    ///
    /// # Errors
    /// If nobody listens.
    pub fn connect(socket: &Path) -> Result<Self> {
        let writer = UnixStream::connect(socket).context("the serial console")?;
        let reader = writer.try_clone()?;
        let printed = Arc::new((Mutex::new(Printed::default()), Condvar::new()));
        let shared = Arc::clone(&printed);
        std::thread::spawn(move || drain(reader, &shared));
        Ok(Self { writer, printed, seen: 0 })
    }

    /// Waits until `wanted` is printed, looking only behind what an earlier call has found, and returns what was printed in
    /// between.
    ///
    /// # Errors
    /// If one of `dead_ends` is printed first (a `DeadEnd`), `wanted` does not come within `patience`, or the machine ends; the
    /// message ends with what was printed instead.
    pub fn reach(&mut self, wanted: &str, dead_ends: &[&str], patience: Duration) -> Result<String> {
        let (lock, change) = &*self.printed;
        let deadline = Instant::now() + patience;
        let overlap = dead_ends.iter().map(|text| text.len()).chain([wanted.len()]).max().unwrap_or(0);
        let mut printed = lock.lock().unwrap_or_else(PoisonError::into_inner);
        let mut from = self.seen;
        loop {
            let unseen = &printed.bytes[from..];
            if let Some(start) = find(unseen, wanted) {
                let between = String::from_utf8_lossy(&printed.bytes[self.seen..from + start]).into_owned();
                self.seen = from + start + wanted.len();
                return Ok(between);
            }
            let last = || tail(&printed.bytes);
            if let Some(text) = dead_ends.iter().find(|text| find(unseen, text).is_some()) {
                bail!(DeadEnd(format!(
                    "`{text}` on the serial console, not `{wanted}`; it ends with:\n{}",
                    last()
                )));
            }
            let left = deadline.saturating_duration_since(Instant::now());
            if printed.closed || left.is_zero() {
                let how = if printed.closed { "the machine ended" } else { "the patience ended" };
                bail!("no `{wanted}` on the serial console when {how}; it ends with:\n{}", last());
            }
            // A text may come in two pieces.
            from = printed.bytes.len().saturating_sub(overlap).max(self.seen);
            (printed, _) = change.wait_timeout(printed, left).unwrap_or_else(PoisonError::into_inner);
        }
    }

    /// Types a line.
    ///
    /// # Errors
    /// If the machine has ended.
    pub fn type_line(&mut self, line: &str) -> Result<()> {
        Ok(self.writer.write_all(format!("{line}\n").as_bytes())?)
    }

    /// The last lines that were printed, for a message.
    pub fn last_lines(&self) -> String {
        tail(&self.printed.0.lock().unwrap_or_else(PoisonError::into_inner).bytes)
    }
}

fn drain(mut reader: UnixStream, shared: &(Mutex<Printed>, Condvar)) {
    let mut chunk = [0; 4096];
    loop {
        let got = reader.read(&mut chunk).unwrap_or(0);
        let mut printed = shared.0.lock().unwrap_or_else(PoisonError::into_inner);
        printed.bytes.extend_from_slice(&chunk[..got]);
        printed.closed = got == 0;
        shared.1.notify_all();
        if got == 0 {
            return;
        }
    }
}

fn find(bytes: &[u8], text: &str) -> Option<usize> {
    bytes.windows(text.len()).position(|window| window == text.as_bytes())
}

fn tail(bytes: &[u8]) -> String {
    let text = String::from_utf8_lossy(bytes).replace('\r', "");
    let lines: Vec<_> = text.lines().collect();
    lines[lines.len().saturating_sub(25)..].join("\n")
}
