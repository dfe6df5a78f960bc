//! From where an appliance fetches a bundle, and when it may turn to what is farther away: so that one copy
//! for each site crosses the wide area network, and the others come from it.
//!
//! Of the appliances of a site that are expected to fetch a bundle, rendezvous hashing elects one that has the next
//! tier and the origin from the start. The others have their peers from the start, whether these have the
//! bundle already or are about to, and what is farther after the escalation delay. Where a peer already
//! serves the bundle, nobody needs to go far, and nobody is elected.

use control_client::content::BundleKey;
use control_client::fleet::ApplianceName;
use control_client::sources::{FillSource, SourceKind};

use crate::limits::{FILL_PEERS_MAX, FILL_UPSTREAM_MAX};
use crate::rendezvous;

/// An appliance that may have the bundle, or get it.
#[derive(Clone, Copy, Debug)]
pub struct Neighbour<'a> {
    /// Its name.
    pub name: &'a ApplianceName,
    /// The URL of its daemon; `None` where it has told none.
    pub url: Option<&'a str>,
    /// Whether it answers and does not drain.
    pub is_available: bool,
    /// Whether it serves the bundle.
    pub holds: bool,
    /// Whether it is expected to fetch the bundle: its agent reports, its fill manifest has the bundle, and it did not pass it over
    /// when it last planned.
    pub is_expected: bool,
}

/// An origin.
#[derive(Clone, Copy, Debug)]
pub struct Origin<'a> {
    /// Its name in reports.
    pub name: &'a str,
    /// The URL below which the paths of bundles lie.
    pub url: &'a str,
}

/// All that the list of one bundle for one appliance is made of.
#[derive(Clone, Copy, Debug)]
pub struct FillSourcesInput<'a> {
    /// Who asks.
    pub asker: &'a ApplianceName,
    /// For what.
    pub bundle: &'a BundleKey,
    /// The appliances of its site; the asker may be among them.
    pub site: &'a [Neighbour<'a>],
    /// The appliances of each site upstream, the next tier first.
    pub upstream: &'a [Vec<Neighbour<'a>>],
    /// Where everything is, the best first.
    pub origins: &'a [Origin<'a>],
    /// How long peers are tried before what is farther.
    pub escalation_seconds: u32,
}

/// The sources of one bundle for one appliance, in the order in which to try them.
pub fn fill_sources(input: &FillSourcesInput<'_>) -> Vec<FillSource> {
    let peers: Vec<&Neighbour<'_>> =
        input.site.iter().filter(|peer| peer.name != input.asker && peer.is_available).collect();
    let is_here = peers.iter().any(|peer| peer.holds && peer.url.is_some());
    let first = if is_here { None } else { Some(origin_first(input.asker, input.bundle, &peers)) };
    let is_first = first == Some(input.asker);
    let mut asked: Vec<&Neighbour<'_>> =
        peers.into_iter().filter(|peer| peer.holds || (peer.is_expected && !is_first)).collect();
    // Who has it, then who gets it first, then the others; among equals another order for each asker, so that
    // not all ask the same.
    let key = rendezvous::identity(input.bundle.path.as_str()) ^ rendezvous::identity(input.asker.as_str());
    asked.sort_by_cached_key(|peer| {
        let draw = rendezvous::draw(key, rendezvous::identity(peer.name.as_str()));
        (!peer.holds, first != Some(peer.name), draw)
    });
    asked.retain(|peer| peer.url.is_some());
    asked.truncate(FILL_PEERS_MAX);
    let has_peers = !asked.is_empty();
    let after_seconds = if has_peers { input.escalation_seconds } else { 0 };
    let mut sources: Vec<FillSource> =
        asked.iter().filter_map(|peer| appliance(SourceKind::Peer, peer, 0)).collect();
    let mut room = FILL_UPSTREAM_MAX;
    for tier in input.upstream {
        let mut holders: Vec<_> =
            tier.iter().filter(|one| one.is_available && one.holds && one.url.is_some()).collect();
        holders.sort_by_cached_key(|one| rendezvous::draw(key, rendezvous::identity(one.name.as_str())));
        holders.truncate(room);
        room -= holders.len();
        sources.extend(holders.iter().filter_map(|one| appliance(SourceKind::Tier, one, after_seconds)));
    }
    sources.extend(input.origins.iter().map(|origin| FillSource {
        kind: SourceKind::Origin,
        name: origin.name.to_owned(),
        url: origin.url.to_owned(),
        after_seconds,
    }));
    sources
}

