//! The compressions that a kernel unpacks an initramfs from (lib/decompress.c): known by their first two bytes, unpacked as
//! they are read, up to a limit, each to its exact end: another archive may follow.

use crate::units::Bytes;
use std::io::{self, BufRead, Read, Seek};
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

/// More than a block of that size can take where nothing in it could be compressed (LZ4_COMPRESSBOUND).
const LZ4_LONGEST: usize = LZ4_BLOCK + LZ4_BLOCK / 255 + 16;

/// A compression.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Compression {
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
    #[error("it unpacks to more than {}", Bytes(*.0))]
    TooLarge(u64),
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
            Compression::Gzip => "gzip",
            Compression::Bzip2 => "bzip2",
            Compression::Lzma => "lzma",
            Compression::Xz => "xz",
            Compression::Lzo => "lzo",
            Compression::Lz4 => "lz4",
            Compression::Zstd => "zstd",
        }
    }

    /// What the stream that begins here holds, unpacked as it is read, up to `most` bytes.
    ///
    /// # Errors
    /// If it does not begin as such a stream does, or is lzo's.
    pub fn unpack<S: BufRead + Seek>(self, source: &mut S, most: u64) -> Result<Unpacked<'_, S>, Unpacking> {
        let damaged = |said| Unpacking::Damaged { compression: self, said };
        let decoder = match self {
            Compression::Gzip => Decoder::Gzip(Box::new(flate2::bufread::GzDecoder::new(source))),
            Compression::Bzip2 => Decoder::Bzip2(bzip2::bufread::BzDecoder::new(source)),
            Compression::Lzma => {
                let reader = lzma_rust2::LzmaReader::new_mem_limit(source, WINDOW_KIB, None);
                Decoder::Lzma(Box::new(reader.map_err(|error| damaged(error.into()))?))
            }
            Compression::Xz => {
                Decoder::Xz(Box::new(lzma_rust2::XzReader::new_mem_limit(source, false, WINDOW_KIB)))
            }
            Compression::Lzo => return Err(Unpacking::Lzo),
            Compression::Lz4 => Decoder::Lz4(Lz4::begin(source).map_err(|error| damaged(error.into()))?),
            Compression::Zstd => {
                let new = ruzstd::decoding::StreamingDecoder::new_with_max_window_size;
                Decoder::Zstd(Box::new(new(source, WINDOW_BYTES).map_err(|error| damaged(error.into()))?))
            }
        };
        Ok(Unpacked { compression: self, decoder, most, bytes: 0 })
    }
}

/// A stream that is unpacked as it is read. Its errors carry an `Unpacking`, but for those of reading the source.
pub struct Unpacked<'s, S: BufRead + Seek> {
    compression: Compression,
    decoder: Decoder<'s, S>,
    most: u64,
    bytes: u64,
}

