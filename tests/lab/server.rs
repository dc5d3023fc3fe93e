//! The booted server, as a test sees it: a root shell, files in and out, snapshots, and what was written to which disk.

use std::fs;
use std::path::Path;
use std::time::{Duration, Instant};

use anyhow::{Result, bail};

use super::PASSPHRASE;
use super::agent::Agent;
pub use super::agent::Output;
use super::console::DeadEnd;
use super::image::Layout;
use super::machine::{Drive, Machine};
pub use super::rack::{Bus, Disk};
use super::rack::{PRIMARY, Rack};

/// How long a step of the boot, or a command, may take on a busy machine without hardware support.
const PATIENCE: Duration = Duration::from_secs(600);
/// A command that takes longer is named with its seconds.
const LONG: Duration = Duration::from_secs(15);

/// What a boot prints that has failed: SeaBIOS, UEFI, GRUB, the kernel, the initramfs, systemd.
const DEAD_ENDS: [&str; 14] = [
    "No bootable device",
    "No bootable option or device",
    "UEFI Interactive Shell",
    "grub rescue>",
    "Minimal BASH-like line editing",
    "error: no such device",
    "error: you need to load the kernel first",
    "Kernel panic",
    "ALERT!",
    "(initramfs)",
    "maximum number of tries exceeded",
    "Entering emergency mode",
    "You are in emergency mode",
    "Cannot open access to console",
];

/// What the initramfs asks with, before the name from crypttab.
const PROMPT: &str = "Please unlock disk ";

/// A running server.
pub struct Server {
    machine: Machine,
    shell: Agent,
    /// The names, as in crypttab, of what the initramfs asked a passphrase for.
    pub unlocked: Vec<String>,
}

impl Server {
    /// Boots the procedure's server with blank `disks` beside its own, which is /dev/vda.
    ///
    /// # Panics
    /// If it does not boot, with the end of its console.
    pub fn boot(disks: &[Disk]) -> Self {
        let mut rack = Rack::new(Layout::Procedure);
        disks.iter().for_each(|disk| rack.add(*disk));
        let serials: Vec<_> = [PRIMARY].into_iter().chain(disks.iter().map(|disk| disk.serial)).collect();
        rack.boot(&serials)
    }

    /// Follows a boot: the passphrase typed on the console if the layout has one, the login prompt, every unit started.
    ///
    /// # Errors
    /// If it does not get there; a `console::DeadEnd` if it never will.
    pub fn start(layout: Layout, machine: impl Fn() -> Result<Machine>) -> Result<Self> {
        let begin = Instant::now();
        let mut machine = machine()?;
        let mut unlocked = Vec::new();
        if layout.is_encrypted() {
            machine.console.reach(PROMPT, &DEAD_ENDS, PATIENCE)?;
            unlocked.push(machine.console.reach(":", &[], PATIENCE)?);
            machine.console.type_line(PASSPHRASE)?;
        }
        // One passphrase opens all that a boot needs: a second prompt would wait for ever.
        let dead_ends = [&DEAD_ENDS[..], &[PROMPT]].concat();
        machine.console.reach("server login:", &dead_ends, PATIENCE)?;
        let mut shell = Agent::connect(&machine.shell_socket())?;
        let state = shell.run("systemctl is-system-running --wait", b"", PATIENCE)?.text();
        if state.trim() != "running" {
            let failed =
                shell.run("systemctl --failed --no-legend; systemctl list-jobs", b"", PATIENCE)?.text();
            bail!(DeadEnd(format!("the server is {state}{failed}")));
        }
        println!("lab: the server ({layout:?}) is up after {} s", begin.elapsed().as_secs());
        Ok(Self { machine, shell, unlocked })
    }

    /// Shuts down as an administrator would, and waits until the machine is off. Its disks are the rack's again.
    ///
    /// # Panics
    /// If it does not go off, with the end of its console.
    pub fn power_off(mut self) {
        let begin = Instant::now();
        self.ok("systemctl --no-block poweroff");
        self.machine.wait_for_end(PATIENCE).unwrap_or_else(|error| panic!("powering off: {error:#}"));
        println!("lab: the server is off after {} s", begin.elapsed().as_secs());
    }

    /// Waits until the server has seen a disk that is plugged in while it runs.
    ///
    /// # Panics
    /// If it does not.
    pub fn plug(&mut self, drive: &Drive) {
        self.machine.plug(drive).unwrap_or_else(|error| panic!("plugging {}: {error:#}", drive.id));
        let seen = format!(
            "for n in $(seq 60); do lsblk -dnro SERIAL | grep -qx {} && break; sleep 1; done",
            drive.id
        );
        self.ok(&format!("{seen}; udevadm settle; lsblk -dnro SERIAL | grep -x {}", drive.id));
    }

