//! What a tree holds, by content: taken from the primary while it lives, held against the mirror when it is gone.
//! Uses nothing of the engine: whoever judges must not share its mistakes.

use anyhow::{Context, Result};
use std::collections::BTreeMap;
use std::fs;
use std::os::unix::ffi::OsStrExt;
use std::os::unix::fs::MetadataExt;
use std::path::{Path, PathBuf};

/// Every entry below some mount points: by mount point's number and path, a digest of what it is.
pub struct Manifest(BTreeMap<(usize, PathBuf), [u8; 32]>);

/// How two manifests compare.
pub struct Comparison {
    /// Entries that were held against each other.
    pub files: u64,
    /// What differs, a line each.
    pub differences: Vec<String>,
}

/// What no mirror holds: the contents of these directories.
const LEFT_OUT: [&str; 6] = ["tmp", "run", "var/tmp", "var/lib/diskmirror", "var/log", "etc/diskmirror/keys"];

/// What names disks, below its mount point: there the mirror must differ.
const RETARGETED: [&str; 3] = ["etc/fstab", "etc/diskmirror.toml", super::server::COMMAND_LINE];

/// What the mirror has for itself alone: what puts a half-written file right early in its boot.
const OWN: [&str; 3] = [
    "etc/systemd/system/diskmirror-undo.service",
    "etc/systemd/system/sysinit.target.wants",
    "etc/systemd/system/sysinit.target.wants/diskmirror-undo.service",
];

impl Manifest {
    /// Reads every file below `mounts`, each a file system of its own.
    ///
    /// # Errors
    /// If anything cannot be read.
    pub fn of(mounts: &[PathBuf]) -> Result<Self> {
        let mut entries = BTreeMap::new();
        for (n, mount) in mounts.iter().enumerate() {
            let device = fs::metadata(mount).with_context(|| mount.display().to_string())?.dev();
            walk(mount, Path::new(""), device, &mut |path, digest| {
                entries.insert((n, path), digest);
            })?;
        }
        Ok(Manifest(entries))
    }

    /// Holds the tree below `mounts` against this.
    ///
    /// # Errors
    /// If anything cannot be read.
    pub fn compare(&self, mounts: &[PathBuf]) -> Result<Comparison> {
        let found = Manifest::of(mounts)?;
        let mut differences = Vec::new();
        for (entry, digest) in
            self.0.iter().filter(|(entry, _)| !RETARGETED.iter().any(|path| entry.1 == Path::new(path)))
        {
            match found.0.get(entry) {
                None => differences.push(format!("missing on the mirror: /{}", entry.1.display())),
                Some(other) if other != digest => {
                    differences.push(format!("differs: /{}", entry.1.display()))
                }
                Some(_) => {}
            }
        }
        let is_own = |entry: &&(usize, PathBuf)| OWN.iter().any(|path| entry.1 == Path::new(path));
        let extra = found.0.keys().filter(|entry| !self.0.contains_key(entry) && !is_own(entry));
        differences.extend(extra.map(|entry| format!("only on the mirror: /{}", entry.1.display())));
        Ok(Comparison { files: self.0.len() as u64, differences })
    }
}

fn walk(root: &Path, below: &Path, device: u64, take: &mut dyn FnMut(PathBuf, [u8; 32])) -> Result<()> {
    for entry in fs::read_dir(root.join(below)).with_context(|| root.join(below).display().to_string())? {
        let path = below.join(entry?.file_name());
        let full = root.join(&path);
        let meta = fs::symlink_metadata(&full).with_context(|| full.display().to_string())?;
        if path == Path::new(".diskmirror") || path == Path::new("lost+found") {
            continue;
        }
        take(path.clone(), digest(&full, &meta)?);
        let entered =
            meta.is_dir() && meta.dev() == device && !LEFT_OUT.iter().any(|dir| path == Path::new(dir));
        if entered {
            walk(root, &path, device, take)?;
        }
    }
    Ok(())
}

fn digest(path: &Path, meta: &fs::Metadata) -> Result<[u8; 32]> {
    let mut hasher = blake3::Hasher::new();
    for number in [u64::from(meta.mode()), u64::from(meta.uid()), u64::from(meta.gid())] {
        hasher.update(&number.to_le_bytes());
    }
    if meta.is_file() {
        hasher.update(&fs::read(path).with_context(|| path.display().to_string())?);
        hasher.update(&meta.mtime().to_le_bytes()).update(&meta.mtime_nsec().to_le_bytes());
    } else if meta.is_symlink() {
        hasher.update(fs::read_link(path)?.as_os_str().as_bytes());
    }
    Ok(*hasher.finalize().as_bytes())
}
