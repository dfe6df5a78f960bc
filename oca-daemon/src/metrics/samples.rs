//! What a scrape reads, and how it becomes Prometheus's types.

use std::fmt::Write;
use std::sync::Arc;

use cache_store::{StoreCounters, VolumeStatus};
use prometheus::proto::{Bucket, Counter, Gauge, Histogram, LabelPair, Metric};

use super::Kind;
use crate::access_log::LogTotals;
use crate::appliance::{Appliance, Judged};
use crate::media::cmcd::Ignored;
use crate::media::{HintFate, PaceCause};
use crate::outcome::Outcome;
use crate::pull::UpstreamResult;
use crate::stats::{AcceptPause, BOUNDS_MICROS, CloseCause, HistogramTotal, ReadEnd, Totals, VolumeTotals};
use crate::tier::{Departure, LoadEnd, PrefetchEnd, Refusal, Tier, TierTotals};

/// Everything that a scrape reads, gathered once.
pub(super) struct Scrape<'a> {
    pub(super) appliance: &'a Appliance,
    pub(super) totals: Totals,
    pub(super) store: StoreCounters,
    pub(super) log: LogTotals,
    pub(super) judged: Option<Arc<Judged>>,
    pub(super) tier: TierTotals,
    pub(super) volumes: Vec<ScrapedVolume>,
}

/// A volume, with its place in the configuration as a label's value.
pub(super) struct ScrapedVolume {
    pub(super) number: String,
    pub(super) status: VolumeStatus,
}

impl<'a> Scrape<'a> {
    pub(super) fn of(appliance: &'a Appliance) -> Self {
        Scrape {
            appliance,
            totals: appliance.totals(),
            store: appliance.store.counters(),
            log: appliance.access_log.totals(),
            judged: appliance.judged(),
            tier: appliance.tier().map(Tier::totals).unwrap_or_default(),
            volumes: appliance
                .store
                .volumes()
                .into_iter()
                .map(|status| ScrapedVolume { number: status.index.0.to_string(), status })
                .collect(),
        }
    }

    /// The workers' reads of each volume.
    pub(super) fn reads(&self) -> impl Iterator<Item = (&str, &VolumeTotals)> {
        self.volumes.iter().map(|volume| volume.number.as_str()).zip(&self.totals.volumes)
    }
}

/// What the numbers of a histogram are.
#[derive(Clone, Copy)]
pub(super) enum Unit {
    Microseconds,
    Milliseconds,
    /// Thousands of bits per second.
    Kilobits,
}

impl Unit {
    /// In Prometheus's base unit: seconds, bits per second.
    fn in_base(self, value: u64) -> f64 {
        match self {
            Self::Microseconds => float(value) / 1e6,
            Self::Milliseconds => float(value) / 1e3,
            Self::Kilobits => float(value) * 1e3,
        }
    }
}

/// The samples of one metric.
pub(super) struct Samples {
    kind: Kind,
    labels: &'static [&'static str],
    metrics: Vec<Metric>,
}

impl Samples {
    pub(super) fn new(kind: Kind, labels: &'static [&'static str]) -> Self {
        Samples { kind, labels, metrics: Vec::new() }
    }

    /// A sample without labels.
    pub(super) fn one(&mut self, value: u64) {
        self.put(&[], value);
    }

    /// A sample with a value for each label, in the order of the table.
    pub(super) fn put(&mut self, labels: &[&str], value: u64) {
        self.put_float(labels, float(value));
    }

    /// A sample for each of `words`, the values of the one label, with the number at its place.
    pub(super) fn put_each<'a>(&mut self, words: impl Iterator<Item = &'a str>, values: &[u64]) {
        words.zip(values).for_each(|(word, &value)| self.put(&[word], value));
    }

    /// As [`Self::put`], for what is not a whole number.
    pub(super) fn put_float(&mut self, labels: &[&str], value: f64) {
        let mut metric = self.labelled(labels);
        if self.kind == Kind::Counter {
            let mut counter = Counter::default();
            counter.set_value(value);
            metric.set_counter(counter);
        } else {
            let mut gauge = Gauge::default();
            gauge.set_value(value);
            metric.set_gauge(gauge);
        }
        self.metrics.push(metric);
    }

    /// A histogram of seconds.
    pub(super) fn histogram(&mut self, labels: &[&str], total: &HistogramTotal) {
        self.histogram_in(Unit::Microseconds, labels, total);
    }

    /// The same, whose numbers are in that unit.
    pub(super) fn histogram_in(&mut self, unit: Unit, labels: &[&str], total: &HistogramTotal) {
        let mut cumulated = 0;
        let buckets = BOUNDS_MICROS.iter().zip(&total.buckets).map(|(&bound, &count)| {
            cumulated += count;
            let mut bucket = Bucket::default();
            bucket.set_upper_bound(unit.in_base(bound));
            bucket.set_cumulative_count(cumulated);
            bucket
        });
        let mut histogram = Histogram::default();
        histogram.set_bucket(buckets.collect());
        histogram.set_sample_count(total.count());
        histogram.set_sample_sum(unit.in_base(total.sum_micros));
        let mut metric = self.labelled(labels);
        metric.set_histogram(histogram);
        self.metrics.push(metric);
    }

    pub(super) fn into_metrics(self) -> Vec<Metric> {
        self.metrics
    }

    fn labelled(&self, values: &[&str]) -> Metric {
        debug_assert_eq!(values.len(), self.labels.len(), "a value for each label of the table");
        let pairs = self.labels.iter().zip(values).map(|(&name, &value)| {
            let mut pair = LabelPair::default();
            pair.set_name(name.to_owned());
            pair.set_value(value.to_owned());
            pair
        });
        Metric::from_label(pairs.collect())
    }
}

