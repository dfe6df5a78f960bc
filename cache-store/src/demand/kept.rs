//! Entries that are read while they come, and cannot be had again: what is stored of them does not leave for what is new, for a
//! while. Pure.
//!
//! Kept is the segment that such an entry begins in, and so all that came after it. However long its readers take, each segment
//! leaves a bounded time after it had to.

use std::collections::BTreeMap;
use std::time::Instant;

use crate::limits::DEMAND_KEPT_FOR;

/// Which segments are kept.
#[derive(Debug, Default)]
pub(super) struct Kept {
    /// How many entries are kept, by the segment that they begin in.
    by_segment: BTreeMap<u64, u32>,
    /// The last segment that was to leave and was kept, and since when.
    in_the_way: Option<(u64, Instant)>,
}

impl Kept {
    pub(super) fn add(&mut self, segment: u64) {
        *self.by_segment.entry(segment).or_default() += 1;
    }

    pub(super) fn remove(&mut self, segment: u64) {
        if let Some(count) = self.by_segment.get_mut(&segment) {
            *count -= 1;
            if *count == 0 {
                self.by_segment.remove(&segment);
            }
        }
    }

    /// Whether the oldest segment would be kept if it were to leave.
    pub(super) fn keeps(&self, oldest: u64, now: Instant) -> bool {
        let is_kept = self.by_segment.contains_key(&oldest);
        let since = self.in_the_way.filter(|(segment, _)| *segment == oldest).map(|(_, since)| since);
        is_kept && since.is_none_or(|since| now.saturating_duration_since(since) < DEMAND_KEPT_FOR)
    }

    /// The oldest segment is to leave. Whether it is kept; from the first time on for so long.
    pub(super) fn hold_back(&mut self, oldest: u64, now: Instant) -> bool {
        let is_kept = self.keeps(oldest, now);
        if is_kept && self.in_the_way.is_none_or(|(segment, _)| segment != oldest) {
            self.in_the_way = Some((oldest, now));
        }
        is_kept
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_segment_is_kept_for_a_while_from_when_it_was_to_leave_and_no_longer_than_anybody_wants_it() {
        let mut kept = Kept::default();
        let begin = Instant::now();
        kept.add(3);
        kept.add(3);
        assert!(!kept.hold_back(2, begin), "nobody wants that");
        let later = begin + 10 * DEMAND_KEPT_FOR;
        assert!(kept.keeps(3, later), "it was in nobody's way");
        assert!(kept.hold_back(3, later));
        kept.remove(3);
        let last = later + DEMAND_KEPT_FOR - std::time::Duration::from_millis(1);
        assert!(kept.hold_back(3, last), "for one of the two");
        assert!(!kept.hold_back(3, later + DEMAND_KEPT_FOR));
        kept.add(4);
        assert!(kept.hold_back(4, later + DEMAND_KEPT_FOR), "the next one has its own time");
        kept.remove(4);
        assert!(!kept.hold_back(4, later + DEMAND_KEPT_FOR));
        kept.remove(3);
        assert!(kept.by_segment.is_empty());
        kept.remove(3);
    }
}
