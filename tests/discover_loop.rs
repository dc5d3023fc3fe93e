//! Discovery with the machine's own tools, on loop devices. Needs root; says so where it is skipped.

use diskmirror::discover::{Tools, discover};
use diskmirror::layout::{Content, FsKind, Survey, TableKind};
use diskmirror::refusal::Refusal;
use std::fs::{self, File};
use std::io::Write;
use std::path::{Path, PathBuf};
use std::process::{Command, Stdio};

const MIB: u64 = 1 << 20;

/// Runs a tool that must succeed, and gives its stdout.
fn tool(program: &str, args: &[&str], input: &str) -> String {
    let piped = || Stdio::piped();
    let command = Command::new(program).args(args).stdin(piped()).stdout(piped()).stderr(piped()).spawn();
    let mut child = command.unwrap_or_else(|error| panic!("{program}: {error}"));
    child.stdin.take().expect("it is piped").write_all(input.as_bytes()).expect("it reads");
    let output = child.wait_with_output().expect("it ends");
    let stderr = String::from_utf8_lossy(&output.stderr);
    assert!(output.status.success(), "{program} {args:?}: {stderr}");
    String::from_utf8(output.stdout).expect("it is text").trim().to_owned()
}

/// A loop device; detached when it goes.
struct Loop(String);

impl Loop {
    fn over(image: &Path) -> Self {
        let device = Loop(tool("losetup", &["-f", "--show", image.to_str().expect("a plain name")], ""));
        // The kernel keeps partitions that partx told it of when a loop device goes to its next user.
        device.quiet("partx", "-d");
        device
    }

    fn quiet(&self, program: &str, option: &str) {
        let _ = Command::new(program).args([option, &self.0]).stderr(Stdio::null()).status();
    }
}

impl Drop for Loop {
    fn drop(&mut self) {
        self.quiet("partx", "-d");
        self.quiet("losetup", "-d");
    }
}

/// A mounted file system; unmounted when it goes.
struct Mounted(PathBuf);

impl Mounted {
    fn on(directory: PathBuf, device: &str) -> Self {
        fs::create_dir_all(&directory).expect("it can be made");
        tool("mount", &[device, directory.to_str().expect("a plain name")], "");
        Mounted(directory)
    }
}

impl Drop for Mounted {
    fn drop(&mut self) {
        let _ = Command::new("umount").arg(&self.0).status();
    }
}

/// A server on a loop device, and a blank disk beside it. Fields are dropped in order: mounts first.
struct Server {
    _boot: Mounted,
    root: Mounted,
    primary: Loop,
    mirror: Loop,
    _images: tempfile::TempDir,
}

impl Server {
    fn build() -> Self {
        let images = tempfile::tempdir().expect("there is room");
        let image = |name: &str, bytes: u64| {
            let path = images.path().join(name);
            File::create(&path).and_then(|file| file.set_len(bytes)).expect("there is room");
            path
        };
        let (primary, mirror) = (image("primary", 160 * MIB), image("mirror", 64 * MIB));
        let table = "label: gpt\nsize=1MiB, type=21686148-6449-6E6F-744E-656564454649\n\
                     size=32MiB, name=\"the, boot\"\nsize=100MiB, type=L\n";
        tool("sfdisk", &["-q", primary.to_str().expect("a plain name")], table);
        let (primary, mirror) = (Loop::over(&primary), Loop::over(&mirror));
        // Not losetup -P: kernels without GPT support exist, and partx reads the table itself.
        tool("partx", &["-u", &primary.0], "");
        let node = |number: u32| format!("{}p{number}", primary.0);
        tool("mke2fs", &["-q", "-t", "ext3", "-L", "its boot", &node(2)], "");
        tool("mke2fs", &["-q", "-t", "ext4", "-N", "4096", &node(3)], "");
        let root = Mounted::on(images.path().join("root"), &node(3));
        fs::create_dir(root.0.join("etc")).expect("it is writable");
        // In small letters, as blkid and udev write what sfdisk writes in capitals.
        let part_uuid = tool("blkid", &["-p", "-s", "PART_ENTRY_UUID", "-o", "value", &node(2)], "");
        let fstab =
            format!("{} / ext4 defaults 0 1\nPARTUUID={part_uuid} /boot ext3 defaults 0 2\n", node(3));
        fs::write(root.0.join("etc/fstab"), fstab).expect("it is writable");
        let boot = Mounted::on(root.0.join("boot"), &node(2));
        Server { _boot: boot, root, primary, mirror, _images: images }
    }

    fn discover(&self) -> anyhow::Result<Survey> {
        discover(&self.root.0, None, Path::new(&self.mirror.0), &Tools { root: self.root.0.clone() })
    }
}

fn skipped(test: &str) -> bool {
    let id = Command::new("id").arg("-u").output().expect("id is everywhere").stdout;
    let is_root = id == b"0\n";
    if !is_root {
        println!("skipped: {test} needs root for loop devices");
    }
    !is_root
}

