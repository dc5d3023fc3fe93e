//! What is measured: each tool's name, its command line, and the copy it makes.

use super::check::inside;
use super::{child, verify};
use std::ffi::OsString;
use std::path::Path;

/// A way of doing the work.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Tool {
    /// diskmirror.
    Sync,
    /// diskmirror, with what it remembers of the last sync.
    SyncCatalog,
    /// diskmirror as the timer calls it: of low priority, and considerate.
    SyncConsiderate,
    /// diskmirror with a fixed limit.
    SyncLimited,
    /// diskmirror's comparison of both sides, contents too.
    Verify,
    /// rsync's.
    RsyncChecksum,
    /// rsync of the lowest priority.
    RsyncIdle,
    /// Nobody copies, for a while.
    Nobody,
    /// rsync with everything that a mirror needs.
    Rsync,
    /// The same, leaving holes.
    RsyncSparse,
    /// cp.
    Cp,
    /// Two tars and a pipe.
    Tar,
    /// rclone.
    Rclone,
    /// diskmirror's random fill.
    FillRandom,
    /// Its zeros.
    FillZero,
    /// dd from /dev/urandom.
    DdRandom,
    /// dd from /dev/zero.
    DdZero,
}

/// Which copy a tool makes. Each of a pair has one of its own; the others share one that is emptied in between.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Copy {
    /// diskmirror's.
    Ours,
    /// rsync's.
    Theirs,
    /// That of all others.
    Other,
}

/// What the command lines name.
#[derive(Debug)]
pub struct Names<'a> {
    /// diskmirror.
    pub program: &'a Path,
    /// This bench.
    pub bench: &'a Path,
    /// The tree.
    pub source: &'a Path,
    /// Where the copy is, or the device that is filled.
    pub target: &'a Path,
    /// What `--catalog` names.
    pub catalog: &'a Path,
    /// Where programs may keep what they like.
    pub scratch: &'a Path,
    /// How much of the device is filled.
    pub mib: u64,
}

/// After so many seconds rclone has not finished.
const RCLONE_SECONDS: &str = "1200";
/// Both ends of the pipe. The pax format keeps times to the nanosecond.
const TARS: &str =
    "set -o pipefail; tar -C \"$1\" --format=pax --xattrs --xattrs-include='*' --acls -cSf - . |
    tar -C \"$2\" --xattrs --xattrs-include='*' --acls -xpf -";

impl Tool {
    /// Its name in tables.
    pub fn name(self) -> &'static str {
        match self {
            Tool::Sync | Tool::SyncCatalog => "diskmirror",
            Tool::SyncConsiderate => "diskmirror, considerate",
            Tool::SyncLimited => "diskmirror, 50 MiB/s",
            Tool::Verify => "diskmirror verify",
            Tool::RsyncChecksum => "rsync --checksum --dry-run",
            Tool::RsyncIdle => "rsync, idle class, nice 19",
            Tool::Nobody => "nobody",
            Tool::Rsync | Tool::RsyncSparse => "rsync",
            Tool::Cp => "cp -a",
            Tool::Tar => "tar | tar",
            Tool::Rclone => "rclone",
            Tool::FillRandom => "diskmirror fill",
            Tool::FillZero => "diskmirror fill, zeros",
            Tool::DdRandom => "dd if=/dev/urandom",
            Tool::DdZero => "dd if=/dev/zero",
        }
    }
    /// The copy that it makes.
    pub fn copy(self) -> Copy {
        match self {
            Tool::Rsync | Tool::RsyncSparse | Tool::RsyncIdle | Tool::RsyncChecksum => Copy::Theirs,
            Tool::Cp | Tool::Tar | Tool::Rclone => Copy::Other,
            _ => Copy::Ours,
        }
    }
    /// Whether a copy that differs from its source ends the bench with an error.
    pub fn must_be_exact(self) -> bool {
        matches!(
            self,
            Tool::Sync
                | Tool::SyncCatalog
                | Tool::SyncConsiderate
                | Tool::SyncLimited
                | Tool::Verify
                | Tool::RsyncChecksum
                | Tool::Rsync
                | Tool::RsyncSparse
                | Tool::RsyncIdle
        )
    }
    /// Why it cannot be run here, if it cannot.
    pub fn missing(self, program: &Path) -> Option<String> {
        match self {
            Tool::SyncCatalog | Tool::Verify if !has_catalog(program) => {
                Some("this diskmirror has no --catalog".to_owned())
            }
            Tool::SyncConsiderate if !is_installed("fio") => Some("fio is not installed".to_owned()),
            Tool::Rclone if !is_installed("rclone") => Some("rclone is not installed".to_owned()),
            _ => None,
        }
    }
    /// Its command line.
    pub fn argv(self, names: &Names<'_>) -> Vec<OsString> {
        let Names { program, bench, source, target, catalog, scratch, mib } = *names;
        let words = |words: &[&str]| words.iter().map(OsString::from).collect::<Vec<_>>();
        let plain = |head: &[&str]| [words(head), vec![source.into(), target.into()]].concat();
        let slashed = |head: &[&str]| [words(head), vec![inside(source), inside(target)]].concat();
        let plain_of = |head: &[&str], options: &[&str]| {
            let sync = [vec![program.into(), "sync".into()], words(options)].concat();
            [words(head), sync, vec![source.into(), target.into()]].concat()
        };
        let fill = |with: &str| {
            let head = vec![program.into(), "--root".into(), scratch.into(), "fill".into(), "--with".into()];
            [head, vec![with.into(), target.into(), "--erase".into(), target.into()]].concat()
        };
        match self {
            Tool::Sync => vec![program.into(), "sync".into(), source.into(), target.into()],
            Tool::SyncCatalog => {
                let head: Vec<OsString> = vec![program.into(), "sync".into(), "--catalog".into()];
                [head, vec![catalog.into(), source.into(), target.into()]].concat()
            }
            Tool::SyncConsiderate => plain_of(&["nice", "-n10", "ionice", "-c3"], &["--considerate", "10%"]),
            Tool::SyncLimited => plain_of(&["nice", "-n10", "ionice", "-c3"], &["--bwlimit", "50M"]),
            Tool::Verify => {
                let head = vec![bench.into(), verify::WORD.into(), source.into(), target.into()];
                [head, vec![catalog.into()]].concat()
            }
            Tool::RsyncChecksum => slashed(&["rsync", "-aHAXx", "--checksum", "--dry-run"]),
            Tool::RsyncIdle => slashed(&["ionice", "-c3", "nice", "-n19", "rsync", "-aHAXxS", "--delete"]),
            Tool::Nobody => words(&["sleep", "20"]),
            Tool::Rsync => slashed(&["rsync", "-aHAXx", "--delete"]),
            Tool::RsyncSparse => slashed(&["rsync", "-aHAXxS", "--delete"]),
            Tool::Cp => {
                let mut content = inside(source);
                content.push(".");
                [words(&["cp", "-a"]), vec![content, inside(target)]].concat()
            }
            Tool::Tar => plain(&["bash", "-c", TARS, "tars"]),
            Tool::Rclone => plain(&["timeout", RCLONE_SECONDS, "rclone", "sync", "--links", "--metadata"]),
            Tool::FillRandom => fill("random"),
            Tool::FillZero => fill("zero"),
            Tool::DdRandom => dd("/dev/urandom", target, mib),
            Tool::DdZero => dd("/dev/zero", target, mib),
        }
    }
}

