//! A small server on a loop device and a second disk beside it, for `plan` and `init`: any table, any sizes, no
//! device-mapper. Everything is mounted in a mount namespace of the test's thread, so that it goes away with the test.
//!
//! Nothing here uses the crate's own code.

#![allow(dead_code)] // Each test file uses what it needs.

#[path = "raw.rs"]
pub mod raw;

use std::cell::Cell;
use std::ffi::OsString;
use std::fmt::Write as _;
use std::fs::{self, File};
use std::io::{Read as _, Seek as _, SeekFrom, Write as _};
use std::ops::Range;
use std::os::unix::fs::{MetadataExt, PermissionsExt};
use std::path::{Path, PathBuf};
use std::process::{Child, Command, Output, Stdio};
use tempfile::TempDir;

pub const MIB: u64 = 1 << 20;

thread_local! {
    static PRIVATE: Cell<bool> = const { Cell::new(false) };
}

/// True as root; else says that `test` is skipped. As root it gives the thread its mount namespace: what others mount
/// and unmount is still seen, what is mounted here is not seen by others.
pub fn root_or_skip(test: &str) -> bool {
    if !rustix::process::geteuid().is_root() {
        skipped(test, "needs root (loop devices, mounts)");
        return false;
    }
    if !PRIVATE.replace(true) {
        raw::unshare_mounts().expect("root may have a mount namespace");
        tool("mount", &["--make-rslave", "/"]);
    }
    true
}

/// Says that a test was left out, and why, where `make test` looks for it.
pub fn skipped(test: &str, why: &str) {
    let line = format!("skipped: {test}: {why}");
    println!("{line}");
    if let Some(path) = std::env::var_os("DISKMIRROR_SKIPS") {
        let file = File::options().create(true).append(true).open(path);
        writeln!(file.expect("the file named by DISKMIRROR_SKIPS"), "{line}").expect("it can be written");
    }
}

/// Runs a tool that must succeed, and gives its stdout, trimmed.
pub fn tool(program: &str, args: &[&str]) -> String {
    tool_with(program, args, "")
}

/// The same with `input` on its stdin.
pub fn tool_with(program: &str, args: &[&str], input: &str) -> String {
    let output = fed(Command::new(program).args(args), input);
    let (out, err) = (String::from_utf8_lossy(&output.stdout), String::from_utf8_lossy(&output.stderr));
    assert!(output.status.success(), "{program} {args:?}: {}\n{out}{err}", output.status);
    out.trim().to_owned()
}

fn fed(command: &mut Command, input: &str) -> Output {
    let mut child = command
        .env("LC_ALL", "C.UTF-8")
        .stdin(Stdio::piped())
        .stdout(Stdio::piped())
        .stderr(Stdio::piped())
        .spawn()
        .unwrap_or_else(|error| panic!("{command:?}: {error}"));
    // A tool that wants no input may have ended before this.
    let _ = child.stdin.take().expect("it was piped").write_all(input.as_bytes());
    child.wait_with_output().expect("it ends")
}

fn quietly(program: &str, args: &[&str]) -> bool {
    let status = Command::new(program).args(args).stdout(Stdio::null()).stderr(Stdio::null()).status();
    status.is_ok_and(|status| status.success())
}

/// The program under judgement: `DISKMIRROR_BIN` names another than the one just built.
pub fn program() -> OsString {
    std::env::var_os("DISKMIRROR_BIN").unwrap_or_else(|| env!("CARGO_BIN_EXE_diskmirror").into())
}

/// A loop device over a sparse image. The image must outlive it.
pub struct Disk {
    pub node: String,
    pub image: PathBuf,
    /// Bytes that the kernel may write to at any time: of a swap area that is in use. No digest covers them.
    pub swapped_to: Range<u64>,
}

impl Disk {
    pub fn new(image: PathBuf, mib: u64, sector: u32) -> Disk {
        File::create(&image).and_then(|file| file.set_len(mib * MIB)).expect("a sparse image");
        let path = image.to_str().expect("a plain name");
        let sector = sector.to_string();
        let attach =
            || Command::new("losetup").args(["-f", "--show", "-b", &sector, path]).output().expect("losetup");
        // Two tests may be after the same free device.
        let output = std::iter::repeat_with(attach).take(30).find(|output| output.status.success());
        let output = output.expect("a loop device is free");
        let node = String::from_utf8_lossy(&output.stdout).trim().to_owned();
        // The kernel keeps partitions that partx told it of when a loop device goes to its next user.
        quietly("partx", &["-d", &node]);
        Disk { node, image, swapped_to: 0..0 }
    }

