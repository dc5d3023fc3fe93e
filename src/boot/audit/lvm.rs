//! What LVM is let see and activate: filters of lvm.conf that hide the mirror's physical volumes, lists without its group.

use super::Search;
use crate::identity::Kind;
use crate::layer::{encoding, lvm_conf};
use regex::Regex;
use std::collections::BTreeSet;
use std::io;

const SETTINGS: [&str; 2] = ["/etc/lvm/lvm.conf", "/etc/lvm/lvmlocal.conf"];

impl Search<'_> {
    pub(super) fn lvm(&mut self) -> io::Result<()> {
        for path in SETTINGS {
            let text = self.files.read(path);
            let Some(text) = self.within_limits(path, text)? else { continue };
            for (line, name, values) in lists(&encoding::text(&text)) {
                self.list_of_lvm(path, line, &name, &values);
            }
        }
        Ok(())
    }

    fn list_of_lvm(&mut self, path: &str, line: usize, name: &str, values: &[String]) {
        match name {
            "filter" | "global_filter" => {
                let hidden = self.facts.physical_volumes.iter().find(|names| !lets_through(values, names));
                if let Some(names) = hidden.cloned() {
                    let example = names.iter().next_back().cloned().unwrap_or_default();
                    self.find(
                        path,
                        None,
                        line,
                        format!("{name} hides the mirror's physical volume {example}"),
                    );
                }
            }
            "volume_list" | "auto_activation_volume_list" => {
                let groups: Vec<_> = self.facts.map.of(Kind::Group).cloned().collect();
                for pair in groups {
                    let has = |group: &str| {
                        let of = |value: &String| value == group || value.starts_with(&format!("{group}/"));
                        values.iter().any(of)
                    };
                    if has(&pair.primary) && !has(&pair.mirror) {
                        self.find(
                            path,
                            None,
                            line,
                            format!("{name} has not the mirror's volume group {}", pair.mirror),
                        );
                    }
                }
            }
            _ => {}
        }
    }
}

/// Whether a filter lets a device of these names through: one name that an `a` pattern matches first is enough; without any
/// match it is let through (lvm.conf(5)).
fn lets_through(patterns: &[String], names: &BTreeSet<String>) -> bool {
    let decide = |name: &String| patterns.iter().find_map(|pattern| decided(pattern, name));
    let decided: Vec<bool> = names.iter().filter_map(decide).collect();
    decided.is_empty() || decided.contains(&true)
}

/// What one pattern says of a name: `a|^/dev/sda3$|`, `r/.*/`. One that is not understood says nothing.
fn decided(pattern: &str, name: &str) -> Option<bool> {
    let (kind, rest) = pattern.split_at_checked(1)?;
    let mut signs = rest.chars();
    let (open, expression) = (signs.next()?, signs.as_str());
    let close = match open {
        '(' => ')',
        '[' => ']',
        '{' => '}',
        other => other,
    };
    let expression = expression.strip_suffix(close)?;
    Regex::new(expression).ok()?.is_match(name).then_some(kind == "a")
}

/// Every setting with a list of texts: the line that it begins at, its name, and the texts. Comments are passed over.
fn lists(text: &str) -> Vec<(usize, String, Vec<String>)> {
    let (mut all, mut open): (Vec<(usize, String, Vec<String>)>, bool) = (Vec::new(), false);
    for (number, line) in text.lines().enumerate() {
        let said = lvm_conf::uncommented(line);
        let quoted = lvm_conf::texts(said).map(str::to_owned);
        match lvm_conf::setting(said).filter(|_| !open) {
            Some(name) => {
                all.push((number + 1, name.to_owned(), quoted.collect()));
                open = said.contains('[') && !said.contains(']');
            }
            None if open => {
                if let Some((_, _, values)) = all.last_mut() {
                    values.extend(quoted);
                }
                open = !said.contains(']');
            }
            None => {}
        }
    }
    all
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_first_pattern_that_matches_a_name_decides() {
        let names = ["/dev/disk/by-partuuid/b0-03".to_owned(), "/dev/sda3".to_owned()].into();
        let lets = |patterns: &[&str]| {
            lets_through(&patterns.iter().map(|pattern| (*pattern).to_owned()).collect::<Vec<_>>(), &names)
        };
        assert!(lets(&["a|^/dev/sda|", "r|.*|"]) && lets(&["r|/dev/sdb|"]) && lets(&[]));
        assert!(!lets(&["a|^/dev/disk/by-id/ata-x-part3$|", "r|.*|"]));
        assert!(lets(&["a(by-partuuid)", "r/.*/"]) && !lets(&["r/.*/", "a(by-partuuid)"]));
    }

    #[test]
    fn lists_go_over_lines_and_comments_count_for_nothing() {
        let text = "devices {\n\tfilter = [ \"a|x|\", # \"r|y|\"\n\t\t\"r|.*|\" ]\n\t# filter = [ \"r|.*|\" ]\n}\n                    activation/volume_list=\"www\"\n";
        let expected = [
            (2, "filter".to_owned(), vec!["a|x|".to_owned(), "r|.*|".to_owned()]),
            (6, "volume_list".to_owned(), vec!["www".to_owned()]),
        ];
        assert_eq!(lists(text), expected);
    }
}
