//! Range (RFC 9110 §14): which bytes of an object are asked for.

use control_client::units::ByteRange;
use smallvec::SmallVec;

use crate::limits;

/// What a Range field selects of an object.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) enum Selection {
    /// The object: the field is invalid, not understood, or asks for more than is answered in parts.
    Whole,
    /// One to [`limits::RANGES`] ranges, not empty, disjoint, within the object, in the order asked for.
    Ranges(SmallVec<[ByteRange; 1]>),
    /// A valid field of which no range lies within the object: 416.
    Unsatisfiable,
}

/// One range as written; a number beyond 64 bits is as good as the largest.
#[derive(Clone, Copy)]
enum Spec {
    From { first: u64, last: u64 },
    Suffix { length: u64 },
}

/// Reads the value of a Range field for an object of `length` bytes.
///
/// Ranges that are not satisfiable are left out (§14.1.2); too many or overlapping ones are answered with the whole
/// object, as §14.2 allows and §17.15 advises.
pub(crate) fn select(value: &[u8], length: u64) -> Selection {
    let Some(specs) = range_set(value) else { return Selection::Whole };
    let mut ranges: SmallVec<[ByteRange; 1]> = SmallVec::new();
    let mut is_written = false;
    let mut has_empty_suffix = false;
    for spec in specs.split(|&byte| byte == b',').map(<[u8]>::trim_ascii).filter(|spec| !spec.is_empty()) {
        let Some(spec) = Spec::parse(spec) else { return Selection::Whole };
        is_written = true;
        match spec.within(length) {
            Some(range) if range.is_empty() => has_empty_suffix = true,
            Some(_) if ranges.len() == limits::RANGES => return Selection::Whole,
            Some(range) => ranges.push(range),
            None => {}
        }
    }
    if !is_written || has_empty_suffix || overlap(&ranges) {
        return Selection::Whole;
    }
    if ranges.is_empty() { Selection::Unsatisfiable } else { Selection::Ranges(ranges) }
}

/// What follows `bytes=`; `None` for another unit. Names of units are case-insensitive (§14.1).
fn range_set(value: &[u8]) -> Option<&[u8]> {
    let (unit, set) = value.split_at_checked("bytes=".len())?;
    unit.eq_ignore_ascii_case(b"bytes=").then_some(set)
}

impl Spec {
    /// `first-last`, `first-` or `-length` (§14.1.1); `None` breaks the grammar.
    fn parse(spec: &[u8]) -> Option<Self> {
        let dash = spec.iter().position(|&byte| byte == b'-')?;
        match (&spec[..dash], &spec[dash + 1..]) {
            (b"", length) => Some(Self::Suffix { length: parse_number(length)? }),
            (first, b"") => Some(Self::From { first: parse_number(first)?, last: u64::MAX }),
            (first, last) => {
                let (first, last) = (parse_number(first)?, parse_number(last)?);
                (first <= last).then_some(Self::From { first, last })
            }
        }
    }

    /// The bytes that it means of an object of `length` bytes; `None`: not satisfiable. Empty only for a suffix of an
    /// empty object, which is satisfiable, though no Content-Range could say so.
    fn within(self, length: u64) -> Option<ByteRange> {
        match self {
            Self::From { first, .. } if first >= length => None,
            Self::From { first, last } => Some(ByteRange::new(first, last.saturating_add(1).min(length))),
            Self::Suffix { length: 0 } => None,
            Self::Suffix { length: suffix } => Some(ByteRange::new(length.saturating_sub(suffix), length)),
        }
    }
}

/// Two long numbers that differ only beyond 64 bits compare as equal, so that `last` is not below `first` by mistake.
fn parse_number(digits: &[u8]) -> Option<u64> {
    if digits.is_empty() {
        return None;
    }
    digits.iter().try_fold(0_u64, |number, &byte| {
        let digit = byte.is_ascii_digit().then(|| u64::from(byte - b'0'))?;
        Some(number.saturating_mul(10).saturating_add(digit))
    })
}

