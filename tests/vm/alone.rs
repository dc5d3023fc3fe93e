//! The mirror boots alone: prepared and refreshed on a running server of each layout, then started in a machine that the
//! primary is not in. Only a boot that ends in `running` says that it does.

use std::path::Path;

use serde_json::Value;

use crate::boot_test;
use crate::lab::image::{Layout, kernel_update};
use crate::lab::rack::{PRIMARY, Rack};
use crate::lab::server::{Bus, Disk, Output, Server};
use crate::lab::{self, PASSPHRASE};

const MIRROR: &str = Disk::EQUAL_MIRROR.serial;

/// The disk that is bought when the primary has died: another controller, and larger.
const SPARE: Disk = Disk { serial: "SPARE02", bytes: 4 << 30, bus: Bus::Scsi, sector_bytes: 512 };

/// A mirror that stands behind another controller than the primary: /dev/sda there, alone too.
const SCSI_MIRROR: Disk = Disk { bus: Bus::Scsi, ..Disk::EQUAL_MIRROR };

#[test]
fn the_procedures_mirror_boots_alone_and_the_full_circle_of_a_failure_closes() {
    let Some(rack) = rack(Layout::Procedure, &[Disk::EQUAL_MIRROR, SPARE]) else { return };
    let mut primary = server_with_the_program(&rack, &[PRIMARY, MIRROR]);
    primary.ok("echo soon deleted >/srv/deleted");
    init(&mut primary, "/dev/vdb", MIRROR);
    primary.power_off();

    let mut primary = rack.boot(&[PRIMARY, MIRROR]);
    assert_eq!(primary.unlocked, ["vda5_crypt"]);
    it_runs_from(&mut primary, "/dev/mapper/www-root", "/dev/vda1");
    nothing_is_there_twice(&mut primary);
    nothing_is_there_twice_while_the_mirror_is_open(&mut primary, "/dev/vdb5");
    primary.ok("rm /srv/deleted; echo written before the last run >/srv/written");
    run(&mut primary);
    audit_finds_nothing(&mut primary);
    it_is_ready_and_nothing_is_remarked(&mut primary);
    primary.power_off();

    let mut alone = rack.boot(&[MIRROR, SPARE.serial]);
    assert_eq!(alone.unlocked, ["mirror5_crypt"]);
    it_runs_from(&mut alone, "/dev/mapper/mirror-root", "/dev/vda1");
    it_has_what_the_last_run_saw(&mut alone);
    its_swap_is_in_use(&mut alone, "mirror-swap");
    nothing_is_there_twice(&mut alone);
    run_refuses_where_the_roles_are_reversed(&mut alone);
    status_tells_which_is_which(&mut alone, "is not attached");
    alone.ok("echo written by the mirror >/srv/by-the-mirror");
    rack.plug(PRIMARY, &mut alone);
    status_tells_which_is_which(&mut alone, "is attached as /dev/vdb");
    the_old_primary_is_half_alive(&mut alone);
    nothing_is_there_twice(&mut alone);
    let before = alone.written_bytes(PRIMARY);
    init(&mut alone, "/dev/sda", SPARE.serial);
    alone.ok("echo written before its last run >/srv/written-again");
    run(&mut alone);
    audit_finds_nothing(&mut alone);
    assert_eq!(alone.written_bytes(PRIMARY), before, "the old primary was written to");
    alone.power_off();

    let mut spare = rack.look(&[SPARE.serial]);
    assert_eq!(spare.unlocked.len(), 1);
    it_runs_from(&mut spare, "/dev/mapper/mirror2-root", "/dev/sda1");
    it_has_what_the_last_run_saw(&mut spare);
    its_swap_is_in_use(&mut spare, "mirror2-swap");
    assert_eq!(
        spare.ok("cat /srv/by-the-mirror /srv/written-again"),
        "written by the mirror\nwritten before its last run"
    );
    run_refuses_where_the_roles_are_reversed(&mut spare);
    drop(spare);

    let mut primary = rack.look(&[PRIMARY]);
    assert_eq!(primary.unlocked, ["vda5_crypt"]);
    it_runs_from(&mut primary, "/dev/mapper/www-root", "/dev/vda1");
    it_waited_for_no_disk(&mut primary);
    rack.plug(MIRROR, &mut primary);
    run_refuses_to_overwrite_what_has_served(&mut primary);
}

