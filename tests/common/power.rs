//! A disk whose power can be cut. Every write and flush is logged on its way to an image (QEMU's blklogwrites writes the
//! format of the kernel's dm-log-writes, `drivers/md/dm-log-writes.c`), so that what a disk may hold after the cut can be
//! made of the log: all that a flush had secured, and of the rest whatever the disk likes.

use super::loopfs::{private_mounts, tool};
use super::rng::Rng;
use std::fs::{self, File};
use std::io::Read;
use std::os::unix::fs::FileExt;
use std::path::{Path, PathBuf};
use std::process::{Child, Command, Stdio};
use std::time::Duration;

/// WRITE_LOG_MAGIC.
const MAGIC: u64 = 0x006a_7366_7773_6872;
/// LOG_FLUSH_FLAG, LOG_FUA_FLAG and LOG_DISCARD_FLAG.
const FLUSH: u64 = 1;
const FUA: u64 = 2;
const DISCARD: u64 = 4;
/// What a disk writes as one: the rest of a write that was under way may be missing.
const ATOM: usize = 4096;

/// Why there is no such disk here, if there is none.
pub fn missing() -> Option<&'static str> {
    if !Path::new("/dev/fuse").exists() {
        return Some("this kernel has no FUSE");
    }
    let version = Command::new("qemu-storage-daemon").arg("--version").output();
    version.is_err().then_some("qemu-storage-daemon is not installed")
}

/// A file system on such a disk, mounted. Everything lies in `place`, a directory of its own.
pub struct PowerDisk {
    base: PathBuf,
    place: PathBuf,
    daemon: Child,
}

impl PowerDisk {
    /// The file system of the image `base`, which is not written.
    pub fn new(base: &Path, place: &Path) -> Self {
        private_mounts();
        fs::create_dir(place).expect("a directory of its own");
        let at = |name: &str| place.join(name);
        tool(Command::new("cp").arg("--sparse=always").arg(base).arg(at("image")));
        File::create(at("log")).expect("a log");
        File::create(at("exported")).expect("what the image is seen as");
        fs::create_dir(at("mounted")).expect("a mount point");
        let file =
            |node: &str, name: &str| format!("driver=file,node-name={node},filename={}", at(name).display());
        let daemon = Command::new("qemu-storage-daemon")
            .args(["--blockdev", &file("image", "image"), "--blockdev", &file("log", "log")])
            .args(["--blockdev", "driver=blklogwrites,node-name=both,file=image,log=log"])
            .arg("--export")
            .arg(format!(
                "type=fuse,id=all,node-name=both,writable=on,mountpoint={}",
                at("exported").display()
            ))
            .stdin(Stdio::null())
            .spawn()
            .expect("qemu-storage-daemon can be run");
        let disk = PowerDisk { base: base.to_owned(), place: place.to_owned(), daemon };
        let size = fs::metadata(base).expect("an image").len();
        let exported = || fs::metadata(disk.at("exported")).is_ok_and(|meta| meta.len() == size);
        assert!((0..500).any(|_| exported() || pause()), "the daemon exports nothing");
        tool(Command::new("mount").args(["-o", "loop"]).arg(disk.at("exported")).arg(disk.mounted()));
        disk
    }

    fn at(&self, name: &str) -> PathBuf {
        self.place.join(name)
    }

    /// Where it is mounted.
    pub fn mounted(&self) -> PathBuf {
        self.at("mounted")
    }

    /// How much was written until now, in bytes of the log: who writes goes on.
    pub fn written(&self) -> u64 {
        fs::metadata(self.at("log")).expect("a log").len()
    }

    /// Cuts the power when `written` bytes had been written: what came later never was.
    pub fn cut(mut self, written: u64) -> Cut {
        tool(Command::new("umount").arg(self.mounted()));
        let daemon = rustix::process::Pid::from_child(&self.daemon);
        rustix::process::kill_process(daemon, rustix::process::Signal::TERM).expect("it runs");
        let ended = |daemon: &mut Child| daemon.try_wait().expect("a child").is_some();
        assert!((0..500).any(|_| ended(&mut self.daemon) || pause()), "the daemon does not end");
        let mut log = Vec::new();
        File::open(self.at("log")).expect("a log").take(written).read_to_end(&mut log).expect("read");
        fs::remove_dir_all(&self.place).expect("nobody needs it any more");
        Cut { base: self.base.clone(), records: Record::all(&log) }
    }
}

/// True never: it only waits a little.
fn pause() -> bool {
    std::thread::sleep(Duration::from_millis(10));
    false
}

impl Drop for PowerDisk {
    fn drop(&mut self) {
        let _ = self.daemon.kill();
        let _ = self.daemon.wait();
    }
}

/// What was on its way to the disk when its power was cut.
pub struct Cut {
    base: PathBuf,
    records: Vec<Record>,
}

impl Cut {
    /// Writes that were not secured by a flush: any of them may be missing.
    pub fn unsecured(&self) -> usize {
        self.records[self.secured()..].iter().filter(|record| !record.data.is_empty()).count()
    }

    /// The records before the last flush.
    fn secured(&self) -> usize {
        self.records.iter().rposition(|record| record.flags & FLUSH != 0).unwrap_or(0)
    }

    /// Makes `image` one of the things that the disk may hold now.
    pub fn outcome(&self, image: &Path, rng: &mut Rng) {
        tool(Command::new("cp").arg("--sparse=always").arg(&self.base).arg(image));
        let file = fs::OpenOptions::new().write(true).open(image).expect("the image");
        let secured = self.secured();
        // A third of the outcomes has nothing of the rest, a third about half of it, a third nearly all.
        let one_in = *rng.pick(&[1, 2, 10]);
        for (index, record) in self.records.iter().enumerate() {
            for (atom, data) in record.data.chunks(ATOM).enumerate() {
                if index < secured || record.flags & FUA != 0 || !rng.once_in(one_in) {
                    file.write_all_at(data, record.at + (atom * ATOM) as u64).expect("written");
                }
            }
        }
    }
}

/// One record of the log: `struct log_write_entry`, and what was written.
struct Record {
    at: u64,
    flags: u64,
    data: Vec<u8>,
}

impl Record {
    /// What is whole of a log that ends anywhere.
    fn all(log: &[u8]) -> Vec<Self> {
        let number =
            |at: usize| log.get(at..at + 8).map(|bytes| u64::from_le_bytes(bytes.try_into().expect("eight")));
        assert_eq!(number(0), Some(MAGIC), "this is no log of writes");
        let sector = u64::from(u32::from_le_bytes(log[24..28].try_into().expect("four")));
        let mut records = Vec::new();
        let mut at = sector as usize;
        while let (Some(first), Some(sectors), Some(flags)) = (number(at), number(at + 8), number(at + 16)) {
            let begin = at + sector as usize;
            let bytes = if flags & DISCARD == 0 { (sectors * sector) as usize } else { 0 };
            let Some(data) = log.get(begin..begin + bytes) else { break };
            if flags == 0 && bytes == 0 {
                // Written by nobody yet: what stands behind it was under way.
                break;
            }
            records.push(Record { at: first * sector, flags, data: data.to_vec() });
            at = begin + bytes;
        }
        records
    }
}
