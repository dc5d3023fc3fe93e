//! The booted server, as a test sees it: a root shell, files in and out, snapshots, and what was written to which disk.

use std::fs;
use std::path::Path;
use std::process::Command;
use std::time::{Duration, Instant};

use anyhow::{Context, Result, ensure};

use super::agent::Agent;
pub use super::agent::Output;
use super::machine::{Drive, Machine};
use super::{PASSPHRASE, image};

/// How long a step of the boot, or a command, may take on a busy machine without hardware support.
const PATIENCE: Duration = Duration::from_secs(600);

/// The controller a disk is plugged into; it decides the disk's name in /dev. (QEMU makes no snapshot of a machine with an
/// NVMe controller, so there is none.)
#[derive(Debug, Clone, Copy)]
pub enum Bus {
    /// vdX
    Virtio,
    /// sdX
    Scsi,
}

/// A blank disk beside the server's own.
#[derive(Debug, Clone, Copy)]
pub struct Disk {
    /// What the disk tells as its serial number; tests name it by this.
    pub serial: &'static str,
    /// Its capacity.
    pub bytes: u64,
    /// Its controller.
    pub bus: Bus,
    /// Its logical sector size: 512 or 4096.
    pub sector_bytes: u32,
}

/// The capacity of the server's own disk.
pub const PRIMARY_BYTES: u64 = 3 << 30;

impl Disk {
    /// A virtio disk of the primary's size with the serial number MIRROR01: /dev/vdb.
    pub const EQUAL_MIRROR: Self =
        Self { serial: "MIRROR01", bytes: PRIMARY_BYTES, bus: Bus::Virtio, sector_bytes: 512 };

    fn device(&self) -> String {
        let Self { serial, sector_bytes, .. } = self;
        let sizes = format!("logical_block_size={sector_bytes},physical_block_size={sector_bytes}");
        match self.bus {
            Bus::Virtio => format!("virtio-blk-pci,serial={serial},{sizes}"),
            Bus::Scsi => format!("scsi-hd,bus=scsi.0,serial={serial},{sizes}"),
        }
    }
}

/// A running server. Its own disk is /dev/vda (serial PRIMARY01), an overlay of the cached image.
pub struct Server {
    machine: Machine,
    shell: Agent,
}

impl Server {
    /// Boots the server with `disks` beside its own: GRUB, the passphrase typed on the console, the login prompt.
    /// A machine that does not get there is started once more.
    ///
    /// # Panics
    /// If the second one does not either, with the end of its console.
    pub fn boot(disks: &[Disk]) -> Self {
        let first = Self::try_boot(disks);
        first.unwrap_or_else(|error| {
            println!("lab: the machine did not boot, starting it once more: {error:#}");
            Self::try_boot(disks).unwrap_or_else(|error| panic!("the server does not boot: {error:#}"))
        })
    }

    fn try_boot(disks: &[Disk]) -> Result<Self> {
        let image = image::server()?;
        let begin = Instant::now();
        let folder = Machine::folder()?;
        let drives = drives(folder.path(), &image.disk, disks)?;
        let mut machine = Machine::start(folder, image.accelerator, 1024, &drives)?;
        machine.console.expect("Please unlock disk vda5_crypt", PATIENCE)?;
        machine.console.type_line(PASSPHRASE)?;
        machine.console.expect("server login:", PATIENCE)?;
        let mut shell = Agent::connect(&machine.shell_socket())?;
        let state = shell.run("systemctl is-system-running --wait", b"", PATIENCE)?.text();
        ensure!(state.trim() == "running", "the server is {state}");
        println!("lab: the server is up after {} s", begin.elapsed().as_secs());
        Ok(Self { machine, shell })
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
        self.shell.run(script, stdin, PATIENCE).unwrap_or_else(|error| {
            panic!("{error:#}\nthe console ends with:\n{}", self.machine.console.last_lines())
        })
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

/// An overlay for the server's disk, and blank disks.
fn drives(folder: &Path, image: &Path, disks: &[Disk]) -> Result<Vec<Drive>> {
    let file = folder.join("PRIMARY01.qcow2");
    create(&file, &["-b".as_ref(), image.as_os_str(), "-F".as_ref(), "qcow2".as_ref()], None)?;
    let mut drives = vec![Drive {
        id: "PRIMARY01".to_owned(),
        file,
        device: "virtio-blk-pci,serial=PRIMARY01".to_owned(),
    }];
    for disk in disks {
        let file = folder.join(format!("{}.qcow2", disk.serial));
        create(&file, &[], Some(disk.bytes))?;
        drives.push(Drive { id: disk.serial.to_owned(), file, device: disk.device() });
    }
    Ok(drives)
}

fn create(file: &Path, options: &[&std::ffi::OsStr], bytes: Option<u64>) -> Result<()> {
    let mut command = Command::new("qemu-img");
    command
        .args(["create", "-q", "-f", "qcow2"])
        .args(options)
        .arg(file)
        .args(bytes.map(|bytes| bytes.to_string()));
    let status = command.status().context("qemu-img")?;
    ensure!(status.success(), "qemu-img create {}: {status}", file.display());
    Ok(())
}
