//! The independent judge: two trees, entry by entry, with nothing of the engine's code.
//!
//! Everything `sync` promises is looked at: type, size, content, link target, device number, owner, mode, mtime in
//! nanoseconds, every extended attribute the kernel lists, the flags i, a and d, the project id, hard-link groups
//! and holes. Not looked at: atime, ctime, birth time, inode numbers, sizes of directories.
//!
//! Holes: where the source has a hole, shrunk to whole blocks of 4096 bytes, the copy must have no data; and the copy may
//! have 64 KiB (blocks of extent trees) more allocated than the source. More holes than the source has are fine. XFS
//! allocates ahead of writes that extend a file, and shows that as data: at least 64 KiB, and up to twice what lies in
//! one piece before, what was allocated ahead for an earlier write included (`xfs_iomap_prealloc_size` in the kernel's
//! fs/xfs/xfs_iomap.c). There, that much of the beginning of a hole may hold data.

use super::names::shown;
use super::raw;
use rustix::fs::{AtFlags, CWD, Dir, Mode, OFlags, SeekFrom, StatxFlags};
use rustix::io::Errno;
use std::collections::{BTreeMap, BTreeSet};
use std::fmt;
use std::io::Read;
use std::os::fd::{AsFd, AsRawFd, OwnedFd};
use std::path::Path;

const BLOCK: u64 = 4096;
const XFS_SUPER_MAGIC: u64 = 0x5846_5342;
const XFS_AHEAD: u64 = 64 * 1024;
const METADATA_ALLOWANCE: u64 = 64 * 1024;
/// STATX_ATTR_IMMUTABLE | STATX_ATTR_APPEND | STATX_ATTR_NODUMP
const FLAGS: u64 = 0x10 | 0x20 | 0x40;
const S_IFMT: u32 = 0o170_000;
const S_IFREG: u32 = 0o100_000;
const S_IFDIR: u32 = 0o040_000;
const S_IFLNK: u32 = 0o120_000;

/// What is known of one entry.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Entry {
    /// Type and permission bits as `st_mode` has them.
    pub mode: u32,
    /// Owner and group.
    pub owner: (u32, u32),
    /// Bytes; 0 for all but regular files.
    pub size: u64,
    /// Seconds and nanoseconds.
    pub mtime: (i64, u32),
    /// Seconds and nanoseconds; told apart only by [`touched`].
    pub ctime: (i64, u32),
    /// Seconds and nanoseconds; with the inode it names an entry whatever its path (see `moved`).
    pub born: (i64, u32),
    /// Major and minor number of a device node.
    pub device: (u32, u32),
    /// What a symbolic link holds.
    pub target: Vec<u8>,
    /// Every attribute that is listed.
    pub xattrs: BTreeMap<Vec<u8>, Vec<u8>>,
    /// i, a, d as statx tells them.
    pub flags: u64,
    /// Of files and directories, where the file system has project ids; whether it is inherited.
    pub project: Option<(u32, bool)>,
    /// The hash of a regular file, or why it could not be read.
    pub content: Option<Result<[u8; 32], Errno>>,
    /// Inode and number of links.
    pub inode: (u64, u32),
    /// Bytes allocated.
    pub allocated: u64,
    /// Where a regular file has data: from, to.
    pub data: Vec<(u64, u64)>,
}

impl Entry {
    fn kind(&self) -> u32 {
        self.mode & S_IFMT
    }
    /// Whether it is a directory.
    pub fn is_dir(&self) -> bool {
        self.kind() == S_IFDIR
    }
    /// Whether it is a regular file.
    pub fn is_file(&self) -> bool {
        self.kind() == S_IFREG
    }
}

/// A tree at one moment; paths are relative, and the root is `.`.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct Snapshot {
    /// By path.
    pub entries: BTreeMap<Vec<u8>, Entry>,
    /// How many bytes at the beginning of a hole may hold data on this file system.
    pub allocated_ahead: u64,
}

