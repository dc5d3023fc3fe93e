//! Files of which the mirror shall hold something else than the source does.

use diskmirror::monitor::Silent;
use diskmirror::tree::{
    Counts, Options, RelPath, View, Want, Wanted, apply_additions, apply_deletions, scan, stream,
};
use std::fs;
use std::os::fd::OwnedFd;
use std::os::unix::fs::MetadataExt;
use std::path::Path;
use tempfile::TempDir;

struct Pair {
    dir: TempDir,
    options: Options,
}

impl Pair {
    fn new(wanted: &[(&str, Want)]) -> Pair {
        let dir = tempfile::tempdir().expect("a temporary directory");
        fs::create_dir_all(dir.path().join("a/etc")).expect("writable");
        fs::create_dir(dir.path().join("b")).expect("writable");
        let mut pair = Pair { dir, options: Options::default() };
        pair.put("a/etc/fstab", b"UUID=1 / ext4\n");
        pair.put("a/initrd", b"the source's image");
        pair.want(wanted);
        pair
    }
    fn want(&mut self, wanted: &[(&str, Want)]) {
        self.options.wanted = Wanted::default();
        for (path, want) in wanted {
            self.options.wanted.insert(&RelPath::from_bytes(*path), want.clone());
        }
    }
    fn put(&self, path: &str, bytes: &[u8]) {
        fs::write(self.dir.path().join(path), bytes).expect("writable");
    }
    fn get(&self, path: &str) -> Vec<u8> {
        fs::read(self.dir.path().join(path)).expect("readable")
    }
    fn view(&self, side: &str) -> View {
        View::of_fd(OwnedFd::from(fs::File::open(self.dir.path().join(side)).expect("there")))
            .expect("a directory")
    }
    fn refresh(&self) -> Counts {
        let (a, b) = (self.view("a"), self.view("b"));
        let changes = scan(&a, &b, &self.options, &Silent).expect("a list");
        let mut counts = apply_additions(&changes, &a, &b, &self.options, &Silent).expect("applied");
        counts += apply_deletions(&changes, &a, &b, &self.options, &Silent).expect("applied");
        counts += changes.into_counts();
        counts
    }
    fn inode(&self, path: &str) -> u64 {
        fs::metadata(self.dir.path().join(path)).expect("there").ino()
    }
}

const IMAGE: &[u8] = b"the source's image";

fn both() -> [(&'static str, Want); 2] {
    [
        ("etc/fstab", Want::bytes(b"UUID=2 / ext4\n".to_vec())),
        ("initrd", Want::source_then(IMAGE.len() as u64, b"\0\0suffix".to_vec())),
    ]
}

fn as_wanted(pair: &Pair) {
    assert_eq!(pair.get("b/etc/fstab"), b"UUID=2 / ext4\n");
    assert_eq!(pair.get("b/initrd"), [IMAGE, b"\0\0suffix"].concat());
    for path in ["etc/fstab", "initrd"] {
        let meta = |side: &str| fs::metadata(pair.dir.path().join(side).join(path)).expect("there");
        let (a, b) = (meta("a"), meta("b"));
        assert_eq!((a.mtime(), a.mtime_nsec(), a.mode()), (b.mtime(), b.mtime_nsec(), b.mode()), "{path}");
    }
    assert_eq!(pair.get("a/etc/fstab"), b"UUID=1 / ext4\n", "the source is as it was");
}

#[test]
fn what_is_wanted_is_made_and_then_left_alone() {
    let pair = Pair::new(&both());
    assert_eq!(pair.refresh().files_copied, 2);
    as_wanted(&pair);
    let inodes = ["b/etc/fstab", "b/initrd"].map(|path| pair.inode(path));
    let again = pair.refresh();
    assert_eq!((again.files_copied, again.metadata_changed, again.errors), (0, 0, 0));
    assert_eq!(["b/etc/fstab", "b/initrd"].map(|path| pair.inode(path)), inodes);
}

#[test]
fn a_mirror_that_was_never_complete_gets_it_too() {
    let pair = Pair::new(&both());
    let counts = stream(&pair.view("a"), &pair.view("b"), &pair.options, &Silent).expect("streamed");
    assert_eq!(counts.files_copied, 2);
    as_wanted(&pair);
    assert_eq!(
        stream(&pair.view("a"), &pair.view("b"), &pair.options, &Silent).expect("streamed").files_copied,
        0
    );
}

#[test]
fn what_the_source_holds_is_replaced_and_a_new_time_alone_is_only_set() {
    let mut pair = Pair::new(&[]);
    pair.refresh();
    pair.want(&both());
    assert_eq!(pair.refresh().files_copied, 2);
    as_wanted(&pair);
    let now = fs::File::options().write(true).open(pair.dir.path().join("a/etc/fstab")).expect("there");
    now.set_modified(std::time::SystemTime::UNIX_EPOCH).expect("settable");
    let counts = pair.refresh();
    assert_eq!((counts.files_copied, counts.metadata_changed), (0, 1));
    as_wanted(&pair);
}

#[test]
fn content_of_the_right_size_and_time_is_looked_at() {
    let pair = Pair::new(&both());
    pair.refresh();
    for (path, bytes) in
        [("etc/fstab", b"UUID=1 / ext4\n".to_vec()), ("initrd", [IMAGE, b"\0\0SUFFIX"].concat())]
    {
        let file = pair.dir.path().join("b").join(path);
        let time = fs::metadata(&file).expect("there").modified().expect("a time");
        fs::write(&file, bytes).expect("writable");
        fs::File::options().write(true).open(&file).expect("there").set_modified(time).expect("settable");
    }
    assert_eq!(pair.refresh().files_copied, 2);
    as_wanted(&pair);
}

#[test]
fn the_sources_part_is_compared_where_content_is_suspect() {
    let mut pair = Pair::new(&both());
    pair.refresh();
    let file = pair.dir.path().join("b/initrd");
    let time = fs::metadata(&file).expect("there").modified().expect("a time");
    fs::write(&file, [b"THE SOURCE'S IMAGE".as_slice(), b"\0\0suffix"].concat()).expect("writable");
    fs::File::options().write(true).open(&file).expect("there").set_modified(time).expect("settable");
    assert_eq!(pair.refresh().files_copied, 0, "size, time and end agree");
    pair.options.compare_content = true;
    assert_eq!(pair.refresh().files_copied, 1);
    as_wanted(&pair);
}

#[test]
fn what_was_decided_for_another_source_is_not_done_and_the_mirror_keeps_what_it_has() {
    let pair = Pair::new(&both());
    pair.refresh();
    pair.put("a/initrd", b"another image, longer than the first");
    let counts = pair.refresh();
    assert_eq!((counts.files_copied, counts.errors), (0, 1));
    assert_eq!(pair.get("b/initrd"), [IMAGE, b"\0\0suffix"].concat());
    fs::remove_file(pair.dir.path().join("b/initrd")).expect("there");
    let counts = pair.refresh();
    assert_eq!((counts.files_copied, counts.errors), (0, 1));
    assert!(!Path::new(&pair.dir.path().join("b/initrd")).exists(), "nothing half is left");
}
