//! Every way in which files spell the identifiers of a map: the patterns that retargeting and the audit look for.
//!
//! Invariant: names that are words of a language as well (a group `root`, a label `data`) are spelled with the context
//! that makes them a device's: `LABEL=`, `/dev/mapper/`, `rd.lvm.vg=`.

use super::escape;
use super::pattern::{Edge, New, Pattern};
use crate::identity::{IdentityMap, Kind, Pair};
use crate::layer::octal;

/// The spellings of every pair.
pub fn patterns(map: &IdentityMap) -> Vec<Pattern> {
    let mut all = Vec::new();
    for (index, pair) in map.pairs.iter().enumerate() {
        let mut out = Out { pair: index, lost: pair.mirror.is_empty(), all: &mut all };
        match pair.kind {
            Kind::Table => table(&mut out, pair),
            Kind::Partition | Kind::Uuid => uuid(&mut out, pair, map),
            Kind::PartitionName => label(&mut out, pair, &["PARTLABEL"], "by-partlabel"),
            Kind::Label => label(&mut out, pair, &["LABEL"], "by-label"),
            Kind::Mapper => mapper(&mut out, pair),
            Kind::Group => group(&mut out, pair),
            Kind::GroupUuid | Kind::PhysicalUuid => lvm_uuid(&mut out, &pair.primary, &pair.mirror),
            Kind::Volume => volume(&mut out, pair),
            Kind::VolumeUuid => volume_uuid(&mut out, pair, map),
            Kind::Root => ROOTS.iter().for_each(|word| out.after(word, &pair.primary, &pair.mirror)),
            Kind::Node | Kind::Disk => node(&mut out, pair),
        }
    }
    all
}

/// How a kernel is told its root: by itself, and by what U-Boot's and other loaders' scripts hand on to it.
const ROOTS: [&str; 3] = ["root=", "rootdev=", "ROOTPART="];

/// Where one pair's spellings go.
struct Out<'a> {
    pair: usize,
    lost: bool,
    all: &'a mut Vec<Pattern>,
}

impl Out<'_> {
    fn add(&mut self, edges: (Edge, Edge), primary: String, mirror: String) -> &mut Pattern {
        let new = (!self.lost).then_some(New::Text(mirror));
        let (text, pair) = (primary.into_bytes(), self.pair);
        self.all.push(Pattern { text, fold: false, edges, within: None, binary: false, pair, new });
        self.all.last_mut().expect("it was pushed just now")
    }

    /// Hexadecimal digits, in capitals or not.
    fn hex(&mut self, edge: Edge, primary: &str, mirror: &str) {
        let added = self.add((edge, edge), primary.to_lowercase(), mirror.to_owned());
        (added.fold, added.binary) = (true, true);
    }

    /// A path, as it is and in the names of units and of dracut's hooks.
    fn path(&mut self, primary: &str, mirror: &str) {
        self.add((Edge::Path, Edge::Path), primary.to_owned(), mirror.to_owned()).binary = true;
        self.add((Edge::Unit, Edge::Unit), escape::unit(primary), escape::unit(mirror));
        self.add((Edge::Any, Edge::Unit), escape::slashes(primary), escape::slashes(mirror));
    }

    /// What follows a word of its own, as `rd.lvm.vg=www` does.
    fn after(&mut self, word: &str, primary: &str, mirror: &str) {
        self.add((Edge::Word, Edge::Path), format!("{word}{primary}"), format!("{word}{mirror}"));
    }
}

fn table(out: &mut Out, pair: &Pair) {
    if is_uuid(&pair.primary) {
        return out.hex(Edge::Id, &pair.primary, &pair.mirror);
    }
    for word in ["PTUUID=", "0x"] {
        let (primary, mirror) = (format!("{word}{}", pair.primary), format!("{word}{}", pair.mirror));
        out.add((Edge::Word, Edge::Word), primary.to_lowercase(), mirror).fold = true;
    }
}

fn is_uuid(text: &str) -> bool {
    text.len() == 36 && text.bytes().all(|b| b.is_ascii_hexdigit() || b == b'-')
}

fn dashless(text: &str) -> String {
    text.replace('-', "")
}

fn dashes_escaped(text: &str) -> String {
    text.replace('-', "\\x2d")
}

fn uuid(out: &mut Out, pair: &Pair, map: &IdentityMap) {
    let (primary, mirror) = (&pair.primary, &pair.mirror);
    let whole = is_uuid(primary);
    // `1B4E-28BA` and `64c2e6a0-05` are short: part of no longer token.
    out.hex(if whole { Edge::Id } else { Edge::Word }, primary, mirror);
    out.hex(Edge::Id, &dashes_escaped(primary), &dashes_escaped(mirror));
    if !whole {
        return;
    }
    out.hex(Edge::Id, &dashless(primary), &dashless(mirror));
    for mapper in map.of(Kind::Mapper) {
        // rd.luks.name=UUID=NAME and device-mapper's CRYPT-LUKS2-UUID-NAME.
        let of = |id: &str, name: &str| [format!("{id}={name}"), format!("{}-{name}", dashless(id))];
        let (old, new) = (of(&primary.to_lowercase(), &mapper.primary), of(mirror, &mapper.mirror));
        for (old, new) in old.into_iter().zip(new) {
            out.add((Edge::Id, Edge::Path), old, new);
        }
    }
}

