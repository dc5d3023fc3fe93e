//! Tests on a real Debian server in a QEMU machine: LUKS, LVM, GRUB and systemd as they are, nothing played.
//! They need root (the server is built from packages) and say so when they skip. `DISKMIRROR_LAB_KEEP=1` keeps what a
//! machine leaves behind: the log of its console, its disks.

#[path = "vm/alone.rs"]
mod alone;
#[path = "vm/boot_test.rs"]
mod boot_test;
#[path = "vm/initramfs.rs"]
mod initramfs;
mod lab;
#[path = "vm/mirror.rs"]
mod mirror;
#[path = "vm/rebuild.rs"]
mod rebuild;

use std::path::Path;

use lab::server::{Bus, Disk, Server};

/// A disk of another kind than the server's own: SCSI, 4096-byte sectors.
const NATIVE_4K: Disk = Disk { serial: "NATIVE4K", bytes: 4 << 30, bus: Bus::Scsi, sector_bytes: 4096 };

/// One boot for all that the lab itself promises: CI has two slow processors.
#[test]
fn the_server_is_the_procedures_own_and_the_judge_names_all_that_is_wrong_with_a_mirror() {
    if !lab::available() {
        return;
    }
    let mut server = Server::boot(&[Disk::EQUAL_MIRROR, NATIVE_4K]);
    it_has_the_procedures_layout(&mut server);
    the_other_disks_are_what_was_asked_for(&mut server);
    commands_tell_their_status_and_both_outputs(&mut server);
    files_arrive_and_come_back_unchanged(&mut server);
    what_is_written_counts_and_a_snapshot_takes_it_back(&mut server);
    rescue_mode_keeps_the_shell(&mut server);
    the_judge_names_all_that_is_wrong(&mut server);
}

fn it_has_the_procedures_layout(server: &mut Server) {
    assert_eq!(server.ok("vgs --noheadings -o vg_name"), "www");
    assert_eq!(server.ok("findmnt -rno SOURCE,FSTYPE /boot"), "/dev/vda1 ext3");
    assert_eq!(server.ok("findmnt -rno SOURCE,FSTYPE /"), "/dev/mapper/www-root ext4");
    assert_eq!(
        server.ok("cryptsetup isLuks --type luks2 /dev/vda5 && readlink -f /dev/mapper/www-swap"),
        server.ok("swapon --noheadings --show=NAME")
    );
}

fn the_other_disks_are_what_was_asked_for(server: &mut Server) {
    let listed =
        server.ok("lsblk -dbrno PATH,SERIAL,SIZE,LOG-SEC /dev/vda /dev/vdb /dev/sda | LC_ALL=C sort");
    assert_eq!(
        listed,
        "/dev/sda NATIVE4K 4294967296 4096\n\
         /dev/vda PRIMARY01 3221225472 512\n/dev/vdb MIRROR01 3221225472 512"
    );
}

fn commands_tell_their_status_and_both_outputs(server: &mut Server) {
    let output = server.run_with("cat; echo this went wrong >&2; exit 7", b"\x00\xff a line\n");
    assert_eq!((output.status, output.stdout.as_slice()), (7, b"\x00\xff a line\n".as_slice()));
    assert_eq!(output.stderr, "this went wrong\n");
    assert_eq!(server.run("kill -KILL $$").status, 137);
    assert_eq!(server.run("id -un; tty").text(), "root\nnot a tty\n");
}

fn files_arrive_and_come_back_unchanged(server: &mut Server) {
    let program = Path::new(env!("CARGO_BIN_EXE_diskmirror"));
    server.push(program, "/usr/local/bin/diskmirror");
    assert!(server.ok("diskmirror --version").starts_with("diskmirror "));
    assert!(server.fetch("/usr/local/bin/diskmirror") == std::fs::read(program).unwrap());
}

fn what_is_written_counts_and_a_snapshot_takes_it_back(server: &mut Server) {
    assert_eq!(server.written_bytes("MIRROR01"), 0);
    server.save("ready");
    server.ok("touch /root/after && dd if=/dev/vda1 of=/dev/vdb bs=1M count=1 oflag=direct status=none");
    assert_eq!(server.written_bytes("MIRROR01"), 1 << 20);
    server.load("ready");
    assert_eq!(server.run("test -e /root/after").status, 1);
    assert_eq!(server.run("cmp -n 1048576 /dev/vdb /dev/zero").status, 0);
    assert_eq!(server.written_bytes("MIRROR01"), 1 << 20);
}

fn rescue_mode_keeps_the_shell(server: &mut Server) {
    server.make_quiet();
    assert_eq!(server.run("systemctl is-active cron.service").text(), "inactive\n");
    assert_eq!(server.ok("vgs --noheadings -o vg_name"), "www");
}

