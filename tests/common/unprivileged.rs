//! Source and copy of a user who is not root.

use super::loopfs::{Kind, LoopFs, tool};
use super::sync_command::{self as sync, Report};
use std::ffi::OsString;
use std::fs::{self, Permissions};
use std::os::unix::fs::{PermissionsExt, lchown};
use std::os::unix::process::CommandExt;
use std::path::{Path, PathBuf};
use std::process::Command;

/// The user `nobody` of most systems: any user that is not root will do.
const NOBODY: u32 = 65_534;

/// Source and copy of a user who is not root, whoever runs the test.
pub struct Unprivileged {
    pub source: PathBuf,
    pub copy: PathBuf,
    program: OsString,
    _filesystem: Option<LoopFs>,
    _scratch: tempfile::TempDir,
}

impl Unprivileged {
    /// With nothing in it.
    pub fn new() -> Self {
        let scratch = super::scratch();
        let filesystem = super::is_root().then(|| LoopFs::new(Kind::Ext4, 128));
        let at = filesystem.as_ref().map_or(scratch.path(), LoopFs::path).to_owned();
        let (source, copy) = (at.join("source"), at.join("copy"));
        let mut program = sync::program();
        if super::is_root() {
            // Where the build lies, that user may not be let in. Copied by another process: a program that is open for
            // writing here, and so for a moment in whatever another test's thread starts, cannot be run.
            tool(Command::new("cp").arg(&program).arg(at.join("program")));
            fs::set_permissions(at.join("program"), Permissions::from_mode(0o755)).unwrap();
            program = at.join("program").into();
        }
        for directory in [&source, &copy] {
            fs::create_dir(directory).unwrap();
            give_away(directory);
        }
        Unprivileged { source, copy, program, _filesystem: filesystem, _scratch: scratch }
    }
    /// A sync of that user's.
    pub fn run(&self) -> Report {
        self.run_with(&[])
    }
    /// The same with more arguments.
    pub fn run_with(&self, arguments: &[&str]) -> Report {
        let mut command = Command::new(&self.program);
        command.args(["sync", "--json"]).args(arguments).arg("--").arg(&self.source).arg(&self.copy);
        if super::is_root() {
            command.uid(NOBODY).gid(NOBODY).current_dir("/");
        }
        sync::finish(&mut command)
    }
    /// Writes a file of the source, and the directories above it.
    pub fn write(&self, name: &str, content: &str) {
        let path = self.source.join(name);
        fs::create_dir_all(path.parent().unwrap()).unwrap();
        path.ancestors().skip(1).take_while(|above| *above != self.source).for_each(give_away);
        fs::write(&path, content).unwrap();
        give_away(&path);
    }
    /// Changes the permissions of an entry of the source.
    pub fn chmod(&self, name: &str, mode: u32) {
        fs::set_permissions(self.source.join(name), Permissions::from_mode(mode)).unwrap();
    }
}

/// Gives an entry to that user.
pub fn give_away(path: &Path) {
    if super::is_root() {
        lchown(path, Some(NOBODY), Some(NOBODY)).unwrap();
    }
}
