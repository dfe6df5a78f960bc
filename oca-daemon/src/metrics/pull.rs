//! Pull-through: what is pulled from upstream, and what is held of it. Nothing is told where no rule pulls.

use super::samples::Scrape;
use super::{Kind, Metric};
use crate::pull::stats::{Count, PullVolumeStats};
use crate::pull::{PullStats, UpstreamResult};

pub(super) const ROWS: &[Metric] = &[
    Metric {
        name: "oca_pull_requests_under_way",
        kind: Kind::Gauge,
        labels: &[],
        help: "Requests that pulled content is answering now.",
        action: "Near pull.requests: further ones get 503; look why upstream is slow, or raise it.",
        read: |scrape, samples| {
            if let Some(pulling) = scrape.appliance.pulling() {
                samples.one(pulling.handle.under_way() as u64);
            }
        },
    },
    Metric {
        name: "oca_pull_answers_total",
        kind: Kind::Counter,
        labels: &["how"],
        help: "Answers that came about otherwise than by a fetch of their own: collapsed (another's was joined), revalidated (upstream \
            said that what is held is right), stale (nobody said so), remembered (that it is absent, or that upstream fails).",
        action: "stale with a rate: upstream is in trouble. remembered with a high rate: somebody asks for names that do not exist.",
        read: |scrape, samples| {
            let Some(stats) = stats(scrape) else { return };
            samples.put(&["collapsed"], stats.collapsed.get());
            samples.put(&["revalidated"], stats.revalidated.get());
            samples.put(&["stale"], stats.stale_served.get());
            samples.put(&["remembered"], stats.negative_hits.get());
        },
    },
    Metric {
        name: "oca_pull_upstream_requests_total",
        kind: Kind::Counter,
        labels: &["upstream", "result"],
        help: "Requests to each upstream that ended, by result.",
        action: "Any of unreachable, timed_out, invalid and server_error with a rate: look at that upstream.",
        read: |scrape, samples| {
            for upstream in stats(scrape).iter().flat_map(|stats| &stats.upstreams) {
                for result in UpstreamResult::ALL {
                    let count = upstream.results[result as usize].get();
                    samples.put(&[&upstream.name, result.as_str()], count);
                }
            }
        },
    },
    Metric {
        name: "oca_pull_upstream_bytes_total",
        kind: Kind::Counter,
        labels: &["upstream"],
        help: "Bytes of bodies received from each upstream.",
        action: "Beside the bytes of demand_hit and demand_miss it says what pull-through saves.",
        read: |scrape, samples| {
            for upstream in stats(scrape).iter().flat_map(|stats| &stats.upstreams) {
                samples.put(&[&upstream.name], upstream.received_bytes.get());
            }
        },
    },
    Metric {
        name: "oca_pull_upstream_open",
        kind: Kind::Gauge,
        labels: &["upstream"],
        help: "1 while an upstream is left alone because it failed too often, else 0.",
        action: "1 for minutes: look at that upstream, and at the network between.",
        read: |scrape, samples| {
            for upstream in stats(scrape).iter().flat_map(|stats| &stats.upstreams) {
                samples.put(&[&upstream.name], u64::from(upstream.is_open()));
            }
        },
    },
    Metric {
        name: "oca_pull_fetches_under_way",
        kind: Kind::Gauge,
        labels: &[],
        help: "Requests to upstreams that are waited for, and bodies that come as fast as upstream sends them; what waits for clients is not counted.",
        action: "Steadily at pull.fetches: others wait; raise it, or look why upstream is slow.",
        read: |scrape, samples| one(scrape, samples, |stats| &stats.fetches),
    },
    Metric {
        name: "oca_pull_fetch_bytes",
        kind: Kind::Gauge,
        labels: &[],
        help: "Memory for content on its way from upstreams.",
        action: "Near pull.fetch_memory: slow viewers hold up those who want the same; raise it.",
        read: |scrape, samples| one(scrape, samples, |stats| &stats.fetch_bytes),
    },
    Metric {
        name: "oca_pull_sent_bytes_total",
        kind: Kind::Counter,
        labels: &["source"],
        help: "Bytes of pulled content that were answered from what is held: memory, disk.",
        action: "None beside a high rate of demand_miss: see oca_pull_evicted_records_total, and what upstream says in Cache-Control.",
        read: |scrape, samples| {
            let Some(stats) = stats(scrape) else { return };
            samples.put(&["memory"], stats.memory_bytes_sent.get());
            samples.put(&["disk"], stats.disk_bytes_sent.get());
        },
    },
    Metric {
        name: "oca_pull_memory_bytes",
        kind: Kind::Gauge,
        labels: &[],
        help: "Memory that small and short-lived pulled content takes.",
        action: "At pull.memory beside many demand_miss of playlists: raise it.",
        read: |scrape, samples| one(scrape, samples, |stats| &stats.memory_bytes),
    },
    Metric {
        name: "oca_pull_memory_objects",
        kind: Kind::Gauge,
        labels: &[],
        help: "Answers that are held in memory.",
        action: "For sizing.",
        read: |scrape, samples| one(scrape, samples, |stats| &stats.memory_objects),
    },
    Metric {
        name: "oca_pull_volume_bytes",
        kind: Kind::Gauge,
        labels: &["volume"],
        help: "What the files of pulled content take on each volume.",
        action: "For sizing; the bound is pull.volume_percent.",
        read: |scrape, samples| each_volume(scrape, samples, |volume| &volume.bytes),
    },
    Metric {
        name: "oca_pull_volume_records",
        kind: Kind::Gauge,
        labels: &["volume"],
        help: "Records in them: heads, and blocks of up to 1 MiB.",
        action: "For sizing.",
        read: |scrape, samples| each_volume(scrape, samples, |volume| &volume.records),
    },
    Metric {
        name: "oca_pull_index_bytes",
        kind: Kind::Gauge,
        labels: &["volume"],
        help: "Memory that the index of pulled content takes.",
        action: "At pull.index_memory before oca_pull_volume_bytes is at its bound: raise it.",
        read: |scrape, samples| each_volume(scrape, samples, |volume| &volume.index_bytes),
    },
    Metric {
        name: "oca_pull_evicted_records_total",
        kind: Kind::Counter,
        labels: &["volume"],
        help: "Records that left to make room.",
        action: "A rate near that of what is stored, beside many demand_miss: raise pull.volume_percent.",
        read: |scrape, samples| each_volume(scrape, samples, |volume| &volume.evicted),
    },
    Metric {
        name: "oca_pull_rewritten_records_total",
        kind: Kind::Counter,
        labels: &["volume"],
        help: "Records that were to leave and were written again, because they are asked for.",
        action: "For the wear of the disk: each is written once more.",
        read: |scrape, samples| each_volume(scrape, samples, |volume| &volume.rewritten),
    },
    Metric {
        name: "oca_pull_corrupt_records_total",
        kind: Kind::Counter,
        labels: &["volume"],
        help: "Records whose checksum did not match; none of them was sent.",
        action: "Any: look at the disk.",
        read: |scrape, samples| each_volume(scrape, samples, |volume| &volume.corrupt),
    },
    Metric {
        name: "oca_pull_purges_lost_total",
        kind: Kind::Counter,
        labels: &["volume"],
        help: "Times that everything pulled on a volume was dropped when it was opened: its list of purges was missing, damaged or could not be read, and what had been purged was not to come back.",
        action: "Any: look at the disk; what is asked for is pulled anew.",
        read: |scrape, samples| each_volume(scrape, samples, |volume| &volume.purges_lost),
    },
    Metric {
        name: "oca_pull_write_failures_total",
        kind: Kind::Counter,
        labels: &["volume"],
        help: "Content that was sent and could not be kept: the disk refused it, or was too slow.",
        action: "A steady rate: the volume is full, or its disk is overloaded or dying; see the daemon's log.",
        read: |scrape, samples| each_volume(scrape, samples, |volume| &volume.write_failures),
    },
    Metric {
        name: "oca_pull_purged_objects_total",
        kind: Kind::Counter,
        labels: &[],
        help: "Pulled objects that were dropped because somebody said so.",
        action: "The daemon's log has who did.",
        read: |scrape, samples| one(scrape, samples, |stats| &stats.purged),
    },
];

fn stats<'a>(scrape: &Scrape<'a>) -> Option<&'a PullStats> {
    scrape.appliance.pulling().map(|pulling| &*pulling.stats)
}

fn one(scrape: &Scrape<'_>, samples: &mut super::Samples, count: fn(&PullStats) -> &Count) {
    if let Some(stats) = stats(scrape) {
        samples.one(count(stats).get());
    }
}

fn each_volume(scrape: &Scrape<'_>, samples: &mut super::Samples, count: fn(&PullVolumeStats) -> &Count) {
    let Some(stats) = stats(scrape) else { return };
    for (scraped, volume) in scrape.volumes.iter().zip(&stats.volumes) {
        samples.put(&[&scraped.number], count(volume).get());
    }
}
