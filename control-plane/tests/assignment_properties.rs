//! Assignment, whatever the list and the appliances: never above capacity, the same every time, and little moves.

#![expect(clippy::unwrap_used, reason = "a test that fails says where")]

use std::collections::BTreeSet;

use control_client::fleet::{ApplianceName, TitleName};
use control_plane::assignment::{Assignment, Shelf, Wanted, assign};
use proptest::prelude::*;

struct Made {
    titles: Vec<TitleName>,
    names: Vec<ApplianceName>,
}

impl Made {
    fn new(bundles: usize, appliances: usize) -> Self {
        let title = |number| TitleName::parse(&format!("title-{number}")).unwrap();
        let name = |number| ApplianceName::parse(&format!("oca-{number}")).unwrap();
        Self { titles: (0..bundles).map(title).collect(), names: (0..appliances).map(name).collect() }
    }

    fn list(&self, sizes: &[u64], copies: usize) -> Vec<Wanted<'_>> {
        let bundles = self.titles.iter().zip(sizes);
        bundles.map(|(title, &stored_bytes)| Wanted { title, stored_bytes, copies }).collect()
    }

    fn shelves(&self, capacities: &[u64]) -> Vec<Shelf<'_>> {
        let appliances = self.names.iter().zip(capacities);
        appliances.map(|(name, &capacity_bytes)| Shelf { name, capacity_bytes }).collect()
    }
}

/// Who holds each bundle, by name.
fn by_name<'a>(assignment: &Assignment, shelves: &[Shelf<'a>]) -> Vec<BTreeSet<&'a str>> {
    let names =
        |holders: &Vec<u32>| holders.iter().map(|&shelf| shelves[shelf as usize].name.as_str()).collect();
    assignment.holders.iter().map(names).collect()
}

fn sizes() -> impl Strategy<Value = Vec<u64>> {
    prop::collection::vec(1..1_000_u64, 0..80)
}

fn capacities() -> impl Strategy<Value = Vec<u64>> {
    prop::collection::vec(0..20_000_u64, 0..8)
}

proptest! {
    #[test]
    fn nothing_is_ever_above_capacity_or_twice_on_one_appliance(
        sizes in sizes(), capacities in capacities(), copies in 0..5_usize,
    ) {
        let made = Made::new(sizes.len(), capacities.len());
        let assignment = assign(&made.list(&sizes, copies), &made.shelves(&capacities));
        for (shelf, bundles) in assignment.bundles.iter().enumerate() {
            let used: u64 = bundles.iter().map(|&bundle| sizes[bundle as usize]).sum();
            prop_assert!(used <= capacities[shelf]);
            prop_assert_eq!(used, assignment.used_bytes[shelf]);
            prop_assert!(bundles.is_sorted_by(|left, right| left < right), "in the order of the list, each once");
            for &bundle in bundles {
                prop_assert!(assignment.holders[bundle as usize].contains(&(shelf as u32)));
            }
        }
        let held: usize = assignment.holders.iter().map(Vec::len).sum();
        prop_assert_eq!(held, assignment.bundles.iter().map(Vec::len).sum::<usize>());
    }

    #[test]
    fn what_fits_everywhere_is_everywhere(sizes in sizes(), spare in prop::collection::vec(0..100_u64, 1..8), copies in 0..5_usize) {
        let all: u64 = sizes.iter().sum();
        let capacities: Vec<u64> = spare.iter().map(|spare| all + spare).collect();
        let made = Made::new(sizes.len(), capacities.len());
        let assignment = assign(&made.list(&sizes, copies), &made.shelves(&capacities));
        prop_assert!(assignment.holders.iter().all(|holders| holders.len() == capacities.len()));
    }

    #[test]
    fn no_room_is_left_that_a_bundle_that_is_nowhere_would_fit_into(
        sizes in sizes(), capacities in capacities(), copies in 0..5_usize,
    ) {
        let made = Made::new(sizes.len(), capacities.len());
        let assignment = assign(&made.list(&sizes, copies), &made.shelves(&capacities));
        for (bundle, holders) in assignment.holders.iter().enumerate() {
            for (shelf, capacity) in capacities.iter().enumerate() {
                let room = capacity - assignment.used_bytes[shelf];
                prop_assert!(holders.contains(&(shelf as u32)) || room < sizes[bundle]);
            }
        }
    }

    #[test]
    fn the_order_of_the_appliances_changes_nothing(sizes in sizes(), capacities in capacities(), copies in 0..5_usize) {
        let made = Made::new(sizes.len(), capacities.len());
        let list = made.list(&sizes, copies);
        let forwards = made.shelves(&capacities);
        let mut backwards = forwards.clone();
        backwards.reverse();
        prop_assert_eq!(
            by_name(&assign(&list, &forwards), &forwards),
            by_name(&assign(&list, &backwards), &backwards)
        );
    }
}

/// A site of five appliances, filled by two copies of everything and third ones of the head, gets a sixth.
#[test]
fn where_an_appliance_comes_only_what_it_takes_moves() {
    let sizes = vec![100; 1_000];
    let made = Made::new(sizes.len(), 6);
    let list = made.list(&sizes, 2);
    let roomy = vec![50_000; 6];
    let five = made.shelves(&roomy[..5]);
    let six = made.shelves(&roomy);
    let before = by_name(&assign(&list, &five), &five);
    let after = by_name(&assign(&list, &six), &six);
    // Copies that are on an appliance now and were not before. Where the new one takes a copy over, the old
    // one has room for another third one of the head.
    let fetched_by = |name: &str| {
        (0..sizes.len())
            .filter(|&bundle| after[bundle].contains(name) && !before[bundle].contains(name))
            .count()
    };
    let by_new = fetched_by("oca-5");
    let by_others: usize = (0..5).map(|number| fetched_by(&format!("oca-{number}"))).sum();
    let copies: usize = after.iter().map(BTreeSet::len).sum();
    assert_eq!(by_new, 500, "the new one is filled");
    assert!(by_others * 4 <= copies, "{by_others} of {copies} copies moved between appliances that stay");
    assert!(after.iter().all(|holders| holders.len() >= 2), "nobody lacks a copy");
}

/// One of four appliances goes, and the other three have just room for one copy of everything: second copies
/// of the head make room.
#[test]
fn where_an_appliance_goes_the_bundles_of_the_others_stay() {
    let sizes = vec![100; 900];
    let made = Made::new(sizes.len(), 4);
    let list = made.list(&sizes, 1);
    let capacities = vec![30_000; 4];
    let four = made.shelves(&capacities);
    let three = made.shelves(&capacities[..3]);
    let before = by_name(&assign(&list, &four), &four);
    let after = by_name(&assign(&list, &three), &three);
    assert!(after.iter().all(|holders| holders.len() == 1), "everything still has a place");
    let kept = (0..sizes.len()).filter(|&bundle| after[bundle].is_subset(&before[bundle])).count();
    let lost_its_place =
        (0..sizes.len()).filter(|&bundle| before[bundle].iter().all(|&name| name == "oca-3")).count();
    let moved = sizes.len() - kept;
    assert!(moved <= lost_its_place + sizes.len() / 10, "{moved} moved, {lost_its_place} had to");
}
