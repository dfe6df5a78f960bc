use proptest::prelude::*;

use super::*;

fn window(daily: &str, zone: &str) -> FillWindow {
    let daily: DailyWindow = daily.parse().unwrap();
    FillWindow::new(daily, zone, Duration::ZERO, "oca-1").unwrap()
}

fn at(text: &str) -> Timestamp {
    text.parse().unwrap()
}

/// Every opening and closing from one moment to another, as the service meets them.
fn changes(window: &FillWindow, from: &str, until: &str) -> Vec<(String, String)> {
    let (mut now, until) = (at(from), at(until));
    let mut changes = Vec::new();
    while now < until {
        now = match window.at(now) {
            WindowState::Closed { opens_at } => opens_at,
            WindowState::Open { until: closes, .. } => {
                changes.push((now.to_string(), closes.to_string()));
                closes
            }
        };
    }
    changes
}

fn pairs(times: &[(&str, &str)]) -> Vec<(String, String)> {
    times.iter().map(|(opens, closes)| ((*opens).to_owned(), (*closes).to_owned())).collect()
}

#[test]
fn it_is_open_from_its_beginning_up_to_but_not_at_its_end() {
    let window = window("02:00-14:00", "Europe/Berlin");
    let (opens, closes) = (at("2026-01-15T01:00:00Z"), at("2026-01-15T13:00:00Z"));
    let open = WindowState::Open { night: opens, until: closes };
    assert_eq!(window.at(opens), open);
    assert_eq!(window.at(at("2026-01-15T12:59:59.999999999Z")), open);
    assert_eq!(window.at(closes), WindowState::Closed { opens_at: at("2026-01-16T01:00:00Z") });
    assert_eq!(window.at(at("2026-01-15T00:59:59Z")), WindowState::Closed { opens_at: opens });
}

#[test]
fn a_window_over_midnight_is_one_night() {
    let window = window("22:00-06:00", "UTC");
    let night = at("2026-05-01T22:00:00Z");
    for now in
        ["2026-05-01T22:00:00Z", "2026-05-01T23:59:59Z", "2026-05-02T00:00:00Z", "2026-05-02T05:59:59Z"]
    {
        assert_eq!(
            window.at(at(now)),
            WindowState::Open { night, until: at("2026-05-02T06:00:00Z") },
            "{now}"
        );
    }
}

#[test]
fn the_whole_day_is_open_always_and_a_night_begins_at_each_midnight() {
    let daily: DailyWindow = "00:00-24:00".parse().unwrap();
    let window = FillWindow::new(daily, "UTC", Duration::from_secs(3600), "oca-1").unwrap();
    let midnight = at("2026-05-02T00:00:00Z");
    let before = WindowState::Open { night: at("2026-05-01T00:00:00Z"), until: midnight };
    assert_eq!(window.at(at("2026-05-01T23:59:59Z")), before);
    assert_eq!(window.at(midnight), WindowState::Open { night: midnight, until: at("2026-05-03T00:00:00Z") });
}

/// In Berlin, on 29 March 2026, the clock goes from 02:00 to 03:00.
#[test]
fn when_daylight_saving_time_begins_a_skipped_boundary_is_the_moment_of_the_skip() {
    let skip = "2026-03-29T01:00:00Z";
    for (daily, opens, closes) in [
        ("02:00-14:00", skip, "2026-03-29T12:00:00Z"),
        ("02:30-14:00", skip, "2026-03-29T12:00:00Z"),
        ("01:00-02:30", "2026-03-29T00:00:00Z", skip),
        ("00:00-06:00", "2026-03-28T23:00:00Z", "2026-03-29T04:00:00Z"),
    ] {
        let found = changes(&window(daily, "Europe/Berlin"), "2026-03-28T22:30:00Z", "2026-03-29T20:00:00Z");
        assert_eq!(found, pairs(&[(opens, closes)]), "{daily}");
    }
}

#[test]
fn a_window_that_the_clock_skips_is_not_that_night() {
    let window = window("02:10-02:50", "Europe/Berlin");
    let next = WindowState::Closed { opens_at: at("2026-03-30T00:10:00Z") };
    assert_eq!(window.at(at("2026-03-29T00:59:59Z")), next);
    assert_eq!(window.at(at("2026-03-29T01:00:00Z")), next);
}

/// In Berlin, on 25 October 2026, the clock goes from 03:00 back to 02:00.
#[test]
fn when_daylight_saving_time_ends_it_is_open_once_and_never_outside_its_local_times() {
    let (first_half_past, set_back) = ("2026-10-25T00:30:00Z", "2026-10-25T01:00:00Z");
    for (daily, opens, closes) in [
        // The clock is set back to the beginning itself: the night has 13 hours.
        ("02:00-14:00", "2026-10-25T00:00:00Z", "2026-10-25T13:00:00Z"),
        // Set back to before the beginning: it begins the second time.
        ("02:30-14:00", "2026-10-25T01:30:00Z", "2026-10-25T13:00:00Z"),
        ("00:00-02:30", "2026-10-24T22:00:00Z", first_half_past),
        ("00:00-03:00", "2026-10-24T22:00:00Z", "2026-10-25T02:00:00Z"),
        ("02:10-02:50", "2026-10-25T00:10:00Z", "2026-10-25T00:50:00Z"),
    ] {
        let found = changes(&window(daily, "Europe/Berlin"), "2026-10-24T21:00:00Z", "2026-10-25T20:00:00Z");
        assert_eq!(found, pairs(&[(opens, closes)]), "{daily}");
    }
    assert!(at(set_back) > at(first_half_past));
}

