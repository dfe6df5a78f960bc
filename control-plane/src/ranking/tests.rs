use super::*;

const NOW: u64 = 20_000 * DAY_SECONDS;
const GB: u64 = 1_000_000_000;

struct Made {
    path: BundlePath,
    title: TitleName,
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

/// A bundle of 10 GB, released 100 days ago, of which `daily` bytes were served on each of the last 14 days.
fn made(title: &str, daily: u64) -> Made {
    Made {
        path: BundlePath::parse(&format!("/titles/{title}/1080p")).unwrap(),
        title: TitleName::parse(title).unwrap(),
        bytes: 10 * GB,
        tags: vec![],
        similar_to: None,
        released_at: NOW - 100 * DAY_SECONDS,
        published_at: NOW - 100 * DAY_SECONDS,
        expires_at: None,
        pinned: false,
        seasons: vec![],
        demand: (19_986..20_000).map(|day| DayBytes { day, bytes: daily }).collect(),
    }
}

fn ranked(made: &[Made]) -> Ranking {
    let reported: Vec<_> = (19_986..20_000).map(|day| ReportedDay { day, share: 1.0 }).collect();
    let items: Vec<_> = made
        .iter()
        .map(|made| Item {
            path: &made.path,
            title: &made.title,
            bytes: made.bytes,
            tags: &made.tags,
            similar_to: made.similar_to.as_ref(),
            released_at: made.released_at,
            published_at: made.published_at,
            expires_at: made.expires_at,
            pinned: made.pinned,
            seasons: &made.seasons,
            demand: &made.demand,
        })
        .collect();
    rank(&RankingInput { items: &items, reported: &reported, prewarm_seconds: 3 * DAY_SECONDS, now: NOW })
}

fn order<'a>(ranking: &Ranking, made: &'a [Made]) -> Vec<&'a str> {
    ranking.ranked.iter().map(|ranked| made[ranked.item].title.as_str()).collect()
}

fn of<'a>(ranking: &'a Ranking, made: &[Made], title: &str) -> &'a Ranked {
    ranking.ranked.iter().find(|ranked| made[ranked.item].title.as_str() == title).unwrap()
}

#[test]
fn what_is_watched_more_per_byte_stored_comes_first() {
    let mut small = made("small", 4 * GB);
    small.bytes = GB;
    let made = [made("little", GB), made("much", 5 * GB), small];
    let ranking = ranked(&made);
    assert_eq!(order(&ranking, &made), ["small", "much", "little"]);
    assert!(of(&ranking, &made, "much").score > of(&ranking, &made, "small").score);
}

#[test]
fn the_score_is_half_history_three_tenths_trend_and_two_tenths_prediction() {
    let made = [made("one", 3 * GB), made("two", 5 * GB)];
    let ranking = ranked(&made);
    let one = of(&ranking, &made, "one");
    let parts = one.components;
    assert!((parts.history - 3e9).abs() < 1.0 && (parts.trend - 3e9).abs() < 1.0, "{parts:?}");
    let expected = 0.5 * parts.history + 0.3 * parts.trend + 0.2 * parts.prediction;
    assert_eq!(one.score, expected.round() as u64);
    let told = parts.to_string();
    assert!(told.contains("0.5 × history 3000000000 + 0.3 × trend 3000000000 + 0.2 × prediction"), "{told}");
    assert!(told.ends_with("100 % seen, the rest predicted"), "{told}");
}

#[test]
fn pinned_titles_come_first_then_those_released_soon_then_the_rest() {
    let mut pinned = made("pinned", 0);
    pinned.pinned = true;
    let mut soon = made("soon", 0);
    soon.demand.clear();
    soon.released_at = NOW + 2 * DAY_SECONDS;
    let mut later = made("later", 0);
    later.released_at = NOW + 4 * DAY_SECONDS;
    let mut ended = made("ended", 9 * GB);
    ended.expires_at = Some(NOW);
    let made = [made("watched", 9 * GB), later, ended, soon, pinned];
    let ranking = ranked(&made);
    assert_eq!(order(&ranking, &made), ["pinned", "soon", "watched"]);
    assert_eq!(ranking.ranked[1].class, FillClass::Prewarm);
    assert_eq!(
        ranking.left_out,
        [(2, LeftOut::Expired { at: NOW }), (1, LeftOut::ReleasedLater { at: NOW + 4 * DAY_SECONDS })]
    );
}

