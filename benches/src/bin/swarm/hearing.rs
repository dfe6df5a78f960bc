//! What appliances have heard of their players: the metrics of CMCD, held against what the players know to have asked.

use std::collections::{BTreeMap, BTreeSet};
use std::time::{Duration, Instant};

use demo::failure::{Failure, Step};
use demo::member::Member;
use serde::Serialize;

/// How long an appliance may take to count what has been answered: a worker counts after its last byte has gone, and on a busy machine does
/// not run at once.
const PATIENCE: Duration = Duration::from_secs(10);

/// How often its metrics are asked for meanwhile.
const GLANCE: Duration = Duration::from_millis(50);

/// What every player says of its stream (`st`): all segments exist.
const STREAM_TYPE: &str = "v";

/// What must not become of a next object that a player names.
const UNREADABLE: [&str; 2] = ["malformed", "elsewhere"];

/// Numbers by the value of a metric's one label; those of zero are left out.
type Counts = BTreeMap<String, u64>;

/// Requests for segments to one appliance, all with CMCD, as the players know of them.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub(crate) struct Tally {
    /// Made.
    pub(crate) asked: u64,
    /// Of these, answered: the others are under way, or were cut off.
    pub(crate) answered: u64,
}

/// What one appliance has heard: the one that is killed until then, the others until the evening was over.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize)]
pub(crate) struct Heard {
    pub(crate) appliance: String,
    /// Requests that its players made, and those of them that it answered.
    pub(crate) asked: u64,
    pub(crate) answered: u64,
    /// Requests with CMCD that ended, as it counts them.
    pub(crate) counted: u64,
    /// Values that it left out, by why.
    pub(crate) left_out: Counts,
    /// Requests of players that begin, seek or have stalled (`su`).
    pub(crate) startups: u64,
    /// Requests of players that had run dry (`bs`).
    pub(crate) starvations: u64,
    pub(crate) stream_types: Counts,
    /// Responses, by how they were paced.
    pub(crate) paces: Counts,
    /// Objects that players named as their next, by what became of that.
    pub(crate) next_objects: Counts,
}

/// Asks an appliance, again as long as it has not counted all that it answered. `tally` is what the players know at the moment.
pub(crate) async fn hear(member: &Member, tally: impl Fn() -> Tally) -> Result<Heard, Failure> {
    let deadline = Instant::now() + PATIENCE;
    loop {
        // What was answered before must be counted, and nothing can be that was not asked until afterwards.
        let Tally { answered, .. } = tally();
        let metrics = member.premises().admin().metrics().await.step(member.name())?;
        let Tally { asked, .. } = tally();
        let heard = Heard::of(member.name(), Tally { asked, answered }, &metrics);
        if heard.is_all_counted() || Instant::now() > deadline {
            return Ok(heard);
        }
        tokio::time::sleep(GLANCE).await;
    }
}

impl Heard {
    /// By the metrics of an appliance, in Prometheus's text format.
    fn of(appliance: &str, Tally { asked, answered }: Tally, metrics: &str) -> Self {
        Self {
            appliance: appliance.to_owned(),
            asked,
            answered,
            counted: counts(metrics, "oca_cmcd_requests_total").values().sum(),
            left_out: counts(metrics, "oca_cmcd_ignored_values_total"),
            startups: number(metrics, "oca_cmcd_startups_total"),
            starvations: number(metrics, "oca_cmcd_starvations_total"),
            stream_types: counts(metrics, "oca_cmcd_stream_types_total"),
            paces: counts(metrics, "oca_paced_responses_total"),
            next_objects: counts(metrics, "oca_cmcd_next_objects_total"),
        }
    }

    /// What must not be.
    pub(crate) fn problems(&self) -> Vec<String> {
        let Self { appliance, asked, answered, counted, .. } = self;
        let mut problems = Vec::new();
        if !self.is_all_counted() {
            problems.push(format!(
                "{appliance} counts {counted} requests with CMCD, of {asked} that were made and {answered} that it answered"
            ));
        }
        if !self.left_out.is_empty() {
            problems.push(format!("{appliance} left out values of CMCD: {:?}", self.left_out));
        }
        if UNREADABLE.iter().any(|fate| self.next_objects.contains_key(*fate)) {
            problems.push(format!("{appliance} could not read what comes next: {:?}", self.next_objects));
        }
        if self.stream_types.keys().any(|stream_type| stream_type != STREAM_TYPE) {
            problems.push(format!("{appliance} took films for something else: {:?}", self.stream_types));
        }
        problems
    }

    fn is_all_counted(&self) -> bool {
        (self.answered..=self.asked).contains(&self.counted)
    }
}

