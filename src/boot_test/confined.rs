//! How QEMU is started: as a user that is nobody else, without any right of root's, behind a filter of system calls, with
//! the disk and the image as open descriptors. What the mirror's system may break out of the machine into has nothing.

use super::UNTOUCHED;
use super::machine::PROGRAM;
use crate::refusal::Failure;
use crate::sys::command;
use anyhow::{Context, Result};
use std::os::fd::BorrowedFd;
use std::os::unix::fs::{MetadataExt, chown};
use std::path::Path;
use std::process::Command;

/// User IDs from here on are given to nobody: behind those of containers, before those that are no numbers any more
/// (systemd's table of users and groups, <https://systemd.io/UIDS-GIDS/>).
const FIRST_UID: u32 = 1_900_000_000;

/// What QEMU forbids itself, as libvirt has it: nothing below is needed by a machine that is running.
const SANDBOX: [&str; 2] =
    ["-sandbox", "on,obsolete=deny,elevateprivileges=deny,spawn=deny,resourcecontrol=deny"];

/// Who QEMU is.
#[derive(Debug, Clone)]
pub struct Confinement {
    uid: String,
    /// The group that may use /dev/kvm.
    groups: Vec<String>,
    /// Whether this QEMU has the filter.
    pub has_filter: bool,
}

impl Confinement {
    /// A user for this test, to whom `dir` is given.
    ///
    /// # Errors
    /// A `Failure` where it cannot be given.
    pub fn new(dir: &Path) -> Result<Self> {
        let uid = FIRST_UID + std::process::id();
        let confined = Confinement { uid: uid.to_string(), groups: groups(), has_filter: true };
        confined.give(dir)?;
        Ok(confined)
    }

    /// Makes the file or directory at `path` this user's.
    ///
    /// # Errors
    /// A `Failure`.
    pub fn give(&self, path: &Path) -> Result<()> {
        let uid = self.uid.parse().context("a user ID is a number")?;
        chown(path, Some(uid), Some(uid)).map_err(|error| {
            let what = format!("cannot give {} to the user that QEMU runs as", path.display());
            Failure::new(what, UNTOUCHED).why(error.to_string()).into()
        })
    }

    /// QEMU with these arguments in `dir`, with `disks` as its file descriptor sets 1, 2 and so on.
    pub fn command(&self, arguments: &[String], dir: &Path, disks: &[BorrowedFd<'_>]) -> Command {
        // The server's own work comes first. setpriv(1): it ends with us, even if we are killed.
        let mut all: Vec<String> = ["-n", "10", "setpriv", "--pdeathsig", "KILL"].map(String::from).into();
        all.extend(["--reuid", &self.uid, "--regid", &self.uid].map(String::from));
        all.extend(self.groups.iter().cloned());
        let no_rights = ["--no-new-privs", "--bounding-set", "-all", "--inh-caps", "-all", "--", PROGRAM];
        all.extend(no_rights.map(String::from));
        all.extend(self.filter().iter().map(|&word| word.to_owned()));
        all.extend(arguments.iter().cloned());
        let (mut command, numbers) = command::inheriting(command::prepared("nice", &[] as &[&str]), disks);
        for (set, number) in (1..).zip(numbers) {
            all.extend(["-add-fd".to_owned(), format!("fd={number},set={set}")]);
        }
        command.args(all).current_dir(dir);
        command
    }

    fn filter(&self) -> &'static [&'static str] {
        if self.has_filter { &SANDBOX } else { &[] }
    }

    /// Whether what QEMU said means that it has no such filter; then it is started without.
    pub fn lacks_filter(&mut self, said: &str) -> bool {
        let lacks = self.has_filter && said.contains("sandbox");
        self.has_filter &= !lacks;
        lacks
    }
}

/// Of all groups no more than the one that /dev/kvm belongs to.
fn groups() -> Vec<String> {
    match std::fs::metadata("/dev/kvm") {
        Ok(kvm) => vec!["--groups".into(), kvm.gid().to_string()],
        Err(_) => vec!["--clear-groups".into()],
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use std::os::fd::AsFd;

    #[test]
    fn qemu_is_nobody_behind_a_filter_and_only_without_where_it_says_that_it_has_none() {
        let mut confined =
            Confinement { uid: "1900000042".into(), groups: vec!["--clear-groups".into()], has_filter: true };
        let file = tempfile::tempfile().expect("a file");
        let line = |confined: &Confinement| {
            let command = confined.command(&["-S".into()], Path::new("/"), &[file.as_fd()]);
            let words: Vec<_> = command.get_args().map(|word| word.to_string_lossy().into_owned()).collect();
            words.join(" ")
        };
        let first = line(&confined);
        assert!(
            first.contains("--reuid 1900000042 --regid 1900000042 --clear-groups --no-new-privs"),
            "{first}"
        );
        assert!(
            first.contains("qemu-system-x86_64 -sandbox on,obsolete=deny,elevateprivileges=deny,"),
            "{first}"
        );
        assert!(first.contains("-S -add-fd fd=") && first.ends_with(",set=1"), "{first}");
        assert!(!confined.lacks_filter("qemu: could not open disk"));
        assert!(confined.lacks_filter("qemu: -sandbox on: seccomp support is disabled"));
        assert!(!confined.lacks_filter("sandbox"), "it was started without");
        assert!(!line(&confined).contains("-sandbox"));
    }
}
