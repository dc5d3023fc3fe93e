//! Bytes that nothing tells from encrypted data, as fast as the processor makes them.
//!
//! One key a fill, drawn from the kernel and forgotten afterwards; a counter that never repeats under it. Knows no
//! device: a piece of the stream is asked for by its number.

use aes::Aes256;
use aes::cipher::{KeyIvInit, StreamCipher};
use chacha20::ChaCha8;
use ctr::Ctr64BE;
use std::io;
use zeroize::Zeroizing;

/// A key and the cipher that this processor runs fastest under it.
pub struct KeyStream {
    key: Zeroizing<[u8; 32]>,
    cipher: Cipher,
}

#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Cipher {
    /// AES-256 in counter mode, where the processor has AES instructions.
    Aes,
    /// ChaCha with 8 rounds, where it has none: no attack on it is known, and nothing is decrypted with it ever.
    ChaCha,
}

impl KeyStream {
    /// A stream under a new random key.
    ///
    /// # Errors
    /// Those of the kernel's random number generator.
    pub fn new() -> io::Result<Self> {
        let mut key = Zeroizing::new([0; 32]);
        getrandom::fill(key.as_mut()).map_err(|error| io::Error::other(error.to_string()))?;
        Ok(KeyStream { key, cipher: fastest() })
    }

    /// The cipher's name, for people.
    pub fn name(&self) -> &'static str {
        match self.cipher {
            Cipher::Aes => "AES-256-CTR",
            Cipher::ChaCha => "ChaCha8",
        }
    }

    /// Fills `out`, at most 64 GiB, with piece number `index` of the stream.
    ///
    /// The number is the nonce and each piece counts its blocks from zero, so no two pieces share a block.
    pub fn piece(&self, index: u64, out: &mut [u8]) {
        let key = self.key.as_slice().try_into().expect("both ciphers take 32 bytes");
        match self.cipher {
            Cipher::Aes => {
                let mut nonce = [0; 16];
                nonce[..8].copy_from_slice(&index.to_be_bytes());
                Ctr64BE::<Aes256>::new(key, &nonce.into()).write_keystream(out);
            }
            Cipher::ChaCha => {
                let mut nonce = [0; 12];
                nonce[..8].copy_from_slice(&index.to_be_bytes());
                ChaCha8::new(key, &nonce.into()).write_keystream(out);
            }
        }
    }
}

#[cfg(target_arch = "x86_64")]
fn fastest() -> Cipher {
    if std::arch::is_x86_feature_detected!("aes") { Cipher::Aes } else { Cipher::ChaCha }
}

#[cfg(target_arch = "aarch64")]
fn fastest() -> Cipher {
    if std::arch::is_aarch64_feature_detected!("aes") { Cipher::Aes } else { Cipher::ChaCha }
}

#[cfg(not(any(target_arch = "x86_64", target_arch = "aarch64")))]
fn fastest() -> Cipher {
    Cipher::ChaCha
}

#[cfg(test)]
mod tests {
    use super::*;

    fn under_the_zero_key(cipher: Cipher, index: u64) -> [u8; 16] {
        let mut out = [0xFF; 16];
        KeyStream { key: Zeroizing::new([0; 32]), cipher }.piece(index, &mut out);
        out
    }

    /// The zero key and block of AES-256 (NIST's AESAVS), and ECRYPT's ChaCha8 test case 1.
    #[test]
    fn both_ciphers_are_the_published_ones() {
        let aes = 0xdc95_c078_a240_8989_ad48_a214_9284_2087u128;
        let chacha = 0x3e00_ef2f_895f_40d6_7f5b_b8e8_1f09_a5a1u128;
        assert_eq!(under_the_zero_key(Cipher::Aes, 0), aes.to_be_bytes());
        assert_eq!(under_the_zero_key(Cipher::ChaCha, 0), chacha.to_be_bytes());
    }

    #[test]
    fn no_piece_is_like_another_nor_like_the_same_under_another_key() {
        for cipher in [Cipher::Aes, Cipher::ChaCha] {
            assert_ne!(under_the_zero_key(cipher, 0), under_the_zero_key(cipher, 1));
            assert_ne!(under_the_zero_key(cipher, 1), under_the_zero_key(cipher, 1 << 32));
        }
        let mut pieces = [[0; 16]; 2];
        pieces.iter_mut().for_each(|p| KeyStream::new().expect("the kernel has random bytes").piece(0, p));
        assert_ne!(pieces[0], pieces[1]);
    }
}