#[test]
fn a_mirror_with_uefi_boots_its_new_kernel_alone_in_a_machine_that_knows_no_disk() {
    let Some(mut rack) = rack(Layout::Uefi, &[SCSI_MIRROR]) else { return };
    let mut primary = server_with_the_program(&rack, &[PRIMARY, MIRROR]);
    primary.ok("echo soon deleted >/srv/deleted; find /home -mindepth 1 -delete");
    init(&mut primary, "/dev/sda", MIRROR);
    audit_finds_nothing(&mut primary);
    primary.ok("echo at home >/home/file");
    some_of_it_is_mounted_nowhere(&mut primary);
    let newer = update_the_kernel(&mut primary);
    primary.ok("rm /srv/deleted; echo written before the last run >/srv/written");
    run(&mut primary);
    audit_finds_nothing(&mut primary);
    it_is_ready_and_nothing_is_remarked(&mut primary);
    the_firmware_still_starts_the_primary_first(&mut primary);
    primary.power_off();

    rack.take_a_machine_that_knows_no_disk();
    let mut alone = rack.look(&[MIRROR]);
    assert_eq!(alone.unlocked, ["mirror3_crypt"]);
    it_runs_from(&mut alone, "/dev/mapper/mirror-root", "/dev/sda2");
    let esp = "mount /boot/efi && findmnt -rno SOURCE,FSTYPE /boot/efi";
    assert_eq!(alone.ok(esp), "/dev/sda1 vfat");
    assert_eq!(alone.ok("findmnt -rno SOURCE /home && cat /home/file"), "/dev/mapper/mirror-home\nat home");
    it_has_what_the_last_run_saw(&mut alone);
    its_swap_is_in_use(&mut alone, "mirror-swap_1");
    let booted = alone.ok("cat /run/lab-kernel-update; ls /boot/vmlinuz-* /boot/initrd.img-*");
    assert_eq!(booted, format!("{newer}\n/boot/initrd.img-{newer}\n/boot/vmlinuz-{newer}"));
    let command_line = alone.ok("cat /proc/cmdline");
    assert!(command_line.contains(&format!("BOOT_IMAGE=/vmlinuz-{newer} ")), "{command_line}");
    run_refuses_where_the_roles_are_reversed(&mut alone);
    drop(alone);
    boot_test::a_mirror_boots(&rack.file(MIRROR), 3, "uefi");
}

#[test]
fn a_mirror_of_plain_partitions_boots_alone_and_its_audit_finds_what_is_planted() {
    let Some(rack) = rack(Layout::Plain, &[Disk::EQUAL_MIRROR, SPARE]) else { return };
    let mut primary = server_with_the_program(&rack, &[PRIMARY, MIRROR, SPARE.serial]);
    primary.ok("echo soon deleted >/srv/deleted");
    it_has_a_disk_of_data(&mut primary);
    it_swaps_to_a_file(&mut primary);
    it_has_what_no_boot_needs(&mut primary);
    init(&mut primary, "/dev/vdb", MIRROR);
    primary.ok("rm /srv/deleted; echo written before the last run >/srv/written");
    run(&mut primary);
    audit_finds_nothing(&mut primary);
    it_is_ready_and_nothing_is_remarked(&mut primary);
    audit_finds_what_is_planted_and_a_run_mends_it(&mut primary);
    let old = a_run_is_killed_in_the_middle_of_a_large_file(&mut primary);
    primary.power_off();

    let mut alone = rack.look(&[MIRROR, SPARE.serial]);
    it_runs_from(&mut alone, "/dev/vda2", "");
    assert_eq!(alone.ok("findmnt -rno SOURCE /data"), "/dev/sda");
    the_boot_put_its_old_version_back(&mut alone, &old);
    it_has_what_the_last_run_saw(&mut alone);
    assert_eq!(alone.ok("swapon --noheadings --show=NAME | sort"), "/dev/vda3\n/swapfile");
    assert_eq!(alone.ok("stat -c '%a %s' /swapfile"), format!("600 {SWAP_FILE_BYTES}"));
    run_refuses_where_the_roles_are_reversed(&mut alone);
}

