//! The cost of a request with one worker and with two: whether workers hold each other up. The load has all cores in both cases, so that cores
//! say nothing; what is compared is how long the daemon's threads ran for each request, what the kernel did on their time included. The limit is
//! one worker.

use benches::rounds::metric;
use demo::failure::Failure;

use super::Ran;
use crate::bench::{Bench, Contestant};
use crate::peer::is_installed;
use crate::placement::{Side, core_count, standing};
use crate::process_facts::ProcessFacts;
use crate::record::compare;
use crate::wrk::Wrk;

const OBJECT_BYTES: u64 = 64 << 10;
const OBJECTS_MAX: u64 = 512;
const CONNECTIONS: usize = 64;

pub(super) fn run(bench: &Bench) -> Result<Ran, Failure> {
    if core_count() < 2 {
        return Ok(Ran::Missing("it needs two cores".to_owned()));
    }
    if !is_installed("wrk") {
        return Ok(Ran::Missing("it needs wrk (apt-get install wrk)".to_owned()));
    }
    let objects = (bench.scale.hot_bytes / OBJECT_BYTES).min(OBJECTS_MAX) as usize;
    let objects = bench.set("hot-64k", objects, OBJECT_BYTES)?;
    // One daemon at a time: they have one store.
    let measured = bench.rounds.run(2, |number| {
        let workers = 2 - number;
        let daemon = bench.ours_on(&[("serve", format!("workers = {workers}"))], Side::Everywhere)?;
        let wrk = Wrk {
            address: daemon.http,
            is_tls: false,
            connections: CONNECTIONS,
            threads: 2,
            seconds: bench.scale.wrk_seconds,
            fields: &[],
            folder: &bench.folder,
        };
        standing(Side::Everywhere, || wrk.run(&objects))?;
        let before = ProcessFacts::of(&daemon.processes())?;
        let found = standing(Side::Everywhere, || wrk.run(&objects))?;
        let after = ProcessFacts::of(&daemon.processes())?;
        bench.sample(&Contestant { name: "ours", address: daemon.http, is_tls: false }, &objects, 1)?;
        daemon.stop(&bench.runtime)?;
        let micros = (after.run_seconds - before.run_seconds) * 1e6 / found.requests as f64;
        println!("  {workers} workers: {micros:.2} µs for each of {} requests", found.requests);
        Ok([micros])
    })?;
    let (two, one) = (metric(&measured[0], 0), metric(&measured[1], 0));
    Ok(Ran::Measured(compare("workers", "run_micros_per_request", &two, &[], Some(&one))))
}
