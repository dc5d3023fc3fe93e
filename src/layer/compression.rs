//! The compressions that a kernel unpacks an initramfs from (lib/decompress.c): known by their first two bytes, unpacked
//! into memory up to a limit, each with the exact number of bytes that it took: another archive may follow.

use std::io::Read;
use thiserror::Error;

/// How much memory a decoder may take for its window: the kernel's own limit for zstd (lib/decompress_unzstd.c), and more
/// than any preset of xz needs.
const WINDOW_BYTES: u64 = 1 << 27;

/// The same for lzma and xz, with what else they need.
const WINDOW_KIB: u32 = (WINDOW_BYTES >> 10) as u32 + 1024;

/// The size of lz4's blocks before compression: lib/decompress_unlz4.c.
const LZ4_BLOCK: usize = 8 << 20;

/// What begins a stream of lz4's old form, and may stand between its blocks.
const LZ4_MAGIC: u32 = 0x184C_2102;

/// A compression, or none.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Compression {
    /// The archive stands there as it is.
    None,
    /// gzip.
    Gzip,
    /// bzip2.
    Bzip2,
    /// lzma, the form before xz.
    Lzma,
    /// xz.
    Xz,
    /// lzo, which is not unpacked here.
    Lzo,
    /// lz4's old form (`lz4 -l`).
    Lz4,
    /// zstd.
    Zstd,
}

/// Why bytes could not be unpacked.
#[derive(Debug, Error)]
pub enum Unpacking {
    /// lzo: there is no well-kept decoder for it.
    #[error("it is compressed with lzo, which diskmirror cannot read")]
    Lzo,
    /// More than the caller allows.
    #[error("it holds more than {0} bytes")]
    TooLarge(usize),
    /// The stream is damaged or ends too early.
    #[error("the {} stream is damaged: {said}", .compression.name())]
    Damaged {
        /// Whose stream.
        compression: Compression,
        /// What its decoder said.
        said: Said,
    },
}

/// What a decoder said.
pub type Said = Box<dyn std::error::Error + Send + Sync>;

impl Compression {
    /// What the kernel takes these bytes for; none if it knows no such compression.
    pub fn of(bytes: &[u8]) -> Option<Self> {
        Some(match bytes.get(..2)? {
            [0x1f, 0x8b | 0x9e] => Compression::Gzip,
            [0x42, 0x5a] => Compression::Bzip2,
            [0x5d, 0x00] => Compression::Lzma,
            [0xfd, 0x37] => Compression::Xz,
            [0x89, 0x4c] => Compression::Lzo,
            [0x02, 0x21] => Compression::Lz4,
            [0x28, 0xb5] => Compression::Zstd,
            _ => return None,
        })
    }

    /// Its name.
    pub const fn name(self) -> &'static str {
        match self {
            Compression::None => "none",
            Compression::Gzip => "gzip",
            Compression::Bzip2 => "bzip2",
            Compression::Lzma => "lzma",
            Compression::Xz => "xz",
            Compression::Lzo => "lzo",
            Compression::Lz4 => "lz4",
            Compression::Zstd => "zstd",
        }
    }

    /// What these bytes hold, unpacked, and how many of them the stream took; what follows it is not looked at.
    ///
    /// # Errors
    /// If the stream is damaged or ends too early, if it holds more than `most` bytes, or if it is lzo's.
    pub fn unpack(self, bytes: &[u8], most: usize) -> Result<(Vec<u8>, usize), Unpacking> {
        let mut rest = bytes;
        let unpacked = match self {
            Compression::None => drain(&mut rest, most),
            Compression::Gzip => drain(flate2::bufread::GzDecoder::new(&mut rest), most),
            Compression::Bzip2 => drain(bzip2::bufread::BzDecoder::new(&mut rest), most),
            Compression::Lzma => lzma(&mut rest, most),
            Compression::Xz => drain(lzma_rust2::XzReader::new_mem_limit(&mut rest, false, WINDOW_KIB), most),
            Compression::Lzo => return Err(Unpacking::Lzo),
            Compression::Lz4 => lz4(&mut rest, most),
            Compression::Zstd => zstd(&mut rest, most),
        };
        let unpacked = unpacked.map_err(|said| Unpacking::Damaged { compression: self, said })?;
        if unpacked.len() > most {
            return Err(Unpacking::TooLarge(most));
        }
        Ok((unpacked, bytes.len() - rest.len()))
    }
}

/// All that `reader` gives, but never much more than `most` bytes.
fn drain(reader: impl Read, most: usize) -> Result<Vec<u8>, Said> {
    let mut unpacked = Vec::new();
    reader.take(most as u64 + 1).read_to_end(&mut unpacked)?;
    Ok(unpacked)
}

/// The decoder reads ahead, and gives back what it did not need.
fn lzma(rest: &mut &[u8], most: usize) -> Result<Vec<u8>, Said> {
    let mut reader = lzma_rust2::LzmaReader::new_mem_limit(*rest, WINDOW_KIB, None)?;
    let unpacked = drain(&mut reader, most)?;
    let (behind, unused) = reader.into_parts();
    *rest = &rest[rest.len() - behind.len() - unused.len()..];
    Ok(unpacked)
}

