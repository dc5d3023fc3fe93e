//! What boot loaders are told to start: kernels, initramfs images and command lines, in GRUB's scripts, BLS entries,
//! extlinux' and the Raspberry Pi's files.
//!
//! The scripts are read line by line, not executed: what stands in a branch that is never taken counts too.

use super::Text;

/// A line that names something to be started.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(super) struct Entry {
    /// The file and the line, from 1.
    pub file: String,
    pub line: usize,
    /// The file system that was searched for last, by UUID.
    pub searched: Option<String>,
    pub says: Says,
}

/// What a line says.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(super) enum Says {
    /// The path of a kernel.
    Kernel(String),
    /// The path of an initramfs image.
    Image(String),
    /// Words of a kernel's command line.
    Words(Vec<String>),
    /// A file system that is searched for by this UUID.
    Search(String),
}

/// All such lines of these texts.
pub(super) fn read(texts: &[Text]) -> Vec<Entry> {
    let loaders =
        texts.iter().filter(|text| text.path.starts_with("/boot/") || text.path.starts_with("/efi/"));
    loaders.flat_map(|text| of_text(&text.path, &String::from_utf8_lossy(&text.bytes))).collect()
}

fn of_text(path: &str, text: &str) -> Vec<Entry> {
    let (mut entries, mut searched) = (Vec::new(), None);
    for (number, line) in text.lines().enumerate() {
        for says in of_line(path, line) {
            if let Says::Search(uuid) = &says {
                searched = Some(uuid.clone());
            }
            entries.push(Entry { file: path.to_owned(), line: number + 1, searched: searched.clone(), says });
        }
    }
    entries
}

fn of_line(path: &str, line: &str) -> Vec<Says> {
    let words: Vec<String> = line.split_whitespace().map(|word| word.replace(['"', '\''], "")).collect();
    if path.ends_with("/cmdline.txt") {
        return vec![Says::Words(words)];
    }
    let Some((command, rest)) = words.split_first() else { return Vec::new() };
    let file = |word: &String| Some(word.strip_prefix("($root)").unwrap_or(word).to_owned());
    let path = |word: &String| file(word).filter(|path| path.starts_with('/') && !path.contains('$'));
    match command.to_lowercase().as_str() {
        "linux" | "linux16" | "linuxefi" | "kernel" | "efi" => {
            let kernel = rest.first().and_then(path).map(Says::Kernel);
            kernel.into_iter().chain([Says::Words(rest.iter().skip(1).cloned().collect())]).collect()
        }
        "initrd" | "initrd16" | "initrdefi" => {
            let all = rest.iter().flat_map(|word| word.split(',')).map(str::to_owned);
            all.filter_map(|word| path(&word)).map(Says::Image).collect()
        }
        "options" | "append" => vec![Says::Words(rest.to_vec())],
        "search" if rest.iter().any(|word| matches!(word.as_str(), "--fs-uuid" | "-u")) => uuid(rest),
        "search.fs_uuid" => uuid(rest),
        _ => kernelopts(&words),
    }
}

/// The first word that is neither an option nor the value of one.
fn uuid(words: &[String]) -> Vec<Says> {
    let is_value = |n: usize| n > 0 && matches!(words[n - 1].as_str(), "--set" | "-s" | "--hint" | "-h");
    let own = (0..words.len()).find(|n| !words[*n].starts_with(['-', '$']) && !is_value(*n));
    own.map(|n| Says::Search(words[n].clone())).into_iter().collect()
}

/// As Fedora's GRUB keeps a command line in its environment.
fn kernelopts(words: &[String]) -> Vec<Says> {
    let first = words[0].strip_prefix("kernelopts=").map(str::to_owned);
    let all = first.map(|first| [&[first], &words[1..]].concat());
    all.map(Says::Words).into_iter().collect()
}
