//! The questions put to the system and the two that answer: the system's own tools, and a directory that keeps what
//! they once said (the fixtures). Every command line of discovery stands here; nothing is understood here.

use crate::layer::{blkid, encoding};
use crate::refusal::Refusal;
use crate::sys::{command, node, read};
use anyhow::{Context, Result, bail};
use std::collections::BTreeSet;
use std::fmt;
use std::io::ErrorKind;
use std::path::{Path, PathBuf};

/// A question about the machine's disks. Those about one device carry its node.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Question {
    /// The block devices.
    Lsblk,
    /// A disk's partition table.
    SfdiskDump(String),
    /// The signature on a device.
    Blkid(String),
    /// A container's header.
    LuksDump(String),
    /// How the container of this mapper name is open.
    CryptStatus(String),
    /// LVM's physical volumes.
    Pvs,
    /// LVM's groups.
    Vgs,
    /// LVM's volumes.
    Lvs,
    /// The mounts.
    Findmnt,
    /// The mounts, as the kernel tells them: every byte of a path.
    Mountinfo,
    /// The active swap.
    Swaps,
    /// An ext file system's superblock.
    Dumpe2fs(String),
    /// An XFS's geometry.
    XfsInfo(String),
    /// The kernel's command line.
    Cmdline,
    /// The kernel's view of memory.
    Memory,
    /// The primary's fstab.
    Fstab,
    /// The primary's crypttab.
    Crypttab,
}

/// Something that answers questions with text.
pub trait Probe {
    /// The answer: a tool's stdout or a file's text; empty where the thing asked for is legitimately absent.
    ///
    /// # Errors
    /// If it cannot be had; a `Refusal` if a tool is missing or the rights are.
    fn ask(&self, question: &Question) -> Result<String>;
}

const LSBLK: &str = "NAME,KNAME,PATH,TYPE,SIZE,RO,ROTA,MODEL,SERIAL,WWN,TRAN,LOG-SEC,PHY-SEC,PKNAME,MAJ:MIN,\
                     FSTYPE,UUID,LABEL,PTTYPE,PTUUID,PARTUUID,DISC-GRAN,";
const FINDMNT: &str = "TARGET,SOURCE,FSTYPE,OPTIONS,UUID,FSROOT,SIZE,USED,AVAIL,MAJ:MIN";
const PVS: &str = "pv_name,vg_name,pv_uuid,pv_size,pv_free,pe_start";
const VGS: &str = "vg_name,vg_uuid,vg_extent_size,vg_extent_count,vg_free_count,pv_count,lv_count";
const LVS: &str = "lv_name,vg_name,lv_uuid,lv_size,lv_path,segtype,origin,lv_active,devices";

impl Question {
    /// The tool and its arguments; none for what is read from a file. A second form follows where older versions
    /// of the tool do not know the first.
    fn commands(&self) -> Vec<(&'static str, Vec<String>)> {
        let args = |args: &[&str]| args.iter().map(|&arg| arg.to_owned()).collect::<Vec<_>>();
        let lvm = |columns, all| {
            let mut line = args(&["--reportformat", "json", "--units", "b", "--nosuffix", "-qq"]);
            line.extend(args(all));
            line.extend(args(&["-o", columns]));
            line
        };
        // util-linux before 2.37 knows no MOUNTPOINTS.
        let lsblk = |last: &str| ("lsblk", args(&["-J", "-b", "-o", &format!("{LSBLK}{last}")]));
        match self {
            Question::Lsblk => vec![lsblk("MOUNTPOINTS"), lsblk("MOUNTPOINT")],
            Question::SfdiskDump(node) => vec![("sfdisk", args(&["--dump", node]))],
            Question::Blkid(node) => vec![("blkid", args(&["-p", "-o", "export", node]))],
            Question::LuksDump(node) => vec![("cryptsetup", args(&["luksDump", node]))],
            Question::CryptStatus(name) => vec![("cryptsetup", args(&["status", name]))],
            Question::Pvs => vec![("pvs", lvm(PVS, &[]))],
            Question::Vgs => vec![("vgs", lvm(VGS, &[]))],
            Question::Lvs => vec![("lvs", lvm(LVS, &["-a"]))],
            Question::Findmnt => vec![("findmnt", args(&["-J", "-b", "--list", "-o", FINDMNT]))],
            Question::Dumpe2fs(node) => vec![("dumpe2fs", args(&["-h", node]))],
            Question::XfsInfo(node) => vec![("xfs_info", args(&[node]))],
            Question::Mountinfo | Question::Swaps | Question::Cmdline | Question::Memory => Vec::new(),
            Question::Fstab | Question::Crypttab => Vec::new(),
        }
    }

