//! LUKS: what cryptsetup says of a container, and the commands that make, open and close the mirror's.

use crate::layout::{Luks, Pbkdf};
use crate::step::{Input, Invocation};
use crate::units::{Bytes, MIB};

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
        Pbkdf::Pbkdf2 { hash, iterations } => {
            if version >= 2 {
                option("--pbkdf", "pbkdf2".into());
            }
            option("--hash", hash.clone());
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
