//! Identifiers: those that a mirror gets, drawn at the edge and handed to the planner.
//!
//! Cloned identities collide, so every layer of the mirror gets its own. The planner must stay pure, so it takes
//! them from a supply that somebody else filled.

mod between;
mod disk_name;
pub mod map;

pub use between::{Link, Mismatch};
pub use map::{IdentityMap, Kind, Pair};

use std::collections::VecDeque;
use uuid::Uuid;

/// A supply of fresh identifiers, used up in order.
#[derive(Debug, Clone)]
pub struct FreshIds(VecDeque<Uuid>);

impl FreshIds {
    /// More than any disk has layers.
    pub const ENOUGH: usize = 1024;

    /// These, in this order.
    pub fn new(uuids: impl IntoIterator<Item = Uuid>) -> Self {
        FreshIds(uuids.into_iter().collect())
    }

    fn next(&mut self) -> Uuid {
        self.0.pop_front().expect("the supply is larger than any disk has layers")
    }

    /// `1b4e28ba-2fa1-4d3b-a3f5-ef19b5a7633b`: for file systems, containers and swap.
    pub fn uuid(&mut self) -> String {
        self.next().hyphenated().to_string()
    }

    /// The same in capitals, as sfdisk writes the GUIDs of a GPT.
    pub fn guid(&mut self) -> String {
        self.uuid().to_uppercase()
    }

    /// A disk signature, as sfdisk writes it: `0x1b4e28ba`.
    pub fn disk_signature(&mut self) -> String {
        format!("0x{:08x}", self.next().as_fields().0)
    }

    /// A FAT volume serial number, as mkfs.fat takes it: `1b4e28ba`; blkid writes it `1B4E-28BA`.
    pub fn fat_serial(&mut self) -> String {
        format!("{:08x}", self.next().as_fields().0)
    }
}

/// blkid's spelling of a FAT volume serial number.
pub fn fat_uuid(serial: &str) -> String {
    let upper = serial.to_uppercase();
    format!("{}-{}", &upper[..4], &upper[4..])
}

/// `label` made different from every label in `taken`, within `max_bytes`: `root` becomes `root-m`, then `root-m2`.
pub fn distinct_label(label: &str, max_bytes: usize, taken: &[String]) -> String {
    let mut suffix = String::from("-m");
    for n in 2.. {
        let room = max_bytes - suffix.len();
        let mut end = label.len().min(room);
        while !label.is_char_boundary(end) {
            end -= 1;
        }
        let candidate = format!("{}{suffix}", &label[..end]);
        if !taken.iter().any(|t| t.eq_ignore_ascii_case(&candidate)) {
            return candidate;
        }
        suffix = format!("-m{n}");
    }
    unreachable!("there are more numbers than labels")
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn identifiers_are_spelled_as_each_tool_spells_them() {
        let id = Uuid::from_u128(0x1b4e28ba_2fa1_4d3b_a3f5_ef19b5a7633b);
        let mut ids = FreshIds::new([id; 4]);
        assert_eq!(ids.uuid(), "1b4e28ba-2fa1-4d3b-a3f5-ef19b5a7633b");
        assert_eq!(ids.guid(), "1B4E28BA-2FA1-4D3B-A3F5-EF19B5A7633B");
        assert_eq!(ids.disk_signature(), "0x1b4e28ba");
        assert_eq!(fat_uuid(&ids.fat_serial()), "1B4E-28BA");
    }

    #[test]
    fn a_label_in_use_gets_a_distinct_one_that_fits() {
        let taken = ["root-m".to_owned()];
        assert_eq!(distinct_label("boot", 16, &taken), "boot-m");
        assert_eq!(distinct_label("root", 16, &taken), "root-m2");
        assert_eq!(distinct_label("ESP-ALPHA-1", 11, &[]), "ESP-ALPHA-m");
        assert_eq!(distinct_label("größeres", 8, &[]), "größ-m");
    }
}
