//! `demo`: the whole life of a mirror on two throw-away disks, told as a story.
//!
//! It calls this very program as an administrator would, with `--root`, so nothing in it is staged. Whatever happens,
//! it leaves nothing behind.

mod manifest;
mod server;

use super::output;
use crate::exit_code::Exit;
use crate::refusal::{Failure, Refusal};
use crate::step::quoted;
use crate::sys::command::{self, Said};
use crate::units::{duration, thousands};
use anyhow::{Context, Result, bail};
use manifest::Manifest;
use server::Server;
use std::io;
use std::path::Path;
use std::time::Instant;

/// The passphrase of the demo's disks: they live for a minute.
const PASSPHRASE: &str = "correct horse battery staple";

/// Runs the demo.
///
/// # Errors
/// A refusal where it cannot be run; else whatever went wrong, with the command that did.
pub fn demo() -> Result<Exit> {
    refuse_unless_possible()?;
    let since = Instant::now();
    let mut server = Server::build(PASSPHRASE)?;
    let story = tell(&mut server);
    let cleaned = server.remove();
    story?;
    cleaned?;
    let took = duration(since.elapsed());
    output::line(&format!("\nNothing is left behind. The whole life of a mirror took {took}."))?;
    Ok(Exit::Done)
}

fn refuse_unless_possible() -> Result<(), Refusal> {
    let refusal = || Refusal::new("refusing to run the demo", "nothing was written");
    if !rustix::process::geteuid().is_root() {
        return Err(refusal()
            .why("it makes two loop devices, which only root may")
            .remedy("sudo diskmirror demo"));
    }
    for (tool, package) in
        [("losetup", "mount"), ("sfdisk", "fdisk"), ("mke2fs", "e2fsprogs"), ("lsblk", "util-linux")]
    {
        if !command::is_installed(tool) {
            return Err(refusal()
                .why(format!("{tool} is not installed"))
                .remedy(format!("apt-get install {package}")));
        }
    }
    Ok(())
}

fn tell(server: &mut Server) -> Result<()> {
    chapter("A server with one disk")?;
    output::line(&server.describe())?;
    chapter("What would be done to the second disk")?;
    let mirror = server.mirror().to_owned();
    let plan = call(server, &["plan", "--mirror", &mirror])?;
    output::print(&outline(&plan.stdout))?;
    chapter("The mirror is prepared, and everything is copied")?;
    let erased =
        ["init", "--mirror", &mirror, "--erase", &mirror, "--yes", "--no-schedule", "--fill", "none"];
    told(&call(server, &with_passphrase(server, &erased))?)?;
    chapter("Life goes on: files change, appear, and go")?;
    output::line(&server.live()?)?;
    told(&call(server, &["run", "--dry-run"])?)?;
    told(&call(server, &["run"])?)?;
    told(&call(server, &["run"])?)?;
    let manifest = Manifest::of(&server.volumes())?;
    let before = command_line(&server.volumes())?;
    chapter("The primary dies")?;
    server.lose_primary()?;
    output::line(&format!("{} is gone. What does the mirror hold, on its own?", server.primary()))?;
    let mounts = server.mount_mirror()?;
    let found = manifest.compare(&mounts)?;
    if !found.differences.is_empty() {
        let failure =
            Failure::new("the mirror differs from the primary", "both disks were throw-away images");
        return Err(found.differences.iter().fold(failure, |f, line| f.why(line)).into());
    }
    let files = thousands(found.files);
    output::line(&format!(
        "every file system checks clean, and {files} files, read back, are the primary's to the byte"
    ))?;
    let after = command_line(&mounts)?;
    output::line(&format!(
        "but for what names the disk: there the mirror names itself\n  was: {before}\n  is:  {after}"
    ))?;
    anyhow::ensure!(before != after, "the mirror's command line names the primary");
    Ok(())
}

/// What the demo's server boots by, as the system at these mount points has it.
fn command_line(volumes: &[std::path::PathBuf]) -> Result<String> {
    let boot = volumes.last().context("it has a boot file system")?;
    Ok(std::fs::read_to_string(boot.join(server::COMMAND_LINE))?.trim().to_owned())
}

fn with_passphrase<'a>(server: &Server, args: &[&'a str]) -> Vec<&'a str> {
    let more: &[&str] = if server.encrypted() { &["--passphrase-fd", "0"] } else { &[] };
    args.iter().chain(more).copied().collect()
}

fn chapter(title: &str) -> io::Result<()> {
    output::line(&format!("\n== {title}"))
}

/// Calls this program on the demo's server; shows the command as an administrator would have typed it.
fn call<S: AsRef<str>>(server: &Server, args: &[S]) -> Result<Said> {
    let args: Vec<&str> = args.iter().map(AsRef::as_ref).collect();
    let typed: Vec<_> = args.iter().map(|arg| quoted(arg)).collect();
    output::line(&format!("$ diskmirror {}", typed.join(" ")))?;
    let program = std::env::current_exe().context("cannot find this program")?;
    let program = program.to_str().context("this program's path is not UTF-8")?;
    let root = server.root();
    let root = root.to_str().context("the path of temporary files is not UTF-8")?;
    let input = if args.contains(&"--passphrase-fd") { PASSPHRASE.as_bytes() } else { b"" };
    let all: Vec<&str> = ["--root", root].into_iter().chain(args.iter().copied()).collect();
    let said = command::ask_at_length(program, &all, input)?;
    if !said.ok() {
        bail!("diskmirror {} exited with {}\n{}{}", args.join(" "), said.status, said.stdout, said.stderr);
    }
    Ok(said)
}

/// What a command said: its result, and of its messages those a reader wants here.
fn told(said: &Said) -> io::Result<()> {
    const MOST: usize = 12;
    let lines: Vec<&str> = said.stdout.lines().collect();
    lines.iter().take(MOST).try_for_each(|line| output::line(&format!("  {line}")))?;
    if lines.len() > MOST {
        output::line(&format!("  … and {} more lines", lines.len() - MOST))
    } else {
        Ok(())
    }
}

/// A plan without the commands below its steps: those are for the administrator's own disk.
fn outline(plan: &str) -> String {
    plan.lines().filter(|line| !line.starts_with("        ")).map(|line| format!("  {line}\n")).collect()
}

/// Runs a tool that must succeed.
fn tool<S: AsRef<str>>(program: &str, args: &[S], input: &[u8]) -> Result<String> {
    let args: Vec<&str> = args.iter().map(AsRef::as_ref).collect();
    Ok(command::run(program, &args, input)?.stdout.trim().to_owned())
}

/// Unmounts `at` if anything is mounted there.
fn unmount(at: &Path) -> Result<()> {
    let at = at.to_str().context("the path of temporary files is not UTF-8")?;
    if command::ask("mountpoint", &["-q", at], b"")?.ok() {
        tool("umount", &[at], b"")?;
    }
    Ok(())
}