/// Samoa had no 30 December 2011.
#[test]
fn a_date_that_does_not_exist_has_no_window() {
    let found =
        changes(&window("02:00-14:00", "Pacific/Apia"), "2011-12-29T11:00:00Z", "2011-12-31T12:00:00Z");
    let (thursday, saturday) = (("2011-12-29T12:00:00Z", "2011-12-30T00:00:00Z"), "2011-12-30T12:00:00Z");
    assert_eq!(found, pairs(&[thursday, (saturday, "2011-12-31T00:00:00Z")]));
}

#[test]
fn jitter_is_the_same_all_night_another_for_each_appliance_and_never_opens_it_early() {
    let daily: DailyWindow = "02:00-14:00".parse().unwrap();
    let jitter = Duration::from_secs(600);
    let opening = |appliance: &str, now: &str| {
        let window = FillWindow::new(daily, "UTC", jitter, appliance).unwrap();
        let WindowState::Closed { opens_at } = window.at(at(now)) else { panic!("open at {now}") };
        assert_eq!(window.night_of(opens_at).to_string()[11..], *"02:00:00Z");
        opens_at.as_second() - at("2026-05-01T02:00:00Z").as_second()
    };
    let midnight = "2026-05-01T00:00:00Z";
    let openings: Vec<i64> = (0..200).map(|number| opening(&format!("oca-{number}"), midnight)).collect();
    assert!(openings.iter().all(|seconds| (0..=600).contains(seconds)), "{openings:?}");
    // Every minute of the ten has some of them.
    assert!((0..10).all(|minute| openings.iter().any(|seconds| seconds / 60 == minute)), "{openings:?}");
    assert_eq!(opening("oca-7", midnight), openings[7]);
    let days: Vec<i64> =
        (2..9).map(|day| opening("oca-7", &format!("2026-05-0{day}T00:00:00Z")) % 86_400).collect();
    assert!(days.iter().any(|seconds| *seconds != days[0]), "{days:?}");
}

#[test]
fn a_run_by_hand_belongs_to_the_night_that_began_last() {
    let window = window("02:00-06:00", "UTC");
    assert_eq!(window.night_of(at("2026-05-01T20:00:00Z")), at("2026-05-01T02:00:00Z"));
    assert_eq!(window.night_of(at("2026-05-02T01:59:59Z")), at("2026-05-01T02:00:00Z"));
    assert_eq!(window.night_of(at("2026-05-02T02:00:00Z")), at("2026-05-02T02:00:00Z"));
}

#[test]
fn an_unknown_time_zone_is_refused_in_the_operators_words() {
    let daily: DailyWindow = "02:00-06:00".parse().unwrap();
    let error = FillWindow::new(daily, "Europe/Berln", Duration::ZERO, "oca-1").unwrap_err().to_string();
    assert!(error.starts_with("there is no time zone \"Europe/Berln\""), "{error}");
    assert!(error.ends_with("write \"system\", or a name like \"Europe/Berlin\""), "{error}");
}

const ZONES: [&str; 8] = [
    "UTC",
    "Europe/Berlin",
    "America/New_York",
    "Australia/Lord_Howe",
    "America/Sao_Paulo",
    "Africa/Cairo",
    "Asia/Kathmandu",
    "Pacific/Apia",
];

proptest! {
    #[test]
    fn it_is_open_only_while_the_clock_shows_a_time_inside_and_what_it_says_of_changes_comes_true(
        zone in 0..ZONES.len(),
        opens in 0..1440_u16,
        closes in 0..=1440_u16,
        now in 1_000_000_000..2_000_000_000_i64,
        jitter in 0..7200_u64,
    ) {
        prop_assume!(opens != closes);
        let daily = DailyWindow::new(opens, closes).unwrap();
        let window = FillWindow::new(daily, ZONES[zone], Duration::from_secs(jitter), "oca-1").unwrap();
        let time_zone = TimeZone::get(ZONES[zone]).unwrap();
        let inside = |moment: Timestamp| {
            let local = time_zone.to_datetime(moment);
            let minute = local.hour() as u16 * 60 + local.minute() as u16;
            if opens < closes { (opens..closes).contains(&minute) } else { minute >= opens || minute < closes }
        };
        let now = Timestamp::from_second(now).unwrap();
        let just_before = |moment: Timestamp| moment.checked_sub(SignedDuration::from_secs(1)).unwrap();
        match window.at(now) {
            WindowState::Open { night, until } => {
                prop_assert!(inside(now));
                prop_assert!(night <= now && now < until);
                prop_assert_eq!(window.night_of(now), night);
                prop_assert_eq!(window.at(just_before(until)), WindowState::Open { night, until });
                prop_assert_ne!(window.at(until), WindowState::Open { night, until });
            }
            WindowState::Closed { opens_at } => {
                prop_assert!(now < opens_at);
                prop_assert!(inside(opens_at));
                let opened = matches!(window.at(opens_at), WindowState::Open { .. });
                prop_assert!(opened);
                prop_assert_eq!(window.at(just_before(opens_at).max(now)), WindowState::Closed { opens_at });
                prop_assert!(opens_at.duration_since(now) <= SignedDuration::from_hours(51));
            }
        }
    }
}
