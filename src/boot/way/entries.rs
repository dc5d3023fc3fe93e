//! What boot loaders are told to start: kernels, initramfs images and command lines, in GRUB's scripts, BLS entries,
//! SYSLINUX', EXTLINUX', LILO's, U-Boot's and the Raspberry Pi's files.
//!
//! The scripts are read line by line, not executed: what stands in a branch that is never taken counts too.
//!
//! `menuentry x { search --fs-uuid --set=root U / linux /vmlinuz root=UUID=R }` → a search for U, the kernel /vmlinuz and
//! the words root=UUID=R, all three of one block.

/// A line that names something to be started.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Entry {
    /// The file.
    pub file: String,
    /// The line, from 1.
    pub line: usize,
    /// Which entry of that file's menu it belongs to; 0 for what belongs to none.
    pub block: usize,
    /// The file system that was searched for last, by UUID.
    pub searched: Option<String>,
    /// What the line says.
    pub says: Says,
}

/// What a line says.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Says {
    /// The path of a kernel, or of a program of the firmware's.
    Kernel(String),
    /// The path of an initramfs image.
    Image(String),
    /// Words of a kernel's command line.
    Words(Vec<String>),
    /// A file system that is searched for by this UUID.
    Search(String),
    /// Another file that is read here.
    Include(String),
}

/// All such lines of a file.
pub(super) fn read(path: &str, text: &str) -> Vec<Entry> {
    let (mut entries, mut searched, mut before_menu) = (Vec::new(), None, None);
    let (mut block, mut blocks) = (0, 0);
    let is_file_of_one = path.contains("/loader/entries/") || of_firmware(path).is_some();
    if is_file_of_one {
        block = 1;
    }
    for (number, line) in text.lines().enumerate() {
        if !is_file_of_one && begins_block(line) {
            (blocks, searched) = (blocks + 1, before_menu.clone());
            block = blocks;
        }
        for says in of_line(path, line) {
            if let Says::Search(uuid) = &says {
                searched = Some(uuid.clone());
            }
            let (file, searched) = (path.to_owned(), searched.clone());
            entries.push(Entry { file, line: number + 1, block, searched, says });
        }
        if block == 0 {
            before_menu.clone_from(&searched);
        }
        if line.trim() == "}" {
            (block, searched) = (0, before_menu.clone());
        }
    }
    entries
}

/// Whether an entry of a menu begins: GRUB's, EXTLINUX', LILO's.
fn begins_block(line: &str) -> bool {
    let line = line.trim_start().to_lowercase();
    ["menuentry ", "label ", "title ", "image=", "image ="].iter().any(|word| line.starts_with(word))
}

/// How a file of a firmware's, which has no menu, is read.
fn of_firmware(path: &str) -> Option<fn(&str) -> Vec<Says>> {
    let name = path.rsplit('/').next().unwrap_or(path);
    match name {
        "config.txt" => Some(raspberry),
        _ if name.contains("cmdline") && name.ends_with(".txt") => {
            Some(|line| vec![Says::Words(words(line))])
        }
        "env.txt" => Some(environment),
        _ if name.ends_with("Env.txt") => Some(environment),
        "boot.scr" | "boot.cmd" | "boot.ini" => Some(script),
        "refind_linux.conf" => Some(quoted),
        _ => None,
    }
}

fn words(line: &str) -> Vec<String> {
    line.split_whitespace().map(|word| word.replace(['"', '\''], "")).collect()
}

fn of_line(path: &str, line: &str) -> Vec<Says> {
    if line.trim_start().starts_with('#') {
        return Vec::new();
    }
    if let Some(read) = of_firmware(path) {
        return read(line);
    }
    if path.ends_with("/lilo.conf") {
        return lilo(line);
    }
    let words = words(line);
    let Some((command, rest)) = words.split_first() else { return Vec::new() };
    let file = |word: &String| Some(word.strip_prefix("($root)").unwrap_or(word).to_owned());
    let is_name = |path: &String| !path.is_empty() && !path.contains('$') && !path.starts_with('(');
    let path = |word: &String| file(word).filter(is_name);
    match command.to_lowercase().as_str() {
        "linux" | "linux16" | "linuxefi" | "kernel" | "efi" => {
            let kernel = rest.first().and_then(path).map(Says::Kernel);
            kernel.into_iter().chain([Says::Words(rest.iter().skip(1).cloned().collect())]).collect()
        }
        "initrd" | "initrd16" | "initrdefi" => {
            let all = rest.iter().flat_map(|word| word.split(',')).map(str::to_owned);
            all.filter_map(|word| path(&word)).map(Says::Image).collect()
        }
        "options" | "append" => command_line(rest.to_vec()),
        "search" if rest.iter().any(|word| matches!(word.as_str(), "--fs-uuid" | "-u")) => uuid(rest),
        "search.fs_uuid" => uuid(rest),
        "source" | "configfile" | "include" | "." | "normal" => {
            rest.first().into_iter().filter_map(|word| included(word)).map(Says::Include).collect()
        }
        _ => kernelopts(&words),
    }
}

/// A file that GRUB or EXTLINUX reads here; GRUB's own directory is the one of the file that says so.
fn included(word: &str) -> Option<String> {
    let own = ["$prefix/", "${prefix}/", "$config_directory/", "${config_directory}/"];
    let name = own.iter().find_map(|own| word.strip_prefix(own)).or(word.strip_prefix("($root)"));
    let name = name.unwrap_or(word);
    (!name.contains('$') && !name.starts_with('(')).then(|| name.to_owned())
}

