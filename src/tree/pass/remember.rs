//! What a comparison knows of the last one, and leaves for the next: a catalog opened for two trees, and committed.

use crate::sys::clock::Moment;
use crate::sys::dir::sync_volume;
use crate::sys::stat::stat_fd;
use crate::sys::volume;
use crate::tree::base::relpath::RelPath;
use crate::tree::base::view::View;
use crate::tree::memory::blocks::Blocks;
use crate::tree::memory::catalog::{Advice, Binding, Catalog, Opening};
use crate::tree::pass::Rules;
use crate::tree::pass::{Options, Pass};
use std::io;
use std::path::Path;
use std::sync::Arc;

/// Where a catalog is, and what of it may be used.
#[derive(Debug, Clone, Copy)]
pub struct Remembered<'a> {
    /// The file.
    pub path: &'a Path,
    /// The mirror's state, in a form that only its maker knows: the catalog is believed if it was made of this one.
    pub state: &'a str,
    /// Whether the mirror came to the end of all that was written to it; else nothing is believed.
    pub settled: bool,
    /// Whether the next catalog is written.
    pub record: bool,
    /// After so many seconds both sides are compared whole again, whatever the catalog says; none is never.
    pub whole_every_secs: Option<u64>,
}

/// Opens the catalog of two trees and tells `options` what it advises. Flushes the source first: what is stored through a
/// mapping into a page that is already dirty changes no time. Gives back what an administrator should know.
///
/// # Errors
/// The system's: without a catalog everything is compared.
pub fn remember(
    options: &mut Options,
    source: &View,
    mirror: &View,
    remembered: &Remembered<'_>,
) -> io::Result<Option<String>> {
    if !volume::has_lasting_inodes(source.root())? {
        return Ok(Some("no catalog is kept: the source's file system has no lasting inode numbers".into()));
    }
    let looked_at = Moment::now()?;
    sync_volume(source.root())?;
    let binding = Binding {
        source: identity(source)?,
        mirror: identity(mirror)?,
        state: remembered.state.to_owned(),
        rules: rules(options, source, mirror)?,
    };
    let opening = Opening { looked_at, binding, believe: remembered.settled, record: remembered.record };
    let (mut catalog, advice) = Catalog::open(remembered.path, opening)?;
    let Advice { note, doubt_since, compare_content } = advice;
    options.doubt_since = [options.doubt_since, doubt_since].into_iter().flatten().min();
    options.compare_content |= compare_content;
    let age = catalog.looked_at().secs - catalog.compared_whole();
    let due = |every: u64| catalog.is_believed() && age >= every as i64;
    options.compare_whole |= remembered.whole_every_secs.is_some_and(due);
    if options.compare_whole || options.compare_content {
        catalog.compares_whole();
    }
    if remembered.record {
        let blocks = Blocks::open(remembered.path, options.blocks_from, catalog.is_believed())?;
        options.blocks = Some(Arc::new(blocks));
    }
    options.catalog = Some(Arc::new(catalog));
    Ok(note)
}

/// Says on the disk that the mirror is about to be written: until `commit_memory`, the catalog is not believed.
///
/// # Errors
/// The system's.
pub fn begin_writing(options: &Options) -> io::Result<()> {
    options.catalog.as_ref().map_or(Ok(()), |catalog| catalog.begin_writing())
}

/// Writes the catalog for the next comparison, once everything is on the mirror's disk; the mirror will then be in
/// `new_state`. Gives back what an administrator should know.
///
/// # Errors
/// The system's: the next comparison is of everything.
pub fn commit_memory(options: &Options, source: &View, new_state: &str) -> io::Result<Option<String>> {
    let Some(catalog) = &options.catalog else { return Ok(None) };
    options.blocks.as_ref().map_or(Ok(()), |blocks| blocks.commit())?;
    catalog.commit(new_state, |path| inode_of(source, path))
}

/// Writes what a verification took back of what is known; the mirror is in the state it was in.
///
/// # Errors
/// The system's: the next comparison believes what is not so.
pub fn commit_doubts(options: &Options, source: &View) -> io::Result<()> {
    options.blocks.as_ref().map_or(Ok(()), |blocks| blocks.commit_doubts())?;
    options.catalog.as_ref().map_or(Ok(()), |catalog| catalog.commit_doubts(|path| inode_of(source, path)))
}

fn inode_of(source: &View, path: &RelPath) -> Option<u64> {
    let dir = source.open_dir(path).ok()?;
    Some(stat_fd(&dir).ok()?.ino)
}

/// Whether the comparison goes by what the last one knew.
pub fn is_believed(options: &Options) -> bool {
    options.catalog.as_ref().is_some_and(|catalog| catalog.is_believed())
}

/// Which file system a tree is on, and which of its directories it is.
fn identity(view: &View) -> io::Result<String> {
    let root = stat_fd(view.root())?;
    let btime = root.btime.unwrap_or_default();
    Ok(format!("{} {} {}.{}", volume::identity(view.root())?, root.ino, btime.secs, btime.nanos))
}

