//! The form of paths on the spool: by what they have in common with one of the last that were written, as several threads
//! write by turns. Writer and reader remember the same ones.

use crate::tree::base::relpath::RelPath;
use std::collections::VecDeque;

/// So many are remembered: more than threads take turns.
const REMEMBERED: usize = 32;
/// So many of the last ones are looked through name by name, if none of all is just above.
const LOOKED_THROUGH: usize = 4;
/// So many directories above a path are looked for among the remembered ones.
const NEAR: usize = 4;

/// The paths that were written, or read, last: the newest first.
#[derive(Debug, Default)]
pub(in crate::tree) struct RecentPaths(VecDeque<RelPath>);

impl RecentPaths {
    /// Appends the form of a path: the number of a recent one, how many names are taken from it, and those that follow.
    pub fn encode(&mut self, path: &RelPath, out: &mut Vec<u8>) {
        let (number, shared) = self.nearest(path);
        let names = path.names_below(shared);
        out.push(number);
        out.extend(shared.to_le_bytes());
        out.extend((names.len() as u32).to_le_bytes());
        names.iter().for_each(|name| put_bytes(out, name));
        self.remember(path);
    }
    /// Reads what `encode` wrote; none if it is damaged.
    pub fn decode(&mut self, from: &mut &[u8]) -> Option<RelPath> {
        let [number] = take(from)?;
        let shared = u32::from_le_bytes(take(from)?);
        let names = u32::from_le_bytes(take(from)?);
        let mut path = match shared {
            0 => RelPath::root(),
            _ => self.0.get(usize::from(number))?.at_depth(shared),
        };
        for _ in 0..names {
            path = path.join(take_bytes(from).filter(|name| !name.is_empty())?);
        }
        self.remember(&path);
        Some(path)
    }
    fn remember(&mut self, path: &RelPath) {
        if self.0.front() != Some(path) {
            self.0.push_front(path.clone());
            self.0.truncate(REMEMBERED);
        }
    }
    /// The recent path that has most in common with one, and how many names.
    fn nearest(&self, path: &RelPath) -> (u8, u32) {
        for above in path.ancestors().take(NEAR) {
            if let Some(number) = self.0.iter().position(|recent| recent.is_the(&above)) {
                return (number as u8, above.depth());
            }
        }
        let looked = self.0.iter().take(LOOKED_THROUGH).map(|recent| recent.shared_depth(path)).zip(0..);
        looked.max_by_key(|(shared, _)| *shared).map_or((0, 0), |(shared, number)| (number, shared))
    }
}

/// Appends bytes behind their length.
pub(in crate::tree) fn put_bytes(out: &mut Vec<u8>, bytes: &[u8]) {
    out.extend((bytes.len() as u32).to_le_bytes());
    out.extend(bytes);
}

/// Takes so many bytes.
pub(in crate::tree) fn take<const N: usize>(from: &mut &[u8]) -> Option<[u8; N]> {
    let (head, tail) = from.split_first_chunk::<N>()?;
    *from = tail;
    Some(*head)
}

/// Takes what `put_bytes` appended.
pub(in crate::tree) fn take_bytes<'a>(from: &mut &'a [u8]) -> Option<&'a [u8]> {
    let length = u32::from_le_bytes(take(from)?) as usize;
    let (head, tail) = from.split_at_checked(length)?;
    *from = tail;
    Some(head)
}