    /// The file that keeps the answer in a fixture: the node without `/dev/`, its slashes as underscores.
    fn file(&self) -> String {
        let slug = |node: &str| node.trim_start_matches("/dev/").replace('/', "_");
        match self {
            Question::Lsblk => "lsblk.json".to_owned(),
            Question::SfdiskDump(node) => format!("sfdisk.{}", slug(node)),
            Question::Blkid(node) => format!("blkid.{}", slug(node)),
            Question::LuksDump(node) => format!("luksDump.{}", slug(node)),
            Question::CryptStatus(name) => format!("cryptstatus.{name}"),
            Question::Pvs => "pvs.json".to_owned(),
            Question::Vgs => "vgs.json".to_owned(),
            Question::Lvs => "lvs.json".to_owned(),
            Question::Findmnt => "findmnt.json".to_owned(),
            Question::Mountinfo => "mountinfo".to_owned(),
            Question::Swaps => "swaps".to_owned(),
            Question::Dumpe2fs(node) => format!("dumpe2fs.{}", slug(node)),
            Question::XfsInfo(node) => format!("xfs_info.{}", slug(node)),
            Question::Cmdline => "cmdline".to_owned(),
            Question::Memory => "meminfo".to_owned(),
            Question::Fstab => "etc/fstab".to_owned(),
            Question::Crypttab => "etc/crypttab".to_owned(),
        }
    }

    /// Whether no answer is an answer: LVM need not be installed, crypttab need not exist.
    fn may_be_absent(&self) -> bool {
        matches!(
            self,
            Question::Pvs
                | Question::Vgs
                | Question::Lvs
                | Question::Fstab
                | Question::Crypttab
                | Question::Memory
        )
    }
}

impl fmt::Display for Question {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self.commands().first() {
            Some((program, args)) => write!(f, "{program} {}", args.join(" ")),
            None => f.write_str(&self.file()),
        }
    }
}

/// The system's own tools and files.
#[derive(Debug, Clone)]
pub struct Tools {
    /// The primary's mounted root: fstab and crypttab are read below it.
    pub root: PathBuf,
}

impl Probe for Tools {
    fn ask(&self, question: &Question) -> Result<String> {
        let path = match question {
            Question::Mountinfo => PathBuf::from("/proc/self/mountinfo"),
            Question::Swaps => PathBuf::from("/proc/swaps"),
            Question::Cmdline => PathBuf::from("/proc/cmdline"),
            Question::Memory => PathBuf::from("/proc/meminfo"),
            Question::Fstab | Question::Crypttab => self.root.join(question.file()),
            _ => return run(question, rustix::process::geteuid().is_root()),
        };
        match read::system_file(&path) {
            Err(error) if error.kind() == ErrorKind::NotFound && question.may_be_absent() => {
                Ok(String::new())
            }
            read => read
                .map(|bytes| encoding::text(&bytes))
                .with_context(|| format!("cannot read {}", path.display())),
        }
    }
}

fn run(question: &Question, is_root: bool) -> Result<String> {
    if !is_root {
        return Err(not_root().into());
    }
    let mut failed = String::new();
    for (program, args) in question.commands() {
        let said = match command::ask(program, &args, b"") {
            Err(error) if error.kind() == ErrorKind::NotFound && question.may_be_absent() => {
                return Ok(String::new());
            }
            Err(error) if error.kind() == ErrorKind::NotFound => return Err(missing(program).into()),
            ran => ran.with_context(|| format!("cannot run {program}"))?,
        };
        match (question, said.status) {
            (_, 0) => return Ok(said.stdout),
            (Question::Blkid(node), 2) => return readable(node).map(|()| String::new()),
            (Question::Blkid(_), 8) => return Ok(blkid::AMBIVALENT.to_owned()),
            (Question::Blkid(node), _) => {
                readable(node)?;
                failed = said.stderr.trim().to_owned();
            }
            _ => failed = said.stderr.trim().to_owned(),
        }
    }
    bail!("{question} failed: {failed}")
}

