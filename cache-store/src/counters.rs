//! What the store counts, by cause; totals are sums of these.

use std::sync::atomic::{AtomicU64, Ordering};

use crate::departure::Cause;
use crate::footers::FooterUse;
use crate::quarantine::QuarantineReason;

/// The live counters.
#[derive(Debug, Default)]
pub(crate) struct Counters {
    pub(crate) opens: AtomicU64,
    pub(crate) opens_coalesced: AtomicU64,
    pub(crate) open_failures: AtomicU64,
    pub(crate) open_queue_full: AtomicU64,
    pub(crate) footers_evicted: AtomicU64,
    pub(crate) adopted: AtomicU64,
    pub(crate) retired: AtomicU64,
    pub(crate) superseded: AtomicU64,
    pub(crate) purged: AtomicU64,
    pub(crate) quarantined: [AtomicU64; QuarantineReason::COUNT],
    pub(crate) returned_bytes: AtomicU64,
    pub(crate) journal_failures: AtomicU64,
    pub(crate) journal_compactions: AtomicU64,
    pub(crate) journals_cut: AtomicU64,
    pub(crate) journals_rebuilt: AtomicU64,
    pub(crate) volumes_isolated: AtomicU64,
}

/// What was counted since the store was opened.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct StoreCounters {
    /// Bundles opened: file open, footer read and verified.
    pub opens: u64,
    /// Callers whose wait another's opening ended.
    pub opens_coalesced: u64,
    /// Openings that failed, for whatever reason.
    pub open_failures: u64,
    /// Openings refused because too many waited.
    pub open_queue_full: u64,
    /// Footers let go of to make room for others.
    pub footers_evicted: u64,
    /// How full the footer cache is.
    pub footers: FooterUse,
    /// Bundles adopted.
    pub adopted: u64,
    /// Bundles retired because it was asked for.
    pub retired: u64,
    /// Bundles retired because a higher generation was adopted.
    pub superseded: u64,
    /// Bundles purged.
    pub purged: u64,
    /// Bundles and files quarantined, by reason.
    pub quarantined: [u64; QuarantineReason::COUNT],
    /// Bytes of bundles that left and that nobody holds any more.
    pub returned_bytes: u64,
    /// Bytes of bundles that left and that readers still hold, or that are being unlinked.
    pub returning_bytes: u64,
    /// Changes that an inventory journal did not take.
    pub journal_failures: u64,
    /// Journals compacted.
    pub journal_compactions: u64,
    /// Journals whose torn end was cut off at the start.
    pub journals_cut: u64,
    /// Inventories made anew from the directory, because their journal was damaged.
    pub journals_rebuilt: u64,
    /// Volumes isolated while they were in use.
    pub volumes_isolated: u64,
}

impl Counters {
    pub(crate) fn count_departure(&self, cause: Cause) {
        let counter = match cause {
            Cause::Retired => &self.retired,
            Cause::Superseded => &self.superseded,
            Cause::Purged => &self.purged,
            Cause::Quarantined(reason) => &self.quarantined[reason as usize],
        };
        counter.fetch_add(1, Ordering::Relaxed);
    }

    pub(crate) fn read(&self, footers: FooterUse, returning_bytes: u64) -> StoreCounters {
        let read = |counter: &AtomicU64| counter.load(Ordering::Relaxed);
        StoreCounters {
            opens: read(&self.opens),
            opens_coalesced: read(&self.opens_coalesced),
            open_failures: read(&self.open_failures),
            open_queue_full: read(&self.open_queue_full),
            footers_evicted: read(&self.footers_evicted),
            footers,
            adopted: read(&self.adopted),
            retired: read(&self.retired),
            superseded: read(&self.superseded),
            purged: read(&self.purged),
            quarantined: QuarantineReason::ALL.map(|reason| read(&self.quarantined[reason as usize])),
            returned_bytes: read(&self.returned_bytes),
            returning_bytes,
            journal_failures: read(&self.journal_failures),
            journal_compactions: read(&self.journal_compactions),
            journals_cut: read(&self.journals_cut),
            journals_rebuilt: read(&self.journals_rebuilt),
            volumes_isolated: read(&self.volumes_isolated),
        }
    }
}
