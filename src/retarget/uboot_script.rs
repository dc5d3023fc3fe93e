//! boot.scr: a script in U-Boot's legacy image format (include/image.h there), whose header holds two checksums.
//!
//! 64 bytes of header, big endian: magic, CRC-32 of the header with this field zero, time, size of the data, load and entry
//! address, CRC-32 of the data, … The data of a script: its length, a zero, the text.

use super::text::Spellings;
use flate2::Crc;

const MAGIC: [u8; 4] = [0x27, 0x05, 0x19, 0x56];
const HEADER: usize = 64;
const HEADER_CRC: usize = 4;
const DATA_BYTES: usize = 12;
const DATA_CRC: usize = 24;
/// The length of the text, and the zero that ends the list of lengths.
const LENGTHS: usize = 8;

/// The mirror's script; what is no such image is taken for a text.
pub(super) fn rewrite(image: &[u8], spellings: &Spellings) -> Vec<u8> {
    let Some(script) = script(image) else { return spellings.rewrite(image) };
    let new = spellings.rewrite(script);
    if new == script { image.to_vec() } else { with_script(image, &new) }
}

/// The text of an image that holds one script and nothing else.
fn script(image: &[u8]) -> Option<&[u8]> {
    let number = |at: usize| Some(u32::from_be_bytes(image.get(at..at + 4)?.try_into().ok()?) as usize);
    let data = image.strip_prefix(&MAGIC).and_then(|_| image.get(HEADER..HEADER + number(DATA_BYTES)?))?;
    let (length, end) = (number(HEADER)?, number(HEADER + 4)?);
    data.get(LENGTHS..LENGTHS.checked_add(length)?).filter(|_| end == 0)
}

fn with_script(image: &[u8], script: &[u8]) -> Vec<u8> {
    let length = |bytes: usize| u32::try_from(bytes).unwrap_or(u32::MAX).to_be_bytes();
    let data = [&length(script.len()), &[0; 4], script].concat();
    let mut header = image[..HEADER].to_vec();
    header[DATA_BYTES..DATA_BYTES + 4].copy_from_slice(&length(data.len()));
    header[DATA_CRC..DATA_CRC + 4].copy_from_slice(&crc(&data));
    header[HEADER_CRC..HEADER_CRC + 4].fill(0);
    let own = crc(&header);
    header[HEADER_CRC..HEADER_CRC + 4].copy_from_slice(&own);
    [header, data].concat()
}

fn crc(bytes: &[u8]) -> [u8; 4] {
    let mut crc = Crc::new();
    crc.update(bytes);
    crc.sum().to_be_bytes()
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::identity::{IdentityMap, Kind, Pair};

    #[test]
    fn a_script_names_the_mirror_and_its_checksums_are_right() {
        let pair =
            Pair { kind: Kind::Partition, primary: "5b096b62-02".into(), mirror: "6b096b62-02".into() };
        let map = IdentityMap { pairs: vec![pair] };
        // `mkimage -A arm -T script -C none -n x -d boot.cmd boot.scr` puts such a header in front.
        let text = b"setenv bootargs root=PARTUUID=5b096b62-02\nbootz\n";
        let mut empty = vec![0; HEADER];
        empty[..4].copy_from_slice(&MAGIC);
        let image = with_script(&empty, text);
        let new = rewrite(&image, &Spellings::of(&map));
        assert_eq!(script(&new), Some(&b"setenv bootargs root=PARTUUID=6b096b62-02\nbootz\n"[..]));
        assert_eq!(new[DATA_CRC..DATA_CRC + 4], crc(&new[HEADER..]));
        let mut zeroed = new[..HEADER].to_vec();
        zeroed[HEADER_CRC..HEADER_CRC + 4].fill(0);
        assert_eq!(new[HEADER_CRC..HEADER_CRC + 4], crc(&zeroed));
        assert_eq!(rewrite(&new, &Spellings::of(&map)), new, "twice is once");
    }
}
