//! A share of what the catalog proves: it is walked instead of the trees, and the files that are due are read on both
//! sides. What is not proven any more is the next run's affair.

use super::amend::amend;
use super::dir::At;
use super::{Verifying, file};
use crate::sys::stat::{Kind, stat_at};
use crate::tree::base::fault::Error;
use crate::tree::base::listing::Entry;
use crate::tree::scan::look::{Memory, Room};
use crate::tree::scan::task::{Known, Task};
use std::sync::atomic::Ordering::Relaxed;

impl Verifying<'_> {
    /// Reads the files of one directory that are due. Gives back the directories below it.
    pub fn share(&self, task: &Task, room: &mut Room) -> Result<Vec<Task>, Error> {
        self.pass.go_on()?;
        let Some((source, stat)) = self.source_dir(task)? else { return Ok(Vec::new()) };
        let Room { block, sheet } = room;
        let memory = Memory::of(self.pass, task.known == Known::Catalog, &stat, block);
        let Some(known) = &memory.block else { return Ok(Vec::new()) };
        let (mut below, mut due) = (Vec::new(), Vec::new());
        for (row, _) in known.rows() {
            let path = task.path.join(row.name);
            if row.kind == Kind::Dir {
                below.push(Task { path, mirror: None, ino: Some(row.ino), known: Known::Catalog });
            } else if row.kind == Kind::File
                && self.sample.takes(&path)
                && let Ok(stat) = stat_at(&source.fd, row.name)
                && stat.ino == row.ino
                && memory.proves(&row, &stat)
            {
                due.push(Entry { proven: true, ..Entry::new(row.name, Some(stat)) });
            }
        }
        if due.is_empty() {
            return Ok(below);
        }
        let Some(mirror) = self.mirror_dir(&task.path)? else { return Ok(below) };
        let mut at = At::new(self, &task.path, (source, mirror), &memory);
        for entry in due {
            let Some(a) = entry.stat else { continue };
            self.findings.entries.fetch_add(1, Relaxed);
            match stat_at(&at.mirror.fd, &entry.name) {
                Ok(b) if b.kind == a.kind => file::compare(&mut at, (&entry, &a), &b, true)?,
                _ => at.missing(&entry),
            }
        }
        let doubted = at.doubted;
        // Nothing else about the directory is given up: without its hashes, damage of the source would pass for a change.
        if let (Some(catalog), false) = (memory.catalog, doubted.is_empty()) {
            amend(catalog, known, &task.path, &doubted, sheet);
        }
        Ok(below)
    }
}
