//! Hot objects at a fixed rate, alone, and beside a storm of cold ones. What is compared is how long answers take, from when they
//! should have been asked for. The generator alone is the same two loads, answered from memory by bare loops: what it shows then is its own.

use std::net::SocketAddr;
use std::thread;
use std::time::Duration;

use benches::rounds::metric;
use benches::statistics::quantile;
use demo::failure::Failure;
use demo::random::Random;

use super::Ran;
use super::cold;
use crate::bare::BareKind;
use crate::bench::{Bench, Contestant};
use crate::corpus::ObjectSet;
use crate::device::drop_caches;
use crate::load::{Load, Outcome, Pace};
use crate::nginx::{Nginx, Reading};
use crate::placement::{Side, be_real_time, stand};
use crate::record::{Series, compare};
use crate::zipf::shuffled;

/// Hot requests: 131 MB/s, which leaves everyone idle most of the time.
const HOT_BYTES: u64 = 256 << 10;
const HOT_PER_SECOND: f64 = 500.0;
const HOT_CONNECTIONS: usize = 32;

/// The storm.
const STORM_BYTES_PER_SECOND: f64 = 1e9;
const STORM_CONNECTIONS: usize = 64;

/// How long it blows before anything is measured.
const STORM_BEFORE: Duration = Duration::from_millis(300);

/// Times that every hot object is asked for beforehand, so that whoever remembers knows it.
const WARMING: usize = 4;

/// What the promise allows in any case, in microseconds.
const ALLOWED_MICROS: f64 = 5000.0;

/// The objects.
struct Objects {
    hot: ObjectSet,
    cold: ObjectSet,
    /// The storm's, for the generator alone.
    warm: ObjectSet,
}

/// What is measured: hot latencies without the storm, with it, and the storm's rate.
const METRICS: usize = 5;

pub(super) fn run(bench: &Bench) -> Result<Ran, Failure> {
    if let Err(failure) = drop_caches() {
        return Ok(Ran::Missing(failure.to_string()));
    }
    let count = |bytes: u64| (bench.scale.hot_bytes / bytes) as usize;
    let objects = Objects {
        hot: bench.set("hot-256k", count(HOT_BYTES), HOT_BYTES)?,
        cold: bench.set(cold::SET, bench.scale.cold_objects, cold::OBJECT_BYTES)?,
        warm: bench.set("hot-2m", count(cold::OBJECT_BYTES), cold::OBJECT_BYTES)?,
    };
    let looked_at = bench.looked_at()?;
    let nginx = bench.nginx(Reading::Sendfile)?;
    let nginx_aio = bench.nginx(Reading::Threads)?;
    if let Some(nginx) = &nginx_aio {
        println!("  nginx aio: {}", nginx.look(&looked_at, Reading::Threads)?);
    }
    let (bare_hot, bare_warm) =
        (bench.bare(BareKind::Sendfile, "hot-256k")?, bench.bare(BareKind::Sendfile, "hot-2m")?);
    let mut names = vec!["ours"];
    if nginx.is_some() {
        names.extend(["nginx", "nginx aio"]);
    }
    names.push("generator");
    let address = |nginx: &Option<Nginx>| nginx.as_ref().map(|nginx| nginx.http);
    let mut turn = 100;
    let measured = bench.rounds.run(names.len(), |number| {
        turn += 1;
        // All of them, in another order: none is asked for twice while the storm lasts.
        let order = shuffled(bench.scale.cold_objects, &mut Random::of(turn, "storm"));
        let found = match names[number] {
            "ours" => {
                let daemon = bench.ours(&[])?;
                let found = both(bench, "ours", &objects, daemon.http, (daemon.http, &objects.cold), &order)?;
                daemon.stop(&bench.runtime)?;
                found
            }
            "generator" => {
                let order: Vec<u32> = (0..objects.warm.targets.len() as u32).collect();
                let storm = (bare_warm.address, &objects.warm);
                both(bench, "generator", &objects, bare_hot.address, storm, &order)?
            }
            name => {
                let found = if name == "nginx" { address(&nginx) } else { address(&nginx_aio) };
                let address = found.ok_or_else(|| Failure::new("nginx is not there"))?;
                both(bench, name, &objects, address, (address, &objects.cold), &order)?
            }
        };
        println!(
            "  {:<10} alone p50 {:>6.0} p99 {:>6.0} µs; beside a storm of {:.0} MB/s p50 {:>6.0} p99 {:>8.0} µs",
            names[number],
            found[0],
            found[1],
            found[4] / 1e6,
            found[2],
            found[3]
        );
        Ok(found)
    })?;
    Ok(Ran::Measured(records(&names, &measured)))
}

