//! `boot-test`: boots the mirror in a virtual machine over a throw-away image, and keeps what came out.

use crate::boot_test::{self, Key, Order, Outcome};
use crate::cli::BootTestArgs;
use crate::command::output::{self, not_kept};
use crate::config::{Config, Mirror, Unlock, below};
use crate::exit_code::Exit;
use crate::history::History;
use crate::mirror;
use crate::monitor::Monitor;
use crate::record::BootTestRecord;
use crate::refusal::Refusal;
use crate::render;
use crate::sys::lock::{Attempt, Holder};
use crate::sys::secret::Passphrase;
use crate::sys::signal;
use anyhow::{Context, Result};
use std::path::{Path, PathBuf};
use std::rc::Rc;
use std::time::{Duration, Instant};

/// Boots the mirror of the primary mounted at `root`.
///
/// # Errors
/// A `Refusal` if it cannot be tested; a `Failure` if the virtual machine cannot be run. That the mirror does not boot
/// is in the history and in the exit code.
pub fn boot_test(
    root: &Path,
    config_file: Option<&Path>,
    args: &BootTestArgs,
    monitor: &dyn Monitor,
) -> Result<Exit> {
    let config = Config::read(root, config_file)?;
    let mirror = config.mirror(args.name.as_deref())?;
    boot_test::refuse_without_tools()?;
    mirror::check_role(root, mirror)?;
    let passphrase = passphrase(mirror, args)?.map(Rc::new);
    let keys = keys(root, mirror, passphrase)?;
    // QEMU runs in a directory of its own.
    let root = &std::path::absolute(root)?;
    let (state_dir, runtime_dir) = (below(root, &config.state_dir), below(root, &config.runtime_dir));
    let started = now();
    let holder = Holder { pid: std::process::id(), since: started, what: "diskmirror boot-test".into() };
    // No run may begin meanwhile: the machine would see the disk change below it.
    let _held = match locked(&runtime_dir, mirror, &holder, args.wait)? {
        Attempt::Taken(held) => held,
        Attempt::Busy(holder) => {
            output::error(&mirror::busy(holder, started));
            return Ok(Exit::Locked);
        }
    };
    mirror::sweep(mirror)?;
    let order = Order {
        found: &mirror::find(mirror)?,
        limit: args.time_limit.map(Duration::from_secs),
        work_dir: runtime_dir.join(&mirror.name).join("boot-test"),
        keep_dir: state_dir.join("boot-test"),
        monitor,
    };
    let outcome = boot_test::boot_test(&order, keys)?;
    let mut record = record(mirror, started, &outcome);
    let kept = remember(&state_dir, &mut record);
    tell(mirror, &order.found.disk, &record, &outcome, args.json)?;
    let exit = record.verdict.exit();
    Ok(kept.map_or_else(|error| not_kept(monitor, &error, exit), |()| exit))
}

/// Takes the mirror's lock; waits for who has it, if that is wanted.
fn locked(runtime_dir: &Path, mirror: &Mirror, holder: &Holder, wait: bool) -> Result<Attempt> {
    let begun = Instant::now();
    loop {
        let attempt = mirror::lock(runtime_dir, mirror, holder)?;
        let waits = wait && begun.elapsed() < LONGEST_WAIT && !signal::stop_requested();
        if !waits || matches!(attempt, Attempt::Taken(_)) {
            return Ok(attempt);
        }
        std::thread::sleep(LOOK_AGAIN);
    }
}

/// How long a run is waited for, and how often it is looked whether it has ended.
const LONGEST_WAIT: Duration = Duration::from_secs(3600);
const LOOK_AGAIN: Duration = Duration::from_secs(2);

fn now() -> i64 {
    jiff::Timestamp::now().as_second()
}

/// The passphrase, where one is given, or needed because there is no key file.
fn passphrase(mirror: &Mirror, args: &BootTestArgs) -> Result<Option<Passphrase>> {
    if let Some(fd) = args.passphrase_fd {
        let given = Passphrase::read_from(fd);
        return Ok(Some(given.with_context(|| format!("cannot read the passphrase from descriptor {fd}"))?));
    }
    if !mirror.containers.iter().any(|container| container.unlock == Unlock::Crypttab) {
        return Ok(None);
    }
    let asked = Passphrase::ask(&format!("Passphrase of {}: ", mirror.disk.title()));
    let asked = asked.map_err(|error| {
        Refusal::new("cannot test the boot: the passphrase is needed", boot_test::UNTOUCHED)
            .why("the mirror was prepared with --unlock crypttab: there is no key file")
            .why(format!("nobody can be asked: {error}"))
            .remedy("diskmirror boot-test --passphrase-fd 3 3</run/passphrase")
    });
    Ok(Some(asked?))
}

/// What opens each container.
fn keys(root: &Path, mirror: &Mirror, given: Option<Rc<Passphrase>>) -> Result<Vec<Key>> {
    let one = |container: &crate::config::Container| match (&container.unlock, &given) {
        (_, Some(passphrase)) => Ok(Key::Passphrase(Rc::clone(passphrase))),
        (Unlock::KeyFile(path), None) => key_file(below(root, path)),
        (Unlock::Crypttab, None) => anyhow::bail!("there is no passphrase"),
    };
    mirror.containers.iter().map(one).collect()
}

fn key_file(path: PathBuf) -> Result<Key> {
    if path.is_file() {
        return Ok(Key::File(path));
    }
    Err(Refusal::new("cannot test the boot: the key file is missing", boot_test::UNTOUCHED)
        .why(format!("there is no file {}", path.display()))
        .remedy("diskmirror boot-test --passphrase-fd 3 3</run/passphrase")
        .into())
}

/// Enters the outcome into the history, with the run that the mirror is of.
fn remember(state_dir: &Path, record: &mut BootTestRecord) -> Result<()> {
    let history = History::open(state_dir)?;
    record.run = history.latest_that_wrote(&record.mirror)?.map(|run| run.id);
    history.add_boot_test(record)
}

fn record(mirror: &Mirror, started: i64, outcome: &Outcome) -> BootTestRecord {
    BootTestRecord {
        id: 0,
        mirror: mirror.name.clone(),
        table_id: mirror.disk.table_id.clone(),
        run: None,
        started,
        seconds: outcome.took.as_secs_f64(),
        verdict: outcome.verdict,
        sign: outcome.sign.clone(),
        accelerator: outcome.accelerator.into(),
        firmware: outcome.firmware.into(),
        console: outcome.console.clone(),
    }
}

fn tell(
    mirror: &Mirror,
    node: &str,
    record: &BootTestRecord,
    outcome: &Outcome,
    json: bool,
) -> std::io::Result<()> {
    let title = format!("{} ({node})", mirror.disk.title());
    let kept = render::boot_test::Kept { log: &outcome.serial_log, picture: outcome.picture.as_deref() };
    if let Some(failure) = render::boot_test::failure(&title, record, &kept) {
        output::error(&failure);
    } else if !json {
        output::line(&render::boot_test::summary(&title, record))?;
    }
    if json { output::line(&render::boot_test::json(record, Some(&kept))) } else { Ok(()) }
}
