use control_client::content::{BundlePath, Generation};
use control_client::fleet::RegionName;
use control_client::report::{HeldBundle, InventoryReport};
use roaring::RoaringBitmap;

use super::*;
use crate::steering::Question;

fn site(name: &str) -> SiteName {
    SiteName::parse(name).unwrap()
}

fn appliance(name: &str) -> ApplianceName {
    ApplianceName::parse(name).unwrap()
}

fn bundle(number: u32, generation: u64) -> BundleKey {
    let path = BundlePath::parse(&format!("/titles/{number}/1080p")).unwrap();
    BundleKey { path, generation: Generation::new(generation) }
}

fn held(bundle: BundleKey) -> HeldBundle {
    HeldBundle { path: bundle.path, generation: bundle.generation, bytes: 1 }
}

fn facts(name: &str, upstream: Option<&str>, prefixes: &[&str]) -> SiteFacts {
    SiteFacts {
        name: site(name),
        region: RegionName::parse("north").unwrap(),
        upstream: upstream.map(site),
        prefixes: prefixes.iter().map(|prefix| prefix.parse().unwrap()).collect(),
    }
}

/// Sites berlin → hub, with two appliances and one; every appliance serves.
fn fleet() -> Fleet {
    let fleet = Fleet::new(vec!["https://origin.example.net".to_owned()]);
    fleet.set_sites(vec![facts("berlin", Some("hub"), &["192.0.2.0/24"]), facts("hub", None, &[])]).unwrap();
    for (name, at) in [("oca-1", "berlin"), ("oca-2", "berlin"), ("hub-1", "hub")] {
        fleet.place(&appliance(name), &site(at), vec![format!("http://{name}.example.net")]).unwrap();
        fleet.update(
            &appliance(name),
            MemberUpdate { standing: Some(Standing::Serving), ..MemberUpdate::default() },
        );
    }
    fleet.add_bundles((1..=3).map(|number| (bundle(number, 1), number)));
    fleet
}

fn full(revision: u64, bundles: impl IntoIterator<Item = BundleKey>) -> InventoryReport {
    InventoryReport::Full { revision, bundles: bundles.into_iter().map(held).collect() }
}

fn steered(fleet: &Fleet, client: &str, number: u32) -> Vec<String> {
    let path = bundle(number, 1).path;
    let question = Question { client: client.parse().unwrap(), path: &path, explain: false };
    let answer = fleet.steer(&question);
    let name = |candidate: &control_client::steering::Candidate| match &candidate.appliance {
        Some(appliance) => appliance.to_string(),
        None => "origin".to_owned(),
    };
    answer.candidates.iter().map(name).collect()
}

#[test]
fn a_client_is_sent_to_who_holds_the_bundle_then_upstream_then_to_the_origin() {
    let fleet = fleet();
    fleet.apply_inventory(&appliance("oca-2"), &full(1, [bundle(1, 1)])).unwrap();
    fleet.apply_inventory(&appliance("hub-1"), &full(1, [bundle(1, 1), bundle(2, 1)])).unwrap();
    assert_eq!(steered(&fleet, "192.0.2.9", 1), ["oca-2", "hub-1", "origin"]);
    assert_eq!(steered(&fleet, "192.0.2.9", 2), ["hub-1", "origin"]);
    assert_eq!(steered(&fleet, "192.0.2.9", 3), ["origin"]);
    assert_eq!(steered(&fleet, "198.51.100.1", 1), ["origin"]);
}

#[test]
fn changes_of_an_inventory_are_applied_to_the_revision_that_they_are_based_on() {
    let fleet = fleet();
    let name = appliance("oca-1");
    fleet.apply_inventory(&name, &full(4, [bundle(1, 1), bundle(2, 1)])).unwrap();
    let change = InventoryReport::Delta {
        from: 4,
        revision: 5,
        added: vec![held(bundle(3, 1))],
        removed: vec![bundle(1, 1)],
    };
    fleet.apply_inventory(&name, &change).unwrap();
    assert_eq!(fleet.inventory_revision(&name), Some(5));
    assert_eq!(steered(&fleet, "192.0.2.9", 3), ["oca-1", "origin"]);
    assert_eq!(steered(&fleet, "192.0.2.9", 1), ["origin"]);
    assert_eq!(fleet.apply_inventory(&name, &change), Err(WrongRevision { known: Some(5), based_on: 4 }));
    assert_eq!(fleet.inventory_revision(&name), None, "all of it is asked for");
    assert_eq!(steered(&fleet, "192.0.2.9", 3), ["oca-1", "origin"], "what was known holds until then");
}

#[test]
fn the_newest_edition_that_is_held_comes_first() {
    let fleet = fleet();
    fleet.add_bundles([(bundle(1, 2), 12)]);
    fleet.apply_inventory(&appliance("oca-1"), &full(1, [bundle(1, 1)])).unwrap();
    fleet.apply_inventory(&appliance("oca-2"), &full(1, [bundle(1, 2)])).unwrap();
    assert_eq!(steered(&fleet, "192.0.2.9", 1), ["oca-2", "oca-1", "origin"]);
    fleet.remove_bundle(&bundle(1, 1));
    assert_eq!(steered(&fleet, "192.0.2.9", 1), ["oca-2", "origin"]);
}

