//! Whether a flight goes on whose passengers have all left: pure arithmetic.
//!
//! Players seek and leave; the next one may want what they began. But whoever asks and leaves must not make upstream send much more than
//! it took: at most as much again, and the rest of a block.

use crate::pull::blocks::BLOCK_BYTES;

/// How far a flight has come.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(in crate::pull) struct Progress {
    /// The byte after the last one that came.
    pub received_to: u64,
    /// The byte after the last one that anybody was given.
    pub given_to: u64,
    /// The most bytes that one passenger has taken.
    pub taken_bytes: u64,
}

impl Progress {
    /// Whether it is worth going on: to the end of the last block of which anybody was given bytes, which can be held then; and to the
    /// end of the body where no more than `finish_below` is left of it, and no more than was taken.
    pub(in crate::pull) fn is_worth_finishing(self, end: Option<u64>, finish_below: u64) -> bool {
        let block_end = self.given_to.checked_next_multiple_of(BLOCK_BYTES).unwrap_or(u64::MAX);
        let left = end.map_or(u64::MAX, |end| end.saturating_sub(self.received_to));
        self.received_to < block_end || left <= finish_below.min(self.taken_bytes)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    const MIB: u64 = BLOCK_BYTES;

    #[test]
    fn what_nobody_waits_for_is_fetched_for_a_block_or_for_as_much_as_was_taken() {
        let progress = |received_to, given_to, taken_bytes| Progress { received_to, given_to, taken_bytes };
        for (progress, end, is_worth) in [
            // Left before the first byte.
            (progress(0, 0, 0), Some(100), false),
            (progress(1000, 0, 0), None, false),
            // A byte was given: its block, and no more.
            (progress(1000, 1, 1), Some(6 * MIB), true),
            (progress(MIB, 1, 1), Some(6 * MIB), false),
            (progress(5 * MIB - 1, 4 * MIB + 1, 1), None, true),
            (progress(5 * MIB, 4 * MIB + 1, 1), None, false),
            // As much again as was taken.
            (progress(3 * MIB, 3 * MIB, 3 * MIB), Some(6 * MIB), true),
            (progress(3 * MIB, 3 * MIB, 3 * MIB), Some(6 * MIB + 1), false),
            // No more than is finished at all.
            (progress(9 * MIB, 9 * MIB, 9 * MIB), Some(17 * MIB), true),
            (progress(9 * MIB, 9 * MIB, 9 * MIB), Some(17 * MIB + 1), false),
            // What was passed over was not taken.
            (progress(40 * MIB, 40 * MIB, 100), Some(48 * MIB), false),
            (progress(u64::MAX, u64::MAX, 1), None, false),
        ] {
            assert_eq!(progress.is_worth_finishing(end, 8 * MIB), is_worth, "{progress:?} {end:?}");
        }
    }
}
