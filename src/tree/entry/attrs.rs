//! What an entry carries beside its content and its mode: extended attributes, chattr flags, project.

use crate::sys::dir::{self, Handle};
use crate::sys::flags::{self, LOCKS, Project};
use crate::sys::stat::{Kind, Stat};
use crate::sys::volume;
use crate::sys::xattr::{self, Xattr};
use crate::tree::changes::change::Aspects;
use crate::tree::pass::Rules;
use std::ffi::{CStr, CString};
use std::io;

/// What decides who may read: asked for by name where the list of names is too long.
const DECISIVE: [&CStr; 3] =
    [c"system.posix_acl_access", c"system.posix_acl_default", c"security.capability"];

/// What is said of an entry whose attributes cannot be listed.
const UNLISTED: &str = "the names of its attributes take more than 64 KiB: the others are not carried over";

/// What one entry carries.
#[derive(Debug, Default, PartialEq, Eq)]
pub(in crate::tree) struct Attrs {
    /// In the order in which the source's file system tells them: set in this order, they are packed as there.
    pub xattrs: Vec<Xattr>,
    /// Whether there are others, whose names cannot be listed.
    pub unlisted: bool,
    /// Those that the rules carry over; `None` where there are none to be read.
    pub flags: Option<u32>,
    /// The project.
    pub project: Option<Project>,
}

impl Attrs {
    /// Reads what is open.
    pub fn read(handle: &Handle, rules: &Rules) -> io::Result<Attrs> {
        let listed = rules.names(handle)?;
        let unlisted = listed.is_none();
        let decisive =
            || DECISIVE.into_iter().filter(|name| rules.carries(name)).map(CStr::to_owned).collect();
        let mut xattrs = Vec::new();
        for name in listed.unwrap_or_else(decisive) {
            match xattr::get(handle, &name) {
                Ok(value) => xattrs.extend(value.map(|value| Xattr { name, value })),
                // Of those that were not listed, some may not even be possible.
                Err(error) if unlisted && error.raw_os_error() == Some(libc::EOPNOTSUPP) => {}
                Err(error) => return Err(error),
            }
        }
        let (flags, project) = inode_flags(handle, rules)?;
        Ok(Attrs { xattrs, unlisted, flags, project })
    }
    /// Sets the extended attributes of what is open to these.
    pub fn set_xattrs(&self, handle: &Handle, rules: &Rules) -> io::Result<XattrsSet> {
        let Some(present) = rules.names(handle)? else { return self.replace_xattrs(handle, rules) };
        let mut differed = false;
        let is_gone = |name: &&CString| !self.unlisted && !self.xattrs.iter().any(|own| own.name == **name);
        for name in present.iter().filter(is_gone) {
            xattr::remove(handle, name)?;
            differed = true;
        }
        let mut others = Vec::new();
        for own in &self.xattrs {
            let is = if present.contains(&own.name) { xattr::get(handle, &own.name)? } else { None };
            if is.as_ref() != Some(&own.value) {
                others.push((own.value.len() > is.map_or(0, |is| is.len()), own));
            }
        }
        differed |= !others.is_empty();
        // What shrinks makes room for what grows.
        others.sort_by_key(|(grows, _)| *grows);
        for (_, own) in others {
            match xattr::set(handle, own) {
                Err(error) if is_too_large(handle, &error) => return self.replace_xattrs(handle, rules),
                other => other?,
            }
        }
        Ok(XattrsSet { differed, refused: self.unlisted.then(unlisted) })
    }
    /// Takes all away first: in another order they may not fit where together they do. What was readable by fewer is so
    /// meanwhile. One that cannot be kept is left out, and told; one that decides who may read is an error.
    fn replace_xattrs(&self, handle: &Handle, rules: &Rules) -> io::Result<XattrsSet> {
        let stat = handle.stat()?;
        if matches!(stat.kind, Kind::File | Kind::Dir) {
            dir::set_mode(handle, stat.mode & 0o700)?;
        }
        for name in rules.names(handle)?.unwrap_or_default() {
            xattr::remove(handle, &name)?;
        }
        Ok(XattrsSet { differed: true, refused: self.add_xattrs(handle)? })
    }
    /// Sets them on what has none. Gives back what could not be kept, and why; what decides who may read must be.
    pub fn add_xattrs(&self, handle: &Handle) -> io::Result<Option<io::Error>> {
        let mut refused = self.unlisted.then(unlisted);
        for own in &self.xattrs {
            match xattr::set(handle, own) {
                Err(error) if is_too_large(handle, &error) => {
                    let name = own.name.to_string_lossy();
                    let (size, kind) = (own.value.len(), error.kind());
                    let why = format!("the attribute {name} of {size} bytes does not fit: {error}");
                    let error = io::Error::new(kind_of_refusal(kind), why);
                    if DECISIVE.contains(&own.name.as_c_str()) {
                        return Err(error);
                    }
                    refused.get_or_insert(error);
                }
                other => other?,
            }
        }
        Ok(refused)
    }
    /// Whether `set_flags` would find nothing to do on something that has `other`.
    pub fn is_flagged_as(&self, other: &Attrs) -> bool {
        self.flags.is_none_or(|flags| flags == other.flags.unwrap_or(0))
            && self.project.is_none_or(|project| project == other.project.unwrap_or_default())
    }
    /// Sets flags and project of what is open to these, but for the locks. Gives back the locks still to be set.
    pub fn set_flags(&self, handle: &Handle, rules: &Rules) -> io::Result<u32> {
        if handle.path_only {
            return Ok(0);
        }
        if let Some(project) = self.project
            && flags::project(&handle.fd)?.unwrap_or_default() != project
        {
            flags::set_project(&handle.fd, project)?;
        }
        let Some(wanted) = self.flags else { return Ok(0) };
        let current = flags::get(&handle.fd)?.unwrap_or(0);
        let free = (current & !rules.flags) | (wanted & !LOCKS);
        if free != current {
            flags::set(&handle.fd, free)?;
        }
        Ok(wanted & LOCKS)
    }
}

