//! Builds the steps, from the table inwards: each layer makes itself and then what it holds.

mod volumes;

use super::digest::digest;
use super::elastic::elastic;
use super::geometry::{Geometry, Place, geometry, needed};
use super::not_mirrored::not_mirrored;
use super::words::{erased, shrunk, what};
use super::{FillChoice, MIRROR_NAME, NewContainer, NewVolume, Options, Piece, Plan, Unlock, refuse};
use crate::identity::{FreshIds, distinct_label, fat_uuid};
use crate::layer::{filesystem, luks, partition_table, swap};
use crate::layout::{Content, Filesystem, FsKind, Luks, Partition, Pbkdf, Survey, Swap, Table, TableKind};
use crate::refusal::Refusal;
use crate::step::{Action, Check, FileText, Filling, Invocation, Step};
use crate::units::{Bytes, MIB};
use volumes::Waiting;

/// A key file's length in bytes: 512 random bits are as many as any volume key has.
const KEY_BYTES: usize = 64;
/// Bytes in the name of a GPT partition: 36 UTF-16 units; bytes are what is certain to fit (UEFI 2.10, 5.3.3).
const PARTITION_NAME_BYTES: usize = 36;

struct Builder<'a> {
    survey: &'a Survey,
    options: &'a Options,
    ids: &'a mut FreshIds,
    vg_names: Vec<String>,
    waiting: Vec<Waiting>,
    labels: Vec<String>,
    partition: u32,
    depth: usize,
    sector: u32,
    plan: Plan,
}

/// Builds the plan of a mirror that `refuse` has nothing against.
///
/// # Errors
/// A `Refusal` where the mirror is too small.
pub fn build(survey: &Survey, options: &Options, ids: &mut FreshIds) -> Result<Plan, Refusal> {
    let table = survey.primary.table().expect("a primary without a table is refused before");
    let places = place(survey, table)?;
    let mut builder = Builder::new(survey, options, ids);
    builder.erase();
    builder.partition(table, &places);
    builder.boot_block(table);
    for (partition, place) in table.partitions.iter().zip(&places.places) {
        builder.partition = partition.number;
        let node = survey.mirror.disk.partition_path(partition.number);
        builder.piece(&partition.path, &node, what(&partition.content), partition.size, place.size);
        builder.content(&partition.content, &node, place.size)?;
    }
    builder.remark(&places);
    Ok(builder.plan)
}

/// Lays out the partitions, and refuses what would not hold what is used.
fn place(survey: &Survey, table: &Table) -> Result<Geometry, Refusal> {
    let (primary, mirror) = (&survey.primary.disk, &survey.mirror.disk);
    geometry(table, &elastic(table), primary, mirror).map_err(|e| too_small(survey, table, e.missing))
}

fn too_small(survey: &Survey, table: &Table, missing: Bytes) -> Refusal {
    let disk = &survey.mirror.disk;
    let missing = missing.round_up(MIB);
    refuse::refusal(survey, &format!("too small by {missing}"))
        .why(format!(
            "it has {}; what the primary's files use, with 15 % to spare, needs {}",
            disk.size,
            disk.size + missing
        ))
        .why(format!("everything at its present size needs {}", needed(table)))
        .remedy(format!("use a disk of {} or more, or free space on the primary", disk.size + missing))
}

impl<'a> Builder<'a> {
    fn new(survey: &'a Survey, options: &'a Options, ids: &'a mut FreshIds) -> Self {
        let disk = &survey.mirror.disk;
        let plan = Plan {
            digest: digest(survey, options),
            primary: survey.primary.disk.title(),
            mirror: disk.title(),
            disk: disk.path.clone(),
            confirmation: disk.confirmation().to_owned(),
            erased: erased(&survey.mirror),
            pieces: Vec::new(),
            not_mirrored: not_mirrored(survey),
            left_out: Vec::new(),
            notes: Vec::new(),
            steps: Vec::new(),
            closing: Vec::new(),
            table_id: String::new(),
            containers: Vec::new(),
            volume_groups: Vec::new(),
            volumes: Vec::new(),
            filled: Bytes(0),
            passphrase_for: None,
        };
        let left = &options.unfinished_groups;
        let vg_names = survey.around.volume_groups.iter().filter(|vg| !left.contains(vg)).cloned().collect();
        let labels = survey.around.labels.clone();
        Builder {
            survey,
            options,
            ids,
            vg_names,
            waiting: Vec::new(),
            labels,
            partition: 0,
            depth: 0,
            sector: disk.logical_sector,
            plan,
        }
    }

    fn run(&mut self, title: impl Into<String>, invocation: Invocation, checks: Vec<Check>) {
        self.plan.steps.push(Step { title: title.into(), action: Action::Run(invocation), checks });
    }

