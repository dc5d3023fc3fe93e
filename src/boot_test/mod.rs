//! Boots the mirror's disk in a virtual machine, over a throw-away image, and says whether it comes up.
//!
//! The disk is never opened for writing: the temporary key slot, too, is made in a copy of the container's header that
//! goes into the image. Knows no command and no history.

mod accelerator;
mod confined;
mod console;
mod disk;
mod firmware;
mod machine;
mod overlay;
mod qmp;
mod signs;
mod state;
mod unlock;
mod watch;

pub use state::state;
pub use unlock::Key;

use crate::mirror::Found;
use crate::monitor::Monitor;
use crate::record::Verdict;
use crate::refusal::{Failure, Refusal};
use crate::sys::{command, read, signal};
use crate::units::duration;
use accelerator::Accelerator;
use anyhow::{Context, Result};
use confined::Confinement;
use disk::Disk;
use machine::Machine;
use overlay::Overlay;
use std::fs::{self, DirBuilder, File};
use std::io::Write;
use std::os::unix::fs::{DirBuilderExt, OpenOptionsExt};
use std::path::{Path, PathBuf};
use std::time::{Duration, Instant};
use watch::{Act, Patience, Seen, Watch};

/// What everything here can promise.
pub const UNTOUCHED: &str = "nothing was written to the mirror";

/// How long a system may take to come up.
const LIMIT_KVM: Duration = Duration::from_secs(300);
const LIMIT_TCG: Duration = Duration::from_secs(900);
/// How often the machine is looked at.
const TICK: Duration = Duration::from_millis(500);
/// A processor that does less than this share of the time only waits.
const BUSY_SHARE: f64 = 0.25;
/// A machine that waits for the host's processors all the time comes to its limit so many times later.
const MOST_STRETCHED: u32 = 4;
/// A machine that has been still for so long has its screen read.
const SCREEN_STILL: Duration = Duration::from_secs(4);
/// The largest picture that is kept.
const MOST_PICTURE: u64 = 64 << 20;
/// Lines of the console that a record keeps.
const LAST_LINES: usize = 12;

/// What is tested, and where the test may work.
pub struct Order<'a> {
    /// The mirror's disk, locked and closed.
    pub found: &'a Found,
    /// When to give up, if not as usual.
    pub limit: Option<Duration>,
    /// A directory that does not exist yet, in memory if possible; removed at the end.
    pub work_dir: PathBuf,
    /// Where the image, the log and the picture go.
    pub keep_dir: PathBuf,
    /// Told what happens.
    pub monitor: &'a dyn Monitor,
}

/// What came out.
#[derive(Debug)]
pub struct Outcome {
    /// The verdict.
    pub verdict: Verdict,
    /// What it stands on.
    pub sign: String,
    /// How long it took.
    pub took: Duration,
    /// `kvm` or `tcg`.
    pub accelerator: &'static str,
    /// `bios` or `uefi`.
    pub firmware: &'static str,
    /// The console's last lines.
    pub console: Vec<String>,
    /// All that the console said.
    pub serial_log: PathBuf,
    /// The last picture of the screen, if there is one.
    pub picture: Option<PathBuf>,
}

/// Refuses where the programs are missing.
///
/// # Errors
/// A `Refusal` that names the packages.
pub fn refuse_without_tools() -> Result<(), Refusal> {
    let refusal = || Refusal::new("cannot test the boot", UNTOUCHED);
    if !cfg!(target_arch = "x86_64") {
        return Err(refusal().why("boot tests know x86-64 machines only, and this is another"));
    }
    let needed = [machine::PROGRAM, "qemu-img", "qemu-io", "setpriv"];
    let missing: Vec<&str> = needed.into_iter().filter(|program| !command::is_installed(program)).collect();
    if missing.is_empty() {
        return Ok(());
    }
    Err(refusal()
        .why(format!("not installed: {}", missing.join(", ")))
        .remedy("apt-get install qemu-system-x86 qemu-utils ovmf   # Debian, Ubuntu")
        .remedy("dnf install qemu-system-x86-core qemu-img edk2-ovmf  # Fedora"))
}

