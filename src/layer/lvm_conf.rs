//! The format of lvm.conf(5): sections of settings, lists of quoted texts, comments.

/// What of a line is said, without its comment: a `#` in quotes is no beginning of one.
pub fn uncommented(line: &str) -> &str {
    let mut quoted = false;
    let at = line.char_indices().find(|(_, c)| {
        quoted ^= *c == '"';
        *c == '#' && !quoted
    });
    at.map_or(line, |(at, _)| &line[..at])
}

/// The name of the setting that a line gives a value to: `filter` of `filter = …`, and of `devices/filter = …`.
pub fn setting(line: &str) -> Option<&str> {
    let (name, _) = line.split_once('=')?;
    Some(name.rsplit(['/', '{']).next().unwrap_or(name).trim())
}

/// The quoted texts of a line.
pub fn texts(line: &str) -> impl Iterator<Item = &str> {
    line.split('"').skip(1).step_by(2)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_line_is_taken_apart() {
        let line = "devices { filter=[ \"a|#|\", \"r|.*|\" ] # \"x\"";
        assert_eq!(setting(line), Some("filter"));
        assert_eq!(texts(uncommented(line)).collect::<Vec<_>>(), ["a|#|", "r|.*|"]);
    }
}
