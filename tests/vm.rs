//! Tests on a real Debian server in a QEMU machine: LUKS, LVM, GRUB and systemd as they are, nothing played.
//! They need root (the server is built from packages) and say so when they skip. `DISKMIRROR_LAB_KEEP=1` keeps what a
//! machine leaves behind: the log of its console, its disks.

mod lab;

use std::path::Path;

use lab::server::{Bus, Disk, Server};

/// A disk of another kind than the server's own: SCSI, 4096-byte sectors.
const NATIVE_4K: Disk = Disk { serial: "NATIVE4K", bytes: 4 << 30, bus: Bus::Scsi, sector_bytes: 4096 };

#[test]
fn the_procedures_server_boots_obeys_and_goes_back_to_a_snapshot() {
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