/// For people: a column for each appliance.
pub(crate) fn table(heard: &[Heard]) -> String {
    let mut rows: Vec<Vec<String>> = Vec::new();
    let mut row = |name: &str, value: &dyn Fn(&Heard) -> String| {
        rows.push(std::iter::once(name.to_owned()).chain(heard.iter().map(value)).collect());
    };
    row("what players said (CMCD)", &|one| one.appliance.clone());
    row("requests made", &|one| one.asked.to_string());
    row("answered", &|one| one.answered.to_string());
    row("counted by the appliance", &|one| one.counted.to_string());
    row("values left out", &|one| one.left_out.values().sum::<u64>().to_string());
    row("startups, seeks and stalls", &|one| one.startups.to_string());
    row("starvations", &|one| one.starvations.to_string());
    let mut group = |name: &str, counts: fn(&Heard) -> &Counts| {
        let words: BTreeSet<&String> = heard.iter().flat_map(|one| counts(one).keys()).collect();
        for word in words {
            row(&format!("{name}: {word}"), &|one| counts(one).get(word).unwrap_or(&0).to_string());
        }
    };
    group("stream type", |one| &one.stream_types);
    group("pace", |one| &one.paces);
    group("next object", |one| &one.next_objects);
    demo::table::render(&rows)
}

/// The numbers of a metric with one label.
fn counts(metrics: &str, name: &str) -> Counts {
    let count = |line: &str| {
        let (label, value) = line.strip_prefix(name)?.strip_prefix('{')?.split_once("\"} ")?;
        let (_, word) = label.split_once("=\"")?;
        Some((word.to_owned(), whole(value)?))
    };
    metrics.lines().filter_map(count).filter(|(_, count)| *count > 0).collect()
}

/// The number of a metric without labels.
fn number(metrics: &str, name: &str) -> u64 {
    let of = |line: &str| whole(line.strip_prefix(name)?.strip_prefix(' ')?);
    metrics.lines().find_map(of).unwrap_or(0)
}

/// Prometheus has floating point only.
fn whole(value: &str) -> Option<u64> {
    value.parse::<f64>().ok().map(|value| value as u64)
}

#[cfg(test)]
mod tests {
    use super::*;

    const METRICS: &str = "# HELP oca_cmcd_requests_total Requests with CMCD that ended.\n\
        # TYPE oca_cmcd_requests_total counter\n\
        oca_cmcd_requests_total{object_type=\"video\"} 97\n\
        oca_cmcd_requests_total{object_type=\"audio\"} 0\n\
        oca_cmcd_startups_total 12\n\
        oca_cmcd_starvations_total 3\n\
        oca_cmcd_stream_types_total{stream_type=\"v\"} 97\n\
        oca_paced_responses_total{cause=\"bitrate\"} 60\n\
        oca_paced_responses_total{cause=\"urgent\"} 30\n\
        oca_cmcd_next_objects_total{fate=\"resident\"} 80\n";

    fn heard(asked: u64, answered: u64, more: &str) -> Heard {
        Heard::of("oca-1", Tally { asked, answered }, &format!("{METRICS}{more}"))
    }

    #[test]
    fn what_an_appliance_has_heard_is_read_from_its_metrics() {
        let counts = |pairs: &[(&str, u64)]| -> Counts {
            pairs.iter().map(|(word, count)| ((*word).to_owned(), *count)).collect()
        };
        let expected = Heard {
            appliance: "oca-1".to_owned(),
            asked: 99,
            answered: 96,
            counted: 97,
            left_out: Counts::new(),
            startups: 12,
            starvations: 3,
            stream_types: counts(&[("v", 97)]),
            paces: counts(&[("bitrate", 60), ("urgent", 30)]),
            next_objects: counts(&[("resident", 80)]),
        };
        assert_eq!(heard(99, 96, ""), expected);
    }

    #[test]
    fn all_that_was_answered_is_counted_and_no_more_than_was_asked() {
        for (asked, answered, is_right) in [(97, 97, true), (99, 96, true), (99, 98, false), (96, 90, false)]
        {
            let problems = heard(asked, answered, "").problems();
            assert_eq!(problems.is_empty(), is_right, "{problems:?}");
        }
    }

    #[test]
    fn what_an_appliance_could_not_read_is_a_problem() {
        for line in [
            "oca_cmcd_ignored_values_total{reason=\"malformed\"} 1\n",
            "oca_cmcd_next_objects_total{fate=\"malformed\"} 1\n",
            "oca_cmcd_next_objects_total{fate=\"elsewhere\"} 1\n",
            "oca_cmcd_stream_types_total{stream_type=\"unsaid\"} 1\n",
        ] {
            assert_eq!(heard(97, 97, line).problems().len(), 1, "{line}");
            assert!(heard(97, 97, &line.replace("} 1", "} 0")).problems().is_empty(), "{line}");
        }
    }

    #[test]
    fn the_table_has_a_column_for_each_appliance_and_a_row_for_each_word() {
        let other = Heard { appliance: "oca-2".to_owned(), paces: Counts::new(), ..heard(97, 97, "") };
        let text = table(&[heard(99, 96, ""), other]);
        let cells = |name: &str| -> Vec<String> {
            let line = text.lines().find(|line| line.starts_with(name)).unwrap();
            line[name.len()..].split_whitespace().map(str::to_owned).collect()
        };
        assert_eq!(cells("what players said (CMCD)"), ["oca-1", "oca-2"]);
        assert_eq!(cells("requests made"), ["99", "97"]);
        assert_eq!(cells("pace: bitrate"), ["60", "0"]);
        assert_eq!(cells("next object: resident"), ["80", "80"]);
    }
}
