//! Block devices: opened so that the kernel says who else uses them, read and written without the page cache.
//!
//! Everything here goes to the medium in whole logical sectors (`O_DIRECT`); a range that is not whole sectors is
//! read, changed and written back as the sectors it lies in, and no others.

use std::alloc::{Layout, alloc_zeroed, dealloc, handle_alloc_error};
use std::fs::{File, OpenOptions};
use std::io;
use std::ops::{Deref, DerefMut};
use std::os::fd::{AsRawFd, RawFd};
use std::os::unix::fs::{FileExt, FileTypeExt, MetadataExt, OpenOptionsExt};
use std::path::{Path, PathBuf};
use std::ptr::NonNull;

/// What direct reads and writes are aligned to in memory: a page, which no driver asks more than.
pub(super) const ALIGNMENT: usize = 4096;

// linux/fs.h: `_IO(0x12, n)`, and `_IOR(0x12, 114, size_t)` on the 64-bit machines this runs on.
const BLKROGET: libc::c_ulong = 0x125e;
const BLKRRPART: libc::c_ulong = 0x125f;
const BLKSSZGET: libc::c_ulong = 0x1268;
const BLKDISCARD: libc::c_ulong = 0x1277;
const BLKGETSIZE64: libc::c_ulong = 0x8008_1272;

/// An open block device.
#[derive(Debug)]
pub struct BlockDevice {
    file: File,
    path: PathBuf,
    size: u64,
    logical_sector: u32,
    read_only: bool,
}

impl BlockDevice {
    /// Opens the device for reading.
    ///
    /// # Errors
    /// `InvalidInput` if it is no block device; else those of the system.
    pub fn open_read(path: &Path) -> io::Result<Self> {
        Self::open(path, false, 0)
    }

    /// Opens the device for writing, for us alone: `EBUSY` if it, or a part of it, is mounted, swapped to or held.
    ///
    /// # Errors
    /// Those of `open_read`, and the kernel's refusal.
    pub fn open_exclusive_write(path: &Path) -> io::Result<Self> {
        Self::open(path, true, libc::O_EXCL)
    }

    /// Opens the device for writing although others may use it: for sectors that belong to no partition.
    ///
    /// # Errors
    /// Those of `open_read`.
    pub fn open_shared_write(path: &Path) -> io::Result<Self> {
        Self::open(path, true, 0)
    }

    fn open(path: &Path, write: bool, flags: i32) -> io::Result<Self> {
        let meta = std::fs::metadata(path)?;
        if !meta.file_type().is_block_device() {
            return Err(io::Error::new(io::ErrorKind::InvalidInput, "not a block device"));
        }
        let file =
            OpenOptions::new().read(true).write(write).custom_flags(libc::O_DIRECT | flags).open(path)?;
        if file.metadata()?.rdev() != meta.rdev() {
            return Err(io::Error::other("another device took its name while it was opened"));
        }
        let fd = file.as_raw_fd();
        let size = get::<u64>(fd, BLKGETSIZE64)?;
        let logical_sector = get::<libc::c_int>(fd, BLKSSZGET)? as u32;
        let read_only = get::<libc::c_int>(fd, BLKROGET)? != 0;
        Ok(BlockDevice { file, path: path.to_owned(), size, logical_sector, read_only })
    }

    /// The path it was opened by.
    pub fn path(&self) -> &Path {
        &self.path
    }
    /// Its capacity in bytes.
    pub fn size(&self) -> u64 {
        self.size
    }
    /// Bytes in a logical sector: 512 or 4096.
    pub fn logical_sector(&self) -> u32 {
        self.logical_sector
    }
    /// Whether the kernel refuses writes to it.
    pub fn read_only(&self) -> bool {
        self.read_only
    }

    /// Writes the whole buffer at `offset`; both must be multiples of the logical sector.
    ///
    /// # Errors
    /// With the number of bytes that were written before the error.
    pub fn write_direct(&self, data: &[u8], offset: u64) -> Result<(), (u64, io::Error)> {
        let mut done = 0;
        while done < data.len() {
            match self.file.write_at(&data[done..], offset + done as u64) {
                Ok(0) => return Err((done as u64, io::Error::from_raw_os_error(libc::ENOSPC))),
                Ok(n) => done += n,
                Err(error) if error.kind() == io::ErrorKind::Interrupted => {}
                Err(error) => return Err((done as u64, error)),
            }
        }
        Ok(())
    }

    /// The `len` bytes from `offset` on, as the medium holds them now.
    ///
    /// # Errors
    /// Those of reading; `UnexpectedEof` beyond the end.
    pub fn read_span(&self, offset: u64, len: usize) -> io::Result<Vec<u8>> {
        let (start, buffer) = self.read_sectors(offset, len)?;
        let skip = (offset - start) as usize;
        Ok(buffer[skip..skip + len].to_vec())
    }