/// LVM's UUIDs know capitals.
fn lvm_uuid(out: &mut Out, primary: &str, mirror: &str) {
    let forms: [fn(&str) -> String; 3] = [str::to_owned, dashless, dashes_escaped];
    for form in forms {
        out.add((Edge::Id, Edge::Id), form(primary), form(mirror)).binary = true;
    }
}

fn volume_uuid(out: &mut Out, pair: &Pair, map: &IdentityMap) {
    lvm_uuid(out, &pair.primary, &pair.mirror);
    for group in map.of(Kind::GroupUuid) {
        // device-mapper's LVM-GROUPVOLUME.
        let of = |group: &str, volume: &str| dashless(group) + &dashless(volume);
        let (old, new) = (of(&group.primary, &pair.primary), of(&group.mirror, &pair.mirror));
        out.add((Edge::Id, Edge::Id), old, new).binary = true;
    }
}

fn label(out: &mut Out, pair: &Pair, tags: &[&str], link: &str) {
    let forms: [fn(&str) -> String; 3] = [str::to_owned, octal::escaped, escape::link];
    for form in forms {
        let (old, new) = (form(&pair.primary), form(&pair.mirror));
        for (tag, quote) in tags.iter().flat_map(|tag| ["", "\"", "'", "\\\""].map(|quote| (tag, quote))) {
            let of = |label: &str| format!("{tag}={quote}{label}");
            let end = if quote.is_empty() { Edge::Label } else { Edge::Any };
            let closed = |label: &str| of(label) + quote;
            out.add((Edge::Word, end), closed(&old), closed(&new));
        }
    }
    // cloud-init's NoCloud: the file system that its seed lies on.
    for quote in ["", "\"", "'"].into_iter().filter(|_| pair.kind == Kind::Label) {
        let of = |label: &str| format!("fs_label: {quote}{label}{quote}");
        out.add((Edge::Word, Edge::Label), of(&pair.primary), of(&pair.mirror));
    }
    let of = |label: &str| format!("/dev/disk/{link}/{}", escape::link(label));
    let (old, new) = (of(&pair.primary), of(&pair.mirror));
    out.add((Edge::Path, Edge::Label), old.clone(), new.clone());
    out.add((Edge::Unit, Edge::Unit), escape::unit(&old), escape::unit(&new));
    out.add((Edge::Any, Edge::Label), escape::slashes(&old), escape::slashes(&new));
}

fn mapper(out: &mut Out, pair: &Pair) {
    let path = |name: &str| format!("/dev/mapper/{name}");
    let (old, new) = (&pair.primary, &pair.mirror);
    // Where the mirror has no container, the node is a pair of its own.
    if !out.lost {
        out.path(&path(old), &path(new));
    }
    out.after("dm-name-", old, new);
    let unit = |name: &str| format!("systemd-cryptsetup@{}", escape::unit(name));
    out.add((Edge::Word, Edge::Unit), unit(old), unit(new));
    for (word, within) in [(":", "cryptdevice="), ("target=", "cryptopts=")] {
        let pattern = out.add((Edge::Any, Edge::Path), format!("{word}{old}"), format!("{word}{new}"));
        pattern.within = Some(within);
    }
}

fn group(out: &mut Out, pair: &Pair) {
    for word in ["rd.lvm.vg=", "rd_LVM_VG=", "lvm="] {
        out.after(word, &pair.primary, &pair.mirror);
    }
}

fn volume(out: &mut Out, pair: &Pair) {
    let (old, new) = (&pair.primary, &pair.mirror);
    let (old_dm, new_dm) = (escape::mapper(old), escape::mapper(new));
    out.path(&format!("/dev/{old}"), &format!("/dev/{new}"));
    out.path(&format!("/dev/mapper/{old_dm}"), &format!("/dev/mapper/{new_dm}"));
    for word in ["rd.lvm.lv=", "rd_LVM_LV=", "lvm="] {
        out.after(word, old, new);
    }
    for word in ["lvm=", "dm-name-"] {
        out.after(word, &old_dm, &new_dm);
    }
    // GRUB's name of the disk.
    let (old, new) = (format!("lvm/{old_dm}"), format!("lvm/{new_dm}"));
    out.add((Edge::Path, Edge::Path), old, new).binary = true;
}

fn node(out: &mut Out, pair: &Pair) {
    let path = tag_path(&pair.mirror);
    let first = out.all.len();
    out.path(&pair.primary, &path);
    out.all[first].binary = false;
    if path != pair.mirror {
        out.all[first].new = Some(New::Device { tag: pair.mirror.clone(), path });
    }
}

/// `/dev/disk/by-uuid/…` for `UUID=…`; a path as it is.
pub fn tag_path(device: &str) -> String {
    match device.split_once('=') {
        Some(("UUID", id)) => format!("/dev/disk/by-uuid/{id}"),
        Some(("PARTUUID", id)) => format!("/dev/disk/by-partuuid/{id}"),
        _ => device.to_owned(),
    }
}
