//! From the catalogue and the days of demand to the fill manifest of every appliance: [`crate::ranking`] for
//! each region, [`crate::assignment`] for each site, a signed manifest for each appliance whose list differs
//! from the one that it has.
//!
//! Reading the database and deciding are apart: [`Facts`] are read, [`RankedRegion`] and [`SitePlan`] are
//! computed, [`issue`] writes. Sites are worked on one after another, so that the lists of a whole fleet are
//! never in memory at once.

mod facts;
mod issue;
mod reordering;

use std::collections::BTreeMap;

use control_client::content::BundlePath;
use control_client::fill_manifest::{FillClass, FillEntry};
use control_client::fleet::{ApplianceName, RegionName, SiteName};

use crate::assignment::{Assignment, Shelf, Wanted, assign, copies, score_here, stored_bytes_max};
use crate::catalogue::{Catalogue, CataloguedBundle, Title};
use crate::popularity::DayBytes;
use crate::ranking::{Item, Ranking, RankingInput, rank};
use crate::registry::Appliance;

pub(crate) use facts::forget_old_days;
pub use facts::{Facts, RegionDemand};
pub use issue::{Issued, issue, newest, newest_list, newest_size, signing_keys};

/// How long before its release a title is brought to the appliances: two whole nights, so that one that fails
/// does not matter.
pub const PREWARM_SECONDS: u64 = 48 * 3600;

/// For how long an appliance that is not heard of is planned for: a night that one misses costs its neighbours nothing, and one that
/// is away for long leaves no title without a copy.
pub const ABSENT_SECONDS: u64 = 24 * 3600;

/// The list of one region.
#[derive(Clone, Debug)]
pub struct RankedRegion {
    /// The region.
    pub region: RegionName,
    /// Bundles that its appliances may hold: places in [`Catalogue::bundles`].
    pub bundles: Vec<usize>,
    /// The list; its items are places in `bundles`.
    pub ranking: Ranking,
}

/// What the appliances of one site should hold.
#[derive(Clone, Debug)]
pub struct SitePlan {
    /// The site.
    pub site: SiteName,
    /// Its appliances, sorted by name.
    pub appliances: Vec<ApplianceName>,
    /// Who holds what: places in the region's list, and in `appliances`.
    pub assignment: Assignment,
    /// The share of the region's demand that is expected here.
    pub share: f64,
}

/// Ranks the catalogue for one region.
pub fn rank_region(
    catalogue: &Catalogue,
    region: &RegionName,
    demand: &RegionDemand,
    now: u64,
) -> RankedRegion {
    let mut bundles = Vec::new();
    let mut facts: Vec<(&CataloguedBundle, &Title, Vec<DayBytes>)> = Vec::new();
    for (place, bundle) in catalogue.current_places() {
        let Some(title) = catalogue.title(&bundle.title) else { continue };
        if title.regions.is_empty() || title.regions.contains(region) {
            bundles.push(place);
            facts.push((bundle, title, demand.of(bundle)));
        }
    }
    let items: Vec<Item<'_>> =
        facts.iter().map(|(bundle, title, demand)| item(bundle, title, demand)).collect();
    let input =
        RankingInput { items: &items, reported: &demand.reported, prewarm_seconds: PREWARM_SECONDS, now };
    let ranking = rank(&input);
    RankedRegion { region: region.clone(), bundles, ranking }
}

fn item<'a>(bundle: &'a CataloguedBundle, title: &'a Title, demand: &'a [DayBytes]) -> Item<'a> {
    Item {
        path: &bundle.key.path,
        title: &title.name,
        bytes: bundle.bytes,
        tags: &title.tags,
        similar_to: title.similar_to.as_ref(),
        // What is new in an old title is new.
        released_at: title.release_at.unwrap_or(title.published_at).max(bundle.published_at),
        published_at: bundle.published_at,
        expires_at: title.expires_at,
        pinned: title.pinned,
        seasons: &title.seasons,
        demand,
    }
}

/// Places the list of a region on the appliances of one of its sites. Appliances that have not enrolled, and those that were not
/// heard of since `absent_before`, hold nothing: their neighbours do.
pub fn plan_site(
    catalogue: &Catalogue,
    ranked: &RankedRegion,
    site: &SiteName,
    appliances: &[&Appliance],
    share: f64,
    absent_before: u64,
) -> SitePlan {
    let mut present: Vec<&Appliance> =
        appliances.iter().copied().filter(|appliance| is_present(appliance, absent_before)).collect();
    present.sort_unstable_by(|left, right| left.name.cmp(&right.name));
    let total = ranked.ranking.ranked.iter().fold(0_u64, |total, place| total.saturating_add(place.score));
    let list: Vec<Wanted<'_>> = ranked
        .ranking
        .ranked
        .iter()
        .map(|place| {
            let bundle = &catalogue.bundles[ranked.bundles[place.item]];
            Wanted {
                title: &bundle.title,
                stored_bytes: stored_bytes_max(bundle.bytes, bundle.objects),
                copies: match place.class {
                    FillClass::Pinned => usize::MAX,
                    _ => copies(place.score, total, present.len()),
                },
            }
        })
        .collect();
    let shelves: Vec<Shelf<'_>> = present
        .iter()
        .map(|appliance| Shelf { name: &appliance.name, capacity_bytes: appliance.capacity_bytes })
        .collect();
    SitePlan {
        site: site.clone(),
        appliances: present.iter().map(|appliance| appliance.name.clone()).collect(),
        assignment: assign(&list, &shelves),
        share,
    }
}

