//! Blocks of large objects, and what is asked of upstream for what clients want: pure arithmetic.
//!
//! Objects are held in aligned blocks of 1 MiB. For a range of an object of which nothing is known, the blocks that it touches are
//! asked for: their first bytes are the answer's, give or take one block, and all of them can be held.

use std::ops::Range;

use http::HeaderValue;

/// Bytes of a block; the last one of an object has what is left.
pub(super) const BLOCK_BYTES: u64 = 1 << 20;

/// The part of an object that one request to upstream is about.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub(super) enum Part {
    /// All of it.
    Whole,
    /// From a block's first byte to another's last one, or to the object's end.
    Blocks {
        /// The first byte; a multiple of [`BLOCK_BYTES`].
        start: u64,
        /// The byte after the last one, as asked; a multiple of [`BLOCK_BYTES`].
        end: Option<u64>,
    },
    /// So many bytes at its end.
    Last(u64),
}

/// `Content-Range` of a 206 (RFC 9110 §14.4).
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) struct ContentRange {
    /// The first byte that follows.
    pub start: u64,
    /// The byte after the last one.
    pub end: u64,
    /// Bytes of the whole object; `None` where the server does not know it (`*`).
    pub total: Option<u64>,
}

impl Part {
    /// What is asked of upstream for a request's `Range`; `None` stands for a request without one, or with one that is not of bytes,
    /// or of several ranges, which is answered with the whole.
    pub(super) fn wanted_by(range: Option<&str>) -> Self {
        let Some((first, last)) = range.and_then(single_range) else { return Self::Whole };
        match (first, last) {
            (Some(first), Some(last)) if last >= first => {
                Self::Blocks { start: floor(first), end: ceiling(last.saturating_add(1)) }
            }
            // Players begin so, and go on to the end.
            (Some(first), None) if first < BLOCK_BYTES => Self::Whole,
            (Some(first), None) => Self::Blocks { start: floor(first), end: None },
            (None, Some(count)) if count > 0 => Self::Last(count.max(BLOCK_BYTES)),
            _ => Self::Whole,
        }
    }

    /// What `Range` says for it; nothing for the whole.
    pub(super) fn field(self) -> Option<HeaderValue> {
        let text = match self {
            Self::Whole => return None,
            Self::Blocks { start, end: Some(end) } => format!("bytes={start}-{}", end - 1),
            Self::Blocks { start, end: None } => format!("bytes={start}-"),
            Self::Last(count) => format!("bytes=-{count}"),
        };
        HeaderValue::try_from(text).ok()
    }

    /// The byte that a request for it begins with, as far as that is known.
    pub(super) fn start(self) -> Option<u64> {
        match self {
            Self::Whole => Some(0),
            Self::Blocks { start, .. } => Some(start),
            Self::Last(_) => None,
        }
    }
}

impl ContentRange {
    /// Whether it is what the field of a request asks for, or the beginning of that (RFC 9110 §15.3.7); of several ranges it may be any.
    /// Where the last bytes begin is known by the total alone: without it, they are no more than were asked for.
    pub(super) fn answers(&self, range: &str) -> bool {
        match single_range(range) {
            Some((Some(first), last)) => {
                self.start == first && last.is_none_or(|last| self.end <= last.saturating_add(1))
            }
            Some((None, Some(count))) => match self.total {
                Some(total) => self.end == total && self.start == total.saturating_sub(count),
                None => self.end - self.start <= count,
            },
            _ => true,
        }
    }

    /// Reads the field's value; `None` where it is not of bytes, or contradicts itself.
    pub(super) fn parse(value: &HeaderValue) -> Option<Self> {
        let text = value.to_str().ok()?.trim();
        let (unit, rest) = text.split_once(' ')?;
        let (range, total) = rest.trim().split_once('/')?;
        let (first, last) = range.split_once('-')?;
        let (start, end) = (number(first)?, number(last)?.checked_add(1)?);
        let total = if total == "*" { None } else { Some(number(total)?) };
        let is_consistent = start < end && total.is_none_or(|total| end <= total);
        (unit.eq_ignore_ascii_case("bytes") && is_consistent).then_some(Self { start, end, total })
    }
}

/// The block that a byte is in; `None` beyond the four pebibytes that can be numbered.
pub(super) fn block_of(byte: u64) -> Option<u32> {
    u32::try_from(byte / BLOCK_BYTES).ok()
}

