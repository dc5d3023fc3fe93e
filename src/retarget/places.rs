//! The files that name disks and are read at boot, or before the next boot: who reads them, and so what form each has.

use std::collections::HashMap;

/// The form of a file: what in it is a device, and what its reader can resolve.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Form {
    /// A text with tokens: command lines, GRUB's scripts, units, settings. `UUID=…` is understood where a value begins.
    Text,
    /// The same where devices are paths.
    Paths,
    Fstab,
    Crypttab,
    Grubenv,
    LvmDevices,
    /// lvm.conf: filters of regular expressions, and lists of what is activated.
    LvmConf,
    Debconf,
    /// A .swap unit, whose name is its device.
    SwapUnit,
    /// boot.scr: a script in U-Boot's legacy image, with checksums.
    UbootScript,
}

/// Every place, as the primary's absolute path, by who reads it; `*` stands for any part of a name.
const PLACES: &[(&str, Form)] = &[
    // mount(8), systemd and its generators.
    ("/etc/fstab", Form::Fstab),
    ("/etc/crypttab", Form::Crypttab),
    ("/etc/veritytab", Form::Text),
    ("/etc/integritytab", Form::Text),
    ("/etc/systemd/system/*.swap", Form::SwapUnit),
    ("/etc/systemd/system/*.mount", Form::Text),
    ("/etc/systemd/system/*.automount", Form::Text),
    ("/etc/systemd/system/*.service", Form::Text),
    ("/etc/systemd/system/*.path", Form::Text),
    ("/etc/systemd/system/*.target", Form::Text),
    ("/etc/systemd/system/*.d/*.conf", Form::Text),
    ("/usr/local/lib/systemd/system/*.mount", Form::Text),
    ("/usr/local/lib/systemd/system/*.swap", Form::SwapUnit),
    ("/usr/lib/systemd/system/*.mount", Form::Text),
    ("/usr/lib/systemd/system/*.swap", Form::SwapUnit),
    // udev and cloud-init, while the system starts.
    ("/etc/udev/rules.d/*.rules", Form::Text),
    ("/etc/cloud/cloud.cfg", Form::Text),
    ("/etc/cloud/cloud.cfg.d/*.cfg", Form::Text),
    // LVM.
    ("/etc/lvm/lvm.conf", Form::LvmConf),
    ("/etc/lvm/lvmlocal.conf", Form::LvmConf),
    ("/etc/lvm/devices/system.devices", Form::LvmDevices),
    // What makes the next initramfs or the next loader's configuration.
    ("/etc/default/grub", Form::Text),
    ("/etc/default/grub.d/*.cfg", Form::Text),
    ("/etc/grub.d/*", Form::Text),
    ("/etc/kernel/*", Form::Text),
    ("/etc/kernel/*/*", Form::Text),
    ("/etc/mkinitcpio.conf", Form::Text),
    ("/etc/mkinitcpio.d/*", Form::Text),
    ("/etc/cmdline.d/*.conf", Form::Text),
    ("/etc/lilo.conf", Form::Paths),
    ("/etc/initramfs-tools/conf.d/*", Form::Text),
    ("/etc/initramfs-tools/initramfs.conf", Form::Text),
    ("/etc/initramfs-tools/hooks/*", Form::Text),
    ("/etc/initramfs-tools/scripts/*/*", Form::Text),
    ("/etc/uswsusp.conf", Form::Text),
    ("/etc/dracut.conf", Form::Text),
    ("/etc/dracut.conf.d/*.conf", Form::Text),
    ("/etc/sysconfig/grub", Form::Text),
    ("/etc/sysconfig/kernel", Form::Text),
    ("/etc/sysconfig/bootloader", Form::Text),
    ("/etc/default/u-boot", Form::Text),
    ("/etc/default/flash-kernel", Form::Text),
    ("/etc/flash-kernel/*/*", Form::Text),
    ("/etc/default/raspi-firmware", Form::Text),
    ("/etc/default/raspi-firmware-custom", Form::Text),
    ("/etc/default/raspi3-firmware", Form::Text),
    ("/var/cache/debconf/config.dat", Form::Debconf),
    // GRUB.
    ("/boot/grub/*.cfg", Form::Text),
    ("/boot/grub/*.conf", Form::Text),
    ("/boot/grub/menu.lst", Form::Text),
    ("/boot/grub/grubenv", Form::Grubenv),
    ("/boot/grub/device.map", Form::Text),
    ("/boot/grub2/*.cfg", Form::Text),
    ("/boot/grub2/grubenv", Form::Grubenv),
    ("/boot/grub2/device.map", Form::Text),
    // SYSLINUX, EXTLINUX (U-Boot reads that one too), rEFInd, Limine.
    ("/boot/extlinux/*.conf", Form::Text),
    ("/boot/syslinux/*.cfg", Form::Text),
    ("/boot/extlinux.conf", Form::Text),
    ("/boot/syslinux.cfg", Form::Text),
    ("/boot/refind_linux.conf", Form::Text),
    // U-Boot's scripts and what they read.
    ("/boot/boot.scr", Form::UbootScript),
    ("/boot/boot.cmd", Form::Text),
    ("/boot/boot.ini", Form::Text),
    ("/boot/*Env.txt", Form::Text),
    ("/boot/env.txt", Form::Text),
    ("/boot/firmware/boot.scr", Form::UbootScript),
    ("/boot/firmware/*Env.txt", Form::Text),
    ("/boot/firmware/extlinux/*.conf", Form::Text),
    // The Raspberry Pi's firmware: any name of a command line can stand in config.txt.
    ("/boot/*cmdline*.txt", Form::Text),
    ("/boot/*/cmdline.txt", Form::Text),
    ("/boot/firmware/*cmdline*.txt", Form::Text),
    ("/boot/firmware/*/cmdline.txt", Form::Text),
];