/// Whether an appliance has enrolled, and was heard of since that moment.
pub fn is_present(appliance: &Appliance, absent_before: u64) -> bool {
    appliance.enrolled_at.is_some_and(|at| at.max(appliance.reported_at.unwrap_or_default()) >= absent_before)
}

impl SitePlan {
    /// The entries of one appliance's manifest, the best first; `place` is its place in [`SitePlan::appliances`].
    pub fn entries(&self, catalogue: &Catalogue, ranked: &RankedRegion, place: usize) -> Vec<FillEntry> {
        let bundles = &self.assignment.bundles[place];
        bundles
            .iter()
            .map(|&number| {
                let number = number as usize;
                let entry = &ranked.ranking.ranked[number];
                let bundle = &catalogue.bundles[ranked.bundles[entry.item]];
                let score = score_here(entry.score, self.share, self.assignment.holders[number].len());
                FillEntry {
                    path: bundle.key.path.clone(),
                    generation: bundle.key.generation,
                    title: bundle.title.clone(),
                    bytes: bundle.bytes,
                    objects: bundle.objects,
                    score: two_digits(score),
                    descriptor: bundle.descriptor,
                    class: entry.class,
                    expires_at: catalogue.title(&bundle.title).and_then(|title| title.expires_at),
                }
            })
            .collect()
    }

    /// Whether the site's plan has a bundle of this path on the appliance.
    pub fn place_of(&self, appliance: &ApplianceName) -> Option<usize> {
        self.appliances.binary_search(appliance).ok()
    }
}

/// The share of a region's demand that is expected at each of its sites, from the bytes that each served:
/// half of it is what was seen, half an equal share, so that a site that is new, or that only stands behind
/// others, is worth filling too.
pub fn shares(served: &BTreeMap<SiteName, u64>) -> BTreeMap<SiteName, f64> {
    let total: f64 = served.values().map(|bytes| *bytes as f64).sum();
    let equal = 1.0 / served.len().max(1) as f64;
    served
        .iter()
        .map(|(site, bytes)| {
            let seen = if total > 0.0 { *bytes as f64 / total } else { equal };
            (site.clone(), (seen + equal) / 2.0)
        })
        .collect()
}

/// The number with its first two digits, so that demand that hardly moves leaves a list as it is.
fn two_digits(number: u64) -> u64 {
    let number = number.min(control_client::limits::INTEGER_MAX);
    let mut unit = 1;
    while number / unit >= 100 {
        unit *= 10;
    }
    number / unit * unit
}

/// Where each path is in a list, for those who ask for one.
pub fn place_of(catalogue: &Catalogue, ranked: &RankedRegion, path: &BundlePath) -> Option<usize> {
    let list = &ranked.ranking.ranked;
    list.iter().position(|place| catalogue.bundles[ranked.bundles[place.item]].key.path == *path)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn scores_keep_two_digits() {
        for (number, rounded) in [(0, 0), (7, 7), (99, 99), (100, 100), (109, 100), (129_999, 120_000)] {
            assert_eq!(two_digits(number), rounded);
        }
        assert!(two_digits(u64::MAX) <= control_client::limits::INTEGER_MAX);
    }

    #[test]
    fn a_site_without_demand_gets_half_of_an_equal_share() {
        let site = |name: &str| SiteName::parse(name).unwrap();
        let shares =
            shares(&BTreeMap::from([(site("a"), 300), (site("b"), 0), (site("c"), 100), (site("d"), 0)]));
        assert_eq!(shares.values().copied().collect::<Vec<_>>(), [0.5, 0.125, 0.25, 0.125]);
    }

    #[test]
    fn without_any_demand_all_sites_are_equal() {
        let site = |name: &str| SiteName::parse(name).unwrap();
        assert_eq!(
            shares(&BTreeMap::from([(site("a"), 0), (site("b"), 0)])).into_values().collect::<Vec<_>>(),
            [0.5, 0.5]
        );
        assert!(shares(&BTreeMap::new()).is_empty());
    }
}
