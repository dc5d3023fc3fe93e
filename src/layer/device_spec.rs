//! How fstab and crypttab name a device: a tag (`UUID=…`) or a path. The links udev keeps in /dev/disk/by-… that say
//! the same as a tag are read as that tag.

use super::json;
use std::fmt;

/// A device as a file names it.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum DeviceSpec {
    /// By the UUID of what it holds.
    Uuid(String),
    /// By the label of what it holds.
    Label(String),
    /// By the partition's GUID, or the MBR's signature and number.
    PartUuid(String),
    /// By the partition's name.
    PartLabel(String),
    /// By its node, or by a link that is no tag (by-id, by-path).
    Path(String),
    /// No device: `proc`, `tmpfs`, `server:/export`.
    Other(String),
}

/// How libmount and udev spell each tag.
type Tag = (&'static str, &'static str, fn(String) -> DeviceSpec);
const TAGS: [Tag; 4] = [
    ("UUID", "by-uuid", DeviceSpec::Uuid),
    ("LABEL", "by-label", DeviceSpec::Label),
    ("PARTUUID", "by-partuuid", DeviceSpec::PartUuid),
    ("PARTLABEL", "by-partlabel", DeviceSpec::PartLabel),
];

impl DeviceSpec {
    /// Reads a field whose octal escapes are already undone.
    pub fn parse(field: &str) -> Self {
        let tag = TAGS.iter().find_map(|(name, link, of)| {
            let value = field.strip_prefix(name).and_then(|rest| rest.strip_prefix('=')).map(unquoted);
            let link = || field.strip_prefix("/dev/disk/")?.strip_prefix(link)?.strip_prefix('/');
            Some(of(value.or_else(|| link().map(json::unescaped))?))
        });
        match tag {
            Some(tag) => tag,
            None if field.starts_with('/') => DeviceSpec::Path(field.to_owned()),
            None => DeviceSpec::Other(field.to_owned()),
        }
    }
}

impl fmt::Display for DeviceSpec {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            DeviceSpec::Uuid(value) => write!(f, "UUID={value}"),
            DeviceSpec::Label(value) => write!(f, "LABEL={value}"),
            DeviceSpec::PartUuid(value) => write!(f, "PARTUUID={value}"),
            DeviceSpec::PartLabel(value) => write!(f, "PARTLABEL={value}"),
            DeviceSpec::Path(value) | DeviceSpec::Other(value) => f.write_str(value),
        }
    }
}

/// `"value"` as libmount allows it, too.
fn unquoted(value: &str) -> String {
    let inner = |quote| value.strip_prefix(quote)?.strip_suffix(quote);
    inner('"').or_else(|| inner('\'')).unwrap_or(value).to_owned()
}

#[cfg(test)]
mod tests {
    use super::DeviceSpec::{self, *};

    #[test]
    fn every_way_to_name_a_device_is_told_apart() {
        let cases = [
            ("UUID=abcd-12", Uuid("abcd-12".into())),
            ("UUID=\"abcd-12\"", Uuid("abcd-12".into())),
            ("/dev/disk/by-uuid/abcd-12", Uuid("abcd-12".into())),
            ("LABEL=my root", Label("my root".into())),
            (r"/dev/disk/by-label/my\x20root", Label("my root".into())),
            ("PARTUUID=64c2e6a0-01", PartUuid("64c2e6a0-01".into())),
            ("PARTLABEL='boot'", PartLabel("boot".into())),
            ("/dev/disk/by-id/ata-X-part1", Path("/dev/disk/by-id/ata-X-part1".into())),
            ("/dev/mapper/www-root", Path("/dev/mapper/www-root".into())),
            ("tmpfs", Other("tmpfs".into())),
            ("server:/export", Other("server:/export".into())),
        ];
        for (field, spec) in cases {
            assert_eq!(DeviceSpec::parse(field), spec, "{field}");
        }
    }
}
