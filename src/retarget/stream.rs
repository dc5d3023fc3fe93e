//! Searching what is too large to be had as a whole: a window of it at a time, each with the end of the last one.

use super::places;
use super::text::{Found, Spellings};
use crate::layer::initramfs::Look;
use std::collections::BTreeSet;
use std::io::{self, Read};

/// How much is searched at once.
const WINDOW: usize = 256 << 10;

/// How much of one window is searched again with the next: more than the longest spelling and what may stand beside it.
const OVERLAP: usize = 4096;

/// What stands so near to the end of a window may go on behind it: it is left to the window that has both.
const MARGIN: usize = 64;

impl Spellings<'_> {
    /// As `find_bytes`, in all that `content` gives; each identifier once.
    ///
    /// # Errors
    /// Those of reading it.
    pub fn find_in_stream(&self, content: &mut dyn Read) -> io::Result<Vec<Found>> {
        Ok(self.found_marks(&self.marks(content)?))
    }

    /// What the numbers stand for that were seen in a file of an initramfs.
    pub fn found_marks(&self, marks: &BTreeSet<usize>) -> Vec<Found> {
        marks.iter().filter_map(|pair| self.found(*pair, 0)).collect()
    }
}

/// The numbers are those of the map's pairs.
impl Look for Spellings<'_> {
    fn is_setting(&self, path: &[u8]) -> bool {
        std::str::from_utf8(path).is_ok_and(|path| places::form_in_initramfs(path).is_some())
    }

    fn marks(&self, content: &mut dyn Read) -> io::Result<BTreeSet<usize>> {
        let (mut marks, mut window, mut is_first) = (BTreeSet::new(), Vec::new(), true);
        loop {
            let room = (WINDOW - window.len()) as u64;
            let is_last = (content.take(room).read_to_end(&mut window)? as u64) < room;
            let begin = if is_first { 0 } else { MARGIN };
            let end = if is_last { window.len() } else { window.len() - MARGIN };
            let whole =
                self.binary_matches(&window).filter(|(range, _)| range.start >= begin && range.end <= end);
            marks.extend(whole.map(|(_, pair)| pair));
            if is_last {
                return Ok(marks);
            }
            window.drain(..WINDOW - OVERLAP);
            is_first = false;
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::identity::{IdentityMap, Kind, Pair};

    const UUID: &str = "0aaaaaaa-1111-4111-8111-111111111111";

    #[test]
    fn an_identifier_is_found_wherever_two_windows_meet() {
        let pair = Pair { kind: Kind::Uuid, primary: UUID.into(), mirror: "0bbbbbbb".into() };
        let map = IdentityMap { pairs: vec![pair] };
        let spellings = Spellings::of(&map);
        let found = |bytes: &[u8]| spellings.find_in_stream(&mut &*bytes).expect("it can be read").len();
        let step = WINDOW - OVERLAP;
        let around = |place: usize| place.saturating_sub(120)..place + 120;
        for place in [WINDOW, step, step + MARGIN, 2 * step, WINDOW + step, 0].into_iter().flat_map(around) {
            let mut bytes = vec![b' '; WINDOW * 3];
            bytes[place..place + UUID.len()].copy_from_slice(UUID.as_bytes());
            assert_eq!(found(&bytes), 1, "{place}");
            assert_eq!(found(&bytes[..place + UUID.len()]), 1, "at the end, {place}");
            assert_eq!(found(&bytes[..place + UUID.len() - 1]), 0, "cut off, {place}");
        }
    }

    #[test]
    fn what_only_a_windows_border_makes_a_token_is_none() {
        let pair = Pair { kind: Kind::Node, primary: "/dev/sda1".into(), mirror: "/dev/sdb1".into() };
        let volume = Pair { kind: Kind::Volume, primary: "www/root".into(), mirror: "mirror/root".into() };
        let map = IdentityMap { pairs: vec![pair, volume] };
        let spellings = Spellings::of(&map);
        let longer = b"/dev/www/root2";
        for place in (WINDOW - 40..WINDOW + 10).chain(WINDOW - OVERLAP - 20..WINDOW - OVERLAP + 80) {
            let mut bytes = vec![b' '; WINDOW * 2];
            bytes[place..place + longer.len()].copy_from_slice(longer);
            assert_eq!(spellings.find_in_stream(&mut &*bytes).expect("it can be read"), [], "{place}");
        }
    }
}
