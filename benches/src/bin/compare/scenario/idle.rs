//! Idle connections, each after one response. What is compared is the memory of the server that belongs to no file, for each of them; the
//! limit is what is promised. What a server sets aside for connections when it starts is theirs, too: so it is compared with one that has
//! room for a few, and holds none.

use std::net::TcpStream;
use std::time::Duration;

use benches::rounds::metric;
use demo::failure::{Failure, Step};
use rustix::process::{Resource, getrlimit};

use super::Ran;
use crate::bench::{Bench, Contestant};
use crate::corpus::ObjectSet;
use crate::nginx::{Reading, Setup};
use crate::ours::Setting;
use crate::peer::is_installed;
use crate::placement::Side;
use crate::process_facts::ProcessFacts;
use crate::record::{Record, Series, compare};

/// What is fetched once over each.
const OBJECT_BYTES: u64 = 16 << 10;

/// What is promised for each connection.
const PROMISED_BYTES: f64 = 4.0 * 1024.0;
const PROMISED_TLS_BYTES: f64 = 24.0 * 1024.0;

/// Connections for which the server that holds none has room; the other one has room for as many more as it holds.
const FEW: u32 = 128;

/// Memory hardly varies.
const ROUNDS_MAX: usize = 3;

/// How long a server is left alone before its memory is looked at.
const REST: Duration = Duration::from_millis(500);

/// What the daemon needs by default beside its connections: bundles that are open, and that are in memory, and a little of its own.
const DESCRIPTORS_BESIDE: u64 = 4096 + 1024 + 512;

/// Where a process may not have as many descriptors as that beside the connections: fewer bundles open at once. Nothing else is changed.
pub(super) fn settings(connections: usize) -> Vec<Setting> {
    let limit = getrlimit(Resource::Nofile).maximum;
    match limit {
        Some(limit) if limit < connections as u64 + DESCRIPTORS_BESIDE => {
            println!("  ours: open_bundles = 1024, for a process may have {limit} descriptors here");
            vec![("store", "open_bundles = 1024".to_owned())]
        }
        _ => Vec::new(),
    }
}

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
    let settings = settings(bench.scale.idle_connections);
    let measured = bench.rounds.at_most(ROUNDS_MAX).none_again().only_forth().run(names.len(), |number| {
        let name = names[number];
        let of = |held: usize, connections: u32| -> Result<u64, Failure> {
            if name == "ours" {
                let room = ("serve", format!("connections = {connections}"));
                let daemon = bench.ours(&[settings.as_slice(), &[room]].concat())?;
                let address = if is_tls { daemon.https } else { daemon.http };
                let contestant = Contestant { name, address, is_tls };
                let bytes = hold(bench, objects, &contestant, &daemon.processes(), held)?;
                daemon.stop(&bench.runtime)?;
                Ok(bytes)
            } else {
                let nginx =
                    bench.nginx_with(Setup { connections, ..Setup::new(Reading::Sendfile) }, Side::Server)?;
                let nginx = nginx.ok_or_else(|| Failure::new("nginx is not there"))?;
                let address = if is_tls { nginx.https } else { nginx.http };
                hold(bench, objects, &Contestant { name, address, is_tls }, &nginx.peer.processes(), held)
            }
        };
        let count = bench.scale.idle_connections;
        let room = u32::try_from(count).step("counting connections")?;
        let (without, with) = (of(0, FEW)?, of(count, room + FEW)?);
        let bytes = with.saturating_sub(without) as f64 / count as f64;
        println!("  {scenario:<9} {name:<8} {bytes:>7.0} bytes for each of {count}");
        Ok([bytes])
    })?;
    let all = names.iter().zip(&measured);
    let all: Vec<Series> = all.map(|(name, rounds)| Series { name, values: metric(rounds, 0) }).collect();
    let limit = vec![promised; all[0].values.len()];
    Ok(compare(scenario, "anonymous_bytes_per_connection", &all[0].values, &all[1..], Some(&limit)))
}

/// Fetches one object over each of so many connections, holds them all, and looks at the server's memory.
fn hold(
    bench: &Bench,
    objects: &ObjectSet,
    contestant: &Contestant,
    processes: &[u32],
    count: usize,
) -> Result<u64, Failure> {
    bench.sample(contestant, objects, 1)?;
    let mut held: Vec<TcpStream> = Vec::with_capacity(count);
    for number in 0..count {
        let mut client = bench.client(contestant)?;
        let answer = client.get(&objects.targets[number % objects.targets.len()])?;
        if answer.status != 200 {
            let (name, status) = (contestant.name, answer.status);
            return Err(Failure::new(format!("{name} answers {status} with {number} connections")));
        }
        held.push(client.into_socket());
    }
    std::thread::sleep(REST);
    let bytes = ProcessFacts::of(processes)?.anonymous_bytes;
    drop(held);
    Ok(bytes)
}
