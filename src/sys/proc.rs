//! The kernel's tables of what is mounted and of what is swapped to. Users choose names in them, of any bytes.

use std::ffi::OsString;
use std::io;
use std::os::unix::ffi::OsStringExt;
use std::path::PathBuf;

/// A line of proc_pid_mountinfo(5).
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Mount {
    /// Its number.
    pub id: u64,
    /// Major and minor number of what is mounted.
    pub device: (u32, u32),
    /// The directory of the file system that is mounted: `/`, or another for a bind mount or a subvolume.
    pub root: PathBuf,
    /// Where.
    pub at: PathBuf,
    /// The kernel's name of its file system.
    pub kind: String,
    /// What, as whoever mounted it named it.
    pub source: PathBuf,
}

/// A line of /proc/swaps (proc(5)).
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Swap {
    /// The node or the file.
    pub path: PathBuf,
    /// Whether it is a file.
    pub is_file: bool,
}

/// What is mounted in this process's namespace.
///
/// # Errors
/// The system's.
pub fn mounts() -> io::Result<Vec<Mount>> {
    Ok(parse_mounts(&std::fs::read("/proc/self/mountinfo")?))
}

/// What is swapped to; nothing where the kernel has no swap.
pub fn swaps() -> Vec<Swap> {
    parse_swaps(&std::fs::read("/proc/swaps").unwrap_or_default())
}

fn parse_mounts(text: &[u8]) -> Vec<Mount> {
    text.split(|byte| *byte == b'\n').filter_map(mount).collect()
}

/// `36 35 98:0 /root /at rw,noatime master:1 - ext3 /dev/root rw`, with any number of fields before the hyphen.
fn mount(line: &[u8]) -> Option<Mount> {
    let mut fields = line.split(|byte| *byte == b' ');
    let (id, _parent) = (text(fields.next()?)?.parse().ok()?, fields.next()?);
    let (major, minor) = text(fields.next()?)?.split_once(':')?;
    let device = (major.parse().ok()?, minor.parse().ok()?);
    let (root, at) = (path(fields.next()?), path(fields.next()?));
    let mut rest = fields.skip_while(|field| *field != b"-").skip(1);
    let (kind, source) = (text(rest.next()?)?.to_owned(), path(rest.next()?));
    Some(Mount { id, device, root, at, kind, source })
}

fn parse_swaps(text: &[u8]) -> Vec<Swap> {
    let swap = |line: &[u8]| {
        let mut fields = line.split(u8::is_ascii_whitespace).filter(|field| !field.is_empty());
        Some(Swap { path: path(fields.next()?), is_file: fields.next()? == b"file" })
    };
    text.split(|byte| *byte == b'\n').skip(1).filter_map(swap).collect()
}

fn text(field: &[u8]) -> Option<&str> {
    std::str::from_utf8(field).ok()
}

/// A field's bytes: the kernel writes blanks, newlines and backslashes as three octal digits.
fn path(mut field: &[u8]) -> PathBuf {
    let mut bytes = Vec::with_capacity(field.len());
    while let Some((first, rest)) = field.split_first() {
        let digits = rest.get(..3).filter(|_| *first == b'\\').and_then(text);
        match digits.and_then(|digits| u8::from_str_radix(digits, 8).ok()) {
            Some(byte) => {
                bytes.push(byte);
                field = &rest[3..];
            }
            None => {
                bytes.push(*first);
                field = rest;
            }
        }
    }
    OsString::from_vec(bytes).into()
}

#[cfg(test)]
mod tests {
    use super::*;
    use std::ffi::OsStr;
    use std::os::unix::ffi::OsStrExt;

    #[test]
    fn mounts_are_read_with_any_bytes_in_their_names_and_optional_fields() {
        let text = b"36 35 98:0 /mnt1 /mnt\\0402 rw,noatime master:1 - ext3 /dev/root rw,errors=continue\n\
                     40 35 0:45 / /srv/caf\xe9\\134040 rw - btrfs /dev/sdb1 rw\nnonsense\n";
        let mounts = parse_mounts(text);
        assert_eq!(mounts.len(), 2);
        assert_eq!((mounts[0].id, mounts[0].device, mounts[0].kind.as_str()), (36, (98, 0), "ext3"));
        assert_eq!(mounts[0].root, PathBuf::from("/mnt1"));
        assert_eq!((&mounts[0].at, &mounts[0].source), (&"/mnt 2".into(), &"/dev/root".into()));
        assert_eq!(mounts[1].at.as_os_str(), OsStr::from_bytes(b"/srv/caf\xe9\\040"));
    }

    #[test]
    fn active_swap_is_listed_by_node_and_by_file() {
        let text = b"Filename\t\t\t\tType\t\tSize\t\tUsed\t\tPriority\n\
                     /dev/dm-1                               partition\t249852\t\t0\t\t-2\n\
                     /swap\\040file                           file\t\t1048572\t\t0\t\t-3\n";
        let swap = |path: &str, is_file| Swap { path: path.into(), is_file };
        assert_eq!(parse_swaps(text), [swap("/dev/dm-1", false), swap("/swap file", true)]);
        assert!(parse_swaps(b"Filename\t\t\t\tType\t\tSize\t\tUsed\t\tPriority\n").is_empty());
    }
}
