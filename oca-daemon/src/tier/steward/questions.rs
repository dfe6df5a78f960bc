//! Who waits for a block asks the tier for it, and reads it himself where it does not come. Workers share no such reads: so what several
//! of them want at once is loaded for all, also where memory is full of what is asked for more. It lies beside what players have named.

use std::sync::Arc;
use std::time::Instant;

use cache_store::Bundle;

use super::super::block::BlockKey;
use super::super::counters::{Departure, Refusal, count};
use super::super::prefetched::Place;
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
            // Who finds it in memory reads nothing himself, and who wants little reads little of it: beside them, one who comes is alone.
            if is_of_much && !self.residency.has(key) {
                self.turned_away.add(key, worker, now);
            }
            asker.send(Message::BlockSettled(key));
        }
    }

    /// Has a block loaded beside what the policy holds, which is worth more. Only the oldest that lies there, too, makes room for it, where
    /// that is enough, unless it is on its way: others wait for it.
    pub(super) fn load_aside(
        &mut self,
        key: BlockKey,
        bundle: &Arc<Bundle>,
        length_bytes: u64,
    ) -> Result<(), Refusal> {
        let open = bundle.opened().ok_or(Refusal::Closed)?;
        // What was put out before may be in no worker's hands any more.
        self.sweep();
        // It may be on its way still, though the policy has put it out: then its bytes are counted.
        let is_loading = self.holdings.is_loading(key);
        let (new_bytes, spare_bytes) = (if is_loading { 0 } else { length_bytes }, self.spare_bytes());
        let may_go = |oldest| !self.holdings.is_loading(oldest);
        let place = self.prefetched.place_for(new_bytes, spare_bytes, may_go).ok_or(Refusal::Outweighed)?;
        if let Place::Of(oldest) = place {
            self.put_out(oldest, Departure::BroughtAhead);
            self.sweep();
        }
        // A worker may still send from what was put out just now: its room is for who asks next.
        if new_bytes > self.spare_bytes() {
            return Err(Refusal::Memory);
        }
        if !is_loading {
            self.load(key, open, length_bytes)?;
        }
        self.prefetched.add(key, length_bytes, Instant::now());
        // Somebody has asked for it: it is not counted among what players have named.
        self.prefetched.note_use(key);
        Ok(())
    }

    /// Bytes that may be taken beside all that is held.
    fn spare_bytes(&self) -> u64 {
        self.budget.bytes.saturating_sub(self.holdings.bytes().sum())
    }
}

#[cfg(test)]
mod tests {
    use std::sync::mpsc::{self, Receiver};
    use std::time::Duration;

    use super::*;
    use crate::health::MemoryWatch;
    use crate::mailbox::mailbox;
    use crate::tier::loader::Job;
    use crate::tier::loader_queue::LoaderQueue;
    use crate::tier::lookout::Lookout;
    use crate::tier::tests::site::Site;
    use crate::tier::{BLOCK_BYTES, Budget, Sample};

    /// One that has room for two blocks, one of them the reserve's, and whose loader does nothing of what it is asked for.
    fn steward_of(site: &Site) -> (Steward, Receiver<Job>) {
        let (jobs, asked_for) = mpsc::channel();
        let budget =
            Budget { bytes: 2 * BLOCK_BYTES, blocks_max: 1000, files_max: 16, prefetches: true, cut: None };
        let steward = Steward::new(
            Arc::clone(&site.store),
            Arc::default(),
            budget,
            site.tier.residency().unwrap(),
            Vec::new(),
            vec![LoaderQueue::new(jobs, 64)],
            Lookout::new(MemoryWatch::new(), Box::default(), 1),
        );
        (steward, asked_for)
    }

    /// Two blocks that nobody has loaded.
    fn two_keys(bundle: &Bundle) -> [BlockKey; 2] {
        [1, 2].map(|number| BlockKey::at(bundle, number * BLOCK_BYTES))
    }

    #[test]
    fn a_block_that_is_on_its_way_already_is_counted_once() {
        let mut site = Site::new(8 * BLOCK_BYTES);
        let bundle = site.publish_and_load(0);
        let (mut steward, asked_for) = steward_of(&site);
        let [hot, wanted] = two_keys(&bundle);
        steward.holdings.begin_load(hot, &bundle, BLOCK_BYTES);
        steward.holdings.begin_load(wanted, &bundle, BLOCK_BYTES);
        assert_eq!(steward.load_aside(wanted, &bundle, BLOCK_BYTES), Ok(()));
        assert!(steward.prefetched.holds(wanted));
        assert!(asked_for.try_recv().is_err(), "it is loaded twice");
    }

    #[test]
    fn nothing_leaves_for_a_block_that_would_not_fit_then() {
        let mut site = Site::new(8 * BLOCK_BYTES);
        let bundle = site.publish_and_load(0);
        let (mut steward, _asked_for) = steward_of(&site);
        let [oldest, wanted] = two_keys(&bundle);
        steward.prefetched.add(oldest, 100, Instant::now());
        // All that there is.
        steward.holdings.begin_load(BlockKey::at(&bundle, 0), &bundle, 2 * BLOCK_BYTES);
        assert_eq!(steward.load_aside(wanted, &bundle, BLOCK_BYTES), Err(Refusal::Outweighed));
        assert!(steward.prefetched.holds(oldest) && !steward.prefetched.holds(wanted));
    }

    #[test]
    fn only_who_has_to_read_much_of_a_block_himself_is_remembered() {
        let mut site = Site::new(8 * BLOCK_BYTES);
        let bundle = site.publish_and_load(0);
        let (mut steward, _asked_for) = steward_of(&site);
        // Whoever asks is turned away.
        steward.loaders[0].pause(Duration::from_secs(3600), Instant::now());
        let mut is_remembered = |offset, is_of_much| {
            // However long the question takes, he is at it at this moment.
            let (sample, now) = (Sample::new(&bundle, offset, false), Instant::now());
            let (key, (asker, _answers)) = (sample.key, mailbox().unwrap());
            steward.take_question(Question { sample, is_of_much, worker: 0, asker });
            steward.turned_away.has_elsewhere(key, 1, now)
        };
        assert!(!is_remembered(0, true), "it is in memory");
        assert!(!is_remembered(BLOCK_BYTES, false), "he wants little");
        assert!(is_remembered(BLOCK_BYTES, true));
    }
}
