//! Where the work is done: a tree and its copies, or a device; and what must be true before each kind of work begins.

use super::rows::{Row, Tree, Work};
use super::server::{Server, in_group, remove_groups};
use super::settings::Settings;
use super::tools::{Copy, Names, Tool};
use super::trees::{DEVICE_MIB, Recipe};
use super::volume::{LoopDevice, Volume};
use super::{check, child};
use anyhow::{Context, bail};
use diskmirror::units::thousands;
use std::ffi::OsString;
use std::fs;
use std::path::{Path, PathBuf};

/// A tree with its copies, or a device.
pub struct Place<'a> {
    settings: &'a Settings,
    scratch: &'a Path,
    ground: Ground,
}

enum Ground {
    Tree(Box<Planted>),
    Device { device: LoopDevice, mib: u64 },
}

struct Planted {
    recipe: Recipe,
    source: Volume,
    ours: Volume,
    theirs: Volume,
    /// Made when it is needed.
    other: Option<Volume>,
    /// How often files have been changed.
    changes: u64,
    entries: u64,
    bytes: u64,
}

impl<'a> Place<'a> {
    /// Builds a tree and two empty file systems, or a device that has been written to once.
    pub fn build(tree: Tree, settings: &'a Settings, scratch: &'a Path) -> anyhow::Result<Self> {
        let ground = match tree {
            Tree::Device => device(settings, scratch)?,
            _ => Ground::Tree(Box::new(planted(tree, settings, scratch)?)),
        };
        let place = Place { settings, scratch, ground };
        if !place.is_direct() {
            println!("note: no direct I/O: the file system of {} has none", settings.dir.display());
        }
        Ok(place)
    }
    /// Entries and bytes in use; a device has only bytes.
    pub fn size(&self) -> (u64, u64) {
        match &self.ground {
            Ground::Tree(planted) => (planted.entries, planted.bytes),
            Ground::Device { mib, .. } => (0, mib << 20),
        }
    }
    /// The command line of `tool` here.
    pub fn argv(&self, tool: Tool) -> anyhow::Result<Vec<OsString>> {
        let catalog = self.catalog();
        let (source, target, mib) = match &self.ground {
            Ground::Tree(planted) => (planted.source.path(), planted.copy(tool)?.path(), 0),
            Ground::Device { device, mib } => (self.scratch, device.path(), *mib),
        };
        let (program, scratch) = (self.settings.program.as_path(), self.scratch);
        let bench = &std::env::current_exe()?;
        Ok(tool.argv(&Names { program, bench, source, target, catalog: &catalog, scratch, mib }))
    }
    /// Before the first round of `row`: the copies are made equal to the source, and where caches shall be warm, they
    /// are. A catalog takes two runs: the first looks at everything and writes it.
    pub fn settle(&mut self, row: &Row) -> anyhow::Result<()> {
        if row.work == Work::Verify {
            return [Tool::Rsync, Tool::SyncCatalog, Tool::SyncCatalog]
                .into_iter()
                .try_for_each(|tool| self.run(tool).map(drop));
        }
        if !matches!(row.work, Work::NoChange | Work::Changed) {
            return Ok(());
        }
        for tool in [row.against, row.ours, row.ours] {
            self.run(tool)?;
        }
        if row.work == Work::Changed {
            // What is known of the blocks of a file comes of its copy, and that was made by another row.
            self.begin_round(row)?;
            self.run(row.against)?;
            self.run(row.ours)?;
        }
        Ok(())
    }
    /// Before each round: files are changed where that is the work.
    pub fn begin_round(&mut self, row: &Row) -> anyhow::Result<()> {
        if let (Work::Changed, Ground::Tree(planted)) = (row.work, &mut self.ground) {
            planted.changes += 1;
            planted.recipe.change(&planted.source, planted.changes)?;
            planted.source.flush()?;
        }
        Ok(())
    }
    /// Before each run: a first copy goes to an empty file system.
    pub fn before(&mut self, row: &Row, tool: Tool) -> anyhow::Result<()> {
        let Ground::Tree(planted) = &mut self.ground else { return Ok(()) };
        if tool.copy() == Copy::Other && planted.other.is_none() {
            planted.other = Some(planted.recipe.volume(self.scratch, "other")?);
        }
        if matches!(row.work, Work::FirstCopy | Work::Beside(_)) {
            planted.copy_mut(tool)?.renew()?;
            // It tells of a copy that is no more.
            let _ = fs::remove_file(self.catalog());
        }
        Ok(())
    }
    /// Runs `tool` to the end of the flush.
    pub fn run(&self, tool: Tool) -> anyhow::Result<child::Cost> {
        child::run(&self.argv(tool)?, &self.scratch.join("log"), || self.flush(tool))
    }
    /// The same beside a server, in a control group of its own. Gives back within how many milliseconds 99 of 100 of the
    /// server's requests were done.
    pub fn run_beside(&self, tool: Tool, server: Server) -> anyhow::Result<(child::Cost, f64)> {
        let Ground::Tree(planted) = &self.ground else { bail!("a device serves nobody") };
        let at_work = server.start(planted.source.path(), self.scratch)?;
        let argv = in_group("copier", self.argv(tool)?);
        let cost = child::run(&argv, &self.scratch.join("log"), || self.flush(tool));
        let latency = at_work.end();
        remove_groups();
        Ok((cost?, latency?))
    }
    /// How the copy of `tool` differs from the source: not at all if there is nothing in it.
    ///
    /// # Errors
    /// rsync could not be run; a device has no copy.
    pub fn differences(&self, tool: Tool) -> anyhow::Result<Option<String>> {
        match &self.ground {
            Ground::Tree(planted) => check::differences(planted.source.path(), planted.copy(tool)?.path()),
            Ground::Device { .. } => bail!("a device is no copy"),
        }
    }
    /// Where everything lies that is neither the tree nor a copy.
    pub fn scratch(&self) -> &'a Path {
        self.scratch
    }
    /// After the last round: what only this row needed is given back.
    pub fn tidy(&mut self) {
        if let Ground::Tree(planted) = &mut self.ground {
            planted.other = None;
        }
    }
    /// Everything that was written is on the medium.
    pub fn flush_all(&self) -> anyhow::Result<()> {
        match &self.ground {
            Ground::Device { device, .. } => device.flush(),
            Ground::Tree(planted) => {
                let volumes = [&planted.source, &planted.ours, &planted.theirs];
                volumes.into_iter().chain(&planted.other).try_for_each(Volume::flush)
            }
        }
    }
    fn flush(&self, tool: Tool) -> anyhow::Result<()> {
        match &self.ground {
            Ground::Tree(planted) => planted.copy(tool)?.flush(),
            Ground::Device { device, .. } => device.flush(),
        }
    }
    fn catalog(&self) -> PathBuf {
        self.scratch.join("catalog")
    }
    fn is_direct(&self) -> bool {
        match &self.ground {
            Ground::Tree(planted) => planted.source.is_direct(),
            Ground::Device { device, .. } => device.direct,
        }
    }
}