    fn close(&mut self, title: impl Into<String>, invocation: Invocation) {
        self.plan
            .closing
            .insert(0, Step { title: title.into(), action: Action::Run(invocation), checks: vec![] });
    }

    fn note(&mut self, text: impl Into<String>) {
        self.plan.notes.push(text.into());
    }

    fn piece(&mut self, from: &str, to: &str, what: String, size: Bytes, new_size: Bytes) {
        let (from, to) = (from.to_owned(), to.to_owned());
        self.plan.pieces.push(Piece { depth: self.depth, from, to, what, size, new_size });
    }

    fn distinct(&mut self, label: &str, max_bytes: usize) -> String {
        let label = distinct_label(label, max_bytes, &self.labels);
        self.labels.push(label.clone());
        label
    }

    /// Old signatures go first: what the kernel or LVM still recognised would be picked up as it appears.
    fn erase(&mut self) {
        let disk = &self.survey.mirror.disk.path;
        if self.survey.mirror.content == Content::Empty {
            return;
        }
        // A table may be newer than what the kernel knows of it: an init was killed between the two.
        // An extended partition may have no node, and has no signature but the table's.
        let has_node = |p: &&Partition| match &p.content {
            Content::Extended => false,
            Content::Unsupported(thing) => !thing.no_node,
            _ => true,
        };
        let partitions = self.survey.mirror.table().into_iter().flat_map(|t| &t.partitions);
        let partitions = partitions.filter(has_node).map(|p| p.path.clone());
        let nodes: Vec<String> = partitions.chain([disk.clone()]).collect();
        let wipe = Invocation::new(
            "wipefs",
            ["--all".to_owned(), "--force".into(), "--quiet".into()].into_iter().chain(nodes),
        );
        self.run(format!("erase the old signatures of {disk}"), wipe, vec![]);
        let forget = partition_table::forget(disk);
        self.run(format!("let the kernel forget the old partitions of {disk}"), forget, vec![]);
    }

    fn partition(&mut self, table: &Table, places: &Geometry) {
        let disk = self.survey.mirror.disk.clone();
        let (label, id) = match table.kind {
            TableKind::Dos => ("dos", self.ids.disk_signature()),
            TableKind::Gpt => ("gpt", self.ids.guid()),
        };
        let new: Vec<_> = table
            .partitions
            .iter()
            .zip(&places.places)
            .map(|(p, place)| self.new_partition(p, place))
            .collect();
        let partitions = new.iter().map(|p| (p.number, p.start.0, p.size.0)).collect();
        let last = new.iter().map(|p| p.number).max().unwrap_or(1);
        let write = partition_table::write(&disk.path, label, &id, disk.logical_sector, &new);
        let names = partition_table::name_partitions(&disk.path, &new);
        let check = Check::Table { disk: disk.path.clone(), partitions };
        let title =
            format!("partition {} as the primary ({} partitions, new identifiers)", disk.path, new.len());
        self.run(title, write, vec![]);
        for name in names {
            self.run(format!("name a partition of {}", disk.path), name, vec![]);
        }
        self.run(
            format!("let the kernel see the partitions of {}", disk.path),
            partition_table::announce(&disk.path, last),
            vec![check],
        );
        self.plan.table_id = id;
    }

    fn new_partition(&mut self, old: &Partition, place: &Place) -> partition_table::NewPartition {
        partition_table::NewPartition {
            number: old.number,
            start: place.start,
            size: place.size,
            type_id: old.type_id.clone(),
            uuid: old.uuid.as_ref().map(|_| self.ids.guid()),
            name: old.name.as_ref().map(|name| self.distinct(name, PARTITION_NAME_BYTES)),
            attributes: old.attributes.clone(),
            bootable: old.bootable,
        }
    }

    /// The procedure's first step, done after the second so that one way of it is enough.
    fn boot_block(&mut self, table: &Table) {
        let (from, to) = (&self.survey.primary.disk, &self.survey.mirror.disk);
        if from.logical_sector != to.logical_sector {
            self.note("boot code is not copied: it holds sector numbers, and the mirror's sectors have another size");
            return;
        }
        let first = table.partitions.iter().map(|p| p.start.0).min().unwrap_or(512);
        let gap = if table.kind == TableKind::Dos { first.saturating_sub(512).min(MIB) } else { 0 };
        let (from, to) = (from.path.clone(), to.path.clone());
        let title = format!("copy the boot code of {from} to {to}, keeping its table and signature");
        self.plan.steps.push(Step { title, action: Action::BootBlock { from, to, gap }, checks: vec![] });
    }