    /// Partitions it; this kernel may know no partition tables, so partx says where they are.
    pub fn partition(&self, script: &str) {
        tool_with("sfdisk", &["-q", "--wipe", "always", "--wipe-partitions", "always", &self.node], script);
        tool("partx", &["--update", "--nr", "1:16", &self.node]);
    }

    pub fn part(&self, number: u32) -> String {
        format!("{}p{number}", self.node)
    }

    /// A digest of every byte, as the medium holds them, but those that the kernel swaps to.
    pub fn hash(&self) -> String {
        tool("sync", &[]);
        let mut hasher = blake3::Hasher::new();
        let mut image = File::open(&self.image).expect("the image");
        let first = (&mut image).take(self.swapped_to.start);
        hasher.update_reader(first).expect("it can be read");
        image.seek(SeekFrom::Start(self.swapped_to.end)).expect("it is as long");
        hasher.update_reader(image).expect("it can be read");
        hasher.finalize().to_hex().to_string()
    }

    /// The first `count` bytes.
    pub fn head(&self, count: usize) -> Vec<u8> {
        tool("blockdev", &["--flushbufs", &self.node]);
        let mut bytes = fs::read(&self.image).expect("it can be read");
        bytes.truncate(count);
        bytes
    }

    /// sfdisk's dump.
    pub fn dump(&self) -> String {
        tool("sfdisk", &["--dump", &self.node])
    }

    /// Whether nobody holds it, a killed tool's orphan included.
    pub fn is_free(&self) -> bool {
        let flags = rustix::fs::OFlags::RDONLY | rustix::fs::OFlags::EXCL;
        rustix::fs::open(&self.node, flags, rustix::fs::Mode::empty()).is_ok()
    }
}

impl Drop for Disk {
    fn drop(&mut self) {
        quietly("blockdev", &["--setrw", &self.node]);
        quietly("partx", &["-d", &self.node]);
        quietly("losetup", &["-d", &self.node]);
    }
}

/// A file system of the primary: its partition, where it is mounted, and the command that makes it.
#[derive(Clone, Copy)]
pub struct Fs {
    pub number: u32,
    pub mount: &'static str,
    pub mkfs: &'static [&'static str],
}

/// What a server is made of.
#[derive(Clone, Copy)]
pub struct Shape {
    /// sfdisk's script.
    pub table: &'static str,
    /// The root first.
    pub filesystems: &'static [Fs],
    /// Partitions that get swap space.
    pub swaps: &'static [u32],
    pub primary_mib: u64,
    pub mirror_mib: u64,
    pub mirror_sector: u32,
}

/// GPT, /boot and /, both ext4: the shape of most tests.
pub const PLAIN: Shape = Shape {
    table: "label: gpt\nsize=24MiB, name=\"boot\"\ntype=L, name=\"the, root\"\n",
    filesystems: &[
        Fs { number: 2, mount: "/", mkfs: &["mke2fs", "-q", "-t", "ext4", "-L", "root", "-N", "5000"] },
        Fs { number: 1, mount: "/boot", mkfs: &["mke2fs", "-q", "-t", "ext4", "-L", "boot"] },
    ],
    swaps: &[],
    primary_mib: 64,
    mirror_mib: 64,
    mirror_sector: 512,
};

/// The server. Fields are dropped in order: the mounts go first, the images last.
pub struct Server {
    mounts: Mounts,
    pub shape: Shape,
    pub primary: Disk,
    pub mirror: Disk,
    pub dir: TempDir,
}

struct Mounts(Vec<PathBuf>);

impl Drop for Mounts {
    fn drop(&mut self) {
        self.0.iter().rev().for_each(|at| {
            quietly("umount", &["-l", at.to_str().expect("a plain name")]);
        });
    }
}