#[test]
fn an_appliance_that_moves_keeps_what_is_known_of_it() {
    let fleet = fleet();
    let name = appliance("oca-1");
    fleet.apply_inventory(&name, &full(1, [bundle(1, 1)])).unwrap();
    fleet.place(&name, &site("hub"), vec!["http://198.51.100.7".to_owned()]).unwrap();
    let (at, member) = fleet.appliance(&name).unwrap();
    assert_eq!(at, site("hub"));
    assert!(member.standing.is_serving() && member.held.len() == 1);
    assert_eq!(*member.urls, ["http://198.51.100.7"]);
    assert_eq!(fleet.appliances_of(&site("berlin")).len(), 1);
    assert_eq!(steered(&fleet, "192.0.2.9", 1), ["oca-1", "origin"]);
    fleet.remove(&name);
    assert_eq!(fleet.appliance(&name).map(|(site, _)| site), None);
    assert_eq!(steered(&fleet, "192.0.2.9", 1), ["origin"]);
}

#[test]
fn appliances_stay_where_they_are_when_the_sites_are_replaced() {
    let fleet = fleet();
    fleet.apply_inventory(&appliance("oca-1"), &full(1, [bundle(1, 1)])).unwrap();
    fleet.set_sites(vec![facts("berlin", None, &["198.51.100.0/24"])]).unwrap();
    assert_eq!(steered(&fleet, "198.51.100.1", 1), ["oca-1", "origin"]);
    assert_eq!(fleet.appliance(&appliance("hub-1")).map(|(site, _)| site), None);
    assert_eq!(fleet.size().appliances, 2);
}

#[test]
fn sites_that_cannot_be_are_refused_and_nothing_changes() {
    let fleet = fleet();
    let cases = [
        (vec![facts("a", Some("b"), &[])], "the upstream of site a, b, is not there: add it first"),
        (vec![facts("a", Some("b"), &[]), facts("b", Some("a"), &[])], "upstream of itself"),
        (vec![facts("a", None, &[]), facts("a", None, &[])], "site a is there twice"),
        (
            vec![facts("a", None, &["10.0.0.0/8"]), facts("b", None, &["10.0.0.0/8"])],
            "sites a and b both claim 10.0.0.0/8",
        ),
    ];
    for (sites, expected) in cases {
        let error = fleet.set_sites(sites).unwrap_err().to_string();
        assert!(error.contains(expected), "{error}");
    }
    let deep = (0..20).map(|site| facts(&format!("s{site}"), Some(&format!("s{}", site + 1)), &[]));
    let deep: Vec<_> = deep.chain([facts("s20", None, &[])]).collect();
    assert!(matches!(fleet.set_sites(deep), Err(TopologyError::TooDeep(_))));
    let lasso = vec![facts("a", Some("b"), &[]), facts("b", Some("c"), &[]), facts("c", Some("b"), &[])];
    assert!(fleet.set_sites(lasso).is_err());
    assert_eq!(fleet.size().sites, 2);
    let unknown = fleet.place(&appliance("oca-9"), &site("paris"), vec![]).unwrap_err();
    assert_eq!(unknown.to_string(), "there is no site paris: add it first");
}

#[test]
fn appliances_of_a_site_that_hold_the_same_share_the_memory_for_it() {
    let fleet = fleet();
    for name in ["oca-1", "oca-2"] {
        fleet.apply_inventory(&appliance(name), &full(1, [bundle(1, 1), bundle(2, 1)])).unwrap();
    }
    let members = fleet.appliances_of(&site("berlin"));
    assert!(Arc::ptr_eq(&members[0].held, &members[1].held));
    assert_eq!(fleet.size().held_bundles, 4);
}

#[test]
fn an_inventory_that_was_kept_is_put_back() {
    let fleet = fleet();
    let name = appliance("oca-1");
    fleet.restore_inventory(&name, 7, RoaringBitmap::from_iter([1, 99]));
    assert_eq!(fleet.inventory_revision(&name), Some(7));
    assert_eq!(steered(&fleet, "192.0.2.9", 1), ["oca-1", "origin"]);
    fleet.forget_revision(&name);
    assert_eq!(fleet.inventory_revision(&name), None);
}

