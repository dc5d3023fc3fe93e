//! /etc/fstab (fstab(5)): which device is mounted where.

use super::device_spec::DeviceSpec;
use super::lines::Lines;
use super::octal::unescaped;

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
    fn devices_targets_and_options_are_read() {
        let entries = entries(DEBIAN);
        let seen: Vec<_> = entries.iter().map(|e| (e.target.as_str(), e.fstype.as_str())).collect();
        assert_eq!(seen, [("/", "ext4"), ("/boot", "ext3"), ("none", "swap"), ("/srv/my data", "xfs")]);
        assert_eq!(entries[1].device, DeviceSpec::Uuid("0a1b".into()));
        assert_eq!(entries[3].device, DeviceSpec::Label("my data".into()));
        assert_eq!(entries[3].options, ["noauto", "nofail"]);
    }
}