impl Server {
    pub fn new(shape: Shape) -> Server {
        let dir = scratch(shape);
        let primary = Disk::new(dir.path().join("primary.img"), shape.primary_mib, 512);
        let mirror = Disk::new(dir.path().join("mirror.img"), shape.mirror_mib, shape.mirror_sector);
        let mut server = Server { mounts: Mounts(Vec::new()), shape, primary, mirror, dir };
        server.make();
        server
    }

    fn make(&mut self) {
        self.primary.partition(self.shape.table);
        // Boot code, to be told from the mirror's own; the table's bytes stay as sfdisk wrote them.
        let code: Vec<u8> = (0..440u32).map(|n| (n % 251) as u8 + 1).collect();
        put(&self.primary.node, 0, &code);
        self.shape.swaps.iter().for_each(|n| drop(tool("mkswap", &["-q", &self.primary.part(*n)])));
        let mut fstab = String::from("# made by hand\t \n\n");
        for fs in self.shape.filesystems {
            let node = self.primary.part(fs.number);
            let mut args = fs.mkfs[1..].to_vec();
            if fs.mkfs[0] == "mke2fs" {
                // The kernel would go on writing to a mounted file system that is not wholly made.
                args.extend(["-E", "lazy_itable_init=0,lazy_journal_init=0"]);
            }
            args.push(&node);
            tool(fs.mkfs[0], &args);
            let kind = blkid(&node, "TYPE");
            self.mount(&node, fs.mount);
            let uuid = blkid(&node, "UUID");
            writeln!(fstab, "UUID={uuid}   {}\t{kind} defaults  0 1 # keep me", fs.mount).expect("a string");
        }
        for number in self.shape.swaps {
            let uuid = blkid(&self.primary.part(*number), "UUID");
            writeln!(fstab, "UUID={uuid} none swap sw 0 0").expect("a string");
        }
        fstab += "tmpfs /run tmpfs defaults 0 0"; // No newline at the end.
        let root = self.root();
        for dir in ["etc", "boot", "var/lib", "home/alice", "home/bob", "tmp"] {
            fs::create_dir_all(root.join(dir)).expect("a directory");
        }
        // Runs write there while they copy; /run is a tmpfs everywhere.
        for dir in ["run", "var/lib/diskmirror", "var/log"] {
            let at = root.join(dir);
            fs::create_dir_all(&at).expect("a mount point");
            tool("mount", &["-t", "tmpfs", "tmpfs", at.to_str().expect("a plain name")]);
            self.mounts.0.push(at);
        }
        fs::write(root.join("etc/fstab"), fstab).expect("written");
        fs::write(root.join("etc/crypttab"), "# nothing\n").expect("written");
        (0..60).for_each(|n| {
            fs::write(root.join(format!("home/alice/{n}")), format!("{n}\n").repeat(n * 50))
                .expect("written");
        });
        fs::hard_link(root.join("home/alice/1"), root.join("home/bob/one")).expect("a link");
        std::os::unix::fs::symlink("../alice/2", root.join("home/bob/two")).expect("a link");
        fs::write(root.join("boot/vmlinuz"), vec![7; 300_000]).expect("written");
        // It boots as a Raspberry Pi does: no loader is needed, and the firmware reads the command line.
        let uuid = blkid(&self.primary.part(self.shape.filesystems[0].number), "UUID");
        fs::write(root.join("boot/config.txt"), "arm_64bit=1\n").expect("written");
        fs::write(root.join("boot/cmdline.txt"), format!("root=UUID={uuid} rootwait\n")).expect("written");
        fs::set_permissions(root.join("home/bob"), fs::Permissions::from_mode(0o2750)).expect("chmod");
    }

    fn mount(&mut self, node: &str, mount: &str) {
        let at = self.root().join(mount.trim_start_matches('/'));
        fs::create_dir_all(&at).expect("a mount point");
        tool("mount", &["-o", "noatime", node, at.to_str().expect("a plain name")]);
        self.mounts.0.push(at);
    }

    /// Mounts `node` somewhere beside the server, until the test ends.
    pub fn mount_beside(&mut self, node: &str, name: &str) -> PathBuf {
        let at = self.dir.path().join(name);
        fs::create_dir_all(&at).expect("a mount point");
        tool("mount", &["-o", "ro", node, at.to_str().expect("a plain name")]);
        self.mounts.0.push(at.clone());
        at
    }

