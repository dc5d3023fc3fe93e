//! The command line. These doc comments are the help and the man page.

use crate::units::{Considerate, Rate, Share};
use clap::{Args, Parser, Subcommand, ValueEnum};
use std::path::PathBuf;

/// A bootable, encrypted, always-fresh spare of a running server's system disk.
#[derive(Debug, Parser)]
#[command(name = "diskmirror", version, max_term_width = 100, disable_help_subcommand = true)]
pub struct Cli {
    /// The primary's mounted root: fstab, crypttab and the configuration are read below it.
    #[arg(long, global = true, value_name = "DIR", default_value = "/")]
    pub root: PathBuf,
    /// The configuration file [default: etc/diskmirror.toml below --root].
    #[arg(long, global = true, value_name = "FILE")]
    pub config: Option<PathBuf>,
    /// Tell each call of a system's tool on stderr, with the seconds it took and its exit code.
    #[arg(short, long, global = true)]
    pub verbose: bool,
    /// What to do.
    #[command(subcommand)]
    pub command: Command,
}

/// The commands.
#[derive(Debug, Subcommand)]
pub enum Command {
    /// Show what `init` would do to a disk. Changes nothing.
    Plan(PlanArgs),
    /// Prepare a disk as the mirror, make the first run, install the schedule.
    Init(InitArgs),
    /// Refresh the mirror once: what the timer calls.
    Run(RunArgs),
    /// Tell whether this spare would save the server now.
    Status(StatusArgs),
    /// Compare the mirror with the primary, contents too, and tell which of them is damaged. Nothing is written to either.
    Verify(VerifyArgs),
    /// Boot the mirror in a virtual machine. Nothing is written to it.
    BootTest(BootTestArgs),
    /// List the last runs and boot tests.
    History(HistoryArgs),
    /// Say what on the mirror still needs the primary, or is missing for a boot without it. Changes nothing.
    Audit(AuditArgs),
    /// Install, remove or show the timer and the log rotation.
    Schedule(ScheduleArgs),
    /// Make DST's content SRC's content: the engine alone, any two directories, no root needed.
    Sync(SyncArgs),
    /// Make files of a mirror whole that were half written when a run or a sync was cut off.
    Undo(UndoArgs),
    /// Fill a device before it is encrypted, so that nothing shows what was written to it.
    Fill(FillArgs),
    /// Copy boot code from one disk to another.
    BootBlock(BootBlockArgs),
    /// Show the whole life of a mirror on two throw-away disks.
    Demo,
}

/// The options that shape a mirror.
#[derive(Debug, Clone, Args)]
pub struct MirrorOptions {
    /// The disk to prepare: /dev/sdb, or any link to it below /dev/disk. EVERYTHING ON IT IS ERASED.
    #[arg(long, value_name = "DISK")]
    pub mirror: PathBuf,
    /// The disk to mirror [default: the one that holds the root file system].
    #[arg(long, value_name = "DISK")]
    pub primary: Option<PathBuf>,
    /// What to write where the encrypted data will lie, before it is encrypted
    /// [default: random on rotating disks, none on SSDs].
    #[arg(long, value_enum, value_name = "HOW")]
    pub fill: Option<FillKind>,
    /// How later runs open the mirror: with a key file of its own, or not at all: you open it by its
    /// (noauto) line in /etc/crypttab.
    #[arg(long, value_enum, value_name = "HOW", default_value = "keyfile")]
    pub unlock: Unlock,
    /// Add (noauto) lines for the mirror's file systems to /etc/fstab.
    #[arg(long)]
    pub fstab: bool,
    /// The name of the mirror's volume group [default: mirror, or mirror2 … if that is taken].
    #[arg(long, value_name = "NAME")]
    pub vg: Option<String>,
    /// Leave the encryption out: an UNENCRYPTED mirror of an encrypted primary.
    #[arg(long)]
    pub allow_plaintext_mirror: bool,
    /// Leave a part of the primary's disk out of the mirror: a partition or a volume by its node, by where it is mounted, or
    /// as GROUP or GROUP/VOLUME. Not what the boot needs. May be given several times; later ones know it.
    #[arg(long, value_name = "PART")]
    pub leave_out: Vec<String>,
    /// Do not install the timer.
    #[arg(long)]
    pub no_schedule: bool,
}

