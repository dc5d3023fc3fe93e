//! The demo's server: two disk images on loop devices, one of them with a small system of real files.

use super::{tool, unmount};
use crate::units::{Bytes, MIB};
use anyhow::{Context, Result};
use std::fs;
use std::os::unix::fs::MetadataExt;
use std::path::{Path, PathBuf};

/// The size of both images; they are sparse.
const DISK: Bytes = Bytes::mib(1536);
/// How much of this machine's own files the primary gets.
const CONTENT: Bytes = Bytes::mib(96);
/// Where those files come from, and where they go.
const SOURCES: [&str; 5] = ["/etc", "/usr/sbin", "/usr/bin", "/usr/share", "/usr/lib"];

/// Where the firmware of the demo's server finds the kernel's command line, on its boot file system.
pub const COMMAND_LINE: &str = "cmdline.txt";

/// Two throw-away disks, and what is mounted and open of them.
pub struct Server {
    dir: PathBuf,
    primary: String,
    mirror: String,
    encrypted: bool,
    passphrase: &'static str,
}

impl Server {
    /// Makes the images and fills the primary.
    ///
    /// # Errors
    /// Whatever failed, after everything that was made is gone again.
    pub fn build(passphrase: &'static str) -> Result<Self> {
        let dir = tool("mktemp", &["-d", "-t", "diskmirror-demo.XXXXXX"], b"")?;
        let (primary, mirror) = (String::new(), String::new());
        let encrypted = has_device_mapper()
            && tool("cryptsetup", &["--version"], b"").is_ok()
            && tool("lvm", &["version"], b"").is_ok();
        let mut server = Server { dir: dir.into(), primary, mirror, encrypted, passphrase };
        if let Err(error) = server.make() {
            // What cannot be cleaned up matters less than why it was begun.
            let _ = server.remove();
            return Err(error);
        }
        Ok(server)
    }

    fn make(&mut self) -> Result<()> {
        self.primary = self.attach("primary.img")?;
        self.mirror = self.attach("mirror.img")?;
        let script = "label: gpt\nsize=128MiB, type=L, name=boot\ntype=L, name=system\n";
        tool("sfdisk", &["--quiet", &self.primary], script.as_bytes())?;
        tool("partx", &["--update", &self.primary], b"")?;
        let boot = format!("{}p1", self.primary);
        tool("mke2fs", &["-q", "-F", "-t", "ext4", "-L", "boot", &boot], b"")?;
        let system = if self.encrypted { self.encrypt()? } else { format!("{}p2", self.primary) };
        tool("mke2fs", &["-q", "-F", "-t", "ext4", "-L", "system", &system], b"")?;
        fs::create_dir(self.root())?;
        tool("mount", &[&system, &path(&self.root())?], b"")?;
        fs::create_dir(self.boot())?;
        tool("mount", &[&boot, &path(&self.boot())?], b"")?;
        self.populate(&boot, &system)
    }

    fn attach(&self, name: &str) -> Result<String> {
        let image = self.dir.join(name);
        fs::File::create(&image)?.set_len(DISK.0)?;
        tool("losetup", &["--find", "--show", "--partscan", &path(&image)?], b"")
    }

    fn encrypt(&self) -> Result<String> {
        let device = format!("{}p2", self.primary);
        let format = ["luksFormat", "--batch-mode", "--pbkdf-memory", "65536", "--key-file", "-", &device];
        tool("cryptsetup", &format, self.passphrase.as_bytes())?;
        tool("cryptsetup", &["open", "--key-file", "-", &device, "demo_crypt"], self.passphrase.as_bytes())?;
        tool("vgcreate", &["--quiet", "demo", "/dev/mapper/demo_crypt"], b"")?;
        tool("lvcreate", &["--quiet", "--yes", "--name", "root", "--extents", "100%FREE", "demo"], b"")?;
        Ok("/dev/demo/root".into())
    }

