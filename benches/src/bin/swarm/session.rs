//! The script of an evening: who comes when over what link, and what each of them watches. All of it follows from a seed.

use std::net::{IpAddr, Ipv4Addr};
use std::time::Duration;

use demo::random::Random;

use super::catalogue::Catalogue;
use super::cmcd::Carrier;

/// Links of households in bits per second, and how many in a hundred have such a one. The slowest still brings the first segment within
/// two seconds, or no appliance could.
pub(crate) const LINKS: [(u64, u32); 4] =
    [(1_200_000, 10), (2_500_000, 20), (5_000_000, 35), (10_000_000, 35)];

/// The mean of what a viewer stays for; one session is as long as another with the probability of the exponential distribution.
const STAY_MEAN: Duration = Duration::from_secs(40);

/// The shortest stay: who leaves sooner has seen no film.
const STAY_MIN: Duration = Duration::from_secs(6);

/// The longest.
const STAY_MAX: Duration = Duration::from_secs(180);

/// The mean of what a viewer takes to choose the next title.
const PAUSE_MEAN: Duration = Duration::from_secs(1);

/// The longest that it takes.
const PAUSE_MAX: Duration = Duration::from_secs(5);

/// Of a hundred sessions, those that go on somewhere in the first half of the title rather than begin it.
const RESUMED: usize = 30;

/// Of a hundred sessions, those in which the viewer once asks for another place.
const WITH_SEEK: usize = 20;

/// Somebody who watches one session after another until the evening is over.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) struct Viewer {
    seed: u64,
    number: usize,
    /// Bits per second.
    pub(crate) link: u64,
    /// Where the viewer is, as the control plane is told.
    pub(crate) address: IpAddr,
    /// When the first session begins.
    pub(crate) arrives_at: Duration,
    /// Where the player says what it says: players of both kinds are about.
    pub(crate) carrier: Carrier,
}

/// Somebody sits down and watches one title.
#[derive(Clone, Copy, Debug, PartialEq)]
pub(crate) struct Session {
    /// From the end of the session before to the beginning of this one.
    pub(crate) pause: Duration,
    /// The place of the title.
    pub(crate) title: usize,
    /// Its first segment.
    pub(crate) first_segment: usize,
    /// Media that is watched; less, where the title ends before.
    pub(crate) stay: Duration,
    /// Another place that is asked for meanwhile.
    pub(crate) seek: Option<Seek>,
}

/// Another place in the title is asked for.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) struct Seek {
    /// After so much media was watched.
    pub(crate) after: Duration,
    /// The segment.
    pub(crate) to: usize,
}

impl Viewer {
    /// The viewers of an evening, who come one by one during the first `arrivals` of it.
    pub(crate) fn all(seed: u64, count: usize, arrivals: Duration) -> Vec<Self> {
        (0..count)
            .map(|number| {
                let mut random = Random::of(seed, &format!("viewer {number}"));
                let link = link(&mut random);
                let arrives_at = arrivals.mul_f64(random.unit());
                let carrier = if number.is_multiple_of(2) { Carrier::Query } else { Carrier::Fields };
                Self { seed, number, link, address: address(number), arrives_at, carrier }
            })
            .collect()
    }

    /// The session of that number, counted from 0.
    pub(crate) fn session(&self, catalogue: &Catalogue, number: usize) -> Session {
        let mut random = Random::of(self.seed, &format!("viewer {} session {number}", self.number));
        let title = catalogue.draw(&mut random);
        Session::draw(title, catalogue.segments(title), &mut random)
    }

    /// What the player calls the session of that number: a UUID (RFC 9562, version 4), as players do.
    pub(crate) fn session_name(&self, number: usize) -> String {
        let mut random = Random::of(self.seed, &format!("viewer {} name {number}", self.number));
        let (high, low) = (random.next(), random.next());
        format!(
            "{:08x}-{:04x}-4{:03x}-{:04x}-{:012x}",
            high >> 32,
            (high >> 16) & 0xffff,
            high & 0xfff,
            ((low >> 48) & 0x3fff) | 0x8000,
            low & 0xffff_ffff_ffff
        )
    }
}

impl Session {
    /// Some session of a title that has so many segments.
    pub(crate) fn draw(title: usize, segments: usize, random: &mut Random) -> Self {
        let pause = exponential(PAUSE_MEAN, random).min(PAUSE_MAX);
        let first_segment = if random.below(100) < RESUMED { random.below(segments.div_ceil(2)) } else { 0 };
        let stay = exponential(STAY_MEAN, random).clamp(STAY_MIN, STAY_MAX);
        let seek = (random.below(100) < WITH_SEEK)
            .then(|| Seek { after: stay.mul_f64(random.unit()), to: random.below(segments) });
        Self { pause, title, first_segment, stay, seek }
    }
}

