//! The metrics: one table, in seven parts (`metrics/{service,players,tier,pull,volumes,store,daemon}.rs`), from which `/metrics`
//! is fed and `docs/METRICS.md` is written.
//!
//! Workers count for themselves, without a lock (`stats.rs`); everything is summed when it is scraped. So a
//! scrape costs what it reads, and a request pays nothing for it. Totals are not counters of their own: they
//! are the sums of their named causes (`sum(oca_requests_total)`). No label has a value that a client can
//! choose.

mod daemon;
mod players;
mod pull;
mod samples;
mod service;
mod store;
mod tier;
mod volumes;

use std::fmt::Write;
use std::sync::Arc;

use prometheus::core::{Collector, Desc};
use prometheus::proto::{MetricFamily, MetricType};
use prometheus::{Registry, TextEncoder};

use self::samples::{Samples, Scrape};
use crate::appliance::Appliance;

/// The media type of [`Metrics::exposition`].
pub const CONTENT_TYPE: &str = prometheus::TEXT_FORMAT;

/// The metrics of an appliance.
pub struct Metrics {
    registry: Registry,
}

/// One row of the table.
struct Metric {
    /// In Prometheus's base units, with the unit last.
    name: &'static str,
    kind: Kind,
    labels: &'static [&'static str],
    /// What it is.
    help: &'static str,
    /// What the operator does about it.
    action: &'static str,
    read: fn(&Scrape<'_>, &mut Samples),
}

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Kind {
    Counter,
    Gauge,
    Histogram,
}

/// The table, in the order in which an operator asks: is it well, what does it serve, what do players say, what from memory, what from
/// upstream, what of the disks, what is it made of.
fn table() -> impl Iterator<Item = &'static Metric> {
    [service::ROWS, players::ROWS, tier::ROWS, pull::ROWS, volumes::ROWS, store::ROWS, daemon::ROWS]
        .into_iter()
        .flatten()
}

impl Metrics {
    /// Reads from `appliance`, whenever it is asked.
    pub fn new(appliance: Arc<Appliance>) -> Self {
        let registry = Registry::new();
        let descriptions = table().map(Metric::description).collect();
        registry
            .register(Box::new(ApplianceCollector { appliance, descriptions }))
            .expect("names and labels are constants, which a test registers too");
        Metrics { registry }
    }

    /// All metrics as they are now, in Prometheus's text format.
    pub fn exposition(&self) -> String {
        let mut text = String::with_capacity(64 * 1024);
        if let Err(error) = TextEncoder::new().encode_utf8(&self.registry.gather(), &mut text) {
            tracing::error!(%error, "the metrics could not be written; please report this");
        }
        text
    }
}

/// `docs/METRICS.md`.
pub fn markdown() -> String {
    let mut text = String::from(
        "# Metrics\n\n\
         Written from the table in `oca-daemon/src/metrics/`; a test compares the two.\n\n\
         `GET /metrics` on `admin.listen` or `admin.socket`, in Prometheus's text format. Units are \
         Prometheus's base units, and stand last in the name.\n\
         A total is the sum of its named causes: all requests are `sum(oca_requests_total)`.\n\n\
         | name | kind | labels | what it is | what to do |\n\
         |---|---|---|---|---|\n",
    );
    for metric in table() {
        let labels: Vec<String> = metric.labels.iter().map(|label| format!("`{label}`")).collect();
        writeln!(
            text,
            "| `{}` | {} | {} | {} | {} |",
            metric.name,
            metric.kind.as_str(),
            labels.join(", "),
            metric.help,
            metric.action
        )
        .expect("writing to memory cannot fail");
    }
    samples::append_label_values(&mut text);
    text
}

struct ApplianceCollector {
    appliance: Arc<Appliance>,
    descriptions: Vec<Desc>,
}

impl Collector for ApplianceCollector {
    fn desc(&self) -> Vec<&Desc> {
        self.descriptions.iter().collect()
    }

    fn collect(&self) -> Vec<MetricFamily> {
        let scrape = Scrape::of(&self.appliance);
        table().map(|metric| metric.family(&scrape)).collect()
    }
}

impl Metric {
    fn description(&self) -> Desc {
        let labels = self.labels.iter().map(|&label| label.to_owned()).collect();
        Desc::new(self.name.to_owned(), self.help.to_owned(), labels, Default::default())
            .expect("names and labels are constants, which a test registers too")
    }

    fn family(&self, scrape: &Scrape<'_>) -> MetricFamily {
        let mut samples = Samples::new(self.kind, self.labels);
        (self.read)(scrape, &mut samples);
        let mut family = MetricFamily::default();
        family.set_name(self.name.to_owned());
        family.set_help(self.help.to_owned());
        family.set_field_type(match self.kind {
            Kind::Counter => MetricType::COUNTER,
            Kind::Gauge => MetricType::GAUGE,
            Kind::Histogram => MetricType::HISTOGRAM,
        });
        family.set_metric(samples.into_metrics());
        family
    }
}

impl Kind {
    const fn as_str(self) -> &'static str {
        match self {
            Kind::Counter => "counter",
            Kind::Gauge => "gauge",
            Kind::Histogram => "histogram",
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use std::collections::HashSet;

    #[test]
    fn every_name_is_unique_and_says_its_unit() {
        let mut names = HashSet::new();
        for Metric { name, kind, .. } in table() {
            assert!(names.insert(name), "{name} stands twice");
            assert!(name.starts_with("oca_"), "{name}");
            assert_eq!(*kind == Kind::Counter, name.ends_with("_total"), "{name}");
            let has_unit = name.ends_with("_seconds") || name.ends_with("_bits_per_second");
            assert!(*kind != Kind::Histogram || has_unit, "{name}");
        }
    }

    #[test]
    fn every_row_says_what_it_is_and_what_to_do_in_a_sentence() {
        for Metric { name, help, action, .. } in table() {
            for text in [help, action] {
                assert!(text.ends_with('.') && !text.contains(['|', '\n']), "{name}: {text}");
            }
        }
    }

    #[test]
    fn the_document_is_the_table() {
        let path = concat!(env!("CARGO_MANIFEST_DIR"), "/../docs/METRICS.md");
        let document = std::fs::read_to_string(path).unwrap_or_default();
        if document != markdown() {
            let fresh = std::env::temp_dir().join("METRICS.md");
            std::fs::write(&fresh, markdown()).unwrap();
            panic!("docs/METRICS.md is not what the table says; copy {} over it", fresh.display());
        }
    }
}
