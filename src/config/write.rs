//! The configuration as the commented file that `init` writes.

use super::{Config, Container, DiskId, Mirror, Unlock, Volume};
use crate::units::{Bytes, MIB};
use std::fmt::Write as _;
use std::path::Path;

impl Config {
    /// The file that `init` writes; `parse` gives back what it was made from.
    pub fn to_toml(&self) -> String {
        let mut out = String::from(HEAD);
        let mut line =
            |key: &str, path: &Path| out += &format!("{key} = {}\n", quoted(&path.to_string_lossy()));
        line("state_dir", &self.state_dir);
        line("runtime_dir", &self.runtime_dir);
        line("log_file", &self.log_file);
        for mirror in &self.mirrors {
            out += &mirror.to_toml();
        }
        out
    }
}

/// `64M`, or bytes where that is not exact.
fn exact(size: Bytes) -> String {
    if size.0.is_multiple_of(MIB) { format!("{}M", size.0 / MIB) } else { size.0.to_string() }
}

impl Mirror {
    fn to_toml(&self) -> String {
        let list = |items: &[String]| items.iter().map(|item| quoted(item)).collect::<Vec<_>>().join(", ");
        let mut out = format!("\n[[mirror]]\nname = {}\n", quoted(&self.name));
        if self.reversed {
            out += REVERSED;
        }
        out += "# Left out, besides what is always left out (the contents of /tmp and /var/tmp, this program's own\n\
                # files, active swap files). \"/srv/cache/*\" is anchored at /; \"*.o\" matches anywhere.\n";
        writeln!(out, "exclude = [{}]", list(&self.excludes)).expect("a string takes any text");
        out += "# Files of which the audit remarks nothing: \"/etc/smartd.conf\", \"/etc/backup/*\".\n";
        writeln!(out, "audit_ignore = [{}]", list(&self.audit_ignore)).expect("a string takes any text");
        if !self.leave_out.is_empty() {
            out += "# Parts of the primary's disk that this mirror does not have (init --leave-out), for the next init as well.\n";
            writeln!(out, "leave_out = [{}]", list(&self.leave_out)).expect("a string takes any text");
        }
        out += "# How often a run looks at both sides whole, whatever it knows of the last run: \"12h\", \"1d\", \"1w\".\n";
        writeln!(out, "full_every = \"{}\"", self.full_every).expect("a string takes any text");
        out += "# Files from this size on are brought up to date block by block.\n";
        writeln!(out, "blocks_from = \"{}\"", exact(self.blocks_from)).expect("a string takes any text");
        out += "# A run slows down while others wait for the disk or the processor for more than this share of the time, to no\n\
                # less than a tenth of one thread's work: \"10%\"; \"off\" turns that off.\n";
        writeln!(out, "considerate = \"{}\"", self.considerate).expect("a string takes any text");
        out +=
            "# How many bytes of content a run reads a second at most, if there shall be a limit: \"50M\".\n";
        match self.bwlimit {
            Some(rate) => writeln!(out, "bwlimit = \"{rate}\"").expect("a string takes any text"),
            None => out += "#bwlimit = \"50M\"\n",
        }
        out += "# Which share of all files each run reads on both sides, to find what a disk has lost: \"1%\", or \"0%\" for none.\n";
        writeln!(out, "verify_share = \"{}\"", self.verify_share).expect("a string takes any text");
        out += "# How often the schedule boots the mirror in a virtual machine: \"weekly\", \"daily\" or \"monthly\". Install the schedule\n\
                # again when this has changed: diskmirror schedule install\n";
        match self.boot_test {
            Some(often) => writeln!(out, "boot_test = \"{often}\"").expect("a string takes any text"),
            None => out += "#boot_test = \"weekly\"\n",
        }
        if !self.volume_groups.is_empty() {
            out += "# The mirror's LVM volume groups.\n";
            writeln!(out, "volume_groups = [{}]", list(&self.volume_groups))
                .expect("a string takes any text");
        }
        out += "\n# The disk the server runs from.\n[mirror.primary]\n";
        out += &self.primary.to_toml();
        out += match self.reversed {
            true => "\n# The disk it ran from before.\n[mirror.disk]\n",
            false => {
                "\n# The mirror: all that stands here must agree with the disk, or nothing is written to it.\n[mirror.disk]\n"
            }
        };
        out += &self.disk.to_toml();
        for container in &self.containers {
            out += "\n# An encrypted part of the mirror.\n[[mirror.container]]\n";
            out += &container.to_toml();
        }
        out += "\n# The file systems, root first: where the primary mounts them, and the UUIDs of both.\n";
        for volume in &self.volumes {
            let Volume { mount, kind, primary_uuid, mirror_uuid } = volume;
            let (mount, kind) = (quoted(mount), kind.name());
            let (primary, mirror) = (quoted(primary_uuid), quoted(mirror_uuid));
            write!(
                out,
                "[[mirror.volume]]\nmount = {mount}\nkind = \"{kind}\"\nprimary_uuid = {primary}\nmirror_uuid = {mirror}\n\n"
            )
            .expect("a string takes any text");
        }
        out.truncate(out.trim_end().len());
        out + "\n"
    }
}

impl DiskId {
    fn to_toml(&self) -> String {
        let fields = [
            ("model", self.model.as_deref()),
            ("serial", self.serial.as_deref()),
            ("wwn", self.wwn.as_deref()),
            ("table_id", Some(self.table_id.as_str())),
            ("path", self.path.as_deref()),
        ];
        let set = fields
            .iter()
            .filter_map(|(key, value)| value.map(|value| format!("{key} = {}\n", quoted(value))));
        set.collect()
    }
}

impl Container {
    fn to_toml(&self) -> String {
        let unlock = match &self.unlock {
            Unlock::KeyFile(path) => {
                format!("unlock = \"keyfile\"\nkey_file = {}\n", quoted(&path.to_string_lossy()))
            }
            Unlock::Crypttab => "unlock = \"crypttab\"\n".to_owned(),
        };
        let (uuid, mapper) = (quoted(&self.luks_uuid), quoted(&self.mapper));
        format!(
            "luks_uuid = {uuid}\nmapper = {mapper}\n{unlock}# Discards show from outside which blocks are in use.\ndiscard = {}\n",
            self.discard
        )
    }
}

/// A TOML string. What stands for a byte that is no UTF-8 (the last 256 characters there are) is written by its number: as
/// itself it would become that byte in the file, which is UTF-8.
fn quoted(text: &str) -> String {
    let is_stand_in = |c: char| c >= '\u{10ff00}';
    if !text.contains(is_stand_in) {
        return toml::Value::from(text).to_string();
    }
    let one = |c: char| match c {
        '"' | '\\' => format!("\\{c}"),
        c if is_stand_in(c) || c.is_control() => format!("\\U{:08x}", u32::from(c)),
        c => c.to_string(),
    };
    format!("\"{}\"", text.chars().map(one).collect::<String>())
}

const REVERSED: &str = "\
# This is the copy on the mirror itself: a system that reads it runs from what was the mirror, and has none of its own yet.
# `diskmirror init --mirror DISK` makes one, and writes this file anew.
reversed = true
";

const HEAD: &str = "\
# diskmirror: which disk mirrors which, and what lies on them. Written by `diskmirror init`.
# Only root may write this file. A mistake in it stops every run, with a caret at the place.

# Run history and catalogs; lock and mount points; the log.
";
