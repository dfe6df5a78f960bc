//! What an evening was like for viewers and for the appliances, in numbers: pure functions of what became of its sessions.

use std::time::Duration;

use serde::Serialize;

use super::buffer::Sight;
use super::ladder::LADDER;
use super::viewing::{Delivered, Viewing};

/// A start that the end of the evening cut short counts if it had lasted so long: else those that never ended would not count.
const LONG_START: Duration = Duration::from_secs(2);

/// The figures of a part of an evening.
#[derive(Clone, Debug, PartialEq, Serialize)]
pub(crate) struct Figures {
    /// Sessions that were going on in it.
    pub(crate) sessions: usize,
    /// Sessions that were going on at the same time, on average.
    pub(crate) players_mean: f64,
    /// From sitting down to the first picture.
    pub(crate) startup_p50_seconds: f64,
    pub(crate) startup_p95_seconds: f64,
    /// What the viewers' links alone need for the first segment.
    pub(crate) startup_p95_of_links_seconds: f64,
    /// Stalled time by the time of stalling and playing together.
    pub(crate) rebuffer_ratio: f64,
    /// How often a picture stood still.
    pub(crate) stalls: usize,
    /// From asking for another place to its first picture.
    pub(crate) seek_p95_seconds: f64,
    /// Of all segments.
    pub(crate) bitrate_mean_bits_per_second: f64,
    /// Changes of the representation in a minute of playing.
    pub(crate) switches_per_minute: f64,
    /// Segments that came.
    pub(crate) requests: usize,
    pub(crate) bytes: u64,
    /// The part of these that an appliance has sent.
    pub(crate) request_hit_ratio: f64,
    pub(crate) byte_hit_ratio: f64,
    /// Places of lists that would not do.
    pub(crate) fallbacks: u64,
}

impl Figures {
    /// Of what happened between two moments.
    pub(crate) fn of<'a>(
        viewings: impl IntoIterator<Item = &'a Viewing>,
        from: Duration,
        to: Duration,
    ) -> Self {
        let viewings: Vec<&Viewing> = viewings
            .into_iter()
            .filter(|one| one.spans.iter().any(|span| !span.within(from, to).is_zero()))
            .collect();
        let seen =
            |sight| -> f64 { viewings.iter().map(|one| one.seen(sight, from, to).as_secs_f64()).sum() };
        let (playing, stalled) = (seen(Sight::Playing), seen(Sight::Stalled));
        let present = playing + stalled + seen(Sight::Starting) + seen(Sight::Seeking);
        let segments: Vec<&Delivered> = segments(viewings.iter().copied(), from, to).collect();
        let bytes: u64 = segments.iter().map(|segment| segment.bytes).sum();
        let hits = || segments.iter().filter(|segment| segment.is_hit());
        let bitrates: f64 = segments.iter().map(|segment| segment.bitrate() as f64).sum();
        let starts: Vec<(f64, f64)> = viewings.iter().filter_map(|one| start(one, from, to)).collect();
        let startups = || starts.iter().map(|(took, _)| *took).collect();
        Self {
            sessions: viewings.len(),
            players_mean: present / (to - from).as_secs_f64(),
            startup_p50_seconds: quantile(startups(), 0.5),
            startup_p95_seconds: quantile(startups(), 0.95),
            startup_p95_of_links_seconds: quantile(starts.iter().map(|(_, alone)| *alone).collect(), 0.95),
            rebuffer_ratio: ratio(stalled, stalled + playing),
            stalls: lengths_of(&viewings, Sight::Stalled, from, to).count(),
            seek_p95_seconds: quantile(lengths_of(&viewings, Sight::Seeking, from, to).collect(), 0.95),
            bitrate_mean_bits_per_second: ratio(bitrates, segments.len() as f64),
            switches_per_minute: ratio(
                viewings.iter().map(|one| switches(one, from, to)).sum::<usize>() as f64,
                playing / 60.0,
            ),
            requests: segments.len(),
            bytes,
            request_hit_ratio: ratio(hits().count() as f64, segments.len() as f64),
            byte_hit_ratio: ratio(hits().map(|hit| hit.bytes).sum::<u64>() as f64, bytes as f64),
            fallbacks: segments.iter().map(|segment| u64::from(segment.fallbacks)).sum(),
        }
    }
}

/// Segments that came between two moments.
pub(crate) fn segments<'a>(
    viewings: impl IntoIterator<Item = &'a Viewing>,
    from: Duration,
    to: Duration,
) -> impl Iterator<Item = &'a Delivered> {
    let is_within = move |segment: &&Delivered| (from..to).contains(&segment.at);
    viewings.into_iter().flat_map(|one| &one.segments).filter(is_within)
}

