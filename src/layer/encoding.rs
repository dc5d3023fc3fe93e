//! Texts of a system's administrator in whatever encoding they were written (a comment in ISO 8859-1 of ten years ago): as a
//! string, and back without losing a byte.

/// Stands for the byte 0 (of the private use area, like the other 255 behind it). Where a text has such a character itself, its
/// bytes are told apart too.
const FIRST: u32 = 0x0010_ff00;

/// The bytes as a text: what is no UTF-8 becomes characters that stand for its bytes.
///
/// ```
/// use diskmirror::layer::encoding;
///
/// let latin = b"# Datentr\xe4ger\nUUID=\xc3\xa4 / ext4\n";
/// assert!(encoding::text(latin).ends_with("UUID=\u{e4} / ext4\n"));
/// assert_eq!(encoding::bytes(&encoding::text(latin)), latin);
/// ```
pub fn text(bytes: &[u8]) -> String {
    let mut text = String::with_capacity(bytes.len());
    for chunk in bytes.utf8_chunks() {
        for char in chunk.valid().chars() {
            match stands_for(char) {
                None => text.push(char),
                Some(_) => char.encode_utf8(&mut [0; 4]).bytes().for_each(|byte| text.push(stand_in(byte))),
            }
        }
        text.extend(chunk.invalid().iter().map(|byte| stand_in(*byte)));
    }
    text
}

/// The bytes that `text` was made of.
pub fn bytes(text: &str) -> Vec<u8> {
    let mut bytes = Vec::with_capacity(text.len());
    for char in text.chars() {
        match stands_for(char) {
            Some(byte) => bytes.push(byte),
            None => bytes.extend(char.encode_utf8(&mut [0; 4]).bytes()),
        }
    }
    bytes
}

fn stand_in(byte: u8) -> char {
    char::from_u32(FIRST + u32::from(byte)).unwrap_or(char::REPLACEMENT_CHARACTER)
}

fn stands_for(char: char) -> Option<u8> {
    u32::from(char).checked_sub(FIRST).and_then(|byte| u8::try_from(byte).ok())
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;

    #[test]
    fn a_text_in_utf_8_is_itself() {
        assert_eq!(text("Datenträger /srv 中".as_bytes()), "Datenträger /srv 中");
    }

    #[test]
    fn a_stand_in_that_was_there_before_comes_out_as_it_went_in() {
        let odd = "a\u{10ff41}b\u{10ffff}".as_bytes();
        assert_eq!(bytes(&text(odd)), odd);
    }

    proptest! {
        #[test]
        fn no_byte_is_lost(all in prop::collection::vec(any::<u8>(), 0..64)) {
            prop_assert_eq!(bytes(&text(&all)), all);
        }
    }
}
