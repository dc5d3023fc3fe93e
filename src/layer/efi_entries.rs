//! The firmware's boot entries (UEFI 2.10, 3.1 "Boot Manager"), as efibootmgr(8) prints and makes them.

use crate::step::Invocation;

/// What the mirror's entry is called in the firmware's menu.
pub const LABEL: &str = "diskmirror spare";

/// The entries, and the order in which they are tried.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct Entries {
    /// The numbers, first tried first.
    pub order: Vec<String>,
    /// The entries.
    pub entries: Vec<Entry>,
}

/// One entry.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Entry {
    /// Its number, four hexadecimal digits.
    pub number: String,
    /// The GUID of the partition it starts from, in small letters, if it starts from one.
    pub partition: Option<String>,
}

/// Reads the output of `efibootmgr --verbose`.
pub fn parse(text: &str) -> Entries {
    let order = text.lines().find_map(|line| line.strip_prefix("BootOrder: "));
    let order = order.map(|list| list.split(',').map(|n| n.trim().to_owned()).collect()).unwrap_or_default();
    Entries { order, entries: text.lines().filter_map(entry).collect() }
}

/// `Boot0002* debian<TAB>HD(1,GPT,5f6f…,0x800,0x100000)/File(\EFI\debian\shimx64.efi)`
fn entry(line: &str) -> Option<Entry> {
    let rest = line.strip_prefix("Boot")?;
    let number = rest.get(..4).filter(|n| n.chars().all(|c| c.is_ascii_hexdigit()))?;
    let partition = line.split_once(",GPT,").and_then(|(_, rest)| rest.split(',').next());
    Some(Entry { number: number.to_uppercase(), partition: partition.map(str::to_lowercase) })
}

/// What is to be done so that the mirror is tried, behind the primary and everything else that is tried now.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Todo {
    /// It is so.
    Nothing,
    /// There is no entry for it.
    Create,
    /// The order must become this.
    Reorder(Vec<String>),
}

impl Entries {
    /// What is to be done for the mirror's EFI system partition of this GUID.
    pub fn todo(&self, mirror: &str) -> Todo {
        let is_mirror = |entry: &&Entry| entry.partition.as_deref() == Some(&mirror.to_lowercase());
        let own: Vec<&String> = self.entries.iter().filter(is_mirror).map(|entry| &entry.number).collect();
        if own.is_empty() {
            return Todo::Create;
        }
        let others = self.order.iter().filter(|number| !own.contains(number));
        let wanted: Vec<String> = others.chain(own.iter().copied()).cloned().collect();
        if wanted == self.order { Todo::Nothing } else { Todo::Reorder(wanted) }
    }
}

/// Makes an entry for partition `number` of `disk` that no order names yet: whoever makes one first in the order boots the
/// spare next time.
pub fn create(disk: &str, number: u32, loader: &str) -> Invocation {
    let number = number.to_string();
    let args =
        ["--quiet", "--create-only", "--disk", disk, "--part", &number, "--label", LABEL, "--loader", loader];
    Invocation::new("efibootmgr", args)
}

/// Sets the order.
pub fn reorder(order: &[String]) -> Invocation {
    Invocation::new("efibootmgr", ["--quiet", "--bootorder", &order.join(",")])
}

#[cfg(test)]
mod tests {
    use super::*;

    /// efibootmgr 17 on Debian 12 under OVMF.
    const TEXT: &str = "BootCurrent: 0002\nTimeout: 0 seconds\nBootOrder: 0002,0000,0001\n\
        Boot0000* UiApp\tFvVol(7cb8bdc9-f8eb-4f34-aaea-3ee4af6516a1)/FvFile(462caa21-7614-4503-836e-8ab6f4662331)\n\
        Boot0001* UEFI Misc Device\tPciRoot(0x0)/Pci(0x3,0x0)N.....YM....R,Y.\n\
        Boot0002* debian\tHD(1,GPT,5F6FAB12-0000-4000-8000-0000000000AA,0x800,0x100000)/File(\\EFI\\debian\\shimx64.efi)\n";
    const MIRROR: &str = "1b4e28ba-2fa1-4d3b-a3f5-ef19b5a7633b";

    fn with(order: &str, extra: &str) -> Entries {
        parse(&format!("{}{extra}", TEXT.replace("0002,0000,0001", order)))
    }

    fn mirrors(number: &str) -> String {
        format!("Boot{number}* {LABEL}\tHD(1,GPT,{MIRROR},0x800,0x100000)/File(\\EFI\\BOOT\\BOOTX64.EFI)\n")
    }

    #[test]
    fn entries_and_their_partitions_are_read() {
        let entries = parse(TEXT);
        assert_eq!(entries.order, ["0002", "0000", "0001"]);
        let partitions: Vec<_> = entries.entries.iter().map(|entry| entry.partition.as_deref()).collect();
        assert_eq!(partitions, [None, None, Some("5f6fab12-0000-4000-8000-0000000000aa")]);
    }

    #[test]
    fn the_mirror_is_tried_and_never_before_anything_else() {
        assert_eq!(parse(TEXT).todo(MIRROR), Todo::Create);
        let reorder = |order: &[&str]| Todo::Reorder(order.iter().map(|n| (*n).to_owned()).collect());
        let made = with("0002,0000,0001", &mirrors("0003"));
        assert_eq!(made.todo(MIRROR), reorder(&["0002", "0000", "0001", "0003"]), "made, in no order yet");
        assert_eq!(with("0002,0003", &mirrors("0003")).todo(&MIRROR.to_uppercase()), Todo::Nothing);
        assert_eq!(
            with("0003,0002", &mirrors("0003")).todo(MIRROR),
            reorder(&["0002", "0003"]),
            "somebody put it first"
        );
    }

    #[test]
    fn an_entry_is_made_without_being_put_first() {
        let made = create("/dev/sdb", 1, r"\EFI\BOOT\BOOTX64.EFI").to_string();
        assert!(made.contains("--create-only") && made.contains(r"'\EFI\BOOT\BOOTX64.EFI'"), "{made}");
    }
}
