//! The comparison core's first half: two name-sorted listings of one directory, walked in lockstep. Pure.

use std::cmp::Ordering;

/// What has a name to be merged by.
pub trait Keyed {
    /// The name.
    fn key(&self) -> &[u8];
}

/// One name, and on which sides it is.
#[derive(Debug, PartialEq, Eq)]
pub enum Pair<'a, T> {
    /// On the source only.
    New(&'a T),
    /// On the mirror only.
    Gone(&'a T),
    /// On both: source, mirror.
    Both(&'a T, &'a T),
}

/// Every name of either side once, in order. Both slices must be sorted by name, without duplicates.
pub fn merge<'a, T: Keyed>(source: &'a [T], mirror: &'a [T]) -> impl Iterator<Item = Pair<'a, T>> {
    let (mut source, mut mirror) = (source.iter().peekable(), mirror.iter().peekable());
    std::iter::from_fn(move || {
        let order = match (source.peek(), mirror.peek()) {
            (Some(a), Some(b)) => a.key().cmp(b.key()),
            (Some(_), None) => Ordering::Less,
            (None, Some(_)) => Ordering::Greater,
            (None, None) => return None,
        };
        match order {
            Ordering::Less => source.next().map(Pair::New),
            Ordering::Greater => mirror.next().map(Pair::Gone),
            Ordering::Equal => source.next().zip(mirror.next()).map(|(a, b)| Pair::Both(a, b)),
        }
    })
}

#[cfg(test)]
mod tests {
    use super::*;

    impl Keyed for &str {
        fn key(&self) -> &[u8] {
            self.as_bytes()
        }
    }

    #[test]
    fn every_name_of_either_side_comes_once_and_in_order() {
        let pairs: Vec<_> = merge(&["a", "c", "d"], &["b", "c", "e"]).collect();
        assert_eq!(
            pairs,
            [Pair::New(&"a"), Pair::Gone(&"b"), Pair::Both(&"c", &"c"), Pair::New(&"d"), Pair::Gone(&"e")]
        );
    }

    #[test]
    fn an_empty_side_leaves_the_other_whole() {
        assert_eq!(merge(&["a"], &[]).collect::<Vec<_>>(), [Pair::New(&"a")]);
        assert_eq!(merge(&[], &["a"]).collect::<Vec<_>>(), [Pair::Gone(&"a")]);
        assert_eq!(merge::<&str>(&[], &[]).count(), 0);
    }
}