/// Boots the disk. `keys` open its containers, in their order; they are forgotten before it boots.
///
/// # Errors
/// A `Refusal` if something that is needed is not there; a `Failure` if the machine cannot be run, or a signal ends
/// the test. That the mirror does not boot is an outcome.
pub fn boot_test(order: &Order<'_>, keys: Vec<Key>) -> Result<Outcome> {
    let disk = Disk::of(order.found)?;
    let firmware = firmware::choose(&disk, Path::new("/sys/firmware/efi").exists())?;
    let work = WorkDir::new(&order.work_dir)?;
    make_private(&order.keep_dir)?;
    forget_last(&order.keep_dir);
    flush(&disk.node)?;
    let overlay = Overlay::new(&disk.node, &order.keep_dir)?;
    let temporary = unlock::temporary_passphrase()?;
    for ((node, offset), key) in disk.containers.iter().zip(&keys) {
        unlock::add_slot(node, *offset, key, &temporary, &work.0, &overlay.path)?;
    }
    drop(keys);
    let mut confined = Confinement::new(&work.0)?;
    let accelerator = accelerator::probe(&work.0, &mut confined)?;
    if !confined.has_filter {
        order.monitor.warn("this QEMU has no filter of system calls: the virtual machine runs without");
    }
    let mut machine = Machine::start(&disk, &overlay, &firmware, (accelerator, &confined), &work.0)?;
    let patience = patience(accelerator, order.limit);
    let begun = Instant::now();
    order.monitor.note(&format!(
        "booting {} in a virtual machine ({}, {}); this may take up to {}",
        disk.node,
        firmware.name().to_uppercase(),
        accelerator.name().to_uppercase(),
        duration(patience.limit)
    ));
    let watch = Watch::new(disk.containers.len() as u32, patience);
    let watched = watched(&mut machine, watch, &temporary, &overlay);
    let kept = keep(&mut machine, &temporary, &order.keep_dir)?;
    // A signal to the whole group ends QEMU before us.
    let (verdict, sign) =
        watched.map_err(|error| if signal::stop_requested() { stopped() } else { error })?;
    Ok(Outcome {
        verdict,
        sign,
        took: begun.elapsed(),
        accelerator: accelerator.name(),
        firmware: firmware.name(),
        console: kept.console,
        serial_log: kept.serial_log,
        picture: kept.picture,
    })
}

fn patience(accelerator: Accelerator, limit: Option<Duration>) -> Patience {
    let (usual, still, power) = match accelerator {
        Accelerator::Kvm => (LIMIT_KVM, Duration::from_secs(5), Duration::from_secs(30)),
        Accelerator::Tcg => (LIMIT_TCG, Duration::from_secs(10), Duration::from_secs(90)),
    };
    Patience { limit: limit.unwrap_or(usual), still, power }
}

/// Looks, and does what is to be done, until there is a verdict.
fn watched(
    machine: &mut Machine,
    mut watch: Watch,
    passphrase: &str,
    overlay: &Overlay,
) -> Result<(Verdict, String)> {
    let (begun, mut stillness) = (Instant::now(), Stillness::new());
    loop {
        std::thread::sleep(TICK);
        stop_if_asked(overlay)?;
        let decided = machine.qmp.events().into_iter().find_map(|event| watch.event(event));
        if let Some((verdict, sign)) = decided {
            return stillness.time.believed(verdict, sign);
        }
        machine.must_run()?;
        let (read_bytes, requests) = machine.qmp.disk_figures()?;
        stillness.sample(requests, machine.cpu_time(), machine.waited());
        let (serial, silent) = machine.console.read();
        let firmware = machine.firmware_log()?;
        let at = stillness.time.own.max(begun.elapsed() / MOST_STRETCHED);
        let (disk_still, all_still) = stillness.lasted();
        let is_still = all_still >= SCREEN_STILL;
        let screen = if is_still { machine.screen_text() } else { String::new() };
        let (serial, firmware, screen) = (serial.as_str(), firmware.as_str(), screen.as_str());
        let seen = Seen { at, serial, silent, firmware, screen, read_bytes, disk_still, all_still };
        match watch.look(&seen) {
            Act::Wait => {}
            Act::TypeSerial => machine.console.type_line(passphrase)?,
            Act::TypeKeys => machine.qmp.type_line(passphrase)?,
            Act::PressPower => {
                machine.qmp.execute("system_powerdown", serde_json::json!({}))?;
            }
            Act::Decide(verdict, sign) => return stillness.time.believed(verdict, sign),
        }
    }
}

