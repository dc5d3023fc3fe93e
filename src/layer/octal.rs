//! The `\040` escapes of /proc/swaps and of the fields of fstab and crypttab (getmntent(3)): a space, a tab, a
//! newline, a backslash or a `#` within a field is written as three octal digits.

/// `field` with `\NNN` read as the byte it stands for.
pub fn unescaped(field: &str) -> String {
    let mut out = Vec::with_capacity(field.len());
    let mut rest = field.as_bytes();
    while let Some((&first, after)) = rest.split_first() {
        let (byte, left) = octal(rest).map_or((first, after), |byte| (byte, &rest[4..]));
        out.push(byte);
        rest = left;
    }
    String::from_utf8_lossy(&out).into_owned()
}

/// `text` as a field.
pub fn escaped(text: &str) -> String {
    let mut out = String::with_capacity(text.len());
    for c in text.chars() {
        match c {
            ' ' | '\t' | '\n' | '\r' | '\\' | '#' => out += &format!("\\{:03o}", c as u32),
            c => out.push(c),
        }
    }
    out
}

/// The byte that `\NNN` at the start of `bytes` stands for.
fn octal(bytes: &[u8]) -> Option<u8> {
    let digits = bytes.strip_prefix(b"\\")?.get(..3)?;
    u8::from_str_radix(std::str::from_utf8(digits).ok()?, 8).ok()
}

#[cfg(test)]
mod tests {
    use super::{escaped, unescaped};

    #[test]
    fn what_would_break_a_field_is_written_in_octal_and_read_back() {
        assert_eq!(escaped("/srv/my disk#1\\"), r"/srv/my\040disk\0431\134");
        for text in ["/srv/my disk#1\\", "größe\t", r"\040"] {
            assert_eq!(unescaped(&escaped(text)), text);
        }
        assert_eq!(unescaped(r"\04\999\777"), r"\04\999\777");
    }
}
