//! The comparison core's second half: one directory of both trees, entry by entry.

use super::attrs::{compare, compare_stats};
use super::change::{Action, Aspects, Change, DirChange};
use super::content;
use super::fault::{Error, Fault, Sided};
use super::links::LinkName;
use super::listing::{Entry, Listing};
use super::merge::{Pair, merge};
use super::pass::{Pass, at_root};
use super::relpath::RelPath;
use super::tally::Tally;
use super::wanted::{InDir, Want};
use crate::sys::dir::{Handle, open_path, open_read, read_symlink};
use crate::sys::stat::{Kind, Stat};
use std::sync::Arc;

/// A directory to compare.
#[derive(Debug, Clone)]
pub(super) struct Task {
    /// Its path on both sides.
    pub path: RelPath,
    /// Whether the mirror has it already.
    pub on_mirror: bool,
}

/// What the comparison of one directory found.
#[derive(Default)]
pub(super) struct Found {
    pub tally: Tally,
    pub links: Vec<LinkName>,
    pub below: Vec<Task>,
    pub changes: Vec<Change>,
    deferred: u64,
    lost: u64,
}

/// One directory's two sides while they are compared.
struct Sides<'a> {
    pass: &'a Pass<'a>,
    path: Arc<RelPath>,
    source: Handle,
    mirror: Option<Handle>,
    /// Whether the source's names are all known: else nothing may be deleted.
    whole: bool,
    /// Entries whose content shall not be the source's.
    wanted: Option<&'a InDir>,
    found: Found,
}

/// Compares one directory. A directory of the source that cannot be opened yields nothing: the mirror's is left as it is.
pub(super) fn compare_dir(pass: &Pass<'_>, task: &Task) -> Result<Option<(DirChange, Found)>, Error> {
    let opened = pass.source_dir(&task.path).on_source("opening directory");
    if opened.is_err() && task.path.is_root() {
        return Err(root_error(opened));
    }
    let Some(source) = pass.enter(|| task.path.clone(), opened)? else {
        let mut found = Found::default();
        found.tally.unread(task.path.clone());
        return Ok(Some((
            DirChange { path: task.path.clone(), own: Aspects::NONE, changes: Vec::new() },
            found,
        )));
    };
    let mirror = if task.on_mirror {
        let opened = pass.mirror_dir(&task.path).on_mirror("opening the mirror's directory");
        let Some(handle) = pass.enter(|| task.path.clone(), opened)? else { return Ok(None) };
        Some(handle)
    } else {
        None
    };
    let path = Arc::new(task.path.clone());
    let wanted = pass.options.wanted.in_dir(&path);
    let mut sides = Sides { pass, path, source, mirror, whole: true, wanted, found: Found::default() };
    sides.entries()?;
    let own = sides.own()?;
    sides.close(own)
}

/// In what the mirror's root directory itself differs: to be asked before a workspace is made in it, which gives it a
/// new time (and, within one tick of the clock, perhaps the source's).
pub(super) fn root_aspects(pass: &Pass<'_>) -> Result<Aspects, Error> {
    let root = RelPath::root();
    let compared = pass.source_dir(&root).and_then(|source| {
        let mirror = pass.mirror_dir(&root)?;
        compare((&source, &source.stat()?), (&mirror, &mirror.stat()?), &pass.rules)
    });
    compared.map_err(at_root("examining"))
}

fn root_error(opened: Result<Handle, Fault>) -> Error {
    let error = match opened {
        Err(Fault::Source(_, error) | Fault::Mirror(_, error)) => error,
        _ => std::io::ErrorKind::NotFound.into(),
    };
    Error::Io { doing: "opening directory", path: RelPath::root(), error }
}