#[test]
fn a_new_title_is_expected_to_do_as_similar_ones_did() {
    let tagged =
        |title: &str, tag: &str, daily: u64| Made { tags: vec![tag.to_owned()], ..made(title, daily) };
    let new = |title: &str, tag: &str| Made { released_at: NOW, demand: vec![], ..tagged(title, tag, 0) };
    let made = [
        tagged("crown-1", "crown", 8 * GB),
        tagged("crown-2", "crown", 8 * GB),
        tagged("news-1", "news", GB / 10),
        tagged("news-2", "news", GB / 10),
        new("crown-3", "crown"),
        new("news-3", "news"),
    ];
    let ranking = ranked(&made);
    let (crown, news) = (of(&ranking, &made, "crown-3"), of(&ranking, &made, "news-3"));
    assert_eq!(crown.components.evidence, 0.0);
    assert!(2 * crown.score > 3 * news.score, "{crown:?} {news:?}");
    assert!(
        crown.score > of(&ranking, &made, "crown-2").score,
        "a release is watched more than what is 100 days old"
    );
}

#[test]
fn a_title_that_an_operator_says_is_like_another_is_expected_to_do_as_that_did() {
    let new = |title: &str, like: &str| Made {
        similar_to: Some(TitleName::parse(like).unwrap()),
        released_at: NOW + DAY_SECONDS,
        demand: vec![],
        ..made(title, 0)
    };
    let made = [
        made("great", 20 * GB),
        made("small", GB / 10),
        new("like-great", "great"),
        new("like-small", "small"),
    ];
    let ranking = ranked(&made);
    assert!(of(&ranking, &made, "like-great").score > 2 * of(&ranking, &made, "like-small").score);
}

#[test]
fn a_region_that_nobody_has_reported_from_yet_has_a_list_nevertheless() {
    let titles = [made("one", 0), made("two", 0)];
    let items: Vec<_> = titles
        .iter()
        .map(|made| Item {
            path: &made.path,
            title: &made.title,
            bytes: made.bytes,
            tags: &[],
            similar_to: None,
            released_at: NOW - DAY_SECONDS,
            published_at: NOW - DAY_SECONDS,
            expires_at: None,
            pinned: false,
            seasons: &[],
            demand: &[],
        })
        .collect();
    let ranking = rank(&RankingInput { items: &items, reported: &[], prewarm_seconds: 0, now: NOW });
    assert_eq!(ranking.ranked.len(), 2);
    assert!(ranking.ranked.iter().all(|ranked| ranked.score > 0 && ranked.components.evidence == 0.0));
}

#[test]
fn days_before_an_old_title_came_into_the_catalogue_are_no_zeros() {
    let mut licensed = made("licensed", 0);
    licensed.published_at = NOW - 2 * DAY_SECONDS;
    licensed.demand = [19_998, 19_999].into_iter().map(|day| DayBytes { day, bytes: 5 * GB }).collect();
    let made = [licensed, made("old", 4 * GB)];
    let ranking = ranked(&made);
    let licensed = of(&ranking, &made, "licensed").components;
    assert!(licensed.history > of(&ranking, &made, "old").components.history, "{licensed:?}");
    assert!((licensed.evidence - 2.0 / 3.0).abs() < 1e-9 && licensed.release < 0.2, "{licensed:?}");
}

#[test]
fn a_season_raises_what_is_expected() {
    let mut festive = made("festive", GB);
    festive.seasons = vec!["01-01..12-31 x3".parse().unwrap()];
    let made = [festive, made("plain", GB)];
    let ranking = ranked(&made);
    let (festive, plain) = (of(&ranking, &made, "festive"), of(&ranking, &made, "plain"));
    assert!((festive.components.season - 3.0 * plain.components.season).abs() < 1e-9);
    assert!(festive.score > plain.score);
}

#[test]
fn what_is_alike_is_watched_on_the_same_weekdays() {
    // The list is for the evening of day 20,000; what is for children is watched on that weekday only, twice
    // in the last two weeks.
    let weekly = |title: &str, tag: &str| Made {
        tags: vec![tag.to_owned()],
        demand: [19_986, 19_993].into_iter().map(|day| DayBytes { day, bytes: 2 * GB }).collect(),
        ..made(title, 0)
    };
    let daily = |title: &str, tag: &str| Made { tags: vec![tag.to_owned()], ..made(title, GB) };
    let made = [
        weekly("kids-1", "kids"),
        weekly("kids-2", "kids"),
        weekly("kids-3", "kids"),
        daily("drama-1", "drama"),
        daily("drama-2", "drama"),
        daily("drama-3", "drama"),
        daily("drama-4", "drama"),
        daily("drama-5", "drama"),
        daily("drama-6", "drama"),
    ];
    let ranking = ranked(&made);
    let season = |title: &str| of(&ranking, &made, title).components.season;
    assert!(season("kids-1") > 1.2 * season("drama-1"), "{} {}", season("kids-1"), season("drama-1"));
}
