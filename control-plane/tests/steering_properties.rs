//! Steering, whatever the fleet looks like: nobody is sent where he cannot be served, every place is named
//! once, nearer comes first, and the answer holds as long as its tier says.

#![expect(clippy::unwrap_used, reason = "a test that fails says where")]

use std::net::{IpAddr, Ipv4Addr};
use std::sync::Arc;

use control_client::content::{BundlePath, Generation};
use control_client::fleet::{ApplianceName, SiteName};
use control_client::steering::SteeringAnswer;
use control_plane::content_steering::{ORIGIN_PATHWAY, Pathways, content_steering, pathways};
use control_plane::hysteresis::Standing;
use control_plane::limits::CANDIDATES_MAX;
use control_plane::rendezvous;
use control_plane::steering::{
    Edition, Member, Question, TTL_SECONDS, Tier, Utilisation, View, Wanted, steer,
};
use proptest::prelude::*;
use roaring::RoaringBitmap;

/// The number of the bundle's newest edition, and of an older one.
const NEW: u32 = 70_001;
const OLD: u32 = 12;

#[derive(Clone, Debug)]
struct Appliance {
    standing: Standing,
    percent: u8,
    held: Vec<u32>,
    has_url: bool,
}

impl Appliance {
    fn suits(&self) -> bool {
        self.standing == Standing::Serving
            && self.has_url
            && self.held.iter().any(|number| [NEW, OLD].contains(number))
    }
}

fn standing() -> impl Strategy<Value = Standing> {
    prop_oneof![
        4 => Just(Standing::Serving),
        1 => Just(Standing::Draining),
        1 => Just(Standing::Unknown),
        1 => Just(Standing::Unhealthy("a volume is isolated".to_owned())),
        1 => Just(Standing::Unreachable("no answer".to_owned())),
    ]
}

fn appliance() -> impl Strategy<Value = Appliance> {
    let held = prop::collection::vec(prop_oneof![Just(NEW), Just(OLD), 0..100_u32, 65_000..70_000_u32], 0..4);
    (standing(), 0..=100_u8, held, prop::bool::weighted(0.9))
        .prop_map(|(standing, percent, held, has_url)| Appliance { standing, percent, held, has_url })
}

fn fleet() -> impl Strategy<Value = Vec<Vec<Appliance>>> {
    prop::collection::vec(prop::collection::vec(appliance(), 0..12), 0..5)
}

fn name(tier: usize, place: usize) -> ApplianceName {
    ApplianceName::parse(&format!("oca-{tier}-{place}")).unwrap()
}

fn answer(fleet: &[Vec<Appliance>], client: IpAddr, has_origin: bool, explain: bool) -> SteeringAnswer {
    let members: Vec<Vec<Arc<Member>>> = fleet
        .iter()
        .enumerate()
        .map(|(tier, appliances)| {
            let member = |(place, appliance): (usize, &Appliance)| {
                let name = name(tier, place);
                Arc::new(Member {
                    identity: rendezvous::identity(name.as_str()),
                    urls: if appliance.has_url { Arc::new([format!("http://{name}")]) } else { Arc::new([]) },
                    name,
                    standing: appliance.standing.clone(),
                    utilisation: Utilisation::percent(appliance.percent),
                    held: Arc::new(appliance.held.iter().copied().collect::<RoaringBitmap>()),
                })
            };
            appliances.iter().enumerate().map(member).collect()
        })
        .collect();
    let sites: Vec<SiteName> =
        (0..fleet.len()).map(|tier| SiteName::parse(&format!("site-{tier}")).unwrap()).collect();
    let tiers: Vec<Tier<'_>> =
        sites.iter().zip(&members).map(|(site, members)| Tier { site, members }).collect();
    let editions = vec![
        Edition { generation: Generation::new(2), number: NEW },
        Edition { generation: Generation::new(1), number: OLD },
    ];
    let origin = if has_origin { vec!["https://origin.example.net".to_owned()] } else { vec![] };
    let path = BundlePath::parse("/titles/abc/1080p").unwrap();
    let bundles = [Arc::new(Wanted { path: path.clone(), editions })];
    let question = Question { client, path: &path, explain };
    steer(
        &question,
        &View { tiers: &tiers, bundles: &bundles, origin_urls: &origin, ttl_seconds: TTL_SECONDS },
    )
}

