//! One QEMU machine over the overlay: no network card, a serial console, a screen, the firmware's log.

use super::accelerator::Accelerator;
use super::confined::Confinement;
use super::console::Console;
use super::disk::{Bus, Disk};
use super::firmware::Firmware;
use super::overlay::Overlay;
use super::qmp::Qmp;
use super::{UNTOUCHED, signs};
use crate::refusal::{Failure, Refusal};
use crate::sys::read;
use anyhow::{Context, Result};
use serde_json::json;
use std::fs::{self, File};
use std::io::ErrorKind;
use std::os::fd::AsFd;
use std::path::{Path, PathBuf};
use std::process::{Child, Stdio};
use std::time::{Duration, Instant};

/// QEMU as everybody calls it.
pub const PROGRAM: &str = "qemu-system-x86_64";

/// What a boot needs, and what is better, in MiB.
const LEAST_MIB: u64 = 1024;
const BEST_MIB: u64 = 2048;
/// QEMU's own files, below the private directory.
const SOCKET: &str = "serial";
const FIRMWARE_LOG: &str = "firmware.log";
const QEMU_LOG: &str = "qemu.log";
const VARIABLES: &str = "variables.fd";
const PICTURE: &str = "screen";
const TEXT_SCREEN: &str = "screen.text";
/// How long QEMU may take until it listens.
const START_LIMIT: Duration = Duration::from_secs(30);
const TICK: Duration = Duration::from_millis(50);

/// A running machine; ended when dropped.
pub struct Machine {
    /// The first serial port.
    pub console: Console,
    /// QEMU's own side.
    pub qmp: Qmp,
    child: Process,
    dir: PathBuf,
}

/// QEMU, killed when dropped, so that it never outlives us by an error on the way.
struct Process(Child);

impl Drop for Process {
    fn drop(&mut self) {
        // It may have ended by itself.
        let _ = self.0.kill();
        let _ = self.0.wait();
    }
}

impl Machine {
    /// Starts the machine; what it needs and leaves behind lies in `dir`, which is private.
    ///
    /// # Errors
    /// A `Refusal` if memory is short; a `Failure` with QEMU's own words if it does not start.
    pub fn start(
        disk: &Disk,
        overlay: &Overlay,
        firmware: &Firmware,
        (accelerator, confined): (Accelerator, &Confinement),
        dir: &Path,
    ) -> Result<Machine> {
        let memory = memory_mib(&fs::read_to_string("/proc/meminfo").unwrap_or_default())?;
        if let Firmware::Uefi { vars, .. } = firmware {
            fs::copy(vars, dir.join(VARIABLES)).context("cannot copy the firmware's variables")?;
            confined.give(&dir.join(VARIABLES))?;
        }
        let mut arguments = accelerator.arguments().map(String::from).to_vec();
        arguments.extend(["-smp".to_owned(), accelerator.processors().to_string()]);
        arguments.extend(self::arguments(disk, firmware, memory));
        let node = File::open(&disk.node).with_context(|| format!("cannot open {}", disk.node))?;
        let image = File::options().read(true).write(true).open(&overlay.path);
        let image = image.with_context(|| format!("cannot open {}", overlay.path.display()))?;
        let child = confined
            .command(&arguments, dir, &[node.as_fd(), image.as_fd()])
            .stdin(Stdio::piped())
            .stdout(Stdio::piped())
            .stderr(File::create(dir.join(QEMU_LOG))?)
            .spawn();
        let mut child = Process(child.with_context(|| format!("cannot run {PROGRAM}"))?);
        let (to, from) = (child.0.stdin.take(), child.0.stdout.take());
        let started = || -> Result<Machine> {
            let mut qmp = Qmp::greet(to.context("no pipe")?, from.context("no pipe")?)?;
            let console = connect(child.0.id())?;
            qmp.execute("cont", json!({}))?;
            Ok(Machine { console, qmp, child, dir: dir.to_owned() })
        };
        started().map_err(|error| failed(dir, &error))
    }

    /// A `Failure` if QEMU has ended.
    ///
    /// # Errors
    /// That one.
    pub fn must_run(&mut self) -> Result<()> {
        match self.child.0.try_wait()? {
            None => Ok(()),
            Some(status) => Err(failed(&self.dir, &anyhow::anyhow!("it ended: {status}"))),
        }
    }

