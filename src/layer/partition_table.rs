//! Partition tables: what sfdisk says, and the script that makes the mirror's.

use super::json::hex_escape;
use crate::layout::{Content, Partition, Table, TableKind};
use crate::step::{Input, Invocation};
use crate::units::{Bytes, Sectors};
use anyhow::{Context, Result, ensure};
use std::fmt::Write;

/// The type of a GPT partition that holds GRUB's core image (UEFI has no use for it; GRUB manual, "BIOS installation").
pub const BIOS_BOOT: &str = "21686148-6449-6E6F-744E-656564454649";

/// Whether a partition of this type, of either table, is an EFI system partition (UEFI 2.10, 5.2.2 and 5.3.3).
pub fn is_efi_system(type_id: &str) -> bool {
    const GPT: &str = "C12A7328-F81F-11D2-BA4B-00A0C93EC93B";
    type_id.eq_ignore_ascii_case(GPT) || type_id.trim_start_matches("0x").eq_ignore_ascii_case("ef")
}

impl TableKind {
    /// The kind that sfdisk and blkid call `name`; none for the labels of other systems (sun, sgi, bsd …).
    pub fn named(name: &str) -> Option<Self> {
        match name {
            "dos" => Some(TableKind::Dos),
            "gpt" => Some(TableKind::Gpt),
            _ => None,
        }
    }
}

/// Whether an MBR partition of this type contains the logical ones (5: CHS, f: LBA, 85: Linux).
pub fn is_extended(type_id: &str) -> bool {
    matches!(type_id.trim_start_matches("0x").trim_start_matches('0'), "5" | "f" | "F" | "85")
}

/// The table in a dump; `logical_sector` counts where the dump does not say (util-linux before 2.35).
///
/// # Errors
/// If the text is not sfdisk's dump, or of a table that is neither MBR nor GPT.
pub fn parse(text: &str, logical_sector: u32) -> Result<Table> {
    let (head, body) = text.split_once("\n\n").unwrap_or((text, ""));
    let header = |key: &str| {
        head.lines().find_map(|line| Some(line.strip_prefix(key)?.strip_prefix(':')?.trim().to_owned()))
    };
    let label = header("label").context("sfdisk's dump names no label")?;
    let device = header("device").context("sfdisk's dump names no device")?;
    let unit = header("unit").unwrap_or_default();
    ensure!(unit == "sectors", "sfdisk counts in {unit:?}, not in sectors");
    let sector = header("sector-size").and_then(|size| size.parse().ok()).unwrap_or(logical_sector);
    let lines = body.lines().filter(|line| !line.trim().is_empty());
    Ok(Table {
        kind: TableKind::named(&label)
            .with_context(|| format!("a {label:?} partition table is not known"))?,
        id: header("label-id").unwrap_or_default(),
        partitions: lines.map(|line| partition(line, &device, sector)).collect::<Result<_>>()?,
    })
}

/// `/dev/sda1 : start=2048, size=1024, type=83, bootable`.
fn partition(line: &str, device: &str, sector: u32) -> Result<Partition> {
    let said = || format!("cannot read sfdisk's line {line:?}");
    let (node, rest) = line.split_once(" :").or_else(|| line.split_once(':')).with_context(said)?;
    let node = node.trim();
    let number = node.strip_prefix(device).map(|rest| rest.trim_start_matches('p')).with_context(said)?;
    let fields = fields(rest);
    let field = |key: &str| fields.iter().find(|(k, _)| k == key).map(|(_, value)| value.clone());
    let sectors = |key: &str| field(key).and_then(|value| value.parse().ok()).with_context(said);
    Ok(Partition {
        number: number.parse().with_context(said)?,
        path: node.to_owned(),
        start: Sectors(sectors("start")?).bytes(sector),
        size: Sectors(sectors("size")?).bytes(sector),
        type_id: field("type").with_context(said)?,
        uuid: field("uuid"),
        name: field("name"),
        attributes: field("attrs"),
        bootable: field("bootable").is_some(),
        content: Content::Empty,
    })
}

