//! What is left out on both sides: neither copied, nor compared, nor deleted.

use crate::tree::base::relpath::RelPath;
use globset::{Glob, GlobBuilder, GlobSet, GlobSetBuilder};
use std::ffi::OsStr;
use std::os::unix::ffi::OsStrExt;

/// A set of patterns. One that starts with `/` is anchored at the root of the tree; any other matches the tail of
/// a path, whole components at a time. `*` and `?` do not match a slash, `**` does. A pattern that ends with `/`
/// matches directories only. What lies below something left out is left out with it.
#[derive(Debug, Clone, Default)]
pub struct Excludes {
    all: Patterns,
    /// Those that match the tail of a path, of `most_names` names at most.
    of_tails: Patterns,
    /// Those with `**` in them, which match any number of names.
    of_any_depth: Patterns,
    /// So many names has the longest pattern.
    most_names: u32,
    text: String,
}

/// Patterns, and those that match directories only.
#[derive(Debug, Clone, Default)]
struct Patterns {
    any: GlobSet,
    dirs: GlobSet,
}

impl Patterns {
    fn is_empty(&self) -> bool {
        self.any.is_empty() && self.dirs.is_empty()
    }
    fn match_path(&self, path: &[u8], is_dir: bool) -> bool {
        let path = OsStr::from_bytes(path);
        self.any.is_match(path) || is_dir && self.dirs.is_match(path)
    }
}

struct PatternsBuilder {
    any: GlobSetBuilder,
    dirs: GlobSetBuilder,
}

impl PatternsBuilder {
    fn new() -> Self {
        PatternsBuilder { any: GlobSetBuilder::new(), dirs: GlobSetBuilder::new() }
    }
    fn add(&mut self, glob: &Glob, only_dirs: bool) {
        if only_dirs {
            self.dirs.add(glob.clone())
        } else {
            self.any.add(glob.clone())
        };
    }
    fn build(self) -> Result<Patterns, globset::Error> {
        Ok(Patterns { any: self.any.build()?, dirs: self.dirs.build()? })
    }
}

impl Excludes {
    /// Compiles the patterns.
    ///
    /// # Errors
    /// The first pattern that is not one, and why.
    pub fn new<S: AsRef<str>>(patterns: impl IntoIterator<Item = S>) -> Result<Self, globset::Error> {
        let (mut all, mut of_tails) = (PatternsBuilder::new(), PatternsBuilder::new());
        let (mut of_any_depth, mut most_names) = (PatternsBuilder::new(), 0);
        let mut text = String::new();
        for pattern in patterns {
            let pattern = pattern.as_ref();
            text += pattern;
            text.push('\0');
            let (body, only_dirs) = pattern.strip_suffix('/').map_or((pattern, false), |body| (body, true));
            let anchored = body.strip_prefix('/');
            let whole = anchored.map_or_else(|| format!("**/{body}"), str::to_owned);
            let glob = GlobBuilder::new(&whole).literal_separator(true).build()?;
            all.add(&glob, only_dirs);
            if body.contains("**") {
                of_any_depth.add(&glob, only_dirs);
            } else if anchored.is_none() {
                of_tails.add(&glob, only_dirs);
            }
            most_names = most_names.max(body.matches('/').count() as u32 + 1);
        }
        let (all, of_tails, of_any_depth) = (all.build()?, of_tails.build()?, of_any_depth.build()?);
        Ok(Excludes { all, of_tails, of_any_depth, most_names, text })
    }
    /// The patterns, each with a NUL behind it.
    pub fn text(&self) -> &str {
        &self.text
    }
    /// Whether nothing is left out.
    pub fn is_empty(&self) -> bool {
        self.all.is_empty()
    }
    /// Whether something below the directory `dir` may be left out, or it itself. Says so in doubt.
    pub fn may_leave_out_below(&self, dir: &RelPath) -> bool {
        let bytes = dir.to_bytes();
        self.text.split_terminator('\0').any(|pattern| may_match_below(pattern, &bytes))
    }
    /// Whether the entry `name` of directory `dir` is left out. Of a deep path only so many names are looked at as the
    /// patterns have, where that is told.
    pub fn leaves_out(&self, dir: &RelPath, name: &[u8], is_dir: bool) -> bool {
        if self.is_empty() {
            return false;
        }
        let path = dir.join(name);
        let Some(above) = path.depth().checked_sub(self.most_names).filter(|above| *above > 0) else {
            return self.all.match_path(&path.to_bytes(), is_dir);
        };
        let tail = || path.names_below(above).join(&b'/');
        !self.of_tails.is_empty() && self.of_tails.match_path(&tail(), is_dir)
            || !self.of_any_depth.is_empty() && self.of_any_depth.match_path(&path.to_bytes(), is_dir)
    }
}

