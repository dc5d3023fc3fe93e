//! What a `sync` leaves of itself in the page cache, and what it sees of what others have there.

mod common;

use common::loopfs::{Kind, LoopFs};
use common::raw::{Mapping, cached_pages};
use common::{assert_equal, sync_command::sync};
use rustix::fs::{Advice, fadvise};
use std::fs::{self, File, OpenOptions};
use std::os::fd::AsFd;
use std::path::{Path, PathBuf};
use std::time::Duration;

const SIZE: usize = 96 << 20;

fn trees(scratch: &Path) -> (PathBuf, PathBuf) {
    let (source, copy) = (scratch.join("source"), scratch.join("copy"));
    fs::create_dir(&source).expect("made");
    fs::create_dir(&copy).expect("made");
    (source, copy)
}

fn cached(path: &Path) -> usize {
    cached_pages(File::open(path).expect("there").as_fd(), SIZE)
}

#[test]
fn what_was_not_in_the_page_cache_does_not_stay_in_it_and_what_was_stays() {
    let scratch = common::scratch();
    let (source, copy) = trees(scratch.path());
    for name in ["cold", "hot"] {
        fs::write(source.join(name), name.repeat(SIZE / name.len())).expect("written");
        File::open(source.join(name)).expect("there").sync_all().expect("flushed");
    }
    fadvise(File::open(source.join("cold")).expect("there"), 0, None, Advice::DontNeed).expect("advised");
    assert_eq!(cached(&source.join("cold")), 0, "this file system cannot be judged");
    let hot = cached(&source.join("hot"));
    assert!(hot > SIZE / 4096 * 9 / 10, "only {hot} pages are there");
    sync(&source, &copy);
    let left = ["cold", "hot"].map(|name| cached(&source.join(name)));
    assert!(left[0] < SIZE / 4096 / 10, "{} pages of what was not there stay", left[0]);
    assert!(left[1] > hot * 9 / 10, "{} of {hot} pages of what was there stay", left[1]);
    let copied = ["cold", "hot"].map(|name| cached(&copy.join(name)));
    assert!(copied.iter().all(|pages| *pages < SIZE / 4096 * 6 / 10), "{copied:?} pages of the copy stay");
    assert_equal(&source, &copy, "large files");
}

/// A store into a page that is dirty already changes no time: unless the page is written out before it is copied, what is
/// stored afterwards is never seen. The copy has a file system of its own, whose flush does not flush the source.
#[test]
fn a_store_through_a_mapping_after_the_copy_is_seen_by_the_next_sync() {
    if !common::root_or_skip("stores through mappings") {
        return;
    }
    let (scratch, mirror) = (common::scratch(), LoopFs::new(Kind::Ext4, 64));
    let (source, _) = trees(scratch.path());
    let copy = mirror.dir("copy");
    let path = source.join("mapped");
    fs::write(&path, [b'a'; 4096]).expect("written");
    let file = OpenOptions::new().read(true).write(true).open(&path).expect("there");
    let mut mapped = Mapping::new(file.as_fd()).expect("mapped");
    for (byte, how) in [(b'b', "a first copy"), (b'c', "a replacement")] {
        mapped.store(0, byte);
        std::thread::sleep(Duration::from_millis(20));
        sync(&source, &copy);
        assert_eq!(fs::read(copy.join("mapped")).expect("there")[0], byte, "{how}");
        std::thread::sleep(Duration::from_millis(20));
        mapped.store(0, b'z');
        std::thread::sleep(Duration::from_millis(20));
        sync(&source, &copy);
        assert_eq!(fs::read(copy.join("mapped")).expect("there")[0], b'z', "after {how}");
    }
}
