//! What became of a session: what was seen when, and what was sent by whom. All figures are made of these.

use std::time::Duration;

use super::buffer::{Sight, Span};
use super::catalogue::Bundle;
use super::ladder::LADDER;
use super::steering::Sender;

/// A segment that came.
#[derive(Clone, Copy, Debug, PartialEq)]
pub(crate) struct Delivered {
    /// When the last byte was there.
    pub(crate) at: Duration,
    pub(crate) bundle: Bundle,
    pub(crate) bytes: u64,
    pub(crate) sender: Sender,
    /// Places of the list that would not do before.
    pub(crate) fallbacks: u32,
}

/// One session.
#[derive(Clone, Debug, Default, PartialEq)]
pub(crate) struct Viewing {
    /// Bits per second of the viewer's link.
    pub(crate) link: u64,
    /// One after another.
    pub(crate) spans: Vec<Span>,
    /// In the order in which they came.
    pub(crate) segments: Vec<Delivered>,
}

impl Delivered {
    /// Whether an appliance has sent it.
    pub(crate) fn is_hit(&self) -> bool {
        matches!(self.sender, Sender::Appliance(_))
    }

    /// Bits per second of media time.
    pub(crate) fn bitrate(&self) -> u64 {
        LADDER[self.bundle.representation].bitrate
    }
}

impl Viewing {
    /// The time between two moments in which the viewer saw this.
    pub(crate) fn seen(&self, sight: Sight, from: Duration, to: Duration) -> Duration {
        self.spans.iter().filter(|span| span.sight == sight).map(|span| span.within(from, to)).sum()
    }

    /// Who has sent the last segment before a moment at which the session was going on.
    pub(crate) fn served_by_at(&self, moment: Duration) -> Option<Sender> {
        let goes_on = self.spans.iter().any(|span| span.from <= moment && moment < span.to);
        let last = self.segments.iter().take_while(|segment| segment.at <= moment).last();
        last.filter(|_| goes_on).map(|segment| segment.sender)
    }
}

#[cfg(test)]
impl Delivered {
    /// A segment of the first bundle, from the first place of the list.
    pub(crate) fn first(at: Duration, bytes: u64, sender: Sender) -> Self {
        Self { at, bundle: Bundle { title: 0, representation: 0 }, bytes, sender, fallbacks: 0 }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn seconds(seconds: u64) -> Duration {
        Duration::from_secs(seconds)
    }

    #[test]
    fn a_session_is_served_by_who_sent_last_while_it_goes_on() {
        let sent = |at, sender| Delivered::first(seconds(at), 1, sender);
        let viewing = Viewing {
            link: 1,
            spans: vec![Span { sight: Sight::Playing, from: seconds(1), to: seconds(10) }],
            segments: vec![sent(2, Sender::Origin), sent(5, Sender::Appliance(1))],
        };
        assert_eq!(viewing.served_by_at(seconds(1)), None);
        assert_eq!(viewing.served_by_at(seconds(4)), Some(Sender::Origin));
        assert_eq!(viewing.served_by_at(seconds(9)), Some(Sender::Appliance(1)));
        assert_eq!(viewing.served_by_at(seconds(10)), None);
    }
}
