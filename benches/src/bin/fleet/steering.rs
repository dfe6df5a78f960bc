//! Steering decisions on one thread: alone, and beside a writer that brings the reports of the whole fleet.

use std::error::Error;
use std::hint::black_box;
use std::net::{IpAddr, Ipv4Addr, Ipv6Addr};
use std::sync::atomic::{AtomicBool, Ordering};
use std::time::{Duration, Instant};

use control_client::content::{BundleKey, BundlePath, Generation};
use control_client::fleet::{ApplianceName, RegionName, SiteName};
use control_client::report::{HeldBundle, InventoryReport};
use control_plane::fleet::{Fleet, MemberUpdate, SiteFacts};
use control_plane::hysteresis::Standing;
use control_plane::steering::{Question, Utilisation};
use ipnet::{IpNet, Ipv4Net, Ipv6Net};
use roaring::RoaringBitmap;

use crate::Scale;
use crate::memory::resident_bytes;
use crate::random::Random;
use crate::table::{Table, per_mille};

/// Prefixes of each site: so many of IPv4, and a quarter as many of IPv6.
const PREFIXES_PER_SITE: u32 = 16;

/// Questions that are made before the clock runs, and asked over and over: more than any cache of the
/// processor holds.
const QUESTIONS: usize = 1 << 17;

/// One decision of so many is timed alone.
const TIMED_EVERY: usize = 16;

/// Reports per second of 10,000 appliances that report every minute.
const REPORTS_PER_SECOND: f64 = 10_000.0 / 60.0;

struct Made {
    fleet: Fleet,
    paths: Vec<BundlePath>,
    appliances: Vec<ApplianceName>,
    questions: Vec<(IpAddr, u32)>,
}

pub(crate) fn measure(scale: &Scale) -> Result<Table, Box<dyn Error>> {
    let before = resident_bytes()?;
    let began = Instant::now();
    let made = make(scale)?;
    let size = made.fleet.size();
    let mut table = Table::new(format!(
        "Steering among {} appliances at {} sites, {} bundles in the catalogue, {} held by each on average",
        size.appliances,
        size.sites,
        size.bundles,
        size.held_bundles / size.appliances.max(1) as u64
    ));
    table.add("build_seconds", "building the fleet", began.elapsed().as_secs_f64(), "s");
    table.add("inventory_megabytes", "memory of all inventories", size.inventory_bytes as f64 / 1e6, "MB");
    table.add(
        "resident_megabytes",
        "memory of all of it (resident, grown)",
        (resident_bytes()? - before) as f64 / 1e6,
        "MB",
    );
    let alone = decide(&made, scale.duration);
    table.add(
        "decisions_per_second",
        "decisions per second on one core",
        alone.per_second,
        "/s (promised: 100,000)",
    );
    table.add("decision_p50_micros", "a decision, median", alone.p50, "µs");
    table.add("decision_p99_micros", "a decision, 99 of 100", alone.p99, "µs");
    table.add("candidates", "appliances in an answer, on average", alone.candidates, "");
    let (beside, writer) = decide_beside(&made, scale.duration, Some(REPORTS_PER_SECOND))?;
    let what = "decisions per second beside 10,000 reports a minute";
    table.add("decisions_per_second_beside_reports", what, beside.per_second, "/s (promised: 100,000)");
    table.add("decision_p99_micros_beside_reports", "a decision beside these, 99 of 100", beside.p99, "µs");
    table.add("update_micros", "taking a report into the fleet, on average", writer.micros_per_update, "µs");
    let (storm, writer) = decide_beside(&made, scale.duration, None)?;
    table.add(
        "updates_per_second",
        "reports taken per second, as fast as they come",
        writer.per_second,
        "/s",
    );
    table.add(
        "decisions_per_second_beside_storm",
        "decisions per second beside that",
        storm.per_second,
        "/s",
    );
    let grown = || resident_bytes().map(|bytes| bytes.saturating_sub(before) as f64 / 1e6);
    table.add("resident_megabytes_after", "memory after all of it (resident, grown)", grown()?, "MB");
    decide_beside(&made, scale.duration, None)?;
    table.add("resident_megabytes_at_last", "memory after as many reports again", grown()?, "MB");
    let size = made.fleet.size();
    table.add(
        "inventory_megabytes_at_last",
        "memory of all inventories then",
        size.inventory_bytes as f64 / 1e6,
        "MB",
    );
    Ok(table)
}