/// blkid ends with 2 where it finds nothing, but also, without a word, where it cannot open or read the device: a
/// full disk would pass for a blank one.
fn readable(node: &str) -> Result<()> {
    let read = node::open_node(Path::new(node)).and_then(|(device, _)| node::read_start(&device));
    read.with_context(|| format!("cannot read {node}"))
}

fn not_root() -> Refusal {
    Refusal::new("refusing to look at the disks: not root", "nothing was written")
        .why("what a disk holds can be read by root only")
        .remedy("run it again as root, with sudo for example")
}

/// The refusal for want of `program`, naming the package that has it.
pub fn missing(program: &str) -> Refusal {
    missing_all(&[program])
}

/// The refusal for want of all of `programs`, naming the packages that have them.
pub fn missing_all(programs: &[&str]) -> Refusal {
    let head = if programs.len() == 1 { "a tool is missing" } else { "tools are missing" };
    let packages: BTreeSet<&str> = programs.iter().map(|program| package(program)).collect();
    let packages = packages.into_iter().collect::<Vec<_>>().join(" ");
    programs
        .iter()
        .fold(
            Refusal::new(format!("refusing to go on: {head}"), "nothing was written"),
            |refusal, program| refusal.why(format!("{program} is not installed")),
        )
        .remedy(format!("apt-get install {packages}"))
}

/// LVM's programs that are used here.
const LVM_TOOLS: [&str; 7] = ["pvs", "vgs", "lvs", "pvcreate", "vgcreate", "lvcreate", "vgchange"];

/// The Debian package that has `program`.
pub fn package(program: &str) -> &str {
    match program {
        "lsblk" | "blkid" | "findmnt" | "wipefs" | "partx" | "mkswap" | "fsck" => "util-linux",
        "sfdisk" => "fdisk",
        "dumpe2fs" | "mke2fs" | "fsck.ext2" | "fsck.ext3" | "fsck.ext4" => "e2fsprogs",
        "xfs_info" | "mkfs.xfs" => "xfsprogs",
        "mkfs.vfat" | "fsck.vfat" => "dosfstools",
        "cryptsetup" => "cryptsetup-bin",
        lvm if LVM_TOOLS.contains(&lvm) => "lvm2",
        other => other,
    }
}

/// What the tools once said, a file each.
#[derive(Debug, Clone)]
pub struct Recorded {
    /// Where the files are.
    pub dir: PathBuf,
}

impl Probe for Recorded {
    fn ask(&self, question: &Question) -> Result<String> {
        let path = self.dir.join(question.file());
        match std::fs::read_to_string(&path) {
            Err(error) if error.kind() == ErrorKind::NotFound && question.may_be_absent() => {
                Ok(String::new())
            }
            read => read.with_context(|| format!("there is no record of {question} in {}", path.display())),
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::units::MIB;

    #[test]
    fn without_root_nothing_is_asked() {
        let error = run(&Question::Blkid("/dev/sda".into()), false).expect_err("it is not root");
        let refusal = error.downcast::<Refusal>().expect("it is a plain no");
        assert!(refusal.what.ends_with("not root"), "{refusal}");
    }

    #[test]
    fn a_missing_tool_is_named_with_its_package() {
        let packages =
            ["lsblk", "sfdisk", "dumpe2fs", "xfs_info", "lvs", "cryptsetup"].map(|tool| missing(tool).remedy);
        let names = ["util-linux", "fdisk", "e2fsprogs", "xfsprogs", "lvm2", "cryptsetup-bin"];
        assert_eq!(packages, names.map(|name| vec![format!("apt-get install {name}")]));
    }

    #[test]
    fn a_device_that_cannot_be_read_does_not_pass_for_a_blank_one() {
        // blkid says the same of both: status 2 and nothing else.
        let blank = tempfile::NamedTempFile::new().expect("there is room");
        blank.as_file().set_len(MIB).expect("there is room");
        let ask = |node: &str| run(&Question::Blkid(node.to_owned()), true);
        let answer = ask(blank.path().to_str().expect("a plain name")).expect("it can be read");
        assert_eq!(answer, "");
        let error = ask("/dev/no-such-disk").expect_err("it is not there");
        assert!(error.to_string().contains("cannot read /dev/no-such-disk"), "{error:#}");
    }
}
