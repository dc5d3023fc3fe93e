//! Throw-away disks: loop devices over sparse files, taken down whatever happens to the test.

#![allow(dead_code)] // Each test file uses what it needs.

use std::fs::{self, File};
use std::io::Write;
use std::os::unix::fs::FileExt;
use std::path::{Path, PathBuf};
use std::process::{Command, Output, Stdio};
use tempfile::TempDir;

/// A loop device with partition nodes.
pub struct LoopDisk {
    pub path: PathBuf,
    image: PathBuf,
    directory: TempDir,
    mounted: bool,
}

impl LoopDisk {
    /// A disk of `bytes` zeros with logical sectors of `sector` bytes; none, and said so, where there can be none.
    pub fn new(bytes: u64, sector: u32) -> Option<Self> {
        Self::inside(tempfile::tempdir().expect("a directory for temporary files"), bytes, sector)
    }

    /// A disk that says it has `bytes`, of which only the first `good` that are written to find room.
    pub fn failing(bytes: u64, good: u64) -> Option<Self> {
        let directory = tempfile::tempdir().expect("a directory for temporary files");
        let options = format!("size={good}");
        succeed(
            Command::new("mount").args(["-t", "tmpfs", "-o", &options, "none"]).arg(directory.path()),
            "",
        );
        let mut disk = Self::inside(directory, bytes, 512)?;
        disk.mounted = true;
        Some(disk)
    }

    fn inside(directory: TempDir, bytes: u64, sector: u32) -> Option<Self> {
        let image = directory.path().join("disk.img");
        File::create(&image).and_then(|file| file.set_len(bytes)).expect("an image file");
        let output = Command::new("losetup")
            .args(["--find", "--show", "--partscan", "--sector-size", &sector.to_string()])
            .arg(&image)
            .output();
        match output {
            Ok(output) if output.status.success() => {
                let path = PathBuf::from(String::from_utf8_lossy(&output.stdout).trim());
                Some(LoopDisk { path, image, directory, mounted: false })
            }
            Ok(output) => skipped(&format!("no loop device: {}", String::from_utf8_lossy(&output.stderr))),
            Err(error) => skipped(&format!("no losetup: {error}")),
        }
    }

    /// Partitions it as this sfdisk script says.
    pub fn partition(&self, script: &str) {
        succeed(Command::new("sfdisk").args(["-q", "--no-tell-kernel"]).arg(&self.path), script);
        succeed(Command::new("partx").arg("--update").arg(&self.path), "");
    }

    /// The node of a partition.
    pub fn part(&self, number: u32) -> PathBuf {
        PathBuf::from(format!("{}p{number}", self.path.display()))
    }

    /// The path as an argument.
    pub fn arg(&self) -> &str {
        self.path.to_str().expect("a device's name is ASCII")
    }

    /// Every byte of it, as the medium holds them.
    pub fn bytes(&self) -> Vec<u8> {
        self.flush();
        fs::read(&self.image).expect("the image can be read")
    }

    /// A digest of every byte.
    pub fn digest(&self) -> String {
        blake3::hash(&self.bytes()).to_hex().to_string()
    }

    /// Writes into it.
    pub fn put(&self, offset: u64, bytes: &[u8]) {
        let file = File::options().write(true).open(&self.path).expect("a loop device");
        file.write_all_at(bytes, offset).and_then(|()| file.sync_all()).expect("it can be written");
    }

    /// Makes the kernel refuse writes, or allow them again.
    pub fn set_read_only(&self, on: bool) {
        succeed(Command::new("blockdev").arg(if on { "--setro" } else { "--setrw" }).arg(&self.path), "");
    }

    fn flush(&self) {
        succeed(Command::new("blockdev").arg("--flushbufs").arg(&self.path), "");
        File::open(&self.image).and_then(|file| file.sync_all()).expect("the image can be flushed");
    }
}

impl Drop for LoopDisk {
    fn drop(&mut self) {
        let _ = Command::new("losetup").arg("--detach").arg(&self.path).status();
        if self.mounted {
            let _ = Command::new("umount").arg("--lazy").arg(self.directory.path()).status();
        }
    }
}

/// A mount that ends with the test.
pub struct Mounted(TempDir);

impl Mounted {
    /// Makes an ext4 file system on `device` and mounts it.
    pub fn ext4(device: &Path) -> Self {
        succeed(Command::new("mke2fs").args(["-q", "-t", "ext4", "-F"]).arg(device), "");
        let at = tempfile::tempdir().expect("a directory for temporary files");
        succeed(Command::new("mount").arg(device).arg(at.path()), "");
        Mounted(at)
    }
    /// Where it is mounted.
    pub fn at(&self) -> &Path {
        self.0.path()
    }
}

impl Drop for Mounted {
    fn drop(&mut self) {
        let _ = Command::new("umount").arg(self.0.path()).status();
    }
}

/// Runs the program with nobody to ask.
pub fn diskmirror(args: &[&str]) -> Output {
    Command::new(env!("CARGO_BIN_EXE_diskmirror"))
        .args(args)
        .stdin(Stdio::null())
        .output()
        .expect("the program was built")
}

/// Its stderr.
pub fn stderr(output: &Output) -> String {
    String::from_utf8_lossy(&output.stderr).into_owned()
}

/// What a refusal must be: exit 4, these words, all four things.
pub fn assert_refused(output: &Output, words: &[&str]) {
    let text = stderr(output);
    assert_eq!(output.status.code(), Some(4), "{text}");
    assert!(text.starts_with("error: refusing "), "{text}");
    assert!(text.contains("\n  state: nothing was "), "{text}");
    words.iter().for_each(|word| assert!(text.contains(word), "{word:?} is not in:\n{text}"));
}

/// Says that a test was left out, and why.
pub fn skipped<T>(why: &str) -> Option<T> {
    println!("skipped: {}", why.trim());
    None
}

fn succeed(command: &mut Command, input: &str) {
    let mut child =
        command.stdin(Stdio::piped()).stderr(Stdio::piped()).spawn().expect("the tool is installed");
    let mut stdin = child.stdin.take().expect("it was piped");
    stdin.write_all(input.as_bytes()).expect("the tool reads its input");
    drop(stdin);
    let output = child.wait_with_output().expect("the tool ends");
    assert!(output.status.success(), "{command:?}: {}", String::from_utf8_lossy(&output.stderr));
}
