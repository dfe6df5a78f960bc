//! An evening second by second.

use std::time::Duration;

use serde::Serialize;

use super::buffer::Sight;
use super::viewing::Viewing;

/// What happened in one second.
#[derive(Clone, Copy, Debug, Default, PartialEq, Serialize)]
pub(crate) struct Second {
    /// Since the evening began.
    pub(crate) second: u64,
    /// Sessions that were going on, on average.
    pub(crate) players: f64,
    /// Of those that had a picture, the part whose picture stood still.
    pub(crate) stalled: f64,
    /// Of the segments that came.
    pub(crate) bitrate_bits_per_second: f64,
    /// Bits of segments that came.
    pub(crate) delivered_bits: u64,
    /// The part of these that appliances sent.
    pub(crate) byte_hit_ratio: f64,
}

/// The seconds of an evening that lasts so long, those that were not whole left out.
pub(crate) fn timeline(viewings: &[Viewing], lasts: Duration) -> Vec<Second> {
    let mut sums = vec![Sums::default(); lasts.as_secs() as usize];
    for viewing in viewings {
        for span in &viewing.spans {
            for second in span.from.as_secs()..=span.to.as_secs() {
                let Some(sums) = sums.get_mut(second as usize) else { break };
                let from = Duration::from_secs(second);
                let part = span.within(from, from + Duration::from_secs(1)).as_secs_f64();
                sums.present += part;
                match span.sight {
                    Sight::Playing => sums.playing += part,
                    Sight::Stalled => sums.stalled += part,
                    Sight::Starting | Sight::Seeking => {}
                }
            }
        }
        for segment in &viewing.segments {
            if let Some(sums) = sums.get_mut(segment.at.as_secs() as usize) {
                sums.segments += 1;
                sums.bitrates += segment.bitrate();
                sums.bytes += segment.bytes;
                sums.hit_bytes += if segment.is_hit() { segment.bytes } else { 0 };
            }
        }
    }
    (0..).zip(sums).map(|(second, sums)| sums.second(second)).collect()
}

#[derive(Clone, Copy, Debug, Default)]
struct Sums {
    present: f64,
    playing: f64,
    stalled: f64,
    segments: u64,
    bitrates: u64,
    bytes: u64,
    hit_bytes: u64,
}

impl Sums {
    fn second(&self, second: u64) -> Second {
        let ratio = |part: f64, whole: f64| if whole > 0.0 { part / whole } else { 0.0 };
        Second {
            second,
            players: self.present,
            stalled: ratio(self.stalled, self.stalled + self.playing),
            bitrate_bits_per_second: ratio(self.bitrates as f64, self.segments as f64),
            delivered_bits: self.bytes * 8,
            byte_hit_ratio: ratio(self.hit_bytes as f64, self.bytes as f64),
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::buffer::Span;
    use crate::steering::Sender;
    use crate::viewing::Delivered;

    #[test]
    fn each_second_has_what_happened_in_it() {
        let millis = Duration::from_millis;
        let span = |sight, from, to| Span { sight, from: millis(from), to: millis(to) };
        let sent = |at, sender| Delivered::first(millis(at), 100, sender);
        let viewing = Viewing {
            link: 1,
            spans: vec![
                span(Sight::Starting, 500, 1000),
                span(Sight::Playing, 1000, 2500),
                span(Sight::Stalled, 2500, 9000),
            ],
            segments: vec![
                sent(900, Sender::Origin),
                sent(1200, Sender::Appliance(0)),
                sent(1300, Sender::Origin),
            ],
        };
        let seconds = timeline(&[viewing], Duration::from_millis(3700));
        let found: Vec<(f64, f64, u64, f64)> = seconds
            .iter()
            .map(|one| (one.players, one.stalled, one.delivered_bits, one.byte_hit_ratio))
            .collect();
        assert_eq!(found, [(0.5, 0.0, 800, 0.0), (1.0, 0.0, 1600, 0.5), (1.0, 0.5, 0, 0.0)]);
    }
}
