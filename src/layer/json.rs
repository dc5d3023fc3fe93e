//! The system tools' JSON, as different versions write it: numbers and booleans came as strings before
//! util-linux 2.33, and LVM writes strings to this day. Knows no tool.

use anyhow::{Context, Result};
use serde_json::Value;

/// The array `key` at the top of a tool's JSON `text`; a tool that found nothing may print nothing at all.
///
/// # Errors
/// If it is not JSON, or has no such array.
pub fn rows(text: &str, key: &str) -> Result<Vec<Value>> {
    if text.trim().is_empty() {
        return Ok(Vec::new());
    }
    let mut whole: Value = serde_json::from_str(text)?;
    match whole.get_mut(key).map(Value::take) {
        Some(Value::Array(rows)) => Ok(rows),
        _ => anyhow::bail!("there is no list {key:?} in it"),
    }
}

/// The text of `key`, unescaped and trimmed; none if it is absent, null or blank.
pub fn text(row: &Value, key: &str) -> Option<String> {
    let text = match row.get(key)? {
        Value::String(text) => unescaped(text).trim().to_owned(),
        Value::Number(number) => number.to_string(),
        Value::Bool(truth) => u8::from(*truth).to_string(),
        _ => return None,
    };
    (!text.is_empty()).then_some(text)
}

/// The text of `key`.
///
/// # Errors
/// If there is none.
pub fn required(row: &Value, key: &str) -> Result<String> {
    text(row, key).with_context(|| format!("there is no {key:?} in {row}"))
}

/// The number at `key`, whether it is written `512` or `"512"`.
pub fn number(row: &Value, key: &str) -> Option<u64> {
    text(row, key)?.parse().ok()
}

/// The truth at `key`, whether it is written `true`, `"1"` or `1`; absent is false.
pub fn truth(row: &Value, key: &str) -> bool {
    matches!(text(row, key).as_deref(), Some("1" | "true"))
}

/// `text` with `\xNN` read as the byte it stands for (udev and libblkid write unusual bytes so).
pub fn unescaped(text: &str) -> String {
    let bytes = text.as_bytes();
    let mut out = Vec::with_capacity(bytes.len());
    let mut i = 0;
    while i < bytes.len() {
        match hex_escape(&bytes[i..]) {
            Some(byte) => {
                out.push(byte);
                i += 4;
            }
            None => {
                out.push(bytes[i]);
                i += 1;
            }
        }
    }
    String::from_utf8_lossy(&out).into_owned()
}

/// The byte that `\xNN` at the start of `bytes` stands for.
pub fn hex_escape(bytes: &[u8]) -> Option<u8> {
    let digits = bytes.strip_prefix(br"\x")?.get(..2)?;
    let digit = |byte: u8| char::from(byte).to_digit(16).map(|value| value as u8);
    Some(digit(digits[0])? << 4 | digit(digits[1])?)
}

#[cfg(test)]
mod tests {
    use super::*;
    use serde_json::json;

    #[test]
    fn typed_values_and_strings_are_read_alike() {
        for row in [json!({"size": 512, "ro": true}), json!({"size": "512", "ro": "1"})] {
            assert_eq!((number(&row, "size"), truth(&row, "ro")), (Some(512), true));
        }
        let absent = json!({"size": null, "ro": "0", "model": "  "});
        assert_eq!(
            (number(&absent, "size"), truth(&absent, "ro"), text(&absent, "model")),
            (None, false, None)
        );
    }

    #[test]
    fn hexadecimal_escapes_become_their_bytes() {
        assert_eq!(unescaped(r"Gr\xc3\xb6\xc3\x9fe\x20\x5c\x7"), r"Größe \\x7");
        assert_eq!(unescaped(r"no \xzz, no \x"), r"no \xzz, no \x");
    }

    #[test]
    fn no_output_is_no_rows_and_other_json_is_an_error() {
        assert_eq!(rows(" \n", "filesystems").expect("nothing is fine"), Vec::<Value>::new());
        assert!(rows(r#"{"other": []}"#, "filesystems").is_err());
        assert!(rows("lsblk: failed", "blockdevices").is_err());
    }
}
