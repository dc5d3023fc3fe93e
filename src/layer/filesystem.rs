//! File systems: how they were made, from `dumpe2fs -h`, `xfs_info` and blkid's version of a FAT.

use crate::layout::FsParameters;
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
