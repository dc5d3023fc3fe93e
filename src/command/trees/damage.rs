//! What verifications and runs have found damaged, and which share of the files comes next: a file of each mirror in the
//! state directory, replaced whole.

use crate::cli::Accept;
use crate::config::Mirror;
use crate::escape;
use crate::sys::stat::Timestamp;
use crate::sys::{private, read};
use crate::tree::{Damage, Held, Hold, RelPath, Sample};
use crate::units::Share;
use anyhow::{Context, Result};
use serde::{Deserialize, Serialize};
use std::collections::{BTreeMap, BTreeSet};
use std::io;
use std::path::{Path, PathBuf};

/// The version of the file's form.
const FORMAT: u32 = 1;
const DIRECTORY: &str = "damage";
/// Digits of the digest that lets one damaged file through.
const DIGEST: usize = 12;

/// A file of the primary whose content changed although nobody wrote to it: the mirror keeps the good copy.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct HeldFile {
    /// Where the primary mounts its file system.
    pub mount: String,
    /// Its path below that, escaped.
    pub path: String,
    /// Its inode.
    pub ino: u64,
    /// Its ctime: seconds, nanoseconds.
    pub ctime: (i64, u32),
    /// BLAKE3 of what it holds now, and of what it held when it was copied, in hexadecimal digits.
    pub bad: String,
    /// See `bad`.
    pub good: String,
    /// Whether it was found to be good again since: the next run looks.
    #[serde(default)]
    pub is_doubtful: bool,
    /// When it was found, in seconds since 1970.
    pub found_at: i64,
}

/// An entry of the mirror that was found damaged, to be mended by the next run.
#[derive(Debug, Clone, PartialEq, Eq, PartialOrd, Ord, Serialize, Deserialize)]
pub struct Repair {
    /// Where the primary mounts its file system.
    pub mount: String,
    /// Its path below that, escaped.
    pub path: String,
}

/// The file.
#[derive(Debug, Clone, Serialize, Deserialize)]
pub struct DamageFile {
    format: u32,
    /// What is held.
    #[serde(default)]
    pub held: Vec<HeldFile>,
    /// What is to be mended.
    #[serde(default)]
    pub repairs: Vec<Repair>,
    /// For each who takes shares: into how many parts all files are divided, and which is next.
    #[serde(default)]
    next: BTreeMap<String, (u64, u64)>,
    #[serde(skip)]
    path: PathBuf,
    #[serde(skip)]
    is_changed: bool,
    #[serde(skip)]
    is_unknown: bool,
}

impl HeldFile {
    /// What stands for this damage of this file.
    pub fn digest(&self) -> String {
        let text = format!("{}\0{}\0{}", self.mount, self.path, self.bad);
        blake3::hash(text.as_bytes()).to_hex()[..DIGEST].to_owned()
    }
    /// What happened to it, and what to do, for a record.
    pub fn words(&self) -> String {
        format!(
            "{}: DAMAGED ON THE PRIMARY: its content changed and no write to it shows (its disk, or its owner, exchanging it); the mirror keeps the good copy: \
             look at the primary's disk, restore the file from the mirror, or, if it is meant: diskmirror run --accept {}",
            self.title(),
            self.digest()
        )
    }
    /// Its path on the primary.
    pub fn title(&self) -> String {
        format!("{}/{}", self.mount.trim_end_matches('/'), self.path)
    }
    fn hold(&self, accept: &[Accept]) -> Option<(RelPath, Hold)> {
        let (bad, good) = (from_hex(&self.bad)?, from_hex(&self.good)?);
        let ctime = Timestamp { secs: self.ctime.0, nanos: self.ctime.1 };
        let digest = self.digest();
        let accepted = accept.iter().flat_map(Accept::codes).any(|code| code == digest);
        Some((
            RelPath::from_escaped(&self.path)?,
            Hold { ino: self.ino, ctime, bad, good, is_doubtful: self.is_doubtful, accepted },
        ))
    }
    fn new(mount: &str, path: &RelPath, hold: &Hold, found_at: i64) -> Self {
        HeldFile {
            mount: mount.to_owned(),
            path: escape::bytes(&path.to_bytes()),
            ino: hold.ino,
            ctime: (hold.ctime.secs, hold.ctime.nanos),
            bad: blake3::Hash::from(hold.bad).to_hex().to_string(),
            good: blake3::Hash::from(hold.good).to_hex().to_string(),
            is_doubtful: hold.is_doubtful,
            found_at,
        }
    }
}

fn from_hex(text: &str) -> Option<[u8; 32]> {
    Some(*blake3::Hash::from_hex(text).ok()?.as_bytes())
}

impl DamageFile {
    /// Reads what is known of `mirror`; nothing, if there is no file.
    ///
    /// # Errors
    /// The system's, and a file that cannot be understood: what it held must not be forgotten.
    pub fn read(state_dir: &Path, mirror: &Mirror) -> Result<DamageFile> {
        let empty = DamageFile::empty(state_dir, mirror);
        let text = match read::file(&empty.path, read::TEXT_BYTES) {
            Err(error) if error.kind() == io::ErrorKind::NotFound => return Ok(empty),
            read => read.with_context(|| format!("cannot read {}", empty.path.display()))?,
        };
        let found: DamageFile = serde_json::from_slice(&text).with_context(|| {
            format!(
                "{} is damaged: it names what must not reach the mirror; remove it if nothing is held",
                empty.path.display()
            )
        })?;
        anyhow::ensure!(found.format == FORMAT, "{} was written by another version", empty.path.display());
        Ok(DamageFile { path: empty.path, ..found })
    }