    /// Takes a mount away again.
    pub fn unmount(&mut self, at: &Path) {
        tool("umount", &[at.to_str().expect("a plain name")]);
        self.mounts.0.retain(|mounted| mounted != at);
    }

    /// Where the primary's root is mounted.
    pub fn root(&self) -> PathBuf {
        self.dir.path().join("root")
    }

    pub fn config(&self) -> PathBuf {
        self.root().join("etc/diskmirror.toml")
    }

    /// The program with `--root`, not started yet; nobody can be asked anything.
    pub fn command(&self, args: &[&str]) -> Command {
        let mut command = Command::new(program());
        command.arg("--root").arg(self.root()).args(args);
        command.stdin(Stdio::null()).stdout(Stdio::piped()).stderr(Stdio::piped());
        command
    }

    pub fn call(&self, args: &[&str]) -> Said {
        Said::of(self.command(args).output().expect("it starts"))
    }

    /// `plan`, which must succeed.
    pub fn plan(&self, more: &[&str]) -> Said {
        let said = self.call(&[&["plan", "--mirror", &self.mirror.node], more].concat());
        assert_eq!(said.code, 0, "{said:?}");
        said
    }

    /// The digest of the plan.
    pub fn digest(&self) -> String {
        let plan: serde_json::Value = serde_json::from_str(&self.plan(&["--json"]).stdout).expect("JSON");
        plan["digest"].as_str().expect("a digest").to_owned()
    }