fn stop_if_asked(overlay: &Overlay) -> Result<()> {
    if signal::stop_requested() {
        return Err(stopped());
    }
    if overlay.is_full() {
        return Err(Failure::new("the boot test was ended: the virtual machine writes too much", UNTOUCHED)
            .why(format!("{} is nearly full", overlay.path.display()))
            .remedy("make room there, and try again: what the virtual machine wrote is removed")
            .into());
    }
    Ok(())
}

fn stopped() -> anyhow::Error {
    Failure::new("the boot test was stopped by a signal", UNTOUCHED).remedy("diskmirror boot-test").into()
}

/// The machine's own time: what it waits for a processor of a busy server is none, lest it be taken for standing still.
struct OwnTime {
    /// Since the machine was started.
    own: Duration,
    waited: Duration,
}

impl OwnTime {
    fn pass(&mut self, passed: Duration, waited: Duration) {
        self.own += passed.saturating_sub(waited.saturating_sub(self.waited));
        self.waited = waited;
    }

    /// The verdict; none but a good one where the machine has waited more than it has worked: systemd gives up devices by
    /// the server's clock.
    fn believed(&self, verdict: Verdict, sign: String) -> Result<(Verdict, String)> {
        if verdict == Verdict::Booted || self.waited <= self.own {
            return Ok((verdict, sign));
        }
        let waited = format!(
            "it waited {} of {} for a processor",
            duration(self.waited),
            duration(self.own + self.waited)
        );
        Err(Failure::new("the boot test has no verdict: this server was too busy", UNTOUCHED)
            .why(format!("the virtual machine ended so: {sign}"))
            .why(waited)
            .remedy("diskmirror boot-test   # at a quieter hour")
            .into())
    }
}

/// Since when a machine has stood still, in its own time.
struct Stillness {
    time: OwnTime,
    sampled: Instant,
    disk: Duration,
    all: Duration,
    requests: u64,
    cpu: Duration,
}

impl Stillness {
    fn new() -> Self {
        let zero = Duration::ZERO;
        let time = OwnTime { own: zero, waited: zero };
        Stillness { time, sampled: Instant::now(), disk: zero, all: zero, requests: 0, cpu: zero }
    }

    fn sample(&mut self, requests: u64, cpu: Duration, waited: Duration) {
        let (now, before) = (Instant::now(), self.time.own);
        self.time.pass(now - self.sampled, waited);
        let passed = self.time.own - before;
        let share = cpu.saturating_sub(self.cpu).as_secs_f64() / passed.as_secs_f64().max(0.01);
        if requests != self.requests {
            self.disk = self.time.own;
        }
        if requests != self.requests || share > BUSY_SHARE {
            self.all = self.time.own;
        }
        (self.sampled, self.requests, self.cpu) = (now, requests, cpu);
    }

    /// How long the disk has not been asked for anything, and how long the processor has had little to do, too.
    fn lasted(&self) -> (Duration, Duration) {
        (self.time.own - self.disk, self.time.own - self.all)
    }
}

struct Kept {
    console: Vec<String>,
    serial_log: PathBuf,
    picture: Option<PathBuf>,
}

const SERIAL_LOG: &str = "serial.log";
const FIRMWARE_LOG: &str = "firmware.log";
const PICTURES: [&str; 2] = ["screen.png", "screen.ppm"];

