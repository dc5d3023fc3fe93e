//! Paths below a view's root, as the bytes they are.
//!
//! A path is its last name and the path of the directory that holds it, which all paths in that directory share. So
//! neither a long path nor a deep tree costs anything again for each entry: a user can make thousands of directories
//! below each other, of which the last has a path of a megabyte.

use crate::escape;
use crate::units::thousands;
use std::cmp::Ordering;
use std::fmt;
use std::hash::{Hash, Hasher};
use std::sync::Arc;

/// A path of more bytes is shown with its beginning and its end only.
const SHOWN_BYTES: usize = 1024;
/// The same in a list of changes.
const LISTED_BYTES: usize = 64 << 10;

/// A path relative to the root of a tree: components separated by single slashes, empty for the root itself.
/// Any bytes but NUL; not UTF-8. A copy costs nothing.
#[derive(Clone, Default)]
pub struct RelPath(Option<Arc<Node>>);

/// All of a path but the root.
struct Node {
    parent: RelPath,
    name: Box<[u8]>,
    /// Names on the way.
    depth: u32,
    /// Bytes of the whole path.
    length: usize,
    /// BLAKE3 of that of the path above and the name: it stands for the whole path.
    digest: [u8; 32],
}

impl RelPath {
    /// The root of the tree.
    pub const fn root() -> Self {
        RelPath(None)
    }
    /// From bytes that are known to be a relative path.
    pub fn from_bytes(bytes: impl AsRef<[u8]>) -> Self {
        let names = bytes.as_ref().split(|byte| *byte == b'/').filter(|name| !name.is_empty());
        names.fold(RelPath::root(), |dir, name| dir.join(name))
    }
    /// The entry `name` of this directory.
    pub fn join(&self, name: &[u8]) -> Self {
        debug_assert!(!name.is_empty() && !name.contains(&b'/'));
        let length = self.len() + usize::from(!self.is_root()) + name.len();
        let digest = *blake3::Hasher::new().update(&self.digest()).update(name).finalize().as_bytes();
        let (parent, name, depth) = (self.clone(), name.into(), self.depth() + 1);
        RelPath(Some(Arc::new(Node { parent, name, depth, length, digest })))
    }
    /// The directory an entry is in, and its name there; `None` for the root.
    pub fn split(&self) -> Option<(RelPath, &[u8])> {
        self.0.as_deref().map(|node| (node.parent.clone(), &*node.name))
    }
    /// Whether this is the root of the tree.
    pub fn is_root(&self) -> bool {
        self.0.is_none()
    }
    /// Whether it is the same one in memory; another may be equal.
    pub(in crate::tree) fn is_the(&self, other: &RelPath) -> bool {
        match (&self.0, &other.0) {
            (Some(one), Some(other)) => Arc::ptr_eq(one, other),
            (one, other) => one.is_none() && other.is_none(),
        }
    }
    /// Bytes of the whole path.
    pub fn len(&self) -> usize {
        self.0.as_ref().map_or(0, |node| node.length)
    }
    /// Whether it has no bytes, as only the root's has.
    pub fn is_empty(&self) -> bool {
        self.is_root()
    }
    /// Names on the way from the root.
    pub(in crate::tree) fn depth(&self) -> u32 {
        self.0.as_ref().map_or(0, |node| node.depth)
    }
    /// Whether it is `dir` or something below it.
    pub fn is_in(&self, dir: &RelPath) -> bool {
        self == dir || self.is_below(dir)
    }
    /// From the form that `escape::bytes` gives; none if it is not one.
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
        Some(RelPath::from_bytes(bytes))
    }
    /// The bytes, put together.
    pub fn to_bytes(&self) -> Vec<u8> {
        self.names_below(0).join(&b'/')
    }
    /// The names below the directory that is `depth` names below the root, in their order.
    pub(in crate::tree) fn names_below(&self, depth: u32) -> Vec<&[u8]> {
        let mut names: Vec<&[u8]> =
            self.nodes().take_while(|node| node.depth > depth).map(|node| &*node.name).collect();
        names.reverse();
        names
    }
    /// This path, and those of the directories that it is in, without the root.
    pub(in crate::tree) fn ancestors(&self) -> impl Iterator<Item = RelPath> {
        std::iter::successors(Some(self.clone()), |path| path.split().map(|(parent, _)| parent))
            .take_while(|path| !path.is_root())
    }
    fn nodes(&self) -> impl Iterator<Item = &Node> {
        std::iter::successors(self.0.as_deref(), |node| node.parent.0.as_deref())
    }
    /// The directory of this path that is `depth` names below the root; the path itself if it is not as deep.
    pub(in crate::tree) fn at_depth(&self, depth: u32) -> RelPath {
        RelPath(self.node_at(depth).cloned())
    }
    fn node_at(&self, depth: u32) -> Option<&Arc<Node>> {
        let mut path = self;
        while let Some(node) = path.0.as_ref().filter(|node| node.depth > depth) {
            path = &node.parent;
        }
        path.0.as_ref()
    }
    /// Whether it lies below the directory `above`.
    pub(in crate::tree) fn is_below(&self, above: &RelPath) -> bool {
        self.depth() > above.depth() && self.at_depth(above.depth()) == *above
    }
    /// How many names from the root on this path and `other` have in common.
    pub(in crate::tree) fn shared_depth(&self, other: &RelPath) -> u32 {
        let depth = self.depth().min(other.depth());
        let (mut a, mut b) = (self.node_at(depth), other.node_at(depth));
        let mut shared = depth;
        while let (Some(left), Some(right)) = (a, b)
            && !Arc::ptr_eq(left, right)
        {
            if left.name != right.name {
                shared = left.depth - 1;
            }
            (a, b) = (left.parent.0.as_ref(), right.parent.0.as_ref());
        }
        shared
    }
    /// 32 bytes that stand for the path: no other has the same.
    pub(in crate::tree) fn digest(&self) -> [u8; 32] {
        self.0.as_ref().map_or([0; 32], |node| node.digest)
    }
}

