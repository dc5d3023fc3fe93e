//! The thin binary: parse, call, render, exit code.

use clap::Parser;
use diskmirror::cli::{Cli, Command};
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
        Command::Sync(args) => sync::run(&args),
        _ => Ok(Exit::Usage),
    }
}

/// Prints what stopped the program, and says which exit code that means.
fn report(error: &anyhow::Error) -> Exit {
    eprintln!("error: {error:#}");
    if error.is::<Refusal>() { Exit::Refused } else { Exit::Failed }
}