    /// Makes what the primary holds here on the mirror's `node`, `size` long.
    fn content(&mut self, content: &Content, node: &str, size: Bytes) -> Result<(), Refusal> {
        self.depth += 1;
        match content {
            Content::Luks(luks) if self.options.plaintext => {
                self.note(format!("{node} will NOT be encrypted, though {} is", luks.path));
                self.content(&luks.content, node, size)?;
            }
            Content::Luks(luks) => self.luks(luks, node, size)?,
            Content::PhysicalVolume(pv) => self.physical_volume(&pv.group, pv.data_offset, node, size),
            Content::Volumes(vg) => {
                self.physical_volume(&vg.name, vg.data_offset, node, size);
                self.volumes(vg)?;
            }
            Content::Filesystem(fs) => self.filesystem(fs, node),
            Content::Swap(swap) => self.swap(swap, node),
            Content::RandomSwap(swap) => swap.label.iter().for_each(|label| self.label_of_swap(label, node)),
            Content::Empty | Content::BiosBoot | Content::Extended | Content::LeftOut(_) => {}
            Content::Table(_) | Content::Unsupported(_) => unreachable!("refused before"),
        }
        self.depth -= 1;
        Ok(())
    }

    fn luks(&mut self, like: &Luks, node: &str, size: Bytes) -> Result<(), Refusal> {
        self.fill(node, size, like.discard);
        let uuid = self.ids.uuid();
        let mapper = self.free_mapper();
        let key_file = match self.options.unlock {
            Unlock::Keyfile => Some(format!("{}/{uuid}.key", self.options.key_dir)),
            Unlock::Crypttab => None,
        };
        let pbkdf = self.cost(like);
        let sector = if like.version >= 2 {
            like.sector_size.max(self.survey.mirror.disk.logical_sector)
        } else {
            512
        };
        let label = like.label.as_ref().map(|label| self.distinct(label, 47));
        let made = Check::Signature { device: node.into(), kind: "crypto_LUKS".into(), uuid: uuid.clone() };
        self.run(
            format!("encrypt {node} (LUKS{}, {}, the primary's passphrase)", like.version, like.cipher),
            luks::format(node, &uuid, like, &pbkdf, label.as_deref(), sector),
            vec![made],
        );
        if let Some(path) = &key_file {
            let action = Action::Write {
                path: path.into(),
                mode: 0o400,
                text: FileText::RandomKey { bytes: KEY_BYTES },
            };
            self.plan.steps.push(Step {
                title: format!("write a random key file for {node}"),
                action,
                checks: vec![],
            });
            let add = luks::add_key(node, path, like.version, &pbkdf);
            self.run(format!("let the key file open {node} too"), add, vec![]);
        }
        let open = Check::Open { mapper: mapper.clone(), device: node.into() };
        let invocation = luks::open(node, &mapper, key_file.as_deref(), like.discard);
        self.run(format!("open {node} as {mapper}"), invocation, vec![open]);
        if key_file.is_some() {
            self.close(format!("close {mapper}"), luks::close(&mapper));
        } else {
            self.note(format!("{mapper} stays open until you close it; a run that finds it closed refuses"));
        }
        self.plan.passphrase_for.get_or_insert_with(|| like.path.clone());
        let discard = like.discard;
        let inner = size.saturating_sub(like.data_offset);
        self.piece_inside(&mapper, like, inner);
        let old_sector =
            std::mem::replace(&mut self.sector, sector.max(self.survey.mirror.disk.logical_sector));
        self.plan.containers.push(NewContainer {
            luks_uuid: uuid,
            mapper: mapper.clone(),
            key_file,
            discard,
        });
        self.content(&like.content, &format!("/dev/mapper/{mapper}"), inner)?;
        self.sector = old_sector;
        Ok(())
    }

    /// Lists what lies in a container without a volume group; a group lists its volumes itself.
    fn piece_inside(&mut self, mapper: &str, like: &Luks, inner: Bytes) {
        if like.content.group().is_some() || like.content == Content::Empty {
            return;
        }
        let from = like.mapper.as_deref().map_or(like.path.clone(), |m| format!("/dev/mapper/{m}"));
        let old = if let Content::Filesystem(fs) = &like.content { fs.size } else { inner };
        self.piece(&from, &format!("/dev/mapper/{mapper}"), what(&like.content), old, inner);
    }

    fn fill(&mut self, node: &str, size: Bytes, discard: bool) {
        let disk = &self.survey.mirror.disk;
        let with = match self.options.fill {
            FillChoice::With(with) => with,
            FillChoice::Nothing => return,
            FillChoice::Default if discard => {
                let text = format!(
                    "{node} is not filled first: discards pass through it, as on the primary, and undo it"
                );
                return self.note(text);
            }
            FillChoice::Default if disk.rotational => Filling::Random,
            FillChoice::Default => {
                let text = format!(
                    "{node} is not filled first, as {} is an SSD: whoever finds the disk may see which parts were ever \
                     written. --fill random hides that; it costs one full write of the disk's life, and the time",
                    disk.path
                );
                return self.note(text);
            }
        };
        if with != Filling::Discard {
            self.plan.filled = self.plan.filled + size;
        }
        let name = match with {
            Filling::Random => "random data",
            Filling::Zero => "zeros",
            Filling::Discard => "nothing (discard)",
        };
        let action = Action::Fill { device: node.into(), with, bytes: size.0 };
        self.plan.steps.push(Step {
            title: format!("fill {node} with {name} ({size})"),
            action,
            checks: vec![],
        });
    }

