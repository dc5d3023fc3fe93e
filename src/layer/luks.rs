//! Encrypted containers: what `cryptsetup luksDump` and `cryptsetup status` say. The dump's text is read, for LUKS1
//! and LUKS2 alike: the JSON metadata exists for LUKS2 only, from cryptsetup 2.4 on, and lacks UUID and label.

use crate::layout::{Content, Keyslot, Luks, Pbkdf};
use crate::units::{Bytes, Sectors};
use anyhow::{Context, Result, bail};

/// LUKS1 encrypts in sectors of 512 bytes and counts its payload offset in them, whatever the disk has.
const LUKS1_SECTOR: u32 = 512;

/// How a container is open: `cryptsetup status NAME`.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct Status {
    /// The node below the mapping.
    pub device: Option<String>,
    /// Whether discards pass through.
    pub discard: bool,
}

/// The container on `path`, closed, from its dump.
///
/// # Errors
/// If the text is not luksDump's, or lacks what every container has.
pub fn parse(path: &str, dump: &str) -> Result<Luks> {
    let version: u8 = field(dump, "Version").and_then(|v| v.parse().ok()).unwrap_or(0);
    let luks = match version {
        1 => luks1(path, dump),
        2 => luks2(path, dump),
        _ => bail!("cannot read what cryptsetup luksDump said of {path}: no version"),
    };
    luks.with_context(|| format!("cannot read what cryptsetup luksDump said of {path}"))
}

/// What makes a container one that cannot be mirrored yet: a re-encryption under way, integrity, hardware encryption.
pub fn peculiarity(dump: &str) -> Option<&'static str> {
    if field(dump, "Version") != Some("2") {
        return None;
    }
    let segments: Vec<_> = blocks(dump, "Data segments:");
    let [(kind, segment)] = segments.as_slice() else {
        return Some("an encrypted container in the middle of a re-encryption");
    };
    if field(dump, "Requirements").is_some() {
        Some("an encrypted container with requirements of its own (a re-encryption under way?)")
    } else if field(segment, "integrity").is_some() {
        Some("an encrypted container with integrity protection")
    } else if kind != "crypt" {
        Some("a container encrypted by the disk's own hardware")
    } else {
        None
    }
}

/// What `cryptsetup status` says.
pub fn parse_status(text: &str) -> Status {
    let flags = field(text, "flags").or_else(|| field(text, "properties")).unwrap_or_default();
    Status {
        device: field(text, "device").map(str::to_owned),
        discard: flags.split([' ', ',']).any(|flag| flag == "discards"),
    }
}

fn luks1(path: &str, dump: &str) -> Result<Luks> {
    let hash = required(dump, "Hash spec")?;
    let slots = dump.split("\nKey Slot ").skip(1).filter(|slot| slot.contains(": ENABLED"));
    let keyslots = slots.map(|slot| {
        let number = slot.split(':').next().unwrap_or_default().trim();
        let pbkdf =
            Pbkdf::Pbkdf2 { hash: hash.to_owned(), iterations: number_in(slot, "Iterations")? as u32 };
        Ok(Keyslot { number: number.parse()?, pbkdf })
    });
    Ok(Luks {
        path: path.to_owned(),
        version: 1,
        uuid: required(dump, "UUID")?.to_owned(),
        label: None,
        cipher: format!("{}-{}", required(dump, "Cipher name")?, required(dump, "Cipher mode")?),
        key_bits: number_in(dump, "MK bits")? as u32,
        hash: hash.to_owned(),
        sector_size: LUKS1_SECTOR,
        data_offset: Sectors(number_in(dump, "Payload offset")?).bytes(LUKS1_SECTOR),
        keyslots: keyslots.collect::<Result<_>>()?,
        mapper: None,
        discard: false,
        content: Content::Empty,
    })
}

fn luks2(path: &str, dump: &str) -> Result<Luks> {
    let segments = blocks(dump, "Data segments:");
    let (_, segment) = segments.first().context("there is no data segment")?;
    let slots: Vec<_> = blocks_numbered(dump, "Keyslots:")
        .into_iter()
        .filter(|(_, kind, _)| kind.starts_with("luks2"))
        .collect();
    let (_, _, slot) = slots.first().context("there is no key slot")?;
    let label = field(dump, "Label").filter(|label| *label != "(no label)");
    let keyslots = slots.iter().map(|(number, _, slot)| Ok(Keyslot { number: *number, pbkdf: pbkdf(slot)? }));
    Ok(Luks {
        path: path.to_owned(),
        version: 2,
        uuid: required(dump, "UUID")?.to_owned(),
        label: label.map(str::to_owned),
        cipher: required(segment, "cipher")?.to_owned(),
        key_bits: number_in(slot, "Key")? as u32,
        hash: required(slot, "AF hash")?.to_owned(),
        sector_size: number_in(segment, "sector")? as u32,
        data_offset: Bytes(number_in(segment, "offset")?),
        keyslots: keyslots.collect::<Result<_>>()?,
        mapper: None,
        discard: false,
        content: Content::Empty,
    })
}

fn pbkdf(slot: &str) -> Result<Pbkdf> {
    Ok(match required(slot, "PBKDF")? {
        "pbkdf2" => Pbkdf::Pbkdf2 {
            hash: required(slot, "Hash")?.to_owned(),
            iterations: number_in(slot, "Iterations")? as u32,
        },
        variant @ ("argon2i" | "argon2id") => Pbkdf::Argon2 {
            variant: variant.to_owned(),
            time: number_in(slot, "Time cost")? as u32,
            memory_kib: number_in(slot, "Memory")? as u32,
            lanes: number_in(slot, "Threads")? as u32,
        },
        other => bail!("the key derivation {other:?} is not known"),
    })
}

/// The value behind `key:`; the first, if there are several.
fn field<'a>(text: &'a str, key: &str) -> Option<&'a str> {
    let value = text.lines().find_map(|line| line.trim_start().strip_prefix(key)?.strip_prefix(':'))?;
    Some(value.trim()).filter(|value| !value.is_empty())
}

fn required<'a>(text: &'a str, key: &str) -> Result<&'a str> {
    field(text, key).with_context(|| format!("there is no {key:?}"))
}

/// The number behind `key:`, without its unit.
fn number_in(text: &str, key: &str) -> Result<u64> {
    let value = required(text, key)?;
    let digits = value.split_whitespace().next().unwrap_or_default();
    digits.parse().with_context(|| format!("{key:?} is {value:?}"))
}

/// The blocks below a heading of a LUKS2 dump: `  0: luks2`, and the lines that belong to it.
fn blocks(dump: &str, heading: &str) -> Vec<(String, String)> {
    blocks_numbered(dump, heading).into_iter().map(|(_, kind, text)| (kind, text)).collect()
}

fn blocks_numbered(dump: &str, heading: &str) -> Vec<(u32, String, String)> {
    let mut found: Vec<(u32, String, String)> = Vec::new();
    let body = dump.lines().skip_while(|line| *line != heading).skip(1);
    for line in body.take_while(|line| line.is_empty() || line.starts_with([' ', '\t'])) {
        let head = line.strip_prefix("  ").filter(|line| !line.starts_with([' ', '\t']));
        match head.and_then(|line| line.split_once(": ")) {
            Some((number, kind)) if number.parse::<u32>().is_ok() => {
                found.push((number.parse().unwrap_or_default(), kind.trim().to_owned(), String::new()));
            }
            _ => found.iter_mut().last().into_iter().for_each(|(_, _, text)| *text += &format!("{line}\n")),
        }
    }
    found
}
