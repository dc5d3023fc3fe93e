# The VG of root has a second physical volume, a whole disk: to be named and refused. The third disk is blank.
#disk virtio 8G serial=PRIMARY09
#disk virtio 8G serial=SECOND09
#disk virtio 20G serial=MIRROR09
table /dev/vda <<'END'
label: dos
size=512MiB, type=83, bootable
type=8e
END
mkfs.ext4 -q /dev/vda1
pvcreate -qq -y /dev/vda2 /dev/vdb
vgcreate -qq www /dev/vda2 /dev/vdb
lvcreate -qq -y -n root -L 12G www
lvcreate -qq -y -n swap -L 512M www
mkfs.ext4 -q /dev/www/root
mkswap -q /dev/www/swap
mount /dev/mapper/www-root $T
mkdir $T/boot
mount /dev/vda1 $T/boot
swapon /dev/mapper/www-swap
enter
cat >$T/etc/fstab <<END
/dev/mapper/www-root / ext4 errors=remount-ro 0 1
UUID=$(uuid /dev/vda1) /boot ext4 defaults 0 2
/dev/mapper/www-swap none swap sw 0 0
END
capture 'root=/dev/mapper/www-root ro quiet'