    fn populate(&self, boot: &str, system: &str) -> Result<()> {
        let root = self.root();
        for dir in ["etc", "usr", "var/lib", "var/log", "var/tmp", "tmp", "home/alice/old"] {
            fs::create_dir_all(root.join(dir))?;
        }
        for n in 0..100 {
            fs::write(root.join(format!("home/alice/old/{n}")), "old\n")?;
        }
        let mut left = CONTENT.0;
        for source in SOURCES {
            let into = root.join(source.trim_start_matches('/'));
            fs::create_dir_all(&into)?;
            let mut copy = vec!["-a".to_owned(), format!("--target-directory={}", path(&into)?)];
            let options = copy.len();
            for entry in fs::read_dir(source)? {
                let from = entry?.path();
                let size = size_of(&from)?;
                if size <= left {
                    left -= size;
                    copy.push(path(&from)?);
                }
            }
            if copy.len() > options {
                tool("cp", &copy, b"")?;
            }
        }
        fs::write(self.boot().join("vmlinuz-demo"), vec![0x5a; 8 * MIB as usize])?;
        let uuid = |device: &str| tool("blkid", &["-p", "-o", "value", "-s", "UUID", device], b"");
        let fstab = format!(
            "UUID={} / ext4 defaults 0 1\nUUID={} /boot ext4 defaults 0 2\n",
            uuid(system)?,
            uuid(boot)?
        );
        fs::write(root.join("etc/fstab"), fstab)?;
        // It would boot as a Raspberry Pi does: the firmware reads the command line, and no loader is needed.
        fs::write(self.boot().join("config.txt"), "arm_64bit=1\n")?;
        fs::write(self.boot().join(COMMAND_LINE), format!("root=UUID={} rootwait\n", uuid(system)?))?;
        Ok(())
    }

    /// What the server is, and what it leaves out.
    pub fn describe(&self) -> String {
        let layers = if self.encrypted {
            "the system in LVM on LUKS"
        } else {
            "the system on a plain partition (LUKS and LVM are left out: this kernel has no device-mapper, or cryptsetup \
             and lvm2 are not installed)"
        };
        format!(
            "{} ({DISK}, GPT): /boot, and {layers}, with files of this machine.\n{} is blank.",
            self.primary, self.mirror
        )
    }

    /// Changes some files, as a quarter of an hour does; says which.
    ///
    /// # Errors
    /// If a file cannot be written.
    pub fn live(&self) -> Result<String> {
        let root = self.root();
        fs::write(root.join("home/alice/report.txt"), "written after the first copy\n")?;
        fs::create_dir_all(root.join("srv/new"))?;
        for n in 0..200 {
            fs::write(root.join(format!("srv/new/{n}")), format!("record {n}\n").repeat(n + 1))?;
        }
        fs::remove_dir_all(root.join("home/alice/old"))?;
        fs::write(root.join("etc/hostname"), "renamed\n")?;
        fs::write(self.boot().join("vmlinuz-demo"), vec![0xa5; 8 * MIB as usize])?;
        Ok("201 files written, /etc/hostname and a kernel changed, /home/alice/old (100 files) deleted"
            .into())
    }

    /// The directories of the primary's file systems, root first.
    pub fn volumes(&self) -> Vec<PathBuf> {
        vec![self.root(), self.boot()]
    }

    /// Takes the primary away: unmounted, closed, detached.
    ///
    /// # Errors
    /// If something still holds it.
    pub fn lose_primary(&mut self) -> Result<()> {
        unmount(&self.boot())?;
        unmount(&self.root())?;
        if self.encrypted && Path::new("/dev/mapper/demo_crypt").exists() {
            tool("vgchange", &["--quiet", "--activate", "n", "demo"], b"")?;
            tool("cryptsetup", &["close", "demo_crypt"], b"")?;
        }
        if !self.primary.is_empty() {
            tool("losetup", &["--detach", &self.primary], b"")?;
        }
        Ok(())
    }