/// `key=value, key="va, lue", flag` → pairs; inside quotes sfdisk writes quotes and backslashes as `\xNN`.
fn fields(text: &str) -> Vec<(String, String)> {
    let mut fields = Vec::new();
    let mut rest = text.trim();
    while !rest.is_empty() {
        let end = rest.find(['=', ',']).unwrap_or(rest.len());
        let (key, after) = rest.split_at(end);
        let (value, left) = match after.strip_prefix('=').map(str::trim_start) {
            Some(after) => value(after),
            None => (String::new(), after),
        };
        fields.push((key.trim().to_owned(), value));
        rest = left.trim_start().strip_prefix(',').unwrap_or("").trim_start();
    }
    fields
}

/// The value at the start of `text`, and what follows it.
fn value(text: &str) -> (String, &str) {
    match text.strip_prefix('"') {
        Some(quoted) => {
            let end = quoted.find('"').unwrap_or(quoted.len());
            (unescaped(&quoted[..end]), quoted.get(end + 1..).unwrap_or(""))
        }
        None => {
            let end = text.find(',').unwrap_or(text.len());
            (text[..end].trim().to_owned(), &text[end..])
        }
    }
}

/// Only what sfdisk itself escapes: a quote, a backslash, a control character.
fn unescaped(text: &str) -> String {
    let mut out = String::with_capacity(text.len());
    let mut rest = text;
    while let Some(at) = rest.find('\\') {
        out.push_str(&rest[..at]);
        rest = &rest[at..];
        let (character, length) = match hex_escape(rest.as_bytes()) {
            Some(byte) if byte.is_ascii() => (char::from(byte), 4),
            _ => ('\\', 1),
        };
        out.push(character);
        rest = &rest[length..];
    }
    out + rest
}

// -- making

/// A partition to be made.
#[derive(Debug, Clone, PartialEq)]
pub struct NewPartition {
    /// Its number.
    pub number: u32,
    /// Where it begins.
    pub start: Bytes,
    /// How long it is.
    pub size: Bytes,
    /// sfdisk's type: `83` or a GUID.
    pub type_id: String,
    /// Its new GUID (GPT).
    pub uuid: Option<String>,
    /// Its name (GPT).
    pub name: Option<String>,
    /// Its attribute bits (GPT), as sfdisk writes them.
    pub attributes: Option<String>,
    /// The boot flag (MBR).
    pub bootable: bool,
}

/// Writes a new table: `label` is sfdisk's `dos` or `gpt`, `id` the new signature or GUID.
///
/// Of sfdisk's dump format (sfdisk(8), "Input formats") `device`, `first-lba` and `last-lba` are left out: a
/// `last-lba` fed back keeps a table from growing and fails on a smaller disk.
pub fn write(disk: &str, label: &str, id: &str, sector_size: u32, partitions: &[NewPartition]) -> Invocation {
    let mut script = format!("label: {label}\nlabel-id: {id}\nunit: sectors\nsector-size: {sector_size}\n\n");
    for p in partitions {
        let (start, size) = (Sectors::of(p.start, sector_size).0, Sectors::of(p.size, sector_size).0);
        let _ = write!(script, "{}: start={start}, size={size}, type={}", p.number, p.type_id);
        for (key, value) in [("uuid", &p.uuid), ("attrs", &p.attributes)] {
            if let Some(value) = value {
                let _ = write!(script, ", {key}=\"{value}\"");
            }
        }
        if let Some(name) = p.name.as_ref().filter(|name| in_script(name)) {
            let _ = write!(script, ", name=\"{name}\"");
        }
        script += if p.bootable { ", bootable\n" } else { "\n" };
    }
    Invocation::new("sfdisk", ["--quiet", "--wipe", "always", "--wipe-partitions", "always", disk])
        .reading(Input::Text(script))
}

