//! A temporary key slot for the machine, made in a copy of each container's header, which then goes into the overlay.
//! The container itself is only read.
//!
//! The copy keeps no other slot: deriving a key from a costly one takes a virtual machine minutes, and more memory than it
//! may have.

use super::{UNTOUCHED, overlay};
use crate::layer::luks;
use crate::refusal::{Failure, Refusal};
use crate::sys::block::BlockDevice;
use crate::sys::command;
use crate::sys::secret::Passphrase;
use anyhow::{Context, Result};
use std::fs::File;
use std::io::Write;
use std::os::unix::fs::OpenOptionsExt;
use std::path::{Path, PathBuf};
use std::rc::Rc;
use zeroize::Zeroizing;

/// Letters that lie in one place on QWERTY, QWERTZ and AZERTY keyboards, and that no boot menu understands.
const LETTERS: &[u8; 16] = b"bdfghijklnoprstu";
/// 16 letters are 4 bits each.
const LENGTH: usize = 32;
/// The least that cryptsetup takes: the passphrase is random, and needs no stretching.
const ITERATIONS: &str = "1000";
/// Read and written at once.
const CHUNK: u64 = 1 << 20;

/// What opens a container.
pub enum Key {
    /// A key file.
    File(PathBuf),
    /// The passphrase that somebody has given.
    Passphrase(Rc<Passphrase>),
}

/// A random passphrase that can be typed anywhere.
///
/// # Errors
/// If the system has no random bytes.
pub fn temporary_passphrase() -> Result<Zeroizing<String>> {
    let mut random = Zeroizing::new([0u8; LENGTH]);
    getrandom::fill(&mut *random).context("cannot get random bytes")?;
    Ok(Zeroizing::new(random.iter().map(|byte| char::from(LETTERS[usize::from(byte & 15)])).collect()))
}

/// Gives the container at `offset` of the overlay's disk a slot for `temporary`. `dir` is private, and in memory where
/// the system has its /run in memory.
///
/// # Errors
/// A `Refusal` if the key does not open it; a `Failure` if a tool fails.
pub fn add_slot(
    node: &Path,
    offset: u64,
    key: &Key,
    temporary: &str,
    dir: &Path,
    image: &Path,
) -> Result<()> {
    let name = node.to_string_lossy();
    let dump = tool(&["luksDump", &name], &[])?;
    let length = luks::parse(&name, &dump)?.data_offset.0;
    let copy = HeaderCopy::of(node, length, dir)?;
    let old = opened_slot(node, key, &copy)?;
    for slot in luks::parse(&name, &dump)?.keyslots.iter().map(|slot| slot.number).filter(|n| *n != old) {
        copy.kill(slot)?;
    }
    copy.add(key, temporary)?;
    copy.kill(old)?;
    overlay::write(image, &copy.path, offset, length)
}

/// The slot that the key opens.
fn opened_slot(node: &Path, key: &Key, copy: &HeaderCopy) -> Result<u32> {
    let (file, input) = key.given();
    let args =
        ["open", "--verbose", "--test-passphrase", "--type", "luks", "--key-file", &file, &copy.name()];
    let said = command::ask("cryptsetup", &args, input).context("cannot run cryptsetup")?;
    let slot = luks::unlocked_slot(&said.stdout).filter(|_| said.ok());
    slot.ok_or_else(|| {
        let what = format!("cannot test the boot: {} does not open {}", key.name(), node.display());
        let refusal = said.stderr.lines().fold(Refusal::new(what, UNTOUCHED), Refusal::why);
        refusal
            .remedy("give the right one; if its key slots were changed: diskmirror init --mirror DISK")
            .into()
    })
}

impl Key {
    /// The argument of `--key-file`, and what goes to stdin.
    fn given(&self) -> (String, &[u8]) {
        match self {
            Key::File(path) => (path.to_string_lossy().into_owned(), b""),
            Key::Passphrase(passphrase) => ("-".into(), passphrase.bytes()),
        }
    }
    fn name(&self) -> String {
        match self {
            Key::File(path) => path.display().to_string(),
            Key::Passphrase(_) => "the passphrase".into(),
        }
    }
}

/// A header in a file of its own, removed when dropped.
struct HeaderCopy {
    path: PathBuf,
}

impl HeaderCopy {
    fn of(node: &Path, length: u64, dir: &Path) -> Result<Self> {
        let copy = HeaderCopy { path: dir.join("header") };
        let from = BlockDevice::open_read(node)?;
        let mut to = File::options().write(true).create_new(true).mode(0o600).open(&copy.path)?;
        let mut at = 0;
        while at < length {
            let span = from.read_span(at, CHUNK.min(length - at) as usize)?;
            to.write_all(&span)?;
            at += span.len() as u64;
        }
        Ok(copy)
    }

    fn name(&self) -> String {
        self.path.to_string_lossy().into_owned()
    }

    fn kill(&self, slot: u32) -> Result<()> {
        tool(&["luksKillSlot", "--batch-mode", &self.name(), &slot.to_string()], &[]).map(drop)
    }

    /// Adds the temporary passphrase. Both secrets come on stdin, where a size ends the first.
    fn add(&self, key: &Key, temporary: &str) -> Result<()> {
        let (file, given) = key.given();
        let mut input = Zeroizing::new(Vec::with_capacity(given.len() + temporary.len()));
        input.extend_from_slice(given);
        input.extend_from_slice(temporary.as_bytes());
        let size = given.len().to_string();
        let name = self.name();
        let mut args = vec!["luksAddKey", "--batch-mode", "--key-file", &file];
        if !given.is_empty() {
            args.extend(["--keyfile-size", &size]);
        }
        args.extend(["--pbkdf", "pbkdf2", "--pbkdf-force-iterations", ITERATIONS, &name, "-"]);
        tool(&args, &input).map(drop)
    }
}

impl Drop for HeaderCopy {
    fn drop(&mut self) {
        // The directory is removed with all that is in it, too.
        let _ = std::fs::remove_file(&self.path);
    }
}

fn tool(args: &[&str], input: &[u8]) -> Result<String> {
    let failed = |error: command::ToolError| {
        Failure::new("cannot prepare the boot test", UNTOUCHED).why(error.to_string())
    };
    Ok(command::run("cryptsetup", args, input).map_err(failed)?.stdout)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_temporary_passphrase_can_be_typed_on_any_keyboard_and_is_never_the_same() {
        let one = temporary_passphrase().expect("there are random bytes");
        assert!(one.len() == LENGTH && one.bytes().all(|byte| LETTERS.contains(&byte)), "{}", *one);
        // On a French keyboard a, q, w, z and m lie elsewhere, on a German one y and z; GRUB's menu knows c and e.
        assert!(!LETTERS.iter().any(|letter| b"aqwzmyce".contains(letter)));
        assert_ne!(one, temporary_passphrase().expect("there are random bytes"));
    }
}
