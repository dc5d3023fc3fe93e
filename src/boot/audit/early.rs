//! What happens before the root is there: every initramfs, its crypttab, and what opens containers from a command line.

use super::{Content, Search};
use crate::boot::way::{Way, is_spare_image};
use crate::layer::crypttab;
use crate::layer::initramfs::{self, Unreadable, Why};
use crate::units::Bytes;
use std::collections::BTreeSet;
use std::io;

/// Images that are looked into: a system has one or two for each of its kernels.
const MOST_IMAGES: usize = 100;

/// How much of them is unpacked, all in all.
pub(super) const MOST_UNPACKED: u64 = 8 << 30;

/// What the early user space is told.
#[derive(Debug, Default)]
pub(super) struct Early {
    /// Each crypttab: image, file inside, text.
    pub crypttabs: Vec<(String, String, String)>,
    /// Command lines of unified kernel images: file, words.
    pub lines: Vec<(String, Vec<String>)>,
}

impl Early {
    pub(super) fn command_line(&mut self, file: &str, line: &[u8]) {
        let text = String::from_utf8_lossy(line);
        let words = text.trim_end_matches('\0').split_whitespace().map(str::to_owned).collect();
        self.lines.push((file.to_owned(), words));
    }

    /// The names below /dev/mapper that are there before the root is.
    pub(super) fn mappers<'a>(&'a self, words: impl Iterator<Item = &'a String>) -> BTreeSet<String> {
        let own = self.lines.iter().flat_map(|(_, words)| words);
        let opened = words.chain(own).filter_map(|word| {
            let named = word.strip_prefix("rd.luks.name=").and_then(|value| value.split_once('='));
            let by_uuid = word.strip_prefix("rd.luks.uuid=");
            let by_uuid = by_uuid.map(|uuid| format!("luks-{}", uuid.trim_start_matches("luks-")));
            named.map(|(_, name)| name.to_owned()).or(by_uuid)
        });
        let entries = self.crypttabs.iter().flat_map(|(_, _, text)| crypttab::entries(text));
        opened.chain(entries.map(|entry| entry.name)).collect()
    }
}

impl Search<'_> {
    /// Every image that an entry names; all there are but copies if none does.
    pub(super) fn images(&mut self, way: &mut Way, early: &mut Early) -> io::Result<()> {
        let mut paths = way.images(self.files, &|uuid| self.is_ours(uuid))?;
        if paths.is_empty() {
            let names = self.list("/boot")?.into_iter();
            let images = names.filter(|name| name.starts_with("initrd") || name.starts_with("initramfs"));
            paths.extend(images.filter(|name| !is_spare_image(name)).map(|name| format!("/boot/{name}")));
        }
        for path in paths {
            if let Some(mut image) = self.files.open(&path)? {
                self.image(&path, &mut &mut *image, early)?;
            }
        }
        Ok(())
    }

    /// One image: what stands in it when all its archives are unpacked, and what its files are called.
    pub(super) fn image<S: Content>(
        &mut self,
        file: &str,
        image: &mut S,
        early: &mut Early,
    ) -> io::Result<()> {
        self.images += 1;
        if self.images > MOST_IMAGES || self.unpacked > MOST_UNPACKED {
            let (images, bytes) = (MOST_IMAGES, Bytes(MOST_UNPACKED));
            self.not_looked_into(
                file,
                None,
                &format!("{images} images, or {bytes} of what is in them, were"),
            );
            return Ok(());
        }
        let image = match initramfs::read(image, &self.spellings) {
            Ok(image) => image,
            Err(Unreadable { why: Why::Read(error), .. }) => return Err(error),
            Err(error) => {
                self.unpacked += initramfs::MOST_BYTES;
                if !(error.is_too_large() && self.facts.too_large.contains(file)) {
                    self.find(file, None, 0, error.to_string());
                }
                return Ok(());
            }
        };
        self.unpacked += image.unpacked_bytes();
        for (path, member) in image.files() {
            let path = String::from_utf8_lossy(path);
            let in_name = self.spellings.find_bytes(path.as_bytes());
            self.stale(file, Some(&format!("the name {path}")), in_name);
            self.member(file, &path, member, early);
        }
        Ok(())
    }

    fn member(&mut self, file: &str, path: &str, member: &initramfs::File, early: &mut Early) {
        let is_crypttab = member.is_regular() && matches!(path, "cryptroot/crypttab" | "etc/crypttab");
        let Some(content) = &member.content else {
            if is_crypttab {
                self.not_looked_into(
                    file,
                    Some(path),
                    &format!("larger than {}", Bytes(initramfs::SETTINGS_BYTES)),
                );
            }
            return self.stale(file, Some(path), self.spellings.found_marks(&member.marks));
        };
        self.stale(file, Some(path), self.spellings.remains_in_initramfs(path, content));
        if is_crypttab {
            let text = String::from_utf8_lossy(content).into_owned();
            early.crypttabs.push((file.to_owned(), path.to_owned(), text));
        }
    }
}
