//! /etc/fstab (fstab(5)): which device is mounted where.

use super::device_spec::DeviceSpec;
use super::lines::Lines;
use super::octal::unescaped;
use crate::layout::NotMirrored;
use crate::units::Bytes;
use std::path::Path;

/// A line of fstab.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Entry {
    /// What is mounted.
    pub device: DeviceSpec,
    /// Where: `none` or `swap` for swap space.
    pub target: String,
    /// Its type, or several with commas.
    pub fstype: String,
    /// Its options.
    pub options: Vec<String>,
}

/// What keeps the files of a type of file system.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Medium {
    /// A disk, or a device like one.
    Device,
    /// Another machine.
    Network,
    /// Memory: they are gone after a boot.
    Memory,
    /// Nobody: the kernel makes them up, they are another file system's, or a disc's.
    Nothing,
}

/// Types that are files of other machines (mount(8), and the file systems' own manuals).
const NETWORK: [&str; 14] = [
    "nfs",
    "nfs4",
    "cifs",
    "smb3",
    "smbfs",
    "ceph",
    "glusterfs",
    "9p",
    "virtiofs",
    "afs",
    "davfs",
    "sshfs",
    "fuse.sshfs",
    "fuse.glusterfs",
];
/// Types whose files are nobody's (proc(5), filesystems(5)), overlays, and discs.
const NOTHING: [&str; 24] = [
    "proc",
    "sysfs",
    "devpts",
    "devtmpfs",
    "cgroup",
    "cgroup2",
    "securityfs",
    "debugfs",
    "tracefs",
    "efivarfs",
    "configfs",
    "fusectl",
    "hugetlbfs",
    "mqueue",
    "bpf",
    "pstore",
    "binfmt_misc",
    "autofs",
    "overlay",
    "swap",
    "none",
    "iso9660",
    "udf",
    "usbfs",
];

impl Medium {
    /// Of an fstab's or the kernel's name for a type, or several with commas.
    pub fn of(fstype: &str) -> Medium {
        let is_in = |types: &[&str]| fstype.split(',').any(|one| types.contains(&one));
        if is_in(&["tmpfs", "ramfs"]) {
            Medium::Memory
        } else if is_in(&NETWORK) {
            Medium::Network
        } else if is_in(&NOTHING) {
            Medium::Nothing
        } else {
            Medium::Device
        }
    }
}

impl Entry {
    /// That what it mounts is not in the mirror, for an entry that names nothing of the primary's disk; none where there
    /// is nothing to miss.
    pub fn elsewhere(&self, size: Option<Bytes>) -> Option<NotMirrored> {
        let is = |wanted: &str| self.options.iter().any(|option| option == wanted);
        if !self.target.starts_with('/') || is("bind") || is("rbind") {
            return None;
        }
        let (size, why) = match Medium::of(&self.fstype) {
            Medium::Nothing => return None,
            Medium::Memory => return in_memory(&self.target, size),
            Medium::Device if !is("_netdev") => (size, format!("lies on another disk ({})", self.device)),
            Medium::Device | Medium::Network => (size, format!("lies on another machine ({})", self.device)),
        };
        Some(NotMirrored { what: self.target.clone(), size, why, on_primary: false })
    }
}

/// That what is in memory at `target` is not in the mirror; none for what the kernel and each boot make anew.
pub fn in_memory(target: &str, size: Option<Bytes>) -> Option<NotMirrored> {
    let made_anew = ["/run", "/dev", "/sys", "/proc"];
    if made_anew.iter().any(|dir| Path::new(target).starts_with(dir)) {
        return None;
    }
    let why = "lies in memory, and is gone after each boot".to_owned();
    Some(NotMirrored { what: target.to_owned(), size, why, on_primary: false })
}

/// The entries of an fstab, in order; lines with fewer than two fields say nothing.
pub fn entries(text: &str) -> Vec<Entry> {
    let entry = |fields: Vec<&str>| {
        let field = |i: usize| fields.get(i).copied().unwrap_or_default();
        Some(Entry {
            device: DeviceSpec::parse(&unescaped(field(0))),
            target: unescaped(fields.get(1)?),
            fstype: field(2).to_owned(),
            options: field(3).split(',').filter(|o| !o.is_empty()).map(unescaped).collect(),
        })
    };
    Lines::parse(text).rows().filter_map(entry).collect()
}

#[cfg(test)]
mod tests {
    use super::*;

    /// As Debian's installer writes it.
    const DEBIAN: &str = "# /etc/fstab: static file system information.\n\
        # <file system> <mount point>   <type>  <options>       <dump>  <pass>\n\
        /dev/mapper/www-root /               ext4    errors=remount-ro 0       1\n\
        # /boot was on /dev/vda1 during installation\n\
        UUID=0a1b /boot           ext3    defaults        0       2\n\
        /dev/mapper/www-swap none            swap    sw              0       0\n\
        LABEL=my\\040data\t/srv/my\\040data xfs noauto,nofail\n\n";

    #[test]
    fn what_lies_elsewhere_is_told_and_what_nobody_can_miss_is_not() {
        let text = "LABEL=films /srv/films ext4 defaults 0 2\nnas:/export /srv/nas nfs4 _netdev 0 0\n\
                    tmpfs /tmp tmpfs size=1G 0 0\ntmpfs /run/shm tmpfs defaults 0 0\nproc /proc proc defaults 0 0\n/dev/sr0 /media/cdrom0 udf,iso9660 noauto 0 0\n\
                    /srv/films /home/films none bind 0 0\n/srv/x /srv/y auto bind 0 0\nUUID=1 none swap sw 0 0\n\
                    /dev/nbd0 /srv/far xfs _netdev 0 0\n";
        let all = entries(text).iter().filter_map(|entry| entry.elsewhere(None)).collect::<Vec<_>>();
        let said: Vec<String> = all.iter().map(|one| format!("{} {}", one.what, one.why)).collect();
        let expected = [
            "/srv/films lies on another disk (LABEL=films)",
            "/srv/nas lies on another machine (nas:/export)",
            "/tmp lies in memory, and is gone after each boot",
            "/srv/far lies on another machine (/dev/nbd0)",
        ];
        assert_eq!(said, expected);
    }

    #[test]
    fn devices_targets_and_options_are_read() {
        let entries = entries(DEBIAN);
        let seen: Vec<_> = entries.iter().map(|e| (e.target.as_str(), e.fstype.as_str())).collect();
        assert_eq!(seen, [("/", "ext4"), ("/boot", "ext3"), ("none", "swap"), ("/srv/my data", "xfs")]);
        assert_eq!(entries[1].device, DeviceSpec::Uuid("0a1b".into()));
        assert_eq!(entries[3].device, DeviceSpec::Label("my data".into()));
        assert_eq!(entries[3].options, ["noauto", "nofail"]);
    }
}