fn dd(from: &str, target: &Path, mib: u64) -> Vec<OsString> {
    let mut of = OsString::from("of=");
    of.push(target);
    let rest = [format!("count={mib}"), "bs=1M".into(), "oflag=direct".into(), "conv=fsync".into()];
    let head = vec![OsString::from("dd"), format!("if={from}").into(), of];
    head.into_iter().chain(rest.map(OsString::from)).collect()
}

fn has_catalog(program: &Path) -> bool {
    let argv = [program.into(), "sync".into(), "--help".into()];
    let said = child::prepared(&argv).output();
    said.is_ok_and(|said| String::from_utf8_lossy(&said.stdout).contains("--catalog"))
}

fn is_installed(program: &str) -> bool {
    diskmirror::sys::command::is_installed(program)
}

/// Programs without which nothing can be measured, and that are not there.
pub fn missing_basics() -> Vec<&'static str> {
    let needed = ["rsync", "mkfs.ext4", "losetup", "mount", "umount", "cp", "tar", "bash", "dd", "timeout"];
    needed.into_iter().filter(|program| !is_installed(program)).collect()
}

#[cfg(test)]
mod tests {
    use super::{Names, Tool};
    use crate::harness::child::shown;
    use std::path::Path;

    #[test]
    fn command_lines_are_those_of_the_page() {
        let path = Path::new;
        let names = Names {
            program: path("diskmirror"),
            bench: path("bench"),
            source: path("/s"),
            target: path("/t"),
            catalog: path("/c"),
            scratch: path("/x"),
            mib: 8,
        };
        let line = |tool: Tool| shown(&tool.argv(&names));
        assert_eq!(line(Tool::SyncCatalog), "diskmirror sync --catalog /c /s /t");
        assert_eq!(line(Tool::Verify), "bench verify /s /t /c");
        assert_eq!(line(Tool::RsyncChecksum), "rsync -aHAXx --checksum --dry-run /s/ /t/");
        assert_eq!(line(Tool::RsyncSparse), "rsync -aHAXxS --delete /s/ /t/");
        assert_eq!(
            line(Tool::SyncConsiderate),
            "nice -n10 ionice -c3 diskmirror sync --considerate 10% /s /t"
        );
        assert_eq!(line(Tool::Cp), "cp -a /s/. /t/");
        assert_eq!(line(Tool::DdRandom), "dd if=/dev/urandom of=/t count=8 bs=1M oflag=direct conv=fsync");
        assert_eq!(line(Tool::FillRandom), "diskmirror --root /x fill --with random /t --erase /t");
    }
}
