//! Which entries of a loader's menu are dead: they start nothing on the primary either, so nobody will start them on the mirror.

use super::{Search, is_elsewhere};
use crate::boot::way::{Entry, Says, Way};
use std::collections::BTreeSet;
use std::io;

/// Entries of menus: the file, and which of its entries.
pub(super) type Dead = BTreeSet<(String, usize)>;

impl Search<'_> {
    /// Those of another system on a disk that is elsewhere, or nowhere; those whose kernel or image neither disk has. What a
    /// loader starts by itself is not among them.
    pub(super) fn dead(&self, way: &mut Way) -> io::Result<Dead> {
        let mut dead = Dead::new();
        for entry in way.entries.clone().iter().filter(|entry| !is_default(entry)) {
            let is_dead = is_elsewhere(entry, &|uuid| self.is_ours(uuid))
                || match &entry.says {
                    Says::Kernel(name) | Says::Image(name) => {
                        self.facts.absent.contains(name) && way.place(self.files, entry, name)?.is_none()
                    }
                    _ => false,
                };
            if is_dead {
                dead.insert((entry.file.clone(), entry.block));
            }
        }
        Ok(dead)
    }
}

/// Whether a loader reads or starts this without being asked: what belongs to no entry of a menu, and the first entry. Of
/// files with one entry each, and of loaders' directories on the EFI system partition, nobody can tell: one of them.
fn is_default(entry: &Entry) -> bool {
    let vendor = entry.file.split_once("/EFI/").map(|(_, rest)| rest.to_lowercase());
    let is_vendors = vendor.is_some_and(|rest| !rest.starts_with("boot/"));
    let is_first = entry.block == 0 || entry.block == 1 && !entry.file.ends_with("/custom.cfg");
    is_first && !is_vendors && !entry.file.contains("/loader/entries/")
}
