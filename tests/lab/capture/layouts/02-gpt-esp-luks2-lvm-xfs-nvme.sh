# UEFI on NVMe: ESP, ext4 /boot, LUKS2 on partition 3, root xfs, home ext4, swap on an LV; the mirror is a larger SCSI disk.
#disk nvme 24G serial=NVME0PRIMARY
#disk scsi 40G serial=MIRROR02,wwn=0x5000c500a1b2c3d4,vendor=ATA,product=BigMirror
table /dev/nvme0n1 <<'END'
label: gpt
size=512MiB, type=C12A7328-F81F-11D2-BA4B-00A0C93EC93B, name="EFI System Partition"
size=1GiB, type=0FC63DAF-8483-4772-8E79-3D69D8477DE4
type=CA7D7CCB-63ED-4C53-861C-1742536059CC, name="crypt"
END
mkfs.fat -F 32 /dev/nvme0n1p1 >/dev/null
mkfs.ext4 -q /dev/nvme0n1p2
luks_format /dev/nvme0n1p3 --type luks2 --iter-time 500
luks_open /dev/nvme0n1p3 nvme0n1p3_crypt
pvcreate -qq -y /dev/mapper/nvme0n1p3_crypt
vgcreate -qq debian-vg /dev/mapper/nvme0n1p3_crypt
lvcreate -qq -y -n root -L 10G debian-vg
lvcreate -qq -y -n home -L 8G debian-vg
lvcreate -qq -y -n swap_1 -l 100%FREE debian-vg
mkfs.xfs -q /dev/debian-vg/root
mkfs.ext4 -q -i 8192 -L home /dev/debian-vg/home
mkswap -q /dev/debian-vg/swap_1
mount /dev/mapper/debian--vg-root $T
mkdir $T/boot $T/home
mount /dev/nvme0n1p2 $T/boot
mkdir $T/boot/efi
mount -o umask=0077 /dev/nvme0n1p1 $T/boot/efi
mount /dev/mapper/debian--vg-home $T/home
swapon /dev/mapper/debian--vg-swap_1
enter
fallocate -l 1G $T/var/data
fallocate -l 500M $T/home/data
cat >$T/etc/fstab <<END
# /etc/fstab: static file system information.
/dev/mapper/debian--vg-root /               xfs     defaults        0       0
# /boot was on /dev/nvme0n1p2 during installation
UUID=$(uuid /dev/nvme0n1p2) /boot           ext4    defaults        0       2
# /boot/efi was on /dev/nvme0n1p1 during installation
UUID=$(uuid /dev/nvme0n1p1)  /boot/efi       vfat    umask=0077      0       1
LABEL=home	/home	ext4	defaults	0	2
/dev/mapper/debian--vg-swap_1 none            swap    sw              0       0
END
echo "nvme0n1p3_crypt UUID=$(uuid /dev/nvme0n1p3) none luks" >$T/etc/crypttab
capture 'root=/dev/mapper/debian--vg-root ro quiet'
