//! A working set of eight times the RAM tier, whose popularity follows Zipf's law: one trace for all. What is compared is the part of the bytes
//! that needed no disk. Ours and nginx have the same limit of memory, page cache included; the optimum knows the trace beforehand and has as much
//! as that limit for objects alone.

use std::net::SocketAddr;

use benches::rounds::metric;
use benches::statistics::median;
use demo::failure::Failure;

use super::Ran;
use super::cold;
use crate::bench::{Bench, Contestant};
use crate::corpus::ObjectSet;
use crate::device::{drop_caches, read_bytes};
use crate::load::{Load, Pace};
use crate::memory_group::MemoryGroup;
use crate::nginx::Reading;
use crate::optimum;
use crate::process_facts::ProcessFacts;
use crate::record::{Record, Series, compare};
use crate::zipf::trace;

const EXPONENTS: [(&str, f64); 3] =
    [("working-set-0.8", 0.8), ("working-set-1.0", 1.0), ("working-set-1.2", 1.2)];

/// The working set, in RAM tiers.
const TIERS: u64 = 8;

/// What a server has beside what it caches: read buffers (`serve.read_buffers`), its program, its log's queue.
const BESIDE_BYTES: u64 = 160 << 20;

const CONNECTIONS: usize = 32;

/// The first part of the trace fills caches, and is not counted: one in so many.
const WARMING_PART: usize = 4;

/// Reads of others that a figure bears: the device's and the server's own must not differ by more than this part.
const OTHERS_PART: f64 = 0.05;

/// What is measured varies little, and takes long.
const ROUNDS_MAX: usize = 3;

/// A gap that means something.
const GAP_LEAST: f64 = 0.01;

/// What is to be closed of the gap from nginx to the optimum.
const GAP_PART: f64 = 0.5;

pub(super) fn run(bench: &Bench) -> Result<Ran, Failure> {
    if let Err(failure) = drop_caches() {
        return Ok(Ran::Missing(failure.to_string()));
    }
    let limit_bytes = bench.scale.tier_bytes + BESIDE_BYTES;
    if let Err(failure) = MemoryGroup::new("oca-compare-trial", limit_bytes) {
        return Ok(Ran::Missing(failure.to_string()));
    }
    let count = (bench.scale.tier_bytes * TIERS / cold::OBJECT_BYTES) as usize;
    let mut objects = bench.set(cold::SET, bench.scale.cold_objects, cold::OBJECT_BYTES)?;
    objects.targets.truncate(count);
    if objects.targets.len() < count {
        return Err(Failure::new("the working set is larger than what was made"));
    }
    let mut records = Vec::new();
    for (seed, (scenario, exponent)) in (0..).zip(EXPONENTS) {
        let trace = trace(count, exponent, bench.scale.trace_requests, seed);
        records.extend(at(bench, &objects, scenario, &trace, limit_bytes)?);
    }
    Ok(Ran::Measured(records))
}

fn at(
    bench: &Bench,
    objects: &ObjectSet,
    scenario: &str,
    trace: &[u32],
    limit_bytes: u64,
) -> Result<Vec<Record>, Failure> {
    let counted_from = trace.len() / WARMING_PART;
    let capacity = (limit_bytes / objects.object_bytes) as usize;
    let counted = trace.len() - counted_from;
    let best = optimum::hits(trace, capacity, counted_from) as f64 / counted as f64;
    let nginx_is_there = crate::peer::is_installed("nginx");
    let names: &[&'static str] = if nginx_is_there { &["ours", "nginx aio"] } else { &["ours"] };
    let measured = bench.rounds.at_most(ROUNDS_MAX).none_again().only_forth().run(names.len(), |number| {
        drop_caches()?;
        let group = MemoryGroup::new("oca-compare", limit_bytes)?;
        let found = if names[number] == "ours" {
            let tier = format!("ram_tier = \"{} MiB\"", bench.scale.tier_bytes >> 20);
            let daemon = within(&group, || bench.ours(&[("serve", tier)]))?;
            let found =
                replay(bench, objects, trace, counted_from, names[number], daemon.http, &daemon.processes())?;
            println!("  ours: {}", daemon.served_from(&bench.runtime)?);
            daemon.stop(&bench.runtime)?;
            found
        } else {
            let nginx = within(&group, || bench.nginx(Reading::Threads))?;
            let nginx = nginx.ok_or_else(|| Failure::new("nginx is not there"))?;
            replay(bench, objects, trace, counted_from, names[number], nginx.http, &nginx.peer.processes())?
        };
        println!(
            "  {scenario} {:<10} hits {:.3} (the optimum {best:.3}), {:.0} MB/s",
            names[number],
            found[0],
            found[1] / 1e6
        );
        Ok(found)
    })?;
    let series = |of: usize| -> Vec<Series> {
        let named = names.iter().zip(&measured);
        named.map(|(name, rounds)| Series { name, values: metric(rounds, of) }).collect()
    };
    let (hits, rates) = (series(0), series(1));
    let ours = &hits[0].values;
    let optimum = vec![best; ours.len()];
    let mut records = compare(scenario, "byte_hit_ratio", ours, &hits[1..], Some(&optimum));
    records.extend(compare(scenario, "bytes_per_second", &rates[0].values, &rates[1..], None));
    // Where nginx does nearly as well as can be, there is no gap.
    let gap = |nginx: &Series| best - median(&nginx.values);
    if let Some(nginx) = hits.get(1).filter(|nginx| gap(nginx) > GAP_LEAST) {
        let closed = ours.iter().zip(&nginx.values).map(|(ours, nginx)| (ours - nginx) / (best - nginx));
        let closed: Vec<f64> = closed.collect();
        let half = vec![GAP_PART; closed.len()];
        records.extend(compare(scenario, "gap_closed", &closed, &[], Some(&half)));
    }
    Ok(records)
}

/// Starts a server as a member of the group; this program itself goes back.
fn within<T>(group: &MemoryGroup, start: impl FnOnce() -> Result<T, Failure>) -> Result<T, Failure> {
    group.enter()?;
    let started = start();
    group.leave()?;
    started
}

/// The byte hit ratio of the counted part, and its bytes per second.
fn replay(
    bench: &Bench,
    objects: &ObjectSet,
    trace: &[u32],
    counted_from: usize,
    name: &'static str,
    address: SocketAddr,
    processes: &[u32],
) -> Result<[f64; 2], Failure> {
    let load = |order: &[u32]| Load {
        address,
        connections: CONNECTIONS,
        targets: objects.targets.clone(),
        object_bytes: objects.object_bytes,
        order: order.to_vec(),
        pace: Pace::Closed,
    };
    load(&trace[..counted_from]).run()?;
    let own_before = ProcessFacts::of(processes)?.device_read_bytes;
    let before = read_bytes(&bench.folder)?;
    let outcome = load(&trace[counted_from..]).run()?;
    let read = (read_bytes(&bench.folder)? - before) as f64;
    let own = (ProcessFacts::of(processes)?.device_read_bytes - own_before) as f64;
    let served = outcome.body_bytes as f64;
    if (read - own).abs() > OTHERS_PART * served {
        println!(
            "  the device read {:.0} MB, the server {:.0} MB: others used the disk",
            read / 1e6,
            own / 1e6
        );
    }
    bench.sample(&Contestant { name, address, is_tls: false }, objects, 1)?;
    Ok([1.0 - read / served, served / outcome.took.as_secs_f64()])
}
