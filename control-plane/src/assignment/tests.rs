use super::*;

fn title(number: usize) -> TitleName {
    TitleName::parse(&format!("title-{number}")).unwrap()
}

fn placed(sizes: &[u64], capacities: &[u64], copies: usize) -> Assignment {
    let titles: Vec<_> = (0..sizes.len()).map(title).collect();
    let names: Vec<_> =
        (0..capacities.len()).map(|number| ApplianceName::parse(&format!("oca-{number}")).unwrap()).collect();
    let list: Vec<_> = titles
        .iter()
        .zip(sizes)
        .map(|(title, &stored_bytes)| Wanted { title, stored_bytes, copies })
        .collect();
    let shelves: Vec<_> =
        names.iter().zip(capacities).map(|(name, &capacity_bytes)| Shelf { name, capacity_bytes }).collect();
    assign(&list, &shelves)
}

#[test]
fn what_fits_everywhere_goes_everywhere() {
    let assignment = placed(&[10, 20, 30], &[60, 100], 1);
    assert!(assignment.holders.iter().all(|holders| holders.len() == 2));
    assert_eq!(assignment.bundles, [vec![0, 1, 2], vec![0, 1, 2]]);
    assert_eq!(assignment.used_bytes, [60, 60]);
}

#[test]
fn every_bundle_has_a_copy_before_any_has_two() {
    let assignment = placed(&[10; 12], &[60, 60], 1);
    assert!(assignment.holders.iter().all(|holders| holders.len() == 1));
    assert_eq!(assignment.used_bytes, [60, 60]);
}

#[test]
fn room_that_is_left_goes_to_the_head_of_the_list() {
    let assignment = placed(&[10; 10], &[60, 60], 1);
    assert_eq!(assignment.holders[0].len(), 2);
    assert_eq!(assignment.holders.iter().map(Vec::len).sum::<usize>(), 12);
    assert!(assignment.holders.iter().all(|holders| !holders.is_empty()));
}

#[test]
fn two_copies_are_on_two_appliances() {
    let assignment = placed(&[10; 4], &[40, 40], 2);
    assert!(assignment.holders.iter().all(|holders| holders.len() == 2));
    let short = placed(&[10; 8], &[40, 40], 2);
    assert_eq!(short.holders.iter().filter(|holders| holders.len() == 2).count(), 4);
    assert_eq!(short.holders.iter().filter(|holders| holders.is_empty()).count(), 4);
}

#[test]
fn what_is_pinned_is_everywhere_before_anything_else_is_anywhere() {
    let (pinned, ranked) = (title(1), title(2));
    let names = ["oca-1", "oca-2"].map(|name| ApplianceName::parse(name).unwrap());
    let list = [
        Wanted { title: &pinned, stored_bytes: 60, copies: usize::MAX },
        Wanted { title: &ranked, stored_bytes: 60, copies: 1 },
    ];
    let shelves = names.each_ref().map(|name| Shelf { name, capacity_bytes: 100 });
    let assignment = assign(&list, &shelves);
    assert_eq!(assignment.holders[0].len(), 2);
    assert!(assignment.holders[1].is_empty());
}

#[test]
fn a_bundle_too_large_for_the_first_appliance_goes_to_the_next() {
    let assignment = placed(&[50], &[10, 60, 10], 1);
    assert_eq!(assignment.holders, [vec![1]]);
}

#[test]
fn the_representations_of_a_title_are_together_while_there_is_room() {
    let titles: Vec<_> = (0..20).map(title).collect();
    let names: Vec<_> =
        (0..4).map(|number| ApplianceName::parse(&format!("oca-{number}")).unwrap()).collect();
    let shelves: Vec<_> = names.iter().map(|name| Shelf { name, capacity_bytes: 100 }).collect();
    let bundles = |_| titles.iter().map(|title| Wanted { title, stored_bytes: 1, copies: 1 });
    let list: Vec<_> = (0..6).flat_map(bundles).collect();
    let assignment = assign(&list, &shelves);
    for title in 0..titles.len() {
        let first: Vec<u32> = (0..6).map(|one| assignment.holders[one * titles.len() + title][0]).collect();
        assert!(first.iter().all(|holder| *holder == first[0]), "{first:?}");
    }
}

