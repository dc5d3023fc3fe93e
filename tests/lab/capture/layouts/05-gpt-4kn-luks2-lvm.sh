# A primary with 4096-byte sectors: GPT, ESP, ext4 /boot, LUKS2; the mirror is a SCSI disk of equal size with 512-byte sectors.
#disk scsi 16G serial=PRIMARY05,wwn=0x5000c500aaaa0005,vendor=ATA,product=Native4K,logical_block_size=4096,physical_block_size=4096
#disk scsi 16G serial=MIRROR05,wwn=0x5000c500bbbb0005,vendor=ATA,product=Plain512,rotation_rate=1
table /dev/sda <<'END'
label: gpt
size=300MiB, type=C12A7328-F81F-11D2-BA4B-00A0C93EC93B, name="ESP"
size=1GiB, type=0FC63DAF-8483-4772-8E79-3D69D8477DE4, name="boot"
type=0FC63DAF-8483-4772-8E79-3D69D8477DE4, name="system"
END
mkfs.fat -F 32 -n EFI /dev/sda1 >/dev/null
mkfs.ext4 -q /dev/sda2
luks_format /dev/sda3 --type luks2 --sector-size 4096 --pbkdf pbkdf2 --iter-time 300
luks_open /dev/sda3 system
pvcreate -qq -y /dev/mapper/system
vgcreate -qq www /dev/mapper/system
lvcreate -qq -y -n root -L 10G www
lvcreate -qq -y -n swap -L 1G www
mkfs.xfs -q /dev/www/root
mkswap -q /dev/www/swap
mount /dev/mapper/www-root $T
mkdir $T/boot
mount /dev/sda2 $T/boot
mkdir $T/boot/efi
mount -o umask=0077 /dev/sda1 $T/boot/efi
swapon /dev/mapper/www-swap
enter
fallocate -l 1G $T/var/data
cat >$T/etc/fstab <<END
/dev/www/root	/	xfs	defaults	0	0
PARTLABEL=boot	/boot	ext4	defaults	0	2
PARTLABEL=ESP	/boot/efi	vfat	umask=0077	0	1
UUID=$(uuid /dev/mapper/www-swap)	none	swap	sw	0	0
END
echo "system PARTLABEL=system none luks" >$T/etc/crypttab
capture "root=/dev/mapper/www-root resume=UUID=$(uuid /dev/mapper/www-swap) ro quiet"