/// The last test's log and picture are not taken for this one's.
fn forget_last(dir: &Path) {
    for name in [SERIAL_LOG, FIRMWARE_LOG].iter().chain(&PICTURES) {
        let _ = fs::remove_file(dir.join(name));
    }
}

/// Keeps log and picture, readable by their owner only. A system that was not asking may have shown what was typed.
fn keep(machine: &mut Machine, passphrase: &str, dir: &Path) -> Result<Kept> {
    let picture = machine.picture().and_then(|(from, kind)| {
        let to = dir.join(format!("screen.{kind}"));
        write_private(&to, &read::file(&from, MOST_PICTURE).ok()?).ok().map(|()| to)
    });
    let serial_log = dir.join(SERIAL_LOG);
    let said = String::from_utf8_lossy(&machine.console.bytes()).replace(passphrase, "…");
    write_private(&serial_log, said.as_bytes())?;
    let firmware = machine.firmware_log().unwrap_or_default();
    write_private(&dir.join(FIRMWARE_LOG), firmware.as_bytes())?;
    let (serial, _) = machine.console.read();
    let console = if serial.trim().is_empty() { firmware } else { serial.replace(passphrase, "...") };
    Ok(Kept { console: signs::last_lines(&console, LAST_LINES), serial_log, picture })
}

fn write_private(path: &Path, bytes: &[u8]) -> Result<()> {
    let file = File::options().write(true).create(true).truncate(true).mode(0o600).open(path);
    file.and_then(|mut file| file.write_all(bytes))
        .with_context(|| format!("cannot write {}", path.display()))
}

fn make_private(dir: &Path) -> Result<()> {
    let made = DirBuilder::new().recursive(true).mode(0o700).create(dir);
    made.with_context(|| format!("cannot make {}", dir.display()))
}

/// A private directory, removed with what is in it when dropped: it lies below one that only root can write to, and
/// holds what this test has made.
struct WorkDir(PathBuf);

impl WorkDir {
    fn new(path: &Path) -> Result<Self> {
        // A killed test may have left one; the lock says that none is at work.
        let _ = fs::remove_dir_all(path);
        make_private(path)?;
        Ok(WorkDir(path.to_owned()))
    }
}

impl Drop for WorkDir {
    fn drop(&mut self) {
        // What stays is removed by the next test.
        let _ = fs::remove_dir_all(&self.0);
    }
}

/// Forgets what the kernel has kept of the disk: a container's mapping writes past it.
fn flush(node: &str) -> Result<()> {
    let failed = |error: command::ToolError| {
        Failure::new("cannot prepare the boot test", UNTOUCHED).why(error.to_string())
    };
    Ok(command::run("blockdev", &["--flushbufs", node], b"").map(drop).map_err(failed)?)
}

#[cfg(test)]
mod tests {
    use super::*;

    const SECOND: Duration = Duration::from_secs(1);

    fn passed(waited: [u64; 3]) -> Duration {
        let mut time = OwnTime { own: Duration::ZERO, waited: Duration::ZERO };
        waited.into_iter().for_each(|millis| time.pass(SECOND, Duration::from_millis(millis)));
        time.own
    }

    #[test]
    fn a_machine_that_waited_more_than_it_worked_gets_no_verdict_but_a_good_one() {
        let busy = OwnTime { own: SECOND * 40, waited: SECOND * 41 };
        assert!(busy.believed(Verdict::Emergency, String::new()).is_err());
        assert!(busy.believed(Verdict::Booted, String::new()).is_ok());
        let quiet = OwnTime { own: SECOND * 41, waited: SECOND * 40 };
        assert!(quiet.believed(Verdict::Emergency, String::new()).is_ok());
    }

    #[test]
    fn what_a_machine_waits_for_a_processor_is_not_its_time() {
        assert_eq!(passed([0, 0, 0]), SECOND * 3);
        assert_eq!(passed([400, 400, 1000]), SECOND * 2);
        // Several threads may have waited at once.
        assert_eq!(passed([0, 1500, 1500]), SECOND * 2);
    }
}
