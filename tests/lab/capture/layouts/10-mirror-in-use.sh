# The disk offered as the mirror is in use: a mounted partition, active swap, a VG with active volumes behind LUKS.
#disk virtio 8G serial=PRIMARY10
#disk scsi 16G serial=MIRROR10,wwn=0x5000c500bbbb0010,vendor=ATA,product=BusyDisk
table /dev/vda <<'END'
label: gpt
start=2048, size=2048, type=21686148-6449-6E6F-744E-656564454649
size=6GiB, type=0FC63DAF-8483-4772-8E79-3D69D8477DE4
type=0657FD6D-A4AB-43C4-84E5-0933C84B4F4F
END
mkfs.ext4 -q /dev/vda2
mkswap -q /dev/vda3
mount /dev/vda2 $T
swapon /dev/vda3
table /dev/sda <<'END'
label: gpt
size=4GiB, type=0FC63DAF-8483-4772-8E79-3D69D8477DE4, name="old"
size=1GiB, type=0657FD6D-A4AB-43C4-84E5-0933C84B4F4F
size=4GiB, type=E6D6D379-F507-44C2-A23C-238F2A3DF928
type=CA7D7CCB-63ED-4C53-861C-1742536059CC
END
mkfs.ext4 -q -L old /dev/sda1
mkswap -q /dev/sda2
pvcreate -qq -y /dev/sda3
vgcreate -qq vg_old /dev/sda3
lvcreate -qq -y -n data -L 1G vg_old
lvcreate -qq -y -n swap -L 512M vg_old
mkfs.xfs -q /dev/vg_old/data
mkswap -q /dev/vg_old/swap
luks_format /dev/sda4 --type luks2 --pbkdf pbkdf2 --iter-time 300
luks_open /dev/sda4 vault
mkfs.ext4 -q /dev/mapper/vault
mkdir -p $T/srv/old $T/srv/vault
mount /dev/sda1 $T/srv/old
mount /dev/mapper/vault $T/srv/vault
swapon /dev/sda2 /dev/vg_old/swap
enter
cat >$T/etc/fstab <<END
UUID=$(uuid /dev/vda2) / ext4 errors=remount-ro 0 1
UUID=$(uuid /dev/vda3) none swap sw 0 0
LABEL=old /srv/old ext4 defaults,nofail 0 2
/dev/sda2 none swap sw,nofail 0 0
/dev/vg_old/swap none swap sw,nofail 0 0
/dev/mapper/vault /srv/vault ext4 nofail 0 2
END
echo "vault UUID=$(uuid /dev/sda4) none luks,nofail" >$T/etc/crypttab
capture "root=UUID=$(uuid /dev/vda2) ro quiet"