fn of<'a>(fleet: &'a [Vec<Appliance>], appliance: &ApplianceName) -> (usize, &'a Appliance) {
    let mut numbers = appliance.as_str().split('-').skip(1).map(|number| number.parse::<usize>().unwrap());
    let (tier, place) = (numbers.next().unwrap(), numbers.next().unwrap());
    (tier, &fleet[tier][place])
}

proptest! {
    #[test]
    fn nobody_is_sent_to_an_appliance_that_drains_is_ill_or_lacks_the_content(
        fleet in fleet(), client: u32, has_origin: bool,
    ) {
        let answer = answer(&fleet, Ipv4Addr::from(client).into(), has_origin, false);
        for appliance in answer.candidates.iter().filter_map(|candidate| candidate.appliance.as_ref()) {
            prop_assert!(of(&fleet, appliance).1.suits(), "{appliance}");
        }
        let suitable = fleet.iter().flatten().filter(|appliance| appliance.suits()).count();
        let named = answer.candidates.iter().filter(|candidate| candidate.appliance.is_some()).count();
        prop_assert_eq!(named, suitable.min(CANDIDATES_MAX), "whoever can serve is named while there is room");
    }

    #[test]
    fn a_players_pathways_are_exactly_the_steered_appliances_in_order(
        fleet in fleet(), client: u32, has_origin: bool, drained: prop::sample::Index,
    ) {
        let client = Ipv4Addr::from(client).into();
        let first = answer(&fleet, client, has_origin, false);
        let steered = |answer: &SteeringAnswer| -> Vec<String> {
            let name = |one: &Option<ApplianceName>| one.as_ref().map_or(ORIGIN_PATHWAY.to_owned(), |one| one.to_string());
            answer.candidates.iter().map(|one| name(&one.appliance)).collect()
        };
        let carried: Vec<String> = pathways(&first, None).into_iter().map(|pathway| pathway.id).collect();
        prop_assert_eq!(&carried, &steered(&first), "those of the manifest");
        let list = carried.join(",");
        let Some(own) = Pathways::listed(&list, None) else {
            prop_assert!(carried.is_empty(), "a manifest's own list is one that can be asked with");
            return Ok(());
        };
        let document = content_steering(&first, &own, None);
        prop_assert_eq!(&document.pathway_priority, &carried, "those of the document");
        prop_assert_eq!(document.ttl, first.ttl_seconds);
        prop_assert!(document.pathway_clones.is_empty(), "the manifest has them all");

        // Later, when things are otherwise: still those, and whoever the manifest has not is a clone of what it has.
        let mut later = fleet;
        if let Some(tier) = later.first_mut().filter(|tier| !tier.is_empty()) {
            let place = drained.index(tier.len());
            tier[place].standing =
                if tier[place].standing == Standing::Draining { Standing::Serving } else { Standing::Draining };
        }
        let second = answer(&later, client, has_origin, false);
        let document = content_steering(&second, &own, None);
        // A clone is made of an appliance: whoever began at the origin alone stays there.
        let can_clone = carried != [ORIGIN_PATHWAY];
        let expected: Vec<String> =
            steered(&second).into_iter().filter(|id| can_clone || carried.contains(id)).collect();
        prop_assert_eq!(&document.pathway_priority, if expected.is_empty() { &carried } else { &expected });
        let cloned: Vec<String> = document.pathway_clones.iter().map(|clone| clone.id.clone()).collect();
        let new: Vec<String> = expected.into_iter().filter(|id| !carried.contains(id)).collect();
        prop_assert_eq!(cloned, new);
        prop_assert!(document.pathway_clones.iter().all(|clone| clone.base_id == carried[0]));
    }

    #[test]
    fn every_place_is_named_once_and_the_origin_last(fleet in fleet(), client: u32, has_origin: bool) {
        let answer = answer(&fleet, Ipv4Addr::from(client).into(), has_origin, false);
        let mut urls: Vec<&String> = answer.candidates.iter().flat_map(|candidate| &candidate.urls).collect();
        let all = urls.len();
        urls.sort();
        urls.dedup();
        prop_assert_eq!(urls.len(), all);
        let origins: Vec<usize> = (0..answer.candidates.len())
            .filter(|&place| answer.candidates[place].appliance.is_none())
            .collect();
        let expected: &[usize] = if has_origin { &[answer.candidates.len() - 1] } else { &[] };
        prop_assert_eq!(origins, expected);
    }

    #[test]
    fn room_comes_before_none_nearer_before_farther_and_newer_before_older(fleet in fleet(), client: u32) {
        let answer = answer(&fleet, Ipv4Addr::from(client).into(), false, false);
        let ranks: Vec<_> = answer
            .candidates
            .iter()
            .filter_map(|candidate| candidate.appliance.as_ref())
            .map(|appliance| {
                let (tier, appliance) = of(&fleet, appliance);
                (Utilisation::percent(appliance.percent).is_full(), tier, !appliance.held.contains(&NEW))
            })
            .collect();
        prop_assert!(ranks.is_sorted(), "{ranks:?}");
        let tiers_are_told = answer.candidates.iter().all(|candidate| {
            let appliance = candidate.appliance.as_ref().unwrap();
            of(&fleet, appliance).0 == usize::from(candidate.tier)
        });
        prop_assert!(tiers_are_told);
    }

    #[test]
    fn the_answer_holds_as_long_as_the_tier_of_its_first_place_says(fleet in fleet(), client: u32, has_origin: bool) {
        let answer = answer(&fleet, Ipv4Addr::from(client).into(), has_origin, false);
        let first = answer.candidates.first().filter(|first| first.appliance.is_some());
        let expected = match first.map(|first| first.tier) {
            Some(0) => 300,
            Some(1) => 60,
            _ => 30,
        };
        prop_assert_eq!(answer.ttl_seconds, expected);
    }

    #[test]
    fn the_same_question_has_the_same_answer_and_an_explanation_changes_none(
        fleet in fleet(), client: u128, has_origin: bool,
    ) {
        let client = IpAddr::V6(client.into());
        let first = answer(&fleet, client, has_origin, false);
        prop_assert_eq!(&first, &answer(&fleet, client, has_origin, false));
        let mut explained = answer(&fleet, client, has_origin, true);
        let all: usize = fleet.iter().map(Vec::len).sum();
        prop_assert_eq!(explained.explanation.len(), all, "every appliance is explained");
        let mut told: Vec<_> = explained.explanation.iter().map(|line| line.appliance.clone()).collect();
        told.sort();
        told.dedup();
        prop_assert_eq!(told.len(), all, "and each once");
        explained.explanation.clear();
        prop_assert_eq!(first, explained);
    }

    /// A change at one appliance does not shuffle the others: those that stay are in the order in which they were.
    #[test]
    fn the_others_keep_their_order_when_one_drains(fleet in fleet(), client: u32, pick: prop::sample::Index) {
        let places: Vec<(usize, usize)> = fleet
            .iter()
            .enumerate()
            .flat_map(|(tier, appliances)| (0..appliances.len()).map(move |place| (tier, place)))
            .collect();
        if places.is_empty() {
            return Ok(());
        }
        let (tier, place) = places[pick.index(places.len())];
        let mut drained = fleet.clone();
        drained[tier][place].standing = Standing::Draining;
        let client = Ipv4Addr::from(client).into();
        let order = |fleet: &[Vec<Appliance>]| -> Vec<ApplianceName> {
            let answer = answer(fleet, client, false, false);
            answer.candidates.into_iter().filter_map(|candidate| candidate.appliance).collect()
        };
        let gone = name(tier, place);
        let before: Vec<_> = order(&fleet).into_iter().filter(|appliance| *appliance != gone).collect();
        let after = order(&drained);
        prop_assert!(!after.contains(&gone));
        prop_assert!(after.starts_with(&before), "{before:?} {after:?}");
    }
}
