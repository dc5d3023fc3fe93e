//! The thin binary: parse, call, render, exit code.

use clap::Parser;
use diskmirror::cli::{Cli, Command};
use diskmirror::command::{run, sync};
use diskmirror::exit_code::Exit;
use diskmirror::monitor::{Bars, Lines, Monitor};
use diskmirror::refusal::Refusal;
use diskmirror::sys::signal;
use std::io::{self, IsTerminal};
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
        Command::Sync(args) => sync::run(&args),
        Command::Run(args) => run::run(&cli.root, cli.config.as_deref(), &args, &*monitor()),
        _ => Ok(Exit::Usage),
    }
}

/// Bars on a terminal; elsewhere only what is wrong, so that a timer's run is quiet.
fn monitor() -> Box<dyn Monitor> {
    if io::stderr().is_terminal() { Box::new(Bars::new()) } else { Box::new(Lines::quiet(io::stderr())) }
}

/// Prints what stopped the program, and says which exit code that means.
fn report(error: &anyhow::Error) -> Exit {
    eprintln!("error: {error:#}");
    if error.is::<Refusal>() { Exit::Refused } else { Exit::Failed }
}