    fn init_args<'a>(&'a self, more: &[&'a str]) -> Vec<&'a str> {
        let node = &self.mirror.node;
        [&["init", "--mirror", node, "--erase", node, "--yes", "--no-schedule"], more].concat()
    }

    /// `init`, confirmed, without a schedule.
    pub fn init(&self, more: &[&str]) -> Said {
        self.call(&self.init_args(more))
    }

    /// The same, which must succeed.
    pub fn init_done(&self, more: &[&str]) -> Said {
        let said = self.init(more);
        assert_eq!(said.code, 0, "{said:?}");
        said
    }

    /// The same, begun.
    pub fn start_init(&self) -> Child {
        self.command(&self.init_args(&[])).spawn().expect("it starts")
    }

    /// Both disks, byte for byte, and every file below the primary's root with its content and times.
    pub fn snapshot(&self) -> Snapshot {
        let mut tree = String::new();
        list(&self.root(), &mut tree);
        Snapshot { primary: self.primary.hash(), mirror: self.mirror.hash(), tree }
    }

    /// Requires that nothing has changed since.
    pub fn is_as_it_was(&self, before: &Snapshot, when: &Said) {
        let now = self.snapshot();
        let was: Vec<&str> = before.tree.lines().collect();
        let changed: Vec<&str> = now.tree.lines().filter(|line| !was.contains(line)).collect();
        assert!(changed.is_empty(), "changed below the root: {changed:#?}\n{when:?}");
        assert_eq!(now.tree.lines().count(), was.len(), "something below the root is gone: {when:?}");
        assert_eq!(now.mirror, before.mirror, "the mirror was written to: {when:?}");
        assert_eq!(now.primary, before.primary, "the primary was written to: {when:?}");
    }

    /// The boot files below `copy`, a file system of the mirror, that name an identifier of the primary, a line each.
    fn naming_the_primary(&self, copy: &Path) -> String {
        let parts = self.shape.filesystems.iter().map(|fs| fs.number).chain(self.shape.swaps.iter().copied());
        let uuids: Vec<String> = parts.map(|number| blkid(&self.primary.part(number), "UUID")).collect();
        let mut found = String::new();
        for file in ["etc/fstab", "boot/cmdline.txt", "cmdline.txt"] {
            let text = fs::read_to_string(copy.join(file)).unwrap_or_default();
            for uuid in uuids.iter().filter(|uuid| text.contains(*uuid)) {
                writeln!(found, "{file} names {uuid}").expect("a string");
            }
        }
        found
    }

    /// Requires a refusal that says these words and has touched nothing.
    pub fn refuses(&self, args: &[&str], words: &[&str]) -> Said {
        let before = self.snapshot();
        let said = self.call(args);
        said.is_refusal(words);
        self.is_as_it_was(&before, &said);
        said
    }

    /// Requires both `plan` and a confirmed `init` to refuse so.
    pub fn plan_and_init_refuse(&self, words: &[&str]) {
        self.refuses(&["plan", "--mirror", &self.mirror.node], words);
        self.refuses(&self.init_args(&[]), words);
    }

    /// What rsync would still do to make the mirror equal: nothing, if it is. The files that name disks must not be equal;
    /// they are held against the mirror's identifiers instead.
    pub fn differences(&self) -> String {
        let mut all = String::new();
        for fs in self.shape.filesystems {
            let (bare, copy) = (self.dir.path().join("bare"), self.dir.path().join("copy"));
            [&bare, &copy].into_iter().for_each(|at| fs::create_dir_all(at).expect("a mount point"));
            let (bare, copy) = (bare.to_str().expect("plain"), copy.to_str().expect("plain"));
            let source = self.root().join(fs.mount.trim_start_matches('/'));
            tool("mount", &["--bind", source.to_str().expect("plain"), bare]);
            tool("mount", &[&self.mirror.part(fs.number), copy]);
            let judge = ["-aHAXxn", "-@-1", "--checksum", "--delete", "-i", "--exclude=/.diskmirror/"];
            let defaults = ["--exclude=/tmp/*", "--exclude=/var/tmp/*", "--exclude=/var/lib/diskmirror/*"];
            // What the mirror has for itself alone.
            let own = ["--exclude=diskmirror-undo.service"];
            let retargeted: Vec<String> =
                NAMING_DISKS.iter().filter_map(|path| path.strip_prefix(fs.mount)).map(below_root).collect();
            let retargeted: Vec<&str> = retargeted.iter().map(String::as_str).collect();
            let (from, to) = (format!("{bare}/"), format!("{copy}/"));
            all += &tool("rsync", &[&judge[..], &defaults, &own, &retargeted, &[&from, &to]].concat());
            all += &self.naming_the_primary(Path::new(copy));
            tool("umount", &[bare]);
            tool("umount", &[copy]);
        }
        all
    }
}

/// The primary's files that name its disk.
const NAMING_DISKS: [&str; 3] = ["/etc/fstab", "/etc/diskmirror.toml", "/boot/cmdline.txt"];

/// rsync's way to leave out a path below the root of what it copies.
fn below_root(path: &str) -> String {
    format!("--exclude=/{}", path.trim_start_matches('/'))
}

/// In memory if there is room, else below the directory for temporary files.
fn scratch(shape: Shape) -> TempDir {
    let shm = PathBuf::from("/dev/shm");
    let room = rustix::fs::statvfs(&shm).map_or(0, |fs| fs.f_bavail * fs.f_frsize);
    let parent =
        if room > 4 * (shape.primary_mib + shape.mirror_mib) * MIB { shm } else { std::env::temp_dir() };
    let made = tempfile::tempdir_in(parent).expect("a directory for images");
    fs::set_permissions(made.path(), fs::Permissions::from_mode(0o755)).expect("its own directory");
    made
}

/// A field of what blkid reads on a device.
pub fn blkid(node: &str, field: &str) -> String {
    tool("blkid", &["-p", "-o", "value", "-s", field, node])
}

/// Writes into a device or an image.
pub fn put(path: &str, offset: u64, bytes: &[u8]) {
    use std::os::unix::fs::FileExt;
    let file = File::options().write(true).open(path).expect("it is there");
    file.write_all_at(bytes, offset).and_then(|()| file.sync_all()).expect("it can be written");
}

fn list(path: &Path, out: &mut String) {
    let meta = fs::symlink_metadata(path).expect("it is there");
    let content = if meta.is_file() {
        blake3::hash(&fs::read(path).expect("readable")).to_hex().to_string()
    } else {
        String::new()
    };
    let (mode, mtime, nanos) = (meta.mode(), meta.mtime(), meta.mtime_nsec());
    writeln!(out, "{} {mode:o} {mtime}.{nanos} {content}", path.display()).expect("a string");
    if meta.is_dir() {
        let entries = fs::read_dir(path).expect("readable").map(|entry| entry.expect("readable").path());
        let mut entries: Vec<PathBuf> = entries.collect();
        entries.sort();
        entries.iter().for_each(|entry| list(entry, out));
    }
}

/// Everything that a refusal must leave alone.
pub struct Snapshot {
    primary: String,
    mirror: String,
    tree: String,
}

/// What the program said.
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

