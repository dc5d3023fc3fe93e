//! Renames on the mirror. Files first get a second name in the workspace, so that no name is missing while others change
//! places; from there they go the way of every new file. Then directories, each with one rename: what stands in the place
//! of one is exchanged with it and set aside, if it is not where it belongs by that.

use crate::sys::dir::{self, Handle};
use crate::sys::flags::{self, Project};
use crate::sys::stat::Kind;
use crate::tree::apply::{finish_dir, link_unlocked, open_mirror};
use crate::tree::base::fault::{Error, Fault, Sided, at_root};
use crate::tree::base::relpath::RelPath;
use crate::tree::changes::change::How;
use crate::tree::changes::dir_move::DirMove;
use crate::tree::changes::spool::Spool;
use crate::tree::entry::metadata::unlock;
use crate::tree::entry::workspace::{self, Workspace};
use crate::tree::pass::Pass;
use std::collections::{BTreeMap, HashMap, HashSet};
use std::io;

/// Gives every file that is to be renamed a name in the workspace. One that cannot have it is copied when its turn comes.
pub(in crate::tree) fn name_all(
    pass: &Pass<'_>,
    workspace: &Workspace,
    additions: &mut Spool,
) -> Result<(), Error> {
    for change in additions.replay().map_err(at_root("listing"))? {
        let change = change.map_err(at_root("listing"))?;
        for one in &change.changes {
            let How::Rename { from } = &one.how else { continue };
            pass.go_on()?;
            // Whatever is wrong shows when its name is looked for.
            let _ = name_one(pass, workspace, from, one.ino);
        }
    }
    Ok(())
}

fn name_one(pass: &Pass<'_>, workspace: &Workspace, from: &RelPath, ino: u64) -> Result<(), Fault> {
    let Some((dir, name)) = from.split() else { return Ok(()) };
    let dir = pass.mirror_dir(&dir).on_mirror("opening the mirror's directory")?;
    link_unlocked(pass, &dir, name, workspace, &workspace::moved_name(ino)).map(drop)
}

/// Renames directories, those above before those below.
pub(in crate::tree) fn move_all(
    pass: &Pass<'_>,
    workspace: &Workspace,
    moves: &[DirMove],
) -> Result<(), Error> {
    let by_place = moves.iter().filter_map(|one| Some((one.from.as_ref()?, one))).collect();
    let by_target = moves.iter().filter(|one| one.from.is_some()).map(|one| (one.place(), one)).collect();
    let (now, done) = (HashMap::new(), HashSet::new());
    let mut moving = Moving { pass, workspace, by_place, by_target, now, done };
    for one in moves {
        let (mut chain, mut last, mut places) = (Vec::new(), Some(one), HashSet::new());
        while let Some(moved) = last {
            pass.go_on()?;
            chain.push(moved);
            places.extend(&moved.from);
            last = moving.comes_before(moved, &places);
        }
        chain.iter().rev().try_for_each(|one| moving.counted(one))?;
    }
    Ok(())
}

/// Gives the directories that were renamed, and those that lost or got them, what the source's have.
pub(in crate::tree) fn finish_all(pass: &Pass<'_>, moves: &[DirMove]) -> Result<(), Error> {
    let mut touched = BTreeMap::new();
    for one in moves {
        touched.insert(one.to(), one.ino);
        for parent in [&one.parent, &one.old_parent].into_iter().filter(|parent| parent.ino != 0) {
            touched.insert((*parent.path).clone(), parent.ino);
        }
    }
    touched.iter().rev().try_for_each(|(path, ino)| {
        pass.go_on()?;
        finish_dir(pass, path, *ino).map(drop)
    })
}

struct Moving<'a> {
    pass: &'a Pass<'a>,
    workspace: &'a Workspace,
    /// By where the mirror had them at first.
    by_place: HashMap<&'a RelPath, &'a DirMove>,
    /// By where the mirror had what stands in their places.
    by_target: HashMap<RelPath, &'a DirMove>,
    /// Where directories are that are not there any more.
    now: HashMap<RelPath, RelPath>,
    /// What is in its place, by that.
    done: HashSet<RelPath>,
}

