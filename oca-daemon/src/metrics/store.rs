//! The store as a whole: bundles that come and go, openings, journals.

use cache_store::QuarantineReason;

use super::{Kind, Metric};

pub(super) const ROWS: &[Metric] = &[
    Metric {
        name: "oca_bundles_adopted_total",
        kind: Kind::Counter,
        labels: &[],
        help: "Bundles taken into the inventory.",
        action: "Stands still during a fill window: look at the fill's report.",
        read: |scrape, samples| samples.one(scrape.store.adopted),
    },
    Metric {
        name: "oca_bundles_departed_total",
        kind: Kind::Counter,
        labels: &["cause"],
        help: "Bundles that left the inventory: retired (planned), superseded (by a higher generation), \
            purged (told to).",
        action: "purged that nobody asked for: see the daemon's log for who did.",
        read: |scrape, samples| {
            samples.put(&["retired"], scrape.store.retired);
            samples.put(&["superseded"], scrape.store.superseded);
            samples.put(&["purged"], scrape.store.purged);
        },
    },
    Metric {
        name: "oca_bundles_quarantined_total",
        kind: Kind::Counter,
        labels: &["reason"],
        help: "Bundles put aside because they were not what they should be; not one wrong byte of them was \
            sent.",
        action: "They are refilled; several on one volume mean a failing disk. quarantine/ on the volume \
            keeps the newest.",
        read: |scrape, samples| {
            for reason in QuarantineReason::ALL {
                samples.put(&[reason.as_str()], scrape.store.quarantined[reason as usize]);
            }
        },
    },
    Metric {
        name: "oca_bundle_returned_bytes_total",
        kind: Kind::Counter,
        labels: &[],
        help: "Bytes of bundles that left, whose space has returned.",
        action: "For the long run; nothing to alert on.",
        read: |scrape, samples| samples.one(scrape.store.returned_bytes),
    },
    Metric {
        name: "oca_bundle_openings_total",
        kind: Kind::Counter,
        labels: &["end"],
        help: "Openings of bundles: opened, coalesced with another's, failed, refused because too many \
            waited.",
        action: "A high rate of opened: store.footer_cache or store.open_bundles is too small. refused: see \
            oca_volume_busy_seconds.",
        read: |scrape, samples| {
            samples.put(&["opened"], scrape.store.opens);
            samples.put(&["coalesced"], scrape.store.opens_coalesced);
            samples.put(&["failed"], scrape.store.open_failures);
            samples.put(&["refused"], scrape.store.open_queue_full);
        },
    },
    Metric {
        name: "oca_bundle_openings_in_flight",
        kind: Kind::Gauge,
        labels: &[],
        help: "Requests that wait for a bundle to be opened.",
        action: "See oca_volume_openings_waiting for which volume.",
        read: |scrape, samples| samples.one(scrape.totals.openings_in_flight),
    },
    Metric {
        name: "oca_footer_cache_bytes",
        kind: Kind::Gauge,
        labels: &[],
        help: "Bytes of verified footers in memory.",
        action: "At oca_footer_cache_limit_bytes with many evictions: raise store.footer_cache.",
        read: |scrape, samples| samples.one(scrape.store.footers.bytes),
    },
    Metric {
        name: "oca_footer_cache_limit_bytes",
        kind: Kind::Gauge,
        labels: &[],
        help: "store.footer_cache.",
        action: "The measure for oca_footer_cache_bytes.",
        read: |scrape, samples| samples.one(scrape.store.footers.bytes_max),
    },
    Metric {
        name: "oca_footer_cache_evictions_total",
        kind: Kind::Counter,
        labels: &[],
        help: "Footers let go of to make room for others.",
        action: "A high rate: raise store.footer_cache or store.open_bundles, whichever is full.",
        read: |scrape, samples| samples.one(scrape.store.footers_evicted),
    },
    Metric {
        name: "oca_bundles_open",
        kind: Kind::Gauge,
        labels: &[],
        help: "Bundle files that are open.",
        action: "At store.open_bundles with many evictions: raise it, and LimitNOFILE with it.",
        read: |scrape, samples| samples.one(scrape.store.footers.bundles.try_into().unwrap_or(u64::MAX)),
    },
    Metric {
        name: "oca_journal_events_total",
        kind: Kind::Counter,
        labels: &["event"],
        help: "Of the inventory journals: failed (a change was not taken), compacted, cut (a torn end), \
            rebuilt (from the bundles).",
        action: "failed: the disk is full or failing. rebuilt: the disk lost what it had confirmed; look at \
            it.",
        read: |scrape, samples| {
            samples.put(&["failed"], scrape.store.journal_failures);
            samples.put(&["compacted"], scrape.store.journal_compactions);
            samples.put(&["cut"], scrape.store.journals_cut);
            samples.put(&["rebuilt"], scrape.store.journals_rebuilt);
        },
    },
    Metric {
        name: "oca_volumes_isolated_total",
        kind: Kind::Counter,
        labels: &[],
        help: "Volumes that were left alone after too many read errors.",
        action: "Replace the disk; its titles are filled elsewhere.",
        read: |scrape, samples| samples.one(scrape.store.volumes_isolated),
    },
];
