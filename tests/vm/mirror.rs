//! The whole procedure on a real server: LUKS on a logical partition, LVM, a real systemd; every result judged by the
//! system's own tools (`tests/lab/judge`).

use crate::lab::server::{Bus, Disk, Output, Server};
use crate::lab::{self, PASSPHRASE};
use std::path::Path;

/// A smaller disk of another kind than the server's own: SCSI, 4096-byte sectors.
const SMALLER_4K: Disk = Disk { serial: "NATIVE4K", bytes: 3 << 29, bus: Bus::Scsi, sector_bytes: 4096 };

const INIT: &str =
    "diskmirror init --mirror /dev/vdb --erase MIRROR01 --yes --passphrase-fd 0 --fill none --no-schedule";

/// What no mirror holds, and the log, which grows while it is copied.
const LEFT_OUT: &str = "--exclude '/tmp/*' --exclude '/var/tmp/*' --exclude '/var/lib/diskmirror/*' \
     --exclude /var/lib/systemd/random-seed --exclude /var/log/diskmirror.log --exclude diskmirror-undo.service";

#[test]
fn the_procedures_server_gets_a_mirror_that_is_equal_and_stays_equal() {
    let Some(mut server) = server(Disk::EQUAL_MIRROR) else { return };
    a_plan_writes_nothing(&mut server);
    what_must_be_refused_is_refused_and_writes_nothing(&mut server);
    init_shows_its_secrets_to_nobody(&mut server);
    judged(&mut server, "/dev/vdb", "");
    a_second_init_is_refused_the_names_that_are_taken(&mut server);
    changes_arrive(&mut server);
    a_killed_run_is_swept_by_the_next(&mut server);
    a_disk_that_is_pulled_out_in_mid_run_leaves_nothing_open(&mut server);
    // The content of all three. The disk may have come back under another name.
    judged(&mut server, "$(readlink -f /dev/disk/by-id/virtio-MIRROR01)", "");
    the_timer_runs_it_too(&mut server);
    a_mirror_without_its_key_is_named(&mut server);
}

#[test]
fn a_smaller_disk_with_other_sectors_is_filled_encrypted_and_equal() {
    let Some(mut server) = server(SMALLER_4K) else { return };
    an_esp_is_mirrored_as_any_other(&mut server);
    the_demo_shows_luks_and_lvm_where_there_is_device_mapper(&mut server);
    let init = "diskmirror init --mirror /dev/sda --erase NATIVE4K --yes --passphrase-fd 0 --fill random --fstab \
                --no-schedule";
    let done = server.run_with(init, PASSPHRASE.as_bytes());
    prepared_but_for_the_loader(&done);
    assert!(done.stderr.contains("measured "), "the fill tells its rate: {}", done.stderr);
    assert!(done.stderr.contains("/dev/mirror/root shrinks from 2.00 GiB"), "{}", done.stderr);
    judged(&mut server, "/dev/sda", "--sizes-differ");
    let fstab = server.ok("cat /etc/fstab");
    assert_eq!(fstab.matches("noauto,nofail").count(), 2, "{fstab}");
    server.ok("findmnt --verify --tab-file /etc/fstab >/dev/null");
    crypttab_is_the_other_way_to_open_it(&mut server);
}

/// This server's BIOS would not start from such sectors: everything is there, and that is said.
fn prepared_but_for_the_loader(said: &Output) {
    assert_eq!(said.status, 3, "{}{}", said.text(), said.stderr);
    assert!(said.text().contains(" 0 errors"), "{}{}", said.text(), said.stderr);
    let warnings = said.stderr.lines().filter(|line| line.starts_with("warning: "));
    let warnings: Vec<&str> = warnings.collect();
    assert!(matches!(warnings[..], [one] if one.contains("sectors of 512 bytes only")), "{}", said.stderr);
}

