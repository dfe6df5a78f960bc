//! Idle connections, each after one response. What is compared is the memory of the server that belongs to no file, for each of them; the
//! limit is what is promised.

use std::net::TcpStream;
use std::time::Duration;

use demo::failure::Failure;

use super::Ran;
use crate::bench::{Bench, Contestant};
use crate::corpus::ObjectSet;
use crate::nginx::Reading;
use crate::peer::is_installed;
use crate::process_facts::ProcessFacts;
use crate::record::{Record, Series, compare};
use crate::rounds::metric;

/// What is fetched once over each.
const OBJECT_BYTES: u64 = 16 << 10;

/// What is promised for each connection.
const PROMISED_BYTES: f64 = 4.0 * 1024.0;
const PROMISED_TLS_BYTES: f64 = 24.0 * 1024.0;

/// Memory hardly varies.
const ROUNDS_MAX: usize = 3;

/// How long a server is left alone before its memory is looked at.
const REST: Duration = Duration::from_millis(500);

/// Bundles open at once: where the limit of open files is 20,000, the default leaves no room for 16,000 connections.
pub(super) const OPEN_BUNDLES: &str = "open_bundles = 1024";

pub(super) fn run(bench: &Bench) -> Result<Ran, Failure> {
    let objects =
        bench.set("hot-16k", 512.min((bench.scale.hot_bytes / OBJECT_BYTES) as usize), OBJECT_BYTES)?;
    let mut records = of(bench, &objects, "idle", false, PROMISED_BYTES)?;
    records.extend(of(bench, &objects, "idle-tls", true, PROMISED_TLS_BYTES)?);
    Ok(Ran::Measured(records))
}

fn of(
    bench: &Bench,
    objects: &ObjectSet,
    scenario: &str,
    is_tls: bool,
    promised: f64,
) -> Result<Vec<Record>, Failure> {
    let names: &[&'static str] = if is_installed("nginx") { &["ours", "nginx"] } else { &["ours"] };
    let measured = bench.rounds.at_most(ROUNDS_MAX).run(names.len(), |number| {
        let name = names[number];
        let bytes = if name == "ours" {
            let daemon = bench.ours(&[("store", OPEN_BUNDLES.to_owned())])?;
            let address = if is_tls { daemon.https } else { daemon.http };
            let bytes = hold(bench, objects, &Contestant { name, address, is_tls }, &daemon.processes())?;
            daemon.stop(&bench.runtime)?;
            bytes
        } else {
            let nginx = bench.nginx(Reading::Sendfile)?.ok_or_else(|| Failure::new("nginx is not there"))?;
            let address = if is_tls { nginx.https } else { nginx.http };
            hold(bench, objects, &Contestant { name, address, is_tls }, &nginx.peer.processes())?
        };
        println!("  {scenario:<9} {name:<8} {bytes:>7.0} bytes for each of {}", bench.scale.idle_connections);
        Ok([bytes])
    })?;
    let all = names.iter().zip(&measured);
    let all: Vec<Series> = all.map(|(name, rounds)| Series { name, values: metric(rounds, 0) }).collect();
    let limit = vec![promised; all[0].values.len()];
    Ok(compare(scenario, "anonymous_bytes_per_connection", &all[0].values, &all[1..], Some(&limit)))
}

/// Fetches one object over each connection, holds them all, and looks at what the server's memory has grown by.
fn hold(
    bench: &Bench,
    objects: &ObjectSet,
    contestant: &Contestant,
    processes: &[u32],
) -> Result<f64, Failure> {
    bench.sample(contestant, objects, 1)?;
    std::thread::sleep(REST);
    let before = ProcessFacts::of(processes)?.anonymous_bytes;
    let mut held: Vec<TcpStream> = Vec::with_capacity(bench.scale.idle_connections);
    for number in 0..bench.scale.idle_connections {
        let mut client = bench.client(contestant)?;
        let answer = client.get(&objects.targets[number % objects.targets.len()])?;
        if answer.status != 200 {
            let (name, status) = (contestant.name, answer.status);
            return Err(Failure::new(format!("{name} answers {status} with {number} connections")));
        }
        held.push(client.into_socket());
    }
    std::thread::sleep(REST);
    let after = ProcessFacts::of(processes)?.anonymous_bytes;
    drop(held);
    Ok(after.saturating_sub(before) as f64 / bench.scale.idle_connections as f64)
}
