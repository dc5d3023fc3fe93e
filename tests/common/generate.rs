//! Seeded random trees, and seeded random changes to them.
//!
//! Every write is followed by an mtime that no other file ever gets: a change that keeps both size and mtime cannot
//! be seen without a catalog (nor by rsync without --checksum), and is not what these trees are about.

use super::names;
use super::rng::Rng;
use rustix::fs::{AtFlags, CWD, FileType, Mode, Timespec, Timestamps, XattrFlags};
use std::fs::{self, File, OpenOptions, Permissions};
use std::io::{Seek, SeekFrom, Write};
use std::os::unix::fs::{DirBuilderExt, FileTypeExt, MetadataExt, PermissionsExt, symlink};
use std::path::{Path, PathBuf};

/// Makes and changes one tree.
pub struct Generator {
    root: PathBuf,
    rng: Rng,
    as_root: bool,
    made: u64,
    stamps: u64,
}

/// What can be done to an entry.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Change {
    Write,
    Append,
    Truncate,
    Touch,
    Chmod,
    Chown,
    Rename,
    Delete,
    Retype,
    Link,
    Unlink,
    Xattr,
    Acl,
    Swap,
    Add,
}

const CHANGES: [Change; 15] = [
    Change::Write,
    Change::Append,
    Change::Truncate,
    Change::Touch,
    Change::Chmod,
    Change::Chown,
    Change::Rename,
    Change::Delete,
    Change::Retype,
    Change::Link,
    Change::Unlink,
    Change::Xattr,
    Change::Acl,
    Change::Swap,
    Change::Add,
];

impl Generator {
    /// For the tree below `root`, an existing directory. Without `as_root`, only what an owner may do.
    pub fn new(root: &Path, seed: u64, as_root: bool) -> Self {
        Generator { root: root.to_owned(), rng: Rng::new(seed), as_root, made: 0, stamps: 0 }
    }

    /// Fills the tree with some entries: from none to a few dozen, flat or deep.
    pub fn grow(&mut self) {
        let entries = *self.rng.pick(&[0, 3, 12, 30, 60]);
        let directories_in = *self.rng.pick(&[2, 4, 12]);
        for _ in 0..entries {
            self.add(directories_in);
        }
        for directory in self.directories() {
            self.decorate(&directory);
        }
    }

    /// Makes some random changes; returns what they were, for the message of a failing case.
    pub fn change(&mut self) -> Vec<String> {
        let count = self.rng.range(1, 12);
        (0..count).map(|_| self.one_change()).collect()
    }

    fn one_change(&mut self) -> String {
        let change = *self.rng.pick(&CHANGES);
        let Some(path) = self.any_entry() else {
            self.add(3);
            return "Add".into();
        };
        let is_file = kind(&path).is_file();
        match change {
            Change::Add => self.add(3),
            Change::Write if is_file => self.write(&path),
            Change::Append if is_file => self.append(&path),
            Change::Truncate if is_file => self.truncate(&path),
            Change::Write | Change::Append | Change::Truncate | Change::Touch => self.stamp(&path),
            Change::Chmod => self.chmod(&path),
            Change::Chown => self.chown(&path),
            Change::Rename => self.rename(&path),
            Change::Delete => remove(&path),
            Change::Retype => self.retype(&path),
            Change::Link => self.link_to(&path),
            Change::Unlink => self.unlink_from_group(&path),
            Change::Xattr => self.xattr(&path),
            Change::Acl => self.acl(&path),
            Change::Swap => self.swap(&path),
        }
        format!("{change:?} {:?}", path.strip_prefix(&self.root).unwrap_or(&path))
    }

