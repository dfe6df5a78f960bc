//! The volumes: what the store says of each, and what the workers read of it.

use cache_store::VolumeState;

use super::{Kind, Metric};
use crate::stats::ReadEnd;

pub(super) const ROWS: &[Metric] = &[
    Metric {
        name: "oca_volume_serving",
        kind: Kind::Gauge,
        labels: &["volume"],
        help: "1 while the volume serves, else 0; volumes are counted from 0, as in store.volumes.",
        action: "0: `oca health` says why; mount or replace the disk, then restart the daemon.",
        read: |scrape, samples| {
            for volume in &scrape.volumes {
                samples.put(&[&volume.number], u64::from(volume.status.state == VolumeState::Serving));
            }
        },
    },
    Metric {
        name: "oca_volume_bundles",
        kind: Kind::Gauge,
        labels: &["volume"],
        help: "Bundles that the volume serves.",
        action: "A sudden fall is a failed volume or a purge.",
        read: |scrape, samples| {
            for volume in &scrape.volumes {
                samples.put(&[&volume.number], volume.status.bundles);
            }
        },
    },
    Metric {
        name: "oca_volume_bundle_bytes",
        kind: Kind::Gauge,
        labels: &["volume"],
        help: "Bytes of their files.",
        action: "Compare it with what the fill manifest asks for.",
        read: |scrape, samples| {
            for volume in &scrape.volumes {
                samples.put(&[&volume.number], volume.status.bundle_bytes);
            }
        },
    },
    Metric {
        name: "oca_volume_free_bytes",
        kind: Kind::Gauge,
        labels: &["volume"],
        help: "Bytes free on the volume's file system, as of the last few seconds in which its disk \
            answered.",
        action: "Near none, with few bundle bytes: something else fills the disk.",
        read: |scrape, samples| {
            for volume in &scrape.volumes {
                samples.put(&[&volume.number], volume.status.free_bytes);
            }
        },
    },
    Metric {
        name: "oca_volume_total_bytes",
        kind: Kind::Gauge,
        labels: &["volume"],
        help: "Bytes of the volume's file system.",
        action: "The measure for oca_volume_free_bytes.",
        read: |scrape, samples| {
            for volume in &scrape.volumes {
                samples.put(&[&volume.number], volume.status.total_bytes);
            }
        },
    },
    Metric {
        name: "oca_volume_returning_bytes",
        kind: Kind::Gauge,
        labels: &["volume"],
        help: "Bytes of retired and purged bundles whose space has not returned, because readers hold them.",
        action: "Stays high for more than serve.connection_lifetime: report it.",
        read: |scrape, samples| {
            for volume in &scrape.volumes {
                samples.put(&[&volume.number], volume.status.returning_bytes);
            }
        },
    },
    Metric {
        name: "oca_volume_errors_total",
        kind: Kind::Counter,
        labels: &["volume"],
        help: "Read errors that the store has counted against the volume; store.volume_errors in a minute \
            isolate it.",
        action: "Any: look at the kernel log and at smartctl, and have a disk ready.",
        read: |scrape, samples| {
            for volume in &scrape.volumes {
                samples.put(&[&volume.number], volume.status.read_errors);
            }
        },
    },
    Metric {
        name: "oca_volume_busy_seconds",
        kind: Kind::Gauge,
        labels: &["volume"],
        help: "How long the longest piece of the store's own work on the disk has taken until now: \
            openings, closings, the journal.",
        action: "Above a few seconds: the disk hangs; look at `iostat -x` and the kernel log.",
        read: |scrape, samples| {
            for volume in &scrape.volumes {
                samples.put_float(&[&volume.number], volume.status.busy.as_secs_f64());
            }
        },
    },
    Metric {
        name: "oca_volume_openings_waiting",
        kind: Kind::Gauge,
        labels: &["volume"],
        help: "Bundles that wait to be opened.",
        action: "Near store.open_queue: the disk is too slow for the number of titles asked for, or hangs.",
        read: |scrape, samples| {
            for volume in &scrape.volumes {
                samples.put(&[&volume.number], volume.status.openings_waiting.try_into().unwrap_or(u64::MAX));
            }
        },
    },
    Metric {
        name: "oca_volume_reads_total",
        kind: Kind::Counter,
        labels: &["volume", "end"],
        help: "Reads of content by workers that ended, by how.",
        action: "failed, truncated, corrupt: any is a disk to look at; what was wrong was not sent.",
        read: |scrape, samples| {
            for (volume, reads) in scrape.reads() {
                for &end in ReadEnd::ALL {
                    samples.put(&[volume, end.as_str()], reads.ended[end as usize]);
                }
            }
        },
    },
    Metric {
        name: "oca_volume_read_bytes_total",
        kind: Kind::Counter,
        labels: &["volume"],
        help: "Bytes of content read and found right.",
        action: "Its rate against what the disk can do says how much room is left.",
        read: |scrape, samples| {
            for (volume, reads) in scrape.reads() {
                samples.put(&[volume], reads.bytes);
            }
        },
    },
    Metric {
        name: "oca_volume_read_duration_seconds",
        kind: Kind::Histogram,
        labels: &["volume"],
        help: "How long reads of content took, from when the kernel was given them.",
        action: "One volume slower than the others: a failing disk. All of them: too much is asked of them.",
        read: |scrape, samples| {
            for (volume, reads) in scrape.reads() {
                samples.histogram(&[volume], &reads.duration);
            }
        },
    },
    Metric {
        name: "oca_volume_read_timeouts_total",
        kind: Kind::Counter,
        labels: &["volume"],
        help: "Responses that gave up waiting for a read, after serve.disk_timeout.",
        action: "Any: the disk hangs; look at the kernel log.",
        read: |scrape, samples| {
            for (volume, reads) in scrape.reads() {
                samples.put(&[volume], reads.timeouts);
            }
        },
    },
    Metric {
        name: "oca_volume_reads_in_flight",
        kind: Kind::Gauge,
        labels: &["volume"],
        help: "Reads of content that the kernel has now.",
        action: "High and steady while oca_volume_read_bytes_total stands still: the disk hangs.",
        read: |scrape, samples| {
            for (volume, reads) in scrape.reads() {
                samples.put(&[volume], reads.in_flight);
            }
        },
    },
];