/// How many blocks an object of `total` bytes has.
pub(super) fn block_count(total: u64) -> u64 {
    total.div_ceil(BLOCK_BYTES)
}

/// The blocks from `first` on that are not held and touch the bytes before `end`, up to the first that is held; as the part that is
/// asked of upstream. `held` are ascending runs.
pub(super) fn missing_from(first: u32, end: u64, held: &[Range<u32>]) -> Part {
    let after = block_of(end.saturating_sub(1)).map_or(u32::MAX, |last| last.saturating_add(1));
    let next_held = held.iter().map(|run| run.start).find(|&start| start > first).unwrap_or(u32::MAX);
    let until = after.min(next_held).max(first.saturating_add(1));
    Part::Blocks { start: u64::from(first) * BLOCK_BYTES, end: Some(u64::from(until) * BLOCK_BYTES) }
}

/// The first byte of a range that is in no block of the runs, which ascend.
pub(super) fn first_missing(range: Range<u64>, held: &[Range<u32>]) -> Option<u64> {
    let mut block = block_of(range.start)?;
    for run in held {
        if run.contains(&block) {
            block = run.end;
        }
    }
    let byte = (u64::from(block) * BLOCK_BYTES).max(range.start);
    (byte < range.end).then_some(byte)
}

/// Whether a block is in one of the runs.
pub(super) fn is_held(number: u32, held: &[Range<u32>]) -> bool {
    held.iter().any(|run| run.contains(&number))
}

fn floor(byte: u64) -> u64 {
    byte - byte % BLOCK_BYTES
}

/// `None` where there is no such multiple.
fn ceiling(byte: u64) -> Option<u64> {
    byte.checked_next_multiple_of(BLOCK_BYTES)
}

/// First and last byte of the one range of bytes that a field asks for (RFC 9110 §14.1.2).
fn single_range(field: &str) -> Option<(Option<u64>, Option<u64>)> {
    let (unit, ranges) = field.split_once('=')?;
    let (first, last) = ranges.trim().split_once('-')?;
    if !unit.eq_ignore_ascii_case("bytes") {
        return None;
    }
    let optional = |text: &str| if text.is_empty() { Some(None) } else { number(text).map(Some) };
    Some((optional(first)?, optional(last)?))
}

fn number(text: &str) -> Option<u64> {
    text.bytes().all(|byte| byte.is_ascii_digit()).then(|| text.parse().ok()).flatten()
}

#[cfg(test)]
#[expect(clippy::single_range_in_vec_init, reason = "runs of blocks")]
mod tests {
    use super::*;

    const MIB: u64 = BLOCK_BYTES;

    #[test]
    fn a_part_answers_a_range_where_it_begins_as_asked_and_ends_no_later() {
        let part = ContentRange { start: 5, end: 10, total: Some(10) };
        for range in ["bytes=5-", "bytes=5-9", "bytes=5-99", "bytes=-5", "bytes=0-1,5-9", "lines=1-2"] {
            assert!(part.answers(range), "{range}");
        }
        for range in ["bytes=4-", "bytes=4-9", "bytes=6-9", "bytes=5-8", "bytes=-4", "bytes=-99"] {
            assert!(!part.answers(range), "{range}");
        }
        let earlier = ContentRange { total: Some(11), ..part };
        assert!(!earlier.answers("bytes=-6"), "the last ones were asked for");
    }

    #[test]
    fn of_an_unknown_total_the_last_bytes_are_no_more_than_were_asked_for() {
        let part = ContentRange { start: 5, end: 10, total: None };
        for range in ["bytes=-5", "bytes=-6", "bytes=5-9", "bytes=5-"] {
            assert!(part.answers(range), "{range}");
        }
        for range in ["bytes=-4", "bytes=-0", "bytes=4-9", "bytes=5-8"] {
            assert!(!part.answers(range), "{range}");
        }
    }