/// The appliance of the site that goes far for the bundle: of those that are expected to fetch it, the asker
/// among them, and that answer.
fn origin_first<'a>(
    asker: &'a ApplianceName,
    bundle: &BundleKey,
    peers: &[&Neighbour<'a>],
) -> &'a ApplianceName {
    let key = rendezvous::identity(bundle.path.as_str());
    peers
        .iter()
        .filter(|peer| peer.is_expected && peer.url.is_some())
        .map(|peer| peer.name)
        .chain([asker])
        .max_by_key(|name| (rendezvous::draw(key, rendezvous::identity(name.as_str())), *name))
        .unwrap_or(asker)
}

fn appliance(kind: SourceKind, appliance: &Neighbour<'_>, after_seconds: u32) -> Option<FillSource> {
    Some(FillSource {
        kind,
        name: appliance.name.to_string(),
        url: appliance.url?.trim_end_matches('/').to_owned(),
        after_seconds,
    })
}

#[cfg(test)]
mod tests {
    use control_client::content::{BundlePath, Generation};

    use super::*;

    const ORIGIN: &[Origin<'static>] = &[Origin { name: "origin", url: "https://origin.example.net" }];

    fn name(text: &str) -> ApplianceName {
        ApplianceName::parse(text).unwrap()
    }

    fn bundle(number: u32) -> BundleKey {
        let path = BundlePath::parse(&format!("/titles/{number}/1080p")).unwrap();
        BundleKey { path, generation: Generation::new(1) }
    }

    fn neighbour(name: &ApplianceName) -> Neighbour<'_> {
        Neighbour {
            name,
            url: Some("http://192.0.2.1/"),
            is_available: true,
            holds: false,
            is_expected: true,
        }
    }

