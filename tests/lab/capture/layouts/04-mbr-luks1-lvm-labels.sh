# LUKS1, a VG whose name holds a dash, labels in use in fstab; the mirror has 4096-byte sectors.
#disk scsi 16G serial=PRIMARY04,wwn=0x5000c500aaaa0004,vendor=ATA,product=OldPrimary
#disk scsi 16G serial=MIRROR04,wwn=0x5000c500bbbb0004,vendor=ATA,product=Native4K,logical_block_size=4096,physical_block_size=4096
table /dev/sda <<'END'
label: dos
size=512MiB, type=83, bootable
type=83
END
mkfs.ext4 -q -L boot /dev/sda1
luks_format /dev/sda2 --type luks1 --iter-time 300
luks_open /dev/sda2 sda2_crypt
pvcreate -qq -y /dev/mapper/sda2_crypt
vgcreate -qq vg-0 /dev/mapper/sda2_crypt
lvcreate -qq -y -n root -L 12G vg-0
lvcreate -qq -y -n swap-0 -L 1G vg-0
mkfs.ext4 -q -L rootfs /dev/vg-0/root
mkswap -q -L swap0 /dev/vg-0/swap-0
mount -o errors=remount-ro,noatime /dev/mapper/vg--0-root $T
mkdir $T/boot
mount -o nodev /dev/sda1 $T/boot
swapon /dev/mapper/vg--0-swap--0
enter
fallocate -l 1G $T/var/data
cat >$T/etc/fstab <<'END'
LABEL=rootfs	/	ext4	errors=remount-ro,noatime	0	1
LABEL=boot	/boot	ext4	nodev	0	2
LABEL=swap0	none	swap	sw	0	0
tmpfs	/tmp	tmpfs	defaults	0	0
END
echo "sda2_crypt	UUID=$(uuid /dev/sda2)	none	luks" >$T/etc/crypttab
capture 'root=/dev/mapper/vg--0-root ro'
