//! The files of a system whose file systems are at hand as open directories, by the paths the booted system would use:
//! links are followed inside of it, file systems are crossed where it mounts them, nothing outside is ever reached.
//!
//! The primary and the mirror are both looked at this way. Nothing is written here.

use super::initramfs::BUFFER;
use crate::config::Mirror;
use crate::mirror::Mounted;
use crate::sys::dir::{open_dir, open_path, open_read, read_names_up_to, read_symlink, too_many_names};
use crate::sys::read;
use crate::sys::stat::{Kind, Stat};
use std::collections::VecDeque;
use std::fs::File;
use std::io::{self, BufRead, BufReader, Cursor, ErrorKind, Seek, SeekFrom};
use std::os::fd::{AsFd, OwnedFd};

/// Links followed in one path before it is called a circle, as in the kernel (path_resolution(7)).
const MAX_LINKS: u32 = 40;

/// Names in one directory, and files below one: /boot with its modules and themes has below 1,000.
const MOST_NAMES: usize = 50_000;

/// The files of a system by the absolute paths that it uses itself when it is booted, links followed inside of it.
pub trait Files {
    /// The content of a text; none if there is no such regular file.
    ///
    /// # Errors
    /// The system's; `FileTooLarge` for what is no text any more.
    fn read(&self, path: &str) -> io::Result<Option<Vec<u8>>>;

    /// A regular file, to be read piece by piece; none if there is none.
    ///
    /// # Errors
    /// The system's.
    fn open(&self, path: &str) -> io::Result<Option<Box<dyn Content>>> {
        Ok(self.read(path)?.map(|bytes| Box::new(Cursor::new(bytes)) as Box<dyn Content>))
    }

    /// The names in a directory; nothing if there is none.
    ///
    /// # Errors
    /// The system's; `FileTooLarge` for too many.
    fn list(&self, dir: &str) -> io::Result<Vec<String>>;

    /// Every regular file below a directory and its length, links not followed.
    ///
    /// # Errors
    /// The system's; `FileTooLarge` for too many.
    fn regular_files(&self, dir: &str) -> io::Result<Vec<(String, u64)>> {
        let mut found = Vec::new();
        for name in self.list(dir)? {
            let path = format!("{dir}/{name}");
            match self.open(&path)? {
                Some(mut file) => found.push((path, file.seek(SeekFrom::End(0))?)),
                None => found.extend(self.regular_files(&path)?),
            }
        }
        Ok(found)
    }
}

/// An open file.
pub trait Content: BufRead + Seek {}

impl<T: BufRead + Seek> Content for T {}

impl Files for Tree {
    fn read(&self, path: &str) -> io::Result<Option<Vec<u8>>> {
        Tree::read(self, path)
    }

    fn open(&self, path: &str) -> io::Result<Option<Box<dyn Content>>> {
        let file = Tree::open(self, path)?;
        Ok(file.map(|file| Box::new(BufReader::with_capacity(BUFFER, file)) as Box<dyn Content>))
    }

    fn list(&self, dir: &str) -> io::Result<Vec<String>> {
        Tree::list(self, dir)
    }

    fn regular_files(&self, dir: &str) -> io::Result<Vec<(String, u64)>> {
        let below = self.below(dir, DEEPEST)?.into_iter();
        Ok(below
            .filter(|(_, _, stat)| stat.kind == Kind::File)
            .map(|(path, _, stat)| (path, stat.size))
            .collect())
    }
}

/// How deep settings lie below /etc or /boot, with room to spare.
pub const DEEPEST: u32 = 16;

/// A system: its file systems by mount point, the root among them.
#[derive(Debug)]
pub struct Tree {
    volumes: Vec<(String, OwnedFd)>,
}

/// Where a path leads to.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct At {
    /// Which file system, in the order they were given.
    pub volume: usize,
    /// The path below its root, without a leading slash; empty for the root itself.
    pub path: String,
}

impl At {
    /// The directory and the name in it.
    pub fn split(&self) -> (&str, &str) {
        self.path.rsplit_once('/').unwrap_or(("", &self.path))
    }
}

impl Tree {
    /// A system of file systems, each with its absolute mount point.
    pub fn new(volumes: Vec<(String, OwnedFd)>) -> Self {
        Tree { volumes }
    }

    /// The mirror's, of its mounted file systems.
    ///
    /// # Errors
    /// The system's.
    pub fn of_mirror(mirror: &Mirror, mounted: &[Mounted]) -> io::Result<Self> {
        let pairs = mirror.volumes.iter().zip(mounted);
        let volumes = pairs.map(|(volume, mounted)| Ok((volume.mount.clone(), mounted.root.try_clone()?)));
        Ok(Tree { volumes: volumes.collect::<io::Result<_>>()? })
    }

    /// The root directory of a file system.
    pub fn root(&self, volume: usize) -> &OwnedFd {
        &self.volumes[volume].1
    }

