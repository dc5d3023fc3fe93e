//! A primary and a mirror on loop devices: plain GPT partitions, the primary mounted, the mirror marked, a
//! configuration that names both. Everything is taken away when it is dropped.
//!
//! Needs root. The primary's /run, state directory and /var/log are tmpfs, as /run is everywhere: so the primary's
//! image changes only if something writes to the primary's file systems.

#![allow(dead_code, missing_docs)]

use diskmirror::config::{Config, DiskId, Mirror, Volume};
use diskmirror::history::History;
use diskmirror::layout::FsKind;
use diskmirror::record::RunRecord;
use diskmirror::sys::node::probe_node;
use diskmirror::{mirror, sys};
use std::cell::Cell;
use std::fmt::Write as _;
use std::fs;
use std::os::unix::fs::PermissionsExt;
use std::path::{Path, PathBuf};
use std::process::{Child, Command, Output, Stdio};
use std::sync::{Mutex, MutexGuard, PoisonError};

const BINARY: &str = env!("CARGO_BIN_EXE_diskmirror");

/// Runs a tool that must succeed, and gives back its stdout.
pub fn must(program: &str, args: &[&str]) -> String {
    let output = Command::new(program).args(args).output().unwrap_or_else(|e| panic!("{program}: {e}"));
    let (out, err) = (String::from_utf8_lossy(&output.stdout), String::from_utf8_lossy(&output.stderr));
    assert!(output.status.success(), "{program} {args:?}: {}\n{out}{err}", output.status);
    out.into_owned()
}

/// A disk image on a loop device, with a GPT.
pub struct Disk {
    pub image: PathBuf,
    pub node: String,
    is_attached: Cell<bool>,
}

impl Disk {
    /// A disk with one partition for each of `sizes_mib`.
    pub fn new(image: PathBuf, sizes_mib: &[u64]) -> Disk {
        let file = fs::File::create(&image).expect("an image");
        file.set_len((sizes_mib.iter().sum::<u64>() + 4) << 20).expect("sparse");
        let mut script = String::from("label: gpt\n");
        sizes_mib.iter().for_each(|size| writeln!(script, "size={size}M").expect("a string"));
        let script_path = image.with_extension("sfdisk");
        fs::write(&script_path, script).expect("written");
        let (image_text, script_text) = (image.to_string_lossy(), script_path.to_string_lossy());
        must("sh", &["-c", &format!("sfdisk -q --no-reread {image_text} < {script_text}")]);
        Disk::attach(image)
    }

    /// Attaches an image that is there.
    pub fn attach(image: PathBuf) -> Disk {
        let attach =
            || Command::new("losetup").args(["-f", "--show", "-P"]).arg(&image).output().expect("losetup");
        // Two tests may be after the same free device.
        let output = std::iter::repeat_with(attach).take(20).find(|output| output.status.success());
        let output = output.expect("a loop device is free");
        let node = String::from_utf8(output.stdout).expect("a path").trim().to_owned();
        if !Path::new(&format!("{node}p1")).exists() {
            // A kernel without partition tables: the tool tells it where the partitions are.
            must("partx", &["-a", &node]);
        }
        Disk { image, node, is_attached: Cell::new(true) }
    }

    pub fn partition(&self, number: usize) -> String {
        format!("{}p{number}", self.node)
    }

    pub fn table_id(&self) -> String {
        probe_node(Path::new(&self.node)).expect("readable").table_id.expect("a table")
    }

    /// Takes the disk away, as if it were unplugged.
    pub fn detach(&self) {
        if !self.is_attached.replace(false) {
            // The device may be another's by now.
            return;
        }
        let _ = Command::new("partx").args(["-d", &self.node]).stderr(Stdio::null()).status();
        let _ = Command::new("losetup").args(["-d", &self.node]).stderr(Stdio::null()).status();
    }