impl<'a> Moving<'a> {
    /// What takes the place of a directory that is still there comes before that leaves, so that the name is never missing;
    /// if the directory that gets it is in its own place already.
    fn comes_before(&self, moved: &DirMove, places: &HashSet<&RelPath>) -> Option<&'a DirMove> {
        let before = *self.by_target.get(moved.from.as_ref()?)?;
        let is_new = before.from.as_ref().is_none_or(|from| !places.contains(from));
        let is_ready = self.locate(before.parent.on_mirror()) == *before.parent.path;
        (is_new && !self.done.contains(&before.to()) && is_ready).then_some(before)
    }
    fn counted(&mut self, moved: &DirMove) -> Result<(), Error> {
        if !self.done.insert(moved.to()) {
            return Ok(());
        }
        self.pass.go_on()?;
        let done = self.pass.enter_dir(&moved.to(), self.one(moved))?;
        if done.is_some() && moved.from.is_some() {
            self.pass.count(|counts| counts.renamed += 1);
        }
        Ok(())
    }
    fn one(&mut self, moved: &DirMove) -> Result<(), Fault> {
        let Some(place) = &moved.from else { return self.make_room(moved) };
        let (mut from, to) = (self.locate(place), moved.to());
        if from == to {
            return Ok(());
        }
        let parent = self.ready(&moved.parent.path)?;
        if from.is_below(&to) {
            from = self.take_out(place, &from)?;
        }
        let Some((dir, name)) = from.split() else { return Err(Fault::Vanished) };
        let old_parent = open_mirror(self.pass, &dir)?;
        let ends = Ends { from: (&old_parent, name), to: (&parent, &moved.name) };
        let over = ends.rename(self.pass).on_mirror("renaming directory")?;
        self.now.insert(place.clone(), to);
        if over { self.set_aside(moved.place(), &from, ends.from) } else { Ok(()) }
    }
    /// Makes a new directory in the place of one that will be moved into it.
    fn make_room(&mut self, moved: &DirMove) -> Result<(), Fault> {
        let (parent, aside) = (self.ready(&moved.parent.path)?, self.workspace.name());
        let workspace = &self.workspace.nest.dir;
        dir::make_dir(&workspace.fd, &aside).on_mirror("making directory")?;
        let ends = Ends { from: (workspace, &aside), to: (&parent, &moved.name) };
        ends.rename(self.pass).on_mirror("setting aside")?;
        self.now.insert(moved.place(), workspace::path().join(&aside));
        Ok(())
    }
    /// Moves a directory that takes the place of one above it to the workspace first: nothing can be exchanged with what
    /// it lies in.
    fn take_out(&mut self, place: &RelPath, from: &RelPath) -> Result<RelPath, Fault> {
        let (dir, name) = from.split().ok_or(Fault::Vanished)?;
        let (dir, aside) = (open_mirror(self.pass, &dir)?, self.workspace.name());
        let ends = Ends { from: (&dir, name), to: (&self.workspace.nest.dir, &aside) };
        ends.rename(self.pass).on_mirror("setting aside")?;
        let taken_out = workspace::path().join(&aside);
        self.now.insert(place.clone(), taken_out.clone());
        Ok(taken_out)
    }
    /// What stood in the place of a directory is where that was, and stays there only if it belongs there: by its path,
    /// and in a directory that is in its own place already.
    fn set_aside(&mut self, place: RelPath, at: &RelPath, from: (&Handle, &[u8])) -> Result<(), Fault> {
        let is_home =
            |own: &&&DirMove| own.to() == *at && self.locate(own.parent.on_mirror()) == *own.parent.path;
        let belongs_there = self.by_place.get(&place).filter(is_home).is_some();
        let is_aside = at.split().is_some_and(|(dir, _)| dir == workspace::path());
        if belongs_there || is_aside {
            self.now.insert(place, at.clone());
            return Ok(());
        }
        let aside = self.workspace.name();
        let ends = Ends { from, to: (&self.workspace.nest.dir, &aside) };
        ends.rename(self.pass).on_mirror("setting aside")?;
        self.now.insert(place, workspace::path().join(&aside));
        Ok(())
    }
    /// Where a directory is by now.
    fn locate(&self, place: &RelPath) -> RelPath {
        let found = place.ancestors().find_map(|above| Some((above.depth(), self.now.get(&above)?)));
        let Some((depth, now)) = found else { return place.clone() };
        place.names_below(depth).into_iter().fold(now.clone(), |dir, name| dir.join(name))
    }
    /// Opens a directory to move something into. One that is new may not have been made yet.
    fn ready(&self, path: &RelPath) -> Result<Handle, Fault> {
        let opened = self.pass.mirror_dir(path);
        let missing = |error: &io::Error| {
            matches!(error.raw_os_error(), Some(libc::ENOENT | libc::ENOTDIR | libc::ELOOP))
        };
        match (opened, path.split()) {
            (Err(error), Some((parent, name))) if missing(&error) => {
                let parent = self.ready(&parent)?;
                self.make(&parent, name).on_mirror("making directory")?;
            }
            (Err(error), _) => return Err(Fault::Mirror("opening the mirror's directory", error)),
            (Ok(_), _) => {}
        }
        open_mirror(self.pass, path)
    }
    fn make(&self, parent: &Handle, name: &[u8]) -> io::Result<()> {
        match dir::make_dir(&parent.fd, name) {
            Err(error) if error.kind() == io::ErrorKind::AlreadyExists => {
                let (made, workspace) = (self.workspace.name(), &self.workspace.nest.dir);
                dir::make_dir(&workspace.fd, &made)?;
                self.pass.mirror.forget_ways();
                dir::exchange(&workspace.fd, &made, &parent.fd, name)
            }
            other => other,
        }
    }
}

