# ext4 directly inside LUKS2, two key slots, a swap file; the mirror is a larger virtio disk.
#disk virtio 12G serial=PRIMARY11
#disk virtio 16G serial=MIRROR11
table /dev/vda <<'END'
label: gpt
size=512MiB, type=C12A7328-F81F-11D2-BA4B-00A0C93EC93B
size=1GiB, type=BC13C2FF-59E6-4262-A352-B275FD6F7172
type=0FC63DAF-8483-4772-8E79-3D69D8477DE4
END
mkfs.fat -F 32 /dev/vda1 >/dev/null
mkfs.ext4 -q /dev/vda2
luks_format /dev/vda3 --type luks2 --pbkdf argon2id --pbkdf-force-iterations 4 --pbkdf-memory 131072 --pbkdf-parallel 1
dd if=/dev/urandom of=/run/secret/keyfile bs=64 count=1 status=none
cryptsetup luksAddKey --batch-mode --key-file /run/secret/passphrase --pbkdf pbkdf2 --pbkdf-force-iterations 1000 \
    /dev/vda3 /run/secret/keyfile
luks_open /dev/vda3 cryptroot
mkfs.ext4 -q /dev/mapper/cryptroot
mount /dev/mapper/cryptroot $T
mkdir $T/boot
mount /dev/vda2 $T/boot
mkdir $T/boot/efi
mount -o umask=0077 /dev/vda1 $T/boot/efi
enter
fallocate -l 1G $T/var/data
dd if=/dev/zero of=$T/swapfile bs=1M count=256 status=none
chmod 600 $T/swapfile
mkswap -q $T/swapfile
swapon $T/swapfile
cat >$T/etc/fstab <<END
/dev/mapper/cryptroot / ext4 errors=remount-ro 0 1
UUID=$(uuid /dev/vda2) /boot ext4 defaults 0 2
UUID=$(uuid /dev/vda1) /boot/efi vfat umask=0077 0 1
/swapfile none swap sw 0 0
END
echo "cryptroot UUID=$(uuid /dev/vda3) none luks,initramfs" >$T/etc/crypttab
capture 'root=/dev/mapper/cryptroot ro quiet'
