//! Forty nights of a region whose taste drifts, where titles are released and reports go missing: what is
//! held by the list carries almost as much of the next evening as what would be held by one who knew that
//! evening.

#![expect(clippy::unwrap_used, reason = "a test that fails says where")]

use std::f64::consts::TAU;

use control_client::content::BundlePath;
use control_client::fleet::TitleName;
use control_plane::popularity::{DAY_SECONDS, DayBytes, ReportedDay};
use control_plane::ranking::{Item, RankingInput, rank};

const FIRST_DAY: u32 = 20_000;
const NIGHTS: u32 = 40;
/// Nights that are not counted: the region is new.
const WARMING: u32 = 7;
const TITLES: usize = 400;
/// What viewers ask for on an evening, in bytes.
const EVENING_BYTES: f64 = 1e15;

/// The generator of splitmix64: the same region in every run.
struct Random(u64);

impl Random {
    fn uniform(&mut self) -> f64 {
        self.0 = self.0.wrapping_add(0x9e37_79b9_7f4a_7c15);
        let mut mixed = self.0;
        mixed = (mixed ^ (mixed >> 30)).wrapping_mul(0xbf58_476d_1ce4_e5b9);
        mixed = (mixed ^ (mixed >> 27)).wrapping_mul(0x94d0_49bb_1331_11eb);
        ((mixed ^ (mixed >> 31)) >> 11) as f64 / (1_u64 << 53) as f64
    }

    fn normal(&mut self) -> f64 {
        (-2.0 * (1.0 - self.uniform()).ln()).sqrt() * (TAU * self.uniform()).cos()
    }
}

struct Bundle {
    path: BundlePath,
    title: TitleName,
    bytes: u64,
    released_at: u64,
    /// How much it is liked, when it is old.
    liking: f64,
    demand: Vec<DayBytes>,
}

/// The first three quarters are old; of the rest one is released every other day or so.
fn region(random: &mut Random) -> Vec<Bundle> {
    (0..TITLES)
        .map(|number| {
            let day = if number < TITLES * 3 / 4 {
                FIRST_DAY - 200
            } else {
                FIRST_DAY + (random.uniform() * f64::from(NIGHTS)) as u32
            };
            Bundle {
                path: BundlePath::parse(&format!("/titles/{number}/1080p")).unwrap(),
                title: TitleName::parse(&format!("title-{number}")).unwrap(),
                bytes: 1_000_000_000 + (random.uniform() * 9e9) as u64,
                released_at: u64::from(day) * DAY_SECONDS,
                // Zipf's law, as far as so many titles reach.
                liking: 1.0 / (1.0 + random.uniform() * TITLES as f64),
                demand: vec![],
            }
        })
        .collect()
}

/// What is asked for on the evening of a day, by bundle.
fn evening(region: &[Bundle], day: u32, random: &mut Random) -> Vec<f64> {
    let wanted: Vec<f64> = region
        .iter()
        .map(|bundle| {
            let released = (bundle.released_at / DAY_SECONDS) as u32;
            let Some(age) = day.checked_sub(released) else { return 0.0 };
            let fading = 1.0 + 9.0 * (-f64::from(age) / 10.0).exp2();
            bundle.liking * fading * (0.2 * random.normal()).exp()
        })
        .collect();
    let all: f64 = wanted.iter().sum();
    wanted.into_iter().map(|wanted| wanted / all * EVENING_BYTES).collect()
}

/// The share of the evening that a fifth of the catalogue's bytes carries, filled in that order.
fn carried(region: &[Bundle], order: impl IntoIterator<Item = usize>, evening: &[f64]) -> f64 {
    let mut room = region.iter().map(|bundle| bundle.bytes).sum::<u64>() / 5;
    let mut carried = 0.0;
    for bundle in order {
        if let Some(left) = room.checked_sub(region[bundle].bytes) {
            room = left;
            carried += evening[bundle];
        }
    }
    carried / EVENING_BYTES
}

fn list(region: &[Bundle], reported: &[ReportedDay], day: u32) -> Vec<usize> {
    let items: Vec<Item<'_>> = region
        .iter()
        .map(|bundle| Item {
            path: &bundle.path,
            title: &bundle.title,
            bytes: bundle.bytes,
            tags: &[],
            similar_to: None,
            released_at: bundle.released_at,
            published_at: 0,
            expires_at: None,
            pinned: false,
            seasons: &[],
            demand: &bundle.demand,
        })
        .collect();
    // Two o'clock at night.
    let now = u64::from(day) * DAY_SECONDS + 2 * 3_600;
    let ranking = rank(&RankingInput { items: &items, reported, prewarm_seconds: 2 * DAY_SECONDS, now });
    ranking.ranked.into_iter().map(|ranked| ranked.item).collect()
}

/// By bytes of a day per byte stored, the highest first.
fn by_density(region: &[Bundle], bytes: &[f64]) -> Vec<usize> {
    let mut order: Vec<usize> = (0..region.len()).collect();
    let density = |bundle: usize| bytes[bundle] / region[bundle].bytes as f64;
    order.sort_by(|&left, &right| density(right).total_cmp(&density(left)));
    order
}

#[test]
fn the_list_carries_nearly_what_one_would_who_knew_the_evening() {
    let mut random = Random(1);
    let mut region = region(&mut random);
    let mut reported = Vec::new();
    let mut seen_last = vec![0.0; region.len()];
    let [mut best, mut ranked, mut yesterday] = [0.0; 3];
    for night in 0..NIGHTS {
        let day = FIRST_DAY + night;
        let order = list(&region, &reported, day);
        let evening = evening(&region, day, &mut random);
        if night >= WARMING {
            best += carried(&region, by_density(&region, &evening), &evening);
            ranked += carried(&region, order, &evening);
            yesterday += carried(&region, by_density(&region, &seen_last), &evening);
        }
        // One day in eight nobody reports, and on the others some appliances do not.
        let share = if random.uniform() < 0.125 { 0.0 } else { 0.6 + 0.4 * random.uniform() };
        reported.push(ReportedDay { day, share });
        for (bundle, wanted) in region.iter_mut().zip(&evening) {
            bundle.demand.push(DayBytes { day, bytes: (wanted * share) as u64 });
            bundle.liking *= (0.1 * random.normal()).exp();
        }
        seen_last = evening.iter().map(|wanted| wanted * share).collect();
    }
    let nights = f64::from(NIGHTS - WARMING);
    let told = format!(
        "of an evening, {:.3} is carried; {:.3} could be; {:.3} by yesterday's order",
        ranked / nights,
        best / nights,
        yesterday / nights
    );
    println!("{told}");
    assert!(ranked >= 0.95 * best, "{told}");
    assert!(ranked > yesterday, "{told}");
}
