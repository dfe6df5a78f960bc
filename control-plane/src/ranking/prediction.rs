//! What one would expect of a bundle that was never seen: what similar bundles brought when they were
//! released, at its age, on such a weekday.
//!
//! Similar are bundles that share a tag, the title, or the representation; the rarer what they share, the
//! more it counts. All is reckoned per byte stored, so that bundles of different sizes can be compared, and
//! as if each were released today.

use std::collections::HashMap;

use super::Item;
use crate::popularity::{Calendar, DAY_SECONDS, Popularity};

/// The age at which half of what can fade of a release has faded.
const RELEASE_HALF_LIFE_DAYS: f64 = 14.0;

/// What of a release's demand does not fade.
const RELEASE_FLOOR: f64 = 0.1;

/// Of a bundle about which nothing at all is known, each byte is expected to be asked for once a month.
const UNKNOWN_PER_BYTE: f64 = 1.0 / 30.0;

/// A common title says more than anything that titles merely happen to share.
const TITLE_WEIGHT: f64 = 4.0;

/// Days of an average weekday that are added to those seen, so that one odd Sunday is not every Sunday.
const WEEKDAY_PRIOR_DAYS: f64 = 2.0;

/// Between these a weekday moves an expectation.
const WEEKDAY_FACTOR: std::ops::RangeInclusive<f64> = 0.5..=2.0;