#[test]
fn a_player_is_sent_first_to_who_holds_most_of_a_titles_representations() {
    let fleet = fleet();
    let path = |text: &str| BundlePath::parse(text).unwrap();
    let key = |text: &str| BundleKey { path: path(text), generation: Generation::new(1) };
    let rungs = ["/t/abc", "/t/abc/1080p", "/t/abc/audio/en", "/t/abcd"].map(key);
    fleet.add_bundles(rungs.iter().cloned().zip(100..));
    fleet.apply_inventory(&appliance("oca-1"), &full(1, rungs[..2].to_vec())).unwrap();
    fleet.apply_inventory(&appliance("oca-2"), &full(1, rungs[..3].to_vec())).unwrap();
    let client = "192.0.2.9".parse().unwrap();
    let told = |path: &BundlePath| {
        let answer = fleet.steer_below(&Question { client, path, explain: true });
        answer
            .explanation
            .into_iter()
            .map(|line| format!("{}: {}", line.appliance, line.why))
            .collect::<Vec<_>>()
    };
    assert_eq!(
        told(&path("/t/abc"))[..2],
        [
            "oca-2: place 1 (tier 0, site berlin): holds all 3 bundles, 50 % in use",
            "oca-1: place 2 (tier 0, site berlin): holds 2 of 3 bundles, 50 % in use",
        ]
    );
    assert!(
        told(&path("/t/abc/audio"))[0].starts_with("oca-2: place 1"),
        "a directory without a bundle of its own"
    );
    fleet.remove_bundle(&rungs[2]);
    assert!(
        told(&path("/t/abc"))
            .iter()
            .all(|line| !line.starts_with("oca-1: place 2 (tier 0, site berlin): holds 2 of 3")),
        "what the catalogue has no more is wanted of nobody"
    );
}

#[test]
fn a_title_whose_directories_have_new_names_each_time_is_still_found() {
    let fleet = fleet();
    let path = BundlePath::parse("/t/abc").unwrap();
    for number in 0..2 * crate::limits::BUNDLES_BELOW_MAX as u32 {
        let rung = |number| BundleKey {
            path: BundlePath::parse(&format!("/t/abc/v{number}")).unwrap(),
            generation: Generation::new(1),
        };
        fleet.add_bundles([(rung(number), 100 + number)]);
        if let Some(before) = number.checked_sub(1) {
            fleet.remove_bundle(&rung(before));
        }
        fleet.apply_inventory(&appliance("oca-1"), &full(1, [rung(number)])).unwrap();
    }
    let question = Question { client: "192.0.2.9".parse().unwrap(), path: &path, explain: false };
    assert_eq!(fleet.steer_below(&question).candidates[0].appliance, Some(appliance("oca-1")));
}

#[test]
fn a_directory_with_more_bundles_than_a_title_has_is_its_own_bundle_only() {
    let fleet = fleet();
    let many = crate::limits::BUNDLES_BELOW_MAX as u32 + 1;
    fleet.add_bundles((1000..1000 + many).map(|number| (bundle(number, 1), number)));
    let titles = BundlePath::parse("/titles").unwrap();
    let question = Question { client: "192.0.2.9".parse().unwrap(), path: &titles, explain: true };
    let answer = fleet.steer_below(&question);
    assert!(answer.explanation[0].why.contains("the catalogue has no /titles "), "{answer:?}");
}

#[test]
fn a_number_beyond_the_bound_is_left_out_and_the_rest_is_taken() {
    let fleet = fleet();
    let beyond = crate::limits::BUNDLE_NUMBERS_MAX;
    assert_eq!(fleet.add_bundles([(bundle(7, 1), beyond), (bundle(8, 1), beyond - 1)]), 1);
    assert_eq!(fleet.number_of(&bundle(7, 1)), None);
    assert_eq!(fleet.number_of(&bundle(8, 1)), Some(beyond - 1));
}

#[test]
fn an_explanation_names_every_appliance_of_the_fleet() {
    let fleet = fleet();
    fleet.apply_inventory(&appliance("oca-2"), &full(1, [bundle(1, 1)])).unwrap();
    let path = bundle(1, 1).path;
    let told = |client: &str| {
        let answer = fleet.steer(&Question { client: client.parse().unwrap(), path: &path, explain: true });
        let lines = answer.explanation.iter().map(|line| format!("{}: {}", line.appliance, line.why));
        lines.collect::<Vec<_>>()
    };
    assert_eq!(
        told("192.0.2.9"),
        [
            "oca-2: place 1 (tier 0, site berlin): holds generation 1, 50 % in use",
            "oca-1: left out (tier 0, site berlin): it does not hold /titles/1/1080p",
            "hub-1: left out (tier 1, site hub): it does not hold /titles/1/1080p",
        ]
    );
    assert_eq!(
        told("203.0.113.1")[0],
        "oca-1: left out (site berlin): no site has the client's address in its prefixes"
    );
}

#[test]
fn nobody_is_sent_anywhere_for_what_may_not_be_watched_yet() {
    let fleet = fleet();
    fleet.apply_inventory(&appliance("oca-1"), &full(1, [bundle(1, 1), bundle(2, 1)])).unwrap();
    fleet.set_closed(HashSet::from([bundle(1, 1).path]));
    assert_eq!(steered(&fleet, "192.0.2.9", 1), Vec::<String>::new());
    assert_eq!(steered(&fleet, "192.0.2.9", 2), ["oca-1", "origin"]);
    assert!(fleet.number_of(&bundle(1, 1)).is_some(), "it is fetched before its release");
    fleet.set_closed(HashSet::new());
    assert_eq!(steered(&fleet, "192.0.2.9", 1), ["oca-1", "origin"]);
}
