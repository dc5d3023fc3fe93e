# A single-board computer's card: MBR, vfat /boot/firmware, ext4 root, PARTUUIDs in fstab; the mirror is a USB disk.
#disk mmc 8G
#disk usb 8G serial=MIRROR06
table /dev/mmcblk0 <<'END'
label: dos
label-id: 0x4f3a21bc
start=8192, size=512MiB, type=c
start=1056768, type=83
END
mkfs.fat -F 32 -n BOOTFS /dev/mmcblk0p1 >/dev/null
# No discard: QEMU fills the whole card for it.
mkfs.ext4 -q -E nodiscard -L rootfs /dev/mmcblk0p2
mount -o noatime /dev/mmcblk0p2 $T
mkdir -p $T/boot/firmware
mount /dev/mmcblk0p1 $T/boot/firmware
enter
fallocate -l 1G $T/var/data
cat >$T/etc/fstab <<'END'
proc            /proc           proc    defaults          0       0
PARTUUID=4f3a21bc-01  /boot/firmware  vfat    defaults          0       2
PARTUUID=4f3a21bc-02  /               ext4    defaults,noatime  0       1
END
capture 'console=serial0,115200 console=tty1 root=PARTUUID=4f3a21bc-02 rootfstype=ext4 fsck.repair=yes rootwait'
