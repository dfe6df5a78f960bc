//! What each bundle of the catalogue is worth in one region: the bytes that clients are expected to ask of it
//! per day.
//!
//! `0.5 × history + 0.3 × trend + 0.2 × prediction`. History is the level over weeks, trend what the change
//! of the last days leads to (both of [`crate::popularity`]), prediction what its age, the season and similar
//! titles would make one expect of it if it had never been seen. As far as it has not been seen, because it
//! is new or nobody reported, prediction stands in for history and trend.
//!
//! The order is by expected bytes per byte stored, after what an operator has pinned and what is released
//! soon. Every part of the sum is kept, so that the list can be explained.

mod prediction;
mod season;

use std::fmt;

use control_client::content::BundlePath;
use control_client::fill_manifest::FillClass;
use control_client::fleet::TitleName;

use crate::popularity::{Calendar, DAY_SECONDS, DayBytes, Popularity, ReportedDay};
use prediction::Similar;

pub use season::{MonthDay, Season, SeasonError};

/// The weight of the level over weeks.
pub const HISTORY: f64 = 0.5;
/// The weight of what the change of the last days leads to.
pub const TREND: f64 = 0.3;
/// The weight of what age, season and similar titles make one expect.
pub const PREDICTION: f64 = 0.2;

/// From now to the middle of what a list is made for: the evening after the night in which it is filled.
const LOOK_AHEAD_SECONDS: u64 = 12 * 3600;

/// A bundle of the catalogue, as it is in one region.
#[derive(Clone, Copy, Debug)]
pub struct Item<'a> {
    /// The directory that it serves; its last component is taken for the representation.
    pub path: &'a BundlePath,
    /// The title that it is a part of.
    pub title: &'a TitleName,
    /// The bytes of its objects.
    pub bytes: u64,
    /// What the title has in common with others: its series, its genre, its language.
    pub tags: &'a [String],
    /// A title whose audience an operator expects it to have.
    pub similar_to: Option<&'a TitleName>,
    /// When it is released, in seconds since 1970: with its title, or when it was published where that is later.
    pub released_at: u64,
    /// When it came into this catalogue, in seconds since 1970: before that, nobody could ask for it here.
    pub published_at: u64,
    /// Not to be served from this moment on, in seconds since 1970.
    pub expires_at: Option<u64>,
    /// Whether an operator wants it held whatever it is worth.
    pub pinned: bool,
    /// When in the year the title is watched more, or less.
    pub seasons: &'a [Season],
    /// What the region's appliances served of the path, by day.
    pub demand: &'a [DayBytes],
}

/// All that a list is made of.
#[derive(Clone, Copy, Debug)]
pub struct RankingInput<'a> {
    /// The bundles; each path once.
    pub items: &'a [Item<'a>],
    /// The days of the region.
    pub reported: &'a [ReportedDay],
    /// How long before its release a title is brought to the appliances.
    pub prewarm_seconds: u64,
    /// Seconds since 1970.
    pub now: u64,
}

/// The list of one region.
#[derive(Clone, Debug, Default, PartialEq)]
pub struct Ranking {
    /// The best first.
    pub ranked: Vec<Ranked>,
    /// Bundles that are not in the list, by path, and why.
    pub left_out: Vec<(usize, LeftOut)>,
}

/// One bundle of the list.
#[derive(Clone, Copy, Debug, PartialEq)]
pub struct Ranked {
    /// Its place in [`RankingInput::items`].
    pub item: usize,
    /// Why it is in the list.
    pub class: FillClass,
    /// The bytes that clients are expected to ask of it per day, in the whole region.
    pub score: u64,
    /// The same for each byte stored: what the order is made by.
    pub per_byte: f64,
    /// What the score is made of.
    pub components: Components,
}

/// What a score is made of, in bytes per day where nothing else is said. None is negative, infinite or not a number.
#[derive(Clone, Copy, Debug, Default, PartialEq)]
pub struct Components {
    /// The level over weeks, as far as it is known.
    pub history: f64,
    /// What the change of the last days leads to, as far as it is known.
    pub trend: f64,
    /// What is expected of it without having seen it.
    pub prediction: f64,
    /// How much of history and trend was seen, 0 to 1; the prediction stands for the rest.
    pub evidence: f64,
    /// What similar titles brought when they were released, per day and byte stored.
    pub similar_per_byte: f64,
    /// The factor of its age, 1 at its release.
    pub release: f64,
    /// The factor of the weekday and the season.
    pub season: f64,
}