/// Gives back the checksum of its old version.
fn a_run_is_killed_in_the_middle_of_a_large_file(server: &mut Server) -> String {
    server.ok("sed -i 's/^blocks_from = .*/blocks_from = \"1048576\"/' /etc/diskmirror.toml
         head -c 50331648 /dev/urandom >/srv/large");
    run(server);
    // Its blocks are known for good when it has been quiet for some seconds.
    run(server);
    let old = server.ok(
        "sha256sum /srv/large; head -c 50331648 /dev/urandom | dd of=/srv/large conv=notrunc status=none",
    );
    // What is kept is written in parts of 4 MiB: when there is more than one, the first place has been written.
    let killed = "diskmirror run >/dev/null 2>&1 & run=$!; mirror=/proc/$run/root/run/diskmirror/mirror
         while [ -e /proc/$run ]; do
             [ -z \"$(find $mirror/*/.diskmirror/undo -type f -size +5M 2>/dev/null)\" ] || { kill -KILL $run; break; }
         done; wait $run; echo $?";
    assert_eq!(server.ok(killed), "137");
    old
}

/// `diskmirror undo` by the unit that the mirror carries, before anything else reads the file.
fn the_boot_put_its_old_version_back(server: &mut Server, old: &str) {
    assert_eq!(server.ok("systemctl show --property Result --value diskmirror-undo.service"), "success");
    let said = server.ok("journalctl -b --no-pager -u diskmirror-undo.service");
    assert!(said.contains("srv/large was half written: it is whole again"), "{said}");
    assert_eq!(server.ok("sha256sum /srv/large; ls -A /.diskmirror | grep undo || true"), old);
}

const SWAP_FILE_BYTES: u64 = 16 << 20;

fn it_swaps_to_a_file(server: &mut Server) {
    server.ok(&format!(
        "fallocate -l {SWAP_FILE_BYTES} /swapfile && chmod 600 /swapfile && mkswap -q /swapfile && swapon /swapfile && \
         echo '/swapfile none swap sw 0 0' >>/etc/fstab"
    ));
}

/// A disk that nobody mirrors, by its label; whoever takes the primary's place finds it there.
fn it_has_a_disk_of_data(server: &mut Server) {
    server.ok("mkfs.ext4 -q -L data /dev/sda && mkdir /data && mount -L data /data && \
         echo 'LABEL=data /data ext4 defaults,nofail 0 2' >>/etc/fstab");
}

/// The schedule, which none of these servers has, apart.
fn it_is_ready_and_nothing_is_remarked(server: &mut Server) {
    let status = timed("status", || server.run("diskmirror status --json"));
    status.assert_ok();
    let status: Value = serde_json::from_slice(&status.stdout).expect("one object");
    assert_eq!(status["ready"], true, "{status}");
    let remarks = status["remarks"].as_array().expect("a list");
    assert!(remarks.iter().all(|remark| remark.to_string().contains("no schedule is installed")), "{status}");
}

/// A disk that was plugged in at the last update-grub, an image that somebody kept, one for crashes, settings of a monitor.
fn it_has_what_no_boot_needs(server: &mut Server) {
    let gone = "11111111-2222-4333-8444-555555555555";
    server.ok(&format!(
        "printf 'menuentry usb {{\\n search --fs-uuid --set=root {gone}\\n linux /vmlinuz root=UUID={gone}\\n}}\\n' \
         >/boot/grub/custom.cfg; \
         image=$(ls /boot/initrd.img-* | head -n 1) && head -c 1000 $image >$image.bak && cp $image.bak ${{image}}kdump; \
         echo /dev/disk/by-id/virtio-{PRIMARY} >/etc/monitored-disks"
    ));
}

/// The EFI system partition only while it is needed, /home not at the moment: runs enter them by themselves.
fn some_of_it_is_mounted_nowhere(server: &mut Server) {
    server.ok("sed -i 's/umask=0077/umask=0077,noauto/' /etc/fstab && umount /boot/efi && umount /home");
}

/// What the lab promises to the others: a boot that fails is told at once, and a look leaves nothing behind.
#[test]
fn a_disk_that_cannot_boot_is_told_at_once() {
    let Some(plain) = rack(Layout::Plain, &[Disk::EQUAL_MIRROR]) else { return };
    let told = plain.try_look(&[MIRROR]).err().expect("a blank disk");
    assert!(told.to_string().contains("No bootable device"), "{told:#}");
    let mut uefi = rack(Layout::Uefi, &[]).expect("the other is there too");
    uefi.take_a_machine_that_knows_no_disk();
    let told = uefi.try_look(&[PRIMARY]).err().expect("a disk without a fallback loader");
    assert!(told.is::<lab::console::DeadEnd>(), "{told:#}");
}

fn rack(layout: Layout, disks: &[Disk]) -> Option<Rack> {
    if !lab::available() {
        return None;
    }
    let mut rack = Rack::new(layout);
    disks.iter().for_each(|disk| rack.add(*disk));
    Some(rack)
}

fn server_with_the_program(rack: &Rack, serials: &[&str]) -> Server {
    let mut server = rack.boot(serials);
    server.push(Path::new(env!("CARGO_BIN_EXE_diskmirror")), "/usr/local/sbin/diskmirror");
    server
}

fn init(server: &mut Server, disk: &str, serial: &str) {
    let encrypted = !server.unlocked.is_empty();
    let passphrase = if encrypted { "--passphrase-fd 0 --fill none" } else { "" };
    let init = format!("diskmirror init --mirror {disk} --erase {serial} --yes {passphrase} --no-schedule");
    timed("init", || server.run_with(&init, PASSPHRASE.as_bytes())).assert_ok();
}

fn run(server: &mut Server) {
    timed("run", || server.run("diskmirror run")).assert_ok();
}

fn timed(what: &str, work: impl FnOnce() -> Output) -> Output {
    let begin = std::time::Instant::now();
    let output = work();
    println!("lab: {what} took {} s: {}", begin.elapsed().as_secs(), output.text().trim());
    output
}

fn audit_finds_nothing(server: &mut Server) {
    timed("audit", || server.run("diskmirror audit")).assert_ok();
}

/// `boot` is empty where /boot is no file system of its own.
fn it_runs_from(server: &mut Server, root: &str, boot: &str) {
    assert_eq!(server.ok("findmnt -rno SOURCE /"), root);
    assert_eq!(server.ok("findmnt -rno SOURCE /boot || true"), boot);
}

fn it_has_what_the_last_run_saw(server: &mut Server) {
    assert_eq!(server.ok("cat /srv/written"), "written before the last run");
    assert_eq!(server.run("test -e /srv/deleted").status, 1, "what was deleted is there");
    it_waited_for_no_disk(server);
}

fn its_swap_is_in_use(server: &mut Server, name: &str) {
    let used = server.ok("swapon --noheadings --show=NAME");
    assert_eq!(server.ok(&format!("readlink -f /dev/mapper/{name} /dev/{name} | grep -Fx {used}")), used);
}

/// Not a question of time: systemd and the initramfs say so when they give up.
fn it_waited_for_no_disk(server: &mut Server) {
    let waited = "journalctl -b --no-pager | grep -E 'Timed out waiting for device|Gave up waiting' || true";
    assert_eq!(server.ok(waited), "");
}

/// No UUID, label or name that two devices have, and nobody who has seen one.
fn nothing_is_there_twice(server: &mut Server) {
    // The kernel says of its own measurements that duplicates are not recorded.
    let said = server.ok("vgs 2>&1; pvs 2>&1; lvs 2>&1
         journalctl -b --no-pager | grep -i duplicate | grep -v 'Duplicate IMA measurements' || true");
    assert!(!said.to_lowercase().contains("duplicate") && !said.contains("WARNING"), "{said}");
    let twins = "values() { sort -u | awk 'NF == 2 {print $2}' | sort | uniq -d; }
         for tag in UUID PARTUUID; do lsblk -nrpo PATH,$tag | values; done
         lsblk -dnrpo PATH,PTUUID | values
         vgs --noheadings -o vg_name | sort | uniq -d";
    assert_eq!(server.ok(twins), "");
}

fn nothing_is_there_twice_while_the_mirror_is_open(server: &mut Server, luks: &str) {
    server.ok(&format!(
        "cryptsetup open --key-file /etc/diskmirror/keys/*.key {luks} look && udevadm settle && vgchange -qq -ay mirror"
    ));
    server.ok("udevadm settle; vgs --noheadings -o vg_name mirror");
    nothing_is_there_twice(server);
    server.ok("udevadm settle; for n in 1 2 3 4 5; do
             vgchange -qq -an mirror && cryptsetup close look && exit; sleep 1; udevadm settle
         done; exit 1");
}

/// Its container is open, and its volumes are active: all that could be mistaken for another's.
fn the_old_primary_is_half_alive(server: &mut Server) {
    let open =
        "set -e; cryptsetup open --key-file - /dev/vdb5 vda5_crypt && udevadm settle; vgchange -qq -ay www
         udevadm settle; lvs --noheadings -o lv_path www";
    server.run_with(open, PASSPHRASE.as_bytes()).assert_ok();
}

fn run_refuses_where_the_roles_are_reversed(server: &mut Server) {
    let refused = server.run("diskmirror run");
    assert_eq!(refused.status, 4, "{}{}", refused.text(), refused.stderr);
    for word in ["role", "state: nothing was written", "diskmirror init --mirror"] {
        assert!(refused.stderr.contains(word), "no {word:?} in:\n{}", refused.stderr);
    }
}

fn status_tells_which_is_which(server: &mut Server, old_primary: &str) {
    let status = server.run("diskmirror status");
    assert_eq!(status.status, 1, "{}{}", status.text(), status.stderr);
    for told in ["which was the mirror", "the old primary", old_primary] {
        assert!(status.text().contains(told), "no {told:?} in:\n{}", status.text());
    }
}

/// The old primary has come back, healthy, and its timer too.
fn run_refuses_to_overwrite_what_has_served(server: &mut Server) {
    let before = server.written_bytes(MIRROR);
    let refused = server.run("diskmirror run");
    assert_eq!(refused.status, 4, "{}{}", refused.text(), refused.stderr);
    assert_eq!(server.written_bytes(MIRROR), before, "{}", refused.stderr);
}

/// As a package of a newer kernel and the removal of the old one do it, but for the hour that its initramfs would take here.
fn update_the_kernel(server: &mut Server) -> String {
    server.push(&kernel_update(Layout::Uefi).expect("an update"), "/run/update.tar");
    let update = "set -e; old=$(uname -r); tar -C / -xf /run/update.tar
         rm /boot/vmlinuz-$old /boot/initrd.img-$old /run/update.tar
         update-grub >/dev/null 2>&1; ls /boot | sed -n 's/^vmlinuz-//p'";
    server.ok(update)
}

fn the_firmware_still_starts_the_primary_first(server: &mut Server) {
    let entries = server.ok("efibootmgr -v");
    let order = entries.lines().find_map(|line| line.strip_prefix("BootOrder: ")).expect("an order");
    let place = |disk: &str, server: &mut Server| {
        let esp = server.ok(&format!("blkid -p -o value -s PART_ENTRY_UUID {disk}1"));
        let line = entries.lines().find(|line| line.starts_with("Boot0") && line.contains(&esp));
        let number = &line.unwrap_or_else(|| panic!("no entry for {disk}: {entries}"))["Boot".len()..][..4];
        order.split(',').position(|entry| entry == number).expect("it is in the order")
    };
    assert!(place("/dev/vda", server) < place("/dev/sda", server), "{entries}");
}

/// One reference of each kind that such a mirror can hold as text: a mount that would be waited for, a root that nobody has.
fn audit_finds_what_is_planted_and_a_run_mends_it(server: &mut Server) {
    let stale = server.ok("blkid -p -o value -s UUID /dev/vda2");
    server.ok(&format!(
        "set -e; mkdir /run/look && mount /dev/vdb2 /run/look
         echo 'UUID={stale} /srv/stale ext4 defaults 0 2' >>/run/look/etc/fstab
         echo 'search --fs-uuid --set=root {stale}' >>/run/look/boot/grub/grub.cfg
         umount /run/look && rmdir /run/look"
    ));
    let found = server.run("diskmirror audit");
    assert_eq!(found.status, 5, "{}{}", found.text(), found.stderr);
    for planted in [stale.as_str(), "/etc/fstab", "/boot/grub/grub.cfg"] {
        assert!(found.text().contains(planted), "no {planted:?} in:\n{}", found.text());
    }
    let json = server.run("diskmirror audit --json");
    assert_eq!(json.status, 5);
    serde_json::from_slice::<Value>(&json.stdout).expect("one object");
    run(server);
    audit_finds_nothing(server);
}
