# Candidates without a partition table: ext4, an orphaned physical volume, and a LUKS header on the whole disk; one blank and
# one whose partition table holds no partition.
#disk virtio 8G serial=PRIMARY12
#disk virtio 8G serial=WHOLEEXT4
#disk virtio 8G serial=WHOLEPV
#disk virtio 8G serial=WHOLELUKS
#disk virtio 8G serial=BLANK
#disk virtio 8G serial=EMPTYTABLE
table /dev/vda <<'END'
label: dos
size=6GiB, type=83, bootable
type=82
END
mkfs.ext4 -q /dev/vda1
mkswap -q /dev/vda2
mkfs.ext4 -q -L backup /dev/vdb
pvcreate -qq -y /dev/vdc
luks_format /dev/vdd --type luks2 --pbkdf pbkdf2 --pbkdf-force-iterations 1000
echo 'label: gpt' | table /dev/vdf
mount /dev/vda1 $T
swapon /dev/vda2
enter
cat >$T/etc/fstab <<END
UUID=$(uuid /dev/vda1) / ext4 errors=remount-ro 0 1
UUID=$(uuid /dev/vda2) none swap sw 0 0
END
capture "root=UUID=$(uuid /dev/vda1) ro quiet"
