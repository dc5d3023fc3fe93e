# Sourced by every layout script inside the capture machine: builds blocks, enters "the server", captures.
# The layout is opened under /target; lsblk and findmnt run in a chroot there, so that what they print has the server's paths.
T=/target
OUT=/share/result
mkdir -p "$T" "$OUT/etc" /run/secret
printf 'the passphrase of a fixture' >/run/secret/passphrase
export LVM_SUPPRESS_FD_WARNINGS=1

table() { # DISK, the script on standard input
    sfdisk --quiet --no-reread --wipe always "$1"
    udevadm settle
}

luks_format() { # DEVICE, options of luksFormat
    node=$1
    shift
    cryptsetup luksFormat --batch-mode --key-file /run/secret/passphrase "$@" "$node"
    udevadm settle
}

luks_open() { # DEVICE NAME, options
    node=$1
    name=$2
    shift 2
    cryptsetup open --key-file /run/secret/passphrase "$@" "$node" "$name"
    udevadm settle
}

uuid() { blkid -p -o value -s UUID "$1"; }
partuuid() { blkid -p -o value -s PART_ENTRY_UUID "$1"; }
slug() { printf '%s' "${1#/dev/}" | tr / _; }

enter() { # what is mounted on /target becomes a root that lsblk and findmnt can run in
    for dir in boot dev etc home mnt proc root run srv sys tmp usr/bin usr/lib usr/lib64 var; do mkdir -p "$T/$dir"; done
    ln -sfn usr/bin "$T/bin"
    ln -sfn usr/lib "$T/lib"
    ln -sfn usr/lib64 "$T/lib64"
    for tool in lsblk findmnt cat; do
        cp "$(command -v $tool)" "$T/usr/bin/"
        ldd "$(command -v $tool)" | grep -o '/[^ ]*' | while read -r library; do
            mkdir -p "$T$(dirname "$library")"
            cp -L "$library" "$T$library"
        done
    done
    mount -t proc -o nosuid,nodev,noexec proc "$T/proc"
    mount -t sysfs -o nosuid,nodev,noexec sysfs "$T/sys"
    mount -t devtmpfs -o nosuid udev "$T/dev"
    mount -t devpts -o nosuid,noexec,gid=5,mode=620 devpts "$T/dev/pts"
    mount -t tmpfs -o nosuid,nodev tmpfs "$T/dev/shm"
    mount --bind /run "$T/run"
    mount -t cgroup2 -o nosuid,nodev,noexec cgroup2 "$T/sys/fs/cgroup"
}

on_server() { chroot "$T" "$@"; }

# A column this version does not know is dropped, alone, and named in `versions`.
lsblk_columns() {
    known=
    for column in NAME KNAME PATH TYPE SIZE RO ROTA MODEL SERIAL WWN TRAN LOG-SEC PHY-SEC PKNAME MAJ:MIN FSTYPE UUID LABEL \
        PTTYPE PTUUID PARTUUID MOUNTPOINTS DISC-GRAN START; do
        if on_server lsblk -n -o "$column" >/dev/null 2>&1; then
            known="$known${known:+,}$column"
        else
            echo "lsblk does not know the column $column" >>"$OUT/versions"
        fi
    done
    printf '%s' "$known"
}

capture_versions() {
    {
        . /etc/os-release
        echo "distribution: $PRETTY_NAME, kernel $(uname -r), $(uname -m)"
        echo "captured: in a QEMU machine by tests/lab/capture-layouts; the layout was opened under /target,"
        echo "  lsblk, findmnt and swaps were read in a chroot there, the other tools outside; cmdline, etc/fstab and etc/crypttab"
        echo "  are written by the layout script as such a server has them, with the identifiers of this capture"
        lsblk --version
        sfdisk --version
        blkid -V
        findmnt --version
        cryptsetup --version
        lvm version
        mke2fs -V
        mkfs.xfs -V
        mkfs.fat --help 2>&1 | head -n 1
        mkfs.btrfs --version
        mdadm --version
    } >"$OUT/versions" 2>&1
}

capture_node() { # one node of lsblk: what blkid, cryptsetup and the file systems' own tools say
    name=$(slug "$1")
    blkid -p -o export "$1" >"$OUT/blkid.$name" || [ $? = 2 ]
    if cryptsetup isLuks "$1"; then
        cryptsetup luksDump "$1" >"$OUT/luksDump.$name"
        if cryptsetup isLuks --type luks2 "$1"; then
            cryptsetup luksDump --dump-json-metadata "$1" >"$OUT/luks.$name.json"
        fi
    fi
    case $(blkid -p -o value -s TYPE "$1" || true) in
    ext*) dumpe2fs -h "$1" >"$OUT/dumpe2fs.$name" 2>/dev/null ;;
    xfs) xfs_info "$1" >"$OUT/xfs_info.$name" ;;
    esac
}

capture() { # the command line of the kernel
    udevadm settle
    capture_versions
    printf 'BOOT_IMAGE=/vmlinuz-%s %s\n' "$(uname -r)" "$1" >"$OUT/cmdline"
    on_server lsblk -J -b -o "$(lsblk_columns)" >"$OUT/lsblk.json"
    on_server findmnt -J -b --list -o TARGET,SOURCE,FSTYPE,OPTIONS,UUID,FSROOT,SIZE,USED,AVAIL,MAJ:MIN >"$OUT/findmnt.json"
    on_server cat /proc/swaps >"$OUT/swaps"
    cat /proc/mdstat >"$OUT/mdstat" 2>/dev/null || : >"$OUT/mdstat"
    lsblk -n -r -p -o PATH | sort -u | while read -r node; do capture_node "$node"; done
    lsblk -n -r -d -p -o PATH,TYPE | while read -r node type; do
        [ "$type" = disk ] || continue
        sfdisk --dump "$node" >"$OUT/sfdisk.$(slug "$node")" 2>/dev/null || rm "$OUT/sfdisk.$(slug "$node")"
    done
    dmsetup ls --target crypt | while read -r name rest; do
        case $name in No) continue ;; esac
        cryptsetup status "$name" >"$OUT/cryptstatus.$name"
    done
    report='--reportformat json --units b --nosuffix -qq'
    pvs $report -o pv_name,vg_name,pv_uuid,pv_size,pv_free,pe_start >"$OUT/pvs.json"
    vgs $report -o vg_name,vg_uuid,vg_extent_size,vg_extent_count,vg_free_count,pv_count,lv_count >"$OUT/vgs.json"
    lvs -a $report -o lv_name,vg_name,lv_uuid,lv_size,lv_path,segtype,lv_active,devices >"$OUT/lvs.json"
    [ ! -f "$T/etc/fstab" ] || cp "$T/etc/fstab" "$OUT/etc/fstab"
    [ ! -f "$T/etc/crypttab" ] || cp "$T/etc/crypttab" "$OUT/etc/crypttab"
}