/// The words of a command line, and the images that some loaders take from it.
fn command_line(words: Vec<String>) -> Vec<Says> {
    let images = words.iter().filter_map(|word| word.strip_prefix("initrd="));
    let images = images.flat_map(|images| images.split(',')).map(|image| image.replace('\\', "/"));
    let images: Vec<Says> = images.map(Says::Image).collect();
    images.into_iter().chain([Says::Words(words)]).collect()
}

/// config.txt (the Raspberry Pi's documentation, "config.txt"): `kernel=`, `initramfs NAME …`, `cmdline=`, `include NAME`.
fn raspberry(line: &str) -> Vec<Says> {
    let (line, _) = line.split_once('#').unwrap_or((line, ""));
    let line = line.trim();
    let command =
        |word: &str| line.strip_prefix(word).map(|rest| words(rest).into_iter().next().unwrap_or_default());
    if let Some(names) = command("initramfs ") {
        return names.split(',').map(|name| Says::Image(name.to_owned())).collect();
    }
    let value = |key: &str| line.strip_prefix(key).and_then(|rest| rest.strip_prefix('=')).map(str::to_owned);
    let file = value("cmdline").or(command("include ")).or(value("os_prefix").map(|dir| dir + "cmdline.txt"));
    file.map(Says::Include).or(value("kernel").map(Says::Kernel)).into_iter().collect()
}

/// What U-Boot's scripts import: `rootdev=UUID=…`, `extraargs=…`.
fn environment(line: &str) -> Vec<Says> {
    let Some((name, value)) = line.split_once('=') else { return Vec::new() };
    match name.trim() {
        "rootdev" | "root" => vec![Says::Words(vec![format!("root={}", value.trim())])],
        "extraargs" | "bootargs" | "extraboardargs" | "optargs" => vec![Says::Words(words(value))],
        _ => Vec::new(),
    }
}

/// A script of U-Boot's: `setenv bootargs root=… rw`.
fn script(line: &str) -> Vec<Says> {
    let words = words(line);
    if words.iter().any(|word| word.starts_with("root=")) { vec![Says::Words(words)] } else { Vec::new() }
}

/// refind_linux.conf: a title and a command line, each in quotes.
fn quoted(line: &str) -> Vec<Says> {
    line.split('"').nth(3).map(|line| command_line(words(line))).unwrap_or_default()
}

/// lilo.conf (lilo.conf(5)).
fn lilo(line: &str) -> Vec<Says> {
    let Some((name, value)) = line.split_once('=') else { return Vec::new() };
    let value = value.trim().trim_matches('"');
    match name.trim() {
        "image" => vec![Says::Kernel(value.to_owned())],
        "initrd" => vec![Says::Image(value.to_owned())],
        "root" => vec![Says::Words(vec![format!("root={value}")])],
        "append" | "addappend" => vec![Says::Words(words(value))],
        _ => Vec::new(),
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

#[cfg(test)]
mod tests {
    use super::*;

    fn said(path: &str, text: &str) -> Vec<(usize, Says)> {
        read(path, text).into_iter().map(|entry| (entry.block, entry.says)).collect()
    }

    #[test]
    fn a_menu_has_blocks_and_a_search_ends_with_its_own() {
        let text = "search --fs-uuid --set=root A\nmenuentry 'one' {\n\tsearch --fs-uuid --set=root B\n\tlinux /a root=/dev/b\n}\n\
                    menuentry 'two' {\n\tlinux /c\n\tinitrd /d /e\n}\nsource ${config_directory}/custom.cfg\n";
        let entries = read("/boot/grub/grub.cfg", text);
        let searched = |says: &Says| {
            entries.iter().find(|entry| entry.says == *says).and_then(|entry| entry.searched.clone())
        };
        assert_eq!(searched(&Says::Kernel("/a".into())).as_deref(), Some("B"));
        assert_eq!(searched(&Says::Kernel("/c".into())).as_deref(), Some("A"));
        let blocks: Vec<usize> = entries.iter().map(|entry| entry.block).collect();
        assert_eq!(blocks, [0, 1, 1, 1, 2, 2, 2, 2, 0]);
        assert_eq!(entries.last().map(|entry| entry.says.clone()), Some(Says::Include("custom.cfg".into())));
    }

    #[test]
    fn firmwares_have_files_of_their_own() {
        let words = |all: &[&str]| Says::Words(all.iter().map(|word| (*word).to_owned()).collect());
        let config = "# x\nkernel=vmlinuz\ninitramfs initrd.img followkernel\ncmdline=cmdline-safe.txt # y\narm_64bit=1\n";
        let expected = [
            Says::Kernel("vmlinuz".into()),
            Says::Image("initrd.img".into()),
            Says::Include("cmdline-safe.txt".into()),
        ];
        assert_eq!(said("/boot/firmware/config.txt", config), expected.map(|says| (1, says)));
        let armbian = "verbosity=1\nrootdev=UUID=a\nextraargs=cma=128M\n";
        let expected = [words(&["root=UUID=a"]), words(&["cma=128M"])].map(|says| (1, says));
        assert_eq!(said("/boot/armbianEnv.txt", armbian), expected);
        let refind = "\"Boot\" \"root=UUID=a initrd=boot\\initrd.img\"\n";
        assert_eq!(said("/boot/refind_linux.conf", refind)[0].1, Says::Image("boot/initrd.img".into()));
        let lilo = "image=/vmlinuz\n\tinitrd=/initrd.img\n\troot=\"UUID=a\"\n";
        let expected =
            [Says::Kernel("/vmlinuz".into()), Says::Image("/initrd.img".into()), words(&["root=UUID=a"])];
        assert_eq!(said("/etc/lilo.conf", lilo), expected.map(|says| (1, says)));
    }
}
