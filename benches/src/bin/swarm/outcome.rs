//! What a run has found: one document for programs, a table for people, a picture.

use std::fs;
use std::path::Path;

use benches::run::Run;
use demo::failure::{Failure, Step};
use demo::system::mebibytes;
use serde::Serialize;

use super::figures::Figures;
use super::hearing::{self, Heard};
use super::plot::{Mark, Panel, draw};
use super::timeline::Second;

/// What is asked for.
const STARTUP_P95_MAX_SECONDS: f64 = 2.0;
const REBUFFER_MAX: f64 = 0.005;
const HIT_OF_ATTAINABLE_MIN: f64 = 0.98;
const MOVED_REBUFFER_MAX: f64 = 0.01;

/// All of it.
#[derive(Clone, Debug, Serialize)]
pub(crate) struct Outcome {
    /// When, of which commit and on which machine.
    pub(crate) run: Run,
    pub(crate) setup: Setup,
    pub(crate) night: Night,
    /// Until the appliance was killed.
    pub(crate) evening: Figures,
    /// The byte hit ratio that the best bundles would have had of the same requests.
    pub(crate) attainable_byte_hit_ratio: f64,
    /// From then on.
    pub(crate) after_kill: Figures,
    /// Of these, the sessions that the killed appliance was serving.
    pub(crate) moved: Figures,
    /// Bodies that were compared byte by byte.
    pub(crate) compared_bodies: u64,
    /// Times that the control plane was asked where to go.
    pub(crate) steered: u64,
    /// What the appliances heard of their players.
    pub(crate) heard: Vec<Heard>,
    /// What must not happen: wrong bytes, segments that came from nowhere, questions without an answer, requests whose CMCD an appliance
    /// has not counted, or not understood.
    pub(crate) problems: u64,
    pub(crate) targets: Vec<Target>,
    pub(crate) timeline: Vec<Second>,
}

/// What was run.
#[derive(Clone, Copy, Debug, Serialize)]
pub(crate) struct Setup {
    pub(crate) players: usize,
    pub(crate) appliances: usize,
    pub(crate) lasts_seconds: u64,
    pub(crate) killed_at_seconds: u64,
    pub(crate) catalogue_bytes: u64,
    pub(crate) bundles: usize,
    /// Evenings before the first that were reported.
    pub(crate) past_evenings: u32,
    /// Requests of the first evening.
    pub(crate) first_evening_requests: usize,
    /// The part of the evening in which the players' thread had something to do; near 1, they and not the appliances are what was slow.
    pub(crate) players_busy: f64,
}

/// What the night brought.
#[derive(Clone, Debug, Serialize)]
pub(crate) struct Night {
    /// The part of the catalogue's bytes that it might bring to each appliance.
    pub(crate) part_asked: f64,
    /// What each has of it.
    pub(crate) parts_held: Vec<f64>,
    /// What they have together.
    pub(crate) part_held_together: f64,
    /// What all of them together hold is expected to be asked for in so large a part, by the true popularity.
    pub(crate) expected_byte_hit_ratio: f64,
    /// The same of the best bundles that have room on one appliance.
    pub(crate) attainable_byte_hit_ratio: f64,
}

/// A figure that is asked for.
#[derive(Clone, Copy, Debug, Serialize)]
pub(crate) struct Target {
    pub(crate) figure: &'static str,
    pub(crate) value: f64,
    pub(crate) bound: f64,
    pub(crate) is_reached: bool,
}

/// Holds the figures against what is asked for.
pub(crate) fn targets(evening: &Figures, attainable: f64, moved: &Figures) -> Vec<Target> {
    let below = |figure, value: f64, bound| Target { figure, value, bound, is_reached: value < bound };
    let of_attainable = if attainable > 0.0 { evening.byte_hit_ratio / attainable } else { 0.0 };
    vec![
        below("startup p95, seconds", evening.startup_p95_seconds, STARTUP_P95_MAX_SECONDS),
        below("rebuffer ratio", evening.rebuffer_ratio, REBUFFER_MAX),
        Target {
            figure: "byte hit ratio by the attainable one",
            value: of_attainable,
            bound: HIT_OF_ATTAINABLE_MIN,
            is_reached: of_attainable >= HIT_OF_ATTAINABLE_MIN,
        },
        below("rebuffer ratio of those who were moved", moved.rebuffer_ratio, MOVED_REBUFFER_MAX),
    ]
}

