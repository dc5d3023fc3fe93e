//! A mirror that somebody has had in his hands: what lies on it is not started by root of the running server, whatever size
//! and time it pretends to have.

#[path = "common/server.rs"]
mod server;

use std::fs;
use std::os::unix::fs::PermissionsExt;
use std::path::Path;

use diskmirror::layer::cpio;
use server::{Fs, Server, Shape, blkid, root_or_skip, tool};

const SHAPE: Shape = Shape {
    table: "label: gpt\nsize=64MiB\ntype=L\n",
    filesystems: &[Fs { number: 1, mount: "/", mkfs: &["mke2fs", "-q", "-t", "ext4"] }],
    swaps: &[],
    primary_mib: 80,
    mirror_mib: 80,
    mirror_sector: 512,
};

const GENERATOR: &str = "usr/sbin/mkinitramfs";
const IMAGE: &str = "boot/initrd.img-6.1.0-1-amd64";

#[test]
fn a_generator_that_was_changed_on_the_mirror_is_never_started() {
    if !root_or_skip("a generator is started in a chroot") {
        return;
    }
    let mut server = Server::new(SHAPE);
    let (root, uuid) = (server.root(), blkid(&server.primary.part(1), "UUID"));
    system(&root, &uuid);
    server.init_done(&[]);
    assert_eq!(made_by(&mut server), "the primary's", "the image was made anew");

    // Of one length, and with the old times.
    let tampered = script("the-mirror's!");
    let part = server.mirror.part(1);
    let mirror = server.mount_beside(&part, "in-other-hands");
    tool("mount", &["-o", "remount,rw", path(&mirror)]);
    let on_mirror = mirror.join(GENERATOR);
    assert_eq!(fs::metadata(&on_mirror).expect("it is there").len(), tampered.len() as u64);
    tool("cp", &["-p", path(&on_mirror), path(&root.join("tmp/times"))]);
    fs::write(&on_mirror, &tampered).expect("written");
    tool("touch", &["-r", path(&root.join("tmp/times")), path(&on_mirror)]);
    server.unmount(&mirror);
    fs::write(root.join("etc/initramfs-tools/update"), "a setting has changed\n").expect("written");

    let said = server.call(&["run"]);
    assert_eq!(said.code, 0, "{said:?}");
    assert_eq!(made_by(&mut server), "the primary's", "{said:?}");
    let part = server.mirror.part(1);
    let mirror = server.mount_beside(&part, "afterwards");
    assert_eq!(
        fs::read(mirror.join(GENERATOR)).expect("it is there"),
        tampered.as_bytes(),
        "it was there to be started"
    );
    server.unmount(&mirror);
}

/// Who has made the image that lies on the mirror.
fn made_by(server: &mut Server) -> String {
    let part = server.mirror.part(1);
    let mirror = server.mount_beside(&part, "looked-at");
    let image = fs::read(mirror.join(IMAGE)).expect("it is there");
    server.unmount(&mirror);
    let text = String::from_utf8_lossy(&image).into_owned();
    let made =
        ["the primary's", "the-mirror's!"].into_iter().find(|who| text.contains(&format!("made by {who}")));
    made.unwrap_or("nobody").to_owned()
}

/// A system of a shell, three programs, and a generator; its image names the primary in a file's name.
fn system(root: &Path, uuid: &str) {
    for dir in [
        "dev",
        "proc",
        "sys",
        "run",
        "tmp",
        "var/tmp",
        "usr/bin",
        "usr/sbin",
        "usr/share",
        "etc/initramfs-tools",
    ] {
        fs::create_dir_all(root.join(dir)).expect("made");
    }
    fs::create_dir_all(root.join("lib/modules/6.1.0-1-amd64")).expect("made");
    fs::write(root.join("lib/modules/6.1.0-1-amd64/modules.dep"), "").expect("written");
    for program in ["/bin/sh", "/bin/cp", "/bin/mkdir"] {
        tool("cp", &["-L", program, path(&root.join("usr/bin"))]);
        let said = tool("ldd", &[program]);
        for library in said.split_whitespace().filter(|word| word.starts_with('/')) {
            let to = root.join(library.trim_start_matches('/'));
            fs::create_dir_all(to.parent().expect("it has one")).expect("made");
            tool("cp", &["-L", library, path(&to)]);
        }
    }
    if !root.join("bin").exists() {
        std::os::unix::fs::symlink("usr/bin", root.join("bin")).expect("made");
    }
    for who in ["the primary's", "the-mirror's!"] {
        let text = format!("made by {who}");
        let image =
            cpio::write([(b"conf/initramfs.conf".as_slice(), cpio::REGULAR | 0o644, text.as_bytes())]);
        fs::write(root.join("usr/share").join(who), image).expect("written");
    }
    let generator = root.join(GENERATOR);
    fs::write(&generator, script("the primary's")).expect("written");
    fs::set_permissions(&generator, fs::Permissions::from_mode(0o755)).expect("set");
    let name = format!("usr/lib/dracut/hooks/initqueue/finished/devexists-{uuid}.sh");
    let image = cpio::write([(name.as_bytes(), cpio::REGULAR | 0o755, b"".as_slice())]);
    fs::create_dir_all(root.join("boot")).expect("made");
    fs::write(root.join(IMAGE), image).expect("written");
}

/// mkinitramfs -d DIRECTORY -o IMAGE VERSION.
fn script(who: &str) -> String {
    format!("#!/bin/sh\ncp \"/usr/share/{who}\" \"$4\"\n")
}

fn path(path: &Path) -> &str {
    path.to_str().expect("a plain name")
}