/// One thing that is not as it should be.
#[derive(Debug, Clone, PartialEq, Eq, PartialOrd, Ord)]
pub struct Difference {
    /// Of which entry.
    pub path: Vec<u8>,
    /// `mode: 0o644 became 0o600`
    pub what: String,
}

impl fmt::Display for Difference {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{}: {}", shown(&self.path), self.what)
    }
}

/// Every difference between two trees on disk.
pub fn differences(source: &Path, copy: &Path) -> Vec<Difference> {
    compare(&Snapshot::of(source), &Snapshot::of(copy))
}

/// What was changed between two looks at one tree, by inode, ctime and mtime: nothing can be written without it.
pub fn touched(before: &Snapshot, after: &Snapshot) -> Vec<Vec<u8>> {
    let look = |entry: &Entry| (entry.inode, entry.ctime, entry.mtime, entry.content);
    let paths: BTreeSet<_> = before.entries.keys().chain(after.entries.keys()).collect();
    let differs =
        |path: &&&Vec<u8>| before.entries.get(**path).map(look) != after.entries.get(**path).map(look);
    paths.iter().filter(differs).map(|path| path.to_vec()).collect()
}

impl Snapshot {
    /// Looks at the whole tree below `root`, without leaving its file system.
    pub fn of(root: &Path) -> Self {
        Self::without(root, &|_| false)
    }

    /// The same, without the entries (and what is below them) whose path `skip` accepts.
    pub fn without(root: &Path, skip: &dyn Fn(&[u8]) -> bool) -> Self {
        let flags = OFlags::PATH | OFlags::DIRECTORY | OFlags::CLOEXEC;
        let root =
            rustix::fs::openat(CWD, root, flags, Mode::empty()).expect("the tree's root can be opened");
        let is_xfs = rustix::fs::fstatfs(&root).is_ok_and(|fs| fs.f_type as u64 == XFS_SUPER_MAGIC);
        let found = Snapshot { allocated_ahead: if is_xfs { XFS_AHEAD } else { 0 }, ..Snapshot::default() };
        let mut walk = Walk { device: None, found, pending: vec![Vec::new()] };
        walk.look(&root, b".", b"");
        while let Some(path) = walk.pending.pop() {
            walk.list(&root, &path, skip);
        }
        walk.found
    }
}

/// A walk holds no descriptor but the one it works on, so depth costs none.
struct Walk {
    device: Option<(u32, u32)>,
    found: Snapshot,
    pending: Vec<Vec<u8>>,
}

impl Walk {
    fn list(&mut self, root: &OwnedFd, path: &[u8], skip: &dyn Fn(&[u8]) -> bool) {
        let Ok(directory) = open_below(root, path) else { return };
        // A directory that cannot be read shows as one without entries: its content differs, then.
        let Ok(listing) = Dir::read_from(&directory) else { return };
        for entry in listing {
            let name = entry.expect("a directory can be read to its end").file_name().to_bytes().to_vec();
            let full = if path.is_empty() { name.clone() } else { [path, b"/", &name].concat() };
            if name != b"." && name != b".." && !skip(&full) {
                self.look(&directory, &name, &full);
            }
        }
    }