    /// What is on it, byte for byte.
    pub fn hash(&self) -> String {
        let mut hasher = blake3::Hasher::new();
        hasher.update_reader(fs::File::open(&self.image).expect("the image")).expect("readable");
        hasher.finalize().to_hex().to_string()
    }
}

impl Drop for Disk {
    fn drop(&mut self) {
        self.detach();
    }
}

fn mkfs(kind: FsKind, node: &str) -> String {
    match kind {
        FsKind::Xfs => must("mkfs.xfs", &["-q", "-f", node]),
        kind => must(
            "mke2fs",
            &["-q", "-F", "-t", kind.name(), "-E", "lazy_itable_init=0,lazy_journal_init=0", node],
        ),
    };
    uuid(node)
}

pub fn uuid(node: &str) -> String {
    probe_node(Path::new(node)).expect("readable").uuid.expect("a UUID")
}

/// A primary and its mirror.
pub struct Pair {
    pub primary: Disk,
    pub mirror: Disk,
    pub config: Config,
    pub kinds: Vec<FsKind>,
    mounts: Vec<PathBuf>,
    pub dir: tempfile::TempDir,
    _alone: MutexGuard<'static, ()>,
}

/// One pair at a time: a run's mount namespace holds what other tests have mounted until it ends.
static ALONE: Mutex<()> = Mutex::new(());

impl Pair {
    /// File systems of these kinds, mounted at these places, the root first.
    pub fn new(volumes: &[(&str, FsKind)]) -> Pair {
        let alone = ALONE.lock().unwrap_or_else(PoisonError::into_inner);
        // The test's own mounts are seen by its thread and what that starts: no other program's namespace, made while
        // the mirror is looked at, can hold on to it.
        sys::mount::enter_private_namespace().expect("these tests need root");
        let dir = tempfile::tempdir().expect("a temporary directory");
        let size = |kind: FsKind| if kind == FsKind::Xfs { 320 } else { 100 };
        let sizes: Vec<u64> = volumes.iter().map(|(_, kind)| size(*kind)).collect();
        let primary = Disk::new(dir.path().join("primary.img"), &sizes);
        let mirror = Disk::new(dir.path().join("mirror.img"), &sizes);
        let mut configured = Vec::new();
        for (number, (mount, kind)) in (1..).zip(volumes) {
            configured.push(Volume {
                mount: (*mount).into(),
                kind: *kind,
                primary_uuid: mkfs(*kind, &primary.partition(number)),
                mirror_uuid: mkfs(*kind, &mirror.partition(number)),
            });
        }
        let disk_id = |disk: &Disk| DiskId { table_id: disk.table_id(), ..DiskId::default() };
        let config = Config {
            state_dir: "/var/lib/diskmirror".into(),
            runtime_dir: "/run/diskmirror".into(),
            log_file: "/var/log/diskmirror.log".into(),
            mirrors: vec![Mirror {
                reversed: false,
                name: "mirror".into(),
                primary: disk_id(&primary),
                disk: disk_id(&mirror),
                containers: Vec::new(),
                volume_groups: Vec::new(),
                volumes: configured,
                excludes: Vec::new(),
                leave_out: Vec::new(),
                boot_test: None,
                full_every: diskmirror::config::daily(),
                blocks_from: diskmirror::config::large(),
                bwlimit: None,
                // Other tests run beside: who considers them takes its time.
                considerate: diskmirror::units::Considerate(None),
                audit_ignore: Vec::new(),
                verify_share: diskmirror::config::nothing(),
            }],
        };
        let kinds = volumes.iter().map(|(_, kind)| *kind).collect();
        let mut pair = Pair { primary, mirror, config, kinds, mounts: Vec::new(), dir, _alone: alone };
        pair.mount_primary();
        pair.write_config(&pair.config.to_toml());
        pair.write_marks();
        pair
    }

    /// Where the primary's root is mounted.
    pub fn root(&self) -> PathBuf {
        self.dir.path().join("root")
    }

    pub fn config_path(&self) -> PathBuf {
        self.dir.path().join("diskmirror.toml")
    }