/// By the parts of an anchored pattern that are plain text; any other may match anywhere.
fn may_match_below(pattern: &str, dir: &[u8]) -> bool {
    let Some(anchored) = pattern.strip_prefix('/').filter(|_| !dir.is_empty()) else { return true };
    let is_plain = |part: &str| !part.contains(['*', '?', '[', ']', '{', '}', '\\']);
    let parts = anchored.split('/').map(|part| (part, is_plain(part)));
    for ((part, plain), name) in parts.zip(dir.split(|byte| *byte == b'/')) {
        if part.contains("**") {
            return true;
        }
        if plain && !part.is_empty() && part.as_bytes() != name {
            return false;
        }
    }
    true
}

#[cfg(test)]
mod tests {
    use super::*;

    fn left_out(pattern: &str, path: &str, is_dir: bool) -> bool {
        let path = RelPath::from_bytes(path);
        let (dir, name) = path.split().expect("not the root");
        Excludes::new([pattern]).expect("a pattern").leaves_out(&dir, name, is_dir)
    }

    #[test]
    fn an_anchored_pattern_keeps_the_directory_and_leaves_out_its_content() {
        assert!(left_out("/tmp/*", "tmp/x", false));
        assert!(!left_out("/tmp/*", "tmp", true));
        assert!(!left_out("/tmp/*", "var/tmp/x", false));
        assert!(!left_out("/tmp/*", "tmp/x/y", false), "a star does not cross a slash");
        assert!(left_out("/tmp/**", "tmp/x/y", false));
    }

    #[test]
    fn an_unanchored_pattern_matches_whole_components_anywhere() {
        assert!(left_out("*.o", "main.o", false));
        assert!(left_out("*.o", "src/deep/main.o", false));
        assert!(left_out("cache/x", "home/a/cache/x", false));
        assert!(!left_out("cache/x", "home/a/mycache/x", false));
    }

    #[test]
    fn a_pattern_with_a_final_slash_spares_files() {
        assert!(left_out("build/", "a/build", true));
        assert!(!left_out("build/", "a/build", false));
    }

    #[test]
    fn names_that_are_not_text_can_be_left_out() {
        let excludes = Excludes::new(["/a/*"]).expect("a pattern");
        assert!(excludes.leaves_out(&RelPath::from_bytes("a"), b"\xff\xfe", false));
    }

    #[test]
    fn what_lies_deep_is_left_out_by_the_same_patterns() {
        let deep = |name: &str| format!("{}{name}", "d/".repeat(5000));
        assert!(left_out("*.o", &deep("a.o"), false) && left_out("/d/**/a", &deep("a"), false));
        assert!(left_out("d/cache/", &deep("cache"), true) && !left_out("x/cache/", &deep("cache"), true));
        assert!(!left_out("/d/*", &deep("x"), false) && !left_out("d/d/*.o", &deep("e/a.o"), false));
        assert!(
            left_out("*/a", "x/a", false) && left_out("*/a", "y/x/a", false) && !left_out("*/a", "a", false)
        );
    }

    #[test]
    fn a_broken_pattern_is_refused() {
        assert!(Excludes::new(["/a/[b"]).is_err());
    }

    #[test]
    fn what_cannot_match_below_a_directory_is_told_by_its_plain_parts() {
        let may = |pattern: &str, dir: &str| {
            Excludes::new([pattern]).expect("a pattern").may_leave_out_below(&RelPath::from_bytes(dir))
        };
        assert!(!may("/tmp/*", "srv/data") && !may("/var/tmp/*", "var/lib"));
        assert!(may("/var/tmp/*", "var") && may("/var/tmp/*", "var/tmp/x") && may("/a", "a/b/c"));
        assert!(!may("/v*/tmp", "var/lib"), "what is behind a pattern counts too");
        assert!(may("/v*/tmp", "var") && may("*.o", "srv") && may("/**/cache", "srv") && may("/tmp/*", ""));
    }
}