    fn look(&mut self, directory: &OwnedFd, name: &[u8], path: &[u8]) {
        let flags = AtFlags::SYMLINK_NOFOLLOW | AtFlags::NO_AUTOMOUNT;
        let stat = match rustix::fs::statx(directory, name, flags, StatxFlags::ALL) {
            Ok(stat) => stat,
            Err(error) => panic!("{}: {error}", shown(path)),
        };
        let device = (stat.stx_dev_major, stat.stx_dev_minor);
        if *self.device.get_or_insert(device) != device {
            return;
        }
        let kind = u32::from(stat.stx_mode) & S_IFMT;
        let mut entry = Entry {
            mode: u32::from(stat.stx_mode),
            owner: (stat.stx_uid, stat.stx_gid),
            size: if kind == S_IFREG { stat.stx_size } else { 0 },
            mtime: (stat.stx_mtime.tv_sec, stat.stx_mtime.tv_nsec),
            ctime: (stat.stx_ctime.tv_sec, stat.stx_ctime.tv_nsec),
            born: (stat.stx_btime.tv_sec, stat.stx_btime.tv_nsec),
            device: (stat.stx_rdev_major, stat.stx_rdev_minor),
            target: Vec::new(),
            xattrs: xattrs(directory, name),
            flags: stat.stx_attributes.bits() & FLAGS,
            project: None,
            content: None,
            inode: (stat.stx_ino, stat.stx_nlink),
            allocated: stat.stx_blocks * 512,
            data: Vec::new(),
        };
        if kind == S_IFLNK {
            let target = rustix::fs::readlinkat(directory, name, Vec::new());
            entry.target = target.expect("a link can be read").into_bytes();
        }
        if kind == S_IFREG || kind == S_IFDIR {
            look_inside(directory, name, &mut entry);
        }
        if kind == S_IFDIR && !path.is_empty() {
            self.pending.push(path.to_vec());
        }
        self.found.entries.insert(if path.is_empty() { b".".to_vec() } else { path.to_vec() }, entry);
    }
}

/// Opens a directory below `root` in pieces, each shorter than PATH_MAX.
pub fn open_below(root: &OwnedFd, path: &[u8]) -> Result<OwnedFd, Errno> {
    let flags = OFlags::DIRECTORY | OFlags::NOFOLLOW | OFlags::CLOEXEC;
    let mut here = rustix::fs::openat(root, ".", OFlags::PATH | flags, Mode::empty())?;
    let mut rest = path;
    while rest.len() > 3000 {
        let cut = rest[..3000].iter().rposition(|byte| *byte == b'/').expect("a name has at most 255 bytes");
        here = rustix::fs::openat(&here, &rest[..cut], OFlags::PATH | flags, Mode::empty())?;
        rest = &rest[cut + 1..];
    }
    let last = if rest.is_empty() { b"." } else { rest };
    rustix::fs::openat(&here, last, OFlags::RDONLY | flags, Mode::empty())
}

/// Every attribute of one entry, whatever its type: through /proc, which follows no link at the end of a path.
fn xattrs(directory: &OwnedFd, name: &[u8]) -> BTreeMap<Vec<u8>, Vec<u8>> {
    let path = [format!("/proc/self/fd/{}/", directory.as_raw_fd()).as_bytes(), name].concat();
    let mut names = vec![0; 64 * 1024];
    let length = rustix::fs::llistxattr(path.as_slice(), &mut names[..]).unwrap_or(0);
    // XFS lists an ACL twice, under the name it has on disk as well.
    let listed = names[..length].split(|byte| *byte == 0);
    let listed = listed.filter(|name| !name.is_empty() && !name.starts_with(b"trusted.SGI_ACL_"));
    let value = |attribute: &[u8]| {
        let mut value = vec![0; 64 * 1024];
        let length = rustix::fs::lgetxattr(path.as_slice(), attribute, &mut value[..]);
        length.map_or_else(|error| error.to_string().into_bytes(), |length| value[..length].to_vec())
    };
    listed.map(|attribute| (attribute.to_vec(), value(attribute))).collect()
}

fn look_inside(directory: &OwnedFd, name: &[u8], entry: &mut Entry) {
    let flags = OFlags::RDONLY | OFlags::NOFOLLOW | OFlags::NONBLOCK | OFlags::CLOEXEC;
    match rustix::fs::openat(directory, name, flags, Mode::empty()) {
        Ok(file) => {
            entry.project = raw::project(file.as_fd());
            if entry.is_file() {
                entry.data = data_ranges(&file);
                entry.content = Some(hash(file));
            }
        }
        Err(error) if entry.is_file() => entry.content = Some(Err(error)),
        Err(_) => {}
    }
}

