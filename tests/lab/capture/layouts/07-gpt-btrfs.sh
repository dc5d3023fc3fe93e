# A btrfs root on a subvolume, as Debian's installer makes it: to be named and refused.
#disk virtio 16G serial=PRIMARY07
#disk virtio 16G serial=MIRROR07
table /dev/vda <<'END'
label: gpt
size=512MiB, type=C12A7328-F81F-11D2-BA4B-00A0C93EC93B
type=0FC63DAF-8483-4772-8E79-3D69D8477DE4
END
mkfs.fat -F 32 /dev/vda1 >/dev/null
mkfs.btrfs -q /dev/vda2
mount /dev/vda2 $T
btrfs -q subvolume create $T/@rootfs
btrfs -q subvolume create $T/@home
umount $T
mount -o subvol=@rootfs /dev/vda2 $T
mkdir -p $T/boot/efi $T/home
mount -o umask=0077 /dev/vda1 $T/boot/efi
mount -o subvol=@home /dev/vda2 $T/home
enter
cat >$T/etc/fstab <<END
UUID=$(uuid /dev/vda2) /               btrfs   defaults,subvol=@rootfs 0       0
UUID=$(uuid /dev/vda2) /home           btrfs   defaults,subvol=@home 0       0
UUID=$(uuid /dev/vda1)  /boot/efi       vfat    umask=0077      0       1
END
capture "root=UUID=$(uuid /dev/vda2) ro rootflags=subvol=@rootfs quiet"