#[test]
fn a_premiere_is_on_as_many_appliances_as_its_viewers_need() {
    // A tenth of what ten appliances serve is four parts of one.
    assert_eq!(copies(100, 1_000, 10), 4);
    assert_eq!(copies(1_000, 1_000, 10), 10);
    assert_eq!(copies(10, 1_000, 10), 1);
    assert_eq!(copies(26, 1_000, 10), 2);
    assert_eq!((copies(7, 0, 10), copies(7, 7, 0), copies(u64::MAX, 1, 3)), (1, 1, 3));
    // Where the catalogue is larger than the site, the head is not on one machine only.
    let titles: Vec<_> = (0..200).map(title).collect();
    let scores: Vec<u64> = (1..=200).map(|rank| 1_000_000 / rank).collect();
    let total = scores.iter().sum();
    let names: Vec<_> =
        (0..8).map(|number| ApplianceName::parse(&format!("oca-{number}")).unwrap()).collect();
    let shelves: Vec<_> = names.iter().map(|name| Shelf { name, capacity_bytes: 20 }).collect();
    let wanted = titles.iter().zip(&scores);
    let list: Vec<_> = wanted
        .map(|(title, &score)| Wanted { title, stored_bytes: 1, copies: copies(score, total, 8) })
        .collect();
    let assignment = assign(&list, &shelves);
    let mean = total as f64 / 8.0;
    for (score, holders) in scores.iter().zip(&assignment.holders).filter(|(_, holders)| !holders.is_empty())
    {
        assert!(*score as f64 / holders.len() as f64 <= mean / PARTS_OF_AN_APPLIANCE, "{score}: {holders:?}");
    }
    assert!(assignment.holders.iter().filter(|holders| !holders.is_empty()).count() > 120);
}

#[test]
fn without_appliances_or_bundles_nothing_is_placed() {
    assert_eq!(placed(&[10], &[], 1).holders, [Vec::<u32>::new()]);
    assert_eq!(placed(&[], &[10], 1).bundles, [Vec::<u32>::new()]);
}

#[test]
fn what_is_expected_here_is_the_sites_share_divided_by_the_copies() {
    assert_eq!(score_here(1_000, 0.5, 2), 250);
    assert_eq!(score_here(1_000, f64::NAN, 2), 0);
    assert_eq!(score_here(u64::MAX, 1.0, 0), u64::MAX);
}

#[test]
fn the_bound_of_what_is_stored_is_above_objects_and_checksums() {
    // A bundle of one object of one byte takes three blocks of 4 KiB in the store: data, footer, trailer.
    assert!(stored_bytes_max(1, 1) >= 3 * 4096);
    assert!(stored_bytes_max(1 << 40, 1 << 18) >= (1 << 40) + (1 << 18) * 4096 + (1 << 26));
    assert_eq!(stored_bytes_max(u64::MAX, u64::MAX), u64::MAX);
}

#[test]
fn no_appliance_is_to_hold_more_than_its_manifest_can_list() {
    let names = ["oca-1", "oca-2"].map(|name| ApplianceName::parse(name).unwrap());
    let titles: Vec<_> = (0..MANIFEST_ENTRIES_MAX / 2)
        .map(|number| TitleName::parse(&format!("t{number}")).unwrap())
        .collect();
    let list: Vec<_> = titles
        .iter()
        .cycle()
        .take(3 * titles.len())
        .map(|title| Wanted { title, stored_bytes: 1, copies: 1 })
        .collect();
    let shelves = names.each_ref().map(|name| Shelf { name, capacity_bytes: u64::MAX });
    let assignment = assign(&list, &shelves);
    assert!(assignment.bundles.iter().all(|bundles| bundles.len() <= MANIFEST_ENTRIES_MAX));
    assert!(
        assignment.holders.iter().all(|holders| !holders.is_empty()),
        "what one has no line for is on the other"
    );
}