fn data_ranges(file: &OwnedFd) -> Vec<(u64, u64)> {
    let mut ranges = Vec::new();
    let mut at = 0;
    while let Ok(from) = rustix::fs::seek(file, SeekFrom::Data(at)) {
        at = rustix::fs::seek(file, SeekFrom::Hole(from)).expect("every file ends in a hole");
        ranges.push((from, at));
    }
    let _ = rustix::fs::seek(file, SeekFrom::Start(0));
    ranges
}

fn hash(file: OwnedFd) -> Result<[u8; 32], Errno> {
    let mut file = std::fs::File::from(file);
    let mut hasher = blake3::Hasher::new();
    let mut buffer = vec![0; 128 * 1024];
    loop {
        match file.read(&mut buffer) {
            Ok(0) => return Ok(*hasher.finalize().as_bytes()),
            Ok(length) => hasher.update(&buffer[..length]),
            Err(error) => return Err(Errno::from_io_error(&error).unwrap_or(Errno::IO)),
        };
    }
}

/// Every difference between two snapshots.
pub fn compare(source: &Snapshot, copy: &Snapshot) -> Vec<Difference> {
    let mut found = Vec::new();
    for (path, entry) in &source.entries {
        match copy.entries.get(path) {
            None => found.push(Difference { path: path.clone(), what: "missing".into() }),
            Some(other) => {
                compare_entry(path, entry, other, &mut found);
                let holes = holes_filled(entry, other, copy.allocated_ahead);
                found.extend(holes.map(|what| Difference { path: path.clone(), what }));
            }
        }
    }
    let extra = copy.entries.keys().filter(|path| !source.entries.contains_key(*path));
    found.extend(extra.map(|path| Difference { path: path.clone(), what: "extra".into() }));
    compare_groups(source, copy, &mut found);
    found
}

fn compare_entry(path: &[u8], source: &Entry, copy: &Entry, found: &mut Vec<Difference>) {
    let mut differ = |what: String| found.push(Difference { path: path.to_vec(), what });
    if source.kind() != copy.kind() {
        return differ(format!("type: {:o} became {:o}", source.kind(), copy.kind()));
    }
    let mut check = |name: &str, same: bool, source: &dyn fmt::Debug, copy: &dyn fmt::Debug| {
        if !same {
            differ(format!("{name}: {source:?} became {copy:?}"));
        }
    };
    check("size", source.size == copy.size, &source.size, &copy.size);
    check("mtime", source.mtime == copy.mtime, &source.mtime, &copy.mtime);
    check("owner", source.owner == copy.owner, &source.owner, &copy.owner);
    let modes = [source, copy].map(|entry| format!("{:o}", entry.mode & !S_IFMT));
    check("mode", modes[0] == modes[1], &modes[0], &modes[1]);
    check("device", source.device == copy.device, &source.device, &copy.device);
    check("target", source.target == copy.target, &shown(&source.target), &shown(&copy.target));
    check("flags", source.flags == copy.flags, &source.flags, &copy.flags);
    let projects = [source, copy].map(|entry| entry.project.unwrap_or_default());
    check("project", projects[0] == projects[1], &projects[0], &projects[1]);
    let readable = !matches!(source.content, Some(Err(_))) && !matches!(copy.content, Some(Err(_)));
    check("content", source.content == copy.content && readable, &brief(source), &brief(copy));
    for name in source.xattrs.keys().chain(copy.xattrs.keys()).collect::<BTreeSet<_>>() {
        let values = [source, copy].map(|entry| entry.xattrs.get(name).map(|value| shown(value)));
        check(&format!("xattr {}", shown(name)), values[0] == values[1], &values[0], &values[1]);
    }
}