/// How extended attributes were set.
#[derive(Debug)]
pub(in crate::tree) struct XattrsSet {
    /// Whether they were others.
    pub differed: bool,
    /// What could not be kept, and why.
    pub refused: Option<io::Error>,
}

fn unlisted() -> io::Error {
    io::Error::other(UNLISTED)
}

/// Whether an attribute could not be set because it is too large itself, or for its inode, and not because the file system
/// has no room.
fn is_too_large(handle: &Handle, error: &io::Error) -> bool {
    match error.raw_os_error() {
        Some(libc::E2BIG | libc::ERANGE | libc::EDQUOT) => true,
        Some(libc::ENOSPC) => volume::has_room(&handle.fd).unwrap_or(false),
        _ => false,
    }
}

/// One file's attribute is never what no other entry would survive.
fn kind_of_refusal(kind: io::ErrorKind) -> io::ErrorKind {
    if kind == io::ErrorKind::StorageFull { io::ErrorKind::FileTooLarge } else { kind }
}

fn inode_flags(handle: &Handle, rules: &Rules) -> io::Result<(Option<u32>, Option<Project>)> {
    if handle.path_only {
        return Ok((None, None));
    }
    let flags = flags::get(&handle.fd)?.map(|all| all & rules.flags);
    Ok((flags, flags::project(&handle.fd)?))
}

/// In what the metadata of two entries of one type differ, without content.
pub(in crate::tree) fn compare(
    (source, source_stat): (&Handle, &Stat),
    (mirror, mirror_stat): (&Handle, &Stat),
    rules: &Rules,
) -> io::Result<Aspects> {
    let stats = compare_stats(source_stat, mirror_stat, rules);
    let (source_flags, source_project) = inode_flags(source, rules)?;
    let (mirror_flags, mirror_project) = inode_flags(mirror, rules)?;
    let flags_differ = source_flags.zip(mirror_flags).is_some_and(|(a, b)| a != b)
        || source_project.zip(mirror_project).is_some_and(|(a, b)| a != b)
        || source_project.is_some_and(|project| project != Project::default()) && mirror_project.is_none();
    let xattrs_differ = xattrs_differ(source, mirror, rules)?;
    Ok(stats | Aspects::FLAGS.when(flags_differ) | Aspects::XATTRS.when(xattrs_differ))
}

/// In what `stat` differs.
pub(in crate::tree) fn compare_stats(source: &Stat, mirror: &Stat, rules: &Rules) -> Aspects {
    let moded = source.kind != Kind::Symlink && rules.owners;
    let owned = rules.privileged && rules.owners;
    Aspects::MTIME.when(!rules.is_kept_as(source.mtime, mirror.mtime))
        | Aspects::MODE.when(moded && source.mode != mirror.mode)
        | Aspects::OWNER.when(owned && source.uid != mirror.uid)
        | Aspects::GROUP.when(owned && source.gid != mirror.gid)
}

fn xattrs_differ(source: &Handle, mirror: &Handle, rules: &Rules) -> io::Result<bool> {
    let sorted = |handle| {
        let names = rules.names(handle)?;
        Ok::<_, io::Error>(names.map(|mut names| {
            names.sort_unstable();
            names
        }))
    };
    let (Some(names), others) = (sorted(source)?, sorted(mirror)?) else { return Ok(true) };
    if Some(&names) != others.as_ref() {
        return Ok(true);
    }
    for name in &names {
        if xattr::get(source, name)? != xattr::get(mirror, name)? {
            return Ok(true);
        }
    }
    Ok(false)
}
