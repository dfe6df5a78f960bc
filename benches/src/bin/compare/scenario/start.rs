//! Start-up at scale: a store of many bundles, the daemon killed, the page cache dropped. What is measured is how long it takes until it
//! serves, how long the first byte of random objects takes then, and what memory it has. The limits are what is promised.

use std::io::{Read, Write};
use std::net::{SocketAddr, TcpStream};
use std::sync::Arc;
use std::time::Instant;

use benches::rounds::metric;
use benches::statistics::quantile;
use cache_store::Volume;
use cache_store::generate::{GenerateOptions, generate};
use control_client::content::BundlePath;
use demo::failure::{Failure, Step};
use demo::random::Random;

use super::Ran;
use crate::bench::Bench;
use crate::device::drop_caches;
use crate::placement::Side;
use crate::process_facts::ProcessFacts;
use crate::record::compare;

/// An object on average: 20 million of them are 20 TB.
const OBJECT_BYTES: u64 = 1 << 20;
const PREFIX: &str = "/start";

/// What is promised: seconds until it serves, microseconds until a first byte, bytes of memory.
const PROMISED: [f64; 3] = [1.0, 20_000.0, 200.0 * 1024.0 * 1024.0];
const METRICS: [&str; 3] = ["seconds_to_serving", "first_byte_p99_micros", "anonymous_bytes"];

pub(super) fn run(bench: &Bench) -> Result<Ran, Failure> {
    if let Err(failure) = drop_caches() {
        return Ok(Ran::Missing(failure.to_string()));
    }
    let folder = bench.folder.join("start");
    let volume = folder.join("volume0");
    std::fs::create_dir_all(&volume).step("making a volume")?;
    Volume::init(&volume).step("making a volume")?;
    let (bundles, objects) = (bench.scale.start_bundles, bench.scale.start_objects);
    let options = GenerateOptions {
        prefix: BundlePath::parse(PREFIX).step("the bundles' path")?,
        first_bundle: 0,
        bundles,
        objects,
        object_bytes: OBJECT_BYTES,
        seed: 1,
        is_sparse: true,
    };
    let began = Instant::now();
    let opened = Arc::new(Volume::open(&volume, false).step("opening the volume")?);
    let report = generate(&opened, &options).step("generating a store")?;
    drop(opened);
    println!(
        "  {} bundles of {} objects generated in {:.0} s",
        report.bundles,
        report.objects,
        began.elapsed().as_secs_f64()
    );
    let start = || bench.ours_over(&folder, &[], Side::Server);
    let mut running = Some(start()?);
    let mut random = Random::of(1, "start");
    let measured = bench.rounds.only_forth().run(1, |_| {
        if let Some(before) = running.take() {
            first_byte_micros(before.http, &target(bench, &mut random))?;
            before.kill()?;
        }
        drop_caches()?;
        let began = Instant::now();
        let ours = start()?;
        let seconds = began.elapsed().as_secs_f64();
        let waits: Vec<f64> = (0..bench.scale.start_requests)
            .map(|_| first_byte_micros(ours.http, &target(bench, &mut random)))
            .collect::<Result<_, _>>()?;
        let micros = quantile(&waits, 0.99);
        let bytes = ProcessFacts::of(&ours.processes())?.anonymous_bytes as f64;
        println!(
            "  serves after {seconds:.3} s; first byte p99 {micros:.0} µs; {:.0} MiB",
            bytes / 1048576.0
        );
        running = Some(ours);
        Ok([seconds, micros, bytes])
    })?;
    if let Some(ours) = running {
        ours.stop(&bench.runtime)?;
    }
    let mut records = Vec::new();
    for (column, (name, promised)) in METRICS.into_iter().zip(PROMISED).enumerate() {
        let values = metric(&measured[0], column);
        let limit = vec![promised; values.len()];
        records.extend(compare("start", name, &values, &[], Some(&limit)));
    }
    std::fs::remove_dir_all(&folder).step("removing the generated store")?;
    Ok(Ran::Measured(records))
}

/// One of all objects.
fn target(bench: &Bench, random: &mut Random) -> String {
    let bundle = random.next() % u64::from(bench.scale.start_bundles);
    let object = random.next() % u64::from(bench.scale.start_objects);
    format!("{PREFIX}/{bundle:06}/{object:05}.m4s")
}

/// From the request until the first byte of its answer, over a connection of its own; the rest is read, so that it is a whole answer.
fn first_byte_micros(address: SocketAddr, target: &str) -> Result<f64, Failure> {
    let mut stream = TcpStream::connect(address).step("connecting")?;
    stream.set_nodelay(true).step("a socket's options")?;
    let request = format!("GET {target} HTTP/1.1\r\nHost: {address}\r\nConnection: close\r\n\r\n");
    let began = Instant::now();
    stream.write_all(request.as_bytes()).step("asking")?;
    let mut bytes = vec![0; 64 * 1024];
    let mut filled = stream.read(&mut bytes).step("waiting for the first byte")?;
    let micros = began.elapsed().as_secs_f64() * 1e6;
    if !bytes.starts_with(b"HTTP/1.1 200 ") {
        let words = String::from_utf8_lossy(&bytes[..filled.min(80)]).into_owned();
        return Err(Failure::new(format!("{target} is answered with {words:?}")));
    }
    while filled > 0 {
        filled = stream.read(&mut bytes).step("reading the answer")?;
    }
    Ok(micros)
}