/// The link of somebody.
pub(crate) fn link(random: &mut Random) -> u64 {
    let mut place = random.below(100) as u32;
    for (link, of_hundred) in LINKS {
        match place.checked_sub(of_hundred) {
            Some(rest) => place = rest,
            None => return link,
        }
    }
    LINKS[LINKS.len() - 1].0
}

/// Viewers next to each other are in networks next to each other: /24s, by which steering groups them.
fn address(number: usize) -> IpAddr {
    let [.., high, low] = (number as u32).to_be_bytes();
    IpAddr::V4(Ipv4Addr::new(10, high, low, 7))
}

fn exponential(mean: Duration, random: &mut Random) -> Duration {
    mean.mul_f64(-(1.0 - random.unit()).ln())
}

#[cfg(test)]
mod tests {
    use std::collections::HashSet;

    use super::*;
    use crate::catalogue::CatalogueSize;

    const SIZE: CatalogueSize =
        CatalogueSize { titles: 20, segments_min: 10, segments_max: 20, zipf: 1.0, seed: 7 };

    #[test]
    fn the_same_seed_gives_the_same_evening_and_another_another() {
        let catalogue = Catalogue::new(&SIZE);
        let evening = |seed| {
            let viewers = Viewer::all(seed, 50, Duration::from_secs(20));
            let sessions: Vec<Session> = viewers.iter().map(|one| one.session(&catalogue, 3)).collect();
            (viewers, sessions)
        };
        assert_eq!(evening(1), evening(1));
        assert_ne!(evening(1).1, evening(2).1);
    }

    #[test]
    fn viewers_come_during_the_arrivals_with_the_links_that_there_are() {
        let viewers = Viewer::all(1, 4000, Duration::from_secs(20));
        assert!(viewers.iter().all(|viewer| viewer.arrives_at < Duration::from_secs(20)));
        let late = viewers.iter().filter(|viewer| viewer.arrives_at > Duration::from_secs(10)).count();
        assert!((1800..2200).contains(&late), "{late}");
        for (link, of_hundred) in LINKS {
            let count = viewers.iter().filter(|viewer| viewer.link == link).count();
            assert!((count as f64 / 40.0 - f64::from(of_hundred)).abs() < 2.5, "{link}: {count}");
        }
        assert_eq!(LINKS.iter().map(|(_, of_hundred)| of_hundred).sum::<u32>(), 100);
    }

    #[test]
    fn sessions_lie_within_their_titles_and_bounds() {
        let catalogue = Catalogue::new(&SIZE);
        let viewers = Viewer::all(1, 1000, Duration::from_secs(20));
        let sessions: Vec<Session> = viewers.iter().map(|one| one.session(&catalogue, 0)).collect();
        for session in &sessions {
            let segments = catalogue.segments(session.title);
            assert!(session.first_segment < segments.div_ceil(2));
            assert!(session.stay >= STAY_MIN && session.stay <= STAY_MAX && session.pause <= PAUSE_MAX);
            assert!(session.seek.is_none_or(|seek| seek.to < segments && seek.after <= session.stay));
        }
        let seeks = sessions.iter().filter(|session| session.seek.is_some()).count();
        assert!((150..250).contains(&seeks), "{seeks}");
        let mean = sessions.iter().map(|one| one.stay.as_secs_f64()).sum::<f64>() / 1000.0;
        assert!((35.0..46.0).contains(&mean), "{mean}");
    }

    #[test]
    fn every_session_has_a_name_of_its_own_that_is_a_uuid() {
        let viewers = Viewer::all(1, 50, Duration::from_secs(20));
        let names: HashSet<String> =
            viewers.iter().flat_map(|viewer| (0..4).map(move |number| viewer.session_name(number))).collect();
        assert_eq!(names.len(), 200);
        for name in &names {
            let parts: Vec<&str> = name.split('-').collect();
            assert_eq!(parts.iter().map(|part| part.len()).collect::<Vec<_>>(), [8, 4, 4, 4, 12], "{name}");
            assert!(name.bytes().all(|byte| byte.is_ascii_hexdigit() || byte == b'-'), "{name}");
            assert!(parts[2].starts_with('4') && parts[3].starts_with(['8', '9', 'a', 'b']), "{name}");
        }
        let of_query = viewers.iter().filter(|viewer| viewer.carrier == Carrier::Query).count();
        assert_eq!(of_query, 25, "one half says it in the query, the other in fields");
    }

    #[test]
    fn viewers_have_networks_of_their_own() {
        assert_eq!(address(0).to_string(), "10.0.0.7");
        assert_eq!(address(257).to_string(), "10.1.1.7");
    }
}