    /// Runs a bash script as root, outside any session. Its text stands in the process list: no secrets in it.
    ///
    /// # Panics
    /// If the server does not answer, with the end of its console.
    pub fn run(&mut self, script: &str) -> Output {
        self.run_with(script, b"")
    }

    /// The same with something on its standard input, which is where secrets go.
    ///
    /// # Panics
    /// As `run`.
    pub fn run_with(&mut self, script: &str, stdin: &[u8]) -> Output {
        let begun = Instant::now();
        let output = self.shell.run(script, stdin, PATIENCE).unwrap_or_else(|error| {
            panic!("{error:#}\nthe console ends with:\n{}", self.machine.console.last_lines())
        });
        if begun.elapsed() >= LONG {
            let line = script.lines().find(|line| line.contains("diskmirror")).unwrap_or(script).trim();
            println!("lab: {:>5} s  {line:.100}", begun.elapsed().as_secs());
        }
        output
    }

    /// Runs a script that must succeed, and returns its stdout without the space around it.
    ///
    /// # Panics
    /// If it fails, with all it said.
    pub fn ok(&mut self, script: &str) -> String {
        let output = self.run(script);
        assert_eq!(output.status, 0, "{script}\nstdout: {}\nstderr: {}", output.text(), output.stderr);
        output.text().trim().to_owned()
    }

    /// Copies a file of the host into the server, mode 755, through a 9p mount that is gone afterwards (QEMU makes no
    /// snapshot of a machine that has one).
    ///
    /// # Panics
    /// If either side fails.
    pub fn push(&mut self, file: &Path, to: &str) {
        let passed = self.machine.share().join("file");
        fs::copy(file, &passed).unwrap_or_else(|error| panic!("{}: {error}", file.display()));
        self.ok(&format!(
            "set -e; mkdir -p /run/lab-share; modprobe -a 9pnet_virtio 9p
             mount -t 9p -o trans=virtio,version=9p2000.L,msize=262144 lab /run/lab-share
             install -m 755 /run/lab-share/file '{to}'
             umount /run/lab-share; rmdir /run/lab-share"
        ));
        fs::remove_file(passed).expect("the file was just copied there");
    }

    /// The content of a file in the server.
    ///
    /// # Panics
    /// If it cannot be read.
    pub fn fetch(&mut self, path: &str) -> Vec<u8> {
        let output = self.run(&format!("cat '{path}'"));
        assert_eq!(output.status, 0, "{}", output.stderr);
        output.stdout
    }

    /// Runs the judge of `tests/lab/judge` with `arguments`, the passphrase on its standard input. It lies in memory, so that it
    /// adds nothing to what it judges.
    ///
    /// # Panics
    /// If it cannot be put there.
    pub fn judge(&mut self, arguments: &str) -> Output {
        self.ok("mkdir -p /run/lab");
        for file in ["judge", "secrets"] {
            let source = concat!(env!("CARGO_MANIFEST_DIR"), "/tests/lab/judge");
            self.push(&Path::new(source).join(file), &format!("/run/lab/{file}"));
        }
        self.run_with(&format!("bash /run/lab/judge {arguments}"), PASSPHRASE.as_bytes())
    }

    /// Leaves only what rescue mode has running; the root shell stays. The journal is volatile, so nothing writes to / any more.
    ///
    /// # Panics
    /// If systemd does not get there.
    pub fn make_quiet(&mut self) {
        self.ok("systemctl isolate rescue.target && systemctl is-active rescue.target && sync");
    }

    /// Keeps the whole machine, disks and memory, under a name.
    ///
    /// # Panics
    /// If QEMU cannot.
    pub fn save(&mut self, name: &str) {
        self.machine.qmp.monitor(&format!("savevm {name}")).expect("saving the machine");
    }

    /// Puts the whole machine back to where `save` was called.
    ///
    /// # Panics
    /// If there is no such snapshot.
    pub fn load(&mut self, name: &str) {
        self.machine.qmp.monitor(&format!("loadvm {name}")).expect("loading the machine");
    }

    /// The bytes written to or discarded on a disk since the boot, by its serial number. It only grows, snapshots or not:
    /// no difference between two calls proves that nothing was written.
    ///
    /// # Panics
    /// If there is no such disk.
    pub fn written_bytes(&mut self, serial: &str) -> u64 {
        self.machine.written_bytes(serial).expect("asking for a disk's counters")
    }
}
