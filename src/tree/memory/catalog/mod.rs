//! The catalog: the source's metadata as of the last run, so that what has not changed since costs one look at the
//! source, and none at the mirror.
//!
//! It proves one thing: that an entry of the mirror is what the source's entry is, because the source's inode and ctime
//! are what they were when the two were equal. It is kept by inode and never by path, and believed only while both trees
//! are the ones it was made of. Whatever is wrong with it costs a full comparison, and is no error.
//!
//! Two files: `FILE` is whole by itself, `FILE.delta` holds the directories that have changed since it was written, until
//! they are many. So a run writes what changed, and not what there is.

mod format;
mod page;
mod recorder;
mod store;

pub use format::{DirKey, Draft, HASH, Head, Row, RowAt, Tail};
pub use page::Binding;
pub use store::Block;

use crate::sys::clock::Moment;
use crate::sys::stat::{Kind, Timestamp};
use crate::tree::base::relpath::RelPath;
use crate::tree::base::slots::Slots;
use page::{FORMAT, Page, Unreadable};
use recorder::{Carried, Recorder, Verdicts};
use std::collections::BTreeSet;
use std::io;
use std::path::{Path, PathBuf};
use std::sync::{Mutex, OnceLock};
use store::{Lookup, Store};

/// A base is written anew when what was added to it exceeds this part of it.
const DELTA_PART: u64 = 4;
/// By so much may the time of day lose against the machine's own clock before it counts as set back, in nanoseconds:
/// time servers correct less without a jump.
const SET_BACK_NANOS: i128 = 500_000_000;
/// Two ticks of the kernel's clock at its slowest (CONFIG_HZ=100).
const TICKS: Timestamp = Timestamp { secs: 0, nanos: 20_000_000 };
/// So long a call that writes to a file may take: its ctime is stamped when it begins, and what it writes arrives later.
const WRITING: Timestamp = Timestamp { secs: 10, nanos: 0 };
/// Two ticks of a file system that keeps whole seconds (ext with 128-byte inodes).
const WHOLE_SECONDS: Timestamp = Timestamp { secs: 2, nanos: 0 };

/// The catalog of one source and its mirror, while they are compared.
#[derive(Debug)]
pub struct Catalog {
    path: PathBuf,
    binding: Binding,
    looked_at: Moment,
    compared_whole: i64,
    /// What the last run left, if it is believed.
    known: Option<Files>,
    /// By how much the clock has lost since then, within what time servers do.
    lag: Timestamp,
    recorder: Option<Recorder>,
    unsettled: Mutex<BTreeSet<RelPath>>,
    forgotten: Mutex<BTreeSet<RelPath>>,
    astray: Mutex<BTreeSet<u64>>,
}

/// How a catalog is opened.
#[derive(Debug)]
pub struct Opening {
    /// The moment before the source was flushed.
    pub looked_at: Moment,
    /// What it has to be bound to.
    pub binding: Binding,
    /// Whether to believe it; else only when it was made counts: the mirror may have been written since.
    pub believe: bool,
    /// Whether to write the next one.
    pub record: bool,
}

/// How a comparison has to be made, given what was found of a catalog.
#[derive(Debug, Default)]
pub struct Advice {
    /// What an administrator should know, in a line.
    pub note: Option<String>,
    /// What was changed at this time or later is compared by content where all else is equal.
    pub doubt_since: Option<Timestamp>,
    /// Everything is.
    pub compare_content: bool,
}

/// A catalog's files.
#[derive(Debug)]
struct Files {
    base: Store,
    /// What was added to it.
    delta: Option<Store>,
}

impl Files {
    /// The one that was written last.
    fn newest(&self) -> &Store {
        self.delta.as_ref().unwrap_or(&self.base)
    }
    /// The one a block is from.
    fn of(&self, block: &Block<'_>) -> Option<&Store> {
        if block.place.in_delta { self.delta.as_ref() } else { Some(&self.base) }
    }
    fn block<'a>(&self, key: DirKey, room: &'a mut Vec<u8>) -> Option<Block<'a>> {
        if let Some(delta) = &self.delta {
            match delta.find(key.ino) {
                Lookup::At(entry) => return delta.block(entry, key, true, room),
                Lookup::Forgotten => return None,
                Lookup::None => {}
            }
        }
        match self.base.find(key.ino) {
            Lookup::At(entry) => self.base.block(entry, key, false, room),
            Lookup::Forgotten | Lookup::None => None,
        }
    }
    fn are_damaged(&self) -> bool {
        self.base.is_damaged() || self.delta.as_ref().is_some_and(Store::is_damaged)
    }
    /// Whether what `recorder` has is little enough to be added to the base once more.
    fn have_room_for(&self, recorder: &Recorder) -> bool {
        let added = recorder.size() + self.delta.as_ref().map_or(0, Store::size);
        added * DELTA_PART < self.base.size()
    }
}