    pub fn write_config(&self, text: &str) {
        fs::write(self.config_path(), text).expect("written");
        fs::set_permissions(self.config_path(), fs::Permissions::from_mode(0o600)).expect("chmod");
    }

    fn mount_primary(&mut self) {
        let volumes = self.config.mirrors[0].volumes.clone();
        for (number, volume) in (1..).zip(&volumes) {
            let at = self.root().join(volume.mount.trim_start_matches('/'));
            fs::create_dir_all(&at).expect("a mount point");
            must(
                "mount",
                &["-t", volume.kind.name(), &self.primary.partition(number), &at.to_string_lossy()],
            );
            self.mounts.push(at);
        }
        for dir in ["run", "var/lib/diskmirror", "var/log"] {
            let at = self.root().join(dir);
            fs::create_dir_all(&at).expect("a mount point");
            must("mount", &["-t", "tmpfs", "tmpfs", &at.to_string_lossy()]);
            self.mounts.push(at);
        }
        // It boots as a Raspberry Pi does: no loader is needed.
        fs::create_dir_all(self.root().join("boot")).expect("a directory");
        fs::write(self.root().join("boot/config.txt"), "arm_64bit=1\n").expect("written");
        fs::write(self.root().join("boot/cmdline.txt"), "console=tty1 rootwait\n").expect("written");
    }

    /// As `init` leaves a mirror: never complete. In a thread of its own, whose mounts nobody else sees.
    fn write_marks(&self) {
        let (config, root) = (self.config.mirrors[0].clone(), self.root());
        let made = std::thread::spawn(move || -> anyhow::Result<()> {
            sys::mount::enter_private_namespace()?;
            let opened = mirror::find(&config)?.open(&config, &root, false)?;
            mirror::write_initial_marks(&config, &opened, &root.join("run/diskmirror"))?;
            opened.close()
        });
        made.join().expect("no panic").expect("the marks are written");
    }

    /// `diskmirror run` with these arguments, not started yet.
    pub fn command(&self, args: &[&str]) -> Command {
        let mut command = self.command_with_root(&self.root());
        command.args(args);
        command
    }

    /// `diskmirror run` of a primary mounted elsewhere.
    pub fn command_with_root(&self, root: &Path) -> Command {
        let mut command = Command::new(BINARY);
        command.arg("--root").arg(root).arg("--config").arg(self.config_path()).arg("run");
        command.stdin(Stdio::null()).stdout(Stdio::piped()).stderr(Stdio::piped());
        command
    }

    pub fn start(&self, args: &[&str]) -> Child {
        self.command(args).spawn().expect("it starts")
    }

    pub fn run(&self, args: &[&str]) -> Said {
        Said::of(self.command(args).output().expect("it starts"))
    }

    /// A run that must do everything.
    pub fn run_done(&self) -> Said {
        let said = self.run(&[]);
        assert_eq!(said.code, 0, "{said:?}");
        said
    }

    /// The run history, latest first.
    pub fn history(&self) -> Vec<RunRecord> {
        let state_dir = self.root().join("var/lib/diskmirror");
        History::open(&state_dir).and_then(|history| history.last("mirror", 100)).expect("a history")
    }

    /// Flushes the primary, and gives the hashes of both disks.
    pub fn hashes(&self) -> [String; 2] {
        must("sync", &[]);
        [self.primary.hash(), self.mirror.hash()]
    }

    /// Mounts the mirror's file systems side by side for `look`, read-only, and takes them away again.
    pub fn with_mirror<T>(&self, options: &str, look: impl FnOnce(&[PathBuf]) -> T) -> T {
        let at = |number: usize| self.dir.path().join(format!("look{number}"));
        let mut mounted = Vec::new();
        for (number, kind) in (1..).zip(&self.kinds) {
            fs::create_dir_all(at(number)).expect("a mount point");
            let node = self.mirror.partition(number);
            wait_until_idle(&node);
            must("mount", &["-t", kind.name(), "-o", options, &node, &at(number).to_string_lossy()]);
            mounted.push(at(number));
        }
        let seen = std::panic::catch_unwind(std::panic::AssertUnwindSafe(|| look(&mounted)));
        mounted.iter().for_each(|at| drop(must("umount", &[&at.to_string_lossy()])));
        seen.unwrap_or_else(|panic| std::panic::resume_unwind(panic))
    }

