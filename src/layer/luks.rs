//! LUKS: what cryptsetup says of a container, and the commands that make, open and close the mirror's.

use crate::layout::{Content, Keyslot, Luks, Pbkdf};
use crate::step::{Input, Invocation};
use crate::units::{Bytes, MIB, Sectors};
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
    if field(dump, "Requirements").is_some_and(|all| all.contains("reencrypt")) {
        return Some("an encrypted container in the middle of a re-encryption");
    }
    let [(kind, segment)] = segments.as_slice() else {
        return Some("an encrypted container with more than one data segment");
    };
    if field(dump, "Requirements").is_some() {
        Some("an encrypted container that demands what this version does not know")
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

/// A slot that is `luks2 (unbound)` opens nothing, and is left out.
fn luks2(path: &str, dump: &str) -> Result<Luks> {
    let segments = blocks(dump, "Data segments:");
    let (_, segment) = segments.first().context("there is no data segment")?;
    let slots: Vec<_> =
        blocks_numbered(dump, "Keyslots:").into_iter().filter(|(_, kind, _)| kind == "luks2").collect();
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

// -- making

/// Formats `device` as `like` was: type, cipher, key size, hash, sector size, and the PBKDF and cost of one of its
/// slots, never above. The passphrase comes on stdin.
pub fn format(
    device: &str,
    uuid: &str,
    like: &Luks,
    pbkdf: &Pbkdf,
    label: Option<&str>,
    sector: u32,
) -> Invocation {
    let mut args: Vec<String> = ["luksFormat", "--batch-mode"].map(String::from).into();
    let mut option = |name: &str, value: String| args.extend([name.to_owned(), value]);
    option("--type", format!("luks{}", like.version));
    option("--uuid", uuid.to_owned());
    option("--cipher", like.cipher.clone());
    option("--key-size", like.key_bits.to_string());
    option("--hash", like.hash.clone());
    if like.version >= 2 {
        option("--sector-size", sector.to_string());
        if let Some(label) = label {
            option("--label", label.to_owned());
        }
    }
    if like.data_offset != usual_data_offset(like.version) {
        option("--offset", (like.data_offset.0 / 512).to_string());
    }
    args.extend(cost(like.version, pbkdf));
    args.extend(["--key-file", "-", device].map(String::from));
    Invocation::new("cryptsetup", args).reading(Input::Passphrase)
}

/// Adds the key file's slot, at the same cost as the passphrase's.
pub fn add_key(device: &str, key_file: &str, version: u8, pbkdf: &Pbkdf) -> Invocation {
    let mut args: Vec<String> = ["luksAddKey", "--batch-mode"].map(String::from).into();
    if let Pbkdf::Pbkdf2 { hash, .. } = pbkdf {
        args.extend(["--hash".to_owned(), hash.clone()]);
    }
    args.extend(cost(version, pbkdf));
    args.extend(["--key-file", "-", device, key_file].map(String::from));
    Invocation::new("cryptsetup", args).reading(Input::Passphrase)
}

/// Opens a container with its key file, or with the passphrase on stdin.
pub fn open(device: &str, mapper: &str, key_file: Option<&str>, discard: bool) -> Invocation {
    let mut args = vec!["open", "--type", "luks"];
    if discard {
        args.push("--allow-discards");
    }
    args.extend(["--key-file", key_file.unwrap_or("-"), device, mapper]);
    let input = if key_file.is_some() { Input::Nothing } else { Input::Passphrase };
    Invocation::new("cryptsetup", args).reading(input)
}

/// Closes a container.
pub fn close(mapper: &str) -> Invocation {
    Invocation::new("cryptsetup", ["close", mapper])
}

/// Tests the passphrase on stdin against a container, opening nothing. With `--verbose` cryptsetup names the slot.
pub fn test_passphrase(device: &str) -> Invocation {
    Invocation::new(
        "cryptsetup",
        ["open", "--verbose", "--test-passphrase", "--type", "luks", "--key-file", "-", device],
    )
    .reading(Input::Passphrase)
}

/// The slot that a successful test names: `Key slot 0 unlocked.`
pub fn unlocked_slot(said: &str) -> Option<u32> {
    let rest = &said[said.find("Key slot ")? + "Key slot ".len()..];
    rest.split_once(" unlocked")?.0.parse().ok()
}

/// cryptsetup's own defaults: 16 MiB of LUKS2 header (cryptsetup 2.1 and later), 2 MiB for LUKS1.
fn usual_data_offset(version: u8) -> Bytes {
    if version >= 2 { Bytes(16 * MIB) } else { Bytes(2 * MIB) }
}

fn cost(version: u8, pbkdf: &Pbkdf) -> Vec<String> {
    let mut args = Vec::new();
    let mut option = |name: &str, value: String| args.extend([name.to_owned(), value]);
    match pbkdf {
        Pbkdf::Pbkdf2 { iterations, .. } => {
            if version >= 2 {
                option("--pbkdf", "pbkdf2".into());
            }
            option("--pbkdf-force-iterations", iterations.to_string());
        }
        Pbkdf::Argon2 { variant, time, memory_kib, lanes } => {
            option("--pbkdf", variant.clone());
            option("--pbkdf-force-iterations", time.to_string());
            option("--pbkdf-memory", memory_kib.to_string());
            option("--pbkdf-parallel", lanes.to_string());
        }
    }
    args
}

#[cfg(test)]
mod tests {
    use super::*;

    // Real headers, made with cryptsetup 2.6.1 in files.
    const LUKS1: &str = include_str!("samples/luksDump.luks1-cryptsetup-2.6");
    const PBKDF2: &str = include_str!("samples/luksDump.luks2-pbkdf2-cryptsetup-2.6");
    const ARGON2ID: &str = include_str!("samples/luksDump.luks2-argon2id-cryptsetup-2.6");
    const REENCRYPTING: &str = include_str!("samples/luksDump.luks2-reencrypting-cryptsetup-2.6");

    fn pbkdf2(number: u32, iterations: u32) -> Keyslot {
        Keyslot { number, pbkdf: Pbkdf::Pbkdf2 { hash: "sha256".into(), iterations } }
    }

    fn argon2(number: u32, variant: &str, time: u32, memory_kib: u32, lanes: u32) -> Keyslot {
        Keyslot { number, pbkdf: Pbkdf::Argon2 { variant: variant.into(), time, memory_kib, lanes } }
    }

    #[test]
    fn a_luks1_header_is_read_with_its_slots_in_use() {
        let luks = parse("/dev/sda5", LUKS1).expect("it is cryptsetup's");
        assert_eq!((luks.version, luks.uuid.as_str()), (1, "acf131cb-1d69-4a57-ad91-649aea3437ae"));
        assert_eq!(
            (luks.cipher.as_str(), luks.key_bits, luks.hash.as_str()),
            ("aes-xts-plain64", 512, "sha256")
        );
        assert_eq!((luks.sector_size, luks.data_offset, luks.label), (512, Bytes::mib(2), None));
        assert_eq!(luks.keyslots, [pbkdf2(0, 1000), pbkdf2(1, 2000), pbkdf2(5, 3000)]);
        assert_eq!(peculiarity(LUKS1), None);
    }

    #[test]
    fn a_luks2_header_is_read_with_every_kind_of_key_derivation() {
        let luks = parse("/dev/sda5", PBKDF2).expect("it is cryptsetup's");
        assert_eq!((luks.version, luks.uuid.as_str()), (2, "c46caf2b-80e0-450a-963e-023041f5f320"));
        assert_eq!(
            (luks.cipher.as_str(), luks.key_bits, luks.hash.as_str()),
            ("aes-xts-plain64", 512, "sha256")
        );
        assert_eq!((luks.sector_size, luks.data_offset), (4096, Bytes::mib(16)));
        assert_eq!(luks.label.as_deref(), Some("my label"));
        assert_eq!(luks.keyslots, [pbkdf2(0, 1000), argon2(3, "argon2i", 5, 32_768, 1)]);
        let luks = parse("/dev/sda5", ARGON2ID).expect("it is cryptsetup's");
        assert_eq!((luks.label, luks.keyslots), (None, vec![argon2(0, "argon2id", 4, 65_536, 2)]));
        assert_eq!((peculiarity(PBKDF2), peculiarity(ARGON2ID)), (None, None));
    }

    #[test]
    fn what_is_no_plain_container_is_named() {
        let named = |dump: &str| peculiarity(dump).expect("it is peculiar");
        assert!(named(REENCRYPTING).ends_with("re-encryption"));
        let segment = "\tsector: 4096 [bytes]\n";
        assert!(
            named(&PBKDF2.replace(segment, &format!("{segment}\tintegrity: hmac(sha256)\n")))
                .contains("integrity")
        );
        assert!(named(&PBKDF2.replace("0: crypt", "0: hw-opal-crypt")).contains("hardware"));
    }

    #[test]
    fn a_container_with_a_key_slot_that_opens_nothing_does_not_list_it() {
        let luks = parse("/dev/sda5", REENCRYPTING).expect("it is cryptsetup's");
        assert_eq!(luks.keyslots, [pbkdf2(0, 1000)]);
    }

    #[test]
    fn a_dump_that_lacks_something_is_an_error_that_names_the_device() {
        for (from, to) in
            [("Version:", "Vers"), ("UUID:", "ID"), ("cipher:", "c"), ("PBKDF:", "K"), ("2", "x")]
        {
            let error = parse("/dev/sda5", &PBKDF2.replace(from, to)).expect_err(from);
            assert!(format!("{error:#}").contains("/dev/sda5"), "{error:#}");
        }
    }

    #[test]
    fn the_status_tells_whether_discards_pass() {
        // cryptsetup 2.6.1.
        let status = "/dev/mapper/vda5_crypt is active and is in use.\n  type:    LUKS2\n  device:  /dev/vda5\n  \
                      mode:    read/write\n  flags:   discards \n";
        let open = Status { device: Some("/dev/vda5".into()), discard: true };
        assert_eq!(parse_status(status), open);
        assert!(!parse_status(&status.replace("discards", "no_read_workqueue")).discard);
        assert!(!parse_status("/dev/mapper/x is inactive.\n").discard);
    }
}

#[cfg(test)]
mod making {
    use super::*;
    use crate::layout::Content;

    fn primary() -> Luks {
        Luks {
            path: "/dev/sda5".into(),
            version: 2,
            uuid: "old".into(),
            label: None,
            cipher: "aes-xts-plain64".into(),
            key_bits: 512,
            hash: "sha256".into(),
            sector_size: 512,
            data_offset: Bytes::mib(16),
            keyslots: vec![],
            mapper: None,
            discard: false,
            content: Content::Empty,
        }
    }

    #[test]
    fn a_container_is_made_as_the_primarys_and_the_passphrase_is_in_no_argument() {
        let argon = Pbkdf::Argon2 { variant: "argon2id".into(), time: 4, memory_kib: 65536, lanes: 1 };
        let format = format("/dev/sdb5", "new", &primary(), &argon, None, 4096);
        assert_eq!(
            format.to_string(),
            "cryptsetup luksFormat --batch-mode --type luks2 --uuid new --cipher aes-xts-plain64 --key-size 512 \
             --hash sha256 --sector-size 4096 --pbkdf argon2id --pbkdf-force-iterations 4 --pbkdf-memory 65536 \
             --pbkdf-parallel 1 --key-file - /dev/sdb5   # the passphrase on stdin"
        );
        assert_eq!(format.input, Input::Passphrase);
    }

    #[test]
    fn the_slot_that_opened_is_read_from_what_cryptsetup_says() {
        assert_eq!(
            unlocked_slot("No usable token is available.\nKey slot 3 unlocked.\nCommand successful.\n"),
            Some(3)
        );
        assert_eq!(unlocked_slot("No key available with this passphrase.\n"), None);
    }
}
