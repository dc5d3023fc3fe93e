//! Work shared out among threads. Most of copying is waiting for disks, so there are more threads than processors.

use super::fault::Error;
use super::pass::Options;
use std::sync::Mutex;
use std::sync::atomic::{AtomicUsize, Ordering::Relaxed};

/// Threads for each processor while files are copied …
const EACH: usize = 3;
/// … and at most in all.
const MOST: usize = 16;

/// How many threads copy.
pub(super) fn copiers(options: &Options) -> usize {
    match options.threads {
        0 => std::thread::available_parallelism().map_or(1, |n| (n.get() * EACH).min(MOST)),
        n => n,
    }
}

/// Has `work` done for each item, on up to `threads` threads, in no order. The first error ends it.
pub(super) fn share_out<T: Sync>(
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
