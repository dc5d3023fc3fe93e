//! What a boot test leaves behind.

use crate::exit_code::Exit;
use serde::{Deserialize, Serialize};

/// How a boot test ended.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum Verdict {
    /// The system came up: a login prompt, its target, or an orderly answer to the power button.
    Booted,
    /// The kernel came up and the system did not: emergency mode, the initramfs' shell, a panic.
    Emergency,
    /// Firmware or boot loader found nothing to start.
    NoLoader,
    /// The kernel came up, and nobody asked for the passphrase.
    NoPrompt,
    /// None of these in the time there was.
    Timeout,
}

impl Verdict {
    /// The name in the history and in JSON.
    pub const fn name(self) -> &'static str {
        match self {
            Verdict::Booted => "booted",
            Verdict::Emergency => "emergency",
            Verdict::NoLoader => "no_loader",
            Verdict::NoPrompt => "no_prompt",
            Verdict::Timeout => "timeout",
        }
    }

    /// In words, for people: `the mirror …`.
    pub const fn words(self) -> &'static str {
        match self {
            Verdict::Booted => "boots",
            Verdict::Emergency => "does not boot: the kernel starts, the system does not come up",
            Verdict::NoLoader => "does not boot: no boot loader starts a kernel",
            Verdict::NoPrompt => "does not boot: nothing asks for the passphrase",
            Verdict::Timeout => "did not boot in the time there was",
        }
    }

    /// What the shell is told.
    pub const fn exit(self) -> Exit {
        match self {
            Verdict::Booted => Exit::Done,
            Verdict::Emergency | Verdict::NoLoader | Verdict::NoPrompt | Verdict::Timeout => Exit::Failed,
        }
    }
}

/// One boot test.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
pub struct BootTestRecord {
    /// Its number; 0 until the history has given it one.
    pub id: i64,
    /// The mirror's name.
    pub mirror: String,
    /// The table id of the disk that was booted: a test of another disk proves nothing.
    pub table_id: String,
    /// The run that had written the mirror last.
    pub run: Option<i64>,
    /// When it began, in seconds since 1970.
    pub started: i64,
    /// How long it took until the verdict.
    pub seconds: f64,
    /// The verdict.
    pub verdict: Verdict,
    /// What it stands on, in a line: `login prompt`, or the line that told of the failure.
    pub sign: String,
    /// `kvm` or `tcg`.
    pub accelerator: String,
    /// `bios` or `uefi`.
    pub firmware: String,
    /// The last lines of the console.
    pub console: Vec<String>,
}
