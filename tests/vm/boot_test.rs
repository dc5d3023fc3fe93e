//! `boot-test` on the host, with a mirror that a server has made, and with the lab's server as if it were one: a disk that boots, one that does not find its
//! root, and one without a loader. None of them is ever written to.

use std::fs::{self, File};
use std::io::Read;
use std::os::unix::fs::{FileExt, PermissionsExt};
use std::path::{Path, PathBuf};
use std::process::{Command, Stdio};

use serde_json::Value;
use tempfile::TempDir;

use crate::lab::image::{self, Layout};
use crate::lab::machine::Machine;
use crate::lab::{self, PASSPHRASE};

/// The number of the server's encrypted partition, as its layout has it.
const CONTAINER: u32 = 5;
/// The part of the disk before that partition: loader and /boot.
const BEFORE_CONTAINER: usize = 413_694 * 512;

#[test]
fn a_boot_test_tells_what_boots_from_what_does_not_and_writes_to_nothing() {
    if !lab::available() {
        return;
    }
    let mirror = Mirror::of(&image::server(Layout::Procedure).unwrap().disk, CONTAINER);
    let before = mirror.hash();
    let (code, booted) = mirror.boot_test(&[]);
    assert_eq!((code, &booted["verdict"]), (0, &"booted".into()), "{booted}");
    assert!(booted["sign"].as_str().is_some_and(|sign| sign.contains("server login:")), "{booted}");
    assert_eq!(booted["firmware"], "bios");
    mirror.keeps_log_and_picture(&booted);
    let (code, timeout) = mirror.boot_test(&["--time-limit", "3"]);
    assert_eq!((code, &timeout["verdict"]), (1, &"timeout".into()), "{timeout}");
    assert_eq!(mirror.hash(), before, "the mirror was written to");

    // Another root on the kernel's command line, and the shell of the initramfs instead of a restart.
    mirror.replace(b"root=/dev/mapper/www-root", b"root=/dev/mapper/www-r00t");
    mirror.replace(b"panic=-1", b"quiet=-1");
    let before = mirror.hash();
    let (code, emergency) = mirror.boot_test(&[]);
    assert_eq!((code, &emergency["verdict"]), (1, &"emergency".into()), "{emergency}");
    assert!(emergency["console"].to_string().contains("www-r00t does not exist"), "{emergency}");

    File::options().write(true).open(&mirror.node).unwrap().write_all_at(&[0; 440], 0).unwrap();
    let without_loader = mirror.hash();
    assert_ne!(without_loader, before);
    let (code, nothing) = mirror.boot_test(&[]);
    assert_eq!((code, &nothing["verdict"]), (1, &"no_loader".into()), "{nothing}");
    assert_eq!(mirror.hash(), without_loader, "the mirror was written to");
    mirror.leaves_nothing_behind();
}

/// A mirror that no machine has open: `disk` is its image, its encrypted partition has the number `container`.
pub fn a_mirror_boots(disk: &Path, container: u32, firmware: &str) {
    let mirror = Mirror::of(disk, container);
    let before = mirror.hash();
    let (code, booted) = mirror.boot_test(&[]);
    assert_eq!((code, &booted["verdict"]), (0, &"booted".into()), "{booted}");
    assert_eq!(booted["firmware"], firmware, "{booted}");
    assert_eq!(mirror.hash(), before, "the mirror was written to");
}

/// A disk on a loop device, and the configuration that makes it a mirror.
struct Mirror {
    node: String,
    image: PathBuf,
    root: PathBuf,
    _folder: TempDir,
}

impl Mirror {
    fn of(disk: &Path, container: u32) -> Mirror {
        let folder = Machine::folder().unwrap();
        let image = folder.path().join("mirror.raw");
        tool("qemu-img", &["convert", "-O", "raw", text(disk), text(&image)]);
        let node = tool("losetup", &["--find", "--show", text(&image)]);
        let mirror = Mirror { node, image, root: folder.path().join("root"), _folder: folder };
        tool("partx", &["--update", "--nr", "1:16", &mirror.node]);
        mirror.configure(container);
        mirror
    }