/// The names that no version of sfdisk takes in a script (2.38 knows no escapes), set one by one.
pub fn name_partitions(disk: &str, partitions: &[NewPartition]) -> Vec<Invocation> {
    let odd =
        partitions.iter().filter_map(|p| p.name.as_ref().filter(|n| !in_script(n)).map(|n| (p.number, n)));
    odd.map(|(number, name)| {
        Invocation::new("sfdisk", ["--quiet", "--part-label", disk, &number.to_string(), name])
    })
    .collect()
}

/// Tells the kernel of a table's partitions, one by one: also where it does not know the kind of table, or does not
/// look by itself (loop devices).
///
/// `last` is the highest number: without a range partx stops at the count of partitions, short of an MBR's logical
/// ones (util-linux 2.38).
pub fn announce(disk: &str, last: u32) -> Invocation {
    Invocation::new("partx", ["--update", "--nr", &format!("1:{last}"), disk])
}

/// Makes the kernel forget whatever partitions it knows of a disk: an old one that overlaps a new one would keep it
/// from being announced. That there are none is no error.
pub fn forget(disk: &str) -> Invocation {
    Invocation::new("partx", ["--delete", "--nr", &format!("1:{MOST_PARTITIONS}"), disk])
}

/// Entries in the GPT that sfdisk and every other tool writes (UEFI 2.10, 5.3: 16 KiB of 128 bytes each).
const MOST_PARTITIONS: u32 = 128;

