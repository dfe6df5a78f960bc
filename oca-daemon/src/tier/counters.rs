//! What the tier counts and holds. Written by its threads, read at scrape.

use std::sync::atomic::{AtomicU64, Ordering::Relaxed};

use crate::stats::causes;

causes! {
    /// How the loading of a block ended.
    LoadEnd {
        Loaded = "loaded": "The block is in memory, and its checksums are right.",
        Unneeded = "unneeded": "Its bundle left, its file was changed, or others displaced it, before it was there.",
        ReadError = "read_error": "The device or file system gave an error.",
        Truncated = "truncated": "The file ended early.",
        Corrupt = "corrupt": "A checksum is wrong; the bundle is quarantined.",
        OpenRefused = "open_refused": "The file could not be opened once more; the log has the error.",
        LockRefused = "lock_refused": "The kernel did not lock the memory, or it failed; the log has the error.",
    }
}

causes! {
    /// Why a block that was asked for again was not loaded.
    Refusal {
        Outweighed = "outweighed": "What is in memory is asked for more often.",
        LoaderBusy = "loader_busy": "As many loads as may wait for its volume; the disk is busy or hangs.",
        Yielding = "yielding": "Viewers' own reads of its volume take longer than before; loads rest between blocks.",
        Files = "files": "As many bundles as may have blocks in memory; raise LimitNOFILE of the unit.",
        Memory = "memory": "No memory was to spare, or blocks that were displaced are still being sent.",
        Closed = "closed": "Its bundle was not open any more; raise store.footer_cache or store.open_bundles.",
        Paused = "paused": "The kernel had refused to lock memory of its volume, or to send from it, shortly before.",
    }
}

causes! {
    /// Why a block left memory.
    Departure {
        Displaced = "displaced": "Others are asked for more often.",
        BundleLeft = "bundle_left": "Its bundle left service.",
        Files = "files": "Another bundle needed its descriptor, and its bundle was asked for least; raise LimitNOFILE of the unit.",
        Memory = "memory": "The machine was short of memory; lower serve.ram_tier.",
        BroughtAhead = "brought_ahead": "It was brought ahead for a player who had named it, or for workers that wanted it at once, and was not asked for, or not often enough to stay.",
        FileBroken = "file_broken": "Its file was changed behind the daemon's back, or its memory failed; the log says which.",
    }
}

causes! {
    /// What came of a block that a player had said it would ask for next.
    PrefetchEnd {
        Used = "used": "It was asked for while it was in memory or on its way there.",
        Unused = "unused": "It left memory before anybody asked for it.",
        Failed = "failed": "It could not be loaded; see oca_ram_tier_loads_total.",
        Held = "held": "It was in memory, or on its way there, already.",
        Busy = "busy": "Its disk, memory or descriptors are wanted for what is asked for now, or as much of its disk was brought ahead as may be.",
        Full = "full": "As many blocks as may be in memory before they are asked for.",
    }
}

/// Counters and gauges of the tier.
#[derive(Default)]
pub struct TierCounters {
    pub(super) samples: AtomicU64,
    pub(super) loads: [AtomicU64; LoadEnd::COUNT],
    pub(super) loaded_bytes: AtomicU64,
    pub(super) refusals: [AtomicU64; Refusal::COUNT],
    pub(super) departures: [AtomicU64; Departure::COUNT],
    pub(super) prefetches: [AtomicU64; PrefetchEnd::COUNT],
    pub(super) resident_bytes: AtomicU64,
    pub(super) loading_bytes: AtomicU64,
    pub(super) leaving_bytes: AtomicU64,
    pub(super) blocks: AtomicU64,
    pub(super) files: AtomicU64,
}

/// What was counted, and what is held now.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct TierTotals {
    /// Samples that the tier has looked at.
    pub samples: u64,
    /// Loads, by end.
    pub loads: [u64; LoadEnd::COUNT],
    /// Bytes of the blocks that were loaded.
    pub loaded_bytes: u64,
    /// Blocks that were not loaded, by reason.
    pub refusals: [u64; Refusal::COUNT],
    /// Blocks that left memory, by cause.
    pub departures: [u64; Departure::COUNT],
    /// Blocks that players named ahead, by end.
    pub prefetches: [u64; PrefetchEnd::COUNT],
    /// Bytes that requests are served from.
    pub resident_bytes: u64,
    /// Bytes on their way into memory.
    pub loading_bytes: u64,
    /// Bytes that are served no more and not unmapped yet.
    pub leaving_bytes: u64,
    /// Blocks that requests are served from.
    pub blocks: u64,
    /// Bundles with blocks in memory.
    pub files: u64,
}

impl TierCounters {
    /// All of them, as they are now.
    pub fn read(&self) -> TierTotals {
        let value = |counter: &AtomicU64| counter.load(Relaxed);
        TierTotals {
            samples: value(&self.samples),
            loads: self.loads.each_ref().map(value),
            loaded_bytes: value(&self.loaded_bytes),
            refusals: self.refusals.each_ref().map(value),
            departures: self.departures.each_ref().map(value),
            prefetches: self.prefetches.each_ref().map(value),
            resident_bytes: value(&self.resident_bytes),
            loading_bytes: value(&self.loading_bytes),
            leaving_bytes: value(&self.leaving_bytes),
            blocks: value(&self.blocks),
            files: value(&self.files),
        }
    }
}

/// Adds to a counter.
pub(super) fn count(counter: &AtomicU64, amount: u64) {
    counter.fetch_add(amount, Relaxed);
}