enum Decoder<'s, S: BufRead + Seek> {
    Gzip(Box<flate2::bufread::GzDecoder<&'s mut S>>),
    Bzip2(bzip2::bufread::BzDecoder<&'s mut S>),
    Lzma(Box<lzma_rust2::LzmaReader<&'s mut S>>),
    Xz(Box<lzma_rust2::XzReader<&'s mut S>>),
    Lz4(Lz4<'s, S>),
    Zstd(Box<ruzstd::decoding::StreamingDecoder<&'s mut S, ruzstd::decoding::FrameDecoder>>),
}

impl<S: BufRead + Seek> Unpacked<'_, S> {
    /// Ends a stream that was read to its end: its source stands behind it then. Gives how many bytes it held.
    ///
    /// # Errors
    /// If its checksum is another; those of the source.
    pub fn finish(self) -> io::Result<u64> {
        match self.decoder {
            // The decoder reads ahead, and gives back what it did not need.
            Decoder::Lzma(reader) => {
                let (source, unused) = reader.into_parts();
                source.seek_relative(-(unused.len() as i64))?;
            }
            Decoder::Zstd(decoder) => {
                let frame = decoder.into_frame_decoder();
                let sum = frame.get_checksum_from_data();
                if sum.is_some() && frame.is_finished() && frame.get_calculated_checksum() != sum {
                    let said = "its checksum is another".into();
                    return Err(io::Error::other(Unpacking::Damaged { compression: self.compression, said }));
                }
            }
            Decoder::Gzip(_) | Decoder::Bzip2(_) | Decoder::Xz(_) | Decoder::Lz4(_) => {}
        }
        Ok(self.bytes)
    }
}

impl<S: BufRead + Seek> Read for Unpacked<'_, S> {
    fn read(&mut self, buf: &mut [u8]) -> io::Result<usize> {
        let read = match &mut self.decoder {
            Decoder::Gzip(reader) => reader.read(buf),
            Decoder::Bzip2(reader) => reader.read(buf),
            Decoder::Lzma(reader) => reader.read(buf),
            Decoder::Xz(reader) => reader.read(buf),
            Decoder::Lz4(reader) => reader.read(buf),
            Decoder::Zstd(reader) => reader.read(buf),
        };
        let read = read.map_err(|error| match error.raw_os_error() {
            Some(_) => error,
            None => {
                io::Error::other(Unpacking::Damaged { compression: self.compression, said: error.into() })
            }
        })?;
        self.bytes += read as u64;
        if self.bytes > self.most {
            return Err(io::Error::other(Unpacking::TooLarge(self.most)));
        }
        Ok(read)
    }
}

/// Blocks of at most 8 MiB, each behind its compressed length; a length of zero, or less than four bytes, ends them.
struct Lz4<'s, S> {
    source: &'s mut S,
    packed: Vec<u8>,
    block: Vec<u8>,
    at: usize,
    filled: usize,
}

impl<'s, S: BufRead + Seek> Lz4<'s, S> {
    fn begin(source: &'s mut S) -> io::Result<Self> {
        let mut lz4 = Lz4 { source, packed: Vec::new(), block: vec![0; LZ4_BLOCK], at: 0, filled: 0 };
        match lz4.number()? {
            Some(LZ4_MAGIC) => Ok(lz4),
            _ => Err(io::Error::other("it has another magic number")),
        }
    }

    /// The next four bytes as a number; none, and nothing is taken, where there are fewer.
    fn number(&mut self) -> io::Result<Option<u32>> {
        let mut bytes = [0; 4];
        let mut got = 0;
        while got < bytes.len() {
            match self.source.read(&mut bytes[got..])? {
                0 => {
                    self.source.seek_relative(-(got as i64))?;
                    return Ok(None);
                }
                n => got += n,
            }
        }
        Ok(Some(u32::from_le_bytes(bytes)))
    }

    /// Unpacks the next block; false if there is none.
    fn next_block(&mut self) -> io::Result<bool> {
        let mut length = self.number()?;
        while length == Some(LZ4_MAGIC) {
            length = self.number()?;
        }
        let Some(length) = length.filter(|length| *length != 0) else {
            if length == Some(0) {
                self.source.seek_relative(-4)?;
            }
            return Ok(false);
        };
        if length as usize > LZ4_LONGEST {
            return Err(io::Error::other("a block is longer than any can be"));
        }
        self.packed.resize(length as usize, 0);
        self.source.read_exact(&mut self.packed)?;
        self.filled =
            lz4_flex::block::decompress_into(&self.packed, &mut self.block).map_err(io::Error::other)?;
        self.at = 0;
        Ok(true)
    }
}

impl<S: BufRead + Seek> Read for Lz4<'_, S> {
    fn read(&mut self, buf: &mut [u8]) -> io::Result<usize> {
        while self.at == self.filled {
            if !self.next_block()? {
                return Ok(0);
            }
        }
        let read = buf.len().min(self.filled - self.at);
        buf[..read].copy_from_slice(&self.block[self.at..self.at + read]);
        self.at += read;
        Ok(read)
    }
}

#[cfg(test)]
pub(crate) mod tests {
    use super::*;
    use std::io::{Cursor, Write};
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

    /// What a stream holds, and how many bytes it took.
    fn unpacked(compression: Compression, bytes: &[u8], most: usize) -> Result<(Vec<u8>, usize), Unpacking> {
        let (mut source, mut held) = (Cursor::new(bytes), Vec::new());
        let mut stream = compression.unpack(&mut source, most as u64)?;
        let read = stream.read_to_end(&mut held).and_then(|_| stream.finish());
        read.map_err(|error| error.downcast().expect("the source gives all it has"))?;
        Ok((held, source.position() as usize))
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
                let (held, taken) = unpacked(compression, &image, text.len()).expect(tool);
                assert!(held == text, "{tool}");
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
                matches!(unpacked(compression, &packed, 1 << 20), Err(Unpacking::TooLarge(1_048_576))),
                "{tool}"
            );
            assert!(unpacked(compression, &packed, zeros.len()).is_ok(), "{tool}");
        }
    }

    #[test]
    fn a_stream_that_was_cut_or_changed_is_damaged() {
        let text = &text()[..300_000];
        for (compression, tool) in TOOLS {
            let packed = compressed(tool, text);
            for length in [3, 20, packed.len() / 2, packed.len() - 1] {
                let error = unpacked(compression, &packed[..length], text.len()).expect_err(tool);
                assert!(error.to_string().starts_with("the "), "{error}");
            }
            // lz4's old form and lzma carry no checksum.
            if !matches!(compression, Compression::Lz4 | Compression::Lzma) {
                let mut changed = packed.clone();
                changed[packed.len() / 2] ^= 0x10;
                unpacked(compression, &changed, text.len()).expect_err(tool);
            }
        }
    }

    #[test]
    fn lzo_is_named_and_not_read() {
        let lzo = [0x89, 0x4c, 0x5a, 0x4f, 0, 13, 10, 26, 10];
        assert_eq!(Compression::of(&lzo), Some(Compression::Lzo));
        let error = unpacked(Compression::Lzo, &lzo, 1 << 20).expect_err("it is not read");
        assert!(error.to_string().contains("lzo"), "{error}");
        assert_eq!(Compression::of(b"070701"), None);
    }
}