    /// Where a file system is mounted.
    pub fn mount_point(&self, volume: usize) -> &str {
        &self.volumes[volume].0
    }

    /// Every file system: its mount point and its root directory.
    pub fn volumes(&self) -> impl Iterator<Item = (&str, &OwnedFd)> {
        self.volumes.iter().map(|(mount, root)| (mount.as_str(), root))
    }

    /// The file system that `path` belongs to by its mount points alone, and the path below it.
    pub fn place(&self, path: &str) -> At {
        let below = |mount: &str| {
            let rest = path.strip_prefix(mount.trim_end_matches('/'))?;
            (rest.is_empty() || rest.starts_with('/')).then(|| rest.trim_start_matches('/').to_owned())
        };
        let found = self
            .volumes
            .iter()
            .enumerate()
            .filter_map(|(n, (mount, _))| Some((mount.len(), n, below(mount)?)));
        let (_, volume, path) = found.max_by_key(|(length, _, _)| *length).unwrap_or((0, 0, path.to_owned()));
        At { volume, path }
    }

    /// Where an absolute path leads when every link is followed; none if nothing is there.
    ///
    /// # Errors
    /// The system's; a circle of links.
    pub fn resolve(&self, path: &str) -> io::Result<Option<At>> {
        let mut rest: VecDeque<String> = parts(path).collect();
        let (mut done, mut links) = (String::new(), 0);
        while let Some(part) = rest.pop_front() {
            if part == ".." {
                done.truncate(done.rfind('/').unwrap_or(0));
                continue;
            }
            let next = format!("{done}/{part}");
            let Some(stat) = self.stat_at(&self.place(&next))? else { return Ok(None) };
            if stat.kind != Kind::Symlink {
                done = next;
                continue;
            }
            links += 1;
            if links > MAX_LINKS {
                return Err(io::Error::from_raw_os_error(libc::ELOOP));
            }
            let target = self.link_at(&self.place(&next))?;
            if target.starts_with('/') {
                done.clear();
            }
            parts(&target).rev().for_each(|part| rest.push_front(part));
        }
        Ok(Some(self.place(&done)))
    }

    /// What is at a path, links followed; none if nothing is there.
    ///
    /// # Errors
    /// The system's.
    pub fn stat(&self, path: &str) -> io::Result<Option<Stat>> {
        match self.resolve(path)? {
            Some(at) => self.stat_at(&at),
            None => Ok(None),
        }
    }

    /// What is at a place, itself; none if nothing is there.
    ///
    /// # Errors
    /// The system's.
    pub fn stat_at(&self, at: &At) -> io::Result<Option<Stat>> {
        let (dir, name) = at.split();
        let found = open_dir(self.root(at.volume), dir.as_bytes()).and_then(|dir| match name {
            "" => crate::sys::stat::stat_fd(&dir),
            name => open_path(&dir, name.as_bytes())?.stat(),
        });
        absent_is_none(found)
    }

    /// The content of a text, links followed; none if there is no such regular file.
    ///
    /// # Errors
    /// The system's; `FileTooLarge` for what is no text any more.
    pub fn read(&self, path: &str) -> io::Result<Option<Vec<u8>>> {
        match self.resolve(path)? {
            Some(at) => self.read_at(&at),
            None => Ok(None),
        }
    }

    /// The content of the text at a place; none if there is no regular file.
    ///
    /// # Errors
    /// As `read`.
    pub fn read_at(&self, at: &At) -> io::Result<Option<Vec<u8>>> {
        self.open_at(at)?.map(|file| read::whole(&file, read::TEXT_BYTES)).transpose()
    }

    /// The regular file at a path, links followed, open for reading; none if there is none.
    ///
    /// # Errors
    /// The system's.
    pub fn open(&self, path: &str) -> io::Result<Option<File>> {
        match self.resolve(path)? {
            Some(at) => self.open_at(&at),
            None => Ok(None),
        }
    }

    /// The regular file at a place, open for reading; none if there is none.
    ///
    /// # Errors
    /// The system's.
    pub fn open_at(&self, at: &At) -> io::Result<Option<File>> {
        let (dir, name) = at.split();
        let opened =
            open_dir(self.root(at.volume), dir.as_bytes()).and_then(|dir| open_read(&dir, name.as_bytes()));
        let Some(handle) = absent_is_none(opened)? else { return Ok(None) };
        Ok((handle.stat()?.kind == Kind::File).then(|| File::from(handle.fd)))
    }

    /// The names in a directory, links on the way followed, sorted; none at all if there is no such directory. Names that are
    /// not UTF-8 belong to no boot file and are passed over.
    ///
    /// # Errors
    /// The system's; `FileTooLarge` for more names than any directory has that a boot looks into.
    pub fn list(&self, path: &str) -> io::Result<Vec<String>> {
        let Some(at) = self.resolve(path)? else { return Ok(Vec::new()) };
        let Some(dir) = absent_is_none(open_dir(self.root(at.volume), at.path.as_bytes()))? else {
            return Ok(Vec::new());
        };
        let names = read_names_up_to(dir.as_fd(), MOST_NAMES)?;
        let mut names: Vec<String> =
            names.into_iter().filter_map(|named| String::from_utf8(named.name.into()).ok()).collect();
        names.sort();
        Ok(names)
    }

