//! One QEMU machine: its process, its sockets, its folder. It knows nothing of what runs inside.

use std::fs::File;
use std::path::{Path, PathBuf};
use std::process::{Child, Command, Stdio};
use std::rc::Rc;
use std::sync::{Arc, Mutex, PoisonError, mpsc};
use std::time::{Duration, Instant};

use anyhow::{Context, Result, ensure};
use serde_json::json;
use tempfile::TempDir;

use super::console::Console;
use super::qmp::Qmp;

/// A disk image and how the machine sees it.
pub struct Drive {
    /// QEMU's name for it; the write counters are asked for by this.
    pub id: String,
    /// A qcow2 file; other formats cannot hold snapshots.
    pub file: PathBuf,
    /// QEMU's device and its properties, e.g. `virtio-blk-pci,serial=MIRROR01`.
    pub device: String,
}

/// What a machine is made of.
pub struct Parts<'a> {
    /// QEMU's options for the accelerator.
    pub accelerator: &'a [String],
    /// Its memory in MiB.
    pub memory_mib: u32,
    /// What UEFI remembers, a qcow2 file; without it the machine has a BIOS, and boots from the first drive it can.
    pub firmware: Option<PathBuf>,
    /// Its disks, in the order of its slots.
    pub drives: Vec<Drive>,
}

/// UEFI's own code, of Debian's and Ubuntu's package ovmf.
pub const UEFI_CODE: &str = "/usr/share/OVMF/OVMF_CODE_4M.fd";

/// UEFI's memory as it comes from the factory.
pub const UEFI_BLANK: &str = "/usr/share/OVMF/OVMF_VARS_4M.fd";

/// A running machine with one processor, a serial console, a port for the root shell, and a folder shared by 9p (tag `lab`).
/// Dropping it ends the process and removes its files.
pub struct Machine {
    /// The first serial port.
    pub console: Console,
    /// QEMU's own side.
    pub qmp: Qmp,
    process: Process,
    sockets: TempDir,
    folder: TempDir,
    _disks: Rc<TempDir>,
}

impl Machine {
    /// A folder for a machine's disks, removed with the machine.
    ///
    /// # Errors
    /// If the cache cannot be written.
    pub fn folder() -> Result<TempDir> {
        let mut folder = tempfile::Builder::new().prefix("machine.").tempdir_in(super::cache())?;
        folder.disable_cleanup(super::keep());
        Ok(folder)
    }

    /// Starts a machine that keeps its own files in `folder`; the folder of its disks stays as long as it runs.
    ///
    /// # Errors
    /// If QEMU does not start; its own words are in the message.
    pub fn start(folder: TempDir, parts: &Parts, disks: Rc<TempDir>) -> Result<Self> {
        // Apart from the folder: the path of a socket has room for 107 bytes.
        let sockets = tempfile::tempdir()?;
        std::fs::create_dir_all(folder.path().join("share"))?;
        let mut options = parts.accelerator.to_vec();
        options.extend(arguments(sockets.path(), folder.path(), parts));
        let process = Process::spawn(options, folder.path())?;
        // Paused until all who listen are connected, so that the first line of the console is not lost.
        let mut qmp = process.patiently(|| Qmp::connect(&sockets.path().join("qmp")))?;
        let console = Console::connect(&sockets.path().join("serial"))?;
        qmp.execute("cont", json!({}))?;
        Ok(Self { console, qmp, process, sockets, folder, _disks: disks })
    }

    /// The socket of the root shell's port.
    pub fn shell_socket(&self) -> PathBuf {
        self.sockets.path().join("shell")
    }

    /// The folder that the machine can mount by 9p.
    pub fn share(&self) -> PathBuf {
        self.folder.path().join("share")
    }

    /// Plugs a disk in while the machine runs.
    ///
    /// # Errors
    /// If QEMU refuses.
    pub fn plug(&mut self, drive: &Drive) -> Result<()> {
        let Drive { id, device, .. } = drive;
        // The human monitor says OK to this one.
        let added = json!({"command-line": format!("drive_add 0 {}", backend(drive))});
        let said = self.qmp.execute("human-monitor-command", added)?;
        ensure!(said.as_str().is_some_and(|text| text.trim() == "OK"), "QEMU's monitor: {said}");
        self.qmp.monitor(&format!("device_add {device},drive={id},id=plugged-{id}"))
    }

    /// Waits until the process ends by itself, because the machine was switched off from inside.
    ///
    /// # Errors
    /// If it does not within `patience`; the message ends with what was printed last.
    pub fn wait_for_end(&mut self, patience: Duration) -> Result<()> {
        let deadline = Instant::now() + patience;
        while running(&self.process.child) {
            ensure!(
                Instant::now() < deadline,
                "it runs on; its console ends with:\n{}",
                self.console.last_lines()
            );
            std::thread::sleep(Duration::from_millis(100));
        }
        Ok(())
    }

