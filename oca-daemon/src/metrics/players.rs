//! What players say (CMCD), and how they are sent to.

use super::samples::Unit;
use super::{Kind, Metric};
use crate::media::cmcd::{Ignored, ObjectType, StreamType, StreamingFormat, Version};
use crate::media::{HintFate, PaceCause};

pub(super) const ROWS: &[Metric] = &[
    Metric {
        name: "oca_cmcd_requests_total",
        kind: Kind::Counter,
        labels: &["object_type"],
        help: "Requests with CMCD that ended, by what was asked for.",
        action: "Beside oca_requests_total: the share of players that say anything.",
        read: |scrape, samples| samples.put_each(ObjectType::words(), &scrape.totals.players.object_types),
    },
    Metric {
        name: "oca_cmcd_formats_total",
        kind: Kind::Counter,
        labels: &["format"],
        help: "The same requests, by streaming format.",
        action: "Who plays what; nothing to alert on.",
        read: |scrape, samples| samples.put_each(StreamingFormat::words(), &scrape.totals.players.formats),
    },
    Metric {
        name: "oca_cmcd_stream_types_total",
        kind: Kind::Counter,
        labels: &["stream_type"],
        help: "The same requests, by stream type (st): v (all segments exist), l (live), ll (live with low latency), unsaid (or not known here).",
        action: "A rise of l and ll: a live event. Its players' buffers are short, so that few are paced.",
        read: |scrape, samples| samples.put_each(StreamType::labels(), &scrape.totals.players.stream_types),
    },
    Metric {
        name: "oca_cmcd_versions_total",
        kind: Kind::Counter,
        labels: &["version"],
        help: "The same requests, by version of CMCD.",
        action: "other: players speak a version that is not known here; upgrade.",
        read: |scrape, samples| samples.put_each(Version::words(), &scrape.totals.players.versions),
    },
    Metric {
        name: "oca_cmcd_ignored_values_total",
        kind: Kind::Counter,
        labels: &["reason"],
        help: "Values of CMCD that were left out, by why.",
        action: "A rising share: a player's release writes CMCD wrongly; tell its authors. Service does not suffer.",
        read: |scrape, samples| samples.put_each(Ignored::words(), &scrape.totals.players.ignored),
    },
    Metric {
        name: "oca_cmcd_startups_total",
        kind: Kind::Counter,
        labels: &[],
        help: "Requests whose object a player needs at once: it begins, seeks, or has stalled (su).",
        action: "A rise without more viewers: players begin again and again; compare oca_cmcd_starvations_total.",
        read: |scrape, samples| samples.one(scrape.totals.players.startups),
    },
    Metric {
        name: "oca_cmcd_starvations_total",
        kind: Kind::Counter,
        labels: &[],
        help: "Requests whose player had run dry since its last one (bs): viewers saw a stall.",
        action: "The viewers' own alarm. See oca_first_byte_seconds and the egress; if both are well, the links \
            behind this appliance.",
        read: |scrape, samples| samples.one(scrape.totals.players.starvations),
    },
    Metric {
        name: "oca_cmcd_bitrate_bits_per_second",
        kind: Kind::Histogram,
        labels: &["media"],
        help: "Encoded bitrates of what players ask for (br); muxed segments count as video.",
        action: "A falling median is a falling picture quality.",
        read: |scrape, samples| {
            samples.histogram_in(Unit::Kilobits, &["video"], &scrape.totals.players.bitrate_video);
            samples.histogram_in(Unit::Kilobits, &["audio"], &scrape.totals.players.bitrate_audio);
        },
    },
    Metric {
        name: "oca_cmcd_throughput_bits_per_second",
        kind: Kind::Histogram,
        labels: &[],
        help: "Throughput as players measured it (mtp). Paced responses bound it.",
        action: "Near the bitrates: the links behind this appliance are full.",
        read: |scrape, samples| samples.histogram_in(Unit::Kilobits, &[], &scrape.totals.players.throughput),
    },
    Metric {
        name: "oca_cmcd_buffer_seconds",
        kind: Kind::Histogram,
        labels: &[],
        help: "Media in players' buffers when they ask (bl).",
        action: "More below 5 s than usual: stalls are near.",
        read: |scrape, samples| samples.histogram_in(Unit::Milliseconds, &[], &scrape.totals.players.buffer),
    },
    Metric {
        name: "oca_cmcd_start_delay_seconds",
        kind: Kind::Histogram,
        labels: &[],
        help: "From the viewer's wish to the first picture, as players of version 2 say it once a session (msd).",
        action: "Above 2 s at the 95th percentile: see oca_first_byte_seconds.",
        read: |scrape, samples| {
            samples.histogram_in(Unit::Milliseconds, &[], &scrape.totals.players.start_delay)
        },
    },
    Metric {
        name: "oca_paced_responses_total",
        kind: Kind::Counter,
        labels: &["cause"],
        help: "Responses to requests with CMCD that began, by how they are paced.",
        action: "urgent is most of it: viewers' buffers are short. All of it is off: serve.pacing.",
        read: |scrape, samples| samples.put_each(PaceCause::words(), &scrape.totals.players.paces),
    },
    Metric {
        name: "oca_cmcd_next_objects_total",
        kind: Kind::Counter,
        labels: &["fate"],
        help: "Objects that players named as the ones they ask for next (nor, nrr), by what became of that.",
        action: "malformed, elsewhere at a rate: a player writes CMCD wrongly. dropped: the tier's thread has no processor. All \
            of it is resident: prefetching has nothing to do.",
        read: |scrape, samples| samples.put_each(HintFate::words(), &scrape.totals.players.hints),
    },
];
