//! GRUB's environment block: lines, then `#` up to a fixed size, which GRUB rewrites in place and never changes
//! (GRUB's lib/envblk.c; 1024 bytes is what grub-editenv makes).

use super::text::Spellings;

const BLOCK: usize = 1024;

/// The mirror's environment block.
pub(super) fn rewrite(text: &[u8], spellings: &Spellings) -> Vec<u8> {
    let end = text.iter().rposition(|b| *b != b'#').map_or(0, |last| last + 1);
    let mut new = spellings.rewrite(&text[..end]);
    let size = new.len().next_multiple_of(BLOCK).max(BLOCK);
    new.resize(size, b'#');
    new
}