/// What bundles have in common.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
enum Trait<'a> {
    /// They are in the catalogue.
    All,
    /// They are parts of one title, or an operator said that their titles have one audience.
    Title(&'a str),
    Representation(&'a str),
    Tag(&'a str),
}

/// What was seen of the bundles that share one trait.
#[derive(Clone, Copy, Debug, Default)]
struct Shared {
    bundles: f64,
    /// Sum of evidence.
    evidence: f64,
    /// Sum of what each brought per byte when released, by evidence.
    per_byte: f64,
    /// Bytes by day of the week, of bundles that were there all the time.
    weekdays: [f64; 7],
}

/// What is known of the bundles by what they have in common.
pub(super) struct Similar<'a> {
    shared: HashMap<Trait<'a>, Shared>,
    bundles: f64,
    calendar: &'a Calendar,
    /// Days seen, by day of the week.
    weekday_exposures: [f64; 7],
    now: u64,
}

impl<'a> Similar<'a> {
    pub(super) fn new(items: &[Item<'a>], seen: &[Popularity], calendar: &'a Calendar, now: u64) -> Self {
        let mut weekday_exposures = [0.0; 7];
        for (day, exposure) in calendar.days() {
            weekday_exposures[weekday(day)] += exposure;
        }
        let mut similar =
            Self { shared: HashMap::new(), bundles: items.len() as f64, calendar, weekday_exposures, now };
        for (item, seen) in items.iter().zip(seen) {
            let weekdays = similar.weekdays(item);
            let released_per_byte = similar.released_per_byte(item, seen);
            for common in traits(item) {
                let shared = similar.shared.entry(common).or_default();
                shared.bundles += 1.0;
                shared.evidence += seen.evidence;
                shared.per_byte += seen.evidence * released_per_byte;
                for (sum, bytes) in shared.weekdays.iter_mut().zip(weekdays) {
                    *sum += bytes;
                }
            }
        }
        similar
    }

    /// What bundles like `item`, itself left out, brought per day and byte stored when they were released.
    pub(super) fn per_byte(&self, item: &Item<'a>, seen: &Popularity) -> f64 {
        let own = seen.evidence * self.released_per_byte(item, seen);
        let others = |common: &Trait<'a>| {
            let shared = self.shared.get(common).copied().unwrap_or_default();
            // Differences of sums may miss zero by a rounding.
            let evidence = (shared.evidence - seen.evidence).max(0.0);
            let per_byte = (shared.per_byte - own).max(0.0);
            (shared.bundles, if evidence > 1e-6 { evidence } else { 0.0 }, per_byte)
        };
        let (_, evidence, per_byte) = others(&Trait::All);
        let average = (per_byte + UNKNOWN_PER_BYTE) / (evidence + 1.0);
        let mut sum = 0.0;
        let mut weights = 0.0;
        for common in traits(item) {
            let (bundles, evidence, per_byte) = others(&common);
            if common == Trait::All || evidence > 0.0 {
                let weight = self.weight(&common, bundles);
                sum += weight * (per_byte + average) / (evidence + 1.0);
                weights += weight;
            }
        }
        if weights > 0.0 { sum / weights } else { average }
    }

    /// How much more, or less, bundles like `item`, itself left out, are asked for on the weekday of `day`.
    pub(super) fn weekday_factor(&self, item: &Item<'a>, day: u32) -> f64 {
        let own = self.weekdays(item);
        let mut sum = 0.0;
        let mut weights = 0.0;
        for common in traits(item) {
            let Some(shared) = self.shared.get(&common) else { continue };
            let mut others = shared.weekdays;
            for (bytes, own) in others.iter_mut().zip(own) {
                *bytes = (*bytes - own).max(0.0);
            }
            let bytes: f64 = others.iter().sum();
            if shared.bundles < 2.0 || bytes < 1.0 {
                continue;
            }
            let average = bytes / self.weekday_exposures.iter().sum::<f64>();
            let seen = others[weekday(day)] / average;
            let exposure = self.weekday_exposures[weekday(day)];
            let factor = (seen + WEEKDAY_PRIOR_DAYS) / (exposure + WEEKDAY_PRIOR_DAYS);
            let weight = self.weight(&common, shared.bundles);
            sum += weight * factor;
            weights += weight;
        }
        let factor = if weights > 0.0 { sum / weights } else { 1.0 };
        factor.clamp(*WEEKDAY_FACTOR.start(), *WEEKDAY_FACTOR.end())
    }

    /// How much a trait that so many bundles have counts: the rarer, the more.
    fn weight(&self, common: &Trait<'_>, bundles: f64) -> f64 {
        let weight = (1.0 + self.bundles / bundles.max(1.0)).ln();
        if matches!(common, Trait::Title(_)) { TITLE_WEIGHT * weight } else { weight }
    }

    /// What was served of a bundle by day of the week, if it was there on all days that were seen.
    fn weekdays(&self, item: &Item<'_>) -> [f64; 7] {
        let mut weekdays = [0.0; 7];
        let first = self.calendar.days().map(|(day, _)| day).next();
        if first.is_some_and(|first| item.first_day() <= first) {
            for day in item.demand.iter().filter(|day| self.calendar.sees(day.day)) {
                weekdays[weekday(day.day)] += day.bytes as f64;
            }
        }
        weekdays
    }

    /// What the bundle brings per day and byte stored, as if it were released today.
    fn released_per_byte(&self, item: &Item<'_>, seen: &Popularity) -> f64 {
        seen.long / item.bytes.max(1) as f64 / release_factor(item.released_at, self.now)
    }
}

/// What of a release's demand is left at `at`: 1 up to the release, halving towards a floor.
pub(super) fn release_factor(released_at: u64, at: u64) -> f64 {
    let age_days = at.saturating_sub(released_at) as f64 / DAY_SECONDS as f64;
    RELEASE_FLOOR + (1.0 - RELEASE_FLOOR) * (-age_days / RELEASE_HALF_LIFE_DAYS).exp2()
}

fn traits<'a>(item: &Item<'a>) -> impl Iterator<Item = Trait<'a>> {
    let representation = item.path.as_str().rsplit('/').next().unwrap_or_default();
    let mut tags: Vec<&'a str> = item.tags.iter().map(String::as_str).collect();
    tags.sort_unstable();
    tags.dedup();
    let similar_to = item.similar_to.filter(|title| *title != item.title);
    [Trait::All, Trait::Title(item.title.as_str()), Trait::Representation(representation)]
        .into_iter()
        .chain(similar_to.map(|title| Trait::Title(title.as_str())))
        .chain(tags.into_iter().map(Trait::Tag))
}

/// The day of the week; 1970-01-01 was a Thursday, and which is 0 does not matter.
fn weekday(day: u32) -> usize {
    (day % 7) as usize
}