#[test]
fn a_server_on_a_loop_device_is_discovered_below_its_root() {
    if skipped("a_server_on_a_loop_device_is_discovered_below_its_root") {
        return;
    }
    let server = Server::build();
    let path = |name: &str| server.root.0.join(name);
    fs::create_dir(path("bound")).expect("it is writable");
    let (part, bound) = (path("etc"), path("bound"));
    tool(
        "mount",
        &["--bind", part.to_str().expect("a plain name"), bound.to_str().expect("a plain name")],
        "",
    );
    let bound = Mounted(bound);
    let survey = server.discover().expect("it is a plain server");
    drop(bound);
    let disk = &survey.primary.disk;
    assert_eq!(
        (disk.path.as_str(), disk.size.0, disk.logical_sector),
        (server.primary.0.as_str(), 160 * MIB, 512)
    );
    assert_eq!(
        (survey.mirror.disk.path.as_str(), &survey.mirror.content),
        (server.mirror.0.as_str(), &Content::Empty)
    );
    let table = survey.primary.table().expect("it has one");
    assert_eq!((table.kind, table.partitions.len()), (TableKind::Gpt, 3));
    assert_eq!(table.partitions[0].content, Content::BiosBoot);
    assert_eq!(table.partitions[1].name.as_deref(), Some("the, boot"));
    let [boot, root] = survey.primary.filesystems()[..] else { panic!("two file systems") };
    assert_eq!(
        (boot.kind, boot.label.as_deref(), boot.fstab_target.as_deref()),
        (FsKind::Ext3, Some("its boot"), Some("/boot"))
    );
    assert_eq!(
        (boot.mounted_at.as_slice(), root.mounted_at.as_slice()),
        (["/boot".into()].as_slice(), ["/".into()].as_slice())
    );
    assert_eq!((root.kind, root.fstab_target.as_deref(), root.size.0), (FsKind::Ext4, Some("/"), 100 * MIB));
    let uuid = tool("blkid", &["-p", "-s", "UUID", "-o", "value", &root.path], "");
    assert_eq!(root.uuid, uuid);
    assert!(root.used < root.capacity && root.capacity < Some(root.size), "{root:?}");
    assert!(survey.around.labels.contains(&"its boot".to_owned()) && survey.around.memory.0 > 0);
    assert!(survey.around.fstab.contains("/boot ext3") && !survey.around.cmdline.is_empty());
}

#[test]
fn a_mirror_in_use_says_by_what() {
    if skipped("a_mirror_in_use_says_by_what") {
        return;
    }
    let server = Server::build();
    let node = server.mirror.0.clone();
    tool("mke2fs", &["-q", "-t", "ext4", &node], "");
    let old = Mounted::on(server.root.0.parent().expect("a directory").join("old"), &node);
    let survey = server.discover().expect("use is no reason not to look");
    assert_eq!(survey.mirror.in_use(&[]), [format!("{node} is mounted on {}", old.0.display())]);
}

#[test]
fn swap_space_on_the_mirror_is_told_from_swap_in_use() {
    if skipped("swap_space_on_the_mirror_is_told_from_swap_in_use") {
        return;
    }
    let server = Server::build();
    let node = server.mirror.0.clone();
    tool("mkswap", &["-q", "-L", "its swap", &node], "");
    let survey = server.discover().expect("swap is no reason not to look");
    let Content::Swap(swap) = &survey.mirror.content else { panic!("swap, not {:?}", survey.mirror.content) };
    assert_eq!((swap.label.as_deref(), swap.active), (Some("its swap"), false));
    assert!(survey.mirror.in_use(&[]).is_empty());
}

#[test]
fn a_physical_volume_on_the_mirror_is_known_by_its_group() {
    if skipped("a_physical_volume_on_the_mirror_is_known_by_its_group") {
        return;
    }
    if !Path::new("/usr/sbin/vgcreate").exists() {
        println!("skipped: a_physical_volume_on_the_mirror_is_known_by_its_group needs lvm2");
        return;
    }
    let server = Server::build();
    let node = server.mirror.0.as_str();
    let group = format!("dmtest{}", std::process::id());
    const NO_TRACE: [&str; 2] = ["--config", "backup{backup=0 archive=0}"];
    tool("vgcreate", &[&NO_TRACE[..], &["-q", &group, node]].concat(), "");
    let survey = server.discover().expect("a group is no reason not to look");
    tool("vgremove", &[&NO_TRACE[..], &["-q", &group]].concat(), "");
    let Content::Volumes(found) = &survey.mirror.content else {
        panic!("LVM, not {:?}", survey.mirror.content)
    };
    assert_eq!((found.name.as_str(), found.extents, found.extent_size.0), (group.as_str(), 15, 4 * MIB));
    assert!(found.volumes.is_empty() && survey.around.volume_groups.contains(&group));
    assert_eq!(survey.mirror.in_use(&[]), [format!("{node} is in the volume group {group}")]);
    let survey = server.discover().expect("a lone physical volume is none, either");
    let Content::Unsupported(lone) = &survey.mirror.content else {
        panic!("not {:?}", survey.mirror.content)
    };
    assert_eq!(lone.what, "an LVM physical volume in no volume group");
}

#[test]
fn a_directory_that_is_no_root_of_a_file_system_is_refused() {
    if skipped("a_directory_that_is_no_root_of_a_file_system_is_refused") {
        return;
    }
    let server = Server::build();
    let root = server.root.0.join("etc");
    let found = discover(&root, None, Path::new(&server.mirror.0), &Tools { root: root.clone() });
    let refusal =
        found.expect_err("nothing is mounted there").downcast::<Refusal>().expect("it is a plain no");
    assert_eq!(refusal.why, [format!("no file system is mounted on {}", root.display())]);
}
