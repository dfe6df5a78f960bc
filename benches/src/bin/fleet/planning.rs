//! What a plan costs: the list of one region, and placing it on the appliances of one site.

use std::error::Error;
use std::hint::black_box;
use std::time::{Duration, Instant};

use control_client::content::{BundlePath, NameError};
use control_client::fleet::{ApplianceName, FleetNameError, TitleName};
use control_plane::assignment::{Shelf, Wanted, assign, copies, stored_bytes_max};
use control_plane::popularity::{DAY_SECONDS, DAYS, DayBytes, ReportedDay};
use control_plane::ranking::{Item, Ranking, RankingInput, rank};

use crate::Scale;
use crate::random::Random;
use crate::table::Table;

/// Midnight of the day of the plan, counted from 1970-01-01.
const TODAY: u32 = 20_000;
const OBJECTS: u64 = 500;
const PER_TITLE: usize = 8;

struct Made {
    paths: Vec<BundlePath>,
    titles: Vec<TitleName>,
    bytes: Vec<u64>,
    tags: Vec<Vec<String>>,
    demand: Vec<Vec<DayBytes>>,
}

pub(crate) fn measure(scale: &Scale) -> Result<Table, Box<dyn Error>> {
    let made = make(scale.bundles as usize)?;
    let items = items(&made);
    let reported: Vec<ReportedDay> =
        (TODAY - DAYS + 1..TODAY).map(|day| ReportedDay { day, share: 1.0 }).collect();
    let now = u64::from(TODAY) * DAY_SECONDS;
    let input = RankingInput { items: &items, reported: &reported, prewarm_seconds: 2 * DAY_SECONDS, now };
    let mut ranking = Ranking::default();
    let ranked_in = shortest(|| ranking = black_box(rank(black_box(&input))));
    let names = (0..scale.appliances_per_site)
        .map(|number| ApplianceName::parse(&format!("oca-{number}")))
        .collect::<Result<Vec<_>, FleetNameError>>()?;
    // Together they hold the catalogue one and a half times.
    let capacity_bytes = made.bytes.iter().sum::<u64>() * 3 / 2 / names.len() as u64;
    let shelves: Vec<Shelf<'_>> = names.iter().map(|name| Shelf { name, capacity_bytes }).collect();
    let total = ranking.ranked.iter().map(|ranked| ranked.score).sum();
    let list: Vec<Wanted<'_>> = ranking
        .ranked
        .iter()
        .map(|ranked| {
            let item = &items[ranked.item];
            let copies = copies(ranked.score, total, shelves.len());
            Wanted { title: item.title, stored_bytes: stored_bytes_max(item.bytes, OBJECTS), copies }
        })
        .collect();
    let mut holders = 0;
    let placed_in =
        shortest(|| holders = black_box(assign(&list, &shelves)).holders.iter().map(Vec::len).sum());
    let mut table = Table::new(format!(
        "A plan for {} bundles with {} days of demand, and a site of {} appliances that hold them one and a half times",
        items.len(),
        DAYS - 1,
        shelves.len()
    ));
    table.add("rank_millis", "ranking them for one region", ranked_in.as_secs_f64() * 1e3, "ms");
    table.add("assign_millis", "placing them on one site", placed_in.as_secs_f64() * 1e3, "ms");
    table.add("copies", "copies of a bundle, on average", holders as f64 / items.len() as f64, "");
    Ok(table)
}

/// The shortest of three runs: what is measured does not depend on chance, what disturbs it does.
fn shortest(mut work: impl FnMut()) -> Duration {
    let run = |_| {
        let began = Instant::now();
        work();
        began.elapsed()
    };
    (0..3).map(run).min().unwrap_or_default()
}

fn make(bundles: usize) -> Result<Made, Box<dyn Error>> {
    let mut random = Random::new(3);
    let path = |number| BundlePath::parse(&format!("/titles/{}/{}", number / PER_TITLE, number % PER_TITLE));
    let title = |number| TitleName::parse(&format!("title-{}", number / PER_TITLE));
    let paths = (0..bundles).map(path).collect::<Result<_, NameError>>()?;
    let titles = (0..bundles).map(title).collect::<Result<_, FleetNameError>>()?;
    let bytes = (0..bundles).map(|_| 100_000_000 + random.below(900_000_000)).collect();
    let tags = (0..bundles)
        .map(|number| {
            vec![format!("genre-{}", number / PER_TITLE % 30), format!("series-{}", number / PER_TITLE / 10)]
        })
        .collect();
    let demand = (0..bundles)
        .map(|place| {
            let popular = 1_000_000_000_000 / (1 + place as u64);
            let day = |day| DayBytes { day, bytes: popular / 2 + random.below(popular.max(1)) };
            (TODAY - DAYS + 1..TODAY).map(day).collect()
        })
        .collect();
    Ok(Made { paths, titles, bytes, tags, demand })
}

fn items(made: &Made) -> Vec<Item<'_>> {
    let item = |place: usize| Item {
        path: &made.paths[place],
        title: &made.titles[place],
        bytes: made.bytes[place],
        tags: &made.tags[place],
        similar_to: None,
        released_at: u64::from(TODAY - 300) * DAY_SECONDS,
        published_at: u64::from(TODAY - 300) * DAY_SECONDS,
        expires_at: None,
        pinned: false,
        seasons: &[],
        demand: &made.demand[place],
    };
    (0..made.paths.len()).map(item).collect()
}
