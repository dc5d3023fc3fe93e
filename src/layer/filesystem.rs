//! File systems: what their tools say of how they were made, and the commands that make the mirror's alike.

use crate::layout::{FsKind, FsParameters};
use crate::step::Invocation;

// -- making

/// Features of ext2/3/4 that mke2fs makes on request (mke2fs(8), ext4(5)). What dumpe2fs lists beyond these is a
/// state (`needs_recovery`, `orphan_present`), not a property.
const EXT_FEATURES: [&str; 33] = [
    "64bit",
    "bigalloc",
    "casefold",
    "dir_index",
    "dir_nlink",
    "ea_inode",
    "encrypt",
    "ext_attr",
    "extent",
    "extra_isize",
    "fast_commit",
    "filetype",
    "flex_bg",
    "has_journal",
    "huge_file",
    "inline_data",
    "large_dir",
    "large_file",
    "meta_bg",
    "metadata_csum",
    "metadata_csum_seed",
    "mmp",
    "orphan_file",
    "project",
    "quota",
    "resize_inode",
    "sparse_super",
    "sparse_super2",
    "stable_inodes",
    "uninit_bg",
    "verity",
    "imagic_inodes",
    "journal_dev",
];

/// Where mkfs.xfs takes what xfs_info prints: section and key there, option and sub-option here.
const XFS_SETTINGS: [(&str, &str, &str, &str); 13] = [
    ("meta-data", "crc", "-m", "crc"),
    ("meta-data", "finobt", "-m", "finobt"),
    ("meta-data", "rmapbt", "-m", "rmapbt"),
    ("meta-data", "reflink", "-m", "reflink"),
    ("meta-data", "bigtime", "-m", "bigtime"),
    ("meta-data", "inobtcount", "-m", "inobtcount"),
    ("meta-data", "isize", "-i", "size"),
    ("meta-data", "sparse", "-i", "sparse"),
    ("meta-data", "nrext64", "-i", "nrext64"),
    ("meta-data", "exchange", "-i", "exchange"),
    ("data", "imaxpct", "-i", "maxpct"),
    ("data", "bsize", "-b", "size"),
    ("naming", "bsize", "-n", "size"),
];

/// What a new file system is given of its own.
#[derive(Debug, Clone, Copy)]
pub struct New<'a> {
    /// The node.
    pub device: &'a str,
    /// Its UUID; for FAT the serial number, eight hexadecimal digits.
    pub uuid: &'a str,
    /// Its label.
    pub label: Option<&'a str>,
    /// The logical sector size of what it lies on, dm-crypt's included: no block may be smaller.
    pub sector_size: u32,
}

/// Makes a file system of `kind` as `like` was made.
pub fn make(kind: FsKind, like: &FsParameters, new: New<'_>) -> Invocation {
    match like {
        FsParameters::Ext { .. } => make_ext(kind, like, new),
        FsParameters::Xfs { settings } => make_xfs(settings, new),
        FsParameters::Vfat { bits } => make_vfat(*bits, new),
    }
}

fn make_ext(kind: FsKind, like: &FsParameters, new: New<'_>) -> Invocation {
    let FsParameters::Ext { block_size, inode_size, inodes, blocks, reserved_blocks, features, .. } = like
    else {
        unreachable!("called for ext only")
    };
    let features: Vec<&str> =
        features.iter().map(String::as_str).filter(|f| EXT_FEATURES.contains(f)).collect();
    let reserved = 100.0 * *reserved_blocks as f64 / (*blocks).max(1) as f64;
    let mut args: Vec<String> = ["-q", "-F", "-t", kind.name()].map(String::from).into();
    let mut option = |name: &str, value: String| args.extend([name.to_owned(), value]);
    option("-O", format!("none,{}", features.join(",")));
    option("-b", (*block_size).max(new.sector_size).to_string());
    option("-I", inode_size.to_string());
    option("-N", inodes.to_string());
    option("-m", format!("{reserved:.2}"));
    option("-U", new.uuid.to_owned());
    if let Some(label) = new.label {
        option("-L", label.to_owned());
    }
    args.push(new.device.to_owned());
    Invocation::new("mke2fs", args)
}

fn make_xfs(settings: &[(String, String, String)], new: New<'_>) -> Invocation {
    let mut args: Vec<String> = ["-q", "-f", "-m"].map(String::from).into();
    args.push(format!("uuid={}", new.uuid));
    for (section, key, option, name) in XFS_SETTINGS {
        if let Some((.., value)) = settings.iter().find(|(s, k, _)| s == section && k == key) {
            args.extend([option.to_owned(), format!("{name}={value}")]);
        }
    }
    let sector = settings.iter().find(|(s, k, _)| s == "meta-data" && k == "sectsz");
    let sector = sector.and_then(|(.., value)| value.parse().ok()).unwrap_or(512).max(new.sector_size);
    args.extend(["-s".into(), format!("size={sector}")]);
    if let Some(label) = new.label {
        args.extend(["-L".into(), label.to_owned()]);
    }
    args.push(new.device.to_owned());
    Invocation::new("mkfs.xfs", args)
}

fn make_vfat(bits: u8, new: New<'_>) -> Invocation {
    let mut args = vec!["-F".to_owned(), bits.to_string(), "-i".into(), new.uuid.to_owned()];
    if let Some(label) = new.label {
        args.extend(["-n".into(), label.to_owned()]);
    }
    args.push(new.device.to_owned());
    Invocation::new("mkfs.vfat", args)
}

#[cfg(test)]
mod making {
    use super::*;

    const NEW: New<'_> = New { device: "/dev/sdb1", uuid: "u", label: Some("boot-m"), sector_size: 4096 };

    #[test]
    fn ext_keeps_inodes_and_features_but_no_state_and_no_block_below_the_sector() {
        let like = FsParameters::Ext {
            block_size: 1024,
            inode_size: 128,
            inodes: 65_536,
            inodes_used: 11,
            blocks: 262_144,
            reserved_blocks: 13_107,
            features: ["has_journal", "ext_attr", "filetype", "needs_recovery"].map(String::from).into(),
        };
        assert_eq!(
            make(FsKind::Ext3, &like, NEW).to_string(),
            "mke2fs -q -F -t ext3 -O none,has_journal,ext_attr,filetype -b 4096 -I 128 -N 65536 -m 5.00 -U u \
             -L boot-m /dev/sdb1"
        );
    }

    #[test]
    fn xfs_keeps_what_xfs_info_tells_and_grows_its_sectors() {
        let setting = |s: &str, k: &str, v: &str| (s.to_owned(), k.to_owned(), v.to_owned());
        let settings = vec![
            setting("meta-data", "sectsz", "512"),
            setting("meta-data", "crc", "1"),
            setting("meta-data", "isize", "512"),
            setting("data", "bsize", "4096"),
            setting("naming", "bsize", "4096"),
        ];
        assert_eq!(
            make(FsKind::Xfs, &FsParameters::Xfs { settings }, NEW).to_string(),
            "mkfs.xfs -q -f -m uuid=u -m crc=1 -i size=512 -b size=4096 -n size=4096 -s size=4096 -L boot-m /dev/sdb1"
        );
    }
}
