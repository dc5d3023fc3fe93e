//! The files that name disks and are read at boot, or before the next boot: which they are, and what form each has.

/// The form of a file, and so what in it is a device token.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Form {
    /// A text with tokens: command lines, GRUB's scripts, settings.
    Text,
    /// The same where devices are paths.
    Paths,
    Fstab,
    Crypttab,
    Grubenv,
    LvmDevices,
    Debconf,
}

/// Every place, as the primary's absolute path; `*` stands for any part of a name. An EFI system partition is mounted
/// at /boot/efi, /efi or /boot.
pub const PLACES: &[&str] = &[
    "/etc/fstab",
    "/etc/crypttab",
    "/etc/default/grub",
    "/etc/default/grub.d/*.cfg",
    "/etc/grub.d/40_custom",
    "/etc/grub.d/41_custom",
    "/etc/kernel/cmdline",
    "/etc/lilo.conf",
    "/etc/initramfs-tools/conf.d/*",
    "/etc/initramfs-tools/initramfs.conf",
    "/etc/dracut.conf",
    "/etc/dracut.conf.d/*.conf",
    "/etc/lvm/devices/system.devices",
    "/var/cache/debconf/config.dat",
    "/boot/grub/grub.cfg",
    "/boot/grub/custom.cfg",
    "/boot/grub/user.cfg",
    "/boot/grub/grubenv",
    "/boot/grub/device.map",
    "/boot/grub2/grub.cfg",
    "/boot/grub2/custom.cfg",
    "/boot/grub2/user.cfg",
    "/boot/grub2/grubenv",
    "/boot/grub2/device.map",
    "/boot/cmdline.txt",
    "/boot/firmware/cmdline.txt",
    "/boot/extlinux/extlinux.conf",
    "/boot/loader/loader.conf",
    "/boot/loader/entries/*.conf",
    "/boot/efi/loader/loader.conf",
    "/boot/efi/loader/entries/*.conf",
    "/efi/loader/loader.conf",
    "/efi/loader/entries/*.conf",
    "/boot/EFI/*/grub.cfg",
    "/boot/EFI/*/grubenv",
    "/boot/efi/EFI/*/grub.cfg",
    "/boot/efi/EFI/*/grubenv",
    "/efi/EFI/*/grub.cfg",
    "/efi/EFI/*/grubenv",
];

/// The form of the file at `path` on the primary; none if it is not one of `PLACES`.
pub(super) fn form(path: &str) -> Option<Form> {
    PLACES.iter().any(|place| matches(place, path)).then(|| form_of_name(path))
}

fn form_of_name(path: &str) -> Form {
    match path.rsplit('/').next().unwrap_or(path) {
        "fstab" => Form::Fstab,
        "crypttab" => Form::Crypttab,
        "grubenv" => Form::Grubenv,
        "system.devices" => Form::LvmDevices,
        "config.dat" => Form::Debconf,
        "lilo.conf" => Form::Paths,
        _ => Form::Text,
    }
}

/// Where an initramfs keeps settings: what lies here may name a disk.
const INITRAMFS: [&str; 6] =
    ["cryptroot/crypttab", "conf/", "etc/", "var/lib/dracut/", "usr/lib/dracut/hooks/", "lib/dracut/hooks/"];

/// The form of the file at `path` (without a leading slash) in an initramfs; none where no setting lies.
pub(super) fn form_in_initramfs(path: &str) -> Option<Form> {
    INITRAMFS.iter().any(|place| path.starts_with(place)).then(|| match path {
        "etc/fstab" | "etc/crypttab" | "cryptroot/crypttab" | "etc/lvm/devices/system.devices" => {
            form_of_name(path)
        }
        _ => Form::Text,
    })
}

/// The files of `PLACES` that exist, as paths on the primary; `list` gives the names in a directory, none if there is
/// no such directory.
pub fn candidates(list: &dyn Fn(&str) -> Vec<String>) -> Vec<String> {
    let mut found: Vec<String> = PLACES.iter().flat_map(|place| expand(place, list)).collect();
    found.sort();
    found.dedup();
    found
}

fn expand(place: &str, list: &dyn Fn(&str) -> Vec<String>) -> Vec<String> {
    let mut paths = vec![String::new()];
    for part in place.split('/').skip(1) {
        let below = |dir: &String| {
            let names = list(if dir.is_empty() { "/" } else { dir });
            let fitting = names.into_iter().filter(|name| name_matches(part, name));
            fitting.map(|name| format!("{dir}/{name}")).collect::<Vec<_>>()
        };
        paths = paths.iter().flat_map(below).collect();
    }
    paths
}

fn matches(place: &str, path: &str) -> bool {
    let (mut parts, mut names) = (place.split('/'), path.split('/'));
    loop {
        match (parts.next(), names.next()) {
            (None, None) => return true,
            (Some(part), Some(name)) if name_matches(part, name) => {}
            _ => return false,
        }
    }
}

/// One `*` at most, as `PLACES` has it; it does not stand for a hidden file's dot.
fn name_matches(part: &str, name: &str) -> bool {
    match part.split_once('*') {
        None => part == name,
        Some((head, tail)) => {
            let long = name.len() >= head.len() + tail.len();
            long && !name.starts_with('.') && name.starts_with(head) && name.ends_with(tail)
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_place_is_a_whole_path_with_any_name_where_the_star_is() {
        assert_eq!(form("/etc/fstab"), Some(Form::Fstab));
        assert_eq!(form("/boot/efi/EFI/debian/grub.cfg"), Some(Form::Text));
        assert_eq!(form("/boot/grub2/grubenv"), Some(Form::Grubenv));
        for other in
            ["/etc/fstab.bak", "/srv/etc/fstab", "/etc/default/grub.d/.x.cfg", "/boot/efi/EFI/a/b/grub.cfg"]
        {
            assert_eq!(form(other), None, "{other}");
        }
        assert_eq!(form_in_initramfs("cryptroot/crypttab"), Some(Form::Crypttab));
        assert_eq!(form_in_initramfs("conf/conf.d/resume"), Some(Form::Text));
        assert_eq!(form_in_initramfs("usr/bin/sh"), None);
    }

    #[test]
    fn candidates_are_what_exists() {
        let list = |dir: &str| -> Vec<String> {
            let names: &[&str] = match dir {
                "/" => &["boot", "etc", "srv"],
                "/etc" => &["fstab", "passwd", "default"],
                "/etc/default" => &["grub", "cron"],
                "/boot" => &["loader"],
                "/boot/loader" => &["entries"],
                "/boot/loader/entries" => &["a.conf", "b.conf", "b.bak"],
                _ => &[],
            };
            names.iter().map(|name| (*name).to_owned()).collect()
        };
        let entries = ["/boot/loader/entries/a.conf", "/boot/loader/entries/b.conf"];
        assert_eq!(candidates(&list), [&entries[..], &["/etc/default/grub", "/etc/fstab"]].concat());
    }
}
