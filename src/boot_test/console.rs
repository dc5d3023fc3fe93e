//! The machine's serial console: everything it prints is kept; lines are typed into it.

use super::signs;
use anyhow::{Context, Result};
use std::io::{Read, Write};
use std::os::unix::net::UnixStream;
use std::path::Path;
use std::sync::{Arc, Mutex, PoisonError};
use std::time::{Duration, Instant};

/// A system that prints more than this in one boot prints without end: what follows is not kept.
const MOST_BYTES: usize = 8 << 20;

struct Printed {
    bytes: Vec<u8>,
    last: Instant,
}

/// Our end of the first serial port. A thread drains it, so that the machine never waits for its reader.
pub struct Console {
    writer: UnixStream,
    printed: Arc<Mutex<Printed>>,
}

impl Console {
    /// Connects; best while the machine is paused, so that nothing is missed.
    ///
    /// # Errors
    /// If nobody listens.
    pub fn connect(socket: &Path) -> Result<Self> {
        let writer = UnixStream::connect(socket).context("cannot reach the machine's serial console")?;
        let mut reader = writer.try_clone()?;
        let printed = Arc::new(Mutex::new(Printed { bytes: Vec::new(), last: Instant::now() }));
        let shared = Arc::clone(&printed);
        std::thread::spawn(move || {
            let mut chunk = [0; 4096];
            while let Ok(got @ 1..) = reader.read(&mut chunk) {
                let mut printed = shared.lock().unwrap_or_else(PoisonError::into_inner);
                let room = MOST_BYTES.saturating_sub(printed.bytes.len());
                printed.bytes.extend_from_slice(&chunk[..got.min(room)]);
                printed.last = Instant::now();
            }
        });
        Ok(Console { writer, printed })
    }

    /// All that was printed as plain text, and how long nothing has followed.
    pub fn read(&self) -> (String, Duration) {
        let printed = self.printed.lock().unwrap_or_else(PoisonError::into_inner);
        (signs::plain(&printed.bytes), printed.last.elapsed())
    }

    /// All that was printed, as it came.
    pub fn bytes(&self) -> Vec<u8> {
        self.printed.lock().unwrap_or_else(PoisonError::into_inner).bytes.clone()
    }

    /// Types a line.
    ///
    /// # Errors
    /// If the machine has ended.
    pub fn type_line(&mut self, line: &str) -> Result<()> {
        let typed = zeroize::Zeroizing::new(format!("{line}\r"));
        self.writer.write_all(typed.as_bytes()).context("cannot type on the machine's serial console")
    }
}
