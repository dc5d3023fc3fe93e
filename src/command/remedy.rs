//! What helps against what the system said of a mirror, or of whatever else is being written.

use crate::tree;

/// What to do about an error in writing `what`, as `the mirror of /srv`; nothing where only the administrator can know.
pub fn remedy(what: &str, error: &anyhow::Error) -> Option<String> {
    match errno(error)? {
        libc::ENOSPC | libc::EDQUOT => Some(format!(
            "{what} is full (df, df -i): leave out what need not be mirrored, delete what is not needed on the source, or \
             take a larger disk"
        )),
        libc::EROFS | libc::EUCLEAN => Some(format!(
            "{what} became read-only, or is damaged: see dmesg, and have it checked (a run does that itself: fsck); if that \
             happens again, put in another disk"
        )),
        libc::EIO | libc::ENXIO | libc::ENODEV | libc::ESHUTDOWN | libc::ETIMEDOUT => Some(format!(
            "{what} lies on a disk that gives errors, or its source does: see dmesg and smartctl -a, look at the cable; if \
             the mirror's disk is dying, put in another and: diskmirror init --mirror DISK"
        )),
        _ => None,
    }
}

/// The number of what the system said, wherever in the chain of causes it stands.
fn errno(error: &anyhow::Error) -> Option<i32> {
    let of = |cause: &(dyn std::error::Error + 'static)| {
        let io = match cause.downcast_ref::<tree::Error>() {
            Some(tree::Error::Io { error, .. }) => Some(error),
            _ => cause.downcast_ref::<std::io::Error>(),
        };
        let errno = cause.downcast_ref::<rustix::io::Errno>().map(|errno| errno.raw_os_error());
        io.and_then(std::io::Error::raw_os_error).or(errno)
    };
    error.chain().find_map(of)
}
