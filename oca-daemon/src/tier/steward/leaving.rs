//! What leaves memory: blocks of bundles that leave service, blocks that others displace, files that are not what they were, and what
//! has to make room for another's descriptor or for the machine.

use std::time::Instant;

use cache_store::QuarantineReason;

use super::super::block::BlockKey;
use super::super::counters::{Departure, PrefetchEnd, Refusal, count};
use super::super::resident_file::Damage;
use super::Steward;
use crate::limits::TIER_LOCK_PAUSE;

impl Steward {
    /// Takes out the blocks of bundles that have left, or whose volume has.
    pub(super) fn put_out_departed(&mut self) {
        // Asked before the blocks are looked at: what leaves meanwhile is seen the next time.
        let left_service = self.store.left_service_count();
        if left_service == self.left_service {
            return;
        }
        self.left_service = left_service;
        let store = &self.store;
        let departed =
            self.holdings.blocks_where(|bundle| bundle.is_leaving() || !store.is_in_use(bundle.volume()));
        for key in departed {
            self.admission.forget(key);
            self.put_out(key, Departure::BundleLeft);
        }
    }

    pub(super) fn put_out_displaced(&mut self) {
        for key in self.admission.take_evicted() {
            // What was brought ahead has its place beside the policy, though that would not take it in.
            if !self.prefetched.holds(key) {
                self.put_out(key, Departure::Displaced);
            }
        }
    }

    pub(super) fn put_out(&mut self, key: BlockKey, cause: Departure) {
        self.forget_prefetched(key, PrefetchEnd::Unused);
        if self.holdings.put_out(key) {
            count(&self.counters.departures[cause as usize], 1);
        }
    }

    /// Takes out the blocks of files that are not what they were. Asked for again, they are read and verified anew, unless they cannot be
    /// whole any more.
    pub(super) fn put_out_damaged(&mut self, has_memory_failed: bool) {
        for (bundle, damage, blocks) in self.holdings.damaged() {
            if !bundle.is_leaving() && !has_memory_failed {
                let path = bundle.key().path.as_str();
                tracing::warn!(path, %damage, "a file of which blocks are in memory is not sent from there any more");
            }
            match damage {
                Damage::CutShort => self.store.report_corrupt(&bundle, QuarantineReason::Truncated),
                // Read anew at once, it would fail again.
                Damage::Failed if !has_memory_failed => {
                    self.loaders[bundle.volume().as_usize()].pause(TIER_LOCK_PAUSE, Instant::now());
                }
                Damage::Failed | Damage::Changed => {}
            }
            for key in blocks {
                self.admission.forget(key);
                self.put_out(key, Departure::FileBroken);
            }
        }
    }

    /// Where descriptors are short, those of what was brought ahead go first; then each that is refused one has the hand go on to the next
    /// bundle.
    pub(super) fn make_room_for(&mut self, refusal: Refusal) {
        // What has been put out for this one already may not be counted yet.
        self.sweep();
        if refusal != Refusal::Files {
            return;
        }
        while self.has_all_files()
            && let Some(key) = self.prefetched.next_oldest()
        {
            self.put_out(key, Departure::BroughtAhead);
            self.sweep();
        }
        if self.has_all_files() {
            for key in self.holdings.next_unasked().unwrap_or_default() {
                self.admission.forget(key);
                self.put_out(key, Departure::Files);
            }
        }
    }

    /// Gives memory back: what was brought ahead, then of the bundles that are asked for least.
    pub(super) fn give_back(&mut self, bytes: u64, cause: Departure) {
        if bytes == 0 {
            return;
        }
        let left_bytes = self.holdings.bytes().resident.saturating_sub(bytes);
        self.put_out_prefetched(bytes);
        if self.holdings.bytes().resident <= left_bytes {
            return;
        }
        // Twice round: the first time the hand takes marks away.
        for _ in 0..2 * self.holdings.bundle_count() {
            for key in self.holdings.next_unasked().unwrap_or_default() {
                if self.holdings.bytes().resident <= left_bytes {
                    return;
                }
                self.admission.forget(key);
                self.put_out(key, cause);
            }
        }
    }
}