/// What is left out and what is carried over: of other rules a catalog says nothing.
fn rules(options: &Options, source: &View, mirror: &View) -> io::Result<String> {
    let Rules { privileged, flags, owners, whole_seconds: _ } =
        Pass::rules(source, mirror, options.privileged)?;
    let excludes = blake3::hash(options.excludes.text().as_bytes()).to_hex();
    Ok(format!("{privileged} {flags:x} {owners} {}", &excludes[..16]))
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::monitor::Silent;
    use crate::sys::dir::open_root;
    use crate::tree::memory::catalog::{DirKey, Tail};
    use crate::tree::{apply_additions, apply_deletions, scan, stream};
    use std::fs;

    /// A source and its mirror, and a catalog beside them.
    struct Pair {
        dir: tempfile::TempDir,
    }

    impl Pair {
        fn new() -> Self {
            let dir = tempfile::tempdir_in(env!("CARGO_MANIFEST_DIR")).expect("a directory on a disk");
            for path in ["source/below", "mirror"] {
                fs::create_dir_all(dir.path().join(path)).expect("made");
            }
            Pair { dir }
        }
        fn view(&self, name: &str) -> View {
            View::of_fd(open_root(&self.dir.path().join(name)).expect("open")).expect("a view")
        }
        fn write(&self, path: &str, content: &[u8]) {
            fs::write(self.dir.path().join(path), content).expect("written");
        }
        /// What a comparison would be told, in a state of the mirror.
        fn remembered(&self, state: &str) -> (Options, Option<String>) {
            let (path, mut options) = (self.dir.path().join("catalog"), Options::default());
            let how = Remembered { path: &path, state, settled: true, record: true, whole_every_secs: None };
            let said = remember(&mut options, &self.view("source"), &self.view("mirror"), &how);
            (options, said.expect("a catalog can be kept here"))
        }
        fn commit(&self, options: &Options, state: &str) {
            assert_eq!(commit_memory(options, &self.view("source"), state).expect("committed"), None);
        }
    }

    fn hashes(pair: &Pair, options: &Options, dir: &str) -> Vec<(Vec<u8>, Vec<u8>)> {
        let stat = stat_fd(open_root(&pair.dir.path().join(dir)).expect("open")).expect("examined");
        let (key, mut room) = (DirKey { ino: stat.ino, btime: stat.btime.unwrap_or_default() }, Vec::new());
        let catalog = options.catalog.as_ref().expect("there is one");
        let block = catalog.block(key, &mut room).expect("it is known");
        let tails = catalog.tails(&block).expect("sound");
        let files = block.rows().filter_map(|(row, number)| Some((row.name.to_vec(), number?)));
        files
            .map(|(name, number)| (name, Tail::of(&tails, number).expect("it has one").hash.to_vec()))
            .collect()
    }

    #[test]
    fn the_hash_of_what_was_copied_is_kept_and_stays_when_something_else_changes() {
        let pair = Pair::new();
        let (source, mirror) = (pair.view("source"), pair.view("mirror"));
        pair.write("source/below/one", b"first");
        pair.write("source/below/other", b"second");
        // Older than the clock's tick: else nothing is proven.
        std::thread::sleep(std::time::Duration::from_millis(50));
        let (options, _) = pair.remembered("empty");
        stream(&source, &mirror, &options, &Silent).expect("copied");
        pair.commit(&options, "copied");

        let b3 = |content: &[u8]| blake3::hash(content).as_bytes().to_vec();
        let of = |list: &[(Vec<u8>, Vec<u8>)], name: &[u8]| {
            list.iter().find(|(found, _)| found == name).map(|(_, hash)| hash.clone()).expect("there")
        };
        let (options, said) = pair.remembered("copied");
        assert_eq!((said, is_believed(&options)), (None, true));
        let kept = hashes(&pair, &options, "source/below");
        assert_eq!((of(&kept, b"one"), of(&kept, b"other")), (b3(b"first"), b3(b"second")));

        pair.write("source/below/other", b"changed");
        std::thread::sleep(std::time::Duration::from_millis(50));
        let changes = scan(&source, &mirror, &options, &Silent).expect("compared");
        assert_eq!(changes.tally().to_copy, 1);
        begin_writing(&options).expect("marked");
        assert!(!is_believed(&pair.remembered("copied").0), "it is being written");
        apply_additions(&changes, &source, &mirror, &options, &Silent).expect("applied");
        apply_deletions(&changes, &source, &mirror, &options, &Silent).expect("applied");
        pair.commit(&options, "copied again");

        let (options, said) = pair.remembered("copied");
        assert!(said.is_some_and(|said| said.contains("the mirror was changed since")));
        assert!(!is_believed(&options) && options.compare_content, "of another state of the mirror");
        let kept = hashes(&pair, &pair.remembered("copied again").0, "source/below");
        assert_eq!((of(&kept, b"one"), of(&kept, b"other")), (b3(b"first"), b3(b"changed")));
    }
}