    #[test]
    fn upstream_is_asked_for_the_blocks_that_a_range_touches() {
        let blocks = |start, end| Part::Blocks { start, end };
        for (range, part) in [
            (None, Part::Whole),
            (Some("bytes=0-"), Part::Whole),
            (Some("bytes=7-"), Part::Whole),
            (Some("bytes=0-0"), blocks(0, Some(MIB))),
            (Some("bytes=0-1048575"), blocks(0, Some(MIB))),
            (Some("bytes=0-1048576"), blocks(0, Some(2 * MIB))),
            (Some("Bytes = 1048576-1048577"), Part::Whole),
            (Some("BYTES=1048577-1048578"), blocks(MIB, Some(2 * MIB))),
            (Some("bytes=2000000-"), blocks(MIB, None)),
            (Some("bytes=-5"), Part::Last(MIB)),
            (Some("bytes=-2000000"), Part::Last(2_000_000)),
            (Some("bytes=0-18446744073709551615"), blocks(0, None)),
            (Some("bytes=-0"), Part::Whole),
            (Some("bytes=5-4"), Part::Whole),
            (Some("bytes=0-1,5-6"), Part::Whole),
            (Some("bytes=a-b"), Part::Whole),
            (Some("items=0-1"), Part::Whole),
            (Some("bytes=99999999999999999999-"), Part::Whole),
        ] {
            assert_eq!(Part::wanted_by(range), part, "{range:?}");
        }
    }

    #[test]
    fn a_part_is_asked_for_by_its_first_and_last_byte() {
        assert_eq!(Part::Whole.field(), None);
        for (part, field) in [
            (Part::Blocks { start: 0, end: Some(MIB) }, "bytes=0-1048575"),
            (Part::Blocks { start: MIB, end: None }, "bytes=1048576-"),
            (Part::Last(9), "bytes=-9"),
        ] {
            assert_eq!(part.field().unwrap(), field);
        }
    }

    #[test]
    fn the_range_that_came_is_read_where_it_makes_sense() {
        let read = |text: &'static str| {
            ContentRange::parse(&HeaderValue::from_static(text))
                .map(|range| (range.start, range.end, range.total))
        };
        assert_eq!(read("bytes 0-4/10"), Some((0, 5, Some(10))));
        assert_eq!(read("Bytes 9-9/10"), Some((9, 10, Some(10))));
        assert_eq!(read("bytes 0-4/*"), Some((0, 5, None)));
        for text in [
            "bytes */10",
            "bytes */*",
            "bytes 5-4/10",
            "bytes 5-4/*",
            "bytes 0-10/10",
            "bytes 0-18446744073709551615/*",
            "items 0-4/10",
            "",
            "bytes 0-/1",
        ] {
            assert_eq!(read(text), None, "{text}");
        }
    }

    #[test]
    fn missing_blocks_are_asked_for_up_to_the_next_that_is_held() {
        let bytes =
            |blocks: Range<u64>| Part::Blocks { start: blocks.start * MIB, end: Some(blocks.end * MIB) };
        assert_eq!(missing_from(0, 3 * MIB, &[]), bytes(0..3));
        assert_eq!(missing_from(0, 3 * MIB + 1, &[]), bytes(0..4));
        assert_eq!(missing_from(1, 9 * MIB, &[0..1, 4..6]), bytes(1..4));
        assert_eq!(missing_from(6, 9 * MIB, &[0..1, 4..6]), bytes(6..9));
        assert_eq!(missing_from(2, 1, &[]), bytes(2..3));
    }

    #[test]
    fn the_first_missing_byte_follows_the_blocks_that_are_held_without_a_gap() {
        for (range, held, byte) in [
            (0..9, &[][..], Some(0)),
            (7..9, &[], Some(7)),
            (7..9, &[0..1], None),
            (7..MIB + 1, &[0..1], Some(MIB)),
            (7..9 * MIB, &[0..1, 1..3, 4..9], Some(3 * MIB)),
            (3 * MIB + 5..9 * MIB, &[0..1, 4..9], Some(3 * MIB + 5)),
            (5..5, &[], None),
        ] {
            assert_eq!(first_missing(range.clone(), held), byte, "{range:?} {held:?}");
        }
    }

    #[test]
    fn a_byte_is_in_the_block_that_begins_at_or_before_it() {
        assert_eq!([0, MIB - 1, MIB, 5 * MIB + 7].map(block_of), [Some(0), Some(0), Some(1), Some(5)]);
        assert_eq!(block_of(u64::MAX), None);
        assert_eq!([0, 1, MIB, MIB + 1].map(block_count), [0, 1, 1, 2]);
    }
}