/// A quiet server with the program in it, and a blank `disk` beside its own.
fn server(disk: Disk) -> Option<Server> {
    if !lab::available() {
        return None;
    }
    let mut server = Server::boot(&[disk]);
    server.push(Path::new(env!("CARGO_BIN_EXE_diskmirror")), "/usr/local/sbin/diskmirror");
    server.make_quiet();
    Some(server)
}

/// Its images lie on the disk that becomes the mirror later.
fn the_demo_shows_luks_and_lvm_where_there_is_device_mapper(server: &mut Server) {
    server.ok("modprobe loop && mkfs.ext4 -q -b 4096 /dev/sda && mount /dev/sda /tmp");
    let story = server.run("diskmirror demo");
    story.assert_ok();
    for told in
        ["the system in LVM on LUKS", "LUKS2", "every file system checks clean", "Nothing is left behind"]
    {
        assert!(story.text().contains(told), "no {told:?} in:\n{}", story.text());
    }
    assert_eq!(
        server.ok(
            "losetup --list --noheadings; ls /tmp | grep -v lost+found; ls /dev/mapper | grep demo || true"
        ),
        ""
    );
    server.ok("umount /tmp");
}

fn a_plan_writes_nothing(server: &mut Server) {
    let plan = server.ok("diskmirror plan --mirror /dev/disk/by-id/virtio-MIRROR01");
    for said in
        ["MIRROR01", "as /dev/vda5", "cryptsetup luksFormat", "lvcreate", "/etc/diskmirror/keys/", "Plan "]
    {
        assert!(plan.contains(said), "no {said:?} in:\n{plan}");
    }
    assert_eq!(server.written_bytes("MIRROR01"), 0);
}

fn what_must_be_refused_is_refused_and_writes_nothing(server: &mut Server) {
    let wrong = server.run_with(INIT, b"wrong horse");
    refused(&wrong, "wrong passphrase");
    let unconfirmed = "diskmirror init --mirror /dev/vdb --passphrase-fd 0 </dev/null";
    refused(&server.run(unconfirmed), "not confirmed");
    refused(&server.run_with(&INIT.replace("MIRROR01", "MIRROR02"), b"x"), "not the disk that was confirmed");
    refused(&server.run_with(&format!("{INIT} --plan 0123456789abcdef"), b"x"), "changed since the plan");
    refused(&server.run("diskmirror init --mirror /dev/vda --erase PRIMARY01 --yes"), "it is the primary");
    assert_eq!(server.written_bytes("MIRROR01"), 0);

    server.save("blank");
    for (use_it, why) in [
        ("pvcreate -qq -y /dev/vdb && vgcreate -qq other /dev/vdb", "in the volume group other"),
        ("mkswap -q /dev/vdb && swapon /dev/vdb", "in use as swap"),
        (
            "mkfs.ext4 -q -E lazy_itable_init=0,lazy_journal_init=0 /dev/vdb && mkdir -p /run/x && mount /dev/vdb /run/x",
            "is mounted on /run/x",
        ),
        (
            "echo x | cryptsetup luksFormat --batch-mode --pbkdf pbkdf2 --pbkdf-force-iterations 1000 --key-file - \
             /dev/vdb && echo x | cryptsetup open --key-file - /dev/vdb held",
            "is open as /dev/mapper/held",
        ),
    ] {
        server.ok(&format!("{use_it} && udevadm settle && sync"));
        let before = server.written_bytes("MIRROR01");
        refused(&server.run_with(INIT, PASSPHRASE.as_bytes()), why);
        assert_eq!(server.written_bytes("MIRROR01"), before, "{why}");
        server.load("blank");
    }
}

fn refused(said: &Output, why: &str) {
    assert_eq!(said.status, 4, "{why}: {}{}", said.text(), said.stderr);
    assert!(said.stderr.contains(why), "no {why:?} in:\n{}", said.stderr);
    assert!(said.stderr.contains("state: nothing was written"), "{}", said.stderr);
}

