//! The passphrase: read without an echo or from a descriptor, kept in memory that is wiped, shown nowhere.

use rustix::io::{FdFlags, fcntl_dupfd_cloexec, fcntl_setfd};
use std::fs::File;
use std::io::{self, Read};
use std::os::fd::{BorrowedFd, RawFd};
use zeroize::{Zeroize, Zeroizing};

/// More than cryptsetup takes interactively (512 bytes); what is longer is not a passphrase.
const MOST_BYTES: u64 = 8192;

/// A passphrase. It has no `Debug` and no `Display`; it is neither swapped out nor written into a core dump, and is wiped
/// when it is dropped.
pub struct Passphrase(Locked);

impl Passphrase {
    /// Asks on the terminal, without an echo.
    ///
    /// # Errors
    /// If there is no terminal.
    pub fn ask(prompt: &str) -> io::Result<Self> {
        forbid_core_dumps()?;
        let typed = Zeroizing::new(rpassword::prompt_password(prompt)?);
        let mut locked = Locked::new();
        if typed.len() as u64 > MOST_BYTES {
            return Err(io::Error::other(format!("more than {MOST_BYTES} bytes were typed")));
        }
        locked.0.extend_from_slice(typed.as_bytes());
        Ok(Passphrase(locked))
    }

    /// Reads descriptor `fd` to its end; one newline at the end is not part of the passphrase. No tool that is run later
    /// inherits it.
    ///
    /// # Errors
    /// If it is not open for reading, or holds more than a passphrase.
    pub fn read_from(fd: RawFd) -> io::Result<Self> {
        if fd < 0 {
            return Err(io::Error::other(format!("{fd} is no descriptor")));
        }
        let given = borrowed(fd);
        let not_open = |_| io::Error::other(format!("descriptor {fd} is not open"));
        // A copy is read, and the original is not closed: were it the standard input, the next pipe would get its
        // number, and lose it again as a tool is started with that pipe.
        let file = File::from(fcntl_dupfd_cloexec(given, 3).map_err(not_open)?);
        if fd > 2 {
            fcntl_setfd(given, FdFlags::CLOEXEC)?;
        }
        forbid_core_dumps()?;
        let mut locked = Locked::new();
        let bytes = &mut locked.0;
        file.take(MOST_BYTES + 1).read_to_end(bytes)?;
        if bytes.len() as u64 > MOST_BYTES {
            return Err(io::Error::other(format!("descriptor {fd} holds more than {MOST_BYTES} bytes")));
        }
        if bytes.last() == Some(&b'\n') {
            bytes.pop();
        }
        Ok(Passphrase(locked))
    }

    /// The bytes, for a tool's stdin.
    pub fn bytes(&self) -> &[u8] {
        &self.0.0
    }
}

/// Room for a passphrase, all of it beforehand: a vector that grows leaves copies behind that are not wiped. It is kept out of
/// swap space where the system allows that; where it does not, it is in memory for seconds only.
struct Locked(Vec<u8>);

impl Locked {
    fn new() -> Self {
        let room: Vec<u8> = Vec::with_capacity(MOST_BYTES as usize + 1);
        // SAFETY: the pages are this vector's own, and are locked only; a failure leaves them as they are.
        unsafe { libc::mlock(room.as_ptr().cast(), room.capacity()) };
        Locked(room)
    }
}

impl Drop for Locked {
    fn drop(&mut self) {
        self.0.zeroize();
        // SAFETY: as above; nothing secret is in them any more.
        unsafe { libc::munlock(self.0.as_ptr().cast(), self.0.capacity()) };
    }
}

/// From now on neither this process nor a tool that it starts leaves its memory in a file when it crashes, and no process but
/// root's can look into ours (prctl(2), `PR_SET_DUMPABLE`).
fn forbid_core_dumps() -> io::Result<()> {
    let none = rustix::process::Rlimit { current: Some(0), maximum: Some(0) };
    rustix::process::setrlimit(rustix::process::Resource::Core, none)?;
    Ok(rustix::process::set_dumpable_behavior(rustix::process::DumpableBehavior::NotDumpable)?)
}

fn borrowed<'a>(fd: RawFd) -> BorrowedFd<'a> {
    // SAFETY: used for two fcntls, which say themselves whether the descriptor is open; -1 was ruled out before.
    unsafe { BorrowedFd::borrow_raw(fd) }
}

#[cfg(test)]
mod tests {
    use super::*;
    use std::io::Write;
    use std::os::fd::IntoRawFd;

    #[test]
    fn one_newline_at_the_end_is_not_part_of_a_passphrase() {
        for (given, kept) in [("secret\n", "secret"), ("two\n\n", "two\n"), ("none", "none"), ("", "")] {
            let mut pipe = tempfile::tempfile().expect("a temporary file");
            pipe.write_all(given.as_bytes()).expect("it takes a few bytes");
            std::io::Seek::rewind(&mut pipe).expect("it can be read again");
            let read = Passphrase::read_from(pipe.into_raw_fd()).expect("it is open");
            assert_eq!(read.bytes(), kept.as_bytes());
        }
    }

    #[test]
    fn a_descriptor_that_was_read_stays_open_but_is_not_inherited() {
        let file = tempfile::tempfile().expect("a temporary file");
        rustix::io::fcntl_setfd(&file, FdFlags::empty()).expect("it is open");
        Passphrase::read_from(std::os::fd::AsRawFd::as_raw_fd(&file)).expect("it is open");
        assert_eq!(rustix::io::fcntl_getfd(&file).expect("it is still open"), FdFlags::CLOEXEC);
    }

    #[test]
    fn a_process_that_has_read_a_passphrase_keeps_it_in_memory_and_leaves_no_core() {
        let file = tempfile::tempfile().expect("a temporary file");
        let held = Passphrase::read_from(std::os::fd::AsRawFd::as_raw_fd(&file)).expect("it is open");
        let status = || std::fs::read_to_string("/proc/self/status").expect("readable");
        let locked = |status: &str| {
            let line = status.lines().find_map(|line| line.strip_prefix("VmLck:")).expect("the kernel says");
            line.trim().split(' ').next().and_then(|kib| kib.parse::<u64>().ok()).expect("a number")
        };
        assert!(locked(&status()) >= MOST_BYTES / 1024, "{}", status());
        drop(held);
        let core = rustix::process::getrlimit(rustix::process::Resource::Core);
        assert_eq!((core.current, core.maximum), (Some(0), Some(0)));
        let dumpable = rustix::process::dumpable_behavior().expect("the kernel says");
        assert_eq!(dumpable, rustix::process::DumpableBehavior::NotDumpable);
    }

    #[test]
    fn a_descriptor_that_is_not_open_is_an_error() {
        assert!(Passphrase::read_from(-1).is_err());
        assert!(Passphrase::read_from(987).is_err());
    }
}
