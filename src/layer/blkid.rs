//! What a device holds, by its own bytes: `blkid -p -o export` reads the device itself, not udev's database.

use super::json::hex_escape;
use std::collections::BTreeMap;

/// The signature on a device; all empty where blkid found none.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct Signature {
    /// `ext4`, `crypto_LUKS`, `LVM2_member`, `swap` …
    pub kind: Option<String>,
    /// Its UUID.
    pub uuid: Option<String>,
    /// Its label.
    pub label: Option<String>,
    /// The format's version: `1.0`, `FAT32`, `LVM2 001`.
    pub version: Option<String>,
    /// The kind of partition table: `dos`, `gpt` …
    pub table: Option<String>,
    /// The partition's GUID, if the device is one.
    pub part_uuid: Option<String>,
    /// The partition's name.
    pub part_label: Option<String>,
    /// Whether blkid found signatures that contradict each other.
    pub ambivalent: bool,
}

impl Signature {
    /// Whether nothing is there that blkid knows.
    pub fn is_none(&self) -> bool {
        self.kind.is_none() && self.table.is_none() && !self.ambivalent
    }
}

/// The line that stands for blkid's exit status 8: signatures that contradict each other.
pub const AMBIVALENT: &str = "AMBIVALENT=1\n";

/// The signature in blkid's export format.
pub fn parse(text: &str) -> Signature {
    let mut values: BTreeMap<&str, String> =
        text.lines().filter_map(|line| line.split_once('=')).map(|(k, v)| (k, unescaped(v))).collect();
    let mut take = |key: &str| values.remove(key).filter(|value| !value.is_empty());
    Signature {
        kind: take("TYPE"),
        uuid: take("UUID"),
        label: take("LABEL"),
        version: take("VERSION"),
        table: take("PTTYPE"),
        part_uuid: take("PART_ENTRY_UUID"),
        part_label: take("PART_ENTRY_NAME"),
        ambivalent: take("AMBIVALENT").is_some(),
    }
}

/// blkid puts a backslash before what a shell would take apart, and writes what is not printable as `\xNN`.
fn unescaped(text: &str) -> String {
    let mut out = Vec::with_capacity(text.len());
    let mut rest = text.as_bytes();
    while let Some((&first, after)) = rest.split_first() {
        let (byte, left) = match (first, hex_escape(rest), after.split_first()) {
            (b'\\', Some(byte), _) => (byte, &rest[4..]),
            (b'\\', None, Some((&next, after))) => (next, after),
            _ => (first, after),
        };
        out.push(byte);
        rest = left;
    }
    String::from_utf8_lossy(&out).into_owned()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn escapes_are_undone() {
        // blkid 2.38.1 on a file system made with -L "ro ot'$x".
        let ext = "DEVNAME=x.img\nLABEL=ro\\ ot\\'\\$x\nUUID=9efd37a0-99bf-472c-ba58-f9506af15967\nVERSION=1.0\n\
                   BLOCK_SIZE=1024\nTYPE=ext4\nUSAGE=filesystem\n";
        let found = parse(ext);
        assert_eq!(found.label.as_deref(), Some("ro ot'$x"));
        assert_eq!(
            (found.kind.as_deref(), found.uuid.as_deref()),
            (Some("ext4"), Some("9efd37a0-99bf-472c-ba58-f9506af15967"))
        );
        assert_eq!(parse("LABEL=a\\x09b\\\\x41\\ \n").label.as_deref(), Some("a\tb\\x41 "));
    }

    #[test]
    fn a_partition_without_content_has_no_signature_but_its_own_names() {
        let found = parse("DEVNAME=/dev/vda1\nPART_ENTRY_SCHEME=dos\nPART_ENTRY_TYPE=0x83\n");
        assert_eq!(found, Signature::default());
        assert_eq!(parse(""), Signature::default());
        let named =
            parse("PART_ENTRY_SCHEME=gpt\nPART_ENTRY_NAME=my\\ films\nPART_ENTRY_UUID=11111111-2222\n");
        let names = (Some("my films".to_owned()), Some("11111111-2222".to_owned()));
        assert_eq!((named.part_label, named.part_uuid, named.kind), (names.0, names.1, None));
    }

    #[test]
    fn a_partition_table_is_told_from_content() {
        let found = parse("DEVNAME=g.img\nPTUUID=1b2c3d4e-0000-4000-8000-0000000000aa\nPTTYPE=gpt\n");
        assert_eq!((found.table.as_deref(), found.kind), (Some("gpt"), None));
        assert!(parse(AMBIVALENT).ambivalent);
    }
}
