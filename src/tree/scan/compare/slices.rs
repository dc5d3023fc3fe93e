//! A directory with very many names: what is kept of each is a few bytes, and its entries are compared a slice at a time.
//!
//! The first look says of each name whether the catalog proves it, and what is gone. Then the next block is made, for the
//! places of the hashes must be known; then each slice is looked at once more, on both sides, and compared. What is not as
//! it was at the first look is compared as it is by now, and its row proves nothing.

use super::{Comparing, Found};
use crate::sys::dir::{Handle, Names};
use crate::sys::stat::{Kind, Stat};
use crate::tree::base::fault::{Error, Fault};
use crate::tree::base::listing::{Listing, OWN};
use crate::tree::base::slots::Slots;
use crate::tree::changes::change::{Aspects, DirChange};
use crate::tree::scan::difference::Sides;
use crate::tree::scan::look::{Former, Look, Looking, Memory, Sheet, draft};
use crate::tree::scan::walk::ChangeSink;
use std::sync::OnceLock;

/// So many names are compared at once.
const SLICE: usize = 1 << 14;

/// How many names a directory may have to be compared as a whole. Tests, whose directories are small, say how many theirs
/// may have.
pub(super) fn most_names() -> usize {
    static MOST: OnceLock<usize> = OnceLock::new();
    let told = || std::env::var("DISKMIRROR_SLICE_NAMES").ok().and_then(|names| names.parse().ok());
    *MOST.get_or_init(|| told().filter(|names| *names > 0).unwrap_or(SLICE))
}

/// Names of a directory of the mirror, sorted.
type Alone = Vec<Box<[u8]>>;

impl Comparing<'_> {
    /// As `whole_dir`, for a directory whose entries were put off.
    pub(super) fn in_slices(
        mut self,
        memory: &Memory<'_>,
        mut look: Look,
        sides: &Sides<'_>,
        (stat, moved): (&Stat, bool),
        sheet: &mut Sheet,
        sink: &dyn ChangeSink,
    ) -> Result<(DirChange, Found), Error> {
        let mut slots = Slots::NONE;
        if let Some(catalog) = memory.catalog.filter(|_| !memory.holds(&look)) {
            self.settled &= draft(sheet, memory, &mut [], sides.wanted, &sides.source.fd);
            slots = catalog.record(&sheet.draft, self.head(catalog, stat), &mut sheet.bytes);
            sheet.forget_block();
        }
        if memory.audits {
            self.audited = Some(look.gone.iter().map(|former| former.name.clone()).collect());
        }
        self.pass_by(memory, &look);
        let own = self.own(memory, sides, stat)?;
        sink.begin(&self.part(own))?;
        let (vanished, cut_short) = (look.vanished, look.cut_short.take());
        self.enter(Listing { vanished, cut_short, ..Listing::default() }, Fault::Source)?;
        let alone = self.alone(memory, &look.gone, sides, sheet)?;
        self.left(std::mem::take(&mut look.gone));
        let path = self.dir.path.clone();
        let looking = Looking {
            pass: self.pass,
            dir: &sides.source.fd,
            path: &path,
            wanted: sides.wanted,
            moved,
            most: most_names(),
        };
        let (mut start, mut next) = (0, 0);
        while start < sheet.count() {
            let end = sheet.count().min(start + most_names());
            self.slice(memory, sides, &looking, (sheet, start..end, &mut next))?;
            self.hand_over(slots, sink)?;
            start = end;
        }
        for names in alone.chunks(most_names()) {
            let mirror = self.mirror_slice(memory, sides, names)?;
            self.pairs(memory, sides, (&[], &mirror))?;
            self.hand_over(slots, sink)?;
        }
        self.found.links.set_slots(slots);
        if let (false, Some(catalog)) = (self.settled, &self.pass.options.catalog) {
            catalog.unsettle_dir(&self.dir.path);
        }
        Ok(self.close(own))
    }
    /// Looks at one slice once more, on both sides, and compares it.
    fn slice(
        &mut self,
        memory: &Memory<'_>,
        sides: &Sides<'_>,
        looking: &Looking<'_>,
        (sheet, range, next): (&Sheet, std::ops::Range<usize>, &mut usize),
    ) -> Result<(), Error> {
        self.pass.go_on()?;
        let slice = looking.again(sheet, range, next);
        for name in &slice.changed {
            self.settled = false;
            self.pass.unsettle(&self.at(name));
        }
        self.found.tally.entries_scanned += slice.listing.entries.len() as u64;
        let entries = self.enter(slice.listing, Fault::Source)?;
        let mirror = self.mirror_slice(memory, sides, &slice.names)?;
        self.pairs(memory, sides, (&entries, &mirror))
    }
    /// What the mirror has under these names, sorted.
    fn mirror_slice(
        &mut self,
        memory: &Memory<'_>,
        sides: &Sides<'_>,
        names: &[Box<[u8]>],
    ) -> Result<Vec<crate::tree::base::listing::Entry>, Error> {
        let Some(mirror) = &sides.mirror else { return Ok(Vec::new()) };
        let excludes = &self.pass.options.excludes;
        let mut listing = Listing::default();
        for name in names {
            listing.add(&mirror.fd, name, |stat| {
                !memory.believes && excludes.leaves_out(&self.dir.path, name, stat.kind == Kind::Dir)
            });
        }
        if !memory.believes {
            self.found.tally.mirror_entries += listing.entries.len() as u64;
        }
        self.enter(Listing { vanished: 0, ..listing }, Fault::Mirror)
    }
    /// Names that only the mirror may have: all others that it has, or those that are gone of what the catalog knows.
    fn alone(
        &mut self,
        memory: &Memory<'_>,
        gone: &[Former],
        sides: &Sides<'_>,
        sheet: &Sheet,
    ) -> Result<Alone, Error> {
        let Some(mirror) = &sides.mirror else { return Ok(Alone::new()) };
        let by_name = sheet.compared_by_name();
        let is_compared = |name: &[u8]| sheet.has(&by_name, name);
        if memory.believes {
            let alone = gone.iter().filter(|former| !is_compared(&former.name));
            return Ok(alone.map(|former| former.name.clone()).collect());
        }
        let (mut alone, cut_short) = self.not_compared(mirror, &is_compared);
        alone.sort_unstable();
        self.enter(Listing { cut_short, ..Listing::default() }, Fault::Mirror)?;
        Ok(alone)
    }
    /// What a directory of the mirror has beside what is compared, a few names at a time; and why they could not be read
    /// to their end.
    fn not_compared(
        &self,
        mirror: &Handle,
        is_compared: &dyn Fn(&[u8]) -> bool,
    ) -> (Alone, Option<std::io::Error>) {
        let is_own = |name: &[u8]| self.dir.path.is_root() && name == OWN;
        let (mut alone, mut names) = (Alone::new(), Names::default());
        loop {
            let read = names.read_part(&mirror.fd, most_names());
            let new = names.iter().map(|(_, name)| name).filter(|name| !is_own(name) && !is_compared(name));
            alone.extend(new.map(Box::from));
            match read {
                Ok(true) => {}
                Ok(false) => return (alone, None),
                Err(error) => return (alone, Some(error)),
            }
        }
    }
    /// Gives the changes that were found so far to the sink.
    fn hand_over(&mut self, slots: Slots, sink: &dyn ChangeSink) -> Result<(), Error> {
        self.give_slots(slots);
        let part = self.part(Aspects::NONE);
        if part.is_empty() { Ok(()) } else { sink.take(part) }
    }
}
