//! The representations that every title has, and how long their segments are.

use std::time::Duration;

/// The media time of a segment.
pub(crate) const SEGMENT: Duration = Duration::from_secs(4);

/// One representation of the ladder.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) struct Representation {
    /// The directory below a title's that has it.
    pub(crate) name: &'static str,
    /// Bits per second of media time.
    pub(crate) bitrate: u64,
}

/// The lowest first. Low enough that a thousand players are one or two gigabits per second on one machine.
pub(crate) const LADDER: [Representation; 4] = [
    Representation { name: "240p", bitrate: 400_000 },
    Representation { name: "360p", bitrate: 800_000 },
    Representation { name: "480p", bitrate: 1_500_000 },
    Representation { name: "720p", bitrate: 3_000_000 },
];

/// The highest representation's place.
pub(crate) const HIGHEST: usize = LADDER.len() - 1;

impl Representation {
    /// The bytes of each of its segments.
    pub(crate) const fn segment_bytes(&self) -> u64 {
        self.bitrate / 8 * SEGMENT.as_secs()
    }
}

/// The highest representation of at most so many bits per second; the lowest, where none is.
pub(crate) fn highest_within(bits_per_second: f64) -> usize {
    LADDER.iter().rposition(|one| one.bitrate as f64 <= bits_per_second).unwrap_or(0)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_highest_that_fits_is_found_and_the_lowest_where_none_does() {
        assert_eq!(highest_within(0.0), 0);
        assert_eq!(highest_within(799_999.0), 0);
        assert_eq!(highest_within(800_000.0), 1);
        assert_eq!(highest_within(1e9), HIGHEST);
    }

    #[test]
    fn a_segment_has_the_bytes_of_its_media_time() {
        assert_eq!(LADDER.map(|one| one.segment_bytes()), [200_000, 400_000, 750_000, 1_500_000]);
    }
}
