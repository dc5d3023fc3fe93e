//! The kernel itself is the judge of what is put behind an initramfs: it must take every override for the file, whatever
//! compression the archive in front of it has.

use std::collections::BTreeSet;
use std::fs;
use std::io::{Cursor, Read, Write};
use std::path::Path;
use std::process::{Command, Stdio};

use diskmirror::layer::cpio;
use diskmirror::layer::initramfs::{self, Override};

use super::lab;

const EXECUTABLE: u32 = cpio::REGULAR | 0o755;
const FILE: u32 = cpio::REGULAR | 0o644;

/// Each compression and what makes it. Debian's kernel has them all.
const COMPRESSIONS: [(&str, &str); 7] = [
    ("none", "cat"),
    ("gzip", "gzip -c"),
    ("bzip2", "bzip2 -c"),
    ("lzma", "xz --format=lzma -c"),
    ("xz", "xz --check=crc32 -c"),
    ("lz4", "lz4 -l -c"),
    ("zstd", "zstd -q -c"),
];

/// One image of all: behind each archive stands the suffix that overrides its file. Where the kernel did not find one of
/// them it would stop there, and the rest would be missing too.
#[test]
fn the_kernel_takes_an_override_behind_an_archive_of_every_compression() {
    if !lab::available() {
        return;
    }
    let server = lab::image::server(lab::image::Layout::Plain).expect("the server's kernel is there");
    let folder = tempfile::tempdir().expect("a folder");
    let mut image = early_archive();
    image.extend(cpio::write([(b"init".as_slice(), EXECUTABLE, init(folder.path()).as_slice())]));
    for (name, tool) in COMPRESSIONS {
        let path = format!("cryptroot/{name}");
        let directory = (b"cryptroot".as_slice(), cpio::DIRECTORY | 0o700, b"".as_slice());
        let primarys = cpio::write([directory, (path.as_bytes(), FILE, b"the primary's")]);
        image.resize(image.len().next_multiple_of(4), 0);
        image.extend(compressed(tool, &primarys));
        let content = format!("the mirror's, in {name}").into_bytes();
        let suffix = initramfs::read(&mut Cursor::new(&image), &All)
            .unwrap_or_else(|error| panic!("{name}: {error}"))
            .suffix(&[Override { path, permissions: 0o600, content }]);
        image.extend(suffix);
    }
    let read = initramfs::read(&mut Cursor::new(&image), &All).expect("it is what the kernel reads");
    let read: BTreeSet<String> = COMPRESSIONS
        .iter()
        .map(|(name, _)| (name, read.file(&format!("cryptroot/{name}")).expect("it is there")))
        .map(|(name, text)| format!("/cryptroot/{name} says {}", String::from_utf8_lossy(text)))
        .collect();

    let console = boot(&server, folder.path(), &image);

    let said: BTreeSet<String> =
        console.lines().map(|line| line.trim().to_owned()).filter(|line| line.contains(" says ")).collect();
    let overridden: BTreeSet<String> = COMPRESSIONS
        .iter()
        .map(|(name, _)| format!("/cryptroot/{name} says the mirror's, in {name}"))
        .collect();
    assert_eq!(said, overridden, "{console}");
    assert_eq!(read, overridden);
}

/// As firmware updates for the processor lie in front of an image.
fn early_archive() -> Vec<u8> {
    let mut early = cpio::write([(b"kernel/x86/microcode/none.bin".as_slice(), FILE, b"none".as_slice())]);
    early.resize(early.len().next_multiple_of(512), 0);
    early
}

fn init(folder: &Path) -> Vec<u8> {
    let source = Path::new(env!("CARGO_MANIFEST_DIR")).join("tests/vm/init.c");
    let program = folder.join("init");
    let status = Command::new("cc").args(["-static", "-O2", "-s", "-o"]).args([&program, &source]).status();
    assert!(status.expect("there is a C compiler").success(), "{} does not compile", source.display());
    fs::read(program).expect("it was made")
}

fn compressed(tool: &str, bytes: &[u8]) -> Vec<u8> {
    let mut words = tool.split(' ');
    let mut command = Command::new(words.next().expect("a tool has a name"));
    let command = command.args(words).stdin(Stdio::piped()).stdout(Stdio::piped());
    let mut child = command.spawn().unwrap_or_else(|error| panic!("{tool}: {error}"));
    child.stdin.take().expect("it is a pipe").write_all(bytes).expect("it reads");
    let output = child.wait_with_output().expect("it ran");
    assert!(output.status.success(), "{tool}");
    output.stdout
}

/// What the machine says on its console until it powers off.
fn boot(server: &lab::image::Image, folder: &Path, image: &[u8]) -> String {
    let initrd = folder.join("initrd");
    fs::write(&initrd, image).expect("there is room");
    let output = Command::new("timeout")
        .args(["180", "qemu-system-x86_64"])
        .args(server.accelerator)
        .args(["-m", "512", "-nodefaults", "-display", "none", "-no-reboot", "-serial", "stdio"])
        .args(["-append", "console=ttyS0 panic=-1", "-kernel"])
        .arg(&server.kernel)
        .arg("-initrd")
        .arg(&initrd)
        .stdin(Stdio::null())
        .output()
        .expect("QEMU starts");
    let console = String::from_utf8_lossy(&output.stdout).into_owned();
    assert!(console.contains("that is all"), "{console}{}", String::from_utf8_lossy(&output.stderr));
    console
}

/// Keeps every file that is no larger than settings are.
struct All;

impl initramfs::Look for All {
    fn is_setting(&self, _: &[u8]) -> bool {
        true
    }

    fn marks(&self, _: &mut dyn Read) -> std::io::Result<BTreeSet<usize>> {
        Ok(BTreeSet::new())
    }
}
