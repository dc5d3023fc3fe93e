//! A block of a large file, and its hash.

/// Bytes of a block. A power of two above BLAKE3's chunk of 1 KiB, and no larger than its smallest subtrees allow anywhere.
pub const BLOCK: u64 = 64 * 1024;

/// A block's hash.
pub type BlockHash = [u8; 32];

/// Stands for a block that is a hole from its beginning to its end.
pub const HOLE: BlockHash = [0; 32];
