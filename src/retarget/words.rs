//! The words of a command line: which of them must go.

use super::text::Hit;
use std::ops::Range;

/// What opens a container or brings volumes online, and would wait for those that the mirror does not have.
const OPENERS: [&str; 6] = ["rd.luks.", "luks.", "cryptdevice=", "cryptopts=", "cryptouuid/", "rd.lvm."];

/// The words between blanks and quotes.
pub(super) fn words(line: &[u8]) -> Vec<Range<usize>> {
    let ends = |b: u8| b.is_ascii_whitespace() || matches!(b, b'"' | b'\'');
    let mut found = Vec::new();
    let mut start = None;
    for (at, byte) in line.iter().copied().chain([b' ']).enumerate() {
        match (start, ends(byte)) {
            (None, false) => start = Some(at),
            (Some(from), true) => {
                found.push(from..at);
                start = None;
            }
            _ => {}
        }
    }
    found
}

/// The words that do not hold on the mirror, each with the blank before it: where a swap file begins on the primary's
/// disk, and what opens a container, or brings volumes online, that the mirror does not have.
pub(super) fn dropped(line: &[u8], is_lost: impl Fn(&str) -> bool) -> Vec<Hit> {
    let goes = |range: &Range<usize>| {
        let word = String::from_utf8_lossy(&line[range.clone()]);
        word.starts_with("resume_offset=")
            || (OPENERS.iter().any(|opener| word.starts_with(opener)) && is_lost(&word))
    };
    let with_blank = |range: Range<usize>| {
        let blank = range.start.checked_sub(1).is_some_and(|at| matches!(line[at], b' ' | b'\t'));
        Hit { range: range.start - usize::from(blank)..range.end, pair: None, new: Some(Vec::new()) }
    };
    words(line).into_iter().filter(goes).map(with_blank).collect()
}
