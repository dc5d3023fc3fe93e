//! QEMU's machine protocol on its standard streams: one JSON object a line.
//! See <https://www.qemu.org/docs/master/interop/qmp-spec.html>.

use super::watch::Event;
use anyhow::{Context, Result, bail};
use serde_json::{Value, json};
use std::io::{BufRead, BufReader, Write};
use std::process::{ChildStdin, ChildStdout};
use std::sync::mpsc::{Receiver, channel};
use std::time::Duration;

/// A machine on busy cores may take its time.
const PATIENCE: Duration = Duration::from_secs(60);
/// How long a key is held, in milliseconds, and how long until the next one is sent: keyboards have no large buffers.
const HOLD_MS: u64 = 30;
const KEY_PAUSE: Duration = Duration::from_millis(80);
/// Where a VGA in text mode has its 25 lines, and how long they are.
const TEXT_SCREEN: u64 = 0xb8000;
const TEXT_SCREEN_BYTES: u64 = 80 * 25 * 2;

/// A connection that has left the greeting behind.
pub struct Qmp {
    to: ChildStdin,
    from: Receiver<Value>,
    events: Vec<Event>,
}

impl Qmp {
    /// Takes part in the greeting.
    ///
    /// # Errors
    /// If QEMU has ended.
    pub fn greet(to: ChildStdin, from: ChildStdout) -> Result<Self> {
        let (sender, receiver) = channel();
        std::thread::spawn(move || {
            for line in BufReader::new(from).lines().map_while(Result::ok) {
                let Ok(value) = serde_json::from_str(&line) else { continue };
                if sender.send(value).is_err() {
                    return;
                }
            }
        });
        let mut qmp = Qmp { to, from: receiver, events: Vec::new() };
        qmp.from.recv_timeout(PATIENCE).context("QEMU does not say anything")?;
        qmp.execute("qmp_capabilities", json!({}))?;
        Ok(qmp)
    }

    /// Runs one command and waits for what it returns.
    ///
    /// # Errors
    /// If QEMU refuses the command or has ended.
    pub fn execute(&mut self, command: &str, arguments: Value) -> Result<Value> {
        let mut line = json!({"execute": command, "arguments": arguments}).to_string();
        line.push('\n');
        self.to.write_all(line.as_bytes()).with_context(|| format!("cannot send QEMU {command}"))?;
        loop {
            let mut answer = self
                .from
                .recv_timeout(PATIENCE)
                .with_context(|| format!("QEMU does not answer {command}"))?;
            self.events.extend(event(&answer));
            if let Some(value) = answer.get_mut("return") {
                return Ok(value.take());
            }
            if let Some(error) = answer.get("error") {
                bail!("QEMU refuses {command}: {error}");
            }
        }
    }

    /// What has been reported since the last call.
    pub fn events(&mut self) -> Vec<Event> {
        self.events.extend(self.from.try_iter().filter_map(|value| event(&value)));
        std::mem::take(&mut self.events)
    }

    /// Types lower-case letters on the keyboard, then Enter.
    ///
    /// # Errors
    /// As `execute`.
    pub fn type_line(&mut self, letters: &str) -> Result<()> {
        for key in letters.chars().map(String::from).chain(["ret".to_owned()]) {
            let keys = json!([{"type": "qcode", "data": key}]);
            self.execute("send-key", json!({"keys": keys, "hold-time": HOLD_MS}))?;
            std::thread::sleep(KEY_PAUSE);
        }
        Ok(())
    }

    /// Writes what a screen in text mode shows to `file`: a byte for the character and one for its colours, 80 to a line.
    ///
    /// # Errors
    /// As `execute`.
    pub fn save_text_screen(&mut self, file: &str) -> Result<()> {
        let screen = json!({"val": TEXT_SCREEN, "size": TEXT_SCREEN_BYTES, "filename": file});
        self.execute("pmemsave", screen).map(drop)
    }

    /// Bytes read from the disk, and all requests to it so far.
    ///
    /// # Errors
    /// As `execute`.
    pub fn disk_figures(&mut self) -> Result<(u64, u64)> {
        let drives = self.execute("query-blockstats", json!({}))?;
        let mut figures = (0, 0);
        for stats in drives.as_array().into_iter().flatten().map(|drive| &drive["stats"]) {
            let count = |name: &str| stats[name].as_u64().unwrap_or_default();
            figures.0 += count("rd_bytes");
            figures.1 += count("rd_operations") + count("wr_operations");
        }
        Ok(figures)
    }
}

/// SHUTDOWN and its reason, RESET, GUEST_PANICKED; what QEMU does by itself is none.
fn event(value: &Value) -> Option<Event> {
    let by_guest = value["data"]["guest"].as_bool().unwrap_or_default();
    match (value["event"].as_str()?, by_guest) {
        ("SHUTDOWN", true) if value["data"]["reason"] == "guest-reset" => Some(Event::Reset),
        ("SHUTDOWN", true) => Some(Event::PoweredOff),
        ("RESET", true) => Some(Event::Reset),
        ("GUEST_PANICKED", _) => Some(Event::Panicked),
        _ => None,
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_the_guest_does_is_told_from_what_qemu_does() {
        let said = |text: &str| event(&serde_json::from_str(text).expect("it is JSON"));
        let off = r#"{"event":"SHUTDOWN","data":{"guest":true,"reason":"guest-shutdown"},"timestamp":{}}"#;
        assert_eq!(said(off), Some(Event::PoweredOff));
        assert_eq!(said(&off.replace("guest-shutdown", "guest-reset")), Some(Event::Reset));
        assert_eq!(said(&off.replace("true", "false").replace("guest-shutdown", "host-qmp-quit")), None);
        assert_eq!(said(r#"{"event":"RESET","data":{"guest":false,"reason":"host"}}"#), None);
        assert_eq!(said(r#"{"return":{}}"#), None);
    }
}
