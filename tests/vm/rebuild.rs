//! An initramfs that cannot be mended from behind is rebuilt by the real mkinitramfs, in a chroot of the mirror. It needs the
//! lab's Debian, but no machine: the server is a loop device below `--root`.

#[path = "../common/server.rs"]
mod server;

use std::collections::BTreeSet;
use std::fs;
use std::io::{Cursor, Read};
use std::os::unix::fs::MetadataExt;
use std::path::PathBuf;

use diskmirror::layer::cpio;
use diskmirror::layer::initramfs;
use server::{Fs, Said, Server, Shape, blkid, tool};

use super::lab;

/// A /boot of its own, as on most servers: the chroot is more than one file system.
const SHAPE: Shape = Shape {
    table: "label: gpt\nsize=240MiB\ntype=L\n",
    filesystems: &[
        Fs { number: 2, mount: "/", mkfs: &["mke2fs", "-q", "-t", "ext4"] },
        Fs { number: 1, mount: "/boot", mkfs: &["mke2fs", "-q", "-t", "ext4"] },
    ],
    swaps: &[],
    primary_mib: 1400,
    mirror_mib: 1400,
    mirror_sector: 512,
};

/// It ends mkinitramfs before anything is done: its settings are shell.
const BROKEN: &str = "echo the settings are on fire >&2; exit 9\n";

/// Writes where it can, and ends mkinitramfs if it sees the running system's command line or swap space.
const CURIOUS: &str =
    "touch /etc/witness /boot/witness 2>/dev/null\n[ -z \"$(cat /proc/swaps /proc/cmdline)\" ] || exit 8\n";

#[test]
fn an_image_that_names_the_primary_in_a_files_name_is_rebuilt_and_an_older_one_stays_where_that_fails() {
    if !lab::available() || !server::root_or_skip("an image is rebuilt in a chroot") {
        return;
    }
    let mut lab = Lab::new();
    fs::write(lab.settings("conf.d/curious"), CURIOUS).expect("written");
    fs::write(lab.settings("conf.d/broken"), BROKEN).expect("written");
    let first = lab.server.init(&[]);
    lab.mirrors_root = blkid(&lab.server.mirror.part(2), "UUID");
    // 5: the audit finds the name in it.
    lab.says_that_it_failed(&first, 5);
    assert!(lab.image().bytes.starts_with(&lab.primarys), "the primary's image is better than none");

    fs::remove_file(lab.settings("conf.d/broken")).expect("it is there");
    lab.runs_well();
    let rebuilt = lab.image();
    lab.is_a_good_image(&rebuilt);
    assert_eq!(lab.other_differences(), "");

    lab.runs_well();
    assert_eq!(lab.image().made, rebuilt.made, "nothing has changed, and it was rebuilt");

    fs::write(lab.settings("conf.d/broken"), BROKEN).expect("written");
    for _ in 0..2 {
        let failed = lab.server.call(&["run"]);
        lab.says_that_it_failed(&failed, 3);
        assert_eq!(lab.image().made, rebuilt.made, "the old image stays");
    }

    fs::rename(lab.settings("conf.d/broken"), lab.settings("broken-no-more")).expect("it is there");
    lab.runs_well();
    let again = lab.image();
    assert_ne!(again.made, rebuilt.made, "a setting has changed, and it was not rebuilt");
    lab.is_a_good_image(&again);
}

/// The server with the lab's Debian on it.
struct Lab {
    server: Server,
    /// The image's name.
    name: String,
    primarys: Vec<u8>,
    uuids: Vec<String>,
    mirrors_root: String,
}

/// What lies on the mirror.
struct Image {
    bytes: Vec<u8>,
    mode: u32,
    /// Inode and change time.
    made: (u64, i64, i64),
}

impl Lab {
    fn new() -> Lab {
        let server = Server::new(SHAPE);
        let system = lab::image::root().expect("the lab's system");
        let (from, to) = (format!("{}/", system.display()), format!("{}/", server.root().display()));
        let apart =
            ["--exclude=/etc/fstab", "--exclude=/run/*", "--exclude=/var/log/*", "--exclude=/usr/lib/grub"];
        tool("rsync", &[&["-aHAX", "--numeric-ids"], &apart[..], &[&from, &to]].concat());
        let uuids: Vec<String> = [1, 2].map(|number| blkid(&server.primary.part(number), "UUID")).into();
        let modules = fs::read_dir(system.join("usr/lib/modules")).expect("there are modules").next();
        let version = modules.expect("there is a kernel").expect("readable").file_name();
        let name = format!("initrd.img-{}", version.to_string_lossy());
        let primarys = host_only_image(&uuids[1]);
        fs::write(server.root().join("boot").join(&name), &primarys).expect("written");
        Lab { server, name, primarys, uuids, mirrors_root: String::new() }
    }

    fn settings(&self, name: &str) -> PathBuf {
        self.server.root().join("etc/initramfs-tools").join(name)
    }

