//! One cold block, and all its viewers at once. What is compared is how often it is read from the disk.

use benches::rounds::metric;
use demo::failure::Failure;

use super::Ran;
use super::cold;
use crate::bench::Bench;
use crate::client::Client;
use crate::device::drop_caches;
use crate::load::{Load, Pace};
use crate::nginx::Reading;
use crate::process_facts::ProcessFacts;
use crate::record::{Series, compare};

/// What may be read beside the block, as a part of it.
const BESIDE_PART: f64 = 0.1;

/// How far away, in the same directory, is an object that is not measured.
const NEIGHBOUR: usize = 32;

/// What is measured does not vary much.
const ROUNDS_MAX: usize = 3;

pub(super) fn run(bench: &Bench) -> Result<Ran, Failure> {
    if let Err(failure) = drop_caches() {
        return Ok(Ran::Missing(failure.to_string()));
    }
    let objects = bench.set(cold::SET, bench.scale.cold_objects, cold::OBJECT_BYTES)?;
    let nginx = bench.nginx(Reading::Threads)?;
    let ours = bench.ours(&[])?;
    let mut contestants = vec![("ours", ours.http, ours.processes())];
    if let Some(nginx) = &nginx {
        contestants.push(("nginx aio", nginx.http, nginx.peer.processes()));
    }
    let mut object = 0;
    let measured = bench.rounds.at_most(ROUNDS_MAX).run(contestants.len(), |number| {
        let (name, address, processes) = &contestants[number];
        object += 1;
        drop_caches()?;
        // Another one of the same bundle, so that what is beside the block has been read: the footer, the file system's own, and pages
        // of the program.
        Client::connect(*address)?.get(&objects.targets[object as usize + NEIGHBOUR])?;
        let load = Load {
            address: *address,
            connections: bench.scale.viewers,
            targets: objects.targets.clone(),
            object_bytes: objects.object_bytes,
            order: vec![object; bench.scale.viewers],
            pace: Pace::Closed,
        };
        let before = ProcessFacts::of(processes)?;
        load.run().map_err(|failure| Failure::new(format!("{name}: {failure}")))?;
        let after = ProcessFacts::of(processes)?;
        let reads = (after.device_read_bytes - before.device_read_bytes) as f64 / objects.object_bytes as f64;
        println!("  {name:<10} {} viewers, {reads:.2} reads of the block", bench.scale.viewers);
        Ok([reads])
    })?;
    ours.stop(&bench.runtime)?;
    let peers: Vec<Series> = contestants[1..]
        .iter()
        .zip(&measured[1..])
        .map(|((name, ..), rounds)| Series { name, values: metric(rounds, 0) })
        .collect();
    let reads = metric(&measured[0], 0);
    let once = vec![1.0 + BESIDE_PART; reads.len()];
    Ok(Ran::Measured(compare("one-block", "reads_of_the_block", &reads, &peers, Some(&once))))
}
