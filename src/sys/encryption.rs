//! Whether a directory that fscrypt encrypts can be read: while its key is away, names in it are not its own, and no file
//! opens (Documentation/filesystems/fscrypt.rst; linux/fscrypt.h).

use std::io;
use std::os::fd::{AsFd, AsRawFd};

/// `_IOWR('f', 22, __u8[9])`
const GET_POLICY_EX: libc::Ioctl = 0xC009_6616_u32 as libc::Ioctl;
/// `_IOWR('f', 26, struct fscrypt_get_key_status_arg)`
const GET_KEY_STATUS: libc::Ioctl = 0xC080_661A_u32 as libc::Ioctl;
const VERSION_1: u8 = 0;
const VERSION_2: u8 = 2;
const BY_DESCRIPTOR: u32 = 1;
const BY_IDENTIFIER: u32 = 2;
const PRESENT: u32 = 2;

/// `struct fscrypt_get_policy_ex_arg`, with room for the larger policy.
#[repr(C)]
struct Policy {
    size: u64,
    version: u8,
    modes: [u8; 3],
    rest: [u8; 20],
}

/// `struct fscrypt_get_key_status_arg`
#[repr(C)]
struct KeyStatus {
    kind: u32,
    reserved: u32,
    key: [u8; 32],
    input: [u32; 6],
    status: u32,
    output: [u32; 15],
}

/// Whether the key of an encrypted directory is away. One whose policy is not known here is taken for readable.
///
/// # Errors
/// The system's.
pub fn is_locked(dir: impl AsFd) -> io::Result<bool> {
    let fd = dir.as_fd().as_raw_fd();
    let mut policy = Policy { size: 24, version: 0, modes: [0; 3], rest: [0; 20] };
    // SAFETY: the ioctl writes at most `size` bytes behind the size, which the structure has.
    if unsafe { libc::ioctl(fd, GET_POLICY_EX, &mut policy) } != 0 {
        return Err(io::Error::last_os_error());
    }
    let mut key = [0; 32];
    let kind = match policy.version {
        VERSION_1 => {
            key[..8].copy_from_slice(&policy.rest[..8]);
            BY_DESCRIPTOR
        }
        VERSION_2 => {
            key[..16].copy_from_slice(&policy.rest[4..]);
            BY_IDENTIFIER
        }
        _ => return Ok(false),
    };
    let mut asked = KeyStatus { kind, reserved: 0, key, input: [0; 6], status: 0, output: [0; 15] };
    // SAFETY: the ioctl reads and writes one fscrypt_get_key_status_arg, laid out as the kernel's, that outlives the call.
    if unsafe { libc::ioctl(fd, GET_KEY_STATUS, &mut asked) } != 0 {
        return Err(io::Error::last_os_error());
    }
    Ok(asked.status != PRESENT)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_structures_have_the_sizes_that_the_calls_carry() {
        assert_eq!(size_of::<KeyStatus>(), 128);
        assert_eq!(size_of::<Policy>(), 32);
    }
}
