//! Ranking, whatever the demand: never negative, never not a number, more demand never means less, and the
//! same every time.

#![expect(clippy::unwrap_used, reason = "a test that fails says where")]

use control_client::content::BundlePath;
use control_client::fleet::TitleName;
use control_plane::popularity::{DAY_SECONDS, DayBytes, ReportedDay};
use control_plane::ranking::{Item, Ranked, Ranking, RankingInput, Season, rank};
use proptest::prelude::*;

const TODAY: u32 = 20_000;
const TAGS: [&str; 3] = ["crown", "news", "kids"];

#[derive(Clone, Debug)]
struct Made {
    title: usize,
    bytes: u64,
    tags: Vec<String>,
    similar_to: Option<TitleName>,
    released_at: u64,
    published_at: u64,
    expires_at: Option<u64>,
    pinned: bool,
    seasons: Vec<Season>,
    demand: Vec<DayBytes>,
}

fn day_bytes(bytes: impl Strategy<Value = u64>) -> impl Strategy<Value = DayBytes> {
    (TODAY - 40..=TODAY + 2, bytes).prop_map(|(day, bytes)| DayBytes { day, bytes })
}

fn made(bytes_max: u64) -> impl Strategy<Value = Made> {
    let catalogue = (
        0..6_usize,
        prop_oneof![Just(0_u64), 1..=bytes_max],
        prop::sample::subsequence(&TAGS[..], 0..=3),
        prop::option::of(0..6_usize),
    );
    let times = (
        (TODAY - 400..TODAY + 10).prop_map(|day| u64::from(day) * DAY_SECONDS + 3_600),
        (TODAY - 400..=TODAY).prop_map(|day| u64::from(day) * DAY_SECONDS),
        prop::option::weighted(0.1, (TODAY - 5..TODAY + 50).prop_map(|day| u64::from(day) * DAY_SECONDS)),
        prop::bool::weighted(0.1),
        prop::bool::weighted(0.2),
    );
    let demand = prop::collection::vec(day_bytes(prop_oneof![Just(0), 1..=bytes_max]), 0..20);
    (catalogue, times, demand).prop_map(
        |(
            (title, bytes, tags, similar),
            (released_at, published_at, expires_at, pinned, has_season),
            demand,
        )| Made {
            title,
            bytes,
            tags: tags.into_iter().map(str::to_owned).collect(),
            similar_to: similar.map(title_name),
            released_at,
            published_at,
            expires_at,
            pinned,
            seasons: if has_season { vec!["11-01..01-31 x4.5".parse().unwrap()] } else { vec![] },
            demand,
        },
    )
}

fn reported(share: impl Strategy<Value = f64>) -> impl Strategy<Value = Vec<ReportedDay>> {
    let day = (TODAY - 40..=TODAY + 2, share).prop_map(|(day, share)| ReportedDay { day, share });
    prop::collection::vec(day, 0..40)
}

fn title_name(number: usize) -> TitleName {
    TitleName::parse(&format!("title-{number}")).unwrap()
}

/// The list by path, as scores and order, so that the order of the input shows nowhere.
fn list(
    made: &[Made],
    reported: &[ReportedDay],
    order: &[usize],
    seconds_of_today: u64,
) -> (Ranking, Vec<String>) {
    let names: Vec<(BundlePath, TitleName)> = made
        .iter()
        .enumerate()
        .map(|(place, made)| {
            let rung = ["1080p", "720p"][place % 2];
            let path = BundlePath::parse(&format!("/titles/{}/{place}/{rung}", made.title)).unwrap();
            (path, title_name(made.title))
        })
        .collect();
    let items: Vec<Item<'_>> = order
        .iter()
        .map(|&place| Item {
            path: &names[place].0,
            title: &names[place].1,
            bytes: made[place].bytes,
            tags: &made[place].tags,
            similar_to: made[place].similar_to.as_ref(),
            released_at: made[place].released_at,
            published_at: made[place].published_at,
            expires_at: made[place].expires_at,
            pinned: made[place].pinned,
            seasons: &made[place].seasons,
            demand: &made[place].demand,
        })
        .collect();
    let now = u64::from(TODAY) * DAY_SECONDS + seconds_of_today;
    let ranking = rank(&RankingInput { items: &items, reported, prewarm_seconds: 3 * DAY_SECONDS, now });
    let told = ranking
        .ranked
        .iter()
        .map(|ranked| {
            format!("{} {:?} {} {}", items[ranked.item].path, ranked.class, ranked.score, ranked.components)
        })
        .collect();
    (ranking, told)
}

fn in_order(made: &[Made]) -> Vec<usize> {
    (0..made.len()).collect()
}

proptest! {
    #[test]
    fn every_part_of_every_score_is_a_number_that_is_not_negative(
        made in prop::collection::vec(made(u64::MAX), 0..20),
        reported in reported(prop::num::f64::ANY),
        seconds in 0..DAY_SECONDS,
    ) {
        let (ranking, _) = list(&made, &reported, &in_order(&made), seconds);
        for ranked in &ranking.ranked {
            let parts = ranked.components;
            for part in [
                ranked.per_byte, parts.history, parts.trend, parts.prediction, parts.evidence,
                parts.similar_per_byte, parts.release, parts.season, parts.expected(),
            ] {
                prop_assert!(part.is_finite() && part >= 0.0, "{ranked:?}");
            }
            prop_assert!(parts.evidence <= 1.0 && parts.release <= 1.0);
        }
        prop_assert_eq!(ranking.ranked.len() + ranking.left_out.len(), made.len(), "everything is in the list or left out");
        let rank_of = |ranked: &Ranked| (ranked.class, -ranked.per_byte);
        let is_sorted = ranking.ranked.is_sorted_by(|left, right| rank_of(left) <= rank_of(right));
        prop_assert!(is_sorted, "by class, then by expected bytes per byte stored");
    }

    #[test]
    fn more_demand_never_means_a_lower_score(
        made in prop::collection::vec(made(1 << 45), 1..20),
        reported in reported(0.0..=1.0),
        seconds in 0..DAY_SECONDS,
        pick: prop::sample::Index,
        more in day_bytes(1..1_u64 << 45),
    ) {
        let watched = pick.index(made.len());
        let (before, _) = list(&made, &reported, &in_order(&made), seconds);
        let mut raised = made.clone();
        raised[watched].demand.push(more);
        let (after, _) = list(&raised, &reported, &in_order(&made), seconds);
        let expected = |ranking: &Ranking| {
            ranking.ranked.iter().find(|ranked| ranked.item == watched).map(|ranked| ranked.components.expected())
        };
        if let (Some(before), Some(after)) = (expected(&before), expected(&after)) {
            // Sums of many numbers may differ by a rounding.
            prop_assert!(after >= before * (1.0 - 1e-9), "{before} {after}");
        }
        prop_assert_eq!(before.left_out, after.left_out);
    }

    #[test]
    fn the_list_does_not_depend_on_the_order_of_the_bundles(
        (made, order) in prop::collection::vec(made(1 << 45), 0..20)
            .prop_flat_map(|made| { let order = in_order(&made); (Just(made), Just(order).prop_shuffle()) }),
        reported in reported(0.0..=1.0),
        seconds in 0..DAY_SECONDS,
    ) {
        let (_, told) = list(&made, &reported, &in_order(&made), seconds);
        prop_assert_eq!(&told, &list(&made, &reported, &in_order(&made), seconds).1);
        prop_assert_eq!(&told, &list(&made, &reported, &order, seconds).1);
    }
}
