//! Searching a text for many spellings at once: one pass, the longest at each place, whole tokens only.
//!
//! Knows bytes and edges; what a spelling means is its owner's business.

use std::collections::HashMap;

/// What may stand beside a spelling for it to be a token of its own.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Edge {
    /// Anything: the spelling is long enough to be nothing else.
    Any,
    /// No letter or digit.
    Id,
    /// No letter, digit, `-` or `_`.
    Word,
    /// Nothing that a device's path may go on with.
    Path,
    /// Nothing that a unit's name may go on with but its suffix.
    Unit,
    /// Only what ends a label: a blank, a quote, `,`, `:`, `;` or `)`.
    Label,
}

/// One spelling.
#[derive(Debug, Clone)]
pub struct Pattern {
    /// The spelling itself; with `fold`, in small letters.
    pub text: Vec<u8>,
    /// Whether capitals are the same.
    pub fold: bool,
    /// What may stand before and behind it.
    pub edges: (Edge, Edge),
    /// What the word that it stands in must begin with.
    pub within: Option<&'static str>,
    /// Whether it is looked for in binaries as well.
    pub binary: bool,
    /// Which pair of identifiers it spells.
    pub pair: usize,
    /// What stands in its place on the mirror; none if the mirror has nothing there.
    pub new: Option<New>,
}

/// What is written in place of a spelling.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum New {
    /// This.
    Text(String),
    /// A device: `UUID=…` where such a tag is understood, else the path.
    Device {
        /// `UUID=…` or `PARTUUID=…`.
        tag: String,
        /// The link of the same device.
        path: String,
    },
}

/// A spelling at its place.
#[derive(Debug, Clone, Copy)]
pub struct Match<'a> {
    /// Where it begins.
    pub start: usize,
    /// Where it ends.
    pub end: usize,
    /// The spelling.
    pub pattern: &'a Pattern,
}

/// Every spelling, ready to be searched for.
pub struct Matcher {
    /// The longest first.
    patterns: Vec<Pattern>,
    /// Those that begin with two given bytes, the longest first.
    by_start: HashMap<[u8; 2], Vec<usize>>,
    /// Whether any begins with these two bytes: what is asked at every byte.
    starts: Vec<bool>,
}

impl Matcher {
    /// Takes the spellings; those shorter than two bytes are no tokens.
    pub fn new(mut patterns: Vec<Pattern>) -> Self {
        patterns.retain(|p| p.text.len() >= 2);
        patterns.sort_by(|a, b| b.text.len().cmp(&a.text.len()).then_with(|| a.text.cmp(&b.text)));
        let mut by_start: HashMap<[u8; 2], Vec<usize>> = HashMap::new();
        for (index, pattern) in patterns.iter().enumerate() {
            for start in starts(pattern) {
                by_start.entry(start).or_default().push(index);
            }
        }
        let mut known = vec![false; 1 << 16];
        by_start.keys().for_each(|start| known[usize::from(u16::from_be_bytes(*start))] = true);
        Matcher { patterns, by_start, starts: known }
    }

    /// Every match in `text`, in order, none overlapping another.
    pub fn matches<'a>(&'a self, text: &[u8], binary: bool) -> Vec<Match<'a>> {
        let mut found = Vec::new();
        let mut at = 0;
        while at + 1 < text.len() {
            let start = [text[at], text[at + 1]];
            let possible = self.starts[usize::from(u16::from_be_bytes(start))];
            match possible.then(|| self.at(text, at, start, binary)).flatten() {
                Some(pattern) => {
                    let end = at + pattern.text.len();
                    found.push(Match { start: at, end, pattern });
                    at = end;
                }
                None => at += 1,
            }
        }
        found
    }

    fn at(&self, text: &[u8], at: usize, start: [u8; 2], binary: bool) -> Option<&Pattern> {
        let candidates = self.by_start.get(&start)?.iter().map(|&index| &self.patterns[index]);
        candidates.filter(|p| p.binary || !binary).find(|p| fits(p, text, at, binary))
    }
}

/// The two bytes that a spelling may begin with: one pair, or four where capitals are the same.
fn starts(pattern: &Pattern) -> Vec<[u8; 2]> {
    let (a, b) = (pattern.text[0], pattern.text[1]);
    let mut all = vec![[a, b]];
    if pattern.fold {
        let (upper_a, upper_b) = (a.to_ascii_uppercase(), b.to_ascii_uppercase());
        all.extend([[upper_a, b], [a, upper_b], [upper_a, upper_b]]);
        all.sort_unstable();
        all.dedup();
    }
    all
}

fn fits(pattern: &Pattern, text: &[u8], at: usize, binary: bool) -> bool {
    let Some(here) = text.get(at..at + pattern.text.len()) else { return false };
    let same = if pattern.fold { here.eq_ignore_ascii_case(&pattern.text) } else { here == pattern.text };
    // In a binary, chance puts a letter beside a text; what is this long is no chance.
    let long = binary && pattern.text.len() >= 32;
    same && (long
        || (before(pattern.edges.0, &text[..at]) && after(pattern.edges.1, &text[at + here.len()..])))
        && pattern.within.is_none_or(|prefix| word_start(text, at).starts_with(prefix.as_bytes()))
}