    /// What stands in for a file that cannot be read: nothing is known, and the file stays as it is for whoever mends it.
    pub fn unknown(state_dir: &Path, mirror: &Mirror) -> DamageFile {
        DamageFile { is_unknown: true, ..DamageFile::empty(state_dir, mirror) }
    }

    fn empty(state_dir: &Path, mirror: &Mirror) -> DamageFile {
        DamageFile {
            format: FORMAT,
            held: Vec::new(),
            repairs: Vec::new(),
            next: BTreeMap::new(),
            path: state_dir.join(DIRECTORY).join(format!("{}.json", mirror.name)),
            is_changed: false,
            is_unknown: false,
        }
    }

    /// The files that are held on one file system; those are let through whose digests are among what was accepted.
    pub fn held_on(&self, mount: &str, accept: &[Accept]) -> Held {
        let here = self.held.iter().filter(|held| held.mount == mount);
        Held::new(here.filter_map(|held| held.hold(accept)))
    }

    /// Takes over what is held on one file system by now.
    pub fn take_over(&mut self, mount: &str, held: &Held, now: i64) {
        let known = |path: &str| self.held.iter().find(|known| known.mount == mount && known.path == path);
        let one = |(path, hold): (RelPath, Hold)| {
            let new = HeldFile::new(mount, &path, &hold, now);
            match known(&new.path) {
                Some(known) => HeldFile { found_at: known.found_at, ..new },
                None => new,
            }
        };
        let now_held: Vec<HeldFile> = held.holds().into_iter().map(one).collect();
        let before: Vec<HeldFile> = self.held.iter().filter(|held| held.mount == mount).cloned().collect();
        if now_held != before {
            self.held.retain(|held| held.mount != mount);
            self.held.extend(now_held);
            self.is_changed = true;
        }
    }

    /// Holds a file from now on. Gives back the digest that lets it through.
    pub fn hold(held: &Held, mount: &str, path: &RelPath, damage: &Damage) -> String {
        let Damage { ino, ctime, bad, good } = *damage;
        let hold = Hold { ino, ctime, bad, good, is_doubtful: false, accepted: false };
        held.put(path.clone(), hold);
        HeldFile::new(mount, path, &hold, 0).digest()
    }

    /// Notes an entry that the next run is to mend.
    pub fn to_repair(&mut self, mount: &str, path: &RelPath) {
        let repair = Repair { mount: mount.to_owned(), path: escape::bytes(&path.to_bytes()) };
        if !self.repairs.contains(&repair) {
            self.repairs.push(repair);
            self.is_changed = true;
        }
    }

    /// What is to be mended on one file system.
    pub fn to_be_repaired(&self, mount: &str) -> BTreeSet<RelPath> {
        let here = self.repairs.iter().filter(|repair| repair.mount == mount);
        here.filter_map(|repair| RelPath::from_escaped(&repair.path)).collect()
    }

    /// Takes out what was `to_mend` on one file system, but for what is among `failed`. Gives back how many there were.
    pub fn repaired(&mut self, mount: &str, to_mend: &BTreeSet<RelPath>, failed: &[&RelPath]) -> u64 {
        let mended = to_mend.iter().filter(|path| !failed.contains(path));
        let mended: BTreeSet<String> = mended.map(|path| escape::bytes(&path.to_bytes())).collect();
        let before = self.repairs.len();
        self.repairs.retain(|repair| repair.mount != mount || !mended.contains(&repair.path));
        let repaired = before - self.repairs.len();
        self.is_changed |= repaired > 0;
        repaired as u64
    }

    /// The part of all files that `who` reads next, and then the next but one.
    pub fn next_share(&mut self, who: &str, share: Share) -> Option<Sample> {
        let slots = share.parts()?;
        let next = self.next.get(who).filter(|(parts, _)| *parts == slots).map_or(0, |(_, next)| *next);
        self.next.insert(who.to_owned(), (slots, (next + 1) % slots));
        self.is_changed = true;
        Some(Sample { slots, slot: next })
    }

    /// Writes what has changed: whole or not at all, and on the disk when this returns.
    ///
    /// # Errors
    /// The system's.
    pub fn write(&mut self) -> Result<()> {
        if !self.is_changed || self.is_unknown {
            return Ok(());
        }
        let write = || private::replace(&self.path, &serde_json::to_vec_pretty(self)?);
        write().with_context(|| format!("cannot write {}", self.path.display()))?;
        self.is_changed = false;
        Ok(())
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn several_damaged_files_are_let_through_at_once_and_no_other() {
        let ctime = Timestamp { secs: 1, nanos: 0 };
        let hold = Hold { ino: 1, ctime, bad: [1; 32], good: [2; 32], is_doubtful: false, accepted: false };
        let held = ["a", "b", "c"].map(|path| HeldFile::new("/", &RelPath::from_bytes(path), &hold, 0));
        let [one, other, _] = held.clone().map(|file| file.digest());
        let accepted = |given: &[String]| {
            let accept: Vec<Accept> = given.iter().map(|text| text.parse().expect("a code")).collect();
            held.clone().map(|file| file.hold(&accept).expect("whole").1.accepted)
        };
        assert_eq!(accepted(&[one.clone(), other.clone()]), [true, true, false]);
        assert_eq!(accepted(&[format!("{one}_{other}")]), [true, true, false]);
        assert_eq!(accepted(&["/a".into()]), [false; 3]);
    }
}
