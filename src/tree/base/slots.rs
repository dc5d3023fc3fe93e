//! Where hashes belong in the next catalog.

/// Where the hashes of a block's files lie in the next file; none where nothing is recorded.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Slots(pub u64);

impl Slots {
    /// Nowhere.
    pub const NONE: Slots = Slots(0);

    /// The place of one file's hash, as `Draft::push` gave it. Zero is no place: the page lies there.
    pub fn of(self, place: Option<u64>) -> u64 {
        place.filter(|_| self != Slots::NONE).map_or(0, |place| self.0 + place)
    }
}
