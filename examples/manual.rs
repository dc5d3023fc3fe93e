//! Writes the man pages and the completions for bash, zsh and fish into a directory, from the command line's own
//! definition: `cargo run --example manual -- DIRECTORY`.

use clap::CommandFactory;
use clap_complete::Shell;
use diskmirror::cli::Cli;
use std::path::{Path, PathBuf};
use std::process::ExitCode;
use std::{env, fs, io};

fn main() -> ExitCode {
    let Some(directory) = env::args_os().nth(1).map(PathBuf::from) else {
        eprintln!("usage: manual DIRECTORY");
        return ExitCode::from(2);
    };
    match write_all(&directory) {
        Ok(()) => ExitCode::SUCCESS,
        Err(error) => {
            eprintln!("error: {}: {error}", directory.display());
            ExitCode::FAILURE
        }
    }
}

/// `diskmirror.1`, a page a subcommand, `diskmirror.bash`, `_diskmirror` and `diskmirror.fish`.
fn write_all(directory: &Path) -> io::Result<()> {
    fs::create_dir_all(directory)?;
    clap_mangen::generate_to(Cli::command(), directory)?;
    for shell in [Shell::Bash, Shell::Zsh, Shell::Fish] {
        clap_complete::generate_to(shell, &mut Cli::command(), "diskmirror", directory)?;
    }
    Ok(())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn every_command_has_a_page_and_every_shell_its_completion() {
        let directory = tempfile::tempdir().expect("a directory for temporary files");
        write_all(directory.path()).expect("the pages are written");
        let read = |name: &str| fs::read_to_string(directory.path().join(name)).unwrap_or_default();
        for command in Cli::command().get_subcommands() {
            let page = read(&format!("diskmirror-{}.1", command.get_name()));
            assert!(page.contains(".SH SYNOPSIS"), "{}: {page}", command.get_name());
        }
        assert!(read("diskmirror.1").contains("diskmirror"));
        for completion in ["diskmirror.bash", "_diskmirror", "diskmirror.fish"] {
            assert!(read(completion).contains("boot-block"), "{completion}");
        }
    }
}