fn records(names: &[&'static str], measured: &[Vec<[f64; METRICS]>]) -> Vec<crate::record::Record> {
    let series = |of: usize| -> Vec<Series> {
        let named = names.iter().zip(measured);
        named.map(|(name, rounds)| Series { name, values: metric(rounds, of) }).collect()
    };
    let mut records = Vec::new();
    let columns = [
        ("latency-alone", "p50_micros", 0),
        ("latency-alone", "p99_micros", 1),
        ("latency-beside-storm", "p50_micros", 2),
        ("latency-beside-storm", "p99_micros", 3),
        ("latency-beside-storm", "storm_bytes_per_second", 4),
    ];
    for (scenario, name, column) in columns {
        let all = series(column);
        let last = all.len() - 1;
        let generator = &all[last].values;
        let promised: Vec<f64> = generator.iter().map(|micros| (2.0 * micros).max(ALLOWED_MICROS)).collect();
        let limit =
            if (scenario, name) == ("latency-beside-storm", "p99_micros") { &promised } else { generator };
        records.extend(compare(scenario, name, &all[0].values, &all[1..last], Some(limit)));
    }
    records
}

/// Both phases of one contestant.
fn both(
    bench: &Bench,
    name: &'static str,
    objects: &Objects,
    hot_address: SocketAddr,
    (storm_address, storm_objects): (SocketAddr, &ObjectSet),
    order: &[u32],
) -> Result<[f64; METRICS], Failure> {
    let said = |failure| Failure::new(format!("{name}: {failure}"));
    drop_caches()?;
    let places = 0..objects.hot.targets.len() as u32;
    let hot = |pace| Load {
        address: hot_address,
        connections: HOT_CONNECTIONS,
        targets: objects.hot.targets.clone(),
        object_bytes: objects.hot.object_bytes,
        order: places.clone().collect(),
        pace,
    };
    for _ in 0..WARMING {
        hot(Pace::Closed).run().map_err(said)?;
    }
    bench.sample(&Contestant { name, address: hot_address, is_tls: false }, &objects.hot, 1)?;
    let lasting = bench.scale.latency;
    let probe = Pace::Open { per_second: HOT_PER_SECOND, lasting };
    let alone = in_thread(hot(probe), true)?.map_err(said)?;
    let storm = Load {
        address: storm_address,
        connections: STORM_CONNECTIONS,
        targets: storm_objects.targets.clone(),
        object_bytes: storm_objects.object_bytes,
        order: order.to_vec(),
        pace: Pace::Open {
            per_second: STORM_BYTES_PER_SECOND / storm_objects.object_bytes as f64,
            lasting: STORM_BEFORE + lasting,
        },
    };
    let (beside, storm) = thread::scope(|scope| {
        let storm = scope.spawn(|| in_thread(storm, false));
        thread::sleep(STORM_BEFORE);
        let beside = in_thread(hot(probe), true);
        (beside, storm.join())
    });
    let beside = beside?.map_err(said)?;
    let storm = storm.map_err(|_| Failure::new("the storm panicked"))??.map_err(said)?;
    let (alone, beside) = (alone.latencies_micros, beside.latencies_micros);
    let rate = storm.body_bytes as f64 / storm.took.as_secs_f64();
    Ok([quantile(&alone, 0.5), quantile(&alone, 0.99), quantile(&beside, 0.5), quantile(&beside, 0.99), rate])
}

/// Hot requests are sent in time even while the storm's answers come in: on a machine of their own they would be.
fn in_thread(load: Load, is_real_time: bool) -> Result<Result<Outcome, Failure>, Failure> {
    let thread = thread::spawn(move || {
        stand(Side::Load)?;
        if is_real_time {
            be_real_time();
        }
        load.run()
    });
    thread.join().map_err(|_| Failure::new("a load's thread panicked"))
}
