//! A mirror that does not exist: the primary's layout with identifiers of its own, as `init` would have given it.

use diskmirror::identity::{IdentityMap, Link};
use diskmirror::layout::{Content, Layout, Survey};
use std::fs;
use std::path::{Path, PathBuf};

/// Every directory below tests/layouts with a survey whose primary can be mirrored.
pub fn layouts() -> Vec<PathBuf> {
    let dir = Path::new(env!("CARGO_MANIFEST_DIR")).join("tests/layouts");
    let found = fs::read_dir(dir).expect("the layouts are there").map(|e| e.expect("readable").path());
    let mut found: Vec<_> = found.filter(|dir| dir.join("layout.json").exists()).collect();
    found.sort();
    found.retain(|dir| !dir.ends_with("07-gpt-btrfs-debian12"));
    found
}

pub fn primary(dir: &Path) -> Layout {
    let text = fs::read(dir.join("layout.json")).expect("it is there");
    serde_json::from_slice::<Survey>(&text).expect("it is a survey").primary
}

pub fn layout(name: &str) -> Layout {
    primary(&Path::new(env!("CARGO_MANIFEST_DIR")).join("tests/layouts").join(name))
}

/// The procedure's own: MBR, ext3 /boot, LUKS2 with LVM.
pub const OWN: &str = "01-mbr-luks2-lvm-debian12";

/// `id` with its first letter or digit another one: of the same form, and no other's.
pub fn fresh(id: &str) -> String {
    let start = id.find("0x").map_or(0, |at| at + 2);
    let first = id[start..].chars().next().expect("it is not empty");
    let other = match first {
        '9' => '0',
        'f' => 'a',
        'F' => 'A',
        'z' => 'a',
        'Z' => 'A',
        c => char::from(c as u8 + 1),
    };
    format!("{}{other}{}", &id[..start], &id[start + 1..])
}

/// The mirror of `primary`, open.
pub fn mirror(primary: &Layout) -> Layout {
    let mut mirror = primary.clone();
    mirror.disk.path = "/dev/sdx".into();
    let disk = mirror.disk.clone();
    let Content::Table(table) = &mut mirror.content else { panic!("the primary has a table") };
    table.id = fresh(&table.id);
    for p in &mut table.partitions {
        p.path = disk.partition_path(p.number);
        p.uuid = p.uuid.as_deref().map(fresh);
        p.name = p.name.as_ref().map(|name| format!("{name}-m"));
        renew(&mut p.content, p.number);
    }
    mirror
}

fn renew(content: &mut Content, number: u32) {
    let marked = |label: &Option<String>| label.as_ref().map(|label| format!("{label}-m"));
    match content {
        Content::Luks(luks) => {
            luks.uuid = fresh(&luks.uuid);
            luks.mapper = luks.mapper.as_ref().map(|_| format!("mirror{number}_crypt"));
            renew(&mut luks.content, number);
        }
        Content::Volumes(vg) => {
            let ids = [&mut vg.pv_uuid, &mut vg.uuid];
            ids.into_iter().for_each(|id| *id = fresh(id));
            vg.name = "mirror".into();
            for lv in &mut vg.volumes {
                lv.uuid = fresh(&lv.uuid);
                lv.path = format!("/dev/mirror/{}", lv.name);
                renew(&mut lv.content, number);
            }
        }
        // On the mirror nobody has opened it.
        Content::RandomSwap(swap) => {
            *content = swap.label.take().map_or(Content::Empty, Content::Filesystem);
            renew(content, number);
        }
        Content::LeftOut(_) => *content = Content::Empty,
        Content::PhysicalVolume(pv) => (pv.uuid, pv.group) = (fresh(&pv.uuid), "mirror".into()),
        Content::Filesystem(fs) => (fs.uuid, fs.label) = (fresh(&fs.uuid), marked(&fs.label)),
        Content::Swap(swap) => (swap.uuid, swap.label) = (fresh(&swap.uuid), marked(&swap.label)),
        _ => {}
    }
}

/// The same mirror without encryption.
pub fn plaintext(primary: &Layout) -> Layout {
    let mut mirror = mirror(primary);
    let Content::Table(table) = &mut mirror.content else { panic!("it has a table") };
    for p in &mut table.partitions {
        if let Content::Luks(luks) = &p.content {
            p.content = luks.content.clone();
        }
    }
    mirror
}

pub fn link(link: &str, node: &str) -> Link {
    Link { link: link.into(), node: node.into() }
}

pub fn links(primary: &Layout) -> Vec<Link> {
    let disk = &primary.disk;
    vec![
        link("/dev/disk/by-id/virtio-PRIMARY01", &disk.path),
        link("/dev/disk/by-id/virtio-PRIMARY01-part1", &disk.partition_path(1)),
        link("/dev/disk/by-path/pci-0000:00:04.0", &disk.path),
        link("/dev/disk/by-path/pci-0000:00:04.0-part1", &disk.partition_path(1)),
        link("/dev/disk/by-uuid/10255212-fffb-4e7b-9a67-72bbd69c5caa", "/dev/vda1"),
        link("/dev/disk/by-id/virtio-MIRROR01", "/dev/sdx"),
        link("/dev/mapper/www-root", "/dev/dm-1"),
        link("/dev/www/root", "/dev/dm-1"),
        link("/dev/disk/by-id/dm-name-www-root", "/dev/dm-1"),
        link("/dev/disk/by-diskseq/99", "/dev/dm-1"),
    ]
}

pub fn map_of(primary: &Layout) -> IdentityMap {
    IdentityMap::between(primary, &mirror(primary), &links(primary)).expect("they are of one shape")
}
