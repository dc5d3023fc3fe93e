//! Every text on the mirror that can matter to a boot, and who reads it: what names the primary is a finding on the boot's way, a
//! remark where nobody is known to read it.

use super::readers::{AREAS, FILES, Reader, reader};
use super::{Search, words};
use crate::boot::way::Way;
use crate::identity::Kind;
use crate::units::Bytes;
use std::collections::BTreeSet;
use std::io::{self, ErrorKind};

/// What all texts together may have.
const MOST_TEXT: u64 = 64 << 20;

/// What a file may have that no boot is known to read: settings are smaller.
const MOST_UNKNOWN: u64 = 1 << 20;

impl Search<'_> {
    pub(super) fn texts(&mut self, way: &Way) -> io::Result<()> {
        for (path, why) in &way.unread {
            self.not_looked_into(path, None, why);
        }
        let names = self.plain_names();
        let mut room = MOST_TEXT;
        for (path, bytes) in self.everything(way)? {
            let reader = reader(&path, way.read.contains(&path));
            let is_let = match reader {
                Reader::Boot => is_setting(&path),
                Reader::Other(_) => false,
                Reader::Unknown => bytes <= MOST_UNKNOWN && is_setting(&path),
            };
            if !is_let {
                continue;
            }
            let text = self.files.read(&path);
            let Some(text) = self.within_limits(&path, text)? else { continue };
            let Some(left) = room.checked_sub(text.len() as u64) else {
                let why = format!("all texts together are larger than {}", Bytes(MOST_TEXT));
                self.not_looked_into(&path, None, &why);
                continue;
            };
            room = left;
            self.text(&path, &text, reader, &names);
        }
        Ok(())
    }

    /// All regular files of the areas, and those that loaders read, each once. What is too much is a finding.
    fn everything(&mut self, way: &Way) -> io::Result<BTreeSet<(String, u64)>> {
        let mut all = BTreeSet::new();
        for area in AREAS {
            match self.files.regular_files(area) {
                Err(error) if error.kind() == ErrorKind::FileTooLarge => {
                    self.not_looked_into(area, None, &error.to_string());
                }
                found => all.extend(found?),
            }
        }
        // Behind links, and beside the areas.
        for path in way.read.iter().map(String::as_str).chain(FILES) {
            if !all.iter().any(|(known, _)| known == path)
                && let Some(mut file) = self.files.open(path)?
            {
                all.insert((path.to_owned(), file.seek(io::SeekFrom::End(0))?));
            }
        }
        Ok(all)
    }

    fn text(&mut self, path: &str, text: &[u8], reader: Reader, names: &[(String, String)]) {
        let hits = match text.contains(&0) {
            true => self.spellings.find_bytes(text),
            false => self.spellings.remains(path, text),
        };
        if reader == Reader::Boot {
            return self.stale(path, None, hits);
        }
        for hit in hits {
            self.remark(path, hit.line, format!("names the primary's {} {}", words(hit.kind), hit.primary));
        }
        for (number, line) in text.split(|byte| *byte == b'\n').enumerate() {
            let line = String::from_utf8_lossy(line);
            if line.trim_start().starts_with('#') {
                continue;
            }
            for (what, name) in names.iter().filter(|(_, name)| has_word(&line, name)) {
                self.remark(path, number + 1, format!("names the primary's {what} {name}"));
            }
        }
    }

    /// Names that are an identifier in no context of their own, and too peculiar to be a word.
    fn plain_names(&self) -> Vec<(String, String)> {
        let kinds = [Kind::Label, Kind::PartitionName, Kind::Group, Kind::Mapper];
        let pairs = kinds.into_iter().flat_map(|kind| self.facts.map.of(kind).map(move |pair| (kind, pair)));
        let own = pairs.filter(|(_, pair)| is_peculiar(&pair.primary));
        let own = own.map(|(kind, pair)| (words(kind).to_owned(), pair.primary.clone()));
        own.chain(self.facts.names.iter().cloned()).collect()
    }
}

/// Whether a file can hold settings: kernels, images, programs and modules are looked into elsewhere, or by nobody.
fn is_setting(path: &str) -> bool {
    let name = path.rsplit('/').next().unwrap_or(path).to_lowercase();
    let starts =
        ["vmlinu", "initrd", "initramfs", "system.map", "config-", "kernel", "image", "uinitrd", "symvers"];
    let ends = [
        ".efi", ".mod", ".pf2", ".png", ".jpg", ".gz", ".xz", ".zst", ".dtb", ".dtbo", ".elf", ".bin",
        ".img", ".so",
    ];
    !starts.iter().any(|start| name.starts_with(start)) && !ends.iter().any(|end| name.ends_with(end))
}

/// Whether a name is no word of a language: it has a digit, a dash or an underscore, and is not short.
fn is_peculiar(name: &str) -> bool {
    name.len() >= 5 && name.bytes().any(|byte| byte.is_ascii_digit() || matches!(byte, b'-' | b'_'))
}

/// Whether `name` stands in `line` as a word of its own.
fn has_word(line: &str, name: &str) -> bool {
    let is_part = |c: char| c.is_alphanumeric() || matches!(c, '-' | '_' | '.');
    line.match_indices(name)
        .any(|(at, _)| !line[..at].ends_with(is_part) && !line[at + name.len()..].starts_with(is_part))
}
