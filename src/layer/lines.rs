//! A file of lines with fields between blanks, as fstab and crypttab are: read without losing a byte, so that what
//! is not meant to change comes out as it went in.

use std::fmt;

/// Such a file.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Lines {
    /// Every line with its own ending.
    lines: Vec<String>,
}

impl Lines {
    /// Takes the text apart.
    pub fn parse(text: &str) -> Self {
        Lines { lines: text.split_inclusive('\n').map(str::to_owned).collect() }
    }

    /// The raw fields of every line that is neither blank nor a comment, in order.
    pub fn rows(&self) -> impl Iterator<Item = Vec<&str>> {
        self.lines.iter().map(|line| fields(line)).filter(|fields| !fields.is_empty())
    }

    /// Adds `line` at the end, below the comment `mark`; in place of what stood below that mark before.
    pub fn set(&mut self, mark: &str, line: &str) {
        self.remove(mark);
        if let Some(last) = self.lines.last_mut()
            && !last.ends_with('\n')
        {
            last.push('\n');
        }
        self.lines.push(format!("{}\n", comment(mark)));
        self.lines.push(format!("{line}\n"));
    }

    /// Removes every comment `mark` and the line below it, if that is not a comment or blank itself; says whether
    /// there was one.
    pub fn remove(&mut self, mark: &str) -> bool {
        let mark = comment(mark);
        let before = self.lines.len();
        while let Some(at) = self.lines.iter().position(|line| line.trim() == mark) {
            let has_line = self.lines.get(at + 1).is_some_and(|line| !fields(line).is_empty());
            self.lines.drain(at..=at + usize::from(has_line));
        }
        self.lines.len() < before
    }
}

impl fmt::Display for Lines {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        self.lines.iter().try_for_each(|line| f.write_str(line))
    }
}

fn comment(mark: &str) -> String {
    format!("# {mark}")
}

fn fields(line: &str) -> Vec<&str> {
    if line.trim_start().starts_with('#') { Vec::new() } else { line.split_ascii_whitespace().collect() }
}

#[cfg(test)]
mod tests {
    use super::Lines;
    use proptest::prelude::*;

    const MARK: &str = "diskmirror: the mirror's root";

    proptest! {
        #[test]
        fn whatever_was_read_is_printed_byte_for_byte(text in "([#/a-z0-9= \t\r\\\\ß]{0,12}[\n]?){0,12}") {
            prop_assert_eq!(Lines::parse(&text).to_string(), text);
        }

        #[test]
        fn a_marked_line_leaves_no_trace_once_it_is_removed(text in "([#/a-z0-9= \t\r\\\\ß]{0,12}\n){0,12}") {
            let mut lines = Lines::parse(&text);
            lines.set(MARK, "UUID=1 /mirror ext4 noauto,nofail 0 2");
            prop_assert!(lines.to_string().starts_with(&text));
            prop_assert!(lines.remove(MARK));
            prop_assert_eq!(lines.to_string(), text);
        }
    }

    #[test]
    fn setting_a_marked_line_again_replaces_it() {
        let mut lines = Lines::parse("UUID=1 / ext4 defaults 0 1");
        lines.set(MARK, "UUID=2 /mirror ext4 noauto 0 2");
        lines.set(MARK, "UUID=3 /mirror ext4 noauto 0 2");
        let expected = format!("UUID=1 / ext4 defaults 0 1\n# {MARK}\nUUID=3 /mirror ext4 noauto 0 2\n");
        assert_eq!(lines.to_string(), expected);
        assert!(lines.remove(MARK) && !lines.remove(MARK));
    }

    #[test]
    fn a_mark_without_its_line_takes_nothing_else_along() {
        let mut lines = Lines::parse(&format!("# {MARK}\n# a comment\nUUID=1 / ext4\n"));
        assert!(lines.remove(MARK));
        assert_eq!(lines.to_string(), "# a comment\nUUID=1 / ext4\n");
    }
}
