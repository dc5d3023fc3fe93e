//! GRUB's commands that name a device without saying so: `search --label root` and `cryptomount -u …`
//! (GRUB's manual, "The list of command-line and menu entry commands").

use super::text::Hit;
use super::words::words;
use crate::identity::{IdentityMap, Kind};
use std::ops::Range;

/// The label that a `search` in `line` looks for, if it is the primary's.
pub(super) fn labels(line: &[u8], map: &IdentityMap) -> Vec<Hit> {
    let words = words(line);
    let text = |range: &Range<usize>| String::from_utf8_lossy(&line[range.clone()]).into_owned();
    let Some(at) = words.iter().position(|word| text(word) == "search" || text(word).starts_with("search."))
    else {
        return Vec::new();
    };
    let all: Vec<_> = words[at..].iter().map(text).collect();
    let Some(kind) = all.iter().find_map(|word| searched(word)) else { return Vec::new() };
    let Some(name) = name(&all) else { return Vec::new() };
    let label = map.pairs.iter().position(|pair| pair.kind == kind && pair.primary == all[name]);
    label.map_or(Vec::new(), |pair| {
        let new = Some(&map.pairs[pair].mirror).filter(|new| !new.is_empty());
        let new = new.map(|new| new.clone().into_bytes());
        vec![Hit { range: words[at + name].clone(), pair: Some(pair), new }]
    })
}

fn searched(word: &str) -> Option<Kind> {
    match word {
        "--label" | "--fs-label" | "-l" | "search.fs_label" => Some(Kind::Label),
        "--part-label" | "search.part_label" => Some(Kind::PartitionName),
        _ => None,
    }
}

/// Which word is the name that is searched for: the first that is neither an option nor an option's value.
fn name(words: &[String]) -> Option<usize> {
    let plain: Vec<usize> =
        (1..words.len()).filter(|&n| !words[n].starts_with('-') && !words[n].starts_with(';')).collect();
    let takes_value = |n: usize| matches!(words[n - 1].as_str(), "--set" | "-s" | "--hint" | "-h");
    let own = plain.iter().copied().find(|&n| !takes_value(n));
    own.or(plain.first().copied())
}

/// Whether `line` opens, or sets as root, a container that the mirror does not have.
pub(super) fn opens_lost(line: &[u8], is_lost: impl Fn(&str) -> bool) -> bool {
    let text = String::from_utf8_lossy(line);
    let command = text.split_ascii_whitespace().next().unwrap_or_default();
    matches!(command, "cryptomount" | "set")
        && (text.contains("cryptouuid/") || command == "cryptomount")
        && is_lost(&text)
}