fn make(scale: &Scale) -> Result<Made, Box<dyn Error>> {
    let mut random = Random::new(1);
    let fleet = Fleet::new(vec!["https://origin.example.net".to_owned()]);
    let sites = sites(scale)?;
    fleet.set_sites(sites.clone())?;
    let paths: Vec<BundlePath> = (0..scale.bundles).map(path).collect::<Result<_, _>>()?;
    fleet.add_bundles(paths.iter().cloned().map(key).zip(0..));
    let mut appliances = Vec::new();
    for site in &sites {
        for number in 0..scale.appliances_per_site {
            let name = ApplianceName::parse(&format!("{}-oca-{number}", site.name))?;
            fleet.place(&name, &site.name, vec![format!("https://{name}.example.net")])?;
            fleet.restore_inventory(&name, 1, three_eighths(scale.bundles, &mut random));
            let update = MemberUpdate {
                standing: Some(standing(&mut random)),
                utilisation: Some(utilisation(&mut random)),
            };
            fleet.update(&name, update);
            appliances.push(name);
        }
    }
    let questions = (0..QUESTIONS)
        .map(|_| (client(scale, &mut random), random.below(u64::from(scale.bundles)) as u32))
        .collect();
    Ok(Made { fleet, paths, appliances, questions })
}

/// Sites at the edge, and a tenth as many that these turn to.
fn sites(scale: &Scale) -> Result<Vec<SiteFacts>, Box<dyn Error>> {
    let region = RegionName::parse("north")?;
    let hubs = scale.sites.div_ceil(10);
    let hub = |number: usize| SiteName::parse(&format!("hub-{number}"));
    let mut sites = Vec::new();
    for number in 0..hubs {
        sites.push(SiteFacts {
            name: hub(number)?,
            region: region.clone(),
            upstream: None,
            prefixes: vec![],
        });
    }
    for number in 0..scale.sites {
        let first = number as u32 * PREFIXES_PER_SITE;
        let mut prefixes: Vec<IpNet> = Vec::new();
        for prefix in first..first + PREFIXES_PER_SITE {
            prefixes.push(Ipv4Net::new(v4(prefix, 0), 20)?.into());
            if prefix % 4 == 0 {
                prefixes.push(Ipv6Net::new(v6(prefix, 0), 40)?.into());
            }
        }
        let name = SiteName::parse(&format!("site-{number}"))?;
        let upstream = Some(hub(number % hubs)?);
        sites.push(SiteFacts { name, region: region.clone(), upstream, prefixes });
    }
    Ok(sites)
}

/// A host of the IPv4 prefix of that number.
fn v4(prefix: u32, host: u32) -> Ipv4Addr {
    Ipv4Addr::from(0x1400_0000 + (prefix << 12) + (host & 0xfff))
}

/// A host of the IPv6 prefix of that number.
fn v6(prefix: u32, host: u64) -> Ipv6Addr {
    Ipv6Addr::from((0x2600_u128 << 112) + (u128::from(prefix) << 88) + u128::from(host))
}

/// Three clients of four come by IPv4.
fn client(scale: &Scale, random: &mut Random) -> IpAddr {
    let prefix = random.below(scale.sites as u64 * u64::from(PREFIXES_PER_SITE)) as u32;
    let host = random.next();
    if random.below(4) == 0 { v6(prefix / 4 * 4, host).into() } else { v4(prefix, host as u32).into() }
}

fn path(number: u32) -> Result<BundlePath, control_client::content::NameError> {
    BundlePath::parse(&format!(
        "/titles/{:05}/{}",
        number / 8,
        ["240p", "360p", "480p", "720p", "1080p", "1440p", "2160p", "audio"][number as usize % 8]
    ))
}

fn key(path: BundlePath) -> BundleKey {
    BundleKey { path, generation: Generation::new(1) }
}

/// Three of every eight numbers, by chance: what compresses worst.
fn three_eighths(bundles: u32, random: &mut Random) -> RoaringBitmap {
    let words = bundles.div_ceil(64);
    let bytes: Vec<u8> =
        (0..words).flat_map(|_| (random.next() & (random.next() | random.next())).to_le_bytes()).collect();
    let mut held = RoaringBitmap::from_lsb0_bytes(0, &bytes);
    held.remove_range(bundles..);
    held
}

