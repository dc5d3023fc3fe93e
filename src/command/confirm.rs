//! Confirming by its serial number that a disk may be erased, and refusing the disks that may not.

use crate::escape;
use crate::refusal::Refusal;
use crate::step::quoted;
use crate::sys::disk::Node;
use crate::sys::node::is_held;
use std::io::{self, IsTerminal, Write};
use std::path::Path;

/// What is about to be done to a device: how its refusals begin and end.
pub struct Intent<'a> {
    /// As the administrator named it.
    pub device: &'a Path,
    /// `to fill`, `to replace the partition table of`.
    pub verb: &'a str,
    /// The command to paste, without its `--erase`.
    pub command: String,
}

impl Intent<'_> {
    /// A refusal of this, `because` of something.
    pub fn refusal(&self, title: &str, because: &str) -> Refusal {
        Refusal::new(
            format!("refusing {} {title}: {because}", self.verb),
            format!("nothing was written to {}", self.device.display()),
        )
    }

    /// The device, if it is one.
    ///
    /// # Errors
    /// A refusal if it is no block device or is not there.
    pub fn node(&self) -> Result<Node, Refusal> {
        let path = self.device.display().to_string();
        Node::find(self.device).map_err(|error| match error.kind() {
            io::ErrorKind::InvalidInput => self.refusal(&path, "not a block device"),
            _ => self.refusal(&path, "it cannot be looked at").why(error.to_string()),
        })
    }

    /// Refuses a device that is in use, with the whole list of who uses it, or that cannot be written to.
    ///
    /// # Errors
    /// That refusal.
    pub fn refuse_unless_free(&self, node: &Node) -> Result<(), Refusal> {
        let title = node.title();
        let users =
            node.users().map_err(|e| self.refusal(&title, "who uses it is unknown").why(e.to_string()))?;
        if !users.is_empty() {
            let refusal = self.refusal(&title, "in use");
            let refusal = users.into_iter().fold(refusal, Refusal::why);
            return Err(refusal.remedy("unmount, close or deactivate what is named above, then repeat this"));
        }
        self.refuse_read_only(node)?;
        // Asked without opening it for writing: closing that would have udev read the table anew, and partitions come
        // and go under whoever looks at them next.
        match is_held(self.device) {
            Ok(false) => Ok(()),
            Ok(true) => Err(self
                .refusal(&title, "in use")
                .why("the kernel says that it is held, by whom it does not say (another mount namespace?)")
                .remedy(format!("lsblk {0} && fuser -v {0}", quoted(&node.disk().path().to_string_lossy())))),
            Err(error) => Err(self.cannot_open(&title, &error)),
        }
    }

    /// Refuses a device that the kernel would not write to.
    ///
    /// # Errors
    /// That refusal.
    pub fn refuse_read_only(&self, node: &Node) -> Result<(), Refusal> {
        if node.read_only() || node.disk().read_only() {
            let lift = format!("blockdev --setrw {}", quoted(&node.path().to_string_lossy()));
            return Err(self.refusal(&node.title(), "read-only").remedy(lift));
        }
        Ok(())
    }

    /// A refusal that says why a device could not be opened.
    pub fn cannot_open(&self, title: &str, error: &io::Error) -> Refusal {
        let refusal = self.refusal(title, "it cannot be opened").why(error.to_string());
        match error.kind() {
            io::ErrorKind::PermissionDenied => refusal.remedy("run this as root"),
            _ => refusal,
        }
    }

    /// Asks for what confirms the disk called `title` (its serial number; its path, if it reports none), or compares
    /// what was given.
    ///
    /// # Errors
    /// A refusal if it is another one, or if none was given and nobody can be asked.
    pub fn confirm(&self, title: &str, expected: &str, given: Option<&str>) -> Result<(), Refusal> {
        let asked;
        let given = match given {
            Some(given) => given,
            None if io::stdin().is_terminal() => {
                asked =
                    ask(title, expected).map_err(|e| self.refusal(title, "no answer").why(e.to_string()))?;
                &asked
            }
            None => {
                let refusal =
                    self.refusal(title, "not confirmed").why("there is no --erase, and nobody to ask");
                return Err(refusal.remedy(self.with_erase(expected)));
            }
        };
        if given == expected {
            return Ok(());
        }
        let differs = self
            .refusal(title, "not the disk that was confirmed")
            .why(format!("confirmed was {given:?}, but this is {expected:?}"));
        Err(differs.remedy(format!("if this is the disk: {}", self.with_erase(expected))))
    }

    fn with_erase(&self, expected: &str) -> String {
        format!("{} --erase {}", self.command, quoted(expected))
    }
}

fn ask(title: &str, expected: &str) -> io::Result<String> {
    let what = if expected.starts_with('/') { "path" } else { "serial number" };
    let mut err = io::stderr().lock();
    write!(err, "What is on {} will be lost.\nType the {what} of the disk to go on: ", escape::line(title))?;
    err.flush()?;
    drop(err);
    let mut line = String::new();
    io::stdin().read_line(&mut line)?;
    Ok(line.trim_end_matches('\n').to_owned())
}
