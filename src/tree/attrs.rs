//! What an entry carries beside its content and its mode: extended attributes, chattr flags, project.

use super::change::Aspects;
use crate::sys::dir::Handle;
use crate::sys::flags::{self, JOURNAL, LOCKS, Project};
use crate::sys::stat::{Kind, Stat};
use crate::sys::xattr::{self, Xattr};
use std::ffi::{CStr, CString};
use std::io;

/// What is carried over, given who runs and what both file systems can hold.
#[derive(Debug, Clone, Copy)]
pub(super) struct Rules {
    /// Whether owners, trusted and security attributes, locks and device nodes can be set.
    pub privileged: bool,
    /// The chattr flags that both file systems keep and that may be set.
    pub flags: u32,
    /// Whether both file systems keep owners and modes.
    pub owners: bool,
}

impl Rules {
    /// The rules between two file systems that keep `source` and `mirror` flags, and `owners` if both do.
    pub fn new(privileged: bool, source: u32, mirror: u32, owners: bool) -> Self {
        let denied = if privileged { 0 } else { LOCKS | JOURNAL };
        Rules { privileged, flags: source & mirror & !denied, owners }
    }
    /// Whether an entry's owner is carried over.
    pub fn sets_owners(&self) -> bool {
        self.privileged && self.owners
    }
    /// Whether an attribute is carried over. Of the kernel's own (`system.`) only the access control lists are.
    fn carries(&self, name: &CStr) -> bool {
        let name = name.to_bytes();
        if name.starts_with(b"system.") {
            return name.starts_with(b"system.posix_acl_");
        }
        name.starts_with(b"user.") || self.privileged
    }
    fn names(&self, handle: &Handle) -> io::Result<Vec<CString>> {
        let mut names = xattr::list(handle)?;
        names.retain(|name| self.carries(name));
        Ok(names)
    }
}

/// What one entry carries.
#[derive(Debug, Default, PartialEq, Eq)]
pub(super) struct Attrs {
    /// Sorted by name.
    pub xattrs: Vec<Xattr>,
    /// Those that the rules carry over; `None` where there are none to be read.
    pub flags: Option<u32>,
    /// The project.
    pub project: Option<Project>,
}

impl Attrs {
    /// Reads what is open.
    pub fn read(handle: &Handle, rules: &Rules) -> io::Result<Attrs> {
        let mut xattrs = Vec::new();
        for name in rules.names(handle)? {
            if let Some(value) = xattr::get(handle, &name)? {
                xattrs.push(Xattr { name, value });
            }
        }
        let (flags, project) = inode_flags(handle, rules)?;
        Ok(Attrs { xattrs, flags, project })
    }
    /// Sets the extended attributes of what is open to these. Gives back whether they were others.
    pub fn set_xattrs(&self, handle: &Handle, rules: &Rules) -> io::Result<bool> {
        let present = rules.names(handle)?;
        let mut differed = false;
        for name in present.iter().filter(|name| !self.xattrs.iter().any(|own| own.name == **name)) {
            xattr::remove(handle, name)?;
            differed = true;
        }
        for own in &self.xattrs {
            if !present.contains(&own.name) || xattr::get(handle, &own.name)?.as_ref() != Some(&own.value) {
                xattr::set(handle, own)?;
                differed = true;
            }
        }
        Ok(differed)
    }
    /// The same, of what has none.
    pub fn add_xattrs(&self, handle: &Handle) -> io::Result<()> {
        self.xattrs.iter().try_for_each(|own| xattr::set(handle, own))
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

fn inode_flags(handle: &Handle, rules: &Rules) -> io::Result<(Option<u32>, Option<Project>)> {
    if handle.path_only {
        return Ok((None, None));
    }
    let flags = flags::get(&handle.fd)?.map(|all| all & rules.flags);
    Ok((flags, flags::project(&handle.fd)?))
}

/// In what the metadata of two entries of one type differ, without content.
pub(super) fn compare(
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
pub(super) fn compare_stats(source: &Stat, mirror: &Stat, rules: &Rules) -> Aspects {
    let moded = source.kind != Kind::Symlink && rules.owners;
    let owned = rules.privileged && rules.owners;
    Aspects::MTIME.when(source.mtime != mirror.mtime)
        | Aspects::MODE.when(moded && source.mode != mirror.mode)
        | Aspects::OWNER.when(owned && source.uid != mirror.uid)
        | Aspects::GROUP.when(owned && source.gid != mirror.gid)
}

fn xattrs_differ(source: &Handle, mirror: &Handle, rules: &Rules) -> io::Result<bool> {
    let names = rules.names(source)?;
    if names != rules.names(mirror)? {
        return Ok(true);
    }
    for name in &names {
        if xattr::get(source, name)? != xattr::get(mirror, name)? {
            return Ok(true);
        }
    }
    Ok(false)
}