    /// The cost of the slot that the passphrase opened, or of the first.
    fn cost(&self, like: &Luks) -> Pbkdf {
        let opened = like.keyslots.iter().find(|slot| Some(slot.number) == self.options.keyslot);
        opened.or(like.keyslots.first()).expect("a container without slots is refused before").pbkdf.clone()
    }

    /// `mirror5_crypt`, as the procedure would have named it, or the first name after it that is free.
    fn free_mapper(&self) -> String {
        let base = self.options.vg.as_deref().unwrap_or(MIRROR_NAME);
        let name = format!("{base}{}_crypt", self.partition);
        let taken = |name: &String| {
            self.survey.around.mappers.contains(name)
                || self.plan.containers.iter().any(|c| c.mapper == *name)
        };
        std::iter::once(name.clone())
            .chain((2..).map(|n| format!("{name}_{n}")))
            .find(|name| !taken(name))
            .expect("there are more numbers than mappers")
    }

    fn filesystem(&mut self, like: &Filesystem, node: &str) {
        let uuid = if like.kind == FsKind::Vfat { self.ids.fat_serial() } else { self.ids.uuid() };
        let label = like.label.as_ref().map(|label| self.distinct(label, like.kind.label_bytes()));
        let new =
            filesystem::New { device: node, uuid: &uuid, label: label.as_deref(), sector_size: self.sector };
        let invocation = filesystem::make(like.kind, &like.parameters, new);
        let mirror_uuid = if like.kind == FsKind::Vfat { fat_uuid(&uuid) } else { uuid.clone() };
        let kind = like.kind.name();
        let made = Check::Signature { device: node.into(), kind: kind.into(), uuid: mirror_uuid.clone() };
        let Some(mount) = like.target().map(str::to_owned) else {
            return self.run(format!("make {kind} on {node}"), invocation, vec![made]);
        };
        self.run(format!("make {kind} on {node}, for {mount}"), invocation, vec![made]);
        let (primary_uuid, device) = (like.uuid.clone(), node.to_owned());
        self.plan.volumes.push(NewVolume { mount, kind: like.kind, device, primary_uuid, mirror_uuid });
    }

    /// Makes the small file system by whose label crypttab finds swap space with a random key: no larger than the primary's, for
    /// behind it the swap begins.
    fn label_of_swap(&mut self, like: &Filesystem, node: &str) {
        let uuid = self.ids.uuid();
        let label = like.label.as_ref().map(|label| self.distinct(label, like.kind.label_bytes()));
        let new =
            filesystem::New { device: node, uuid: &uuid, label: label.as_deref(), sector_size: self.sector };
        let invocation = filesystem::make_as_large(like.kind, &like.parameters, new);
        let made =
            Check::Signature { device: node.into(), kind: like.kind.name().into(), uuid: uuid.clone() };
        let title = format!("make a small {} on {node}, for its label: behind it is swap", like.kind.name());
        self.run(title, invocation, vec![made]);
    }

    fn swap(&mut self, like: &Swap, node: &str) {
        let uuid = self.ids.uuid();
        let label = like.label.as_ref().map(|label| self.distinct(label, 16));
        let made = Check::Signature { device: node.into(), kind: "swap".into(), uuid: uuid.clone() };
        self.run(format!("make swap space on {node}"), swap::make(node, &uuid, label.as_deref()), vec![made]);
    }

    /// Says what the sizes mean, and orders what was collected.
    fn remark(&mut self, places: &Geometry) {
        self.plan.volumes.sort_by(|a, b| a.mount.cmp(&b.mount));
        let changed: Vec<String> =
            self.plan.pieces.iter().filter(|p| p.new_size < p.size).map(shrunk).collect();
        self.plan.notes.extend(changed);
        if matches!(self.options.fill, FillChoice::With(_)) && self.plan.containers.is_empty() {
            self.note("nothing is filled: only what will be encrypted is, and here nothing will");
        }
        // Not the extended partition, which grows around it.
        let elastic = places.elastic.map(|number| self.survey.mirror.disk.partition_path(number));
        let grown = self.plan.pieces.iter().find(|p| Some(&p.to) == elastic.as_ref() && p.new_size > p.size);
        if let Some(p) = grown.cloned() {
            self.note(format!("{} grows from {} to {}: the mirror is larger", p.to, p.size, p.new_size));
        }
    }
}
