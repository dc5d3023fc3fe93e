//! LVM's devices file (lvmdevices(8)): a physical volume that it does not list is not seen, so it must list the
//! mirror's.

use super::spelling::tag_path;
use super::text::{Devices, Spellings};
use crate::identity::Kind;

/// The mirror's devices file.
pub(super) fn rewrite(text: &str, spellings: &Spellings) -> String {
    // The hash is that of the entries as LVM wrote them.
    let lines = text.split_inclusive('\n').filter(|line| !line.starts_with("# HASH="));
    lines.map(|line| entry(line, spellings)).collect()
}

fn entry(line: &str, spellings: &Spellings) -> String {
    if line.trim_start().starts_with('#') {
        return line.to_owned();
    }
    let value =
        |key: &str| line.split_ascii_whitespace().find_map(|w| w.strip_prefix(key)?.strip_prefix('='));
    let dashless = |uuid: &str| uuid.replace('-', "");
    let pair =
        spellings.map.of(Kind::PhysicalUuid).find(|pair| value("PVID") == Some(&dashless(&pair.primary)));
    let Some(pair) = pair else { return spellings.field(line, Devices::Paths) };
    if pair.mirror.is_empty() {
        return String::new();
    }
    let end = if line.ends_with('\n') { "\n" } else { "" };
    let pvid = dashless(&pair.mirror);
    let (device, idname) = (value("DEVNAME").unwrap_or_default(), value("IDNAME").unwrap_or_default());
    // CRYPT-LUKS2-UUID-NAME; the name may hold dashes.
    let mapper = idname.splitn(4, '-').nth(3).filter(|_| value("IDTYPE") == Some("crypt_uuid"));
    match mapper.and_then(|name| spellings.map.get(Kind::Mapper, name)) {
        Some(mirror) if !mirror.is_empty() => {
            let own = spellings.field(idname, Devices::Paths);
            format!("IDTYPE=crypt_uuid IDNAME={own} DEVNAME=/dev/mapper/{mirror} PVID={pvid}{end}")
        }
        _ => {
            let device = mapper.map_or(device.to_owned(), |name| format!("/dev/mapper/{name}"));
            let own = spellings.map.get(Kind::Node, &device).map_or(device.clone(), tag_path);
            format!("IDTYPE=devname IDNAME={own} DEVNAME={own} PVID={pvid}{end}")
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::identity::{IdentityMap, Pair};

    const HEAD: &str = "# LVM uses devices listed in this file.\n# HASH=2813846943\nVERSION=1.1.2\n";

    fn map(pairs: &[(Kind, &str, &str)]) -> IdentityMap {
        let pair = |&(kind, primary, mirror): &(Kind, &str, &str)| Pair {
            kind,
            primary: primary.into(),
            mirror: mirror.into(),
        };
        IdentityMap { pairs: pairs.iter().map(pair).collect() }
    }

    #[test]
    fn the_mirrors_physical_volume_is_listed_in_place_of_the_primarys() {
        let map = map(&[
            (Kind::Uuid, "11111111-2222-4333-8444-555555555555", "a1111111-2222-4333-8444-555555555555"),
            (Kind::Mapper, "luks-x", "mirror3_crypt"),
            (Kind::PhysicalUuid, "aS0w0Q-Vg4y", "bS0w0Q-Vg4y"),
        ]);
        let other = "IDTYPE=sys_wwid IDNAME=naa.5 DEVNAME=/dev/sdc PVID=other PART=1\n";
        let text = format!(
            "{HEAD}IDTYPE=crypt_uuid IDNAME=CRYPT-LUKS2-11111111222243338444555555555555-luks-x \
             DEVNAME=/dev/dm-0 PVID=aS0w0QVg4y\n{other}"
        );
        let expected = format!(
            "# LVM uses devices listed in this file.\nVERSION=1.1.2\n\
             IDTYPE=crypt_uuid IDNAME=CRYPT-LUKS2-a1111111222243338444555555555555-mirror3_crypt \
             DEVNAME=/dev/mapper/mirror3_crypt PVID=bS0w0QVg4y\n{other}"
        );
        assert_eq!(rewrite(&text, &Spellings::of(&map)), expected);
    }

    #[test]
    fn a_physical_volume_on_a_bare_partition_is_listed_by_a_name_that_lasts() {
        let map = map(&[
            (Kind::Node, "/dev/sda3", "PARTUUID=b0b0b0b0-03"),
            (Kind::PhysicalUuid, "aS0w0Q-Vg4y", "bS0w0Q-Vg4y"),
        ]);
        let text =
            format!("{HEAD}IDTYPE=sys_wwid IDNAME=naa.5002 DEVNAME=/dev/sda3 PVID=aS0w0QVg4y PART=3\n");
        let path = "/dev/disk/by-partuuid/b0b0b0b0-03";
        let expected = format!("IDTYPE=devname IDNAME={path} DEVNAME={path} PVID=bS0w0QVg4y\n");
        assert!(rewrite(&text, &Spellings::of(&map)).ends_with(&expected));
    }
}
