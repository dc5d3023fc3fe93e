//! T1: a copy of the system that the bench runs on, or an even sample of it.

use super::settings::Settings;
use super::volume::Volume;
use anyhow::{Context, bail};
use std::ffi::OsString;
use std::fs::{self, Metadata};
use std::hash::{DefaultHasher, Hash, Hasher};
use std::io::{self, BufWriter, Write};
use std::os::unix::ffi::OsStrExt;
use std::os::unix::fs::MetadataExt;
use std::path::{Path, PathBuf};
use std::process::Stdio;

/// What is copied, as far as it is on the same file system as the first.
const TOPS: [&str; 4] = ["/usr", "/etc", "/var", "/opt"];
/// What changes all the time, or is the bench's own.
const LEFT_OUT: [&str; 6] =
    ["/var/tmp", "/var/cache", "/var/log", "/var/lib/apt", "/var/lib/docker", "/var/lib/diskmirror"];

/// What of the machine is copied. The paths are not kept: what this process holds in memory would count for every
/// tool that it starts.
#[derive(Debug)]
pub struct Sample {
    scale: f64,
    left_out: Vec<PathBuf>,
    /// How many entries.
    pub entries: u64,
    /// Bytes in use.
    pub bytes: u64,
}

impl Sample {
    /// Looks at everything once.
    pub fn choose(settings: &Settings) -> anyhow::Result<Self> {
        let mut left_out: Vec<PathBuf> = LEFT_OUT.iter().map(PathBuf::from).collect();
        left_out.extend([PathBuf::from(env!("CARGO_MANIFEST_DIR")), settings.dir.clone()]);
        let mut sample = Sample { scale: settings.scale, left_out, entries: 0, bytes: 0 };
        let (mut entries, mut bytes) = (0, 0);
        sample.each(&mut |_, meta| {
            entries += 1;
            bytes += meta.blocks() * 512;
            Ok(())
        })?;
        (sample.entries, sample.bytes) = (entries, bytes);
        Ok(sample)
    }
    /// Copies it. Files that vanish meanwhile are no error.
    pub fn copy(&self, to: &Volume) -> anyhow::Result<()> {
        let argv = ["rsync", "-aHAX", "--from0", "--files-from=-", "/"].map(OsString::from);
        let mut rsync = super::child::prepared(&argv);
        rsync.arg(to.path()).stdin(Stdio::piped()).stdout(Stdio::null()).stderr(Stdio::piped());
        let mut child = rsync.spawn().context("starting rsync")?;
        let mut names = BufWriter::new(child.stdin.take().context("rsync's stdin")?);
        self.each(&mut |path, _| {
            names.write_all(path.as_os_str().as_bytes()).and_then(|()| names.write_all(b"\0"))
        })?;
        names.flush().context("naming files to rsync")?;
        drop(names);
        let said = child.wait_with_output()?;
        if !matches!(said.status.code(), Some(0 | 24)) {
            bail!("copying the system: {}", String::from_utf8_lossy(&said.stderr).trim());
        }
        Ok(())
    }
    /// Calls `take` for every path that is chosen, directories before what is in them.
    fn each(&self, take: &mut dyn FnMut(&Path, &Metadata) -> io::Result<()>) -> anyhow::Result<()> {
        let device = fs::metadata(TOPS[0]).context(TOPS[0])?.dev();
        let tops = TOPS.iter().rev().map(PathBuf::from);
        let mut pending: Vec<PathBuf> = tops.filter(|top| top.is_dir()).collect();
        while let Some(path) = pending.pop() {
            // What vanishes meanwhile is not chosen.
            let Ok(meta) = path.symlink_metadata() else { continue };
            if meta.dev() != device || self.left_out.contains(&path) {
                continue;
            }
            if self.takes(&path) {
                take(&path, &meta).with_context(|| format!("choosing {}", path.display()))?;
            }
            if meta.is_dir() {
                let names = fs::read_dir(&path).with_context(|| format!("reading {}", path.display()))?;
                let mut below: Vec<PathBuf> = names.flatten().map(|name| name.path()).collect();
                below.sort_by(|a, b| b.cmp(a));
                pending.extend(below);
            }
        }
        Ok(())
    }
    /// A path's hash decides.
    fn takes(&self, path: &Path) -> bool {
        let mut hasher = DefaultHasher::new();
        path.hash(&mut hasher);
        self.scale >= 1.0 || (hasher.finish() as f64) < self.scale * u64::MAX as f64
    }
}
