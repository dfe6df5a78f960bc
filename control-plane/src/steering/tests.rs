use control_client::health::Headroom;
use control_client::load::Load;
use control_client::units::BitRate;

use super::*;

fn member(name: &str, percent: u8) -> Arc<Member> {
    Arc::new(Member {
        name: ApplianceName::parse(name).unwrap(),
        urls: Arc::new([format!("http://{name}.example.net")]),
        standing: Standing::Serving,
        utilisation: Utilisation::percent(percent),
        held: Arc::new(RoaringBitmap::from_iter([7])),
        identity: rendezvous::identity(name),
    })
}

fn ask(members: &[&[Arc<Member>]], number: u32, client: IpAddr) -> SteeringAnswer {
    ask_for(TTL_SECONDS, members, number, client)
}

fn ask_for(ttl_seconds: [u32; 3], members: &[&[Arc<Member>]], number: u32, client: IpAddr) -> SteeringAnswer {
    let names = ["own", "next", "far", "farther"].map(|name| SiteName::parse(name).unwrap());
    let tiers: Vec<_> = names.iter().zip(members).map(|(site, members)| Tier { site, members }).collect();
    let path = BundlePath::parse(&format!("/titles/{number}/1080p")).unwrap();
    let editions = vec![Edition { generation: Generation::new(1), number: 7 }];
    let bundles = [Arc::new(Wanted { path: path.clone(), editions })];
    let question = Question { client, path: &path, explain: true };
    steer(&question, &View { tiers: &tiers, bundles: &bundles, origin_urls: &[], ttl_seconds })
}

fn names(answer: &SteeringAnswer) -> Vec<&str> {
    answer
        .candidates
        .iter()
        .filter_map(|candidate| candidate.appliance.as_ref())
        .map(ApplianceName::as_str)
        .collect()
}

const CLIENT: IpAddr = IpAddr::V4(std::net::Ipv4Addr::new(192, 0, 2, 1));

#[test]
fn the_answer_holds_for_a_shorter_time_the_farther_the_first_place_is() {
    let one = [member("oca-1", 10)];
    for (tiers, expected) in [
        (vec![&one[..]], 300),
        (vec![&[], &one[..]], 60),
        (vec![&[], &[], &one[..]], 30),
        (vec![&[], &[], &[], &one[..]], 30),
        (vec![&[]], 30),
        (vec![], 30),
    ] {
        assert_eq!(ask(&tiers, 1, CLIENT).ttl_seconds, expected);
    }
}

#[test]
fn the_answer_holds_as_long_as_the_operator_says_of_its_tier() {
    let one = [member("oca-1", 10)];
    for (tiers, expected) in
        [(vec![&one[..]], 7), (vec![&[], &one[..]], 9), (vec![&[], &[], &one[..]], 8), (vec![], 8)]
    {
        assert_eq!(ask_for([7, 9, 8], &tiers, 1, CLIENT).ttl_seconds, expected);
    }
}

#[test]
fn who_is_full_comes_after_who_has_room_even_from_farther_away() {
    let own = [member("oca-1", 95), member("oca-2", 20)];
    let next = [member("hub-1", 60)];
    let answer = ask(&[&own, &next], 1, CLIENT);
    assert_eq!(names(&answer), ["oca-2", "hub-1", "oca-1"]);
    assert!(answer.explanation[2].why.ends_with("95 % in use, so after all that have room"), "{answer:?}");
    assert_eq!(ask(&[&own[..1], &next], 1, CLIENT).ttl_seconds, 60);
}

#[test]
fn an_answer_names_at_most_eight_appliances_and_says_who_else_could() {
    let many: Vec<_> = (0..20).map(|number| member(&format!("oca-{number}"), 10)).collect();
    let answer = ask(&[&many], 1, CLIENT);
    assert_eq!(answer.candidates.len(), CANDIDATES_MAX);
    assert_eq!(answer.explanation.len(), 20);
    assert!(answer.explanation[8].why.starts_with("left out: an answer names 8 appliances"), "{answer:?}");
}

#[test]
fn titles_are_spread_over_appliances_in_proportion_to_what_these_have_left() {
    let members = [member("oca-1", 20), member("oca-2", 80)];
    let first = (0..4_000).filter(|&title| names(&ask(&[&members], title, CLIENT))[0] == "oca-1").count();
    assert!((3_080..=3_320).contains(&first), "{first} of 4000, where 3200 are expected");
}

#[test]
fn one_title_is_first_on_few_appliances_and_on_more_than_one() {
    let members: Vec<_> = (0..16).map(|number| member(&format!("oca-{number}"), 20)).collect();
    let mut first = std::collections::BTreeSet::new();
    for network in 0..=255 {
        let client = IpAddr::V4(std::net::Ipv4Addr::new(10, 0, network, 1));
        first.insert(names(&ask(&[&members], 1, client))[0].to_owned());
    }
    assert!((2..=CLIENT_GROUPS as usize).contains(&first.len()), "{first:?}");
}

#[test]
fn clients_of_one_network_are_answered_alike_whichever_way_their_address_is_written() {
    let members: Vec<_> = (0..16).map(|number| member(&format!("oca-{number}"), 20)).collect();
    for title in 0..50 {
        let plain = ask(&[&members], title, CLIENT);
        assert_eq!(plain, ask(&[&members], title, "192.0.2.200".parse().unwrap()));
        assert_eq!(plain, ask(&[&members], title, "::ffff:192.0.2.7".parse().unwrap()));
    }
}

fn load(connections: u64, egress_bits_per_second: u64) -> Load {
    Load {
        version: DocumentVersion,
        interval_millis: 1_000,
        egress_bits_per_second,
        requests_per_second: 0,
        connections,
        reads_per_second: 0,
        read_latency_p50_micros: 0,
        read_latency_p99_micros: 0,
    }
}

#[test]
fn what_is_scarcest_is_what_is_in_use() {
    let headroom = Headroom { connections_free: 750, ..Headroom::default() };
    let link = BitRate::new(10_000);
    let none = Headroom::default();
    let of = |load: &Load, headroom, egress| Utilisation::of(Some(load), headroom, egress);
    assert_eq!(of(&load(250, 0), Some(&headroom), None), Utilisation::percent(25));
    assert_eq!(of(&load(250, 9_000), Some(&headroom), Some(link)), Utilisation::percent(90));
    assert_eq!(of(&load(250, 90_000), None, Some(link)), Utilisation::percent(100));
    assert_eq!(of(&load(0, 0), Some(&none), None), Utilisation::percent(100));
    assert_eq!(of(&load(u64::MAX, 0), Some(&headroom), None), Utilisation::percent(100));
    assert_eq!(of(&load(250, 0), None, None), Utilisation::UNKNOWN);
    assert_eq!(Utilisation::of(None, Some(&headroom), Some(link)), Utilisation::UNKNOWN);
}