/// A chain of thousands is taken apart without a call for each.
impl Drop for Node {
    fn drop(&mut self) {
        let mut above = self.parent.0.take();
        while let Some(mut node) = above.and_then(Arc::into_inner) {
            above = node.parent.0.take();
        }
    }
}

impl PartialEq for RelPath {
    fn eq(&self, other: &Self) -> bool {
        self.depth() == other.depth() && self.digest() == other.digest()
    }
}

impl Eq for RelPath {}

impl Hash for RelPath {
    fn hash<H: Hasher>(&self, state: &mut H) {
        state.write(&self.digest()[..8]);
    }
}

impl PartialOrd for RelPath {
    fn partial_cmp(&self, other: &Self) -> Option<Ordering> {
        Some(self.cmp(other))
    }
}

/// As the bytes: a directory comes before what is in it.
impl Ord for RelPath {
    fn cmp(&self, other: &Self) -> Ordering {
        let shared = self.shared_depth(other);
        let rest = |path: &RelPath| {
            let below = path.depth().saturating_sub(shared);
            let next = path.at_depth(shared + 1);
            let name = next.0.as_deref().filter(|_| below > 0).map(|node| node.name.to_vec());
            name.map(|mut name| {
                name.extend((below > 1).then_some(b'/'));
                name
            })
        };
        rest(self).cmp(&rest(other))
    }
}

impl fmt::Debug for RelPath {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "RelPath({self})")
    }
}

/// For people: control characters, backslashes and what is not UTF-8 appear escaped, so that no name can forge a line; and
/// no path makes a line of a megabyte.
impl fmt::Display for RelPath {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(&self.shown(SHOWN_BYTES))
    }
}