impl Catalog {
    /// Opens the catalog in `path`, or begins one.
    ///
    /// # Errors
    /// The system's, but for a file that is not there.
    pub fn open(path: &Path, opening: Opening) -> io::Result<(Catalog, Advice)> {
        let Opening { looked_at, binding, believe, record } = opening;
        let found = find(path)?;
        let mut catalog = Catalog {
            path: path.to_owned(),
            compared_whole: looked_at.real.secs,
            looked_at,
            binding,
            known: None,
            lag: Timestamp::default(),
            recorder: record.then(|| Recorder::new(path)),
            unsettled: Mutex::default(),
            forgotten: Mutex::default(),
            astray: Mutex::default(),
        };
        let advice = match found {
            None => Advice::default(),
            Some(Err(Unreadable::Damaged)) => useless("it is damaged"),
            Some(Err(Unreadable::OtherFormat)) => useless("another version of this program wrote it"),
            Some(Ok(files)) => catalog.examine(files, believe),
        };
        Ok((catalog, advice))
    }

    fn examine(&mut self, files: Files, believe: bool) -> Advice {
        let newest = files.newest();
        let (page, bound) = (&newest.page, &newest.page.binding);
        let then = Moment::from(&page.looked_at);
        let set_back = then.set_back_until(&self.looked_at);
        let doubt = Advice { doubt_since: Some(unsure_from(then.real)), ..Advice::default() };
        let say = |why: &str| Some(format!("the catalog {}: everything is compared", because(why)));
        if bound.source != self.binding.source {
            return useless("it was made of another source");
        }
        if bound.mirror != self.binding.mirror {
            return useless("it was made of another mirror");
        }
        if set_back > SET_BACK_NANOS {
            return useless("the clock was set back since it was made");
        }
        if newest.was_writing || !believe {
            let note = newest.was_writing.then(|| say("the last run did not come to its end")).flatten();
            return Advice { note, ..doubt };
        }
        if bound.state != self.binding.state {
            return useless("the mirror was changed since");
        }
        if bound.rules != self.binding.rules {
            return Advice { note: say("what is left out, or carried over, has changed"), ..doubt };
        }
        self.lag = Timestamp { secs: 0, nanos: set_back.max(0) as u32 };
        self.compared_whole = page.compared_whole;
        self.known = Some(files);
        doubt
    }

    /// Where it is kept.
    pub fn path(&self) -> &Path {
        &self.path
    }
    /// Whether the last run's knowledge is believed.
    pub fn is_believed(&self) -> bool {
        self.known.is_some()
    }
    /// When both trees were last compared whole, in seconds since 1970; now, if they are to be.
    pub fn compared_whole(&self) -> i64 {
        self.compared_whole
    }
    /// Notes that they are compared whole now.
    pub fn compares_whole(&mut self) {
        self.compared_whole = self.looked_at.real.secs;
    }