/// The smallest value that so large a part of the values does not exceed; 0 where there is none.
pub(crate) fn quantile(mut values: Vec<f64>, part: f64) -> f64 {
    values.sort_by(f64::total_cmp);
    let rank = (part * values.len() as f64).ceil() as usize;
    values.get(rank.saturating_sub(1)).copied().unwrap_or_default()
}

/// 0 of 0 is 0.
fn ratio(part: f64, whole: f64) -> f64 {
    if whole > 0.0 { part / whole } else { 0.0 }
}

/// How long the start of a session took that began then, and how long its link alone would have taken.
fn start(viewing: &Viewing, from: Duration, to: Duration) -> Option<(f64, f64)> {
    let first = viewing.spans.first().filter(|span| span.sight == Sight::Starting)?;
    let took = first.to - first.from;
    let has_ended = viewing.spans.len() > 1;
    let counts = (from..to).contains(&first.from) && (has_ended || took >= LONG_START);
    let alone = LADDER[0].segment_bytes() as f64 * 8.0 / viewing.link as f64;
    counts.then_some((took.as_secs_f64(), alone))
}

/// The lengths of the spans of a kind that began then.
fn lengths_of(
    viewings: &[&Viewing],
    sight: Sight,
    from: Duration,
    to: Duration,
) -> impl Iterator<Item = f64> {
    let spans = viewings.iter().flat_map(|viewing| &viewing.spans);
    let spans = spans.filter(move |span| span.sight == sight && (from..to).contains(&span.from));
    spans.map(|span| (span.to - span.from).as_secs_f64())
}

fn switches(viewing: &Viewing, from: Duration, to: Duration) -> usize {
    let pairs = viewing.segments.windows(2).filter(|pair| (from..to).contains(&pair[1].at));
    pairs.filter(|pair| pair[0].bundle.representation != pair[1].bundle.representation).count()
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::buffer::Span;
    use crate::catalogue::Bundle;
    use crate::steering::Sender;

    fn seconds(seconds: u64) -> Duration {
        Duration::from_secs(seconds)
    }

    fn span(sight: Sight, from: u64, to: u64) -> Span {
        Span { sight, from: seconds(from), to: seconds(to) }
    }

    fn sent(at: u64, representation: usize, sender: Sender) -> Delivered {
        let bytes = LADDER[representation].segment_bytes();
        let bundle = Bundle { title: 0, representation };
        Delivered { bundle, ..Delivered::first(seconds(at), bytes, sender) }
    }

    /// Starts for 1 s, plays for 8, stalls for 2, plays to the end at 31.
    fn viewing() -> Viewing {
        Viewing {
            link: 1_600_000,
            spans: vec![
                span(Sight::Starting, 0, 1),
                span(Sight::Playing, 1, 9),
                span(Sight::Stalled, 9, 11),
                span(Sight::Playing, 11, 31),
            ],
            segments: vec![
                sent(1, 0, Sender::Appliance(0)),
                sent(5, 1, Sender::Appliance(1)),
                sent(11, 0, Sender::Origin),
                sent(15, 0, Sender::Appliance(0)),
            ],
        }
    }

    #[test]
    fn the_figures_of_an_evening() {
        let figures = Figures::of(&[viewing()], seconds(0), seconds(62));
        assert_eq!((figures.sessions, figures.stalls, figures.requests), (1, 1, 4));
        assert_eq!((figures.players_mean, figures.startup_p95_seconds), (0.5, 1.0));
        assert_eq!(figures.startup_p95_of_links_seconds, 1.0);
        assert_eq!(figures.rebuffer_ratio, 2.0 / 30.0);
        assert_eq!(figures.bitrate_mean_bits_per_second, 500_000.0);
        assert_eq!(figures.switches_per_minute, 2.0 / (28.0 / 60.0));
        assert_eq!((figures.request_hit_ratio, figures.byte_hit_ratio), (0.75, 0.8));
    }

    #[test]
    fn only_what_is_between_the_moments_counts() {
        let figures = Figures::of(&[viewing()], seconds(10), seconds(14));
        assert_eq!((figures.requests, figures.stalls, figures.switches_per_minute), (1, 0, 20.0));
        assert_eq!((figures.rebuffer_ratio, figures.byte_hit_ratio), (0.25, 0.0));
        let figures = Figures::of(&[viewing()], seconds(40), seconds(50));
        assert_eq!((figures.sessions, figures.rebuffer_ratio, figures.byte_hit_ratio), (0, 0.0, 0.0));
    }

    #[test]
    fn a_start_that_was_cut_short_counts_where_it_was_long() {
        let cut = |to| Viewing { spans: vec![span(Sight::Starting, 0, to)], link: 1, ..Viewing::default() };
        let figures = |to| Figures::of(&[cut(to)], seconds(0), seconds(60));
        assert_eq!(figures(1).startup_p95_seconds, 0.0);
        assert_eq!(figures(30).startup_p95_seconds, 30.0);
    }
}