/// Blocks of at most 8 MiB, each behind its compressed length; a length of zero, or less than four bytes, ends them.
fn lz4(rest: &mut &[u8], most: usize) -> Result<Vec<u8>, Said> {
    let (mut unpacked, mut block) = (Vec::new(), Vec::new());
    if le32(rest) != Some(LZ4_MAGIC) {
        return Err("it has another magic number".into());
    }
    while let Some(length) = le32(rest).filter(|length| *length != 0) {
        *rest = &rest[4..];
        if length == LZ4_MAGIC {
            continue;
        }
        let compressed = rest.get(..length as usize).ok_or("a block ends too early")?;
        block.resize(LZ4_BLOCK, 0);
        let bytes = lz4_flex::block::decompress_into(compressed, &mut block)?;
        unpacked.extend_from_slice(&block[..bytes]);
        *rest = &rest[length as usize..];
        if unpacked.len() > most {
            break;
        }
    }
    Ok(unpacked)
}

fn le32(bytes: &[u8]) -> Option<u32> {
    bytes.first_chunk().map(|bytes| u32::from_le_bytes(*bytes))
}

/// One frame, as the kernel takes it.
fn zstd(rest: &mut &[u8], most: usize) -> Result<Vec<u8>, Said> {
    let mut decoder = ruzstd::decoding::StreamingDecoder::new_with_max_window_size(rest, WINDOW_BYTES)?;
    let unpacked = drain(&mut decoder, most)?;
    let frame = decoder.into_frame_decoder();
    match frame.get_checksum_from_data() {
        Some(sum) if frame.is_finished() && frame.get_calculated_checksum() != Some(sum) => {
            Err("its checksum is another".into())
        }
        _ => Ok(unpacked),
    }
}

#[cfg(test)]
pub(crate) mod tests {
    use super::*;
    use std::io::Write;
    use std::process::{Command, Stdio};

    /// What makes each compression, as mkinitramfs and dracut call it.
    pub(crate) const TOOLS: [(Compression, &str); 6] = [
        (Compression::Gzip, "gzip -n -9"),
        (Compression::Bzip2, "bzip2 -9"),
        (Compression::Lzma, "xz --format=lzma -9"),
        (Compression::Xz, "xz --check=crc32"),
        (Compression::Lz4, "lz4 -q -9 -l"),
        (Compression::Zstd, "zstd -q -1"),
    ];

    /// `bytes` compressed by the tool itself.
    pub(crate) fn compressed(tool: &str, bytes: &[u8]) -> Vec<u8> {
        let mut words = tool.split(' ');
        let mut command = Command::new(words.next().expect("a tool has a name"));
        let command = command.args(words).arg("-c").stdin(Stdio::piped()).stdout(Stdio::piped());
        let mut child = command.spawn().unwrap_or_else(|error| panic!("{tool}: {error}"));
        let mut stdin = child.stdin.take().expect("it is a pipe");
        let bytes = bytes.to_vec();
        let feeder = std::thread::spawn(move || stdin.write_all(&bytes));
        let output = child.wait_with_output().expect("it ran");
        feeder.join().expect("no panic").expect("it reads all");
        assert!(output.status.success(), "{tool}");
        output.stdout
    }

    /// Text that compresses, of several blocks of every compression.
    fn text() -> Vec<u8> {
        let numbers =
            (0..120_000_u32).flat_map(|n| format!("{} ", n.wrapping_mul(2_654_435_761) >> 12).into_bytes());
        numbers.collect::<Vec<_>>().repeat(12)
    }

    #[test]
    fn each_is_known_and_unpacked_up_to_its_exact_end() {
        let text = text();
        for (compression, tool) in TOOLS {
            let packed = compressed(tool, &text);
            assert_eq!(Compression::of(&packed), Some(compression), "{tool}");
            for behind in [b"".as_slice(), &[0; 1024], &[[0; 4].as_slice(), b"070701 and so on"].concat()] {
                let image = [&packed, behind].concat();
                let (unpacked, taken) = compression.unpack(&image, text.len()).expect(tool);
                assert!(unpacked == text, "{tool}");
                assert_eq!(taken, packed.len(), "{tool} with {} bytes behind it", behind.len());
            }
        }
    }

    #[test]
    fn what_holds_more_than_is_allowed_is_refused() {
        let zeros = vec![0; 9 << 20];
        for (compression, tool) in TOOLS {
            let packed = compressed(tool, &zeros);
            assert!(
                matches!(compression.unpack(&packed, 1 << 20), Err(Unpacking::TooLarge(1_048_576))),
                "{tool}"
            );
            assert!(compression.unpack(&packed, zeros.len()).is_ok(), "{tool}");
        }
    }

    #[test]
    fn a_stream_that_was_cut_or_changed_is_damaged() {
        let text = &text()[..300_000];
        for (compression, tool) in TOOLS {
            let packed = compressed(tool, text);
            for length in [3, 20, packed.len() / 2, packed.len() - 1] {
                let error = compression.unpack(&packed[..length], text.len()).expect_err(tool);
                assert!(error.to_string().starts_with("the "), "{error}");
            }
            // lz4's old form and lzma carry no checksum.
            if !matches!(compression, Compression::Lz4 | Compression::Lzma) {
                let mut changed = packed.clone();
                changed[packed.len() / 2] ^= 0x10;
                compression.unpack(&changed, text.len()).expect_err(tool);
            }
        }
    }

    #[test]
    fn lzo_is_named_and_not_read() {
        let lzo = [0x89, 0x4c, 0x5a, 0x4f, 0, 13, 10, 26, 10];
        assert_eq!(Compression::of(&lzo), Some(Compression::Lzo));
        let error = Compression::Lzo.unpack(&lzo, 1 << 20).expect_err("it is not read");
        assert!(error.to_string().contains("lzo"), "{error}");
        assert_eq!(Compression::of(b"070701"), None);
    }
}
