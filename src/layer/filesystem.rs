//! File systems: what their tools say of how they were made, and the commands that make the mirror's alike.

use crate::layout::{FsKind, FsParameters};
use crate::step::Invocation;
use anyhow::{Context, Result};

/// Features that say in what state a file system is, not how it was made: mounted, or with orphans to clean up.
const STATES: [&str; 2] = ["needs_recovery", "orphan_present"];

/// The parameters in `dumpe2fs -h`'s text.
///
/// # Errors
/// If a line that every ext file system has is missing.
pub fn parse_ext(text: &str) -> Result<FsParameters> {
    let number = |key: &str| -> Result<u64> {
        let value = ext_field(text, key).with_context(|| format!("dumpe2fs said nothing of {key:?}"))?;
        value.parse().with_context(|| format!("dumpe2fs says {key:?} is {value:?}"))
    };
    let inodes = number("Inode count")?;
    Ok(FsParameters::Ext {
        block_size: number("Block size")? as u32,
        inode_size: number("Inode size")? as u32,
        inodes,
        inodes_used: inodes.saturating_sub(number("Free inodes")?),
        blocks: number("Block count")?,
        reserved_blocks: number("Reserved block count")?,
        features: ext_field(text, "Filesystem features")
            .context("dumpe2fs said nothing of the features")?
            .split_whitespace()
            .filter(|feature| !STATES.contains(feature))
            .map(str::to_owned)
            .collect(),
    })
}

fn ext_field<'a>(text: &'a str, key: &str) -> Option<&'a str> {
    text.lines().find_map(|line| Some(line.strip_prefix(key)?.strip_prefix(':')?.trim()))
}

/// The settings in `xfs_info`'s text, in its order. The word that stands right behind a section (`internal log`,
/// `none`) has no key of its own and gets the empty one; the device's name is left out: it is no setting.
///
/// # Errors
/// If there is no setting in it.
pub fn parse_xfs(text: &str) -> Result<FsParameters> {
    let mut settings = Vec::new();
    let mut section = "";
    for line in text.lines() {
        let Some((head, rest)) = line.split_once('=') else { continue };
        section = Some(head.trim()).filter(|head| !head.is_empty()).unwrap_or(section);
        let (word, pairs) = split_pairs(rest);
        if !word.is_empty() && section != "meta-data" {
            settings.push((section.to_owned(), String::new(), word));
        }
        settings.extend(pairs.into_iter().map(|(key, value)| (section.to_owned(), key, value)));
    }
    anyhow::ensure!(!settings.is_empty(), "xfs_info said nothing of the file system");
    Ok(FsParameters::Xfs { settings })
}

/// `internal log   bsize=4096   blocks=16384, version=2` → the words before the pairs, and the pairs.
fn split_pairs(text: &str) -> (String, Vec<(String, String)>) {
    let is_pair = |word: &&str| word.contains('=');
    let words: Vec<&str> = text.split_whitespace().collect();
    let head: Vec<&str> = words.iter().copied().take_while(|word| !is_pair(word)).collect();
    let pairs = words.iter().filter_map(|word| word.trim_end_matches(',').split_once('='));
    (head.join(" "), pairs.map(|(key, value)| (key.to_owned(), value.to_owned())).collect())
}

/// The parameters of a FAT from blkid's version: `FAT32`.
///
/// # Errors
/// If the version is another.
pub fn parse_fat(version: &str) -> Result<FsParameters> {
    let bits = version.strip_prefix("FAT").and_then(|bits| bits.parse().ok());
    let bits = bits.with_context(|| format!("blkid calls this FAT {version:?}"))?;
    Ok(FsParameters::Vfat { bits })
}

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

/// Makes an ext file system of `kind` as `like` was made, and as large, whatever room there is.
pub fn make_as_large(kind: FsKind, like: &FsParameters, new: New<'_>) -> Invocation {
    let mut made = make(kind, like, new);
    if let FsParameters::Ext { block_size, blocks, .. } = like {
        let made_with = u64::from((*block_size).max(new.sector_size));
        made.args.push((blocks * u64::from(*block_size) / made_with).to_string());
    }
    made
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
mod tests {
    use super::*;

    #[test]
    fn an_ext_superblock_is_read_without_its_state() {
        // dumpe2fs 1.47.0, an ext3 made with -I 128 -b 1024 -N 5000 -m 3; as it reads while mounted.
        let text = "Filesystem volume name:   <none>\nFilesystem features:      has_journal ext_attr needs_recovery \
                    sparse_super\nInode count:              5016\nBlock count:              20480\n\
                    Reserved block count:     614\nFree inodes:              5005\n\
                    Block size:               1024\nInode size:\t          128\n";
        let expected = FsParameters::Ext {
            block_size: 1024,
            inode_size: 128,
            inodes: 5016,
            inodes_used: 11,
            blocks: 20_480,
            reserved_blocks: 614,
            features: ["has_journal", "ext_attr", "sparse_super"].map(str::to_owned).to_vec(),
        };
        assert_eq!(parse_ext(text).expect("it is dumpe2fs'"), expected);
        assert!(parse_ext(&text.replace("Inode size", "Size")).is_err());
    }

    #[test]
    fn xfs_settings_are_read_section_by_section() {
        // xfs_info 6.1.0, two sections left out.
        let text = "meta-data=/dev/vda2              isize=512    agcount=4, agsize=25600 blks\n         =  \
                    crc=1        finobt=1, sparse=1\nlog      =internal log           bsize=4096   blocks=16384\n\
                    realtime =none                   extsz=4096\n";
        let FsParameters::Xfs { settings } = parse_xfs(text).expect("it is xfs_info's") else {
            panic!("XFS")
        };
        let lines: Vec<String> = settings.iter().map(|(s, k, v)| format!("{s} {k}={v}")).collect();
        let expected = "meta-data isize=512, meta-data agcount=4, meta-data agsize=25600, meta-data crc=1, \
                        meta-data finobt=1, meta-data sparse=1, log =internal log, log bsize=4096, \
                        log blocks=16384, realtime =none, realtime extsz=4096";
        assert_eq!(lines.join(", "), expected);
        assert!(parse_xfs("xfs_info: failed").is_err());
    }

    #[test]
    fn a_fat_is_known_by_its_version() {
        assert_eq!(parse_fat("FAT16").expect("it is blkid's"), FsParameters::Vfat { bits: 16 });
        assert!(parse_fat("").is_err());
    }
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
