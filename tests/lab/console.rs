//! The serial console: everything the machine prints is kept, and a test waits for a text in it.

use std::io::{Read, Write};
use std::os::unix::net::UnixStream;
use std::path::Path;
use std::sync::{Arc, Condvar, Mutex, PoisonError};
use std::time::Duration;

use anyhow::{Context, Result, bail};

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
    /// What `expect` has passed over already.
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

    /// Waits until `text` is printed, looking only behind what an earlier call has found.
    ///
    /// # Errors
    /// If it does not come within `patience`, or the machine ends; the message ends with what was printed instead.
    pub fn expect(&mut self, text: &str, patience: Duration) -> Result<()> {
        let (lock, change) = &*self.printed;
        let printed = lock.lock().unwrap_or_else(PoisonError::into_inner);
        let seen = self.seen;
        let (printed, _) = change
            .wait_timeout_while(printed, patience, |now| {
                find(&now.bytes[seen..], text).is_none() && !now.closed
            })
            .unwrap_or_else(PoisonError::into_inner);
        match find(&printed.bytes[seen..], text) {
            Some(end) => {
                self.seen = seen + end;
                Ok(())
            }
            None => bail!(
                "no `{text}` on the serial console in {} s; it ends with:\n{}",
                patience.as_secs(),
                tail(&printed.bytes)
            ),
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

/// The offset just behind the first `text`.
fn find(bytes: &[u8], text: &str) -> Option<usize> {
    bytes.windows(text.len()).position(|window| window == text.as_bytes()).map(|start| start + text.len())
}

fn tail(bytes: &[u8]) -> String {
    let text = String::from_utf8_lossy(bytes).replace('\r', "");
    let lines: Vec<_> = text.lines().collect();
    lines[lines.len().saturating_sub(25)..].join("\n")
}