    /// Everything that is no directory in `dir` and down to `depth` levels below, each by its path, links not followed.
    ///
    /// # Errors
    /// The system's; `FileTooLarge` for more than there can be.
    pub fn below(&self, dir: &str, depth: u32) -> io::Result<Vec<(String, At, Stat)>> {
        let mut found = Vec::new();
        self.gather(dir, depth, &mut found)?;
        Ok(found)
    }

    fn gather(&self, dir: &str, depth: u32, found: &mut Vec<(String, At, Stat)>) -> io::Result<()> {
        for name in self.list(dir)? {
            let path = format!("{dir}/{name}");
            let at = self.place(&path);
            match self.stat_at(&at)? {
                Some(stat) if stat.kind != Kind::Dir => found.push((path, at, stat)),
                Some(_) if depth > 0 => self.gather(&path, depth - 1, found)?,
                _ => {}
            }
            if found.len() > MOST_NAMES {
                return Err(too_many_names(dir, MOST_NAMES));
            }
        }
        Ok(())
    }

    fn link_at(&self, at: &At) -> io::Result<String> {
        let (dir, name) = at.split();
        let dir = open_dir(self.root(at.volume), dir.as_bytes())?;
        let target = read_symlink(&dir, name.as_bytes())?;
        String::from_utf8(target).map_err(|_| io::Error::from(ErrorKind::InvalidData))
    }
}

fn parts(path: &str) -> impl DoubleEndedIterator<Item = String> + '_ {
    path.split('/').filter(|part| !part.is_empty() && *part != ".").map(str::to_owned)
}

fn absent_is_none<T>(found: io::Result<T>) -> io::Result<Option<T>> {
    match found {
        Ok(found) => Ok(Some(found)),
        Err(error)
            if matches!(
                error.raw_os_error(),
                Some(libc::ENOENT | libc::ENOTDIR | libc::ELOOP | libc::ENXIO)
            ) =>
        {
            Ok(None)
        }
        Err(error) => Err(error),
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use std::fs;
    use std::os::unix::fs::symlink;
    use std::path::Path;

    fn system(dir: &Path) -> Tree {
        for sub in ["root/etc", "root/boot", "root/usr/etc", "boot/grub"] {
            fs::create_dir_all(dir.join(sub)).expect("writable");
        }
        fs::write(dir.join("root/etc/fstab"), "the root's").expect("writable");
        fs::write(dir.join("root/boot/hidden"), "below the mount").expect("writable");
        fs::write(dir.join("boot/grub/grub.cfg"), "boot's").expect("writable");
        symlink("/boot/grub/grub.cfg", dir.join("root/etc/grub2.cfg")).expect("writable");
        symlink("../../etc/fstab", dir.join("root/usr/etc/tab")).expect("writable");
        symlink("../../../../../../etc/hostname", dir.join("root/etc/outside")).expect("writable");
        symlink("circle", dir.join("root/etc/circle")).expect("writable");
        let open = |sub: &str| OwnedFd::from(File::open(dir.join(sub)).expect("there"));
        Tree::new(vec![("/".into(), open("root")), ("/boot".into(), open("boot"))])
    }

    #[test]
    fn a_path_leads_where_the_booted_system_would_find_it() {
        let dir = tempfile::tempdir().expect("a temporary directory");
        let tree = system(dir.path());
        let read = |path: &str| {
            tree.read(path).expect("readable").map(|bytes| String::from_utf8_lossy(&bytes).into_owned())
        };
        assert_eq!(read("/etc/fstab").as_deref(), Some("the root's"));
        assert_eq!(read("/etc/grub2.cfg").as_deref(), Some("boot's"), "over a link into another file system");
        assert_eq!(read("/usr/etc/tab").as_deref(), Some("the root's"));
        assert_eq!(read("/boot/hidden"), None, "what a mount hides is not there");
        assert_eq!(read("/boot/grub"), None, "a directory is no file");
        assert_eq!(tree.list("/boot").expect("readable"), ["grub"]);
        assert_eq!(tree.list("/nowhere").expect("no error"), [""; 0]);
        let at = tree.resolve("/etc/grub2.cfg").expect("no error").expect("there");
        assert_eq!(at, At { volume: 1, path: "grub/grub.cfg".into() });
    }

    #[test]
    fn no_link_leads_outside_and_a_circle_ends() {
        let dir = tempfile::tempdir().expect("a temporary directory");
        let tree = system(dir.path());
        fs::write(dir.path().join("root/etc/hostname"), "inside").expect("writable");
        assert_eq!(tree.read("/etc/outside").expect("no error").as_deref(), Some(b"inside".as_slice()));
        assert!(tree.read("/etc/circle").is_err());
    }
}