    fn add(&mut self, directories_in: u64) {
        let directories = self.directories();
        let parent = self.rng.pick(&directories).clone();
        let path = self.free_name(&parent);
        match self.rng.below(12) {
            _ if self.rng.once_in(directories_in) => {
                fs::DirBuilder::new().mode(0o755).create(&path).expect("mkdir")
            }
            0 => self.add_symlink(&path),
            1 => self.add_special(&path),
            2 => match self.any_entry() {
                Some(entry) => self.link_to(&entry),
                None => self.add_file(&path),
            },
            _ => self.add_file(&path),
        }
        if path.symlink_metadata().is_ok() {
            self.decorate(&path);
        }
    }

    fn add_file(&mut self, path: &Path) {
        File::create_new(path).expect("a new file");
        self.write(path);
    }

    fn write(&mut self, path: &Path) {
        let length = *self.rng.pick(&[0, 1, 3, 4095, 4096, 4097, 20_000, 70_000, 300_000]);
        let mut file = OpenOptions::new().write(true).truncate(true).open(path).expect("a file to write");
        if self.rng.once_in(4) {
            self.write_sparse(&mut file);
        } else {
            file.write_all(&self.rng.bytes(length)).expect("written");
        }
        self.stamp(path);
    }

    fn write_sparse(&mut self, file: &mut File) {
        let length = self.rng.range(1, 3_000_000);
        for _ in 0..self.rng.below(4) {
            let at = self.rng.below(length);
            file.seek(SeekFrom::Start(at)).expect("seek");
            let piece = self.rng.range(1, 9000) as usize;
            file.write_all(&self.rng.bytes(piece)).expect("written");
        }
        let end = file.metadata().expect("an open file").len();
        file.set_len(length.max(end)).expect("truncated");
    }

    fn append(&mut self, path: &Path) {
        let mut file = OpenOptions::new().append(true).open(path).expect("a file to append to");
        let length = self.rng.range(1, 10_000) as usize;
        file.write_all(&self.rng.bytes(length)).expect("written");
        self.stamp(path);
    }

    fn truncate(&mut self, path: &Path) {
        let length = path.metadata().expect("it exists").len();
        let file = OpenOptions::new().write(true).open(path).expect("a file to truncate");
        file.set_len(self.rng.below(length + 5000)).expect("truncated");
        self.stamp(path);
    }

    fn add_symlink(&mut self, path: &Path) {
        let far = "long/".repeat(200);
        let target = *self.rng.pick(&["/etc/passwd", "dangling", "..", "\n odd \u{1}", far.as_str(), "."]);
        symlink(target, path).expect("a new link");
    }

    fn add_special(&mut self, path: &Path) {
        let choices = if self.as_root { 4 } else { 2 };
        let (kind, device) = match self.rng.below(choices) {
            0 => (FileType::Fifo, 0),
            1 => (FileType::Socket, 0),
            2 => (FileType::CharacterDevice, rustix::fs::makedev(1, 3 + self.rng.below(300) as u32)),
            _ => (FileType::BlockDevice, rustix::fs::makedev(259, self.rng.below(100_000) as u32)),
        };
        rustix::fs::mknodat(CWD, path, kind, Mode::from_raw_mode(0o640), device).expect("a special file");
    }

    /// Owner, then attributes, then mode, then time: the earlier ones reset the later.
    fn decorate(&mut self, path: &Path) {
        if self.rng.once_in(3) {
            self.chown(path);
        }
        if self.rng.once_in(4) {
            self.xattr(path);
        }
        if self.rng.once_in(3) {
            self.chmod(path);
        }
        if self.rng.once_in(6) {
            self.acl(path);
        }
        if self.rng.once_in(2) || kind(path).is_file() {
            self.stamp(path);
        }
    }

    /// An mtime of its own: most are recent, some before 1970, some after 2038.
    fn stamp(&mut self, path: &Path) {
        self.stamps += 1;
        let seconds = match self.rng.below(6) {
            0 => -(self.rng.below(2_000_000_000) as i64),
            1 => 2_200_000_000 + self.rng.below(1_000_000_000) as i64,
            _ => 1_000_000_000 + self.rng.below(700_000_000) as i64,
        };
        let nanoseconds = (self.rng.below(99_999) * 10_000 + self.stamps % 10_000) as i64;
        set_mtime(path, seconds, nanoseconds);
    }

