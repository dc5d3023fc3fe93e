//! The thin binary: parse, call, render, exit code.

use clap::Parser;
use diskmirror::cli::{Cli, Command};
use diskmirror::command::boot_block::boot_block;
use diskmirror::command::fill::fill_device;
use diskmirror::command::monitor_for_stderr;
use diskmirror::command::schedule::schedule;
use diskmirror::command::sync;
use diskmirror::exit_code::Exit;
use diskmirror::refusal::Refusal;
use diskmirror::sys::signal;
use std::process::ExitCode;

fn main() -> ExitCode {
    signal::install();
    let cli = Cli::parse();
    match dispatch(cli) {
        Ok(exit) => exit.into(),
        Err(error) => report(&error).into(),
    }
}

fn dispatch(cli: Cli) -> anyhow::Result<Exit> {
    match cli.command {
        Command::Fill(args) => fill_device(&cli.root, &args, &*monitor_for_stderr()),
        Command::BootBlock(args) => boot_block(&args, &*monitor_for_stderr()),
        Command::Schedule(args) => schedule(&cli.root, cli.config.as_deref(), &args),
        Command::Sync(args) => sync::run(&args),
        _ => Ok(Exit::Usage),
    }
}

/// Prints what stopped the program, and says which exit code that means.
fn report(error: &anyhow::Error) -> Exit {
    eprintln!("error: {error:#}");
    if error.is::<Refusal>() { Exit::Refused } else { Exit::Failed }
}
