//! Texts of any kind: where they name the primary's identifiers, and the same text with the mirror's.
//!
//! Lines that are comments are neither rewritten nor reported: nothing reads them. Bytes, not text, so that whatever
//! an administrator's editor left in a file passes through.

use super::pattern::{Match, Matcher, New};
use super::{search, spelling, words};
use crate::identity::{IdentityMap, Kind};
use std::ops::Range;

/// An identifier of the primary in a text.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Found {
    /// What it identifies.
    pub kind: Kind,
    /// The identifier, as the map has it.
    pub primary: String,
    /// The line it stands in, from 1; 0 in a binary.
    pub line: usize,
}

/// How devices are spelled in a text.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Devices {
    /// `UUID=…` is understood where a value begins.
    Tags,
    /// Paths only.
    Paths,
}

/// A piece of a text and what stands in its place; none where the mirror has nothing there.
pub(super) struct Hit {
    pub range: Range<usize>,
    pub pair: Option<usize>,
    pub new: Option<Vec<u8>>,
}

/// The spellings of a map, ready to be looked for in many texts.
pub struct Spellings<'a> {
    pub(super) map: &'a IdentityMap,
    matcher: Matcher,
}

impl<'a> Spellings<'a> {
    /// Derives them.
    pub fn of(map: &'a IdentityMap) -> Self {
        Spellings { map, matcher: Matcher::new(spelling::patterns(map)) }
    }

    /// `text` with the mirror's identifiers; what is no device token stays byte for byte.
    pub fn rewrite(&self, text: &[u8]) -> Vec<u8> {
        self.rewrite_as(text, Devices::Tags)
    }

    /// As `rewrite`, where a text takes only paths.
    pub fn rewrite_as(&self, text: &[u8], devices: Devices) -> Vec<u8> {
        let line = |line: &[u8]| match is_comment(line) {
            true => line.to_vec(),
            false => self.line(line, devices),
        };
        text.split_inclusive(|b| *b == b'\n').flat_map(line).collect()
    }

    /// One field of a line, or any text without lines: device tokens only.
    pub(super) fn field(&self, field: &str, devices: Devices) -> String {
        let hits = self.tokens(field.as_bytes(), devices);
        String::from_utf8_lossy(&replaced(field.as_bytes(), &hits)).into_owned()
    }

    /// Whether the mirror has nothing in place of this identifier.
    pub(super) fn is_lost(&self, identifier: &str, kind: Kind) -> bool {
        self.map.get(kind, identifier) == Some("")
    }

    /// Whether `field` names something that the primary has and the mirror has not.
    pub(super) fn names_lost(&self, field: &str) -> bool {
        self.tokens(field.as_bytes(), Devices::Tags).iter().any(|hit| hit.new.is_none())
    }

    /// Every identifier of the primary in `text`.
    pub fn find(&self, text: &[u8]) -> Vec<Found> {
        let lines = text.split(|b| *b == b'\n').enumerate().filter(|(_, line)| !is_comment(line));
        lines.flat_map(|(at, line)| self.find_in_line(line, at + 1)).collect()
    }

    pub(super) fn find_in_line(&self, line: &[u8], number: usize) -> Vec<Found> {
        let hits = merged(search::labels(line, self.map), self.tokens(line, Devices::Tags));
        hits.iter().filter_map(|hit| self.found(hit.pair?, number)).collect()
    }

    /// Every identifier of the primary in a binary: those that are too long for chance, and devices' paths.
    pub fn find_bytes(&self, bytes: &[u8]) -> Vec<Found> {
        self.binary_matches(bytes).filter_map(|(_, pair)| self.found(pair, 0)).collect()
    }

    /// Where in a binary which pair is named.
    pub(super) fn binary_matches(&self, bytes: &[u8]) -> impl Iterator<Item = (Range<usize>, usize)> {
        self.matcher.matches(bytes, true).into_iter().map(|m| (m.start..m.end, m.pattern.pair))
    }

