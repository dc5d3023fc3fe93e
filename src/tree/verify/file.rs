//! One entry that both sides have and that is no directory.

use super::dir::{At, Standing};
use super::finding::{Damage, Difference, Side, What};
use super::names::Turn;
use crate::sys::dir::{Handle, open_path, open_read, read_symlink};
use crate::sys::page_cache::write_out;
use crate::sys::stat::{Kind, Stat};
use crate::tree::base::fault::{Error, Fault, Sided};
use crate::tree::base::listing::Entry;
use crate::tree::base::overrides::Want;
use crate::tree::content::compare::{self as content, Guest, hash_as};
use crate::tree::content::ends_as;
use crate::tree::entry::attrs::{compare as compare_attrs, compare_stats};
use std::sync::atomic::Ordering::Relaxed;

/// What a comparison came to.
enum Outcome {
    Same,
    /// The source was changed since the last run, or just now.
    Changed,
    Differs(Side, What, Option<Damage>),
}

/// Compares an entry, its content if that `is_due`, and enters what is found.
pub(super) fn compare(
    at: &mut At<'_>,
    (source, a): (&Entry, &Stat),
    b: &Stat,
    is_due: bool,
) -> Result<(), Error> {
    let path = at.path.join(&source.name);
    let names = &at.verifying.names;
    let turn = if a.nlink > 1 { names.open(a.ino, b.ino, &path) } else { Turn::First };
    let standing = at.standing(source, a);
    let outcome = match turn {
        Turn::First => Comparing { at, source, a, b, standing, is_due }.outcome(),
        Turn::Other => Ok(Outcome::Same),
        Turn::Damaged => {
            at.doubted.insert(source.name.clone());
            Ok(Outcome::Same)
        }
        Turn::Astray if standing == Standing::Changed => Ok(Outcome::Changed),
        Turn::Astray => Ok(Outcome::Differs(Side::Mirror, What::Link, None)),
    };
    let outcome = match outcome {
        Ok(outcome) => outcome,
        Err(Fault::Stopped) => return Err(Error::Stopped),
        Err(Fault::Source(doing, error)) => {
            Outcome::Differs(Side::Source, What::Unreadable(doing, error), None)
        }
        Err(Fault::Mirror(doing, error)) => {
            Outcome::Differs(Side::Mirror, What::Unreadable(doing, error), None)
        }
        Err(Fault::Vanished | Fault::Replaced | Fault::Changing | Fault::Hidden) => Outcome::Changed,
    };
    if a.nlink > 1 && turn == Turn::First {
        let others = at.verifying.names.close(a.ino, matches!(outcome, Outcome::Differs(..)));
        others.iter().for_each(|path| at.verifying.pass.unsettle(path));
    }
    match outcome {
        Outcome::Same if at.verifying.pass.options.held.get(&path).is_some() => {
            at.verifying.findings.sound(path);
        }
        Outcome::Same => {}
        Outcome::Changed => at.verifying.findings.changed(),
        Outcome::Differs(side, what, damage) => {
            if side == Side::Mirror {
                at.verifying.pass.doubt_blocks(a);
            }
            at.differs(Difference { path, side, what, damage });
        }
    }
    Ok(())
}

struct Comparing<'a, 'b> {
    at: &'a At<'b>,
    source: &'a Entry,
    a: &'a Stat,
    b: &'a Stat,
    standing: Standing,
    is_due: bool,
}