/// What the part of a disk that will be encrypted is filled with first.
#[derive(Debug, Clone, Copy, PartialEq, Eq, ValueEnum)]
pub enum FillKind {
    /// A key stream that nothing tells from encrypted data.
    Random,
    /// Zeros.
    Zero,
    /// Tell the disk that nothing is in use.
    Discard,
    /// Leave what is there.
    None,
}

/// How an unattended run opens the mirror.
#[derive(Debug, Clone, Copy, PartialEq, Eq, ValueEnum)]
pub enum Unlock {
    /// With a random key file that lies on the encrypted primary only.
    Keyfile,
    /// Not at all: you open it by its line in /etc/crypttab.
    Crypttab,
}

/// `plan`
#[derive(Debug, Args)]
pub struct PlanArgs {
    /// What the mirror shall be.
    #[command(flatten)]
    pub options: MirrorOptions,
    /// Print the plan as JSON.
    #[arg(long)]
    pub json: bool,
}

/// `init`
#[derive(Debug, Args)]
pub struct InitArgs {
    /// What the mirror shall be.
    #[command(flatten)]
    pub options: MirrorOptions,
    /// Confirm by the mirror's serial number (its path, if it reports none) that it is to be erased.
    #[arg(long, value_name = "SERIAL")]
    pub erase: Option<String>,
    /// Apply only the plan with this digest, as `plan` printed it.
    #[arg(long, value_name = "DIGEST")]
    pub plan: Option<String>,
    /// Ask nothing; needs --erase.
    #[arg(long, requires = "erase")]
    pub yes: bool,
    /// Read the passphrase from this open file descriptor instead of the terminal.
    #[arg(long, value_name = "N")]
    pub passphrase_fd: Option<i32>,
}

/// `run`
#[derive(Debug, Default, Args)]
pub struct RunArgs {
    /// Which mirror, by its name in the configuration.
    pub name: Option<String>,
    /// List the changes; write nothing.
    #[arg(long)]
    pub dry_run: bool,
    /// Compare everything, whatever the last run knew.
    #[arg(long)]
    pub full: bool,
    /// Let deletions, or a damaged file, through, by the code that the message named; or, with the absolute path of a
    /// directory, whatever is deleted below it, in this run. May be given several times.
    #[arg(long, alias = "accept-dir", value_name = "CODE|DIR")]
    pub accept: Vec<Accept>,
    /// Read at most so many bytes of content a second from the primary: 50M. The configuration may set it, too.
    #[arg(long, value_name = "RATE")]
    pub bwlimit: Option<Rate>,
    /// Slow down while others wait for the disk or the processor for more than this share of the time: 10%; or off
    /// [default: the configuration's, else 10%].
    #[arg(long, value_name = "SHARE")]
    pub considerate: Option<Considerate>,
    /// End with one JSON object on stdout.
    #[arg(long)]
    pub json: bool,
}

/// What a run is told to let through.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Accept {
    /// Codes, as messages name them; several are joined by `_` or `,`.
    Codes(String),
    /// A directory: whatever is deleted below it.
    Dir(PathBuf),
}

impl std::str::FromStr for Accept {
    type Err = String;

    fn from_str(text: &str) -> Result<Self, String> {
        let is_code = |c: char| c.is_ascii_alphanumeric() || c == '_' || c == ',';
        match text {
            dir if dir.starts_with('/') => Ok(Accept::Dir(dir.into())),
            codes if !codes.is_empty() && codes.chars().all(is_code) => Ok(Accept::Codes(codes.into())),
            _ => Err("neither a code that a message named nor the absolute path of a directory".into()),
        }
    }
}

