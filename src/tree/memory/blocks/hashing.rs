//! One pass over a file's content that gives the hash of each block of it, and that of the whole.
//!
//! A block's hash is what BLAKE3 computes for that part of its tree, the "chaining value" at the block's place: so both come
//! of the same work. The blocks' hashes of two files are comparable at the same place only.

use super::block::{BLOCK, BlockHash, HOLE};
use super::map::MapWriter;
use blake3::Hasher;
use blake3::hazmat::{HasherExt, Mode, merge_subtrees_non_root, merge_subtrees_root};

/// Of a file with more holes than this no whole hash is made: a terabyte of zeros takes minutes, and their copy nothing.
const HASHED_HOLES: u64 = 256 << 20;

static ZEROS: [u8; BLOCK as usize] = [0; BLOCK as usize];

/// Content that goes by, in its order.
pub struct Hashing {
    at: u64,
    size: u64,
    block: Hasher,
    has_data: bool,
    holes: u64,
    /// Hashes of subtrees that wait for the one to their right; none where nobody will ask.
    whole: Option<Vec<BlockHash>>,
    map: Option<MapWriter>,
}

impl Hashing {
    /// For a file of `size` bytes, more than one block's; the hashes of its blocks go to `map`, if there is one.
    pub fn new(size: u64, map: Option<MapWriter>) -> Self {
        let whole = (size > BLOCK).then(Vec::new);
        Hashing { at: 0, size, block: Hasher::new(), has_data: false, holes: 0, whole, map }
    }
    /// Takes in what comes next. Gives back the hash of the block that this completes, if it is one block's last part.
    pub fn data(&mut self, mut bytes: &[u8]) -> Option<BlockHash> {
        let mut last = None;
        while !bytes.is_empty() {
            let room = self.room().min(bytes.len() as u64) as usize;
            self.block.update(&bytes[..room]);
            self.has_data = true;
            last = self.advance(room as u64);
            bytes = &bytes[room..];
        }
        last
    }
    /// Takes in a hole, up to `end`.
    pub fn hole(&mut self, end: u64) {
        self.holes += end - self.at;
        if self.holes > HASHED_HOLES {
            self.whole = None;
        }
        while self.at < end {
            let length = self.room().min(end - self.at);
            let is_whole = self.at.is_multiple_of(BLOCK) && length == self.room();
            if is_whole && self.whole.is_none() {
                self.skip(end);
                continue;
            }
            self.block.update(&ZEROS[..length as usize]);
            self.advance(length);
        }
    }
    /// Goes over blocks that are holes, without work for each.
    fn skip(&mut self, end: u64) {
        let to = if end == self.size { end } else { end / BLOCK * BLOCK };
        let blocks = (to - self.at).div_ceil(BLOCK);
        if let Some(map) = &mut self.map {
            map.skip(blocks);
        }
        self.at = to;
        self.block = Hasher::new();
        self.block.set_input_offset(self.at / BLOCK * BLOCK);
    }
    /// Bytes that the present block still wants.
    fn room(&self) -> u64 {
        (BLOCK - self.at % BLOCK).min(self.size.saturating_sub(self.at)).max(1)
    }
    fn advance(&mut self, length: u64) -> Option<BlockHash> {
        self.at += length;
        if !self.at.is_multiple_of(BLOCK) && self.at < self.size {
            return None;
        }
        let hash = self.block.finalize_non_root();
        let number = (self.at - 1) / BLOCK;
        if let Some(stack) = &mut self.whole {
            // As many wait as the number of complete blocks to the left has bits: the last of all is never merged here.
            while stack.len() > number.count_ones() as usize {
                merge_top(stack);
            }
            stack.push(hash);
        }
        if let Some(map) = &mut self.map {
            map.push(if self.has_data { &hash } else { &HOLE });
        }
        self.has_data = false;
        self.block = Hasher::new();
        self.block.set_input_offset(self.at / BLOCK * BLOCK);
        Some(hash)
    }
    /// The hash of the whole content, as BLAKE3 has it; none if it was not all, or is nearly all holes.
    /// And the map of its blocks.
    pub fn finish(self) -> (Option<[u8; 32]>, Option<MapWriter>) {
        let is_all = self.at == self.size;
        let whole = self.whole.filter(|_| is_all).and_then(|mut stack| {
            while stack.len() > 2 {
                merge_top(&mut stack);
            }
            let [left, right] = stack.as_slice() else { return None };
            Some(*merge_subtrees_root(left, right, Mode::Hash).as_bytes())
        });
        (whole, self.map.filter(|_| is_all))
    }
}

fn merge_top(stack: &mut Vec<BlockHash>) {
    if let (Some(right), Some(left)) = (stack.pop(), stack.pop()) {
        stack.push(merge_subtrees_non_root(&left, &right, Mode::Hash));
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn noise(length: usize) -> Vec<u8> {
        (0..length as u32).map(|n| (n.wrapping_mul(2_654_435_761) >> 24) as u8).collect()
    }

    #[test]
    fn the_blocks_hashes_come_together_to_that_of_the_whole() {
        let block = BLOCK as usize;
        for size in
            [block + 1, 2 * block, 2 * block + 1, 3 * block, 5 * block + 77, 8 * block, 13 * block - 1]
        {
            let content = noise(size);
            for piece in [block * 4, block, 1000] {
                let mut hashing = Hashing::new(size as u64, None);
                for chunk in content.chunks(piece) {
                    hashing.data(chunk);
                }
                let expected = *blake3::hash(&content).as_bytes();
                assert_eq!(hashing.finish().0, Some(expected), "{size} bytes in pieces of {piece}");
            }
        }
    }

    #[test]
    fn holes_count_as_zeros_wherever_they_begin_and_end() {
        let (size, start, end) = (7 * BLOCK + 5, BLOCK + 4096, 5 * BLOCK - 512);
        let mut content = noise(size as usize);
        content[start as usize..end as usize].fill(0);
        let mut hashing = Hashing::new(size, None);
        hashing.data(&content[..start as usize]);
        hashing.hole(end);
        hashing.data(&content[end as usize..]);
        assert_eq!(hashing.finish().0, Some(*blake3::hash(&content).as_bytes()));
    }

    #[test]
    fn what_ends_early_has_no_hash() {
        let mut hashing = Hashing::new(3 * BLOCK, None);
        hashing.data(&noise(2 * BLOCK as usize));
        assert_eq!(hashing.finish().0, None);
    }
}
