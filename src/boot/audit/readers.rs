//! Who reads a file: the boot, something that is known and is not the boot, or nobody who is known.
//!
//! By directories, not by the list of what is rewritten: a file that this list forgets is found here.

/// Whoever reads a file.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Reader {
    /// A loader, the early user space, systemd, or what makes these for the next boot.
    Boot,
    /// None of these, and why it does no harm.
    Other(&'static str),
    /// Nobody who is known.
    Unknown,
}

/// Directories that are looked into, with all below.
pub(in crate::boot) const AREAS: [&str; 12] = [
    "/boot",
    "/efi",
    "/etc",
    "/usr/lib/systemd",
    "/usr/lib/udev/rules.d",
    "/usr/lib/dracut/dracut.conf.d",
    "/usr/lib/kernel",
    "/usr/lib/modprobe.d",
    "/usr/share/initramfs-tools",
    "/usr/local/lib/systemd",
    "/usr/local/lib/udev/rules.d",
    "/usr/local/share/initramfs-tools",
];

/// Single files beside them, and those that may lie behind a link.
pub(in crate::boot) const FILES: [&str; 3] = ["/var/cache/debconf/config.dat", "/etc/fstab", "/etc/crypttab"];

/// What is read, and not by a boot. The beginning of a path, and why it does no harm.
const OTHERS: [(&str, &str); 15] = [
    ("/etc/lvm/archive/", "LVM's copies of earlier metadata: vgcfgrestore reads them when it is told to"),
    ("/etc/lvm/backup/", "LVM's copy of its metadata: vgcfgrestore reads it when it is told to"),
    ("/etc/lvm/cache/", "LVM's cache: made anew"),
    ("/etc/diskmirror", "this program's configuration, which names both disks"),
    ("/etc/blkid.tab", "blkid's cache: made anew"),
    ("/etc/mtab", "what is mounted: made anew"),
    ("/etc/.git/", "etckeeper's history"),
    ("/etc/.etckeeper", "etckeeper's list of modes"),
    ("/etc/ssl/", "certificates"),
    ("/etc/machine-info", "read for a name"),
    (
        "/boot/grub/i386-pc/",
        "GRUB's modules, and what grub-install made of them: the core on the disk is looked into itself",
    ),
    ("/boot/grub2/i386-pc/", "as /boot/grub/i386-pc/"),
    ("/boot/grub/x86_64-efi/", "as /boot/grub/i386-pc/; the program on the ESP is looked into itself"),
    ("/boot/grub2/x86_64-efi/", "as /boot/grub/x86_64-efi/"),
    ("/boot/grub/arm64-efi/", "as /boot/grub/x86_64-efi/"),
];

/// What an administrator, a package manager or a tool keeps of a file, by its name's end: nobody reads it.
const COPIES: [&str; 14] = [
    "~",
    "-",
    ".bak",
    ".old",
    ".orig",
    ".save",
    ".new",
    ".tmp",
    ".rpmsave",
    ".rpmnew",
    ".rpmorig",
    ".swp",
    ".disabled",
    ".example",
];

/// What a boot reads, or what makes it for the next one, by the beginning of a path.
const OF_BOOT: [&str; 37] = [
    "/etc/fstab",
    "/etc/crypttab",
    "/etc/veritytab",
    "/etc/integritytab",
    "/etc/lilo.conf",
    "/etc/default/grub",
    "/etc/default/u-boot",
    "/etc/default/flash-kernel",
    "/etc/default/raspi",
    "/etc/systemd/",
    "/etc/lvm/",
    "/etc/initramfs-tools/",
    "/etc/cryptsetup-initramfs/",
    "/etc/uswsusp.conf",
    "/etc/dracut.conf",
    "/etc/kernel/",
    "/etc/cmdline",
    "/etc/grub.d/",
    "/etc/cloud/",
    "/etc/udev/",
    "/etc/modprobe.d/",
    "/etc/mkinitcpio",
    "/etc/sysconfig/grub",
    "/etc/sysconfig/kernel",
    "/etc/sysconfig/bootloader",
    "/etc/flash-kernel/",
    "/usr/",
    "/var/cache/debconf/",
    "/boot/grub",
    "/boot/loader/",
    "/boot/efi/loader/",
    "/efi/loader/",
    "/boot/extlinux",
    "/boot/syslinux",
    "/boot/firmware/",
    "/boot/EFI/",
    "/boot/efi/EFI/",
];

/// Whether what changes in the file at `path` can change a boot.
pub(in crate::boot) fn is_of_boot(path: &str) -> bool {
    path.starts_with("/boot/") || path.starts_with("/efi/") || reader(path, false) == Reader::Boot
}

/// Who reads the file at `path`; `is_followed` says that a loader's own way leads to it.
pub(super) fn reader(path: &str, is_followed: bool) -> Reader {
    if is_followed {
        return Reader::Boot;
    }
    let name = path.rsplit('/').next().unwrap_or(path);
    let is_copy = COPIES.iter().any(|end| name.ends_with(end));
    if is_copy || name.contains(".dpkg-") || name.contains(".ucf-") {
        return Reader::Other("a copy that somebody kept");
    }
    if let Some((_, why)) = OTHERS.iter().find(|(start, _)| path.starts_with(start)) {
        return Reader::Other(why);
    }
    let is_text_of_esp = path.starts_with("/efi/EFI/") && !name.to_lowercase().ends_with(".efi");
    match is_text_of_esp || OF_BOOT.iter().any(|start| path.starts_with(start)) {
        true => Reader::Boot,
        false => Reader::Unknown,
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_copy_is_read_by_nobody_and_what_nobody_knows_is_unknown() {
        for copy in
            ["/etc/fstab.bak", "/etc/fstab~", "/boot/grub/grub.cfg.dpkg-old", "/etc/default/grub.ucf-dist"]
        {
            assert!(matches!(reader(copy, false), Reader::Other(_)), "{copy}");
        }
        assert!(matches!(reader("/etc/lvm/backup/www", false), Reader::Other(_)));
        for boot in
            ["/etc/fstab", "/etc/systemd/system/a.mount", "/boot/grub/custom.cfg", "/etc/lvm/lvm.conf"]
        {
            assert_eq!(reader(boot, false), Reader::Boot, "{boot}");
        }
        assert_eq!(reader("/etc/fstab.bak", true), Reader::Boot, "if a loader reads it, it is no copy");
        for other in ["/etc/smartd.conf", "/boot/notes.txt", "/etc/exports"] {
            assert_eq!(reader(other, false), Reader::Unknown, "{other}");
        }
    }
}
