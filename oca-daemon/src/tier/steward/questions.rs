//! Who waits for a block asks the tier for it, and reads it himself where it does not come. Workers share no such reads: so what several
//! of them want at once is loaded for all, also where memory is full of what is asked for more. It lies beside what players have named.

use std::sync::Arc;
use std::time::Instant;

use cache_store::Bundle;

use super::super::block::BlockKey;
use super::super::counters::{Departure, Refusal, count};
use super::super::samples::Question;
use super::{Steward, Wish};
use crate::limits::TIER_FIRST_LOADS_MAX;
use crate::mailbox::Message;

impl Steward {
    /// Answered at once, unless the block is on its way.
    pub(super) fn take_question(&mut self, Question { sample, is_of_much, worker, asker }: Question) {
        let (key, now) = (sample.key, Instant::now());
        let has_leisure = sample
            .bundle
            .as_ref()
            .is_some_and(|bundle| self.loaders[bundle.volume().as_usize()].loads() < TIER_FIRST_LOADS_MAX);
        count(&self.counters.samples, 1);
        let wish = match (is_of_much, has_leisure) {
            // Most of such a load is for nobody who waits.
            (false, _) => Wish::Passing,
            (true, _) if self.turned_away.has_elsewhere(key, worker, now) => Wish::Shared,
            (true, true) => Wish::Welcome,
            (true, false) => Wish::Awaited,
        };
        self.take_sample(sample, wish);
        if self.holdings.is_loading(key) {
            self.askers.entry(key).or_default().push(asker);
        } else {
            self.turned_away.add(key, worker, now);
            asker.send(Message::BlockSettled(key));
        }
    }

    /// Has a block loaded beside what the policy holds, which is worth more. Only the oldest that lies there, too, makes room for it,
    /// unless that is on its way: others wait for it.
    pub(super) fn load_aside(
        &mut self,
        key: BlockKey,
        bundle: &Arc<Bundle>,
        length_bytes: u64,
    ) -> Result<(), Refusal> {
        let open = bundle.opened().ok_or(Refusal::Closed)?;
        if !self.prefetched.has_room()
            && let Some(oldest) = self.prefetched.next_oldest_if(|oldest| !self.holdings.is_loading(oldest))
        {
            self.put_out(oldest, Departure::BroughtAhead);
            self.sweep();
        }
        let fits = self.holdings.bytes().sum() + length_bytes <= self.budget.bytes;
        if !fits || !self.prefetched.has_room() {
            return Err(Refusal::Outweighed);
        }
        // It may be on its way still, though the policy has put it out.
        if !self.holdings.is_loading(key) {
            self.load(key, open, length_bytes)?;
        }
        self.prefetched.add(key, length_bytes, Instant::now());
        // Somebody has asked for it: it is not counted among what players have named.
        self.prefetched.note_use(key);
        Ok(())
    }
}