    fn sources(asker: &ApplianceName, bundle: &BundleKey, site: &[Neighbour<'_>]) -> Vec<FillSource> {
        fill_sources(&FillSourcesInput {
            asker,
            bundle,
            site,
            upstream: &[],
            origins: ORIGIN,
            escalation_seconds: 600,
        })
    }

    fn delay_of_origin(sources: &[FillSource]) -> u32 {
        let last = sources.last().expect("the origin is always there");
        assert_eq!(last.kind, SourceKind::Origin);
        last.after_seconds
    }

    #[test]
    fn one_appliance_of_a_site_has_the_origin_at_once_and_the_others_after_their_peers() {
        let names = ["oca-1", "oca-2", "oca-3"].map(name);
        let site = names.each_ref().map(neighbour);
        let mut elected = [0; 3];
        for number in 0..300 {
            let bundle = bundle(number);
            let lists = names.each_ref().map(|asker| sources(asker, &bundle, &site));
            let first: Vec<usize> = (0..3).filter(|&asker| delay_of_origin(&lists[asker]) == 0).collect();
            assert_eq!(first.len(), 1);
            elected[first[0]] += 1;
            for (asker, list) in lists.iter().enumerate() {
                if asker == first[0] {
                    assert_eq!(list.len(), 1, "who goes far does not wait for peers that have nothing");
                } else {
                    assert_eq!(list.len(), 3);
                    assert_eq!(list[0].name, names[first[0]].as_str(), "who has it first is asked first");
                    assert_eq!(delay_of_origin(list), 600);
                }
            }
        }
        assert!(elected.iter().all(|&count| count > 70), "{elected:?}");
    }

    #[test]
    fn where_a_peer_has_the_bundle_nobody_goes_far_at_once() {
        let names = ["oca-1", "oca-2", "oca-3"].map(name);
        let mut site = names.each_ref().map(neighbour);
        site[1].holds = true;
        for asker in [&names[0], &names[2]] {
            let list = sources(asker, &bundle(7), &site);
            assert_eq!((list[0].kind, list[0].name.as_str()), (SourceKind::Peer, "oca-2"));
            assert_eq!(list[0].url, "http://192.0.2.1");
            assert_eq!(delay_of_origin(&list), 600);
        }
    }

    #[test]
    fn a_peer_that_does_not_answer_is_neither_asked_nor_elected() {
        let names = ["oca-1", "oca-2"].map(name);
        let mut site = names.each_ref().map(neighbour);
        site[1].is_available = false;
        for number in 0..50 {
            let list = sources(&names[0], &bundle(number), &site);
            assert_eq!(list.len(), 1);
            assert_eq!(delay_of_origin(&list), 0);
        }
    }

    #[test]
    fn a_peer_that_is_not_expected_to_fetch_the_bundle_is_neither_asked_nor_waited_for() {
        let names = ["oca-1", "oca-2"].map(name);
        let mut site = names.each_ref().map(neighbour);
        site[1].is_expected = false;
        assert_eq!(delay_of_origin(&sources(&names[0], &bundle(1), &site)), 0);
    }

    #[test]
    fn the_next_tier_comes_before_the_origin_where_it_holds_the_bundle() {
        let names = ["oca-1", "oca-2", "tier-1", "tier-2"].map(name);
        let site = [neighbour(&names[0]), Neighbour { holds: true, ..neighbour(&names[1]) }];
        let upstream = [vec![Neighbour { holds: true, ..neighbour(&names[2]) }, neighbour(&names[3])]];
        let list = fill_sources(&FillSourcesInput {
            asker: &names[0],
            bundle: &bundle(1),
            site: &site,
            upstream: &upstream,
            origins: ORIGIN,
            escalation_seconds: 600,
        });
        let told: Vec<_> =
            list.iter().map(|source| (source.kind, source.name.as_str(), source.after_seconds)).collect();
        assert_eq!(
            told,
            [
                (SourceKind::Peer, "oca-2", 0),
                (SourceKind::Tier, "tier-1", 600),
                (SourceKind::Origin, "origin", 600)
            ]
        );
    }

    #[test]
    fn a_list_of_sources_is_never_longer_than_appliances_take() {
        let names: Vec<_> = (0..200).map(|number| name(&format!("oca-{number}"))).collect();
        let holder = |name| Neighbour { holds: true, ..neighbour(name) };
        let site: Vec<_> = names.iter().map(holder).collect();
        let upstream: Vec<Vec<_>> = (0..7).map(|_| names.iter().map(holder).collect()).collect();
        let origins = [ORIGIN[0]; control_client::limits::ORIGINS_MAX];
        let ask = |asker| {
            fill_sources(&FillSourcesInput {
                asker,
                bundle: &bundle(1),
                site: &site,
                upstream: &upstream,
                origins: &origins,
                escalation_seconds: 600,
            })
        };
        let (list, other) = (ask(&names[0]), ask(&names[1]));
        assert!(list.len() <= control_client::limits::SOURCES_PER_BUNDLE_MAX, "{}", list.len());
        let of = |list: &[FillSource], kind| list.iter().filter(|source| source.kind == kind).count();
        assert_eq!(of(&list, SourceKind::Peer), FILL_PEERS_MAX);
        assert_eq!(of(&list, SourceKind::Tier), FILL_UPSTREAM_MAX);
        assert_eq!(of(&list, SourceKind::Origin), origins.len());
        let tier = |list: &[FillSource]| list[FILL_PEERS_MAX].name.clone();
        assert_ne!(tier(&list), tier(&other), "not everybody asks the same one first");
    }

    #[test]
    fn an_appliance_alone_has_the_origin_at_once() {
        let alone = name("oca-1");
        assert_eq!(delay_of_origin(&sources(&alone, &bundle(1), &[])), 0);
        assert_eq!(delay_of_origin(&sources(&alone, &bundle(1), &[neighbour(&alone)])), 0);
    }
}
