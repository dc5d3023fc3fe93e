//! QEMU's machine protocol: one JSON object a line.
//! See <https://www.qemu.org/docs/master/interop/qmp-spec.html>.

use std::io::{BufRead, BufReader, Write};
use std::os::unix::net::UnixStream;
use std::path::Path;
use std::time::Duration;

use anyhow::{Context, Result, bail};
use serde_json::{Value, json};

/// A connection that has left the greeting behind.
pub struct Qmp {
    stream: BufReader<UnixStream>,
}

impl Qmp {
    /// Connects and takes part in the greeting.
    ///
    /// # Errors
    /// If nobody listens, or what listens is not QEMU.
    pub fn connect(socket: &Path) -> Result<Self> {
        let stream = UnixStream::connect(socket)?;
        // Writing the memory of a machine takes seconds; on busy cores, many.
        stream.set_read_timeout(Some(Duration::from_secs(300)))?;
        let mut qmp = Self { stream: BufReader::new(stream) };
        qmp.receive().context("QEMU's greeting")?;
        qmp.execute("qmp_capabilities", json!({}))?;
        Ok(qmp)
    }

    /// Runs one command and waits for what it returns; events in between are passed over.
    ///
    /// # Errors
    /// If QEMU refuses the command or has ended.
    pub fn execute(&mut self, command: &str, arguments: Value) -> Result<Value> {
        let mut line = json!({"execute": command, "arguments": arguments}).to_string();
        line.push('\n');
        self.stream.get_mut().write_all(line.as_bytes())?;
        loop {
            let mut answer = self.receive().with_context(|| format!("waiting for QEMU's {command}"))?;
            if let Some(value) = answer.get_mut("return") {
                return Ok(value.take());
            }
            if let Some(error) = answer.get("error") {
                bail!("QEMU refuses {command}: {error}");
            }
        }
    }

    /// Runs a line of the human monitor that is silent when all went well (`savevm`, `loadvm`).
    ///
    /// # Errors
    /// What the monitor said.
    pub fn monitor(&mut self, line: &str) -> Result<()> {
        let said = self.execute("human-monitor-command", json!({"command-line": line}))?;
        match said.as_str().unwrap_or_default().trim() {
            "" => Ok(()),
            text => bail!("QEMU's monitor on `{line}`: {text}"),
        }
    }

    fn receive(&mut self) -> Result<Value> {
        let mut line = String::new();
        if self.stream.read_line(&mut line)? == 0 {
            bail!("QEMU has closed its monitor");
        }
        Ok(serde_json::from_str(&line)?)
    }
}
