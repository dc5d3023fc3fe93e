//! Which accelerator QEMU can really use here.
//!
//! /dev/kvm may exist and hang or abort at the first instruction (a nested machine without hardware support), so it is
//! believed only after a firmware has run on it.

use std::path::Path;
use std::process::{Command, Stdio};
use std::sync::OnceLock;
use std::time::{Duration, Instant};

/// How machines are run.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Accelerator {
    /// The hardware's virtualization.
    Kvm,
    /// Translation: right everywhere, some ten times slower. `qemu64` boots quickest under it.
    Tcg,
}

impl Accelerator {
    /// The best one that works on this machine; probed once a process.
    pub fn best() -> Self {
        static BEST: OnceLock<Accelerator> = OnceLock::new();
        *BEST.get_or_init(|| {
            if Path::new("/dev/kvm").exists() && kvm_runs_a_firmware() { Self::Kvm } else { Self::Tcg }
        })
    }

    /// QEMU's options for it.
    pub fn arguments(self) -> [&'static str; 4] {
        match self {
            Self::Kvm => ["-accel", "kvm", "-cpu", "host"],
            Self::Tcg => ["-accel", "tcg,thread=multi", "-cpu", "qemu64"],
        }
    }
}

/// Starts a machine without disks and waits until its firmware has looked for one: a second where KVM works.
fn kvm_runs_a_firmware() -> bool {
    firmware_gives_up(Accelerator::Kvm, Duration::from_secs(10)).unwrap_or(false)
}

fn firmware_gives_up(accelerator: Accelerator, patience: Duration) -> std::io::Result<bool> {
    let dir = tempfile::tempdir()?;
    let log = dir.path().join("firmware");
    let mut machine = Command::new("qemu-system-x86_64")
        .args(accelerator.arguments())
        .args([
            "-m",
            "64",
            "-nodefaults",
            "-display",
            "none",
            "-device",
            "isa-debugcon,iobase=0x402,chardev=log",
            "-chardev",
        ])
        .arg(format!("file,id=log,path={}", log.display()))
        .stdin(Stdio::null())
        .stdout(Stdio::null())
        .stderr(Stdio::null())
        .spawn()?;
    let deadline = Instant::now() + patience;
    let mut ran = false;
    while !ran && Instant::now() < deadline && machine.try_wait()?.is_none() {
        std::thread::sleep(Duration::from_millis(100));
        ran = std::fs::read_to_string(&log).unwrap_or_default().contains("No bootable device");
    }
    machine.kill()?;
    machine.wait()?;
    Ok(ran)
}
