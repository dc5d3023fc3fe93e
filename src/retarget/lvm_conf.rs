//! lvm.conf (lvm.conf(5)): what LVM looks at is filtered by regular expressions, and what it activates can be a list. A filter
//! that lets only the primary's devices through would hide the mirror's, a list of the primary's group leave it inactive.

use super::text::{Devices, Spellings};
use crate::identity::Kind;
use crate::layer::lvm_conf;
use std::collections::BTreeSet;

/// What holds patterns: the first that matches one of a device's names decides.
const FILTERS: [&str; 2] = ["filter", "global_filter"];

/// What holds groups and volumes by their names.
const LISTS: [&str; 3] = ["volume_list", "auto_activation_volume_list", "read_only_volume_list"];

/// The mirror's settings: its devices in place of the primary's, and let through first; its group in the lists.
pub(super) fn rewrite(text: &str, spellings: &Spellings) -> String {
    let (mut out, mut within) = (String::with_capacity(text.len() + 128), None);
    let rejects = text.lines().any(|line| rejects(lvm_conf::uncommented(line)));
    for line in text.split_inclusive('\n') {
        let (said, comment) = line.split_at(lvm_conf::uncommented(line).len());
        let opens = lvm_conf::setting(said).filter(|name| FILTERS.contains(name) || LISTS.contains(name));
        within = opens.or(within);
        let own = match within {
            Some(key) if FILTERS.contains(&key) => {
                let own = spellings.field(said, Devices::Paths);
                if opens.is_some() && rejects { let_through(&own, spellings) } else { own }
            }
            Some(_) => named(said, spellings),
            None => said.to_owned(),
        };
        out += &own;
        out += comment;
        if said.contains(']') || (opens.is_some() && !said.contains('[')) {
            within = None;
        }
    }
    out
}

/// Whether a pattern that hides devices stands in a line: `"r|…|"`, any sign may enclose the expression.
fn rejects(line: &str) -> bool {
    lvm_conf::texts(line)
        .filter_map(|pattern| pattern.strip_prefix('r'))
        .any(|rest| !rest.starts_with(char::is_alphanumeric))
}

/// A filter that lets the mirror's devices through, whatever it says of others.
fn let_through(line: &str, spellings: &Spellings) -> String {
    let ours = devices(spellings).into_iter().map(|path| format!("\"a|^{path}$|\""));
    let missing: Vec<String> = ours.filter(|pattern| !line.contains(pattern.as_str())).collect();
    let (Some(equals), false) = (line.find('='), missing.is_empty()) else { return line.to_owned() };
    let (head, value) = line.split_at(equals + 1);
    let new = missing.join(", ");
    match value.split_once('[') {
        Some((blank, rest)) => format!("{head}{blank}[ {new}, {}", rest.trim_start_matches(' ')),
        None => {
            let (value, end) = value.split_at(value.trim_end().len());
            format!("{head} [ {new}, {} ]{end}", value.trim())
        }
    }
}

/// What the mirror's physical volumes can lie on, by names that last. Nothing if the primary has no group.
fn devices(spellings: &Spellings) -> BTreeSet<String> {
    let map = spellings.map;
    if map.of(Kind::Group).next().is_none() && map.of(Kind::GroupUuid).next().is_none() {
        return BTreeSet::new();
    }
    let mappers = map.of(Kind::Mapper).filter(|pair| !pair.mirror.is_empty());
    let mappers = mappers.map(|pair| format!("/dev/mapper/{}", pair.mirror));
    let partitions = map.of(Kind::Node).filter_map(|pair| pair.mirror.strip_prefix("PARTUUID="));
    mappers.chain(partitions.map(|id| format!("/dev/disk/by-partuuid/{id}"))).collect()
}

/// A list with the mirror's group, and its volumes, by name.
fn named(line: &str, spellings: &Spellings) -> String {
    let own = |name: &str| {
        let of = |kind| spellings.map.get(kind, name).filter(|new| !new.is_empty());
        of(Kind::Group).or_else(|| of(Kind::Volume)).unwrap_or(name).to_owned()
    };
    let words = line.split('"').enumerate();
    words.map(|(n, word)| if n % 2 == 1 { own(word) } else { word.to_owned() }).collect::<Vec<_>>().join("\"")
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::identity::{IdentityMap, Pair};

    fn map() -> IdentityMap {
        let pairs = [
            (Kind::Mapper, "sda3_crypt", "mirror3_crypt"),
            (Kind::Node, "/dev/sda3", "UUID=a1111111-2222-4333-8444-555555555555"),
            (Kind::Node, "/dev/sda4", "PARTUUID=b0b0b0b0-04"),
            (Kind::Group, "www", "www-m"),
            (Kind::Volume, "www/root", "www-m/root"),
        ];
        let pair = |(kind, primary, mirror): (Kind, &str, &str)| Pair {
            kind,
            primary: primary.into(),
            mirror: mirror.into(),
        };
        IdentityMap { pairs: pairs.map(pair).into() }
    }

    #[test]
    fn the_mirrors_physical_volume_is_let_through_first() {
        let ours = r#""a|^/dev/disk/by-partuuid/b0b0b0b0-04$|", "a|^/dev/mapper/mirror3_crypt$|""#;
        let map = map();
        let spellings = Spellings::of(&map);
        for (old, new) in [
            (
                r#"global_filter = [ "a|^/dev/sda4$|", "a|sda.*|", "r|.*|" ] # "x" = ["#,
                r#"global_filter = [ "a|^/dev/mapper/mirror3_crypt$|", "a|^/dev/disk/by-partuuid/b0b0b0b0-04$|", "a|sda.*|", "r|.*|" ] # "x" = ["#.to_owned(),
            ),
            (r#"devices/filter="r/.*/""#, format!(r#"devices/filter= [ {ours}, "r/.*/" ]"#)),
            (r#"filter = [ "a|.*|" ]"#, r#"filter = [ "a|.*|" ]"#.to_owned()),
            (
                "devices {\n\tfilter = [\n\t\t\"a|^/dev/mapper/sda3_crypt$|\",\n\t\t\"r|.*|\"\n\t]\n}\n",
                format!(
                    "devices {{\n\tfilter = [ {ours}, \n\t\t\"a|^/dev/mapper/mirror3_crypt$|\",\n\t\t\"r|.*|\"\n\t]\n}}\n"
                ),
            ),
            ("# filter = [ \"r|.*|\" ]\n", "# filter = [ \"r|.*|\" ]\n".to_owned()),
        ] {
            let once = rewrite(old, &spellings);
            assert_eq!(once, new);
            assert_eq!(rewrite(&once, &spellings), once, "twice is once");
        }
    }

    #[test]
    fn lists_name_the_mirrors_group() {
        let map = map();
        let text = "activation {\n\tvolume_list = [ \"www\", \"www/root\", \"@tag\", \"other\" ]\n\tx = \"www\"\n}\n";
        let new = text.replacen("\"www\"", "\"www-m\"", 1).replace("www/root", "www-m/root");
        assert_eq!(rewrite(text, &Spellings::of(&map)), new);
    }
}
