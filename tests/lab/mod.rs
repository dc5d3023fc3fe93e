//! The VM lab: a real Debian server in a QEMU machine, driven from Rust.
//!
//! `image` builds each kind of server once and caches it, `rack` holds a server's disks between its boots, `machine` runs
//! QEMU, `server` follows a boot and offers the test a root shell, files, snapshots and the disks' write counters. Nothing
//! here knows what diskmirror does.

mod agent;
pub mod console;
pub mod image;
pub mod machine;
mod qmp;
pub mod rack;
pub mod server;

use std::path::{Path, PathBuf};
use std::process::Command;
use std::time::Instant;

/// The passphrase of the servers' encrypted partitions; `tests/lab/image/put` uses the same.
pub const PASSPHRASE: &str = "correct horse";

/// The programs the lab needs on the host, each with the Debian package that holds it.
const TOOLS: [(&str, &str); 8] = [
    ("mmdebstrap", "mmdebstrap"),
    ("qemu-system-x86_64", "qemu-system-x86"),
    ("qemu-img", "qemu-utils"),
    ("cpio", "cpio"),
    ("setpriv", "util-linux"),
    ("timeout", "coreutils"),
    ("sfdisk", "fdisk"),
    ("mkfs.ext4", "e2fsprogs"),
];

/// Tells how long a test took when its thread ends; `make test` lists them.
struct Clock {
    test: String,
    begun: Instant,
}

impl Drop for Clock {
    fn drop(&mut self) {
        println!("scenario: {:>5} s  {}", self.begun.elapsed().as_secs(), self.test);
    }
}

thread_local! {
    static CLOCK: Clock = Clock {
        test: std::thread::current().name().unwrap_or("the only test").to_owned(),
        begun: Instant::now(),
    };
}

/// Whether the lab can run here at all; if not, a line says why the test is skipped.
///
/// # Panics
/// If a program is missing: that is mended by installing it, so it is no reason to skip.
pub fn available() -> bool {
    CLOCK.with(|_| {});
    if !rustix::process::geteuid().is_root() {
        println!("skipped: the VM lab builds its server with mmdebstrap as root, and this is not root");
        return false;
    }
    if !cfg!(target_arch = "x86_64") {
        println!("skipped: the VM lab's server is an x86-64 one");
        return false;
    }
    let mut missing: Vec<_> =
        TOOLS.iter().filter(|(tool, _)| !installed(tool)).map(|(_, package)| *package).collect();
    if !Path::new(machine::UEFI_CODE).exists() {
        missing.push("ovmf");
    }
    assert!(missing.is_empty(), "the VM lab needs more programs; do: apt-get install {}", missing.join(" "));
    true
}

fn installed(tool: &str) -> bool {
    Command::new(tool).arg("--version").output().is_ok()
}

/// Where the lab keeps what is worth keeping: `target/lab`, beside cargo's own `target/tmp`.
pub fn cache() -> PathBuf {
    PathBuf::from(env!("CARGO_TARGET_TMPDIR")).with_file_name("lab")
}

/// Whether the developer asked to keep what a machine leaves behind.
pub fn keep() -> bool {
    std::env::var_os("DISKMIRROR_LAB_KEEP").is_some_and(|value| !value.is_empty())
}
