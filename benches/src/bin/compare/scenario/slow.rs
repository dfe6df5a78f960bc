//! Slow connections: each takes a film's bit rate of hot objects. What is compared is how long the servers' core worked for each GiB, and the
//! memory for each of them that belongs to no file.

use std::net::SocketAddr;
use std::time::{Duration, Instant};

use benches::rounds::metric;
use demo::failure::Failure;

use super::Ran;
use crate::bench::{Bench, Contestant};
use crate::core_time::server_seconds;
use crate::corpus::ObjectSet;
use crate::nginx::Reading;
use crate::peer::is_installed;
use crate::process_facts::ProcessFacts;
use crate::record::{Series, compare};
use crate::slow_readers::SlowReaders;

const OBJECT_BYTES: u64 = 2 << 20;
const BITS_PER_SECOND: u64 = 5_000_000;

/// What they must get of their rate, or they are not slow: the server is.
const RATE_PART_MIN: f64 = 0.9;

const METRICS: [&str; 3] = ["run_seconds_per_gib", "anonymous_bytes_per_connection", "part_of_rate"];

/// How long they read before anything is measured.
const BEFORE: Duration = Duration::from_secs(1);

pub(super) fn run(bench: &Bench) -> Result<Ran, Failure> {
    let objects = bench.set("hot-2m", (bench.scale.hot_bytes / OBJECT_BYTES) as usize, OBJECT_BYTES)?;
    let names: &[&'static str] = if is_installed("nginx") { &["ours", "nginx"] } else { &["ours"] };
    let measured = bench.rounds.run(names.len(), |number| {
        let name = names[number];
        let found = if name == "ours" {
            let daemon = bench.ours(&[])?;
            let found = read(bench, name, &objects, daemon.http, &daemon.processes())?;
            daemon.stop(&bench.runtime)?;
            found
        } else {
            let nginx = bench.nginx(Reading::Sendfile)?.ok_or_else(|| Failure::new("nginx is not there"))?;
            read(bench, name, &objects, nginx.http, &nginx.peer.processes())?
        };
        println!(
            "  {name:<8} {:.4} seconds per GiB, {:.0} bytes for each of {}, {:.3} of their rate",
            found[0], found[1], bench.scale.slow_connections, found[2]
        );
        Ok(found)
    })?;
    let series = |of: usize| -> Vec<Series> {
        let named = names.iter().zip(&measured);
        named.map(|(name, rounds)| Series { name, values: metric(rounds, of) }).collect()
    };
    let mut records = Vec::new();
    for (column, name) in METRICS.into_iter().enumerate() {
        let all = series(column);
        records.extend(compare("slow", name, &all[0].values, &all[1..], None));
    }
    Ok(Ran::Measured(records))
}

fn read(
    bench: &Bench,
    name: &'static str,
    objects: &ObjectSet,
    address: SocketAddr,
    processes: &[u32],
) -> Result<[f64; 3], Failure> {
    bench.sample(&Contestant { name, address, is_tls: false }, objects, 1)?;
    let memory = ProcessFacts::of(processes)?.anonymous_bytes;
    let mut readers = SlowReaders::connect(address, objects, bench.scale.slow_connections, BITS_PER_SECOND)?;
    readers.read(BEFORE)?;
    let (began, before) = (Instant::now(), server_seconds(processes)?);
    let bytes = readers.read(bench.scale.slow)? as f64;
    let (passed, seconds) = (began.elapsed(), server_seconds(processes)? - before);
    let grown = ProcessFacts::of(processes)?.anonymous_bytes.saturating_sub(memory) as f64;
    let wanted = BITS_PER_SECOND as f64 / 8.0 * bench.scale.slow_connections as f64 * passed.as_secs_f64();
    let part = bytes / wanted;
    if part < RATE_PART_MIN {
        return Err(Failure::new(format!("{name}: the readers got {:.0} % of their rate", part * 100.0)));
    }
    let gib = bytes / f64::from(1 << 30);
    Ok([seconds / gib, grown / bench.scale.slow_connections as f64, part])
}
