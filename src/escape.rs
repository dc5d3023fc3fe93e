//! What comes from a disk as it is shown: nothing in it moves a terminal's cursor, turns the reading direction, hides itself
//! or begins a line of its own.
//!
//! `etc/\x1b[2J` + newline + `error: x` becomes `etc/\033[2J\012error: x`.

use std::borrow::Cow;

/// Bytes as one line, from which they can be had back: backslashes are doubled, and what is not UTF-8 is escaped too.
pub fn bytes(bytes: &[u8]) -> String {
    let mut line = String::with_capacity(bytes.len());
    for chunk in bytes.utf8_chunks() {
        for c in chunk.valid().chars() {
            match c {
                '\\' => line.push_str("\\\\"),
                c if is_harmless(c) => line.push(c),
                c => push_octal(&mut line, c),
            }
        }
        chunk.invalid().iter().for_each(|byte| push_byte(&mut line, *byte));
    }
    line
}

/// A text as one line. What was escaped before stays as it is.
pub fn line(text: &str) -> Cow<'_, str> {
    if text.chars().all(is_harmless) {
        return Cow::Borrowed(text);
    }
    let mut line = String::with_capacity(text.len() + 16);
    for c in text.chars() {
        if is_harmless(c) { line.push(c) } else { push_octal(&mut line, c) }
    }
    Cow::Owned(line)
}

/// A text of several lines, each as `line` shows it.
pub fn lines(text: &str) -> Cow<'_, str> {
    if text.chars().all(|c| c == '\n' || is_harmless(c)) {
        return Cow::Borrowed(text);
    }
    text.split('\n').map(line).collect::<Vec<_>>().join("\n").into()
}

/// Whether a character does nothing but stand there: neither a control character nor one that formats what is around it
/// (Unicode's categories Cc, Cf, Zl and Zp, as far as they are in use).
fn is_harmless(c: char) -> bool {
    !(c.is_control()
        || matches!(c,
            '\u{ad}' | '\u{61c}' | '\u{180e}' | '\u{200b}'..='\u{200f}' | '\u{2028}'..='\u{202e}'
            | '\u{2060}'..='\u{206f}' | '\u{feff}' | '\u{fff9}'..='\u{fffb}' | '\u{e0000}'..='\u{e007f}'))
}

fn push_octal(line: &mut String, c: char) {
    c.to_string().bytes().for_each(|byte| push_byte(line, byte));
}

fn push_byte(line: &mut String, byte: u8) {
    line.push_str(&format!("\\{byte:03o}"));
}

#[cfg(test)]
mod tests {
    use super::*;

    /// A title for the terminal, a cleared screen, a forged line, DEL, C1, and what turns the reading direction.
    const HOSTILE: &str =
        "a\x1b]0;owned\x07\x1b[2J\r\nerror: all is well\u{7f}\u{9b}31m\u{202e}gpj.\u{2066}\u{2028}b";

    #[test]
    fn nothing_in_a_name_moves_a_cursor_turns_the_text_or_begins_a_line() {
        let shown = "a\\033]0;owned\\007\\033[2J\\015\\012error: all is well\\177\\302\\23331m\\342\\200\\256gpj.\
                     \\342\\201\\246\\342\\200\\250b";
        assert_eq!(bytes(HOSTILE.as_bytes()), shown);
        assert_eq!(line(HOSTILE), shown);
        assert_eq!(lines(HOSTILE), shown.replace("\\012", "\n"));
        assert_eq!(bytes(b"a\xff\\"), "a\\377\\\\");
    }

    #[test]
    fn what_is_harmless_or_was_escaped_before_stays_as_it_is() {
        for text in ["Größe 日本 – é", "a\\033b", ""] {
            assert!(matches!(line(text), Cow::Borrowed(same) if same == text));
            assert!(matches!(lines(text), Cow::Borrowed(same) if same == text));
        }
        assert_eq!(line(&line(HOSTILE)), line(HOSTILE));
    }
}
