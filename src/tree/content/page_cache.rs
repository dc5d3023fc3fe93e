//! Manners towards the page cache while a large file is copied: what was not in it before does not stay in it, neither
//! the source's pages nor the mirror's, and what the server had in it stays. Writing begins early, so that little is left
//! to be flushed at the end. All of this is advice: what goes wrong here shows nowhere but in the time it takes.

use crate::sys::page_cache::{drop_range, holds_any, read_ahead, start_writing, write_out};
use std::collections::VecDeque;
use std::ops::Range;
use std::os::fd::OwnedFd;

/// What is looked at, read ahead, written and dropped as one: far longer than what the kernel reads ahead by itself.
pub(in crate::tree) const WINDOW: u64 = 8 << 20;
/// How many windows may be on their way to the disk.
const ON_THEIR_WAY: usize = 4;

/// A copy's place in its file.
pub(in crate::tree) struct Manners<'a> {
    source: &'a OwnedFd,
    mirror: &'a OwnedFd,
    size: u64,
    /// The length of a window.
    window: u64,
    /// The window that is being copied, and whether the server had anything of it in the cache.
    now: Option<(u64, bool)>,
    /// The same of the one behind it: asked before reading comes so near that the kernel reads ahead into it.
    next: Option<(u64, bool)>,
    writing: VecDeque<Range<u64>>,
}

impl<'a> Manners<'a> {
    /// For a copy of `size` bytes from `source` to `mirror`, in windows of `window` bytes.
    pub fn new(source: &'a OwnedFd, mirror: &'a OwnedFd, size: u64, window: u64) -> Self {
        Manners { source, mirror, size, window, now: None, next: None, writing: VecDeque::new() }
    }
    /// Comes before the byte at `at` is read, of a stretch of data that ends at `end`; that goes forwards only.
    pub fn before(&mut self, at: u64, end: u64) {
        let window = at / self.window;
        if self.now.is_some_and(|(now, _)| now == window) {
            return;
        }
        self.leave();
        self.now = match self.next.take().filter(|(next, _)| *next == window) {
            Some(known) => Some(known),
            None => self.look_ahead(window, at, end),
        };
        self.next = self.look_ahead(window + 1, at, end);
    }
    /// Comes when all is copied.
    pub fn end(&mut self) {
        self.leave();
    }
    fn range(&self, window: u64) -> Range<u64> {
        window * self.window..((window + 1) * self.window).min(self.size)
    }
    /// Has what is data between `at` and `end` read of a window, and says whether anything of the window was there
    /// before. Where that is not known, it was.
    fn look_ahead(&self, window: u64, at: u64, end: u64) -> Option<(u64, bool)> {
        let range = self.range(window);
        let data = range.start.max(at)..range.end.min(end);
        if data.is_empty() {
            return None;
        }
        let cached = holds_any(self.source, &range).unwrap_or(true);
        let _ = read_ahead(self.source, &data);
        Some((window, cached))
    }
    fn leave(&mut self) {
        let Some((window, cached)) = self.now.take() else { return };
        let range = self.range(window);
        if !cached {
            let _ = drop_range(self.source, &range);
        }
        let _ = start_writing(self.mirror, &range);
        self.writing.push_back(range);
        if self.writing.len() > ON_THEIR_WAY
            && let Some(oldest) = self.writing.pop_front()
        {
            let _ = write_out(self.mirror, &oldest);
            let _ = drop_range(self.mirror, &oldest);
        }
    }
}
