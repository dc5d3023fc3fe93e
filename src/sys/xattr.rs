//! Extended attributes of what is open: by descriptor, or by its magic link where it is open with `O_PATH`.

use super::dir::Handle;
use rustix::fs::XattrFlags;
use rustix::io::Errno;
use std::ffi::CString;
use std::io;

/// Most bytes that the names, or one value, of an entry's attributes may take (limits.h, XATTR_LIST_MAX).
const MOST: usize = 64 * 1024;
/// What most of them take: the kernel makes itself as much room as it is told of.
const USUAL: usize = 512;

/// One attribute.
#[derive(Debug, Clone, PartialEq, Eq, PartialOrd, Ord)]
pub struct Xattr {
    /// Name, with its namespace.
    pub name: CString,
    /// Value.
    pub value: Vec<u8>,
}

thread_local! {
    static ROOM: std::cell::RefCell<Vec<u8>> = std::cell::RefCell::new(vec![0; MOST]);
}

/// The names of the attributes, in the file system's own order: ext4 names those in the inode before those in a block. None
/// where the file system has no attributes.
///
/// # Errors
/// The system's; `E2BIG` where the names take more than 64 KiB.
pub fn list(handle: &Handle) -> io::Result<Vec<CString>> {
    with_room(
        |room| {
            if handle.path_only {
                rustix::fs::listxattr(handle.proc_path(), room)
            } else {
                rustix::fs::flistxattr(&handle.fd, room)
            }
        },
        |read| match read {
            Ok(list) => Ok(names(list)),
            Err(Errno::OPNOTSUPP) => Ok(Vec::new()),
            Err(error) => Err(error.into()),
        },
    )
}

/// Reads into as much room as is usually needed, and into all there is where that is too little.
fn with_room<T>(
    read: impl Fn(&mut [u8]) -> rustix::io::Result<usize>,
    take: impl FnOnce(Result<&[u8], Errno>) -> io::Result<T>,
) -> io::Result<T> {
    ROOM.with_borrow_mut(|room| {
        let length = match read(&mut room[..USUAL]) {
            Err(Errno::RANGE) => read(&mut room[..]),
            other => other,
        };
        take(length.map(|length| &room[..length]))
    })
}

fn names(list: &[u8]) -> Vec<CString> {
    let names = list.split(|byte| *byte == 0).filter(|name| !name.is_empty());
    names.filter_map(|name| CString::new(name).ok()).collect()
}

/// The value of one attribute; `None` if there is no such attribute.
///
/// # Errors
/// The system's.
pub fn get(handle: &Handle, name: &CString) -> io::Result<Option<Vec<u8>>> {
    with_room(
        |room| {
            if handle.path_only {
                rustix::fs::getxattr(handle.proc_path(), name, room)
            } else {
                rustix::fs::fgetxattr(&handle.fd, name, room)
            }
        },
        |read| match read {
            Ok(value) => Ok(Some(value.to_vec())),
            Err(Errno::NODATA) => Ok(None),
            Err(error) => Err(error.into()),
        },
    )
}

/// Sets one attribute.
///
/// # Errors
/// The system's.
pub fn set(handle: &Handle, xattr: &Xattr) -> io::Result<()> {
    let (name, value) = (&xattr.name, &xattr.value[..]);
    Ok(if handle.path_only {
        rustix::fs::setxattr(handle.proc_path(), name, value, XattrFlags::empty())
    } else {
        rustix::fs::fsetxattr(&handle.fd, name, value, XattrFlags::empty())
    }?)
}

/// Removes one attribute, if it is there.
///
/// # Errors
/// The system's.
pub fn remove(handle: &Handle, name: &CString) -> io::Result<()> {
    let removed = if handle.path_only {
        rustix::fs::removexattr(handle.proc_path(), name)
    } else {
        rustix::fs::fremovexattr(&handle.fd, name)
    };
    match removed {
        Ok(()) | Err(Errno::NODATA) => Ok(()),
        Err(error) => Err(error.into()),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_list_of_names_is_split_at_its_nuls_and_keeps_its_order() {
        assert_eq!(names(b"user.b\0security.a\0"), [c"user.b".to_owned(), c"security.a".to_owned()]);
        assert!(names(b"").is_empty());
    }
}
