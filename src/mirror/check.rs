//! Checks the mirror's file systems before a run looks at them: `fsck -p` where their own superblock leaves it
//! something to do, and for XFS the replay of its log, which is what a mount does.
//!
//! `fsck -p` on a clean ext file system only rewrites its superblock. It is left out there, so that a run that is
//! refused later has written nothing.

use super::find::UNTOUCHED;
use super::open::must_be_idle;
use crate::layout::FsKind;
use crate::refusal::Failure;
use crate::sys::{command, mount};
use anyhow::{Context, Result};
use std::path::Path;

/// fsck(8): errors were corrected.
const FSCK_REPAIRED: i32 = 1;

/// What a check found.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Checked {
    /// Nothing wrong.
    Sound,
    /// Errors that were repaired: any file may hold anything.
    Repaired,
}

/// Checks the file system on `node`; `scratch` is an empty directory to mount it on.
///
/// # Errors
/// A `Failure` with what the tool said.
pub fn check(node: &Path, kind: FsKind, scratch: &Path) -> Result<Checked> {
    must_be_idle(node)?;
    match kind {
        FsKind::Ext2 | FsKind::Ext3 | FsKind::Ext4 if is_settled_ext(node)? => Ok(Checked::Sound),
        FsKind::Ext2 | FsKind::Ext3 | FsKind::Ext4 | FsKind::Vfat => fsck(node, kind),
        FsKind::Xfs => replay_xfs(node, scratch),
    }
}

/// Whether a file system needs to be written to before it can be read as it is: its log holds something.
///
/// # Errors
/// Those of running the tools.
pub fn needs_replay(node: &Path, kind: FsKind) -> Result<bool> {
    match kind {
        FsKind::Ext2 | FsKind::Ext3 | FsKind::Ext4 => Ok(superblock(node)?.contains("needs_recovery")),
        FsKind::Xfs => {
            let said = command::ask_at_length("xfs_logprint", &["-t".as_ref(), node.as_os_str()], b"")
                .context("cannot run xfs_logprint (package xfsprogs)")?;
            Ok(!said.stdout.contains("<CLEAN>"))
        }
        FsKind::Vfat => Ok(false),
    }
}

fn superblock(node: &Path) -> Result<String> {
    let said = command::run("dumpe2fs", &["-h".as_ref(), node.as_os_str()], b"");
    Ok(said.context("cannot read the superblock (dumpe2fs is in the package e2fsprogs)")?.stdout)
}

/// Whether `fsck -p` would look at the superblock and leave: e2fsck(8) does so unless the file system is not clean, its
/// journal holds something, or a check is due by count or by time.
fn is_settled_ext(node: &Path) -> Result<bool> {
    Ok(is_settled(&superblock(node)?))
}

fn is_settled(superblock: &str) -> bool {
    let value = |key: &str| {
        let line = superblock.lines().find_map(|line| line.strip_prefix(key)?.strip_prefix(':'));
        line.map(str::trim).unwrap_or_default()
    };
    value("Filesystem state") == "clean"
        && !value("Filesystem features").contains("needs_recovery")
        && value("Maximum mount count").parse().is_ok_and(|count: i64| count <= 0)
        && value("Check interval").starts_with("0 ")
}

fn fsck(node: &Path, kind: FsKind) -> Result<Checked> {
    let node_text = node.to_string_lossy();
    let args = ["-T", "-t", kind.name(), &node_text, "--", "-p"];
    let said = command::ask_at_length("fsck", &args, b"").context("cannot run fsck")?;
    match said.status {
        0 => Ok(Checked::Sound),
        FSCK_REPAIRED => Ok(Checked::Repaired),
        status => Err(Failure::new(
            format!("fsck -p {} ended with exit code {status}: {}", node.display(), meaning(status)),
            "what fsck -p could repair safely is repaired; nothing else was written to the mirror",
        )
        .why(format!("{}\n{}", said.stdout, said.stderr))
        .remedy(format!("fsck {}   # opened again, if it is encrypted", node.display()))
        .into()),
    }
}

/// fsck(8)'s exit code in words: a bit mask.
fn meaning(status: i32) -> String {
    let bits = [
        (1, "errors were corrected"),
        (2, "the system should be rebooted"),
        (4, "errors were left uncorrected"),
        (8, "it failed in its work"),
        (16, "usage"),
        (32, "it was cancelled"),
        (128, "a library is missing"),
    ];
    bits.iter().filter(|(bit, _)| status & bit != 0).map(|(_, text)| *text).collect::<Vec<_>>().join(", ")
}

/// For XFS a mount is the check: it replays the log. On failure, what `xfs_repair -n` sees is shown; never `-L`.
fn replay_xfs(node: &Path, scratch: &Path) -> Result<Checked> {
    if !needs_replay(node, FsKind::Xfs)? {
        return Ok(Checked::Sound);
    }
    let mounted = mount::mount_device(node, "xfs", &[], scratch);
    let mount_fd = mounted.map_err(|error| xfs_failure(node, &error.to_string()))?;
    drop(mount_fd);
    mount::unmount_at(scratch).with_context(|| format!("cannot unmount {}", scratch.display()))?;
    Ok(Checked::Sound)
}

/// An XFS that cannot be mounted, with what `xfs_repair -n` says about it.
pub(super) fn xfs_failure(node: &Path, error: &str) -> Failure {
    let seen = command::ask_at_length("xfs_repair", &["-n".as_ref(), node.as_os_str()], b"");
    let failure = Failure::new(format!("cannot mount {}", node.display()), UNTOUCHED).why(error);
    let failure = match seen {
        Ok(said) => failure.why(format!("xfs_repair -n says:\n{}\n{}", said.stdout, said.stderr)),
        Err(error) => failure.why(format!("cannot run xfs_repair: {error}")),
    };
    failure.remedy(format!("xfs_repair {}   # opened again, if it is encrypted", node.display()))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_superblock_that_cannot_be_read_is_no_clean_one() {
        let error = needs_replay(Path::new("/dev/null"), FsKind::Ext4).expect_err("it holds nothing");
        assert!(format!("{error:#}").contains("dumpe2fs -h /dev/null"), "{error:#}");
    }

    const CLEAN: &str = "Filesystem features:      has_journal ext_attr\nFilesystem state:         clean\n\
                         Mount count:              3\nMaximum mount count:      -1\nCheck interval:           0 (<none>)\n";

    #[test]
    fn fsck_is_left_out_only_where_it_has_nothing_to_do() {
        assert!(is_settled(CLEAN));
        for (from, to) in [
            ("state:         clean", "state:         not clean"),
            ("state:         clean", "state:         clean with errors"),
            ("has_journal", "has_journal needs_recovery"),
            ("count:      -1", "count:      30"),
            ("0 (<none>)", "15552000 (6 months)"),
        ] {
            assert!(!is_settled(&CLEAN.replace(from, to)), "{to}");
        }
        assert!(!is_settled(""), "dumpe2fs failed");
    }

    #[test]
    fn fscks_exit_code_is_a_bit_mask() {
        assert_eq!(meaning(6), "the system should be rebooted, errors were left uncorrected");
    }
}
