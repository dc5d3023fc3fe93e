//! Swap space, as mkswap makes it, and with a key of its own at each boot.

use super::content::{Place, Reader, Role};
use crate::layer::blkid::Signature;
use crate::layer::crypttab;
use crate::layer::lsblk::BlockDevice;
use crate::layout::{Content, FsKind, RandomSwap, Swap};
use anyhow::{Context, Result};

impl Reader<'_> {
    /// Swap space as mkswap makes it.
    pub(super) fn swap(&self, device: &BlockDevice, signature: &Signature) -> Result<Content> {
        Ok(Content::Swap(Swap {
            path: device.path.clone(),
            uuid: signature.uuid.clone().context("it has no UUID")?,
            label: signature.label.clone(),
            active: self.machine.is_swap(device),
        }))
    }

    /// Whether crypttab makes swap of it with a new key at every boot: nothing on it lasts, and the mirror makes its own.
    pub(super) fn is_swap_with_a_random_key(&self, device: &BlockDevice) -> bool {
        let Role::Primary { crypttab, .. } = self.role else { return false };
        let is_such = |child: &BlockDevice| {
            let entry = crypttab.iter().find(|entry| entry.name == child.name);
            child.kind == "crypt" && entry.is_some_and(crypttab::Entry::is_swap_with_a_random_key)
        };
        !device.children.is_empty() && device.children.iter().all(is_such)
    }

    /// Such swap: on nothing, or behind a small ext file system that is there for its label; none if something else is there.
    pub(super) fn random_swap(&self, place: &Place, signature: &Signature) -> Result<Option<Content>> {
        let path = place.device.path.clone();
        let label = match signature.kind.as_deref().and_then(FsKind::named) {
            Some(kind @ (FsKind::Ext2 | FsKind::Ext3 | FsKind::Ext4)) => {
                Some(self.file_system(place, signature, kind)?)
            }
            _ if signature.is_none() => None,
            _ => return Ok(None),
        };
        Ok(Some(Content::RandomSwap(Box::new(RandomSwap { path, label }))))
    }
}
