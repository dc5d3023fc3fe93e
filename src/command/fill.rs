//! `fill`: look, confirm, overwrite, say what came of it.

use super::confirm::Intent;
use crate::cli::{FillArgs, FillKind};
use crate::command::output;
use crate::exit_code::Exit;
use crate::fill::{Filled, Job, fill};
use crate::monitor::Monitor;
use crate::refusal::{Failure, Refusal};
use crate::step::{Filling, quoted};
use crate::sys::block::BlockDevice;
use crate::sys::disk::Node;
use crate::sys::signal;
use crate::units::{Bytes, duration, rate};
use std::path::Path;

/// Where below the primary's root it is kept how far a fill came.
const STATE_DIRECTORY: &str = "var/lib/diskmirror";

/// Overwrites a device that nobody uses, after it was confirmed.
///
/// # Errors
/// A `Refusal` before, a `Failure` after the first byte was written; being stopped is one.
pub fn fill_device(root: &Path, args: &FillArgs, monitor: &dyn Monitor) -> anyhow::Result<Exit> {
    let intent = Intent { device: &args.device, verb: "to fill", command: command_line(args) };
    let node = intent.node()?;
    let with = filling(&intent, &node, args.with)?;
    intent.refuse_unless_free(&node)?;
    intent.confirm(&node.title(), &node.confirmation(), args.erase.as_deref())?;
    let bytes = BlockDevice::open_read(&args.device)?.size();
    let state = root.join(STATE_DIRECTORY);
    let stop = &signal::stop_requested;
    let job = Job { device: &args.device, with, bytes, checkpoints: Some(&state), stop };
    let filled = fill(&job, monitor)?;
    report(args, &node.confirmation(), &filled)?;
    Ok(Exit::Done)
}

fn filling(intent: &Intent, node: &Node, kind: FillKind) -> Result<Filling, Refusal> {
    match kind {
        FillKind::Random => Ok(Filling::Random),
        FillKind::Zero => Ok(Filling::Zero),
        FillKind::Discard if node.takes_discard() => Ok(Filling::Discard),
        FillKind::Discard => Err(intent
            .refusal(&node.title(), "it takes no discards")
            .remedy("fill it --with random, or leave it as it is")),
        FillKind::None => Err(intent.refusal(&node.title(), "nothing is to be written to it")),
    }
}

fn report(args: &FillArgs, confirmation: &str, filled: &Filled) -> Result<(), Failure> {
    let device = args.device.display();
    let written = Bytes(filled.reached - filled.from);
    let (time, speed) = (duration(filled.elapsed), rate(written, filled.elapsed));
    if !filled.stopped() {
        let line = format!("{device} is filled: {written} in {time}, {speed}/s");
        // It is filled, whether anybody hears of it or not.
        let _ = output::line(&line);
        return Ok(());
    }
    let (reached, total) = (Bytes(filled.reached), Bytes(filled.total));
    let state = format!("the first {reached} of {total} of {device} are filled, the rest is not");
    Err(Failure::new(format!("filling {device} was stopped after {time}"), state).remedy(format!(
        "{} --erase {}   # goes on at {reached}",
        command_line(args),
        quoted(confirmation)
    )))
}

fn command_line(args: &FillArgs) -> String {
    let kind = match args.with {
        FillKind::Random => "",
        FillKind::Zero => " --with zero",
        FillKind::Discard => " --with discard",
        FillKind::None => " --with none",
    };
    format!("diskmirror fill {}{kind}", quoted(&args.device.to_string_lossy()))
}
