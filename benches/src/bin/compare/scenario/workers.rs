//! The cost of a request with one worker and with two: whether workers hold each other up. The load has all cores in both cases, so that cores
//! say nothing; what is compared is how long the server's threads ran for each request, what the kernel did on their time included. The limit is
//! one worker. nginx, whose workers share nothing but the kernel, shows what becomes dearer for everybody.

use benches::rounds::metric;
use demo::failure::Failure;

use super::Ran;
use crate::bench::{Bench, Contestant};
use crate::corpus::ObjectSet;
use crate::nginx::{Nginx, Reading, Setup};
use crate::peer::is_installed;
use crate::placement::{Side, core_count, standing};
use crate::process_facts::ProcessFacts;
use crate::record::{Series, compare};
use crate::wrk::Wrk;

const OBJECT_BYTES: u64 = 64 << 10;
const OBJECTS_MAX: u64 = 512;
/// For each worker: with fewer, a turn of its loop has less to do, and what a turn costs besides would be taken for what is shared.
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
    let nginx = |workers| {
        let setup = Setup { workers, ..Setup::new(Reading::Sendfile) };
        bench.nginx_with(setup, Side::Everywhere)
    };
    let nginx: Vec<Nginx> = [nginx(2)?, nginx(1)?].into_iter().flatten().collect();
    let measured = bench.rounds.run(2 + nginx.len(), |number| {
        let workers = 2 - number % 2;
        let (name, micros) = match number {
            0 | 1 => ("ours", ours(bench, &objects, workers)?),
            _ => ("nginx", nginx_s(bench, &objects, &nginx[number - 2], workers)?),
        };
        println!("  {name:5} {workers} workers: {micros:.2} µs for each request");
        Ok([micros])
    })?;
    let series: Vec<Vec<f64>> = measured.iter().map(|measured| metric(measured, 0)).collect();
    let mut records = compare("workers", "run_micros_per_request", &series[0], &[], Some(&series[1]));
    if let [two, one, nginx_s_two, nginx_s_one] = &series[..] {
        let nginx_s = Series { name: "nginx", values: ratios(nginx_s_two, nginx_s_one) };
        records.extend(compare("workers", "two_by_one", &ratios(two, one), &[nginx_s], None));
    }
    Ok(Ran::Measured(records))
}

/// One daemon at a time: they have one store.
fn ours(bench: &Bench, objects: &ObjectSet, workers: usize) -> Result<f64, Failure> {
    let daemon = bench.ours_on(&[("serve", format!("workers = {workers}"))], Side::Everywhere)?;
    let contestant = Contestant { name: "ours", address: daemon.http, is_tls: false };
    let micros = micros_per_request(bench, objects, &contestant, &daemon.processes(), workers)?;
    bench.sample(&contestant, objects, 1)?;
    daemon.stop(&bench.runtime)?;
    Ok(micros)
}

fn nginx_s(bench: &Bench, objects: &ObjectSet, nginx: &Nginx, workers: usize) -> Result<f64, Failure> {
    let contestant = Contestant { name: "nginx", address: nginx.http, is_tls: false };
    let micros = micros_per_request(bench, objects, &contestant, &nginx.peer.processes(), workers)?;
    bench.sample(&contestant, objects, 1)?;
    Ok(micros)
}

/// How long the processes ran for each request, after they have warmed up.
fn micros_per_request(
    bench: &Bench,
    objects: &ObjectSet,
    contestant: &Contestant,
    processes: &[u32],
    workers: usize,
) -> Result<f64, Failure> {
    let wrk = Wrk {
        address: contestant.address,
        is_tls: false,
        connections: CONNECTIONS * workers,
        threads: 2,
        seconds: bench.scale.wrk_seconds,
        fields: &[],
        folder: &bench.folder,
    };
    standing(Side::Everywhere, || wrk.run(objects))?;
    let before = ProcessFacts::of(processes)?;
    let found = standing(Side::Everywhere, || wrk.run(objects))?;
    let after = ProcessFacts::of(processes)?;
    Ok((after.run_seconds - before.run_seconds) * 1e6 / found.requests as f64)
}

fn ratios(two: &[f64], one: &[f64]) -> Vec<f64> {
    two.iter().zip(one).map(|(two, one)| two / one).collect()
}
