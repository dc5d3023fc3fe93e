//! The active swap files of a file system: left out of the copy, and made anew on its mirror.

use super::Work;
use crate::command::run::Job;
use crate::command::run::boot::in_one_line;
use crate::config::Volume;
use crate::mirror::{Mounted, make_swap_file};
use crate::sys::dir::{Handle, open_dir, open_read};
use crate::sys::signal;
use crate::tree;
use anyhow::Result;
use std::io;
use std::os::fd::OwnedFd;

/// Of `all` swap files, as the primary names them, those on `volume`, below its root: those that no other of the volumes
/// lies nearer to.
pub fn on_volume(all: &[String], volume: &Volume, volumes: &[Volume]) -> Vec<String> {
    let below = |path: &str, mount: &str| {
        let rest = path.strip_prefix(mount.trim_end_matches('/'))?;
        rest.strip_prefix('/').map(str::to_owned)
    };
    let nearest = |path: &str| {
        let above = volumes.iter().filter(|other| below(path, &other.mount).is_some());
        above.max_by_key(|other| other.mount.len()).map(|other| &other.mount)
    };
    let own = all.iter().filter(|path| nearest(path) == Some(&volume.mount));
    own.filter_map(|path| below(path, &volume.mount)).collect()
}

impl Work<'_> {
    /// Makes the swap files that the mirror has not. What fails is its own trouble: the rest is as it should be.
    ///
    /// # Errors
    /// A signal to stop.
    pub(super) fn make_swap_files(&mut self, job: &Job, mounted: &Mounted) -> Result<()> {
        let Some(source) = &self.view else { return Ok(()) };
        for path in &self.swap_files {
            // What is not there lies on something that is mounted here and is not mirrored.
            let Ok(like) = opened(source.root(), path) else { continue };
            if let Err(error) = make_swap_file(&mounted.root, path, &like) {
                if signal::stop_requested() {
                    return Err(tree::Error::Stopped.into());
                }
                let mount = self.volume.mount.trim_end_matches('/');
                let line =
                    format!("the swap file {mount}/{path} is not on the mirror: {}", in_one_line(&error));
                job.monitor.warn(&line);
                self.troubles.push(line);
            }
        }
        Ok(())
    }
}

fn opened(root: &OwnedFd, path: &str) -> io::Result<Handle> {
    let (parent, name) = path.rsplit_once('/').unwrap_or(("", path));
    open_read(open_dir(root, parent.as_bytes())?, name.as_bytes())
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::layout::FsKind;

    #[test]
    fn a_swap_file_belongs_to_the_nearest_file_system() {
        let volume = |mount: &str| Volume {
            mount: mount.into(),
            kind: FsKind::Ext4,
            primary_uuid: "a".into(),
            mirror_uuid: "b".into(),
        };
        let volumes = [volume("/"), volume("/var"), volume("/variable")];
        let files = ["/swap.img", "/var/swap/one", "/variable/two"].map(str::to_owned);
        let own = |number: usize| on_volume(&files, &volumes[number], &volumes);
        assert_eq!(
            [own(0), own(1), own(2)],
            [["swap.img"], ["swap/one"], ["two"]].map(|one| one.map(str::to_owned).to_vec())
        );
    }
}