impl Comparing<'_, '_> {
    fn outcome(&self) -> Result<Outcome, Fault> {
        let want = self.at.wanted.and_then(|wanted| wanted.get(&self.source.name));
        match want.filter(|_| self.a.kind == Kind::File) {
            Some(want) => self.against(want),
            None => self.against_source(),
        }
    }
    fn against_source(&self) -> Result<Outcome, Fault> {
        let Comparing { at, a, b, .. } = self;
        let pass = at.verifying.pass;
        let quick = compare_stats(a, b, &pass.rules);
        let lengths_differ = a.kind == Kind::File && a.size != b.size;
        if self.standing == Standing::Changed && (lengths_differ || !quick.is_empty()) {
            return Ok(Outcome::Changed);
        }
        let (source, mirror) = self.open()?;
        if !self.is_as_listed(&source)? {
            return Ok(Outcome::Changed);
        }
        let aspects =
            compare_attrs((&source, a), (&mirror, b), &pass.rules).on_source("reading attributes")?;
        let same = !lengths_differ && self.same_content(&source, &mirror)?;
        if same && aspects.is_empty() {
            return Ok(Outcome::Same);
        }
        if !self.is_still_as_listed(&source)? || self.standing == Standing::Changed {
            return Ok(Outcome::Changed);
        }
        match same {
            true => Ok(Outcome::Differs(Side::Mirror, What::Metadata(aspects), None)),
            false if a.kind == Kind::File => self.whose_fault(&source, &mirror),
            false => Ok(Outcome::Differs(Side::Mirror, What::Content, None)),
        }
    }
    fn open(&self) -> Result<(Handle, Handle), Fault> {
        let (name, open) = (&self.source.name, if self.a.kind == Kind::File { open_read } else { open_path });
        let source = open(&self.at.source.fd, name).on_source("opening")?;
        Ok((source, open(&self.at.mirror.fd, name).on_mirror("opening")?))
    }
    fn same_content(&self, source: &Handle, mirror: &Handle) -> Result<bool, Fault> {
        let Comparing { at, a, b, .. } = self;
        match a.kind {
            Kind::File if !self.is_due => Ok(true),
            Kind::File => {
                let (same, bytes) = content::compare(at.verifying.pass, &source.fd, &mirror.fd, a.size)?;
                at.verifying.findings.files.fetch_add(1, Relaxed);
                at.verifying.findings.bytes.fetch_add(bytes, Relaxed);
                Ok(same)
            }
            Kind::Symlink => {
                let target = read_symlink(&source.fd, b"").on_source("reading link")?;
                Ok(target == read_symlink(&mirror.fd, b"").on_mirror("reading link")?)
            }
            Kind::Block | Kind::Char => Ok(a.rdev == b.rdev),
            Kind::Fifo | Kind::Socket | Kind::Dir => Ok(true),
        }
    }
    fn is_as_listed(&self, source: &Handle) -> Result<bool, Fault> {
        let (a, now) = (self.a, source.stat().on_source("examining")?);
        Ok((now.ino, now.ctime, now.mtime, now.size) == (a.ino, a.ctime, a.mtime, a.size))
    }
    /// The same after reading; a store that was made through a mapping shows then, too.
    fn is_still_as_listed(&self, source: &Handle) -> Result<bool, Fault> {
        if self.a.kind == Kind::File {
            write_out(&source.fd, &(0..0)).on_source("reading")?;
        }
        self.is_as_listed(source)
    }
    /// Which of two files that nobody has written to, and that differ, is not what was copied.
    fn whose_fault(&self, source: &Handle, mirror: &Handle) -> Result<Outcome, Fault> {
        let (pass, a) = (self.at.verifying.pass, self.a);
        let unknown = Outcome::Differs(Side::Unknown, What::Content, None);
        let Some(recorded) = self.at.recorded(&self.source.name) else { return Ok(unknown) };
        let Some(ours) = content::hash(pass, &source.fd, a.size)? else { return Ok(unknown) };
        let theirs = hash_as(pass, &mirror.fd, self.b.size, Guest::Clears).on_mirror("reading")?;
        if !self.is_still_as_listed(source)? {
            return Ok(Outcome::Changed);
        }
        Ok(match (ours == recorded, theirs == Some(recorded)) {
            (true, false) => Outcome::Differs(Side::Mirror, What::Content, None),
            // The page cache may hold what the disk does not: it is asked once more without.
            (false, true) if content::hash_of_disk(pass, &source.fd, a.size)? != Some(ours) => unknown,
            (false, true) => {
                let damage = Damage { ino: a.ino, ctime: a.ctime, bad: ours, good: recorded };
                Outcome::Differs(Side::Source, What::Content, Some(damage))
            }
            // Both are what was copied by now: it was the first reading that went wrong.
            (true, true) | (false, false) => unknown,
        })
    }
    /// A file that shall hold something else than the source's is held against that.
    fn against(&self, want: &Want) -> Result<Outcome, Fault> {
        let Comparing { at, a, b, .. } = self;
        let pass = at.verifying.pass;
        let (source, mirror) = self.open()?;
        // No row proves such an entry: what it is made from may have changed anywhere.
        let is_old = at.memory.knows(&self.source.name, a) || self.standing == Standing::Old;
        if want.is_outdated(a.size) || !self.is_as_listed(&source)? || !is_old {
            return Ok(Outcome::Changed);
        }
        let aspects =
            compare_attrs((&source, a), (&mirror, b), &pass.rules).on_source("reading attributes")?;
        let what = if b.size != want.length() || !ends_as(&mirror.fd, want) {
            What::Content
        } else if !aspects.is_empty() {
            What::Metadata(aspects)
        } else if !self.same_beginning(want, &source, &mirror)? {
            if !self.is_still_as_listed(&source)? {
                return Ok(Outcome::Changed);
            }
            return Ok(Outcome::Differs(Side::Unknown, What::Content, None));
        } else {
            return Ok(Outcome::Same);
        };
        match self.is_still_as_listed(&source)? {
            true => Ok(Outcome::Differs(Side::Mirror, what, None)),
            false => Ok(Outcome::Changed),
        }
    }
    fn same_beginning(&self, want: &Want, source: &Handle, mirror: &Handle) -> Result<bool, Fault> {
        if want.source_bytes == 0 || !self.is_due {
            return Ok(true);
        }
        let findings = &self.at.verifying.findings;
        let (same, bytes) =
            content::compare(self.at.verifying.pass, &source.fd, &mirror.fd, want.source_bytes)?;
        findings.files.fetch_add(1, Relaxed);
        findings.bytes.fetch_add(bytes, Relaxed);
        Ok(same)
    }
}
