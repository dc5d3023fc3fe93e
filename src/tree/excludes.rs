//! What is left out on both sides: neither copied, nor compared, nor deleted.

use super::relpath::RelPath;
use globset::{GlobBuilder, GlobSet, GlobSetBuilder};
use std::ffi::OsStr;
use std::os::unix::ffi::OsStrExt;

/// A set of patterns. One that starts with `/` is anchored at the root of the tree; any other matches the tail of
/// a path, whole components at a time. `*` and `?` do not match a slash, `**` does. A pattern that ends with `/`
/// matches directories only. What lies below something left out is left out with it.
#[derive(Debug, Clone, Default)]
pub struct Excludes {
    any: GlobSet,
    dirs: GlobSet,
    text: String,
}

impl Excludes {
    /// Compiles the patterns.
    ///
    /// # Errors
    /// The first pattern that is not one, and why.
    pub fn new<S: AsRef<str>>(patterns: impl IntoIterator<Item = S>) -> Result<Self, globset::Error> {
        let (mut any, mut dirs) = (GlobSetBuilder::new(), GlobSetBuilder::new());
        let mut text = String::new();
        for pattern in patterns {
            let pattern = pattern.as_ref();
            text += pattern;
            text.push('\0');
            let (body, only_dirs) = pattern.strip_suffix('/').map_or((pattern, false), |body| (body, true));
            let whole = body.strip_prefix('/').map_or_else(|| format!("**/{body}"), str::to_owned);
            let glob = GlobBuilder::new(&whole).literal_separator(true).build()?;
            if only_dirs {
                dirs.add(glob)
            } else {
                any.add(glob)
            };
        }
        Ok(Excludes { any: any.build()?, dirs: dirs.build()?, text })
    }
    /// The patterns, each with a NUL behind it.
    pub fn text(&self) -> &str {
        &self.text
    }
    /// Whether nothing is left out.
    pub fn is_empty(&self) -> bool {
        self.any.is_empty() && self.dirs.is_empty()
    }
    /// Whether something below the directory `dir` may be left out, or it itself. Says so in doubt.
    pub fn may_leave_out_below(&self, dir: &RelPath) -> bool {
        let bytes = dir.to_bytes();
        self.text.split_terminator('\0').any(|pattern| may_match_below(pattern, &bytes))
    }
    /// Whether the entry `name` of directory `dir` is left out.
    pub fn leaves_out(&self, dir: &RelPath, name: &[u8], is_dir: bool) -> bool {
        if self.is_empty() {
            return false;
        }
        let path = dir.join(name).to_bytes();
        let path = OsStr::from_bytes(&path);
        self.any.is_match(path) || is_dir && self.dirs.is_match(path)
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