impl std::fmt::Display for Accept {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        match self {
            Accept::Codes(codes) => f.write_str(codes),
            Accept::Dir(dir) => dir.display().fmt(f),
        }
    }
}

impl Accept {
    /// The directory, if it is one.
    pub fn dir(&self) -> Option<&std::path::Path> {
        match self {
            Accept::Dir(dir) => Some(dir),
            Accept::Codes(_) => None,
        }
    }

    /// The codes, one by one.
    pub fn codes(&self) -> impl Iterator<Item = &str> {
        let codes = match self {
            Accept::Codes(codes) => codes.as_str(),
            Accept::Dir(_) => "",
        };
        codes.split(['_', ',']).filter(|code| !code.is_empty())
    }
}

/// `status`
#[derive(Debug, Default, Args)]
pub struct StatusArgs {
    /// Which mirror, by its name in the configuration.
    pub name: Option<String>,
    /// Print one JSON object.
    #[arg(long, group = "form")]
    pub json: bool,
    /// Print one line for Nagios and its kin; the exit code is theirs: 0 OK, 1 WARNING, 2 CRITICAL, 3 UNKNOWN.
    #[arg(long, group = "form")]
    pub nagios: bool,
    /// Print metrics in Prometheus' text format, as node_exporter's textfile collector reads them.
    #[arg(long, group = "form")]
    pub prometheus: bool,
}

/// `verify`
#[derive(Debug, Default, Args)]
pub struct VerifyArgs {
    /// Which mirror, by its name in the configuration.
    pub name: Option<String>,
    /// Read every file on both sides; this is the default.
    #[arg(long, conflicts_with = "sample")]
    pub full: bool,
    /// Read only this share of the files; the next call takes the next share, so that `--sample 5%` has seen every file
    /// after twenty.
    #[arg(long, value_name = "N%")]
    pub sample: Option<Share>,
    /// Print one JSON object on stdout.
    #[arg(long)]
    pub json: bool,
}

/// `boot-test`
#[derive(Debug, Default, Args)]
pub struct BootTestArgs {
    /// Which mirror, by its name in the configuration.
    pub name: Option<String>,
    /// Print one JSON object on stdout.
    #[arg(long)]
    pub json: bool,
    /// Read the passphrase from this open file descriptor instead of the terminal: for mirrors without a key file.
    #[arg(long, value_name = "N")]
    pub passphrase_fd: Option<i32>,
    /// Wait for a run that is at work, for an hour at most: what the schedule does.
    #[arg(long)]
    pub wait: bool,
    /// Give up after this many seconds [default: 300 with KVM, 900 without]. What the virtual machine waits for a
    /// processor does not count, until it has taken four times as long.
    #[arg(long, value_name = "SECS", value_parser = clap::value_parser!(u64).range(1..))]
    pub time_limit: Option<u64>,
}

/// `audit`
#[derive(Debug, Args)]
pub struct AuditArgs {
    /// Which mirror, by its name in the configuration.
    pub name: Option<String>,
    /// Print the findings as one JSON object.
    #[arg(long)]
    pub json: bool,
}

/// `history`
#[derive(Debug, Default, Args)]
pub struct HistoryArgs {
    /// Which mirror, by its name in the configuration.
    pub name: Option<String>,
    /// Print a JSON list.
    #[arg(long)]
    pub json: bool,
}

/// `schedule`
#[derive(Debug, Args)]
pub struct ScheduleArgs {
    /// What to do with it.
    #[command(subcommand)]
    pub action: ScheduleAction,
}

/// What to do with the schedule.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Subcommand)]
pub enum ScheduleAction {
    /// Write and enable the timer (every 15 minutes) and the log rotation; and the boot tests' timer, if the configuration has
    /// them (boot_test).
    Install {
        /// A line for cron instead of a systemd timer.
        #[arg(long)]
        cron: bool,
    },
    /// Remove exactly what `install` wrote.
    Remove,
    /// Print what is installed.
    Show,
}