    /// What the firmware has said.
    ///
    /// # Errors
    /// A `Failure` if it has said more than any firmware does: whatever runs in the machine would fill our memory.
    pub fn firmware_log(&self) -> Result<String> {
        match read::file(&self.dir.join(FIRMWARE_LOG), read::TEXT_BYTES) {
            Err(error) if error.kind() == ErrorKind::FileTooLarge => {
                let what = "the boot test was ended: the virtual machine writes too much";
                let why = format!("what it says as its firmware is {error}");
                Err(Failure::new(what, UNTOUCHED).why(why).into())
            }
            said => Ok(signs::plain(&said.unwrap_or_default())),
        }
    }

    /// The processor time that QEMU has used so far: proc(5), stat, fields 14 and 15.
    pub fn cpu_time(&self) -> Duration {
        let stat = fs::read_to_string(format!("/proc/{}/stat", self.child.0.id())).unwrap_or_default();
        let after_name = stat.rsplit_once(") ").map_or("", |(_, rest)| rest);
        let ticks = after_name.split(' ').skip(11).take(2).filter_map(|field| field.parse::<u64>().ok());
        let per_second = rustix::param::clock_ticks_per_second().max(1);
        Duration::from_millis(ticks.sum::<u64>() * 1000 / per_second)
    }

    /// How long its processor has waited for one of the host's so far: schedstat of the thread that waited most, in the
    /// kernel's Documentation/scheduler/sched-stats.rst the second field. Zero where the kernel does not count it.
    pub fn waited(&self) -> Duration {
        let tasks = fs::read_dir(format!("/proc/{}/task", self.child.0.id())).into_iter().flatten().flatten();
        let stats = tasks.filter_map(|task| fs::read_to_string(task.path().join("schedstat")).ok());
        let waited = stats.filter_map(|stat| stat.split(' ').nth(1)?.parse().ok());
        Duration::from_nanos(waited.max().unwrap_or(0))
    }

    /// What a screen in text mode shows; nothing that makes sense in another mode.
    pub fn screen_text(&mut self) -> String {
        if self.qmp.save_text_screen(TEXT_SCREEN).is_err() {
            return String::new();
        }
        signs::text_screen(&read::file(&self.dir.join(TEXT_SCREEN), read::STATE_BYTES).unwrap_or_default())
    }

    /// A picture of the screen and its kind: PNG, or PPM from a QEMU older than 7.1.
    pub fn picture(&mut self) -> Option<(PathBuf, &'static str)> {
        let png = json!({"filename": PICTURE, "format": "png"});
        let kind = match self.qmp.execute("screendump", png) {
            Ok(_) => "png",
            Err(_) => self.qmp.execute("screendump", json!({"filename": PICTURE})).map(|_| "ppm").ok()?,
        };
        Some((self.dir.join(PICTURE), kind))
    }
}

/// The directory is named through the process, because the path of a socket has room for 107 bytes only.
fn connect(pid: u32) -> Result<Console> {
    let begun = Instant::now();
    loop {
        match Console::connect(Path::new(&format!("/proc/{pid}/cwd/{SOCKET}"))) {
            Err(_) if begun.elapsed() < START_LIMIT => std::thread::sleep(TICK),
            connected => return connected,
        }
    }
}

fn failed(dir: &Path, error: &anyhow::Error) -> anyhow::Error {
    let said = read::file(&dir.join(QEMU_LOG), read::STATE_BYTES).unwrap_or_default();
    let said = String::from_utf8_lossy(&said);
    Failure::new("the virtual machine does not run", UNTOUCHED).why(format!("{error:#}")).why(said).into()
}

/// The machine's memory: half of what the host can spare, within what is of use.
fn memory_mib(meminfo: &str) -> Result<u64, Refusal> {
    let line = meminfo.lines().find_map(|line| line.strip_prefix("MemAvailable:"));
    let kib = line.and_then(|line| line.split_whitespace().next()?.parse::<u64>().ok());
    let available = kib.map_or(u64::MAX, |kib| kib / 1024);
    if available < LEAST_MIB + LEAST_MIB / 4 {
        return Err(Refusal::new("cannot test the boot: too little memory is free", UNTOUCHED)
            .why(format!("{available} MiB are available; the virtual machine needs {LEAST_MIB} MiB and some"))
            .remedy("try again when the server has less to do"));
    }
    Ok((available / 2).clamp(LEAST_MIB, BEST_MIB))
}

