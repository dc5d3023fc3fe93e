//! Paths below a view's root, as the bytes they are.

use std::fmt;

/// A path relative to the root of a tree: components separated by single slashes, empty for the root itself.
/// Any bytes but NUL; not UTF-8.
#[derive(Debug, Clone, PartialEq, Eq, PartialOrd, Ord, Hash, Default)]
pub struct RelPath(Vec<u8>);

impl RelPath {
    /// The root of the tree.
    pub const fn root() -> Self {
        RelPath(Vec::new())
    }
    /// From bytes that are known to be a relative path.
    pub fn from_bytes(bytes: impl Into<Vec<u8>>) -> Self {
        RelPath(bytes.into())
    }
    /// The entry `name` of this directory.
    pub fn join(&self, name: &[u8]) -> Self {
        let mut path = Vec::with_capacity(self.0.len() + 1 + name.len());
        path.extend_from_slice(&self.0);
        if !path.is_empty() {
            path.push(b'/');
        }
        path.extend_from_slice(name);
        RelPath(path)
    }
    /// The directory an entry is in, and its name there; `None` for the root.
    pub fn split(&self) -> Option<(RelPath, &[u8])> {
        if self.is_root() {
            return None;
        }
        Some(match self.0.iter().rposition(|byte| *byte == b'/') {
            Some(slash) => (RelPath(self.0[..slash].to_vec()), &self.0[slash + 1..]),
            None => (RelPath::root(), &self.0),
        })
    }
    /// Whether this is the root of the tree.
    pub fn is_root(&self) -> bool {
        self.0.is_empty()
    }
    /// Whether it is `dir` or something below it.
    pub fn is_in(&self, dir: &RelPath) -> bool {
        let rest = self.0.strip_prefix(&*dir.0);
        rest.is_some_and(|rest| dir.is_root() || rest.is_empty() || rest[0] == b'/')
    }
    /// From the form that `escaped` gives; none if it is not one.
    pub fn from_escaped(text: &str) -> Option<Self> {
        let (mut bytes, mut rest) = (Vec::with_capacity(text.len()), text.as_bytes());
        while let Some((&first, after)) = rest.split_first() {
            let (byte, left) = match (first, after) {
                (b'\\', [b'\\', left @ ..]) => (b'\\', left),
                (b'\\', [a @ b'0'..=b'3', b @ b'0'..=b'7', c @ b'0'..=b'7', left @ ..]) => {
                    ((a - b'0') << 6 | (b - b'0') << 3 | (c - b'0'), left)
                }
                (b'\\', _) => return None,
                _ => (first, after),
            };
            bytes.push(byte);
            rest = left;
        }
        Some(RelPath(bytes))
    }
    /// The bytes.
    pub fn as_bytes(&self) -> &[u8] {
        &self.0
    }
}

/// For people: control characters, backslashes and what is not UTF-8 appear escaped, so that no name can forge a line.
impl fmt::Display for RelPath {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        if self.is_root() {
            return f.write_str(".");
        }
        f.write_str(&escaped(&self.0))
    }
}

/// Bytes as one printable line.
pub fn escaped(bytes: &[u8]) -> String {
    let mut line = String::with_capacity(bytes.len());
    for chunk in bytes.utf8_chunks() {
        for c in chunk.valid().chars() {
            match c {
                '\\' => line.push_str("\\\\"),
                c if c.is_control() => c.to_string().bytes().for_each(|byte| push_octal(&mut line, byte)),
                c => line.push(c),
            }
        }
        chunk.invalid().iter().for_each(|byte| push_octal(&mut line, *byte));
    }
    line
}

fn push_octal(line: &mut String, byte: u8) {
    line.push_str(&format!("\\{byte:03o}"));
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_path_is_joined_and_split_at_the_same_place() {
        let path = RelPath::root().join(b"a").join(b"b\xff");
        assert_eq!(path.as_bytes(), b"a/b\xff");
        assert_eq!(path.split(), Some((RelPath::from_bytes("a"), &b"b\xff"[..])));
        assert_eq!(RelPath::root().join(b"a").split(), Some((RelPath::root(), &b"a"[..])));
        assert_eq!(RelPath::root().split(), None);
    }

    #[test]
    fn a_directory_holds_itself_and_what_is_below_but_not_what_only_begins_like_it() {
        let is_in = |path: &str, dir: &str| RelPath::from_bytes(path).is_in(&RelPath::from_bytes(dir));
        assert!(is_in("a/b", "a/b") && is_in("a/b/c", "a/b") && is_in("a", ""));
        assert!(!is_in("a/bc", "a/b") && !is_in("a", "a/b"));
    }

    #[test]
    fn no_name_can_forge_a_line_or_hide_a_byte() {
        let shown = RelPath::from_bytes("a\nb\\\u{1b}[1mé\u{85}").to_string();
        assert_eq!(shown, "a\\012b\\\\\\033[1mé\\302\\205");
        assert_eq!(RelPath::from_bytes(*b"x\xff").to_string(), "x\\377");
        for path in ["a\nb\\\u{1b}[1mé\u{85}".as_bytes(), b"x\xff", b"", b"a/b\\012"] {
            let path = RelPath::from_bytes(path);
            assert_eq!(RelPath::from_escaped(&escaped(path.as_bytes())), Some(path));
        }
        assert_eq!(RelPath::from_escaped("a\\9"), None);
        assert_eq!(RelPath::root().to_string(), ".");
    }
}