    /// Checks the mirror's file systems and mounts them read-only, root first.
    ///
    /// # Errors
    /// If one is not clean, or cannot be mounted.
    pub fn mount_mirror(&self) -> Result<Vec<PathBuf>> {
        let system = if self.encrypted {
            let device = format!("{}p2", self.mirror);
            tool(
                "cryptsetup",
                &["open", "--key-file", "-", &device, "demo_mirror_crypt"],
                self.passphrase.as_bytes(),
            )?;
            tool("vgchange", &["--quiet", "--activate", "y", "mirror"], b"")?;
            "/dev/mirror/root".to_owned()
        } else {
            format!("{}p2", self.mirror)
        };
        let mut mounts = Vec::new();
        for (device, name) in [(system, "mirror-root"), (format!("{}p1", self.mirror), "mirror-boot")] {
            tool("e2fsck", &["-fn", &device], b"")?;
            let at = self.dir.join(name);
            fs::create_dir(&at)?;
            tool("mount", &["-o", "ro,noload", &device, &path(&at)?], b"")?;
            mounts.push(at);
        }
        Ok(mounts)
    }

    /// Leaves nothing behind, whatever had been made.
    ///
    /// # Errors
    /// The first thing that could not be removed.
    pub fn remove(&mut self) -> Result<()> {
        let unmounted = unmount(&self.dir.join("mirror-boot")).and(unmount(&self.dir.join("mirror-root")));
        if Path::new("/dev/mapper/demo_mirror_crypt").exists() {
            tool("vgchange", &["--quiet", "--activate", "n", "mirror"], b"")?;
            tool("cryptsetup", &["close", "demo_mirror_crypt"], b"")?;
        }
        if tool("losetup", &["--noheadings", "--output", "BACK-FILE", "--list"], b"")?
            .contains(&path(&self.dir.join("primary.img"))?)
        {
            self.lose_primary()?;
        }
        if !self.mirror.is_empty() {
            tool("losetup", &["--detach", &self.mirror], b"")?;
        }
        unmounted?;
        for name in ["primary.img", "mirror.img"] {
            fs::remove_file(self.dir.join(name))?;
        }
        for name in ["root", "mirror-root", "mirror-boot"] {
            match fs::remove_dir(self.dir.join(name)) {
                Err(error) if error.kind() != std::io::ErrorKind::NotFound => return Err(error.into()),
                _ => {}
            }
        }
        Ok(fs::remove_dir(&self.dir)?)
    }

    /// Where the primary's root is mounted.
    pub fn root(&self) -> PathBuf {
        self.dir.join("root")
    }

    fn boot(&self) -> PathBuf {
        self.root().join("boot")
    }

    /// The primary's node.
    pub fn primary(&self) -> &str {
        &self.primary
    }

    /// The mirror's node.
    pub fn mirror(&self) -> &str {
        &self.mirror
    }

    /// Whether it has LUKS and LVM.
    pub fn encrypted(&self) -> bool {
        self.encrypted
    }
}

/// Whether the kernel has device-mapper, or a module of it that can be loaded.
fn has_device_mapper() -> bool {
    let known = || fs::read_to_string("/proc/misc").is_ok_and(|text| text.contains("device-mapper"));
    known() || (tool("modprobe", &["--quiet", "dm_crypt"], b"").is_ok() && known())
}

fn path(path: &Path) -> Result<String> {
    path.to_str().map(str::to_owned).with_context(|| format!("{} is not UTF-8", path.display()))
}

/// What copying `path` takes, hidden mounts left out.
fn size_of(path: &Path) -> Result<u64> {
    let meta = fs::symlink_metadata(path)?;
    if !meta.is_dir() {
        return Ok(meta.blocks() * 512);
    }
    fs::read_dir(path)?.map(|entry| size_of(&entry?.path())).sum::<Result<u64>>().map(|n| n + 4096)
}
