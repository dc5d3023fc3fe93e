//! How udev and systemd write what may not stand in a link's or a unit's name.

/// A path or tag's path as a unit's name, without its suffix (systemd.unit(5), `systemd-escape --path`).
pub fn unit(path: &str) -> String {
    let mut name = String::new();
    for (at, byte) in path.trim_matches('/').bytes().enumerate() {
        match byte {
            b'/' => name.push('-'),
            b'.' if at == 0 => name += "\\x2e",
            b if b.is_ascii_alphanumeric() || matches!(b, b':' | b'_' | b'.') => name.push(char::from(b)),
            b => name += &format!("\\x{b:02x}"),
        }
    }
    name
}

/// A label as udev writes it in /dev/disk/by-label (libblkid's `blkid_encode_string`): letters, digits, `#+-.:=@_`
/// and what is not ASCII stand for themselves.
pub fn link(label: &str) -> String {
    let mut name = String::new();
    for c in label.chars() {
        match c {
            c if c.is_ascii_alphanumeric() || "#+-.:=@_".contains(c) || !c.is_ascii() => name.push(c),
            c => name += &format!("\\x{:02x}", c as u32),
        }
    }
    name
}

/// A path as dracut writes it in a file's name: a slash is `\x2f`.
pub fn slashes(path: &str) -> String {
    path.replace('/', "\\x2f")
}

/// A logical volume's device-mapper name: dashes within a name are doubled (lvm2, `dm_build_dm_name`).
pub fn mapper(volume: &str) -> String {
    match volume.split_once('/') {
        Some((group, name)) => format!("{}-{}", group.replace('-', "--"), name.replace('-', "--")),
        None => volume.to_owned(),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn names_are_escaped_as_their_tools_do() {
        assert_eq!(unit("/dev/disk/by-uuid/1B4E-28BA"), r"dev-disk-by\x2duuid-1B4E\x2d28BA");
        assert_eq!(unit("/dev/mapper/www-root"), r"dev-mapper-www\x2droot");
        assert_eq!(link("my röot/1"), r"my\x20röot\x2f1");
        assert_eq!(slashes("/dev/sda1"), r"\x2fdev\x2fsda1");
        assert_eq!(mapper("debian-vg/swap_1"), "debian--vg-swap_1");
    }
}
