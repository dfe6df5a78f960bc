//! Evenings before the first: what an appliance that held nothing yet would have reported of them. A ranking believes what it sees only
//! after some days, so that an appliance that is a day old is not what one is that has been there for a while.

use std::collections::BTreeMap;
use std::time::Duration;

use control_client::content::BundlePath;
use control_client::demand::PathDemand;
use control_client::fleet::ApplianceName;
use control_client::report::{DayDemand, Dropped, Report};
use control_client::wire::DocumentVersion;
use demo::failure::{Failure, Step};

use super::catalogue::{Bundle, Catalogue};
use super::rehearsal::requests;
use super::site::SiteOptions;

/// A day.
pub(crate) const DAY: Duration = Duration::from_secs(86_400);

/// The report of the appliance at a place; none, where there is no evening to report. The moment is counted from 1970.
pub(crate) fn report(
    catalogue: &Catalogue,
    options: &SiteOptions,
    place: usize,
    name: &str,
    now: Duration,
) -> Result<Option<Report>, Failure> {
    let mut demand = Vec::new();
    for ago in 1..=options.past_evenings {
        let asked = requests(catalogue, evening_seed(options.seed, ago), options.sessions);
        let day = (now.saturating_sub(DAY * ago).as_secs() / DAY.as_secs()) as u32;
        demand.push(DayDemand { day, paths: paths(catalogue, &share(&asked, place, options.appliances))? });
    }
    let appliance = ApplianceName::parse(name).step(name)?;
    Ok((!demand.is_empty()).then(|| Report {
        version: DocumentVersion,
        appliance,
        instance: "before the first evening".to_owned(),
        sequence: 1,
        at: now.as_secs(),
        health: None,
        load: None,
        inventory: None,
        demand,
        runs: Vec::new(),
        manifest_sequence: 0,
        manifest_refused: None,
        directives: Vec::new(),
        dropped: Dropped::default(),
    }))
}

/// What an evening so many days before the first follows from; the first itself is 0.
pub(crate) fn evening_seed(seed: u64, ago: u32) -> u64 {
    seed.wrapping_mul(1000).wrapping_add(u64::from(ago))
}

/// The requests that come to the appliance at a place: each of them has every so-many-th.
pub(crate) fn share(asked: &[(Bundle, usize)], place: usize, appliances: usize) -> Vec<(Bundle, usize)> {
    asked.iter().skip(place).step_by(appliances.max(1)).copied().collect()
}

/// As a report counts them: all were in vain.
fn paths(catalogue: &Catalogue, asked: &[(Bundle, usize)]) -> Result<Vec<PathDemand>, Failure> {
    let mut counts: BTreeMap<Bundle, u64> = BTreeMap::new();
    asked.iter().for_each(|(bundle, _)| *counts.entry(*bundle).or_default() += 1);
    let demand = counts.into_iter().map(|(bundle, requests)| {
        let path = BundlePath::parse(catalogue.path_of(bundle)).step("a bundle's path")?;
        Ok(PathDemand { path, requests, bytes: 0, absent: requests })
    });
    demand.collect()
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::catalogue::CatalogueSize;

    #[test]
    fn all_requests_of_past_evenings_are_reported_once() {
        let size = CatalogueSize { titles: 5, segments_min: 4, segments_max: 8, zipf: 1.0, seed: 7 };
        let catalogue = Catalogue::new(&size);
        let options =
            SiteOptions { appliances: 2, night_percent: 20, past_evenings: 3, sessions: 40, seed: 1 };
        let now = DAY * 20_000 + Duration::from_secs(5);
        let mut reported = BTreeMap::new();
        for place in 0..2 {
            let report = report(&catalogue, &options, place, "oca", now).unwrap().unwrap();
            for day in report.demand {
                *reported.entry(day.day).or_insert(0) +=
                    day.paths.iter().map(|path| path.absent).sum::<u64>();
            }
        }
        let asked = |ago| requests(&catalogue, evening_seed(1, ago), 40).len() as u64;
        assert_eq!(reported, BTreeMap::from([(19_997, asked(3)), (19_998, asked(2)), (19_999, asked(1))]));
        let none = SiteOptions { past_evenings: 0, ..options };
        assert_eq!(report(&catalogue, &none, 0, "oca", now).unwrap(), None);
    }
}
