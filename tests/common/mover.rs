//! Seeded random renames in a tree: of files and of whole trees, over others, in chains and cycles, into each other.

use super::generate::{entries, remove};
use super::names;
use super::rng::Rng;
use rustix::fs::{CWD, RenameFlags};
use std::fs;
use std::path::{Path, PathBuf};

/// A path that is longer than this, below the root, is shortened before anything else is done.
const LONG: usize = 1200;

/// Renames in one tree.
pub struct Mover {
    root: PathBuf,
    rng: Rng,
    names: Names,
    made: u64,
}

/// What things are called.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Names {
    /// By every odd name there can be, each used once.
    Odd,
    /// By one of few, so that the same names come back with other things behind them.
    Few,
}

/// What is moved.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum What {
    /// Regular files and directories, and nothing goes.
    Pure,
    /// Anything; and what is in the way, or left behind, is removed.
    Any,
}

#[derive(Debug, Clone, Copy)]
enum Move {
    Away,
    Exchange,
    Cycle,
    Chain,
    Rotate,
    Wrap,
    Invert,
    Up,
    Over,
    Unwrap,
}

/// Of these, the last two remove something.
const MOVES: [Move; 12] = [
    Move::Away,
    Move::Away,
    Move::Exchange,
    Move::Exchange,
    Move::Cycle,
    Move::Chain,
    Move::Rotate,
    Move::Wrap,
    Move::Invert,
    Move::Up,
    Move::Over,
    Move::Unwrap,
];

impl Mover {
    /// For the tree below `root`.
    pub fn new(root: &Path, seed: u64, names: Names) -> Self {
        Mover { root: root.to_owned(), rng: Rng::new(seed), names, made: 0 }
    }

    /// Moves something, if there is anything; returns what was done.
    pub fn step(&mut self, what: What) -> String {
        if let Some(told) = self.shorten() {
            return told;
        }
        let moves = if what == What::Pure { &MOVES[..10] } else { &MOVES };
        let how = *self.rng.pick(moves);
        let told = match how {
            Move::Away => self.away(what),
            Move::Exchange => self.cycle(what, 2),
            Move::Cycle => {
                let length = self.rng.range(3, 6) as usize;
                self.cycle(what, length)
            }
            Move::Chain => self.chain(what, false),
            Move::Rotate => self.chain(what, true),
            Move::Wrap => self.wrap(what),
            Move::Invert => self.invert(),
            Move::Up => self.up(what),
            Move::Over => self.over(),
            Move::Unwrap => self.unwrap(),
        };
        format!("{how:?} {}", told.unwrap_or_else(|| "nothing".into()))
    }

    /// An entry of which one can be moved without the other's moving with it: a few, apart from each other.
    fn apart(&mut self, what: What, count: usize) -> Option<Vec<PathBuf>> {
        let all = self.entries(what);
        let mut found: Vec<PathBuf> = Vec::new();
        for _ in 0..20 {
            if found.len() == count || all.is_empty() {
                break;
            }
            let one = self.rng.pick(&all);
            if !found.iter().any(|other| one.starts_with(other) || other.starts_with(one)) {
                found.push(one.clone());
            }
        }
        (found.len() == count).then_some(found)
    }

    fn entries(&self, what: What) -> Vec<PathBuf> {
        let mut all = entries(&self.root);
        if what == What::Pure {
            all.retain(|path| path.symlink_metadata().is_ok_and(|meta| meta.is_dir() || meta.is_file()));
        }
        all
    }

    fn away(&mut self, what: What) -> Option<String> {
        let from = self.apart(what, 1)?.pop()?;
        let mut directories = self.directories();
        directories.push(self.root.clone());
        directories.retain(|directory| !directory.starts_with(&from));
        let parent = self.rng.pick(&directories).clone();
        let to = self.free(&parent);
        Some(self.rename(&from, &to))
    }

    fn cycle(&mut self, what: What, length: usize) -> Option<String> {
        let all = self.apart(what, length)?;
        for pair in all.windows(2) {
            rustix::fs::renameat_with(CWD, &pair[0], CWD, &pair[1], RenameFlags::EXCHANGE)
                .expect("exchanged");
        }
        Some(format!("{:?}", all.iter().map(|path| self.short(path)).collect::<Vec<_>>()))
    }

    /// Each takes the next one's place; the first one's is taken by something new, or is free.
    fn chain(&mut self, what: What, is_renewed: bool) -> Option<String> {
        let length = self.rng.range(2, 5) as usize;
        let mut all = self.apart(what, length)?;
        let last = self.free(all[length - 1].parent()?);
        all.push(last);
        let done: Vec<_> = (0..length).rev().map(|place| self.rename(&all[place], &all[place + 1])).collect();
        if is_renewed && self.rng.once_in(2) {
            fs::create_dir(&all[0]).expect("a new directory");
        } else if is_renewed && what == What::Any {
            fs::write(&all[0], self.rng.bytes(333)).expect("a new file");
        }
        Some(done.join(", "))
    }

