//! When the audit has to look again: a digest of what it looked at, cheap to make, kept with the mirror while it found
//! nothing.

use super::files::{DEEPEST, Tree};
use super::{audit, bios, initramfs};
use crate::layout::Layout;
use crate::sys::stat::Stat;
use anyhow::Result;
use std::io::ErrorKind;

/// A digest of everything on the mirror that a boot uses: of the loader what it holds, of files their inodes, sizes and
/// times. Whatever a run writes is a new inode or has a new ctime. What no boot is known to read does not count: settings in
/// /etc change every day, and looking into every image again costs more than a run.
///
/// # Errors
/// Those of reading the mirror.
pub fn digest(mirror: &Tree, layout: &Layout, map: &str) -> Result<String> {
    let mut digest = blake3::Hasher::new();
    digest.update(map.as_bytes()).update(bios::loader_digest(layout)?.as_bytes());
    for area in audit::AREAS {
        match mirror.below(area, DEEPEST) {
            // Too many to be looked into is a finding each time.
            Err(error) if error.kind() == ErrorKind::FileTooLarge => {}
            found => found?
                .iter()
                .filter(|(path, _, _)| audit::is_of_boot(path))
                .for_each(|(path, _, stat)| enter(&mut digest, path, stat)),
        }
    }
    for path in audit::FILES {
        if let Some(stat) = mirror.stat(path)? {
            enter(&mut digest, path, &stat);
        }
    }
    Ok(digest.finalize().to_hex().to_string())
}

fn enter(digest: &mut blake3::Hasher, path: &str, stat: &Stat) {
    digest.update(path.as_bytes()).update(initramfs::stamp(stat).as_bytes());
}