/// That it accepts a good mirror is seen in `mirror`.
fn the_judge_names_all_that_is_wrong(server: &mut Server) {
    server.run_with(MIRROR_BY_CLONING, lab::PASSPHRASE.as_bytes()).assert_ok();
    server.run_with(DAMAGE, lab::PASSPHRASE.as_bytes()).assert_ok();
    let bad = server.judge(JUDGE_THE_CLONE);
    assert_eq!(bad.status, 1, "{}{}", bad.text(), bad.stderr);
    for evidence in DAMAGE_FOUND {
        assert!(bad.text().contains(evidence), "nothing of {evidence:?} in:\n{}", bad.text());
    }
}

const JUDGE_THE_CLONE: &str =
    "/dev/vda /dev/vdb --vg www --mirror-vg mirror --key /etc/diskmirror/keys/clone.key";

/// A mirror made without diskmirror: the whole disk, block by block, while the file systems hold still; then identifiers of its
/// own and a key file. The passphrase is on stdin.
const MIRROR_BY_CLONING: &str = r#"
set -eu
cat >/run/passphrase
mkdir -m 700 -p /etc/diskmirror/keys
echo diskmirror >/etc/diskmirror/note
(umask 277 && head -c 64 /dev/urandom >/etc/diskmirror/keys/clone.key)
sync
fsfreeze --freeze /boot && fsfreeze --freeze /
dd if=/dev/vda of=/dev/vdb bs=4M conv=sparse iflag=direct status=none || failed=1
fsfreeze --unfreeze / && fsfreeze --unfreeze /boot
[ -z "${failed:-}" ]
sfdisk --quiet --disk-id /dev/vdb 0x5eedbeef
udevadm settle
cryptsetup luksUUID --batch-mode --uuid 5ca1ab1e-0000-4000-8000-0000000000ff /dev/vdb5
cryptsetup luksAddKey --batch-mode --key-file /run/passphrase --pbkdf pbkdf2 --pbkdf-force-iterations 1000 \
    /dev/vdb5 /etc/diskmirror/keys/clone.key
cryptsetup open --key-file /run/passphrase /dev/vdb5 clone
rm /run/passphrase
udevadm settle
# LVM's own notes of what it does would be files that only the primary has.
mount -t tmpfs tmpfs /etc/lvm/archive
mount -t tmpfs tmpfs /etc/lvm/backup
vgimportclone -qq --basevgname mirror /dev/mapper/clone
vgchange -qq -ay mirror
for node in /dev/mirror/root /dev/vdb1; do
    e2fsck -fp "$node" || [ $? = 1 ]
    tune2fs -U random "$node"
done
swaplabel -U "$(cat /proc/sys/kernel/random/uuid)" /dev/mirror/swap
mkdir /run/clone
mount /dev/mirror/root /run/clone
rm /run/clone/etc/diskmirror/keys/clone.key
touch -r /etc/diskmirror/keys /run/clone/etc/diskmirror/keys
umount /run/clone
udevadm settle
vgchange -qq -an mirror
udevadm settle
cryptsetup close clone
"#;

/// One damage for each thing that the judge looks at.
const DAMAGE: &str = r#"
set -eu
cat >/run/passphrase
cryptsetup open --key-file /run/passphrase /dev/vdb5 clone
udevadm settle
vgchange -qq -ay mirror
mount /dev/mirror/root /run/clone
cp -p /run/clone/etc/debian_version /run/times
tr 0-9 1-90 </run/times >/run/clone/etc/debian_version
touch -r /run/times /run/clone/etc/debian_version
setfattr -n user.extra -v 1 /run/clone/etc/hostname
rm /run/clone/usr/bin/rsync /run/clone/etc/crypttab
cp /etc/diskmirror/keys/clone.key /run/clone/etc/diskmirror/keys/
umount /run/clone
lvcreate -qq -y -Zn -n extra -L 4M mirror
vgchange -qq -an mirror
udevadm settle
cryptsetup close clone
cryptsetup luksKillSlot --batch-mode /dev/vdb5 1
rm /run/passphrase
mount /dev/vdb1 /run/clone
base64 /etc/diskmirror/keys/clone.key >/run/clone/left-behind
umount /run/clone
tune2fs -U "$(blkid -p -o value -s UUID /dev/vda1)" /dev/vdb1
sfdisk --quiet --force --no-reread --part-type /dev/vdb 1 82
"#;

/// What the judge must say of it.
const DAMAGE_FOUND: [&str; 11] = [
    "partition tables",
    "has two key slots",
    "the key file opens /dev/vdb5",
    "the key in base64: /dev/vdb1",
    "no identifier stands on both disks",
    "extra",
    ">fc........ etc/debian_version",
    ".f........x etc/hostname",
    "usr/bin/rsync",
    "./etc/crypttab",
    "no key file on the mirror",
];
