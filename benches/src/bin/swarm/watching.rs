//! What a player does next: the rule, the buffer and the viewer's wishes together. It neither waits nor fetches: whoever drives it does, over
//! a real connection or in thought.

use std::time::Duration;

use super::abr::{Abr, FULL};
use super::buffer::{Buffer, Span};
use super::session::Session;

/// A wait is at least so long, so that rounding makes nobody run in circles.
const WAIT_MIN: Duration = Duration::from_millis(1);

/// What is to be done.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Step {
    /// Fetch a segment in a representation, and tell of it.
    Fetch { segment: usize, representation: usize },
    /// Ask again at this moment.
    Wait { until: Duration },
    /// The session is over.
    Over,
}

/// What a player knows of itself when it asks for a segment.
#[derive(Clone, Copy, Debug, PartialEq)]
pub(crate) struct Condition {
    /// Media in its buffer.
    pub(crate) held: Duration,
    /// Bits per second, as the rule reckons with; none before the first segment.
    pub(crate) throughput: Option<f64>,
    /// Nothing is seen until the segment is there: at the beginning, after a seek, in a stall.
    pub(crate) is_startup: bool,
    /// The buffer ran dry since it asked last.
    pub(crate) is_starved: bool,
}

/// A session that is being watched.
#[derive(Clone, Debug)]
pub(crate) struct Watching {
    session: Session,
    segments: usize,
    next_segment: usize,
    abr: Abr,
    buffer: Buffer,
    /// Stalls that were told of.
    stalls_told: usize,
}

impl Watching {
    /// Somebody sits down, at this moment, before a title of so many segments.
    pub(crate) fn new(session: Session, segments: usize, now: Duration) -> Self {
        let next_segment = session.first_segment;
        let (abr, buffer) = (Abr::default(), Buffer::new(now));
        Self { session, segments, next_segment, abr, buffer, stalls_told: 0 }
    }

    /// What is to be done at this moment.
    pub(crate) fn next(&mut self, now: Duration) -> Step {
        self.buffer.advance(now);
        let played = self.buffer.played();
        if played >= self.session.stay {
            return Step::Over;
        }
        if let Some(seek) = self.session.seek.take_if(|seek| played >= seek.after) {
            self.buffer.flush();
            self.next_segment = seek.to;
        }
        let held = self.buffer.held();
        let too_much = if self.next_segment < self.segments {
            if held < FULL {
                let representation = self.abr.choose(held);
                return Step::Fetch { segment: self.next_segment, representation };
            }
            held - FULL
        } else if held.is_zero() {
            return Step::Over;
        } else {
            held
        };
        let wish = self.session.seek.map_or(self.session.stay, |seek| seek.after.min(self.session.stay));
        Step::Wait { until: now + too_much.min(wish.saturating_sub(played)) + WAIT_MIN }
    }

    /// What the player tells of itself with a request that it makes at this moment. Each stall is told of once.
    pub(crate) fn tell(&mut self, now: Duration) -> Condition {
        self.buffer.advance(now);
        let stalls = self.buffer.stalls();
        let is_starved = stalls > self.stalls_told;
        self.stalls_told = stalls;
        Condition {
            held: self.buffer.held(),
            throughput: self.abr.throughput(),
            is_startup: !self.buffer.is_playing(),
            is_starved,
        }
    }

    /// The segment that was to be fetched came at this moment, after so long.
    pub(crate) fn fetched(&mut self, now: Duration, bytes: u64, took: Duration) {
        self.buffer.advance(now);
        self.abr.note(bytes, took);
        self.next_segment += 1;
        self.buffer.append();
        if self.next_segment == self.segments {
            self.buffer.complete();
        }
    }

