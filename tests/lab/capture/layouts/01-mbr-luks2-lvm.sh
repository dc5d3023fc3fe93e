# The procedure of 2009: ext3 /boot on partition 1, LUKS on logical partition 5, VG www; the mirror is a blank disk of equal size.
# The odd start of the extended partition is what Debian's installer makes.
#disk virtio 20G serial=PRIMARY01
#disk virtio 20G serial=MIRROR01
table /dev/vda <<'END'
label: dos
/dev/vda1 : start=2048, size=999424, type=83, bootable
/dev/vda2 : start=1003518, size=40937474, type=5
/dev/vda5 : start=1003520, size=40937472, type=83
END
mkfs.ext3 -q -I 128 /dev/vda1
luks_format /dev/vda5 --type luks2 --pbkdf argon2id --pbkdf-force-iterations 4 --pbkdf-memory 262144 --pbkdf-parallel 2
luks_open /dev/vda5 vda5_crypt --allow-discards
pvcreate -qq -y /dev/mapper/vda5_crypt
vgcreate -qq www /dev/mapper/vda5_crypt
lvcreate -qq -y -n root -L 16G www
lvcreate -qq -y -n swap -L 976M www
mkfs.ext4 -q /dev/www/root
mkswap -q /dev/www/swap
mount -o errors=remount-ro /dev/mapper/www-root $T
mkdir $T/boot
mount /dev/vda1 $T/boot
swapon /dev/mapper/www-swap
enter
fallocate -l 2G $T/var/data
dd if=/dev/zero of=$T/boot/initrd.img bs=1M count=60 status=none
cat >$T/etc/fstab <<END
# /etc/fstab: static file system information.
#
# <file system> <mount point>   <type>  <options>       <dump>  <pass>
/dev/mapper/www-root /               ext4    errors=remount-ro 0       1
# /boot was on /dev/vda1 during installation
UUID=$(uuid /dev/vda1) /boot           ext3    defaults        0       2
/dev/mapper/www-swap none            swap    sw              0       0
END
echo "vda5_crypt UUID=$(uuid /dev/vda5) none luks,discard" >$T/etc/crypttab
capture 'root=/dev/mapper/www-root ro quiet'