    pub(super) fn found(&self, pair: usize, line: usize) -> Option<Found> {
        let pair = self.map.pairs.get(pair)?;
        Some(Found { kind: pair.kind, primary: pair.primary.clone(), line })
    }

    fn line(&self, line: &[u8], devices: Devices) -> Vec<u8> {
        if search::opens_lost(line, |word| self.names_lost(word)) {
            return Vec::new();
        }
        let dropped = words::dropped(line, |word| self.names_lost(word));
        let hits = merged(search::labels(line, self.map), self.tokens(line, devices));
        replaced(line, &merged(dropped, hits))
    }

    fn tokens(&self, text: &[u8], devices: Devices) -> Vec<Hit> {
        let hit = |m: &Match| {
            let new = m.pattern.new.as_ref().map(|new| match new {
                New::Text(new) => in_case_of(&text[m.start..m.end], m.pattern.fold, new),
                New::Device { tag, .. } if devices == Devices::Tags && begins_value(&text[..m.start]) => {
                    tag.clone()
                }
                New::Device { path, .. } => path.clone(),
            });
            Hit { range: m.start..m.end, pair: Some(m.pattern.pair), new: new.map(String::into_bytes) }
        };
        let found = self.matcher.matches(text, false);
        found.iter().filter(|m| !is_in_other_path(text, m.start)).map(hit).collect()
    }
}

/// Whether what begins at `at` is a part of a path that leads to no device, or of the name of its unit: a mount point or an
/// image may be called by a UUID, and stays where it is.
fn is_in_other_path(text: &[u8], at: usize) -> bool {
    let ends = |b: &u8| b.is_ascii_whitespace() || b"\"'=,:;()[]{}|^<>".contains(b);
    let start = text[..at].iter().rposition(ends).map_or(0, |end| end + 1);
    let end = text[at..].iter().position(ends).map_or(text.len(), |end| at + end);
    let word = &text[start..end];
    let is_mount = [&b".mount"[..], b".automount"].iter().any(|suffix| word.ends_with(suffix));
    (word.starts_with(b"/") && !word.starts_with(b"/dev/")) || (is_mount && at > start)
}

/// Whether a line says nothing.
pub(super) fn is_comment(line: &[u8]) -> bool {
    line.trim_ascii_start().starts_with(b"#")
}

/// Whether a value begins behind `before`, where programs take a tag as well as a path.
fn begins_value(before: &[u8]) -> bool {
    before.last().is_none_or(|b| b.is_ascii_whitespace() || matches!(b, b'=' | b'"' | b'\''))
}

/// Capitals stay capitals where they make no difference.
fn in_case_of(old: &[u8], fold: bool, new: &str) -> String {
    let capitals = old.iter().any(u8::is_ascii_uppercase) && !old.iter().any(u8::is_ascii_lowercase);
    if fold && capitals { new.to_uppercase() } else { new.to_owned() }
}

/// The hits of both, in order; those of the first win where they overlap.
fn merged(first: Vec<Hit>, second: Vec<Hit>) -> Vec<Hit> {
    let overlaps = |a: &Hit| first.iter().any(|b| a.range.start < b.range.end && b.range.start < a.range.end);
    let rest: Vec<_> = second.into_iter().filter(|hit| !overlaps(hit)).collect();
    let mut all: Vec<_> = first.into_iter().chain(rest).collect();
    all.sort_by_key(|hit| hit.range.start);
    all
}

fn replaced(text: &[u8], hits: &[Hit]) -> Vec<u8> {
    let mut out = Vec::with_capacity(text.len() + 64);
    let mut at = 0;
    for hit in hits {
        out.extend_from_slice(&text[at..hit.range.start]);
        out.extend_from_slice(hit.new.as_deref().unwrap_or(&text[hit.range.clone()]));
        at = hit.range.end;
    }
    out.extend_from_slice(&text[at..]);
    out
}