impl Outcome {
    /// For people.
    pub(crate) fn table(&self) -> String {
        let columns = [&self.evening, &self.after_kill, &self.moved];
        let mut rows = vec![["", "evening", "after the kill", "of the moved"].map(str::to_owned).to_vec()];
        let mut row = |name: &str, value: &dyn Fn(&Figures) -> String| {
            let values = columns.iter().map(|figures| value(figures));
            rows.push(std::iter::once(name.to_owned()).chain(values).collect());
        };
        row("sessions", &|one| one.sessions.to_string());
        row("players at the same time", &|one| format!("{:.0}", one.players_mean));
        row("startup p50, s", &|one| format!("{:.2}", one.startup_p50_seconds));
        row("startup p95, s", &|one| format!("{:.2}", one.startup_p95_seconds));
        row("  of the links alone, s", &|one| format!("{:.2}", one.startup_p95_of_links_seconds));
        row("seek p95, s", &|one| format!("{:.2}", one.seek_p95_seconds));
        row("rebuffer ratio, %", &|one| format!("{:.3}", one.rebuffer_ratio * 100.0));
        row("stalls", &|one| one.stalls.to_string());
        row("mean bitrate, Mbit/s", &|one| format!("{:.2}", one.bitrate_mean_bits_per_second / 1e6));
        row("switches a minute", &|one| format!("{:.2}", one.switches_per_minute));
        row("segments", &|one| one.requests.to_string());
        row("bytes", &|one| mebibytes(one.bytes));
        row("request hit ratio, %", &|one| format!("{:.2}", one.request_hit_ratio * 100.0));
        row("byte hit ratio, %", &|one| format!("{:.2}", one.byte_hit_ratio * 100.0));
        row("fallbacks", &|one| one.fallbacks.to_string());
        let text = format!("{}\n\n{}\n", self.heading(), demo::table::render(&rows));
        let mut rows = vec![["figure", "value", "asked for", ""].map(str::to_owned).to_vec()];
        for Target { figure, value, bound, is_reached } in &self.targets {
            let verdict = if *is_reached { "reached" } else { "missed" };
            rows.push(vec![
                (*figure).to_owned(),
                format!("{value:.4}"),
                format!("{bound}"),
                verdict.to_owned(),
            ]);
        }
        format!("{text}{}\n{}", demo::table::render(&rows), hearing::table(&self.heard))
    }

    /// Writes the document.
    pub(crate) fn write(&self, path: &Path) -> Result<(), Failure> {
        let text = serde_json::to_string_pretty(self).step("the outcome")?;
        fs::write(path, text + "\n").step("writing the outcome")
    }

    /// Writes the picture.
    pub(crate) fn write_picture(&self, path: &Path) -> Result<(), Failure> {
        fs::write(path, self.picture()).step("writing the picture")
    }

    fn picture(&self) -> String {
        let values = |value: &dyn Fn(&Second) -> f64| self.timeline.iter().map(value).collect();
        let panels = [
            Panel {
                title: "players",
                values: values(&|one| one.players),
                level: None,
                reaches: self.setup.players as f64,
            },
            Panel {
                title: "bitrate of the segments that came, Mbit/s",
                values: values(&|one| one.bitrate_bits_per_second / 1e6),
                level: None,
                reaches: 3.0,
            },
            Panel {
                title: "delivered, Gbit/s",
                values: values(&|one| one.delivered_bits as f64 / 1e9),
                level: None,
                reaches: 0.0,
            },
            Panel {
                title: "players whose picture stands still, %",
                values: values(&|one| one.stalled * 100.0),
                level: Some((REBUFFER_MAX * 100.0, "asked for over the evening: less than 0.5")),
                reaches: 1.0,
            },
            Panel {
                title: "byte hit ratio, %",
                values: values(&|one| one.byte_hit_ratio * 100.0),
                level: Some((self.attainable_byte_hit_ratio * 100.0, "attainable")),
                reaches: 100.0,
            },
        ];
        let at = self.setup.killed_at_seconds as f64;
        draw(&self.heading(), &panels, Some(Mark { at, what: "one appliance is killed" }))
    }

    /// What was run, where and when.
    fn heading(&self) -> String {
        let Setup { players, appliances, past_evenings, .. } = self.setup;
        let described = self.run.described();
        format!("{players} players, {appliances} appliances, {past_evenings} past evenings: {described}")
    }
}

#[cfg(test)]
mod tests {
    use std::time::Duration;

    use super::*;

    #[test]
    fn targets_are_held_against_the_figures() {
        let figures = |startup_p95_seconds, rebuffer_ratio, byte_hit_ratio| Figures {
            startup_p95_seconds,
            rebuffer_ratio,
            byte_hit_ratio,
            ..Figures::of(&[], Duration::ZERO, Duration::from_secs(1))
        };
        let reached = |evening: &Figures, attainable, moved: &Figures| -> Vec<bool> {
            targets(evening, attainable, moved).iter().map(|target| target.is_reached).collect()
        };
        let (good, bad) = (figures(1.9, 0.0049, 0.784), figures(2.1, 0.011, 0.78));
        assert_eq!(reached(&good, 0.8, &good), [true; 4]);
        assert_eq!(reached(&bad, 0.8, &bad), [false; 4]);
        assert_eq!(reached(&good, 0.0, &good), [true, true, false, true]);
    }
}
