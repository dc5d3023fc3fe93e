//! A server's disks, and its boots from any choice of them: what stays when a machine is switched off.

use std::ffi::OsStr;
use std::path::{Path, PathBuf};
use std::process::Command;
use std::rc::Rc;

use anyhow::{Context, Result, ensure};
use tempfile::TempDir;

use super::console::DeadEnd;
use super::image::{self, Image, Layout};
use super::machine::{Drive, Machine, Parts, UEFI_BLANK};
use super::server::Server;

/// The serial number of the disk that holds the server at first.
pub const PRIMARY: &str = "PRIMARY01";

/// The controller a disk is plugged into; it decides the disk's name in /dev. (QEMU makes no snapshot of a machine with an
/// NVMe controller, so there is none.)
#[derive(Debug, Clone, Copy)]
pub enum Bus {
    /// vdX
    Virtio,
    /// sdX
    Scsi,
}

/// A disk beside the server's own, blank at first.
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

impl Disk {
    /// A virtio disk of the procedure's primary's size with the serial number MIRROR01: /dev/vdb beside the primary.
    pub const EQUAL_MIRROR: Self =
        Self { serial: "MIRROR01", bytes: 3 << 30, bus: Bus::Virtio, sector_bytes: 512 };

    fn device(&self) -> String {
        let Self { serial, sector_bytes, .. } = self;
        let sizes = format!("logical_block_size={sector_bytes},physical_block_size={sector_bytes}");
        match self.bus {
            Bus::Virtio => format!("virtio-blk-pci,serial={serial},{sizes}"),
            Bus::Scsi => format!("scsi-hd,bus=scsi.0,serial={serial},{sizes}"),
        }
    }
}

/// The disks of one server, in a folder that goes when the rack and every machine made of it are gone.
pub struct Rack {
    layout: Layout,
    image: Image,
    disks: Vec<Disk>,
    folder: Rc<TempDir>,
}

impl Rack {
    /// The primary of a layout, an overlay of the cached image; and of a UEFI server, the firmware that knows it.
    ///
    /// # Panics
    /// If the image cannot be built.
    pub fn new(layout: Layout) -> Self {
        Self::try_new(layout).unwrap_or_else(|error| panic!("the server of {layout:?}: {error:#}"))
    }

    fn try_new(layout: Layout) -> Result<Self> {
        let image = image::server(layout)?;
        let disk = Disk { serial: PRIMARY, bytes: layout.bytes(), bus: Bus::Virtio, sector_bytes: 512 };
        let rack = Self { layout, image, disks: vec![disk], folder: Rc::new(Machine::folder()?) };
        overlay(&rack.image.disk, "qcow2", &rack.file(PRIMARY))?;
        if let Some(known) = &rack.image.firmware {
            overlay(known, "qcow2", &rack.file("firmware"))?;
        }
        Ok(rack)
    }

    /// Puts a blank disk beside the others.
    ///
    /// # Panics
    /// If its file cannot be made.
    pub fn add(&mut self, disk: Disk) {
        create(&self.file(disk.serial), &[], Some(disk.bytes)).expect("a blank disk");
        self.disks.push(disk);
    }

    /// Moves the disks to another machine of the kind: its firmware has never seen any of them.
    ///
    /// # Panics
    /// If there is no UEFI to forget anything.
    pub fn take_a_machine_that_knows_no_disk(&mut self) {
        assert!(self.image.firmware.is_some(), "a BIOS remembers nothing");
        overlay(Path::new(UEFI_BLANK), "raw", &self.file("firmware")).expect("new firmware");
    }

    /// Boots with the disks of these serial numbers in these slots, the first one first; what is written to them stays.
    /// A machine that does not get there, and may yet, is started once more.
    ///
    /// # Panics
    /// If it does not boot, with the end of its console.
    pub fn boot(&self, serials: &[&str]) -> Server {
        self.start(serials, false)
    }

    /// The same, but the disks (and the firmware) are as before when the server has gone.
    ///
    /// # Panics
    /// As `boot`.
    pub fn look(&self, serials: &[&str]) -> Server {
        self.start(serials, true)
    }

    /// Looks as `look` does, once only.
    ///
    /// # Errors
    /// Why it does not boot, with the end of its console.
    pub fn try_look(&self, serials: &[&str]) -> Result<Server> {
        Server::start(self.layout, || self.machine(serials, true))
    }

    /// Plugs a disk into a server that runs; what is written to it stays.
    ///
    /// # Panics
    /// If QEMU does not take it.
    pub fn plug(&self, serial: &str, server: &mut Server) {
        let disk = self.disk(serial).expect("a disk of this rack");
        server.plug(&Drive { id: serial.to_owned(), file: self.file(serial), device: disk.device() });
    }

    fn start(&self, serials: &[&str], throw_away: bool) -> Server {
        let attempt = || Server::start(self.layout, || self.machine(serials, throw_away));
        let first = attempt();
        first.unwrap_or_else(|error| {
            assert!(!error.is::<DeadEnd>(), "{serials:?} do not boot: {error:#}");
            println!("lab: the machine did not boot, starting it once more: {error:#}");
            attempt().unwrap_or_else(|error| panic!("{serials:?} do not boot: {error:#}"))
        })
    }

    fn machine(&self, serials: &[&str], throw_away: bool) -> Result<Machine> {
        let folder = Machine::folder()?;
        let file = |name: &str| -> Result<PathBuf> {
            let kept = self.file(name);
            if !throw_away {
                return Ok(kept);
            }
            let thrown = folder.path().join(name);
            overlay(&kept, "qcow2", &thrown)?;
            Ok(thrown)
        };
        let drive = |serial: &&str| -> Result<Drive> {
            let device = self.disk(serial)?.device();
            Ok(Drive { id: (*serial).to_owned(), file: file(serial)?, device })
        };
        let drives = serials.iter().map(drive).collect::<Result<_>>()?;
        let firmware = self.image.firmware.is_some().then(|| file("firmware")).transpose()?;
        let parts = Parts { accelerator: self.image.accelerator, memory_mib: 1024, firmware, drives };
        Machine::start(folder, &parts, Rc::clone(&self.folder))
    }

    fn disk(&self, serial: &str) -> Result<&Disk> {
        let disk = self.disks.iter().find(|disk| disk.serial == serial);
        disk.with_context(|| format!("there is no disk {serial}"))
    }

    /// The image of the disk with this serial number, for whoever looks at it while no machine has it.
    pub fn file(&self, name: &str) -> PathBuf {
        self.folder.path().join(format!("{name}.qcow2"))
    }
}

fn overlay(below: &Path, format: &str, file: &Path) -> Result<()> {
    create(file, &["-b".as_ref(), below.as_os_str(), "-F".as_ref(), format.as_ref()], None)
}

fn create(file: &Path, options: &[&OsStr], bytes: Option<u64>) -> Result<()> {
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
