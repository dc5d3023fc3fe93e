# No encryption, no LVM: a BIOS-boot partition, ext4 root, a swap partition; the mirror is a smaller disk.
#disk virtio 16G serial=PRIMARY03
#disk virtio 8G serial=MIRROR03
table /dev/vda <<'END'
label: gpt
start=2048, size=2048, type=21686148-6449-6E6F-744E-656564454649
size=14GiB, type=0FC63DAF-8483-4772-8E79-3D69D8477DE4
type=0657FD6D-A4AB-43C4-84E5-0933C84B4F4F, name="swap"
END
mkfs.ext4 -q /dev/vda2
mkswap -q /dev/vda3
mount -o errors=remount-ro /dev/vda2 $T
swapon -p 5 /dev/vda3
enter
fallocate -l 3G $T/var/data
cat >$T/etc/fstab <<END
# / was on /dev/vda2 during installation
UUID=$(uuid /dev/vda2) /               ext4    errors=remount-ro 0       1
PARTUUID=$(partuuid /dev/vda3) none            swap    sw,pri=5        0       0
END
capture "root=UUID=$(uuid /dev/vda2) ro quiet"