/// Places on an EFI system partition, below where it is mounted.
const ON_ESP: &[(&str, Form)] = &[
    ("loader/loader.conf", Form::Text),
    ("loader/entries/*.conf", Form::Text),
    ("EFI/*/*.cfg", Form::Text),
    ("EFI/*/*.conf", Form::Text),
    ("EFI/*/grubenv", Form::Grubenv),
    ("limine.conf", Form::Text),
    ("limine/limine.conf", Form::Text),
];

/// Where an EFI system partition is mounted.
const ESPS: [&str; 3] = ["/boot", "/boot/efi", "/efi"];

/// Every place and its form.
fn forms() -> impl Iterator<Item = (String, Form)> {
    let on_esp =
        |esp: &'static str| ON_ESP.iter().map(move |(place, form)| (format!("{esp}/{place}"), *form));
    PLACES.iter().map(|(place, form)| ((*place).to_owned(), *form)).chain(ESPS.into_iter().flat_map(on_esp))
}

/// Every place, as a path in which `*` stands for any part of a name.
pub fn places() -> impl Iterator<Item = String> {
    forms().map(|(place, _)| place)
}

/// The form of the file at `path` on the primary; none if it is not one of these places.
pub(super) fn form(path: &str) -> Option<Form> {
    forms().find(|(place, _)| matches(place, path)).map(|(_, form)| form)
}

/// Where an initramfs keeps settings: what lies here may name a disk.
const INITRAMFS: [&str; 6] =
    ["cryptroot/crypttab", "conf/", "etc/", "var/lib/dracut/", "usr/lib/dracut/hooks/", "lib/dracut/hooks/"];

/// The form of the file at `path` (without a leading slash) in an initramfs; none where no setting lies.
pub(super) fn form_in_initramfs(path: &str) -> Option<Form> {
    INITRAMFS.iter().any(|place| path.starts_with(place)).then_some(match path {
        "etc/fstab" => Form::Fstab,
        "etc/crypttab" | "cryptroot/crypttab" => Form::Crypttab,
        "etc/lvm/devices/system.devices" => Form::LvmDevices,
        "etc/lvm/lvm.conf" | "etc/lvm/lvmlocal.conf" => Form::LvmConf,
        _ => Form::Text,
    })
}

/// The files at these places that exist, as paths on the primary; `list` gives the names in a directory, none if there is
/// no such directory.
pub fn candidates(list: &dyn Fn(&str) -> Vec<String>) -> Vec<String> {
    let mut listed = HashMap::new();
    let mut once = |dir: &str| listed.entry(dir.to_owned()).or_insert_with(|| list(dir)).clone();
    let mut found: Vec<String> = places().flat_map(|place| expand(&place, &mut once)).collect();
    found.sort();
    found.dedup();
    found
}

/// The paths that exist and fit `place`, a path in which `*` stands for any part of a name.
pub fn expand(place: &str, list: &mut dyn FnMut(&str) -> Vec<String>) -> Vec<String> {
    let mut paths = vec![String::new()];
    for part in place.split('/').skip(1) {
        let mut fitting = Vec::new();
        for dir in &paths {
            let names = list(if dir.is_empty() { "/" } else { dir }).into_iter();
            fitting.extend(names.filter(|name| name_matches(part, name)).map(|name| format!("{dir}/{name}")));
        }
        paths = fitting;
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

/// Two `*` at most; they do not stand for a hidden file's dot.
fn name_matches(part: &str, name: &str) -> bool {
    let Some((head, tail)) = part.split_once('*') else { return part == name };
    let rest = name.strip_prefix(head).filter(|_| !name.starts_with('.'));
    rest.is_some_and(|rest| match tail.split_once('*') {
        None => rest.ends_with(tail),
        Some((middle, end)) => rest.find(middle).is_some_and(|at| rest[at + middle.len()..].ends_with(end)),
    })
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
        for line in ["/boot/cmdline.txt", "/boot/firmware/cmdline-safe.txt", "/boot/firmware/new/cmdline.txt"]
        {
            assert_eq!(form(line), Some(Form::Text), "{line}");
        }
        let unit = r"/etc/systemd/system/dev-disk-by\x2duuid-a.swap";
        assert_eq!((form(unit), form("/boot/boot.scr")), (Some(Form::SwapUnit), Some(Form::UbootScript)));
        assert_eq!(form_in_initramfs("cryptroot/crypttab"), Some(Form::Crypttab));
        assert_eq!(form_in_initramfs("conf/conf.d/resume"), Some(Form::Text));
        assert_eq!(form_in_initramfs("etc/lvm/lvm.conf"), Some(Form::LvmConf));
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
