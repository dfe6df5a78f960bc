//! What a viewer sees: a buffer that plays, and stands still where it ran dry. Pure; moments are counted from the beginning of a turn.

use std::time::Duration;

/// The buffer, and when the film stood still.
#[derive(Clone, Debug)]
pub(crate) struct Playback {
    held: Duration,
    /// Up to here all is reckoned.
    now: Duration,
    /// From when to when.
    stalls: Vec<(Duration, Duration)>,
}

impl Playback {
    /// In the middle of a film, with so much in the buffer.
    pub(crate) fn with(held: Duration) -> Self {
        Self { held, now: Duration::ZERO, stalls: Vec::new() }
    }

    /// Plays up to a moment.
    pub(crate) fn advance(&mut self, now: Duration) {
        let passed = now.saturating_sub(self.now);
        let playing = passed.min(self.held);
        self.held -= playing;
        if playing < passed {
            self.stalls.push((self.now + playing, now));
        }
        self.now = self.now.max(now);
    }

    /// So much media came, at the moment that was reckoned up to.
    pub(crate) fn append(&mut self, media: Duration) {
        self.held += media;
    }

    /// Media that is held.
    pub(crate) fn held(&self) -> Duration {
        self.held
    }

    /// How long the film stood still between two moments.
    pub(crate) fn stalled(&self, from: Duration, to: Duration) -> Duration {
        let within = |&(began, ended): &(Duration, Duration)| ended.min(to).saturating_sub(began.max(from));
        self.stalls.iter().map(within).sum()
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_buffer_that_runs_dry_stands_still_until_media_comes() {
        let seconds = Duration::from_secs;
        let mut playback = Playback::with(seconds(5));
        playback.advance(seconds(4));
        assert_eq!((playback.held(), playback.stalled(seconds(0), seconds(9))), (seconds(1), seconds(0)));
        playback.advance(seconds(7));
        playback.append(seconds(4));
        playback.advance(seconds(9));
        assert_eq!((playback.held(), playback.stalled(seconds(0), seconds(9))), (seconds(2), seconds(2)));
        assert_eq!(playback.stalled(seconds(6), seconds(9)), seconds(1));
    }
}