    /// A new directory takes its name, and has it inside: by its own name, or another.
    fn wrap(&mut self, what: What) -> Option<String> {
        let inner = self.apart(what, 1)?.pop()?;
        let outer = self.free(inner.parent()?);
        fs::create_dir(&outer).expect("a new directory");
        let to = if self.rng.once_in(2) { outer.join(inner.file_name()?) } else { self.free(&outer) };
        let done = [self.rename(&inner, &to), self.rename(&outer, &inner)];
        Some(done.join(", "))
    }

    /// Parent and child change places.
    fn invert(&mut self) -> Option<String> {
        let mut children = self.directories();
        children.retain(|path| path.parent() != Some(&self.root));
        if children.is_empty() {
            return None;
        }
        let child = self.rng.pick(&children).clone();
        let parent = child.parent()?.to_owned();
        let aside = self.free(parent.parent()?);
        let first = self.rename(&child, &aside);
        let below = match self.rng.once_in(2) {
            true if !aside.join(parent.file_name()?).exists() => aside.join(parent.file_name()?),
            _ => self.free(&aside),
        };
        let mut done = vec![first, self.rename(&parent, &below)];
        if self.rng.once_in(2) {
            done.push(self.rename(&aside, &parent));
        }
        Some(done.join(", "))
    }

    /// All that is in a directory goes to where the directory is.
    fn up(&mut self, what: What) -> Option<String> {
        let directories = self.directories();
        if directories.is_empty() {
            return None;
        }
        let directory = self.rng.pick(&directories).clone();
        let parent = directory.parent()?.to_owned();
        let mut inside = self.entries(what);
        inside.retain(|path| path.parent() == Some(&directory));
        for path in &inside {
            let to = self.free(&parent);
            fs::rename(path, to).expect("renamed");
        }
        if what == What::Any {
            remove(&directory);
        }
        Some(format!("{} entries of {:?}", inside.len(), self.short(&directory)))
    }

    fn over(&mut self) -> Option<String> {
        let pair = self.apart(What::Any, 2)?;
        remove(&pair[1]);
        Some(self.rename(&pair[0], &pair[1]))
    }

    /// A child takes its parent's name; the parent goes below it, or away.
    fn unwrap(&mut self) -> Option<String> {
        let mut children = self.entries(What::Any);
        children.retain(|path| path.parent() != Some(&self.root));
        if children.is_empty() {
            return None;
        }
        let child = self.rng.pick(&children).clone();
        let parent = child.parent()?.to_owned();
        let aside = self.free(parent.parent()?);
        let mut done = vec![self.rename(&child, &aside)];
        if aside.symlink_metadata().is_ok_and(|meta| meta.is_dir()) && self.rng.once_in(2) {
            let to = self.free(&aside);
            done.push(self.rename(&parent, &to));
        } else {
            remove(&parent);
            done.push(format!("removed {:?}", self.short(&parent)));
        }
        done.push(self.rename(&aside, &parent));
        Some(done.join(", "))
    }

    /// Takes what is deepest to the top, if it is too deep.
    fn shorten(&mut self) -> Option<String> {
        let all = entries(&self.root);
        let longest = all.iter().max_by_key(|path| path.as_os_str().len())?;
        if longest.as_os_str().len() < self.root.as_os_str().len() + LONG {
            return None;
        }
        let depth = longest.components().count() - self.root.components().count();
        let middle = longest.ancestors().nth(depth / 2)?.to_owned();
        let root = self.root.clone();
        let to = self.free(&root);
        Some(self.rename(&middle, &to))
    }

    /// All directories but the root.
    fn directories(&self) -> Vec<PathBuf> {
        let mut all = entries(&self.root);
        all.retain(|path| path.symlink_metadata().is_ok_and(|meta| meta.is_dir()));
        all
    }

    fn free(&mut self, parent: &Path) -> PathBuf {
        loop {
            self.made += 1;
            let path = match self.names {
                Names::Few if !self.rng.once_in(8) => {
                    parent.join(*self.rng.pick(&["a", "b", "c", "d", "e", "f"]))
                }
                Names::Few => parent.join(format!("new-{}", self.made)),
                // Far from those that the generator has used.
                Names::Odd => parent.join(names::name(&mut self.rng, 1_000_000 + self.made)),
            };
            if path.symlink_metadata().is_err() {
                return path;
            }
        }
    }

    fn rename(&self, from: &Path, to: &Path) -> String {
        fs::rename(from, to).unwrap_or_else(|error| panic!("{from:?} to {to:?}: {error}"));
        format!("{:?} to {:?}", self.short(from), self.short(to))
    }

    fn short(&self, path: &Path) -> PathBuf {
        path.strip_prefix(&self.root).unwrap_or(path).to_owned()
    }
}
