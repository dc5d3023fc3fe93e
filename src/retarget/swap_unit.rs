//! A .swap unit of systemd's, whose name must be its device (systemd.swap(5)): on the mirror it is masked, and a line of
//! fstab stands for it, since a file of another name would be another file.

use super::text::{Devices, Spellings};
use crate::layer::encoding;

/// The mirror's: empty, which masks a unit (systemd.unit(5)), if its name is a device of the primary.
pub(super) fn rewrite(path: &str, text: &[u8], spellings: &Spellings) -> Option<Vec<u8>> {
    (names_primary(path, spellings) && !text.is_empty()).then(Vec::new)
}

/// The line of fstab in its place; none if it stays as it is, or if the mirror has no such swap space.
pub(super) fn fstab_line(path: &str, text: &[u8], spellings: &Spellings) -> Option<String> {
    let text = encoding::text(text);
    let what = text.lines().find_map(|line| line.trim().strip_prefix("What="))?.trim();
    let is_there = names_primary(path, spellings) && !spellings.names_lost(what);
    is_there.then(|| format!("{} none swap sw,nofail 0 0\n", spellings.field(what, Devices::Tags)))
}

fn names_primary(path: &str, spellings: &Spellings) -> bool {
    let name = path.rsplit('/').next().unwrap_or(path);
    !spellings.find(name.as_bytes()).is_empty()
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::identity::{IdentityMap, Kind, Pair};

    #[test]
    fn the_unit_is_masked_and_fstab_has_the_mirrors_swap_space() {
        let (primary, mirror) =
            ("bb5aa345-94dc-4dd6-a784-1305daae55ab", "c2d418bd-8bd4-43a1-b994-c5ffa811febb");
        let pair = Pair { kind: Kind::Uuid, primary: primary.into(), mirror: mirror.into() };
        let map = IdentityMap { pairs: vec![pair] };
        let spellings = Spellings::of(&map);
        let escaped = primary.replace('-', "\\x2d");
        let path = format!("/etc/systemd/system/dev-disk-by\\x2duuid-{escaped}.swap");
        let text = format!("[Swap]\nWhat=/dev/disk/by-uuid/{primary}\n[Install]\nWantedBy=swap.target\n");
        assert_eq!(rewrite(&path, text.as_bytes(), &spellings), Some(Vec::new()));
        let line = fstab_line(&path, text.as_bytes(), &spellings);
        assert_eq!(line, Some(format!("/dev/disk/by-uuid/{mirror} none swap sw,nofail 0 0\n")));
        let other = "/etc/systemd/system/swapfile.swap";
        let text = b"[Swap]\nWhat=/swapfile\n";
        assert_eq!((rewrite(other, text, &spellings), fstab_line(other, text, &spellings)), (None, None));
    }
}