    /// Replaces the bytes from `offset` on, and leaves every other byte of the sectors they lie in as it is.
    ///
    /// # Errors
    /// Those of reading and writing. A sector is written whole or not at all.
    pub fn patch(&self, offset: u64, bytes: &[u8]) -> io::Result<()> {
        let (start, mut buffer) = self.read_sectors(offset, bytes.len())?;
        let skip = (offset - start) as usize;
        buffer[skip..skip + bytes.len()].copy_from_slice(bytes);
        self.write_direct(&buffer, start).map_err(|(_, error)| error)
    }

    fn read_sectors(&self, offset: u64, len: usize) -> io::Result<(u64, AlignedBuffer)> {
        let sector = u64::from(self.logical_sector);
        let start = offset / sector * sector;
        let end = (offset + len as u64).div_ceil(sector) * sector;
        let mut buffer = AlignedBuffer::new((end - start) as usize);
        self.file.read_exact_at(&mut buffer, start)?;
        Ok((start, buffer))
    }

    /// Waits until everything written is on the medium, the drive's own cache included.
    ///
    /// # Errors
    /// Those of the device: an earlier write may turn out here to have failed.
    pub fn flush(&self) -> io::Result<()> {
        self.file.sync_all()
    }

    /// Tells the device that these bytes are not in use.
    ///
    /// # Errors
    /// `EOPNOTSUPP` if it takes no discards.
    pub fn discard(&self, offset: u64, len: u64) -> io::Result<()> {
        let range = [offset, len];
        // SAFETY: the request reads two u64, start and length, which live through the call.
        if unsafe { libc::ioctl(self.file.as_raw_fd(), BLKDISCARD as _, range.as_ptr()) } < 0 {
            return Err(io::Error::last_os_error());
        }
        Ok(())
    }

    /// Makes the kernel read the partition table again.
    ///
    /// # Errors
    /// `EBUSY` while a partition is in use, `EINVAL` where the device has none (a partition, a loop device without
    /// partition scan): the caller decides whether `partx --update` shall try.
    pub fn reread_table(&self) -> io::Result<()> {
        // SAFETY: BLKRRPART takes no argument and touches no memory of ours.
        if unsafe { libc::ioctl(self.file.as_raw_fd(), BLKRRPART as _) } < 0 {
            return Err(io::Error::last_os_error());
        }
        Ok(())
    }
}

fn get<T: Default>(fd: RawFd, request: libc::c_ulong) -> io::Result<T> {
    let mut value = T::default();
    // SAFETY: each request above stores one integer of exactly the size its caller names as T (linux/fs.h).
    if unsafe { libc::ioctl(fd, request as _, &mut value) } < 0 {
        return Err(io::Error::last_os_error());
    }
    Ok(value)
}

/// Memory that direct reads and writes take: it begins on a page and is never moved. Zeros at first.
#[derive(Debug)]
pub struct AlignedBuffer {
    start: NonNull<u8>,
    len: usize,
    layout: Layout,
}

// SAFETY: the buffer is plain memory that this value alone owns.
unsafe impl Send for AlignedBuffer {}

impl AlignedBuffer {
    /// A buffer of `len` bytes.
    pub fn new(len: usize) -> Self {
        let layout = Layout::from_size_align(len.max(1), ALIGNMENT).expect("no buffer is near isize::MAX");
        // SAFETY: the layout's size is not zero.
        let start = unsafe { alloc_zeroed(layout) };
        match NonNull::new(start) {
            Some(start) => AlignedBuffer { start, len, layout },
            None => handle_alloc_error(layout),
        }
    }
}

impl Deref for AlignedBuffer {
    type Target = [u8];
    fn deref(&self) -> &[u8] {
        // SAFETY: `start` points to at least `len` initialised bytes that live as long as self.
        unsafe { std::slice::from_raw_parts(self.start.as_ptr(), self.len) }
    }
}

impl DerefMut for AlignedBuffer {
    fn deref_mut(&mut self) -> &mut [u8] {
        // SAFETY: as above, and &mut self makes this the only reference.
        unsafe { std::slice::from_raw_parts_mut(self.start.as_ptr(), self.len) }
    }
}

impl Drop for AlignedBuffer {
    fn drop(&mut self) {
        // SAFETY: allocated in `new` with this very layout, and freed only here.
        unsafe { dealloc(self.start.as_ptr(), self.layout) }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn buffers_begin_on_a_page_and_are_zero() {
        for len in [0, 1, 512, 4096, 65_537] {
            let buffer = AlignedBuffer::new(len);
            assert_eq!(buffer.as_ptr() as usize % ALIGNMENT, 0);
            assert_eq!(buffer.len(), len);
            assert!(buffer.iter().all(|b| *b == 0));
        }
    }

    #[test]
    fn what_is_no_block_device_is_not_opened_as_one() {
        for path in ["/dev/null", "/etc/passwd", "/"] {
            let error = BlockDevice::open_read(Path::new(path)).expect_err("it is no block device");
            assert_eq!(error.kind(), io::ErrorKind::InvalidInput, "{path}");
        }
    }
}
