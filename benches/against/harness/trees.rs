//! The trees: how large each is, and how it comes to be.

use super::from_machine::Sample;
use super::generate::{Many, change_large_file, large_file};
use super::rows::Tree;
use super::settings::Settings;
use super::volume::Volume;
use anyhow::{Context, bail};
use std::path::Path;

const MIB: u64 = 1 << 20;
/// The device that is filled.
pub const DEVICE_MIB: u64 = 4096;

/// How a tree is made.
#[derive(Debug)]
pub enum Recipe {
    /// From the machine.
    Machine(Sample),
    /// Many entries.
    Many(Many),
    /// Large files: name, length, bytes of data.
    Large(Vec<(&'static str, u64, u64)>),
}

impl Recipe {
    /// Of `tree`, at the scale that is set.
    pub fn of(tree: Tree, settings: &Settings) -> anyhow::Result<Recipe> {
        let many = |entries, dirs, content, link_once_in, special_once_in| {
            let (entries, dirs) = (settings.scaled(entries).max(10), settings.scaled(dirs).max(2));
            Recipe::Many(Many { entries, dirs, content, link_once_in, special_once_in })
        };
        let large = |mib: u64| settings.scaled(mib) * MIB;
        Ok(match tree {
            Tree::T1 => Recipe::Machine(Sample::choose(settings)?),
            Tree::T2 => many(1_041_224, 20_205, true, 100, 100),
            Tree::T3 => Recipe::Large(vec![
                ("four-gib", large(4096), large(4096)),
                ("one-gib", large(1024), large(1024)),
                ("half-gib", large(512), large(512)),
                ("sparse", large(4096), large(512)),
            ]),
            Tree::T4 => many(3_000_000, 60_000, false, 1000, 0),
            Tree::T5 => many(1_000_000, 20_000, false, 2, 0),
            Tree::Device => bail!("a device is no tree"),
        })
    }
    /// About how many bytes a copy takes, at most, and how many inodes.
    fn room(&self) -> (u64, u64) {
        let (bytes, entries) = match self {
            Recipe::Machine(sample) => (sample.bytes, sample.entries * 2),
            // Half a block is lost by each file.
            Recipe::Many(many) if many.content => (many.entries * 6700 + many.dirs * 4096, many.entries),
            Recipe::Many(many) => (many.entries * 64 + many.dirs * 8192, many.entries),
            // And once more the largest one, for whoever makes a changed file anew.
            Recipe::Large(files) => {
                let data = || files.iter().map(|(_, _, data)| *data);
                (data().sum::<u64>() + data().max().unwrap_or(0), 1000)
            }
        };
        (bytes + entries * 256, entries + entries / 8 + 10_000)
    }
    /// A file system of this name that a copy fits into.
    pub fn volume(&self, scratch: &Path, name: &str) -> anyhow::Result<Volume> {
        let (bytes, inodes) = self.room();
        // ext4 has no more inodes than blocks.
        let bytes = (bytes + bytes / 4 + 256 * MIB).max(inodes * 4096 * 9 / 8);
        Volume::new(scratch, name, bytes, inodes)
    }
    /// Refuses, before anything is written, what would not fit below `dir`.
    pub fn refuse_without_room(&self, dir: &Path, copies: u64) -> anyhow::Result<()> {
        let free = rustix::fs::statvfs(dir).with_context(|| format!("looking at {}", dir.display()))?;
        let (free, needed) = (free.f_bavail * free.f_frsize, self.room().0 * copies);
        if needed > free {
            let (needed, free) = (needed / MIB, free / MIB);
            bail!("{} has {free} MiB free, {needed} are needed: set BENCH_DIR or BENCH_SCALE", dir.display());
        }
        Ok(())
    }
    /// Makes the tree.
    pub fn plant(&self, on: &Volume) -> anyhow::Result<()> {
        match self {
            Recipe::Machine(sample) => sample.copy(on),
            Recipe::Many(many) => many.plant(on.path()),
            Recipe::Large(files) => files
                .iter()
                .try_for_each(|(name, length, data)| large_file(&on.path().join(name), *length, *data)),
        }
    }
    /// Changes one small file in a thousand, or a block of the first large one; which, depends on `round`.
    pub fn change(&self, on: &Volume, round: u64) -> anyhow::Result<()> {
        match self {
            Recipe::Many(many) => many.change(on.path(), round).map(drop),
            Recipe::Large(files) => {
                let (name, length, _) = files[0];
                change_large_file(&on.path().join(name), length, round)
            }
            Recipe::Machine(_) => bail!("what is copied from the machine is not changed"),
        }
    }
}
