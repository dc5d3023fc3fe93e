//! A directory of the mirror in which entries are made, and what is known of what comes into being there.
//!
//! A new entry has an owner, attributes and flags already: from whoever makes it, from its directory (setgid, a default
//! ACL, inherited flags, a project), from the file system and from a security module. The first file that is made in a
//! directory tells it of all others, so they need not be asked.

use crate::sys::dir::Handle;
use crate::tree::entry::attrs::Attrs;
use crate::tree::pass::Rules;
use std::io;
use std::sync::OnceLock;

/// A directory to make entries in. Its own metadata does not change meanwhile.
#[derive(Debug)]
pub(in crate::tree) struct Nest {
    /// The directory.
    pub dir: Handle,
    born: OnceLock<Born>,
}

/// What a file has before anything was done to it.
#[derive(Debug)]
pub(in crate::tree) struct Born {
    /// User and group. Those of an entry of any type.
    pub owner: (u32, u32),
    /// Whether it has no attributes, so that nothing else here has any. Those of a file that has some may depend on
    /// its name.
    pub bare: bool,
    /// Flags and project; of attributes, one file's.
    pub attrs: Attrs,
}

impl Nest {
    /// A directory of which nothing is known yet.
    pub fn new(dir: Handle) -> Self {
        Nest { dir, born: OnceLock::new() }
    }
    /// What files here have from the beginning. `file` was just made here, and nothing was done to it yet.
    pub fn born(&self, file: &Handle, rules: &Rules) -> io::Result<&Born> {
        if self.born.get().is_none() {
            let (stat, attrs) = (file.stat()?, Attrs::read(file, rules)?);
            let born = Born { owner: (stat.uid, stat.gid), bare: attrs.xattrs.is_empty(), attrs };
            // Another thread may have been first; it saw the same.
            let _ = self.born.set(born);
        }
        Ok(self.born.get().expect("it was set"))
    }
    /// The same, if a file was made here already.
    pub fn known(&self) -> Option<&Born> {
        self.born.get()
    }
}