    fn chmod(&mut self, path: &Path) {
        let kind = kind(path);
        if kind.is_symlink() {
            return;
        }
        let needed = match (self.as_root, kind.is_dir()) {
            (true, _) => 0,
            (false, true) => 0o700,
            (false, false) => 0o600,
        };
        let mode = match self.rng.below(4) {
            0 => self.rng.below(0o10_000) as u32,
            1 => 0o4755,
            2 => 0o2755,
            _ => self.rng.below(0o1000) as u32,
        };
        fs::set_permissions(path, Permissions::from_mode(mode | needed)).expect("chmod");
    }

    fn chown(&mut self, path: &Path) {
        if self.as_root {
            let ids = [0, 1000, 1001, 65_534, 123_456, 3_000_000_000];
            let (owner, group) = (*self.rng.pick(&ids), *self.rng.pick(&ids));
            std::os::unix::fs::lchown(path, Some(owner), Some(group)).expect("chown");
        }
    }

    /// Sets, changes or removes an attribute. A full attribute block is as good as any other state.
    fn xattr(&mut self, path: &Path) {
        let kind = kind(path);
        let plain = kind.is_file() || kind.is_dir();
        let name = match self.rng.below(4) {
            0 if self.as_root => "trusted.diskmirror.test",
            1 if self.as_root && kind.is_file() => "security.capability",
            2 if plain => "user.second",
            _ if plain => "user.first",
            _ => return,
        };
        if self.rng.once_in(3) {
            let _ = rustix::fs::lremovexattr(path, name);
            return;
        }
        let length = *self.rng.pick(&[0, 1, 40, 900]);
        let value = match name {
            "security.capability" => capability(self.rng.below(38)),
            _ => self.rng.bytes(length),
        };
        let _ = rustix::fs::lsetxattr(path, name, &value, XattrFlags::empty());
    }

    fn acl(&mut self, path: &Path) {
        let kind = kind(path);
        if kind.is_symlink() {
            return;
        }
        let default = kind.is_dir() && self.rng.once_in(2);
        let name = if default { "system.posix_acl_default" } else { "system.posix_acl_access" };
        if self.rng.once_in(4) {
            let _ = rustix::fs::lremovexattr(path, name);
        } else {
            let value = acl(1000 + self.rng.below(5) as u32, self.rng.below(8) as u16);
            let _ = rustix::fs::lsetxattr(path, name, &value, XattrFlags::empty());
        }
    }

    fn rename(&mut self, path: &Path) {
        let directories = self.directories();
        let parent = self.rng.pick(&directories).clone();
        if !parent.starts_with(path) {
            let to = self.free_name(&parent);
            fs::rename(path, to).expect("renamed");
        }
    }

    fn retype(&mut self, path: &Path) {
        let was = kind(path);
        remove(path);
        match self.rng.below(4) {
            0 if !was.is_dir() => {
                fs::create_dir(path).expect("mkdir");
                let inner = self.free_name(path);
                self.add_file(&inner);
            }
            1 if !was.is_symlink() => self.add_symlink(path),
            2 if !was.is_fifo() => self.add_special(path),
            _ if !was.is_file() => self.add_file(path),
            _ => self.add_symlink(path),
        }
        self.decorate(path);
    }

    fn link_to(&mut self, path: &Path) {
        if kind(path).is_dir() {
            return;
        }
        let directories = self.directories();
        let parent = self.rng.pick(&directories).clone();
        let to = self.free_name(&parent);
        rustix::fs::linkat(CWD, path, CWD, &to, AtFlags::empty()).expect("a hard link");
    }

    /// Gives one name of a group an inode of its own, with other content.
    fn unlink_from_group(&mut self, path: &Path) {
        if path.symlink_metadata().expect("it exists").nlink() > 1 && kind(path).is_file() {
            remove(path);
            self.add_file(path);
        }
    }

