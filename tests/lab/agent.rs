//! The host's end of the root shell in the server (`tests/lab/image/agent` is the other end, and says what goes over the line).

use std::io::{BufRead, BufReader, Read, Write};
use std::os::unix::net::UnixStream;
use std::path::Path;
use std::time::Duration;

use anyhow::{Context, Result, ensure};

/// What a command in the server printed, and how it ended.
#[derive(Debug, Clone)]
pub struct Output {
    /// The exit status; 128 + N for a signal N.
    pub status: i32,
    /// Its stdout.
    pub stdout: Vec<u8>,
    /// Its stderr, with anything that is not UTF-8 replaced.
    pub stderr: String,
}

impl Output {
    /// Its stdout as text, with anything that is not UTF-8 replaced.
    pub fn text(&self) -> String {
        String::from_utf8_lossy(&self.stdout).into_owned()
    }

    /// Fails the test unless the command succeeded.
    ///
    /// # Panics
    /// With all it said.
    pub fn assert_ok(&self) {
        assert_eq!(self.status, 0, "stdout: {}\nstderr: {}", self.text(), self.stderr);
    }
}

/// A connection to the shell.
pub struct Agent {
    stream: BufReader<UnixStream>,
    requests: u64,
}

impl Agent {
    /// Connects to QEMU's end of the port; the server may still be booting.
    ///
    /// # Errors
    /// If QEMU does not listen.
    pub fn connect(socket: &Path) -> Result<Self> {
        let stream = UnixStream::connect(socket).context("the port of the server's root shell")?;
        Ok(Self { stream: BufReader::new(stream), requests: 0 })
    }

    /// Runs `script` with bash in the server, `stdin` on its standard input, and waits for its end.
    ///
    /// # Errors
    /// If no answer comes within `patience`; the shell is then of no use until a snapshot is loaded.
    pub fn run(&mut self, script: &str, stdin: &[u8], patience: Duration) -> Result<Output> {
        self.requests += 1;
        self.stream.get_ref().set_read_timeout(Some(patience))?;
        let mut request =
            format!("{} {} {}\n{script}", self.requests, script.len(), stdin.len()).into_bytes();
        request.extend_from_slice(stdin);
        self.stream.get_mut().write_all(&request)?;
        // A machine that was put back to a snapshot may still owe us the answer to an older request.
        loop {
            let (id, output) = self.answer().with_context(|| format!("no answer to: {script}"))?;
            if id == self.requests {
                return Ok(output);
            }
        }
    }

    fn answer(&mut self) -> Result<(u64, Output)> {
        let mut header = String::new();
        self.stream.read_line(&mut header)?;
        let numbers = header.split_whitespace().map(str::parse).collect::<Result<Vec<u64>, _>>()?;
        ensure!(numbers.len() == 4, "the server's root shell says {header:?}");
        let stdout = self.bytes(numbers[2])?;
        let stderr = String::from_utf8_lossy(&self.bytes(numbers[3])?).into_owned();
        Ok((numbers[0], Output { status: i32::try_from(numbers[1])?, stdout, stderr }))
    }

    fn bytes(&mut self, count: u64) -> Result<Vec<u8>> {
        let mut bytes = vec![0; usize::try_from(count)?];
        self.stream.read_exact(&mut bytes)?;
        Ok(bytes)
    }
}