/// `sync`
#[derive(Debug, Args)]
pub struct SyncArgs {
    /// The directory to copy from.
    #[arg(value_name = "SRC")]
    pub source: PathBuf,
    /// The directory to make equal to it.
    #[arg(value_name = "DST")]
    pub destination: PathBuf,
    /// List the changes; write nothing.
    #[arg(long)]
    pub dry_run: bool,
    /// End with one JSON object on stdout.
    #[arg(long)]
    pub json: bool,
    /// Keep SRC's metadata of this sync in FILE (and FILE.delta), and hashes of large files' blocks in FILE.blocks: what has not changed by the next one costs one look at
    /// SRC, and none at DST. Nobody else may write to DST meanwhile. FILE lies outside of both.
    #[arg(long, value_name = "FILE")]
    pub catalog: Option<PathBuf>,
    /// Leave what matches out, on both sides. `/tmp/*` is anchored at SRC; `*.o` matches anywhere;
    /// `*` does not match a slash, `**` does.
    #[arg(long, value_name = "GLOB")]
    pub exclude: Vec<String>,
    /// Read at most so many bytes of content a second from SRC: 50M.
    #[arg(long, value_name = "RATE")]
    pub bwlimit: Option<Rate>,
    /// Slow down while others wait for the disk or the processor for more than this share of the time: 10% [default: off].
    #[arg(long, value_name = "SHARE")]
    pub considerate: Option<Considerate>,
}

/// `undo`
#[derive(Debug, Default, Args)]
pub struct UndoArgs {
    /// The mirror's file systems, by where they are mounted, or the DST of a sync [default: every mounted file system that
    /// has something to be put back]. `run` and `sync` do this by themselves; so does a mirror that is booted, where
    /// systemd is its init.
    #[arg(value_name = "DIR")]
    pub directories: Vec<PathBuf>,
}

/// `fill`
#[derive(Debug, Args)]
pub struct FillArgs {
    /// The block device to overwrite.
    pub device: PathBuf,
    /// What to write.
    #[arg(long, value_enum, default_value = "random")]
    pub with: FillKind,
    /// Confirm by the disk's serial number (its path, if it reports none) that it is to be overwritten.
    #[arg(long, value_name = "SERIAL")]
    pub erase: Option<String>,
}

/// `boot-block`
#[derive(Debug, Args)]
pub struct BootBlockArgs {
    /// What to do with it.
    #[command(subcommand)]
    pub action: BootBlockAction,
}

/// What to do with a boot block.
#[derive(Debug, Subcommand)]
pub enum BootBlockAction {
    /// Copy the first sector of a disk to another.
    Copy {
        /// Copy the boot code (bytes 0-439) only: signature and partition table of TO stay.
        #[arg(long)]
        keep_table: bool,
        /// The disk to read.
        from: PathBuf,
        /// The disk to write.
        to: PathBuf,
        /// Confirm by TO's serial number (its path, if it reports none) that its table is to be replaced.
        #[arg(long, value_name = "SERIAL")]
        erase: Option<String>,
    },
}

#[cfg(test)]
mod tests {
    use super::{Accept, Cli, Command};
    use clap::{CommandFactory, Parser};

    #[test]
    fn what_is_let_through_is_given_in_any_number_as_codes_or_as_directories() {
        let line =
            "diskmirror run --accept a1n20_b2n30 --accept /home/alice --accept-dir /srv --accept c3,d4";
        let Command::Run(args) = Cli::parse_from(line.split(' ')).command else { panic!("it is a run") };
        let codes: Vec<&str> = args.accept.iter().flat_map(Accept::codes).collect();
        assert_eq!(codes, ["a1n20", "b2n30", "c3", "d4"]);
        let dirs: Vec<_> = args.accept.iter().filter_map(Accept::dir).collect();
        assert_eq!(dirs, ["/home/alice", "/srv"].map(std::path::Path::new));
        for wrong in ["", "home/alice", "a b"] {
            assert!(wrong.parse::<Accept>().is_err(), "{wrong:?}");
        }
    }

    #[test]
    fn the_command_line_is_consistent() {
        Cli::command().debug_assert();
    }
}
