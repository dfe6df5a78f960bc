//! The hit ratio that is attainable: what the best bundles would have, chosen by somebody who knows the true popularity, as many as
//! have room.

use std::collections::HashSet;

use super::catalogue::{Bundle, Catalogue};

/// The bundles with most demand for each byte stored, whole ones, as long as they fit into so many bytes.
pub(crate) fn best(catalogue: &Catalogue, demand: &[(Bundle, f64)], bytes: u64) -> HashSet<Bundle> {
    let per_byte = |(bundle, demand): &(Bundle, f64)| demand / catalogue.bytes_of(*bundle).max(1) as f64;
    let mut order: Vec<&(Bundle, f64)> = demand.iter().collect();
    order.sort_by(|left, right| per_byte(right).total_cmp(&per_byte(left)).then(left.0.cmp(&right.0)));
    let mut room = bytes;
    let mut best = HashSet::new();
    for (bundle, _) in order {
        if let Some(rest) = room.checked_sub(catalogue.bytes_of(*bundle)) {
            room = rest;
            best.insert(*bundle);
        }
    }
    best
}

/// The part of the demand that is for these bundles.
pub(crate) fn share(demand: impl IntoIterator<Item = (Bundle, f64)>, held: &HashSet<Bundle>) -> f64 {
    let (mut of_held, mut all) = (0.0, 0.0);
    for (bundle, bytes) in demand {
        all += bytes;
        if held.contains(&bundle) {
            of_held += bytes;
        }
    }
    of_held / all
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::catalogue::CatalogueSize;
    use crate::rehearsal::true_demand;

    const SIZE: CatalogueSize =
        CatalogueSize { titles: 40, segments_min: 10, segments_max: 20, zipf: 1.0, seed: 7 };

    #[test]
    fn the_best_fit_and_nothing_of_the_same_size_would_be_better() {
        let catalogue = Catalogue::new(&SIZE);
        let demand = true_demand(&catalogue, 1);
        let room = catalogue.bytes() / 5;
        let held = best(&catalogue, &demand, room);
        let bytes: u64 = held.iter().map(|bundle| catalogue.bytes_of(*bundle)).sum();
        assert!(bytes <= room && bytes > room / 10 * 9);
        let found = share(demand.iter().copied(), &held);
        // In any other order the same room holds less demand.
        let mut other = demand.clone();
        for seed in 1..20 {
            let mut random = demo::random::Random::new(seed);
            other.iter_mut().for_each(|(_, demand)| *demand = random.unit());
            assert!(share(demand.iter().copied(), &best(&catalogue, &other, room)) < found);
        }
    }

    #[test]
    fn all_of_it_has_every_hit_and_nothing_none() {
        let catalogue = Catalogue::new(&SIZE);
        let demand = true_demand(&catalogue, 1);
        assert_eq!(share(demand.iter().copied(), &best(&catalogue, &demand, catalogue.bytes())), 1.0);
        assert_eq!(share(demand.iter().copied(), &best(&catalogue, &demand, 0)), 0.0);
    }
}