/// While it runs, every process list and environment is searched for the passphrase, which the searching shell has from
/// its standard input only. It leaves the one processor alone in between: what takes the passphrase takes seconds.
fn init_shows_its_secrets_to_nobody(server: &mut Server) {
    let watched = format!(
        "IFS= read -r secret; exec 3< <(printf %s \"$secret\")
         (while :; do
             grep -lF -f <(printf %s \"$secret\") /proc/[0-9]*/cmdline /proc/[0-9]*/environ 2>/dev/null
             sleep 0.3
         done) >/run/seen & watcher=$!
         {} 3<&3 >/run/out 2>/run/err; status=$?
         kill $watcher; cat /run/out; cat /run/err >&2; cat /run/seen; exit $status",
        INIT.replace("--passphrase-fd 0", "--passphrase-fd 3")
    );
    let done = server.run_with(&watched, format!("{PASSPHRASE}\n").as_bytes());
    done.assert_ok();
    assert!(!done.text().contains("/proc/"), "the passphrase was seen in {}", done.text());
    assert!(done.text().contains(" compared, "), "{}", done.text());
    assert_eq!(
        server.ok("stat -c %a,%U /etc/diskmirror.toml /etc/diskmirror/keys/*.key"),
        "600,root\n400,root"
    );
    closed(server);
}

/// Offline in between: no mapping, no active volume, nothing mounted.
fn closed(server: &mut Server) {
    assert_eq!(server.ok("ls /dev/mapper | grep -c mirror || true"), "0");
}

fn judged(server: &mut Server, disk: &str, how: &str) {
    let key = server.ok("ls /etc/diskmirror/keys/*.key");
    let arguments = format!("/dev/vda {disk} --vg www --mirror-vg mirror --key {key} {LEFT_OUT} {how}");
    let begun = std::time::Instant::now();
    let verdict = server.judge(&arguments);
    assert_eq!(verdict.status, 0, "{}{}", verdict.text(), verdict.stderr);
    println!("lab: {disk} is judged equal after {} s", begun.elapsed().as_secs());
}

fn a_second_init_is_refused_the_names_that_are_taken(server: &mut Server) {
    let named = server.run_with(&format!("{INIT} --vg www"), PASSPHRASE.as_bytes());
    refused(&named, "the volume group www exists already");
}

fn changes_arrive(server: &mut Server) {
    server.ok("set -e
         mkdir -p /srv/data && for n in $(seq 300); do echo record $n >/srv/data/$n; done
         ln /srv/data/1 /srv/hard && ln -s data/2 /srv/soft
         truncate -s 64M /srv/sparse && echo end >>/srv/sparse
         setfacl -m u:daemon:r /etc/hostname && setfattr -n user.colour -v blue /etc/fstab
         setcap cap_net_raw+ep /usr/bin/find
         rm -r /usr/lib/tmpfiles.d && mv /etc/cron.d /etc/cron.other
         chmod 4711 /usr/bin/rsync && chattr +i /etc/debian_version
         dd if=/dev/urandom of=/boot/extra bs=1M count=3 status=none");
    let said = server.ok("diskmirror run --json");
    let report: serde_json::Value = serde_json::from_str(&said).expect("one object");
    assert_eq!((&report["exit"], &report["state"]), (&0.into(), &"done".into()), "{said}");
    closed(server);
    let again: serde_json::Value =
        serde_json::from_str(&server.ok("diskmirror run --json")).expect("one object");
    assert!(copied(&again) <= 1, "only the log has changed: {again}");
}

/// Files copied, on all file systems.
fn copied(report: &serde_json::Value) -> u64 {
    let volumes = report["volumes"].as_array().expect("a list");
    volumes.iter().map(|volume| volume["files_copied"].as_u64().expect("a number")).sum()
}

fn a_killed_run_is_swept_by_the_next(server: &mut Server) {
    let left = server.ok("for n in $(seq 400); do head -c 100000 /dev/urandom >/srv/data/big$n; done
         diskmirror run >/dev/null 2>&1 & run=$!
         while ! ls /dev/mapper | grep -q mirror-root; do sleep 0.1; done
         sleep 2; kill -KILL $run; wait $run; ls /dev/mapper | grep -c mirror");
    assert_ne!(left, "0", "the run was killed while the mirror was open");
    server.run("diskmirror run").assert_ok();
    closed(server);
    // Content, not only size and time: that is what a full run compares.
    let full: serde_json::Value =
        serde_json::from_str(&server.ok("diskmirror run --full --json")).expect("one object");
    assert!(copied(&full) <= 1, "only the log has changed: {full}");
}

/// Below LUKS and LVM, while they are written to: the run ends by itself, the next one says what is missing, and when the disk is
/// back it is mended.
fn a_disk_that_is_pulled_out_in_mid_run_leaves_nothing_open(server: &mut Server) {
    let pulled = server.run(
        "for n in $(seq 100); do head -c 100000 /dev/urandom >/srv/data/pulled$n; done
         slot=$(readlink -f /sys/block/vdb/device/..)
         written() { awk '{print $7}' /sys/block/vdb/stat; }
         before=$(written); diskmirror run >/run/said 2>&1 & run=$!
         for n in $(seq 1000); do [ $(($(written) - before)) -lt 4096 ] || break; sleep 0.1; done
         echo 1 >$slot/remove; wait $run; status=$?
         cat /run/said; exit $status",
    );
    assert_ne!(pulled.status, 0, "{}{}", pulled.text(), pulled.stderr);
    assert!(pulled.text().contains("do:"), "{}", pulled.text());
    closed(server);
    let missing = server.run("diskmirror run");
    assert_eq!(missing.status, 4, "{}{}", missing.text(), missing.stderr);
    assert!(missing.stderr.contains("plug it in"), "{}", missing.stderr);
    server.ok("echo 1 >/sys/bus/pci/rescan; for n in $(seq 60); do lsblk -dnro SERIAL | grep -qx MIRROR01 && break; sleep 1; done; udevadm settle");
    server.run("diskmirror run").assert_ok();
    closed(server);
}

fn the_timer_runs_it_too(server: &mut Server) {
    let installed = server.ok("diskmirror schedule install");
    assert!(installed.contains("/etc/systemd/system/diskmirror.timer"), "{installed}");
    server.ok("systemctl is-enabled diskmirror.timer && systemctl is-active diskmirror.timer");
    server.ok("echo by the timer >/srv/timer; systemctl start diskmirror.service");
    assert_eq!(server.ok("systemctl show --property Result --value diskmirror.service"), "success");
    assert!(server.ok("tail -n 1 /var/log/diskmirror.log").contains(" copied "));
    server.ok("logrotate --debug /etc/logrotate.d/diskmirror 2>&1 | grep -q /var/log/diskmirror.log");
    closed(server);
    server.ok("diskmirror schedule remove");
    assert_eq!(server.ok("ls /etc/systemd/system | grep -c diskmirror || true"), "0");
}

fn a_mirror_without_its_key_is_named(server: &mut Server) {
    let before = server.written_bytes("MIRROR01");
    let said = server.run(
        "mv /etc/diskmirror/keys /run/keys; diskmirror run; s=$?; mv /run/keys /etc/diskmirror/keys; exit $s",
    );
    assert_ne!(said.status, 0);
    assert!(said.stderr.contains("/etc/diskmirror/keys/"), "{}", said.stderr);
    assert_eq!(server.written_bytes("MIRROR01"), before);
}

/// Prepared once more, to be opened by hand: a line in crypttab, one key slot, and the container stays open.
fn crypttab_is_the_other_way_to_open_it(server: &mut Server) {
    let init = "diskmirror init --mirror /dev/sda --erase NATIVE4K --yes --passphrase-fd 0 --fill none --unlock crypttab \
                --no-schedule";
    prepared_but_for_the_loader(&server.run_with(init, PASSPHRASE.as_bytes()));
    let crypttab = server.ok("cat /etc/crypttab");
    assert!(crypttab.contains("none luks,noauto,nofail"), "{crypttab}");
    assert_eq!(server.ok("cryptsetup luksDump /dev/sda5 | grep -c '^  [0-9]: luks2'"), "1");
    prepared_but_for_the_loader(&server.run("echo later >/srv/later; diskmirror run"));
    server.ok("cryptsetup close mirror5_crypt");
    let closed = server.run("diskmirror run </dev/null");
    assert_eq!(closed.status, 4, "{}{}", closed.text(), closed.stderr);
    assert!(closed.stderr.contains("mirror5_crypt is closed"), "{}", closed.stderr);
}

/// A second, plain server on loop disks: GPT, an ESP that shows other owners and modes on the mirror, ext4, xfs.
fn an_esp_is_mirrored_as_any_other(server: &mut Server) {
    server.ok(
        "set -e
         modprobe -a loop vfat xfs nls_cp437 nls_ascii
         mkdir -p /run/plain && mount -t tmpfs -o size=900m tmpfs /run/plain && cd /run/plain
         truncate -s 480M primary mirror
         p=$(losetup -fP --show primary) && m=$(losetup -fP --show mirror) && echo $m >m
         printf '%s\\n' 'label: gpt' 'size=40M, type=U' 'size=64M' 'size=330M' | sfdisk -q $p && udevadm settle
         mkfs.vfat -F 32 -n ESP ${p}p1 >/dev/null && mkfs.ext4 -q ${p}p2 && mkfs.xfs -q ${p}p3
         mkdir root && mount ${p}p2 root && mkdir -p root/etc root/boot/efi root/home
         mount -o umask=0077,uid=1000 ${p}p1 root/boot/efi && mount ${p}p3 root/home
         u() { blkid -p -o value -s UUID $1; }
         printf 'UUID=%s / ext4 defaults 0 1\\nUUID=%s /boot/efi vfat umask=0077 0 1\\nUUID=%s /home xfs defaults 0 2\\n' \
             $(u ${p}p2) $(u ${p}p1) $(u ${p}p3) >root/etc/fstab
         mkdir -p root/boot/efi/EFI/BOOT
         cp /usr/lib/grub/x86_64-efi/monolithic/grubx64.efi root/boot/efi/EFI/BOOT/BOOTX64.EFI
         echo Grub >root/boot/efi/EFI/grub.cfg && touch root/home/alice",
    );
    let init =
        "cd /run/plain && diskmirror --root root init --mirror $(cat m) --erase $(cat m) --yes --no-schedule";
    server.ok(init);
    server.ok(
        "cd /run/plain/root/boot/efi/EFI && printf newer >>BOOT/BOOTX64.EFI && rm grub.cfg && echo x >added.cfg",
    );
    let run = "cd /run/plain && diskmirror --root root run --json";
    let changed: serde_json::Value = serde_json::from_str(&server.ok(run)).expect("one object");
    let esp = |report: &serde_json::Value| {
        let volumes = report["volumes"].as_array().expect("a list").clone();
        volumes.into_iter().find(|v| v["mount"] == "/boot/efi").expect("the ESP is mirrored")
    };
    // The fallback loader is written last, by what sees to loaders; that it is there is compared below.
    assert_eq!(
        (&esp(&changed)["files_copied"], &esp(&changed)["errors"]),
        (&1.into(), &0.into()),
        "{changed}"
    );
    let again: serde_json::Value = serde_json::from_str(&server.ok(run)).expect("one object");
    assert_eq!(esp(&again)["files_copied"], 0, "{again}");
    let same = "cd /run/plain && mkdir look && mount -o ro $(cat m)p1 look && diff -r root/boot/efi look -x .diskmirror && umount look";
    server.ok(same);
    server.ok("cd / && umount -R /run/plain/root && losetup -D && umount /run/plain");
}
