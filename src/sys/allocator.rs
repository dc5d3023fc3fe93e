//! The C library's allocator, told to give back what it was given.

/// From this size on, a block is the kernel's again as soon as it is freed.
const LARGE_BYTES: libc::c_int = 1 << 20;

/// Has every large block mapped by itself. By default the limit grows with the largest block that was freed, up to
/// 32 MiB: what grows by doubling then leaves its former copies behind in the heap, for as long as the program runs.
pub fn give_back_large_blocks() {
    // SAFETY: it only sets a number of the allocator.
    unsafe { libc::mallopt(libc::M_MMAP_THRESHOLD, LARGE_BYTES) };
}