    fn runs_well(&self) {
        let said = self.server.call(&["run"]);
        assert_eq!(said.code, 0, "{said:?}");
        assert!(!said.stderr.contains("initrd"), "{said:?}");
        self.left_nothing_behind();
    }

    fn says_that_it_failed(&self, said: &Said, code: i32) {
        assert_eq!(said.code, code, "{said:?}");
        let words = [
            "in a file's name",
            "mkinitramfs ended with 9: the settings are on fire",
            "echo MODULES=most >/etc/",
        ];
        words.iter().for_each(|word| assert!(said.stderr.contains(word), "{word:?} is not in {said:?}"));
        self.left_nothing_behind();
    }

    fn left_nothing_behind(&self) {
        let runtime = self.server.root().join("run/diskmirror/mirror/rebuild");
        assert!(!runtime.exists(), "the chroot's directory is still there");
    }

    fn image(&mut self) -> Image {
        let part = self.server.mirror.part(2);
        let root = self.server.mount_beside(&part, "root-of-the-mirror");
        assert!(root.join(".diskmirror").exists() && !root.join(".diskmirror/rebuild").exists());
        self.server.unmount(&root);
        let part = self.server.mirror.part(1);
        let boot = self.server.mount_beside(&part, "boot-of-the-mirror");
        let path = boot.join(&self.name);
        let (meta, bytes) = (fs::metadata(&path).expect("it is there"), fs::read(&path).expect("readable"));
        assert!(!boot.join(format!("{}.new", self.name)).exists(), "half an image is still there");
        self.server.unmount(&boot);
        Image { bytes, mode: meta.mode() & 0o7777, made: (meta.ino(), meta.ctime(), meta.ctime_nsec()) }
    }

    fn is_a_good_image(&self, image: &Image) {
        assert_eq!(image.mode, 0o644, "the primary's mode");
        let read = initramfs::read(&mut Cursor::new(&image.bytes), &Settings).expect("it is readable");
        assert_eq!(read.generator(), initramfs::Generator::InitramfsTools);
        assert!(read.has_driver("usb_storage"), "it was made with the MODULES=list of the settings");
        let crypttab_inside = read.file("cryptroot/crypttab").expect("it is there");
        assert_eq!(String::from_utf8_lossy(crypttab_inside), crypttab(&self.mirrors_root));
        let by_the_hook = crypttab(&self.mirrors_root).replace("discard", "discard,initramfs");
        let without = image.bytes.len()
            - read.archives.last().map_or(0, |last| image.bytes.len() - last.offset as usize);
        let new =
            initramfs::read(&mut Cursor::new(&image.bytes[..without]), &Settings).expect("it is readable");
        let early = new.files().filter(|(path, _)| path.ends_with(b"cryptroot/crypttab"));
        let early: Vec<_> = early.filter_map(|(_, file)| file.content.as_deref()).collect();
        assert_eq!(early, [by_the_hook.as_bytes()]);
        for (path, file) in read.files() {
            let path = String::from_utf8_lossy(path);
            for uuid in self.uuids.iter().map(String::as_bytes) {
                let names = |bytes: &[u8]| bytes.windows(uuid.len()).any(|window| window == uuid);
                let inside = file.content.as_deref().unwrap_or_default();
                assert!(!names(path.as_bytes()) && !names(inside), "{path} names the primary");
            }
        }
    }

    /// What else rsync finds on the mirror: that the generator ran there shows nowhere.
    fn other_differences(&self) -> String {
        let found = self.server.differences();
        let others = found.lines().filter(|line| !line.contains(&self.name) && *line != ".d..t...... ./");
        others.collect::<Vec<_>>().join("\n")
    }
}

/// A container that is open nowhere: no hook finds out by itself that it is needed early.
fn crypttab(uuid: &str) -> String {
    format!("root_crypt UUID={uuid} none luks,discard\n")
}

/// As dracut's host-only mode makes it: what it waits for is the name of a file.
fn host_only_image(uuid: &str) -> Vec<u8> {
    let hook = format!(
        "usr/lib/dracut/hooks/initqueue/finished/devexists-\\x2fdev\\x2fdisk\\x2fby-uuid\\x2f{uuid}.sh"
    );
    let crypttab = crypttab(uuid);
    let files = [
        ("init", "#!/bin/sh\n"),
        ("scripts/functions", "\n"),
        (&hook, "true\n"),
        ("cryptroot/crypttab", &crypttab),
    ];
    cpio::write(files.iter().map(|(path, text)| (path.as_bytes(), cpio::REGULAR | 0o644, text.as_bytes())))
}

/// Keeps every file that is no larger than settings are.
struct Settings;

impl initramfs::Look for Settings {
    fn is_setting(&self, _: &[u8]) -> bool {
        true
    }

    fn marks(&self, _: &mut dyn Read) -> std::io::Result<BTreeSet<usize>> {
        Ok(BTreeSet::new())
    }
}
