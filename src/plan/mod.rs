//! What `init` will do: two layouts, the options and new identifiers in; a list of steps or a refusal out.
//!
//! Pure: nothing is read, drawn or written here, so what is printed is what would be done, and a test can hold any
//! disk. Everything is decided here: nothing is decided while steps are applied.

mod build;
mod digest;
mod elastic;
mod fit;
mod geometry;
mod leave_out;
mod not_mirrored;
mod refuse;
mod words;

use crate::identity::FreshIds;
use crate::layout::{FsKind, NotMirrored, Survey};
use crate::refusal::Refusal;
use crate::step::{Filling, Step};
use crate::units::Bytes;
use serde::Serialize;

/// What the administrator asked for.
#[derive(Debug, Clone, PartialEq, Serialize)]
pub struct Options {
    /// What to write where encrypted data will lie; none: as the disk's kind suggests.
    pub fill: FillChoice,
    /// How later runs open the mirror.
    pub unlock: Unlock,
    /// Whether /etc/fstab gets lines for the mirror's file systems.
    pub fstab: bool,
    /// The volume group's name; none: `mirror`, or the first free name after it.
    pub vg: Option<String>,
    /// Whether the encryption is left out.
    pub plaintext: bool,
    /// Parts of the primary's disk that the mirror shall not have.
    #[serde(skip_serializing_if = "Vec::is_empty")]
    pub leave_out: Vec<String>,
    /// Those of them that an earlier mirror had not: they may be gone by now.
    #[serde(skip)]
    pub left_out_before: Vec<String>,
    /// Volume groups that an interrupted `init` left: they do not count as in use, nor as taken names.
    #[serde(skip)]
    pub unfinished_groups: Vec<String>,
    /// The directory of key files, as the running system sees it.
    pub key_dir: String,
    /// The key slot whose cost the mirror's slots get: the one that the passphrase opened, if that is known yet.
    #[serde(skip)]
    pub keyslot: Option<u32>,
}

/// What to write where encrypted data will lie.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize)]
#[serde(rename_all = "snake_case")]
pub enum FillChoice {
    /// Random on rotating disks, nothing on SSDs.
    Default,
    /// This.
    With(Filling),
    /// Nothing.
    Nothing,
}

/// How later runs open the mirror.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize)]
#[serde(rename_all = "snake_case")]
pub enum Unlock {
    /// With a key file on the encrypted primary.
    Keyfile,
    /// Somebody opens it by its line in /etc/crypttab.
    Crypttab,
}

/// What will be done, and what the mirror will be.
#[derive(Debug, Clone, PartialEq, Serialize)]
pub struct Plan {
    /// Names this plan: covers both layouts and the options, not the new identifiers.
    pub digest: String,
    /// The primary, as messages name it.
    pub primary: String,
    /// The mirror, as messages name it.
    pub mirror: String,
    /// The mirror's node.
    pub disk: String,
    /// What confirms that it may be erased.
    pub confirmation: String,
    /// What is on it now and will be gone, a line each; empty if nothing is.
    pub erased: Vec<String>,
    /// What becomes of each piece of the primary.
    pub pieces: Vec<Piece>,
    /// What of the server the mirror will not have.
    pub not_mirrored: Vec<NotMirrored>,
    /// What names the parts of the primary's disk that were left out on request.
    pub left_out: Vec<String>,
    /// What the administrator should know, a line each.
    pub notes: Vec<String>,
    /// The steps, in order.
    pub steps: Vec<Step>,
    /// What takes the mirror offline again, after the first marks were written.
    pub closing: Vec<Step>,
    /// The identifier of the mirror's new table.
    pub table_id: String,
    /// The encrypted containers it will have.
    pub containers: Vec<NewContainer>,
    /// The volume groups it will have.
    pub volume_groups: Vec<String>,
    /// The file systems it will have.
    pub volumes: Vec<NewVolume>,
    /// How many bytes are filled before encryption.
    pub filled: Bytes,
    /// Whether a passphrase is needed, and the primary's container that it is tested against.
    pub passphrase_for: Option<String>,
}

/// One piece of the primary and what becomes of it.
#[derive(Debug, Clone, PartialEq, Serialize)]
pub struct Piece {
    /// How deep it lies: 0 for a partition.
    pub depth: usize,
    /// Its node on the primary.
    pub from: String,
    /// Its node on the mirror.
    pub to: String,
    /// What it is: `ext4 /boot`, `LUKS2`, `swap`.
    pub what: String,
    /// Its size on the primary.
    pub size: Bytes,
    /// Its size on the mirror.
    pub new_size: Bytes,
}

/// An encrypted container that the mirror will have.
#[derive(Debug, Clone, PartialEq, Serialize)]
pub struct NewContainer {
    /// Its UUID.
    pub luks_uuid: String,
    /// The mapper name it is opened under.
    pub mapper: String,
    /// Its key file, as the running system sees it; none where somebody opens it by crypttab.
    pub key_file: Option<String>,
    /// Whether discards pass through it.
    pub discard: bool,
}

/// A file system that the mirror will have.
#[derive(Debug, Clone, PartialEq, Serialize)]
pub struct NewVolume {
    /// Where its files belong in the primary's tree.
    pub mount: String,
    /// Its kind.
    pub kind: FsKind,
    /// The node of the mirror's, while the mirror is open.
    pub device: String,
    /// The primary's UUID.
    pub primary_uuid: String,
    /// The mirror's UUID.
    pub mirror_uuid: String,
}

/// Plans the mirror.
///
/// # Errors
/// A `Refusal` that names every reason at once; nothing was written, for nothing can be from here.
pub fn plan(survey: &Survey, options: &Options, ids: &mut FreshIds) -> Result<Plan, Refusal> {
    let (survey, parts) = leave_out::leave_out(survey, options)?;
    refuse::unfit(&survey, options)?;
    let mut plan = build::build(&survey, options, ids)?;
    plan.left_out = parts.iter().map(|part| part.name.clone()).collect();
    plan.not_mirrored = leave_out::as_not_mirrored(&parts).chain(plan.not_mirrored).collect();
    Ok(plan)
}

/// The default name of a mirror's volume group, and what its mapper names begin with.
pub const MIRROR_NAME: &str = "mirror";
