//! When the audit has to look again: a digest of what it looked at, cheap to make, kept with the mirror while it found
//! nothing.

use super::files::Tree;
use super::{bios, initramfs};
use crate::layout::Layout;
use crate::retarget;
use crate::sys::stat::{Kind, Stat};
use anyhow::Result;
use std::io;

/// Directories whose files a boot reads, with all below to this depth.
const PLACES: [(&str, u32); 3] = [("/boot", 4), ("/efi", 4), ("/boot/efi", 4)];

/// A digest of everything on the mirror that a boot uses: of the loader what it holds, of files their inodes, sizes and
/// times. Whatever a run writes is a new inode or has a new ctime.
///
/// # Errors
/// Those of reading the mirror.
pub fn digest(mirror: &Tree, layout: &Layout, map: &str) -> Result<String> {
    let mut digest = blake3::Hasher::new();
    digest.update(map.as_bytes()).update(bios::loader_digest(layout)?.as_bytes());
    for path in retarget::candidates(&|dir| mirror.list(dir).unwrap_or_default()) {
        if let Some(stat) = mirror.stat(&path)? {
            enter(&mut digest, &path, &stat);
        }
    }
    PLACES.into_iter().try_for_each(|(dir, depth)| below(&mut digest, mirror, dir, depth))?;
    Ok(digest.finalize().to_hex().to_string())
}

fn below(digest: &mut blake3::Hasher, mirror: &Tree, dir: &str, depth: u32) -> io::Result<()> {
    for name in mirror.list(dir)? {
        let path = format!("{dir}/{name}");
        let Some(stat) = mirror.stat_at(&mirror.place(&path))? else { continue };
        match stat.kind {
            Kind::Dir if depth > 1 => below(digest, mirror, &path, depth - 1)?,
            Kind::Dir => {}
            _ => enter(digest, &path, &stat),
        }
    }
    Ok(())
}

fn enter(digest: &mut blake3::Hasher, path: &str, stat: &Stat) {
    digest.update(path.as_bytes()).update(initramfs::stamp(stat).as_bytes());
}