    /// What rsync would still do to make the mirror equal: nothing, if it is. Every file system is seen without what is
    /// mounted on it.
    pub fn differences(&self) -> String {
        self.with_mirror("rw", |mirrors| {
            let mut all = String::new();
            for (volume, mirror) in self.config.mirrors[0].volumes.iter().zip(mirrors) {
                let source = self.root().join(volume.mount.trim_start_matches('/'));
                let bare = self.dir.path().join("bare");
                fs::create_dir_all(&bare).expect("a mount point");
                must("mount", &["--bind", &source.to_string_lossy(), &bare.to_string_lossy()]);
                let output = Command::new("rsync")
                    .args(["-aHAXxn", "-@-1", "--checksum", "--delete", "-i", "--exclude=/.diskmirror/"])
                    .args(["--exclude=/tmp/*", "--exclude=/var/tmp/*", "--exclude=/var/lib/diskmirror/*"])
                    .arg(format!("{}/", bare.display()))
                    .arg(format!("{}/", mirror.display()))
                    .output()
                    .expect("rsync");
                must("umount", &[&bare.to_string_lossy()]);
                assert!(output.status.success(), "{output:?}");
                all += &String::from_utf8_lossy(&output.stdout);
            }
            all
        })
    }

    /// Takes the primary's mount at `mount` away.
    pub fn unmount_primary(&mut self, mount: &str) {
        let at = self.root().join(mount.trim_start_matches('/'));
        must("umount", &[&at.to_string_lossy()]);
        self.mounts.retain(|mounted| *mounted != at);
    }
}

impl Drop for Pair {
    fn drop(&mut self) {
        for at in self.mounts.iter().rev() {
            let _ = Command::new("umount").arg("-l").arg(at).status();
        }
    }
}

/// What a run said.
#[derive(Debug)]
pub struct Said {
    pub code: i32,
    pub stdout: String,
    pub stderr: String,
}

impl Said {
    pub fn of(output: Output) -> Said {
        Said {
            code: output.status.code().unwrap_or(-1),
            stdout: String::from_utf8_lossy(&output.stdout).into_owned(),
            stderr: String::from_utf8_lossy(&output.stderr).into_owned(),
        }
    }
}

/// Waits until a killed run's mounts are gone: a tool it had started may outlive it for a moment.
fn wait_until_idle(node: &str) {
    let held = || diskmirror::sys::node::is_held(Path::new(node)).expect("it can be opened");
    let tries = std::iter::repeat_with(held).take_while(|held| *held).take(500);
    tries.for_each(|_| std::thread::sleep(std::time::Duration::from_millis(20)));
}

/// A small tree with something of everything below `root`.
pub fn populate(root: &Path, files: usize) {
    for n in 0..files {
        let dir = root.join(format!("d{}", n % 13));
        fs::create_dir_all(&dir).expect("a directory");
        fs::write(dir.join(format!("f{n}")), content(n, 0)).expect("written");
    }
    std::os::unix::fs::symlink("d0/f0", root.join("link")).expect("a link");
    fs::hard_link(root.join("d0/f0"), root.join("d1/hard")).expect("a hard link");
    fs::create_dir_all(root.join("tmp")).expect("a directory");
    fs::write(root.join("tmp/not-mirrored"), "x").expect("written");
}

/// Version `version` of file number `n`: its length and every line tell which it is.
pub fn content(n: usize, version: usize) -> Vec<u8> {
    format!("file {n} version {version}\n").repeat(1 + n * 37 % 900).into_bytes()
}