/// The values of the labels that name causes, for the document.
pub(super) fn append_label_values(text: &mut String) {
    let outcomes: Vec<_> = Outcome::ALL.iter().map(|outcome| (outcome.as_str(), outcome.help())).collect();
    append_values(text, "outcome", "oca_requests_total", &outcomes);
    let causes: Vec<_> = CloseCause::ALL.iter().map(|cause| (cause.as_str(), cause.help())).collect();
    append_values(text, "cause", "oca_connections_closed_total", &causes);
    let pauses: Vec<_> = AcceptPause::ALL.iter().map(|cause| (cause.as_str(), cause.help())).collect();
    append_values(text, "cause", "oca_accept_pauses_total", &pauses);
    let ends: Vec<_> = ReadEnd::ALL.iter().map(|end| (end.as_str(), end.help())).collect();
    append_values(text, "end", "oca_volume_reads_total", &ends);
    let ignored: Vec<_> = Ignored::ALL.iter().map(|reason| (reason.as_str(), reason.help())).collect();
    append_values(text, "reason", "oca_cmcd_ignored_values_total", &ignored);
    let paces: Vec<_> = PaceCause::ALL.iter().map(|cause| (cause.as_str(), cause.help())).collect();
    append_values(text, "cause", "oca_paced_responses_total", &paces);
    let hints: Vec<_> = HintFate::ALL.iter().map(|fate| (fate.as_str(), fate.help())).collect();
    append_values(text, "fate", "oca_cmcd_next_objects_total", &hints);
    let loads: Vec<_> = LoadEnd::ALL.iter().map(|end| (end.as_str(), end.help())).collect();
    append_values(text, "end", "oca_ram_tier_loads_total", &loads);
    let refusals: Vec<_> = Refusal::ALL.iter().map(|refusal| (refusal.as_str(), refusal.help())).collect();
    append_values(text, "reason", "oca_ram_tier_refusals_total", &refusals);
    let departures: Vec<_> = Departure::ALL.iter().map(|cause| (cause.as_str(), cause.help())).collect();
    append_values(text, "cause", "oca_ram_tier_departures_total", &departures);
    let prefetches: Vec<_> = PrefetchEnd::ALL.iter().map(|end| (end.as_str(), end.help())).collect();
    append_values(text, "end", "oca_ram_tier_prefetches_total", &prefetches);
    let results: Vec<_> = UpstreamResult::ALL.iter().map(|result| (result.as_str(), result.help())).collect();
    append_values(text, "result", "oca_pull_upstream_requests_total", &results);
}

fn append_values(text: &mut String, label: &str, metric: &str, values: &[(&str, &str)]) {
    write!(text, "\n## `{label}` of `{metric}`\n\n| value | what it means |\n|---|---|\n")
        .expect("writing to memory cannot fail");
    for (word, help) in values {
        writeln!(text, "| `{word}` | {} |", help.trim_end_matches('.'))
            .expect("writing to memory cannot fail");
    }
}

/// Prometheus has floating point only: whole numbers are exact up to 2^53.
#[expect(
    clippy::cast_precision_loss,
    reason = "9 PB of bytes are counted exactly, and a rate over more is right to 16 digits"
)]
fn float(value: u64) -> f64 {
    value as f64
}