impl RelPath {
    /// Escaped, as it stands in a list of changes, which others read as well: whole, but for one that is absurdly long.
    pub(in crate::tree) fn listed(&self) -> String {
        self.shown(LISTED_BYTES)
    }
    /// Escaped, and shortened in its middle if it has more than `most` bytes.
    fn shown(&self, most: usize) -> String {
        if self.is_root() {
            return ".".into();
        }
        if self.len() <= most {
            return escape::bytes(&self.to_bytes());
        }
        let names = self.names_below(0);
        let mut room = most / 2;
        let fits = move |name: &&&[u8]| {
            let taken = name.len() < room;
            room = room.saturating_sub(name.len() + 1);
            taken
        };
        let first: Vec<&[u8]> = names.iter().take_while(fits).copied().collect();
        let mut last: Vec<&[u8]> = names[first.len()..].iter().rev().take_while(fits).copied().collect();
        last.reverse();
        let (first, last) = (first.join(&b'/'), last.join(&b'/'));
        let left_out = thousands((self.len() - first.len() - last.len()) as u64);
        format!("{}/… {left_out} bytes …/{}", escape::bytes(&first), escape::bytes(&last))
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use std::collections::HashSet;

    #[test]
    fn a_path_is_joined_and_split_at_the_same_place() {
        let path = RelPath::root().join(b"a").join(b"b\xff");
        assert_eq!((path.to_bytes(), path.len(), path.depth()), (b"a/b\xff".to_vec(), 4, 2));
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
            assert_eq!(RelPath::from_escaped(&escape::bytes(&path.to_bytes())), Some(path));
        }
        assert_eq!(RelPath::from_escaped("a\\9"), None);
        assert_eq!(RelPath::root().to_string(), ".");
    }

    #[test]
    fn paths_are_ordered_as_their_bytes_and_equal_only_if_these_are() {
        let all = ["", "a", "a-b", "a-b/c", "a/b", "a/b.c", "a/b/c", "a/bc", "ab", "b", "b/a"];
        for one in all {
            for other in all {
                let (left, right) = (RelPath::from_bytes(one), RelPath::from_bytes(other));
                assert_eq!(left.cmp(&right), one.as_bytes().cmp(other.as_bytes()), "{one} {other}");
                assert_eq!((left == right, left.digest() == right.digest()), (one == other, one == other));
                let below = one.starts_with(&format!("{other}/")) || other.is_empty() && !one.is_empty();
                assert_eq!(left.is_below(&right), below, "{one} {other}");
            }
        }
        let paths: HashSet<RelPath> = all.iter().chain(&all).map(RelPath::from_bytes).collect();
        assert_eq!(paths.len(), all.len());
    }

    #[test]
    fn a_chain_of_a_million_directories_is_walked_and_taken_apart_on_a_small_stack() {
        let work = || {
            let deep = (0..1_000_000).fold(RelPath::root(), |dir, _| dir.join(b"d"));
            let other = (0..1_000_000).fold(RelPath::root(), |dir, _| dir.join(b"d"));
            assert_eq!((deep.len(), deep == other), (1_999_999, true));
            assert_eq!(deep.digest(), other.digest());
        };
        let thread = std::thread::Builder::new().stack_size(64 << 10).spawn(work).expect("a thread");
        thread.join().expect("nothing overflowed");
    }

    #[test]
    fn a_path_of_a_megabyte_is_shown_by_its_beginning_and_its_end() {
        let name = "n".repeat(250);
        let path = (0..4000).fold(RelPath::from_bytes("home/u"), |dir, _| dir.join(name.as_bytes()));
        let shown = path.join(b"last").to_string();
        let (first, last) = (format!("home/u/{name}/"), format!("/{name}/last"));
        assert!(shown.starts_with(&first) && shown.ends_with(&last) && shown.len() < 1100, "{shown}");
        let left_out = path.len() + 5 - (shown.len() - "/… 1,002,986 bytes …/".len());
        assert!(shown.contains(&format!("/… {} bytes …/", thousands(left_out as u64))), "{shown}");
        let short = RelPath::from_bytes(vec![b'a'; SHOWN_BYTES]);
        assert_eq!(short.to_string().len(), SHOWN_BYTES, "this one is shown whole");
    }
}