/// One directory's way.
struct Ends<'a> {
    from: (&'a Handle, &'a [u8]),
    to: (&'a Handle, &'a [u8]),
}

impl Ends<'_> {
    /// Renames; or exchanges with what is there: gives back whether something was.
    fn rename(&self, pass: &Pass<'_>) -> io::Result<bool> {
        let ((from, name), (to, new)) = (self.from, self.to);
        let try_once = || match dir::rename_new(&from.fd, name, &to.fd, new) {
            Err(error) if error.kind() == io::ErrorKind::AlreadyExists => {
                dir::exchange(&from.fd, name, &to.fd, new).map(|()| true)
            }
            other => other.map(|()| false),
        };
        let renamed = try_once().or_else(|error| {
            self.clear_the_way(pass, &error)?;
            try_once()
        });
        pass.mirror.forget_ways();
        renamed
    }
    /// Takes away what forbids a rename: locks, a directory that its owner may not write, one that insists on another
    /// project. What was taken is given back when everything is in its place.
    fn clear_the_way(&self, pass: &Pass<'_>, error: &io::Error) -> io::Result<()> {
        let refused = || io::Error::from_raw_os_error(error.raw_os_error().unwrap_or(libc::EIO));
        match error.raw_os_error() {
            Some(libc::EPERM | libc::EACCES) => {
                for (dir, name) in [self.from, self.to] {
                    let Ok(handle) = dir::open_read(&dir.fd, name) else { continue };
                    unlock(&handle)?;
                    let stat = handle.stat()?;
                    if !pass.rules.privileged && stat.kind == Kind::Dir {
                        dir::set_mode(&handle, stat.mode | 0o700)?;
                    }
                }
                Ok(())
            }
            Some(libc::EXDEV) => {
                for (dir, _) in [self.from, self.to] {
                    let project = flags::project(&dir.fd)?.unwrap_or_default();
                    flags::set_project(&dir.fd, Project { inherit: false, ..project })?;
                }
                Ok(())
            }
            _ => Err(refused()),
        }
    }
}
