//! The playback buffer, and what a viewer saw meanwhile: waiting, playing, stalling. Moments are counted from the beginning of the evening.

use std::time::Duration;

use super::ladder::SEGMENT;

/// Media that must be there before playing begins, at the start and after a stall.
const ENOUGH: Duration = SEGMENT;

/// What a viewer sees.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Sight {
    /// Nothing yet: the session has just begun.
    Starting,
    /// The film.
    Playing,
    /// A film that stands still: the buffer ran dry.
    Stalled,
    /// Nothing, having asked for another place.
    Seeking,
}

/// A span in which a viewer saw one thing.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) struct Span {
    pub(crate) sight: Sight,
    pub(crate) from: Duration,
    pub(crate) to: Duration,
}

impl Span {
    /// The part of it that lies between two moments.
    pub(crate) fn within(&self, from: Duration, to: Duration) -> Duration {
        self.to.min(to).saturating_sub(self.from.max(from))
    }
}

/// The buffer of one session.
#[derive(Clone, Debug)]
pub(crate) struct Buffer {
    held: Duration,
    sight: Sight,
    since: Duration,
    /// Up to here all is reckoned.
    now: Duration,
    played: Duration,
    /// How often it ran dry.
    stalls: usize,
    /// No more media comes.
    is_whole: bool,
    spans: Vec<Span>,
}

impl Buffer {
    /// Empty, from a moment on.
    pub(crate) fn new(now: Duration) -> Self {
        Self {
            held: Duration::ZERO,
            sight: Sight::Starting,
            since: now,
            now,
            played: Duration::ZERO,
            stalls: 0,
            is_whole: false,
            spans: Vec::new(),
        }
    }

    /// Plays up to a moment. A buffer that runs dry on the way stalls from then on, unless that was the end of the film.
    pub(crate) fn advance(&mut self, now: Duration) {
        let passed = now.saturating_sub(self.now);
        if self.sight == Sight::Playing {
            let playing = passed.min(self.held);
            self.held -= playing;
            self.played += playing;
            if playing < passed && !self.is_whole {
                self.see(Sight::Stalled, self.now + playing);
                self.stalls += 1;
            }
        }
        self.now = self.now.max(now);
    }

    /// A segment came, at the moment that was reckoned up to.
    pub(crate) fn append(&mut self) {
        self.held += SEGMENT;
        if self.sight != Sight::Playing && self.held >= ENOUGH {
            self.see(Sight::Playing, self.now);
        }
    }

    /// The viewer wants another place: what is held is of no use.
    pub(crate) fn flush(&mut self) {
        self.held = Duration::ZERO;
        self.is_whole = false;
        if self.sight != Sight::Starting {
            self.see(Sight::Seeking, self.now);
        }
    }

    /// All segments up to the end of the film have come.
    pub(crate) fn complete(&mut self) {
        self.is_whole = true;
    }

    /// Media that is held.
    pub(crate) fn held(&self) -> Duration {
        self.held
    }

    /// Media that was played.
    pub(crate) fn played(&self) -> Duration {
        self.played
    }

    /// Whether the film is seen at the moment that was reckoned up to.
    pub(crate) fn is_playing(&self) -> bool {
        self.sight == Sight::Playing
    }

    /// How often it ran dry.
    pub(crate) fn stalls(&self) -> usize {
        self.stalls
    }

    /// What was seen up to the moment that was reckoned up to.
    pub(crate) fn into_spans(mut self) -> Vec<Span> {
        // A film that is over is not being played; where it ended, the last span does.
        let end = if self.is_whole && self.held.is_zero() && self.sight == Sight::Playing {
            let before: Duration =
                self.spans.iter().filter(|span| span.sight == Sight::Playing).map(length).sum();
            self.since + self.played.saturating_sub(before)
        } else {
            self.now
        };
        self.close(end);
        self.spans
    }

    fn see(&mut self, sight: Sight, at: Duration) {
        self.close(at);
        (self.sight, self.since) = (sight, at);
    }

    fn close(&mut self, at: Duration) {
        if at > self.since {
            self.spans.push(Span { sight: self.sight, from: self.since, to: at });
        }
    }
}

fn length(span: &Span) -> Duration {
    span.to.saturating_sub(span.from)
}

#[cfg(test)]
mod tests {
    use super::*;

    fn seconds(seconds: u64) -> Duration {
        Duration::from_secs(seconds)
    }

    fn spans(buffer: Buffer) -> Vec<(Sight, u64, u64)> {
        let spans = buffer.into_spans();
        spans.iter().map(|span| (span.sight, span.from.as_secs(), span.to.as_secs())).collect()
    }

    #[test]
    fn a_buffer_that_runs_dry_stalls_until_the_next_segment() {
        let mut buffer = Buffer::new(seconds(10));
        buffer.advance(seconds(11));
        buffer.append();
        buffer.advance(seconds(18));
        assert_eq!((buffer.held(), buffer.played()), (Duration::ZERO, seconds(4)));
        assert_eq!((buffer.is_playing(), buffer.stalls()), (false, 1));
        buffer.append();
        assert_eq!((buffer.is_playing(), buffer.stalls()), (true, 1));
        buffer.advance(seconds(20));
        let expected = [
            (Sight::Starting, 10, 11),
            (Sight::Playing, 11, 15),
            (Sight::Stalled, 15, 18),
            (Sight::Playing, 18, 20),
        ];
        assert_eq!(spans(buffer), expected);
    }

    #[test]
    fn the_end_of_the_film_is_no_stall() {
        let mut buffer = Buffer::new(seconds(0));
        buffer.append();
        buffer.complete();
        buffer.advance(seconds(9));
        assert_eq!((buffer.played(), buffer.stalls()), (seconds(4), 0));
        assert_eq!(spans(buffer), [(Sight::Playing, 0, 4)]);
    }

    #[test]
    fn a_seek_throws_away_what_is_held_and_is_no_stall() {
        let mut buffer = Buffer::new(seconds(0));
        (0..5).for_each(|_| buffer.append());
        buffer.complete();
        buffer.advance(seconds(2));
        buffer.flush();
        buffer.advance(seconds(3));
        buffer.append();
        buffer.advance(seconds(5));
        assert_eq!(buffer.held(), seconds(2));
        let expected = [(Sight::Playing, 0, 2), (Sight::Seeking, 2, 3), (Sight::Playing, 3, 5)];
        assert_eq!(spans(buffer), expected);
    }

    #[test]
    fn a_seek_before_anything_was_seen_is_a_part_of_the_start() {
        let mut buffer = Buffer::new(seconds(0));
        buffer.advance(seconds(1));
        buffer.flush();
        buffer.advance(seconds(2));
        buffer.append();
        buffer.advance(seconds(3));
        assert_eq!(spans(buffer), [(Sight::Starting, 0, 2), (Sight::Playing, 2, 3)]);
    }

    #[test]
    fn the_part_of_a_span_between_two_moments() {
        let span = Span { sight: Sight::Stalled, from: seconds(5), to: seconds(9) };
        assert_eq!(span.within(seconds(0), seconds(7)), seconds(2));
        assert_eq!(span.within(seconds(9), seconds(12)), Duration::ZERO);
        assert_eq!(span.within(seconds(6), seconds(7)), seconds(1));
    }
}