    fn swap(&mut self, path: &Path) {
        let Some(other) = self.any_entry() else { return };
        if !other.starts_with(path) && !path.starts_with(&other) {
            let flags = rustix::fs::RenameFlags::EXCHANGE;
            rustix::fs::renameat_with(CWD, path, CWD, &other, flags).expect("swapped");
        }
    }

    fn free_name(&mut self, parent: &Path) -> PathBuf {
        loop {
            self.made += 1;
            let path = parent.join(names::name(&mut self.rng, self.made));
            if path.symlink_metadata().is_err() {
                return path;
            }
        }
    }

    fn any_entry(&mut self) -> Option<PathBuf> {
        let all = entries(&self.root);
        (!all.is_empty()).then(|| self.rng.pick(&all).clone())
    }

    /// Every directory that is not too deep for plain paths, the root first.
    fn directories(&self) -> Vec<PathBuf> {
        let mut all = vec![self.root.clone()];
        walk(&self.root, &mut all);
        all.retain(|path| kind(path).is_dir() && path.as_os_str().len() < 3500);
        all
    }
}

/// Every entry below `directory`, sorted, so that a seed always means the same.
pub fn entries(directory: &Path) -> Vec<PathBuf> {
    let mut all = Vec::new();
    walk(directory, &mut all);
    all
}

fn walk(directory: &Path, into: &mut Vec<PathBuf>) {
    let listing = fs::read_dir(directory).expect("the generator can read its tree");
    let mut here: Vec<PathBuf> = listing.map(|entry| entry.expect("an entry").path()).collect();
    here.sort();
    for path in here {
        let is_dir = kind(&path).is_dir();
        into.push(path.clone());
        if is_dir {
            walk(&path, into);
        }
    }
}

fn kind(path: &Path) -> fs::FileType {
    path.symlink_metadata().expect("the generator's entries exist").file_type()
}

/// Removes an entry of any type.
pub fn remove(path: &Path) {
    if kind(path).is_dir() {
        fs::remove_dir_all(path).expect("removed");
    } else {
        fs::remove_file(path).expect("removed");
    }
}

/// Sets the mtime, and only that, of an entry of any type.
pub fn set_mtime(path: &Path, seconds: i64, nanoseconds: i64) {
    let omit = Timespec { tv_sec: 0, tv_nsec: rustix::fs::UTIME_OMIT };
    let times = Timestamps {
        last_access: omit,
        last_modification: Timespec { tv_sec: seconds, tv_nsec: nanoseconds as _ },
    };
    rustix::fs::utimensat(CWD, path, &times, AtFlags::SYMLINK_NOFOLLOW).expect("an mtime");
}

/// A `security.capability` value (VFS_CAP_REVISION_2 of linux/capability.h) that permits one capability.
pub fn capability(number: u64) -> Vec<u8> {
    let permitted = 1u64 << number;
    let words = [0x0200_0001, permitted as u32, 0, (permitted >> 32) as u32, 0];
    words.iter().flat_map(|word: &u32| word.to_le_bytes()).collect()
}

/// A POSIX ACL (linux/posix_acl_xattr.h) that gives one more user the `permissions`.
pub fn acl(user: u32, permissions: u16) -> Vec<u8> {
    const NOBODY: u32 = u32::MAX;
    let entries: [(u16, u16, u32); 5] = [
        (0x01, 7, NOBODY),
        (0x02, permissions, user),
        (0x04, 5, NOBODY),
        (0x10, 7, NOBODY),
        (0x20, 4, NOBODY),
    ];
    let mut value = 2u32.to_le_bytes().to_vec();
    for (tag, permissions, id) in entries {
        value.extend(tag.to_le_bytes());
        value.extend(permissions.to_le_bytes());
        value.extend(id.to_le_bytes());
    }
    value
}