/// Why a bundle is not in the list.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum LeftOut {
    /// It is released too far in the future.
    ReleasedLater {
        /// When, in seconds since 1970.
        at: u64,
    },
    /// Its licence has ended.
    Expired {
        /// When, in seconds since 1970.
        at: u64,
    },
}

impl Item<'_> {
    /// The first day on which it could be asked for.
    fn first_day(&self) -> u32 {
        day_of(self.released_at.max(self.published_at))
    }
}

impl fmt::Display for LeftOut {
    fn fmt(&self, formatter: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::ReleasedLater { at } => {
                write!(formatter, "it is released at {at}, too far from now to bring it")
            }
            Self::Expired { at } => write!(formatter, "its licence ended at {at}"),
        }
    }
}

impl Components {
    /// Bytes per day.
    pub fn expected(&self) -> f64 {
        HISTORY * self.history + TREND * self.trend + PREDICTION * self.prediction
    }
}

impl fmt::Display for Components {
    fn fmt(&self, formatter: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(
            formatter,
            "{:.0} bytes a day = {HISTORY} × history {:.0} + {TREND} × trend {:.0} + {PREDICTION} × prediction {:.0} \
             (similar titles {:.4} per byte stored × release {:.2} × season {:.2}); {:.0} % seen, the rest predicted",
            self.expected(),
            self.history,
            self.trend,
            self.prediction,
            self.similar_per_byte,
            self.release,
            self.season,
            self.evidence * 100.0
        )
    }
}

/// Makes the list of one region. The same bundles in another order give the same list.
pub fn rank(input: &RankingInput<'_>) -> Ranking {
    let calendar = Calendar::new(input.reported, input.now);
    let mut by_path: Vec<usize> = (0..input.items.len()).collect();
    by_path.sort_by(|&left, &right| input.items[left].path.cmp(input.items[right].path));
    let sorted: Vec<Item<'_>> = by_path.iter().map(|&place| input.items[place]).collect();
    let seen: Vec<Popularity> =
        sorted.iter().map(|item| calendar.popularity(item.demand, item.first_day())).collect();
    let similar = Similar::new(&sorted, &seen, &calendar, input.now);
    let evening = input.now.saturating_add(LOOK_AHEAD_SECONDS);
    let mut ranking = Ranking::default();
    for ((item, seen), &place) in sorted.iter().zip(&seen).zip(&by_path) {
        match class(item, input) {
            Err(why) => ranking.left_out.push((place, why)),
            Ok(class) => {
                let components = components(item, seen, &similar, evening);
                let expected = components.expected();
                ranking.ranked.push(Ranked {
                    item: place,
                    class,
                    // The cast saturates: what is more than fits is as good as anything.
                    score: expected.round() as u64,
                    per_byte: expected / item.bytes.max(1) as f64,
                    components,
                });
            }
        }
    }
    // Stable, so that equals stay in the order of their paths.
    ranking.ranked.sort_by(|left, right| {
        left.class.cmp(&right.class).then_with(|| right.per_byte.total_cmp(&left.per_byte))
    });
    ranking
}

fn class(item: &Item<'_>, input: &RankingInput<'_>) -> Result<FillClass, LeftOut> {
    if let Some(at) = item.expires_at.filter(|at| *at <= input.now) {
        return Err(LeftOut::Expired { at });
    }
    if item.pinned {
        return Ok(FillClass::Pinned);
    }
    match item.released_at.checked_sub(input.now) {
        None | Some(0) => Ok(FillClass::Ranked),
        Some(wait) if wait <= input.prewarm_seconds => Ok(FillClass::Prewarm),
        Some(_) => Err(LeftOut::ReleasedLater { at: item.released_at }),
    }
}

fn components(item: &Item<'_>, seen: &Popularity, similar: &Similar<'_>, evening: u64) -> Components {
    let similar_per_byte = similar.per_byte(item, seen);
    let release = prediction::release_factor(item.released_at, evening);
    let season =
        similar.weekday_factor(item, day_of(evening)) * season::factor(item.seasons, day_of(evening));
    let prediction = similar_per_byte * release * season * item.bytes as f64;
    let known = |value: f64| seen.evidence * value + (1.0 - seen.evidence) * prediction;
    Components {
        history: known(seen.long),
        trend: known(seen.trend()),
        prediction,
        evidence: seen.evidence,
        similar_per_byte,
        release,
        season,
    }
}

fn day_of(seconds: u64) -> u32 {
    u32::try_from(seconds / DAY_SECONDS).unwrap_or(u32::MAX)
}

#[cfg(test)]
mod tests;