impl Sides<'_> {
    fn at(&self, name: &[u8]) -> RelPath {
        self.path.join(name)
    }
    fn entries(&mut self) -> Result<(), Error> {
        let excludes = &self.pass.options.excludes;
        let source = self.entered(Listing::read(&self.source.fd, &self.path, excludes), Fault::Source)?;
        let mirror = match &self.mirror {
            Some(mirror) => self.entered(Listing::read(&mirror.fd, &self.path, excludes), Fault::Mirror)?,
            None => Vec::new(),
        };
        self.found.tally.entries_scanned += source.len() as u64;
        self.found.tally.mirror_entries += mirror.len() as u64;
        for pair in merge(&source, &mirror) {
            self.pass.go_on()?;
            match pair {
                Pair::New(new) => self.new_entry(new, None, Aspects::ABSENT),
                Pair::Gone(gone) => self.gone(gone)?,
                Pair::Both(a, b) => self.both(a, b)?,
            }
        }
        Ok(())
    }
    /// Counts what a listing could not read, and gives its entries.
    fn entered(
        &mut self,
        listing: Listing,
        side: fn(&'static str, std::io::Error) -> Fault,
    ) -> Result<Vec<Entry>, Error> {
        for (name, error) in listing.unread {
            self.pass.fault(self.at(&name), side("examining", error))?;
        }
        self.pass.count(|counts| counts.vanished += listing.vanished);
        if let Some(error) = listing.cut_short {
            self.whole = false;
            self.found.tally.unread((*self.path).clone());
            self.pass.fault((*self.path).clone(), side("reading directory", error))?;
        }
        Ok(listing.entries)
    }
    fn both(&mut self, source: &Entry, mirror: &Entry) -> Result<(), Error> {
        let (Some(a), Some(b)) = (&source.stat, &mirror.stat) else { return Ok(()) };
        if a.kind != b.kind {
            return self.other_type(source, mirror, b);
        }
        if a.kind == Kind::Dir {
            if self.pass.source.holds(a) && self.pass.mirror.holds(b) {
                self.found.below.push(Task { path: self.at(&source.name), on_mirror: true });
            }
            return Ok(());
        }
        let compared = self.aspects(&source.name, a, b);
        let Some(aspects) = self.pass.enter(|| self.path.join(&source.name), compared)? else {
            return Ok(());
        };
        if a.nlink > 1 || b.nlink > 1 {
            self.found.links.push(self.link_name(source, a, Some(b), aspects));
        } else if !aspects.is_empty() {
            self.change(source, a, Some(b.kind), aspects);
        }
        Ok(())
    }
    fn other_type(&mut self, source: &Entry, mirror: &Entry, b: &Stat) -> Result<(), Error> {
        if b.kind == Kind::Dir {
            let mut lost = Tally::default();
            let below = super::subtree::survey(self.pass, &self.at(&mirror.name), &mut lost)?;
            if below.left_out {
                let kept = std::io::Error::other("something that is left out stands in its place");
                return self.pass.fault(self.at(&mirror.name), Fault::Mirror("replacing directory", kept));
            }
            lost.loses(self.at(&mirror.name), below.entries);
            self.found.tally.merge(lost);
        }
        self.new_entry(source, Some(b), Aspects::CONTENT);
        Ok(())
    }
    /// An entry that must be made, in place of `over`.
    fn new_entry(&mut self, source: &Entry, over: Option<&Stat>, aspects: Aspects) {
        let Some(stat) = &source.stat else { return };
        if stat.kind == Kind::Dir {
            if self.pass.source.holds(stat) {
                self.found.below.push(Task { path: self.at(&source.name), on_mirror: false });
            }
        } else if stat.nlink > 1 {
            let name = self.link_name(source, stat, over, aspects);
            return self.found.links.push(name);
        }
        self.change(source, stat, over.map(|stat| stat.kind), aspects);
    }
    fn change(&mut self, source: &Entry, stat: &Stat, over: Option<Kind>, aspects: Aspects) {
        let action = if aspects.needs_making() { Action::Make } else { Action::Adjust };
        let size = self.size(&source.name, stat);
        tally(&mut self.found.tally, action, size);
        let (kind, ino, name) = (stat.kind, stat.ino, source.name.clone());
        self.found.changes.push(Change { action, kind, over, aspects, ino, size, name });
    }
    fn link_name(&self, source: &Entry, a: &Stat, b: Option<&Stat>, aspects: Aspects) -> LinkName {
        LinkName {
            dir: self.path.clone(),
            name: source.name.clone(),
            kind: a.kind,
            ino: a.ino,
            size: self.size(&source.name, a),
            mirror_ino: b.filter(|b| b.kind == a.kind).map(|b| b.ino),
            over: b.map(|b| b.kind),
            aspects,
        }
    }
    fn gone(&mut self, mirror: &Entry) -> Result<(), Error> {
        let Some(stat) = mirror.stat.as_ref().filter(|stat| self.pass.mirror.holds(stat)) else {
            return Ok(());
        };
        if !self.whole {
            self.found.deferred += 1;
            return Ok(());
        }
        let path = self.at(&mirror.name);
        let (mut entries, mut goes) = (0, true);
        if stat.kind == Kind::Dir {
            let below = super::subtree::survey(self.pass, &path, &mut self.found.tally)?;
            (entries, goes) = (below.entries, !below.left_out);
            self.found.tally.loses(path.clone(), entries);
        }
        if goes {
            entries += 1;
            self.found.lost += 1;
            self.found.tally.delete(&path);
        }
        if entries == 0 {
            return Ok(());
        }
        let (kind, name) = (stat.kind, mirror.name.clone());
        let (action, over, aspects) = (Action::Delete, None, Aspects::NONE);
        self.found.changes.push(Change { action, kind, over, aspects, ino: entries, size: 0, name });
        Ok(())
    }
    /// The content that an entry shall have instead of the source's.
    fn want(&self, name: &[u8]) -> Option<&Want> {
        self.wanted?.get(name)
    }
    /// Bytes of content that an entry shall have.
    fn size(&self, name: &[u8], stat: &Stat) -> u64 {
        match stat.kind {
            Kind::File => self.want(name).map_or(stat.size, Want::length),
            _ => 0,
        }
    }
    /// In what two entries of one type, not directories, differ.
    fn aspects(&self, name: &[u8], a: &Stat, b: &Stat) -> Result<Aspects, Fault> {
        let want = self.want(name).filter(|_| a.kind == Kind::File);
        if want.is_some_and(|want| want.is_outdated(a.size)) {
            return Err(Fault::Changing);
        }
        let quick = self.quick_aspects(name, a, b, want)?;
        if quick.needs_making() {
            return Ok(quick);
        }
        let Some(mirror) = &self.mirror else { return Ok(quick) };
        let (source, mirror) = if a.kind == Kind::File {
            (readable(&self.source, name).on_source("opening")?, readable(mirror, name).on_mirror("opening")?)
        } else {
            (
                open_path(&self.source.fd, name).on_source("opening")?,
                open_path(&mirror.fd, name).on_mirror("opening")?,
            )
        };
        let copied = want.map_or(a.size, |want| want.source_bytes);
        if a.kind == Kind::File && self.pass.options.suspects(b) && copied > 0 {
            if source.path_only {
                return Err(Fault::Source("reading", std::io::ErrorKind::PermissionDenied.into()));
            }
            if mirror.path_only || !content::equal(self.pass, &source.fd, &mirror.fd, copied)? {
                return Ok(quick | Aspects::CONTENT);
            }
        }
        if want.is_some_and(|want| mirror.path_only || !content::ends_as(&mirror.fd, want)) {
            return Ok(quick | Aspects::CONTENT);
        }
        compare((&source, a), (&mirror, b), &self.pass.rules).on_source("reading attributes")
    }
    /// What can be told without opening anything.
    fn quick_aspects(&self, name: &[u8], a: &Stat, b: &Stat, want: Option<&Want>) -> Result<Aspects, Fault> {
        let stats = compare_stats(a, b, &self.pass.rules);
        let size = want.map_or(a.size, Want::length);
        // What is wanted whole is compared itself, whatever the times say.
        let by_time = want.is_none_or(|want| want.source_bytes > 0);
        let content = match a.kind {
            Kind::File => size != b.size || by_time && a.mtime != b.mtime,
            Kind::Block | Kind::Char => a.rdev != b.rdev,
            Kind::Symlink => match &self.mirror {
                Some(mirror) => {
                    read_symlink(&self.source.fd, name).on_source("reading link")?
                        != read_symlink(&mirror.fd, name).on_mirror("reading link")?
                }
                None => true,
            },
            Kind::Fifo | Kind::Socket | Kind::Dir => false,
        };
        Ok(stats | Aspects::CONTENT.when(content) | Aspects::SIZE.when(size != b.size))
    }
    /// In what the directory itself differs.
    fn own(&mut self) -> Result<Aspects, Error> {
        let Some(mirror) = &self.mirror else { return Ok(Aspects::ABSENT) };
        let compared = self.source.stat().on_source("examining").and_then(|a| {
            let b = mirror.stat().on_mirror("examining")?;
            compare((&self.source, &a), (mirror, &b), &self.pass.rules).on_source("reading attributes")
        });
        Ok(self.pass.enter(|| (*self.path).clone(), compared)?.unwrap_or(Aspects::NONE))
    }
    fn close(mut self, own: Aspects) -> Result<Option<(DirChange, Found)>, Error> {
        let found = &mut self.found;
        if found.lost > 0 {
            found.tally.loses((*self.path).clone(), found.lost);
        }
        found.tally.to_adjust += u64::from(!own.is_empty() && !own.needs_making());
        self.pass.count(|counts| {
            counts.deferred += found.deferred;
            counts.entries_scanned += found.tally.entries_scanned;
        });
        self.pass.monitor.advance(found.tally.entries_scanned);
        let changes = std::mem::take(&mut found.changes);
        Ok(Some((DirChange { path: (*self.path).clone(), own, changes }, self.found)))
    }
}

/// Enters what is to be done with one entry.
pub(super) fn tally(tally: &mut Tally, action: Action, size: u64) {
    match action {
        Action::Make => {
            tally.to_copy += 1;
            tally.to_copy_bytes += size;
        }
        Action::Adjust => tally.to_adjust += 1,
        Action::Delete => {}
    }
}

/// Opens a file for reading; for its metadata alone where it may not be read.
fn readable(dir: &Handle, name: &[u8]) -> std::io::Result<Handle> {
    match open_read(&dir.fd, name) {
        Err(error) if error.kind() == std::io::ErrorKind::PermissionDenied => open_path(&dir.fd, name),
        other => other,
    }
}