    /// What is known of a directory.
    pub fn block<'a>(&self, key: DirKey, room: &'a mut Vec<u8>) -> Option<Block<'a>> {
        self.known.as_ref()?.block(key, room)
    }
    /// The tails of a block's files, to be asked with `Tail::of`.
    pub fn tails(&self, block: &Block<'_>) -> Option<Vec<u8>> {
        self.known.as_ref()?.of(block)?.tails(&block.head, block.place)
    }
    /// Notes that a directory is what its block says: it need not be recorded anew.
    pub fn keep(&self, block: &Block<'_>) {
        if let Some(store) = self.known.as_ref().and_then(|files| files.of(block)) {
            store.keep(block.place);
        }
    }
    /// Whether what was changed at `ctime` cannot have been changed once more, unnoticed, after a look that began at
    /// `looked_at`: neither in the same tick of the clock, nor by a call that was still writing. Where the ctime is still
    /// to come (the clock was wrong once), whatever has happened since has another.
    pub fn is_settled(&self, kind: Kind, ctime: Timestamp, looked_at: Timestamp) -> bool {
        let ticks = if ctime.nanos == 0 { WHOLE_SECONDS } else { TICKS };
        let passed = |time: Timestamp| later(later(time, ticks), self.lag);
        let written = if kind == Kind::File { later(ctime, writing()) } else { ctime };
        passed(written) < looked_at || passed(self.looked_at.real) < ctime && looked_at < ctime
    }
    /// The moment before the source was flushed for this look.
    pub fn looked_at(&self) -> Timestamp {
        self.looked_at.real
    }

    /// Records a directory of the source for the next run. Gives back where the hashes of its files belong.
    pub fn record(&self, draft: &Draft, head: Head, room: &mut Vec<u8>) -> Slots {
        self.recorder.as_ref().map_or(Slots::NONE, |recorder| recorder.record(draft, head, room))
    }
    /// Records a directory once more, to take back what its block says.
    pub fn amend(&self, draft: &Draft, head: Head, room: &mut Vec<u8>) {
        if let Some(recorder) = &self.recorder {
            recorder.amend(draft, head, room);
        }
    }
    /// Enters the hash of a file that was copied.
    pub fn put_hash(&self, slot: u64, hash: &[u8; HASH]) {
        if let Some(recorder) = &self.recorder {
            recorder.put_hash(slot, hash);
        }
    }
    /// Notes that an entry was not brought to its end: the next run compares it, and lists its directory, and itself if it
    /// is one, on both sides.
    pub fn unsettle(&self, entry: RelPath) {
        self.unsettled.lock().expect("no thread panics while noting").insert(entry);
    }
    /// Notes that the next run lists a directory on both sides.
    pub fn unsettle_dir(&self, dir: &RelPath) {
        // No row has this name.
        self.unsettle(dir.join(b"."));
    }
    /// Notes that the mirror may have anything where a directory should be: the next run believes nothing of it.
    pub fn forget(&self, dir: RelPath) {
        self.forgotten.lock().expect("no thread panics while noting").insert(dir);
    }
    /// Notes that a directory of the source, by its inode, was not where its name was read: what was found of it at another
    /// place is not to be believed at this one.
    pub fn stray(&self, ino: u64) {
        self.astray.lock().expect("no thread panics while noting").insert(ino);
    }

    /// Says on the disk, before the first change of the mirror, that what is known will not be true if this run does not
    /// come to its end.
    ///
    /// # Errors
    /// The system's.
    pub fn begin_writing(&self) -> io::Result<()> {
        match &self.known {
            Some(files) => files.newest().mark_writing(),
            None => match find(&self.path)? {
                Some(Ok(files)) => files.newest().mark_writing(),
                None | Some(Err(_)) => Ok(()),
            },
        }
    }

    /// Writes what this run knows, once all that it wrote to the mirror is on the mirror's disk. `state` is the mirror's
    /// state now, as the next run will see it; `inode_of` says which inode a directory of the source has.
    /// Gives back a remark for the administrator, if there is one.
    ///
    /// # Errors
    /// The system's: the next run compares everything.
    pub fn commit(
        &self,
        state: &str,
        inode_of: impl Fn(&RelPath) -> Option<u64>,
    ) -> io::Result<Option<String>> {
        let Some(recorder) = &self.recorder else { return Ok(None) };
        let damaged = self.known.as_ref().is_some_and(Files::are_damaged);
        let remark = damaged.then(|| {
            format!("the catalog {}: what it should have proven was compared", because("it is damaged"))
        });
        let verdicts = self.verdicts(inode_of);
        if self.is_still_true(recorder, state, &verdicts) {
            return Ok(remark);
        }
        let binding = Binding { state: state.to_owned(), ..self.binding.clone() };
        let page = |base: Option<String>| Page {
            format: FORMAT,
            id: uuid(),
            base,
            binding,
            looked_at: (&self.looked_at).into(),
            compared_whole: self.compared_whole,
            index: (0, 0, 0),
        };
        match &self.known {
            Some(files) if files.have_room_for(recorder) => {
                let carried =
                    files.delta.iter().map(|store| Carried { store, only_kept: false }).collect::<Vec<_>>();
                let page = page(Some(files.base.page.id.clone()));
                recorder.finish(page, &verdicts, &carried, &delta_of(&self.path))?;
            }
            known => {
                let stores = known.iter().flat_map(|files| files.delta.iter().chain([&files.base]));
                let carried: Vec<_> = stores.map(|store| Carried { store, only_kept: true }).collect();
                recorder.finish(page(None), &verdicts, &carried, &self.path)?;
                // It adds to a base that is no more.
                let _ = std::fs::remove_file(delta_of(&self.path));
            }
        }
        Ok(remark)
    }
    /// Writes what was taken back of what is known; nothing else changes, and the mirror is in the state it was in.
    ///
    /// # Errors
    /// The system's.
    pub fn commit_doubts(&self, inode_of: impl Fn(&RelPath) -> Option<u64>) -> io::Result<()> {
        let (Some(recorder), Some(files)) = (&self.recorder, &self.known) else { return Ok(()) };
        let verdicts = self.verdicts(inode_of);
        if recorder.is_empty() && verdicts.forget_nothing() {
            return Ok(());
        }
        let base = Some(files.base.page.id.clone());
        let page = Page { id: uuid(), base, index: (0, 0, 0), ..files.newest().page.clone() };
        let carried: Vec<_> = files.delta.iter().map(|store| Carried { store, only_kept: false }).collect();
        recorder.finish(page, &verdicts, &carried, &delta_of(&self.path))
    }
    fn is_still_true(&self, recorder: &Recorder, state: &str, verdicts: &Verdicts) -> bool {
        let Some(files) = &self.known else { return false };
        let newest = &files.newest().page;
        recorder.is_empty()
            && verdicts.forget_nothing()
            && newest.binding.state == state
            && newest.compared_whole == self.compared_whole
    }
    fn verdicts(&self, inode_of: impl Fn(&RelPath) -> Option<u64>) -> Verdicts {
        let unsettled = self.unsettled.lock().expect("no thread panics while noting");
        let forgotten = self.forgotten.lock().expect("no thread panics while noting");
        let mut verdicts = Verdicts::default();
        let mut concerned = BTreeSet::new();
        for entry in unsettled.iter() {
            verdicts.unsettled.entry(path_hash(entry)).or_default();
            if let Some((dir, name)) = entry.split() {
                verdicts.unsettled.entry(path_hash(&dir)).or_default().insert(name.into());
                concerned.insert(dir);
            }
        }
        verdicts.forgotten = forgotten.iter().map(path_hash).collect();
        verdicts.astray = self.astray.lock().expect("no thread panics while noting").clone();
        // What this run did not record is in an older file, by its inode only.
        let dirs = unsettled.iter().chain(&*forgotten).chain(&concerned);
        verdicts.forgotten_inodes = dirs.filter_map(inode_of).collect();
        verdicts
    }
}

