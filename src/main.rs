//! The thin binary: parse, call, render, exit code.

use clap::Parser;
use diskmirror::cli::{Cli, Command};
use diskmirror::command::audit::audit;
use diskmirror::command::boot_block::boot_block;
use diskmirror::command::boot_test::boot_test;
use diskmirror::command::demo::demo;
use diskmirror::command::fill::fill_device;
use diskmirror::command::history::history;
use diskmirror::command::init::{Place, init, show_plan};
use diskmirror::command::schedule::schedule;
use diskmirror::command::status::status;
use diskmirror::command::undo::undo;
use diskmirror::command::verify::verify;
use diskmirror::command::{monitor_for_stderr, output, quiet_monitor_for_stderr, run, sync};
use diskmirror::exit_code::Exit;
use diskmirror::refusal::{Refusal, stated};
use diskmirror::sys::{allocator, command, signal};
use std::process::ExitCode;

fn main() -> ExitCode {
    allocator::give_back_large_blocks();
    signal::install();
    let cli = Cli::parse();
    if cli.verbose {
        command::tell_calls();
    }
    match dispatch(cli) {
        Ok(exit) => exit.into(),
        Err(error) => report(error).into(),
    }
}

fn dispatch(cli: Cli) -> anyhow::Result<Exit> {
    let (root, config) = (cli.root.as_path(), cli.config.as_deref());
    match cli.command {
        Command::Plan(args) => show_plan(&Place::new(root, config)?, &args),
        Command::Init(args) => init(&Place::new(root, config)?, &args, &*monitor_for_stderr()),
        Command::Run(args) => run::run(root, config, &args, &*quiet_monitor_for_stderr()),
        Command::Status(args) => status(root, config, &args),
        Command::Verify(args) => verify(root, config, &args, &*quiet_monitor_for_stderr()),
        Command::BootTest(args) => boot_test(root, config, &args, &*monitor_for_stderr()),
        Command::Audit(args) => audit(root, config, &args),
        Command::History(args) => history(root, config, &args),
        Command::Schedule(args) => schedule(root, config, &args),
        Command::Sync(args) => sync::run(&args, &*monitor_for_stderr()),
        Command::Undo(args) => undo(&args, &*monitor_for_stderr()),
        Command::Fill(args) => fill_device(root, &args, &*monitor_for_stderr()),
        Command::BootBlock(args) => boot_block(&args, &*monitor_for_stderr()),
        Command::Demo => demo(),
    }
}

/// Prints what stopped the program, and says which exit code that means.
fn report(error: anyhow::Error) -> Exit {
    let exit = if error.is::<Refusal>() { Exit::Refused } else { Exit::Failed };
    let unknown = "what was said above is done; nothing else is known to have been written";
    output::error(&stated(error, "diskmirror failed", unknown));
    exit
}
