//! The RAM tier: what is in memory, and what comes and goes.

use super::{Kind, Metric};
use crate::tier::{Departure, LoadEnd, PrefetchEnd, Refusal};

pub(super) const ROWS: &[Metric] = &[
    Metric {
        name: "oca_ram_tier_budget_bytes",
        kind: Kind::Gauge,
        labels: &[],
        help: "Memory that the RAM tier may lock; 0: there is none.",
        action: "Less than serve.ram_tier asks for: the daemon's log said at start what cut it, and what to do.",
        read: |scrape, samples| samples.one(scrape.appliance.tier().map_or(0, |tier| tier.budget().bytes)),
    },
    Metric {
        name: "oca_ram_tier_bytes",
        kind: Kind::Gauge,
        labels: &["state"],
        help: "Locked memory: resident (served from), loading (on its way in), leaving (displaced, not unmapped yet).",
        action: "resident far below the budget in the evening: see oca_ram_tier_refusals_total. leaving that stays: report it.",
        read: |scrape, samples| {
            samples.put(&["resident"], scrape.tier.resident_bytes);
            samples.put(&["loading"], scrape.tier.loading_bytes);
            samples.put(&["leaving"], scrape.tier.leaving_bytes);
        },
    },
    Metric {
        name: "oca_ram_tier_blocks",
        kind: Kind::Gauge,
        labels: &[],
        help: "Blocks of up to 2 MiB that are served from memory; each is a mapping.",
        action: "The measure is vm.max_map_count.",
        read: |scrape, samples| samples.one(scrape.tier.blocks),
    },
    Metric {
        name: "oca_ram_tier_files",
        kind: Kind::Gauge,
        labels: &[],
        help: "Bundles with blocks in memory; each takes a descriptor.",
        action: "Bounded by what LimitNOFILE leaves beside connections and open bundles.",
        read: |scrape, samples| samples.one(scrape.tier.files),
    },
    Metric {
        name: "oca_ram_tier_loads_total",
        kind: Kind::Counter,
        labels: &["end"],
        help: "Blocks that were to be loaded, by how that ended.",
        action: "read_error, truncated, corrupt: look at the disk. lock_refused, open_refused: see the log.",
        read: |scrape, samples| samples.put_each(LoadEnd::words(), &scrape.tier.loads),
    },
    Metric {
        name: "oca_ram_tier_loaded_bytes_total",
        kind: Kind::Counter,
        labels: &[],
        help: "Bytes read, locked and verified.",
        action: "A rate near that of hit_disk's bytes: the tier is too small for what is asked for; add memory.",
        read: |scrape, samples| samples.one(scrape.tier.loaded_bytes),
    },
    Metric {
        name: "oca_ram_tier_departures_total",
        kind: Kind::Counter,
        labels: &["cause"],
        help: "Blocks that left memory, by cause; bundle_left: retired, purged, quarantined, volume isolated.",
        action: "displaced, bundle_left: nothing. files, memory, file_broken: the table below says what to do, and the log which file.",
        read: |scrape, samples| samples.put_each(Departure::words(), &scrape.tier.departures),
    },
    Metric {
        name: "oca_ram_tier_refusals_total",
        kind: Kind::Counter,
        labels: &["reason"],
        help: "Times that a block was asked for again and not loaded, by reason.",
        action: "outweighed is the tier at work. Others, at a rate: the table below says what to raise.",
        read: |scrape, samples| samples.put_each(Refusal::words(), &scrape.tier.refusals),
    },
    Metric {
        name: "oca_ram_tier_prefetches_total",
        kind: Kind::Counter,
        labels: &["end"],
        help: "Blocks that players said they would ask for next (serve.prefetch), by how that ended.",
        action: "unused beyond a half of used and unused together: players do not keep their word; serve.prefetch = \"off\" saves \
            the reads.",
        read: |scrape, samples| samples.put_each(PrefetchEnd::words(), &scrape.tier.prefetches),
    },
    Metric {
        name: "oca_ram_tier_samples_total",
        kind: Kind::Counter,
        labels: &["fate"],
        help: "Requests that the tier was told of, by block: taken, or dropped because it was behind.",
        action: "dropped at a rate: the tier's thread has no processor; it decides by the rest.",
        read: |scrape, samples| {
            samples.put(&["taken"], scrape.tier.samples);
            samples.put(&["dropped"], scrape.totals.samples_dropped);
        },
    },
];