    /// A key file of its own, and the configuration that names it.
    fn configure(&self, container: u32) {
        fs::create_dir_all(self.root.join("etc")).unwrap();
        let key = self.root.join("etc/mirror.key");
        let mut bytes = [0; 64];
        File::open("/dev/urandom").and_then(|mut random| random.read_exact(&mut bytes)).unwrap();
        fs::write(&key, bytes).unwrap();
        let passphrase = self.root.join("passphrase");
        fs::write(&passphrase, PASSPHRASE).unwrap();
        let partition = format!("{}p{container}", self.node);
        let cheap = ["--batch-mode", "--pbkdf", "pbkdf2", "--pbkdf-force-iterations", "1000"];
        let add = [&["luksAddKey"][..], &cheap, &["--key-file", text(&passphrase), &partition, text(&key)]];
        tool("cryptsetup", &add.concat());
        fs::remove_file(passphrase).unwrap();
        let table = tool("blkid", &["-p", "-o", "value", "-s", "PTUUID", &self.node]);
        let luks = tool("blkid", &["-p", "-o", "value", "-s", "UUID", &partition]);
        let config = self.root.join("etc/diskmirror.toml");
        fs::write(&config, CONFIG.replace("TABLE", &table).replace("LUKS", &luks)).unwrap();
        fs::set_permissions(config, fs::Permissions::from_mode(0o600)).unwrap();
    }

    fn boot_test(&self, more: &[&str]) -> (i32, Value) {
        let output = Command::new(env!("CARGO_BIN_EXE_diskmirror"))
            .args(["--root", text(&self.root), "boot-test", "--json"])
            .args(more)
            .stdin(Stdio::null())
            .output()
            .unwrap();
        let stderr = String::from_utf8_lossy(&output.stderr);
        let value: Value =
            serde_json::from_slice(&output.stdout).unwrap_or_else(|error| panic!("{error}: {stderr}"));
        println!("lab: boot-test: {} after {} s", value["verdict"], value["seconds"]);
        (output.status.code().unwrap_or(-1), value)
    }

    fn hash(&self) -> String {
        tool("blockdev", &["--flushbufs", &self.node]);
        let mut hasher = blake3::Hasher::new();
        hasher.update_reader(File::open(&self.image).unwrap()).unwrap();
        hasher.finalize().to_hex().to_string()
    }

    /// Puts `new` in place of every `old` before the encrypted partition.
    fn replace(&self, old: &[u8], new: &[u8]) {
        let device = File::options().read(true).write(true).open(&self.node).unwrap();
        let mut bytes = vec![0; BEFORE_CONTAINER];
        device.read_exact_at(&mut bytes, 0).unwrap();
        let places: Vec<usize> = bytes
            .windows(old.len())
            .enumerate()
            .filter(|(_, found)| *found == old)
            .map(|(at, _)| at)
            .collect();
        assert!(!places.is_empty() && old.len() == new.len());
        places.iter().for_each(|at| device.write_all_at(new, *at as u64).unwrap());
    }

    fn keeps_log_and_picture(&self, test: &Value) {
        for kept in ["log", "picture"] {
            let path = test[kept].as_str().unwrap_or_else(|| panic!("there is no {kept} in {test}"));
            let meta = fs::metadata(path).unwrap();
            assert!(meta.len() > 0 && meta.permissions().mode() & 0o777 == 0o600, "{path}: {meta:?}");
        }
    }

    /// No image, no header, no socket; and every test is in the history.
    fn leaves_nothing_behind(&self) {
        assert!(!self.root.join("var/lib/diskmirror/boot-test/overlay.qcow2").exists());
        assert!(!self.root.join("run/diskmirror/mirror/boot-test").exists());
        let output = Command::new(env!("CARGO_BIN_EXE_diskmirror"))
            .args(["--root", text(&self.root), "history"])
            .output()
            .unwrap();
        let listed = String::from_utf8(output.stdout).unwrap();
        let verdicts: Vec<_> = listed.lines().filter_map(|line| line.split_whitespace().nth(3)).collect();
        assert_eq!(verdicts, ["no_loader", "emergency", "timeout", "booted"], "{listed}");
    }
}

impl Drop for Mirror {
    fn drop(&mut self) {
        let _ = Command::new("partx").args(["-d", &self.node]).output();
        let _ = Command::new("losetup").args(["-d", &self.node]).output();
    }
}

const CONFIG: &str = r#"
[[mirror]]
name = "mirror"
volume_groups = ["www"]
[mirror.primary]
table_id = "00000000"
[mirror.disk]
table_id = "TABLE"
[[mirror.container]]
luks_uuid = "LUKS"
mapper = "mirror_crypt"
unlock = "keyfile"
key_file = "/etc/mirror.key"
[[mirror.volume]]
mount = "/"
kind = "ext4"
primary_uuid = "of the primary"
mirror_uuid = "of the mirror"
"#;

fn text(path: &Path) -> &str {
    path.to_str().expect("a plain name")
}

fn tool(program: &str, args: &[&str]) -> String {
    let output = Command::new(program).args(args).output().unwrap();
    assert!(output.status.success(), "{program} {args:?}: {}", String::from_utf8_lossy(&output.stderr));
    String::from_utf8_lossy(&output.stdout).trim().to_owned()
}