fn overlap(ranges: &[ByteRange]) -> bool {
    ranges.iter().enumerate().any(|(place, range)| {
        ranges[..place].iter().any(|other| range.start < other.end && other.start < range.end)
    })
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    fn ranges(expected: &[(u64, u64)]) -> Selection {
        Selection::Ranges(expected.iter().map(|&(start, end)| ByteRange::new(start, end)).collect())
    }

    #[test]
    fn single_ranges_are_cut_to_the_object() {
        for (value, expected) in [
            ("bytes=0-0", (0, 1)),
            ("bytes=0-9", (0, 10)),
            ("bytes=0-", (0, 100)),
            ("bytes=99-", (99, 100)),
            ("bytes=90-1000", (90, 100)),
            ("bytes=-1", (99, 100)),
            ("bytes=-100", (0, 100)),
            ("bytes=-1000", (0, 100)),
            ("BYTES=0-0", (0, 1)),
            ("bytes= 0-0 ", (0, 1)),
            ("bytes=,0-0,,", (0, 1)),
            ("bytes=00000000000000000000000-0001", (0, 2)),
            ("bytes=0-18446744073709551615", (0, 100)),
            ("bytes=0-99999999999999999999999", (0, 100)),
            ("bytes=-99999999999999999999999", (0, 100)),
            ("bytes=0-0,100-,-0", (0, 1)),
        ] {
            assert_eq!(select(value.as_bytes(), 100), ranges(&[expected]), "{value}");
        }
    }

    #[test]
    fn several_disjoint_ranges_keep_their_order() {
        assert_eq!(select(b"bytes=0-0,2-2", 100), ranges(&[(0, 1), (2, 3)]));
        assert_eq!(select(b"bytes=-1 ,\t0-0", 100), ranges(&[(99, 100), (0, 1)]));
        assert_eq!(
            select(b"bytes=0-9,10-19", 100),
            ranges(&[(0, 10), (10, 20)]),
            "neighbours do not overlap"
        );
        assert_eq!(select(b"bytes=200-,0-0,100-300,5-5", 100), ranges(&[(0, 1), (5, 6)]));
    }

    #[test]
    fn overlapping_or_too_many_ranges_are_the_whole_object() {
        for value in ["bytes=0-9,9-19", "bytes=0-,-1", "bytes=0-0,0-0", "bytes=50-60,0-99"] {
            assert_eq!(select(value.as_bytes(), 100), Selection::Whole, "{value}");
        }
        let specs =
            |count: u64| (0..count).map(|place| format!("{0}-{0}", place * 2)).collect::<Vec<_>>().join(",");
        let eight: Vec<_> = (0..8).map(|place| (place * 2, place * 2 + 1)).collect();
        assert_eq!(select(format!("bytes={}", specs(8)).as_bytes(), 100), ranges(&eight));
        assert_eq!(
            select(format!("bytes={},200-", specs(8)).as_bytes(), 100),
            ranges(&eight),
            "what is left out does not count"
        );
        assert_eq!(select(format!("bytes={}", specs(9)).as_bytes(), 100), Selection::Whole);
    }

    #[test]
    fn an_invalid_field_is_ignored() {
        for value in [
            "",
            "bytes",
            "bytes=",
            "bytes=,",
            "bytes=-",
            "bytes=a-",
            "bytes=1",
            "bytes=5-4",
            "bytes=0-0,5-4",
            "bytes=0-0,x",
            "bytes 0-0",
            "bytes =0-0",
            "items=0-0",
            "bytes=0 - 0",
            "bytes=0--1",
            "bytes=--1",
            "bytes=+0-1",
            "bytes=0-1;x",
            "bytes=0x0-0x1",
            "byte=0-0",
        ] {
            assert_eq!(select(value.as_bytes(), 100), Selection::Whole, "{value:?}");
        }
    }

    #[test]
    fn ranges_beyond_the_object_are_not_satisfiable() {
        for value in [
            "bytes=100-",
            "bytes=100-200",
            "bytes=-0",
            "bytes=200-,300-",
            "bytes=99999999999999999999-99999999999999999999",
        ] {
            assert_eq!(select(value.as_bytes(), 100), Selection::Unsatisfiable, "{value}");
        }
    }

    #[test]
    fn an_empty_object_has_no_range_but_a_suffix_of_it_is_the_whole() {
        assert_eq!(select(b"bytes=0-", 0), Selection::Unsatisfiable);
        assert_eq!(select(b"bytes=0-0", 0), Selection::Unsatisfiable);
        assert_eq!(select(b"bytes=-0", 0), Selection::Unsatisfiable);
        assert_eq!(select(b"bytes=-5", 0), Selection::Whole);
    }

    #[test]
    fn the_largest_object_has_its_last_byte() {
        let last = u64::MAX - 1;
        assert_eq!(select(format!("bytes={last}-").as_bytes(), u64::MAX), ranges(&[(last, u64::MAX)]));
        assert_eq!(select(b"bytes=-1", u64::MAX), ranges(&[(last, u64::MAX)]));
    }

    proptest! {
        /// The oracle asks of every byte of a small object whether some range names it.
        #[test]
        fn selected_bytes_are_those_that_the_ranges_name(
            specs in prop::collection::vec((any::<bool>(), 0_u64..40, prop::option::of(0_u64..40)), 1..6),
            length in 0_u64..30,
        ) {
            let written: Vec<String> = specs.iter().map(|&(is_suffix, first, last)| match (is_suffix, last) {
                (true, _) => format!("-{first}"),
                (false, None) => format!("{first}-"),
                (false, Some(last)) => format!("{first}-{last}"),
            }).collect();
            let is_valid = specs.iter().all(|&(is_suffix, first, last)| is_suffix || last.is_none_or(|last| first <= last));
            let names = |byte: u64| specs.iter().filter(|&&(is_suffix, first, last)| {
                if is_suffix { byte + first >= length } else { first <= byte && last.is_none_or(|last| byte <= last) }
            }).count();
            let named: Vec<u64> = (0..length).filter(|&byte| names(byte) > 0).collect();
            let is_disjoint = (0..length).all(|byte| names(byte) <= 1);
            match select(format!("bytes={}", written.join(",")).as_bytes(), length) {
                Selection::Whole => prop_assert!(!is_valid || !is_disjoint || length == 0),
                Selection::Unsatisfiable => prop_assert!(is_valid && named.is_empty()),
                Selection::Ranges(ranges) => {
                    let mut bytes: Vec<u64> = ranges.iter().flat_map(|range| range.start..range.end).collect();
                    bytes.sort_unstable();
                    prop_assert!(is_valid);
                    prop_assert_eq!(bytes, named);
                }
            }
        }

        #[test]
        fn arbitrary_fields_give_ranges_within_the_object(value in prop::collection::vec(any::<u8>(), 0..64), length: u64) {
            for value in [value.clone(), [b"bytes=".as_slice(), &value].concat()] {
                if let Selection::Ranges(ranges) = select(&value, length) {
                    prop_assert!(!ranges.is_empty() && ranges.len() <= limits::RANGES);
                    prop_assert!(ranges.iter().all(|range| range.start < range.end && range.end <= length));
                }
            }
        }
    }
}
