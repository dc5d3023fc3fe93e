//! The first page of a catalog's file: what it is, of which trees, and when they were looked at. Text, so that a person
//! can read it: `head -3 FILE`.

use super::format::checksum;
use crate::sys::clock::Moment;
use crate::sys::stat::Timestamp;
use serde::{Deserialize, Serialize};
use std::io;

/// Bytes of the page.
pub const PAGE: usize = 4096;
/// The version of the whole file's form.
pub const FORMAT: u32 = 2;

const TITLE: &str = "diskmirror catalog";
/// Where it says whether the mirror is being written: behind everything that has a checksum.
pub const STATE_AT: u64 = PAGE as u64 - 2;
/// The mirror is as the catalog says.
pub const CLEAN: u8 = b'c';
/// The mirror is being written, or the writing was cut off.
pub const WRITING: u8 = b'w';

/// What a catalog is bound to: each of them stands for one thing, in a form that only its maker knows.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct Binding {
    /// The source: which file system, which directory of it.
    pub source: String,
    /// The mirror: likewise.
    pub mirror: String,
    /// The mirror's state: it changes with whatever is written there.
    pub state: String,
    /// What is left out, and what is carried over.
    pub rules: String,
}

/// What the page says.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct Page {
    pub format: u32,
    /// This very file.
    pub id: String,
    /// The file that this one adds to; none if it is whole by itself.
    pub base: Option<String>,
    pub binding: Binding,
    /// The moment before the source was flushed and looked at.
    pub looked_at: At,
    /// When both trees were last compared whole, in seconds since 1970.
    pub compared_whole: i64,
    /// Where the index begins, its entries, and its checksum.
    pub index: (u64, u64, u64),
}

/// A moment, as it is written.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct At {
    real: (i64, u32),
    since_boot: u64,
    boot_id: String,
}

impl From<&Moment> for At {
    fn from(moment: &Moment) -> Self {
        let real = (moment.real.secs, moment.real.nanos);
        At { real, since_boot: moment.since_boot, boot_id: moment.boot_id.clone() }
    }
}

impl From<&At> for Moment {
    fn from(at: &At) -> Self {
        let real = Timestamp { secs: at.real.0, nanos: at.real.1 };
        Moment { real, since_boot: at.since_boot, boot_id: at.boot_id.clone() }
    }
}

/// Why a page is not one that can be used.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Unreadable {
    /// It is not as it was written.
    Damaged,
    /// Another version of this program wrote it.
    OtherFormat,
}

impl Page {
    /// The page's bytes.
    ///
    /// # Errors
    /// If what it is bound to does not fit into it.
    pub fn encode(&self) -> io::Result<Vec<u8>> {
        let json = serde_json::to_string(self)?;
        let mut page = format!("{TITLE}\n{json}\n{:016x}\n", checksum(json.as_bytes())).into_bytes();
        if page.len() >= STATE_AT as usize {
            return Err(io::ErrorKind::FileTooLarge.into());
        }
        page.resize(PAGE, b' ');
        page[STATE_AT as usize] = CLEAN;
        page[PAGE - 1] = b'\n';
        Ok(page)
    }
    /// Reads a page, and whether the mirror was being written.
    ///
    /// # Errors
    /// Why it cannot be used.
    pub fn decode(bytes: &[u8]) -> Result<(Page, bool), Unreadable> {
        let mut lines = bytes.split(|byte| *byte == b'\n');
        let (title, json, sum) = (lines.next(), lines.next(), lines.next());
        let (Some(json), Some(sum)) = (json, sum) else { return Err(Unreadable::Damaged) };
        if title != Some(TITLE.as_bytes()) || sum != format!("{:016x}", checksum(json)).as_bytes() {
            return Err(Unreadable::Damaged);
        }
        let version: Version = serde_json::from_slice(json).map_err(|_| Unreadable::Damaged)?;
        if version.format != FORMAT {
            return Err(Unreadable::OtherFormat);
        }
        let page = serde_json::from_slice(json).map_err(|_| Unreadable::Damaged)?;
        match bytes.get(STATE_AT as usize) {
            Some(&CLEAN) => Ok((page, false)),
            Some(&WRITING) => Ok((page, true)),
            _ => Err(Unreadable::Damaged),
        }
    }
}

/// The part of the page that every version has.
#[derive(Deserialize)]
struct Version {
    format: u32,
}

#[cfg(test)]
mod tests {
    use super::*;

    fn page() -> Page {
        let at = Moment { real: Timestamp { secs: 1, nanos: 2 }, since_boot: 3, boot_id: "b".into() };
        let binding =
            Binding { source: "s".into(), mirror: "m".into(), state: "t".into(), rules: "r".into() };
        Page {
            format: FORMAT,
            id: "i".into(),
            base: None,
            binding,
            looked_at: (&at).into(),
            compared_whole: 4,
            index: (1, 2, u64::MAX),
        }
    }

    #[test]
    fn a_page_is_read_back_and_says_whether_the_mirror_was_being_written() {
        let mut bytes = page().encode().expect("it fits");
        assert_eq!((bytes.len(), Page::decode(&bytes)), (PAGE, Ok((page(), false))));
        bytes[STATE_AT as usize] = WRITING;
        assert_eq!(Page::decode(&bytes), Ok((page(), true)));
    }

    #[test]
    fn a_damaged_page_and_one_of_another_version_are_told_apart() {
        let bytes = page().encode().expect("it fits");
        let text_ends = bytes.iter().rposition(|byte| *byte == b'\n').map_or(0, |_| 150);
        for at in (0..text_ends).chain([STATE_AT as usize]) {
            let mut damaged = bytes.clone();
            damaged[at] ^= 1;
            assert_eq!(Page::decode(&damaged), Err(Unreadable::Damaged), "byte {at}");
        }
        let newer = Page { format: FORMAT + 1, ..page() }.encode().expect("it fits");
        assert_eq!(Page::decode(&newer), Err(Unreadable::OtherFormat));
        assert_eq!(Page::decode(b""), Err(Unreadable::Damaged));
    }
}
