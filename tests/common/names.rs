//! Names that have broken programs, and how to show them.

use super::rng::Rng;
use std::ffi::OsString;
use std::os::unix::ffi::OsStringExt;

/// A name for the entry number `n` of a tree; every fourth is an odd one.
pub fn name(rng: &mut Rng, n: u64) -> OsString {
    let odd: [&[u8]; 15] = [
        b"\xff\xfe not utf-8 \xe9",
        b"new\nline",
        b"-rf",
        b" lead and trail ",
        b"*",
        b"[a]?",
        b"back\\slash",
        b"#hash",
        b"\x01\x7fcontrol",
        "ünïcødé".as_bytes(),
        b".hidden",
        b"...",
        b"trailing~",
        b".file.XXXXXX",
        b"%n $HOME `id`",
    ];
    let mut bytes = match rng.below(8) {
        0 => rng.pick(&odd).to_vec(),
        1 => vec![b'x'; 255],
        _ => vec![*rng.pick(b"abcxyzABC_"); rng.range(1, 9) as usize],
    };
    let number = n.to_string().into_bytes();
    bytes.truncate(255 - number.len());
    bytes.extend(number);
    OsString::from_vec(bytes)
}

/// A path as text that shows every byte.
pub fn shown(path: &[u8]) -> String {
    path.escape_ascii().to_string()
}

/// The bytes of a path as `sync --dry-run` writes it: `\\` for a backslash, three octal digits for what cannot be
/// printed. `None` for what it never writes.
pub fn read_back(text: &str) -> Option<Vec<u8>> {
    let mut bytes = Vec::new();
    let mut rest = text.bytes().peekable();
    while let Some(byte) = rest.next() {
        if byte != b'\\' {
            bytes.push(byte);
        } else if rest.next_if_eq(&b'\\').is_some() {
            bytes.push(b'\\');
        } else {
            let digits = [rest.next()?, rest.next()?, rest.next()?];
            bytes.push(u8::from_str_radix(std::str::from_utf8(&digits).ok()?, 8).ok()?);
        }
    }
    Some(bytes)
}
