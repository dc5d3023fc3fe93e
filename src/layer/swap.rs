//! Swap space: what the kernel swaps to now.

use super::octal::unescaped;

/// The nodes and files in the text of /proc/swaps.
pub fn parse(text: &str) -> Vec<String> {
    text.lines().skip(1).filter_map(|line| line.split_whitespace().next()).map(unescaped).collect()
}

#[cfg(test)]
mod tests {
    use super::parse;

    #[test]
    fn active_swap_is_listed_by_node_and_by_file() {
        let text = "Filename\t\t\t\tType\t\tSize\t\tUsed\t\tPriority\n\
                    /dev/dm-1                               partition\t249852\t\t0\t\t-2\n\
                    /swap\\040file                           file\t\t1048572\t\t0\t\t-3\n";
        assert_eq!(parse(text), ["/dev/dm-1", "/swap file"]);
        assert!(parse("Filename\t\t\t\tType\t\tSize\t\tUsed\t\tPriority\n").is_empty());
    }
}
