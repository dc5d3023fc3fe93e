//! Swap space: what the kernel says of it, and how the mirror's is made.

use super::octal::unescaped;
use crate::step::Invocation;

/// The nodes and files in the text of /proc/swaps.
pub fn parse(text: &str) -> Vec<String> {
    text.lines().skip(1).filter_map(|line| line.split_whitespace().next()).map(unescaped).collect()
}

// -- making

/// Makes swap space.
pub fn make(device: &str, uuid: &str, label: Option<&str>) -> Invocation {
    let mut args = vec!["--uuid", uuid];
    if let Some(label) = label {
        args.extend(["--label", label]);
    }
    args.push(device);
    Invocation::new("mkswap", args)
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