fn arguments(disk: &Disk, firmware: &Firmware, memory_mib: u64) -> Vec<String> {
    let mut all: Vec<String> = Vec::new();
    let mut add = |option: &str, value: String| all.extend([option.to_owned(), value]);
    add("-machine", "q35".into());
    add("-m", memory_mib.to_string());
    add("-display", "none".into());
    add("-device", "VGA".into());
    add("-device", "virtio-rng-pci".into());
    add("-qmp", "stdio".into());
    add("-chardev", format!("socket,id=serial,path={SOCKET},server=on,wait=off"));
    add("-serial", "chardev:serial".into());
    add("-chardev", format!("file,id=firmware,path={FIRMWARE_LOG}"));
    add("-device", "isa-debugcon,iobase=0x402,chardev=firmware".into());
    add("-blockdev", image());
    if let Firmware::Uefi { code, .. } = firmware {
        let code = code.display();
        add("-drive", format!("if=pflash,unit=0,format=raw,readonly=on,file={code}"));
        add("-drive", format!("if=pflash,unit=1,format=raw,file={VARIABLES}"));
    }
    if disk.bus == Bus::Scsi {
        add("-device", "virtio-scsi-pci,id=scsi".into());
    }
    add("-device", device(disk).to_string());
    all.extend(["-nodefaults", "-S"].map(String::from));
    all
}

/// The overlay over the disk, both open already: the disk for reading only. Nothing needs to be flushed that is thrown away.
fn image() -> String {
    let file = json!({"driver": "file", "filename": "/dev/fdset/2"});
    let backing = json!({
        "driver": "raw",
        "read-only": true,
        "file": {"driver": "host_device", "filename": "/dev/fdset/1", "read-only": true},
    });
    json!({
        "node-name": "disk",
        "driver": "qcow2",
        "cache": {"no-flush": true},
        "file": file,
        "backing": backing,
    })
    .to_string()
}

/// The disk's device. Of the serial number as much is shown as the bus has room for.
fn device(disk: &Disk) -> String {
    let (driver, room) = match disk.bus {
        Bus::Sata => ("ide-hd,bus=ide.0", 20),
        Bus::Nvme => ("nvme", 20),
        Bus::Virtio => ("virtio-blk-pci", 20),
        Bus::Scsi => ("scsi-hd,bus=scsi.0", 36),
    };
    let serial: String = disk.serial.as_deref().unwrap_or_default().chars().take(room).collect();
    // NVMe demands one.
    let serial = if serial.is_empty() && disk.bus == Bus::Nvme { "mirror".into() } else { serial };
    let mut device = format!("{driver},drive=disk,bootindex=1");
    if !serial.is_empty() {
        device += &format!(",serial={}", serial.replace(',', ",,"));
    }
    if disk.sector != 512 {
        device += &format!(",logical_block_size={0},physical_block_size={0}", disk.sector);
    }
    device
}

#[cfg(test)]
mod tests {
    use super::*;

    fn disk(bus: Bus, serial: Option<&str>, sector: u32) -> Disk {
        Disk {
            node: "/dev/sdb".into(),
            bus,
            serial: serial.map(Into::into),
            sector,
            has_esp: false,
            has_boot_code: true,
            containers: Vec::new(),
        }
    }

    #[test]
    fn the_disk_is_only_opened_for_reading_and_there_is_no_network_card() {
        let all = arguments(&disk(Bus::Sata, None, 512), &Firmware::Bios, 1024);
        let image = all.iter().find(|argument| argument.contains("qcow2")).expect("there is a disk");
        let image: serde_json::Value = serde_json::from_str(image).expect("it is JSON");
        assert_eq!(image["backing"]["read-only"], true);
        assert_eq!(image["backing"]["file"]["read-only"], true);
        assert_eq!(image["backing"]["file"]["filename"], "/dev/fdset/1");
        assert!(all.contains(&"-nodefaults".into()) && !all.iter().any(|argument| argument.contains("net")));
    }

    #[test]
    fn a_disk_looks_like_itself() {
        assert_eq!(
            device(&disk(Bus::Sata, Some("S5,GX"), 512)),
            "ide-hd,bus=ide.0,drive=disk,bootindex=1,serial=S5,,GX"
        );
        assert_eq!(device(&disk(Bus::Nvme, None, 512)), "nvme,drive=disk,bootindex=1,serial=mirror");
        assert_eq!(
            device(&disk(Bus::Scsi, None, 4096)),
            "scsi-hd,bus=scsi.0,drive=disk,bootindex=1,logical_block_size=4096,physical_block_size=4096"
        );
    }

    #[test]
    fn memory_is_half_of_what_can_be_spared() {
        let of = |mib: u64| memory_mib(&format!("MemTotal: 1 kB\nMemAvailable:  {} kB\n", mib * 1024));
        assert_eq!([of(1300), of(3000), of(64_000)], [Ok(1024), Ok(1500), Ok(2048)]);
        assert!(of(1200).is_err());
    }
}
