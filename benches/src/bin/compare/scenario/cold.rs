//! Cold objects: each is asked for once, the page cache is empty, and the daemon has just started. What is compared is throughput, and the
//! slowest of a hundred. The limit is the disk alone; a bare loop that reads, checks and sends stands beside it as a peer.

mod disk;

use std::net::SocketAddr;
use std::time::Duration;

use benches::rounds::metric;
use benches::statistics::quantile;
use demo::failure::Failure;
use demo::random::Random;

use super::Ran;
use crate::bare::BareKind;
use crate::bench::{Bench, Contestant};
use crate::corpus::ObjectSet;
use crate::device::{drop_caches, queue_facts, read_bytes};
use crate::load::{Load, Pace};
use crate::nginx::{Nginx, Reading};
use crate::record::{Record, Series, compare};
use crate::zipf::shuffled;
use disk::Disk;

/// The set, and what each of its objects is long.
pub(super) const SET: &str = "cold";
pub(super) const OBJECT_BYTES: u64 = 2 << 20;

/// What the device must have read of what was served, or it was not cold. A little less than all: it is counted when a read is done.
const COLD_PART: f64 = 0.98;

/// Before each turn the disk has nothing to do for so long, whoever comes before.
const REST: Duration = Duration::from_millis(250);

/// Who is measured, in this order; the last is the limit.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Who {
    Ours,
    Nginx,
    NginxAio,
    BareLoop,
    Disk,
}

pub(super) fn run(bench: &Bench) -> Result<Ran, Failure> {
    if let Err(failure) = drop_caches() {
        return Ok(Ran::Missing(failure.to_string()));
    }
    let objects = bench.set(SET, bench.scale.cold_objects, OBJECT_BYTES)?;
    println!("  the disk: {}", queue_facts(&bench.folder)?);
    let disk = Disk::new(&bench.corpus.volume, &format!("/{SET}/"))?;
    let mut records = Vec::new();
    for (scenario, connections) in [("cold-16", 16), ("cold-64", 64), ("cold-256", 256)] {
        records.extend(at(bench, &objects, &disk, scenario, connections)?);
    }
    Ok(Ran::Measured(records))
}

fn at(
    bench: &Bench,
    objects: &ObjectSet,
    disk: &Disk,
    scenario: &str,
    connections: usize,
) -> Result<Vec<Record>, Failure> {
    let nginx = bench.nginx(Reading::Sendfile)?;
    let nginx_aio = bench.nginx(Reading::Threads)?;
    let bare = bench.bare(BareKind::Direct, SET)?;
    let is_there = |who: &Who| nginx.is_some() || !matches!(who, Who::Nginx | Who::NginxAio);
    let everybody = [Who::Ours, Who::Nginx, Who::NginxAio, Who::BareLoop, Who::Disk];
    let contestants: Vec<Who> = everybody.into_iter().filter(is_there).collect();
    // Another order of the objects in each turn, and for each number of connections.
    let mut turn = 1000 * connections as u64;
    let measured = bench.rounds.run(contestants.len(), |number| {
        let who = contestants[number];
        turn += 1;
        std::thread::sleep(REST);
        let order = order(bench, turn);
        let address = |nginx: &Option<Nginx>| nginx.as_ref().map(|nginx| nginx.http);
        let found = match who {
            Who::Disk => [disk.read(order.len(), turn)?, 0.0],
            Who::Ours => ours(bench, objects, &order, connections)?,
            Who::Nginx => fetch(bench, "nginx", address(&nginx), objects, order, connections)?,
            Who::NginxAio => fetch(bench, "nginx aio", address(&nginx_aio), objects, order, connections)?,
            Who::BareLoop => fetch(bench, "bare loop", Some(bare.address), objects, order, connections)?,
        };
        println!(
            "  {scenario:<9} {:<10} {:>8.0} MB/s, p99 {:>8.1} ms",
            name(who),
            found[0] / 1e6,
            found[1] / 1e3
        );
        Ok(found)
    })?;
    let series = |of: usize| -> Vec<Series> {
        let named = contestants.iter().zip(&measured);
        named.map(|(who, rounds)| Series { name: name(*who), values: metric(rounds, of) }).collect()
    };
    let (rates, tails) = (series(0), series(1));
    let disk = rates.len() - 1;
    let mut records =
        compare(scenario, "bytes_per_second", &rates[0].values, &rates[1..disk], Some(&rates[disk].values));
    records.extend(compare(scenario, "p99_micros", &tails[0].values, &tails[1..disk], None));
    Ok(records)
}

fn name(who: Who) -> &'static str {
    match who {
        Who::Ours => "ours",
        Who::Nginx => "nginx",
        Who::NginxAio => "nginx aio",
        Who::BareLoop => "bare loop",
        Who::Disk => "disk",
    }
}

/// Another part of the objects in every turn, each once.
fn order(bench: &Bench, turn: u64) -> Vec<u32> {
    let mut order = shuffled(bench.scale.cold_objects, &mut Random::of(turn, "cold"));
    order.truncate(bench.scale.cold_requests);
    order
}

/// A daemon that has just started remembers nothing that it served before.
fn ours(bench: &Bench, objects: &ObjectSet, order: &[u32], connections: usize) -> Result<[f64; 2], Failure> {
    let daemon = bench.ours(&[])?;
    let found = fetch(bench, "ours", Some(daemon.http), objects, order.to_vec(), connections)?;
    daemon.stop(&bench.runtime)?;
    Ok(found)
}

fn fetch(
    bench: &Bench,
    name: &'static str,
    address: Option<SocketAddr>,
    objects: &ObjectSet,
    order: Vec<u32>,
    connections: usize,
) -> Result<[f64; 2], Failure> {
    let address = address.ok_or_else(|| Failure::new(format!("{name} is not there")))?;
    drop_caches()?;
    let load = Load {
        address,
        connections,
        targets: objects.targets.clone(),
        object_bytes: objects.object_bytes,
        order,
        pace: Pace::Closed,
    };
    let before = read_bytes(&bench.folder)?;
    let outcome = load.run().map_err(|failure| Failure::new(format!("{name}: {failure}")))?;
    let read = read_bytes(&bench.folder)? - before;
    if (read as f64) < outcome.body_bytes as f64 * COLD_PART {
        let served = outcome.body_bytes;
        return Err(Failure::new(format!(
            "{name}: not cold: {served} bytes served, {read} read from the device"
        )));
    }
    bench.sample(&Contestant { name, address, is_tls: false }, objects, 1)?;
    let rate = outcome.body_bytes as f64 / outcome.took.as_secs_f64();
    Ok([rate, quantile(&outcome.latencies_micros, 0.99)])
}
