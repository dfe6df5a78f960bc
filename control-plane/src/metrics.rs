//! Counts of what happened, and how the fleet is: `GET /metrics`, one table.

use prometheus::{IntCounter, IntCounterVec, IntGauge, IntGaugeVec, Opts, Registry, TextEncoder};

use crate::fleet::FleetSize;

/// All metrics. Labels have only values of this program's own.
#[derive(Debug)]
pub struct Metrics {
    registry: Registry,
    /// HTTP requests by route and class of status.
    pub requests: IntCounterVec,
    /// Reports by what their number said.
    pub reports: IntCounterVec,
    /// Inventories that were changes of another revision than the known one.
    pub wrong_bases: IntCounter,
    /// What appliances could not keep until they could tell it.
    pub dropped: IntCounterVec,
    /// Polls by what they showed.
    pub polls: IntCounterVec,
    /// Rounds of polls that were doubted.
    pub polls_doubted: IntCounter,
    /// Turns of standings, by the one that they led to.
    pub turns: IntCounterVec,
    /// Steering answers by the tier of their first place.
    pub steered: IntCounterVec,
    /// Players that asked where to go, by where they were.
    pub players: IntCounterVec,
    /// Manifests that were made.
    pub manifests: IntCounter,
    /// Rounds of planning that failed.
    pub plans_failed: IntCounter,
    /// Looks at the database that failed.
    pub refreshes_failed: IntCounter,
    /// Connections refused because there were too many.
    pub connections_refused: IntCounter,
    connections: IntGauge,
    appliances: IntGaugeVec,
    fleet: IntGaugeVec,
    last_plan: IntGauge,
    last_poll_millis: IntGauge,
}

impl Metrics {
    /// All at zero.
    pub fn new() -> Self {
        let registry = Registry::new();
        let register = Register(&registry);
        Self {
            requests: register.counters("requests_total", "HTTP requests, by route and class of status", &["route", "status"]),
            reports: register.counters(
                "reports_total",
                "Reports taken: new, new_instance, rolled_back (a state folder was put back from a copy), repeated or late",
                &["novelty"],
            ),
            wrong_bases: register.counter(
                "inventory_wrong_base_total",
                "Inventory changes refused because they were based on another revision; all of it was asked for",
            ),
            dropped: register.counters(
                "dropped_by_appliances_total",
                "What appliances could not keep until they could report it: runs, results, requests, bytes, absent; was this control \
                 plane away for long?",
                &["what"],
            ),
            polls: register.counters("polls_total", "Polls of health, by what they showed", &["observation"]),
            polls_doubted: register.counter(
                "polls_doubted_total",
                "Rounds of polls in which most appliances did not answer at once: is this machine's own network at fault?",
            ),
            turns: register.counters("standing_turns_total", "Turns of appliances' standings, by the new one", &["standing"]),
            steered: register.counters(
                "steering_answers_total",
                "Steering answers, by the first place: own_site, next_tier, origin, nowhere",
                &["first"],
            ),
            players: register.counters(
                "steered_players_total",
                "Players that asked where to go, by the pathway that they were at: first (the best one now), listed (another in the \
                 answer), elsewhere, unsaid",
                &["at"],
            ),
            manifests: register.counter("manifests_total", "Fill manifests made and signed"),
            plans_failed: register.counter("plans_failed_total", "Rounds of planning that failed; the log says why"),
            refreshes_failed: register.counter("refreshes_failed_total", "Looks at the database that failed; the log says why"),
            connections_refused: register.counter("connections_refused_total", "Connections closed because too many were open"),
            connections: register.gauge("connections", "HTTP connections open"),
            appliances: register.gauges("appliances", "Appliances, by standing", &["standing"]),
            fleet: register.gauges(
                "fleet",
                "What is in memory: sites, prefixes, bundles, held_bundles, inventory_bytes",
                &["of"],
            ),
            last_plan: register.gauge("last_plan_timestamp_seconds", "When planning last succeeded; 0: not yet"),
            last_poll_millis: register.gauge("last_poll_round_milliseconds", "How long the last round of polls took"),
            registry,
        }
    }

    /// Notes when planning last succeeded, in seconds since 1970.
    pub fn planned(&self, now: u64) {
        self.last_plan.set(i64::try_from(now).unwrap_or(i64::MAX));
    }

    /// Notes how long a round of polls took.
    pub fn polled(&self, millis: u128) {
        self.last_poll_millis.set(i64::try_from(millis).unwrap_or(i64::MAX));
    }

    /// Connections that are open.
    pub fn connections(&self) -> &IntGauge {
        &self.connections
    }

    /// All of it, in Prometheus's text format.
    pub fn text(&self, standings: &[(&str, u64)], size: FleetSize) -> String {
        for (standing, count) in standings {
            set(&self.appliances, standing, *count);
        }
        set(&self.fleet, "sites", size.sites as u64);
        set(&self.fleet, "prefixes", size.prefixes as u64);
        set(&self.fleet, "bundles", size.bundles as u64);
        set(&self.fleet, "held_bundles", size.held_bundles);
        set(&self.fleet, "inventory_bytes", size.inventory_bytes);
        TextEncoder::new().encode_to_string(&self.registry.gather()).unwrap_or_default()
    }
}

impl Default for Metrics {
    fn default() -> Self {
        Self::new()
    }
}

fn set(gauges: &IntGaugeVec, label: &str, value: u64) {
    gauges.with_label_values(&[label]).set(i64::try_from(value).unwrap_or(i64::MAX));
}

/// Names are constants of this file, distinct and well formed: the test that makes them all would fail otherwise.
struct Register<'a>(&'a Registry);

impl Register<'_> {
    fn counter(&self, name: &str, help: &str) -> IntCounter {
        let counter = IntCounter::new(full(name), help).expect("the name is well formed");
        self.0.register(Box::new(counter.clone())).expect("the name is used once");
        counter
    }

    fn counters(&self, name: &str, help: &str, labels: &[&str]) -> IntCounterVec {
        let counters =
            IntCounterVec::new(Opts::new(full(name), help), labels).expect("the name is well formed");
        self.0.register(Box::new(counters.clone())).expect("the name is used once");
        counters
    }

    fn gauge(&self, name: &str, help: &str) -> IntGauge {
        let gauge = IntGauge::new(full(name), help).expect("the name is well formed");
        self.0.register(Box::new(gauge.clone())).expect("the name is used once");
        gauge
    }

    fn gauges(&self, name: &str, help: &str, labels: &[&str]) -> IntGaugeVec {
        let gauges = IntGaugeVec::new(Opts::new(full(name), help), labels).expect("the name is well formed");
        self.0.register(Box::new(gauges.clone())).expect("the name is used once");
        gauges
    }
}

fn full(name: &str) -> String {
    format!("oca_control_plane_{name}")
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn every_metric_has_the_prefix_and_its_help() {
        let metrics = Metrics::new();
        metrics.reports.with_label_values(&["new"]).inc();
        let text = metrics.text(&[("serving", 3)], FleetSize { sites: 2, ..FleetSize::default() });
        assert!(text.contains("oca_control_plane_reports_total{novelty=\"new\"} 1"), "{text}");
        assert!(text.contains("oca_control_plane_appliances{standing=\"serving\"} 3"), "{text}");
        assert!(text.contains("oca_control_plane_fleet{of=\"sites\"} 2"), "{text}");
        assert!(
            text.lines()
                .filter(|line| !line.starts_with('#'))
                .all(|line| line.starts_with("oca_control_plane_"))
        );
    }
}