    /// The lines from `error:` on: what, why, state, do.
    pub fn error(&self) -> &str {
        let at = self.stderr.rfind("error: ").unwrap_or_else(|| panic!("no error in {self:?}"));
        &self.stderr[at..]
    }

    /// Requires exit 4 and the four things, these words among them.
    pub fn is_refusal(&self, words: &[&str]) {
        assert_eq!(self.code, 4, "{self:?}");
        self.says_four_things(words);
        assert!(self.error().contains("\n  state: nothing was "), "{self:?}");
        assert_eq!(self.stdout, "", "{self:?}");
    }

    /// Requires exit 1 and the four things, these words among them.
    pub fn is_failure(&self, words: &[&str]) {
        assert_eq!(self.code, 1, "{self:?}");
        self.says_four_things(words);
    }

    fn says_four_things(&self, words: &[&str]) {
        let text = self.error();
        let at: Vec<Option<usize>> =
            ["\n  why:   ", "\n  state: ", "\n  do:    "].map(|part| text.find(part)).to_vec();
        assert!(at.iter().all(Option::is_some) && at.is_sorted(), "not in four things:\n{text}");
        words.iter().for_each(|word| assert!(text.contains(word), "{word:?} is not in:\n{text}"));
    }
}

/// Stands before a tool, for this thread and what it starts, until dropped: a shell script that may call `$REAL`.
pub struct Stub {
    at: String,
    _dir: TempDir,
}

impl Stub {
    /// `script` is in place of `program`; `$REAL` is the tool itself.
    pub fn new(program: &str, script: &str) -> Stub {
        let at = which(program);
        let dir = tempfile::tempdir().expect("a directory for temporary files");
        let real = dir.path().join(program);
        fs::copy(fs::canonicalize(&at).expect("the tool"), &real).expect("there is room");
        let stub = dir.path().join("stub");
        let text = format!("#!/bin/sh\nREAL={}\n{script}\n", real.display());
        fs::write(&stub, text).expect("there is room");
        fs::set_permissions(&stub, fs::Permissions::from_mode(0o755)).expect("its own file");
        bind(&stub, &at);
        Stub { at, _dir: dir }
    }

    /// Fails where the arguments match the shell's `pattern`.
    pub fn failing(program: &str, pattern: &str) -> Stub {
        let script = format!(
            "case \"$*\" in {pattern}) echo \"{program}: the disk is on fire\" >&2; exit 9;; esac\nexec \"$REAL\" \"$@\""
        );
        Stub::new(program, &script)
    }
}

impl Drop for Stub {
    fn drop(&mut self) {
        // Lazily: the shell of a killed caller may still be at its last line.
        tool("umount", &["-l", &self.at]);
    }
}

/// Binds `from` over `at`, for this thread and what it starts.
pub fn bind(from: &Path, at: &str) {
    tool("mount", &["--bind", from.to_str().expect("a plain name"), at]);
}

/// Where the program finds a tool.
pub fn which(program: &str) -> String {
    let path = "PATH=/usr/local/sbin:/usr/local/bin:/usr/sbin:/usr/bin:/sbin:/bin";
    let found = tool("env", &[path, "sh", "-c", &format!("command -v {program}")]);
    fs::canonicalize(&found).map_or(found, |_| real_directory(program))
}

/// The directory may be a link (/sbin), the tool's own name must stay: mke2fs looks at it.
fn real_directory(program: &str) -> String {
    let dirs = ["/usr/local/sbin", "/usr/local/bin", "/usr/sbin", "/usr/bin"];
    let dir = dirs.into_iter().find(|dir| Path::new(dir).join(program).exists());
    format!("{}/{program}", dir.expect("the tool is installed"))
}
