# Root on md RAID 1 over two disks, a third disk is blank: to be named and refused.
#disk scsi 8G serial=RAIDONE,wwn=0x5000c500aaaa0008
#disk scsi 8G serial=RAIDTWO,wwn=0x5000c500aaaa0108
#disk scsi 8G serial=MIRROR08,wwn=0x5000c500bbbb0008
for disk in /dev/sda /dev/sdb; do
    table $disk <<'END'
label: dos
size=6GiB, type=fd, bootable
type=fd
END
done
mdadm --quiet --create /dev/md0 --run --level=1 --raid-devices=2 --metadata=1.2 --assume-clean --homehost=any /dev/sda1 /dev/sdb1
mdadm --quiet --create /dev/md1 --run --level=1 --raid-devices=2 --metadata=1.2 --assume-clean --homehost=any /dev/sda2 /dev/sdb2
udevadm settle
mkfs.ext4 -q /dev/md0
mkswap -q /dev/md1
mount /dev/md0 $T
swapon /dev/md1
enter
cat >$T/etc/fstab <<END
UUID=$(uuid /dev/md0) / ext4 errors=remount-ro 0 1
UUID=$(uuid /dev/md1) none swap sw 0 0
END
capture "root=UUID=$(uuid /dev/md0) ro quiet"