fn in_script(name: &str) -> bool {
    !name.chars().any(|c| c == '"' || c == '\\' || c.is_control())
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::units::{Bytes, MIB};

    /// sfdisk 2.38.1; the name of partition 3 is `a "q" \ b, size=5`.
    const GPT: &str = r#"label: gpt
label-id: 1B2C3D4E-0000-4000-8000-0000000000AA
device: /dev/loop0
unit: sectors
first-lba: 2048
last-lba: 614366
sector-size: 512

/dev/loop0p1 : start=        2048, size=        2048, type=21686148-6449-6E6F-744E-656564454649, uuid=8DD39E1F-A27A-7E4D-B174-738E5856C522, name="BIOS"
/dev/loop0p2 : start=        4096, size=       40960, type=C12A7328-F81F-11D2-BA4B-00A0C93EC93B, uuid=5A1F1DF2-F3F0-2D4D-9AF7-755063B277B3, name="it's, a name=x", attrs="RequiredPartition GUID:63"
/dev/loop0p3 : start=       45056, size=      204800, type=0FC63DAF-8483-4772-8E79-3D69D8477DE4, uuid=B16F5C71-6499-9F49-AF4A-B2DEC58BB60B, name="a \x22q\x22 \x5c b, size=5"
"#;

    /// sfdisk 2.38.1.
    const MBR: &str = "label: dos
label-id: 0x64c2e6a0
device: /dev/sda
unit: sectors
sector-size: 512

/dev/sda1 : start=        2048, size=      102400, type=83, bootable
/dev/sda3 : start=      106496, size=      507904, type=5
/dev/sda5 : start=      108544, size=       40960, type=83
/dev/sda6 : start=      151552, size=       61440, type=8e
";

    #[test]
    fn a_gpt_dump_is_read_with_odd_names_and_attributes() {
        let table = parse(GPT, 512).expect("it is sfdisk's");
        assert_eq!((table.kind, table.id.as_str()), (TableKind::Gpt, "1B2C3D4E-0000-4000-8000-0000000000AA"));
        let [bios, esp, odd] = table.partitions.as_slice() else { panic!("three partitions") };
        assert_eq!((bios.number, bios.start, bios.size), (1, Bytes(MIB), Bytes(MIB)));
        assert_eq!((bios.type_id.as_str(), bios.name.as_deref()), (BIOS_BOOT, Some("BIOS")));
        assert_eq!(esp.name.as_deref(), Some("it's, a name=x"));
        assert_eq!(esp.attributes.as_deref(), Some("RequiredPartition GUID:63"));
        assert_eq!(odd.name.as_deref(), Some(r#"a "q" \ b, size=5"#));
        assert_eq!((odd.number, odd.path.as_str(), odd.size), (3, "/dev/loop0p3", Bytes::mib(100)));
        assert_eq!(odd.uuid.as_deref(), Some("B16F5C71-6499-9F49-AF4A-B2DEC58BB60B"));
    }

    #[test]
    fn an_mbr_dump_is_read_with_logical_partitions_and_the_boot_flag() {
        let table = parse(MBR, 4096).expect("it is sfdisk's");
        assert_eq!((table.kind, table.id.as_str()), (TableKind::Dos, "0x64c2e6a0"));
        let seen: Vec<_> =
            table.partitions.iter().map(|p| (p.number, p.type_id.as_str(), p.bootable)).collect();
        assert_eq!(seen, [(1, "83", true), (3, "5", false), (5, "83", false), (6, "8e", false)]);
        assert_eq!(
            (table.partitions[3].start, table.partitions[3].size),
            (Bytes(151_552 * 512), Bytes::mib(30))
        );
    }

    #[test]
    fn sectors_of_4096_bytes_are_taken_from_the_dump_or_from_the_disk() {
        let dump = "label: gpt\nlabel-id: E4\ndevice: /dev/nvme0n1\nunit: sectors\nsector-size: 4096\n\n\
                    /dev/nvme0n1p1 : start= 256, size= 2560, type=0FC6, uuid=BF0A\n";
        for text in [dump.to_owned(), dump.replace("sector-size: 4096\n", "")] {
            let table = parse(&text, 4096).expect("it is sfdisk's");
            assert_eq!((table.partitions[0].start, table.partitions[0].size), (Bytes(MIB), Bytes::mib(10)));
        }
    }

    #[test]
    fn a_table_of_another_system_and_other_text_are_errors() {
        assert!(parse(&MBR.replace("dos", "sun"), 512).is_err());
        assert!(parse(&MBR.replace("size=", "length="), 512).is_err());
        assert!(parse("sfdisk: failed", 512).is_err());
    }
}

#[cfg(test)]
mod making {
    use super::*;

    #[test]
    fn a_script_speaks_in_the_mirrors_sectors_and_leaves_the_old_bounds_out() {
        let root = NewPartition {
            number: 1,
            start: Bytes::mib(1),
            size: Bytes::mib(10),
            type_id: "83".into(),
            uuid: None,
            name: None,
            attributes: None,
            bootable: true,
        };
        let Input::Text(script) = write("/dev/sdb", "dos", "0x0000cafe", 4096, &[root]).input else {
            panic!("sfdisk reads a script")
        };
        assert_eq!(
            script,
            "label: dos\nlabel-id: 0x0000cafe\nunit: sectors\nsector-size: 4096\n\n\
             1: start=256, size=2560, type=83, bootable\n"
        );
    }

    #[test]
    fn a_name_that_no_script_can_hold_is_set_on_its_own() {
        let mut esp = NewPartition {
            number: 1,
            start: Bytes::mib(1),
            size: Bytes::mib(10),
            type_id: "C12A7328-F81F-11D2-BA4B-00A0C93EC93B".into(),
            uuid: Some("1B4E28BA-2FA1-4D3B-A3F5-EF19B5A7633B".into()),
            name: Some("EFI \"System\"".into()),
            attributes: Some("RequiredPartition".into()),
            bootable: false,
        };
        let script = write("/dev/sdb", "gpt", "X", 512, std::slice::from_ref(&esp)).to_string();
        assert!(script.contains("attrs=\"RequiredPartition\"\n") && !script.contains("name="), "{script}");
        assert_eq!(
            name_partitions("/dev/sdb", std::slice::from_ref(&esp))[0].to_string(),
            "sfdisk --quiet --part-label /dev/sdb 1 'EFI \"System\"'"
        );
        esp.name = Some("ESP".into());
        assert!(name_partitions("/dev/sdb", &[esp]).is_empty());
    }
}
