//! /etc/crypttab for the mirror: its own containers, opened by passphrase. The key file that opens the mirror
//! unattended lies on the primary only, and what unlocks the primary's container (a token, a script, a detached
//! header) does not unlock the mirror's.

use super::fstab::gives_way;
use super::rows::{self, Row};
use super::text::{Devices, Spellings};
use crate::identity::Kind;
use crate::layer::octal::{escaped, unescaped};

/// The mirror's crypttab; the same inside an initramfs.
pub(super) fn rewrite(text: &str, spellings: &Spellings) -> String {
    let names: Vec<String> =
        text.lines().filter_map(|line| Some(unescaped(rows::fields(line).first()?))).collect();
    // Beside the primary's container, an administrator may have listed the mirror's: now it is the same line twice.
    let twice = |name: &str| {
        let mut pairs = spellings.map.of(Kind::Mapper);
        pairs.any(|pair| pair.mirror == name && names.contains(&pair.primary))
    };
    rows::rewritten(text, |fields| match twice(&unescaped(fields[0])) {
        true => Row::Drop,
        false => row(fields, spellings),
    })
}

fn row(fields: &[&str], spellings: &Spellings) -> Row {
    let &[name, device, ..] = fields else { return Row::Keep };
    let own = spellings.field(device, Devices::Tags);
    let mapper = spellings.map.get(Kind::Mapper, &unescaped(name));
    let mut new: Vec<String> = fields.iter().map(|field| (*field).to_owned()).collect();
    match mapper {
        Some("") => return Row::Drop,
        Some(mapper) => new[0] = escaped(mapper),
        None if spellings.names_lost(device) => return without_waiting(new),
        None if own == device => return Row::Keep,
        None => {}
    }
    new[1] = own;
    if !fields.get(2).is_some_and(|key| is_random(key)) {
        new.iter_mut().skip(2).take(1).filter(|key| *key != "-").for_each(|key| *key = "none".into());
        new.iter_mut().skip(3).take(1).for_each(|options| *options = own_options(options, spellings));
    }
    Row::Fields(new)
}

/// A container that only the primary has: the boot goes on without it.
fn without_waiting(mut fields: Vec<String>) -> Row {
    let borrowed: Vec<&str> = fields.iter().map(String::as_str).collect();
    if gives_way(&borrowed) {
        return Row::Keep;
    }
    match fields.get_mut(3) {
        Some(options) => *options += ",nofail",
        None => {
            fields.resize(3, "none".into());
            fields.push("nofail".into());
        }
    }
    Row::Fields(fields)
}

/// A new key at every boot: for swap space and /tmp.
fn is_random(key: &str) -> bool {
    matches!(key, "/dev/urandom" | "/dev/random" | "/dev/hwrng")
}

/// The options that hold for the mirror's container too.
fn own_options(options: &str, spellings: &Spellings) -> String {
    let kept: Vec<_> = options.split(',').filter(|option| holds(option)).collect();
    if kept.is_empty() { "luks".into() } else { spellings.field(&kept.join(","), Devices::Paths) }
}

fn holds(option: &str) -> bool {
    let (name, value) = option.split_once('=').unwrap_or((option, ""));
    match name {
        "keyscript" => value.rsplit('/').next() == Some("decrypt_keyctl"),
        "header" | "key-slot" | "keyslot" => false,
        _ => !["tpm2-", "fido2-", "pkcs11-", "keyfile-"].iter().any(|kind| name.starts_with(kind)),
    }
}
