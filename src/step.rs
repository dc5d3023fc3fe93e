//! The steps of a plan: values that are shown and then done, word for word.

use serde::Serialize;
use std::fmt;
use std::path::PathBuf;

/// One step: what it is for, and the very thing that will be done.
#[derive(Debug, Clone, PartialEq, Serialize)]
pub struct Step {
    /// What it does, in one line: `encrypt /dev/sdb5 (LUKS2, aes-xts-plain64)`.
    pub title: String,
    /// What is done.
    pub action: Action,
    /// How it is known afterwards that it was done.
    pub checks: Vec<Check>,
}

/// What a step does.
#[derive(Debug, Clone, PartialEq, Serialize)]
#[serde(rename_all = "snake_case")]
pub enum Action {
    /// Runs one of the system's tools.
    Run(Invocation),
    /// Writes a file on the primary, whole and atomically; never over a secret that is there.
    Write {
        /// Where, as the running system sees it.
        path: PathBuf,
        /// Its permission bits.
        mode: u32,
        /// What it will hold.
        text: FileText,
    },
    /// Copies boot code (bytes 0–439, and the gap behind the table where that is meaningful).
    BootBlock {
        /// The disk it is read from.
        from: String,
        /// The disk it is written to.
        to: String,
        /// Bytes from offset 512 that are copied too: GRUB's core image on an MBR disk; 0 on GPT, where the table is.
        gap: u64,
    },
    /// Overwrites a device.
    Fill {
        /// The node.
        device: String,
        /// What is written.
        with: Filling,
        /// How much, in bytes.
        bytes: u64,
    },
}

/// What a written file holds.
#[derive(Debug, Clone, PartialEq, Serialize)]
#[serde(rename_all = "snake_case")]
pub enum FileText {
    /// This text.
    Text(String),
    /// So many random bytes, drawn when the step is done.
    RandomKey {
        /// How many.
        bytes: usize,
    },
}

/// What a device is filled with.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize)]
#[serde(rename_all = "snake_case")]
pub enum Filling {
    /// A key stream.
    Random,
    /// Zeros.
    Zero,
    /// Nothing: its blocks are given back.
    Discard,
}

/// A tool, its argv and what is on its stdin.
#[derive(Debug, Clone, PartialEq, Serialize)]
pub struct Invocation {
    /// The tool's name, found in PATH.
    pub program: String,
    /// Its arguments.
    pub args: Vec<String>,
    /// What it reads.
    pub input: Input,
}

/// What a tool reads on its stdin.
#[derive(Debug, Clone, PartialEq, Serialize)]
#[serde(rename_all = "snake_case")]
pub enum Input {
    /// Nothing.
    Nothing,
    /// This text.
    Text(String),
    /// The passphrase, which is in no plan: whoever applies it has it.
    Passphrase,
}

/// How a step is checked: each names a fact that the system's own tools must confirm.
#[derive(Debug, Clone, PartialEq, Serialize)]
#[serde(rename_all = "snake_case")]
pub enum Check {
    /// The disk's table is this one: partition number, start and size in bytes.
    Table {
        /// The disk.
        disk: String,
        /// Number, start, size.
        partitions: Vec<(u32, u64, u64)>,
    },
    /// blkid sees this type and UUID there.
    Signature {
        /// The node.
        device: String,
        /// blkid's TYPE.
        kind: String,
        /// blkid's UUID.
        uuid: String,
    },
    /// The container is open under this name, on this device.
    Open {
        /// The mapper name.
        mapper: String,
        /// The node below it.
        device: String,
    },
    /// The volume group has this name and lies on these physical volumes.
    Group {
        /// The group.
        vg: String,
        /// The physical volume that it stands with.
        pv: String,
        /// The others, if there are any.
        #[serde(skip_serializing_if = "Vec::is_empty")]
        other_pvs: Vec<String>,
    },
    /// The volume exists and has this size in bytes.
    Volume {
        /// The group.
        vg: String,
        /// The volume.
        lv: String,
        /// Its size.
        size: u64,
    },
}

impl Invocation {
    /// A tool with its arguments and nothing on stdin.
    pub fn new<S: Into<String>>(program: &str, args: impl IntoIterator<Item = S>) -> Self {
        Invocation {
            program: program.into(),
            args: args.into_iter().map(Into::into).collect(),
            input: Input::Nothing,
        }
    }
    /// With this on stdin.
    pub fn reading(mut self, input: Input) -> Self {
        self.input = input;
        self
    }
}

impl fmt::Display for Invocation {
    /// As a shell would take it, ready to paste.
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{}", self.program)?;
        for arg in &self.args {
            write!(f, " {}", quoted(arg))?;
        }
        match &self.input {
            Input::Nothing => Ok(()),
            Input::Passphrase => write!(f, "   # the passphrase on stdin"),
            Input::Text(text) => write!(f, " <<'END'\n{}\nEND", text.trim_end()),
        }
    }
}

/// `arg` as a POSIX shell needs it.
pub fn quoted(arg: &str) -> String {
    let plain = |c: char| c.is_ascii_alphanumeric() || "-_./=:,+@%^".contains(c);
    if !arg.is_empty() && arg.chars().all(plain) {
        arg.to_owned()
    } else {
        format!("'{}'", arg.replace('\'', r"'\''"))
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn an_invocation_is_printed_ready_to_paste() {
        let mkfs = Invocation::new("mke2fs", ["-L", "it's root", "/dev/sdb1"]);
        assert_eq!(mkfs.to_string(), r"mke2fs -L 'it'\''s root' /dev/sdb1");
        let sfdisk = Invocation::new("sfdisk", ["/dev/sdb"]).reading(Input::Text("label: gpt\n".into()));
        assert_eq!(sfdisk.to_string(), "sfdisk /dev/sdb <<'END'\nlabel: gpt\nEND");
    }
}