/// A hash that stands for a directory's path.
pub(in crate::tree) fn path_hash(path: &RelPath) -> u64 {
    u64::from_le_bytes(*path.digest().first_chunk().expect("32 bytes are more than 8"))
}

fn useless(why: &str) -> Advice {
    let note = Some(format!("the catalog {}: everything is compared, contents too", because(why)));
    Advice { note, doubt_since: None, compare_content: true }
}

fn because(why: &str) -> String {
    format!("is not used, because {why}")
}

/// What was changed at this time or later may have been changed after a look that began at `looked_at`, unnoticed.
pub fn unsure_from(looked_at: Timestamp) -> Timestamp {
    let before = WHOLE_SECONDS.secs + writing().secs + 1;
    Timestamp { secs: looked_at.secs.saturating_sub(before), nanos: looked_at.nanos }
}

/// How long a call may write. Tests, which cannot wait so long for each file, say how long theirs do.
fn writing() -> Timestamp {
    static SECS: OnceLock<i64> = OnceLock::new();
    let told = || std::env::var("DISKMIRROR_WRITING_SECS").ok().and_then(|secs| secs.parse().ok());
    Timestamp { secs: *SECS.get_or_init(|| told().unwrap_or(WRITING.secs)), nanos: 0 }
}

fn later(time: Timestamp, by: Timestamp) -> Timestamp {
    let nanos = time.nanos + by.nanos;
    Timestamp {
        secs: time.secs.saturating_add(by.secs + i64::from(nanos / 1_000_000_000)),
        nanos: nanos % 1_000_000_000,
    }
}

fn delta_of(path: &Path) -> PathBuf {
    let mut name = path.as_os_str().to_owned();
    name.push(".delta");
    name.into()
}

fn uuid() -> String {
    uuid::Uuid::new_v4().to_string()
}

/// The catalog's files; none if there is none, or why they cannot be used.
fn find(path: &Path) -> io::Result<Option<Result<Files, Unreadable>>> {
    let base = match Store::open(path)? {
        None => return Ok(None),
        Some(Err(why)) => return Ok(Some(Err(why))),
        Some(Ok(base)) => base,
    };
    Ok(Some(match Store::open(&delta_of(path))? {
        None => Ok(Files { base, delta: None }),
        Some(Err(why)) => Err(why),
        // A base that was written in one piece was put in place before what added to the old one went.
        Some(Ok(delta)) if delta.page.base.as_deref() != Some(&base.page.id) => {
            Ok(Files { base, delta: None })
        }
        Some(Ok(delta)) => Ok(Files { base, delta: Some(delta) }),
    }))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_look_at_no_time_that_ever_was_proves_nothing() {
        let first = Timestamp { secs: i64::MIN, nanos: 0 };
        assert_eq!(unsure_from(first), first);
    }
}
