//! How pieces of a disk are called in a plan.

use super::Piece;
use crate::layout::{Content, Layout, PhysicalVolume, VolumeGroup};

/// That a piece shrinks, and why it may.
pub fn shrunk(p: &Piece) -> String {
    format!("{} shrinks from {} to {}: what is used, and 15 % more, still fits", p.to, p.size, p.new_size)
}

/// What a piece is, in two words.
pub fn what(content: &Content) -> String {
    match content {
        Content::Empty => "nothing that is known".into(),
        Content::Table(_) => "a table".into(),
        Content::Luks(luks) => format!("LUKS{}", luks.version),
        Content::Volumes(VolumeGroup { name, .. })
        | Content::PhysicalVolume(PhysicalVolume { group: name, .. }) => {
            format!("LVM, group {name}")
        }
        Content::Filesystem(fs) => match fs.target() {
            Some(target) => format!("{} {target}", fs.kind.name()),
            None => fs.kind.name().into(),
        },
        Content::Swap(_) => "swap".into(),
        Content::RandomSwap(_) => "swap, random key".into(),
        Content::BiosBoot => "BIOS boot".into(),
        Content::Extended => "extended".into(),
        Content::Unsupported(thing) => thing.what.clone(),
        Content::LeftOut(_) => "left out".into(),
    }
}

/// What is on the mirror now, a line each.
pub fn erased(mirror: &Layout) -> Vec<String> {
    let line = |path: &str, content: &Content| match content {
        Content::Empty | Content::Extended => None,
        Content::Table(t) => Some(format!("{path}: a partition table ({} partitions)", t.partitions.len())),
        Content::Filesystem(fs) => {
            let label = fs.label.as_ref().map(|l| format!(" {l:?}")).unwrap_or_default();
            Some(format!("{path}: {}{label}, {}", fs.kind.name(), fs.size))
        }
        other => Some(format!("{path}: {}", what(other))),
    };
    mirror.walk().into_iter().filter_map(|(path, content)| line(path, content)).collect()
}