    /// Ends it at this moment: what the viewer has seen.
    pub(crate) fn end(mut self, now: Duration) -> Vec<Span> {
        self.buffer.advance(now);
        self.buffer.into_spans()
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::buffer::Sight;
    use crate::ladder::LADDER;
    use crate::session::Seek;

    const STAY: Duration = Duration::from_secs(100);

    fn session(seek: Option<Seek>) -> Session {
        Session { pause: Duration::ZERO, title: 0, first_segment: 0, stay: STAY, seek }
    }

    /// Drives it with segments that each take so long: the segments that were fetched, and what was seen.
    fn drive(session: Session, segments: usize, took: Duration) -> (Vec<usize>, Vec<Span>) {
        let (mut now, mut fetched) = (Duration::ZERO, Vec::new());
        let mut watching = Watching::new(session, segments, now);
        loop {
            match watching.next(now) {
                Step::Over => return (fetched, watching.end(now)),
                Step::Wait { until } => now = until,
                Step::Fetch { segment, representation } => {
                    now += took;
                    fetched.push(segment);
                    watching.fetched(now, LADDER[representation].segment_bytes(), took);
                }
            }
        }
    }

    fn seen(spans: &[Span], sight: Sight) -> f64 {
        let lengths = spans.iter().filter(|span| span.sight == sight).map(|span| span.to - span.from);
        lengths.sum::<Duration>().as_secs_f64()
    }

    #[test]
    fn a_film_is_fetched_in_order_and_played_to_its_end() {
        let (fetched, spans) = drive(session(None), 10, Duration::from_secs(1));
        assert_eq!(fetched, (0..10).collect::<Vec<_>>());
        assert!((seen(&spans, Sight::Playing) - 40.0).abs() < 0.01);
        assert_eq!((seen(&spans, Sight::Starting), seen(&spans, Sight::Stalled)), (1.0, 0.0));
    }

    #[test]
    fn a_full_buffer_fetches_nothing_before_there_is_room() {
        let mut watching = Watching::new(session(None), 100, Duration::ZERO);
        for _ in 0..8 {
            assert!(matches!(watching.next(Duration::ZERO), Step::Fetch { .. }));
            watching.fetched(Duration::ZERO, 1, Duration::ZERO);
        }
        // 32 s are held: 2 s too much.
        assert_eq!(watching.next(Duration::ZERO), Step::Wait { until: Duration::from_millis(2001) });
        assert!(matches!(watching.next(Duration::from_millis(2001)), Step::Fetch { segment: 8, .. }));
    }

    #[test]
    fn who_has_seen_enough_leaves() {
        let (fetched, spans) = drive(session(None), 1000, Duration::from_millis(10));
        assert!((seen(&spans, Sight::Playing) - STAY.as_secs_f64()).abs() < 0.01);
        // What was held when the viewer left was fetched for nothing.
        assert!((25 + 7..=25 + 9).contains(&fetched.len()), "{}", fetched.len());
    }

    #[test]
    fn a_seek_goes_on_at_its_place_once() {
        let seek = Seek { after: Duration::from_secs(6), to: 2 };
        let (fetched, spans) = drive(session(Some(seek)), 6, Duration::from_secs(1));
        assert_eq!(fetched, [0, 1, 2, 3, 4, 5, 2, 3, 4, 5]);
        assert!(spans.iter().filter(|span| span.sight == Sight::Seeking).count() == 1);
        assert!((seen(&spans, Sight::Playing) - 22.0).abs() < 0.01);
    }

    #[test]
    fn a_player_tells_what_it_holds_and_has_measured() {
        let mut watching = Watching::new(session(None), 100, Duration::ZERO);
        let blank = Condition { held: Duration::ZERO, throughput: None, is_startup: true, is_starved: false };
        assert_eq!(watching.tell(Duration::ZERO), blank);
        watching.fetched(Duration::from_secs(1), 200_000, Duration::from_secs(1));
        let playing = Condition {
            held: Duration::from_millis(2500),
            throughput: Some(1_600_000.0),
            is_startup: false,
            is_starved: false,
        };
        assert_eq!(watching.tell(Duration::from_millis(2500)), playing);
    }

    #[test]
    fn a_stall_is_told_of_once_and_needs_the_segment_at_once_as_long_as_it_lasts() {
        let mut watching = Watching::new(session(None), 100, Duration::ZERO);
        let told = |watching: &mut Watching, second| {
            let Condition { is_startup, is_starved, .. } = watching.tell(Duration::from_secs(second));
            (is_startup, is_starved)
        };
        let fetched = |watching: &mut Watching, second| {
            watching.fetched(Duration::from_secs(second), 200_000, Duration::from_secs(1));
        };
        fetched(&mut watching, 1);
        // Dry from 5 s on, and asked for twice: the first place would not do.
        assert_eq!(told(&mut watching, 6), (true, true));
        assert_eq!(told(&mut watching, 7), (true, false));
        fetched(&mut watching, 8);
        assert_eq!(told(&mut watching, 8), (false, false));
        // Dry from 12 s on, while a segment is under way that ends it.
        fetched(&mut watching, 13);
        assert_eq!(told(&mut watching, 13), (false, true));
    }

    #[test]
    fn who_seeks_needs_the_segment_at_once() {
        let seek = Seek { after: Duration::from_secs(2), to: 5 };
        let mut watching = Watching::new(session(Some(seek)), 100, Duration::ZERO);
        watching.fetched(Duration::ZERO, 200_000, Duration::from_secs(1));
        assert!(!watching.tell(Duration::from_secs(1)).is_startup);
        assert!(matches!(watching.next(Duration::from_secs(2)), Step::Fetch { segment: 5, .. }));
        let Condition { held, is_startup, is_starved, .. } = watching.tell(Duration::from_secs(2));
        assert_eq!((held, is_startup, is_starved), (Duration::ZERO, true, false));
    }

    #[test]
    fn a_link_that_is_too_slow_stalls() {
        let (_, spans) = drive(session(None), 5, Duration::from_secs(5));
        assert_eq!((seen(&spans, Sight::Starting), seen(&spans, Sight::Stalled)), (5.0, 4.0));
    }
}