    /// The bytes written to and discarded on a drive since the machine was started; loading a snapshot does not put them back.
    ///
    /// # Errors
    /// If QEMU has ended or knows no such drive.
    pub fn written_bytes(&mut self, id: &str) -> Result<u64> {
        let drives = self.qmp.execute("query-blockstats", json!({}))?;
        let found = drives.as_array().and_then(|all| all.iter().find(|drive| drive["device"] == id));
        let stats = &found.with_context(|| format!("QEMU has no drive {id}"))?["stats"];
        let counter = |name: &str| stats[name].as_u64().with_context(|| format!("QEMU counts no {name}"));
        Ok(counter("wr_bytes")? + counter("unmap_bytes")?)
    }
}

impl Drop for Machine {
    fn drop(&mut self) {
        self.process.kill();
        if super::keep() {
            println!("lab: the machine's files are kept in {}", self.folder.path().display());
        }
    }
}

fn arguments(sockets: &Path, folder: &Path, parts: &Parts) -> Vec<String> {
    let socket =
        |name: &str| format!("socket,id={name},path={},server=on,wait=off", sockets.join(name).display());
    let mut all =
        ["-smp", "1", "-nodefaults", "-display", "none", "-no-reboot", "-S"].map(String::from).to_vec();
    let mut add = |option: &str, value: String| all.extend([option.to_owned(), value]);
    // Without graphics, the BIOS prints on the serial port too: a loader that is stuck can be seen.
    add("-machine", "pc,graphics=off".to_owned());
    // Emulated, a cipher and a checksum that have instructions of their own are more than twice as fast.
    add("-cpu", "qemu64,+aes,+pclmulqdq,+ssse3,+sse4.1,+sse4.2,+popcnt".to_owned());
    add("-m", parts.memory_mib.to_string());
    if let Some(firmware) = &parts.firmware {
        add("-drive", format!("if=pflash,unit=0,format=raw,readonly=on,file={UEFI_CODE}"));
        add("-drive", format!("if=pflash,unit=1,format=qcow2,file={}", firmware.display()));
    }
    add("-chardev", socket("qmp"));
    add("-mon", "chardev=qmp,mode=control".to_owned());
    add("-chardev", format!("{},logfile={}", socket("serial"), folder.join("serial.log").display()));
    add("-serial", "chardev:serial".to_owned());
    add("-chardev", socket("shell"));
    for device in [
        "virtio-rng-pci",
        "virtio-serial-pci",
        "virtio-scsi-pci,id=scsi",
        "virtserialport,chardev=shell,name=org.diskmirror.lab",
    ] {
        add("-device", device.to_owned());
    }
    add(
        "-virtfs",
        format!("local,path={},mount_tag=lab,security_model=none", folder.join("share").display()),
    );
    for (index, drive) in parts.drives.iter().enumerate() {
        add("-drive", backend(drive));
        // UEFI has an order of its own, which is to be judged.
        let order =
            if parts.firmware.is_none() { format!(",bootindex={}", index + 1) } else { String::new() };
        add("-device", format!("{},drive={}{order}", drive.device, drive.id));
    }
    all
}

fn backend(Drive { id, file, .. }: &Drive) -> String {
    format!("if=none,id={id},file={},format=qcow2,cache=unsafe,discard=unmap", file.display())
}

/// The process of a machine. A thread of its own starts it and stays until it has ended: the kernel kills a child with
/// `pdeathsig` when the *thread* that started it dies, so the machine dies with the test's process, however that ends,
/// but not with the test's thread.
struct Process {
    child: Arc<Mutex<Child>>,
    stderr: PathBuf,
}

impl Process {
    fn spawn(options: Vec<String>, folder: &Path) -> Result<Self> {
        let stderr = folder.join("qemu.stderr");
        let log = File::create(&stderr)?;
        let (sender, receiver) = mpsc::channel();
        std::thread::spawn(move || {
            let spawned = Command::new("setpriv")
                .args(["--pdeathsig", "KILL", "qemu-system-x86_64"])
                .args(options)
                .stdin(Stdio::null())
                .stdout(Stdio::null())
                .stderr(log)
                .spawn()
                .map(|child| Arc::new(Mutex::new(child)));
            let watched = spawned.as_ref().ok().map(Arc::clone);
            let _ = sender.send(spawned);
            while watched.as_ref().is_some_and(|child| running(child)) {
                std::thread::sleep(Duration::from_millis(50));
            }
        });
        Ok(Self { child: receiver.recv()?.context("starting QEMU")?, stderr })
    }

    /// Repeats `attempt` while the process lives, for as long as a busy machine may need to start a program.
    fn patiently<T>(&self, attempt: impl Fn() -> Result<T>) -> Result<T> {
        let deadline = Instant::now() + Duration::from_secs(60);
        loop {
            match attempt() {
                Ok(value) => return Ok(value),
                Err(error) if Instant::now() > deadline => return Err(error),
                Err(_) => std::thread::sleep(Duration::from_millis(50)),
            }
            let said = || std::fs::read_to_string(&self.stderr).unwrap_or_default();
            ensure!(running(&self.child), "QEMU has ended: {}", said());
        }
    }

    fn kill(&self) {
        let mut child = self.child.lock().unwrap_or_else(PoisonError::into_inner);
        let _ = child.kill();
        let _ = child.wait();
    }
}

fn running(child: &Mutex<Child>) -> bool {
    matches!(child.lock().unwrap_or_else(PoisonError::into_inner).try_wait(), Ok(None))
}
