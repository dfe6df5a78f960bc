//! One cold block, and all its viewers at once. What is compared is how often it is read from the disk.

use std::net::SocketAddr;
use std::thread::sleep;
use std::time::{Duration, Instant};

use benches::rounds::metric;
use demo::failure::Failure;

use super::Ran;
use super::cold;
use crate::bench::{Bench, Contestant};
use crate::client::Client;
use crate::corpus::ObjectSet;
use crate::device::drop_caches;
use crate::load::{Load, Pace};
use crate::nginx::Reading;
use crate::process_facts::ProcessFacts;
use crate::record::{Series, compare};

/// What may be read beside the block, as a part of it.
const BESIDE_PART: f64 = 0.1;

/// How long nothing is read before what is measured begins, and the longest wait for that.
const QUIET: Duration = Duration::from_millis(300);
const QUIET_WAIT_MAX: Duration = Duration::from_secs(30);

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
    let names: &[&'static str] = if nginx.is_some() { &["ours", "nginx aio"] } else { &["ours"] };
    let mut object = 0;
    let measured = bench.rounds.at_most(ROUNDS_MAX).none_again().run(names.len(), |number| {
        object += 1;
        let reads = match &nginx {
            Some(nginx) if number > 0 => {
                viewed(bench, &objects, object, names[number], nginx.http, &nginx.peer.processes())
            }
            _ => {
                let ours = bench.ours(&[])?;
                let reads = viewed(bench, &objects, object, names[number], ours.http, &ours.processes())?;
                ours.stop(&bench.runtime)?;
                Ok(reads)
            }
        }?;
        println!("  {:<10} {} viewers, {reads:.2} reads of the block", names[number], bench.scale.viewers);
        Ok([reads])
    })?;
    let named = names[1..].iter().zip(&measured[1..]);
    let peers: Vec<Series> = named.map(|(name, rounds)| Series { name, values: metric(rounds, 0) }).collect();
    let reads = metric(&measured[0], 0);
    let once = vec![1.0 + BESIDE_PART; reads.len()];
    Ok(Ran::Measured(compare("one-block", "reads_of_the_block", &reads, &peers, Some(&once))))
}

/// How often an object was read while everybody asked for it.
fn viewed(
    bench: &Bench,
    objects: &ObjectSet,
    object: u32,
    name: &'static str,
    address: SocketAddr,
    processes: &[u32],
) -> Result<f64, Failure> {
    drop_caches()?;
    // Another one of the same bundle, so that what is beside the block has been read: the footer, the file system's own, and pages
    // of the program.
    Client::connect(address)?.get(&objects.targets[object as usize + NEIGHBOUR])?;
    let load = Load {
        address,
        connections: bench.scale.viewers,
        targets: objects.targets.clone(),
        object_bytes: objects.object_bytes,
        order: vec![object; bench.scale.viewers],
        pace: Pace::Closed,
    };
    let before = when_nothing_is_read(processes)?;
    load.run().map_err(|failure| Failure::new(format!("{name}: {failure}")))?;
    let after = ProcessFacts::of(processes)?;
    bench.sample(&Contestant { name, address, is_tls: false }, objects, 1)?;
    Ok((after.device_read_bytes - before.device_read_bytes) as f64 / objects.object_bytes as f64)
}

/// The facts of the processes once they read nothing by themselves: after a start, all bundles are looked at.
fn when_nothing_is_read(processes: &[u32]) -> Result<ProcessFacts, Failure> {
    let began = Instant::now();
    let mut before = ProcessFacts::of(processes)?;
    loop {
        sleep(QUIET);
        let now = ProcessFacts::of(processes)?;
        if now.device_read_bytes == before.device_read_bytes {
            return Ok(now);
        }
        if began.elapsed() > QUIET_WAIT_MAX {
            return Err(Failure::new("the servers do not stop reading by themselves"));
        }
        before = now;
    }
}
