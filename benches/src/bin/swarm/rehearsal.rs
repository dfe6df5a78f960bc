//! The evening in thought: what viewers ask for whose links bring what they promise. It says what the true popularity of titles means in
//! bytes of each bundle, and what a first evening is asked for.

use std::time::Duration;

use demo::random::Random;

use super::catalogue::{Bundle, Catalogue};
use super::ladder::LADDER;
use super::session::{Session, Viewer, link};
use super::watching::{Step, Watching};

/// From a request to its first byte.
const LATENCY: Duration = Duration::from_millis(5);

/// Sessions of each title that are rehearsed to know what one of it asks for on average.
const SESSIONS_OF_A_TITLE: usize = 400;

/// The segments that a session asks for, in that order, with their representations.
pub(crate) fn rehearse(session: Session, segments: usize, link: u64) -> Vec<(usize, usize)> {
    let (mut now, mut asked) = (Duration::ZERO, Vec::new());
    let mut watching = Watching::new(session, segments, now);
    loop {
        match watching.next(now) {
            Step::Over => return asked,
            Step::Wait { until } => now = until,
            Step::Fetch { segment, representation } => {
                let bytes = LADDER[representation].segment_bytes();
                let took = LATENCY + Duration::from_secs_f64(bytes as f64 * 8.0 / link as f64);
                now += took;
                asked.push((segment, representation));
                watching.fetched(now, bytes, took);
            }
        }
    }
}

/// The bytes that one session of the catalogue asks of each bundle on average, under the true popularity; in the order of
/// [`Catalogue::bundles`].
pub(crate) fn true_demand(catalogue: &Catalogue, seed: u64) -> Vec<(Bundle, f64)> {
    let mut demand = Vec::new();
    for title in 0..catalogue.titles().len() {
        let mut random = Random::of(seed, &format!("rehearsal of {title}"));
        let mut bytes = [0.0; LADDER.len()];
        for _ in 0..SESSIONS_OF_A_TITLE {
            let session = Session::draw(title, catalogue.segments(title), &mut random);
            for (_, representation) in rehearse(session, catalogue.segments(title), link(&mut random)) {
                bytes[representation] += LADDER[representation].segment_bytes() as f64;
            }
        }
        let share = catalogue.share(title) / SESSIONS_OF_A_TITLE as f64;
        demand.extend(
            (0..LADDER.len())
                .map(|representation| (Bundle { title, representation }, bytes[representation] * share)),
        );
    }
    demand
}

/// The requests of so many sessions, of viewers who each watch one.
pub(crate) fn requests(catalogue: &Catalogue, seed: u64, sessions: usize) -> Vec<(Bundle, usize)> {
    let viewers = Viewer::all(seed, sessions, Duration::ZERO);
    let asked = viewers.iter().flat_map(|viewer| {
        let session = viewer.session(catalogue, 0);
        let title = session.title;
        rehearse(session, catalogue.segments(title), viewer.link)
            .into_iter()
            .map(move |(segment, representation)| (Bundle { title, representation }, segment))
    });
    asked.collect()
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::catalogue::CatalogueSize;
    use crate::ladder::HIGHEST;

    const SIZE: CatalogueSize =
        CatalogueSize { titles: 12, segments_min: 10, segments_max: 20, zipf: 1.0, seed: 7 };

    fn to_the_end(title: usize) -> Session {
        let stay = Duration::from_secs(1000);
        Session { pause: Duration::ZERO, title, first_segment: 0, stay, seek: None }
    }

    #[test]
    fn a_link_gets_the_representation_that_it_can_bear() {
        let last = |link| rehearse(to_the_end(0), 20, link).last().copied();
        assert_eq!(last(10_000_000), Some((19, HIGHEST)));
        assert_eq!(last(2_500_000), Some((19, HIGHEST - 1)));
        assert_eq!(last(600_000), Some((19, 0)));
    }

    #[test]
    fn true_demand_is_what_many_sessions_ask_for_on_average() {
        let catalogue = Catalogue::new(&SIZE);
        let demand = true_demand(&catalogue, 1);
        assert!(demand.iter().map(|(bundle, _)| *bundle).eq(catalogue.bundles()));
        let sessions = 6000;
        let asked = requests(&catalogue, 2, sessions);
        for title in 0..SIZE.titles {
            let bytes = |bundle: Bundle| LADDER[bundle.representation].segment_bytes() as f64;
            let seen: f64 =
                asked.iter().filter(|(one, _)| one.title == title).map(|(one, _)| bytes(*one)).sum();
            let expected: f64 =
                demand.iter().filter(|(one, _)| one.title == title).map(|(_, bytes)| *bytes).sum();
            let ratio = seen / sessions as f64 / expected;
            assert!((0.8..1.2).contains(&ratio), "title {title}: {ratio}");
        }
    }
}