fn standing(random: &mut Random) -> Standing {
    match random.below(50) {
        0 => Standing::Draining,
        1 => Standing::Unreachable("no answer within 2 s".to_owned()),
        _ => Standing::Serving,
    }
}

fn utilisation(random: &mut Random) -> Utilisation {
    Utilisation::percent(10 + random.below(86) as u8)
}

struct Decided {
    per_second: f64,
    p50: f64,
    p99: f64,
    candidates: f64,
}

fn decide(made: &Made, duration: Duration) -> Decided {
    let mut nanoseconds: Vec<u64> = Vec::with_capacity(1 << 20);
    let mut decisions = 0_u64;
    let mut candidates = 0_usize;
    let mut chunks = made.questions.chunks(TIMED_EVERY).cycle();
    let began = Instant::now();
    while began.elapsed() < duration {
        for questions in chunks.by_ref().take(64) {
            let first = Instant::now();
            for (number, (client, path)) in questions.iter().enumerate() {
                let question =
                    Question { client: *client, path: &made.paths[*path as usize], explain: false };
                candidates += black_box(made.fleet.steer(black_box(&question))).candidates.len();
                if number == 0 && nanoseconds.len() < nanoseconds.capacity() {
                    nanoseconds.push(first.elapsed().as_nanos() as u64);
                }
            }
            decisions += questions.len() as u64;
        }
    }
    let per_second = decisions as f64 / began.elapsed().as_secs_f64();
    nanoseconds.sort_unstable();
    Decided {
        per_second,
        p50: per_mille(&nanoseconds, 500),
        p99: per_mille(&nanoseconds, 990),
        // The last place is the origin's.
        candidates: candidates as f64 / decisions as f64 - 1.0,
    }
}

struct Written {
    per_second: f64,
    micros_per_update: f64,
}

/// Decides while another thread takes reports into the fleet: so many per second, or as fast as it can.
fn decide_beside(
    made: &Made,
    duration: Duration,
    rate: Option<f64>,
) -> Result<(Decided, Written), Box<dyn Error>> {
    let is_over = AtomicBool::new(false);
    std::thread::scope(|scope| {
        let writer = scope.spawn(|| write(made, &is_over, rate));
        let decided = decide(made, duration);
        is_over.store(true, Ordering::Relaxed);
        let written = writer.join().map_err(|_| "the writer panicked")?;
        Ok((decided, written))
    })
}

/// Each report changes standing and load, and one bundle of the inventory comes and one goes.
fn write(made: &Made, is_over: &AtomicBool, rate: Option<f64>) -> Written {
    let mut random = Random::new(2);
    let mut busy = Duration::ZERO;
    let mut updates = 0_u64;
    let began = Instant::now();
    while !is_over.load(Ordering::Relaxed) {
        let name = &made.appliances[random.below(made.appliances.len() as u64) as usize];
        let (added, removed) = (random.below(made.paths.len() as u64), random.below(made.paths.len() as u64));
        let added =
            HeldBundle { path: made.paths[added as usize].clone(), generation: Generation::new(1), bytes: 1 };
        let removed = key(made.paths[removed as usize].clone());
        let update = MemberUpdate {
            standing: Some(standing(&mut random)),
            utilisation: Some(utilisation(&mut random)),
        };
        let first = Instant::now();
        let revision = made.fleet.inventory_revision(name).unwrap_or_default();
        let change = InventoryReport::Delta {
            from: revision,
            revision: revision + 1,
            added: vec![added],
            removed: vec![removed],
        };
        made.fleet.update(name, update);
        made.fleet
            .apply_inventory(name, &change)
            .expect("the change is based on the revision that was just read");
        busy += first.elapsed();
        updates += 1;
        if let Some(rate) = rate {
            let due = Duration::from_secs_f64(updates as f64 / rate);
            std::thread::sleep(due.saturating_sub(began.elapsed()));
        }
    }
    Written {
        per_second: updates as f64 / began.elapsed().as_secs_f64(),
        micros_per_update: busy.as_secs_f64() * 1e6 / updates.max(1) as f64,
    }
}