fn brief(entry: &Entry) -> String {
    match entry.content {
        None => "none".into(),
        Some(Err(error)) => format!("unreadable ({error})"),
        Some(Ok(hash)) => hash[..4].iter().map(|byte| format!("{byte:02x}")).collect(),
    }
}

/// What is wrong with the copy's holes: see the module's head.
fn holes_filled(source: &Entry, copy: &Entry, ahead: u64) -> Option<String> {
    if !source.is_file() || source.size != copy.size {
        return None;
    }
    let mut ahead_of_all = 0;
    for (from, to) in holes(source) {
        let ahead = allocated_ahead(source, from, ahead);
        if let Some(data) = copy.data.iter().find(|data| data.0 < to && data.1.min(to) > from + ahead) {
            return Some(format!("hole: {from}..{to} holds data at {}..{}", data.0, data.1));
        }
        ahead_of_all += ahead;
    }
    let expected: u64 = source.data.iter().map(|(from, to)| (to - from).next_multiple_of(BLOCK)).sum();
    let allowed = expected.max(source.allocated) + METADATA_ALLOWANCE + ahead_of_all;
    (copy.allocated > allowed)
        .then(|| format!("hole: {} bytes are allocated, at most {allowed} should be", copy.allocated))
}

/// How far a file system that allocates at `least` so much ahead may have done so into the hole that begins at `hole`.
fn allocated_ahead(source: &Entry, hole: u64, least: u64) -> u64 {
    let (mut start, mut reach, mut ahead) = (0, 0, least);
    for (from, to) in source.data.iter().filter(|(_, to)| least > 0 && *to <= hole) {
        start = if *from > reach { *from } else { start };
        ahead = least.max(2 * (to - start));
        reach = to + ahead;
    }
    ahead
}

fn holes(entry: &Entry) -> Vec<(u64, u64)> {
    let mut from = 0;
    let mut holes = Vec::new();
    for (start, end) in entry.data.iter().copied().chain([(entry.size, entry.size)]) {
        holes.push((from, start));
        from = end;
    }
    let aligned = holes.into_iter().map(|(from, to)| (from.next_multiple_of(BLOCK), to / BLOCK * BLOCK));
    aligned.filter(|(from, to)| from < to).collect()
}

/// Names of one inode must be names of one inode, and no others. Names that are missing, extra or of another type
/// are told as such already, and left out here.
fn compare_groups(source: &Snapshot, copy: &Snapshot, found: &mut Vec<Difference>) {
    let kind = |tree: &Snapshot, path: &Vec<u8>| tree.entries.get(path).map(Entry::kind);
    let in_both = |tree: &Snapshot| -> BTreeSet<Vec<Vec<u8>>> {
        let kept = |group: Vec<Vec<u8>>| -> Vec<Vec<u8>> {
            group.into_iter().filter(|path| kind(source, path) == kind(copy, path)).collect()
        };
        groups(tree).into_iter().map(kept).filter(|group| group.len() > 1).collect()
    };
    let (wanted, got) = (in_both(source), in_both(copy));
    for group in wanted.symmetric_difference(&got) {
        let names: Vec<String> = group.iter().map(|path| shown(path)).collect();
        let side = if wanted.contains(group) { "should be" } else { "should not be" };
        let what = format!("links: {side} one inode: {}", names.join(", "));
        found.push(Difference { path: group[0].clone(), what });
    }
}

/// The names of each inode that has several in this tree.
pub fn groups(tree: &Snapshot) -> BTreeSet<Vec<Vec<u8>>> {
    let mut by_inode: BTreeMap<u64, Vec<Vec<u8>>> = BTreeMap::new();
    for (path, entry) in tree.entries.iter().filter(|(_, entry)| !entry.is_dir() && entry.inode.1 > 1) {
        by_inode.entry(entry.inode.0).or_default().push(path.clone());
    }
    by_inode.into_values().filter(|names| names.len() > 1).collect()
}
