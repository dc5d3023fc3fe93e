//! Work shared out among threads. Much of it is waiting for disks, so there are more threads than processors: a scan that
//! finds nothing in the cache takes half as long with sixteen as with two, and one that finds everything no longer.

use crate::tree::base::fault::Error;
use crate::tree::pass::Options;
use std::sync::Mutex;
use std::sync::atomic::{AtomicUsize, Ordering::Relaxed};

/// Threads for each processor while directories are looked at …
const SCANNING_EACH: usize = 8;
/// … and while files are copied …
const COPYING_EACH: usize = 3;
/// … and at most in all.
const MOST: usize = 16;

/// How many threads look at directories.
pub(in crate::tree) fn scanners(options: &Options) -> usize {
    threads(options, SCANNING_EACH)
}

/// How many threads copy.
pub(in crate::tree) fn copiers(options: &Options) -> usize {
    threads(options, COPYING_EACH)
}

fn threads(options: &Options, each: usize) -> usize {
    match options.threads {
        0 => std::thread::available_parallelism().map_or(1, |n| (n.get() * each).min(MOST)),
        n => n,
    }
}

/// Has `work` done for each item, on up to `threads` threads, in no order. The first error ends it.
pub(in crate::tree) fn share_out<T: Sync>(
    threads: usize,
    items: &[T],
    work: impl Fn(&T) -> Result<(), Error> + Sync,
) -> Result<(), Error> {
    let (next, ended) = (AtomicUsize::new(0), Mutex::new(None));
    let worker = || {
        while let Some(item) = items.get(next.fetch_add(1, Relaxed)) {
            if let Err(error) = work(item) {
                next.store(items.len(), Relaxed);
                ended.lock().expect("no thread panics while ending").get_or_insert(error);
            }
        }
    };
    std::thread::scope(|scope| {
        for _ in 1..threads.min(items.len()) {
            scope.spawn(worker);
        }
        worker();
    });
    ended.into_inner().expect("no thread panics while ending").map_or(Ok(()), Err)
}