impl Planted {
    fn copy(&self, tool: Tool) -> anyhow::Result<&Volume> {
        match tool.copy() {
            Copy::Ours => Ok(&self.ours),
            Copy::Theirs => Ok(&self.theirs),
            Copy::Other => self.other.as_ref().context("there is no third copy yet"),
        }
    }
    fn copy_mut(&mut self, tool: Tool) -> anyhow::Result<&mut Volume> {
        match tool.copy() {
            Copy::Ours => Ok(&mut self.ours),
            Copy::Theirs => Ok(&mut self.theirs),
            Copy::Other => self.other.as_mut().context("there is no third copy yet"),
        }
    }
}

fn planted(tree: Tree, settings: &Settings, scratch: &Path) -> anyhow::Result<Planted> {
    let recipe = Recipe::of(tree, settings)?;
    recipe.refuse_without_room(&settings.dir, 4)?;
    let source = recipe.volume(scratch, "source")?;
    recipe.plant(&source).with_context(|| format!("building {}", tree.name()))?;
    source.flush()?;
    let (ours, theirs) = (recipe.volume(scratch, "ours")?, recipe.volume(scratch, "theirs")?);
    let (entries, bytes) = (count(source.path()), source.used_bytes()?);
    println!("{}: {} entries, {} MiB", tree.name(), thousands(entries), bytes >> 20);
    Ok(Planted { recipe, source, ours, theirs, other: None, changes: 0, entries, bytes })
}

/// Written to once, so that nobody pays for finding room for the image.
fn device(settings: &Settings, scratch: &Path) -> anyhow::Result<Ground> {
    let mib = settings.scaled(DEVICE_MIB);
    let device = LoopDevice::new(scratch, mib << 20)?;
    fs::create_dir_all(scratch.join("var/lib/diskmirror"))?;
    let program = settings.program.as_path();
    let target = device.path();
    let names = Names { program, bench: program, source: scratch, target, catalog: scratch, scratch, mib };
    child::run(&Tool::DdZero.argv(&names), &scratch.join("log"), || device.flush())?;
    Ok(Ground::Device { device, mib })
}

/// Entries below and including `path`.
fn count(path: &Path) -> u64 {
    let names = fs::read_dir(path).into_iter().flatten().flatten();
    let below = |name: fs::DirEntry| {
        if name.file_type().is_ok_and(|kind| kind.is_dir()) { count(&name.path()) } else { 1 }
    };
    1 + names.map(below).sum::<u64>()
}