/// The text from the beginning of the word that `at` stands in.
fn word_start(text: &[u8], at: usize) -> &[u8] {
    let is_end = |b: &u8| b.is_ascii_whitespace() || matches!(b, b'"' | b'\'');
    let start = text[..at].iter().rposition(is_end).map_or(0, |end| end + 1);
    &text[start..]
}

fn before(edge: Edge, text: &[u8]) -> bool {
    let Some(&last) = text.last() else { return true };
    if escape_ends(text) {
        return true;
    }
    match edge {
        Edge::Any => true,
        Edge::Id => !last.is_ascii_alphanumeric(),
        Edge::Word | Edge::Label => !(last.is_ascii_alphanumeric() || matches!(last, b'-' | b'_')),
        Edge::Path => !(last.is_ascii_alphanumeric() || matches!(last, b'-' | b'_' | b'.' | b'/')),
        Edge::Unit => !(last.is_ascii_alphanumeric() || matches!(last, b'-' | b'_' | b'.' | b'\\')),
    }
}

/// Whether `text` ends with an escaped byte such as `\x2d`, whose last letter is no letter of the text.
fn escape_ends(text: &[u8]) -> bool {
    let last = text.len().checked_sub(4).map(|at| &text[at..]);
    last.is_some_and(|l| l.starts_with(b"\\x") && l[2..].iter().all(u8::is_ascii_hexdigit))
}

fn after(edge: Edge, text: &[u8]) -> bool {
    let Some(&first) = text.first() else { return true };
    let word = first.is_ascii_alphanumeric() || matches!(first, b'-' | b'_');
    // A dot may end a sentence, or the name may go on behind it.
    let dotted = first == b'.' && text.get(1).is_some_and(u8::is_ascii_alphanumeric);
    match edge {
        Edge::Any => true,
        Edge::Id => !first.is_ascii_alphanumeric(),
        Edge::Word => !word,
        Edge::Path => !(word || dotted || matches!(first, b'/' | b'+' | b'@' | b'\\')),
        Edge::Unit => {
            !(word || matches!(first, b'\\' | b'+' | b':') || (dotted && !is_unit_suffix(&text[1..])))
        }
        Edge::Label => {
            first.is_ascii_whitespace() || matches!(first, b'"' | b'\'' | b',' | b':' | b';' | b')')
        }
    }
}

/// systemd.unit(5): the kinds of unit that are named after devices; dracut's hooks end in `.sh`.
fn is_unit_suffix(text: &[u8]) -> bool {
    [&b"device"[..], b"swap", b"service", b"mount", b"target", b"timer", b"sh"]
        .iter()
        .any(|s| text.starts_with(s))
}

#[cfg(test)]
mod tests {
    use super::*;

    fn pattern(text: &str, edge: Edge) -> Pattern {
        let new = Some(New::Text("NEW".into()));
        let edges = (edge, edge);
        Pattern { text: text.into(), fold: false, edges, within: None, binary: false, pair: 0, new }
    }

    fn found(patterns: Vec<Pattern>, text: &str) -> Vec<String> {
        let matcher = Matcher::new(patterns);
        matcher.matches(text.as_bytes(), false).iter().map(|m| text[m.start..m.end].to_owned()).collect()
    }

    #[test]
    fn the_longest_spelling_wins_and_is_found_once() {
        let patterns = vec![pattern("/dev/sda", Edge::Path), pattern("/dev/sda1", Edge::Path)];
        assert_eq!(
            found(patterns.clone(), "/dev/sda1 /dev/sda,/dev/sda."),
            ["/dev/sda1", "/dev/sda", "/dev/sda"]
        );
        let others = "/dev/sda10 /dev/sdab /dev/sda-part1 /mnt/dev/sda /dev/sda.old /dev/sda/x";
        assert!(found(patterns, others).is_empty());
    }

    #[test]
    fn a_unit_may_go_on_with_its_suffix_only() {
        let patterns = vec![pattern("dev-www-root", Edge::Unit)];
        let text =
            "dev-www-root.device x@dev-www-root.service dev-www-root.old.device dev-www-root\\x2d2.device";
        assert_eq!(found(patterns, text).len(), 2);
    }

    #[test]
    fn an_escaped_byte_before_a_spelling_is_an_edge() {
        let patterns = vec![pattern("abcd", Edge::Id)];
        assert_eq!(found(patterns, r"by\x2dabcd eabcd -abcd-").len(), 2);
    }

    #[test]
    fn capitals_count_unless_they_are_folded() {
        let mut folding = pattern("ab-cd", Edge::Id);
        assert!(found(vec![folding.clone()], "AB-cd").is_empty());
        folding.fold = true;
        assert_eq!(found(vec![folding], "AB-cd aB-Cd"), ["AB-cd", "aB-Cd"]);
    }
}
