//! What workers tell the tier: which blocks were asked for. A bounded ring for each worker, which nobody else sends to; what does
//! not fit is dropped and counted. A sample costs a worker a few stores. The tier looks at them by its own clock, and is woken for each half
//! of a ring.
//!
//! Who waits for a block sends the same as a question, which wakes the tier and is answered by a message.

use std::sync::Arc;
use std::sync::mpsc::Sender;
use std::time::Instant;

use cache_store::Bundle;

use super::block::{BLOCK_BYTES, BlockKey};
use super::steward::Event;
use crate::limits::TIER_HINT_KEPT;
use crate::mailbox::Mailbox;

/// One request for bytes of one block.
pub struct Sample {
    /// The block.
    pub key: BlockKey,
    /// Where in the block the request began, in units of 4 KiB, at which objects begin: requests of one viewer after another
    /// for the same bytes begin at the same place, and one viewer's requests at one place after the other.
    pub position: u16,
    /// Of a block that is not in memory, whose it is.
    pub bundle: Option<Arc<Bundle>>,
}

/// A question after a block that is not in memory, whose asker waits for [`Message::BlockSettled`](crate::mailbox::Message).
pub(super) struct Question {
    pub(super) sample: Sample,
    /// So much of the block is wanted that reading all of it is no waste.
    pub(super) is_of_much: bool,
    /// The asker's number.
    pub(super) worker: usize,
    pub(super) asker: Mailbox,
}

/// A block that a player says it will ask for next. Nobody has asked for it.
pub struct Hint {
    /// The block.
    pub key: BlockKey,
    /// Whose it is.
    pub bundle: Arc<Bundle>,
    /// When the player said so.
    pub since: Instant,
}

/// The worker's end.
pub struct SampleSender {
    /// `None`: there is no tier.
    ends: Option<Ends>,
}

struct Ends {
    worker: usize,
    asked: rtrb::Producer<Sample>,
    hinted: rtrb::Producer<Hint>,
    events: Sender<Event>,
    /// How many were pushed since the tier was last woken for them.
    unannounced: usize,
}

/// The tier's end.
pub(super) struct Samples {
    pub(super) asked: rtrb::Consumer<Sample>,
    pub(super) hinted: rtrb::Consumer<Hint>,
}

const _: () = assert!(BLOCK_BYTES / cache_store::ALIGNMENT <= 1 << 16);

impl Sample {
    /// A request that asks for the byte at `offset` of the file first, of those in the block. `is_resident`: the block was found
    /// in memory.
    pub fn new(bundle: &Arc<Bundle>, offset: u64, is_resident: bool) -> Self {
        Self {
            key: BlockKey::at(bundle, offset),
            position: (offset % BLOCK_BYTES / cache_store::ALIGNMENT) as u16,
            bundle: (!is_resident).then(|| Arc::clone(bundle)),
        }
    }
}

impl Hint {
    /// Whether it has waited for so long that the player has most likely asked already.
    pub(super) fn is_stale(&self, now: Instant) -> bool {
        now.saturating_duration_since(self.since) > TIER_HINT_KEPT
    }
}

impl SampleSender {
    /// A sender to nobody.
    pub fn off() -> Self {
        Self { ends: None }
    }

    /// The worker of this number's, for so many samples, and so many hints.
    pub(super) fn pair(
        worker: usize,
        samples: usize,
        hints: usize,
        events: Sender<Event>,
    ) -> (Self, Samples) {
        let (asked, from_asked) = rtrb::RingBuffer::new(samples);
        let (hinted, from_hinted) = rtrb::RingBuffer::new(hints);
        let ends = Some(Ends { worker, asked, hinted, events, unannounced: 0 });
        (Self { ends }, Samples { asked: from_asked, hinted: from_hinted })
    }

    /// Hands a sample over; `false`: it was dropped, because the tier is behind. Never waits.
    pub fn push(&mut self, sample: Sample) -> bool {
        let Some(ends) = &mut self.ends else { return true };
        if ends.asked.push(sample).is_err() {
            return false;
        }
        ends.unannounced += 1;
        if ends.unannounced >= ends.asked.buffer().capacity() / 2 {
            ends.unannounced = 0;
            // Without a tier nobody looks at samples.
            let _ = ends.events.send(Event::Sampled);
        }
        true
    }

    /// Hands a hint over; `false`: it was dropped, because the tier is behind. Never waits.
    pub fn hint(&mut self, hint: Hint) -> bool {
        self.ends.as_mut().is_none_or(|ends| ends.hinted.push(hint).is_ok())
    }

    /// Asks for a block of which `wanted_bytes` are wanted; `false`: nobody will answer. One question for each block that a
    /// worker waits for.
    pub fn ask(&self, sample: Sample, wanted_bytes: u64, asker: Mailbox) -> bool {
        let Some(ends) = &self.ends else { return false };
        let is_of_much = wanted_bytes >= MUCH_BYTES;
        let question = Question { sample, is_of_much, worker: ends.worker, asker };
        ends.events.send(Event::Asked(question)).is_ok()
    }
}

/// Of a block, what makes reading all of it no waste.
const MUCH_BYTES: u64 = BLOCK_BYTES / 8;

#[cfg(test)]
mod tests {
    use std::sync::mpsc;

    use super::*;

    #[test]
    fn the_tier_is_woken_for_each_half_of_a_ring_and_not_for_what_has_no_room() {
        let (events, woken) = mpsc::channel();
        let (mut sender, mut samples) = SampleSender::pair(0, 8, 1, events);
        let mut push = || sender.push(Sample { key: BlockKey::numbered(1), position: 0, bundle: None });
        assert!((0..3).all(|_| push()) && woken.try_recv().is_err());
        assert!(push() && matches!(woken.try_recv(), Ok(Event::Sampled)));
        assert!((0..4).all(|_| push()) && matches!(woken.try_recv(), Ok(Event::Sampled)));
        assert!(!(0..100).any(|_| push()) && woken.try_recv().is_err());
        (0..8).for_each(|_| assert!(samples.asked.pop().is_ok()));
        assert!((0..4).all(|_| push()) && matches!(woken.try_recv(), Ok(Event::Sampled)));
    }
}
